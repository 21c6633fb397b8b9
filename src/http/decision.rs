//! A decision as callers get it: what is known, what holds, what would change it, and what the two options cost.
//!
//! Invariant: as in [`super::view`]: what is not known is `null` or the word `unknown`. Nothing is decided here, and no
//! sentence for people is made: that is the command line's, from this data.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    condition::{ExposureView, SignalView, exposure, signal},
    deadline::ShareView,
    deferred::DeferredView,
    drill_fault::DrillFaultView,
};
use crate::domain::{
    application::{Application, AuroraStore},
    assessment::{Assessment, Health, Verdict},
    budget,
    capacity::{self, Parity, Seen},
    forecast::{Forecast, StepForecast},
    history::History,
    id::{Region, SignalName, StoreName, VantageName},
    overrides::{Override, OverrideKind, Standing},
    policy::Mode,
    recovery,
    rules::{Finding, Holds, Rule},
    seconds::to_seconds,
    signal::{Reading, Signal, SignalSource, SignalState, SignalWindow, WitnessOf},
    vantage::{Observer, Stand, Witness},
};

/// What to do about an application, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DecisionView {
    pub application: String,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    #[schema(value_type = String, example = "recommend")]
    pub verdict: Verdict,
    #[schema(value_type = String, example = "down")]
    pub health: Health,
    pub active_region: Option<String>,
    pub recommended_target: Option<String>,
    /// Always at least one.
    pub reasons: Vec<String>,
    /// What would change the verdict.
    pub would_change: Vec<String>,
    /// The first evidence of the present trouble.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub evidence_since: Option<Timestamp>,
    /// When a failover was first recommended, if it still is.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub recommended_at: Option<Timestamp>,
    /// What the policy lets the program do: `recommend`, `shadow` or `automatic`.
    #[schema(value_type = String, example = "recommend")]
    pub mode: Mode,
    /// In shadow mode: every rule holds, and nothing is started.
    pub would_start: bool,
    /// Since when.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub would_start_since: Option<Timestamp>,
    /// What each signal says, as this daemon has read it.
    pub signals: Vec<SignalView>,
    /// Where each vantage stands on the active Region.
    pub witnesses: Vec<WitnessView>,
    /// What each rule for acting alone finds.
    pub rules: Vec<RuleView>,
    pub exposure: Vec<ExposureView>,
    /// The store whose loss bound is the worst; `null` where no store is replicated one way.
    pub worst_store: Option<String>,
    /// Each store's lag against the RPO, over the window.
    pub rpo: Vec<RpoView>,
    pub options: OptionsView,
    /// What people have overridden, while it stands or awaits consent.
    pub overrides: Vec<OverrideInForceView>,
    /// Faults that a drill has put in on purpose, and that are in or may be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drill_faults: Vec<DrillFaultView>,
    /// Work that runs have left open, which outlives their success.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open_work: Vec<DeferredView>,
}

/// Where one vantage stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WitnessView {
    pub vantage: String,
    #[schema(value_type = String, example = "ill")]
    pub stand: Stand,
    pub says: String,
    /// What it has reported, where it is an observer elsewhere.
    pub signals: Vec<SignalView>,
}

/// What one rule finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RuleView {
    #[schema(value_type = String, example = "dwell")]
    pub rule: Rule,
    /// `yes`, `no`, `unknown` (which counts as no) or `waived`.
    #[schema(value_type = String, example = "yes")]
    pub holds: Holds,
    pub says: String,
    /// What would satisfy it; `null` where it holds.
    pub satisfied_by: Option<String>,
}

/// One store's lag against the RPO, over the window that ends now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RpoView {
    pub store: String,
    pub objective_seconds: f64,
    pub window_seconds: f64,
    pub looked_seconds: f64,
    /// Over the RPO, or unknown.
    pub over_seconds: f64,
    pub unknown_seconds: f64,
    /// 1 spends exactly what the policy allows; `null` before the first look.
    pub burn_rate: Option<f64>,
}

/// What can be done, side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OptionsView {
    /// `null` where there is no Region to go to, or it is not known which one is active.
    pub fail_over: Option<FailOverView>,
    pub wait: WaitView,
}

/// Failing over now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FailOverView {
    pub source: String,
    pub target: String,
    /// Whether anything is lost at all: no store has one writer that would be promoted.
    pub loses_nothing: bool,
    /// Of acknowledged writes; `null`: unbounded.
    pub lose_at_most_seconds: Option<f64>,
    /// How long it would take; `null` where no runbook for it compiles.
    pub forecast: Option<ForecastView>,
    /// Whether the target can carry each store, as it was seen last; none where nothing was declared or seen.
    pub capacity: Vec<CapacityView>,
}

/// Whether one store's cluster in the target has what is declared, else what the source had when it was last well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CapacityView {
    pub store: String,
    /// `yes`, `no` or `unknown`.
    #[schema(value_type = String, example = "yes")]
    pub holds: Holds,
    pub says: String,
    /// When the target was seen; `null`: not since the start.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub seen_at: Option<Timestamp>,
}

/// How long a run would take, from its beginning until clients are served. People's time is no part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ForecastView {
    /// As often shorter as longer.
    pub p50_seconds: f64,
    /// Longer one time in twenty.
    pub p95_seconds: f64,
    /// The least number of runs that any step is known from; 0: some of it is declared.
    pub runs: usize,
    pub steps: Vec<StepForecastView>,
}

/// How long one step would take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepForecastView {
    pub step: String,
    pub p50_seconds: f64,
    pub p95_seconds: f64,
    /// From so many runs of this application; 0: declared.
    pub runs: usize,
}

/// Waiting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WaitView {
    pub rto_objective_seconds: f64,
    /// Since the first evidence; `null` where there is none.
    pub used_seconds: Option<f64>,
    /// `null`: nothing, where some is used.
    pub left_seconds: Option<f64>,
    /// When the RTO would be missed by a failover that began later; `null` where it would be missed already, or where
    /// that is not known.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub start_by: Option<Timestamp>,
    /// Each part of the RTO against its share, while there is evidence of trouble.
    pub shares: Vec<ShareView>,
}

/// Something that people have overridden.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OverrideInForceView {
    pub id: String,
    /// `arm`, `kill_switch`, `acknowledge` or `waive`.
    pub kind: String,
    /// `in_force` or `awaits_consent`.
    #[schema(value_type = String, example = "in_force")]
    pub standing: Standing,
    pub by: String,
    pub consent_by: Option<String>,
    pub reason: String,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// What it covers, as it is told to people.
    pub covers: String,
}

/// What a decision is shown from.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    pub application: &'a Application,
    pub assessment: &'a Assessment,
    pub history: Option<&'a History>,
    /// From where this daemon looks, and what observers elsewhere have reported.
    pub seen_from: Option<&'a (VantageName, BTreeMap<VantageName, Observer>)>,
    /// What each Region's clusters were last seen to have.
    pub capacities: &'a BTreeMap<(StoreName, Region), Seen>,
}

impl DecisionView {
    pub fn new(shown: &Shown<'_>) -> Self {
        let Shown { application, assessment, history, .. } = *shown;
        let worst = assessment.worst_exposure().map(|(store, _)| store.to_string());
        let overrides = history.into_iter().flat_map(|h| h.overrides.all());
        let stands = |o: &&Override| matches!(o.standing(assessment.at), Standing::InForce | Standing::AwaitsConsent);
        Self {
            application: assessment.application.to_string(),
            at: assessment.at,
            verdict: assessment.verdict,
            health: assessment.health,
            active_region: assessment.active_region.as_ref().map(ToString::to_string),
            recommended_target: assessment.recommended_target.as_ref().map(ToString::to_string),
            reasons: assessment.reasons.clone(),
            would_change: assessment.would_change.clone(),
            evidence_since: assessment.evidence_since,
            recommended_at: history.and_then(|h| h.recommended_at),
            mode: application.policy.mode,
            would_start: assessment.would_start,
            would_start_since: history.and_then(|h| h.would_start_since).filter(|_| assessment.would_start),
            signals: shown.signals(),
            witnesses: assessment.witnesses.iter().map(|w| shown.witness(w)).collect(),
            rules: assessment.rules.iter().map(RuleView::from).collect(),
            exposure: assessment
                .exposure
                .iter()
                .chain(&assessment.replicas)
                .map(|(store, e)| exposure(store.as_str(), e))
                .collect(),
            worst_store: worst,
            rpo: shown.rpo(),
            options: OptionsView { fail_over: shown.fail_over(), wait: shown.wait() },
            overrides: overrides.filter(stands).map(|o| overridden(o, assessment.at)).collect(),
            drill_faults: DrillFaultView::all(history),
            open_work: DeferredView::all(history, None),
        }
    }
}

impl Shown<'_> {
    fn signals(&self) -> Vec<SignalView> {
        let here = self.seen_from.map_or("this daemon", |(own, _)| own.as_str());
        let known = |name: &str| self.application.signals.iter().find(|s| s.name.as_str() == name);
        let view = |(name, state): (&SignalName, &SignalState)| {
            let declared = known(name.as_str());
            SignalView {
                role: declared.map(|s| s.role),
                from: declared.map(|s| from(s, here)),
                ..signal(name.as_str(), state, self.assessment.at)
            }
        };
        self.assessment.signals.iter().map(view).collect()
    }

    fn witness(&self, witness: &Witness) -> WitnessView {
        let heard = self.seen_from.and_then(|(_, elsewhere)| elsewhere.get(&witness.vantage));
        let windows = heard.into_iter().flat_map(|observer| &observer.windows);
        let view = |(name, window): (&SignalName, &SignalWindow)| {
            let declared = self.application.signals.iter().find(|s| s.name == *name)?;
            let state = window.state(self.assessment.at, declared.freshness);
            Some(signal(name.as_str(), &state, self.assessment.at))
        };
        WitnessView {
            vantage: witness.vantage.to_string(),
            stand: witness.stand,
            says: witness.says.clone(),
            signals: windows.filter_map(view).collect(),
        }
    }

    fn rpo(&self) -> Vec<RpoView> {
        let objective = to_seconds(self.application.objectives.rpo);
        let window = to_seconds(self.application.policy.rpo_window);
        let view = |(store, budget): (&StoreName, &budget::RpoBudget)| RpoView {
            store: store.to_string(),
            objective_seconds: objective,
            window_seconds: window,
            looked_seconds: to_seconds(budget.looked),
            over_seconds: to_seconds(budget.over),
            unknown_seconds: to_seconds(budget.unknown),
            burn_rate: budget.burn_rate,
        };
        self.assessment.rpo.iter().map(view).collect()
    }

    fn fail_over(&self) -> Option<FailOverView> {
        let source = self.assessment.active_region.as_ref()?;
        let other = || self.application.regions.iter().find(|r| *r != source);
        let target: &Region = self.assessment.recommended_target.as_ref().or_else(other)?;
        // Where something speaks ill of it, going there is no choice to be shown beside waiting.
        let is_ill = |s: &Signal| {
            let state = self.assessment.signals.get(&s.name);
            let ill = matches!(state, Some(SignalState::Fresh { sample }) if matches!(sample.reading, Reading::Unhealthy { .. }));
            ill && s.source.of() == Some(target)
        };
        if self.application.signals.iter().any(is_ill) {
            return None;
        }
        let bound = self.assessment.worst_exposure().and_then(|(_, bound)| bound);
        Some(FailOverView {
            source: source.to_string(),
            target: target.to_string(),
            loses_nothing: self.application.stores.is_empty() && self.assessment.exposure.is_empty(),
            lose_at_most_seconds: bound.map(to_seconds),
            forecast: self.assessment.forecast.as_ref().map(ForecastView::from),
            capacity: self.capacity(source, target),
        })
    }

    fn capacity(&self, source: &Region, target: &Region) -> Vec<CapacityView> {
        let view = |(store, db): (&StoreName, &AuroraStore)| {
            let seen = |region: &Region| self.capacities.get(&(store.clone(), region.clone()));
            let (holds, says, seen_at) = match capacity::compare(db.capacity.as_ref(), seen(source), seen(target)) {
                Some((Parity::Enough { says }, at)) => (Holds::Yes, says, Some(at)),
                Some((Parity::TooSmall { says }, at)) => (Holds::No, says, Some(at)),
                Some((Parity::Unknown { says }, at)) => (Holds::Unknown, says, Some(at)),
                None if db.capacity.is_some() => {
                    (Holds::Unknown, format!("what {target} has was not seen since the start"), None)
                }
                None => return None,
            };
            Some(CapacityView { store: store.to_string(), holds, says, seen_at })
        };
        self.application.stores.iter().filter_map(view).collect()
    }

    fn wait(&self) -> WaitView {
        let Shown { application, assessment, history, .. } = *self;
        let rto = application.objectives.rto;
        let of = &application.policy.rto_shares;
        let run = history.and_then(History::active_run);
        let shares = match (run, assessment.evidence_since) {
            (Some(run), _) => Some(recovery::shares(run, rto, of, assessment.at)),
            (None, Some(since)) => {
                let recommended = history.and_then(|h| h.recommended_at);
                Some(budget::shares_so_far(rto, of, since, recommended, assessment.at))
            }
            (None, None) => None,
        };
        let budget = assessment.rto.as_ref();
        WaitView {
            rto_objective_seconds: to_seconds(rto),
            used_seconds: budget.map(|b| to_seconds(b.used)),
            left_seconds: budget.and_then(|b| b.left).map(to_seconds),
            start_by: budget.and_then(|b| b.start_by),
            shares: shares.iter().flatten().map(ShareView::from).collect(),
        }
    }
}

/// From where a signal is seen, in a few words.
fn from(signal: &Signal, here: &str) -> String {
    match (signal.source.witness(), &signal.source) {
        (Some(WitnessOf::EveryVantage), _) => here.to_owned(),
        (Some(WitnessOf::Route53), _) => "route53".to_owned(),
        (Some(WitnessOf::CloudWatch(region)), _) => format!("cloudwatch-{region}"),
        (None, SignalSource::Heartbeat { .. }) => here.to_owned(),
        (None, _) => "cloudwatch".to_owned(),
    }
}

impl From<&Finding> for RuleView {
    fn from(finding: &Finding) -> Self {
        Self {
            rule: finding.rule,
            holds: finding.holds,
            says: finding.says.clone(),
            satisfied_by: finding.satisfied_by.clone(),
        }
    }
}

impl From<&Forecast> for ForecastView {
    fn from(forecast: &Forecast) -> Self {
        let seconds = |d: Duration| to_seconds(d);
        let step = |s: &StepForecast| StepForecastView {
            step: s.step.to_string(),
            p50_seconds: seconds(s.estimate.p50),
            p95_seconds: seconds(s.estimate.p95),
            runs: s.runs,
        };
        Self {
            p50_seconds: seconds(forecast.total.p50),
            p95_seconds: seconds(forecast.total.p95),
            runs: forecast.runs,
            steps: forecast.steps.iter().map(step).collect(),
        }
    }
}

fn overridden(o: &Override, now: Timestamp) -> OverrideInForceView {
    let covers = match &o.kind {
        OverrideKind::Arm { from, to, largest_loss } => {
            format!("{from} -> {to}, for at most {} s of lost writes", to_seconds(*largest_loss))
        }
        OverrideKind::KillSwitch => "nothing is started alone".to_owned(),
        OverrideKind::Acknowledge { run, reconciled: true } => format!("{run}, and its lost writes were reconciled"),
        OverrideKind::Acknowledge { run, reconciled: false } => run.to_string(),
        OverrideKind::Waive { rule } => format!("the rule {}", rule.as_str()),
    };
    OverrideInForceView {
        id: o.id.to_string(),
        kind: o.kind.as_str().to_owned(),
        standing: o.standing(now),
        by: o.by.to_string(),
        consent_by: o.consent.as_ref().map(|(subject, _)| subject.to_string()),
        reason: o.reason.clone(),
        expires_at: o.expires_at,
        covers,
    }
}
