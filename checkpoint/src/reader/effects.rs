//! What moving a unit would cost and gain, of a log that is only read.

use super::ReadOnly;
use crate::directories::directory;
use crate::retain::{Pin, PinKind};
use siding_fork::policy::{Candidate, Effect, Policy, Sealed, Settings, Situation};
use siding_wal::format::wide;
use siding_wal::{Lsn, Result};
use std::collections::BTreeMap;

impl ReadOnly {
    /// What moving each live unit would cost and gain, lowest number first. Whether an operator
    /// holds it only the owner of the log knows.
    ///
    /// Costs a read of the directory of each sealed segment that is kept, and a scan of those whose
    /// directory is not there.
    ///
    /// # Errors
    ///
    /// A directory was to be made by a scan, and the log is damaged.
    pub fn fork_effects(&self) -> Result<Vec<Effect>> {
        let (segments, seen) = (&self.view.found.segments, &self.view.analysis);
        let lives = |unit| seen.units.get(unit).is_some();
        let oldest = segments.oldest_number().unwrap_or(0);
        let open = segments.last().map_or(oldest, |last| last.number);
        let mut sealed = Vec::new();
        for number in oldest..open {
            let lsn = seen.directories.get(&number).copied().unwrap_or(Lsn::ZERO);
            sealed.push((number, directory(segments, self.view.end, number, lsn, &lives)?));
        }
        let sealed: Vec<Sealed<'_>> = sealed
            .iter()
            .map(|(number, directory)| Sealed { number: *number, directory })
            .collect();
        let live = seen.units.iter().filter(|(_, unit)| unit.live_low() < Lsn::MAX);
        let units: Vec<Candidate> = live
            .map(|(number, unit)| Candidate {
                unit: number,
                state: unit.state,
                floor: unit.floor,
                main_bytes: unit.main.1,
                idle_ms: None,
                held: false,
                moving: false,
            })
            .collect();
        let segment_size = segments.first_lsn(1).get();
        Ok(Policy::new(Settings::default()).effects(&Situation {
            segment_size,
            segments: &sealed,
            free_below: self.facts().free_below(),
            retained: wide(segments.len()).saturating_mul(segment_size),
            soft_limit: None,
            units: &units,
            budget: u64::MAX,
            room: u64::MAX,
            urgent: false,
        }))
    }

    /// Every reason why log is kept, the one that holds most first.
    #[must_use]
    pub fn why_retained(&self) -> Vec<Pin> {
        let mut pins = self.facts().pins();
        if pins.iter().all(|pin| pin.kind != PinKind::Unit) {
            return pins;
        }
        // Without the effects the pins are still true.
        let effects = self.fork_effects().unwrap_or_default().into_iter();
        let mut known: BTreeMap<u64, Effect> = effects
            .filter(|effect| effect.segments > 0)
            .map(|effect| (effect.unit, effect))
            .collect();
        let ratio = Settings::default().ratio;
        for pin in &mut pins {
            pin.effect = pin.unit.and_then(|unit| known.remove(&unit));
            let pays = |effect: &Effect| {
                effect.gain > 0 && effect.gain >= effect.cost.saturating_mul(ratio)
            };
            if pin.effect.as_ref().is_some_and(pays) {
                pin.action = "fork it";
            }
        }
        pins
    }
}
