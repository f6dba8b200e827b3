//! The verbs of backup, archive and restore, and what they share.

pub(crate) mod archive;
pub(crate) mod backup;
pub(crate) mod repair;
pub(crate) mod restore;
pub(crate) mod verify_backup;

use crate::text;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use siding::archive::{BackupId, Reachable, parse_backup_digits};
use siding::disk::{Disk, open_dir, open_dir_read_only};
use siding::sink::{DirectorySink, Sink};
use siding::{Backend, Copying, Error, ErrorKind, FileKind, Lsn, Manifest, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Opens a place for copies to look at it.
pub(crate) fn look_into(place: &Path) -> Result<DirectorySink> {
    Ok(DirectorySink::new(read_only(place)?))
}

/// Opens a place for copies to put something there; it is made if it is not there.
pub(crate) fn put_into(place: &Path) -> Result<Arc<dyn Sink>> {
    Ok(Arc::new(DirectorySink::new(directory(place)?)))
}

pub(crate) fn read_only(place: &Path) -> Result<Arc<dyn Disk>> {
    stays_a_directory(place)?;
    open_dir_read_only(place)
        .map_err(|cause| Error::io("the directory cannot be opened", cause).file(place))
}

pub(crate) fn directory(place: &Path) -> Result<Arc<dyn Disk>> {
    stays_a_directory(place)?;
    open_dir(place, Backend::Buffered, true)
        .map_err(|cause| Error::io("the directory cannot be opened", cause).file(place))
}

/// An address of a store is no directory's name.
fn stays_a_directory(place: &Path) -> Result<()> {
    if !place.to_string_lossy().contains("://") {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, "the command copies to and from directories")
        .file(place)
        .advise("a program reaches object stores through the crate siding-object-store"))
}

/// A backup's number as somebody typed it: all 32 digits.
pub(crate) fn parse_id(digits: &str) -> std::result::Result<BackupId, String> {
    let wrong = "a backup's number has 32 hexadecimal digits";
    parse_backup_digits(digits).ok_or_else(|| wrong.to_owned())
}

/// What is copied, for people and for programs.
pub(crate) fn manifest_object(manifest: &Manifest) -> Value {
    let file = |file: &siding::BackupFile| {
        let (kind, object) = match file.kind {
            FileKind::Object(object) => ("object", Some(object)),
            FileKind::Extents => ("extents", None),
        };
        json!({
            "kind": kind,
            "object": object,
            "name": file.name,
            "stored": file.stored,
            "bytes": file.len,
        })
    };
    let doubt = |(unit, gid): &(u64, Vec<u8>)| {
        let (gid, gid_hex) = text::gid_fields(gid);
        json!({"unit": text::unit(*unit), "gid": gid, "gid_hex": gid_hex})
    };
    json!({
        "id": text::hex(&manifest.id),
        "after": manifest.parent.map(|id| text::hex(&id)),
        "log_id": text::hex(&manifest.log_id),
        "incarnation": manifest.incarnation,
        "recovery_point": manifest.recovery_point.get(),
        "floor": manifest.floor.get(),
        "stop": manifest.stop.get(),
        "end": manifest.end.get(),
        "began_ms": manifest.time_ms.0,
        "ended_ms": manifest.time_ms.1,
        "in_doubt": manifest.in_doubt().iter().map(doubt).collect::<Vec<_>>(),
        "files": manifest.files.iter().map(file).collect::<Vec<_>>(),
    })
}

/// The same as lines.
pub(crate) fn manifest_lines(manifest: &Manifest) -> Vec<String> {
    let objects = manifest.files.iter().filter(|it| matches!(it.kind, FileKind::Object(_)));
    let bytes: u64 = manifest.files.iter().map(|file| file.len).sum();
    let log = manifest.end.since(manifest.floor);
    let mut lines = vec![format!(
        "backup {}, {}: {} files of objects, {} of them and of extents, {} of log",
        text::hex(&manifest.id),
        text::moment(manifest.time_ms.1),
        objects.count(),
        text::bytes(bytes),
        text::bytes(log)
    )];
    lines.push(format!(
        "    ends at {}; recovery point {}, log from {}",
        manifest.end, manifest.recovery_point, manifest.floor
    ));
    if let Some(parent) = manifest.parent {
        lines.push(format!("    goes on from {}", text::hex(&parent)));
    }
    let doubts = manifest.in_doubt();
    if !doubts.is_empty() {
        lines.push(format!("    units in doubt at its end: {}", doubts.len()));
    }
    lines
}

/// What can be restored, for programs.
pub(crate) fn reachable(it: &Reachable) -> Value {
    json!({
        "from": it.from.get(),
        "to": it.to.get(),
        "from_ms": it.times_ms.map(|times| times.0),
        "to_ms": it.times_ms.map(|times| times.1),
        "incarnation": it.incarnation,
    })
}

/// A bar over all the files that are copied.
pub(crate) struct Bar {
    bar: ProgressBar,
    files: Mutex<BTreeMap<String, (u64, u64)>>,
}

impl Bar {
    pub(crate) fn new(json: bool) -> Self {
        let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}  {msg}";
        let bar = match ProgressStyle::with_template(style) {
            Ok(style) => bar.with_style(style),
            Err(_) => ProgressBar::hidden(),
        };
        Self { bar, files: Mutex::default() }
    }

    /// A file is so far. From any thread.
    pub(crate) fn copied(&self, at: &Copying<'_>) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(at.name.to_owned(), (at.done, at.len));
        let (done, len) = files.values().fold((0, 0), |sum: (u64, u64), it| {
            (sum.0.saturating_add(it.0), sum.1.saturating_add(it.1))
        });
        drop(files);
        self.bar.set_message(at.name.to_owned());
        self.so_far(done, len);
    }

    pub(crate) fn so_far(&self, done: u64, len: u64) {
        self.bar.set_length(len);
        self.bar.set_position(done.min(len));
    }

    /// Something of which nobody knows how much there is: its name.
    pub(crate) fn at(&self, name: &str) {
        self.bar.set_message(name.to_owned());
        self.bar.tick();
    }

    pub(crate) fn gone(&self) {
        self.bar.finish_and_clear();
    }
}

/// A position, or none for zero.
pub(crate) fn known(lsn: Lsn) -> Option<u64> {
    (!lsn.is_zero()).then(|| lsn.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_all_its_digits() {
        let digits = "000102030405060708090a0b0c0d0e0f";
        assert_eq!(text::hex(&parse_id(digits).unwrap()), digits);
        for wrong in ["", "00", "+00102030405060708090a0b0c0d0e0f", &digits[1..], "x"] {
            assert!(parse_id(wrong).is_err(), "{wrong}");
        }
    }
}
