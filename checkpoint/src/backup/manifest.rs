//! The manifest of a backup: what was copied, and what it takes to go on from there.
//!
//! It is written last, under its name in one step: a backup without it does not exist.

use siding_wal::disk::{AlignedBuf, Disk};
use siding_wal::format::LogId;
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::io;

/// The manifest's name.
pub const MANIFEST: &str = "manifest";

/// Its name while it is written.
const NEW: &str = "manifest.new";

/// Bytes that one checksum of a file covers.
pub(super) const BLOCK: usize = 1 << 20;

const MAGIC: [u8; 8] = *b"SIDINGBK";
const VERSION: u32 = 1;

/// The longest manifest that is read, in bytes.
const MAX_LEN: u64 = 256 << 20;

/// What a file of a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Of the log: a segment, the control file, extents. It goes back under its own name.
    Log,
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

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The backup's number, drawn at random.
    pub id: [u8; 16],
    /// The log's number.
    pub log_id: LogId,
    /// The open that made it.
    pub incarnation: u32,
    /// Forward recovery of the copied objects starts here.
    pub recovery_point: Lsn,
    /// The oldest position of the log that a restore needs.
    pub floor: Lsn,
    /// Where the keypoint begins that stops the backup.
    pub stop: Lsn,
    /// Behind its last record: what a restore gives back ends here.
    pub end: Lsn,
    /// Milliseconds since 1970 when it began and when it ended.
    pub time_ms: (u64, u64),
    /// Units in doubt at the end, with their gids.
    pub in_doubt: Vec<(u64, Vec<u8>)>,
    /// The files.
    pub files: Vec<BackupFile>,
}

/// Puts fields together.
struct Out(Vec<u8>);

impl Out {
    fn number(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(siding_wal::format::wide(bytes.len()));
        self.0.extend_from_slice(bytes);
    }
}

/// Takes fields apart. None: there is no more, or it is none.
struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn lsn(&mut self) -> Option<Lsn> {
        self.number().map(Lsn::new)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (first, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(first)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    /// So many elements, of at least `least` bytes each.
    fn count(&mut self, least: usize) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count.checked_mul(least)? <= self.0.len()).then_some(count)
    }
}

impl BackupFile {
    fn put(&self, out: &mut Out) {
        let (kind, object) = match self.kind {
            FileKind::Log => (0, 0),
            FileKind::Object(object) => (1, u64::from(object)),
        };
        out.number(kind);
        out.number(object);
        out.bytes(self.name.as_bytes());
        out.bytes(self.stored.as_bytes());
        out.number(self.len);
        out.number(siding_wal::format::wide(self.blocks.len()));
        self.blocks.iter().for_each(|crc| out.0.extend_from_slice(&crc.to_le_bytes()));
    }

    fn take(input: &mut In<'_>) -> Option<Self> {
        let kind = match (input.number()?, input.number()?) {
            (0, 0) => FileKind::Log,
            (1, object) => FileKind::Object(u16::try_from(object).ok()?),
            _ => return None,
        };
        let (name, stored, len) = (input.text()?, input.text()?, input.number()?);
        let count = input.count(4)?;
        let blocks =
            (0..count).map(|_| input.array().map(u32::from_le_bytes)).collect::<Option<_>>()?;
        let file = Self { kind, name, stored, len, blocks };
        let plain = |name: &str| !name.is_empty() && !name.contains(['/', '\0']) && name != "..";
        let whole = len.div_ceil(siding_wal::format::wide(BLOCK));
        let fits = siding_wal::format::wide(count) == whole && plain(&file.stored);
        (fits && (kind != FileKind::Log || plain(&file.name))).then_some(file)
    }
}

impl Manifest {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Out(Vec::new());
        out.0.extend_from_slice(&MAGIC);
        out.0.extend_from_slice(&VERSION.to_le_bytes());
        out.0.extend_from_slice(&self.incarnation.to_le_bytes());
        out.0.extend_from_slice(&self.id);
        out.0.extend_from_slice(&self.log_id);
        for lsn in [self.recovery_point, self.floor, self.stop, self.end] {
            out.number(lsn.get());
        }
        out.number(self.time_ms.0);
        out.number(self.time_ms.1);
        out.number(siding_wal::format::wide(self.in_doubt.len()));
        for (unit, gid) in &self.in_doubt {
            out.number(*unit);
            out.bytes(gid);
        }
        out.number(siding_wal::format::wide(self.files.len()));
        self.files.iter().for_each(|file| file.put(&mut out));
        let crc = crc32c::crc32c(&out.0);
        out.0.extend_from_slice(&crc.to_le_bytes());
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
                .file(MANIFEST)
                .advise("name the directory of a backup"));
        }
        let damaged = || {
            Error::new(ErrorKind::Corrupt, "the manifest of the backup is damaged")
                .file(MANIFEST)
                .advise("use another backup, or another copy of this one")
        };
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(damaged());
        }
        let mut input = In(body);
        let _magic: Option<[u8; 8]> = input.array();
        let version = input.array().map(u32::from_le_bytes).ok_or_else(damaged)?;
        if version != VERSION {
            let what = format!("the backup is of version {version}");
            return Err(Error::new(ErrorKind::UnsupportedVersion, what)
                .file(MANIFEST)
                .advise("restore it with the version that made it, or a later one"));
        }
        Self::take(&mut input).filter(|_| input.0.is_empty()).ok_or_else(damaged)
    }

    fn take(input: &mut In<'_>) -> Option<Self> {
        let incarnation = input.array().map(u32::from_le_bytes)?;
        let (id, log_id) = (input.array()?, input.array()?);
        let (recovery_point, floor) = (input.lsn()?, input.lsn()?);
        let (stop, end) = (input.lsn()?, input.lsn()?);
        let time_ms = (input.number()?, input.number()?);
        let units = input.count(16)?;
        let unit = |input: &mut In<'_>| Some((input.number()?, input.bytes()?.to_vec()));
        let in_doubt = (0..units).map(|_| unit(input)).collect::<Option<_>>()?;
        let count = input.count(48)?;
        let files = (0..count).map(|_| BackupFile::take(input)).collect::<Option<_>>()?;
        let sound = floor <= recovery_point && recovery_point <= end && stop < end;
        let (id, log_id): ([u8; 16], LogId) = (id, log_id);
        sound.then_some(Self {
            id,
            log_id,
            incarnation,
            recovery_point,
            floor,
            stop,
            end,
            time_ms,
            in_doubt,
            files,
        })
    }

    /// Reads the manifest of the backup in a directory.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no complete backup; as [`Manifest::decode`].
    pub fn read(disk: &dyn Disk) -> Result<Self> {
        let io =
            |cause| Error::io("the manifest of the backup cannot be read", cause).file(MANIFEST);
        let file = match disk.open(MANIFEST) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                let what = "there is no complete backup in the directory";
                return Err(Error::new(ErrorKind::NotFound, what)
                    .file(disk.path().unwrap_or_default())
                    .advise("a backup that was broken off has no manifest, and restores nothing"));
            }
            other => other.map_err(io)?,
        };
        let len = usize::try_from(file.len().map_err(io)?.min(MAX_LEN)).unwrap_or_default();
        let mut bytes = AlignedBuf::zeroed(len.next_multiple_of(4096));
        let mut filled = 0;
        while filled < len {
            let rest = bytes.as_mut_slice().get_mut(filled..).unwrap_or_default();
            let read = file.read_at(siding_wal::format::wide(filled), rest).map_err(io)?;
            if read == 0 {
                break;
            }
            filled = filled.saturating_add(read);
        }
        let bytes = bytes.as_slice().get(..len).unwrap_or_default();
        // What stands behind is padding: the length comes first.
        let (head, rest) = bytes.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        let len = usize::try_from(u64::from_le_bytes(*head)).unwrap_or(usize::MAX);
        Self::decode(rest.get(..len).unwrap_or(rest))
    }

    /// Writes it: from here on the backup exists.
    pub(super) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        let body = self.encode();
        let mut bytes = siding_wal::format::wide(body.len()).to_le_bytes().to_vec();
        bytes.extend_from_slice(&body);
        bytes.resize(bytes.len().next_multiple_of(4096), 0);
        let file = disk.create(NEW)?;
        file.write_at(0, &[&AlignedBuf::from(&bytes[..])], false)?;
        file.sync()?;
        disk.rename(NEW, MANIFEST)?;
        disk.sync_dir()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let file = |kind, name: &str| BackupFile {
            kind,
            name: name.to_owned(),
            stored: name.to_owned(),
            len: 1_500_000,
            blocks: vec![7, 9],
        };
        Manifest {
            id: [1; 16],
            log_id: [2; 16],
            incarnation: 3,
            recovery_point: Lsn::new(400),
            floor: Lsn::new(200),
            stop: Lsn::new(800),
            end: Lsn::new(4096),
            time_ms: (5, 6),
            in_doubt: vec![(77, b"gid".to_vec())],
            files: vec![file(FileKind::Log, "0.seg"), file(FileKind::Object(9), "pages")],
        }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written_or_refused() {
        let bytes = manifest().encode();
        assert_eq!(Manifest::decode(&bytes).unwrap(), manifest());
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
        for wrong in [
            Manifest { floor: Lsn::new(500), ..manifest() },
            Manifest { stop: Lsn::new(5000), ..manifest() },
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
        newer[8] = 2;
        let at = newer.len() - 4;
        let crc = crc32c::crc32c(&newer[..at]);
        newer[at..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Manifest::decode(&newer).unwrap_err().kind(), ErrorKind::UnsupportedVersion);
    }
}
