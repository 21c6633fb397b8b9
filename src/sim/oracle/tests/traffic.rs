//! S5.

use super::*;

#[test]
fn traffic_that_moves_before_the_writer_is_found() {
    let mut stage = Stage::approved_failover();
    stage.intend("flip");
    stage.send("flip");
    stage.violates("S5", "while us-east-1 was still the writer of payments: clients would write to two databases");
}

#[test]
fn traffic_that_moves_while_an_operation_is_at_work_is_found() {
    let mut stage = Stage::approved_failover();
    stage.act("promote");
    stage.pass(30);
    let mut world = std::mem::replace(&mut stage.world, World::new(0, START));
    world.aurora.knobs.next_promotion = Some(crate::sim::world::aurora::PromotionFate::Sticks);
    world.restore_region(&region(USE1));
    stage.world = world;
    // Until the old primary is a secondary again; then somebody moves the writer, and it sticks.
    stage.pass(4 * 3_600);
    stage.world.with_aurora(|aurora, ctx| {
        aurora.switchover_global_cluster(&region(USW2), "payments", &cluster(USE1), ctx).expect("accepted");
    });
    stage.pass(200);
    stage.intend("flip");
    stage.send("flip");
    stage.finds("S5", "was not settled");
}

#[test]
fn traffic_to_servers_that_do_not_answer_is_found() {
    let mut stage = Stage::approved_failover();
    stage.world.set_plane(Plane::Application, &region(USW2), Reach::Hangs);
    stage.act("promote");
    stage.act("flip");
    stage.violates("S5", "into the void");
}

#[test]
fn servers_that_answered_after_the_promotion_and_fell_silent_since_are_nobodys_fault() {
    let mut stage = Stage::approved_failover();
    stage.act("promote");
    stage.world.set_plane(Plane::Application, &region(USW2), Reach::Hangs);
    stage.pass(60);
    stage.act("flip");
    stage.holds(&["S5"]);
}

#[test]
fn a_flip_that_turns_on_another_region_than_its_step_says_is_found() {
    let mut stage = Stage::switchover();
    stage.run = RUN.replace('1', "2");
    stage.start("switchover", USW2, USE1, None);
    let wrong = call_of("flip", "switchover", USE1, USW2);
    stage.intend_call("flip", 1, wrong.clone());
    stage.send_call(wrong);
    stage.finds("S5", "sends it elsewhere");
}

#[test]
fn records_tell_where_traffic_goes() {
    let mut stage = Stage::new();
    stage.start("switchover", USE1, USW2, None);
    let records = json!([
        { "name": "api.payments.example.com", "record_type": "A", "values": ["127.0.11.1"], "weight": 0 },
        { "name": "api.payments.example.com", "record_type": "A", "values": ["127.0.12.1"], "weight": 100 },
    ]);
    let upsert = json!({ "call": "upsert_records", "hosted_zone_id": "Z0PAYMENTS", "records": records });
    stage.intend_call("flip", 1, upsert.clone());
    let operation = "route53:ChangeResourceRecordSets".to_owned();
    let (at, durable) = (stage.world.now, stage.journal.len());
    stage.calls.push(Call { at, operation, arguments: upsert, durable, arrived: Some(true) });
    stage.look();
    assert_eq!(stage.count("S5"), 1);
    stage.finds("S5", "us-east-1 was still");
}

#[test]
fn an_application_without_a_writer_may_go_anywhere() {
    let mut stage = Stage::new();
    stage.oracle.known.global_clusters.clear();
    stage.start("switchover", USE1, USW2, None);
    stage.intend("flip");
    stage.send("flip");
    stage.holds(&["S3", "S4"]);
    assert_eq!(stage.count("S5"), 0);
}
