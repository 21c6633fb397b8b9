//! The pulse of one store: beats on its writer each period, looks for each beat in the other Regions, and keeps the
//! trail.
//!
//! Invariant: a beat is sent to the Region that is believed to write, and to no other; where nobody knows, none is
//! sent. A database that is slow or silent delays neither the beats nor the looks at another. All time is the clock
//! port's.
//!
//! Looks follow a beat's acknowledgement, ever further apart, until the beat is seen: so a short lag is measured as
//! exactly as a long one in proportion, with few looks. Not here: what the lag means for the application.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        heartbeat::{
            Beat, BeatAnswer, Heartbeat, HeartbeatTrail, Held, Lag, Loss, Moment, Shown, Until, WritesFailing,
        },
        id::{BeaterId, Region, StoreName},
        signal::Sample,
    },
    engine::context::Context,
    ports::{Clock, Heartbeats, heartbeat::LookError},
};

/// The first look after a beat, and the least time between two: finer than any lag matters.
const LOOK_SPACING_MIN: Duration = Duration::from_millis(10);
/// Each look waits for this part of the time that the beat is overdue, so that little is asked where much is in flight.
const LOOK_SPACING_PART: u32 = 6;
/// The longest time between two looks for a beat that is overdue: what is measured is at most so much too long. Ten
/// looks a second, each by the primary key, and only while something is behind.
const LOOK_SPACING_MAX: Duration = Duration::from_millis(100);

/// Why a loss could not be counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CountError {
    #[error("no heartbeat is configured for {0}")]
    NoEndpoint(Region),
    #[error("the new writer's heartbeat could not be read")]
    Look(#[source] LookError),
}

/// What the pulse knows, and whom it believes to write.
#[derive(Debug, Default)]
struct Known {
    trail: HeartbeatTrail,
    writer: Option<Region>,
}

/// See the module.
#[derive(Debug)]
pub struct Pulse {
    store: StoreName,
    heartbeat: Heartbeat,
    beater: BeaterId,
    databases: Arc<dyn Heartbeats>,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
    /// Per Region: a beat was acknowledged, so there is something to look for.
    acknowledged: BTreeMap<Region, Notify>,
}

impl Pulse {
    /// The pulse of `store`. `beater` names this process's life, and no other's, ever.
    pub fn new(
        store: StoreName,
        heartbeat: Heartbeat,
        beater: BeaterId,
        databases: Arc<dyn Heartbeats>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let acknowledged = heartbeat.endpoints.keys().map(|region| (region.clone(), Notify::new())).collect();
        let known = Mutex::new(Known { trail: HeartbeatTrail::new(), writer: None });
        Self { store, heartbeat, beater, databases, clock, known, acknowledged }
    }

    /// Whoever reads the roles says who writes. In mid-change the last settled writer stands: beats go on failing
    /// there, which tells since when it takes none.
    pub fn writer_is(&self, region: &Region) {
        let mut known = self.lock();
        if known.writer.as_ref() != Some(region) {
            tracing::info!(store = %self.store, %region, "the heartbeat goes to this Region's database");
            known.writer = Some(region.clone());
        }
    }

    /// The worst lag over the Regions that do not write, as of now.
    pub fn sample(&self) -> Sample {
        let now = self.now();
        let known = self.lock();
        let others = self.heartbeat.endpoints.keys().filter(|r| known.writer.as_ref() != Some(*r));
        known.trail.sample(others, now)
    }

    /// Asks the trail, as of now.
    pub fn ask<T>(&self, question: impl FnOnce(&HeartbeatTrail, Moment) -> T) -> T {
        let now = self.now();
        question(&self.lock().trail, now)
    }

    /// Since when the database of `region` has taken no beat; `None`: it took the last one, or none was sent.
    pub fn failing(&self, region: &Region) -> Option<WritesFailing> {
        self.lock().trail.failing(region).cloned()
    }

    /// What was lost when `old` was replaced by `new`: reads which beats `new` holds. `until` as in
    /// [`HeartbeatTrail::loss`]. To be asked before the new writer's own beats have pushed the old ones out of the
    /// table (`ROWS_KEPT`); may be asked again.
    ///
    /// # Errors
    /// When the rows of `new` cannot be read: the loss is then not known.
    pub async fn count_loss(&self, old: &Region, new: &Region, until: Option<Until>) -> Result<Loss, CountError> {
        let at = self.heartbeat.endpoint(new).ok_or_else(|| CountError::NoEndpoint(new.clone()))?;
        let from = self.lock().trail.first_number();
        let numbers = self.databases.beats_held(&at, &self.beater, from).await.map_err(CountError::Look)?;
        let now = self.now();
        Ok(self.lock().trail.loss(old, new, &Held { numbers, from }, until, now))
    }

    /// Beats and looks until the daemon stops. To be run once.
    pub async fn beat_on(&self, stopping: &CancellationToken) {
        let looks = join_all(self.acknowledged.iter().map(|(region, seen)| self.look_on(region, seen)));
        tokio::select! {
            biased;
            () = stopping.cancelled() => {}
            () = self.beat_each_period() => {}
            _ = looks => {}
        }
    }

    /// Never two beats at once: one that is late takes the place of those that would have followed.
    async fn beat_each_period(&self) {
        loop {
            let begun = self.clock.boot();
            self.beat_once().await;
            let spent = self.clock.boot().saturating_sub(begun);
            // On a raster, so that a beat's own time does not stretch the period.
            let period = self.heartbeat.period.as_nanos().max(1);
            let into = u64::try_from(spent.as_nanos() % period).unwrap_or_default();
            self.clock.sleep(self.heartbeat.period.saturating_sub(Duration::from_nanos(into))).await;
        }
    }

    /// Sends one beat to the writer, if it is known.
    async fn beat_once(&self) {
        let writer = self.lock().writer.clone();
        let Some((writer, at)) = writer.and_then(|w| self.heartbeat.endpoint(&w).map(|at| (w, at))) else { return };
        let now = self.now();
        let number = self.lock().trail.begin(&writer, now);
        let beat = Beat { beater: self.beater.clone(), number, sent_at: now.wall };
        let answer = self.databases.beat(&at, &beat).await;
        let answered = self.now();
        let was_failing = {
            let mut known = self.lock();
            let was_failing = known.trail.failing(&writer).is_some();
            known.trail.answered(number, &answer, answered);
            was_failing
        };
        if answer == BeatAnswer::Acknowledged {
            // The writer's own loop rests; a permit kept for it would be for nothing.
            self.acknowledged.iter().filter(|(r, _)| **r != writer).for_each(|(_, seen)| seen.notify_one());
        }
        match (was_failing, &answer) {
            (true, BeatAnswer::Acknowledged) => {
                tracing::info!(store = %self.store, region = %writer, number, "the heartbeat is taken again");
            }
            (
                false,
                BeatAnswer::Refused { reason } | BeatAnswer::NotWritten { reason } | BeatAnswer::Unknown { reason },
            ) => {
                tracing::warn!(store = %self.store, region = %writer, number, reason, "the heartbeat is not taken");
            }
            (true, _) | (false, BeatAnswer::Acknowledged) => {}
        }
    }

    /// Looks at `region` after each acknowledged beat until it is seen, and once a period where none is.
    async fn look_on(&self, region: &Region, acknowledged: &Notify) {
        let Some(at) = self.heartbeat.reader_endpoint(region) else { return };
        let mut was_answered = true;
        loop {
            tokio::select! {
                biased;
                () = acknowledged.notified() => {}
                () = self.clock.sleep(self.heartbeat.period) => {}
            }
            let begun = self.clock.boot();
            loop {
                if self.lock().writer.as_ref() == Some(region) {
                    break;
                }
                let asked = self.now();
                let shown = self.databases.last_beat(&at, &self.beater).await;
                let answered = self.now();
                if let (true, Err(error)) = (was_answered, &shown) {
                    tracing::warn!(store = %self.store, %region, %error, "the heartbeat cannot be looked for");
                }
                was_answered = shown.is_ok();
                let since_begun = answered.boot.saturating_sub(begun);
                let Some(overdue) = self.note(region, shown, asked, answered, since_begun) else { break };
                let spacing = (overdue / LOOK_SPACING_PART).clamp(LOOK_SPACING_MIN, LOOK_SPACING_MAX);
                self.clock.sleep(spacing).await;
            }
        }
    }

    /// Takes in what a look at `region` showed. How long a beat is overdue there, since `since_begun` where that is not
    /// known; `None` where there is nothing more to look for now.
    fn note(
        &self,
        region: &Region,
        shown: Result<Shown, LookError>,
        asked: Moment,
        answered: Moment,
        since_begun: Duration,
    ) -> Option<Duration> {
        let mut known = self.lock();
        match shown {
            Ok(shown) => known.trail.saw(region, &shown, asked, answered),
            Err(error) => {
                known.trail.missed(region, &error.to_string());
                return None;
            }
        }
        if known.trail.is_caught_up(region) {
            return None;
        }
        match known.trail.lag(region, answered) {
            Lag::Measured(measured) => Some(measured.at_least),
            Lag::Unknown { .. } => Some(since_begun),
        }
    }

    fn now(&self) -> Moment {
        Moment { boot: self.clock.boot(), wall: self.clock.wall() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every pulse of the application, until the daemon stops.
pub async fn beat(context: Context) {
    join_all(context.pulses.values().map(|pulse| pulse.beat_on(&context.stopping))).await;
}

#[cfg(test)]
mod tests;
