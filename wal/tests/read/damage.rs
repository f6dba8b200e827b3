//! Damage of every sort: what comes back is what was written, or a name for what happened; only
//! what nothing protects may be cut. And crashes: what a crash can leave is never refused.

use crate::support::{Builder, Image, Outcome, SIZE, Written, open};
use proptest::prelude::*;
use siding_wal::ErrorKind;
use siding_wal::format::{Kind, segment_file_name};

/// Two segments, two opens, a keypoint's worth of kinds; the last commit is unprotected.
fn log() -> Builder {
    let mut log = Builder::new(512);
    log.commit(&[b"one", &[2; 600]]);
    log.append(&[(Kind::Prepare, b"two"), (Kind::Fork, &[3; 64])]);
    log.durable = log.position;
    log.close();
    log.reopen_clean();
    log.commit(&[&[4; 1500]]);
    log.reopen_unclean();
    log.commit(&[b"five"]);
    log.commit(&[&[6; 3000], b"six"]);
    log.append(&[(Kind::Mark, &[0; 40])]);
    log.durable = log.position;
    log.commit(&[b"the last", &[7; 900]]);
    log
}

/// Whether the outcome is one that damage may have: unchanged, named, or a cut above what is
/// protected. Says which.
fn fair(log: &Builder, outcome: &Outcome, protected: u64) -> Result<&'static str, String> {
    if let Some(error) = outcome.refusal() {
        let named = matches!(
            error.kind(),
            ErrorKind::Corrupt
                | ErrorKind::Missing
                | ErrorKind::UnsupportedVersion
                | ErrorKind::ForeignFile
        );
        let nothing = log.written.is_empty() && error.kind() == ErrorKind::NotFound;
        return if named || nothing { Ok("named") } else { Err(format!("{error:?}")) };
    }
    let Outcome::Scan(found, verdict) = outcome else { return Err("no scan".into()) };
    if !log.written.starts_with(found) {
        return Err(format!("records nobody wrote: {found:?}"));
    }
    if found.len() == log.written.len() {
        return Ok("unchanged");
    }
    let lost: &Written = &log.written[found.len()];
    if lost.lsn.get() < protected {
        return Err(format!("cut protected data at {}: {verdict:?}", verdict.end));
    }
    Ok("cut")
}

#[test]
fn every_single_bit() {
    let log = log();
    let disk = log.disk();
    let protected = log.protected(u64::MAX);
    let mut counts = [0_u32; 3];
    let segments = [0, 1].map(segment_file_name);
    for name in segments.iter().map(String::as_str).chain(["control"]) {
        // As far as the files are used; what lies behind is tested by the crashes below.
        for bit in 0..6700 * 8 {
            let flip = |image: &mut Image| image.file(name)[bit / 8] ^= 1 << (bit % 8);
            disk.change(flip);
            match fair(&log, &open(&disk), protected) {
                Ok("unchanged") => counts[0] += 1,
                Ok("named") => counts[1] += 1,
                Ok(_) => counts[2] += 1,
                Err(why) => panic!("bit {bit} of {name}: {why}"),
            }
            disk.change(flip);
        }
    }
    assert!(counts.iter().all(|count| *count > 1000), "{counts:?}");
}

#[test]
fn every_truncation() {
    let log = log();
    let last = segment_file_name(1);
    for name in [segment_file_name(0), last.clone(), "control".to_owned()] {
        let disk = log.disk();
        let all = (0..log.image.files[&name].len()).rev();
        for len in all.filter(|len| *len < 6700 || len % 512 == 0) {
            // What is cut off can protect nothing any more.
            let end = if name == last { SIZE + len as u64 } else { u64::MAX };
            let protected = log.protected(end);
            disk.change(|image| image.file(&name).truncate(len));
            if let Err(why) = fair(&log, &open(&disk), protected) {
                panic!("{name} cut to {len}: {why}");
            }
        }
    }
}

/// How a device may leave a file that was written without a sync.
#[derive(Clone, Debug)]
struct Crash {
    /// Which batches are appended without a sync, as payload sizes.
    unsynced: Vec<usize>,
    /// For each sector of them, whether it arrived.
    arrived: Vec<bool>,
    /// What the file held before: zeros, or an old segment.
    recycled: bool,
    commits: Vec<usize>,
    unit: u32,
}

fn crashes() -> impl Strategy<Value = Crash> {
    (
        prop::collection::vec(0..4000_usize, 0..5),
        prop::collection::vec(any::<bool>(), 64),
        any::<bool>(),
        prop::collection::vec(0..3000_usize, 0..6),
        prop::sample::select(vec![512_u32, 1024, 4096]),
    )
        .prop_map(|(unsynced, arrived, recycled, commits, unit)| Crash {
            unsynced,
            arrived,
            recycled,
            commits,
            unit,
        })
}

/// The log before the crash, and the sectors of its open segment that were in flight.
fn crash(crash: &Crash) -> (Builder, u64) {
    let mut log = Builder::new(crash.unit);
    for round in 0..12_u8 {
        log.commit(&[&[round; 3000], &[round; 90]]);
    }
    if crash.recycled {
        let old = log.image.files[&segment_file_name(0)].clone();
        log.image.files.insert(segment_file_name(1), old);
    }
    log.change_segment();
    for (round, len) in crash.commits.iter().enumerate() {
        log.commit(&[&vec![round as u8; *len]]);
    }
    let durable = log.position;
    let before = log.bytes_at(durable).to_vec();
    for (round, len) in crash.unsynced.iter().enumerate() {
        log.append(&[(Kind::Data, &vec![100 + round as u8; *len])]);
    }
    for (sector, old) in before.chunks(512).enumerate().take(crash.arrived.len()) {
        if !crash.arrived[sector] {
            log.bytes_at(durable.plus(sector as u64 * 512))[..512].copy_from_slice(old);
        }
    }
    (log, durable.get())
}

/// Segment, place, byte and length.
fn wound() -> impl Strategy<Value = (u64, usize, u8, usize)> {
    (0..2_u64, 0..10_000_usize, any::<u8>(), 1..600_usize)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn a_crash_is_never_refused_and_loses_nothing_durable(plan in crashes()) {
        let (mut log, durable) = crash(&plan);
        let Outcome::Scan(found, verdict) = log.outcome() else { panic!("{:?}", log.outcome()) };
        prop_assert!(verdict.refusal().is_none(), "{verdict:?}");
        prop_assert!(log.written.starts_with(&found));
        prop_assert!(verdict.end.get() >= durable, "{verdict:?}");
        // The next open cuts here, and finds the same again.
        let kept = found.len();
        log.forget(verdict.end);
        prop_assert_eq!(log.written.len(), kept);
        prop_assert_eq!(log.digest, verdict.digest);
        log.incarnation = verdict.incarnation;
        if kept > 24 && log.batches.last().unwrap().lsn.get() > SIZE {
            log.reopen_unclean();
        } else {
            // Nothing was kept of segment 1: it is taken again.
            log.incarnation += 1;
            let kept_end = log.kept_end;
            log.start_segment(1, kept_end);
        }
        let Outcome::Scan(again, second) = log.outcome() else { panic!("{:?}", log.outcome()) };
        prop_assert!(second.refusal().is_none(), "{second:?}");
        prop_assert_eq!(&again, &log.written);
        log.commit(&[b"after the crash"]);
        let Outcome::Scan(again, third) = log.outcome() else { panic!("{:?}", log.outcome()) };
        prop_assert!(third.refusal().is_none(), "{third:?}");
        prop_assert_eq!(&again, &log.written);
    }

    #[test]
    fn many_wounds_never_give_what_was_not_written(
        wounds in prop::collection::vec(wound(), 1..6)
    ) {
        let log = log();
        let mut damaged = log.clone();
        for (number, at, byte, len) in wounds {
            damaged.image.file(&segment_file_name(number))[at..at + len].fill(byte);
        }
        if let Outcome::Scan(found, _) = damaged.outcome() {
            prop_assert!(log.written.starts_with(&found));
        }
    }

    #[test]
    fn sectors_may_change_places(a in 0..40_usize, b in 0..40_usize, number in 0..2_u64) {
        let log = log();
        let mut damaged = log.clone();
        let file = damaged.image.file(&segment_file_name(number));
        for byte in 0..512 {
            file.swap(a * 512 + byte, b * 512 + byte);
        }
        if let Outcome::Scan(found, _) = damaged.outcome() {
            prop_assert!(log.written.starts_with(&found));
        }
    }

    #[test]
    fn noise_is_no_log(noise in prop::collection::vec(any::<u8>(), 0..3000), unit in 0..3_u32) {
        let mut log = Builder::new(512 << unit);
        let at = log.position;
        log.bytes_at(at)[..noise.len()].copy_from_slice(&noise);
        let Outcome::Scan(found, verdict) = log.outcome() else { panic!("refused") };
        prop_assert!(found.is_empty() && verdict.refusal().is_none());
        log.image.files.insert(segment_file_name(0), noise.clone());
        prop_assert!(log.outcome().refusal().is_some());
    }
}
