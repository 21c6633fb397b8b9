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
    stage.pass(30);
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
    .holds(&["S6", "S17"]);
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
