//! Traces, put together: what is recorded, to a collector over HTTP.

use std::sync::Arc;

use anyhow::Context as _;
use prometheus::IntCounter;

use crate::{
    adapters::observers::{
        otlp::{HttpCollector, Traces},
        outgoing::{Outgoing, system_lookup},
        several::Several,
    },
    config::Settings,
    domain::application::Application,
    ports::{Clock, Observer},
};

/// Begins to send traces, where `settings` say where to.
///
/// # Errors
/// When TLS cannot be set up on this machine.
pub(super) fn begin(
    settings: &Settings,
    applications: &[Arc<Application>],
    holder: &str,
    clock: &Arc<dyn Clock>,
    dropped: IntCounter,
) -> anyhow::Result<Option<Arc<Traces>>> {
    let Some(to) = &settings.traces else { return Ok(None) };
    let outgoing = Outgoing::new(settings.egress.clone(), system_lookup()).context("set up traces")?;
    let collector = HttpCollector::new(outgoing, to.url.clone(), to.headers.clone(), &super::environment());
    let clock = Arc::clone(clock);
    Ok(Some(Arc::new(Traces::begin(applications.iter(), holder, Arc::new(collector), clock, dropped))))
}

/// `metrics`, and traces where they are sent.
pub(super) fn beside(metrics: Arc<dyn Observer>, traces: Option<&Arc<Traces>>) -> Arc<dyn Observer> {
    match traces {
        Some(traces) => Arc::new(Several(vec![metrics, Arc::clone(traces) as Arc<dyn Observer>])),
        None => metrics,
    }
}
