//! A log small enough to be seen through, right or with one defect: what the sweep must find.
//!
//! The file `log` begins with a sector that says so; records of two sectors follow, one behind
//! the other, up to the first that is none.

use siding_sim::{SimDisk, Trouble};
use siding_wal::disk::{AlignedBuf, Disk, LogFile};
use std::io;
use std::sync::Arc;

/// What is wrong with the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    /// The file gets its name before its first sector is synced.
    NameBeforeBytes,
    /// The directory is never synced.
    NoDirSync,
    /// An append is acknowledged without a sync.
    NoSync,
    /// An append is acknowledged before its sync.
    AckBeforeSync,
    /// The head of a record is written durably, as if that covered its body, written before.
    DurableCoversAll,
    /// A failed sync is tried again, and the second answer believed.
    RetriedSync,
    /// A failed write is taken for a good one.
    ErrorSwallowed,
    /// Whether a record is whole is not asked.
    NoChecksum,
    /// What lies behind the end is left there, to stand behind the next record.
    LeftoversStay,
    /// What the open found and shows is not made durable first.
    FoundNotSynced,
    /// What the open found is taken for what is on the device.
    CacheTrusted,
    /// Where reading fails, the log ends.
    UnreadableIsEnd,
}

const HEAD: usize = 512;
const RECORD: usize = 1024;

/// What the user of a log was promised, and what was asked for beyond.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promise {
    /// Acknowledged or shown, in order.
    pub(crate) kept: Vec<u64>,
    /// Asked for after those, in order, and never answered.
    pub(crate) asked: Vec<u64>,
    /// No stamp from here on was ever used.
    pub(crate) next: u64,
}

#[derive(Debug)]
pub(crate) struct Toy {
    file: Arc<dyn LogFile>,
    records: Vec<u64>,
    defect: Defect,
}

impl Toy {
    pub(crate) fn open(disk: &SimDisk, defect: Defect) -> io::Result<Self> {
        let there =
            |name: &str| disk.list().map(|files| files.iter().any(|(file, _)| file == name));
        if !there("log")? {
            if there("log.new")? {
                disk.remove("log.new")?;
            }
            let file = disk.create("log.new")?;
            file.write_at(0, &[&head()], defect != Defect::NameBeforeBytes)?;
            disk.rename("log.new", "log")?;
        }
        if defect != Defect::NoDirSync {
            // Always: the process before may have died on its way here.
            disk.sync_dir()?;
        }
        let mut toy = Self { file: disk.open("log")?, records: Vec::new(), defect };
        toy.recover()?;
        Ok(toy)
    }

    fn recover(&mut self) -> io::Result<()> {
        let len = usize::try_from(self.file.len()?).unwrap_or(0);
        let mut bytes = AlignedBuf::zeroed(len);
        for at in (0..len).step_by(HEAD) {
            let read = self.file.read_at(at as u64, &mut bytes[at..at + HEAD]);
            if read.is_err() && at > 0 && self.defect == Defect::UnreadableIsEnd {
                break;
            }
            read?;
        }
        if bytes.get(..HEAD) != Some(&head()) {
            return Err(io::Error::other("not a log"));
        }
        for bytes in bytes[HEAD..].chunks_exact(RECORD) {
            let Some(stamp) = decode(bytes, self.defect != Defect::NoChecksum) else { break };
            self.records.push(stamp);
        }
        let end = HEAD + self.records.len() * RECORD;
        if end < len && self.defect != Defect::LeftoversStay {
            let zeros = AlignedBuf::zeroed(len - end);
            self.file.write_at(end as u64, &[&zeros], true)?;
        }
        match self.defect {
            Defect::FoundNotSynced => Ok(()),
            Defect::CacheTrusted => self.file.sync(),
            // Reads may have come from a page cache that knows better than the device.
            _ => self.file.write_at(0, &[&bytes[..end]], true),
        }
    }

    /// Appends so many records by one write, all acknowledged or none.
    pub(crate) fn append(&mut self, count: u64, promise: &mut Promise) -> io::Result<()> {
        let stamps = promise.next..promise.next + count;
        let mut bytes = AlignedBuf::default();
        stamps.clone().for_each(|stamp| bytes.extend_from_slice(&encode(stamp)));
        let at = (HEAD + self.records.len() * RECORD) as u64;
        promise.asked.extend(stamps.clone());
        promise.next = stamps.end;
        if self.defect == Defect::AckBeforeSync {
            promise.kept.append(&mut promise.asked);
        }
        match self.defect {
            Defect::DurableCoversAll => {
                self.file.write_at(at + 512, &[&bytes[512..]], false)?;
                self.file.write_at(at, &[&bytes[..512]], true)?;
            }
            Defect::NoSync | Defect::AckBeforeSync | Defect::RetriedSync => {
                self.file.write_at(at, &[&bytes], false)?;
            }
            Defect::ErrorSwallowed => drop(self.file.write_at(at, &[&bytes], true)),
            _ => self.file.write_at(at, &[&bytes], true)?,
        }
        if self.defect == Defect::RetriedSync && self.file.sync().is_err() {
            self.file.sync()?;
        }
        if self.defect == Defect::AckBeforeSync {
            self.file.sync()?;
        }
        promise.kept.append(&mut promise.asked);
        self.records.extend(stamps);
        Ok(())
    }
}

fn head() -> AlignedBuf {
    let mut head = AlignedBuf::zeroed(HEAD);
    head.fill(0xa5);
    head
}

/// The stamp, a checksum, and bytes that follow from the stamp.
fn encode(stamp: u64) -> AlignedBuf {
    let mut bytes = AlignedBuf::zeroed(RECORD);
    bytes.fill(stamp.to_le_bytes()[0] | 0x80);
    bytes[..8].copy_from_slice(&stamp.to_le_bytes());
    let sum = checksum(&bytes[16..], stamp);
    bytes[8..16].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8], check: bool) -> Option<u64> {
    let (stamp, rest) = bytes.split_first_chunk::<8>()?;
    let (sum, body) = rest.split_first_chunk::<8>()?;
    let stamp = u64::from_le_bytes(*stamp);
    let whole = !check || u64::from_le_bytes(*sum) == checksum(body, stamp);
    if stamp == 0 || !whole {
        return None;
    }
    // A torn record that was accepted shows another stamp: half of its bytes are not its own.
    let torn = body.iter().any(|byte| *byte != stamp.to_le_bytes()[0] | 0x80);
    Some(if torn { u64::MAX } else { stamp })
}

fn checksum(bytes: &[u8], stamp: u64) -> u64 {
    bytes.iter().fold(stamp.wrapping_mul(0x9e37_79b9_7f4a_7c15), |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Opens the log and appends some pairs of records, up to the first error.
pub(crate) fn append(defect: Defect) -> impl Fn(Arc<SimDisk>) -> Promise {
    move |disk| {
        let mut promise = Promise { next: 1, ..Promise::default() };
        if let Ok(mut toy) = Toy::open(&disk, defect) {
            while promise.next < 7 && toy.append(2, &mut promise).is_ok() {}
        }
        promise
    }
}

/// Opens the log, compares, and appends one record more.
pub(crate) fn check(defect: Defect) -> impl Fn(Arc<SimDisk>, &mut Promise) -> Result<(), Trouble> {
    move |disk, promise| {
        let mut toy = Toy::open(&disk, defect)?;
        let found = &toy.records;
        let words = || format!("found {found:?} of {promise:?}");
        Trouble::unless(found.starts_with(&promise.kept), words)?;
        // Behind what was kept, what was asked for may stand, in order; but nothing an earlier
        // life asked for, once an open has shown a log without it.
        let rest = &found[promise.kept.len()..];
        Trouble::unless(promise.asked.starts_with(rest), words)?;
        promise.kept.clone_from(found);
        promise.asked.clear();
        toy.append(1, promise)?;
        Ok(())
    }
}
