//! How an application is decided about: `[applications.deciding]`, and what is worth a warning in it.
//!
//! Invariant: what is left out is the default of [`Policy`], which starts nothing alone. A policy here can only be
//! stricter than FAULTS.md section 2, so there is no key for what may not be had.

use std::{collections::BTreeSet, time::Duration};

use jiff::{Timestamp, civil::Time};

use super::{Auth, Role};
use crate::domain::{
    application::Application,
    budget::RtoShares,
    calendar::{Blackout, Day, Window, Zone},
    document::{At, Findings, clip},
    id::VantageName,
    policy::{Mode, Policy},
    signal::{SignalRole, WitnessOf},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// Longer than any partition that passes by itself: GitHub's of 2018 lasted 43 s (FAULTS.md R1).
const DWELL_LEAST: Duration = Duration::from_secs(45);
/// Nobody runs more observers than this for one application, and each is asked about each second.
const OBSERVERS_MAX: usize = 16;
/// Each is looked at each second.
const BLACKOUTS_MAX: usize = 64;

const BLACKOUT: &str = "{ reason = \"weekend\", from = \"fri 18:00\", to = \"mon 06:00\", zone = \"Europe/Berlin\" }";

/// Reads the table, where there is one.
pub(super) fn read(at: Option<At<'_>>, found: &mut Findings) -> Option<Policy> {
    let standard = Policy::default();
    let Some(at) = at else { return Some(standard) };
    let mut f = at.fields(found)?;
    let mode_at = f.get(found, "mode", "mode = \"recommend\"");
    let dwell = f.get(found, "dwell", "dwell = \"60s\"");
    let cool_down = f.get(found, "cool_down", "cool_down = \"1h\"");
    let quorum = f.get(found, "quorum", "quorum = 2");
    let observers_at = f.get(found, "observers", "observers = [\"frankfurt\"]");
    let blackouts_at = f.get(found, "blackouts", BLACKOUTS);
    let rpo_window = f.get(found, "rpo_window", "rpo_window = \"1h\"");
    let rpo_allowance = f.get(found, "rpo_allowance", "rpo_allowance = 0.01");
    let rto_shares = f.get(found, "rto_shares", SHARES);
    f.finish(found);
    let mode = mode_at.map_or(Some(standard.mode), |at| mode(&at, found));
    let dwell = dwell.map_or(Some(standard.dwell), |at| at.duration(found, SECOND, 60 * MINUTE));
    let cool_down = cool_down.map_or(Some(standard.cool_down), |at| at.duration(found, MINUTE, 30 * DAY));
    let quorum = quorum.map_or(Some(standard.quorum), |at| at.count(found, 2, 32));
    let observers = observers_at.map_or(Some(standard.observers), |at| observers(&at, found));
    let blackouts = blackouts_at.map_or(Some(standard.blackouts), |at| blackouts(&at, found));
    let rpo_window = rpo_window.map_or(Some(standard.rpo_window), |at| at.duration(found, MINUTE, 30 * DAY));
    let rpo_allowance = rpo_allowance.map_or(Some(standard.rpo_allowance), |at| allowance(&at, found));
    let rto_shares = rto_shares.map_or(Some(standard.rto_shares), |at| shares(&at, found));
    Some(Policy {
        mode: mode?,
        dwell: dwell?,
        cool_down: cool_down?,
        quorum: quorum?,
        observers: observers?,
        blackouts: blackouts?,
        rpo_window: rpo_window?,
        rpo_allowance: rpo_allowance?,
        rto_shares: rto_shares?,
    })
}

pub(super) const BLACKOUTS: &str =
    "blackouts = [{ reason = \"weekend\", from = \"fri 18:00\", to = \"mon 06:00\", zone = \"Europe/Berlin\" }]";

fn mode(at: &At<'_>, found: &mut Findings) -> Option<Mode> {
    let text = at.text(found)?;
    let known = [Mode::Recommend, Mode::Shadow, Mode::Automatic].into_iter().find(|m| m.as_str() == text);
    if known.is_none() {
        found.error(&at.key, format!("`{}` is none of recommend, shadow and automatic", clip(text)), at.example);
    }
    known
}

fn observers(at: &At<'_>, found: &mut Findings) -> Option<BTreeSet<VantageName>> {
    let items = at.list(found)?;
    if OBSERVERS_MAX < items.len() {
        found.error(&at.key, format!("{} observers; at most {OBSERVERS_MAX}", items.len()), at.example);
        return None;
    }
    let mut all = BTreeSet::new();
    let mut is_whole = true;
    for item in &items {
        match item.parse::<VantageName>(found) {
            Some(name) if all.contains(&name) => {
                found.error(&item.key, format!("`{name}` stands here twice: it is one vantage"), at.example);
                is_whole = false;
            }
            Some(name) => _ = all.insert(name),
            None => is_whole = false,
        }
    }
    is_whole.then_some(all)
}

const SHARES: &str = "rto_shares = { detection = 0.15, decision = 0.25, execution = 0.4, propagation = 0.2 }";

/// Four parts of one whole.
fn shares(at: &At<'_>, found: &mut Findings) -> Option<RtoShares> {
    let mut f = at.fields(found)?;
    let parts = ["detection", "decision", "execution", "propagation"].map(|part| f.need(found, part, SHARES));
    f.finish(found);
    let parts = parts.map(|at| allowance(&at?, found));
    let [detection, decision, execution, propagation] = parts;
    let all =
        RtoShares { detection: detection?, decision: decision?, execution: execution?, propagation: propagation? };
    let sum = all.detection + all.decision + all.execution + all.propagation;
    if (sum - 1.0).abs() > 1e-6 {
        found.error(&at.key, format!("the four parts make {sum}, not 1"), at.example);
        return None;
    }
    Some(all)
}

pub(super) fn allowance(at: &At<'_>, found: &mut Findings) -> Option<f64> {
    let n = at.number(found)?;
    if n > 0.0 && n <= 1.0 {
        return Some(n);
    }
    found.error(&at.key, format!("{n} is not a part of the time: more than 0, at most 1"), at.example);
    None
}

pub(super) fn blackouts(at: &At<'_>, found: &mut Findings) -> Option<Vec<Blackout>> {
    let items = at.list(found)?;
    if BLACKOUTS_MAX < items.len() {
        found.error(&at.key, format!("{} blackouts; at most {BLACKOUTS_MAX}", items.len()), BLACKOUT);
        return None;
    }
    let read: Vec<Option<Blackout>> = items.iter().map(|item| blackout(item, found)).collect();
    read.into_iter().collect()
}

/// One window: with a zone it comes back each week, without one it stands once.
fn blackout(item: &At<'_>, found: &mut Findings) -> Option<Blackout> {
    let mut f = item.fields(found)?;
    let reason = f.need(found, "reason", "reason = \"weekend\"").and_then(|at| at.text(found));
    let from = f.need(found, "from", "from = \"fri 18:00\"");
    let to = f.need(found, "to", "to = \"mon 06:00\"");
    let zone = f.get(found, "zone", "zone = \"Europe/Berlin\"");
    f.finish(found);
    let (from, to) = (from?, to?);
    let when = match zone {
        Some(zone) => {
            let zone = zone.parse::<Zone>(found);
            let (from_read, to_read) = (local(&from, found), local(&to, found));
            let (from_read, to_read) = (from_read?, to_read?);
            if from_read == to_read {
                found.error(&item.key, "ends when it begins: it would never be on", BLACKOUT);
                return None;
            }
            Window::Weekly { from: from_read, to: to_read, zone: zone? }
        }
        None => {
            let (from_read, to_read) = (instant(&from, found), instant(&to, found));
            let (from_read, to_read) = (from_read?, to_read?);
            if to_read <= from_read {
                found.error(&to.key, "is not after `from`", "to = \"2026-11-28T00:00:00Z\"");
                return None;
            }
            Window::Once { from: from_read, to: to_read }
        }
    };
    Some(Blackout { reason: reason?.to_owned(), when })
}

/// `fri 18:00`.
fn local(at: &At<'_>, found: &mut Findings) -> Option<(Day, Time)> {
    const DAYS: [(&str, Day); 7] = [
        ("mon", Day::Mon),
        ("tue", Day::Tue),
        ("wed", Day::Wed),
        ("thu", Day::Thu),
        ("fri", Day::Fri),
        ("sat", Day::Sat),
        ("sun", Day::Sun),
    ];
    let text = at.text(found)?;
    let read = text.split_once(' ').and_then(|(day, time)| {
        let (_, day) = DAYS.into_iter().find(|(name, _)| day.eq_ignore_ascii_case(name))?;
        Some((day, Time::strptime("%H:%M", time.trim()).ok()?))
    });
    if read.is_none() {
        let problem = format!("`{}` is not a day and an hour such as \"fri 18:00\" (of a week, in `zone`)", clip(text));
        found.error(&at.key, problem, at.example);
    }
    read
}

fn instant(at: &At<'_>, found: &mut Findings) -> Option<Timestamp> {
    let text = at.text(found)?;
    let read = text.parse::<Timestamp>().ok();
    if read.is_none() {
        let problem = format!(
            "`{}` is not an instant such as \"2026-11-27T00:00:00Z\"; a window of each week needs a `zone`",
            clip(text)
        );
        found.error(&at.key, problem, "from = \"2026-11-27T00:00:00Z\"");
    }
    read
}

/// What an operator should know before relying on it.
pub(super) fn warn(key: &str, app: &Application, auth: &Auth, found: &mut Findings) {
    let policy = &app.policy;
    let mut warn = |name: &str, problem: String, example: &str| {
        found.warning("config-deciding", &format!("{key}.deciding.{name}"), problem, example);
    };
    for observer in &policy.observers {
        if let Some(region) = app.regions.iter().find(|r| observer.as_str().contains(r.as_str())) {
            let problem = format!(
                "`{observer}` seems to stand in {region}, a Region of the application: who is lost or cut off with it is \
                 no witness. Place it elsewhere"
            );
            warn("observers", problem, "observers = [\"frankfurt\"]");
        }
        let named = auth.tokens.iter().find(|t| t.name.as_str() == observer.as_str());
        let problem = match named {
            None if auth.tokens.is_empty() => continue,
            None => format!("nobody is called `{observer}`: no token of [auth] has that name, so it is never heard"),
            // All tokens of one name have the same roles.
            Some(token) if token.has(Role::Observer) => continue,
            Some(_) => format!("`{observer}` has a token without the role observer, so it is never heard"),
        };
        warn("observers", problem, "tokens = [{ name = \"frankfurt\", sha256 = \"…\", roles = [\"observer\"] }]");
    }
    if policy.mode == Mode::Recommend {
        return;
    }
    if policy.dwell < DWELL_LEAST {
        let problem = format!(
            "after {} s many a partition has not passed yet: one of 43 s has cost GitHub a day (R1)",
            policy.dwell.as_secs_f64()
        );
        warn("dwell", problem, "dwell = \"60s\"");
    }
    let vantages = vantages(app);
    let needed = (policy.quorum as usize).max(2);
    if vantages < needed {
        let problem = format!(
            "{needed} vantages must see {} ill, and its triggers are seen from {vantages}: nothing will ever start alone",
            app.regions.first().map_or("the Region", |r| r.as_str())
        );
        warn("quorum", problem, "observers = [\"frankfurt\", \"dublin\"]");
    } else if needed * 2 <= vantages {
        let problem =
            format!("{needed} of {vantages} vantages are not more than half: {} are asked for", vantages / 2 + 1);
        warn("quorum", problem, "quorum = 2");
    }
}

/// From how many places the triggers of the preferred Region are seen.
fn vantages(app: &Application) -> usize {
    let triggers = app.signals.iter().filter(|s| s.role == SignalRole::Trigger && s.source.of() == app.regions.first());
    let mut own = 0;
    let mut aws = BTreeSet::new();
    for witness in triggers.filter_map(|s| s.source.witness()) {
        match witness {
            WitnessOf::EveryVantage => own = 1 + app.policy.observers.len(),
            WitnessOf::Route53 => _ = aws.insert("route53".to_owned()),
            WitnessOf::CloudWatch(region) => _ = aws.insert(region.to_string()),
        }
    }
    own + aws.len()
}
