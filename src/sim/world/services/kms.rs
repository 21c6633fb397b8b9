//! KMS: which keys a Region has, and whether they can be used. [bc:kms]

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Request, fault, not_simulated};
use crate::{
    domain::id::Region,
    sim::world::{ApiFault, sns::ACCOUNT},
};

/// KMS of every Region.
#[derive(Debug, Default)]
pub struct Kms {
    /// By Region and by id or alias, as a client names it; whether the key is enabled.
    keys: BTreeMap<(Region, String), bool>,
}

impl Kms {
    /// Adds a key. For fixtures.
    pub fn add(&mut self, region: &Region, id: &str, enabled: bool) {
        self.keys.insert((region.clone(), bare(id).to_owned()), enabled);
    }

    pub(super) fn call(&mut self, operation: &str, call: &Request<'_>) -> Result<Value, ApiFault> {
        if operation != "DescribeKey" {
            return Err(not_simulated(&format!("kms:{operation}")));
        }
        let id = call.text("KeyId").ok_or_else(|| fault(400, "ValidationException", "KeyId is missing"))?;
        let arn = format!("arn:aws:kms:{}:{ACCOUNT}:key/{}", call.region, bare(id));
        let enabled = self.keys.get(&(call.region.clone(), bare(id).to_owned())).copied();
        let enabled = enabled.ok_or_else(|| fault(400, "NotFoundException", format!("Key '{arn}' does not exist")))?;
        Ok(json!({ "KeyMetadata": {
            "KeyId": bare(id),
            "Arn": arn,
            "Enabled": enabled,
            "KeyState": if enabled { "Enabled" } else { "Disabled" },
            "KeyUsage": "ENCRYPT_DECRYPT",
            "MultiRegion": bare(id).starts_with("mrk-"),
        } }))
    }
}

/// A key may be named by its ARN.
fn bare(id: &str) -> &str {
    id.rsplit_once(":key/").map_or(id, |(_, id)| id)
}
