//! What a scenario expects, held against what came of it: each expectation that was not met, in words.
//!
//! Invariant: it judges by the world's side and by the journal, and changes nothing. What must never be is the oracle's.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Ending, Rehearsed,
    court::Court,
    director::Over,
    run::{self, Scene},
    verdict::Told,
};
use crate::{
    domain::application::AuroraStore,
    sim::{
        scenario::{Expectation, RunEnd},
        world::{World, aurora::Snapshot, clients::Ledger, route53::record::RrType},
    },
};

/// What an expectation is held against.
pub(super) struct Seen<'a> {
    pub(super) scene: &'a Scene<'a>,
    pub(super) world: &'a World,
    pub(super) court: &'a Court,
    pub(super) ledger: &'a Ledger,
    pub(super) events: &'a [Told],
}

/// Why the clients were not served as they should be. A scenario may ask for more than was promised, and never excuses
/// less: a disaster that is to be survived is held to the operator's own objectives.
fn unserved(within: Option<Duration>, seen: &Seen<'_>, result: &Rehearsed) -> Option<String> {
    let promised = seen.scene.setup.application.objectives;
    let within = within.map_or(promised.rto, |within| within.min(promised.rto)).as_secs_f64();
    let rpo = promised.rpo.as_secs_f64();
    match result.out_of_service_seconds {
        _ if rpo < result.loss_seconds => {
            Some(format!("{:.1} s of writes were lost; the RPO is {rpo} s", result.loss_seconds))
        }
        None => None,
        Some(_) if seen.ledger.served_again_at.is_none() => {
            Some("clients should be served again, and are not".to_owned())
        }
        Some(seconds) if within < seconds => {
            Some(format!("clients should be served again within {within} s; it took {seconds:.0} s"))
        }
        Some(_) => None,
    }
}

/// What was expected and is not so, as a sentence.
pub(super) fn unmet(expected: &Expectation, seen: &Seen<'_>, result: &Rehearsed, over: Over) -> Option<String> {
    let Seen { scene, world, court, ledger, events } = seen;
    match expected {
        Expectation::Served { within } => unserved(*within, seen, result),
        Expectation::WriterIn(region) => {
            let wrong = |store: &AuroraStore| {
                let (id, clusters) = (&store.global_cluster, store.clusters.values());
                // Where one was detached, it is the store's.
                let mut alone =
                    clusters.filter_map(|arn| world.aurora.cluster(arn.as_str())).filter(|c| c.global.is_none());
                let writer = alone.next().or_else(|| world.aurora.writer_of(id)).map(|w| w.region.to_string());
                (writer.as_deref() != Some(region.as_str())).then(|| {
                    format!(
                        "the writer of {id} should be in {region}, and is in {}",
                        writer.unwrap_or("none".to_owned())
                    )
                })
            };
            scene.setup.application.stores.values().find_map(wrong)
        }
        Expectation::TrafficIn(region) => scene.setup.application.traffic.values().find_map(|traffic| {
            let answer = world.route53.answer(world.now, &traffic.record_name, RrType::A);
            let found: Vec<String> = answer.map(|a| a.values).unwrap_or_default();
            let wanted = traffic.answers.get(region).map(String::as_str);
            let right = found.iter().any(|value| Some(value.as_str()) == wanted)
                || court.address(region).is_some_and(|address| found.contains(&address.to_string()));
            (!right).then(|| format!("{} should answer with {region}, and answers {found:?}", traffic.record_name))
        }),
        Expectation::LossAtMost(most) => (most.as_secs_f64() < ledger.loss_window_seconds).then(|| {
            format!(
                "at most {} s of writes should be lost; {} writes over {:.1} s were",
                most.as_secs_f64(),
                ledger.writes_lost,
                ledger.loss_window_seconds
            )
        }),
        Expectation::NoRun => {
            let begins = scene.begins.get();
            let started = events.iter().filter(|t| begins <= t.at && t.kind == "run_started").count();
            (0 < started).then(|| format!("no run should be started; there were {started}"))
        }
        Expectation::AsBefore => result.changed.clone(),
        Expectation::RescueKept => {
            let regions = scene.setup.application.regions.iter();
            let mut all = regions.flat_map(|region| world.aurora.snapshots(region, world.now));
            let is_kept = |s: &Snapshot| {
                !s.automatic && s.source_arn.as_ref().is_some_and(|of| of.contains(":rds:unplanned-global-failover-"))
            };
            (!all.any(is_kept)).then(|| "the old writer's rescue snapshot should be copied, and is not".to_owned())
        }
        Expectation::Run(end) => unmet_end(end, &result.ending).map(|unmet| match &result.ending {
            Ending::Unfinished => format!("{unmet}{}", at_work(events)),
            _ => unmet,
        }),
        Expectation::Armed(wanted) => {
            let armed = is_armed(events);
            (armed != *wanted).then(|| {
                let (is, should) = if armed { ("is", "should not be") } else { ("is not", "should be") };
                format!("a failover {should} armed at the end, and {is}")
            })
        }
        Expectation::Recommended(wanted) => (over.recommended != *wanted).then(|| {
            let not = if *wanted { "should have been recommended, and never was" } else { "was recommended" };
            format!("a failover {not}")
        }),
    }
}

/// What is not as it was when the rehearsal began.
pub(super) fn changed(scene: &Scene<'_>, world: &World) -> Option<String> {
    let now = run::stands(world, &scene.setup.application);
    let before = scene.before.borrow();
    let (name, was) = before.iter().find(|(name, was)| now.get(*name) != Some(*was))?;
    let is = now.get(name).map_or("gone", String::as_str);
    Some(format!("{name} should be as before, {was}, and is {is}"))
}

/// Whether something has a second person's consent and has not ended, by the journal.
fn is_armed(events: &[Told]) -> bool {
    let mut armed: BTreeSet<&str> = BTreeSet::new();
    for told in events {
        match told.kind.as_str() {
            "override_consented" => {
                armed.insert(told.event["id"].as_str().unwrap_or_default());
            }
            "override_ended" => {
                armed.remove(told.event["id"].as_str().unwrap_or_default());
            }
            "run_started" => {
                armed.remove(told.event["request"]["armed"].as_str().unwrap_or_default());
            }
            _ => {}
        }
    }
    !armed.is_empty()
}

/// The steps that have begun and not ended, as the end of a sentence.
fn at_work(events: &[Told]) -> String {
    let mut open: BTreeSet<&str> = BTreeSet::new();
    for told in events {
        let step = told.event["step"].as_str().unwrap_or_default();
        match told.kind.as_str() {
            "run_started" => open.clear(),
            "step_started" | "intent" => drop(open.insert(step)),
            "step_done" | "step_failed" | "step_skipped" => drop(open.remove(step)),
            _ => {}
        }
    }
    let open: Vec<&str> = open.into_iter().collect();
    match open.as_slice() {
        [] => String::new(),
        steps => format!(": it is at {}", steps.join(", ")),
    }
}

fn unmet_end(expected: &RunEnd, ending: &Ending) -> Option<String> {
    let met = match (expected, ending) {
        (RunEnd::Succeeded, Ending::Succeeded)
        | (RunEnd::Aborted, Ending::Aborted)
        | (RunEnd::Failed, Ending::Failed) => true,
        (RunEnd::Held { code }, Ending::Held { code: found, .. }) => code.as_ref().is_none_or(|code| code == found),
        _ => false,
    };
    let wanted = match expected {
        RunEnd::Succeeded => "succeed".to_owned(),
        RunEnd::Aborted => "be aborted".to_owned(),
        RunEnd::Failed => "fail".to_owned(),
        RunEnd::Held { code: None } => "be held".to_owned(),
        RunEnd::Held { code: Some(code) } => format!("be held on {code}"),
    };
    (!met).then(|| format!("the run should {wanted}, and {ending}"))
}
