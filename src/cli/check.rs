//! `failoverd check --config F`: reads configuration and runbooks as `serve` would, reports every fault and warning,
//! and what each plan would need on the worst day. It asks AWS nothing.

use std::{collections::BTreeMap, fmt, path::Path};

use serde::Serialize;

use crate::{
    config::{Faults, Settings, cross},
    domain::{
        action::{Action, OnUnknown},
        cloud::Mutation,
        document::{Fault, Severity},
        id::{ApplicationName, Digest, Region, RunbookName, StepId},
        plan::{Plan, Purpose},
    },
};

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// Whether the daemon would start.
    pub ok: bool,
    pub faults: Vec<Fault>,
    pub config_digest: Option<Digest>,
    pub plans: Vec<PlanReport>,
    #[serde(skip)]
    drawn: String,
}

/// A plan that the configuration makes possible.
#[derive(Debug, Clone, Serialize)]
pub struct PlanReport {
    pub application: ApplicationName,
    pub purpose: Purpose,
    pub source: Region,
    pub target: Region,
    pub runbook: RunbookName,
    pub steps: usize,
    /// The first step from which there is no way back; `None` where there is one from all.
    pub point_of_no_return: Option<StepId>,
    /// Steps whose calls need the source Region.
    pub needs_source: Vec<StepId>,
    /// Steps whose calls need us-east-1, where control planes live.
    pub needs_us_east_1: Vec<StepId>,
}

/// Checks the file at `path` with the environment `env`.
pub fn check(path: &Path, env: &BTreeMap<String, String>) -> CheckReport {
    match Settings::load(path, env) {
        Err(faults) => report(&faults, None, Vec::new()),
        Ok(settings) => {
            let apps = settings.applications.iter();
            let plans = apps.flat_map(|app| cross::plans(app, &settings.runbooks, &settings.digest));
            let plans = plans.filter_map(|(_, plan)| plan.ok()).map(|plan| plan_report(&plan)).collect();
            report(&settings.warnings, Some(settings.digest), plans)
        }
    }
}

fn report(faults: &Faults, config_digest: Option<Digest>, plans: Vec<PlanReport>) -> CheckReport {
    CheckReport {
        ok: config_digest.is_some(),
        faults: faults.faults.clone(),
        config_digest,
        plans,
        drawn: faults.to_string(),
    }
}

fn plan_report(plan: &Plan) -> PlanReport {
    let that = |wanted: &dyn Fn(&Action) -> bool| -> Vec<StepId> {
        plan.steps.iter().filter(|s| wanted(&s.action)).map(|s| s.id.clone()).collect()
    };
    PlanReport {
        application: plan.application.clone(),
        purpose: plan.purpose,
        source: plan.source.clone(),
        target: plan.target.clone(),
        runbook: plan.runbook.clone(),
        steps: plan.steps.len(),
        point_of_no_return: that(&|a| matches!(a, Action::AuroraFailover { .. })).into_iter().next(),
        needs_source: that(&|a| needs(a, plan.source.as_str())),
        needs_us_east_1: that(&|a| needs(a, "us-east-1")),
    }
}

/// Whether the action cannot be carried out when `region` is lost. Notifications never stop a run.
fn needs(action: &Action, region: &str) -> bool {
    if let Action::GateRpo { lag_region, .. } = action {
        return lag_region.as_str() == region;
    }
    match action {
        Action::GateCapacity { target, unknown: OnUnknown::Hold, .. } => return target.region().as_str() == region,
        Action::GateQuota { region: asked, unknown: OnUnknown::Hold, .. } => return asked.as_str() == region,
        Action::GateReplication { measures, unknown: OnUnknown::Hold, .. } => {
            return measures.iter().any(|m| m.region.as_str() == region);
        }
        _ => {}
    }
    if matches!(action, Action::Notify { .. }) {
        return false;
    }
    action.mutations().iter().any(|call| match call {
        Mutation::AuroraSwitchover { region: r, .. }
        | Mutation::AuroraFailover { region: r, .. }
        | Mutation::PutMetric { region: r, .. }
        | Mutation::Publish { region: r, .. } => r.as_str() == region,
        Mutation::RoutingControls { endpoints, .. } => endpoints.iter().all(|e| e.region.as_str() == region),
        // Route 53's control plane [WP].
        Mutation::UpsertRecords { .. } => region == "us-east-1",
    })
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.drawn)?;
        for plan in &self.plans {
            writeln!(f, "{}: {} {} -> {}", plan.application, plan.purpose, plan.source, plan.target)?;
            writeln!(f, "  runbook {}, {} steps", plan.runbook, plan.steps)?;
            if let Some(step) = &plan.point_of_no_return {
                writeln!(f, "  no way back from: {step}")?;
            }
            for (what, steps) in [("the source", &plan.needs_source), ("us-east-1", &plan.needs_us_east_1)] {
                if !steps.is_empty() {
                    let ids: Vec<&str> = steps.iter().map(StepId::as_str).collect();
                    writeln!(f, "  would fail with {what} gone: {}", ids.join(", "))?;
                }
            }
        }
        let count = |s: Severity| self.faults.iter().filter(|f| f.severity == s).count();
        let verdict = if self.ok { "ok" } else { "refused" };
        writeln!(f, "{verdict}: {} errors, {} warnings", count(Severity::Error), count(Severity::Warning))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_ok_and_says_what_each_plan_needs() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/payments-fast.toml");
        let report = check(&path, &BTreeMap::new());
        assert!(report.ok);
        insta::assert_snapshot!(report.to_string());
        let failover = &report.plans[0];
        assert_eq!((failover.needs_source.len(), failover.needs_us_east_1.len()), (0, 0), "nothing in the lost Region");
        assert_eq!(serde_json::to_value(&report).expect("JSON")["ok"], true);
    }

    #[test]
    fn a_faulty_file_is_refused() {
        let report = check(Path::new("/nonexistent.toml"), &BTreeMap::new());
        assert!(!report.ok && report.to_string().contains("refused: 1 errors"), "{report}");
    }
}
