//! What befalls the clusters of one Region, and how it is taken back: headless, mismatched, lagging, stuck.
//!
//! Invariant: taking back restores what was there before; what was never broken is not touched.

use std::collections::btree_map::Entry;

use super::{Aurora, Context, Instance, LagMetric, LagSetting};
use crate::domain::id::Region;

/// What an undersized cluster lacks.
#[derive(Debug, Clone, Default)]
pub(super) struct Missing {
    instances: Vec<Instance>,
    /// Its only instance and its scaling, as they should be.
    shrunk: Option<(Instance, Option<(f64, f64)>)>,
}

impl Aurora {
    fn arns_in(&self, region: &Region) -> Vec<String> {
        self.clusters(region).map(|c| c.arn.clone()).collect()
    }

    /// Takes every instance of the clusters in `region` away, or gives them back.
    pub fn set_headless(&mut self, region: &Region, headless: bool) {
        for arn in self.arns_in(region) {
            let Some(cluster) = self.clusters.get_mut(&arn) else {
                continue;
            };
            if headless {
                let taken = std::mem::take(&mut cluster.instances);
                self.knobs.parked.entry(arn).or_default().extend(taken);
            } else if let Some(parked) = self.knobs.parked.remove(&arn) {
                cluster.instances.extend(parked);
            }
        }
    }

    /// Leaves the clusters in `region` one instance each of those that they should have (a smaller one, where they should
    /// have one only), or gives the others back.
    pub fn set_undersized(&mut self, region: &Region, undersized: bool) {
        for arn in self.arns_in(region) {
            let Some(cluster) = self.clusters.get_mut(&arn) else {
                continue;
            };
            if !undersized {
                let Some(Missing { instances, shrunk }) = self.knobs.missing.remove(&arn) else { continue };
                cluster.instances.extend(instances);
                let Some((proper, scaling)) = shrunk else { continue };
                cluster.scaling = scaling;
                let parked = self.knobs.parked.get_mut(&arn).into_iter().flatten();
                for instance in cluster.instances.iter_mut().chain(parked).filter(|i| i.id == proper.id) {
                    instance.class = proper.class.clone();
                }
            } else if let Entry::Vacant(missing) = self.knobs.missing.entry(arn) {
                let instances = cluster.instances.split_off(cluster.instances.len().min(1));
                let only = cluster.instances.first_mut().filter(|_| instances.is_empty());
                let shrunk = only.map(|only| {
                    let proper = (only.clone(), cluster.scaling);
                    only.class = smallest_of(&only.class);
                    proper
                });
                if shrunk.is_some() {
                    cluster.scaling = cluster.scaling.map(|(_, most)| (0.0, most));
                }
                missing.insert(Missing { instances, shrunk });
            }
        }
    }

    /// Whether a cluster in `region` has fewer or smaller instances than it should.
    pub fn is_undersized(&self, region: &Region) -> bool {
        self.clusters(region).any(|c| self.knobs.missing.contains_key(&c.arn))
    }

    /// Lets the clusters in `region` run another minor version than their global cluster, or the same again.
    pub fn set_mismatched(&mut self, region: &Region, mismatched: bool) {
        for arn in self.arns_in(region) {
            let Some(cluster) = self.clusters.get_mut(&arn) else {
                continue;
            };
            let proper = cluster.global.as_ref().and_then(|g| self.globals.get(g)).map(|g| g.engine_version.clone());
            let Some(proper) = proper else {
                continue;
            };
            cluster.engine_version = if mismatched { another_minor(&proper) } else { proper };
        }
    }

    /// Sets how the lag of every cluster in `region` behaves.
    pub fn set_lag_in(&mut self, region: &Region, setting: LagSetting) {
        for arn in self.arns_in(region) {
            self.set_lag(&arn, setting);
        }
    }

    /// Sets what the lag metric of every cluster in `region` shows.
    pub fn set_lag_metric_in(&mut self, region: &Region, metric: LagMetric) {
        for arn in self.arns_in(region) {
            self.set_lag_metric(&arn, metric);
        }
    }

    /// Lets every stuck operation go on.
    pub fn release_all_stuck(&mut self, ctx: &mut Context<'_>) {
        let ids: Vec<String> = self.globals.keys().cloned().collect();
        for id in ids {
            self.release_stuck(&id, ctx);
        }
    }
}

/// `db.r6g.medium` for `db.r6g.xlarge`; `db.serverless` has no size.
fn smallest_of(class: &str) -> String {
    match class.rsplit_once('.') {
        Some((family, _)) if family.contains('.') => format!("{family}.medium"),
        _ => class.to_owned(),
    }
}

/// `14.10` for `14.9`: what Aurora refuses as a target [AUG].
fn another_minor(version: &str) -> String {
    let mut parts: Vec<String> = version.split('.').map(str::to_owned).collect();
    match parts.get_mut(1).and_then(|minor| minor.parse::<u64>().ok().map(|n| (minor, n))) {
        Some((minor, n)) => *minor = (n + 1).to_string(),
        None => parts.insert(1, "1".to_owned()),
    }
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_minor_version_is_another_for_aurora_too() {
        assert_eq!(another_minor("14.9"), "14.10");
        assert_eq!(another_minor("14.9.2"), "14.10.2");
        assert_eq!(another_minor("16"), "16.1");
        assert_eq!(another_minor("8.0.mysql_aurora.3.04.0"), "8.1.mysql_aurora.3.04.0");
    }
}
