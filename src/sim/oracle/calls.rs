//! What was sent, and what came of it: S3 (nothing without a durable intent), S4 (the last intent's target), S7 (with
//! or without loss, never both), S9 (a target that may take over), S10 (done is what was observed, and once), S11 (no
//! opposite while something is at work), S20 (attempts within their cap).
//!
//! S5 and S6 are asked for each call from here ([`super::traffic`], [`super::loss`]).

use serde_json::Value;

use super::{
    Bench, Call, SIGHT_MS, Seen, drills,
    intent::Intent,
    journal::{Journal, Record},
    loss, ramp, region_of,
    runs::{Run, Runs},
    text, traffic,
};
use crate::sim::world::{SimTime, World};

/// So many attempts without any effect a step may have, where its runbook asks for fewer (DESIGN.md 5: the same call
/// to the same target, each after looking).
const ATTEMPTS_MAX: u64 = 5;

/// An accepted operation of Aurora, with the step that it came of.
#[derive(Debug)]
struct Effect {
    at: SimTime,
    target: String,
    run: String,
    step: String,
}

/// A call to Aurora, with the intent that it belongs to.
#[derive(Debug)]
struct Sent {
    at: SimTime,
    global: String,
    target: String,
    intent: Option<usize>,
}

/// A message to people, which nobody can observe and nobody should get twice.
#[derive(Debug)]
struct Notice {
    arguments: Value,
    intent: Option<usize>,
    /// How often people had said to go on.
    resumes: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Calls {
    seen: usize,
    aurora_seen: usize,
    traffic: traffic::Traffic,
    sent: Vec<Sent>,
    effects: Vec<Effect>,
    notices: Vec<Notice>,
}

impl Calls {
    /// What is in the world already is not looked at.
    pub(super) fn begin(&mut self, world: &World) {
        self.aurora_seen = world.aurora.effects.len();
        self.traffic.begin(world);
    }

    pub(super) fn is_news(&self, seen: &Seen<'_>) -> bool {
        self.seen != seen.calls.len()
            || self.aurora_seen != seen.world.aurora.effects.len()
            || self.traffic.is_news(seen.world)
    }

    /// Whether something is looked at for as long as it lasts, whatever else is new.
    pub(super) fn watches(&self, runs: &Runs) -> bool {
        self.traffic.watches(runs)
    }

    pub(super) fn look(&mut self, bench: &mut Bench<'_>, runs: &mut Runs, journal: &Journal) {
        let calls = bench.seen.calls;
        for call in &calls[self.seen.min(calls.len())..] {
            self.take(bench, runs, journal, call);
        }
        self.seen = calls.len();
        let effects = &bench.seen.world.aurora.effects;
        let moves = |operation: &str| !matches!(operation, "CreateDBInstance" | "CopyDBClusterSnapshot");
        for effect in effects[self.aurora_seen..].iter().filter(|effect| effect.accepted && moves(effect.operation)) {
            self.take_effect(bench, runs, effect.at, &effect.target);
        }
        self.aurora_seen = effects.len();
        self.traffic.look(bench, runs);
    }

    fn take(&mut self, bench: &mut Bench<'_>, runs: &mut Runs, journal: &Journal, call: &Call) {
        let intent = match find_intent(runs, journal, call) {
            Found::Intent(index) => {
                bench.findings.checked("S3");
                runs.intents[index].sent = Some(call.at);
                Some(index)
            }
            Found::Standing => {
                bench.findings.checked("S3");
                return;
            }
            Found::None { why } => {
                bench.findings.checked("S3");
                let text = format!(
                    "{} left at {} {why}: after a crash nobody would know that it was sent",
                    call.operation,
                    bench.findings.clock(call.at)
                );
                bench.findings.violated("S3", call.at, text);
                None
            }
        };
        let intended = intent.map(|index| &runs.intents[index]);
        drills::sent(bench, runs, call, intended);
        super::salvage::sent(bench, runs, call, intended);
        match text(&call.arguments, "call") {
            what @ ("aurora_failover" | "aurora_switchover" | "aurora_detach") => {
                check_kind(bench, runs, call, intended, what);
                let target = text(&call.arguments, "target").to_owned();
                let global = text(&call.arguments, "global_cluster").to_owned();
                self.sent.push(Sent { at: call.at, global, target, intent });
                if loses(what) {
                    loss::check(bench, runs, call, intended);
                }
            }
            "routing_controls" | "upsert_records" | "put_metric" | "put_object" | "delete_object" => {
                traffic::check(bench, runs, call, intended);
            }
            "publish" => self.take_notice(bench, runs, call, intent),
            // A call that its runbook says is sent at most once is held to the same as a message.
            "aws_call" if call.arguments.get("idempotent") != Some(&Value::Bool(true)) => {
                self.take_notice(bench, runs, call, intent);
            }
            _ => {}
        }
    }

    /// S10 of a message, or of a call that is sent at most once: the same one again only where the first certainly did not arrive, or a person said so.
    fn take_notice(&mut self, bench: &mut Bench<'_>, runs: &Runs, call: &Call, intent: Option<usize>) {
        bench.findings.checked("S10");
        let of = |index: usize| (&runs.intents[index].run, &runs.intents[index].step);
        let resumes = intent.and_then(|index| runs.run(of(index).0)).map_or(0, |run| run.resumes);
        let same_step = |n: &Notice| n.intent.zip(intent).is_none_or(|(before, now)| of(before) == of(now));
        let again = self.notices.iter().rev().find(|n| n.arguments == call.arguments && same_step(n));
        let had_effect = |n: &&Notice| {
            let outcome = n.intent.map_or("", |index| runs.intents[index].outcome.as_str());
            resumes <= n.resumes && !matches!(outcome, "rejected" | "not_sent")
        };
        if again.is_some_and(|n| had_effect(&n)) {
            let what = match text(&call.arguments, "call") {
                "publish" => {
                    let (subject, topic) = (text(&call.arguments, "subject"), text(&call.arguments, "topic_arn"));
                    format!("the message \"{subject}\" was sent to {topic}")
                }
                _ => format!("{} was sent", call.operation),
            };
            let at = bench.findings.clock(call.at);
            let text = format!("{what} again at {at}, although the first may have arrived");
            bench.findings.violated("S10", call.at, text);
        }
        self.notices.push(Notice { arguments: call.arguments.clone(), intent, resumes });
    }

    /// S3, S4 and S10 of an operation that AWS has begun.
    fn take_effect(&mut self, bench: &mut Bench<'_>, runs: &Runs, at: SimTime, target: &str) {
        let clock = bench.findings.clock(at);
        let Some(sent) = self.sent.iter().rev().find(|sent| sent.at <= at && sent.target == target) else {
            let text = format!("AWS began to move the writer to {target} at {clock}, and failoverd never sent that");
            bench.findings.violated("S3", at, text);
            return;
        };
        bench.findings.checked("S4");
        let of_global = |i: &&Intent| is_aurora(&i.mutation) && text(&i.mutation, "global_cluster") == sent.global;
        let last = runs.intents.iter().rev().filter(|i| i.at <= at).find(of_global);
        if let Some(last) = last.filter(|last| text(&last.mutation, "target") != target) {
            let text = format!(
                "at {clock} the writer began to move to {} although {} intends to move it to {}: an old call overtook \
                 the decision",
                region_of(target),
                last.run,
                region_of(text(&last.mutation, "target"))
            );
            bench.findings.violated("S4", at, text);
        }
        let Some(intent) = sent.intent.map(|index| &runs.intents[index]) else { return };
        bench.findings.checked("S10");
        let before = self.effects.iter().rev().find(|e| e.run == intent.run && e.step == intent.step);
        let succeeded = |first: &&Effect| {
            bench.truth.promotions.iter().any(|p| p.to == first.target && first.at <= p.at && p.at <= at)
        };
        if let Some(first) = before.filter(succeeded) {
            let text = format!(
                "step {} of {} moved the writer at {} and again at {clock}: a step has at most one effect",
                intent.step,
                intent.run,
                bench.findings.clock(first.at)
            );
            bench.findings.violated("S10", at, text);
        }
        let (run, step) = (intent.run.clone(), intent.step.clone());
        self.effects.push(Effect { at, target: target.to_owned(), run, step });
    }

    /// S10: a step that says that it is undone.
    pub(super) fn undone(&self, bench: &mut Bench<'_>, runs: &Runs, run: &str, step: &str, record: &Record) {
        bench.findings.checked("S10");
        if let Some(action) = runs.run(run).and_then(|run| run.action(step)) {
            drills::claimed(bench, action, (run, step), true, record);
        }
        self.traffic.undone(bench, runs, (run, step), record);
    }

    /// S10: a step that says that it is done.
    pub(super) fn done(&self, bench: &mut Bench<'_>, runs: &Runs, run: &str, step: &str, record: &Record) {
        let Some(action) = runs.run(run).and_then(|run| run.action(step)) else { return };
        drills::claimed(bench, action, (run, step), false, record);
        let kind = text(action, "action");
        let known = ["aurora.failover", "aurora.switchover", "aurora.detach", "dns.flip", "dns.weights", "dns.verify"];
        if !known.contains(&kind) {
            return;
        }
        bench.findings.checked("S10");
        match kind {
            "dns.verify" => return self.traffic.verified(bench, action, run, step, record),
            "dns.weights" => return ramp::done(bench, runs, action, (run, step), record),
            _ => {}
        }
        let of_step = |i: &&Intent| i.run == run && i.step == step && !i.is_undo && i.record <= record.index;
        let mut intents = runs.intents.iter().filter(of_step);
        let first = intents.next();
        if kind == "dns.flip"
            && let Some(first) = first
        {
            return self.traffic.done(bench, runs, action, first, record);
        }
        let (global, target) = (text(action, "global_cluster"), text(action, "target"));
        let settled = |writer: Option<&str>, is_busy: bool| writer == Some(target) && !is_busy;
        let Some(first) = first else {
            // Where the target is the writer already there is nothing to ask for (seed 4704).
            if kind == "dns.flip" || !bench.truth.ever(global, sight(record.at), settled) {
                let text = format!("step {step} of {run} is done, and its call was never intended");
                bench.findings.violated("S10", record.at, text);
            }
            return;
        };
        if !bench.truth.ever(global, (first.at, record.at), settled) {
            let text = format!(
                "step {step} of {run} is done at {}, and {target} has not been the settled writer since it was asked \
                 for: nobody can have seen it",
                bench.findings.clock(record.at)
            );
            bench.findings.violated("S10", record.at, text);
        }
    }
}

/// What a call belongs to.
enum Found {
    Intent(usize),
    /// A standing effect is renewed: the flip that set it up was its intent.
    Standing,
    None {
        why: String,
    },
}

fn find_intent(runs: &Runs, journal: &Journal, call: &Call) -> Found {
    let same = |intent: &&(usize, &Intent)| intent.1.record < call.durable && intent.1.mutation == call.arguments;
    let epoch = call.durable.checked_sub(1).and_then(|last| journal.epoch_at(last));
    let open = |intent: &Intent| {
        intent.sent.is_none() && Some(intent.epoch) == epoch && intent.closed.is_none_or(|at| call.durable <= at)
    };
    let all: Vec<(usize, &Intent)> = runs.intents.iter().enumerate().collect();
    if let Some((index, _)) = all.iter().rev().filter(same).find(|(_, intent)| open(intent)) {
        return Found::Intent(*index);
    }
    // Renewing is a loop of its own: it may have begun its round before the effect was replaced.
    let (since, at) = sight(call.at);
    let stands = |at| runs.is_standing(&call.arguments, call.durable, at);
    if text(&call.arguments, "call") == "put_metric" && (stands(at) || stands(since)) {
        return Found::Standing;
    }
    let why = match all.iter().rev().find(same) {
        Some((_, intent)) if intent.sent.is_some() => {
            format!("for the intent of {} that another call had left for", intent.step)
        }
        Some((_, intent)) if Some(intent.epoch) != epoch => {
            format!("for an intent of {} of another epoch", intent.step)
        }
        Some((_, intent)) => format!("for the intent of {} that was settled already", intent.step),
        None => "without a durable intent for it".to_owned(),
    };
    Found::None { why }
}

fn is_aurora(mutation: &Value) -> bool {
    matches!(text(mutation, "call"), "aurora_failover" | "aurora_switchover" | "aurora_detach")
}

/// Whether a call gives up what its target has not received.
fn loses(call: &str) -> bool {
    matches!(call, "aurora_failover" | "aurora_detach")
}

/// S7: a call allows loss or is a switchover; and only a failover ever allows loss.
fn check_kind(bench: &mut Bench<'_>, runs: &Runs, call: &Call, intent: Option<&Intent>, what: &str) {
    bench.findings.checked("S7");
    let Some(run) = intent.and_then(|intent| runs.run(&intent.run)) else { return };
    let named = match what {
        "aurora_failover" => "rds:FailoverGlobalCluster",
        "aurora_detach" => "rds:RemoveFromGlobalCluster",
        _ => "rds:SwitchoverGlobalCluster",
    };
    if call.operation != named {
        let text = format!("{} was sent as {what}: with loss and without are never the same call", call.operation);
        bench.findings.violated("S7", call.at, text);
    }
    if loses(what) && run.purpose != "failover" {
        let text = format!("{} is a {}, which loses nothing, and allowed AWS to lose writes", run.id, run.purpose);
        bench.findings.violated("S7", call.at, text);
    }
}

/// What must hold when an effect is intended: S9, S11, S20.
pub(super) fn intended(bench: &mut Bench<'_>, runs: &Runs, index: usize) {
    let intent = &runs.intents[index];
    if let Some(run) = runs.run(&intent.run) {
        check_attempts(bench, run, intent);
    }
    if is_aurora(&intent.mutation) {
        check_target(bench, runs, intent);
        check_nothing_at_work(bench, runs, index);
    }
}

/// A person's word to go on gives one attempt more.
fn check_attempts(bench: &mut Bench<'_>, run: &Run, intent: &Intent) {
    bench.findings.checked("S20");
    let planned = run.planned(&intent.step).and_then(|step| step["retry"]["attempts"].as_u64()).unwrap_or(1);
    let cap = planned.max(ATTEMPTS_MAX) + run.resumes;
    if cap < intent.attempt {
        let text = format!(
            "step {} of {} begins attempt {}, and {cap} are its cap: retries must end",
            intent.step, run.id, intent.attempt
        );
        bench.findings.violated("S20", intent.at, text);
    }
}

/// S9. That the target can be promoted is looked at once in a run: here it must have been so since it started.
fn check_target(bench: &mut Bench<'_>, runs: &Runs, intent: &Intent) {
    bench.findings.checked("S9");
    let (global, target) = (text(&intent.mutation, "global_cluster"), text(&intent.mutation, "target"));
    let region = region_of(target);
    let mut wrong = Vec::new();
    if !bench.known.regions.iter().any(|allowed| allowed.as_str() == region) {
        wrong.push(format!("{region} is not a Region of {}", bench.known.application));
    }
    if !bench.known.global_clusters.iter().any(|known| known == global) {
        wrong.push(format!("{global} is not a store of {}", bench.known.application));
    } else {
        let other = |writer: Option<&str>, _| writer != Some(target);
        if !bench.truth.ever(global, sight(intent.at), other) {
            wrong.push(format!("{target} was the writer already"));
        }
        let since = runs.run(&intent.run).map_or(intent.at, |run| run.started_at);
        if text(&intent.mutation, "call") == "aurora_detach" {
            let planned = runs.run(&intent.run).map(|run| text(&run.plan, "target"));
            if planned.is_some_and(|planned| planned != region) {
                wrong.push(format!("{target} is not in the Region that the plan moves to: detached by mistake"));
            }
            // It may run another engine version: that is what it is detached for.
            if bench.truth.staffed_at(target).is_none_or(|at| at < since) {
                wrong.push(format!("{target} has no instance"));
            }
        } else if bench.truth.fit_at(target).is_none_or(|at| at < since) {
            wrong.push(format!("{target} has no instance or another engine version"));
        }
    }
    if !wrong.is_empty() {
        let text = format!(
            "at {} {} intended to move the writer to {target}, but {}: it could not take over",
            bench.findings.clock(intent.at),
            intent.run,
            wrong.join(", and ")
        );
        bench.findings.violated("S9", intent.at, text);
    }
}

/// S11: nothing is begun while an operation is in progress, and the way back is not taken while a call to the other
/// side is not settled. A run may repeat its own call to the same target: where every reading is of the past, nothing
/// tells it that the first one was taken, and AWS refuses the second.
fn check_nothing_at_work(bench: &mut Bench<'_>, runs: &Runs, index: usize) {
    bench.findings.checked("S11");
    let intent = &runs.intents[index];
    let global = text(&intent.mutation, "global_cluster");
    let of_global = |i: &&Intent| is_aurora(&i.mutation) && text(&i.mutation, "global_cluster") == global;
    let before = runs.intents[..index].iter().rev().find(of_global);
    let is_opposite = |before: &&Intent| text(&before.mutation, "target") != text(&intent.mutation, "target");
    let clock = bench.findings.clock(intent.at);
    if let Some(before) = before.filter(is_opposite).filter(|before| before.is_pending) {
        let text = format!(
            "at {clock} {} intended to move the writer to {} while the call to {} was not settled: both could happen",
            intent.run,
            region_of(text(&intent.mutation, "target")),
            region_of(text(&before.mutation, "target"))
        );
        bench.findings.violated("S11", intent.at, text);
    } else if before.is_none_or(|before| is_opposite(&before) || before.run != intent.run)
        && !bench.truth.ever(global, sight(intent.at), |_, is_busy| !is_busy)
    {
        let text = format!(
            "at {clock} {} intended to move the writer to {} while an operation on {global} was in progress: nobody \
             could tell which of the two had won",
            intent.run,
            region_of(text(&intent.mutation, "target"))
        );
        bench.findings.violated("S11", intent.at, text);
    }
}

/// The time that what a call rests on may have been seen in.
pub(super) fn sight(at: SimTime) -> (SimTime, SimTime) {
    (SimTime(at.0.saturating_sub(SIGHT_MS)), at)
}
