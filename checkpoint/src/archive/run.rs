//! The archiver of an open log: its threads, or whoever ticks the log, ship what is due.

use super::ship::{ArchiveOptions, Shipped, Shipping, Standing};
use super::work::{Origin, extents, held, is_here, locals, settle};
use crate::engine::Engine;
use crate::retain::{Pin, PinKind};
use crate::sink::Sink;
use siding_wal::disk::FutexWord;
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// How often a thread looks when nobody wakes it.
const PERIOD: Duration = Duration::from_millis(200);

/// How often the extent files are listed, in milliseconds.
const LIST_MS: u64 = 1_000;

/// What an archive is, and how far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveStatus {
    /// Who archives.
    pub owner: String,
    /// Where to.
    pub place: String,
    /// How far it is.
    pub shipped: Shipped,
    /// Bytes of log that are kept for it, others aside.
    pub held_bytes: u64,
    /// The most that it may hold.
    pub quota: u64,
    /// Whether it holds less than it needs: what is not shipped may be trimmed now.
    pub let_go: bool,
}

/// An archiver at work.
#[derive(Debug)]
struct Archiver {
    sink: Arc<dyn Sink>,
    owner: String,
    quota: u64,
    shipping: Mutex<Shipping>,
    /// Nothing at or above may be trimmed.
    pin: AtomicU64,
    wake: FutexWord,
    /// When extent files are listed again, and what was found.
    listed: Mutex<(u64, Vec<(u64, u64)>)>,
}

/// The place for an archiver.
#[derive(Debug, Default)]
pub(crate) struct Archiving {
    /// An archiver is to come: until then so many bytes are kept.
    awaited: Option<u64>,
    archiver: RwLock<Option<Arc<Archiver>>>,
}

/// A quota that never has the log full for the archive alone.
fn most(quota: u64, max_log_bytes: Option<u64>) -> u64 {
    quota.min(max_log_bytes.map_or(u64::MAX, |most| most / 2))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Archiving {
    pub(crate) fn new(awaited: bool, max_log_bytes: Option<u64>) -> Self {
        let quota = most(ArchiveOptions::default().quota, max_log_bytes);
        Self { awaited: awaited.then_some(quota), archiver: RwLock::default() }
    }

    fn get(&self) -> Option<Arc<Archiver>> {
        self.archiver.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Nothing at or above this position may be trimmed, with the log ending at `end`.
    pub(crate) fn pin(&self, end: Lsn) -> Lsn {
        match self.get() {
            Some(it) => held(Lsn::new(it.pin.load(Ordering::Acquire)), end, it.quota).0,
            None => self.awaited.map_or(Lsn::MAX, |quota| held(Lsn::ZERO, end, quota).0),
        }
    }

    pub(crate) fn wake(&self) {
        if let Some(archiver) = self.get() {
            archiver.wake.fetch_max(1);
            archiver.wake.wake_all();
        }
    }
}

impl Archiver {
    fn standing(&self, engine: &Engine, fresh: bool) -> Result<Standing> {
        let stream = engine.stream();
        let durable = stream.core().writer.durable();
        let segments = stream.segments();
        let now = stream.clock().monotonic_ms();
        let mut listed = lock(&self.listed);
        if fresh || now >= listed.0 {
            *listed = (now.saturating_add(LIST_MS), extents(engine.forking.pool())?);
        }
        Ok(Standing {
            log_id: *segments.id(),
            size: segments.size(),
            segments: locals(&segments),
            durable,
            extents: listed.1.clone(),
        })
    }

    /// Does one thing that is due; says whether there was one.
    fn step(&self, engine: &Engine) -> bool {
        let clock = engine.stream().clock();
        let Ok(standing) = self.standing(engine, false) else { return false };
        let (job, options) = {
            let mut shipping = lock(&self.shipping);
            let job = shipping.next(clock.monotonic_ms(), &standing);
            self.pin_at(&shipping, &standing);
            (job, shipping.options().clone())
        };
        let Some(job) = job else { return false };
        let origin = Origin { segments: engine.stream().segments(), pool: engine.forking.pool() };
        let result = origin.work(&job, &*self.sink, &options);
        let here = is_here(&job, &engine.stream().segments());
        let mut shipping = lock(&self.shipping);
        settle(&mut shipping, &job, &standing, (clock.monotonic_ms(), here), result);
        self.pin_at(&shipping, &standing);
        true
    }

    fn pin_at(&self, shipping: &Shipping, standing: &Standing) {
        // Another thread may know of a later segment: it goes up alone.
        let pin = shipping.pin(standing).get();
        if pin != u64::MAX {
            self.pin.fetch_max(pin, Ordering::AcqRel);
        }
    }

    fn status(&self, engine: &Engine) -> Result<ArchiveStatus> {
        let standing = self.standing(engine, true)?;
        let end = engine.stream().core().writer.end();
        let oldest = engine.stream().bounds().oldest;
        let pin = Lsn::new(self.pin.load(Ordering::Acquire));
        let (held, let_go) = held(pin, end, self.quota);
        Ok(ArchiveStatus {
            owner: self.owner.clone(),
            place: self.sink.place(),
            shipped: lock(&self.shipping).shipped(&standing),
            held_bytes: end.since(held.max(oldest)),
            quota: self.quota,
            let_go: let_go && pin >= oldest,
        })
    }
}

impl Engine {
    /// Begins to archive the log; returns the threads that do it, none if the log has none: then
    /// [`Engine::tick`] does. From here on nothing is trimmed that is not in the archive, as far as
    /// the quota goes, and MARK is written each second.
    ///
    /// What the sink has is found out first, in the background; until then everything is kept.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InUse`] if an archiver runs; [`ErrorKind::Invalid`] if files cannot be stored
    /// as the options say; the operating system gives no thread.
    pub fn archive_to(
        engine: &Arc<Self>,
        sink: Arc<dyn Sink>,
        options: ArchiveOptions,
    ) -> Result<Vec<JoinHandle<()>>> {
        super::pack::can(options.compression)?;
        let quota = most(options.quota, engine.stream().settings().max_log_bytes);
        let parallel = options.parallel.max(1);
        let archiver = Arc::new(Archiver {
            sink,
            owner: options.owner.clone(),
            quota,
            shipping: Mutex::new(Shipping::new(options)),
            pin: AtomicU64::new(0),
            wake: FutexWord::default(),
            listed: Mutex::default(),
        });
        {
            let mut place =
                engine.archiving.archiver.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(running) = &*place {
                let what = format!("{} archives the log already", running.owner);
                return Err(Error::new(ErrorKind::InUse, what));
            }
            *place = Some(Arc::clone(&archiver));
        }
        engine.keeper().mark_each_second();
        if !engine.stream().settings().threads {
            return Ok(Vec::new());
        }
        (0..parallel).map(|_| archiver.spawn(engine)).collect()
    }

    fn archiver(&self) -> Result<Arc<Archiver>> {
        self.archiving.get().ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "the log is not archived").advise("call archive_to")
        })
    }

    /// Ships what is due, on a log without threads.
    pub(crate) fn archive_due(&self) {
        if let Some(archiver) = self.archiving.get()
            && !self.stream().settings().threads
        {
            while archiver.step(self) {}
        }
    }

    /// Ships everything that was written so far, the open segment too, and waits for it. A MARK is
    /// written first: a restore can be told to go to this moment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] if no archiver runs; what a file or the sink says: the archiver goes
    /// on trying.
    pub fn archive_now(&self) -> Result<Shipped> {
        let archiver = self.archiver()?;
        self.stream().may_wait()?;
        match self.mark() {
            Err(error) if error.kind() == ErrorKind::LogFull => self.stream().flush()?,
            other => other?,
        }
        let wanted = archiver.standing(self, true)?;
        lock(&archiver.shipping).want(&wanted);
        archiver.wake.fetch_max(1);
        archiver.wake.wake_all();
        loop {
            let worked = archiver.step(self);
            let standing = archiver.standing(self, false)?;
            let shipping = lock(&archiver.shipping);
            let shipped = shipping.shipped(&standing);
            if let Some(trouble) = &shipped.trouble {
                let what = "the log cannot be archived now";
                return Err(Error::io(what, io::Error::other(trouble.clone())));
            }
            if shipping.reaches(wanted.durable, &standing) {
                return Ok(shipped);
            }
            drop(shipping);
            if self.is_closed() {
                return Err(Error::new(ErrorKind::Closed, "the log was closed meanwhile"));
            }
            if !worked {
                // Another thread is at it.
                archiver.wake.wait(0, Some(Duration::from_millis(5)));
            }
        }
    }

    /// How the archive stands; none if the log is not archived.
    ///
    /// # Errors
    ///
    /// The secondary log cannot be listed.
    pub fn archive_status(&self) -> Result<Option<ArchiveStatus>> {
        self.archiving.get().map(|archiver| archiver.status(self)).transpose()
    }

    /// What the archive holds.
    pub(crate) fn archive_pin(&self) -> Option<Pin> {
        let end = self.stream().core().writer.end();
        let lsn = self.archiving.pin(end);
        if lsn == Lsn::MAX {
            return None;
        }
        let owner = match self.archiving.get() {
            Some(it) => {
                let needs = Lsn::new(it.pin.load(Ordering::Acquire));
                let beyond = if needs < lsn { ", which needs more than its quota" } else { "" };
                format!("{}, to {}{beyond}", it.owner, it.sink.place())
            }
            None => "an archive that is to come".to_owned(),
        };
        let oldest = self.stream().bounds().oldest;
        Some(Pin {
            kind: PinKind::Archive,
            owner,
            unit: None,
            lsn,
            age_ms: None,
            bytes: end.since(lsn.max(oldest)),
            action: "see that the archive can be written, or lower its quota",
            effect: None,
        })
    }
}

impl Archiver {
    fn spawn(self: &Arc<Self>, engine: &Arc<Engine>) -> Result<JoinHandle<()>> {
        let (archiver, engine) = (Arc::clone(self), Arc::clone(engine));
        let run = move || {
            while !engine.is_closed() {
                if archiver.step(&engine) {
                    // What was pinned for this may be trimmed.
                    engine.wake_keeper();
                    continue;
                }
                archiver.wake.wait(0, Some(PERIOD));
                archiver.wake.store(0);
            }
        };
        let spawned = Builder::new().name("siding-archiver".to_owned()).spawn(run);
        spawned.map_err(|cause| Error::io("a thread cannot be started", cause))
    }
}
