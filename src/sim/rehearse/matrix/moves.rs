//! The undisturbed moves: what is disturbed, and what its end is held against.

use std::time::Duration;

use super::{
    super::director::LIVENESS, Base, Ending, Expectation, Happening, Measured, Plan, Plane, Promise, Purpose, Reach,
    RunEnd, Scenario, Setup, Trouble, measure,
};
use crate::{
    domain::{
        action::Action,
        application::Application,
        id::{ApplicationName, RunbookName},
        plan::OnFailure,
        signal::SignalSource,
    },
    sim::scenario::{Approver, Ask, People, When, Wish},
};

/// How long all has been well before.
const WARM_UP: Duration = Duration::from_mins(4);
/// When it happens, or is asked for.
const BEGINS_AT: Duration = Duration::from_mins(1);
/// How long a rehearsal goes on after everything has healed, at the most: until the liveness phase is over.
const LASTS_HEALED: Duration = LIVENESS.saturating_add(Duration::from_mins(1));
/// How long after everything has healed the operator resumes what is held.
const RESUMES_AFTER: Duration = Duration::from_secs(10);

/// A move that nothing disturbs but why it is made.
#[derive(Debug, Clone)]
pub(super) struct Move {
    pub(super) scenario: Scenario,
    pub(super) measured: Measured,
    pub(super) plan: Plan,
}

impl Move {
    /// # Errors
    /// Where it does not succeed.
    pub(super) fn measured(
        setup: &Setup,
        (purpose, runbook): (Purpose, &RunbookName),
        base: Base,
        seed: u64,
    ) -> Result<Self, String> {
        let scenario = scenario(&setup.application, (purpose, runbook), base)?;
        let measured = measure(setup, &scenario, seed);
        let ending = &measured.rehearsed.ending;
        let sound = *ending == Ending::Succeeded && measured.rehearsed.violations.is_empty();
        let plan = measured.plan.clone().filter(|_| sound).ok_or_else(|| {
            let wrong: Vec<String> =
                measured.rehearsed.violations.iter().map(|v| format!("{}: {}", v.property, v.text)).collect();
            format!(
                "the undisturbed {purpose} of {} under seed {seed} ends as {ending:?}, so that its matrices have \
                 nothing to be held against {}",
                setup.application.name,
                wrong.join("; ")
            )
        })?;
        Ok(Self { scenario, measured, plan })
    }

    /// The same with so much more going wrong, all of it healed by `heals_at`.
    pub(super) fn disturbed(&self, what: &str, happenings: Vec<Happening>, heals_at: Duration) -> Scenario {
        let mut scenario = self.scenario.clone();
        scenario.description = what.to_owned();
        scenario.happenings.extend(happenings);
        scenario.heals_at = Some(heals_at);
        scenario.lasts = heals_at + LASTS_HEALED;
        scenario
    }

    /// Whether it is a drill that puts a fault in.
    pub(super) fn breaks_on_purpose(&self) -> bool {
        self.plan.steps.iter().any(|step| matches!(step.action, Action::LambdaFault(_)))
    }

    /// What comes of it where a step fails.
    pub(super) fn promise(&self) -> Promise {
        let is_undone = self.plan.steps.iter().any(|step| step.on_failure == OnFailure::Undo);
        if is_undone { Promise::SucceedsWaitsOrIsTakenBack } else { Promise::SucceedsOrWaits }
    }

    /// It ends as it does undisturbed.
    pub(super) fn same_end(&self) -> Vec<Expectation> {
        vec![
            Expectation::Run(RunEnd::Succeeded),
            Expectation::WriterIn(self.plan.home().clone()),
            Expectation::TrafficIn(self.plan.home().clone()),
        ]
    }
}

fn scenario(
    application: &Application,
    (purpose, runbook): (Purpose, &RunbookName),
    base: Base,
) -> Result<Scenario, String> {
    let [primary, standby, ..] = application.regions.as_slice() else {
        return Err(format!("{} has one Region only, and cannot move", application.name));
    };
    let happens = |what| vec![Happening { at: BEGINS_AT, lasts: None, what }];
    let happenings = match base {
        Base::RegionLost => happens(Trouble::LoseRegion { region: primary.clone() }),
        Base::ServersDown => {
            happens(Trouble::Plane { plane: Plane::Application, region: primary.clone(), reach: Reach::Hangs })
        }
        Base::Calm => Vec::new(),
    };
    let (wish, when) = match purpose {
        Purpose::Failover => (Wish::Failover, When::Recommended { after: Duration::from_secs(20) }),
        Purpose::Switchover => (Wish::Switchover, When::At(BEGINS_AT)),
        Purpose::Failback => (Wish::Failback, When::At(BEGINS_AT)),
        Purpose::Salvage => return Err(format!("{runbook} is a salvage, and no move")),
        Purpose::Drill => (Wish::Drill { runbook: Some(runbook.clone()) }, When::At(BEGINS_AT)),
    };
    let loses = purpose == Purpose::Failover;
    Ok(Scenario {
        name: format!("undisturbed-{purpose}"),
        description: format!("The {purpose} as it goes where nothing more happens."),
        reproduces: None,
        warm_up: WARM_UP,
        active: (purpose == Purpose::Failback).then(|| standby.clone()),
        happenings,
        blackout: false,
        replicas: 1,
        observers: 0,
        people: People {
            arm: None,
            ask: Some(Ask {
                wish,
                when,
                target: None,
                accept_data_loss: loses.then_some(Duration::from_mins(30)),
                runbook: None,
                repeats: true,
            }),
            approver: Approver::Approves { after: Duration::from_secs(15) },
            resumes_after: Some(RESUMES_AFTER),
            acts: Vec::new(),
        },
        heals_at: Some(BEGINS_AT),
        lasts: BEGINS_AT + LASTS_HEALED,
        expect: Vec::new(),
    })
}

/// `application` as it would be without databases, moved by `runbook` for every purpose: what has no store moves
/// otherwise, and is rehearsed as well.
///
/// # Panics
/// Never: a name that is short enough for a letter less is one with it.
pub fn without_stores(application: &Application, runbook: &RunbookName) -> Application {
    let mut own = application.clone();
    let name: String = format!("{}-stateless", application.name).chars().take(64).collect();
    own.name = name.parse::<ApplicationName>().expect("letters of a name and a suffix of letters");
    own.stores.clear();
    own.signals.retain(|signal| !matches!(signal.source, SignalSource::AuroraLag { .. }));
    for endpoint in own.endpoints.values_mut() {
        endpoint.last_write_pointer = None;
    }
    own.drills.clear();
    own.runbooks = [Purpose::Failover, Purpose::Switchover, Purpose::Failback].map(|p| (p, runbook.clone())).into();
    own
}
