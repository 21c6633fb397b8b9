//! How the `with` of what adds to a database is read.

use std::time::Duration;

use super::super::Act;
use crate::domain::{
    document::{At, Fields, Findings},
    id::StoreName,
};

/// A cluster has one writer and 15 readers at most [AUG].
const INSTANCES_MAX: u32 = 15;

/// An instance's identifier [bc:rds.CreateDBInstance], less what numbers several: `-15`.
const NAME_CHARS_MAX: usize = 60;

const ENGINES: [&str; 2] = ["aurora-postgresql", "aurora-mysql"];

/// Aurora keeps the snapshot for as long as the old cluster keeps backups: 35 days at most [AUG].
const WITHIN_MAX: Duration = Duration::from_hours(35 * 24);
const WITHIN: Duration = Duration::from_hours(7 * 24);

pub(super) fn preserve_snapshot(store: Option<StoreName>, with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    let within = with.get(found, "within", "within: 168h");
    let within = within.map_or(Some(WITHIN), |at| at.duration(found, Duration::from_hours(1), WITHIN_MAX));
    Some(Act::AuroraPreserveSnapshot { store, within: within? })
}

pub(super) fn add_instance(store: Option<StoreName>, with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    let class = with.get(found, "class", "class: db.r6g.large");
    let engine = with.get(found, "engine", "engine: aurora-postgresql");
    let name = with.get(found, "name", "name: orders-added");
    let count = with.get(found, "count", "count: 1");
    let class = class.map_or(Some(None), |at| instance_class(&at, found).map(Some));
    let engine = engine.map_or(Some(ENGINES[0].to_owned()), |at| one_engine(&at, found));
    let name = name.map_or(Some(None), |at| identifier(&at, found).map(Some));
    let count = count.map_or(Some(1), |at| at.count(found, 1, INSTANCES_MAX));
    Some(Act::AuroraAddInstance { store, class: class?, engine: engine?, name: name?, count: count? })
}

fn instance_class(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    let is_word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let is_class = text.len() <= 64
        && text.strip_prefix("db.").is_some_and(|rest| rest.split('.').all(|part| part.split('-').all(is_word)));
    if is_class {
        return Some(text.to_owned());
    }
    found.error(&at.key, "expected a class of DB instances, such as db.r6g.large or db.serverless", at.example);
    None
}

fn one_engine(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    if ENGINES.contains(&text) {
        return Some(text.to_owned());
    }
    found.error(&at.key, format!("expected {}", ENGINES.join(" or ")), at.example);
    None
}

/// Letters, digits and hyphens; a letter first, no two hyphens in a row, none at the end [bc:rds.CreateDBInstance]. RDS
/// stores it in lower case, so nothing else is taken.
fn identifier(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    let is_word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if text.len() <= NAME_CHARS_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.split('-').all(is_word)
    {
        return Some(text.to_owned());
    }
    let problem = format!(
        "expected 1 to {NAME_CHARS_MAX} of a-z, 0-9 and -, a letter first, no two hyphens in a row and none at the end"
    );
    found.error(&at.key, problem, at.example);
    None
}
