//! `failoverd check --config F`: reads configuration and runbooks as `serve` would, reports every fault and warning,
//! and what each plan would need on the worst day. It asks AWS nothing.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;

mod references;

pub use references::Absent;

use super::{EXIT_DONE, EXIT_FAILED, EXIT_USAGE, render::wrapped};
use crate::{
    config::{Auth, Faults, Settings, cross},
    domain::{
        access::Permission,
        application::Application,
        document::{Fault, Place, Severity},
        id::{ApplicationName, Digest, Region, RunbookName, StepId},
        plan::{Plan, PlannedStep, Purpose},
        stability::{Finding, GLOBAL_REGION, fall_with, lint, people_besides},
    },
};

/// What is to be checked.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Exit with 1 where anything is found for the worst day
    #[arg(long)]
    pub strict: bool,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// Whether the daemon would start.
    pub ok: bool,
    pub faults: Vec<Fault>,
    pub config_digest: Option<Digest>,
    pub plans: Vec<PlanReport>,
    /// Secrets that are referred to and are not to be had on this machine.
    pub absent: Vec<Absent>,
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
    /// What alone leads back from there, or why nothing does.
    pub why_no_return: Option<String>,
    /// Steps that need the source Region.
    pub needs_source: Vec<StepId>,
    /// Steps that need us-east-1, where control planes live.
    pub needs_us_east_1: Vec<StepId>,
    /// What the static-stability lint says.
    pub findings: Vec<Found>,
}

/// What the lint says of a step, and where the step stands in the runbook's file.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    pub finding: Finding,
    pub line: usize,
    pub column: usize,
}

/// Checks the file at `path` with the environment `env`.
pub fn check(path: &Path, env: &BTreeMap<String, String>) -> CheckReport {
    match Settings::load(path, env) {
        Err(faults) => report(&faults, None, Vec::new()),
        Ok(settings) => {
            let apps = settings.applications.iter();
            let of = |app| cross::plans(app, &settings.runbooks, &settings.digest).into_iter().map(move |p| (app, p.2));
            let plans = apps.flat_map(of).filter_map(|(app, plan)| Some((app, plan.ok()?)));
            let plans = plans.map(|(app, plan)| plan_report(&plan, app, &settings)).collect();
            let absent = references::absent(&settings, env);
            CheckReport { absent, ..report(&settings.warnings, Some(settings.digest.clone()), plans) }
        }
    }
}

fn report(faults: &Faults, config_digest: Option<Digest>, plans: Vec<PlanReport>) -> CheckReport {
    CheckReport {
        ok: config_digest.is_some(),
        faults: faults.faults.clone(),
        config_digest,
        plans,
        absent: Vec::new(),
        drawn: faults.to_string(),
    }
}

fn plan_report(plan: &Plan, app: &Application, settings: &Settings) -> PlanReport {
    let fall = |region: &str| -> Vec<StepId> {
        let region: Option<Region> = region.parse().ok();
        region.map(|r| fall_with(plan, app, &r).iter().map(|s| s.id.clone()).collect()).unwrap_or_default()
    };
    let runbook = settings.runbooks.get(&plan.runbook).map(|(runbook, _)| runbook);
    let place = |step: &StepId| runbook.and_then(|r| r.origin(step)).map_or(Place::default(), |s| s.place);
    let found = |finding: Finding| {
        let place = place(&finding.step);
        Found { finding, line: place.line, column: place.column }
    };
    PlanReport {
        application: plan.application.clone(),
        purpose: plan.purpose,
        source: plan.source.clone(),
        target: plan.target.clone(),
        runbook: plan.runbook.clone(),
        steps: plan.steps.len(),
        point_of_no_return: plan.no_return().map(|s| s.id.clone()),
        why_no_return: plan.no_return().and_then(PlannedStep::why_no_return),
        needs_source: fall(plan.source.as_str()),
        needs_us_east_1: fall(GLOBAL_REGION),
        findings: lint(plan, app, people(&settings.auth, app)).into_iter().map(found).collect(),
    }
}

/// How many may approve besides whoever asks; `None`: an issuer vouches for people whom it alone can name.
fn people(auth: &Auth, app: &Application) -> Option<usize> {
    let with = |permission| {
        let may = auth.tokens.iter().filter(|token| token.principal().may(permission, &app.name));
        may.map(|token| token.name.clone()).collect()
    };
    let besides = people_besides(&with(Permission::Approve), &with(Permission::Operate));
    auth.issuer.is_none().then_some(besides)
}

impl CheckReport {
    /// What the static-stability lint found, of all plans.
    fn findings(&self) -> usize {
        self.plans.iter().map(|p| p.findings.len()).sum()
    }

    /// 0: the daemon would start. 1: it would, and `strict` takes a finding for a fault. 2: it would not.
    pub fn exit_code(&self, strict: bool) -> u8 {
        match self.ok {
            false => EXIT_USAGE,
            true if strict && 0 < self.findings() => EXIT_FAILED,
            true => EXIT_DONE,
        }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.drawn)?;
        for plan in &self.plans {
            writeln!(f, "{}: {} {} -> {}", plan.application, plan.purpose, plan.source, plan.target)?;
            writeln!(f, "  runbook {}, {} steps", plan.runbook, plan.steps)?;
            if let Some(step) = &plan.point_of_no_return {
                let why = plan.why_no_return.as_deref().unwrap_or("no step leads back");
                write!(f, "{}", wrapped("  no way back from: ", &format!("{step}: {why}")))?;
            }
            for (what, steps) in [("the source", &plan.needs_source), ("us-east-1", &plan.needs_us_east_1)] {
                if !steps.is_empty() {
                    let ids: Vec<&str> = steps.iter().map(StepId::as_str).collect();
                    write!(f, "{}", wrapped(&format!("  would fail with {what} gone: "), &ids.join(", ")))?;
                }
            }
            for Found { finding, line, column } in &plan.findings {
                let at = format!("{}:{line}:{column}", plan.runbook);
                let said = format!("step `{}` {}; instead: {}", finding.step, finding.problem, finding.instead);
                write!(f, "{}", wrapped(&format!("  {}: ", finding.code), &format!("{at}: {said}")))?;
            }
        }
        if !self.absent.is_empty() {
            writeln!(f, "secrets that this machine does not have (the daemon needs them where it runs):")?;
        }
        for Absent { key, reference, problem } in &self.absent {
            write!(f, "{}", wrapped("  ", &format!("{key}: {reference} {problem}")))?;
        }
        let findings = self.findings();
        if 0 < findings {
            writeln!(f, "{findings} findings for the worst day: see docs/errors")?;
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
    fn findings_for_the_worst_day_are_faults_to_the_strict_only() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/payments-fast.toml");
        let mut report = check(&path, &BTreeMap::new());
        assert_eq!((report.exit_code(false), report.exit_code(true)), (EXIT_DONE, EXIT_DONE), "nothing is found");
        let finding = Finding {
            code: "runbook-endless-wait".to_owned(),
            step: "consent".parse().expect("an id"),
            problem: "waits".to_owned(),
            instead: "nothing".to_owned(),
        };
        report.plans[0].findings.push(Found { finding, line: 1, column: 1 });
        assert_eq!((report.exit_code(false), report.exit_code(true)), (EXIT_DONE, EXIT_FAILED));
        report.ok = false;
        assert_eq!(report.exit_code(true), EXIT_USAGE);
    }

    #[test]
    fn a_faulty_file_is_refused() {
        let report = check(Path::new("/nonexistent.toml"), &BTreeMap::new());
        assert!(!report.ok && report.to_string().contains("refused: 1 errors"), "{report}");
    }
}
