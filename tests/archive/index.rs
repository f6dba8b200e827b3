//! Indexes of the segments of a log that was written by the front door.

use crate::support::{StillClock, quiet};
use siding::archive::{Indexer, Joint, SegmentIndex};
use siding::disk::{AlignedBuf, Disk};
use siding::{ErrorKind, Log, Lsn, Result};
use siding_sim::SimDisk;
use siding_wal::format::{HEADER_LEN, SegmentHeader};
use std::sync::Arc;

/// The bytes of a segment, up to where the next one says that it ends, or to `end`.
fn content(disk: &SimDisk, number: u64, end: Lsn) -> Option<Vec<u8>> {
    let read = |number: u64| {
        let file = disk.open(&format!("{number:016x}.seg")).ok()?;
        let mut bytes = AlignedBuf::zeroed(64 << 10);
        file.read_at(0, bytes.as_mut_slice()).unwrap();
        Some(bytes.as_slice().to_vec())
    };
    let header = |bytes: &[u8]| SegmentHeader::decode(&bytes[..HEADER_LEN]).ok();
    let bytes = read(number)?;
    let first = header(&bytes)?.first_lsn();
    let next = read(number + 1).and_then(|it| header(&it)).map_or(end, |it| it.kept_end);
    let len = usize::try_from(next.since(first)).unwrap();
    Some(bytes[..len].to_vec())
}

fn indexed(bytes: &[u8], piece: usize, wanted: &[Lsn]) -> Result<SegmentIndex> {
    let mut indexer = Indexer::new(None, wanted.to_vec());
    for piece in bytes.chunks(piece) {
        indexer.feed(piece)?;
    }
    indexer.finish(true)
}

/// A log of some segments, over two opens, with marks; and its end.
fn written(disk: &SimDisk) -> Result<Lsn> {
    let clock = StillClock::new();
    let options = || quiet().without_threads(Arc::clone(&clock) as Arc<dyn siding::disk::Clock>);
    let mut end = Lsn::ZERO;
    for _ in 0..2 {
        let log: Log = options().open_on(Arc::new(disk.clone()))?.finish()?;
        for round in 0..40 {
            log.write(&vec![round; 200 * usize::from(round)])?;
            clock.advance(700);
            log.tick();
        }
        log.keypoint()?;
        end = log.positions().end;
        log.close()?;
        end = end.max(log.positions().end);
    }
    Ok(end)
}

#[test]
fn an_index_says_what_is_in_a_segment_whatever_pieces_it_comes_in() -> Result<()> {
    let disk = SimDisk::new(1);
    let end = written(&disk)?;
    let (mut before, mut marks, mut segments) = (Joint { end: Lsn::ZERO, digest: 0 }, 0, 0);
    for number in 0.. {
        let Some(bytes) = content(&disk, number, end) else { break };
        let whole = indexed(&bytes, 1 << 20, &[])?;
        assert_eq!(whole.kept, before, "segment {number} goes on from the one before");
        for piece in [1, 7, 512, 4096] {
            assert_eq!(indexed(&bytes, piece, &[])?, whole);
        }
        assert_eq!(SegmentIndex::decode(&whole.encode())?, whole);
        // A shorter part is the same history, if it is asked for; cut within a batch it is none.
        let mut shorter = 0;
        for len in (512..bytes.len()).step_by(512) {
            match indexed(&bytes[..len], 4096, &[]) {
                Ok(part) => {
                    let told = indexed(&bytes, 4096, &[part.end()])?;
                    assert!(part.written.is_empty() || told.covers(&part), "{part:?}");
                    shorter += 1;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
            }
        }
        assert!(shorter > 3, "{shorter}");
        before = whole.last;
        (marks, segments) = (marks + whole.marks.len(), segments + 1);
    }
    assert_eq!(before.end, end);
    assert!(segments > 4 && marks > 20, "{segments} {marks}");
    Ok(())
}

#[test]
fn a_damaged_segment_gets_no_index() -> Result<()> {
    let disk = SimDisk::new(1);
    let end = written(&disk)?;
    let bytes = content(&disk, 1, end).unwrap();
    let whole = indexed(&bytes, 4096, &[])?;
    let mut padding = 0;
    for at in (0..bytes.len()).step_by(97) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        match indexed(&damaged, 4096, &[]) {
            Err(_) => {}
            // What stands behind the last record of a batch, or the header, means nothing; still
            // the sums see it.
            Ok(index) => {
                assert_ne!(index.plain, whole.plain);
                padding += 1;
            }
        }
    }
    assert!(padding * 10 < bytes.len() / 97, "{padding}");
    Ok(())
}
