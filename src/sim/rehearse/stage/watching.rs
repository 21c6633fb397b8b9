//! What the signals of the application look at: Route 53 health checks and CloudWatch alarms, by their names.
//!
//! A configuration does not say what stands behind them. Here a health check asks the Region's servers over HTTP, and
//! an alarm watches a canary that does the same from the alarm's own Region.

use std::collections::BTreeMap;

use super::{
    Faults, Stage,
    servers::{Servers, Url},
    traffic::put_check,
};
use crate::{
    domain::{
        id::Region,
        signal::{Signal, SignalSource},
    },
    sim::world::{
        canaries::{self, Canary},
        cloudwatch::{AlarmSpec, Comparison, MetricKey, Statistic, TreatMissing},
        route53::health_config::{CheckType, HealthCheckConfig},
    },
};

/// Up to this period a health check is taken for a fast one: every 10 s, else every 30 s [R53DG].
const FAST_SECONDS_MAX: u64 = 10;

pub(super) fn build(stage: &mut Stage<'_>, servers: &Servers, faults: &mut Faults<'_>) {
    let mut tells: BTreeMap<(Option<&Region>, &str), &Region> = BTreeMap::new();
    let application = stage.application;
    for signal in &application.signals {
        let (home, id, of) = match &signal.source {
            SignalSource::HealthCheck { health_check_id, of } => (None, health_check_id, of),
            SignalSource::Alarm { region, alarm_name, of } => (Some(region), alarm_name, of),
            // Lag is the clusters' own; a probe looks for itself; events are told where they happen. What publishes
            // other metrics is not simulated: they are missing, and said to be, unless a scenario puts them.
            SignalSource::AuroraLag { .. }
            | SignalSource::Heartbeat { .. }
            | SignalSource::HttpProbe { .. }
            | SignalSource::TcpProbe { .. }
            | SignalSource::RdsEvents { .. }
            | SignalSource::Metric { .. }
            | SignalSource::ReplicaLag { .. }
            | SignalSource::ReplicaBacklog { .. } => continue,
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
    let canary = Canary { name: format!("canary-{name}"), from: home.clone(), address: *address };
    let spec = AlarmSpec {
        name: name.to_owned(),
        description: None,
        key: MetricKey::new(canaries::NAMESPACE, canaries::METRIC, [(canaries::DIMENSION, &canary.name)]),
        statistic: Statistic::Minimum,
        period_seconds: 60,
        evaluation_periods: 2,
        datapoints_to_alarm: 2,
        comparison: Comparison::Less,
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
