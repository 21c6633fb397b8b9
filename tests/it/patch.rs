//! The patch for infrastructure code against the simulated world: what was before and what is after are the world's own,
//! and what is written is read by other people's parsers.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use failoverd::{
    cli,
    domain::{
        id::RunId,
        patch::{Addresses, Patch, Said},
        plan::Purpose,
        run::{RunResult, RunState},
    },
    engine::control::{Act, Control, Wish},
    http::{patch::PatchView, view::RunView},
    sim::{
        port::Fault,
        world::{
            World,
            route53::fixture::{CONTROL_USE1_ARN, CONTROL_USW2_ARN},
        },
    },
};
use serde_json::{Value, json};

use crate::{
    support::{Live, Played, Scene, payments, region},
    wire_face::{scripts, venv},
};

const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);
const EAST: &str = "arn:aws:rds:us-east-1:123456789012:cluster:payments-use1";
const WEST: &str = "arn:aws:rds:us-west-2:123456789012:cluster:payments-usw2";
const PAGE: &str = include_str!("../../docs/infrastructure-as-code.md");

/// What the world has of everything that the patch of a run of this application may name.
fn state(world: &World) -> BTreeMap<String, Value> {
    let (east, west) = (region("us-east-1"), region("us-west-2"));
    let aurora = &world.aurora;
    let members = [EAST, WEST].map(|arn| aurora.cluster(arn).expect("there"));
    let writes = |arn: &&str| format!("{:?}", aurora.cluster(arn).expect("there").membership) == "Writer";
    let writer = [EAST, WEST].into_iter().find(writes);
    let global = aurora.globals().next().expect("one");
    let mut state = BTreeMap::from([(format!("{} global_cluster_members[is_writer]", global.arn), json!(writer))]);
    for member in members {
        let follows = writer.filter(|arn| *arn != member.arn);
        state.insert(format!("{} replication_source_identifier", member.arn), json!(follows));
    }
    for control in [CONTROL_USE1_ARN, CONTROL_USW2_ARN] {
        let word = if world.arc.is_set_on(control).expect("there") { "On" } else { "Off" };
        state.insert(format!("{control} state"), json!(word));
    }
    let services = &world.services;
    let mut note = |id: &str, value: Value| state.insert(id.to_owned(), value);
    if let Some(parameter) = services.ssm.parameter(&west, "/payments/writer") {
        note("ssm:us-west-2:/payments/writer value", json!(parameter.value));
    }
    if let Some(function) = services.lambda.function(&east, "payments-api") {
        note("lambda:us-east-1:payments-api reserved_concurrent_executions", json!(function.reserved));
    }
    if let Some(rule) = services.events.rule(&west, "payments-nightly") {
        let word = if rule.enabled { "ENABLED" } else { "DISABLED" };
        note("events:us-west-2:payments-nightly state", json!(word));
    }
    if let Some(service) = services.ecs.service(&east, "payments", "worker") {
        note("ecs:us-east-1:payments/worker desired_count", json!(service.desired));
    }
    state
}

fn key(change: &failoverd::domain::patch::Change) -> String {
    format!("{} {}", change.resource.id, change.terraform.attribute)
}

/// Every value that `patch` knows is the world's own, every difference of the world is in it, and nothing else is.
#[track_caller]
fn holds(patch: &Patch, before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) {
    for change in &patch.changes {
        let key = key(change);
        if let Said::Known { value, .. } = &change.before {
            assert_eq!(value, &before[&key], "{key} before");
        }
        let Said::Known { value, .. } = &change.after else { panic!("{change:?}") };
        assert_eq!(value, &after[&key], "{key} after");
    }
    let told: Vec<String> = patch.changes.iter().map(key).collect();
    for (id, value) in after {
        assert_eq!(before[id] != *value, told.contains(id), "{id}: {} -> {value}, and {told:?}", before[id]);
    }
}

fn patch(live: &Live, scene: &Scene, run: &RunId) -> Patch {
    Patch::of(&live.run(run), Some(&scene.application))
}

fn net(live: &Live, scene: &Scene) -> Patch {
    let history = live.engine.history(&payments()).expect("a history");
    let mut runs: Vec<&RunState> = history.runs.values().map(AsRef::as_ref).collect();
    runs.sort_by_key(|run| run.started_at);
    Patch::net(&scene.application, runs.into_iter())
}

fn seen(live: &Live) -> BTreeMap<String, Value> {
    live.world.now(|w| state(w))
}

#[tokio::test(start_paused = true)]
async fn a_failover_is_in_the_patch_as_the_world_has_it_and_a_failback_empties_the_net() {
    let scene = Scene::payments(91, 240);
    let live = scene.start(0).await;
    live.ready().await;
    let home = seen(&live);
    live.lose("us-east-1");
    let away = live.begin(Wish::Failover).await;
    live.until_running(&away, "approve").await;
    let early = patch(&live, &scene, &away);
    assert!(early.changes.is_empty() && early.note().expect("a note").contains("must wait"), "{early:?}");
    live.approve(&away).await;
    assert_eq!(live.outcome(&away, 3_600).await, SUCCEEDED);
    let moved = seen(&live);
    let first = patch(&live, &scene, &away);
    holds(&first, &home, &moved);
    assert_eq!(first.changes.len(), 5, "the writer, two clusters, two routing controls: {first:?}");
    assert_eq!(first.at_risk(), 2);
    let report = cli::render::run(&RunView::new(&live.run(&away)));
    let report = report.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(report.contains("would undo or break 2 changes"), "{report}");
    assert!(report.contains("failoverd patch payments-"), "{report}");

    live.world.now(|w| w.restore_region(&region("us-east-1")));
    live.pass(120).await;
    live.reconcile(&away).await;
    let back = live.begin(Wish::Failback).await;
    assert_eq!(live.outcome(&back, 14 * 3_600).await, SUCCEEDED);
    assert_eq!(seen(&live), home, "everything is as it was");
    holds(&patch(&live, &scene, &back), &moved, &home);
    let net = net(&live, &scene);
    assert_eq!(net.changes, [], "nothing of both stands");
    assert_eq!((net.runs.len(), net.note()), (2, None));
}

#[tokio::test(start_paused = true)]
async fn a_promotion_of_unknown_fate_is_in_the_patch_of_the_run_that_is_held() {
    let scene = Scene::payments(92, 240);
    let live = scene.start(0).await;
    live.ready().await;
    live.lose("us-east-1");
    let run = live.begin(Wish::Failover).await;
    live.faults.arm("rds:FailoverGlobalCluster", Fault::LoseAfter);
    live.approve(&run).await;
    live.until("the call is lost", 600, |live| !patch(live, &scene, &run).changes.is_empty()).await;
    let lost = patch(&live, &scene, &run);
    assert!(lost.changes.iter().all(|c| c.certainty.as_str() == "unknown"), "{lost:?}");
    let note = lost.note().expect("a note");
    assert!(note.contains("must wait") && note.contains("2 changes made so far"), "{note}");
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    assert!(patch(&live, &scene, &run).changes.iter().all(|c| c.certainty.as_str() == "observed"));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_taken_back_leaves_nothing_in_its_patch() {
    let text = "runbook: half\npurpose: switchover\ndescription: Moves the traffic and then waits.\nsteps:\n  \
                - { id: flip, title: Move, action: dns.flip }\n  \
                - { id: pause, title: Wait, action: wait, needs: [flip], with: { duration: 1h } }\n";
    let scene = Scene::stateless(93, 240, text);
    let live = scene.start(0).await;
    live.until("the active Region is known", 120, |l| {
        l.engine.assessment(&payments()).is_some_and(|a| a.active_region.is_some())
    })
    .await;
    let home = seen(&live);
    let run = live.begin(Wish::Switchover).await;
    live.until_running(&run, "pause").await;
    let half = patch(&live, &scene, &run);
    holds(&half, &home, &seen(&live));
    assert_eq!(half.changes.len(), 2, "{half:?}");
    live.act(&run, Act::Abort).await.expect("aborted");
    assert_eq!(live.outcome(&run, 3_600).await, Played::Finished(RunResult::Aborted));
    assert_eq!(seen(&live), home);
    assert_eq!(patch(&live, &scene, &run).changes, []);
}

/// The documented switchover of docs/aws-call.md, with a function, tasks, a parameter and a rule.
fn with_services(seed: u64) -> Scene {
    let docs = include_str!("../../docs/aws-call.md");
    let blocks = docs.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().expect("closed"));
    let whole = blocks.into_iter().find(|text| text.starts_with("runbook: switchover-with")).expect("a whole one");
    let mut scene = Scene::payments(seed, 240).with_runbook(Purpose::Switchover, whole);
    let terraform = [
        (EAST, "module.database.aws_rds_cluster.east"),
        (WEST, "module.database.aws_rds_cluster.west"),
        ("ecs:us-east-1:payments/worker", "aws_ecs_service.worker[\"us-east-1\"]"),
        ("ssm:us-west-2:/payments/writer", "aws_ssm_parameter.writer"),
    ];
    let stacks = [
        ("ssm:us-west-2:/payments/writer", "payments-west/WriterParameter"),
        ("events:us-west-2:payments-nightly", "payments-west/Nightly"),
        ("lambda:us-east-1:payments-api", "payments-east/Api"),
        ("ecs:us-east-1:payments/worker", "payments-east/Worker"),
    ];
    scene.application.iac = Addresses {
        terraform: terraform.map(|(id, a)| (id.to_owned(), a.parse().expect("valid"))).into(),
        cloudformation: stacks.map(|(id, a)| (id.to_owned(), a.parse().expect("valid"))).into(),
    };
    scene
}

/// Plays it, and shows the patch of the run.
async fn switched_over(seed: u64) -> (PatchView, Patch, [BTreeMap<String, Value>; 2]) {
    let scene = with_services(seed);
    let live = scene.start(0).await;
    live.ready().await;
    let home = seen(&live);
    let run = live.begin(Wish::Switchover).await;
    assert_eq!(live.outcome(&run, 7_200).await, SUCCEEDED);
    let patch = patch(&live, &scene, &run);
    (PatchView::new(&patch, Some(&scene.application)), patch, [home, seen(&live)])
}

#[tokio::test(start_paused = true)]
async fn calls_of_services_are_in_the_patch_as_the_world_has_them() {
    let (_, patch, [before, after]) = switched_over(94).await;
    holds(&patch, &before, &after);
    let services = patch.changes.iter().filter(|c| !c.resource.id.starts_with("arn:")).collect::<Vec<_>>();
    assert_eq!(services.len(), 4, "{services:?}");
    assert!(services.iter().all(|c| matches!(c.before, Said::Unknown { .. })), "nothing was read before: {services:?}");
}

/// One block of the page, by the line before it.
fn block<'a>(page: &'a str, head: &str) -> &'a str {
    let from = page.split_once(head).unwrap_or_else(|| panic!("the page has `{head}`")).1;
    from.split_once("\n").expect("a line").1.split_once("\n```").expect("it ends").0
}

#[tokio::test(start_paused = true)]
async fn the_page_shows_what_a_real_run_prints() {
    let (view, ..) = switched_over(95).await;
    let text = cli::patch::text(&view);
    for line in text.lines() {
        let is_whole = line.split_whitespace().any(|word| 60 < word.chars().count());
        assert!(line.chars().count() <= 80 || is_whole, "{line}");
    }
    let shown = [
        ("```text failoverd patch", text),
        ("```hcl", cli::patch::terraform(&view)),
        ("```json", cli::patch::cloudformation(&view)),
    ];
    let run = view.runs[0].clone();
    let mut page = PAGE.to_owned();
    for (head, text) in &shown {
        let text = text.replace(&run, "RUN");
        page = page.replace(&format!("{}\n```", block(PAGE, head)), &format!("{}\n```", text.trim_end()));
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/infrastructure-as-code.md");
        std::fs::write(path, &page).expect("written");
        return;
    }
    assert!(page == PAGE, "docs/infrastructure-as-code.md differs: UPDATE_GOLDEN=1 rewrites it; review the diff");
}

/// python-hcl2 reads what goes into the override files; jsonpatch applies what goes into the templates.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_peoples_parsers_read_the_files_and_apply_the_patches() {
    let venv = venv().await;
    let view = std::thread::spawn(|| crate::support::incarnation(switched_over(96)).0).join().expect("played");
    let mut child = Command::new(venv.join("bin/python"))
        .arg(scripts().join("iac_patch.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    let sent = serde_json::to_vec(&view).expect("serialises");
    child.stdin.take().expect("piped").write_all(&sent).expect("written");
    let out = child.wait_with_output().expect("it ends");
    assert!(out.status.success(), "see its output above");
    let read: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let ignored = ["global_cluster_identifier", "replication_source_identifier", "source_region"];
    assert_eq!(read["terraform"]["module.database"]["aws_rds_cluster"]["west"]["ignore_changes"], json!(ignored));
    assert_eq!(read["terraform"][""]["aws_ssm_parameter"]["writer"]["value"], "us-west-2");
    assert_eq!(read["terraform"][""]["aws_ecs_service"]["worker"]["ignore_changes"], json!(["desired_count"]));
    let west = &read["stacks"]["payments-west"]["Resources"];
    assert_eq!(west["WriterParameter"]["Properties"]["Value"], "us-west-2");
    assert_eq!(west["Nightly"]["Properties"]["State"], "ENABLED");
    let east = &read["stacks"]["payments-east"]["Resources"];
    assert_eq!(east["Api"]["Properties"]["ReservedConcurrentExecutions"], 0);
    assert_eq!(east["Worker"]["Properties"]["DesiredCount"], 0);
}
