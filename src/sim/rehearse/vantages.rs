//! From where the application is seen in a rehearsal that arms it: the daemon's control points, observers elsewhere, and
//! what is wrong with each of them.
//!
//! Invariants: an observer probes what the daemon probes, by the same world, and is heard as one of production is; what
//! is wrong with a vantage changes nothing of the world. Where nothing is armed and the daemon is alone there are
//! neither observers nor control points, and a rehearsal is what it would be without this file.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use jiff::Timestamp;

use super::Setup;
use crate::{
    domain::{
        application::Application,
        calendar::{Blackout, Window},
        id::VantageName,
        policy::Mode,
        report::{self, Assignment, Observed, Report},
        vantage::{ControlPoints, ProbeTarget},
    },
    engine::vantages::Vantages,
    ports::{
        Clock, Probes,
        probes::{HttpAnswer, HttpQuestion, TcpAnswer},
    },
    sim::{
        faults::{Sight, Vantage},
        port::{Faults, LiveWorld, Outside, SimProbes},
        scenario::Scenario,
    },
};

/// Between two reports of an observer.
const EVERY: Duration = Duration::from_secs(2);

/// The daemon's control points: more than half of three must answer.
const CONTROL_POINTS: [&str; 3] = ["https://one.invalid/", "https://two.invalid/", "tcp://three.invalid:443"];

/// `setup` as `scenario` rehearses it. Where something is armed, the application is as its owners would have it for that:
/// automatic, with the scenario's observers; a policy that is automatic already stays as it is, its own observers
/// included.
pub(super) fn as_rehearsed<'a>(setup: &'a Setup, scenario: &Scenario) -> Cow<'a, Setup> {
    let mut setup = Cow::Borrowed(setup);
    if scenario.blackout {
        let when = Window::Once { from: Timestamp::MIN, to: Timestamp::MAX };
        let blackout = Blackout { reason: "as rehearsed".to_owned(), when };
        setup.to_mut().application.policy.blackouts.push(blackout);
    }
    if scenario.people.arm.is_none() || setup.application.policy.mode == Mode::Automatic {
        return setup;
    }
    let mut setup = setup.into_owned();
    setup.application.policy.mode = Mode::Automatic;
    setup.application.policy.observers = (1..=scenario.observers).map(name).collect();
    Cow::Owned(setup)
}

/// Sorts as its number does.
fn name(number: u32) -> VantageName {
    format!("observer-{number:02}").parse().unwrap_or_else(|e| unreachable!("a literal and a number: {e}"))
}

/// See the module. Outlives the processes.
#[derive(Debug)]
pub(super) struct Sights {
    /// Whether anybody but the daemon looks at all.
    is_armed: bool,
    /// Whether the daemon asks control points: where something is armed, and where others could go on in its place.
    has_points: bool,
    outside: Outside,
    /// What is wrong now, by happening.
    wrong: Arc<Mutex<BTreeMap<usize, (Vantage, Sight)>>>,
}

impl Sights {
    pub(super) fn of(scenario: &Scenario) -> Self {
        let is_armed = scenario.people.arm.is_some();
        let has_points = is_armed || 1 < scenario.replicas;
        let points = CONTROL_POINTS.iter().filter(|_| has_points).map(|point| (*point).to_owned());
        Self { is_armed, has_points, outside: Outside::new(points), wrong: Arc::default() }
    }

    /// What the daemon's own machine reaches.
    pub(super) fn outside(&self) -> Outside {
        self.outside.clone()
    }

    /// The happening `index` begins.
    pub(super) fn begin(&self, index: usize, of: Vantage, does: Sight) {
        self.change(|wrong| {
            wrong.insert(index, (of, does));
        });
    }

    /// The happening `index` ends.
    pub(super) fn end(&self, index: usize) {
        self.change(|wrong| {
            wrong.remove(&index);
        });
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<usize, (Vantage, Sight)>)) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut wrong);
        let daemon = |sight| wrong.values().any(|(of, does)| *of == Vantage::Daemon && *does == sight);
        let is_cut_off = daemon(Sight::CutOff);
        if is_cut_off {
            self.outside.cut_off();
        } else {
            self.outside.mend();
        }
        self.outside.hide_application(is_cut_off || daemon(Sight::SeesIll));
    }

    /// What a new process knows of vantages: nothing is heard yet.
    pub(super) fn heard(&self) -> Arc<Vantages> {
        if !self.has_points {
            return Arc::new(Vantages::here());
        }
        let point = |text: &&str| -> ProbeTarget { text.parse().unwrap_or_else(|e| unreachable!("a literal: {e}")) };
        let points = ControlPoints::of(CONTROL_POINTS.iter().map(point).collect());
        Arc::new(Vantages::asking(Vantages::here().own().clone(), points))
    }

    /// Lets every observer report to the process at work until it dies. Call it in the process's runtime.
    pub(super) fn report_to(
        &self,
        vantages: &Arc<Vantages>,
        application: &Application,
        clock: &Arc<dyn Clock>,
        world: &LiveWorld,
        faults: &Faults,
    ) {
        if !self.is_armed {
            return;
        }
        for (number, vantage) in (1..).zip(&application.policy.observers) {
            let observer = Observer {
                number,
                vantage: vantage.clone(),
                assigned: report::assignments(application, vantage),
                application: application.clone(),
                vantages: Arc::clone(vantages),
                clock: Arc::clone(clock),
                probes: SimProbes::new(world.clone()),
                faults: faults.clone(),
                wrong: Arc::clone(&self.wrong),
            };
            tokio::spawn(observer.run());
        }
    }
}

/// One observer elsewhere.
struct Observer {
    number: u32,
    vantage: VantageName,
    assigned: Vec<Assignment>,
    application: Application,
    vantages: Arc<Vantages>,
    clock: Arc<dyn Clock>,
    probes: SimProbes,
    faults: Faults,
    wrong: Arc<Mutex<BTreeMap<usize, (Vantage, Sight)>>>,
}

impl Observer {
    async fn run(self) {
        for sequence in 1.. {
            self.report(sequence).await;
            self.clock.sleep(EVERY).await;
        }
    }

    async fn report(&self, sequence: u64) {
        let asked_at = self.clock.boot();
        let seen = join_all(self.assigned.iter().map(|assigned| self.see(assigned))).await;
        // What is wrong by now: what was seen before is not told any more.
        let (silent, cut_off, sees_ill) =
            (self.does(Sight::Silent), self.does(Sight::CutOff), self.does(Sight::SeesIll));
        if silent {
            return;
        }
        let age = self.clock.boot().saturating_sub(asked_at);
        let sample = |(assigned, answer): (&Assignment, Option<(bool, String)>)| {
            let (healthy, detail) = answer?;
            let lies = healthy && sees_ill && !cut_off;
            if lies {
                self.faults.meet(&[46]);
            }
            let hidden = sees_ill || cut_off;
            let (healthy, detail) = if hidden { (false, "no answer".to_owned()) } else { (healthy, detail) };
            let (application, signal) = (assigned.application.clone(), assigned.signal.clone());
            Some(Observed { application, signal, age, healthy, detail })
        };
        let samples = self.assigned.iter().zip(seen).filter_map(sample).collect();
        let abstains = cut_off.then(|| "none of its control points answers".to_owned());
        let report = Report { process: "simulated".to_owned(), sequence, abstains, samples };
        let heard = self.vantages.hear(&self.application, &self.vantage, &report, self.clock.wall());
        heard.unwrap_or_else(|e| unreachable!("the policy names it, and it counts its reports: {e}"));
    }

    fn does(&self, sight: Sight) -> bool {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.values().any(|(of, does)| *of == Vantage::Observer(self.number) && *does == sight)
    }

    /// Whether all is well there; `None` where it could not be asked.
    async fn see(&self, assigned: &Assignment) -> Option<(bool, String)> {
        match &assigned.target {
            ProbeTarget::Http { url } => {
                let question = HttpQuestion {
                    url: url.clone(),
                    timeout: assigned.timeout,
                    resolve_with: Vec::new(),
                    record_type: "A".to_owned(),
                };
                match self.probes.http(&question).await {
                    HttpAnswer::Status { status, .. } => {
                        Some(((200..300).contains(&status), format!("answered {status}")))
                    }
                    HttpAnswer::NoAnswer { reason } => Some((false, reason)),
                    HttpAnswer::NotAsked { .. } => None,
                }
            }
            ProbeTarget::Tcp { address } => match self.probes.tcp(address, assigned.timeout).await {
                TcpAnswer::Connected => Some((true, "connected".to_owned())),
                TcpAnswer::NoAnswer { reason } => Some((false, reason)),
                TcpAnswer::NotAsked { .. } => None,
            },
        }
    }
}
