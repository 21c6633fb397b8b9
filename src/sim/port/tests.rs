//! Every fault of a call, on reads and mutations; what is logged and counted; the clock and the world's time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{Fault, Faults, LiveWorld, Moment, SimClock, SimCloud};
use crate::{
    domain::{
        application::ClusterEndpoint,
        cloud::{Mutation, ObserveError, Outcome},
        id::Region,
    },
    ports::{Clock, Cloud},
    sim::{
        faults::{CallFault, Trouble},
        world::{
            Plane, Reach, SimTime, World,
            aurora::PromotionFate,
            route53::fixture::{
                CONTROL_USE1_ARN, CONTROL_USW2_ARN, PaymentsTraffic, RECORD_NAME, ZONE_ID, cluster_regions,
            },
            scenario,
        },
    },
};

const START: SimTime = SimTime(1_795_000_000_000);
/// How long all has been well.
const WARM_MS: u64 = 30_000;
const USW2: &str = "arn:aws:rds:us-west-2:123456789012:cluster:payments-usw2";
const FAILOVER: &str = "rds:FailoverGlobalCluster";

fn region(name: &str) -> Region {
    name.parse().expect("a Region")
}

fn west() -> Region {
    region("us-west-2")
}

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// A cloud over a world in which all is well.
struct Scene {
    shared: Arc<Mutex<World>>,
    clock: SimClock,
    world: LiveWorld,
    faults: Faults,
    cloud: SimCloud,
}

fn scene() -> Scene {
    scene_of(Faults::seeded(1))
}

fn scene_of(faults: Faults) -> Scene {
    let mut world = scenario::payments(1, START, &PaymentsTraffic::default());
    world.advance_to(START.plus_ms(WARM_MS));
    let at = i64::try_from(world.now.0).expect("fits");
    let clock = SimClock::starting_at(jiff::Timestamp::from_millisecond(at).expect("in range"));
    let shared = Arc::new(Mutex::new(world));
    let world = LiveWorld::new(Arc::clone(&shared), Arc::new(clock.clone()));
    let cloud = SimCloud::new(world.clone(), faults.clone());
    Scene { shared, clock, world, faults, cloud }
}

fn fail_over() -> Mutation {
    Mutation::AuroraFailover {
        region: west(),
        global_cluster: "payments".to_owned(),
        target: USW2.parse().expect("an ARN"),
    }
}

fn endpoints() -> Vec<ClusterEndpoint> {
    let endpoint = |region: Region| ClusterEndpoint { url: format!("https://{region}.example.com/v1"), region };
    cluster_regions().into_iter().map(endpoint).collect()
}

fn flip() -> Mutation {
    let states = BTreeMap::from([(CONTROL_USE1_ARN.to_owned(), false), (CONTROL_USW2_ARN.to_owned(), true)]);
    Mutation::RoutingControls { endpoints: endpoints(), states }
}

fn put_metric() -> Mutation {
    Mutation::PutMetric {
        region: west(),
        namespace: "failoverd".to_owned(),
        metric: "door".to_owned(),
        dimensions: BTreeMap::new(),
        value: 1.0,
    }
}

fn publish() -> Mutation {
    let topic_arn = "arn:aws:sns:us-west-2:123456789012:payments-alerts".to_owned();
    Mutation::Publish { region: west(), topic_arn, subject: "s".to_owned(), message: "m".to_owned() }
}

impl Scene {
    async fn pass(&self, s: u64) {
        self.clock.sleep(seconds(s)).await;
        self.world.now(|_| ());
    }

    fn failovers(&self) -> (usize, usize) {
        self.world.now(|w| {
            let effects = &w.aurora.effects;
            (effects.len(), effects.iter().filter(|e| e.accepted).count())
        })
    }

    async fn read(&self) -> Result<String, ObserveError> {
        let read = self.cloud.global_cluster(&west(), "payments").await;
        read.map(|g| g.failover.map_or(g.status, |failover| failover.status))
    }

    fn met(&self, number: u8) -> u64 {
        self.faults.met().get(&number).copied().unwrap_or(0)
    }
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted { .. } => "accepted".to_owned(),
        Outcome::Rejected { code, .. } => code.clone(),
        Outcome::NotSent { .. } => "not sent".to_owned(),
        Outcome::Unknown { .. } => "unknown".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn every_fault_of_a_mutation_has_the_effect_and_the_answer_that_it_says() {
    let late = CallFault::Late { by: seconds(60) };
    let too_late = CallFault::Late { by: seconds(310) };
    let reject = CallFault::Reject { code: "AccessDenied" };
    // What the caller is told; accepted when it is told, and 330 s later; the numbers met.
    let cases: [(CallFault, &str, usize, usize, &[u8]); 14] = [
        (CallFault::LoseBefore, "unknown", 0, 0, &[23]),
        (CallFault::LoseAfter, "unknown", 1, 1, &[3, 23, 33]),
        (late, "unknown", 0, 1, &[33]),
        (too_late, "unknown", 0, 0, &[10, 33]),
        (CallFault::Duplicate, "accepted", 1, 1, &[34]),
        (CallFault::Hang, "unknown", 0, 0, &[23]),
        (CallFault::Refuse, "not sent", 0, 0, &[]),
        (CallFault::ServerError, "unknown", 0, 0, &[32]),
        (CallFault::ServerErrorAfter, "unknown", 1, 1, &[32]),
        (CallFault::Throttle, "Throttling", 0, 0, &[31]),
        (reject, "AccessDenied", 0, 0, &[51]),
        (CallFault::Garbage, "unknown", 1, 1, &[57]),
        (CallFault::Stale, "accepted", 1, 1, &[]),
        (CallFault::UnknownStatus, "accepted", 1, 1, &[]),
    ];
    for (fault, told, at_once, later, met) in cases {
        let scene = scene();
        scene.faults.open(FAILOVER, None, fault.clone(), 1.0);
        let outcome = scene.cloud.apply(&fail_over(), scene.clock.wall()).await;
        assert_eq!(word(&outcome), told, "{fault:?}");
        assert_eq!(scene.failovers().1, at_once, "{fault:?}");
        scene.pass(330).await;
        assert_eq!(scene.failovers().1, later, "{fault:?}");
        assert_eq!(scene.faults.met().into_keys().collect::<Vec<_>>(), met, "{fault:?}");
        let sent = scene.faults.sent();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].arrived, Some(later == 1), "{fault:?}");
        assert_eq!(sent[0].operation, FAILOVER);
        assert_eq!(sent[0].arguments["target"], USW2);
        assert_eq!(sent[0].at, START.plus_ms(WARM_MS));
        assert!(sent[0].answer.is_some(), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_sent_twice_arrives_twice() {
    let scene = scene();
    scene.faults.open("*", None, CallFault::Duplicate, 1.0);
    assert_eq!(word(&scene.cloud.apply(&fail_over(), scene.clock.wall()).await), "accepted");
    assert_eq!(word(&scene.cloud.apply(&flip(), scene.clock.wall()).await), "accepted");
    assert_eq!(word(&scene.cloud.apply(&publish(), scene.clock.wall()).await), "accepted");
    scene.pass(30).await;
    assert_eq!(scene.failovers(), (2, 1), "AWS refuses the second");
    let (flips, messages) = scene.world.now(|w| (w.arc.effects.len(), w.sns.delivered.len()));
    assert_eq!((flips, messages), (2, 2));
    assert_eq!(scene.faults.with_sent(<[_]>::len), 3, "the process sent each once");
}

/// Plays in a runtime of its own, all of whose tasks die with it.
fn life<R>(play: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(play)
}

#[test]
fn a_late_effect_comes_although_its_sender_is_dead() {
    let (faults, shared) = life(async {
        let scene = scene();
        scene.faults.open(FAILOVER, None, CallFault::Late { by: seconds(60) }, 1.0);
        let killed = tokio::time::timeout(seconds(1), scene.cloud.apply(&fail_over(), scene.clock.wall())).await;
        assert!(killed.is_err(), "it still waits for its answer");
        (scene.faults.clone(), Arc::clone(&scene.shared))
    });
    assert_eq!((faults.sent()[0].arrived, &faults.sent()[0].answer), (None, &None));
    let mut world = shared.lock().expect("nobody panics while holding it");
    world.advance_to(START.plus_ms(WARM_MS + 64_000));
    assert!(world.aurora.effects.is_empty());
    world.advance_to(START.plus_ms(WARM_MS + 66_000));
    assert_eq!(world.aurora.effects[0].at, START.plus_ms(WARM_MS + 65_000), "a minute after the timeout of 5 s");
    assert_eq!((faults.sent()[0].arrived, &faults.sent()[0].answer), (Some(true), &None));
}

#[tokio::test(start_paused = true)]
async fn a_late_effect_on_a_plane_that_is_gone_by_then_does_not_happen() {
    let scene = scene();
    scene.faults.open(FAILOVER, None, CallFault::Late { by: seconds(60) }, 1.0);
    scene.cloud.apply(&fail_over(), scene.clock.wall()).await;
    scene.world.now(|w| w.lose_region(&west()));
    scene.pass(120).await;
    assert_eq!(scene.failovers(), (0, 0));
    assert_eq!(scene.faults.sent()[0].arrived, Some(false));
}

#[tokio::test(start_paused = true)]
async fn every_fault_of_a_read_shows_what_it_says() {
    let unreachable = |reason: &str| Err(ObserveError::Unreachable { reason: reason.to_owned() });
    let malformed = Err(ObserveError::Malformed { reason: "the answer ends in the middle".to_owned() });
    let expired = Err(ObserveError::Rejected {
        code: "ExpiredToken".to_owned(),
        message: "as the simulation was told".to_owned(),
    });
    let failed = unreachable("500 InternalFailure: as the simulation was told");
    let cases: [(CallFault, Result<&str, ObserveError>, &[u8]); 12] = [
        (CallFault::LoseBefore, unreachable("the connection was cut"), &[23]),
        (CallFault::LoseAfter, unreachable("the connection was cut"), &[23]),
        (CallFault::Late { by: seconds(9) }, Ok("failing-over"), &[]),
        (CallFault::Duplicate, Ok("failing-over"), &[]),
        (CallFault::Hang, unreachable("no answer within 5 s"), &[23]),
        (CallFault::Refuse, unreachable("connection refused"), &[]),
        (CallFault::ServerError, failed.clone(), &[32]),
        (CallFault::Throttle, Err(ObserveError::Throttled), &[31]),
        (CallFault::Reject { code: "ExpiredToken" }, expired, &[50]),
        (CallFault::Stale, Ok("available"), &[35]),
        (CallFault::UnknownStatus, Ok("reticulating-splines"), &[37]),
        (CallFault::Garbage, malformed, &[57]),
    ];
    for (fault, shown, met) in cases {
        let scene = scene();
        assert_eq!(scene.read().await.as_deref(), Ok("available"));
        scene.cloud.apply(&fail_over(), scene.clock.wall()).await;
        scene.pass(20).await;
        assert_eq!(scene.read().await.as_deref(), Ok("failing-over"));
        // Another service's mutation does not make this one's older answers any younger.
        scene.cloud.apply(&put_metric(), scene.clock.wall()).await;
        let window = scene.faults.open("rds:", Some(&west()), fault.clone(), 1.0);
        assert_eq!(scene.read().await, shown.map(str::to_owned), "{fault:?}");
        assert_eq!(scene.faults.met().into_keys().collect::<Vec<_>>(), met, "{fault:?}");
        scene.faults.close(window);
        assert_eq!(scene.read().await.as_deref(), Ok("failing-over"), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn records_and_routing_controls_can_be_stale_too() {
    let scene = scene();
    let arns = [CONTROL_USW2_ARN.to_owned()];
    assert_eq!(scene.cloud.routing_controls(&endpoints(), &arns).await, Ok(vec![false]));
    scene.cloud.apply(&flip(), scene.clock.wall()).await;
    let window = scene.faults.open("*", None, CallFault::Stale, 1.0);
    assert_eq!(scene.cloud.routing_controls(&endpoints(), &arns).await, Ok(vec![false]));
    // What was never asked for has no older answer.
    assert!(scene.cloud.record_sets(ZONE_ID, RECORD_NAME, "A").await.is_ok());
    assert_eq!(scene.met(35), 1);
    scene.faults.close(window);
    assert_eq!(scene.cloud.routing_controls(&endpoints(), &arns).await, Ok(vec![true]));
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_the_service_would_answer_is_not_answered_where_the_service_is_gone() {
    let scene = scene();
    scene.world.now(|w| w.set_plane(Plane::Rds, &west(), Reach::Hangs));
    scene.faults.open("*", None, CallFault::Throttle, 1.0);
    assert_eq!(word(&scene.cloud.apply(&fail_over(), scene.clock.wall()).await), "unknown");
    assert!(matches!(scene.read().await, Err(ObserveError::Unreachable { .. })));
    assert_eq!((scene.met(31), scene.met(22)), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn planes_that_are_met_are_counted_by_their_numbers() {
    let scene = scene();
    let east = region("us-east-1");
    scene.world.now(|w| {
        w.set_plane(Plane::Sns, &west(), Reach::Throttles);
        w.set_plane(Plane::CloudWatch, &west(), Reach::Unavailable);
        w.set_plane(Plane::Rds, &west(), Reach::DeniesAccess);
        w.lose_region(&east);
    });
    assert_eq!(word(&scene.cloud.apply(&publish(), scene.clock.wall()).await), "Throttling");
    assert!(scene.cloud.alarms(&west(), &["a".to_owned()]).await.is_err());
    assert_eq!(word(&scene.cloud.apply(&fail_over(), scene.clock.wall()).await), "AccessDenied");
    assert!(scene.cloud.record_sets(ZONE_ID, RECORD_NAME, "A").await.is_err());
    let expected = [(31, 1), (32, 1), (47, 1), (51, 1), (52, 1), (53, 1), (58, 1)];
    assert_eq!(scene.faults.met(), BTreeMap::from(expected));
}

#[tokio::test(start_paused = true)]
async fn what_a_read_finds_wrong_with_a_cluster_is_counted() {
    let scene = scene();
    let arn = USW2.parse().expect("an ARN");
    assert!(scene.cloud.db_cluster(&arn).await.is_ok());
    assert!(scene.faults.met().is_empty());
    scene.world.now(|w| {
        w.aurora.set_headless(&west(), true);
        w.aurora.set_mismatched(&west(), true);
    });
    assert_eq!(scene.cloud.db_cluster(&arn).await.expect("an answer").instances, 0);
    scene.world.now(|w| {
        w.aurora.set_headless(&west(), false);
        w.aurora.set_mismatched(&west(), false);
        w.aurora.knobs.next_promotion = Some(PromotionFate::Sticks);
    });
    scene.cloud.apply(&fail_over(), scene.clock.wall()).await;
    scene.pass(600).await;
    assert_eq!(scene.read().await.as_deref(), Ok("failing-over"));
    assert_eq!(scene.faults.met(), BTreeMap::from([(36, 1), (40, 1), (41, 1)]));
}

#[tokio::test(start_paused = true)]
async fn expired_credentials_are_refused_everywhere_until_they_are_renewed() {
    let scene = scene();
    let window = scene.faults.begin(&Trouble::CredentialsExpire).expect("it concerns calls");
    assert_eq!(word(&scene.cloud.apply(&fail_over(), scene.clock.wall()).await), "ExpiredToken");
    assert_eq!(word(&scene.cloud.apply(&flip(), scene.clock.wall()).await), "ExpiredToken");
    assert!(matches!(scene.read().await, Err(ObserveError::Rejected { code, .. }) if code == "ExpiredToken"));
    assert_eq!(scene.met(50), 3);
    scene.faults.close(window);
    assert_eq!(word(&scene.cloud.apply(&fail_over(), scene.clock.wall()).await), "accepted");
    assert_eq!(scene.faults.begin(&Trouble::FencingTimesOut), None);
}

#[tokio::test(start_paused = true)]
async fn a_window_is_for_its_operations_and_its_region_only() {
    let scene = scene();
    scene.faults.open("route53:", None, CallFault::Refuse, 1.0);
    scene.faults.open("rds:DescribeGlobalClusters", Some(&region("us-east-1")), CallFault::Garbage, 1.0);
    assert!(scene.read().await.is_ok(), "another Region");
    assert!(scene.cloud.global_cluster(&region("us-east-1"), "payments").await.is_err());
    assert_eq!(word(&scene.cloud.apply(&fail_over(), scene.clock.wall()).await), "accepted", "another operation");
    assert_eq!(
        word(&scene.cloud.apply(&flip(), scene.clock.wall()).await),
        "accepted",
        "another service with a longer name"
    );
    assert!(scene.cloud.record_sets(ZONE_ID, RECORD_NAME, "A").await.is_err());
    assert_eq!(scene.faults.reads()["rds:DescribeGlobalClusters"], 2);
}

#[tokio::test(start_paused = true)]
async fn chances_are_drawn_from_the_seed_alone() {
    async fn draws(seed: u64) -> Vec<bool> {
        let scene = scene_of(Faults::seeded(seed));
        scene.faults.open("rds:", None, CallFault::Throttle, 0.3);
        let mut drawn = Vec::new();
        for _ in 0..200 {
            drawn.push(scene.read().await.is_err());
        }
        drawn
    }
    let (one, again, two) = (draws(1).await, draws(1).await, draws(2).await);
    assert_eq!(one, again);
    assert_ne!(one, two);
    let hits = one.iter().filter(|hit| **hit).count();
    assert!((40..80).contains(&hits), "{hits} of 200 at 30 %");
}

#[tokio::test(start_paused = true)]
async fn what_was_armed_comes_before_what_lasts_and_once() {
    let scene = scene();
    scene.faults.open(FAILOVER, None, CallFault::Throttle, 1.0);
    scene.faults.arm(FAILOVER, Fault::Refuse);
    assert_eq!(word(&scene.cloud.apply(&fail_over(), scene.clock.wall()).await), "not sent");
    assert_eq!(word(&scene.cloud.apply(&fail_over(), scene.clock.wall()).await), "Throttling");
}

#[tokio::test(start_paused = true)]
async fn several_mutations_stand_still_each_in_its_own_life() {
    let scene = scene();
    scene.faults.freeze_mutation(0, Moment::Before);
    scene.faults.freeze_mutation(1, Moment::After);
    scene.faults.freeze_mutation(2, Moment::Before);
    scene.faults.unfreeze_mutation(2);
    for accepted in [0, 1] {
        let mutation = fail_over();
        tokio::select! {
            outcome = scene.cloud.apply(&mutation, scene.clock.wall()) => panic!("it stands still, but {outcome:?}"),
            () = scene.faults.frozen() => (),
        }
        scene.faults.thaw();
        assert_eq!(scene.failovers().1, accepted);
    }
    let waits = tokio::time::timeout(seconds(60), scene.faults.frozen()).await;
    assert!(waits.is_err(), "nothing stands still any more");
    assert_eq!(word(&scene.cloud.apply(&flip(), scene.clock.wall()).await), "accepted");
    let told: Vec<_> = scene.faults.sent().iter().map(|s| (s.arrived, s.answer.clone())).collect();
    assert_eq!(told, [(None, None), (Some(true), None), (Some(true), Some("accepted".to_owned()))]);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_drags_neither_boot_time_nor_the_world_along() {
    for jump in [86_400, -86_400] {
        let scene = scene();
        let wall = scene.clock.wall();
        scene.pass(10).await;
        let boot = scene.clock.boot();
        scene.clock.jump(jump);
        assert_eq!(scene.clock.boot(), boot);
        assert_eq!(scene.clock.wall().duration_since(wall).as_secs(), jump + 10);
        assert_eq!(scene.world.now(|w| w.now), START.plus_ms(WARM_MS + 10_000));
        scene.pass(5).await;
        assert_eq!(scene.world.now(|w| w.now), START.plus_ms(WARM_MS + 15_000));
        // The next process finds its clock so, and the world where it is.
        let next = SimClock::starting_at(scene.clock.wall());
        let at = scene.world.time();
        let world = LiveWorld::starting_at(Arc::clone(&scene.shared), Arc::new(next), at);
        scene.clock.sleep(seconds(5)).await;
        assert_eq!(world.now(|w| w.now), START.plus_ms(WARM_MS + 20_000));
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_clock_that_is_off_nothing_is_changed_and_beyond_five_minutes_aws_refuses_to_read() {
    for (jump, changes, reads) in [(30, true, true), (-31, false, true), (299, false, true), (-301, false, false)] {
        let scene = scene();
        scene.clock.jump(jump);
        let outcome = scene.cloud.apply(&fail_over(), scene.clock.wall()).await;
        assert_eq!(word(&outcome), if changes { "accepted" } else { "not sent" }, "{jump} s");
        assert_eq!(scene.read().await.is_ok(), reads, "{jump} s");
        assert_eq!(scene.met(11), u64::from(!changes) + u64::from(!reads), "{jump} s");
        scene.clock.jump(-jump);
        assert!(scene.read().await.is_ok());
        assert_eq!(scene.clock.jumped_seconds(), 0);
    }
}
