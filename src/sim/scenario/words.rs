//! The words that a scenario file knows, and the keys that come with some of them.
//!
//! Invariant: as for [`super::keys`], of which this is a part: a word that is not here does not exist.

use super::{
    form::{Key, Shape, Word, may, need, word},
    keys::{LOSS, OURS, SOME_TIME, SPAN},
};

pub(super) const PLANES: &[Word] = &[
    word("rds", "the Region's API of Amazon RDS"),
    word("route53-control", "the Route 53 API, which lives in us-east-1"),
    word("cloudwatch", "CloudWatch of the Region"),
    word("sns", "SNS of the Region"),
    word("s3", "S3 of the Region"),
    word("lambda", "Lambda's API of the Region"),
    word("ec2", "the API of EC2 of the Region, which security groups belong to"),
    word("ecs", "the API of ECS of the Region"),
    word("ssm", "the API of Systems Manager of the Region"),
    word("eventbridge", "EventBridge of the Region"),
    word("secretsmanager", "Secrets Manager of the Region"),
    word("kms", "the Key Management Service of the Region"),
    word("backup", "AWS Backup of the Region"),
    word("sts", "the Security Token Service of the Region"),
    word("health-checkers", "the Route 53 health checkers of the Region"),
    word("arc-cluster", "the Region's endpoint of the routing-control cluster"),
    word("application", "the application's servers"),
    word("database", "the database's storage and instances"),
    word("network", "everything that crosses the Region's border"),
];

pub(super) const REACHES: &[Word] = &[
    word("up", "answers normally"),
    word("hangs", "accepts the connection and never answers"),
    word("unavailable", "answers 503"),
    word("throttles", "answers with the service's throttling error"),
    word("denies-access", "refuses the credentials"),
];

/// Every call that the daemon makes.
pub(super) const OPERATIONS: &[&str] = &[
    "rds:DescribeGlobalClusters",
    "rds:DescribeDBClusters",
    "rds:DescribeDBInstances",
    "rds:DescribeDBClusterParameters",
    "rds:DescribeAccountAttributes",
    "rds:DescribeEvents",
    "rds:SwitchoverGlobalCluster",
    "rds:FailoverGlobalCluster",
    "rds:RemoveFromGlobalCluster",
    "rds:CreateDBInstance",
    "rds:DescribeDBClusterSnapshots",
    "rds:CopyDBClusterSnapshot",
    "cloudwatch:GetMetricData",
    "cloudwatch:DescribeAlarms",
    "cloudwatch:PutMetricData",
    "s3:HeadObject",
    "s3:ListObjectsV2",
    "s3:PutObject",
    "s3:DeleteObject",
    "route53:ListResourceRecordSets",
    "route53:GetChange",
    "route53:ChangeResourceRecordSets",
    "route53-recovery-cluster:GetRoutingControlState",
    "route53-recovery-cluster:UpdateRoutingControlStates",
    "sns:Publish",
    "sns:GetTopicAttributes",
    // Of the calls that a runbook writes out (`aws.call`), those that are simulated.
    "backup:ListRecoveryPointsByBackupVault",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:DescribeSecurityGroupRules",
    "ec2:RevokeSecurityGroupIngress",
    "ecs:DescribeServices",
    "ecs:UpdateService",
    "events:DescribeRule",
    "events:DisableRule",
    "events:EnableRule",
    "events:PutRule",
    "kms:DescribeKey",
    "lambda:DeleteFunctionConcurrency",
    "lambda:GetFunctionConcurrency",
    "lambda:GetFunctionConfiguration",
    "lambda:PutFunctionConcurrency",
    "lambda:UpdateFunctionConfiguration",
    "secretsmanager:DescribeSecret",
    "secretsmanager:ReplicateSecretToRegions",
    "secretsmanager:StopReplicationToReplica",
    "ssm:DeleteParameter",
    "ssm:GetParameter",
    "ssm:PutParameter",
];

pub(super) const BY: &[Key] = &[need("by", SOME_TIME, "by: 30s", "how long")];

pub(super) const REJECTED: &[Key] = &[need("code", Shape::Words(AWS_CODES), "code: AccessDenied", "AWS's error code")];

pub(super) const FIXED: &[Key] = &[need("value", SPAN, "value: 30s", "how long the lag is")];

pub(super) const AFTER: &[Key] = &[need("after", SPAN, "after: 20s", "how long after it was recommended")];

pub(super) const WISHED: &[Key] = &[
    need("wish", Shape::Words(WISHES), "wish: failover", "what is asked for"),
    may("target", OURS, "target: standby", "where to; the daemon's choice otherwise"),
    may("accept_data_loss", LOSS, "accept_data_loss: 10m", "the loss that is accepted; none otherwise"),
    may("repeats", Shape::Bool, "repeats: true", "whether it is asked for again until it is granted; once otherwise"),
];

pub(super) const HELD_CODE: &[Key] =
    &[may("code", Shape::Code, "code: gate-rpo", "why (docs/errors); any reason otherwise")];

pub(super) const CALL_FAULTS: &[Word] = &[
    word("lose-before", "nothing arrives, and the caller gets no answer (23)"),
    word("lose-after", "it has its effect, and the answer is lost (3, 33)"),
    Word { word: "late", says: "it has its effect only so long after the caller gave up (33)", more: BY },
    word("duplicate", "it arrives twice (34)"),
    word("hang", "nothing arrives, and the caller waits for its timeout (23)"),
    word("refuse", "certainly not sent"),
    word("server-error", "500, without effect (32)"),
    word("server-error-after", "500, with its effect (32)"),
    word("throttle", "refused as too many (31)"),
    Word { word: "reject", says: "400 with a code, without effect (45, 51)", more: REJECTED },
    word("stale", "a read answers what it answered before the last mutation (35)"),
    word("unknown-status", "a read answers with a status that no list knows (37)"),
    word("garbage", "it has its effect, and the answer cannot be understood (57)"),
];

/// The error codes that the calls of [`OPERATIONS`] document, and those that any call may meet.
pub(super) const AWS_CODES: &[Word] = &[
    word("AccessDenied", "the role may not do that"),
    word("ExpiredToken", "the credentials have expired"),
    word("InvalidGlobalClusterStateFault", "an operation is in progress, maybe our own (45)"),
    word("InvalidDBClusterStateFault", "the cluster is in another state"),
    word("GlobalClusterNotFoundFault", "there is no such global cluster"),
    word("DBClusterNotFoundFault", "there is no such cluster"),
    word("InvalidParameterValue", "a value is refused"),
    word("ValidationException", "a value is refused"),
    word("ConflictException", "a safety rule refuses it"),
    word("ResourceNotFoundException", "there is no such thing"),
    word("PriorRequestNotComplete", "Route 53 is still at an earlier change"),
    word("NoSuchHostedZone", "there is no such zone"),
    word("InvalidChangeBatch", "a change of the batch is refused"),
    word("NotFound", "there is no such topic"),
];

pub(super) const PROMOTIONS: &[Word] = &[
    word("fails", "it ends, and the old writer is as it was"),
    word("sticks", "it never ends"),
    word(
        "cancelled",
        "somebody cancels it in the console: `cancelling` for a while, and the old writer is as it was (38)",
    ),
];

pub(super) const LAGS: &[Word] = &[
    word("wanders", "as ever, some tenths of a second"),
    Word { word: "fixed", says: "exactly as long as said", more: FIXED },
    word("stands-still", "nothing is replicated any more, though everything is up"),
];

pub(super) const LAG_METRICS: &[Word] = &[
    word("honest", "the lag; nothing while the writer cannot be reached"),
    word("grows-when-cut", "the lag, growing also while the writer cannot be reached"),
    word("shows-zero", "0, whatever happens"),
    word("missing", "nothing"),
    word("not-a-number", "NaN"),
    word("negative", "less than 0"),
];

pub(super) const METRIC_FAULTS: &[Word] = &[
    word("withhold", "they vanish"),
    Word { word: "delay", says: "they become visible so much later", more: BY },
    word("freeze", "the last value is published again and again, with fresh times"),
    word("not-a-number", "each value is not a number"),
];

pub(super) const WISHES: &[Word] = &[
    word("auto", "a switchover where one is proved possible, else a proposal to fail over"),
    word("failover", "a forced move, which may lose data"),
    word("switchover", "a planned, lossless move"),
    word("failback", "a planned, lossless move home"),
    word("salvage", "a look at what a failover has left, for a second person to sign"),
    Word {
        word: "drill",
        says: "a drill of the application; one that has none, or not this one, is passed over",
        more: DRILL,
    },
];

const DRILL: &[Key] =
    &[may("runbook", Shape::Name, "runbook: drill-switchover", "which of its drills; the first otherwise")];

pub(super) const WHENS: &[Word] =
    &[Word { word: "recommended", says: "as soon as the daemon recommends to fail over", more: AFTER }];

pub(super) const ACTS: &[Word] = &[
    word("pause", "asks the run to stand still"),
    word("resume", "lets a paused or held run go on"),
    word("abort", "asks the run to end, and what it has done to be taken back (71)"),
    Word {
        word: "ask-again",
        says: "asks for another run of the application, which may take the place of the first (69, 79)",
        more: WISHED,
    },
];

pub(super) const ENDS: &[Word] = &[
    word("succeeded", "every step is done"),
    word("aborted", "somebody ended it"),
    word("failed", "it could not be done"),
    Word { word: "held", says: "it waits for a person", more: HELD_CODE },
];
