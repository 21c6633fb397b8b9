//! The fences and the probes of databases, with their clusters, Regions and addresses.
//!
//! Invariant: a fence is made for the Region that is left, and for no other.

use super::{
    super::{
        action::Action,
        fence::{Fence, OldWriter, Rung},
        id::{Region, StoreName},
        plan::Purpose,
        runbook::{Act, FenceRung, TcpAt},
        sabotage::{Guard, is_off},
    },
    Compiler, Scope,
    act::host_of,
    cluster, listed,
};

impl Compiler<'_> {
    pub(super) fn fence(&self, act: &Act, scope: &Scope) -> Result<Action, String> {
        let Act::Fence { store, rung, on_unknown } = act else { return Err("is not a fence".to_owned()) };
        let region = self.fenced_region().clone();
        let (rung, old) = match rung {
            FenceRung::Application { parts } => {
                let names: Vec<&StoreName> = self.application.stores.keys().collect();
                let old = names.into_iter().map(|name| self.old_writer(name)).collect::<Result<Vec<_>, _>>()?;
                (Rung::Application { region, parts: parts.clone() }, old)
            }
            of_store => {
                let name = if let Scope::Store(s) = scope { Some(s) } else { store.as_ref() };
                let old = self.old_writer(name.ok_or("names no store")?)?;
                (self.rung(of_store, &old, region)?, vec![old])
            }
        };
        Ok(Action::Fence { fence: Box::new(Fence { rung, old, on_unknown: *on_unknown }) })
    }

    fn rung(&self, rung: &FenceRung, old: &OldWriter, region: Region) -> Result<Rung, String> {
        Ok(match rung {
            FenceRung::Event { within } => {
                if self.purpose != Purpose::Failover {
                    return Err(format!(
                        "Aurora tells of a fence in a failover only, not in a {}",
                        self.purpose.as_str()
                    ));
                }
                Rung::Event { within: *within }
            }
            FenceRung::WriteMustFail { within } => {
                self.needs_heartbeat(&old.store, "fence.write_must_fail")?;
                Rung::WriteMustFail { within: *within }
            }
            FenceRung::Connections => {
                self.needs_heartbeat(&old.store, "fence.connections")?;
                Rung::Connections
            }
            FenceRung::SecurityGroup { group, port, from, keep } => Rung::SecurityGroup {
                region,
                group: group.clone(),
                port: *port,
                from: from.clone(),
                keep: keep.clone(),
            },
            FenceRung::Application { .. } => return Err("is about no one store".to_owned()),
        })
    }

    /// The Region whose writer is fenced.
    fn fenced_region(&self) -> &Region {
        if is_off(Guard::FenceTarget) { self.target } else { self.source }
    }

    fn old_writer(&self, name: &StoreName) -> Result<OldWriter, String> {
        let db = self.application.stores.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.application.stores.keys().map(StoreName::as_str).collect();
            format!("`{}` has no store `{name}`; stores: {}", self.application.name, listed(&known))
        })?;
        Ok(OldWriter {
            store: name.clone(),
            global_cluster: db.global_cluster.clone(),
            cluster: cluster(db, name, self.fenced_region())?,
            target: cluster(db, name, self.target)?,
            observe_in: self.observe_in(db),
        })
    }

    fn needs_heartbeat(&self, name: &StoreName, action: &str) -> Result<(), String> {
        let heartbeat = self.application.stores.get(name).and_then(|db| db.heartbeat.as_ref());
        heartbeat.map(|_| ()).ok_or_else(|| {
            format!("store `{name}` has no heartbeat, whose connection {action} uses (docs/heartbeat.md)")
        })
    }

    pub(super) fn probe_tcp(&self, act: &Act) -> Result<Action, String> {
        let Act::ProbeTcp { at, consecutive, interval, probe_timeout } = act else {
            return Err("is not a TCP probe".to_owned());
        };
        let address = match at {
            TcpAt::Address(address) => address.clone(),
            TcpAt::Target => address_of(&self.health_url(self.target)?),
            TcpAt::Source => address_of(&self.health_url(self.source)?),
        };
        let (consecutive, interval, probe_timeout) = (*consecutive, *interval, *probe_timeout);
        Ok(Action::ProbeTcp { address, consecutive, interval, probe_timeout })
    }

    pub(super) fn probe_postgres(&self, act: &Act, scope: &Scope) -> Result<Action, String> {
        let Act::ProbePostgres { store, of_source, door, expect, consecutive, interval, probe_timeout } = act else {
            return Err("is not a probe of a database".to_owned());
        };
        let name = if let Scope::Store(s) = scope { Some(s) } else { store.as_ref() };
        let name = name.ok_or("names no store")?;
        // Says which stores there are.
        let _known = self.old_writer(name)?;
        self.needs_heartbeat(name, "probe.postgres")?;
        let region = if *of_source { self.source } else { self.target };
        Ok(Action::ProbePostgres {
            store: name.clone(),
            region: region.clone(),
            door: *door,
            expect: *expect,
            consecutive: *consecutive,
            interval: *interval,
            probe_timeout: *probe_timeout,
        })
    }
}

/// `host:port` of a URL that was checked before.
pub fn address_of(url: &str) -> String {
    let host = host_of(url);
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let usual = if url.starts_with("https://") { "443" } else { "80" };
    let port = authority.strip_prefix(host).and_then(|p| p.strip_prefix(':')).filter(|p| !p.is_empty());
    format!("{host}:{}", port.unwrap_or(usual))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_url_has_the_schemes_port_where_none_is_written() {
        for (url, address) in [
            ("https://api.example.com/health", "api.example.com:443"),
            ("http://10.0.1.10/healthz", "10.0.1.10:80"),
            ("http://10.0.1.10:8080/healthz", "10.0.1.10:8080"),
            ("https://[::1]:8443", "[::1]:8443"),
        ] {
            assert_eq!(address_of(url), address);
        }
    }
}
