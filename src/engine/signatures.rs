//! Whether AWS refuses old signatures, asked once for each family of services, and how long a call that nobody answered
//! may therefore still arrive (FAULTS.md S11).
//!
//! Invariants: the first Region that answers decides for its family, since what looks at signatures is the service's own
//! [INF]. What nobody has answered is asked again, and waited out as long as what is unverified.
//!
//! It deliberately holds up no start: whoever never learns it waits longer, and says so.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        action::Action,
        application::Application,
        cloud::{Mutation, ObserveError},
        signature::{AgeAnswer, Aged, Check, Family, UNVERIFIED_WITHIN},
    },
    ports::{Clock, Cloud, Observer},
};

/// How long after a round without an answer it is asked again.
const AGAIN: Duration = Duration::from_mins(1);

/// See the module. One for all applications of a replica.
#[derive(Debug)]
pub struct Signatures {
    questions: BTreeMap<Family, Vec<Aged>>,
    checks: Mutex<BTreeMap<Family, Check>>,
}

impl Signatures {
    /// Of families that were not asked yet.
    pub fn of(applications: &[Application]) -> Self {
        let mut questions: BTreeMap<Family, Vec<Aged>> = BTreeMap::new();
        for question in applications.iter().flat_map(Aged::questions) {
            let of_family = questions.entry(question.family()).or_default();
            if !of_family.contains(&question) {
                of_family.push(question);
            }
        }
        let unknown = || Check::Unknown { why: "it was not asked yet".to_owned() };
        let checks = questions.keys().map(|family| (*family, unknown())).collect();
        Self { questions, checks: Mutex::new(checks) }
    }

    /// What is known of each family that an application uses.
    pub fn checks(&self) -> BTreeMap<Family, Check> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long after its intent a call of `action` that nobody answered may still arrive.
    pub fn lands_within(&self, action: &Action) -> Duration {
        let calls = action.mutations();
        let longest = calls.iter().filter_map(|call| self.call_lands_within(call)).max();
        longest.unwrap_or_else(|| Family::Rds.verified_within())
    }

    /// The same for one call; `None` where it has no signature.
    pub fn call_lands_within(&self, call: &Mutation) -> Option<Duration> {
        let family = Family::of(call)?;
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let is_verified = checks.get(&family).is_some_and(Check::is_verified);
        Some(if is_verified { family.verified_within() } else { UNVERIFIED_WITHIN })
    }

    fn found(&self, family: Family, check: Check, observer: &dyn Observer) {
        observer.signatures_checked(family, &check);
        let before = self.checks.lock().unwrap_or_else(PoisonError::into_inner).insert(family, check.clone());
        if before.as_ref() == Some(&check) {
            return;
        }
        let (service, waits) = (family.word(), UNVERIFIED_WITHIN.as_secs());
        match check {
            Check::Verified { code } => tracing::info!(service, code, "old signatures are refused"),
            Check::Unverified => tracing::warn!(
                service,
                waits,
                "unverified: old signatures are taken, so a call without an answer is waited out for so many seconds"
            ),
            Check::Unknown { why } => tracing::warn!(
                service,
                waits,
                why,
                "whether old signatures are refused is not known: a call without an answer is waited out for so many seconds"
            ),
        }
    }
}

/// Asks until every family has answered or the daemon stops.
pub(super) async fn check(
    signatures: Arc<Signatures>,
    cloud: Arc<dyn Cloud>,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    stopping: CancellationToken,
) {
    loop {
        let mut is_over = true;
        for (family, questions) in &signatures.questions {
            let is_open = matches!(signatures.checks().get(family), Some(Check::Unknown { .. }));
            if !is_open || stopping.is_cancelled() {
                continue;
            }
            let check = ask(questions, &*cloud).await;
            is_over &= !matches!(check, Check::Unknown { .. });
            signatures.found(*family, check, &*observer);
        }
        if is_over || stopping.is_cancelled() {
            return;
        }
        tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            () = clock.sleep(AGAIN) => {}
        }
    }
}

/// The first answer to one of `questions` of a family.
async fn ask(questions: &[Aged], cloud: &dyn Cloud) -> Check {
    let mut silent = Vec::new();
    for question in questions {
        let answer = cloud.aged(question).await;
        if let Some(check) = first(std::iter::once(answer), &mut silent) {
            return check;
        }
    }
    Check::Unknown { why: silent.join("; ") }
}

/// What the first of `answers` that is one says; what the others are is noted.
fn first(answers: impl Iterator<Item = Result<AgeAnswer, ObserveError>>, silent: &mut Vec<String>) -> Option<Check> {
    for answer in answers {
        match answer {
            Ok(AgeAnswer::Refused { code }) => return Some(Check::Verified { code }),
            Ok(AgeAnswer::Taken) => return Some(Check::Unverified),
            Err(error) => silent.push(error.to_string()),
        }
    }
    None
}

#[cfg(test)]
mod tests;
