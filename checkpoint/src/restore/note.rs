//! The file `restored`: what of a log that was put together from a backup and later log may not
//! be believed.
//!
//! The log was copied from where it went on. Behind the keypoint that stopped the backup, and
//! below the target, fork records name extents that are not here, keypoints list them, and
//! headers, keypoints and MARKs say that log was trimmed which is here. While the last complete
//! keypoint begins below the target, analysis starts at the stop keypoint, and for that stretch
//! goes by the records of units alone. The note goes once nothing below the target is kept: as
//! long as a header from there lives, a lost control file could make it speak again.
//!
//! 1. Trimming passes the target: a control slot with the new `oldest` is durable. 2. The file is
//!    removed, and the directory synced. Crash before: it is there, says nothing that matters, and
//!    the next open removes it.

use siding_wal::disk::{AlignedBuf, Disk};
use siding_wal::format::{Malformed, RestoredNote};
use siding_wal::{Error, ErrorKind, Lsn, Result, seeded};
use std::io;
use std::sync::{Mutex, PoisonError};

/// Its name.
pub(crate) const NAME: &str = "restored";

/// The file is as long as this.
const BLOCK: usize = 4096;

/// The note in a directory, if there is one.
///
/// # Errors
///
/// [`ErrorKind::Corrupt`] if it is damaged, [`ErrorKind::UnsupportedVersion`] if it is of a later
/// version; what the disk says. Without what it says the log cannot be believed.
pub(crate) fn read(disk: &dyn Disk) -> Result<Option<RestoredNote>> {
    let io = |cause| Error::io("the note of the restore cannot be read", cause);
    let read = || -> Result<Option<RestoredNote>> {
        let file = match disk.open(NAME) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(io)?,
        };
        let mut bytes = AlignedBuf::zeroed(BLOCK);
        let read = file.read_at(0, bytes.as_mut_slice()).map_err(io)?;
        let note = RestoredNote::decode(bytes.as_slice().get(..read).unwrap_or_default());
        note.map(Some).map_err(|malformed| match malformed {
            Malformed::Version(version) => {
                let what = format!("the note of the restore is of the newer version {version}");
                Error::new(ErrorKind::UnsupportedVersion, what)
                    .advise("open the log with the version that restored it, or a later one")
            }
            malformed => {
                let what =
                    "the note of the restore is damaged: what of the log counts is not known";
                Error::new(ErrorKind::Corrupt, what)
                    .caused_by(malformed)
                    .advise("restore the log again")
            }
        })
    };
    read().map_err(|error| error.file(disk.path().unwrap_or_default().join(NAME)))
}

/// Writes the note. Its name is durable once the directory is synced.
pub(super) fn write(disk: &dyn Disk, note: &RestoredNote) -> io::Result<()> {
    let mut bytes = note.encode().to_vec();
    bytes.resize(BLOCK, 0);
    let file = disk.create(NAME)?;
    file.write_at(0, &[AlignedBuf::from(&bytes[..]).as_slice()], false)?;
    file.sync()
}

/// Whether a keypoint that begins at `begin` is to be believed.
pub(crate) fn believes(note: Option<&RestoredNote>, begin: Lsn) -> bool {
    let late = |note: &RestoredNote| note.keypoint_begin < begin && begin < note.target;
    !note.is_some_and(late) || seeded!(LateKeypointBelieved)
}

/// The note of an open log, for as long as there is one.
#[derive(Debug, Default)]
pub(crate) struct Noted(Mutex<Option<RestoredNote>>);

impl Noted {
    pub(crate) fn new(note: Option<RestoredNote>) -> Self {
        Self(Mutex::new(note))
    }

    /// Removes the note if nothing below the target is kept: `oldest` is, durably, the oldest
    /// position. One that cannot be removed does no harm.
    pub(crate) fn outlived(&self, disk: &dyn Disk, oldest: Lsn) {
        let mut note = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |note: &RestoredNote| note.target <= oldest || seeded!(NoteGoneTooEarly);
        if note.as_ref().is_some_and(over)
            && disk.remove(NAME).and_then(|()| disk.sync_dir()).is_ok()
        {
            *note = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use siding_wal::disk::MemoryDisk;

    fn note() -> RestoredNote {
        RestoredNote {
            log_id: [7; 16],
            backup_id: [8; 16],
            keypoint_begin: Lsn::new(100),
            keypoint_end: Lsn::new(200),
            target: Lsn::new(4096),
            redo: Lsn::new(50),
            incarnation: 3,
        }
    }

    #[test]
    fn a_note_is_read_as_it_was_written_or_refused() {
        let disk = MemoryDisk::new();
        assert_eq!(read(&disk).unwrap(), None);
        write(&disk, &note()).unwrap();
        assert_eq!(read(&disk).unwrap(), Some(note()));
        let file = disk.open(NAME).unwrap();
        let mut bytes = [0; BLOCK];
        file.read_at(0, &mut bytes).unwrap();
        bytes[70] ^= 1;
        file.write_at(0, &[&bytes], true).unwrap();
        assert_eq!(read(&disk).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn it_goes_when_nothing_below_the_target_is_kept() {
        let disk = MemoryDisk::new();
        write(&disk, &note()).unwrap();
        let noted = Noted::new(read(&disk).unwrap());
        noted.outlived(&disk, Lsn::new(4095));
        assert!(read(&disk).unwrap().is_some());
        noted.outlived(&disk, Lsn::new(4096));
        assert_eq!(read(&disk).unwrap(), None);
    }

    #[test]
    fn keypoints_of_the_copied_stretch_are_not_believed() {
        let note = note();
        for (begin, believed) in [(0, true), (100, true), (101, false), (4095, false), (4096, true)]
        {
            assert_eq!(believes(Some(&note), Lsn::new(begin)), believed, "{begin}");
            assert!(believes(None, Lsn::new(begin)));
        }
    }
}
