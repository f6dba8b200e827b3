//! Every single bit, flipped: an error, or no change where the document says nobody looks.

use crate::hex;
use crate::image::{Walk, every_kind, walk};
use crate::samples::{self, LOG_ID, RECORD_LSN, seed};
use siding_wal::format::{
    BatchHeader, ControlSlot, HeaderError, Malformed, RecordHeader, RestoredNote, SegmentHeader,
    decode_record,
};

/// Calls `look` with `bytes` in which one bit differs, for each bit, and where it is.
fn flip_each(bytes: &[u8], mut look: impl FnMut(&[u8], usize)) {
    let mut flipped = bytes.to_vec();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            flipped[at] ^= 1 << bit;
            look(&flipped, at);
            flipped[at] ^= 1 << bit;
        }
    }
}

#[test]
fn a_segment_header_notices_every_bit() {
    flip_each(&samples::segment_header().encode(), |bytes, at| {
        let expected = match at {
            // Whoever wrote other magic wrote no segment.
            0..8 => HeaderError::Foreign,
            _ => HeaderError::Malformed(Malformed::Checksum),
        };
        assert_eq!(SegmentHeader::decode(bytes), Err(expected), "offset {at}");
    });
}

#[test]
fn a_blank_segment_header_with_one_bit_is_damaged_or_foreign() {
    assert_eq!(SegmentHeader::decode(&[0; 512]), Err(HeaderError::Blank));
    flip_each(&[0; 512], |bytes, at| {
        let read = SegmentHeader::decode(bytes);
        assert!(matches!(read, Err(HeaderError::Foreign | HeaderError::Malformed(_))), "{at}");
    });
}

#[test]
fn the_note_of_a_restore_notices_every_bit() {
    flip_each(&samples::restored().encode(), |bytes, at| {
        assert_eq!(RestoredNote::decode(bytes), Err(Malformed::Checksum), "offset {at}");
    });
}

#[test]
fn a_control_slot_notices_every_bit() {
    flip_each(&samples::control_slot().encode(), |bytes, at| {
        assert_eq!(ControlSlot::decode(bytes), Err(Malformed::Checksum), "offset {at}");
    });
}

#[test]
fn a_batch_header_notices_every_bit() {
    flip_each(&samples::batch_header().encode(&LOG_ID), |bytes, at| {
        assert_eq!(BatchHeader::decode(bytes, &LOG_ID), Err(Malformed::Checksum), "offset {at}");
    });
    let bytes = samples::batch_header().encode(&LOG_ID);
    flip_each(&LOG_ID, |id, _| {
        let other = id.try_into().unwrap();
        assert_eq!(BatchHeader::decode(&bytes, &other), Err(Malformed::Checksum), "the log id");
    });
}

#[test]
fn a_record_notices_every_bit_but_those_of_its_padding() {
    let payload = b"alice -30";
    let header = samples::data_header(payload);
    let mut bytes = header.encode(seed(), RECORD_LSN).to_vec();
    bytes.extend_from_slice(payload);
    bytes.resize(header.padded_len(), 0);
    let whole = 32 + payload.len();
    flip_each(&bytes, |flipped, at| {
        let read = decode_record(flipped, seed(), RECORD_LSN);
        if at < whole {
            assert_eq!(read, Err(Malformed::Checksum), "offset {at}");
        } else {
            assert_eq!(read, Ok((header, payload.as_slice())), "padding at {at}");
        }
    });
}

#[test]
fn a_record_is_bound_to_its_position_log_and_incarnation() {
    let bytes = samples::data_header(b"").encode(seed(), RECORD_LSN);
    assert!(RecordHeader::decode(&bytes, seed(), RECORD_LSN).is_ok());
    for bit in 3..64 {
        let elsewhere = siding_wal::Lsn::new(RECORD_LSN.get() ^ (1 << bit));
        let read = RecordHeader::decode(&bytes, seed(), elsewhere);
        assert_eq!(read, Err(Malformed::Checksum), "bit {bit} of the LSN");
    }
    for bit in 0..32 {
        let other = siding_wal::format::Seed::new(&LOG_ID, samples::INCARNATION ^ (1 << bit));
        let read = RecordHeader::decode(&bytes, other, RECORD_LSN);
        assert_eq!(read, Err(Malformed::Checksum), "bit {bit} of the incarnation");
    }
}

/// A flip in a segment leaves what was delivered as it was, or a whole number of batches fewer.
#[test]
fn a_segment_is_read_as_it_was_or_cut_at_a_batch() {
    let image = every_kind();
    let file = image.whole();
    let before = walk(&file).unwrap();
    assert_eq!(before.end, image.end());
    let cuts = cuts(&before, &file);
    let (first, written) = (before.header.first_lsn(), image.bytes().len());
    // Behind the end stand zeros; one unit of them is looked at.
    flip_each(&file[..written + 512], |flipped, at| match walk(flipped) {
        Err(_) => assert!(at < 512, "offset {at} is no header"),
        Ok(after) if before.uncovered.contains(&at) || at >= written => {
            assert_eq!(after, before, "offset {at} is covered by nothing");
        }
        Ok(after) => {
            assert!(at >= 512, "offset {at} of the header went unseen");
            let cut = cuts.iter().rfind(|(offset, _)| *offset <= at).unwrap();
            assert_eq!(
                (after.end, after.records.len()),
                (first.plus(cut.0.try_into().unwrap()), cut.1),
                "{at}"
            );
            assert_eq!(after.records[..], before.records[..cut.1], "offset {at}");
        }
    });
}

/// For each batch, where it starts and how many records stand before it.
fn cuts(walk: &Walk, file: &[u8]) -> Vec<(usize, usize)> {
    let mut cuts = Vec::new();
    for (count, record) in walk.records.iter().enumerate() {
        let at = usize::try_from(record.lsn.since(walk.header.first_lsn())).unwrap();
        let start = at - 48;
        if start % 512 == 0 && file[start..start + 4] == *b"SdBt" {
            cuts.push((start, count));
        }
    }
    assert_eq!(cuts.len(), 7, "{}", hex::pairs(&file[512..560]));
    cuts
}
