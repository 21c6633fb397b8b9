//! The heartbeat against two real PostgreSQL servers with streaming replication: its lag against the server's own
//! view, what it says was lost against what is really missing, and what it makes of servers that refuse, hang, turn it
//! away, or are not who they should be.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use failoverd::{
    adapters::{
        clock::SystemClock,
        probes::postgres::{APPLICATION_NAME, PostgresHeartbeats, SCHEMA},
    },
    domain::{
        heartbeat::{
            Basis, Beat, BeatAnswer, DatabaseEndpoint, Heartbeat, Lag, MeasuredLag, Replication, Shown, Tls, Until,
        },
        id::{BeaterId, Region},
    },
    engine::pulse::Pulse,
    ports::{Clock, Heartbeats, heartbeat::LookError},
};
use jiff::{SignedDuration, Timestamp};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::support::{
    postgres::{Place, Server},
    region,
};

pub(crate) const PASSWORD: &str = "tomato-9-Quartz";
const WITHIN: Duration = Duration::from_secs(30);
/// What the issue allows between the heartbeat's lag and the server's own view.
const AGREEMENT: Duration = Duration::from_millis(100);

pub(crate) fn east() -> Region {
    region("us-east-1")
}

pub(crate) fn west() -> Region {
    region("us-west-2")
}

fn me() -> BeaterId {
    "it-test".parse().expect("valid")
}

/// A writer in the east and its standby in the west.
pub(crate) struct Pair {
    pub(crate) east: Server,
    west: Server,
    place: Place,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        let place = Place::new();
        let east = place.primary(&[]).await;
        install(&east).await;
        let west = place.standby(&east).await;
        Self { east, west, place }
    }

    pub(crate) fn heartbeat(&self, period: Duration) -> Heartbeat {
        Heartbeat {
            endpoints: BTreeMap::from([
                (east(), format!("127.0.0.1:{}", self.east.port).parse().expect("valid")),
                (west(), format!("127.0.0.1:{}", self.west.port).parse().expect("valid")),
            ]),
            period,
            ..heartbeat_to(self.east.port, Tls::Disable)
        }
    }
}

/// The table and its user, by the file that ships, and the user's password.
async fn install(server: &Server) {
    let admin = server.admin().await;
    for _ in 0..2 {
        admin.batch_execute(SCHEMA).await.expect("the file may be run again");
    }
    admin.batch_execute(&format!("ALTER ROLE failoverd_heartbeat PASSWORD '{PASSWORD}'")).await.expect("set");
}

fn heartbeat_to(port: u16, tls: Tls) -> Heartbeat {
    Heartbeat {
        user: "failoverd_heartbeat".to_owned(),
        password: "env:HEARTBEAT_PASSWORD".parse().expect("valid"),
        database: "orders".to_owned(),
        endpoints: BTreeMap::from([(east(), format!("127.0.0.1:{port}").parse().expect("valid"))]),
        reader_endpoints: BTreeMap::new(),
        tls,
        period: Duration::from_secs(1),
        timeout: Duration::from_secs(2),
    }
}

pub(crate) fn databases(heartbeat: &Heartbeat, password: &str) -> PostgresHeartbeats {
    let environment = BTreeMap::from([("HEARTBEAT_PASSWORD".to_owned(), password.to_owned())]);
    PostgresHeartbeats::new(Arc::new(SystemClock), [heartbeat], &environment)
}

fn a_beat(number: u64) -> Beat {
    Beat { beater: me(), number, sent_at: SystemClock.wall() }
}

/// A pulse at work.
struct Running {
    pulse: Arc<Pulse>,
    stopping: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

fn run(heartbeat: Heartbeat, databases: Arc<dyn Heartbeats>) -> Running {
    let store = "orders".parse().expect("valid");
    let pulse = Arc::new(Pulse::new(store, heartbeat, me(), databases, Arc::new(SystemClock)));
    pulse.writer_is(&east());
    let stopping = CancellationToken::new();
    let (running, token) = (Arc::clone(&pulse), stopping.clone());
    tokio::spawn(async move { running.beat_on(&token).await });
    Running { pulse, stopping }
}

/// Figures for whoever runs the test with `--no-capture`.
macro_rules! say {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        _ = writeln!(std::io::stdout(), $($part)*);
    }};
}

/// Waits for what `look` finds.
#[track_caller]
fn until<T>(what: &'static str, mut look: impl FnMut() -> Option<T>) -> impl Future<Output = T> {
    let begun = Instant::now();
    async move {
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(begun.elapsed() < WITHIN, "{what}: not within {WITHIN:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn millis(client: &Client, question: &str) -> Option<f64> {
    let question = format!("SELECT (1000 * extract(epoch FROM ({question})))::float8");
    client.query_one(&question, &[]).await.expect("asked").get(0)
}

fn measured(pulse: &Pulse) -> Option<MeasuredLag> {
    match pulse.ask(|trail, now| trail.lag(&west(), now)) {
        Lag::Measured(measured) => Some(measured),
        Lag::Unknown { .. } => None,
    }
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1000.0
}

fn ms_between(earlier: Timestamp, later: Timestamp) -> f64 {
    later.duration_since(earlier).as_secs_f64() * 1000.0
}

/// The differences of a stage, in milliseconds.
#[derive(Debug, Default)]
struct Differences(Vec<f64>);

impl Differences {
    fn note(&mut self, ours: f64, theirs: f64) {
        self.0.push((ours - theirs).abs());
        self.0.sort_by(f64::total_cmp);
    }

    fn share(&self, tenths: usize) -> f64 {
        self.0[(self.0.len() - 1) * tenths / 10]
    }

    fn say(&self, stage: &str) {
        let [half, most, all] = [5, 9, 10].map(|tenths| self.share(tenths));
        say!(
            "{stage}: {} samples, apart by {half:.1} ms (half of them), {most:.1} (nine in ten), {all:.1} (all)",
            self.0.len()
        );
    }

    /// Nine in ten: the machine that this runs on is shared, and a process that has to wait for its turn sees what
    /// arrives only then.
    /// Half of them, and the rest is told: on a machine that starves this process single samples are apart by as long as
    /// it was starved, which says nothing of the measure.
    #[track_caller]
    fn are_within(&self, limit: Duration, stage: &str) {
        assert!(8 <= self.0.len(), "{stage}: {} samples", self.0.len());
        self.say(stage);
        assert!(self.share(5) <= ms(limit), "{stage}: {:.1} ms apart", self.share(5));
    }
}

/// At rest, and with replay held back by a fixed time: what arrives tells the lag. The primary's own figure is
/// `pg_stat_replication.replay_lag`, taken whenever the standby reports; it is that of the last transaction once that
/// has been replayed, and none a while after.
async fn compare_moving(pulse: &Pulse, primary: &Client, stage: &str) {
    let replayed = "SELECT replay_lag FROM pg_stat_replication WHERE pg_current_wal_lsn() <= replay_lsn";
    let mut differences = Differences::default();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(6) {
        tokio::time::sleep(Duration::from_millis(90)).await;
        let before = measured(pulse);
        let theirs = millis(primary, replayed).await;
        // Both figures are of the last beat; between its acknowledgement and its arrival they are of different ones.
        let settled = |m: &MeasuredLag| m.missing == 0 && measured(pulse).is_some_and(|after| after.newest == m.newest);
        if let (Some(ours), Some(theirs)) = (before.filter(settled), theirs) {
            differences.note(ms(ours.lag), theirs);
        }
    }
    differences.are_within(AGREEMENT, stage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lag_agrees_with_the_servers_own_view_also_where_replication_stands() {
    let pair = Pair::start().await;
    let heartbeat = pair.heartbeat(Duration::from_secs(1));
    let running = run(heartbeat.clone(), Arc::new(databases(&heartbeat, PASSWORD)));
    let (primary, standby) = (pair.east.admin().await, pair.west.admin().await);
    until("a first lag", || measured(&running.pulse)).await;
    compare_moving(&running.pulse, &primary, "at rest, against replay_lag").await;

    standby.batch_execute("ALTER SYSTEM SET recovery_min_apply_delay = '400ms'").await.expect("set");
    standby.batch_execute("SELECT pg_reload_conf()").await.expect("told");
    until("the delay", || measured(&running.pulse).filter(|m| Duration::from_millis(350) <= m.lag)).await;
    compare_moving(&running.pulse, &primary, "held back by 400 ms, against replay_lag").await;
    standby.batch_execute("ALTER SYSTEM RESET recovery_min_apply_delay").await.expect("set");
    standby.batch_execute("SELECT pg_reload_conf()").await.expect("told");
    until("no delay", || measured(&running.pulse).filter(|m| m.lag < Duration::from_millis(200))).await;

    // The heartbeat is all that is written, so the last transaction that was replayed is a beat.
    standby.batch_execute("SELECT pg_wal_replay_pause()").await.expect("paused");
    let missing = || measured(&running.pulse).filter(|m| 0 < m.missing && Duration::from_millis(200) < m.at_least);
    until("a beat that is missing", missing).await;
    let (mut age, mut lag, mut as_shown) = (Differences::default(), Differences::default(), Differences::default());
    let begun = Instant::now();
    let mut last = Duration::ZERO;
    while begun.elapsed() < Duration::from_secs(6) {
        tokio::time::sleep(Duration::from_millis(230)).await;
        let replayed = millis(&standby, "SELECT now() - pg_last_xact_replay_timestamp()").await.expect("replayed");
        let asked_at = SystemClock.wall();
        let ours = measured(&running.pulse).expect("measured");
        // Each figure is held against the server's view of the instant that it is for: it grows by the second.
        age.note(ms(ours.at_most), replayed - ms_between(ours.looked_at, asked_at));
        assert!(last <= ours.lag, "it grows: {last:?}, {:?}", ours.lag);
        last = ours.lag;
        let view = "SELECT CASE WHEN replay_lag IS NOT NULL THEN replay_lag + (clock_timestamp() - reply_time) END \
                    FROM pg_stat_replication";
        let theirs = millis(&primary, view).await;
        let asked_at = SystemClock.wall();
        let ours = measured(&running.pulse).expect("measured");
        if let Some(theirs) = theirs {
            lag.note(ms(ours.lag), theirs - ms_between(ours.looked_at, asked_at));
            as_shown.note(ms(ours.lag), theirs);
        }
    }
    age.are_within(AGREEMENT, "replay paused: age of the newest row, against now() - pg_last_xact_replay_timestamp()");
    lag.are_within(AGREEMENT, "replay paused: lag, against replay_lag");
    // A reading is up to a look old, and a look a tenth of a second after the one before.
    as_shown.are_within(2 * AGREEMENT, "replay paused: lag as it is shown, against replay_lag as it is by then");
    assert!(Duration::from_secs(5) < last, "{last:?}");
    let is = running.pulse.ask(|trail, now| trail.replication(&west(), now));
    assert!(matches!(is, Replication::Standing { missing: 5.., .. }), "{is:?}");

    standby.batch_execute("SELECT pg_wal_replay_resume()").await.expect("resumed");
    until("no lag", || measured(&running.pulse).filter(|m| m.missing == 0 && m.lag < AGREEMENT)).await;
    let is = running.pulse.ask(|trail, now| trail.replication(&west(), now));
    assert_eq!(is, Replication::Moving);
    assert_connections(&primary, 1).await;
    assert_connections(&standby, 1).await;
}

/// On a busy database, beats a second apart cannot tell the instant at which replay stopped; what they say contains it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_busy_database_the_interval_contains_the_servers_own_view() {
    let pair = Pair::start().await;
    let heartbeat = pair.heartbeat(Duration::from_secs(1));
    let running = run(heartbeat.clone(), Arc::new(databases(&heartbeat, PASSWORD)));
    let clients = Clients::start(&pair.east, 1).await;
    let standby = pair.west.admin().await;
    until("a first lag", || measured(&running.pulse)).await;
    standby.batch_execute("SELECT pg_wal_replay_pause()").await.expect("paused");
    until("a beat that is missing", || measured(&running.pulse).filter(|m| 0 < m.missing)).await;
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_millis(130)).await;
        let replayed = millis(&standby, "SELECT now() - pg_last_xact_replay_timestamp()").await.expect("replayed");
        let asked_at = SystemClock.wall();
        let ours = measured(&running.pulse).expect("measured");
        let theirs = replayed - ms_between(ours.looked_at, asked_at);
        // The client's writes are some milliseconds apart.
        let slack = 50.0;
        assert!(ms(ours.at_least) <= theirs + slack && theirs <= ms(ours.at_most) + slack, "{theirs} ms, {ours:?}");
    }
    clients.stop();
}

/// Those who use the application's database, each with a write in flight all the time.
struct Clients {
    /// What was acknowledged, and when its client had the answer.
    acknowledged: Arc<Mutex<BTreeMap<i64, Timestamp>>>,
    stopping: Arc<AtomicBool>,
}

impl Clients {
    async fn start(server: &Server, many: i64) -> Self {
        server.admin().await.batch_execute("CREATE TABLE writes (id bigint PRIMARY KEY)").await.expect("made");
        let clients = Self { acknowledged: Arc::default(), stopping: Arc::default() };
        for client in 0..many {
            let connection = server.admin().await;
            let (acknowledged, stopping) = (Arc::clone(&clients.acknowledged), Arc::clone(&clients.stopping));
            tokio::spawn(async move {
                for n in 0.. {
                    let id = n * many + client;
                    if stopping.load(Ordering::Relaxed)
                        || connection.execute("INSERT INTO writes VALUES ($1)", &[&id]).await.is_err()
                    {
                        return;
                    }
                    acknowledged.lock().expect("whole").insert(id, SystemClock.wall());
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            });
        }
        clients
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// The databases, and a note of every answer by somebody who is not under test.
#[derive(Debug)]
struct Noted {
    databases: PostgresHeartbeats,
    acknowledged: Mutex<BTreeMap<u64, (Region, Timestamp)>>,
}

#[async_trait]
impl Heartbeats for Noted {
    async fn beat(&self, at: &DatabaseEndpoint, beat: &Beat) -> BeatAnswer {
        let answer = self.databases.beat(at, beat).await;
        if answer == BeatAnswer::Acknowledged {
            let noted = (at.region.clone(), SystemClock.wall());
            self.acknowledged.lock().expect("whole").insert(beat.number, noted);
        }
        answer
    }

    async fn last_beat(&self, at: &DatabaseEndpoint, beater: &BeaterId) -> Result<Shown, LookError> {
        self.databases.last_beat(at, beater).await
    }

    async fn beats_held(
        &self,
        at: &DatabaseEndpoint,
        beater: &BeaterId,
        from: u64,
    ) -> Result<BTreeSet<u64>, LookError> {
        self.databases.beats_held(at, beater, from).await
    }
}

/// Kills the writer with writes in flight, `behind` after the replication has stopped sending, promotes the standby,
/// and holds what the heartbeat says was lost against what is not there.
async fn lose(behind: Option<Duration>) -> (u64, usize) {
    let mut pair = Pair::start().await;
    let heartbeat = pair.heartbeat(Duration::from_millis(100));
    let noted = Arc::new(Noted { databases: databases(&heartbeat, PASSWORD), acknowledged: Mutex::default() });
    let running = run(heartbeat, Arc::clone(&noted) as Arc<dyn Heartbeats>);
    let clients = Clients::start(&pair.east, 4).await;
    until("some beats in the west", || measured(&running.pulse).filter(|m| 20 <= m.newest)).await;
    if let Some(behind) = behind {
        pair.east.freeze_part(&["walsender"]);
        tokio::time::sleep(behind).await;
    }
    pair.east.kill();
    let failing = || running.pulse.failing(&east()).filter(|f| 3 <= f.beats);
    let failing = until("beats that fail", failing).await;
    assert_eq!(failing.refused_since, None, "a dead server refuses nothing: {failing:?}");

    let standby = pair.west.admin().await;
    standby.batch_execute("SELECT pg_promote(true, 30)").await.expect("promoted");
    running.pulse.writer_is(&west());
    let is_taken = || noted.acknowledged.lock().expect("whole").values().any(|(to, _)| *to == west()).then_some(());
    until("a beat that the new writer takes", is_taken).await;
    clients.stop();

    // The truth: who acknowledged what, by those who had the answers, and what is there.
    let beats = noted.acknowledged.lock().expect("whole").clone();
    let rows = standby.query("SELECT number FROM failoverd.heartbeat", &[]).await.expect("read");
    let there: BTreeSet<u64> = rows.iter().map(|r| r.get::<_, i64>(0).unsigned_abs()).collect();
    let old = || beats.iter().filter(|(_, (to, _))| *to == east());
    let beats_missing: Vec<Timestamp> = old().filter(|(n, _)| !there.contains(n)).map(|(_, (_, at))| *at).collect();
    let rows = standby.query("SELECT id FROM writes", &[]).await.expect("read");
    let there: BTreeSet<i64> = rows.iter().map(|r| r.get(0)).collect();
    let writes = clients.acknowledged.lock().expect("whole").clone();
    let writes_missing: Vec<Timestamp> =
        writes.iter().filter(|(id, _)| !there.contains(id)).map(|(_, at)| *at).collect();

    let until = Until { at: failing.since, basis: Basis::Corroborated };
    let loss = running.pulse.count_loss(&east(), &west(), Some(until)).await.expect("counted");
    assert_eq!(loss.beats_missing, beats_missing.len() as u64, "{loss:?}");
    assert_eq!(loss.beats_acknowledged, old().count() as u64);
    assert!(loss.is_whole, "{loss:?}");
    let last = old().map(|(_, (_, at))| *at).chain(writes.values().copied()).max().expect("some");
    let first = beats_missing.iter().chain(&writes_missing).min();
    let truth = first.map_or(SignedDuration::ZERO, |first| last.duration_since(*first));
    let at_most = loss.at_most.expect("bounded");
    say!(
        "behind by {behind:?}: {} beats missing of {} acknowledged, by the heartbeat {}; {} of {} writes missing, over {:.3} s, \
         by the heartbeat {:.3} to {:.3} s; {} beats unknown",
        beats_missing.len(),
        old().count(),
        loss.beats_missing,
        writes_missing.len(),
        writes.len(),
        truth.as_secs_f64(),
        loss.at_least.as_secs_f64(),
        at_most.as_secs_f64(),
        loss.beats_unknown,
    );
    let truth = Duration::try_from(truth).expect("forward");
    assert!(loss.at_least <= truth && truth <= at_most, "{truth:?} is not within {loss:?}");
    // Without a word on when the old writer stopped, the upper end is now.
    let open = running.pulse.count_loss(&east(), &west(), None).await.expect("counted");
    assert!(open.basis == Basis::Now && Some(at_most) < open.at_most, "{open:?}");
    drop(pair.place);
    (loss.beats_missing, writes_missing.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_after_a_promotion_is_the_acknowledged_rows_that_are_missing() {
    let (beats, writes) = lose(Some(Duration::from_millis(1730))).await;
    assert!(10 <= beats && 100 <= writes, "{beats} beats, {writes} writes: nothing was lost that could be counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_in_step_with_the_writer_loses_next_to_nothing_and_says_so() {
    let (beats, _) = lose(None).await;
    assert!(beats <= 1, "{beats}");
}

async fn assert_connections(admin: &Client, most: i64) {
    let question = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
    let open: i64 = admin.query_one(question, &[&APPLICATION_NAME]).await.expect("asked").get(0);
    assert!(open <= most, "{open} connections, {most} are allowed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_writes_refuses_the_beat() {
    let pair = Pair::start().await;
    let heartbeat = pair.heartbeat(Duration::from_secs(1));
    let databases = databases(&heartbeat, PASSWORD);
    let at = |region: &Region| heartbeat.endpoint(region).expect("configured");
    let admin = pair.east.admin().await;
    assert_eq!(databases.beat(&at(&east()), &a_beat(1)).await, BeatAnswer::Acknowledged);

    // In recovery.
    let answer = databases.beat(&at(&west()), &a_beat(2)).await;
    assert!(matches!(&answer, BeatAnswer::Refused { reason } if reason.contains("25006")), "{answer:?}");
    let begun = Instant::now();
    let in_west = loop {
        let shown = databases.last_beat(&at(&west()), &me()).await.expect("shown");
        if shown.newest.is_some() {
            break shown;
        }
        assert!(begun.elapsed() < WITHIN, "the beat does not arrive");
    };
    assert!(in_west.in_recovery && in_west.newest == in_west.newest_of_any, "{in_west:?}");
    assert_eq!(in_west.newest.map(|row| row.number), Some(1));

    // What the statement does to itself in recovery keeps a server from writing that otherwise would: one that would
    // forward it to the writer (Aurora), too. Here on the writer, the condition turned round; and it ends with the text.
    let guarded =
        "SELECT pg_catalog.set_config('transaction_read_only', 'on', true) WHERE NOT pg_catalog.pg_is_in_recovery();";
    let row = "INSERT INTO failoverd.heartbeat VALUES ('guard', 1, now())";
    let error = admin.batch_execute(&format!("{guarded}{row}")).await.expect_err("read-only by its own word");
    assert!(error.code().is_some_and(|c| c.code() == "25006"), "{error}");
    admin.batch_execute(row).await.expect("the next text is a transaction of its own");
    admin.batch_execute("DELETE FROM failoverd.heartbeat WHERE beater = 'guard'").await.expect("removed");

    // A writer that was made read-only.
    admin.batch_execute("ALTER ROLE failoverd_heartbeat SET default_transaction_read_only = on").await.expect("set");
    let fresh = self::databases(&heartbeat, PASSWORD);
    let answer = fresh.beat(&at(&east()), &a_beat(3)).await;
    assert!(matches!(&answer, BeatAnswer::Refused { reason } if reason.contains("25006")), "{answer:?}");
    admin.batch_execute("ALTER ROLE failoverd_heartbeat RESET default_transaction_read_only").await.expect("set");
    let shown = databases.last_beat(&at(&east()), &me()).await.expect("shown");
    assert!(!shown.in_recovery);
    assert_eq!(shown.newest.map(|row| row.number), Some(1), "what was refused was not written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beat_that_is_cut_off_or_left_hanging_is_unknown_and_connections_stay_few() {
    let place = Place::new();
    let server = place.primary(&[]).await;
    install(&server).await;
    let heartbeat = heartbeat_to(server.port, Tls::Disable);
    let databases = databases(&heartbeat, PASSWORD);
    let at = |region: &Region| heartbeat.endpoint(region).expect("configured");
    let admin = server.admin().await;
    assert_eq!(databases.beat(&at(&east()), &a_beat(1)).await, BeatAnswer::Acknowledged);

    // Cut off in the middle of it: the server's last word is no word on the beat.
    let locker = server.admin().await;
    locker.batch_execute("BEGIN; LOCK TABLE failoverd.heartbeat IN EXCLUSIVE MODE").await.expect("locked");
    let cut = async {
        let waits = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE application_name = $1 AND wait_event_type = 'Lock'";
        let begun = Instant::now();
        while admin.query(waits, &[&APPLICATION_NAME]).await.expect("asked").is_empty() {
            assert!(begun.elapsed() < WITHIN, "the beat does not wait");
        }
    };
    let here = at(&east());
    let last = a_beat(3);
    let (answer, ()) = tokio::join!(databases.beat(&here, &last), cut);
    assert!(matches!(&answer, BeatAnswer::Unknown { reason } if reason.contains("57P01")), "{answer:?}");
    locker.batch_execute("ROLLBACK").await.expect("unlocked");
    assert_eq!(databases.beat(&here, &a_beat(3)).await, BeatAnswer::Acknowledged);

    // Hanging: sent on the connection that is there, so it may have been written. A new connection sends nothing.
    server.freeze();
    let begun = Instant::now();
    let answer = databases.beat(&at(&east()), &a_beat(4)).await;
    assert!(matches!(&answer, BeatAnswer::Unknown { reason } if reason.contains("no answer within 2s")), "{answer:?}");
    let answer = databases.beat(&at(&east()), &a_beat(5)).await;
    assert!(matches!(&answer, BeatAnswer::NotWritten { reason } if reason.contains("no connection")), "{answer:?}");
    let error = databases.last_beat(&at(&east()), &me()).await.expect_err("hangs");
    assert!(
        matches!(&error, LookError::NoAnswer { reason, .. } if reason.contains("no answer within 2s")),
        "{error:?}"
    );
    assert!(begun.elapsed() < Duration::from_millis(7000), "{:?}", begun.elapsed());
    server.thaw();
    let begun = Instant::now();
    while databases.beat(&at(&east()), &a_beat(6)).await != BeatAnswer::Acknowledged {
        assert!(begun.elapsed() < WITHIN, "it takes no beats again");
    }
    let held = databases.beats_held(&at(&east()), &me(), 1).await.expect("read");
    // Beat 4 came over once the server went on: that is what unknown means.
    assert!(held.is_superset(&BTreeSet::from([1, 6])) && !held.contains(&5), "{held:?}");
    say!("the beat of unknown outcome was written after all: {}", held.contains(&4));

    // However many ask at once: one connection for beats, one for looks.
    let endpoint = at(&east());
    let both = |number| {
        let (databases, endpoint) = (&databases, &endpoint);
        async move { (databases.beat(endpoint, &a_beat(number)).await, databases.last_beat(endpoint, &me()).await) }
    };
    let many = futures_util::future::join_all((10..40).map(both)).await;
    assert!(many.iter().all(|(beat, look)| *beat == BeatAnswer::Acknowledged && look.is_ok()), "{many:?}");
    assert_connections(&admin, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_turned_away_is_told_why_without_the_password_and_the_table_stays_small() {
    let place = Place::new();
    let server = place.primary(&[]).await;
    let heartbeat = heartbeat_to(server.port, Tls::Disable);
    let at = heartbeat.endpoint(&east()).expect("configured");
    let wrong = "rhubarb-7-Granite";

    install(&server).await;
    let databases = self::databases(&heartbeat, wrong);
    let answer = databases.beat(&at, &a_beat(1)).await;
    assert!(
        matches!(&answer, BeatAnswer::NotWritten { reason } if reason.contains("password authentication failed") && reason.contains("28P01")),
        "{answer:?}"
    );
    let error = databases.last_beat(&at, &me()).await.expect_err("turned away");
    let said = format!("{answer:?} {error} {error:?} {databases:?} {at:?}");
    assert!(said.contains("HEARTBEAT_PASSWORD") && !said.contains(wrong) && !said.contains(PASSWORD), "{said}");
    let answer =
        PostgresHeartbeats::new(Arc::new(SystemClock), [&heartbeat], &BTreeMap::new()).beat(&at, &a_beat(1)).await;
    assert!(
        matches!(&answer, BeatAnswer::NotWritten { reason } if reason.contains("HEARTBEAT_PASSWORD is not set")),
        "{answer:?}"
    );

    // A password that is rotated in its file is taken up by the next connection.
    let file = place.path("password");
    std::fs::write(&file, format!("{wrong}\n")).expect("written");
    let rotating =
        Heartbeat { password: format!("file:{}", file.display()).parse().expect("valid"), ..heartbeat.clone() };
    let rotating_at = rotating.endpoint(&east()).expect("configured");
    let databases = PostgresHeartbeats::new(Arc::new(SystemClock), [&rotating], &BTreeMap::new());
    assert!(matches!(databases.beat(&rotating_at, &a_beat(1)).await, BeatAnswer::NotWritten { .. }));
    std::fs::write(&file, format!("{PASSWORD}\n")).expect("written");
    assert_eq!(databases.beat(&rotating_at, &a_beat(1)).await, BeatAnswer::Acknowledged);

    // Of its own rows the last 3600 are kept, of others' those of the last hour.
    let admin = server.admin().await;
    let fill = "INSERT INTO failoverd.heartbeat SELECT 'it-test', n, now() FROM generate_series(2, 3700) n; \
                INSERT INTO failoverd.heartbeat VALUES ('dead', 1, now() - interval '61 minutes'), ('alive', 1, now())";
    admin.batch_execute(fill).await.expect("filled");
    assert_eq!(databases.beat(&rotating_at, &a_beat(3701)).await, BeatAnswer::Acknowledged);
    let held = databases.beats_held(&rotating_at, &me(), 0).await.expect("read");
    assert_eq!((held.len(), held.first(), held.last()), (3600, Some(&102), Some(&3701)));
    let rows = admin.query("SELECT DISTINCT beater FROM failoverd.heartbeat ORDER BY 1", &[]).await.expect("read");
    let beaters: Vec<String> = rows.iter().map(|r| r.get(0)).collect();
    assert_eq!(beaters, ["alive", "it-test"]);

    // The user may do this and nothing else.
    admin.batch_execute("CREATE TABLE secrets (a int); INSERT INTO secrets VALUES (1)").await.expect("made");
    for statement in ["SELECT * FROM secrets", "UPDATE failoverd.heartbeat SET number = 1", "CREATE TABLE mine (a int)"]
    {
        let error =
            admin.batch_execute(&format!("SET ROLE failoverd_heartbeat; {statement}")).await.expect_err("forbidden");
        assert!(error.code().is_some_and(|c| c.code() == "42501"), "{statement}: {error}");
    }
    admin.batch_execute("RESET ROLE; DROP TABLE failoverd.heartbeat").await.expect("dropped");
    let answer = databases.beat(&rotating_at, &a_beat(3702)).await;
    assert!(matches!(&answer, BeatAnswer::NotWritten { reason } if reason.contains("42P01")), "{answer:?}");
    assert!(matches!(databases.last_beat(&rotating_at, &me()).await, Err(LookError::Rejected { .. })));
}

fn system_trusts_anybody() -> bool {
    !rustls_native_certs::load_native_certs().certs.is_empty()
}

/// Runs openssl in `folder`.
fn openssl(folder: &Path, arguments: &str) {
    let ran = Command::new("openssl").args(arguments.split_whitespace()).current_dir(folder).output();
    let ran = ran.expect("openssl is installed");
    assert!(ran.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// An authority of our own, and a certificate of it for `names`.
fn certify(place: &Place, authority: &str, certificate: &str, names: &str) {
    let folder = place.path("");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -sha256";
    openssl(
        &folder,
        &format!("req -x509 {key} -days 2 -subj /CN={authority} -keyout {authority}.key -out {authority}.pem"),
    );
    openssl(&folder, &format!("req {key} -subj /CN={certificate} -keyout {certificate}.key -out {certificate}.csr"));
    std::fs::write(folder.join("names"), format!("subjectAltName={names}\n")).expect("written");
    openssl(
        &folder,
        &format!(
            "x509 -req -in {certificate}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial -days 2 \
             -sha256 -extfile names -out {certificate}.pem"
        ),
    );
    place.give(&folder.join(format!("{certificate}.key")));
    place.give(&folder.join(format!("{certificate}.pem")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_is_not_certified_as_the_server_gets_the_password() {
    let place = Place::new();
    certify(&place, "authority", "good", "IP:127.0.0.1");
    certify(&place, "stranger", "other", "DNS:db.example.com");
    let path = |name: &str| place.path(name).display().to_string();
    let server = place
        .primary(&[("ssl", "on"), ("ssl_cert_file", &path("good.pem")), ("ssl_key_file", &path("good.key"))])
        .await;
    install(&server).await;
    let admin = server.admin().await;
    let beat = |ca_file: Option<String>| {
        let heartbeat = heartbeat_to(server.port, Tls::VerifyFull { ca_file });
        async move {
            let databases = databases(&heartbeat, PASSWORD);
            databases.beat(&heartbeat.endpoint(&east()).expect("configured"), &a_beat(1)).await
        }
    };
    let not_written = |answer: BeatAnswer, part: &str| {
        assert!(
            matches!(&answer, BeatAnswer::NotWritten { reason } if reason.contains(part)),
            "{answer:?}, not {part}"
        );
    };
    assert_eq!(beat(Some(path("authority.pem"))).await, BeatAnswer::Acknowledged);
    not_written(beat(Some(path("stranger.pem"))).await, "UnknownIssuer");
    // Whatever this system trusts, if anything, it is not that.
    not_written(beat(None).await, if system_trusts_anybody() { "UnknownIssuer" } else { "set ca_file" });
    not_written(beat(Some(path("nowhere.pem"))).await, "ca_file");
    not_written(beat(Some(path("names"))).await, "holds no certificate");

    // Another's certificate, of an authority that is trusted.
    for (key, file) in [("ssl_cert_file", "other.pem"), ("ssl_key_file", "other.key")] {
        std::fs::copy(place.path(file), place.path(&file.replace("other", "good"))).expect(key);
    }
    admin.batch_execute("SELECT pg_reload_conf()").await.expect("told");
    let begun = Instant::now();
    loop {
        let answer = beat(Some(path("stranger.pem"))).await;
        if matches!(&answer, BeatAnswer::NotWritten { reason } if reason.contains("not valid for name")) {
            break;
        }
        assert!(begun.elapsed() < WITHIN, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // And one that has none.
    admin.batch_execute("ALTER SYSTEM SET ssl = off").await.expect("set");
    drop(server);
    let place = Place::new();
    let plain = place.primary(&[]).await;
    install(&plain).await;
    let heartbeat = heartbeat_to(plain.port, Tls::VerifyFull { ca_file: None });
    let answer =
        databases(&heartbeat, PASSWORD).beat(&heartbeat.endpoint(&east()).expect("configured"), &a_beat(1)).await;
    not_written(answer, "TLS");
}
