//! Health checks: the checkers of eight Regions, their votes, and the checks that read something else.
//!
//! Invariant: the status of a check is what the data plane knows, never what the API was told last. A checker
//! whose Region's plane is down neither looks nor votes; with no vote left the status stays as it was.
//!
//! One checker stands for all of its Region (there are several in truth), and what it sees of an endpoint is the
//! same from everywhere. What is found reaches the name servers after a drawn delay; CloudWatch shows it at once.

use std::net::Ipv4Addr;

use rand::RngExt as _;
use rand_chacha::ChaCha12Rng;

use super::{
    Route53,
    change::{fault, invalid_input},
    health_config::{CheckType, HealthCheckConfig, InsufficientData},
    record::RrType,
};
use crate::{
    domain::id::Region,
    sim::world::{
        ApiFault, Context, Plane, Planes, Reach, SimTime, arc,
        timings::{self, Name},
    },
};

/// `HealthCheckRegion` [bc].
pub const CHECKER_REGIONS: [&str; 8] = [
    "us-east-1",
    "us-west-1",
    "us-west-2",
    "eu-west-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-northeast-1",
    "sa-east-1",
];
/// An endpoint is healthy if more than this share of the checkers say so [R53DG].
pub const HEALTHY_SHARE_PERCENT: usize = 18;
/// A checker gives up connecting after this long [R53DG].
pub const CONNECT_TIMEOUT_MS: u64 = 4_000;
/// How often the data plane looks at a routing control [INF]; how long an update takes to be seen is drawn.
pub const RECOVERY_CONTROL_EVERY_MS: u64 = 1_000;
/// How often the data plane looks at an alarm's metric stream [INF: the metric itself has 60 s].
pub const METRIC_STREAM_EVERY_MS: u64 = 10_000;
/// How often Route 53 sends its own metrics to CloudWatch [R53DG].
pub const METRICS_EVERY_MS: u64 = 60_000;

/// What a health checker meets at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointStatus {
    /// Connects and answers as the check demands.
    Healthy,
    /// Answers, but not as demanded: an error status, a text that does not match, a refused connection.
    Unhealthy,
    /// Answers 404.
    Missing,
    /// Nothing comes back; the checker times out.
    NoAnswer,
}

/// What health checkers can call.
pub trait Targets {
    /// How the server at an address answers.
    fn at(&self, address: Ipv4Addr) -> EndpointStatus;

    /// How a site is answered whose address is nobody's server (S3); `None` where `host` is no such name.
    fn site(&self, _host: &str, _path: &str) -> Option<EndpointStatus> {
        None
    }
}

impl<F: Fn(Ipv4Addr) -> EndpointStatus> Targets for F {
    fn at(&self, address: Ipv4Addr) -> EndpointStatus {
        self(address)
    }
}

/// What the data stream of an alarm's metric says, judged by the alarm's threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamState {
    Ok,
    Alarm,
    Insufficient,
}

/// `AlarmIdentifier`: the alarm whose metric a CLOUDWATCH_METRIC check reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmIdentifier {
    pub region: Region,
    pub name: String,
}

/// CloudWatch as Route 53 reads it: the alarm's metric data stream, not its state (`SetAlarmState` has no
/// effect on it) [R53DG].
pub trait MetricStream {
    /// What the stream behind `alarm` says at `now`; an unknown alarm is `Insufficient`.
    fn latest(&self, region: &Region, alarm: &AlarmIdentifier, now: SimTime) -> StreamState;
}

/// One datum for CloudWatch of us-east-1, namespace `AWS/Route53`, dimension `HealthCheckId`.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthMetric {
    /// `HealthCheckStatus` (1 or 0) or `HealthCheckPercentageHealthy`.
    pub metric: &'static str,
    pub health_check_id: String,
    pub value: f64,
}

/// What a checker saw last, in the words of `GetHealthCheckStatus`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    pub region: Region,
    /// The checker's own address.
    pub checker: Ipv4Addr,
    pub checked_at: SimTime,
    pub status: String,
}

/// The checkers of one Region, for one check.
#[derive(Debug, Clone)]
struct Checker {
    region: Region,
    address: Ipv4Addr,
    due: SimTime,
    /// When the request that is under way began.
    waiting_since: Option<SimTime>,
    /// What this checker reports.
    healthy: bool,
    /// How many results in a row contradicted it.
    contradictions: u32,
    seen: Option<Observation>,
}

/// One health check.
#[derive(Debug, Clone)]
pub struct HealthCheck {
    pub id: String,
    pub caller_reference: String,
    /// Starts at 1; every accepted update adds 1.
    pub version: u64,
    pub config: HealthCheckConfig,
    checkers: Vec<Checker>,
    /// What was found, before `Disabled` and `Inverted`. CALCULATED checks do not use it.
    found_healthy: bool,
    /// When a check without checkers looks next.
    due: Option<SimTime>,
    looked_at: Option<SimTime>,
    /// What the name servers go by.
    served_healthy: bool,
    /// A change of it that is under way.
    flip: Option<(SimTime, bool)>,
}

impl HealthCheck {
    /// A new check finds its target healthy until it learns otherwise [R53DG].
    pub(super) fn new(id: &str, caller_reference: &str, config: HealthCheckConfig, ctx: &mut Context<'_>) -> Self {
        let mut check = Self {
            id: id.to_owned(),
            caller_reference: caller_reference.to_owned(),
            version: 0,
            config: config.clone(),
            checkers: Vec::new(),
            found_healthy: true,
            due: None,
            looked_at: None,
            served_healthy: config.disabled || !config.inverted,
            flip: None,
        };
        check.reconfigure(config, ctx);
        check
    }

    /// Takes `config` as the next version. Checkers of Regions that stay keep what they know.
    pub(super) fn reconfigure(&mut self, config: HealthCheckConfig, ctx: &mut Context<'_>) {
        self.version += 1;
        self.config = config;
        if !self.config.check_type.has_endpoint() {
            let looks = self.config.check_type != CheckType::Calculated;
            self.due = looks.then_some(ctx.now);
            return;
        }
        let regions = match self.config.regions.as_slice() {
            [] => CHECKER_REGIONS.map(region).to_vec(),
            some => some.to_vec(),
        };
        let mut old = std::mem::take(&mut self.checkers);
        for region in regions {
            let known = old.iter().position(|c| c.region == region);
            self.checkers.push(match known {
                Some(index) => old.swap_remove(index),
                None => self.new_checker(region, ctx),
            });
        }
    }

    fn new_checker(&self, region: Region, ctx: &mut Context<'_>) -> Checker {
        let index = CHECKER_REGIONS.iter().position(|r| *r == region.as_str());
        let last = u8::try_from(index.unwrap_or_default() + 1).unwrap_or(u8::MAX);
        Checker {
            region,
            // TEST-NET-3: no real checker's address.
            address: Ipv4Addr::new(203, 0, 113, last),
            due: ctx.now.plus_ms(ctx.rng.random_range(0..self.interval_ms())),
            waiting_since: None,
            healthy: true,
            contradictions: 0,
            seen: None,
        }
    }

    fn interval_ms(&self) -> u64 {
        u64::from(self.config.request_interval_seconds) * 1_000
    }

    /// When this check next has something to do.
    pub(super) fn next_due(&self) -> Option<SimTime> {
        let flip = self.flip.map(|(at, _)| at);
        self.next_look().into_iter().chain(flip).min()
    }

    /// "Route 53 stops performing health checks" on a disabled one [bc].
    fn next_look(&self) -> Option<SimTime> {
        let looks = self.checkers.iter().map(|c| c.due).chain(self.due).min();
        looks.filter(|_| !self.config.disabled)
    }

    fn votes(&self, planes: &Planes) -> (usize, usize) {
        let voting = || self.checkers.iter().filter(|c| works(planes, &c.region));
        (voting().filter(|c| c.healthy).count(), voting().count())
    }
}

impl Checker {
    /// Looks, if it is time. `status` is what is at the endpoint now; `None` is a name that does not resolve.
    fn run(&mut self, now: SimTime, config: &HealthCheckConfig, status: Option<EndpointStatus>) {
        let started = self.waiting_since.take().unwrap_or(now);
        let timed_out = started < now;
        if status == Some(EndpointStatus::NoAnswer) && !timed_out {
            self.waiting_since = Some(now);
            self.due = now.plus_ms(CONNECT_TIMEOUT_MS);
            return;
        }
        let result = !timed_out && status == Some(EndpointStatus::Healthy);
        self.seen = Some(Observation {
            region: self.region.clone(),
            checker: self.address,
            checked_at: now,
            status: describe(config.check_type, timed_out, status),
        });
        if result == self.healthy {
            self.contradictions = 0;
        } else {
            self.contradictions += 1;
            if config.failure_threshold <= self.contradictions {
                self.healthy = result;
                self.contradictions = 0;
            }
        }
        self.due = started.plus_ms(u64::from(config.request_interval_seconds) * 1_000);
    }
}

/// The free text of an observation, as in the examples of the developer guide.
fn describe(check_type: CheckType, timed_out: bool, status: Option<EndpointStatus>) -> String {
    let http = check_type != CheckType::Tcp;
    match status {
        _ if timed_out => "Failure: Connection timed out. The endpoint or the internet connection is down, or \
                           requests are being blocked by your firewall."
            .to_owned(),
        None => "Failure: DNS resolution failed: the domain name could not be resolved.".to_owned(),
        Some(EndpointStatus::Healthy) if http => "Success: HTTP Status Code 200, OK".to_owned(),
        Some(EndpointStatus::Healthy) => "Success: TCP connection established".to_owned(),
        Some(EndpointStatus::Missing) if http => "Failure: HTTP Status Code 404, Not Found.".to_owned(),
        Some(_) if http => "Failure: HTTP Status Code 503, Service Unavailable.".to_owned(),
        Some(_) => "Failure: Connection refused".to_owned(),
    }
}

fn works(planes: &Planes, region: &Region) -> bool {
    planes.reach(Plane::HealthCheckers, region) == Reach::Up
}

impl Route53 {
    /// Whether the name servers treat the check as healthy; `None` for an unknown check.
    pub fn is_healthy(&self, id: &str) -> Option<bool> {
        self.checks.get(id).map(|c| c.served_healthy)
    }

    /// What the health checkers find, `Disabled` and `Inverted` considered: what CloudWatch shows.
    pub fn is_found_healthy(&self, id: &str) -> Option<bool> {
        let check = self.checks.get(id)?;
        if check.config.disabled {
            return Some(true);
        }
        let found =
            if check.config.check_type == CheckType::Calculated { self.calculate(check) } else { check.found_healthy };
        Some(found != check.config.inverted)
    }

    /// `HealthThreshold` 0 is always healthy; more than there are children never is [R53DG]. Creation and
    /// update refuse cycles, so this ends.
    fn calculate(&self, check: &HealthCheck) -> bool {
        let healthy = check.config.children.iter().filter(|c| self.is_found_healthy(c) == Some(true)).count();
        check.config.health_threshold.is_some_and(|n| usize::try_from(n).is_ok_and(|n| n <= healthy))
    }

    /// `GetHealthCheckStatus`: the last observation of every Region's checkers, stale ones included.
    ///
    /// # Errors
    /// `Throttling`, `NoSuchHealthCheck`, and `InvalidInput` for a CALCULATED check [bc].
    pub fn get_health_check_status(&mut self, now: SimTime, id: &str) -> Result<Vec<Observation>, ApiFault> {
        self.admit(now)?;
        let check = self.checks.get(id).ok_or_else(|| no_such_health_check(id))?;
        match check.config.check_type {
            CheckType::Calculated => {
                Err(invalid_input("Invalid parameter : the status of a CALCULATED health check cannot be read"))
            }
            CheckType::CloudwatchMetric | CheckType::RecoveryControl => {
                Ok(check.looked_at.map(|at| single(check, at)).into_iter().collect())
            }
            _ => Ok(check.checkers.iter().filter_map(|c| c.seen.clone()).collect()),
        }
    }

    /// Lets every checker look that is due, then takes the votes.
    pub(super) fn run_checks(
        &mut self,
        ctx: &mut Context<'_>,
        targets: &dyn Targets,
        metrics: &dyn MetricStream,
        controls: &arc::Arc,
    ) {
        let due: Vec<String> = self
            .checks
            .values()
            .filter(|c| c.next_look().is_some_and(|at| at <= ctx.now))
            .map(|c| c.id.clone())
            .collect();
        for id in due {
            let status = self.checks.get(&id).and_then(|c| self.meets(c, ctx.now, targets));
            let Some(check) = self.checks.get_mut(&id) else {
                continue;
            };
            match check.config.check_type {
                CheckType::RecoveryControl => look_at_control(check, ctx.now, controls),
                CheckType::CloudwatchMetric => look_at_stream(check, ctx, metrics),
                CheckType::Calculated => {}
                _ => probe(check, ctx, status),
            }
        }
    }

    /// What a checker meets now; `None` is a name that does not resolve.
    fn meets(&self, check: &HealthCheck, now: SimTime, targets: &dyn Targets) -> Option<EndpointStatus> {
        let config = &check.config;
        if !config.check_type.has_endpoint() {
            return None;
        }
        if let (None, Some(host)) = (config.ip_address, &config.fully_qualified_domain_name) {
            let path = config.resource_path.as_deref().unwrap_or("/");
            if let Some(status) = targets.site(host, path) {
                return Some(status);
            }
        }
        self.endpoint(check, now).map(|address| targets.at(address))
    }

    /// The address to call: the one configured, else that of the name in our zones as anyone sees them.
    fn endpoint(&self, check: &HealthCheck, now: SimTime) -> Option<Ipv4Addr> {
        if let Some(address) = check.config.ip_address {
            return Some(address);
        }
        let name = check.config.fully_qualified_domain_name.as_deref()?;
        let lookup = self.lookup(super::View::Public, now, &name.parse().ok()?, RrType::A);
        let super::Lookup::Found(found) = lookup else {
            return None;
        };
        found.last()?.2.values.first()?.parse().ok()
    }

    /// Lets what was found travel to the name servers.
    pub(super) fn propagate_status(&mut self, ctx: &mut Context<'_>) {
        self.review_due = None;
        let found: Vec<(String, bool)> =
            self.checks.keys().filter_map(|id| Some((id.clone(), self.is_found_healthy(id)?))).collect();
        for (id, found) in found {
            let Some(check) = self.checks.get_mut(&id) else {
                continue;
            };
            if let Some((_, healthy)) = check.flip.take_if(|(at, _)| *at <= ctx.now) {
                check.served_healthy = healthy;
                let word = if healthy { "healthy" } else { "unhealthy" };
                super::event(ctx, "route53.health", format!("health check {id} is {word} in DNS"));
            }
            let heading = check.flip.map_or(check.served_healthy, |(_, healthy)| healthy);
            if found == check.served_healthy {
                check.flip = None;
            } else if found != heading || check.flip.is_none() {
                let at = ctx.now.plus_ms(timings::draw(ctx.rng, Name::HealthStatusPropagation));
                check.flip = Some((at, found));
            }
        }
    }

    pub(super) fn emit_metrics(&mut self, now: SimTime) -> Vec<HealthMetric> {
        let Some(due) = self.metrics_due.filter(|due| *due <= now) else {
            return Vec::new();
        };
        self.metrics_due = Some(due.plus_ms(METRICS_EVERY_MS).max(now.plus_ms(1)));
        let mut out = Vec::new();
        for check in self.checks.values() {
            let status = self.is_found_healthy(&check.id) == Some(true);
            out.push(HealthMetric {
                metric: "HealthCheckStatus",
                health_check_id: check.id.clone(),
                value: if status { 1.0 } else { 0.0 },
            });
            let healthy = check.checkers.iter().filter(|c| c.healthy).count();
            if !check.checkers.is_empty() && !check.config.disabled {
                #[expect(clippy::cast_precision_loss, reason = "at most eight checkers")]
                let value = healthy as f64 * 100.0 / check.checkers.len() as f64;
                out.push(HealthMetric {
                    metric: "HealthCheckPercentageHealthy",
                    health_check_id: check.id.clone(),
                    value,
                });
            }
        }
        out
    }
}

fn single(check: &HealthCheck, checked_at: SimTime) -> Observation {
    let word = if check.found_healthy { "Success" } else { "Failure" };
    Observation {
        region: region(CHECKER_REGIONS[0]),
        checker: Ipv4Addr::new(203, 0, 113, 1),
        checked_at,
        status: format!("{word}: {}", check.config.check_type.as_str()),
    }
}

fn probe(check: &mut HealthCheck, ctx: &Context<'_>, status: Option<EndpointStatus>) {
    let interval_ms = check.interval_ms();
    for checker in check.checkers.iter_mut().filter(|c| c.due <= ctx.now) {
        if works(ctx.planes, &checker.region) {
            checker.run(ctx.now, &check.config, status);
        } else {
            checker.waiting_since = None;
            checker.due = ctx.now.plus_ms(interval_ms);
        }
    }
    let (healthy, voting) = check.votes(ctx.planes);
    if 0 < voting {
        check.found_healthy = HEALTHY_SHARE_PERCENT * voting < 100 * healthy;
    }
}

/// A control that is not known keeps the last status: unknown is never a change.
fn look_at_control(check: &mut HealthCheck, now: SimTime, controls: &arc::Arc) {
    let arn = check.config.routing_control_arn.as_deref();
    if let Some(on) = arn.and_then(|arn| controls.is_on(arn, now)) {
        check.found_healthy = on;
        check.looked_at = Some(now);
    }
    check.due = Some(now.plus_ms(RECOVERY_CONTROL_EVERY_MS));
}

fn look_at_stream(check: &mut HealthCheck, ctx: &Context<'_>, metrics: &dyn MetricStream) {
    let state = match &check.config.alarm {
        Some(alarm) if ctx.planes.reach(Plane::CloudWatch, &alarm.region) == Reach::Up => {
            metrics.latest(&alarm.region, alarm, ctx.now)
        }
        _ => StreamState::Insufficient,
    };
    check.found_healthy = match (state, check.config.insufficient_data) {
        (StreamState::Ok, _) => true,
        (StreamState::Alarm, _) => false,
        (StreamState::Insufficient, Some(InsufficientData::Healthy)) => true,
        (StreamState::Insufficient, Some(InsufficientData::Unhealthy)) => false,
        (StreamState::Insufficient, Some(InsufficientData::LastKnownStatus) | None) => check.found_healthy,
    };
    check.looked_at = Some(ctx.now);
    check.due = Some(ctx.now.plus_ms(METRIC_STREAM_EVERY_MS));
}

pub(super) fn no_such_health_check(id: &str) -> ApiFault {
    fault(404, "NoSuchHealthCheck", format!("A health check with id {id} does not exist."))
}

pub(super) fn draw_uuid(rng: &mut ChaCha12Rng) -> String {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid().to_string()
}

/// A Region from a name in this source.
pub(super) fn region(name: &str) -> Region {
    name.parse().unwrap_or_else(|e| unreachable!("{e}"))
}
