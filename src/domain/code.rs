//! The stable codes of errors, refusals and failures. Each has a page, docs/errors/CODE.md: cause, check, remedy.
//!
//! A code is never renamed and never reused: alerts and scripts hold on to it.

/// Requests that the engine refuses ([`Refusal`](../../engine/control/enum.Refusal.html)).
pub const REFUSALS: &[&str] = &[
    "unknown-application",
    "unknown-run",
    "unknown-step",
    "bad-target",
    "idempotency-key-reused",
    "already-running",
    "gate-refused",
    "stale-digest",
    "self-approval",
    "wrong-phase",
    "step-not-skippable",
    "runbook-uncompilable",
    "unknown-drill",
    "unknown-channel",
    "nothing-to-salvage",
    "unreconciled",
    "stopping",
    "application-held",
    "stamp-unknown",
    "report-out-of-order",
    "unknown-override",
    "override-over",
    "override-too-long",
    "override-not-waivable",
    "too-many-overrides",
    "arming-refused",
    "self-consent",
    "not-leader",
];

/// Requests that the HTTP layer refuses.
pub const HTTP: &[&str] = &[
    "unauthenticated",
    "forbidden",
    "form-refused",
    "bad-json",
    "body-too-large",
    "not-found",
    "leader-unanswered",
    "method-not-allowed",
    "rate-limited",
    "invalid-request",
    "not-ready",
    "not-assessed",
    "internal",
];

/// Ways in which a step fails or holds its run.
pub const STEPS: &[&str] = &[
    "step-timeout",
    "gate-rpo",
    "gate-target",
    "gate-capacity",
    "gate-quota",
    "gate-replication",
    "fence-not-held",
    "fence-refused",
    "fault-refused",
    "fault-unknown",
    "fence-unknown",
    "call-rejected",
    "call-not-sent",
    "promotion-failed",
    "outcome-unknown",
    "writer-not-proven",
    "ramp-not-begun",
    "ramp-stepped-back",
    "ramp-breached",
    "assert-failed",
    "salvage-refused",
    "approval-declined",
    "approval-expired",
    "access-denied",
    "credentials-refused",
    "read-rejected",
    "output-unusable",
    "prior-unseen",
    "undo-impossible",
    "undo-past-no-return",
    "undo-drift",
];

/// Faults of the configuration. The last ones are warnings.
pub const CONFIG: &[&str] = &[
    "config-unreadable",
    "config-invalid",
    "config-environment",
    "auth-required",
    "tls-required",
    "config-schedule",
    "config-no-trigger",
    "config-no-topics",
    "config-one-channel",
    "config-no-control-points",
    "config-static-stability",
    "config-deciding",
];

/// Faults of runbooks. From `runbook-ungated` on: warnings, and findings of the static-stability lint.
pub const RUNBOOKS: &[&str] = &[
    "runbook-invalid",
    "runbook-unknown-action",
    "runbook-not-built",
    "runbook-undo-too-late",
    "runbook-unproven-writer",
    "expression-invalid",
    "runbook-drill-unsafe",
    "runbook-drill-stays-away",
    "runbook-not-read-only",
    "runbook-salvage-moves",
    "runbook-salvage-unsigned",
    "runbook-ungated",
    "runbook-unknown-region",
    "runbook-needs-source",
    "runbook-needs-us-east-1",
    "runbook-needless-wait",
    "runbook-leaves-traffic",
    "runbook-endless-wait",
];

/// Faults of the files that describe a disaster to rehearse.
pub const SCENARIOS: &[&str] = &["scenario-invalid", "scenario-unknown-region"];

/// Reasons why the store cannot be opened.
pub const STORE: &[&str] = &[
    "store-not-local",
    "store-locked",
    "store-foreign",
    "store-corrupted",
    "store-newer-schema",
    "store-pragma-refused",
    "store-disk-full",
    "store-read-only",
    "store-unavailable",
    "store-table-missing",
    "store-not-strong",
    "store-in-primary",
    "store-expires",
    "store-restored",
    "store-unverified",
];

/// Reasons why nothing is done while the table is lost, or after it (docs/offline.md).
pub const OFFLINE: &[&str] =
    &["offline-refused", "offline-table-answers", "branch-refused", "branch-unreconciled", "branch-suspected"];

/// Every code.
pub const ALL: &[&str] = &{
    const COUNT: usize = REFUSALS.len()
        + HTTP.len()
        + STEPS.len()
        + CONFIG.len()
        + RUNBOOKS.len()
        + SCENARIOS.len()
        + STORE.len()
        + OFFLINE.len();
    let (mut all, mut n) = ([""; COUNT], 0);
    let groups = [REFUSALS, HTTP, STEPS, CONFIG, RUNBOOKS, SCENARIOS, STORE, OFFLINE];
    let mut g = 0;
    while g < groups.len() {
        let mut i = 0;
        while i < groups[g].len() {
            all[n] = groups[g][i];
            n += 1;
            i += 1;
        }
        g += 1;
    }
    all
};

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;

    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors");
        let pages: BTreeSet<String> = std::fs::read_dir(dir)
            .expect("docs/errors")
            .map(|f| f.expect("an entry").file_name().to_string_lossy().trim_end_matches(".md").to_owned())
            .filter(|name| name != "README")
            .collect();
        let codes: BTreeSet<String> = ALL.iter().map(|c| (*c).to_owned()).collect();
        assert_eq!(codes.len(), ALL.len(), "a code stands twice");
        assert_eq!(codes, pages);
    }
}
