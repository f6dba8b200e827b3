//! What the copies have is put back, and everything is there again.

use crate::world::{Archived, Harm, harms, look, made, mended, name, shown, wants_cut};
use siding::Result;
use siding::disk::Disk;

#[test]
fn a_sound_log_needs_nothing() -> Result<()> {
    let disk = made()?;
    Archived::of(&disk, |_| usize::MAX).with(|copies| {
        let diagnosis = look(&disk, copies)?;
        assert!(diagnosis.is_sound() && diagnosis.steps.is_empty(), "{diagnosis:?}");
        Ok(())
    })
}

#[test]
fn whatever_happened_to_a_segment_its_copy_mends() -> Result<()> {
    let whole = made()?;
    let archive = Archived::of(&whole, |_| usize::MAX);
    let before = shown(&whole)?;
    assert_eq!(before.1, [b"gid-1".to_vec(), b"gid-2".to_vec()]);
    for harm in harms(&whole) {
        let disk = whole.fork();
        harm.happen(&disk);
        let aside = mended(&disk, &archive, false)?;
        assert_eq!(shown(&disk)?, before, "{harm:?}");
        let kept = aside.open(&name(harm.segment())).is_ok();
        assert_eq!(kept, !matches!(harm, Harm::Gone(_)), "{harm:?}: what was there is aside");
        let left = disk.list().unwrap();
        assert!(left.iter().all(|(name, _)| name != "repair.new"), "{left:?}");
        archive.with(|copies| look(&disk, copies).map(|it| assert!(it.is_sound(), "{it:?}")))?;
    }
    Ok(())
}

/// What stands behind a copy that is shorter than the segment is kept, and goes on from it.
#[test]
fn a_copy_that_lags_takes_nothing_away() -> Result<()> {
    let whole = made()?;
    let before = shown(&whole)?;
    let archive = Archived::of(&whole, |_| 40_000);
    for harm in harms(&whole).into_iter().filter(|it| matches!(it, Harm::Flip(..))) {
        let disk = whole.fork();
        harm.happen(&disk);
        mended(&disk, &archive, false)?;
        assert_eq!(shown(&disk)?, before, "{harm:?}");
    }
    Ok(())
}

/// Two segments at once; and a copy that is itself damaged counts for nothing.
#[test]
fn several_segments_and_damaged_copies() -> Result<()> {
    let whole = made()?;
    let before = shown(&whole)?;
    let mut archive = Archived::of(&whole, |_| usize::MAX);
    let last = archive.0.len() as u64 - 1;
    let disk = whole.fork();
    for harm in [Harm::Flip(last, 5_000), Harm::Gone(last - 1), Harm::Header(last - 2)] {
        harm.happen(&disk);
    }
    let again = disk.fork();
    mended(&disk, &archive, false)?;
    assert_eq!(shown(&disk)?, before);
    archive.0[last as usize - 1].1[20_000] ^= 1;
    let error = mended(&again, &archive, false).unwrap_err();
    assert!(wants_cut(&error), "{error}");
    Ok(())
}

/// A segment of another history, with the same number, is not put back.
#[test]
fn a_copy_of_another_history_is_not_put_back() -> Result<()> {
    let base = made()?;
    // Closed, so that both go on in the same segment.
    crate::support::open(&base)?.close()?;
    let split = Archived::of(&base, |_| usize::MAX).0.len() as u64;
    let branch = |word: u8| -> Result<siding_sim::SimDisk> {
        let disk = base.fork();
        let log = crate::support::open(&disk)?;
        for _ in 0..60 {
            log.write(&[word; 3000])?;
        }
        log.close()?;
        Ok(disk)
    };
    let (one, other) = (branch(1)?, branch(2)?);
    let before = shown(&one)?;
    let damaged = one.fork();
    let last = one.contents(&crate::world::name(split - 1)).unwrap();
    let at = last.windows(100).rposition(|it| it == [1; 100]).unwrap() as u64;
    Harm::Flip(split - 1, at).happen(&damaged);
    let (ours, theirs) = (Archived::of(&one, |_| usize::MAX), Archived::of(&other, |_| usize::MAX));
    Harm::Gone(split).happen(&one);
    let error = mended(&one, &theirs, false).unwrap_err();
    assert!(wants_cut(&error), "{error}");
    // Nor one that begins as ours does, and goes on in another way.
    let calls = damaged.calls();
    mended(&damaged, &theirs, false)?;
    assert_eq!(damaged.calls(), calls);
    // Of both, the right one is taken.
    let both = Archived(theirs.0.into_iter().chain(ours.0).collect());
    mended(&one, &both, false)?;
    assert_eq!(shown(&one)?, before);
    Ok(())
}
