//! The gates of capacity, quota and replication: whether the target can carry the application, whether the account may
//! still add to it there, and whether what was written to stores with many writers has arrived.
//!
//! Invariant: what was not read, is too old or makes no sense is unknown, never enough and never zero. In a failover
//! nothing is asked of the source's databases.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    domain::{
        application::ClusterArn,
        assessment::Exposure,
        capacity::{self, Capacity, Parity, Size},
        cloud::{Datapoint, ObserveError},
        id::{Region, StoreName},
        plan::Purpose,
        replica::{LagUnit, Measure, Quantity},
        run::RunState,
        seconds::to_seconds,
        signal::{self, SignalSource},
    },
    engine::{
        capacities,
        context::Context,
        denial::Denial,
        guards::{Answer, LAG_FRESHNESS, LAG_WINDOW},
    },
};

/// `gate.capacity`: whether `target` has what is declared, else what `source` has or had when it was last well.
pub async fn capacity(
    context: &Context,
    purpose: Purpose,
    (store, source, target): (&StoreName, &ClusterArn, &ClusterArn),
    declared: Option<&Capacity>,
    at_least_percent: u32,
) -> Answer {
    let (sizes, basis) = match wanted(context, purpose, store, source, declared).await {
        Ok(wanted) => wanted,
        Err(why) => return Answer::Unknown { why },
    };
    let carried = match capacities::read(&*context.cloud, target).await {
        Ok(carried) => carried,
        Err(unread) => {
            return Answer::unread(unread.operation, target.region(), &unread.error, target.as_str());
        }
    };
    context.capacities.note(store, target.region(), context.clock.wall(), carried.clone());
    let said = |says: String| format!("{}: {says} ({basis})", target.identifier());
    match capacity::parity(&sizes, &carried, at_least_percent) {
        Parity::Enough { says } => Answer::Holds { evidence: vec![said(says)] },
        Parity::TooSmall { says } => Answer::fails(format!("{}: add instances or change their class", said(says))),
        Parity::Unknown { says } => Answer::Unknown { why: said(says) },
    }
}

/// The sizes that are wanted, and on whose word.
async fn wanted(
    context: &Context,
    purpose: Purpose,
    store: &StoreName,
    source: &ClusterArn,
    declared: Option<&Capacity>,
) -> Result<(Vec<Size>, String), String> {
    if let Some(declared) = declared {
        return Ok((declared.sizes(), "as declared".to_owned()));
    }
    // A planned move leaves a Region that answers.
    let mut unread = String::new();
    if purpose != Purpose::Failover {
        match capacities::read(&*context.cloud, source).await {
            Ok(carried) => context.capacities.note(store, source.region(), context.clock.wall(), carried),
            Err(error) => unread = format!(" ({}: {})", error.operation, error.error),
        }
    }
    match context.capacities.of(store, source.region()).and_then(|seen| seen.well) {
        Some((at, carried)) => Ok((carried.sizes(), format!("as {} had at {at:.0}", source.identifier()))),
        None => Err(format!(
            "what {} carries is not known{unread}: no capacity is declared for store {store}, and since the start it \
             was not seen well",
            source.identifier()
        )),
    }
}

/// `gate.quota`: whether so much of each quota is left in `region`.
pub async fn quota(context: &Context, region: &Region, wanted: &BTreeMap<String, u32>) -> Answer {
    let quotas = match context.cloud.account_quotas(region).await {
        Ok(quotas) => quotas,
        Err(error) => {
            let what = format!("the quotas of the account in {region}");
            return Answer::unread("rds:DescribeAccountAttributes", region, &error, &what);
        }
    };
    match capacity::headroom(&quotas, wanted) {
        Ok(evidence) => Answer::Holds { evidence: evidence.into_iter().map(|e| format!("{region}: {e}")).collect() },
        Err((short, untold)) if short.is_empty() => {
            Answer::Unknown { why: format!("RDS in {region} does not tell {}", untold.join(", ")) }
        }
        Err((short, _)) => Answer::fails(format!("too little is left in {region}: {}", short.join("; "))),
    }
}

/// `gate.replication`: whether every measure of the store is within its limit. A planned move judges what was measured,
/// freshly; in a failover the lag is what it was when it was measured and all the time since.
pub async fn replication(context: &Context, run: &RunState, store: &StoreName, measures: &[Measure]) -> Answer {
    let is_lag = |s: &SignalSource| matches!(s, SignalSource::ReplicaLag { store: of } if of == store);
    let signal = context.application.signals.iter().find(|s| is_lag(&s.source));
    let judge = Judge {
        now: context.clock.wall(),
        freshness: signal.map_or(LAG_FRESHNESS, |s| s.freshness),
        purpose: run.plan.purpose,
        accepted: run.plan.accepted_loss,
    };
    let (mut evidence, mut fails, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    let mut denied = None;
    for (measure, read) in measures.iter().zip(read(context, measures).await) {
        let name = format!("{} in {}", measure.query.metric, measure.region);
        let read = read.map_err(|error| {
            denied = denied.take().or(Denial::of("cloudwatch:GetMetricData", Some(&measure.region), &error));
            error.to_string()
        });
        match read.map(|point| judge.verdict(measure, point)) {
            Ok(Verdict::Within(says)) => evidence.push(format!("{name}: {says}")),
            Ok(Verdict::Beyond(says)) => fails.push(format!("{name}: {says}")),
            Ok(Verdict::Unknown(why)) | Err(why) => unknown.push(format!("{name}: {why}")),
        }
    }
    match (fails.is_empty(), denied) {
        (false, _) => Answer::fails(fails.join("; ")),
        (true, Some(denial)) => Answer::Denied(denial),
        (true, None) if !unknown.is_empty() => Answer::Unknown { why: unknown.join("; ") },
        (true, None) => Answer::Holds { evidence },
    }
}

/// The newest datapoint of each measure, in one call for each Region.
async fn read(context: &Context, measures: &[Measure]) -> Vec<Result<Option<Datapoint>, ObserveError>> {
    let mut by_region: BTreeMap<&Region, Vec<usize>> = BTreeMap::new();
    for (i, measure) in measures.iter().enumerate() {
        by_region.entry(&measure.region).or_default().push(i);
    }
    let nothing = || Err(ObserveError::Malformed { reason: "CloudWatch did not answer this question".to_owned() });
    let mut found: Vec<_> = measures.iter().map(|_| nothing()).collect();
    for (region, indices) in by_region {
        let queries: Vec<_> = indices.iter().map(|i| measures[*i].query.clone()).collect();
        match context.cloud.metrics(region, &queries, LAG_WINDOW).await {
            Ok(answers) => {
                for (i, answer) in indices.into_iter().zip(answers) {
                    found[i] = answer.map(|series| series.first().copied());
                }
            }
            Err(error) => indices.into_iter().for_each(|i| found[i] = Err(error.clone())),
        }
    }
    found
}

/// By what a datapoint is judged.
struct Judge {
    now: Timestamp,
    freshness: Duration,
    purpose: Purpose,
    accepted: Option<Duration>,
}

enum Verdict {
    Within(String),
    Beyond(String),
    Unknown(String),
}

impl Judge {
    fn verdict(&self, measure: &Measure, point: Option<Datapoint>) -> Verdict {
        let Some(point) = point else { return Verdict::Unknown(format!("no data ({})", measure.silence)) };
        let Some(age) = signal::age(self.now, point.at) else {
            return Verdict::Unknown(format!("its newest datapoint is dated ahead of the clock, at {}", point.at));
        };
        match measure.quantity {
            Quantity::Lag { unit, limit } => self.lag(point, age, unit, limit),
            _ if self.freshness < age => Verdict::Unknown(format!("its newest datapoint is {} s old", to_seconds(age))),
            Quantity::Pending { what, limit } => pending(point.value, age, what.as_str(), limit),
        }
    }

    fn lag(&self, point: Datapoint, age: Duration, unit: LagUnit, limit: Duration) -> Verdict {
        let Some(lag) = unit.lag(point.value) else {
            return Verdict::Unknown(format!("{} is no lag", point.value));
        };
        let (counts, limit) = match self.purpose {
            Purpose::Failover => {
                let bound = Exposure::from_lag(Some((point.at, lag)), self.now, self.freshness).loss_bound;
                (bound.unwrap_or(Duration::MAX), self.accepted.map_or(limit, |accepted| accepted.max(limit)))
            }
            Purpose::Switchover | Purpose::Failback | Purpose::Drill | Purpose::Salvage => (lag, limit),
        };
        let says = format!("lag {} s, {} s old, limit {} s", to_seconds(lag), to_seconds(age), to_seconds(limit));
        match self.purpose {
            Purpose::Switchover | Purpose::Failback | Purpose::Drill | Purpose::Salvage if self.freshness < age => {
                Verdict::Unknown(says)
            }
            _ if counts <= limit => Verdict::Within(says),
            _ => Verdict::Beyond(says),
        }
    }
}

fn pending(value: f64, age: Duration, what: &str, limit: u64) -> Verdict {
    if value < 0.0 {
        return Verdict::Unknown(format!("{value} {what} is no backlog"));
    }
    let says = format!("{value} {what} are pending, {} s old, limit {limit}", to_seconds(age));
    // Exact up to 2^53: eight petabytes.
    #[expect(clippy::cast_precision_loss, reason = "no backlog is so large that a byte matters")]
    let limit = limit as f64;
    if value <= limit { Verdict::Within(says) } else { Verdict::Beyond(says) }
}

#[cfg(test)]
mod tests;
