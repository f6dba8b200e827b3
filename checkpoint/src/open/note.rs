//! Where the secondary log lies, noted in the log's own directory: an open with another directory,
//! or none, is told so before anything is changed.
//!
//! The file `secondary` is there as soon as the secondary log lies elsewhere; while there is none
//! it lies beside the main log. An open whose place differs from the note needs the newest extents
//! of all units to be there: so a directory may be moved, and no other be taken for it. In the
//! noted place one of them must be there: a disk that is not mounted is not a loss. Then:
//!
//! 1. `secondary.new` is written and synced. Crash: a name that the next open writes again.
//! 2. It is renamed to `secondary`, and the directory synced. Crash before: the old note, and the
//!    next open checks again; no extent was made yet, for those come with moves, and moves with
//!    a log that is open. Crash behind: the new note, and the extents are where it says.

use super::Config;
use siding_fork::pool::Pool;
use siding_wal::disk::{AlignedBuf, Disk};
use siding_wal::format::{LogId, SPtr};
use siding_wal::{Error, ErrorKind, Result};
use std::io;
use std::path::Path;
use std::sync::Arc;

const NAME: &str = "secondary";
const NEW_NAME: &str = "secondary.new";
const TITLE: &str = "siding secondary log 1";

/// The note is padded to a multiple of this with empty lines.
const BLOCK: usize = 4096;

/// What is noted while the secondary log lies beside the main log.
pub(crate) const BESIDE: &str = ".";

/// What is noted of a disk that lies nowhere.
const NOWHERE: &str = "?";

/// What the note says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// Where it lies.
    At(String),
    /// It is damaged, or that of another log.
    Damaged,
}

fn encode(log_id: &LogId, place: &str) -> Vec<u8> {
    let id: String = log_id.iter().map(|byte| format!("{byte:02x}")).collect();
    let body = format!("{TITLE}\nlog {id}\nat {place}\n");
    let crc = crc32c::crc32c(body.as_bytes());
    let mut bytes = format!("{body}crc32c {crc:08x}\n").into_bytes();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), b'\n');
    bytes
}

fn decode(log_id: &LogId, bytes: &[u8]) -> Note {
    let text = String::from_utf8_lossy(bytes);
    let place = text.lines().nth(2).and_then(|line| line.strip_prefix("at "));
    match place {
        Some(place) if encode(log_id, place) == bytes => Note::At(place.to_owned()),
        _ => Note::Damaged,
    }
}

/// What is noted.
pub(crate) fn noted(disk: &dyn Disk, log_id: &LogId) -> Result<Note> {
    let file = match disk.open(NAME) {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            return Ok(Note::At(BESIDE.to_owned()));
        }
        Err(cause) => return Err(Error::io("the note cannot be opened", cause).file(NAME)),
    };
    let io = |cause| Error::io("the note cannot be read", cause).file(NAME);
    let len = usize::try_from(file.len().map_err(io)?).unwrap_or(usize::MAX).min(16 * BLOCK);
    let mut bytes = AlignedBuf::zeroed(len.next_multiple_of(BLOCK).max(BLOCK));
    let read = file.read_at(0, bytes.as_mut_slice()).map_err(io)?;
    Ok(decode(log_id, bytes.as_slice().get(..read).unwrap_or_default()))
}

fn write(disk: &dyn Disk, log_id: &LogId, place: &str) -> io::Result<()> {
    match disk.remove(NEW_NAME) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    let file = disk.create(NEW_NAME)?;
    let bytes = AlignedBuf::from(&encode(log_id, place)[..]);
    file.write_at(0, &[bytes.as_slice()], false)?;
    file.sync()?;
    disk.rename(NEW_NAME, NAME)?;
    disk.sync_dir()
}

/// The place as it is noted: one line.
fn place_of(secondary: Option<&Arc<dyn Disk>>) -> String {
    let Some(disk) = secondary else { return BESIDE.to_owned() };
    match disk.path() {
        Some(path) => path.to_string_lossy().replace(['\n', '\r'], "?"),
        None => NOWHERE.to_owned(),
    }
}

/// A place, for people.
pub(crate) fn shown(place: &str) -> String {
    match place {
        BESIDE => "in the log's own directory".to_owned(),
        NOWHERE => "on a disk of the program's own".to_owned(),
        place => format!("in {place}"),
    }
}

fn refusal(place: &str, first: &str, count: usize) -> Error {
    let files = if count == 1 { "file" } else { "files" };
    let what = format!(
        "the secondary log {place}: {count} {files} that live units need cannot be found, {first} \
         among them"
    );
    Error::new(ErrorKind::Missing, what).advise(
        "open the log with the directory of its secondary log; \
         a directory that was moved must hold all its files; if they are lost for good, \
         Options::secondary_lost opens the log without them",
    )
}

/// Checks the place that the options name against the note, and notes it; `live` has every unit
/// with extents, and the newest of them.
///
/// # Errors
///
/// [`ErrorKind::Missing`] if the place is not the noted one and the extents are not all there,
/// naming both; or the note cannot be read or written. In the noted place nothing is looked for:
/// what is missing there is named, unit by unit, once the log is open.
pub(super) fn check(
    disk: &Arc<dyn Disk>,
    config: &Config,
    log_id: &LogId,
    live: &[(u64, SPtr)],
) -> Result<()> {
    let given = place_of(config.secondary.as_ref());
    let noted = noted(&**disk, log_id)?;
    let same = noted == Note::At(given.clone());
    if !(live.is_empty() || config.secondary_lost || same) {
        let secondary = config.secondary.as_ref().unwrap_or(disk);
        let missing = Pool::open_for_reading(Arc::clone(secondary), *log_id).missing(live);
        if let Some(first) = missing.first() {
            let given = shown(&given);
            let place = match &noted {
                Note::At(place) => format!("lies {}, not {given}", shown(place)),
                Note::Damaged => {
                    format!("is not {given}, and the note of where it lies is damaged")
                }
            };
            let error = refusal(&place, first, missing.len());
            return Err(match disk.path() {
                Some(path) => error.file(path),
                None => error,
            });
        }
    }
    if same {
        return Ok(());
    }
    write(&**disk, log_id, &given).map_err(|cause| {
        let error = Error::io("where the secondary log lies cannot be noted", cause);
        let path = disk.path().unwrap_or_default();
        error.file(Path::new(&path).join(NAME))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_or_not_at_all() {
        let id: LogId = [7; 16];
        for place in [BESIDE, NOWHERE, "/var/siding/ext", "a b/ü"] {
            let bytes = encode(&id, place);
            assert_eq!(decode(&id, &bytes), Note::At(place.to_owned()));
            assert_eq!(decode(&[8; 16], &bytes), Note::Damaged);
            for at in (0..200).chain([bytes.len() - 1]) {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1;
                assert_eq!(decode(&id, &damaged), Note::Damaged, "{place}: byte {at}");
                assert_eq!(decode(&id, &bytes[..at]), Note::Damaged);
            }
        }
        assert_eq!(decode(&id, &vec![0; 4096]), Note::Damaged);
    }
}
