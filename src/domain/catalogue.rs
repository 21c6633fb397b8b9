//! What every action of the language declares about itself before any plan exists: what it does to the world, whom it
//! needs for it, how one knows that it was done, how it is taken back. The static-stability lint, `plan` and
//! docs/actions.md are made from this and from nothing else.
//!
//! Invariant: every action that a runbook may name has exactly one entry, and no other has one (a test holds it).
//! It decides nothing: what an action does is in [`super::action`].

use serde::{Deserialize, Serialize};

use super::action::EffectClass;

/// One action, as it is declared.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// As runbooks name it: `aurora.failover`.
    pub name: &'static str,
    /// One sentence: what it does, and when it is done.
    pub what: &'static str,
    pub effect: EffectClass,
    /// What it cannot do without. Something that it only prefers is not here.
    pub needs: &'static [Need],
    pub repeat: Repeat,
    /// What is looked at to know whether it was done; `None`: nothing can tell, so a runbook that uses it must say
    /// `on_unknown: hold`.
    pub probe: Option<&'static str>,
    pub undo: Undo,
    /// A valid `with`, as YAML in one line; empty where it takes nothing.
    pub example: &'static str,
    /// What a step of it leaves behind once it is done, for the expressions of later steps.
    pub outputs: &'static [Output],
}

/// One value that a step leaves behind; it may be missing where the world did not tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    pub name: &'static str,
    pub kind: OutputKind,
    pub what: &'static str,
}

/// What an output holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    Text,
    Number,
    Boolean,
}

impl OutputKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

const fn output(name: &'static str, kind: OutputKind, what: &'static str) -> Output {
    Output { name, kind, what }
}

const WRITER: Output = output("writer", OutputKind::Text, "the ARN of the cluster that is the writer now");
const SEEN: Output = output("last_seen_write", OutputKind::Text, "when the old writer was last seen to hold a write");
const UNANSWERED: Output =
    output("first_unanswered", OutputKind::Text, "from when on the old writer was not seen to answer");
const SURVIVING: Output =
    output("last_surviving_write", OutputKind::Text, "the newest write that the new writer holds");
const BEATS_SECONDS: Output =
    output("beats_at_least_seconds", OutputKind::Number, "so much was lost at least, by the heartbeat");
const BEATS_MISSING: Output =
    output("beats_missing", OutputKind::Number, "acknowledged beats that the new writer does not hold");

/// A plane of a service, in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// `rds`, `route53`: as in IAM's actions.
    pub service: &'static str,
    pub plane: Plane,
    pub place: Place,
}

/// Data planes stay up when control planes do not [WP].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plane {
    Control,
    Data,
}

impl Plane {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Data => "data",
        }
    }
}

/// Where a plane must be up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The Region that traffic leaves.
    Source,
    /// The Region that traffic goes to.
    Target,
    /// The one home of a global service's control plane.
    UsEast1,
    /// Any one of several Regions is enough.
    AnyOfSeveral,
    /// Wherever the runbook's own arguments say.
    Named,
}

/// Whether the same call may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It only looks or waits.
    Looks,
    /// Twice is as good as once.
    Idempotent,
    /// At most once per intent: only looking settles a lost answer.
    AtMostOnce,
}

/// How it is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undo {
    /// There is nothing to take back.
    Nothing,
    /// By this action's own inverse, with what was there before.
    Inverse(&'static str),
    /// Not by a step: only by another whole run, which this names.
    AnotherRun(&'static str),
}

const fn need(service: &'static str, plane: Plane, place: Place) -> Need {
    Need { service, plane, place }
}

const ANYWHERE: &[Need] = &[need("rds", Plane::Control, Place::AnyOfSeveral)];

/// A gate that may pass what cannot be told.
const KNOWN: &[Output] =
    &[Output { name: "known", kind: OutputKind::Boolean, what: "false where it passed because nobody could tell" }];

/// Every action of this version, by family.
pub const ENTRIES: &[Entry] = &[
    Entry {
        name: "aurora.switchover",
        what: "Exchanges the roles of a global cluster's Regions without losing a write; done when the target is the settled writer.",
        effect: EffectClass::Reversible,
        needs: &[need("rds", Plane::Control, Place::Source)],
        repeat: Repeat::AtMostOnce,
        probe: Some("rds:DescribeGlobalClusters, twice, agreeing"),
        undo: Undo::AnotherRun("a switchover back"),
        example: "{ store: orders }",
        outputs: &[WRITER],
    },
    Entry {
        name: "aurora.failover",
        what: "Promotes the target by force and may lose writes; done when the target is the settled writer.",
        effect: EffectClass::Irreversible,
        needs: &[need("rds", Plane::Control, Place::Target)],
        repeat: Repeat::AtMostOnce,
        probe: Some("rds:DescribeGlobalClusters, twice, agreeing"),
        undo: Undo::AnotherRun("a failback"),
        example: "{ store: orders }",
        outputs: &[WRITER],
    },
    Entry {
        name: "aurora.wait",
        what: "Waits until the global cluster is settled, and with `synchronized` until every member is connected.",
        effect: EffectClass::Read,
        needs: ANYWHERE,
        repeat: Repeat::Looks,
        probe: Some("rds:DescribeGlobalClusters"),
        undo: Undo::Nothing,
        example: "{ synchronized: true }",
        outputs: &[],
    },
    Entry {
        name: "aurora.verify_writer",
        what: "Done when two agreeing readings say that the target is the only writer and nothing is in progress.",
        effect: EffectClass::Read,
        needs: ANYWHERE,
        repeat: Repeat::Looks,
        probe: Some("rds:DescribeGlobalClusters, twice, agreeing"),
        undo: Undo::Nothing,
        example: "{ store: orders }",
        outputs: &[SEEN, UNANSWERED, SURVIVING, BEATS_SECONDS, BEATS_MISSING],
    },
    Entry {
        name: "gate.target",
        what: "Refuses a target that is the writer already, headless, incompatible, busy or unhealthy.",
        effect: EffectClass::Read,
        needs: &[need("rds", Plane::Control, Place::Target)],
        repeat: Repeat::Looks,
        probe: Some("rds:DescribeGlobalClusters, rds:DescribeDBClusters"),
        undo: Undo::Nothing,
        example: "{ lossless: true }",
        outputs: &[SEEN, UNANSWERED],
    },
    Entry {
        name: "gate.rpo",
        what: "Refuses where more could be lost than `limit` (the RPO where none is given); in a failover, than `limit` or what the caller accepted, whichever is more.",
        effect: EffectClass::Read,
        needs: &[need("cloudwatch", Plane::Data, Place::Target)],
        repeat: Repeat::Looks,
        probe: Some("the lag as the target's Region sees it, and the heartbeat"),
        undo: Undo::Nothing,
        example: "{ limit: 5s }",
        outputs: &[],
    },
    Entry {
        name: "gate.capacity",
        what: "Refuses a target that cannot carry what the source carries: by the declared capacity, else by what the source has or had when it was well.",
        effect: EffectClass::Read,
        needs: &[need("rds", Plane::Control, Place::Target)],
        repeat: Repeat::Looks,
        probe: Some("rds:DescribeDBClusters, rds:DescribeDBInstances"),
        undo: Undo::Nothing,
        example: "{ store: orders, at_least_percent: 100, unknown: hold }",
        outputs: KNOWN,
    },
    Entry {
        name: "gate.quota",
        what: "Refuses a target Region whose account has less left of an RDS quota than is asked for.",
        effect: EffectClass::Read,
        needs: &[need("rds", Plane::Control, Place::Target)],
        repeat: Repeat::Looks,
        probe: Some("rds:DescribeAccountAttributes"),
        undo: Undo::Nothing,
        example: "{ headroom: { DBInstances: 1 }, unknown: hold }",
        outputs: KNOWN,
    },
    Entry {
        name: "gate.replication",
        what: "Refuses while a DynamoDB global table or an S3 bucket has not replicated what was written in the source.",
        effect: EffectClass::Read,
        needs: &[need("cloudwatch", Plane::Data, Place::Named)],
        repeat: Repeat::Looks,
        probe: Some("the replication metrics: of DynamoDB in the source's Region, of S3 in the target's"),
        undo: Undo::Nothing,
        example: "{ store: audit, lag: 15m, pending_bytes: 0, pending_operations: 0, unknown: hold }",
        outputs: KNOWN,
    },
    Entry {
        name: "dns.flip",
        what: "Moves traffic by the mechanism of the application's entry; done when the mechanism says so.",
        effect: EffectClass::Reversible,
        needs: &[],
        repeat: Repeat::Idempotent,
        probe: Some("the mechanism's own reading"),
        undo: Undo::Inverse("moves traffic back, once the old writer is proven"),
        example: "{ via: api }",
        outputs: &[],
    },
    Entry {
        name: "dns.routing_controls",
        what: "`dns.flip` that insists on ARC's routing controls: any one of five Regional data planes is enough.",
        effect: EffectClass::Reversible,
        needs: &[need("route53-recovery-cluster", Plane::Data, Place::AnyOfSeveral)],
        repeat: Repeat::Idempotent,
        probe: Some("route53-recovery-cluster:ListRoutingControls"),
        undo: Undo::Inverse("moves traffic back, once the old writer is proven"),
        example: "{ via: api }",
        outputs: &[],
    },
    Entry {
        name: "dns.health_signal",
        what: "`dns.flip` that insists on a metric which turns a health check: a standing effect, renewed each minute.",
        effect: EffectClass::Reversible,
        needs: &[need("cloudwatch", Plane::Data, Place::Named)],
        repeat: Repeat::Idempotent,
        probe: Some("cloudwatch:GetMetricData and the zone's own servers"),
        undo: Undo::Inverse("moves traffic back, once the old writer is proven"),
        example: "{ via: api }",
        outputs: &[],
    },
    Entry {
        name: "dns.records",
        what: "`dns.flip` that insists on changing records: through Route 53's control plane, which lives in us-east-1.",
        effect: EffectClass::Reversible,
        needs: &[need("route53", Plane::Control, Place::UsEast1)],
        repeat: Repeat::Idempotent,
        probe: Some("route53:GetChange until INSYNC, route53:ListResourceRecordSets"),
        undo: Undo::Inverse("moves traffic back, once the old writer is proven"),
        example: "{ via: api }",
        outputs: &[],
    },
    Entry {
        name: "dns.weights",
        what: "Moves traffic in steps of weight, each observed and kept for a time, and back by one step when a signal of its guard is ill; done when all of it goes to the target. For the way home: it needs Route 53's control plane.",
        effect: EffectClass::Reversible,
        needs: &[need("route53", Plane::Control, Place::UsEast1)],
        repeat: Repeat::Idempotent,
        probe: Some("route53:GetChange until INSYNC, a DNS question to each server"),
        undo: Undo::Inverse(
            "puts the controls and weights back that were seen before, at once, once the old writer is proven",
        ),
        example: "{ via: api, ramp: [5, 25, 50, 100], hold_for: 5m, guard: { signals: [use1-health], unknown_for: 2m, step_back: true } }",
        outputs: &[],
    },
    Entry {
        name: "dns.verify",
        what: "Done when every authoritative server of the zone answers with the target.",
        effect: EffectClass::Read,
        needs: &[need("route53", Plane::Data, Place::AnyOfSeveral)],
        repeat: Repeat::Looks,
        probe: Some("a DNS question to each server"),
        undo: Undo::Nothing,
        example: "{ via: api }",
        outputs: &[],
    },
    Entry {
        name: "probe.http",
        what: "Done when a URL has answered as expected so many times in a row.",
        effect: EffectClass::Read,
        needs: &[],
        repeat: Repeat::Looks,
        probe: Some("the answers themselves"),
        undo: Undo::Nothing,
        example: "{ endpoint: target, expect_status: 200, consecutive: 3 }",
        outputs: &[],
    },
    Entry {
        name: "notify",
        what: "Tells people; the run never waits for it.",
        effect: EffectClass::Read,
        needs: &[],
        repeat: Repeat::AtMostOnce,
        probe: Some("the topic's answer"),
        undo: Undo::Nothing,
        example: "{ subject: \"{application} moves\", message: \"{application} moves to {target}.\" }",
        outputs: &[],
    },
    Entry {
        name: "approve",
        what: "Waits for so many people, none of them the one who asked, each bound to the plan's digest.",
        effect: EffectClass::Read,
        needs: &[],
        repeat: Repeat::Looks,
        probe: Some("the journal"),
        undo: Undo::Nothing,
        example: "{ count: 1, expires_after: 15m, reason: Writes may be lost. }",
        outputs: &[],
    },
    Entry {
        name: "wait",
        what: "A timer that survives restarts.",
        effect: EffectClass::Read,
        needs: &[],
        repeat: Repeat::Looks,
        probe: Some("the clock"),
        undo: Undo::Nothing,
        example: "{ duration: 2m }",
        outputs: &[],
    },
    Entry {
        name: "assert",
        what: "A CEL expression over the run's facts that must be true now.",
        effect: EffectClass::Read,
        needs: &[],
        repeat: Repeat::Looks,
        probe: Some("the run's facts"),
        undo: Undo::Nothing,
        example: "{ that: \"accepted_loss_seconds != null\", message: No loss was accepted. }",
        outputs: &[],
    },
    Entry {
        name: "call",
        what: "Stands for the steps of another runbook; its effects, needs and undo are theirs.",
        effect: EffectClass::Read,
        needs: &[],
        repeat: Repeat::Looks,
        probe: Some("that of each of its steps"),
        undo: Undo::Nothing,
        example: "{ runbook: prove-target, arguments: { consecutive: 5 } }",
        outputs: &[],
    },
    Entry {
        name: "aws.call",
        what: "Any other JSON, REST-JSON or Query operation; done when its `done_when` is true, or without one when AWS took it.",
        // The widest that a step may declare; each step says its own.
        effect: EffectClass::Irreversible,
        needs: &[need("the service named", Plane::Control, Place::Named)],
        repeat: Repeat::AtMostOnce,
        // A step without `done_when` must say `on_unknown: hold`.
        probe: Some("`done_when`: a read that the step declares"),
        undo: Undo::Inverse("by the step's own `undo`, where it declares one"),
        example: "{ service: ssm, region: \"{target}\", operation: PutParameter, arguments: { Name: /payments/writer, Value: \"{target}\", Overwrite: true }, effect: reversible, repeat: idempotent, done_when: { operation: GetParameter, arguments: { Name: /payments/writer }, that: answer.Parameter.Value == target } }",
        // A step declares its own, under `outputs`, and has `handle` where it declares one.
        outputs: &[],
    },
];

/// The entry of an action, by its name in runbooks.
pub fn entry(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|e| e.name == name)
}
