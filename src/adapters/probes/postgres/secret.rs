//! Passwords: found by their references when a connection is made, and gone when it is.
//!
//! Invariant: a [`Secret`] cannot be shown: it has neither `Debug` nor `Display` nor `Clone`, and no error here
//! contains one. The last good value of a file is kept in case that the file cannot be read for a while.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::super::files::Files;
use crate::{
    domain::{heartbeat::Heartbeat, secret::SecretRef},
    ports::Clock,
};

/// The longest password accepted.
const BYTES_MAX: u64 = 4096;
/// How long a file may take: then its last good value is used, which leaves time for the connection.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// A secret's bytes.
pub(super) struct Secret(Vec<u8>);

impl Secret {
    /// For the one place that sends it.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What the references of the configured heartbeats lead to.
pub(super) struct Secrets {
    /// The variables that are named by a reference, and no others.
    variables: BTreeMap<String, Secret>,
    /// By path: what a file held last.
    last_good: Mutex<BTreeMap<String, Secret>>,
    files: Files,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// Keeps of `environment` what `heartbeats` refer to.
    pub(super) fn of<'a>(
        heartbeats: impl IntoIterator<Item = &'a Heartbeat>,
        environment: &BTreeMap<String, String>,
    ) -> Self {
        let named = heartbeats.into_iter().filter_map(|h| match &h.password {
            SecretRef::Env(name) => Some((name.clone(), Secret(environment.get(name)?.clone().into_bytes()))),
            SecretRef::File(_) => None,
        });
        Self { variables: named.collect(), last_good: Mutex::default(), files: Files::default() }
    }

    /// The files, for whatever else a connection needs of them.
    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// The secret itself, or why it is not to be had; within `patience`, at most [`PATIENCE`].
    pub(super) async fn find(
        &self,
        reference: &SecretRef,
        clock: &dyn Clock,
        patience: Duration,
    ) -> Result<Secret, String> {
        match reference {
            SecretRef::Env(name) => match self.variables.get(name) {
                Some(secret) if secret.0.is_empty() => Err(format!("the environment variable {name} is empty")),
                Some(secret) => Ok(Secret(secret.0.clone())),
                None => Err(format!("the environment variable {name} is not set")),
            },
            SecretRef::File(path) => {
                let read = self.files.read(clock, patience.min(PATIENCE), path, BYTES_MAX).await.and_then(trimmed);
                let mut last_good = self.last_good.lock().unwrap_or_else(PoisonError::into_inner);
                match (read, last_good.get(path)) {
                    (Ok(secret), _) => {
                        last_good.insert(path.clone(), Secret(secret.0.clone()));
                        Ok(secret)
                    }
                    (Err(why), Some(last)) => {
                        tracing::warn!(path, why, "a secret could not be read: its last good value is used");
                        Ok(Secret(last.0.clone()))
                    }
                    (Err(why), None) => Err(format!("the secret's file {path}: {why}")),
                }
            }
        }
    }
}

/// Without the line break at the end of a file.
fn trimmed(mut bytes: Vec<u8>) -> Result<Secret, String> {
    for end in *b"\n\r" {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    if bytes.is_empty() { Err("is empty".to_owned()) } else { Ok(Secret(bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::clock::SystemClock;

    async fn find(secrets: &Secrets, reference: &SecretRef) -> Result<Secret, String> {
        secrets.find(reference, &SystemClock, Duration::from_secs(30)).await
    }

    /// A FIFO, by which a hanging disk is known here too.
    #[tokio::test]
    async fn what_is_no_file_is_refused_at_once_and_the_last_good_value_stands() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("password");
        let (secrets, reference) = (Secrets::of([], &BTreeMap::new()), SecretRef::File(path.display().to_string()));
        std::fs::write(&path, "good").expect("written");
        assert_eq!(find(&secrets, &reference).await.expect("read").bytes(), b"good");
        std::fs::remove_file(&path).expect("removed");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs").success());
        assert_eq!(find(&secrets, &reference).await.expect("the last good one").bytes(), b"good");
        let fresh = Secrets::of([], &BTreeMap::new());
        assert!(find(&fresh, &reference).await.err().expect("a FIFO").ends_with("is not a regular file"));
    }

    #[tokio::test]
    async fn a_file_is_read_anew_and_its_last_good_value_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("password");
        let reference = SecretRef::File(path.display().to_string());
        let secrets = Secrets::of([], &BTreeMap::new());
        assert!(find(&secrets, &reference).await.err().expect("not there yet").contains("password"));
        for (text, expect) in [("one\n", "one"), ("two\r\n", "two"), (" three ", " three ")] {
            std::fs::write(&path, text).expect("written");
            assert_eq!(find(&secrets, &reference).await.expect("read").bytes(), expect.as_bytes());
        }
        std::fs::write(&path, "\n").expect("written");
        assert_eq!(find(&secrets, &reference).await.expect("the last good one").bytes(), b" three ");
    }

    #[tokio::test]
    async fn a_variable_that_nobody_refers_to_is_not_kept() {
        let environment = BTreeMap::from([("OTHER".to_owned(), "x".to_owned())]);
        let secrets = Secrets::of([], &environment);
        let error = find(&secrets, &SecretRef::Env("OTHER".to_owned())).await.err().expect("not kept");
        assert_eq!(error, "the environment variable OTHER is not set");
    }
}
