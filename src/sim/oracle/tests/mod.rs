//! Handmade histories: in each the property holds and was looked at, and broken in one point it is found.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::sim::world::{
    Context, Plane, Reach,
    arc::ControlState,
    aurora::{FailoverRequest, LagSetting},
    rfc3339,
    route53::fixture::{CONTROL_USE1_ARN, CONTROL_USW2_ARN, PRIMARY_ADDRESS, PaymentsTraffic, SECONDARY_ADDRESS},
    scenario,
};

mod armings;
mod calls;
mod detach;
mod journal;
mod loss;
mod ramp;
mod traffic;

const START: SimTime = SimTime(1_795_000_000_000);
const USE1: &str = "us-east-1";
const USW2: &str = "us-west-2";
const RUN: &str = "payments-00000000000000000000000000000001";

fn region(name: &str) -> Region {
    name.parse().expect("a Region")
}

fn cluster(region: &str) -> String {
    let short = if region == USE1 { "use1" } else { "usw2" };
    format!("arn:aws:rds:{region}:123456789012:cluster:payments-{short}")
}

fn known() -> Known {
    let of = |a: &str, b: &str| BTreeMap::from([(region(USE1), a.to_owned()), (region(USW2), b.to_owned())]);
    Known {
        application: "payments".to_owned(),
        regions: vec![region(USE1), region(USW2)],
        rpo_ms: 1_000,
        rto_ms: 120_000,
        global_clusters: vec!["payments".to_owned()],
        record_name: Some("api.payments.example.com".to_owned()),
        addresses: BTreeMap::from([(region(USE1), PRIMARY_ADDRESS), (region(USW2), SECONDARY_ADDRESS)]),
        controls: of(CONTROL_USE1_ARN, CONTROL_USW2_ARN),
        is_written_from_all_regions: false,
    }
}

fn states(to: &str) -> Value {
    json!({ CONTROL_USE1_ARN: to == USE1, CONTROL_USW2_ARN: to == USW2 })
}

/// What a step of [`plan`] sends.
fn call_of(step: &str, purpose: &str, from: &str, to: &str) -> Value {
    match (step, purpose) {
        ("promote", "failover") => json!({
            "call": "aurora_failover", "region": to, "global_cluster": "payments", "target": cluster(to),
        }),
        ("promote", _) => json!({
            "call": "aurora_switchover", "region": from, "global_cluster": "payments", "target": cluster(to),
        }),
        _ => json!({ "call": "routing_controls", "endpoints": [{ "region": to, "url": "u" }], "states": states(to) }),
    }
}

/// gate → approve → promote → flip.
fn plan(purpose: &str, from: &str, to: &str, accepted: Option<f64>) -> Value {
    let aurora = |action: &str| {
        json!({
            "action": action, "store": "orders", "global_cluster": "payments",
            "from": cluster(from), "target": cluster(to), "observe_in": [to, from],
        })
    };
    let promotion = if purpose == "failover" { "aurora.failover" } else { "aurora.switchover" };
    let approval = json!({ "action": "approve", "count": 1, "expires_after_seconds": 900.0, "reason": "loss" });
    let flip = json!({
        "action": "dns.flip", "traffic": "api", "to": to, "calls": [call_of("flip", purpose, from, to)],
        "standing": false, "requires_writer": [],
    });
    let steps = [
        ("gate", Vec::new(), aurora("gate.target")),
        ("approve", vec!["gate"], approval),
        ("promote", vec!["approve"], aurora(promotion)),
        ("flip", vec!["promote"], flip),
    ];
    let step = |(id, needs, action): (&str, Vec<&str>, Value)| {
        json!({
            "id": id, "title": id, "needs": needs, "when": null, "action": action, "timeout_seconds": 300.0,
            "retry": { "attempts": 1, "backoff_seconds": 5.0 }, "on_failure": "hold",
        })
    };
    json!({
        "application": "payments", "purpose": purpose, "source": from, "target": to, "runbook": "r",
        "runbook_digest": "0".repeat(64), "config_digest": "0".repeat(64), "accepted_loss_seconds": accepted,
        "steps": steps.into_iter().map(step).collect::<Vec<_>>(),
    })
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn digest_of(plan: &Value) -> String {
    sha256(&serde_json::to_vec(plan).expect("JSON"))
}

/// A world, a journal and calls that a test writes by hand, looked at after everything.
struct Stage {
    world: World,
    journal: Vec<Stored>,
    calls: Vec<Call>,
    damaged: Vec<u64>,
    oracle: Oracle,
    epoch: u64,
    run: String,
    plan: Value,
    purpose: &'static str,
    from: &'static str,
    to: &'static str,
}

impl Stage {
    /// Two quiet minutes in which us-east-1 writes; the first epoch has begun.
    fn new() -> Self {
        let mut stage = Self {
            world: scenario::payments(1, START, &PaymentsTraffic::default()),
            journal: Vec::new(),
            calls: Vec::new(),
            damaged: Vec::new(),
            oracle: Oracle::new(known()),
            epoch: 1,
            run: RUN.to_owned(),
            plan: Value::Null,
            purpose: "failover",
            from: USE1,
            to: USW2,
        };
        stage.look();
        stage.pass(120);
        stage.record(vec![json!({ "event": "epoch_started", "holder": "h" })]);
        stage
    }

    fn look(&mut self) {
        let Self { world, journal, calls, damaged, oracle, .. } = self;
        oracle.look(&Seen { world, journal, calls, damaged });
    }

    fn finish(&mut self, healed: bool) {
        let Self { world, journal, calls, damaged, oracle, .. } = self;
        oracle.finish(&Seen { world, journal, calls, damaged }, healed);
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            let to = self.world.now.plus_ms(1_000);
            self.world.advance_to(to);
            self.look();
        }
    }

    /// The record that would follow, with `change` made to it before it is sealed.
    fn sealed(&self, events: Vec<Value>, change: impl FnOnce(&mut Value)) -> Stored {
        let before = self.journal.last().map_or_else(|| "0".repeat(64), |last| last.hash.clone());
        let mut record = json!({
            "journal": "payments", "seq": self.journal.len(), "epoch": self.epoch, "at": rfc3339(self.world.now),
            "schema_version": 1, "events": events, "prev_hash": before,
        });
        change(&mut record);
        let bytes = serde_json::to_vec(&record).expect("JSON");
        Stored { hash: sha256(&bytes), bytes, at: self.world.now }
    }

    fn record(&mut self, events: Vec<Value>) {
        self.journal.push(self.sealed(events, |_| ()));
        self.look();
    }

    fn event(&mut self, event: &str, more: Value) {
        let mut whole = json!({ "event": event, "run": self.run });
        if let (Value::Object(whole), Value::Object(more)) = (&mut whole, more) {
            whole.extend(more);
        }
        self.record(vec![whole]);
    }

    fn start(&mut self, purpose: &'static str, from: &'static str, to: &'static str, accepted: Option<f64>) {
        (self.purpose, self.from, self.to) = (purpose, from, to);
        self.plan = plan(purpose, from, to, accepted);
        let request = json!({ "purpose": purpose, "subject": "alice", "reason": "why" });
        self.event("run_started", json!({ "request": request, "plan": self.plan, "evidence_since": null }));
    }

    /// A failover that the automation starts by the arming `id`.
    fn start_alone(&mut self, id: &str, accepted: f64) {
        (self.purpose, self.from, self.to) = ("failover", USE1, USW2);
        self.plan = plan("failover", USE1, USW2, Some(accepted));
        let request = json!({ "purpose": "failover", "subject": "automation", "reason": "why", "armed": id });
        self.event("run_started", json!({ "request": request, "plan": self.plan, "evidence_since": null }));
    }

    fn approve(&mut self, subject: &str, approved: bool) {
        let digest = digest_of(&self.plan);
        let more =
            json!({ "step": "approve", "subject": subject, "approved": approved, "digest": digest, "reason": "" });
        self.event("approval_recorded", more);
    }

    fn call(&self, step: &str) -> Value {
        call_of(step, self.purpose, self.from, self.to)
    }

    fn intend(&mut self, step: &str) {
        let mutation = self.call(step);
        self.intend_call(step, 1, mutation);
    }

    fn intend_call(&mut self, step: &str, attempt: u64, mutation: Value) {
        let more = json!({ "step": step, "attempt": attempt, "call": 0, "mutation": mutation, "guards": [] });
        self.event("intent", more);
    }

    /// The call of a step leaves and arrives.
    fn send(&mut self, step: &str) {
        self.send_call(self.call(step));
    }

    fn send_call(&mut self, arguments: Value) {
        let operation = match text(&arguments, "call") {
            "aurora_failover" => "rds:FailoverGlobalCluster",
            "aurora_switchover" => "rds:SwitchoverGlobalCluster",
            _ => "route53-recovery-cluster:UpdateRoutingControlStates",
        };
        self.calls.push(Call {
            at: self.world.now,
            operation: operation.to_owned(),
            arguments: arguments.clone(),
            durable: self.journal.len(),
            arrived: None,
        });
        self.look();
        self.arrive(&arguments);
        self.look();
    }

    fn arrive(&mut self, call: &Value) {
        if let Some(states) = call["states"].as_object() {
            let state = |on: &Value| if *on == json!(true) { ControlState::On } else { ControlState::Off };
            let entries: Vec<_> = states.iter().map(|(arn, on)| (arn.clone(), state(on))).collect();
            let World { rng, planes, log, arc, now, .. } = &mut self.world;
            let mut ctx = Context { now: *now, rng, planes, log };
            arc.update_states(&mut ctx, &region(USW2), "UpdateRoutingControlStates", &entries, &[]).expect("accepted");
            return;
        }
        let request = FailoverRequest {
            global: "payments".to_owned(),
            target: text(call, "target").to_owned(),
            allow_data_loss: text(call, "call") == "aurora_failover",
            switchover: text(call, "call") == "aurora_switchover",
        };
        let caller = region(text(call, "region"));
        let called = self.world.with_aurora(|aurora, ctx| aurora.failover_global_cluster(&caller, &request, ctx));
        called.expect("accepted");
    }

    fn answered(&mut self, step: &str) {
        let more = json!({ "step": step, "attempt": 1, "call": 0, "outcome": { "outcome": "accepted" } });
        self.event("answered", more);
    }

    fn done(&mut self, step: &str) {
        self.event("step_done", json!({ "step": step, "evidence": [], "outputs": {} }));
    }

    /// A step with an effect, from its intent to its end.
    fn act(&mut self, step: &str) {
        self.intend(step);
        self.send(step);
        self.pass(1);
        self.answered(step);
        self.pass(if step == "promote" { 200 } else { 5 });
        self.done(step);
    }

    fn over(&mut self, result: &str, loss: Value) {
        self.event("run_finished", json!({ "result": result, "reason": "", "loss": loss }));
    }

    /// us-east-1 is lost; a run is asked for half a minute later, and approved.
    fn approved_failover() -> Self {
        let mut stage = Self::new();
        stage.world.lose_region(&region(USE1));
        stage.pass(30);
        stage.start("failover", USE1, USW2, Some(60.0));
        stage.done("gate");
        stage.approve("bob", true);
        stage.done("approve");
        stage
    }

    /// All of it, well done.
    fn failover() -> Self {
        let mut stage = Self::approved_failover();
        stage.act("promote");
        stage.act("flip");
        stage.over("succeeded", json!({ "at_least_seconds": 0.0, "at_most_seconds": 40.0, "basis": "" }));
        stage.pass(60);
        stage
    }

    /// A planned move there, well done.
    fn switchover() -> Self {
        let mut stage = Self::new();
        stage.switch(USE1, USW2);
        stage
    }

    fn switch(&mut self, from: &'static str, to: &'static str) {
        self.start("switchover", from, to, None);
        self.act("promote");
        self.act("flip");
        self.over("succeeded", json!({ "at_least_seconds": 0.0, "at_most_seconds": 0.0, "basis": "" }));
        self.pass(60);
    }

    fn count(&self, property: &str) -> u64 {
        self.oracle.checked()[property]
    }

    /// Nothing is wrong, and `properties` were looked at.
    #[track_caller]
    fn holds(&self, properties: &[&str]) {
        assert_eq!(self.oracle.violations(), &[]);
        for property in properties {
            assert!(self.count(property) > 0, "{property} was never looked at");
        }
    }

    /// `property` is violated, among others, and the text says so.
    #[track_caller]
    fn finds(&self, property: &str, says: &str) {
        let found = self.oracle.violations();
        assert!(found.iter().any(|v| v.property == property && v.text.contains(says)), "{found:#?}");
    }

    /// `property` and nothing else is violated, and the text says so.
    #[track_caller]
    fn violates(&self, property: &str, says: &str) {
        let found = self.oracle.violations();
        assert!(!found.is_empty(), "nothing was found");
        for violation in found {
            assert_eq!(violation.property, property, "{violation:?}");
        }
        assert!(found.iter().any(|v| v.text.contains(says)), "{found:#?}");
    }
}

#[test]
fn a_failover_and_a_switchover_that_are_well_done_violate_nothing() {
    let mut stage = Stage::failover();
    stage.finish(true);
    stage.holds(&["S1", "S2", "S3", "S4", "S5", "S6", "S7", "S9", "S10", "S12", "S14", "S15", "S16", "S20"]);
    stage.holds(&["history", "L3", "L7"]);
    let mut stage = Stage::switchover();
    stage.finish(true);
    stage.holds(&["S3", "S4", "S5", "S7", "S9", "S10", "S15", "history", "L3"]);
    assert_eq!(stage.count("S6"), 0, "nothing was allowed to be lost");
}

#[test]
fn a_property_that_was_never_looked_at_shows_its_zero() {
    let oracle = Oracle::new(known());
    assert_eq!(oracle.checked().len(), PROPERTIES.len());
    assert!(oracle.checked().values().all(|count| *count == 0));
}
