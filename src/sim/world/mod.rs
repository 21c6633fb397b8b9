//! A pure model of several AWS Regions: seeded, in virtual time, with no I/O.
//!
//! Invariant: the same seed, topology and sequence of calls give the same history, byte for byte. Time moves
//! only through [`World::advance_to`]; every duration is drawn from the world's own generator.
//!
//! It deliberately knows nothing of the engine, its ports or its journal: an oracle that shares code with
//! what it judges sees nothing.

pub mod arc;
pub mod aurora;
pub mod canaries;
pub mod clients;
pub mod cloudwatch;
pub mod health_page;
pub mod planes;
pub mod route53;
pub mod s3;
pub mod scenario;
pub mod services;
pub mod sns;
pub mod timings;

use std::collections::BTreeMap;

use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

use crate::domain::id::Region;

pub use planes::{Plane, Planes, Reach};

/// Milliseconds since the Unix epoch, in world time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SimTime(pub u64);

impl SimTime {
    /// `self` plus `ms` milliseconds.
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to `self`; zero where `earlier` is later.
    pub fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// An AWS API error as a client sees it: the wire code, its HTTP status, and the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiFault {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
}

/// What parts of the world share while time passes: the generator, which planes are up, and the log.
pub struct Context<'a> {
    pub now: SimTime,
    pub rng: &'a mut ChaCha12Rng,
    pub planes: &'a Planes,
    pub log: &'a mut Vec<WorldEvent>,
}

/// One thing that happened, for people, the demo's timeline and the oracle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorldEvent {
    pub at: SimTime,
    /// A stable machine-readable kind, such as `aurora.promoted`.
    pub kind: &'static str,
    pub text: String,
}

/// What is on its way into the world and arrives at a later time.
type Arrival = Box<dyn FnOnce(&mut World) + Send>;

/// The whole simulated AWS.
///
/// Parts never call each other directly. `advance_to` repeatedly finds the earliest `next_due` of all parts,
/// moves `now` there, and runs that part with what it needs of the others as arguments.
pub struct World {
    pub now: SimTime,
    pub rng: ChaCha12Rng,
    pub planes: Planes,
    pub aurora: aurora::Aurora,
    pub cloudwatch: cloudwatch::CloudWatch,
    pub route53: route53::Route53,
    pub arc: arc::Arc,
    pub sns: sns::Sns,
    pub s3: s3::S3,
    pub services: services::Services,
    /// The application's servers, one address per Region.
    pub endpoints: clients::Endpoints,
    pub canaries: canaries::Canaries,
    pub clients: clients::Clients,
    pub log: Vec<WorldEvent>,
    arrivals: BTreeMap<(SimTime, u64), Arrival>,
    arrivals_scheduled: u64,
}

impl World {
    /// Commits one row of a heartbeat in the Region of the cluster `arn`.
    ///
    /// # Errors
    /// Why the cluster did not take it.
    pub fn beat(&mut self, arn: &str) -> Result<aurora::Commit, aurora::WriteRefused> {
        let ctx = Context { now: self.now, rng: &mut self.rng, planes: &self.planes, log: &mut self.log };
        self.aurora.beat(arn, &ctx)
    }

    /// Ends every session of the application on the cluster `arn`. Whoever is let in connects anew.
    pub fn end_sessions(&mut self, arn: &str) {
        self.clients.end_sessions(arn);
        let text = format!("the sessions on {arn} are ended");
        self.log.push(WorldEvent { at: self.now, kind: "database.sessions_ended", text });
    }

    /// An empty world at `start`; `sim::scenario` (or a test) fills it.
    pub fn new(seed: u64, start: SimTime) -> Self {
        Self {
            now: start,
            rng: ChaCha12Rng::seed_from_u64(seed),
            planes: Planes::default(),
            aurora: aurora::Aurora::default(),
            cloudwatch: cloudwatch::CloudWatch::default(),
            route53: route53::Route53::default(),
            arc: arc::Arc::default(),
            sns: sns::Sns::default(),
            s3: s3::S3::default(),
            services: services::Services::default(),
            endpoints: clients::Endpoints::default(),
            canaries: canaries::Canaries::default(),
            clients: clients::Clients::default(),
            log: Vec::new(),
            arrivals: BTreeMap::new(),
            arrivals_scheduled: 0,
        }
    }

    /// When something happens next of its own accord; `None` where nothing ever will.
    pub fn next_due(&self) -> Option<SimTime> {
        [
            self.aurora.next_due(),
            self.arc.next_due(),
            self.canaries.next_due(),
            self.cloudwatch.next_due(),
            self.route53.next_due(),
            self.sns.next_due(),
            self.clients.next_due(),
            self.arrivals.keys().next().map(|(at, _)| *at),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Lets time pass until `t`: everything due by then happens, in order of its time. A `t` in the past
    /// changes nothing.
    ///
    /// # Panics
    /// Where a part stays due at one instant for ever, which is a defect of that part.
    pub fn advance_to(&mut self, t: SimTime) {
        let mut passes = 0;
        while let Some(due) = self.next_due().filter(|due| *due <= t) {
            // A part may be due in the past where a call just scheduled it: time never goes back.
            let instant = due.max(self.now);
            passes = if instant == self.now { passes + 1 } else { 0 };
            assert!(passes < PASSES_PER_INSTANT_MAX, "a part of the world never finishes at {instant:?}");
            self.now = instant;
            self.run_due();
        }
        self.now = self.now.max(t);
    }

    /// Runs every part that is due now. The order is part of the history: data first, then what watches it,
    /// then DNS, then the clients, who see all of it.
    fn run_due(&mut self) {
        let now = self.now;
        let is_due = |due: Option<SimTime>| due.is_some_and(|due| due <= now);
        let mut ctx = Context { now, rng: &mut self.rng, planes: &self.planes, log: &mut self.log };
        if is_due(self.aurora.next_due()) {
            self.aurora.run_due(&mut ctx, &mut self.cloudwatch);
        }
        if is_due(self.arc.next_due()) {
            self.arc.run_due(&mut ctx);
        }
        if is_due(self.canaries.next_due()) {
            self.canaries.run_due(&mut ctx, &self.endpoints, &mut self.cloudwatch);
        }
        if is_due(self.cloudwatch.next_due()) {
            self.cloudwatch.run_due(&mut ctx);
        }
        if is_due(self.route53.next_due()) {
            run_route53(&mut self.route53, (&self.endpoints, &self.s3), &mut self.cloudwatch, &self.arc, &mut ctx);
        }
        if is_due(self.sns.next_due()) {
            self.sns.run_due(&mut ctx);
        }
        if is_due(self.clients.next_due()) {
            let ec2 = &self.services.ec2;
            self.clients.run_due(&mut ctx, &mut self.aurora, &self.route53, &self.endpoints, ec2);
        }
        while let Some(arrival) = self.arrivals.first_entry()
            && arrival.key().0 <= now
        {
            let arrive = arrival.remove();
            arrive(self);
        }
    }

    /// Lets `arrive` happen at `at`: a call that is on its way for long. It comes whoever lets time pass until then,
    /// also where its sender is long dead; of one instant, it comes after what the world does by itself.
    pub fn later(&mut self, at: SimTime, arrive: impl FnOnce(&mut Self) + Send + 'static) {
        self.arrivals_scheduled += 1;
        self.arrivals.insert((at, self.arrivals_scheduled), Box::new(arrive));
    }

    /// Calls Aurora as it is now, as an API request or a fault injection does.
    pub fn with_aurora<R>(&mut self, call: impl FnOnce(&mut aurora::Aurora, &mut Context<'_>) -> R) -> R {
        let mut ctx = Context { now: self.now, rng: &mut self.rng, planes: &self.planes, log: &mut self.log };
        call(&mut self.aurora, &mut ctx)
    }

    /// Loses `region` whole: its network, databases, applications and every API in it.
    pub fn lose_region(&mut self, region: &Region) {
        self.change_planes("region.lost", &format!("{region} is lost"), |planes| {
            planes.lose_region(region);
        });
    }

    /// Cuts `region` off: everything in it goes on working, and nothing crosses its border.
    pub fn partition_region(&mut self, region: &Region) {
        let text = format!("{region} is cut off from the rest and goes on working inside");
        self.change_planes("region.partitioned", &text, |planes| {
            planes.set(Plane::Network, region, Reach::Hangs);
        });
    }

    /// Brings everything in `region` back.
    pub fn restore_region(&mut self, region: &Region) {
        self.change_planes("region.restored", &format!("{region} is back"), |planes| {
            planes.restore_region(region);
        });
    }

    /// Sets how one plane of `region` behaves from now on.
    pub fn set_plane(&mut self, plane: Plane, region: &Region, reach: Reach) {
        let text = format!("{plane:?} in {region}: {reach:?}");
        self.change_planes("plane.changed", &text, |planes| {
            planes.set(plane, region, reach);
        });
    }

    /// Breaks planes of `region` until [`Self::lift`] with the same planes; what else breaks them stays.
    pub fn press(&mut self, region: &Region, planes: &[(Plane, Reach)], event: (&'static str, &str)) {
        self.change_planes(event.0, event.1, |all| {
            for (plane, reach) in planes {
                all.press(*plane, region, *reach);
            }
        });
    }

    /// Ends a [`Self::press`].
    pub fn lift(&mut self, region: &Region, planes: &[(Plane, Reach)], event: (&'static str, &str)) {
        self.change_planes(event.0, event.1, |all| {
            for (plane, reach) in planes {
                all.lift(*plane, region, *reach);
            }
        });
    }

    /// Replication is brought up to now first, under the old planes: what had already crossed has crossed.
    fn change_planes(&mut self, kind: &'static str, text: &str, change: impl FnOnce(&mut Planes)) {
        self.aurora.replicate(self.now, &self.planes);
        change(&mut self.planes);
        self.log.push(WorldEvent { at: self.now, kind, text: text.to_owned() });
    }

    /// What the application's server at `address` answers to `GET /healthz`; `None` where it does not answer.
    pub fn application_answer(&self, address: std::net::Ipv4Addr) -> Option<clients::ApplicationAnswer> {
        self.endpoints.answer(address, &self.aurora, &self.planes)
    }
}

/// What Route 53's health checkers can call.
struct Targets<'a> {
    servers: &'a clients::Endpoints,
    s3: &'a s3::S3,
    planes: &'a Planes,
}

impl route53::health::Targets for Targets<'_> {
    fn at(&self, address: std::net::Ipv4Addr) -> route53::health::EndpointStatus {
        use clients::EndpointStatus as Seen;
        use route53::health::EndpointStatus;
        match self.servers.endpoint_status(address, self.planes) {
            Seen::Healthy => EndpointStatus::Healthy,
            Seen::Unhealthy => EndpointStatus::Unhealthy,
            Seen::NoAnswer => EndpointStatus::NoAnswer,
        }
    }

    fn site(&self, host: &str, path: &str) -> Option<route53::health::EndpointStatus> {
        use route53::health::EndpointStatus;
        Some(match self.s3.read_publicly(host, path, self.planes)? {
            s3::PublicRead::Found => EndpointStatus::Healthy,
            s3::PublicRead::Missing => EndpointStatus::Missing,
            s3::PublicRead::Unavailable => EndpointStatus::Unhealthy,
            s3::PublicRead::NoAnswer => EndpointStatus::NoAnswer,
        })
    }
}

/// Route 53 sees the endpoints and the alarms' data, and its own metrics go to CloudWatch of its home. [R53DG]
fn run_route53(
    route53: &mut route53::Route53,
    (servers, s3): (&clients::Endpoints, &s3::S3),
    cloudwatch: &mut cloudwatch::CloudWatch,
    arc: &arc::Arc,
    ctx: &mut Context<'_>,
) {
    let targets = Targets { servers, s3, planes: ctx.planes };
    for metric in route53.run_due(ctx, &targets, cloudwatch, arc) {
        let dimensions = [("HealthCheckId", metric.health_check_id.as_str())];
        let (home, at) = (route53::home(), ctx.now);
        let (name, value) = (metric.metric, metric.value);
        cloudwatch.record(&home, "AWS/Route53", name, &dimensions, at, value, ctx);
    }
}

/// Passes over one instant after which a part is taken to be broken.
const PASSES_PER_INSTANT_MAX: u32 = 100_000;

/// An instant of world time as RFC 3339, UTC.
pub fn rfc3339(at: SimTime) -> String {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX).to_string()
}
