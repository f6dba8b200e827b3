//! The embedder's files: of any length, on any disk, caught half written, many at a time.

use crate::support::open;
use crate::world::sink;
use siding::RestoreOptions;
use siding::archive::{Target, Wanted};
use siding::disk::{Disk, LogFile, MemoryDisk, open_dir};
use siding::{Backend, BackupOptions, ErrorKind, Log, ObjectFile, Result, object_file};
use siding_sim::SimDisk;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// Files of any length come back to the byte, whatever backend writes them.
#[test]
fn files_of_any_length_come_back() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let lens = [0, 1, 511, 512, 5_000, (1 << 20) - 1, 1 << 20, (3 << 20) + 77];
    let mut objects = Vec::new();
    for (object, len) in (0..).zip(lens) {
        let file = path(&format!("file-{len}"));
        std::fs::write(&file, bytes(len)).unwrap();
        objects.push((object, file));
    }
    let log = Log::open(path("log"))?.finish()?;
    log.write(b"something")?;
    let manifest = log.backup(path("backup"), &objects)?;
    assert_eq!(manifest.files.len(), lens.len());
    log.close()?;
    let back = path("back");
    let wanted = Wanted::from(Target::BackupEnd(None));
    let into = |file: &siding::BackupFile| Some(back.join(&file.name));
    let options = RestoreOptions::new();
    let (plan, _) = siding::restore_dir(path("backup"), &wanted, path("again"), into, &options)?;
    assert_eq!(plan.objects.len(), lens.len());
    for len in lens {
        let restored = std::fs::read(back.join(format!("file-{len}"))).unwrap();
        assert!(restored == bytes(len), "{len}: {}", restored.len());
    }
    let direct = open_dir(&path("direct"), Backend::Direct, true).unwrap();
    let from = open_dir(&path("backup"), Backend::Buffered, false).unwrap();
    let target = |file: &siding::BackupFile| direct.create(&file.name).unwrap();
    let sink = siding::sink::DirectorySink::new(from);
    crate::world::restore_end(&sink, None, &SimDisk::new(9), &target)?;
    for len in lens {
        assert!(std::fs::read(path("direct").join(format!("file-{len}"))).unwrap() == bytes(len));
    }
    Ok(())
}

/// A file of blocks, each under a checksum; reads catch some of them half written, for a while.
#[derive(Debug)]
struct Torn {
    file: Arc<dyn LogFile>,
    /// Blocks that are torn, each with how many reads will find it so.
    torn: std::sync::Mutex<BTreeMap<u64, u32>>,
    reads: AtomicU32,
}

const BLOCK: usize = 1024;

fn seal(block: &mut [u8]) {
    let (body, sum) = block.split_at_mut(BLOCK - 4);
    sum.copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
}

fn is_whole(block: &[u8]) -> bool {
    block.len() == BLOCK && {
        let (body, sum) = block.split_at(BLOCK - 4);
        crc32c::crc32c(body).to_le_bytes() == sum
    }
}

impl LogFile for Torn {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn write_at(&self, offset: u64, bufs: &[&[u8]], durable: bool) -> io::Result<()> {
        self.file.write_at(offset, bufs, durable)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let read = self.file.read_at(offset, buf)?;
        for (block, left) in self.torn.lock().unwrap().iter_mut() {
            let at = (block * BLOCK as u64).checked_sub(offset).map(usize::try_from);
            if let Some(Ok(at)) = at
                && at < read
                && *left > 0
            {
                *left -= 1;
                buf[at + 500] ^= 0xff;
            }
        }
        Ok(read)
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.file.cut(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// Backs a file up whose blocks are torn so often, and says what a restore of it gives.
pub(crate) fn torn(torn: &[(u64, u32)]) -> Result<(bool, u32)> {
    let log = open(&SimDisk::new(4))?;
    let files = MemoryDisk::new();
    let file = files.create("file").unwrap();
    let mut content = bytes(3000 * BLOCK);
    content.chunks_mut(BLOCK).for_each(seal);
    file.write_at(0, &[&content], true).unwrap();
    let torn = torn.iter().copied().collect();
    let busy = Arc::new(Torn { file, torn: std::sync::Mutex::new(torn), reads: 0.into() });
    let object = ObjectFile { object: 5, name: "file".into(), file: busy.clone() };
    let check = |object: u16, block: &[u8]| object == 5 && is_whole(block);
    let disk = Arc::new(MemoryDisk::new());
    let options = BackupOptions::new().check(BLOCK, &check);
    log.backup_to(&sink(&disk), &[object], &options)?;
    let target = |_: &siding::BackupFile| files.create("back").unwrap();
    crate::world::restore_end(&sink(&disk), None, &SimDisk::new(9), &target)?;
    let mut back = vec![0; content.len()];
    files.open("back").unwrap().read_at(0, &mut back).unwrap();
    Ok((back == content, busy.reads.load(Ordering::Relaxed)))
}

#[test]
fn a_block_that_is_half_written_is_read_again() -> Result<()> {
    let (whole, reads) = torn(&[])?;
    assert!(whole && reads == 3, "{reads}");
    // In the middle of a page, at both ends of what is read at once, for some time.
    let (whole, reads) = torn(&[(0, 1), (5, 3), (1023, 2), (1024, 1), (2999, 7)])?;
    assert!(whole, "a half written block was copied");
    assert!((12..30).contains(&reads), "{reads}");
    let error = torn(&[(1030, 1000)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let said = error.to_string();
    assert!(said.contains("file") && said.contains(&(1030 * BLOCK).to_string()), "{said}");
    Ok(())
}

#[test]
fn options_that_make_no_sense_are_refused() -> Result<()> {
    let log = open(&SimDisk::new(4))?;
    let disk = Arc::new(MemoryDisk::new());
    for block in [0, 100, 1000, 2 << 20] {
        let check = |_: u16, _: &[u8]| true;
        let options = BackupOptions::new().check(block, &check);
        let error = log.backup_to(&sink(&disk), &[], &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    assert!(object_file(1, "/").is_err() && object_file(1, "no/such/file").is_err());
    assert!(disk.list().unwrap().is_empty());
    log.close()
}

/// Several threads copy, together at the rate that was asked for.
#[test]
fn several_files_are_copied_at_a_time_at_the_rate_asked_for() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let objects: Vec<(u16, PathBuf)> = (0..6)
        .map(|object| {
            let file = path(&format!("file-{object}"));
            std::fs::write(&file, vec![u8::try_from(object).unwrap(); 3 << 20]).unwrap();
            (object, file)
        })
        .collect();
    let log = Log::open(path("log"))?.finish()?;
    let files: Vec<ObjectFile> =
        objects.iter().map(|(object, path)| object_file(*object, path)).collect::<Result<_>>()?;
    let told = AtomicU64::new(0);
    let (at_once, most) = (AtomicU32::new(0), AtomicU32::new(0));
    let progress = |copying: &siding::Copying<'_>| {
        if copying.name.starts_with("file") {
            told.fetch_add(1 << 20, Ordering::Relaxed);
            let now = at_once.fetch_add(1, Ordering::Relaxed) + 1;
            most.fetch_max(now, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(20));
            at_once.fetch_sub(1, Ordering::Relaxed);
        }
    };
    let open = |name: &str| -> siding::sink::DirectorySink {
        let disk = open_dir(&path(name), Backend::Buffered, true).unwrap();
        siding::sink::DirectorySink::new(disk)
    };
    let options = BackupOptions::new().threads(3).full_speed().progress(&progress);
    log.backup_to(&open("fast"), &files, &options)?;
    assert_eq!(told.load(Ordering::Relaxed), 18 << 20);
    assert!(most.load(Ordering::Relaxed) > 1, "one at a time");
    // 18 MiB at 16 MiB a second, of which 4 may come at once.
    let options = BackupOptions::new().threads(3).rate(16 << 20);
    let begun = Instant::now();
    log.backup_to(&open("slow"), &files, &options)?;
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(750), "{took:?}");
    for name in ["fast", "slow"] {
        siding::verify_backup(&open(name), None, &|_| {})?;
    }
    log.close()
}
