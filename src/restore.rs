//! Restore: a plan carried out, what becomes of units in doubt, and one file by itself.

use crate::{InDoubt, Options, Outcome, ReadOnly, Record, Recovery};
use siding_checkpoint::{
    BackupFile, Copying, FileKind, Manifest, Plan, RestoredLog, Sink, Targets, carry_out,
};
use siding_wal::disk::{Disk, SystemClock};
use siding_wal::format::{Cause, Discipline, Kind, UnitState};
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::sync::Arc;

/// Memory for what a restore itself writes into the log.
const RING: usize = 4 << 20;

/// What becomes of units that are in doubt at the target of a restore.
#[derive(Clone, Copy, Debug, Default)]
pub enum InDoubtPolicy<'a> {
    /// They stay in doubt: their coordinator is asked once the log is open. The default.
    #[default]
    Keep,
    /// They are committed.
    Commit,
    /// They are backed out.
    BackOut,
    /// What each would have changed is put into a sink under a name, durably; then they are
    /// backed out.
    Export(&'a dyn Sink, &'a str),
}

/// How a restore is done.
#[derive(Clone, Copy)]
pub struct RestoreOptions<'a> {
    in_doubt: InDoubtPolicy<'a>,
    who: &'a str,
    told: &'a dyn Fn(&Copying<'_>),
}

impl std::fmt::Debug for RestoreOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RestoreOptions")
            .field("in_doubt", &self.in_doubt)
            .field("who", &self.who)
            .finish_non_exhaustive()
    }
}

impl Default for RestoreOptions<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> RestoreOptions<'a> {
    /// Units in doubt stay in doubt.
    #[must_use]
    pub fn new() -> Self {
        Self { in_doubt: InDoubtPolicy::Keep, who: "restore", told: &|_| {} }
    }

    /// What becomes of units in doubt.
    #[must_use]
    pub fn in_doubt(mut self, policy: InDoubtPolicy<'a>) -> Self {
        self.in_doubt = policy;
        self
    }

    /// Who decides, stored with each decision: it is a heuristic one. The default is `restore`.
    #[must_use]
    pub fn who(mut self, who: &'a str) -> Self {
        self.who = who;
        self
    }

    /// Told how far it is.
    #[must_use]
    pub fn told(mut self, told: &'a dyn Fn(&Copying<'_>)) -> Self {
        self.told = told;
        self
    }
}

/// A unit that was in doubt at the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Its number.
    pub unit: u64,
    /// Its gid.
    pub gid: Vec<u8>,
    /// What became of it; none: it is in doubt.
    pub outcome: Option<Outcome>,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The log.
    pub log: RestoredLog,
    /// Units that were in doubt at the target, lowest number first.
    pub in_doubt: Vec<Doubt>,
}

/// Carries a plan out: the log into `disk`, an empty directory or one in which a restore was broken
/// off; each file of an object where `target` says. Then open the log: it is as after a crash at
/// the plan's target, with a new incarnation. Redo brings the files there.
///
/// Costs one read of all that the plan names, a write of it, and another read of the log.
///
/// # Errors
///
/// [`ErrorKind::Invalid`] if the directory holds anything else, or no record begins or ends at the
/// target; [`ErrorKind::Missing`] or [`ErrorKind::Corrupt`] with the name of what is not there or
/// damaged; what a disk or the sink says. Once something was written the directory opens as no
/// log, and says why.
///
/// # Crash
///
/// The directory opens as no log, and says why; or all is restored, and every unit in doubt is as
/// was asked. Restore into it again.
pub fn restore_to(
    sink: &dyn Sink,
    plan: &Plan,
    disk: &Arc<dyn Disk>,
    target: &Targets<'_>,
    options: &RestoreOptions<'_>,
) -> Result<Restored> {
    let mut in_doubt = None;
    let log = carry_out(sink, plan, &**disk, target, options.told, &mut |manifest| {
        if !matches!(options.in_doubt, InDoubtPolicy::Keep) {
            in_doubt = Some(resolve(disk, manifest, options)?);
        }
        Ok(())
    })?;
    let in_doubt = match in_doubt {
        Some(decided) => decided,
        None => seen(disk)?,
    };
    Ok(Restored { log, in_doubt })
}

/// The units in doubt of a log that nobody has open.
fn seen(disk: &Arc<dyn Disk>) -> Result<Vec<Doubt>> {
    let log = ReadOnly::open_on(Arc::clone(disk), Arc::new(SystemClock::new()))?;
    let units = log.units().into_iter().filter(|unit| unit.state == UnitState::InDoubt);
    Ok(units.map(|unit| Doubt { unit: unit.unit, gid: unit.gid, outcome: None }).collect())
}

/// Opens a log that a restore has put together, for the restore alone.
fn open(disk: &Arc<dyn Disk>, manifest: &Manifest, restoring: bool) -> Result<Recovery> {
    let options = Options::new().create(false).forks(false).ring_size(RING);
    let options = options.discipline(manifest.control.discipline);
    let mut options = options.without_threads(Arc::new(SystemClock::new()));
    options.config.restoring = restoring;
    options.open_on(Arc::clone(disk))
}

/// Decides what is in doubt, durably. Nobody else can open the log yet: a crash in the middle
/// leaves no half decided log behind, but a restore that was broken off.
fn resolve(
    disk: &Arc<dyn Disk>,
    manifest: &Manifest,
    options: &RestoreOptions<'_>,
) -> Result<Vec<Doubt>> {
    let recovery = open(disk, manifest, true)?;
    let mut doubts = recovery.in_doubt();
    doubts.sort_by_key(InDoubt::id);
    if let InDoubtPolicy::Export(sink, name) = options.in_doubt {
        export(&doubts, sink, name)?;
    }
    let outcome = match options.in_doubt {
        InDoubtPolicy::Commit => Outcome::Commit,
        _ => Outcome::BackOut,
    };
    let mut decided = Vec::new();
    for doubt in doubts {
        let (unit, gid) = (doubt.id(), doubt.gid().to_vec());
        let doubt = doubt.heuristically(Cause::Operator, options.who);
        match outcome {
            Outcome::Commit => drop(doubt.commit()?),
            // Only its program can undo it, when it opens the log.
            Outcome::BackOut if manifest.control.discipline == Discipline::RepeatHistory => {
                drop(doubt.decide(Outcome::BackOut)?);
            }
            Outcome::BackOut => doubt.back_out()?,
        }
        decided.push(Doubt { unit, gid, outcome: Some(outcome) });
    }
    recovery.abandon();
    Ok(decided)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One JSON object a line: each unit, and behind it what a commit of it would have applied.
fn export(doubts: &[InDoubt], sink: &dyn Sink, name: &str) -> Result<()> {
    let refused = |cause| {
        Error::io("the effects of units in doubt cannot be exported", cause)
            .file(name)
            .advise("nothing was decided: make room, and restore again")
    };
    let mut put = sink.put(name).map_err(refused)?;
    for doubt in doubts {
        let unit = format!("\"unit\":\"{:#x}\"", doubt.id());
        let gid = hex(doubt.gid());
        let line = format!("{{\"type\":\"unit\",{unit},\"gid_hex\":\"{gid}\"}}\n");
        put.write(line.as_bytes()).map_err(refused)?;
        let mut effects = doubt.effects()?;
        while let Some(record) = effects.next()? {
            let (lsn, resource) = (record.lsn(), record.resource());
            let payload = hex(record.payload());
            let line = format!(
                "{{\"type\":\"effect\",{unit},\"lsn\":{lsn},\"resource\":{resource},\
                 \"payload_hex\":\"{payload}\"}}\n"
            );
            put.write(line.as_bytes()).map_err(refused)?;
        }
    }
    put.finish().map_err(refused)
}

/// What was rolled forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolledForward {
    /// The recovery point of the object in the backup: redo began here.
    pub from: Lsn,
    /// Redo went up to here.
    pub to: Lsn,
    /// Records that were handed out.
    pub records: u64,
}

/// Brings the files of one object back from a backup and rolls them forward, while the log they
/// belong to, and all else, stays in service. `target` says where each of its files goes; `redo`
/// gets what must be done to them, in order, from the object's own recovery point up to the plan's
/// target: under deferred apply the records of committed units, under repeat history every record
/// and compensation record. Only records of this resource.
///
/// The embedder sees to it that nothing changes the object from before the target on: take it out
/// of service, end or prepare every unit that has changed it, archive what was written since
/// ([`Log::archive_now`](crate::Log::archive_now)), and plan with
/// [`Target::End`](crate::archive::Target::End). A unit that is in doubt is delivered, as always,
/// when it commits.
///
/// The log is put together in `scratch`, an empty directory, and is of no use afterwards.
///
/// # Errors
///
/// As [`restore_to`]; [`ErrorKind::NotFound`] if the backup has no such object; what `redo` says.
/// Then the files are worth nothing.
///
/// # Crash
///
/// Until this returns the files are worth nothing; the log in service has seen nothing of it.
pub fn restore_object(
    sink: &dyn Sink,
    plan: &Plan,
    object: u16,
    scratch: &Arc<dyn Disk>,
    target: &Targets<'_>,
    redo: &mut dyn FnMut(&Record<'_>) -> Result<()>,
) -> Result<RolledForward> {
    let manifest = Manifest::read(sink, plan.backup)?;
    let point = manifest.objects.iter().find(|(number, _)| *number == object);
    let Some((_, from)) = point.copied() else {
        let what = format!("the backup holds nothing of the object {object}");
        return Err(Error::new(ErrorKind::NotFound, what).advise("use a backup that holds it"));
    };
    let of_object = |file: &&BackupFile| file.kind == FileKind::Object(object);
    let plan =
        Plan { objects: plan.objects.iter().filter(of_object).cloned().collect(), ..plan.clone() };
    let log = carry_out(sink, &plan, &**scratch, target, &|_| {}, &mut |_| Ok(()))?;
    let recovery = open(scratch, &manifest, false)?.from(from)?;
    let mut records = 0;
    let mut each = |record: &Record<'_>| -> Result<()> {
        if record.resource() == object {
            redo(record)?;
            records += 1;
        }
        Ok(())
    };
    if manifest.control.discipline == Discipline::RepeatHistory {
        let mut history = recovery.history()?;
        while let Some(record) = history.next()? {
            if matches!(record.kind(), Kind::Data | Kind::Compensation) {
                each(&record)?;
            }
        }
    } else {
        let mut committed = recovery.committed()?;
        while let Some(record) = committed.next()? {
            each(&record)?;
        }
    }
    recovery.abandon();
    Ok(RolledForward { from, to: log.to, records })
}
