//! Work that a run leaves open and that outlives its success: the rescue snapshot of an old writer appears only when its
//! Region is back (docs/adr/0014-deferred-work.md).
//!
//! Invariants: what is open here is in the journal, and goes on after a restart; it ends done, expired, or superseded by the
//! next failover, and nothing ends twice. It is no run: beside it any run may be active (S1).

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    application::ClusterArn,
    cloud::{Mutation, Outcome},
    drill,
    fault::Fault,
    id::{RunId, StepId, StoreName},
    run::RunState,
    seconds,
};

/// How Aurora names the snapshot that it takes of an old primary's volume [AUG].
pub const RESCUE_PREFIX: &str = "rds:unplanned-global-failover-";

/// How copies of it are named.
pub const COPY_PREFIX: &str = "failoverd-rescue-";

/// How many pieces of work that are over are kept for people to see.
pub const ENDED_KEPT_MAX: usize = 16;

/// A copy is asked for so often at most: what AWS refused so often it will go on refusing.
pub const ATTEMPTS_MAX: u32 = 20;

/// How the subject of the warning begins that the snapshot is about to be deleted.
pub const WARNING: &str = "rescue snapshot expires soon";

/// How long before its end a snapshot that is not copied is told of: a quarter of the time for which it is kept, a day at the
/// most. It is kept for 1 to 35 days [AUG].
pub fn warns_before(retention: Duration) -> Duration {
    (retention / 4).min(Duration::from_hours(24))
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// Copies the snapshot that Aurora takes of `cluster`, the old writer, to one that its retention does not delete.
    PreserveSnapshot {
        store: StoreName,
        cluster: ClusterArn,
        /// Older ones are of another failover.
        since: Timestamp,
        #[serde(with = "seconds", rename = "within_seconds")]
        within: Duration,
    },
    /// Takes a fault out that a drill had put in when another run took its place.
    MendFault {
        fault: Fault,
        #[serde(with = "seconds", rename = "within_seconds")]
        within: Duration,
    },
}

impl Work {
    /// What is left of `run`, a drill whose place another run takes: every fault that may be in, by the step that put it in.
    pub fn of_superseded(run: &RunState) -> Vec<(StepId, Self)> {
        /// As long as for a rescue snapshot: a lost Region may be away for days.
        const WITHIN: Duration = Duration::from_hours(168);
        let mend = |fault: &Fault| Self::MendFault { fault: fault.mended(), within: WITHIN };
        drill::left_in(run).map(|(step, fault)| (step.id.clone(), mend(fault))).collect()
    }

    /// Whether a failover that begins takes its place: what that leaves is another snapshot, and no other fault.
    fn yields(&self) -> bool {
        matches!(self, Self::PreserveSnapshot { .. })
    }

    /// What people are told when nobody could do it: a subject, and what to do.
    pub fn given_up(&self) -> (&'static str, &'static str) {
        match self {
            Self::PreserveSnapshot { .. } => (
                "a rescue snapshot was not kept",
                "What Aurora keeps of it goes with the old cluster's retention. Copy it by hand \
                 (rds:CopyDBClusterSnapshot) or let it go.",
            ),
            Self::MendFault { .. } => (
                "a fault of a drill is still in",
                "The function goes on answering with errors. Take the variable away by hand.",
            ),
        }
    }

    /// For how long it is tried.
    pub fn within(&self) -> Duration {
        match self {
            Self::PreserveSnapshot { within, .. } | Self::MendFault { within, .. } => *within,
        }
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        match self {
            Self::PreserveSnapshot { store, cluster, .. } => format!(
                "keep the rescue snapshot of {store}'s old writer {} in {}",
                cluster.identifier(),
                cluster.region()
            ),
            Self::MendFault { fault, .. } => format!(
                "take the fault of a drill out of function {} in {} ({})",
                fault.at.function, fault.at.region, fault.at.variable
            ),
        }
    }

    /// Whether `mutation` is a call that this work may make.
    pub fn may_call(&self, mutation: &Mutation) -> bool {
        match (self, mutation) {
            (Self::PreserveSnapshot { cluster, .. }, Mutation::CopySnapshot { region, source, .. }) => {
                region == cluster.region() && source.starts_with(RESCUE_PREFIX)
            }
            // That nobody could do it is told.
            (Self::PreserveSnapshot { .. } | Self::MendFault { .. }, Mutation::Publish { .. }) => true,
            (Self::MendFault { fault, .. }, Mutation::LambdaVariable { .. }) => *mutation == fault.mutation(),
            _ => false,
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ending", rename_all = "snake_case")]
pub enum Ending {
    Done {
        evidence: Vec<String>,
    },
    /// Its time is over: people are told, and do it or let it be.
    Expired {
        why: String,
    },
}

/// Where a piece of work stands.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    Open,
    Done {
        at: Timestamp,
        evidence: Vec<String>,
    },
    Expired {
        at: Timestamp,
        why: String,
    },
    /// The next failover has taken its place: what it leaves is another snapshot.
    Superseded {
        at: Timestamp,
        by: RunId,
    },
}

/// A piece of work of one run's step.
#[derive(Debug, Clone, PartialEq)]
pub struct Deferred {
    pub work: Work,
    pub since: Timestamp,
    pub state: State,
    /// Calls so far.
    pub attempts: u32,
    /// A call that is intended and not answered.
    pub open_call: Option<Mutation>,
    /// How the last call was answered.
    pub last_outcome: Option<Outcome>,
    /// Topics that were told that it expired, or may have been.
    pub told: Vec<String>,
    /// Topics that were told that the snapshot is about to be deleted, or may have been.
    pub warned: Vec<String>,
}

impl Deferred {
    pub fn new(work: Work, since: Timestamp) -> Self {
        Self {
            work,
            since,
            state: State::Open,
            attempts: 0,
            open_call: None,
            last_outcome: None,
            told: Vec::new(),
            warned: Vec::new(),
        }
    }

    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// The state in a word.
    pub fn word(&self) -> &'static str {
        match self.state {
            State::Open => "open",
            State::Done { .. } => "done",
            State::Expired { .. } => "expired",
            State::Superseded { .. } => "superseded",
        }
    }

    /// What is to be said of its state, where it is over.
    pub fn said(&self) -> Option<String> {
        match &self.state {
            State::Open => None,
            State::Done { evidence, .. } => Some(evidence.join("; ")),
            State::Expired { why, .. } => Some(why.clone()),
            State::Superseded { by, .. } => Some(format!("by {by}")),
        }
    }

    /// Takes a call in that is about to be sent.
    ///
    /// # Errors
    /// Why it may not be, as a sentence.
    pub fn intend(&mut self, attempt: u32, mutation: &Mutation) -> Result<(), String> {
        if !self.is_open() || self.open_call.is_some() || attempt != self.attempts + 1 {
            return Err(format!("it is {}, {} attempt(s) made", self.word(), self.attempts));
        }
        if !self.work.may_call(mutation) {
            return Err(format!("{} is no call of this work", mutation.operation()));
        }
        match mutation {
            Mutation::Publish { topic_arn, subject, .. } if subject.starts_with(WARNING) => {
                self.warned.push(topic_arn.clone());
            }
            Mutation::Publish { topic_arn, .. } => self.told.push(topic_arn.clone()),
            _ => {}
        }
        self.attempts = attempt;
        self.open_call = Some(mutation.clone());
        Ok(())
    }

    /// Takes the answer to call number `attempt` in.
    ///
    /// # Errors
    /// Why it is none, as a sentence.
    pub fn answer(&mut self, attempt: u32, outcome: &Outcome) -> Result<(), String> {
        if attempt != self.attempts || self.open_call.take().is_none() {
            return Err(format!("no call {attempt} is open"));
        }
        self.last_outcome = Some(outcome.clone());
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// Where it is over already.
    pub fn end(&mut self, at: Timestamp, ending: &Ending) -> Result<(), String> {
        if !self.is_open() {
            return Err(format!("it is {} already", self.word()));
        }
        self.state = match ending.clone() {
            Ending::Done { evidence } => State::Done { at, evidence },
            Ending::Expired { why } => State::Expired { at, why },
        };
        Ok(())
    }
}

/// The pieces of work of an application, by run and step.
pub type All = BTreeMap<(RunId, StepId), Deferred>;

/// A failover begins: what is open is superseded by it, a fault that is to be taken out excepted.
pub fn supersede(all: &mut All, at: Timestamp, by: &RunId) {
    for deferred in all.values_mut().filter(|d| d.is_open() && d.work.yields()) {
        deferred.state = State::Superseded { at, by: by.clone() };
    }
}

/// Forgets the oldest of what is over.
pub fn retire(all: &mut All) {
    let mut over: Vec<_> = all.iter().filter(|(_, d)| !d.is_open()).map(|(key, d)| (d.since, key.clone())).collect();
    over.sort();
    let surplus = over.len().saturating_sub(ENDED_KEPT_MAX);
    over.into_iter().take(surplus).for_each(|(_, key)| drop(all.remove(&key)));
}

/// What a rescue snapshot is copied to: told by its own name, so that after a crash the same copy is looked for. At most 63
/// characters, letters, digits and single hyphens [bc:rds.CopyDBClusterSnapshot].
pub fn copy_name(snapshot: &str) -> String {
    const CHARS_MAX: usize = 63;
    let rest = snapshot.strip_prefix(RESCUE_PREFIX).unwrap_or(snapshot).replace(':', "-");
    // The end tells when: the beginning is cut.
    let room = CHARS_MAX - COPY_PREFIX.len();
    let cut = rest.len().saturating_sub(room);
    let tail = rest.get(cut..).unwrap_or(&rest).trim_start_matches('-');
    format!("{COPY_PREFIX}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fault::FunctionVariable;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(s).expect("in range")
    }

    fn deferred() -> Deferred {
        let work = Work::PreserveSnapshot {
            store: "orders".parse().expect("valid"),
            cluster: "arn:aws:rds:us-east-1:123456789012:cluster:payments-use1".parse().expect("valid"),
            since: at(0),
            within: Duration::from_hours(168),
        };
        Deferred::new(work, at(0))
    }

    #[test]
    fn a_fault_is_taken_out_whatever_begins_and_by_no_other_call() {
        let fault = Fault {
            at: FunctionVariable {
                region: "us-east-1".parse().expect("valid"),
                function: "payments-api".to_owned(),
                variable: "FAULT".to_owned(),
            },
            broken: "fail".to_owned(),
            normal: None,
            mends: true,
        };
        let mut work = Deferred::new(Work::MendFault { fault: fault.clone(), within: Duration::from_hours(1) }, at(0));
        assert!(work.intend(1, &Fault { mends: false, ..fault.clone() }.mutation()).is_err(), "it never breaks");
        work.intend(1, &fault.mutation()).expect("legal");
        let run = format!("payments-{:032x}", 1).parse().expect("valid");
        let mut all: All =
            [((format!("payments-{:032x}", 2).parse().expect("valid"), "in".parse().expect("valid")), work)].into();
        supersede(&mut all, at(5), &run);
        assert!(all.values().all(Deferred::is_open), "a failover leaves no other fault in its place");
    }

    fn copy(region: &str, source: &str) -> Mutation {
        let (region, source) = (region.parse().expect("valid"), source.to_owned());
        Mutation::CopySnapshot { region, source, target: "t".to_owned() }
    }

    #[test]
    fn a_copys_name_is_short_enough_and_tells_when() {
        assert_eq!(
            copy_name("rds:unplanned-global-failover-payments-use1-2026-11-21-06-30"),
            "failoverd-rescue-payments-use1-2026-11-21-06-30"
        );
        let long = copy_name(&format!("{RESCUE_PREFIX}{}-2026-11-21-06-30", "payments".repeat(7)));
        assert!(long.len() <= 63 && long.ends_with("-2026-11-21-06-30") && !long.contains("--"), "{long}");
    }

    #[test]
    fn only_its_own_calls_are_made_one_at_a_time_and_nothing_ends_twice() {
        let mut work = deferred();
        let ours = copy("us-east-1", "rds:unplanned-global-failover-payments-use1-2026-11-21-06-30");
        assert!(work.intend(1, &copy("us-west-2", RESCUE_PREFIX)).is_err(), "another Region");
        assert!(work.intend(1, &copy("us-east-1", "rds:payments-use1-2026-11-21-06-30")).is_err(), "another snapshot");
        assert!(work.intend(2, &ours).is_err(), "no first attempt");
        work.intend(1, &ours).expect("legal");
        assert!(work.intend(2, &ours).is_err(), "the first is not answered");
        assert!(work.answer(2, &Outcome::NotSent { reason: String::new() }).is_err());
        work.answer(1, &Outcome::NotSent { reason: String::new() }).expect("legal");
        work.intend(2, &ours).expect("legal");
        work.answer(2, &Outcome::Accepted { request_id: None, handle: None }).expect("legal");
        work.end(at(9), &Ending::Done { evidence: vec!["kept".to_owned()] }).expect("legal");
        assert!(work.end(at(9), &Ending::Expired { why: String::new() }).is_err());
        assert!(work.intend(3, &ours).is_err());
        assert_eq!(work.word(), "done");
    }

    #[test]
    fn a_new_failover_supersedes_what_is_open_and_the_oldest_of_what_is_over_is_forgotten() {
        let key = |n: usize| (format!("payments-{n:032x}").parse().expect("valid"), "keep".parse().expect("valid"));
        let mut all: All = (0..ENDED_KEPT_MAX + 3).map(|n| (key(n), deferred())).collect();
        supersede(&mut all, at(5), &key(99).0);
        assert!(all.values().all(|d| d.word() == "superseded"));
        all.insert(key(77), deferred());
        retire(&mut all);
        assert_eq!(all.len(), ENDED_KEPT_MAX + 1);
        assert!(all.contains_key(&key(77)), "what is open is kept");
    }
}
