//! What the name servers answer: routing policies over health, as the data plane sees both.
//!
//! Route 53 fails open: where every candidate is unhealthy it answers as if every one were healthy. This module
//! never reads `live` records: a PENDING change is not in DNS.

use super::{
    Route53,
    record::{DnsName, FailoverRole, RecordSet, Routing, RrType},
    zone::Zone,
};
use crate::sim::world::SimTime;

/// How many CNAMEs are followed before giving up, as common resolvers do.
const CNAME_CHAIN_MAX: usize = 8;

/// The values of one name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub values: Vec<String>,
    pub ttl_seconds: u32,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Anyone on the internet, asking the zone's name servers: private zones do not exist.
    Public,
    /// A resolver inside an associated VPC: private zones come first.
    Vpc,
}

/// What DNS says of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// No zone here holds the name.
    Refused,
    /// The zone (its apex) has no such name.
    NoSuchName { zone: DnsName },
    /// The name exists, without records of this type.
    NoData { zone: DnsName },
    /// The records, CNAMEs first.
    Found(Vec<(DnsName, RrType, Answer)>),
}

impl Route53 {
    /// What a resolver inside the VPC learns for `name` and `rtype` at `now`, CNAMEs followed within our zones;
    /// the TTL is the shortest on the way. `None` where there is no such record.
    pub fn answer(&self, now: SimTime, name: &str, rtype: RrType) -> Option<Answer> {
        let Lookup::Found(found) = self.lookup(View::Vpc, now, &name.parse().ok()?, rtype) else {
            return None;
        };
        let ttl_seconds = found.iter().map(|(_, _, a)| a.ttl_seconds).min()?;
        let (_, last, answer) = found.into_iter().next_back()?;
        (last == rtype).then_some(Answer { values: answer.values, ttl_seconds })
    }

    /// What the name servers answer to whoever has this `view`.
    pub fn lookup(&self, view: View, now: SimTime, name: &DnsName, rtype: RrType) -> Lookup {
        let mut found = Vec::new();
        let mut name = name.clone();
        for _ in 0..CNAME_CHAIN_MAX {
            let Some(zone) = self.zone_of(view, &name) else {
                return if found.is_empty() { Lookup::Refused } else { Lookup::Found(found) };
            };
            if let Some(answer) = self.choose(zone, now, &name, rtype) {
                found.push((name, rtype, answer));
                return Lookup::Found(found);
            }
            let alias = self.choose(zone, now, &name, RrType::CNAME);
            let Some((alias, target)) = alias.and_then(|a| {
                let target = a.values.first()?.parse().ok()?;
                Some((a, target))
            }) else {
                return match (found.is_empty(), zone.serves_name(&name)) {
                    (false, _) => Lookup::Found(found),
                    (true, true) => Lookup::NoData { zone: zone.name.clone() },
                    (true, false) => Lookup::NoSuchName { zone: zone.name.clone() },
                };
            };
            found.push((name, RrType::CNAME, alias));
            name = target;
        }
        Lookup::Found(found)
    }

    /// The most specific zone that holds `name`; of equals the private one, for those who see it.
    fn zone_of(&self, view: View, name: &DnsName) -> Option<&Zone> {
        self.zones
            .values()
            .filter(|z| view == View::Vpc || !z.private)
            .filter(|z| name.is_within(&z.name))
            .max_by_key(|z| (z.name.as_str().len(), z.private))
    }

    /// The record set that the routing policy picks.
    pub(super) fn choose(&self, zone: &Zone, now: SimTime, name: &DnsName, rtype: RrType) -> Option<Answer> {
        let group: Vec<&RecordSet> = zone.served_group(name, rtype).collect();
        let chosen = match &group.first()?.routing {
            Routing::Simple => group.first().copied(),
            Routing::Failover { .. } => self.choose_failover(&group),
            Routing::Weighted { .. } => self.choose_weighted(now, name, &group),
        }?;
        Some(Answer { values: chosen.values.clone(), ttl_seconds: chosen.ttl_seconds })
    }

    /// A record set without a health check is always healthy.
    fn is_healthy_set(&self, set: &RecordSet) -> bool {
        set.health_check_id.as_deref().is_none_or(|id| self.is_healthy(id).unwrap_or(true))
    }

    /// An unhealthy secondary never wins over a primary, healthy or not [R53DG].
    fn choose_failover<'a>(&self, group: &[&'a RecordSet]) -> Option<&'a RecordSet> {
        let of = |wanted| {
            group.iter().copied().find(|s| matches!(s.routing, Routing::Failover { role, .. } if role == wanted))
        };
        match (of(FailoverRole::Primary), of(FailoverRole::Secondary)) {
            (Some(primary), Some(secondary)) => {
                let to_secondary = !self.is_healthy_set(primary) && self.is_healthy_set(secondary);
                Some(if to_secondary { secondary } else { primary })
            }
            (one, other) => one.or(other),
        }
    }

    /// Weight 0 is used only when every healthy record set has it; all unhealthy count as all healthy [R53DG].
    fn choose_weighted<'a>(&self, now: SimTime, name: &DnsName, group: &[&'a RecordSet]) -> Option<&'a RecordSet> {
        let weight = |s: &RecordSet| match s.routing {
            Routing::Weighted { weight, .. } => u64::from(weight),
            _ => 0,
        };
        let mut candidates: Vec<&RecordSet> = group.iter().copied().filter(|s| self.is_healthy_set(s)).collect();
        if candidates.is_empty() {
            candidates = group.to_vec();
        }
        let total: u64 = candidates.iter().map(|s| weight(s)).sum();
        let ticket = spread(now, name);
        if total == 0 {
            let index = usize::try_from(ticket % candidates.len() as u64).unwrap_or(0);
            return candidates.get(index).copied();
        }
        let mut left = ticket % total;
        candidates.into_iter().find(|s| {
            let hit = left < weight(s);
            left = left.saturating_sub(weight(s));
            hit
        })
    }
}

/// A number that differs from millisecond to millisecond and from name to name, the same for the same question:
/// answers are a function of the world, so asking does not change its history.
fn spread(now: SimTime, name: &DnsName) -> u64 {
    let mut x = name
        .as_str()
        .bytes()
        .fold(now.0 ^ 0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
    // SplitMix64's finaliser.
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
