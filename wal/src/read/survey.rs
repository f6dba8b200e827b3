//! What of a directory can be believed, before a single batch is read.
//!
//! The control file and the segment headers are held against each other. What contradicts, or
//! is missing though something proves that it was there, refuses the log with the letter the
//! decision table has for it; what an interrupted step can leave behind is told apart from that.

use super::Forward;
use super::identify::{identify, lettered};
use super::inventory::{CONTROL_NAME, ControlState, HeaderState, Inventory, Numbered, inventory};
use super::orphan::{Orphan, examine};
use super::segments::{Segment, Segments};
use crate::disk::Disk;
use crate::format::{
    BATCH_HEADER_LEN, ControlSlot, Discipline, LogId, RECORD_HEADER_LEN, SegmentHeader,
    segment_file_name, wide,
};
use crate::{Error, ErrorKind, Lsn, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which log stands in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which log this is.
    pub log_id: LogId,
    /// Which directory this is.
    pub path_id: [u8; 16],
    /// How effects reach the embedder's files.
    pub discipline: Discipline,
    /// Bytes of each segment.
    pub segment_size: u64,
}

/// What stands in a directory, as far as headers and control file tell.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Which log this is; none if there never was one.
    pub identity: Option<Identity>,
    /// Whether its creation was cut short: a header, but neither batch nor control file. Such a
    /// log holds nothing, and may be created anew.
    pub unfinished: bool,
    /// The newest valid control slot.
    pub control: Option<ControlSlot>,
    /// The live segments, without a gap.
    pub segments: Segments,
    /// Numbers of files below the live segments, whatever they hold: free to be used again.
    pub leftovers: Vec<u64>,
    /// Numbers and lengths of prepared files above the live segments.
    pub blanks: Vec<(u64, u64)>,
    /// The number above the last live segment, if a header was torn while it was written there
    /// and no batch followed: free to be taken again.
    pub abandoned: Option<u64>,
    /// The largest incarnation in control file, headers, and batches behind an abandoned header.
    pub incarnation: u32,
    /// The largest epoch in control file and headers.
    pub epoch: u32,
    /// The largest block of unit ids in control file and headers.
    pub unit_block: u32,
    /// The last complete keypoint known here, begin and end record, or zeros.
    pub keypoint: (Lsn, Lsn),
    /// All below was durable.
    pub known_durable: Lsn,
    /// Nothing below is kept.
    pub oldest: Lsn,
    /// Whether the live segments are known to reach back to `oldest` of the last open. If not
    /// (the control file is lost, and segments below the live ones are gone), restart must find
    /// a complete keypoint that needs nothing below them.
    pub proven: bool,
    /// Where the log was closed cleanly, if the control file says so.
    pub clean_end: Option<Lsn>,
    /// Names in the directory that are not Siding's.
    pub strangers: Vec<String>,
}

impl Survey {
    /// Whether there is no log, or none that ever held anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.identity.is_none() || self.unfinished
    }

    /// The scan that restart makes: from the last complete keypoint known here, else from the
    /// oldest live segment, to the end of the log.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there are no segments.
    pub fn scan(&self) -> Result<Forward> {
        // A keypoint's first record is the first of its batch.
        let begin = self.keypoint.0.get().checked_sub(wide(BATCH_HEADER_LEN)).map(Lsn::new);
        let scan = match begin.filter(|begin| !self.segments.is_void(*begin)) {
            Some(begin) => Forward::from_batch(&self.segments, begin),
            None => {
                let oldest = self.segments.oldest_number().unwrap_or_default();
                Forward::from_segment(&self.segments, oldest)
            }
        }?;
        Ok(scan.known_durable(self.known_durable).closed_at(self.clean_end))
    }
}

/// Surveys a directory.
///
/// # Errors
///
/// Names the file, and says what to do:
///
/// - [`ErrorKind::ForeignFile`]: a file that is not Siding's, of another log, or misnamed;
/// - [`ErrorKind::UnsupportedVersion`]: written by a newer version;
/// - [`ErrorKind::Missing`]: a segment that was durable is gone, or shortened;
/// - [`ErrorKind::Corrupt`]: a header is damaged in front of batches, or headers contradict;
/// - [`ErrorKind::Io`]: the device does not give back what it must.
pub fn survey(disk: &dyn Disk) -> Result<Survey> {
    Surveyor::new(inventory(disk)?)?.survey()
}

/// The inventory, and what was concluded from it so far.
struct Surveyor {
    inventory: Inventory,
    control: Option<ControlSlot>,
    identity: Option<Identity>,
    /// The first segment that must be there, if the control file says so.
    needed: Option<u64>,
}

/// What stands above the last valid header, and is no part of the log.
#[derive(Default)]
struct Unheaded {
    /// The number above it, if a header was torn while it was written there.
    abandoned: Option<u64>,
    /// The largest incarnation of batches behind that header.
    incarnation: u32,
    /// Numbers and lengths of spares that are not blank any more.
    spares: Vec<(u64, u64)>,
}

impl Surveyor {
    fn new(inventory: Inventory) -> Result<Self> {
        let control = match &inventory.control {
            ControlState::Slot(slot) => Some(slot.clone()),
            ControlState::Absent | ControlState::Torn => None,
            ControlState::Version(version) => {
                let what = format!("the control file is of the newer version {version}");
                return Err(lettered('N', &inventory, &what, CONTROL_NAME));
            }
            ControlState::Unreadable(cause) => {
                let error = lettered('L', &inventory, "the control file", CONTROL_NAME);
                return Err(error.caused_by(Arc::clone(cause)));
            }
        };
        let identity = identify(&inventory, control.as_ref())?;
        let needed = control.as_ref().zip(identity).map(|(slot, identity)| {
            slot.oldest.get().checked_div(identity.segment_size).unwrap_or(0)
        });
        Ok(Self { inventory, control, identity, needed })
    }

    fn survey(&self) -> Result<Survey> {
        let headers = self.headers()?;
        let Some(identity) = self.identity else { return self.nothing() };
        let top = headers.keys().next_back().copied();
        let unheaded = self.unheaded(&identity, top)?;
        let Some(top) = top else { return Err(self.all_gone(unheaded.abandoned)) };
        let live = self.run(&headers, top)?;
        let bottom = live.keys().next().copied().unwrap_or(top);
        let mut survey = self.believe(identity, &live, bottom);
        survey.abandoned = unheaded.abandoned;
        survey.blanks.extend(unheaded.spares);
        survey.blanks.sort_unstable();
        survey.incarnation = survey.incarnation.max(unheaded.incarnation);
        for header in headers.values() {
            survey.incarnation = survey.incarnation.max(header.incarnation);
            survey.unit_block = survey.unit_block.max(header.unit_block);
        }
        self.reaches(&survey, top)?;
        self.lengths(&survey)?;
        survey.unfinished = self.unfinished(&survey)?;
        Ok(survey)
    }

    /// Every valid header, once each file has been held against the log's identity.
    fn headers(&self) -> Result<BTreeMap<u64, &SegmentHeader>> {
        let mut headers = BTreeMap::new();
        for (number, numbered) in &self.inventory.numbered {
            match &numbered.header {
                HeaderState::Valid(header) => {
                    self.fits(numbered, header)?;
                    headers.insert(*number, header);
                }
                HeaderState::Foreign => return Err(self.foreign(numbered)),
                _ if self.needed.is_some_and(|needed| *number < needed) => {}
                HeaderState::Version(version) => {
                    let what = format!("the segment is of the newer version {version}");
                    return Err(self.lettered('N', &what, *number));
                }
                HeaderState::Feature(bits) => {
                    let what = format!("the segment needs features this lacks ({bits:#x})");
                    return Err(self.lettered('N', &what, *number));
                }
                HeaderState::Unreadable(cause) => {
                    let error = self.lettered('L', "the segment's header", *number);
                    return Err(error.caused_by(Arc::clone(cause)));
                }
                HeaderState::Blank | HeaderState::Malformed(_) => {}
            }
        }
        Ok(headers)
    }

    /// Whether a valid header belongs to this log and to this file.
    fn fits(&self, numbered: &Numbered, header: &SegmentHeader) -> Result<()> {
        let Some(identity) = &self.identity else { return Ok(()) };
        let name = segment_file_name(numbered.number);
        if header.log_id != identity.log_id {
            return Err(self
                .inventory
                .error(ErrorKind::ForeignFile, "the segment is of another log".into(), &name)
                .advise("put the files of one log into a directory, and of no other"));
        }
        if header.number != numbered.number {
            let what = format!("the file is segment {:016x} under a wrong name", header.number);
            return Err(self
                .inventory
                .error(ErrorKind::ForeignFile, what, &name)
                .advise("a copy of a segment has no place in the directory; move it away"));
        }
        let same = header.segment_size == identity.segment_size
            && header.discipline == identity.discipline;
        if same {
            return Ok(());
        }
        Err(self.lettered(
            'O',
            "segment size or discipline differ from the others'",
            numbered.number,
        ))
    }

    /// A numbered file with no magic at its start: never ours, or ours and damaged?
    fn foreign(&self, numbered: &Numbered) -> Error {
        let orphan = self.orphan(numbered).unwrap_or_default();
        if orphan.used {
            return self.lettered('P', "the start of the segment is overwritten", numbered.number);
        }
        self.inventory
            .error(
                ErrorKind::ForeignFile,
                "the file has a segment's name, but is not Siding's".into(),
                &segment_file_name(numbered.number),
            )
            .advise("move it out of the directory")
    }

    fn orphan(&self, numbered: &Numbered) -> std::io::Result<Orphan> {
        let Some(file) = &numbered.file else { return Ok(Orphan::default()) };
        let id = self.identity.as_ref().map(|identity| &identity.log_id);
        let size = self.identity.map_or(0, |identity| identity.segment_size);
        examine(file, id, numbered.number, size)
    }

    /// The files above the last valid header whose own headers are not valid: one that was torn
    /// while it was written, and spares in whose zeros a bit has changed.
    fn unheaded(&self, identity: &Identity, top: Option<u64>) -> Result<Unheaded> {
        let above = top.map_or(0, |top| top.saturating_add(1));
        let mut found = Unheaded::default();
        for (number, numbered) in self.inventory.numbered.range(above..) {
            if !matches!(numbered.header, HeaderState::Malformed(_)) {
                continue;
            }
            let orphan = self.orphan(numbered).map_err(|cause| {
                self.lettered('L', "the segment's header is damaged", *number).caused_by(cause)
            })?;
            let first = Lsn::new(number.saturating_mul(identity.segment_size));
            let durable = self.control.as_ref().is_some_and(|slot| slot.durable > first);
            let out_of_turn = *number != above || top.is_none();
            let spare = out_of_turn && top.is_some() && !orphan.begun;
            if orphan.used || durable || (out_of_turn && !spare) {
                return Err(self.lettered('P', "the segment's header is damaged", *number));
            }
            if spare {
                found.spares.push((*number, numbered.len));
            } else {
                found.abandoned = Some(*number);
                found.incarnation = orphan.incarnation;
            }
        }
        Ok(found)
    }

    /// The segments from the last one down to the first that is needed, or to a gap.
    fn run<'a>(
        &self,
        headers: &BTreeMap<u64, &'a SegmentHeader>,
        top: u64,
    ) -> Result<BTreeMap<u64, &'a SegmentHeader>> {
        let mut live = BTreeMap::new();
        let lowest = self.needed.unwrap_or(0).min(top);
        // What the last header knew of trimming; below that, damage matters no more.
        let known = headers
            .get(&top)
            .map_or(0, |header| header.oldest.get().checked_div(header.segment_size).unwrap_or(0));
        for number in (lowest..=top).rev() {
            if let Some(header) = headers.get(&number) {
                live.insert(number, *header);
                continue;
            }
            let damaged = self
                .inventory
                .numbered
                .get(&number)
                .is_some_and(|numbered| matches!(numbered.header, HeaderState::Malformed(_)));
            if damaged && (self.needed.is_some() || number >= known) {
                return Err(self.lettered('P', "the segment's header is damaged", number));
            }
            if self.needed.is_some() {
                return Err(self.lettered('M', "the segment is needed", number));
            }
            break;
        }
        Ok(live)
    }

    /// What control file and headers say together.
    fn believe(
        &self,
        identity: Identity,
        live: &BTreeMap<u64, &SegmentHeader>,
        bottom: u64,
    ) -> Survey {
        let mut segments = Segments::new(identity.log_id, identity.segment_size);
        for (number, header) in live {
            let file = self.inventory.numbered.get(number).and_then(|file| file.file.clone());
            if let Some(file) = file {
                segments.insert(Segment { number: *number, header: (*header).clone(), file });
            }
        }
        let slot = self.control.as_ref();
        let last = live.values().next_back();
        let mut survey = Survey {
            identity: Some(identity),
            unfinished: false,
            control: self.control.clone(),
            leftovers: self.inventory.numbered.range(..bottom).map(|(number, _)| *number).collect(),
            blanks: self.blanks(live.keys().next_back().copied()),
            abandoned: None,
            incarnation: slot.map_or(0, |slot| slot.incarnation),
            epoch: slot.map_or(0, |slot| slot.epoch),
            unit_block: slot.map_or(0, |slot| slot.unit_block),
            keypoint: slot.map_or((Lsn::ZERO, Lsn::ZERO), |s| (s.keypoint_begin, s.keypoint_end)),
            known_durable: slot.map_or(Lsn::ZERO, |slot| known(slot, &segments)),
            oldest: slot.map_or(Lsn::ZERO, |slot| slot.oldest),
            proven: true,
            clean_end: slot.filter(|slot| slot.clean).map(|slot| slot.durable),
            strangers: self.inventory.strangers.clone(),
            segments,
        };
        for header in live.values() {
            survey.epoch = survey.epoch.max(header.epoch);
            survey.known_durable = survey.known_durable.max(header.kept_end);
            if header.keypoint_end > survey.keypoint.1 {
                survey.keypoint = (header.keypoint_begin, header.keypoint_end);
            }
            survey.oldest = survey.oldest.max(header.oldest);
        }
        if !survey.keypoint.1.is_zero() {
            // It was named once KP_END was durable.
            let behind = survey.keypoint.1.plus(wide(RECORD_HEADER_LEN));
            survey.known_durable = survey.known_durable.max(behind);
        }
        let first = survey.segments.first_lsn(bottom);
        survey.proven = first <= last.map_or(first, |header| header.oldest) || slot.is_some();
        survey.oldest = survey.oldest.max(first);
        if survey.keypoint.0 < first {
            survey.keypoint = (Lsn::ZERO, Lsn::ZERO);
        }
        survey
    }

    fn blanks(&self, top: Option<u64>) -> Vec<(u64, u64)> {
        let above = top.map_or(0, |top| top.saturating_add(1));
        let files = self.inventory.numbered.range(above..).map(|(_, numbered)| numbered);
        files
            .filter(|numbered| matches!(numbered.header, HeaderState::Blank))
            .map(|numbered| (numbered.number, numbered.len))
            .collect()
    }

    /// Whether the last segment reaches up to what the control file says was durable.
    fn reaches(&self, survey: &Survey, top: u64) -> Result<()> {
        let Some(slot) = &self.control else { return Ok(()) };
        let last = survey.segments.number_of(Lsn::new(slot.durable.get().saturating_sub(1)));
        if last <= top {
            return Ok(());
        }
        Err(self.lettered('M', "the control file says that it was durable", top.saturating_add(1)))
    }

    /// Whether each file is as long as what was kept in it.
    fn lengths(&self, survey: &Survey) -> Result<()> {
        for segment in survey.segments.iter() {
            let kept = survey.segments.kept_end_of(segment.number);
            let durable = self.control.as_ref().map(|slot| slot.durable.min(segment.end()));
            let needed = kept.or(durable).map_or(0, |end| segment.offset_of(end));
            let numbered = self.inventory.numbered.get(&segment.number);
            let len = numbered.map_or(0, |numbered| numbered.len);
            if len < needed {
                let what = format!("the file has {len} of the {needed} bytes that were durable");
                let lsn = segment.header.first_lsn().plus(len);
                return Err(self.lettered('G', &what, segment.number).at(lsn));
            }
        }
        Ok(())
    }

    /// Whether this is a creation cut short: segment 0 alone, no batch, no control file.
    fn unfinished(&self, survey: &Survey) -> Result<bool> {
        let alone = self.control.is_none() && survey.segments.len() == 1;
        let Some(segment) = survey.segments.get(0).filter(|_| alone) else { return Ok(false) };
        let numbered = self.inventory.numbered.get(&0);
        let orphan = numbered.map(|numbered| self.orphan(numbered)).transpose();
        let orphan = orphan.map_err(|cause| {
            self.lettered('L', "the only segment", segment.number).caused_by(cause)
        })?;
        Ok(orphan.is_none_or(|orphan| !orphan.used))
    }

    /// A directory in which no header is valid, and no control file says which log this is.
    fn nothing(&self) -> Result<Survey> {
        for (number, numbered) in &self.inventory.numbered {
            let orphan = self.orphan(numbered).map_err(|cause| {
                self.lettered('L', "the only segment", *number).caused_by(cause)
            })?;
            if *number > 0 {
                return Err(self.lettered('M', "files of later segments exist", 0));
            }
            if orphan.written {
                return Err(self.lettered('P', "the only segment's header is damaged", *number));
            }
        }
        Ok(Survey {
            identity: None,
            unfinished: false,
            control: None,
            segments: Segments::new([0; 16], 1),
            leftovers: Vec::new(),
            blanks: self.blanks(None),
            abandoned: self.inventory.numbered.keys().next().copied(),
            incarnation: 0,
            epoch: 0,
            unit_block: 0,
            keypoint: (Lsn::ZERO, Lsn::ZERO),
            known_durable: Lsn::ZERO,
            oldest: Lsn::ZERO,
            proven: true,
            clean_end: None,
            strangers: self.inventory.strangers.clone(),
        })
    }

    /// The control file is valid, and no segment is.
    fn all_gone(&self, abandoned: Option<u64>) -> Error {
        let number = abandoned.or(self.needed).unwrap_or(0);
        self.lettered('M', "the control file says that the log exists", number)
    }

    fn lettered(&self, letter: char, what: &str, number: u64) -> Error {
        lettered(letter, &self.inventory, what, &segment_file_name(number))
    }
}

/// What the slot says was durable. Up to the place of a segment's first batch, that is the header
/// alone; the segment may have been taken again since, with a smaller write unit.
fn known(slot: &ControlSlot, segments: &Segments) -> Lsn {
    let first = segments.first_lsn(segments.number_of(slot.durable));
    let empty = slot.durable.since(first) <= u64::from(slot.write_unit);
    if empty { first } else { slot.durable }
}
