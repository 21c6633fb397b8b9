//! One application of the file: names, Regions, objectives, stores, signals, endpoints, topics.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    deciding, iac, schedules,
    signals::{self, Around},
    stores::{self, Store},
    traffic,
};
use crate::domain::{
    application::{Application, Endpoint, Objectives, Topic},
    document::{At, Findings, clip},
    id::{Region, RunbookName, StoreName},
    plan::Purpose,
    runbook::is_web_address,
    signal::Signal,
};

const SECOND: Duration = Duration::from_secs(1);
const WEEK: Duration = Duration::from_hours(7 * 24);

pub(super) fn read(at: &At<'_>, found: &mut Findings) -> Option<Application> {
    let mut f = at.fields(found)?;
    let name = f.need(found, "name", "name = \"payments\"").and_then(|at| at.parse(found));
    let regions = f.need(found, "regions", "regions = [\"us-east-1\", \"us-west-2\"]");
    let regions = regions.and_then(|at| regions_of(&at, found));
    let objectives = f.need(found, "objectives", "objectives = { rto = \"15m\", rpo = \"5m\" }");
    let objectives = objectives.and_then(|at| objectives_of(&at, found));
    let public_url = f.get(found, "public_url", "public_url = \"https://api.example.com/health\"");
    let runbooks = f.need(found, "runbooks", "runbooks = { failover = \"region-failover\" }");
    let runbooks = runbooks.and_then(|at| runbooks_of(&at, found));
    let drills = f.get(found, "drills", "drills = [\"drill-switchover\"]");
    let drills = drills.map_or(Some(Vec::new()), |at| drills_of(&at, found));
    let schedules = f.get(found, "schedules", "[applications.schedules.quarterly]");
    let stores = f.get(found, "stores", "[applications.stores.orders]");
    let dns = f.need(found, "dns", "[applications.dns.api]");
    let signals = f.get(found, "signals", "[applications.signals.lag]");
    let endpoints = f.get(found, "endpoints", "[applications.endpoints.us-east-1]");
    let topics = f.get(found, "topics", "topics = [{ arn = \"arn:aws:sns:us-west-2:123456789012:oncall\" }]");
    let policy = deciding::read(f.get(found, "deciding", "[applications.deciding]"), found);
    let iac = iac::read(f.get(found, "iac", "[applications.iac]"), found);
    f.finish(found);
    let public_url = match public_url {
        Some(at) => url(&at, found).map(Some),
        None => Some(None),
    };
    // Everything below is checked against the Regions: without them each line would be a fault of its own.
    let regions = regions?;
    let all: BTreeMap<StoreName, Store> = named(stores, found, |at, found| stores::read(at, &regions, found));
    let (mut stores, mut replicas) = (BTreeMap::new(), BTreeMap::new());
    for (name, store) in all {
        match store {
            Store::Aurora(store) => _ = stores.insert(name, *store),
            Store::Replicated(store) => _ = replicas.insert(name, store),
        }
    }
    let traffic = named(dns, found, |at, found| traffic::read(at, &regions, found));
    let around = Around { regions: &regions, stores: &stores, replicas: &replicas };
    let signals = named(signals, found, |at, found| signals::read(at, &around, found));
    let endpoints = endpoints.map(|at| per_region(&at, &regions, found, endpoint)).unwrap_or_default();
    let topics = topics.and_then(|at| at.list(found)).unwrap_or_default();
    let topics = topics.iter().filter_map(|at| topic(at, found)).collect();
    let (drills, policy) = (drills?, policy?);
    let around = schedules::Around { regions: &regions, drills: &drills, blackouts: &policy.blackouts };
    let schedules = schedules::read(schedules, &around, found);
    let (objectives, prove_within) = objectives?;
    Some(Application {
        name: name?,
        regions,
        objectives,
        stores,
        replicas,
        traffic,
        signals: signals.into_iter().map(|(name, signal)| Signal { name, ..signal }).collect(),
        endpoints,
        public_url: public_url?,
        runbooks: runbooks?,
        drills,
        schedules,
        prove_within,
        topics,
        policy,
        iac: iac?,
    })
}

/// The entries of a table whose keys are names, those that could be read.
pub(super) fn named<'a, K, V>(
    at: Option<At<'a>>,
    found: &mut Findings,
    mut read: impl FnMut(&At<'a>, &mut Findings) -> Option<V>,
) -> BTreeMap<K, V>
where
    K: Ord + std::str::FromStr<Err = crate::domain::id::InvalidName>,
{
    let entries = at.and_then(|at| at.named(found)).unwrap_or_default();
    let mut all = BTreeMap::new();
    for (name, at) in entries {
        let value = read(&at, found);
        match (name.parse::<K>(), value) {
            (Ok(name), Some(value)) => _ = all.insert(name, value),
            (Ok(_), None) => {}
            (Err(e), _) => found.error(&at.key, e.to_string(), ""),
        }
    }
    all
}

/// The entries of a table whose keys are Regions of the application.
pub(super) fn per_region<V>(
    at: &At<'_>,
    regions: &[Region],
    found: &mut Findings,
    mut read: impl FnMut(&At<'_>, &Region, &mut Findings) -> Option<V>,
) -> BTreeMap<Region, V> {
    let mut all = BTreeMap::new();
    for (name, at) in at.named(found).unwrap_or_default() {
        match regions.iter().find(|r| r.as_str() == name) {
            Some(region) => {
                if let Some(value) = read(&at, region, found) {
                    all.insert(region.clone(), value);
                }
            }
            None => {
                let known: Vec<&str> = regions.iter().map(Region::as_str).collect();
                let problem = format!("`{}` is not a Region of this application: {}", clip(name), known.join(", "));
                found.error(&at.key, problem, "");
            }
        }
    }
    all
}

/// Notes the Regions for which `map` says nothing.
pub(super) fn complete<V>(
    key: &str,
    what: &str,
    map: &BTreeMap<Region, V>,
    regions: &[Region],
    found: &mut Findings,
    example: &str,
) {
    for region in regions.iter().filter(|r| !map.contains_key(r)) {
        found.error(key, format!("no {what} for {region}"), example);
    }
}

fn regions_of(at: &At<'_>, found: &mut Findings) -> Option<Vec<Region>> {
    let items = at.list(found)?;
    let parsed: Vec<Option<Region>> = items.iter().map(|i| i.parse(found)).collect();
    let regions: Vec<Region> = parsed.into_iter().collect::<Option<_>>()?;
    let distinct: BTreeSet<&Region> = regions.iter().collect();
    if distinct.len() != regions.len() {
        found.error(&at.key, "a Region stands here twice", at.example);
        return None;
    }
    if regions.len() < 2 {
        found.error(&at.key, "needs at least two Regions, the preferred one first", at.example);
        return None;
    }
    Some(regions)
}

/// RTO and RPO, and within what time a run must have proved that they can be met.
fn objectives_of(at: &At<'_>, found: &mut Findings) -> Option<(Objectives, Option<Duration>)> {
    const YEARS: Duration = Duration::from_hours(3 * 366 * 24);
    let mut f = at.fields(found)?;
    let rto = f.need(found, "rto", "rto = \"15m\"").and_then(|at| at.duration(found, SECOND, WEEK));
    let rpo = f.need(found, "rpo", "rpo = \"5m\"").and_then(|at| at.duration(found, Duration::ZERO, WEEK));
    let prove = f.get(found, "prove_within", "prove_within = \"100d\"");
    f.finish(found);
    let prove_within = match prove {
        Some(at) => Some(schedules::long(&at, found, Duration::from_hours(24), YEARS)?),
        None => None,
    };
    Some((Objectives { rto: rto?, rpo: rpo? }, prove_within))
}

fn runbooks_of(at: &At<'_>, found: &mut Findings) -> Option<BTreeMap<Purpose, RunbookName>> {
    let mut f = at.fields(found)?;
    let failover = f.need(found, "failover", "failover = \"region-failover\"");
    let switchover = f.get(found, "switchover", "switchover = \"region-switchover\"");
    let failback = f.get(found, "failback", "failback = \"failback\"");
    let salvage = f.get(found, "salvage", "salvage = \"salvage\"");
    f.finish(found);
    let all = [
        (Purpose::Failover, failover),
        (Purpose::Switchover, switchover),
        (Purpose::Failback, failback),
        (Purpose::Salvage, salvage),
    ];
    let mut runbooks = BTreeMap::new();
    for (purpose, at) in all {
        if let Some(at) = at {
            runbooks.insert(purpose, at.parse(found)?);
        }
    }
    Some(runbooks)
}

/// The most drills of an application: each is a run that somebody has to look after.
const DRILLS_MAX: usize = 20;

fn drills_of(at: &At<'_>, found: &mut Findings) -> Option<Vec<RunbookName>> {
    let items = at.list(found)?;
    if DRILLS_MAX < items.len() {
        found.error(&at.key, format!("{} drills; at most {DRILLS_MAX} are possible", items.len()), at.example);
        return None;
    }
    let mut drills: Vec<RunbookName> = Vec::new();
    for item in &items {
        let name: RunbookName = item.parse(found)?;
        if drills.contains(&name) {
            found.error(&item.key, format!("`{name}` stands here twice"), at.example);
            return None;
        }
        drills.push(name);
    }
    Some(drills)
}

fn endpoint(at: &At<'_>, _: &Region, found: &mut Findings) -> Option<Endpoint> {
    let mut f = at.fields(found)?;
    let health = f.need(found, "health_url", "health_url = \"https://use1.example.com/health\"");
    let pointer = f.get(found, "last_write_pointer", "last_write_pointer = \"/last_write\"");
    f.finish(found);
    let last_write_pointer = match pointer {
        Some(at) => {
            let text = at.text(found)?;
            if !text.starts_with('/') {
                found.error(&at.key, "expected a JSON pointer, which begins with /", at.example);
                return None;
            }
            Some(text.to_owned())
        }
        None => None,
    };
    Some(Endpoint { health_url: url(&health?, found)?, last_write_pointer })
}

pub(super) fn url(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    if is_web_address(text) {
        return Some(text.to_owned());
    }
    found.error(&at.key, "expected a URL that begins with http:// or https:// and names no user", at.example);
    None
}

fn topic(at: &At<'_>, found: &mut Findings) -> Option<Topic> {
    let mut f = at.fields(found)?;
    let arn = f.need(found, "arn", "arn = \"arn:aws:sns:us-west-2:123456789012:oncall\"");
    f.finish(found);
    let (arn, region) = super::notify::topic(&arn?, found)?;
    Some(Topic { region, arn })
}
