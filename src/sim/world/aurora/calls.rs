//! The mutating calls of the RDS API, with the faults that AWS gives and the Region in which each must be called.
//!
//! None has an idempotency token: a second call while one is at work is refused, a later one moves the role
//! again. The fault of a call in the wrong Region is UNCONFIRMED (AWS.md section 9): a failover's is
//! `DBClusterNotFoundFault`, as the target is not there; a switchover's `InvalidGlobalClusterStateFault`.

use super::{
    super::{ApiFault, Context, SimTime, timings::Name},
    Aurora, Cluster, Effect, GlobalStatus, Membership, OperationKind, Task, tell,
};
use crate::domain::id::Region;

/// The parameters of `FailoverGlobalCluster`.
#[derive(Debug, Clone, Default)]
pub struct FailoverRequest {
    pub global: String,
    /// The ARN of the target, or its identifier in the calling Region.
    pub target: String,
    pub allow_data_loss: bool,
    pub switchover: bool,
}

pub(super) fn fault(status: u16, code: &'static str, message: impl Into<String>) -> ApiFault {
    ApiFault { status, code, message: message.into() }
}

fn invalid_cluster(message: impl Into<String>) -> ApiFault {
    fault(400, "InvalidDBClusterStateFault", message)
}

fn invalid_global(message: impl Into<String>) -> ApiFault {
    fault(400, "InvalidGlobalClusterStateFault", message)
}

fn cluster_not_found(id: &str) -> ApiFault {
    fault(404, "DBClusterNotFoundFault", format!("DBCluster {id} not found."))
}

impl Aurora {
    pub(super) fn count(
        &mut self,
        at: SimTime,
        operation: &'static str,
        caller: &Region,
        target: &str,
        accepted: bool,
    ) {
        self.effects.push(Effect { at, operation, caller_region: caller.clone(), target: target.to_owned(), accepted });
    }

    /// `SwitchoverGlobalCluster`, called in the Region of the current primary.
    ///
    /// # Errors
    /// The faults of AWS-ENUMS.md.
    pub fn switchover_global_cluster(
        &mut self,
        caller: &Region,
        global: &str,
        target: &str,
        ctx: &mut Context<'_>,
    ) -> Result<(), ApiFault> {
        let to = self.check_switchover(caller, global, target, ctx);
        self.count(ctx.now, "SwitchoverGlobalCluster", caller, target, to.is_ok());
        self.start_operation(global, OperationKind::Switchover, to?, ctx);
        Ok(())
    }

    /// `FailoverGlobalCluster`: with data loss allowed, called in the target's Region; without, it is a
    /// switchover and called in the primary's.
    ///
    /// # Errors
    /// The faults of AWS-ENUMS.md; `InvalidParameterCombination` where both options are set.
    pub fn failover_global_cluster(
        &mut self,
        caller: &Region,
        request: &FailoverRequest,
        ctx: &mut Context<'_>,
    ) -> Result<(), ApiFault> {
        let (kind, to) = if request.allow_data_loss && request.switchover {
            let message = "AllowDataLoss and Switchover cannot be specified together.";
            let refused = Err(fault(400, "InvalidParameterCombination", message));
            (OperationKind::Failover, refused)
        } else if request.allow_data_loss {
            let to = self.check_failover(caller, &request.global, &request.target, ctx);
            (OperationKind::Failover, to)
        } else {
            let to = self.check_switchover(caller, &request.global, &request.target, ctx);
            (OperationKind::Switchover, to)
        };
        let target = &request.target;
        self.count(ctx.now, "FailoverGlobalCluster", caller, target, to.is_ok());
        self.start_operation(&request.global, kind, to?, ctx);
        Ok(())
    }

    /// `RemoveFromGlobalCluster`, called in the Region of the cluster that is detached.
    ///
    /// # Errors
    /// The faults of AWS-ENUMS.md.
    pub fn remove_from_global_cluster(
        &mut self,
        caller: &Region,
        global: &str,
        cluster: &str,
        ctx: &mut Context<'_>,
    ) -> Result<(), ApiFault> {
        let arn = self.check_detach(caller, global, cluster);
        self.count(ctx.now, "RemoveFromGlobalCluster", caller, cluster, arn.is_ok());
        let arn = arn?;
        self.replicate(ctx.now, ctx.planes);
        if let Some(global) = self.globals.get_mut(global) {
            global.members.retain(|member| *member != arn);
        }
        if let Some(cluster) = self.clusters.get_mut(&arn) {
            cluster.global = None;
            cluster.rejoin = None;
            if cluster.membership != Membership::Writer {
                cluster.status = "promoting";
            }
            cluster.membership = Membership::Standalone;
        }
        tell(ctx, "aurora.detached", format!("{arn} left {global}"));
        let at = ctx.now.plus_ms(self.draw(ctx, Name::DetachPromotion));
        self.schedule(at, Task::Detached { arn });
        Ok(())
    }

    pub(super) fn finish_detach(&mut self, arn: &str, ctx: &mut Context<'_>) {
        if let Some(cluster) = self.clusters.get_mut(arn) {
            cluster.status = "available";
            cluster.accepts_writes = true;
            tell(ctx, "aurora.standalone", format!("{arn} takes writes by itself"));
        }
    }

    fn check_switchover(
        &self,
        caller: &Region,
        global: &str,
        target: &str,
        ctx: &Context<'_>,
    ) -> Result<String, ApiFault> {
        let writer = self.idle_writer(caller, global)?;
        if writer.region != *caller {
            return Err(invalid_global(format!(
                "The switchover of global cluster {global} must be requested in the Region of its primary DB cluster."
            )));
        }
        let target = self.target(caller, global, target)?;
        check_promotable(writer, target, ctx)?;
        let unhealthy = [writer, target]
            .into_iter()
            .find(|cluster| !cluster.is_reachable(ctx.planes) || cluster.status != "available");
        match unhealthy {
            Some(cluster) => Err(invalid_cluster(format!(
                "DB cluster {} is not healthy; a switchover needs all DB clusters healthy.",
                cluster.id
            ))),
            None => Ok(target.arn.clone()),
        }
    }

    fn check_failover(
        &self,
        caller: &Region,
        global: &str,
        target: &str,
        ctx: &Context<'_>,
    ) -> Result<String, ApiFault> {
        let writer = self.idle_writer(caller, global)?;
        let named = target;
        let target = self.target(caller, global, named)?;
        if target.region != *caller {
            return Err(cluster_not_found(named));
        }
        check_promotable(writer, target, ctx)?;
        Ok(target.arn.clone())
    }

    fn check_detach(&self, caller: &Region, global: &str, named: &str) -> Result<String, ApiFault> {
        let known = self.idle_global(caller, global)?;
        let cluster = self.target(caller, global, named)?;
        if cluster.region != *caller {
            return Err(cluster_not_found(named));
        }
        if cluster.membership == Membership::Writer && known.members.len() > 1 {
            return Err(invalid_global(format!(
                "Primary DB cluster {named} must be the last to be removed from global cluster {global}."
            )));
        }
        Ok(cluster.arn.clone())
    }

    /// The global cluster, if `caller` sees it and nothing is at work.
    fn idle_global(&self, caller: &Region, id: &str) -> Result<&super::GlobalCluster, ApiFault> {
        let global = self.global_clusters(caller).find(|global| global.id == id).ok_or_else(|| global_not_found(id))?;
        if global.status != GlobalStatus::Available {
            return Err(invalid_global(format!("Global cluster {id} is in state {}.", global.status.as_str())));
        }
        Ok(global)
    }

    fn idle_writer(&self, caller: &Region, id: &str) -> Result<&Cluster, ApiFault> {
        self.idle_global(caller, id)?;
        self.writer_of(id).ok_or_else(|| invalid_global(format!("Global cluster {id} has no primary.")))
    }

    /// A member by ARN, or by its identifier in the calling Region.
    fn target(&self, caller: &Region, global: &str, named: &str) -> Result<&Cluster, ApiFault> {
        self.clusters
            .values()
            .find(|c| c.arn == named || (c.region == *caller && c.id == named))
            .filter(|c| c.global.as_deref() == Some(global) && c.is_listed())
            .ok_or_else(|| cluster_not_found(named))
    }
}

/// The fault of a global cluster that the caller's Region does not know.
pub(super) fn global_not_found(id: &str) -> ApiFault {
    fault(404, "GlobalClusterNotFoundFault", format!("Global cluster {id} not found."))
}

fn check_promotable(writer: &Cluster, target: &Cluster, ctx: &Context<'_>) -> Result<(), ApiFault> {
    let id = &target.id;
    if target.membership == Membership::Writer {
        return Err(invalid_cluster(format!("DB cluster {id} is already the primary.")));
    }
    if target.membership != Membership::Connected {
        return Err(invalid_cluster(format!("DB cluster {id} is not synchronized.")));
    }
    if target.instances.is_empty() {
        return Err(invalid_cluster(format!("DB cluster {id} has no DB instances; add one before the operation.")));
    }
    if major_minor(&writer.engine_version) != major_minor(&target.engine_version) {
        return Err(invalid_cluster(format!(
            "DB cluster {id} runs engine version {}, the primary {}.",
            target.engine_version, writer.engine_version
        )));
    }
    if !target.is_up(ctx.planes) {
        return Err(invalid_cluster(format!("DB cluster {id} is not available.")));
    }
    Ok(())
}

/// `14.9` of `14.9.2`: the patch may differ for Aurora PostgreSQL 14.5 and later [AUG].
fn major_minor(version: &str) -> Vec<&str> {
    version.split('.').take(2).collect()
}
