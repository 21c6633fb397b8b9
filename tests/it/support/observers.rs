//! Observers elsewhere, as the engine hears them: each probes what the daemon probes, from a place of its own.

use std::sync::Arc;

use failoverd::{
    domain::{
        id::VantageName,
        judge::Reach,
        report::{Observed, Report},
        signal::SignalSource,
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
        for sequence in 1.. {
            let mut samples = Vec::new();
            for signal in &application.signals {
                let SignalSource::HttpProbe { url, timeout, .. } = &signal.source else { continue };
                let asked_at = clock.boot();
                let question = HttpQuestion {
                    url: url.clone(),
                    timeout: *timeout,
                    resolve_with: Vec::new(),
                    record_type: "A".to_owned(),
                };
                let (healthy, detail) = match probes.http(&question).await {
                    _ if sees == Sees::AllWell => (true, "200".to_owned()),
                    HttpAnswer::Status { status, .. } => ((200..300).contains(&status), format!("answered {status}")),
                    HttpAnswer::NoAnswer { reason } => (false, reason),
                    HttpAnswer::NotAsked { .. } => continue,
                };
                let age = clock.boot().saturating_sub(asked_at);
                let (application, signal) = (application.name.clone(), signal.name.clone());
                samples.push(Observed { application, signal, age, healthy, detail });
            }
            let report = Report { process: "the-only-one".to_owned(), sequence, abstains: None, samples };
            let heard = vantages.hear(&application, &vantage, &report, clock.wall());
            heard.expect("the policy names the observer");
            clock.sleep(std::time::Duration::from_secs(2)).await;
        }
    });
}
