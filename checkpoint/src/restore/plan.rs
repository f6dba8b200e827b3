//! The plan of a restore: from which backup, with which log behind it, up to where. Pure.
//!
//! What there is goes in, and what is wanted; out come steps, or a refusal that says what could be
//! had. Nothing is read and nothing is written: a dry run, a proof and a retention that breaks
//! nothing are this same function.

use super::history::{Branch, Gap, Histories, Piece};
use super::refusal::{Reachable, Refusal, Why};
use crate::archive::{Joint, MarkAt};
use crate::backup::{BackupFile, FileKind, Manifest};
use siding_wal::Lsn;
use siding_wal::format::LogId;
use std::collections::BTreeSet;

/// A backup's number.
pub type BackupId = [u8; 16];

/// All there is to restore from.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Complete backups.
    pub backups: Vec<Manifest>,
    /// Log: archived, or of a directory.
    pub pieces: Vec<Piece>,
}

/// Up to where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The end of what can be reached.
    End,
    /// Every record that ends at or below this position.
    Lsn(Lsn),
    /// Every record up to the last mark whose time is not later, in milliseconds since 1970.
    /// Nothing that was written behind that mark.
    Time(u64),
    /// Just before a unit committed: its number, and where its COMMIT stands.
    Unit(u64, Lsn),
    /// Every record up to the one that gave this name; the last, if several did.
    Label(String),
    /// The end of this backup, or of the newest.
    BackupEnd(Option<BackupId>),
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Up to where.
    pub target: Target,
    /// The log as this incarnation left it, and nothing that later ones wrote. The newest history
    /// else, where there are several.
    pub incarnation: Option<u32>,
    /// From this backup and no other.
    pub backup: Option<BackupId>,
    /// Of which log, where there are several.
    pub log_id: Option<LogId>,
}

impl From<Target> for Wanted {
    fn from(target: Target) -> Self {
        Self { target, incarnation: None, backup: None, log_id: None }
    }
}

/// A piece of log, as far as it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The piece.
    pub piece: Piece,
    /// Records of it that end at or below this.
    pub upto: Lsn,
}

/// How a restore is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The log.
    pub log_id: LogId,
    /// The backup whose objects are put back, and whose stop keypoint the log opens from.
    pub backup: BackupId,
    /// Backups that rest on it, up to the target, each on the one before.
    pub increments: Vec<BackupId>,
    /// Its objects.
    pub objects: Vec<BackupFile>,
    /// Its extent files.
    pub extents: Vec<BackupFile>,
    /// Segments in order, from that of its floor on.
    pub log: Vec<Part>,
    /// The oldest position needed.
    pub floor: Lsn,
    /// Forward recovery of the objects starts here.
    pub recovery_point: Lsn,
    /// What was asked for.
    pub asked: Target,
    /// What it comes to: every record that ends at or below.
    pub target: Lsn,
    /// The mark it comes to, of a time.
    pub mark: Option<MarkAt>,
    /// Units in doubt at the end of the newest backup at or below the target.
    pub in_doubt: Vec<(u64, Vec<u8>)>,
    /// The highest incarnation seen anywhere: the next open takes one above.
    pub incarnation: u32,
    /// What else could be had of this history.
    pub reachable: Reachable,
    /// Log that is there, and that no backup leads to.
    pub unreachable: Vec<Gap>,
}

/// Where the log of a backup ends, and the digest there.
fn joint_of(manifest: &Manifest) -> Joint {
    Joint { end: manifest.end, digest: manifest.end_digest }
}

/// A history with a backup, and what can be had of it.
pub(crate) struct Way<'a> {
    pub(crate) branch: Branch,
    /// Backups with objects, oldest end first.
    pub(crate) roots: Vec<&'a Manifest>,
    pub(crate) marks: Vec<MarkAt>,
    pub(crate) reachable: Reachable,
}

/// Makes the plan.
///
/// # Errors
///
/// [`Refusal`], with what can be reached.
pub fn plan(seen: &Seen, wanted: &Wanted) -> Result<Plan, Refusal> {
    let bare = |why| Refusal { why, reachable: None, others: Vec::new() };
    let log_id = of_log(seen, wanted).map_err(bare)?;
    let pieces: Vec<Piece> =
        seen.pieces.iter().filter(|it| it.index.log_id == log_id).cloned().collect();
    let backups: Vec<&Manifest> = seen.backups.iter().filter(|it| it.log_id == log_id).collect();
    Planner::new(&pieces, backups, log_id).plan(wanted)
}

/// The log that is meant.
fn of_log(seen: &Seen, wanted: &Wanted) -> Result<LogId, Why> {
    if let Some(id) = wanted.backup {
        let one = seen.backups.iter().find(|it| it.id == id);
        return one.map(|it| it.log_id).ok_or(Why::NoSuchBackup(id));
    }
    let logs: BTreeSet<LogId> = seen.backups.iter().map(|it| it.log_id).collect();
    match (wanted.log_id, logs.first(), logs.len()) {
        (Some(log), _, _) if logs.contains(&log) => Ok(log),
        (None, Some(log), 1) => Ok(*log),
        (None, Some(_), count) => Err(Why::SeveralLogs(count)),
        _ => Err(Why::NoBackup),
    }
}

/// The histories and the backups of one log.
pub(crate) struct Planner<'a> {
    histories: Histories<'a>,
    backups: Vec<&'a Manifest>,
    log_id: LogId,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(pieces: &'a [Piece], backups: Vec<&'a Manifest>, log_id: LogId) -> Self {
        Self { histories: Histories::new(pieces), backups, log_id }
    }

    pub(crate) fn histories(&self) -> &Histories<'a> {
        &self.histories
    }

    pub(crate) fn backups(&self) -> &[&'a Manifest] {
        &self.backups
    }

    /// A backup and those that it rests on, down to that with the objects, as far as there are any.
    pub(crate) fn chain(&self, id: BackupId) -> Vec<BackupId> {
        let mut chain: Vec<BackupId> = Vec::new();
        let mut next = Some(id);
        while let Some(one) = next.and_then(|id| self.backups.iter().find(|it| it.id == id)) {
            if chain.contains(&one.id) {
                break;
            }
            chain.push(one.id);
            next = one.parent;
        }
        chain
    }

    fn plan(&self, wanted: &Wanted) -> Result<Plan, Refusal> {
        let branches = self.histories.branches();
        let mut ways: Vec<Way<'_>> =
            branches.iter().filter_map(|it| self.way(it, wanted.backup, None)).collect();
        let bare = |why| Refusal { why, reachable: None, others: Vec::new() };
        if ways.is_empty() {
            return Err(bare(self.no_way(wanted)));
        }
        let meant = self.meant(&ways, wanted);
        let Some(meant) = meant.filter(|meant| *meant < ways.len()) else {
            let others = ways.iter().map(|way| way.reachable).collect();
            let why = match (&wanted.target, wanted.incarnation) {
                (Target::BackupEnd(Some(id)), _) => self.no_backup(*id),
                (_, Some(incarnation)) => Why::NoIncarnation(incarnation),
                _ => Why::NoBackup,
            };
            return Err(Refusal { why, reachable: None, others });
        };
        let mut way = ways.remove(meant);
        if wanted.incarnation.is_some() {
            let cut = self.way(&way.branch, wanted.backup, wanted.incarnation);
            way = cut.ok_or_else(|| bare(Why::NoBackup))?;
        }
        let refuse = |why| Refusal {
            why,
            reachable: Some(way.reachable),
            others: ways.iter().map(|way| way.reachable).collect(),
        };
        let (target, mark) = self.resolve(&way, &wanted.target).map_err(refuse)?;
        let root = way.roots.iter().rev().copied().find(|it| it.end <= target);
        let root = root.ok_or_else(|| {
            refuse(match wanted.target {
                Target::Time(time) => Why::TimeBefore(time),
                _ => Why::Below(target),
            })
        })?;
        if target > way.reachable.to {
            return Err(refuse(self.beyond(&branches, target)));
        }
        let mut plan = self.put_together(&way, root, target);
        (plan.asked, plan.mark) = (wanted.target.clone(), mark);
        plan.unreachable = self.cut_off(&branches).map(|(_, gap)| gap.clone()).collect();
        Ok(plan)
    }

    /// Which history is meant. They stand newest first.
    fn meant(&self, ways: &[Way<'_>], wanted: &Wanted) -> Option<usize> {
        let end = match &wanted.target {
            Target::BackupEnd(Some(id)) => Some(self.joint_of(*id)?),
            _ => None,
        };
        let passes = |way: &Way<'_>| end.is_none_or(|it| self.histories.passes(&way.branch, it));
        let Some(incarnation) = wanted.incarnation else { return ways.iter().position(passes) };
        // One that was cut at a restore has less of it, or ends in a batch with less in it.
        let ends =
            ways.iter().enumerate().filter(|(_, way)| passes(way)).filter_map(|(at, way)| {
                let cut = self.way(&way.branch, wanted.backup, Some(incarnation))?;
                Some((cut.reachable.to, std::cmp::Reverse(at)))
            });
        ends.max().map(|(_, std::cmp::Reverse(at))| at)
    }

    /// A history, if a backup leads to it; of this incarnation and those before it.
    pub(crate) fn way(
        &self,
        branch: &Branch,
        only: Option<BackupId>,
        incarnation: Option<u32>,
    ) -> Option<Way<'a>> {
        let to = match incarnation {
            Some(incarnation) => self.histories.end_of(branch, incarnation)?,
            None => branch.pieces.last()?.1,
        };
        let serves = |it: &&'a Manifest| {
            it.parent.is_none()
                && it.end <= to
                && only.is_none_or(|only| self.rests_on(only, it.id))
                && self.leads_to(branch, it)
        };
        let mut roots: Vec<&Manifest> = self.backups.iter().copied().filter(serves).collect();
        roots.sort_by_key(|it| (it.end, it.id));
        let from = roots.first()?.end;
        let mut marks = self.histories.marks(branch);
        marks.retain(|mark| mark.lsn <= to);
        let mut within = marks.iter().filter(|it| it.lsn >= from).map(|it| it.time_ms);
        let first = within.next();
        let times_ms = first.map(|first| (first, within.next_back().unwrap_or(first)));
        let incarnations = self.histories.of(branch).map(|(piece, _)| piece.index.highest());
        let incarnation = incarnation.or(incarnations.max()).unwrap_or_default();
        let reachable = Reachable { from, to, times_ms, incarnation };
        Some(Way { branch: branch.clone(), roots, marks, reachable })
    }

    /// Whether a history has the log of a backup, from its floor to its end.
    fn leads_to(&self, branch: &Branch, manifest: &Manifest) -> bool {
        let lowest = branch.pieces.first().and_then(|(at, _)| self.histories.piece(*at));
        let Some(lowest) = lowest else { return false };
        let size = lowest.index.segment_size;
        let floor = manifest.floor.get().checked_div(size).unwrap_or_default();
        lowest.index.number <= floor && self.histories.passes(branch, joint_of(manifest))
    }

    /// Where the log of a backup ends, and the digest there.
    fn joint_of(&self, id: BackupId) -> Option<Joint> {
        self.backups.iter().find(|it| it.id == id).map(|it| joint_of(it))
    }

    /// Whether `id` is `root`, or rests on it.
    fn rests_on(&self, id: BackupId, root: BackupId) -> bool {
        let mut id = id;
        for _ in 0..=self.backups.len() {
            if id == root {
                return true;
            }
            let one = self.backups.iter().find(|it| it.id == id);
            match one.and_then(|it| it.parent) {
                Some(parent) => id = parent,
                None => return false,
            }
        }
        false
    }

    /// Why no backup leads anywhere.
    fn no_way(&self, wanted: &Wanted) -> Why {
        let named = match wanted.target {
            Target::BackupEnd(id) => id,
            _ => None,
        };
        let newest = self.backups.iter().max_by_key(|it| it.end);
        let one = wanted.backup.or(named).or(newest.map(|it| it.id));
        one.map_or(Why::NoBackup, |one| self.no_backup(one))
    }

    /// Why this backup serves nothing.
    fn no_backup(&self, id: BackupId) -> Why {
        let Some(mut one) = self.backups.iter().find(|it| it.id == id) else {
            return Why::NoSuchBackup(id);
        };
        for _ in 0..self.backups.len() {
            let Some(parent) = one.parent else { break };
            match self.backups.iter().find(|it| it.id == parent) {
                Some(found) => one = found,
                None => return Why::NoParent(parent),
            }
        }
        Why::NoLog(one.id)
    }

    /// The position that a target comes to in a history.
    fn resolve(&self, way: &Way<'_>, target: &Target) -> Result<(Lsn, Option<MarkAt>), Why> {
        let lsn = match target {
            Target::End => way.reachable.to,
            Target::Lsn(lsn) | Target::Unit(_, lsn) => *lsn,
            Target::Label(name) => {
                let found = self.histories.label(&way.branch, name);
                found.ok_or_else(|| Why::NoLabel(name.clone()))?
            }
            Target::BackupEnd(Some(id)) => self.joint_of(*id).ok_or(Why::NoSuchBackup(*id))?.end,
            Target::BackupEnd(None) => {
                let ends = self.backups.iter().map(|it| joint_of(it));
                let passed = ends.filter(|it| {
                    it.end <= way.reachable.to && self.histories.passes(&way.branch, *it)
                });
                passed.map(|end| end.end).max().ok_or(Why::NoBackup)?
            }
            Target::Time(time) => {
                let behind = way.marks.partition_point(|mark| mark.time_ms <= *time);
                let mark = behind.checked_sub(1).and_then(|at| way.marks.get(at));
                let mark = mark.ok_or(Why::TimeBefore(*time))?;
                if way.marks.last().is_some_and(|last| last.time_ms < *time) {
                    return Err(Why::TimeAfter(*time));
                }
                return Ok((mark.lsn, Some(*mark)));
            }
        };
        Ok((lsn, None))
    }

    /// Why a position above what can be reached cannot be.
    fn beyond(&self, branches: &[Branch], target: Lsn) -> Why {
        let has = |branch: &Branch| branch.pieces.last().is_some_and(|(_, end)| *end >= target);
        let mut gaps = self.cut_off(branches).filter(|(branch, _)| has(branch));
        gaps.next().map_or(Why::Above(target), |(_, gap)| Why::Gap(target, gap.clone()))
    }

    /// Histories that no backup leads to though they lie above one, each with the gap.
    fn cut_off<'b>(
        &'b self,
        branches: &'b [Branch],
    ) -> impl Iterator<Item = (&'b Branch, &'b Gap)> {
        let oldest = self.backups.iter().map(|it| it.end).min().unwrap_or(Lsn::MAX);
        let without = branches.iter().filter(|branch| self.way(branch, None, None).is_none());
        let gaps = without.filter_map(|branch| Some((branch, branch.gap.as_ref()?)));
        gaps.filter(move |(_, gap)| gap.to.end > oldest)
    }

    fn put_together(&self, way: &Way<'_>, root: &'a Manifest, target: Lsn) -> Plan {
        let needed = |(piece, upto): (&Piece, Lsn)| {
            let index = &piece.index;
            let next = index.first_lsn().plus(index.segment_size);
            let from = index.first_batch();
            let wanted = next > root.floor && (from < target || from <= root.floor);
            wanted.then(|| Part { piece: piece.clone(), upto: upto.min(target) })
        };
        let log: Vec<Part> = self.histories.of(&way.branch).filter_map(needed).collect();
        let (increments, newest) = self.increments(way, root, target);
        let files = |wanted: fn(FileKind) -> bool| {
            root.files.iter().filter(move |it| wanted(it.kind)).cloned().collect()
        };
        let pieces = self.histories.all().iter().map(|it| it.index.highest());
        let incarnations = self.backups.iter().map(|it| it.incarnation).chain(pieces);
        Plan {
            log_id: self.log_id,
            backup: root.id,
            increments,
            objects: files(|kind| matches!(kind, FileKind::Object(_))),
            extents: files(|kind| kind == FileKind::Extents),
            log,
            floor: root.floor,
            recovery_point: root.recovery_point,
            asked: Target::End,
            target,
            mark: None,
            in_doubt: newest.in_doubt(),
            incarnation: incarnations.max().unwrap_or_default(),
            reachable: way.reachable,
            unreachable: Vec::new(),
        }
    }

    /// Backups that rest on the root, in this history up to the target; and the newest manifest.
    fn increments(
        &self,
        way: &Way<'_>,
        root: &'a Manifest,
        target: Lsn,
    ) -> (Vec<BackupId>, &'a Manifest) {
        let (mut chain, mut newest) = (Vec::new(), root);
        loop {
            let next = self.backups.iter().find(|it| {
                it.parent == Some(newest.id)
                    && it.end <= target
                    && it.end > newest.end
                    && self.histories.passes(&way.branch, joint_of(it))
            });
            let Some(next) = next else { return (chain, newest) };
            chain.push(next.id);
            newest = next;
        }
    }
}
