//! The page: pictures and tables put together. Pure: data in, text out. Nothing in it comes from
//! elsewhere, and nothing in it runs.

use super::data::{Data, Unit};
use super::markup::Markup;
use super::svg::{self, ROWS, label};
use crate::place::usage;
use crate::text;
use crate::why::Held;
use siding::{ForkEffect, Lsn, SegmentState};

/// Rows of a table. More is for the verbs that list.
const MOST: usize = 500;

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub(super) fn page(data: &Data) -> String {
    let mut page = Markup::new();
    page.own("<!DOCTYPE html>\n").open("html", &[("lang", &"en")]).open("head", &[]);
    page.empty("meta", &[("charset", &"utf-8")]);
    // Should anything ever slip through: it neither runs nor loads.
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    page.empty("meta", &[("http-equiv", &"Content-Security-Policy"), ("content", &policy)]);
    let fits = "width=device-width, initial-scale=1";
    page.empty("meta", &[("name", &"viewport"), ("content", &fits)]);
    page.empty("meta", &[("name", &"color-scheme"), ("content", &"light dark")]);
    page.element("title", &[], format_args!("Siding: {}", data.directory));
    page.open("style", &[]).own(STYLE).close().close();
    page.open("body", &[]).open("main", &[]);
    head(&mut page, data);
    section(&mut page, "Positions", svg::positions(data));
    page.close();
    segments(&mut page, data);
    units(&mut page, data);
    chains(&mut page, data);
    pins(&mut page, data);
    retained(&mut page, data);
    page.finish()
}

/// Opens a section with a picture.
fn section(page: &mut Markup, heading: &str, picture: Markup) {
    page.open("section", &[]).element("h2", &[], heading).add(picture);
}

fn head(page: &mut Markup, data: &Data) {
    page.element("h1", &[], &data.directory);
    let (main, secondary) = (text::bytes(data.retained()), text::bytes(data.secondary()));
    page.element(
        "p",
        &[("class", &"lead")],
        format_args!(
            "{main} of main log and {secondary} of secondary log are kept for {} live units.",
            data.units.len()
        ),
    );
    if let Some(trouble) = &data.trouble {
        page.element("p", &[("class", &"bad"), ("role", &"alert")], trouble);
    }
    page.open("dl", &[]);
    let told = match data.source {
        "owner" => "the program that has the log open",
        _ => "the files alone",
    };
    let segment = text::bytes(data.segment_size);
    let fields = [
        ("made", text::moment(data.at_ms)),
        ("log", data.log_id.clone()),
        ("discipline", data.discipline.name().to_owned()),
        ("layout", format!("segments of {segment}, write unit {}", data.write_unit)),
        ("incarnation", format!("{}, epoch {}", data.incarnation, data.epoch)),
        ("in use", usage(data.usage)),
        ("end", data.end.clone()),
        ("units and pins told by", told.to_owned()),
    ];
    for (name, value) in fields {
        page.element("dt", &[], name).element("dd", &[], value);
    }
    page.close();
    list(page, "Not known here", &data.unknown);
    list(page, "Notes", &data.notes);
}

fn list(page: &mut Markup, heading: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    page.open("details", &[("open", &"")]).element("summary", &[], heading).open("ul", &[]);
    for line in lines.iter().take(MOST) {
        page.element("li", &[], line);
    }
    page.close().close();
}

/// A table. Headings that begin with `>` stand over numbers.
fn table(page: &mut Markup, headings: &[&str], rows: impl ExactSizeIterator<Item = Vec<String>>) {
    let hidden = rows.len().saturating_sub(MOST);
    page.open("div", &[("class", &"wide"), ("tabindex", &"0")]).open("table", &[]);
    page.open("thead", &[]).open("tr", &[]);
    let side = |heading: &str| if heading.starts_with('>') { "number" } else { "text" };
    for heading in headings {
        let class = side(heading);
        let name = heading.trim_start_matches('>');
        page.element("th", &[("scope", &"col"), ("class", &class)], name);
    }
    page.close().close().open("tbody", &[]);
    for row in rows.take(MOST) {
        page.open("tr", &[]);
        for (cell, heading) in row.iter().zip(headings) {
            page.element("td", &[("class", &side(heading))], cell);
        }
        page.close();
    }
    page.close().close().close();
    if hidden > 0 {
        page.element("p", &[], format_args!("… and {hidden} more rows."));
    }
}

fn segments(page: &mut Markup, data: &Data) {
    section(page, "Segments of the main log", svg::segments(data));
    legend(
        page,
        &[
            ("unit", "holds records of live units"),
            ("redo", "needed from the redo position on"),
            ("keypoint", "needed from the last keypoint on"),
            ("waits", "needed by nobody; waits for an older one"),
            ("open", "new records go here"),
            ("spare", "no log in it"),
        ],
    );
    let rows = data.segments.iter().map(|segment| {
        let info = &segment.info;
        let idle = !matches!(info.state, SegmentState::Open | SegmentState::Sealed);
        vec![
            info.number.to_string(),
            info.state.name().to_owned(),
            info.first.to_string(),
            if idle { "-".to_owned() } else { text::bytes(segment.kept) },
            if idle { "-".to_owned() } else { segment.records.to_string() },
            text::bytes(info.bytes),
            segment.holders(8),
        ]
    });
    let headings =
        [">segment", "state", ">first LSN", ">log in it", ">records", ">file", "held by"];
    table(page, &headings, rows);
    page.close();
}

fn legend(page: &mut Markup, entries: &[(&'static str, &str)]) {
    page.open("ul", &[("class", &"legend")]);
    for (class, says) in entries {
        page.open("li", &[]).element("span", &[("class", class)], "").text(says).close();
    }
    page.close();
}

fn units(page: &mut Markup, data: &Data) {
    section(page, "Units of work", svg::units(data));
    legend(page, &[("main", "on the main log"), ("moved", "on the secondary log")]);
    if data.units.len() > ROWS {
        let drawn = format!("Drawn are the {ROWS} that reach back furthest.");
        page.element("p", &[], drawn);
    }
    let headings = [
        "unit",
        "state",
        "gid",
        ">age",
        ">records",
        ">bytes",
        ">moved",
        ">bytes",
        ">moves",
        ">segments",
        ">cost",
        ">gain",
        ">needs from",
    ];
    table(page, &headings, data.units.iter().map(unit));
    for (unit, problem) in data.units.iter().filter_map(|unit| Some((unit, unit.problem.as_ref()?)))
    {
        let number = text::unit(unit.known.0.unit);
        page.element("p", &[("class", &"bad")], format_args!("unit {number}: {problem}"));
    }
    page.close();
}

fn unit(unit: &Unit) -> Vec<String> {
    let (info, effect) = &unit.known;
    let held = if info.held { ", held" } else { "" };
    let effect = |of: fn(&ForkEffect) -> u64| {
        effect.as_ref().map_or_else(|| "not known".to_owned(), |effect| text::bytes(of(effect)))
    };
    vec![
        text::unit(info.unit),
        format!("{}{held}", info.state.name()),
        if info.gid.is_empty() { "-".into() } else { text::shown(&info.gid) },
        info.age_ms.map_or_else(|| "not known".into(), text::span),
        info.records.to_string(),
        text::bytes(info.bytes),
        info.secondary_records.to_string(),
        text::bytes(info.secondary_bytes),
        info.moves.to_string(),
        unit.parts.len().to_string(),
        effect(|effect| effect.cost),
        effect(|effect| effect.gain),
        info.floor.map_or_else(|| "-".into(), |lsn| lsn.to_string()),
    ]
}

fn chains(page: &mut Markup, data: &Data) {
    section(page, "Chains and forks", svg::chains(data));
    legend(
        page,
        &[
            ("moved", "an extent on the secondary log"),
            ("main", "records on the main log that were not moved"),
            ("fork", "a fork record"),
        ],
    );
    let rows: Vec<Vec<String>> = data
        .units
        .iter()
        .flat_map(|unit| unit.extents.iter().map(move |extent| (unit, extent)))
        .map(|(unit, extent)| {
            vec![
                label(unit),
                extent.moves.to_string(),
                extent.file.clone(),
                extent.offset.to_string(),
                extent.records.to_string(),
                text::bytes(extent.bytes),
                extent.oldest.to_string(),
                extent.newest.to_string(),
            ]
        })
        .collect();
    if rows.is_empty() {
        page.element("p", &[], "No record of a live unit was moved.");
    } else {
        let headings = [
            "unit",
            ">move",
            "file",
            ">offset",
            ">records",
            ">bytes",
            ">oldest LSN",
            ">newest LSN",
        ];
        table(page, &headings, rows.into_iter());
    }
    let files = data.extent_files.iter().map(|(name, len)| vec![name.clone(), text::bytes(*len)]);
    if files.len() > 0 {
        table(page, &["extent file", ">bytes"], files);
    }
    page.close();
}

fn pins(page: &mut Markup, data: &Data) {
    section(page, "Why log is kept", svg::pins(data));
    page.element(
        "p",
        &[],
        "The first line holds most: nothing behind it is trimmed before it goes.",
    );
    let headings = [">holds", ">age", ">from LSN", "pin", ">cost", ">gain", "what to do"];
    table(page, &headings, data.pins.iter().map(pin));
    page.close();
}

fn pin(pin: &Held) -> Vec<String> {
    let effect = |of: fn(&ForkEffect) -> u64| {
        pin.effect.as_ref().map_or_else(|| "-".to_owned(), |effect| text::bytes(of(effect)))
    };
    vec![
        text::bytes(pin.bytes),
        pin.age_ms.map_or_else(|| "-".into(), text::span),
        text::position(Lsn::new(pin.lsn)),
        pin.owner.clone(),
        effect(|effect| effect.cost),
        effect(|effect| effect.gain),
        pin.action.clone(),
    ]
}

fn retained(page: &mut Markup, data: &Data) {
    if data.samples.is_empty() {
        page.open("section", &[]).element("h2", &[], "Retained main log over time");
        page.element("p", &[], "No MARK is kept yet, so nothing is known of earlier moments.");
    } else {
        section(page, "Retained main log over time", svg::retained(data));
        page.element(
            "p",
            &[],
            "From the MARK and CLOSE records that are kept: each carries its time and the oldest \
             position of that moment. What was trimmed took its own with it.",
        );
    }
    page.close();
}
