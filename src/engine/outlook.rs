//! What a plan would meet if it began now: each step's precondition, asked by the very code of the gates and guards, all
//! at once and within [`PATIENCE`].
//!
//! Invariant: it only reads. Nothing is journalled, no call is sent; the run that the guards are asked about exists in
//! memory only, and counts as approved, since who must approve is told apart from what the world says.
//! What did not answer in time is unknown. A step whose turn comes after a change of the world may be unmet now by
//! rights: what brings it about is named.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;

use crate::{
    domain::{
        action::{Action, EffectClass},
        assessment::Assessment,
        expression,
        forecast::Forecast,
        history::History,
        hole::{Hole, holes_of},
        id::{RunId, StepId, Subject},
        journal::{Event, Request},
        plan::{Plan, PlannedStep, Purpose},
        ramp::Watch,
        run::RunState,
        runbook::closure,
    },
    engine::{
        aurora::{self, Proof},
        context::Context,
        detached::{self, Writer},
        fences, gates,
        guards::{self, Answer},
        look::{self, Look, Memory},
        postcondition, probing, signal_probing, standby_object, step,
    },
    ports::probes::{HttpAnswer, HttpQuestion},
};

/// How long all looks together may take: a person waits, and an emergency may be behind them.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// So many looks are under way at once: each is up to a handful of requests.
const AT_ONCE: usize = 32;
/// How long one server may take.
const SERVER_PATIENCE: Duration = Duration::from_secs(3);

/// Whether what a step needs to see is so now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Met {
        evidence: Vec<String>,
    },
    NotMet {
        why: String,
    },
    /// What the step is to bring about is not so yet: it would be sent.
    Open {
        what: String,
    },
    /// It cannot be told.
    Unknown {
        why: String,
    },
    /// The step asks for nothing.
    Free,
}

/// One step as it would be met now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepOutlook {
    pub step: StepId,
    pub condition: Condition,
    /// The steps before it that change the world: what is not met now may be met by them.
    pub after: Vec<StepId>,
    /// That one of them which is to bring it about; `None`: what is not met stays so.
    pub awaited: Option<StepId>,
    /// Whether its `when` holds now; `None`: it has none, or only the run can tell.
    pub is_wanted: Option<bool>,
}

/// A plan as it would be met now.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlook {
    pub at: Timestamp,
    /// In the plan's order.
    pub steps: Vec<StepOutlook>,
    pub forecast: Forecast,
    /// What is left of the RTO: of a failover since the first evidence, of a planned move all of it; `None`: spent.
    pub rto_left: Option<Duration>,
}

/// Looks at everything that `plan` needs, now.
pub async fn look_ahead(context: &Context, assessment: Option<&Assessment>, plan: &Plan, by: &Subject) -> Outlook {
    let at = context.clock.wall();
    let history = context.scribe.history();
    let forecast = Forecast::of(plan, history.runs.values().map(AsRef::as_ref));
    let until = context.clock.boot() + PATIENCE;
    let steps = match as_if_approved(context, at, plan, by) {
        Ok(run) => {
            let run = &*run;
            let looks: Vec<_> = plan.steps.iter().map(|step| bounded(context, run, step, until)).collect();
            stream::iter(looks).buffered(AT_ONCE).collect().await
        }
        Err(why) => {
            let blind = |s: &PlannedStep| outlook(plan, s, Condition::Unknown { why: why.clone() }, None);
            plan.steps.iter().map(blind).collect()
        }
    };
    Outlook { at, steps, forecast, rto_left: rto_left(context, assessment, plan, at) }
}

fn rto_left(context: &Context, assessment: Option<&Assessment>, plan: &Plan, at: Timestamp) -> Option<Duration> {
    let rto = context.application.objectives.rto;
    let since = assessment.and_then(|a| a.evidence_since).filter(|_| plan.purpose == Purpose::Failover);
    let used = since.map_or(Duration::ZERO, |since| Duration::try_from(at.duration_since(since)).unwrap_or_default());
    rto.checked_sub(used).filter(|left| !left.is_zero())
}

/// The run that `plan` would be, in memory only: begun now, everybody asked has approved.
fn as_if_approved(context: &Context, at: Timestamp, plan: &Plan, by: &Subject) -> Result<Arc<RunState>, String> {
    let run = RunId::new(&context.application.name, 0);
    let request = Request {
        purpose: plan.purpose,
        subject: by.clone(),
        reason: "a look ahead".to_owned(),
        idempotency_key: None,
        body_digest: plan.digest(),
        supersedes: None,
        armed: None,
    };
    let mut events =
        vec![Event::RunStarted { run: run.clone(), request, plan: Box::new(plan.clone()), evidence_since: None }];
    for step in &plan.steps {
        if let Action::Approve { count, .. } = &step.action {
            events.push(Event::StepStarted { run: run.clone(), step: step.id.clone(), attempt: 1 });
            for n in 0..*count {
                let subject: Subject = format!("approver-{n}").parse().map_err(|e| format!("{e}"))?;
                events.push(Event::ApprovalRecorded {
                    run: run.clone(),
                    step: step.id.clone(),
                    subject,
                    approved: true,
                    digest: plan.digest(),
                    reason: "assumed".to_owned(),
                });
            }
            events.push(Event::StepDone {
                run: run.clone(),
                step: step.id.clone(),
                evidence: Vec::new(),
                outputs: Default::default(),
            });
        }
    }
    let after = History::new(context.application.name.clone()).check(at, &events).map_err(|e| e.to_string())?;
    after.runs.get(&run).cloned().ok_or_else(|| "the plan makes no run".to_owned())
}

async fn bounded(context: &Context, run: &RunState, step: &PlannedStep, until: Duration) -> StepOutlook {
    let left = until.saturating_sub(context.clock.boot());
    let condition = tokio::select! {
        biased;
        condition = condition(context, run, step) => condition,
        () = context.clock.sleep(left) => {
            Condition::Unknown { why: format!("no answer within {} s", PATIENCE.as_secs()) }
        }
    };
    outlook(&run.plan, step, condition, is_wanted(run, step))
}

fn outlook(plan: &Plan, step: &PlannedStep, condition: Condition, is_wanted: Option<bool>) -> StepOutlook {
    let before = closure(&step.id, |id| plan.step(id).map(|s| &s.needs));
    let changes = |s: &&PlannedStep| before.contains(&s.id) && s.action.effect() != EffectClass::Read;
    let after: Vec<&PlannedStep> = plan.steps.iter().filter(changes).collect();
    let awaited = after.iter().rev().find(|s| brings_about(&s.action, &step.action)).map(|s| s.id.clone());
    let after = after.into_iter().map(|s| s.id.clone()).collect();
    StepOutlook { step: step.id.clone(), condition, after, awaited, is_wanted }
}

/// Whether `done` may be what makes that so which `waiting` looks for. A writer is made by a change of roles alone, what
/// DNS answers by a move of traffic; of anything else it cannot be told.
fn brings_about(done: &Action, waiting: &Action) -> bool {
    let needs_writer = waiting.requires_writer().is_some_and(|proofs| !proofs.is_empty());
    match waiting {
        Action::AuroraVerifyWriter { .. } => done.changes_roles(),
        _ if needs_writer => done.changes_roles(),
        Action::DnsVerify { .. } => done.requires_writer().is_some(),
        _ => true,
    }
}

/// Whether `when` holds, where it looks at nothing that only the run can know.
fn is_wanted(run: &RunState, step: &PlannedStep) -> Option<bool> {
    let when = step.when.as_deref()?;
    knows(when).then(|| expression::evaluate(when, &step::facts(run, &step.id)).ok()).flatten()
}

fn knows(text: &str) -> bool {
    expression::check(text).is_ok_and(|refs| refs.steps.is_empty())
}

async fn condition(context: &Context, run: &RunState, step: &PlannedStep) -> Condition {
    match &step.action {
        Action::Notify { .. } | Action::Approve { .. } | Action::Wait { .. } => Condition::Free,
        Action::Assert { that, message } => assertion(run, &step.id, that, message),
        Action::AuroraVerifyWriter { global_cluster, target, observe_in, .. } => {
            match detached::writer(context, global_cluster, target, observe_in).await {
                Writer::Proven { evidence } => Condition::Met { evidence: vec![evidence] },
                Writer::Not { why } => Condition::NotMet { why },
                Writer::Unknown { why } => Condition::Unknown { why },
                Writer::Denied(denial) => Condition::Unknown { why: denial.why },
            }
        }
        Action::AuroraWait { global_cluster, observe_in, .. } => {
            match aurora::prove(&*context.cloud, &*context.clock, global_cluster, observe_in).await {
                Proof::Agreed { .. } => looked(context, run, step).await,
                Proof::Contradicted { why } | Proof::Unknown { why } => Condition::Unknown { why },
                Proof::Denied(denial) => Condition::Unknown { why: denial.why },
            }
        }
        Action::GateTarget { global_cluster, from, target, observe_in, lossless, any_engine, .. } => {
            let wanted = guards::Wanted { lossless: *lossless, any_engine: *any_engine };
            answered(guards::target(context, global_cluster, from, target, observe_in, wanted).await)
        }
        Action::GateRpo { store, lag, lag_region, limit } if run.plan.purpose != Purpose::Failover => {
            answered(guards::lag_at_rest(context, store, lag, lag_region, *limit).await)
        }
        Action::GateRpo { store, lag, lag_region, limit } => {
            let limit = run.plan.accepted_loss.map_or(*limit, |accepted| accepted.max(*limit));
            answered(guards::loss_bound(context, run, store, (lag, lag_region), limit).await)
        }
        Action::GateCapacity { store, source, target, declared, at_least_percent, .. } => {
            let (of, purpose) = ((store, source, target), run.plan.purpose);
            answered(gates::capacity(context, purpose, of, declared.as_ref(), *at_least_percent).await)
        }
        Action::GateQuota { region, headroom, .. } => answered(gates::quota(context, region, headroom).await),
        Action::GateReplication { store, measures, .. } => {
            answered(gates::replication(context, run, store, measures).await)
        }
        Action::DnsVerify { record_name, record_type, servers, expected, .. } => {
            names(context, record_name, record_type, servers, expected).await
        }
        Action::ProbeHttp { .. } => probed(context, &step.action).await,
        Action::ProbeTcp { .. } | Action::ProbePostgres { .. } => probing::ahead(context, &step.action).await,
        Action::ProbeSignal(probe) => signal_probing::ahead(context, probe),
        Action::Fence { fence } => fences::ahead(context, run, fence).await,
        action if let [hole, ..] = &holes_of(action)[..] => unfilled(hole),
        Action::AwsCall { call } if !call.is_read() => postcondition::ahead(context, run, &step.id, call).await,
        Action::DnsWeights(ramp) => {
            let signs = context.signs.of(&ramp.guard.signals, context.clock.boot());
            match ramp.guard.judge(&signs) {
                Watch::Well => answered(guards::check(context, run, &step.action).await),
                Watch::Breached { why } => Condition::NotMet { why },
                Watch::Waits { why } => Condition::Unknown { why },
            }
        }
        action @ Action::DnsFlip { .. } => match guards::check(context, run, action).await {
            Answer::Holds { mut evidence } => match standby_object::ahead(context, &run.plan, action).await {
                Answer::Holds { evidence: more } => {
                    evidence.extend(more);
                    Condition::Met { evidence }
                }
                other => answered(other),
            },
            other => answered(other),
        },
        action if action.effect() != EffectClass::Read => answered(guards::check(context, run, action).await),
        _ => looked(context, run, step).await,
    }
}

fn unfilled(hole: &Hole) -> Condition {
    Condition::Unknown { why: format!("only the run knows an argument: the output {}", hole.told()) }
}

fn answered(answer: Answer) -> Condition {
    match answer {
        Answer::Holds { evidence } => Condition::Met { evidence },
        Answer::Fails { why } => Condition::NotMet { why },
        Answer::Unknown { why } => Condition::Unknown { why },
        Answer::Denied(denial) => Condition::Unknown { why: denial.why },
    }
}

/// One look of the step itself.
async fn looked(context: &Context, run: &RunState, step: &PlannedStep) -> Condition {
    match look::look(context, run, &step.id, &step.action, &mut Memory::default()).await {
        Look::Satisfied { evidence, .. } => Condition::Met { evidence },
        Look::Refused { why, .. } | Look::NotYet { why, .. } => Condition::NotMet { why },
    }
}

fn assertion(run: &RunState, id: &StepId, that: &str, message: &str) -> Condition {
    if !knows(that) {
        return Condition::Unknown { why: "only the run can tell: it looks at other steps".to_owned() };
    }
    match expression::evaluate(that, &step::facts(run, id)) {
        Ok(true) => Condition::Met { evidence: vec![format!("{that} is true")] },
        Ok(false) => Condition::NotMet { why: message.to_owned() },
        Err(error) => Condition::Unknown { why: error.to_string() },
    }
}

async fn names(context: &Context, name: &str, record_type: &str, servers: &[String], expected: &str) -> Condition {
    let mut evidence = Vec::new();
    for server in servers {
        match context.probes.dns(server, name, record_type, SERVER_PATIENCE).await {
            Ok(answers) if answers == [expected.to_owned()] => evidence.push(format!("{server} answers {expected}")),
            Ok(answers) => return Condition::NotMet { why: format!("{server} answers {}", answers.join(", ")) },
            Err(error) => return Condition::Unknown { why: error.to_string() },
        }
    }
    Condition::Met { evidence }
}

/// One question, though the step asks several times. Silence is no vote.
async fn probed(context: &Context, action: &Action) -> Condition {
    let Action::ProbeHttp { url, expect_status, probe_timeout, resolve_with, .. } = action else {
        return Condition::Free;
    };
    let question = HttpQuestion {
        url: url.clone(),
        timeout: *probe_timeout,
        resolve_with: resolve_with.clone(),
        record_type: "A".to_owned(),
    };
    match context.probes.http(&question).await {
        HttpAnswer::Status { status, .. } if status == *expect_status => {
            Condition::Met { evidence: vec![format!("{url} answered {status}")] }
        }
        HttpAnswer::Status { status, .. } => Condition::NotMet { why: format!("{url} answered {status}") },
        HttpAnswer::NoAnswer { reason } | HttpAnswer::NotAsked { reason } => {
            Condition::Unknown { why: format!("{url}: {reason}") }
        }
    }
}

impl Outlook {
    /// The steps of `plan` that are not met and that nothing before them changes: they would stop the run now.
    pub fn stops(&self) -> BTreeSet<&StepId> {
        let stops = |s: &&StepOutlook| matches!(s.condition, Condition::NotMet { .. }) && s.awaited.is_none();
        self.steps.iter().filter(stops).map(|s| &s.step).collect()
    }
}
