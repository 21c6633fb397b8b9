//! How many connections each address has.
//!
//! Invariant: no address takes the places of all others (FAULTS.md 89). Proxies of the configuration, and this machine
//! itself, speak for many and are not counted.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::domain::network::Network;

/// The most connections of one address: a person's page, their command line and a script, ten times over.
pub const PER_ADDRESS_MAX: usize = 32;

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Crowd {
    most: usize,
    proxies: Arc<[Network]>,
    counts: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// One connection's place; given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    /// `None`: not counted.
    address: Option<IpAddr>,
    counts: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

impl Crowd {
    pub fn new(most: usize, proxies: Arc<[Network]>) -> Self {
        Self { most, proxies, counts: Arc::default() }
    }

    /// A place for one more connection of `address`, if it may have one.
    pub fn enter(&self, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let counts = Arc::clone(&self.counts);
        if address.is_loopback() || self.proxies.iter().any(|network| network.contains(address)) {
            return Some(Place { address: None, counts });
        }
        let mut all = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(address).or_insert(0);
        if self.most <= *count {
            return None;
        }
        *count += 1;
        Some(Place { address: Some(address), counts })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut all = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                all.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn no_address_takes_the_places_of_all_others() {
        let proxies = Arc::new(["10.0.0.0/8".parse::<Network>().expect("valid")]);
        let crowd = Crowd::new(2, proxies);
        let first = crowd.enter(ip("192.0.2.1")).expect("a place");
        let _second = crowd.enter(ip("::ffff:192.0.2.1")).expect("a place");
        assert!(crowd.enter(ip("192.0.2.1")).is_none(), "one address has two");
        assert!(crowd.enter(ip("192.0.2.2")).is_some(), "another one has its own");
        for many in ["10.0.0.1", "127.0.0.1", "::1"] {
            let places: Vec<_> = (0..10).map(|_| crowd.enter(ip(many))).collect();
            assert!(places.iter().all(Option::is_some), "{many} speaks for many");
        }
        drop(first);
        assert!(crowd.enter(ip("192.0.2.1")).is_some(), "a place that was given back is had again");
        drop(crowd.enter(ip("192.0.2.3")));
        assert!(!crowd.counts.lock().expect("lock").contains_key(&ip("192.0.2.3")), "who is gone is forgotten");
    }
}
