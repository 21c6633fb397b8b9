//! `report`: what a failover has left to reconcile, for the person who does it; made of what the daemon tells and of nothing
//! else.
//!
//! Invariant: every sentence is from a field of the views and says no more than it. What failoverd cannot know (which items of
//! a table, which objects of a bucket) is said to be unknown, with where to look. It asks AWS nothing and changes nothing.

use super::{
    Options,
    api::{Api, Failure},
    enc,
    render::{deferred, exposure, plain, seconds, time, word, wrapped},
    show,
};
use crate::{
    domain::plan::Purpose,
    http::{
        condition::ApplicationView,
        view::{LossView, RunView},
    },
};

/// Asks the daemon for what there is, and shows it; `--json`: the run.
pub(super) async fn ask(options: &Options, api: &Api, run: &str) -> Result<(), Failure> {
    let run: RunView = api.get(&format!("/runs/{}", enc(run))).await?;
    let application: ApplicationView = api.get(&format!("/applications/{}", enc(&run.application))).await?;
    show(options, &run, |run| report(run, &application));
    Ok(())
}

/// The report of one run, with the application as it is now.
pub fn report(run: &RunView, application: &ApplicationView) -> String {
    let mut out = wrapped(
        "",
        &format!(
            "Reconciliation of {} ({} of {}, {} -> {}, {}{})",
            run.id,
            run.purpose,
            run.application,
            run.source,
            run.target,
            run.state.as_str(),
            run.finished_at.map_or_else(String::new, |at| format!(" at {}", time(at))),
        ),
    );
    out.push_str("\nWhat the databases lost\n");
    out.push_str(&lost(run));
    if detaches(run) {
        let text = format!(
            "the target was detached: the old writer in {} is NOT fenced, and is the writer still of what is left of the \
             global cluster. What it has taken since is in no other database",
            run.source
        );
        out.push_str(&wrapped("  writer    ", &text));
    }
    out.push_str("\nWhat there is to take it from\n");
    out.push_str(&rescue(run));
    out.push_str("\nStores with many writers (DynamoDB, S3)\n");
    out.push_str(&many_writers(run, application));
    out.push_str("\nWhat failoverd does not know\n");
    for unknown in UNKNOWN {
        out.push_str(&wrapped("  - ", unknown));
    }
    out
}

/// Nobody but the application can tell these.
const UNKNOWN: [&str; 4] = [
    "which rows are missing: restore the copied snapshot beside the new writer and compare by your own keys and times",
    "what clients were told of those writes: ask the application's own logs",
    "which items of a global table were written on both sides: the later write has won, the other is gone; compare by your \
     own times, or an export of the table from before (point-in-time recovery)",
    "which objects of a bucket were not replicated: list those whose replication status is PENDING or FAILED in the old \
     Region's bucket (S3 Inventory, or a head of each)",
];

fn detaches(run: &RunView) -> bool {
    run.steps.iter().any(|s| s.action == "aurora.detach" && word(&s.state) == "done")
}

fn lost(run: &RunView) -> String {
    let Some(loss) = &run.loss else {
        let text = match run.purpose {
            Purpose::Failover => "not known: the run has not measured it (it has not ended, or no writer moved)",
            _ => "nothing was measured: the move was planned, and waits until the target holds every write",
        };
        return wrapped("  lost      ", text);
    };
    let LossView { last_surviving_write, last_seen_write, first_unanswered, at_least_seconds, at_most_seconds, basis } =
        loss;
    let known = |at: &Option<jiff::Timestamp>| at.map_or("not known".to_owned(), time);
    let least = at_least_seconds.map_or("not known".to_owned(), seconds);
    let most = at_most_seconds.map_or("not bounded".to_owned(), seconds);
    let mut out = wrapped("  lost      ", &format!("at least {least}, at most {most} of writes ({basis})"));
    out.push_str(&wrapped(
        "  survives  ",
        &format!("the last write that the new writer holds: {}", known(last_surviving_write)),
    ));
    out.push_str(&wrapped(
        "  seen      ",
        &format!("the last write that the old writer was seen to hold: {}", known(last_seen_write)),
    ));
    out.push_str(&wrapped(
        "  silent    ",
        &format!("the old writer was not seen to answer from: {}", known(first_unanswered)),
    ));
    out
}

fn rescue(run: &RunView) -> String {
    if run.deferred.is_empty() {
        let text = format!(
            "no work on it was left open by this run, so whether there is a rescue snapshot of the old writer is not known: \
             look for rds:unplanned-global-failover-... in {}, and copy it before its retention deletes it",
            run.source
        );
        return wrapped("  rescue    ", &text);
    }
    run.deferred.iter().map(|work| wrapped("  rescue    ", &deferred(work))).collect()
}

fn many_writers(run: &RunView, application: &ApplicationView) -> String {
    let from = run.clock.evidence_since.unwrap_or(run.started_at);
    let until = run.finished_at.map_or("now".to_owned(), time);
    let window = format!(
        "what was written in {} from {} to {until}, and was not replicated, may land later and overwrite what was written \
         in {} since (the last writer wins)",
        run.source,
        time(from),
        run.target
    );
    let mut out = wrapped("  window    ", &window);
    for store in &application.exposure {
        out.push_str(&wrapped("  now       ", &exposure(store)));
    }
    if application.exposure.is_empty() {
        out.push_str(&wrapped("  now       ", "no store's replication is known"));
    }
    let health = word(&application.health);
    let active = application.active_region.as_deref().map_or("not known".to_owned(), plain);
    out.push_str(&wrapped("  active    ", &format!("{active}, {health}")));
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn run(more: Value) -> RunView {
        let mut view = json!({
            "id": "payments-0000", "application": "payments", "purpose": "failover", "state": "succeeded",
            "source": "us-east-1", "target": "us-west-2", "runbook": "region-failover", "requested_by": "oncall",
            "reason": "r", "started_at": "2026-11-21T06:00:00Z", "finished_at": "2026-11-21T06:05:00Z",
            "plan_digest": "d", "steps": [], "approvals": [],
            "clock": { "started_at": "2026-11-21T06:00:00Z", "evidence_since": "2026-11-21T05:58:00Z" },
        });
        for (key, value) in more.as_object().expect("a table") {
            view[key] = value.clone();
        }
        serde_json::from_value(view).expect("a view")
    }

    fn application() -> ApplicationView {
        let view = json!({
            "name": "payments", "regions": ["us-east-1", "us-west-2"], "rto_objective_seconds": 600.0,
            "rpo_objective_seconds": 60.0, "active_region": "us-west-2", "health": "degraded", "mode": "recommend",
            "signals": [], "exposure": [],
        });
        serde_json::from_value(view).expect("a view")
    }

    /// On one line, whatever its width.
    fn told(run: &RunView) -> String {
        report(run, &application()).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_not_known_is_said_to_be_unknown_and_never_zero() {
        let text = told(&run(json!({})));
        assert!(text.contains("not known: the run has not measured it"), "{text}");
        assert!(text.contains("whether there is a rescue snapshot of the old writer is not known"), "{text}");
        assert!(text.contains("no store's replication is known"), "{text}");
        assert!(!text.contains("at least 0"), "{text}");
        assert!(!text.contains("NOT fenced"), "{text}");
    }

    #[test]
    fn the_loss_the_rescue_snapshot_and_a_writer_that_nothing_fences_are_told() {
        let text = told(&run(json!({
            "loss": { "at_least_seconds": 0.4, "at_most_seconds": null, "basis": "by the heartbeat",
                      "last_surviving_write": "2026-11-21T05:58:01Z" },
            "deferred": [{ "run": "payments-0000", "step": "keep-rescue.orders", "what": "keep the rescue snapshot",
                           "state": "open", "since": "2026-11-21T06:05:00Z", "within_seconds": 604800.0, "attempts": 0 }],
            "steps": [{ "id": "detach.orders", "title": "t", "action": "aurora.detach", "state": "done", "attempt": 1,
                        "needs": [], "timeout_seconds": 900.0, "evidence": [], "outputs": {} }],
        })));
        for part in [
            "not bounded of writes (by the heartbeat)",
            "the new writer holds: 2026-11-21",
            "hold: not known",
            "keep the rescue snapshot, open",
            "us-east-1 is NOT fenced",
            "may land later and overwrite",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
