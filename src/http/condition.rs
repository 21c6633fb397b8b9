//! Applications as callers get them. The decision about one is in [`super::decision`].
//!
//! Invariant: as in [`super::view`]: what is not known is `null` or the word `unknown`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    branch::BranchView, deferred::DeferredView, drill_fault::DrillFaultView, patch::runs_since,
    preflight::PreflightSummaryView, replica::LeaderView, schedules::ReadinessView,
};
use crate::domain::{
    application::Application,
    assessment::{Assessment, Exposure, Health, Verdict},
    history::History,
    patch::Patch,
    policy::Mode,
    seconds::to_seconds,
    signal::{Reading, SignalRole, SignalState},
    signature::{Check, Family, UNVERIFIED_WITHIN},
};

/// All applications.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApplicationsView {
    pub applications: Vec<ApplicationView>,
    /// Where it is not seen that AWS refuses old signatures: a call without an answer is waited out for longer there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<SignatureView>,
}

/// Whether the services of one family refuse signatures that are too old, as this replica has found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SignatureView {
    /// `rds`, `route53`, `route53-recovery-cluster`, `cloudwatch`, `sns`, `s3`, or `written-out` for everything else.
    pub service: String,
    /// `verified`, `unverified` or `unknown`.
    pub state: String,
    /// The code of the refusal, or why it is not known.
    pub detail: Option<String>,
    /// How long a call to it that nobody answered is waited out before anything that leads elsewhere.
    pub lands_within_seconds: f64,
}

impl SignatureView {
    /// One for each family that is used.
    pub fn all(checks: &BTreeMap<Family, Check>) -> Vec<Self> {
        let view = |(family, check): (&Family, &Check)| Self {
            service: family.word().to_owned(),
            state: check.word().to_owned(),
            detail: match check {
                Check::Verified { code } => Some(code.clone()),
                Check::Unknown { why } => Some(why.clone()),
                Check::Unverified => None,
            },
            lands_within_seconds: to_seconds(if check.is_verified() {
                family.verified_within()
            } else {
                UNVERIFIED_WITHIN
            }),
        };
        checks.iter().map(view).collect()
    }

    /// Those of `checks` that are not verified.
    pub fn unverified(checks: &BTreeMap<Family, Check>) -> Vec<Self> {
        let all = Self::all(checks).into_iter();
        all.filter(|view| view.state != "verified").collect()
    }
}

/// One application as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApplicationView {
    pub name: String,
    /// In order of preference.
    pub regions: Vec<String>,
    /// Where several replicas share the application: who works on it; it alone assesses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<LeaderView>,
    /// Why nothing is done for it at this replica; `null`: it is not held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    pub rto_objective_seconds: f64,
    pub rpo_objective_seconds: f64,
    /// Where the writers are, where all stores agree; `null` if that is not known.
    pub active_region: Option<String>,
    #[schema(value_type = String, example = "healthy")]
    pub health: Health,
    /// `null` until the first assessment.
    #[schema(value_type = Option<String>, example = "nothing")]
    pub verdict: Option<Verdict>,
    pub recommended_target: Option<String>,
    /// When it was assessed; `null` if it was not yet.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub assessed_at: Option<Timestamp>,
    /// What the policy lets the program do: `recommend`, `shadow` or `automatic`.
    #[schema(value_type = String, example = "recommend")]
    pub mode: Mode,
    /// In shadow mode: since when a failover would have been started, while it still would.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub would_start_since: Option<Timestamp>,
    /// Until when an arming is in force.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub armed_until: Option<Timestamp>,
    /// Until when the automation is switched off.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub kill_switch_until: Option<Timestamp>,
    /// How much of the RTO is used, while there is evidence of trouble.
    pub rto_used_seconds: Option<f64>,
    /// `null`: nothing, or there is no trouble.
    pub rto_left_seconds: Option<f64>,
    /// The run that is not finished.
    pub active_run: Option<String>,
    /// One line for whoever applies infrastructure code: what an apply would undo, or that it must wait; `null`: nothing.
    #[serde(default)]
    pub infrastructure_code: Option<String>,
    /// Faults that a drill has put in on purpose, and that are in or may be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drill_faults: Vec<DrillFaultView>,
    /// Work that runs have left open, which outlives their success.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open_work: Vec<DeferredView>,
    /// What was done while the table of the journals was lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<BranchView>,
    /// Whether it can be relied upon to be moved, by what runs have proved; `null` where its journal is not read.
    #[serde(default)]
    pub readiness: Option<ReadinessView>,
    /// Whether it could be moved now, by what was last looked at; `null` where this replica does not look.
    #[serde(default)]
    pub preflight: Option<PreflightSummaryView>,
    pub signals: Vec<SignalView>,
    pub exposure: Vec<ExposureView>,
}

/// One signal's newest reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SignalView {
    pub name: String,
    /// `fresh`, `stale`, `missing` or `contradicted` (another source proves it wrong).
    pub state: String,
    /// `healthy`, `unhealthy` or `lag`; `null` when missing.
    pub reading: Option<String>,
    pub lag_seconds: Option<f64>,
    pub age_seconds: Option<f64>,
    pub detail: Option<String>,
    /// `trigger`, `gate` or `informational`; told with a decision.
    #[schema(value_type = Option<String>, example = "trigger")]
    pub role: Option<SignalRole>,
    /// From where it is seen: a vantage, or who tells it; told with a decision.
    pub from: Option<String>,
}

/// What failing over one store now would lose: three numbers, never one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExposureView {
    pub store: String,
    pub measured_lag_seconds: Option<f64>,
    pub sample_age_seconds: Option<f64>,
    /// `null`: unbounded.
    pub loss_bound_seconds: Option<f64>,
    pub basis: String,
    pub fresh: bool,
}

impl ApplicationView {
    pub fn new(application: &Application, assessment: Option<&Assessment>, history: Option<&History>) -> Self {
        let signals =
            assessment.into_iter().flat_map(|a| a.signals.iter().map(|(name, s)| signal(name.as_str(), s, a.at)));
        let exposure = assessment
            .into_iter()
            .flat_map(|a| a.exposure.iter().chain(&a.replicas).map(|(store, e)| exposure(store.as_str(), e)));
        Self {
            name: application.name.to_string(),
            regions: application.regions.iter().map(ToString::to_string).collect(),
            leader: None,
            held: None,
            rto_objective_seconds: to_seconds(application.objectives.rto),
            rpo_objective_seconds: to_seconds(application.objectives.rpo),
            active_region: assessment.and_then(|a| a.active_region.as_ref()).map(ToString::to_string),
            health: assessment.map_or(Health::Unknown, |a| a.health),
            verdict: assessment.map(|a| a.verdict),
            recommended_target: assessment.and_then(|a| a.recommended_target.as_ref()).map(ToString::to_string),
            assessed_at: assessment.map(|a| a.at),
            mode: application.policy.mode,
            would_start_since: history.and_then(|h| h.would_start_since),
            armed_until: assessment.and_then(|a| history?.overrides.armed(a.at)).map(|o| o.expires_at),
            kill_switch_until: assessment.and_then(|a| history?.overrides.kill_switch(a.at)).map(|o| o.expires_at),
            rto_used_seconds: assessment.and_then(|a| a.rto.as_ref()).map(|rto| to_seconds(rto.used)),
            rto_left_seconds: assessment.and_then(|a| a.rto.as_ref()?.left).map(to_seconds),
            active_run: history.and_then(|h| h.active_run()).map(|r| r.id.to_string()),
            infrastructure_code: history.and_then(|h| Patch::net(application, runs_since(h, None).into_iter()).note()),
            drill_faults: DrillFaultView::all(history),
            open_work: DeferredView::all(history, None),
            branches: BranchView::all(history),
            readiness: None,
            preflight: None,
            signals: signals.collect(),
            exposure: exposure.collect(),
        }
    }
}

pub(super) fn signal(name: &str, state: &SignalState, now: Timestamp) -> SignalView {
    let mut view = SignalView {
        name: name.to_owned(),
        state: String::new(),
        reading: None,
        lag_seconds: None,
        age_seconds: None,
        detail: None,
        role: None,
        from: None,
    };
    let mut contradicted = None;
    let sample = match state {
        SignalState::Fresh { sample } => {
            "fresh".clone_into(&mut view.state);
            sample
        }
        SignalState::Stale { sample, .. } => {
            "stale".clone_into(&mut view.state);
            sample
        }
        SignalState::Contradicted { sample, why, .. } => {
            "contradicted".clone_into(&mut view.state);
            contradicted = Some(why.clone());
            sample
        }
        SignalState::Missing { why } => {
            "missing".clone_into(&mut view.state);
            view.detail = Some(why.clone());
            return view;
        }
    };
    view.age_seconds = std::time::Duration::try_from(now.duration_since(sample.measured_at)).ok().map(to_seconds);
    match &sample.reading {
        Reading::Healthy { detail } => {
            view.reading = Some("healthy".to_owned());
            view.detail = Some(detail.clone());
        }
        Reading::Unhealthy { detail } => {
            view.reading = Some("unhealthy".to_owned());
            view.detail = Some(detail.clone());
        }
        Reading::Lag { lag } => {
            view.reading = Some("lag".to_owned());
            view.lag_seconds = Some(to_seconds(*lag));
        }
        Reading::Missing { why } => view.detail = Some(why.clone()),
    }
    view.detail = contradicted.or(view.detail);
    view
}

pub(super) fn exposure(store: &str, e: &Exposure) -> ExposureView {
    ExposureView {
        store: store.to_owned(),
        measured_lag_seconds: e.measured_lag.map(to_seconds),
        sample_age_seconds: e.sample_age.map(to_seconds),
        loss_bound_seconds: e.loss_bound.map(to_seconds),
        basis: e.basis.clone(),
        fresh: e.fresh,
    }
}

/// Whether the daemon is able to act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReadyView {
    pub ready: bool,
    /// What is worth knowing although it is ready.
    pub reasons: Vec<String>,
    /// Whether old signatures are refused, for each family of services that is used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<SignatureView>,
}
