//! The logs that are damaged: they hold every kind of record that can be written.

use crate::disk::{Copied, Files};
use crate::support::StillClock;
use siding::{
    Cause, Discipline, InDoubt, Log, Lsn, Options, Outcome, Recovery, Result, UnitOfWork,
};
use siding_wal::format::{BATCH_HEADER_LEN, BatchHeader, HEADER_LEN, RecordHeader, SegmentHeader};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

pub(crate) const DISCIPLINES: [Discipline; 2] =
    [Discipline::DeferredApply, Discipline::RepeatHistory];

/// Bytes of each segment: the least there can be.
pub(crate) const SEGMENT: usize = 64 << 10;

/// Batches start and end at multiples of this.
pub(crate) const UNIT: usize = 512;

/// How a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was closed.
    Close,
    /// Right behind a commit that was acknowledged: nothing vouches for its batch yet.
    Crash,
}

/// How every log here is opened, before the damage and after it.
pub(crate) fn options(clock: &Arc<StillClock>) -> Options {
    Options::new()
        .segment_size(64 << 10)
        .ring_size(64 << 10)
        .write_unit(512)
        .without_threads(Arc::<StillClock>::clone(clock))
}

fn start(disk: &Arc<Copied>, clock: &Arc<StillClock>, discipline: Discipline) -> Result<Log> {
    in_use(
        options(clock)
            .discipline(discipline)
            .undo(|record| Ok(record.payload().to_vec()))
            .open_on(Arc::<Copied>::clone(disk))?,
    )
}

/// The log in use, once what was in flight is undone.
pub(crate) fn in_use(recovery: Recovery) -> Result<Log> {
    for unit in recovery.in_flight() {
        unit.undo(|record| Ok(record.payload().to_vec()))?;
    }
    recovery.finish()
}

/// One segment, nearly full, over two opens: work of every kind lies between the redo position and
/// the last keypoint, and there are units that lie across each of the two keypoints. The segment
/// before it is trimmed: units that were in it have moved.
pub(crate) fn one_segment(discipline: Discipline, end: End) -> Files {
    let disk = Arc::new(Copied::default());
    let clock = StillClock::new();
    let log = start(&disk, &clock, discipline).unwrap();
    let mut moved = old_units(&log).unwrap();
    log.write(&bytes(1, 1_330)).unwrap();
    drop(unit(&log, 2).unwrap().prepare(b"doubt-0").unwrap());
    drop(unit(&log, 3).unwrap().decide().unwrap());
    log.keypoint().unwrap();
    unit(&log, 4).unwrap().commit().unwrap();
    let redo = log.positions().end;
    log.ensure_durable(redo).unwrap();
    moved.append(b"behind the move").unwrap();
    moved.commit().unwrap();
    log.close().unwrap();
    let log = start(&disk, &clock, discipline).unwrap();
    for doubt in log.in_doubt().into_iter().filter(|doubt| doubt.gid() == b"twice") {
        // What it wrote since, and that it is prepared, moves into a file of this open.
        assert!(log.fork(doubt.id()).unwrap() > 0);
    }
    busy(&log, discipline, 1).unwrap();
    clock.advance(2_000);
    log.tick();
    log.redo_from(redo).unwrap();
    log.keypoint().unwrap();
    for doubt in log.in_doubt().into_iter().filter(|doubt| doubt.gid() == b"doubt-0") {
        doubt.commit().unwrap();
    }
    // The first of them has moved, and stays.
    log.decided().into_iter().nth(1).unwrap().end().unwrap();
    unit(&log, 5).unwrap().commit().unwrap();
    while log.positions().end < Lsn::new((SEGMENT + (52 << 10)) as u64) {
        log.write(&bytes(6, 1_330)).unwrap();
    }
    match end {
        End::Close => log.close().unwrap(),
        End::Crash => {
            log.write(&bytes(7, 1_330)).unwrap();
            log.abandon();
        }
    }
    let mut files = disk.files();
    // Prepared and never used: `several_segments` keeps them.
    files.retain(|name, _| !name.ends_with(".seg") || *name == format!("{:016x}.seg", 1));
    files.insert("lock".to_owned(), Arc::new(b"12345\n".to_vec()));
    files
}

/// Units that are moved while the first segment is filled, which is trimmed then: one in doubt
/// that goes on behind the move, one in doubt and one decided that are moved whole, and one that
/// is to be committed.
fn old_units(log: &Log) -> Result<UnitOfWork> {
    let mut moved = Vec::new();
    for tag in 40..44 {
        let mut unit = log.begin()?;
        unit.append(&bytes(tag, 60))?;
        let save = unit.savepoint();
        unit.append_to(3, &bytes(tag + 1, 20))?;
        unit.roll_back_to(&save, |record| Ok(record.payload()[..8].to_vec()))?;
        unit.append_to(4, &bytes(tag + 2, 30))?;
        moved.push(unit);
    }
    let [mut twice, once, decided, committed] = moved.try_into().unwrap();
    for unit in [&twice, &committed] {
        log.fork(unit.id())?;
    }
    let once = once.prepare(b"once")?;
    let decided = decided.decide()?;
    for unit in [once.id(), decided.id()] {
        log.fork(unit)?;
    }
    while log.positions().end < Lsn::new(SEGMENT as u64) {
        log.write(&bytes(47, 1_330))?;
    }
    twice.append(b"behind the first move")?;
    drop((twice.prepare(b"twice")?, once, decided));
    log.tick();
    log.redo_from(log.positions().durable)?;
    log.keypoint()?;
    log.tick();
    Ok(committed)
}

/// Several segments over three opens, the second of which crashed: some were trimmed and used
/// again, one ends in the middle, and prepared ones stand behind the last.
pub(crate) fn several_segments(discipline: Discipline) -> Files {
    let disk = Arc::new(Copied::default());
    let clock = StillClock::new();
    let mut round = 0;
    for open in 0..3 {
        let log = start(&disk, &clock, discipline).unwrap();
        for part in 0..4 {
            busy(&log, discipline, round).unwrap();
            clock.advance(2_000);
            log.tick();
            round += 1;
            // What the last open finds stays as the crash left it.
            if part == 1 && open < 2 {
                trim(&log);
            }
        }
        if open == 1 { log.abandon() } else { log.close().unwrap() }
    }
    disk.files()
}

/// Ends all that lives, and lets go of what is below.
fn trim(log: &Log) {
    log.in_doubt().into_iter().for_each(|doubt| assert!(doubt.commit().is_ok()));
    log.decided().into_iter().for_each(|decided| decided.end().unwrap());
    log.redo_from(log.positions().durable).unwrap();
    log.keypoint().unwrap();
    log.tick();
}

/// Bytes that differ from unit to unit.
fn bytes(tag: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((tag * 31 + at * 7) % 251).unwrap()).collect()
}

/// A unit of several records, the middle one taken back.
fn unit(log: &Log, tag: usize) -> Result<UnitOfWork> {
    let mut unit = log.begin()?;
    unit.append(&bytes(tag, 640))?;
    let save = unit.savepoint();
    unit.append_to(3, &bytes(tag + 1, 430))?;
    unit.roll_back_to(&save, |record| Ok(record.payload()[..8].to_vec()))?;
    unit.append_to(4, &bytes(tag + 2, 100))?;
    Ok(unit)
}

/// Work of every kind; gives a redo position in the middle of it.
fn busy(log: &Log, discipline: Discipline, round: usize) -> Result<Lsn> {
    let tag = round * 100;
    let name = |what: &str| format!("{what}-{round}").into_bytes();
    let prepared =
        |what: &str, tag| -> Result<InDoubt> { Ok(unit(log, tag)?.prepare(&name(what))?) };
    log.write(&bytes(tag, 1_330))?;
    let redo = unit(log, tag + 1)?.commit()?;
    unit(log, tag + 2)?.back_out()?;
    drop(prepared("doubt", tag + 3)?);
    drop(unit(log, tag + 4)?.decide()?);
    unit(log, tag + 5)?.decide()?.end()?;
    let mut decided = prepared("decided", tag + 6)?.decide(Outcome::Commit)?;
    decided.append(b"told the first of two")?;
    drop(decided);
    prepared("commit", tag + 7)?.commit()?;
    prepared("back-out", tag + 8)?.heuristically(Cause::Operator, "ops").back_out()?;
    if discipline == Discipline::DeferredApply {
        // Under repeat history it would be in flight, and nothing could be closed.
        drop(prepared("aborted", tag + 9)?.decide(Outcome::BackOut)?);
    }
    Ok(redo)
}

/// Where each batch of a segment stands in its file, padding left out, up to `end`.
pub(crate) fn batches(segment: &[u8], end: Lsn) -> Vec<Range<usize>> {
    let header = SegmentHeader::decode(segment).unwrap();
    let mut found = Vec::new();
    let mut at = UNIT;
    while at < segment.len() && header.first_lsn().plus(at as u64) < end {
        let Ok(batch) = BatchHeader::decode(&segment[at..], &header.log_id) else { break };
        if batch.lsn != header.first_lsn().plus(at as u64) {
            break;
        }
        found.push(at..at + usize::try_from(batch.len).unwrap());
        at = usize::try_from(batch.next(512).since(header.first_lsn())).unwrap();
    }
    found
}

/// How many bytes of each segment that is looked at were kept: of those from that of `oldest` on.
pub(crate) fn kept(files: &Files, oldest: Lsn, end: Lsn) -> BTreeMap<String, usize> {
    let mut kept = BTreeMap::new();
    // The newest first: a header says where what was kept before it ends.
    let mut upto = end;
    for (name, bytes) in files.iter().rev().filter(|(name, _)| name.ends_with(".seg")) {
        let Ok(header) = SegmentHeader::decode(bytes) else { continue };
        if header.first_lsn().plus(header.segment_size) <= oldest {
            break;
        }
        kept.insert(name.clone(), usize::try_from(upto.since(header.first_lsn())).unwrap());
        upto = header.kept_end;
    }
    kept
}

/// Which bytes of each file a checksum covers that is looked at: the headers of segments, and the
/// headers and payloads in what was kept of them. Below `oldest` the headers of batches alone:
/// they lead to what is above.
pub(crate) fn covered(files: &Files, oldest: Lsn, end: Lsn) -> BTreeMap<String, Vec<bool>> {
    let kept = kept(files, oldest, end);
    let mut covered: BTreeMap<_, _> =
        files.iter().map(|(name, bytes)| (name.clone(), vec![false; bytes.len()])).collect();
    for (name, mark) in &mut covered {
        let Some(kept) = kept.get(name) else { continue };
        let bytes = &files[name];
        let first = SegmentHeader::decode(bytes).unwrap().first_lsn();
        mark[..HEADER_LEN].fill(true);
        for batch in batches(bytes, first.plus(*kept as u64)) {
            let mut at = batch.start + BATCH_HEADER_LEN;
            mark[batch.start..at].fill(true);
            while at < batch.end {
                let record = RecordHeader::parse(&bytes[at..]).unwrap();
                let kept = first.plus(at as u64) >= oldest;
                mark[at..at + usize::try_from(record.len).unwrap()].fill(kept);
                at += record.padded_len();
            }
        }
    }
    covered
}
