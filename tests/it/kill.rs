//! The real binary against the simulated AWS, killed with SIGKILL wherever it matters: at every append of a run,
//! before and after it is durable, and around every call that changes something. After a restart the run must end as
//! if nothing had been: moved, every effect once, and a journal that verifies.
//!
//! The world runs faster than the daemon. Each kill point has its own world, directory and processes; several run side
//! by side, for most of a run is waiting.

use std::{future::Future, os::unix::process::ExitStatusExt as _, process::ExitStatus, time::Duration};

use failoverd::{
    domain::{
        cloud::Outcome,
        journal::{Event, Record},
        run::RunResult,
    },
    sim::{
        wire::{Point, Release, Target},
        world::World,
    },
};
use futures_util::{StreamExt as _, stream};
use rand_chacha::{
    ChaCha12Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

use crate::support::{
    daemon::Started,
    people::{Move, People, Played},
    stage::{Setting, Stage, comes_true},
};

/// Kill points that one test has under way; another test may run beside it.
const CONCURRENT: usize = 8;
/// How long a call may take to come to its barrier.
const BARRIER_LIMIT: Duration = Duration::from_secs(120);

/// Where a life ends.
#[derive(Debug, Clone, Copy)]
enum Kill {
    /// At the n-th append of that process: `before` or `after` it is durable.
    Append { side: &'static str, n: usize },
    /// At a call; the call itself is then lost or goes on, at once or this much later.
    Call { call: Call, point: Point, release: Release, after: Duration },
}

/// A call that changes something.
#[derive(Debug, Clone, Copy)]
struct Call {
    operation: &'static str,
    region: Option<&'static str>,
    /// The one after traffic has moved, not the first.
    late: bool,
}

/// The calls of a run: to tell people twice in two Regions, to promote, to move traffic.
fn calls(kind: Move) -> Vec<Call> {
    let publish = |region, late| Call { operation: "Publish", region: Some(region), late };
    let other = |operation| Call { operation, region: None, late: false };
    vec![
        publish("us-west-2", false),
        publish("us-east-1", false),
        other(kind.operation()),
        other("UpdateRoutingControlStates"),
        publish("us-west-2", true),
        publish("us-east-1", true),
    ]
}

/// Every side of every call. Before its effect, a call is lost in one point and arrives in another.
fn around_calls(kind: Move) -> Vec<Kill> {
    let points = [
        (Point::BeforeEffect, Release::Drop),
        (Point::BeforeEffect, Release::GoOn),
        (Point::AfterEffectBeforeAnswer, Release::Drop),
        (Point::AfterAnswer, Release::GoOn),
    ];
    let of = |call| points.map(|(point, release)| Kill::Call { call, point, release, after: Duration::ZERO });
    let mut kills: Vec<_> = calls(kind).into_iter().flat_map(of).collect();
    // The network holds the promotion up, and delivers it when the next life has seen that nothing happened.
    let call = calls(kind)[2];
    kills.push(Kill::Call { call, point: Point::BeforeEffect, release: Release::GoOn, after: Duration::from_secs(8) });
    kills
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_before_every_append_of_a_failover() {
    println!("{}", at_every_append(Move::Failover, "before", 1_000).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_after_every_append_of_a_failover() {
    println!("{}", at_every_append(Move::Failover, "after", 2_000).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_before_every_append_of_a_switchover() {
    println!("{}", at_every_append(Move::Switchover, "before", 3_000).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_after_every_append_of_a_switchover() {
    println!("{}", at_every_append(Move::Switchover, "after", 4_000).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_around_every_call_of_a_failover() {
    let points = around_calls(Move::Failover);
    let fired = all(&points, |seed, kill| survive(Setting::seeded(5_000 + seed), Move::Failover, kill, false)).await;
    println!("kill points: {fired} around the calls of a failover");
    assert_eq!(fired, points.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_around_every_call_of_a_switchover() {
    let points = around_calls(Move::Switchover);
    let fired = all(&points, |seed, kill| survive(Setting::seeded(6_000 + seed), Move::Switchover, kill, false)).await;
    println!("kill points: {fired} around the calls of a switchover");
    assert_eq!(fired, points.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_while_the_primary_region_is_lost() {
    let call = |call, point, release| Kill::Call { call, point, release, after: Duration::ZERO };
    let [told, _, promoted, flipped, ..] = calls(Move::Failover)[..] else { unreachable!("there are six") };
    let points = [
        call(told, Point::AfterEffectBeforeAnswer, Release::Drop),
        call(promoted, Point::BeforeEffect, Release::GoOn),
        call(promoted, Point::AfterEffectBeforeAnswer, Release::Drop),
        call(promoted, Point::AfterAnswer, Release::GoOn),
        call(flipped, Point::AfterEffectBeforeAnswer, Release::Drop),
        Kill::Append { side: "after", n: 8 },
        Kill::Append { side: "before", n: 12 },
    ];
    let setting = |seed| Setting { attempt_timeout: "2s", ..Setting::seeded(7_000 + seed) };
    let fired = all(&points, |seed, kill| survive(setting(seed), Move::Failover, kill, true)).await;
    println!("kill points: {fired} while the primary Region is lost");
    assert_eq!(fired, points.len());
}

/// Kills at each append that a run which nobody kills has; a line that sums it up.
async fn at_every_append(kind: Move, side: &'static str, seeds: u64) -> String {
    let appends =
        undisturbed(Setting::seeded(seeds), kind).await.unwrap_or_else(|e| panic!("not even undisturbed: {e}"));
    let points: Vec<_> = (1..=appends).map(|n| Kill::Append { side, n }).collect();
    let fired = all(&points, |seed, kill| survive(Setting::seeded(seeds + 1 + seed), kind, kill, false)).await;
    // How often the verdict changes, and which looks come in one commit, is a matter of timing.
    assert!(appends <= fired + 3, "only {fired} of {appends} points were reached");
    format!("kill points: {fired} {side} the appends of a {kind:?} with {appends}")
}

/// A run that nobody kills: how many appends it has.
async fn undisturbed(setting: Setting, kind: Move) -> Result<usize, String> {
    let stage = Stage::build(setting).await;
    let mut people = People::who_want(kind);
    let ended = live_to_the_end(&stage, &mut people, kind).await;
    ended.map(|records| records.len()).map_err(|e| format!("{e}\n{}", stage.logs()))
}

/// Runs every point, some at a time; how many were reached.
async fn all<F>(points: &[Kill], survive: impl Fn(u64, Kill) -> F) -> usize
where
    F: Future<Output = Result<bool, String>>,
{
    let runs = points.iter().zip(0..).map(|(kill, seed)| {
        let run = survive(seed, *kill);
        async move { run.await.map_err(|e| format!("{kill:?}: {e}")) }
    });
    let ended: Vec<_> = stream::iter(runs).buffer_unordered(CONCURRENT).collect().await;
    let failures: Vec<_> = ended.iter().filter_map(|e| e.as_ref().err().cloned()).collect();
    assert!(failures.is_empty(), "{} of {} points failed:\n{}", failures.len(), points.len(), failures.join("\n\n"));
    ended.into_iter().filter(|e| *e == Ok(true)).count()
}

/// One kill and one restart; whether it came to the kill.
async fn survive(setting: Setting, kind: Move, kill: Kill, region_is_lost: bool) -> Result<bool, String> {
    let stage = Stage::build(setting).await;
    if region_is_lost {
        let region = "us-east-1".parse().expect("a Region");
        stage.world.world.with(|w: &mut World| w.lose_region(&region));
    }
    let mut people = People::who_want(kind);
    let ended = async {
        let fired = die(&stage, &mut people, kill).await?;
        live_to_the_end(&stage, &mut people, kind).await?;
        Ok(fired)
    };
    ended.await.map_err(|e: String| format!("{e}\n{}", tail(&stage.logs())))
}

/// The last lines of the logs, without the requests of the people.
fn tail(logs: &str) -> String {
    let lines: Vec<_> = logs.lines().filter(|l| !l.contains("/runs/")).collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// The life that ends as `kill` says; whether it did.
async fn die(stage: &Stage, people: &mut People, kill: Kill) -> Result<bool, String> {
    match kill {
        Kill::Append { side, n } => {
            let status = match stage.start(Some(&format!("append:{side}:{n}"))).await {
                Started::Ended(status) => status,
                Started::Listening(daemon) if !daemon.logged().contains("this process will kill itself") => {
                    return Err("the binary has no failpoints: a release, or not built from this tree".to_owned());
                }
                Started::Listening(mut daemon) => match people.play(&mut daemon).await? {
                    Played::Ended(status) => status,
                    Played::Rested(_) => {
                        daemon.kill().await;
                        return Ok(false);
                    }
                },
            };
            was_killed(status).map(|()| true)
        }
        Kill::Call { call, point, release, after } => {
            let mut daemon = stage.start(None).await.listening()?;
            let barrier = reached(stage, call, point);
            tokio::pin!(barrier);
            let barrier = tokio::select! {
                biased;
                barrier = &mut barrier => barrier?,
                // The run's last call may be answered, and the run over, before its barrier is seen.
                played = people.play(&mut daemon) => match tokio::time::timeout(Duration::from_secs(5), barrier).await {
                    Ok(barrier) => barrier?,
                    Err(_) => return Err(format!("the call never came to its barrier: {played:?}")),
                },
            };
            daemon.kill().await;
            let barriers = stage.world.barriers.clone();
            let released = tokio::spawn(async move {
                tokio::time::sleep(after).await;
                barriers.release(barrier, release);
            });
            if after.is_zero() {
                released.await.map_err(|e| e.to_string())?;
                // What goes on without its caller does so at once.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(true)
        }
    }
}

fn was_killed(status: ExitStatus) -> Result<(), String> {
    (status.signal() == Some(9)).then_some(()).ok_or_else(|| format!("it was not killed, it ended: {status}"))
}

/// Waits until `call` stands at `point`; the barrier.
async fn reached(stage: &Stage, call: Call, point: Point) -> Result<u64, String> {
    if call.late && !comes_true(BARRIER_LIMIT, || !stage.effects().flips.is_empty()).await {
        return Err("traffic never moved".to_owned());
    }
    let target =
        Target { service: None, operation: Some(call.operation.to_owned()), region: call.region.map(str::to_owned) };
    let barriers = &stage.world.barriers;
    let id = barriers.set(target, point);
    let stands = barriers.wait_reached(BARRIER_LIMIT).await.iter().any(|b| b.id == id && b.reached);
    stands.then_some(id).ok_or_else(|| "no such call".to_owned())
}

/// The last life: the run ends well, AWS has seen each effect once, the journal verifies. Its records.
async fn live_to_the_end(stage: &Stage, people: &mut People, kind: Move) -> Result<Vec<Record>, String> {
    let mut daemon = stage.start(None).await.listening()?;
    match people.play(&mut daemon).await? {
        Played::Rested(view) if view["state"] == "succeeded" => {}
        other => return Err(format!("it did not end well: {other:#?}; {:?}", stage.effects())),
    }
    daemon.kill().await;
    stage.has_moved()?;
    stage.effects().once_each(kind)?;
    let records = stage.records().await?;
    let events = || records.iter().flat_map(|r| &r.events);
    let started = events().filter(|e| matches!(e, Event::RunStarted { .. })).count();
    let succeeded = |e: &&Event| matches!(e, Event::RunFinished { result: RunResult::Succeeded, .. });
    match (started, events().filter(succeeded).count()) {
        (1, 1) => Ok(records),
        counts => Err(format!("(started, succeeded) {counts:?}, expected one run")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_at_random_again_and_again() {
    /// Lives of one run that are cut short.
    const SHORT_LIVES: u64 = 8;
    let runs = (0..6_u64).map(|n| async move {
        let kind = if n % 2 == 0 { Move::Failover } else { Move::Switchover };
        let mut rng = ChaCha12Rng::seed_from_u64(n);
        let stage = Stage::build(Setting::seeded(8_000 + n)).await;
        let mut people = People::who_want(kind);
        let mut killed = 0;
        let ended = async {
            for _ in 0..SHORT_LIVES {
                let mut daemon = stage.start(None).await.listening()?;
                let life = Duration::from_millis(rng.next_u64() % 4_000);
                // Rested before its time is over: killed all the same.
                if let Ok(played) = tokio::time::timeout(life, people.play(&mut daemon)).await {
                    played?;
                }
                daemon.kill().await;
                killed += 1;
            }
            live_to_the_end(&stage, &mut people, kind).await
        };
        ended.await.map_err(|e: String| format!("seed {n}, {kind:?}: {e}\n{}", tail(&stage.logs())))?;
        Ok::<u32, String>(killed)
    });
    let ended: Vec<_> = stream::iter(runs).buffer_unordered(CONCURRENT).collect().await;
    let killed: u32 = ended.into_iter().map(|e| e.unwrap_or_else(|e| panic!("{e}"))).sum();
    println!("kill points: {killed} at random");
    assert_eq!(killed, 48);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_promotion_was_sent_a_run_without_retries_goes_on_by_itself() {
    let stage = Stage::build(Setting { retry: "retry: { attempts: 1 }", ..Setting::seeded(9_000) }).await;
    let mut people = People::who_want(Move::Failover);
    let [_, _, call, ..] = calls(Move::Failover)[..] else { unreachable!("there are six") };
    let kill = Kill::Call { call, point: Point::BeforeEffect, release: Release::Drop, after: Duration::ZERO };
    assert_eq!(die(&stage, &mut people, kill).await, Ok(true));
    live_to_the_end(&stage, &mut people, Move::Failover).await.unwrap_or_else(|e| panic!("{e}\n{}", stage.logs()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asked_to_stop_it_finishes_the_call_under_way_starts_no_other_and_goes_on_after() {
    stop_in_mid_call(Some(Release::GoOn), 9_100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asked_to_stop_while_a_call_hangs_it_ends_in_time_and_goes_on_after() {
    stop_in_mid_call(None, 9_200).await;
}

/// SIGTERM while the promotion is held up; `release` ends that, else it hangs until its client gives up.
async fn stop_in_mid_call(release: Option<Release>, seed: u64) {
    let stage = Stage::build(Setting::seeded(seed)).await;
    let mut people = People::who_want(Move::Failover);
    let mut daemon = stage.start(None).await.listening().expect("it starts");
    let [_, _, call, ..] = calls(Move::Failover)[..] else { unreachable!("there are six") };
    let barrier = tokio::select! {
        played = people.play(&mut daemon) => panic!("the promotion was never sent: {played:?}\n{}", stage.logs()),
        barrier = reached(&stage, call, Point::BeforeEffect) => barrier.expect("reached"),
    };
    let before = stage.effects().count();
    daemon.ask_to_stop();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(daemon.ended(), None, "it did not wait for its call");
    if let Some(release) = release {
        stage.world.barriers.release(barrier, release);
    }
    let status = daemon.wait(Duration::from_secs(25)).await;
    assert_eq!(status.and_then(|s| s.code()), Some(0), "{}", stage.logs());
    assert_eq!(stage.effects().count(), before + usize::from(release.is_some()), "no other effect was started");
    stage.world.barriers.release(barrier, Release::GoOn);
    let records = stage.records().await.expect("the chain verifies");
    let answers = records.iter().flat_map(|r| &r.events).filter_map(|e| match e {
        Event::Answered { step, outcome, .. } if step.as_str() == "promote.orders" => Some(outcome),
        _ => None,
    });
    match (&answers.collect::<Vec<_>>()[..], release) {
        ([Outcome::Accepted { .. }], Some(_)) | ([Outcome::Unknown { .. }], None) => {}
        (answers, _) => panic!("its answer was not recorded as it was: {answers:?}"),
    }
    live_to_the_end(&stage, &mut people, Move::Failover).await.unwrap_or_else(|e| panic!("{e}\n{}", stage.logs()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_ends_the_process_with_a_clear_message_and_it_goes_on_with_room() {
    let reference = Stage::build(Setting::seeded(9_300)).await;
    let mut people = People::who_want(Move::Failover);
    let mut daemon = reference.start(None).await.listening().expect("it starts");
    assert!(matches!(people.play(&mut daemon).await, Ok(Played::Rested(_))), "{}", reference.logs());
    let log = std::fs::metadata(reference.directory().join("journal.sqlite-wal")).expect("a write-ahead log").len();
    daemon.kill().await;

    let stage = Stage::build(Setting::seeded(9_301)).await;
    let mut people = People::who_want(Move::Failover);
    let mut daemon = stage.start_on_a_disk_of(log * 6 / 10 / 1024).await.listening().expect("it starts");
    let Ok(Played::Ended(status)) = people.play(&mut daemon).await else {
        panic!("it did not end:\n{}", stage.logs());
    };
    assert_eq!(status.code(), Some(1), "{}", stage.logs());
    let logged = daemon.logged();
    assert!(logged.contains("journal of payments: the journal store failed"), "{logged}");
    assert!(logged.contains("start it again, and it goes on from the journal"), "{logged}");
    assert!(people.run.is_some(), "the run had begun");
    live_to_the_end(&stage, &mut people, Move::Failover).await.unwrap_or_else(|e| panic!("{e}\n{}", stage.logs()));
}

/// A journal with a run under way, and the file that holds it.
async fn half_done(seed: u64) -> (Stage, People) {
    let stage = Stage::build(Setting::seeded(seed)).await;
    let mut people = People::who_want(Move::Failover);
    assert_eq!(die(&stage, &mut people, Kill::Append { side: "after", n: 9 }).await, Ok(true));
    // Folds the write-ahead log in.
    stage.records().await.expect("the chain verifies");
    (stage, people)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_record_holds_the_application_and_nothing_is_started() {
    let (stage, people) = half_done(9_400).await;
    let mut bytes = std::fs::read(stage.store()).expect("the store");
    let text = b"a test kills the daemon";
    let places: Vec<_> = bytes.windows(text.len()).enumerate().filter(|(_, w)| w == text).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "the reason of the run is in the file");
    // All of them: SQLite leaves stale copies in pages that it has freed.
    for at in places {
        bytes[at] ^= 1;
    }
    std::fs::write(stage.store(), bytes).expect("damaged");
    let before = stage.effects();
    let mut daemon = stage.start(None).await.listening().expect("it serves, to say what is wrong");
    let (status, body) = people.get(&daemon, "/readyz").await;
    assert_eq!(status, 503);
    let why = body.to_string();
    assert!(why.contains("payments is held") && why.contains("does not verify"), "{why}");
    let (status, body) = people.demand(&daemon).await;
    assert_eq!((status, &body["code"]), (409, &"application-held".into()), "{body}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(stage.effects(), before, "nothing goes on");
    assert!(daemon.logged().contains("the application is held"), "{}", daemon.logged());
    daemon.ask_to_stop();
    assert_eq!(daemon.wait(Duration::from_secs(25)).await.and_then(|s| s.code()), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_refused_at_the_start() {
    let (stage, _) = half_done(9_500).await;
    let mut bytes = std::fs::read(stage.store()).expect("the store");
    bytes[4_096..4_196].fill(0xff);
    std::fs::write(stage.store(), &bytes).expect("damaged");
    let before = stage.effects();
    let refused = stage.start(None).await;
    let Started::Ended(status) = refused else { panic!("it serves a damaged file") };
    assert_eq!(status.code(), Some(1), "{}", stage.logs());
    let log = std::fs::read_to_string(stage.log(1)).expect("a log");
    assert!(log.contains("journal.sqlite` is corrupted"), "{log}");
    assert_eq!(std::fs::read(stage.store()).expect("the store"), bytes, "it was left as it was found");
    assert_eq!(stage.effects(), before);
}
