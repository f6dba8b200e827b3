//! The names of an archive's files in a sink. Pure.

use super::index::Compression;
use siding_wal::format::LogId;

/// The name of a segment in a sink, without what it ends with.
#[must_use]
pub fn segment_stem(number: u64, incarnation: u32, digest: u32) -> String {
    format!("log-{number:016x}-{incarnation:08x}-{digest:08x}")
}

/// The name of an extent file of a log in a sink, up to `len` bytes of it.
#[must_use]
pub fn extent_name(log_id: &LogId, number: u64, len: u64, compression: Compression) -> String {
    let log: String = log_id.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("extents-{log}-{number:016x}-{len}.ext{}", compression.suffix())
}

/// What a name in a sink says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// A segment: its stem, and how it is stored.
    Segment(String, Compression),
    /// The index of a segment: its stem.
    Index(String),
    /// An extent file: its log, its number, its bytes before they were compressed, how it is
    /// stored.
    Extents(LogId, u64, u64, Compression),
    /// The manifest of a backup.
    Manifest(String),
    /// Another file of a backup.
    OfBackup(String),
    /// Something else.
    Other,
}

fn hex(text: &str, digits: usize) -> Option<u64> {
    let lower = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let sound = text.len() == digits && lower;
    sound.then(|| u64::from_str_radix(text, 16).ok())?
}

fn log_id(text: &str) -> Option<LogId> {
    let (front, back) = text.split_at_checked(16)?;
    let number = |half: &str| hex(half, 16).map(u64::to_be_bytes);
    <[u8; 16]>::try_from([number(front)?, number(back)?].concat()).ok()
}

fn stored<'a>(name: &'a str, kind: &str) -> Option<(&'a str, Compression)> {
    [Compression::None, Compression::Zstd].into_iter().find_map(|compression| {
        let stem = name.strip_suffix(compression.suffix())?.strip_suffix(kind)?;
        Some((stem, compression))
    })
}

fn is_stem(stem: &str) -> bool {
    let parts: Vec<&str> = stem.split('-').collect();
    match parts.as_slice() {
        ["log", number, incarnation, digest] => {
            hex(number, 16).is_some() && hex(incarnation, 8).is_some() && hex(digest, 8).is_some()
        }
        _ => false,
    }
}

/// Takes a name apart.
#[must_use]
pub fn name_of(name: &str) -> Name {
    if let Some(rest) = name.strip_prefix("backup-") {
        let id = rest
            .get(..32)
            .filter(|id| id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
        return match (id, rest.get(32..)) {
            (Some(_), Some(".manifest")) => Name::Manifest(name.to_owned()),
            (Some(id), Some(rest)) if rest.starts_with('-') => Name::OfBackup(id.to_owned()),
            _ => Name::Other,
        };
    }
    if let Some(stem) = name.strip_suffix(".index").filter(|stem| is_stem(stem)) {
        return Name::Index(stem.to_owned());
    }
    if let Some((stem, compression)) = stored(name, ".seg").filter(|(stem, _)| is_stem(stem)) {
        return Name::Segment(stem.to_owned(), compression);
    }
    let extents = stored(name, ".ext").and_then(|(stem, compression)| {
        let (log, rest) = stem.strip_prefix("extents-")?.split_once('-')?;
        let (number, len) = rest.split_once('-')?;
        let log = log_id(log)?;
        let (number, len) = (hex(number, 16)?, len.parse().ok()?);
        let sound = extent_name(&log, number, len, compression) == name;
        sound.then_some(Name::Extents(log, number, len, compression))
    });
    extents.unwrap_or(Name::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_as_they_were_put_together() {
        let stem = segment_stem(0x1f, 3, 0xabc);
        for compression in [Compression::None, Compression::Zstd] {
            let name = format!("{stem}.seg{}", compression.suffix());
            assert_eq!(name_of(&name), Name::Segment(stem.clone(), compression));
            let log = *b"0123456789abcdef";
            let name = extent_name(&log, 7, 4096, compression);
            assert_eq!(name_of(&name), Name::Extents(log, 7, 4096, compression));
        }
        assert_eq!(name_of(&format!("{stem}.index")), Name::Index(stem));
        let id = "0123456789abcdef0123456789abcdef";
        let manifest = format!("backup-{id}.manifest");
        assert_eq!(name_of(&manifest), Name::Manifest(manifest.clone()));
        let file = format!("backup-{id}-object-1");
        assert_eq!(name_of(&file), Name::OfBackup(id.to_owned()));
        for other in [
            "",
            "log-1.seg",
            "log-000000000000001F-00000003-00000abc.seg",
            "log-000000000000001f-00000003-00000abc.seg.gz",
            "log-000000000000001f-00000003-00000abc-1.index",
            "extents-0000000000000007-4096.ext",
            "extents-0123456789abcdef0123456789abcdef-0000000000000007-04096.ext",
            "extents-0123456789abcdef0123456789abcdef-0000000000000007-+4096.ext",
            "backup-0123.manifest",
            "backup-0123456789abcdef0123456789abcdefx",
            "manifest",
        ] {
            assert_eq!(name_of(other), Name::Other, "{other}");
        }
    }
}
