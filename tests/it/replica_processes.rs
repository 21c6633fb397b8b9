//! Three real daemons over an emulator of DynamoDB that nobody here wrote and the simulated AWS, while people move an
//! application through whichever of them answers. Whoever leads is killed, stopped past its lease and continued, cut
//! from the table and not from AWS, cut from AWS and not from the table: the run must end well, every effect happen
//! once, the journal be whole with one epoch after the other, and no two lead for as long as a lease.
//!
//! `FAILOVERD_ROUNDS` asks for that many strikes, or takeovers that are measured, from `FAILOVERD_SEED` on; CI has a few.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use failoverd::domain::journal::Event;
use futures_util::{StreamExt as _, stream};
use rand_chacha::{
    ChaCha12Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    daemon,
    dynamodb::ministack,
    line::Cut,
    people::Move,
    stage::comes_true,
    trio::{LEASE, Trio},
};

/// Worlds that one test has under way, each with three daemons.
const CONCURRENT: usize = 4;
/// How often people look.
const LOOK: Duration = Duration::from_millis(150);
/// How long a run may take, whatever becomes of its leaders.
const RUN_LIMIT: Duration = Duration::from_secs(240);
/// How long another replica may need to lead, and one that is cut off to say so, on a machine that is busy with other
/// tests: what it needs on one that is not is measured, and in docs/replicas.md.
const BUSY: Duration = Duration::from_secs(20);
/// How often who leads is looked at.
const WATCH: Duration = Duration::from_millis(250);
/// Strikes during one run.
const STRIKES: usize = 2;

fn rounds(or: usize) -> usize {
    std::env::var("FAILOVERD_ROUNDS").map_or(or, |rounds| rounds.parse().expect("FAILOVERD_ROUNDS is a number"))
}

fn seed() -> usize {
    std::env::var("FAILOVERD_SEED").map_or(0, |seed| seed.parse().expect("FAILOVERD_SEED is a number"))
}

/// A time of at most `max` milliseconds.
fn within(rng: &mut ChaCha12Rng, max: u64) -> Duration {
    Duration::from_millis(rng.next_u64() % max)
}

/// What becomes of the one that leads.
#[derive(Debug, Clone, Copy)]
enum Strike {
    /// SIGKILL, and a start at once or after somebody else leads.
    Killed {
        at_once: bool,
    },
    /// SIGSTOP, past its lease, and SIGCONT.
    StoodStill,
    CutFromTable(Cut),
    CutFromAws(Cut),
    /// SIGTERM and a start, as a deployment does it.
    Deployed,
}

const STRIKE_KINDS: [Strike; 10] = [
    Strike::StoodStill,
    Strike::Killed { at_once: false },
    Strike::CutFromTable(Cut::Hole),
    Strike::CutFromAws(Cut::Hole),
    Strike::Killed { at_once: true },
    Strike::CutFromTable(Cut::AnswersLost),
    Strike::StoodStill,
    Strike::CutFromAws(Cut::AnswersLost),
    Strike::CutFromTable(Cut::Refused),
    Strike::Deployed,
];

impl Strike {
    /// Strikes the leader; it is well again afterwards. How long until another led.
    async fn on(self, trio: &Trio, rng: &mut ChaCha12Rng) -> Result<Duration, String> {
        let leader = trio.leader_within(LEASE + BUSY).await?;
        let member = &trio.members[leader];
        match self {
            Self::Killed { at_once } => {
                trio.kill(leader).await;
                if at_once {
                    let begun = Instant::now();
                    trio.start(leader).await?;
                    trio.leader_within(LEASE + BUSY).await?;
                    return Ok(begun.elapsed());
                }
                let (_, took) = trio.leader_but(leader, LEASE + BUSY).await?;
                tokio::time::sleep(within(rng, 2_000)).await;
                trio.start(leader).await.map(|()| took)
            }
            Self::StoodStill => {
                trio.stand_still(leader, true).await;
                let took = trio.leader_but(leader, LEASE + BUSY).await;
                tokio::time::sleep(within(rng, 4_000)).await;
                trio.stand_still(leader, false).await;
                took.map(|(_, took)| took)
            }
            Self::CutFromTable(cut) => {
                member.table.cut(cut);
                let took = trio.leader_but(leader, LEASE + BUSY).await;
                let told = says_out_of_reach(trio, leader).await;
                member.table.mend();
                told.and(took).map(|(_, took)| took)
            }
            Self::CutFromAws(cut) => {
                member.aws.cut(cut);
                // It gives the lease back when its control points have not answered for as long as a lease.
                let took = trio.leader_but(leader, 2 * LEASE + BUSY).await;
                tokio::time::sleep(within(rng, 4_000)).await;
                member.aws.mend();
                took.map(|(_, took)| took)
            }
            Self::Deployed => {
                let begun = Instant::now();
                trio.stop(leader).await?;
                trio.leader_but(leader, LEASE + BUSY).await?;
                trio.start(leader).await.map(|()| begun.elapsed())
            }
        }
    }
}

/// Whether `/readyz` of a replica that is cut from the table comes to say so.
async fn says_out_of_reach(trio: &Trio, n: usize) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let answer = trio.ask(n, "/readyz").await;
        if let Some((503, body)) = &answer
            && body["code"] == "not-ready"
            && body.to_string().contains("out of reach")
        {
            return Ok(());
        }
        if LEASE + BUSY < begun.elapsed() {
            return Err(format!("/readyz of a replica that is cut from the table: {answer:?}"));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Alice and bob, who ask whichever replica comes next.
struct People<'a> {
    trio: &'a Trio,
    http: Client,
    rng: ChaCha12Rng,
    run: Option<String>,
    /// How often a held run was resumed.
    resumed: u32,
    /// How often a replica answered for one that did not lead, and how often it said that it could not.
    unanswered: u32,
}

impl<'a> People<'a> {
    fn of(trio: &'a Trio, seed: u64) -> Self {
        let http = Client::builder().timeout(Duration::from_secs(3)).pool_max_idle_per_host(0).no_proxy().build();
        let (http, rng) = (http.expect("a client"), ChaCha12Rng::seed_from_u64(seed));
        Self { trio, http, rng, run: None, resumed: 0, unanswered: 0 }
    }

    fn somewhere(&mut self) -> String {
        let n = usize::try_from(self.rng.next_u64() % 3).expect("small");
        self.trio.members[n].api.url()
    }

    /// Asks for the run, with the same key each time; whether it was accepted.
    async fn ask(&mut self) -> Result<bool, String> {
        let url = self.somewhere();
        let request = self.http.post(format!("{url}/failover")).bearer_auth("alice-kill-token");
        let request = request.header("Idempotency-Key", "the-one-request").json(&Move::Failover.body());
        let Ok(response) = request.send().await else { return Ok(false) };
        let status = response.status();
        let Ok(body) = response.json::<Value>().await else { return Ok(false) };
        let code = body["code"].as_str().unwrap_or_default();
        match (status, code) {
            (StatusCode::ACCEPTED, _) => {
                let id = body["run"].as_str().ok_or("the answer names no run")?.to_owned();
                match self.run.replace(id.clone()) {
                    Some(before) if before != id => Err(format!("one key started two runs: {before} and {id}")),
                    _ => Ok(true),
                }
            }
            (StatusCode::CONFLICT, "gate-refused") if self.run.is_none() => Ok(false),
            (StatusCode::SERVICE_UNAVAILABLE, "not-leader" | "stopping" | "internal")
            | (StatusCode::BAD_GATEWAY, "leader-unanswered")
            | (StatusCode::INTERNAL_SERVER_ERROR, _) => {
                self.unanswered += 1;
                Ok(false)
            }
            _ => Err(format!("POST /failover answered {status}: {body}")),
        }
    }

    async fn look(&mut self) -> Result<Option<Value>, String> {
        let Some(run) = self.run.clone() else { return Ok(None) };
        let url = self.somewhere();
        let request = self.http.get(format!("{url}/runs/{run}")).bearer_auth("alice-kill-token");
        let Ok(response) = request.send().await else { return Ok(None) };
        let status = response.status();
        let Ok(body) = response.json::<Value>().await else { return Ok(None) };
        match status {
            StatusCode::OK => Ok(Some(body)),
            // What a follower does not know yet it asks the leader.
            StatusCode::NOT_FOUND => Err(format!("a run that was accepted is not known at {url}: {body}")),
            _ => Ok(None),
        }
    }

    async fn post(&mut self, what: &str, token: &str, body: &Value) {
        let (url, run) = (self.somewhere(), self.run.clone().unwrap_or_default());
        let _ = self.http.post(format!("{url}/runs/{run}/{what}")).bearer_auth(token).json(body).send().await;
    }

    /// Until the run is over; how it ended. `begun` is set when it was accepted.
    async fn play(&mut self, begun: &AtomicBool) -> Result<Value, String> {
        let deadline = Instant::now() + RUN_LIMIT;
        let (mut last, mut looks) = (Value::Null, 0_u32);
        while Instant::now() < deadline {
            looks += 1;
            if self.run.is_none() || looks.is_multiple_of(8) {
                self.ask().await?;
                begun.store(self.run.is_some(), Ordering::SeqCst);
            } else if let Some(view) = self.look().await? {
                match view["state"].as_str() {
                    Some("running") => self.approve(&view).await,
                    Some("held") => {
                        self.resumed += 1;
                        let body = json!({ "reason": "go on", "digest": view["plan_digest"] });
                        self.post("resume", "alice-kill-token", &body).await;
                    }
                    _ => return Ok(view),
                }
                last = view;
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(format!("the run did not end in time: {last:#}"))
    }

    async fn approve(&mut self, view: &Value) {
        let waits = |s: &&Value| s["action"] == "approve" && s["state"] == "running";
        let Some(step) = view["steps"].as_array().and_then(|steps| steps.iter().find(waits)) else { return };
        let body =
            json!({ "step": step["id"], "decision": "approve", "digest": view["plan_digest"], "reason": "agreed" });
        self.post("approvals", "bob-kill-token", &body).await;
    }
}

/// The longest time for which two replicas said that they lead, while `over` is not set.
async fn two_lead(trio: &Trio, over: &AtomicBool) -> Duration {
    let (mut since, mut longest): (Option<Instant>, _) = (None, Duration::ZERO);
    while !over.load(Ordering::SeqCst) {
        match trio.leading().await.len() {
            0 | 1 => since = None,
            _ => longest = longest.max(since.get_or_insert_with(Instant::now).elapsed()),
        }
        tokio::time::sleep(WATCH).await;
    }
    longest
}

/// One promotion, traffic moved to one place, no message twice.
fn effects_once(trio: &Trio) -> Result<(), String> {
    let effects = trio.stage.effects();
    let states: BTreeSet<_> = effects.flips.iter().filter_map(|f| Some(f.split_once(": ")?.1.to_owned())).collect();
    let twice = effects.messages.windows(2).any(|pair| pair[0] == pair[1]);
    let once = effects.promotions == [Move::Failover.operation()] && states.len() == 1 && !twice;
    once.then_some(()).ok_or_else(|| format!("not once each: {effects:?}"))
}

/// The journal is whole: one run, one epoch after the other, at least `epochs` of them.
async fn journal_whole(trio: &Trio, epochs: usize) -> Result<u64, String> {
    let records = trio.records().await?;
    let begun = |e: &Event| matches!(e, Event::EpochStarted { .. });
    let began: Vec<u64> = records.iter().filter(|r| r.events.iter().any(begun)).map(|r| r.epoch).collect();
    let all: Vec<u64> = (1..=began.len() as u64).collect();
    if began != all || began.len() < epochs {
        return Err(format!("epochs {began:?}, expected one after the other and at least {epochs}"));
    }
    let events = || records.iter().flat_map(|r| &r.events);
    let started = events().filter(|e| matches!(e, Event::RunStarted { .. })).count();
    let finished = events().filter(|e| matches!(e, Event::RunFinished { .. })).count();
    match (started, finished) {
        (1, 1) => Ok(began.len() as u64),
        counts => Err(format!("(started, finished) {counts:?}, expected one run")),
    }
}

/// What one run has survived.
#[derive(Debug, Default)]
struct Survived {
    strikes: Vec<(Strike, bool, Duration)>,
    epochs: u64,
    resumed: u32,
    unanswered: u32,
    two_led: Duration,
}

/// A failover, and strikes while it is under way.
async fn survive(seed: usize, strikes: Vec<Strike>, emulator: &str) -> Result<Survived, String> {
    let trio = Trio::build(30_000 + seed as u64, emulator).await;
    let (begun, run_over, over) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
    let mut rng = ChaCha12Rng::seed_from_u64(seed as u64);
    let played = async {
        trio.start_all().await?;
        let mut people = People::of(&trio, seed as u64);
        let (survived, two_led) = tokio::join!(
            async {
                let struck = async {
                    let mut done = Vec::new();
                    comes_true(Duration::from_secs(90), || begun.load(Ordering::SeqCst)).await;
                    for strike in &strikes {
                        tokio::time::sleep(within(&mut rng, 3_000)).await;
                        let in_mid_run = !run_over.load(Ordering::SeqCst);
                        let took = strike.on(&trio, &mut rng).await.map_err(|e| format!("{strike:?}: {e}"))?;
                        done.push((*strike, in_mid_run, took));
                    }
                    Ok::<_, String>(done)
                };
                let played = async {
                    let ended = people.play(&begun).await?;
                    run_over.store(true, Ordering::SeqCst);
                    Ok::<_, String>(ended)
                };
                let ended = tokio::try_join!(struck, played);
                over.store(true, Ordering::SeqCst);
                ended
            },
            two_lead(&trio, &over),
        );
        let (struck, ended) = survived?;
        if ended["state"] != "succeeded" {
            return Err(format!("it did not end well: {ended:#}"));
        }
        // Mended, all of them are as they should be, and the same request is still the same run.
        trio.all_ready_within(LEASE * 3 + BUSY).await?;
        let asked_again = Instant::now();
        while !people.ask().await? {
            if BUSY < asked_again.elapsed() {
                return Err("the request is not answered any more".to_owned());
            }
            tokio::time::sleep(LOOK).await;
        }
        for n in 0..3 {
            trio.kill(n).await;
        }
        trio.stage.has_moved()?;
        effects_once(&trio)?;
        if LEASE < two_led {
            return Err(format!("two said for {two_led:?} that they lead"));
        }
        let epochs = journal_whole(&trio, 1 + struck.len()).await?;
        Ok(Survived { strikes: struck, epochs, resumed: people.resumed, unanswered: people.unanswered, two_led })
    };
    played.await.map_err(|e: String| {
        format!("seed {seed}, {strikes:?}: {e}\n{:?}\n{}", trio.stage.effects(), tail(&trio.stage.logs()))
    })
}

/// The last lines of each log, without the requests of the people.
fn tail(logs: &str) -> String {
    let of_life = |life: &str| {
        let lines: Vec<_> = life.lines().filter(|l| !l.contains("\"path\"")).collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    };
    logs.split("--- life ").map(of_life).collect::<Vec<_>>().join("\n--- life ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_becomes_of_the_one_that_leads_the_run_ends_well_and_every_effect_happens_once() {
    let emulator = ministack().await;
    let strikes = rounds(STRIKE_KINDS.len());
    let kinds = |run: usize| (0..STRIKES).map(move |n| STRIKE_KINDS[(run * STRIKES + n) % STRIKE_KINDS.len()]);
    let runs = (0..strikes.div_ceil(STRIKES)).map(|run| survive(seed() + run, kinds(run).collect(), &emulator.url));
    let ended: Vec<_> =
        stream::iter(runs).buffer_unordered(CONCURRENT).inspect(|ended| println!("{ended:?}")).collect().await;
    let failures: Vec<_> = ended.iter().filter_map(|e| e.as_ref().err().cloned()).collect();
    assert!(failures.is_empty(), "{} of {} runs failed:\n{}", failures.len(), ended.len(), failures.join("\n\n"));
    let survived: Vec<Survived> = ended.into_iter().flatten().collect();
    let all = || survived.iter().flat_map(|s| &s.strikes);
    let mid_run = all().filter(|(_, in_mid_run, _)| *in_mid_run).count();
    println!(
        "{} strikes ({mid_run} in mid-run) in {} runs; epochs {}, held runs resumed {}, requests that nobody answered {}, \
         two led for {:?} at most",
        all().count(),
        survived.len(),
        survived.iter().map(|s| s.epochs).sum::<u64>(),
        survived.iter().map(|s| s.resumed).sum::<u32>(),
        survived.iter().map(|s| s.unanswered).sum::<u32>(),
        survived.iter().map(|s| s.two_led).max().unwrap_or_default(),
    );
    assert!(survived.len() <= mid_run, "the runs were over before");
}

/// A follower comes to say who leads, and in which epoch, to a person too: when the lease is renewed next.
async fn status_tells(trio: &Trio, follower: usize, leader: &str) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let (went_well, status) = daemon::verb(&trio.members[follower].api.url(), &["status", "payments"]).await;
        if went_well && status.contains("epoch 2") && status.contains(leader) {
            return Ok(());
        }
        if LEASE + BUSY < begun.elapsed() {
            return Err(format!("status at a follower, of the leader at {leader}: {status}"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// People are told a second time, 5 s after the run began: an effect that needs nothing but somebody who leads.
const AGAIN: &str = r#"
  - id: breath
    title: Take a breath
    action: wait
    with: { duration: 5s }

  - id: announce-again
    title: Tell people again
    action: notify
    needs: [breath]
    with: { subject: "{application}: still at it", message: "Whoever leads goes on." }

  - id: check-target
"#;

/// Kills the leader before it tells people a second time: from SIGKILL to the next effect in the world, which is
/// another replica's, and until another said that it leads.
async fn takeover(seed: usize, emulator: &str) -> Result<(Duration, Duration), String> {
    let trio = Trio::build(31_000 + seed as u64, emulator).await;
    let runbook = trio.stage.directory().join("runbooks/region-failover.yaml");
    let text = std::fs::read_to_string(&runbook).expect("written");
    assert!(text.contains("\n  - id: check-target\n"), "{text}");
    std::fs::write(&runbook, text.replace("\n  - id: check-target\n", AGAIN)).expect("written");
    let measured = async {
        let leader = trio.start_all().await?;
        let mut people = People::of(&trio, seed as u64);
        let begun = Instant::now();
        while !people.ask().await? {
            if RUN_LIMIT < begun.elapsed() {
                return Err("nobody takes the request".to_owned());
            }
            tokio::time::sleep(LOOK).await;
        }
        if !comes_true(Duration::from_secs(60), || trio.stage.effects().messages.len() == 2).await {
            return Err("nobody was told".to_owned());
        }
        // Somewhere between two renewals.
        let mut rng = ChaCha12Rng::seed_from_u64(seed as u64);
        tokio::time::sleep(within(&mut rng, 1_200)).await;
        if trio.leading().await != [leader] {
            return Err("another replica leads already: the machine is too busy to measure".to_owned());
        }
        let before = trio.stage.effects().count();
        let killed = Instant::now();
        trio.kill(leader).await;
        let leads = async {
            let (successor, _) = trio.leader_but(leader, LEASE + BUSY).await?;
            Ok::<_, String>((successor, killed.elapsed()))
        };
        let effect = async {
            let limit = LEASE + BUSY;
            let seen = comes_true(limit, || before < trio.stage.effects().count()).await;
            seen.then(|| killed.elapsed()).ok_or_else(|| format!("no effect within {limit:?}"))
        };
        let ((successor, leads), effect) = tokio::try_join!(leads, effect)?;
        status_tells(&trio, 3 - leader - successor, &trio.members[successor].api.url()).await?;
        let messages = trio.stage.effects().messages;
        if messages.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(format!("somebody was told twice: {messages:?}"));
        }
        Ok((effect, leads))
    };
    measured.await.map_err(|e: String| format!("takeover {seed}: {e}\n{}", tail(&trio.stage.logs())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_goes_on_when_the_lease_of_one_that_was_killed_is_over() {
    let emulator = ministack().await;
    let runs = (0..rounds(3)).map(|n| takeover(seed() + n, &emulator.url));
    let ended: Vec<_> = stream::iter(runs).buffer_unordered(2).inspect(|took| println!("{took:?}")).collect().await;
    let failures: Vec<_> = ended.iter().filter_map(|e| e.as_ref().err().cloned()).collect();
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), ended.len(), failures.join("\n\n"));
    let mut took: Vec<_> = ended.into_iter().flatten().collect();
    took.sort();
    let (p50, max) = (took[took.len() / 2].0, took[took.len() - 1].0);
    let led = took.iter().map(|(_, leads)| *leads).max().unwrap_or_default();
    println!(
        "kill to the next effect, {} takeovers, lease {LEASE:?}: p50 {p50:?}, max {max:?}; to leading {led:?}",
        took.len()
    );
    assert!(max <= LEASE + BUSY, "{max:?}");
}
