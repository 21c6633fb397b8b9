//! Branches as callers get them: what was done while the table of the journals was lost, and whether a person has said since
//! where the application lives (docs/offline.md).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{
    branch::{Imported, Reconciled},
    history::History,
};

/// A branch that was imported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BranchView {
    pub id: String,
    /// The hash of its last record, which covers all of them.
    pub digest: String,
    /// The file that is kept of it.
    pub file: String,
    pub begun_by: String,
    pub imported_by: String,
    /// Its own records, after its parent.
    pub records: u64,
    /// Records of the journal of which it knew nothing.
    pub came_after: u64,
    /// Its runs, newest last.
    pub runs: Vec<String>,
    /// Where a person said since that the application lives; `null`: nobody has, and the application is held.
    pub primary: Option<String>,
    pub reconciled_by: Option<String>,
}

impl BranchView {
    /// Those of an application, by id.
    pub fn all(history: Option<&History>) -> Vec<Self> {
        history.iter().flat_map(|history| history.branches.imported()).map(|(i, said)| Self::new(i, said)).collect()
    }

    fn new(imported: &Imported, said: Option<&Reconciled>) -> Self {
        let began = &imported.began;
        Self {
            id: began.id.to_string(),
            digest: imported.digest.to_string(),
            file: imported.file.clone(),
            begun_by: began.by.to_string(),
            imported_by: imported.by.to_string(),
            records: imported.records,
            came_after: imported.came_after,
            runs: imported.runs.iter().map(|run| run.run.to_string()).collect(),
            primary: said.map(|said| said.primary.to_string()),
            reconciled_by: said.map(|said| said.by.to_string()),
        }
    }
}
