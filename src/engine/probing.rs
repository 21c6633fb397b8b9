//! The probes of TCP ports and of databases: each must succeed so many times in a row.
//!
//! Invariant: silence and a question that could not be put end the row, as a wrong answer does. Nothing is changed.

use crate::{
    domain::{
        action::Action,
        database::Door,
        heartbeat::DatabaseEndpoint,
        id::{Region, StoreName},
    },
    engine::{
        context::Context,
        look::{Look, Memory},
        outlook::Condition,
    },
    ports::probes::TcpAnswer,
};

/// What one question showed: what was expected, or why not.
enum Shown {
    Good(String),
    Bad(String),
    Silent(String),
}

/// How to reach the database of `store` in `region`; a sentence where it is not configured.
pub(super) fn database(
    context: &Context,
    store: &StoreName,
    region: &Region,
    door: Door,
) -> Result<DatabaseEndpoint, String> {
    let heartbeat = context.application.stores.get(store).and_then(|s| s.heartbeat.as_ref());
    let heartbeat = heartbeat.ok_or_else(|| format!("store {store} has no heartbeat, whose connection is used"))?;
    let at = match door {
        Door::Writer => heartbeat.endpoint(region),
        Door::Reader => heartbeat.reader_endpoint(region),
    };
    at.ok_or_else(|| format!("the heartbeat of store {store} has no endpoint in {region}"))
}

async fn ask(context: &Context, action: &Action) -> Shown {
    match action {
        Action::ProbeTcp { address, probe_timeout, .. } => match context.probes.tcp(address, *probe_timeout).await {
            TcpAnswer::Connected => Shown::Good(format!("{address} was connected to")),
            TcpAnswer::NoAnswer { reason } | TcpAnswer::NotAsked { reason } => {
                Shown::Silent(format!("{address}: {reason}"))
            }
        },
        Action::ProbePostgres { store, region, door, expect, probe_timeout, .. } => {
            let at = match database(context, store, region, *door) {
                Ok(at) => DatabaseEndpoint { timeout: *probe_timeout, ..at },
                Err(why) => return Shown::Silent(why),
            };
            match context.databases.state(&at).await {
                Ok(state) => {
                    let is = match (state.in_recovery, state.read_only) {
                        (true, _) => "is in recovery",
                        (false, true) => "is read-only",
                        (false, false) => "takes writes",
                    };
                    let says = format!("{} ({region}, {}) {is}", at.address, door.as_str());
                    if expect.is_met_by(state) { Shown::Good(says) } else { Shown::Bad(says) }
                }
                Err(error) => Shown::Silent(error.to_string()),
            }
        }
        other => unreachable!("{} is none of these probes", other.kind()),
    }
}

/// Asks once.
pub(super) async fn look(context: &Context, action: &Action, memory: &mut Memory) -> Look {
    let (Action::ProbeTcp { consecutive, interval, .. } | Action::ProbePostgres { consecutive, interval, .. }) = action
    else {
        unreachable!("called for probes only")
    };
    match ask(context, action).await {
        Shown::Good(says) => {
            let row = memory.in_a_row(true);
            if row >= *consecutive {
                return Look::Satisfied {
                    evidence: vec![format!("{says}, {row} times in a row")],
                    outputs: Default::default(),
                };
            }
            Look::NotYet { why: format!("{row} of {consecutive}: {says}"), pause: *interval }
        }
        Shown::Bad(why) | Shown::Silent(why) => {
            memory.in_a_row(false);
            Look::NotYet { why, pause: *interval }
        }
    }
}

/// One question, for a plan.
pub(super) async fn ahead(context: &Context, action: &Action) -> Condition {
    match ask(context, action).await {
        Shown::Good(says) => Condition::Met { evidence: vec![says] },
        Shown::Bad(why) => Condition::NotMet { why },
        Shown::Silent(why) => Condition::Unknown { why },
    }
}
