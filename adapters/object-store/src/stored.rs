//! Something that a store holds, read in ranges.

use crate::error::told;
use crate::runtime::Running;
use crate::sink::Shared;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};
use siding::sink::Stored;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::Arc;

pub(crate) struct Reading {
    pub(crate) shared: Arc<Shared>,
    pub(crate) name: String,
    pub(crate) path: Path,
    /// As they were when it was opened.
    pub(crate) len: u64,
    pub(crate) tag: Option<String>,
}

/// The bytes that came, and the tag of what they are of.
type Came = object_store::Result<(Vec<u8>, Option<String>)>;

impl Reading {
    fn start(&self, range: Range<u64>) -> io::Result<Running<Came>> {
        let (shared, path) = (Arc::clone(&self.shared), self.path.clone());
        let range = Some(GetRange::Bounded(range));
        let options = GetOptions { range, if_match: self.tag.clone(), ..GetOptions::default() };
        self.shared.runtime.start(get(shared, path, options))
    }

    /// What came for a piece, if it is all of it and of what was opened.
    fn checked(&self, came: Came, due: usize) -> io::Result<Vec<u8>> {
        let what = format!("read `{}`", self.name);
        let (bytes, tag) = came.map_err(|cause| told(&what, &self.shared.place, &cause))?;
        let wrong = |kind, now: &str| {
            io::Error::new(kind, format!("cannot {what} in {}: {now}", self.shared.place))
        };
        // Not every store looks at the tag that is asked for.
        if tag.is_some() && self.tag.is_some() && tag != self.tag {
            let now = "it was replaced since it was opened; open it again";
            return Err(wrong(ErrorKind::StaleNetworkFileHandle, now));
        }
        if bytes.len() != due {
            let now = format!("{} bytes came and {due} were due; try again", bytes.len());
            return Err(wrong(ErrorKind::UnexpectedEof, &now));
        }
        Ok(bytes)
    }
}

async fn get(shared: Arc<Shared>, path: Path, options: GetOptions) -> Came {
    let got = shared.store.get_opts(&path, options).await?;
    let tag = got.meta.e_tag.clone();
    Ok((got.bytes().await?.into(), tag))
}

impl Stored for Reading {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.len.saturating_sub(offset);
        let due = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        let mut at = offset;
        let mut running = VecDeque::new();
        let (whole, _) = buf.split_at_mut(due);
        // Ahead by a few pieces, and taken in order.
        let fill = |(piece, running): (&mut [u8], Running<Came>)| {
            piece.copy_from_slice(&self.checked(running.wait()?, piece.len())?);
            io::Result::Ok(())
        };
        for piece in whole.chunks_mut(self.shared.transfer.part) {
            let end = at.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            running.push_back((piece, self.start(at..end)?));
            at = end;
            if running.len() >= self.shared.transfer.at_once
                && let Some(first) = running.pop_front()
            {
                fill(first)?;
            }
        }
        running.into_iter().try_for_each(fill)?;
        Ok(due)
    }
}
