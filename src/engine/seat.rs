//! One application's place at the engine: how its journal is taken over, and what holds it until that is done.
//!
//! Invariant: only a journal that cannot be trusted is refused for good (it does not verify, or makes no sense). A store
//! that fails for a moment is no such word: it is read again, for as long as it takes. What never comes back by itself
//! is a store that failed at an *append*: then the process ends and reads it anew ([`super::scribe`]).

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{
    domain::{application::Application, assessment::Assessment, id::StoreName},
    engine::{
        ages::Ages,
        budget::Spendings,
        context::{Context, Unsent, Waits},
        desk::Parts,
        metrics::MetricReader,
        newest::Newest,
        preflight::Preflights,
        pulse::Pulse,
        recover::{self, RecoverError},
        scribe::{Desk, Fatal, Scribe},
        signs::Signs,
        trail::WriteTrail,
    },
    ports::journal::ReadError,
};

/// How long after a failed read the journal is read again; doubled each time, up to [`AGAIN_MAX`].
const AGAIN_FIRST: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// The newest assessment, once there is one.
pub(super) type NewestAssessment = Newest<Option<Arc<Assessment>>>;

/// What an application that is worked on has.
pub(super) struct Working {
    pub(super) context: Context,
    pub(super) newest: NewestAssessment,
    pub(super) preflights: Arc<Preflights>,
}

/// One application: worked on, or held because its journal was not taken over (yet).
pub(super) struct Seat {
    pub(super) application: Arc<Application>,
    working: OnceLock<Working>,
    trouble: Newest<Trouble>,
}

/// Why a journal was not taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The store failed; what it holds is not known. It is read again.
    ForNow(String),
    /// A person must look.
    ForGood(String),
}

impl Trouble {
    pub(super) fn words(&self) -> String {
        match self {
            Self::ForNow(reason) => format!("{reason}; it is tried again"),
            Self::ForGood(reason) => reason.clone(),
        }
    }
}

impl From<RecoverError> for Trouble {
    fn from(error: RecoverError) -> Self {
        match error {
            RecoverError::Read(ReadError::Failed { .. }) => Self::ForNow(error.to_string()),
            RecoverError::Read(ReadError::Corrupted { .. }) | RecoverError::Corrupt(_) | RecoverError::Illegal(_) => {
                Self::ForGood(error.to_string())
            }
        }
    }
}

/// What all seats share.
#[derive(Clone)]
pub(super) struct House {
    pub(super) parts: Arc<Parts>,
    pub(super) readings: Arc<MetricReader>,
    pub(super) stopping: CancellationToken,
    pub(super) fatal: Arc<Fatal>,
}

impl Seat {
    pub(super) fn empty(application: Application) -> Self {
        let trouble = Newest::new(Trouble::ForNow("its journal was not read yet".to_owned()));
        Self { application: Arc::new(application), working: OnceLock::new(), trouble }
    }

    /// What the application works with, or why nothing is done for it.
    pub(super) fn working(&self) -> Result<&Working, Trouble> {
        self.working.get().ok_or_else(|| self.trouble.get())
    }

    /// Reads the journal back and takes it over; what stands in the way is said once, and kept for [`Seat::working`].
    pub(super) async fn take(&self, house: &House) -> Result<&Working, Trouble> {
        match take_over(house, &self.application).await {
            Ok(working) => Ok(self.working.get_or_init(|| working)),
            Err(trouble) => {
                if self.trouble.get() != trouble {
                    tracing::error!(application = %self.application.name, reason = trouble.words(), "the application is held");
                }
                self.trouble.set(trouble.clone());
                Err(trouble)
            }
        }
    }

    /// Goes on trying where the store failed for a moment; `None` where the journal is refused or the daemon stops.
    pub(super) async fn take_again(&self, house: &House) -> Option<&Working> {
        let mut wait = AGAIN_FIRST;
        loop {
            tokio::select! {
                biased;
                () = house.stopping.cancelled() => return None,
                () = house.parts.clock.sleep(wait) => {}
            }
            wait = (wait * 2).min(AGAIN_MAX);
            match self.take(house).await {
                Ok(working) => {
                    tracing::info!(application = %self.application.name, "the journal was read; the application is worked on");
                    return Some(working);
                }
                Err(Trouble::ForNow(_)) => {}
                Err(Trouble::ForGood(_)) => return None,
            }
        }
    }
}

async fn take_over(house: &House, application: &Arc<Application>) -> Result<Working, Trouble> {
    let House { parts, readings, stopping, fatal } = house;
    let history = recover::recover(&*parts.store, &application.name).await?;
    let pulses = pulses(parts, application);
    let (wall, boot) = (parts.clock.wall(), parts.clock.boot());
    let ages = Ages::taken_over(&history, wall, boot);
    let holds = Ages::of_holds(&history, wall, boot);
    let spendings = Spendings::taken_over(&history, wall, boot);
    let desk = Desk {
        store: Arc::clone(&parts.store),
        clock: Arc::clone(&parts.clock),
        observer: Arc::clone(&parts.observer),
        fatal: Arc::clone(fatal),
    };
    let taken = Scribe::take_over(desk, history, &parts.holder).await;
    // Where the store refused the append, the process ends: nothing is to be tried again here.
    let scribe = taken.map_err(|error| Trouble::ForGood(error.to_string()))?;
    parts.observer.taken_over(&scribe.history());
    let context = Context {
        application: Arc::clone(application),
        scribe: Arc::new(scribe),
        cloud: Arc::clone(&parts.cloud),
        readings: Arc::clone(readings),
        probes: Arc::clone(&parts.probes),
        databases: Arc::clone(&parts.databases),
        clock: Arc::clone(&parts.clock),
        trail: Arc::new(WriteTrail::default()),
        capacities: Arc::default(),
        unsent: Arc::new(Unsent::default()),
        waits: Arc::new(Waits::default()),
        ages: Arc::new(ages),
        holds: Arc::new(holds),
        spendings: Arc::new(spendings),
        signs: Arc::new(Signs::default()),
        vantages: Arc::clone(&parts.vantages),
        pulses: Arc::new(pulses),
        stopping: stopping.clone(),
    };
    Ok(Working { context, newest: Newest::new(None), preflights: Arc::default() })
}

/// The pulse of each store that has a heartbeat; each life of a process is a beater of its own.
fn pulses(parts: &Parts, application: &Application) -> BTreeMap<StoreName, Pulse> {
    let with_heartbeat = application.stores.iter().filter_map(|(name, s)| Some((name, s.heartbeat.clone()?)));
    with_heartbeat
        .map(|(name, heartbeat)| {
            let beater = format!("{:032x}", (parts.draw_id)());
            let beater = beater.parse().unwrap_or_else(|e| unreachable!("hexadecimal digits are a name: {e}"));
            let (databases, clock) = (Arc::clone(&parts.heartbeats), Arc::clone(&parts.clock));
            (name.clone(), Pulse::new(name.clone(), heartbeat, beater, databases, clock))
        })
        .collect()
}
