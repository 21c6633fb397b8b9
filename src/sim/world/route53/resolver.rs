//! A caching resolver, as a client's operating system, VPC or runtime has it.
//!
//! Deliberately caches no negative answers and asks the authority directly: what matters here is how long an old
//! address survives a change.

use std::{collections::BTreeMap, net::Ipv4Addr};

use super::{Route53, record::RrType};
use crate::sim::world::SimTime;

/// One client's cache.
#[derive(Debug, Clone, Default)]
pub struct Resolver {
    ttl_ignored_for_seconds: Option<u32>,
    cache: BTreeMap<String, (Ipv4Addr, SimTime)>,
}

impl Resolver {
    /// A resolver that honours TTLs, or, with `Some(seconds)`, keeps every answer that long whatever its TTL.
    pub fn new(ttl_ignored_for_seconds: Option<u32>) -> Self {
        Self { ttl_ignored_for_seconds, cache: BTreeMap::new() }
    }

    /// The address of `name` at `now`: from the cache while it is fresh, else from the authority.
    pub fn lookup(&mut self, route53: &Route53, now: SimTime, name: &str) -> Option<Ipv4Addr> {
        if let Some((address, fresh_until)) = self.cache.get(name)
            && now < *fresh_until
        {
            return Some(*address);
        }
        self.cache.remove(name);
        let answer = route53.answer(now, name, RrType::A)?;
        let address = answer.values.first()?.parse().ok()?;
        let seconds = self.ttl_ignored_for_seconds.unwrap_or(answer.ttl_seconds);
        let fresh_until = now.plus_ms(u64::from(seconds) * 1_000);
        self.cache.insert(name.to_owned(), (address, fresh_until));
        Some(address)
    }

    /// Drops everything cached, as a restarted client does.
    pub fn forget(&mut self) {
        self.cache.clear();
    }
}
