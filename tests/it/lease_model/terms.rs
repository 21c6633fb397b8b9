//! The lease's arithmetic in ticks, asked once of the engine's own functions.

use std::time::Duration;

use failoverd::domain::lease::{Lease, Tenure, Turn, Watch};
use jiff::Timestamp;

/// Half of the lease: there is room for a call at age 0, none at age 1; at age 2 the holder has ended itself (10 s) and a
/// challenger need not wait any more.
const TICK: Duration = Duration::from_millis(7_500);
const DURATION: Duration = Duration::from_secs(15);
const CALL_WITHIN: Duration = Duration::from_secs(5);

/// An age in ticks from which nothing changes any more.
const OLD: u8 = 2;

/// By age in ticks.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    has_room: Vec<bool>,
    is_over: Vec<bool>,
    may_take: Vec<bool>,
}

impl Terms {
    /// What [`Tenure`] and [`Watch`] say at each age.
    pub(super) fn asked() -> Self {
        let begun = 1_000 * TICK;
        let tenure = Tenure::begun(begun, DURATION);
        let now = |age: u8| begun + TICK * u32::from(age);
        let may_take = |age: u8| {
            let mut watch = Watch::default();
            watch.saw(Some(lease(7)), begun);
            // Another look at the same version begins no new wait; one at another version does.
            watch.saw(Some(lease(7)), now(age));
            matches!(watch.turn(now(age)), Some(Turn::Take { over: Some(7) }))
        };
        Self {
            has_room: (0..=OLD).map(|age| tenure.covers(now(age), CALL_WITHIN)).collect(),
            is_over: (0..=OLD).map(|age| tenure.is_over(now(age))).collect(),
            may_take: (0..=OLD).map(may_take).collect(),
        }
    }

    pub(super) fn has_room(&self, tenure: u8) -> bool {
        self.has_room[usize::from(tenure)]
    }

    pub(super) fn is_over(&self, tenure: u8) -> bool {
        self.is_over[usize::from(tenure)]
    }

    pub(super) fn may_take(&self, watched: u8) -> bool {
        self.may_take[usize::from(watched)]
    }

    pub(super) fn older(&self, age: u8) -> u8 {
        (age + 1).min(OLD)
    }
}

fn lease(version: u64) -> Lease {
    Lease {
        version,
        holder: "a".to_owned(),
        url: None,
        region: None,
        epoch: None,
        records: 0,
        since: Timestamp::UNIX_EPOCH,
        duration_ms: u64::try_from(DURATION.as_millis()).expect("short"),
        released: false,
    }
}
