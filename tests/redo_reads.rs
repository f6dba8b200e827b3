//! What redo costs: few reads, however many units there are. Alone in its program, for it counts
//! the system calls of the whole process.

#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use siding::{Options, Result};

/// Reads that this process has asked the system for.
fn reads() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("syscr: ")).unwrap().parse().unwrap()
}

#[test]
fn redo_of_small_units_reads_the_log_in_large_pieces() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let log = Options::new().segment_size(4 << 20).open(dir.path())?.finish()?;
    // Eight units at a time, so that their records lie between each other's.
    for _ in 0..125 {
        let mut units = Vec::new();
        for _ in 0..8 {
            units.push(log.begin()?);
        }
        for _ in 0..4 {
            for unit in &mut units {
                unit.append(&[7; 100])?;
            }
        }
        for unit in units {
            unit.submit()?;
        }
    }
    log.close()?;
    drop(log);
    let recovery = Options::new().open(dir.path())?;
    let before = reads();
    let mut committed = recovery.committed()?;
    let mut records = 0;
    while committed.next()?.is_some() {
        records += 1;
    }
    assert_eq!(records, 4_000);
    let asked = reads() - before;
    assert!(asked < 200, "{asked} reads for 1,000 units");
    Ok(())
}
