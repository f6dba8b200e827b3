//! Backup and restore: the embedder's files and the log they need, while work goes on.

use crate::Log;
use siding_checkpoint::{BackupFile, Copying, Manifest, ObjectFile};
use siding_wal::disk::{Backend, Disk, LogFile, open_dir, open_dir_read_only};
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Directory and name of a file.
fn split(path: &Path) -> Result<(&Path, &str)> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| Error::new(ErrorKind::Invalid, "this names no file").file(path))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((parent.unwrap_or_else(|| Path::new(".")), name))
}

fn directory(path: &Path, create: bool) -> Result<Arc<dyn Disk>> {
    open_dir(path, Backend::Buffered, create)
        .map_err(|cause| Error::io("the directory cannot be opened", cause).file(path))
}

impl Log {
    /// Gives a name to where the log stands, for a restore to go by: *before the import*. Returns
    /// the position that it stands for; all that was committed before the call lies below. A name
    /// may be given again: the last one counts.
    ///
    /// Costs a record and a flush.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for a name that is empty or has more than 255 bytes;
    /// [`ErrorKind::WouldBlock`] inside a callback; the log failed or is full.
    ///
    /// # Crash
    ///
    /// The name is given once this has returned; before, perhaps.
    pub fn label(&self, name: &str) -> Result<Lsn> {
        self.inner.engine().label(name)
    }

    /// Copies these files, each of an object, and the log they need into the directory `into`,
    /// which is made if it is not there and must be empty, while work goes on. The files may change
    /// while they are copied, by updates whose guards are not done yet, or above the redo position.
    ///
    /// Costs a read of the files and of the log behind the recovery point, and a keypoint. Nothing
    /// is trimmed meanwhile.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] if the directory is not empty; what a disk says; the log failed. Then
    /// there is no backup.
    ///
    /// # Crash
    ///
    /// There is no backup, or it is whole: the manifest is written last.
    pub fn backup(&self, into: impl AsRef<Path>, objects: &[(u16, PathBuf)]) -> Result<Manifest> {
        let mut files = Vec::new();
        for (object, path) in objects {
            let (parent, name) = split(path)?;
            let opened = open_dir_read_only(parent).and_then(|disk| disk.open(name));
            let file = opened.map_err(|cause| {
                Error::io("a file cannot be opened for the backup", cause).file(path)
            })?;
            files.push(ObjectFile { object: *object, name: name.to_owned(), file });
        }
        self.backup_on(&*directory(into.as_ref(), true)?, &files, &|_| {})
    }

    /// The same, with files and directory of any kind, and word of how far it is.
    ///
    /// # Errors
    ///
    /// As [`Log::backup`].
    ///
    /// # Crash
    ///
    /// As [`Log::backup`].
    pub fn backup_on(
        &self,
        sink: &dyn Disk,
        objects: &[ObjectFile],
        told: &dyn Fn(&Copying<'_>),
    ) -> Result<Manifest> {
        self.inner.engine().backup(sink, objects, told)
    }
}

/// Puts the backup in the directory `backup` back: the log into `into`, each file where `target`
/// says. Then open the log: it is as after a crash at the end of the backup.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] if there is no complete backup, [`ErrorKind::Corrupt`] if it is damaged,
/// [`ErrorKind::Invalid`] if `into` is not empty; what a disk says. Then `into` opens as no log,
/// and says why.
///
/// # Crash
///
/// `into` opens as no log, and says why; or all is restored.
pub fn restore(
    backup: impl AsRef<Path>,
    into: impl AsRef<Path>,
    target: impl Fn(&BackupFile) -> PathBuf,
) -> Result<Manifest> {
    let sink = open_dir_read_only(backup.as_ref())
        .map_err(|cause| Error::io("the backup cannot be opened", cause).file(backup.as_ref()))?;
    let disk = directory(into.as_ref(), true)?;
    let made = |file: &BackupFile| -> Result<Arc<dyn LogFile>> {
        let path = target(file);
        let (parent, name) = split(&path)?;
        let made = directory(parent, true)?.create(name);
        made.map_err(|cause| Error::io("a file cannot be put back", cause).file(&path))
    };
    restore_on(&*sink, &*disk, &made, &|_| {})
}

pub use siding_checkpoint::{restore as restore_on, verify_backup};
