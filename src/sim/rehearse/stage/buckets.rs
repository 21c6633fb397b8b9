//! The buckets that an application replicates (stores of kind S3), with some objects: most are replicated, [`PENDING`] wait,
//! and one has failed. How far each is stays as it is; that is all that a salvage looks at.

use super::Stage;
use crate::domain::replica::ReplicatedStore;

/// Objects of each bucket that are replicated.
const COMPLETED: usize = 20;
/// Objects of each bucket that wait to be.
const PENDING: usize = 3;
/// Of each object.
const BYTES: usize = 100;

pub(super) fn build(stage: &mut Stage<'_>) {
    let now = stage.world.now;
    for store in stage.application.replicas.values() {
        let ReplicatedStore::S3 { buckets, rules } = store else { continue };
        for (region, bucket) in buckets {
            stage.world.s3.put_bucket(region, bucket);
        }
        for bucket in rules.iter().filter_map(|rule| buckets.get(&rule.from)) {
            let s3 = &mut stage.world.s3;
            (0..COMPLETED).for_each(|n| s3.seed_replicated(bucket, &format!("done/{n:02}"), BYTES, "COMPLETED", now));
            (0..PENDING).for_each(|n| s3.seed_replicated(bucket, &format!("waits/{n:02}"), BYTES, "PENDING", now));
            s3.seed_replicated(bucket, "failed/00", BYTES, "FAILED", now);
        }
    }
}
