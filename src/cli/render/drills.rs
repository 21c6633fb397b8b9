//! Drills, when they are due and what they have proved, as text.

use std::fmt::Write as _;

use super::{cut, plain, time, wrapped};
use crate::http::{
    drill_fault::DrillFaultView,
    drills::{DrillsView, LastDrillView},
    schedules::{NotBegunView, OccurrenceView, ReadinessView, ScheduleView},
};

/// The drills of the applications, their schedules, and how ready each application is.
pub fn all(view: &DrillsView) -> String {
    if view.drills.is_empty() {
        return "no application has a drill: name them in its `drills`\n".to_owned();
    }
    let mut out = String::new();
    for drill in &view.drills {
        out.push_str(&cut(&format!("{} {}", drill.application, drill.runbook)));
        out.push('\n');
        if let Some(description) = &drill.description {
            out.push_str(&wrapped("  ", description));
        }
        out.push_str(&wrapped("  last: ", &drill.last.as_ref().map_or("never held".to_owned(), last)));
    }
    for schedule in &view.schedules {
        out.push_str(&one(schedule));
    }
    if view.schedules.is_empty() {
        out.push_str("no application has a schedule: drills are held when somebody asks\n");
    }
    for ready in &view.readiness {
        out.push_str(&wrapped(&format!("{} is ", plain(&ready.application)), &readiness(ready)));
    }
    out
}

/// A fault of a drill that is in: what, since when, by which run, and how it comes out.
pub(in crate::cli) fn fault(fault: &DrillFaultView) -> String {
    format!("{} since {}, by step `{}` of {}: {}", fault.what, time(fault.since), fault.step, fault.run, fault.way_out)
}

fn last(last: &LastDrillView) -> String {
    let why = last.reason.as_ref().map_or(String::new(), |why| format!(": {why}"));
    format!("{} at {:.0} ({}){why}", last.state.as_str(), last.started_at, last.run)
}

fn one(schedule: &ScheduleView) -> String {
    let mut out = cut(&format!("{} schedule {}: {}", schedule.application, schedule.name, schedule.runbook));
    out.push('\n');
    out.push_str(&wrapped("  when: ", &format!("{} {}", schedule.cron, schedule.zone)));
    if let Some(who) = &schedule.on_call {
        out.push_str(&wrapped("  on call: ", who));
    }
    for next in &schedule.next {
        out.push_str(&wrapped("  next: ", &occurrence(next)));
    }
    out.push_str(&wrapped("  last: ", &schedule.last.as_ref().map_or("never began".to_owned(), last)));
    if let Some(not) = &schedule.not_begun {
        out.push_str(&wrapped("  not begun: ", &against(not)));
    }
    if let Some(missed) = &schedule.missed {
        out.push_str(&wrapped(&format!("  missed ({} in all): ", schedule.missed_count), &against(missed)));
    }
    let proved = schedule.days_since_proven.map_or("never".to_owned(), |days| format!("{days} days ago"));
    out.push_str(&wrapped("  proved: ", &proved));
    out
}

fn against(not: &NotBegunView) -> String {
    let code = not.code.as_ref().map_or(String::new(), |code| format!("{code}: "));
    format!("that of {:.0}: {code}{}", not.occurrence, not.reason)
}

fn occurrence(next: &OccurrenceView) -> String {
    let blackout = next.blackout.as_ref().map_or(String::new(), |why| format!(", in the blackout \"{why}\""));
    format!("{:.0}, there {}{blackout}", next.at, next.local)
}

/// When drills are due, in order.
pub fn calendar(view: &DrillsView) -> String {
    let mut all: Vec<(&OccurrenceView, &ScheduleView)> =
        view.schedules.iter().flat_map(|schedule| schedule.next.iter().map(move |next| (next, schedule))).collect();
    all.sort_by_key(|(next, schedule)| (next.at, schedule.application.clone(), schedule.name.clone()));
    let mut out = String::new();
    for (next, schedule) in all {
        let what = format!("{} {}: {} ({})", schedule.application, schedule.name, schedule.runbook, schedule.zone);
        // Nothing can go wrong in writing to a text.
        let _ = writeln!(out, "{}", plain(&occurrence(next)));
        out.push_str(&wrapped("    ", &what));
    }
    if out.is_empty() {
        out.push_str("nothing is due: no application has a schedule\n");
    }
    out
}

/// How ready an application is, and why.
pub fn readiness(ready: &ReadinessView) -> String {
    let mut text = ready.state.replace('_', " ");
    for needed in ready.needed.iter().filter(|needed| needed.days_since_proven.is_some()) {
        let days = needed.days_since_proven.unwrap_or_default();
        text.push_str(&format!("; {} {days:.0} days ago", needed.what));
    }
    for reason in &ready.reasons {
        text.push_str("; ");
        text.push_str(reason);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> DrillsView {
        let next = |at: &str, local: &str, blackout: Option<&str>| serde_json::json!({ "at": at, "local": local, "until": at, "blackout": blackout });
        let schedule = |name: &str, next: Vec<serde_json::Value>| {
            serde_json::json!({
                "application": "payments", "name": name, "runbook": "drill-dns", "cron": "0 10 * * tue#2",
                "zone": "Europe/Berlin", "on_call": "payments-oncall", "next": next, "last": null,
                "not_begun": { "occurrence": "2026-11-10T09:00:00Z", "at": "2026-11-10T09:00:15Z", "code": "blackout", "reason": "a sale" },
                "missed": { "occurrence": "2026-11-10T09:00:00Z", "at": "2026-11-10T11:00:00Z", "code": null, "reason": "a sale" },
                "began_count": 0, "missed_count": 1, "days_since_proven": null,
            })
        };
        let ready = serde_json::json!({
            "application": "payments", "state": "never_proven", "reasons": ["database: never proved"],
            "needed": [
                { "what": "traffic", "state": "green", "within_days": 100.0, "days_since_proven": 12.0, "run": "r" },
                { "what": "database", "state": "never_proven", "within_days": 100.0, "days_since_proven": null, "run": null },
            ],
        });
        let view = serde_json::json!({
            "drills": [{ "application": "payments", "runbook": "drill-dns", "description": "Only traffic moves.", "last": null }],
            "schedules": [
                schedule("monthly", vec![next("2026-12-08T09:00:00Z", "2026-12-08T10:00:00", None)]),
                schedule("early", vec![next("2026-12-01T09:00:00Z", "2026-12-01T10:00:00", Some("a sale"))]),
            ],
            "readiness": [ready],
        });
        serde_json::from_value(view).expect("a view")
    }

    #[test]
    fn what_became_of_a_schedule_is_told_and_never_is_no_number() {
        let text = all(&view());
        for line in [
            "payments schedule monthly: drill-dns\n",
            "  when: 0 10 * * tue#2 Europe/Berlin\n",
            "  next: 2026-12-08T09:00:00Z, there 2026-12-08T10:00:00\n",
            "  last: never began\n",
            "  not begun: that of 2026-11-10T09:00:00Z: blackout: a sale\n",
            "  missed (1 in all): that of 2026-11-10T09:00:00Z: a sale\n",
            "  proved: never\n",
            "payments is never proven; traffic 12 days ago; database: never proved\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= super::super::WIDTH), "{text}");
    }

    #[test]
    fn a_calendar_is_in_order_and_names_blackouts() {
        let text = calendar(&view());
        let early = text.find("2026-12-01T09:00:00Z, there 2026-12-01T10:00:00, in the blackout \"a sale\"");
        assert!(
            early.expect("it is there")
                < text.find("payments monthly: drill-dns (Europe/Berlin)").expect("it is there")
        );
    }
}
