//! Handmade ramps: well done, and each broken in one point.

use super::*;
use crate::sim::world::route53::{
    fixture::{RECORD_NAME, ZONE_ID},
    record::{RecordSet, Routing, RrType},
};

/// The ramp keeps each step so long.
const HOLD_SECONDS: u64 = 60;

fn weights(percent: u64) -> Value {
    let record = |id: &str, address: std::net::Ipv4Addr, weight: u64| {
        json!({
            "name": "w.payments.example.com", "record_type": "A", "ttl_seconds": 60, "values": [address.to_string()],
            "set_identifier": id, "failover": null, "weight": weight, "health_check_id": null,
        })
    };
    json!({
        "call": "upsert_records", "hosted_zone_id": ZONE_ID, "comment": percent.to_string(),
        "records": [record("use1", PRIMARY_ADDRESS, percent), record("usw2", SECONDARY_ADDRESS, 100 - percent)],
    })
}

fn ramp_calls() -> Value {
    let call = |percent: u64, role: &str| json!({ "percent": percent, "role": role, "mutation": weights(percent) });
    json!([call(50, "step"), call(100, "step"), call(0, "back"), call(50, "back")])
}

/// Two Regions share; us-east-1 is the writer already, and traffic comes back to it.
fn begun(is_written_from_all_regions: bool) -> Stage {
    assert!(RECORD_NAME.ends_with("payments.example.com."));
    let mut stage = Stage::new();
    stage.oracle = Oracle::new(Known { is_written_from_all_regions, ..known() });
    stage.look();
    let mut plan = plan("failback", USW2, USE1, None);
    plan["steps"] = json!([{
        "id": "return", "title": "return", "needs": [], "when": null,
        "action": {
            "action": "dns.weights", "traffic": "api", "from": USW2, "to": USE1, "calls": ramp_calls(),
            "hold_for_seconds": HOLD_SECONDS as f64,
        },
        "timeout_seconds": 3_600.0, "retry": { "attempts": 1, "backoff_seconds": 5.0 }, "on_failure": "hold",
    }]);
    (stage.purpose, stage.from, stage.to) = ("failback", USW2, USE1);
    stage.plan = plan;
    let request = json!({ "purpose": "failback", "subject": "alice", "reason": "why" });
    stage.event("run_started", json!({ "request": request, "plan": stage.plan, "evidence_since": null }));
    stage
}

impl Stage {
    fn weigh(&mut self, call: u64) {
        self.weigh_with(call, &ramp_calls()[usize::try_from(call).expect("small")]["mutation"].clone());
    }

    fn weigh_with(&mut self, call: u64, mutation: &Value) {
        let more = json!({ "step": "return", "attempt": 1, "call": call, "mutation": mutation, "guards": [] });
        self.event("intent", more);
        self.calls.push(Call {
            at: self.world.now,
            operation: "route53:ChangeResourceRecordSets".to_owned(),
            arguments: mutation.clone(),
            durable: self.journal.len(),
            arrived: None,
        });
        self.look();
        let accepted = json!({ "step": "return", "attempt": 1, "call": call, "outcome": { "outcome": "accepted" } });
        self.event("answered", accepted);
    }

    /// What the name servers answer from.
    fn serve(&mut self, percent: u8) {
        let mut zone = self.world.route53.zones()[ZONE_ID].clone();
        for (id, address, weight) in [("use1", PRIMARY_ADDRESS, percent), ("usw2", SECONDARY_ADDRESS, 100 - percent)] {
            let name = "w.payments.example.com".parse().expect("a name");
            let set = RecordSet::simple(name, RrType::A, 60, vec![address.to_string()]);
            zone.seed(RecordSet { routing: Routing::Weighted { set_identifier: id.to_owned(), weight }, ..set });
        }
        self.world.route53.put_zone(zone);
    }

    fn observed(&mut self, call: u64) {
        self.event("call_observed", json!({ "step": "return", "attempt": 1, "call": call, "evidence": [] }));
    }

    /// One step, in effect and kept for `seconds`.
    fn step_of(&mut self, call: u64, percent: u8, seconds: u64) {
        self.weigh(call);
        self.serve(percent);
        self.observed(call);
        self.pass(seconds);
    }
}

#[test]
fn a_ramp_that_keeps_each_step_for_its_time_violates_nothing() {
    let mut stage = begun(true);
    stage.step_of(0, 50, HOLD_SECONDS);
    stage.step_of(1, 100, HOLD_SECONDS);
    stage.done("return");
    stage.over("succeeded", Value::Null);
    stage.finish(true);
    stage.holds(&["S3", "S5", "S10", "S14", "L7"]);
}

#[test]
fn a_step_that_comes_too_early_is_found() {
    let mut stage = begun(true);
    stage.step_of(0, 50, HOLD_SECONDS - 10);
    stage.weigh(1);
    stage.violates("S10", "errors had no time to show");
}

#[test]
fn a_step_that_is_said_to_be_in_effect_and_is_not_is_found() {
    let mut stage = begun(true);
    stage.weigh(0);
    stage.serve(25);
    stage.observed(0);
    stage.violates("S10", "do not answer so");
}

#[test]
fn a_ramp_that_ends_before_its_last_step_is_found() {
    let mut stage = begun(true);
    stage.step_of(0, 50, HOLD_SECONDS);
    stage.done("return");
    stage.violates("S10", "1 of its 2 steps");
}

#[test]
fn going_on_after_a_step_back_is_found_unless_a_person_said_so() {
    let back = || {
        let mut stage = begun(true);
        stage.step_of(0, 50, HOLD_SECONDS / 2);
        stage.weigh(2);
        stage.serve(0);
        stage.pass(5);
        stage
    };
    let mut stage = back();
    stage.weigh(0);
    stage.violates("S10", "nobody had said to go on");
    let mut stage = back();
    let failed = json!({ "step": "return", "attempt": 1, "code": "ramp-stepped-back", "reason": "" });
    stage.event("step_failed", failed);
    stage.event("run_held", json!({ "step": "return", "code": "c", "reason": "", "waits_for": "an operator" }));
    stage.event("run_resumed", json!({ "subject": "alice", "reason": "mended" }));
    stage.weigh(0);
    stage.holds(&["S10"]);
}

#[test]
fn traffic_that_is_left_where_nobody_can_write_is_found() {
    let mut stage = begun(false);
    stage.weigh(0);
    stage.violates("S5", "do not reach a writer");
}

#[test]
fn traffic_to_a_target_that_does_not_answer_is_found() {
    let mut stage = begun(true);
    stage.world.set_plane(Plane::Application, &region(USE1), Reach::Hangs);
    stage.pass(40);
    stage.weigh(0);
    stage.violates("S5", "where no server answers");
}

#[test]
fn all_weights_zero_is_found() {
    let mut stage = begun(true);
    let mut zero = weights(50);
    for record in zero["records"].as_array_mut().expect("records") {
        record["weight"] = json!(0);
    }
    stage.weigh_with(0, &zero);
    stage.finds("S5", "every Region was taken out of DNS");
    stage.finds("S14", "which is not call 0");
}
