//! Taking one sample of one signal.
//!
//! Invariant: what was not read, or read without data behind it, is missing with the reason; nothing is healthy, zero or
//! a vote for want of an answer. A sample is dated when it was true, not when it was read.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use jiff::Timestamp;

use crate::{
    domain::{
        application::Application,
        cloud::{Alarm, AlarmState, Datapoint, EventSource, MetricQuery, Series},
        compile,
        id::{Region, StoreName},
        replica::Backlog,
        sabotage::{Guard, is_off},
        signal::{
            self, Belief, Reading, Sample, Signal, SignalSource, health_check_query, lag_from_ms,
            threshold::{self, LATE_MAX, MissingMeans, Threshold},
        },
    },
    engine::{context::Context, guards, metrics::MetricReader, pulse::Pulse},
    ports::{
        Clock, Cloud, Probes,
        probes::{HttpAnswer, HttpQuestion, TcpAnswer},
    },
};

/// How far back a metric is looked for at least.
const METRIC_WINDOW: Duration = Duration::from_mins(10);

/// Route 53 publishes the metrics of health checks here only [R53DG].
const HEALTH_CHECK_HOME: &str = "us-east-1";

/// What samples are taken with: the ports, and the application that they are about.
#[derive(Debug, Clone, Copy)]
pub struct Senses<'a> {
    pub application: &'a Application,
    pub readings: &'a MetricReader,
    pub cloud: &'a dyn Cloud,
    pub probes: &'a dyn Probes,
    pub clock: &'a dyn Clock,
    /// Of each store that has a heartbeat; an observer has none.
    pub pulses: &'a BTreeMap<StoreName, Pulse>,
}

impl<'a> Senses<'a> {
    pub fn of(context: &'a Context) -> Self {
        Self {
            application: &context.application,
            readings: &context.readings,
            cloud: &*context.cloud,
            probes: &*context.probes,
            clock: &*context.clock,
            pulses: &context.pulses,
        }
    }
}

/// What is known already when a signal is sampled.
#[derive(Debug, Clone)]
pub struct Sight {
    /// Where each store's writer is, as far as known.
    pub writers: BTreeMap<StoreName, Region>,
    /// Where the application is active, as far as known.
    pub active: Option<Region>,
    /// What is believed of this signal so far.
    pub belief: Belief,
    /// When the last reading of this signal was true.
    pub last: Option<Timestamp>,
}

/// When something was true and what it says, or why it is not known.
type Taken = Result<(Timestamp, Reading), String>;

/// Reads `signal` once.
pub async fn sample(senses: Senses<'_>, sight: &Sight, signal: &Signal) -> Sample {
    let asked_at = senses.clock.wall();
    if let SignalSource::Heartbeat { store } = &signal.source
        && let Some(pulse) = senses.pulses.get(store)
    {
        return pulse.sample();
    }
    let taken = match &signal.source {
        SignalSource::AuroraLag { store } => aurora_lag(senses, sight, store).await,
        SignalSource::Heartbeat { .. } => Err("the store has no heartbeat".to_owned()),
        SignalSource::ReplicaLag { store } => replica_lag(senses, sight, store).await,
        SignalSource::ReplicaBacklog { store, backlog, threshold } => {
            replica_backlog(senses, sight, store, *backlog, threshold).await
        }
        SignalSource::Metric { region, query, threshold, missing, .. } => {
            metric(senses, sight, signal, (region, query), (threshold, *missing)).await
        }
        SignalSource::HealthCheck { health_check_id, .. } => health_check(senses, health_check_id).await,
        SignalSource::Alarm { region, alarm_name, .. } => alarm(senses, region, alarm_name, asked_at).await,
        SignalSource::HttpProbe { url, timeout, .. } => {
            http_probe(senses.probes, url, *timeout).await.map(|reading| (asked_at, reading))
        }
        SignalSource::TcpProbe { address, timeout, .. } => {
            tcp_probe(senses.probes, address, *timeout).await.map(|reading| (asked_at, reading))
        }
        SignalSource::RdsEvents { store, of, categories, window } => {
            let wanted = |c: &str| categories.contains(c);
            rds_events(senses, store, of, wanted, *window).await
        }
    };
    let (measured_at, reading) = taken.unwrap_or_else(|why| (asked_at, Reading::Missing { why }));
    Sample { measured_at, taken_at: senses.clock.wall(), reading }
}

/// How far back to look for a lag: an old one still bounds the loss, but need not be read again and again.
fn lag_window(senses: Senses<'_>, sight: &Sight) -> Duration {
    let age = sight.last.and_then(|at| signal::age(senses.clock.wall(), at));
    if age.is_some_and(|age| age <= METRIC_WINDOW / 2) { METRIC_WINDOW } else { guards::LAG_WINDOW }
}

/// What a metric that was asked for says, newest first; no datapoint is `None`.
async fn series(
    senses: Senses<'_>,
    region: &Region,
    query: MetricQuery,
    window: Duration,
) -> Result<Option<Series>, String> {
    let read = senses.readings.metric(region, query, window).await;
    let series = read.map_err(|error| error.to_string())?;
    // The call may look back further than this question needs.
    let now = senses.clock.wall();
    let within = |p: &Datapoint| signal::age(now, p.at).is_none_or(|age| age <= window);
    let series: Series = series.into_iter().filter(within).collect();
    Ok((!series.is_empty()).then_some(series))
}

/// The newest datapoint of each of `queries`, in their order.
async fn newest_of_each(
    senses: Senses<'_>,
    queries: Vec<(Region, MetricQuery)>,
    window: Duration,
    silence: &str,
) -> Result<Vec<(Region, Datapoint)>, String> {
    let read = queries.into_iter().map(async |(region, query)| {
        let what = format!("{} {}", query.namespace, query.metric);
        let newest = series(senses, &region, query, window).await?.and_then(|s| s.first().copied());
        match newest {
            Some(point) => Ok((region, point)),
            None => Err(format!("CloudWatch has no datapoint of {what} in {region}{silence}")),
        }
    });
    join_all(read).await.into_iter().collect()
}

/// The worst lag over the secondaries.
async fn aurora_lag(senses: Senses<'_>, sight: &Sight, name: &StoreName) -> Taken {
    let store = senses.application.stores.get(name).ok_or_else(|| format!("no store {name}"))?;
    let writer = sight.writers.get(name).ok_or("it is not known which cluster is the secondary")?;
    let secondaries = store.clusters.iter().filter(|(region, _)| *region != writer);
    let queries: Vec<_> = secondaries.map(|(r, arn)| (r.clone(), compile::lag_query(store, arn))).collect();
    if queries.is_empty() {
        return Err("there is no secondary".to_owned());
    }
    let points = newest_of_each(senses, queries, lag_window(senses, sight), "").await?;
    worst(points, lag_from_ms, "ms")
}

/// The worst lag of the Regions that receive what the active one writes.
async fn replica_lag(senses: Senses<'_>, sight: &Sight, name: &StoreName) -> Taken {
    let store = senses.application.replicas.get(name).ok_or_else(|| format!("no replicated store {name}"))?;
    let from = sight.active.as_ref().ok_or("it is not known which Region is active, and so whose writes to follow")?;
    let queries = store.lag_queries(from);
    if queries.is_empty() {
        return Err(format!("nothing of {name} is replicated from {from}"));
    }
    let silence = format!(" ({})", store.silence());
    let points = newest_of_each(senses, queries, lag_window(senses, sight), &silence).await?;
    worst(points, |value| store.lag_from(value), "of a lag")
}

/// The longest lag, dated as the oldest of those that were compared.
fn worst(points: Vec<(Region, Datapoint)>, lag: impl Fn(f64) -> Option<Duration>, unit: &str) -> Taken {
    let mut worst: Option<(Timestamp, Duration)> = None;
    for (region, point) in points {
        let lag = lag(point.value)
            .ok_or_else(|| format!("CloudWatch says {} {unit} in {region}, which is no lag", point.value))?;
        worst = Some(worst.map_or((point.at, lag), |(at, longest)| (at.min(point.at), longest.max(lag))));
    }
    worst.map(|(at, lag)| (at, Reading::Lag { lag })).ok_or_else(|| "nothing was read".to_owned())
}

/// The largest backlog over the Regions that receive what the active one writes.
async fn replica_backlog(
    senses: Senses<'_>,
    sight: &Sight,
    name: &StoreName,
    backlog: Backlog,
    threshold: &Threshold,
) -> Taken {
    let store = senses.application.replicas.get(name).ok_or_else(|| format!("no replicated store {name}"))?;
    let from = sight.active.as_ref().ok_or("it is not known which Region is active, and so whose writes to follow")?;
    let queries = store.backlog_queries(from, backlog);
    if queries.is_empty() {
        return Err(format!("nothing of {name} is replicated from {from} with metrics of what waits"));
    }
    let unit = match backlog {
        Backlog::Bytes => "bytes",
        Backlog::Operations => "operations",
    };
    let silence = format!(" ({})", store.silence());
    let points = newest_of_each(senses, queries, METRIC_WINDOW, &silence).await?;
    let at = points.iter().map(|(_, p)| p.at).min();
    let most = points.iter().map(|(_, p)| p.value).max_by(f64::total_cmp);
    let (at, most) = at.zip(most).ok_or("nothing was read")?;
    if most < 0.0 {
        return Err(format!("CloudWatch says that {most} {unit} wait, which is no count"));
    }
    let what = format!("what waits to be replicated of {name}, in {unit},");
    Ok((at, threshold.reading(most, &what, sight.belief)))
}

async fn metric(
    senses: Senses<'_>,
    sight: &Sight,
    signal: &Signal,
    (region, query): (&Region, &MetricQuery),
    (threshold, missing): (&Threshold, MissingMeans),
) -> Taken {
    let what = format!("{} {} ({} over {} s)", query.namespace, query.metric, query.statistic, query.period.as_secs());
    let window = METRIC_WINDOW.max(signal.freshness + 2 * query.period + LATE_MAX);
    let series = series(senses, region, query.clone(), window).await?.unwrap_or_default();
    Ok(threshold::judge(&series, (query.period, senses.clock.wall()), (threshold, missing), &what, sight.belief))
}

async fn health_check(senses: Senses<'_>, id: &str) -> Taken {
    let home: Region = HEALTH_CHECK_HOME.parse().map_err(|e: crate::domain::id::InvalidName| e.to_string())?;
    let series = series(senses, &home, health_check_query(id), METRIC_WINDOW).await?;
    let point = series.and_then(|s| s.first().copied());
    let point = point.ok_or("CloudWatch has no datapoint for it in us-east-1")?;
    let reading = if point.value >= 1.0 {
        Reading::Healthy { detail: format!("health check {id} is healthy") }
    } else {
        Reading::Unhealthy { detail: format!("health check {id} is unhealthy") }
    };
    Ok((point.at, reading))
}

/// The state of an alarm, where data stand behind it: one that takes silence for health, or for ill health, is evidence
/// only while its metric has data.
async fn alarm(senses: Senses<'_>, region: &Region, name: &str, asked_at: Timestamp) -> Taken {
    let alarm = senses.readings.alarm(region, name).await.map_err(|error| error.to_string())?;
    if alarm.state == AlarmState::InsufficientData {
        return Err(format!("alarm {name} has insufficient data"));
    }
    let state = alarm.state.as_str();
    let at = if alarm.may_rest_on_silence() { data_behind(senses, region, name, &alarm).await? } else { asked_at };
    // CloudWatch's own words, short enough to show.
    let reason: String = alarm.state_reason.chars().take(160).collect();
    let detail = format!("alarm {name} is {state}{}{reason}", if reason.is_empty() { "" } else { ": " });
    Ok(match alarm.state {
        AlarmState::Alarm => (at, Reading::Unhealthy { detail }),
        AlarmState::Ok | AlarmState::InsufficientData => (at, Reading::Healthy { detail }),
    })
}

/// When the newest data behind the state of an alarm that ignores missing data were measured.
async fn data_behind(senses: Senses<'_>, region: &Region, name: &str, alarm: &Alarm) -> Result<Timestamp, String> {
    let state = alarm.state.as_str();
    let Some(samples) = &alarm.samples else {
        let why = match alarm.missing_data {
            None => "a composite alarm: name its metric alarms as signals instead",
            Some(_) => "an alarm on more than one metric that does not treat missing data as missing",
        };
        return Err(format!("alarm {name} is {state}, but whether data stand behind it cannot be told: it is {why}"));
    };
    let newest = series(senses, region, samples.clone(), METRIC_WINDOW).await?.and_then(|s| s.first().copied());
    // An alarm that ignores missing data went to ALARM by data.
    let went_by_data =
        alarm.state == AlarmState::Alarm && alarm.missing_data == Some(crate::domain::cloud::MissingData::Ignore);
    let since = alarm.state_since.filter(|_| went_by_data);
    newest.map(|p| p.at).max(since).ok_or_else(|| {
        format!(
            "alarm {name} is {state}, but {} {} has no data in {region} and the alarm does not treat missing data as \
             missing: silence is no state",
            samples.namespace, samples.metric
        )
    })
}

/// What one HTTP probe says; `Err` where it could not be sent.
pub(in crate::engine) async fn http_probe(
    probes: &dyn Probes,
    url: &str,
    timeout: Duration,
) -> Result<Reading, String> {
    let question = HttpQuestion { url: url.to_owned(), timeout, resolve_with: Vec::new(), record_type: "A".to_owned() };
    match probes.http(&question).await {
        HttpAnswer::Status { status, .. } if (200..=299).contains(&status) || is_off(Guard::AnyAnswer) => {
            Ok(Reading::Healthy { detail: format!("{url} answered") })
        }
        HttpAnswer::Status { status, .. } => Ok(Reading::Unhealthy { detail: format!("{url} answered {status}") }),
        HttpAnswer::NoAnswer { reason } => Ok(Reading::Unhealthy { detail: format!("{url}: {reason}") }),
        HttpAnswer::NotAsked { reason } => Err(reason),
    }
}

/// What one TCP probe says; `Err` where it could not be sent.
pub(in crate::engine) async fn tcp_probe(
    probes: &dyn Probes,
    address: &str,
    timeout: Duration,
) -> Result<Reading, String> {
    match probes.tcp(address, timeout).await {
        TcpAnswer::Connected => Ok(Reading::Healthy { detail: format!("{address} takes connections") }),
        TcpAnswer::NoAnswer { reason } => Ok(Reading::Unhealthy { detail: format!("{address}: {reason}") }),
        TcpAnswer::NotAsked { reason } => Err(reason),
    }
}

/// The newest event that tells of ill health. That there is none says nothing.
async fn rds_events(
    senses: Senses<'_>,
    name: &StoreName,
    of: &Region,
    wanted: impl Fn(&str) -> bool,
    window: Duration,
) -> Taken {
    let store = senses.application.stores.get(name).ok_or_else(|| format!("no store {name}"))?;
    let cluster = store.clusters.get(of).ok_or_else(|| format!("{name} has no cluster in {of}"))?;
    let source = EventSource::DbCluster { identifier: cluster.identifier().to_owned() };
    let events = senses.cloud.events(of, &source, window).await.map_err(|error| error.to_string())?;
    let told = events.into_iter().filter(|e| e.categories.iter().any(|c| wanted(c))).max_by_key(|e| e.at);
    match told {
        Some(event) => Ok((event.at, Reading::Unhealthy { detail: format!("RDS in {of}: {}", event.message) })),
        None => Err(format!("RDS tells of nothing in the last {} s: silence is no vote", window.as_secs())),
    }
}

#[cfg(test)]
mod tests;
