//! Every key of a scenario file: its name, its shape, an example, and what it says.
//!
//! Invariant: this is the whole grammar. The reader, the JSON Schema and the table of keys in docs/scenarios.md are
//! made of it; a key that is not here does not exist.

use std::time::Duration;

use super::form::{Form, Key, Shape, Whose, Word, may, need, word};

/// The longest rehearsal: a failback waits for hours until a database is rebuilt, and no disaster needs a week.
const LASTS_MAX: Duration = Duration::from_hours(7 * 24);
const LASTS_MIN: Duration = Duration::from_mins(1);
/// The most happenings of a file; ten times what a reader can hold in mind.
const HAPPENINGS_MAX: usize = 100;
const ACTS_MAX: usize = 50;
const EXPECT_MAX: usize = 20;
/// FAULTS.md section 1 ends here.
const FAULT_MAX: u32 = 100;

const SPAN: Shape = Shape::Duration { least: Duration::ZERO, most: LASTS_MAX };
const SOME_TIME: Shape = Shape::Duration { least: Duration::from_secs(1), most: LASTS_MAX };
/// What the API takes at most is decided there; here a day, as in a plan.
const LOSS: Shape = Shape::Duration { least: Duration::ZERO, most: Duration::from_hours(24) };
const OURS: Shape = Shape::Region(Whose::Application);
const ANY_REGION: Shape = Shape::Region(Whose::Any);

/// The document.
pub(super) static SCENARIO: Form = Form {
    what: "a scenario",
    keys: &[
        need("scenario", Shape::Name, "scenario: region-lost", "its name, unique among the scenarios of a rehearsal"),
        need(
            "description",
            Shape::Text,
            "description: The primary Region is lost.",
            "what happens, and what must come of it",
        ),
        may("reproduces", Shape::Incident, "reproduces: R8", "the incident of docs/incidents.md that it reproduces"),
        may(
            "covers",
            Shape::List { of: &Shape::Count { least: 1, most: FAULT_MAX }, most: 20 },
            "covers: [33, 45]",
            "numbers of the faults that must be met in it (FAULTS.md section 1)",
        ),
        need("warm_up", SPAN, "warm_up: 4m", "how long all has been well when the rehearsal starts"),
        may(
            "active",
            OURS,
            "active: standby",
            "the Region that serves at the start; the application's first otherwise",
        ),
        may(
            "happenings",
            Shape::List { of: &Shape::Table(&HAPPENING), most: HAPPENINGS_MAX },
            "happenings: [{ at: 1m, lose_region: primary }]",
            "what goes wrong, each at its time",
        ),
        may(
            "people",
            Shape::Table(&PEOPLE),
            "people: { approver: { approves: 15s } }",
            "what people do; nobody does anything otherwise",
        ),
        may(
            "heals_at",
            SOME_TIME,
            "heals_at: 20m",
            "from here on every fault has healed, and a run must come to its end or say for whom it waits; never otherwise",
        ),
        need(
            "lasts",
            Shape::Duration { least: LASTS_MIN, most: LASTS_MAX },
            "lasts: 45m",
            "the end of the rehearsal; every other time is counted from its start",
        ),
        may(
            "expect",
            Shape::List { of: &Shape::Table(&EXPECTATION), most: EXPECT_MAX },
            "expect: [{ writer_in: standby }]",
            "what must be true at the end, beside what must always be",
        ),
    ],
    one_of: &[],
};

pub(super) static HAPPENING: Form = Form {
    what: "a happening",
    keys: &[
        need("at", SPAN, "at: 1m", "when it begins"),
        may("lasts", SOME_TIME, "lasts: 10m", "how long; until everything heals (or the end) otherwise"),
    ],
    one_of: &[
        may(
            "lose_region",
            ANY_REGION,
            "lose_region: primary",
            "everything in the Region is gone, its network included (58)",
        ),
        may(
            "partition_region",
            ANY_REGION,
            "partition_region: primary",
            "nothing crosses the Region's border; inside, everything goes on (61)",
        ),
        may(
            "plane",
            Shape::Table(&PLANE),
            "plane: { plane: cloudwatch, region: standby, reach: hangs }",
            "one service of one Region (46, 47, 52, 53)",
        ),
        may(
            "calls",
            Shape::Table(&CALLS),
            "calls: { operation: \"rds:\", fault: lose-after, chance: 0.5 }",
            "single calls to AWS (2, 3, 31 to 37, 51, 57)",
        ),
        may("promotion", Shape::Words(PROMOTIONS), "promotion: fails", "the next promotion of a database (36, 39)"),
        may(
            "fencing_times_out",
            Shape::True,
            "fencing_times_out: true",
            "the old primary cannot be fenced, and may still take writes (60)",
        ),
        may("headless", OURS, "headless: standby", "the Region's database has no instances (40)"),
        may("mismatched", OURS, "mismatched: standby", "the Region's database runs another engine version (41)"),
        may("lag", Shape::Table(&LAG), "lag: { region: standby, setting: stands-still }", "replication itself (44)"),
        may(
            "lag_metric",
            Shape::Table(&LAG_METRIC),
            "lag_metric: { region: standby, metric: shows-zero }",
            "what replication's metric shows (43, 44)",
        ),
        may(
            "metrics",
            Shape::Table(&METRICS),
            "metrics: { region: standby, namespace: AWS/RDS, fault: withhold }",
            "every metric of a namespace (43)",
        ),
        may(
            "resolvers_ignore_ttl",
            Shape::Duration { least: Duration::from_secs(1), most: Duration::from_hours(24) },
            "resolvers_ignore_ttl: 10m",
            "clients keep an answer this long, whatever its TTL (49)",
        ),
        may("credentials_expire", Shape::True, "credentials_expire: true", "AWS refuses the daemon's credentials (50)"),
        may(
            "kill_process",
            Shape::Table(&RESTART),
            "kill_process: { restart_after: 30s }",
            "SIGKILL, and a new start (1 to 5)",
        ),
        may(
            "kill_at_append",
            Shape::Table(&KILL_AT_APPEND),
            "kill_at_append: { append: 12, durable: true, restart_after: 30s }",
            "SIGKILL around an append to the journal (1, 4)",
        ),
        may(
            "kill_at_call",
            Shape::Table(&KILL_AT_CALL),
            "kill_at_call: { call: 1, effect: true, restart_after: 30s }",
            "SIGKILL around a mutation (2, 3)",
        ),
        may(
            "stop_process",
            Shape::Table(&RESTART),
            "stop_process: { restart_after: 1m }",
            "SIGTERM, and a new start (6)",
        ),
        may("pause_process", Shape::Table(&PAUSE), "pause_process: { lasts: 90s }", "SIGSTOP, and SIGCONT (10, 12)"),
        may("disk_full", Shape::True, "disk_full: true", "nothing can be appended to the journal (13)"),
        may(
            "append_fails_after_commit",
            Shape::True,
            "append_fails_after_commit: true",
            "the next append to the journal fails although its record is there (3)",
        ),
        may(
            "journal_rots",
            Shape::Table(&ROT),
            "journal_rots: { record: 3 }",
            "one bit of a record of the past, found at the next start (14)",
        ),
        may(
            "clock_jumps",
            Shape::Jump { most: Duration::from_hours(24) },
            "clock_jumps: -1h",
            "the wall clock jumps, boot time does not (11)",
        ),
    ],
};

static PLANE: Form = Form {
    what: "a plane",
    keys: &[
        need("plane", Shape::Words(PLANES), "plane: cloudwatch", "which service"),
        need("region", ANY_REGION, "region: us-east-1", "where"),
        need("reach", Shape::Words(REACHES), "reach: hangs", "how it behaves"),
    ],
    one_of: &[],
};

pub(super) const PLANES: &[Word] = &[
    word("rds", "the Region's API of Amazon RDS"),
    word("route53-control", "the Route 53 API, which lives in us-east-1"),
    word("cloudwatch", "CloudWatch of the Region"),
    word("sns", "SNS of the Region"),
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

static CALLS: Form = Form {
    what: "a fault of calls",
    keys: &[
        need(
            "operation",
            Shape::Operation(OPERATIONS),
            "operation: \"rds:FailoverGlobalCluster\"",
            "which calls: one, a service (`rds:`), or `any`",
        ),
        may("region", ANY_REGION, "region: standby", "only the endpoint of this Region; every one otherwise"),
        need("fault", Shape::Words(CALL_FAULTS), "fault: lose-after", "what befalls them"),
        may("chance", Shape::Chance, "chance: 0.5", "of each call that matches; 1 otherwise"),
    ],
    one_of: &[],
};

/// Every call that the daemon makes.
pub(super) const OPERATIONS: &[&str] = &[
    "rds:DescribeGlobalClusters",
    "rds:DescribeDBClusters",
    "rds:SwitchoverGlobalCluster",
    "rds:FailoverGlobalCluster",
    "cloudwatch:GetMetricData",
    "cloudwatch:DescribeAlarms",
    "cloudwatch:PutMetricData",
    "route53:ListResourceRecordSets",
    "route53:GetChange",
    "route53:ChangeResourceRecordSets",
    "route53-recovery-cluster:GetRoutingControlState",
    "route53-recovery-cluster:UpdateRoutingControlStates",
    "sns:Publish",
];

const BY: &[Key] = &[need("by", SOME_TIME, "by: 30s", "how long")];
const REJECTED: &[Key] = &[need("code", Shape::Words(AWS_CODES), "code: AccessDenied", "AWS's error code")];
const FIXED: &[Key] = &[need("value", SPAN, "value: 30s", "how long the lag is")];
const AFTER: &[Key] = &[need("after", SPAN, "after: 20s", "how long after it was recommended")];
const WISHED: &[Key] = &[need("wish", Shape::Words(WISHES), "wish: failover", "what is asked for")];
const HELD_CODE: &[Key] = &[may("code", Shape::Code, "code: gate-rpo", "why (docs/errors); any reason otherwise")];

pub(super) const CALL_FAULTS: &[Word] = &[
    word("lose-before", "nothing arrives, and the caller gets no answer (2, 32)"),
    word("lose-after", "it has its effect, and the answer is lost (3, 33)"),
    Word { word: "late", says: "it has its effect only so long after the caller gave up (33)", more: BY },
    word("duplicate", "it arrives twice (34)"),
    word("hang", "nothing arrives, and the caller waits for its timeout (33)"),
    word("refuse", "certainly not sent"),
    word("server-error", "500, without effect (32)"),
    word("server-error-after", "500, with its effect (32)"),
    word("throttle", "refused as too many (31)"),
    Word { word: "reject", says: "400 with a code, without effect (45, 51)", more: REJECTED },
    word("stale", "a read answers what it answered before the last mutation (35)"),
    word("unknown-status", "a read answers with a status that no list knows (37)"),
    word("garbage", "a read answers with something that cannot be understood (57)"),
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

pub(super) const PROMOTIONS: &[Word] =
    &[word("fails", "it ends, and the old writer is as it was"), word("sticks", "it never ends")];

static LAG: Form = Form {
    what: "a lag",
    keys: &[
        need("region", OURS, "region: standby", "the database that is behind"),
        need("setting", Shape::Words(LAGS), "setting: fixed", "how far"),
    ],
    one_of: &[],
};

pub(super) const LAGS: &[Word] = &[
    word("wanders", "as ever, some tenths of a second"),
    Word { word: "fixed", says: "exactly as long as said", more: FIXED },
    word("stands-still", "nothing is replicated any more, though everything is up"),
];

static LAG_METRIC: Form = Form {
    what: "a metric of lag",
    keys: &[
        need("region", OURS, "region: standby", "the database that is behind"),
        need("metric", Shape::Words(LAG_METRICS), "metric: shows-zero", "what is published"),
    ],
    one_of: &[],
};

pub(super) const LAG_METRICS: &[Word] = &[
    word("honest", "the lag; nothing while the writer cannot be reached"),
    word("grows-when-cut", "the lag, growing also while the writer cannot be reached"),
    word("shows-zero", "0, whatever happens"),
    word("missing", "nothing"),
];

static METRICS: Form = Form {
    what: "a fault of metrics",
    keys: &[
        need("region", ANY_REGION, "region: standby", "whose CloudWatch"),
        need("namespace", Shape::Text, "namespace: AWS/RDS", "the metrics' namespace"),
        need("fault", Shape::Words(METRIC_FAULTS), "fault: withhold", "what befalls their datapoints"),
    ],
    one_of: &[],
};

pub(super) const METRIC_FAULTS: &[Word] = &[
    word("withhold", "they vanish"),
    Word { word: "delay", says: "they become visible so much later", more: BY },
    word("freeze", "the last value is published again and again, with fresh times"),
    word("not-a-number", "each value is not a number"),
];

const RESTARTED: Key = need("restart_after", SPAN, "restart_after: 30s", "how long until the daemon starts again");
/// Appends and calls of one rehearsal are far fewer.
const NUMBER_MAX: u32 = 1_000_000;

static RESTART: Form = Form { what: "a restart", keys: &[RESTARTED], one_of: &[] };

static KILL_AT_APPEND: Form = Form {
    what: "a kill at an append",
    keys: &[
        need(
            "append",
            Shape::Count { least: 0, most: NUMBER_MAX },
            "append: 12",
            "the number of the append, counted from the rehearsal's start",
        ),
        need("durable", Shape::Bool, "durable: true", "whether the record is on the disk when the process dies"),
        RESTARTED,
    ],
    one_of: &[],
};

static KILL_AT_CALL: Form = Form {
    what: "a kill at a call",
    keys: &[
        need(
            "call",
            Shape::Count { least: 0, most: NUMBER_MAX },
            "call: 1",
            "the number of the mutation, counted from the rehearsal's start",
        ),
        need("effect", Shape::Bool, "effect: true", "whether the call has had its effect when the process dies"),
        RESTARTED,
    ],
    one_of: &[],
};

static PAUSE: Form =
    Form { what: "a pause", keys: &[need("lasts", SOME_TIME, "lasts: 90s", "until it goes on")], one_of: &[] };

static ROT: Form = Form {
    what: "rot",
    keys: &[need(
        "record",
        Shape::Count { least: 0, most: NUMBER_MAX },
        "record: 3",
        "the record's number in the journal, from 0",
    )],
    one_of: &[],
};

static PEOPLE: Form = Form {
    what: "what people do",
    keys: &[
        may(
            "ask",
            Shape::Table(&ASK),
            "ask: { wish: failover, when: recommended, after: 20s }",
            "the operator's request for a run; nobody asks otherwise",
        ),
        may("approver", Shape::Table(&APPROVER), "approver: { approves: 15s }", "the second person; silent otherwise"),
        may(
            "resumes_after",
            SPAN,
            "resumes_after: 1m",
            "how long after everything has healed the operator resumes a held run; never otherwise",
        ),
        may(
            "acts",
            Shape::List { of: &Shape::Table(&ACT), most: ACTS_MAX },
            "acts: [{ at: 5m, does: pause }]",
            "what the operator does to the run at given times",
        ),
    ],
    one_of: &[],
};

static ASK: Form = Form {
    what: "a request",
    keys: &[
        need("wish", Shape::Words(WISHES), "wish: failover", "what is asked for"),
        may("target", OURS, "target: standby", "where to; the daemon's choice otherwise"),
        may("accept_data_loss", LOSS, "accept_data_loss: 10m", "the loss that the operator accepts; none otherwise"),
        may(
            "repeats",
            Shape::Bool,
            "repeats: true",
            "whether the same request is made again until a run is there; once otherwise",
        ),
    ],
    one_of: &[
        may("at", SPAN, "at: 2m", "when"),
        may("when", Shape::Words(WHENS), "when: recommended", "when, by what the daemon says"),
    ],
};

pub(super) const WISHES: &[Word] = &[
    word("auto", "a switchover where one is proved possible, else a proposal to fail over"),
    word("failover", "a forced move, which may lose data"),
    word("switchover", "a planned, lossless move"),
    word("failback", "a planned, lossless move home"),
];

pub(super) const WHENS: &[Word] =
    &[Word { word: "recommended", says: "as soon as the daemon recommends to fail over", more: AFTER }];

static APPROVER: Form = Form {
    what: "an approver",
    keys: &[],
    one_of: &[
        may("approves", SPAN, "approves: 15s", "approves so long after being asked"),
        may("declines", SPAN, "declines: 15s", "declines so long after being asked"),
        may("silent", Shape::True, "silent: true", "never answers"),
        may(
            "tries_own_first",
            SPAN,
            "tries_own_first: 15s",
            "the requester tries to approve their own, which must be refused (73); then somebody else approves",
        ),
    ],
};

static ACT: Form = Form {
    what: "an act",
    keys: &[need("at", SPAN, "at: 5m", "when"), need("does", Shape::Words(ACTS), "does: pause", "what")],
    one_of: &[],
};

pub(super) const ACTS: &[Word] = &[
    word("pause", "asks the run to stand still"),
    word("resume", "lets a paused or held run go on"),
    word("abort", "asks the run to end (71)"),
    Word { word: "ask-again", says: "asks for a second run of the application (69)", more: WISHED },
];

pub(super) static EXPECTATION: Form = Form {
    what: "an expectation",
    keys: &[],
    one_of: &[
        may(
            "served",
            Shape::Table(&SERVED),
            "served: { within: rto }",
            "clients are served at the end, and were out of service no longer than this",
        ),
        may("writer_in", OURS, "writer_in: standby", "the databases' writer is there"),
        may("traffic_in", OURS, "traffic_in: standby", "clients are sent there"),
        may(
            "loss_at_most",
            LOSS,
            "loss_at_most: 5s",
            "acknowledged writes that are lost were made within so long a time",
        ),
        may("no_run", Shape::True, "no_run: true", "nothing was started"),
        may("run", Shape::Table(&RUN), "run: { ends: succeeded }", "how the last run stands"),
        may(
            "recommended",
            Shape::Bool,
            "recommended: false",
            "whether the daemon recommended to fail over at any time",
        ),
    ],
};

static SERVED: Form = Form {
    what: "a service",
    keys: &[need(
        "within",
        Shape::Within { most: LASTS_MAX },
        "within: rto",
        "a duration, or `rto`: the application's own objective",
    )],
    one_of: &[],
};

static RUN: Form =
    Form { what: "a run's end", keys: &[need("ends", Shape::Words(ENDS), "ends: succeeded", "how")], one_of: &[] };

pub(super) const ENDS: &[Word] = &[
    word("succeeded", "every step is done"),
    word("aborted", "somebody ended it, or declined"),
    word("failed", "it could not be done"),
    Word { word: "held", says: "it waits for a person", more: HELD_CODE },
];
