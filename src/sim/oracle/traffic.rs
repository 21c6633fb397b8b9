//! Traffic: S5 (it goes only where the writer is), and of a change of traffic S4 and S10.
//!
//! A flip is a call of ours that was intended; a standing effect that is renewed turns nothing. Route 53 failing over
//! on health by itself is an observation (DESIGN.md 6) and not judged.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use serde_json::{Value, json};

use super::{
    Bench, Call,
    calls::sight,
    drills,
    intent::Intent,
    journal::Record,
    ramp, region_of,
    runs::{Runs, Step},
    standby_object, text,
};
use crate::{
    domain::id::Region,
    sim::world::{
        SimTime, World,
        route53::record::{Routing, RrType},
    },
};

/// Routing controls were changed.
#[derive(Debug)]
struct Change {
    at: SimTime,
    /// By ARN; true is On.
    states: BTreeMap<String, bool>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    arc_seen: usize,
    s3_seen: usize,
    changes: Vec<Change>,
    /// Steps that verify an answer and have had the chance to see it, as (run, step).
    shown: BTreeSet<(String, String)>,
}

impl Traffic {
    pub(super) fn begin(&mut self, world: &World) {
        self.arc_seen = world.arc.effects.len();
        self.s3_seen = world.s3.effects.len();
    }

    pub(super) fn is_news(&self, world: &World) -> bool {
        self.arc_seen != world.arc.effects.len() || self.s3_seen != world.s3.effects.len()
    }

    /// S4 of routing controls: what arrived is what was intended last.
    pub(super) fn look(&mut self, bench: &mut Bench<'_>, runs: &Runs) {
        let effects = &bench.seen.world.arc.effects;
        for effect in effects[self.arc_seen..].iter().filter(|effect| effect.accepted) {
            let states = states_of(&effect.detail);
            bench.findings.checked("S4");
            let is_flip = |i: &&Intent| i.at <= effect.at && text(&i.mutation, "call") == "routing_controls";
            let of_these = |i: &&Intent| states_in(&i.mutation).keys().any(|arn| states.contains_key(arn));
            let last = runs.intents.iter().rev().filter(is_flip).find(of_these);
            if last.is_none_or(|last| states_in(&last.mutation) != states) {
                let text = format!(
                    "at {} routing controls were changed ({}), which is not what was intended last: an old call \
                     overtook the decision",
                    bench.findings.clock(effect.at),
                    effect.detail
                );
                bench.findings.violated("S4", effect.at, text);
            }
            self.changes.push(Change { at: effect.at, states });
        }
        self.arc_seen = effects.len();
        let objects = &bench.seen.world.s3.effects;
        for effect in &objects[self.s3_seen.min(objects.len())..] {
            standby_object::arrived(bench, runs, effect);
        }
        self.s3_seen = objects.len();
        self.watch_answers(bench, runs);
    }

    /// Whether somebody verifies an answer that was not given yet.
    pub(super) fn watches(&self, runs: &Runs) -> bool {
        self.unseen(runs).next().is_some()
    }

    /// What the name servers answer while somebody verifies it.
    fn watch_answers(&mut self, bench: &Bench<'_>, runs: &Runs) {
        let shown = self.unseen(runs).filter(|(_, action)| is_answered(bench.seen.world, action));
        let shown: Vec<_> = shown.map(|(step, _)| step).collect();
        self.shown.extend(shown);
    }

    /// Steps at work that verify an answer and cannot have seen it yet: (run, step), and what they do.
    fn unseen<'a>(&'a self, runs: &'a Runs) -> impl Iterator<Item = ((String, String), &'a Value)> {
        let steps = runs.active().into_iter().flat_map(|run| run.steps.iter().map(move |(id, step)| (run, id, step)));
        let open = steps.filter(|(_, _, step)| matches!(step, Step::Open { .. }));
        let verify = open.filter_map(|(run, id, _)| {
            let action = run.action(id).filter(|action| text(action, "action") == "dns.verify")?;
            Some(((run.id.clone(), id.clone()), action))
        });
        verify.filter(|(step, _)| !self.shown.contains(step))
    }

    /// S10 of an answer that was verified: the name servers gave it at some time while they were asked.
    pub(super) fn verified(&self, bench: &mut Bench<'_>, action: &Value, run: &str, step: &str, record: &Record) {
        if self.shown.contains(&(run.to_owned(), step.to_owned())) || is_answered(bench.seen.world, action) {
            return;
        }
        let text = format!(
            "step {step} of {run} is done at {}, and no name server has answered {} since it began: nobody can have \
             seen it",
            bench.findings.clock(record.at),
            text(action, "expected")
        );
        bench.findings.violated("S10", record.at, text);
    }

    /// S10 of a flip: the mechanism stood as it was asked to at some time since.
    pub(super) fn done(&self, bench: &mut Bench<'_>, runs: &Runs, action: &Value, first: &Intent, record: &Record) {
        let (run, step) = (first.run.as_str(), first.step.as_str());
        let calls = action["calls"].as_array().map_or(&[][..], Vec::as_slice);
        let last = runs.intents.iter().rev().find(|i| i.run == run && i.step == step && !i.is_undo);
        let is_told = last.is_some_and(|last| last.outcome == "accepted");
        if calls.iter().all(|call| self.is_so(bench, call, first, record, is_told)) {
            return;
        }
        let text = format!(
            "step {step} of {run} is done at {}, and traffic has not been turned since it was asked for",
            bench.findings.clock(record.at)
        );
        bench.findings.violated("S10", record.at, text);
    }

    /// S10 of the way back: the mechanism stood as it was before at some time since, or stands so now.
    pub(super) fn undone(&self, bench: &mut Bench<'_>, runs: &Runs, (run, step): (&str, &str), record: &Record) {
        let of_step = |i: &&Intent| i.run == run && i.step == step;
        let backs: Vec<&Intent> = runs.intents.iter().filter(|i| of_step(i) && i.is_undo).collect();
        if backs.is_empty() {
            let before = runs.intents.iter().filter(of_step).find(|i| !i.prior.is_null());
            if before.is_some_and(|before| !standby_object::is_as_before(bench.seen.world, before)) {
                let text = format!("step {step} of {run} is undone, and its object is not as before");
                bench.findings.violated("S10", record.at, text);
            }
            if let Some(before) = before.filter(|before| before.prior["states"].is_object()) {
                let wanted = states_in(&before.prior);
                if wanted.iter().any(|(arn, on)| bench.seen.world.arc.is_set_on(arn) != Some(*on)) {
                    let text = format!("step {step} of {run} is undone, and its routing controls are not as before");
                    bench.findings.violated("S10", record.at, text);
                }
            }
            return;
        }
        let is_told = |of: &Intent| {
            backs.iter().rev().find(|i| i.mutation == of.mutation).is_some_and(|last| last.outcome == "accepted")
        };
        if !backs.iter().all(|back| self.is_so(bench, &back.mutation, back, record, is_told(back))) {
            let text = format!(
                "step {step} of {run} is undone at {}, and traffic has not been turned back since it was asked for",
                bench.findings.clock(record.at)
            );
            bench.findings.violated("S10", record.at, text);
        }
    }

    fn is_so(&self, bench: &Bench<'_>, call: &Value, first: &Intent, record: &Record, is_told: bool) -> bool {
        let world = bench.seen.world;
        match text(call, "call") {
            "routing_controls" => {
                let wanted = states_in(call);
                let is_now = |(arn, on): (&String, &bool)| world.arc.is_set_on(arn) == Some(*on);
                // A call that is sent now has changed nothing that this look has not seen: `look` comes after.
                let changed = world.arc.effects.iter().skip(self.arc_seen).filter(|e| e.accepted);
                let was = |at: SimTime| first.at <= at && at <= record.at;
                wanted.iter().all(is_now)
                    || self.changes.iter().any(|c| was(c.at) && c.states == wanted)
                    || changed.into_iter().any(|e| was(e.at) && states_of(&e.detail) == wanted)
            }
            // Without the answer nobody has the change's id, and the listing is all there is to see (FAULTS.md 48).
            "upsert_records" => records_are(world, call, is_told),
            "put_object" | "delete_object" => standby_object::is_so(world, call, (first.at, record.at)),
            "put_metric" => {
                let of_it = |c: &&Call| first.at <= c.at && c.at <= record.at && c.arguments == *call;
                bench.seen.calls.iter().rev().filter(of_it).any(|c| c.arrived != Some(false))
            }
            _ => true,
        }
    }
}

/// `at us-west-2: arn=On, arn=Off`, as the world tells it.
fn states_of(detail: &str) -> BTreeMap<String, bool> {
    let list = detail.split_once(": ").map_or("", |(_, list)| list);
    let states = list.split(", ").filter_map(|entry| entry.rsplit_once('='));
    states.map(|(arn, state)| (arn.to_owned(), state == "On")).collect()
}

fn states_in(mutation: &Value) -> BTreeMap<String, bool> {
    let states = mutation["states"].as_object().into_iter().flatten();
    states.map(|(arn, on)| (arn.clone(), *on == json!(true))).collect()
}

/// Whether the name servers would answer what a step expects.
fn is_answered(world: &World, action: &Value) -> bool {
    let Ok(rtype) = text(action, "record_type").parse::<RrType>() else { return false };
    let answer = world.route53.answer(world.now, text(action, "record_name"), rtype);
    answer.is_some_and(|answer| answer.values.iter().any(|value| value == text(action, "expected")))
}

/// Whether every record of the batch is what the name servers answer from, or at least what the control plane holds.
fn records_are(world: &World, call: &Value, is_served: bool) -> bool {
    let zone = text(call, "hosted_zone_id");
    let Some(zone) = world.route53.zones().get(zone.trim_start_matches("/hostedzone/")) else { return false };
    call["records"].as_array().into_iter().flatten().all(|record| {
        let name = text(record, "name").trim_end_matches('.');
        let sets = if is_served { &zone.served } else { &zone.live };
        sets.values().any(|set| {
            set.name.as_str().trim_end_matches('.').eq_ignore_ascii_case(name)
                && set.rtype.as_str() == text(record, "record_type")
                && set.routing.set_identifier() == record["set_identifier"].as_str()
                && json!(set.values) == record["values"]
                && match &set.routing {
                    Routing::Weighted { weight, .. } => record["weight"].as_u64() == Some(u64::from(*weight)),
                    Routing::Simple | Routing::Failover { .. } => true,
                }
        })
    })
}

/// Where a call sends traffic to, by what is known of the application; empty where that does not say.
pub(super) fn sent_to(bench: &Bench<'_>, mutation: &Value) -> Vec<Region> {
    match text(mutation, "call") {
        "routing_controls" => {
            let on = states_in(mutation).into_iter().filter(|(_, on)| *on).map(|(arn, _)| arn);
            let region = |arn: String| bench.known.controls.iter().find(|(_, of)| **of == arn).map(|(r, _)| r.clone());
            on.filter_map(region).collect()
        }
        "upsert_records" => {
            let records = mutation["records"].as_array().into_iter().flatten();
            let values = records.filter(|r| r["weight"] != json!(0)).filter_map(|r| r["values"].as_array()).flatten();
            let addresses = values.filter_map(|v| v.as_str()?.parse::<Ipv4Addr>().ok());
            let region = |a: Ipv4Addr| bench.known.addresses.iter().find(|(_, of)| **of == a).map(|(r, _)| r.clone());
            addresses.filter_map(region).collect()
        }
        what @ ("put_object" | "delete_object") => standby_object::sent_to(bench.known, what == "put_object"),
        _ => Vec::new(),
    }
}

/// S5, for a call that changes traffic.
pub(super) fn check(bench: &mut Bench<'_>, runs: &Runs, call: &Call, intent: Option<&Intent>) {
    // Without a store that has one writer, traffic may go anywhere.
    if bench.known.global_clusters.is_empty() {
        return;
    }
    let forth = intent.filter(|i| !i.is_undo);
    let action = forth.and_then(|i| runs.run(&i.run)?.action(&i.step).map(|action| (i, action)));
    if let Some((intent, action)) = action.filter(|(_, action)| text(action, "action") == "dns.weights") {
        return ramp::check(bench, runs, call, intent, action);
    }
    let planned = action.and_then(|(_, action)| action["to"].as_str()?.parse::<Region>().ok());
    let mut regions = sent_to(bench, &call.arguments);
    if let Some(wrong) = planned.as_ref().and_then(|to| regions.iter().find(|region| *region != to)) {
        let text = format!(
            "at {} traffic was sent to {wrong} by a step that says it sends it elsewhere",
            bench.findings.clock(call.at)
        );
        bench.findings.violated("S5", call.at, text);
    }
    if regions.is_empty() {
        regions.extend(planned);
    }
    if drills::moves_traffic_alone(bench, runs, intent) {
        return;
    }
    for region in regions {
        check_region(bench, call, &region);
    }
}

pub(super) fn check_region(bench: &mut Bench<'_>, call: &Call, region: &Region) {
    bench.findings.checked("S5");
    let clock = bench.findings.clock(call.at);
    let here = |writer: Option<&str>| writer.is_some_and(|arn| region_of(arn) == region.as_str());
    let mut writer_since = call.at;
    for global in &bench.known.global_clusters {
        if bench.truth.ever(global, sight(call.at), |writer, is_busy| here(writer) && !is_busy) {
            let writer = bench.truth.writer_at(global, call.at).filter(|writer| here(Some(writer)));
            let since = writer.and_then(|writer| bench.truth.writer_since(global, call.at, writer));
            writer_since = writer_since.min(since.unwrap_or(call.at));
            continue;
        }
        let writer = bench.truth.writer_at(global, call.at);
        let text = match writer {
            Some(arn) if here(writer) => {
                format!(
                    "traffic was sent to {region} at {clock}, while an operation was still moving {arn}: where the \
                     writer ends up was not settled"
                )
            }
            Some(arn) => format!(
                "traffic was sent to {region} at {clock}, while {} was still the writer of {global}: clients would \
                 write to two databases, or to none",
                region_of(arn)
            ),
            None => format!("traffic was sent to {region} at {clock}, and {global} had no writer at all"),
        };
        bench.findings.violated("S5", call.at, text);
    }
    // The servers are asked after the promotion, and a call may have to be repeated since.
    let since = writer_since.min(sight(call.at).0);
    if bench.truth.answered(region, (since, call.at)) == Some(false) {
        let text = format!(
            "traffic was sent to {region} at {clock}, where no server has answered since its database took over: \
             clients would be sent into the void"
        );
        bench.findings.violated("S5", call.at, text);
    }
}
