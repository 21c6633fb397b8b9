//! One thing that preflight looks at: the checks that it answers, and the look. Asked with patience, and settled.
//!
//! Invariant: a look that does not answer in time leaves its checks unknown; a reading that AWS refuses is a fact, and
//! names what is to be permitted.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};

use crate::{
    domain::preflight::{Check, Class, Kind, State},
    engine::guards::Answer,
    ports::Clock,
};

/// How long one look may take. Longer than any one call to AWS (10 s unless configured otherwise).
const PATIENCE: Duration = Duration::from_secs(20);
/// So many looks of an application are under way at once: none is urgent, and each is a handful of calls.
const AT_ONCE: usize = 4;

/// See the module. The answers of the look are in the order of the checks.
pub(super) struct Question<'a> {
    pub checks: Vec<Check>,
    pub look: BoxFuture<'a, Vec<Answer>>,
}

/// A check of which nothing is known yet.
pub(super) fn open(class: Class, kind: Kind, subject: impl Into<String>, expected: &str, remedy: &str) -> Check {
    Check {
        kind,
        subject: subject.into(),
        region: None,
        class,
        state: State::Unknown,
        seen: "it was not looked at".to_owned(),
        expected: expected.to_owned(),
        remedy: remedy.to_owned(),
    }
}

/// `check` as `answer` has it.
pub(super) fn settle(check: Check, answer: Answer) -> Check {
    match answer {
        Answer::Holds { evidence } => Check { state: State::Met, seen: evidence.join("; "), ..check },
        Answer::Fails { why } => Check { state: State::NotMet, seen: why, ..check },
        Answer::Unknown { why } => Check { seen: why, ..check },
        Answer::Denied(denial) => {
            let subject = format!("{} of {}", check.kind.as_str(), check.subject);
            let refused = |kind, expected: &str, remedy: &str| Check {
                kind,
                subject: subject.clone(),
                state: State::NotMet,
                seen: denial.why.clone(),
                expected: expected.to_owned(),
                remedy: remedy.to_owned(),
                ..check.clone()
            };
            match denial.code {
                "access-denied" => refused(
                    Kind::Permission,
                    "AWS permits the reading",
                    "give the daemon's role what `failoverd permissions` prints",
                ),
                "credentials-refused" => {
                    refused(Kind::Credential, "AWS accepts the credentials", "renew the daemon's credentials")
                }
                _ => Check { seen: denial.why.clone(), ..check },
            }
        }
    }
}

/// Everything that `questions` ask, in their order.
pub(super) async fn answered(clock: &dyn Clock, questions: Vec<Question<'_>>) -> Vec<Check> {
    // Boxed: the compiler cannot tell that the futures of a closure are Send.
    let asked: Vec<BoxFuture<'_, Vec<Check>>> = questions.into_iter().map(|q| bounded(clock, q).boxed()).collect();
    stream::iter(asked).buffered(AT_ONCE).concat().await
}

async fn bounded(clock: &dyn Clock, question: Question<'_>) -> Vec<Check> {
    let Question { checks, look } = question;
    tokio::select! {
        biased;
        answers = look => checks.into_iter().zip(answers).map(|(check, answer)| settle(check, answer)).collect(),
        () = clock.sleep(PATIENCE) => {
            let why = format!("no answer within {} s", PATIENCE.as_secs());
            checks.into_iter().map(|check| Check { seen: why.clone(), ..check }).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::future::pending;

    use super::*;
    use crate::{domain::cloud::ObserveError, engine::denial::Denial, sim::port::SimClock};

    fn check() -> Check {
        open(Class::Blocking, Kind::Target, "main", "it can be promoted", "mend it")
    }

    fn denied(code: &str) -> Answer {
        let error = ObserveError::Rejected { code: code.to_owned(), message: "no".to_owned() };
        let region = "us-west-2".parse().expect("a Region");
        Answer::Denied(Denial::of("rds:DescribeDBClusters", Some(&region), &error).expect("a denial"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_without_an_end_leaves_its_checks_unknown_and_holds_up_no_other() {
        let clock: Arc<dyn Clock> = Arc::new(SimClock::starting_at(jiff::Timestamp::UNIX_EPOCH));
        let endless = || Question { checks: vec![check(), check()], look: pending().boxed() };
        let sound = || {
            let holds = Answer::Holds { evidence: vec!["it is well".to_owned()] };
            Question { checks: vec![check()], look: async { vec![holds] }.boxed() }
        };
        let found = answered(&*clock, vec![endless(), sound(), endless(), sound()]).await;
        let states: Vec<State> = found.iter().map(|c| c.state).collect();
        let (met, unknown) = (State::Met, State::Unknown);
        assert_eq!(states, [unknown, unknown, met, unknown, unknown, met]);
        assert_eq!((found[0].seen.as_str(), found[2].seen.as_str()), ("no answer within 20 s", "it is well"));
        assert_eq!(clock.boot(), PATIENCE, "they wait beside each other");
    }

    #[test]
    fn each_answer_is_its_state_and_a_refusal_names_what_is_to_be_given() {
        let of = |answer| {
            let check = settle(check(), answer);
            (check.kind, check.state)
        };
        assert_eq!(of(Answer::Unknown { why: "x".to_owned() }), (Kind::Target, State::Unknown));
        assert_eq!(of(Answer::fails("x")), (Kind::Target, State::NotMet));
        assert_eq!(of(denied("AccessDenied")), (Kind::Permission, State::NotMet));
        assert_eq!(of(denied("ExpiredToken")), (Kind::Credential, State::NotMet));
        assert_eq!(of(denied("InvalidParameterValue")), (Kind::Target, State::Unknown));
        let said = settle(check(), denied("AccessDenied"));
        assert!(said.seen.contains("lacks the permission rds:DescribeDBClusters"), "{said:?}");
        assert_eq!((said.subject.as_str(), said.class), ("target of main", Class::Blocking));
    }
}
