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
    cache: BTreeMap<String, Cached>,
    overdue: u64,
}

#[derive(Debug, Clone, Copy)]
struct Cached {
    address: Ipv4Addr,
    fresh_until: SimTime,
    /// As its TTL says, which may be ignored.
    valid_until: SimTime,
}

impl Resolver {
    /// A resolver that honours TTLs, or, with `Some(seconds)`, keeps every answer that long whatever its TTL.
    pub fn new(ttl_ignored_for_seconds: Option<u32>) -> Self {
        Self { ttl_ignored_for_seconds, ..Self::default() }
    }

    /// The address of `name` at `now`: from the cache while it is fresh, else from the authority.
    pub fn lookup(&mut self, route53: &Route53, now: SimTime, name: &str) -> Option<Ipv4Addr> {
        if let Some(cached) = self.cache.get(name)
            && now < cached.fresh_until
        {
            self.overdue += u64::from(cached.valid_until <= now);
            return Some(cached.address);
        }
        self.cache.remove(name);
        let answer = route53.answer(now, name, RrType::A)?;
        let address = answer.values.first()?.parse().ok()?;
        let seconds = self.ttl_ignored_for_seconds.unwrap_or(answer.ttl_seconds);
        let until = |seconds: u32| now.plus_ms(u64::from(seconds) * 1_000);
        let cached = Cached { address, fresh_until: until(seconds), valid_until: until(answer.ttl_seconds) };
        self.cache.insert(name.to_owned(), cached);
        Some(address)
    }

    /// From the next question to the authority on, keeps answers so many seconds whatever their TTL; `None` honours
    /// TTLs again and drops what was kept.
    pub fn ignore_ttl(&mut self, seconds: Option<u32>) {
        self.ttl_ignored_for_seconds = seconds;
        if seconds.is_none() {
            self.forget();
        }
    }

    /// How often an answer was given that its TTL no longer allowed.
    pub fn overdue(&self) -> u64 {
        self.overdue
    }

    /// Drops everything cached, as a restarted client does.
    pub fn forget(&mut self) {
        self.cache.clear();
    }
}
