//! The real binary against the simulated AWS, stopped with SIGSTOP and continued with SIGCONT wherever it may hurt: at
//! seeded moments of a failover, and while its promotion or its flip is under way. It does not know that time has
//! passed: its deadlines are over, its leases and readings old, its connections perhaps cut, and what it had decided
//! may have been true then. Every effect must still have happened at most once, the run must end, and the journal
//! verify.
//!
//! The world runs 40 times as fast as the daemon and does not stand still with it: a stop of half a second is one of
//! 20 s there, one of several seconds is minutes.

use std::{collections::BTreeSet, future::Future, time::Duration};

use failoverd::{
    domain::{cloud::Mutation, journal::Event},
    sim::wire::{Point, Release, Target},
};
use futures_util::{StreamExt as _, stream};
use rand_chacha::{
    ChaCha12Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

use crate::support::{
    daemon::Daemon,
    people::{Move, People, Played},
    stage::{Setting, Stage, comes_true},
};

/// Worlds that one test has under way; another test may run beside it.
const CONCURRENT: usize = 6;
/// How long a call may take to come to its barrier.
const BARRIER_LIMIT: Duration = Duration::from_secs(90);

/// A number in `from..=to`.
fn between(rng: &mut ChaCha12Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(from + rng.next_u64() % (to - from + 1))
}

/// Lets it stand still for `how_long`.
async fn pause(daemon: &Daemon, how_long: Duration) {
    daemon.stand_still();
    tokio::time::sleep(how_long).await;
    daemon.go_on();
}

/// One promotion, no message twice, and traffic moved to one place: an endpoint of ARC that did not answer in time is
/// followed by another, with the same states, for as long as one call may take.
fn effects_once(stage: &Stage) -> Result<(), String> {
    let effects = stage.effects();
    let states: BTreeSet<_> = effects.flips.iter().filter_map(|f| Some(f.split_once(": ")?.1.to_owned())).collect();
    let twice = effects.messages.windows(2).any(|pair| pair[0] == pair[1]);
    let once = effects.promotions == [Move::Failover.operation()] && states.len() == 1 && !twice;
    once.then_some(()).ok_or_else(|| format!("not once each: {effects:?}"))
}

/// How a run ended that was paused: what each effect says, and what the journal says.
async fn well_ended(stage: &Stage, played: Played) -> Result<(), String> {
    match played {
        Played::Rested(view) if view["state"] == "succeeded" => {}
        other => return Err(format!("it did not end well: {other:#?}; {:?}", stage.effects())),
    }
    stage.has_moved()?;
    effects_once(stage)?;
    let records = stage.records().await?;
    let events = || records.iter().flat_map(|r| &r.events);
    let started = events().filter(|e| matches!(e, Event::RunStarted { .. })).count();
    let finished = events().filter(|e| matches!(e, Event::RunFinished { .. })).count();
    let promised = |e: &&Event| matches!(e, Event::Intent { mutation: Mutation::AuroraFailover { .. }, .. });
    let promised = events().filter(promised).count();
    // One process from the first to the last record: a pause is not a death.
    let lives = events().filter(|e| matches!(e, Event::EpochStarted { .. })).count();
    match (lives, started, finished, promised) {
        (1, 1, 1, 1) => Ok(()),
        counts => Err(format!("(lives, runs started, finished, promotions meant) {counts:?}, expected one of each")),
    }
}

/// Paused again and again; how often.
async fn paused_at_random(seed: u64) -> Result<u32, String> {
    let stage = Stage::build(Setting::seeded(20_000 + seed)).await;
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let mut people = People::who_want(Move::Failover);
    let ended = async {
        let mut daemon = stage.start(None).await.listening()?;
        let mut pauses = 0;
        loop {
            let life = between(&mut rng, 50, 1_500);
            match tokio::time::timeout(life, people.play(&mut daemon)).await {
                Ok(played) => {
                    let played = played?;
                    daemon.kill().await;
                    well_ended(&stage, played).await?;
                    return Ok(pauses);
                }
                // Mostly 1 to 20 s of the world; now and then, long enough for every time limit of a call.
                Err(_) if pauses < 12 => {
                    let long = rng.next_u64().is_multiple_of(6);
                    let how_long = if long { between(&mut rng, 3_000, 7_000) } else { between(&mut rng, 25, 500) };
                    pause(&daemon, how_long).await;
                    pauses += 1;
                }
                Err(_) => {}
            }
        }
    };
    ended.await.map_err(|e: String| format!("seed {seed}: {e}\n{}", tail(&stage.logs())))
}

/// Paused while `operation` stands at `point`: then the network lets the call go on, or loses it, and only then the
/// process goes on, `long` seconds later.
async fn paused_at_a_call(
    operation: &str,
    point: Point,
    release: Release,
    long: u64,
    seed: u64,
) -> Result<u32, String> {
    let stage = Stage::build(Setting::seeded(21_000 + seed)).await;
    let mut people = People::who_want(Move::Failover);
    let ended = async {
        let mut daemon = stage.start(None).await.listening()?;
        let target = Target { service: None, operation: Some(operation.to_owned()), region: None };
        let barrier = stage.world.barriers.set(target, point);
        let reached = || stage.world.barriers.list().iter().any(|b| b.id == barrier && b.reached);
        tokio::select! {
            biased;
            reached = comes_true(BARRIER_LIMIT, reached) => {
                if !reached {
                    return Err(format!("{operation} never came to its barrier"));
                }
            }
            played = people.play(&mut daemon) => return Err(format!("{operation} never came: {played:?}")),
        }
        daemon.stand_still();
        tokio::time::sleep(Duration::from_millis(200)).await;
        stage.world.barriers.release(barrier, release);
        tokio::time::sleep(Duration::from_secs(long)).await;
        daemon.go_on();
        let played = people.play(&mut daemon).await?;
        daemon.kill().await;
        well_ended(&stage, played).await.map(|()| 1)
    };
    ended
        .await
        .map_err(|e: String| format!("{operation} {point:?} {release:?}, {long} s: {e}\n{}", tail(&stage.logs())))
}

/// The last lines of the logs, without the requests of the people.
fn tail(logs: &str) -> String {
    let lines: Vec<_> = logs.lines().filter(|l| !l.contains("/runs/")).collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// Runs them all, some at a time; the number of pauses.
async fn all<F: Future<Output = Result<u32, String>>>(runs: Vec<F>) -> u32 {
    let count = runs.len();
    let ended: Vec<_> = stream::iter(runs).buffer_unordered(CONCURRENT).collect().await;
    let failures: Vec<_> = ended.iter().filter_map(|e| e.as_ref().err().cloned()).collect();
    assert!(failures.is_empty(), "{} of {count} failed:\n{}", failures.len(), failures.join("\n\n"));
    ended.into_iter().flatten().sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_at_random_again_and_again_every_effect_happens_once() {
    let pauses = all((0..6).map(paused_at_random).collect()).await;
    println!("pauses: {pauses} at random, in 6 failovers");
    assert!(pauses >= 12, "only {pauses} pauses: the runs were over before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_while_a_call_is_under_way_every_effect_happens_once() {
    let sides = [
        (Point::BeforeEffect, Release::GoOn),
        (Point::AfterEffectBeforeAnswer, Release::Drop),
        (Point::AfterEffectBeforeAnswer, Release::GoOn),
    ];
    let calls = ["FailoverGlobalCluster", "UpdateRoutingControlStates"];
    // An attempt may take 5 s, a call 10 s: when the process goes on, answer and deadline are there at once.
    let of =
        |call| sides.into_iter().flat_map(move |(point, release)| [6, 11].map(|long| (call, point, release, long)));
    let runs = calls.into_iter().flat_map(of).zip(0..);
    let runs = runs.map(|((call, point, release, long), seed)| paused_at_a_call(call, point, release, long, seed));
    let pauses = all(runs.collect()).await;
    println!("pauses: {pauses} around calls");
    assert_eq!(pauses, 12);
}
