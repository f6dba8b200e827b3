//! Why log is kept: every pin with its owner, and the trim point, their minimum.

use crate::backup::backup_digits;
use crate::engine::Engine;
use crate::live::age_ms;
use siding_fork::policy::Effect;
use siding_wal::Lsn;
use siding_wal::format::UnitState;
use siding_wal::seeded;
use siding_wal::stream::Bounds;
use siding_wal::units::{Unit, Units};
use siding_wal::write::{Held, InProgress};
use std::collections::BTreeMap;

/// What kind of thing keeps log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PinKind {
    /// A live unit of work, or one whose END is not durable.
    Unit,
    /// The last keypoint: restart scans from there.
    Keypoint,
    /// The redo position the last keypoint carries.
    Redo,
    /// An update that is in the log, and perhaps not yet in the embedder's files.
    Update,
    /// Committed units at or above the redo position, whose records lie further back.
    Commits,
    /// An archive that does not have it yet.
    Archive,
    /// A backup that runs.
    Backup,
    /// Originals of moved records whose copies are lost.
    Originals,
}

/// One reason why log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// What kind of thing it is.
    pub kind: PinKind,
    /// Who it is, for people.
    pub owner: String,
    /// The unit, if it is one.
    pub unit: Option<u64>,
    /// The oldest position it needs.
    pub lsn: Lsn,
    /// Milliseconds it has been there, if known.
    pub age_ms: Option<u64>,
    /// Bytes of log from there to the end: what it holds, others aside.
    pub bytes: u64,
    /// The cheapest thing to do about it.
    pub action: &'static str,
    /// What moving it would cost and gain: of a unit that keeps sealed segments which nothing but
    /// units needs.
    pub effect: Option<Effect>,
}

/// What pins are computed from: of a running log, or of one that is only read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// The live units.
    pub(crate) units: &'a Units,
    /// Oldest position, last keypoint, redo position.
    pub(crate) bounds: Bounds,
    /// Under deferred apply the oldest position that committed units at or above the redo
    /// position need; else [`Lsn::MAX`].
    pub(crate) commits_need: Lsn,
    /// Behind the last record.
    pub(crate) end: Lsn,
    /// The oldest position that an archive needs, or [`Lsn::MAX`].
    pub(crate) archive: Lsn,
    /// Milliseconds since 1970.
    pub(crate) wall_ms: u64,
}

impl Facts<'_> {
    /// Nothing at or above this position may be trimmed.
    fn trim_point(&self) -> Lsn {
        let low = self.units.low().map_or(Lsn::MAX, |(low, _)| low);
        let low = if seeded!(TrimForgetsUnits) { Lsn::MAX } else { low };
        let commits = if seeded!(TrimForgetsCommits) { Lsn::MAX } else { self.commits_need };
        let needed = self.bounds.keypoint_begin.min(self.bounds.redo).min(self.archive);
        needed.min(low).min(commits)
    }

    /// How far trimming could go if no unit held anything.
    pub(crate) fn free_below(&self) -> Lsn {
        let needed = self.bounds.keypoint_begin.min(self.bounds.redo).min(self.archive);
        needed.min(self.commits_need)
    }

    /// Every pin, the one that holds most first.
    pub(crate) fn pins(&self) -> Vec<Pin> {
        let mut pins: Vec<Pin> = self
            .units
            .iter()
            .filter(|(_, unit)| unit.live_low() < Lsn::MAX)
            .map(|(number, unit)| self.unit_pin(number, unit))
            .collect();
        if self.commits_need < self.bounds.redo {
            let what = "committed units that redo may still need";
            let action = "report a later redo position";
            pins.push(self.pin(PinKind::Commits, what, self.commits_need, action));
        }
        if self.bounds.redo.is_zero() {
            let what = "no redo position was ever reported";
            let action = "call redo_from with a position up to which your files are durable";
            pins.push(self.pin(PinKind::Redo, what, Lsn::ZERO, action));
        } else {
            let action = "report a later redo position, and take a keypoint";
            pins.push(self.pin(PinKind::Redo, "the redo position", self.bounds.redo, action));
        }
        let begin = self.bounds.keypoint_begin;
        pins.push(self.pin(PinKind::Keypoint, "the last keypoint", begin, "take a keypoint"));
        pins.sort_by_key(|pin| (pin.lsn, pin.unit));
        pins
    }

    fn unit_pin(&self, number: u64, unit: &Unit) -> Pin {
        let owner = format!("unit {number:#x}, {}{}", unit.state.name(), gid(&unit.gid));
        Pin {
            unit: Some(number),
            age_ms: age_ms(unit, self.wall_ms),
            ..self.pin(PinKind::Unit, &owner, unit.live_low(), advice(unit.state))
        }
    }

    fn pin(&self, kind: PinKind, owner: &str, lsn: Lsn, action: &'static str) -> Pin {
        Pin {
            kind,
            owner: owner.to_owned(),
            unit: None,
            lsn,
            age_ms: None,
            bytes: self.end.since(lsn.max(self.bounds.oldest)),
            action,
            effect: None,
        }
    }
}

impl Engine {
    /// Nothing at or above this position may be trimmed. Gives up backups for which too much log
    /// was written.
    pub(crate) fn trim_point(&self) -> Lsn {
        let held = {
            let mut core = self.stream().core();
            let end = core.writer.end();
            core.redo.give_up(end);
            if seeded!(TrimUnderBackup) { Lsn::MAX } else { core.redo.held_trim() }
        };
        held.min(self.unheld_trim_point())
    }

    /// The same, but for what backups hold.
    pub(crate) fn unheld_trim_point(&self) -> Lsn {
        if seeded!(TrimPastKeypoint) {
            let core = self.stream().core();
            return core
                .redo
                .position()
                .min(core.units.live_low())
                .min(core.commits.need(core.redo.position()));
        }
        self.with_facts(|facts| facts.trim_point()).min(self.originals_low())
    }

    /// The oldest original whose copy is lost.
    fn originals_low(&self) -> Lsn {
        self.forking.losses.originals().into_values().min().unwrap_or(Lsn::MAX)
    }

    /// How far trimming could go if no unit held anything.
    pub(crate) fn free_below(&self) -> Lsn {
        self.with_facts(|facts| facts.free_below())
    }

    /// The same, once a keypoint that is taken now is durable.
    pub(crate) fn free_below_next(&self) -> Lsn {
        let core = self.stream().core();
        let redo = core.redo.position();
        let need = if core.repeats_history() { Lsn::MAX } else { core.commits.need(redo) };
        let end = core.writer.end();
        end.min(redo).min(need).min(self.archiving.pin(end))
    }

    /// Whether a keypoint taken now would let a segment go.
    pub(crate) fn keypoint_frees(&self) -> bool {
        let originals = self.originals_low();
        let segments = self.stream().segments();
        let core = self.stream().core();
        let redo = core.redo.position();
        let low = core.units.low().map_or(Lsn::MAX, |(low, _)| low);
        let mut point = redo.min(low).min(originals);
        point = point.min(self.archiving.pin(core.writer.end()));
        point = point.min(core.redo.held_trim());
        if !core.repeats_history() {
            point = point.min(core.commits.need(redo));
        }
        segments.oldest_number().is_some_and(|oldest| segments.number_of(point) > oldest)
    }

    /// Every pin, the one that holds most first.
    #[must_use]
    pub fn why_retained(&self) -> Vec<Pin> {
        let mut pins = self.with_facts(|facts| facts.pins());
        pins.extend(self.updates());
        pins.extend(self.archive_pin());
        pins.extend(self.backups());
        pins.extend(self.originals());
        pins.sort_by_key(|pin| (pin.lsn, pin.unit));
        if pins.iter().any(|pin| pin.kind == PinKind::Unit) {
            self.tell_effects(&mut pins);
        }
        pins
    }

    /// Originals of lost copies, by unit.
    fn originals(&self) -> Vec<Pin> {
        let originals = self.forking.losses.originals();
        let core = self.stream().core();
        let end = core.writer.end();
        let pin = |(unit, lsn): (u64, Lsn)| Pin {
            kind: PinKind::Originals,
            owner: format!("unit {unit:#x}: copies are lost of what it wrote here"),
            unit: Some(unit),
            lsn,
            age_ms: None,
            bytes: end.since(lsn),
            action: match core.units.get(unit) {
                Some(_) => "make room on the secondary log's disk, and fork it",
                None => "report a later redo position",
            },
            effect: None,
        };
        originals.into_iter().map(pin).collect()
    }

    /// The oldest update in progress of each object.
    fn updates(&self) -> Vec<Pin> {
        let core = self.stream().core();
        let end = core.writer.end();
        let pin = |(lsn, update): (Lsn, InProgress)| {
            let InProgress { object, unit, lost } = update;
            let (what, action) = match lost {
                false => ("in progress", "write it to the files, and call done"),
                true => ("dropped without done", "open the log anew, and redo it"),
            };
            Pin {
                kind: PinKind::Update,
                owner: format!("an update of object {object} by unit {unit:#x}, {what}"),
                unit: None,
                lsn,
                age_ms: None,
                bytes: end.since(lsn),
                action,
                effect: None,
            }
        };
        core.redo.oldest_of_each().map(pin).collect()
    }

    /// The backups that run.
    fn backups(&self) -> Vec<Pin> {
        let (wall_ms, oldest) = (self.stream().clock().wall_ms(), self.stream().bounds().oldest);
        let core = self.stream().core();
        let end = core.writer.end();
        let pin = |held: &Held| {
            let left = held.most.map(|most| most.saturating_sub(end.since(held.began)));
            let left = left.map_or_else(String::new, |left| {
                format!(", given up after {left} more bytes of log")
            });
            Pin {
                kind: PinKind::Backup,
                owner: format!("backup {}{left}", backup_digits(held.id)),
                unit: None,
                lsn: held.trim,
                age_ms: Some(wall_ms.saturating_sub(held.began_ms)),
                bytes: end.since(held.trim.max(oldest)),
                action: "wait until it is over; or end it, and take one with a quota",
                effect: None,
            }
        };
        core.redo.held().map(pin).collect()
    }

    /// Says of each unit what moving it would do, and advises it where that pays.
    fn tell_effects(&self, pins: &mut [Pin]) {
        // Without the effects the pins are still true.
        let effects = self.fork_effects().unwrap_or_default();
        let mut known: BTreeMap<u64, Effect> = effects
            .into_iter()
            .filter(|effect| effect.segments > 0)
            .map(|effect| (effect.unit, effect))
            .collect();
        let held = self.forking.held().clone();
        for pin in pins.iter_mut() {
            let Some(unit) = pin.unit.filter(|_| pin.kind == PinKind::Unit) else { continue };
            pin.effect = known.remove(&unit);
            let pays = pin.effect.as_ref().is_some_and(|effect| self.forking.pays(effect));
            // Who held the unit should hear of it even before its segments are counted.
            if held.contains(&unit) {
                pin.action = "unhold it, or fork it";
            } else if pays && self.forking.has_no_room() {
                pin.action = "end it, or raise max_secondary_bytes: the secondary log is full";
            } else if pays {
                pin.action = "fork it";
            }
        }
    }

    fn with_facts<T>(&self, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
        let bounds = self.stream().bounds();
        let wall_ms = self.stream().clock().wall_ms();
        let core = self.stream().core();
        let commits_need =
            if core.repeats_history() { Lsn::MAX } else { core.commits.need(bounds.redo) };
        let end = core.writer.end();
        let archive = self.archiving.pin(end);
        ask(&Facts { units: &core.units, bounds, commits_need, end, archive, wall_ms })
    }
}

fn gid(gid: &[u8]) -> String {
    if gid.is_empty() {
        return String::new();
    }
    format!(", gid {}", String::from_utf8_lossy(gid))
}

fn advice(state: UnitState) -> &'static str {
    match state {
        UnitState::InFlight => "commit it or back it out",
        UnitState::InDoubt => "ask its coordinator, or resolve it",
        UnitState::BackingOut => "undo it, and end it",
        UnitState::Committed | UnitState::Aborted | UnitState::Ended => "finish it, and end it",
    }
}
