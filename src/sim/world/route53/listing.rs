//! The read operations over zones and records, with their pagination, and record set protections.
//!
//! They show the control plane's view: PENDING changes appear as if live. Only DNS itself shows what is served.

use super::{
    Answer, Lookup, Route53, View,
    change::{fault, invalid_input},
    record::{DnsName, RecordKey, RecordSet, RrType},
    zone::Zone,
};
use crate::sim::world::{ApiFault, SimTime};

/// The page size where none is asked for, and the largest [bc].
pub const ZONES_PER_PAGE_MAX: usize = 100;
/// Record sets per page of `ListResourceRecordSets` [bc].
pub const RECORD_SETS_PER_PAGE_MAX: usize = 300;

/// One page, and where the next begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, K> {
    pub items: Vec<T>,
    pub next: Option<K>,
    pub max_items: usize,
}

impl<T, K> Page<T, K> {
    /// The first `max_items` of `all`; the key of the first one left out begins the next page.
    pub(super) fn take(all: impl Iterator<Item = T>, max_items: usize, key: impl Fn(&T) -> K) -> Self {
        let mut items: Vec<T> = all.take(max_items + 1).collect();
        let next = (max_items < items.len()).then(|| items.pop());
        Self { next: next.flatten().map(|item| key(&item)), items, max_items }
    }
}

/// Where a listing of record sets begins; later parts need the earlier ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StartRecord {
    pub name: Option<DnsName>,
    pub rtype: Option<RrType>,
    pub set_identifier: Option<String>,
}

impl StartRecord {
    /// Whether `key` lies before the start. Types compare by name, as in the listing order.
    fn is_after(&self, key: &RecordKey) -> bool {
        let Some(name) = &self.name else { return false };
        let Some(rtype) = self.rtype else {
            return key.name < *name;
        };
        let left = (&key.name, key.rtype, &key.set_identifier);
        left < (name, rtype, &self.set_identifier)
    }
}

impl Route53 {
    /// `ListResourceRecordSets`.
    ///
    /// # Errors
    /// `Throttling`, `NoSuchHostedZone`, `InvalidInput`.
    pub fn list_record_sets(
        &mut self,
        now: SimTime,
        zone_id: &str,
        start: &StartRecord,
        max_items: Option<usize>,
    ) -> Result<Page<RecordSet, RecordKey>, ApiFault> {
        self.admit(now)?;
        if start.name.is_none() && start.rtype.is_some() || start.rtype.is_none() && start.set_identifier.is_some() {
            return Err(invalid_input("The start record's type needs its name, and its identifier needs its type"));
        }
        let sets = self.zone(zone_id)?.live.values().cloned();
        Ok(Page::take(
            sets.skip_while(|s| start.is_after(&s.key())),
            page_size(max_items, RECORD_SETS_PER_PAGE_MAX),
            RecordSet::key,
        ))
    }

    /// `GetHostedZone`.
    ///
    /// # Errors
    /// `Throttling`, `NoSuchHostedZone`.
    pub fn get_zone(&mut self, now: SimTime, zone_id: &str) -> Result<Zone, ApiFault> {
        self.admit(now)?;
        self.zone(zone_id).cloned()
    }

    /// `ListHostedZones`, by id; `marker` is the first id of the page.
    ///
    /// # Errors
    /// `Throttling`.
    pub fn list_zones(
        &mut self,
        now: SimTime,
        marker: Option<&str>,
        max_items: Option<usize>,
    ) -> Result<Page<Zone, String>, ApiFault> {
        self.admit(now)?;
        let from = marker.unwrap_or_default();
        let zones = self.zones.values().filter(|z| from <= z.id.as_str());
        Ok(Page::take(zones.cloned(), page_size(max_items, ZONES_PER_PAGE_MAX), |z| z.id.clone()))
    }

    /// `ListHostedZonesByName`, from `start` on, in the order of names with their labels reversed.
    ///
    /// # Errors
    /// `Throttling`.
    pub fn list_zones_by_name(
        &mut self,
        now: SimTime,
        start: Option<(&DnsName, Option<&str>)>,
        max_items: Option<usize>,
    ) -> Result<Page<Zone, (DnsName, String)>, ApiFault> {
        self.admit(now)?;
        let key = |z: &Zone| (z.name.clone(), z.id.clone());
        let mut zones: Vec<Zone> = self.zones.values().cloned().collect();
        zones.sort_by_key(key);
        let first = start.map(|(name, id)| (name.clone(), id.unwrap_or_default().to_owned()));
        let from_start = zones.into_iter().filter(|z| first.as_ref().is_none_or(|first| *first <= key(z)));
        let size = page_size(max_items, ZONES_PER_PAGE_MAX);
        Ok(Page::take(from_start, size, key))
    }

    /// `TestDNSAnswer`: what the zone's own name servers answer now; `None` for no such record.
    ///
    /// # Errors
    /// `Throttling`, `NoSuchHostedZone`, and `InvalidInput` for a private zone.
    pub fn test_dns_answer(
        &mut self,
        now: SimTime,
        zone_id: &str,
        name: &DnsName,
        rtype: RrType,
    ) -> Result<Lookup, ApiFault> {
        self.admit(now)?;
        let zone = self.zone(zone_id)?;
        if zone.private {
            return Err(invalid_input("TestDNSAnswer supports only public hosted zones"));
        }
        if !name.is_within(&zone.name) {
            return Err(invalid_input(format!("{name} is not in zone {}", zone.name)));
        }
        Ok(self.lookup(View::Public, now, name, rtype))
    }

    /// `ListResourceRecordSetProtections`, whole: pagination is not simulated.
    ///
    /// # Errors
    /// `Throttling`, `NoSuchHostedZone`.
    pub fn list_protections(&mut self, now: SimTime, zone_id: &str) -> Result<Vec<(DnsName, RrType)>, ApiFault> {
        self.admit(now)?;
        Ok(self.zone(zone_id)?.protections.iter().cloned().collect())
    }

    /// `DeleteResourceRecordSetProtections`: all of them or none.
    ///
    /// # Errors
    /// `Throttling`, `NoSuchHostedZone`, `InvalidResourceRecordSetProtectionBatch`.
    pub fn delete_protections(
        &mut self,
        now: SimTime,
        zone_id: &str,
        protections: &[(DnsName, RrType)],
    ) -> Result<(), ApiFault> {
        let result = self.try_delete_protections(now, zone_id, protections);
        let detail = format!("{zone_id}: {protections:?}");
        self.count_effect(now, "DeleteResourceRecordSetProtections", detail, &result);
        result
    }

    fn try_delete_protections(
        &mut self,
        now: SimTime,
        zone_id: &str,
        protections: &[(DnsName, RrType)],
    ) -> Result<(), ApiFault> {
        self.admit(now)?;
        let zone = self.zone_mut(zone_id)?;
        if let Some((name, rtype)) = protections.iter().find(|p| !zone.protections.contains(*p)) {
            return Err(fault(
                400,
                "InvalidResourceRecordSetProtectionBatch",
                format!("no protection of {name} {}", rtype.as_str()),
            ));
        }
        for protection in protections {
            zone.protections.remove(protection);
        }
        Ok(())
    }

    /// The zone's SOA as served, for negative answers.
    pub fn soa(&self, apex: &DnsName) -> Option<Answer> {
        let zone = self.zones.values().find(|z| z.name == *apex)?;
        let soa = zone.served_group(apex, RrType::SOA).next()?;
        Some(Answer { values: soa.values.clone(), ttl_seconds: soa.ttl_seconds })
    }
}

/// The page size to use where `asked` for one: never more than `max`, never none.
pub(super) fn page_size(asked: Option<usize>, max: usize) -> usize {
    asked.unwrap_or(max).clamp(1, max)
}
