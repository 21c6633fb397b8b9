//! One application's place at a replica: worked on here, followed, or held, and how its journal is taken over.
//!
//! Invariant: only a journal that cannot be trusted is refused for good (it does not verify, or makes no sense). A store
//! that fails for a moment is no such word: it is read again, for as long as it takes. What never comes back by itself
//! is a store that failed at an *append*: then the process ends and reads it anew ([`super::scribe`]).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        application::Application,
        assessment::Assessment,
        history::History,
        id::{ApplicationName, StoreName},
        journal::{Corruption, Record},
        lease::Lease,
    },
    engine::{
        ages::Ages,
        budget::Spendings,
        context::{Context, Unsent, Waits},
        desk::Parts,
        metrics::MetricReader,
        newest::Newest,
        preflight::{Preflights, round::Board},
        pulse::Pulse,
        recover::{self, RecoverError},
        scribe::{CommitError, Desk, Fatal, LIVE_RECORDS_MAX, Scribe},
        signatures::Signatures,
        signs::Signs,
        tenancy::Tenancy,
        trail::WriteTrail,
    },
    ports::{
        Observer,
        journal::{AppendError, ReadError},
    },
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
    /// What the rounds of preflight have found.
    pub(super) board: Arc<Board>,
    /// Why this must end, where it must: the process where it is alone, leading where it is not.
    pub(super) fatal: Arc<Fatal>,
    /// Since when, for people.
    pub(super) since: Timestamp,
}

/// One application: worked on here, followed while another replica works on it, or held.
pub(super) struct Seat {
    pub(super) application: Arc<Application>,
    standing: Newest<Standing>,
    /// Every record once it is durable: as a follower reads it, and as the scribe of a leader writes it.
    live: broadcast::Sender<Arc<Record>>,
    observer: Arc<dyn Observer>,
}

/// How an application stands at this replica.
#[derive(Clone)]
pub(super) enum Standing {
    /// Its journal was not taken over (yet).
    Held(Trouble),
    /// Another replica works on it, or nobody does yet.
    Following(Arc<Following>),
    Leading(Arc<Working>),
}

/// What a replica knows of an application that it does not work on.
#[derive(Debug, Clone)]
pub(super) struct Following {
    /// As far as it was read: some seconds old.
    pub(super) history: Arc<History>,
    /// Who leads, as it was read last; `None` where nobody ever has.
    pub(super) lease: Option<Lease>,
    /// When the store answered last, in boot time; `None`: never.
    pub(super) reached_at: Option<Duration>,
    /// Why the store could not be read at the last try.
    pub(super) trouble: Option<String>,
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
            // Nothing is damaged: old and new binaries stand side by side during a deployment (FAULTS.md 30).
            RecoverError::Corrupt(Corruption::NewerSchema { .. }) => {
                Self::ForGood(format!("{error}: a newer release writes it, and this one looks on until it is replaced"))
            }
            RecoverError::Read(ReadError::Corrupted { .. })
            | RecoverError::Corrupt(_)
            | RecoverError::Illegal(_)
            | RecoverError::Replaced { .. } => Self::ForGood(error.to_string()),
        }
    }
}

/// What all seats share.
#[derive(Clone)]
pub(super) struct House {
    pub(super) parts: Arc<Parts>,
    pub(super) readings: Arc<MetricReader>,
    pub(super) signatures: Arc<Signatures>,
    pub(super) stopping: CancellationToken,
    pub(super) fatal: Arc<Fatal>,
}

impl Seat {
    pub(super) fn empty(application: Application, observer: Arc<dyn Observer>) -> Self {
        let trouble = Trouble::ForNow("its journal was not read yet".to_owned());
        let standing = Newest::new(Standing::Held(trouble));
        Self { application: Arc::new(application), standing, live: broadcast::Sender::new(LIVE_RECORDS_MAX), observer }
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing.get()
    }

    /// Says how it stands from now on; what stands in its way is logged once.
    pub(super) fn stand(&self, standing: Standing) {
        let is_news = |trouble: &Trouble| !matches!(self.standing.get(), Standing::Held(old) if old == *trouble);
        if let Standing::Held(trouble) = &standing
            && is_news(trouble)
        {
            tracing::error!(application = %self.application.name, reason = trouble.words(), "the application is held");
        }
        let leads = matches!(standing, Standing::Leading(_));
        if leads != matches!(self.standing.get(), Standing::Leading(_)) {
            self.observer.led(&self.application.name, leads);
        }
        self.observer.held(&self.application.name, matches!(standing, Standing::Held(_)));
        self.standing.set(standing);
    }

    /// Why this replica could not act for it now, as of the boot time `now`; a follower must have read the store `within` so long.
    pub(super) fn unready(&self, name: &ApplicationName, now: Duration, within: Duration) -> Option<String> {
        match self.standing() {
            Standing::Held(trouble) => Some(format!("{name} is held: {}", trouble.words())),
            Standing::Leading(working) => working.newest.get().is_none().then(|| format!("{name} is not assessed yet")),
            Standing::Following(following) => {
                let reached = following.reached_at.is_some_and(|at| now.saturating_sub(at) <= within);
                let why = following.trouble.as_deref().unwrap_or("it does not answer");
                (!reached).then(|| format!("{name} cannot be taken over: the store is out of reach: {why}"))
            }
        }
    }

    /// Tells those who watch a record that was read as a follower.
    pub(super) fn tell(&self, record: Record) {
        // Nobody watching is not an error.
        let _no_receivers = self.live.send(Arc::new(record));
    }

    pub(super) fn live(&self) -> broadcast::Receiver<Arc<Record>> {
        self.live.subscribe()
    }

    /// Reads the journal back and takes it over; what stands in the way is said once, and kept for [`Seat::standing`].
    pub(super) async fn take(&self, house: &House) -> Result<Arc<Working>, Trouble> {
        let taken = async {
            let history = recover::recover(&*house.parts.store, &self.application.name).await.map_err(Trouble::from)?;
            take_over(house, self, history, Tenancy::alone()).await
        };
        let taken = taken.await.map(Arc::new);
        self.stand(match &taken {
            Ok(working) => Standing::Leading(Arc::clone(working)),
            Err(trouble) => Standing::Held(trouble.clone()),
        });
        taken
    }

    /// Goes on trying where the store failed for a moment; `None` where the journal is refused or the daemon stops.
    pub(super) async fn take_again(&self, house: &House) -> Option<Arc<Working>> {
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

/// Takes the journal of the application of `seat` over, whose `history` was read to its end.
pub(super) async fn take_over(
    house: &House,
    seat: &Seat,
    history: History,
    tenancy: Tenancy,
) -> Result<Working, Trouble> {
    let House { parts, readings, signatures, stopping, fatal } = house;
    let application = &seat.application;
    let pulses = pulses(parts, application);
    let (wall, boot) = (parts.clock.wall(), parts.clock.boot());
    let ages = Ages::taken_over(&history, wall, boot);
    let holds = Ages::of_holds(&history, wall, boot);
    let spendings = Spendings::taken_over(&history, wall, boot);
    let unanswered = Ages::of_unanswered(&history, wall, boot);
    let desk = Desk {
        store: Arc::clone(&parts.store),
        clock: Arc::clone(&parts.clock),
        observer: Arc::clone(&parts.observer),
        fatal: Arc::clone(fatal),
        live: seat.live.clone(),
    };
    let taken = Scribe::take_over(desk, history, &parts.holder).await;
    let scribe = taken.map_err(|error| match error {
        // Another replica, or a record of the holder before that arrived late: the journal is read again.
        CommitError::Append(AppendError::Conflict { .. }) if tenancy.is_shared() => Trouble::ForNow(error.to_string()),
        CommitError::Append(AppendError::Failed { .. }) if tenancy.is_shared() => Trouble::ForNow(error.to_string()),
        // Where the only store refused the append, the process ends: nothing is to be tried again here.
        error => Trouble::ForGood(error.to_string()),
    })?;
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
        trend: Arc::default(),
        unsent: Arc::new(Unsent::default()),
        blind: Arc::default(),
        waits: Arc::new(Waits::default()),
        ages: Arc::new(ages),
        holds: Arc::new(holds),
        spendings: Arc::new(spendings),
        unanswered: Arc::new(unanswered),
        signatures: Arc::clone(signatures),
        signs: Arc::new(Signs::default()),
        vantages: Arc::clone(&parts.vantages),
        pulses: Arc::new(pulses),
        tenancy,
        stopping: stopping.clone(),
    };
    let fatal = Arc::clone(fatal);
    Ok(Working {
        context,
        newest: Newest::new(None),
        preflights: Arc::default(),
        board: Arc::default(),
        fatal,
        since: wall,
    })
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
