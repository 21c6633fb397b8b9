//! What is seen of the Region to go to, as the newest assessment has it: what speaks ill of it now is no way out, whatever
//! the control planes say.
//!
//! Invariants: it asks nobody, the watch has; what was not read lately is unknown.

use super::question::{open, settle};
use crate::{
    domain::{
        application::Application,
        assessment::Assessment,
        id::Region,
        preflight::{Check, Class, Kind},
        signal::{Reading, SignalState},
    },
    engine::guards::Answer,
};

/// One check for each signal that tells of `target`.
pub(super) fn checks(app: &Application, assessment: Option<&Assessment>, target: &Region) -> Vec<Check> {
    let of_target = app.signals.iter().filter(|signal| signal.source.of() == Some(target));
    of_target
        .map(|signal| {
            let state = assessment.and_then(|assessment| assessment.signals.get(&signal.name));
            let (class, answer) = read(state);
            let check = open(
                class,
                Kind::Signal,
                signal.name.to_string(),
                "a fresh reading that says that it is well there",
                "`failoverd why` has the reading; mend what it tells of",
            );
            settle(Check { region: Some(target.clone()), ..check }, answer)
        })
        .collect()
}

/// A failover does not go where a fresh reading speaks ill of the Region; what is not known does not stop one.
fn read(state: Option<&SignalState>) -> (Class, Answer) {
    let unknown = |why: &str| (Class::Degrading, Answer::Unknown { why: why.to_owned() });
    match state {
        Some(SignalState::Fresh { sample }) => match &sample.reading {
            Reading::Unhealthy { detail } => (Class::Blocking, Answer::fails(detail)),
            Reading::Healthy { detail } => (Class::Blocking, Answer::Holds { evidence: vec![detail.clone()] }),
            Reading::Lag { .. } => (Class::Advisory, Answer::Holds { evidence: vec!["it is read".to_owned()] }),
            Reading::Missing { why } => unknown(why),
        },
        Some(SignalState::Stale { .. }) => unknown("its last reading is too old"),
        Some(SignalState::Missing { why }) => unknown(why),
        Some(SignalState::Contradicted { why, .. }) => unknown(why),
        None => unknown("it was not read yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::signal::Sample;

    fn fresh(reading: Reading) -> SignalState {
        let at = jiff::Timestamp::UNIX_EPOCH;
        SignalState::Fresh { sample: Sample { measured_at: at, taken_at: at, reading } }
    }

    #[test]
    fn what_speaks_ill_of_the_target_blocks_and_what_is_not_known_does_not_count_as_well() {
        let ill = fresh(Reading::Unhealthy { detail: "503".to_owned() });
        assert!(matches!(read(Some(&ill)), (Class::Blocking, Answer::Fails { .. })));
        let well = fresh(Reading::Healthy { detail: "200".to_owned() });
        assert!(matches!(read(Some(&well)), (Class::Blocking, Answer::Holds { .. })));
        let missing = SignalState::Missing { why: "silent".to_owned() };
        for state in [None, Some(&missing)] {
            assert!(matches!(read(state), (Class::Degrading, Answer::Unknown { .. })));
        }
    }
}
