//! After a failover: the deposed primary is stopped, its storage rescued, and it comes back as a secondary.

use super::{
    super::{Context, timings::Name},
    Aurora, Membership, Task, tell,
};

/// How often Aurora looks whether the old Region is back, in milliseconds [INF].
const RETURN_POLL_MS: u64 = 1_000;

/// How far a cluster is on its way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RejoinStage {
    /// Until its Region can be reached.
    Awaited,
    /// It is about to learn that it was deposed; until then its engine takes writes.
    Fencing,
    /// The rescue snapshot is being taken.
    Rescuing,
    /// New storage is filled from the new primary.
    Resyncing,
}

impl Aurora {
    /// After a failover to `writer`, every other cluster of `global` is rebuilt.
    pub(super) fn rebuild_others(&mut self, global: &str, writer: &str, ctx: &mut Context<'_>) {
        let members = self.globals.get(global).map_or_else(Vec::new, |g| g.members.clone());
        for arn in members.into_iter().filter(|arn| arn != writer) {
            self.begin_rejoin(&arn, RejoinStage::Awaited, RETURN_POLL_MS, ctx);
        }
    }

    fn begin_rejoin(&mut self, arn: &str, stage: RejoinStage, delay_ms: u64, ctx: &Context<'_>) {
        let generation = self.next_generation();
        if let Some(cluster) = self.clusters.get_mut(arn) {
            cluster.rejoin = Some((generation, stage));
            if stage == RejoinStage::Awaited && cluster.membership == Membership::Connected {
                cluster.membership = Membership::PendingResync;
            }
        }
        let arn = arn.to_owned();
        self.schedule(ctx.now.plus_ms(delay_ms), Task::Rejoin { arn, generation });
    }

    pub(super) fn advance_rejoin(&mut self, arn: &str, generation: u64, ctx: &mut Context<'_>) {
        let Some(cluster) = self.clusters.get(arn) else {
            return;
        };
        let Some((_, stage)) = cluster.rejoin.filter(|(current, _)| *current == generation) else {
            return;
        };
        let writer = cluster.global.as_deref().and_then(|g| self.writer_of(g));
        let linked = cluster.is_reachable(ctx.planes) && writer.is_some_and(|w| w.is_reachable(ctx.planes));
        if !linked {
            // What was begun is begun again when the Region is back.
            return self.begin_rejoin(arn, RejoinStage::Awaited, RETURN_POLL_MS, ctx);
        }
        let deposed = cluster.membership == Membership::Out;
        match stage {
            RejoinStage::Awaited if deposed => {
                let delay = self.draw(ctx, Name::LateFence);
                self.begin_rejoin(arn, RejoinStage::Fencing, delay, ctx);
            }
            RejoinStage::Awaited => self.begin_resync(arn, ctx),
            RejoinStage::Fencing => self.rescue(arn, ctx),
            RejoinStage::Rescuing => self.begin_resync(arn, ctx),
            RejoinStage::Resyncing => self.finish_resync(arn, ctx),
        }
    }

    fn rescue(&mut self, arn: &str, ctx: &mut Context<'_>) {
        if let Some(cluster) = self.clusters.get_mut(arn) {
            cluster.accepts_writes = false;
        }
        tell(ctx, "aurora.deposed", format!("{arn} no longer takes writes"));
        let delay = self.draw(ctx, Name::RescueSnapshot);
        self.take_rescue_snapshot(arn, delay, ctx);
        self.begin_rejoin(arn, RejoinStage::Rescuing, delay, ctx);
    }

    fn begin_resync(&mut self, arn: &str, ctx: &mut Context<'_>) {
        if let Some(cluster) = self.clusters.get_mut(arn) {
            cluster.membership = Membership::PendingResync;
            cluster.accepts_writes = false;
            // Its storage is being replaced: no status of its own is documented [INF].
            cluster.status = "modifying";
        }
        self.record_resync(arn, 240, "Started", ctx);
        let delay = self.draw(ctx, Name::Resync);
        self.begin_rejoin(arn, RejoinStage::Resyncing, delay, ctx);
    }

    fn finish_resync(&mut self, arn: &str, ctx: &mut Context<'_>) {
        let Some(mut cluster) = self.clusters.remove(arn) else {
            return;
        };
        if let Some(writer) = cluster.global.as_deref().and_then(|g| self.writer_of(g)) {
            cluster.rebuild_from(writer, ctx.now);
        }
        cluster.membership = Membership::Connected;
        cluster.status = "available";
        cluster.rejoin = None;
        self.clusters.insert(arn.to_owned(), cluster);
        self.record_resync(arn, 241, "Finished", ctx);
    }

    /// Recorded at the new primary and at the member; the text names the new primary.
    fn record_resync(&mut self, arn: &str, id: u16, verb: &str, ctx: &mut Context<'_>) {
        let global = self.clusters.get(arn).and_then(|c| c.global.clone());
        let Some(writer) = global.and_then(|g| self.writer_of(&g)).map(|w| w.arn.clone()) else {
            return;
        };
        let text = |cluster: &str, region: &_| {
            format!("{verb} resynchronizing members of DB cluster {cluster} in Region {region} after global failover.")
        };
        self.record_at_both_ends([arn, &writer], &writer, id, text, ctx);
    }
}
