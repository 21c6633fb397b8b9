//! From a scenario's document to a [`Scenario`], and what no single key can get wrong: times that contradict each other.
//!
//! Invariant: [`super::form`] has refused whatever has the wrong shape before anything here looks.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Approver, Ask, Expectation, People, PersonAct, RunEnd, Scenario, When, Wish,
    form::{Reading, Table},
    keys, several,
};
use crate::{
    domain::{
        document::{At, Findings, friendly},
        id::RunbookName,
    },
    sim::{
        faults::{CallFault, Happening, ProcessFault, StoreFault, Trouble},
        world::{
            Plane, Reach,
            aurora::{LagMetric, LagSetting, PromotionFate},
            cloudwatch::MetricFault,
        },
    },
};

/// The values of the whole document, checked; `None` where something is faulty, which has then been noted.
pub(super) fn document(root: &At<'_>, reading: &mut Reading<'_>) -> Option<Table> {
    let table = reading.form(&keys::SCENARIO, root)?;
    times(&table, reading.found);
    requests(&table, reading.found);
    several::vantages(&table, reading.found);
    several::replicas(&table, reading.found);
    (!reading.found.has_errors()).then_some(table)
}

/// What happens once and is over at once: `lasts` would mean nothing. (A kill at an append or a call that has not come
/// by then does not come, and a clock that has jumped jumps back.)
const AT_ONCE: [&str; 4] = ["kill_process", "stop_process", "pause_process", "journal_rots"];

/// A happening that never happens, or that ends at another time than is written, would be a rehearsal of nothing.
fn times(t: &Table, found: &mut Findings) {
    let (Some(end), heals_at) = (t.duration("lasts"), t.duration("heals_at")) else { return };
    if heals_at.is_some_and(|h| end <= h) {
        let problem = format!("the rehearsal is over after {}: nothing is left to heal in", friendly(end));
        found.error("heals_at", problem, "heals_at: 20m");
    }
    for (i, h) in t.tables("happenings").enumerate() {
        let key = format!("happenings[{i}]");
        let Some(at) = h.duration("at") else { continue };
        too_late(&format!("{key}.at"), at, end, heals_at, found);
        let Some(lasts) = h.duration("lasts") else { continue };
        if let Some(what) = AT_ONCE.iter().find(|k| h.has(k)) {
            found.error(&format!("{key}.lasts"), format!("`{what}` happens at once: leave `lasts` out"), "");
        }
        // A Region may stay lost for ever; everything else heals.
        let may_stay = h.has("lose_region") || h.has("partition_region");
        if let Some(heals_at) = heals_at.filter(|h| *h < at + lasts && !may_stay) {
            let problem =
                format!("lasts until {}, and everything has healed at {}", friendly(at + lasts), friendly(heals_at));
            found.error(&format!("{key}.lasts"), problem, "lasts: 5m");
        }
    }
    let Some(people) = t.table("people") else { return };
    for (i, act) in people.tables("acts").enumerate() {
        act.duration("at").into_iter().for_each(|at| too_late(&format!("people.acts[{i}].at"), at, end, None, found));
    }
    let asked_at = people.table("ask").and_then(|ask| ask.duration("at"));
    asked_at.into_iter().for_each(|at| too_late("people.ask.at", at, end, None, found));
}

fn too_late(key: &str, at: Duration, end: Duration, heals_at: Option<Duration>, found: &mut Findings) {
    if end <= at {
        found.error(key, format!("the rehearsal is over after {}", friendly(end)), "at: 1m");
    } else if let Some(heals_at) = heals_at.filter(|h| *h <= at) {
        found.error(key, format!("everything has healed at {}", friendly(heals_at)), "at: 1m");
    }
}

/// Nothing starts by itself unless it is armed: where nobody asks, there is no run to act on or to expect something of.
fn requests(t: &Table, found: &mut Findings) {
    let people = t.table("people");
    let asks = people
        .is_some_and(|p| p.has("ask") || p.has("arm") || p.tables("acts").any(|a| a.word("does") == Some("ask-again")));
    if !asks {
        for (i, act) in people.into_iter().flat_map(|p| p.tables("acts")).enumerate() {
            let does = act.word("does").unwrap_or_default();
            let problem = format!("nobody asks for a run that could be told to {does}");
            found.error(&format!("people.acts[{i}].does"), problem, "ask: { wish: switchover, at: 1m }");
        }
    }
    for (i, e) in t.tables("expect").enumerate() {
        if e.has("run") && !asks {
            let problem = "nobody asks for a run or arms one: give `people` an `ask`";
            found.error(&format!("expect[{i}].run"), problem, "people: { ask: { wish: switchover, at: 1m } }");
        }
        if e.has("run") && t.tables("expect").any(|other| other.has("no_run")) {
            found.error(&format!("expect[{i}].run"), "`no_run` is expected too", "");
        }
    }
}

/// The scenario of `t`, whose Regions are known. `None` would be a form that lets pass what cannot be read.
pub(super) fn scenario(t: &Table) -> Option<Scenario> {
    let heals_at = t.duration("heals_at");
    Some(Scenario {
        name: t.text("scenario")?.to_owned(),
        description: t.text("description")?.to_owned(),
        reproduces: t.text("reproduces").map(str::to_owned),
        warm_up: t.duration("warm_up")?,
        active: t.region("active"),
        happenings: t.tables("happenings").map(|t| happening(t, heals_at)).collect::<Option<_>>()?,
        blackout: t.has("blackout"),
        replicas: t.count("replicas").unwrap_or(1),
        observers: t.count("observers").unwrap_or_default(),
        people: t.table("people").map_or(Some(People::nobody()), people)?,
        heals_at,
        lasts: t.duration("lasts")?,
        expect: t.tables("expect").map(expectation).collect::<Option<_>>()?,
    })
}

/// What says nothing else ends when everything heals.
fn happening(t: &Table, heals_at: Option<Duration>) -> Option<Happening> {
    let at = t.duration("at")?;
    let until_all_heals = || heals_at.filter(|_| !AT_ONCE.iter().any(|k| t.has(k))).map(|h| h.saturating_sub(at));
    Some(Happening { at, lasts: t.duration("lasts").or_else(until_all_heals), what: trouble(t)? })
}

fn trouble(t: &Table) -> Option<Trouble> {
    if let Some(region) = t.region("lose_region") {
        return Some(Trouble::LoseRegion { region });
    }
    if let Some(region) = t.region("partition_region") {
        return Some(Trouble::PartitionRegion { region });
    }
    if let Some(region) = t.region("headless") {
        return Some(Trouble::Headless { region });
    }
    if let Some(region) = t.region("mismatched") {
        return Some(Trouble::Mismatched { region });
    }
    if let Some(region) = t.region("undersized") {
        return Some(Trouble::Undersized { region });
    }
    if let Some(region) = t.region("quota_exhausted") {
        return Some(Trouble::QuotaExhausted { region });
    }
    if let Some(region) = t.region("hidden_dependency") {
        return Some(Trouble::HiddenDependency { region });
    }
    if let Some(region) = t.region("replicas_lag") {
        return Some(Trouble::ReplicasLag { region });
    }
    if let Some(word) = t.word("promotion") {
        let fate = match word {
            "fails" => PromotionFate::Fails,
            "sticks" => PromotionFate::Sticks,
            "cancelled" => PromotionFate::Cancelled,
            _ => return None,
        };
        return Some(Trouble::Promotion { fate });
    }
    if t.has("fencing_times_out") {
        return Some(Trouble::FencingTimesOut);
    }
    if t.has("credentials_expire") {
        return Some(Trouble::CredentialsExpire);
    }
    if let Some(seconds) = t.seconds("clock_jumps") {
        return Some(Trouble::ClockJumps { seconds });
    }
    if let Some(time) = t.duration("resolvers_ignore_ttl") {
        return Some(Trouble::ResolversIgnoreTtl { seconds: u32::try_from(time.as_secs()).ok()? });
    }
    plane(t)
        .or_else(|| several::vantage(t))
        .or_else(|| several::replica(t))
        .or_else(|| calls(t))
        .or_else(|| metrics(t))
        .or_else(|| process(t))
        .or_else(|| store(t))
}

fn plane(t: &Table) -> Option<Trouble> {
    let t = t.table("plane")?;
    let plane = match t.word("plane")? {
        "rds" => Plane::Rds,
        "route53-control" => Plane::Route53Control,
        "cloudwatch" => Plane::CloudWatch,
        "sns" => Plane::Sns,
        "s3" => Plane::S3,
        "lambda" => Plane::Lambda,
        "ec2" => Plane::Ec2,
        "ecs" => Plane::Ecs,
        "ssm" => Plane::Ssm,
        "eventbridge" => Plane::EventBridge,
        "secretsmanager" => Plane::SecretsManager,
        "kms" => Plane::Kms,
        "backup" => Plane::Backup,
        "sts" => Plane::Sts,
        "health-checkers" => Plane::HealthCheckers,
        "arc-cluster" => Plane::ArcCluster,
        "application" => Plane::Application,
        "database" => Plane::Database,
        "network" => Plane::Network,
        _ => return None,
    };
    let reach = match t.word("reach")? {
        "up" => Reach::Up,
        "hangs" => Reach::Hangs,
        "unavailable" => Reach::Unavailable,
        "throttles" => Reach::Throttles,
        "denies-access" => Reach::DeniesAccess,
        _ => return None,
    };
    Some(Trouble::Plane { plane, region: t.region("region")?, reach })
}

fn calls(t: &Table) -> Option<Trouble> {
    let t = t.table("calls")?;
    let fault = match t.word("fault")? {
        "lose-before" => CallFault::LoseBefore,
        "lose-after" => CallFault::LoseAfter,
        "late" => CallFault::Late { by: t.duration("by")? },
        "duplicate" => CallFault::Duplicate,
        "hang" => CallFault::Hang,
        "refuse" => CallFault::Refuse,
        "server-error" => CallFault::ServerError,
        "server-error-after" => CallFault::ServerErrorAfter,
        "throttle" => CallFault::Throttle,
        "reject" => CallFault::Reject { code: t.word("code")? },
        "stale" => CallFault::Stale,
        "unknown-status" => CallFault::UnknownStatus,
        "garbage" => CallFault::Garbage,
        _ => return None,
    };
    let operation = t.text("operation")?.to_owned();
    Some(Trouble::Calls { operation, region: t.region("region"), fault, chance: t.number("chance").unwrap_or(1.0) })
}

fn metrics(t: &Table) -> Option<Trouble> {
    if let Some(t) = t.table("lag") {
        let setting = match t.word("setting")? {
            "wanders" => LagSetting::Wanders,
            "fixed" => LagSetting::Fixed(u64::try_from(t.duration("value")?.as_millis()).ok()?),
            "stands-still" => LagSetting::StandsStill,
            _ => return None,
        };
        return Some(Trouble::Lag { region: t.region("region")?, setting });
    }
    if let Some(t) = t.table("lag_metric") {
        let metric = match t.word("metric")? {
            "honest" => LagMetric::Honest,
            "grows-when-cut" => LagMetric::GrowsWhenCut,
            "shows-zero" => LagMetric::ShowsZero,
            "missing" => LagMetric::Missing,
            "not-a-number" => LagMetric::NotANumber,
            "negative" => LagMetric::Negative,
            _ => return None,
        };
        return Some(Trouble::LagMetric { region: t.region("region")?, metric });
    }
    let t = t.table("metrics")?;
    let fault = match t.word("fault")? {
        "withhold" => MetricFault::Withhold,
        "delay" => MetricFault::Delay(u64::try_from(t.duration("by")?.as_millis()).ok()?),
        "freeze" => MetricFault::Freeze,
        "not-a-number" => MetricFault::NotANumber,
        _ => return None,
    };
    let namespace = t.text("namespace")?.to_owned();
    Some(Trouble::Metrics { region: t.region("region")?, namespace, fault })
}

fn process(t: &Table) -> Option<Trouble> {
    let fault = if let Some(t) = t.table("kill_process") {
        ProcessFault::Kill { restart_after: t.duration("restart_after")? }
    } else if let Some(t) = t.table("kill_at_append") {
        ProcessFault::KillAtAppend {
            append: t.count("append")?.into(),
            durable: t.flag("durable")?,
            restart_after: t.duration("restart_after")?,
        }
    } else if let Some(t) = t.table("kill_at_call") {
        ProcessFault::KillAtCall {
            call: t.count("call")?.into(),
            effect: t.flag("effect")?,
            restart_after: t.duration("restart_after")?,
        }
    } else if let Some(t) = t.table("stop_process") {
        ProcessFault::Stop { restart_after: t.duration("restart_after")? }
    } else {
        ProcessFault::Pause { lasts: t.table("pause_process")?.duration("lasts")? }
    };
    Some(Trouble::Process(fault))
}

fn store(t: &Table) -> Option<Trouble> {
    let fault = if t.has("disk_full") {
        StoreFault::Full
    } else if t.has("append_fails_after_commit") {
        StoreFault::FailsAfterCommit
    } else {
        StoreFault::Rots { record: t.table("journal_rots")?.count("record")?.into() }
    };
    Some(Trouble::Store(fault))
}

fn people(t: &Table) -> Option<People> {
    let nobody = People::nobody();
    let arm = t.table("arm").map(|t| t.duration("largest_loss"));
    Some(People {
        arm: if let Some(largest_loss) = arm { Some(largest_loss?) } else { None },
        ask: if let Some(t) = t.table("ask") { Some(ask(t)?) } else { None },
        approver: t.table("approver").map_or(Some(nobody.approver), approver)?,
        resumes_after: t.duration("resumes_after"),
        acts: t.tables("acts").map(|t| Some((t.duration("at")?, act(t)?))).collect::<Option<_>>()?,
    })
}

fn ask(t: &Table) -> Option<Ask> {
    let when = match t.word("when") {
        Some(_) => When::Recommended { after: t.duration("after")? },
        None => When::At(t.duration("at")?),
    };
    Some(Ask {
        wish: wish(t)?,
        when,
        target: t.region("target"),
        accept_data_loss: t.duration("accept_data_loss"),
        runbook: t.text("by").and_then(|name| name.parse().ok()),
        repeats: t.flag("repeats").unwrap_or(false),
    })
}

/// The drills that are asked for.
pub(super) fn drills(t: &Table) -> BTreeSet<RunbookName> {
    asked(t).filter_map(|t| t.text("runbook")?.parse().ok()).collect()
}

/// Whether some drill is asked for.
pub(super) fn asks_for_a_drill(t: &Table) -> bool {
    asked(t).any(|t| t.word("wish") == Some("drill"))
}

fn asked(t: &Table) -> impl Iterator<Item = &Table> {
    t.table("people").into_iter().flat_map(|people| people.table("ask").into_iter().chain(people.tables("acts")))
}

fn wish(t: &Table) -> Option<Wish> {
    match t.word("wish")? {
        "auto" => Some(Wish::Auto),
        "failover" => Some(Wish::Failover),
        "switchover" => Some(Wish::Switchover),
        "failback" => Some(Wish::Failback),
        "salvage" => Some(Wish::Salvage),
        "drill" => Some(Wish::Drill {
            runbook: match t.text("runbook") {
                Some(name) => Some(name.parse().ok()?),
                None => None,
            },
        }),
        _ => None,
    }
}

fn approver(t: &Table) -> Option<Approver> {
    if let Some(after) = t.duration("approves") {
        return Some(Approver::Approves { after });
    }
    if let Some(after) = t.duration("declines") {
        return Some(Approver::Declines { after });
    }
    if let Some(after) = t.duration("tries_own_first") {
        return Some(Approver::TriesOwnFirst { after });
    }
    t.has("silent").then_some(Approver::Silent)
}

fn act(t: &Table) -> Option<PersonAct> {
    match t.word("does")? {
        "pause" => Some(PersonAct::Pause),
        "resume" => Some(PersonAct::Resume),
        "abort" => Some(PersonAct::Abort),
        "ask-again" => Some(PersonAct::AskAgain {
            wish: wish(t)?,
            target: t.region("target"),
            accept_data_loss: t.duration("accept_data_loss"),
            repeats: t.flag("repeats").unwrap_or(false),
        }),
        _ => None,
    }
}

fn expectation(t: &Table) -> Option<Expectation> {
    if let Some(t) = t.table("served") {
        return Some(Expectation::Served { within: t.duration("within") });
    }
    if let Some(region) = t.region("writer_in") {
        return Some(Expectation::WriterIn(region));
    }
    if let Some(region) = t.region("traffic_in") {
        return Some(Expectation::TrafficIn(region));
    }
    if let Some(most) = t.duration("loss_at_most") {
        return Some(Expectation::LossAtMost(most));
    }
    if let Some(recommended) = t.flag("recommended") {
        return Some(Expectation::Recommended(recommended));
    }
    if let Some(armed) = t.flag("armed") {
        return Some(Expectation::Armed(armed));
    }
    if t.has("no_run") {
        return Some(Expectation::NoRun);
    }
    if t.has("as_before") {
        return Some(Expectation::AsBefore);
    }
    if t.has("rescue_kept") {
        return Some(Expectation::RescueKept);
    }
    let t = t.table("run")?;
    Some(Expectation::Run(match t.word("ends")? {
        "succeeded" => RunEnd::Succeeded,
        "aborted" => RunEnd::Aborted,
        "failed" => RunEnd::Failed,
        "held" => RunEnd::Held { code: t.text("code").map(str::to_owned) },
        _ => return None,
    }))
}
