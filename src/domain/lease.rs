//! Who may work on an application's journal: the protocol of the lease, without its store and without a clock.
//!
//! Invariants: no wall clock is compared with another. The holder counts from the *start* of the request that renewed,
//! on its own boot clock, and stops itself after [`HOLDER_SHARE`] of the lease; a challenger counts from when it has
//! *seen* the newest version, on its own boot clock, and waits for the whole of it. So as long as no clock runs half as
//! fast again as another, the holder has stopped before anybody takes over.
//!
//! A lease only saves work. That two holders who both believe in theirs do no harm is the journal's part: whoever
//! does not append at its tail, in its newest epoch, records nothing, and what is not recorded is not sent.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::sabotage::{Guard, is_off};

/// Bounds of a lease's duration: a shorter one is lost at every hiccup, a longer one is the outage itself.
pub const DURATION_MIN: Duration = Duration::from_secs(3);
pub const DURATION_MAX: Duration = Duration::from_secs(120);

/// The part of the lease that its holder uses, in thirds: two. The last third is for clocks that run apart.
const HOLDER_SHARE: (u32, u32) = (2, 3);

/// A lease is renewed five times in its duration, so that two lost renewals in a row lose nothing.
const RENEWALS: u32 = 5;

/// One process's name for itself: no two lives of a process share one.
pub type Holder = String;

/// What is stored: one item for each application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Grows by one with every write; what a write must find is the version that its writer has seen.
    pub version: u64,
    pub holder: Holder,
    /// Where the holder's API is reached by other replicas, if it said so.
    pub url: Option<String>,
    /// The holder's Region, for people.
    pub region: Option<String>,
    /// The journal's epoch under this holder; `None` until it has written its first record.
    pub epoch: Option<u64>,
    /// How many records the journal had at least: a hint for readers, never more (the records are the authority).
    pub records: u64,
    /// Since when this holder has it, by its own wall clock: for people, compared with nothing.
    pub since: Timestamp,
    /// Counted by whoever waits for its end; that of the holder that wrote it, whatever the reader's own is.
    pub duration_ms: u64,
    /// Given back: nobody waits for its end.
    pub released: bool,
}

impl Lease {
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.duration_ms)
    }
}

/// The holder's own view of its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tenure {
    /// The boot time at which the request that renewed it last was begun.
    renewed_at: Duration,
    duration: Duration,
}

impl Tenure {
    /// Of a lease that was taken or renewed by a request begun at the boot time `requested_at`. Where a request was
    /// repeated because its answer was lost, the first of them counts.
    pub fn begun(requested_at: Duration, duration: Duration) -> Self {
        Self { renewed_at: requested_at, duration }
    }

    /// When its holder stops itself.
    pub fn ends_at(&self) -> Duration {
        let (share, of) = HOLDER_SHARE;
        self.renewed_at + self.duration * share / of
    }

    /// When it is to be renewed next.
    pub fn renew_at(&self) -> Duration {
        self.renewed_at + self.duration / RENEWALS
    }

    /// Whether what is begun at `now` and takes `within` at most ends before the lease does.
    pub fn covers(&self, now: Duration, within: Duration) -> bool {
        now + within <= self.ends_at()
    }

    /// Whether nothing more may be begun.
    pub fn is_over(&self, now: Duration) -> bool {
        self.ends_at() <= now
    }

    /// The longest call that any moment between two renewals in time leaves room for.
    pub fn room(duration: Duration) -> Duration {
        let (share, of) = HOLDER_SHARE;
        duration * share / of - duration / RENEWALS
    }
}

/// What a challenger has seen of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watch {
    /// The newest lease seen, and the boot time at which it was seen first.
    seen: Option<(Lease, Duration)>,
    /// Nobody has one.
    absent: bool,
}

/// What a challenger may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Take it, where it still has this version (`None`: where there is none).
    Take { over: Option<u64> },
    /// Nobody may take it before this boot time.
    Wait { until: Duration },
}

impl Watch {
    /// Notes what a read that was answered at the boot time `at` found. `None`: there is no lease.
    pub fn saw(&mut self, lease: Option<Lease>, at: Duration) {
        self.absent = lease.is_none();
        match (lease, &mut self.seen) {
            (None, seen) => *seen = None,
            (Some(new), Some((old, _))) if old.version == new.version => *old = new,
            (Some(new), seen) => *seen = Some((new, at)),
        }
    }

    /// The newest lease seen.
    pub fn lease(&self) -> Option<&Lease> {
        self.seen.as_ref().map(|(lease, _)| lease)
    }

    /// What may be done at `now`; `None` where nothing was read yet.
    pub fn turn(&self, now: Duration) -> Option<Turn> {
        if self.absent {
            return Some(Turn::Take { over: None });
        }
        let (lease, since) = self.seen.as_ref()?;
        let until = *since + lease.duration();
        let over = Some(lease.version);
        Some(if lease.released || until <= now || is_off(Guard::LeaseWait) {
            Turn::Take { over }
        } else {
            Turn::Wait { until }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lease(version: u64) -> Lease {
        Lease {
            version,
            holder: "a".to_owned(),
            url: None,
            region: None,
            epoch: Some(3),
            records: 7,
            since: Timestamp::UNIX_EPOCH,
            duration_ms: 15_000,
            released: false,
        }
    }

    #[test]
    fn the_holder_stops_a_third_before_anybody_may_take_over() {
        // Renewed by a request begun at 100, visible at 100 at the earliest, so seen at 100 at the earliest.
        let tenure = Tenure::begun(100 * SECOND, 15 * SECOND);
        let mut watch = Watch::default();
        watch.saw(Some(lease(1)), 100 * SECOND);
        let Some(Turn::Wait { until }) = watch.turn(101 * SECOND) else { panic!("waits") };
        assert_eq!(tenure.ends_at(), 110 * SECOND);
        assert_eq!(until, 115 * SECOND);
        assert!(!tenure.is_over(109 * SECOND) && tenure.is_over(110 * SECOND));
        assert_eq!(watch.turn(115 * SECOND), Some(Turn::Take { over: Some(1) }));
    }

    #[test]
    fn only_another_version_starts_the_wait_anew() {
        let mut watch = Watch::default();
        assert_eq!(watch.turn(SECOND), None, "nothing was read");
        watch.saw(Some(lease(1)), SECOND);
        watch.saw(Some(lease(1)), 9 * SECOND);
        assert_eq!(watch.turn(15 * SECOND), Some(Turn::Wait { until: 16 * SECOND }));
        watch.saw(Some(lease(2)), 15 * SECOND);
        assert_eq!(watch.turn(16 * SECOND), Some(Turn::Wait { until: 30 * SECOND }));
    }

    #[test]
    fn what_is_given_back_or_was_never_there_is_taken_at_once() {
        let mut watch = Watch::default();
        watch.saw(None, SECOND);
        assert_eq!(watch.turn(SECOND), Some(Turn::Take { over: None }));
        watch.saw(Some(Lease { released: true, ..lease(4) }), 2 * SECOND);
        assert_eq!(watch.turn(2 * SECOND), Some(Turn::Take { over: Some(4) }));
    }

    #[test]
    fn a_call_is_begun_only_where_it_must_end_before_the_lease() {
        let tenure = Tenure::begun(100 * SECOND, 15 * SECOND);
        assert!(tenure.covers(103 * SECOND, 7 * SECOND));
        assert!(!tenure.covers(104 * SECOND, 7 * SECOND));
        // A call of this length finds room whenever the last renewal was in time.
        assert_eq!(Tenure::room(15 * SECOND), 7 * SECOND);
        assert!(tenure.covers(tenure.renew_at(), Tenure::room(15 * SECOND)));
    }

    #[test]
    fn the_wait_is_as_long_as_the_holder_said_whatever_the_challengers_own_lease_is() {
        let mut watch = Watch::default();
        watch.saw(Some(Lease { duration_ms: 60_000, ..lease(1) }), SECOND);
        assert_eq!(watch.turn(30 * SECOND), Some(Turn::Wait { until: 61 * SECOND }));
    }
}
