//! Records, borrowed and owned.

use siding_wal::Lsn;
use siding_wal::format::{Compensation, Kind, RecordHeader};

/// A record, borrowed from the reader's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    lsn: Lsn,
    header: RecordHeader,
    bytes: &'a [u8],
    commit: Option<Lsn>,
}

impl<'a> Record<'a> {
    pub(crate) fn new(lsn: Lsn, header: RecordHeader, bytes: &'a [u8]) -> Self {
        Self { lsn, header, bytes, commit: None }
    }

    pub(crate) fn committed(self, commit: Lsn) -> Self {
        Self { commit: Some(commit), ..self }
    }

    /// Where it stands: its identity for ever.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.header.kind
    }

    /// Bits of [`flags`](siding_wal::format::flags).
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.header.flags
    }

    /// Its unit of work; 0 for records of the log itself.
    #[must_use]
    pub fn unit(&self) -> u64 {
        self.header.unit
    }

    /// The number the embedder gave to what it changes.
    #[must_use]
    pub fn resource(&self) -> u16 {
        self.header.resource
    }

    /// The unit's previous record, or zero.
    #[must_use]
    pub fn prev(&self) -> Lsn {
        self.header.prev
    }

    /// The embedder's bytes: those given to `append`, or the body of a compensation record. For
    /// other kinds what the log itself wrote.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        match self.header.kind {
            Kind::Compensation => {
                Compensation::decode(self.bytes).map_or(&[], |undone| undone.body)
            }
            _ => self.bytes,
        }
    }

    /// A compensation record: what is left to undo begins there.
    #[must_use]
    pub fn undo_next(&self) -> Option<Lsn> {
        match self.header.kind {
            Kind::Compensation => Compensation::decode(self.bytes).ok().map(|it| it.undo_next),
            _ => None,
        }
    }

    /// The bytes as they stand in the log.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        self.bytes
    }

    /// For records of [`Recovery::committed`](crate::Recovery::committed): the position just
    /// behind the COMMIT of its unit.
    #[must_use]
    pub fn commit(&self) -> Option<Lsn> {
        self.commit
    }

    /// A copy that lives on its own.
    #[must_use]
    pub fn to_owned(&self) -> OwnedRecord {
        OwnedRecord {
            lsn: self.lsn,
            header: self.header,
            bytes: self.bytes.to_vec(),
            commit: self.commit,
        }
    }
}

/// A record with its own bytes.
#[derive(Clone, Debug)]
pub struct OwnedRecord {
    lsn: Lsn,
    header: RecordHeader,
    bytes: Vec<u8>,
    commit: Option<Lsn>,
}

impl OwnedRecord {
    /// The record, to be looked at.
    #[must_use]
    pub fn as_record(&self) -> Record<'_> {
        Record { lsn: self.lsn, header: self.header, bytes: &self.bytes, commit: self.commit }
    }

    /// Where it stands.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.header.kind
    }

    /// Its unit of work; 0 for records of the log itself.
    #[must_use]
    pub fn unit(&self) -> u64 {
        self.header.unit
    }

    /// The number the embedder gave to what it changes.
    #[must_use]
    pub fn resource(&self) -> u16 {
        self.header.resource
    }

    /// The embedder's bytes; see [`Record::payload`].
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.as_record().payload()
    }

    /// The position just behind its unit's COMMIT; see [`Record::commit`].
    #[must_use]
    pub fn commit(&self) -> Option<Lsn> {
        self.commit
    }
}
