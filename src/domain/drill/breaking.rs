//! What must hold of a runbook that breaks something on purpose.
//!
//! Invariant: whatever becomes of its run, the fault is taken out: by a step that is sure to come where all goes well, and
//! where anything fails in between by that step too, or by the undo of the step that put it in: nothing in between holds
//! the run. Once it has moved nothing is taken back, and only the step is left.
//! A person who pauses the run, and a failover that takes its place, are the two that leave it in.

use super::super::{
    id::StepId,
    plan::{OnFailure, Purpose},
    runbook::{Act, Ahead, Runbook, Step},
};
use super::is_move;

const CODE: &str = "runbook-drill-unsafe";

/// The step, the code and what is wrong with it.
pub(super) fn faults_of(runbook: &Runbook) -> Vec<(StepId, &'static str, String)> {
    let breaks = |s: &&Step| matches!(s.act, Act::LambdaFault { mends: false, .. });
    let any = |s: &&Step| matches!(s.act, Act::LambdaFault { .. });
    let mut faults = Vec::new();
    let mut fault = |step: &Step, why: String| faults.push((step.id.clone(), CODE, why));
    if let Some(other) = runbook.purposes.iter().find(|purpose| **purpose != Purpose::Drill) {
        for step in runbook.steps.iter().filter(any) {
            fault(step, format!("breaks the application on purpose, which is for a drill and never for a {other}"));
        }
        return faults;
    }
    let ahead = Ahead::of(&runbook.steps);
    let needs = |a: &StepId, b: &StepId| ahead.stands_before(b, a);
    for step in runbook.steps.iter().filter(breaks) {
        let mend = runbook.steps.iter().find(|other| mends(step, other) && needs(&other.id, &step.id));
        let Some(mend) = mend else {
            let why =
                "breaks, and nothing after it that is sure to come takes that out: the same again, with `mend: true`";
            fault(step, why.to_owned());
            continue;
        };
        let moved_before = runbook.steps.iter().find(|s| is_move(&s.act) && needs(&step.id, &s.id));
        // Everything that may be under way while the fault is in.
        let meanwhile = |s: &&Step| s.id != mend.id && !needs(&step.id, &s.id) && !needs(&s.id, &mend.id);
        for other in runbook.steps.iter().filter(meanwhile) {
            let id = &step.id;
            if other.on_failure == OnFailure::Hold {
                let why = format!(
                    "may fail while the fault of `{id}` is in, and would hold the run with it: say `on_failure: undo`"
                );
                fault(other, why);
            }
            if let Some(moved) = moved_before.filter(|_| other.on_failure == OnFailure::Undo) {
                let why = format!(
                    "may fail while the fault of `{id}` is in, and nothing is taken back after `{}`, which has moved: say \
                     `on_failure: continue`",
                    moved.id
                );
                fault(other, why);
            }
            if matches!(other.act, Act::Approve { .. }) {
                fault(other, format!("waits for people while the fault of `{id}` is in: ask them before it"));
            }
            if is_move(&other.act) {
                fault(other, format!("moves while the fault of `{id}` is in: a drill does the one or the other"));
            }
        }
    }
    faults
}

/// Whether `other` takes out what `step` puts in, and is sure to come.
fn mends(step: &Step, other: &Step) -> bool {
    let same = match (&step.act, &other.act) {
        (
            Act::LambdaFault { function, variable, broken, normal, .. },
            Act::LambdaFault { function: f, variable: v, broken: b, normal: n, mends },
        ) => *mends && (function, variable, broken, normal) == (f, v, b, n),
        _ => false,
    };
    // Where it fails a person is waited for: nothing else can take it out.
    same && other.when.is_none() && other.on_failure == OnFailure::Hold && other.towards == step.towards
}

#[cfg(test)]
mod tests {
    use super::*;

    const BREAK: &str = "action: fault.lambda_variable, with: { function: f, variable: FAULT, value: fail";

    fn codes(purpose: &str, steps: &str) -> Vec<String> {
        let text = format!("runbook: r\npurpose: {purpose}\ndescription: d\nsteps:\n{steps}");
        match Runbook::parse("r.yaml", &text) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.into_iter().map(|f| format!("{}: {}", f.code, f.problem)).collect(),
        }
    }

    fn whole(on_failure: &str, more: &str) -> String {
        format!(
            "  - {{ id: in, on_failure: undo, {BREAK} }} }}\n  - {{ id: seen, action: probe.signal, needs: [in], \
             on_failure: {on_failure}, with: {{ of: source, is: ill }} }}\n  - {{ id: out, needs: [seen], {BREAK}, mend: \
             true }} }}\n{more}"
        )
    }

    #[test]
    fn a_fault_is_followed_by_its_mending_and_nothing_in_between_holds_the_run() {
        assert_eq!(codes("drill", &whole("undo", "")), [] as [&str; 0]);
        assert_eq!(codes("drill", &whole("continue", "")), [] as [&str; 0]);
        let held = codes("drill", &whole("hold", ""));
        assert!(held.len() == 1 && held[0].contains("would hold the run"), "{held:?}");
        let alone = format!("  - {{ id: in, on_failure: undo, {BREAK} }} }}\n");
        assert!(codes("drill", &alone)[0].contains("takes that out"));
        let other = whole("undo", "").replacen("mend: true", "mend: true, normal: ok", 1);
        assert!(codes("drill", &other)[0].contains("takes that out"), "another fault than the one that was put in");
        let maybe = whole("undo", "").replacen("id: out,", "id: out, when: \"purpose == 'drill'\",", 1);
        assert!(codes("drill", &maybe)[0].contains("takes that out"), "not sure to come");
        let itself = whole("undo", "").replacen("id: in, on_failure: undo", "id: in", 1);
        assert!(codes("drill", &itself)[0].contains("would hold the run"), "it may have had its effect and fail");
    }

    #[test]
    fn after_a_move_only_the_step_that_mends_takes_the_fault_out() {
        let moved = |on_failure: &str| {
            let flip = "  - { id: flip, action: dns.flip }\n";
            let own = "id: in, needs: [flip], on_failure: continue";
            let fault = whole(on_failure, "").replacen("id: in, on_failure: undo", own, 1);
            // That it stays away is another matter.
            let stays = |f: &String| f.starts_with("runbook-drill-stays-away");
            codes("drill", &format!("{flip}{fault}")).into_iter().filter(|f| !stays(f)).collect::<Vec<_>>()
        };
        assert_eq!(moved("continue"), [] as [&str; 0]);
        let undone = moved("undo");
        assert!(undone.iter().any(|f| f.contains("nothing is taken back after `flip`")), "{undone:?}");
    }

    #[test]
    fn what_is_beside_the_fault_counts_and_what_is_after_its_mending_does_not() {
        let beside = "  - { id: aside, action: wait, with: { duration: 1m } }\n";
        assert!(codes("drill", &whole("undo", beside))[0].contains("would hold the run"));
        let after = "  - { id: well, action: probe.signal, needs: [out], with: { of: source, is: well } }\n";
        assert_eq!(codes("drill", &whole("undo", after)), [] as [&str; 0]);
        let people = "  - { id: consent, action: approve, on_failure: undo, needs: [in] }\n";
        assert!(codes("drill", &whole("undo", people)).iter().any(|f| f.contains("waits for people")));
        let moves = "  - { id: flip, action: dns.flip, on_failure: undo, needs: [in] }\n";
        assert!(codes("drill", &whole("undo", moves)).iter().any(|f| f.contains("moves while")));
    }

    /// As `benches/parse` measures it.
    #[test]
    fn a_drill_of_five_hundred_steps_is_looked_at_whole() {
        let wait = |n: usize, failure: &str| {
            let before = if n == 0 { "in".to_owned() } else { format!("w{}", n - 1) };
            format!(
                "  - {{ id: w{n}, action: wait, needs: [{before}], on_failure: {failure}, with: {{ duration: 1m }} }}\n"
            )
        };
        let long = |failure: &str| {
            let between: String = (0..498).map(|n| wait(n, if n == 497 { failure } else { "undo" })).collect();
            format!(
                "  - {{ id: in, on_failure: undo, {BREAK} }} }}\n{between}  - {{ id: out, needs: [w497], {BREAK}, mend: \
                 true }} }}\n"
            )
        };
        assert_eq!(codes("drill", &long("undo")), [] as [&str; 0]);
        assert_eq!(codes("drill", &long("hold")).len(), 1);
    }

    #[test]
    fn nothing_but_a_drill_breaks_anything() {
        for purpose in ["failover", "switchover", "[drill, switchover]"] {
            let faults = codes(purpose, &whole("undo", ""));
            assert!(faults.iter().any(|f| f.starts_with(CODE) && f.contains("never for a")), "{purpose}: {faults:?}");
        }
    }
}
