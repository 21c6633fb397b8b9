//! Instances that are added to a cluster: `CreateDBInstance`, and how long one takes.
//!
//! One that is being created serves nobody and is not yet among the cluster's; whether it can be had at all is the
//! account's quota (`InstanceQuotaExceeded`) [bc:rds.CreateDBInstance]. Deliberately no deletion: nothing here asks for it.

use super::{
    super::{ApiFault, Context, timings::Name},
    Aurora, Cluster, Instance, Task,
    calls::fault,
    tell,
};
use crate::domain::id::Region;

/// The parameters of `CreateDBInstance`, those that matter for Aurora.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewInstance {
    /// Identifier of the cluster.
    pub cluster: String,
    pub id: String,
    pub class: String,
    pub engine: String,
}

impl Aurora {
    /// Instances of the cluster `arn` that are not available yet.
    pub fn instances_being_created<'a>(&'a self, arn: &'a str) -> impl Iterator<Item = &'a Instance> {
        self.creating.values().filter(move |(of, _)| of == arn).map(|(_, instance)| instance)
    }

    /// `CreateDBInstance`, called in the Region of the cluster; the ARN of the cluster and the instance as it is now.
    ///
    /// # Errors
    /// `DBClusterNotFoundFault`, `DBInstanceAlreadyExists`, `InvalidParameterCombination`, `InvalidDBClusterStateFault`,
    /// `InstanceQuotaExceeded`.
    pub fn create_instance(
        &mut self,
        caller: &Region,
        wanted: NewInstance,
        ctx: &mut Context<'_>,
    ) -> Result<(String, Instance), ApiFault> {
        let checked = self.check_creation(caller, &wanted).map(|cluster| cluster.arn.clone());
        self.count(ctx.now, "CreateDBInstance", caller, &wanted.id, checked.is_ok());
        let arn = checked?;
        let instance = Instance { id: wanted.id, class: wanted.class };
        tell(ctx, "aurora.instance_started", format!("{} in {arn} is being created", instance.id));
        let at = ctx.now.plus_ms(self.draw(ctx, Name::InstanceCreation));
        let key = (caller.clone(), instance.id.clone());
        self.creating.insert(key.clone(), (arn.clone(), instance.clone()));
        self.schedule(at, Task::InstanceReady { region: key.0, id: key.1 });
        Ok((arn, instance))
    }

    fn check_creation(&self, caller: &Region, wanted: &NewInstance) -> Result<&Cluster, ApiFault> {
        let cluster = self.clusters(caller).find(|c| c.id == wanted.cluster);
        let cluster = cluster
            .ok_or_else(|| fault(404, "DBClusterNotFoundFault", format!("DBCluster {} not found.", wanted.cluster)))?;
        let is_there = self.clusters(caller).flat_map(|c| &c.instances).any(|i| i.id == wanted.id);
        if is_there || self.creating.contains_key(&(caller.clone(), wanted.id.clone())) {
            return Err(fault(400, "DBInstanceAlreadyExists", "DB instance already exists"));
        }
        if wanted.engine != cluster.engine {
            let message = format!("The engine name requested for your DB instance ({}) doesn't match", wanted.engine);
            return Err(fault(400, "InvalidParameterCombination", format!("{message} {}.", cluster.engine)));
        }
        if cluster.status != "available" {
            let message = format!("DB cluster {} is not available.", cluster.id);
            return Err(fault(400, "InvalidDBClusterStateFault", message));
        }
        if self.is_quota_exhausted(caller) {
            return Err(fault(400, "InstanceQuotaExceeded", "DB Instance quota exceeded."));
        }
        Ok(cluster)
    }

    pub(super) fn finish_instance(&mut self, region: Region, id: String, ctx: &mut Context<'_>) {
        let Some((arn, instance)) = self.creating.remove(&(region, id)) else { return };
        tell(ctx, "aurora.instance_available", format!("{} in {arn} is available", instance.id));
        if let Some(cluster) = self.clusters.get_mut(&arn) {
            cluster.instances.push(instance);
        }
    }
}
