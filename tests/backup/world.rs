//! A small database of pages that works while it is backed up, and what a restore must give back.

use crate::support::busy::Busy;
use crate::support::{open, recover};
use siding::archive::{BackupId, Plan, Target, Wanted};
use siding::disk::{Disk, LogFile, MemoryDisk};
use siding::sink::{DirectorySink, Sink};
use siding::{
    BackupFile, BackupOptions, InDoubt, Log, Lsn, Manifest, ObjectFile, RestoreOptions, Result,
    Update,
};
use siding_sim::{Rng, SimDisk};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Bytes of a page, and how many there are.
pub(crate) const PAGE: usize = 4096;
const PAGES: u64 = 6;

type Pages = BTreeMap<u64, u64>;

/// A change of a page: which, and the value it gets.
fn change(payload: &[u8]) -> (u64, u64) {
    let number = |at: usize| u64::from_le_bytes(payload[at..at + 8].try_into().unwrap());
    (number(0), number(8))
}

/// Updates in progress, each with what it writes to which page.
type Guards = Vec<(Update, u64, u64)>;

/// Pages and what is written to them, in order.
type Changes = Vec<(u64, u64)>;

/// What happened to a unit, as the log acknowledged it.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    Committed(Lsn),
    InDoubt(Vec<u8>),
}

/// A small database of pages, and everything that was done to it.
pub(crate) struct World {
    rng: Rng,
    log: Log,
    file: Arc<dyn LogFile>,
    next: u64,
    doubts: Vec<(InDoubt, Guards)>,
    /// Committed changes that are not in the file yet, in the order in which they go there.
    pending: Guards,
    /// What each unit did, and what became of it.
    pub(crate) history: Vec<(u64, Changes, Fate)>,
}

impl World {
    fn new(seed: u64, log: Log, disk: &MemoryDisk) -> Self {
        let file = disk.create("pages").unwrap();
        file.write_at(0, &[&vec![0; PAGE * usize::try_from(PAGES).unwrap()]], true).unwrap();
        let (doubts, pending, history) = (Vec::new(), Vec::new(), Vec::new());
        Self { rng: Rng::new(seed), log, file, next: 1, doubts, pending, history }
    }

    fn write(&self, page: u64, value: u64) {
        let mut bytes = [0; PAGE];
        bytes[..8].copy_from_slice(&value.to_le_bytes());
        self.file.write_at(page * PAGE as u64, &[&bytes], true).unwrap();
    }

    /// So many of the updates that are in progress go into the file.
    fn apply(&mut self, count: usize) {
        for (guard, page, value) in self.pending.drain(..count).collect::<Vec<_>>() {
            self.write(page, value);
            guard.done();
        }
    }

    /// A unit committed: its updates are in progress, or, without guards, in the file at once.
    fn committed(&mut self, guards: Guards, changes: &[(u64, u64)]) {
        if guards.is_empty() {
            self.apply(self.pending.len());
            changes.iter().for_each(|(page, value)| self.write(*page, *value));
        }
        self.pending.extend(guards);
    }

    fn unit(&mut self, in_doubt: bool) -> Result<()> {
        let guarded = self.rng.below(2) == 0;
        let mut unit = self.log.begin()?;
        let (id, mut changes, mut guards) = (unit.id(), Vec::new(), Vec::new());
        for _ in 0..=self.rng.below(2) {
            let (page, value) = (self.rng.below(PAGES), self.next);
            self.next += 1;
            let mut payload = vec![7; 16 + usize::try_from(self.rng.below(3_000)).unwrap()];
            payload[..8].copy_from_slice(&page.to_le_bytes());
            payload[8..16].copy_from_slice(&value.to_le_bytes());
            if guarded {
                guards.push((unit.update(7, &payload)?, page, value));
            } else {
                unit.append(&payload)?;
            }
            changes.push((page, value));
        }
        if in_doubt {
            let gid = format!("gid-{id}").into_bytes();
            self.doubts.push((unit.prepare(&gid)?, guards));
            self.history.push((id, changes, Fate::InDoubt(gid)));
        } else {
            let end = unit.commit()?;
            self.committed(guards, &changes);
            self.history.push((id, changes, Fate::Committed(end)));
        }
        Ok(())
    }

    pub(crate) fn step(&mut self) -> Result<()> {
        match self.rng.below(12) {
            0..4 => self.unit(false)?,
            4 => self.unit(true)?,
            5..8 => {
                let done = self.rng.below(self.pending.len() as u64 + 1);
                self.apply(usize::try_from(done).unwrap());
            }
            8 if !self.doubts.is_empty() => {
                let which = usize::try_from(self.rng.below(self.doubts.len() as u64)).unwrap();
                let (doubt, guards) = self.doubts.swap_remove(which);
                let id = doubt.id();
                let end = doubt.commit()?;
                let at = self.history.iter().position(|it| it.0 == id).unwrap();
                let (id, changes, _) = self.history.remove(at);
                self.committed(guards, &changes);
                self.history.push((id, changes, Fate::Committed(end)));
            }
            9 if !self.doubts.is_empty() => {
                let which = usize::try_from(self.rng.below(self.doubts.len() as u64)).unwrap();
                self.log.fork(self.doubts[which].0.id())?;
            }
            10 => {
                self.log.redo_from(self.log.positions().durable)?;
                self.log.keypoint()?;
            }
            _ => self.log.tick(),
        }
        Ok(())
    }

    /// What the pages hold once all that was committed below `end` is there, and who is in doubt.
    fn at(&self, end: Lsn) -> (Pages, Vec<Vec<u8>>) {
        let mut committed: Vec<(Lsn, &Changes)> = Vec::new();
        let mut doubts = Vec::new();
        for (_, changes, fate) in &self.history {
            match fate {
                Fate::Committed(at) if *at <= end => committed.push((*at, changes)),
                Fate::InDoubt(gid) => doubts.push(gid.clone()),
                Fate::Committed(_) => {}
            }
        }
        committed.sort_by_key(|(at, _)| *at);
        let mut pages: Pages = (0..PAGES).map(|page| (page, 0)).collect();
        for (page, value) in committed.into_iter().flat_map(|(_, changes)| changes) {
            pages.insert(*page, *value);
        }
        doubts.sort_unstable();
        (pages, doubts)
    }
}

/// What was backed up, and into what.
pub(crate) type BackedUp = (Arc<Mutex<World>>, Arc<MemoryDisk>, Manifest);

/// A directory in memory as a sink.
pub(crate) fn sink(disk: &Arc<MemoryDisk>) -> DirectorySink {
    DirectorySink::new(Arc::<MemoryDisk>::clone(disk))
}

/// A backup of a world in motion, and the world.
pub(crate) fn backed_up(seed: u64) -> Result<BackedUp> {
    let log = open(&SimDisk::new(seed))?;
    let files = MemoryDisk::new();
    let world = Arc::new(Mutex::new(World::new(seed, log.clone(), &files)));
    for _ in 0..60 {
        world.lock().unwrap().step()?;
    }
    let stepped = Arc::clone(&world);
    let step = move || stepped.lock().unwrap().step();
    let file = Busy { file: files.open("pages").unwrap(), step: Arc::new(step) };
    let object = ObjectFile { object: 7, name: "pages".into(), file: Arc::new(file) };
    let disk = Arc::new(MemoryDisk::new());
    let told = |_: &siding::Copying<'_>| {
        for _ in 0..3 {
            world.lock().unwrap().step().unwrap();
        }
    };
    let options = BackupOptions::new().progress(&told);
    let manifest = log.backup_to(&sink(&disk), &[object], &options)?;
    for _ in 0..20 {
        world.lock().unwrap().step()?;
    }
    log.abandon();
    Ok((world, disk, manifest))
}

/// Puts the newest backup of a sink back; the pages as they are then, and the plan.
pub(crate) fn restored(from: &DirectorySink, disk: &SimDisk) -> Result<(Pages, Plan)> {
    let files = MemoryDisk::new();
    let target = |_: &BackupFile| files.create("pages").unwrap();
    let plan = restore_end(from, None, disk, &target)?;
    let file = files.open("pages").unwrap();
    let mut pages = Pages::new();
    for page in 0..PAGES {
        let mut bytes = [0; PAGE];
        assert_eq!(file.read_at(page * PAGE as u64, &mut bytes).unwrap(), PAGE);
        pages.insert(page, u64::from_le_bytes(bytes[..8].try_into().unwrap()));
    }
    assert_eq!(file.len().unwrap(), PAGE as u64 * PAGES);
    Ok((pages, plan))
}

/// A backup is put back to its end, that with this number or the newest.
pub(crate) fn restore_end(
    from: &dyn Sink,
    id: Option<BackupId>,
    disk: &SimDisk,
    target: &dyn Fn(&BackupFile) -> Arc<dyn LogFile>,
) -> Result<Plan> {
    let wanted = Wanted { backup: id, ..Wanted::from(Target::BackupEnd(id)) };
    let plan = siding::plan_restore(from, &wanted)?;
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let target = |file: &BackupFile| Ok(Some(target(file)));
    siding::restore_to(from, &plan, &disk, &target, &RestoreOptions::new())?;
    Ok(plan)
}

/// Restores, and compares with what was acknowledged by the end of the backup.
pub(crate) fn check(world: &World, from: &DirectorySink) -> std::result::Result<(), String> {
    let told = |error: siding::Error| error.to_string();
    let disk = SimDisk::new(9);
    let (mut pages, plan) = restored(from, &disk).map_err(told)?;
    let recovery = recover(&disk).map_err(told)?;
    let mut committed = recovery.committed().map_err(told)?;
    while let Some(record) = committed.next().map_err(told)? {
        let (page, value) = change(record.payload());
        pages.insert(page, value);
    }
    let (expected, doubts) = world.at(plan.target);
    if pages != expected {
        return Err(format!("{pages:?} and not {expected:?}"));
    }
    let mut seen = Vec::new();
    for doubt in recovery.in_doubt() {
        let whole = world.history.iter().find(|it| it.0 == doubt.id()).unwrap();
        let effects = doubt.effects().map_err(told)?.owned();
        let effects: Vec<_> = effects
            .map(|it| it.map(|it| change(it.payload())))
            .collect::<Result<_>>()
            .map_err(told)?;
        if effects != whole.1 {
            return Err(format!("unit {:#x}: {effects:?} and not {:?}", doubt.id(), whole.1));
        }
        seen.push(doubt.gid().to_vec());
    }
    seen.sort_unstable();
    // One that was committed behind the end of the backup is in doubt in it.
    let missing: Vec<_> = doubts
        .iter()
        .filter(|gid| plan.in_doubt.iter().any(|it| it.1 == **gid) && !seen.contains(gid))
        .collect();
    if !missing.is_empty() || seen.len() != plan.in_doubt.len() {
        return Err(format!("{missing:?} are not in doubt, but {seen:?}"));
    }
    Ok(())
}
