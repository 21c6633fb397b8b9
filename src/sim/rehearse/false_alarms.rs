//! False alarms: an armed application whose Region never stops serving for long, and everything that looks as if it did.
//!
//! Invariant: nothing here keeps the active Region from answering for half of the shortest dwell that is not warned of,
//! and one vantage at most is wrong, so that whatever is started alone is started wrongly. A seed has one scenario,
//! drawn from a stream of its own.

use std::time::Duration;

use rand::{RngExt as _, seq::IndexedRandom as _};
use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng as _};

use crate::{
    domain::id::Region,
    sim::{
        faults::{CallFault, Happening, ProcessFault, Sight, Trouble, Vantage},
        scenario::{Expectation, People, Scenario},
        world::{Plane, Reach, aurora::LagMetric, cloudwatch::MetricFault},
    },
};

/// Its name among the scenarios.
pub const NAME: &str = "false-alarms";
/// What it is, in one sentence.
pub const DESCRIPTION: &str =
    "Each seed has alarms of its own, a failover that is armed, and a Region that serves: nothing may start by itself.";

/// The stream of the generator: 0 is the world's, 1 the port's, 2 the mixture's, 3 and 4 the swarm's.
const STREAM: u64 = 5;
/// How long all has been well before; the arming is asked for in it.
const WARM_UP: Duration = Duration::from_secs(60);
const HEALS_AT: Duration = Duration::from_mins(6);
/// Longer than the dwell after the last of it.
const LASTS: Duration = Duration::from_secs(450);
/// The loss that is accepted beforehand: one that stands in nobody's way.
const LARGEST_LOSS: Duration = Duration::from_hours(1);
/// The longest time, in seconds, for which the active Region does not answer; and the shortest between two of them.
const BLIP_S: std::ops::Range<u64> = 1..30;
const BETWEEN_BLIPS_S: std::ops::Range<u64> = 60..180;

/// The scenario of `seed` for an application of these Regions, which lives in the first of them.
pub fn scenario(seed: u64, regions: &[Region]) -> Scenario {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    rng.set_stream(STREAM);
    let mut draw = Draw { rng, regions, happenings: Vec::new() };
    draw.all();
    let mut happenings = draw.happenings;
    happenings.sort_by_key(|h| h.at);
    Scenario {
        name: NAME.to_owned(),
        description: DESCRIPTION.to_owned(),
        reproduces: None,
        warm_up: WARM_UP,
        active: None,
        happenings,
        blackout: false,
        replicas: 1,
        observers: 2,
        people: People { arm: Some(LARGEST_LOSS), ..People::nobody() },
        heals_at: Some(HEALS_AT),
        lasts: LASTS,
        expect: regions
            .first()
            .map(|home| vec![Expectation::NoRun, Expectation::WriterIn(home.clone())])
            .unwrap_or_default(),
    }
}

struct Draw<'a> {
    rng: ChaCha12Rng,
    regions: &'a [Region],
    happenings: Vec<Happening>,
}

impl Draw<'_> {
    fn all(&mut self) {
        if self.percent(70) {
            self.vantage();
        }
        if self.percent(70) {
            self.blips();
        }
        for (share, family) in [
            (50, Self::cloudwatch as fn(&mut Self)),
            (40, Self::metrics),
            (40, Self::health_checkers),
            (50, Self::calls),
            (40, Self::planes),
            (15, Self::lag_metric),
            (15, Self::kill),
            (15, Self::clock),
        ] {
            if self.percent(share) {
                family(self);
            }
        }
    }

    fn percent(&mut self, share: u32) -> bool {
        self.rng.random_ratio(share, 100)
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of.choose(&mut self.rng).unwrap_or_else(|| unreachable!("a list of this file, or the Regions")).clone()
    }

    fn region(&mut self) -> Region {
        self.one(self.regions)
    }

    fn add(&mut self, at: u64, lasts: u64, what: Trouble) {
        let at = Duration::from_secs(at);
        let lasts = Duration::from_secs(lasts).min(HEALS_AT.saturating_sub(at));
        if !lasts.is_zero() {
            self.happenings.push(Happening { at, lasts: Some(lasts), what });
        }
    }

    /// Some time of the six minutes, for seconds or for minutes.
    fn add_sometime(&mut self, what: Trouble) {
        let at = self.rng.random_range(0..330);
        let lasts = self.one(&[5..60, 60..300]);
        let lasts = self.rng.random_range(lasts);
        self.add(at, lasts, what);
    }

    /// One of the vantages is wrong, again and again.
    fn vantage(&mut self) {
        let of = self.one(&[Vantage::Daemon, Vantage::Observer(1), Vantage::Observer(2)]);
        let sights = [Sight::SeesIll, Sight::CutOff, Sight::Silent];
        for _ in 0..self.rng.random_range(1..=3) {
            let does = if of == Vantage::Daemon { self.one(&sights[..2]) } else { self.one(&sights) };
            self.add_sometime(Trouble::Vantage { of, does });
        }
    }

    /// The active Region does not answer, and is back before half a minute is over.
    fn blips(&mut self) {
        let Some(home) = self.regions.first().cloned() else { return };
        let mut at = self.rng.random_range(10..120);
        for _ in 0..self.rng.random_range(1..=4) {
            let what = match self.rng.random_range(0..3) {
                0 => Trouble::PartitionRegion { region: home.clone() },
                1 => Trouble::Plane { plane: Plane::Application, region: home.clone(), reach: Reach::Unavailable },
                _ => Trouble::Plane { plane: Plane::Application, region: home.clone(), reach: Reach::Hangs },
            };
            let lasts = self.rng.random_range(BLIP_S);
            self.add(at, lasts, what);
            at += lasts + self.rng.random_range(BETWEEN_BLIPS_S);
        }
    }

    fn cloudwatch(&mut self) {
        let (region, reach) = (self.region(), self.one(&[Reach::Hangs, Reach::Unavailable, Reach::Throttles]));
        self.add_sometime(Trouble::Plane { plane: Plane::CloudWatch, region, reach });
    }

    fn metrics(&mut self) {
        let (region, namespace) = (self.region(), self.one(&["AWS/RDS", "AWS/Route53"]));
        let fault = self.one(&[MetricFault::Withhold, MetricFault::Delay(240_000), MetricFault::NotANumber]);
        self.add_sometime(Trouble::Metrics { region, namespace: namespace.to_owned(), fault });
    }

    /// What is told of health from there is silent or wrong.
    fn health_checkers(&mut self) {
        let region = self.region();
        self.add_sometime(Trouble::Plane { plane: Plane::HealthCheckers, region, reach: Reach::Hangs });
    }

    fn calls(&mut self) {
        let fault = self.one(&[CallFault::Throttle, CallFault::ServerError, CallFault::Hang, CallFault::Stale]);
        let operation = self.one(&["*", "rds:", "cloudwatch:", "route53-recovery-cluster:"]).to_owned();
        let chance = self.one(&[0.3, 0.6, 1.0]);
        self.add_sometime(Trouble::Calls { operation, region: None, fault, chance });
    }

    fn planes(&mut self) {
        let plane = self.one(&[Plane::Rds, Plane::Sns, Plane::ArcCluster, Plane::Route53Control]);
        let (region, reach) = (self.region(), self.one(&[Reach::Hangs, Reach::Throttles]));
        self.add_sometime(Trouble::Plane { plane, region, reach });
    }

    fn lag_metric(&mut self) {
        let Some(region) = self.regions.get(1).cloned() else { return };
        let metric = self.one(&[LagMetric::Missing, LagMetric::NotANumber, LagMetric::Negative]);
        self.add_sometime(Trouble::LagMetric { region, metric });
    }

    fn kill(&mut self) {
        let restart_after = Duration::from_secs(self.rng.random_range(1..60));
        let at = Duration::from_secs(self.rng.random_range(0..250));
        let what = Trouble::Process(ProcessFault::Kill { restart_after });
        self.happenings.push(Happening { at, lasts: None, what });
    }

    fn clock(&mut self) {
        let seconds = self.one(&[-3_600, -301, -45, 45, 301, 3_600]);
        self.add_sometime(Trouble::ClockJumps { seconds });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions() -> Vec<Region> {
        ["us-east-1", "us-west-2"].map(|r| r.parse().expect("a Region")).to_vec()
    }

    /// Whether the active Region does not answer while it lasts.
    fn stops_service(what: &Trouble) -> bool {
        match what {
            Trouble::PartitionRegion { .. } => true,
            Trouble::Plane { plane, .. } => *plane == Plane::Application,
            _ => false,
        }
    }

    #[test]
    fn in_no_seed_is_the_region_gone_for_half_a_minute_or_more_than_one_vantage_wrong() {
        let (mut blips, mut wrong, mut kinds) = (0, 0, std::collections::BTreeSet::new());
        for seed in 0..2_000 {
            let scenario = scenario(seed, &regions());
            assert_eq!(scenario, super::scenario(seed, &regions()));
            let gone: Vec<_> = scenario.happenings.iter().filter(|h| stops_service(&h.what)).collect();
            blips += gone.len();
            assert!(gone.iter().all(|h| h.lasts.is_some_and(|d| d < Duration::from_secs(30))), "{gone:?}");
            let rests =
                |a: &Happening, b: &Happening| a.at + a.lasts.unwrap_or_default() + Duration::from_secs(60) <= b.at;
            assert!(gone.windows(2).all(|two| rests(two[0], two[1])), "{gone:?}");
            let of: Vec<Vantage> = scenario
                .happenings
                .iter()
                .filter_map(|h| if let Trouble::Vantage { of, .. } = h.what { Some(of) } else { None })
                .collect();
            wrong += of.len();
            assert!(of.iter().all(|v| *v == of[0]), "{of:?}");
            kinds.extend(
                scenario
                    .happenings
                    .iter()
                    .map(|h| format!("{:?}", h.what).chars().take_while(|c| c.is_alphanumeric()).collect::<String>()),
            );
        }
        assert!(1_000 < blips && 1_000 < wrong, "{blips} {wrong}");
        let all = "Calls ClockJumps LagMetric Metrics PartitionRegion Plane Process Vantage";
        assert_eq!(kinds.into_iter().collect::<Vec<_>>().join(" "), all);
    }
}
