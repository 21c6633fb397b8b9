//! A [`Scenario`] as the text of a file that reads back as the same: so that a seed's own mixture can be kept and edited.
//!
//! Invariant: every variant of every fault, act and expectation has its words here; a new one does not compile without.

use std::{fmt::Write as _, time::Duration};

use super::{Approver, Ask, Expectation, People, PersonAct, RunEnd, Scenario, When, Wish, form::LEADER};
use crate::{
    domain::document::friendly,
    sim::{
        faults::{
            Around, CallFault, Happening, ProcessFault, Replica, ReplicaFault, Sight, StoreFault, Trouble, Vantage,
        },
        world::{
            Plane, Reach,
            aurora::{LagMetric, LagSetting, PromotionFate},
            cloudwatch::MetricFault,
        },
    },
};

/// The file's text.
pub(super) fn scenario(s: &Scenario) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{text}");
    };
    line(format!("scenario: {}", s.name));
    line(format!("description: {}", quoted(&s.description)));
    s.reproduces.iter().for_each(|r| line(format!("reproduces: {r}")));
    line(format!("warm_up: {}", friendly(s.warm_up)));
    s.active.iter().for_each(|r| line(format!("active: {r}")));
    if !s.happenings.is_empty() {
        line("happenings:".to_owned());
    }
    s.happenings.iter().for_each(|h| line(format!("  - {}", happening(h))));
    if s.blackout {
        line("blackout: true".to_owned());
    }
    if 1 < s.replicas {
        line(format!("replicas: {}", s.replicas));
    }
    if 0 < s.observers {
        line(format!("observers: {}", s.observers));
    }
    people(&s.people).into_iter().for_each(&mut line);
    s.heals_at.iter().for_each(|at| line(format!("heals_at: {}", friendly(*at))));
    line(format!("lasts: {}", friendly(s.lasts)));
    if !s.expect.is_empty() {
        line("expect:".to_owned());
    }
    s.expect.iter().for_each(|e| line(format!("  - {{ {} }}", expectation(e))));
    out
}

/// JSON's strings are YAML's too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn happening(h: &Happening) -> String {
    let lasts = h.lasts.map(|d| format!("lasts: {}, ", friendly(d))).unwrap_or_default();
    format!("{{ at: {}, {lasts}{} }}", friendly(h.at), trouble(&h.what))
}

fn trouble(t: &Trouble) -> String {
    match t {
        Trouble::LoseRegion { region } => format!("lose_region: {region}"),
        Trouble::PartitionRegion { region } => format!("partition_region: {region}"),
        Trouble::Plane { plane: p, region, reach: r } => {
            format!("plane: {{ plane: {}, region: {region}, reach: {} }}", plane(*p), reach(*r))
        }
        Trouble::Calls { operation, region, fault, chance } => {
            let operation = if operation == "*" { "any" } else { operation };
            let region = region.as_ref().map(|r| format!("region: {r}, ")).unwrap_or_default();
            let fault = call_fault(fault);
            format!("calls: {{ operation: {}, {region}fault: {fault}, chance: {chance} }}", quoted(operation))
        }
        Trouble::Promotion { fate: PromotionFate::Fails } => "promotion: fails".to_owned(),
        Trouble::Promotion { fate: PromotionFate::Sticks } => "promotion: sticks".to_owned(),
        Trouble::Promotion { fate: PromotionFate::Cancelled } => "promotion: cancelled".to_owned(),
        Trouble::FencingTimesOut => "fencing_times_out: true".to_owned(),
        Trouble::Headless { region } => format!("headless: {region}"),
        Trouble::Mismatched { region } => format!("mismatched: {region}"),
        Trouble::Undersized { region } => format!("undersized: {region}"),
        Trouble::QuotaExhausted { region } => format!("quota_exhausted: {region}"),
        Trouble::HiddenDependency { region } => format!("hidden_dependency: {region}"),
        Trouble::ReplicasLag { region } => format!("replicas_lag: {region}"),
        Trouble::Lag { region, setting } => {
            let setting = match setting {
                LagSetting::Wanders => "wanders".to_owned(),
                LagSetting::Fixed(ms) => format!("fixed, value: {}", friendly(Duration::from_millis(*ms))),
                LagSetting::StandsStill => "stands-still".to_owned(),
            };
            format!("lag: {{ region: {region}, setting: {setting} }}")
        }
        Trouble::LagMetric { region, metric } => {
            let metric = lag_metric(*metric);
            format!("lag_metric: {{ region: {region}, metric: {metric} }}")
        }
        Trouble::Metrics { region, namespace, fault } => {
            let fault = match fault {
                MetricFault::Withhold => "withhold".to_owned(),
                MetricFault::Delay(ms) => format!("delay, by: {}", friendly(Duration::from_millis(*ms))),
                MetricFault::Freeze => "freeze".to_owned(),
                MetricFault::NotANumber => "not-a-number".to_owned(),
            };
            format!("metrics: {{ region: {region}, namespace: {}, fault: {fault} }}", quoted(namespace))
        }
        Trouble::ResolversIgnoreTtl { seconds } => {
            format!("resolvers_ignore_ttl: {}", friendly(Duration::from_secs((*seconds).into())))
        }
        Trouble::CredentialsExpire => "credentials_expire: true".to_owned(),
        Trouble::Process(fault) => process(fault),
        Trouble::Replica { of, does } => replica(*of, does),
        Trouble::Store(fault) => store(fault),
        Trouble::ClockJumps { seconds } => format!("clock_jumps: {seconds}s"),
        Trouble::Vantage { of, does } => {
            let of = match of {
                Vantage::Daemon => "daemon".to_owned(),
                Vantage::Observer(number) => number.to_string(),
            };
            let does = match does {
                Sight::Silent => "silent",
                Sight::CutOff => "cut_off",
                Sight::SeesIll => "sees_ill",
            };
            format!("vantage: {{ of: {of}, does: {does} }}")
        }
    }
}

fn lag_metric(metric: LagMetric) -> &'static str {
    match metric {
        LagMetric::Honest => "honest",
        LagMetric::GrowsWhenCut => "grows-when-cut",
        LagMetric::ShowsZero => "shows-zero",
        LagMetric::Missing => "missing",
        LagMetric::NotANumber => "not-a-number",
        LagMetric::Negative => "negative",
    }
}

fn plane(plane: Plane) -> &'static str {
    match plane {
        Plane::Rds => "rds",
        Plane::Route53Control => "route53-control",
        Plane::CloudWatch => "cloudwatch",
        Plane::Sns => "sns",
        Plane::S3 => "s3",
        Plane::Lambda => "lambda",
        Plane::Ec2 => "ec2",
        Plane::Ecs => "ecs",
        Plane::Ssm => "ssm",
        Plane::EventBridge => "eventbridge",
        Plane::SecretsManager => "secretsmanager",
        Plane::Kms => "kms",
        Plane::Backup => "backup",
        Plane::Sts => "sts",
        Plane::HealthCheckers => "health-checkers",
        Plane::ArcCluster => "arc-cluster",
        Plane::Application => "application",
        Plane::Database => "database",
        Plane::Network => "network",
    }
}

fn reach(reach: Reach) -> &'static str {
    match reach {
        Reach::Up => "up",
        Reach::Hangs => "hangs",
        Reach::Unavailable => "unavailable",
        Reach::Throttles => "throttles",
        Reach::DeniesAccess => "denies-access",
    }
}

fn call_fault(fault: &CallFault) -> String {
    let word = match fault {
        CallFault::LoseBefore => "lose-before",
        CallFault::LoseAfter => "lose-after",
        CallFault::Late { by } => return format!("late, by: {}", friendly(*by)),
        CallFault::Duplicate => "duplicate",
        CallFault::Hang => "hang",
        CallFault::Refuse => "refuse",
        CallFault::ServerError => "server-error",
        CallFault::ServerErrorAfter => "server-error-after",
        CallFault::Throttle => "throttle",
        CallFault::Reject { code } => return format!("reject, code: {code}"),
        CallFault::Stale => "stale",
        CallFault::UnknownStatus => "unknown-status",
        CallFault::Garbage => "garbage",
    };
    word.to_owned()
}

fn process(fault: &ProcessFault) -> String {
    match fault {
        ProcessFault::Kill { restart_after } => {
            format!("kill_process: {{ restart_after: {} }}", friendly(*restart_after))
        }
        ProcessFault::KillAtAppend { append, durable, restart_after } => {
            let restart = friendly(*restart_after);
            format!("kill_at_append: {{ append: {append}, durable: {durable}, restart_after: {restart} }}")
        }
        ProcessFault::KillAtCall { call, effect, restart_after } => {
            let restart = friendly(*restart_after);
            format!("kill_at_call: {{ call: {call}, effect: {effect}, restart_after: {restart} }}")
        }
        ProcessFault::Stop { restart_after } => {
            format!("stop_process: {{ restart_after: {} }}", friendly(*restart_after))
        }
        ProcessFault::Pause { lasts } => format!("pause_process: {{ lasts: {} }}", friendly(*lasts)),
    }
}

fn replica(of: Replica, does: &ReplicaFault) -> String {
    let of = match of {
        Replica::Leader => LEADER.to_owned(),
        Replica::Number(number) => number.to_string(),
    };
    let at = |around: &Option<Around>| around.map_or(String::new(), |a| format!(", around: {}", a.word()));
    let does = match does {
        ReplicaFault::Killed { around } => format!("killed{}", at(around)),
        ReplicaFault::Stopped => "stopped".to_owned(),
        ReplicaFault::Paused { around } => format!("paused{}", at(around)),
        ReplicaFault::LosesRequests => "loses-requests".to_owned(),
        ReplicaFault::LosesAnswers => "loses-answers".to_owned(),
        ReplicaFault::CutFromAws => "cut-from-aws".to_owned(),
        ReplicaFault::Stalls => "stalls".to_owned(),
        ReplicaFault::ClockJumps { seconds } => format!("clock-jumps, jump: {seconds}s"),
    };
    format!("replica: {{ of: {of}, does: {does} }}")
}

fn store(fault: &StoreFault) -> String {
    match fault {
        StoreFault::Full => "disk_full: true".to_owned(),
        StoreFault::FailsAfterCommit => "append_fails_after_commit: true".to_owned(),
        StoreFault::Rots { record } => format!("journal_rots: {{ record: {record} }}"),
    }
}

fn people(p: &People) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(p.arm.map(|loss| format!("  arm: {{ largest_loss: {} }}", friendly(loss))));
    lines.extend(p.ask.as_ref().map(|a| format!("  ask: {{ {} }}", ask(a))));
    let approver = match p.approver {
        Approver::Approves { after } => format!("approves: {}", friendly(after)),
        Approver::Declines { after } => format!("declines: {}", friendly(after)),
        Approver::Silent => "silent: true".to_owned(),
        Approver::TriesOwnFirst { after } => format!("tries_own_first: {}", friendly(after)),
    };
    lines.push(format!("  approver: {{ {approver} }}"));
    lines.extend(p.resumes_after.map(|d| format!("  resumes_after: {}", friendly(d))));
    if !p.acts.is_empty() {
        lines.push("  acts:".to_owned());
    }
    for (at, act) in &p.acts {
        let act = match act {
            PersonAct::Pause => "pause".to_owned(),
            PersonAct::Resume => "resume".to_owned(),
            PersonAct::Abort => "abort".to_owned(),
            PersonAct::AskAgain { wish: w, target, accept_data_loss, repeats } => {
                let target = target.as_ref().map(|t| format!(", target: {t}")).unwrap_or_default();
                let loss = accept_data_loss.map(|d| format!(", accept_data_loss: {}", friendly(d))).unwrap_or_default();
                let repeats = if *repeats { ", repeats: true" } else { "" };
                format!("ask-again, wish: {}{target}{loss}{repeats}", wish(w))
            }
        };
        lines.push(format!("    - {{ at: {}, does: {act} }}", friendly(*at)));
    }
    lines.insert(0, "people:".to_owned());
    lines
}

fn ask(a: &Ask) -> String {
    let mut text = format!("wish: {}", wish(&a.wish));
    // Writing to a string cannot fail.
    let _ = match a.when {
        When::At(at) => write!(text, ", at: {}", friendly(at)),
        When::Recommended { after } => write!(text, ", when: recommended, after: {}", friendly(after)),
    };
    let target = a.target.as_ref().map(|t| format!(", target: {t}"));
    let loss = a.accept_data_loss.map(|d| format!(", accept_data_loss: {}", friendly(d)));
    let repeats = a.repeats.then(|| ", repeats: true".to_owned());
    let runbook = a.runbook.as_ref().map(|name| format!(", by: {name}"));
    text.extend([target, loss, runbook, repeats].into_iter().flatten());
    text
}

fn wish(wish: &Wish) -> String {
    match wish {
        Wish::Auto => "auto".to_owned(),
        Wish::Failover => "failover".to_owned(),
        Wish::Switchover => "switchover".to_owned(),
        Wish::Failback => "failback".to_owned(),
        Wish::Salvage => "salvage".to_owned(),
        Wish::Drill { runbook: Some(runbook) } => format!("drill, runbook: {runbook}"),
        Wish::Drill { runbook: None } => "drill".to_owned(),
    }
}

fn expectation(e: &Expectation) -> String {
    match e {
        Expectation::Served { within } => {
            format!("served: {{ within: {} }}", within.map_or_else(|| "rto".to_owned(), friendly))
        }
        Expectation::WriterIn(region) => format!("writer_in: {region}"),
        Expectation::TrafficIn(region) => format!("traffic_in: {region}"),
        Expectation::LossAtMost(most) => format!("loss_at_most: {}", friendly(*most)),
        Expectation::NoRun => "no_run: true".to_owned(),
        Expectation::AsBefore => "as_before: true".to_owned(),
        Expectation::RescueKept => "rescue_kept: true".to_owned(),
        Expectation::Run(end) => {
            let end = match end {
                RunEnd::Succeeded => "succeeded".to_owned(),
                RunEnd::Aborted => "aborted".to_owned(),
                RunEnd::Failed => "failed".to_owned(),
                RunEnd::Held { code: None } => "held".to_owned(),
                RunEnd::Held { code: Some(code) } => format!("held, code: {code}"),
            };
            format!("run: {{ ends: {end} }}")
        }
        Expectation::Recommended(recommended) => format!("recommended: {recommended}"),
        Expectation::Armed(armed) => format!("armed: {armed}"),
    }
}
