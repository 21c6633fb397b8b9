//! The journal: the one authority on what was decided, intended, done and approved for one application.
//!
//! Append-only and hash-chained: each record's hash covers its canonical JSON, which holds the hash before it.
//! State is a fold of it ([`super::run`]). A record may hold several events; the record is what commits.
//! Persisted: a change to any type here is a change of `SCHEMA_VERSION` and needs an ADR.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    access::Origin,
    branch::{Began, Imported, Reconciled},
    cloud::{Mutation, Outcome},
    deferred::{self, Work},
    id::{ApplicationName, Digest, OverrideId, Region, RunId, ScheduleName, SignalName, StepId, Subject},
    overrides::{Ending, Override},
    plan::{Plan, Purpose},
    rules::Finding,
    run::{LossReport, RunResult},
    sabotage::{Guard, is_off},
    schedule::Note,
    signal::SignalState,
    undo::Prior,
};

mod event;

/// The newest schema that this program reads and writes. A journal with a newer one is opened read-only. 2: overrides and
/// their notices, and decisions with their rules and signals. 3: what was there before an effect, undo, and people's retry
/// and skip of a step. 4: work that outlives its run, and databases that are detached or get instances. 5: a drill over its
/// budget. 6: from where a request of a person came. 7: where the application was seen to live, branches of the
/// journal, and what an `aws.call` replaces. 8: what became of schedules and of their occurrences.
pub const SCHEMA_VERSION: u32 = 8;

/// The largest record accepted, in bytes of JSON (below DynamoDB's item limit of 400 KB, FAULTS.md 15).
pub const RECORD_BYTES_MAX: usize = 350_000;

/// One commit of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub journal: ApplicationName,
    /// 0, 1, 2 … without gaps.
    pub seq: u64,
    /// Who may append; never decreases.
    pub epoch: u64,
    pub at: Timestamp,
    pub schema_version: u32,
    pub events: Vec<Event>,
    pub prev_hash: Digest,
}

/// A record with its bytes and its hash: what is stored and verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Sealed {
    pub record: Record,
    pub bytes: Vec<u8>,
    pub hash: Digest,
}

/// The end of a journal: what the next record must follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// The sequence number of the next record.
    pub next_seq: u64,
    pub hash: Digest,
    pub epoch: u64,
}

impl Tail {
    /// The tail of a journal with no record.
    pub fn empty() -> Self {
        Self { next_seq: 0, hash: Digest::zero(), epoch: 0 }
    }
}

/// What is wrong with a journal. Never repaired silently, never "start fresh" (FAULTS.md 14).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Corruption {
    #[error("record {seq}: its bytes do not have the hash that was stored with them")]
    Hash { seq: u64 },
    #[error("record {seq}: it does not follow the record before it")]
    Chain { seq: u64 },
    #[error("record {found} stands where {expected} should")]
    Gap { expected: u64, found: u64 },
    #[error("record {seq}: its epoch is lower than the one before it")]
    Epoch { seq: u64 },
    #[error("record {seq}: {reason}")]
    Unreadable { seq: u64, reason: String },
    #[error("record {seq}: schema {found} is newer than {SCHEMA_VERSION}, the newest that this program knows")]
    NewerSchema { seq: u64, found: u32 },
}

/// Seals the record that follows `tail`.
///
/// # Errors
/// When the record would be larger than [`RECORD_BYTES_MAX`]: refused before anything is written.
pub fn seal(
    journal: &ApplicationName,
    tail: &Tail,
    epoch: u64,
    at: Timestamp,
    events: Vec<Event>,
) -> Result<Sealed, RecordTooLarge> {
    let record = Record {
        journal: journal.clone(),
        seq: tail.next_seq,
        epoch,
        at,
        schema_version: SCHEMA_VERSION,
        events,
        prev_hash: tail.hash.clone(),
    };
    let bytes = serde_json::to_vec(&record).unwrap_or_else(|e| unreachable!("records serialise: {e}"));
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(RecordTooLarge { bytes: bytes.len() });
    }
    let hash = Digest::of(&bytes);
    Ok(Sealed { record, bytes, hash })
}

/// A record that is too large to be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a journal record of {bytes} bytes is over the limit of {RECORD_BYTES_MAX}")]
pub struct RecordTooLarge {
    pub bytes: usize,
}

/// Checks that stored bytes are the record that follows `tail`, and returns it with the tail after it.
pub fn verify(tail: &Tail, bytes: &[u8], hash: &Digest) -> Result<(Record, Tail), Corruption> {
    let seq = tail.next_seq;
    if Digest::of(bytes) != *hash && !is_off(Guard::RottenJournal) {
        return Err(Corruption::Hash { seq });
    }
    let record: Record = serde_json::from_slice(bytes).map_err(|error| unreadable(seq, bytes, &error))?;
    if record.seq != seq {
        return Err(Corruption::Gap { expected: seq, found: record.seq });
    }
    if record.schema_version > SCHEMA_VERSION {
        return Err(Corruption::NewerSchema { seq, found: record.schema_version });
    }
    if record.prev_hash != tail.hash && !is_off(Guard::RottenJournal) {
        return Err(Corruption::Chain { seq });
    }
    if record.epoch < tail.epoch {
        return Err(Corruption::Epoch { seq });
    }
    let after = Tail { next_seq: seq + 1, hash: hash.clone(), epoch: record.epoch };
    Ok((record, after))
}

/// What to say of a record that this program cannot read: it may be of a newer one, and then it is not damaged.
fn unreadable(seq: u64, bytes: &[u8], error: &serde_json::Error) -> Corruption {
    #[derive(Deserialize)]
    struct Header {
        seq: u64,
        schema_version: u32,
    }
    match serde_json::from_slice::<Header>(bytes) {
        Ok(header) if header.seq != seq => Corruption::Gap { expected: seq, found: header.seq },
        Ok(header) if header.schema_version > SCHEMA_VERSION => {
            Corruption::NewerSchema { seq, found: header.schema_version }
        }
        Ok(_) | Err(_) => Corruption::Unreadable { seq, reason: error.to_string() },
    }
}

/// Something that happened to an application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A process took over; the record's epoch is the new one.
    EpochStarted {
        holder: String,
    },
    /// The verdict on the application changed, or whether it would start alone; with what made it.
    DecisionChanged {
        verdict: String,
        health: String,
        reasons: Vec<String>,
        /// What each rule for acting alone found.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rules: Vec<Finding>,
        /// What each signal said.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        signals: BTreeMap<SignalName, SignalState>,
        /// In shadow mode: a failover would have been started now.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        would_start: bool,
        /// How many changes of the verdict before this one were not recorded, since they followed too fast upon
        /// another. None of them was from or to `recommend` or `start`.
        #[serde(default, skip_serializing_if = "is_none")]
        suppressed: u32,
    },
    /// Two readings agreed on where the application lives, and the journal did not say so.
    PrimarySeen {
        region: Region,
    },
    /// From here on this journal is a branch: one machine's, while the table is lost, and never merged.
    BranchBegan {
        branch: Box<Began>,
    },
    /// What was done in a branch of this journal. The application is held from here on.
    BranchImported {
        branch: Box<Imported>,
    },
    /// A person says where the application lives now, and two readings agree.
    BranchReconciled {
        word: Box<Reconciled>,
    },
    /// What became of a schedule, or of one of its occurrences that did not begin: a run says of itself what it is for.
    ScheduleNoted {
        schedule: ScheduleName,
        note: Note,
    },
    /// A person asked for an override: the record's time is when.
    OverrideAsked {
        asked: Box<Override>,
    },
    /// A second person consents.
    OverrideConsented {
        id: OverrideId,
        subject: Subject,
        reason: String,
    },
    /// An override is over before its time; `subject` where a person ended it.
    OverrideEnded {
        id: OverrideId,
        ending: Ending,
        subject: Option<Subject>,
        why: String,
    },
    /// An arming is over and no person ended it: these messages are about to be sent, each once.
    NoticeIntended {
        about: OverrideId,
        calls: Vec<Mutation>,
    },
    /// How sending the message `call`, counted from 0, ended. None is sent again, whatever became of it.
    NoticeAnswered {
        about: OverrideId,
        call: u32,
        outcome: Outcome,
    },
    RunStarted {
        run: RunId,
        request: Request,
        plan: Box<Plan>,
        evidence_since: Option<Timestamp>,
    },
    /// A step that only looks or waits began.
    StepStarted {
        run: RunId,
        step: StepId,
        attempt: u32,
    },
    /// An effect is about to be sent. Durable before it leaves. `call` counts the step's mutations from 0.
    Intent {
        run: RunId,
        step: StepId,
        attempt: u32,
        call: u32,
        mutation: Mutation,
        guards: Vec<String>,
        /// What was there before, as observed just before: what an undo restores.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prior: Option<Prior>,
    },
    /// How sending ended. Not yet done.
    Answered {
        run: RunId,
        step: StepId,
        attempt: u32,
        call: u32,
        outcome: Outcome,
    },
    /// The effect of one of a step's calls was observed, and it is kept for a time before the next.
    CallObserved {
        run: RunId,
        step: StepId,
        attempt: u32,
        call: u32,
        evidence: Vec<String>,
    },
    /// The postcondition was observed.
    StepDone {
        run: RunId,
        step: StepId,
        evidence: Vec<String>,
        outputs: BTreeMap<String, serde_json::Value>,
    },
    StepSkipped {
        run: RunId,
        step: StepId,
        reason: String,
    },
    /// This attempt failed for good; `code` has a page in docs/errors.
    StepFailed {
        run: RunId,
        step: StepId,
        attempt: u32,
        code: String,
        reason: String,
        /// It was observed that none of its calls has had an effect.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        nothing_happened: bool,
    },
    /// A call that takes a step back is about to be sent; durable before it leaves, like an intent.
    UndoIntended {
        run: RunId,
        step: StepId,
        attempt: u32,
        call: u32,
        mutation: Mutation,
        guards: Vec<String>,
    },
    UndoAnswered {
        run: RunId,
        step: StepId,
        attempt: u32,
        call: u32,
        outcome: Outcome,
    },
    /// What was there before the step was observed to be there again.
    StepUndone {
        run: RunId,
        step: StepId,
        evidence: Vec<String>,
    },
    UndoFailed {
        run: RunId,
        step: StepId,
        attempt: u32,
        code: String,
        reason: String,
    },
    /// A step leaves work open that outlives its run's success; in the record of its `StepDone`.
    WorkDeferred {
        run: RunId,
        step: StepId,
        work: Work,
    },
    /// A call of such work is about to be sent; durable before it leaves, like an intent.
    DeferredIntended {
        run: RunId,
        step: StepId,
        attempt: u32,
        mutation: Mutation,
    },
    DeferredAnswered {
        run: RunId,
        step: StepId,
        attempt: u32,
        outcome: Outcome,
    },
    /// It is done, or its time is over. That the next failover supersedes it stands in no event but the run's own.
    DeferredEnded {
        run: RunId,
        step: StepId,
        ending: deferred::Ending,
    },
    /// A person has a failed step (or its failed undo) tried again.
    StepRetried {
        run: RunId,
        step: StepId,
        subject: Subject,
        digest: Digest,
        reason: String,
    },
    /// A person passes over a failed step, or leaves the effect of one whose undo failed.
    StepPassed {
        run: RunId,
        step: StepId,
        subject: Subject,
        digest: Digest,
        reason: String,
    },
    ApprovalRecorded {
        run: RunId,
        step: StepId,
        subject: Subject,
        approved: bool,
        digest: Digest,
        reason: String,
    },
    /// The run waits for a person.
    RunHeld {
        run: RunId,
        step: Option<StepId>,
        code: String,
        reason: String,
        waits_for: String,
    },
    RunPaused {
        run: RunId,
        subject: Subject,
        reason: String,
    },
    RunResumed {
        run: RunId,
        subject: Subject,
        reason: String,
    },
    AbortRequested {
        run: RunId,
        subject: Subject,
        reason: String,
    },
    /// A drill has exceeded its budget at `step`: it leads home from here on (FAULTS.md 83).
    BudgetExceeded {
        run: RunId,
        step: StepId,
        reason: String,
    },
    RunFinished {
        run: RunId,
        result: RunResult,
        reason: String,
        loss: Option<LossReport>,
    },
    /// From where came what a person has asked for in this record; `run`: where it is about one.
    CalledFrom {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<RunId>,
        origin: Origin,
    },
}

fn is_none(count: &u32) -> bool {
    *count == 0
}

/// Who asked for a run, for what and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    pub purpose: Purpose,
    pub subject: Subject,
    pub reason: String,
    pub idempotency_key: Option<String>,
    /// The digest of the request's body: the same key with another body is refused (FAULTS.md 68).
    pub body_digest: Digest,
    pub supersedes: Option<RunId>,
    /// The arming by which it was started alone: its two people stand for the approvals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub armed: Option<OverrideId>,
}
