//! What each thread asked for and what it was told, in the order in which it happened.

use crate::check::Picture;
use siding::{ErrorKind, Lsn, Outcome};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Something that was asked for, or acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Begun,
    AsksToPrepare,
    Prepared,
    /// It may be committed from here on; whether it stays, to be ended later.
    AsksToCommit {
        stays: bool,
    },
    Committed(Lsn),
    /// It may be backed out from here on.
    AsksToBackOut {
        stays: bool,
    },
    BackedOut,
    AsksToEnd,
    Ended,
}

/// Where a unit stands, as far as somebody was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    InFlight,
    InDoubt,
    Committed(Lsn),
    BackedOut,
}

/// One unit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unit {
    pub(crate) state: State,
    pub(crate) may_be_in_doubt: bool,
    pub(crate) may_be_committed: bool,
    pub(crate) may_be_backed_out: bool,
    /// It stays when it is decided.
    pub(crate) stays: bool,
    pub(crate) may_be_ended: bool,
    pub(crate) ended: bool,
}

impl Unit {
    fn hear(&mut self, said: Said) {
        match said {
            Said::Begun => {}
            Said::AsksToPrepare => self.may_be_in_doubt = true,
            Said::Prepared => self.state = State::InDoubt,
            Said::AsksToCommit { stays } => (self.may_be_committed, self.stays) = (true, stays),
            Said::Committed(lsn) => self.state = State::Committed(lsn),
            Said::AsksToBackOut { stays } => (self.may_be_backed_out, self.stays) = (true, stays),
            Said::BackedOut => self.state = State::BackedOut,
            Said::AsksToEnd => self.may_be_ended = true,
            Said::Ended => self.ended = true,
        }
    }
}

/// How much of each thread's notes there was at some moment.
pub(crate) type Mark = Vec<usize>;

pub(crate) type Units = BTreeMap<u64, Unit>;

/// How often something was refused that may be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Refused {
    pub(crate) full: u32,
    pub(crate) name_taken: u32,
}

/// Everybody's notes.
#[derive(Debug)]
pub(crate) struct Notes {
    /// What is known from earlier lives.
    before: Units,
    lists: Vec<Mutex<Vec<(u64, Said)>>>,
    newest: AtomicU64,
    refused: Mutex<Refused>,
}

impl Notes {
    pub(crate) fn new(threads: usize) -> Self {
        let lists = (0..threads).map(|_| Mutex::default()).collect();
        Self { before: Units::new(), lists, newest: AtomicU64::new(0), refused: Mutex::default() }
    }

    pub(crate) fn say(&self, thread: usize, unit: u64, said: Said) {
        if let Said::Committed(lsn) = said {
            self.newest.fetch_max(lsn.get(), Ordering::Relaxed);
        }
        self.lists[thread].lock().unwrap().push((unit, said));
    }

    /// The highest COMMIT that was acknowledged.
    pub(crate) fn newest(&self) -> Lsn {
        Lsn::new(self.newest.load(Ordering::Relaxed))
    }

    /// A call was refused, for one of the reasons there are.
    pub(crate) fn note_refusal(&self, kind: ErrorKind) {
        let mut refused = self.refused.lock().unwrap();
        refused.full += u32::from(kind == ErrorKind::LogFull);
        refused.name_taken += u32::from(kind == ErrorKind::DuplicateGid);
    }

    pub(crate) fn refused(&self) -> Refused {
        *self.refused.lock().unwrap()
    }

    /// How many commits were acknowledged in this life.
    pub(crate) fn committed(&self) -> usize {
        let is = |(_, said): &&(u64, Said)| matches!(said, Said::Committed(_));
        self.lists.iter().map(|list| list.lock().unwrap().iter().filter(is).count()).sum()
    }

    /// All that was said so far. What a mark holds was true before it was made.
    pub(crate) fn mark(&self) -> Mark {
        self.lists.iter().map(|list| list.lock().unwrap().len()).collect()
    }

    /// Where each unit stood at a mark.
    pub(crate) fn at(&self, mark: &Mark) -> Units {
        let mut units = self.before.clone();
        for (list, len) in self.lists.iter().zip(mark) {
            for (unit, said) in &list.lock().unwrap()[..*len] {
                units.entry(*unit).or_default().hear(*said);
            }
        }
        units
    }

    /// A life is over, and a restart has decided what was open: from now on that is what counts.
    pub(crate) fn settle(&mut self, found: &Picture) {
        let mut units = self.at(&self.mark());
        for (id, unit) in &mut units {
            let ended = !found.decided.contains_key(id);
            let state = match (found.delivered.get(id), found.decided.get(id)) {
                (Some(lsn), _) => State::Committed(*lsn),
                _ if found.in_doubt.contains(id) => State::InDoubt,
                // Its COMMIT lies below the redo position.
                (None, Some(Outcome::Commit)) => State::Committed(found.redo),
                (None, _) => match unit.state {
                    State::Committed(lsn) if lsn <= found.redo => unit.state,
                    _ => State::BackedOut,
                },
            };
            *unit = Unit {
                state,
                may_be_committed: matches!(state, State::Committed(_)),
                may_be_backed_out: state == State::BackedOut,
                stays: true,
                ended,
                ..Unit::default()
            };
        }
        self.before = units;
        self.lists.iter().for_each(|list| list.lock().unwrap().clear());
    }
}
