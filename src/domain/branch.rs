//! A branch: what one machine did by itself while the table of the journals was lost (docs/offline.md, ADR 22), and how the
//! journal learns of it.
//!
//! A branch is the journal going on elsewhere: a copy of it up to the last record that the machine had, then records of
//! its own, the first of which says who began it, on whose word, and what they declared. It is never merged: the journal
//! gets one event that names it by its digest, and from then on the application is held until a person has said which
//! Region is the truth.
//!
//! Invariants: a branch is imported once, into the journal that it grew from, and reconciled once; what a journal says of
//! where the application lives is unknown where nobody has seen it since something may have moved it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    action::EffectClass,
    application::Application,
    detached::Detached,
    drill,
    history::{History, IllegalEvent, Standing},
    id::{ApplicationName, BranchId, Digest, Region, RunId, StoreName, Subject, TrafficName},
    journal::{Event, Tail},
    plan::Purpose,
    recovery,
    run::{Phase, RunResult, RunState},
    salvage, seconds,
};

/// The code of an application that is held because of a branch that nobody has reconciled.
pub const UNRECONCILED: &str = "branch-unreconciled";

/// The code of what is held because somebody may have moved it offline.
pub const SUSPECTED: &str = "branch-suspected";

/// The runs of a branch that its import tells; a branch is one emergency.
pub const RUNS_TOLD_MAX: usize = 16;

/// For how long after a journal's newest record nothing can have been done offline: the command waits for the lease, and
/// then until AWS would refuse what a replica has signed (330 s). Less than that, for wall clocks that differ.
pub const NOTHING_BEFORE: Duration = Duration::from_secs(300);

/// The record of a journal after which a branch goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// How many records of the journal the branch has; 0: no copy of it was at hand.
    pub records: u64,
    /// Of the last of them.
    pub hash: Digest,
    pub epoch: u64,
    /// When the copy was last known to be whole, by the wall clock of the machine that kept it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Timestamp>,
}

impl Parent {
    /// That of a branch which goes on after `tail`.
    pub fn at(tail: &Tail, read_at: Option<Timestamp>) -> Self {
        Self { records: tail.next_seq, hash: tail.hash.clone(), epoch: tail.epoch, read_at }
    }
}

/// How a branch began: what a named person declared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Began {
    pub id: BranchId,
    pub parent: Parent,
    pub by: Subject,
    pub table_lost: String,
    pub replicas_stopped: String,
    /// Why it was begun on an old copy, or on none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_copy: Option<String>,
    #[serde(with = "seconds", rename = "waited_seconds")]
    pub waited: Duration,
    pub config_digest: Digest,
}

/// A run of a branch, as the journal tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    pub run: RunId,
    pub purpose: Purpose,
    pub source: Region,
    pub target: Region,
    /// `None`: it was not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<RunResult>,
    pub reason: String,
    /// It may have left writes in its source that its target never had.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_writes: bool,
}

/// A branch as the journal has it: its digest, and what it amounts to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Imported {
    pub began: Began,
    /// Records of the branch itself, after its parent.
    pub records: u64,
    /// The hash of its last record, which covers all of them.
    pub digest: Digest,
    /// Who imported it, and from which file.
    pub by: Subject,
    pub file: String,
    /// Records that the journal had after the parent, of which the branch knew nothing.
    pub came_after: u64,
    pub runs: Vec<Moved>,
    /// Where the branch says that the application lives; `None`: it does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<Region>,
    /// What is renewed for as long as the application lives there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub standing: BTreeMap<TrafficName, Standing>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub detached: BTreeMap<StoreName, Detached>,
}

impl Imported {
    /// The runs that may have left writes which their target never had.
    pub fn left_writes(&self) -> impl Iterator<Item = &Moved> {
        self.runs.iter().filter(|run| run.left_writes)
    }
}

/// A person's word on where the application lives, after something that no journal of its own tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reconciled {
    /// `None`: there was no branch; it was moved by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<BranchId>,
    pub primary: Region,
    pub by: Subject,
    pub reason: String,
    /// What became of the writes that a forced failover of the branch left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes: Option<String>,
    /// Two readings of the world that agree with it.
    pub evidence: Vec<String>,
}

/// What one journal says of branches, and of where its application lives.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Branches {
    /// This journal is a branch itself.
    own: Option<Arc<Began>>,
    /// The runs that there were when it began.
    before: Arc<BTreeSet<RunId>>,
    imported: Arc<BTreeMap<BranchId, Imported>>,
    reconciled: Arc<BTreeMap<BranchId, Reconciled>>,
    /// Where it lives, as it was seen or moved last; `None`: unknown.
    primary: Option<Region>,
    /// The newest word of a person on it.
    said: Option<(Timestamp, Region)>,
}

impl Branches {
    pub fn own(&self) -> Option<&Began> {
        self.own.as_deref()
    }

    /// Every branch that was imported, with the word that reconciled it.
    pub fn imported(&self) -> impl Iterator<Item = (&Imported, Option<&Reconciled>)> {
        self.imported.iter().map(|(id, imported)| (imported, self.reconciled.get(id)))
    }

    pub fn get(&self, id: &BranchId) -> Option<(&Imported, Option<&Reconciled>)> {
        self.imported.get(id).map(|imported| (imported, self.reconciled.get(id)))
    }

    /// Those that nobody has reconciled.
    pub fn open(&self) -> impl Iterator<Item = &Imported> {
        self.imported().filter(|(_, word)| word.is_none()).map(|(imported, _)| imported)
    }

    /// Where the application lives, as far as the journal tells.
    pub fn primary(&self) -> Option<&Region> {
        self.primary.as_ref()
    }

    /// Where a person said last that it lives, and when.
    pub fn said(&self) -> Option<(Timestamp, &Region)> {
        self.said.as_ref().map(|(at, region)| (*at, region))
    }

    /// Why the application is held; `None`: because of no branch.
    pub fn held(&self) -> Option<String> {
        let first = self.open().next()?;
        Some(format!(
            "the branch {} was imported and nobody has reconciled it ({UNRECONCILED}): failoverd offline reconcile --branch {}",
            first.began.id, first.began.id
        ))
    }

    /// Which runs there were when this branch began.
    pub(super) fn grew_from(&mut self, before: BTreeSet<RunId>) {
        self.before = Arc::new(before);
    }

    pub(super) fn is_from_parent(&self, run: &RunId) -> bool {
        self.before.contains(run)
    }

    /// Takes one event in.
    pub(super) fn apply(&mut self, at: Timestamp, event: &Event) -> Result<(), IllegalEvent> {
        match event {
            Event::PrimarySeen { region } => self.primary = Some(region.clone()),
            Event::BranchBegan { branch } => {
                if let Some(own) = &self.own {
                    return Err(illegal("branch_began", format!("this is the branch {} already", own.id)));
                }
                self.own = Some(Arc::new(Began::clone(branch)));
            }
            Event::BranchImported { branch } => {
                let id = &branch.began.id;
                if self.imported.contains_key(id) {
                    return Err(illegal("branch_imported", format!("{id} was imported before")));
                }
                Arc::make_mut(&mut self.imported).insert(id.clone(), Imported::clone(branch));
            }
            Event::BranchReconciled { word } => {
                if let Some(id) = &word.branch {
                    if !self.imported.contains_key(id) {
                        return Err(illegal("branch_reconciled", format!("there is no branch {id}")));
                    }
                    if self.reconciled.contains_key(id) {
                        return Err(illegal("branch_reconciled", format!("{id} was reconciled before")));
                    }
                    Arc::make_mut(&mut self.reconciled).insert(id.clone(), Reconciled::clone(word));
                }
                self.primary = Some(word.primary.clone());
                self.said = Some((at, word.primary.clone()));
            }
            other => return Err(illegal("branch event", format!("{other:?} is none"))),
        }
        Ok(())
    }

    /// A run is over: where it has moved the application, or that nobody knows.
    pub(super) fn ended(&mut self, run: &RunState) {
        let may_have_moved =
            || run.plan.steps.iter().any(|s| s.action.effect() != EffectClass::Read && run.may_have_effect(&s.id));
        if recovery::succeeded(run) {
            if let Some(region) = drill::moved_to(run) {
                self.primary = Some(region.clone());
            }
        } else if may_have_moved() {
            self.primary = None;
        }
    }
}

fn illegal(event: &'static str, why: String) -> IllegalEvent {
    IllegalEvent { event, why }
}

/// What `history`, which is a branch's, amounts to, for the journal that it grew from.
///
/// # Errors
/// Where it is no branch.
pub fn imported(
    app: &Application,
    history: &History,
    by: &Subject,
    file: &str,
    came_after: u64,
) -> Result<Imported, String> {
    let Some(began) = history.branches.own() else {
        return Err("it is no branch: nothing in it says so".to_owned());
    };
    let mut runs: Vec<Moved> = history.runs_of_branch().map(|run| moved(app, run)).collect();
    let surplus = runs.len().saturating_sub(RUNS_TOLD_MAX);
    runs.drain(..surplus);
    Ok(Imported {
        began: began.clone(),
        records: history.tail.next_seq.saturating_sub(began.parent.records),
        digest: history.tail.hash.clone(),
        by: by.clone(),
        file: file.to_owned(),
        came_after,
        runs,
        primary: history.branches.primary().cloned(),
        standing: history.standing.clone(),
        detached: history.detached.clone(),
    })
}

fn moved(app: &Application, run: &RunState) -> Moved {
    let (result, reason) = match &run.phase {
        Phase::Finished { result, reason, .. } => (Some(*result), reason.clone()),
        Phase::Held { reason, .. } => (None, format!("held: {reason}")),
        Phase::Running | Phase::Paused { .. } | Phase::Aborting { .. } | Phase::Undoing { .. } => {
            (None, "it was not over".to_owned())
        }
    };
    Moved {
        run: run.id.clone(),
        purpose: run.plan.purpose,
        source: run.plan.source.clone(),
        target: run.plan.target.clone(),
        result,
        reason,
        left_writes: salvage::left_writes(app, run),
    }
}

/// What is signed where a plan is approved by a key: this plan, in this branch, and nothing else.
pub fn statement(application: &ApplicationName, branch: &BranchId, plan: &Digest) -> String {
    format!("failoverd offline approval 1\napplication {application}\nbranch {branch}\nplan {plan}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::journal;

    fn application() -> ApplicationName {
        "payments".parse().expect("valid")
    }

    fn region(name: &str) -> Region {
        name.parse().expect("valid")
    }

    fn began() -> Began {
        Began {
            id: BranchId::new(7),
            parent: Parent { records: 3, hash: Digest::of(b"parent"), epoch: 2, read_at: None },
            by: "alice".parse().expect("valid"),
            table_lost: "us-west-2 is gone".to_owned(),
            replicas_stopped: "bob stopped the service".to_owned(),
            stale_copy: None,
            waited: Duration::from_secs(354),
            config_digest: Digest::of(b"config"),
        }
    }

    fn imported_event() -> Event {
        let branch = Imported {
            began: began(),
            records: 4,
            digest: Digest::of(b"tail"),
            by: "alice".parse().expect("valid"),
            file: "branch.sqlite".to_owned(),
            came_after: 0,
            runs: Vec::new(),
            primary: Some(region("us-west-2")),
            standing: BTreeMap::new(),
            detached: BTreeMap::new(),
        };
        Event::BranchImported { branch: Box::new(branch) }
    }

    fn word(branch: Option<BranchId>) -> Event {
        let word = Reconciled {
            branch,
            primary: region("us-west-2"),
            by: "alice".parse().expect("valid"),
            reason: "it is served there".to_owned(),
            writes: None,
            evidence: vec!["read from us-west-2, twice".to_owned()],
        };
        Event::BranchReconciled { word: Box::new(word) }
    }

    fn at() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    #[test]
    fn an_imported_branch_holds_the_application_until_a_person_reconciles_it() {
        let mut history = History::new(application());
        assert_eq!(history.branches.held(), None);
        history.apply_event(at(), &imported_event()).expect("imported");
        let held = history.branches.held().expect("held");
        assert!(held.contains("branch-unreconciled"), "{held}");
        assert_eq!(history.branches.primary(), None, "an import alone says nothing of where it lives");
        history.apply_event(at(), &word(Some(BranchId::new(7)))).expect("reconciled");
        assert_eq!(history.branches.held(), None);
        assert_eq!(history.branches.primary(), Some(&region("us-west-2")));
    }

    #[test]
    fn a_branch_is_imported_once_and_reconciled_once() {
        let mut history = History::new(application());
        assert!(history.apply_event(at(), &word(Some(BranchId::new(7)))).is_err(), "not imported yet");
        history.apply_event(at(), &imported_event()).expect("imported");
        assert!(history.apply_event(at(), &imported_event()).is_err());
        history.apply_event(at(), &word(Some(BranchId::new(7)))).expect("reconciled");
        assert!(history.apply_event(at(), &word(Some(BranchId::new(7)))).is_err());
    }

    #[test]
    fn a_journal_is_one_branch_at_most() {
        let mut history = History::new(application());
        let event = Event::BranchBegan { branch: Box::new(began()) };
        history.apply_event(at(), &event).expect("begins");
        assert!(history.apply_event(at(), &event).is_err());
    }

    #[test]
    fn its_events_are_records_since_schema_7_and_read_back() {
        let events = vec![
            Event::PrimarySeen { region: region("us-east-1") },
            Event::BranchBegan { branch: Box::new(began()) },
            imported_event(),
            word(None),
        ];
        let sealed = journal::seal(&application(), &Tail::empty(), 1, at(), events.clone()).expect("fits");
        assert!(7 <= sealed.record.schema_version);
        let (record, _) = journal::verify(&Tail::empty(), &sealed.bytes, &sealed.hash).expect("verifies");
        assert_eq!(record.events, events);
    }

    #[test]
    fn a_signature_is_for_one_plan_in_one_branch() {
        let say = |branch, plan: &[u8]| statement(&application(), &BranchId::new(branch), &Digest::of(plan));
        assert_ne!(say(1, b"a"), say(2, b"a"));
        assert_ne!(say(1, b"a"), say(1, b"b"));
    }
}
