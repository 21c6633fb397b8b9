use std::collections::BTreeMap;

use async_trait::async_trait;

use super::*;
use crate::{
    domain::{
        application::{Application, Objectives},
        id::{SignalName, VantageName},
        policy::Policy,
        signal::{Signal, SignalRole, SignalSource},
        vantage::{ControlPoints, Observer},
    },
    engine::{
        control::Refusal,
        observations::{Observations, Posted},
    },
    ports::{
        daemons::{Answered, Orders},
        probes::{DnsError, HttpAnswer, HttpQuestion, TcpAnswer},
    },
    sim::port::SimClock,
};

const APP: &str = "https://pay.example/healthz";
const POINT: &str = "https://control.example.net/";

/// What answers, and what does not.
#[derive(Debug, Default)]
struct Net {
    lost: Mutex<BTreeSet<String>>,
    asked: Mutex<BTreeMap<String, u32>>,
}

impl Net {
    fn set(&self, url: &str, is_up: bool) {
        let mut lost = self.lost.lock().expect("lock");
        if is_up {
            lost.remove(url)
        } else {
            lost.insert(url.to_owned())
        };
    }
}

#[async_trait]
impl Probes for Net {
    async fn http(&self, question: &HttpQuestion) -> HttpAnswer {
        *self.asked.lock().expect("lock").entry(question.url.clone()).or_default() += 1;
        if self.lost.lock().expect("lock").contains(&question.url) {
            return HttpAnswer::NoAnswer { reason: "refused".to_owned() };
        }
        HttpAnswer::Status { status: 200, body: String::new(), address: None }
    }

    async fn tcp(&self, _: &str, _: Duration) -> TcpAnswer {
        TcpAnswer::NotAsked { reason: "no TCP here".to_owned() }
    }

    async fn dns(&self, server: &str, _: &str, _: &str, _: Duration) -> Result<Vec<String>, DnsError> {
        Err(DnsError::Unreachable { server: server.to_owned(), reason: "no DNS here".to_owned() })
    }
}

/// What is wrong with the way to a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    Hangs,
    /// It arrives, and the answer does not.
    LosesAnswers,
}

/// A daemon whose engine is the real one.
#[derive(Debug)]
struct Site {
    name: String,
    clock: Arc<dyn Clock>,
    life: Mutex<(Arc<Vantages>, Arc<Observations>)>,
    way: Mutex<Way>,
    reports: Mutex<u32>,
}

fn name(text: &str) -> VantageName {
    text.parse().expect("a name")
}

fn application() -> Application {
    let of = "us-east-1".parse().expect("a Region");
    let source = SignalSource::HttpProbe { url: APP.to_owned(), of, timeout: Duration::from_secs(1) };
    let signal = Signal {
        name: "probe".parse().expect("a name"),
        role: SignalRole::Trigger,
        source,
        period: Duration::from_secs(10),
        freshness: Duration::from_secs(30),
        consecutive: 3,
    };
    Application {
        name: "payments".parse().expect("a name"),
        regions: Vec::new(),
        objectives: Objectives { rto: Duration::from_secs(300), rpo: Duration::from_secs(5) },
        stores: BTreeMap::new(),
        replicas: BTreeMap::new(),
        traffic: BTreeMap::new(),
        signals: vec![signal],
        endpoints: BTreeMap::new(),
        public_url: None,
        runbooks: BTreeMap::new(),
        drills: Vec::new(),
        schedules: Vec::new(),
        prove_within: None,
        topics: Vec::new(),
        policy: Policy { observers: [name("eu-west-1")].into(), ..Policy::default() },
        iac: Default::default(),
    }
}

impl Site {
    fn new(daemon: &str, clock: &Arc<dyn Clock>) -> Arc<Self> {
        let life = Mutex::new(Self::begin(clock));
        let (name, clock) = (daemon.to_owned(), Arc::clone(clock));
        Arc::new(Self { name, clock, life, way: Mutex::new(Way::Open), reports: Mutex::new(0) })
    }

    fn begin(clock: &Arc<dyn Clock>) -> (Arc<Vantages>, Arc<Observations>) {
        let vantages = Arc::new(Vantages::here());
        let apps = vec![Arc::new(application())];
        (Arc::clone(&vantages), Arc::new(Observations::new(apps, vantages, Arc::clone(clock))))
    }

    /// Another process, which remembers nothing.
    fn restart(&self) {
        *self.life.lock().expect("lock") = Self::begin(&self.clock);
    }

    fn go(&self, way: Way) {
        *self.way.lock().expect("lock") = way;
    }

    fn heard(&self) -> Option<Observer> {
        let vantages = Arc::clone(&self.life.lock().expect("lock").0);
        vantages.elsewhere(&"payments".parse().expect("a name")).remove(&name("eu-west-1"))
    }

    /// Whether it is believed from the observer that the application is ill; `None` where nothing was heard.
    fn believes(&self) -> Option<bool> {
        let signal: SignalName = "probe".parse().expect("a name");
        let window = self.heard()?.windows.remove(&signal)?;
        Some(window.unhealthy().is_some_and(|(_, believed)| believed))
    }

    async fn pass(&self) -> Way {
        let way = *self.way.lock().expect("lock");
        if way == Way::Hangs {
            self.clock.sleep(Duration::from_secs(600)).await;
        }
        way
    }
}

#[async_trait]
impl Daemon for Site {
    fn name(&self) -> &str {
        &self.name
    }

    async fn assignments(&self) -> Result<Orders, DaemonError> {
        self.pass().await;
        let assigned = self.life.lock().expect("lock").1.assigned(&name("eu-west-1"));
        Ok(Orders { stamp: assigned.stamp.to_string(), assignments: assigned.assignments })
    }

    async fn report(&self, stamp: &str, stamp_age: Duration, report: &Report) -> Result<Answered, DaemonError> {
        let way = self.pass().await;
        let posted = Posted { stamp: stamp.to_owned(), stamp_age, report: report.clone() };
        let observations = Arc::clone(&self.life.lock().expect("lock").1);
        let receipt = observations.hear(&name("eu-west-1"), posted).map_err(|refusal| match refusal {
            Refusal::UnknownStamp => DaemonError::Restarted,
            other => DaemonError::Failed(other.to_string()),
        })?;
        *self.reports.lock().expect("lock") += 1;
        if way == Way::LosesAnswers {
            return Err(DaemonError::Failed("no answer".to_owned()));
        }
        let refused = receipt.refused.into_iter().map(|r| r.why).collect();
        Ok(Answered { stamp: receipt.stamp.to_string(), refused })
    }
}

struct Scene {
    net: Arc<Net>,
    sites: Vec<Arc<Site>>,
    clock: Arc<dyn Clock>,
    stopping: CancellationToken,
    outpost: Outpost,
    observing: tokio::task::JoinHandle<()>,
}

fn scene(daemons: &[&str]) -> Scene {
    let start = jiff::Timestamp::from_second(1_795_000_000).expect("in range");
    let clock: Arc<dyn Clock> = Arc::new(SimClock::starting_at(start));
    let sites: Vec<Arc<Site>> = daemons.iter().map(|d| Site::new(d, &clock)).collect();
    let (net, stopping) = (Arc::new(Net::default()), CancellationToken::new());
    let points = ControlPoints::of(vec![POINT.parse().expect("a target")]);
    let outpost = Outpost {
        vantages: Arc::new(Vantages::asking(name("eu-west-1"), points)),
        clock: Arc::clone(&clock),
        probes: Arc::clone(&net) as Arc<dyn Probes>,
        daemons: sites.iter().map(|s| Arc::clone(s) as Arc<dyn Daemon>).collect(),
        process: "p-1".to_owned(),
        jitter: Arc::new(|| 0.5),
        stopping: stopping.clone(),
    };
    let observing = tokio::spawn(outpost.clone().observe());
    Scene { net, sites, clock, stopping, outpost, observing }
}

impl Scene {
    async fn pass(&self, seconds: u64) {
        self.clock.sleep(Duration::from_secs(seconds)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_observer_sees_is_believed_after_as_many_readings_as_our_own() {
    let scene = scene(&["one", "two"]);
    scene.pass(5).await;
    for site in &scene.sites {
        assert_eq!(site.believes(), Some(false), "{}", site.name);
        assert_eq!(site.heard().expect("heard").abstains, None);
    }
    scene.net.set(APP, false);
    scene.pass(25).await;
    assert_eq!(scene.sites[0].believes(), Some(false), "two readings of three");
    scene.pass(10).await;
    assert_eq!(scene.sites[0].believes(), Some(true));
    assert_eq!(scene.sites[1].believes(), Some(true));
    let asked = scene.net.asked.lock().expect("lock")[APP];
    assert_eq!(asked, 4, "both daemons ask for the same: it is probed once each period");
    let reports = *scene.sites[0].reports.lock().expect("lock");
    assert!((38..=42).contains(&reports), "one each second, and one at once where there is news: {reports}");
    scene.stopping.cancel();
    scene.observing.await.expect("it ends when it is told to");
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_hangs_delays_no_other_and_is_told_when_it_is_back() {
    let scene = scene(&["hangs", "works"]);
    scene.sites[0].go(Way::Hangs);
    scene.pass(5).await;
    scene.net.set(APP, false);
    scene.pass(32).await;
    assert_eq!(scene.sites[1].believes(), Some(true));
    assert_eq!(scene.sites[0].believes(), None);
    scene.sites[0].go(Way::Open);
    scene.pass(700).await;
    assert_eq!(scene.sites[0].believes(), Some(true));
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_is_cut_off_abstains_and_what_it_saw_meanwhile_does_not_count() {
    let scene = scene(&["one"]);
    let site = &scene.sites[0];
    scene.pass(5).await;
    // The network of the observer is lost: the application and its control points with it.
    scene.net.set(APP, false);
    scene.net.set(POINT, false);
    scene.pass(60).await;
    let why = site.heard().expect("heard").abstains.expect("it abstains");
    assert!(why.starts_with("0 of 1 control points answer"), "{why}");
    assert_eq!(site.believes(), Some(false));
    scene.net.set(POINT, true);
    scene.pass(12).await;
    assert_eq!(site.heard().expect("heard").abstains, None);
    assert_eq!(site.believes(), Some(false), "it must see it anew, three times");
    scene.pass(22).await;
    assert_eq!(site.believes(), Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_report_whose_answer_is_lost_counts_once() {
    let scene = scene(&["one"]);
    scene.pass(5).await;
    scene.net.set(APP, false);
    scene.sites[0].go(Way::LosesAnswers);
    // The second ill reading comes at 20 s: were one told twice, there would be three.
    scene.pass(24).await;
    assert_eq!(scene.sites[0].believes(), Some(false));
    assert!(*scene.sites[0].reports.lock().expect("lock") > 8, "it goes on reporting");
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_was_started_again_is_asked_again_and_heard_again() {
    let scene = scene(&["one"]);
    scene.pass(5).await;
    scene.sites[0].restart();
    assert_eq!(scene.sites[0].believes(), None);
    scene.pass(20).await;
    assert_eq!(scene.sites[0].believes(), Some(false), "heard");
}

#[tokio::test(start_paused = true)]
async fn a_report_that_was_held_up_is_as_old_as_it_is() {
    let start = jiff::Timestamp::from_second(1_795_000_000).expect("in range");
    let clock: Arc<dyn Clock> = Arc::new(SimClock::starting_at(start));
    let (vantages, observations) = Site::begin(&clock);
    let vantage = name("eu-west-1");
    let assigned = observations.assigned(&vantage);
    assert_eq!(assigned.assignments.len(), 1);
    let posted = |sequence, stamp_age| {
        let (application, signal) = ("payments".parse().expect("a name"), "probe".parse().expect("a name"));
        let age = Duration::from_secs(1);
        let seen = Observed { application, signal, age, healthy: false, detail: String::new() };
        let report = Report { process: "p".to_owned(), sequence, abstains: None, samples: vec![seen] };
        Posted { stamp: assigned.stamp.to_string(), stamp_age: Duration::from_secs(stamp_age), report }
    };
    // Sent 2 s after the stamp was had, and 20 s under way.
    clock.sleep(Duration::from_secs(22)).await;
    assert_eq!(observations.hear(&vantage, posted(1, 2)).expect("taken").refused, []);
    let heard = vantages.elsewhere(&"payments".parse().expect("a name"));
    let sample = heard[&vantage].windows.values().next().and_then(|w| w.last().cloned()).expect("taken");
    assert_eq!(sample.taken_at.duration_since(sample.measured_at), jiff::SignedDuration::from_secs(21));
    // The same held up for longer is too old to be taken; and one that is kept and sent again does not get younger.
    clock.sleep(Duration::from_secs(10)).await;
    let refused = observations.hear(&vantage, posted(2, 2)).expect("in order").refused;
    assert!(refused[0].why.contains("31.0 s old"), "{refused:?}");
    let other = Posted { stamp: "1.1".to_owned(), ..posted(3, 2) };
    assert_eq!(observations.hear(&vantage, other), Err(Refusal::UnknownStamp));
    let stranger = observations.hear(&name("eu-west-2"), posted(4, 32)).expect("answered").refused;
    assert!(stranger[0].why.contains("does not name the observer `eu-west-2`"), "{stranger:?}");
}

#[tokio::test(start_paused = true)]
async fn what_one_report_cannot_hold_is_told_by_the_next_the_oldest_first() {
    let scene = scene(&["one"]);
    let (outpost, site) = (scene.outpost.clone(), Arc::clone(&scene.sites[0]));
    let board = Arc::new(Board::default());
    let assignment = |n: u64| Assignment {
        application: "payments".parse().expect("a name"),
        signal: format!("probe-{n}").parse().expect("a name"),
        target: POINT.parse().expect("a target"),
        timeout: Duration::from_secs(1),
        period: Duration::from_secs(1),
    };
    let orders: Vec<Assignment> = (0..500).map(assignment).collect();
    for (n, assignment) in (0..500).zip(&orders) {
        let reading = Reading::Unhealthy { detail: "x".repeat(300) };
        board.note(assignment, Duration::from_millis(500 - n), Ok(reading));
    }
    board.with(|inner| inner.orders.insert(0, orders));
    let mut line = Line::new(outpost, board, 0, site);
    let (mut told, mut reports) = (BTreeSet::new(), 0);
    loop {
        let report = line.next();
        if report.samples.is_empty() {
            break;
        }
        reports += 1;
        if reports == 1 {
            assert_eq!(report.samples[0].signal.as_str(), "probe-499");
        }
        told.extend(report.samples.into_iter().map(|s| s.signal));
    }
    assert_eq!(told.len(), 500, "every one of them, once");
    assert!((5..10).contains(&reports), "{reports}");
}
