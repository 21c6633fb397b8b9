//! What the time without service was spent on, seen from outside: by the clients' failures and the journal's instants.
//!
//! Invariant: the parts add up to the time without service. Where the run began before any client failed, or nobody
//! was served again, there is nothing to tell.

use crate::sim::world::SimTime;

/// Of one interruption, in seconds; together the whole of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spent {
    /// From the clients' first failure to the recommendation, or to the run where nothing was recommended.
    pub detection_seconds: f64,
    /// To the run's last consent.
    pub decision_seconds: f64,
    /// To the last call that moves traffic being seen to have done so.
    pub execution_seconds: f64,
    /// To every client being served.
    pub propagation_seconds: f64,
}

impl Spent {
    /// The name of each part, and what was spent on it.
    pub fn parts(&self) -> [(&'static str, f64); 4] {
        [
            ("detection", self.detection_seconds),
            ("decision", self.decision_seconds),
            ("execution", self.execution_seconds),
            ("propagation", self.propagation_seconds),
        ]
    }
}

/// The instants of one run, as far as there were any.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Instants {
    pub recommended: Option<SimTime>,
    pub started: Option<SimTime>,
    pub consented: Option<SimTime>,
    pub moved: Option<SimTime>,
}

impl Instants {
    /// Between the first failure and service again.
    pub(super) fn spent(&self, failed: SimTime, served: SimTime) -> Option<Spent> {
        let (started, moved) = (self.started?, self.moved?);
        if started < failed || served < failed {
            return None;
        }
        // Each part ends no sooner than the one before it, and none after the whole: clients may be served by records
        // that flip by themselves.
        let bound = |from: SimTime, at: SimTime| at.max(from).min(served);
        let detected = bound(failed, self.recommended.unwrap_or(started));
        let decided = bound(detected, self.consented.unwrap_or(started));
        let moved = bound(decided, moved);
        let seconds = |from: SimTime, to: SimTime| std::time::Duration::from_millis(to.since_ms(from)).as_secs_f64();
        Some(Spent {
            detection_seconds: seconds(failed, detected),
            decision_seconds: seconds(detected, decided),
            execution_seconds: seconds(decided, moved),
            propagation_seconds: seconds(moved, served),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SimTime {
        SimTime(1_000 * seconds)
    }

    fn instants() -> Instants {
        let (recommended, started) = (Some(at(120)), Some(at(140)));
        Instants { recommended, started, consented: Some(at(155)), moved: Some(at(230)) }
    }

    #[test]
    fn the_parts_add_up_to_the_time_without_service() {
        let spent = instants().spent(at(100), at(290)).expect("all is known");
        assert_eq!(spent.parts().map(|(_, seconds)| seconds), [20.0, 35.0, 75.0, 60.0]);
        // Served before the run was done with traffic: the rest is not without service.
        let spent = instants().spent(at(100), at(200)).expect("all is known");
        assert_eq!(spent.parts().map(|(_, seconds)| seconds), [20.0, 35.0, 45.0, 0.0]);
        // Nobody recommended it: the request is the end of the detection.
        let spent = Instants { recommended: None, ..instants() }.spent(at(100), at(290)).expect("all is known");
        assert_eq!(spent.parts().map(|(_, seconds)| seconds), [40.0, 15.0, 75.0, 60.0]);
    }

    #[test]
    fn what_did_not_begin_with_a_failure_is_not_told() {
        assert_eq!(instants().spent(at(150), at(290)), None, "planned: the run was first");
        assert_eq!(Instants { moved: None, ..instants() }.spent(at(100), at(290)), None, "traffic never moved");
    }
}
