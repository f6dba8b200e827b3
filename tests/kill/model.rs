//! What the child said, and what therefore must, may and must not be there.

use siding::Lsn;
use std::collections::{BTreeMap, BTreeSet};

/// What a unit of work was going to write.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) thread: u64,
    /// The thread's counter.
    pub(crate) serial: u64,
    /// Records that count.
    pub(crate) count: u64,
    /// Whether they are large.
    pub(crate) big: bool,
    /// Committed before the thread begins the next plain one: in the order of its counter.
    pub(crate) plain: bool,
}

impl Plan {
    pub(crate) fn to_line(&self) -> String {
        let Self { thread, serial, count, big, plain } = self;
        format!("{thread} {serial} {count} {} {}", u8::from(*big), u8::from(*plain))
    }

    fn from_numbers(numbers: &[u64]) -> Self {
        let [thread, serial, count, big, plain] = numbers else { panic!("{numbers:?}") };
        Self { thread: *thread, serial: *serial, count: *count, big: *big == 1, plain: *plain == 1 }
    }
}

/// The bytes of a unit's record; no two are alike.
pub(crate) fn payload(unit: u64, index: u64, plan: &Plan) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [unit, index, plan.thread, plan.serial, plan.count] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    let hash = (unit ^ (index << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let len = if plan.big { 1500 + hash % 3000 } else { 40 + hash % 300 };
    let pattern = (hash >> 8).to_le_bytes();
    bytes.extend(pattern.iter().cycle().take(usize::try_from(len).unwrap()));
    bytes
}

/// How far something came, as far as was heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fact {
    #[default]
    No,
    /// It was asked for.
    Asked,
    /// It was acknowledged.
    Done,
}

/// One unit of work.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) plan: Plan,
    pub(crate) round: u64,
    pub(crate) prepared: Fact,
    pub(crate) committed: Fact,
    pub(crate) backed_out: Fact,
    /// It stays when it is decided, to be ended later.
    pub(crate) stays: bool,
    pub(crate) ended: Fact,
    /// Behind its COMMIT, once it is known.
    pub(crate) commit: Option<Lsn>,
}

/// All that was heard.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) units: BTreeMap<u64, Unit>,
    /// Every id ever handed out.
    ids: BTreeSet<u64>,
    /// An open succeeded: there is a log.
    pub(crate) opened: bool,
    /// The highest redo position that was asked for: the embedder has what lies below.
    pub(crate) redo: Lsn,
    /// What the restarts saw, to know that there was something to see.
    pub(crate) acknowledged: u64,
    pub(crate) delivered: u64,
    pub(crate) in_doubt: u64,
    pub(crate) decided: u64,
    pub(crate) keypoints: u64,
    pub(crate) oldest: Lsn,
}

impl Model {
    /// Takes in one line of a child.
    pub(crate) fn heard(&mut self, round: u64, line: &str) {
        let (tag, rest) = line.split_once(' ').unwrap_or((line, ""));
        let parsed: Result<Vec<u64>, _> = rest.split_whitespace().map(str::parse).collect();
        let numbers = parsed.unwrap_or_else(|_| panic!("the child said: {line}"));
        match (tag, numbers.as_slice()) {
            ("O", []) => self.opened = true,
            ("K", []) => self.keypoints += 1,
            ("r", [lsn]) => self.redo = self.redo.max(Lsn::new(*lsn)),
            ("U", [unit, plan @ ..]) => self.begun(*unit, round, Plan::from_numbers(plan)),
            ("C", [unit, lsn]) => {
                let unit = self.unit(*unit);
                (unit.committed, unit.commit) = (Fact::Done, Some(Lsn::new(*lsn)));
                self.acknowledged += 1;
            }
            ("s", [unit]) => self.unit(*unit).stays = true,
            ("p", [unit]) => self.unit(*unit).prepared = Fact::Asked,
            ("P", [unit]) => self.unit(*unit).prepared = Fact::Done,
            ("c", [unit]) => self.unit(*unit).committed = Fact::Asked,
            ("b", [unit]) => self.unit(*unit).backed_out = Fact::Asked,
            ("B", [unit]) => self.unit(*unit).backed_out = Fact::Done,
            ("e", [unit]) => self.unit(*unit).ended = Fact::Asked,
            ("E", [unit]) => self.unit(*unit).ended = Fact::Done,
            _ => panic!("the child said: {line}"),
        }
    }

    /// A unit id was handed out: for the first time, or something is wrong.
    pub(crate) fn begun(&mut self, id: u64, round: u64, plan: Plan) {
        assert!(self.ids.insert(id), "the unit id {id:#x} came twice");
        let unit = Unit {
            plan,
            round,
            prepared: Fact::No,
            committed: Fact::No,
            backed_out: Fact::No,
            stays: false,
            ended: Fact::No,
            commit: None,
        };
        self.units.insert(id, unit);
    }

    /// A unit that was begun, or something is wrong.
    pub(crate) fn unit(&mut self, id: u64) -> &mut Unit {
        self.units.get_mut(&id).unwrap_or_else(|| panic!("nobody began the unit {id:#x}"))
    }

    pub(crate) fn summary(&self) -> String {
        let Self { acknowledged, delivered, in_doubt, decided, keypoints, oldest, .. } = self;
        format!(
            "{} units, {acknowledged} commits acknowledged, {delivered} delivered in all restarts, \
             {in_doubt} in doubt, {decided} decided, {keypoints} keypoints, oldest {oldest}",
            self.ids.len()
        )
    }

    /// A run in which nothing happened proves nothing.
    pub(crate) fn is_worth_it(&self) -> bool {
        let all = [self.acknowledged, self.delivered, self.in_doubt, self.decided, self.keypoints];
        let recycled = self.oldest > Lsn::new(64 << 10);
        recycled && all.iter().all(|count| *count >= 5)
    }
}
