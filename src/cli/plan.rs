//! `failoverd plan`: what a move would do, as it would be met now.
//!
//! Invariant: at most 80 columns, except for what is to be copied (digests); what is unknown says so.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{
    Options,
    api::{Api, Failure},
    named::Named,
    render::{cut, flags, plain, seconds, wrapped},
    show,
};
use crate::{
    domain::{action::EffectClass, drill::Budget, hole::Hole},
    http::{
        plan::{CallView, LeadsBack, PlanForecastView, PlanStepView, PlanView, PreconditionState, RequirementView},
        view::RunView,
    },
};

/// Why the move is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PurposeArg {
    Failover,
    Switchover,
    Failback,
    Drill,
    Salvage,
}

/// How to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    Auto,
    Switchover,
    Failover,
}

impl ModeArg {
    fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Switchover => "switchover",
            Self::Failover => "failover",
        }
    }
}

/// What is asked of `POST /failover`, but for who asks and why.
pub fn failover(mode: ModeArg, accept_data_loss_seconds: Option<u32>, runbook: Option<String>) -> Value {
    let mut body = json!({ "mode": mode.as_str() });
    if let Some(seconds) = accept_data_loss_seconds {
        body["accept_data_loss_seconds"] = seconds.into();
    }
    if let Some(runbook) = runbook {
        body["runbook"] = runbook.into();
    }
    body
}

/// What is to be shown.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub application: Named,
    #[arg(long, value_enum)]
    pub purpose: PurposeArg,
    /// Of a drill: which; of a failover or switchover: another than the application's own
    #[arg(long, value_name = "RUNBOOK", required_if_eq("purpose", "drill"))]
    pub runbook: Option<String>,
    /// The Region to move to
    #[arg(long, value_name = "REGION")]
    pub target: Option<String>,
    /// How many seconds of acknowledged writes may be lost
    #[arg(long, value_name = "N")]
    pub accept_data_loss_seconds: Option<u32>,
}

/// Asks for a plan and prints it.
pub(super) async fn perform(options: &Options, api: &Api, args: &PlanArgs) -> Result<(), Failure> {
    let (path, body) = request(args);
    let view: PlanView = api.post(path, &body, None).await?.json()?;
    show(options, &view, plan);
    Ok(())
}

/// Where to ask for a plan, and with what.
pub fn request(args: &PlanArgs) -> (&'static str, Value) {
    let mut body = json!({ "application": args.application.name(), "reason": "failoverd plan", "dry_run": true });
    let path = match args.purpose {
        PurposeArg::Failback => "/failback",
        PurposeArg::Drill => "/drills",
        PurposeArg::Salvage => "/salvage",
        PurposeArg::Failover => {
            body["mode"] = "failover".into();
            "/failover"
        }
        PurposeArg::Switchover => {
            body["mode"] = "switchover".into();
            "/failover"
        }
    };
    if let Some(target) = &args.target {
        body["target_region"] = target.as_str().into();
    }
    // With a failback the daemon refuses it.
    if let Some(runbook) = &args.runbook {
        body["runbook"] = runbook.as_str().into();
    }
    // With a purpose that loses nothing the daemon refuses it, with the reason.
    if let Some(accepted) = args.accept_data_loss_seconds {
        body["accept_data_loss_seconds"] = accepted.into();
    }
    (path, body)
}

/// A plan that was looked ahead at only.
pub fn plan(view: &PlanView) -> String {
    let text = |key: &str| plain(view.plan.get(key).and_then(Value::as_str).unwrap_or("unknown"));
    let mut out = cut(&format!(
        "{} of {}: {} → {}, runbook {}",
        text("purpose"),
        text("application"),
        text("source"),
        text("target"),
        text("runbook")
    ));
    out.push_str(&format!("\ndigest {}\n", plain(&view.digest)));
    if let Some(chosen) = &view.chosen {
        out.push_str(&wrapped("auto: ", &format!("a {}, since {}", chosen.mode, chosen.why)));
    }
    let loss = view.plan.get("accepted_loss_seconds").and_then(Value::as_f64);
    out.push_str(&format!("accepted loss: {}\n", loss.map_or("none".to_owned(), seconds)));
    out.push_str(&wrapped("time: ", &time(view)));
    if let Some(back) = &view.way_back {
        out.push_str(&wrapped("way back: ", &estimate(back)));
    }
    out.push_str(&wrapped("point of no return: ", &no_return(view)));
    if let Some(budget) = view.plan.get("budget").and_then(|b| serde_json::from_value::<Budget>(b.clone()).ok()) {
        out.push_str(&wrapped("budget: ", &plain(&budget.told())));
    }
    for approval in &view.approvals {
        let by = if approval.by.is_empty() { "nobody who could".to_owned() } else { approval.by.join(", ") };
        let within = seconds(approval.expires_after_seconds);
        let said = format!("{} of {by}, within {within}, at step {}", approval.count, approval.step);
        out.push_str(&wrapped("approvals: ", &said));
    }
    out.push('\n');
    for (n, s) in (1..).zip(&view.steps) {
        out.push_str(&step(n, s));
    }
    if !view.findings.is_empty() {
        out.push_str("\non the worst day:\n");
    }
    for f in &view.findings {
        out.push_str(&wrapped(
            "  ",
            &format!("{}: {} {}; instead: {} ({})", f.code, f.step, f.problem, f.instead, page(&f.code)),
        ));
    }
    out.push_str("\nnothing was started\n");
    if let Some(real) = &view.rehearses {
        out.push_str("\nwhat a real failover would do:\n\n");
        out.push_str(&plan(real));
    }
    out
}

/// From where no step leads back, and what does.
fn no_return(view: &PlanView) -> String {
    if let Some(step) = &view.point_of_no_return {
        return format!("from {step} on: {}", view.why_no_return.as_deref().unwrap_or("no step leads back"));
    }
    let held: Vec<&str> =
        view.steps.iter().filter(|s| s.leads_back == LeadsBack::Undeclared).map(|s| s.id.as_str()).collect();
    if held.is_empty() {
        return "none: an abort takes back whatever was done".to_owned();
    }
    format!("none, but the way back is held for a person at {}: no `undo` is declared", held.join(", "))
}

fn page(code: &str) -> String {
    format!("docs/errors/{code}.md")
}

fn time(view: &PlanView) -> String {
    let predicted = view.forecast.as_ref().map_or("unknown".to_owned(), estimate);
    let objective = view.rto_objective_seconds.map_or("unknown".to_owned(), seconds);
    // Looked at, and nothing left: spent. Not looked at: unknown.
    let left = match (view.rto_left_seconds, view.at) {
        (Some(left), _) => seconds(left),
        (None, Some(_)) => "nothing".to_owned(),
        (None, None) => "unknown".to_owned(),
    };
    format!("{predicted}, without people's own; {left} is left of an RTO of {objective}")
}

fn estimate(of: &PlanForecastView) -> String {
    let basis = match of.runs {
        0 => "declared".to_owned(),
        1 => "measured in 1 run".to_owned(),
        runs => format!("measured in {runs} runs"),
    };
    if of.p50_seconds == of.p95_seconds {
        return format!("{} ({basis})", seconds(of.p50_seconds));
    }
    format!("{}, 1 in 20 over {} ({basis})", seconds(of.p50_seconds), seconds(of.p95_seconds))
}

fn step(n: usize, s: &PlanStepView) -> String {
    let mut out = wrapped(&format!("{n:>3}  "), &format!("{}: {}", s.id, s.title));
    let indent = "     ";
    let effect = match (s.effect, s.leads_back) {
        (EffectClass::Read, _) => "changes nothing",
        (EffectClass::Irreversible, _) => "NO WAY BACK",
        (_, LeadsBack::AnotherRun) => "no way back but another run",
        (_, LeadsBack::Stays) => "stays as it is",
        (_, LeadsBack::Undeclared) => "no way back is declared",
        (EffectClass::Reversible, _) => "has a way back",
        (EffectClass::Compensable, _) => "can be made up for",
    };
    let back = s.back_to.as_ref().map_or(String::new(), |home| format!(", on the way back to {home}"));
    let after = if s.needs.is_empty() { "at once".to_owned() } else { format!("after {}", s.needs.join(", ")) };
    out.push_str(&wrapped(indent, &format!("{} ({effect}), {after}{back}", s.action)));
    for call in &s.calls {
        out.push_str(&wrapped(&format!("{indent}calls "), &called(call)));
    }
    if !s.requires.is_empty() {
        let needed: Vec<String> = s.requires.iter().map(required).collect();
        out.push_str(&wrapped(&format!("{indent}needs "), &needed.join("; ")));
    }
    if let Some(when) = &s.when {
        let holds = match s.when_holds {
            Some(true) => "true now",
            Some(false) => "false now: it would be passed over",
            None => "only the run can tell",
        };
        out.push_str(&wrapped(&format!("{indent}when  "), &format!("{when} ({holds})")));
    }
    out.push_str(&condition(s, indent));
    if s.effect != EffectClass::Read {
        out.push_str(&wrapped(&format!("{indent}undo  "), &s.undo));
    }
    let within = format!("at most {}", seconds(s.timeout_seconds));
    let took = s.forecast.as_ref().map_or("unknown".to_owned(), estimate);
    out.push_str(&wrapped(&format!("{indent}takes "), &format!("{took}; {within}")));
    out
}

fn condition(s: &PlanStepView, indent: &str) -> String {
    let detail = s.precondition.detail.join("; ");
    let head = match (s.precondition.state, s.precondition.awaited.is_none()) {
        (PreconditionState::Free, _) => return String::new(),
        (PreconditionState::Met, _) => "met",
        (PreconditionState::Open, _) => "to do",
        (PreconditionState::Unknown, _) => "unknown",
        (PreconditionState::NotMet, true) => "NOT MET",
        (PreconditionState::NotMet, false) => "not yet",
    };
    let by = match (s.precondition.state, &s.precondition.awaited) {
        (PreconditionState::NotMet, Some(step)) => format!(" (as is to be expected before {step})"),
        _ => String::new(),
    };
    wrapped(&format!("{indent}{head}: "), &flags(&format!("{detail}{by}")))
}

fn called(call: &CallView) -> String {
    let arguments = call.arguments.as_object().into_iter().flatten();
    // Where it is sent stands before them.
    let said = arguments.filter(|(key, _)| !matches!(key.as_str(), "region" | "endpoints"));
    let mut words = Vec::new();
    said.for_each(|(key, value)| flat(key, value, &mut words));
    format!("{} in {} ({} plane) {}", call.operation, call.regions.join(" or "), call.plane.as_str(), words.join(" "))
}

/// `key=value`, and what a table or a list holds one by one, so that lines can be broken between them.
fn flat(key: &str, value: &Value, words: &mut Vec<String>) {
    if let Some(hole) = Hole::of(value) {
        return words.push(format!("{key}=<output {}>", hole.told()));
    }
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| flat(&format!("{key}.{k}"), v, words)),
        Value::Array(items) => (0..).zip(items).for_each(|(n, v): (usize, _)| flat(&format!("{key}[{n}]"), v, words)),
        Value::String(text) => words.push(format!("{key}={text}")),
        other => words.push(format!("{key}={other}")),
    }
}

fn required(need: &RequirementView) -> String {
    let at = if need.any_of.is_empty() { "any Region".to_owned() } else { need.any_of.join(" or ") };
    format!("{} {} in {at}", need.service, need.plane.as_str())
}

/// What a run that has just been started is about to do.
pub fn summary(run: &RunView) -> String {
    // As the plan has it: an action's name does not tell it, since each aws.call declares its own.
    let no_return = run.no_return.as_ref();
    let no_return = no_return.map_or("no point of no return".to_owned(), |s| format!("no step leads back from {s} on"));
    let approvals: Vec<&str> = run.steps.iter().filter(|s| s.action == "approve").map(|s| s.id.as_str()).collect();
    let approvals = match approvals.as_slice() {
        [] => "no approval".to_owned(),
        some => format!("waits for approval at {}", some.join(", ")),
    };
    let what = format!(
        "{} {} → {} by {}, {} steps; {no_return}; {approvals}",
        run.purpose,
        run.source,
        run.target,
        run.runbook,
        run.steps.len()
    );
    format!("{}plan {}\n", wrapped("", &what), plain(&run.plan_digest))
}
