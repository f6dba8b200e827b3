//! Long histories: commits, appends, segment changes, closes, trims, and crashes in all of them.
//! Every open finds what was durable, nothing that was not written, and is never refused.

use crate::support::{Builder, Outcome, SIZE};
use proptest::prelude::*;
use siding_wal::Lsn;
use siding_wal::format::{Kind, segment_file_name};
use siding_wal::read::survey;

#[derive(Clone, Copy, Debug)]
enum Op {
    Commit(usize),
    Append(usize),
    Change,
    CloseAndOpen,
    Trim,
    Crash(Fate),
}

/// How far the open after a crash comes before it crashes too.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Opens,
    BeforeTheHeader,
    InTheHeader,
    BeforeTheSlot,
    InTheSlot,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Opens),
        1 => Just(Fate::BeforeTheHeader),
        1 => Just(Fate::InTheHeader),
        1 => Just(Fate::BeforeTheSlot),
        1 => Just(Fate::InTheSlot),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..6000_usize).prop_map(Op::Commit),
        6 => (0..6000_usize).prop_map(Op::Append),
        1 => Just(Op::Change),
        1 => Just(Op::CloseAndOpen),
        1 => Just(Op::Trim),
        4 => fate().prop_map(Op::Crash),
    ]
}

struct History {
    log: Builder,
    /// Sectors written and not synced: where, and what stood there before.
    unsynced: Vec<(Lsn, Vec<u8>)>,
    /// Decides which of them a crash loses.
    bits: u64,
    /// Files of trimmed segments.
    free: Vec<Vec<u8>>,
    round: u8,
}

impl History {
    fn new(unit: u32, bits: u64) -> Self {
        let (unsynced, free) = (Vec::new(), Vec::new());
        Self { log: Builder::new(unit), unsynced, bits: bits | 1, free, round: 0 }
    }

    fn bit(&mut self) -> bool {
        // A xorshift generator (Marsaglia 2003).
        self.bits ^= self.bits << 13;
        self.bits ^= self.bits >> 7;
        self.bits ^= self.bits << 17;
        self.bits & 1 == 1
    }

    /// Bytes left in the open segment.
    fn room(&self) -> u64 {
        (self.log.number + 1) * SIZE - self.log.position.get()
    }

    fn append(&mut self, len: usize) {
        self.round = self.round.wrapping_add(1);
        let payload = vec![self.round; len];
        let records = [(Kind::Data, &payload[..]), (Kind::Data, b"and one more")];
        let needed = (len as u64 + 200).next_multiple_of(u64::from(self.log.unit));
        if needed > self.room() {
            self.change();
        }
        let from = self.log.position;
        let before = self.log.bytes_at(from)[..needed as usize].to_vec();
        self.log.append(&records);
        for (index, old) in before.chunks(512).enumerate() {
            self.unsynced.push((from.plus(index as u64 * 512), old.to_vec()));
        }
    }

    fn sync(&mut self) {
        self.unsynced.clear();
        self.log.durable = self.log.position;
    }

    /// A file for the next segment: new, or one that was trimmed.
    fn provide(&mut self, number: u64) {
        let mut file = self.free.pop().unwrap_or_else(|| vec![0; SIZE as usize]);
        file[..4096].fill(0);
        self.log.image.files.insert(segment_file_name(number), file);
    }

    fn change(&mut self) {
        self.sync();
        self.provide(self.log.number + 1);
        self.log.change_segment();
    }

    fn trim(&mut self) {
        self.log.oldest = Lsn::new(self.log.number * SIZE + u64::from(self.log.unit));
        self.log.control(false);
        let last = segment_file_name(self.log.number);
        let gone =
            self.log.image.files.extract_if(.., |name, _| name.ends_with(".seg") && *name < last);
        self.free.extend(gone.map(|(_, file)| file));
    }

    fn crash(&mut self) {
        for (lsn, old) in std::mem::take(&mut self.unsynced) {
            if self.bit() {
                self.log.bytes_at(lsn)[..512].copy_from_slice(&old);
            }
        }
    }

    /// What an open does, held against what is known.
    fn open(&mut self, fate: Fate) -> Result<(), TestCaseError> {
        let found = survey(&self.log.disk()).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let outcome = self.log.outcome();
        let Outcome::Scan(records, verdict) = outcome else {
            return Err(TestCaseError::fail(format!("{outcome:?}")));
        };
        prop_assert!(verdict.refusal().is_none(), "{verdict:?}");
        prop_assert!(verdict.end >= self.log.durable, "{verdict:?} {:?}", self.log.durable);
        let first = found.segments.first_lsn(found.segments.oldest_number().unwrap());
        self.log.written.retain(|record| record.lsn < verdict.end);
        let kept: Vec<_> = self.log.written.iter().filter(|r| r.lsn >= first).cloned().collect();
        prop_assert_eq!(records, kept);
        self.log.batches.retain(|batch| batch.lsn < verdict.end);
        let highest = found.incarnation.max(verdict.incarnation);
        self.log.incarnation = highest + 1;
        let last = found.segments.last().unwrap();
        let again = verdict.end == last.first_batch();
        let (number, kept) = if again {
            self.log.digest = last.header.kept_digest;
            (last.number, last.header.kept_end)
        } else {
            self.log.digest = verdict.digest;
            self.provide(last.number + 1);
            (last.number + 1, verdict.end)
        };
        let before = self.log.image.clone();
        self.log.start_segment(number, kept);
        match fate {
            Fate::Opens => self.log.control(false),
            Fate::BeforeTheHeader => self.log.image = before,
            Fate::InTheHeader if !again => {
                let header = self.log.image.file(&segment_file_name(number));
                header[200..512].fill(0);
            }
            Fate::InTheHeader | Fate::BeforeTheSlot => {}
            Fate::InTheSlot => {
                self.log.control(false);
                let at = if self.log.sequence.is_multiple_of(2) { 0 } else { 4096 };
                self.log.image.file("control")[at + 100..at + 300].fill(0);
            }
        }
        if fate != Fate::Opens {
            // It crashed: what it was about to promise, nobody knows.
            self.log.durable = verdict.end;
            return self.open(Fate::Opens);
        }
        Ok(())
    }

    fn apply(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Append(len) => self.append(len),
            Op::Commit(len) => {
                self.append(len);
                self.sync();
            }
            Op::Change => self.change(),
            Op::Trim => {
                self.sync();
                self.trim();
            }
            Op::CloseAndOpen if self.room() >= 8192 => {
                self.sync();
                self.log.close();
                let Outcome::Scan(_, verdict) = self.log.outcome() else { panic!("refused") };
                prop_assert_eq!((verdict.row.letter, verdict.end), ('A', self.log.position));
                self.log.reopen_clean();
            }
            Op::CloseAndOpen => {}
            Op::Crash(fate) => {
                self.crash();
                self.open(fate)?;
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_open_of_a_long_history_finds_what_was_durable(
        ops in prop::collection::vec(op(), 1..60),
        bits: u64,
        unit in prop::sample::select(vec![512_u32, 4096]),
    ) {
        let mut history = History::new(unit, bits);
        for op in ops {
            history.apply(op)?;
        }
        history.crash();
        history.open(Fate::Opens)?;
    }
}
