//! Runs that were started alone.

use super::*;

/// Over in the year 2100, or ten seconds after the beginning.
const LATE: &str = "2100-01-01T00:00:00Z";

fn asked(stage: &mut Stage, id: &str, kind: Value, expires_at: &str) {
    let asked = json!({ "id": id, "kind": kind, "by": "alice", "reason": "why", "expires_at": expires_at });
    stage.event("override_asked", json!({ "asked": asked }));
}

fn arm(to: &str, largest_loss: f64) -> Value {
    json!({ "kind": "arm", "from": USE1, "to": to, "largest_loss_seconds": largest_loss })
}

fn consented(stage: &mut Stage, id: &str, by: &str) {
    stage.event("override_consented", json!({ "id": id, "subject": by, "reason": "agreed" }));
}

/// A Region is lost, what `armed` has recorded stands, and the automation promotes the other one.
fn promoted(armed: impl FnOnce(&mut Stage)) -> Stage {
    let mut stage = Stage::new();
    armed(&mut stage);
    stage.world.lose_region(&region(USE1));
    stage.pass(60);
    stage.start_alone("o1", 60.0);
    stage.intend("promote");
    stage.send("promote");
    stage
}

#[test]
fn two_people_who_armed_it_stand_behind_a_loss_and_nothing_less_does() {
    promoted(|s| {
        asked(s, "o1", arm(USW2, 60.0), LATE);
        consented(s, "o1", "bob");
    })
    .holds(&["S6", "S17", "S18"]);
    promoted(|_| {}).violates("S6", "nobody has asked for");
    promoted(|s| asked(s, "o1", arm(USW2, 60.0), LATE)).violates("S6", "one person behind it only");
    promoted(|s| {
        asked(s, "o1", arm(USW2, 60.0), LATE);
        consented(s, "o1", "alice");
    })
    .violates("S6", "one person behind it only");
    promoted(|s| {
        asked(s, "o1", arm("eu-west-1", 60.0), LATE);
        consented(s, "o1", "bob");
    })
    .violates("S6", "another direction");
    promoted(|s| {
        asked(s, "o1", arm(USW2, 59.0), LATE);
        consented(s, "o1", "bob");
    })
    .violates("S6", "a smaller loss");
    promoted(|s| {
        asked(s, "o1", arm(USW2, 60.0), "1990-01-01T00:00:00Z");
        consented(s, "o1", "bob");
    })
    .violates("S6", "had expired");
    promoted(|s| {
        asked(s, "o1", arm(USW2, 60.0), LATE);
        consented(s, "o1", "bob");
        s.event("override_ended", json!({ "id": "o1", "ending": "withdrawn", "subject": "bob", "why": "no" }));
    })
    .violates("S6", "was over already");
    promoted(|s| {
        asked(s, "o1", arm(USW2, 60.0), LATE);
        consented(s, "o1", "bob");
        asked(s, "o2", json!({ "kind": "kill_switch" }), LATE);
    })
    .violates("S6", "switched off");
}

#[test]
fn a_second_run_alone_before_anybody_has_acknowledged_the_first_is_found() {
    let twice = |between: &dyn Fn(&mut Stage)| {
        let mut stage = Stage::new();
        for id in ["o1", "o2"] {
            asked(&mut stage, id, arm(USW2, 60.0), LATE);
            consented(&mut stage, id, "bob");
        }
        stage.world.lose_region(&region(USE1));
        stage.pass(60);
        stage.start_alone("o1", 60.0);
        stage.over("aborted", Value::Null);
        between(&mut stage);
        stage.run = format!("{}2", &stage.run[..stage.run.len() - 1]);
        stage.start_alone("o2", 60.0);
        stage
    };
    twice(&|_| {}).violates("S17", "nobody has acknowledged it");
    let waived = json!({ "kind": "waive", "rule": "acknowledged" });
    twice(&|s| asked(s, "o3", waived.clone(), LATE)).holds(&["S17"]);
}

/// Started alone `after` seconds after us-east-1 was lost, for good or, before that, with an answer in between.
fn started_after(after: u64, answers_between: Option<u64>) -> Stage {
    let mut stage = Stage::new();
    asked(&mut stage, "o1", arm(USW2, 60.0), LATE);
    consented(&mut stage, "o1", "bob");
    if let Some(seconds) = answers_between {
        stage.world.lose_region(&region(USE1));
        stage.pass(60);
        stage.world.restore_region(&region(USE1));
        stage.pass(seconds);
    }
    stage.world.lose_region(&region(USE1));
    stage.pass(after);
    stage.start_alone("o1", 60.0);
    stage
}

#[test]
fn a_run_that_begins_by_itself_although_the_region_has_answered_lately_is_found() {
    started_after(56, None).holds(&["S18"]);
    started_after(54, None).violates("S18", "answered 54 s ago");
    started_after(56, Some(20)).holds(&["S18"]);
    started_after(20, Some(20)).violates("S18", "answered 20 s ago");
    // Nobody can have seen so short an answer for certain; the one before it is long ago.
    started_after(20, Some(3)).holds(&["S18"]);
    let mut well = Stage::new();
    asked(&mut well, "o1", arm(USW2, 60.0), LATE);
    consented(&mut well, "o1", "bob");
    well.start_alone("o1", 60.0);
    well.violates("S18", "us-east-1, which it leaves, answered 0 s ago");
}

/// The automation has failed over to us-west-2, which is then lost; `between` says what people did, and the automation
/// goes back.
fn gone_back(between: impl FnOnce(&mut Stage)) -> Stage {
    let mut stage = promoted(|s| {
        asked(s, "o1", arm(USW2, 60.0), LATE);
        consented(s, "o1", "bob");
    });
    stage.pass(200);
    stage.over("succeeded", Value::Null);
    stage.world.restore_region(&region(USE1));
    between(&mut stage);
    asked(&mut stage, "o2", arm_back(), LATE);
    consented(&mut stage, "o2", "bob");
    stage.world.lose_region(&region(USW2));
    stage.pass(60);
    let first = stage.run.clone();
    stage.run = format!("{}2", &first[..first.len() - 1]);
    stage.plan = plan("failover", USW2, USE1, Some(60.0));
    let request = json!({ "purpose": "failover", "subject": "automation", "reason": "why", "armed": "o2" });
    stage.event("run_started", json!({ "request": request, "plan": stage.plan, "evidence_since": null }));
    stage
}

fn arm_back() -> Value {
    json!({ "kind": "arm", "from": USW2, "to": USE1, "largest_loss_seconds": 60.0 })
}

#[test]
fn a_run_that_goes_back_by_itself_to_what_nobody_has_reconciled_is_found() {
    let acknowledged = |s: &mut Stage, reconciled: bool| {
        let kind = json!({ "kind": "acknowledge", "run": s.run, "reconciled": reconciled });
        asked(s, "o3", kind, LATE);
    };
    gone_back(|s| acknowledged(s, true)).holds(&["S8", "S17", "S18"]);
    gone_back(|s| acknowledged(s, false)).violates("S8", "towards us-east-1");
}

/// Somebody else than who asked has signed a salvage of `failover`, which ends as `result` says.
fn salvaged(stage: &mut Stage, failover: &str, by: &str, result: &str) {
    let first = stage.run.clone();
    stage.run = format!("{}7", &first[..first.len() - 1]);
    let mut plan = plan("salvage", USE1, USW2, None);
    plan["reconciles"] = json!(failover);
    plan["steps"] = json!([plan["steps"][1]]);
    let request = json!({ "purpose": "salvage", "subject": "carol", "reason": "why" });
    stage.event("run_started", json!({ "request": request, "plan": plan, "evidence_since": null }));
    let digest = digest_of(&plan);
    let word = json!({ "step": "approve", "subject": by, "approved": true, "digest": digest, "reason": "read it" });
    stage.event("approval_recorded", word);
    stage.over(result, Value::Null);
}

#[test]
fn a_planned_move_to_what_nobody_has_reconciled_is_found_and_a_signed_salvage_reconciles() {
    let home = |between: &dyn Fn(&mut Stage)| {
        let mut stage = promoted(|s| {
            asked(s, "o1", arm(USW2, 60.0), LATE);
            consented(s, "o1", "bob");
        });
        stage.pass(200);
        stage.over("succeeded", Value::Null);
        stage.world.restore_region(&region(USE1));
        between(&mut stage);
        let first = stage.run.clone();
        stage.run = format!("{}2", &first[..first.len() - 1]);
        let request = json!({ "purpose": "failback", "subject": "carol", "reason": "why" });
        let plan = plan("failback", USW2, USE1, None);
        stage.event("run_started", json!({ "request": request, "plan": plan, "evidence_since": null }));
        stage
    };
    home(&|s| salvaged(s, RUN, "dave", "succeeded")).holds(&["S8"]);
    home(&|_| {}).violates("S8", "a failback, began towards us-east-1");
    home(&|s| salvaged(s, RUN, "carol", "succeeded")).violates("S8", "nobody has reconciled");
    home(&|s| salvaged(s, RUN, "dave", "superseded")).violates("S8", "nobody has reconciled");
    home(&|s| salvaged(s, "payments-another", "dave", "succeeded")).violates("S8", "nobody has reconciled");
}
