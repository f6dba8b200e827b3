//! What every sink must do, as a suite that anyone who writes one can run.
//!
//! ```
//! use siding_checkpoint::sink::{DirectorySink, conformance};
//! use siding_wal::disk::{Disk, MemoryDisk};
//! use std::sync::Arc;
//!
//! let passed = conformance::check(&|| {
//!     let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
//!     Ok([Arc::new(DirectorySink::new(disk.clone())), Arc::new(DirectorySink::new(disk))])
//! })?;
//! assert!(passed.contains(&"unfinished is not there"));
//! # Ok::<(), conformance::Broken>(())
//! ```
//!
//! It shows what running processes see. That what was put survives a crash, it cannot show: that
//! takes a crash. Nor does it make a place fail: what a sink says then is for its own tests.

pub use siding_wal::disk::suite::Broken;

use super::{Put, Sink, Stored, plain, put_whole, read_whole};
use siding_wal::disk::suite::{Verdict, fails, holds, ok, same};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::thread;

/// Two sinks that share one new, empty place, as two processes would.
pub type Pair = [Arc<dyn Sink>; 2];

/// A check is given one sink, and another of the same place.
type Check = (&'static str, fn(&dyn Sink, &dyn Sink) -> Verdict);

const CHECKS: &[Check] = &[
    ("place", place),
    ("put and read back", put_and_read_back),
    ("writes of any length", writes_of_any_length),
    ("reads from anywhere", reads_from_anywhere),
    ("unfinished is not there", unfinished_is_not_there),
    ("dropped was never there", dropped_was_never_there),
    ("replacing", replacing),
    ("what is not there", what_is_not_there),
    ("removing", removing),
    ("list by prefix", list_by_prefix),
    ("list of many", list_of_many),
    ("names", names),
    ("names that begin alike", names_that_begin_alike),
    ("big things", big_things),
    ("another sink of the place", another_sink_of_the_place),
    ("never a mixture", never_a_mixture),
    ("threads with names of their own", threads_with_names_of_their_own),
    ("threads with one name", threads_with_one_name),
];

/// More than a page of what an object store lists at once.
const MANY: usize = 1_020;

/// Bytes of a thing that no store takes at once, by far.
const BIG: usize = (21 << 20) + 4_321;

/// Runs every check, each on a new, empty place from `make`, and names those passed.
///
/// Puts some thousand small things and a few of twenty megabytes.
///
/// # Errors
///
/// [`Broken`] with the first check that failed.
pub fn check(make: &dyn Fn() -> io::Result<Pair>) -> Result<Vec<&'static str>, Broken> {
    let mut passed = Vec::new();
    for (check, run) in CHECKS {
        let verdict = ok("to make a sink", make()).and_then(|[one, other]| run(&*one, &*other));
        verdict.map_err(|what| Broken { check, what })?;
        passed.push(*check);
    }
    Ok(passed)
}

/// Bytes that differ from place to place and from seed to seed.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len.saturating_add(8));
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn put(sink: &dyn Sink, name: &str, bytes: &[u8]) -> Verdict {
    ok(&format!("to put `{name}`"), put_whole(sink, name, bytes))
}

fn open(sink: &dyn Sink, name: &str) -> Verdict<Box<dyn Stored>> {
    ok(&format!("to open `{name}`"), sink.open(name))
}

/// Begins to put something, and leaves it unfinished.
fn begin(sink: &dyn Sink, name: &str, bytes: &[u8]) -> Verdict<Box<dyn Put>> {
    let mut put = ok(&format!("to begin `{name}`"), sink.put(name))?;
    ok("a write", put.write(bytes))?;
    Ok(put)
}

/// Reads `len` bytes at `at`; what lies behind the end is not read.
fn read(stored: &dyn Stored, at: usize, len: usize) -> Verdict<Vec<u8>> {
    // What is not read must not pass for zeros.
    let mut buf = vec![0xa5; len];
    let count = ok("a read", stored.read_at(wide(at), &mut buf))?;
    holds("a read counts more than was asked for", count <= len)?;
    buf.truncate(count);
    Ok(buf)
}

fn equal(what: &str, came: &[u8], due: &[u8]) -> Verdict {
    same(&format!("the count of bytes of {what}"), came.len(), due.len())?;
    match came.iter().zip(due).position(|(came, due)| came != due) {
        None => Ok(()),
        Some(place) => Err(format!("a wrong byte at {place} of {what}")),
    }
}

fn stored_as(stored: &dyn Stored, due: &[u8]) -> Verdict {
    same("the length", ok("len", stored.len())?, wide(due.len()))?;
    same("is_empty", ok("is_empty", stored.is_empty())?, due.is_empty())?;
    equal("what is stored", &ok("a read", read_whole(stored, 1 << 30))?, due)
}

fn holds_as(sink: &dyn Sink, name: &str, due: &[u8]) -> Verdict {
    stored_as(&*open(sink, name)?, due)
}

fn listed(sink: &dyn Sink, prefix: &str) -> Verdict<Vec<String>> {
    let list = ok("to list", sink.list(prefix))?;
    Ok(list.into_iter().map(|(name, _)| name).collect())
}

fn place(one: &dyn Sink, other: &dyn Sink) -> Verdict {
    holds("the place has no name", !one.place().is_empty())?;
    same("the place asked again", one.place(), other.place())?;
    same("the list of a new place", listed(one, "")?, Vec::new())
}

fn put_and_read_back(sink: &dyn Sink, _: &dyn Sink) -> Verdict {
    for len in [0, 1, 511, 512, 513, 4_095, 4_096, 70_000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1] {
        let (name, bytes) = (format!("a-{len}.seg"), pattern(wide(len), len));
        put(sink, &name, &bytes)?;
        holds_as(sink, &name, &bytes)?;
    }
    same("the count of names", listed(sink, "")?.len(), 11)
}

fn writes_of_any_length(sink: &dyn Sink, _: &dyn Sink) -> Verdict {
    let due = pattern(1, 300_000);
    let mut put = ok("to begin", sink.put("a"))?;
    let mut rest = &*due;
    for len in [0, 1, 2, 511, 0, 512, 3, 4_096, 65_537, 100_001].into_iter().cycle() {
        let (now, later) = rest.split_at(len.min(rest.len()));
        ok("a write", put.write(now))?;
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    ok("to finish", put.finish())?;
    holds_as(sink, "a", &due)?;
    let nothing = ok("to begin", sink.put("b"))?;
    ok("to finish what nothing was written to", nothing.finish())?;
    holds_as(sink, "b", &[])
}

fn reads_from_anywhere(sink: &dyn Sink, _: &dyn Sink) -> Verdict {
    let len = 3 * 4_096 + 77;
    let due = pattern(2, len);
    put(sink, "a", &due)?;
    let stored = open(sink, "a")?;
    for at in [0, 1, 7, 511, 512, 4_095, 4_096, len - 1, len, len + 1, 1 << 40] {
        for count in [0, 1, 2, 513, 4_096, len, 2 * len] {
            let (from, to) = (at.min(len), at.saturating_add(count).min(len));
            let there = due.get(from..to).unwrap_or_default();
            let what = format!("a read of {count} at {at} of {len}");
            equal(&what, &read(&*stored, at, count)?, there)?;
        }
    }
    equal("a read at the last offset there is", &read(&*stored, usize::MAX, 1)?, &[])
}

fn unfinished_is_not_there(sink: &dyn Sink, other: &dyn Sink) -> Verdict {
    for (name, len) in [("a", 100), ("b", BIG)] {
        let bytes = pattern(3, len);
        let put = begin(sink, name, &bytes)?;
        for sink in [sink, other] {
            fails("to open what is unfinished", sink.open(name), ErrorKind::NotFound)?;
            holds("what is unfinished is listed", !listed(sink, "")?.iter().any(|it| it == name))?;
        }
        ok("to finish", put.finish())?;
        holds_as(sink, name, &bytes)?;
    }
    same("the list", listed(sink, "")?, vec!["a".to_owned(), "b".to_owned()])
}

fn dropped_was_never_there(sink: &dyn Sink, _: &dyn Sink) -> Verdict {
    let old = pattern(4, 1_000);
    put(sink, "kept", &old)?;
    for len in [0, 100, BIG] {
        drop(begin(sink, "a", &pattern(5, len))?);
        drop(begin(sink, "kept", &pattern(6, len))?);
        fails("to open what was dropped", sink.open("a"), ErrorKind::NotFound)?;
        same("the list", listed(sink, "")?, vec!["kept".to_owned()])?;
        holds_as(sink, "kept", &old)?;
    }
    // The name can be used as if nothing had been.
    put(sink, "a", &old)?;
    holds_as(sink, "a", &old)
}

fn replacing(sink: &dyn Sink, _: &dyn Sink) -> Verdict {
    let mut old = pattern(7, 5_000);
    put(sink, "a", &old)?;
    for (seed, len) in [(8, 9_000), (9, 10), (10, 0), (11, 5_000)] {
        let new = pattern(seed, len);
        let put = begin(sink, "a", &new)?;
        holds_as(sink, "a", &old)?;
        ok("to finish", put.finish())?;
        holds_as(sink, "a", &new)?;
        same("the list", listed(sink, "")?, vec!["a".to_owned()])?;
        old = new;
    }
    Ok(())
}

fn what_is_not_there(sink: &dyn Sink, _: &dyn Sink) -> Verdict {
    put(sink, "ab", &pattern(12, 10))?;
    for name in ["a", "abc", "b", "ab.seg"] {
        fails(&format!("to open `{name}`"), sink.open(name), ErrorKind::NotFound)?;
        fails(&format!("to remove `{name}`"), sink.remove(name), ErrorKind::NotFound)?;
    }
    same("the list of what is not there", listed(sink, "abc")?, Vec::new())
}

fn removing(sink: &dyn Sink, other: &dyn Sink) -> Verdict {
    for name in ["a", "b", "c"] {
        put(sink, name, &pattern(13, 600))?;
    }
    ok("to remove", sink.remove("b"))?;
    for sink in [sink, other] {
        fails("to open what was removed", sink.open("b"), ErrorKind::NotFound)?;
        same("the list", listed(sink, "")?, vec!["a".to_owned(), "c".to_owned()])?;
    }
    fails("to remove again", sink.remove("b"), ErrorKind::NotFound)?;
    let again = pattern(14, 50);
    put(sink, "b", &again)?;
    holds_as(sink, "b", &again)?;
    holds_as(sink, "a", &pattern(13, 600))
}

fn list_by_prefix(sink: &dyn Sink, _: &dyn Sink) -> Verdict {
    let mut sizes = vec![
        ("log-0000000000000001-00000001-0badcafe.seg", 70_000),
        ("log-0000000000000001-00000001-0badcafe.index", 30),
        ("log-0000000000000002-00000001-0badcafe.seg.zst", 4_096),
        ("extents-0000000000000001-512.ext", 512),
        ("backup-00ff-object-00001-0", 1),
        ("backup-00ff.manifest", 0),
        ("backup-00fe.manifest", 513),
    ];
    for (name, len) in &sizes {
        put(sink, name, &pattern(15, *len))?;
    }
    sizes.sort_unstable();
    let prefixes =
        ["", "log-", "log-0000000000000002", "backup-00f", "backup-00ff.manifest", "e", "x"];
    for prefix in prefixes {
        let list = ok("to list", sink.list(prefix))?;
        let due: Vec<_> = sizes.iter().filter(|(name, _)| name.starts_with(prefix)).collect();
        let came: Vec<&str> = list.iter().map(|(name, _)| name.as_str()).collect();
        let names: Vec<&str> = due.iter().map(|(name, _)| *name).collect();
        same(&format!("the list of `{prefix}`"), came, names)?;
        for ((name, bytes), (_, len)) in list.iter().zip(due) {
            // A place may keep whole blocks.
            let fits = (*len..=len.next_multiple_of(1 << 16)).any(|len| wide(len) == *bytes);
            holds(&format!("`{name}` of {len} bytes is listed with {bytes}"), fits)?;
        }
    }
    Ok(())
}

fn list_of_many(sink: &dyn Sink, _: &dyn Sink) -> Verdict {
    let name = |number: usize| format!("log-{number:016x}.seg");
    // From the last to the first: the order is the list's doing.
    for number in (0..MANY).rev() {
        put(sink, &name(number), &pattern(wide(number), number % 40))?;
    }
    put(sink, "a", &[1])?;
    put(sink, "z", &[1])?;
    same("the list of many", listed(sink, "log-")?, (0..MANY).map(name).collect())?;
    let tens = (16..32).map(name).collect();
    same("the list of a few of many", listed(sink, "log-000000000000001")?, tens)?;
    same("the count of names", listed(sink, "")?.len(), MANY + 2)
}

fn names(sink: &dyn Sink, _: &dyn Sink) -> Verdict {
    put(sink, "a", &pattern(16, 10))?;
    let long = "n".repeat(201);
    for bad in [
        "", ".", "..", ".a", "/", "a/b", "/a", "../a", "a/", "a b", "a_b", "a\0", "ä", "%61", &long,
    ] {
        holds(&format!("{bad:?} is taken for a plain name"), !plain(bad))?;
        let due = ErrorKind::InvalidInput;
        fails(&format!("to put {bad:?}"), sink.put(bad).map(drop), due)?;
        fails(&format!("to open {bad:?}"), sink.open(bad).map(drop), due)?;
        fails(&format!("to remove {bad:?}"), sink.remove(bad), due)?;
    }
    same("the list", listed(sink, "")?, vec!["a".to_owned()])?;
    // A sink may need some names for itself. What it takes, it has; and it takes twice the longest
    // name in use.
    let long = "n".repeat(120);
    for name in ["lock", "b.new", "control", "b.", "-", "0", "b..c", "B", &long] {
        let bytes = pattern(17, 20);
        match put_whole(sink, name, &bytes) {
            Err(error) if error.kind() == ErrorKind::InvalidInput => continue,
            other => ok(&format!("to put `{name}`"), other)?,
        }
        holds_as(sink, name, &bytes)?;
        holds(&format!("`{name}` is not listed"), listed(sink, "")?.iter().any(|it| it == name))?;
        ok("to remove", sink.remove(name))?;
    }
    same("the list", listed(sink, "")?, vec!["a".to_owned()])
}

fn names_that_begin_alike(sink: &dyn Sink, _: &dyn Sink) -> Verdict {
    let names = ["a", "a-", "a-b", "a.", "a.b", "a0", "aa"];
    for (seed, name) in (20..).zip(names) {
        put(sink, name, &pattern(seed, 100))?;
    }
    let due: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    same("the list", listed(sink, "a")?, due)?;
    ok("to remove", sink.remove("a"))?;
    ok("to remove", sink.remove("a.b"))?;
    for (seed, name) in (20..).zip(names).filter(|(_, name)| !matches!(*name, "a" | "a.b")) {
        holds_as(sink, name, &pattern(seed, 100))?;
    }
    same("the count of names", listed(sink, "a")?.len(), 5)
}

fn big_things(sink: &dyn Sink, _: &dyn Sink) -> Verdict {
    let due = pattern(30, BIG);
    let mut put = ok("to begin", sink.put("a"))?;
    for piece in due.chunks(1_234_567) {
        ok("a write", put.write(piece))?;
    }
    ok("to finish", put.finish())?;
    let stored = open(sink, "a")?;
    stored_as(&*stored, &due)?;
    for at in [0, 1, (5 << 20) - 1, (8 << 20) - 3, 16 << 20, BIG - 5] {
        let there = due.get(at..BIG.min(at + 100_003)).unwrap_or_default();
        equal(&format!("a read at {at}"), &read(&*stored, at, 100_003)?, there)?;
    }
    Ok(())
}

fn another_sink_of_the_place(one: &dyn Sink, other: &dyn Sink) -> Verdict {
    let (old, new) = (pattern(31, 4_000), pattern(32, 7_000));
    put(one, "a", &old)?;
    holds_as(one, "a", &old)?;
    holds_as(other, "a", &old)?;
    put(other, "a", &new)?;
    holds_as(one, "a", &new)?;
    same("the list", listed(other, "")?, vec!["a".to_owned()])?;
    ok("to remove", other.remove("a"))?;
    fails("to open what another removed", one.open("a"), ErrorKind::NotFound)?;
    same("the list", listed(one, "")?, Vec::new())
}

/// What was opened is read as it was then, or an error says that this cannot be.
fn never_a_mixture(sink: &dyn Sink, other: &dyn Sink) -> Verdict {
    let old = pattern(33, 6_000);
    for (seed, len) in [(34, 6_000), (35, 3_000), (36, 9_000)] {
        put(sink, "a", &old)?;
        let before = open(sink, "a")?;
        equal("a first read", &read(&*before, 0, 100)?, old.get(..100).unwrap_or_default())?;
        put(other, "a", &pattern(seed, len))?;
        let mut rest = vec![0; 5_900];
        let Ok(count) = before.read_at(100, &mut rest) else { continue };
        rest.truncate(count);
        equal("a read behind a replacement", &rest, old.get(100..).unwrap_or_default())?;
    }
    let before = open(sink, "a")?;
    ok("to remove", other.remove("a"))?;
    match read_whole(&*before, 1 << 20) {
        Ok(came) => equal("a read behind a removal", &came, &pattern(36, 9_000)),
        Err(_) => Ok(()),
    }
}

/// Runs four threads, and gives back what each found.
fn four(run: impl Fn(u64) -> Verdict + Sync) -> Verdict {
    let run = &run;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|number| scope.spawn(move || run(number))).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err("a thread panicked".to_owned()))
        })
    })
}

fn threads_with_names_of_their_own(sink: &dyn Sink, _: &dyn Sink) -> Verdict {
    four(|number| {
        for round in 0..8 {
            let name = format!("{number}-{round}");
            let bytes = pattern(number << 8 | round, 30_000);
            put(sink, &name, &bytes)?;
            holds_as(sink, &name, &bytes)?;
            let mine = listed(sink, &format!("{number}-"))?.len();
            same("the count of names of a thread", wide(mine), round + 1)?;
        }
        ok("to remove", sink.remove(&format!("{number}-0")))
    })?;
    same("the count of names", listed(sink, "")?.len(), 28)
}

/// One of them wins, whole; whoever reads meanwhile finds a whole one.
fn threads_with_one_name(sink: &dyn Sink, other: &dyn Sink) -> Verdict {
    let due = |seed: u64| pattern(seed, 20_000 + usize::try_from(seed).unwrap_or_default() * 1_000);
    let whole = |sink: &dyn Sink| {
        let came = ok("a read", read_whole(&*open(sink, "a")?, 1 << 20))?;
        let whole = (40..64).any(|seed| came == due(seed));
        holds("what several put under one name is none of theirs, whole", whole)
    };
    four(|number| {
        for round in 0..6 {
            let bytes = due(40 + number * 6 + round);
            let (head, tail) = bytes.split_at(9_000);
            let sink = if number % 2 == 0 { sink } else { other };
            let mut put = begin(sink, "a", head)?;
            ok("a write", put.write(tail))?;
            ok("to finish", put.finish())?;
        }
        Ok(())
    })?;
    whole(sink)?;
    whole(other)?;
    same("the list", listed(sink, "")?, vec!["a".to_owned()])
}
