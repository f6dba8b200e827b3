//! Restart's half of the unit table: a keypoint's entries first, then the records behind it.

use super::{Applied, GidHolder, Unit, Units, span};
use crate::Lsn;
use crate::format::{ForkPayload, Kind, PreparePayload, RecordHeader, UnitEntry, UnitState, wide};

impl Units {
    /// Puts a keypoint's entry into the table.
    pub fn restore(&mut self, entry: UnitEntry) {
        if entry.state == UnitState::Ended {
            self.moved.restore(entry);
            return;
        }
        if !entry.gid.is_empty() {
            self.gids.insert(entry.gid.clone(), GidHolder::Live(entry.unit));
        }
        self.live.insert(entry.unit, Unit::from_entry(entry));
    }

    /// Applies a record that the restart scan found at `lsn`.
    ///
    /// A keypoint is fuzzy: an entry may have been captured after this record was written. What
    /// lies at or below the entry's head is part of it already.
    pub fn replay(&mut self, lsn: Lsn, header: &RecordHeader, payload: &[u8], repeat: bool) {
        if !header.kind.has_unit() || header.unit == 0 {
            return;
        }
        let prepare = match header.kind {
            Kind::Prepare => PreparePayload::decode(payload).ok(),
            _ => None,
        };
        let record = Applied {
            lsn,
            next: lsn.plus(wide(header.padded_len())),
            kind: header.kind,
            flags: header.flags,
            gid: prepare.as_ref().map_or(&[], |prepare| &prepare.gid),
            repeat_history: repeat,
        };
        if record.ends() {
            self.drop_ended(header.unit, &record);
            return;
        }
        if self.moved.holds(header.unit) {
            return;
        }
        let (size, late) = (self.segment_size, self.is_late(lsn));
        let entry = self.live.entry(header.unit).or_insert_with(|| Unit::new(0));
        if lsn <= entry.head {
            // The entry does not say what of the unit lies in which segment.
            if header.kind != Kind::Fork {
                span::note(&mut entry.spans, lsn, record.next, size);
            }
            return;
        }
        if header.kind == Kind::Fork {
            match ForkPayload::decode(payload) {
                Ok(fork) if late => entry.pass_fork(lsn, &fork),
                Ok(fork) => entry.apply_fork(lsn, &fork),
                Err(_) => {}
            }
            return;
        }
        if let Some(prepare) = &prepare {
            entry.started_ms = prepare.started_ms;
            entry.first = prepare.first;
        }
        self.appended(header.unit, &record, 0);
        if let Some(entry) = self.live.get_mut(&header.unit) {
            // The monotonic clock of an earlier open says nothing.
            entry.in_doubt.0 = None;
        }
    }

    /// Gives every unit that is in doubt the moment from which this open counts.
    pub fn start_clocks(&mut self, now_ms: u64) {
        for entry in self.live.values_mut().filter(|entry| entry.state == UnitState::InDoubt) {
            entry.in_doubt.0 = Some(now_ms);
        }
    }

    fn drop_ended(&mut self, unit: u64, record: &Applied<'_>) {
        let Some(mut entry) = self.live.remove(&unit) else { return };
        if self.gids.get(&entry.gid) == Some(&GidHolder::Live(unit)) {
            self.gids.remove(&entry.gid);
        }
        if record.kind == Kind::Commit {
            entry.commit = record.lsn;
        }
        entry.head = entry.head.max(record.lsn);
        // What is free stays unfreed here: the sweep behind the open finds it.
        let _ = self.moved.ended(unit, entry, record);
    }
}
