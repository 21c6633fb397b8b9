//! S13: a drill does what drills may. It exchanges roles, moves traffic, tells people, and makes calls that its plan takes
//! back; it forces nothing and accepts no loss. And it ends where it began, where it says that it succeeded.

use serde_json::Value;

use super::{
    Bench, Call, Findings,
    intent::Intent,
    journal::Record,
    region_of,
    runs::{Phase, Run, Runs},
    text,
};

pub(super) fn is_drill(run: &Run) -> bool {
    run.purpose == "drill"
}

/// The plan of a drill accepts no loss.
pub(super) fn started(run: &Run, record: &Record, findings: &mut Findings) {
    if !is_drill(run) {
        return;
    }
    findings.checked("S13");
    if !run.plan["accepted_loss_seconds"].is_null() {
        let text = format!("{} is a drill, and accepts a loss: a drill loses nothing", run.id);
        findings.violated("S13", record.at, text);
    }
}

/// A drill has exceeded its budget: from here on it leads home.
pub(super) fn over_budget(run: &mut Run, record: &Record, findings: &mut Findings) {
    findings.checked("S13");
    if !is_drill(run) || run.plan["budget"].is_null() || run.way != Phase::Moving {
        let text = format!("{} goes home over a budget that it does not have, or is on its way back already", run.id);
        findings.violated("S13", record.at, text);
    }
    run.goes_home = true;
    run.phase = Phase::Moving;
}

/// Whatever was taken back first, the run is on its way back.
pub(super) fn taken_back(run: &mut Run, record: &Record) {
    if run.goes_home && run.way == Phase::Moving {
        run.way = Phase::Aborting { since: record.at };
        run.phase = run.way.clone();
    }
}

/// A drill that goes home begins nothing that leads away: what was begun before is brought to its end.
pub(super) fn intended(run: &Run, step: &str, record: &Record, findings: &mut Findings) {
    if !run.goes_home {
        return;
    }
    findings.checked("S13");
    let leads_away = |step: &Value| {
        let to = [&step["action"]["to"], &step["action"]["target"]];
        let changes = matches!(text(&step["action"], "action"), "aurora.switchover" | "dns.flip" | "dns.weights");
        let target = text(&run.plan, "target");
        changes && to.iter().any(|to| to.as_str().is_some_and(|to| to == target || region_of(to) == target))
    };
    if !run.steps.contains_key(step) && run.planned(step).is_some_and(leads_away) {
        let text = format!("{} is over its budget, and {step} leads away all the same", run.id);
        findings.violated("S13", record.at, text);
    }
}

/// A call that leaves for a drill.
pub(super) fn sent(bench: &mut Bench<'_>, runs: &Runs, call: &Call, intent: Option<&Intent>) {
    let Some((intent, run)) = intent.and_then(|i| Some((i, runs.run(&i.run)?))) else { return };
    if !is_drill(run) {
        return;
    }
    bench.findings.checked("S13");
    let may = match text(&call.arguments, "call") {
        "aurora_switchover" | "routing_controls" | "upsert_records" | "put_metric" | "publish" => true,
        // A fault of the Region that the drill is about, put in or taken out.
        "lambda_variable" => {
            let is_fault = |action: &Value| text(action, "action") == "fault.lambda_variable";
            run.action(&intent.step).is_some_and(is_fault) && call.arguments["at"]["region"] == run.plan["source"]
        }
        // What a runbook writes out, where the plan has a call that takes it back, or is that call.
        "aws_call" => run.action(&intent.step).is_some_and(|action| !action["call"]["undo"].is_null()),
        _ => false,
    };
    if !may {
        let text = format!(
            "{} left at {} for {}, which is a drill: that is not among what a drill may do",
            call.operation,
            bench.findings.clock(call.at),
            run.id
        );
        bench.findings.violated("S13", call.at, text);
    }
}

/// A drill that says that it succeeded has left every writer where it was.
pub(super) fn succeeded(bench: &mut Bench<'_>, runs: &Runs, id: &str, record: &Record) {
    let Some(run) = runs.run(id).filter(|run| is_drill(run)) else { return };
    bench.findings.checked("S13");
    let source = text(&run.plan, "source");
    let left: Vec<_> = run.planned_steps().iter().filter_map(|step| left_in(bench, &step["action"])).collect();
    for (function, variable) in left {
        let text = format!("{id} is a drill that has succeeded, and its fault is in {function} still ({variable})");
        bench.findings.violated("S13", record.at, text);
    }
    for global in &bench.known.global_clusters {
        let region = bench.truth.writer_at(global, record.at).map(region_of);
        // A person may have moved it by hand in the minutes of the drill; what it has moved itself it has moved back.
        if moves(run, global) && region != Some(source) {
            let text = format!(
                "{id} is a drill that has succeeded, and the writer of {global} is in {}, not in {source} where it began",
                region.unwrap_or("no Region")
            );
            bench.findings.violated("S13", record.at, text);
        }
    }
}

/// S10: a step that says that the fault is in, or out again, says what is so.
pub(super) fn claimed(bench: &mut Bench<'_>, action: &Value, (id, step): (&str, &str), is_undo: bool, record: &Record) {
    if text(action, "action") != "fault.lambda_variable" {
        return;
    }
    bench.findings.checked("S10");
    let (is_in, puts_in) = (left_in(bench, action).is_some(), !is_undo && action["mends"] != true);
    if is_in != puts_in {
        let said = if puts_in { "in" } else { "out" };
        let text = format!("step {step} of {id} says that its fault is {said}, and it is not");
        bench.findings.violated("S10", record.at, text);
    }
}

/// The function and the variable of a fault that stands in the world.
fn left_in(bench: &Bench<'_>, action: &Value) -> Option<(String, String)> {
    if text(action, "action") != "fault.lambda_variable" {
        return None;
    }
    let (function, variable) = (text(&action["at"], "function"), text(&action["at"], "variable"));
    let region = text(&action["at"], "region").parse().ok()?;
    let held = bench.seen.world.services.lambda.function(&region, function)?.variables.get(variable)?;
    (*held == text(action, "broken")).then(|| (function.to_owned(), variable.to_owned()))
}

/// Whether S5 asks for no writer where this call sends traffic: a drill of the traffic alone, of what is written from all
/// Regions.
pub(super) fn moves_traffic_alone(bench: &Bench<'_>, runs: &Runs, intent: Option<&Intent>) -> bool {
    let run = intent.and_then(|intent| runs.run(&intent.run)).filter(|run| is_drill(run));
    let changes = |step: &Value| text(&step["action"], "action").starts_with("aurora.");
    bench.known.is_written_from_all_regions && run.is_some_and(|run| !run.planned_steps().iter().any(changes))
}

/// Whether the plan exchanges the roles of this database.
fn moves(run: &Run, global: &str) -> bool {
    let is_move = |step: &Value| {
        text(&step["action"], "action") == "aurora.switchover" && text(&step["action"], "global_cluster") == global
    };
    run.planned_steps().iter().any(is_move)
}
