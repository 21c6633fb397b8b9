//! Actions that only look or wait: each is asked again until it holds, fails from facts, or runs out of time.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use crate::{
    domain::{
        action::{Action, OnUnknown},
        application::ClusterArn,
        expression,
        id::{Region, StepId, Subject},
        plan::Purpose,
        run::{RunState, StepState},
        sabotage::{Guard, is_off},
        seconds::to_seconds,
    },
    engine::{
        alone,
        aurora::{self, Proof},
        context::Context,
        deferred,
        denial::Denial,
        detached::{self, Writer},
        escalation, fences, gates,
        guards::{self, Answer},
        postcondition, probing,
        pulse::Pulse,
        salvage, signal_probing, standby_object, step,
    },
    ports::probes::{HttpAnswer, HttpQuestion},
};

/// How one look ended.
#[derive(Debug)]
pub enum Look {
    Satisfied {
        evidence: Vec<String>,
        outputs: BTreeMap<String, Value>,
    },
    /// A fact that no waiting changes.
    Refused {
        code: &'static str,
        why: String,
    },
    /// Not yet; look again after the pause.
    NotYet {
        why: String,
        pause: Duration,
    },
}

fn satisfied(evidence: Vec<String>) -> Look {
    Look::Satisfied { evidence, outputs: BTreeMap::new() }
}

fn not_yet(why: impl Into<String>) -> Look {
    Look::NotYet { why: why.into(), pause: aurora::POLL }
}

fn denied(denial: Denial) -> Look {
    Look::Refused { code: denial.code, why: denial.why }
}

/// What a looking step remembers between looks; lost on a restart, which only makes it look longer.
#[derive(Debug, Default)]
pub struct Memory {
    successes: u32,
    /// Since when, in boot time, the Region that is waited for has not answered.
    silent_since: Option<Duration>,
    /// How often a gate could not tell.
    unknown_looks: u32,
    /// Since when the signals say what is expected: in boot time, and in the step's own.
    pub(super) so_since: Option<(Duration, Duration)>,
}

impl Memory {
    /// How many good looks there were in a row, this one among them.
    pub(super) fn in_a_row(&mut self, is_good: bool) -> u32 {
        self.successes = if is_good { self.successes + 1 } else { 0 };
        self.successes
    }
}

/// Looks once.
pub async fn look(context: &Context, run: &RunState, id: &StepId, action: &Action, memory: &mut Memory) -> Look {
    match action {
        Action::GateCapacity { .. } | Action::GateQuota { .. } | Action::GateReplication { .. } => {
            supporting_gate(context, run, action, memory).await
        }
        Action::GateTarget { store, global_cluster, from, target, observe_in, lossless, any_engine } => {
            if let Some(looked) = escalation::gate(context, run, store).await {
                return looked;
            }
            let wanted = guards::Wanted { lossless: *lossless, any_engine: *any_engine };
            let answer = guards::target(context, global_cluster, from, target, observe_in, wanted).await;
            gate(answer, "gate-target", watermarks(context, run.plan.ends(id).0))
        }
        Action::GateRpo { store, lag, lag_region, limit } if run.plan.purpose != Purpose::Failover => {
            match guards::lag_at_rest(context, store, lag, lag_region, *limit).await {
                // A planned move has time: a lag shrinks, and a secondary that has just been rebuilt has no fresh
                // sample yet. In a failover the bound only grows.
                Answer::Fails { why } => not_yet(why),
                answer => gate(answer, "gate-rpo", BTreeMap::new()),
            }
        }
        Action::GateRpo { store, lag, lag_region, limit } => {
            if let Some(looked) = escalation::gate(context, run, store).await {
                return looked;
            }
            let limit = run.plan.accepted_loss.map_or(*limit, |accepted| accepted.max(*limit));
            gate(guards::loss_bound(context, run, store, (lag, lag_region), limit).await, "gate-rpo", BTreeMap::new())
        }
        Action::AuroraWait { global_cluster, observe_in, synchronized, .. } => {
            let awaited = synchronized.then_some(run.plan.ends(id).1);
            settled(context, global_cluster, observe_in, awaited, memory).await
        }
        Action::AuroraVerifyWriter { global_cluster, target, observe_in, .. } => {
            match detached::writer(context, global_cluster, target, observe_in).await {
                Writer::Proven { evidence } => verified(context, run, id, evidence).await,
                Writer::Not { why } | Writer::Unknown { why } => not_yet(why),
                Writer::Denied(denial) => denied(denial),
            }
        }
        Action::DnsVerify { traffic, record_name, record_type, servers, expected } => {
            let mut looked = dns_verify(context, record_name, record_type, servers, expected).await;
            if let Look::Satisfied { evidence, .. } = &mut looked {
                evidence.extend(standby_object::aside(context, traffic, expected).await);
            }
            looked
        }
        Action::ProbeHttp { .. } => probe(context, run, id, action, memory).await,
        Action::ProbeTcp { .. } | Action::ProbePostgres { .. } => probing::look(context, action, memory).await,
        Action::ProbeSignal(probe) => signal_probing::look(context, run, id, probe, memory),
        Action::Fence { fence } if action.mutations().is_empty() => fences::look(context, run, id, fence).await,
        Action::Salvage { look } => salvage::look(context, run, look).await,
        Action::Approve { count, expires_after, .. } => approve(context, run, id, *count, *expires_after),
        Action::AuroraPreserveSnapshot { cluster, within, .. } => left_open(context, run, action, cluster, *within),
        Action::Wait { duration } => timer(step::elapsed(context, run, id), *duration),
        Action::Assert { that, message } => assertion(run, id, that, message),
        Action::AwsCall { call } if call.is_read() => postcondition::look(context, run, id, call).await,
        Action::AuroraSwitchover { .. }
        | Action::AuroraFailover { .. }
        | Action::AuroraDetach { .. }
        | Action::AuroraAddInstance { .. }
        | Action::DnsFlip { .. }
        | Action::Fence { .. }
        | Action::DnsWeights(_)
        | Action::LambdaFault(_)
        | Action::AwsCall { .. }
        | Action::Notify { .. } => {
            unreachable!("{} has an effect and is driven by `effect`", action.kind())
        }
    }
}

/// It leaves its work open; nothing is looked at for it.
fn left_open(context: &Context, run: &RunState, action: &Action, cluster: &ClusterArn, within: Duration) -> Look {
    let cluster = cluster.identifier();
    if deferred::opened(&context.scribe.history(), run, action).is_none() {
        return satisfied(vec![format!("the rescue snapshot of {cluster} is kept already, or is being kept")]);
    }
    satisfied(vec![format!(
        "left open: within {} s the rescue snapshot of {cluster} is copied, once its Region is back",
        to_seconds(within)
    )])
}

/// Settled, and with `awaited` every member connected: that Region may be lost meanwhile.
async fn settled(
    context: &Context,
    global_cluster: &str,
    observe_in: &[Region],
    awaited: Option<&Region>,
    memory: &mut Memory,
) -> Look {
    let looked = wait_settled(context, global_cluster, observe_in, awaited).await;
    match (looked, awaited) {
        (Look::NotYet { why, pause }, Some(region)) => {
            silence(context, global_cluster, region, memory).await.unwrap_or(Look::NotYet { why, pause })
        }
        (looked, _) => looked,
    }
}

fn timer(elapsed: Duration, duration: Duration) -> Look {
    match duration.checked_sub(elapsed).filter(|left| !left.is_zero()) {
        None => satisfied(vec![format!("waited {} s", to_seconds(duration))]),
        Some(pause) => Look::NotYet { why: format!("waits {} s", to_seconds(duration)), pause },
    }
}

fn gate(answer: Answer, code: &'static str, outputs: BTreeMap<String, Value>) -> Look {
    match answer {
        Answer::Holds { evidence } => Look::Satisfied { evidence, outputs },
        Answer::Fails { why } => Look::Refused { code, why },
        Answer::Unknown { why } => not_yet(why),
        Answer::Denied(denial) => denied(denial),
    }
}

fn assertion(run: &RunState, id: &StepId, that: &str, message: &str) -> Look {
    match expression::evaluate(that, &step::facts(run, id)) {
        Ok(true) => satisfied(vec![format!("{that} is true")]),
        Ok(false) => Look::Refused { code: "assert-failed", why: message.to_owned() },
        Err(error) => Look::Refused { code: "assert-failed", why: error.to_string() },
    }
}

/// The gates that say whether a move would be of use.
async fn supporting_gate(context: &Context, run: &RunState, action: &Action, memory: &mut Memory) -> Look {
    match action {
        Action::GateCapacity { store, source, target, declared, at_least_percent, unknown } => {
            let of = (store, source, target);
            let (purpose, declared) = (run.plan.purpose, declared.as_ref());
            let answer = gates::capacity(context, purpose, of, declared, *at_least_percent).await;
            known_or_passed(answer, "gate-capacity", *unknown, memory)
        }
        Action::GateQuota { region, headroom, unknown } => {
            known_or_passed(gates::quota(context, region, headroom).await, "gate-quota", *unknown, memory)
        }
        Action::GateReplication { store, measures, unknown } => {
            match gates::replication(context, run, store, measures).await {
                // What is pending drains, while there is a source to send it.
                Answer::Fails { why } if run.plan.purpose != Purpose::Failover => not_yet(why),
                answer => known_or_passed(answer, "gate-replication", *unknown, memory),
            }
        }
        other => unreachable!("{} is none of these gates", other.kind()),
    }
}

/// As [`gate`]; what cannot be told passes where the runbook says so, after a few looks, and the evidence says it.
fn known_or_passed(answer: Answer, code: &'static str, unknown: OnUnknown, memory: &mut Memory) -> Look {
    /// One lost answer is no reason to go on without one.
    const LOOKS: u32 = 3;
    let known = |is: bool| BTreeMap::from([("known".to_owned(), json!(is))]);
    let why = match (answer, unknown) {
        (Answer::Unknown { why }, OnUnknown::Pass) => why,
        (Answer::Denied(denial), OnUnknown::Pass) => denial.why,
        (answer, _) => return gate(answer, code, known(true)),
    };
    memory.unknown_looks += 1;
    if memory.unknown_looks < LOOKS {
        return not_yet(why);
    }
    tracing::warn!(code, why, "a gate cannot tell, and the runbook lets that pass");
    Look::Satisfied {
        evidence: vec![format!("NOT KNOWN, and passed as the runbook says: {why}")],
        outputs: known(false),
    }
}

/// What the old writer's Region showed last: the loss is measured against it.
fn watermarks(context: &Context, source: &Region) -> BTreeMap<String, Value> {
    let mark = context.trail.of(source);
    let mut outputs = BTreeMap::new();
    if let Some(at) = mark.last_seen_write {
        outputs.insert("last_seen_write".to_owned(), json!(at.to_string()));
    }
    if let Some(at) = mark.first_unanswered {
        outputs.insert("first_unanswered".to_owned(), json!(at.to_string()));
    }
    outputs
}

/// The writer is proven; before any traffic, what it holds is the loss's other end. The old one is looked at again: a
/// Region that has come back since the gate may have acknowledged more.
async fn verified(context: &Context, run: &RunState, id: &StepId, evidence: String) -> Look {
    let (source, target) = run.plan.ends(id);
    if let Some(endpoint) = context.application.endpoints.get(source) {
        let _noted_in_the_trail = context.trail.look(&*context.probes, &*context.clock, source, endpoint).await;
    }
    let mut outputs = watermarks(context, source);
    if let Some(endpoint) = context.application.endpoints.get(target)
        && let Some(write) = context.trail.look(&*context.probes, &*context.clock, target, endpoint).await
    {
        outputs.insert("last_surviving_write".to_owned(), json!(write.to_string()));
    }
    let mut evidence = vec![evidence];
    if run.plan.purpose == Purpose::Failover {
        for pulse in context.pulses.values() {
            count(pulse, run, &mut evidence, &mut outputs).await;
        }
    }
    Look::Satisfied { evidence, outputs }
}

/// What the heartbeat says was lost: the beats that the old writer acknowledged and the new one does not hold. Of
/// several stores the worst stands.
async fn count(pulse: &Pulse, run: &RunState, evidence: &mut Vec<String>, outputs: &mut BTreeMap<String, Value>) {
    let counted = match pulse.count_loss(&run.plan.source, &run.plan.target, None).await {
        Ok(counted) => counted,
        Err(error) => return evidence.push(format!("the heartbeat cannot be counted: {error}")),
    };
    let at_most = counted.at_most.map(to_seconds);
    evidence.push(format!(
        "heartbeat: {} of {} acknowledged beats are missing, {} are unknown: at least {} s of writes, {}",
        counted.beats_missing,
        counted.beats_acknowledged,
        counted.beats_unknown,
        to_seconds(counted.at_least),
        at_most.map_or_else(|| "the most is not known".to_owned(), |s| format!("at most {s} s"))
    ));
    let at_least = to_seconds(counted.at_least);
    let before = outputs.get("beats_at_least_seconds").and_then(Value::as_f64);
    if before.is_none_or(|before| before < at_least) {
        outputs.insert("beats_at_least_seconds".to_owned(), json!(at_least));
        outputs.insert("beats_missing".to_owned(), json!(counted.beats_missing));
    }
}

async fn wait_settled(
    context: &Context,
    identifier: &str,
    observe_in: &[Region],
    synchronized: Option<&Region>,
) -> Look {
    match aurora::prove(&*context.cloud, &*context.clock, identifier, observe_in).await {
        Proof::Agreed { view, .. } if !view.is_settled() => not_yet(aurora::describe(&view)),
        Proof::Agreed { view, evidence } => {
            let behind =
                view.members.iter().find(|m| !m.is_writer && m.synchronization.as_deref() != Some("connected"));
            match behind {
                Some(m) if synchronized.is_some() => not_yet(format!(
                    "{} is {}",
                    m.arn.identifier(),
                    m.synchronization.as_deref().unwrap_or("not reported")
                )),
                _ => match synchronized.filter(|region| !view.members.iter().any(|m| m.arn.region() == *region)) {
                    // After a failover the old primary is no member until AWS has taken it back [AUG].
                    Some(region) => not_yet(format!("{} has no member in {region} yet", view.identifier)),
                    None => satisfied(vec![evidence]),
                },
            }
        }
        Proof::Contradicted { why } | Proof::Unknown { why } => not_yet(why),
        Proof::Denied(denial) => denied(denial),
    }
}

/// A Region that is waited for and has not answered for long is not catching up: a person is told now, not when the
/// step's hours are over.
async fn silence(context: &Context, identifier: &str, region: &Region, memory: &mut Memory) -> Option<Look> {
    /// Control planes are away for minutes without their Region being lost.
    const SILENCE_MAX: Duration = Duration::from_secs(600);
    let Err(error) = context.cloud.global_cluster(region, identifier).await else {
        memory.silent_since = None;
        return None;
    };
    if let Some(denial) = Denial::of("rds:DescribeGlobalClusters", Some(region), &error) {
        return Some(denied(denial));
    }
    let now = context.clock.boot();
    let silent = now.saturating_sub(*memory.silent_since.get_or_insert(now));
    (SILENCE_MAX <= silent).then(|| Look::Refused {
        code: "gate-target",
        why: format!("{region} has not answered for {:.0} s, so it is not catching up: {error}", silent.as_secs_f64()),
    })
}

async fn dns_verify(context: &Context, name: &str, record_type: &str, servers: &[String], expected: &str) -> Look {
    /// How long one server may take.
    const DNS_TIMEOUT: Duration = Duration::from_secs(3);
    let mut evidence = Vec::new();
    for server in servers {
        match context.probes.dns(server, name, record_type, DNS_TIMEOUT).await {
            Ok(answers) if answers == [expected.to_owned()] || is_off(Guard::AnyDnsAnswer) => {
                evidence.push(format!("{server} answers {expected}"));
            }
            Ok(answers) => return not_yet(format!("{server} answers {}", answers.join(", "))),
            Err(error) => return not_yet(error.to_string()),
        }
    }
    satisfied(evidence)
}

async fn probe(context: &Context, run: &RunState, id: &StepId, action: &Action, memory: &mut Memory) -> Look {
    let Action::ProbeHttp { url, expect_status, consecutive, interval, probe_timeout, resolve_with, not_before } =
        action
    else {
        unreachable!("called for probes only")
    };
    let wait = not_before.saturating_sub(step::elapsed(context, run, id));
    if !wait.is_zero() {
        return Look::NotYet { why: format!("waits {} s for caches to let go", to_seconds(*not_before)), pause: wait };
    }
    let question = HttpQuestion {
        url: url.clone(),
        timeout: *probe_timeout,
        resolve_with: resolve_with.clone(),
        record_type: "A".to_owned(),
    };
    let failed = match context.probes.http(&question).await {
        HttpAnswer::Status { status, address, .. } if status == *expect_status => {
            memory.successes += 1;
            let from = address.map_or_else(String::new, |a| format!(" from {a}"));
            if memory.successes >= *consecutive {
                return satisfied(vec![format!("{url} answered {status}{from}, {} times in a row", memory.successes)]);
            }
            return Look::NotYet { why: format!("{} of {consecutive} answers", memory.successes), pause: *interval };
        }
        HttpAnswer::Status { status, .. } => format!("{url} answered {status}"),
        HttpAnswer::NoAnswer { reason } | HttpAnswer::NotAsked { reason } => {
            format!("{url}: {reason}")
        }
    };
    memory.successes = 0;
    Look::NotYet { why: failed, pause: *interval }
}

fn approve(context: &Context, run: &RunState, id: &StepId, count: u32, expires_after: Duration) -> Look {
    if count <= 1
        && let Some(people) = alone::stands_for(&context.scribe.history(), &run.request)
    {
        return satisfied(vec![format!("{people}, plan {}", run.plan_digest)]);
    }
    let given = run.approvals.get(id).map_or(&[][..], Vec::as_slice);
    if let Some(no) = given.iter().find(|a| !a.approved && !is_off(Guard::Declined)) {
        return Look::Refused { code: "approval-declined", why: format!("{} declined: {}", no.subject, no.reason) };
    }
    let counts = |who: &&Subject| **who != run.request.subject || is_off(Guard::OwnApproval);
    let approvers: Vec<_> = run.approvers(id).into_iter().filter(counts).cloned().collect();
    if approvers.len() >= count as usize || is_off(Guard::OnePerson) {
        let names = approvers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return satisfied(vec![format!("approved by {names}, plan {}", run.plan_digest)]);
    }
    let elapsed = step::elapsed(context, run, id);
    if expires_after <= elapsed && !is_off(Guard::ExpiredApproval) {
        return Look::Refused {
            code: "approval-expired",
            why: format!("nobody approved within {} s", to_seconds(expires_after)),
        };
    }
    Look::NotYet {
        why: format!("waits for {} of {count} approvals", count as usize - approvers.len()),
        pause: expires_after.checked_sub(elapsed).filter(|left| !left.is_zero()).unwrap_or(aurora::POLL),
    }
}

/// Whether a step looks again as soon as the journal moves (an approval), not only when its pause is over.
pub fn listens(state: &StepState, action: &Action) -> bool {
    matches!(action, Action::Approve { .. }) && state.is_in_flight()
}
