//! Runs that were started alone, from the world's side: S18 (the Region that is left had stopped answering), S8 (what the
//! last failover left behind is not gone back to), beside what [`super::armings`] reads of S6 and S17.
//!
//! It deliberately knows nothing of signals, vantages and rules: only whether the Region's servers answered.

use super::{Bench, region_of, runs::Runs, text};
use crate::{domain::id::Region, sim::world::SimTime};

/// For how long the Region must not have answered: longer than the partition of 43 s that GitHub's automation answered
/// (FAULTS.md R1).
const SILENT_MS: u64 = 45_000;

/// How far behind the world many vantages may be, in milliseconds: two questions that wait for their timeout, a report,
/// a judgement.
const SIGHT_MS: u64 = 10_000;

/// An answer that was there for less, in milliseconds, may have been between two questions of every vantage.
const NOTICED_MS: u64 = 6_000;

/// `id` was started alone.
pub(super) fn started(bench: &mut Bench<'_>, runs: &Runs, id: &str) {
    let Some(run) = runs.run(id) else { return };
    let at = run.started_at;
    let (source, target) = (text(&run.plan, "source"), text(&run.plan, "target"));
    let region = |name: &str| name.parse::<Region>().ok();
    if let Some(answered) = region(source).and_then(|source| bench.truth.answers_of(&source)) {
        bench.findings.checked("S18");
        if let Some(ago_ms) = answered_ms_ago(&answered, at) {
            let text = format!(
                "{id} began by itself although {source}, which it leaves, answered {} s ago: an automatic run needs a \
                 Region that has not answered for {} s",
                ago_ms / 1_000,
                SILENT_MS / 1_000
            );
            bench.findings.violated("S18", at, text);
        }
    }
    let promoted = |earlier: &&super::runs::Run| {
        let is_of = |p: &super::truth::Promotion| {
            p.is_lossy && earlier.started_at <= p.at && region_of(&p.from) == text(&earlier.plan, "source")
        };
        earlier.id != id && earlier.purpose == "failover" && bench.truth.promotions.iter().any(is_of)
    };
    let Some(last) = runs.all().iter().rev().find(promoted) else { return };
    bench.findings.checked("S8");
    if text(&last.plan, "source") == target && !super::salvage::is_reconciled(runs, &last.id) {
        let text = format!(
            "{id} began by itself towards {target}, which {} had left with writes that nobody has reconciled",
            last.id
        );
        bench.findings.violated("S8", at, text);
    }
}

/// How long before `at` the Region answered last, where that is too lately; `answers` are the times in which it did.
fn answered_ms_ago(answers: &[(SimTime, Option<SimTime>)], at: SimTime) -> Option<u64> {
    let known = SimTime(at.0.saturating_sub(SIGHT_MS));
    let noticed = answers.iter().rev().find(|(from, to)| {
        let to = to.map_or(known, |to| to.min(known));
        *from < to && NOTICED_MS <= to.since_ms(*from)
    })?;
    let last = noticed.1.map_or(at, |to| to.min(at));
    (known.0.saturating_sub(SILENT_MS) < last.0).then(|| at.since_ms(last))
}
