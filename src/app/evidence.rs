//! The key that signs evidence: Ed25519, made by `failoverd evidence key`, read once at the start.
//!
//! Invariant: the private key is in one file or variable, and in this process; no log, error or answer has it.

use std::{collections::BTreeMap, fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use anyhow::{Context as _, bail};
use aws_lc_rs::{
    encoding::AsBigEndian as _,
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};

use crate::domain::{evidence::Signature, secret::SecretRef};

/// What the text of a private key begins with.
const PRIVATE: &str = "failoverd-key-1:";

/// What the text of a public key begins with.
const PUBLIC: &str = "ed25519:";

/// The longest file of a key that is read.
const KEY_BYTES_MAX: u64 = 4096;

/// Signs what it is given.
pub struct Signer {
    pair: Ed25519KeyPair,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("key", &self.key()).finish_non_exhaustive()
    }
}

impl Signer {
    /// With the key that `reference` leads to.
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
        let pair = pair.with_context(|| format!("{reference} is no key of `failoverd evidence key`"))?;
        Ok(Self { pair })
    }

    /// The public key, as `failoverd evidence verify --key` takes it.
    pub fn key(&self) -> String {
        format!("{PUBLIC}{}", hex::encode(self.pair.public_key().as_ref()))
    }

    pub fn sign(&self, statement: &str) -> Signature {
        Signature { key: self.key(), signature: hex::encode(self.pair.sign(statement.as_bytes())) }
    }
}

/// Makes a key, writes it to `file`, which must not be there, for the owner's eyes only, and returns the public key.
///
/// # Errors
/// Where the file is there, or cannot be written.
pub fn make(file: &Path) -> anyhow::Result<String> {
    let pair = Ed25519KeyPair::generate().map_err(|_| anyhow::anyhow!("this machine gives no random bits"))?;
    let seed = pair.seed().and_then(|seed| seed.as_be_bytes());
    let seed = seed.map_err(|_| anyhow::anyhow!("the new key cannot be written down"))?;
    let text = format!("{PRIVATE}{}\n", hex::encode(seed.as_ref()));
    // Never over another key.
    let mut out = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .with_context(|| format!("write {}", file.display()))?;
    out.write_all(text.as_bytes())
        .and_then(|()| out.sync_all())
        .with_context(|| format!("write {}", file.display()))?;
    Ok(Signer { pair }.key())
}

/// Whether `signed` is its key's own signature of `statement`.
pub fn holds(signed: &Signature, statement: &str) -> bool {
    let key = signed.key.strip_prefix(PUBLIC).map(hex::decode);
    let (Some(Ok(key)), Ok(signature)) = (key, hex::decode(&signed.signature)) else { return false };
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
        let key = make(&file).expect("made");
        assert!(make(&file).is_err(), "a key is never written over");
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        let reference = SecretRef::File(file.display().to_string());
        let signer = Signer::open(&reference, &BTreeMap::new()).expect("a key");
        assert_eq!(signer.key(), key);
        let signed = signer.sign("what was seen");
        assert!(holds(&signed, "what was seen") && !holds(&signed, "what was not"));
        let stranger = Signature { key: make(&other).expect("made"), ..signed.clone() };
        assert!(!holds(&stranger, "what was seen"));
        assert!(!holds(&Signature { key: "ed25519:zz".to_owned(), ..signed }, "what was seen"));
        let seed = fs::read_to_string(&file).expect("read");
        let env = BTreeMap::from([("KEY".to_owned(), seed)]);
        assert_eq!(Signer::open(&SecretRef::Env("KEY".to_owned()), &env).expect("a key").key(), key);
        assert!(!format!("{signer:?}").contains(&env["KEY"].trim()[PRIVATE.len()..]), "a key is not shown");
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        let env = BTreeMap::from([("KEY".to_owned(), "hunter2".to_owned())]);
        let error = format!("{:#}", Signer::open(&SecretRef::Env("KEY".to_owned()), &env).expect_err("no key"));
        assert!(error.contains("env:KEY") && !error.contains("hunter2"), "{error}");
    }
}
