//! Verification finds what is damaged, and says what can be restored all the same.

use crate::prune::archived;
use siding::Result;
use siding::archive::verify_archive;
use siding::disk::{AlignedBuf, Disk};
use siding::sink::{DirectorySink, Sink};
use siding_sim::disk::Crash;
use std::sync::Arc;

#[test]
fn every_flipped_bit_is_found_and_what_is_sound_is_reachable() -> Result<()> {
    let (rig, backups) = archived()?;
    let report = verify_archive(&*rig.sink(), &|_| {})?;
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.backups.len(), report.reachable.len()), (backups.len(), 1));
    let names = rig.sink().list("").unwrap();
    let (mut flips, mut cut) = (0, 0);
    for (number, (name, len)) in names.iter().enumerate() {
        let step = if name.ends_with(".seg") { 5_003 } else { 61 };
        for at in (0..*len).step_by(step) {
            let disk = rig.archive.crash(Crash::KeepAll);
            let file = disk.open(name).unwrap();
            let mut sector = AlignedBuf::zeroed(512);
            file.read_at(at / 512 * 512, sector.as_mut_slice()).unwrap();
            let bit = sector[usize::try_from(at % 512).unwrap()] ^ (1 << (number % 8));
            disk.overwrite(name, at, &[bit]).unwrap();
            let sink = DirectorySink::new(Arc::new(disk));
            let report = verify_archive(&sink, &|_| {})?;
            let found = report.findings.iter().any(|(it, _)| it == name);
            let segment = name.replace(".index", ".seg");
            let found = found || report.findings.iter().any(|(it, _)| *it == segment);
            assert!(found, "byte {at} of {name}: {:?}", report.findings);
            flips += 1;
            cut += u32::from(report.backups.len() < backups.len());
        }
    }
    assert!(flips > 100 && cut > 20, "{flips} {cut}");
    Ok(())
}

#[test]
fn what_is_gone_is_a_gap_or_a_backup_less() -> Result<()> {
    let (rig, backups) = archived()?;
    let sink = rig.sink();
    let names: Vec<String> = sink.list("").unwrap().into_iter().map(|(name, _)| name).collect();
    for name in names.iter().filter(|name| !name.ends_with(".index")) {
        let disk = rig.archive.crash(Crash::KeepAll);
        let sink = DirectorySink::new(Arc::new(disk));
        sink.remove(name).unwrap();
        let report = verify_archive(&sink, &|_| {})?;
        let manifest = name.ends_with(".manifest");
        assert_eq!(report.is_sound(), manifest, "{name}: {report:?}");
        assert!(!manifest || report.backups.len() == backups.len() - 1);
    }
    Ok(())
}
