//! The series about telling people.
//!
//! Invariant: labels are the channels of the configuration, and the outcomes of [`Observer::notified`](crate::ports::Observer).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use prometheus::{GaugeVec, IntCounterVec, Opts, Registry};

use super::gauges;
use crate::domain::id::{ApplicationName, ChannelName};

/// See the module.
#[derive(Debug)]
pub(super) struct ToldSeries {
    attempts: IntCounterVec,
    waiting: GaugeVec,
    oldest: GaugeVec,
    shown: Mutex<BTreeSet<(ApplicationName, ChannelName)>>,
}

impl ToldSeries {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "Attempts to tell people, by channel and how they ended: delivered, refused, failed, given_up.";
        let attempts = IntCounterVec::new(Opts::new("failoverd_notifications_total", help), &["channel", "outcome"])?;
        registry.register(Box::new(attempts.clone()))?;
        Ok(Self {
            attempts,
            waiting: gauges(
                registry,
                "failoverd_notifications_undelivered",
                "Notices that a channel has not taken yet.",
                &["application", "channel"],
            )?,
            oldest: gauges(
                registry,
                "failoverd_notification_oldest_undelivered_seconds",
                "For how long the oldest notice waits; 0 where none does.",
                &["application"],
            )?,
            shown: Mutex::default(),
        })
    }

    pub(super) fn notified(&self, channel: &ChannelName, outcome: &str) {
        self.attempts.with_label_values(&[channel.as_str(), outcome]).inc();
    }

    /// `now` is when it was counted.
    pub(super) fn untold(
        &self,
        application: &ApplicationName,
        waiting: &BTreeMap<ChannelName, (usize, Timestamp)>,
        now: Timestamp,
    ) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for channel in waiting.keys() {
            shown.insert((application.clone(), channel.clone()));
        }
        for (_, channel) in shown.iter().filter(|(app, _)| app == application) {
            let count = waiting.get(channel).map_or(0, |(count, _)| *count);
            #[expect(clippy::cast_precision_loss, reason = "at most some thousand wait")]
            self.waiting.with_label_values(&[application.as_str(), channel.as_str()]).set(count as f64);
        }
        let oldest = waiting.values().map(|(_, at)| *at).min();
        let age = oldest.map_or(0.0, |at| now.duration_since(at).as_secs_f64().max(0.0));
        self.oldest.with_label_values(&[application.as_str()]).set(age);
    }
}
