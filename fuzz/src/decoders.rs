//! Single structures: bytes in, values out, and the same bytes again.

use crate::files::disk;
use crate::seal;
use siding::archive::{Indexer, SegmentIndex};
use siding_fork::pool::Pool;
use siding_wal::Lsn;
use siding_wal::chain::Copies as _;
use siding_wal::format::{
    Compensation, ControlSlot, Decision, DirectoryChunk, Discipline, EXTENT_FILE_HEADER_LEN,
    Extent, ExtentFileHeader, ExtentHead, ExtentPlace, ForkPayload, KeypointBegin, KeypointChunk,
    KeypointEnd, MarkPayload, Packer, PreparePayload, RecordHeader, RestoredNote, SPtr, Seed,
    SegmentHeader, decode_record, extent_file_name, label_of, label_payload, newest_slot,
    parse_extent_name, parse_segment_name, segment_file_name,
};
use siding_wal::read::{Step, survey};

const ID: [u8; 16] = *b"siding fuzz log.";

/// Up to eight bytes in front as a number.
fn take(data: &mut &[u8], len: usize) -> u64 {
    let (front, rest) = data.split_at(len.min(data.len()));
    *data = rest;
    front.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// A record anywhere: its checksums as given, or put right.
pub fn record(mut data: &[u8]) {
    let sealed = take(&mut data, 1) % 2 == 1;
    let incarnation = u32::try_from(take(&mut data, 4)).unwrap_or(0);
    let lsn = take(&mut data, 8);
    let mut bytes = data.to_vec();
    if sealed {
        seal::record(&mut bytes, &ID, incarnation, lsn);
    }
    let seed = Seed::new(&ID, incarnation);
    let _ = RecordHeader::parse(&bytes);
    let Ok((header, payload)) = decode_record(&bytes, seed, Lsn::new(lsn)) else { return };
    assert_eq!(header.payload_len(), payload.len());
    assert!(header.prev.is_zero() || header.prev < Lsn::new(lsn), "a chain goes back");
    assert_eq!(header.encode(seed, Lsn::new(lsn)), bytes[..32]);
    assert!(header.padded_len() >= 32 + payload.len() && header.padded_len() % 8 == 0);
}

/// The manifest of a backup: its checksum as given, or put right.
pub fn manifest(mut data: &[u8]) {
    let sealed = take(&mut data, 1) % 2 == 1;
    let mut bytes = data.to_vec();
    if let Some((body, crc)) = bytes.split_last_chunk_mut::<4>()
        && sealed
    {
        *crc = crc32c::crc32c(body).to_le_bytes();
    }
    let Ok(manifest) = siding::Manifest::decode(&bytes) else { return };
    assert_eq!(manifest.encode(), bytes);
    for file in &manifest.files {
        assert!(!file.stored.contains('/') && file.stored != "..");
    }
}

/// The index of an archived segment, its checksum as given or put right; and a segment's bytes, in
/// pieces, as an index is made of them.
pub fn segment_index(mut data: &[u8]) {
    let how = take(&mut data, 1);
    if how % 3 == 2 {
        let mut indexer = Indexer::new(None, Vec::new());
        let pieces = data.chunks(usize::try_from(1 + how).unwrap_or(1));
        let fed = pieces.into_iter().try_for_each(|piece| indexer.feed(piece));
        if let (Ok(()), Ok(index)) = (fed, indexer.finish(false)) {
            assert_eq!(SegmentIndex::decode(&index.encode()).ok(), Some(index));
        }
        return;
    }
    let mut bytes = data.to_vec();
    if let Some((body, crc)) = bytes.split_last_chunk_mut::<4>()
        && how % 3 == 1
    {
        *crc = crc32c::crc32c(body).to_le_bytes();
    }
    let Ok(index) = SegmentIndex::decode(&bytes) else { return };
    assert_eq!(index.encode(), bytes);
    assert!(index.covers(&index) && index.end() >= index.first_batch());
    let named = siding::archive::name_of(&index.segment_name());
    assert_eq!(named, siding::archive::Name::Segment(index.stem(), index.compression));
}

/// Batches in an otherwise sound segment, by the scan that restart makes.
pub fn batch(mut data: &[u8]) {
    const UNIT: usize = 512;
    const SIZE: u64 = 64 << 10;
    let sealed = take(&mut data, 1) % 2 == 1;
    let number = take(&mut data, 1);
    let first = number * SIZE;
    let header = SegmentHeader {
        compatible: 0,
        incompatible: 0,
        log_id: ID,
        path_id: ID,
        discipline: Discipline::DeferredApply,
        incarnation: 1,
        epoch: 1,
        write_unit: 512,
        segment_size: SIZE,
        number,
        kept_end: Lsn::new(first),
        kept_digest: 0,
        oldest: Lsn::new(first),
        keypoint_begin: Lsn::ZERO,
        keypoint_end: Lsn::ZERO,
        unit_block: 1,
        created_ms: 0,
    };
    let mut segment = header.encode().to_vec();
    segment.resize(UNIT, 0);
    segment.extend_from_slice(data);
    segment.resize(64 << 10, 0);
    if sealed {
        seal::batches(&mut segment, &ID, first, UNIT, 0);
    }
    let disk = disk(&[(segment_file_name(number), segment)]).expect("a directory in memory");
    let Ok(found) = survey(&disk) else { return };
    let Ok(mut scan) = found.scan() else { return };
    let mut position = Lsn::ZERO;
    while let Ok(Step::Batch(batch)) = scan.next_batch() {
        assert!(batch.lsn >= position, "a scan goes on");
        position = batch.next(512);
        let records: Vec<_> = scan.records().collect();
        assert_eq!(records.len(), usize::try_from(batch.count).unwrap_or(usize::MAX));
    }
}

/// An extent anywhere, and the file it stands in: checksums as given, or put right.
pub fn extent(mut data: &[u8]) {
    const UNIT: usize = 512;
    let sealed = take(&mut data, 1) % 2 == 1;
    let number = take(&mut data, 8).max(1);
    let at = SPtr { extent: number, offset: 64 };
    let place = ExtentPlace { log_id: ID, at };
    let mut bytes = data.to_vec();
    // What a file has behind it.
    bytes.resize(bytes.len().next_multiple_of(UNIT), 0);
    if sealed {
        seal::extent(&mut bytes, &place);
    }
    let whole = Extent::decode(bytes.clone(), &place).ok();
    let head = ExtentHead::decode(&bytes, &place).ok();
    if let Some(extent) = &whole {
        assert_eq!(head, Some(extent.head));
        assert_eq!(again(extent, &place), copies(extent), "the same copies when packed again");
    }
    // The same extent by way of its file.
    let header = ExtentFileHeader { log_id: ID, number, write_unit: 512 };
    let mut file = header.encode().to_vec();
    file.resize(UNIT, 0);
    file.extend_from_slice(&bytes);
    let disk = disk(&[(extent_file_name(number), file)]).expect("a directory in memory");
    let pool = Pool::open_for_reading(std::sync::Arc::new(disk), ID);
    let unit = head.map_or(1, |head| head.unit);
    let read = pool.extent(unit, at).ok();
    assert_eq!(read.is_some(), whole.is_some(), "it is found where it stands, or not at all");
    let found = pool.sweep(&[(unit, at)]).expect("a directory in memory");
    assert_eq!(found.extents, u64::from(head.is_some()));
    assert!(found.problems > 0 || head.is_some_and(|head| head.parent == SPtr::NONE));
    file_header(data);
}

/// The copies of an extent: where the originals stood, and what they were.
fn copies(extent: &Extent) -> Vec<(Lsn, Vec<u8>)> {
    let copied = (0..extent.len()).filter_map(|index| extent.get(index));
    copied.map(|copied| (copied.lsn, extent.record(copied).to_vec())).collect()
}

fn again(extent: &Extent, place: &ExtentPlace) -> Vec<(Lsn, Vec<u8>)> {
    let head = extent.head;
    let older = head.total_count - u64::from(head.count);
    let behind = (older > 0).then_some((head.parent, older, 0));
    let mut packer = Packer::new(head.unit, head.moves, behind);
    copies(extent).iter().for_each(|(lsn, record)| packer.push(*lsn, record));
    let (packed, bytes) = packer.seal(place);
    let same = (packed.count, packed.len, packed.oldest, packed.newest, packed.total_count);
    assert_eq!(same, (head.count, head.len, head.oldest, head.newest, head.total_count));
    copies(&Extent::decode(bytes, place).expect("it was written here"))
}

fn file_header(data: &[u8]) {
    let mut sealed = data.to_vec();
    seal::extent_file(&mut sealed);
    for bytes in [data, &sealed] {
        if let Ok(header) = ExtentFileHeader::decode(bytes) {
            let again = header.encode();
            assert_eq!(again.len(), EXTENT_FILE_HEADER_LEN);
            assert_eq!(ExtentFileHeader::decode(&again), Ok(header));
        }
    }
    if let Some(number) = std::str::from_utf8(data).ok().and_then(parse_extent_name) {
        assert_eq!(extent_file_name(number).as_bytes(), data);
    }
}

/// Decodes, and what was decoded must survive being written.
macro_rules! both_ways {
    ($data:expr, $($kind:ty),*) => {$(
        if let Ok(value) = <$kind>::decode($data) {
            let bytes = value.encode();
            assert_eq!(<$kind>::decode(&bytes).as_ref(), Ok(&value));
            assert!(bytes.len() <= $data.len() * 4 + 64, "no more than its bytes account for");
        }
    )*};
}

/// What control records, control slots and segment headers carry.
pub fn payloads(data: &[u8]) {
    both_ways!(
        data,
        PreparePayload,
        ForkPayload,
        MarkPayload,
        KeypointBegin,
        KeypointChunk,
        KeypointEnd,
        DirectoryChunk,
        ControlSlot
    );
    if let Ok(value) = Decision::decode(data) {
        let again = Decision::decode(&value.encode()).expect("it was written here");
        // A name that is no text is shown as well as it can be, and may be longer so.
        assert!(value.who.starts_with(&again.who), "{again:?}");
        assert_eq!(again, Decision { who: again.who.clone(), ..value });
    }
    if let Ok(value) = Compensation::decode(data) {
        assert_eq!(value.encode(), data);
    }
    if let Ok(header) = SegmentHeader::decode(data) {
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    }
    let _ = newest_slot(data);
    if let Some(number) = std::str::from_utf8(data).ok().and_then(parse_segment_name) {
        assert_eq!(segment_file_name(number).as_bytes(), data);
    }
    let mut sealed = data.to_vec();
    seal::control(&mut sealed);
    seal::segment(&mut sealed);
    both_ways!(&sealed[..], ControlSlot);
    let mut note = data.to_vec();
    seal::note(&mut note);
    both_ways!(&note[..], RestoredNote);
    if let (Some(name), Ok(mark)) = (label_of(data), MarkPayload::decode(data)) {
        assert_eq!(label_of(&label_payload(&mark, name)), Some(name));
    }
    if let Ok(header) = SegmentHeader::decode(&sealed) {
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    }
}
