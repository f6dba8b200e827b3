//! What a record of the log says: one key has this value now, or none.
//!
//! Changes are absolute, never "add 5": redo may deliver one that the snapshot already holds, and
//! doing it twice must do no harm.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | length of the key, little-endian |
//! | 4 | 1 | 1: a value follows the key; 0: the key is gone |
//! | 5 | | key, then value |

use crate::{Error, Result};
use std::collections::BTreeMap;

/// Keys in order, with their values.
pub type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a transaction does to its keys: the last change of each.
pub type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

const HEAD: usize = 5;

/// The payload of the record for one change.
pub(crate) fn encode(key: &[u8], value: Option<&[u8]>) -> Vec<u8> {
    let mut payload = Vec::with_capacity(HEAD + key.len() + value.map_or(0, <[u8]>::len));
    // A key beyond 4 GiB is far above any `max_record`: the log refuses the record.
    payload.extend(u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes());
    payload.push(u8::from(value.is_some()));
    payload.extend(key);
    payload.extend(value.unwrap_or_default());
    payload
}

/// A payload's key, and its value if it has one.
///
/// # Errors
///
/// [`Error::Record`]: this is no record of the database's.
pub fn decode(payload: &[u8]) -> Result<(&[u8], Option<&[u8]>)> {
    let (len, rest) = payload.split_first_chunk().ok_or(Error::Record("too short"))?;
    let (has_value, rest) = rest.split_first().ok_or(Error::Record("too short"))?;
    let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
    let (key, value) = rest.split_at_checked(len).ok_or(Error::Record("a key too long"))?;
    match has_value {
        0 if value.is_empty() => Ok((key, None)),
        1 => Ok((key, Some(value))),
        _ => Err(Error::Record("neither a value nor none")),
    }
}

/// Brings the map to where a change leaves it.
pub(crate) fn apply(map: &mut Map, key: &[u8], value: Option<&[u8]>) {
    match value {
        Some(value) => drop(map.insert(key.to_vec(), value.to_vec())),
        None => drop(map.remove(key)),
    }
}

/// The number in a value; a key without one counts as 0.
pub(crate) fn number(key: &[u8], value: Option<&[u8]>) -> Result<i64> {
    match value.map(<[u8; 8]>::try_from) {
        None => Ok(0),
        Some(Ok(bytes)) => Ok(i64::from_le_bytes(bytes)),
        Some(Err(_)) => Err(Error::NotANumber(key.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_back_as_it_was_written() {
        for (key, value) in [(&b"k"[..], Some(&b"v"[..])), (b"", Some(b"")), (b"gone", None)] {
            assert_eq!(decode(&encode(key, value)).unwrap(), (key, value));
        }
    }

    #[test]
    fn bytes_that_are_no_change_are_refused() {
        let gone_with_a_value = [&encode(b"k", None)[..], b"v"].concat();
        let neither = {
            let mut it = encode(b"k", None);
            it[4] = 2;
            it
        };
        for bytes in [&b""[..], b"\0\0\0\0", b"\x02\0\0\0\x01k", &gone_with_a_value, &neither] {
            assert!(matches!(decode(bytes), Err(Error::Record(_))), "{bytes:?}");
        }
    }
}
