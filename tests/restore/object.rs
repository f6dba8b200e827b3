//! One damaged file rolled forward by itself, while its log stays in service.

use crate::driver::{archived, shipped};
use crate::oracle::change;
use crate::world::File;
use siding::archive::Target;
use siding::disk::Disk;
use siding::{BackupFile, ErrorKind, Lsn, Result, plan_restore, restore_object};
use siding_sim::SimDisk;
use std::sync::Arc;

#[test]
fn a_file_is_rolled_forward_from_its_own_recovery_point() -> Result<()> {
    let (mut later, mut records) = (0, 0);
    for seed in 0..16 {
        let (mut world, backup) = archived(seed)?;
        // Of no object of ours.
        world.log.write(&[9; 100])?;
        world.apply_all();
        shipped(&mut world)?;
        let plan = plan_restore(&backup.sink, &Target::End.into())?;
        let (scratch, file) = (SimDisk::new(seed), File::new());
        let scratch: Arc<dyn Disk> = Arc::new(scratch);
        let target = |_: &BackupFile| Ok(Some(Arc::clone(&file.0)));
        let mut last = Lsn::ZERO;
        let done = restore_object(&backup.sink, &plan, 7, &scratch, &target, &mut |record| {
            let (page, value, _) = change(record.payload());
            file.write(page, value);
            last = record.lsn();
            Ok(())
        })?;
        assert_eq!(file.pages(), world.file.pages(), "seed {seed}");
        let own = backup.manifest.objects.iter().find(|(object, _)| *object == 7).unwrap().1;
        assert_eq!((done.from, done.to), (own, plan.target));
        assert!(last < done.to, "{done:?}");
        records += done.records;
        later += u64::from(own > backup.manifest.floor);
        // The log in service has seen nothing of it, and goes on.
        for _ in 0..10 {
            world.step()?;
        }
    }
    assert!(later > 0, "each had to read its log from the floor");
    assert!(records > 100, "{records}");
    Ok(())
}

#[test]
fn an_object_that_the_backup_does_not_hold_is_refused() -> Result<()> {
    let (_, backup) = archived(2)?;
    let plan = plan_restore(&backup.sink, &Target::End.into())?;
    let disk = SimDisk::new(1);
    let scratch: Arc<dyn Disk> = Arc::new(disk.clone());
    let refused = restore_object(&backup.sink, &plan, 8, &scratch, &|_| Ok(None), &mut |_| Ok(()));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(disk.list().unwrap().is_empty());
    Ok(())
}
