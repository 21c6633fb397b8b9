//! Observers elsewhere, as the engine hears them: each probes what the daemon probes, from a place of its own.

use std::sync::Arc;

use failoverd::{
    domain::{
        id::VantageName,
        judge::Reach,
        signal::{Reading, Sample, SignalSource},
    },
    engine::control::Control as _,
    ports::{
        Probes,
        probes::{HttpAnswer, HttpQuestion},
    },
    sim::port::SimProbes,
};

use super::Live;

/// What an observer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sees {
    /// What is there.
    TheWorld,
    /// Everything well, whatever is there.
    AllWell,
    /// Nothing: it does not report.
    Nothing,
}

/// Sets the daemon's own reach, and lets `name` report every two seconds for as long as the test runs.
pub(crate) fn observe(live: &Live, name: &str, sees: Sees) {
    live.vantages.set_reach(Reach::Sure { says: "2 of 2 control points answer".to_owned() });
    if sees == Sees::Nothing {
        return;
    }
    let vantage: VantageName = name.parse().expect("a name");
    let (vantages, clock, world) = (Arc::clone(&live.vantages), Arc::clone(&live.clock), live.world.clone());
    let application = live.engine.applications().remove(0);
    tokio::spawn(async move {
        let probes = SimProbes::new(world);
        loop {
            for signal in &application.signals {
                let SignalSource::HttpProbe { url, timeout, .. } = &signal.source else { continue };
                let asked_at = clock.wall();
                let question = HttpQuestion {
                    url: url.clone(),
                    timeout: *timeout,
                    resolve_with: Vec::new(),
                    record_type: "A".to_owned(),
                };
                let healthy = || Reading::Healthy { detail: "200".to_owned() };
                let reading = match probes.http(&question).await {
                    _ if sees == Sees::AllWell => healthy(),
                    HttpAnswer::Status { status: 200..300, .. } => healthy(),
                    HttpAnswer::Status { status, .. } => Reading::Unhealthy { detail: format!("answered {status}") },
                    HttpAnswer::NoAnswer { reason } => Reading::Unhealthy { detail: reason },
                    HttpAnswer::NotAsked { reason } => Reading::Missing { why: reason },
                };
                let sample = Sample { measured_at: asked_at, taken_at: clock.wall(), reading };
                vantages.hear(&application.name, &vantage, signal, sample);
            }
            clock.sleep(std::time::Duration::from_secs(2)).await;
        }
    });
}
