//! Without copies the log is cut where what is whole ends, if that is asked for.

use crate::world::{
    Archived, Harm, SIZE, harms, look, made, mended, name, refused, shown, wants_cut,
};
use siding::Result;
use siding::disk::Disk;

#[test]
fn nothing_is_cut_unless_it_is_asked_for() -> Result<()> {
    let whole = made()?;
    for harm in refused(&whole) {
        let disk = whole.fork();
        harm.happen(&disk);
        let calls = disk.calls();
        match mended(&disk, &Archived(Vec::new()), false) {
            Err(error) => assert!(
                wants_cut(&error) || error.kind() == siding::ErrorKind::Missing,
                "{harm:?}: {error}"
            ),
            Ok(_) => panic!("{harm:?}: it was mended out of nothing"),
        }
        assert_eq!(disk.calls(), calls, "{harm:?}: something was written");
    }
    Ok(())
}

/// Damage below what an open reads is no reason to cut what is above it.
#[test]
fn a_log_that_opens_is_never_cut() -> Result<()> {
    let whole = made()?;
    let before = shown(&whole)?;
    let mut met = 0;
    for harm in harms(&whole) {
        let disk = whole.fork();
        harm.happen(&disk);
        if crate::support::recover(&disk.fork()).is_err() {
            continue;
        }
        met += 1;
        let diagnosis = Archived(Vec::new()).with(|copies| look(&disk, copies))?;
        assert!(diagnosis.opens && diagnosis.steps.is_empty(), "{harm:?}: {diagnosis:?}");
        let calls = disk.calls();
        mended(&disk, &Archived(Vec::new()), true)?;
        assert_eq!(disk.calls(), calls, "{harm:?}");
        let archive = Archived::of(&whole, |_| usize::MAX);
        mended(&disk, &archive, false)?;
        assert_eq!(shown(&disk)?, before, "{harm:?}");
    }
    assert!(met > 1, "{met}");
    Ok(())
}

#[test]
fn a_cut_keeps_all_that_is_whole_and_what_it_cuts_aside() -> Result<()> {
    let whole = made()?;
    let before = shown(&whole)?;
    let mut cuts = 0;
    for harm in refused(&whole) {
        let disk = whole.fork();
        harm.happen(&disk);
        let Ok(diagnosis) = Archived(Vec::new()).with(|copies| look(&disk, copies)) else {
            // Nothing that an open needs is left.
            continue;
        };
        let cut = diagnosis.cut().unwrap().clone();
        assert!(cut.loses > 0 || cut.at.end.get() > 0, "{harm:?}: {cut:?}");
        let damaged = disk.fork();
        let aside = mended(&disk, &Archived(Vec::new()), true)?;
        match shown(&disk) {
            Ok(after) => {
                assert!(before.0.starts_with(&after.0), "{harm:?}");
                assert!(after.0.len() < before.0.len(), "{harm:?}");
                cuts += 1;
            }
            // The last keypoint went with what was cut, and the log below it was trimmed.
            Err(error) => panic!("{harm:?}: {error}"),
        }
        for number in std::iter::once(cut.segment).chain(cut.drops.iter().copied()) {
            let Some(bytes) = damaged.contents(&name(number)) else { continue };
            let kept = aside.open(&name(number)).unwrap();
            let mut read = siding::disk::AlignedBuf::zeroed(bytes.len().next_multiple_of(4096));
            assert_eq!(kept.read_at(0, read.as_mut_slice()).unwrap(), bytes.len(), "{harm:?}");
            assert_eq!(&read.as_slice()[..bytes.len()], bytes, "{harm:?}");
        }
        // It goes on, and is sound.
        let log = crate::support::open(&disk)?;
        log.write(b"on")?;
        log.close()?;
        let sound = Archived(Vec::new()).with(|copies| look(&disk, copies))?;
        assert!(sound.is_sound(), "{harm:?}: {sound:?}");
    }
    assert!(cuts > 8, "{cuts}");
    Ok(())
}

/// No incarnation that was seen is used again: what was cut can never pass for what comes.
#[test]
fn a_cut_log_goes_on_under_a_new_incarnation() -> Result<()> {
    let disk = made()?;
    let (mut incarnation, mut last) = (0, 0);
    for _ in 0..3 {
        let log = crate::support::open(&disk)?;
        incarnation = log.report().incarnation;
        last = log.write(b"more")?.get() / SIZE;
        log.close()?;
    }
    // The first batch of the segment that all three wrote in: those behind it say which they were.
    let bytes = disk.contents(&name(last)).unwrap();
    let first = (512..).find(|at| bytes[*at] != 0).unwrap();
    Harm::Flip(last, first as u64 + 60).happen(&disk);
    disk.remove("control").unwrap();
    disk.sync_dir().unwrap();
    assert!(crate::support::recover(&disk.fork()).is_err());
    mended(&disk, &Archived(Vec::new()), true)?;
    let log = crate::support::open(&disk)?;
    assert!(log.report().incarnation > incarnation);
    Ok(())
}
