//! One application at one of several replicas: follows while another leads, takes over, leads, and steps down.
//!
//! ```text
//! follow: read the lease, and the journal as it grows ── its turn ──> put the lease ──> lead
//! lead:   read the journal to its end, begin an epoch, work; renew; lost, or told to stop ──> let calls end ──> follow
//! ```
//!
//! Invariants: a lease is no permission to write, only a reason to try: the epoch is begun by an append at the journal's
//! tail. A leader that cannot renew in time begins nothing more, and has stopped before anybody else may take over. A
//! journal that is shorter, or another, than the one that this process has read before is never worked on (FAULTS.md
//! 26). What is given up is let end first, then given back.
//!
//! It deliberately forces nobody: who leads is never chosen, and a leader that is slow but in time stays.

mod renewal;

use std::{sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::renewal::{Ended, Renewal, put};
use crate::{
    domain::{
        history::History,
        id::ApplicationName,
        judge::Reach,
        lease::{Lease, Tenure, Turn, Watch},
    },
    engine::{
        desk::Engine,
        recover::{self, RecoverError},
        scribe::{CommitError, Fatal},
        seat::{Following, House, Seat, Standing, Trouble, Working, take_over},
        settle::{self, Settled},
        sharing::Sharing,
        tenancy::Tenancy,
    },
    ports::{Clock, journal::ReadError, lease::PutError},
};

/// How often a follower reads the lease. Half of the second that a takeover may take beyond the lease.
const POLL: Duration = Duration::from_millis(500);

/// Followers whose turn comes at once try at different moments (FAULTS.md 29).
const JITTER_MS: u64 = 100;

/// How long after a lost answer the same write is tried again.
const REPEAT: Duration = Duration::from_millis(250);

/// A follower reads the journal at least so often, whatever the lease says of its length.
const READ_AT_LEAST: Duration = Duration::from_secs(30);

/// How often a takeover is tried again at once, where a late record of the holder before it came first.
const TAKEOVERS_MAX: u32 = 5;

/// How often a leader asks itself whether it is cut off.
const LOOK_AROUND: Duration = Duration::from_secs(1);

/// How long a replica whose takeover failed, or that saw nothing at a last look, leaves the lease to others.
const AFTER_TROUBLE: Duration = Duration::from_secs(2);

/// One application's following and leading, until the daemon stops.
pub(super) struct Keeper {
    pub(super) engine: Engine,
    pub(super) seat: Arc<Seat>,
    pub(super) house: House,
    pub(super) sharing: Sharing,
}

/// What a keeper knows between two looks.
struct Known {
    watch: Watch,
    history: History,
    /// The boot times of the last answer of the store, and of the last time that the journal was read to its end.
    reached_at: Option<Duration>,
    read_at: Option<Duration>,
    trouble: Option<String>,
    /// What the look before the newest turn has found.
    settled: Settled,
}

/// A lease just taken.
struct Taken {
    lease: Lease,
    tenure: Tenure,
}

/// Why leading ended.
#[derive(Debug)]
enum Over {
    /// The daemon is told to stop.
    Stopping,
    /// Another replica has the lease.
    Lost { why: String },
    /// This replica reaches the store, and not the control points that say whether it reaches AWS (FAULTS.md 22).
    CutOff,
    /// A step cannot go on from here, and perhaps can from elsewhere.
    Blind,
    /// The journal or its store does not let us.
    Trouble(Trouble),
}

impl Keeper {
    pub(super) async fn keep(self) {
        let mut known = Known {
            watch: Watch::default(),
            history: History::new(self.name().clone()),
            reached_at: None,
            read_at: None,
            trouble: None,
            settled: Settled::default(),
        };
        // Until the first look it is no trouble of the application's that this replica knows nothing.
        self.follows(&known);
        loop {
            let taken = match self.follow(&mut known).await {
                Ok(Some(taken)) => taken,
                Ok(None) => return,
                Err(trouble) => return self.seat.stand(Standing::Held(trouble)),
            };
            match self.lead(&mut known, taken).await {
                Over::Stopping => return,
                Over::Lost { why } => {
                    tracing::warn!(application = %self.name(), why, "this replica leads no more");
                    known.trouble = Some(why);
                }
                over @ (Over::CutOff | Over::Blind) => {
                    let during = if matches!(over, Over::Blind) { AFTER_TROUBLE } else { self.sharing.duration * 2 };
                    if let Err(trouble) = self.leave_to_others(&mut known, during).await {
                        return self.seat.stand(Standing::Held(trouble));
                    }
                }
                Over::Trouble(trouble @ Trouble::ForGood(_)) => return self.seat.stand(Standing::Held(trouble)),
                Over::Trouble(trouble) => {
                    tracing::warn!(application = %self.name(), why = trouble.words(), "the lease is given back");
                    known.trouble = Some(trouble.words());
                    self.follows(&known);
                    self.pause(AFTER_TROUBLE).await;
                }
            }
        }
    }

    fn name(&self) -> &ApplicationName {
        &self.seat.application.name
    }

    fn clock(&self) -> &dyn Clock {
        &*self.house.parts.clock
    }

    /// True where the daemon is told to stop in it.
    async fn pause(&self, wait: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.house.stopping.cancelled() => true,
            () = self.clock().sleep(wait) => false,
        }
    }

    /// Looks until the lease is taken; `None` when the daemon is told to stop.
    async fn follow(&self, known: &mut Known) -> Result<Option<Taken>, Trouble> {
        let mut failures: u32 = 0;
        loop {
            if self.house.stopping.is_cancelled() {
                return Ok(None);
            }
            let wait = match self.look(known).await {
                Ok(turn) => {
                    failures = 0;
                    if let Some(why) = self.withheld(known, turn.is_some()).await {
                        self.seat.stand(Standing::Held(Trouble::ForNow(why)));
                        if self.pause(AFTER_TROUBLE).await {
                            return Ok(None);
                        }
                        continue;
                    }
                    let now = self.clock().boot();
                    match turn {
                        Some(over) => match self.take(known, over).await {
                            Ok(taken) => return Ok(Some(taken)),
                            Err(why) => {
                                known.trouble = why;
                                self.jitter()
                            }
                        },
                        None => match known.watch.turn(now) {
                            Some(Turn::Wait { until }) => POLL.min(until.saturating_sub(now)) + self.jitter(),
                            Some(Turn::Take { .. }) | None => self.jitter(),
                        },
                    }
                }
                Err(RecoverError::Read(ReadError::Failed { reason })) => {
                    failures = (failures + 1).min(4);
                    known.trouble = Some(reason);
                    POLL * failures + self.jitter()
                }
                Err(error) => return Err(error.into()),
            };
            self.follows(known);
            if self.pause(wait).await {
                return Ok(None);
            }
        }
    }

    /// Why nobody may lead now, whosever turn it is.
    async fn withheld(&self, known: &mut Known, is_our_turn: bool) -> Option<String> {
        if !is_our_turn {
            return known.history.branches.held();
        }
        let (parts, app) = (&self.house.parts, &self.seat.application);
        let offline = self.sharing.offline.as_ref();
        match settle::settle(&*parts.cloud, self.clock(), app, &known.history, offline).await {
            Ok(settled) => {
                known.settled = settled;
                None
            }
            Err(why) => Some(why),
        }
    }

    fn jitter(&self) -> Duration {
        let drawn = (self.house.parts.draw_id)() % u128::from(JITTER_MS);
        Duration::from_millis(u64::try_from(drawn).unwrap_or(0))
    }

    fn follows(&self, known: &Known) {
        self.seat.stand(Standing::Following(Arc::new(Following {
            history: Arc::new(known.history.clone()),
            lease: known.watch.lease().cloned(),
            reached_at: known.reached_at,
            trouble: known.trouble.clone(),
        })));
    }

    /// One look at the lease, and at the journal where it has grown; the version to take over from, where it is this
    /// replica's turn.
    async fn look(&self, known: &mut Known) -> Result<Option<Option<u64>>, RecoverError> {
        let failed = |reason: String| RecoverError::Read(ReadError::Failed { reason });
        let lease = self.sharing.leases.lease(self.name()).await.map_err(|e| failed(e.to_string()))?;
        let now = self.clock().boot();
        (known.reached_at, known.trouble) = (Some(now), None);
        let is_ours = lease.as_ref().is_some_and(|l| l.holder == self.house.parts.holder);
        let has_grown = lease.as_ref().is_some_and(|l| known.history.tail.next_seq < l.records);
        let version = lease.as_ref().map(|l| l.version);
        known.watch.saw(lease, now);
        let turn = match known.watch.turn(now) {
            // What was ours has ended before it was followed again: nobody else waits for it.
            _ if is_ours => Some(version),
            Some(Turn::Take { over }) => Some(over),
            Some(Turn::Wait { .. }) | None => None,
        };
        let is_due = known.read_at.is_none_or(|at| READ_AT_LEAST <= now.saturating_sub(at));
        if has_grown || is_due || turn.is_some() {
            self.read_on(known).await?;
        }
        Ok(turn)
    }

    /// Reads the journal on to its end.
    async fn read_on(&self, known: &mut Known) -> Result<(), RecoverError> {
        let tell = |record| self.seat.tell(record);
        recover::read_on(&*self.house.parts.store, &mut known.history, tell).await?;
        known.read_at = Some(self.clock().boot());
        Ok(())
    }

    /// Puts the lease; why not, where another replica was not just quicker.
    async fn take(&self, known: &Known, over: Option<u64>) -> Result<Taken, Option<String>> {
        let lease = Lease {
            version: over.map_or(1, |version| version + 1),
            holder: self.house.parts.holder.clone(),
            url: self.sharing.url.clone(),
            region: self.sharing.region.clone(),
            epoch: None,
            records: known.history.tail.next_seq,
            since: self.clock().wall(),
            duration_ms: u64::try_from(self.sharing.duration.as_millis()).unwrap_or(u64::MAX),
            released: false,
        };
        match put(&self.sharing, self.clock(), self.name(), &lease, over).await {
            Ok(tenure) => Ok(Taken { lease, tenure }),
            Err(PutError::Lost { .. }) => Err(None),
            Err(error @ PutError::Failed { .. }) => Err(Some(error.to_string())),
        }
    }

    /// Works on the application for as long as the lease is renewed.
    async fn lead(&self, known: &mut Known, taken: Taken) -> Over {
        let Taken { lease, tenure } = taken;
        let tenancy = Tenancy::shared(tenure, self.sharing.call_within);
        let (stopping, lost) = (self.house.stopping.child_token(), Arc::new(Fatal::default()));
        let house = House { stopping: stopping.clone(), fatal: Arc::clone(&lost), ..self.house.clone() };
        let renewal = Renewal {
            sharing: self.sharing.clone(),
            clock: Arc::clone(&self.house.parts.clock),
            seat: Arc::clone(&self.seat),
            tenancy: tenancy.clone(),
        };
        let enough = CancellationToken::new();
        let mut renewing = tokio::spawn(renewal.renew(lease, tenure, enough.clone()));
        let crew = TaskTracker::new();
        let begun = tokio::select! {
            biased;
            lost = &mut renewing => Err(lost),
            taken = self.begin(known, &house, &tenancy) => Ok(taken),
        };
        let over = match begun {
            Err(ended) => return lost_lease(ended),
            Ok(Err(trouble)) => Over::Trouble(trouble),
            Ok(Ok(working)) => {
                let mut left = None;
                self.seat.stand(Standing::Leading(Arc::clone(&working)));
                self.engine.work(&working, &crew);
                let ended = tokio::select! {
                    biased;
                    ended = &mut renewing => Some(ended),
                    reason = lost.wait() => {
                        tracing::error!(application = %self.name(), reason, "the journal does not take what is recorded");
                        None
                    }
                    why = self.cut_off() => {
                        tracing::warn!(application = %self.name(), why, "this replica is cut off; the lease is given back");
                        left = Some(Over::CutOff);
                        None
                    }
                    why = tenancy.given_up() => {
                        tracing::warn!(application = %self.name(), why, "the lease is given back");
                        left = Some(Over::Blind);
                        None
                    }
                    () = self.house.stopping.cancelled() => None,
                };
                stopping.cancel();
                // It begins nothing more: whoever asks from now on asks another, also while what is under way ends.
                known.watch = Watch::default();
                self.leads_no_more(known, &working);
                crew.close();
                crew.wait().await;
                self.leads_no_more(known, &working);
                match ended {
                    Some(ended) => return lost_lease(ended),
                    None if self.house.stopping.is_cancelled() => Over::Stopping,
                    None => left.unwrap_or_else(|| {
                        let why = "the journal's store failed, or another replica wrote";
                        Over::Trouble(Trouble::ForNow(why.to_owned()))
                    }),
                }
            }
        };
        stopping.cancel();
        enough.cancel();
        match renewing.await.map(|ended| ended.lease) {
            Ok(lease) => self.give_back(&lease).await,
            Err(panicked) => std::panic::resume_unwind(Box::new(format!("the renewal panicked: {panicked}"))),
        }
        over
    }

    /// What was led is followed from here, but for a daemon that stops: that is no follower any more.
    fn leads_no_more(&self, known: &mut Known, working: &Working) {
        known.history = (*working.context.scribe.history()).clone();
        if !self.house.stopping.is_cancelled() {
            self.follows(known);
        }
    }

    /// Follows for a while, whosever turn it is.
    async fn leave_to_others(&self, known: &mut Known, during: Duration) -> Result<(), Trouble> {
        let until = self.clock().boot() + during;
        while self.clock().boot() < until && !self.house.stopping.is_cancelled() {
            match self.look(known).await {
                Ok(_) => {}
                Err(RecoverError::Read(ReadError::Failed { reason })) => known.trouble = Some(reason),
                Err(error) => return Err(error.into()),
            }
            self.follows(known);
            self.pause(POLL + self.jitter()).await;
        }
        Ok(())
    }

    /// Completes when this replica has been cut off for as long as a lease: whoever reaches AWS should have the work.
    async fn cut_off(&self) -> String {
        let vantages = &self.house.parts.vantages;
        let mut since: Option<Duration> = None;
        loop {
            let now = self.clock().boot();
            match vantages.reach_at(now) {
                Reach::CutOff { why } if since.is_some_and(|at| self.sharing.duration <= now.saturating_sub(at)) => {
                    return why;
                }
                Reach::CutOff { .. } => {
                    since.get_or_insert(now);
                }
                Reach::Sure { .. } | Reach::Unknown { .. } => since = None,
            }
            self.clock().sleep(LOOK_AROUND).await;
        }
    }

    /// Reads the journal to its end and begins an epoch, again where a late record came first.
    async fn begin(&self, known: &mut Known, house: &House, tenancy: &Tenancy) -> Result<Arc<Working>, Trouble> {
        let mut tries = 1;
        loop {
            self.read_on(known).await.map_err(Trouble::from)?;
            let taken = take_over(house, &self.seat, known.history.clone(), tenancy.clone()).await;
            match taken {
                Ok(working) => return self.record(known, working).await,
                Err(Trouble::ForNow(reason)) if tries < TAKEOVERS_MAX => {
                    tracing::info!(application = %self.name(), reason, "the journal is read again before it is taken over");
                    tries += 1;
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// Records what was seen before leading; a branch that came meanwhile ends it.
    async fn record(&self, known: &mut Known, working: Working) -> Result<Arc<Working>, Trouble> {
        let settled = std::mem::take(&mut known.settled);
        let committed = working.context.scribe.commit(|history, _| match history.branches.held() {
            Some(why) => Err(why),
            None => Ok((settle::events(history, &settled), ())),
        });
        match committed.await {
            Ok(()) => Ok(Arc::new(working)),
            Err(CommitError::Refused(why)) => Err(Trouble::ForNow(why)),
            Err(error) => Err(Trouble::ForNow(error.to_string())),
        }
    }

    /// Says that nobody need wait for the lease's end. Where that fails, they wait.
    async fn give_back(&self, lease: &Lease) {
        let released = Lease { version: lease.version + 1, released: true, ..lease.clone() };
        if let Err(error) = self.sharing.leases.put(self.name(), &released, Some(lease.version)).await {
            tracing::warn!(application = %self.name(), %error, "the lease was not given back: the others wait for its end");
        }
    }
}

fn lost_lease(ended: Result<Ended, tokio::task::JoinError>) -> Over {
    match ended {
        Ok(ended) => Over::Lost { why: ended.why },
        Err(panicked) => std::panic::resume_unwind(Box::new(format!("the renewal panicked: {panicked}"))),
    }
}
