//! One way of moving traffic: an entry of an application's `dns`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use super::application::{complete, per_region, url};
use crate::domain::{
    application::{ClusterEndpoint, Mechanism, Traffic, WeightedRecord},
    document::{At, Fields, Findings, clip},
    id::Region,
    standby_object::{ObjectAt, is_bucket, is_key},
};

/// An ARC cluster has an endpoint in each of five Regions [ARCDG].
const ARC_ENDPOINTS: usize = 5;
const ANSWERS: &str = "answers = { us-east-1 = \"192.0.2.1\", us-west-2 = \"198.51.100.1\" }";

pub(super) fn read(at: &At<'_>, regions: &[Region], found: &mut Findings) -> Option<Traffic> {
    let mut f = at.fields(found)?;
    let name = f.need(found, "record_name", "record_name = \"api.example.com\"").and_then(|at| host_name(&at, found));
    let kind = f.need(found, "record_type", "record_type = \"A\"").and_then(|at| record_type(&at, found));
    let zone = f.need(found, "hosted_zone_id", "hosted_zone_id = \"Z0123456789ABC\"").and_then(|at| zone(&at, found));
    let servers = f.need(found, "servers", "servers = [\"ns-1.awsdns-01.org:53\"]");
    let answers = f.need(found, "answers", ANSWERS);
    let ttl = f
        .need(found, "ttl", "ttl = \"60s\"")
        .and_then(|at| at.duration(found, Duration::ZERO, Duration::from_hours(24)));
    let mechanism = f.need(found, "mechanism", "mechanism = { kind = \"routing_controls\" }");
    f.finish(found);
    let servers = servers.and_then(|at| self::servers(&at, found));
    let answers = answers.map(|at| {
        let map = per_region(&at, regions, found, |at, _, found| answer(at, kind.as_deref()?, found));
        if kind.is_some() {
            complete(&at.key, "answer", &map, regions, found, ANSWERS);
        }
        map
    });
    let mechanism = mechanism.and_then(|at| self::mechanism(&at, regions, found));
    Some(Traffic {
        record_name: name?,
        record_type: kind?,
        hosted_zone_id: zone?,
        servers: servers?,
        answers: answers?,
        ttl: ttl?,
        mechanism: mechanism?,
    })
}

fn is_host_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn host_name(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    if is_host_name(text) {
        return Some(text.to_owned());
    }
    found.error(&at.key, "is not a host name", at.example);
    None
}

fn record_type(at: &At<'_>, found: &mut Findings) -> Option<String> {
    match at.text(found)? {
        known @ ("A" | "AAAA" | "CNAME") => Some(known.to_owned()),
        _ => {
            found.error(&at.key, "expected A, AAAA or CNAME", at.example);
            None
        }
    }
}

fn zone(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    if text.len() <= 32 && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
        return Some(text.to_owned());
    }
    found.error(&at.key, "is not the id of a hosted zone (without /hostedzone/)", at.example);
    None
}

fn servers(at: &At<'_>, found: &mut Findings) -> Option<Vec<String>> {
    let items = at.list(found)?;
    if items.is_empty() {
        found.error(&at.key, "is empty: a flip is proven by asking the zone's own servers", at.example);
    }
    let mut servers = Vec::new();
    for item in &items {
        let text = item.text(found)?;
        let valid = text.parse::<std::net::SocketAddr>().is_ok()
            || text.rsplit_once(':').is_some_and(|(h, p)| is_host_name(h) && p.parse::<u16>().is_ok_and(|p| p > 0));
        if !valid {
            found.error(
                &item.key,
                format!("`{}` is not host:port", clip(text)),
                "servers = [\"ns-1.awsdns-01.org:53\"]",
            );
        }
        servers.push(text.to_owned());
    }
    Some(servers)
}

fn answer(at: &At<'_>, record_type: &str, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    let valid = match record_type {
        "A" => text.parse::<Ipv4Addr>().is_ok(),
        "AAAA" => text.parse::<Ipv6Addr>().is_ok(),
        _ => is_host_name(text),
    };
    if valid {
        return Some(text.to_owned());
    }
    found.error(&at.key, format!("`{}` cannot be the value of a record of type {record_type}", clip(text)), ANSWERS);
    None
}

fn mechanism(at: &At<'_>, regions: &[Region], found: &mut Findings) -> Option<Mechanism> {
    let mut f = at.fields(found)?;
    let kind = f.need(found, "kind", "kind = \"routing_controls\"")?;
    let mechanism = match kind.text(found)? {
        "routing_controls" => routing_controls(&mut f, regions, found),
        "health_signal" => health_signal(&mut f, found),
        "records" => {
            let ids =
                f.get(found, "set_identifiers", "set_identifiers = { us-east-1 = \"use1\", us-west-2 = \"usw2\" }");
            let set_identifiers = ids.map_or_else(BTreeMap::new, |at| {
                let map = per_region(&at, regions, found, |at, _, found| at.text(found).map(str::to_owned));
                complete(&at.key, "set identifier", &map, regions, found, at.example);
                map
            });
            Some(Mechanism::Records { set_identifiers })
        }
        "standby_object" => standby_object(&mut f, regions, found),
        _ => {
            found.error(&kind.key, "expected routing_controls, health_signal, standby_object or records", kind.example);
            None
        }
    };
    if mechanism.is_some() {
        f.finish(found);
    }
    mechanism
}

const CONTROLS: &str =
    "controls = { us-east-1 = \"arn:aws:route53-recovery-control::123456789012:controlpanel/…/routingcontrol/…\" }";

const WEIGHTED: &str = "weighted = { us-east-1 = { set_identifier = \"use1\", health_check_id = \"11111111-2222-4333-8444-555555555555\" } }";

const ENDPOINTS: &str =
    "endpoints = [{ region = \"us-west-2\", url = \"https://….route53-recovery-cluster.us-west-2.amazonaws.com/v1\" }]";

fn cluster_endpoint(at: &At<'_>, found: &mut Findings) -> Option<ClusterEndpoint> {
    let mut f = at.fields(found)?;
    let region = f.need(found, "region", "region = \"us-west-2\"").and_then(|at| at.parse(found));
    let address = f.need(found, "url", ENDPOINTS).and_then(|at| url(&at, found));
    f.finish(found);
    Some(ClusterEndpoint { region: region?, url: address? })
}

fn routing_controls(f: &mut Fields<'_>, regions: &[Region], found: &mut Findings) -> Option<Mechanism> {
    let endpoints_at = f.need(found, "endpoints", ENDPOINTS);
    let controls_at = f.need(found, "controls", CONTROLS);
    let weighted_at = f.get(found, "weighted", WEIGHTED);
    let mut endpoints = Vec::new();
    if let Some(at) = endpoints_at {
        for item in at.list(found).unwrap_or_default() {
            endpoints.extend(cluster_endpoint(&item, found));
        }
        if endpoints.len() < ARC_ENDPOINTS {
            let problem = format!(
                "{} of the {ARC_ENDPOINTS} endpoints of the cluster: name all, any may be the last that answers",
                endpoints.len()
            );
            found.warning("config-static-stability", &at.key, problem, "");
        }
    }
    let at = controls_at?;
    let controls = per_region(&at, regions, found, |at, _, found| {
        let text = at.text(found)?;
        if text.starts_with("arn:aws")
            && text.contains(":route53-recovery-control::")
            && text.contains("/routingcontrol/")
        {
            return Some(text.to_owned());
        }
        found.error(&at.key, "is not the ARN of a routing control", CONTROLS);
        None
    });
    complete(&at.key, "routing control", &controls, regions, found, CONTROLS);
    let weighted = weighted_at.map_or_else(BTreeMap::new, |at| weighted(&at, regions, found));
    Some(Mechanism::RoutingControls { endpoints, controls, weighted })
}

/// The weighted records below the controls. Each Region has its own identifier and its own health check: two with one
/// check would fall out of service together.
fn weighted(at: &At<'_>, regions: &[Region], found: &mut Findings) -> BTreeMap<Region, WeightedRecord> {
    let map = per_region(at, regions, found, |at, _, found| {
        let mut f = at.fields(found)?;
        let id = f.need(found, "set_identifier", "set_identifier = \"use1\"").and_then(|at| at.text(found));
        let check = f.need(found, "health_check_id", "health_check_id = \"11111111-2222-4333-8444-555555555555\"");
        let check = check.and_then(|at| at.text(found));
        f.finish(found);
        Some(WeightedRecord { set_identifier: id?.to_owned(), health_check_id: check?.to_owned() })
    });
    complete(&at.key, "weighted record", &map, regions, found, WEIGHTED);
    for part in [|w: &WeightedRecord| w.set_identifier.clone(), |w: &WeightedRecord| w.health_check_id.clone()] {
        let distinct: BTreeSet<String> = map.values().map(part).collect();
        if distinct.len() != map.len() {
            found.error(&at.key, "two Regions share a set identifier or a health check", WEIGHTED);
        }
    }
    map
}

fn health_signal(f: &mut Fields<'_>, found: &mut Findings) -> Option<Mechanism> {
    let region = f.need(found, "region", "region = \"us-west-2\"").and_then(|at| at.parse(found));
    let namespace = f.need(found, "namespace", "namespace = \"Failoverd\"").and_then(|at| at.text(found));
    let metric = f.need(found, "metric", "metric = \"PrimaryInService\"").and_then(|at| at.text(found));
    let dimensions = f.get(found, "dimensions", "dimensions = { Application = \"payments\" }");
    let active = f.need(found, "active_value", "active_value = 1").and_then(|at| at.number(found));
    let diverted = f.need(found, "diverted_value", "diverted_value = 0").and_then(|at| at.number(found));
    let mut map = BTreeMap::new();
    for (name, at) in dimensions.and_then(|at| at.named(found)).unwrap_or_default() {
        map.insert(name.to_owned(), at.text(found)?.to_owned());
    }
    let (active_value, diverted_value) = (active?, diverted?);
    if (active_value - diverted_value).abs() < f64::EPSILON {
        let key = format!("{}.diverted_value", f.key);
        found.error(&key, "is the active value: the signal would say nothing", "diverted_value = 0");
    }
    Some(Mechanism::HealthSignal {
        region: region?,
        namespace: namespace?.to_owned(),
        metric: metric?.to_owned(),
        dimensions: map,
        active_value,
        diverted_value,
    })
}

const BUCKET: &str = "bucket = \"payments-standby\"";
const KEY: &str = "key = \"payments/traffic-to-standby\"";
const OBJECT_URL: &str = "url = \"https://payments-standby.s3.us-west-2.amazonaws.com/payments/traffic-to-standby\"";

fn standby_object(f: &mut Fields<'_>, regions: &[Region], found: &mut Findings) -> Option<Mechanism> {
    let region = f.need(found, "region", "region = \"us-west-2\"");
    let bucket = f.need(found, "bucket", BUCKET);
    let key = f.need(found, "key", KEY);
    let url = f.get(found, "url", OBJECT_URL);
    if regions.len() != 2 {
        let problem = format!(
            "an object is there or not: it says one of two Regions, and the application has {}; use routing_controls",
            regions.len()
        );
        found.error(&f.key, problem, "kind = \"routing_controls\"");
    }
    let region = region.and_then(|at| standby(&at, regions, found));
    let bucket = bucket.and_then(|at| checked(&at, is_bucket, "is not the name of a bucket", found));
    let why = "is not a key of letters, digits, `-`, `_` and `.` between slashes, which need no encoding anywhere";
    let key = key.and_then(|at| checked(&at, is_key, why, found));
    let url = match url {
        Some(at) => Some(self::url(&at, found)?),
        None => None,
    };
    let object = ObjectAt { region: region?, bucket: bucket?, key: key? };
    (regions.len() == 2).then_some(Mechanism::StandbyObject { object, url })
}

/// The Region of the object: it must be there when the preferred one is gone.
fn standby(at: &At<'_>, regions: &[Region], found: &mut Findings) -> Option<Region> {
    let region: Region = at.parse(found)?;
    let [preferred, standby] = regions else { return Some(region) };
    if region == *standby {
        return Some(region);
    }
    let problem = if region == *preferred {
        format!("{region} is the preferred Region itself: with it the object could not be put; use the standby's")
    } else {
        format!("{region} is not the standby, {standby}: one Region more would have to be up for a failover")
    };
    found.error(&at.key, problem, &format!("region = \"{standby}\""));
    None
}

fn checked(at: &At<'_>, is: fn(&str) -> bool, problem: &str, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    if is(text) {
        return Some(text.to_owned());
    }
    found.error(&at.key, problem, at.example);
    None
}
