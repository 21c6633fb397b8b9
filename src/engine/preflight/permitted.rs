//! Whether AWS permits the calls that a way out changes something by: who the daemon is, and what IAM says of its policies.
//!
//! Invariant: it asks for what the compiled plan takes and for nothing else, sends none of it, and believes only what IAM
//! says of the very action and resource: no answer is no permission. IAM's control plane is asked here and nowhere else.
//! It deliberately does not know what IAM does not simulate: policies of resources and of sessions, and what a role may that
//! a call assumes.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    domain::{
        cloud::ObserveError,
        id::Region,
        permissions::{
            GET_ROLE, Power, SIMULATE,
            changes::{Caller, Change, Taken, Verdict, changes, questions},
        },
        plan::Plan,
        preflight::{Check, Class, Kind, State},
    },
    engine::{context::Context, denial::Denial},
};

use super::question::open;

/// How long the questions of one way out may take, all together.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many questions are asked of IAM for one way out; a plan takes a handful. It answers few of them in a second.
const QUESTIONS_MAX: usize = 20;

/// What the changes of a way out are called as a whole.
const SUBJECT: &str = "changes";

/// The checks of `plan`, the way out to `target`; `None`: there is none.
pub(super) async fn checks(context: &Context, plan: Option<&Plan>, target: &Region) -> Vec<Check> {
    let Some(plan) = plan else {
        return vec![unseen("the runbook of the failover does not compile")];
    };
    let wanted = changes(&context.application, plan);
    if wanted.is_empty() {
        let seen = format!("{} changes nothing by the daemon's role", plan.runbook);
        return vec![Check { class: Class::Blocking, state: State::Met, seen, ..whole() }];
    }
    // What was told before time ran out counts.
    let mut told = Told { verdicts: BTreeMap::new(), unasked: None };
    let asking = ask(context, &wanted, target, &mut told);
    let in_time = tokio::select! {
        biased;
        () = asking => true,
        () = context.clock.sleep(PATIENCE) => false,
    };
    if !in_time {
        told.unasked = Some(format!("no answer within {} s", PATIENCE.as_secs()));
    }
    settled(&wanted, &told)
}

/// What is known of each change, and why the others were not asked about.
struct Told {
    verdicts: BTreeMap<Change, Verdict>,
    unasked: Option<String>,
}

async fn ask(context: &Context, wanted: &BTreeMap<Change, Taken>, target: &Region, told: &mut Told) {
    let principal = match principal(context, target).await {
        Ok(principal) => principal,
        Err(why) => {
            told.unasked = Some(why);
            return;
        }
    };
    let all = questions(&principal, wanted.keys());
    if QUESTIONS_MAX < all.len() {
        told.unasked = Some(format!("no more than {QUESTIONS_MAX} questions are asked at a time"));
    }
    for question in all.iter().take(QUESTIONS_MAX) {
        match context.cloud.simulate(target, question).await {
            Ok(answers) => {
                let asked = wanted.keys().filter(|change| question.asks(change));
                told.verdicts.extend(asked.map(|change| (change.clone(), question.verdict(change, &answers))));
            }
            // What is refused once is refused again, and what is slow is left alone.
            Err(error) => {
                told.unasked = Some(refused(SIMULATE, &error));
                return;
            }
        }
    }
}

/// Whose policies are asked about, by the ARN that they hang on.
async fn principal(context: &Context, target: &Region) -> Result<String, String> {
    let caller = context.cloud.caller(target).await.map_err(|e| refused("sts:GetCallerIdentity", &e))?;
    match Caller::of(&caller) {
        Caller::Principal(arn) => Ok(arn),
        Caller::Session { role } => context.cloud.role_arn(target, &role).await.map_err(|e| refused(GET_ROLE, &e)),
        Caller::Other(what) => Err(format!("the daemon is {caller}: {what}")),
    }
}

fn refused(operation: &str, error: &ObserveError) -> String {
    Denial::of(operation, None, error).map_or_else(|| format!("{operation}: {error}"), |denial| denial.why)
}

fn whole() -> Check {
    open(
        Class::Advisory,
        Kind::Permission,
        SUBJECT,
        "AWS permits the calls that a failover makes",
        "give the daemon's role iam:GetRole and iam:SimulatePrincipalPolicy on itself (`failoverd permissions`); until \
         then compare it with what that prints, and drill",
    )
}

fn unseen(why: &str) -> Check {
    Check { seen: format!("permissions of changes: not looked at: {why}"), ..whole() }
}

/// One check of all that is permitted, and one of each action that is not, or of which IAM settles nothing.
fn settled(wanted: &BTreeMap<Change, Taken>, told: &Told) -> Vec<Check> {
    let unasked = wanted.keys().filter(|change| !told.verdicts.contains_key(*change)).count();
    let allowed = told.verdicts.values().filter(|v| **v == Verdict::Allowed).count();
    let mut checks = Vec::new();
    let mut open: BTreeMap<&str, Vec<(&Change, &Taken, &Verdict)>> = BTreeMap::new();
    for (change, verdict) in told.verdicts.iter().filter(|(_, verdict)| **verdict != Verdict::Allowed) {
        if let Some(taken) = wanted.get(change) {
            open.entry(&change.action).or_default().push((change, taken, verdict));
        }
    }
    if unasked != 0 {
        let why = told.unasked.as_deref().unwrap_or("IAM was not asked about all of them");
        let how_many = if allowed == 0 { String::new() } else { format!("{unasked} of {}: ", wanted.len()) };
        checks.push(unseen(&format!("{how_many}{why}")));
    } else if allowed != 0 {
        let seen = format!("IAM allows {allowed} of the {} that the failover takes", wanted.len());
        checks.push(Check { class: Class::Blocking, state: State::Met, seen, ..whole() });
    }
    checks.extend(open.into_iter().flat_map(|(action, found)| of_action(action, &found)));
    checks
}

/// What is not permitted of `action`, and what is not settled.
fn of_action(action: &str, found: &[(&Change, &Taken, &Verdict)]) -> Vec<Check> {
    let mut checks = Vec::new();
    for state in [State::NotMet, State::Unknown] {
        let is_so = |verdict: &Verdict| matches!(verdict, Verdict::Denied { .. }) == (state == State::NotMet);
        let of_state = || found.iter().filter(|(_, _, verdict)| is_so(verdict));
        let Some((first, ..)) = of_state().next() else { continue };
        let is_needed = of_state().any(|(_, taken, _)| taken.is_needed);
        let power = of_state().filter_map(|(_, taken, _)| taken.power).max().unwrap_or(Power::Switch).as_str();
        let says = of_state().map(|(change, taken, verdict)| said(change, taken, verdict));
        let check = open_of(action, is_needed, power);
        checks.push(Check { region: first.region.clone(), state, seen: says.collect::<Vec<_>>().join("; "), ..check });
    }
    checks
}

fn open_of(action: &str, is_needed: bool, power: &str) -> Check {
    open(
        if is_needed { Class::Blocking } else { Class::Degrading },
        Kind::Permission,
        action,
        "AWS permits it to the daemon's role",
        &format!("give the role what `failoverd permissions --power {power}` prints, and look for what denies it"),
    )
}

fn said(change: &Change, taken: &Taken, verdict: &Verdict) -> String {
    let how = match verdict {
        Verdict::Denied { how } => how.as_str(),
        Verdict::Unclear { why } => why.as_str(),
        Verdict::Allowed => "it is allowed",
    };
    let steps: Vec<&str> = taken.by.iter().map(|step| step.as_str()).collect();
    let after = if taken.is_needed { "" } else { ", not needed to get there" };
    format!("{} on {} (step {}{after}): {how}", change.action, change.resource, steps.join(", "))
}
