//! Configuration: from a TOML file, the environment and a directory of runbooks to checked domain values.
//!
//! Invariant: a [`Settings`] that exists is whole: every name resolves, every runbook compiles for its application in
//! every direction. What is wrong is reported all at once, as [`Faults`]. It deliberately does not watch files,
//! resolve secrets or open anything but what it is given.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::domain::{
    application::Application,
    document::{At, Findings},
    egress::Egress,
    id::{Digest, Region, RunbookName},
    runbook::Runbook,
    secret::SecretRef,
};

mod access;
mod application;
pub mod cross;
mod deciding;
mod environment;
pub mod faults;
mod heartbeat;
mod iac;
mod mask;
mod notify;
pub mod offline;
pub mod runbooks;
mod schedules;
mod sections;
mod signals;
mod store;
mod stores;
mod traces;
mod traffic;
mod tree;
pub mod vantage;

pub use access::{Auth, Server, TlsPaths, Token};
pub use faults::Faults;
pub use notify::Notify;
pub use offline::Offline;
pub use runbooks::{SHIPPED, shipped};
pub use store::{LEASE, UNVERIFIED};
pub use traces::Traces;
pub use vantage::Vantage;

pub use crate::domain::access::Role;

/// The largest configuration file accepted.
pub const BYTES_MAX: u64 = 1024 * 1024;

/// Everything that the daemon needs to start.
#[derive(Debug, Clone)]
pub struct Settings {
    pub server: Server,
    pub store: Store,
    pub aws: Aws,
    pub auth: Auth,
    pub vantage: Vantage,
    /// `None`: nobody can fail over offline.
    pub offline: Option<Offline>,
    pub evidence: Evidence,
    pub notify: Notify,
    /// `None`: runs are sent nowhere as traces.
    pub traces: Option<Traces>,
    /// What may be connected to because a text of the configuration says so.
    pub egress: Egress,
    pub applications: Vec<Application>,
    /// With the digest of each file, which a plan pins.
    pub runbooks: BTreeMap<RunbookName, (Runbook, Digest)>,
    /// Of the file and of what the environment changed.
    pub digest: Digest,
    /// What may be meant but should be known; logged at start, shown by `check`.
    pub warnings: Faults,
}

/// Where the journal is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// One file on a local disk; a relative path is relative to the working directory.
    Sqlite { path: PathBuf },
    /// One DynamoDB table that several replicas share.
    DynamoDb {
        table: String,
        /// The Region through whose endpoint this replica reaches the table.
        region: Region,
        /// Where replicas run, this one's Region among them or not.
        replica_regions: BTreeSet<Region>,
        /// How long a lease lasts; whoever waits for its end waits as long.
        lease: Duration,
        /// Where people and other replicas reach this one's API; without a slash at the end.
        url: Option<String>,
        /// What of the table may stay unverified in production: names of [`UNVERIFIED`].
        allow_unverified: BTreeSet<String>,
    },
}

/// How AWS is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aws {
    /// The whole of one call, its retries included.
    pub call_timeout: Duration,
    /// One attempt.
    pub attempt_timeout: Duration,
    /// Variables such as `AWS_ENDPOINT_URL_RDS` that are honoured in production mode.
    pub allow_custom_endpoints: Vec<String>,
    /// Refuses custom endpoints that are not allowed by name.
    pub production: bool,
}

/// What auditors are given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evidence {
    /// Where the key is that signs it; without one it is not signed.
    pub key: Option<SecretRef>,
    /// Where the evidence of each run that is over is written; `None`: nowhere. A relative path is relative to the working
    /// directory.
    pub keep: Option<PathBuf>,
}

impl Settings {
    /// Where people reach this daemon, as far as the configuration says it.
    pub fn public_url(&self) -> Option<String> {
        let shared = match &self.store {
            Store::DynamoDb { url, .. } => url.clone(),
            Store::Sqlite { .. } => None,
        };
        self.notify.url.clone().or(shared)
    }

    /// Loads `path`, changed by the variables of `env` that begin with `FAILOVERD__`, and the runbooks it names
    /// (those that ship in the program where it names none).
    ///
    /// # Errors
    /// Every fault of the file, the environment and the runbooks at once.
    pub fn load(path: &Path, env: &BTreeMap<String, String>) -> Result<Self, Faults> {
        let file = path.display().to_string();
        match read_text(path, BYTES_MAX) {
            Ok(text) => Self::parse(&file, &text, path.parent().unwrap_or(Path::new("")), env),
            Err(why) => {
                let mut faults = Faults::default();
                let mut found = Findings::new(&file, "config-unreadable");
                found.error("", why, "failoverd serve --config config/default.toml");
                faults.add(&file, "", found.into_faults());
                Err(faults)
            }
        }
    }

    /// The same of a `text` that is at hand; faults call it `file`, and its runbooks are relative to `directory`.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn parse(file: &str, text: &str, directory: &Path, env: &BTreeMap<String, String>) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let mut found = Findings::new(file, "config-invalid");
        let Some(mut node) = tree::parse(text, &mut found) else {
            faults.add(file, text, found.into_faults());
            return Err(faults);
        };
        let changed = environment::apply(&mut node, env, &mut found);
        let root = At::root(&node, &mut found);
        let read = sections::read(&root, &mut found);
        let files = read.as_ref().map(|r| &r.runbooks);
        let own = files.and_then(|r| r.directory.as_deref()).map(|d| directory.join(d));
        let runbooks = runbooks::load(own.as_deref(), files.is_none_or(|r| r.shipped), &mut faults, &mut found);
        let digest = Digest::of_json(&(&text, &changed));
        if let Some(read) = &read {
            cross::check(read, &runbooks, &faults.faulty_stems(), &digest, &mut found);
        }
        faults.add(file, text, found.into_faults());
        match read {
            Some(read) if !faults.has_errors() => Ok(Self {
                server: read.server,
                store: read.store,
                aws: read.aws,
                auth: read.auth,
                vantage: read.vantage,
                offline: read.offline,
                evidence: read.evidence,
                notify: read.notify,
                traces: read.traces,
                egress: read.egress,
                applications: read.applications.into_iter().map(|(_, a)| a).collect(),
                runbooks,
                digest,
                warnings: faults,
            }),
            _ => Err(faults),
        }
    }
}

/// A text file of at most `limit` bytes.
fn read_text(path: &Path, limit: u64) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|e| format!("cannot be read: {e}"))?;
    if !size.is_file() {
        return Err("is not a file".to_owned());
    }
    if size.len() > limit {
        return Err(format!("is {} bytes long; the limit is {limit}", size.len()));
    }
    let bytes = std::fs::read(path).map_err(|e| format!("cannot be read: {e}"))?;
    String::from_utf8(bytes).map_err(|e| format!("is not UTF-8: {e}"))
}

#[cfg(test)]
mod tests;
