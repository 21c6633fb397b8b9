//! Standby Takes Over Primary, rehearsed by its own configuration (config/examples/storefront): an object in S3 of the
//! standby moves traffic, whatever else is lost; and the real adapter against the wire face.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use failoverd::{
    adapters::aws,
    config::Settings,
    domain::{
        application::{Application, Mechanism},
        assessment::Assessment,
        cloud::{Mutation, ObserveError, Outcome},
        journal::Record,
        plan::Purpose,
        standby_object::ObjectAt,
    },
    engine::{
        control::{Control, StartRun, Started, Wish},
        outlook::Condition,
    },
    ports::Observer,
    sim::{
        rehearse::{
            Ending, Rehearsed, Setup,
            matrix::{self, Matrix, Undisturbed},
            run::rehearse,
        },
        scenario::Scenario,
        wire::{Fault, ManualClock, Options, Target, start},
        world::{
            Plane, Reach, SimTime, World,
            route53::fixture::{self, PaymentsTraffic},
            scenario,
        },
    },
};

use crate::support::{Live, Scene, payments as payments_name, scene};

const SEED: u64 = 3;

/// Traffic alone.
fn storefront() -> Setup {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/storefront.toml");
    let mut settings = Settings::load(&path, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults}"));
    let application = settings.applications.remove(0);
    Setup { application, runbooks: settings.runbooks, config_digest: settings.digest }
}

/// The payments application with its database, moved by the same mechanism.
fn payments() -> Setup {
    Setup { application: moved(scene::application()), ..storefront() }
}

fn moved(mut application: Application) -> Application {
    let Mechanism::StandbyObject { object, .. } = mechanism(&storefront().application) else { panic!("an object") };
    for traffic in application.traffic.values_mut() {
        traffic.mechanism = Mechanism::StandbyObject { object: object.clone(), url: None };
    }
    application
}

fn mechanism(application: &Application) -> Mechanism {
    application.traffic.values().next().expect("an entry").mechanism.clone()
}

/// What befalls a failover that is asked for a minute after the primary is lost.
fn disaster(happenings: &[&str], rest: &str) -> String {
    let more: String = happenings.iter().map(|h| format!("  - {{ {h} }}\n")).collect();
    format!(
        "scenario: standby-object\ndescription: as it says\nwarm_up: 5m\nhappenings:\n{more}\
         people:\n  ask: {{ wish: failover, when: recommended, after: 20s, accept_data_loss: 10m, repeats: true }}\n  \
         approver: {{ approves: 15s }}\n{rest}"
    )
}

#[track_caller]
fn played(setup: &Setup, text: &str) -> Rehearsed {
    let written = Scenario::parse("standby-object.yaml", text).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
    let scenario = written.resolve(&setup.application.regions).unwrap_or_else(|faults| panic!("{faults:?}"));
    let rehearsed = rehearse(setup, &scenario, SEED, true);
    assert!(
        rehearsed.violations.is_empty() && rehearsed.unmet.is_empty(),
        "{:#?} {:#?} {:?}\n{:#?}",
        rehearsed.violations,
        rehearsed.unmet,
        rehearsed.ending,
        rehearsed.trace
    );
    rehearsed
}

fn says(rehearsed: &Rehearsed, text: &str) -> bool {
    rehearsed.trace.iter().any(|line| line.text.contains(text))
}

const SERVED: &str =
    "lasts: 40m\nexpect: [{ run: { ends: succeeded } }, { traffic_in: standby }, { served: { within: 10m } }]\n";

#[test]
fn it_moves_traffic_with_the_primary_and_us_east_1_gone() {
    let gone = disaster(&["at: 1m, lose_region: us-east-1", "at: 1m, lose_region: primary"], SERVED);
    for setup in [storefront(), payments()] {
        assert_eq!(played(&setup, &gone).ending, Ending::Succeeded);
    }
}

#[test]
fn a_planned_move_and_the_way_home_lose_nobody() {
    for (active, wish, ends) in [("primary", "switchover", "standby"), ("standby", "failback", "primary")] {
        let text = format!(
            "scenario: standby-object\ndescription: as it says\nwarm_up: 5m\nactive: {active}\n\
             people: {{ ask: {{ wish: {wish}, at: 1m }} }}\nlasts: 30m\nexpect: [{{ run: {{ ends: succeeded }} }}, {{ traffic_in: {ends} }}]\n"
        );
        assert_eq!(played(&storefront(), &text).ending, Ending::Succeeded);
    }
}

#[test]
fn while_s3_of_the_standby_is_down_the_run_is_held_by_name_and_traffic_stays() {
    for reach in ["hangs", "unavailable", "denies-access"] {
        let down = format!("at: 30s, plane: {{ plane: s3, region: standby, reach: {reach} }}");
        let held = disaster(
            &[&down, "at: 1m, lose_region: primary"],
            "lasts: 60m\nexpect: [{ run: { ends: held } }, { traffic_in: primary }]\n",
        );
        let rehearsed = played(&storefront(), &held);
        assert!(says(&rehearsed, "s3:"), "{reach}: S3 is named: {:#?}", rehearsed.trace);
    }
}

#[test]
fn once_s3_answers_again_a_held_run_goes_on() {
    let down = "at: 30s, lasts: 30m, plane: { plane: s3, region: standby, reach: unavailable }";
    let text = disaster(
        &[down, "at: 1m, lose_region: primary"],
        "  resumes_after: 2m\nlasts: 90m\nexpect: [{ run: { ends: succeeded } }, { traffic_in: standby }]\n",
    );
    assert_eq!(played(&storefront(), &text).ending, Ending::Succeeded);
}

#[test]
fn an_answer_that_is_lost_late_or_garbled_and_a_call_that_arrives_twice_are_settled_by_looking() {
    for fault in ["lose-after", "lose-before", "hang", "duplicate", "server-error-after", "garbage", "late, by: 45s"] {
        let calls = format!("at: 0s, lasts: 150s, calls: {{ operation: \"s3:PutObject\", fault: {fault} }}");
        let expected = "lasts: 60m\nexpect: [{ run: { ends: succeeded } }, { traffic_in: standby }]\n";
        let rehearsed = played(&storefront(), &disaster(&[&calls, "at: 1m, lose_region: primary"], expected));
        assert_eq!(rehearsed.ending, Ending::Succeeded, "{fault}");
        assert!(!rehearsed.faults_met.is_empty(), "{fault}: nothing was met");
    }
}

/// Every `nth` cell of each table of `kind` ends as it should. The whole tables: `simulate --matrix`.
fn a_sample_ends_as_it_should(kind: Matrix, nth: usize) {
    let setup = storefront();
    let tables = matrix::tables(&setup, kind, SEED, &mut Undisturbed::default()).expect("it succeeds");
    for table in tables.iter().filter(|table| kind == Matrix::Undo || table.purpose == Purpose::Failover) {
        for (number, cell) in table.cells.iter().enumerate().step_by(nth) {
            let mut rehearsed = rehearse(&setup, &cell.scenario, SEED, false);
            cell.judge(&mut rehearsed);
            let wrong = (&rehearsed.violations, &rehearsed.unmet);
            assert!(
                rehearsed.violations.is_empty() && rehearsed.unmet.is_empty(),
                "{kind:?} {}, cell {number}: {}: {wrong:?}",
                table.purpose,
                cell.what
            );
        }
    }
}

#[test]
fn wherever_it_is_killed_it_goes_on() {
    a_sample_ends_as_it_should(Matrix::Crash, 13);
}

#[test]
fn wherever_a_step_is_troubled_it_succeeds_or_waits_for_a_person() {
    a_sample_ends_as_it_should(Matrix::Step, 3);
}

#[test]
fn what_is_aborted_leaves_the_object_as_it_was() {
    a_sample_ends_as_it_should(Matrix::Undo, 31);
}

/// What a plan made now would meet at its flip, in a world that `change` has touched.
async fn ahead(change: impl FnOnce(&mut World)) -> Condition {
    let text = "runbook: only-flip\npurpose: [failover, switchover, failback]\ndescription: d\nsteps:\n  \
                - { id: flip, action: dns.standby_object }\n";
    let mut scene = Scene::stateless(24, 240, text);
    scene.application = moved(scene.application);
    let live = scene.start(0).await;
    let knows = |live: &Live| live.engine.assessment(&payments_name()).is_some_and(|a| a.active_region.is_some());
    live.until("the active Region is known", 120, knows).await;
    live.world.now(change);
    let control: Arc<dyn Control> = Arc::new(live.engine.clone());
    let request = StartRun { dry_run: true, ..Live::request(Wish::Switchover) };
    let subject = request.subject.clone();
    let Ok(Started::Planned { plan, .. }) = control.start_run(request).await else { panic!("a plan") };
    let outlook = control.look_ahead(&plan, &subject).await.expect("an outlook");
    outlook.steps.into_iter().find(|step| step.step.as_str().starts_with("flip")).expect("a flip").condition
}

#[tokio::test(start_paused = true)]
async fn a_plan_tells_an_object_that_does_not_stand_for_where_the_application_lives() {
    let west = || scene::region("us-west-2");
    let bucket = |world: &mut World| world.s3.put_bucket(&west(), "storefront-standby");
    let met = |condition| match condition {
        Condition::Met { evidence } => evidence.join("; "),
        other => panic!("{other:?}"),
    };
    let well = met(ahead(bucket).await);
    assert!(well.contains("is absent") && !well.contains("WARNING"), "{well}");
    let drifted = met(ahead(|world| {
        bucket(world);
        let key = "storefront/traffic-to-standby";
        let now = world.now;
        world.s3.seed("storefront-standby", key, now);
    })
    .await);
    assert!(drifted.contains("WARNING") && drifted.contains("somebody has put it"), "{drifted}");
    let no_bucket = ahead(|_| ()).await;
    assert!(
        matches!(&no_bucket, Condition::NotMet { why } if why.contains("bucket storefront-standby")),
        "{no_bucket:?}"
    );
    let refused = ahead(|world| {
        bucket(world);
        world.set_plane(Plane::S3, &west(), Reach::DeniesAccess);
    })
    .await;
    assert!(matches!(&refused, Condition::Unknown { why } if why.contains("s3:ListBucket")), "{refused:?}");
}

#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {
    fn recorded(&self, _: &Record, _: f64) {}

    fn assessed(&self, _: &Assessment) {}

    fn called(&self, _: &str, _: &str, _: &str, _: &str, _: jiff::Timestamp) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_adapter_puts_looks_and_deletes_and_says_what_s3_says() {
    use failoverd::ports::Cloud as _;
    const START: SimTime = SimTime(1_795_219_200_000);
    let clock = ManualClock::new(START);
    let shown = clock.clone();
    let world = scenario::payments(7, START, &PaymentsTraffic::default());
    let mut options = Options::loopback(world, Arc::new(move || shown.now()));
    let began = jiff::Timestamp::now();
    options.dates = Some(Arc::new(move || SimTime(u64::try_from(began.as_millisecond()).expect("after 1970"))));
    let running = start(options).await.expect("the simulated AWS starts");
    let clock = Arc::new(failoverd::adapters::clock::SystemClock);
    let options = aws::Options::default();
    let sdk = aws::simulated_sdk_config(&running.aws_url, clock.clone(), &options);
    let cloud = aws::AwsCloud::new(sdk, clock, Arc::new(Nobody), options);
    let at = |region: &str, bucket: &str| ObjectAt {
        region: region.parse().expect("a Region"),
        bucket: bucket.to_owned(),
        key: fixture::OBJECT_KEY.to_owned(),
    };
    let there = at("us-west-2", fixture::OBJECT_BUCKET);
    let put = Mutation::PutObject { object: there.clone(), body: "here\n".to_owned() };
    assert_eq!(cloud.object_is_there(&there).await, Ok(false));
    for _ in 0..2 {
        assert!(matches!(
            cloud.apply(&put, jiff::Timestamp::now()).await,
            Outcome::Accepted { request_id: Some(_), .. }
        ));
        assert_eq!(cloud.object_is_there(&there).await, Ok(true));
    }
    running.faults.arm(Target::default(), Fault::ReplyLostAfter, 1);
    let delete = Mutation::DeleteObject { object: there.clone() };
    assert!(matches!(cloud.apply(&delete, jiff::Timestamp::now()).await, Outcome::Unknown { .. }));
    assert_eq!(cloud.object_is_there(&there).await, Ok(false), "it arrived, and looking tells");
    assert!(
        matches!(cloud.apply(&delete, jiff::Timestamp::now()).await, Outcome::Accepted { .. }),
        "of what is absent S3 says the same"
    );
    let (elsewhere, nobodys) = (at("us-east-1", fixture::OBJECT_BUCKET), at("us-west-2", "nobodys"));
    let Outcome::Rejected { code, message, .. } = cloud
        .apply(&Mutation::PutObject { object: elsewhere.clone(), body: "x".to_owned() }, jiff::Timestamp::now())
        .await
    else {
        panic!("a redirect is a refusal")
    };
    assert_eq!(code, "PermanentRedirect");
    assert!(message.starts_with("the bucket is in us-west-2"), "{message}");
    assert!(matches!(cloud.object_is_there(&elsewhere).await, Err(ObserveError::Rejected { .. })));
    let missing = cloud.object_is_there(&nobodys).await.expect_err("no bucket");
    assert_eq!(missing.to_string(), "bucket nobodys does not exist (NotFound)");
    running.stop().await;
}
