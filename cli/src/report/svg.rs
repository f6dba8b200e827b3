//! The pictures. Pure: data in, SVG out; each bounded, however much there is to show.

use super::data::{Data, Sample, Segment, Unit};
use super::markup::Markup;
use crate::info::ladder;
use crate::text;
use siding::{Lsn, SegmentState};
use std::fmt::Display;

/// Every picture is so wide, in its own units.
const WIDTH: u64 = 960;

/// Segments that are drawn one by one.
const SEGMENTS: usize = 60;

/// Units and pins that are drawn.
pub(super) const ROWS: usize = 40;

/// Extents of a unit that are drawn.
const EXTENTS: usize = 6;

/// Points of a line.
const POINTS: usize = 300;

/// Height of a row.
const ROW: u64 = 20;

/// Where bars begin, right of their labels.
const LABEL: u64 = 300;

/// Where labels behind bars begin at the latest.
const BEHIND: u64 = 120;

/// A picture with a name and a description, which screen readers tell.
fn picture(id: &'static str, height: u64, title: &str, says: &str) -> Markup {
    let mut svg = Markup::new();
    let (title_id, says_id) = (format!("{id}-title"), format!("{id}-says"));
    svg.open(
        "svg",
        &[
            ("id", &id),
            ("role", &"img"),
            ("viewBox", &format_args!("0 0 {WIDTH} {height}")),
            ("aria-labelledby", &format_args!("{title_id} {says_id}")),
        ],
    );
    svg.element("title", &[("id", &title_id)], title);
    svg.element("desc", &[("id", &says_id)], says);
    svg
}

/// `value` on a scale on which `whole` is `width` long.
fn scaled(value: u64, whole: u64, width: u64) -> u64 {
    let product = u128::from(value.min(whole)) * u128::from(width);
    u64::try_from(product / u128::from(whole.max(1))).unwrap_or(width)
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn rect(svg: &mut Markup, class: &str, [x, y, width, height]: [u64; 4], says: &dyn Display) {
    svg.open(
        "rect",
        &[("class", &class), ("x", &x), ("y", &y), ("width", &width), ("height", &height)],
    );
    svg.element("title", &[], says).close();
}

fn line(svg: &mut Markup, class: &str, [x1, y1, x2, y2]: [u64; 4]) {
    svg.empty("line", &[("class", &class), ("x1", &x1), ("y1", &y1), ("x2", &x2), ("y2", &y2)]);
}

fn words(svg: &mut Markup, x: u64, y: u64, anchor: &str, text: impl Display) {
    svg.element("text", &[("x", &x), ("y", &y), ("text-anchor", &anchor)], text);
}

/// Not more than a label has room for.
pub(super) fn short(text: &str, most: usize) -> String {
    let mut cut: String = text.chars().take(most).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

/// A unit's number, and its gid if it has one.
pub(super) fn label(unit: &Unit) -> String {
    let info = &unit.known.0;
    match info.gid.is_empty() {
        true => text::unit(info.unit),
        false => format!("{} {}", text::unit(info.unit), text::shown(&info.gid)),
    }
}

/// The ladder of positions, from the oldest byte that is kept to the end.
pub(super) fn positions(data: &Data) -> Markup {
    let at = &data.positions;
    let whole = data.retained();
    let says =
        format!("{} of main log are kept, from {} to {}.", text::bytes(whole), at.oldest, at.end);
    let rungs: Vec<_> = ladder(at).into_iter().filter(|(_, lsn)| !lsn.is_zero()).collect();
    let height = 40 + wide(rungs.len()) * ROW;
    let mut svg = picture("positions", height, "Positions", &says);
    rect(&mut svg, "main", [10, 10, WIDTH - 20, 12], &says);
    for (row, (name, lsn)) in rungs.iter().enumerate() {
        let below = *lsn < at.oldest;
        let x = 10 + scaled(lsn.since(at.oldest.min(*lsn)), whole, WIDTH - 20);
        let x = if below { 10 } else { x };
        let y = 40 + wide(row) * ROW;
        line(&mut svg, "mark", [x, 6, x, y]);
        let note = if below { ", below what is kept".to_owned() } else { behind(*lsn, at.end) };
        let (x, anchor) = if x > WIDTH / 2 { (x - 4, "end") } else { (x + 4, "start") };
        words(&mut svg, x, y, anchor, format_args!("{name} {lsn}{note}"));
    }
    svg
}

fn behind(lsn: Lsn, end: Lsn) -> String {
    match end.since(lsn.min(end)) {
        0 => String::new(),
        bytes => format!(", {} to the end", text::bytes(bytes)),
    }
}

/// The class a segment is drawn in: what holds it.
fn class(segment: &Segment) -> &'static str {
    match segment.info.state {
        SegmentState::Spare | SegmentState::Abandoned | SegmentState::Leftover => "spare",
        _ if !segment.units.is_empty() => "unit",
        _ if segment.pins.iter().any(|kind| *kind != "keypoint") => "redo",
        _ if !segment.pins.is_empty() => "keypoint",
        SegmentState::Open => "open",
        SegmentState::Sealed => "waits",
    }
}

/// The files of the main log, oldest first.
pub(super) fn segments(data: &Data) -> Markup {
    const COLUMNS: usize = 10;
    const CELL: [u64; 2] = [96, 64];
    let all = &data.segments;
    let hidden = all.len().saturating_sub(SEGMENTS);
    let front = if hidden > 0 { SEGMENTS / 2 } else { all.len() };
    let shown: Vec<Option<&Segment>> = all
        .iter()
        .take(front)
        .map(Some)
        .chain((hidden > 0).then_some(None))
        .chain(all.iter().skip(front + hidden).map(Some))
        .collect();
    let rows = shown.len().div_ceil(COLUMNS).max(1);
    let says = format!(
        "{} files of the main log; {} of them keep {} of log.",
        all.len(),
        data.used().count(),
        text::bytes(data.retained())
    );
    let mut svg = picture("segments", wide(rows) * CELL[1], "Segments of the main log", &says);
    for (index, segment) in shown.into_iter().enumerate() {
        let x = wide(index % COLUMNS) * CELL[0];
        let y = wide(index / COLUMNS) * CELL[1];
        match segment {
            Some(segment) => cell(&mut svg, data, segment, [x, y, CELL[0] - 6, CELL[1] - 6]),
            None => words(&mut svg, x + 45, y + 30, "middle", format_args!("… {hidden} more …")),
        }
    }
    svg
}

fn cell(svg: &mut Markup, data: &Data, segment: &Segment, [x, y, width, height]: [u64; 4]) {
    let Segment { info, kept, records, .. } = segment;
    let says = format!(
        "segment {}, {}: {} of log, {records} records; held by {}",
        info.number,
        info.state.name(),
        text::bytes(*kept),
        segment.holders(8)
    );
    rect(svg, class(segment), [x, y, width, height], &says);
    let full = scaled(*kept, data.segment_size, width);
    rect(svg, "full", [x, y + height - 5, full, 5], &says);
    words(svg, x + 6, y + 16, "start", info.number);
    words(svg, x + 6, y + 32, "start", brief(segment));
    words(svg, x + 6, y + 47, "start", text::bytes(*kept));
}

fn brief(segment: &Segment) -> String {
    match (segment.units.len(), segment.pins.first()) {
        (1, _) => "1 unit".to_owned(),
        (count, _) if count > 0 => format!("{count} units"),
        (_, Some(kind)) => (*kind).to_owned(),
        _ => segment.info.state.name().to_owned(),
    }
}

/// The units that hold most, most first.
pub(super) fn largest(data: &Data) -> Vec<&Unit> {
    let mut units: Vec<&Unit> = data.units.iter().collect();
    let weight = |unit: &Unit| unit.known.0.floor.map_or(u64::MAX, Lsn::get);
    let bytes = |unit: &Unit| unit.known.0.bytes.saturating_add(unit.known.0.secondary_bytes);
    units.sort_by_key(|unit| (weight(unit), u64::MAX - bytes(unit), unit.known.0.unit));
    units.truncate(ROWS);
    units
}

/// Bytes of each unit, on the main log and on the secondary.
pub(super) fn units(data: &Data) -> Markup {
    let shown = largest(data);
    let infos = || data.units.iter().map(|unit| &unit.known.0);
    let says = format!(
        "{} live units, {} drawn: {} on the main log, {} on the secondary log.",
        data.units.len(),
        shown.len(),
        text::bytes(infos().map(|unit| unit.bytes).sum()),
        text::bytes(infos().map(|unit| unit.secondary_bytes).sum())
    );
    let mut svg = picture("units", wide(shown.len().max(1)) * ROW, "Units of work", &says);
    let whole = infos().map(|unit| unit.bytes.saturating_add(unit.secondary_bytes)).max();
    let room = WIDTH - LABEL - BEHIND;
    for (row, unit) in shown.into_iter().enumerate() {
        let (info, y) = (&unit.known.0, wide(row) * ROW);
        let (main, moved) = (info.bytes, info.secondary_bytes);
        let whole = whole.unwrap_or(1);
        let (first, second) = (scaled(main, whole, room), scaled(moved, whole, room));
        words(&mut svg, LABEL - 8, y + 14, "end", short(&label(unit), 38));
        let says = format!("{} on the main log", text::bytes(main));
        rect(&mut svg, "main", [LABEL, y + 3, first.max(1), ROW - 6], &says);
        let says = format!("{} on the secondary log", text::bytes(moved));
        rect(&mut svg, "moved", [LABEL + first.max(1), y + 3, second, ROW - 6], &says);
        let age = info.age_ms.map_or_else(|| "age not known".to_owned(), text::span);
        words(&mut svg, LABEL + first + second + 8, y + 14, "start", age);
    }
    svg
}

/// Columns of the chains' picture, each one or more segments.
struct Columns {
    numbers: Vec<u64>,
    /// Segments in a column.
    each: usize,
}

impl Columns {
    const MOST: usize = 40;
    const FROM: u64 = 560;

    fn new(data: &Data) -> Self {
        let numbers: Vec<u64> = data.used().map(|segment| segment.info.number).collect();
        let each = numbers.len().div_ceil(Self::MOST).max(1);
        Self { numbers, each }
    }

    fn width(&self) -> u64 {
        let columns = self.numbers.len().div_ceil(self.each).max(1);
        ((WIDTH - 20 - Self::FROM) / wide(columns)).min(40)
    }

    fn x(&self, number: u64) -> u64 {
        let index = self.numbers.partition_point(|it| *it < number) / self.each;
        Self::FROM + wide(index) * self.width()
    }

    fn end(&self) -> u64 {
        Self::FROM + wide(self.numbers.len().div_ceil(self.each)) * self.width()
    }
}

/// For each unit its extents on the secondary log, its fork records, and the segments where the
/// rest of its records stand.
pub(super) fn chains(data: &Data) -> Markup {
    let (shown, columns) = (largest(data), Columns::new(data));
    let says = format!(
        "Chains of {} units, oldest records first: extents on the secondary log, then segments \
         {} to {} of the main log{}.",
        shown.len(),
        columns.numbers.first().copied().unwrap_or(0),
        columns.numbers.last().copied().unwrap_or(0),
        if columns.each > 1 { format!(", {} to a column", columns.each) } else { String::new() }
    );
    let height = 24 + wide(shown.len().max(1)) * ROW;
    let mut svg = picture("chains", height, "Chains and forks", &says);
    words(&mut svg, LABEL, 14, "start", "secondary log");
    words(&mut svg, Columns::FROM, 14, "start", "main log");
    line(&mut svg, "mark", [Columns::FROM - 12, 0, Columns::FROM - 12, height]);
    for (row, unit) in shown.into_iter().enumerate() {
        chain(&mut svg, data, &columns, unit, 24 + wide(row) * ROW);
    }
    svg
}

fn chain(svg: &mut Markup, data: &Data, columns: &Columns, unit: &Unit, y: u64) {
    words(svg, LABEL - 8, y + 14, "end", short(&label(unit), 38));
    line(svg, "link", [LABEL, y + ROW / 2, columns.end(), y + ROW / 2]);
    let hidden = unit.extents.len().saturating_sub(EXTENTS);
    if hidden > 0 {
        words(svg, LABEL + 16, y + 14, "middle", format_args!("+{hidden}"));
    }
    for (index, extent) in unit.extents.iter().skip(hidden).enumerate() {
        let says = format!(
            "move {}: {} records, {} to {}, {} in {} at {}",
            extent.moves,
            extent.records,
            extent.oldest,
            extent.newest,
            text::bytes(extent.bytes),
            extent.file,
            extent.offset
        );
        rect(svg, "moved", [LABEL + 34 + wide(index) * 34, y + 3, 28, ROW - 6], &says);
    }
    if unit.problem.is_some() {
        words(svg, Columns::FROM - 26, y + 14, "middle", "✗");
    }
    let width = columns.width();
    for (number, records) in &unit.parts {
        let says = format!("segment {number}: {records} records that were not moved");
        let part = [columns.x(*number), y + 3, width.saturating_sub(3).max(2), ROW - 6];
        rect(svg, "main", part, &says);
    }
    for fork in &unit.forks {
        let number = fork.get() / data.segment_size.max(1);
        let x = columns.x(number) + width / 2;
        let points =
            format!("{},{} {},{} {},{} {},{}", x - 5, y + 10, x, y + 5, x + 5, y + 10, x, y + 15);
        svg.open("polygon", &[("class", &"fork"), ("points", &points)]);
        svg.element("title", &[], format_args!("fork record at {fork}")).close();
    }
}

/// Each pin from the oldest byte that it needs to the end.
pub(super) fn pins(data: &Data) -> Markup {
    let shown: Vec<_> = data.pins.iter().take(ROWS).collect();
    let whole = data.retained();
    let says = format!("{} reasons why log is kept, {} drawn.", data.pins.len(), shown.len());
    let mut svg = picture("pins", wide(shown.len().max(1)) * ROW, "Pins", &says);
    let room = WIDTH - LABEL - BEHIND;
    for (row, pin) in shown.into_iter().enumerate() {
        let y = wide(row) * ROW;
        let held = scaled(pin.bytes, whole, room);
        let class = match pin.kind.as_str() {
            "unit" => "unit",
            "keypoint" => "keypoint",
            _ => "redo",
        };
        let holds = text::bytes(pin.bytes);
        words(&mut svg, LABEL - 8, y + 14, "end", short(&pin.owner, 42));
        let at = [LABEL + room - held, y + 3, held.max(1), ROW - 6];
        rect(&mut svg, class, at, &format_args!("from {}: {holds}", pin.lsn));
        words(&mut svg, WIDTH - BEHIND + 8, y + 14, "start", holds);
    }
    svg
}

/// No more points than a line needs; of those that fall together the highest.
fn thinned(samples: &[Sample]) -> Vec<Sample> {
    let each = samples.len().div_ceil(POINTS).max(1);
    let highest = |chunk: &[Sample]| chunk.iter().max_by_key(|sample| sample.retained).copied();
    samples.chunks(each).filter_map(highest).collect()
}

/// Bytes of main log that were kept, over time.
pub(super) fn retained(data: &Data) -> Markup {
    const TOP: u64 = 20;
    const FLOOR: u64 = 200;
    let samples = thinned(&data.samples);
    let highest = samples.iter().map(|sample| sample.retained).max().unwrap_or(0);
    let from = samples.first().map_or(0, |sample| sample.time_ms);
    let upto = samples.last().map_or(0, |sample| sample.time_ms);
    let says = format!(
        "{} moments between {} and {}; at most {} were kept.",
        data.samples.len(),
        text::moment(from),
        text::moment(upto),
        text::bytes(highest)
    );
    let mut svg = picture("retained", FLOOR + 24, "Retained main log over time", &says);
    let room = WIDTH - 20 - BEHIND;
    let points: Vec<String> = samples
        .iter()
        .map(|sample| {
            let x = BEHIND + scaled(sample.time_ms.saturating_sub(from), upto - from, room);
            let y = FLOOR - scaled(sample.retained, highest, FLOOR - TOP);
            format!("{x},{y}")
        })
        .collect();
    line(&mut svg, "link", [BEHIND, TOP, BEHIND + room, TOP]);
    line(&mut svg, "mark", [BEHIND, FLOOR, BEHIND + room, FLOOR]);
    words(&mut svg, BEHIND - 8, TOP + 4, "end", text::bytes(highest));
    words(&mut svg, BEHIND - 8, FLOOR + 4, "end", "0");
    words(&mut svg, BEHIND, FLOOR + 18, "start", text::moment(from));
    words(&mut svg, BEHIND + room, FLOOR + 18, "end", text::moment(upto));
    svg.empty("polyline", &[("class", &"curve"), ("points", &points.join(" "))]);
    if let [only] = samples.as_slice() {
        let y = FLOOR - scaled(only.retained, highest, FLOOR - TOP);
        svg.empty("circle", &[("class", &"fork"), ("cx", &BEHIND), ("cy", &y), ("r", &4_u64)]);
    }
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_stays_within_its_width() {
        assert_eq!([scaled(0, 10, 100), scaled(5, 10, 100), scaled(10, 10, 100)], [0, 50, 100]);
        assert_eq!([scaled(11, 10, 100), scaled(0, 0, 100), scaled(7, 0, 100)], [100, 0, 0]);
        assert_eq!(scaled(u64::MAX, u64::MAX, 960), 960);
    }

    #[test]
    fn a_thinned_line_keeps_its_peaks() {
        let sample = |index: u64| Sample {
            time_ms: index,
            lsn: Lsn::new(index),
            retained: if index == 777 { 99 } else { 1 },
        };
        let samples: Vec<Sample> = (0..10_000).map(sample).collect();
        let thin = thinned(&samples);
        assert!(thin.len() <= POINTS && thin.iter().any(|sample| sample.retained == 99));
        assert_eq!(thinned(&samples[..3]), samples[..3]);
    }

    #[test]
    fn a_label_is_cut_between_characters() {
        assert_eq!((short("ab", 2), short("äöü", 2)), ("ab".into(), "äö…".into()));
    }
}
