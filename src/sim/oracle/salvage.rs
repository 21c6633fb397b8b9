//! FAULTS.md 62, and S8 of what people ask for: nothing planned leads to a Region that a forced promotion has left with writes
//! which nobody has reconciled. And a salvage changes nothing.
//!
//! That a promotion was forced is the world's word; that it was reconciled the journal's: a salvage of it that has succeeded
//! and that somebody else than its requester approved, or a person's acknowledgement.

use super::{Bench, Call, intent::Intent, region_of, runs::Phase, runs::Run, runs::Runs, text, truth::Promotion};

/// Whether somebody has said that what the failover `run` left was dealt with.
pub(super) fn is_reconciled(runs: &Runs, run: &str) -> bool {
    let signed = |of: &Run| {
        let succeeded = matches!(&of.phase, Phase::Finished { result, .. } if result == "succeeded");
        let by_another = of.approvals.iter().any(|a| a.approved && a.subject != of.requester);
        of.purpose == "salvage" && text(&of.plan, "reconciles") == run && succeeded && by_another
    };
    runs.armings().is_reconciled(run) || runs.all().iter().any(signed)
}

/// `id` has begun, and is no failover.
pub(super) fn planned(bench: &mut Bench<'_>, runs: &Runs, id: &str) {
    let Some(run) = runs.run(id).filter(|run| run.purpose != "failover" && run.purpose != "salvage") else { return };
    let target = text(&run.plan, "target");
    let forced = |earlier: &&Run| {
        let is_of = |p: &Promotion| {
            p.is_lossy && earlier.started_at <= p.at && p.at <= run.started_at && region_of(&p.from) == target
        };
        let left = text(&earlier.plan, "source") == target;
        earlier.purpose == "failover" && left && bench.truth.promotions.iter().any(is_of)
    };
    let Some(last) = runs.all().iter().rev().find(forced) else { return };
    bench.findings.checked("S8");
    // Where something lossless has led there since, nothing is left to reconcile.
    let led_there = |p: &Promotion| !p.is_lossy && last.started_at <= p.at && region_of(&p.to) == target;
    if !is_reconciled(runs, &last.id) && !bench.truth.promotions.iter().any(led_there) {
        let text = format!(
            "{id}, a {}, began towards {target}, which {} had left with writes that nobody has reconciled",
            run.purpose, last.id
        );
        bench.findings.violated("S8", run.started_at, text);
    }
}

/// A call that leaves for a salvage: it tells people, and makes a copy of a snapshot.
pub(super) fn sent(bench: &mut Bench<'_>, runs: &Runs, call: &Call, intent: Option<&Intent>) {
    let Some(run) = intent.and_then(|i| runs.run(&i.run)).filter(|run| run.purpose == "salvage") else { return };
    bench.findings.checked("S13");
    if !matches!(text(&call.arguments, "call"), "publish" | "copy_snapshot") {
        let text = format!("{} left for {}, which is a salvage: it moves nothing", call.operation, run.id);
        bench.findings.violated("S13", call.at, text);
    }
}
