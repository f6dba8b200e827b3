//! The command as a user starts it, and small logs to look at.

use serde_json::Value;
use siding::{Log, Lsn, Options, Result};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What the command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Every line as a JSON object.
    pub(crate) fn objects(&self) -> Vec<Value> {
        let parse = |line: &str| -> Value {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|error| {
                panic!("not JSON: {error}: {line}");
            });
            assert!(value.is_object(), "{line}");
            value
        };
        self.out.lines().map(parse).collect()
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self
    }

    /// Whether output or message contains all of these.
    #[track_caller]
    pub(crate) fn tells(self, parts: &[&str]) -> Self {
        for part in parts {
            let told = self.out.contains(part) || self.err.contains(part);
            assert!(told, "`{part}` is not in\n{}\n{}", self.out, self.err);
        }
        self
    }
}

/// Runs the command.
pub(crate) fn siding<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Said {
    let output: Output =
        Command::new(env!("CARGO_BIN_EXE_siding")).args(args).output().expect("the command runs");
    Said {
        code: output.status.code().expect("it ends by itself"),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

/// Runs a verb on a log.
pub(crate) fn verb(verb: &str, dir: &Path, more: &[&str]) -> Said {
    let dir = dir.to_str().expect("a path of text");
    siding([verb, dir].iter().chain(more))
}

/// Small segments; units stay where they are unless a test moves them.
pub(crate) fn options() -> Options {
    Options::new().forks(false).segment_size(64 << 10).ring_size(256 << 10)
}

/// A log over several segments: committed records of 3000 bytes, a unit in doubt, one decided.
/// Returns where each record of 3000 bytes has its batch.
pub(crate) fn make(path: &Path) -> Result<(Log, Vec<Lsn>)> {
    let log = options().open(path)?.finish()?;
    let mut doubt = log.begin()?;
    doubt.append(b"debit 30")?;
    doubt.append(b"credit 30")?;
    drop(doubt.prepare(b"transfer-7").expect("prepared"));
    let mut decided = log.begin()?;
    decided.append(b"decided")?;
    drop(decided.decide()?);
    let mut starts = Vec::new();
    for number in 0..60_u8 {
        starts.push(log.positions().end);
        log.write(&[number; 3000])?;
    }
    log.keypoint()?;
    log.write(b"the last one")?;
    Ok((log, starts))
}

/// The same, closed.
pub(crate) fn made(path: &Path) -> Vec<Lsn> {
    let (log, starts) = make(path).expect("a log");
    log.close().expect("closed");
    starts
}

pub(crate) fn segment(path: &Path, number: u64) -> PathBuf {
    path.join(format!("{number:016x}.seg"))
}

/// Flips a bit of the byte at `lsn` plus `offset`.
pub(crate) fn flip(path: &Path, lsn: Lsn, offset: u64) {
    let at = lsn.get() + offset;
    let file = segment(path, at >> 16);
    let mut bytes = fs::read(&file).expect("the segment");
    bytes[usize::try_from(at & 0xffff).expect("an offset")] ^= 4;
    fs::write(file, bytes).expect("written");
}

/// Every file of a directory, byte for byte; sockets by name.
pub(crate) fn contents(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(path)
        .expect("the directory")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            let name = entry.file_name().into_string().expect("text");
            (name, fs::read(entry.path()).unwrap_or_default())
        })
        .collect();
    files.sort();
    files
}
