use std::sync::Arc;

use super::*;
use crate::domain::{
    history::tests::{at, plan, run_id, step},
    id::Digest,
    journal::Request,
    plan::Purpose,
    run::Phase,
};

/// A run of the plan whose promotion took `seconds`, and every other step one second.
fn run(bits: u128, promotion: i64, result: RunResult) -> RunState {
    let plan = Arc::new(plan(Purpose::Failover));
    let started_at = at(i64::try_from(bits).expect("small") * 1_000);
    let took = |id: &StepId| if id.as_str() == "promote" { promotion } else { 1 };
    let done = |id: &StepId| StepState::Done {
        since: started_at,
        at: started_at + Duration::from_secs(u64::try_from(took(id)).expect("positive")),
        evidence: Vec::new(),
        outputs: BTreeMap::new(),
    };
    RunState {
        id: run_id(bits),
        request: Request {
            purpose: Purpose::Failover,
            subject: "oncall".parse().expect("a subject"),
            reason: String::new(),
            idempotency_key: None,
            body_digest: Digest::zero(),
            supersedes: None,
            armed: None,
        },
        plan_digest: plan.digest(),
        steps: plan.steps.iter().map(|s| (s.id.clone(), done(&s.id))).collect(),
        plan,
        started_at,
        evidence_since: None,
        recommended_at: None,
        attempts: BTreeMap::new(),
        approvals: BTreeMap::new(),
        phase: Phase::Finished { result, reason: String::new(), at: started_at },
        loss: None,
        unwind: Default::default(),
        homeward: None,
    }
}

fn of<'a>(forecast: &'a Forecast, id: &str) -> &'a StepForecast {
    forecast.steps.iter().find(|s| s.step == step(id)).expect("a step")
}

#[test]
fn without_runs_all_of_it_is_declared_and_says_so() {
    let forecast = Forecast::of(&plan(Purpose::Failover), std::iter::empty());
    assert_eq!(forecast.runs, 0);
    assert_eq!(of(&forecast, "promote").estimate.p50, Duration::from_secs(75));
    assert!(Duration::from_secs(75) < forecast.total.p50 && forecast.total.p50 < forecast.total.p95);
    assert_eq!(of(&forecast, "approve").estimate.p95, Duration::ZERO, "people's time is no part of it");
}

#[test]
fn with_runs_of_its_own_it_is_theirs_and_failed_ones_do_not_count() {
    let mut runs: Vec<RunState> =
        (1..=6).map(|n| run(n, 10 * i64::try_from(n).expect("small"), RunResult::Succeeded)).collect();
    runs.push(run(7, 900, RunResult::Failed));
    let forecast = Forecast::of(&plan(Purpose::Failover), runs.iter());
    let promote = of(&forecast, "promote");
    assert_eq!((promote.estimate.p50, promote.estimate.p95), (Duration::from_secs(30), Duration::from_secs(60)));
    assert_eq!((promote.runs, forecast.runs), (6, 6));
    let others = Forecast::of(&plan(Purpose::Switchover), runs.iter());
    assert_eq!(others.runs, 0, "a failover says nothing of a switchover");
}

#[test]
fn only_the_newest_runs_count() {
    let many: Vec<RunState> = (1..=40).map(|n| run(n, if n <= 8 { 500 } else { 20 }, RunResult::Succeeded)).collect();
    let forecast = Forecast::of(&plan(Purpose::Failover), many.iter());
    assert_eq!(of(&forecast, "promote").estimate.p95, Duration::from_secs(20));
    assert_eq!(forecast.runs, RUNS_MAX);
}
