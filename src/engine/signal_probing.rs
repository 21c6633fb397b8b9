//! Waiting until the signals say what a step expects: by what the watcher judged last.
//!
//! Invariant: nothing is read here, and what nobody has judged for a while is unknown. A restart forgets for how long it has
//! been so, which only makes the wait longer.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;

use crate::{
    domain::{
        id::StepId,
        run::RunState,
        seconds::to_seconds,
        signal_probe::{Shown, SignalProbe},
    },
    engine::{
        context::Context,
        look::{Look, Memory},
        outlook::Condition,
        step,
    },
};

/// The watcher judges so often.
const PAUSE: Duration = Duration::from_secs(1);

fn shown(context: &Context, probe: &SignalProbe) -> Shown {
    let now = context.clock.boot();
    probe.judge(&context.signs.of(&probe.signals, now), context.signs.verdict(now))
}

/// Looks once.
pub(super) fn look(context: &Context, run: &RunState, id: &StepId, probe: &SignalProbe, memory: &mut Memory) -> Look {
    let shown = shown(context, probe);
    if !shown.is_so {
        memory.so_since = None;
        return Look::NotYet { why: shown.why.join("; "), pause: PAUSE };
    }
    let (now, elapsed) = (context.clock.boot(), step::elapsed(context, run, id));
    let (since, after) = *memory.so_since.get_or_insert((now, elapsed));
    let lasts = now.saturating_sub(since);
    if lasts < probe.hold_for {
        let why = format!("so for {} s of {} s: {}", to_seconds(lasts), to_seconds(probe.hold_for), in_words(&shown));
        return Look::NotYet { why, pause: PAUSE };
    }
    let evidence = format!("{} s after the step began: {}", to_seconds(after), in_words(&shown));
    let outputs = BTreeMap::from([
        ("seconds".to_owned(), json!(to_seconds(after))),
        ("said".to_owned(), json!(shown.said)),
        ("health".to_owned(), json!(shown.health)),
        ("verdict".to_owned(), json!(shown.verdict)),
    ]);
    Look::Satisfied { evidence: vec![evidence], outputs }
}

fn in_words(shown: &Shown) -> String {
    let said = if shown.said.is_empty() { String::new() } else { format!("{}; ", shown.said) };
    format!("{said}the application is {}, and what follows is: {}", shown.health, shown.verdict)
}

/// What a look ahead, for a plan, shows; what a step before this one is to bring about is named there.
pub(super) fn ahead(context: &Context, probe: &SignalProbe) -> Condition {
    let shown = shown(context, probe);
    match shown.is_so {
        true => Condition::Met { evidence: vec![in_words(&shown)] },
        false => Condition::NotMet { why: shown.why.join("; ") },
    }
}
