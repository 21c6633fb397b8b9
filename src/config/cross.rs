//! What must hold between applications and runbooks, and what an operator should know before the worst day.

use std::collections::BTreeSet;

use super::{
    deciding,
    runbooks::{Catalogue, shipped},
    sections::Read,
    store, vantage,
};
use crate::domain::{
    application::{Application, Mechanism},
    compile::{compile, directions},
    document::{Findings, did_you_mean},
    id::{Digest, Region, RunbookName},
    plan::{Plan, Purpose},
    signal::{SignalRole, SignalSource},
};

/// Where the control planes of Route 53 and of its health checks' metrics live [WP].
const GLOBAL_REGION: &str = "us-east-1";

/// What is faulty in itself is not held against anything else: only the cause is reported, not what follows from it.
/// `unread` are the runbooks whose files have faults of their own.
pub(super) fn check(
    read: &Read,
    runbooks: &Catalogue,
    unread: &BTreeSet<String>,
    digest: &Digest,
    found: &mut Findings,
) {
    if read.applications.is_empty() && !found.has_errors_at("applications") {
        found.error("applications", "there is no application", "[[applications]]");
    }
    let mut names = BTreeSet::new();
    for (key, app) in &read.applications {
        if !names.insert(&app.name) {
            found.error(&format!("{key}.name"), format!("`{}` stands here twice", app.name), "");
        }
        let is_whole = !found.has_errors_at(key);
        runbooks_exist(key, app, runbooks, unread, found);
        if !is_whole {
            continue;
        }
        runbooks_fit(key, app, runbooks, digest, found);
        signals(key, app, found);
        static_stability(key, app, found);
        store::survives(app, &read.store, found);
        vantage::check(key, app, read, found);
        deciding::warn(key, app, &read.auth, found);
        if app.topics.is_empty() {
            let problem = "no topics: runs tell nobody, and their notify steps are left out";
            found.warning(
                "config-no-topics",
                key,
                problem,
                "topics = [{ arn = \"arn:aws:sns:us-west-2:123456789012:oncall\" }]",
            );
        }
        for (name, traffic) in app.traffic.iter().filter(|(_, t)| t.ttl > app.objectives.rto) {
            let problem = format!("the TTL of `{}` alone is longer than the RTO", traffic.record_name);
            found.warning("config-static-stability", &format!("{key}.dns.{name}.ttl"), problem, "ttl = \"60s\"");
        }
    }
}

/// What a runbook came to in one direction.
pub type Compiled<'a> = (Purpose, &'a RunbookName, Result<Plan, Vec<String>>);

/// The plans of `app`, for each purpose that has a runbook and each direction.
pub fn plans<'a>(app: &'a Application, runbooks: &Catalogue, digest: &Digest) -> Vec<Compiled<'a>> {
    let mut all = Vec::new();
    for (purpose, name) in app.uses() {
        let Some((runbook, runbook_digest)) = runbooks.get(name) else { continue };
        for (source, target) in directions(app, purpose) {
            let plan = compile(app, runbook, purpose, source, target, None, digest, runbook_digest);
            all.push((purpose, name, plan));
        }
    }
    all
}

fn runbooks_exist(key: &str, app: &Application, runbooks: &Catalogue, unread: &BTreeSet<String>, found: &mut Findings) {
    if found.has_errors_at("runbooks") {
        return;
    }
    for (purpose, name) in app.uses() {
        if !runbooks.contains_key(name) && !unread.contains(name.as_str()) {
            let known: Vec<&str> = runbooks.keys().map(|k| k.as_str()).collect();
            let meant = did_you_mean(name.as_str(), known.iter().copied());
            let ships = match shipped().contains_key(name) {
                true => "; it ships with failoverd, and is read with `[runbooks] shipped = true`",
                false => "",
            };
            let problem = format!("there is no runbook `{name}`; runbooks: {}{meant}{ships}", known.join(", "));
            found.error(&named_at(key, app, purpose, name), problem, "");
        }
    }
}

fn runbooks_fit(key: &str, app: &Application, runbooks: &Catalogue, digest: &Digest, found: &mut Findings) {
    // The same fault in each direction is one fault.
    let mut seen = BTreeSet::new();
    for (purpose, name, plan) in plans(app, runbooks, digest) {
        for why in plan.err().unwrap_or_default() {
            if seen.insert((purpose, name, why.clone())) {
                let problem = format!("runbook `{name}` does not fit `{}`: {why}", app.name);
                found.coded("runbook-uncompilable", &named_at(key, app, purpose, name), problem, "");
            }
        }
    }
}

/// Where the application names the runbook.
fn named_at(key: &str, app: &Application, purpose: Purpose, name: &RunbookName) -> String {
    match app.drills.iter().position(|drill| drill == name) {
        Some(n) if purpose == Purpose::Drill => format!("{key}.drills[{n}]"),
        _ => format!("{key}.runbooks.{purpose}"),
    }
}

fn signals(key: &str, app: &Application, found: &mut Findings) {
    if !app.signals.iter().any(|s| s.role == SignalRole::Trigger) {
        let problem = "no signal is a trigger: ill health will not be noticed";
        found.warning("config-no-trigger", key, problem, "role = \"trigger\"");
    }
    let primary = app.regions.first().map(Region::as_str);
    for signal in &app.signals {
        let lives_in = match &signal.source {
            SignalSource::HealthCheck { .. } => GLOBAL_REGION,
            SignalSource::Alarm { region, .. } | SignalSource::Metric { region, .. } => region.as_str(),
            SignalSource::RdsEvents { of, .. } => of.as_str(),
            SignalSource::AuroraLag { .. }
            | SignalSource::Heartbeat { .. }
            | SignalSource::ReplicaLag { .. }
            | SignalSource::ReplicaBacklog { .. }
            | SignalSource::HttpProbe { .. }
            | SignalSource::TcpProbe { .. } => continue,
        };
        let of = signal.source.of().map(Region::as_str);
        if signal.role == SignalRole::Trigger && of == Some(lives_in) && primary == of {
            let problem = format!(
                "is read in {lives_in}, the Region whose loss it should tell: it will be silent then, and silence is no vote"
            );
            found.warning(
                "config-static-stability",
                &format!("{key}.signals.{}", signal.name),
                problem,
                "kind = \"http_probe\"",
            );
        }
    }
}

fn static_stability(key: &str, app: &Application, found: &mut Findings) {
    let in_global_region = app.regions.iter().any(|r| r.as_str() == GLOBAL_REGION);
    for (name, traffic) in &app.traffic {
        let at = format!("{key}.dns.{name}.mechanism");
        match &traffic.mechanism {
            Mechanism::Records { .. } if in_global_region => {
                let problem = "changing records needs Route 53's control plane, which lives in us-east-1: traffic could not be moved out of it when it is lost";
                found.warning("config-static-stability", &at, problem, "kind = \"routing_controls\"");
            }
            Mechanism::HealthSignal { region, .. } if app.regions.first() == Some(region) => {
                let problem =
                    format!("the signal is put in {region}, the preferred Region itself: put it in the standby");
                found.warning("config-static-stability", &at, problem, "region = \"us-west-2\"");
            }
            // Its Region was refused already where it is not the standby's.
            Mechanism::StandbyObject { .. } => {}
            Mechanism::Records { .. } | Mechanism::HealthSignal { .. } | Mechanism::RoutingControls { .. } => {}
        }
    }
}
