//! Backup and restore: the embedder's files and the log they need, while work goes on.

use crate::{Log, RestoreOptions, Restored, restore_to};
use siding_checkpoint::{
    BackupFile, BackupOptions, DirectorySink, Manifest, ObjectFile, Plan, Sink, Wanted,
    plan_restore,
};
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
    /// which is made if it is not there, while work goes on. The files may change while they are
    /// copied, by updates whose guards are not done yet, or above the redo position. One directory
    /// may hold many backups, and an archive: what log it has is not copied again.
    ///
    /// Costs a read of the files and of the log behind the recovery point, and a keypoint, at the
    /// pace of [`BackupOptions::new`]. Nothing is trimmed meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Log::backup_to`].
    ///
    /// # Crash
    ///
    /// There is no backup, or it is whole: the manifest is written last.
    pub fn backup(&self, into: impl AsRef<Path>, objects: &[(u16, PathBuf)]) -> Result<Manifest> {
        let files: Vec<ObjectFile> = objects
            .iter()
            .map(|(object, path)| object_file(*object, path))
            .collect::<Result<_>>()?;
        // Past the page cache: a sync of what lies in it holds up whoever commits.
        let into = into.as_ref();
        let disk = open_dir(into, Backend::Direct, true)
            .map_err(|cause| Error::io("the directory cannot be opened", cause).file(into))?;
        let sink = DirectorySink::new(disk);
        self.backup_to(&sink, &files, &BackupOptions::new())
    }

    /// The same into any sink, of files of any kind, in the way that the options say.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for options that make no sense, or a parent of another history;
    /// [`ErrorKind::Trimmed`] if the log behind the parent is gone; [`ErrorKind::Corrupt`] for a
    /// block that stays half written; [`ErrorKind::LogFull`] if it was given up; what a disk or the
    /// sink says; the log failed. Then there is no backup.
    ///
    /// # Crash
    ///
    /// As [`Log::backup`]. What was put of its own files is named as a leftover by the inventory of
    /// the sink.
    pub fn backup_to(
        &self,
        sink: &dyn Sink,
        objects: &[ObjectFile],
        options: &BackupOptions<'_>,
    ) -> Result<Manifest> {
        self.inner.engine().backup(sink, objects, options)
    }
}

/// A file in a directory, for a backup.
///
/// # Errors
///
/// [`ErrorKind::Invalid`] if the path names no file; what the operating system says.
pub fn object_file(object: u16, path: impl AsRef<Path>) -> Result<ObjectFile> {
    let path = path.as_ref();
    let (parent, name) = split(path)?;
    let opened = open_dir_read_only(parent).and_then(|disk| disk.open(name));
    let file = opened
        .map_err(|cause| Error::io("a file cannot be opened for the backup", cause).file(path))?;
    Ok(ObjectFile { object, name: name.to_owned(), file })
}

/// Restores from the directory `archive`, of backups and archive, to what is wanted: the log into
/// `into`, each file of an object where `target` says; none: it is not wanted. A file that is there
/// is not overwritten. See [`restore_to`] for what is there then.
///
/// # Errors
///
/// Why there is no plan, with what can be reached; as [`restore_to`].
///
/// # Crash
///
/// As [`restore_to`].
pub fn restore_dir(
    archive: impl AsRef<Path>,
    wanted: &Wanted,
    into: impl AsRef<Path>,
    target: impl Fn(&BackupFile) -> Option<PathBuf>,
    options: &RestoreOptions<'_>,
) -> Result<(Plan, Restored)> {
    let path = archive.as_ref();
    let disk = open_dir_read_only(path)
        .map_err(|cause| Error::io("the archive cannot be opened", cause).file(path))?;
    let sink = DirectorySink::new(disk);
    let plan = plan_restore(&sink, wanted)?;
    let made = |file: &BackupFile| target(file).map(|path| put_back(&path)).transpose();
    let restored = restore_to(&sink, &plan, &directory(into.as_ref(), true)?, &made, options)?;
    Ok((plan, restored))
}

/// A new file for an object.
fn put_back(path: &Path) -> Result<Arc<dyn LogFile>> {
    let (parent, name) = split(path)?;
    let made = directory(parent, true)?.create(name);
    made.map_err(|cause| {
        Error::io("a file cannot be put back", cause)
            .file(path)
            .advise("name a place where nothing is; what a broken off restore left can be removed")
    })
}

pub use siding_checkpoint::verify_backup;
