//! A small database of pages over a log, at work: units of all fates, moves, keypoints, trimming,
//! crashes; and a copy of every segment it ever wrote.

use crate::archive::{Archive, Entry};
use crate::oracle::{PAGES, Pages, change};
use crate::support::quiet;
use siding::disk::{Disk, LogFile, MemoryDisk};
use siding::{
    Decided, Discipline, InDoubt, Log, Lsn, Options, Outcome, Recovery, Result, UnitOfWork, Update,
};
use siding_sim::{Rng, SimDisk};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;

/// An update in progress, and what it writes to which page.
type Guard = (Update, u64, u64);

/// A file of pages.
#[derive(Clone, Debug)]
pub(crate) struct File(pub(crate) Arc<dyn LogFile>);

impl File {
    pub(crate) fn new() -> Self {
        let file = MemoryDisk::new().create("pages").unwrap();
        file.write_at(0, &[&vec![0; PAGE * usize::try_from(PAGES).unwrap()]], true).unwrap();
        Self(file)
    }

    pub(crate) fn write(&self, page: u64, value: u64) {
        let mut bytes = [0; PAGE];
        bytes[..8].copy_from_slice(&value.to_le_bytes());
        self.0.write_at(page * PAGE as u64, &[&bytes], true).unwrap();
    }

    pub(crate) fn pages(&self) -> Pages {
        let value = |page: u64| {
            let mut bytes = [0; PAGE];
            assert_eq!(self.0.read_at(page * PAGE as u64, &mut bytes).unwrap(), PAGE);
            u64::from_le_bytes(bytes[..8].try_into().unwrap())
        };
        (0..PAGES).map(|page| (page, value(page))).collect()
    }

    /// Undoes a change, and says what its compensation carries.
    pub(crate) fn undo(&self, payload: &[u8]) -> Vec<u8> {
        let (page, _, before) = change(payload);
        self.write(page, before);
        [page, before, 0].iter().flat_map(|number| number.to_le_bytes()).collect()
    }
}

/// How the logs of these tests are opened.
pub(crate) fn options(repeats: bool, file: &File) -> Options {
    let options = quiet().forks(false).max_record(8 << 10);
    if !repeats {
        return options;
    }
    let file = file.clone();
    options
        .discipline(Discipline::RepeatHistory)
        .undo(move |record| Ok(file.undo(record.payload())))
}

/// The database.
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) repeats: bool,
    pub(crate) disk: SimDisk,
    pub(crate) log: Log,
    pub(crate) file: File,
    pub(crate) archive: Archive,
    /// Records from before this log was restored.
    pub(crate) before: Vec<Entry>,
    /// The highest incarnation so far.
    pub(crate) incarnation: u32,
    pub(crate) next: u64,
    live: Vec<(UnitOfWork, Vec<Guard>)>,
    doubts: Vec<(InDoubt, Vec<Guard>)>,
    decided: Vec<Decided>,
    /// Updates in progress, in the order in which they go to the file.
    pending: VecDeque<Guard>,
    /// Who has changed a page and has not ended.
    locks: BTreeMap<u64, u64>,
    /// What each page holds once all that is pending is there.
    current: Pages,
}

impl World {
    pub(crate) fn new(seed: u64, repeats: bool) -> Result<Self> {
        let (disk, file) = (SimDisk::new(seed), File::new());
        let recovery = options(repeats, &file).open_on(Arc::new(disk.clone()))?;
        Self::over(seed, repeats, disk, recovery, file)
    }

    /// Goes on with a log that was opened, whose committed changes are in the file.
    pub(crate) fn over(
        seed: u64,
        repeats: bool,
        disk: SimDisk,
        recovery: Recovery,
        file: File,
    ) -> Result<Self> {
        for unit in recovery.in_flight().into_iter().filter(|_| repeats) {
            unit.undo(|record| Ok(file.undo(record.payload())))?;
        }
        let (doubts, decided) = (recovery.in_doubt(), recovery.decided());
        let log = recovery.finish()?;
        let mut world = Self {
            rng: Rng::new(seed),
            repeats,
            disk,
            incarnation: log.report().incarnation,
            log,
            current: file.pages(),
            file,
            archive: Archive::default(),
            before: Vec::new(),
            next: 1,
            live: Vec::new(),
            doubts: Vec::new(),
            decided,
            pending: VecDeque::new(),
            locks: BTreeMap::new(),
        };
        for doubt in doubts {
            for record in doubt.effects()?.owned() {
                world.locks.insert(change(record?.payload()).0, doubt.id());
            }
            world.doubts.push((doubt, Vec::new()));
        }
        world.keep()?;
        Ok(world)
    }

    /// Makes everything durable, and copies the segments.
    pub(crate) fn keep(&mut self) -> Result<()> {
        self.log.ensure_durable(self.log.positions().end)?;
        self.archive.take(&self.disk);
        Ok(())
    }

    /// So many updates go into the file.
    fn apply(&mut self, count: usize) {
        for (guard, page, value) in self.pending.drain(..count).collect::<Vec<_>>() {
            self.file.write(page, value);
            guard.done();
        }
    }

    /// All that is pending goes into the file.
    pub(crate) fn apply_all(&mut self) {
        self.apply(self.pending.len());
    }

    fn update(&mut self, which: usize) -> Result<()> {
        let page = self.rng.below(PAGES);
        let unit = self.live[which].0.id();
        if *self.locks.entry(page).or_insert(unit) != unit {
            return Ok(());
        }
        let (value, before) = (self.next, self.current[&page]);
        self.next += 1;
        let mut payload: Vec<u8> =
            [page, value, before].iter().flat_map(|number| number.to_le_bytes()).collect();
        payload.resize(24 + usize::try_from(self.rng.below(2_500)).unwrap(), 7);
        let guard = self.live[which].0.update(7, &payload)?;
        if self.repeats {
            self.current.insert(page, value);
            self.pending.push_back((guard, page, value));
        } else {
            self.live[which].1.push((guard, page, value));
        }
        Ok(())
    }

    fn committed(&mut self, unit: u64, guards: Vec<Guard>) {
        for (_, page, value) in &guards {
            self.current.insert(*page, *value);
        }
        self.pending.extend(guards);
        self.unlock(unit);
    }

    fn unlock(&mut self, unit: u64) {
        self.locks.retain(|_, holder| *holder != unit);
    }

    /// Undoing needs all that is logged in the file.
    fn backing_out(&mut self, guards: Vec<Guard>) {
        guards.into_iter().for_each(|(guard, _, _)| guard.done());
        self.apply(self.pending.len());
    }

    fn backed_out(&mut self, unit: u64) {
        self.unlock(unit);
        if self.repeats {
            self.current = self.file.pages();
        }
    }

    fn finish(&mut self) -> Result<()> {
        let which = usize::try_from(self.rng.below(self.live.len() as u64)).unwrap();
        let (unit, guards) = self.live.swap_remove(which);
        let id = unit.id();
        match self.rng.below(8) {
            0..3 => {
                unit.commit()?;
                self.committed(id, guards);
            }
            3 => {
                // Several units in one batch.
                drop(unit.submit()?);
                self.committed(id, guards);
            }
            4 => {
                let gid = format!("gid-{id}").into_bytes();
                self.doubts.push((unit.prepare(&gid)?, guards));
            }
            5 => {
                self.decided.push(unit.decide()?);
                self.committed(id, guards);
            }
            6 => {
                let gid = format!("gid-{id}").into_bytes();
                drop(unit.submit_prepare(&gid));
                let mut doubts = self.log.in_doubt();
                doubts.retain(|doubt| doubt.id() == id);
                self.doubts.extend(doubts.into_iter().map(|doubt| (doubt, Vec::new())));
                guards.into_iter().for_each(|(guard, _, _)| guard.done());
            }
            _ => {
                self.backing_out(guards);
                unit.back_out()?;
                self.backed_out(id);
            }
        }
        Ok(())
    }

    fn resolve(&mut self) -> Result<()> {
        let which = usize::try_from(self.rng.below(self.doubts.len() as u64)).unwrap();
        let (doubt, mut guards) = self.doubts.swap_remove(which);
        let id = doubt.id();
        let outcome = self.rng.below(3);
        if outcome == 2 {
            self.backing_out(guards);
            doubt.back_out()?;
            self.backed_out(id);
            return Ok(());
        }
        let mut rest = Vec::new();
        if guards.is_empty() && !self.repeats {
            // Its updates were registered in an earlier open, or given up.
            for record in doubt.effects()?.owned() {
                rest.push(change(record?.payload()));
            }
        }
        if outcome == 0 {
            doubt.commit()?;
        } else {
            self.decided.push(doubt.decide(Outcome::Commit)?);
        }
        self.committed(id, std::mem::take(&mut guards));
        self.apply(if rest.is_empty() { 0 } else { self.pending.len() });
        for (page, value, _) in rest {
            self.file.write(page, value);
            self.current.insert(page, value);
        }
        Ok(())
    }

    /// A unit with records.
    fn some_unit(&mut self) -> Option<u64> {
        let units = self.log.units();
        let which = self.rng.below(units.len().max(1) as u64);
        units.get(usize::try_from(which).unwrap()).map(|unit| unit.unit)
    }

    pub(crate) fn step(&mut self) -> Result<()> {
        let which = usize::try_from(self.rng.below(self.live.len().max(1) as u64)).unwrap();
        match self.rng.below(20) {
            0..2 if self.live.len() < 4 => self.live.push((self.log.begin()?, Vec::new())),
            2..8 if !self.live.is_empty() => self.update(which)?,
            8..11 if !self.live.is_empty() => self.finish()?,
            11 if !self.doubts.is_empty() => self.resolve()?,
            12 if !self.decided.is_empty() => self.decided.swap_remove(0).end()?,
            13..15 => {
                let done = self.rng.below(self.pending.len() as u64 + 1);
                self.apply(usize::try_from(done).unwrap());
            }
            15..17 => {
                if let Some(unit) = self.some_unit() {
                    self.log.fork(unit)?;
                }
            }
            17 => {
                self.keep()?;
                self.log.redo_from(self.log.positions().durable)?;
                self.log.keypoint()?;
                self.keep()?;
            }
            18 => self.keep()?,
            _ => {
                self.keep()?;
                self.log.tick();
            }
        }
        Ok(())
    }

    /// Power goes, and the log is opened again. All that was committed is in the file.
    pub(crate) fn crash(self) -> Result<Self> {
        let mut world = self;
        world.keep()?;
        world.apply(world.pending.len());
        world.log.abandon();
        let Self { rng, repeats, disk, file, archive, before, incarnation, next, .. } = world;
        let recovery = options(repeats, &file).open_on(Arc::new(disk.clone()))?;
        let mut again = Self::over(0, repeats, disk, recovery, file)?;
        let opened = again.incarnation;
        assert!(opened > incarnation, "{opened} after {incarnation}");
        let mut archive = archive;
        archive.take(&again.disk);
        again.archive = archive;
        (again.rng, again.before, again.next) = (rng, before, next);
        Ok(again)
    }

    /// Every record of this history, from the beginning.
    pub(crate) fn records(&self) -> Result<(Vec<Entry>, Vec<Lsn>)> {
        let (records, batches) = self.archive.records()?;
        let from = self.before.last().map_or(Lsn::ZERO, |last| last.end);
        let mut all = self.before.clone();
        all.extend(records.into_iter().filter(|record| record.lsn >= from));
        Ok((all, batches))
    }
}
