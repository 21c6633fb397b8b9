//! Keys by which people approve a plan where the identity provider is gone: Ed25519, registered beforehand.
//!
//! Invariant: a signature is for one plan in one branch ([`branch::statement`]), and is checked against the key that the
//! configuration has for that name, and no other. A private key never leaves the file that it was written to.

use std::{fs, path::Path};

use anyhow::{Context as _, bail};
use aws_lc_rs::{
    encoding::AsBigEndian as _,
    rand,
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};

use super::place::write_whole;
use crate::domain::{
    branch,
    id::{ApplicationName, ApproverKey, BranchId, Digest, Subject},
};

/// What a file of a private key begins with.
const PRIVATE: &str = "failoverd-key-1:";

/// The longest file of a key that is read.
const KEY_BYTES_MAX: u64 = 4096;

/// A signature of somebody, as it is handed over: `NAME:SIGNATURE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub by: Subject,
    signature: Vec<u8>,
}

impl std::str::FromStr for Signed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected NAME:SIGNATURE, as failoverd offline sign prints it".to_owned();
        let (name, signature) = text.trim().rsplit_once(':').ok_or_else(expected)?;
        let by = name.parse().map_err(|e| format!("{e}"))?;
        let signature = hex::decode(signature).map_err(|_| expected())?;
        Ok(Self { by, signature })
    }
}

impl std::fmt::Display for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.by, hex::encode(&self.signature))
    }
}

impl Signed {
    /// Whether `key` has signed this plan in this branch.
    pub fn is_of(&self, key: &ApproverKey, application: &ApplicationName, branch: &BranchId, plan: &Digest) -> bool {
        let bytes = key.as_str().strip_prefix("ed25519:").map(hex::decode);
        let Some(Ok(bytes)) = bytes else { return false };
        let statement = branch::statement(application, branch, plan);
        UnparsedPublicKey::new(&ED25519, bytes).verify(statement.as_bytes(), &self.signature).is_ok()
    }
}

/// Makes a pair, writes the private key to `file`, which must not be there, and returns the public one.
pub fn make(file: &Path) -> anyhow::Result<ApproverKey> {
    if file.exists() {
        bail!("{} is there already: a key is never written over", file.display());
    }
    let pair = Ed25519KeyPair::generate().map_err(|_| anyhow::anyhow!("this machine gives no random bits"))?;
    let seed = pair.seed().and_then(|seed| seed.as_be_bytes());
    let seed = seed.map_err(|_| anyhow::anyhow!("the new key cannot be written down"))?;
    let text = format!("{PRIVATE}{}\n", hex::encode(seed.as_ref()));
    write_whole(file, text.as_bytes()).with_context(|| format!("write {}", file.display()))?;
    public(&pair)
}

fn public(pair: &Ed25519KeyPair) -> anyhow::Result<ApproverKey> {
    Ok(format!("ed25519:{}", hex::encode(pair.public_key().as_ref())).parse()?)
}

/// Signs this plan in this branch, as `by`, with the private key in `file`.
pub fn sign(
    file: &Path,
    by: &Subject,
    application: &ApplicationName,
    branch: &BranchId,
    plan: &Digest,
) -> anyhow::Result<Signed> {
    let size = fs::metadata(file).with_context(|| format!("read {}", file.display()))?.len();
    if KEY_BYTES_MAX < size {
        bail!("{} is no key: it has {size} bytes", file.display());
    }
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let seed = text.trim().strip_prefix(PRIVATE).and_then(|seed| hex::decode(seed).ok());
    let pair = seed.and_then(|seed| Ed25519KeyPair::from_seed_unchecked(&seed).ok());
    let pair = pair.with_context(|| format!("{} is no key of failoverd offline key", file.display()))?;
    let statement = branch::statement(application, branch, plan);
    Ok(Signed { by: by.clone(), signature: pair.sign(statement.as_bytes()).as_ref().to_vec() })
}

/// 128 random bits.
pub fn draw() -> anyhow::Result<u128> {
    let mut bits = [0; 16];
    rand::fill(&mut bits).map_err(|_| anyhow::anyhow!("this machine gives no random bits"))?;
    Ok(u128::from_be_bytes(bits))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_signature_holds_for_its_plan_its_branch_and_its_key_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("bob.key");
        let key = make(&file).expect("made");
        assert!(make(&file).is_err(), "a key is never written over");
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        let other = make(&dir.path().join("carol.key")).expect("made");
        let bob: Subject = "bob".parse().expect("valid");
        let app: ApplicationName = "payments".parse().expect("valid");
        let (branch, plan) = (BranchId::new(7), Digest::of(b"plan"));
        let signed = sign(&file, &bob, &app, &branch, &plan).expect("signed");
        let signed: Signed = signed.to_string().parse().expect("as it is handed over");
        assert_eq!(signed.by, bob);
        assert!(signed.is_of(&key, &app, &branch, &plan));
        assert!(!signed.is_of(&other, &app, &branch, &plan));
        assert!(!signed.is_of(&key, &app, &BranchId::new(8), &plan));
        assert!(!signed.is_of(&key, &app, &branch, &Digest::of(b"another")));
        assert!("bob".parse::<Signed>().is_err() && "bob:xyz".parse::<Signed>().is_err());
    }
}
