//! Secrets Manager: where a secret lives and where its replicas are. Never what it holds. [bc:secretsmanager]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Request, fault, not_simulated};
use crate::{
    domain::id::Region,
    sim::world::{ApiFault, sns::ACCOUNT},
};

/// A secret as one Region has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Whose replica it is; itself where it is none.
    pub primary: Region,
    /// Where it is replicated to. Of a replica: empty.
    pub replicas: BTreeSet<Region>,
}

/// The secrets of every Region.
#[derive(Debug, Default)]
pub struct Secrets {
    secrets: BTreeMap<(Region, String), Secret>,
}

impl Secrets {
    /// Adds a secret with its replicas. For fixtures.
    pub fn add(&mut self, region: &Region, name: &str, replicas: &[Region]) {
        for replica in replicas {
            let secret = Secret { primary: region.clone(), replicas: BTreeSet::new() };
            self.secrets.insert((replica.clone(), name.to_owned()), secret);
        }
        let secret = Secret { primary: region.clone(), replicas: replicas.iter().cloned().collect() };
        self.secrets.insert((region.clone(), name.to_owned()), secret);
    }

    /// The secret of that name, as `region` has it.
    pub fn secret(&self, region: &Region, name: &str) -> Option<&Secret> {
        self.secrets.get(&(region.clone(), name.to_owned()))
    }

    pub(super) fn call(&mut self, operation: &str, call: &Request<'_>) -> Result<Value, ApiFault> {
        let id = call.text("SecretId").ok_or_else(|| invalid("SecretId is missing"))?;
        let name = id.rsplit_once(":secret:").map_or(id, |(_, name)| name).to_owned();
        let arn = format!("arn:aws:secretsmanager:{}:{ACCOUNT}:secret:{name}", call.region);
        let key = (call.region.clone(), name.clone());
        let secret = self.secrets.get_mut(&key).ok_or_else(|| {
            fault(400, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
        })?;
        match operation {
            "DescribeSecret" => Ok(json!({
                "ARN": arn, "Name": name, "PrimaryRegion": secret.primary, "ReplicationStatus": status(secret),
            })),
            "ReplicateSecretToRegions" => {
                if secret.primary != *call.region {
                    return Err(invalid("Operation not permitted on a replica secret."));
                }
                for region in regions(call)? {
                    secret.replicas.insert(region);
                }
                let (replicas, status) = (secret.replicas.clone(), status(secret));
                for region in replicas {
                    let replica = Secret { primary: call.region.clone(), replicas: BTreeSet::new() };
                    self.secrets.entry((region, name.clone())).or_insert(replica);
                }
                Ok(json!({ "ARN": arn, "ReplicationStatus": status }))
            }
            "StopReplicationToReplica" => {
                if secret.primary == *call.region {
                    return Err(invalid("Operation not permitted on a primary secret."));
                }
                let primary = std::mem::replace(&mut secret.primary, call.region.clone());
                if let Some(primary) = self.secrets.get_mut(&(primary, name)) {
                    primary.replicas.remove(call.region);
                }
                Ok(json!({ "ARN": arn }))
            }
            _ => Err(not_simulated(&format!("secretsmanager:{operation}"))),
        }
    }
}

fn invalid(message: &str) -> ApiFault {
    fault(400, "InvalidParameterException", message)
}

fn status(secret: &Secret) -> Vec<Value> {
    secret.replicas.iter().map(|region| json!({ "Region": region, "Status": "InSync" })).collect()
}

fn regions(call: &Request<'_>) -> Result<Vec<Region>, ApiFault> {
    let listed = call.arguments.get("AddReplicaRegions").and_then(Value::as_array);
    let listed = listed.ok_or_else(|| invalid("AddReplicaRegions is missing"))?;
    let region = |item: &Value| item.get("Region").and_then(Value::as_str).and_then(|r| r.parse().ok());
    listed.iter().map(|item| region(item).ok_or_else(|| invalid("Invalid replica Region."))).collect()
}
