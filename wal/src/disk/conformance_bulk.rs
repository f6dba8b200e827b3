//! The part of the suite that asks for much at once: many reads, and long stretches.

use super::conformance::{Check, offset, pattern, put, unit};
use super::suite::{Verdict, holds, ok, same};
use super::{AlignedBuf, Disk, LogFile};
use std::sync::Arc;

pub(super) const CHECKS: &[Check] = &[
    ("many reads at once", many_reads),
    ("stretches read ahead", stretches),
    ("a long write in many slices", long_write),
];

/// A file of `units`, and what it holds.
fn file_of(disk: &dyn Disk, name: &str, units: usize) -> Verdict<(Arc<dyn LogFile>, AlignedBuf)> {
    let file = ok("to create", disk.create(name))?;
    let bytes = pattern(offset(units), units * unit(disk));
    put(&*file, 0, &bytes)?;
    Ok((file, bytes))
}

fn many_reads(disk: &dyn Disk) -> Verdict {
    let unit = unit(disk);
    let (file, bytes) = file_of(disk, "a", 300)?;
    // More than a device takes at once, backwards, some beyond the end.
    let places: Vec<usize> = (0..150).rev().map(|number| number * 2 + 13).collect();
    let mut bufs = vec![AlignedBuf::zeroed(2 * unit); places.len()];
    let mut reads: Vec<(u64, &mut [u8])> = places
        .iter()
        .zip(&mut bufs)
        .map(|(at, buf)| (offset(at * unit), buf.as_mut_slice()))
        .collect();
    let counts = file.read_many(&mut reads);
    same("the count of answers", counts.len(), places.len())?;
    for ((at, buf), count) in places.iter().zip(&bufs).zip(counts) {
        let count = ok("one of many reads", count)?;
        let due = bytes.get(at * unit..bytes.len().min((at + 2) * unit)).unwrap_or_default();
        same(&format!("the count of a read at unit {at}"), count, due.len())?;
        holds("a wrong byte", buf.get(..count).unwrap_or_default() == due)?;
    }
    same("reads of nothing", file.read_many(&mut []).len(), 0)?;
    let mut odd = AlignedBuf::zeroed(2 * unit);
    let (one, two) = odd.split_at_mut(unit);
    let counts = file.read_many(&mut [(offset(unit), one), (1, two)]);
    let outcome: Vec<bool> = counts.iter().map(Result::is_ok).collect();
    same("a misaligned read among others", outcome, vec![true, false])
}

/// Two files, one behind the other, through one pipe, if there is one.
fn stretches(disk: &dyn Disk) -> Verdict {
    let stretch = 16 * unit(disk);
    let (one, first) = file_of(disk, "a", 70)?;
    let (two, second) = file_of(disk, "b", 33)?;
    let Some(mut pipe) = one.pipe(3, stretch) else { return Ok(()) };
    let asks = |file: &Arc<dyn LogFile>, bytes: &AlignedBuf| {
        let count = bytes.len().div_ceil(stretch) + 1;
        let file = Arc::clone(file);
        (0..count).map(move |number| (Arc::clone(&file), number * stretch))
    };
    let all: Vec<_> = asks(&one, &first).chain(asks(&two, &second)).collect();
    let (mut came, mut asked) = (AlignedBuf::default(), 0);
    for done in 0..all.len() {
        while let Some((file, at)) = all.get(asked).filter(|_| asked < done + 3) {
            ok("to ask for a stretch", pipe.ask(file, offset(*at)))?;
            asked += 1;
        }
        let count = ok("a stretch", pipe.next())?;
        same("the length of the current stretch", pipe.current().len(), count)?;
        came.extend_from_slice(pipe.current());
    }
    let mut due = first;
    due.extend_from_slice(&second);
    holds("stretches show another file", *came == *due)?;
    // Dropped with reads under way: nothing may come of it.
    ok("to ask for a stretch", pipe.ask(&one, 0))?;
    drop(pipe);
    holds_still(&*two, &second)
}

fn holds_still(file: &dyn LogFile, due: &[u8]) -> Verdict {
    let mut buf = AlignedBuf::zeroed(due.len());
    same("the count of a read", ok("a read", file.read_at(0, &mut buf))?, due.len())?;
    holds("a wrong byte", *buf == *due)
}

/// As batches that have gathered are written: long slices, one behind the other, in one call.
fn long_write(disk: &dyn Disk) -> Verdict {
    let unit = unit(disk);
    let file = ok("to create", disk.create("a"))?;
    let lens = [1 << 20, 3 << 19, unit, 1 << 20, (2 << 20) + unit, 7 * unit];
    for durable in [false, true] {
        let seed = |index: usize| offset(2 * index) + u64::from(durable);
        let part = |(index, len): (usize, &usize)| pattern(seed(index), *len);
        let parts: Vec<AlignedBuf> = lens.iter().enumerate().map(part).collect();
        let slices: Vec<&[u8]> = parts.iter().map(AlignedBuf::as_slice).collect();
        ok("a long write", file.write_at(offset(unit), &slices, durable))?;
        let mut due = AlignedBuf::zeroed(unit);
        slices.iter().for_each(|slice| due.extend_from_slice(slice));
        same("the length", ok("len", file.len())?, offset(due.len()))?;
        holds_still(&*file, &due)?;
    }
    Ok(())
}
