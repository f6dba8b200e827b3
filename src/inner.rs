//! What every handle of one open log shares, and how that begins and ends.

use crate::admin::{self, Backer, Backups, Operators, Resolver};
use crate::{Decided, Durability, InDoubt, Outcome};
use siding_checkpoint::Engine;
use siding_wal::disk::Door;
use siding_wal::format::UnitState;
use siding_wal::stream::in_callback;
use siding_wal::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread::JoinHandle;

/// What every handle of one open log shares.
pub(crate) struct Inner {
    engine: Arc<Engine>,
    durability: Durability,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Whether recovery is finished: before that nobody from outside decides anything.
    in_use: AtomicBool,
    door: OnceLock<Arc<Door>>,
    resolver: Option<Resolver>,
    backer: Option<Backer>,
    backups: Backups,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn start(
        engine: Arc<Engine>,
        threads: bool,
        durability: Durability,
        operators: Operators,
    ) -> Result<Arc<Self>> {
        let handles = if threads { Engine::spawn(&engine)? } else { Vec::new() };
        let log = Arc::new(Self {
            engine,
            durability,
            threads: Mutex::new(handles),
            in_use: AtomicBool::new(false),
            door: OnceLock::new(),
            resolver: operators.resolver,
            backer: operators.backer,
            backups: Backups::default(),
        });
        if let Some(directory) = &operators.door {
            let (door, thread) = admin::open(&log, directory)?;
            let _ = log.door.set(door);
            log.threads().push(thread);
        }
        Ok(log)
    }

    /// Threads that end with the log.
    pub(crate) fn add_threads(&self, threads: Vec<JoinHandle<()>>) {
        self.threads().extend(threads);
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Recovery is finished.
    pub(crate) fn in_use(&self) {
        self.in_use.store(true, Ordering::Release);
    }

    pub(crate) fn is_in_use(&self) -> bool {
        self.in_use.load(Ordering::Acquire)
    }

    pub(crate) fn resolver(&self) -> Option<&Resolver> {
        self.resolver.as_ref()
    }

    pub(crate) fn backer(&self) -> Option<&Backer> {
        self.backer.as_ref()
    }

    pub(crate) fn backups(&self) -> &Backups {
        &self.backups
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(crate) fn durability(&self) -> Durability {
        self.durability
    }

    pub(crate) fn in_doubt(self: &Arc<Self>) -> Vec<InDoubt> {
        let units = self.engine.in_state(&[UnitState::InDoubt]);
        let core = self.engine.stream().core();
        let gid = |unit| core.units.get(unit).map(|entry| entry.gid.clone());
        let found = units.into_iter().filter_map(|unit| Some((unit, gid(unit)?)));
        found.map(|(unit, gid)| InDoubt::new(self, unit, gid)).collect()
    }

    pub(crate) fn decided(self: &Arc<Self>) -> Vec<Decided> {
        let of = |state, outcome| {
            let units = self.engine.in_state(&[state]);
            units.into_iter().map(move |unit| Decided::new(self, unit, outcome, None))
        };
        let committed = of(UnitState::Committed, Outcome::Commit);
        committed.chain(of(UnitState::Aborted, Outcome::BackOut)).collect()
    }

    /// Undoes a unit that is being backed out, by the handler of the options.
    pub(crate) fn undo(&self, unit: u64) -> Result<()> {
        self.engine.stream().may_wait()?;
        match self.engine.undo_now(unit) {
            // The background was faster.
            Err(error) if error.kind() == ErrorKind::UnitEnded => Ok(()),
            other => other,
        }
    }

    /// Stops as a crash would, but threads end and the directory is free.
    pub(crate) fn abandon(&self) {
        let what = Error::new(ErrorKind::Closed, "the log was abandoned").advise("open it again");
        self.engine.stream().fail(what);
        self.shut_down();
    }

    pub(crate) fn shut_down(&self) {
        if let Some(door) = self.door.get() {
            door.close();
        }
        self.engine.abandon();
        let mut threads = match self.threads.try_lock() {
            Ok(threads) => threads,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Whoever shuts down now waits for this callback to return, and does the rest.
            Err(TryLockError::WouldBlock) if in_callback() => return,
            Err(TryLockError::WouldBlock) => {
                self.threads.lock().unwrap_or_else(PoisonError::into_inner)
            }
        };
        end(&self.engine, &mut threads);
    }
}

/// Waits for the threads, and lets the directory go.
fn end(engine: &Engine, threads: &mut Vec<JoinHandle<()>>) {
    let this = std::thread::current().id();
    for thread in threads.drain(..).filter(|thread| thread.thread().id() != this) {
        let _ = thread.join();
    }
    engine.release();
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(door) = self.door.get() {
            door.close();
        }
        let threads = std::mem::take(&mut self.threads);
        let threads = threads.into_inner().unwrap_or_else(PoisonError::into_inner);
        let engine = Arc::clone(&self.engine);
        // A callback or a waker that lets the last handle go may not wait, and a close does.
        let elsewhere = in_callback() && !threads.is_empty();
        let close = move || {
            // Best effort: what cannot be closed cleanly now is recovered by the next open.
            if engine.stream().failure().is_none() {
                let _ = engine.close();
            }
            engine.abandon();
            let mut threads = threads;
            end(&engine, &mut threads);
        };
        if elsewhere {
            // Without a thread it is not closed: the directory stays locked no longer than the
            // engine's own threads run, and those end.
            if !Engine::close_elsewhere(close) {
                self.engine.abandon();
            }
        } else {
            close();
        }
    }
}
