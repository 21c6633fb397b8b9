//! Hosted zones: what the control plane holds (`live`) and what the name servers answer from (`served`).
//!
//! Invariant: a zone always has exactly one SOA and at least one NS record set at its apex, in both views.
//! The two views differ only by changes that are still PENDING.

use std::collections::{BTreeMap, BTreeSet};

use super::record::{DnsName, RecordKey, RecordSet, RrType};
use crate::sim::world::SimTime;

/// The record sets of one view of a zone, in listing order.
pub type RecordSets = BTreeMap<RecordKey, RecordSet>;

/// One hosted zone.
#[derive(Debug, Clone)]
pub struct Zone {
    /// Without the `/hostedzone/` prefix.
    pub id: String,
    pub name: DnsName,
    /// Answered only to the VPCs' resolvers, never by `TestDNSAnswer`.
    pub private: bool,
    pub caller_reference: String,
    pub comment: Option<String>,
    /// What the API shows, PENDING changes included.
    pub live: RecordSets,
    /// What the name servers answer from.
    pub served: RecordSets,
    /// Names and types that no change may touch until the protection is deleted [bc, 2026].
    pub protections: BTreeSet<(DnsName, RrType)>,
    /// Until then another change of this zone is refused with `PriorRequestNotComplete`.
    pub(super) busy_until: SimTime,
    /// When the latest change of this zone becomes INSYNC; later changes never overtake it.
    pub(super) in_sync_at: SimTime,
}

/// The four servers of every zone here; real zones have four as well, but of several thousand.
pub const NAME_SERVERS: [&str; 4] =
    ["ns-1.awsdns-00.com", "ns-513.awsdns-00.net", "ns-1025.awsdns-00.org", "ns-1537.awsdns-00.co.uk"];

impl Zone {
    /// An empty zone: SOA and NS only, with the values and TTLs that Route 53 gives them.
    pub fn new(id: &str, name: DnsName, private: bool) -> Self {
        let soa = format!("{}. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400", NAME_SERVERS[0]);
        let servers = NAME_SERVERS.iter().map(|n| format!("{n}.")).collect();
        let served: RecordSets = [
            RecordSet::simple(name.clone(), RrType::NS, 172_800, servers),
            RecordSet::simple(name.clone(), RrType::SOA, 900, vec![soa]),
        ]
        .into_iter()
        .map(|set| (set.key(), set))
        .collect();
        Self {
            id: id.to_owned(),
            name,
            private,
            caller_reference: format!("created-{id}"),
            comment: None,
            live: served.clone(),
            served,
            protections: BTreeSet::new(),
            busy_until: SimTime::default(),
            in_sync_at: SimTime::default(),
        }
    }

    /// Puts `set` into both views at once, as if it had been there for long. For fixtures.
    pub fn seed(&mut self, set: RecordSet) {
        self.live.insert(set.key(), set.clone());
        self.served.insert(set.key(), set);
    }

    /// The served record sets of `name` and `rtype`.
    pub fn served_group<'a>(&'a self, name: &'a DnsName, rtype: RrType) -> impl Iterator<Item = &'a RecordSet> {
        self.served.values().filter(move |s| s.rtype == rtype && s.name == *name)
    }

    /// Whether `name` exists in DNS: it has a record, or something below it has.
    pub fn serves_name(&self, name: &DnsName) -> bool {
        self.served.keys().any(|k| k.name.is_within(name))
    }
}
