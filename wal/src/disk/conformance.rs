//! What every disk must do, as a suite that anyone who writes one can run.
//!
//! ```
//! use siding_wal::disk::{MemoryDisk, conformance};
//! use std::sync::Arc;
//!
//! let passed = conformance::check(&|| Ok(Arc::new(MemoryDisk::new())))?;
//! assert!(passed.contains(&"rename replaces"));
//! # Ok::<(), conformance::Broken>(())
//! ```
//!
//! It shows what a running process sees. That acknowledged bytes survive a crash, it cannot show:
//! that takes a crash.

pub use super::suite::Broken;

use super::suite::{Verdict, fails, holds, ok, same};
use super::{AlignedBuf, Disk, LockError, LogFile, conformance_bulk};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::thread;

pub(super) type Check = (&'static str, fn(&dyn Disk) -> Verdict);

const CHECKS: &[Check] = &[
    ("geometry", geometry),
    ("create", create),
    ("missing files", missing_files),
    ("list with sizes", list_with_sizes),
    ("write and read back", write_and_read_back),
    ("many slices", many_slices),
    ("empty writes", empty_writes),
    ("reads past the end", reads_past_the_end),
    ("gaps are zeros", gaps_are_zeros),
    ("overwriting", overwriting),
    ("cutting", cutting),
    ("handles see each other", handles_see_each_other),
    ("rename replaces", rename_replaces),
    ("handles survive rename and remove", handles_survive),
    ("names", names),
    ("misaligned calls", misaligned_calls),
    ("durable writes", durable_writes),
    ("sync", sync),
    ("big writes", big_writes),
    ("many files", many_files),
    ("concurrent writers", concurrent_writers),
    ("lock", lock),
];

/// Runs every check, each on a new, empty directory from `make`, and names those passed.
///
/// # Errors
///
/// [`Broken`] with the first check that failed.
pub fn check(make: &dyn Fn() -> io::Result<Arc<dyn Disk>>) -> Result<Vec<&'static str>, Broken> {
    let mut passed = Vec::new();
    for (check, run) in CHECKS.iter().chain(conformance_bulk::CHECKS) {
        let verdict = ok("to make a disk", make()).and_then(|disk| run(&*disk));
        verdict.map_err(|what| Broken { check, what })?;
        passed.push(*check);
    }
    Ok(passed)
}

/// Bytes that differ from place to place and from seed to seed.
pub(super) fn pattern(seed: u64, len: usize) -> AlignedBuf {
    let mut buf = AlignedBuf::with_capacity(len);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while buf.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        buf.extend_from_slice(&state.to_le_bytes());
    }
    buf.truncate(len);
    buf
}

/// Smallest write, as a length in memory.
pub(super) fn unit(disk: &dyn Disk) -> usize {
    usize::try_from(disk.geometry().min_write_unit).unwrap_or(4096)
}

pub(super) fn offset(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Reads `len` bytes and compares them with `due`; the file may end behind it.
fn holds_at(file: &dyn LogFile, at: usize, due: &[u8]) -> Verdict {
    let mut buf = AlignedBuf::zeroed(due.len());
    // What is not read must not pass for zeros.
    buf.fill(0xa5);
    let count = ok("a read", file.read_at(offset(at), &mut buf))?;
    same(&format!("the count of a read at {at}"), count, due.len())?;
    match buf.iter().zip(due).position(|(came, due)| came != due) {
        None => Ok(()),
        Some(place) => Err(format!("a wrong byte at {} of the file", at + place)),
    }
}

pub(super) fn put(file: &dyn LogFile, at: usize, bytes: &[u8]) -> Verdict {
    ok("a write", file.write_at(offset(at), &[bytes], false))
}

fn sorted(disk: &dyn Disk) -> Verdict<Vec<(String, u64)>> {
    let mut names = ok("to list", disk.list())?;
    names.sort();
    Ok(names)
}

fn geometry(disk: &dyn Disk) -> Verdict {
    let geometry = disk.geometry();
    let (unit, min) = (geometry.write_unit, geometry.min_write_unit);
    holds("write_unit is no power of two", unit.is_power_of_two())?;
    holds("min_write_unit is no power of two", min.is_power_of_two())?;
    holds("min_write_unit is below 512", min >= 512)?;
    holds("min_write_unit is above write_unit", min <= unit)?;
    same("the geometry asked again", disk.geometry(), geometry)?;
    holds("the disk has no name", !disk.name().is_empty())
}

fn create(disk: &dyn Disk) -> Verdict {
    same("the list of an empty directory", sorted(disk)?, Vec::new())?;
    let file = ok("to create", disk.create("a"))?;
    same("the length of a new file", ok("len", file.len())?, 0)?;
    holds("a new file is not empty", ok("is_empty", file.is_empty())?)?;
    let bytes = pattern(1, unit(disk));
    put(&*file, 0, &bytes)?;
    fails("to create again", disk.create("a"), ErrorKind::AlreadyExists)?;
    holds_at(&*ok("to open", disk.open("a"))?, 0, &bytes)
}

fn missing_files(disk: &dyn Disk) -> Verdict {
    fails("to open a missing file", disk.open("a"), ErrorKind::NotFound)?;
    fails("to rename a missing file", disk.rename("a", "b"), ErrorKind::NotFound)?;
    fails("to remove a missing file", disk.remove("a"), ErrorKind::NotFound)?;
    ok("to create", disk.create("a"))?;
    ok("to remove", disk.remove("a"))?;
    fails("to open a removed file", disk.open("a"), ErrorKind::NotFound)?;
    same("the list", sorted(disk)?, Vec::new())
}

fn list_with_sizes(disk: &dyn Disk) -> Verdict {
    let unit = unit(disk);
    let mut due = Vec::new();
    for (name, units) in [("a", 0), ("b.seg", 1), ("control", 9), ("0000000000000000.seg", 3)] {
        let file = ok("to create", disk.create(name))?;
        put(&*file, 0, &pattern(2, units * unit))?;
        same("the length", ok("len", file.len())?, offset(units * unit))?;
        due.push((name.to_owned(), offset(units * unit)));
    }
    due.sort();
    same("the list", sorted(disk)?, due)
}

fn write_and_read_back(disk: &dyn Disk) -> Verdict {
    let unit = unit(disk);
    let file = ok("to create", disk.create("a"))?;
    let (one, two, three) = (pattern(3, unit), pattern(4, 5 * unit), pattern(5, 2 * unit));
    ok("a write", file.write_at(0, &[&one, &two, &three], false))?;
    same("the length", ok("len", file.len())?, offset(8 * unit))?;
    let mut whole = one.clone();
    whole.extend_from_slice(&two);
    whole.extend_from_slice(&three);
    holds_at(&*file, 0, &whole)?;
    for at in 0..8 {
        let due = whole.get(at * unit..).unwrap_or_default();
        holds_at(&*file, at * unit, due)?;
        holds_at(&*file, at * unit, due.get(..unit).unwrap_or_default())?;
    }
    Ok(())
}

fn many_slices(disk: &dyn Disk) -> Verdict {
    let unit = unit(disk);
    let file = ok("to create", disk.create("a"))?;
    // More than an operating system takes at once.
    let whole = pattern(6, 1500 * unit);
    let slices: Vec<&[u8]> = whole.chunks(unit).collect();
    ok("a write", file.write_at(offset(unit), &slices, true))?;
    same("the length", ok("len", file.len())?, offset(1501 * unit))?;
    holds_at(&*file, unit, &whole)
}

fn empty_writes(disk: &dyn Disk) -> Verdict {
    let unit = unit(disk);
    let file = ok("to create", disk.create("a"))?;
    ok("a write of nothing", file.write_at(offset(8 * unit), &[], true))?;
    ok("a write of empty slices", file.write_at(offset(8 * unit), &[&[], &[]], false))?;
    same("the length", ok("len", file.len())?, 0)?;
    let bytes = pattern(7, unit);
    ok("a write", file.write_at(0, &[&[], &bytes, &[]], true))?;
    same("the length", ok("len", file.len())?, offset(unit))?;
    holds_at(&*file, 0, &bytes)?;
    same("the count of an empty read", ok("a read", file.read_at(0, &mut []))?, 0)
}

fn reads_past_the_end(disk: &dyn Disk) -> Verdict {
    let unit = unit(disk);
    let file = ok("to create", disk.create("a"))?;
    let mut buf = AlignedBuf::zeroed(8 * unit);
    same("a read of an empty file", ok("a read", file.read_at(0, &mut buf))?, 0)?;
    let bytes = pattern(8, 3 * unit);
    put(&*file, 0, &bytes)?;
    for (at, due) in [(0, 3), (1, 2), (2, 1), (3, 0), (4, 0), (1 << 20, 0)] {
        let count = ok("a read", file.read_at(offset(at * unit), &mut buf))?;
        same(&format!("the count of a read at unit {at}"), count, due * unit)?;
        let came = buf.get(..count).unwrap_or_default();
        holds("a wrong byte", bytes.get(at * unit..).unwrap_or_default() == came)?;
    }
    same("the length after reads", ok("len", file.len())?, offset(3 * unit))
}

fn gaps_are_zeros(disk: &dyn Disk) -> Verdict {
    let unit = unit(disk);
    let file = ok("to create", disk.create("a"))?;
    let bytes = pattern(9, unit);
    put(&*file, 700 * unit, &bytes)?;
    same("the length", ok("len", file.len())?, offset(701 * unit))?;
    holds_at(&*file, 0, &AlignedBuf::zeroed(700 * unit))?;
    holds_at(&*file, 700 * unit, &bytes)
}

fn overwriting(disk: &dyn Disk) -> Verdict {
    let unit = unit(disk);
    let file = ok("to create", disk.create("a"))?;
    let mut due = pattern(10, 8 * unit);
    put(&*file, 0, &due)?;
    for (seed, at, units, durable) in [(11, 0, 1, true), (12, 3, 2, false), (13, 4, 4, true)] {
        let bytes = pattern(seed, units * unit);
        ok("a write", file.write_at(offset(at * unit), &[&bytes], durable))?;
        if let Some(place) = due.get_mut(at * unit..(at + units) * unit) {
            place.copy_from_slice(&bytes);
        }
        holds_at(&*file, 0, &due)?;
    }
    same("the length", ok("len", file.len())?, offset(8 * unit))
}

fn cutting(disk: &dyn Disk) -> Verdict {
    let (unit, file) = (unit(disk), ok("to create", disk.create("a"))?);
    let mut due = pattern(19, 2 * unit);
    put(&*file, 0, &due)?;
    ok("to cut", file.cut(offset(unit + 3)))?;
    same("the length", ok("len", file.len())?, offset(unit + 3))?;
    ok("to lengthen", file.cut(offset(2 * unit)))?;
    due.get_mut(unit + 3..).unwrap_or_default().fill(0);
    holds_at(&*file, 0, &due)
}

fn handles_see_each_other(disk: &dyn Disk) -> Verdict {
    let unit = unit(disk);
    let one = ok("to create", disk.create("a"))?;
    let two = ok("to open", disk.open("a"))?;
    for (at, writer, reader) in [(0, &one, &two), (1, &two, &one), (0, &two, &one)] {
        let bytes = pattern(14 + offset(at), unit);
        put(&**writer, at * unit, &bytes)?;
        holds_at(&**reader, at * unit, &bytes)?;
        let (came, due) = (ok("len", reader.len())?, ok("len", writer.len())?);
        same("the length seen by the other handle", came, due)?;
    }
    drop(one);
    holds_at(&*two, unit, &pattern(15, unit))
}

fn rename_replaces(disk: &dyn Disk) -> Verdict {
    let unit = unit(disk);
    let (old, new) = (pattern(16, unit), pattern(17, 2 * unit));
    put(&*ok("to create", disk.create("a"))?, 0, &new)?;
    put(&*ok("to create", disk.create("b"))?, 0, &old)?;
    ok("to rename", disk.rename("a", "b"))?;
    ok("to sync the directory", disk.sync_dir())?;
    same("the list", sorted(disk)?, vec![("b".to_owned(), offset(2 * unit))])?;
    fails("to open by the old name", disk.open("a"), ErrorKind::NotFound)?;
    holds_at(&*ok("to open", disk.open("b"))?, 0, &new)?;
    ok("to rename to itself", disk.rename("b", "b"))?;
    ok("to rename", disk.rename("b", "c"))?;
    holds_at(&*ok("to open", disk.open("c"))?, 0, &new)
}

fn handles_survive(disk: &dyn Disk) -> Verdict {
    let unit = unit(disk);
    let (one, two) = (pattern(18, unit), pattern(19, unit));
    let moved = ok("to create", disk.create("a"))?;
    let replaced = ok("to create", disk.create("b"))?;
    put(&*moved, 0, &one)?;
    put(&*replaced, 0, &two)?;
    ok("to rename", disk.rename("a", "b"))?;
    holds_at(&*moved, 0, &one)?;
    holds_at(&*replaced, 0, &two)?;
    ok("a write by a handle from before", moved.write_at(offset(unit), &[&two], true))?;
    holds_at(&*ok("to open", disk.open("b"))?, unit, &two)?;
    ok("to remove", disk.remove("b"))?;
    ok("to sync the directory", disk.sync_dir())?;
    for file in [&moved, &replaced] {
        ok("a write to a removed file", file.write_at(0, &[&two], true))?;
        ok("to sync a removed file", file.sync())?;
        holds_at(&**file, 0, &two)?;
    }
    // A new file of the name is another file.
    let fresh = ok("to create", disk.create("b"))?;
    same("the length", ok("len", fresh.len())?, 0)?;
    same("the list", sorted(disk)?, vec![("b".to_owned(), 0)])
}

fn names(disk: &dyn Disk) -> Verdict {
    ok("to create", disk.create("a"))?;
    for bad in ["", ".", "..", "/", "a/b", "/a", "../a", "a/..", "a\0", "a\\b"] {
        let due = ErrorKind::InvalidInput;
        fails(&format!("to create {bad:?}"), disk.create(bad), due)?;
        fails(&format!("to open {bad:?}"), disk.open(bad), due)?;
        fails(&format!("to rename {bad:?}"), disk.rename(bad, "b"), due)?;
        fails(&format!("to rename to {bad:?}"), disk.rename("a", bad), due)?;
        fails(&format!("to remove {bad:?}"), disk.remove(bad), due)?;
    }
    same("the list", sorted(disk)?, vec![("a".to_owned(), 0)])
}

fn misaligned_calls(disk: &dyn Disk) -> Verdict {
    let unit = unit(disk);
    let file = ok("to create", disk.create("a"))?;
    let due = pattern(20, 4 * unit);
    put(&*file, 0, &due)?;
    let other = pattern(21, 2 * unit);
    let (half, rest) = other.split_at(unit / 2);
    let top = u64::MAX - offset(unit) + 1;
    for (at, bufs) in [
        (1, vec![&*other]),
        (offset(unit / 2), vec![&*other]),
        (0, vec![half]),
        (0, vec![half, rest]),
        (top, vec![&*other]),
    ] {
        let what = format!("a write of {} slices at {at}", bufs.len());
        fails(&what, file.write_at(at, &bufs, false), ErrorKind::InvalidInput)?;
        fails(&what, file.write_at(at, &bufs, true), ErrorKind::InvalidInput)?;
    }
    let mut buf = AlignedBuf::zeroed(2 * unit);
    for (at, len) in
        [(1, unit), (offset(unit / 2), unit), (0, unit / 2), (0, unit + 1), (top, unit)]
    {
        let buf = buf.get_mut(..len).unwrap_or_default();
        fails("a misaligned read", file.read_at(at, buf), ErrorKind::InvalidInput)?;
    }
    same("the length", ok("len", file.len())?, offset(4 * unit))?;
    holds_at(&*file, 0, &due)
}

fn durable_writes(disk: &dyn Disk) -> Verdict {
    let unit = unit(disk);
    let file = ok("to create", disk.create("a"))?;
    let mut due = AlignedBuf::default();
    for seed in 0..40 {
        let bytes = pattern(seed, unit * usize::try_from(seed % 7 + 1).unwrap_or(1));
        let (head, tail) = bytes.split_at(unit);
        ok("a durable write", file.write_at(offset(due.len()), &[head, tail], true))?;
        due.extend_from_slice(&bytes);
    }
    ok("to sync the directory", disk.sync_dir())?;
    same("the length", ok("len", file.len())?, offset(due.len()))?;
    holds_at(&*ok("to open", disk.open("a"))?, 0, &due)
}

fn sync(disk: &dyn Disk) -> Verdict {
    let unit = unit(disk);
    let file = ok("to create", disk.create("a"))?;
    ok("to sync an empty file", file.sync())?;
    let due = pattern(22, 6 * unit);
    put(&*file, 0, &due)?;
    ok("to sync", file.sync())?;
    ok("to sync again", file.sync())?;
    let other = ok("to open", disk.open("a"))?;
    // As an open after a crash does before it reads.
    ok("to sync by a handle that wrote nothing", other.sync())?;
    holds_at(&*other, 0, &due)?;
    ok("to sync the directory", disk.sync_dir())
}

fn big_writes(disk: &dyn Disk) -> Verdict {
    let unit = unit(disk);
    let file = ok("to create", disk.create("a"))?;
    let units = (5 << 20) / unit + 1;
    let due = pattern(23, units * unit);
    ok("a write", file.write_at(offset(unit), &[&due], false))?;
    holds_at(&*file, unit, &due)?;
    let (head, tail) = due.split_at(units / 2 * unit);
    ok("a durable write", file.write_at(offset(3 * unit), &[tail, head], true))?;
    holds_at(&*file, 3 * unit, tail)?;
    holds_at(&*file, 3 * unit + tail.len(), head)?;
    same("the length", ok("len", file.len())?, offset((units + 3) * unit))
}

fn many_files(disk: &dyn Disk) -> Verdict {
    let unit = unit(disk);
    let mut files = Vec::new();
    for seed in 0..300 {
        let file = ok("to create", disk.create(&format!("{seed:016x}.seg")))?;
        put(&*file, 0, &pattern(seed, unit))?;
        files.push(file);
    }
    ok("to sync the directory", disk.sync_dir())?;
    same("the count of files", sorted(disk)?.len(), files.len())?;
    for (seed, file) in (0..).zip(&files) {
        holds_at(&**file, 0, &pattern(seed, unit))?;
        if seed % 3 != 0 {
            ok("to remove", disk.remove(&format!("{seed:016x}.seg")))?;
        }
    }
    same("the count of files", sorted(disk)?.len(), 100)
}

/// Each thread writes and reads its own part of one file; nobody disturbs anybody.
fn concurrent_writers(disk: &dyn Disk) -> Verdict {
    const THREADS: usize = 4;
    const PART: usize = 32;
    let unit = unit(disk);
    let file = ok("to create", disk.create("a"))?;
    let write = |number: usize| {
        for round in 0..4 {
            for step in 0..PART {
                // Parts interlace: every neighbour is another thread's.
                let at = (step * THREADS + number) * unit;
                let bytes = pattern(offset(at + round), unit);
                let durable = step % 8 == 0;
                ok("a write", file.write_at(offset(at), &[&bytes], durable))?;
                holds_at(&*file, at, &bytes)?;
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|number| scope.spawn(move || write(number))).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err("a writer panicked".to_owned()))
        })
    })?;
    same("the length", ok("len", file.len())?, offset(THREADS * PART * unit))?;
    (0..THREADS * PART).try_for_each(|step| {
        let at = step * unit;
        holds_at(&*file, at, &pattern(offset(at + 3), unit))
    })
}

fn lock(disk: &dyn Disk) -> Verdict {
    for _ in 0..2 {
        let guard = disk.lock().map_err(|error| format!("to lock failed: {error:?}"))?;
        match disk.lock() {
            Ok(_) => return Err("two hold the lock".to_owned()),
            Err(LockError::Io(error)) => return Err(format!("the lock is held, not {error}")),
            Err(LockError::Held { pid }) => {
                let us = std::process::id();
                same("the holder's process id", pid.unwrap_or(us), us)?;
            }
        }
        ok("to work under the lock", disk.create("a"))?;
        ok("to remove", disk.remove("a"))?;
        drop(guard);
    }
    Ok(())
}
