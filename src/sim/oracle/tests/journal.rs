//! S1, S2, S12, S14, S15, S16, S20.

use super::*;

#[test]
fn a_second_run_beside_an_active_one_is_found() {
    let mut stage = Stage::new();
    stage.start("failover", USE1, USW2, Some(60.0));
    stage.run = RUN.replace('1', "2");
    stage.start("failover", USE1, USW2, Some(60.0));
    stage.violates("S1", "two runs would work against each other");
}

#[test]
fn a_run_may_supersede_another_in_one_record() {
    let mut stage = Stage::new();
    stage.start("failover", USE1, USW2, Some(60.0));
    stage.over("superseded", Value::Null);
    stage.run = RUN.replace('1', "2");
    stage.start("failover", USE1, USW2, Some(60.0));
    stage.holds(&["S1", "S15"]);
    assert_eq!(stage.count("S1"), 2);
}

#[test]
fn a_gap_a_foreign_record_and_a_falling_epoch_are_found() {
    let broken = |change: fn(&mut Value)| {
        let mut stage = Stage::new();
        stage.journal.push(stage.sealed(Vec::new(), change));
        stage.look();
        stage
    };
    broken(|_| ()).holds(&["S2", "S16"]);
    broken(|record| record["seq"] = json!(7)).violates("S2", "a gap");
    broken(|record| record["journal"] = json!("orders")).violates("S2", "in the journal of payments");
    broken(|record| record["epoch"] = json!(0)).violates("S2", "whoever was deposed");
    let again = |record: &mut Value| record["events"] = json!([{ "event": "epoch_started", "holder": "x" }]);
    broken(again).violates("S2", "two processes");
}

#[test]
fn a_past_that_changes_or_vanishes_is_found() {
    let mut stage = Stage::new();
    stage.start("failover", USE1, USW2, Some(60.0));
    let other = Stored { at: stage.world.now, ..stage.sealed(Vec::new(), |_| ()) };
    stage.journal[0] = other;
    stage.finish(true);
    stage.violates("S2", "record 0 is not what it was");
    let mut stage = Stage::new();
    stage.start("failover", USE1, USW2, Some(60.0));
    stage.journal.pop();
    stage.look();
    stage.violates("S2", "must not vanish");
}

#[test]
fn a_damaged_record_is_nobodys_fault_until_somebody_starts_upon_it() {
    let mut stage = Stage::new();
    stage.start("failover", USE1, USW2, Some(60.0));
    stage.journal[0].bytes[10] ^= 1;
    stage.damaged.push(0);
    stage.done("gate");
    stage.finish(true);
    stage.holds(&["S16", "S2"]);
    stage.epoch = 2;
    stage.record(vec![json!({ "event": "epoch_started", "holder": "h" })]);
    stage.violates("S16", "rests on a damaged past");
}

#[test]
fn a_broken_chain_a_wrong_hash_and_garbage_are_found() {
    let mut stage = Stage::new();
    let zero = |record: &mut Value| record["prev_hash"] = json!("0".repeat(64));
    stage.journal.push(stage.sealed(Vec::new(), zero));
    stage.look();
    stage.violates("S16", "the chain is broken");
    let mut stage = Stage::new();
    stage.journal.push(Stored { hash: "0".repeat(64), ..stage.sealed(Vec::new(), |_| ()) });
    stage.look();
    stage.violates("S16", "does not have the hash");
    let mut stage = Stage::new();
    stage.journal.push(Stored { bytes: b"{".to_vec(), hash: sha256(b"{"), at: stage.world.now });
    stage.look();
    stage.violates("S16", "cannot be read");
}

#[test]
fn an_approval_of_another_plan_is_found() {
    let mut stage = Stage::new();
    stage.start("failover", USE1, USW2, Some(60.0));
    stage.approve("bob", true);
    stage.holds(&["S12"]);
    stage.plan["accepted_loss_seconds"] = json!(600.0);
    stage.approve("carol", true);
    stage.violates("S12", "nobody approved that");
}

#[test]
fn a_call_that_is_not_the_plans_is_found() {
    let mut stage = Stage::approved_failover();
    let mut call = stage.call("promote");
    stage.intend("promote");
    stage.holds(&["S14"]);
    call["region"] = json!(USE1);
    stage.intend_call("promote", 2, call);
    stage.violates("S14", "not call 0 of the plan");
}

#[test]
fn whatever_goes_on_after_its_end_is_found() {
    let mut stage = Stage::failover();
    stage.done("flip");
    stage.violates("S15", "succeeded already");
    let mut stage = Stage::failover();
    stage.run = RUN.replace('1', "3");
    stage.done("gate");
    stage.violates("S15", "never started");
    let mut stage = Stage::switchover();
    stage.start("switchover", USE1, USW2, None);
    stage.violates("S15", "started twice");
}

#[test]
fn a_step_that_is_done_and_acts_again_is_found() {
    let mut stage = Stage::approved_failover();
    stage.act("promote");
    stage.holds(&["S10"]);
    stage.intend("promote");
    stage.finds("S15", "intends a call again");
}

#[test]
fn a_record_larger_than_a_store_takes_is_found() {
    let mut stage = Stage::new();
    let verdict = |n: usize| json!({ "event": "decision_changed", "verdict": "x".repeat(n) });
    stage.record(vec![verdict(349_000)]);
    stage.holds(&["S20"]);
    stage.record(vec![verdict(350_000)]);
    stage.violates("S20", "more than a store takes");
}
