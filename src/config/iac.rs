//! `[applications.iac]`: where the application's resources stand in infrastructure code.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use crate::domain::{
    document::{At, Findings, clip},
    patch::{ADDRESSES_MAX, Addresses},
};

const TERRAFORM: &str =
    "terraform = { \"arn:aws:rds:us-west-2:123456789012:cluster:orders\" = \"module.db.aws_rds_cluster.west\" }";
const CLOUDFORMATION: &str =
    "cloudformation = { \"arn:aws:rds:us-west-2:123456789012:cluster:orders\" = \"orders-db-west/Cluster\" }";

/// The longest id of a resource: AWS's longest ARNs have 2,048 characters, and none that a run changes comes near.
const ID_CHARS_MAX: usize = 512;

pub(super) fn read(at: Option<At<'_>>, found: &mut Findings) -> Option<Addresses> {
    let Some(at) = at else { return Some(Addresses::default()) };
    let mut f = at.fields(found)?;
    let terraform = f.get(found, "terraform", TERRAFORM);
    let cloudformation = f.get(found, "cloudformation", CLOUDFORMATION);
    f.finish(found);
    let terraform = terraform.map_or(Some(BTreeMap::new()), |at| addresses(&at, found));
    let cloudformation = cloudformation.map_or(Some(BTreeMap::new()), |at| addresses(&at, found));
    Some(Addresses { terraform: terraform?, cloudformation: cloudformation? })
}

/// Each resource with its address; no two resources stand at one.
fn addresses<T>(at: &At<'_>, found: &mut Findings) -> Option<BTreeMap<String, T>>
where
    T: FromStr<Err: Display> + Ord + Clone + Display,
{
    let entries = at.named(found)?;
    if ADDRESSES_MAX < entries.len() {
        found.error(&at.key, format!("{} resources, at most {ADDRESSES_MAX} can be mapped", entries.len()), at.example);
        return None;
    }
    let (mut all, mut taken) = (BTreeMap::new(), BTreeMap::<T, &str>::new());
    for (id, at) in entries {
        if id.trim().is_empty() || ID_CHARS_MAX < id.chars().count() || id.chars().any(char::is_control) {
            let problem = format!(
                "expected an ARN, or an id as `failoverd patch` shows it, of at most {ID_CHARS_MAX} characters"
            );
            found.error(&at.key, problem, at.example);
            continue;
        }
        let Some(address) = at.parse::<T>(found) else { continue };
        if let Some(other) = taken.insert(address.clone(), id) {
            found.error(&at.key, format!("{address} is the place of `{}` already", clip(other)), at.example);
        }
        all.insert(id.to_owned(), address);
    }
    Some(all)
}
