//! The rungs of a fence: what is looked at, what must be so before one is closed, and what was there before.
//!
//! Invariants: verified is what was observed, and nothing else: a write that was refused by the server's own word, rules
//! that are listed without the clients', an event of AWS. Silence is unknown; whether an unknown fence stops the run is
//! the runbook's to say (`on_unknown`), and its evidence and its output `fenced` say it either way. A write that the old
//! writer takes always stops the run. The cluster that takes over is never fenced, nor a writer that has come back.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::{
    domain::{
        action::{Action, OnUnknown},
        api_call::ApiCall,
        cloud::{CloudEvent, EventSource, Member, Mutation, ObserveError, Outcome},
        database::{Door, WriteAnswer},
        fence::{Fence, Fenced, IngressRule, OldWriter, Peer, Rung, Shown, Wanted, describe_rules, fencing_event},
        fence::{reaching, rules_in, size_in},
        id::{Region, StepId},
        run::{RunState, StepState},
        sabotage::{Guard, is_off},
        seconds::to_seconds,
        signal::CLOCK_SKEW_MAX,
        undo::{self, Prior},
    },
    engine::{
        aurora::{self, Proof},
        context::Context,
        denial::Denial,
        guards::Answer,
        look::Look,
        observe::Seen,
        outlook::Condition,
        probing::database,
        step,
    },
};

/// A fence that was seen not to hold: never passed over.
pub const NOT_HELD: &str = "fence-not-held";
/// A fence that must not be closed, or would not hold: never passed over.
pub const REFUSED: &str = "fence-refused";
/// A fence of which nothing is known.
pub const UNKNOWN: &str = "fence-unknown";

fn outputs(fenced: Fenced) -> BTreeMap<String, Value> {
    BTreeMap::from([("fenced".to_owned(), json!(fenced.as_str()))])
}

/// What a step that fails with `code` ends as instead, where the runbook lets pass what is not known.
pub(super) fn passed(action: &Action, code: &str, reason: &str) -> Option<(Vec<String>, BTreeMap<String, Value>)> {
    let Action::Fence { fence } = action else { return None };
    let is_known = matches!(code, NOT_HELD | REFUSED);
    (fence.on_unknown == OnUnknown::Pass && !is_known).then(|| {
        tracing::warn!(rung = action.kind(), code, reason, "a fence is not known, and the runbook lets that pass");
        let evidence = format!("NOT KNOWN whether the old writer is fenced, and passed as the runbook says: {reason}");
        (vec![evidence], outputs(Fenced::Unknown))
    })
}

/// Looks once: a rung that changes nothing.
pub(super) async fn look(context: &Context, run: &RunState, id: &StepId, fence: &Fence) -> Look {
    let (Some(old), Rung::Event { within } | Rung::WriteMustFail { within }) = (fence.writer(), &fence.rung) else {
        return Look::Refused { code: UNKNOWN, why: "nothing can be looked at".to_owned() };
    };
    let seen = match &fence.rung {
        Rung::Event { .. } => event(context, run, old).await,
        _ => write(context, old).await,
    };
    let is_passed = fence.on_unknown == OnUnknown::Pass;
    let why = match seen {
        Told::Verified { evidence } => {
            return Look::Satisfied { evidence: vec![evidence], outputs: outputs(Fenced::Verified) };
        }
        Told::NotHeld { why } => return Look::Refused { code: NOT_HELD, why },
        Told::TimedOut { why } if is_passed => {
            let evidence = vec![format!("TIMED OUT, and passed as the runbook says: {why}")];
            return Look::Satisfied { evidence, outputs: outputs(Fenced::TimedOut) };
        }
        Told::TimedOut { why } => return Look::Refused { code: UNKNOWN, why },
        Told::Unknown { why } => why,
    };
    let elapsed = step::elapsed(context, run, id);
    if elapsed < *within {
        let pause = aurora::POLL.min(*within - elapsed);
        return Look::NotYet { why, pause };
    }
    let why = format!("not within {} s: {why}", to_seconds(*within));
    match passed(&Action::Fence { fence: Box::new(fence.clone()) }, UNKNOWN, &why) {
        Some((evidence, outputs)) => Look::Satisfied { evidence, outputs },
        None => Look::Refused { code: UNKNOWN, why },
    }
}

/// What one look at a rung told.
enum Told {
    Verified { evidence: String },
    NotHeld { why: String },
    TimedOut { why: String },
    Unknown { why: String },
}

/// Aurora's event, in the old primary's Region where that was reached, else in the new one's [AUG].
async fn event(context: &Context, run: &RunState, old: &OldWriter) -> Told {
    let since = SignedDuration::try_from(CLOCK_SKEW_MAX).ok().and_then(|skew| run.started_at.checked_sub(skew).ok());
    let since = since.unwrap_or(run.started_at);
    let window = context.clock.wall().duration_since(since).try_into().unwrap_or(CLOCK_SKEW_MAX);
    let (mut events, mut unread): (Vec<CloudEvent>, Vec<String>) = (Vec::new(), Vec::new());
    for cluster in [&old.target, &old.cluster] {
        let instances = match context.cloud.db_instances(cluster).await {
            Ok(instances) => instances,
            Err(error) => {
                unread.push(format!("{}: {error}", cluster.region()));
                continue;
            }
        };
        for instance in instances {
            let source = EventSource::DbInstance { identifier: instance.identifier.clone() };
            match context.cloud.events(cluster.region(), &source, window).await {
                Ok(told) => events.extend(told),
                Err(error) => unread.push(format!("{}: {error}", instance.identifier)),
            }
        }
    }
    match fencing_event(&events, since) {
        Some((Fenced::Verified, event)) => {
            Told::Verified { evidence: format!("AWS at {:.0}: {}", event.at, event.message) }
        }
        Some((_, event)) => Told::TimedOut { why: format!("AWS at {:.0}: {}", event.at, event.message) },
        None if unread.is_empty() => Told::Unknown { why: "AWS has told nothing of the fencing yet".to_owned() },
        None => Told::Unknown { why: format!("AWS has told nothing that could be read: {}", unread.join("; ")) },
    }
}

/// A write at the old writer.
async fn write(context: &Context, old: &OldWriter) -> Told {
    let region = old.cluster.region();
    let at = match database(context, &old.store, region, Door::Writer) {
        Ok(at) => at,
        Err(why) => return Told::Unknown { why },
    };
    match context.databases.try_write(&at).await {
        WriteAnswer::Refused { reason } => {
            Told::Verified { evidence: format!("{} ({region}) refused a write: {reason}", at.address) }
        }
        WriteAnswer::Taken if is_off(Guard::WriteTaken) => {
            Told::Verified { evidence: format!("{} ({region}) answered", at.address) }
        }
        WriteAnswer::Taken => Told::NotHeld {
            why: format!("{} ({region}) TOOK a write: the old writer of store {} still writes", at.address, old.store),
        },
        WriteAnswer::Unknown { reason } => {
            let silent = format!("{} ({region}): {reason}", at.address);
            as_secondary(context, old).await.unwrap_or(Told::Unknown { why: silent })
        }
    }
}

/// A cluster that has exchanged its roles answers at its reader endpoint only [AUG]. A refusal there says something of
/// the whole cluster where AWS says, proven, that it is a connected secondary; a reader beside a writer refuses too.
async fn as_secondary(context: &Context, old: &OldWriter) -> Option<Told> {
    let region = old.cluster.region();
    let [writer, reader] = [Door::Writer, Door::Reader].map(|door| database(context, &old.store, region, door).ok());
    let at = reader.filter(|at| Some(&at.address) != writer.as_ref().map(|w| &w.address))?;
    let proof = aurora::prove(&*context.cloud, &*context.clock, &old.global_cluster, &old.observe_in).await;
    let Proof::Agreed { view, evidence } = proof else { return None };
    let connected =
        |m: &Member| m.arn == old.cluster && !m.is_writer && m.synchronization.as_deref() == Some("connected");
    if !view.is_settled_on(&old.target) || !view.members.iter().any(connected) {
        return None;
    }
    match context.databases.try_write(&at).await {
        WriteAnswer::Refused { reason } => Some(Told::Verified {
            evidence: format!(
                "{} ({region}), a connected secondary, refused a write: {reason}; {evidence}",
                at.address
            ),
        }),
        WriteAnswer::Taken => Some(Told::NotHeld { why: format!("{} ({region}) TOOK a write", at.address) }),
        WriteAnswer::Unknown { .. } => None,
    }
}

/// Whether the rung may be closed now.
pub(super) async fn may(context: &Context, run: &RunState, fence: &Fence) -> Answer {
    let mut all = Vec::new();
    for old in fence.old.iter().filter(|_| !is_off(Guard::FenceTarget)) {
        if old.cluster == old.target {
            return Answer::fails(format!("{} takes over: it is never fenced", old.cluster));
        }
        match aurora::prove(&*context.cloud, &*context.clock, &old.global_cluster, &old.observe_in).await {
            Proof::Agreed { view, .. } if view.is_settled_on(&old.cluster) && is_promoted(run, old) => {
                return Answer::fails(format!(
                    "{} is the writer again, after this run had moved it: it is no old writer",
                    old.cluster
                ));
            }
            Proof::Agreed { evidence, .. } => all.push(evidence),
            Proof::Contradicted { why } | Proof::Unknown { why } => return Answer::Unknown { why },
            Proof::Denied(denial) => return Answer::Denied(denial),
        }
    }
    if let Rung::SecurityGroup { region, group, port, from, keep } = &fence.rung {
        match rules(context, region, group).await {
            Ok(rules) => {
                if let Some(why) = rules_fault(group, &rules, *port, from, keep) {
                    return Answer::Fails { why };
                }
            }
            Err(Unread::Denied(denial)) => return Answer::Denied(denial),
            Err(Unread::Unclear(why)) => return Answer::Unknown { why },
        }
    }
    Answer::Holds { evidence: all }
}

/// Whether this run may have moved the writer of the store already.
fn is_promoted(run: &RunState, old: &OldWriter) -> bool {
    run.plan.steps.iter().any(|s| match &s.action {
        Action::AuroraFailover { store, target, .. } | Action::AuroraSwitchover { store, target, .. } => {
            (store, target) == (&old.store, &old.target)
                && (run.may_have_effect(&s.id) || matches!(run.steps[&s.id], StepState::Done { .. }))
        }
        _ => false,
    })
}

/// Why the rules of the group are not those that the plan's call takes away: EC2 refuses it whole where one is missing.
fn rules_fault(group: &str, rules: &[IngressRule], port: u16, from: &[Peer], keep: &[Peer]) -> Option<String> {
    let listed = |peers: Vec<String>| peers.join(", ");
    let strangers = strangers(rules, port, from, keep);
    if !strangers.is_empty() {
        return Some(format!(
            "{group} lets in {} too, on port {port}: name them in `from` or in `keep`",
            listed(strangers)
        ));
    }
    let wide = reaching(rules, port).filter(|r| from.contains(&r.peer) && !r.is_only(port));
    let wide: Vec<String> = wide.map(|r| r.peer.to_string()).collect();
    if !wide.is_empty() {
        return Some(format!(
            "{group} lets in {} by a rule for more than TCP on port {port}: make it one for that port alone",
            listed(wide)
        ));
    }
    let is_there = |peer: &&Peer| reaching(rules, port).any(|r| r.peer == **peer);
    let missing: Vec<String> = from.iter().filter(|peer| !is_there(peer)).map(Peer::to_string).collect();
    (!missing.is_empty() && missing.len() != from.len())
        .then(|| format!("{group} has no rule for {}: EC2 would refuse the whole call", listed(missing)))
}

/// Who else reaches the port.
fn strangers(rules: &[IngressRule], port: u16, from: &[Peer], keep: &[Peer]) -> Vec<String> {
    let is_strange = |r: &&IngressRule| !from.contains(&r.peer) && !keep.contains(&r.peer);
    reaching(rules, port).filter(is_strange).map(|r| r.peer.to_string()).collect()
}

enum Unread {
    Denied(Denial),
    Unclear(String),
}

async fn ask(context: &Context, request: &ApiCall) -> Result<Value, Unread> {
    match context.cloud.ask(request).await {
        Ok(answer) => Ok(answer),
        // A function or a group that is not there is not fenced: whoever named it meant something.
        Err(error @ ObserveError::NotFound { .. }) => Err(Unread::Unclear(error.to_string())),
        Err(error) => Err(match Denial::of(&request.operation, Some(&request.region), &error) {
            Some(denial) => Unread::Denied(denial),
            None => Unread::Unclear(format!("{} in {}: {error}", request.operation, request.region)),
        }),
    }
}

async fn rules(context: &Context, region: &Region, group: &str) -> Result<Vec<IngressRule>, Unread> {
    let answer = ask(context, &describe_rules(region, group)).await?;
    rules_in(&answer).map_err(|why| Unread::Unclear(format!("{group}: {why}")))
}

/// Whether the effect of call number `call` shows.
pub(super) async fn observe(context: &Context, fence: &Fence, call: u32, outcome: Option<&Outcome>) -> Seen {
    let calls = fence.rung.mutations(&fence.old);
    let Some(mutation) = calls.get(call as usize) else {
        return Seen::Unknown { why: "no such call".to_owned() };
    };
    // In the middle of its calls each is asked for by itself; before the first and after the last the rung holds only if
    // all of it does.
    let is_whole = outcome.is_none() || call as usize + 1 == calls.len();
    let asked = if is_whole { calls.as_slice() } else { std::slice::from_ref(mutation) };
    let mut evidence = Vec::new();
    for mutation in asked {
        match seen(context, mutation).await {
            Seen::Done { evidence: more, .. } => evidence.extend(more),
            other => return other,
        }
    }
    if let Rung::SecurityGroup { region, group, port, from, keep } = &fence.rung {
        match rules(context, region, group).await {
            Ok(rules) => {
                let left = strangers(&rules, *port, from, keep);
                if !left.is_empty() {
                    return Seen::Before { what: format!("{group} lets in {} too", left.join(", ")) };
                }
            }
            Err(Unread::Denied(denial)) => return Seen::Denied(denial),
            Err(Unread::Unclear(why)) => return Seen::Unknown { why },
        }
    }
    Seen::Done { evidence, outputs: outputs(Fenced::Verified) }
}

/// Whether what one call of a rung, or of its way back, wants is so.
pub(super) async fn seen(context: &Context, mutation: &Mutation) -> Seen {
    match mutation {
        Mutation::EndSessions { region, store } => {
            let at = match database(context, store, region, Door::Writer) {
                Ok(at) => at,
                Err(why) => return Seen::Unknown { why },
            };
            match context.databases.sessions(&at).await {
                Ok(sessions) if sessions.count == 0 => {
                    let evidence = vec![format!("{} ({region}) has no session of anybody else", at.address)];
                    Seen::Done { evidence, outputs: BTreeMap::new() }
                }
                Ok(sessions) => Seen::Before {
                    what: format!("{} session(s) are there, of {}", sessions.count, sessions.roles.join(", ")),
                },
                Err(error) => Seen::Unknown { why: error.to_string() },
            }
        }
        Mutation::AwsCall { request, .. } => {
            let Some(wanted) = Wanted::of(request) else {
                return Seen::Unknown { why: "nothing can be observed of this call".to_owned() };
            };
            match ask(context, &wanted.read()).await.map(|answer| wanted.judge(&answer)) {
                Ok(Ok(Shown::So { says })) => Seen::Done { evidence: vec![says], outputs: BTreeMap::new() },
                Ok(Ok(Shown::Coming { says })) => Seen::Moving { what: says },
                Ok(Ok(Shown::NotSo { says })) => Seen::Before { what: says },
                Ok(Err(why)) | Err(Unread::Unclear(why)) => Seen::Unknown { why },
                Err(Unread::Denied(denial)) => Seen::Denied(denial),
            }
        }
        _ => Seen::Unknown { why: "no call of a fence".to_owned() },
    }
}

/// What is there before a call of a rung.
pub(super) async fn before(context: &Context, fence: &Fence, mutation: &Mutation) -> Result<Option<Prior>, String> {
    let Mutation::AwsCall { request, .. } = mutation else { return Ok(None) };
    let unread = |error: Unread| match error {
        Unread::Denied(denial) => denial.why,
        Unread::Unclear(why) => why,
    };
    let wanted = Wanted::of(request).ok_or("no call of a fence")?;
    let answer = ask(context, &wanted.read()).await.map_err(unread)?;
    match (&wanted, &fence.rung) {
        (Wanted::Gone { .. }, Rung::SecurityGroup { port, from, .. }) => {
            let rules = rules_in(&answer)?;
            let rules = reaching(&rules, *port).filter(|r| from.contains(&r.peer)).cloned().collect();
            Ok(Some(undo::Prior::Ingress { rules }))
        }
        (Wanted::Size { part, .. }, _) => {
            let (count, _) = size_in(part, &answer)?;
            Ok(Some(undo::Prior::Size { count }))
        }
        _ => Ok(None),
    }
}

/// A fence is opened again only while the old writer is still the writer: else it would write beside the new one.
pub(super) async fn may_go_back(context: &Context, fence: &Fence) -> Answer {
    let mut all = Vec::new();
    for old in &fence.old {
        match aurora::prove(&*context.cloud, &*context.clock, &old.global_cluster, &old.observe_in).await {
            Proof::Agreed { view, evidence } if view.is_settled_on(&old.cluster) => all.push(evidence),
            Proof::Agreed { view, .. } => {
                let seen = aurora::describe(&view);
                return Answer::fails(format!("{} is not the proven writer, so its fence stands: {seen}", old.cluster));
            }
            Proof::Contradicted { why } | Proof::Unknown { why } => return Answer::Unknown { why },
            Proof::Denied(denial) => return Answer::Denied(denial),
        }
    }
    Answer::Holds { evidence: all }
}

/// What a look ahead, for a plan, shows of a rung.
pub(super) async fn ahead(context: &Context, run: &RunState, fence: &Fence) -> Condition {
    match &fence.rung {
        // Before the promotion there is nothing to see, and the old writer takes writes by rights.
        Rung::Event { .. } | Rung::WriteMustFail { .. } => Condition::Free,
        Rung::Connections | Rung::SecurityGroup { .. } | Rung::Application { .. } | Rung::Restore { .. } => {
            match may(context, run, fence).await {
                Answer::Holds { evidence } => Condition::Met { evidence },
                Answer::Fails { why } => Condition::NotMet { why },
                Answer::Unknown { why } => Condition::Unknown { why },
                Answer::Denied(denial) => Condition::Unknown { why: denial.why },
            }
        }
    }
}

/// Sends a call that does not go to AWS.
pub(super) async fn end_sessions(context: &Context, mutation: &Mutation) -> Outcome {
    let Mutation::EndSessions { region, store } = mutation else {
        return Outcome::NotSent { reason: "no call of a fence".to_owned() };
    };
    match database(context, store, region, Door::Writer) {
        Ok(at) => context.databases.end_sessions(&at).await,
        Err(reason) => Outcome::NotSent { reason },
    }
}
