//! The rules for acting alone, each with what it finds: all of them must hold at once.
//!
//! Invariants: what is unknown does not hold; more lag, fewer fresh samples and fewer vantages never make a rule hold
//! that did not (property tests); none of them binds a person, who may start a run whatever is found here.

use std::time::Duration;

use jiff::Timestamp;

use super::{Known, Memory, Reach};
use crate::domain::{
    application::Application,
    assessment::{Assessment, Exposure, Health},
    drill,
    history::History,
    id::{OverrideId, Region},
    overrides::{Ending, Override, OverrideKind},
    plan::Purpose,
    policy::Mode,
    rules::{Finding, Holds, Rule},
    run::{Phase, RunResult, RunState},
    salvage,
    seconds::to_seconds,
    signal::{Reading, SignalRole, SignalState, SignalWindow, age},
    vantage::{Stand, Witness},
};

/// For how long the lag may be unknown, while the primary is otherwise healthy, before what was armed is disarmed: three
/// periods of CloudWatch.
const LAG_UNKNOWN_MAX: Duration = Duration::from_mins(3);

/// What has been found so far, which the rules are held against.
pub(super) struct Found<'a> {
    pub active: Option<&'a Region>,
    pub target: Option<&'a Region>,
    pub health: Health,
    /// How many triggers are freshly and believably ill, at whatever vantage.
    pub ill: usize,
    pub witnesses: &'a [Witness],
    /// The worst store's, by the source that is trusted for it, where there is a store.
    pub worst: Option<Exposure>,
}

/// Every rule, in the order of [`Rule::ALL`].
pub(super) fn rules(
    known: &Known<'_>,
    found: &Found<'_>,
    memory: &mut Memory,
    now: Timestamp,
    boot: Duration,
) -> Vec<Finding> {
    let policy = &known.application.policy;
    let armed = armed(known.history, found.active, found.target, now);
    let (down, quorum) = (down(found), quorum(known, found.witnesses));
    // Who was cut off has seen nothing that stands: a partition that has just ended is what the dwell waits out.
    let reach = reach(&known.reach);
    let stands = down.is_met() && quorum.is_met() && reach.is_met();
    memory.acting_since = if stands { Some(memory.acting_since.unwrap_or(boot)) } else { None };
    let last_alone = last_alone(known.history);
    let findings = vec![
        mode(policy.mode),
        armed.0,
        kill_switch(known.history, now),
        idle(known.history, now),
        down,
        quorum,
        reach,
        dwell(memory.acting_since, policy.dwell, boot),
        loss(known.application, found.worst.as_ref(), armed.1.and_then(largest_loss)),
        target(known, found.target, now),
        not_demoted(known.history, found.target),
        cool_down(last_alone, policy.cool_down, now),
        acknowledged(known.history, last_alone),
        blackout(known.application, now),
    ];
    findings.into_iter().map(|finding| waived(known.history, finding, now)).collect()
}

/// For how long a judgement may be acted on: it is made anew each second.
const JUDGED_MAX: Duration = Duration::from_secs(5);

/// Judges what hangs on the journal and on the hour again, at the moment of acting, on what the journal says then: the
/// arming that was judged is the one that is in force, and nothing that a person has said since stands against it.
///
/// # Errors
/// The rules that do not hold any more.
pub fn stands<'a>(
    app: &Application,
    history: &'a History,
    judged: &Assessment,
    now: Timestamp,
) -> Result<&'a Override, Vec<Finding>> {
    let (active, target) = (judged.active_region.as_ref(), judged.recommended_target.as_ref());
    let (armed, arming) = armed(history, active, target, now);
    let last_alone = last_alone(history);
    let age = age(now, judged.at).filter(|age| *age <= JUDGED_MAX);
    let is_same = |f: &&Finding| f.rule == Rule::Armed && f.says == armed.says;
    let acts = match app.policy.mode {
        Mode::Shadow => Finding::no(Rule::Mode, "the mode is shadow: nothing is started", "mode = \"automatic\""),
        other @ (Mode::Automatic | Mode::Recommend) => mode(other),
    };
    let findings = [
        acts,
        kill_switch(history, now),
        idle(history, now),
        not_demoted(history, target),
        cool_down(last_alone, app.policy.cool_down, now),
        acknowledged(history, last_alone),
        blackout(app, now),
    ];
    let mut unmet: Vec<Finding> =
        findings.into_iter().map(|f| waived(history, f, now)).filter(|f| !f.is_met()).collect();
    if age.is_none() {
        unmet.push(Finding::no(Rule::Down, format!("it was judged at {:.0}", judged.at), "a newer judgement"));
    }
    match arming.filter(|_| judged.rules.iter().find(is_same).is_some()) {
        Some(arming) if unmet.is_empty() => Ok(arming),
        Some(_) => Err(unmet),
        None => Err([Finding { holds: Holds::No, ..armed }].into_iter().chain(unmet).collect()),
    }
}

/// A rule that does not hold and that a person has waived.
fn waived(history: &History, finding: Finding, now: Timestamp) -> Finding {
    match history.overrides.waiver(finding.rule, now).filter(|_| finding.rule.is_waivable() && !finding.is_met()) {
        Some(waiver) => Finding {
            holds: Holds::Waived,
            says: format!("{}; waived by {} ({})", finding.says, waiver.by, waiver.reason),
            ..finding
        },
        None => finding,
    }
}

fn mode(mode: Mode) -> Finding {
    match mode {
        Mode::Automatic | Mode::Shadow => Finding::yes(Rule::Mode, format!("the mode is {}", mode.as_str())),
        Mode::Recommend => Finding::no(
            Rule::Mode,
            "the mode is recommend: a person decides",
            "mode = \"automatic\" in the configuration",
        ),
    }
}

fn largest_loss(armed: &Override) -> Option<Duration> {
    match &armed.kind {
        OverrideKind::Arm { largest_loss, .. } => Some(*largest_loss),
        OverrideKind::KillSwitch | OverrideKind::Acknowledge { .. } | OverrideKind::Waive { .. } => None,
    }
}

fn armed<'a>(
    history: &'a History,
    active: Option<&Region>,
    target: Option<&Region>,
    now: Timestamp,
) -> (Finding, Option<&'a Override>) {
    let wanted = "arming by one person with the consent of another (failoverd arm)";
    let Some(armed) = history.overrides.armed(now) else {
        return (Finding::no(Rule::Armed, "nothing is armed", wanted), None);
    };
    let OverrideKind::Arm { from, to, largest_loss } = &armed.kind else {
        return (Finding::no(Rule::Armed, "nothing is armed", wanted), None);
    };
    let consent = armed.consent.as_ref().map_or("nobody", |(subject, _)| subject.as_str());
    let says = format!(
        "armed {from} -> {to} by {} with the consent of {consent}, until {:.0}, for at most {} s of lost writes",
        armed.by,
        armed.expires_at,
        to_seconds(*largest_loss)
    );
    if active == Some(from) && target == Some(to) {
        (Finding::yes(Rule::Armed, says), Some(armed))
    } else {
        let active = active.map_or("unknown", Region::as_str);
        (Finding::no(Rule::Armed, format!("{says}; the active Region is {active}"), wanted), None)
    }
}

fn kill_switch(history: &History, now: Timestamp) -> Finding {
    match history.overrides.kill_switch(now) {
        None => Finding::yes(Rule::KillSwitch, "the automation is not switched off"),
        Some(off) => Finding::no(
            Rule::KillSwitch,
            format!("switched off by {} until {:.0} ({})", off.by, off.expires_at, off.reason),
            "withdrawing the kill switch",
        ),
    }
}

/// What signals say so soon after a fault on purpose may still be that fault: the longest windows of metrics are minutes.
const AFTERMATH: Duration = Duration::from_mins(15);

fn idle(history: &History, now: Timestamp) -> Finding {
    match history.moving_run() {
        None if let Some(run) = drill::aftermath(history, now, AFTERMATH) => Finding::no(
            Rule::Idle,
            format!("{} had broken {} on purpose, less than {} s ago", run.id, run.plan.source, AFTERMATH.as_secs()),
            "the end of that time: a person decides until then",
        ),
        None => Finding::yes(Rule::Idle, "no run is under way that moves anything"),
        Some(run) => Finding::no(Rule::Idle, format!("{} is under way", run.id), "its end"),
    }
}

/// Positive evidence. Who says otherwise is heard by [`quorum`]: were a healthy word a reason here, its falling silent
/// would argue for acting.
fn down(found: &Found<'_>) -> Finding {
    let wanted = "a trigger of the active Region that is freshly unhealthy, often enough in a row";
    match (found.active, found.ill) {
        (None, _) => Finding::unknown(Rule::Down, "it is not known which Region is active", "a reading of the writers"),
        (Some(region), 0) => {
            Finding::no(Rule::Down, format!("no trigger of {region} is freshly and believably ill"), wanted)
        }
        (Some(region), ill) => Finding::yes(Rule::Down, format!("{ill} reading(s) say that {region} does not serve")),
    }
}

/// Whether enough vantages see the active Region ill, and none says otherwise.
pub(super) fn quorum(known: &Known<'_>, witnesses: &[Witness]) -> Finding {
    /// One vantage never acts alone (FAULTS.md 46).
    const LEAST: usize = 2;
    let all = witnesses.len();
    let needed = (known.application.policy.quorum as usize).max(all / 2 + 1).max(LEAST);
    let of = |stand: Stand| {
        let names = witnesses.iter().filter(move |w| w.stand == stand).map(|w| w.vantage.as_str());
        names.collect::<Vec<_>>()
    };
    let (ill, against) = (of(Stand::Ill), of(Stand::Against));
    let names = if ill.is_empty() { String::new() } else { format!(": {}", ill.join(", ")) };
    let says = format!("{} of {all} vantages see it ill, freshly{names} ({needed} are needed)", ill.len());
    if all < needed {
        Finding::no(Rule::Quorum, format!("{says}, and so many there are not"), "more observers (docs/vantages.md)")
    } else if !against.is_empty() {
        let says = format!("{says}; {} did not say so last", against.join(", "));
        Finding::no(Rule::Quorum, says, "every vantage seeing it ill, or at least having seen it so last")
    } else if ill.len() < needed {
        Finding::no(Rule::Quorum, says, format!("{needed} vantages that see it freshly, often enough in a row"))
    } else {
        Finding::yes(Rule::Quorum, says)
    }
}

fn reach(reach: &Reach) -> Finding {
    let wanted = "this daemon reaching its own control points";
    match reach {
        Reach::Sure { says } => Finding::yes(Rule::Reach, says.clone()),
        Reach::CutOff { why } => Finding::no(Rule::Reach, why.clone(), wanted),
        Reach::Unknown { why } => Finding::unknown(Rule::Reach, why.clone(), wanted),
    }
}

fn dwell(since: Option<Duration>, dwell: Duration, boot: Duration) -> Finding {
    let stood = since.map(|since| boot.saturating_sub(since));
    let (whole, wanted) = (dwell.as_secs_f64(), format!("evidence without a break for {} s", to_seconds(dwell)));
    match stood {
        Some(stood) if dwell <= stood => {
            Finding::yes(Rule::Dwell, format!("it has stood for {:.0} s of {whole:.0} s", stood.as_secs_f64()))
        }
        Some(stood) => {
            Finding::no(Rule::Dwell, format!("it has stood for {:.0} s of {whole:.0} s", stood.as_secs_f64()), wanted)
        }
        None => Finding::no(Rule::Dwell, "the evidence does not stand now", wanted),
    }
}

fn loss(app: &Application, worst: Option<&Exposure>, largest: Option<Duration>) -> Finding {
    if app.stores.is_empty() {
        return Finding::yes(Rule::Loss, "nothing is promoted: no store has one writer");
    }
    let Some(largest) = largest else {
        return Finding::unknown(Rule::Loss, "no loss was accepted beforehand", "arming with a largest loss");
    };
    let limit = to_seconds(largest);
    match worst.and_then(|e| e.loss_bound) {
        None => Finding::unknown(Rule::Loss, "the loss is unbounded: there is no lag sample", "a lag sample"),
        Some(bound) if bound <= largest => {
            Finding::yes(Rule::Loss, format!("at most {} s of writes, {limit} s are armed", to_seconds(bound)))
        }
        Some(bound) => Finding::no(
            Rule::Loss,
            format!("{} s of writes may be lost, {limit} s are armed", to_seconds(bound)),
            format!("a loss bound of at most {limit} s, or a person who accepts more"),
        ),
    }
}

/// The target is to be seen healthy, by a signal that may stop or start a move; where none tells of it, that is unknown.
fn target(known: &Known<'_>, target: Option<&Region>, now: Timestamp) -> Finding {
    let Some(target) = target else {
        return Finding::unknown(Rule::Target, "there is no Region to go to", "a healthy standby");
    };
    let telling = known.application.signals.iter();
    let telling = telling.filter(|s| s.source.of() == Some(target) && s.role != SignalRole::Informational);
    let (mut well, mut others) = (Vec::new(), Vec::new());
    for signal in telling {
        let window = known.windows.get(&signal.name);
        let fresh = window.map(|w| w.state(now, signal.freshness));
        let ill = window.and_then(SignalWindow::unhealthy).is_some();
        match fresh {
            Some(SignalState::Fresh { sample }) if !ill && matches!(sample.reading, Reading::Healthy { .. }) => {
                well.push(signal.name.as_str());
            }
            _ => others.push(signal.name.as_str()),
        }
    }
    let wanted = format!("every trigger and gate of {target} freshly healthy");
    match (well.is_empty(), others.is_empty()) {
        (false, true) => Finding::yes(Rule::Target, format!("{target} is seen healthy by {}", well.join(", "))),
        (true, true) => Finding::unknown(Rule::Target, format!("no signal tells of {target}"), wanted),
        (_, false) => {
            Finding::no(Rule::Target, format!("{target} is not seen healthy by {}", others.join(", ")), wanted)
        }
    }
}

fn not_demoted(history: &History, target: Option<&Region>) -> Finding {
    let last = history.runs.values().filter(|r| r.plan.purpose == Purpose::Failover && has_promoted(r));
    let last = last.max_by_key(|r| r.started_at);
    match last {
        Some(run) if target.is_none() && salvage::reconciled(history, &run.id).is_none() => Finding::unknown(
            Rule::NotDemoted,
            format!("there is no Region to go to; {} left writes in {}", run.id, run.plan.source),
            "a target, or a salvage of it that somebody has signed",
        ),
        Some(run) if Some(&run.plan.source) == target && salvage::reconciled(history, &run.id).is_none() => {
            Finding::no(
                Rule::NotDemoted,
                format!("{} left writes in {} that nobody has reconciled", run.id, run.plan.source),
                "a salvage of it that somebody has signed, or an acknowledgement that they were reconciled",
            )
        }
        _ => Finding::yes(Rule::NotDemoted, "no failover has left unreconciled writes in the target"),
    }
}

/// Whether `run` may have promoted its target: it went past its point of no return.
fn has_promoted(run: &RunState) -> bool {
    run.is_past_no_return() || run.result() == Some(RunResult::Succeeded)
}

/// The last run that was started alone.
fn last_alone(history: &History) -> Option<&RunState> {
    history
        .runs
        .values()
        .filter(|r| r.request.armed.is_some())
        .max_by_key(|r| r.started_at)
        .map(std::convert::AsRef::as_ref)
}

fn cool_down(last: Option<&RunState>, cool_down: Duration, now: Timestamp) -> Finding {
    let since = last.map(|run| match &run.phase {
        Phase::Finished { at, .. } => (&run.id, *at),
        Phase::Running | Phase::Held { .. } | Phase::Paused { .. } | Phase::Aborting { .. } | Phase::Undoing { .. } => {
            (&run.id, now)
        }
    });
    match since {
        None => Finding::yes(Rule::CoolDown, "nothing was started alone before"),
        Some((run, at)) => {
            let passed = Duration::try_from(now.duration_since(at)).unwrap_or_default();
            let says = format!(
                "{run}, started alone, ended {:.0} s ago; the cool-down is {:.0} s",
                passed.as_secs_f64(),
                cool_down.as_secs_f64()
            );
            if cool_down <= passed {
                Finding::yes(Rule::CoolDown, says)
            } else {
                Finding::no(Rule::CoolDown, says, "the end of the cool-down, or a waiver")
            }
        }
    }
}

fn acknowledged(history: &History, last: Option<&RunState>) -> Finding {
    match last {
        Some(run) if history.overrides.acknowledged(&run.id).is_none() => Finding::no(
            Rule::Acknowledged,
            format!("nobody has acknowledged {}, which was started alone", run.id),
            "an acknowledgement of it, or a waiver",
        ),
        Some(run) => Finding::yes(Rule::Acknowledged, format!("{} is acknowledged", run.id)),
        None => Finding::yes(Rule::Acknowledged, "nothing was started alone before"),
    }
}

fn blackout(app: &Application, now: Timestamp) -> Finding {
    match app.policy.blackouts.iter().find(|b| b.is_on(now)) {
        None => Finding::yes(Rule::Blackout, "no blackout is on"),
        Some(b) => Finding::no(Rule::Blackout, format!("a blackout is on: {}", b.reason), "its end, or a waiver"),
    }
}

/// An arming that must end: the lag has been unknown for too long while the primary was otherwise healthy (in a disaster
/// it stays armed: that is what it is for), or the writer is elsewhere.
pub(super) fn disarm(
    known: &Known<'_>,
    found: &Found<'_>,
    memory: &mut Memory,
    lag_is_known: bool,
    now: Timestamp,
    boot: Duration,
) -> Option<(OverrideId, Ending, String)> {
    let is_well = matches!(found.health, Health::Healthy | Health::Degraded);
    let unknown = is_well && !lag_is_known && !known.application.stores.is_empty();
    memory.lag_unknown_since = if unknown { Some(memory.lag_unknown_since.unwrap_or(boot)) } else { None };
    let armed = known.history.overrides.armed(now)?;
    let OverrideKind::Arm { from, .. } = &armed.kind else { return None };
    if known.history.moving_run().is_none() && found.active.is_some_and(|active| active != from) {
        let why = format!("the active Region is {}", found.active.map_or("unknown", Region::as_str));
        return Some((armed.id.clone(), Ending::DirectionChanged, why));
    }
    let unknown_for = boot.saturating_sub(memory.lag_unknown_since?);
    (LAG_UNKNOWN_MAX <= unknown_for).then(|| {
        let why = format!("the lag was unknown for {:.0} s while all else was well", unknown_for.as_secs_f64());
        (armed.id.clone(), Ending::LagUnknown, why)
    })
}
