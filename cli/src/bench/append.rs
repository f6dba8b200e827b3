//! Appends that are not durable.

use super::{Effort, Measured, median, rate, timed};
use siding::Result;
use std::time::Duration;

/// One thread appends records while the ring and what is prepared have room for all of them; each
/// burst begins with nothing in the ring.
pub(super) fn records(effort: &Effort, record: usize) -> Result<Measured> {
    let log = effort.open_log(&effort.dir)?;
    let payload = vec![7; record];
    let count = 10_000;
    let bursts = (effort.rounds * 20).min(usize::try_from(200 / effort.divisor).unwrap_or(200));
    let mut values = Vec::new();
    for _ in 0..bursts.max(10) {
        while log.prepared_ahead() < 4 << 20 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut unit = log.begin()?;
        let ((), took) = timed(|| {
            for _ in 0..count {
                unit.append(&payload)?;
            }
            Ok(())
        })?;
        values.push(rate(count, took));
        unit.commit()?;
        log.redo_from(log.positions().durable)?;
    }
    log.close()?;
    Ok(Measured { value: median(values), floor: None })
}
