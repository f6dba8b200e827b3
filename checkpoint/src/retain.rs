//! Why log is kept: every pin with its owner, and the trim point, their minimum (`A.5`).

use crate::engine::Engine;
use siding_wal::Lsn;
use siding_wal::format::UnitState;

/// What kind of thing keeps log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PinKind {
    /// A live unit of work, or one whose END is not durable.
    Unit,
    /// The last keypoint: restart scans from there.
    Keypoint,
    /// The redo position the last keypoint carries.
    Redo,
    /// Committed units at or above the redo position, whose records lie further back.
    Commits,
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
}

impl Engine {
    /// Nothing at or above this position may be trimmed.
    pub(crate) fn trim_point(&self) -> Lsn {
        let bounds = self.stream().bounds();
        let core = self.stream().core();
        let mut point = bounds.keypoint_begin.min(bounds.redo);
        if let Some((low, _)) = core.units.low() {
            point = point.min(low);
        }
        if !core.repeats_history() {
            point = point.min(core.commits.need(bounds.redo));
        }
        point
    }

    /// Whether a keypoint taken now would let a segment go.
    pub(crate) fn keypoint_frees(&self) -> bool {
        let segments = self.stream().segments();
        let core = self.stream().core();
        let redo = core.redo();
        let mut point = redo.min(core.units.live_low());
        if !core.repeats_history() {
            point = point.min(core.commits.need(redo));
        }
        segments.oldest_number().is_some_and(|oldest| segments.number_of(point) > oldest)
    }

    /// Every pin, the one that holds most first.
    #[must_use]
    pub fn why_retained(&self) -> Vec<Pin> {
        let bounds = self.stream().bounds();
        let wall = self.stream().clock().wall_ms();
        let core = self.stream().core();
        let end = core.writer.end();
        let pin = |kind, owner: &str, lsn: Lsn, action| Pin {
            kind,
            owner: owner.to_owned(),
            unit: None,
            lsn,
            age_ms: None,
            bytes: end.since(lsn.max(bounds.oldest)),
            action,
        };
        let mut pins: Vec<Pin> = core
            .units
            .iter()
            .filter(|(_, unit)| unit.live_low() < Lsn::MAX)
            .map(|(number, unit)| Pin {
                unit: Some(number),
                age_ms: Some(wall.saturating_sub(unit.started_ms)),
                ..pin(
                    PinKind::Unit,
                    &format!("unit {number:#x}, {}{}", unit.state.name(), gid(&unit.gid)),
                    unit.live_low(),
                    advice(unit.state),
                )
            })
            .collect();
        if !core.repeats_history() {
            let need = core.commits.need(bounds.redo);
            if need < bounds.redo {
                let what = "committed units that redo may still need";
                pins.push(pin(PinKind::Commits, what, need, "report a later redo position"));
            }
        }
        if bounds.redo.is_zero() {
            let what = "no redo position was ever reported";
            let action = "call redo_from with a position up to which your files are durable";
            pins.push(pin(PinKind::Redo, what, Lsn::ZERO, action));
        } else {
            let action = "report a later redo position, and take a keypoint";
            pins.push(pin(PinKind::Redo, "the redo position", bounds.redo, action));
        }
        let action = "take a keypoint";
        pins.push(pin(PinKind::Keypoint, "the last keypoint", bounds.keypoint_begin, action));
        drop(core);
        pins.sort_by_key(|pin| pin.lsn);
        pins
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
