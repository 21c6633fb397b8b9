//! Reading CloudWatch for all applications of this daemon together.
//!
//! What is due at the same time in the same Region is one `GetMetricData` (up to 500 metrics) or one `DescribeAlarms`
//! (up to 100 alarms), so that calls per application fall as applications grow.
//!
//! Invariant: one application's question never spoils another's. A call that CloudWatch refuses because of one of its
//! questions is divided until that one stands alone.
//!
//! It is a reader of its own, beside the cloud port and not a decorator of it, so that nobody reads through it who did
//! not mean to: a guard, which reads just before an effect, asks the port, alone and at once. It remembers nothing.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt as _;

use crate::{
    domain::{
        cloud::{ALARMS_PER_CALL_MAX, Alarm, Answer, METRICS_PER_CALL_MAX, MetricQuery, ObserveError, Series},
        id::Region,
    },
    engine::coalesce::Coalescer,
    ports::{Clock, Cloud},
};

/// How long a question waits for others that are due. All periods begin at the same moments, so it need only cover
/// what separates the watchers of one daemon from each other.
pub const WAIT: Duration = Duration::from_millis(500);

/// How many calls one batch may become when CloudWatch refuses questions of it: enough to single out two among 500.
const CALLS_MAX: usize = 40;

/// See the module. One for all watchers of a daemon.
#[derive(Debug)]
pub struct MetricReader {
    metrics: Coalescer<MetricQuery, Series>,
    alarms: Coalescer<String, Alarm>,
}

impl MetricReader {
    pub fn new(cloud: Arc<dyn Cloud>, clock: Arc<dyn Clock>) -> Self {
        let of_alarms = Arc::clone(&cloud);
        Self {
            metrics: Coalescer::new(
                Arc::clone(&clock),
                WAIT,
                METRICS_PER_CALL_MAX,
                Arc::new(move |region, queries, window| metrics(Arc::clone(&cloud), region, queries, window).boxed()),
            ),
            alarms: Coalescer::new(
                clock,
                WAIT,
                ALARMS_PER_CALL_MAX,
                Arc::new(move |region, names, _| alarms(Arc::clone(&of_alarms), region, names).boxed()),
            ),
        }
    }

    /// The newest datapoints of `query` in `region`, looked for at least as far back as `window`.
    ///
    /// # Errors
    /// Why CloudWatch did not tell: of the call, or of this metric alone.
    pub async fn metric(&self, region: &Region, query: MetricQuery, window: Duration) -> Answer<Series> {
        self.metrics.ask(region, query, window).await
    }

    /// The alarm `name` in `region`.
    ///
    /// # Errors
    /// Why CloudWatch did not tell; `NotFound` where there is no such alarm.
    pub async fn alarm(&self, region: &Region, name: &str) -> Answer<Alarm> {
        self.alarms.ask(region, name.to_owned(), Duration::ZERO).await
    }
}

/// Asks `queries` in as few calls as CloudWatch answers.
async fn metrics(
    cloud: Arc<dyn Cloud>,
    region: Region,
    queries: Vec<MetricQuery>,
    window: Duration,
) -> Vec<Answer<Series>> {
    let mut answers: Vec<Answer<Series>> = Vec::with_capacity(queries.len());
    // The parts still to be asked, the next one last.
    let mut parts: Vec<&[MetricQuery]> = vec![&queries];
    let mut calls = 0;
    while let Some(part) = parts.pop() {
        calls += 1;
        match cloud.metrics(&region, part, window).await {
            Ok(all) if all.len() == part.len() => answers.extend(all),
            Ok(all) => {
                let reason = format!("{} answers to {} questions", all.len(), part.len());
                answers.extend(std::iter::repeat_n(Err(ObserveError::Malformed { reason }), part.len()));
            }
            Err(error) if concerns_a_question(&error) && 1 < part.len() && calls < CALLS_MAX => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.push(second);
                parts.push(first);
            }
            Err(error) => answers.extend(std::iter::repeat_n(Err(error), part.len())),
        }
    }
    answers
}

async fn alarms(cloud: Arc<dyn Cloud>, region: Region, names: Vec<String>) -> Vec<Answer<Alarm>> {
    let count = names.len();
    cloud.alarms(&region, &names).await.unwrap_or_else(|error| std::iter::repeat_n(Err(error), count).collect())
}

/// Whether CloudWatch refused for what was asked, not for who asked or how often.
fn concerns_a_question(error: &ObserveError) -> bool {
    const CODES: [&str; 5] = [
        "ValidationError",
        "InvalidParameterValue",
        "InvalidParameterCombination",
        "MissingRequiredParameter",
        "MissingParameter",
    ];
    matches!(error, ObserveError::Rejected { code, .. } if CODES.contains(&code.trim_end_matches("Exception")))
}

#[cfg(test)]
mod tests;
