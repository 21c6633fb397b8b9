//! Amazon Route 53: hosted zones and their changes (the control plane), health checks and DNS answers (the data
//! plane).
//!
//! Invariant: nothing that a client does through the API changes a DNS answer before its change is INSYNC, and a
//! lost control plane changes no answer at all. The caller of an API operation asks [`Route53::reach`] first;
//! the operations themselves model only an API that answers.
//!
//! Deliberately absent, and refused by name where a request asks for it: accelerated recovery, aliases, wildcards,
//! traffic policies, DNSSEC, geographic and latency routing, creating and deleting zones over the API.

pub mod answer;
pub mod change;
pub mod fixture;
pub mod health;
pub mod health_config;
pub mod listing;
pub mod record;
pub mod resolver;
pub mod zone;

use std::collections::{BTreeMap, VecDeque};

use rand::RngExt as _;
use rand_chacha::ChaCha12Rng;

use super::{ApiFault, Context, Plane, Planes, Reach, SimTime, WorldEvent, arc};
use crate::domain::id::Region;
pub use answer::{Answer, Lookup, View};
use change::{Change, ChangeStatus, fault};
use health::{HealthCheck, HealthMetric, MetricStream, Targets};
use zone::Zone;

/// The XML namespace of the API.
pub const NAMESPACE: &str = "https://route53.amazonaws.com/doc/2013-04-01/";
/// Requests per second and account over all Route 53 APIs [R53DG:Quotas].
pub const REQUESTS_PER_SECOND_MAX: usize = 5;

/// One mutating API call as the service saw it, for the oracle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    pub at: SimTime,
    /// The API operation, such as `ChangeResourceRecordSets`.
    pub operation: &'static str,
    pub detail: String,
    /// Whether it took effect; a refused call changed nothing.
    pub accepted: bool,
}

/// Route 53 of one account.
#[derive(Debug, Default)]
pub struct Route53 {
    zones: BTreeMap<String, Zone>,
    changes: BTreeMap<String, Change>,
    checks: BTreeMap<String, HealthCheck>,
    /// When the latest admitted requests came; at most [`REQUESTS_PER_SECOND_MAX`].
    admitted: VecDeque<SimTime>,
    sequence: u64,
    metrics_due: Option<SimTime>,
    /// When a check was created or reconfigured and its status is to be taken anew.
    review_due: Option<SimTime>,
    /// Every mutating call, refused ones included.
    pub effects: Vec<Effect>,
}

impl Route53 {
    /// How the Route 53 API behaves now: it is one for all Regions, and its home is us-east-1 [WP].
    pub fn reach(planes: &Planes) -> Reach {
        planes.reach(Plane::Route53Control, &home())
    }

    /// Adds a zone as it is, without an API call. For fixtures; an existing zone of that id is replaced.
    pub fn put_zone(&mut self, zone: Zone) {
        self.zones.insert(zone.id.clone(), zone);
    }

    /// All hosted zones by id.
    pub fn zones(&self) -> &BTreeMap<String, Zone> {
        &self.zones
    }

    /// Protects every record set of `name` and `rtype` in the zone from changes.
    ///
    /// # Errors
    /// `NoSuchHostedZone`.
    pub fn protect(&mut self, zone_id: &str, name: record::DnsName, rtype: record::RrType) -> Result<(), ApiFault> {
        self.zone_mut(zone_id)?.protections.insert((name, rtype));
        Ok(())
    }

    /// When this part next has something to do by itself.
    pub fn next_due(&self) -> Option<SimTime> {
        let pending = self.changes.values().filter(|c| c.info.status == ChangeStatus::Pending).map(|c| c.in_sync_at);
        pending
            .chain(self.checks.values().filter_map(HealthCheck::next_due))
            .chain(self.metrics_due)
            .chain(self.review_due)
            .min()
    }

    /// Does everything that is due at `ctx.now`. `targets` says what health checkers meet; the metrics that come back belong into CloudWatch of us-east-1, namespace `AWS/Route53`.
    #[must_use = "the metrics must be recorded in CloudWatch"]
    pub fn run_due(
        &mut self,
        ctx: &mut Context<'_>,
        targets: &dyn Targets,
        metrics: &dyn MetricStream,
        controls: &arc::Arc,
    ) -> Vec<HealthMetric> {
        self.propagate(ctx);
        self.run_checks(ctx, targets, metrics, controls);
        self.propagate_status(ctx);
        self.emit_metrics(ctx.now)
    }

    /// Counts a request against the account's rate.
    fn admit(&mut self, now: SimTime) -> Result<(), ApiFault> {
        while self.admitted.front().is_some_and(|at| 1_000 <= now.since_ms(*at)) {
            self.admitted.pop_front();
        }
        if REQUESTS_PER_SECOND_MAX <= self.admitted.len() {
            return Err(fault(400, "Throttling", "Rate exceeded"));
        }
        self.admitted.push_back(now);
        Ok(())
    }

    fn zone(&self, id: &str) -> Result<&Zone, ApiFault> {
        self.zones.get(id).ok_or_else(|| no_such_zone(id))
    }

    fn zone_mut(&mut self, id: &str) -> Result<&mut Zone, ApiFault> {
        self.zones.get_mut(id).ok_or_else(|| no_such_zone(id))
    }

    fn count_effect<T>(&mut self, at: SimTime, operation: &'static str, detail: String, result: &Result<T, ApiFault>) {
        let (detail, accepted) = match result {
            Ok(_) => (detail, true),
            Err(fault) => (format!("{detail} ({})", fault.code), false),
        };
        self.effects.push(Effect { at, operation, detail, accepted });
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// An id of 21 characters, `first` and then upper-case letters and digits, as Route 53 forms them.
    fn draw_id(&self, rng: &mut ChaCha12Rng, first: char) -> String {
        const ALPHABET: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        let rest = (0..20).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]));
        std::iter::once(first).chain(rest).collect()
    }
}

/// The Region of the control plane and of Route 53's metrics [WP].
pub fn home() -> Region {
    health::region("us-east-1")
}

fn no_such_zone(id: &str) -> ApiFault {
    fault(404, "NoSuchHostedZone", format!("No hosted zone found with ID: {id}"))
}

fn event(ctx: &mut Context<'_>, kind: &'static str, text: String) {
    let at = ctx.now;
    ctx.log.push(WorldEvent { at, kind, text });
}

#[cfg(test)]
mod tests;
