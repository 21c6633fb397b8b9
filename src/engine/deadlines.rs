//! Tells, while a run is under way, how it stands to the RTO: each threshold is logged once.
//!
//! It stops nothing and hastens nothing. What it has told is forgotten with the process: a restart tells it again.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::{
    domain::{
        application::Application,
        deadline::{self, About, Level},
        forecast::Forecast,
        history::History,
        id::RunId,
    },
    ports::Observer,
};

/// See the module. One per application.
#[derive(Debug, Default)]
pub struct Deadlines {
    told: Option<Told>,
}

/// The run that is under way.
#[derive(Debug)]
struct Told {
    run: RunId,
    /// What it was expected to take when it was first seen.
    forecast: Forecast,
    /// What has been told of it.
    said: BTreeSet<(About, Level)>,
}

impl Deadlines {
    /// Looks at the run that is under way, if there is one, at `now`.
    pub fn look(&mut self, application: &Application, history: &History, observer: &dyn Observer, now: Timestamp) {
        let Some(run) = history.moving_run() else {
            if self.told.take().is_some() {
                observer.due(&application.name, None);
            }
            return;
        };
        let under_way = self.told.take().filter(|told| told.run == run.id);
        let told = self.told.insert(under_way.unwrap_or_else(|| Told {
            run: run.id.clone(),
            forecast: Forecast::of(&run.plan, history.runs.values().map(AsRef::as_ref)),
            said: BTreeSet::new(),
        }));
        let due = deadline::deadline(run, application.objectives.rto, &told.forecast, now);
        for warning in due.iter().flat_map(|d| &d.warnings) {
            if told.said.insert((warning.about.clone(), warning.level)) {
                tracing::warn!(
                    application = %application.name,
                    run = %run.id,
                    about = ?warning.about,
                    level = warning.level.as_str(),
                    used_seconds = warning.used.as_secs_f64(),
                    of_seconds = warning.whole.as_secs_f64(),
                    "the RTO is being used up"
                );
            }
        }
        observer.due(&application.name, due.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Mutex, time::Duration};

    use super::*;
    use crate::domain::{
        action::Action,
        application::Objectives,
        assessment::Assessment,
        deadline::Deadline,
        id::{ApplicationName, Digest},
        journal::{Event, Record, Request},
        plan::{OnFailure, Plan, PlannedStep, Purpose, Retry},
        run::RunResult,
    };

    /// Remembers how many warnings it was told of; `None` when there is nothing under way.
    #[derive(Debug, Default)]
    struct Listener(Mutex<Vec<Option<usize>>>);

    impl Observer for Listener {
        fn recorded(&self, _: &Record, _: f64) {}
        fn assessed(&self, _: &Assessment) {}
        fn due(&self, _: &ApplicationName, deadline: Option<&Deadline>) {
            self.0.lock().expect("nobody panics").push(deadline.map(|d| d.warnings.len()));
        }
        fn called(&self, _: &str, _: &str, _: &str, _: &str, _: Timestamp) {}
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("in range")
    }

    fn application() -> Application {
        Application {
            name: "payments".parse().expect("valid"),
            regions: vec!["us-east-1".parse().expect("valid"), "us-west-2".parse().expect("valid")],
            objectives: Objectives { rto: Duration::from_secs(100), rpo: Duration::from_secs(5) },
            stores: BTreeMap::new(),
            replicas: BTreeMap::new(),
            traffic: BTreeMap::new(),
            signals: vec![],
            endpoints: BTreeMap::new(),
            public_url: None,
            runbooks: BTreeMap::new(),
            drills: Vec::new(),
            schedules: Vec::new(),
            prove_within: None,
            topics: vec![],
            policy: Default::default(),
            iac: Default::default(),
        }
    }

    fn started(application: &Application) -> Event {
        let step = PlannedStep {
            id: "settle".parse().expect("valid"),
            title: "Settle".to_owned(),
            needs: BTreeSet::new(),
            when: None,
            action: Action::Wait { duration: Duration::from_secs(20) },
            timeout: Duration::from_secs(60),
            retry: Retry { attempts: 1, backoff: Duration::ZERO },
            on_failure: OnFailure::Hold,
            no_return: false,
            towards: Default::default(),
        };
        let plan = Plan {
            application: application.name.clone(),
            purpose: Purpose::Failover,
            source: application.regions[0].clone(),
            target: application.regions[1].clone(),
            runbook: "region-failover".parse().expect("valid"),
            runbook_digest: Digest::zero(),
            config_digest: Digest::zero(),
            accepted_loss: None,
            budget: None,
            reconciles: None,
            steps: vec![step],
        };
        let request = Request {
            purpose: Purpose::Failover,
            subject: "ann".parse().expect("valid"),
            reason: "gone".to_owned(),
            idempotency_key: None,
            body_digest: Digest::zero(),
            supersedes: None,
            armed: None,
        };
        let run = RunId::new(&application.name, 1);
        Event::RunStarted { run, request, plan: Box::new(plan), evidence_since: Some(at(0)) }
    }

    #[test]
    fn a_run_is_told_of_while_it_is_under_way_each_threshold_once() {
        let (app, told, mut deadlines) = (application(), Listener::default(), Deadlines::default());
        let mut history = History::new(app.name.clone());
        deadlines.look(&app, &history, &told, at(0));
        history.apply_event(at(10), &started(&app)).expect("legal");
        let (run, step) = (RunId::new(&app.name, 1), "settle".parse().expect("valid"));
        history.apply_event(at(10), &Event::StepStarted { run: run.clone(), step, attempt: 1 }).expect("legal");
        for second in [20, 64, 65, 101] {
            deadlines.look(&app, &history, &told, at(second));
        }
        let said = deadlines.told.as_ref().map_or(0, |told| told.said.len());
        assert_eq!(said, 3, "60 % and all of what was left to the step, and the RTO itself: {deadlines:?}");
        let end = Event::RunFinished { run, result: RunResult::Failed, reason: "so".to_owned(), loss: None };
        history.apply_event(at(120), &end).expect("legal");
        deadlines.look(&app, &history, &told, at(121));
        deadlines.look(&app, &history, &told, at(122));
        let told = told.0.into_inner().expect("nobody panics");
        assert_eq!(told, [Some(0), Some(1), Some(1), Some(2), None]);
    }
}
