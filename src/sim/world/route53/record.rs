//! Names, types and record sets of DNS as Route 53 stores them.
//!
//! Invariant: a [`RecordSet`] has one routing policy, at least one value and a TTL. Aliases, wildcards, and the
//! geographic, latency, multivalue and CIDR policies are not simulated; the wire layer refuses them by name.

use std::{cmp::Ordering, fmt, str::FromStr};

/// A fully qualified DNS name: lower case, with the final dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DnsName(String);

/// A text that is not a DNS name this simulation knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a domain name of letters, digits, `-`, `_` and dots")]
pub struct InvalidDnsName(pub String);

impl DnsName {
    /// The name with its final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `self` is `zone` or lies below it.
    pub fn is_within(&self, zone: &DnsName) -> bool {
        self.0 == zone.0 || self.0.strip_suffix(&zone.0).is_some_and(|rest| rest.ends_with('.'))
    }

    fn labels_from_root(&self) -> impl Iterator<Item = &str> {
        self.0.trim_end_matches('.').rsplit('.')
    }
}

impl FromStr for DnsName {
    type Err = InvalidDnsName;
    fn from_str(s: &str) -> Result<Self, InvalidDnsName> {
        let plain = s.strip_suffix('.').unwrap_or(s).to_ascii_lowercase();
        let valid = (1..=253).contains(&plain.len())
            && plain.split('.').all(|label| {
                (1..=63).contains(&label.len())
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            });
        if valid { Ok(Self(format!("{plain}."))) } else { Err(InvalidDnsName(s.chars().take(300).collect())) }
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names sort by their labels from the root: the order of `ListResourceRecordSets` [bc].
impl Ord for DnsName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.labels_from_root().cmp(other.labels_from_root())
    }
}

impl PartialOrd for DnsName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

macro_rules! rr_types {
    ($($ty:ident),*) => {
        /// `RRType` of the Route 53 API [bc], in the alphabetical order of its listings.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum RrType { $($ty),* }

        impl RrType {
            /// The name in the API and in DNS.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$ty => stringify!($ty)),* }
            }
        }

        impl FromStr for RrType {
            type Err = UnknownRrType;
            fn from_str(s: &str) -> Result<Self, UnknownRrType> {
                match s {
                    $(stringify!($ty) => Ok(Self::$ty),)*
                    other => Err(UnknownRrType(other.chars().take(40).collect())),
                }
            }
        }
    };
}
rr_types!(A, AAAA, CAA, CNAME, DS, HTTPS, MX, NAPTR, NS, PTR, SOA, SPF, SRV, SSHFP, SVCB, TLSA, TXT);

/// A record type that Route 53 does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown record type `{0}`")]
pub struct UnknownRrType(pub String);

/// Which of the two a failover record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailoverRole {
    Primary,
    Secondary,
}

impl FailoverRole {
    /// `PRIMARY` or `SECONDARY`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "PRIMARY",
            Self::Secondary => "SECONDARY",
        }
    }
}

/// How Route 53 chooses among record sets of the same name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routing {
    Simple,
    Failover { set_identifier: String, role: FailoverRole },
    Weighted { set_identifier: String, weight: u8 },
}

impl Routing {
    /// The `SetIdentifier`, which only record sets that share name and type have.
    pub fn set_identifier(&self) -> Option<&str> {
        match self {
            Self::Simple => None,
            Self::Failover { set_identifier, .. } | Self::Weighted { set_identifier, .. } => Some(set_identifier),
        }
    }
}

/// One resource record set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordSet {
    pub name: DnsName,
    pub rtype: RrType,
    pub ttl_seconds: u32,
    pub values: Vec<String>,
    pub routing: Routing,
    pub health_check_id: Option<String>,
}

impl RecordSet {
    /// A record set with the simple routing policy.
    pub fn simple(name: DnsName, rtype: RrType, ttl_seconds: u32, values: Vec<String>) -> Self {
        Self { name, rtype, ttl_seconds, values, routing: Routing::Simple, health_check_id: None }
    }

    /// What identifies this record set within its zone.
    pub fn key(&self) -> RecordKey {
        RecordKey {
            name: self.name.clone(),
            rtype: self.rtype,
            set_identifier: self.routing.set_identifier().map(str::to_owned),
        }
    }
}

/// What identifies a record set within its zone, in the order of `ListResourceRecordSets`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordKey {
    pub name: DnsName,
    pub rtype: RrType,
    pub set_identifier: Option<String>,
}

/// As Route 53 names a record set in its messages.
impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[name='{}', type='{}'", self.name, self.rtype.as_str())?;
        if let Some(id) = &self.set_identifier {
            write!(f, ", set-identifier='{id}'")?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(s: &str) -> DnsName {
        s.parse().expect("a domain name")
    }

    #[test]
    fn names_sort_by_labels_from_the_root() {
        let mut names = [name("b.a.com"), name("a.com"), name("a.b.com"), name("z.a.com")];
        names.sort();
        assert_eq!(names.map(|n| n.to_string()), ["a.com.", "b.a.com.", "z.a.com.", "a.b.com."]);
    }

    #[test]
    fn a_name_is_within_its_zone_only_at_a_label_boundary() {
        let zone = name("example.com");
        assert!(name("API.example.com.").is_within(&zone));
        assert!(zone.is_within(&zone));
        assert!(!name("notexample.com").is_within(&zone));
    }
}
