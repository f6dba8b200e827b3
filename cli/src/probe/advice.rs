//! Which options follow from what was measured. Pure.

use siding::Backend;

/// What a row measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// One small write after the other, each on stable storage before the next.
    Durable,
    /// Long writes that nobody waits for.
    Write,
    /// Long reads.
    Read,
}

impl What {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Write => "write",
            Self::Read => "read",
        }
    }

    /// What a value counts.
    pub(super) fn per(self) -> &'static str {
        if self == Self::Durable { "writes/s" } else { "bytes/s" }
    }

    /// What a value that is shown to people counts, and how many of those are one of these.
    pub(super) fn shown(self) -> &'static str {
        if self == Self::Durable { "writes/s" } else { "MB/s" }
    }

    pub(super) fn scale(self) -> f64 {
        if self == Self::Durable { 1.0 } else { 1e6 }
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) what: What,
    pub(super) backend: Backend,
    pub(super) unit: u32,
    pub(super) depth: usize,
    pub(super) busy: bool,
    /// The unit is the device's safe one, or larger.
    pub(super) safe: bool,
    pub(super) value: f64,
    pub(super) p99_us: f64,
    /// The largest measurement over the smallest.
    pub(super) spread: f64,
}

/// What to take, and why.
#[derive(Clone, Debug)]
pub(super) struct Advice {
    pub(super) backend: Backend,
    pub(super) unit: u32,
    pub(super) depth: usize,
    pub(super) reasons: Vec<String>,
    /// The measurements lie too far apart to go by.
    pub(super) disturbed: bool,
}

/// Half of the rows may spread so much and no more on a machine that does nothing else.
const QUIET: f64 = 1.5;

/// Within this two measurements are the same.
const ALIKE: f64 = 0.95;

/// The order in which those that are alike are preferred.
const ORDER: [Backend; 5] =
    [Backend::Uring, Backend::Direct, Backend::Buffered, Backend::Mmap, Backend::UringDurable];

fn best(rows: &[Row], of: impl Fn(&Row) -> bool) -> f64 {
    rows.iter().filter(|row| of(row)).map(|row| row.value).fold(0.0, f64::max)
}

/// Durable writes of a backend at its safe unit.
fn durable(rows: &[Row], backend: Backend, busy: bool) -> f64 {
    best(rows, |row| {
        row.what == What::Durable && row.backend == backend && row.busy == busy && row.safe
    })
}

fn bulk(rows: &[Row], backend: Backend) -> f64 {
    best(rows, |row| row.what == What::Write && row.backend == backend)
}

/// How a backend's durable writes stand to the best, on an idle machine or a busy one, whichever
/// is worse.
fn score(rows: &[Row], backend: Backend) -> f64 {
    let share = |busy| {
        let most = ORDER.iter().map(|other| durable(rows, *other, busy)).fold(0.0, f64::max);
        if most > 0.0 { durable(rows, backend, busy) / most } else { 0.0 }
    };
    share(false).min(share(true))
}

/// The backend whose durable writes are the best on the worse of two machines, and among those
/// that are alike the one that writes much at once faster; the smallest depth that is as fast as
/// any; the safe write unit, with what a smaller one would gain.
pub(super) fn advise(rows: &[Row]) -> Advice {
    let top = ORDER.iter().map(|backend| score(rows, *backend)).fold(0.0, f64::max);
    let alike = || ORDER.iter().copied().filter(|other| score(rows, *other) >= top * ALIKE);
    let most = alike().map(|backend| bulk(rows, backend)).fold(0.0, f64::max);
    let backend = alike().find(|it| bulk(rows, *it) >= most * ALIKE).unwrap_or(Backend::Direct);
    let mut reasons = vec![format!(
        "{backend}: {:.0} durable writes a second on an idle machine, {:.0} on a busy one",
        durable(rows, backend, false),
        durable(rows, backend, true),
    )];
    if backend == Backend::Uring {
        let (ring, plain) = (bulk(rows, Backend::Uring), bulk(rows, Backend::Direct));
        reasons.push(format!("long writes: {:.2} times those of direct", ring / plain.max(1.0)));
    }
    let (idle, busy) =
        (durable(rows, Backend::UringDurable, false), durable(rows, Backend::UringDurable, true));
    if idle > 0.0 && backend != Backend::UringDurable {
        reasons.push(format!(
            "not uring-durable: {:.2} of {backend} on an idle machine, {:.2} on a busy one",
            idle / durable(rows, backend, false).max(1.0),
            busy / durable(rows, backend, true).max(1.0),
        ));
    }
    let depth = depth(rows, &mut reasons);
    let unit = unit(rows, backend, &mut reasons);
    let disturbed = spread(rows) > QUIET;
    if disturbed {
        let what = format!(
            "do not go by this: something else is at work, measurements of the same lie apart by \
             {:.1} times; measure again when the machine is quiet, or longer (--seconds)",
            spread(rows),
        );
        reasons.insert(0, what);
    }
    Advice { backend, unit, depth, reasons, disturbed }
}

/// What half of the rows spread by at most.
fn spread(rows: &[Row]) -> f64 {
    let mut spreads: Vec<f64> = rows.iter().map(|row| row.spread).collect();
    spreads.sort_by(f64::total_cmp);
    spreads.get(spreads.len() / 2).copied().unwrap_or(1.0)
}

/// The smallest depth at which long writes and reads through a ring are as fast as any.
fn depth(rows: &[Row], reasons: &mut Vec<String>) -> usize {
    let ring = |row: &&Row| row.backend == Backend::Uring && row.what != What::Durable;
    let at = |what, depth| best(rows, |row| ring(&row) && row.what == what && row.depth == depth);
    let most = |what| best(rows, |row| ring(&row) && row.what == what);
    let mut depths: Vec<usize> = rows.iter().filter(ring).map(|row| row.depth).collect();
    depths.sort_unstable();
    let enough = |depth: &usize| {
        [What::Write, What::Read].iter().all(|what| at(*what, *depth) >= ALIKE * most(*what))
    };
    let Some(depth) = depths.iter().copied().find(enough).or(depths.last().copied()) else {
        return 4;
    };
    reasons.push(format!(
        "depth {depth}: {:.0} MB/s written, {:.0} MB/s read; more in flight gain nothing",
        at(What::Write, depth) / 1e6,
        at(What::Read, depth) / 1e6,
    ));
    depth
}

/// The safe unit; a smaller one rests on more than was measured.
fn unit(rows: &[Row], backend: Backend, reasons: &mut Vec<String>) -> u32 {
    let own = || rows.iter().filter(move |row| row.what == What::Durable && row.backend == backend);
    let safe = own().filter(|row| row.safe).map(|row| row.unit).min().unwrap_or(4096);
    if let Some(small) = own().filter(|row| !row.safe && !row.busy).min_by_key(|row| row.unit) {
        reasons.push(format!(
            "a write unit of {} writes {:.0} times less for a small commit, at {:.2} of the \
             speed, if a failed write of one unit never damages its neighbour",
            small.unit,
            f64::from(safe) / f64::from(small.unit.max(1)),
            small.value / durable(rows, backend, false).max(1.0),
        ));
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(what: What, backend: Backend, depth: usize, busy: bool, value: f64) -> Row {
        let (unit, safe, p99_us, spread) = (4096, true, 1.0, 1.1);
        Row { what, backend, unit, depth, busy, safe, value, p99_us, spread }
    }

    /// Durable writes idle and busy, and long writes, of each backend.
    fn rows(of: &[(Backend, f64, f64, f64)]) -> Vec<Row> {
        let mut rows = Vec::new();
        for (backend, idle, busy, bulk) in of {
            rows.push(row(What::Durable, *backend, 1, false, *idle));
            rows.push(row(What::Durable, *backend, 1, true, *busy));
            rows.push(row(What::Write, *backend, 1, false, *bulk));
        }
        rows
    }

    #[test]
    fn the_worse_of_two_machines_decides() {
        use Backend::{Buffered, Direct, Mmap, Uring, UringDurable};
        let advice = advise(&rows(&[
            (Direct, 9_000.0, 8_000.0, 3e9),
            (Uring, 8_900.0, 8_100.0, 5e9),
            (UringDurable, 9_500.0, 250.0, 0.0),
            (Buffered, 8_000.0, 7_000.0, 2e9),
            (Mmap, 3_000.0, 2_500.0, 1e9),
        ]));
        assert_eq!(advice.backend, Uring);
        assert!(advice.reasons.iter().any(|it| it.contains("not uring-durable")), "{advice:?}");
        // As fast in the long as without a ring: then the ring is no gain, and none is lost.
        let advice = advise(&rows(&[(Direct, 9e3, 8e3, 5e9), (Uring, 5e3, 8e3, 5e9)]));
        assert_eq!(advice.backend, Direct);
        let advice = advise(&rows(&[(Buffered, 9e3, 8e3, 2e9), (Direct, 5e3, 8e3, 5e9)]));
        assert_eq!(advice.backend, Buffered);
        let advice = advise(&rows(&[(Direct, 9e3, 8e3, 5e9), (UringDurable, 18e3, 16e3, 0.0)]));
        assert_eq!(advice.backend, UringDurable);
    }

    #[test]
    fn a_machine_that_does_something_else_is_seen() {
        let mut all = rows(&[(Backend::Direct, 9e3, 8e3, 5e9), (Backend::Uring, 9e3, 8e3, 6e9)]);
        assert!(!advise(&all).disturbed);
        // One row that was hit says nothing, half of them do.
        all[0].spread = 30.0;
        assert!(!advise(&all).disturbed);
        all.iter_mut().for_each(|row| row.spread = 2.0);
        let advice = advise(&all);
        assert!(advice.disturbed && advice.reasons[0].contains("do not go by this"), "{advice:?}");
    }

    #[test]
    fn the_smallest_depth_that_is_enough() {
        let mut all = Vec::new();
        for (depth, write, read) in
            [(1, 1e9, 1e9), (2, 4.9e9, 1.5e9), (4, 5e9, 2.8e9), (8, 5e9, 2.9e9)]
        {
            all.push(row(What::Write, Backend::Uring, depth, false, write));
            all.push(row(What::Read, Backend::Uring, depth, false, read));
        }
        assert_eq!(advise(&all).depth, 4);
        assert_eq!(advise(&[]).depth, 4, "where there is no ring nothing is known");
    }

    #[test]
    fn the_safe_unit_and_what_a_smaller_one_gains() {
        let mut all = rows(&[(Backend::Direct, 9_000.0, 8_000.0, 3e9)]);
        let small =
            Row { unit: 512, safe: false, ..row(What::Durable, Backend::Direct, 1, false, 9e3) };
        all.push(small);
        let advice = advise(&all);
        assert_eq!(advice.unit, 4096);
        let said = advice.reasons.iter().find(|it| it.contains("unit of 512")).unwrap();
        assert!(said.contains("8 times less") && said.contains("1.00 of the speed"), "{said}");
    }
}
