//! By how much this machine's clock differs from AWS's, by the `Date` of every answer.
//!
//! Invariant: with a clock that is off, no age is told and nothing is changed: a lag sample would seem younger or older
//! than it is, and the loss bound with it (FAULTS.md 11). Only a difference that was measured refuses anything: an
//! answer without a `Date`, or none yet, says nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeDeserializationInterceptorContextRef},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;
use jiff::{SignedDuration, Timestamp};

use crate::{
    domain::{id::Region, signal::CLOCK_SKEW_MAX},
    ports::Clock,
};

/// A measurement older than this counts no more: the clock may have been set right, and AWS was not asked since.
const MEASURED_FOR: Duration = Duration::from_mins(2);

/// See the module. Clones are one.
#[derive(Debug, Clone)]
pub(super) struct Skew {
    clock: Arc<dyn Clock>,
    /// Per Region: when it was measured, in boot time, and by how much our clock is ahead.
    measured: Arc<Mutex<BTreeMap<Region, (Duration, SignedDuration)>>>,
}

impl Skew {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, measured: Arc::default() }
    }

    /// What looks at the answers of one Region's client.
    pub(super) fn of(&self, region: &Region) -> DateCheck {
        DateCheck { skew: self.clone(), region: region.clone() }
    }

    /// Why no age is to be told by the answers of `region`, where that is so.
    pub(super) fn refusal(&self, region: &Region) -> Option<String> {
        let measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        self.beyond(region, measured.get(region)?)
    }

    /// Why nothing is to be changed: every Region that was asked lately says that the clock here is off. One that says
    /// so alone has a wrong clock of its own.
    pub(super) fn refusal_everywhere(&self) -> Option<String> {
        let measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let mut newest = measured.iter().filter(|(_, m)| self.is_new(m)).map(|(region, m)| self.beyond(region, m));
        let first = newest.next()??;
        newest.all(|refusal| refusal.is_some()).then_some(first)
    }

    fn is_new(&self, (at, _): &(Duration, SignedDuration)) -> bool {
        self.clock.boot().saturating_sub(*at) <= MEASURED_FOR
    }

    fn beyond(&self, region: &Region, measured: &(Duration, SignedDuration)) -> Option<String> {
        let ahead = measured.1;
        (self.is_new(measured) && CLOCK_SKEW_MAX < ahead.unsigned_abs()).then(|| {
            let direction = if ahead.is_negative() { "behind" } else { "ahead of" };
            format!("the clock here is {} s {direction} that of AWS in {region}", ahead.unsigned_abs().as_secs())
        })
    }

    fn measure(&self, region: &Region, date: Timestamp) {
        let ahead = self.clock.wall().duration_since(date);
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        measured.insert(region.clone(), (self.clock.boot(), ahead));
    }
}

/// An interceptor that reads the `Date` of each answer.
#[derive(Debug)]
pub(super) struct DateCheck {
    skew: Skew,
    region: Region,
}

impl Intercept for DateCheck {
    fn name(&self) -> &'static str {
        "DateCheck"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        // What is no date says nothing: the answer itself is read all the same.
        if let Some(date) = date.and_then(|text| jiff::fmt::rfc2822::parse(text).ok()) {
            self.skew.measure(&self.region, date.timestamp());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stands still where it is set.
    #[derive(Debug)]
    struct Still(Mutex<(Timestamp, Duration)>);

    #[async_trait::async_trait]
    impl Clock for Still {
        fn wall(&self) -> Timestamp {
            self.0.lock().expect("nobody panics").0
        }
        fn boot(&self) -> Duration {
            self.0.lock().expect("nobody panics").1
        }
        async fn sleep(&self, _: Duration) {}
    }

    #[test]
    fn only_a_difference_that_every_region_measured_lately_refuses_a_change() {
        let at = |s: i64| Timestamp::from_second(1_795_000_000 + s).expect("in range");
        let region = |name: &str| name.parse::<Region>().expect("a Region");
        let (east, west) = (region("us-east-1"), region("us-west-2"));
        let clock = Arc::new(Still(Mutex::new((at(0), Duration::ZERO))));
        let skew = Skew::new(Arc::clone(&clock) as Arc<dyn Clock>);
        assert_eq!(skew.refusal_everywhere(), None, "nothing was measured");
        skew.measure(&east, at(-45));
        assert_eq!(skew.refusal(&east).as_deref(), Some("the clock here is 45 s ahead of that of AWS in us-east-1"));
        assert_eq!(skew.refusal(&west), None);
        assert!(skew.refusal_everywhere().is_some());
        skew.measure(&west, at(30));
        assert_eq!(skew.refusal(&west), None, "as far as clocks may differ");
        assert_eq!(skew.refusal_everywhere(), None, "the east's clock is wrong, not ours");
        skew.measure(&west, at(31));
        assert!(skew.refusal_everywhere().is_some_and(|why| why.contains("us-east-1")));
        clock.0.lock().expect("nobody panics").1 = MEASURED_FOR + Duration::from_secs(1);
        assert_eq!(skew.refusal_everywhere(), None, "too long ago");
    }
}
