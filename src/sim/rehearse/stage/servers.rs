//! Where the application's servers answer, and under which names: gathered from everything in the configuration that
//! says so.
//!
//! Invariant: an address and a name belong to one Region. A Region of which only names are known gets an address.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use super::{Faults, Stage, databases, plain_name};
use crate::{
    domain::{
        application::{Application, Traffic},
        id::Region,
        signal::SignalSource,
    },
    sim::world::{
        clients::Endpoint,
        health_page::HealthPage,
        route53::{
            record::{DnsName, RecordSet, RrType},
            zone::Zone,
        },
    },
};

/// TTL of the names that lead to one Region's servers.
const NAME_TTL_SECONDS: u32 = 60;

/// A web address, as far as the simulation cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url<'a> {
    pub(super) https: bool,
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// With the query.
    pub(super) path: &'a str,
}

impl<'a> Url<'a> {
    /// `None` where it is none, or has an IPv6 address for a host.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let https = scheme == "https";
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let default = if https { 443 } else { 80 };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (authority, default),
        };
        (!host.is_empty() && !host.contains(['[', '?', '#', '@'])).then_some(Self { https, host, port, path })
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Servers {
    public_name: String,
    /// The address of each Region: where the public name leads, if to an address.
    addresses: BTreeMap<Region, Ipv4Addr>,
    by_address: BTreeMap<Ipv4Addr, Region>,
    by_name: BTreeMap<String, Region>,
    /// Names that the application's own records answer for.
    records: BTreeSet<String>,
    page: HealthPage,
}

impl Servers {
    /// The name that clients use: the host of `public_url`, else the first record's.
    pub(super) fn public_name_of(application: &Application) -> Option<String> {
        match &application.public_url {
            Some(url) => Url::parse(url).map(|url| plain_name(url.host)),
            None => application.traffic.values().next().map(|t| plain_name(&t.record_name)),
        }
    }

    /// Gathers; `None` where there is nothing to go by.
    pub(super) fn plan(application: &Application, faults: &mut Faults<'_>) -> Option<Self> {
        if application.traffic.is_empty() {
            faults.add("dns", "is empty: the simulated clients need a name to ask for");
            return None;
        }
        let leads_to_servers = |t: &&Traffic| t.record_type != "AAAA";
        let names = application.traffic.values().filter(leads_to_servers).map(|t| plain_name(&t.record_name));
        let mut servers = Self {
            public_name: Self::public_name_of(application).unwrap_or_default(),
            addresses: BTreeMap::new(),
            by_address: BTreeMap::new(),
            by_name: BTreeMap::new(),
            records: names.collect(),
            // Only what the configuration asks for: no server answers by accident.
            page: HealthPage { paths: BTreeSet::new(), last_write_pointers: BTreeSet::new() },
        };
        if !servers.records.contains(&servers.public_name) {
            faults.add(
                if application.public_url.is_some() { "public_url" } else { "dns" },
                "its host is the record_name of no dns entry with IPv4 addresses or names for answers: \
                 the simulated clients could not find the servers",
            );
        }
        servers.answers(application, faults);
        servers.urls(application, faults);
        servers.allot(application);
        Some(servers)
    }

    pub(super) fn public_name(&self) -> &str {
        &self.public_name
    }

    pub(super) fn addresses(&self) -> &BTreeMap<Region, Ipv4Addr> {
        &self.addresses
    }

    /// What the records of `traffic` answer. The public name's come first: they are a Region's main address.
    fn answers(&mut self, application: &Application, faults: &mut Faults<'_>) {
        let public = self.public_name.clone();
        let mut entries: Vec<_> = application.traffic.iter().collect();
        entries.sort_by_key(|(_, t)| plain_name(&t.record_name) != public);
        for (name, traffic) in entries {
            for (region, answer) in &traffic.answers {
                let key = format!("dns.{name}.answers.{region}");
                match (traffic.record_type.as_str(), answer.parse::<Ipv4Addr>()) {
                    ("A", Ok(address)) => self.claim(&key, address, region, faults),
                    ("CNAME", _) => self.claim_name(&key, answer, region, faults),
                    // No simulated server has an IPv6 address: such a record is moved, and nobody follows it.
                    ("AAAA", _) => {}
                    (other, _) => faults.add(&key, format!("`{answer}` of type {other} leads to no simulated server")),
                }
            }
        }
    }

    /// Where servers are asked directly.
    fn urls(&mut self, application: &Application, faults: &mut Faults<'_>) {
        for (region, endpoint) in &application.endpoints {
            self.url(&format!("endpoints.{region}.health_url"), &endpoint.health_url, region, faults);
            self.page.last_write_pointers.extend(endpoint.last_write_pointer.clone());
        }
        for signal in &application.signals {
            match &signal.source {
                SignalSource::HttpProbe { url, of, .. } => {
                    self.url(&format!("signals.{}.url", signal.name), url, of, faults);
                }
                SignalSource::TcpProbe { address, of, .. } => {
                    let key = format!("signals.{}.address", signal.name);
                    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
                    match host.parse() {
                        Ok(address) => self.claim(&key, address, of, faults),
                        Err(_) => self.claim_name(&key, host, of, faults),
                    }
                }
                _ => {}
            }
        }
        if let Some(url) = application.public_url.as_deref().and_then(Url::parse) {
            self.page.paths.insert(url.path.to_owned());
        }
    }

    fn url(&mut self, key: &str, url: &str, region: &Region, faults: &mut Faults<'_>) {
        let Some(url) = Url::parse(url) else {
            faults.add(key, "the host must be a name or an IPv4 address, and be followed by a path");
            return;
        };
        self.page.paths.insert(url.path.to_owned());
        match url.host.parse() {
            Ok(address) => self.claim(key, address, region, faults),
            Err(_) => self.claim_name(key, url.host, region, faults),
        }
    }

    fn claim(&mut self, key: &str, address: Ipv4Addr, region: &Region, faults: &mut Faults<'_>) {
        let owner = self.by_address.entry(address).or_insert_with(|| region.clone());
        if owner != region {
            faults.add(key, format!("{address} is the address of servers in {owner} already"));
            return;
        }
        self.addresses.entry(region.clone()).or_insert(address);
    }

    fn claim_name(&mut self, key: &str, host: &str, region: &Region, faults: &mut Faults<'_>) {
        let name = plain_name(host);
        // It leads where the record leads, which may be anywhere.
        if self.records.contains(&name) {
            return;
        }
        if let Err(error) = name.parse::<DnsName>() {
            faults.add(key, error.to_string());
            return;
        }
        let owner = self.by_name.entry(name).or_insert_with(|| region.clone());
        if owner != region {
            faults.add(key, format!("{host} is a name of servers in {owner} already"));
        }
    }

    /// An address for each Region that has names only, of those set apart for tests of networks (RFC 2544).
    fn allot(&mut self, application: &Application) {
        for (index, region) in (0..=u8::MAX).zip(&application.regions) {
            if !self.addresses.contains_key(region) {
                let address = Ipv4Addr::new(198, 18, index, 1);
                self.addresses.insert(region.clone(), address);
                self.by_address.insert(address, region.clone());
            }
        }
    }

    /// Puts servers at every address, using the database of their own Region, and names in DNS.
    pub(super) fn build(&self, stage: &mut Stage<'_>) {
        for (address, region) in &self.by_address {
            stage.world.endpoints.add(Endpoint {
                name: format!("{}-{region}", stage.application.name),
                region: region.clone(),
                address: *address,
                // None only where a fault was noted.
                db_cluster: databases::used_in(stage.application, region).unwrap_or_default(),
                follows_writer: databases::is_written_from_all_regions(stage.application),
            });
        }
        stage.world.endpoints.health_page = self.page.clone();
        for (index, (name, region)) in self.by_name.iter().enumerate() {
            let (Ok(name), Some(address)) = (name.parse::<DnsName>(), self.addresses.get(region)) else { continue };
            let set = RecordSet::simple(name.clone(), RrType::A, NAME_TTL_SECONDS, vec![address.to_string()]);
            // A zone of its own would hide what the application's zone holds below the name.
            let zones = stage.world.route53.zones().values();
            let within = zones.filter(|z| name.is_within(&z.name)).max_by_key(|z| z.name.as_str().len());
            let mut zone = match within {
                Some(zone) => zone.clone(),
                None => Zone::new(&format!("ZSIMULATED{index}"), name, false),
            };
            zone.seed(set);
            stage.world.route53.put_zone(zone);
        }
    }
}
