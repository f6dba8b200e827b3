//! What opening an image would come to.

use super::{Builder, Written};
use siding_wal::Error;
use siding_wal::disk::Disk;
use siding_wal::read::{Forward, Step, Verdict, survey};

/// Survey and scan together.
#[derive(Debug)]
pub enum Outcome {
    /// Refused before a batch was read.
    Survey(Error),
    /// The records up to the end, and the verdict there.
    Scan(Vec<Written>, Verdict),
}

impl Outcome {
    /// The letter of the row that decided; `?` for an error outside the table.
    pub fn letter(&self) -> char {
        match self {
            Self::Scan(_, verdict) => verdict.row.letter,
            Self::Survey(error) => {
                let text = error.to_string();
                let letter = text.split_once('[').and_then(|(_, rest)| rest.chars().next());
                letter.unwrap_or('?')
            }
        }
    }

    /// Why the log is refused, if it is.
    pub fn refusal(&self) -> Option<Error> {
        match self {
            Self::Survey(error) => Some(error.duplicate()),
            Self::Scan(_, verdict) => verdict.refusal(),
        }
    }
}

/// Every record from where the scan starts, and how it ended.
pub fn drain(mut scan: Forward) -> (Vec<Written>, Verdict) {
    let mut found = Vec::new();
    loop {
        match scan.next_batch().unwrap() {
            Step::Batch(batch) => {
                found.extend(scan.records().map(|(lsn, header, payload)| Written {
                    lsn,
                    kind: header.kind,
                    payload: payload.to_vec(),
                    batch: batch.lsn,
                }));
            }
            Step::End(verdict) => return (found, verdict),
            Step::Limit => unreachable!("nobody set a limit"),
        }
    }
}

/// Opens the directory for reading, as restart does.
pub fn open(disk: &dyn Disk) -> Outcome {
    match survey(disk) {
        Err(error) => Outcome::Survey(error),
        Ok(survey) if survey.segments.is_empty() => {
            Outcome::Survey(Error::new(siding_wal::ErrorKind::NotFound, "nothing here"))
        }
        Ok(survey) => {
            let (found, verdict) = drain(survey.scan().unwrap());
            Outcome::Scan(found, verdict)
        }
    }
}

impl Builder {
    /// What opening the log as it stands would come to.
    pub fn outcome(&self) -> Outcome {
        open(&self.disk())
    }

    /// All below this is protected: the control file, a segment header or a batch that begins
    /// below `end` says that it was durable.
    pub fn protected(&self, end: u64) -> u64 {
        let batches = self.batches.iter().filter(|batch| batch.lsn.get() + 48 <= end);
        let said = batches.map(|batch| batch.durable_before);
        said.chain([self.slot_durable, self.kept_end]).map(|lsn| lsn.get()).max().unwrap_or(0)
    }
}
