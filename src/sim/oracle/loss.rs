//! S6: writes may be lost only where enough people said so, and not more than was accepted.
//!
//! The bound is the world's own: how far the target truly is behind, which includes the time since it was last
//! reached. An observer's bound (last lag + age of the sample) is never below it, unless a metric lies (FAULTS.md 44).

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Bench, Call,
    intent::Intent,
    runs::{Run, Runs, Step},
    text,
};
use crate::sim::world::aurora::Membership;

/// How far the truth may be over what was accepted, in milliseconds: the world brings replication up to date once a
/// second, and from the last look to the call leaving is less than another one.
const TOLERANCE_MS: u64 = 2_000;

/// How far two clocks may differ unnoticed (FAULTS.md 11): a sample's age is off by as much.
const CLOCK_ERROR_MS_MAX: u64 = 30_000;

/// S6, for a call that allows data loss.
pub(super) fn check(bench: &mut Bench<'_>, runs: &Runs, call: &Call, intent: Option<&Intent>) {
    let Some((intent, run)) = intent.and_then(|i| Some((i, runs.run(&i.run)?))) else {
        // Without an intent there is nothing to compare: that is S3.
        return;
    };
    bench.findings.checked("S6");
    let clock = bench.findings.clock(call.at);
    if let Some(why) = consent_missing(run, intent) {
        let text = format!(
            "at {clock} {} allowed AWS to lose writes, but {why}: one person alone must not give up data",
            run.id
        );
        bench.findings.violated("S6", call.at, text);
    }
    let Some(accepted) = run.plan["accepted_loss_seconds"].as_f64() else {
        let text = format!("at {clock} {} allowed AWS to lose writes, and nobody had accepted any loss", run.id);
        bench.findings.violated("S6", call.at, text);
        return;
    };
    let Some(lag_ms) = true_lag_ms(bench, call) else { return };
    let behind = u64::try_from(-intent.clock_ahead_ms).unwrap_or_default();
    let tolerance = TOLERANCE_MS + behind.min(CLOCK_ERROR_MS_MAX);
    let (lag, limit) = (lag_ms as f64 / 1_000.0, accepted + tolerance as f64 / 1_000.0);
    if limit < lag {
        let text = format!(
            "at {clock} {} promoted a database that could be {lag:.1} s behind, and {accepted} s were accepted: more \
             could be lost than anybody agreed to",
            run.id
        );
        bench.findings.violated("S6", call.at, text);
    }
}

/// How far the target was truly behind when the call left; `None` where it is no secondary (any more).
fn true_lag_ms(bench: &Bench<'_>, call: &Call) -> Option<u64> {
    let world = bench.seen.world;
    let target = world.aurora.cluster(text(&call.arguments, "target"))?;
    if target.membership != Membership::Connected {
        return None;
    }
    let caught_up_to = world.now.0.saturating_sub(target.true_lag_ms(world.now));
    Some(call.at.0.saturating_sub(caught_up_to))
}

/// How late an approval may be, in milliseconds: it is looked at before it is recorded, which takes two appends at most.
const APPROVAL_LATE_MS: u64 = 2_000;

/// Two people stand behind a loss: the one who asked, and as many others as the plan says, at least one; or the two who
/// armed it.
fn consent_missing(run: &Run, intent: &Intent) -> Option<String> {
    if let Some(armed) = &run.armed {
        let wanted = run.planned_steps().iter().filter_map(|s| s["action"]["count"].as_u64()).max();
        let third =
            wanted.filter(|count| 1 < *count).map(|_| "the plan asks for more people than had armed it".to_owned());
        return armed.as_ref().err().cloned().or(third);
    }
    let mut has_any = false;
    for step in run.planned_steps().iter().filter(|s| text(&s["action"], "action") == "approve") {
        let id = text(step, "id");
        let wanted = usize::try_from(step["action"]["count"].as_u64().unwrap_or(1).max(1)).unwrap_or(usize::MAX);
        let expires_seconds = step["action"]["expires_after_seconds"].as_f64();
        let given = approvers(run, id, expires_seconds, intent.record).len();
        has_any |= wanted <= given;
        let is_passed_over = matches!(run.steps.get(id), Some(Step::Skipped | Step::Failed));
        if given < wanted && !is_passed_over && needs(run, &intent.step).contains(id) {
            return Some(format!("step {id} asks for {wanted} other people's approval and has {given}"));
        }
    }
    (!has_any).then(|| "no second person had approved".to_owned())
}

/// The people other than the requester who approved in time and before the record, since anybody last said no. A clock
/// that was set wrong may have moved the end of that time over a restart: by what it was off then, and at the beginning.
fn approvers<'a>(run: &'a Run, step: &str, expires_seconds: Option<f64>, before: usize) -> BTreeSet<&'a str> {
    let late_ms = (APPROVAL_LATE_MS + 2 * run.clock_error_ms) as f64;
    let in_time = |waited_ms: u64| expires_seconds.is_none_or(|s| waited_ms as f64 <= s * 1_000.0 + late_ms);
    let words: Vec<_> = run.approvals.iter().filter(|a| a.step == step && a.record < before).collect();
    let since = words.iter().rposition(|a| !a.approved).map_or(0, |no| no + 1);
    let valid = words[since..].iter().filter(|a| a.waited_ms.is_none_or(in_time));
    valid.map(|a| a.subject.as_str()).filter(|who| *who != run.requester).collect()
}

/// Everything that a step needs, directly or not.
fn needs<'a>(run: &'a Run, step: &str) -> BTreeSet<&'a str> {
    let of = |id: &str| run.planned(id).and_then(|s| s["needs"].as_array()).into_iter().flatten();
    let mut all: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&str> = of(step).filter_map(Value::as_str).collect();
    while let Some(id) = open.pop() {
        if all.insert(id) {
            open.extend(of(id).filter_map(Value::as_str));
        }
    }
    all
}
