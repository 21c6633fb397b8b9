//! A run pins its plan: what is configured or written anew while it is under way is for the next one (FAULTS.md 74, 75).

use failoverd::{
    domain::{
        id::{Digest, RunId},
        plan::Purpose,
        run::RunResult,
    },
    engine::control::Wish,
};

use crate::support::{Played, Scene, incarnation};

const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);

const RUNBOOK: &str = "runbook: test\npurpose: [failover, switchover, failback]\ndescription: A test.\nsteps:\n\
                       \x20 - { id: settle, action: wait, with: { duration: 5m } }\n\
                       \x20 - { id: flip, action: dns.flip, needs: [settle] }\n\
                       \x20 - { id: report, action: notify, needs: [flip], with: { message: done } }\n";

/// Begins a run that waits, and dies.
fn begun(scene: &Scene) -> (RunId, Digest) {
    incarnation(async {
        let live = scene.start(0).await;
        live.ready().await;
        let run = live.begin(Wish::Switchover).await;
        live.until_running(&run, "settle").await;
        let digest = live.run(&run).plan_digest.clone();
        (run, digest)
    })
}

#[test]
fn a_configuration_that_changed_in_mid_run_is_for_the_next_run() {
    let mut scene = Scene::stateless(740, 240, RUNBOOK);
    let old = scene.config_digest.clone();
    let (run, digest) = begun(&scene);
    scene.application.topics.clear();
    scene.config_digest = Digest::of(b"another configuration");
    incarnation(async {
        let live = scene.start(5).await;
        assert_eq!(live.outcome(&run, 1_200).await, SUCCEEDED);
        let first = live.run(&run);
        assert_eq!((&first.plan_digest, &first.plan.config_digest), (&digest, &old), "as it was begun");
        assert!(first.steps.keys().any(|id| id.as_str().starts_with("report")), "whom it was to tell, it told");
        live.pass(60).await;
        let next = live.begin(Wish::Switchover).await;
        let next = live.run(&next);
        assert_eq!(next.plan.config_digest, scene.config_digest);
        assert!(!next.steps.keys().any(|id| id.as_str().starts_with("report")), "there is nobody to tell any more");
    });
}

#[test]
fn a_runbook_that_was_edited_in_mid_run_is_for_the_next_run() {
    let scene = Scene::stateless(750, 240, RUNBOOK);
    let (run, digest) = begun(&scene);
    let consent = "  - { id: consent, action: approve, with: { count: 1, expires_after: 5m, reason: why } }\n";
    let edited = RUNBOOK
        .replace("  - { id: settle", &format!("{consent}  - {{ id: settle"))
        .replace("{ id: settle, action: wait,", "{ id: settle, action: wait, needs: [consent],");
    let scene = [Purpose::Switchover, Purpose::Failback].into_iter().fold(scene, |s, p| s.with_runbook(p, &edited));
    incarnation(async {
        let live = scene.start(5).await;
        assert_eq!(live.outcome(&run, 1_200).await, SUCCEEDED, "nobody was asked");
        let first = live.run(&run);
        assert_eq!(first.plan_digest, digest);
        assert_eq!(first.plan.runbook_digest, Digest::of(b"runbook"));
        live.pass(60).await;
        let next = live.begin(Wish::Switchover).await;
        let next = live.run(&next);
        assert_eq!(next.plan.runbook_digest, Digest::of(edited.as_bytes()));
        assert!(next.steps.keys().any(|id| id.as_str() == "consent"));
    });
}
