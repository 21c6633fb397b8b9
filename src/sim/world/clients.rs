//! The application's servers, its clients, and the account of what they got: the oracle of data loss and outage.
//!
//! Invariant: a write is in the account only if the writer committed it, and a second counts as failed if any
//! client outside was failing in it. A failed request is known at once: the time that a hanging one would
//! waste until its timeout is not modelled.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use super::{
    Context, Plane, Planes, Reach, SimTime,
    aurora::Aurora,
    health_page::HealthPage,
    rfc3339,
    route53::{Route53, resolver::Resolver},
    services::ec2::Ec2,
};
use crate::domain::id::Region;

/// The application's servers in one Region, behind one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub name: String,
    pub region: Region,
    pub address: Ipv4Addr,
    /// ARN of the database cluster that they use: the one of their own Region.
    pub db_cluster: String,
    /// They write to the present writer wherever it is, and read what is written there; else only to `db_cluster`.
    pub follows_writer: bool,
}

/// How an endpoint looks to somebody outside its Region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointStatus {
    Healthy,
    /// Answers, with an error.
    Unhealthy,
    NoAnswer,
}

/// What `GET /healthz` answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationAnswer {
    pub status: u16,
    /// JSON.
    pub body: String,
}

/// All endpoints, by address.
#[derive(Debug, Default)]
pub struct Endpoints {
    by_address: BTreeMap<Ipv4Addr, Endpoint>,
    pub health_page: HealthPage,
    /// Regions whose servers answer with errors by a fault of their own, whatever else stands.
    pub faulty: BTreeSet<Region>,
    /// Regions whose servers fail while those of another Region do, though nobody has said that they need them.
    pub dependent: BTreeSet<Region>,
}

impl Endpoints {
    /// Adds the servers of one Region.
    pub fn add(&mut self, endpoint: Endpoint) {
        self.by_address.insert(endpoint.address, endpoint);
    }

    /// Every endpoint, by address.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.by_address.values()
    }

    /// The endpoint at `address`.
    pub fn at(&self, address: Ipv4Addr) -> Option<&Endpoint> {
        self.by_address.get(&address)
    }

    /// Whether the servers of `region` answer with errors, though they run.
    fn fails(&self, region: &Region, planes: &Planes) -> bool {
        let is_ill =
            |other: &Region| self.faulty.contains(other) || planes.reach(Plane::Application, other) != Reach::Up;
        self.faulty.contains(region)
            || self.dependent.contains(region) && self.iter().any(|e| e.region != *region && is_ill(&e.region))
    }

    /// How the endpoint at `address` looks from outside; nothing answers at an unknown address.
    pub fn endpoint_status(&self, address: Ipv4Addr, planes: &Planes) -> EndpointStatus {
        let Some(endpoint) = self.at(address) else {
            return EndpointStatus::NoAnswer;
        };
        match planes.reach(Plane::Application, &endpoint.region) {
            Reach::Up if self.fails(&endpoint.region, planes) => EndpointStatus::Unhealthy,
            Reach::Up => EndpointStatus::Healthy,
            Reach::Hangs => EndpointStatus::NoAnswer,
            Reach::Unavailable | Reach::Throttles | Reach::DeniesAccess => EndpointStatus::Unhealthy,
        }
    }

    /// What the endpoint at `address` answers on its health page, as its own database cluster sees the data;
    /// `None` where it does not answer.
    pub fn answer(&self, address: Ipv4Addr, aurora: &Aurora, planes: &Planes) -> Option<ApplicationAnswer> {
        let endpoint = self.at(address)?;
        let status = match self.endpoint_status(address, planes) {
            EndpointStatus::NoAnswer => return None,
            EndpointStatus::Unhealthy => 503,
            EndpointStatus::Healthy => 200,
        };
        let cluster = aurora.cluster(&endpoint.db_cluster).filter(|cluster| cluster.is_up(planes));
        let last_write_at =
            cluster.and_then(|cluster| cluster.last_commit()).map(|commit| rfc3339(commit.acknowledged_at));
        let mut body = serde_json::json!({
            "region": endpoint.region.as_str(),
            // Null where the database cannot be asked: unknown is not false.
            "writer": cluster.map(|cluster| cluster.takes_writes(planes)),
            "writes": cluster.map(|cluster| cluster.commits().len()),
        });
        // Null where it is not known, as above.
        self.health_page.show(&mut body, &serde_json::json!(last_write_at));
        Some(ApplicationAnswer { status, body: body.to_string() })
    }
}

/// A write that was acknowledged to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// The commit's id.
    pub id: u64,
    pub at: SimTime,
    pub client: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Write,
    Read,
}

#[derive(Debug)]
struct Client {
    resolver: Resolver,
    /// Set for one that lives in a Region and talks to its servers there, whatever crosses the border.
    inside: Option<Region>,
    next_write: SimTime,
    next_read: SimTime,
    /// Since when writes and reads fail.
    failing: [Option<SimTime>; 2],
    /// The newest commit that it has read.
    seen: u64,
    /// The cluster on which the servers hold a session for it, which no change of rules ends.
    session: Option<String>,
}

/// What clients got until now. Times of failure are those of clients outside.
#[derive(Debug, Clone, PartialEq)]
pub struct Ledger {
    pub writes_acknowledged: u64,
    /// Acknowledged, and absent from the present writer's log.
    pub writes_lost: u64,
    /// From the last surviving commit before the first lost one to the last lost one.
    pub loss_window_seconds: f64,
    pub failed_seconds: f64,
    pub first_failure_at: Option<SimTime>,
    pub last_failure_at: Option<SimTime>,
    /// Since when every client is served again; `None` where none ever failed, or one still does.
    pub served_again_at: Option<SimTime>,
    /// Reads that showed less than the same client had read before.
    pub reads_backwards: u64,
}

/// Milliseconds between two writes of one client.
pub const WRITE_EVERY_MS: u64 = 250;
/// Milliseconds between two reads of one client.
pub const READ_EVERY_MS: u64 = 500;

/// The application's clients.
#[derive(Debug, Default)]
pub struct Clients {
    public_name: String,
    /// Where clients go whatever DNS says: hard-coded addresses, or a world without DNS.
    pinned: Option<Ipv4Addr>,
    clients: Vec<Client>,
    /// The id of the global cluster that holds the application's data.
    global: String,
    acknowledged: Vec<Acknowledged>,
    /// Ended intervals of failure of clients outside.
    failures: Vec<(SimTime, SimTime)>,
    last_failure_at: Option<SimTime>,
    reads_backwards: u64,
    /// ARN of the cluster that acknowledged last to a client outside.
    served_by: Option<String>,
    now: SimTime,
}

impl Clients {
    /// Starts `count` clients outside all Regions, which reach `public_name` through DNS, each with its own
    /// resolver; they write every 250 ms and read every 500 ms, spread evenly.
    pub fn start(&mut self, count: usize, public_name: &str, global: &str, now: SimTime) {
        public_name.clone_into(&mut self.public_name);
        global.clone_into(&mut self.global);
        self.now = now;
        for _ in 0..count {
            self.add(None, now);
        }
    }

    /// Adds a client inside `region` that talks to the servers there: it is what a deposed writer still serves.
    /// Its failures do not count as an outage.
    pub fn add_inside(&mut self, region: &Region, now: SimTime) {
        self.add(Some(region.clone()), now);
    }

    fn add(&mut self, inside: Option<Region>, now: SimTime) {
        // 61 ms is no divisor of the periods: clients do not all write in one instant.
        let offset = 61 * (self.clients.len() as u64 + 1) % WRITE_EVERY_MS;
        self.clients.push(Client {
            resolver: Resolver::default(),
            inside,
            next_write: now.plus_ms(offset),
            next_read: now.plus_ms(offset + 17),
            failing: [None, None],
            seen: 0,
            session: None,
        });
    }

    /// Sends every client outside to `address`, whatever DNS says; `None` asks DNS again.
    pub fn pin(&mut self, address: Option<Ipv4Addr>) {
        self.pinned = address;
    }

    /// Lets the resolvers of all clients keep answers so many seconds whatever their TTL; `None` ends it.
    pub fn ignore_ttl(&mut self, seconds: Option<u32>) {
        for client in &mut self.clients {
            client.resolver.ignore_ttl(seconds);
        }
    }

    /// How often a client was sent to an address that its TTL no longer allowed.
    pub fn overdue_answers(&self) -> u64 {
        self.clients.iter().map(|client| client.resolver.overdue()).sum()
    }

    /// Every acknowledged write, oldest first.
    pub fn acknowledged(&self) -> &[Acknowledged] {
        &self.acknowledged
    }

    /// When the next request is sent.
    pub fn next_due(&self) -> Option<SimTime> {
        self.clients.iter().map(|client| client.next_write.min(client.next_read)).min()
    }

    /// Sends every request that is due.
    pub fn run_due(
        &mut self,
        ctx: &mut Context<'_>,
        aurora: &mut Aurora,
        route53: &Route53,
        endpoints: &Endpoints,
        ec2: &Ec2,
    ) {
        self.now = ctx.now;
        for index in 0..self.clients.len() {
            if self.clients[index].next_write <= ctx.now {
                self.clients[index].next_write = ctx.now.plus_ms(WRITE_EVERY_MS);
                self.request(index, Request::Write, ctx, aurora, route53, (endpoints, ec2));
            }
            if self.clients[index].next_read <= ctx.now {
                self.clients[index].next_read = ctx.now.plus_ms(READ_EVERY_MS);
                self.request(index, Request::Read, ctx, aurora, route53, (endpoints, ec2));
            }
        }
    }

    fn request(
        &mut self,
        index: usize,
        request: Request,
        ctx: &mut Context<'_>,
        aurora: &mut Aurora,
        route53: &Route53,
        (endpoints, ec2): (&Endpoints, &Ec2),
    ) {
        let cluster = self.reach(index, ctx, route53, endpoints).and_then(|e| self.database(e, ctx, aurora));
        let served = cluster.is_some_and(|cluster| {
            let is_up = aurora.cluster(&cluster).is_some_and(|c| c.is_up(ctx.planes));
            self.connect(index, &cluster, is_up, ec2)
                && match request {
                    Request::Write => self.write(index, &cluster, ctx, aurora),
                    Request::Read => self.read(index, &cluster, ctx, aurora),
                }
        });
        self.account(index, request, served, ctx);
    }

    /// The database cluster that servers use: that of their own Region, or the present writer where they reach it.
    fn database(&self, servers: &Endpoint, ctx: &Context<'_>, aurora: &Aurora) -> Option<String> {
        if !servers.follows_writer {
            return Some(servers.db_cluster.clone());
        }
        let writer = aurora.writer_of(&self.global)?;
        let region = writer.arn.split(':').nth(3)?.parse::<Region>().ok()?;
        let reached = region == servers.region
            || [&region, &servers.region].iter().all(|r| ctx.planes.reach(Plane::Network, r) == Reach::Up);
        reached.then(|| writer.arn.clone())
    }

    /// The servers that the client reaches.
    fn reach<'a>(
        &mut self,
        index: usize,
        ctx: &Context<'_>,
        route53: &Route53,
        endpoints: &'a Endpoints,
    ) -> Option<&'a Endpoint> {
        let client = &mut self.clients[index];
        let endpoint = match &client.inside {
            Some(region) => {
                let local = endpoints.iter().find(|e| e.region == *region)?;
                let works = ctx.planes.works_inside(Plane::Application, region) && !endpoints.fails(region, ctx.planes);
                works.then_some(local)?
            }
            None => {
                let address = match self.pinned {
                    Some(address) => address,
                    None => client.resolver.lookup(route53, ctx.now, &self.public_name)?,
                };
                let healthy = endpoints.endpoint_status(address, ctx.planes);
                (healthy == EndpointStatus::Healthy).then(|| endpoints.at(address)).flatten()?
            }
        };
        Some(endpoint)
    }

    /// Whether there is a session on `cluster`: the one that stands, else a new one, which the rules must let in.
    fn connect(&mut self, index: usize, cluster: &str, is_up: bool, ec2: &Ec2) -> bool {
        let session = &mut self.clients[index].session;
        if !is_up {
            *session = None;
        } else if session.as_deref() != Some(cluster) {
            *session = ec2.admits(cluster).then(|| cluster.to_owned());
        }
        session.is_some()
    }

    /// How many sessions its clients have on the cluster `arn`.
    pub fn sessions(&self, arn: &str) -> u64 {
        self.clients.iter().filter(|client| client.session.as_deref() == Some(arn)).count() as u64
    }

    /// Ends them.
    pub(super) fn end_sessions(&mut self, arn: &str) {
        for client in self.clients.iter_mut().filter(|client| client.session.as_deref() == Some(arn)) {
            client.session = None;
        }
    }

    fn write(&mut self, index: usize, cluster: &str, ctx: &Context<'_>, aurora: &mut Aurora) -> bool {
        let Ok(commit) = aurora.write(cluster, ctx) else {
            return false;
        };
        self.acknowledged.push(Acknowledged { id: commit.id, at: commit.acknowledged_at, client: index });
        if self.clients[index].inside.is_none() {
            self.served_by = Some(cluster.to_owned());
        }
        true
    }

    fn read(&mut self, index: usize, cluster: &str, ctx: &Context<'_>, aurora: &mut Aurora) -> bool {
        aurora.replicate(ctx.now, ctx.planes);
        let Some(cluster) = aurora.cluster(cluster).filter(|c| c.is_up(ctx.planes)) else {
            return false;
        };
        let newest = cluster.last_commit().map_or(0, |commit| commit.id);
        let client = &mut self.clients[index];
        if newest < client.seen {
            self.reads_backwards += 1;
        }
        client.seen = newest;
        true
    }

    fn account(&mut self, index: usize, request: Request, served: bool, ctx: &mut Context<'_>) {
        let client = &mut self.clients[index];
        if client.inside.is_some() {
            return;
        }
        let failing = &mut client.failing[request as usize];
        if served {
            if let Some(since) = failing.take() {
                self.failures.push((since, ctx.now));
                if self.failing_since().is_none() {
                    tell(ctx, "clients.served", "every client is served again");
                }
            }
        } else {
            self.last_failure_at = Some(ctx.now);
            if failing.is_none() {
                *failing = Some(ctx.now);
                if self.failures.is_empty() && self.failing_count() == 1 {
                    tell(ctx, "clients.failing", "the first client's request failed");
                }
            }
        }
    }

    fn failing_count(&self) -> usize {
        self.clients.iter().flat_map(|client| client.failing).flatten().count()
    }

    /// Since when at least one client outside is failing.
    pub fn failing_since(&self) -> Option<SimTime> {
        self.clients.iter().flat_map(|client| client.failing).flatten().min()
    }

    /// The account until now, held against the present writer's log.
    pub fn ledger(&self, aurora: &Aurora) -> Ledger {
        let survivors: BTreeSet<u64> = self
            .present_writer(aurora)
            .and_then(|arn| aurora.cluster(&arn))
            .map(|writer| writer.commits().iter().map(|commit| commit.id).collect())
            .unwrap_or_default();
        let lost: Vec<&Acknowledged> =
            self.acknowledged.iter().filter(|write| !survivors.contains(&write.id)).collect();
        let intervals = self.failed_intervals();
        let failed_ms: u64 = intervals.iter().map(|(from, to)| to.since_ms(*from)).sum();
        Ledger {
            writes_acknowledged: self.acknowledged.len() as u64,
            writes_lost: lost.len() as u64,
            loss_window_seconds: seconds(self.loss_window_ms(&lost, &survivors)),
            failed_seconds: seconds(failed_ms),
            first_failure_at: intervals.first().map(|(from, _)| *from),
            last_failure_at: self.last_failure_at,
            served_again_at: intervals.last().map(|(_, to)| *to).filter(|_| self.failing_since().is_none()),
            reads_backwards: self.reads_backwards,
        }
    }

    /// The global cluster's writer; a detached cluster where clients were served by it last.
    fn present_writer(&self, aurora: &Aurora) -> Option<String> {
        let detached = self.served_by.as_deref().filter(|arn| aurora.cluster(arn).is_some_and(|c| c.global.is_none()));
        detached.map(str::to_owned).or_else(|| aurora.writer_of(&self.global).map(|writer| writer.arn.clone()))
    }

    fn loss_window_ms(&self, lost: &[&Acknowledged], survivors: &BTreeSet<u64>) -> u64 {
        let (Some(first), Some(last)) = (lost.first(), lost.last()) else {
            return 0;
        };
        let surviving = self
            .acknowledged
            .iter()
            .take_while(|write| write.at <= first.at)
            .filter(|write| survivors.contains(&write.id))
            .last();
        last.at.since_ms(surviving.map_or(first.at, |write| write.at))
    }

    /// Times with a failing client outside, merged, oldest first; what still fails ends now.
    fn failed_intervals(&self) -> Vec<(SimTime, SimTime)> {
        let still = self.clients.iter().flat_map(|client| client.failing);
        let mut all: Vec<(SimTime, SimTime)> = self.failures.clone();
        all.extend(still.flatten().map(|since| (since, self.now)));
        all.sort_unstable();
        let mut merged: Vec<(SimTime, SimTime)> = Vec::new();
        for (from, to) in all {
            match merged.last_mut() {
                Some((_, end)) if from <= *end => *end = (*end).max(to),
                _ => merged.push((from, to)),
            }
        }
        merged
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

fn tell(ctx: &mut Context<'_>, kind: &'static str, text: &str) {
    ctx.log.push(super::WorldEvent { at: ctx.now, kind, text: text.to_owned() });
}
