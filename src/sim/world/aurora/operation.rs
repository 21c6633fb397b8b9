//! How the writer's role moves: switchover and failover, stage by stage.
//!
//! Invariant: whatever the fate of an operation, exactly one cluster is shown as the writer at any time, and a
//! switchover promotes only a target that holds everything the old writer acknowledged.

use super::{
    super::{Context, SimTime, timings::Name},
    Aurora, GlobalStatus, Membership, PromotionFate, Task, tell,
};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationKind {
    Switchover,
    Failover,
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Accepted; nothing has happened.
    Pending,
    /// A switchover waits for replication.
    Syncing,
    /// The old primary is read-only; the rest of its log is on its way.
    Draining,
    /// A failover tries to stop the old writer.
    Fencing {
        reachable: bool,
    },
    Promoting,
    /// Never ends by itself.
    Stuck,
    /// Somebody has cancelled it.
    Cancelling,
}

/// A switchover or failover at work.
#[derive(Debug, Clone)]
pub struct Operation {
    pub kind: OperationKind,
    /// ARN of the old writer.
    pub from: String,
    /// ARN of the target.
    pub to: String,
    pub stage: Stage,
    pub(super) generation: u64,
    /// When a switchover gives up waiting.
    pub(super) sync_until: SimTime,
    /// Whether that was brought forward because an end was lost.
    pub(super) link_was_lost: bool,
    /// Whether this operation made the old writer read-only.
    pub(super) fenced: bool,
}

impl Operation {
    /// `FailoverState.IsDataLossAllowed`.
    pub fn allows_data_loss(&self) -> bool {
        self.kind == OperationKind::Failover
    }

    /// `FailoverState.Status`. `switching-over` is documented though absent from the enumeration [bc:rds].
    pub fn state(&self) -> &'static str {
        match (self.stage, self.kind) {
            (Stage::Pending, _) => "pending",
            (Stage::Cancelling, _) => "cancelling",
            (_, OperationKind::Switchover) => "switching-over",
            (_, OperationKind::Failover) => "failing-over",
        }
    }
}

/// How often a waiting switchover looks, in milliseconds.
const SYNC_POLL_MS: u64 = 1_000;
/// How long a cancelled operation takes to end, in milliseconds. AWS publishes no figure: assumed, longer than any look.
const CANCEL_MS: u64 = 40_000;
/// How often it looks while writes are stopped.
const DRAIN_POLL_MS: u64 = 50;

impl Aurora {
    pub(super) fn start_operation(&mut self, global: &str, kind: OperationKind, to: String, ctx: &mut Context<'_>) {
        let Some(from) = self.writer_of(global).map(|writer| writer.arn.clone()) else {
            return;
        };
        let generation = self.next_generation();
        let (status, name) = match kind {
            OperationKind::Switchover => (GlobalStatus::SwitchingOver, Name::SwitchoverPrepare),
            OperationKind::Failover => (GlobalStatus::FailingOver, Name::FailoverPrepare),
        };
        let limit = self.draw(ctx, Name::SwitchoverSyncLimit);
        if kind == OperationKind::Switchover {
            let text =
                |id: &str, region: &_| format!("Global switchover to DB cluster {id} in Region {region} started.");
            self.record_at_both_ends([&from, &to], &to, 181, text, ctx);
        }
        tell(ctx, "aurora.accepted", format!("{global}: {} to {to} accepted", status.as_str()));
        if let Some(global) = self.globals.get_mut(global) {
            global.status = status;
            global.operation = Some(Operation {
                kind,
                from,
                to,
                stage: Stage::Pending,
                generation,
                sync_until: ctx.now.plus_ms(limit),
                link_was_lost: false,
                fenced: false,
            });
        }
        let delay = self.draw(ctx, name);
        self.continue_operation(global, generation, delay, ctx);
    }

    fn continue_operation(&mut self, global: &str, generation: u64, delay_ms: u64, ctx: &Context<'_>) {
        let global = global.to_owned();
        self.schedule(ctx.now.plus_ms(delay_ms), Task::Operation { global, generation });
    }

    pub(super) fn advance_operation(&mut self, global: &str, generation: u64, ctx: &mut Context<'_>) {
        let Some(operation) = self
            .globals
            .get(global)
            .and_then(|g| g.operation.clone())
            .filter(|operation| operation.generation == generation)
        else {
            return;
        };
        match (operation.stage, operation.kind) {
            (Stage::Pending, OperationKind::Switchover) => {
                self.announce_sync(&operation, ctx);
                self.enter(global, &operation, Stage::Syncing, SYNC_POLL_MS, ctx);
            }
            (Stage::Pending, OperationKind::Failover) => self.begin_fencing(global, &operation, ctx),
            (Stage::Syncing, _) => self.try_stop_writes(global, &operation, ctx),
            (Stage::Draining, _) => self.try_finish_drain(global, &operation, ctx),
            (Stage::Fencing { reachable }, _) => {
                self.end_fencing(global, &operation, reachable, ctx);
            }
            (Stage::Promoting, _) => self.end_promotion(global, &operation, ctx),
            (Stage::Cancelling, _) => self.fail_operation(global, &operation, ctx),
            (Stage::Stuck, _) => {}
        }
    }

    fn enter(&mut self, global: &str, operation: &Operation, stage: Stage, delay_ms: u64, ctx: &Context<'_>) {
        self.with_operation(global, |operation| operation.stage = stage);
        self.continue_operation(global, operation.generation, delay_ms, ctx);
    }

    fn with_operation(&mut self, global: &str, change: impl FnOnce(&mut Operation)) {
        if let Some(operation) = self.globals.get_mut(global).and_then(|global| global.operation.as_mut()) {
            change(operation);
        }
    }

    fn announce_sync(&mut self, operation: &Operation, ctx: &mut Context<'_>) {
        let lag_ms = self.clusters.get(&operation.to).map_or(0, |target| target.true_lag_ms(ctx.now));
        let message = format!(
            "Waiting for data synchronization across global cluster members. Current lags behind primary DB cluster: {lag_ms} ms."
        );
        self.record_cluster_event(&operation.from, 183, message, ctx);
    }

    /// A switchover whose ends cannot talk gives up earlier: so much after it was first seen.
    fn shorten_wait(&mut self, global: &str, operation: &Operation, ctx: &mut Context<'_>) {
        if operation.link_was_lost || self.is_linked(operation, ctx) {
            return;
        }
        let limit = ctx.now.plus_ms(self.draw(ctx, Name::SwitchoverLinkLimit));
        self.with_operation(global, |operation| {
            operation.link_was_lost = true;
            operation.sync_until = operation.sync_until.min(limit);
        });
    }

    fn is_linked(&self, operation: &Operation, ctx: &Context<'_>) -> bool {
        [&operation.from, &operation.to]
            .iter()
            .all(|arn| self.clusters.get(*arn).is_some_and(|c| c.is_reachable(ctx.planes)))
    }

    /// Makes the old primary read-only once replication flows; gives up at the limit.
    fn try_stop_writes(&mut self, global: &str, operation: &Operation, ctx: &mut Context<'_>) {
        if ctx.now >= operation.sync_until {
            return self.fail_operation(global, operation, ctx);
        }
        let flows = self.is_linked(operation, ctx)
            && self
                .clusters
                .get(&operation.to)
                .is_some_and(|target| target.lag.setting != super::replication::LagSetting::StandsStill);
        if !flows {
            self.shorten_wait(global, operation, ctx);
            return self.continue_operation(global, operation.generation, SYNC_POLL_MS, ctx);
        }
        self.set_writable(&operation.from, false);
        self.with_operation(global, |operation| operation.fenced = true);
        self.enter(global, operation, Stage::Draining, DRAIN_POLL_MS, ctx);
    }

    fn try_finish_drain(&mut self, global: &str, operation: &Operation, ctx: &mut Context<'_>) {
        let length = |arn: &str| self.clusters.get(arn).map(|c| c.volume.len());
        // Equal logs end it, and both ends must be up to say so.
        let drained = length(&operation.from) == length(&operation.to);
        if !drained || !self.is_linked(operation, ctx) {
            if ctx.now >= operation.sync_until {
                return self.fail_operation(global, operation, ctx);
            }
            self.shorten_wait(global, operation, ctx);
            return self.continue_operation(global, operation.generation, DRAIN_POLL_MS, ctx);
        }
        let text =
            |id: &str, region: &_| format!("Old primary DB cluster {id} in Region {region} successfully shut down.");
        let from = &operation.from;
        self.record_at_both_ends([from, &operation.to], from, 182, text, ctx);
        let delay = self.draw(ctx, Name::SwitchoverPromotion);
        self.begin_promotion(global, operation, delay, ctx);
    }

    /// Fencing is attempted first; it succeeds only where the old primary can be reached [AUG].
    fn begin_fencing(&mut self, global: &str, operation: &Operation, ctx: &mut Context<'_>) {
        let reachable = self.can_fence(operation, ctx);
        let name = if reachable { Name::FencingSuccess } else { Name::FencingTimeout };
        let delay = self.draw(ctx, name);
        self.enter(global, operation, Stage::Fencing { reachable }, delay, ctx);
    }

    fn can_fence(&self, operation: &Operation, ctx: &Context<'_>) -> bool {
        !self.knobs.fencing_times_out && self.clusters.get(&operation.from).is_some_and(|c| c.is_reachable(ctx.planes))
    }

    fn end_fencing(&mut self, global: &str, operation: &Operation, reachable: bool, ctx: &mut Context<'_>) {
        if reachable && self.can_fence(operation, ctx) {
            self.set_writable(&operation.from, false);
            self.with_operation(global, |operation| operation.fenced = true);
            let message = "Write fencing of the old primary DB cluster for the global failover succeeded.";
            self.record_instance_event(&operation.from, 390, message, ctx);
        } else {
            let message = "Write fencing of the old primary DB cluster for the global failover timed out. The failover will proceed but you might need to recover recently written data from the snapshot.";
            self.record_instance_event(&operation.to, 391, message, ctx);
        }
        let delay = self.draw(ctx, Name::FailoverPromotion);
        self.begin_promotion(global, operation, delay, ctx);
    }

    fn begin_promotion(&mut self, global: &str, operation: &Operation, delay_ms: u64, ctx: &mut Context<'_>) {
        if let Some(target) = self.clusters.get_mut(&operation.to) {
            target.status = "promoting";
        }
        self.enter(global, operation, Stage::Promoting, delay_ms, ctx);
    }

    fn end_promotion(&mut self, global: &str, operation: &Operation, ctx: &mut Context<'_>) {
        let alive = self.clusters.get(&operation.to).is_some_and(|target| target.is_up(ctx.planes));
        match (self.knobs.next_promotion.take(), alive) {
            (Some(PromotionFate::Sticks), _) => {
                self.with_operation(global, |operation| operation.stage = Stage::Stuck);
                tell(ctx, "aurora.stuck", format!("{global}: the promotion is stuck"));
            }
            (Some(PromotionFate::Cancelled), _) => {
                tell(ctx, "aurora.cancelling", format!("{global}: somebody cancels the promotion"));
                self.enter(global, operation, Stage::Cancelling, CANCEL_MS, ctx);
            }
            (Some(PromotionFate::Fails), _) | (None, false) => {
                self.fail_operation(global, operation, ctx);
            }
            (None, true) => self.promote(global, operation, ctx),
        }
    }

    fn promote(&mut self, global: &str, operation: &Operation, ctx: &mut Context<'_>) {
        let Operation { kind, from, to, .. } = operation;
        if let Some(target) = self.clusters.get_mut(to) {
            target.membership = Membership::Writer;
            target.accepts_writes = true;
            target.status = "available";
        }
        if let Some(old) = self.clusters.get_mut(from) {
            old.membership = match kind {
                OperationKind::Switchover => Membership::Connected,
                OperationKind::Failover => Membership::Out,
            };
            old.lag.caught_up_to = ctx.now;
        }
        self.clear_operation(global);
        let ends = [from.as_str(), to.as_str()];
        match kind {
            OperationKind::Switchover => {
                let promoted = |id: &str, region: &_| {
                    format!("New primary DB cluster {id} in Region {region} was successfully promoted.")
                };
                self.record_at_both_ends(ends, to, 184, promoted, ctx);
                let finished =
                    |id: &str, region: &_| format!("Global switchover to DB cluster {id} in Region {region} finished.");
                self.record_at_both_ends(ends, to, 185, finished, ctx);
            }
            OperationKind::Failover => {
                let completed =
                    |id: &str, region: &_| format!("Global failover to DB cluster {id} in Region {region} completed.");
                self.record_at_both_ends(ends, to, 238, completed, ctx);
                self.rebuild_others(global, to, ctx);
            }
        }
        tell(ctx, "aurora.promoted", format!("{global}: the writer is {to}"));
        let at = ctx.now.plus_ms(self.draw(ctx, Name::WriterEndpointDns));
        let (global, writer) = (global.to_owned(), to.clone());
        self.schedule(at, Task::WriterEndpoint { global, writer });
    }

    /// The state before the call returns; the old writer is as it was.
    fn fail_operation(&mut self, global: &str, operation: &Operation, ctx: &mut Context<'_>) {
        // `operation` is as it was when this stage began, so `fenced` is already right.
        if operation.fenced {
            self.set_writable(&operation.from, true);
        }
        if let Some(target) = self.clusters.get_mut(&operation.to) {
            target.status = "available";
        }
        self.clear_operation(global);
        let (id, what, how) = match (operation.kind, operation.stage) {
            (OperationKind::Switchover, Stage::Cancelling) => (186, "switchover", "was cancelled"),
            (OperationKind::Switchover, _) => (187, "switchover", "failed"),
            // No list has an event for a cancelled failover.
            (OperationKind::Failover, _) => (239, "failover", "failed"),
        };
        let text =
            |cluster: &str, region: &_| format!("Global {what} to DB cluster {cluster} in Region {region} {how}.");
        let to = &operation.to;
        self.record_at_both_ends([&operation.from, to], to, id, text, ctx);
        tell(ctx, "aurora.failed", format!("{global}: the {what} failed"));
    }

    fn clear_operation(&mut self, global: &str) {
        if let Some(global) = self.globals.get_mut(global) {
            global.status = GlobalStatus::Available;
            global.operation = None;
        }
    }

    fn set_writable(&mut self, arn: &str, writable: bool) {
        if let Some(cluster) = self.clusters.get_mut(arn) {
            cluster.accepts_writes = writable;
        }
    }

    pub(super) fn move_writer_endpoint(&mut self, global: &str, writer: String, ctx: &mut Context<'_>) {
        let Some(cluster) = self.globals.get_mut(global) else {
            return;
        };
        cluster.endpoint_resolves_to = Some(writer.clone());
        let message = format!(
            "Aurora finished changing the DNS name that the global writer endpoint {} resolves to.",
            cluster.endpoint()
        );
        self.record_cluster_event(&writer, 397, message, ctx);
    }
}
