//! The pure writer, step by step.

use siding_wal::Lsn;
use siding_wal::format::{Kind, RecordHeader, padded_record_len};
use siding_wal::write::{Action, Class, Refusal, Start, Writer};

const SEGMENT: u64 = 64 << 10;

fn writer(ring_size: usize) -> Writer {
    let mut writer = Writer::new(&Start {
        id: [1; 16],
        incarnation: 1,
        epoch: 1,
        write_unit: 512,
        segment_size: SEGMENT,
        ring_size,
        segment: 0,
        position: Lsn::new(512),
        digest: 0,
        durable: Lsn::new(512),
    });
    writer.set_limits(Lsn::new(4 * SEGMENT), Lsn::new(4 * SEGMENT));
    writer
}

fn append(writer: &mut Writer, len: usize) -> Lsn {
    let payload = vec![7; len];
    let header = RecordHeader::of_log(Kind::Mark, &payload);
    match writer.append(&header, &payload, Class::Ordinary) {
        Ok(lsn) => lsn,
        Err(refusal) => panic!("{refusal:?}"),
    }
}

/// Does what the writer says; panics if it never comes to an end.
fn flush(writer: &mut Writer) {
    for _ in 0..100 {
        let Some(action) = writer.next_action() else { return };
        assert!(!matches!(action, Action::Open { .. }), "nothing stands in the next segment");
        let _ = writer.complete(&action);
    }
    panic!("it asks for the same again and again");
}

#[test]
fn a_segment_that_was_entered_and_holds_nothing_is_not_waited_for() {
    let mut writer = writer(256 << 10);
    for _ in 0..4 {
        append(&mut writer, 15_000);
    }
    // A place in the next segment was given, and the record never came: its caller was refused
    // for the memory that the closed batch takes.
    let placed = writer.place(padded_record_len(15_000), Class::Ordinary);
    assert!(matches!(placed, Ok(lsn) if lsn > Lsn::new(SEGMENT)), "{placed:?}");
    let end = writer.end();
    writer.want(end);
    flush(&mut writer);
    assert_eq!(writer.durable(), end);
    assert!(!matches!(writer.place(40, Class::Ordinary), Err(Refusal::Error(_))));
}

#[test]
fn many_batches_that_wait_take_one_write_and_one_sync() {
    let mut writer = writer(256 << 10);
    for _ in 0..3 {
        append(&mut writer, 5_000);
        writer.close_batch();
    }
    writer.want(writer.end());
    let mut done = Vec::new();
    while let Some(action) = writer.next_action() {
        let _ = writer.complete(&action);
        done.push(match action {
            Action::Write { durable: true, .. } => "write durably",
            Action::Write { durable: false, .. } => "write",
            Action::Sync { .. } => "sync",
            Action::Open { .. } => "open",
        });
    }
    assert_eq!(done, ["write", "sync"]);
}

#[test]
fn a_record_as_large_as_the_ring_is_taken_alone() {
    let mut writer = writer(8 << 10);
    append(&mut writer, 15_000);
    let refused = writer.place(40, Class::Reserved);
    assert!(matches!(refused, Err(Refusal::Ring)), "{refused:?}");
    writer.want(writer.end());
    flush(&mut writer);
    append(&mut writer, 15_000);
}
