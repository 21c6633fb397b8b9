//! Whether a file is the evidence that it says it is: byte for byte, line for line, and every fault that it has.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Header, Seal, SealLine, Summary, SummaryLine, VERSION, line, record_of, statement};
use crate::domain::{
    id::Digest,
    journal::{self, Record, Tail},
};

/// Who signed the file's digest, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// `ed25519:` and 64 hexadecimal digits.
    pub key: String,
    /// 128 hexadecimal digits.
    pub signature: String,
}

/// A file without a fault.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Proven {
    pub header: Header,
    pub summary: Summary,
    /// The hash of the last record: a journal that holds the run holds it.
    pub last_hash: Digest,
    pub sha256: Digest,
    /// The key whose signature holds; `None`: nobody signed it.
    pub signed_by: Option<String>,
}

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Counted from 1.
    pub line: usize,
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

struct Reader<'a> {
    lines: Vec<&'a str>,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    fn fault(&mut self, at: usize, problem: impl fmt::Display) {
        self.faults.push(Fault { line: at + 1, problem: problem.to_string() });
    }

    /// The line, if it is what this program would have written, to the byte.
    fn exactly<T: Serialize + Deserialize<'a>>(&mut self, at: usize, what: &str) -> Option<T> {
        let text = *self.lines.get(at)?;
        match serde_json::from_str::<T>(text) {
            Ok(value) if line(&value).trim_end() == text => Some(value),
            Ok(_) => {
                self.fault(at, format!("{what} is not written as failoverd writes it"));
                None
            }
            Err(error) => {
                self.fault(at, format!("expected {what}: {error}"));
                None
            }
        }
    }
}

/// Checks `text`. `holds` says whether a key's signature of a statement holds; it is asked once, with the statement, for a
/// file that is signed.
///
/// # Errors
/// Every fault that was found.
pub fn verify(text: &str, holds: impl FnOnce(&Signature, &str) -> bool) -> Result<Proven, Vec<Fault>> {
    let mut reader = Reader { lines: text.split('\n').collect(), faults: Vec::new() };
    // What ends with a line break has an empty line after it.
    if reader.lines.pop() != Some("") || reader.lines.is_empty() {
        return Err(vec![Fault { line: 1, problem: "the file is cut off: its last line has no end".to_owned() }]);
    }
    let last = reader.lines.len() - 1;
    let header: Option<Header> = reader.exactly(0, "the header");
    if let Some(header) = header.as_ref().filter(|header| header.evidence != VERSION) {
        let problem = format!("evidence of form {}; this program reads {VERSION}", header.evidence);
        return Err(vec![Fault { line: 1, problem }]);
    }
    let (records, last_hash) = records(&mut reader, header.as_ref(), last);
    let told: Option<SummaryLine> = if last > 1 { reader.exactly(last - 1, "the summary") } else { None };
    let seal: Option<SealLine> = reader.exactly(last, "the seal");
    let body = &text[..text.len() - reader.lines[last].len() - 1];
    let sha256 = Digest::of(body.as_bytes());
    // Of a file that was changed it is not asked what its records amount to.
    let is_whole = seal.as_ref().is_some_and(|line| line.seal.sha256 == sha256);
    if let (Some(header), Some(told), true) = (&header, &told, is_whole) {
        match Summary::of(records.iter(), &header.run, &header.objectives) {
            Ok(summary) if summary == told.summary => {}
            Ok(_) => reader.fault(last - 1, "the summary is not what the records amount to"),
            Err(why) => reader.fault(last - 1, format!("the records are no run: {why}")),
        }
    }
    if let Some(SealLine { seal }) = &seal {
        check_seal(&mut reader, last, seal, &sha256, holds);
    }
    match (header, told, seal) {
        (Some(header), Some(told), Some(SealLine { seal })) if reader.faults.is_empty() => {
            let signed_by = seal.signed.map(|signed| signed.key);
            Ok(Proven { header, summary: told.summary, last_hash, sha256, signed_by })
        }
        _ => {
            if reader.faults.is_empty() {
                reader.fault(last, "the file ends too early");
            }
            Err(reader.faults)
        }
    }
}

fn check_seal(
    reader: &mut Reader<'_>,
    at: usize,
    seal: &Seal,
    sha256: &Digest,
    holds: impl FnOnce(&Signature, &str) -> bool,
) {
    if seal.sha256 != *sha256 {
        reader.fault(at, format!("the lines before have the digest {sha256}, not the one that is sealed"));
    }
    if let Some(signed) = &seal.signed
        && !holds(signed, &statement(&seal.sha256))
    {
        reader.fault(at, "the signature does not hold for this file and that key");
    }
}

/// The records, each checked against the one before it; the first one's own predecessor is not in the file.
fn records(reader: &mut Reader<'_>, header: Option<&Header>, last: usize) -> (Vec<Record>, Digest) {
    let mut tail: Option<Tail> = None;
    let mut records = Vec::new();
    let lines = 1..last.saturating_sub(1);
    if let Some(header) = header
        && header.records != lines.len() as u64
    {
        reader.fault(0, format!("{} records are announced, {} are there", header.records, lines.len()));
    }
    for at in lines {
        let Some((hash, record)) = record_of(reader.lines[at]) else {
            reader.fault(at, "expected a record with its hash");
            continue;
        };
        let bytes = record.as_bytes();
        let before = match (&tail, serde_json::from_slice::<Record>(bytes)) {
            (Some(tail), _) => tail.clone(),
            (None, Ok(first)) => {
                if header.is_some_and(|header| header.first_record != first.seq) {
                    reader.fault(at, format!("record {} is not the one that is announced", first.seq));
                }
                Tail { next_seq: first.seq, hash: first.prev_hash, epoch: first.epoch }
            }
            (None, Err(error)) => {
                reader.fault(at, format!("expected a record: {error}"));
                continue;
            }
        };
        match journal::verify(&before, bytes, &hash) {
            Ok((record, after)) => {
                if header.is_some_and(|header| header.application != record.journal) {
                    reader.fault(at, format!("record {} is of {}", record.seq, record.journal));
                }
                tail = Some(after);
                records.push(record);
            }
            Err(corruption) => {
                reader.fault(at, &corruption);
                // Go on from where it says that it is, so that what follows is judged by itself.
                tail = serde_json::from_slice::<Record>(bytes).ok().map(|record| Tail {
                    next_seq: record.seq + 1,
                    hash: hash.clone(),
                    epoch: record.epoch,
                });
            }
        }
    }
    let hash = tail.map_or_else(Digest::zero, |tail| tail.hash);
    (records, hash)
}
