//! What never changes while the process runs.

use std::sync::Arc;

use prometheus::Registry;

use super::gauges;
use crate::domain::application::Application;

/// Objectives and the build.
pub(super) fn promises(registry: &Registry, applications: &[Arc<Application>]) -> Result<(), prometheus::Error> {
    let rpo = gauges(registry, "failoverd_rpo_objective_seconds", "The RPO that was promised.", &["application"])?;
    let rto = gauges(registry, "failoverd_rto_objective_seconds", "The RTO that was promised.", &["application"])?;
    let build = gauges(registry, "failoverd_build_info", "Always 1.", &["version"])?;
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
    for application in applications {
        let name = application.name.as_str();
        let objectives = application.objectives;
        rpo.with_label_values(&[name]).set(objectives.rpo.as_secs_f64());
        rto.with_label_values(&[name]).set(objectives.rto.as_secs_f64());
    }
    Ok(())
}
