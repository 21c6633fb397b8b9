//! The series about drills: what was proved and how long ago, how ready that makes an application, and what became of its
//! schedules.
//!
//! Invariants: as in [`super`]: bounded labels (kinds of proof, and schedules of the configuration), and no series for
//! what is not known: what was never proved has no number of days, and its application says so by its state.

use jiff::Timestamp;
use prometheus::{GaugeVec, Registry};

use super::gauges;
use crate::domain::{
    application::Application,
    history::History,
    proof::{self, Kind, Readiness, State},
};

const SECONDS_A_DAY: f64 = 86_400.0;

/// See the module.
#[derive(Debug)]
pub(super) struct Drills {
    proven: GaugeVec,
    readiness: GaugeVec,
    next: GaugeVec,
    began: GaugeVec,
    missed: GaugeVec,
    not_begun: GaugeVec,
}

impl Drills {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let one = |name: &str, help: &str, labels: &[&str]| gauges(registry, name, help, labels);
        let of_schedule = ["application", "schedule"];
        Ok(Self {
            proven: one(
                "failoverd_days_since_proven",
                "Days since a run last proved this; absent where none ever did.",
                &["application", "kind"],
            )?,
            readiness: one(
                "failoverd_readiness",
                "1 for how ready the application is, by what was proved.",
                &["application", "state"],
            )?,
            next: one("failoverd_drill_next_timestamp_seconds", "When the schedule is due next.", &of_schedule)?,
            began: one("failoverd_drills_begun", "How many drills of the schedule began, ever.", &of_schedule)?,
            missed: one("failoverd_drills_missed", "How many of the schedule were missed, ever.", &of_schedule)?,
            not_begun: one(
                "failoverd_drill_not_begun",
                "1 while the schedule is due and something stands in the way.",
                &of_schedule,
            )?,
        })
    }

    pub(super) fn set(&self, app: &Application, history: &History, now: Timestamp) {
        let name = app.name.as_str();
        for kind in Kind::ALL {
            let labels = [name, kind.as_str()];
            match history.proofs.of(kind) {
                Some(proof) => {
                    let days = proof::age(proof, now).as_secs_f64() / SECONDS_A_DAY;
                    self.proven.with_label_values(&labels).set(days);
                }
                // Removing what is not there is no fault.
                None => _ = self.proven.remove_label_values(&labels),
            }
        }
        let ready = Readiness::of(app, history, now).state;
        for state in State::ALL {
            let is_it = if state == ready { 1.0 } else { 0.0 };
            self.readiness.with_label_values(&[name, state.as_str()]).set(is_it);
        }
        for schedule in &app.schedules {
            let labels = [name, schedule.name.as_str()];
            match schedule.after(now) {
                Some(next) => self.next.with_label_values(&labels).set(next.as_duration().as_secs_f64()),
                None => _ = self.next.remove_label_values(&labels),
            }
            let Some(followed) = history.schedules.get(&schedule.name) else { continue };
            let stands = followed.not_begun.as_ref().is_some_and(|not| followed.settled < not.occurrence);
            self.not_begun.with_label_values(&labels).set(if stands { 1.0 } else { 0.0 });
            self.began.with_label_values(&labels).set(count(followed.began_count));
            self.missed.with_label_values(&labels).set(count(followed.missed_count));
        }
    }
}

/// Exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "a schedule occurs once a day at most")]
fn count(n: u64) -> f64 {
    n as f64
}
