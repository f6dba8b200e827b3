//! Rules of the plan, one by one.

use crate::world::{Batch, ID, SIZE, Segment, UNIT, manifest};
use siding_checkpoint::{
    Joint, Manifest, Piece, Refusal, Seen, Source, StopUnit, Target, Wanted, Why, plan,
};
use siding_wal::format::UnitState;
use siding_wal::{Error, ErrorKind, Lsn};

fn at(number: u64, units: u64) -> Lsn {
    Lsn::new(number * SIZE + units * UNIT)
}

fn joint(number: u64, units: u64, digest: u32) -> Joint {
    Joint { end: at(number, units), digest }
}

fn segment(number: u64, incarnation: u32, kept: Joint, ends: &[(u64, u32, u64)]) -> Segment {
    let batch = |(units, digest, mark): &(u64, u32, u64)| Batch {
        number: 0,
        incarnation,
        joint: joint(number, *units, *digest),
        told: false,
        mark: (*mark > 0).then_some(*mark),
        label: None,
        cut: false,
    };
    Segment { number, incarnation, kept, batches: ends.iter().map(batch).collect() }
}

fn archived(segment: &Segment) -> Piece {
    Piece { index: segment.index(true, &[]), source: Source::Archive }
}

/// A backup at the end of segment 0, marks at 1,000 to 6,000 in three segments behind it.
fn seen() -> Seen {
    let zero = segment(0, 1, Joint { end: Lsn::ZERO, digest: 0 }, &[(4, 1, 0), (9, 2, 0)]);
    let one = segment(1, 1, joint(0, 9, 2), &[(5, 3, 1_000), (8, 4, 2_000)]);
    let two = segment(2, 1, joint(1, 8, 4), &[(5, 5, 3_000), (9, 6, 4_000)]);
    let three = segment(3, 2, joint(2, 9, 6), &[(5, 7, 5_000), (7, 8, 6_000)]);
    let own = Piece { index: zero.index(false, &[]), source: Source::Archive };
    let backup = manifest([1; 16], at(0, 2), joint(0, 9, 2), 1);
    let pieces = vec![own, archived(&one), archived(&two), archived(&three)];
    Seen { backups: vec![backup], pieces }
}

fn refused(seen: &Seen, target: Target) -> Refusal {
    plan(seen, &Wanted::from(target)).unwrap_err()
}

#[test]
fn a_time_is_the_last_mark_that_is_not_later() {
    let seen = seen();
    for (time, mark, end) in [
        (1_000, 1_000, at(1, 5)),
        (1_999, 1_000, at(1, 5)),
        (2_000, 2_000, at(1, 8)),
        (4_500, 4_000, at(2, 9)),
        (6_000, 6_000, at(3, 7)),
    ] {
        let plan = plan(&seen, &Wanted::from(Target::Time(time))).unwrap();
        assert_eq!((plan.target, plan.mark.unwrap().time_ms), (end, mark), "{time}");
    }
    let early = refused(&seen, Target::Time(999));
    assert_eq!(early.why, Why::TimeBefore(999));
    let late = refused(&seen, Target::Time(6_001));
    assert_eq!(late.why, Why::TimeAfter(6_001));
    assert_eq!(late.reachable.unwrap().times_ms, Some((1_000, 6_000)));
    assert!(late.to_string().contains("1000 ms to 6000 ms"), "{late}");
}

#[test]
fn a_clock_that_went_back_makes_no_time_ambiguous() {
    let mut seen = seen();
    // The second segment says 3,000, then 1,500; the third goes on from there.
    for (piece, times) in [(2, [3_000, 1_500]), (3, [1_600, 9_000])] {
        for (mark, time) in seen.pieces[piece].index.marks.iter_mut().zip(times) {
            mark.time_ms = time;
        }
    }
    let come_to = |time| plan(&seen, &Wanted::from(Target::Time(time))).unwrap().target;
    // Nothing that was there when a later time had been marked.
    assert_eq!(come_to(2_500), at(1, 8));
    assert_eq!(come_to(3_000), at(3, 5));
    assert_eq!(come_to(9_000), at(3, 7));
}

#[test]
fn a_gap_is_named_with_both_its_ends() {
    let mut seen = seen();
    seen.pieces.remove(2);
    let refusal = refused(&seen, Target::Lsn(at(3, 7)));
    let Why::Gap(_, gap) = &refusal.why else { panic!("{refusal:?}") };
    assert_eq!((gap.segment, gap.from, gap.to.end), (2, at(1, 8), at(2, 9)));
    assert_eq!((gap.incarnation, gap.others), (2, false));
    let reachable = refusal.reachable.unwrap();
    assert_eq!((reachable.from, reachable.to), (at(0, 9), at(1, 8)));
    // The end of what can be reached is planned, and the gap told.
    let plan = plan(&seen, &Wanted::from(Target::End)).unwrap();
    assert_eq!((plan.target, plan.unreachable.len()), (at(1, 8), 1));
    assert_eq!(plan.incarnation, 2, "the next open is above what lies behind the gap, too");
    let error = Error::from(refusal);
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert!(error.to_string().contains("segment 0000000000000002"), "{error}");
}

#[test]
fn a_segment_of_another_history_is_no_way() {
    let mut seen = seen();
    // The second segment was cut at a restore, and went on otherwise.
    seen.pieces[2] = archived(&segment(2, 1, joint(1, 8, 4), &[(5, 5, 0), (9, 66, 0)]));
    let refusal = refused(&seen, Target::Lsn(at(3, 7)));
    let Why::Gap(_, gap) = &refusal.why else { panic!("{refusal:?}") };
    assert!(gap.others && refusal.to_string().contains("of another history"), "{refusal}");
}

#[test]
fn each_history_is_had_by_its_incarnation() {
    let mut seen = seen();
    // Incarnation 3 went on from the first batch of segment 1.
    let cut = segment(1, 1, joint(0, 9, 2), &[(5, 3, 1_000)]);
    let other = segment(2, 3, joint(1, 5, 3), &[(20, 70, 7_000)]);
    seen.pieces.extend([archived(&cut), archived(&other)]);
    let of =
        |target: Target, incarnation| plan(&seen, &Wanted { incarnation, ..Wanted::from(target) });
    let newest = of(Target::End, None).unwrap();
    assert_eq!((newest.target, newest.log.len()), (at(2, 20), 3));
    assert_eq!(of(Target::End, Some(3)).unwrap().target, at(2, 20));
    assert_eq!(of(Target::End, Some(2)).unwrap().target, at(3, 7));
    // Incarnation 1 wrote more than was kept of it at the restore.
    assert_eq!(of(Target::End, Some(1)).unwrap().target, at(2, 9));
    let refusal = of(Target::End, Some(9)).unwrap_err();
    assert_eq!((refusal.why, refusal.others.len()), (Why::NoIncarnation(9), 2));
    // A position of the other history is refused, and that said.
    let refusal = of(Target::Lsn(at(3, 7)), None).unwrap_err();
    assert_eq!(refusal.why, Why::Above(at(3, 7)));
    assert_eq!(refusal.others[0].to, at(3, 7));
}

#[test]
fn increments_rest_on_a_backup_with_objects() {
    let mut seen = seen();
    let two = segment(2, 1, joint(1, 8, 4), &[(5, 5, 0)]);
    seen.pieces.push(archived(&two));
    let doubt = StopUnit { unit: 9, state: UnitState::InDoubt, gid: b"gid".to_vec() };
    let (parent, units) = (Some([1; 16]), vec![doubt]);
    let child = manifest([2; 16], at(2, 1), joint(2, 5, 5), 1);
    seen.backups.push(Manifest { parent, units, ..child });
    // The longer piece does not say that a batch ends there: the shorter one serves.
    let plan_of = |seen: &Seen, id| plan(seen, &Wanted::from(Target::BackupEnd(id)));
    let plan = plan_of(&seen, Some([2; 16])).unwrap();
    assert_eq!((plan.backup, plan.target), ([1; 16], at(2, 5)));
    assert_eq!((plan.increments.clone(), plan.in_doubt.len()), (vec![[2; 16]], 1));
    assert_eq!(plan.floor, at(0, 2));
    let first = plan_of(&seen, Some([1; 16])).unwrap();
    assert_eq!((first.target, first.increments.len(), first.log.len()), (at(0, 9), 0, 1));
    seen.backups.remove(0);
    let refusal = plan_of(&seen, Some([2; 16])).unwrap_err();
    assert_eq!(refusal.why, Why::NoParent([1; 16]));
    assert_eq!(plan_of(&seen, Some([9; 16])).unwrap_err().why, Why::NoSuchBackup([9; 16]));
}

#[test]
fn logs_are_not_mixed() {
    let mut seen = seen();
    let mut other = manifest([5; 16], at(0, 2), joint(0, 9, 2), 1);
    other.log_id = [9; 16];
    seen.backups.push(other);
    assert_eq!(refused(&seen, Target::End).why, Why::SeveralLogs(2));
    let wanted = Wanted { log_id: Some(ID), ..Wanted::from(Target::End) };
    assert_eq!(plan(&seen, &wanted).unwrap().target, at(3, 7));
    assert_eq!(refused(&Seen::default(), Target::End).why, Why::NoBackup);
    // A backup whose own log is gone serves nothing.
    seen.backups.remove(1);
    seen.pieces.remove(0);
    assert_eq!(refused(&seen, Target::End).why, Why::NoLog([1; 16]));
}
