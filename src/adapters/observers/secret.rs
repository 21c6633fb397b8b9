//! The secrets of webhooks and of the collector of traces: those that the configuration refers to, and no other.
//!
//! Invariant: what is held here is shown by no `Debug`, and stands in no error.

use std::{collections::BTreeMap, fmt, io::Read as _, os::unix::fs::OpenOptionsExt as _};

use crate::domain::secret::SecretRef;

/// The longest secret: a URL of Slack has about 80 bytes.
const BYTES_MAX: u64 = 4096;

/// See the module.
pub(super) struct Secrets {
    variables: BTreeMap<String, String>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// The variables of `environment` that `references` name; files are read at each use.
    pub(super) fn new<'a>(
        references: impl Iterator<Item = &'a SecretRef>,
        environment: &BTreeMap<String, String>,
    ) -> Self {
        let named = references.filter_map(|reference| match reference {
            SecretRef::Env(name) => Some((name.clone(), environment.get(name)?.clone())),
            SecretRef::File(_) => None,
        });
        Self { variables: named.collect() }
    }

    /// The secret, without white space around it.
    ///
    /// # Errors
    /// Why it is not to be had, in words that hold nothing of it.
    pub(super) async fn find(&self, reference: &SecretRef) -> Result<String, String> {
        let found = match reference {
            SecretRef::Env(name) => self
                .variables
                .get(name)
                .cloned()
                .ok_or_else(|| format!("the environment variable {name} is not set"))?,
            SecretRef::File(path) => {
                let (path, asked) = (path.clone(), path.clone());
                let read = tokio::task::spawn_blocking(move || read(&path)).await;
                let read = read.map_err(|_| "the reading task ended".to_owned()).flatten();
                read.map_err(|why| format!("the secret's file {asked}: {why}"))?
            }
        };
        let found = found.trim();
        match found.is_empty() || found.chars().any(char::is_control) {
            true => Err(format!("the secret {reference} is empty, or has control characters")),
            false => Ok(found.to_owned()),
        }
    }
}

fn read(path: &str) -> Result<String, String> {
    // Opening a FIFO without this waits for somebody who writes to it.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let opened = std::fs::File::options().read(true).custom_flags(nonblocking).open(path);
    let file = opened.map_err(|e| e.to_string())?;
    if !file.metadata().map_err(|e| e.to_string())?.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if BYTES_MAX < bytes.len() as u64 {
        return Err(format!("is longer than {BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}
