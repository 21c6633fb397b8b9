//! The runbooks: those that ship in the program, or those of a directory.

use std::{collections::BTreeMap, path::Path};

use super::{Faults, read_text};
use crate::domain::{
    document::Findings,
    id::{Digest, RunbookName},
    runbook::Runbook,
    yaml,
};

/// The most files of a directory that are read.
const FILES_MAX: usize = 200;

/// The runbooks that ship in the program: file name and text.
pub const SHIPPED: [(&str, &str); 5] = [
    ("runbooks/dns-flip.yaml", include_str!("../../runbooks/dns-flip.yaml")),
    ("runbooks/failback-gradual.yaml", include_str!("../../runbooks/failback-gradual.yaml")),
    ("runbooks/failback.yaml", include_str!("../../runbooks/failback.yaml")),
    ("runbooks/region-failover.yaml", include_str!("../../runbooks/region-failover.yaml")),
    ("runbooks/region-switchover.yaml", include_str!("../../runbooks/region-switchover.yaml")),
];

/// Runbooks by name, with the digest of the file of each.
pub type Catalogue = BTreeMap<RunbookName, (Runbook, Digest)>;

/// The runbooks that ship in the program.
///
/// # Panics
/// Never in a released program: a test parses them.
pub fn shipped() -> Catalogue {
    load(None, &mut Faults::default(), &mut Findings::new("", ""))
}

/// The runbooks of `directory`, or those that ship.
pub(super) fn load(directory: Option<&Path>, faults: &mut Faults, found: &mut Findings) -> Catalogue {
    let mut catalogue = Catalogue::new();
    let Some(directory) = directory else {
        for (file, text) in SHIPPED {
            add(file, text, &mut catalogue, faults);
        }
        return catalogue;
    };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) => {
            let problem = format!("{}: {e}", directory.display());
            found.error("runbooks.directory", problem, "directory = \"../runbooks\"");
            return catalogue;
        }
    };
    let mut paths: Vec<_> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "yaml" || e == "yml"));
    paths.sort();
    if paths.is_empty() || paths.len() > FILES_MAX {
        let problem =
            format!("{}: holds {} runbooks; between 1 and {FILES_MAX} are possible", directory.display(), paths.len());
        found.error("runbooks.directory", problem, "");
    }
    for path in paths.iter().take(FILES_MAX) {
        let file = path.display().to_string();
        // One byte over the limit is enough for the YAML reader to say so.
        match read_text(path, 16 * yaml::BYTES_MAX as u64) {
            Ok(text) => add(&file, &text, &mut catalogue, faults),
            Err(why) => {
                let mut own = Findings::new(&file, "config-unreadable");
                own.error("", why, "");
                faults.add(&file, "", own.into_faults());
            }
        }
    }
    catalogue
}

fn add(file: &str, text: &str, catalogue: &mut Catalogue, faults: &mut Faults) {
    let (runbook, mut notes) = match Runbook::parse(file, text) {
        Ok((runbook, warnings)) => (runbook, warnings),
        Err(errors) => {
            faults.add(file, text, errors);
            return;
        }
    };
    let mut own = Findings::new(file, "runbook-invalid");
    let stem = Path::new(file).file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    if stem != runbook.name.as_str() {
        own.error("runbook", format!("is `{}`, and the file is named `{stem}`: let them agree", runbook.name), "");
    }
    if catalogue.contains_key(&runbook.name) {
        own.error("runbook", format!("`{}` stands in another file too", runbook.name), "");
    }
    notes.extend(own.into_faults());
    faults.add(file, text, notes);
    catalogue.insert(runbook.name.clone(), (runbook, Digest::of(text.as_bytes())));
}
