//! That the logs hold what they are said to hold: else the rest would prove less.

use crate::history::{DISCIPLINES, End, SEGMENT, one_segment, several_segments};
use crate::witness::Whole;
use siding::{Discipline, Kind};
use siding_wal::format::{SegmentHeader, flags};
use std::collections::BTreeSet;

/// Every kind of record that this version writes, with its flags.
fn written(discipline: Discipline) -> BTreeSet<(Kind, u8)> {
    let mut all = BTreeSet::from([
        (Kind::Data, 0),
        (Kind::Compensation, 0),
        (Kind::Prepare, 0),
        (Kind::Commit, 0),
        (Kind::Commit, flags::END),
        (Kind::End, 0),
        (Kind::Fork, 0),
        (Kind::Directory, 0),
        (Kind::KeypointBegin, 0),
        (Kind::KeypointChunk, 0),
        (Kind::KeypointEnd, 0),
        (Kind::Mark, 0),
        (Kind::Close, 0),
    ]);
    // Under repeat history END follows once all is undone.
    let end = if discipline == Discipline::DeferredApply { flags::END } else { 0 };
    all.insert((Kind::Abort, end));
    all.insert((Kind::Abort, end | flags::WAS_PREPARED | flags::HEURISTIC));
    if end > 0 {
        all.insert((Kind::Abort, flags::WAS_PREPARED));
    }
    all
}

#[test]
fn a_log_of_one_segment_is_nearly_full_and_holds_every_kind_of_record() {
    for discipline in DISCIPLINES {
        for end in [End::Close, End::Crash] {
            let whole = Whole::of(one_segment(discipline, end), discipline, end);
            let name = whole.segments()[0];
            assert_eq!((whole.segments().len(), whole.files[name].len()), (1, SEGMENT));
            assert!(whole.end.get() > (64 + 52) << 10, "{}", whole.end);
            assert_eq!(whole.oldest.get() >> 16, 1, "{}", whole.oldest);
            assert_eq!(whole.kinds(), written(discipline), "{discipline:?}");
        }
    }
}

#[test]
fn a_log_of_several_segments_was_trimmed_and_has_void_and_blank_stretches() {
    for discipline in DISCIPLINES {
        let whole = Whole::of(several_segments(discipline), discipline, End::Close);
        let first = format!("{:016x}.seg", whole.oldest.get() / SEGMENT as u64);
        let live = whole.files.iter().filter(|(name, _)| name.ends_with(".seg") && **name >= first);
        let headers: Vec<_> = live.map(|(_, bytes)| SegmentHeader::decode(bytes)).collect();
        let blank = headers.iter().filter(|header| header.is_err()).count();
        let void = headers.iter().flatten().filter(|it| it.kept_end < it.first_lsn()).count();
        assert!(first > format!("{:016x}.seg", 0) && blank >= 2 && void >= 1, "{headers:?}");
        assert!(headers.len() - blank >= 3, "{headers:?}");
    }
}
