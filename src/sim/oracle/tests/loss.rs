//! S6 and the model oracle.

use super::*;

#[test]
fn a_loss_that_no_second_person_approved_is_found() {
    let check = |words: &[(&str, bool)]| {
        let mut stage = Stage::new();
        stage.world.lose_region(&region(USE1));
        stage.pass(30);
        stage.start("failover", USE1, USW2, Some(60.0));
        for (who, approved) in words {
            stage.approve(who, *approved);
        }
        stage.intend("promote");
        stage.send("promote");
        stage
    };
    check(&[("bob", true)]).holds(&["S6"]);
    check(&[("bob", false), ("carol", true)]).holds(&["S6"]);
    check(&[]).violates("S6", "one person alone");
    check(&[("alice", true)]).violates("S6", "one person alone");
    check(&[("bob", true), ("carol", false)]).violates("S6", "one person alone");
}

#[test]
fn an_approval_that_came_after_the_intent_is_none() {
    let mut stage = Stage::new();
    stage.world.lose_region(&region(USE1));
    stage.pass(30);
    stage.start("failover", USE1, USW2, Some(60.0));
    stage.intend("promote");
    stage.approve("bob", true);
    stage.send("promote");
    stage.violates("S6", "one person alone");
}

#[test]
fn an_approval_that_came_after_it_had_expired_is_none() {
    let approved_after = |seconds: u64, clock_ahead: i64| {
        let mut stage = Stage::new();
        stage.world.aurora.set_lag(&cluster(USW2), LagSetting::Fixed(1_000));
        stage.start("failover", USE1, USW2, Some(60.0));
        stage.event("step_started", json!({ "step": "approve", "attempt": 1 }));
        stage.pass(seconds);
        let digest = digest_of(&stage.plan);
        let word = json!({
            "event": "approval_recorded", "run": stage.run, "step": "approve", "subject": "bob", "approved": true,
            "digest": digest, "reason": "",
        });
        let at = SimTime(stage.world.now.0.saturating_add_signed(clock_ahead * 1_000));
        stage.journal.push(stage.sealed(vec![word], |record| record["at"] = json!(rfc3339(at))));
        stage.look();
        stage.intend("promote");
        stage.send("promote");
        stage
    };
    approved_after(899, 0).holds(&["S6"]);
    approved_after(910, 0).violates("S6", "one person alone");
    // A restart in between would have read the time that was spent off a clock that is a minute wrong.
    approved_after(910, -60).holds(&["S6"]);
}

#[test]
fn a_loss_over_what_was_accepted_is_found() {
    let promoted_after = |seconds| {
        let mut stage = Stage::approved_failover();
        stage.pass(seconds);
        stage.intend("promote");
        stage.send("promote");
        stage
    };
    promoted_after(20).holds(&["S6"]);
    promoted_after(60).violates("S6", "more could be lost than anybody agreed to");
}

#[test]
fn replication_that_stands_still_counts_though_everything_is_up() {
    let mut stage = Stage::new();
    stage.world.aurora.set_lag(&cluster(USW2), LagSetting::StandsStill);
    stage.pass(100);
    stage.start("failover", USE1, USW2, Some(60.0));
    stage.approve("bob", true);
    stage.intend("promote");
    stage.send("promote");
    stage.violates("S6", "more could be lost");
}

#[test]
fn a_loss_that_nobody_accepted_is_found() {
    let mut stage = Stage::new();
    stage.start("failover", USE1, USW2, None);
    stage.approve("bob", true);
    stage.intend("promote");
    stage.send("promote");
    stage.violates("S6", "nobody had accepted any loss");
}

/// A lost Region, of which the run reports `at_least` and `at_most`.
fn reported(loss: Value) -> Stage {
    let mut stage = Stage::new();
    stage.world.aurora.set_lag(&cluster(USW2), LagSetting::Fixed(8_000));
    stage.pass(60);
    stage.world.lose_region(&region(USE1));
    stage.pass(10);
    stage.start("failover", USE1, USW2, Some(60.0));
    stage.approve("bob", true);
    stage.act("promote");
    stage.act("flip");
    stage.over("succeeded", loss);
    stage.pass(60);
    stage.finish(true);
    stage
}

fn interval(at_least: f64, at_most: f64) -> Value {
    json!({ "at_least_seconds": at_least, "at_most_seconds": at_most, "basis": "" })
}

#[test]
fn a_reported_loss_must_hold_the_true_one() {
    reported(interval(5.0, 12.0)).holds(&["history"]);
    reported(interval(7.5, 8.5)).holds(&["history"]);
    reported(json!({ "at_least_seconds": null, "at_most_seconds": null })).holds(&["history"]);
    reported(interval(0.0, 5.0)).violates("history", "8.0 s of writes were not replicated");
    reported(interval(10.0, 20.0)).violates("history", "only 8.0 s of writes are lost");
    reported(interval(9.0, 7.9)).violates("history", "that is no interval");
    reported(Value::Null).violates("history", "without a word on its loss");
}

#[test]
fn a_daemons_wrong_clock_is_allowed_for() {
    let mut stage = Stage::approved_failover();
    stage.act("promote");
    stage.act("flip");
    let ahead = rfc3339(SimTime(stage.world.now.0 + 3_600_000));
    let over = json!({ "event": "run_finished", "run": RUN, "result": "succeeded", "reason": "", "loss": interval(0.0, 3_600.0) });
    stage.journal.push(stage.sealed(vec![over], |record| record["at"] = json!(ahead)));
    stage.finish(true);
    stage.holds(&["history"]);
}

#[test]
fn a_deposed_writer_that_goes_on_makes_the_report_too_small_and_after_a_fence_it_must_not() {
    let played = |fence: bool| {
        let mut stage = Stage::new();
        let now = stage.world.now;
        stage.world.clients.add_inside(&region(USE1), now);
        if !fence {
            stage.world.partition_region(&region(USE1));
        }
        stage.pass(10);
        stage.start("failover", USE1, USW2, Some(60.0));
        stage.approve("bob", true);
        stage.act("promote");
        stage.act("flip");
        stage.pass(600);
        stage.over("succeeded", interval(0.0, 250.0));
        stage.finish(true);
        stage
    };
    played(true).holds(&["history"]);
    played(false).violates("history", "went on acknowledging");
}

#[test]
fn writes_that_vanish_in_a_planned_move_are_found() {
    let mut stage = Stage::switchover();
    stage.finish(true);
    stage.holds(&["history"]);
    let mut stage = Stage::approved_failover();
    stage.act("promote");
    // As if the writes had gone without a failover.
    stage.oracle.truth.promotions.clear();
    stage.finish(true);
    stage.violates("history", "no promotion left them behind");
}

#[test]
fn a_second_look_at_the_same_is_no_second_count() {
    let mut stage = Stage::failover();
    let counts = stage.oracle.checked().clone();
    stage.look();
    stage.look();
    assert_eq!(*stage.oracle.checked(), counts);
}
