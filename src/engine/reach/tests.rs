use std::sync::Mutex;

use super::*;
use crate::{
    domain::vantage::ControlPoints,
    sim::{
        port::{LiveWorld, Outside, SimClock, SimProbes},
        world::{SimTime, World},
    },
};

const POINTS: [&str; 3] = ["https://a.example.net/", "http://b.example.org/", "tcp://192.0.2.1:443"];

struct Scene {
    vantages: Arc<Vantages>,
    outside: Outside,
    clock: Arc<dyn Clock>,
    stopping: CancellationToken,
}

fn scene() -> Scene {
    let start = jiff::Timestamp::from_second(1_795_000_000).expect("in range");
    let clock: Arc<dyn Clock> = Arc::new(SimClock::starting_at(start));
    let world = World::new(1, SimTime(1_795_000_000_000));
    let world = LiveWorld::new(Arc::new(Mutex::new(world)), Arc::clone(&clock));
    let outside = Outside::new(POINTS.map(str::to_owned));
    let points = ControlPoints::of(POINTS.iter().map(|p| p.parse().expect("a target")).collect());
    let vantages = Arc::new(Vantages::asking("here".parse().expect("a name"), points));
    let stopping = CancellationToken::new();
    let probes = Arc::new(SimProbes::beside(world, outside.clone()));
    tokio::spawn(keep(Arc::clone(&vantages), Arc::clone(&clock), probes, stopping.clone()));
    Scene { vantages, outside, clock, stopping }
}

impl Scene {
    async fn after(&self, seconds: u64) -> Reach {
        self.clock.sleep(Duration::from_secs(seconds)).await;
        self.vantages.reach_at(self.clock.boot())
    }
}

#[tokio::test(start_paused = true)]
async fn a_daemon_knows_within_a_period_and_a_timeout_that_it_is_cut_off_and_that_it_is_back() {
    let scene = scene();
    assert!(matches!(scene.vantages.reach(), Reach::Unknown { .. }), "nothing was asked yet");
    assert!(matches!(scene.after(1).await, Reach::Sure { .. }));
    scene.outside.cut(POINTS[0]);
    assert!(matches!(scene.after(10).await, Reach::Sure { .. }), "two of three are enough");
    scene.outside.cut_off();
    let Reach::CutOff { why } = scene.after(7).await else { panic!("period and timeout have passed") };
    assert!(why.starts_with("0 of 3") && POINTS.iter().all(|p| why.contains(p)), "{why}");
    scene.outside.mend();
    assert!(matches!(scene.after(7).await, Reach::Sure { .. }));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_renews_is_unknown_after_three_periods() {
    let scene = scene();
    assert!(matches!(scene.after(1).await, Reach::Sure { .. }));
    scene.stopping.cancel();
    assert!(matches!(scene.after(14).await, Reach::Sure { .. }));
    let Reach::Unknown { why } = scene.after(1).await else { panic!("three periods have passed") };
    assert!(why.contains("too old"), "{why}");
}
