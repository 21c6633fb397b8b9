//! CloudWatch of each Region: datapoints that become visible late, reads, and alarms.
//!
//! Invariant: nothing that is missing is ever turned into a number. A metric without data is an empty series,
//! a datapoint that is not published yet does not exist for a reader, and each Region sees only its own.
//!
//! Deliberately not modelled: metric math, composite alarms, alarm actions (an alarm changes its state and
//! nothing else), datapoints under one minute old expiring after 3 hours.

mod alarms;
mod put;
mod read;

use std::collections::{BTreeMap, VecDeque};

use rand::RngExt as _;

pub use alarms::{Alarm, AlarmSpec, AlarmState, Comparison, TreatMissing};
pub use put::{Datum, DatumValue};
pub use read::{Bucket, MetricQuery, QueryResult, Statistic};

use super::{ApiFault, Context, Planes, Reach, SimTime, World, WorldEvent, planes::Plane, timings};
use crate::domain::id::Region;

/// Datapoints kept per metric; the oldest go first. 15 days of minutes, as CloudWatch keeps. [bc:cloudwatch]
const POINTS_PER_METRIC_MAX: usize = 21_600;
/// How often a publication that an outage holds back is tried again, in milliseconds.
const LATE_RETRY_MS: u64 = 15_000;

/// What identifies a metric in a Region. Dimensions are in order of name, so that equal sets are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricKey {
    pub namespace: String,
    pub name: String,
    pub dimensions: Vec<(String, String)>,
}

impl MetricKey {
    /// The key of a metric; the order in which dimensions are given does not matter.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(
        namespace: &str,
        name: &str,
        dimensions: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut dimensions: Vec<_> =
            dimensions.into_iter().map(|(n, v)| (n.as_ref().to_owned(), v.as_ref().to_owned())).collect();
        dimensions.sort();
        Self { namespace: namespace.to_owned(), name: name.to_owned(), dimensions }
    }
}

/// One datapoint as it is stored: a statistic set, so that Average, Sum and the rest all come out right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The time that the datapoint is about; not when it became visible.
    pub at: SimTime,
    pub sum: f64,
    pub minimum: f64,
    pub maximum: f64,
    pub samples: f64,
}

impl Point {
    /// A single measurement.
    pub fn of(at: SimTime, value: f64) -> Self {
        Self { at, sum: value, minimum: value, maximum: value, samples: 1.0 }
    }
}

#[derive(Debug, Clone, Default)]
struct Series {
    unit: Option<String>,
    /// In order of `at`.
    points: VecDeque<Point>,
    /// From when `ListMetrics` names it.
    listed_from: SimTime,
}

impl Series {
    fn insert(&mut self, point: Point) {
        let behind = self.points.partition_point(|p| p.at <= point.at);
        self.points.insert(behind, point);
        if self.points.len() > POINTS_PER_METRIC_MAX {
            self.points.pop_front();
        }
    }
}

/// What is wrong with one metric's publication.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MetricFault {
    /// Datapoints vanish.
    Withhold,
    /// Datapoints become visible this much later, in milliseconds.
    Delay(u64),
    /// The last value is published again and again, with fresh timestamps.
    Freeze,
    /// Every value is not a number.
    NotANumber,
}

/// What happens to datapoints of a Region whose CloudWatch is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outage {
    /// They are lost: after the outage there is a hole.
    #[default]
    Loses,
    /// They are held back and appear after it.
    Holds,
}

/// Bounds of a uniform delay, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DelayMs {
    pub min: u64,
    pub max: u64,
}

/// Knobs of the model; a scenario sets them.
#[derive(Debug, Clone)]
pub struct Publication {
    /// Delay of what AWS publishes itself; where absent, that of `timings.toml` (no published bound: 1 to 3
    /// minutes [INF]).
    pub aws: Option<DelayMs>,
    /// Which numbers of `timings.toml` are drawn from.
    pub variant: timings::Variant,
    /// Delay of `PutMetricData` [INF].
    pub put: DelayMs,
    /// How long a new custom metric stays out of `ListMetrics`: up to 15 minutes. [CWUG]
    pub listing: DelayMs,
    pub outage: Outage,
}

impl Default for Publication {
    fn default() -> Self {
        Self {
            aws: None,
            variant: timings::Variant::Typical,
            put: DelayMs { min: 500, max: 3_000 },
            listing: DelayMs { min: 60_000, max: 900_000 },
            outage: Outage::Loses,
        }
    }
}

#[derive(Debug, Clone)]
struct Pending {
    region: Region,
    key: MetricKey,
    unit: Option<String>,
    point: Point,
}

/// CloudWatch of every Region.
#[derive(Debug, Default)]
pub struct CloudWatch {
    series: BTreeMap<Region, BTreeMap<MetricKey, Series>>,
    alarms: BTreeMap<(Region, String), Alarm>,
    /// Datapoints on their way, by the time at which they become visible.
    pending: BTreeMap<(SimTime, u64), Pending>,
    sequence: u64,
    faults: BTreeMap<(Region, String, String), MetricFault>,
    /// Of every metric of a namespace; one of a single metric comes first.
    namespace_faults: BTreeMap<(Region, String), MetricFault>,
    frozen: BTreeMap<(Region, MetricKey), f64>,
    pub publication: Publication,
}

impl CloudWatch {
    /// Hands a datapoint of AWS's own to CloudWatch: it becomes visible after a drawn publication delay.
    #[expect(clippy::too_many_arguments, reason = "a datapoint has this many parts")]
    pub fn record(
        &mut self,
        region: &Region,
        namespace: &str,
        metric: &str,
        dimensions: &[(&str, &str)],
        at: SimTime,
        value: f64,
        ctx: &mut Context<'_>,
    ) {
        let delay = match self.publication.aws {
            Some(delay) => draw(delay, ctx),
            None => {
                let name = timings::Name::CloudwatchPublication;
                timings::draw_of(ctx.rng, name, self.publication.variant)
            }
        };
        let key = MetricKey::new(namespace, metric, dimensions.iter().copied());
        let unit = unit_of(namespace, metric).map(str::to_owned);
        self.accept(region, key, unit, Point::of(at, value), delay, ctx);
    }

    /// Breaks the publication of a metric (every dimension of it) in a Region, or mends it with `None`.
    pub fn set_fault(&mut self, region: &Region, namespace: &str, metric: &str, fault: Option<MetricFault>) {
        let key = (region.clone(), namespace.to_owned(), metric.to_owned());
        match fault {
            Some(fault) => {
                self.faults.insert(key, fault);
            }
            None => {
                self.faults.remove(&key);
                self.frozen.retain(|(r, k), _| !(r == region && k.namespace == namespace && k.name == metric));
            }
        }
    }

    /// Breaks the publication of every metric of `namespace` in a Region, or mends it with `None`.
    pub fn set_namespace_fault(&mut self, region: &Region, namespace: &str, fault: Option<MetricFault>) {
        let key = (region.clone(), namespace.to_owned());
        match fault {
            Some(fault) => {
                self.namespace_faults.insert(key, fault);
            }
            None => {
                self.namespace_faults.remove(&key);
                self.frozen.retain(|(r, k), _| !(r == region && k.namespace == namespace));
            }
        }
    }

    /// What is wrong now with the publication of a metric.
    pub fn fault_of(&self, region: &Region, namespace: &str, metric: &str) -> Option<MetricFault> {
        if self.faults.is_empty() && self.namespace_faults.is_empty() {
            return None; // As almost always; a datapoint need not draw keys together for it.
        }
        let single = self.faults.get(&(region.clone(), namespace.to_owned(), metric.to_owned()));
        single.or_else(|| self.namespace_faults.get(&(region.clone(), namespace.to_owned()))).copied()
    }

    fn accept(
        &mut self,
        region: &Region,
        key: MetricKey,
        unit: Option<String>,
        mut point: Point,
        delay_ms: u64,
        ctx: &mut Context<'_>,
    ) {
        let mut visible = ctx.now.plus_ms(delay_ms);
        match self.fault_of(region, &key.namespace, &key.name) {
            Some(MetricFault::Withhold) => return,
            Some(MetricFault::Delay(ms)) => visible = visible.plus_ms(ms),
            Some(MetricFault::NotANumber) => point = Point::of(point.at, f64::NAN),
            Some(MetricFault::Freeze) => {
                let value = self.frozen.entry((region.clone(), key.clone()));
                point = Point::of(point.at, *value.or_insert(point.maximum));
            }
            None => {}
        }
        if !ingests(ctx.planes, region) && self.publication.outage == Outage::Loses {
            return;
        }
        self.sequence += 1;
        let pending = Pending { region: region.clone(), key, unit, point };
        self.pending.insert((visible, self.sequence), pending);
    }

    /// When something happens next: a datapoint becomes visible, or an alarm is evaluated.
    pub fn next_due(&self) -> Option<SimTime> {
        let published = self.pending.keys().next().map(|(at, _)| *at);
        let evaluated = self.alarms.values().map(Alarm::due).min();
        [published, evaluated].into_iter().flatten().min()
    }

    /// Makes visible, and evaluates, whatever is due at `ctx.now`.
    pub fn run_due(&mut self, ctx: &mut Context<'_>) {
        while let Some(entry) = self.pending.first_entry() {
            if entry.key().0 > ctx.now {
                break;
            }
            let sequence = entry.key().1;
            let pending = entry.remove();
            if ingests(ctx.planes, &pending.region) {
                self.publish(pending, ctx);
            } else if self.publication.outage == Outage::Holds {
                let again = (ctx.now.plus_ms(LATE_RETRY_MS), sequence);
                self.pending.insert(again, pending);
            }
        }
        self.evaluate_due(ctx);
    }

    fn publish(&mut self, pending: Pending, ctx: &mut Context<'_>) {
        let metrics = self.series.entry(pending.region).or_default();
        let custom = !pending.key.namespace.starts_with("AWS/");
        let series = match metrics.entry(pending.key) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                let listing = if custom { draw(self.publication.listing, ctx) } else { 0 };
                new.insert(Series { listed_from: ctx.now.plus_ms(listing), ..Series::default() })
            }
        };
        if pending.unit.is_some() {
            series.unit = pending.unit;
        }
        series.insert(pending.point);
    }

    /// Metrics of `region` that `ListMetrics` names at `now`, filtered by what is given.
    pub fn list_metrics(
        &self,
        region: &Region,
        namespace: Option<&str>,
        metric: Option<&str>,
        dimensions: &[(String, Option<String>)],
        now: SimTime,
    ) -> Vec<&MetricKey> {
        let has = |key: &MetricKey, name: &str, value: Option<&str>| {
            key.dimensions.iter().any(|(n, v)| n == name && value.is_none_or(|value| value == v))
        };
        self.series
            .get(region)
            .into_iter()
            .flatten()
            .filter(|(_, series)| series.listed_from <= now)
            .map(|(key, _)| key)
            .filter(|key| namespace.is_none_or(|n| n == key.namespace))
            .filter(|key| metric.is_none_or(|m| m == key.name))
            .filter(|key| dimensions.iter().all(|(n, v)| has(key, n, v.as_deref())))
            .collect()
    }
}

impl World {
    /// Calls CloudWatch as it is now, as an API request does.
    pub fn with_cloudwatch<R>(&mut self, call: impl FnOnce(&mut CloudWatch, &mut Context<'_>) -> R) -> R {
        let mut ctx = Context { now: self.now, rng: &mut self.rng, planes: &self.planes, log: &mut self.log };
        call(&mut self.cloudwatch, &mut ctx)
    }
}

/// Whether CloudWatch takes data in: an API that throttles or refuses credentials still does.
fn ingests(planes: &Planes, region: &Region) -> bool {
    planes.works_inside(Plane::CloudWatch, region)
        || matches!(planes.reach(Plane::CloudWatch, region), Reach::Throttles | Reach::DeniesAccess)
}

fn draw(delay: DelayMs, ctx: &mut Context<'_>) -> u64 {
    ctx.rng.random_range(delay.min..=delay.max.max(delay.min))
}

fn invalid(message: &str) -> ApiFault {
    ApiFault { status: 400, code: "InvalidParameterValue", message: message.to_owned() }
}

fn validation(message: String) -> ApiFault {
    ApiFault { status: 400, code: "ValidationError", message }
}

/// The unit that AWS attaches to its own metrics that this world publishes. [AUG:CloudWatch metrics for Aurora]
fn unit_of(namespace: &str, metric: &str) -> Option<&'static str> {
    match (namespace, metric) {
        ("AWS/RDS", m) if m.starts_with("AuroraGlobalDB") && m.ends_with("Lag") => Some("Milliseconds"),
        ("AWS/DynamoDB", "ReplicationLatency") => Some("Milliseconds"),
        ("AWS/S3", "ReplicationLatency") => Some("Seconds"),
        ("AWS/S3", "BytesPendingReplication") => Some("Bytes"),
        ("AWS/S3", "OperationsPendingReplication") | ("AWS/Lambda", "Errors" | "Throttles") => Some("Count"),
        ("AWS/ApiGateway", "Latency" | "IntegrationLatency") => Some("Milliseconds"),
        ("AWS/Route53", "HealthCheckStatus") => Some("None"),
        _ => None,
    }
}

fn event(at: SimTime, kind: &'static str, text: String) -> WorldEvent {
    WorldEvent { at, kind, text }
}

#[cfg(test)]
mod tests;
