//! `[vantage]`: from where this daemon looks, and what it asks to find out whether it is the one that is cut off; and
//! what must hold between vantages, the tokens of observers and the policies.
//!
//! Invariant: every vantage of a quorum has a name of its own: neither AWS's own witnesses nor this daemon can be
//! taken for an observer.

use std::{collections::BTreeSet, time::Duration};

use super::{Auth, Role, sections::Read};
use crate::domain::{
    application::Application,
    document::{At, Fields, Findings},
    id::VantageName,
    policy::Mode,
    secret::SecretRef,
    vantage::{CONTROL_POINTS_MAX, ControlPoints, DAEMONS_MAX, DaemonUrl, ProbeTarget, ReportTo},
};

/// This daemon's own vantage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vantage {
    pub name: VantageName,
    pub control_points: ControlPoints,
    /// Where this daemon is an observer too.
    pub report_to: Option<ReportTo>,
}

/// So many control points are advised: of two, one that is down itself looks like being half cut off.
const ADVISED_LEAST: usize = 3;

const POINTS: &str =
    "control_points = [\"https://status.example.net/\", \"tcp://192.0.2.1:443\", \"https://dns.example.org/\"]";
const DAEMONS: &str = "report_to = [\"https://failoverd.us-west-2.example.com\"]";
const TOKEN: &str = "report_token = \"file:/run/secrets/failoverd-observer\"";
const OBSERVER: &str = "tokens = [{ name = \"eu-west-1\", sha256 = \"9f86…\", roles = [\"observer\"] }]";

/// Reads the section; `None` in `f` where it is not given.
pub(super) fn read(f: &mut Option<Fields<'_>>, found: &mut Findings) -> Option<Vantage> {
    let mut get = |key, example| f.as_mut().and_then(|f| f.get(found, key, example));
    let name = get("name", "name = \"us-west-2\"");
    let points = get("control_points", POINTS);
    let needed = get("control_points_needed", "control_points_needed = 2");
    let period = get("period", "period = \"5s\"");
    let timeout = get("timeout", "timeout = \"2s\"");
    let daemons = get("report_to", DAEMONS);
    let token = get("report_token", TOKEN);
    let is_named = name.is_some();
    let name = match name {
        Some(at) => own_name(&at, found),
        None => Some("here".parse().unwrap_or_else(|e| unreachable!("a literal: {e}"))),
    };
    let points = points.map_or(Some(Vec::new()), |at| control_points(&at, found));
    let second = Duration::from_secs(1);
    let period = period.map_or(Some(ControlPoints::PERIOD), |at| at.duration(found, second, 60 * second));
    let timeout = timeout.map_or(Some(ControlPoints::TIMEOUT), |at| at.duration(found, second / 10, 60 * second));
    let report_to = report_to(daemons.as_ref(), token.as_ref(), is_named, points.as_deref(), found);
    let points = points?;
    let all = u32::try_from(points.len()).unwrap_or(u32::MAX);
    let needed = match needed {
        Some(at) if all == 0 => {
            found.error(&at.key, "there are no control points", POINTS);
            None
        }
        Some(at) => at.count(found, 1, all).map(|n| n as usize),
        None => Some(ControlPoints::more_than_half(points.len())),
    };
    let (period, timeout) = (period?, timeout?);
    if period < timeout {
        found.error("vantage.timeout", "one question takes longer than the period", "timeout = \"2s\"");
    }
    let control_points = ControlPoints { points, needed: needed?, period, timeout };
    Some(Vantage { name: name?, control_points, report_to: report_to? })
}

/// Where this daemon reports as an observer; `Some(None)`: nowhere.
fn report_to(
    daemons: Option<&At<'_>>,
    token: Option<&At<'_>>,
    is_named: bool,
    points: Option<&[ProbeTarget]>,
    found: &mut Findings,
) -> Option<Option<ReportTo>> {
    let Some(at) = daemons else {
        return match token {
            Some(token) => {
                found.error(&token.key, "there is no daemon to report to", DAEMONS);
                None
            }
            None => Some(None),
        };
    };
    let token = match token {
        Some(token) => token.parse::<SecretRef>(found),
        None => {
            found.error(&at.key, "without a token no daemon takes a report: `report_token` is missing", TOKEN);
            None
        }
    };
    if !is_named {
        found.error(&at.key, "an observer has a name of its own: `name` is missing", "name = \"eu-west-1\"");
    }
    if points.is_some_and(<[ProbeTarget]>::is_empty) {
        let problem = "an observer without control points never knows that it is not cut off itself: it would abstain \
                       for ever";
        found.error(&at.key, problem, POINTS);
    }
    let read: Vec<Option<DaemonUrl>> = at.list(found)?.iter().map(|item| item.parse(found)).collect();
    if read.is_empty() || DAEMONS_MAX < read.len() {
        found.error(&at.key, format!("are {}; expected 1 to {DAEMONS_MAX}", read.len()), DAEMONS);
        return None;
    }
    let daemons: Vec<DaemonUrl> = read.into_iter().collect::<Option<_>>()?;
    if daemons.iter().collect::<BTreeSet<_>>().len() != daemons.len() {
        found.error(
            &at.key,
            "a daemon stands here twice: each of the two would be refused the other's reports",
            DAEMONS,
        );
        return None;
    }
    Some(Some(ReportTo { daemons, token: token? }))
}

/// Notes what does not fit between this daemon and those that it reports to.
pub(super) fn itself(listen: std::net::SocketAddr, vantage: &Vantage, found: &mut Findings) {
    for daemon in vantage.report_to.iter().flat_map(|to| &to.daemons) {
        if daemon.local_port() == Some(listen.port()) {
            let problem = format!("{daemon} is this daemon itself: it sees what it sees without a report");
            found.error("vantage.report_to", problem, DAEMONS);
        }
    }
}

fn own_name(at: &At<'_>, found: &mut Findings) -> Option<VantageName> {
    let name: VantageName = at.parse(found)?;
    if is_aws(&name) {
        found.error(&at.key, format!("`{name}` is what AWS's own witnesses are called"), at.example);
        return None;
    }
    Some(name)
}

/// Whether a vantage of that name would be taken for one of AWS's own witnesses (`domain::judge`).
fn is_aws(name: &VantageName) -> bool {
    name.as_str() == "route53" || name.as_str().starts_with("cloudwatch-")
}

fn control_points(at: &At<'_>, found: &mut Findings) -> Option<Vec<ProbeTarget>> {
    let items = at.list(found)?;
    if CONTROL_POINTS_MAX < items.len() {
        found.error(&at.key, format!("are {}; the limit is {CONTROL_POINTS_MAX}", items.len()), POINTS);
        return None;
    }
    let read: Vec<Option<ProbeTarget>> = items.iter().map(|item| item.parse(found)).collect();
    let points: Vec<ProbeTarget> = read.into_iter().collect::<Option<_>>()?;
    let distinct: BTreeSet<&ProbeTarget> = points.iter().collect();
    if distinct.len() != points.len() {
        found.error(&at.key, "a control point stands here twice: it would count twice", POINTS);
        return None;
    }
    Some(points)
}

/// Notes what is wrong with tokens of observers.
pub(super) fn tokens(auth: &Auth, found: &mut Findings) {
    for (index, token) in auth.tokens.iter().enumerate().filter(|(_, t)| t.has(Role::Observer)) {
        let key = format!("auth.tokens[{index}]");
        if token.grants.len() != 1 {
            found.error(&format!("{key}.roles"), "an observer may do nothing else: use another token", OBSERVER);
        }
        let problem = match token.name.as_str().parse::<VantageName>() {
            Ok(name) if !is_aws(&name) => continue,
            Ok(name) => format!("`{name}` is what AWS's own witnesses are called"),
            Err(error) => format!("an observer's token has the name of its vantage: {error}"),
        };
        found.error(&format!("{key}.name"), problem, OBSERVER);
    }
}

/// Notes what does not fit between the policy of an application and the vantages.
pub(super) fn check(key: &str, app: &Application, read: &Read, found: &mut Findings) {
    if app.policy.observers.contains(&read.vantage.name) {
        let problem = format!("is the name of an observer of `{}` too", app.name);
        found.error("vantage.name", problem, "name = \"us-west-2\"");
    }
    if app.policy.mode != Mode::Automatic {
        return;
    }
    if read.vantage.report_to.is_some() {
        let problem = "is automatic in a daemon that is an observer of another one: each has a journal of its own, and \
                       only one of the two may act alone";
        found.warning("config-deciding", key, problem, "mode = \"recommend\"");
    }
    let points = &read.vantage.control_points.points;
    if points.len() < ADVISED_LEAST {
        let problem = match points.len() {
            0 => "is automatic, and without control points this daemon never knows that it is not the one that is cut off: nothing will start alone".to_owned(),
            n => format!("is automatic with {n} control point(s): one that is down itself looks like being cut off"),
        };
        found.warning("config-no-control-points", key, problem, POINTS);
    }
    for (index, point) in points.iter().enumerate() {
        let text = point.to_string();
        if let Some(twin) = points[..index].iter().find(|other| other.host() == point.host()) {
            let problem = format!("{text} and {twin} are one host: what is lost is lost to both, and counts twice");
            found.warning("config-no-control-points", "vantage.control_points", problem, POINTS);
        }
        if let Some(region) = app.regions.iter().find(|r| text.contains(r.as_str())) {
            let problem =
                format!("{text} seems to be in {region}, a Region of `{}`: it would be lost with it", app.name);
            found.warning("config-no-control-points", "vantage.control_points", problem, POINTS);
        }
    }
}
