//! People, who look once a second: they ask for a run, approve or decline, pause, resume and abort.
//!
//! Invariant: they see what the API would show them and do nothing that the API would not let them. What they were
//! refused is counted.

use std::time::Duration;

use super::{
    director::Director,
    run::{Live, ms},
};
use crate::{
    domain::{
        action::Action,
        application::Application,
        assessment::Verdict,
        id::{Digest, OverrideId, Region, RunId, StepId, Subject},
        overrides::{OverrideKind, STANDING_MAX},
        plan::Purpose,
        run::{Phase, RunState, StepState},
    },
    engine::control::{Act, AskOverride, Control as _, Refusal, StartRun, Started, Wish},
    ports::Clock as _,
    sim::scenario::{self, Approver, PersonAct, When},
};

/// Between two attempts of a person who was refused, and between two resumes.
const AGAIN: Duration = Duration::from_secs(15);
/// How often a person resumes a held run before they give it up.
pub(super) const RESUMES_MAX: u32 = 12;

fn subject(name: &str) -> Subject {
    name.parse().unwrap_or_else(|e| unreachable!("a literal: {e}"))
}

impl Director<'_> {
    /// What the people do at this look.
    pub(super) async fn people(&self, live: &Live) {
        if self.state.borrow().recommended_since.is_none()
            && live.engine.assessment(self.scene.application()).is_some_and(|a| a.verdict == Verdict::Recommend)
        {
            self.state.borrow_mut().recommended_since = Some(self.now());
            self.scene.tell("people", "see that a failover is recommended".to_owned());
        }
        self.take_up(live);
        self.ask(live).await;
        let id = self.state.borrow().run.clone();
        if let Some(run) = id.and_then(|id| self.run(live, &id)) {
            self.approve(live, &run).await;
            self.resume(live, &run).await;
        }
        self.act(live).await;
    }

    /// One person arms the way from the active Region to the next, and another consents; they try again until `warm`,
    /// the end of the warm-up.
    pub(super) async fn arm(&self, live: &Live, warm: Duration) {
        let Some(largest_loss) = self.scene.scenario.people.arm else { return };
        loop {
            match self.arm_once(live, largest_loss).await {
                Ok(id) => {
                    self.scene.tell("people", format!("alice arms a failover and bob consents: {id}"));
                    return;
                }
                Err(refusal) => {
                    self.scene.tell("people", format!("were refused: {refusal}"));
                    self.scene.court(|court| court.saw(refusal.code()));
                }
            }
            if warm <= live.clock.boot() + AGAIN {
                return;
            }
            live.clock.sleep(AGAIN).await;
        }
    }

    async fn arm_once(&self, live: &Live, largest_loss: Duration) -> Result<OverrideId, Refusal> {
        let application = self.scene.application();
        let regions = &self.scene.setup.application.regions;
        let active = live.engine.assessment(application).and_then(|a| a.active_region.clone());
        // Where it is not known, or there is nowhere to go, the refusal says so.
        let from = active.unwrap_or_else(|| regions[0].clone());
        let to = regions.iter().find(|region| **region != from).unwrap_or(&from).clone();
        let asked = AskOverride {
            application: application.clone(),
            kind: OverrideKind::Arm { from, to, largest_loss },
            reason: "a rehearsal".to_owned(),
            expires_in: STANDING_MAX,
            subject: subject("alice"),
            idempotency_key: None,
        };
        let id = live.engine.override_ask(asked).await?;
        live.engine.override_consent(&id, true, &subject("bob"), "agreed").await?;
        Ok(id)
    }

    /// The run that the automation has started, which people then look after as if it were theirs.
    fn take_up(&self, live: &Live) {
        if self.scene.scenario.people.arm.is_none() || self.state.borrow().run.is_some() {
            return;
        }
        let Some(history) = live.engine.history(self.scene.application()) else { return };
        let Some(run) = history.runs.values().find(|run| run.request.armed.is_some()) else { return };
        self.scene.tell("people", format!("see that {} was started alone", run.id));
        self.state.borrow_mut().run = Some(run.id.clone());
    }

    async fn ask(&self, live: &Live) {
        let Some(ask) = &self.scene.scenario.people.ask else { return };
        let now = self.now();
        {
            let state = self.state.borrow();
            let due = match ask.when {
                When::At(at) => at <= self.elapsed(),
                When::Recommended { after } => {
                    state.recommended_since.is_some_and(|since| ms(after) <= now.since_ms(since))
                }
            };
            let lately = state.asked_at.is_some_and(|at| now.since_ms(at) < ms(AGAIN));
            if !due || state.run.is_some() || state.given_up || lately {
                return;
            }
        }
        self.state.borrow_mut().asked_at = Some(now);
        let mut request = self.request(wish(&ask.wish, &self.scene.setup.application), "the-one");
        request.target.clone_from(&ask.target);
        request.accept_data_loss = ask.accept_data_loss;
        request.runbook.clone_from(&ask.runbook);
        match live.engine.start_run(request).await {
            Ok(Started::Run { id, .. } | Started::Again { id }) => {
                self.scene.tell("people", format!("asked for a {}: run {id}", wished(&ask.wish)));
                self.state.borrow_mut().run = Some(id);
            }
            Ok(Started::Planned { .. }) => {}
            Err(refusal) => {
                self.scene.tell("people", format!("were refused: {refusal}"));
                self.scene.court(|court| court.saw(told(&refusal)));
                self.state.borrow_mut().given_up = !ask.repeats;
            }
        }
    }

    /// The move that comes before the rehearsal; `None` where it is refused.
    pub(super) async fn move_first(&self, live: &Live, to: &Region) -> Option<RunId> {
        let request = StartRun { target: Some(to.clone()), ..self.request(Wish::Switchover, "the-first") };
        match live.engine.start_run(request).await {
            Ok(Started::Run { id, .. } | Started::Again { id }) => Some(id),
            Ok(Started::Planned { .. }) => None,
            Err(refusal) => {
                self.scene.tell("people", format!("were refused: {refusal}"));
                None
            }
        }
    }

    /// Asks a replica that does not lead what would be done, and is told who does.
    pub(super) async fn ask_astray(&self, follower: &Live) {
        let request = StartRun { dry_run: true, ..self.request(Wish::Auto, "astray") };
        if let Err(refusal) = follower.engine.start_run(request).await {
            self.scene.court(|court| court.saw(refusal.code()));
        }
    }

    fn request(&self, wish: Wish, key: &str) -> StartRun {
        StartRun {
            application: self.scene.application().clone(),
            wish,
            target: None,
            reason: "a rehearsal".to_owned(),
            accept_data_loss: None,
            runbook: None,
            subject: subject("oncall"),
            idempotency_key: Some(key.to_owned()),
            body_digest: Digest::of(key.as_bytes()),
            dry_run: false,
        }
    }

    async fn approve(&self, live: &Live, run: &RunState) {
        let Some(step) = waiting_approval(run) else {
            self.state.borrow_mut().waiting = None;
            return;
        };
        let now = self.now();
        let since = {
            let mut state = self.state.borrow_mut();
            match &state.waiting {
                Some((waiting, since)) if waiting == step => *since,
                _ => {
                    state.waiting = Some((step.clone(), now));
                    now
                }
            }
        };
        let waited = Duration::from_millis(now.since_ms(since));
        let key = (run.id.clone(), step.clone());
        let answered =
            self.state.borrow().answered.contains(&key) && !run.approvals.get(step).is_none_or(Vec::is_empty);
        if answered {
            return;
        }
        let approved = match self.scene.scenario.people.approver {
            Approver::Approves { after } if after <= waited => self.approve_all(live, run, step).await,
            Approver::Declines { after } if after <= waited => self.answer(live, run, step, "second", false).await,
            Approver::TriesOwnFirst { after } if after <= waited => {
                if !self.state.borrow().tried_own {
                    self.state.borrow_mut().tried_own = true;
                    self.answer(live, run, step, "oncall", true).await;
                    self.approve_another_plan(live, run, step).await;
                }
                self.answer(live, run, step, "second", true).await
            }
            Approver::Approves { .. }
            | Approver::Declines { .. }
            | Approver::TriesOwnFirst { .. }
            | Approver::Silent => false,
        };
        if approved {
            self.state.borrow_mut().answered.insert(key);
        }
    }

    /// As many people as the step asks for.
    async fn approve_all(&self, live: &Live, run: &RunState, step: &StepId) -> bool {
        const OTHERS: [&str; 5] = ["second", "third", "fourth", "fifth", "sixth"];
        let wanted = match run.plan.step(step).map(|s| &s.action) {
            Some(Action::Approve { count, .. }) => *count as usize,
            _ => 1,
        };
        let mut taken = true;
        for who in OTHERS.iter().take(wanted.max(1)) {
            taken &= self.answer(live, run, step, who, true).await;
        }
        taken
    }

    /// Somebody approves what an old page showed them, which must be refused (FAULTS.md 72).
    async fn approve_another_plan(&self, live: &Live, run: &RunState, step: &StepId) {
        let act = Act::Approve { step: step.clone(), approved: true, digest: Digest::of(b"another plan") };
        if let Err(refusal) = live.engine.act(&run.id, act, &subject("third"), "looked at it").await {
            self.scene.tell("people", format!("third may not answer `{step}`: {refusal}"));
            self.scene.court(|court| court.saw(refusal.code()));
        }
    }

    /// One person's word; whether it was taken.
    async fn answer(&self, live: &Live, run: &RunState, step: &StepId, who: &str, approved: bool) -> bool {
        let act = Act::Approve { step: step.clone(), approved, digest: run.plan_digest.clone() };
        let taken = live.engine.act(&run.id, act, &subject(who), "looked at it").await;
        let word = if approved { "approves" } else { "declines" };
        match &taken {
            Ok(()) => self.scene.tell("people", format!("{who} {word} `{step}`")),
            Err(refusal) => {
                self.scene.tell("people", format!("{who} may not answer `{step}`: {refusal}"));
                self.scene.court(|court| court.saw(refusal.code()));
            }
        }
        taken.is_ok()
    }

    async fn resume(&self, live: &Live, run: &RunState) {
        let Some(after) = self.scene.scenario.people.resumes_after else { return };
        let now = self.now();
        let heals = self.scene.scenario.heals_at.unwrap_or_default();
        let lately = self.state.borrow().resumed_at.is_some_and(|at| now.since_ms(at) < ms(AGAIN));
        let held = match &run.phase {
            Phase::Held { .. } => true,
            Phase::Running
            | Phase::Paused { .. }
            | Phase::Aborting { .. }
            | Phase::Undoing { .. }
            | Phase::Finished { .. } => false,
        };
        if !held || lately || self.elapsed() < heals + after || RESUMES_MAX <= self.state.borrow().resumes {
            return;
        }
        {
            let mut state = self.state.borrow_mut();
            state.resumed_at = Some(now);
            state.resumes += 1;
        }
        self.person(live, &run.id, Act::Resume).await;
    }

    async fn act(&self, live: &Live) {
        let elapsed = self.elapsed();
        for (index, (at, what)) in self.scene.scenario.people.acts.iter().enumerate() {
            if elapsed < *at || !self.state.borrow_mut().acted.insert(index) {
                continue;
            }
            let id = self.state.borrow().run.clone();
            match (what, id) {
                (PersonAct::AskAgain { wish: again, target, accept_data_loss, repeats }, _) => {
                    let mut request = self.request(wish(again, &self.scene.setup.application), "another");
                    request.target.clone_from(target);
                    request.accept_data_loss = *accept_data_loss;
                    self.ask_again(live, index, request, *repeats).await;
                }
                (PersonAct::Pause, Some(id)) => self.person(live, &id, Act::Pause).await,
                (PersonAct::Resume, Some(id)) => self.person(live, &id, Act::Resume).await,
                (PersonAct::Abort, Some(id)) => self.person(live, &id, Act::Abort).await,
                (PersonAct::Pause | PersonAct::Resume | PersonAct::Abort, None) => {}
            }
        }
    }

    /// Another request, which may take the place of the first; where it repeats, it is due again after a while.
    async fn ask_again(&self, live: &Live, index: usize, request: StartRun, repeats: bool) {
        let now = self.now();
        let lately = self.state.borrow().asked_at.is_some_and(|at| now.since_ms(at) < ms(AGAIN));
        if repeats && lately {
            self.state.borrow_mut().acted.remove(&index);
            return;
        }
        self.state.borrow_mut().asked_at = Some(now);
        match live.engine.start_run(request).await {
            Ok(Started::Run { id, .. }) => {
                self.scene.tell("people", format!("asked again: run {id}"));
                self.state.borrow_mut().run = Some(id);
            }
            Ok(Started::Again { .. } | Started::Planned { .. }) => {}
            Err(refusal) => {
                self.scene.tell("people", format!("were refused: {refusal}"));
                self.scene.court(|court| court.saw(told(&refusal)));
                if repeats {
                    self.state.borrow_mut().acted.remove(&index);
                }
            }
        }
    }

    async fn person(&self, live: &Live, run: &RunId, act: Act) {
        let what = format!("{act:?}").to_lowercase();
        match live.engine.act(run, act, &subject("oncall"), "as rehearsed").await {
            Ok(()) => self.scene.tell("people", format!("oncall: {what}")),
            Err(refusal) => {
                self.scene.tell("people", format!("oncall: {what} was refused: {refusal}"));
                self.scene.court(|court| court.saw(refusal.code()));
            }
        }
    }
}

/// # Panics
/// Where an application without drills is drilled: such a scenario is passed over.
fn wish(wish: &scenario::Wish, application: &Application) -> Wish {
    let first = || application.drills.first().unwrap_or_else(|| panic!("{} has no drill", application.name));
    match wish {
        scenario::Wish::Auto => Wish::Auto,
        scenario::Wish::Failover => Wish::Failover,
        scenario::Wish::Switchover => Wish::Switchover,
        scenario::Wish::Failback => Wish::Failback,
        scenario::Wish::Salvage => Wish::Salvage { run: None },
        scenario::Wish::Drill { runbook } => Wish::Drill { runbook: runbook.as_ref().unwrap_or_else(first).clone() },
    }
}

/// What a refusal is counted as: its code, and what stood in the way of a drill by a name of its own.
fn told(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Gate { gate: "blackout", .. } => "a drill in a blackout was refused",
        Refusal::AlreadyRunning { purpose: Purpose::Drill, .. } => "a drill stood in the way",
        other => other.code(),
    }
}

fn wished(wish: &scenario::Wish) -> String {
    match wish {
        scenario::Wish::Drill { runbook: Some(runbook) } => format!("drill by {runbook}"),
        scenario::Wish::Drill { runbook: None } => "drill".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// The approval step that a person is asked for now.
fn waiting_approval(run: &RunState) -> Option<&StepId> {
    let waits = |id: &StepId| matches!(run.steps.get(id), Some(StepState::Running { .. }));
    run.plan.steps.iter().find(|s| matches!(s.action, Action::Approve { .. }) && waits(&s.id)).map(|s| &s.id)
}
