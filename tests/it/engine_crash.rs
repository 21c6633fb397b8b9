//! The engine dies at every point where it can: around every append to its journal, and around every effect. What the
//! next engine finds must always lead to the end, with every change of the writer made exactly once.

use std::cell::RefCell;

use failoverd::{
    domain::{
        id::RunId,
        run::{Phase, RunResult, StepState},
    },
    engine::{
        control::{StartRun, Started, Wish},
        recover,
    },
    sim::{
        port::{Faults, Moment},
        rehearse::store::{Around, MemoryStore},
        world::{
            Context,
            arc::ControlState,
            route53::fixture::{CONTROL_USE1_ARN, CONTROL_USW2_ARN},
        },
    },
};

use crate::support::{Live, Scene, incarnation, payments, region};

/// Seconds between a death and the next start.
const OUTAGE: u64 = 3;

/// Where the first engine dies.
#[derive(Debug, Clone, Copy)]
enum Death {
    Append(u64, Around),
    Mutation(u64, Moment),
}

/// One disaster or planned move, over all engines that live through it.
struct Story {
    wish: Wish,
    scene: Scene,
    /// How many effects on Aurora there were before.
    before: usize,
    run: RefCell<Option<RunId>>,
}

impl Story {
    fn new(wish: Wish, seed: u64) -> Self {
        let scene = Scene::payments(seed, 240);
        if wish == Wish::Failback {
            live_in_the_west(&scene);
        }
        let before = scene.world.lock().expect("nobody panics while holding it").aurora.effects.len();
        Self { wish, scene, before, run: RefCell::new(None) }
    }

    fn request(&self) -> StartRun {
        let mut request = Live::request(self.wish.clone());
        request.idempotency_key = Some("the-one".to_owned());
        request
    }

    /// What people do, whichever engine answers: ask until there is a run, approve it, watch it.
    async fn people(&self, live: &Live) {
        if self.run.borrow().is_none() {
            live.ready().await;
            if self.wish == Wish::Failover {
                live.lose("us-east-1");
            }
        }
        let deadline = live.clock.boot() + std::time::Duration::from_secs(7_200);
        loop {
            assert!(
                live.clock.boot() < deadline,
                "it does not end: {:?}",
                self.run.borrow().as_ref().map(|id| live.run(id))
            );
            let known = self.run.borrow().clone();
            match known {
                None => {
                    if let Ok(Started::Run { id, .. } | Started::Again { id }) = live.ask(self.request()).await {
                        *self.run.borrow_mut() = Some(id);
                    }
                }
                Some(id) => {
                    let run = live.run(&id);
                    if matches!(run.phase, Phase::Finished { .. }) {
                        return;
                    }
                    assert!(!matches!(run.phase, Phase::Held { .. }), "held: {:?} {:?}", run.phase, run.steps);
                    let waits = run
                        .steps
                        .iter()
                        .any(|(id, s)| id.as_str() == "approve" && matches!(s, StepState::Running { .. }));
                    if waits && run.approvals.is_empty() {
                        let _perhaps_too_late = live.answer(&id, "second", true).await;
                    }
                }
            }
            live.pass(1).await;
        }
    }

    /// One engine from its start to its death, or to the end of the run. True at the end.
    fn live(&self, journal: &MemoryStore, faults: &Faults, outage: u64) -> bool {
        incarnation(async {
            let life = async {
                let live = self.scene.start_with(outage, journal.clone(), faults.clone()).await;
                self.people(&live).await;
            };
            tokio::select! {
                () = life => true,
                () = journal.died() => false,
                () = faults.frozen() => false,
            }
        })
    }

    /// What must be true at the end, whatever happened.
    fn judge(&self, what: &str) {
        let run = self.run.borrow().clone().expect("a run");
        let history = incarnation(recover::recover(&self.scene.journal, &payments()));
        let history = history.unwrap_or_else(|e| panic!("{what}: the journal: {e}"));
        let state = &history.runs[&run];
        let succeeded = matches!(state.phase, Phase::Finished { result: RunResult::Succeeded, .. });
        assert!(succeeded, "{what}: {:?}", state.phase);
        assert_eq!(history.runs.len(), 1, "{what}: one request, one run");
        let world = self.scene.world.lock().expect("nobody panics while holding it");
        let effects = &world.aurora.effects[self.before..];
        assert_eq!(effects.iter().filter(|e| e.accepted).count(), 1, "{what}: {effects:?}");
        let writer = world.aurora.writer_of("payments").expect("a writer").region.clone();
        let target = if self.wish == Wish::Failback { "us-east-1" } else { "us-west-2" };
        assert_eq!(writer, region(target), "{what}");
        let promoted = world.log.iter().rev().find(|e| e.kind == "aurora.promoted").expect("a promotion").at;
        let flipped = world.log.iter().rev().find(|e| e.kind == "arc.control").expect("a flip").at;
        assert!(promoted < flipped, "{what}: traffic moved before the writer was proven");
        let lost = world.clients.ledger(&world.aurora).writes_lost;
        assert!(self.wish == Wish::Failover || lost == 0, "{what}: {lost} writes lost");
    }
}

/// The application as it is after a move: databases and traffic in us-west-2.
fn live_in_the_west(scene: &Scene) {
    let mut world = scene.world.lock().expect("nobody panics while holding it");
    let target = "arn:aws:rds:us-west-2:123456789012:cluster:payments-usw2";
    world
        .with_aurora(|aurora, ctx| aurora.switchover_global_cluster(&region("us-east-1"), "payments", target, ctx))
        .expect("accepted");
    let later = world.now.plus_ms(180_000);
    world.advance_to(later);
    let world = &mut *world;
    let mut ctx = Context { now: world.now, rng: &mut world.rng, planes: &world.planes, log: &mut world.log };
    let entries = [(CONTROL_USE1_ARN.to_owned(), ControlState::Off), (CONTROL_USW2_ARN.to_owned(), ControlState::On)];
    world.arc.update_states(&mut ctx, &region("us-west-2"), "UpdateRoutingControlStates", &entries, &[]).expect("set");
    let later = world.now.plus_ms(300_000);
    world.advance_to(later);
}

/// The story without a death: how many appends and mutations it has.
fn measure(wish: Wish) -> (u64, u64) {
    let story = Story::new(wish.clone(), 7);
    let (journal, faults) = (story.scene.reopened(), Faults::default());
    assert!(story.live(&journal, &faults, 0));
    story.judge("undisturbed");
    (journal.appends(), faults.mutations())
}

fn die_once(wish: Wish, death: Death) {
    let story = Story::new(wish.clone(), 7);
    let (journal, faults) = (story.scene.reopened(), Faults::default());
    match death {
        Death::Append(n, point) => journal.arm(n, point),
        Death::Mutation(n, moment) => faults.freeze_mutation(n, moment),
    }
    let what = format!("{wish:?}, {death:?}");
    // A death after the last thing that people wait for may come too late to be noticed.
    if !story.live(&journal, &faults, 0) {
        assert!(story.live(&story.scene.reopened(), &Faults::default(), OUTAGE), "{what}");
    }
    story.judge(&what);
}

/// Dies at every point; `part` of `parts`, so that the test runner can spread them.
fn die_everywhere(wish: Wish, part: u64, parts: u64) {
    let (appends, mutations) = measure(wish.clone());
    assert!(15 < appends && 3 < mutations, "{appends} appends, {mutations} mutations: too few to mean anything");
    let at_appends =
        (0..appends).flat_map(|n| [Around::DieBefore, Around::DieAfter].map(|point| Death::Append(n, point)));
    let at_mutations =
        (0..mutations).flat_map(|n| [Moment::Before, Moment::After].map(|moment| Death::Mutation(n, moment)));
    let mine = at_appends.chain(at_mutations).enumerate().filter(|(i, _)| *i as u64 % parts == part);
    for (_, death) in mine {
        die_once(wish.clone(), death);
    }
}

macro_rules! everywhere {
    ($($name:ident: $wish:expr, $part:literal of $parts:literal;)*) => {
        $(#[test]
        fn $name() {
            die_everywhere($wish, $part, $parts);
        })*
    };
}

everywhere! {
    a_failover_survives_a_death_at_every_point_1: Wish::Failover, 0 of 4;
    a_failover_survives_a_death_at_every_point_2: Wish::Failover, 1 of 4;
    a_failover_survives_a_death_at_every_point_3: Wish::Failover, 2 of 4;
    a_failover_survives_a_death_at_every_point_4: Wish::Failover, 3 of 4;
    a_switchover_survives_a_death_at_every_point_1: Wish::Switchover, 0 of 4;
    a_switchover_survives_a_death_at_every_point_2: Wish::Switchover, 1 of 4;
    a_switchover_survives_a_death_at_every_point_3: Wish::Switchover, 2 of 4;
    a_switchover_survives_a_death_at_every_point_4: Wish::Switchover, 3 of 4;
    a_failback_survives_a_death_at_every_point_1: Wish::Failback, 0 of 4;
    a_failback_survives_a_death_at_every_point_2: Wish::Failback, 1 of 4;
    a_failback_survives_a_death_at_every_point_3: Wish::Failback, 2 of 4;
    a_failback_survives_a_death_at_every_point_4: Wish::Failback, 3 of 4;
}

/// An engine that dies again and again, after every few appends, still gets there.
#[test]
fn a_run_survives_an_engine_that_keeps_dying() {
    for wish in [Wish::Failover, Wish::Switchover, Wish::Failback] {
        // Each life begins with its epoch and what it decides; fewer appends than these would leave none for the run.
        for every in [6, 8, 11] {
            for point in [Around::DieBefore, Around::DieAfter] {
                let story = Story::new(wish.clone(), 8);
                let mut lives = 0;
                loop {
                    let journal = story.scene.reopened();
                    journal.arm(journal.appends() + every, point);
                    if story.live(&journal, &Faults::default(), if lives == 0 { 0 } else { OUTAGE }) {
                        break;
                    }
                    lives += 1;
                    assert!(lives < 60, "{wish:?}, every {every}: no progress");
                }
                story.judge(&format!("{wish:?}, every {every} appends {point:?}, {lives} deaths"));
            }
        }
    }
}
