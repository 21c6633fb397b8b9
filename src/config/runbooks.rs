//! The runbooks: those that ship in the program, those of a directory, or both.

use std::{collections::BTreeMap, path::Path};

use super::{Faults, read_text};
use crate::domain::{
    document::Findings,
    id::{Digest, RunbookName},
    runbook::{Library, Runbook},
    yaml,
};

/// The most files of a directory that are read.
const FILES_MAX: usize = 200;

/// The runbooks that ship in the program: file name and text.
pub const SHIPPED: [(&str, &str); 14] = [
    ("runbooks/detach-and-promote.yaml", include_str!("../../runbooks/detach-and-promote.yaml")),
    ("runbooks/dns-flip.yaml", include_str!("../../runbooks/dns-flip.yaml")),
    ("runbooks/drill-dns.yaml", include_str!("../../runbooks/drill-dns.yaml")),
    ("runbooks/drill-switchover.yaml", include_str!("../../runbooks/drill-switchover.yaml")),
    ("runbooks/drill-fault.yaml", include_str!("../../runbooks/drill-fault.yaml")),
    ("runbooks/drill-isolation.yaml", include_str!("../../runbooks/drill-isolation.yaml")),
    ("runbooks/drill-readiness.yaml", include_str!("../../runbooks/drill-readiness.yaml")),
    ("runbooks/drill-tabletop.yaml", include_str!("../../runbooks/drill-tabletop.yaml")),
    ("runbooks/failback-gradual.yaml", include_str!("../../runbooks/failback-gradual.yaml")),
    ("runbooks/failback.yaml", include_str!("../../runbooks/failback.yaml")),
    ("runbooks/headless-failover.yaml", include_str!("../../runbooks/headless-failover.yaml")),
    ("runbooks/region-failover.yaml", include_str!("../../runbooks/region-failover.yaml")),
    ("runbooks/region-switchover.yaml", include_str!("../../runbooks/region-switchover.yaml")),
    ("runbooks/salvage.yaml", include_str!("../../runbooks/salvage.yaml")),
];

/// Runbooks by name, with the digest of the file of each.
pub type Catalogue = BTreeMap<RunbookName, (Runbook, Digest)>;

/// The runbooks that ship in the program.
///
/// # Panics
/// Never in a released program: a test parses them.
pub fn shipped() -> Catalogue {
    load(None, true, &mut Faults::default(), &mut Findings::new("", ""))
}

/// The runbooks of `directory`, where one is given, and those that ship, where they are `shipped`.
pub(super) fn load(directory: Option<&Path>, shipped: bool, faults: &mut Faults, found: &mut Findings) -> Catalogue {
    let mut files = directory.map(|d| files_of(d, faults, found)).unwrap_or_default();
    if shipped {
        files.extend(SHIPPED.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())));
    }
    let mut catalogue = Catalogue::new();
    add_all(&files, &mut catalogue, faults);
    catalogue
}

/// File and text of each runbook of a directory.
fn files_of(directory: &Path, faults: &mut Faults, found: &mut Findings) -> Vec<(String, String)> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) => {
            let problem = format!("{}: {e}; leave the key out for the runbooks that ship", directory.display());
            found.error("runbooks.directory", problem, "directory = \"../runbooks\"");
            return Vec::new();
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
    let mut files = Vec::new();
    for path in paths.iter().take(FILES_MAX) {
        let file = path.display().to_string();
        // One byte over the limit is enough for the YAML reader to say so.
        match read_text(path, 16 * yaml::BYTES_MAX as u64) {
            Ok(text) => files.push((file, text)),
            Err(why) => {
                let mut own = Findings::new(&file, "config-unreadable");
                own.error("", why, "");
                faults.add(&file, "", own.into_faults());
            }
        }
    }
    files
}

/// Any of `files` may call any other.
fn add_all(files: &[(String, String)], catalogue: &mut Catalogue, faults: &mut Faults) {
    let mut library = Library::default();
    let mut digests = BTreeMap::new();
    for (file, text) in files {
        library.add(file, text);
        digests.insert(stem(file), Digest::of(text.as_bytes()));
    }
    for (file, text) in files {
        add(file, text, &library, &digests, catalogue, faults);
    }
}

fn stem(file: &str) -> String {
    Path::new(file).file_stem().and_then(|s| s.to_str()).unwrap_or_default().to_owned()
}

/// What a plan pins: the file, and those of every runbook that it calls, which are named as their files are.
fn digest(runbook: &Runbook, text: &str, digests: &BTreeMap<String, Digest>) -> Digest {
    let own = Digest::of(text.as_bytes());
    if runbook.calls.is_empty() {
        return own;
    }
    let called: BTreeMap<&str, Option<&Digest>> =
        runbook.calls.iter().map(|name| (name.as_str(), digests.get(name.as_str()))).collect();
    Digest::of_json(&(own, called))
}

fn add(
    file: &str,
    text: &str,
    library: &Library,
    digests: &BTreeMap<String, Digest>,
    catalogue: &mut Catalogue,
    faults: &mut Faults,
) {
    let (runbook, mut notes) = match Runbook::parse_with(file, text, library) {
        Ok((runbook, warnings)) => (runbook, warnings),
        Err(errors) => {
            faults.add(file, text, errors);
            return;
        }
    };
    let mut own = Findings::new(file, "runbook-invalid");
    let stem = stem(file);
    if stem != runbook.name.as_str() {
        own.error("runbook", format!("is `{}`, and the file is named `{stem}`: let them agree", runbook.name), "");
    }
    if catalogue.contains_key(&runbook.name) {
        // Those that ship come last.
        let other = if SHIPPED.iter().any(|(own, ships)| *own == file && *ships == text) {
            "this one ships in the program (`[runbooks] shipped = true`): give yours another name"
        } else {
            "let one of them have another name"
        };
        own.error("runbook", format!("`{}` stands in another file too; {other}", runbook.name), "");
    }
    notes.extend(own.into_faults());
    faults.add(file, text, notes);
    let digest = digest(&runbook, text, digests);
    catalogue.insert(runbook.name.clone(), (runbook, digest));
}
