//! The database from a shell: `siding-kv DIR VERB …`.

#![forbid(unsafe_code)]

use siding_kv::{Db, Error, Result, Span};
use std::process::ExitCode;

const USAGE: &str = "siding-kv DIR VERB

  get KEY             the value under a key
  put KEY VALUE       puts one
  delete KEY          removes a key
  add KEY NUMBER      adds to a number of 8 bytes
  scan [PREFIX]       keys and values in order
  prepare GID KEY VALUE
                      puts one, and leaves it in doubt
  doubts              units in doubt, and what they will change
  commit GID          commits one
  back-out GID        backs one out
  snapshot            takes a snapshot, and trims the log
  why                 why log is kept";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let Some((dir, verb)) = args.split_first().filter(|(_, verb)| !verb.is_empty()) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match Db::open(dir).and_then(|db| Ok((act(&db, verb)?, db.close()?).0)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("siding-kv: {error}");
            ExitCode::from(3)
        }
    }
}

/// Does what is asked; false if it is nothing that can be asked.
fn act(db: &Db, verb: &[&str]) -> Result<bool> {
    let mut txn = db.begin()?;
    match *verb {
        ["get", key] => {
            if let Some(value) = txn.get(key.as_bytes())? {
                println!("{}", text(&value));
            }
        }
        ["put", key, value] => txn.put(key.as_bytes(), value.as_bytes())?,
        ["delete", key] => txn.delete(key.as_bytes())?,
        ["add", key, number] => {
            let number = number.parse().map_err(|_| Error::NotANumber(number.into()))?;
            println!("{}", txn.increment(key.as_bytes(), number)?);
        }
        ["scan", ref prefix @ ..] if prefix.len() < 2 => {
            for (key, value) in txn.scan(&Span::prefix(prefix.concat().as_bytes()))? {
                println!("{}\t{}", text(&key), text(&value));
            }
        }
        ["prepare", gid, key, value] => {
            txn.put(key.as_bytes(), value.as_bytes())?;
            txn.prepare(gid.as_bytes())?;
            return Ok(true);
        }
        ["doubts"] => {
            for gid in db.in_doubt() {
                for (key, value) in db.changes_in_doubt(&gid)? {
                    let value = value.map_or("(gone)".into(), |value| text(&value));
                    println!("{}\t{}\t{value}", text(&gid), text(&key));
                }
            }
        }
        ["commit", gid] => {
            db.commit_prepared(gid.as_bytes())?;
        }
        ["back-out", gid] => db.back_out_prepared(gid.as_bytes())?,
        ["snapshot"] => println!("{}", db.snapshot()?.file.display()),
        ["why"] => {
            for pin in db.log().why_retained() {
                println!("{:>12}  {}; {}", pin.bytes, pin.owner, pin.action);
            }
        }
        _ => return Ok(false),
    }
    txn.commit()?;
    Ok(true)
}

/// A number if it is one of 8 bytes that no text is, else text.
fn text(value: &[u8]) -> String {
    match (<[u8; 8]>::try_from(value), std::str::from_utf8(value)) {
        (Ok(number), Err(_)) => i64::from_le_bytes(number).to_string(),
        (Ok(number), Ok(text)) if text.chars().any(char::is_control) => {
            i64::from_le_bytes(number).to_string()
        }
        _ => String::from_utf8_lossy(value).into_owned(),
    }
}
