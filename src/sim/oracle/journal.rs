//! The journal as bytes: S2 (gap-free, append-only, epochs never fall), S16 (the chain verifies), S20 (no record is
//! larger than the store takes).
//!
//! It reads JSON and nothing of ours; what the events mean is in [`super::runs`]. A record that a fault has damaged on
//! the disk is nobody's violation; that a later process builds upon it is.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Findings, Known, Seen, Stored, text};
use crate::sim::world::SimTime;

/// The largest record, in bytes (FAULTS.md 15: below DynamoDB's item limit of 400 KB).
const RECORD_BYTES_MAX: usize = 350_000;

/// One record that makes sense as JSON.
#[derive(Debug)]
pub(super) struct Record {
    /// Its place in the journal, counted from 0.
    pub index: usize,
    pub epoch: u64,
    /// When it became durable, in the world's time.
    pub at: SimTime,
    /// How far the daemon's clock was ahead of the world, in milliseconds; negative where it was behind.
    pub clock_ahead_ms: i64,
    pub events: Vec<Value>,
}

/// How a record looked when it was seen first.
#[derive(Debug)]
struct Fingerprint {
    bytes: [u8; 32],
    hash: String,
    epoch: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Journal {
    seen: Vec<Fingerprint>,
    /// How many records there were when the damage was noticed.
    damaged_at: Option<usize>,
    has_shrunk: bool,
}

impl Journal {
    pub(super) fn is_news(&self, seen: &Seen<'_>) -> bool {
        self.seen.len() != seen.journal.len() || (self.damaged_at.is_none() && !seen.damaged.is_empty())
    }

    /// The epoch of the record at `index`.
    pub(super) fn epoch_at(&self, index: usize) -> Option<u64> {
        self.seen.get(index).map(|f| f.epoch)
    }

    /// Takes in what is new, and checks that the end of what was there stayed as it was.
    pub(super) fn look(&mut self, seen: &Seen<'_>, findings: &mut Findings, known: &Known) -> Vec<Record> {
        if self.damaged_at.is_none() && !seen.damaged.is_empty() {
            self.damaged_at = Some(self.seen.len());
        }
        let now = seen.world.now;
        if seen.journal.len() < self.seen.len() && !self.has_shrunk {
            self.has_shrunk = true;
            let (was, is) = (self.seen.len(), seen.journal.len());
            let text = format!("the journal had {was} records and has {is} now: what was decided must not vanish");
            findings.violated("S2", now, text);
        }
        let mut news = Vec::new();
        for index in self.seen.len()..seen.journal.len() {
            self.check_last(seen, findings);
            let record = self.take(index, &seen.journal[index], findings, known);
            if record.as_ref().is_some_and(starts_an_epoch) {
                self.check_all(seen, findings, index);
                self.check_not_upon_damage(index, now, findings);
            }
            news.extend(record);
        }
        news
    }

    /// Every record once more, byte by byte.
    pub(super) fn finish(&self, seen: &Seen<'_>, findings: &mut Findings) {
        self.check_all(seen, findings, self.seen.len());
        if self.damaged_at.is_some() {
            findings.checked("S16");
        }
    }

    fn take(&mut self, index: usize, stored: &Stored, findings: &mut Findings, known: &Known) -> Option<Record> {
        let at = stored.at;
        let bytes: [u8; 32] = Sha256::digest(&stored.bytes).into();
        findings.checked("S20");
        if RECORD_BYTES_MAX < stored.bytes.len() {
            let text = format!("record {index} has {} bytes, more than a store takes", stored.bytes.len());
            findings.violated("S20", at, text);
        }
        let value: Result<Value, _> = serde_json::from_slice(&stored.bytes);
        let before = self.seen.last().map_or(0, |f| f.epoch);
        let epoch = value.as_ref().ok().and_then(|v| v["epoch"].as_u64());
        match &value {
            Ok(value) => {
                self.check_place(index, at, value, known, findings);
                self.check_epoch(index, at, before, value, findings);
                self.check_chain(index, stored, &bytes, value, findings);
            }
            Err(error) => {
                findings.checked("S16");
                findings.violated("S16", at, format!("record {index} cannot be read ({error}): a journal is JSON"));
            }
        }
        self.seen.push(Fingerprint { bytes, hash: stored.hash.clone(), epoch: epoch.unwrap_or(before) });
        let Value::Object(mut value) = value.ok()? else { return None };
        let clock: Option<jiff::Timestamp> = value.get("at").and_then(Value::as_str).and_then(|at| at.parse().ok());
        let world = i64::try_from(at.0).unwrap_or(i64::MAX);
        let Some(Value::Array(events)) = value.remove("events") else { return None };
        Some(Record {
            index,
            epoch: epoch.unwrap_or(before),
            at,
            clock_ahead_ms: clock.map_or(0, |clock| clock.as_millisecond().saturating_sub(world)),
            events,
        })
    }

    fn check_place(&self, index: usize, at: SimTime, value: &Value, known: &Known, findings: &mut Findings) {
        findings.checked("S2");
        if value["seq"].as_u64() != Some(index as u64) {
            let text = format!("record {} stands where {index} should: a gap hides what was decided", value["seq"]);
            findings.violated("S2", at, text);
        }
        if text(value, "journal") != known.application {
            let text = format!("record {index} is of {}, in the journal of {}", value["journal"], known.application);
            findings.violated("S2", at, text);
        }
    }

    fn check_epoch(&self, index: usize, at: SimTime, before: u64, value: &Value, findings: &mut Findings) {
        let epoch = value["epoch"].as_u64().unwrap_or_default();
        if epoch < before {
            let text = format!(
                "record {index} is of epoch {epoch}, after one of {before}: whoever was deposed must not append"
            );
            findings.violated("S2", at, text);
        }
        let events = value["events"].as_array().map_or(&[][..], Vec::as_slice);
        if events.iter().any(|e| text(e, "event") == "epoch_started") && epoch <= before && index > 0 {
            let text = format!("record {index} starts epoch {epoch} again: two processes would believe that they lead");
            findings.violated("S2", at, text);
        }
    }

    fn check_chain(&self, index: usize, stored: &Stored, bytes: &[u8; 32], value: &Value, findings: &mut Findings) {
        findings.checked("S16");
        let first = || "0".repeat(64);
        let before = self.seen.last().map_or_else(first, |f| f.hash.clone());
        if hex::encode(bytes) != stored.hash {
            let text = format!("record {index} does not have the hash that is stored with it");
            findings.violated("S16", stored.at, text);
        }
        if text(value, "prev_hash") != before {
            let text = format!("record {index} does not name the hash of the record before it: the chain is broken");
            findings.violated("S16", stored.at, text);
        }
    }

    /// The cheap look back: the record that was the last one.
    fn check_last(&self, seen: &Seen<'_>, findings: &mut Findings) {
        if let Some(index) = self.seen.len().checked_sub(1) {
            self.check_same(index, seen, findings);
        }
    }

    fn check_all(&self, seen: &Seen<'_>, findings: &mut Findings, until: usize) {
        for index in 0..until.min(self.seen.len()).min(seen.journal.len()) {
            self.check_same(index, seen, findings);
        }
    }

    fn check_same(&self, index: usize, seen: &Seen<'_>, findings: &mut Findings) {
        let (Some(now), Some(then)) = (seen.journal.get(index), self.seen.get(index)) else { return };
        let digest: [u8; 32] = Sha256::digest(&now.bytes).into();
        if seen.damaged.contains(&(index as u64)) || (digest == then.bytes && now.hash == then.hash) {
            return;
        }
        let text = format!("record {index} is not what it was when it was written: the past must not change");
        findings.violated("S2", seen.world.now, text);
    }

    /// FAULTS.md 14: a journal that does not verify holds the application; nobody starts upon it.
    fn check_not_upon_damage(&self, index: usize, now: SimTime, findings: &mut Findings) {
        if let Some(damaged) = self.damaged_at.filter(|damaged| *damaged <= index) {
            let text = format!(
                "a process took over (record {index}) although the journal's first {damaged} records do not verify: \
                 what it does now rests on a damaged past"
            );
            findings.violated("S16", now, text);
        }
    }
}

fn starts_an_epoch(record: &Record) -> bool {
    record.events.iter().any(|event| text(event, "event") == "epoch_started")
}
