//! The client verbs against a served API over a fake engine: their exit codes, as scripts see them.

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use failoverd::{
    cli::{Cli, Command, client},
    domain::{
        id::StepId,
        journal::Event,
        plan::Purpose,
        preflight::{Check, Class, Direction, Kind, Preflight, State},
        run::RunResult,
    },
    engine::{
        control::{Refusal, Started},
        preflight::round::Now,
    },
    http::{
        auth::{Role, Tokens},
        server,
    },
};
use tokio::net::TcpListener;

use crate::http_api::{Fake, RUN, api, entry, finished, plan, run_id};

const DONE: u8 = 0;
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const REFUSED: u8 = 3;
const HELD: u8 = 4;

async fn serve(fake: &Arc<Fake>, tokens: Tokens) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    tokio::spawn(server::serve(listener, api(fake, tokens)));
    url
}

async fn run(url: &str, args: &[&str]) -> ExitCode {
    let all: Vec<&str> = ["failoverd", "--url", url].into_iter().chain(args.iter().copied()).collect();
    let cli = Cli::try_parse_from(all).unwrap_or_else(|e| panic!("{e}"));
    match cli.command {
        Command::Client(command) => {
            let done = client(&cli.options, command);
            tokio::time::timeout(Duration::from_secs(20), done).await.expect("a verb ends")
        }
        other => panic!("{other:?} is no client verb"),
    }
}

async fn check(fake: &Arc<Fake>, args: &[&str], code: u8) {
    let url = serve(fake, Tokens::open()).await;
    assert_eq!(run(&url, args).await, ExitCode::from(code), "{args:?}");
}

#[tokio::test]
async fn verbs_that_look_are_done() {
    let fake = Fake::new();
    for args in [
        &["status"][..],
        &["status", "payments", "--json"],
        &["runs", "--application", "payments", "--state", "running"],
        &["runs", "--json"],
        &["openapi"],
        &["completions", "bash"],
    ] {
        check(&fake, args, DONE).await;
    }
    check(&fake, &["status", "other"], FAILED).await;
    check(&fake, &["why", "payments"], FAILED).await;
    check(&fake, &["runs", "--limit", "900"], USAGE).await;
}

#[tokio::test]
async fn a_start_tells_apart_done_refused_held_and_misused() {
    let fake = Fake::new();
    let args = ["failover", "payments", "--mode", "failover", "--reason", "gone", "--accept-data-loss-seconds", "30"];
    check(&fake, &args, DONE).await;
    assert_eq!(fake.asked.lock().expect("lock")[0].accept_data_loss, Some(Duration::from_secs(30)));
    *fake.answer.lock().expect("lock") =
        Ok(Started::Planned { plan: Box::new(plan()), digest: plan().digest(), chosen: None });
    check(&fake, &["failback", "payments", "--reason", "back", "--dry-run"], DONE).await;
    let cases = [
        (Refusal::Gate { gate: "rpo", why: "lag".into(), satisfied_by: "consent".into() }, REFUSED),
        (Refusal::Held("its journal is corrupt".into()), HELD),
        (Refusal::AlreadyRunning { run: run_id(1), purpose: Purpose::Failover, escalate: "x".into() }, FAILED),
        (Refusal::Stopping, FAILED),
    ];
    for (refusal, code) in cases {
        fake.refuse(refusal);
        check(&fake, &args, code).await;
    }
    check(&fake, &["failover", "payments", "--reason", ""], USAGE).await;
    assert!(Cli::try_parse_from(["failoverd", "failover", "payments"]).is_err(), "a reason is needed");
}

/// What preflight has found a minute ago, with one check of each of these.
fn found(checks: &[(Class, State)]) -> Now {
    let check = |(class, state): &(Class, State)| Check {
        kind: Kind::Target,
        subject: "orders".to_owned(),
        region: Some(plan().target),
        class: *class,
        state: *state,
        seen: "RDS did not answer".to_owned(),
        expected: "it can be promoted".to_owned(),
        remedy: "look again".to_owned(),
    };
    let checks = checks.iter().map(check).collect();
    let directions = vec![Direction { source: plan().source, target: plan().target, checks }];
    let at = "2026-11-22T02:29:00Z".parse().expect("an instant");
    let found = Preflight { application: plan().application, at, directions };
    Now { found: Some(Arc::new(found)), rounds: 1, ..Now::default() }
}

/// A way out that was not seen to be open is none: a script that asks before a change is told so.
#[tokio::test]
async fn a_preflight_is_refused_where_what_could_block_is_not_known() {
    let met = (Class::Blocking, State::Met);
    for (checks, code) in [
        (&[met][..], DONE),
        (&[met, (Class::Blocking, State::Unknown)], REFUSED),
        (&[met, (Class::Blocking, State::NotMet)], REFUSED),
        (&[met, (Class::Degrading, State::Unknown)], DONE),
        (&[], REFUSED),
    ] {
        let fake = Fake::new();
        *fake.preflight.lock().expect("lock") = Some(found(checks));
        check(&fake, &["preflight", "payments"], code).await;
        check(&fake, &["preflight", "--json"], code).await;
    }
}

#[tokio::test]
async fn a_watch_ends_as_its_run_does() {
    for (result, code) in [(RunResult::Succeeded, DONE), (RunResult::Failed, FAILED), (RunResult::Aborted, FAILED)] {
        let fake = Fake::new();
        let url = serve(&fake, Tokens::open()).await;
        let watched = url.clone();
        let watching = tokio::spawn(async move { run(&watched, &["watch", RUN]).await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        let step: StepId = "consent".parse().expect("valid");
        fake.append(1, vec![Event::StepStarted { run: run_id(1), step, attempt: 1 }]);
        fake.append(2, vec![Event::RunFinished { run: run_id(1), result, reason: "so".into(), loss: None }]);
        assert_eq!(watching.await.expect("joins"), ExitCode::from(code));
        // Over already.
        assert_eq!(run(&url, &["watch", RUN, "--json"]).await, ExitCode::from(code));
    }
}

#[tokio::test]
async fn a_watch_ends_held_but_a_hold_in_the_past_is_history() {
    let fake = Fake::new();
    let held = || Event::RunHeld {
        run: run_id(1),
        step: None,
        code: "gate-refused".into(),
        reason: "lag".into(),
        waits_for: "consent".into(),
    };
    fake.append(1, vec![held()]);
    check(&fake, &["watch", RUN], HELD).await;
    let subject = "ann".parse().expect("valid");
    fake.append(2, vec![Event::RunResumed { run: run_id(1), subject, reason: "seen".into() }]);
    fake.append(3, vec![finished(run_id(1))]);
    check(&fake, &["watch", RUN], DONE).await;
    check(&fake, &["watch", &run_id(8).to_string()], FAILED).await;
}

#[tokio::test]
async fn people_act_from_the_command_line() {
    let fake = Fake::new();
    let digest = plan().digest();
    let digest = digest.as_str();
    check(&fake, &["approve", RUN, "consent", "--digest", digest, "--reason", "yes"], DONE).await;
    check(&fake, &["pause", RUN, "--reason", "wait"], DONE).await;
    check(&fake, &["resume", RUN, "--digest", digest, "--reason", "go"], DONE).await;
    check(&fake, &["abort", RUN, "--reason", "stop", "--digest", &"0".repeat(64)], FAILED).await;
    check(&fake, &["retry", RUN, "consent", "--digest", digest, "--reason", "mended"], DONE).await;
    check(&fake, &["skip", RUN, "consent", "--digest", digest, "--reason", "by hand"], DONE).await;
    check(&fake, &["skip", RUN, "consent", "--digest", &"0".repeat(64), "--reason", "by hand"], FAILED).await;
    assert_eq!(fake.acted.lock().expect("lock").len(), 5);
}

#[tokio::test]
async fn without_a_daemon_or_with_a_wrong_token_a_verb_fails() {
    let fake = Fake::new();
    let tokens = Tokens::new(vec![entry("bob", "good", &[Role::Viewer])]).expect("valid");
    let url = serve(&fake, tokens).await;
    assert_eq!(run(&url, &["status", "--token", "good"]).await, ExitCode::SUCCESS);
    assert_eq!(run(&url, &["status", "--token", "bad"]).await, ExitCode::from(FAILED));
    assert_eq!(run("http://127.0.0.1:1", &["status"]).await, ExitCode::from(FAILED));
    assert_eq!(run("not a url", &["status"]).await, ExitCode::from(USAGE));
}

#[tokio::test]
async fn overrides_are_set_listed_and_taken_back_from_the_command_line() {
    let fake = Fake::new();
    let arm = [
        "arm",
        "payments",
        "--from",
        "us-east-1",
        "--to",
        "us-west-2",
        "--largest-loss",
        "30s",
        "--expires",
        "24h",
        "--reason",
        "the quarter's end",
    ];
    check(&fake, &arm, DONE).await;
    let asked = fake.history.lock().expect("lock").overrides.all().next().expect("asked").clone();
    assert_eq!(asked.expires_at.duration_since(asked.asked_at).as_secs(), 86_400);
    let id = asked.id.to_string();
    check(&fake, &["overrides"], DONE).await;
    check(&fake, &["overrides", "payments", "--json"], DONE).await;
    check(&fake, &["overrides", "other"], FAILED).await;
    check(&fake, &["disarm", "payments", "--reason", "over"], DONE).await;
    assert!(fake.history.lock().expect("lock").overrides.get(&asked.id).is_some_and(|o| o.ended.is_some()));
    check(&fake, &["disarm", "payments", "--reason", "over"], DONE).await;
    check(&fake, &["kill-switch", "payments", "on", "--reason", "a storm"], DONE).await;
    check(&fake, &["kill-switch", "--all", "on", "--reason", "a storm", "--expires", "1h"], DONE).await;
    assert_eq!(fake.history.lock().expect("lock").overrides.in_force(crate::http_api::at(3)).count(), 2);
    check(&fake, &["kill-switch", "--all", "off", "--reason", "it is over", "--json"], DONE).await;
    assert_eq!(fake.history.lock().expect("lock").overrides.in_force(crate::http_api::at(3)).count(), 0);
    check(&fake, &["kill-switch", "payments", "--reason", "x"], USAGE).await;
    check(&fake, &["kill-switch", "payments", "maybe", "--reason", "x"], USAGE).await;
    check(&fake, &["acknowledge", RUN, "--reconciled", "--reason", "looked at it"], DONE).await;
    check(&fake, &["waive", "dwell", "--app", "payments", "--expires", "20m", "--reason", "now"], DONE).await;
    check(&fake, &["waive", "luck", "--app", "payments", "--expires", "20m", "--reason", "now"], USAGE).await;
    let refusals = [
        (Refusal::Arming { why: "lag".into(), satisfied_by: "a sample".into() }, REFUSED),
        (Refusal::TooManyOverrides { kind: "waive", standing: 32 }, FAILED),
    ];
    for (refusal, code) in refusals {
        *fake.override_answer.lock().expect("lock") = Err(refusal);
        check(&fake, &arm, code).await;
        check(&fake, &["consent", &id, "--reason", "yes"], code).await;
    }
}
