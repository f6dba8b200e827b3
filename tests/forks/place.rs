//! Where the secondary log lies: an open with another directory, or none, is refused by name.

use crate::lost::{chain, doubt, extents, moved, pass};
use crate::support::{StillClock, quiet};
use siding::disk::{AlignedBuf, Disk as _};
use siding::{Error, ErrorKind, Log, Options, Result};
use siding_sim::SimDisk;
use siding_sim::disk::Crash;
use std::fs;
use std::path::Path;
use std::sync::Arc;

fn options() -> Options {
    quiet().without_threads(StillClock::new()).forks(false)
}

/// A log with a moved unit whose originals are gone, closed.
fn stuck(dir: &Path, secondary: Option<&Path>) -> Result<u64> {
    let log = open(dir, secondary)?;
    let (unit, _) = moved(&log)?;
    pass(&log)?;
    log.close()?;
    Ok(unit)
}

fn open(dir: &Path, secondary: Option<&Path>) -> Result<Log> {
    let options = match secondary {
        Some(secondary) => options().secondary(secondary),
        None => options(),
    };
    options.open(dir)?.finish()
}

fn all(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let mut all: Vec<_> = files.map(|path| (name(&path), fs::read(&path).unwrap())).collect();
    all.retain(|(name, _)| name != "lock");
    all.sort_unstable();
    all
}

fn refused(error: &Error, words: &[&str]) {
    assert_eq!(error.kind(), ErrorKind::Missing, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn another_directory_or_none_is_refused_and_nothing_is_changed() -> Result<()> {
    let temp = tempfile::tempdir().unwrap();
    let (dir, there) = (temp.path().join("log"), temp.path().join("there"));
    let (other, own) = (temp.path().join("other"), "the log's own directory");
    let unit = stuck(&dir, Some(&there))?;
    let before = (all(&dir), all(&there));
    let [there_text, other_text] = [&there, &other].map(|path| path.to_str().unwrap());
    refused(&open(&dir, None).unwrap_err(), &[there_text, own, "1 file"]);
    refused(&open(&dir, Some(&other)).unwrap_err(), &[there_text, other_text]);
    assert!((all(&dir), all(&there)) == before && all(&other).is_empty(), "nothing was changed");
    let log = open(&dir, Some(&there))?;
    assert_eq!(chain(&log, unit)?.len(), 21);
    log.close()?;

    // One that lies beside the log, and is looked for elsewhere.
    let dir = temp.path().join("beside");
    stuck(&dir, None)?;
    refused(&open(&dir, Some(&other)).unwrap_err(), &[own, other_text]);
    open(&dir, None)?.close()
}

#[test]
fn a_directory_that_was_moved_is_taken_where_it_is() -> Result<()> {
    let temp = tempfile::tempdir().unwrap();
    let (dir, there) = (temp.path().join("log"), temp.path().join("there"));
    let elsewhere = temp.path().join("elsewhere");
    let unit = stuck(&dir, Some(&there))?;
    fs::rename(&there, &elsewhere).unwrap();
    // Where it was noted is nothing: the log opens, and names the unit.
    let log = open(&dir, Some(&there))?;
    log.tick();
    assert!(log.units()[0].problem.is_some(), "{:?}", log.units());
    log.close()?;
    let log = open(&dir, Some(&elsewhere))?;
    assert_eq!(chain(&log, unit)?.len(), 21);
    log.close()?;
    // That is where it lies now.
    let notes = Log::open_read_only(&dir)?.notes();
    let said = format!("its secondary log lies in {}", elsewhere.display());
    assert!(notes.contains(&said), "{notes:?}");
    fs::remove_dir_all(&there).unwrap();
    refused(&open(&dir, Some(&there)).unwrap_err(), &[elsewhere.to_str().unwrap()]);

    // Beside the log is a place like any other.
    for (name, bytes) in all(&elsewhere) {
        fs::write(dir.join(name), bytes).unwrap();
    }
    let log = open(&dir, None)?;
    assert_eq!(chain(&log, unit)?.len(), 21);
    log.close()?;
    // Without units that need it any place will do.
    let log = open(&dir, None)?;
    doubt(&log).back_out()?;
    log.tick();
    log.close()?;
    open(&dir, Some(&there))?.close()
}

#[test]
fn a_secondary_log_that_is_gone_for_good_can_be_given_up() -> Result<()> {
    let temp = tempfile::tempdir().unwrap();
    let (dir, there) = (temp.path().join("log"), temp.path().join("there"));
    let fresh = temp.path().join("fresh");
    stuck(&dir, Some(&there))?;
    fs::remove_dir_all(&there).unwrap();
    refused(&open(&dir, Some(&fresh)).unwrap_err(), &[there.to_str().unwrap()]);
    let log = options().secondary(&fresh).secondary_lost(true).open(&dir)?.finish()?;
    assert_eq!(doubt(&log).commit().unwrap_err().kind(), ErrorKind::Missing);
    log.close()?;
    // From here on that is the place.
    let log = open(&dir, Some(&fresh))?;
    doubt(&log).back_out()?;
    log.close()?;
    open(&dir, Some(&fresh))?.close()
}

#[test]
fn a_note_that_is_damaged_says_nothing_and_the_files_decide() -> Result<()> {
    let temp = tempfile::tempdir().unwrap();
    let (dir, there) = (temp.path().join("log"), temp.path().join("there"));
    stuck(&dir, Some(&there))?;
    let note = dir.join("secondary");
    let good = fs::read(&note).unwrap();
    for len in [0, 60, good.len()] {
        let mut bytes = good[..len].to_vec();
        bytes.iter_mut().take(1).for_each(|byte| *byte ^= 1);
        fs::write(&note, &bytes).unwrap();
        refused(&open(&dir, None).unwrap_err(), &["the note of where it lies is damaged"]);
        open(&dir, Some(&there))?.close()?;
        assert_eq!(fs::read(&note).unwrap(), good, "written anew");
    }
    fs::remove_file(&note).unwrap();
    let log = open(&dir, None)?;
    refused(doubt(&log).commit().unwrap_err().error(), &["21 records"]);
    log.close()
}

/// Power goes at every call of an open that names another place: the log opens where the extents
/// are, and only there.
#[test]
fn a_power_cut_while_the_place_is_noted_loses_nothing() -> Result<()> {
    let main = SimDisk::new(1);
    let away = SimDisk::new(2);
    let log = options().open_on(Arc::new(main.clone()))?.finish()?;
    let (unit, before) = moved(&log)?;
    pass(&log)?;
    log.close()?;
    let name = extents(&main).pop().unwrap();
    let bytes = main.contents(&name).unwrap();
    main.remove(&name).unwrap();
    main.sync_dir().unwrap();
    let file = away.create(&name).unwrap();
    file.write_at(0, &[&AlignedBuf::from(&bytes[..])], true).unwrap();
    away.sync_dir().unwrap();
    let there = |disk: &SimDisk| {
        let away = Arc::new(away.fork());
        options().secondary_on(away).open_on(Arc::new(disk.clone()))?.finish()
    };
    let mut cuts = 0;
    for cut in 0.. {
        let disk = main.fork();
        disk.cut_at(cut);
        let ended = there(&disk).is_ok();
        for crash in [Crash::DropAll, Crash::KeepAll] {
            let left = disk.crash(crash);
            let log = there(&left)?;
            assert_eq!(chain(&log, unit)?, before, "cut at {cut}");
            drop(log);
        }
        cuts = cut;
        if ended {
            break;
        }
    }
    assert!(cuts > 4, "{cuts}");
    Ok(())
}
