//! "Am I the one who is cut off?": asking the control points of a vantage, each period.
//!
//! Invariant: a control point that hangs delays no other, and its last answer grows old meanwhile. That any answer
//! comes back is what counts, not what it says. What follows from it is judged elsewhere.

use std::{collections::BTreeSet, mem::discriminant, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        judge::Reach,
        vantage::{ProbeTarget, Reachability},
    },
    engine::vantages::Vantages,
    ports::{
        Clock, Probes,
        probes::{HttpAnswer, HttpQuestion, TcpAnswer},
    },
};

/// Asks the control points of `vantages` and keeps its reach true until `stopping`. Does nothing where there are none.
pub async fn keep(
    vantages: Arc<Vantages>,
    clock: Arc<dyn Clock>,
    probes: Arc<dyn Probes>,
    stopping: CancellationToken,
) {
    let points = vantages.control_points().clone();
    if points.points.is_empty() {
        return;
    }
    let mut known = Reachability::new(points.clone());
    let mut asking: JoinSet<(usize, Duration, Result<(), String>)> = JoinSet::new();
    let mut busy: BTreeSet<usize> = BTreeSet::new();
    let mut due = clock.boot();
    loop {
        let now = clock.boot();
        if due <= now {
            due = now + points.period;
            for (index, point) in points.points.iter().enumerate().filter(|(index, _)| !busy.contains(index)) {
                let (probes, point, timeout) = (Arc::clone(&probes), point.clone(), points.timeout);
                asking.spawn(async move { (index, now, answers(&*probes, &point, timeout).await) });
            }
            busy.extend(0..points.points.len());
        }
        let (reach, until) = known.judge(now);
        tell(&vantages.reach(), &reach);
        vantages.set_reach_until(reach, until);
        tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            Some(asked) = asking.join_next(), if !asking.is_empty() => {
                // A question that panicked takes the vantage with it: a reach that is never asked again is no reach.
                let (index, at, reached) = asked.unwrap_or_else(|e| std::panic::resume_unwind(Box::new(e.to_string())));
                busy.remove(&index);
                known.note(index, at, reached);
            }
            () = clock.sleep(due.saturating_sub(now)) => {}
        }
    }
}

/// Once per change.
fn tell(before: &Reach, now: &Reach) {
    if discriminant(before) == discriminant(now) {
        return;
    }
    match now {
        Reach::Sure { says } => tracing::info!(says, "the control points answer"),
        Reach::CutOff { why } => tracing::warn!(why, "this vantage is cut off"),
        Reach::Unknown { why } => tracing::warn!(why, "it is not known whether this vantage is cut off"),
    }
}

/// Whether anything at all answers there.
async fn answers(probes: &dyn Probes, target: &ProbeTarget, timeout: Duration) -> Result<(), String> {
    match target {
        ProbeTarget::Http { url } => match probes.http(&question(url, timeout)).await {
            HttpAnswer::Status { .. } => Ok(()),
            HttpAnswer::NoAnswer { reason } | HttpAnswer::NotAsked { reason } => Err(reason),
        },
        ProbeTarget::Tcp { address } => match probes.tcp(address, timeout).await {
            TcpAnswer::Connected => Ok(()),
            TcpAnswer::NoAnswer { reason } | TcpAnswer::NotAsked { reason } => Err(reason),
        },
    }
}

fn question(url: &str, timeout: Duration) -> HttpQuestion {
    HttpQuestion { url: url.to_owned(), timeout, resolve_with: Vec::new(), record_type: "A".to_owned() }
}

#[cfg(test)]
mod tests;
