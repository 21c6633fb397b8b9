//! S3, S4, S7, S9, S10, S11, S20, L3, L7.

use super::*;

#[test]
fn a_call_without_a_durable_intent_is_found() {
    let mut stage = Stage::approved_failover();
    stage.send("promote");
    stage.violates("S3", "without a durable intent");
}

#[test]
fn an_intent_that_became_durable_after_its_call_is_none() {
    let mut stage = Stage::approved_failover();
    let (durable, now) = (stage.journal.len(), stage.world.now);
    let (operation, arguments) = ("rds:FailoverGlobalCluster".to_owned(), stage.call("promote"));
    stage.journal.push(stage.sealed(
        vec![
            json!({ "event": "intent", "run": RUN, "step": "promote", "attempt": 1, "call": 0, "mutation": arguments }),
        ],
        |_| (),
    ));
    stage.calls.push(Call { at: now, operation, arguments, durable, arrived: None });
    stage.look();
    stage.violates("S3", "without a durable intent");
}

#[test]
fn a_second_call_on_one_intent_is_found() {
    let mut stage = Stage::approved_failover();
    stage.intend("flip");
    let call = stage.call("flip");
    let again = Call {
        at: stage.world.now,
        operation: "route53-recovery-cluster:UpdateRoutingControlStates".to_owned(),
        arguments: call,
        durable: stage.journal.len(),
        arrived: Some(false),
    };
    stage.calls.extend([again.clone(), again]);
    stage.look();
    stage.finds("S3", "another call had left for");
}

#[test]
fn a_call_on_an_intent_of_a_former_process_or_a_settled_one_is_found() {
    let mut stage = Stage::approved_failover();
    stage.intend("promote");
    stage.epoch = 2;
    stage.record(vec![json!({ "event": "epoch_started", "holder": "h" })]);
    stage.send("promote");
    stage.violates("S3", "of another epoch");
    let mut stage = Stage::approved_failover();
    stage.intend("promote");
    stage.answered("promote");
    stage.send("promote");
    stage.violates("S3", "settled already");
}

/// A failover whose traffic follows a metric that is put every minute.
fn signalled() -> (Stage, Value) {
    let mut stage = Stage::approved_failover();
    stage.act("promote");
    let put = json!({
        "call": "put_metric", "region": USW2, "namespace": "n", "metric": "m", "dimensions": {}, "value": 1.0,
    });
    let plan = &mut stage.plan;
    plan["steps"][3]["action"]["calls"] = json!([put]);
    plan["steps"][3]["action"]["standing"] = json!(true);
    let plan = plan.clone();
    stage.over("superseded", json!({ "at_least_seconds": null, "at_most_seconds": null }));
    stage.run = RUN.replace('1', "2");
    let request = json!({ "purpose": "failover", "subject": "alice" });
    stage.event("run_started", json!({ "request": request, "plan": plan }));
    stage.intend_call("flip", 1, put.clone());
    put_metric(&mut stage, &put);
    stage.done("flip");
    (stage, put)
}

fn put_metric(stage: &mut Stage, put: &Value) {
    let operation = "cloudwatch:PutMetricData".to_owned();
    let (at, durable) = (stage.world.now, stage.journal.len());
    stage.calls.push(Call { at, operation, arguments: put.clone(), durable, arrived: Some(true) });
    stage.look();
}

#[test]
fn a_standing_effect_is_renewed_without_an_intent_of_its_own_and_only_the_last_one() {
    let (mut stage, put) = signalled();
    let before = stage.count("S3");
    for _ in 0..3 {
        stage.pass(60);
        put_metric(&mut stage, &put);
    }
    stage.holds(&["S5"]);
    assert_eq!(stage.count("S3"), before + 3);
    let mut other = put;
    other["value"] = json!(0.0);
    put_metric(&mut stage, &other);
    stage.violates("S3", "without a durable intent");
}

#[test]
fn a_standing_effect_that_nobody_puts_again_is_found() {
    let ends = |seconds: u64, renewed: bool| {
        let (mut stage, put) = signalled();
        stage.over("succeeded", json!({ "at_least_seconds": 0.0, "at_most_seconds": 400.0, "basis": "" }));
        stage.pass(120);
        if renewed {
            put_metric(&mut stage, &put);
        }
        stage.pass(seconds);
        stage.finish(true);
        stage
    };
    ends(0, false).holds(&["standing"]);
    ends(100, true).holds(&["standing"]);
    ends(100, false).violates("standing", "m of n stands since");
    ends(200, true).violates("standing", "silence for the end of it");
}

#[test]
fn an_operation_that_nobody_sent_is_found() {
    let mut stage = Stage::approved_failover();
    stage.arrive(&stage.call("promote"));
    stage.look();
    stage.violates("S3", "never sent that");
}

#[test]
fn an_old_call_that_overtakes_the_decision_is_found() {
    let mut stage = Stage::switchover();
    stage.run = RUN.replace('1', "2");
    stage.switch(USW2, USE1);
    stage.holds(&["S4", "S11"]);
    // The call of the first run, once more and long after.
    let late = call_of("promote", "switchover", USE1, USW2);
    stage.arrive(&late);
    stage.look();
    // It is also the second effect of its step.
    stage.finds("S4", "an old call overtook the decision");
    stage.finds("S10", "at most one effect");
}

#[test]
fn an_old_flip_that_overtakes_the_decision_is_found() {
    let mut stage = Stage::switchover();
    let late = stage.call("flip");
    stage.run = RUN.replace('1', "2");
    stage.switch(USW2, USE1);
    stage.arrive(&late);
    stage.look();
    stage.violates("S4", "routing controls");
}

#[test]
fn a_planned_move_that_allows_loss_is_found() {
    let mut stage = Stage::new();
    stage.start("switchover", USE1, USW2, None);
    let lossy = call_of("promote", "failover", USE1, USW2);
    stage.intend_call("promote", 1, lossy.clone());
    stage.send_call(lossy);
    let found: Vec<_> = stage.oracle.violations().iter().map(|v| v.property).collect();
    assert_eq!(found, ["S14", "S7", "S6", "S6"], "{:?}", stage.oracle.violations());
}

#[test]
fn a_call_that_is_sent_as_the_other_one_is_found() {
    let mut stage = Stage::new();
    stage.start("switchover", USE1, USW2, None);
    stage.intend("promote");
    let arguments = stage.call("promote");
    let (at, durable) = (stage.world.now, stage.journal.len());
    let operation = "rds:FailoverGlobalCluster".to_owned();
    stage.calls.push(Call { at, operation, arguments, durable, arrived: Some(false) });
    stage.look();
    stage.violates("S7", "never the same call");
}

#[test]
fn a_target_that_is_the_writer_or_headless_or_of_another_version_or_elsewhere_is_found() {
    let mut stage = Stage::new();
    stage.start("switchover", USW2, USE1, None);
    stage.intend("promote");
    stage.violates("S9", "was the writer already");

    let broken = |change: fn(&mut crate::sim::world::aurora::Cluster)| {
        let mut stage = Stage::new();
        stage.world.with_aurora(|aurora, _| change(aurora.cluster_mut(&cluster(USW2)).expect("known")));
        stage.pass(1);
        stage.start("switchover", USE1, USW2, None);
        stage.intend("promote");
        stage
    };
    broken(|_| ()).holds(&["S9"]);
    broken(|c| c.instances.clear()).violates("S9", "no instance or another engine version");
    broken(|c| "15.2".clone_into(&mut c.engine_version)).violates("S9", "no instance or another engine version");

    let mut stage = Stage::new();
    stage.oracle.known.regions.pop();
    stage.start("switchover", USE1, USW2, None);
    stage.intend("promote");
    stage.violates("S9", "us-west-2 is not a Region of payments");
}

#[test]
fn a_target_that_lost_its_instances_after_it_was_looked_at_is_refused_by_aws_and_no_violation() {
    let mut stage = Stage::new();
    stage.start("switchover", USE1, USW2, None);
    stage.world.with_aurora(|aurora, _| aurora.cluster_mut(&cluster(USW2)).expect("known").instances.clear());
    stage.pass(60);
    stage.intend("promote");
    stage.holds(&["S9"]);
}

#[test]
fn a_promotion_that_is_done_before_anybody_can_have_seen_it_is_found() {
    let mut stage = Stage::approved_failover();
    stage.intend("promote");
    stage.send("promote");
    stage.answered("promote");
    stage.done("promote");
    stage.violates("S10", "nobody can have seen it");
    let mut stage = Stage::approved_failover();
    stage.done("promote");
    stage.violates("S10", "never intended");
}

#[test]
fn a_flip_that_is_done_and_turned_nothing_is_found() {
    let mut stage = Stage::approved_failover();
    stage.act("promote");
    stage.intend("flip");
    stage.done("flip");
    stage.violates("S10", "traffic has not been turned");
}

#[test]
fn an_answer_that_was_verified_and_never_given_is_found() {
    let verified = |expected: &str| {
        let mut stage = Stage::new();
        stage.plan = plan("switchover", USE1, USW2, None);
        stage.plan["steps"][3]["action"] = json!({
            "action": "dns.verify", "traffic": "api", "record_name": "api.payments.example.com", "record_type": "A",
            "servers": ["ns"], "expected": expected,
        });
        let request = json!({ "purpose": "switchover", "subject": "alice" });
        stage.event("run_started", json!({ "request": request, "plan": stage.plan }));
        stage.event("step_started", json!({ "step": "flip", "attempt": 1 }));
        stage.pass(5);
        stage.done("flip");
        stage
    };
    verified("127.0.11.1").holds(&["S10"]);
    verified("127.0.12.1").violates("S10", "no name server has answered 127.0.12.1");
}

#[test]
fn a_change_that_is_pending_is_not_done_unless_its_answer_was_lost() {
    let done = |outcome: &str, waits: u64| {
        let mut stage = Stage::approved_failover();
        stage.act("promote");
        stage.over("superseded", json!({ "at_least_seconds": null, "at_most_seconds": null }));
        let record = json!({
            "name": "api.payments.example.com", "record_type": "A", "ttl_seconds": 60, "values": ["127.0.12.1"],
            "set_identifier": "us-west-2",
        });
        let upsert = json!({ "call": "upsert_records", "hosted_zone_id": "Z0PAYMENTS", "records": [record] });
        stage.plan["steps"][3]["action"]["calls"] = json!([upsert]);
        stage.run = RUN.replace('1', "2");
        let request = json!({ "purpose": "failover", "subject": "alice" });
        stage.event("run_started", json!({ "request": request, "plan": stage.plan }));
        stage.intend_call("flip", 1, upsert.clone());
        let operation = "route53:ChangeResourceRecordSets".to_owned();
        let (at, durable) = (stage.world.now, stage.journal.len());
        stage.calls.push(Call { at, operation, arguments: upsert, durable, arrived: None });
        let zone = stage.world.route53.zones()["Z0PAYMENTS"].clone();
        let mut pending = zone.clone();
        let key = |set: &crate::sim::world::route53::record::RecordSet| set.routing.set_identifier() == Some(USW2);
        // As the control plane lists it, and the name servers do not know it yet.
        pending.served.retain(|_, set| !key(set));
        stage.world.route53.put_zone(pending);
        let more = json!({ "step": "flip", "attempt": 1, "call": 0, "outcome": { "outcome": outcome } });
        stage.event("answered", more);
        if waits > 0 {
            stage.world.route53.put_zone(zone);
        }
        stage.done("flip");
        stage
    };
    done("accepted", 60).holds(&["S10"]);
    done("unknown", 0).holds(&["S10"]);
    done("accepted", 0).violates("S10", "traffic has not been turned");
}

#[test]
fn a_message_or_a_call_that_is_sent_again_without_need_is_found() {
    let message = json!({
        "call": "publish", "region": USW2, "topic_arn": "arn:aws:sns:us-west-2:1:t", "subject": "s", "message": "m",
    });
    let written_out = |idempotent: bool| json!({ "call": "aws_call", "request": {}, "idempotent": idempotent });
    let sent_again = |publish: &serde_json::Value, outcome: &str, resumed: bool| {
        let mut stage = Stage::new();
        stage.plan = plan("switchover", USE1, USW2, None);
        stage.plan["steps"][0]["action"] = json!({
            "action": "notify", "topics": [{ "region": USW2, "arn": "arn:aws:sns:us-west-2:1:t" }], "subject": "s",
            "message": "m",
        });
        let request = json!({ "purpose": "switchover", "subject": "alice" });
        stage.event("run_started", json!({ "request": request, "plan": stage.plan }));
        for attempt in [1, 2] {
            stage.intend_call("gate", attempt, publish.clone());
            let operation = "sns:Publish".to_owned();
            let (at, durable, arguments) = (stage.world.now, stage.journal.len(), publish.clone());
            stage.calls.push(Call { at, operation, arguments, durable, arrived: None });
            stage.look();
            let more = json!({ "step": "gate", "attempt": attempt, "call": 0, "outcome": { "outcome": outcome } });
            stage.event("answered", more);
            if resumed {
                stage.event("run_resumed", json!({ "subject": "alice", "reason": "" }));
            }
        }
        stage
    };
    for once in [message, written_out(false)] {
        sent_again(&once, "rejected", false).holds(&["S10", "S3"]);
        sent_again(&once, "unknown", true).holds(&["S10"]);
        sent_again(&once, "unknown", false).violates("S10", "the first may have arrived");
    }
    sent_again(&written_out(true), "unknown", false).holds(&["S3"]);
}

#[test]
fn another_run_s_call_while_an_operation_is_in_progress_is_found_and_a_repeat_of_ones_own_is_not() {
    let mut stage = Stage::new();
    stage.world.aurora.knobs.next_promotion = Some(crate::sim::world::aurora::PromotionFate::Sticks);
    stage.start("switchover", USE1, USW2, None);
    stage.intend("promote");
    stage.send("promote");
    stage.pass(120);
    stage.holds(&["S11"]);
    stage.intend_call("promote", 2, stage.call("promote"));
    stage.holds(&["S11"]);
    stage.run = RUN.replace('1', "2");
    stage.start("switchover", USE1, USW2, None);
    stage.intend("promote");
    stage.finds("S11", "nobody could tell");
}

#[test]
fn a_step_that_moves_the_writer_twice_is_found() {
    let mut stage = Stage::switchover();
    stage.run = RUN.replace('1', "2");
    stage.start("switchover", USW2, USE1, None);
    stage.act("promote");
    // Somebody else moves it away, and the step does it all again.
    let away = call_of("promote", "switchover", USE1, USW2);
    stage.world.with_aurora(|aurora, ctx| {
        aurora.switchover_global_cluster(&region(USE1), "payments", text(&away, "target"), ctx).expect("accepted");
    });
    stage.pass(200);
    stage.intend_call("promote", 2, stage.call("promote"));
    stage.send("promote");
    stage.finds("S10", "at most one effect");
}

#[test]
fn the_opposite_of_an_unsettled_call_is_found() {
    let mut stage = Stage::new();
    stage.start("switchover", USE1, USW2, None);
    stage.intend("promote");
    stage.send("promote");
    stage.over("superseded", Value::Null);
    stage.run = RUN.replace('1', "2");
    stage.start("switchover", USW2, USE1, None);
    stage.intend("promote");
    stage.finds("S11", "both could happen");
}

#[test]
fn the_opposite_while_an_operation_is_in_progress_is_found() {
    let mut stage = Stage::switchover();
    // The console moves it, for longer than anybody could have missed.
    stage.world.aurora.knobs.next_promotion = Some(crate::sim::world::aurora::PromotionFate::Sticks);
    stage.world.with_aurora(|aurora, ctx| {
        aurora.switchover_global_cluster(&region(USW2), "payments", &cluster(USE1), ctx).expect("accepted");
    });
    stage.pass(120);
    stage.run = RUN.replace('1', "2");
    stage.start("switchover", USW2, USE1, None);
    stage.intend("promote");
    stage.finds("S11", "in progress");
}

#[test]
fn retries_without_end_are_found_and_a_persons_word_gives_one_more() {
    let mut stage = Stage::approved_failover();
    let call = stage.call("promote");
    for attempt in 1..=5 {
        stage.intend_call("promote", attempt, call.clone());
    }
    stage.event("run_held", json!({ "step": "promote", "code": "c", "reason": "", "waits_for": "an operator" }));
    stage.event("run_resumed", json!({ "subject": "alice", "reason": "" }));
    stage.intend_call("promote", 6, call.clone());
    stage.holds(&["S20"]);
    stage.intend_call("promote", 7, call);
    stage.violates("S20", "retries must end");
}

#[test]
fn a_run_that_neither_ends_nor_waits_for_a_person_is_found() {
    let mut stage = Stage::approved_failover();
    stage.pass(200);
    stage.finish(true);
    stage.holds(&["L3"]);
    let mut stage = Stage::approved_failover();
    stage.pass(400);
    stage.finish(true);
    stage.violates("L3", "neither ends nor moves");
    let mut stage = Stage::approved_failover();
    stage.pass(400);
    stage.finish(false);
    stage.holds(&[]);
}

#[test]
fn a_run_that_is_held_must_name_whom_it_waits_for() {
    let held = |waits_for: &str| {
        let mut stage = Stage::approved_failover();
        stage.event("run_held", json!({ "step": null, "code": "c", "reason": "", "waits_for": waits_for }));
        stage.pass(4_000);
        stage.finish(true);
        stage
    };
    held("an operator").holds(&["L3"]);
    held("").violates("L3", "names nobody");
}

#[test]
fn a_run_that_turns_traffic_to_and_fro_is_found() {
    let mut stage = Stage::failover();
    stage.finish(true);
    stage.holds(&["L7"]);
    let mut stage = Stage::approved_failover();
    stage.act("promote");
    stage.act("flip");
    stage.run = RUN.to_owned();
    let back = json!({ "call": "routing_controls", "endpoints": [], "states": states(USE1) });
    stage.intend_call("flip", 2, back.clone());
    stage.send_call(back);
    stage.finish(true);
    stage.finds("L7", "to and fro");
}
