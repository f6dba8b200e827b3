//! What a sink holds: backups, segments, extents, and what is of no use in it.

use super::index::{Compression, SegmentIndex};
use super::names::{Name, extent_name, name_of};
use crate::backup::{Manifest, backup_digits};
use crate::sink::{Sink, read_whole};
use siding_wal::format::LogId;
use siding_wal::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// No index is longer than this, in bytes.
const MAX_INDEX: u64 = 64 << 20;

/// No manifest is longer than this, in bytes.
const MAX_MANIFEST: u64 = 256 << 20;

/// An extent file up to a length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedExtents {
    /// Which log it is of.
    pub log_id: LogId,
    /// The file's number.
    pub number: u64,
    /// Bytes of it, before they were compressed.
    pub len: u64,
    /// How it is stored.
    pub compression: Compression,
}

impl ArchivedExtents {
    /// Its name in the sink.
    #[must_use]
    pub fn name(&self) -> String {
        extent_name(&self.log_id, self.number, self.len, self.compression)
    }
}

/// What a sink holds.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Complete backups, oldest end first, each with its manifest's name.
    pub backups: Vec<(String, Manifest)>,
    /// Segments that count: those with an index, and with what it tells of; lowest number first.
    pub segments: Vec<SegmentIndex>,
    /// Extent files, lowest number first, a shorter one before a longer.
    pub extents: Vec<ArchivedExtents>,
    /// What cannot be read or is not there, by name, each with what is wrong.
    pub damaged: Vec<(String, String)>,
    /// Segments without an index, and files of backups without a manifest: shipping or a backup
    /// under way, or broken off.
    pub unfinished: Vec<String>,
    /// What is not ours.
    pub strangers: Vec<String>,
}

impl Inventory {
    /// Lists a sink, and reads its manifests and indexes. Nothing is written.
    ///
    /// What cannot be read is a part of the answer, but for the list itself.
    ///
    /// # Errors
    ///
    /// The sink cannot be listed.
    pub fn of(sink: &dyn Sink) -> Result<Self> {
        Self::of_known(sink, Vec::new())
    }

    /// The same, without reading again the indexes that are known already.
    ///
    /// # Errors
    ///
    /// As [`Inventory::of`].
    pub fn of_known(sink: &dyn Sink, known: Vec<SegmentIndex>) -> Result<Self> {
        let names = sink.list("").map_err(|cause| {
            Error::io("what is in the archive cannot be listed", cause).file(sink.place())
        })?;
        let mut known: BTreeMap<String, SegmentIndex> =
            known.into_iter().map(|index| (index.stem(), index)).collect();
        let mut found = Self::default();
        let mut stems: BTreeMap<String, Vec<Compression>> = BTreeMap::new();
        let (mut indexed, mut of_backups) = (BTreeSet::new(), Vec::new());
        for (name, _) in names {
            match name_of(&name) {
                Name::Segment(stem, compression) => {
                    stems.entry(stem).or_default().push(compression);
                }
                Name::Index(stem) => drop(indexed.insert(stem)),
                Name::Extents(log_id, number, len, compression) => {
                    found.extents.push(ArchivedExtents { log_id, number, len, compression });
                }
                Name::Manifest(name) => found.manifest(sink, name),
                Name::OfBackup(id) => of_backups.push((id, name)),
                Name::Other => found.strangers.push(name),
            }
        }
        for stem in indexed {
            let stored = stems.remove(&stem).unwrap_or_default();
            match known.remove(&stem).map_or_else(|| read_index(sink, &stem), Ok) {
                Ok(index) if stored.contains(&index.compression) => found.segments.push(index),
                Ok(index) => {
                    let what = "the segment is not there, its index is".to_owned();
                    found.damaged.push((index.segment_name(), what));
                }
                Err(error) => found.damaged.push((format!("{stem}.index"), error.to_string())),
            }
        }
        let names = |(stem, stored): (String, Vec<Compression>)| {
            stored.into_iter().map(move |it| format!("{stem}.seg{}", it.suffix()))
        };
        found.unfinished.extend(stems.into_iter().flat_map(names));
        found.orphans(of_backups);
        found.extents.sort_by_key(|it| (it.log_id, it.number, it.len));
        found.segments.sort_by_key(|it| (it.number, it.end(), it.highest()));
        found.backups.sort_by_key(|(name, it)| (it.end, name.clone()));
        Ok(found)
    }

    fn manifest(&mut self, sink: &dyn Sink, name: String) {
        match read_manifest(sink, &name) {
            Ok(manifest) => self.backups.push((name, manifest)),
            Err(error) => self.damaged.push((name, error.to_string())),
        }
    }

    /// Files of backups whose manifest is not there.
    fn orphans(&mut self, of_backups: Vec<(String, String)>) {
        let mut complete = BTreeSet::new();
        for name in self.backups.iter().map(|(name, _)| name).chain(self.damaged_names()) {
            complete.insert(name.get(7..39).unwrap_or_default().to_owned());
        }
        let orphans = of_backups.into_iter().filter(|(id, _)| !complete.contains(id));
        self.unfinished.extend(orphans.map(|(_, name)| name));
    }

    fn damaged_names(&self) -> impl Iterator<Item = &String> {
        self.damaged.iter().map(|(name, _)| name)
    }

    /// Segments that others hold whole, and extent files of which a longer part is there: nothing
    /// is lost with them. By their place in the lists.
    #[must_use]
    pub fn superfluous(&self) -> (Vec<usize>, Vec<usize>) {
        let mut segments = Vec::new();
        for (at, one) in self.segments.iter().enumerate() {
            let twin = |(of, other): (usize, &SegmentIndex)| {
                let longer = other.end() > one.end() || (other.last == one.last && of > at);
                // Another history may go on behind any batch that it tells of.
                let tells = one.joints.iter().all(|joint| other.holds(*joint));
                of != at && longer && other.covers(one) && tells && (other.sealed || !one.sealed)
            };
            // Those of the same number stand together.
            let from = self.segments.partition_point(|it| it.number < one.number);
            let upto = self.segments.partition_point(|it| it.number <= one.number);
            let near = self.segments.iter().enumerate().skip(from).take(upto.saturating_sub(from));
            if near.into_iter().any(twin) {
                segments.push(at);
            }
        }
        let longer = self.extents.iter().skip(1).chain(std::iter::once(&NO_EXTENTS));
        let pairs = self.extents.iter().zip(longer).enumerate();
        let extents =
            pairs.filter(|(_, (one, next))| (one.log_id, one.number) == (next.log_id, next.number));
        (segments, extents.map(|(at, _)| at).collect())
    }
}

const NO_EXTENTS: ArchivedExtents =
    ArchivedExtents { log_id: [0; 16], number: u64::MAX, len: 0, compression: Compression::None };

/// Reads the index of a segment.
///
/// # Errors
///
/// [`ErrorKind::Missing`] if it is not there; as [`SegmentIndex::decode`]; what the sink says.
pub fn read_index(sink: &dyn Sink, stem: &str) -> Result<SegmentIndex> {
    let name = format!("{stem}.index");
    let bytes = read(sink, &name, MAX_INDEX)?;
    let index = SegmentIndex::decode(&bytes).map_err(|error| error.file(&name))?;
    if index.stem() != stem {
        return Err(Error::new(ErrorKind::Corrupt, "the index is that of another segment")
            .file(name)
            .advise("ship the segment again, or use another copy of the archive"));
    }
    Ok(index)
}

pub(crate) fn read_manifest(sink: &dyn Sink, name: &str) -> Result<Manifest> {
    let bytes = read(sink, name, MAX_MANIFEST)?;
    let manifest = Manifest::decode(&bytes).map_err(|error| error.file(name))?;
    let id = backup_digits(manifest.id);
    if name.get(7..39) != Some(&id) {
        return Err(Error::new(ErrorKind::Corrupt, "the manifest is that of another backup")
            .file(name)
            .advise("use another backup, or another copy of this one"));
    }
    Ok(manifest)
}

fn read(sink: &dyn Sink, name: &str, most: u64) -> Result<Vec<u8>> {
    let bytes = sink.open(name).and_then(|stored| read_whole(&*stored, most));
    bytes.map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => {
            Error::new(ErrorKind::Missing, "a file of the archive is gone").file(name)
        }
        _ => Error::io("a file of the archive cannot be read", cause).file(name),
    })
}
