//! The page of a run's evidence: one file of HTML that opens without a network, and can be printed.
//!
//! Invariant: every word is from the evidence, and what came from outside is escaped. No script, no reference to anything
//! outside; colours never say alone what is meant.

use std::{fmt::Write as _, time::Duration};

use jiff::Timestamp;

use crate::domain::{
    evidence::{Evidence, Signature, Stage, Summary},
    id::Digest,
    run::RunResult,
};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1a1a1a;--dim:#5a5a5a;--line:#c8c8c8;--page:#fff;--done:#0b6bcb;--bad:#b3261e;--wait:#8a6d00}
@media (prefers-color-scheme:dark){:root{--ink:#ececec;--dim:#a8a8a8;--line:#4a4a4a;--page:#16181c;--done:#6fb1ff;--bad:#ff8a80;--wait:#e0c060}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-bottom:1px solid var(--line)}
th{font-weight:600}.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.dim{color:var(--dim)}.wide{overflow-x:auto}
code{font:13px/1.4 ui-monospace,monospace;overflow-wrap:break-word}.met{color:var(--done);font-weight:600}.missed{color:var(--bad);font-weight:600}
svg{width:100%;height:auto;overflow:visible}svg text{fill:var(--ink);font:12px system-ui,sans-serif}svg .dim{fill:var(--dim)}
.bar{fill:var(--done)}.bar.failed{fill:var(--bad)}.bar.skipped,.bar.began{fill:var(--wait)}.axis{stroke:var(--line)}.limit{stroke:var(--bad);stroke-dasharray:5 3}
.curve{fill:none;stroke:var(--done);stroke-width:2}.dot{fill:var(--done)}
@media print{body{margin:0;max-width:none}h2{break-after:avoid}tr,svg{break-inside:avoid}}";

/// The plots' width, in their own units.
const WIDTH: f64 = 900.0;
/// What the names of steps take of it.
const NAMES: f64 = 190.0;

/// The page of `evidence`.
pub(super) fn page(evidence: &Evidence, signed: Option<&Signature>) -> String {
    let summary = &evidence.summary;
    let header = &evidence.header;
    let title = format!(
        "{}: {} {} to {}, {}",
        header.application,
        summary.purpose,
        summary.source,
        summary.target,
        result(summary),
    );
    let mut out = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    let _ = write!(out, "<title>{}</title><style>{STYLE}</style></head><body><main>", esc(&title));
    let _ = write!(out, "<h1>{}</h1>", esc(&title));
    let _ =
        write!(out, "<p class=dim>Run <code>{}</code>, started {}", esc(header.run.as_str()), time(summary.started_at));
    if let (Some(at), Some(reason)) = (summary.finished_at, &summary.result_reason) {
        let _ = write!(out, ", ended {}: {}", time(at), esc(reason));
    }
    out.push_str("</p>");
    objectives(&mut out, evidence);
    timeline(&mut out, summary, header.objectives.rto);
    lags(&mut out, evidence);
    loss(&mut out, evidence);
    people(&mut out, summary);
    calls(&mut out, summary);
    stages(&mut out, summary);
    verdicts(&mut out, summary);
    origin(&mut out, evidence, signed);
    out.push_str("</main></body></html>\n");
    out
}

fn result(summary: &Summary) -> &'static str {
    match summary.result {
        Some(RunResult::Succeeded) => "succeeded",
        Some(RunResult::Failed) => "failed",
        Some(RunResult::Aborted) => "aborted",
        Some(RunResult::Superseded) => "superseded",
        None => "not over",
    }
}

fn esc(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Nothing that would turn the writing round or hide a part of it.
            c if c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c) => {
                out.push('\u{fffd}');
            }
            c => out.push(c),
        }
    }
    out
}

fn time(at: Timestamp) -> String {
    format!("<time>{}</time>", at.strftime("%Y-%m-%d %H:%M:%S UTC"))
}

fn seconds(d: Duration) -> String {
    match d.as_secs() {
        0..60 => format!("{:.1} s", d.as_secs_f64()),
        s @ 60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        s => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
    }
}

fn or_unknown(d: Option<Duration>) -> String {
    d.map_or_else(|| "not measured".to_owned(), seconds)
}

fn verdict(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "<span class=met>met</span>",
        Some(false) => "<span class=missed>missed</span>",
        None => "not known",
    }
}

fn objectives(out: &mut String, evidence: &Evidence) {
    let (summary, promised) = (&evidence.summary, &evidence.header.objectives);
    out.push_str("<h2>What was promised, and what was measured</h2><div class=wide><table><tr><th>objective<th class=n>promised<th class=n>measured<th>");
    let _ = write!(
        out,
        "<tr><td>RTO: out of service, from the first evidence<td class=n>{}<td class=n>{}<td>{}",
        seconds(promised.rto),
        or_unknown(summary.rto),
        verdict(summary.rto_met)
    );
    let lost = match &summary.loss {
        None => "not measured".to_owned(),
        Some(loss) => {
            let least = loss.at_least.map_or_else(|| "?".to_owned(), seconds);
            let most = loss.at_most.map_or_else(|| "not bounded".to_owned(), seconds);
            format!("{least} to {most}")
        }
    };
    let _ = write!(
        out,
        "<tr><td>RPO: acknowledged writes lost, in time<td class=n>{}<td class=n>{lost}<td>{}</table></div>",
        seconds(promised.rpo),
        verdict(summary.rpo_met)
    );
    if let Some(loss) = &summary.loss {
        let _ = write!(out, "<p class=dim>How the loss is known: {}</p>", esc(&loss.basis));
    }
    out.push_str("<div class=wide><table><tr><th>share of the RTO<th class=n>took");
    let shares = [
        ("detection: to the recommendation", summary.detection),
        ("decision: to the last consent", summary.decision),
        ("execution: to the last change of traffic", summary.execution),
        ("propagation: to a sustained success through the public name", summary.propagation),
    ];
    for (name, took) in shares {
        let _ = write!(out, "<tr><td>{name}<td class=n>{}", or_unknown(took));
    }
    out.push_str("</table></div>");
}

/// Seconds from `zero` to `at`, which may be before it.
fn offset(zero: Timestamp, at: Timestamp) -> f64 {
    at.duration_since(zero).as_secs_f64()
}

fn timeline(out: &mut String, summary: &Summary, rto: Duration) {
    let zero = summary.evidence_since.unwrap_or(summary.started_at).min(summary.started_at);
    let ends = summary.stages.iter().filter_map(|s| s.ended_at.or(s.began_at)).chain(summary.finished_at);
    let last = ends.map(|at| offset(zero, at)).fold(rto.as_secs_f64(), f64::max).max(1.0);
    let shown: Vec<&Stage> = summary.stages.iter().filter(|s| s.began_at.is_some() || s.ended_at.is_some()).collect();
    let x = |seconds: f64| NAMES + (WIDTH - NAMES) * (seconds / last).clamp(0.0, 1.0);
    let height = 30.0 + 22.0 * shown.len() as f64;
    out.push_str("<h2>The run against its RTO</h2>");
    let label = format!("Timeline of {} steps over {}", shown.len(), seconds(Duration::from_secs_f64(last)));
    let _ = write!(out, "<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=img aria-label=\"{label}\">", height + 24.0);
    for tick in ticks(last) {
        let at = x(tick);
        let _ = write!(out, "<line class=axis x1={at:.1} x2={at:.1} y1=20 y2={height:.0} />");
        let _ = write!(out, "<text class=dim x={at:.1} y={:.0} text-anchor=middle>{tick:.0} s</text>", height + 18.0);
    }
    for (row, stage) in shown.iter().enumerate() {
        let y = 24.0 + 22.0 * row as f64;
        let began = stage.began_at.or(stage.ended_at).map_or(0.0, |at| offset(zero, at));
        let ended = stage.ended_at.map_or(last, |at| offset(zero, at));
        let (from, width) = (x(began), (x(ended) - x(began)).max(2.0));
        let name: String = stage.step.as_str().chars().take(28).collect();
        let _ = write!(out, "<text x=0 y={:.0}>{}</text>", y + 13.0, esc(&name));
        let _ =
            write!(out, "<rect class=\"bar {}\" x={from:.1} y={y:.0} width={width:.1} height=16 rx=2>", stage.ended);
        let _ = write!(
            out,
            "<title>{}: {} after {:.1} s, for {:.1} s</title></rect>",
            esc(stage.step.as_str()),
            stage.ended,
            began,
            ended - began
        );
        if stage.ended != "done" {
            let _ = write!(
                out,
                "<text x={:.1} y={:.0}>{}</text>",
                (from + width + 4.0).min(WIDTH - 50.0),
                y + 13.0,
                stage.ended
            );
        }
    }
    let at = x(rto.as_secs_f64());
    let _ = write!(
        out,
        "<line class=limit x1={at:.1} x2={at:.1} y1=14 y2={height:.0} /><text x={at:.1} y=11 text-anchor=end>RTO {}</text></svg>",
        seconds(rto)
    );
}

/// Some five round numbers from 0 to `last`.
fn ticks(last: f64) -> Vec<f64> {
    let step = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21600.0, 86400.0];
    let step = step.into_iter().find(|step| last / step <= 7.0).unwrap_or(last / 5.0);
    (0..=7).map(|n| f64::from(n) * step).take_while(|at| *at <= last).collect()
}

fn lags(out: &mut String, evidence: &Evidence) {
    let lags = &evidence.summary.lags;
    let (Some(first), Some(last)) =
        (lags.iter().map(|l| l.measured_at).min(), lags.iter().map(|l| l.measured_at).max())
    else {
        out.push_str("<h2>Replication lag</h2><p>No lag was known when the application was judged.</p>");
        return;
    };
    let rpo = evidence.header.objectives.rpo.as_secs_f64();
    let top = lags.iter().map(|l| l.lag.as_secs_f64()).fold(rpo, f64::max).max(0.001) * 1.1;
    let span = offset(first, last).max(1.0);
    let x = |at: Timestamp| NAMES + (WIDTH - NAMES) * offset(first, at) / span;
    let y = |lag: f64| 140.0 - 120.0 * lag / top;
    out.push_str("<h2>Replication lag, whenever the application was judged</h2>");
    let _ = write!(out, "<svg viewBox=\"0 0 {WIDTH} 170\" role=img aria-label=\"Replication lag against the RPO\">");
    let _ = write!(out, "<line class=axis x1={NAMES} x2={WIDTH} y1=140 y2=140 /><text class=dim x=0 y=144>0 s</text>");
    let _ = write!(
        out,
        "<line class=limit x1={NAMES} x2={WIDTH} y1={0:.1} y2={0:.1} /><text x=0 y={1:.1}>RPO {2}</text>",
        y(rpo),
        y(rpo) + 4.0,
        seconds(evidence.header.objectives.rpo)
    );
    let _ = write!(out, "<text class=dim x={NAMES} y=160>{}</text>", first.strftime("%H:%M:%S"));
    let _ = write!(out, "<text class=dim x={WIDTH} y=160 text-anchor=end>{}</text>", last.strftime("%H:%M:%S"));
    for lag in lags {
        let _ = write!(
            out,
            "<circle class=dot cx={:.1} cy={:.1} r=3><title>{} at {}: {}</title></circle>",
            x(lag.measured_at),
            y(lag.lag.as_secs_f64()),
            esc(lag.signal.as_str()),
            lag.measured_at.strftime("%H:%M:%S"),
            seconds(lag.lag)
        );
    }
    out.push_str(
        "</svg><p class=dim>Each point is a reading that the journal holds: those by which the verdict changed. What was read \
         in between is not recorded, and so not drawn.</p>",
    );
}

/// What was lost against what was promised: an interval, since the old writer's last acknowledgement is only bracketed.
fn loss(out: &mut String, evidence: &Evidence) {
    let Some(loss) = &evidence.summary.loss else { return };
    let Some(least) = loss.at_least.or(loss.at_most.map(|_| Duration::ZERO)) else { return };
    let rpo = evidence.header.objectives.rpo;
    let known = loss.at_most.unwrap_or(least).max(least);
    let last = (known.max(rpo).as_secs_f64() * 1.1).max(0.001);
    let x = |d: Duration| NAMES + (WIDTH - NAMES) * (d.as_secs_f64() / last).clamp(0.0, 1.0);
    // Open to the right where nothing bounds it.
    let end = loss.at_most.map_or(WIDTH, x);
    let most = loss.at_most.map_or_else(|| "no known bound".to_owned(), seconds);
    let label = format!("Between {} and {most} of acknowledged writes were lost", seconds(least));
    out.push_str("<h2>Acknowledged writes lost, in time</h2>");
    let _ = write!(out, "<svg viewBox=\"0 0 {WIDTH} 60\" role=img aria-label=\"{label}\">");
    let _ = write!(
        out,
        "<line class=axis x1={NAMES} x2={WIDTH} y1=44 y2=44 /><text x=0 y=34>{} to {most}</text>",
        seconds(least)
    );
    let _ = write!(
        out,
        "<rect class=\"bar {}\" x={from:.1} y=20 width={width:.1} height=18 rx=2><title>{label}</title></rect>",
        if evidence.summary.rpo_met == Some(false) { "failed" } else { "done" },
        from = x(least),
        width = (end - x(least)).max(2.0),
    );
    let at = x(rpo);
    let _ = write!(
        out,
        "<line class=limit x1={at:.1} x2={at:.1} y1=14 y2=48 /><text x={at:.1} y=11 text-anchor=end>RPO {}</text>\
         <text class=dim x={NAMES} y=58>0 s</text></svg>",
        seconds(rpo)
    );
}

fn people(out: &mut String, summary: &Summary) {
    out.push_str(
        "<h2>Who did what</h2><div class=wide><table><tr><th>when<th>who<th>did<th>step<th>why<th class=n>record",
    );
    for deed in &summary.people {
        let step = deed.step.as_ref().map_or("", |s| s.as_str());
        let _ = write!(
            out,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td class=n>{}",
            time(deed.at),
            esc(&deed.subject),
            esc(&deed.did),
            esc(step),
            esc(&deed.reason),
            deed.record
        );
    }
    let _ = write!(
        out,
        "</table></div><p class=dim>What was approved is the plan with the digest <code>{}</code>.</p>",
        summary.plan_digest
    );
}

fn calls(out: &mut String, summary: &Summary) {
    out.push_str("<h2>Calls that change something</h2>");
    if summary.calls.is_empty() {
        out.push_str("<p>None was made.</p>");
        return;
    }
    out.push_str("<div class=wide><table><tr><th>intended<th>operation<th>Region<th>step<th>answer<th>AWS request id<th class=n>record");
    for call in &summary.calls {
        let regions: Vec<&str> = call.regions.iter().map(|r| r.as_str()).collect();
        let id = call.request_id.as_deref().map_or_else(|| "none".to_owned(), |id| format!("<code>{}</code>", esc(id)));
        let _ = write!(
            out,
            "<tr><td>{}<td><code>{}</code>{}<td>{}<td>{}<td>{}<td>{id}<td class=n>{}",
            time(call.intended_at),
            esc(&call.operation),
            if call.is_undo { " (takes back)" } else { "" },
            regions.join(", "),
            esc(call.step.as_str()),
            esc(&call.outcome),
            call.record
        );
    }
    out.push_str("</table></div>");
}

fn stages(out: &mut String, summary: &Summary) {
    out.push_str("<h2>Steps, and what was observed</h2><div class=wide><table><tr><th>step<th>action<th>ended<th class=n>took<th>observed");
    for stage in &summary.stages {
        let took = match (stage.began_at, stage.ended_at) {
            (Some(from), Some(to)) => Duration::try_from(to.duration_since(from)).map(seconds).unwrap_or_default(),
            _ => String::new(),
        };
        let observed: Vec<String> = stage.observed.iter().map(|o| esc(o)).collect();
        let tries = if stage.attempts > 1 { format!(" ({} attempts)", stage.attempts) } else { String::new() };
        let _ = write!(
            out,
            "<tr><td>{}<td><code>{}</code><td>{}{tries}<td class=n>{took}<td>{}",
            esc(stage.step.as_str()),
            esc(&stage.action),
            stage.ended,
            observed.join("<br>")
        );
    }
    out.push_str("</table></div>");
}

fn verdicts(out: &mut String, summary: &Summary) {
    out.push_str(
        "<h2>How the application was judged</h2><div class=wide><table><tr><th>when<th>verdict<th>health<th>why",
    );
    for verdict in &summary.verdicts {
        let reasons: Vec<String> = verdict.reasons.iter().map(|r| esc(r)).collect();
        let _ = write!(
            out,
            "<tr><td>{}<td>{}<td>{}<td>{}",
            time(verdict.at),
            esc(&verdict.verdict),
            esc(&verdict.health),
            reasons.join("<br>")
        );
    }
    out.push_str("</table></div>");
}

fn origin(out: &mut String, evidence: &Evidence, signed: Option<&Signature>) {
    let (header, summary) = (&evidence.header, &evidence.summary);
    let file = Digest::of(evidence.sealed(signed.cloned()).as_bytes());
    let key =
        signed.map_or_else(|| "nobody: no key is configured".to_owned(), |s| format!("<code>{}</code>", esc(&s.key)));
    let _ = write!(
        out,
        "<h2>Where this comes from</h2><p>This page shows what the file of JSON lines holds; only that one can be verified: \
         <code>failoverd evidence verify {run}.jsonl</code>.</p><div class=wide><table>\
         <tr><td>records of the journal<td class=n>{first} to {last}\
         <tr><td>SHA-256 of the file<td><code>{file}</code>\
         <tr><td>signed by<td>{key}\
         <tr><td>runbook<td>{runbook} <code>{runbook_digest}</code>\
         <tr><td>configuration of the plan<td><code>{plan_config}</code>\
         <tr><td>configuration of the objectives<td><code>{config}</code>\
         <tr><td>written by<td>{program}</table></div>\
         <p class=dim>Reads are not in the journal; CloudTrail has them. Every call above has AWS's own request id there.</p>",
        run = esc(header.run.as_str()),
        first = header.first_record,
        last = (header.first_record + header.records).saturating_sub(1),
        runbook = esc(summary.runbook.as_str()),
        runbook_digest = summary.runbook_digest,
        plan_config = summary.config_digest,
        config = header.config_digest,
        program = esc(&header.program),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{evidence::tests::evidence, run::LossReport};

    #[test]
    fn the_page_shows_the_run_and_needs_nothing_else() {
        let text = page(&evidence(), None);
        for shown in ["oncall", "bob", "req-1", "2 min 41 s", "met</span>", "nobody: no key is configured"] {
            assert!(text.contains(shown), "no `{shown}` in\n{text}");
        }
        for foreign in ["<script", "http://", "https://", "src=", "@import", "url("] {
            assert!(!text.contains(foreign), "`{foreign}` in\n{text}");
        }
        let digest = Digest::of(evidence().sealed(None).as_bytes()).to_string();
        assert!(text.contains(&digest), "the page names its file");
    }

    #[test]
    fn what_came_from_outside_is_shown_and_not_obeyed() {
        let mut evil = evidence();
        evil.summary.people[0].reason = "</td><script>alert(1)</script>\u{202e}\"'&".to_owned();
        let text = page(&evil, None);
        assert!(text.contains("&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;\u{fffd}&quot;&#39;&amp;"), "{text}");
    }

    /// An interval is drawn as one, and open where nothing bounds it.
    #[test]
    fn what_was_lost_is_drawn_against_the_rpo() {
        let drawn = |least: Option<u64>, most: Option<u64>| {
            let mut lossy = evidence();
            lossy.summary.loss = Some(LossReport {
                last_surviving_write: None,
                last_seen_write: None,
                first_unanswered: None,
                at_least: least.map(Duration::from_secs),
                at_most: most.map(Duration::from_secs),
                basis: "a test".to_owned(),
            });
            let text = page(&lossy, None);
            let plot = text
                .split("Acknowledged writes lost, in time</h2>")
                .nth(1)
                .map(|rest| rest.split("</svg>").next().unwrap_or_default().to_owned());
            plot.unwrap_or_default()
        };
        // The RPO is 1 s, so that 10 s are at 190 + 710 / 1.1.
        let plot = drawn(Some(2), Some(10));
        assert!(plot.contains("2.0 s to 10.0 s") && plot.contains("x=319.1 y=20 width=516.4"), "{plot}");
        let open = drawn(Some(2), None);
        assert!(open.contains("no known bound") && open.contains("RPO 1.0 s"), "{open}");
        let from_nothing = drawn(None, Some(10));
        assert!(from_nothing.contains("x=190.0 y=20"), "{from_nothing}");
        assert_eq!(drawn(None, None), "");
    }

    #[test]
    fn what_is_not_known_is_said_to_be_so() {
        let mut unknown = evidence();
        (unknown.summary.rto, unknown.summary.rto_met) = (None, None);
        let text = page(&unknown, None);
        assert!(text.contains("not measured") && text.contains("not known") && !text.contains("class=met"), "{text}");
        assert!(text.contains("No lag was known"), "{text}");
        assert!(!text.contains("Acknowledged writes lost, in time"), "nothing is drawn of what was not measured");
    }
}
