//! What the signals of the application look at: Route 53 health checks and CloudWatch alarms, by their names.
//!
//! A configuration does not say what stands behind them. Here a health check asks the Region's servers over HTTP, and
//! an alarm watches a canary that does the same from the alarm's own Region. A metric of a service that is not simulated
//! does well where those servers do.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Faults, Stage,
    servers::{Servers, Url},
    traffic::put_check,
};
use crate::{
    domain::{
        application::Application,
        cloud::MetricQuery,
        id::{Region, StoreName},
        replica::{Backlog, ReplicatedStore},
        signal::{
            Signal, SignalSource,
            threshold::{Comparison, Limit, Threshold},
        },
    },
    sim::world::{
        canaries::Canary,
        cloudwatch::{self, AlarmSpec, MetricKey, Statistic, TreatMissing},
        route53::health_config::{CheckType, HealthCheckConfig},
    },
};

/// What a replicated store lags behind where all is well, in whatever unit its metric has: nothing to speak of.
const LAG: f64 = 0.8;

/// What is published while it replicates late, in whatever unit: hours of S3's lag, which is in seconds; twenty seconds
/// of DynamoDB's, which is in milliseconds; so many pending bytes and operations.
const LATE: f64 = 20_000.0;

/// Up to this period a health check is taken for a fast one: every 10 s, else every 30 s [R53DG].
const FAST_SECONDS_MAX: u64 = 10;

pub(super) fn build(stage: &mut Stage<'_>, servers: &Servers, faults: &mut Faults<'_>) {
    let mut tells: BTreeMap<(Option<&Region>, &str), &Region> = BTreeMap::new();
    let mut published = BTreeSet::new();
    let application = stage.application;
    for signal in &application.signals {
        let (home, id, of) = match &signal.source {
            SignalSource::HealthCheck { health_check_id, of } => (None, health_check_id, of),
            SignalSource::Alarm { region, alarm_name, of } => (Some(region), alarm_name, of),
            // What the simulated databases publish themselves is not said over by a canary.
            SignalSource::Metric { query, .. } if is_own(application, query) => continue,
            SignalSource::Metric { region, query, threshold, of, .. } => {
                if published.insert((region.clone(), key_of(query))) {
                    metric(stage, servers, (region, query), threshold, of);
                }
                continue;
            }
            // Lag is the clusters' own, or published below; a probe looks for itself; events are told where they happen.
            SignalSource::AuroraLag { .. }
            | SignalSource::ReplicaLag { .. }
            | SignalSource::ReplicaBacklog { .. }
            | SignalSource::Heartbeat { .. }
            | SignalSource::HttpProbe { .. }
            | SignalSource::TcpProbe { .. }
            | SignalSource::RdsEvents { .. } => continue,
        };
        match tells.insert((home, id.as_str()), of) {
            None if home.is_none() => health_check(stage, servers, signal, id, of, faults),
            None => alarm(stage, servers, signal, home.unwrap_or(of), (id, of), faults),
            Some(other) if other == of => {}
            Some(other) => {
                faults.add(format!("signals.{}.of", signal.name), format!("`{id}` tells of {other} already"));
            }
        }
    }
    // Whether a signal watches them or a gate asks for them.
    for name in application.replicas.keys() {
        replica(stage, servers, &mut published, |store, from| (store.lag_queries(from), LAG), name);
        for backlog in [Backlog::Bytes, Backlog::Operations] {
            let queries = |store: &ReplicatedStore, from: &Region| (store.backlog_queries(from, backlog), 0.0);
            replica(stage, servers, &mut published, queries, name);
        }
    }
}

/// What an unsimulated service publishes while the servers of `of` do well, and while they do not.
fn metric(
    stage: &mut Stage<'_>,
    servers: &Servers,
    (region, query): (&Region, &MetricQuery),
    threshold: &Threshold,
    of: &Region,
) {
    // `of` is one of the application's Regions, each of which has an address.
    let Some(address) = servers.addresses().get(of) else { return };
    let beyond = |limit: Limit| match limit.is {
        Comparison::Above | Comparison::AtLeast => limit.value + limit.value.abs().max(1.0),
        Comparison::Below | Comparison::AtMost => limit.value - limit.value.abs().max(1.0),
    };
    let healthy = threshold.healthy();
    let well = if healthy.holds(0.0) { 0.0 } else { beyond(healthy) };
    let canary = Canary {
        metric: key_of(query),
        from: region.clone(),
        address: *address,
        well: Some(well),
        ill: Some(beyond(threshold.unhealthy())),
        late: None,
    };
    let now = stage.world.now;
    stage.world.canaries.add(canary, now);
}

/// Whether a metric is of a cluster that is simulated.
fn is_own(application: &Application, query: &MetricQuery) -> bool {
    let clusters = application.stores.values().flat_map(|store| store.clusters.values());
    let of = query.dimensions.get("DBClusterIdentifier");
    query.namespace == "AWS/RDS"
        && clusters.map(|arn| arn.identifier()).any(|cluster| of.is_some_and(|of| of == cluster))
}

fn key_of(query: &MetricQuery) -> MetricKey {
    MetricKey::new(&query.namespace, &query.metric, &query.dimensions)
}

/// What a replicated store publishes while the Region that is written to does well. Then it is silent: as DynamoDB is,
/// and nobody has said what S3 shows when its source is lost.
fn replica(
    stage: &mut Stage<'_>,
    servers: &Servers,
    published: &mut BTreeSet<(Region, MetricKey)>,
    queries: impl Fn(&ReplicatedStore, &Region) -> (Vec<(Region, MetricQuery)>, f64),
    name: &StoreName,
) {
    let application = stage.application;
    let Some(store) = application.replicas.get(name) else { return };
    for from in &application.regions {
        let Some(address) = servers.addresses().get(from) else { continue };
        let (queries, well) = queries(store, from);
        for (region, query) in queries {
            let metric = key_of(&query);
            if published.insert((region.clone(), metric.clone())) {
                let late = Some((from.clone(), LATE));
                let canary = Canary { metric, from: region, address: *address, well: Some(well), ill: None, late };
                let now = stage.world.now;
                stage.world.canaries.add(canary, now);
            }
        }
    }
}

fn health_check(
    stage: &mut Stage<'_>,
    servers: &Servers,
    signal: &Signal,
    id: &str,
    of: &Region,
    faults: &mut Faults<'_>,
) {
    let url = stage.application.endpoints.get(of).and_then(|e| Url::parse(&e.health_url));
    let check_type = if url.as_ref().is_some_and(|u| u.https) { CheckType::Https } else { CheckType::Http };
    let config = HealthCheckConfig {
        ip_address: servers.addresses().get(of).copied(),
        port: Some(url.as_ref().map_or(80, |u| u.port)),
        resource_path: url.map(|u| u.path.to_owned()),
        request_interval_seconds: if signal.period.as_secs() <= FAST_SECONDS_MAX { 10 } else { 30 },
        ..HealthCheckConfig::of(check_type)
    };
    put_check(stage, &format!("signals.{}.health_check_id", signal.name), id, &config, faults);
}

fn alarm(
    stage: &mut Stage<'_>,
    servers: &Servers,
    signal: &Signal,
    home: &Region,
    (name, of): (&str, &Region),
    faults: &mut Faults<'_>,
) {
    let Some(address) = servers.addresses().get(of) else {
        // `of` is one of the application's Regions, each of which has an address.
        faults.add(format!("signals.{}.of", signal.name), format!("no servers are known in {of}"));
        return;
    };
    let canary = Canary::named(&format!("canary-{name}"), home.clone(), *address);
    let spec = AlarmSpec {
        name: name.to_owned(),
        description: None,
        key: canary.metric.clone(),
        statistic: Statistic::Minimum,
        period_seconds: 60,
        evaluation_periods: 2,
        datapoints_to_alarm: 2,
        comparison: cloudwatch::Comparison::Less,
        threshold: 50.0,
        treat_missing: TreatMissing::Missing,
        unit: None,
        actions: Vec::new(),
        actions_enabled: false,
    };
    let now = stage.world.now;
    if let Err(fault) = stage.world.cloudwatch.put_alarm(home, spec, now) {
        faults.add(format!("signals.{}.alarm_name", signal.name), fault.message);
    }
    stage.world.canaries.add(canary, now);
}
