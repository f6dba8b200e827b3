//! Files of the secondary log are put back too, and what was appended behind the copy stays.

use crate::support::recover;
use crate::world::{look, made};
use siding::Result;
use siding::archive::Indexer;
use siding::disk::{Disk, MemoryDisk};
use siding::repair::{Copies, Mend, Take, mend};
use siding_sim::SimDisk;
use siding_sim::disk::Crash;

/// Its number.
fn number(name: &str) -> u64 {
    u64::from_str_radix(name.strip_suffix(".ext").unwrap(), 16).unwrap()
}

/// The only file of the secondary log.
fn file_of(disk: &SimDisk) -> (String, Vec<u8>) {
    let names = disk.list().unwrap().into_iter().map(|(name, _)| name);
    let name = names.into_iter().find(|name| name.ends_with(".ext")).unwrap();
    let bytes = disk.contents(&name).unwrap();
    (name, bytes)
}

/// Runs something with a copy of its first `len` bytes, under a log's number.
fn with<T>(
    (log_id, number): ([u8; 16], u64),
    bytes: &[u8],
    run: impl FnOnce(&Copies<'_>) -> T,
) -> T {
    let extent = |_: usize, take: &mut Take<'_>| bytes.chunks(777).try_for_each(take);
    run(&Copies {
        segments: Vec::new(),
        extents: vec![(log_id, number, bytes.len() as u64)],
        segment: &|_, _| Ok(()),
        extent: &extent,
    })
}

fn log_id(disk: &SimDisk) -> [u8; 16] {
    let mut indexer = Indexer::new(None, Vec::new());
    let _ = indexer.feed(&disk.contents(&crate::world::name(0)).unwrap());
    indexer.so_far().unwrap().log_id
}

/// Whether every unit in doubt can be committed with all its records, from copies alone.
fn is_whole(disk: &SimDisk) -> Result<()> {
    let recovery = recover(&disk.fork())?;
    for doubt in recovery.in_doubt() {
        assert_eq!(doubt.effects()?.owned().count(), 1);
    }
    Ok(())
}

#[test]
fn a_file_of_the_secondary_log_is_put_back() -> Result<()> {
    let whole = made()?;
    let (name, bytes) = file_of(&whole);
    let id = (log_id(&whole), number(&name));
    let harms: [&dyn Fn(&SimDisk); 2] = [
        &|disk| {
            disk.remove(&name).unwrap();
            disk.sync_dir().unwrap();
        },
        &|disk| disk.overwrite(&name, 600, &[0xee; 64]).unwrap(),
    ];
    for harm in harms {
        let damaged = whole.fork();
        harm(&damaged);
        // A copy of another log's file is none of this one's.
        with(([9; 16], id.1), &bytes, |copies| -> Result<()> {
            let found = look(&damaged, copies)?;
            assert!(!found.is_sound() && found.steps.is_empty(), "{found:?}");
            Ok(())
        })?;
        for cut in 0.. {
            let disk = damaged.fork();
            let done = with(id, &bytes, |copies| {
                let found = look(&disk, copies)?;
                assert_eq!(found.steps, [Mend::Extents { number: id.1, copy: 0 }]);
                disk.cut_at(disk.calls() + cut);
                mend(&found, (&disk, &disk), &MemoryDisk::new(), copies, false, &|_| {})
            });
            for crash in [Crash::DropAll, Crash::KeepAll, Crash::Random(1)] {
                let left = disk.crash(crash);
                with(id, &bytes, |copies| -> Result<()> {
                    let found = look(&left, copies)?;
                    if done.is_ok() {
                        assert!(found.is_sound(), "{found:?}");
                    }
                    mend(&found, (&left, &left), &MemoryDisk::new(), copies, false, &|_| {})
                })?;
                assert_eq!(left.contents(&name).unwrap()[..bytes.len()], bytes);
                is_whole(&left)?;
            }
            if done.is_ok() {
                assert!(cut > 4, "{cut}");
                break;
            }
        }
    }
    Ok(())
}

#[test]
fn what_was_appended_behind_the_copy_stays() -> Result<()> {
    let disk = made()?;
    let (name, bytes) = file_of(&disk);
    let short = 512;
    assert!(bytes.len() > short);
    // The header, which the copy has.
    disk.overwrite(&name, 0, &[0xee; 64]).unwrap();
    with((log_id(&disk), number(&name)), &bytes[..short], |copies| {
        let found = look(&disk, copies)?;
        mend(&found, (&disk, &disk), &MemoryDisk::new(), copies, false, &|_| {})
    })?;
    assert_eq!(disk.contents(&name).unwrap(), bytes);
    is_whole(&disk)
}
