use std::collections::BTreeSet;

use async_trait::async_trait;

use super::*;
use crate::{
    adapters::clock::TokioClock,
    domain::heartbeat::{BeatAnswer, DatabaseEndpoint, Replication, Row, Shown, Tls},
    domain::signal::Reading,
};

fn region(name: &str) -> Region {
    name.parse().expect("valid")
}

fn east() -> Region {
    region("us-east-1")
}

fn west() -> Region {
    region("us-west-2")
}

/// How the fake databases behave.
#[derive(Debug, Clone)]
struct Behaviour {
    /// How long a row takes to the other Region; `None`: it never comes.
    delay: Option<Duration>,
    /// What the writer answers where it does not acknowledge.
    answer: Option<BeatAnswer>,
    /// How long a look takes.
    look: Duration,
}

/// Two databases: what is written to one comes to the other later.
#[derive(Debug)]
struct Fake {
    clock: Arc<TokioClock>,
    behaviour: Mutex<Behaviour>,
    /// Where, which beat, and when it is in the other Region.
    rows: Mutex<Vec<(Region, Beat, Option<Duration>)>>,
    looks: Mutex<Vec<Region>>,
}

impl Fake {
    fn is(&self, behaviour: Behaviour) {
        *self.behaviour.lock().expect("whole") = behaviour;
    }

    fn there(&self, at: &Region) -> Vec<Beat> {
        let now = self.clock.boot();
        let rows = self.rows.lock().expect("whole");
        let is_there =
            |(to, _, arrives): &&(Region, Beat, Option<Duration>)| to == at || arrives.is_some_and(|a| a <= now);
        rows.iter().filter(is_there).map(|(_, beat, _)| beat.clone()).collect()
    }
}

#[async_trait]
impl Heartbeats for Fake {
    async fn beat(&self, at: &DatabaseEndpoint, beat: &Beat) -> BeatAnswer {
        let behaviour = self.behaviour.lock().expect("whole").clone();
        self.clock.sleep(Duration::from_millis(3)).await;
        if let Some(answer) = behaviour.answer {
            return answer;
        }
        let arrives = behaviour.delay.map(|delay| self.clock.boot() + delay);
        self.rows.lock().expect("whole").push((at.region.clone(), beat.clone(), arrives));
        BeatAnswer::Acknowledged
    }

    async fn last_beat(&self, at: &DatabaseEndpoint, beater: &BeaterId) -> Result<Shown, LookError> {
        self.looks.lock().expect("whole").push(at.region.clone());
        let look = self.behaviour.lock().expect("whole").look;
        if at.timeout < look {
            self.clock.sleep(at.timeout).await;
            return Err(LookError::NoAnswer { at: at.address.to_string(), reason: "late".to_owned() });
        }
        self.clock.sleep(look).await;
        let newest = self.there(&at.region).into_iter().max_by_key(|b| b.number);
        let row = newest.map(|b| Row { beater: beater.clone(), number: b.number, written_at: b.sent_at });
        Ok(Shown { newest: row.clone(), newest_of_any: row, in_recovery: at.region == west() })
    }

    async fn beats_held(&self, at: &DatabaseEndpoint, _: &BeaterId, from: u64) -> Result<BTreeSet<u64>, LookError> {
        Ok(self.there(&at.region).into_iter().map(|b| b.number).filter(|n| from <= *n).collect())
    }
}

fn heartbeat() -> Heartbeat {
    let address = |host: &str| format!("{host}:5432").parse().expect("valid");
    Heartbeat {
        user: "failoverd_heartbeat".to_owned(),
        password: "env:X".parse().expect("valid"),
        database: "orders".to_owned(),
        endpoints: BTreeMap::from([(east(), address("east")), (west(), address("west"))]),
        reader_endpoints: BTreeMap::new(),
        tls: Tls::VerifyFull { ca_file: None },
        period: Duration::from_secs(1),
        timeout: Duration::from_secs(2),
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn replicating(delay: Option<Duration>) -> Behaviour {
    Behaviour { delay, answer: None, look: ms(2) }
}

/// A pulse that runs in virtual time until it is dropped.
struct Running {
    pulse: Arc<Pulse>,
    fake: Arc<Fake>,
    clock: Arc<TokioClock>,
    stopping: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn run(behaviour: Behaviour, writer: Option<Region>) -> Running {
    let clock = Arc::new(TokioClock::new("2026-11-21T12:00:00Z".parse().expect("valid")));
    let fake = Arc::new(Fake {
        clock: clock.clone(),
        behaviour: Mutex::new(behaviour),
        rows: Mutex::default(),
        looks: Mutex::default(),
    });
    let beater: BeaterId = "me".parse().expect("valid");
    let store = "orders".parse().expect("valid");
    let pulse = Arc::new(Pulse::new(store, heartbeat(), beater, fake.clone(), clock.clone()));
    if let Some(writer) = writer {
        pulse.writer_is(&writer);
    }
    let stopping = CancellationToken::new();
    let (running, token) = (pulse.clone(), stopping.clone());
    let task = tokio::spawn(async move { running.beat_on(&token).await });
    Running { pulse, fake, clock, stopping, task }
}

#[tokio::test(start_paused = true)]
async fn a_short_lag_is_measured_closely_though_beats_are_a_second_apart() {
    for delay in [5, 30, 120, 400, 900, 2500, 30_000] {
        let r = run(replicating(Some(ms(delay))), Some(east()));
        // At any instant, not just where it suits: every 130 ms for some seconds.
        r.clock.sleep(ms(delay + 1500)).await;
        for _ in 0..30 {
            let sample = r.pulse.sample();
            let Reading::Lag { lag } = sample.reading else { panic!("{delay} ms: {sample:?}") };
            assert!(lag.abs_diff(ms(delay)) <= ms(100), "{lag:?} for {delay} ms");
            r.clock.sleep(ms(130)).await;
        }
        r.stopping.cancel();
        r.task.await.expect("ends when it is told to");
    }
}

#[tokio::test(start_paused = true)]
async fn a_standing_replication_grows_the_lag_and_is_told() {
    let r = run(replicating(Some(ms(20))), Some(east()));
    r.clock.sleep(ms(3500)).await;
    let is = |r: &Running| r.pulse.ask(|trail, now| trail.replication(&west(), now));
    assert_eq!(is(&r), Replication::Moving);
    r.fake.is(replicating(None));
    r.clock.sleep(ms(10_000)).await;
    // The last beat to arrive was sent at 3 s; the first to stay away, at 4 s.
    let sample = r.pulse.sample();
    let Reading::Lag { lag } = sample.reading else { panic!("{sample:?}") };
    assert!((ms(9300)..=ms(9500)).contains(&lag), "{lag:?}");
    assert!(matches!(is(&r), Replication::Standing { missing: 10, .. }), "{:?}", is(&r));
}

#[tokio::test(start_paused = true)]
async fn looks_are_few_where_little_lags_and_bounded_where_much_does() {
    for (delay, most) in [(Some(ms(5)), 30), (Some(ms(90)), 110), (None, 120)] {
        let r = run(replicating(delay), Some(east()));
        r.clock.sleep(ms(10_500)).await;
        let looks = r.fake.looks.lock().expect("whole").clone();
        assert!(looks.iter().all(|at| *at == west()), "the writer is not looked at");
        assert!((10..=most).contains(&looks.len()), "{} looks in 10 s with {delay:?}", looks.len());
    }
}

#[tokio::test(start_paused = true)]
async fn where_nobody_knows_who_writes_nothing_is_written() {
    let r = run(replicating(Some(ms(5))), None);
    r.clock.sleep(ms(5000)).await;
    assert!(r.fake.rows.lock().expect("whole").is_empty());
    assert!(matches!(r.pulse.sample().reading, Reading::Missing { .. }));
    r.pulse.writer_is(&east());
    r.clock.sleep(ms(2000)).await;
    assert!(matches!(r.pulse.sample().reading, Reading::Lag { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_secondary_that_hangs_delays_no_beat() {
    let r = run(Behaviour { look: ms(60_000), ..replicating(Some(ms(5))) }, Some(east()));
    r.clock.sleep(ms(10_500)).await;
    let sent: Vec<Duration> = {
        let rows = r.fake.rows.lock().expect("whole");
        let start = rows[0].1.sent_at;
        rows.iter().map(|(_, b, _)| Duration::try_from(b.sent_at.duration_since(start)).expect("later")).collect()
    };
    assert_eq!(sent, (0..11).map(Duration::from_secs).collect::<Vec<_>>(), "on the second, each second");
    let sample = r.pulse.sample();
    assert!(matches!(&sample.reading, Reading::Missing { why } if why.contains("late")), "{sample:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_failover_the_loss_is_what_the_old_writer_acknowledged_and_the_new_one_lacks() {
    let r = run(replicating(Some(ms(20))), Some(east()));
    r.clock.sleep(ms(5500)).await;
    r.fake.is(replicating(None));
    r.clock.sleep(ms(4000)).await;
    r.fake.is(Behaviour {
        answer: Some(BeatAnswer::NotWritten { reason: "connection refused".to_owned() }),
        ..replicating(None)
    });
    r.clock.sleep(ms(3000)).await;
    let failing = r.pulse.failing(&east()).expect("failing");
    assert_eq!((failing.beats, failing.since.boot), (3, ms(10_003)));
    r.pulse.writer_is(&west());
    r.fake.is(replicating(Some(ms(20))));
    r.clock.sleep(ms(3000)).await;
    let until = Until { at: failing.since, basis: crate::domain::heartbeat::Basis::Corroborated };
    let loss = r.pulse.count_loss(&east(), &west(), Some(until)).await.expect("counted");
    // Beats 7 to 10, sent at 6 s to 9 s; the newest that is held, at 5 s.
    assert_eq!((loss.beats_missing, loss.beats_unknown, loss.is_whole), (4, 0, true));
    assert_eq!((loss.at_least, loss.at_most), (ms(2997), Some(ms(5003))));
    assert!(r.pulse.failing(&west()).is_none());
    let error = r.pulse.count_loss(&east(), &region("eu-west-1"), None).await.expect_err("not configured");
    assert_eq!(error, CountError::NoEndpoint(region("eu-west-1")));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_old_writer_is_kept_with_its_instant() {
    let r = run(replicating(Some(ms(20))), Some(east()));
    r.clock.sleep(ms(2500)).await;
    let reason = "cannot execute INSERT in a read-only transaction (SQLSTATE 25006)".to_owned();
    r.fake.is(Behaviour { answer: Some(BeatAnswer::Refused { reason: reason.clone() }), ..replicating(None) });
    r.clock.sleep(ms(2000)).await;
    let failing = r.pulse.failing(&east()).expect("failing");
    assert_eq!(failing.refused_since.map(|m| m.boot), Some(ms(3003)));
    assert_eq!((failing.beats, failing.reason), (2, reason));
}
