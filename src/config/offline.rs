//! `[offline]`: where this machine keeps what a failover needs when the table is lost, and whose keys may approve then.
//!
//! Without the section nothing is kept, nobody can fail over offline, and a leader does not look for it.

use std::{collections::BTreeMap, path::PathBuf};

use super::Store;
use crate::domain::{
    document::{At, Fields, Findings},
    id::{ApproverKey, Subject},
    policy::AUTOMATION,
};

const DIR: &str = "dir = \"/var/lib/failoverd/offline\"";
const APPROVERS: &str = "approvers = { bob = \"ed25519:3b6a27bc…\" } # failoverd offline key --out FILE";

/// People who may approve by key; each is asked by hand.
const APPROVERS_MAX: usize = 64;

/// What an offline failover stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offline {
    /// On a local disk of each machine.
    pub dir: PathBuf,
    /// The public key of each person who may approve where the identity provider is gone.
    pub approvers: BTreeMap<Subject, ApproverKey>,
}

/// Reads the section; `Some(None)` where it is not there.
pub(super) fn read(f: &mut Option<Fields<'_>>, found: &mut Findings) -> Option<Option<Offline>> {
    let Some(f) = f else { return Some(None) };
    let dir = f.need(found, "dir", DIR);
    let approvers = f.get(found, "approvers", APPROVERS);
    let dir = dir.and_then(|at| at.text(found).map(PathBuf::from));
    let approvers = approvers.map_or(Some(BTreeMap::new()), |at| keys(&at, found));
    Some(Some(Offline { dir: dir?, approvers: approvers? }))
}

fn keys(at: &At<'_>, found: &mut Findings) -> Option<BTreeMap<Subject, ApproverKey>> {
    let entries = at.named(found)?;
    if APPROVERS_MAX < entries.len() {
        found.error(&at.key, format!("{} approvers, at most {APPROVERS_MAX} can be named", entries.len()), APPROVERS);
        return None;
    }
    let mut keys: BTreeMap<Subject, ApproverKey> = BTreeMap::new();
    for (name, at) in entries {
        let key = at.parse::<ApproverKey>(found);
        let subject = match name.parse::<Subject>() {
            Ok(subject) if subject.as_str() != AUTOMATION && subject.schedule().is_none() => subject,
            Ok(subject) => {
                found.error(&at.key, format!("`{subject}` is nobody who could sign"), APPROVERS);
                continue;
            }
            Err(error) => {
                found.error(&at.key, error.to_string(), APPROVERS);
                continue;
            }
        };
        let Some(key) = key else { continue };
        if keys.values().any(|other| *other == key) {
            found.error(&at.key, "the same key stands here twice: it would be one person under two names", APPROVERS);
            continue;
        }
        keys.insert(subject, key);
    }
    Some(keys)
}

/// A table that is lost is what an offline failover is for.
pub(super) fn fits(offline: Option<&Offline>, store: &Store, found: &mut Findings) {
    if offline.is_some() && matches!(store, Store::Sqlite { .. }) {
        let problem =
            "is for a table that is lost, and the journal is in a file: start the daemon over that file again";
        found.error("offline", problem, "[store]\nkind = \"dynamodb\"");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Faults, Settings};

    fn read(more: &str, store: &str) -> Result<Settings, Faults> {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default.toml"));
        let text = text.expect("it is there");
        let (before, rest) = text.split_once("[store]").expect("a store");
        let (_, rest) = rest.split_once("[aws]").expect("the next section");
        let whole = format!("{before}[store]\n{store}\n{more}\n[aws]{rest}");
        Settings::parse("f.toml", &whole, Path::new(""), &Default::default())
    }

    const TABLE: &str = "kind = \"dynamodb\"\ntable = \"failoverd\"\nregion = \"us-east-2\"\n";

    fn key(digit: &str) -> String {
        format!("ed25519:{}", digit.repeat(64))
    }

    #[test]
    fn the_section_names_a_directory_and_keys() {
        let more = format!("[offline]\ndir = \"/d\"\napprovers = {{ bob = \"{}\" }}\n", key("a"));
        let offline = read(&more, TABLE).unwrap_or_else(|f| panic!("{f}")).offline.expect("given");
        assert_eq!(offline.dir, Path::new("/d"));
        assert_eq!(offline.approvers.keys().map(|s| s.as_str()).collect::<Vec<_>>(), ["bob"]);
        assert_eq!(read("", TABLE).unwrap_or_else(|f| panic!("{f}")).offline, None);
    }

    #[test]
    fn what_could_not_be_relied_on_is_refused_with_its_key() {
        let two = format!("[offline]\ndir = \"/d\"\napprovers = {{ a = \"{0}\", b = \"{0}\" }}\n", key("a"));
        let machine = format!("[offline]\ndir = \"/d\"\napprovers = {{ automation = \"{}\" }}\n", key("a"));
        for (more, store, key) in [
            ("[offline]\n", TABLE, "dir"),
            ("[offline]\ndir = \"/d\"\napprovers = { bob = \"rsa:1\" }\n", TABLE, "offline.approvers.bob"),
            (&two, TABLE, "offline.approvers.b"),
            (&machine, TABLE, "offline.approvers.automation"),
            ("[offline]\ndir = \"/d\"\n", "kind = \"sqlite\"", "offline"),
        ] {
            let faults = read(more, store).expect_err(more).to_string();
            assert!(faults.contains(key), "{key}: {faults}");
        }
    }
}
