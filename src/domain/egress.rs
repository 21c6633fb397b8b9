//! To which addresses failoverd connects because a text says so: the URL of a webhook, the target of a probe
//! (FAULTS.md 92).
//!
//! Invariants: an address is judged as what it leads to, so an IPv4 address that stands in an IPv6 one (mapped,
//! compatible, 6to4, NAT64, Teredo) is that IPv4 address; what answers with credentials (link-local, the metadata
//! endpoints of EC2 and ECS) is refused whatever the configuration says. It deliberately resolves nothing: whoever
//! connects asks for each address that a name has, and connects to one of those and no other.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::network::Network;

/// Where failoverd may connect to, beyond public addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Egress {
    /// Whether this machine itself may be asked: where the configuration is not for production.
    pub loopback: bool,
    /// Private and loopback networks that the configuration names.
    pub allow: Vec<Network>,
}

/// What an address is that is not simply public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Public,
    Loopback,
    /// RFC 1918, RFC 6598 and RFC 4193.
    Private,
    /// 169.254.0.0/16 and fe80::/10: among them what hands out the credentials of a machine or a task.
    LinkLocal,
    /// Amazon's own addresses on its machines: fd00:ec2::/32, and no network of anybody's.
    Metadata,
    Unspecified,
    Multicast,
    /// Broadcast, documentation, benchmarks, and what is reserved.
    Reserved,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Loopback => "this machine itself",
            Self::Private => "private",
            Self::LinkLocal => "link-local, where credentials of the machine are handed out",
            Self::Metadata => "the metadata endpoint of the machine",
            Self::Unspecified => "unspecified",
            Self::Multicast => "multicast",
            Self::Reserved => "reserved",
        }
    }

    /// Whether a configuration may allow it, by naming its network.
    fn can_be_allowed(self) -> bool {
        matches!(self, Self::Loopback | Self::Private)
    }
}

/// An address that is not connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    pub address: IpAddr,
    pub kind: Kind,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.address, self.kind.as_str())?;
        match self.kind.can_be_allowed() {
            true => write!(f, ", and no network of [network] allow_private has it"),
            false => write!(f, ", and is never connected to"),
        }
    }
}

impl std::error::Error for Refused {}

/// What is wrong with a URL before any name is resolved. The URL itself is not in it: it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("expected an https URL with a host")]
    NoUrl,
    #[error("a user or password in a URL is not taken")]
    User,
    #[error(
        "http is taken only to this machine where the configuration is not for production, or to a network of [network] allow_private"
    )]
    InTheClear,
    #[error("port {0} is not taken: 443, 80 for http, or one from 1024 on")]
    Port(u16),
}

/// The parts of a URL that are judged, however it was parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    pub https: bool,
    pub has_user: bool,
    pub port: u16,
}

impl Form {
    /// The form of a URL, and its host without brackets. Read by hand, for a configuration: whoever connects judges what its
    /// own parser makes of the text.
    ///
    /// # Errors
    /// That it is no http(s) URL with a host.
    pub fn read(url: &str) -> Result<(Self, &str), Unfit> {
        let (scheme, rest) = url.split_once("://").ok_or(Unfit::NoUrl)?;
        let https = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(Unfit::NoUrl),
        };
        let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        let (has_user, place) = authority.rsplit_once('@').map_or((false, authority), |(_, place)| (true, place));
        let (host, port) = match place.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((host, port)) => (host, port.parse().map_err(|_| Unfit::NoUrl)?),
            None => (place, if https { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Unfit::NoUrl);
        }
        Ok((Self { https, has_user, port }, host))
    }

    /// Whether it may be asked at all.
    ///
    /// # Errors
    /// What is against it.
    pub fn check(self) -> Result<(), Unfit> {
        /// Below are services that speak something else: what they take for a command may be in a body.
        const UNPRIVILEGED: u16 = 1024;
        if self.has_user {
            return Err(Unfit::User);
        }
        let usual = if self.https { 443 } else { 80 };
        if self.port != usual && self.port < UNPRIVILEGED {
            return Err(Unfit::Port(self.port));
        }
        Ok(())
    }
}

impl Egress {
    /// Whether `address` may be connected to.
    ///
    /// # Errors
    /// What it is.
    pub fn check(&self, address: IpAddr) -> Result<(), Refused> {
        let led_to = leads_to(address);
        let kind = kind(led_to);
        let named = kind.can_be_allowed() && self.allow.iter().any(|n| n.contains(address) || n.contains(led_to));
        match kind {
            Kind::Public => Ok(()),
            Kind::Loopback if self.loopback => Ok(()),
            _ if named => Ok(()),
            kind => Err(Refused { address, kind }),
        }
    }

    /// Whether `address` may be asked in the clear: no further than this machine, or a network that is named.
    pub fn may_be_clear(&self, address: IpAddr) -> bool {
        kind(leads_to(address)) != Kind::Public && self.check(address).is_ok()
    }

    /// All addresses of a name: one that is refused refuses them all, since who chose it chose the others too.
    ///
    /// # Errors
    /// The first that is refused.
    pub fn check_all(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Result<(), Refused> {
        addresses.into_iter().try_for_each(|address| self.check(address))
    }
}

/// The address that packets to `address` end up at, as far as its form tells.
fn leads_to(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => embedded(v6).map_or(address, IpAddr::V4),
    }
}

/// The IPv4 address within an IPv6 one.
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = v6.segments();
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match s {
        // Unspecified and loopback are themselves.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // ::ffff:a.b.c.d (RFC 4291), ::ffff:0:a.b.c.d (RFC 2765), ::a.b.c.d (deprecated).
        [0, 0, 0, 0, 0, 0xffff, high, low] => v4(high, low),
        [0, 0, 0, 0, 0xffff, 0, high, low] => v4(high, low),
        [0, 0, 0, 0, 0, 0, high, low] => v4(high, low),
        // NAT64: 64:ff9b::/96 (RFC 6052), and 64:ff9b:1::/48 for local use (RFC 8215), whose last 32 bits are taken.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x64, 0xff9b, 1, _, _, _, high, low] => v4(high, low),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => v4(high, low),
        // Teredo (RFC 4380): the client's address, inverted.
        [0x2001, 0, _, _, _, _, high, low] => v4(!high, !low),
        _ => None,
    }
}

fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(v4) => kind_of_v4(v4),
        IpAddr::V6(v6) => kind_of_v6(v6),
    }
}

fn kind_of_v4(v4: Ipv4Addr) -> Kind {
    match v4.octets() {
        [0, 0, 0, 0] => Kind::Unspecified,
        [127, ..] => Kind::Loopback,
        [10, ..] | [192, 168, ..] => Kind::Private,
        [172, b, ..] if (16..32).contains(&b) => Kind::Private,
        [100, b, ..] if (64..128).contains(&b) => Kind::Private,
        [169, 254, ..] => Kind::LinkLocal,
        [a, ..] if (224..240).contains(&a) => Kind::Multicast,
        // This network, protocol assignments, documentation, benchmarks, the future and broadcast.
        [0, ..] | [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [240..=255, ..] => Kind::Reserved,
        [198, 18 | 19, ..] => Kind::Reserved,
        _ => Kind::Public,
    }
}

fn kind_of_v6(v6: Ipv6Addr) -> Kind {
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Kind::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Kind::Loopback,
        [0xfd00, 0xec2, ..] => Kind::Metadata,
        [a, ..] if a & 0xfe00 == 0xfc00 => Kind::Private,
        [a, ..] if a & 0xffc0 == 0xfe80 => Kind::LinkLocal,
        // Site-local, which is deprecated: nobody's, and routed by some.
        [a, ..] if a & 0xffc0 == 0xfec0 => Kind::Private,
        [a, ..] if a & 0xff00 == 0xff00 => Kind::Multicast,
        [0x2001, 0xdb8, ..] | [0x100, 0, 0, 0, ..] => Kind::Reserved,
        // Only 2000::/3 is given out.
        [a, ..] if a & 0xe000 == 0x2000 => Kind::Public,
        _ => Kind::Reserved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn egress(loopback: bool, allow: &[&str]) -> Egress {
        Egress { loopback, allow: allow.iter().map(|n| n.parse().expect("a network")).collect() }
    }

    fn kind_of(address: &str) -> Kind {
        match Egress::default().check(address.parse().unwrap_or_else(|e| panic!("{address}: {e}"))) {
            Ok(()) => Kind::Public,
            Err(refused) => refused.kind,
        }
    }

    #[test]
    fn every_form_of_an_address_is_what_it_leads_to() {
        for (address, expected) in [
            ("93.184.216.34", Kind::Public),
            ("2606:2800:220:1::1", Kind::Public),
            ("127.0.0.1", Kind::Loopback),
            ("127.255.255.254", Kind::Loopback),
            ("::1", Kind::Loopback),
            ("::ffff:127.0.0.1", Kind::Loopback),
            ("::127.0.0.1", Kind::Loopback),
            ("64:ff9b::127.0.0.1", Kind::Loopback),
            ("2002:7f00:1::", Kind::Loopback),
            ("10.0.0.1", Kind::Private),
            ("172.16.0.1", Kind::Private),
            ("172.31.255.255", Kind::Private),
            ("172.32.0.1", Kind::Public),
            ("192.168.1.1", Kind::Private),
            ("100.64.0.1", Kind::Private),
            ("100.128.0.1", Kind::Public),
            ("::ffff:10.1.2.3", Kind::Private),
            ("::ffff:0:10.1.2.3", Kind::Private),
            ("64:ff9b::10.0.0.1", Kind::Private),
            ("64:ff9b:1::192.168.0.1", Kind::Private),
            ("2002:a00:1::1", Kind::Private),
            ("2002:c0a8:101::", Kind::Private),
            // Teredo of 10.0.0.1.
            ("2001:0:4136:e378:8000:63bf:f5ff:fffe", Kind::Private),
            ("fc00::1", Kind::Private),
            ("fd12:3456::1", Kind::Private),
            ("fec0::1", Kind::Private),
            // EC2's and ECS's metadata, and what hides it.
            ("169.254.169.254", Kind::LinkLocal),
            ("169.254.170.2", Kind::LinkLocal),
            ("::ffff:169.254.169.254", Kind::LinkLocal),
            ("::169.254.169.254", Kind::LinkLocal),
            ("64:ff9b::a9fe:a9fe", Kind::LinkLocal),
            ("2002:a9fe:a9fe::", Kind::LinkLocal),
            ("fd00:ec2::254", Kind::Metadata),
            ("fd00:ec2::23", Kind::Metadata),
            ("fe80::1", Kind::LinkLocal),
            ("febf::1", Kind::LinkLocal),
            ("0.0.0.0", Kind::Unspecified),
            ("::", Kind::Unspecified),
            ("::ffff:0.0.0.0", Kind::Unspecified),
            ("224.0.0.1", Kind::Multicast),
            ("239.255.255.255", Kind::Multicast),
            ("ff02::1", Kind::Multicast),
            ("0.1.2.3", Kind::Reserved),
            ("192.0.2.1", Kind::Reserved),
            ("198.18.0.1", Kind::Reserved),
            ("255.255.255.255", Kind::Reserved),
            ("240.0.0.1", Kind::Reserved),
            ("2001:db8::1", Kind::Reserved),
            ("100::1", Kind::Reserved),
            ("4000::1", Kind::Reserved),
        ] {
            assert_eq!(kind_of(address), expected, "{address}");
        }
    }

    #[test]
    fn a_network_that_is_named_is_reached_and_credentials_never_are() {
        let named = egress(false, &["10.0.0.0/8", "fd12::/16", "169.254.0.0/16", "fd00:ec2::/32", "127.0.0.1"]);
        let ok = |egress: &Egress, address: &str| egress.check(address.parse().expect("an address")).is_ok();
        for address in ["10.9.9.9", "::ffff:10.9.9.9", "64:ff9b::10.9.9.9", "fd12::1", "127.0.0.1"] {
            assert!(ok(&named, address), "{address}");
        }
        for address in ["192.168.0.1", "169.254.169.254", "169.254.170.2", "fd00:ec2::254", "127.0.0.2", "fd13::1"] {
            assert!(!ok(&named, address), "{address}");
        }
        let machine = egress(true, &[]);
        assert!(ok(&machine, "127.0.0.1") && ok(&machine, "::1") && !ok(&machine, "10.0.0.1"));
        assert!(!ok(&egress(false, &[]), "127.0.0.1"));
    }

    #[test]
    fn one_refused_address_refuses_the_name() {
        let all = ["93.184.216.34", "10.0.0.1"].map(|a| a.parse().expect("an address"));
        let refused = egress(false, &[]).check_all(all).expect_err("one is private");
        assert_eq!(refused.to_string(), "10.0.0.1 is private, and no network of [network] allow_private has it");
    }

    #[test]
    fn in_the_clear_goes_only_where_somebody_said_so() {
        let named = egress(true, &["10.0.0.0/8"]);
        let clear = |address: &str| named.may_be_clear(address.parse().expect("an address"));
        assert!(clear("127.0.0.1") && clear("10.0.0.1") && !clear("93.184.216.34") && !clear("169.254.169.254"));
    }

    #[test]
    fn users_and_ports_of_other_services_are_refused() {
        let form = |https, has_user, port| Form { https, has_user, port }.check();
        assert_eq!(form(true, false, 443), Ok(()));
        assert_eq!(form(true, false, 8443), Ok(()));
        assert_eq!(form(false, false, 80), Ok(()));
        assert_eq!(form(true, true, 443), Err(Unfit::User));
        for (https, port) in [(true, 22), (true, 25), (true, 80), (false, 443), (true, 0)] {
            assert_eq!(form(https, false, port), Err(Unfit::Port(port)), "{port}");
        }
    }
}
