//! A look before leading, over the simulated world: who has moved the application is nobody that the journal knows.

use std::{path::Path, sync::Mutex};

use super::*;
use crate::{
    config::Settings,
    domain::{
        application::ClusterArn,
        branch::{Began, Imported, Parent},
        cloud::Mutation,
        id::{BranchId, Digest},
    },
    sim::{
        port::{Faults, LiveWorld, SimClock, SimCloud},
        world::{SimTime, route53::fixture::PaymentsTraffic, scenario},
    },
};

const START: SimTime = SimTime(1_795_000_200_000);
const WEST: &str = "arn:aws:rds:us-west-2:123456789012:cluster:payments-usw2";

struct Scene {
    application: Application,
    world: LiveWorld,
    clock: SimClock,
    cloud: SimCloud,
    history: History,
}

fn region(name: &str) -> Region {
    name.parse().expect("a Region")
}

fn application() -> Application {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default.toml"));
    let text = text.expect("ships").replace("example-us", "payments-us").replace("= \"example\"", "= \"payments\"");
    let settings = Settings::parse("f.toml", &text, Path::new(""), &Default::default());
    settings.unwrap_or_else(|faults| panic!("{faults}")).applications[0].clone()
}

/// The application lives in us-east-1, and so says its journal, which was silent for `quiet` seconds.
async fn scene(quiet: u64) -> Scene {
    let mut world = scenario::payments(1, START, &PaymentsTraffic::default());
    world.advance_to(START.plus_ms(30_000));
    let at = i64::try_from(world.now.0).expect("fits");
    let clock = SimClock::starting_at(Timestamp::from_millisecond(at).expect("in range"));
    let world = LiveWorld::new(Arc::new(Mutex::new(world)), Arc::new(clock.clone()));
    let cloud = SimCloud::new(world.clone(), Faults::seeded(1));
    let application = application();
    let mut history = History::new(application.name.clone());
    let seen = Event::PrimarySeen { region: region("us-east-1") };
    history.apply_event(clock.wall(), &seen).expect("legal");
    let scene = Scene { application, world, clock, cloud, history };
    scene.pass(quiet).await;
    scene
}

impl Scene {
    async fn pass(&self, seconds: u64) {
        self.clock.sleep(Duration::from_secs(seconds)).await;
        self.world.now(|_| ());
    }

    /// Somebody moves the database, and the journal does not know.
    async fn move_away(&self) {
        let target: ClusterArn = WEST.parse().expect("an ARN");
        let region = target.region().clone();
        let call = Mutation::AuroraFailover { region, global_cluster: "payments".to_owned(), target };
        let _outcome = self.cloud.apply(&call, self.clock.wall()).await;
        self.pass(600).await;
        let writer = self.world.now(|w| w.aurora.writer_of("payments").map(|c| c.region.to_string()));
        assert_eq!(writer.as_deref(), Some("us-west-2"));
    }

    async fn settle(&self, offline: Option<&Offline>) -> Result<Settled, String> {
        settle(&self.cloud, &self.clock, &self.application, &self.history, offline).await
    }
}

fn offline(branch: Option<&'static str>) -> Offline {
    Offline { open_branch: Arc::new(move |_| branch.map(ToOwned::to_owned)) }
}

#[tokio::test(start_paused = true)]
async fn who_finds_the_writer_elsewhere_than_the_journal_says_does_not_lead() {
    let scene = scene(400).await;
    assert_eq!(scene.settle(Some(&offline(None))).await, Ok(Settled::default()));
    scene.move_away().await;
    let why = scene.settle(Some(&offline(None))).await.expect_err("held");
    assert!(why.contains("us-west-2") && why.contains("us-east-1") && why.contains(SUSPECTED), "{why}");
    // Where nobody can do that, nobody looks.
    assert_eq!(scene.settle(None).await, Ok(Settled::default()));
}

#[tokio::test(start_paused = true)]
async fn nobody_looks_while_nothing_can_have_been_done_offline() {
    let mut scene = scene(0).await;
    scene.move_away().await;
    let now = scene.clock.wall();
    scene.history.apply_event(now, &Event::EpochStarted { holder: "a".to_owned() }).expect("legal");
    scene.pass(NOTHING_BEFORE.as_secs() - 10).await;
    assert_eq!(scene.settle(Some(&offline(None))).await, Ok(Settled::default()));
    scene.pass(20).await;
    assert!(scene.settle(Some(&offline(None))).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_the_world_does_not_tell_is_no_permission() {
    let scene = scene(400).await;
    scene.world.now(|w| {
        w.lose_region(&region("us-east-1"));
        w.lose_region(&region("us-west-2"));
    });
    let why = scene.settle(Some(&offline(None))).await.expect_err("unknown");
    assert!(why.contains("cannot be told"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_never_said_where_it_lives_learns_it() {
    let mut scene = scene(400).await;
    scene.history = History::new(scene.application.name.clone());
    let settled = scene.settle(Some(&offline(None))).await.expect("it leads");
    assert_eq!(settled.seen, Some(region("us-east-1")));
    assert_eq!(events(&scene.history, &settled), [Event::PrimarySeen { region: region("us-east-1") }]);
}

#[tokio::test(start_paused = true)]
async fn a_branch_holds_whoever_knows_of_it() {
    let mut scene = scene(0).await;
    let why = scene.settle(Some(&offline(Some("there is a branch")))).await.expect_err("held");
    assert!(why.contains("there is a branch") && why.contains(SUSPECTED), "{why}");
    let began = Began {
        id: BranchId::new(7),
        parent: Parent { records: 1, hash: Digest::of(b"parent"), epoch: 1, read_at: None },
        by: "alice".parse().expect("valid"),
        table_lost: "gone".to_owned(),
        replicas_stopped: "all".to_owned(),
        stale_copy: None,
        waited: Duration::from_secs(354),
        config_digest: Digest::of(b"config"),
    };
    let imported = Imported {
        began,
        records: 2,
        digest: Digest::of(b"tail"),
        by: "alice".parse().expect("valid"),
        file: "f".to_owned(),
        came_after: 0,
        runs: Vec::new(),
        primary: None,
        standing: Default::default(),
        detached: Default::default(),
    };
    let event = Event::BranchImported { branch: Box::new(imported) };
    scene.history.apply_event(scene.clock.wall(), &event).expect("legal");
    // Whether or not anybody could do it again.
    assert!(scene.settle(None).await.expect_err("held").contains("branch-unreconciled"));
}
