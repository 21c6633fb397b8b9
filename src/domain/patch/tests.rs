use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::*;
use crate::domain::{
    action::Action,
    api_call::{ApiCall, AwsCall, JsonVersion, OnUnknown, Wire},
    application::ClusterEndpoint,
    cloud::{Mutation, Outcome, RecordSet},
    history::{
        History,
        tests::{at, plan, run_id},
    },
    id::{Digest, Subject},
    journal::{Event, Request},
    plan::{OnFailure, Plan, Purpose, Retry},
    run::RunResult,
    undo::Prior,
};

/// How far the one step of a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Far {
    /// Its calls are intended and nothing was answered.
    Sent,
    /// AWS took them.
    Taken,
    /// AWS refused the last of them.
    Refused,
    Done,
    /// Done, and then taken back.
    Undone,
}

fn person() -> Subject {
    "ann".parse().expect("a subject")
}

fn step_id() -> StepId {
    "move".parse().expect("an id")
}

fn planned(action: Action) -> Plan {
    let step = PlannedStep {
        id: step_id(),
        title: String::new(),
        needs: [].into(),
        when: None,
        action,
        timeout: Duration::from_secs(1),
        retry: Retry { attempts: 1, backoff: Duration::ZERO },
        on_failure: OnFailure::Hold,
        no_return: false,
        towards: Default::default(),
    };
    Plan { steps: vec![step], ..plan(Purpose::Switchover) }
}

/// A run of one step with one call, before which `prior` and `guards` were found.
fn played(action: Action, far: Far, prior: Option<Prior>, guards: &[&str]) -> Arc<RunState> {
    let plan = planned(action.clone());
    let request = Request {
        purpose: Purpose::Switchover,
        subject: person(),
        reason: "why".to_owned(),
        idempotency_key: None,
        body_digest: Digest::zero(),
        supersedes: None,
        armed: None,
    };
    let (run, step, guards) = (run_id(1), step_id(), guards.iter().map(|g| (*g).to_owned()).collect());
    let mutation = action.mutations().remove(0);
    let mut history = History::new(plan.application.clone());
    let mut second = 0;
    let mut say = |event: Event| {
        second += 1;
        history = history.check(at(second), &[event]).expect("legal");
        Arc::clone(&history.runs[&run_id(1)])
    };
    say(Event::RunStarted { run: run.clone(), request, plan: Box::new(plan), evidence_since: None });
    let intent = Event::Intent { run: run.clone(), step: step.clone(), attempt: 1, call: 0, mutation, guards, prior };
    let sent = say(intent);
    if far == Far::Sent {
        return sent;
    }
    let took = Outcome::Accepted { request_id: None, handle: None };
    let refused = Outcome::Rejected { code: "No".to_owned(), message: String::new(), request_id: None };
    let outcome = if far == Far::Refused { refused } else { took.clone() };
    let taken = say(Event::Answered { run: run.clone(), step: step.clone(), attempt: 1, call: 0, outcome });
    if matches!(far, Far::Taken | Far::Refused) {
        return taken;
    }
    if far == Far::Done {
        say(Event::StepDone { run: run.clone(), step, evidence: Vec::new(), outputs: BTreeMap::new() });
        let (result, reason) = (RunResult::Succeeded, String::new());
        return say(Event::RunFinished { run, result, reason, loss: None });
    }
    let code = "step-timeout".to_owned();
    let failed = Event::StepFailed {
        run: run.clone(),
        step: step.clone(),
        attempt: 1,
        code,
        reason: String::new(),
        nothing_happened: false,
    };
    say(failed);
    let aborting = say(Event::AbortRequested { run: run.clone(), subject: person(), reason: "no".to_owned() });
    let back = aborting.inverse_of(&aborting.plan.steps[0]).expect("it was seen").mutations().remove(0);
    let (attempt, call) = (1, 0);
    let intended =
        Event::UndoIntended { run: run.clone(), step: step.clone(), attempt, call, mutation: back, guards: Vec::new() };
    say(intended);
    say(Event::UndoAnswered { run: run.clone(), step: step.clone(), attempt, call, outcome: took });
    say(Event::StepUndone { run, step, evidence: Vec::new() })
}

fn flip(call: Mutation) -> Action {
    Action::DnsFlip {
        traffic: "api".parse().expect("a name"),
        to: "us-west-2".parse().expect("a Region"),
        calls: vec![call],
        standing: false,
        requires_writer: Vec::new(),
    }
}

fn record(values: &[&str], weight: Option<u8>) -> RecordSet {
    RecordSet {
        name: "api.example.com.".to_owned(),
        record_type: "A".to_owned(),
        ttl_seconds: Some(60),
        values: values.iter().map(|v| (*v).to_owned()).collect(),
        set_identifier: weight.map(|_| "use1".to_owned()),
        failover: None,
        weight,
        health_check_id: None,
    }
}

fn upsert(record: RecordSet) -> Action {
    flip(Mutation::UpsertRecords { hosted_zone_id: "Z1".to_owned(), records: vec![record], comment: String::new() })
}

fn cluster(region: &str, name: &str) -> crate::domain::application::ClusterArn {
    format!("arn:aws:rds:{region}:123456789012:cluster:{name}").parse().expect("an ARN")
}

fn switchover() -> Action {
    Action::AuroraSwitchover {
        store: "main".parse().expect("a name"),
        global_cluster: "payments".to_owned(),
        from: cluster("us-east-1", "payments-use1"),
        target: cluster("us-west-2", "payments-usw2"),
        observe_in: Vec::new(),
    }
}

fn call(operation: &str, arguments: Value, undo: Option<(&str, Value)>) -> Action {
    let request = |operation: &str, arguments: Value| ApiCall {
        operation: operation.to_owned(),
        region: "us-west-2".parse().expect("a Region"),
        wire: Wire::Json { target: "X".to_owned(), version: JsonVersion::V1_1 },
        arguments,
        role_arn: None,
        handle: None,
    };
    let call = |request, undo| AwsCall {
        request,
        effect: EffectClass::Reversible,
        idempotent: true,
        done_when: None,
        on_unknown: OnUnknown::Hold,
        outputs: BTreeMap::new(),
        undo,
        restores: None,
    };
    let undo = undo.map(|(operation, arguments)| Box::new(call(request(operation, arguments), None)));
    Action::AwsCall { call: Box::new(call(request(operation, arguments), undo)) }
}

fn changes(run: &RunState) -> Vec<Change> {
    Patch::of(run, None).changes
}

/// `id attribute: before -> after (remedy)`, as Terraform has it.
fn lines(run: &RunState) -> Vec<String> {
    let line = |c: &Change| {
        let (before, after) = (terraform::said(&c.before), terraform::said(&c.after));
        let (attribute, remedy) = (&c.terraform.attribute, c.terraform.remedy.as_str());
        format!("{} {attribute}: {before} -> {after} ({remedy})", c.resource.id)
    };
    changes(run).iter().map(line).collect()
}

const SEEN: &[&str] = &["read from us-east-1 and us-west-2: payments available, writer payments-use1"];

#[test]
fn an_exchange_of_roles_tells_each_cluster_what_to_look_away_from() {
    let run = played(switchover(), Far::Done, None, SEEN);
    let (east, west) = (cluster("us-east-1", "payments-use1"), cluster("us-west-2", "payments-usw2"));
    assert_eq!(
        lines(&run),
        [
            format!(
                "arn:aws:rds::123456789012:global-cluster:payments global_cluster_members[is_writer]: {east} -> {west} (leave)"
            ),
            format!("{west} replication_source_identifier: {east} -> none (ignore)"),
            format!("{east} replication_source_identifier: none -> {west} (ignore)"),
        ]
    );
    assert_eq!(Patch::of(&run, None).at_risk(), 2);
    let Remedy::Ignore(ignored) = changes(&run)[1].terraform.remedy else { panic!("ignored") };
    assert_eq!(ignored, ["global_cluster_identifier", "replication_source_identifier", "source_region"]);
    assert!(changes(&run).iter().all(|c| c.cloudformation.remedy == Remedy::Leave));
}

#[test]
fn roles_that_the_journal_has_not_seen_before_are_unknown_and_not_those_of_the_plan() {
    let run = played(switchover(), Far::Done, None, &[]);
    for change in changes(&run) {
        assert!(matches!(change.before, Said::Unknown { .. }), "{change:?}");
    }
}

#[test]
fn a_record_set_has_the_attributes_that_the_call_has_changed_and_what_was_there() {
    let prior = Prior::Records { records: vec![record(&["192.0.2.1"], Some(100))] };
    let run = played(upsert(record(&["192.0.2.1"], Some(0))), Far::Done, Some(prior), &[]);
    assert_eq!(lines(&run), ["Z1_api.example.com_A_use1 weighted_routing_policy.weight: 100 -> 0 (write)"]);
    let unseen = played(upsert(record(&["198.51.100.1"], None)), Far::Done, None, &[]);
    assert_eq!(
        lines(&unseen),
        [
            "Z1_api.example.com_A records: unknown -> [\"198.51.100.1\"] (write)",
            "Z1_api.example.com_A ttl: unknown -> 60 (write)",
        ]
    );
    let new = Prior::Records { records: Vec::new() };
    let created = played(upsert(record(&["198.51.100.1"], None)), Far::Done, Some(new), &[]);
    assert_eq!(lines(&created)[0], "Z1_api.example.com_A records: none -> [\"198.51.100.1\"] (write)");
    let text = &terraform::files(&Patch::of(&created, None), &Addresses::default())[0].text;
    assert!(text.contains("terraform import 'ADDRESS' 'Z1_api.example.com_A'"), "{text}");
}

#[test]
fn what_is_in_no_code_is_told_and_puts_nothing_at_risk() {
    let states = |west: bool| BTreeMap::from([("arn:c/east".to_owned(), !west), ("arn:c/west".to_owned(), west)]);
    let endpoint = ClusterEndpoint { region: "us-west-2".parse().expect("a Region"), url: "https://arc".to_owned() };
    let call = Mutation::RoutingControls { endpoints: vec![endpoint], states: states(true) };
    let prior = Prior::RoutingControls { states: states(false) };
    let run = played(flip(call), Far::Done, Some(prior), &[]);
    assert_eq!(lines(&run), ["arn:c/east state: On -> Off (nothing)", "arn:c/west state: Off -> On (nothing)"]);
    assert_eq!(Patch::of(&run, None).note(), None);
    let put = Mutation::PutMetric {
        region: "us-west-2".parse().expect("a Region"),
        namespace: "Failoverd".to_owned(),
        metric: "PrimaryInService".to_owned(),
        dimensions: BTreeMap::new(),
        value: 0.0,
    };
    let run = played(flip(put), Far::Done, Some(Prior::Metric { value: 1.0, basis: "it stands".to_owned() }), &[]);
    assert_eq!(lines(&run), ["cloudwatch:us-west-2:Failoverd/PrimaryInService value: 1.0 -> 0.0 (nothing)"]);
    assert!(changes(&run)[0].terraform.otherwise.contains("again every minute"));
}

/// A call → what the patch says, and the JSON Patch of its template.
#[track_caller]
fn check(operation: &str, arguments: Value, terraform: &[&str], stack: Value) {
    let run = played(call(operation, arguments, None), Far::Done, None, &[]);
    assert_eq!(lines(&run), terraform);
    let stacks = cloudformation::stacks(&Patch::of(&run, None), &Addresses::default());
    let ops: Vec<&Value> = stacks.iter().flat_map(|s| &s.patch).collect();
    assert_eq!(json!(ops), stack);
}

fn add(label: &str, property: &str, value: Value) -> Value {
    json!({ "op": "add", "path": format!("/Resources/FILL_IN_{label}/Properties/{property}"), "value": value })
}

#[test]
fn the_known_services_have_their_attributes_and_properties() {
    check(
        "ecs:UpdateService",
        json!({ "cluster": "payments", "service": "worker", "desiredCount": 3, "forceNewDeployment": true }),
        &["ecs:us-west-2:payments/worker desired_count: unknown -> 3 (write)"],
        json!([add("us_west_2_payments_worker", "DesiredCount", json!(3))]),
    );
    check(
        "lambda:PutFunctionConcurrency",
        json!({ "FunctionName": "api", "ReservedConcurrentExecutions": 0 }),
        &["lambda:us-west-2:api reserved_concurrent_executions: unknown -> 0 (write)"],
        json!([add("us_west_2_api", "ReservedConcurrentExecutions", json!(0))]),
    );
    check(
        "lambda:DeleteFunctionConcurrency",
        json!({ "FunctionName": "api" }),
        &["lambda:us-west-2:api reserved_concurrent_executions: unknown -> -1 (write)"],
        json!([{ "op": "remove", "path": "/Resources/FILL_IN_us_west_2_api/Properties/ReservedConcurrentExecutions" }]),
    );
    check(
        "lambda:UpdateFunctionConfiguration",
        json!({ "FunctionName": "api", "Environment": { "Variables": { "ROLE": "writer" } } }),
        &["lambda:us-west-2:api environment.variables: unknown -> {\"Variables\":{\"ROLE\":\"writer\"}} (write)"],
        json!([add("us_west_2_api", "Environment", json!({ "Variables": { "ROLE": "writer" } }))]),
    );
    check(
        "ssm:PutParameter",
        json!({ "Name": "/payments/writer", "Value": "us-west-2", "Overwrite": true }),
        &["ssm:us-west-2:/payments/writer value: unknown -> us-west-2 (write)"],
        json!([add("us_west_2__payments_writer", "Value", json!("us-west-2"))]),
    );
    check(
        "events:EnableRule",
        json!({ "Name": "nightly" }),
        &["events:us-west-2:nightly state: unknown -> ENABLED (write)"],
        json!([add("us_west_2_nightly", "State", json!("ENABLED"))]),
    );
    check(
        "autoscaling:SetDesiredCapacity",
        json!({ "AutoScalingGroupName": "web", "DesiredCapacity": 4 }),
        &["autoscaling:us-west-2:web desired_capacity: unknown -> 4 (write)"],
        json!([add("us_west_2_web", "DesiredCapacity", json!("4"))]),
    );
}

#[test]
fn a_secret_is_never_told_in_any_form() {
    let arguments = json!({ "SecretId": "db", "SecretString": "hunter2" });
    let run = played(call("secretsmanager:PutSecretValue", arguments, None), Far::Done, None, &[]);
    let patch = Patch::of(&run, None);
    assert_eq!(lines(&run), ["secretsmanager:us-west-2:db secret_string: (secret) -> (secret) (ignore)"]);
    let (files, stacks) =
        (terraform::files(&patch, &Addresses::default()), cloudformation::stacks(&patch, &Addresses::default()));
    let all = format!("{patch:?}{files:?}{stacks:?}");
    assert!(!all.contains("hunter2"), "{all}");
    assert!(files[0].text.contains("ignore_changes = [secret_string]"), "{}", files[0].text);
}

#[test]
fn an_effect_that_is_not_known_is_listed_to_be_looked_at() {
    let arguments = json!({ "TableName": "t", "ReplicaUpdates": [] });
    let run = played(call("dynamodb:UpdateTable", arguments, None), Far::Done, None, &[]);
    assert_eq!(
        lines(&run),
        ["dynamodb:us-west-2:step move everything that dynamodb:UpdateTable changes: unknown -> unknown (look)"]
    );
    assert_eq!(Patch::of(&run, None).at_risk(), 1);
    let text = &terraform::files(&Patch::of(&run, None), &Addresses::default())[0].text;
    assert!(text.contains("look yourself"), "{text}");
    let known = json!({ "cluster": "c", "service": "s", "desiredCount": 1, "platformVersion": "1.4.0" });
    let run = played(call("ecs:UpdateService", known, None), Far::Done, None, &[]);
    assert_eq!(lines(&run)[1], "ecs:us-west-2:c/s platformVersion: unknown -> unknown (look)");
}

#[test]
fn what_the_runbook_would_put_back_is_told_and_is_not_what_was_there() {
    let back = Some(("ecs:UpdateService", json!({ "cluster": "c", "service": "s", "desiredCount": 7 })));
    let arguments = json!({ "cluster": "c", "service": "s", "desiredCount": 3 });
    let run = played(call("ecs:UpdateService", arguments, back), Far::Done, None, &[]);
    let before = changes(&run).remove(0).before;
    let Said::Unknown { why } = &before else { panic!("{before:?}") };
    assert!(why.contains("undo (ecs:UpdateService) would set 7"), "{why}");
}

#[test]
fn a_call_that_is_refused_or_taken_back_is_not_in_it_and_one_of_unknown_fate_is() {
    let prior = || Some(Prior::Records { records: vec![record(&["192.0.2.1"], None)] });
    let certainty = |far| {
        let run = played(upsert(record(&["198.51.100.1"], None)), far, prior(), &[]);
        changes(&run).first().map(|change| change.certainty)
    };
    assert_eq!(certainty(Far::Sent), Some(Certainty::Unknown));
    assert_eq!(certainty(Far::Taken), Some(Certainty::Accepted));
    assert_eq!(certainty(Far::Refused), None);
    assert_eq!(certainty(Far::Done), Some(Certainty::Observed));
    assert_eq!(certainty(Far::Undone), None);
    let run = played(upsert(record(&["198.51.100.1"], None)), Far::Taken, prior(), &[]);
    let note = Patch::of(&run, None).note().expect("a note");
    assert!(note.contains("must wait") && note.contains("1 change"), "{note}");
}

#[test]
fn what_one_change_has_put_back_is_not_in_the_net() {
    let prior = Prior::Records { records: vec![record(&["192.0.2.1"], None)] };
    let there = changes(&played(upsert(record(&["198.51.100.1"], None)), Far::Done, Some(prior.clone()), &[]));
    let new = Prior::Records { records: vec![record(&["198.51.100.1"], None)] };
    let back = changes(&played(upsert(record(&["192.0.2.1"], None)), Far::Done, Some(new.clone()), &[]));
    assert_eq!(netted([there.clone(), back].concat()), []);
    // Nobody knows whether the way back has arrived.
    let lost = changes(&played(upsert(record(&["192.0.2.1"], None)), Far::Sent, Some(new), &[]));
    let net = netted([there.clone(), lost].concat());
    assert_eq!((net.len(), net[0].certainty), (1, Certainty::Unknown));
    // What was there first was not seen.
    let blind = changes(&played(upsert(record(&["192.0.2.1"], None)), Far::Done, None, &[]));
    let net = netted([blind, there].concat());
    assert!(matches!(net[0].before, Said::Unknown { .. }), "{net:?}");
}

fn mapped(terraform: &[(&str, &str)], stacks: &[(&str, &str)]) -> Addresses {
    let addresses =
        |of: &[(&str, &str)]| of.iter().map(|(id, a)| ((*id).to_owned(), (*a).to_owned())).collect::<Vec<_>>();
    Addresses {
        terraform: addresses(terraform).into_iter().map(|(id, a)| (id, a.parse().expect("valid"))).collect(),
        cloudformation: addresses(stacks).into_iter().map(|(id, a)| (id, a.parse().expect("valid"))).collect(),
    }
}

#[test]
fn each_module_gets_a_file_of_its_own_and_an_instance_of_several_no_value() {
    let run = played(upsert(record(&["198.51.100.1"], None)), Far::Done, None, &[]);
    let patch = Patch::of(&run, None);
    let files = |address| terraform::files(&patch, &mapped(&[("Z1_api.example.com_A", address)], &[]));
    let own = files("module.dns.aws_route53_record.api");
    assert_eq!((own.len(), own[0].module.as_str()), (1, "module.dns"));
    assert!(
        own[0]
            .text
            .contains("resource \"aws_route53_record\" \"api\" {\n  records = [\"198.51.100.1\"]\n  ttl = 60\n}"),
        "{}",
        own[0].text
    );
    let several = files("aws_route53_record.api[\"west\"]");
    assert!(several[0].text.contains("ignore_changes = [records, ttl]"), "{}", several[0].text);
    assert!(!several[0].text.contains("  records ="), "{}", several[0].text);
    let wrong = files("aws_rds_cluster.west");
    assert!(wrong[0].text.contains("resource \"aws_route53_record\" \"FILL_IN_"), "{}", wrong[0].text);
    assert!(wrong[0].text.contains("aws_rds_cluster.west is of another kind"), "{}", wrong[0].text);
}

#[test]
fn each_stack_gets_a_patch_of_its_own() {
    let run = played(upsert(record(&["198.51.100.1"], None)), Far::Done, None, &[]);
    let stacks = cloudformation::stacks(&Patch::of(&run, None), &mapped(&[], &[("Z1_api.example.com_A", "dns/Api")]));
    assert_eq!((stacks.len(), stacks[0].stack.as_str()), (1, "dns"));
    assert_eq!(
        stacks[0].patch,
        [
            json!({ "op": "add", "path": "/Resources/Api/Properties/ResourceRecords", "value": ["198.51.100.1"] }),
            json!({ "op": "add", "path": "/Resources/Api/Properties/TTL", "value": "60" }),
        ]
    );
}

#[test]
fn no_value_can_leave_its_quotes_or_its_comment() {
    let evil = "x\"\n}\nresource \"a\" \"b\" {\n${file(\"/etc/passwd\")} %{if} \\";
    let arguments = json!({ "Name": evil, "Value": evil });
    let run = played(call("ssm:PutParameter", arguments, None), Far::Done, None, &[]);
    let text = &terraform::files(&Patch::of(&run, None), &Addresses::default())[0].text;
    assert!(
        text.contains(r#"value = "x\"\n}\nresource \"a\" \"b\" {\n$${file(\"/etc/passwd\")} %%{if} \\""#),
        "{text}"
    );
    assert_eq!(text.lines().filter(|l| l.starts_with("resource ")).count(), 1, "{text}");
}
