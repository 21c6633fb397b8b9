//! The parameters of a cluster's parameter group, as far as anybody here asks for them.
//!
//! Deliberately only told: no parameter changes how a cluster behaves. What `rds.global_db_rpo` would do to commits is in
//! AWS.md 1.2, and is not simulated.

use super::{super::ApiFault, Aurora};
use crate::domain::id::Region;

/// One parameter of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    /// `None`: nobody has set it, and the engine's default is not told.
    pub value: Option<String>,
}

/// Every group of aurora-postgresql has these, and hundreds more [AUG].
const LISTED: [&str; 3] = ["max_connections", "rds.force_ssl", "rds.global_db_rpo"];

impl Aurora {
    /// The parameters of the cluster parameter group `group`, by name.
    ///
    /// # Errors
    /// Where no cluster in `region` has such a group.
    pub fn cluster_parameters(&self, region: &Region, group: &str) -> Result<Vec<Parameter>, ApiFault> {
        let cluster = self.clusters(region).find(|c| c.parameter_group() == group);
        let cluster = cluster.ok_or_else(|| ApiFault {
            status: 404,
            code: "DBParameterGroupNotFound",
            message: format!("DBClusterParameterGroup not found: {group}"),
        })?;
        let mut names: Vec<String> = LISTED.iter().map(|name| (*name).to_owned()).collect();
        names.extend(cluster.parameters.keys().filter(|name| !LISTED.contains(&name.as_str())).cloned());
        names.sort();
        let parameter = |name: String| Parameter { value: cluster.parameters.get(&name).cloned(), name };
        Ok(names.into_iter().map(parameter).collect())
    }
}
