//! `failoverd plan` over the production engine and the simulated AWS: what it shows, and that it changes nothing.

use std::{sync::Arc, time::Duration};

use failoverd::{
    cli,
    domain::{
        catalogue::OutputKind,
        plan::Purpose,
        run::{RunResult, StepState},
        stability,
    },
    engine::control::{Control, StartRun, Started, Wish},
    http::{
        Api,
        auth::{Role, Tokens},
        plan::{Known, LeadsBack, PlanView, PreconditionState},
        view::RunView,
    },
    sim::world::{Plane, Reach},
};
use tokio_util::sync::CancellationToken;

use crate::{
    http_api::entry,
    support::{Live, Played, Scene, payments, region},
};

/// The plan as the API shows it to `oncall`; bob and carol may approve.
async fn plan(live: &Live, request: StartRun) -> PlanView {
    let control: Arc<dyn Control> = Arc::new(live.engine.clone());
    let subject = request.subject.clone();
    let Ok(Started::Planned { plan, digest, .. }) = control.start_run(StartRun { dry_run: true, ..request }).await
    else {
        panic!("a dry run is answered with a plan")
    };
    let outlook = control.look_ahead(&plan, &subject).await;
    let entries = vec![
        entry("oncall", "t1", &[Role::Operator, Role::Approver]),
        entry("bob", "t2", &[Role::Approver]),
        entry("carol", "t3", &[Role::Viewer, Role::Approver]),
        entry("dan", "t4", &[Role::Admin]),
    ];
    let tokens = Tokens::new(entries).expect("valid");
    let api = Api::new(control, tokens, Arc::new(String::new), CancellationToken::new());
    PlanView::new(&plan, &digest, &Known { api: &api, subject: &subject, outlook: outlook.as_ref() })
}

/// As the command line prints it; the digest of this build's files is not the test's affair.
fn text(view: &PlanView) -> String {
    let text = cli::plan::plan(view);
    for line in text.lines().filter(|l| !l.starts_with("digest ")) {
        assert!(line.chars().count() <= 80 || !line.trim().contains(' ') || is_one_word_too_long(line), "{line}");
    }
    text.replace(&view.digest, "DIGEST")
}

/// An ARN alone may be longer than a line, and is not cut: it is there to be read.
fn is_one_word_too_long(line: &str) -> bool {
    line.split_whitespace().any(|word| 60 < word.chars().count())
}

/// Everything that the world was asked to change, and the length of the journal.
fn changes(live: &Live) -> (usize, u64) {
    let calls = live
        .world
        .now(|w| w.aurora.effects.len() + w.arc.effects.len() + w.route53.effects.len() + w.sns.delivered.len());
    (calls, live.engine.history(&payments()).expect("a history").tail.next_seq)
}

#[tokio::test(start_paused = true)]
async fn a_plan_of_each_shipped_runbook_is_as_written() {
    let scene = Scene::payments(21, 240);
    let live = scene.start(0).await;
    live.ready().await;
    live.pass(30).await;
    let before = changes(&live);
    insta::assert_snapshot!("plan_failover", text(&plan(&live, Live::request(Wish::Failover)).await));
    insta::assert_snapshot!("plan_switchover", text(&plan(&live, Live::request(Wish::Switchover)).await));
    let runbook = "drill-switchover".parse().expect("a name");
    insta::assert_snapshot!("plan_drill", text(&plan(&live, Live::request(Wish::Drill { runbook })).await));
    assert_eq!(changes(&live), before, "a plan changes nothing");
    let away = live.begin(Wish::Switchover).await;
    assert_eq!(live.outcome(&away, 3_600).await, Played::Finished(RunResult::Succeeded));
    live.pass(360).await;
    insta::assert_snapshot!("plan_failback", text(&plan(&live, Live::request(Wish::Failback)).await));
    // What was measured is told from what is declared.
    let again = plan(&live, StartRun { target: None, ..Live::request(Wish::Failback) }).await;
    assert_eq!(again.forecast.expect("a forecast").runs, 0, "no failback has been made yet");
}

#[tokio::test(start_paused = true)]
async fn a_plan_of_an_application_without_stores_is_as_written() {
    let mut scene = Scene::payments(22, 240);
    scene.application.stores.clear();
    scene.application.signals.retain(|s| !format!("{:?}", s.source).contains("AuroraLag"));
    let flip = "dns-flip".parse().expect("valid");
    scene.application.runbooks.values_mut().for_each(|name: &mut failoverd::domain::id::RunbookName| {
        name.clone_from(&flip);
    });
    let live = scene.start(0).await;
    live.until("the active Region is known", 120, |l| {
        l.engine.assessment(&payments()).is_some_and(|a| a.active_region.is_some())
    })
    .await;
    insta::assert_snapshot!("plan_dns_flip", text(&plan(&live, Live::request(Wish::Failover)).await));
}

#[tokio::test(start_paused = true)]
async fn with_the_source_gone_a_plan_is_there_in_five_seconds_and_changes_nothing() {
    let scene = Scene::payments(23, 240);
    let live = scene.start(0).await;
    live.ready().await;
    live.lose("us-east-1");
    live.pass(60).await;
    let before = changes(&live);
    let began = live.clock.boot();
    let view = plan(&live, Live::request(Wish::Failover)).await;
    let took = live.clock.boot() - began;
    assert!(took <= Duration::from_millis(5_100), "{took:?}");
    assert_eq!(changes(&live), before);
    let step = |id: &str| view.steps.iter().find(|s| s.id == id).expect(id);
    assert_eq!(step("check-target.main").precondition.state, PreconditionState::Met, "{view:#?}");
    assert_eq!(step("promote.main").precondition.state, PreconditionState::Met, "{view:#?}");
    let verify = &step("verify-writer.main").precondition;
    assert_eq!((verify.state, verify.after.as_slice()), (PreconditionState::NotMet, &["promote.main".to_owned()][..]));
    assert_eq!(view.point_of_no_return.as_deref(), Some("promote.main"));
    assert_eq!(view.approvals[0].by, ["bob", "carol"], "never the one who asks");
    assert!(view.rto_left_seconds.is_some_and(|left| left < view.rto_objective_seconds.expect("known")), "{view:#?}");
    assert_eq!(view.findings, [], "what ships depends on neither");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_answer_in_time_is_unknown_and_never_met() {
    let scene = Scene::payments(24, 240);
    let live = scene.start(0).await;
    live.ready().await;
    for name in ["us-east-1", "us-west-2"] {
        live.world.now(|w| w.set_plane(Plane::Rds, &region(name), Reach::Hangs));
    }
    let began = live.clock.boot();
    let view = plan(&live, Live::request(Wish::Failover)).await;
    assert!(live.clock.boot() - began <= Duration::from_millis(5_100));
    for id in ["check-target.main", "promote.main", "flip.api"] {
        let step = view.steps.iter().find(|s| s.id == id).expect(id);
        assert_eq!(step.precondition.state, PreconditionState::Unknown, "{id}: {:?}", step.precondition);
    }
}

/// A switchover with a call of its own, which declares no way back, between the change of roles and the traffic.
const NAMES_THE_WRITER: &str = r#"
runbook: names-the-writer
purpose: switchover
description: The databases exchange their roles, and a parameter says so before traffic moves.
steps:
  - { id: fit, action: gate.target }
  - { id: switch, action: aurora.switchover, needs: [fit] }
  - id: name-writer
    action: aws.call
    needs: [switch]
    with:
      service: ssm
      region: "{target}"
      operation: PutParameter
      arguments: { Name: /payments/writer, Value: "{target}", Overwrite: true }
      effect: reversible
      repeat: idempotent
      done_when:
        operation: GetParameter
        arguments: { Name: /payments/writer }
        that: answer.Parameter.Value == target
  - { id: verify, action: aurora.verify_writer, needs: [name-writer] }
  - { id: flip, action: dns.flip, needs: [verify] }
"#;

#[tokio::test(start_paused = true)]
async fn a_plan_says_from_where_no_step_leads_back_and_what_makes_the_writer() {
    let live = Scene::payments(26, 240).with_runbook(Purpose::Switchover, NAMES_THE_WRITER).start(0).await;
    live.ready().await;
    let view = plan(&live, Live::request(Wish::Switchover)).await;
    assert_eq!(view.point_of_no_return.as_deref(), Some("switch.main"));
    assert_eq!(view.why_no_return.as_deref(), Some("no step leads back, only a switchover back"));
    let step = |id: &str| view.steps.iter().find(|s| s.id == id).expect(id);
    let led = ["switch.main", "name-writer", "flip.api"].map(|id| step(id).leads_back);
    assert_eq!(led, [LeadsBack::AnotherRun, LeadsBack::Undeclared, LeadsBack::Undo]);
    for id in ["verify.main", "flip.api"] {
        assert_eq!(step(id).precondition.awaited.as_deref(), Some("switch.main"), "{id}: it alone makes a writer");
    }
    assert_eq!(step("name-writer").precondition.state, PreconditionState::Open, "false is not met");
    let shown = text(&view);
    for said in [
        "to do: ssm:GetParameter in us-west-2: `answer.Parameter.Value == target` is false",
        "from switch.main on: no step leads back, only a switchover back",
        "aurora.switchover (no way back but another run)",
        "aws.call (no way back is declared)",
        "(as is to be expected before switch.main)",
    ] {
        assert!(shown.split_whitespace().collect::<Vec<_>>().join(" ").contains(said), "{said}: {shown}");
    }
    assert!(!shown.contains("before name-writer"), "{shown}");
    let run = live.begin(Wish::Switchover).await;
    let head = cli::plan::summary(&RunView::new(&live.run(&run)));
    let head = head.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(head.contains("no step leads back from switch.main on"), "{head}");
}

#[tokio::test(start_paused = true)]
async fn what_a_call_would_look_at_and_is_not_there_is_unknown() {
    let text = NAMES_THE_WRITER.replace("/payments/writer", "/payments/nobody");
    let live = Scene::payments(27, 240).with_runbook(Purpose::Switchover, &text).start(0).await;
    live.ready().await;
    let view = plan(&live, Live::request(Wish::Switchover)).await;
    let name = &view.steps.iter().find(|s| s.id == "name-writer").expect("there").precondition;
    assert_eq!(name.state, PreconditionState::Unknown, "{name:?}");
    assert!(name.detail[0].contains("it is not there"), "{name:?}");
}

/// The catalogue's word against what the engine really leaves behind.
#[tokio::test(start_paused = true)]
async fn every_output_that_a_run_leaves_behind_is_declared_with_its_type() {
    let scene = Scene::payments(25, 240);
    let live = scene.start(0).await;
    live.ready().await;
    live.lose("us-east-1");
    let run = live.begin(Wish::Failover).await;
    live.approve(&run).await;
    assert_eq!(live.outcome(&run, 3_600).await, Played::Finished(RunResult::Succeeded));
    let run = live.run(&run);
    let mut seen = 0;
    for step in &run.plan.steps {
        let entry = stability::entry_of(&step.action).expect("every action has an entry");
        // A notice to the lost Region is not delivered, and nobody waits for it.
        let StepState::Done { outputs, .. } = &run.steps[&step.id] else { continue };
        for (name, value) in outputs {
            let declared = entry.outputs.iter().find(|o| o.name == name);
            let declared = declared.unwrap_or_else(|| panic!("{} leaves `{name}`, undeclared", entry.name));
            let fits = match declared.kind {
                OutputKind::Text => value.is_string(),
                OutputKind::Number => value.is_number(),
                OutputKind::Boolean => value.is_boolean(),
            };
            assert!(fits, "{} leaves {value} in `{name}`, declared {:?}", entry.name, declared.kind);
            seen += 1;
        }
    }
    assert!(2 <= seen, "the writer, the newest write");
}
