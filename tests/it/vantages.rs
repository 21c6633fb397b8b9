//! Three vantages and the loss of a Region: a daemon and two `failoverd observe`, real processes that report over
//! HTTP; the simulated AWS and the application's servers on loopback. What each vantage says is in the assessment, and
//! so is what the quorum makes of it.

use std::{
    collections::BTreeMap,
    fs::File,
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use failoverd::{
    adapters::{
        aws::{self, simulated_sdk_config},
        clock::SystemClock,
    },
    app::Daemon,
    config::{self, Settings},
    domain::{
        assessment::Assessment,
        id::Digest,
        rules::{Holds, Rule},
        vantage::{Stand, Witness},
    },
    engine::control::Control as _,
    sim::world::World,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
};

use crate::support::stage::{Setting, Stage};

const PATIENCE: Duration = Duration::from_secs(90);
const OBSERVERS: [&str; 2] = ["ap-south-1", "eu-west-1"];

/// Listeners that answer one vantage; dropped, it is cut off from them.
struct Points {
    listeners: Vec<TcpListener>,
    urls: Vec<String>,
}

impl Points {
    async fn three() -> Self {
        let (mut listeners, mut urls) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            urls.push(format!("tcp://{}", listener.local_addr().expect("an address")));
            listeners.push(listener);
        }
        Self { listeners, urls }
    }

    fn cut_off(&mut self) {
        self.listeners.clear();
    }
}

/// One `failoverd observe`; killed when dropped.
struct Observer {
    child: Child,
    log: PathBuf,
    points: Points,
}

impl Observer {
    async fn start(stage: &Stage, name: &str, daemon: &str) -> Self {
        let (points, log) = (Points::three().await, stage.directory().join(format!("{name}.log")));
        let token = stage.directory().join(format!("{name}.token"));
        std::fs::write(&token, format!("token-of-{name}\n")).expect("written");
        let out = File::create(&log).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_failoverd"));
        command.args([
            "observe",
            "--allow-loopback",
            "--name",
            name,
            "--report-to",
            daemon,
            "--control-period-seconds",
            "1",
        ]);
        command.args(["--control-point", &points.urls.join(","), "--token-file"]).arg(&token);
        command.env_clear().stdin(Stdio::null()).stdout(out.try_clone().expect("the log")).stderr(out);
        let child = command.kill_on_drop(true).spawn().expect("the binary starts");
        Self { child, log, points }
    }

    /// SIGTERM; whether it ends well.
    async fn stop(&mut self) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.try_into().expect("a pid"))).expect("it runs");
        kill_process(pid, Signal::TERM).expect("it is ours");
        let ended = tokio::time::timeout(Duration::from_secs(10), self.child.wait()).await;
        assert!(ended.expect("it ends soon").expect("a child of ours").success(), "{}", self.logged());
    }

    fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// The stage's configuration with the vantages in it.
fn settings(stage: &Stage, own: &Points) -> Settings {
    let mut settings = parsed(stage, own, "us-west-2", "");
    settings.applications[0].policy.observers = OBSERVERS.map(|name| name.parse().expect("a name")).into();
    settings
}

/// The same of a daemon at `name`; `report` are more keys of its `[vantage]`.
fn parsed(stage: &Stage, own: &Points, name: &str, report: &str) -> Settings {
    let text = std::fs::read_to_string(stage.config()).expect("the stage wrote it");
    let token = |name: &str| {
        let hash = Digest::of(format!("token-of-{name}").as_bytes());
        format!("  {{ name = \"{name}\", sha256 = \"{hash}\", roles = [\"observer\"] }},\n")
    };
    let tokens: String = OBSERVERS.iter().map(|name| token(name)).collect();
    let points = own.urls.join("\", \"");
    let text = text.replace("tokens = [\n", &format!("tokens = [\n{tokens}"));
    let text = format!(
        "[vantage]\nname = \"{name}\"\n{report}control_points = [\"{points}\"]\nperiod = \"2s\"\ntimeout = \"1s\"\n\n{text}"
    );
    let parsed = Settings::parse("failoverd.toml", &text, stage.directory(), &BTreeMap::new());
    parsed.unwrap_or_else(|faults| panic!("{faults}"))
}

struct Scene {
    daemon: Daemon,
    observers: Vec<Observer>,
}

impl Scene {
    fn assessment(&self) -> Option<Arc<Assessment>> {
        self.daemon.engine.assessment(&"payments".parse().expect("a name"))
    }

    /// Until every vantage stands as `stands` says, in the order of their names.
    async fn until(&self, what: &str, stands: impl IntoIterator<Item = Stand>) -> Arc<Assessment> {
        let stands: Vec<Stand> = stands.into_iter().collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let assessment = self.assessment();
            let witnesses = assessment.as_ref().map_or(&[][..], |a| &a.witnesses);
            let heard = |w: &Witness| !w.says.contains("never heard") && !w.says.contains("not asked");
            if let Some(assessment) = &assessment
                && witnesses.iter().map(|w| w.stand).eq(stands.iter().copied())
                && witnesses.iter().all(heard)
            {
                return Arc::clone(assessment);
            }
            if deadline <= Instant::now() {
                let logs: String = self.observers.iter().map(Observer::logged).collect();
                panic!("not {what}: {witnesses:#?}\n{logs}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn holds(assessment: &Assessment, rule: Rule) -> (Holds, &str) {
    let finding = assessment.rules.iter().find(|f| f.rule == rule).expect("every rule is told");
    (finding.holds, &finding.says)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_is_lost_for_those_who_are_not_cut_off_themselves() {
    let stage = Stage::build(Setting::seeded(31)).await;
    let mut own = Points::three().await;
    let clock = Arc::new(SystemClock);
    let sdk = simulated_sdk_config(&stage.world.aws_url, clock.clone(), &aws::Options::default());
    let daemon = Daemon::start(settings(&stage, &own), clock, sdk).await.expect("starts");
    let url = format!("http://{}", daemon.address);
    let mut scene = Scene { daemon, observers: Vec::new() };
    for name in OBSERVERS {
        scene.observers.push(Observer::start(&stage, name, &url).await);
    }
    let calm = scene.until("calm", [Stand::Against; 3]).await;
    let vantages: Vec<&str> = calm.witnesses.iter().map(|w| w.vantage.as_str()).collect();
    assert_eq!(vantages, ["ap-south-1", "eu-west-1", "us-west-2"]);
    assert_eq!(holds(&calm, Rule::Quorum).0, Holds::No);
    assert_eq!(holds(&calm, Rule::Reach), (Holds::Yes, "3 of 3 control points answer (2 are needed)"));

    let east = "us-east-1".parse().expect("a Region");
    stage.world.world.with(|world: &mut World| world.lose_region(&east));
    let lost = scene.until("seen by all", [Stand::Ill; 3]).await;
    let (quorum, says) = holds(&lost, Rule::Quorum);
    assert!(quorum == Holds::Yes && says.starts_with("3 of 3 vantages see it ill, freshly: "), "{says}");

    // One observer is cut off: it has no vote, and two are enough.
    scene.observers[0].points.cut_off();
    let two = scene.until("two left", [Stand::Abstains, Stand::Ill, Stand::Ill]).await;
    assert!(two.witnesses[0].says.starts_with("0 of 3 control points answer"), "{:?}", two.witnesses[0]);
    assert_eq!(holds(&two, Rule::Quorum).0, Holds::Yes);

    // The daemon itself is cut off: whatever it sees, it may not act.
    own.cut_off();
    let alone = scene.until("one left", [Stand::Abstains, Stand::Ill, Stand::Abstains]).await;
    assert_eq!(holds(&alone, Rule::Quorum).0, Holds::No);
    let (reach, says) = holds(&alone, Rule::Reach);
    assert!(reach == Holds::No && says.starts_with("0 of 3 control points answer"), "{says}");

    // An observer that falls silent is silent, and no vote.
    scene.observers[1].stop().await;
    scene.until("none left", [Stand::Abstains, Stand::Silent, Stand::Abstains]).await;
    scene.observers[0].stop().await;
    assert!(scene.observers[0].logged().contains("this vantage is cut off"), "{}", scene.observers[0].logged());
    scene.daemon.stop().await;
}

/// No process beside it: the daemon elsewhere is an observer by its own configuration.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_elsewhere_reports_what_it_sees_without_a_process_beside_it() {
    let stage = Stage::build(Setting::seeded(32)).await;
    let (own, mut theirs) = (Points::three().await, Points::three().await);
    let start = async |settings: Settings| {
        let clock = Arc::new(SystemClock);
        let sdk = simulated_sdk_config(&stage.world.aws_url, clock.clone(), &aws::Options::default());
        Daemon::start(settings, clock, sdk).await
    };
    let mut acting = parsed(&stage, &own, "us-west-2", "");
    acting.applications[0].policy.observers = ["eu-west-1".parse().expect("a name")].into();
    let daemon = start(acting).await.expect("starts");
    let token = stage.directory().join("eu-west-1.token");
    let report = format!("report_to = [\"http://{}\"]\nreport_token = \"file:{}\"\n", daemon.address, token.display());
    let mut elsewhere = parsed(&stage, &theirs, "eu-west-1", &report);
    elsewhere.store = config::Store::Sqlite { path: stage.directory().join("elsewhere.sqlite") };
    let without = start(elsewhere.clone()).await.err().expect("there is no token yet");
    assert!(without.to_string().starts_with("vantage.report_token: "), "{without}");
    std::fs::write(&token, "token-of-eu-west-1\n").expect("written");
    let elsewhere = start(elsewhere).await.expect("starts");
    let scene = Scene { daemon, observers: Vec::new() };
    let calm = scene.until("calm", [Stand::Against; 2]).await;
    let vantages: Vec<&str> = calm.witnesses.iter().map(|w| w.vantage.as_str()).collect();
    assert_eq!(vantages, ["eu-west-1", "us-west-2"]);

    let east = "us-east-1".parse().expect("a Region");
    stage.world.world.with(|world: &mut World| world.lose_region(&east));
    let lost = scene.until("seen by both", [Stand::Ill; 2]).await;
    assert_eq!(holds(&lost, Rule::Quorum).0, Holds::Yes);

    theirs.cut_off();
    scene.until("one left", [Stand::Abstains, Stand::Ill]).await;
    // What reports ends with its daemon.
    elsewhere.stop().await;
    scene.daemon.stop().await;
}
