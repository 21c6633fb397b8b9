//! Each step fails in turn, for a while.

use std::{borrow::Cow, collections::BTreeSet, time::Duration};

use super::{Cell, Happening, Met, Plane, Promise, Reach, Trouble, just_before, moves::Move};
use crate::{
    domain::{
        action::Action,
        application::Application,
        cloud::Mutation,
        fence::Rung,
        id::Region,
        plan::{Plan, PlannedStep, Purpose},
        salvage::Salvage,
    },
    sim::{faults::CallFault, scenario::Approver},
};

/// How long a step's trouble lasts.
const LASTS: Duration = Duration::from_mins(5);
/// Longer than any approval that ships is waited for.
const APPROVAL_OVER: Duration = Duration::from_mins(20);

/// How the calls of a step fail.
const FAILURES: [(&str, CallFault); 3] = [
    ("are rejected", CallFault::Reject { code: "AccessDenied" }),
    ("do not arrive and are not answered", CallFault::Hang),
    ("have their effect and are not answered", CallFault::LoseAfter),
];

pub(super) fn cells(undisturbed: &Move, application: &Application) -> Vec<Cell> {
    let mut cells = Vec::new();
    for began in &undisturbed.measured.steps {
        let Some(step) = undisturbed.plan.step(&began.step) else { continue };
        let at = just_before(began.at);
        for (how, fault) in FAILURES {
            let troubles: Vec<Trouble> = operations(&step.action, &undisturbed.plan)
                .into_iter()
                .map(|operation| calls(&operation, &fault))
                .collect();
            let what = format!("the calls of `{}` {how} for 5 min", step.id);
            cells.extend(troubled(undisturbed, what, at, troubles, Met::Fault(fault.numbers())));
        }
        let what = format!("nothing that `{}` looks at can be seen for 5 min", step.id);
        let unseen = reads(step, &undisturbed.plan, application);
        let is_probe =
            |a: &Action| matches!(a, Action::ProbeHttp { .. } | Action::ProbeTcp { .. } | Action::ProbePostgres { .. });
        let met = if is_probe(&step.action) {
            Met::Always // Probes do not go through the port that counts.
        } else {
            Met::Fault(CallFault::Hang.numbers())
        };
        cells.extend(troubled(undisturbed, what, at, unseen, met));
        if let Action::Approve { .. } = step.action {
            cells.extend(approvals(undisturbed, step, at));
        }
    }
    cells
}

/// The scenario with all of `troubles` from `at` on; none where there are none.
fn troubled(undisturbed: &Move, what: String, at: Duration, troubles: Vec<Trouble>, met: Met) -> Option<Cell> {
    if troubles.is_empty() {
        return None;
    }
    let happenings = troubles.into_iter().map(|what| Happening { at, lasts: Some(LASTS), what }).collect();
    let scenario = undisturbed.disturbed(&what, happenings, at + LASTS);
    Some(Cell { what, scenario, promise: undisturbed.promise(), met })
}

fn calls(operation: &str, fault: &CallFault) -> Trouble {
    Trouble::Calls { operation: operation.to_owned(), region: None, fault: fault.clone(), chance: 1.0 }
}

/// What a step calls to change something. What is published in a lost Region fails without our help.
fn operations(action: &Action, plan: &Plan) -> BTreeSet<Cow<'static, str>> {
    let lost = (plan.purpose == Purpose::Failover).then_some(&plan.source);
    let fails = |call: &Mutation| matches!(call, Mutation::Publish { region, .. } if Some(region) == lost);
    action.mutations().iter().filter(|call| !fails(call)).map(Mutation::operation).collect()
}

/// What makes it impossible to see what `step` looks at.
fn reads(step: &PlannedStep, plan: &Plan, application: &Application) -> Vec<Trouble> {
    let unseen = |operations: &[&str]| operations.iter().map(|o| calls(o, &CallFault::Hang)).collect::<Vec<_>>();
    match &step.action {
        Action::AuroraSwitchover { .. }
        | Action::AuroraFailover { .. }
        | Action::AuroraDetach { .. }
        | Action::AuroraWait { .. }
        | Action::AuroraVerifyWriter { .. }
        | Action::GateTarget { .. } => unseen(&["rds:DescribeGlobalClusters", "rds:DescribeDBClusters"]),
        Action::GateRpo { .. } => unseen(&["cloudwatch:GetMetricData"]),
        Action::AwsCall { call } => {
            let read = call.done_when.as_ref().and_then(|done| done.read.as_ref());
            read.map(|read| calls(&read.operation, &CallFault::Hang)).into_iter().collect()
        }
        Action::AuroraAddInstance { .. } => unseen(&["rds:DescribeDBInstances"]),
        Action::GateCapacity { .. } => unseen(&["rds:DescribeDBClusters", "rds:DescribeDBInstances"]),
        Action::GateQuota { .. } => unseen(&["rds:DescribeAccountAttributes"]),
        Action::GateReplication { .. } => unseen(&["cloudwatch:GetMetricData"]),
        Action::DnsFlip { calls, .. } => calls.iter().flat_map(|call| unseen(seen_by(call))).collect(),
        // The calls of one kind are unseen alike: each is to be named once.
        Action::DnsWeights(ramp) => {
            let seen: BTreeSet<&str> = ramp.calls.iter().flat_map(|call| seen_by(&call.mutation)).copied().collect();
            unseen(&seen.into_iter().collect::<Vec<_>>())
        }
        Action::ProbeHttp { url, .. } => {
            let own = application.endpoints.iter().find(|(_, endpoint)| endpoint.health_url == *url);
            let region: &Region = own.map_or(plan.ends(&step.id).1, |(region, _)| region);
            vec![Trouble::Plane { plane: Plane::Application, region: region.clone(), reach: Reach::Hangs }]
        }
        Action::ProbeTcp { .. } => {
            vec![Trouble::Plane { plane: Plane::Application, region: plan.target.clone(), reach: Reach::Hangs }]
        }
        Action::ProbePostgres { region, .. } => {
            vec![Trouble::Plane { plane: Plane::Database, region: region.clone(), reach: Reach::Hangs }]
        }
        Action::Fence { fence } => match &fence.rung {
            Rung::Event { .. } => unseen(&["rds:DescribeEvents", "rds:DescribeDBInstances"]),
            Rung::SecurityGroup { .. } => unseen(&["ec2:DescribeSecurityGroupRules"]),
            Rung::Application { .. } => unseen(&["ecs:DescribeServices", "lambda:GetFunctionConcurrency"]),
            // Over connections of their own.
            Rung::WriteMustFail { .. } | Rung::Connections | Rung::Restore { .. } => Vec::new(),
        },
        Action::LambdaFault(_) => unseen(&["lambda:GetFunctionConfiguration"]),
        Action::Salvage { look } => match **look {
            Salvage::Snapshot { .. } => unseen(&["rds:DescribeDBClusterSnapshots"]),
            Salvage::Conflicts { .. } => unseen(&["cloudwatch:GetMetricData"]),
            Salvage::Objects { .. } => unseen(&["s3:ListObjectsV2", "s3:HeadObject"]),
        },
        // Nothing cuts a zone's name servers off; the others look at nothing outside.
        Action::DnsVerify { .. }
        | Action::ProbeSignal(_)
        | Action::AuroraPreserveSnapshot { .. }
        | Action::Notify { .. }
        | Action::Approve { .. }
        | Action::Wait { .. }
        | Action::Assert { .. } => Vec::new(),
    }
}

/// The reads that tell whether a call has had its effect.
fn seen_by(call: &Mutation) -> &'static [&'static str] {
    match call {
        Mutation::RoutingControls { .. } => &["route53-recovery-cluster:GetRoutingControlState"],
        Mutation::UpsertRecords { .. } => &["route53:ListResourceRecordSets", "route53:GetChange"],
        Mutation::PutMetric { .. } => &["cloudwatch:GetMetricData"],
        Mutation::PutObject { .. } | Mutation::DeleteObject { .. } => &["s3:HeadObject"],
        Mutation::AuroraSwitchover { .. }
        | Mutation::AuroraFailover { .. }
        | Mutation::AuroraDetach { .. }
        | Mutation::CreateInstance { .. }
        | Mutation::CopySnapshot { .. }
        | Mutation::LambdaVariable { .. }
        | Mutation::Publish { .. }
        | Mutation::EndSessions { .. }
        | Mutation::AwsCall { .. } => &[],
    }
}

/// An approval fails when nobody gives it.
fn approvals(undisturbed: &Move, step: &PlannedStep, at: Duration) -> Vec<Cell> {
    let after = Duration::from_secs(15);
    let people = [
        (format!("`{}` is declined", step.id), Approver::Declines { after }),
        (format!("nobody answers `{}`", step.id), Approver::Silent),
    ];
    let cell = |(what, approver): (String, Approver)| {
        let mut scenario = undisturbed.disturbed(&what, Vec::new(), at + APPROVAL_OVER);
        scenario.people.approver = approver;
        if approver == Approver::Silent {
            // Asked again for ever, it would wait for ever.
            scenario.people.resumes_after = None;
        }
        Cell { what, scenario, promise: Promise::SucceedsOrWaits, met: Met::Always }
    };
    people.map(cell).into()
}
