//! How the lag and the exposure of an application's stores went over the last hour, for people to see.
//!
//! Invariant: one point each [`EVERY`], at most [`POINTS_MAX`]; what was not known at a point is `None` there, never zero
//! and never the value before it. It deliberately is not journalled and decides nothing: after a restart, or where another
//! replica leads since, it begins anew.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::domain::{assessment::Assessment, id::StoreName};

/// The least time between two points.
pub const EVERY: Duration = Duration::from_secs(10);

/// An hour of points: some 100 bytes each for a store.
pub const POINTS_MAX: usize = 360;

/// What was known of every store at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub at: Timestamp,
    pub stores: BTreeMap<StoreName, Known>,
}

/// What was known of one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The lag that was measured last; `None` where none was, or where it was too old to be believed.
    pub lag: Option<Duration>,
    /// The most that a failover would have lost; `None`: unbounded.
    pub bound: Option<Duration>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Trend(Mutex<VecDeque<Point>>);

impl Trend {
    /// Keeps what `assessment` knows, where the last point is old enough. A clock that went back begins anew.
    pub fn note(&self, assessment: &Assessment) {
        let mut points = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match points.back().map(|last| Duration::try_from(assessment.at.duration_since(last.at))) {
            Some(Ok(since)) if since < EVERY => return,
            Some(Err(_)) => points.clear(),
            Some(Ok(_)) | None => {}
        }
        while POINTS_MAX <= points.len() {
            points.pop_front();
        }
        let stores = assessment.exposure.iter().chain(&assessment.replicas);
        let known = stores.map(|(store, e)| {
            let lag = e.measured_lag.filter(|_| e.fresh);
            (store.clone(), Known { lag, bound: e.loss_bound })
        });
        points.push_back(Point { at: assessment.at, stores: known.collect() });
    }

    /// Every point, the oldest first.
    pub fn points(&self) -> Vec<Point> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::assessment::Exposure;

    fn seen(second: i64, lag: Option<u64>, fresh: bool) -> Assessment {
        let at = Timestamp::from_second(1_800_000_000 + second).expect("in range");
        let mut assessment = Assessment::unknown("payments".parse().expect("valid"), at);
        let measured_lag = lag.map(Duration::from_secs);
        let exposure = Exposure {
            measured_lag,
            sample_age: measured_lag,
            loss_bound: measured_lag,
            basis: "a test".to_owned(),
            fresh,
        };
        assessment.exposure.insert("orders".parse().expect("valid"), exposure);
        assessment
    }

    #[test]
    fn an_hour_is_kept_a_point_each_ten_seconds() {
        let trend = Trend::default();
        for second in 0..7_200 {
            trend.note(&seen(second, Some(1), true));
        }
        let points = trend.points();
        assert_eq!(points.len(), POINTS_MAX);
        assert!(points.windows(2).all(|two| two[1].at.duration_since(two[0].at).as_secs() == 10));
        assert_eq!(points.last().map(|p| p.at), Some(seen(7_190, None, true).at));
    }

    #[test]
    fn what_is_stale_or_missing_is_no_lag() {
        let trend = Trend::default();
        trend.note(&seen(0, Some(3), false));
        trend.note(&seen(10, None, false));
        let lags: Vec<_> = trend.points().iter().flat_map(|p| p.stores.values().map(|k| k.lag)).collect();
        assert_eq!(lags, [None, None]);
        assert_eq!(trend.points()[1].stores.values().next().expect("a store").bound, None, "unbounded, not zero");
    }

    #[test]
    fn a_clock_that_goes_back_begins_anew() {
        let trend = Trend::default();
        trend.note(&seen(100, Some(1), true));
        trend.note(&seen(50, Some(2), true));
        assert_eq!(trend.points().len(), 1);
    }
}
