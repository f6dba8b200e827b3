//! Snapshot files: the map as it stood, and from where on the log must be redone.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `SIDINGKV` |
//! | 8 | 4 | version, 1 |
//! | 12 | 16 | the log's random number |
//! | 28 | 8 | redo position: every unit whose COMMIT ends at or below it is in here |
//! | 36 | | entries: lengths of key and value (4 bytes each), key, value |
//! | | 4 | `ff ff ff ff` |
//! | | 8 | number of entries |
//! | | 8 | nothing in here comes from a COMMIT that ends above this position |
//! | | 4 | crc32c of everything before |
//!
//! All numbers are little-endian. A file `snapshot-N` was written under another name, synced,
//! renamed, and the directory synced: what has that name is whole, or it has rotted since.

use crate::change::Map;
use crate::{Error, Result};
use siding::Lsn;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"SIDINGKV";
const VERSION: u32 = 1;
const END: u32 = u32::MAX;
const PREFIX: &str = "snapshot-";
/// The name while a snapshot is written.
pub(crate) const UNFINISHED: &str = "snapshot.tmp";

/// A snapshot that was read.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) map: Map,
    pub(crate) redo: Lsn,
}

/// The file of snapshot `number`.
pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{number:016x}"))
}

/// The numbers of the snapshots in a directory, newest first.
pub(crate) fn numbers(dir: &Path) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let name = entry.map_err(Error::io(dir))?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let Some(number) = digits.and_then(|text| u64::from_str_radix(text, 16).ok()) else {
            continue;
        };
        // Only what `path` makes: "snapshot-7" is somebody else's.
        if path(dir, number).file_name() == Some(&name) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    Ok(numbers)
}

/// Removes what a crash left of a snapshot that was being written.
pub(crate) fn remove_unfinished(dir: &Path) -> Result<()> {
    remove(&dir.join(UNFINISHED))
}

/// Removes a file that may be gone already.
pub(crate) fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(Error::io(file)(cause)),
        _ => Ok(()),
    }
}

/// Writes a snapshot under the unfinished name. Nothing of it counts before [`Writer::publish`].
#[derive(Debug)]
pub(crate) struct Writer {
    file: PathBuf,
    out: BufWriter<File>,
    crc: u32,
    entries: u64,
}

impl Writer {
    pub(crate) fn create(dir: &Path, log_id: [u8; 16], redo: Lsn) -> Result<Self> {
        let file = dir.join(UNFINISHED);
        let out = BufWriter::new(File::create(&file).map_err(Error::io(&file))?);
        let mut writer = Self { file, out, crc: 0, entries: 0 };
        writer.put(MAGIC)?;
        writer.put(&VERSION.to_le_bytes())?;
        writer.put(&log_id)?;
        writer.put(&redo.get().to_le_bytes())?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.out.write_all(bytes).map_err(Error::io(&self.file))
    }

    pub(crate) fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        // Both went through the log, which has no record of 4 GiB.
        for part in [key, value] {
            self.put(&u32::try_from(part.len()).unwrap_or(END).to_le_bytes())?;
        }
        self.put(key)?;
        self.put(value)?;
        self.entries += 1;
        Ok(())
    }

    /// Ends the file, syncs it, gives it its name, syncs the directory. Returns its length.
    pub(crate) fn publish(mut self, dir: &Path, number: u64, upto: Lsn) -> Result<u64> {
        self.put(&END.to_le_bytes())?;
        self.put(&self.entries.to_le_bytes())?;
        self.put(&upto.get().to_le_bytes())?;
        self.put(&self.crc.to_le_bytes())?;
        let file = self.out.into_inner().map_err(|error| Error::io(&self.file)(error.into()))?;
        // Crash before this: an unfinished file. After: the same, with everything in it.
        file.sync_all().map_err(Error::io(&self.file))?;
        let name = path(dir, number);
        fs::rename(&self.file, &name).map_err(Error::io(&name))?;
        // Crash before this: the old name or the new one. After: the new one.
        sync_dir(dir)?;
        file.metadata().map(|it| it.len()).map_err(Error::io(&name))
    }
}

/// Makes names in a directory survive a crash.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io(dir))
}

/// Reads a snapshot of the log `log_id`, which ends at `end`. None, with the reason, if it is
/// torn, damaged, unreadable or somebody else's: an older one will do.
///
/// # Errors
///
/// [`Error::Snapshot`]: it is whole and does not belong here: of another log, newer than this one,
/// or of another version of this program. Going on without it could lose what it holds.
pub(crate) fn read(
    file: &Path,
    log_id: [u8; 16],
    end: Lsn,
) -> Result<std::result::Result<Snapshot, Error>> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(cause) => return Ok(Err(Error::io(file)(cause))),
    };
    let wrong = |what: &str| Error::snapshot(file, what);
    if !bytes.starts_with(MAGIC) {
        return Ok(Err(wrong("it is no snapshot of this program's, or it is torn")));
    }
    let crc = bytes.split_last_chunk();
    let Some((body, _)) =
        crc.filter(|(body, crc)| crc32c::crc32c(body) == u32::from_le_bytes(**crc))
    else {
        return Ok(Err(wrong("its checksum does not hold: it is torn or damaged")));
    };
    let mut rest = Fields(body.get(MAGIC.len()..).unwrap_or_default());
    if rest.number() != Some(VERSION) {
        return Err(wrong("it is of another version of this program"));
    }
    if rest.take(16) != Some(log_id.as_slice()) {
        return Err(wrong("it is of another log: put its own log back, or move it away"));
    }
    let redo = rest.position().map(Lsn::new);
    let (Some(redo), Some((map, upto))) = (redo, rest.entries()) else {
        return Err(wrong("its parts do not add up, though its checksum holds"));
    };
    if upto > end {
        return Err(wrong("it is newer than the log, which is not the one it was taken with"));
    }
    Ok(Ok(Snapshot { map, redo }))
}

/// Reads fields off the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        self.0.split_off(..len)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn position(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn entries(&mut self) -> Option<(Map, Lsn)> {
        let mut map = Map::new();
        let mut count = 0;
        loop {
            let key = self.number()?;
            if key == END {
                break;
            }
            let value = self.number()?;
            let key = self.take(usize::try_from(key).ok()?)?.to_vec();
            let value = self.take(usize::try_from(value).ok()?)?.to_vec();
            map.insert(key, value);
            count += 1;
        }
        let whole = self.position()? == count;
        let upto = Lsn::new(self.position()?);
        (whole && self.0.is_empty()).then_some((map, upto))
    }
}
