//! How long traffic changes take: the one spot to replace by `timings::draw` when that is merged.
//!
//! The numbers are those of `timings.toml` (typical), under the same names.

use rand::RngExt as _;
use rand_chacha::ChaCha12Rng;

/// A delay that is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sim::world) enum Delay {
    /// From an accepted change to INSYNC: usually within 60 s [bc:ChangeInfo; R53DG].
    DnsChangeInsync,
    /// From a health check's flip until the name servers answer by it [INF].
    HealthStatusPropagation,
    /// From an accepted update of a routing control until health checks see it [ARCDG; INF].
    RoutingControlPropagation,
    /// How long a zone refuses the next change with `PriorRequestNotComplete` [INF: the API documents the error,
    /// not the window; accepted changes may well overlap while PENDING].
    ChangeProcessing,
}

/// Draws `delay` in milliseconds: linear between the 0th, 50th, 95th and 100th percentile.
pub(in crate::sim::world) fn draw(rng: &mut ChaCha12Rng, delay: Delay) -> u64 {
    let [min, p50, p95, max]: [u64; 4] = match delay {
        Delay::DnsChangeInsync => [5_000, 20_000, 50_000, 60_000],
        Delay::HealthStatusPropagation => [500, 3_000, 10_000, 20_000],
        Delay::RoutingControlPropagation => [500, 2_000, 6_000, 10_000],
        Delay::ChangeProcessing => [50, 150, 400, 800],
    };
    let part: u64 = rng.random_range(0..1_000);
    let (from, to, low, high) = match part {
        0..500 => (0, 500, min, p50),
        500..950 => (500, 950, p50, p95),
        _ => (950, 1_000, p95, max),
    };
    low + (high - low) * (part - from) / (to - from)
}
