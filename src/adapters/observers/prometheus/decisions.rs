//! The series about deciding: what each rule and each vantage says, what is left of the budgets, what people have armed
//! or switched off.
//!
//! Invariants: as in [`super`]: bounded labels, and no series for what is not known.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use prometheus::{GaugeVec, Registry};

use super::{gauges, replace};
use crate::domain::{
    assessment::Assessment,
    deadline::{Deadline, Level},
    id::ApplicationName,
    policy::Mode,
    rules::{Finding, Rule},
    signature::{Check, Family},
    vantage::Stand,
};

const STANDS: [(Stand, &str); 4] =
    [(Stand::Ill, "ill"), (Stand::Against, "against"), (Stand::Silent, "silent"), (Stand::Abstains, "abstains")];

/// See the module.
#[derive(Debug)]
pub(super) struct Decisions {
    forecast: GaugeVec,
    rto_used: GaugeVec,
    rto_left: GaugeVec,
    burn_rate: GaugeVec,
    rule_holds: GaugeVec,
    vantage_stand: GaugeVec,
    armed: GaugeVec,
    kill_switch: GaugeVec,
    would_start: GaugeVec,
    deadline: GaugeVec,
    signatures: GaugeVec,
}

/// What one application's series need from one call to the next.
#[derive(Debug, Default)]
pub(super) struct Shown {
    burn_rate: BTreeSet<[String; 2]>,
    vantage_stand: BTreeSet<[String; 3]>,
    /// The mode is not in an assessment; that shadow would start is.
    shadow: bool,
}

impl Decisions {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let one = |name: &str, help: &str, labels: &[&str]| gauges(registry, name, help, labels);
        Ok(Self {
            forecast: one(
                "failoverd_rto_forecast_seconds",
                "How long a failover would take, by quantile; absent where no runbook for it compiles.",
                &["application", "quantile"],
            )?,
            rto_used: one(
                "failoverd_rto_used_seconds",
                "Since the first evidence of the present trouble; absent while there is none.",
                &["application"],
            )?,
            rto_left: one(
                "failoverd_rto_left_seconds",
                "What is left of the RTO in the present trouble; 0 when spent, absent while there is none.",
                &["application"],
            )?,
            burn_rate: one(
                "failoverd_rpo_burn_rate",
                "How fast the allowance of time over the RPO is spent; 1 spends exactly all of it.",
                &["application", "store"],
            )?,
            rule_holds: one(
                "failoverd_rule_holds",
                "1 where the rule for acting alone holds or is waived; unknown is 0.",
                &["application", "rule"],
            )?,
            vantage_stand: one(
                "failoverd_vantage_stand",
                "1 for where the vantage stands on the active Region.",
                &["application", "vantage", "stand"],
            )?,
            armed: one("failoverd_armed", "1 while a failover in the present direction is armed.", &["application"])?,
            kill_switch: one("failoverd_kill_switch", "1 while nothing may be started alone.", &["application"])?,
            would_start: one(
                "failoverd_would_start",
                "1 while every rule holds in shadow mode, where nothing is started.",
                &["application"],
            )?,
            deadline: one(
                "failoverd_rto_warning",
                "1 where the run under way has come so far in using up the RTO; absent while none is under way.",
                &["application", "level"],
            )?,
            signatures: one(
                "failoverd_old_signatures_refused",
                "1 where AWS was seen to refuse signatures that are too old; unknown is 0.",
                &["service"],
            )?,
        })
    }

    pub(super) fn set(&self, shown: &mut Shown, a: &Assessment) {
        let name = a.application.as_str();
        match &a.forecast {
            Some(forecast) => {
                let total = forecast.total;
                self.forecast.with_label_values(&[name, "0.5"]).set(total.p50.as_secs_f64());
                self.forecast.with_label_values(&[name, "0.95"]).set(total.p95.as_secs_f64());
            }
            None => ["0.5", "0.95"].iter().for_each(|q| remove(&self.forecast, &[name, q])),
        }
        set_or_remove(&self.rto_used, &[name], a.rto.as_ref().map(|rto| rto.used.as_secs_f64()));
        let left = a.rto.as_ref().map(|rto| rto.left.unwrap_or(Duration::ZERO).as_secs_f64());
        set_or_remove(&self.rto_left, &[name], left);
        let burn = a
            .rpo
            .iter()
            .filter_map(|(store, budget)| budget.burn_rate.map(|rate| ([name.to_owned(), store.to_string()], rate)));
        replace(&self.burn_rate, &mut shown.burn_rate, burn.collect());
        for finding in &a.rules {
            self.rule_holds.with_label_values(&[name, finding.rule.as_str()]).set(flag(finding.is_met()));
        }
        let stands: BTreeMap<[String; 3], f64> = a
            .witnesses
            .iter()
            .flat_map(|w| {
                let labels = |stand: &str| [name.to_owned(), w.vantage.to_string(), stand.to_owned()];
                STANDS.map(|(stand, text)| (labels(text), flag(w.stand == stand)))
            })
            .collect();
        replace(&self.vantage_stand, &mut shown.vantage_stand, stands);
        let found = |rule: Rule| a.rules.iter().find(|f| f.rule == rule).map(Finding::is_met);
        set_or_remove(&self.armed, &[name], found(Rule::Armed).map(flag));
        set_or_remove(&self.kill_switch, &[name], found(Rule::KillSwitch).map(|is_off| flag(!is_off)));
        set_or_remove(&self.would_start, &[name], shown.shadow.then(|| flag(a.would_start)));
    }

    /// How the run under way stands to the RTO.
    pub(super) fn signatures_checked(&self, family: Family, check: &Check) {
        self.signatures.with_label_values(&[family.word()]).set(flag(check.is_verified()));
    }

    pub(super) fn due(&self, application: &ApplicationName, deadline: Option<&Deadline>) {
        let name = application.as_str();
        let worst = deadline.and_then(|d| d.warnings.iter().map(|w| w.level).max());
        for level in Level::ALL {
            let reached = deadline.map(|_| flag(Some(level) <= worst));
            set_or_remove(&self.deadline, &[name, level.as_str()], reached);
        }
    }
}

impl Shown {
    pub(super) fn of(mode: Mode) -> Self {
        Self { shadow: mode == Mode::Shadow, ..Self::default() }
    }
}

fn flag(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

fn remove(gauge: &GaugeVec, labels: &[&str]) {
    // Removing what is not there is no fault.
    let _ = gauge.remove_label_values(labels);
}

fn set_or_remove(gauge: &GaugeVec, labels: &[&str], value: Option<f64>) {
    match value {
        Some(value) => gauge.with_label_values(labels).set(value),
        None => remove(gauge, labels),
    }
}
