//! How long things take in AWS: the one sourced file `timings.toml`, and draws from it.
//!
//! Invariant: a draw uses integers only and one number of the generator, so that a seed gives the same history
//! on any machine. It deliberately offers no literal duration beside the file.

use std::{collections::BTreeMap, sync::LazyLock};

use rand_chacha::{ChaCha12Rng, rand_core::Rng as _};
use serde::Deserialize;

/// The committed file, as compiled in.
const FILE: &str = include_str!("timings.toml");

/// A duration that is drawn; each has its sources beside its numbers in `timings.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    ReplicationLag,
    SwitchoverPrepare,
    SwitchoverPromotion,
    SwitchoverSyncLimit,
    SwitchoverLinkLimit,
    FailoverPrepare,
    FencingSuccess,
    FencingTimeout,
    FailoverPromotion,
    DetachPromotion,
    WriterEndpointDns,
    LateFence,
    RescueSnapshot,
    SnapshotCopy,
    InstanceCreation,
    Resync,
    CloudwatchPublication,
    DnsChangeInsync,
    HealthCheckIntervalFast,
    HealthCheckIntervalStandard,
    HealthStatusPropagation,
    RoutingControlPropagation,
    SnsDelivery,
}

/// Which of the two sets of numbers a world uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Variant {
    #[default]
    Typical,
    /// A bad day.
    Stress,
}

/// Four points of a quantile function, in milliseconds: the 0th, 50th, 95th and 100th percentile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantiles {
    pub min: u64,
    pub p50: u64,
    pub p95: u64,
    pub max: u64,
}

/// One entry of the file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    pub name: Name,
    min: u64,
    p50: u64,
    p95: u64,
    max: u64,
    /// Where the numbers come from, such as `[AUG]`.
    pub source: String,
    /// What the source says and what was inferred.
    pub why: String,
    stress: Quantiles,
}

impl Timing {
    /// The numbers of `variant`.
    pub fn quantiles(&self, variant: Variant) -> Quantiles {
        match variant {
            Variant::Typical => Quantiles { min: self.min, p50: self.p50, p95: self.p95, max: self.max },
            Variant::Stress => self.stress,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    timing: Vec<Timing>,
}

static TIMINGS: LazyLock<BTreeMap<Name, Timing>> = LazyLock::new(|| {
    let file: File = toml::from_str(FILE).expect("timings.toml is compiled in and tested");
    file.timing.into_iter().map(|t| (t.name, t)).collect()
});

/// Every timing of the file, for reports that cite their sources.
pub fn all() -> impl Iterator<Item = &'static Timing> {
    TIMINGS.values()
}

/// A typical duration of `name`, in milliseconds.
pub fn draw(rng: &mut ChaCha12Rng, name: Name) -> u64 {
    draw_of(rng, name, Variant::Typical)
}

/// A duration of `name` on a day of the kind `variant`, in milliseconds.
pub fn draw_of(rng: &mut ChaCha12Rng, name: Name, variant: Variant) -> u64 {
    let timing = TIMINGS.get(&name).expect("the file has every name: tested below");
    timing.quantiles(variant).at(rng.next_u64() % PARTS)
}

/// Quantiles are counted in parts per this.
const PARTS: u64 = 1_000_000;

impl Quantiles {
    fn at(self, part: u64) -> u64 {
        let (from, to, low, high) = match part {
            p if p < PARTS / 2 => (0, PARTS / 2, self.min, self.p50),
            p if p < PARTS * 95 / 100 => (PARTS / 2, PARTS * 95 / 100, self.p50, self.p95),
            _ => (PARTS * 95 / 100, PARTS, self.p95, self.max),
        };
        low + (high - low) * (part - from) / (to - from)
    }

    #[cfg(test)]
    fn ordered(self) -> bool {
        self.min <= self.p50 && self.p50 <= self.p95 && self.p95 <= self.max
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn the_file_has_every_name_with_ordered_quantiles_and_a_source() {
        assert_eq!(all().count(), Name::SnsDelivery as usize + 1, "a name has no entry");
        for timing in all() {
            for variant in [Variant::Typical, Variant::Stress] {
                assert!(timing.quantiles(variant).ordered(), "{:?}", timing.name);
            }
            assert!(timing.source.starts_with('['), "{:?}", timing.name);
        }
    }

    #[test]
    fn a_whole_failover_takes_about_75_seconds_and_a_switchover_about_25() {
        let mut rng = ChaCha12Rng::seed_from_u64(7);
        let mut sums = |names: &[Name]| {
            let mut sums: Vec<u64> = (0..2000).map(|_| names.iter().map(|n| draw(&mut rng, *n)).sum()).collect();
            sums.sort_unstable();
            (sums[1000], sums[1900])
        };
        let (p50, p95) = sums(&[Name::FailoverPrepare, Name::FencingTimeout, Name::FailoverPromotion]);
        assert!((65_000..90_000).contains(&p50), "failover p50 {p50}");
        assert!((120_000..165_000).contains(&p95), "failover p95 {p95}");
        let (p50, p95) = sums(&[Name::SwitchoverPrepare, Name::SwitchoverPromotion]);
        assert!((20_000..30_000).contains(&p50), "switchover p50 {p50}");
        assert!((40_000..60_000).contains(&p95), "switchover p95 {p95}");
    }
}
