//! Those who are told what was recorded: metrics, notifications, live views. They see facts after the commit and
//! cannot stop, delay or fail anything.

use std::{collections::BTreeMap, fmt::Debug};

use jiff::Timestamp;

use crate::domain::{
    application::Application,
    assessment::Assessment,
    deadline::Deadline,
    history::History,
    id::{ApplicationName, ChannelName},
    journal::Record,
    preflight::Preflight,
    signature::{Check, Family},
    trace::{Behalf, CloudCall},
};

/// Must return at once: whatever takes time is queued (bounded) and done elsewhere.
pub trait Observer: Send + Sync + Debug {
    /// An application's journal was read back and taken over, at the start or as soon as its store could be read.
    fn taken_over(&self, _history: &History) {}

    /// This replica works on `application` from now on, or does not any more.
    fn led(&self, _application: &ApplicationName, _leads: bool) {}

    /// Nothing is done for `application` from now on, since its journal is refused or cannot be read, or that is over.
    fn held(&self, _application: &ApplicationName, _is_held: bool) {}

    /// `record` is durable. `append_seconds` is how long its commit took.
    fn recorded(&self, record: &Record, append_seconds: f64);

    /// A fresh assessment, whether or not its verdict changed.
    fn assessed(&self, assessment: &Assessment);

    /// How the run under way stands to the RTO, at every assessment; `None` where none is under way, or where that is
    /// not known.
    fn due(&self, _application: &ApplicationName, _deadline: Option<&Deadline>) {}

    /// What the drills of `application` have proved, and when the next are due, every few seconds.
    fn drilled(&self, _application: &Application, _history: &History, _now: Timestamp) {}

    /// What a round of preflight has found, after each round, and every half minute while none can be held.
    fn preflighted(&self, _found: &Preflight, _now: Timestamp) {}

    /// Whether AWS refuses old signatures for a family of services.
    fn signatures_checked(&self, _family: Family, _check: &Check) {}

    /// An attempt to tell people over `channel` ended; `outcome` is one of `delivered`, `refused`, `failed`, `given_up`.
    fn notified(&self, _channel: &ChannelName, _outcome: &str) {}

    /// What people were not told yet of `application` as of `now`: by channel, how many notices, and since when the oldest
    /// waits.
    fn untold(
        &self,
        _application: &ApplicationName,
        _waiting: &BTreeMap<ChannelName, (usize, Timestamp)>,
        _now: Timestamp,
    ) {
    }

    /// A call to AWS ended; `outcome` is one of `ok`, `rejected`, `not_sent`, `unknown`.
    fn called(&self, service: &str, operation: &str, region: &str, outcome: &str, at: Timestamp);

    /// The same call, where it was made for a step of a run, with what is known of how it went.
    fn traced(&self, _behalf: &Behalf, _call: &CloudCall) {}
}
