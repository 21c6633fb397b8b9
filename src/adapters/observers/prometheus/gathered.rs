//! What is shown of what was gathered: nothing that grows old unseen.

use std::collections::BTreeSet;

use prometheus::proto::{Metric, MetricFamily, MetricType};

/// Without what an application's leader says, for the applications that this replica has left: all gauges but who leads,
/// what is held and what was promised.
pub(super) fn shown(mut families: Vec<MetricFamily>, left: &BTreeSet<String>) -> Vec<MetricFamily> {
    let stays = |name: &str| {
        ["failoverd_leader", "failoverd_application_held"].contains(&name) || name.ends_with("_objective_seconds")
    };
    let is_left = |metric: &Metric| {
        metric.get_label().iter().any(|label| label.name() == "application" && left.contains(label.value()))
    };
    for family in families.iter_mut().filter(|f| f.get_field_type() == MetricType::GAUGE && !stays(f.name())) {
        let kept = family.take_metric().into_iter().filter(|metric| !is_left(metric)).collect();
        family.set_metric(kept);
    }
    families.retain(|family| !family.get_metric().is_empty());
    families
}
