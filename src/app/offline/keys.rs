//! Keys by which people approve a plan where the identity provider is gone: Ed25519, registered beforehand.
//!
//! Invariant: a signature is for one plan in one branch ([`branch::statement`]), and is checked against the key that the
//! configuration has for that name, and no other. A private key never leaves the file that it was written to.

use std::{collections::BTreeMap, path::Path};

use aws_lc_rs::rand;

use crate::{
    app::keys::{self, Key},
    domain::{
        branch,
        id::{ApplicationName, ApproverKey, BranchId, Digest, Subject},
        secret::SecretRef,
    },
};

/// A signature of somebody, as it is handed over: `NAME:SIGNATURE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub by: Subject,
    /// In hexadecimal digits.
    signature: String,
}

impl std::str::FromStr for Signed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected NAME:SIGNATURE, as failoverd offline sign prints it".to_owned();
        let (name, signature) = text.trim().rsplit_once(':').ok_or_else(expected)?;
        let by = name.parse().map_err(|e| format!("{e}"))?;
        hex::decode(signature).map_err(|_| expected())?;
        Ok(Self { by, signature: signature.to_owned() })
    }
}

impl std::fmt::Display for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.by, self.signature)
    }
}

impl Signed {
    /// Whether `key` has signed this plan in this branch.
    pub fn is_of(&self, key: &ApproverKey, application: &ApplicationName, branch: &BranchId, plan: &Digest) -> bool {
        keys::holds(key.as_str(), &self.signature, &branch::statement(application, branch, plan))
    }
}

/// Makes a pair, writes the private key to `file`, which must not be there, and returns the public one.
///
/// # Errors
/// As [`Key::make`].
pub fn make(file: &Path) -> anyhow::Result<ApproverKey> {
    Ok(Key::make(file)?.public().parse()?)
}

/// Signs this plan in this branch, as `by`, with the private key in `file`.
pub fn sign(
    file: &Path,
    by: &Subject,
    application: &ApplicationName,
    branch: &BranchId,
    plan: &Digest,
) -> anyhow::Result<Signed> {
    let key = Key::open(&SecretRef::File(file.display().to_string()), &BTreeMap::new())?;
    Ok(Signed { by: by.clone(), signature: key.sign(&branch::statement(application, branch, plan)) })
}

/// 128 random bits.
pub fn draw() -> anyhow::Result<u128> {
    let mut bits = [0; 16];
    rand::fill(&mut bits).map_err(|_| anyhow::anyhow!("this machine gives no random bits"))?;
    Ok(u128::from_be_bytes(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_plan_its_branch_and_its_key_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("bob.key");
        let key = make(&file).expect("made");
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
