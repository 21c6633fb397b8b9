//! A seed's own mixture of faults (swarm testing): each seed draws which kinds may happen at all, then when.
//!
//! Invariant: a seed has one mixture, everything in it has healed by the given moment (but a lost primary, where the
//! draw says so), and no two troubles of a mixture turn the same knob of the world. It draws from a stream of its own,
//! so that the world's draws of the same seed are other numbers. A journal that rots is not among them: no process
//! outlives it, which is a scenario of its own.
//!
//! Leaving families out is the point: with everything at once, what breaks first hides what would break next.

use std::time::Duration;

use rand::{RngExt as _, seq::IndexedRandom as _};
use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

use super::{CallFault, Happening, ProcessFault, StoreFault, Trouble, ledger::HOME};
use crate::{
    domain::id::Region,
    sim::world::{
        Plane, Planes, Reach,
        aurora::{LagMetric, LagSetting, PromotionFate},
        cloudwatch::MetricFault,
    },
};

/// The stream of the generator: the world has 0, the port's chances 1.
const STREAM: u64 = 2;

/// What may happen to a seed, with its share of the seeds (of 100) at intensity 1.
const FAMILIES: &[(Family, u32)] = &[
    (Family::Partition, 15),
    (Family::Planes, 30),
    (Family::Home, 10),
    (Family::Reads, 35),
    (Family::Mutations, 35),
    (Family::Promotion, 15),
    (Family::Fencing, 15),
    (Family::Lag, 15),
    (Family::LagMetric, 12),
    (Family::Metrics, 15),
    (Family::Members, 8),
    (Family::Resolvers, 10),
    (Family::Credentials, 8),
    (Family::Kills, 20),
    (Family::KillsAt, 25),
    (Family::Stops, 10),
    (Family::Pauses, 10),
    (Family::Clock, 10),
    (Family::Disk, 10),
    (Family::Commit, 10),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Partition,
    Planes,
    Home,
    Reads,
    Mutations,
    Promotion,
    Fencing,
    Lag,
    LagMetric,
    Metrics,
    Members,
    Resolvers,
    Credentials,
    Kills,
    KillsAt,
    Stops,
    Pauses,
    Clock,
    Disk,
    Commit,
}

/// Seeds (of 100) whose primary is lost.
const PRIMARY_LOST: u32 = 60;
/// When the disaster begins, in seconds.
const DISASTER_S: std::ops::Range<u64> = 20..180;
/// Within how long of the disaster most of the rest happens, in seconds.
const AFTER_DISASTER_S: u64 = 300;
/// Within how long everything begins, in seconds.
const BEGINS_S: u64 = 900;
/// The shortest trouble that is worth its name.
const SHORTEST: Duration = Duration::from_secs(1);

const READS: &[&str] = &[
    "rds:DescribeGlobalClusters",
    "rds:DescribeDBClusters",
    "cloudwatch:GetMetricData",
    "cloudwatch:DescribeAlarms",
    "route53:ListResourceRecordSets",
    "route53:GetChange",
    "route53-recovery-cluster:GetRoutingControlState",
];
/// Reads that show a status, or something that a mutation of the same service has changed.
const READS_OF_STATE: &[&str] = &["rds:DescribeGlobalClusters", "rds:DescribeGlobalClusters", "rds:"];
const MUTATIONS: &[&str] = &[
    "rds:FailoverGlobalCluster",
    "rds:FailoverGlobalCluster",
    "rds:SwitchoverGlobalCluster",
    "route53-recovery-cluster:UpdateRoutingControlStates",
    "route53-recovery-cluster:UpdateRoutingControlStates",
    "route53:ChangeResourceRecordSets",
    "cloudwatch:PutMetricData",
    "sns:Publish",
];
/// Patterns of several operations.
const BROAD: &[&str] = &["*", "rds:", "cloudwatch:", "route53:", "route53-recovery-cluster:"];
/// Codes that calls are refused with.
const CODES: &[&str] = &["AccessDenied", "InvalidGlobalClusterStateFault", "ValidationError"];

/// The mixture of `seed`, in order of time. The first of `regions` is active at the start, the others stand by; all has
/// healed `heals_at` after the rehearsal's start. `intensity` 1 is as the families say; 0 leaves the main disaster.
pub fn mix(seed: u64, regions: &[Region], heals_at: Duration, intensity: f64) -> Vec<Happening> {
    let Some((primary, standbys)) = regions.split_first() else {
        return Vec::new();
    };
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    rng.set_stream(STREAM);
    let disaster_at = Duration::from_secs(rng.random_range(DISASTER_S));
    let mut mixture = Mixture { rng, primary, standbys, heals_at, disaster_at, intensity, happenings: Vec::new() };
    mixture.disaster();
    for (family, share) in FAMILIES {
        let chance = f64::from(*share) / 100.0 * intensity;
        if mixture.rng.random_bool(chance.clamp(0.0, 1.0)) {
            mixture.draw(*family);
        }
    }
    let mut happenings = mixture.happenings;
    happenings.sort_by_key(|h| h.at);
    happenings
}

struct Mixture<'a> {
    rng: ChaCha12Rng,
    primary: &'a Region,
    standbys: &'a [Region],
    heals_at: Duration,
    disaster_at: Duration,
    intensity: f64,
    happenings: Vec<Happening>,
}

impl Mixture<'_> {
    /// The primary's loss: for good, for long, or so briefly that it is back while its role is being moved.
    fn disaster(&mut self) {
        if !self.rng.random_ratio(PRIMARY_LOST, 100) || self.heals_at <= self.disaster_at {
            return;
        }
        let (at, what) = (self.disaster_at, Trouble::LoseRegion { region: self.primary.clone() });
        match self.rng.random_range(0..100) {
            ..50 => self.happenings.push(Happening { at, lasts: None, what }),
            50..70 => self.add(at, self.heals_at - at, what),
            _ => {
                let lasts = Duration::from_secs(self.rng.random_range(15..400));
                self.add(at, lasts, what);
            }
        }
    }

    fn draw(&mut self, family: Family) {
        let most = match family {
            Family::Planes | Family::Reads | Family::Mutations | Family::KillsAt => 4,
            Family::Partition | Family::Metrics | Family::Kills | Family::Clock => 2,
            _ => 1,
        };
        // More of a kind where the whole is more intense, and never without bound.
        let times = if self.intensity < 1.5 { 1 } else { 2 };
        for _ in 0..self.rng.random_range(1..=most * times) {
            self.draw_one(family);
        }
    }

    fn draw_one(&mut self, family: Family) {
        let (at, lasts) = (self.at(), self.lasts());
        match family {
            Family::Partition => {
                let region = if self.rng.random_bool(0.6) { self.primary.clone() } else { self.any_region() };
                self.add(at, lasts, Trouble::PartitionRegion { region });
            }
            Family::Planes => self.plane(at, lasts),
            Family::Home => self.add(at, lasts, Trouble::LoseRegion { region: home() }),
            Family::Reads => self.reads(at, lasts),
            Family::Mutations => self.mutations(at, lasts),
            Family::Promotion => {
                let fate = self.one(&[PromotionFate::Fails, PromotionFate::Sticks]);
                // From before the promotion, or it is missed.
                self.add(self.disaster_at, lasts + Duration::from_secs(600), Trouble::Promotion { fate });
            }
            Family::Fencing => {
                self.add(self.disaster_at, lasts + Duration::from_secs(600), Trouble::FencingTimesOut);
            }
            Family::Lag => self.lag(at, lasts),
            Family::LagMetric => {
                // Not `ShowsZero`: a lag of 0 that lies is told by a heartbeat only, which issue 4 brings (44). Until then
                // a gate believes it (seed 1166), and the scenario `lag-lies-zero` shows what holds all the same.
                let metric = self.one(&[
                    LagMetric::GrowsWhenCut,
                    LagMetric::Missing,
                    LagMetric::NotANumber,
                    LagMetric::Negative,
                ]);
                let region = self.standby();
                self.add(at, lasts, Trouble::LagMetric { region, metric });
            }
            Family::Metrics => self.metrics(at, lasts),
            Family::Members => {
                let region = self.standby();
                let headless = self.rng.random_bool(0.5);
                let what = if headless { Trouble::Headless { region } } else { Trouble::Mismatched { region } };
                self.add(at, lasts, what);
            }
            Family::Resolvers => {
                let seconds = self.rng.random_range(120..1_800);
                self.add(at, lasts * 3, Trouble::ResolversIgnoreTtl { seconds });
            }
            Family::Credentials => self.add(at, lasts, Trouble::CredentialsExpire),
            Family::Clock => {
                let seconds = self.one(&[-3_600, -301, -45, -2, 2, 45, 301, 3_600]);
                self.add(at, lasts, Trouble::ClockJumps { seconds });
            }
            Family::Kills | Family::KillsAt | Family::Stops | Family::Pauses => self.process(family, at),
            Family::Disk => self.add(at, lasts.min(Duration::from_secs(60)), Trouble::Store(StoreFault::Full)),
            Family::Commit => self.add_momentary(at, Trouble::Store(StoreFault::FailsAfterCommit)),
        }
    }

    /// Mostly soon after the disaster.
    fn at(&mut self) -> Duration {
        let most = self.rng.random_bool(0.7);
        let ms = |s: u64| s * 1_000;
        if most {
            self.disaster_at + Duration::from_millis(self.rng.random_range(0..ms(AFTER_DISASTER_S)))
        } else {
            Duration::from_millis(self.rng.random_range(0..ms(BEGINS_S)))
        }
    }

    /// Seconds to minutes, the short ones as often as the long ones.
    fn lasts(&mut self) -> Duration {
        let range = self.one(&[2_000..15_000, 15_000..90_000, 90_000..420_000]);
        Duration::from_millis(self.rng.random_range(range))
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of.choose(&mut self.rng).expect("what is chosen from is a list of this file, and not empty").clone()
    }

    fn any_region(&mut self) -> Region {
        match self.rng.random_range(0..=self.standbys.len()) {
            0 => self.primary.clone(),
            n => self.standbys[n - 1].clone(),
        }
    }

    /// Where the application stands by; the primary, where it has nothing else.
    fn standby(&mut self) -> Region {
        self.standbys.choose(&mut self.rng).unwrap_or(self.primary).clone()
    }

    fn plane(&mut self, at: Duration, lasts: Duration) {
        let region = self.any_region();
        // The network is the partition's; a database or a server either answers or does not.
        let plane = self.one(&Planes::ALL.map(|p| if p == Plane::Network { Plane::Rds } else { p }));
        let reach = match plane {
            Plane::Database | Plane::HealthCheckers => Reach::Hangs,
            Plane::Application => self.one(&[Reach::Hangs, Reach::Unavailable]),
            _ => self.one(&[Reach::Hangs, Reach::Unavailable, Reach::Throttles, Reach::DeniesAccess]),
        };
        let region = if plane == Plane::Route53Control { home() } else { region };
        self.add(at, lasts, Trouble::Plane { plane, region, reach });
    }

    fn reads(&mut self, at: Duration, lasts: Duration) {
        let code = self.one(CODES);
        let fault = self.one(&[
            CallFault::LoseBefore,
            CallFault::LoseAfter,
            CallFault::Hang,
            CallFault::Refuse,
            CallFault::ServerError,
            CallFault::Throttle,
            CallFault::Reject { code },
            CallFault::Stale,
            CallFault::Stale,
            CallFault::UnknownStatus,
            CallFault::UnknownStatus,
            CallFault::Garbage,
        ]);
        let operation = match fault {
            CallFault::Stale | CallFault::UnknownStatus => self.one(READS_OF_STATE),
            _ => self.operation(READS),
        };
        self.calls(at, lasts, operation, fault);
    }

    fn mutations(&mut self, at: Duration, lasts: Duration) {
        let code = self.one(CODES);
        let by = Duration::from_millis(self.rng.random_range(500..400_000));
        let fault = self.one(&[
            CallFault::LoseBefore,
            CallFault::LoseAfter,
            CallFault::LoseAfter,
            CallFault::Late { by },
            CallFault::Late { by },
            CallFault::Duplicate,
            CallFault::Hang,
            CallFault::Refuse,
            CallFault::ServerError,
            CallFault::ServerErrorAfter,
            CallFault::Throttle,
            CallFault::Reject { code },
            CallFault::Garbage,
        ]);
        let operation = self.operation(MUTATIONS);
        // A mutation is one moment of a run: what is to meet it lasts longer.
        self.calls(at, lasts * 2, operation, fault);
    }

    fn operation(&mut self, of: &[&'static str]) -> &'static str {
        if self.rng.random_bool(0.2) { self.one(BROAD) } else { self.one(of) }
    }

    fn calls(&mut self, at: Duration, lasts: Duration, operation: &str, fault: CallFault) {
        let region = self.rng.random_bool(0.3).then(|| self.any_region());
        let chance = self.one(&[0.1, 0.3, 0.6, 1.0]);
        self.add(at, lasts, Trouble::Calls { operation: operation.to_owned(), region, fault, chance });
    }

    fn lag(&mut self, at: Duration, lasts: Duration) {
        let ms = self.rng.random_range(5_000..600_000);
        let setting = self.one(&[LagSetting::StandsStill, LagSetting::StandsStill, LagSetting::Fixed(ms)]);
        let region = self.standby();
        // Before the disaster as often as after: what is not replicated then is lost in it.
        let at = if self.rng.random_bool(0.5) { at.min(self.disaster_at / 2) } else { at };
        self.add(at, lasts, Trouble::Lag { region, setting });
    }

    fn metrics(&mut self, at: Duration, lasts: Duration) {
        let ms = self.rng.random_range(60_000..900_000);
        let (region, namespace) =
            if self.rng.random_bool(0.7) { (self.standby(), "AWS/RDS") } else { (home(), "AWS/Route53") };
        // A lag that is frozen under fresh timestamps lies as a lag of 0 does (44).
        let last = if namespace == "AWS/RDS" { MetricFault::Withhold } else { MetricFault::Freeze };
        let fault = self.one(&[MetricFault::Withhold, MetricFault::Delay(ms), last, MetricFault::NotANumber]);
        self.add(at, lasts * 2, Trouble::Metrics { region, namespace: namespace.to_owned(), fault });
    }

    fn process(&mut self, family: Family, at: Duration) {
        let restart_after = Duration::from_millis(self.rng.random_range(1_000..120_000));
        let all_along = self.heals_at.saturating_sub(restart_after);
        let flag = self.rng.random_bool(0.5);
        match family {
            Family::KillsAt if self.rng.random_bool(0.5) => {
                let append = self.rng.random_range(0..60);
                let what = ProcessFault::KillAtAppend { append, durable: flag, restart_after };
                self.add(Duration::ZERO, all_along, Trouble::Process(what));
            }
            Family::KillsAt => {
                let call = self.rng.random_range(0..12);
                let what = ProcessFault::KillAtCall { call, effect: flag, restart_after };
                self.add(Duration::ZERO, all_along, Trouble::Process(what));
            }
            Family::Stops => self.add_momentary(at, Trouble::Process(ProcessFault::Stop { restart_after })),
            Family::Pauses => {
                let lasts = self.lasts();
                self.add_momentary(at, Trouble::Process(ProcessFault::Pause { lasts }));
            }
            _ => self.add_momentary(at, Trouble::Process(ProcessFault::Kill { restart_after })),
        }
    }

    /// Adds what lasts a while: shorter, where it would not have healed in time; not at all, where nothing is left of
    /// it or its knob is taken.
    fn add(&mut self, at: Duration, lasts: Duration, what: Trouble) {
        let mut happening = Happening { at, lasts: Some(lasts), what };
        let over = happening.heals_at().map(|end| end.saturating_sub(self.heals_at)).unwrap_or_default();
        let Some(lasts) = lasts.checked_sub(over).filter(|left| SHORTEST <= *left) else {
            return;
        };
        happening.lasts = Some(lasts);
        let is_taken = self.happenings.iter().any(|other| turns_the_same_knob(&other.what, &happening.what));
        if !is_taken {
            self.happenings.push(happening);
        }
    }

    /// Adds what is over by itself, where there is time for it.
    fn add_momentary(&mut self, at: Duration, what: Trouble) {
        let happening = Happening { at, lasts: None, what };
        if happening.heals_at().is_some_and(|end| end <= self.heals_at) {
            self.happenings.push(happening);
        }
    }
}

fn home() -> Region {
    HOME.parse().expect("a literal Region")
}

/// Whether the end of one of these would end the other as well.
fn turns_the_same_knob(a: &Trouble, b: &Trouble) -> bool {
    match (a, b) {
        (Trouble::Promotion { .. }, Trouble::Promotion { .. })
        | (Trouble::FencingTimesOut, Trouble::FencingTimesOut)
        | (Trouble::ResolversIgnoreTtl { .. }, Trouble::ResolversIgnoreTtl { .. })
        | (Trouble::Store(StoreFault::Full), Trouble::Store(StoreFault::Full)) => true,
        (Trouble::Lag { region: a, .. }, Trouble::Lag { region: b, .. })
        | (Trouble::LagMetric { region: a, .. }, Trouble::LagMetric { region: b, .. })
        | (Trouble::Headless { region: a }, Trouble::Headless { region: b })
        | (Trouble::Mismatched { region: a }, Trouble::Mismatched { region: b })
        | (Trouble::Undersized { region: a }, Trouble::Undersized { region: b })
        | (Trouble::QuotaExhausted { region: a }, Trouble::QuotaExhausted { region: b })
        | (Trouble::ReplicasLag { region: a }, Trouble::ReplicasLag { region: b }) => a == b,
        (Trouble::Metrics { region: a, namespace: x, .. }, Trouble::Metrics { region: b, namespace: y, .. }) => {
            a == b && x == y
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn regions() -> Vec<Region> {
        ["us-west-2", "us-east-1", "eu-west-1"].map(|r| r.parse().expect("a Region")).to_vec()
    }

    fn minutes(m: u64) -> Duration {
        Duration::from_secs(m * 60)
    }

    fn mixtures(seeds: std::ops::Range<u64>) -> impl Iterator<Item = Vec<Happening>> {
        seeds.map(|seed| mix(seed, &regions(), minutes(30), 1.0))
    }

    /// The variant's name, which is what `Debug` begins with.
    fn name(of: &impl std::fmt::Debug) -> String {
        format!("{of:?}").chars().take_while(|c| c.is_alphanumeric()).collect()
    }

    fn kinds(happening: &Happening) -> Vec<String> {
        let what = &happening.what;
        let more = match what {
            Trouble::Calls { fault, .. } => Some(name(fault)),
            Trouble::Process(fault) => Some(name(fault)),
            Trouble::Store(fault) => Some(name(fault)),
            Trouble::LagMetric { metric, .. } => Some(name(metric)),
            Trouble::Lag { setting, .. } => Some(name(setting)),
            Trouble::Metrics { fault, .. } => Some(name(fault)),
            Trouble::Promotion { fate } => Some(name(fate)),
            Trouble::Plane { plane, .. } => Some(name(plane)),
            _ => None,
        };
        std::iter::once(name(what)).chain(more.map(|m| format!("{}/{m}", name(what)))).collect()
    }

    #[test]
    fn two_thousand_seeds_draw_every_kind_of_everything_that_can_go_wrong() {
        let seen: BTreeSet<String> = mixtures(0..2_000).flatten().flat_map(|h| kinds(&h)).collect();
        let expected = "CredentialsExpire ClockJumps FencingTimesOut Headless LoseRegion Mismatched PartitionRegion \
            ResolversIgnoreTtl Calls/LoseBefore Calls/LoseAfter Calls/Late Calls/Duplicate Calls/Hang Calls/Refuse \
            Calls/ServerError Calls/ServerErrorAfter Calls/Throttle Calls/Reject Calls/Stale Calls/UnknownStatus \
            Calls/Garbage Process/Kill Process/KillAtAppend Process/KillAtCall Process/Stop Process/Pause Store/Full \
            Store/FailsAfterCommit Lag/StandsStill Lag/Fixed LagMetric/GrowsWhenCut \
            LagMetric/Missing LagMetric/NotANumber LagMetric/Negative Metrics/Withhold Metrics/Delay Metrics/Freeze \
            Metrics/NotANumber Promotion/Fails Promotion/Sticks Plane/Rds Plane/Route53Control Plane/CloudWatch \
            Plane/Sns Plane/HealthCheckers Plane/ArcCluster Plane/Application Plane/Database";
        let missing: Vec<&str> = expected.split_whitespace().filter(|kind| !seen.contains(*kind)).collect();
        assert!(missing.is_empty(), "never drawn: {missing:?}");
        assert!(!seen.contains("Store/Rots"), "no process outlives it");
        assert!(!seen.contains("LagMetric/ShowsZero"), "nothing tells that it lies yet");
    }

    #[test]
    fn seeds_differ_in_what_can_happen_at_all_and_most_of_them_lose_the_primary() {
        let primary = &regions()[0];
        let of_primary = |h: &Happening| matches!(&h.what, Trouble::LoseRegion { region } if region == primary);
        let lost = mixtures(0..2_000).filter(|m| m.iter().any(of_primary)).count();
        assert!((1_100..1_300).contains(&lost), "{lost} of 2000 lose the primary");
        let for_good = mixtures(0..2_000).filter(|m| m.iter().any(|h| of_primary(h) && h.lasts.is_none())).count();
        assert!((500..700).contains(&for_good), "{for_good} of 2000 lose it for good");
        let kinds_of = |m: &Vec<Happening>| m.iter().flat_map(kinds).collect::<BTreeSet<String>>();
        let different: BTreeSet<_> = mixtures(0..2_000).map(|m| kinds_of(&m)).collect();
        assert!(1_000 < different.len(), "only {} kinds of mixture", different.len());
        let quiet = mixtures(0..2_000).filter(Vec::is_empty).count();
        assert!((1..100).contains(&quiet), "{quiet} seeds without any trouble");
    }

    #[test]
    fn home_is_lost_although_it_stands_by_only() {
        let home = |h: &Happening| matches!(&h.what, Trouble::LoseRegion { region } if region.as_str() == HOME);
        assert!(mixtures(0..100).flatten().any(|h| home(&h)));
    }

    #[test]
    fn no_intensity_leaves_the_main_disaster() {
        let all: Vec<Happening> = (0..100).flat_map(|seed| mix(seed, &regions(), minutes(30), 0.0)).collect();
        assert!(!all.is_empty());
        assert!(all.iter().all(|h| matches!(h.what, Trouble::LoseRegion { .. })), "{all:?}");
    }

    proptest! {
        #[test]
        fn a_seed_has_one_mixture_in_order_that_heals_in_time(
            seed: u64,
            regions_n in 1_usize..=3,
            heals_s in 0_u64..4_000,
            intensity in 0.0..5.0_f64,
        ) {
            let (all, heals_at) = (regions(), Duration::from_secs(heals_s));
            let of = &all[..regions_n];
            let mixture = mix(seed, of, heals_at, intensity);
            prop_assert_eq!(&mixture, &mix(seed, of, heals_at, intensity));
            prop_assert!(mixture.is_sorted_by_key(|h| h.at));
            for h in &mixture {
                let for_good = matches!(&h.what, Trouble::LoseRegion { region } if *region == of[0]);
                match h.heals_at() {
                    Some(end) => prop_assert!(end <= heals_at, "{h:?}"),
                    None => prop_assert!(for_good && h.at < heals_at, "{h:?}"),
                }
                prop_assert!(h.lasts.is_none_or(|lasts| SHORTEST <= lasts), "{h:?}");
                if let Trouble::Calls { chance, .. } = &h.what {
                    prop_assert!((0.0..=1.0).contains(chance));
                }
            }
            for (index, a) in mixture.iter().enumerate() {
                for b in &mixture[index + 1..] {
                    prop_assert!(!turns_the_same_knob(&a.what, &b.what), "{a:?} and {b:?}");
                }
            }
        }
    }
}
