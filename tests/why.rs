//! What a log says of itself to people: ages and pins.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use siding::{Options, PinKind, Result};

#[test]
fn the_age_of_a_unit_that_nothing_dates_is_not_invented() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options::new().segment_size(64 << 10).ring_size(256 << 10);
    let log = options().open(dir.path())?.finish()?;
    let mut unit = log.begin()?;
    unit.append(b"decided, and not ended")?;
    drop(unit.decide()?);
    log.close()?;
    let log = options().open(dir.path())?.finish()?;
    let pins = log.why_retained();
    let pin = pins.iter().find(|pin| pin.kind == PinKind::Unit).expect("the unit pins log");
    let age = pin.age_ms.map(u128::from).unwrap_or_default();
    assert!(age < 60_000, "the unit is seconds old, not {age} ms");
    log.close()
}
