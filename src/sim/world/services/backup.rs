//! AWS Backup: the recovery points of a vault. [bc:backup]
//!
//! Deliberately not modelled: plans, jobs and copies: a point is there, and is as old as it was made.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Request, fault, not_simulated, seconds};
use crate::{
    domain::id::Region,
    sim::world::{ApiFault, SimTime, sns::ACCOUNT},
};

/// AWS Backup of every Region.
#[derive(Debug, Default)]
pub struct Backup {
    /// By Region and vault: when its recovery points were made, the newest last.
    vaults: BTreeMap<(Region, String), Vec<SimTime>>,
}

impl Backup {
    /// Adds a recovery point, and the vault where there is none. For fixtures.
    pub fn add(&mut self, region: &Region, vault: &str, made_at: SimTime) {
        self.vaults.entry((region.clone(), vault.to_owned())).or_default().push(made_at);
    }

    pub(super) fn call(&mut self, operation: &str, call: &Request<'_>) -> Result<Value, ApiFault> {
        if operation != "ListRecoveryPointsByBackupVault" {
            return Err(not_simulated(&format!("backup:{operation}")));
        }
        let name = call.text("BackupVaultName").unwrap_or_default();
        let points = self
            .vaults
            .get(&(call.region.clone(), name.to_owned()))
            .ok_or_else(|| fault(400, "ResourceNotFoundException", format!("Backup vault {name} does not exist")))?;
        let shown = points.iter().rev().enumerate().map(|(index, made_at)| {
            json!({
                "RecoveryPointArn": format!("arn:aws:backup:{}:{ACCOUNT}:recovery-point:{name}-{index}", call.region),
                "BackupVaultName": name,
                "Status": "COMPLETED",
                "CreationDate": seconds(*made_at),
            })
        });
        Ok(json!({ "RecoveryPoints": shown.collect::<Vec<_>>() }))
    }
}
