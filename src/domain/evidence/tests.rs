use std::time::Duration;

use super::*;
use crate::domain::{
    cloud::Outcome,
    history::tests::{at, done, finished, intent, run_id, started, step},
    journal::{Tail, seal},
    plan::Purpose,
    run::RunResult,
};

/// A failover from the first evidence to its end, between records that are none of its.
fn journal() -> Vec<Sealed> {
    let fo = Purpose::Failover;
    let app: ApplicationName = "payments".parse().expect("a name");
    let started_step = |id: &str| Event::StepStarted { run: run_id(1), step: step(id), attempt: 1 };
    let answered = |id: &str, request_id: &str| Event::Answered {
        run: run_id(1),
        step: step(id),
        attempt: 1,
        call: 0,
        outcome: Outcome::Accepted { request_id: Some(request_id.to_owned()), handle: None },
    };
    let approved = Event::ApprovalRecorded {
        run: run_id(1),
        step: step("approve"),
        subject: "bob".parse().expect("a subject"),
        approved: true,
        digest: crate::domain::history::tests::plan(fo).digest(),
        reason: "read it".to_owned(),
    };
    let decides = |verdict: &str| Event::decision(verdict, "down", vec!["probe".to_owned()]);
    let events: Vec<(i64, Vec<Event>)> = vec![
        (-90, vec![Event::EpochStarted { holder: "a".to_owned() }]),
        (-60, vec![decides("nothing")]),
        (5, vec![decides("notify")]),
        (20, vec![decides("recommend")]),
        (30, vec![started(fo, 1)]),
        (31, vec![started_step("gate")]),
        (32, vec![done("gate", &[])]),
        (32, vec![started_step("approve")]),
        (40, vec![approved]),
        (41, vec![done("approve", &[])]),
        (42, vec![intent(fo, "promote")]),
        (43, vec![answered("promote", "req-1")]),
        (90, vec![done("promote", &[])]),
        (91, vec![started_step("verify")]),
        (92, vec![done("verify", &[])]),
        (93, vec![intent(fo, "flip")]),
        (94, vec![answered("flip", "req-2")]),
        (100, vec![done("flip", &[])]),
        (101, vec![started_step("probe")]),
        (161, vec![done("probe", &[])]),
        (162, vec![finished(RunResult::Succeeded)]),
        (200, vec![decides("nothing")]),
    ];
    let mut tail = Tail::empty();
    let seals = events.into_iter().map(|(second, events)| {
        let sealed = seal(&app, &tail, 1, at(second), events).expect("small");
        tail = Tail { next_seq: sealed.record.seq + 1, hash: sealed.hash.clone(), epoch: 1 };
        sealed
    });
    seals.collect()
}

pub(crate) fn evidence() -> Evidence {
    let objectives = Objectives { rto: Duration::from_secs(300), rpo: Duration::from_secs(1) };
    let evidence = Evidence::of(&journal(), &run_id(1), objectives, Digest::zero(), "failoverd 0.0.0");
    evidence.expect("the run is there")
}

fn signature() -> Signature {
    Signature { key: "ed25519:00".to_owned(), signature: "11".to_owned() }
}

fn plain(text: &str) -> Result<Proven, Vec<Fault>> {
    verify(text, |_, _| false)
}

#[test]
fn it_holds_the_run_from_its_first_evidence_to_its_end_and_nothing_else() {
    let Evidence { header, summary, .. } = evidence();
    assert_eq!((header.first_record, header.records), (2, 19), "from the notice, without the verdict after it");
    assert_eq!(summary.result, Some(RunResult::Succeeded));
    assert_eq!((summary.rto, summary.rto_met), (Some(Duration::from_secs(161)), Some(true)));
    assert_eq!(summary.recommended_at, Some(at(20)));
    assert_eq!((summary.loss, summary.rpo_met), (None, None), "what was not measured is not met, and not missed");
    let calls: Vec<_> = summary.calls.iter().map(|c| (c.operation.as_str(), c.request_id.as_deref())).collect();
    let expected = [("rds:FailoverGlobalCluster", Some("req-1")), ("cloudwatch:PutMetricData", Some("req-2"))];
    assert_eq!(calls, expected);
    let people: Vec<_> = summary.people.iter().map(|d| (d.subject.as_str(), d.did.as_str())).collect();
    assert_eq!(people, [("oncall", "started"), ("bob", "approved")]);
    let gate = &summary.stages[0];
    assert_eq!((gate.ended.as_str(), gate.began_at, gate.ended_at), ("done", Some(at(31)), Some(at(32))));
}

#[test]
fn what_was_written_is_proven_and_is_the_same_each_time() {
    let text = evidence().sealed(None);
    assert_eq!(text, evidence().sealed(None));
    let proven = plain(&text).expect("sound");
    assert_eq!((proven.summary, proven.signed_by), (evidence().summary, None));
    assert_eq!(proven.last_hash, journal()[20].hash);
    let signed = evidence().sealed(Some(signature()));
    let statement = evidence().statement();
    let proven = verify(&signed, |by, what| *by == signature() && what == statement).expect("sound");
    assert_eq!(proven.signed_by.as_deref(), Some("ed25519:00"));
    let faults = plain(&signed).expect_err("nobody's signature");
    assert!(faults.iter().any(|f| f.problem.contains("signature")), "{faults:?}");
}

#[test]
fn every_changed_byte_is_found() {
    let text = evidence().sealed(Some(signature()));
    let statement = evidence().statement();
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        // What is no text any more is no evidence either.
        let Ok(changed) = String::from_utf8(bytes) else { continue };
        // The signer's word is checked by its key: a changed one fails there.
        let holds = |by: &Signature, what: &str| *by == signature() && what == statement;
        assert!(verify(&changed, holds).is_err(), "byte {at}: {changed}");
    }
}

#[test]
fn lines_that_are_dropped_swapped_or_added_are_found() {
    let text = evidence().sealed(None);
    let lines: Vec<&str> = text.lines().collect();
    let joined = |lines: &[&str]| lines.iter().map(|l| format!("{l}\n")).collect::<String>();
    for at in 0..lines.len() {
        let mut dropped = lines.clone();
        dropped.remove(at);
        assert!(plain(&joined(&dropped)).is_err(), "dropped {at}");
        let mut added = lines.clone();
        added.insert(at, lines[at]);
        assert!(plain(&joined(&added)).is_err(), "twice {at}");
        if at > 0 {
            let mut swapped = lines.clone();
            swapped.swap(at - 1, at);
            assert!(plain(&joined(&swapped)).is_err(), "swapped {at}");
        }
    }
    assert!(plain(text.trim_end()).is_err() && plain("").is_err() && plain("\n").is_err());
    assert!(plain(&format!("{text}\n")).is_err() && plain(&format!("{text}{{}}\n")).is_err());
}

#[test]
fn a_record_that_is_forged_with_its_own_hash_breaks_the_chain_and_says_where() {
    let text = evidence().sealed(None);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let which = lines.iter().position(|l| l.contains("read it")).expect("the approval");
    let (_, record) = record_of(&lines[which]).expect("a record");
    let forged = record.replace("read it", "read IT");
    lines[which] = record_line(&Digest::of(forged.as_bytes()), &forged).trim_end().to_owned();
    let faults = plain(&lines.iter().map(|l| format!("{l}\n")).collect::<String>()).expect_err("forged");
    let at: Vec<usize> = faults.iter().map(|f| f.line).collect();
    assert!(at.contains(&(which + 2)), "the record after it does not follow it: {faults:?}");
    assert!(at.contains(&lines.len()), "and the seal is broken: {faults:?}");
}

#[test]
fn a_summary_that_says_more_than_its_records_is_found_even_under_a_new_seal() {
    let text = evidence().sealed(None);
    let body = text.replace("\"rto_met\":true", "\"rto_met\":false");
    let cut = body.trim_end().rfind('\n').expect("lines") + 1;
    let seal = Seal { sha256: Digest::of(&body.as_bytes()[..cut]), signed: None };
    let forged = format!("{}{}", &body[..cut], line(&SealLine { seal }));
    let faults = plain(&forged).expect_err("forged");
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].problem.contains("summary"), "{faults:?}");
}

#[test]
fn a_run_that_is_not_over_says_so() {
    let journal = &journal()[..12];
    let objectives = Objectives { rto: Duration::from_secs(300), rpo: Duration::from_secs(1) };
    let evidence = Evidence::of(journal, &run_id(1), objectives, Digest::zero(), "failoverd 0.0.0").expect("there");
    assert_eq!((evidence.summary.result, evidence.summary.finished_at), (None, None));
    assert!(plain(&evidence.sealed(None)).is_ok());
    let other = Evidence::of(journal, &run_id(2), objectives, Digest::zero(), "failoverd 0.0.0");
    assert_eq!(other, Err(NoEvidence::Unknown(run_id(2))));
}
