//! Wrong decisions of a backup, and that the tests beside see each of them.

use crate::world::{backed_up, check, sink};
use siding_wal::seeded::{Bug, with};

fn under_load(seeds: u64) -> bool {
    (0..seeds).any(|seed| match backed_up(seed) {
        Ok((world, disk, _)) => check(&world.lock().unwrap(), &sink(&disk)).is_err(),
        Err(_) => true,
    })
}

#[test]
fn wrong_backups_are_found() {
    for bug in Bug::OF_BACKUP {
        let found = with(bug, || match bug {
            Bug::ManifestFirst => crate::crashes::at_each_step().unwrap().is_some(),
            Bug::FreeUnderBackup => crate::held::ends_under_it(false).is_err(),
            Bug::SweepUnderBackup => crate::held::ends_under_it(true).is_err(),
            Bug::UpdateRegisteredLate => {
                let wrongly = |update: &mut dyn FnMut()| with(bug, update);
                (0..20).any(|_| crate::guards::race(1, &wrongly).unwrap().is_some())
            }
            Bug::TornBlockTaken => !crate::objects::torn(&[(5, 3)]).unwrap().0,
            _ => under_load(2_000),
        });
        assert!(found, "{bug:?} is not found");
    }
}
