//! Asking the owner of a log in use, through the socket in its directory. See `docs/ADMIN.md`.

use siding::{Error, ErrorKind, ForkEffect, Lsn, Result, UnitInfo, UnitState};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The socket's name.
const NAME: &str = "admin.sock";

/// The longest path that fits a socket's address.
const LONGEST: usize = 100;

/// How long an answer may take: a keypoint of a busy log has to be written.
const PATIENCE: Duration = Duration::from_secs(120);

/// A line of an answer.
pub(crate) type Row = BTreeMap<String, String>;

/// Whether there is somebody to ask, as far as a look tells.
pub(crate) fn is_there(dir: &Path) -> bool {
    dir.join(NAME).exists()
}

/// Asks; none if nobody listens.
pub(crate) fn ask(dir: &Path, request: &str) -> Result<Option<Vec<Row>>> {
    let io = |cause| Error::io("the owner of the log cannot be asked", cause).file(dir.join(NAME));
    let mut stream = match connect(dir) {
        Ok(stream) => stream,
        Err(cause) if nobody(&cause) => return Ok(None),
        Err(cause) => return Err(io(cause).advise("ask as the user the program runs as")),
    };
    stream.set_read_timeout(Some(PATIENCE)).map_err(io)?;
    // One who hung up may have said why.
    let asked = stream.write_all(format!("{request}\n").as_bytes());
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).and(asked).map_err(io)?;
    parse(&String::from_utf8_lossy(&answer)).map(Some)
}

fn connect(dir: &Path) -> io::Result<UnixStream> {
    let plain = dir.join(NAME);
    if plain.as_os_str().len() <= LONGEST {
        return UnixStream::connect(plain);
    }
    let dir = File::open(dir)?;
    UnixStream::connect(PathBuf::from(format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd())))
}

fn nobody(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn parse(answer: &str) -> Result<Vec<Row>> {
    let mut lines: Vec<&str> = answer.lines().collect();
    let last = lines.pop().filter(|_| answer.ends_with('\n')).unwrap_or_default();
    let words: Vec<&str> = last.split('\t').collect();
    match words.as_slice() {
        ["ok"] => Ok(lines.into_iter().map(row).collect()),
        ["error", kind, message] => Err(Error::new(kind_named(kind), unescaped(message))),
        _ => Err(Error::new(ErrorKind::Io, "the owner of the log hung up in mid-answer")
            .advise("what was asked may have happened: look again")),
    }
}

fn row(line: &str) -> Row {
    let pairs = line.split('\t').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), unescaped(value))).collect()
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, characters.clone().next()) {
            ('\\', Some(escaped)) => {
                characters.next();
                out.push(match escaped {
                    't' => '\t',
                    'n' => '\n',
                    'r' => '\r',
                    other => other,
                });
            }
            _ => out.push(character),
        }
    }
    out
}

/// The kinds a refusal has; another one is as good as any to a command.
pub(crate) fn kind_named(name: &str) -> ErrorKind {
    const KINDS: [ErrorKind; 12] = [
        ErrorKind::Corrupt,
        ErrorKind::Missing,
        ErrorKind::Trimmed,
        ErrorKind::NotFound,
        ErrorKind::AlreadyDecided,
        ErrorKind::Invalid,
        ErrorKind::InUse,
        ErrorKind::Closed,
        ErrorKind::Failed,
        ErrorKind::LogFull,
        ErrorKind::Callback,
        ErrorKind::UnitEnded,
    ];
    let known = KINDS.into_iter().find(|kind| format!("{kind:?}") == name);
    known.unwrap_or(ErrorKind::Io)
}

/// A live unit, and what moving it would do, if that is known.
pub(crate) type Known = (UnitInfo, Option<ForkEffect>);

/// The live units, as the owner knows them; none if nobody listens.
pub(crate) fn units(dir: &Path) -> Result<Option<Vec<Known>>> {
    let rows = ask(dir, "units")?;
    Ok(rows.map(|rows| rows.iter().filter_map(|row| Some((unit(row)?, effect(row)))).collect()))
}

/// What moving a unit would do, of a row of units or of pins.
pub(crate) fn effect(row: &Row) -> Option<ForkEffect> {
    let unit = crate::text::parse_unit(row.get("unit")?)?;
    Some(ForkEffect {
        unit,
        oldest: number(row, "oldest_segment"),
        segments: number(row, "segments")?,
        cost: number(row, "cost")?,
        gain: number(row, "gain")?,
    })
}

fn unit(row: &Row) -> Option<UnitInfo> {
    let state = row.get("state")?;
    Some(UnitInfo {
        unit: crate::text::parse_unit(row.get("unit")?)?,
        state: UnitState::ALL.into_iter().find(|one| one.name() == state)?,
        gid: bytes(row.get("gid")?)?,
        first: Lsn::new(number(row, "first")?),
        head: Lsn::new(number(row, "head")?),
        floor: number(row, "floor").map(Lsn::new),
        records: number(row, "records")?,
        bytes: number(row, "bytes")?,
        secondary_records: number(row, "secondary_records").unwrap_or(0),
        secondary_bytes: number(row, "secondary_bytes").unwrap_or(0),
        moves: row.get("moves").and_then(|moves| moves.parse().ok()).unwrap_or(0),
        held: row.get("held").is_some_and(|held| held == "1"),
        problem: row.get("problem").filter(|problem| !problem.is_empty()).cloned(),
        age_ms: number(row, "age_ms"),
        in_doubt_ms: number(row, "in_doubt_ms")?,
    })
}

/// A number of a row; none if it is not known.
pub(crate) fn number(row: &Row, name: &str) -> Option<u64> {
    row.get(name)?.parse().ok()
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_rows_and_a_last_line() {
        let rows = parse("a=1\tb=x\\ty\\\\\nc=\nok\n").unwrap();
        assert_eq!(rows[0]["a"], "1");
        assert_eq!(rows[0]["b"], "x\ty\\");
        assert_eq!(number(&rows[1], "c"), None);
        assert_eq!(parse("ok\n").unwrap(), Vec::<Row>::new());
    }

    #[test]
    fn a_refusal_is_an_error_and_so_is_half_an_answer() {
        let refused = parse("error\tAlreadyDecided\tunit 0x7\\tis\n").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyDecided);
        assert_eq!(refused.what(), "unit 0x7\tis");
        for cut in ["", "a=1\n", "a=1\nok", "ok?\n"] {
            assert_eq!(parse(cut).unwrap_err().kind(), ErrorKind::Io, "{cut:?}");
        }
    }
}
