//! Power goes at each call of a repair: another repair ends it, and nothing more is lost.

use crate::world::{Archived, Harm, harms, look, made, refused, shown};
use siding::Result;
use siding::disk::MemoryDisk;
use siding::repair::mend;
use siding_sim::SimDisk;
use siding_sim::disk::Crash;

const CRASHES: [Crash; 4] = [Crash::DropAll, Crash::KeepAll, Crash::Random(1), Crash::Random(2)];

/// Repairs with the power going at each call; gives what each crash left to `check`.
fn at_each_step(
    damaged: &SimDisk,
    archive: &Archived,
    check: &dyn Fn(&SimDisk, &str) -> Result<()>,
) -> Result<u64> {
    for cut in 0.. {
        let disk = damaged.fork();
        let done = archive.with(|copies| {
            let diagnosis = look(&disk, copies)?;
            disk.cut_at(disk.calls() + cut);
            mend(&diagnosis, (&disk, &disk), &MemoryDisk::new(), copies, true, &|_| {})
        });
        if done.is_ok() {
            // What was mended stays so.
            let kept = shown(&disk.crash(Crash::DropAll))?;
            assert_eq!(kept, shown(&disk)?);
        }
        for crash in CRASHES {
            check(&disk.crash(crash), &format!("call {cut}, {crash:?}"))?;
        }
        if done.is_ok() {
            return Ok(cut);
        }
    }
    Ok(0)
}

fn mended_again(disk: &SimDisk, archive: &Archived) -> Result<()> {
    archive.with(|copies| {
        let diagnosis = look(disk, copies)?;
        mend(&diagnosis, (disk, disk), &MemoryDisk::new(), copies, true, &|_| {})
    })
}

#[test]
fn what_a_crash_leaves_of_putting_back_is_put_back_again() -> Result<()> {
    let whole = made()?;
    let before = shown(&whole)?;
    let archive = Archived::of(&whole, |_| usize::MAX);
    let chosen = harms(&whole);
    for harm in chosen.iter().filter(|it| matches!(it, Harm::Gone(_) | Harm::Flip(_, 5_000))) {
        let damaged = whole.fork();
        harm.happen(&damaged);
        let steps = at_each_step(&damaged, &archive, &|left, what| {
            mended_again(left, &archive)?;
            assert_eq!(shown(left)?, before, "{harm:?}, {what}");
            Ok(())
        })?;
        assert!(steps > 5, "{steps}");
    }
    Ok(())
}

#[test]
fn what_a_crash_leaves_of_a_cut_is_cut_again() -> Result<()> {
    let whole = made()?;
    let none = Archived(Vec::new());
    for harm in refused(&whole).iter().filter(|it| matches!(it, Harm::Flip(_, 30_000))) {
        let damaged = whole.fork();
        harm.happen(&damaged);
        let cut = damaged.fork();
        mended_again(&cut, &none)?;
        let wanted = shown(&cut)?;
        let steps = at_each_step(&damaged, &none, &|left, what| {
            mended_again(left, &none)?;
            assert_eq!(shown(left)?, wanted, "{harm:?}, {what}");
            Ok(())
        })?;
        assert!(steps > 5, "{steps}");
    }
    Ok(())
}
