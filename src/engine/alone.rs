//! Acting alone: the failover that starts because every rule holds and two people have armed it, and the arming that
//! ends by itself.
//!
//! Invariants: what the judgement rests on is judged again under the commit's lock, so that whatever a person has said
//! in between stops it; the record that starts the run spends the arming. It starts failovers only: a failback is never
//! automatic, and a run of a person's is never superseded by it.

use std::sync::Arc;

use crate::{
    domain::{
        assessment::{Assessment, Verdict},
        history::History,
        id::{Digest, RunId},
        journal::{Event, Request},
        judge,
        overrides::{Ending, Override, OverrideKind},
        plan::{Plan, Purpose},
        policy::AUTOMATION,
        rules::Finding,
        run::RunResult,
    },
    engine::{
        context::Context,
        desk::Parts,
        newest::Newest,
        overrides::{binding, end_by_itself},
        preflight,
        requests::{self, first_looks},
        scribe::CommitError,
    },
};

/// See the module. One for each application.
pub struct Alone {
    pub context: Context,
    pub parts: Arc<Parts>,
    pub newest: Newest<Option<Arc<Assessment>>>,
}

impl Alone {
    /// Acts on each assessment until the daemon stops.
    pub async fn act(self) {
        self.unbind().await;
        let mut changes = self.newest.changes();
        // What stood in the way last: told once, not each second.
        let mut told = String::new();
        loop {
            if let Some(assessment) = changes.take()
                && !self.context.stopping.is_cancelled()
            {
                if let Some((id, ending, why)) = &assessment.disarm {
                    end_by_itself(&self.context, id, *ending, why.clone()).await;
                }
                if assessment.verdict == Verdict::Start
                    && let Err(why) = self.start(&assessment).await
                    && why != told
                {
                    tracing::warn!(application = %self.context.application.name, why, "not started alone");
                    told = why;
                }
            }
            tokio::select! {
                biased;
                () = self.context.stopping.cancelled() => return,
                () = changes.changed() => {}
            }
        }
    }

    /// What was armed under another configuration or runbook is not armed any more.
    async fn unbind(&self) {
        let bound_to = binding(&self.context.application, &self.parts);
        let now = self.context.clock.wall();
        let history = self.context.scribe.history();
        let is_arm = |o: &&Override| matches!(o.kind, OverrideKind::Arm { .. }) && o.is_open(now);
        for other in history.overrides.all().filter(is_arm).filter(|o| o.bound_to.as_ref() != Some(&bound_to)) {
            let why = "the configuration or the runbook is not the one that it was asked for with".to_owned();
            end_by_itself(&self.context, &other.id, Ending::ConfigChanged, why).await;
        }
    }

    /// Starts what `judged` says, if that still stands; else says why not.
    async fn start(&self, judged: &Assessment) -> Result<(), String> {
        let context = &self.context;
        let app = &context.application;
        let history = context.scribe.history();
        let armed = judge::stands(app, &history, judged, context.clock.wall()).map_err(|f| said(&f))?;
        if armed.bound_to.as_ref() != Some(&binding(app, &self.parts)) {
            let why = "the configuration or the runbook is not the one that was armed".to_owned();
            end_by_itself(context, &armed.id, Ending::ConfigChanged, why.clone()).await;
            return Err(why);
        }
        let plan = match self.plan(armed) {
            Ok(plan) => plan,
            Err(why) => {
                end_by_itself(context, &armed.id, Ending::PreflightFailed, why.clone()).await;
                return Err(why);
            }
        };
        let id = RunId::new(&app.name, (self.parts.draw_id)());
        let committed = context.scribe.commit(|history, at| {
            if context.stopping.is_cancelled() {
                return Err(vec![]);
            }
            // Judged again under the lock: a withdrawal, a kill switch, an expiry or a run that came in between.
            let armed = judge::stands(app, history, judged, at)?;
            // A salvage delays nobody (S1).
            let salvage = history.active_run().map(|run| run.id.clone());
            let ended = salvage.clone().map(|run| Event::RunFinished {
                run,
                result: RunResult::Superseded,
                reason: format!("superseded by {id}"),
                loss: None,
            });
            let mut events: Vec<Event> = ended.into_iter().collect();
            events.push(started(&id, judged, armed, plan, salvage));
            events.extend(first_looks(context, history, at, &events));
            Ok((events, ()))
        });
        match committed.await {
            Ok(()) => {
                tracing::warn!(application = %app.name, run = %id, armed = %armed.id, "a failover was started alone");
                Ok(())
            }
            Err(CommitError::Refused(findings)) => Err(said(&findings)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn plan(&self, armed: &Override) -> Result<Plan, String> {
        let OverrideKind::Arm { from, to, largest_loss } = &armed.kind else {
            return Err(format!("{} arms nothing", armed.id));
        };
        let app = &self.context.application;
        let plan = requests::plan(app, &self.parts, Purpose::Failover, from, to, Some(*largest_loss));
        let plan = plan.map_err(|refusal| refusal.to_string())?;
        preflight::too_many_people(&plan).map_or(Ok(plan), Err)
    }
}

fn started(run: &RunId, judged: &Assessment, armed: &Override, plan: Plan, supersedes: Option<RunId>) -> Event {
    let held: Vec<&str> = judged.rules.iter().map(|f| f.says.as_str()).collect();
    let request = Request {
        purpose: Purpose::Failover,
        subject: AUTOMATION.parse().unwrap_or_else(|e| unreachable!("a literal: {e}")),
        reason: format!("every rule for acting alone holds: {}", held.join("; ")),
        idempotency_key: None,
        body_digest: Digest::of_json(&(&armed.id, &judged.rules)),
        supersedes,
        armed: Some(armed.id.clone()),
    };
    Event::RunStarted { run: run.clone(), request, plan: Box::new(plan), evidence_since: judged.evidence_since }
}

fn said(findings: &[Finding]) -> String {
    findings.iter().map(|f| format!("{}: {}", f.rule.as_str(), f.says)).collect::<Vec<_>>().join("; ")
}

/// Who stands behind a run that was started alone, for the evidence of its approvals; `None` where a person asked for it.
pub fn stands_for(history: &History, request: &Request) -> Option<String> {
    let id = request.armed.as_ref()?;
    // The fold has verified it when the run was started. What is over for long is known by the journal alone.
    let Some(armed) = history.overrides.get(id) else { return Some(format!("armed by two people ({id})")) };
    let consent = armed.consent.as_ref().map_or("nobody", |(subject, _)| subject.as_str());
    Some(format!("armed by {}, consented by {consent} ({id})", armed.by))
}
