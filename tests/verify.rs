//! Verification of a whole log: what is sound, what is wrong, and where.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use siding::{Log, Lsn, Options, Result, Usage, Verification};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn small() -> Options {
    Options::new().segment_size(64 << 10).ring_size(256 << 10)
}

fn verify(path: &Path) -> Verification {
    Log::verify(path, |_| {}).unwrap()
}

/// A log of several segments, closed: a unit in doubt, a keypoint, records of 3000 bytes.
fn make(path: &Path) -> Result<Vec<Lsn>> {
    let log = small().open(path)?.finish()?;
    let mut doubt = log.begin()?;
    doubt.append(b"in doubt")?;
    drop(doubt.prepare(b"gid-1").unwrap());
    let mut starts = Vec::new();
    for number in 0..60_u8 {
        starts.push(log.positions().end);
        log.write(&[number; 3000])?;
        if number == 30 {
            log.keypoint()?;
        }
    }
    log.close()?;
    Ok(starts)
}

fn segment(path: &Path, number: u64) -> PathBuf {
    path.join(format!("{number:016x}.seg"))
}

/// Flips a bit of the byte at `lsn` plus `offset`.
fn flip(path: &Path, lsn: Lsn, offset: u64) {
    let at = lsn.get() + offset;
    let file = segment(path, at >> 16);
    let mut bytes = fs::read(&file).unwrap();
    bytes[usize::try_from(at & 0xffff).unwrap()] ^= 4;
    fs::write(file, bytes).unwrap();
}

fn letters(seen: &Verification) -> Vec<(Option<char>, Option<u64>)> {
    seen.findings.iter().map(|it| (it.letter, it.segment)).collect()
}

#[test]
fn a_sound_log_has_no_findings() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path())?;
    let seen = verify(dir.path());
    assert_eq!(seen.findings, []);
    assert_eq!(seen.row.unwrap().letter, 'A');
    assert_eq!(seen.usage, Usage::Closed);
    assert!(seen.records > 120 && seen.batches > 60 && seen.segments > 3, "{seen:?}");
    assert!(seen.keypoints >= 1 && seen.units == 1, "{seen:?}");
    Ok(())
}

#[test]
fn each_flipped_bit_is_named_with_segment_and_lsn() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let starts = make(dir.path())?;
    // Two in one segment, one of them in a batch's header, and one further on.
    let segment_of = |index: usize| starts[index].get() >> 16;
    assert_eq!(segment_of(2), segment_of(6));
    assert!(segment_of(50) > segment_of(6));
    flip(dir.path(), starts[2], 500);
    flip(dir.path(), starts[6], 20);
    flip(dir.path(), starts[50], 100);
    let seen = verify(dir.path());
    let places: Vec<_> = seen.findings.iter().map(|it| (it.letter, it.lsn.unwrap())).collect();
    assert_eq!(places, [(Some('H'), starts[2]), (Some('H'), starts[6]), (Some('H'), starts[50])]);
    assert_eq!(seen.findings[0].segment, Some(segment_of(2)));
    assert_eq!(seen.row.unwrap().letter, 'A', "behind the damage it goes on to the end");
    Ok(())
}

#[test]
fn every_bit_of_a_record_and_of_a_header_is_looked_at() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let starts = make(dir.path())?;
    for offset in (0..48 + 32 + 3000).step_by(97) {
        flip(dir.path(), starts[10], offset);
        let seen = verify(dir.path());
        assert_eq!(seen.findings.len(), 1, "offset {offset}: {:?}", seen.findings);
        assert_eq!(seen.findings[0].lsn, Some(starts[10]), "offset {offset}");
        flip(dir.path(), starts[10], offset);
    }
    assert_eq!(verify(dir.path()).findings, []);
    Ok(())
}

#[test]
fn a_missing_segment_a_damaged_header_and_a_short_file_are_named() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path())?;
    let path = segment(dir.path(), 1);
    let whole = fs::read(&path).unwrap();

    fs::remove_file(&path).unwrap();
    let seen = verify(dir.path());
    assert_eq!(letters(&seen), [(Some('M'), Some(1))], "{:?}", seen.findings);
    assert!(seen.records > 60, "what stands behind the gap is looked at too: {seen:?}");

    let mut torn = whole.clone();
    torn[40] ^= 1;
    fs::write(&path, &torn).unwrap();
    let seen = verify(dir.path());
    assert_eq!(letters(&seen)[0], (Some('P'), Some(1)), "{:?}", seen.findings);

    fs::write(&path, &whole[..30_000]).unwrap();
    let seen = verify(dir.path());
    assert_eq!(letters(&seen)[0], (Some('G'), Some(1)), "{:?}", seen.findings);

    fs::write(&path, &whole).unwrap();
    assert_eq!(verify(dir.path()).findings, []);
    Ok(())
}

#[test]
fn files_of_others_are_named() -> Result<()> {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path())?;
    make(other.path())?;
    let path = segment(dir.path(), 1);
    let whole = fs::read(&path).unwrap();
    fs::copy(segment(other.path(), 1), &path).unwrap();
    let seen = verify(dir.path());
    assert_eq!(letters(&seen)[0], (None, Some(1)));
    assert!(seen.findings[0].what.contains("another log"), "{:?}", seen.findings);
    fs::write(&path, vec![b'x'; 65536]).unwrap();
    let seen = verify(dir.path());
    assert_eq!((seen.findings[0].name, seen.findings[0].segment), ("foreign file", Some(1)));
    fs::write(&path, &whole).unwrap();
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let seen = verify(dir.path());
    assert_eq!(seen.findings, []);
    assert!(seen.notes.iter().any(|note| note.contains("notes.txt")), "{:?}", seen.notes);
    Ok(())
}

#[test]
fn a_log_in_use_is_verified_while_it_is_trimmed() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path())?.finish()?;
    let mut doubt = log.begin()?;
    doubt.append(b"in doubt")?;
    drop(doubt.prepare(b"gid-1").unwrap());
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let verifier = scope.spawn(|| {
            let mut count = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let seen = verify(dir.path());
                assert_eq!(seen.findings, [], "{seen:?}");
                assert!(seen.row.is_none() && matches!(seen.usage, Usage::Open(_)));
                count += 1;
            }
            count
        });
        let until = Instant::now() + Duration::from_secs(3);
        let mut number = 0_u64;
        while Instant::now() < until && !verifier.is_finished() {
            let lsn = log.write(&[1; 3000])?;
            number += 1;
            if number == 200 {
                // From here on segments are trimmed.
                log.in_doubt().pop().unwrap().commit()?;
            }
            if number.is_multiple_of(40) {
                log.redo_from(lsn)?;
                log.keypoint()?;
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(verifier.join().unwrap() > 3);
        Ok(())
    })?;
    log.close()
}

#[test]
fn what_is_trimmed_under_the_verification_is_no_damage() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let log = small().open(dir.path())?.finish()?;
    for _ in 0..60 {
        log.write(&[1; 3000])?;
    }
    let calls = std::cell::Cell::new(0);
    let seen = Log::verify(dir.path(), |_| {
        calls.set(calls.get() + 1);
        if calls.get() != 3 {
            return;
        }
        // Every segment that was there is trimmed, used again, or removed.
        for _ in 0..8 {
            let lsns: Vec<_> = (0..25).map(|_| log.write(&[2; 3000]).unwrap()).collect();
            let lsn = lsns[lsns.len() - 1];
            log.redo_from(lsn).unwrap();
            log.keypoint().unwrap();
        }
    })?;
    assert_eq!(seen.findings, []);
    assert!(seen.notes.iter().any(|note| note.contains("trimmed while")), "{:?}", seen.notes);
    log.close()
}
