//! One disaster as a readable timeline: when (as the scenario counts), who, what.
//!
//! Invariant: nothing of this machine is in it, so that the same seed prints the same bytes.

use std::fmt::Write as _;

use super::tally::word;
use crate::{
    cli::render::{plain, seconds, wrapped},
    sim::{
        rehearse::{Ending, Rehearsed},
        world::SimTime,
    },
};

/// The timeline of `run`, and how it ended.
pub fn text(application: &str, run: &Rehearsed) -> String {
    let mut out = format!("{}: {}, seed {}\n", plain(application), plain(&run.scenario), run.seed);
    for line in &run.trace {
        out.push_str(&wrapped(&format!("{}  {:<8} ", clock(run.begins, line.at), line.who), &line.text));
    }
    out.push_str(&ending(run));
    out
}

/// ` 0:03:07.250`; `-0:00:02.000` before the scenario begins.
fn clock(begins: SimTime, at: SimTime) -> String {
    let (sign, ms) = if at < begins { ('-', begins.since_ms(at)) } else { (' ', at.since_ms(begins)) };
    let s = ms / 1_000;
    format!("{sign}{}:{:02}:{:02}.{:03}", s / 3_600, s / 60 % 60, s % 60, ms % 1_000)
}

fn ending(run: &Rehearsed) -> String {
    let ended = match &run.ending {
        Ending::Held { step, code, reason, waits_for } => {
            let at = step.as_ref().map_or(String::new(), |step| format!(" at {step}"));
            format!("held{at}: {code}: {reason}; waiting for {waits_for}")
        }
        Ending::Refused { reason } => format!("journal refused: {reason}"),
        Ending::NoRun
        | Ending::Succeeded
        | Ending::Aborted
        | Ending::Failed
        | Ending::Superseded
        | Ending::Unfinished => word(&run.ending).to_owned(),
    };
    let served = match (run.served_at_end, run.out_of_service_seconds) {
        (true, None) => "without interruption".to_owned(),
        (true, Some(out)) => format!("again, after {} without service", seconds(out)),
        (false, out) => format!("not at the end, for {}", out.map_or_else(|| "a time unknown".to_owned(), seconds)),
    };
    let reported = match run.loss_reported_seconds {
        None => "not reported".to_owned(),
        Some((at_least, at_most)) => {
            let bound = |s: Option<f64>| s.map_or_else(|| "unknown".to_owned(), seconds);
            format!("reported as at least {}, at most {}", bound(at_least), bound(at_most))
        }
    };
    let mut out = wrapped("ended         ", &ended);
    out.push_str(&wrapped("served        ", &served));
    let lost = format!("{} writes over {}; {reported}", run.writes_lost, seconds(run.loss_seconds));
    out.push_str(&wrapped("data lost     ", &lost));
    for text in &run.unmet {
        out.push_str(&wrapped("NOT AS EXPECTED  ", text));
    }
    for violation in &run.violations {
        let head = format!("VIOLATED {} at{}: ", violation.property, clock(run.begins, violation.at));
        out.push_str(&wrapped(&head, &violation.text));
    }
    let _ = writeln!(out, "history       {}", run.history);
    out
}

#[cfg(test)]
mod tests {
    use super::{super::report::tests::violating, *};
    use crate::sim::rehearse::TraceLine;

    #[test]
    fn a_timeline_counts_as_the_scenario_does() {
        let line =
            |ms: u64, who, text: &str| TraceLine { at: SimTime(1_795_000_000_000 + ms), who, text: text.to_owned() };
        let trace = vec![
            line(0, "process", "started"),
            line(61_250, "fault", "us-east-1 is lost"),
            line(100_250, "call", &"rds:FailoverGlobalCluster to us-west-2 ".repeat(3)),
            line(3_661_000, "people", "second approves\u{1b}[31m"),
        ];
        let run = Rehearsed {
            trace,
            loss_reported_seconds: Some((Some(0.2), None)),
            unmet: ["served within 300 s".to_owned()].into(),
            begins: SimTime(1_795_000_000_000 + 10_000),
            ..violating(4)
        };
        let text = text("payments", &run);
        assert!(!text.contains('\u{1b}'));
        insta::assert_snapshot!(text);
    }
}
