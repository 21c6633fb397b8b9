//! The world as AWS endpoints over HTTP, so that the real SDKs, boto3 and the aws command line talk to it.
//!
//! Deliberately shares nothing with `adapters`: what both could get wrong together would never be found.
//! Time comes from outside: every call first lets the world advance to what the given clock says.

pub mod arc;
mod call;
mod cloudwatch;
mod control;
pub mod dns;
mod ec2;
mod encode;
pub mod endpoints;
pub mod faults;
mod http;
mod iam;
pub mod rds;
pub mod route53;
mod s3;
mod services;
mod sns;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub use faults::{Barrier, Barriers, Fault, Faults, Point, Release, Target};
pub use http::{Recorded, RequestLog};

use super::world::{ApiFault, SimTime, World};

/// How often the world is advanced while nobody calls, in wall time.
const TICK: Duration = Duration::from_millis(50);

/// World time as something else tells it: a scaled wall clock, or a test's hand.
pub type Clock = Arc<dyn Fn() -> SimTime + Send + Sync>;

/// A clock that moves only when told to; clones share it.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: SimTime) -> Self {
        Self(Arc::new(AtomicU64::new(start.0)))
    }

    /// What it shows.
    pub fn now(&self) -> SimTime {
        SimTime(self.0.load(Ordering::SeqCst))
    }

    /// Moves it forward; the new time.
    pub fn advance_ms(&self, ms: u64) -> SimTime {
        SimTime(self.0.fetch_add(ms, Ordering::SeqCst) + ms)
    }
}

/// The world, shared by every face of it and kept up to date with a clock.
#[derive(Clone)]
pub struct SharedWorld {
    world: Arc<Mutex<World>>,
    clock: Clock,
}

impl SharedWorld {
    /// Puts `world` under `clock`.
    pub fn new(world: World, clock: Clock) -> Self {
        Self { world: Arc::new(Mutex::new(world)), clock }
    }

    /// Calls `f` with the world as it is now.
    pub fn with<R>(&self, f: impl FnOnce(&mut World) -> R) -> R {
        // A panic in an earlier call leaves a world that is wrong at worst, and a test that fails already.
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.advance_to((self.clock)());
        f(&mut world)
    }

    /// What the clock shows.
    pub fn now(&self) -> SimTime {
        (self.clock)()
    }
}

/// What [`start`] needs to know.
pub struct Options {
    pub world: World,
    pub clock: Clock,
    /// Given where `clock` is this one: `POST /_sim/advance` then moves it.
    pub manual: Option<ManualClock>,
    /// Where AWS listens; port 0 takes a free one.
    pub aws: SocketAddr,
    /// Where the authoritative name server listens (UDP and TCP).
    pub dns: SocketAddr,
    /// The port of the application's endpoints, the same on each of their addresses; 0 takes a free one.
    pub endpoints_port: u16,
    /// Refuse calls that were signed more than 5 minutes (S3: 15) away from the time that answers are dated by.
    pub enforce_signing_time: bool,
    /// What the answers are dated by, where that is not the world's time: for callers whose clock the world outruns.
    pub dates: Option<Clock>,
}

impl Options {
    /// Everything on loopback, on free ports, without checking signatures' times.
    pub fn loopback(world: World, clock: Clock) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            world,
            clock,
            manual: None,
            aws: any,
            dns: any,
            endpoints_port: 0,
            enforce_signing_time: false,
            dates: None,
        }
    }
}

/// The simulated AWS at work; dropping it stops it.
pub struct Running {
    /// The base URL for every AWS client.
    pub aws_url: String,
    pub aws_addr: SocketAddr,
    pub dns_addr: SocketAddr,
    pub endpoints_port: u16,
    pub world: SharedWorld,
    pub faults: Faults,
    pub barriers: Barriers,
    pub requests: Arc<RequestLog>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Running {
    /// Stops every listener and waits until they are gone.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        while self.tasks.join_next().await.is_some() {}
    }

    /// Runs until it is stopped from elsewhere through `token`.
    pub fn token(&self) -> CancellationToken {
        self.shutdown.clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Starts the whole simulated AWS: its APIs, its name server, the application's endpoints, and the passing of time.
///
/// # Errors
/// Where an address cannot be bound.
pub async fn start(options: Options) -> io::Result<Running> {
    let world = SharedWorld::new(options.world, options.clock);
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let listener = TcpListener::bind(options.aws).await?;
    let aws_addr = listener.local_addr()?;
    let endpoints = endpoints::bind(&world, options.endpoints_port).await?;
    let endpoints_port = endpoints.port();
    tasks.spawn(endpoints.serve(world.clone(), shutdown.clone()));
    let (udp, tcp) = bind_dns(options.dns).await?;
    let dns_addr = udp.local_addr()?;
    tasks.spawn(serve_dns((udp, tcp), world.clone(), shutdown.clone()));
    let server = http::Server {
        world: world.clone(),
        faults: Faults::default(),
        barriers: Barriers::default(),
        requests: Arc::default(),
        enforce_signing_time: options.enforce_signing_time,
        dates: options.dates,
        manual: options.manual,
        sequence: AtomicU64::default(),
    };
    let (faults, barriers, requests) = (server.faults.clone(), server.barriers.clone(), server.requests.clone());
    tasks.spawn(http::serve(listener, Arc::new(server), shutdown.clone()));
    tasks.spawn(tick(world.clone(), shutdown.clone()));
    Ok(Running {
        aws_url: format!("http://{aws_addr}"),
        aws_addr,
        dns_addr,
        endpoints_port,
        world,
        faults,
        barriers,
        requests,
        shutdown,
        tasks,
    })
}

/// UDP and TCP on one port; a port that is free for one may be taken for the other, so port 0 tries again.
async fn bind_dns(at: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    const ATTEMPTS: u32 = 20;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let udp = UdpSocket::bind(at).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if at.port() != 0 || attempt == ATTEMPTS => return Err(error),
            Err(_) => {}
        }
    }
}

async fn serve_dns((udp, tcp): (UdpSocket, TcpListener), world: SharedWorld, shutdown: CancellationToken) {
    let served = shutdown.run_until_cancelled(dns::serve(udp, tcp, world));
    if let Some(Err(error)) = served.await {
        tracing::error!(%error, "the simulated name server has ended");
    }
}

/// Serves only the AWS APIs of `world` on `listener`, until `shutdown`.
pub async fn serve(listener: TcpListener, world: SharedWorld, faults: Faults, shutdown: CancellationToken) {
    let server = http::Server {
        world,
        faults,
        barriers: Barriers::default(),
        requests: Arc::default(),
        enforce_signing_time: false,
        dates: None,
        manual: None,
        sequence: AtomicU64::default(),
    };
    http::serve(listener, Arc::new(server), shutdown).await;
}

async fn tick(world: SharedWorld, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        world.with(|_| ());
    }
}

/// Waits in wall time: what hangs or is delayed here does so on a real socket, for a real client.
#[expect(clippy::disallowed_methods, reason = "the wire face is the outside; no clock of the program's own applies")]
async fn wall_sleep(how_long: Duration) {
    tokio::time::sleep(how_long).await;
}

/// An operation that the simulated AWS does not have is refused by name.
fn not_simulated(service: &str, operation: &str) -> ApiFault {
    ApiFault { status: 501, code: "NotImplemented", message: format!("{service} {operation} is not simulated") }
}
