//! Several replicas of the engine over one journal: one leads, and whatever becomes of it, another goes on, and no
//! effect happens twice.

use std::time::Duration;

use failoverd::{
    domain::{
        cloud::Outcome,
        id::RunId,
        journal::Event,
        run::{Phase, RunResult, StepState},
        signature::{Check, UNVERIFIED_WITHIN},
    },
    engine::{
        control::{Act, Control, Refusal, Started, Wish},
        recover,
    },
    sim::{faults::CallFault, port::Faults, rehearse::leases::MemoryLeases},
};

use crate::support::{
    Live, Scene, incarnation, payments,
    replica::{CALL, Cut, Gate, LEASE},
};

/// A replica at work.
struct Replica {
    live: Live,
    gate: Gate,
}

impl Replica {
    fn leads(&self) -> bool {
        self.live.engine.leader(&payments()).is_some_and(|leader| leader.here)
    }

    fn leader(&self) -> Option<String> {
        self.live.engine.leader(&payments()).map(|leader| leader.holder)
    }

    fn is_ready(&self) -> bool {
        self.live.engine.readiness().ready
    }
}

/// What all replicas share.
struct Stage {
    scene: Scene,
    leases: MemoryLeases,
}

impl Stage {
    fn new(seed: u64) -> Self {
        Self { scene: Scene::payments(seed, 240), leases: MemoryLeases::default() }
    }

    async fn replica(&self, holder: &str) -> Replica {
        self.replica_behind(Gate::default(), holder).await
    }

    async fn replica_behind(&self, gate: Gate, holder: &str) -> Replica {
        let (behind, leases) = (gate.clone(), self.leases.clone());
        let arrange = |parts| behind.around(parts, &leases, holder);
        let live = self.scene.start_as(0, self.scene.reopened(), Faults::default(), arrange).await;
        Replica { live, gate }
    }

    /// `a` leads and knows its application, `b` and `c` follow.
    async fn three(&self) -> [Replica; 3] {
        let a = self.replica("a").await;
        a.live.until("a leads", 5, |_| a.leads()).await;
        let (b, c) = (self.replica("b").await, self.replica("c").await);
        a.live.ready().await;
        [a, b, c]
    }
}

async fn until(replica: &Replica, what: &str, within: Duration, seen: impl Fn() -> bool) -> Duration {
    let began = replica.live.clock.boot();
    while !seen() {
        let passed = replica.live.clock.boot() - began;
        assert!(passed < within, "not within {within:?}: {what}");
        replica.live.clock.sleep(Duration::from_millis(50)).await;
    }
    replica.live.clock.boot() - began
}

/// The run, as this replica knows it, once it is finished.
async fn finished(replica: &Replica, run: &RunId) -> RunResult {
    let phase = || replica.live.engine.history(&payments()).and_then(|h| h.runs.get(run).map(|r| r.phase.clone()));
    until(replica, "the run is finished", Duration::from_secs(1_800), || {
        matches!(phase(), Some(Phase::Finished { .. }))
    })
    .await;
    match phase() {
        Some(Phase::Finished { result, .. }) => result,
        other => panic!("{other:?}"),
    }
}

/// FAULTS.md 84, of several replicas: the leader dies as soon as it has begun what was due, and nobody begins it again.
#[test]
fn of_three_replicas_one_begins_a_scheduled_drill_and_its_death_begins_no_other() {
    incarnation(async {
        let mut stage = Stage::new(84);
        stage.scene.application.drills.push("drill-readiness".parse().expect("a name"));
        stage.scene.application.schedules.push(crate::drill_schedules::daily(
            "nightly",
            "drill-readiness",
            "15 11 * * *",
        ));
        let [a, b, c] = stage.three().await;
        let scheduled = |replica: &Replica| {
            let history = replica.live.engine.history(&payments());
            let is_scheduled =
                |run: &&std::sync::Arc<failoverd::domain::run::RunState>| run.request.subject.schedule().is_some();
            history.map_or(0, |h| h.runs.values().filter(is_scheduled).count())
        };
        until(&a, "the drill begins", Duration::from_secs(600), || scheduled(&a) == 1).await;
        a.gate.freeze();
        until(&b, "another replica leads", Duration::from_secs(120), || b.leads() || c.leads()).await;
        let next = if b.leads() { &b } else { &c };
        next.live.pass(1_200).await;
        assert_eq!(scheduled(next), 1);
        let history = next.live.engine.history(&payments()).expect("a history");
        let name = "nightly".parse().expect("a name");
        assert_eq!(history.schedules.get(&name).expect("followed").began_count, 1);
        assert!(history.active_run().is_none(), "the next leader has brought it to its end");
    });
}

#[test]
fn one_replica_leads_and_the_others_say_who() {
    incarnation(async {
        let stage = Stage::new(1);
        let [a, b, c] = stage.three().await;
        b.live.pass(6).await;
        assert!(a.leads() && !b.leads() && !c.leads());
        assert_eq!((b.leader().as_deref(), c.leader().as_deref()), (Some("a"), Some("a")));
        assert!(a.is_ready() && b.is_ready() && c.is_ready(), "{:?}", b.live.engine.readiness());
        // A follower starts nothing, and says where to ask.
        let refused = b.live.ask(Live::request(Wish::Switchover)).await;
        let Err(Refusal::NotLeader { leader: Some(leader), .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(leader.url.as_deref(), Some("http://a.example.com:8080"));
        // What is recorded there is seen here.
        let run = a.live.begin(Wish::Switchover).await;
        until(&b, "b sees the run", LEASE, || {
            b.live.engine.history(&payments()).is_some_and(|h| h.runs.contains_key(&run))
        })
        .await;
        assert_eq!(finished(&a, &run).await, RunResult::Succeeded);
        assert_eq!(finished(&c, &run).await, RunResult::Succeeded);
        assert_eq!(a.live.accepted("SwitchoverGlobalCluster"), 1);
    });
}

#[test]
fn a_leader_that_dies_in_a_failover_is_followed_within_the_lease_and_a_second() {
    for moment in 0..8 {
        incarnation(async {
            let stage = Stage::new(moment);
            let [a, b, c] = stage.three().await;
            a.live.lose("us-east-1");
            a.live.pass(5).await;
            let run = a.live.begin(Wish::Failover).await;
            a.live.approve(&run).await;
            a.live.clock.sleep(Duration::from_millis(3_300 * moment)).await;
            a.gate.freeze();
            let took = until(&b, "another leads", LEASE + Duration::from_secs(2), || b.leads() || c.leads()).await;
            assert!(took <= LEASE + Duration::from_secs(1), "{took:?} after {moment}");
            let successor = if b.leads() { &b } else { &c };
            assert_eq!(finished(successor, &run).await, RunResult::Succeeded, "after {moment}");
            assert_eq!(b.live.accepted("FailoverGlobalCluster"), 1, "after {moment}");
            assert!(!(b.leads() && c.leads()));
        });
    }
}

#[test]
fn what_a_leader_sends_that_stood_still_has_no_second_effect() {
    // Thawed while a signature would still be taken, and when it is too old. (Stopped in its last look, it sends nothing
    // any more; where the call itself stands still is `replica_processes` and the test below.)
    for still in [40, 400] {
        incarnation(async {
            let stage = Stage::new(7);
            let [a, b, c] = stage.three().await;
            a.live.lose("us-east-1");
            a.live.pass(5).await;
            let run = a.live.begin(Wish::Failover).await;
            a.live.approve(&run).await;
            // It stands still between its last look and the call that promotes.
            a.gate.freeze_effects();
            let promoting = |live: &Live| live.step(&run, "promote.main").is_in_flight();
            a.live.until("it promotes", 120, promoting).await;
            a.live.pass(2).await;
            a.gate.freeze();
            until(&b, "another leads", LEASE + Duration::from_secs(2), || b.leads() || c.leads()).await;
            let successor = if b.leads() { &b } else { &c };
            assert_eq!(finished(successor, &run).await, RunResult::Succeeded);
            b.live.pass(still).await;
            a.gate.thaw();
            b.live.pass(120).await;
            assert!(!a.leads());
            assert_eq!(a.leader(), successor.leader());
            assert_eq!(b.live.accepted("FailoverGlobalCluster"), 1, "thawed after {still} s");
            assert_eq!(finished(&a, &run).await, RunResult::Succeeded, "it follows");
        });
    }
}

#[test]
fn a_leader_that_is_cut_from_the_store_begins_nothing_and_another_goes_on() {
    for cut in [Cut::There, Cut::Back] {
        incarnation(async {
            let stage = Stage::new(3);
            let [a, b, c] = stage.three().await;
            let run = a.live.begin(Wish::Switchover).await;
            a.live.pass(3).await;
            a.gate.cut_store(Some(cut));
            until(&b, "it stops itself first", LEASE * 2 / 3 + Duration::from_secs(4), || !a.leads()).await;
            assert!(!b.leads() && !c.leads(), "before anybody takes over");
            until(&b, "another leads", LEASE, || b.leads() || c.leads()).await;
            let successor = if b.leads() { &b } else { &c };
            assert_eq!(finished(successor, &run).await, RunResult::Succeeded, "{cut:?}");
            let reasons = a.live.engine.readiness().reasons;
            assert!(reasons.iter().any(|r| r.contains("out of reach")), "{reasons:?}");
            a.gate.cut_store(None);
            until(&a, "it follows again", LEASE, || a.is_ready()).await;
            assert!(!a.leads());
            assert_eq!(b.live.accepted("SwitchoverGlobalCluster"), 1, "{cut:?}");
        });
    }
}

#[test]
fn with_the_store_out_of_reach_for_all_a_run_stands_still_and_goes_on_by_itself_when_it_is_back() {
    incarnation(async {
        let stage = Stage::new(4);
        let all = stage.three().await;
        let run = all[0].live.begin(Wish::Switchover).await;
        all[0].live.pass(2).await;
        all.iter().for_each(|r| r.gate.cut_store(Some(Cut::There)));
        all[0].live.pass(60).await;
        assert!(all.iter().all(|r| !r.leads() && !r.is_ready()));
        let sent = all[0].live.flips() + all[0].live.accepted("SwitchoverGlobalCluster");
        all[0].live.pass(120).await;
        assert_eq!(all[0].live.flips() + all[0].live.accepted("SwitchoverGlobalCluster"), sent, "nothing is begun");
        all.iter().for_each(|r| r.gate.cut_store(None));
        until(&all[0], "one leads", LEASE + Duration::from_secs(10), || all.iter().any(Replica::leads)).await;
        let leader = all.iter().find(|r| r.leads()).expect("one leads");
        assert_eq!(finished(leader, &run).await, RunResult::Succeeded);
        assert_eq!(leader.live.accepted("SwitchoverGlobalCluster"), 1);
    });
}

#[test]
fn a_leader_that_is_told_to_stop_lets_its_call_end_and_gives_the_lease_back() {
    incarnation(async {
        let stage = Stage::new(5);
        let [a, b, c] = stage.three().await;
        let run = a.live.begin(Wish::Switchover).await;
        a.live.pass(2).await;
        a.live.engine.stop(Duration::from_secs(18)).await;
        let took = until(&b, "another leads", Duration::from_secs(2), || b.leads() || c.leads()).await;
        assert!(took <= Duration::from_secs(1), "{took:?}");
        let successor = if b.leads() { &b } else { &c };
        assert_eq!(finished(successor, &run).await, RunResult::Succeeded);
        assert_eq!(b.live.accepted("SwitchoverGlobalCluster"), 1);
        // One process after another, as a deployment does it.
        let d = stage.replica("d").await;
        successor.live.engine.stop(Duration::from_secs(18)).await;
        until(&d, "yet another leads", Duration::from_secs(2), || [&b, &c, &d].iter().any(|r| r.leads())).await;
    });
}

#[test]
fn the_same_request_after_a_takeover_gives_the_same_run() {
    incarnation(async {
        let stage = Stage::new(6);
        let [a, b, c] = stage.three().await;
        let mut request = Live::request(Wish::Switchover);
        request.idempotency_key = Some("once".to_owned());
        let Ok(Started::Run { id, .. }) = a.live.ask(request.clone()).await else { panic!("accepted") };
        a.gate.freeze();
        until(&b, "another leads", LEASE + Duration::from_secs(2), || b.leads() || c.leads()).await;
        let successor = if b.leads() { &b } else { &c };
        assert_eq!(successor.live.ask(request).await, Ok(Started::Again { id }));
    });
}

#[test]
fn every_takeover_begins_an_epoch_and_the_journal_stays_whole() {
    incarnation(async {
        let stage = Stage::new(8);
        let mut all = Vec::from(stage.three().await);
        for round in 0..6 {
            let leader = all.iter().position(Replica::leads).expect("one leads");
            all[leader].gate.freeze();
            let others = || all.iter().enumerate().filter(|(n, _)| *n != leader);
            until(&all[leader], "another leads", LEASE + Duration::from_secs(2), || others().any(|(_, r)| r.leads()))
                .await;
            all[leader].gate.thaw();
            until(&all[leader], "it follows", LEASE, || all.iter().filter(|r| r.leads()).count() == 1).await;
            if round == 3 {
                all.push(stage.replica("late").await);
            }
        }
        let records = recover::records(&stage.scene.reopened(), &payments()).await.expect("it verifies");
        let begun = |e: &Event| matches!(e, Event::EpochStarted { .. });
        let epochs: Vec<u64> = records.iter().filter(|r| r.events.iter().any(begun)).map(|r| r.epoch).collect();
        assert_eq!(epochs, (1..=7).collect::<Vec<_>>());
    });
}

#[test]
fn a_store_that_was_restored_from_a_backup_is_not_worked_on() {
    incarnation(async {
        let stage = Stage::new(9);
        let [a, b, c] = stage.three().await;
        let run = a.live.begin(Wish::Switchover).await;
        assert_eq!(finished(&a, &run).await, RunResult::Succeeded);
        b.live.pass(10).await;
        stage.scene.journal.cut_off(&payments(), 1);
        a.gate.freeze();
        b.live.pass(60).await;
        assert!(!b.leads() && !c.leads());
        let reasons = b.live.engine.readiness().reasons.join("; ");
        assert!(reasons.contains("restored from a backup"), "{reasons}");
    });
}

#[test]
fn stepped_wall_clocks_change_nothing_of_who_leads_and_when() {
    const HOUR: i64 = 3_600;
    // Of two processes, wall clocks are all there is to say how long people have had to approve: 15 minutes.
    const MINUTES: i64 = 240;
    for (ahead_b, ahead_c) in [(MINUTES, -MINUTES), (-MINUTES, MINUTES)] {
        incarnation(async {
            let stage = Stage::new(10);
            let [a, b, c] = stage.three().await;
            a.live.lose("us-east-1");
            a.live.pass(5).await;
            let run = a.live.begin(Wish::Failover).await;
            a.live.until_running(&run, "approve").await;
            b.live.wall.set_ahead(ahead_b);
            c.live.wall.set_ahead(ahead_c);
            for ahead_a in [-HOUR, HOUR, 0] {
                a.live.wall.set_ahead(ahead_a);
                a.live.pass(LEASE.as_secs() + 10).await;
                assert!(a.leads() && !b.leads() && !c.leads(), "{ahead_a}");
            }
            a.gate.freeze();
            let took = until(&b, "another leads", LEASE + Duration::from_secs(2), || b.leads() || c.leads()).await;
            assert!(
                LEASE * 4 / 5 - Duration::from_secs(1) <= took && took <= LEASE + Duration::from_secs(1),
                "{took:?}"
            );
            let successor = if b.leads() { &b } else { &c };
            [&b, &c].iter().for_each(|r| r.live.wall.set_ahead(0));
            successor.live.approve(&run).await;
            assert_eq!(finished(successor, &run).await, RunResult::Succeeded);
            assert_eq!(b.live.accepted("FailoverGlobalCluster"), 1);
            let lives = successor.live.engine.history(&payments()).map(|h| h.tail.epoch);
            assert_eq!(lives, Some(2), "nobody else has led");
        });
    }
}

#[test]
fn a_run_is_watched_at_a_follower_from_before_it_takes_over_to_the_end() {
    incarnation(async {
        let stage = Stage::new(11);
        let [a, b, c] = stage.three().await;
        let [mut at_b, mut at_c] = [&b, &c].map(|r| r.live.engine.subscribe(&payments()).expect("followed"));
        let run = a.live.begin(Wish::Switchover).await;
        a.live.pass(2).await;
        a.gate.freeze();
        until(&b, "another leads", LEASE + Duration::from_secs(2), || b.leads() || c.leads()).await;
        let (successor, watched) = if b.leads() { (&b, &mut at_b) } else { (&c, &mut at_c) };
        assert_eq!(finished(successor, &run).await, RunResult::Succeeded);
        let mut seen = Vec::new();
        while let Ok(record) = watched.try_recv() {
            seen.push(record);
        }
        let whole = seen.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq);
        assert!(whole, "{:?}", seen.iter().map(|r| r.seq).collect::<Vec<_>>());
        let epochs: std::collections::BTreeSet<u64> = seen.iter().map(|r| r.epoch).collect();
        assert!(epochs.contains(&2), "records of both leaders: {epochs:?}");
        let is_end = |e: &Event| matches!(e, Event::RunFinished { .. });
        assert!(seen.iter().any(|r| r.events.iter().any(is_end)), "and the end");
    });
}

#[test]
fn a_leader_whose_call_does_not_end_leads_no_more_when_its_lease_is_over() {
    incarnation(async {
        let stage = Stage::new(12);
        let [a, b, c] = stage.three().await;
        let run = a.live.begin(Wish::Switchover).await;
        a.gate.freeze_effects();
        a.live.until("it promotes", 120, |live| live.step(&run, "switch.main").is_in_flight()).await;
        a.gate.cut_store(Some(Cut::There));
        until(&b, "it leads no more", LEASE * 2 / 3 + Duration::from_secs(1), || !a.leads()).await;
        assert_eq!(a.leader(), None, "it knows of nobody who does");
        until(&b, "another leads", LEASE, || b.leads() || c.leads()).await;
        let successor = if b.leads() { &b } else { &c };
        assert_eq!(finished(successor, &run).await, RunResult::Succeeded);
        assert_eq!(b.live.accepted("SwitchoverGlobalCluster"), 1);
    });
}

/// How often the journal says `what`.
async fn count(stage: &Stage, what: impl Fn(&Event) -> bool) -> usize {
    let records = recover::records(&stage.scene.reopened(), &payments()).await.expect("it verifies");
    records.iter().flat_map(|r| &r.events).filter(|e| what(e)).count()
}

fn is_held(event: &Event) -> bool {
    matches!(event, Event::RunHeld { .. })
}

fn is_epoch(event: &Event) -> bool {
    matches!(event, Event::EpochStarted { .. })
}

/// What the intent of the promotion has, and no record before it.
const SWITCHOVER: &str = r#""call":"aurora_switchover""#;

/// No reading is answered any more.
const FOR_GOOD: u32 = u32::MAX;

#[test]
fn a_leader_that_is_cut_from_aws_between_an_intent_and_its_call_leaves_the_step_to_another_replica() {
    incarnation(async {
        let stage = Stage::new(13);
        let [a, b, c] = stage.three().await;
        a.gate.cut_aws_after(SWITCHOVER, FOR_GOOD);
        let run = a.live.begin(Wish::Switchover).await;
        until(&b, "the intent is written", Duration::from_secs(300), || a.gate.was_cut()).await;
        // Two looks of a call's length, and the backoff between them: no control points say that it is cut off.
        until(&b, "another leads", CALL * 3 + Duration::from_secs(10), || b.leads() || c.leads()).await;
        let successor = if b.leads() { &b } else { &c };
        assert_eq!(finished(successor, &run).await, RunResult::Succeeded);
        assert_eq!(count(&stage, is_held).await, 0, "nobody was asked");
        assert_eq!(b.live.accepted("SwitchoverGlobalCluster"), 1);
        assert!(!a.leads());
    });
}

#[test]
fn one_reading_that_is_lost_before_a_call_moves_nothing() {
    incarnation(async {
        let stage = Stage::new(14);
        let [a, b, c] = stage.three().await;
        a.gate.cut_aws_after(SWITCHOVER, 4);
        let run = a.live.begin(Wish::Switchover).await;
        assert_eq!(finished(&a, &run).await, RunResult::Succeeded);
        assert!(a.gate.was_cut() && a.leads() && !b.leads() && !c.leads());
        assert_eq!((count(&stage, is_held).await, count(&stage, is_epoch).await), (0, 1));
        let is_unsent = |e: &Event| matches!(e, Event::Answered { outcome: Outcome::NotSent { .. }, .. });
        assert_eq!(count(&stage, is_unsent).await, 1, "it was met");
    });
}

#[test]
fn replicas_that_are_all_cut_from_aws_do_not_hand_a_step_round_but_hold_the_run() {
    incarnation(async {
        let stage = Stage::new(15);
        let all = stage.three().await;
        let [a, b, c] = &all;
        a.gate.cut_aws_after(SWITCHOVER, FOR_GOOD);
        let run = a.live.begin(Wish::Switchover).await;
        until(b, "the intent is written", Duration::from_secs(300), || a.gate.was_cut()).await;
        [b, c].iter().for_each(|r| r.gate.cut_aws(true));
        let phase = || b.live.engine.history(&payments()).and_then(|h| h.runs.get(&run).map(|r| r.phase.clone()));
        until(b, "the run is held", Duration::from_secs(3_600), || matches!(phase(), Some(Phase::Held { .. }))).await;
        assert_eq!(count(&stage, is_epoch).await, 2, "it was given up once");
        assert_eq!(b.live.accepted("SwitchoverGlobalCluster"), 0);
        all.iter().for_each(|r| r.gate.cut_aws(false));
        let leader = all.iter().find(|r| r.leads()).expect("one leads");
        leader.live.act(&run, Act::Resume).await.expect("it is held");
        assert_eq!(finished(leader, &run).await, RunResult::Succeeded);
        assert_eq!(b.live.accepted("SwitchoverGlobalCluster"), 1);
    });
}

/// How long after an unanswered call the way home is begun, where old signatures are refused and where they are not.
fn home_after(takes_old_signatures: bool) -> Duration {
    incarnation(async {
        let stage = Stage::new(16);
        let gate = Gate::default();
        if takes_old_signatures {
            gate.take_old_signatures();
        }
        let a = stage.replica_behind(gate, "a").await;
        a.live.until("it leads", 5, |_| a.leads()).await;
        a.live.ready().await;
        let is_verified = a.live.engine.readiness().signatures.values().all(Check::is_verified);
        assert_eq!(is_verified, !takes_old_signatures, "{:?}", a.live.engine.readiness().signatures);
        let late = CallFault::Late { by: Duration::from_secs(280) };
        let window = a.live.faults.open("rds:SwitchoverGlobalCluster", None, late, 1.0);
        let away = a.live.begin(Wish::Switchover).await;
        let is_unknown = |s: &StepState| matches!(s, StepState::Answered { outcome: Outcome::Unknown { .. }, .. });
        a.live.until("nobody answers", 900, |live| live.run(&away).steps.values().any(is_unknown)).await;
        let since = a.live.clock.boot();
        a.live.faults.close(window);
        assert_eq!(finished(&a, &away).await, RunResult::Succeeded);
        let home = a.live.begin(Wish::Failback).await;
        until(&a, "home again", Duration::from_secs(14 * 3_600), || a.live.accepted("SwitchoverGlobalCluster") == 2)
            .await;
        let took = a.live.clock.boot() - since;
        assert_eq!(finished(&a, &home).await, RunResult::Succeeded);
        took
    })
}

#[test]
fn where_old_signatures_are_taken_what_leads_elsewhere_waits_for_as_long_as_is_declared() {
    let (with, without) = (home_after(false), home_after(true));
    assert!(UNVERIFIED_WITHIN - Duration::from_secs(60) <= without, "{without:?}");
    assert!(with + Duration::from_mins(10) < without, "{with:?}, {without:?}");
}
