//! A failover while the table of the journals is lost: from one machine, by a named person, over a branch of the journal
//! (docs/offline.md, ADR 22).
//!
//! ```text
//! ready   every reason against it at once; what the machine knows ── declared ──> wait: the lease, then the signatures
//! run     a branch begins; the ordinary engine over it, its API on loopback, the same timeline as `watch`
//! import  the branch's digest into the journal: the application is held ── reconcile: where it lives now ──> it is led again
//! ```
//!
//! Invariants: nothing is begun while the table answers, or before the waits are over; nothing starts by itself; a branch is
//! never merged. What is old or missing is told with its age, and gone on without on a person's word only.

use std::{fmt, sync::Arc, time::Duration};

use aws_config::SdkConfig;

use crate::{
    adapters::store::{self, dynamodb::Answers},
    app::store::{draw, shared},
    config::{Settings, Store},
    domain::{
        application::{Application, Mechanism},
        id::{ApplicationName, Region, RunbookName, Subject},
        signature::Family,
    },
    ports::Clock,
};

pub mod copy;
pub mod import;
pub mod keys;
pub mod place;
pub mod ready;
pub mod run;

/// The code of an offline failover that is refused.
pub const REFUSED: &str = "offline-refused";

/// The code of one that is refused because the table answers.
pub const TABLE_ANSWERS: &str = "offline-table-answers";

/// The code of a branch that is not imported, or not reconciled.
pub const BRANCH_REFUSED: &str = "branch-refused";

/// As long as if leases were so long, a request of a person's verb may take: 2 s each, 20 s an append.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why nothing was begun: every reason at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Has a page in docs/errors.
    pub code: &'static str,
    pub reasons: Vec<String>,
}

impl Refused {
    pub fn one(code: &'static str, reason: impl Into<String>) -> Self {
        Self { code, reasons: vec![reason.into()] }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "refused ({}, docs/errors/{}.md):", self.code, self.code)?;
        self.reasons.iter().try_for_each(|reason| writeln!(f, "  - {reason}"))
    }
}

impl std::error::Error for Refused {}

/// What an offline verb works with.
#[derive(Clone)]
pub struct Means {
    pub settings: Settings,
    /// How AWS is reached, and how the table is: the same but in tests.
    pub sdk: SdkConfig,
    pub table_sdk: SdkConfig,
    pub clock: Arc<dyn Clock>,
    pub waits: Waits,
    /// Says a line to people.
    pub tell: Arc<dyn Fn(&str) + Send + Sync>,
    pub json: bool,
}

impl fmt::Debug for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Means").field("waits", &self.waits).finish_non_exhaustive()
    }
}

impl Means {
    pub fn tell(&self, line: impl AsRef<str>) {
        (self.tell)(line.as_ref());
    }

    /// The table, asked with more patience than a lease leaves a daemon: one that is slow is not lost. `None`: it is a file.
    pub fn patient(&self) -> Option<store::dynamodb::Options> {
        let options = shared(&self.settings)?;
        let lease = options.lease.max(PATIENCE);
        Some(store::dynamodb::Options { lease, ..options })
    }

    /// Whether the table answers, and what.
    pub async fn table(&self, application: &ApplicationName) -> Answers {
        match self.patient() {
            None => Answers::Refuses("the journal is in a file".to_owned()),
            Some(options) => {
                let (sdk, clock) = (&self.table_sdk, Arc::clone(&self.clock));
                store::DynamoStore::answers(sdk, clock, draw(), &options, application).await
            }
        }
    }
}

/// What a person asks for, and declares.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub application: String,
    pub target: Option<Region>,
    pub reason: String,
    /// How many seconds of acknowledged writes may be lost.
    pub accept_data_loss: Option<Duration>,
    pub runbook: Option<RunbookName>,
    pub dry_run: bool,
    /// Whose credentials these are.
    pub operator: Option<Subject>,
    pub table_lost: Option<String>,
    pub replicas_stopped: Option<String>,
    pub stale_copy: Option<String>,
    /// The application's name, typed once more.
    pub consent: Option<String>,
    pub approvals: Vec<String>,
}

/// What is waited for before anything is begun, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// Until nobody can hold the lease.
    pub lease: Duration,
    /// Until AWS refuses whatever its holder has signed (ADR 20).
    pub signatures: Duration,
}

impl Waits {
    /// Those of `app`. A record that the copy does not have may be an intent: so the longest that the configuration knows
    /// of counts, whatever the copy says.
    pub fn of(settings: &Settings, app: Option<&Application>) -> Self {
        let lease = match &settings.store {
            Store::DynamoDb { lease, .. } => *lease,
            Store::Sqlite { .. } => Duration::ZERO,
        };
        let by_object = |app: &Application| {
            app.traffic.values().any(|traffic| matches!(traffic.mechanism, Mechanism::StandbyObject { .. }))
        };
        let family = if app.is_none_or(by_object) { Family::S3 } else { Family::Rds };
        let signatures = family.verified_within();
        Self { lease, signatures }
    }

    pub fn total(&self) -> Duration {
        self.lease + self.signatures
    }
}
