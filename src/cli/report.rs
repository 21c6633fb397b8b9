//! `report`: what a failover has left to reconcile, for the person who does it and signs it; made of what the daemon tells
//! and of nothing else.
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
        salvage::{ReconciliationState, ReconciliationView, RescuedView},
        view::{LossView, RunView},
    },
};

/// Asks the daemon for what there is, and shows it; `--json`: the run.
pub(super) async fn ask(options: &Options, api: &Api, run: &str) -> Result<(), Failure> {
    let mut run: RunView = api.get(&format!("/runs/{}", enc(run))).await?;
    if let Some(failover) = &run.reconciles {
        // The report is about the failover, with what this salvage of it has found.
        let found = run.reconciliation.take();
        run = api.get(&format!("/runs/{}", enc(failover))).await?;
        run.reconciliation = found.or(run.reconciliation);
    }
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
    out.push_str("\nWhether it is reconciled\n");
    out.push_str(&signed(run));
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
    "which objects of a bucket were not replicated, beyond those that a salvage lists: older versions, deletions, and what \
     was changed longer before (S3 Inventory tells of all)",
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

/// Who has signed, or what is to be done until somebody can.
fn signed(run: &RunView) -> String {
    let Some(found) = &run.reconciliation else {
        let text = match run.purpose {
            Purpose::Failover => "there is nothing to sign: it forced no promotion, or has not come to that",
            _ => "there is nothing to sign: it was planned, and left no writes behind",
        };
        return wrapped("  signed    ", text);
    };
    let by = found.signed_by.iter().map(|s| plain(s)).collect::<Vec<_>>().join(", ");
    let at = found.signed_at.map_or("at a time not known".to_owned(), time);
    let text = match (found.state, &found.salvage) {
        (ReconciliationState::Signed, _) => format!("by {by}, {at}"),
        (ReconciliationState::Acknowledged, _) => {
            format!("acknowledged as reconciled by {by}, {at}, without a salvage")
        }
        (ReconciliationState::Open, None) => format!(
            "NOT SIGNED, and nobody has looked at what is left: failoverd salvage {} --run {} --reason ... A failback to {} \
             is refused until then",
            run.application, run.id, run.source
        ),
        (ReconciliationState::Open, Some(_)) => {
            format!("NOT SIGNED: approve the salvage. A failback to {} is refused until then", run.source)
        }
    };
    let mut out = wrapped("  signed    ", &text);
    if let Some(salvage) = &found.salvage {
        out.push_str(&wrapped("  salvage   ", salvage));
    }
    out
}

/// What a salvage has found of the rescue snapshots.
fn snapshots(found: Option<&ReconciliationView>) -> String {
    let line = |s: &RescuedView| {
        wrapped("  snapshot  ", &format!("{}: {} ({})", plain(&s.store), plain(&s.state), plain(&s.says.join("; "))))
    };
    found.iter().flat_map(|found| &found.snapshots).map(line).collect()
}

/// What a salvage has found of global tables and buckets.
fn replicas(found: Option<&ReconciliationView>) -> String {
    let known = |at: &Option<jiff::Timestamp>| at.map_or("unknown".to_owned(), time);
    let count = |n: Option<u64>| n.map_or("unknown".to_owned(), |n| n.to_string());
    let mut out = String::new();
    for c in found.iter().flat_map(|found| &found.conflicts) {
        let text = format!(
            "{}: both Regions may have taken writes of the same items from {} until {}",
            plain(&c.store),
            known(&c.from),
            known(&c.until)
        );
        out.push_str(&wrapped("  conflicts ", &text));
        if let Some(late) = c.late_replication {
            let text = format!("a write of the old Region arrived at {}, after the traffic had left", time(late));
            out.push_str(&wrapped("            ", &text));
        }
        out.push_str(&c.says.iter().map(|says| wrapped("            ", &plain(says))).collect::<String>());
    }
    for o in found.iter().flat_map(|found| &found.objects) {
        let more = match o.cut {
            Some(true) => "; THERE ARE MORE: the listing was cut",
            Some(false) => "",
            None => "; whether there are more is unknown",
        };
        let (pending, failed, bytes) = (count(o.pending), count(o.failed), count(o.bytes));
        let text = format!("{}: {pending} pending, {failed} failed, {bytes} bytes{more}", plain(&o.store));
        out.push_str(&wrapped("  objects   ", &text));
        out.push_str(&o.keys.iter().map(|key| wrapped("            ", &plain(key))).collect::<String>());
        out.push_str(&o.says.iter().map(|says| wrapped("            ", &plain(says))).collect::<String>());
    }
    out
}

fn rescue(run: &RunView) -> String {
    let salvaged = snapshots(run.reconciliation.as_ref());
    if run.deferred.is_empty() && !salvaged.is_empty() {
        return salvaged;
    }
    if run.deferred.is_empty() {
        let text = format!(
            "no work on it was left open by this run, so whether there is a rescue snapshot of the old writer is not known: \
             look for rds:unplanned-global-failover-... in {}, and copy it before its retention deletes it",
            run.source
        );
        return wrapped("  rescue    ", &text);
    }
    let mut out: String = run.deferred.iter().map(|work| wrapped("  rescue    ", &deferred(work))).collect();
    out.push_str(&salvaged);
    out
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
    out.push_str(&replicas(run.reconciliation.as_ref()));
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

    #[test]
    fn what_a_salvage_has_found_is_told_and_what_it_has_not_is_unknown() {
        let unsigned = told(&run(json!({ "reconciliation": {
            "state": "open", "salvage": null, "signed_by": [], "signed_at": null, "snapshots": [], "conflicts": [],
            "objects": [],
        } })));
        assert!(unsigned.contains("NOT SIGNED, and nobody has looked"), "{unsigned}");
        assert!(unsigned.contains("failoverd salvage payments --run payments-0000"), "{unsigned}");
        let text = report(
            &run(json!({ "reconciliation": {
            "state": "signed", "salvage": "payments-0001", "signed_by": ["bob"], "signed_at": "2026-11-21T09:00:00Z",
            "snapshots": [{ "store": "orders", "state": "copied", "says": ["failoverd-rescue-x in us-east-1 is available"] }],
            "conflicts": [{ "store": "sessions", "known": false, "from": "2026-11-21T05:58:00Z", "until": null,
                            "moved_at": "2026-11-21T06:02:00Z", "late_replication": "2026-11-21T07:00:00Z",
                            "says": ["no fence.application was verified"] }],
            "objects": [
                { "store": "audit", "pending": 3, "failed": 1, "bytes": 400, "cut": true, "keys": ["logs/1", "logs/2"],
                  "says": ["CUT"] },
                { "store": "scans", "pending": null, "failed": null, "bytes": null, "cut": null, "keys": [],
                  "says": ["unknown: not looked at yet"] },
            ],
        } })),
            &application(),
        );
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "signed by bob, 2026-11-21",
            "salvage payments-0001",
            "orders: copied (failoverd-rescue-x in us-east-1 is available)",
            "from 2026-11-21T05:58:00Z until unknown",
            "a write of the old Region arrived at 2026-11-21",
            "audit: 3 pending, 1 failed, 400 bytes; THERE ARE MORE",
            "logs/1 logs/2",
            "scans: unknown pending, unknown failed, unknown bytes; whether there are more is unknown",
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
