//! What people have armed, read anew from the journal's JSON: who stands behind a run that was started alone (S6), and
//! whether somebody has looked at the one before it (S17).
//!
//! It folds the events of overrides as they stand, and judges nothing of why a run was started.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::{journal::Record, text};

/// One override, as far as it matters here.
#[derive(Debug)]
struct Override {
    kind: Value,
    by: String,
    expires_ms: i64,
    consent: Option<String>,
    is_over: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Armings {
    overrides: BTreeMap<String, Override>,
    /// The run that was started alone last.
    last: Option<String>,
    acknowledged: BTreeSet<String>,
    /// Runs whose lost writes were dealt with, as somebody has said.
    reconciled: BTreeSet<String>,
}

impl Armings {
    /// Takes an event of an override in.
    pub(super) fn take(&mut self, event: &Value) {
        let open = |all: &mut BTreeMap<String, Override>, change: &dyn Fn(&mut Override)| {
            if let Some(of) = all.get_mut(text(event, "id")) {
                change(of);
            }
        };
        match text(event, "event") {
            "override_asked" => {
                let asked = &event["asked"];
                let kind = asked["kind"].clone();
                if text(&kind, "kind") == "acknowledge" {
                    self.acknowledged.insert(text(&kind, "run").to_owned());
                    if kind["reconciled"] == Value::Bool(true) {
                        self.reconciled.insert(text(&kind, "run").to_owned());
                    }
                }
                let expires_at = text(asked, "expires_at").parse::<Timestamp>();
                let of = Override {
                    kind,
                    by: text(asked, "by").to_owned(),
                    expires_ms: expires_at.map_or(0, Timestamp::as_millisecond),
                    consent: None,
                    is_over: false,
                };
                self.overrides.insert(text(asked, "id").to_owned(), of);
            }
            "override_consented" => {
                open(&mut self.overrides, &|of| of.consent = Some(text(event, "subject").to_owned()));
            }
            _ => open(&mut self.overrides, &|of| of.is_over = true),
        }
    }

    /// What is wrong where nobody has looked at the run that was started alone last, and nobody has waived that.
    pub(super) fn unacknowledged(&self, record: &Record) -> Option<String> {
        let last = self.last.as_ref().filter(|last| !self.acknowledged.contains(*last))?;
        let waived = self.in_force(record).any(|o| text(&o.kind, "rule") == "acknowledged");
        (!waived).then(|| format!("{last} was started alone before, and nobody has acknowledged it"))
    }

    pub(super) fn is_reconciled(&self, run: &str) -> bool {
        self.reconciled.contains(run)
    }

    /// Whether two people had armed what `run` does, and nothing had ended it; it is used up then.
    pub(super) fn spend(&mut self, arming: &str, run: &str, plan: &Value, record: &Record) -> Result<(), String> {
        self.last = Some(run.to_owned());
        let is_off = self.in_force(record).any(|o| text(&o.kind, "kind") == "kill_switch");
        let Some(of) = self.overrides.get_mut(arming) else {
            return Err(format!("it was started by {arming}, which nobody has asked for"));
        };
        let same = |armed: &str, planned: &str| text(&of.kind, armed) == text(plan, planned);
        let fault = if text(&of.kind, "kind") != "arm" {
            Some("arms nothing")
        } else if of.is_over {
            Some("was over already")
        } else if of.expires_ms <= wall_ms(record) {
            Some("had expired")
        } else if of.consent.as_ref().is_none_or(|other| *other == of.by) {
            Some("has one person behind it only")
        } else if !same("from", "source") || !same("to", "target") {
            Some("is of another direction")
        } else if of.kind["largest_loss_seconds"].as_f64() < plan["accepted_loss_seconds"].as_f64() {
            Some("allows a smaller loss")
        } else {
            is_off.then_some("did not count while the automation was switched off")
        };
        of.is_over = true;
        fault.map_or(Ok(()), |fault| Err(format!("it was started by {arming}, which {fault}")))
    }

    fn in_force(&self, record: &Record) -> impl Iterator<Item = &Override> {
        let now = wall_ms(record);
        self.overrides.values().filter(move |o| !o.is_over && now < o.expires_ms)
    }
}

/// The daemon's own time at a record: by it things expire.
fn wall_ms(record: &Record) -> i64 {
    i64::try_from(record.at.0).unwrap_or(i64::MAX).saturating_add(record.clock_ahead_ms)
}
