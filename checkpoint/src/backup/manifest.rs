//! The manifest of a backup: what was copied, and what it takes to go on from there.
//!
//! It is written last, under its name in one step: a backup without it does not exist.

use super::{backup_digits, unwritten};
use crate::archive::read_manifest;
use crate::fields::{In, Out};
use crate::restore::BackupId;
use crate::sink::{Sink, put_whole};
use siding_wal::format::{CONTROL_SLOT_LEN, ControlSlot, LogId, UnitState, wide};
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::io;
use std::path::Path;

/// The name of a backup's manifest in a sink.
fn manifest_name(id: BackupId) -> String {
    format!("backup-{}.manifest", backup_digits(id))
}

/// Bytes that one checksum of a file covers.
pub(super) const BLOCK: usize = 1 << 20;

const MAGIC: [u8; 8] = *b"SIDINGBK";
const VERSION: u32 = 2;

/// A control slot, if nothing of it is unknown.
fn take_control(input: &mut In<'_>) -> Option<ControlSlot> {
    let bytes: [u8; CONTROL_SLOT_LEN] = input.array()?;
    ControlSlot::decode(&bytes).ok().filter(|slot| slot.encode() == bytes)
}

/// What a file of a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Of the secondary log: extents. It goes back under its own name.
    Extents,
    /// The embedder's, of this object.
    Object(u16),
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFile {
    /// What it is.
    pub kind: FileKind,
    /// What it is called where it came from.
    pub name: String,
    /// What it is called in the backup.
    pub stored: String,
    /// Bytes.
    pub len: u64,
    /// CRC32C of each block of 1 MiB.
    pub blocks: Vec<u32>,
}

/// A unit in the table of the keypoint that stopped a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopUnit {
    /// Its number.
    pub unit: u64,
    /// Where it stood.
    pub state: UnitState,
    /// Its gid; empty before it was prepared.
    pub gid: Vec<u8>,
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The backup's number, drawn at random.
    pub id: BackupId,
    /// The backup that this one goes on from: it has the objects, this one log and extents alone.
    pub parent: Option<BackupId>,
    /// The log's number.
    pub log_id: LogId,
    /// The open that made it.
    pub incarnation: u32,
    /// Forward recovery of the copied objects starts here.
    pub recovery_point: Lsn,
    /// Where that of each object starts by itself: no lower. Lowest object first.
    pub objects: Vec<(u16, Lsn)>,
    /// The oldest position of the log that a restore needs.
    pub floor: Lsn,
    /// Where the keypoint begins that stops the backup.
    pub stop: Lsn,
    /// Behind its last record: what a restore gives back ends here.
    pub end: Lsn,
    /// The digest of the batch that ends there: tells this history from others.
    pub end_digest: u32,
    /// Milliseconds since 1970 when it began and when it ended.
    pub time_ms: (u64, u64),
    /// Units that had not ended at the end.
    pub units: Vec<StopUnit>,
    /// What the control file of a restore says: it names the keypoint that stops the backup.
    pub control: ControlSlot,
    /// The files.
    pub files: Vec<BackupFile>,
}

impl BackupFile {
    fn put(&self, out: &mut Out) {
        let (kind, object) = match self.kind {
            FileKind::Object(object) => (1, u64::from(object)),
            FileKind::Extents => (2, 0),
        };
        out.number(kind);
        out.number(object);
        out.bytes(self.name.as_bytes());
        out.bytes(self.stored.as_bytes());
        out.number(self.len);
        out.each(&self.blocks, |out, crc| out.short(*crc));
    }

    fn take(input: &mut In<'_>) -> Option<Self> {
        let kind = match (input.number()?, input.number()?) {
            (1, object) => FileKind::Object(u16::try_from(object).ok()?),
            (2, 0) => FileKind::Extents,
            _ => return None,
        };
        let (name, stored, len) = (input.text()?, input.text()?, input.number()?);
        let blocks: Vec<u32> = input.each(4, In::short)?;
        let (count, whole) = (blocks.len(), len.div_ceil(wide(BLOCK)));
        let file = Self { kind, name, stored, len, blocks };
        let plain = |name: &str| !name.is_empty() && !name.contains(['/', '\0']) && name != "..";
        let fits = wide(count) == whole && plain(&file.stored);
        (fits && (matches!(kind, FileKind::Object(_)) || plain(&file.name))).then_some(file)
    }
}

impl StopUnit {
    fn put(&self, out: &mut Out) {
        out.number(self.unit);
        out.number(u64::from(self.state.code()));
        out.bytes(&self.gid);
    }

    fn take(input: &mut In<'_>) -> Option<Self> {
        let unit = input.number()?;
        let state = UnitState::from_code(u8::try_from(input.number()?).ok()?)?;
        Some(Self { unit, state, gid: input.bytes()?.to_vec() })
    }
}

impl Manifest {
    /// Units in doubt at the end, with their gids.
    #[must_use]
    pub fn in_doubt(&self) -> Vec<(u64, Vec<u8>)> {
        let doubts = self.units.iter().filter(|it| it.state == UnitState::InDoubt);
        doubts.map(|it| (it.unit, it.gid.clone())).collect()
    }

    /// Where forward recovery of an object starts, if it is in the backup.
    #[must_use]
    pub fn recovery_point_of(&self, object: u16) -> Option<Lsn> {
        let at = self.objects.binary_search_by_key(&object, |it| it.0).ok()?;
        self.objects.get(at).map(|it| it.1)
    }

    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Out(MAGIC.to_vec());
        out.short(VERSION);
        out.short(self.incarnation);
        out.0.extend_from_slice(&self.id);
        out.0.extend_from_slice(&self.log_id);
        out.each(self.parent.as_slice(), |out, parent| out.0.extend_from_slice(parent));
        for lsn in [self.recovery_point, self.floor, self.stop, self.end] {
            out.lsn(lsn);
        }
        out.number(u64::from(self.end_digest));
        out.number(self.time_ms.0);
        out.number(self.time_ms.1);
        out.each(&self.objects, |out, (object, lsn)| {
            out.number(u64::from(*object));
            out.lsn(*lsn);
        });
        out.each(&self.units, |out, unit| unit.put(out));
        out.0.extend_from_slice(&self.control.encode());
        out.each(&self.files, |out, file| file.put(out));
        let crc = crc32c::crc32c(&out.0);
        out.short(crc);
        out.0
    }

    /// From bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ForeignFile`] if it is none, [`ErrorKind::UnsupportedVersion`] if it is of a
    /// later version, [`ErrorKind::Corrupt`] if it is damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if !bytes.starts_with(&MAGIC) {
            return Err(Error::new(ErrorKind::ForeignFile, "the file is no manifest of a backup")
                .advise("name the place of a backup"));
        }
        let damaged = || {
            Error::new(ErrorKind::Corrupt, "the manifest of the backup is damaged")
                .advise("use another backup, or another copy of this one")
        };
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(damaged());
        }
        let mut input = In(body);
        let _magic: Option<[u8; 8]> = input.array();
        let version = input.short().ok_or_else(damaged)?;
        if version != VERSION {
            let what = format!("the backup is of version {version}");
            return Err(Error::new(ErrorKind::UnsupportedVersion, what)
                .advise("restore it with the version that made it, or a later one"));
        }
        Self::take(&mut input).filter(|_| input.0.is_empty()).ok_or_else(damaged)
    }

    fn take(input: &mut In<'_>) -> Option<Self> {
        let incarnation = input.short()?;
        let (id, log_id) = (input.array()?, input.array()?);
        let parents = input.each(16, In::array)?;
        let parent = match parents.as_slice() {
            [] => None,
            [parent] => Some(*parent),
            _ => return None,
        };
        let (recovery_point, floor) = (input.lsn()?, input.lsn()?);
        let (stop, end) = (input.lsn()?, input.lsn()?);
        let end_digest = u32::try_from(input.number()?).ok()?;
        let time_ms = (input.number()?, input.number()?);
        let object =
            |input: &mut In<'_>| Some((u16::try_from(input.number()?).ok()?, input.lsn()?));
        let manifest = Self {
            id,
            parent,
            log_id,
            incarnation,
            recovery_point,
            floor,
            stop,
            end,
            end_digest,
            time_ms,
            objects: input.each(16, object)?,
            units: input.each(24, StopUnit::take)?,
            control: take_control(input)?,
            files: input.each(48, BackupFile::take)?,
        };
        manifest.makes_sense().then_some(manifest)
    }

    /// Whether the fields go together.
    fn makes_sense(&self) -> bool {
        let Self { recovery_point, floor, stop, end, control, objects, .. } = self;
        let known = |file: &BackupFile| match file.kind {
            FileKind::Object(object) => self.recovery_point_of(object).is_some(),
            FileKind::Extents => true,
        };
        floor <= recovery_point
            && recovery_point <= end
            && stop < end
            && objects.is_sorted_by(|one, other| one.0 < other.0)
            && objects.iter().all(|(_, lsn)| lsn >= recovery_point && lsn <= end)
            && self.files.iter().all(known)
            && (self.parent.is_none() || objects.is_empty())
            && self.parent != Some(self.id)
            && control.log_id == self.log_id
            && control.incarnation == self.incarnation
            && !control.clean
            && control.keypoint_begin == *stop
            && control.keypoint_end > *stop
            && control.keypoint_end < *end
            && control.durable == *end
    }

    /// Reads the manifest of a backup in a sink.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no such backup, complete; as [`Manifest::decode`]; what
    /// the sink says.
    pub fn read(sink: &dyn Sink, id: BackupId) -> Result<Self> {
        let name = manifest_name(id);
        match sink.open(&name) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                let what = format!("there is no complete backup {}", backup_digits(id));
                Err(Error::new(ErrorKind::NotFound, what)
                    .file(Path::new(&sink.place()).join(name))
                    .advise("a backup that was broken off has no manifest, and restores nothing"))
            }
            _ => read_manifest(sink, &name),
        }
    }

    /// Puts it: from here on the backup exists.
    pub(super) fn put(&self, sink: &dyn Sink) -> Result<()> {
        let name = manifest_name(self.id);
        put_whole(sink, &name, &self.encode()).map_err(|cause| unwritten(sink, &name, cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use siding_wal::format::Discipline;

    fn manifest() -> Manifest {
        let file = |kind, name: &str| BackupFile {
            kind,
            name: name.to_owned(),
            stored: name.to_owned(),
            len: 1_500_000,
            blocks: vec![7, 9],
        };
        let control = ControlSlot {
            sequence: 1,
            log_id: [2; 16],
            path_id: [4; 16],
            discipline: Discipline::DeferredApply,
            clean: false,
            incarnation: 3,
            epoch: 1,
            write_unit: 4096,
            segment_size: 64 << 10,
            unit_block: 5,
            oldest: Lsn::ZERO,
            keypoint_begin: Lsn::new(800),
            keypoint_end: Lsn::new(1000),
            durable: Lsn::new(4096),
            written_ms: 6,
        };
        let unit = |unit, state, gid: &[u8]| StopUnit { unit, state, gid: gid.to_vec() };
        Manifest {
            id: [1; 16],
            parent: None,
            log_id: [2; 16],
            incarnation: 3,
            recovery_point: Lsn::new(400),
            objects: vec![(8, Lsn::new(400)), (9, Lsn::new(500))],
            floor: Lsn::new(200),
            stop: Lsn::new(800),
            end: Lsn::new(4096),
            end_digest: 11,
            time_ms: (5, 6),
            units: vec![unit(77, UnitState::InDoubt, b"gid"), unit(78, UnitState::InFlight, b"")],
            control,
            files: vec![file(FileKind::Extents, "0.ext"), file(FileKind::Object(9), "pages")],
        }
    }

    fn increment() -> Manifest {
        let mut files = manifest().files;
        files.truncate(1);
        Manifest { parent: Some([7; 16]), objects: Vec::new(), files, ..manifest() }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written_or_refused() {
        assert_eq!(Manifest::decode(&increment().encode()).unwrap(), increment());
        let bytes = manifest().encode();
        assert_eq!(Manifest::decode(&bytes).unwrap(), manifest());
        assert_eq!(manifest().in_doubt(), [(77, b"gid".to_vec())]);
        assert_eq!(manifest().recovery_point_of(9), Some(Lsn::new(500)));
        assert_eq!(manifest().recovery_point_of(7), None);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(Manifest::decode(&damaged).is_err(), "byte {at}");
            }
            assert!(Manifest::decode(&bytes[..at]).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn a_manifest_that_makes_no_sense_is_refused_under_a_right_checksum() {
        let controlled = |change: fn(&mut ControlSlot)| {
            let mut manifest = manifest();
            change(&mut manifest.control);
            manifest
        };
        for wrong in [
            Manifest { floor: Lsn::new(500), ..manifest() },
            Manifest { stop: Lsn::new(5000), ..manifest() },
            Manifest { objects: vec![(9, Lsn::new(399))], ..manifest() },
            Manifest { objects: vec![(9, Lsn::new(4097))], ..manifest() },
            Manifest { objects: vec![(8, Lsn::new(400))], ..manifest() },
            Manifest { objects: vec![(9, Lsn::new(500)); 2], ..manifest() },
            Manifest { parent: Some([7; 16]), ..manifest() },
            Manifest { parent: Some([1; 16]), ..increment() },
            Manifest { log_id: [3; 16], ..manifest() },
            Manifest { incarnation: 4, ..manifest() },
            controlled(|slot| slot.clean = true),
            controlled(|slot| slot.keypoint_begin = Lsn::new(801)),
            controlled(|slot| slot.keypoint_end = Lsn::new(800)),
            controlled(|slot| slot.keypoint_end = Lsn::new(4096)),
            controlled(|slot| slot.durable = Lsn::new(4097)),
            Manifest {
                files: vec![BackupFile { blocks: vec![1], ..manifest().files[0].clone() }],
                ..manifest()
            },
            Manifest {
                files: vec![BackupFile { stored: "../x".into(), ..manifest().files[0].clone() }],
                ..manifest()
            },
        ] {
            assert_eq!(Manifest::decode(&wrong.encode()).unwrap_err().kind(), ErrorKind::Corrupt);
        }
        let mut newer = manifest().encode();
        newer[8] = 3;
        let at = newer.len() - 4;
        let crc = crc32c::crc32c(&newer[..at]);
        newer[at..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Manifest::decode(&newer).unwrap_err().kind(), ErrorKind::UnsupportedVersion);
    }
}
