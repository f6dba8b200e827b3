//! The bank: branches, tellers, accounts and a history, as in TPC-B.
//!
//! A transfer adds one amount to an account, to the teller it was handed to, and to that teller's
//! branch, and writes one line of history. So at any time each balance is what the history says,
//! and accounts, tellers and branches add up to the same.

use super::retained::INTERVAL;
use super::{Plant, count};
use clap::Args;
use siding_kv::{Db, Options, Result, Txn};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Tellers of each branch.
pub(super) const TELLERS: u32 = 10;

/// What every account, teller and branch has at the start.
pub(super) const OPENING: i64 = 1_000;

/// How large the bank is.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Bank {
    /// Accounts.
    #[arg(long, default_value_t = 10_000, value_parser = count(100, 10_000_000))]
    pub(super) accounts: u32,
    /// Branches, with ten tellers each.
    #[arg(long, default_value_t = 8, value_parser = count(1, 1_000))]
    pub(super) branches: u32,
    /// Branches more, for units that are left in doubt: each locks one.
    #[arg(long, hide = true, default_value_t = 0)]
    pub(super) spare: u32,
    /// KiB of a segment of its log, which shrinks by whole ones.
    #[arg(long, default_value_t = 1_024, value_parser = count(64, 65_536))]
    pub(super) segment: u32,
}

/// One transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    pub(super) id: u64,
    pub(super) account: u32,
    pub(super) teller: u32,
    pub(super) branch: u32,
    pub(super) delta: i64,
}

/// A generator of numbers that need not be good: splitmix64, by Sebastiano Vigna.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, which is not zero.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let below = (mixed ^ (mixed >> 31)) % u64::from(bound.max(1));
        u32::try_from(below).unwrap_or_default()
    }
}

pub(super) fn account_key(number: u32) -> Vec<u8> {
    format!("account/{number:08}").into_bytes()
}

pub(super) fn teller_key(number: u32) -> Vec<u8> {
    format!("teller/{number:06}").into_bytes()
}

pub(super) fn branch_key(number: u32) -> Vec<u8> {
    format!("branch/{number:05}").into_bytes()
}

/// Numbers of transfers never meet: worker, thread, count.
pub(super) fn numbered(worker: u32, thread: u32, count: u64) -> u64 {
    (u64::from(worker) << 48) | (u64::from(thread) << 40) | count
}

/// The gid of a transfer in two phases, which a worker decides itself.
pub(super) fn two_phase_gid(id: u64) -> Vec<u8> {
    format!("two-phase-{id:016x}").into_bytes()
}

/// The gid of a transfer that is left in doubt.
pub(super) fn left_gid(id: u64) -> Vec<u8> {
    format!("left-{id:016x}").into_bytes()
}

/// Whether a worker was about to decide it, and nobody else will.
pub(super) fn is_stray(gid: &[u8]) -> bool {
    gid.starts_with(b"two-phase-")
}

impl Transfer {
    /// The key of its line of history.
    pub(super) fn key(&self) -> Vec<u8> {
        format!("history/{:016x}", self.id).into_bytes()
    }

    /// A transfer from its line of history.
    pub(super) fn from_history(key: &[u8], value: &[u8]) -> Option<Self> {
        let id = std::str::from_utf8(key).ok()?.strip_prefix("history/")?;
        format!("{id} {}", std::str::from_utf8(value).ok()?).parse().ok()
    }

    fn line(&self) -> String {
        format!("{} {} {} {}", self.account, self.teller, self.branch, self.delta)
    }
}

impl fmt::Display for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} {}", self.id, self.line())
    }
}

impl FromStr for Transfer {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let mut words = text.split(' ');
        let mut word = || words.next().ok_or(());
        let transfer = Self {
            id: u64::from_str_radix(word()?, 16).map_err(drop)?,
            account: word()?.parse().map_err(drop)?,
            teller: word()?.parse().map_err(drop)?,
            branch: word()?.parse().map_err(drop)?,
            delta: word()?.parse().map_err(drop)?,
        };
        words.next().is_none().then_some(transfer).ok_or(())
    }
}

impl Bank {
    /// All branches.
    pub(super) fn all_branches(&self) -> u32 {
        self.branches + self.spare
    }

    /// Bytes of a segment of its log.
    pub(super) fn segment_bytes(&self) -> u64 {
        u64::from(self.segment) << 10
    }

    /// How the bank's database is opened.
    pub(super) fn options(&self, plant: Option<Plant>) -> Options {
        let segment = self.segment_bytes();
        let log = siding::Options::new()
            .segment_size(segment)
            .keypoint_bytes(segment * INTERVAL)
            .ring_size(4 << 20)
            .forks(plant != Some(Plant::Unmoved))
            // Whoever watches asks it what it holds, while it runs.
            .admin(true);
        Options::new().log(log).patience(Duration::from_secs(5))
    }

    /// Opens every account, teller and branch.
    pub(super) fn found(&self, db: &Db) -> Result<()> {
        let branches = self.all_branches();
        let keys = (0..branches)
            .map(branch_key)
            .chain((0..branches * TELLERS).map(teller_key))
            .chain((0..self.accounts).map(account_key));
        let mut txn = db.begin()?;
        for (count, key) in keys.enumerate() {
            txn.put(&key, &OPENING.to_le_bytes())?;
            if count % 1_000 == 999 {
                txn.commit()?;
                txn = db.begin()?;
            }
        }
        txn.commit()?;
        Ok(())
    }

    /// A transfer at one of the ordinary branches. The account is one of the branch's own in 85
    /// of 100, else any.
    pub(super) fn transfer(&self, id: u64, dice: &mut Dice) -> Transfer {
        let branch = dice.below(self.branches);
        let local = dice.below(100) < 85;
        let transfer = self.at(id, branch, dice);
        if local { transfer } else { Transfer { account: dice.below(self.accounts), ..transfer } }
    }

    /// A transfer at a given branch.
    pub(super) fn at(&self, id: u64, branch: u32, dice: &mut Dice) -> Transfer {
        let (teller, all) = (branch * TELLERS + dice.below(TELLERS), self.all_branches());
        let account = branch + all * dice.below((self.accounts / all).max(1));
        let delta = i64::from(dice.below(2_000)) - 1_000;
        Transfer { id, account: account.min(self.accounts - 1), teller, branch, delta }
    }
}

/// Does the parts of a transfer: always account, teller, branch, in this order, so that no two
/// wait for each other.
pub(super) fn carry_out(txn: &mut Txn, transfer: &Transfer) -> Result<()> {
    txn.increment(&account_key(transfer.account), transfer.delta)?;
    txn.increment(&teller_key(transfer.teller), transfer.delta)?;
    txn.increment(&branch_key(transfer.branch), transfer.delta)?;
    txn.put(&transfer.key(), transfer.line().as_bytes())
}

/// The same with a mistake on the way, which is taken back to a savepoint.
pub(super) fn carry_out_with_a_detour(txn: &mut Txn, transfer: &Transfer) -> Result<()> {
    txn.increment(&account_key(transfer.account), transfer.delta)?;
    let before = txn.savepoint()?;
    txn.increment(&teller_key(transfer.teller), 1_000_000)?;
    txn.delete(&account_key(transfer.account))?;
    txn.roll_back_to(&before)?;
    txn.increment(&teller_key(transfer.teller), transfer.delta)?;
    txn.increment(&branch_key(transfer.branch), transfer.delta)?;
    txn.put(&transfer.key(), transfer.line().as_bytes())
}
