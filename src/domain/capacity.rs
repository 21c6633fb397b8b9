//! Whether a Region's DB instances can carry what the application needs: so many of such a size.
//!
//! Invariant: an instance counts only where it surely fits. One that is not ready, or whose class cannot be compared,
//! may fit; where the answer hangs on such ones it is unknown, never yes. Nothing here knows where the numbers come
//! from or how old they are.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The class that RDS gives instances of Aurora Serverless v2 [AUG].
pub const SERVERLESS: &str = "db.serverless";

/// What an operator declares that a Region must have in order to carry the application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Capacity {
    /// At least one.
    pub instances: u32,
    pub size: Size,
}

/// How large an instance must be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Size {
    /// An instance class, such as `db.r6g.xlarge`.
    Provisioned { class: String },
    /// Aurora Serverless v2, whose cluster scales at least so low, and (where that is known) so high, in ACU.
    Serverless { min_acu: f64, max_acu: Option<f64> },
}

/// A DB instance as RDS describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DbInstance {
    pub identifier: String,
    pub class: String,
    /// `available`, or anything else: then it carries nothing yet.
    pub status: String,
}

/// Between how many ACU the instances of a Serverless v2 cluster scale.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AcuRange {
    pub min: f64,
    pub max: f64,
}

/// What one Region's cluster has.
#[derive(Debug, Clone, PartialEq)]
pub struct Carried {
    pub cluster_status: String,
    pub instances: Vec<DbInstance>,
    pub scaling: Option<AcuRange>,
}

/// What was read of one Region's cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub at: Timestamp,
    pub carried: Carried,
    /// When it was last well, with what it had then: what another Region is held to.
    pub well: Option<(Timestamp, Carried)>,
}

/// An RDS quota of the account in one Region [bc:rds.AccountQuota].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub used: i64,
    pub max: i64,
}

/// The quotas of an account in one Region, by AWS's names.
pub type Quotas = BTreeMap<String, Quota>;

/// The quotas that RDS tells the use of [bc:rds.AccountQuota]. Quotas of other services are not among them.
pub const QUOTA_NAMES: [&str; 18] = [
    "AllocatedStorage",
    "AuthorizationsPerDBSecurityGroup",
    "CustomEndpointsPerDBCluster",
    "DBClusterParameterGroups",
    "DBClusterRoles",
    "DBClusters",
    "DBInstanceRoles",
    "DBInstances",
    "DBParameterGroups",
    "DBSecurityGroups",
    "DBSubnetGroups",
    "EventSubscriptions",
    "ManualClusterSnapshots",
    "ManualSnapshots",
    "OptionGroups",
    "ReadReplicasPerMaster",
    "ReservedDBInstances",
    "SubnetsPerDBSubnetGroup",
];

/// Whether what is there is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parity {
    Enough { says: String },
    TooSmall { says: String },
    Unknown { says: String },
}

impl Capacity {
    /// One size for each instance.
    pub fn sizes(&self) -> Vec<Size> {
        vec![self.size.clone(); self.instances as usize]
    }
}

impl Carried {
    /// Whether it is as it should be: then it may be taken for what the application needs.
    pub fn is_well(&self) -> bool {
        self.cluster_status == "available"
            && !self.instances.is_empty()
            && self.instances.iter().all(|i| i.status == "available")
    }

    /// What another Region must have in order to carry the same.
    pub fn sizes(&self) -> Vec<Size> {
        let size = |i: &DbInstance| match (i.class.as_str(), self.scaling) {
            (SERVERLESS, Some(AcuRange { min, max })) => Size::Serverless { min_acu: min, max_acu: Some(max) },
            // Without its range it fits nothing surely, which is what is known of it.
            (class, _) => Size::Provisioned { class: class.to_owned() },
        };
        self.instances.iter().map(size).collect()
    }
}

/// Whether `carried` has, for each of at least `at_least_percent` of `wanted`, an instance of its own that fits.
pub fn parity(wanted: &[Size], carried: &Carried, at_least_percent: u32) -> Parity {
    let needed = (wanted.len() * at_least_percent.min(100) as usize).div_ceil(100).max(1);
    let (sure, perhaps) = matched(wanted, carried);
    let has = if carried.instances.is_empty() {
        "it has no instance".to_owned()
    } else {
        let one = |i: &DbInstance| match i.status.as_str() {
            "available" => format!("{} {}", i.identifier, i.class),
            status => format!("{} {} ({status})", i.identifier, i.class),
        };
        format!("it has {}", carried.instances.iter().map(one).collect::<Vec<_>>().join(", "))
    };
    let scaling = carried.scaling.map_or_else(String::new, |s| format!(", scaling from {} to {} ACU", s.min, s.max));
    let part = if at_least_percent < 100 { format!(" ({at_least_percent} %)") } else { String::new() };
    let says = |fit: &str| format!("{fit} of the {needed}{part} needed of {} fit; {has}{scaling}", listed(wanted));
    if needed <= sure {
        Parity::Enough { says: says(&sure.to_string()) }
    } else if needed <= sure + perhaps && !wanted.is_empty() {
        Parity::Unknown { says: says(&format!("{sure} surely and {perhaps} perhaps")) }
    } else {
        Parity::TooSmall { says: says(&sure.to_string()) }
    }
}

/// How the target's newest reading compares with what is declared, else with what the source had when it was last well.
/// `None` where there is nothing to compare.
pub fn compare(
    declared: Option<&Capacity>,
    source: Option<&Seen>,
    target: Option<&Seen>,
) -> Option<(Parity, Timestamp)> {
    let target = target?;
    let (sizes, basis) = match (declared, source.and_then(|s| s.well.as_ref())) {
        (Some(declared), _) => (declared.sizes(), "declared".to_owned()),
        (None, Some((at, carried))) => (carried.sizes(), format!("as the source had at {at:.0}")),
        (None, None) => return None,
    };
    let with_basis = |says: String| format!("{says} ({basis})");
    let parity = match parity(&sizes, &target.carried, 100) {
        Parity::Enough { says } => Parity::Enough { says: with_basis(says) },
        Parity::TooSmall { says } => Parity::TooSmall { says: with_basis(says) },
        Parity::Unknown { says } => Parity::Unknown { says: with_basis(says) },
    };
    Some((parity, target.at))
}

/// For how many of `wanted` there is an instance that surely fits, and for how many more one that may. The largest are
/// served first: what fits them fits the smaller ones too, so no choice among those that fit is a bad one.
fn matched(wanted: &[Size], carried: &Carried) -> (usize, usize) {
    let mut wanted: Vec<&Size> = wanted.iter().collect();
    wanted.sort_by(|a, b| b.rank().total_cmp(&a.rank()));
    let mut free: Vec<&DbInstance> = carried.instances.iter().collect();
    let mut take = |size: &Size, fit: Fit| {
        let at = free.iter().position(|i| fits(size, i, carried.scaling) == fit);
        at.map(|at| free.swap_remove(at)).is_some()
    };
    let unserved: Vec<&Size> = wanted.into_iter().filter(|size| !take(size, Fit::Yes)).collect();
    let perhaps = unserved.iter().filter(|size| take(size, Fit::Perhaps)).count();
    let sure = carried.instances.len() - free.len() - perhaps;
    (sure, perhaps)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    Yes,
    Perhaps,
    No,
}

/// Statuses from which no instance comes back by itself [AUG:accessing-monitoring].
const LOST: [&str; 4] = ["deleting", "failed", "stopped", "stopping"];

fn fits(wanted: &Size, instance: &DbInstance, scaling: Option<AcuRange>) -> Fit {
    if LOST.contains(&instance.status.as_str()) {
        return Fit::No;
    }
    let by_size = match (wanted, instance.class.as_str()) {
        (Size::Serverless { min_acu, max_acu }, SERVERLESS) => match scaling {
            Some(has) if *min_acu <= has.min && max_acu.is_none_or(|max| max <= has.max) => Fit::Yes,
            Some(_) => Fit::No,
            None => Fit::Perhaps,
        },
        // What a class is worth in ACU nobody says for all of them.
        (Size::Serverless { .. }, _) => Fit::Perhaps,
        (Size::Provisioned { class }, has) => by_class(class, has),
    };
    match (by_size, instance.status.as_str()) {
        (Fit::Yes, "available") => Fit::Yes,
        (Fit::Yes | Fit::Perhaps, _) => Fit::Perhaps,
        (Fit::No, _) => Fit::No,
    }
}

/// Of classes of one letter (`r5`, `r6g`, `r7g`) the same size has as many vCPU and as much memory [AUG:DB instance
/// classes; INF for those to come]; across letters nothing is compared.
fn by_class(wanted: &str, has: &str) -> Fit {
    if wanted == has && wanted != SERVERLESS {
        return Fit::Yes;
    }
    match (letter_and_rank(wanted), letter_and_rank(has)) {
        (Some((letter, wanted)), Some((other, has))) if letter == other => {
            if wanted <= has {
                Fit::Yes
            } else {
                Fit::No
            }
        }
        _ => Fit::Perhaps,
    }
}

/// `db.r6g.2xlarge` is `r` and 32.
fn letter_and_rank(class: &str) -> Option<(&str, u32)> {
    let (family, size) = class.strip_prefix("db.")?.split_once('.')?;
    let letters = family.find(|c: char| c.is_ascii_digit())?;
    let rank = match size {
        "micro" => 1,
        "small" => 2,
        "medium" => 4,
        "large" => 8,
        "xlarge" => 16,
        _ => size.strip_suffix("xlarge")?.parse::<u32>().ok()?.checked_mul(16)?,
    };
    Some((&family[..letters], rank))
}

/// Whether `class` could be an instance class: `db.`, a family, a size.
pub fn is_class(class: &str) -> bool {
    class != SERVERLESS && letter_and_rank(class).is_some_and(|(letter, _)| !letter.is_empty())
}

impl Size {
    /// By which the largest are served first.
    fn rank(&self) -> f64 {
        match self {
            Self::Provisioned { class } => letter_and_rank(class).map_or(0.0, |(_, rank)| f64::from(rank)),
            Self::Serverless { min_acu, .. } => *min_acu,
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provisioned { class } => f.write_str(class),
            Self::Serverless { min_acu, max_acu: None } => write!(f, "{SERVERLESS} from {min_acu} ACU"),
            Self::Serverless { min_acu, max_acu: Some(max) } => write!(f, "{SERVERLESS} from {min_acu} to {max} ACU"),
        }
    }
}

/// `2 x db.r6g.large, 1 x db.r6g.xlarge`.
fn listed(sizes: &[Size]) -> String {
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    for size in sizes {
        *counted.entry(size.to_string()).or_default() += 1;
    }
    counted.iter().map(|(size, n)| format!("{n} x {size}")).collect::<Vec<_>>().join(", ")
}

/// Whether every quota of `headroom` has so much left: what each has, or (first) what is short and what is not told.
///
/// # Errors
/// The short ones, and those that are not told.
pub fn headroom(quotas: &Quotas, headroom: &BTreeMap<String, u32>) -> Result<Vec<String>, (Vec<String>, Vec<String>)> {
    let (mut enough, mut short, mut untold) = (Vec::new(), Vec::new(), Vec::new());
    for (name, wanted) in headroom {
        match quotas.get(name) {
            Some(Quota { used, max }) => {
                let left = max.saturating_sub(*used);
                let says = format!("{name}: {used} of {max} used, {left} left, {wanted} needed");
                if i64::from(*wanted) <= left { enough.push(says) } else { short.push(says) }
            }
            None => untold.push(name.clone()),
        }
    }
    if short.is_empty() && untold.is_empty() { Ok(enough) } else { Err((short, untold)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instances(of: &[(&str, &str)]) -> Carried {
        let one = |(n, (class, status)): (usize, &(&str, &str))| DbInstance {
            identifier: format!("db-{n}"),
            class: (*class).to_owned(),
            status: (*status).to_owned(),
        };
        Carried {
            cluster_status: "available".to_owned(),
            instances: of.iter().enumerate().map(one).collect(),
            scaling: None,
        }
    }

    fn provisioned(of: &[&str]) -> Vec<Size> {
        of.iter().map(|class| Size::Provisioned { class: (*class).to_owned() }).collect()
    }

    fn word(wanted: &[Size], carried: &Carried, percent: u32) -> &'static str {
        match parity(wanted, carried, percent) {
            Parity::Enough { .. } => "enough",
            Parity::TooSmall { .. } => "too small",
            Parity::Unknown { .. } => "unknown",
        }
    }

    #[test]
    fn each_wanted_instance_needs_one_of_its_own_that_is_as_large() {
        let (l, xl) = ("db.r6g.large", "db.r6g.xlarge");
        let cases: &[(&[&str], &[&str], &str)] = &[
            (&[xl, xl], &[xl, xl], "enough"),
            (&[xl, xl], &["db.r7g.xlarge", "db.r5.4xlarge"], "enough"),
            (&[xl, xl], &[xl], "too small"),
            (&[xl, xl], &[xl, l], "too small"),
            (&[l, xl], &[xl, l], "enough"),
            (&[l, xl], &[l, l, l], "too small"),
            (&[xl], &["db.t4g.xlarge"], "unknown"),
            (&[xl], &["db.r6g.metal"], "unknown"),
            (&[xl], &[], "too small"),
            (&[], &[xl], "too small"),
        ];
        for (wanted, has, expected) in cases {
            let has: Vec<(&str, &str)> = has.iter().map(|class| (*class, "available")).collect();
            assert_eq!(word(&provisioned(wanted), &instances(&has), 100), *expected, "{wanted:?} {has:?}");
        }
    }

    #[test]
    fn an_instance_that_is_not_ready_may_fit_and_one_that_goes_away_does_not() {
        let xl = "db.r6g.xlarge";
        let wanted = provisioned(&[xl, xl]);
        assert_eq!(word(&wanted, &instances(&[(xl, "available"), (xl, "creating")]), 100), "unknown");
        assert_eq!(word(&wanted, &instances(&[(xl, "available"), (xl, "deleting")]), 100), "too small");
        assert_eq!(word(&wanted, &instances(&[(xl, "available"), ("db.r6g.large", "creating")]), 100), "too small");
    }

    #[test]
    fn a_part_is_rounded_up_and_never_nothing() {
        let xl = "db.r6g.xlarge";
        let wanted = provisioned(&[xl, xl, xl]);
        let has = |n: usize| instances(&vec![(xl, "available"); n]);
        assert_eq!(word(&wanted, &has(2), 66), "enough");
        assert_eq!(word(&wanted, &has(2), 67), "too small");
        assert_eq!(word(&wanted, &has(0), 1), "too small");
        assert_eq!(word(&wanted, &has(1), 1), "enough");
    }

    #[test]
    fn serverless_is_held_to_its_range_and_compared_with_nothing_else() {
        let wanted = [Size::Serverless { min_acu: 8.0, max_acu: Some(64.0) }];
        let has = |min: f64, max: f64| Carried {
            scaling: Some(AcuRange { min, max }),
            ..instances(&[(SERVERLESS, "available")])
        };
        assert_eq!(word(&wanted, &has(8.0, 64.0), 100), "enough");
        assert_eq!(word(&wanted, &has(0.5, 64.0), 100), "too small");
        assert_eq!(word(&wanted, &has(8.0, 32.0), 100), "too small");
        assert_eq!(word(&wanted, &instances(&[(SERVERLESS, "available")]), 100), "unknown");
        assert_eq!(word(&wanted, &instances(&[("db.r6g.8xlarge", "available")]), 100), "unknown");
        assert_eq!(word(&provisioned(&["db.r6g.large"]), &has(8.0, 64.0), 100), "unknown");
        assert_eq!(instances(&[(SERVERLESS, "available")]).sizes(), provisioned(&[SERVERLESS]));
        assert_eq!(word(&provisioned(&[SERVERLESS]), &has(8.0, 64.0), 100), "unknown", "its range was not known");
    }

    #[test]
    fn the_words_tell_what_is_needed_and_what_is_there() {
        let xl = "db.r6g.xlarge";
        let Parity::TooSmall { says } =
            parity(&provisioned(&[xl, xl]), &instances(&[(xl, "available"), (xl, "failed")]), 100)
        else {
            panic!("too small")
        };
        assert_eq!(
            says,
            "1 of the 2 needed of 2 x db.r6g.xlarge fit; it has db-0 db.r6g.xlarge, db-1 db.r6g.xlarge (failed)"
        );
    }

    #[test]
    fn a_quota_that_is_not_told_is_neither_short_nor_enough() {
        let quotas = Quotas::from([
            ("DBInstances".to_owned(), Quota { used: 39, max: 40 }),
            ("DBClusters".to_owned(), Quota { used: 41, max: 40 }),
        ]);
        let ask =
            |of: &[(&str, u32)]| headroom(&quotas, &of.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect());
        assert_eq!(ask(&[("DBInstances", 1)]), Ok(vec!["DBInstances: 39 of 40 used, 1 left, 1 needed".to_owned()]));
        let (short, untold) = ask(&[("DBInstances", 2), ("DBClusters", 0), ("OptionGroups", 0)]).expect_err("short");
        assert_eq!((short.len(), untold), (2, vec!["OptionGroups".to_owned()]), "{short:?}");
    }

    #[test]
    fn a_class_is_known_by_its_form() {
        assert!(is_class("db.r6g.xlarge") && is_class("db.x2iedn.24xlarge") && is_class("db.t4g.medium"));
        for other in ["r6g.xlarge", "db.r6g", "db.serverless", "db.6.large", "db.r6g.huge", ""] {
            assert!(!is_class(other), "{other}");
        }
    }
}
