//! A cluster that leaves its global cluster.

use serde_json::json;

use super::{Stage, USE1, USW2, cluster, region};

#[track_caller]
fn finds(stage: &Stage, property: &str, says: &str) {
    let found = stage.oracle.violations();
    assert!(found.iter().any(|v| v.property == property && v.text.contains(says)), "{found:#?}");
}

#[test]
fn a_detachment_of_the_writer_or_of_another_cluster_than_the_plans_target_is_found() {
    let mut stage = Stage::approved_failover();
    let wrong = json!({
        "call": "aurora_detach", "region": USE1, "global_cluster": "payments", "target": cluster(USE1),
    });
    stage.intend_call("promote", 1, wrong);
    finds(&stage, "S9", "was the writer already");
    finds(&stage, "S9", "detached by mistake");
    finds(&stage, "S14", "not call 0 of the plan");
}

#[test]
fn a_detachment_of_a_cluster_without_an_instance_is_found_and_its_version_does_not_matter() {
    let intended = |change: fn(&mut crate::sim::world::aurora::Cluster)| {
        let mut stage = Stage::new();
        stage.world.with_aurora(|aurora, _| change(aurora.cluster_mut(&cluster(USW2)).expect("known")));
        stage.pass(1);
        stage.start("failover", USE1, USW2, Some(60.0));
        let right = json!({
            "call": "aurora_detach", "region": USW2, "global_cluster": "payments", "target": cluster(USW2),
        });
        stage.intend_call("promote", 1, right);
        stage
    };
    finds(&intended(|c| c.instances.clear()), "S9", "has no instance");
    let other = intended(|c| "15.2".clone_into(&mut c.engine_version));
    assert!(!other.oracle.violations().iter().any(|v| v.property == "S9"), "{:?}", other.oracle.violations());
}

#[test]
fn after_a_detachment_the_stores_writer_is_the_cluster_that_stands_alone() {
    let mut stage = Stage::approved_failover();
    let (at, arn) = (region(USW2), cluster(USW2));
    stage
        .world
        .with_aurora(|aurora, ctx| aurora.remove_from_global_cluster(&at, "payments", &arn, ctx))
        .expect("taken");
    stage.look();
    let busy = |stage: &Stage| stage.oracle.truth.ever("payments", (stage.world.now, stage.world.now), |_, busy| busy);
    assert!(busy(&stage), "until it takes writes nothing is settled");
    stage.pass(300);
    stage.look();
    assert_eq!(stage.oracle.truth.writer_at("payments", stage.world.now), Some(arn.as_str()));
    assert!(!busy(&stage));
    let moved = stage.oracle.truth.promotions.last().expect("the role moved");
    assert!(moved.is_lossy && !moved.is_fenced);
}
