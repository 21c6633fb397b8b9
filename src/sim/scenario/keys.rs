//! Every key of a scenario file: its name, its shape, an example, and what it says.
//!
//! Invariant: this is the whole grammar. The reader, the JSON Schema and the table of keys in docs/scenarios.md are
//! made of it; a key that is not here does not exist.

use std::time::Duration;

use super::{
    form::{Form, Key, OBSERVERS_MAX, Shape, Whose, may, need},
    several,
    words::{
        ACTS, CALL_FAULTS, ENDS, LAG_METRICS, LAGS, METRIC_FAULTS, OPERATIONS, PLANES, PROMOTIONS, REACHES, WHENS,
        WISHES,
    },
};

/// The longest rehearsal: a failback waits for hours until a database is rebuilt, and no disaster needs a week.
const LASTS_MAX: Duration = Duration::from_hours(7 * 24);
const LASTS_MIN: Duration = Duration::from_mins(1);
/// The most happenings of a file; ten times what a reader can hold in mind.
const HAPPENINGS_MAX: usize = 100;
const ACTS_MAX: usize = 50;
const EXPECT_MAX: usize = 20;
/// FAULTS.md section 1 ends here.
const FAULT_MAX: u32 = 100;

pub(super) const SPAN: Shape = Shape::Duration { least: Duration::ZERO, most: LASTS_MAX };
pub(super) const SOME_TIME: Shape = Shape::Duration { least: Duration::from_secs(1), most: LASTS_MAX };
/// What the API takes at most is decided there; here a day, as in a plan.
pub(super) const LOSS: Shape = Shape::Duration { least: Duration::ZERO, most: Duration::from_hours(24) };
pub(super) const OURS: Shape = Shape::Region(Whose::Application);
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
            "numbers of the faults that it is held against (FAULTS.md section 1)",
        ),
        may(
            "needs_promotion",
            Shape::True,
            "needs_promotion: true",
            "it is about a promotion and who accepts it: an application without an Aurora store is passed over, and told so",
        ),
        may(
            "needs_runbook",
            Shape::Name,
            "needs_runbook: failback-gradual",
            "it is about this runbook: an application that uses it for nothing is passed over, and told so",
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
        may("blackout", Shape::True, "blackout: true", "a blackout of the application is on all the time (81)"),
        several::REPLICAS,
        may(
            "observers",
            Shape::Count { least: 0, most: OBSERVERS_MAX },
            "observers: 2",
            "how many observers elsewhere report what they see, every two seconds; with `people.arm` only; none otherwise",
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
            "everything in the Region is gone, its network included (58 where it is us-east-1)",
        ),
        may(
            "partition_region",
            ANY_REGION,
            "partition_region: primary",
            "nothing crosses the Region's border; inside, everything goes on (23, 60)",
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
            "single calls to AWS (3, 23, 31 to 37, 45, 50, 51, 57)",
        ),
        may(
            "promotion",
            Shape::Words(PROMOTIONS),
            "promotion: fails",
            "the next promotion of a database, which comes loose when this ends (36, 39)",
        ),
        may(
            "fencing_times_out",
            Shape::True,
            "fencing_times_out: true",
            "the old primary cannot be fenced, and may still take writes (60)",
        ),
        may("headless", OURS, "headless: standby", "the Region's database has no instances (40)"),
        may("mismatched", OURS, "mismatched: standby", "the Region's database runs another engine version (41)"),
        may(
            "undersized",
            OURS,
            "undersized: standby",
            "the Region's database has one instance of those it should have (56)",
        ),
        may(
            "quota_exhausted",
            ANY_REGION,
            "quota_exhausted: standby",
            "the account may add nothing to the Region's databases (55)",
        ),
        may(
            "hidden_dependency",
            OURS,
            "hidden_dependency: standby",
            "the Region's servers need those of the other Region, and nobody knows (R12)",
        ),
        may(
            "replicas_lag",
            OURS,
            "replicas_lag: primary",
            "what is written in the Region to DynamoDB tables and S3 buckets replicates late",
        ),
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
            "SIGKILL, and a new start (4)",
        ),
        may(
            "kill_at_append",
            Shape::Table(&KILL_AT_APPEND),
            "kill_at_append: { append: 12, durable: true, restart_after: 30s }",
            "SIGKILL around an append to the journal (1, 2)",
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
        several::ONE_REPLICA,
        may("disk_full", Shape::True, "disk_full: true", "nothing can be appended to the journal (13)"),
        may(
            "append_fails_after_commit",
            Shape::True,
            "append_fails_after_commit: true",
            "the next append to the journal fails although its record is there (13)",
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
            "the daemon's wall clock jumps, and back when this ends; boot time does not (11)",
        ),
        may(
            "vantage",
            Shape::Table(&several::VANTAGE),
            "vantage: { of: 1, does: sees_ill }",
            "one vantage sees worse than what is there; with `people.arm` only (46)",
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

static LAG: Form = Form {
    what: "a lag",
    keys: &[
        need("region", OURS, "region: standby", "the database that is behind"),
        need("setting", Shape::Words(LAGS), "setting: fixed", "how far"),
    ],
    one_of: &[],
};

static LAG_METRIC: Form = Form {
    what: "a metric of lag",
    keys: &[
        need("region", OURS, "region: standby", "the database that is behind"),
        need("metric", Shape::Words(LAG_METRICS), "metric: shows-zero", "what is published"),
    ],
    one_of: &[],
};

static METRICS: Form = Form {
    what: "a fault of metrics",
    keys: &[
        need("region", ANY_REGION, "region: standby", "whose CloudWatch"),
        need("namespace", Shape::Text, "namespace: AWS/RDS", "the metrics' namespace"),
        need("fault", Shape::Words(METRIC_FAULTS), "fault: withhold", "what befalls their datapoints"),
    ],
    one_of: &[],
};

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
            "the number of the append, from 0 at the rehearsal's start",
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
            "the number of the mutation, from 0 at the rehearsal's start",
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
            "arm",
            Shape::Table(&ARM),
            "arm: { largest_loss: 5m }",
            "two people arm the failover from the active Region before the rehearsal begins; nobody does otherwise",
        ),
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

static ARM: Form = Form {
    what: "an arming",
    keys: &[need("largest_loss", LOSS, "largest_loss: 5m", "the loss that is accepted beforehand")],
    one_of: &[],
};

static ASK: Form = Form {
    what: "a request",
    keys: &[
        need("wish", Shape::Words(WISHES), "wish: failover", "what is asked for"),
        may("target", OURS, "target: standby", "where to; the daemon's choice otherwise"),
        may("accept_data_loss", LOSS, "accept_data_loss: 10m", "the loss that the operator accepts; none otherwise"),
        may(
            "by",
            Shape::Name,
            "by: detach-and-promote",
            "by which runbook, one of the operator's or of those that ship; the application's own for this wish otherwise",
        ),
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
        may("armed", Shape::Bool, "armed: true", "whether what was armed still is at the end"),
        may(
            "as_before",
            Shape::True,
            "as_before: true",
            "routing controls, records and writers are as they were when the rehearsal began",
        ),
        may(
            "rescue_kept",
            Shape::True,
            "rescue_kept: true",
            "the rescue snapshot of the old writer was copied; the rehearsal goes on until that work is over",
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
