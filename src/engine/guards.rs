//! What must hold at the moment of an effect: checked before the intent, and again immediately before the call.
//!
//! A guard answers yes, no, or "cannot tell"; the last is never yes. None of them can be overridden (FAULTS.md S5,
//! S6, S9, S11).

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    domain::{
        action::{Action, WriterProof},
        application::ClusterArn,
        assessment::Exposure,
        cloud::{DbCluster, GlobalCluster, MetricQuery, ObserveError, newest_of_one},
        id::{Region, StoreName},
        run::{RunState, StepState},
        sabotage::{Guard, is_off},
        seconds::to_seconds,
        signal::{self, Reading, SignalSource},
    },
    engine::{
        aurora::{self, Proof},
        context::Context,
        denial::Denial,
        detached::{self, Writer},
        faults, fences, preflight,
    },
};

/// How far back a lag sample is looked for: CloudWatch keeps it, and an old one still bounds the loss.
pub const LAG_WINDOW: Duration = Duration::from_secs(3 * 3600);

/// How old a lag may be before a planned move, where no signal of the store says: CloudWatch is minutes behind [INF].
pub(super) const LAG_FRESHNESS: Duration = Duration::from_secs(300);

/// The answer of a guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Holds {
        evidence: Vec<String>,
    },
    /// It does not hold, from facts.
    Fails {
        why: String,
    },
    /// It cannot be told now; asking again may help.
    Unknown {
        why: String,
    },
    /// It cannot be told, because AWS refuses the reading.
    Denied(Denial),
}

impl Answer {
    /// What a reading that failed leaves of a question.
    pub(super) fn unread(operation: &str, region: &Region, error: &ObserveError, what: &str) -> Self {
        match Denial::of(operation, Some(region), error) {
            Some(denial) => Self::Denied(denial),
            None => Self::Unknown { why: format!("{what}: {error}") },
        }
    }

    pub(super) fn fails(why: impl Into<String>) -> Self {
        Self::Fails { why: why.into() }
    }
}

/// The same for one call of a step: what takes a ramp back waits for no proof, since it only gives traffic back to
/// where it was.
pub async fn check_call(context: &Context, run: &RunState, action: &Action, call: u32) -> Answer {
    match action {
        Action::DnsWeights(ramp) if ramp.is_back(call) => Answer::Holds { evidence: Vec::new() },
        action => check(context, run, action).await,
    }
}

/// Whether the effect of `action` may be sent now.
pub async fn check(context: &Context, run: &RunState, action: &Action) -> Answer {
    match action {
        Action::AuroraFailover { global_cluster, from, target, observe_in, store }
        | Action::AuroraDetach { global_cluster, from, target, observe_in, store } => {
            let alone = run.request.armed.as_ref().and_then(|_| preflight::needs_people(&run.plan));
            if let Some(why) = alone.or_else(|| consent_missing(run)) {
                return Answer::fails(why);
            }
            let Some(accepted) = run.plan.accepted_loss.or(is_off(Guard::UnacceptedLoss).then_some(Duration::MAX))
            else {
                return Answer::fails("nobody has accepted a loss: ask again with accept_data_loss_seconds");
            };
            match roles(context, global_cluster, from, target, observe_in).await {
                Answer::Holds { mut evidence } => match lag_gate(run, store) {
                    Some((query, region)) => match loss_bound(context, run, store, (&query, &region), accepted).await {
                        Answer::Holds { evidence: more } => {
                            evidence.extend(more);
                            Answer::Holds { evidence }
                        }
                        other => other,
                    },
                    None => Answer::fails(format!(
                        "the plan has no gate.rpo for store {store}: its loss bound cannot be rechecked at the intent"
                    )),
                },
                other => other,
            }
        }
        Action::AuroraSwitchover { global_cluster, from, target, observe_in, .. } => {
            roles(context, global_cluster, from, target, observe_in).await
        }
        Action::Fence { fence } => fences::may(context, run, fence).await,
        Action::LambdaFault(fault) => faults::may(context, fault).await,
        action => match action.requires_writer() {
            Some(proofs) => writers(context, proofs).await,
            None => Answer::Holds { evidence: Vec::new() },
        },
    }
}

/// Two people stand behind a loss: the one who asked and accepted it, and one who approved this very plan; or the two
/// who armed it (S6), where the plan asks for no third.
fn consent_missing(run: &RunState) -> Option<String> {
    if run.request.armed.is_some() {
        return preflight::too_many_people(&run.plan);
    }
    let approved = run.plan.steps.iter().any(|s| match &s.action {
        Action::Approve { count, .. } => {
            matches!(run.steps[&s.id], StepState::Done { .. })
                && run
                    .approvers(&s.id)
                    .iter()
                    .filter(|who| ***who != run.request.subject || is_off(Guard::OwnApproval))
                    .count()
                    >= (*count).max(1) as usize
        }
        _ => false,
    });
    (!approved && !is_off(Guard::OnePerson)).then(|| "a failover that may lose data needs a second person's approval: the runbook has no approve step that is done".to_owned())
}

/// The lag query of the plan's `gate.rpo` of `store`.
fn lag_gate(run: &RunState, store: &StoreName) -> Option<(MetricQuery, Region)> {
    run.plan.steps.iter().find_map(|s| match &s.action {
        Action::GateRpo { store: of, lag, lag_region, .. } if of == store => Some((lag.clone(), lag_region.clone())),
        _ => None,
    })
}

/// `from` is the only writer, `target` a member that is not, and nothing is in progress.
async fn roles(
    context: &Context,
    global_cluster: &str,
    from: &ClusterArn,
    target: &ClusterArn,
    observe_in: &[Region],
) -> Answer {
    if let Some(answer) = detached::in_the_way(context, from, target, observe_in).await {
        return answer;
    }
    match aurora::prove(&*context.cloud, &*context.clock, global_cluster, observe_in).await {
        Proof::Agreed { view, evidence } => match roles_fault(&view, from, target) {
            None => Answer::Holds { evidence: vec![evidence] },
            Some(why) => Answer::Fails { why },
        },
        Proof::Contradicted { why } | Proof::Unknown { why } => Answer::Unknown { why },
        Proof::Denied(denial) => Answer::Denied(denial),
    }
}

fn roles_fault(view: &GlobalCluster, from: &ClusterArn, target: &ClusterArn) -> Option<String> {
    if !view.is_settled() {
        return Some(format!("an operation is in progress: {}", aurora::describe(view)));
    }
    match view.writer() {
        None => {
            return Some(format!("there is no single writer: {}", aurora::describe(view)));
        }
        Some(w) if w.arn == *target && !is_off(Guard::TargetIsWriter) => {
            return Some(format!("{} is the writer already", target.identifier()));
        }
        Some(w) if w.arn != *from => {
            return Some(format!("the writer is {}, not {} as planned", w.arn, from));
        }
        Some(_) => {}
    }
    (!view.members.iter().any(|m| m.arn == *target)).then(|| format!("{target} is not a member of {}", view.identifier))
}

/// The bound of the loss against what was accepted (or the objective). By the heartbeat, where it has measured anything:
/// it is asked of the databases themselves, and needs no CloudWatch. Where it has not (after a restart in
/// mid-disaster), CloudWatch is for people, who have seen its basis; a run that was started alone trusts the heartbeat
/// only (docs/adr/0010).
pub async fn loss_bound(
    context: &Context,
    run: &RunState,
    store: &StoreName,
    (query, region): (&MetricQuery, &Region),
    limit: Duration,
) -> Answer {
    if let Some(pulse) = context.pulses.get(store) {
        let sample = pulse.sample();
        match sample.reading {
            Reading::Lag { lag } => {
                return judge_bound(Some((sample.measured_at, lag)), context.clock.wall(), limit);
            }
            Reading::Missing { why } if run.request.armed.is_some() => {
                return Answer::fails(format!("the heartbeat does not bound the loss: {why}"));
            }
            Reading::Missing { .. } | Reading::Healthy { .. } | Reading::Unhealthy { .. } => {}
        }
    }
    let sample = match newest_of_one(context.cloud.metrics(region, std::slice::from_ref(query), LAG_WINDOW).await) {
        Ok(newest) => newest,
        Err(error) => return unread_lag(region, &error),
    };
    // A negative or absurd lag is no lag (FAULTS.md 43).
    let lag = sample.and_then(|p| Some((p.at, signal::lag_from_ms(p.value)?)));
    judge_bound(lag, context.clock.wall(), limit)
}

/// Before a planned move nothing is lost, and the objective is judged as at rest: on a measured lag that is fresh
/// (DESIGN.md 6). A long lag would make the switchover wait.
pub async fn lag_at_rest(
    context: &Context,
    store: &StoreName,
    query: &MetricQuery,
    region: &Region,
    limit: Duration,
) -> Answer {
    let point = match newest_of_one(context.cloud.metrics(region, std::slice::from_ref(query), LAG_WINDOW).await) {
        Ok(newest) => newest,
        Err(error) => return unread_lag(region, &error),
    };
    let is_lag = |s: &SignalSource| matches!(s, SignalSource::AuroraLag { store: of } if of == store);
    let freshness =
        context.application.signals.iter().find(|s| is_lag(&s.source)).map_or(LAG_FRESHNESS, |s| s.freshness);
    let Some(point) = point else { return Answer::Unknown { why: format!("CloudWatch has no lag in {region}") } };
    let age = signal::age(context.clock.wall(), point.at);
    let (Some(age), Some(lag)) =
        (age.filter(|a| *a <= freshness || is_off(Guard::StaleLag)), signal::lag_from_ms(point.value))
    else {
        return Answer::Unknown { why: format!("the lag is not known: {} ms, measured at {}", point.value, point.at) };
    };
    let numbers = format!("lag {} s, {} s old, limit {} s", to_seconds(lag), to_seconds(age), to_seconds(limit));
    if lag <= limit { Answer::Holds { evidence: vec![numbers] } } else { Answer::fails(numbers) }
}

fn unread_lag(region: &Region, error: &ObserveError) -> Answer {
    Answer::unread("cloudwatch:GetMetricData", region, error, &format!("the lag cannot be read in {region}"))
}

fn judge_bound(lag: Option<(Timestamp, Duration)>, now: Timestamp, limit: Duration) -> Answer {
    let exposure = Exposure::from_lag(lag, now, Duration::ZERO);
    match (exposure.loss_bound, exposure.measured_lag, exposure.sample_age) {
        (Some(bound), Some(lag), Some(age)) => {
            let numbers = format!(
                "loss bound {} s (last lag {} s, measured {} s ago; {}), limit {} s",
                to_seconds(bound),
                to_seconds(lag),
                to_seconds(age),
                exposure.basis,
                to_seconds(limit)
            );
            if bound <= limit || is_off(Guard::LossBound) {
                Answer::Holds { evidence: vec![numbers] }
            } else {
                Answer::fails(numbers)
            }
        }
        _ => Answer::fails(exposure.basis),
    }
}

/// S5: every store's writer is proven to be in the Region that traffic moves to.
pub async fn writers(context: &Context, proofs: &[WriterProof]) -> Answer {
    let mut all = Vec::new();
    for proof in proofs.iter().filter(|_| !is_off(Guard::FlipFirst)) {
        match detached::writer(context, &proof.global_cluster, &proof.writer, &proof.observe_in).await {
            Writer::Proven { evidence } => all.push(evidence),
            Writer::Not { why } => {
                return Answer::fails(format!("{} is not the proven writer: {why}", proof.writer.identifier()));
            }
            Writer::Unknown { why } => return Answer::Unknown { why },
            Writer::Denied(denial) => return Answer::Denied(denial),
        }
    }
    Answer::Holds { evidence: all }
}

/// What `gate.target` asks of a target beside what every move needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Every cluster available and connected.
    pub lossless: bool,
    /// Its engine version may be another one than the writer's: it is to be detached.
    pub any_engine: bool,
}

/// `gate.target`: whether `target` can take over.
pub async fn target(
    context: &Context,
    global_cluster: &str,
    from: &ClusterArn,
    target: &ClusterArn,
    observe_in: &[Region],
    wanted: Wanted,
) -> Answer {
    if let Some(answer) = detached::in_the_way(context, from, target, observe_in).await {
        return answer;
    }
    let proof = aurora::prove(&*context.cloud, &*context.clock, global_cluster, observe_in).await;
    let (view, mut evidence) = match proof {
        Proof::Agreed { view, evidence } => (view, vec![evidence]),
        Proof::Contradicted { why } | Proof::Unknown { why } => return Answer::Unknown { why },
        Proof::Denied(denial) => return Answer::Denied(denial),
    };
    if let Some(why) = roles_fault(&view, from, target) {
        return Answer::Fails { why };
    }
    let cluster = match context.cloud.db_cluster(target).await {
        Ok(cluster) => cluster,
        Err(error) => return unread_cluster(target, &error),
    };
    if let Some(why) = target_fault(&view, &cluster, wanted) {
        return Answer::Fails { why };
    }
    evidence.push(format!(
        "{}: {}, {} instance(s), version {}",
        target.identifier(),
        cluster.status,
        cluster.instances,
        cluster.engine_version
    ));
    if wanted.lossless {
        for member in &view.members {
            match context.cloud.db_cluster(&member.arn).await {
                Ok(c) if c.status == "available" => {}
                Ok(c) => {
                    return Answer::fails(format!(
                        "{} is {}: a switchover needs every cluster available",
                        member.arn, c.status
                    ));
                }
                Err(error) => return unread_cluster(&member.arn, &error),
            }
        }
        if let Some(m) = view.members.iter().find(|m| !m.is_writer && m.synchronization.as_deref() != Some("connected"))
        {
            return Answer::fails(format!(
                "{} is not connected ({})",
                m.arn,
                m.synchronization.as_deref().unwrap_or("not reported")
            ));
        }
    }
    Answer::Holds { evidence }
}

fn unread_cluster(arn: &ClusterArn, error: &ObserveError) -> Answer {
    Answer::unread("rds:DescribeDBClusters", arn.region(), error, arn.as_str())
}

/// Headless, not available, or of another major.minor version than the global cluster (AWS.md 1.2).
fn target_fault(view: &GlobalCluster, target: &DbCluster, wanted: Wanted) -> Option<String> {
    let minor = |v: &str| v.split('.').take(2).collect::<Vec<_>>().join(".");
    if target.instances == 0 && !is_off(Guard::HeadlessTarget) {
        return Some(format!(
            "{} is headless: add a DB instance first, by aurora.add_instance (runbook headless-failover)",
            target.arn
        ));
    }
    if target.status != "available" {
        return Some(format!("{} is {}, not available", target.arn, target.status));
    }
    let is_other = minor(&target.engine_version) != minor(&view.engine_version) && !wanted.any_engine;
    (is_other && !is_off(Guard::OtherVersion)).then(|| {
        format!(
            "{} has engine version {}, the global cluster {}: a managed operation needs the same; without one, \
             aurora.detach (runbook detach-and-promote)",
            target.arn, target.engine_version, view.engine_version
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(s).expect("in range")
    }

    #[test]
    fn a_bound_is_lag_plus_age_and_no_sample_is_no_bound() {
        let lag = Some((at(100), Duration::from_millis(300)));
        assert!(matches!(judge_bound(lag, at(110), Duration::from_secs(11)), Answer::Holds { .. }));
        assert!(matches!(judge_bound(lag, at(111), Duration::from_secs(11)), Answer::Fails { .. }));
        assert!(matches!(judge_bound(None, at(111), Duration::from_secs(86_400)), Answer::Fails { .. }));
    }

    #[test]
    fn a_sample_from_the_future_bounds_nothing() {
        let ahead = Some((at(200), Duration::from_millis(100)));
        assert!(matches!(judge_bound(ahead, at(111), Duration::from_secs(86_400)), Answer::Fails { .. }));
        let within_skew = Some((at(130), Duration::from_millis(100)));
        assert!(matches!(judge_bound(within_skew, at(111), Duration::from_secs(1)), Answer::Holds { .. }));
    }
}
