//! The looks of a salvage, resolved: each is about the source, which is the Region that the failover left.

use super::{Compiler, Scope, cluster};
use crate::domain::{
    action::Action,
    id::{Region, StoreName},
    replica::ReplicatedStore,
    runbook::{Act, Salvaged},
    salvage::Salvage,
};

impl Compiler<'_> {
    pub(super) fn salvage(&self, act: &Act, scope: &Scope) -> Result<Action, String> {
        let Act::Salvage { store, what } = act else { return Err("is no look of a salvage".to_owned()) };
        let name = if let Scope::Store(of) = scope { Some(of) } else { store.as_ref() };
        let name = name.ok_or("names no store")?;
        let look = match what {
            Salvaged::Snapshot => {
                let db = self.application.stores.get(name);
                let db = db.ok_or_else(|| format!("`{}` has no database `{name}`", self.application.name))?;
                Salvage::Snapshot { store: name.clone(), cluster: cluster(db, name, self.source)? }
            }
            Salvaged::Conflicts => self.conflicts(name)?,
            Salvaged::Objects { before } => {
                let (bucket, region) = self.bucket(name)?;
                let (store, to) = (name.clone(), self.target.clone());
                Salvage::Objects { store, bucket, region, to, before: *before }
            }
        };
        Ok(Action::Salvage { look: Box::new(look) })
    }

    fn replicated(&self, name: &StoreName) -> Result<&ReplicatedStore, String> {
        let replica = self.application.replicas.get(name);
        let replica = replica.ok_or_else(|| format!("`{}` has no replicated store `{name}`", self.application.name))?;
        if !replica.is_replicated(self.source, self.target) {
            return Err(format!("nothing of `{name}` is replicated from {} to {}", self.source, self.target));
        }
        Ok(replica)
    }

    fn conflicts(&self, name: &StoreName) -> Result<Salvage, String> {
        let replica = self.replicated(name)?;
        let ReplicatedStore::Dynamodb { table, .. } = replica else {
            return Err(format!("`{name}` is no DynamoDB table"));
        };
        let receives = |query: &crate::domain::cloud::MetricQuery| {
            query.dimensions.get("ReceivingRegion").is_some_and(|to| to == self.target.as_str())
        };
        let found = replica.lag_queries(self.source).into_iter().find(|(_, query)| receives(query));
        let (region, latency) = found.ok_or_else(|| format!("no metric tells of `{name}`"))?;
        Ok(Salvage::Conflicts { store: name.clone(), table: table.clone(), region, latency })
    }

    fn bucket(&self, name: &StoreName) -> Result<(String, Region), String> {
        let ReplicatedStore::S3 { buckets, .. } = self.replicated(name)? else {
            return Err(format!("`{name}` is no store of S3"));
        };
        let bucket = buckets.get(self.source).ok_or_else(|| format!("`{name}` has no bucket in {}", self.source))?;
        Ok((bucket.clone(), self.source.clone()))
    }
}
