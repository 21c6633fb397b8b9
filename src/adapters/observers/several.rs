//! Several observers as one: each is told everything, in order.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use crate::{
    domain::{
        application::Application,
        assessment::Assessment,
        deadline::Deadline,
        history::History,
        id::{ApplicationName, ChannelName},
        journal::Record,
        preflight::Preflight,
        signature::{Check, Family},
        trace::{Behalf, CloudCall},
    },
    ports::Observer,
};

/// See the module.
#[derive(Debug)]
pub struct Several(pub Vec<Arc<dyn Observer>>);

impl Observer for Several {
    fn taken_over(&self, history: &History) {
        self.0.iter().for_each(|one| one.taken_over(history));
    }

    fn led(&self, application: &ApplicationName, leads: bool) {
        self.0.iter().for_each(|one| one.led(application, leads));
    }

    fn held(&self, application: &ApplicationName, is_held: bool) {
        self.0.iter().for_each(|one| one.held(application, is_held));
    }

    fn recorded(&self, record: &Record, append_seconds: f64) {
        self.0.iter().for_each(|one| one.recorded(record, append_seconds));
    }

    fn assessed(&self, assessment: &Assessment) {
        self.0.iter().for_each(|one| one.assessed(assessment));
    }

    fn due(&self, application: &ApplicationName, deadline: Option<&Deadline>) {
        self.0.iter().for_each(|one| one.due(application, deadline));
    }

    fn drilled(&self, application: &Application, history: &History, now: Timestamp) {
        self.0.iter().for_each(|one| one.drilled(application, history, now));
    }

    fn preflighted(&self, found: &Preflight, now: Timestamp) {
        self.0.iter().for_each(|one| one.preflighted(found, now));
    }

    fn signatures_checked(&self, family: Family, check: &Check) {
        self.0.iter().for_each(|one| one.signatures_checked(family, check));
    }

    fn notified(&self, channel: &ChannelName, outcome: &str) {
        self.0.iter().for_each(|one| one.notified(channel, outcome));
    }

    fn untold(&self, app: &ApplicationName, waiting: &BTreeMap<ChannelName, (usize, Timestamp)>, now: Timestamp) {
        self.0.iter().for_each(|one| one.untold(app, waiting, now));
    }

    fn called(&self, service: &str, operation: &str, region: &str, outcome: &str, at: Timestamp) {
        self.0.iter().for_each(|one| one.called(service, operation, region, outcome, at));
    }

    fn traced(&self, behalf: &Behalf, call: &CloudCall) {
        self.0.iter().for_each(|one| one.traced(behalf, call));
    }
}
