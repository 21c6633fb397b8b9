//! Where a secret is to be found: a reference that may stand in a file, a log and a plan. The secret itself never
//! enters the domain.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest reference accepted.
const CHARS_MAX: usize = 1024;

/// `env:NAME` (a variable of the daemon's environment) or `file:/PATH` (read at each use, so that a rotated secret is
/// taken up without a restart; one line break at its end is not part of it).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SecretRef {
    Env(String),
    File(String),
}

/// A text that refers to no secret. It may be the secret itself, written where only a reference belongs: so the text
/// is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a reference such as env:NAME or file:/path, never the secret itself (what was given is not shown)")]
pub struct InvalidSecretRef;

impl FromStr for SecretRef {
    type Err = InvalidSecretRef;

    fn from_str(text: &str) -> Result<Self, InvalidSecretRef> {
        let plain = |name: &str| !name.is_empty() && name.len() <= CHARS_MAX && !name.chars().any(char::is_control);
        match text.split_once(':') {
            Some(("env", name)) if plain(name) && !name.contains(['=', ' ']) => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if plain(path) => Ok(Self::File(path.to_owned())),
            _ => Err(InvalidSecretRef),
        }
    }
}

impl TryFrom<String> for SecretRef {
    type Error = InvalidSecretRef;

    fn try_from(text: String) -> Result<Self, InvalidSecretRef> {
        text.parse()
    }
}

impl From<SecretRef> for String {
    fn from(reference: SecretRef) -> String {
        reference.to_string()
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_reads_as_it_is_written_and_a_secret_is_not_repeated() {
        for text in ["env:PGPASSWORD", "file:/run/secrets/heartbeat", "file:relative"] {
            assert_eq!(text.parse::<SecretRef>().expect("valid").to_string(), text);
        }
        for text in ["", "env:", "env:A=B", "hunter2", "hunter2:x", "file:", "file:a\nb"] {
            let error = text.parse::<SecretRef>().expect_err("no reference").to_string();
            assert!(text.is_empty() || !error.contains("hunter2"), "{error}");
        }
    }
}
