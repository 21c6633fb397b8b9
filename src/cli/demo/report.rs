//! What a demo ends with: the timeline, the RTO clock and the loss against their objectives, what clients saw.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::json;

use super::{DemoArgs, script::Outcome, workspace::Stage};
use crate::{
    domain::{
        plan::PlannedStep,
        recovery,
        run::{RunState, StepState},
        seconds::to_seconds,
    },
    engine::control::Control as _,
};

/// Prints the outcome; true when every check holds.
pub(super) fn print(stage: &Stage, args: &DemoArgs, outcome: &Outcome) -> bool {
    let passed = outcome.checks.iter().all(|(_, ok)| *ok);
    let text = if args.json { as_json(stage, args, outcome, passed) } else { as_tables(stage, outcome, passed) };
    crate::cli::print(&format!("{text}\n"));
    passed
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(80);
    table.set_header(header.to_vec());
    table
}

fn seconds(d: Option<std::time::Duration>) -> String {
    d.map_or_else(|| "not known".to_owned(), |d| format!("{:.1}", d.as_secs_f64()))
}

fn as_tables(stage: &Stage, outcome: &Outcome, passed: bool) -> String {
    let mut parts = Vec::new();
    for run in &outcome.runs {
        parts.push(format!("\n{} {} → {}, world seconds", run.plan.runbook, run.plan.source, run.plan.target));
        parts.push(timeline(run).to_string());
        parts.push(objectives(stage, run).to_string());
    }
    let l = &outcome.ledger;
    let mut clients = table(&["what clients saw", ""]);
    clients.add_row(["seconds with failed requests", &format!("{:.1}", l.failed_seconds)]);
    clients.add_row(["writes acknowledged", &l.writes_acknowledged.to_string()]);
    clients.add_row([
        "acknowledged writes lost",
        &format!("{} (a window of {:.2} s)", l.writes_lost, l.loss_window_seconds),
    ]);
    parts.push(clients.to_string());
    for (what, ok) in &outcome.checks {
        parts.push(format!("{} {what}", if *ok { "ok  " } else { "NOT " }));
    }
    parts.push(format!("journal and config: {}", stage.directory.display()));
    parts.push(if passed {
        "the demo ended as it must".to_owned()
    } else {
        "THE DEMO DID NOT END AS IT MUST".to_owned()
    });
    parts.join("\n")
}

/// Each step with when it began and ended on the RTO clock.
fn timeline(run: &RunState) -> Table {
    let clock = recovery::rto_clock(run);
    let origin = clock.started_at.unwrap_or(run.started_at).min(run.started_at);
    let at = |t: jiff::Timestamp| format!("{:.1}", t.duration_since(origin).as_secs_f64());
    let mut rows: Vec<(jiff::Timestamp, [String; 3])> = Vec::new();
    if let Some(since) = run.evidence_since {
        rows.push((since, [at(since), String::new(), "first evidence: the RTO clock starts".to_owned()]));
    }
    if let Some(when) = run.recommended_at {
        rows.push((when, [at(when), String::new(), "failover recommended".to_owned()]));
    }
    rows.push((run.started_at, [at(run.started_at), String::new(), format!("asked for by {}", run.request.subject)]));
    for step in &run.plan.steps {
        match &run.steps[&step.id] {
            StepState::Done { since, at: end, .. } => rows.push((*since, [at(*since), at(*end), what(step)])),
            StepState::Failed { since, at: end, code, .. } => {
                rows.push((*since, [at(*since), at(*end), format!("{} — failed ({code}), passed over", what(step))]));
            }
            StepState::Pending
            | StepState::Running { .. }
            | StepState::Sending { .. }
            | StepState::Answered { .. }
            | StepState::Holding { .. }
            | StepState::Skipped { .. } => {}
        }
    }
    rows.sort_by_key(|(t, _)| *t);
    let mut timeline = table(&["from", "to", "what"]);
    for (_, row) in rows {
        timeline.add_row(row);
    }
    timeline
}

/// A step's title, and which of several it is.
fn what(step: &PlannedStep) -> String {
    match step.id.as_str().split_once('.') {
        Some((_, of)) => format!("{} ({of})", step.title),
        None => step.title.clone(),
    }
}

fn objectives(stage: &Stage, run: &RunState) -> Table {
    let clock = recovery::rto_clock(run);
    let apps = stage.daemon.engine.applications();
    let objectives = apps.iter().find(|a| a.name == run.plan.application).map(|a| a.objectives);
    let mut table = table(&["budget", "seconds", "objective"]);
    for (name, share) in [
        ("  detection", clock.detection),
        ("  decision", clock.decision),
        ("  execution", clock.execution),
        ("  propagation", clock.propagation),
    ] {
        if share.is_some() {
            table.add_row([name.to_owned(), seconds(share), String::new()]);
        }
    }
    let rto = objectives.map(|o| o.rto);
    let rpo = objectives.map(|o| o.rpo);
    let missed = |over: bool| if over { " MISSED" } else { "" };
    let rto_missed = missed(clock.total.zip(rto).is_some_and(|(took, promised)| promised < took));
    table.add_row(["RTO".to_owned(), format!("{}{rto_missed}", seconds(clock.total)), seconds(rto)]);
    if let Some(loss) = &run.loss {
        let range = match (loss.at_least, loss.at_most) {
            (Some(a), Some(b)) if a == b => seconds(Some(a)),
            (a, b) => format!("{} to {}", seconds(a), seconds(b)),
        };
        let rpo_missed = missed(loss.at_least.zip(rpo).is_some_and(|(lost, promised)| promised < lost));
        table.add_row(["RPO (measured loss)".to_owned(), format!("{range}{rpo_missed}"), seconds(rpo)]);
    }
    table
}

fn as_json(stage: &Stage, args: &DemoArgs, outcome: &Outcome, passed: bool) -> String {
    let runs: Vec<_> = outcome
        .runs
        .iter()
        .map(|r| json!({ "run": r.id, "purpose": r.plan.purpose, "rto_clock": recovery::rto_clock(r), "loss": r.loss }))
        .collect();
    let l = &outcome.ledger;
    json!({
        "scenario": format!("{:?}", args.scenario),
        "seed": args.seed,
        "rate": args.rate,
        "passed": passed,
        "checks": outcome.checks.iter().map(|(what, ok)| json!({ "what": what, "ok": ok })).collect::<Vec<_>>(),
        "runs": runs,
        "clients": {
            "failed_seconds": l.failed_seconds,
            "writes_acknowledged": l.writes_acknowledged,
            "writes_lost": l.writes_lost,
            "loss_window_seconds": l.loss_window_seconds,
        },
        "rto_objective_seconds": stage.daemon.engine.applications().first().map(|a| to_seconds(a.objectives.rto)),
        "rpo_objective_seconds": stage.daemon.engine.applications().first().map(|a| to_seconds(a.objectives.rpo)),
        "directory": stage.directory,
    })
    .to_string()
}
