//! What is counted and timed from the start of the process on: steps, commits, calls, lines that were dropped.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// From a poll to the longest promotion.
const STEP_SECONDS: [f64; 12] = [0.1, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0];

/// From an fsync on a fast disk to a store in trouble.
const APPEND_SECONDS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];

pub(super) fn step_duration(registry: &Registry) -> Result<HistogramVec, prometheus::Error> {
    let buckets = STEP_SECONDS.to_vec();
    let opts = HistogramOpts::new("failoverd_step_duration_seconds", "How long steps took that were done.");
    let all = HistogramVec::new(opts.buckets(buckets), &["action"])?;
    registry.register(Box::new(all.clone()))?;
    Ok(all)
}

pub(super) fn append(registry: &Registry) -> Result<Histogram, prometheus::Error> {
    let buckets = APPEND_SECONDS.to_vec();
    let opts = HistogramOpts::new("failoverd_journal_append_seconds", "How long commits to the journal took.");
    let all = Histogram::with_opts(opts.buckets(buckets))?;
    registry.register(Box::new(all.clone()))?;
    Ok(all)
}

pub(super) fn requests(registry: &Registry) -> Result<IntCounterVec, prometheus::Error> {
    let what = "Calls to AWS by how they ended: ok, rejected, not_sent, unknown.";
    let opts = Opts::new("failoverd_aws_requests_total", what);
    let all = IntCounterVec::new(opts, &["service", "operation", "region", "outcome"])?;
    registry.register(Box::new(all.clone()))?;
    Ok(all)
}

pub(super) fn traces_dropped(registry: &Registry) -> Result<IntCounter, prometheus::Error> {
    let all = IntCounter::new("failoverd_traces_dropped_total", "Spans that the collector of traces was not given.")?;
    registry.register(Box::new(all.clone()))?;
    Ok(all)
}

/// Where evidence is kept: attempts that failed, and runs that are over and not kept.
pub(super) fn evidence(registry: &Registry) -> Result<(IntCounter, IntGauge), prometheus::Error> {
    let failures = "Attempts to keep the evidence of a run that failed.";
    let failures = IntCounter::new("failoverd_evidence_keep_failures_total", failures)?;
    registry.register(Box::new(failures.clone()))?;
    let unkept = IntGauge::new("failoverd_evidence_unkept", "Runs that are over and whose evidence is not kept here.")?;
    registry.register(Box::new(unkept.clone()))?;
    Ok((failures, unkept))
}

pub(super) fn log_lines_dropped(registry: &Registry) -> Result<IntCounter, prometheus::Error> {
    let all = IntCounter::new("failoverd_log_lines_dropped_total", "Lines that the log's pipe did not take.")?;
    registry.register(Box::new(all.clone()))?;
    Ok(all)
}
