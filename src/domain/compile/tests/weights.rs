//! Ramps: the exact calls of each mechanism, and what is refused.

use super::*;
use crate::domain::{
    action::Action,
    application::WeightedRecord,
    ramp::Ramp,
    signal::{Signal, SignalRole, SignalSource},
};

fn probe(of: &str, role: SignalRole) -> Signal {
    let source = SignalSource::HttpProbe {
        url: format!("https://{of}.example.com/healthz"),
        of: region(of),
        timeout: Duration::from_secs(2),
    };
    signal(&format!("{of}-health"), role, source)
}

fn signal(name: &str, role: SignalRole, source: SignalSource) -> Signal {
    Signal {
        name: name.parse().expect("a name"),
        role,
        source,
        period: Duration::from_secs(5),
        freshness: Duration::from_secs(20),
        consecutive: 3,
    }
}

fn weighted_records() -> Mechanism {
    Mechanism::Records { set_identifiers: both("use1".to_owned(), "usw2".to_owned()) }
}

fn weighted_controls() -> Mechanism {
    let record = |set_identifier: &str, check: &str| WeightedRecord {
        set_identifier: set_identifier.to_owned(),
        health_check_id: check.to_owned(),
    };
    Mechanism::RoutingControls {
        endpoints: Vec::new(),
        controls: both("control-east".to_owned(), "control-west".to_owned()),
        weighted: both(record("use1", "check-east"), record("usw2", "check-west")),
    }
}

fn shared(mechanism: Mechanism) -> Application {
    let mut app = an_application(&["orders"], mechanism);
    app.stores.values_mut().for_each(|db| db.written_from_all_regions = true);
    app.signals = vec![probe(EAST, SignalRole::Trigger), probe(WEST, SignalRole::Trigger)];
    let lag = SignalSource::AuroraLag { store: "orders".parse().expect("a name") };
    app.signals.push(signal("lag", SignalRole::Gate, lag));
    app
}

fn homeward(app: &Application) -> Result<Plan, Vec<String>> {
    plan(app, &parsed("failback-gradual"), Purpose::Failback, WEST, EAST)
}

fn ramp(app: &Application) -> Ramp {
    let plan = homeward(app).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let found = plan.steps.into_iter().find_map(|s| match s.action {
        Action::DnsWeights(ramp) => Some(*ramp),
        _ => None,
    });
    found.expect("a ramp")
}

/// A line per call: role, share, and what it sets.
fn calls(ramp: &Ramp) -> String {
    let line = |(n, call): (usize, &crate::domain::ramp::RampCall)| {
        let sets = match &call.mutation {
            Mutation::UpsertRecords { records, .. } => records
                .iter()
                .map(|r| {
                    let check = r.health_check_id.as_deref().unwrap_or("no check");
                    format!("{}={} ({check})", r.set_identifier.as_deref().unwrap_or("-"), r.weight.unwrap_or(u8::MAX))
                })
                .collect::<Vec<_>>()
                .join(", "),
            Mutation::RoutingControls { states, .. } => format!("{states:?}"),
            other => format!("{other:?}"),
        };
        format!("{n} {:?} {}: {sets}\n", call.role, call.percent)
    };
    ramp.calls.iter().enumerate().map(line).collect()
}

#[test]
fn a_ramp_of_records_is_a_batch_for_each_step_and_one_for_each_way_back() {
    let ramp = ramp(&shared(weighted_records()));
    assert_eq!(
        calls(&ramp),
        "0 Step 5: use1=5 (no check), usw2=95 (no check)\n\
         1 Step 25: use1=25 (no check), usw2=75 (no check)\n\
         2 Step 50: use1=50 (no check), usw2=50 (no check)\n\
         3 Step 100: use1=100 (no check), usw2=0 (no check)\n\
         4 Back 0: use1=0 (no check), usw2=100 (no check)\n\
         5 Back 5: use1=5 (no check), usw2=95 (no check)\n\
         6 Back 25: use1=25 (no check), usw2=75 (no check)\n\
         7 Back 50: use1=50 (no check), usw2=50 (no check)\n"
    );
    assert_eq!(
        ramp.guard.signals,
        ["us-east-1-health".parse().expect("a name")],
        "the triggers that tell of the target"
    );
    assert_eq!(ramp.requires_writer.len(), 1);
}

#[test]
fn below_routing_controls_weights_move_between_both_on_and_one_off() {
    let ramp = ramp(&shared(weighted_controls()));
    let text = calls(&ramp);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "0 Prepare 0: use1=0 (check-east), usw2=100 (check-west)");
    assert_eq!(lines[1], "1 Prepare 0: {\"control-east\": true, \"control-west\": true}");
    assert_eq!(lines[2], "2 Step 5: use1=5 (check-east), usw2=95 (check-west)");
    assert_eq!(lines[6], "6 Finish 100: {\"control-east\": true, \"control-west\": false}");
    assert_eq!(lines[7], "7 Back 0: use1=0 (check-east), usw2=100 (check-west)");
    assert_eq!(lines.len(), 11);
}

#[test]
fn the_digest_covers_every_call_and_the_plan_reads_back() {
    let plan = homeward(&shared(weighted_controls())).expect("compiles");
    let back: Plan = serde_json::from_slice(&serde_json::to_vec(&plan).expect("serialises")).expect("deserialises");
    assert_eq!(back, plan);
    let mut other = plan.clone();
    let ramp = other.steps.iter_mut().find_map(|s| match &mut s.action {
        Action::DnsWeights(ramp) => Some(ramp),
        _ => None,
    });
    ramp.expect("a ramp").calls.pop();
    assert_ne!(other.digest(), plan.digest(), "a way back is a part of what is approved");
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Application), says: &str) {
    let mut app = shared(weighted_records());
    change(&mut app);
    let faults = homeward(&app).expect_err("refused").join("\n");
    assert!(faults.contains(says), "{faults}");
}

#[test]
fn what_cannot_be_shared_or_guarded_is_refused_with_the_reason() {
    refused(
        |app| app.stores.values_mut().for_each(|db| db.written_from_all_regions = false),
        "`written_from_all_regions = true`",
    );
    refused(|app| app.traffic.values_mut().for_each(|t| t.mechanism = controls()), "dns `api` has no weighted records");
    refused(|app| app.signals.retain(|s| s.name.as_str() != "us-east-1-health"), "no signal with the role trigger");
    refused(|app| app.signals[0].period = Duration::from_mins(2), "shorter than signal `us-east-1-health` needs");
}

#[test]
fn a_guard_names_signals_of_the_application_that_tell_how_requests_are_served() {
    let with_guard = |signals: &str| {
        let text = format!(
            "runbook: r\npurpose: failback\ndescription: d\nsteps:\n  - id: v\n    title: v\n    action: \
             aurora.verify_writer\n  - id: w\n    title: w\n    action: dns.weights\n    needs: [v]\n    with: {{ ramp: \
             [50, 100], hold_for: 1m, guard: {{ signals: [{signals}] }} }}\n"
        );
        let (runbook, _) = Runbook::parse("r.yaml", &text).unwrap_or_else(|f| panic!("{f:#?}"));
        plan(&shared(weighted_records()), &runbook, Purpose::Failback, WEST, EAST)
    };
    assert!(with_guard("us-west-2-health").is_ok(), "the source's signals may guard as well");
    assert!(with_guard("nobody").expect_err("unknown").join("").contains("has no signal `nobody`"));
    assert!(with_guard("lag").expect_err("a lag").join("").contains("is a lag"));
}
