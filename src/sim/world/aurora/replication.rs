//! How far each secondary is behind its writer, and the metric that says so (or does not).

use super::{
    super::{Context, Planes, SimTime, cloudwatch::CloudWatch, timings::Name},
    Aurora, Cluster, Membership,
};

/// How a secondary's lag behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LagSetting {
    /// As drawn, wandering.
    #[default]
    Wanders,
    /// Exactly this many milliseconds.
    Fixed(u64),
    /// Nothing is replicated any more, though everything is up.
    StandsStill,
}

/// What the replication metric shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LagMetric {
    /// The lag; no data point while the writer cannot be reached [INF].
    #[default]
    Honest,
    /// The lag, growing also while the writer cannot be reached.
    GrowsWhenCut,
    /// 0 whatever happens.
    ShowsZero,
    /// No data points.
    Missing,
    /// Not a number.
    NotANumber,
    /// A number that no lag can be.
    Negative,
}

/// The replication state of a secondary.
#[derive(Debug, Clone)]
pub(super) struct Lag {
    pub ms: u64,
    pub setting: LagSetting,
    pub metric: LagMetric,
    /// Everything that the writer committed up to here is in the secondary's storage.
    pub caught_up_to: SimTime,
}

impl Lag {
    pub(super) fn new(ms: u64, now: SimTime) -> Self {
        Self {
            ms,
            setting: LagSetting::Wanders,
            metric: LagMetric::Honest,
            caught_up_to: SimTime(now.0.saturating_sub(ms)),
        }
    }

    /// Milliseconds behind at which replication runs; `None` where it stands still.
    fn delay_ms(&self) -> Option<u64> {
        match self.setting {
            LagSetting::Wanders => Some(self.ms),
            LagSetting::Fixed(ms) => Some(ms),
            LagSetting::StandsStill => None,
        }
    }
}

impl Cluster {
    /// What its lag metric shows.
    pub fn lag_metric(&self) -> LagMetric {
        self.lag.metric
    }

    /// How far this secondary is truly behind its writer, in milliseconds.
    pub fn true_lag_ms(&self, now: SimTime) -> u64 {
        now.since_ms(self.lag.caught_up_to)
    }

    /// Takes over what `writer` committed until its lag allows.
    fn follow(&mut self, writer: &Cluster, now: SimTime) {
        let Some(delay) = self.lag.delay_ms() else {
            return;
        };
        let horizon = SimTime(now.0.saturating_sub(delay));
        let news = writer.volume[self.volume.len()..].iter().take_while(|commit| commit.acknowledged_at <= horizon);
        self.volume.extend(news);
        self.lag.caught_up_to = self.lag.caught_up_to.max(horizon);
    }

    /// Replaces its storage by the writer's.
    pub(super) fn rebuild_from(&mut self, writer: &Cluster, now: SimTime) {
        let horizon = SimTime(now.0.saturating_sub(self.lag.ms));
        self.volume = writer.volume.iter().take_while(|commit| commit.acknowledged_at <= horizon).copied().collect();
        self.lag.caught_up_to = horizon;
    }
}

impl Aurora {
    /// Brings every connected secondary up to what has reached it by `now`.
    pub fn replicate(&mut self, now: SimTime, planes: &Planes) {
        for global in self.globals.values() {
            // The writer is taken out for the moment, so that the others can read it while they change.
            let Some(arn) = global
                .members
                .iter()
                .find(|arn| self.clusters.get(*arn).is_some_and(|c| c.membership == Membership::Writer))
            else {
                continue;
            };
            let Some(writer) = self.clusters.remove(arn) else {
                continue;
            };
            if writer.is_reachable(planes) {
                for member in &global.members {
                    if let Some(cluster) = self.clusters.get_mut(member)
                        && cluster.membership == Membership::Connected
                        && cluster.is_reachable(planes)
                    {
                        cluster.follow(&writer, now);
                    }
                }
            }
            self.clusters.insert(arn.clone(), writer);
        }
    }

    /// Sets how the lag of the secondary `arn` behaves; false where there is no such cluster.
    pub fn set_lag(&mut self, arn: &str, setting: LagSetting) -> bool {
        let cluster = self.clusters.get_mut(arn);
        cluster.map(|c| c.lag.setting = setting).is_some()
    }

    /// Sets what the lag metric of the secondary `arn` shows; false where there is no such cluster.
    pub fn set_lag_metric(&mut self, arn: &str, metric: LagMetric) -> bool {
        let cluster = self.clusters.get_mut(arn);
        cluster.map(|c| c.lag.metric = metric).is_some()
    }

    pub(super) fn wander(&mut self, ctx: &mut Context<'_>) {
        let arns: Vec<String> = self.clusters.keys().cloned().collect();
        for arn in arns {
            let drawn = self.draw(ctx, Name::ReplicationLag);
            if let Some(cluster) = self.clusters.get_mut(&arn) {
                cluster.lag.ms = (cluster.lag.ms * 3 + drawn) / 4;
            }
        }
    }

    /// Publishes both lag metrics of every connected secondary, in the secondary's Region [AUG].
    pub(super) fn publish(&mut self, ctx: &mut Context<'_>, cloudwatch: &mut CloudWatch) {
        for cluster in self.clusters.values() {
            if cluster.membership != Membership::Connected || !cluster.is_up(ctx.planes) {
                continue;
            }
            let writer = cluster.global.as_deref().and_then(|g| self.writer_of(g));
            let linked = cluster.is_reachable(ctx.planes) && writer.is_some_and(|w| w.is_reachable(ctx.planes));
            let lag_ms = cluster.true_lag_ms(ctx.now);
            let value = match cluster.lag.metric {
                LagMetric::Honest if linked => lag_ms as f64,
                LagMetric::GrowsWhenCut => lag_ms as f64,
                LagMetric::ShowsZero => 0.0,
                LagMetric::NotANumber => f64::NAN,
                LagMetric::Negative => -1.0,
                LagMetric::Honest | LagMetric::Missing => continue,
            };
            for metric in ["AuroraGlobalDBRPOLag", "AuroraGlobalDBReplicationLag"] {
                cloudwatch.record(
                    &cluster.region,
                    "AWS/RDS",
                    metric,
                    &[("DBClusterIdentifier", cluster.id.as_str())],
                    ctx.now,
                    value,
                    ctx,
                );
            }
        }
    }
}
