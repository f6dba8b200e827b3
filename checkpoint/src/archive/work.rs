//! One job of the archiver done: the driver of [`Shipping`], without threads and without a clock.

use super::inventory::Inventory;
use super::put::{Fault, Outgoing, Tried, put_extents};
use super::ship::{ArchiveOptions, Job, Local, Shipped, Shipping, Standing};
use crate::reader::{ReadOnly, Usage};
use crate::sink::Sink;
use siding_fork::pool::Pool;
use siding_wal::format::{extent_file_name, parse_extent_name, segment_file_name};
use siding_wal::read::Segments;
use siding_wal::{Error, ErrorKind, Lsn, Result};
use std::io;

/// Where what is shipped comes from.
pub(super) struct Origin<'a> {
    pub(super) segments: Segments,
    pub(super) pool: &'a Pool,
}

/// The segments as the archive sees them; those of which nothing was kept are left out.
pub(super) fn locals(segments: &Segments) -> Vec<Local> {
    let last = segments.last().map(|last| last.number);
    let local = |number: u64| {
        let segment = segments.get(number)?;
        let ended = match segments.get(number.checked_add(1)?) {
            Some(next) => {
                let end = segments.kept_end_of(number)?;
                Some(super::Joint { end, digest: next.header.kept_digest })
            }
            None if Some(number) == last => None,
            None => return None,
        };
        Some(Local {
            number,
            incarnation: segment.header.incarnation,
            kept: super::Joint { end: segment.header.kept_end, digest: segment.header.kept_digest },
            first: segment.first_batch(),
            last: ended,
        })
    };
    segments.iter().filter_map(|segment| local(segment.number)).collect()
}

/// The extent files of a pool with their bytes.
pub(super) fn extents(pool: &Pool) -> Result<Vec<(u64, u64)>> {
    if !pool.is_used() {
        return Ok(Vec::new());
    }
    let files = pool.list_files()?.into_iter();
    let mut found: Vec<(u64, u64)> =
        files.filter_map(|(name, len)| Some((parse_extent_name(&name)?, len))).collect();
    found.sort_unstable();
    Ok(found)
}

/// What became of a job.
pub(super) enum Done {
    /// What the sink has.
    Looked(Box<Inventory>),
    /// A segment is there.
    Segment(Box<super::SegmentIndex>),
    /// An extent file is there.
    Extents(u64, u64),
    /// There is nothing any more to be shipped.
    Gone,
}

impl Origin<'_> {
    /// Does a job.
    pub(super) fn work(&self, job: &Job, sink: &dyn Sink, options: &ArchiveOptions) -> Tried<Done> {
        match job {
            Job::Look => match Inventory::of(sink) {
                Ok(found) => Ok(Done::Looked(Box::new(found))),
                Err(error) => Err(Fault::Sink(error)),
            },
            Job::Segment { local, upto, tell } => {
                let Some(segment) = self.segments.get(local.number) else { return Ok(Done::Gone) };
                let outgoing = Outgoing {
                    file: &*segment.file,
                    name: &segment_file_name(local.number),
                    log_id: *self.segments.id(),
                    first: segment.header.first_lsn(),
                    upto: *upto,
                    sealed: local.last.is_some(),
                    known: local.last.map(|it| (local.number, local.incarnation, it.digest)),
                    tell,
                };
                let index = outgoing.put(sink, options.compression)?;
                Ok(Done::Segment(Box::new(index)))
            }
            Job::Extents(number, len) => {
                let name = extent_file_name(*number);
                let file = match self.pool.disk().open(&name) {
                    Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Done::Gone),
                    other => other.map_err(|cause| {
                        let what = "the file cannot be opened for the archive";
                        Fault::Source(Error::io(what, cause).file(&name))
                    })?,
                };
                let (id, how) = (self.segments.id(), options.compression);
                put_extents(sink, &*file, (*number, *len), id, how)?;
                Ok(Done::Extents(*number, *len))
            }
        }
    }
}

/// Takes note of what became of a job. `here`: whether what was to be shipped is still there.
pub(super) fn settle(
    shipping: &mut Shipping,
    job: &Job,
    standing: &Standing,
    (now_ms, here): (u64, bool),
    result: Tried<Done>,
) {
    match result {
        Ok(Done::Looked(found)) => {
            let segments = found.segments.into_iter().filter(|it| it.log_id == standing.log_id);
            let extents = found.extents.iter().filter(|it| it.log_id == standing.log_id);
            let extents: Vec<_> = extents.map(|it| (it.number, it.len)).collect();
            shipping.looked(segments.collect(), &extents);
        }
        Ok(Done::Segment(index)) => shipping.put(*index),
        Ok(Done::Extents(number, len)) => shipping.put_extents(number, len),
        Ok(Done::Gone) => shipping.gone(job),
        // A file that was trimmed and is used again reads as anything.
        Err(Fault::Source(_)) if !here => shipping.gone(job),
        Err(Fault::Source(error)) => shipping.unreadable(job, now_ms, error.to_string()),
        Err(Fault::Sink(error)) => shipping.failed(job, now_ms, error.to_string()),
    }
}

/// Archives a closed log: what the sink does not have of it, up to its end.
///
/// Costs a read of the sink's list and of its indexes, and of what is shipped.
///
/// # Errors
///
/// [`ErrorKind::InUse`] if somebody has the log open; what an open would refuse it for; the first
/// thing that cannot be read or put: what was shipped by then stays, and another try goes on there.
///
/// # Crash
///
/// What was shipped by then stays; a segment without its index does not count, and is put again.
pub fn archive_log(log: &ReadOnly, sink: &dyn Sink, options: ArchiveOptions) -> Result<Shipped> {
    if log.usage() != Usage::Closed {
        return Err(Error::new(ErrorKind::InUse, "somebody has the log open")
            .advise("let its owner archive it, or close it first"));
    }
    if let Some(trouble) = log.trouble() {
        return Err(trouble);
    }
    let origin = Origin { segments: log.survey().segments.clone(), pool: log.pool() };
    let standing = Standing {
        log_id: *origin.segments.id(),
        size: origin.segments.size(),
        segments: locals(&origin.segments),
        durable: log.positions().end,
        extents: extents(origin.pool)?,
    };
    let mut shipping = Shipping::new(options);
    shipping.want(&standing);
    while let Some(job) = shipping.next(0, &standing) {
        let result = origin.work(&job, sink, shipping.options());
        match result {
            Err(Fault::Source(error) | Fault::Sink(error)) => return Err(error),
            done => settle(&mut shipping, &job, &standing, (0, true), done),
        }
    }
    Ok(shipping.shipped(&standing))
}

/// Whether what a job is about is still there.
pub(super) fn is_here(job: &Job, segments: &Segments) -> bool {
    match job {
        Job::Segment { local, .. } => segments.get(local.number).is_some(),
        Job::Look | Job::Extents(..) => true,
    }
}

/// Where the log of this moment is held, as far as the archive goes: not further back than its
/// quota allows. The second: whether it let go of something.
pub(super) fn held(pin: Lsn, end: Lsn, quota: u64) -> (Lsn, bool) {
    let least = Lsn::new(end.get().saturating_sub(quota));
    (pin.max(least), pin < least)
}
