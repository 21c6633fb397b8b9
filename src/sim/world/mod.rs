//! A pure model of several AWS Regions: seeded, in virtual time, with no I/O.
//!
//! Invariant: the same seed, topology and sequence of calls give the same history, byte for byte. Time moves
//! only through [`World::advance_to`]; every duration is drawn from the world's own generator.
//!
//! It deliberately knows nothing of the engine, its ports or its journal: an oracle that shares code with
//! what it judges sees nothing.

pub mod arc;
pub mod aurora;
pub mod clients;
pub mod cloudwatch;
pub mod planes;
pub mod route53;
pub mod sns;
pub mod timings;

use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

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
    pub clients: clients::Clients,
    pub log: Vec<WorldEvent>,
}

impl World {
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
            clients: clients::Clients::default(),
            log: Vec::new(),
        }
    }
}
