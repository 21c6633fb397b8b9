//! The write trail: the last write that each Region's database was seen to hold, and since when a Region has not
//! answered. It is what measures a failover's loss without asking the database or CloudWatch.
//!
//! Kept in memory and bounded; what a run needs of it is journalled by its steps.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use jiff::Timestamp;

use crate::{
    domain::{application::Endpoint, id::Region, recovery::Watermark, signal},
    ports::{
        Clock, Probes,
        probes::{HttpAnswer, HttpQuestion},
    },
};

/// How long a watermark probe may take.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug, Default)]
pub struct WriteTrail(Mutex<BTreeMap<Region, Watermark>>);

impl WriteTrail {
    /// What `region` showed so far.
    pub fn of(&self, region: &Region) -> Watermark {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(region).copied().unwrap_or_default()
    }

    fn note(&self, region: &Region, now: Timestamp, write: Option<Timestamp>) {
        let mut trail = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mark = trail.entry(region.clone()).or_default();
        if write.is_some() {
            mark.last_seen_write = mark.last_seen_write.max(write);
            mark.first_unanswered = None;
        } else {
            mark.first_unanswered = mark.first_unanswered.or(Some(now));
        }
    }

    /// Asks `endpoint` once and notes what it says.
    pub async fn look(
        &self,
        probes: &dyn Probes,
        clock: &dyn Clock,
        region: &Region,
        endpoint: &Endpoint,
    ) -> Option<Timestamp> {
        let pointer = endpoint.last_write_pointer.as_deref()?;
        let question = HttpQuestion {
            url: endpoint.health_url.clone(),
            timeout: PROBE_TIMEOUT,
            resolve_with: Vec::new(),
            record_type: "A".to_owned(),
        };
        let write = match probes.http(&question).await {
            // An answer without a (believable) watermark says nothing of the database, neither way.
            HttpAnswer::Status { status: 200..=299, body, .. } => Some(
                serde_json::from_str::<serde_json::Value>(&body)
                    .ok()
                    .and_then(|body| body.pointer(pointer)?.as_str()?.parse::<Timestamp>().ok())
                    .filter(|at| signal::age(clock.wall(), *at).is_some())?,
            ),
            HttpAnswer::Status { .. } | HttpAnswer::NoAnswer { .. } => None,
            // The question could not be put: that says nothing of the endpoint.
            HttpAnswer::NotAsked { .. } => return None,
        };
        self.note(region, clock.wall(), write);
        write
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_unanswered_probe_since_the_last_answer_counts() {
        let trail = WriteTrail::default();
        let region: Region = "us-east-1".parse().expect("valid");
        let at = |s: i64| Timestamp::from_second(s).expect("in range");
        trail.note(&region, at(10), Some(at(9)));
        trail.note(&region, at(11), None);
        trail.note(&region, at(12), Some(at(11)));
        trail.note(&region, at(13), None);
        trail.note(&region, at(14), None);
        assert_eq!(trail.of(&region), Watermark { last_seen_write: Some(at(11)), first_unanswered: Some(at(13)) });
    }
}
