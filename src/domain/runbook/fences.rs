//! How the `with` of the `fence.*` family is read.

use std::{collections::BTreeSet, time::Duration};

use super::{Act, FenceRung, STEP_TIMEOUT_MAX};
use crate::domain::{
    action::OnUnknown,
    document::{At, Fields, Findings, clip},
    fence::{Part, Peer, is_group},
    id::StoreName,
};

/// How long an event or a refusal is looked for where nothing is said: AWS's own fencing gives up within half a minute
/// or so (`sim/world/timings.toml`).
const WITHIN: Duration = Duration::from_mins(2);
/// PostgreSQL's, which Aurora's clusters have unless somebody chose another.
const PORT: u32 = 5_432;
/// Rules of one group that one step names, and services that one step switches off: each is a call or a part of one.
const PARTS_MAX: usize = 50;
/// Names in ECS and in Lambda, ARNs included [bc].
const NAME_CHARS_MAX: usize = 170;

/// `hold` where nothing is said: an unknown fence is no fence.
fn on_unknown(with: &mut Fields<'_>, found: &mut Findings) -> Option<OnUnknown> {
    let Some(at) = with.get(found, "on_unknown", "on_unknown: hold") else { return Some(OnUnknown::Hold) };
    match at.text(found)? {
        "hold" => Some(OnUnknown::Hold),
        "pass" => Some(OnUnknown::Pass),
        _ => {
            found.error(&at.key, "expected `hold` or `pass`", at.example);
            None
        }
    }
}

fn within(with: &mut Fields<'_>, found: &mut Findings) -> Option<Duration> {
    let most = STEP_TIMEOUT_MAX - Duration::from_mins(1);
    match with.get(found, "within", "within: 2m") {
        Some(at) => at.duration(found, Duration::from_secs(5), most),
        None => Some(WITHIN),
    }
}

pub(super) fn event(store: Option<StoreName>, with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    let (within, on_unknown) = (within(with, found), on_unknown(with, found));
    Some(Act::Fence { store, rung: FenceRung::Event { within: within? }, on_unknown: on_unknown? })
}

pub(super) fn write_must_fail(store: Option<StoreName>, with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    let (within, on_unknown) = (within(with, found), on_unknown(with, found));
    Some(Act::Fence { store, rung: FenceRung::WriteMustFail { within: within? }, on_unknown: on_unknown? })
}

pub(super) fn connections(store: Option<StoreName>, with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    Some(Act::Fence { store, rung: FenceRung::Connections, on_unknown: on_unknown(with, found)? })
}

pub(super) fn security_group(store: Option<StoreName>, with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    let group = with.need(found, "group", "group: sg-0a1b2c3d4e5f60718");
    let from = with.need(found, "from", "from: [sg-08f7e6d5c4b3a2910]");
    let keep = with.get(found, "keep", "keep: [10.9.0.0/24]");
    let port = with.get(found, "port", "port: 5432");
    let on_unknown = on_unknown(with, found);
    let group = group.and_then(|at| {
        let text = at.text(found)?;
        if !is_group(text) {
            found.error(&at.key, format!("`{}` is not the id of a security group", clip(text)), at.example);
            return None;
        }
        Some(text.to_owned())
    });
    let from = from.and_then(|at| peers(&at, found, false));
    let keep = keep.map_or(Some(Vec::new()), |at| {
        let peers = peers(&at, found, true)?;
        if let Some(both) = from.iter().flatten().find(|peer| peers.contains(peer)) {
            found.error(&at.key, format!("`{both}` is in `from` too"), at.example);
            return None;
        }
        Some(peers)
    });
    let port = port.map_or(Some(PORT), |at| at.count(found, 1, u32::from(u16::MAX)));
    let port = port.and_then(|port| u16::try_from(port).ok());
    let rung = FenceRung::SecurityGroup { group: group?, port: port?, from: from?, keep: keep? };
    Some(Act::Fence { store, rung, on_unknown: on_unknown? })
}

fn peers(at: &At<'_>, found: &mut Findings, may_be_empty: bool) -> Option<Vec<Peer>> {
    let items = few(at, found, may_be_empty)?;
    let peers: Vec<Option<Peer>> = items.iter().map(|item| item.parse(found)).collect();
    let peers: BTreeSet<Peer> = peers.into_iter().collect::<Option<_>>()?;
    Some(peers.into_iter().collect())
}

fn few<'a>(at: &At<'a>, found: &mut Findings, may_be_empty: bool) -> Option<Vec<At<'a>>> {
    let items = at.list(found)?;
    if items.is_empty() && !may_be_empty {
        found.error(&at.key, "is empty", at.example);
        return None;
    }
    if PARTS_MAX < items.len() {
        found.error(&at.key, format!("names {}; the limit is {PARTS_MAX}", items.len()), at.example);
        return None;
    }
    Some(items)
}

pub(super) fn application(with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    let ecs = with.get(found, "ecs", "ecs: [payments/api]");
    let lambda = with.get(found, "lambda", "lambda: [payments-worker]");
    let on_unknown = on_unknown(with, found);
    if ecs.is_none() && lambda.is_none() {
        found.error(&with.key, "names nothing to switch off: give `ecs`, `lambda` or both", "ecs: [payments/api]");
    }
    let services = ecs.map(|at| parts(&at, found, "a service such as payments/api: CLUSTER/SERVICE", &service));
    let functions = lambda.map(|at| parts(&at, found, "a function's name", &function));
    let mut all = BTreeSet::new();
    for some in [services, functions].into_iter().flatten() {
        all.extend(some?);
    }
    if all.is_empty() {
        return None;
    }
    let rung = FenceRung::Application { parts: all.into_iter().collect() };
    Some(Act::Fence { store: None, rung, on_unknown: on_unknown? })
}

fn parts(at: &At<'_>, found: &mut Findings, expected: &str, read: &dyn Fn(&str) -> Option<Part>) -> Option<Vec<Part>> {
    let items = few(at, found, false)?;
    let mut one = |item: &At<'_>| {
        let text = item.text(found)?;
        let part = read(text);
        if part.is_none() {
            found.error(&item.key, format!("`{}`: expected {expected}", clip(text)), at.example);
        }
        part
    };
    let parts: Vec<Option<Part>> = items.iter().map(&mut one).collect();
    parts.into_iter().collect()
}

fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    !text.is_empty() && text.len() <= NAME_CHARS_MAX && text.bytes().all(plain)
}

fn service(text: &str) -> Option<Part> {
    let (cluster, service) = text.split_once('/')?;
    (is_name(cluster) && is_name(service))
        .then(|| Part::Ecs { cluster: cluster.to_owned(), service: service.to_owned() })
}

fn function(text: &str) -> Option<Part> {
    is_name(text).then(|| Part::Lambda { function: text.to_owned() })
}
