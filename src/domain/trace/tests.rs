use std::time::Duration;

use super::*;
use crate::domain::{
    application::Objectives,
    cloud::Outcome,
    history::tests::{at, done, finished, intent, run_id, started, step},
    journal::SCHEMA_VERSION,
    plan::Purpose,
    run::RunResult,
};

const FO: Purpose = Purpose::Failover;

fn tracing() -> Tracing {
    let application = Application {
        name: run_id(1).application(),
        regions: vec!["us-east-1".parse().expect("a Region"), "us-west-2".parse().expect("a Region")],
        objectives: Objectives { rto: Duration::from_secs(600), rpo: Duration::from_secs(30) },
        stores: BTreeMap::new(),
        replicas: BTreeMap::new(),
        traffic: BTreeMap::new(),
        signals: Vec::new(),
        endpoints: BTreeMap::new(),
        public_url: None,
        runbooks: BTreeMap::new(),
        drills: Vec::new(),
        schedules: Vec::new(),
        prove_within: None,
        topics: Vec::new(),
        policy: Default::default(),
        iac: Default::default(),
    };
    Tracing::new([Arc::new(application)].iter())
}

fn record(second: i64, events: Vec<Event>) -> Record {
    let (journal, prev_hash) = (run_id(1).application(), crate::domain::id::Digest::zero());
    Record { journal, seq: 0, epoch: 1, at: at(second), schema_version: SCHEMA_VERSION, events, prev_hash }
}

fn answered(id: &str) -> Event {
    let outcome = Outcome::Accepted { request_id: Some("req-1".to_owned()), handle: None };
    Event::Answered { run: run_id(1), step: step(id), attempt: 1, call: 0, outcome }
}

fn call(operation: &str, second: i64, status: Option<u16>) -> CloudCall {
    CloudCall {
        service: "rds".to_owned(),
        operation: operation.to_owned(),
        region: "us-west-2".parse().expect("a Region"),
        outcome: if status == Some(200) { "ok" } else { "unknown" },
        began: at(second),
        ended: at(second + 1),
        attempts: 1,
        http_status: status,
        request_id: status.map(|_| "req-1".to_owned()),
    }
}

fn behalf(number: Option<(u32, u32)>) -> Behalf {
    Behalf { run: run_id(1), step: step("promote"), way: Way::Forth, call: number }
}

fn get<'a>(span: &'a Span, name: &str) -> Option<&'a Value> {
    span.attributes.iter().find_map(|(n, value)| (*n == name).then_some(value))
}

#[test]
fn a_trace_has_the_digits_of_its_run_and_no_id_is_zero() {
    assert_eq!(TraceId::of(&run_id(0xfeed)).to_string(), format!("{:032x}", 0xfeed));
    assert_ne!(TraceId::of(&run_id(0)).to_bytes(), [0; 16]);
    assert_ne!(SpanId::of(&[]).to_bytes(), [0; 8]);
    assert_ne!(SpanId::of(&["a", "b"]), SpanId::of(&["ab"]));
}

/// ARC has five endpoints; a variable of a function is read before it is written.
#[test]
fn a_call_that_took_several_is_one_span_and_the_others_are_below_it() {
    let mut tracing = tracing();
    assert_eq!(tracing.recorded(&record(0, vec![started(FO, 1)])), []);
    // Before the step begins in the journal, a reading is the run's.
    let early = tracing.called(&behalf(None), &call("DescribeGlobalClusters", 1, Some(200))).expect("a span");
    assert_eq!(early.parent, Some(root(&run_id(1))));
    assert_eq!(tracing.recorded(&record(2, vec![intent(FO, "promote")])), []);
    let needed = tracing.called(&behalf(Some((1, 0))), &call("DescribeDBClusters", 2, Some(200))).expect("a span");
    assert_eq!(tracing.called(&behalf(Some((1, 0))), &call("FailoverGlobalCluster", 3, None)), None);
    let first = tracing.called(&behalf(Some((1, 0))), &call("FailoverGlobalCluster", 4, Some(200))).expect("the first");
    let spans = tracing.recorded(&record(5, vec![answered("promote")]));
    let [span] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!((span.began, span.ended, span.status), (at(2), at(5), Status::Ok));
    assert_eq!(get(span, "http.response.status_code"), Some(&Value::Number(200)));
    assert_eq!(get(span, "aws.request_id"), Some(&Value::Text("req-1".to_owned())));
    assert_eq!((first.parent, needed.parent), (Some(span.id), Some(span.id)));
    assert_eq!((first.began, get(&first, "failoverd.outcome")), (at(3), Some(&Value::Text("unknown".to_owned()))));
    let after = tracing.called(&behalf(None), &call("DescribeGlobalClusters", 6, Some(200))).expect("a span");
    let again = tracing.called(&behalf(None), &call("DescribeGlobalClusters", 6, Some(200))).expect("a span");
    assert_ne!(after.id, again.id, "two readings of one instant are two");
    let steps = tracing.recorded(&record(7, vec![done("promote", &[])]));
    assert_eq!((after.parent, span.parent), (Some(steps[0].id), Some(steps[0].id)));
}

/// What was under way when another process took over ends in the spans that it had, with the times of the journal.
#[test]
fn who_takes_over_ends_what_was_open_and_nothing_else() {
    let events = [
        (0, vec![started(FO, 1)]),
        (1, vec![Event::StepStarted { run: run_id(1), step: step("gate"), attempt: 1 }]),
        (2, vec![done("gate", &[])]),
        (3, vec![intent(FO, "promote")]),
    ];
    let (mut first, mut history) = (tracing(), History::new(run_id(1).application()));
    let mut spans = Vec::new();
    for (second, events) in events {
        for event in &events {
            history.apply_event(at(second), event).expect("legal");
        }
        spans.extend(first.recorded(&record(second, events)));
    }
    let mut second = tracing();
    second.taken_over(&history);
    let rest = [
        record(60, vec![answered("promote")]),
        record(70, vec![done("promote", &[])]),
        record(80, vec![finished(RunResult::Succeeded)]),
    ];
    let of = |tracing: &mut Tracing| rest.iter().flat_map(|record| tracing.recorded(record)).collect::<Vec<_>>();
    let by_second = of(&mut second);
    assert_eq!(by_second, of(&mut first), "the same spans, whoever ends them");
    let names: Vec<_> = spans.iter().chain(&by_second).map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["gate", "rds.FailoverGlobalCluster", "promote", "failover payments"]);
    assert_eq!(by_second.iter().map(|span| span.began).collect::<Vec<_>>(), [at(3), at(3), at(0)]);

    // Who does not lead any more says nothing.
    let mut left = tracing();
    left.taken_over(&history);
    left.left(&run_id(1).application());
    assert_eq!(of(&mut left), []);
}

#[test]
fn what_is_open_at_the_end_of_a_run_is_ended_as_what_it_is_unsettled_and_unknown() {
    let mut tracing = tracing();
    tracing.recorded(&record(0, vec![started(FO, 1)]));
    tracing.recorded(&record(1, vec![intent(FO, "promote")]));
    let spans = tracing.recorded(&record(2, vec![finished(RunResult::Superseded)]));
    let outcomes: Vec<_> = spans.iter().map(|span| get(span, "failoverd.outcome").cloned()).collect();
    let text = |text: &str| Some(Value::Text(text.to_owned()));
    assert_eq!(outcomes, [text("unknown"), text("unsettled"), None]);
    assert_eq!(get(&spans[2], "failoverd.run.result"), text("superseded").as_ref());
}

/// A person who holds and resumes a thousand times fills no span.
#[test]
fn the_events_of_a_run_are_bounded_and_those_left_out_are_counted() {
    let mut tracing = tracing();
    tracing.recorded(&record(0, vec![started(FO, 1)]));
    let resumed = |n| {
        let (run, subject) = (run_id(1), "oncall".parse().expect("a subject"));
        record(n, vec![Event::RunResumed { run, subject, reason: "again".to_owned() }])
    };
    assert_eq!((1..=200).flat_map(|n| tracing.recorded(&resumed(n))).count(), 0);
    let spans = tracing.recorded(&record(201, vec![finished(RunResult::Aborted)]));
    assert_eq!((spans[0].moments.len(), spans[0].moments_dropped), (EVENTS_MAX, 72));
}
