//! What an auditor is given of a run: one file of lines that a machine reads, made of the journal's own records.
//!
//! The first line says what is promised and whence it comes; then stands each record of the journal from before the run
//! began to its end, byte for byte, with its hash; then a summary, which is a function of those records; the last line
//! seals all before it, and may be signed.
//!
//! Invariant: the same journal, configuration and program give the same bytes, whenever they are asked for: nothing is kept that
//! could be lost, and nothing of the present is in it. Whoever verifies needs no daemon and no network ([`verify`]).
//! What it does not prove: that the journal holds all that happened in AWS (CloudTrail does), and, where nobody signed it,
//! that failoverd wrote it: a chain without a key can be made anew by anybody.

use serde::{Deserialize, Serialize};

use super::{
    application::Objectives,
    id::{ApplicationName, Digest, RunId},
    journal::{Event, Record, Sealed},
};

mod summary;
mod verify;

pub use summary::{Call, Deed, Lag, Stage, Summary, Verdict};
pub use verify::{Fault, Proven, Signature, verify};

/// The form of the file. Rises when a reader of the old one would misread it.
pub const VERSION: u32 = 1;

/// The longest file that is read back: a run of weeks, with every change of the verdict in it, has a few megabytes.
pub const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`VERSION`].
    pub evidence: u32,
    pub application: ApplicationName,
    pub run: RunId,
    /// `failoverd 0.1.0`: what wrote the file.
    pub program: String,
    /// What the business was promised, by the configuration of `config_digest`.
    pub objectives: Objectives,
    pub config_digest: Digest,
    /// The first record's number, and how many follow each other.
    pub first_record: u64,
    pub records: u64,
}

/// Between a record's hash and its bytes, which stand in its line as they are stored.
const RECORD: &str = "\",\"record\":";

/// What a record's line begins with.
const HASH: &str = "{\"hash\":\"";

fn record_line(hash: &Digest, record: &str) -> String {
    format!("{HASH}{hash}{RECORD}{record}}}\n")
}

/// The hash and the bytes of a record's line.
fn record_of(line: &str) -> Option<(Digest, &str)> {
    let (hash, record) = line.strip_prefix(HASH)?.split_once(RECORD)?;
    Some((hash.parse().ok()?, record.strip_suffix('}')?))
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SummaryLine {
    summary: Summary,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealLine {
    seal: Seal,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seal {
    /// Of every byte before this line.
    sha256: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed: Option<Signature>,
}

/// Evidence of one run, not sealed yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    pub header: Header,
    pub summary: Summary,
    /// All lines but the last.
    body: String,
}

/// Why there is no evidence of a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoEvidence {
    #[error("the journal has no record that begins {0}")]
    Unknown(RunId),
    #[error("the journal's records of {run} cannot be read as a run: {why}")]
    Unreadable { run: RunId, why: String },
}

impl Evidence {
    /// Of `run`, from the whole of its application's journal, verified.
    ///
    /// # Errors
    /// Where the journal does not hold the run.
    pub fn of(
        journal: &[Sealed],
        run: &RunId,
        objectives: Objectives,
        config_digest: Digest,
        program: &str,
    ) -> Result<Self, NoEvidence> {
        let records = slice(journal, run).ok_or_else(|| NoEvidence::Unknown(run.clone()))?;
        let bare = records.iter().map(|sealed| &sealed.record);
        let summary = Summary::of(bare, run, &objectives);
        let summary = summary.map_err(|why| NoEvidence::Unreadable { run: run.clone(), why })?;
        let header = Header {
            evidence: VERSION,
            application: run.application(),
            run: run.clone(),
            program: program.to_owned(),
            objectives,
            config_digest,
            first_record: records.first().map_or(0, |sealed| sealed.record.seq),
            records: records.len() as u64,
        };
        let mut body = line(&header);
        for sealed in records {
            let text = std::str::from_utf8(&sealed.bytes).unwrap_or_else(|e| unreachable!("a record is JSON: {e}"));
            body.push_str(&record_line(&sealed.hash, text));
        }
        body.push_str(&line(&SummaryLine { summary: summary.clone() }));
        Ok(Self { header, summary, body })
    }

    /// A file that was written before, and who signed it. Checked as [`verify`] does.
    ///
    /// # Errors
    /// Every fault that it has.
    pub fn read(
        text: &str,
        holds: impl FnOnce(&Signature, &str) -> bool,
    ) -> Result<(Self, Option<Signature>), Vec<Fault>> {
        let mut signed = None;
        let proven = verify(text, |signature, statement| {
            signed = Some(signature.clone());
            holds(signature, statement)
        })?;
        let last = text.trim_end().rfind('\n').map_or(0, |at| at + 1);
        Ok((Self { header: proven.header, summary: proven.summary, body: text[..last].to_owned() }, signed))
    }

    /// The records in it, in order; the first may be of before the run.
    pub fn records(&self) -> Vec<Record> {
        let texts = self.body.lines().filter_map(record_of);
        texts.filter_map(|(_, text)| serde_json::from_str(text).ok()).collect()
    }

    /// Of all lines but the last: what is signed, and what `failoverd evidence verify` shows.
    pub fn sha256(&self) -> Digest {
        Digest::of(self.body.as_bytes())
    }

    /// What a signature is made over: it names what it is, so that a signature of anything else cannot stand for it.
    pub fn statement(&self) -> String {
        statement(&self.sha256())
    }

    /// The whole file, signed or not.
    pub fn sealed(&self, signed: Option<Signature>) -> String {
        let sha256 = self.sha256();
        format!("{}{}", self.body, line(&SealLine { seal: Seal { sha256, signed } }))
    }
}

fn statement(sha256: &Digest) -> String {
    format!("failoverd evidence {VERSION} sha256 {sha256}")
}

fn line<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_string(value).unwrap_or_else(|e| unreachable!("evidence serialises: {e}"));
    text + "\n"
}

/// The records from the first evidence of the trouble (or the run's beginning) to the run's end, or as far as it has come.
fn slice<'a>(journal: &'a [Sealed], run: &RunId) -> Option<&'a [Sealed]> {
    let has = |sealed: &Sealed, wanted: fn(&Event) -> bool| {
        sealed.record.events.iter().any(|e| e.run() == Some(run) && wanted(e))
    };
    let began = journal.iter().position(|s| has(s, |e| matches!(e, Event::RunStarted { .. })))?;
    let since = journal[began].record.events.iter().find_map(|e| match e {
        Event::RunStarted { evidence_since, .. } => *evidence_since,
        _ => None,
    });
    // Back to where the evidence began, and no further than the run before.
    let is_before = |sealed: &&Sealed| since.is_some_and(|since| since <= sealed.record.at);
    let quiet = |sealed: &&Sealed| sealed.record.events.iter().all(|e| e.run().is_none());
    let ahead = journal[..began].iter().rev().take_while(is_before).take_while(quiet).count();
    let rest = &journal[began..];
    let ended = rest.iter().position(|s| has(s, |e| matches!(e, Event::RunFinished { .. })));
    let end = ended.map_or(journal.len(), |at| began + at + 1);
    Some(&journal[began - ahead..end])
}

#[cfg(test)]
pub(crate) mod tests;
