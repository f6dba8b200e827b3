//! Step 5 of an open: a place to go on.

use super::analysis::Analysis;
use super::create::{core, header, start, write_header};
use super::{Config, Report, settings};
use siding_wal::disk::{Clock, Disk, LogFile};
use siding_wal::format::{ControlSlot, segment_file_name};
use siding_wal::read::{CONTROL_NAME, Identity, Segment, Survey, Verdict};
use siding_wal::seeded;
use siding_wal::stream::{
    AHEAD, Bounds, Opened, Prepared, RECYCLED, Settings, Stream, create_filled, next_block,
    write_slot,
};
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::sync::Arc;

pub(super) struct Place<'a> {
    pub(super) disk: &'a Arc<dyn Disk>,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) config: &'a Config,
    pub(super) found: &'a Survey,
    pub(super) verdict: &'a Verdict,
}

/// The segment that the log goes on in.
struct Seat {
    segment: Segment,
    position: Lsn,
    digest: u32,
    filled: u64,
    /// The newest control slot.
    sequence: Option<u64>,
}

impl Place<'_> {
    pub(super) fn go_on(&self, mut analysis: Analysis) -> Result<(Stream, Report)> {
        let identity = self.found.identity.ok_or_else(|| {
            Error::new(ErrorKind::Missing, "the directory does not say which log this is")
        })?;
        let highest = self.found.incarnation.max(self.verdict.incarnation);
        let incarnation = highest.checked_add(1).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "the log was opened too often: no incarnation is left")
        })?;
        // A block that was taken behind the backup's end may be known by its units alone.
        let block = next_block(self.found.unit_block.max(analysis.unit_block))?;
        let epoch = self.found.epoch.max(1);
        let settings = settings(self.config, &**self.disk, &identity, incarnation, epoch);
        let clean = self.continues(&settings, &identity);
        let seat = if clean {
            self.same_segment()?
        } else {
            self.new_segment(&settings, block, &analysis.bounds)?
        };
        analysis.units.start_clocks(self.clock.monotonic_ms());
        let report = self.report(&settings, &analysis, &seat, clean);
        let prepared = self.prepared(&settings, &seat);
        let mut segments = self.found.segments.clone();
        let writer = start(&settings, seat.segment.number, seat.position, seat.digest);
        segments.insert(seat.segment);
        let mut core = core(&settings, &writer, analysis.units, analysis.commits);
        core.redo.report(analysis.bounds.redo);
        let opened = Opened {
            core,
            segments,
            prepared,
            control: seat.sequence,
            bounds: analysis.bounds,
            unit_block: block,
        };
        let stream = Stream::new(settings, Arc::clone(self.disk), Arc::clone(self.clock), opened);
        // Takes a clean mark away, carries incarnation and block of units.
        stream.write_control(clean && seeded!(CleanMarkStays))?;
        Ok((stream, report))
    }

    /// Whether the log may go on in the segment it was closed in.
    fn continues(&self, settings: &Settings, identity: &Identity) -> bool {
        let last = self.found.segments.last();
        let fits = last.is_some_and(|last| {
            last.header.write_unit == settings.write_unit
                && last.number == self.verdict.segment
                && last.header.path_id == identity.path_id
                && self.verdict.end > last.first_batch()
        });
        fits && self.found.clean_end == Some(self.verdict.end)
    }

    fn same_segment(&self) -> Result<Seat> {
        let last = self
            .found
            .segments
            .last()
            .ok_or_else(|| Error::new(ErrorKind::Missing, "there is no segment to go on in"))?;
        let filled = last.file.len().map_err(|cause| {
            Error::io("a segment's length cannot be read", cause)
                .file(segment_file_name(last.number))
        })?;
        Ok(Seat {
            segment: Segment::clone(last),
            position: self.verdict.end,
            digest: self.verdict.digest,
            filled,
            sequence: self.sequence(),
        })
    }

    fn new_segment(&self, settings: &Settings, block: u32, bounds: &Bounds) -> Result<Seat> {
        let last = self.found.segments.last();
        let taken_again = last.filter(|last| self.verdict.end <= last.first_batch());
        let (number, kept) = match (taken_again, last) {
            (Some(last), _) => (last.number, (last.header.kept_end, last.header.kept_digest)),
            (None, Some(last)) => {
                (last.number.saturating_add(1), (self.verdict.end, self.verdict.digest))
            }
            (None, None) => (0, (Lsn::ZERO, 0)),
        };
        let name = segment_file_name(number);
        let io = |cause| {
            Error::io("no segment can be prepared to go on in", cause)
                .file(&name)
                .advise("free some room on the disk and open the log again; nothing is lost")
        };
        let sequence = match taken_again {
            Some(_) => self.forget_header(kept.0)?,
            None => self.sequence(),
        };
        let (file, filled) = match taken_again {
            Some(last) => self.file_again(last, settings).map_err(io)?,
            None => self.file_for(number, settings).map_err(io)?,
        };
        // The name may be in the cache alone, whoever made it.
        if !seeded!(FoundNameUnsynced) {
            self.disk.sync_dir().map_err(io)?;
        }
        let header = header(self.clock, settings, block, number, kept, bounds);
        write_header(&*file, &header).map_err(io)?;
        let segment = Segment { number, header, file };
        let position = segment.first_batch();
        Ok(Seat { segment, position, digest: kept.1, filled, sequence })
    }

    fn sequence(&self) -> Option<u64> {
        self.found.control.as_ref().map(|slot| slot.sequence)
    }

    /// A header is about to be written over: the control file must not vouch for the old one,
    /// or a write that is torn would pass for damage.
    fn forget_header(&self, kept: Lsn) -> Result<Option<u64>> {
        let Some(slot) = &self.found.control else { return Ok(None) };
        let sequence = slot.sequence.saturating_add(1);
        let io = |cause| Error::io("the control file cannot be opened", cause).file(CONTROL_NAME);
        let file = self.disk.open(CONTROL_NAME).map_err(io)?;
        let durable = slot.durable.min(kept);
        write_slot(&*file, &ControlSlot { sequence, durable, clean: false, ..slot.clone() })?;
        Ok(Some(sequence))
    }

    fn file_again(
        &self,
        last: &Segment,
        settings: &Settings,
    ) -> std::io::Result<(Arc<dyn LogFile>, u64)> {
        let filled = last.file.len()?;
        if filled >= AHEAD.min(settings.segment_size) {
            return Ok((Arc::clone(&last.file), filled));
        }
        self.fresh(last.number, settings)
    }

    /// A prepared file if there is one, else one that is filled ahead of the writer.
    fn file_for(
        &self,
        number: u64,
        settings: &Settings,
    ) -> std::io::Result<(Arc<dyn LogFile>, u64)> {
        let blank = self.found.blanks.iter().find(|(blank, _)| *blank == number);
        let least = AHEAD.min(settings.segment_size);
        match blank {
            Some((_, len)) if *len >= least => {
                let file = self.disk.open(&segment_file_name(number))?;
                Ok((file, (*len).min(settings.segment_size)))
            }
            _ => self.fresh(number, settings),
        }
    }

    fn fresh(&self, number: u64, settings: &Settings) -> std::io::Result<(Arc<dyn LogFile>, u64)> {
        let filled = AHEAD.min(settings.segment_size);
        let name = segment_file_name(number);
        let file = create_filled(&**self.disk, &name, filled, &|| {})?;
        Ok((file, filled))
    }

    /// Prepared segments behind the seat are kept while they are whole and in a row; what is of
    /// no use any more is removed, best effort: a leftover that stays is met again.
    fn prepared(&self, settings: &Settings, seat: &Seat) -> Prepared {
        let number = seat.segment.number;
        let mut prepared = Prepared { last: number, filled: seat.filled, ..Prepared::default() };
        for (blank, len) in &self.found.blanks {
            if *blank == number {
                continue;
            }
            let next = prepared.last.saturating_add(1);
            let name = segment_file_name(*blank);
            let whole = *len == settings.segment_size && seat.filled == settings.segment_size;
            match self.disk.open(&name) {
                Ok(file) if *blank == next && whole && self.disk.sync_dir().is_ok() => {
                    prepared.ready.insert(next, file);
                    prepared.last = next;
                }
                _ => {
                    let _ = self.disk.remove(&name);
                }
            }
        }
        for leftover in &self.found.leftovers {
            // A crash may have undone any number of removals.
            match prepared.free.len() < RECYCLED {
                true => prepared.free.push(*leftover),
                false => drop(self.disk.remove(&segment_file_name(*leftover))),
            }
        }
        prepared
    }

    fn report(&self, settings: &Settings, found: &Analysis, seat: &Seat, clean: bool) -> Report {
        let mut notes = self.disk.geometry().notes;
        if !self.found.strangers.is_empty() {
            let names = self.found.strangers.join(", ");
            notes.push(format!("not of the log, and left alone: {names}"));
        }
        if self.found.control.is_none() {
            notes.push("the control file is lost; the segment headers answered instead".into());
        }
        notes.push(format!("{} units live", found.live()));
        Report {
            log_id: settings.log_id,
            created: false,
            clean,
            letter: self.verdict.row.letter,
            end_name: self.verdict.row.name,
            end: self.verdict.end,
            scanned_from: found.scanned_from,
            scanned_bytes: found.scanned_bytes,
            scanned_records: found.scanned_records,
            incarnation: settings.incarnation,
            segment: seat.segment.number,
            write_unit: settings.write_unit,
            backend: self.disk.name(),
            notes,
        }
    }
}
