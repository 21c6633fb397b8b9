//! Ed25519 keys in files: one kind, for those who sign evidence and for those who approve where the identity provider is
//! gone.
//!
//! Invariant: a private key is in one file (for the owner's eyes, never over another) or variable, and in this process;
//! no log, error or answer has it. What a signature is for is the caller's matter.

use std::{collections::BTreeMap, fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use anyhow::{Context as _, bail};
use aws_lc_rs::{
    encoding::AsBigEndian as _,
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};

use crate::domain::secret::SecretRef;

/// What the text of a private key begins with.
const PRIVATE: &str = "failoverd-key-1:";

/// What the text of a public key begins with.
const PUBLIC: &str = "ed25519:";
/// Of the key that follows it [RFC 8032].
const PUBLIC_BYTES: usize = 32;

/// The longest file of a key that is read.
const KEY_BYTES_MAX: u64 = 4096;

/// A private key.
pub struct Key {
    pair: Ed25519KeyPair,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("public", &self.public()).finish_non_exhaustive()
    }
}

impl Key {
    /// Makes one and writes it to `file`, which must not be there.
    ///
    /// # Errors
    /// Where the file is there, or cannot be written.
    pub fn make(file: &Path) -> anyhow::Result<Self> {
        let pair = Ed25519KeyPair::generate().map_err(|_| anyhow::anyhow!("this machine gives no random bits"))?;
        let seed = pair.seed().and_then(|seed| seed.as_be_bytes());
        let seed = seed.map_err(|_| anyhow::anyhow!("the new key cannot be written down"))?;
        let text = format!("{PRIVATE}{}\n", hex::encode(seed.as_ref()));
        let written = || format!("write {}", file.display());
        // Never over another key.
        let out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
        let mut out = out.with_context(written)?;
        out.write_all(text.as_bytes()).and_then(|()| out.sync_all()).with_context(written)?;
        Ok(Self { pair })
    }

    /// The one that `reference` leads to.
    ///
    /// # Errors
    /// Where it cannot be read or is no key; never with what was read.
    pub fn open(reference: &SecretRef, env: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let text = match reference {
            SecretRef::Env(name) => {
                env.get(name).cloned().with_context(|| format!("the environment variable {name} is not set"))?
            }
            SecretRef::File(path) => {
                let size = fs::metadata(path).with_context(|| format!("read {path}"))?.len();
                if KEY_BYTES_MAX < size {
                    bail!("{path} is no key: it has {size} bytes");
                }
                fs::read_to_string(path).with_context(|| format!("read {path}"))?
            }
        };
        let seed = text.trim().strip_prefix(PRIVATE).and_then(|seed| hex::decode(seed).ok());
        let pair = seed.and_then(|seed| Ed25519KeyPair::from_seed_unchecked(&seed).ok());
        let made = || format!("{reference} is no key of `failoverd evidence key` or `failoverd offline key`");
        Ok(Self { pair: pair.with_context(made)? })
    }

    /// The public key, as configurations and `failoverd evidence verify --key` take it.
    pub fn public(&self) -> String {
        format!("{PUBLIC}{}", hex::encode(self.pair.public_key().as_ref()))
    }

    /// The signature of `statement`, in hexadecimal digits.
    pub fn sign(&self, statement: &str) -> String {
        hex::encode(self.pair.sign(statement.as_bytes()))
    }
}

/// Whether `text` could be the public half of a key.
pub fn is_public(text: &str) -> bool {
    text.strip_prefix(PUBLIC).and_then(|key| hex::decode(key).ok()).is_some_and(|key| key.len() == PUBLIC_BYTES)
}

/// Whether `signature` is that of `statement` by the key whose public half is `public`.
pub fn holds(public: &str, signature: &str, statement: &str) -> bool {
    let key = public.strip_prefix(PUBLIC).map(hex::decode);
    let (Some(Ok(key)), Ok(signature)) = (key, hex::decode(signature)) else { return false };
    UnparsedPublicKey::new(&ED25519, key).verify(statement.as_bytes(), &signature).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_signature_holds_for_its_statement_and_its_key_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, other) = (folder.path().join("one"), folder.path().join("other"));
        let public = Key::make(&file).expect("made").public();
        assert!(Key::make(&file).is_err(), "a key is never written over");
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        let key = Key::open(&SecretRef::File(file.display().to_string()), &BTreeMap::new()).expect("a key");
        assert_eq!(key.public(), public);
        let signature = key.sign("what was seen");
        assert!(holds(&public, &signature, "what was seen") && !holds(&public, &signature, "what was not"));
        let stranger = Key::make(&other).expect("made").public();
        assert!(!holds(&stranger, &signature, "what was seen"));
        assert!(!holds("ed25519:zz", &signature, "what was seen") && !holds(&public, "zz", "what was seen"));
        let env = BTreeMap::from([("KEY".to_owned(), fs::read_to_string(&file).expect("read"))]);
        assert_eq!(Key::open(&SecretRef::Env("KEY".to_owned()), &env).expect("a key").public(), public);
        assert!(!format!("{key:?}").contains(&env["KEY"].trim()[PRIVATE.len()..]), "a key is not shown");
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        let env = BTreeMap::from([("KEY".to_owned(), "hunter2".to_owned())]);
        let error = format!("{:#}", Key::open(&SecretRef::Env("KEY".to_owned()), &env).expect_err("no key"));
        assert!(error.contains("env:KEY") && !error.contains("hunter2"), "{error}");
    }
}
