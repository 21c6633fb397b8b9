//! What a scenario says of one of several: of the vantages that see an application, and of the replicas that share its
//! journal.
//!
//! Invariant: as for [`super::keys`] and [`super::read`], of which this is a part: what is not here cannot be said, and
//! one that is not there (an observer too many, a replica of a daemon that is alone) is told with its place.

use std::time::Duration;

use super::form::{DAEMON, Form, Key, REPLICAS_MAX, Shape, Table, Word, may, need, word};
use crate::{
    domain::document::Findings,
    sim::faults::{Around, Replica, ReplicaFault, Sight, Trouble, Vantage},
};

/// How many there are.
pub(super) const REPLICAS: Key = may(
    "replicas",
    Shape::Count { least: 1, most: REPLICAS_MAX },
    "replicas: 3",
    "how many replicas of the daemon share one journal and take turns by a lease of 24 s; one otherwise",
);

/// What befalls one of them.
pub(super) const ONE_REPLICA: Key = may(
    "replica",
    Shape::Table(&REPLICA),
    "replica: { of: leader, does: paused, around: before-call }",
    "one of several replicas, for as long as this lasts; with `replicas` only (5, 6, 10, 16, 19 to 22)",
);

pub(super) static VANTAGE: Form = Form {
    what: "a vantage",
    keys: &[
        need("of", Shape::Vantage, "of: daemon", "which: `daemon`, or the number of an observer, from 1"),
        need("does", Shape::Words(SIGHTS), "does: cut_off", "what is wrong with it"),
    ],
    one_of: &[],
};

static REPLICA: Form = Form {
    what: "a replica",
    keys: &[
        need("of", Shape::Replica, "of: leader", "which: `leader`, whoever that is as this begins, or a number from 1"),
        need("does", Shape::Words(REPLICA_FAULTS), "does: paused", "what befalls it while this lasts"),
    ],
    one_of: &[],
};

const SIGHTS: &[Word] = &[
    word("silent", "it reports nothing; an observer only"),
    word("cut_off", "its control points and the application are out of its reach: an observer abstains"),
    word("sees_ill", "the application looks ill from there, and its control points answer (46)"),
];

const AROUND: &[Key] = &[may(
    "around",
    Shape::Words(MOMENTS),
    "around: before-call",
    "around the first of these that it does while this lasts; at once otherwise",
)];

const MOMENTS: &[Word] = &[
    word("before-call", "a call that changes something, which has not left"),
    word("after-call", "such a call, which has been answered"),
    word("before-append", "an append to the journal, which has not left"),
    word("after-append", "an append to the journal, which is durable"),
    word("before-renewal", "a write of the lease, which has not left (5)"),
    word("after-renewal", "a write of the lease, which is done (5)"),
];

const JUMP: &[Key] = &[need("jump", Shape::Jump { most: Duration::from_hours(24) }, "jump: -1h", "forward or back")];

const REPLICA_FAULTS: &[Word] = &[
    Word { word: "killed", says: "SIGKILL; it starts again when this ends (4, 5)", more: AROUND },
    word("stopped", "SIGTERM; it starts again when this ends (6, 76)"),
    Word { word: "paused", says: "SIGSTOP; SIGCONT when this ends (10, 19, 20)", more: AROUND },
    word("loses-requests", "what it asks of the store does not arrive (21)"),
    word("loses-answers", "what it asks of the store is done, and no answer comes back (21, 23)"),
    word("cut-from-aws", "it reaches the store and nothing else (22)"),
    word("stalls", "its calls that change something stand still; everything else of it goes on (16)"),
    Word { word: "clock-jumps", says: "its wall clock jumps, and back when this ends (11)", more: JUMP },
];

/// Who sees what matters where something is armed; an observer that is not there sees nothing.
pub(super) fn vantages(t: &Table, found: &mut Findings) {
    let observers = t.count("observers").unwrap_or_default();
    let arms = t.table("people").is_some_and(|p| p.has("arm"));
    let example = "people: { arm: { largest_loss: 5m } }";
    if 0 < observers && !arms {
        found.error("observers", "nobody listens to them: give `people` an `arm`", example);
    }
    for (i, h) in t.tables("happenings").enumerate() {
        let Some(vantage) = h.table("vantage") else { continue };
        let key = format!("happenings[{i}].vantage");
        if !arms {
            found.error(&key, "nothing is armed: give `people` an `arm`", example);
        }
        match vantage.count("of") {
            Some(number) if observers < number => {
                let problem = format!("there is no observer {number}: `observers` is {observers}");
                found.error(&format!("{key}.of"), problem, "observers: 2");
            }
            None if vantage.text("of") == Some(DAEMON) && vantage.word("does") == Some("silent") => {
                let problem = "a daemon that is silent is one that is killed or paused";
                found.error(&format!("{key}.does"), problem, "pause_process: { lasts: 90s }");
            }
            _ => {}
        }
    }
    for (i, e) in t.tables("expect").enumerate() {
        if e.has("armed") && !arms {
            found.error(&format!("expect[{i}].armed"), "nobody arms anything: give `people` an `arm`", example);
        }
    }
}

/// A replica that is not there does nothing, and no disk is shared.
pub(super) fn replicas(t: &Table, found: &mut Findings) {
    let replicas = t.count("replicas").unwrap_or(1);
    for (i, h) in t.tables("happenings").enumerate() {
        if 1 < replicas && h.has("journal_rots") {
            let problem = "several replicas share a store that has copies of its own; a disk rots under one daemon";
            found.error(&format!("happenings[{i}].journal_rots"), problem, "append_fails_after_commit: true");
        }
        let Some(replica) = h.table("replica") else { continue };
        let key = format!("happenings[{i}].replica");
        match replica.count("of") {
            _ if replicas < 2 => {
                found.error(&key, "there is one daemon only: give `replicas`", "replicas: 3");
            }
            Some(number) if replicas < number => {
                let problem = format!("there is no replica {number}: `replicas` is {replicas}");
                found.error(&format!("{key}.of"), problem, "replicas: 3");
            }
            _ => {}
        }
    }
}

pub(super) fn vantage(t: &Table) -> Option<Trouble> {
    let t = t.table("vantage")?;
    let does = match t.word("does")? {
        "silent" => Sight::Silent,
        "cut_off" => Sight::CutOff,
        "sees_ill" => Sight::SeesIll,
        _ => return None,
    };
    Some(Trouble::Vantage { of: t.count("of").map_or(Vantage::Daemon, Vantage::Observer), does })
}

pub(super) fn replica(t: &Table) -> Option<Trouble> {
    let t = t.table("replica")?;
    let around = match t.word("around") {
        Some(word) => Some(Around::of(word)?),
        None => None,
    };
    let does = match t.word("does")? {
        "killed" => ReplicaFault::Killed { around },
        "stopped" => ReplicaFault::Stopped,
        "paused" => ReplicaFault::Paused { around },
        "loses-requests" => ReplicaFault::LosesRequests,
        "loses-answers" => ReplicaFault::LosesAnswers,
        "cut-from-aws" => ReplicaFault::CutFromAws,
        "stalls" => ReplicaFault::Stalls,
        "clock-jumps" => ReplicaFault::ClockJumps { seconds: t.seconds("jump")? },
        _ => return None,
    };
    Some(Trouble::Replica { of: t.count("of").map_or(Replica::Leader, Replica::Number), does })
}
