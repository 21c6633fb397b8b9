//! Life cycles of the payments topology, whole: world, clients and calls.

use super::{
    super::{
        SimTime, World,
        scenario::{Topology, two_regions},
    },
    *,
};

const START: SimTime = SimTime(1_795_000_000_000);
const USE1: &str = "arn:aws:rds:us-east-1:123456789012:cluster:payments-use1";
const USW2: &str = "arn:aws:rds:us-west-2:123456789012:cluster:payments-usw2";

fn east() -> Region {
    "us-east-1".parse().expect("valid")
}

fn west() -> Region {
    "us-west-2".parse().expect("valid")
}

/// The payments world without DNS: clients go to us-east-1 until they are sent elsewhere.
fn payments(seed: u64) -> World {
    let topology = Topology::payments();
    let mut world = two_regions(seed, START, &topology);
    world.clients.pin(Some(topology.primary.address));
    world.advance_to(START.plus_ms(30_000));
    world
}

fn run(world: &mut World, seconds: u64) {
    let to = world.now.plus_ms(seconds * 1_000);
    world.advance_to(to);
}

/// Lets time pass until the old primary is what is `expected`, at most so many seconds.
fn run_until(world: &mut World, seconds: u64, expected: Membership) {
    for _ in 0..seconds {
        if membership(world, USE1) == expected {
            return;
        }
        run(world, 1);
    }
    panic!("still {:?}, not {expected:?}", membership(world, USE1));
}

fn send_clients_west(world: &mut World) {
    world.clients.pin(Some(Topology::payments().standby.address));
}

fn fail_over(world: &mut World) -> Result<(), super::super::ApiFault> {
    let request = FailoverRequest {
        global: "payments".to_owned(),
        target: USW2.to_owned(),
        allow_data_loss: true,
        switchover: false,
    };
    world.with_aurora(|aurora, ctx| aurora.failover_global_cluster(&west(), &request, ctx))
}

fn switch_over(world: &mut World, caller: &Region, target: &str) -> Result<(), &'static str> {
    world
        .with_aurora(|aurora, ctx| aurora.switchover_global_cluster(caller, "payments", target, ctx))
        .map_err(|fault| fault.code)
}

fn status(world: &World) -> (&'static str, Option<&'static str>, String) {
    let global = world.aurora.global_cluster("payments").expect("exists");
    let state = global.operation.as_ref().map(Operation::state);
    let writer = world.aurora.writer_of("payments").expect("one writer");
    (global.status.as_str(), state, writer.id.clone())
}

fn membership(world: &World, arn: &str) -> Membership {
    world.aurora.cluster(arn).expect("exists").membership
}

fn event_ids(world: &World, region: &Region) -> Vec<u16> {
    world.aurora.events(region).map(|event| event.id).collect()
}

#[test]
fn a_switchover_loses_nothing_and_keeps_the_topology() {
    let mut world = payments(1);
    switch_over(&mut world, &east(), USW2).expect("accepted");
    let old = "payments-use1".to_owned();
    assert_eq!(status(&world), ("switching-over", Some("pending"), old));
    run(&mut world, 90);
    let new = "payments-usw2".to_owned();
    assert_eq!(status(&world), ("available", None, new));
    send_clients_west(&mut world);
    run(&mut world, 60);
    let ledger = world.clients.ledger(&world.aurora);
    assert_eq!(ledger.writes_lost, 0);
    assert!(ledger.writes_acknowledged > 500, "{ledger:?}");
    assert!(ledger.failed_seconds > 1.0 && ledger.served_again_at.is_some());
    assert_eq!(membership(&world, USE1), Membership::Connected);
    assert_eq!(event_ids(&world, &east()), [181, 183, 182, 184, 185], "{:#?}", world.log);
    assert!(event_ids(&world, &west()).contains(&397));
}

#[test]
fn a_failover_from_a_lost_region_loses_the_lag_and_brings_the_old_primary_back() {
    let mut world = payments(2);
    world.lose_region(&east());
    run(&mut world, 20);
    fail_over(&mut world).expect("accepted");
    let old = "payments-use1".to_owned();
    assert_eq!(status(&world), ("failing-over", Some("pending"), old.clone()));
    run(&mut world, 16);
    assert_eq!(status(&world), ("failing-over", Some("failing-over"), old));
    run(&mut world, 260);
    assert_eq!(membership(&world, USW2), Membership::Writer);
    assert_eq!(membership(&world, USE1), Membership::Out);
    assert!(event_ids(&world, &west()).starts_with(&[391, 238]));
    assert!(event_ids(&world, &east()).is_empty());
    send_clients_west(&mut world);
    run(&mut world, 30);
    let ledger = world.clients.ledger(&world.aurora);
    assert!((1..=8).contains(&ledger.writes_lost), "{ledger:?}");
    assert!((0.01..0.6).contains(&ledger.loss_window_seconds));
    assert!(ledger.served_again_at.is_some());

    world.restore_region(&east());
    run(&mut world, 60);
    let now = world.now;
    let region = east();
    let rescue = world.aurora.snapshots(&region, now).next().expect("rescued");
    assert!(rescue.id.starts_with("rds:unplanned-global-failover-payments-use1-20"));
    run_until(&mut world, 1_300, Membership::PendingResync);
    run_until(&mut world, 11_000, Membership::Connected);
    assert!(event_ids(&world, &west()).ends_with(&[240, 241]));
}

#[test]
fn a_partitioned_old_writer_goes_on_until_it_is_fenced_and_what_it_took_is_lost() {
    let mut world = payments(3);
    world.clients.add_inside(&east(), world.now);
    world.partition_region(&east());
    fail_over(&mut world).expect("accepted");
    run(&mut world, 300);
    let takes = |world: &World, arn| world.aurora.cluster(arn).expect("exists").takes_writes(&world.planes);
    assert!(takes(&world, USE1) && takes(&world, USW2), "two writers: split brain");
    let lost = world.clients.ledger(&world.aurora).writes_lost;
    assert!(lost > 1_000, "{lost}");
    world.restore_region(&east());
    run(&mut world, 30);
    assert!(!takes(&world, USE1));
    let fenced = world.clients.ledger(&world.aurora).writes_lost;
    run(&mut world, 60);
    assert_eq!(world.clients.ledger(&world.aurora).writes_lost, fenced);
}

#[test]
fn a_reachable_old_primary_is_fenced_before_the_promotion() {
    let mut world = payments(4);
    fail_over(&mut world).expect("accepted");
    run(&mut world, 36);
    assert!(event_ids(&world, &east()).starts_with(&[390]));
    let old = world.aurora.cluster(USE1).expect("exists");
    assert!(!old.takes_writes(&world.planes));
    run(&mut world, 200);
    assert_eq!(world.clients.ledger(&world.aurora).writes_lost, 0);
}

#[test]
fn a_promotion_that_fails_leaves_the_old_writer_as_it_was() {
    let mut world = payments(5);
    world.aurora.knobs.next_promotion = Some(PromotionFate::Fails);
    fail_over(&mut world).expect("accepted");
    run(&mut world, 300);
    assert_eq!(status(&world).0, "available");
    assert_eq!(membership(&world, USE1), Membership::Writer);
    assert!(event_ids(&world, &west()).contains(&239));
    assert!(world.clients.failing_since().is_none());

    world.aurora.knobs.next_promotion = Some(PromotionFate::Fails);
    switch_over(&mut world, &east(), USW2).expect("accepted");
    run(&mut world, 120);
    assert_eq!(event_ids(&world, &east()).last(), Some(&187));
    assert!(world.clients.failing_since().is_none());
}

#[test]
fn a_stuck_promotion_stays_until_it_is_released() {
    let mut world = payments(6);
    world.aurora.knobs.next_promotion = Some(PromotionFate::Sticks);
    fail_over(&mut world).expect("accepted");
    run(&mut world, 3_600);
    assert_eq!(status(&world).1, Some("failing-over"));
    assert!(world.with_aurora(|aurora, ctx| aurora.release_stuck("payments", ctx)));
    run(&mut world, 1);
    assert_eq!(membership(&world, USW2), Membership::Writer);
}

#[test]
fn a_switchover_waits_for_replication_and_gives_up_at_its_limit() {
    let mut world = payments(7);
    world.aurora.set_lag(USW2, LagSetting::StandsStill);
    switch_over(&mut world, &east(), USW2).expect("accepted");
    run(&mut world, 300);
    assert_eq!(status(&world).0, "switching-over");
    assert!(world.clients.failing_since().is_none(), "writes go on");
    run(&mut world, 320);
    assert_eq!(status(&world).0, "available");
    assert_eq!(membership(&world, USE1), Membership::Writer);
}

#[test]
fn a_switchover_whose_primary_is_lost_gives_way_to_a_failover() {
    let mut world = payments(10);
    switch_over(&mut world, &east(), USW2).expect("accepted");
    world.lose_region(&east());
    let busy = fail_over(&mut world).map_err(|fault| fault.code);
    assert_eq!(busy, Err("InvalidGlobalClusterStateFault"));
    run(&mut world, 140);
    assert_eq!(event_ids(&world, &west()).last(), Some(&187), "{:#?}", world.log);
    fail_over(&mut world).expect("accepted");
    run(&mut world, 250);
    assert_eq!(membership(&world, USW2), Membership::Writer);
}

#[test]
fn calls_that_cannot_work_get_their_faults_and_are_counted() {
    let mut world = payments(8);
    let gone = switch_over(&mut world, &east(), "arn:aws:rds:us-west-2:1:cluster:none");
    assert_eq!(gone, Err("DBClusterNotFoundFault"));
    let wrong_region = switch_over(&mut world, &west(), USW2);
    assert_eq!(wrong_region, Err("InvalidGlobalClusterStateFault"));
    let already = switch_over(&mut world, &east(), USE1);
    assert_eq!(already, Err("InvalidDBClusterStateFault"));
    let elsewhere = switch_over(&mut world, &"eu-west-1".parse().expect("valid"), USW2);
    assert_eq!(elsewhere, Err("GlobalClusterNotFoundFault"));

    let cluster = world.aurora.cluster_mut(USW2).expect("exists");
    cluster.engine_version = "14.10".to_owned();
    let version = fail_over(&mut world).map_err(|fault| fault.code);
    assert_eq!(version, Err("InvalidDBClusterStateFault"));
    let cluster = world.aurora.cluster_mut(USW2).expect("exists");
    cluster.engine_version = "14.9".to_owned();
    let instances = std::mem::take(&mut cluster.instances);
    let headless = fail_over(&mut world).map_err(|fault| fault.code);
    assert_eq!(headless, Err("InvalidDBClusterStateFault"));
    let cluster = world.aurora.cluster_mut(USW2).expect("exists");
    cluster.instances = instances;

    fail_over(&mut world).expect("accepted");
    let busy = fail_over(&mut world).map_err(|fault| fault.code);
    assert_eq!(busy, Err("InvalidGlobalClusterStateFault"));
    let accepted: Vec<bool> = world.aurora.effects.iter().map(|e| e.accepted).collect();
    assert_eq!(accepted, [false, false, false, false, false, false, true, false]);
}

#[test]
fn a_detached_secondary_becomes_a_writer_and_leaves_the_old_one_writable() {
    let mut world = payments(9);
    let first = world.with_aurora(|aurora, ctx| aurora.remove_from_global_cluster(&east(), "payments", USE1, ctx));
    let code = first.map_err(|fault| fault.code);
    assert_eq!(code, Err("InvalidGlobalClusterStateFault"), "last only");
    world
        .with_aurora(|aurora, ctx| aurora.remove_from_global_cluster(&west(), "payments", USW2, ctx))
        .expect("accepted");
    run(&mut world, 200);
    for arn in [USE1, USW2] {
        let cluster = world.aurora.cluster(arn).expect("exists");
        assert!(cluster.takes_writes(&world.planes), "{arn}");
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let history = |seed| {
        let mut world = payments(seed);
        world.lose_region(&east());
        fail_over(&mut world).expect("accepted");
        run(&mut world, 400);
        world.restore_region(&east());
        run(&mut world, 600);
        (world.log.clone(), world.clients.acknowledged().to_vec())
    };
    assert_eq!(history(11), history(11));
    assert_ne!(history(11).0, history(12).0);
}
