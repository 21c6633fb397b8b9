//! `ChangeResourceRecordSets`: transactional batches, and their way from PENDING to INSYNC.
//!
//! Invariant: a refused batch changes nothing. An accepted one shows in `ListResourceRecordSets` at once but in
//! DNS answers only when it becomes INSYNC; changes of one zone become INSYNC in the order they were accepted.

use std::collections::BTreeSet;

use rand::RngExt as _;

use super::{
    Route53,
    record::{DnsName, FailoverRole, RecordSet, Routing, RrType},
    zone::{RecordSets, Zone},
};
use crate::sim::world::{
    ApiFault, Context, SimTime,
    timings::{self, Name},
};

/// Milliseconds during which another change of the same zone gets `PriorRequestNotComplete` [INF: the API
/// documents the error, not the window; accepted changes may well overlap while PENDING].
pub const PROCESSING_MS: std::ops::RangeInclusive<u64> = 50..=400;
/// `ResourceRecord` elements per request, UPSERT counting twice [R53DG:Quotas].
pub const BATCH_RECORDS_MAX: usize = 1_000;
/// Characters in all `Value` elements of a request, UPSERT counting twice [R53DG:Quotas].
pub const BATCH_VALUE_CHARS_MAX: usize = 32_000;

/// What a change does with its record set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Create,
    Delete,
    Upsert,
}

impl Action {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Delete => "DELETE",
            Self::Upsert => "UPSERT",
        }
    }
}

/// One element of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordChange {
    pub action: Action,
    pub record_set: RecordSet,
}

/// One transactional batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangeBatch {
    pub comment: Option<String>,
    pub changes: Vec<RecordChange>,
}

/// `ChangeStatus` [bc].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeStatus {
    Pending,
    InSync,
}

impl ChangeStatus {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::InSync => "INSYNC",
        }
    }
}

/// What the API says of an accepted batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeInfo {
    /// Without the `/change/` prefix.
    pub id: String,
    pub status: ChangeStatus,
    pub submitted_at: SimTime,
    pub comment: Option<String>,
}

/// An accepted batch on its way to the name servers.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) info: ChangeInfo,
    /// The order of acceptance.
    pub(super) sequence: u64,
    pub(super) zone_id: String,
    pub(super) changes: Vec<RecordChange>,
    pub(super) in_sync_at: SimTime,
}

impl Route53 {
    /// `ChangeResourceRecordSets`. `zone_id` is without prefix.
    ///
    /// # Errors
    /// `Throttling`, `NoSuchHostedZone`, `PriorRequestNotComplete`, `NoSuchHealthCheck`, `InvalidInput`,
    /// `InvalidChangeBatch`; on every one nothing was changed.
    pub fn change_record_sets(
        &mut self,
        ctx: &mut Context<'_>,
        zone_id: &str,
        batch: &ChangeBatch,
    ) -> Result<ChangeInfo, ApiFault> {
        let result = self.try_change(ctx, zone_id, batch);
        let list: Vec<String> = batch
            .changes
            .iter()
            .map(|c| {
                let values = c.record_set.values.join(",");
                format!("{} {} -> {values}", c.action.as_str(), c.record_set.key())
            })
            .collect();
        let detail = format!("{zone_id}: {}", list.join("; "));
        self.count_effect(ctx.now, "ChangeResourceRecordSets", detail, &result);
        result
    }

    fn try_change(
        &mut self,
        ctx: &mut Context<'_>,
        zone_id: &str,
        batch: &ChangeBatch,
    ) -> Result<ChangeInfo, ApiFault> {
        let now = ctx.now;
        self.admit(now)?;
        let zone = self.zone(zone_id)?;
        if now < zone.busy_until {
            return Err(fault(
                400,
                "PriorRequestNotComplete",
                "The request was rejected because Route 53 was still processing a prior request.",
            ));
        }
        check_size(batch)?;
        for change in &batch.changes {
            self.check_record(change)?;
        }
        let live = apply_all(zone, &batch.changes).map_err(invalid_change_batch)?;
        let in_sync_at = now.plus_ms(timings::draw(ctx.rng, Name::DnsChangeInsync)).max(zone.in_sync_at);
        let busy_until = now.plus_ms(ctx.rng.random_range(PROCESSING_MS));
        let info = ChangeInfo {
            id: self.draw_id(ctx.rng, 'C'),
            status: ChangeStatus::Pending,
            submitted_at: now,
            comment: batch.comment.clone(),
        };
        let zone = self.zone_mut(zone_id)?;
        zone.live = live;
        zone.in_sync_at = in_sync_at;
        zone.busy_until = busy_until;
        let sequence = self.next_sequence();
        self.changes.insert(
            info.id.clone(),
            Change {
                info: info.clone(),
                sequence,
                zone_id: zone_id.to_owned(),
                changes: batch.changes.clone(),
                in_sync_at,
            },
        );
        Ok(info)
    }

    /// `GetChange`. `id` is without prefix.
    ///
    /// # Errors
    /// `Throttling`, `NoSuchChange`.
    pub fn get_change(&mut self, now: SimTime, id: &str) -> Result<ChangeInfo, ApiFault> {
        self.admit(now)?;
        let change = self
            .changes
            .get(id)
            .ok_or_else(|| fault(404, "NoSuchChange", format!("Could not find resource with ID: {id}")))?;
        Ok(change.info.clone())
    }

    /// Makes every change that is due INSYNC, in the order of acceptance.
    pub(super) fn propagate(&mut self, ctx: &mut Context<'_>) {
        let mut due: Vec<(u64, String)> = self
            .changes
            .values()
            .filter(|c| c.info.status == ChangeStatus::Pending && c.in_sync_at <= ctx.now)
            .map(|c| (c.sequence, c.info.id.clone()))
            .collect();
        due.sort();
        for (_, id) in due {
            let Some(change) = self.changes.get_mut(&id) else {
                continue;
            };
            change.info.status = ChangeStatus::InSync;
            let (zone_id, changes) = (change.zone_id.clone(), change.changes.clone());
            if let Some(zone) = self.zones.get_mut(&zone_id) {
                for change in changes {
                    serve(&mut zone.served, change);
                }
            }
            super::event(ctx, "route53.insync", format!("{zone_id}: change {id} is INSYNC"));
        }
    }

    /// What is wrong with one change whatever the zone holds.
    fn check_record(&self, change: &RecordChange) -> Result<(), ApiFault> {
        let set = &change.record_set;
        if set.values.is_empty() {
            return Err(invalid_input(format!(
                "Invalid request: Expected exactly one of [AliasTarget, all of [TTL, and ResourceRecords], or \
                 TrafficPolicyInstanceId], but found none in Change with [Action={}, Name={}, Type={}, \
                 SetIdentifier={}]",
                change.action.as_str(),
                set.name,
                set.rtype.as_str(),
                set.routing.set_identifier().unwrap_or("null"),
            )));
        }
        if set.routing.set_identifier().is_some_and(|id| !(1..=128).contains(&id.chars().count())) {
            return Err(invalid_input("Invalid request: SetIdentifier must have 1 to 128 characters"));
        }
        match &set.health_check_id {
            Some(id) if change.action != Action::Delete && !self.checks.contains_key(id) => {
                Err(super::health::no_such_health_check(id))
            }
            _ => Ok(()),
        }
    }
}

fn serve(served: &mut RecordSets, change: RecordChange) {
    match change.action {
        Action::Delete => {
            served.remove(&change.record_set.key());
        }
        Action::Create | Action::Upsert => {
            served.insert(change.record_set.key(), change.record_set);
        }
    }
}

fn check_size(batch: &ChangeBatch) -> Result<(), ApiFault> {
    if batch.changes.is_empty() {
        return Err(invalid_input("Invalid request: the change batch has no changes"));
    }
    let (mut records, mut chars) = (0, 0);
    for change in &batch.changes {
        let factor = if change.action == Action::Upsert { 2 } else { 1 };
        records += factor * change.record_set.values.len();
        chars += factor * change.record_set.values.iter().map(|v| v.chars().count()).sum::<usize>();
    }
    let mut messages = Vec::new();
    if records > BATCH_RECORDS_MAX {
        messages.push(format!("Number of records limit of {BATCH_RECORDS_MAX} exceeded."));
    }
    if chars > BATCH_VALUE_CHARS_MAX {
        messages.push(format!("Number of characters limit of {BATCH_VALUE_CHARS_MAX} exceeded."));
    }
    if messages.is_empty() { Ok(()) } else { Err(invalid_change_batch(messages)) }
}

/// The zone's record sets after all `changes`, or every reason against them.
fn apply_all(zone: &Zone, changes: &[RecordChange]) -> Result<RecordSets, Vec<String>> {
    let mut sets = zone.live.clone();
    let mut messages = Vec::new();
    let mut touched = BTreeSet::new();
    for RecordChange { action, record_set } in changes {
        let key = record_set.key();
        if zone.protections.contains(&(key.name.clone(), key.rtype)) {
            messages.push(format!("Tried to change resource record set {key} but it is protected"));
            continue;
        }
        if !record_set.name.is_within(&zone.name) {
            messages.push(format!("RRSet with DNS name {} is not permitted in zone {}", record_set.name, zone.name));
            continue;
        }
        messages.extend(bad_values(record_set));
        touched.insert((key.name.clone(), key.rtype));
        match (action, sets.get(&key)) {
            (Action::Create, Some(_)) => {
                messages.push(format!("Tried to create resource record set {key} but it already exists"))
            }
            (Action::Delete, None) => {
                messages.push(format!("Tried to delete resource record set {key} but it was not found"))
            }
            (Action::Delete, Some(current)) if !same(current, record_set) => {
                messages.push(format!(
                    "Tried to delete resource record set {key} but the values provided do not match the current \
                     values"
                ));
            }
            (Action::Delete, Some(_)) => {
                sets.remove(&key);
            }
            (Action::Create | Action::Upsert, _) => {
                sets.insert(key, record_set.clone());
            }
        }
    }
    for (name, rtype) in &touched {
        messages.extend(bad_group(zone, &sets, name, *rtype));
    }
    if messages.is_empty() { Ok(sets) } else { Err(messages) }
}

/// DELETE must match every field; the order of the values does not matter.
fn same(a: &RecordSet, b: &RecordSet) -> bool {
    let sorted = |set: &RecordSet| {
        let mut values = set.values.clone();
        values.sort();
        RecordSet { values, ..set.clone() }
    };
    sorted(a) == sorted(b)
}

fn bad_values(set: &RecordSet) -> Vec<String> {
    if set.rtype != RrType::A {
        return Vec::new();
    }
    set.values
        .iter()
        .filter(|v| v.parse::<std::net::Ipv4Addr>().is_err())
        .map(|v| {
            format!(
                "Invalid Resource Record: 'FATAL problem: ARRDATAIllegalIPv4Address (Value is not a valid IPv4 \
                 address) encountered with '{v}''"
            )
        })
        .collect()
}

/// What is wrong with the record sets that now share `name` and `rtype`.
fn bad_group(zone: &Zone, sets: &RecordSets, name: &DnsName, rtype: RrType) -> Vec<String> {
    let group: Vec<&RecordSet> = sets.values().filter(|s| s.rtype == rtype && s.name == *name).collect();
    let mut messages = Vec::new();
    if *name == zone.name && group.is_empty() {
        if rtype == RrType::SOA {
            messages.push("A HostedZone must contain exactly one SOA record.".to_owned());
        } else if rtype == RrType::NS {
            messages.push("A HostedZone must contain at least one NS record for the zone itself.".to_owned());
        }
    }
    let kind = |set: &RecordSet| std::mem::discriminant(&set.routing);
    if group.windows(2).any(|w| kind(w[0]) != kind(w[1])) {
        messages.push(format!(
            "RRSet with DNS name {name}, type {} cannot be created as other RRSets exist with the same name and \
             type but another routing policy.",
            rtype.as_str()
        ));
    }
    for role in [FailoverRole::Primary, FailoverRole::Secondary] {
        let of_role = |s: &&&RecordSet| matches!(s.routing, Routing::Failover { role: r, .. } if r == role);
        if 1 < group.iter().filter(of_role).count() {
            messages.push(format!(
                "Failover conflict: more than one {} resource record set with name {name} and type {}",
                role.as_str(),
                rtype.as_str()
            ));
        }
    }
    let weighted = |s: &RecordSet| matches!(s.routing, Routing::Weighted { .. });
    if group.windows(2).any(|w| weighted(w[0]) && weighted(w[1]) && w[0].ttl_seconds != w[1].ttl_seconds) {
        messages.push(format!(
            "All weighted resource record sets with name {name} and type {} must have the same TTL",
            rtype.as_str()
        ));
    }
    let cname_conflict = !group.is_empty()
        && sets.values().any(|s| s.name == *name && (s.rtype == RrType::CNAME) != (rtype == RrType::CNAME));
    if cname_conflict {
        messages.push(format!(
            "RRSet of type {} with DNS name {name} is not permitted as it conflicts with other records with the \
             same DNS name in zone {}",
            rtype.as_str(),
            zone.name
        ));
    }
    messages
}

fn invalid_change_batch(messages: Vec<String>) -> ApiFault {
    // The list in brackets is how Route 53 writes it today [aws-sdk-kotlin#1435].
    fault(400, "InvalidChangeBatch", format!("[{}]", messages.join(", ")))
}

/// A 400 `InvalidInput`.
pub(super) fn invalid_input(message: impl Into<String>) -> ApiFault {
    fault(400, "InvalidInput", message)
}

/// An [`ApiFault`] with these parts.
pub(super) fn fault(status: u16, code: &'static str, message: impl Into<String>) -> ApiFault {
    ApiFault { status, code, message: message.into() }
}
