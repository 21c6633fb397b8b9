//! The model oracle: what clients were told against what there is, and against what the runs say was lost.
//!
//! An acknowledged write is missing only where a promotion that may lose writes left it behind, and then within the
//! time that the run reports; a writer that is certainly fenced acknowledges nothing. It knows nothing of how the
//! program measures: the truth is the two logs at the moment of the promotion.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    Bench,
    runs::{Phase, Run, Runs},
    text,
    truth::Promotion,
};
use crate::sim::world::{
    SimTime, World,
    aurora::{Cluster, Commit},
};

/// How far a reported loss may be off, in milliseconds: two writes of one client are 250 ms apart, at either end.
const TOLERANCE_MS: u64 = 500;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Account {
    seen: usize,
    /// The global cluster that clients write to, once it is known.
    global: Option<String>,
    /// Writes that somebody acknowledged who was not the writer (any more), by the promotion that deposed them.
    late: BTreeMap<usize, Vec<Commit>>,
}

impl Account {
    pub(super) fn is_news(&self, world: &World) -> bool {
        self.seen != world.clients.acknowledged().len()
    }

    /// Who acknowledged what is new.
    pub(super) fn look(&mut self, bench: &mut Bench<'_>) {
        let world = bench.seen.world;
        let acknowledged = world.clients.acknowledged();
        let news = &acknowledged[self.seen.min(acknowledged.len())..];
        self.seen = acknowledged.len();
        // Until the role has moved there is nobody who could have been deposed.
        if bench.truth.promotions.is_empty() {
            return;
        }
        if self.global.is_none() {
            self.global = global_of_clients(bench);
        }
        let (Some(global), Some(first)) = (&self.global, news.first()) else { return };
        let all_along = bench.truth.writer_all_along(global, first.at).and_then(|arn| world.aurora.cluster(arn));
        for write in news {
            let writer =
                all_along.or_else(|| bench.truth.writer_at(global, write.at).and_then(|arn| world.aurora.cluster(arn)));
            // A write that leaves with the promotion's own instant is the old writer's.
            let Some(deposed) = bench.truth.promotions.iter().rposition(|p| p.at < write.at) else { continue };
            let promotion = &bench.truth.promotions[deposed];
            if promotion.is_fenced {
                bench.findings.checked("history");
            }
            if writer.is_none_or(|writer| holds(writer, write.id)) {
                continue;
            }
            if world.aurora.cluster(&promotion.from).is_some_and(|old| holds(old, write.id)) {
                self.late.entry(deposed).or_default().push(Commit {
                    id: write.id,
                    acknowledged_at: write.at,
                    is_beat: false,
                });
                if promotion.is_fenced {
                    let text = format!(
                        "{} acknowledged a write at {}, after it had verifiably been fenced: it is lost",
                        promotion.from,
                        bench.findings.clock(write.at)
                    );
                    bench.findings.violated("history", write.at, text);
                }
            }
        }
    }

    /// The account at the end.
    pub(super) fn finish(&self, bench: &mut Bench<'_>, runs: &Runs) {
        self.check_missing(bench);
        for run in runs.all() {
            if let Phase::Finished { at, .. } = run.phase {
                self.check_report(bench, runs, run, at);
            }
        }
        check_reads(bench);
    }

    /// Whatever is missing was left behind by a promotion that may lose.
    fn check_missing(&self, bench: &mut Bench<'_>) {
        let world = bench.seen.world;
        let acknowledged = world.clients.acknowledged();
        let global = global_of_clients(bench);
        let writer = global.as_deref().and_then(|global| {
            let alone = bench.truth.alone(global).and_then(|arn| world.aurora.cluster(arn));
            alone.or_else(|| world.aurora.writer_of(global))
        });
        let Some(writer) = writer.filter(|_| !acknowledged.is_empty()) else { return };
        bench.findings.checked("history");
        let mut explained = bench.truth.left_behind();
        explained.extend(self.late.values().flatten().map(|c| c.id));
        // Both ascend.
        let mut held = writer.commits().iter().map(|c| c.id).peekable();
        let mut missing = 0_u64;
        let mut first = None;
        for write in acknowledged {
            while held.next_if(|id| *id < write.id).is_some() {}
            if held.peek() != Some(&write.id) && !explained.contains(&write.id) {
                missing += 1;
                first.get_or_insert(write.at);
            }
        }
        if let Some(first) = first {
            let text = format!(
                "{missing} acknowledged writes are not in {} at the end, from {} on, and no promotion left them behind",
                writer.arn,
                bench.findings.clock(first)
            );
            bench.findings.violated("history", first, text);
        }
    }

    /// The loss that a run reports is the loss that there is.
    fn check_report(&self, bench: &mut Bench<'_>, runs: &Runs, run: &Run, finished: SimTime) {
        let Some(index) = promotion_of(bench.truth.promotions.as_slice(), runs, run, finished) else { return };
        let promotion = &bench.truth.promotions[index];
        bench.findings.checked("history");
        // A report tells of what was until it was made; that an old writer is left unfenced after it is told by its basis.
        let late = self.late.get(&index).map_or(&[][..], Vec::as_slice);
        let late = &late[..late.partition_point(|write| write.acknowledged_at <= finished)];
        let [at_moving, in_all] = [&[][..], late].map(|late| {
            let last = late.last().or(promotion.lost.last());
            let since = promotion.survived.or(promotion.lost.first().copied());
            last.zip(since).map_or(0, |(last, since)| last.acknowledged_at.since_ms(since.acknowledged_at))
        });
        let lost = promotion.lost.len() + late.len();
        if run.loss.is_null() {
            if lost > 0 {
                let text = format!(
                    "{} ended at {} without a word on its loss, and {lost} acknowledged writes are lost",
                    run.id,
                    bench.findings.clock(finished)
                );
                bench.findings.violated("history", finished, text);
            }
            return;
        }
        let ms = |key: &str| run.loss[key].as_f64().map(|seconds| seconds * 1_000.0);
        // Some of the report's ends are the daemon's clock, the others the database's.
        let slack = (TOLERANCE_MS + run.clock_error_ms) as f64;
        let (least, most) = (ms("at_least_seconds"), ms("at_most_seconds"));
        let told = told(&run.loss);
        let mut wrong = Vec::new();
        if most.is_some_and(|most| most + slack < at_moving as f64) {
            wrong.push(format!("{:.1} s of writes were not replicated when the writer moved", s(at_moving)));
        } else if most.is_some_and(|most| most + slack < in_all as f64) {
            wrong.push(format!(
                "the old writer, which was not fenced, went on acknowledging: {:.1} s of writes are lost",
                s(in_all)
            ));
        }
        if least.is_some_and(|least| in_all as f64 + slack < least) {
            wrong.push(format!("only {:.1} s of writes are lost", s(in_all)));
        }
        if least.zip(most).is_some_and(|(least, most)| most + slack < least) {
            wrong.push("that is no interval".to_owned());
        }
        if !wrong.is_empty() {
            let text = format!("{} reports a loss of {told}, but {}", run.id, wrong.join(", and "));
            bench.findings.violated("history", finished, text);
        }
    }
}

fn s(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

fn told(loss: &Value) -> String {
    let end = |key: &str| loss[key].as_f64().map_or_else(|| "unknown".to_owned(), |seconds| format!("{seconds} s"));
    format!("at least {}, at most {}", end("at_least_seconds"), end("at_most_seconds"))
}

/// The promotion that `run` brought about, whether it may lose or not; the last one.
fn promotion_of(promotions: &[Promotion], runs: &Runs, run: &Run, finished: SimTime) -> Option<usize> {
    let intended = |promotion: &Promotion| {
        runs.intents.iter().any(|i| {
            i.run == run.id
                && i.at <= promotion.at
                && text(&i.mutation, "target") == promotion.to
                && matches!(text(&i.mutation, "call"), "aurora_failover" | "aurora_detach") == promotion.is_lossy
        })
    };
    let in_time = |p: &Promotion| run.started_at <= p.at && p.at <= finished;
    promotions.iter().rposition(|p| in_time(p) && intended(p))
}

fn holds(cluster: &Cluster, id: u64) -> bool {
    cluster.commits().binary_search_by_key(&id, |commit| commit.id).is_ok()
}

/// The global cluster that the application's servers write to.
fn global_of_clients(bench: &Bench<'_>) -> Option<String> {
    let world = bench.seen.world;
    let used: BTreeSet<&str> = world.endpoints.iter().map(|e| e.db_cluster.as_str()).collect();
    let uses = |id: &&String| {
        let members = world.aurora.global_cluster(id).map(|g| &g.members);
        members.is_some_and(|members| members.iter().any(|arn| used.contains(arn.as_str())))
    };
    bench.known.global_clusters.iter().find(uses).cloned()
}

/// Where nothing failed and nothing could be lost, nobody reads less than before.
fn check_reads(bench: &mut Bench<'_>) {
    let world = bench.seen.world;
    let truth = bench.truth;
    let is_calm = !truth.has_trouble && !truth.promotions.is_empty() && truth.promotions.iter().all(|p| !p.is_lossy);
    if !is_calm {
        return;
    }
    bench.findings.checked("history");
    let backwards = world.clients.ledger(&world.aurora).reads_backwards;
    if backwards > 0 {
        let text = format!("{backwards} reads showed less than the same client had read before, in a planned move");
        bench.findings.violated("history", world.now, text);
    }
}
