//! `[offline] dir`: what a machine keeps for the day when the table is lost, and where.
//!
//! ```text
//! DIR/journals.sqlite          a copy of every journal, as far as this machine has read it
//! DIR/copies.json              of each: how far, and when it was last known to be whole
//! DIR/next/APP                 the id of the branch that would begin next: what is signed names it
//! DIR/branches/APP-ID.sqlite   a branch that was not imported
//! DIR/branches/APP-ID.approvals   signatures for it, one NAME:SIGNATURE in each line
//! DIR/sealed/APP-ID.sqlite     a branch that was imported: read-only
//! ```
//!
//! Invariant: what decides stands in journals, which verify themselves. The rest is for people, and may be lost.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    config::Offline,
    domain::id::{ApplicationName, BranchId, Digest},
    engine::settle,
};

/// The longest file of signatures that is read.
const APPROVALS_BYTES_MAX: u64 = 64 * 1024;

/// See the module.
#[derive(Debug, Clone)]
pub struct Place {
    dir: PathBuf,
}

/// How far the copy of one journal goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    pub records: u64,
    pub hash: Digest,
    /// When the journal was last read to its end, by this machine's wall clock.
    pub read_at: Timestamp,
    /// The configuration of the daemon that kept it.
    pub config_digest: Digest,
}

impl Place {
    pub fn of(offline: &Offline) -> Self {
        Self { dir: offline.dir.clone() }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the directories that are not there, for this user alone.
    pub fn make(&self) -> anyhow::Result<()> {
        for dir in [self.dir.clone(), self.dir.join("next"), self.dir.join("branches"), self.dir.join("sealed")] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.with_context(|| format!("make {}", dir.display()))?;
        }
        Ok(())
    }

    pub fn journals(&self) -> PathBuf {
        self.dir.join("journals.sqlite")
    }

    /// How far each copy goes; empty where nobody has said. What cannot be read says nothing.
    pub fn copied(&self) -> BTreeMap<ApplicationName, Copied> {
        let text = fs::read(self.dir.join("copies.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Says how far the copies go, all at once or not at all.
    pub fn note(&self, copied: &BTreeMap<ApplicationName, Copied>) -> io::Result<()> {
        let bytes = serde_json::to_vec(copied).unwrap_or_else(|e| unreachable!("they serialise: {e}"));
        write_whole(&self.dir.join("copies.json"), &bytes)
    }

    /// The id of the branch of `application` that would begin next; `drawn` where there is none yet.
    pub fn next(&self, application: &ApplicationName, drawn: BranchId) -> anyhow::Result<BranchId> {
        let path = self.dir.join("next").join(application.as_str());
        match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().with_context(|| format!("read {}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write_whole(&path, drawn.as_str().as_bytes()).with_context(|| format!("write {}", path.display()))?;
                Ok(drawn)
            }
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// That branch has begun: the one after it has another id.
    pub fn begun(&self, application: &ApplicationName) {
        // It is there, or it is not there any more.
        let _ = fs::remove_file(self.dir.join("next").join(application.as_str()));
    }

    pub fn branch(&self, application: &ApplicationName, id: &BranchId) -> PathBuf {
        self.dir.join("branches").join(format!("{application}-{id}.sqlite"))
    }

    pub fn approvals(&self, application: &ApplicationName, id: &BranchId) -> PathBuf {
        self.dir.join("branches").join(format!("{application}-{id}.approvals"))
    }

    /// The signatures that stand beside a branch.
    pub fn signatures(&self, application: &ApplicationName, id: &BranchId) -> Vec<String> {
        let path = self.approvals(application, id);
        let is_short = fs::metadata(&path).is_ok_and(|file| file.len() <= APPROVALS_BYTES_MAX);
        let text = if is_short { fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(ToOwned::to_owned).collect()
    }

    /// The branch of `application` that was not imported, with its file.
    ///
    /// # Errors
    /// Where the directory cannot be read: then it is unknown.
    pub fn open_branch(&self, application: &ApplicationName) -> io::Result<Option<(BranchId, PathBuf)>> {
        let entries = match fs::read_dir(self.dir.join("branches")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let id = name.strip_suffix(".sqlite").and_then(|stem| stem.rsplit_once('-'));
            if let Some((app, id)) = id
                && app == application.as_str()
                && let Ok(id) = id.parse()
            {
                return Ok(Some((id, path)));
            }
        }
        Ok(None)
    }

    /// Puts an imported branch aside, read-only; where it is then.
    pub fn seal(&self, file: &Path) -> anyhow::Result<PathBuf> {
        let name = file.file_name().with_context(|| format!("{} names no file", file.display()))?;
        let sealed = self.dir.join("sealed").join(name);
        fs::rename(file, &sealed)
            .or_else(|_| fs::copy(file, &sealed).and_then(|_| fs::remove_file(file)))
            .with_context(|| format!("move {} to {}", file.display(), sealed.display()))?;
        fs::set_permissions(&sealed, fs::Permissions::from_mode(0o400))
            .with_context(|| format!("protect {}", sealed.display()))?;
        Ok(sealed)
    }

    /// What a replica looks at before it leads.
    pub fn looked_at_by_leaders(self) -> settle::Offline {
        let open = move |application: &ApplicationName| match self.open_branch(application) {
            Ok(found) => found.map(|(id, path)| format!("there is a branch {id} on this machine, {}", path.display())),
            Err(error) => Some(format!("whether there is a branch in {} is unknown: {error}", self.dir.display())),
        };
        settle::Offline { open_branch: Arc::new(open) }
    }
}

/// Writes a file for this user alone, whole or not at all.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use io::Write as _;
    let beside = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, Place) {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place::of(&Offline { dir: dir.path().join("offline"), approvers: BTreeMap::new() });
        place.make().expect("made");
        (dir, place)
    }

    fn name(text: &str) -> ApplicationName {
        text.parse().expect("valid")
    }

    #[test]
    fn the_next_branch_keeps_its_id_until_it_has_begun() {
        let (_dir, place) = place();
        let app = name("payments");
        assert_eq!(place.next(&app, BranchId::new(1)).expect("drawn"), BranchId::new(1));
        assert_eq!(place.next(&app, BranchId::new(2)).expect("kept"), BranchId::new(1));
        place.begun(&app);
        assert_eq!(place.next(&app, BranchId::new(3)).expect("drawn"), BranchId::new(3));
    }

    #[test]
    fn a_branch_is_found_by_its_application_alone_and_not_once_it_is_sealed() {
        let (_dir, place) = place();
        let (app, longer) = (name("payments"), name("payments-eu"));
        assert_eq!(place.open_branch(&app).expect("read"), None);
        let path = place.branch(&longer, &BranchId::new(7));
        fs::write(&path, b"x").expect("written");
        assert_eq!(place.open_branch(&app).expect("read"), None);
        assert_eq!(place.open_branch(&longer).expect("read"), Some((BranchId::new(7), path.clone())));
        let sealed = place.seal(&path).expect("sealed");
        assert_eq!(place.open_branch(&longer).expect("read"), None);
        assert!(fs::metadata(sealed).expect("there").permissions().readonly());
    }
}
