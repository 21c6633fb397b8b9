//! Bearer tokens of the configuration, kept as SHA-256.
//!
//! Invariant: a token is compared by its hash, in constant time, with every entry, expired ones too; no token is ever
//! logged, answered or shown by `Debug`.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::domain::{
    access::{Grant, Permission, Principal},
    id::{ApplicationName, Digest, Subject},
};

/// One named token, as configuration gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenEntry {
    /// Who calls with this token.
    pub name: Subject,
    /// The SHA-256 of the token, 64 hexadecimal digits.
    pub sha256: String,
    pub grants: BTreeSet<Grant>,
    /// From when on it is nobody's; `None`: it does not expire.
    pub expires_at: Option<Timestamp>,
    /// The SHA-256 of the one client certificate with which it is good.
    pub certificate: Option<Digest>,
}

/// What is wrong with a list of tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTokens {
    #[error("the token of `{0}`: sha256 must be 64 hexadecimal digits")]
    Hash(Subject),
    #[error("the token of `{0}` has no role")]
    NoRole(Subject),
    #[error("the tokens of `{0}` and `{1}` are the same")]
    Shared(Subject, Subject),
}

struct Entry {
    hash: [u8; 32],
    principal: Principal,
    expires_at: Option<Timestamp>,
    certificate: Option<Digest>,
}

/// Whose a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder<'a> {
    Known(&'a Principal),
    /// It was theirs.
    Expired(&'a Subject),
    /// It is theirs, and came over another connection than theirs (FAULTS.md 87).
    Elsewhere(&'a Subject),
    Nobody,
}

/// The tokens that are accepted.
#[derive(Clone)]
pub struct Tokens {
    entries: Arc<[Entry]>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.entries.iter().map(|entry| entry.principal.subject.as_str());
        f.debug_list().entries(names).finish()
    }
}

impl Tokens {
    /// Checks the entries.
    ///
    /// # Errors
    /// A hash that is none, an entry without a role, or one token for two entries (whose name would be ambiguous).
    pub fn new(entries: Vec<TokenEntry>) -> Result<Self, InvalidTokens> {
        let mut checked: Vec<Entry> = Vec::with_capacity(entries.len());
        for entry in entries {
            let mut hash = [0; 32];
            hex::decode_to_slice(&entry.sha256, &mut hash).map_err(|_| InvalidTokens::Hash(entry.name.clone()))?;
            if entry.grants.is_empty() {
                return Err(InvalidTokens::NoRole(entry.name));
            }
            if let Some(other) = checked.iter().find(|other| other.hash == hash) {
                return Err(InvalidTokens::Shared(other.principal.subject.clone(), entry.name));
            }
            let principal = Principal { subject: entry.name, grants: entry.grants };
            let (expires_at, certificate) = (entry.expires_at, entry.certificate);
            checked.push(Entry { hash, principal, expires_at, certificate });
        }
        Ok(Self { entries: checked.into() })
    }

    /// No tokens.
    pub fn open() -> Self {
        Self { entries: Arc::new([]) }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Everybody with a token who may do `permission` to `application`, by name; to whichever, where none is named.
    pub fn people(&self, permission: Permission, application: Option<&ApplicationName>) -> BTreeSet<Subject> {
        let may = |principal: &Principal| match application {
            Some(of) => principal.may(permission, of),
            None => principal.may_somewhere(permission),
        };
        let all = self.entries.iter().map(|entry| &entry.principal);
        all.filter(|principal| may(principal)).map(|principal| principal.subject.clone()).collect()
    }

    /// From when on `token` is nobody's; `None`: it does not expire, or is none.
    pub fn expiry(&self, token: &str) -> Option<Timestamp> {
        let presented: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let at = position(self.entries.iter().map(|entry| &entry.hash), &presented);
        usize::try_from(at).ok().and_then(|at| self.entries.get(at)).and_then(|entry| entry.expires_at)
    }

    /// Who holds `token` at `now`, over a connection that has shown `certificate`; where the time is not known, what
    /// expires is taken to have expired. Takes the same time for every token, known or not.
    pub fn lookup(&self, token: &str, now: Option<Timestamp>, certificate: Option<&Digest>) -> Holder<'_> {
        let presented: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let at = position(self.entries.iter().map(|entry| &entry.hash), &presented);
        let Some(entry) = usize::try_from(at).ok().and_then(|at| self.entries.get(at)) else {
            return Holder::Nobody;
        };
        let is_good = entry.expires_at.is_none_or(|end| now.is_some_and(|now| now < end));
        let is_theirs = entry.certificate.is_none() || entry.certificate.as_ref() == certificate;
        match (is_good, is_theirs) {
            (true, true) => Holder::Known(&entry.principal),
            (false, _) => Holder::Expired(&entry.principal.subject),
            (true, false) => Holder::Elsewhere(&entry.principal.subject),
        }
    }
}

/// Where `presented` stands among `hashes`, or `u64::MAX`: every one is compared, whether or not one has matched.
fn position<'a>(hashes: impl Iterator<Item = &'a [u8; 32]>, presented: &[u8; 32]) -> u64 {
    (0..).zip(hashes).fold(u64::MAX, |found, (at, hash)| {
        let same: Choice = hash.ct_eq(presented);
        u64::conditional_select(&found, &at, same)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::Role;

    fn entry(name: &str, token: &str, roles: &[Role]) -> TokenEntry {
        TokenEntry {
            name: name.parse().expect("subject"),
            sha256: hex::encode(Sha256::digest(token)),
            grants: roles.iter().copied().map(Grant::every).collect(),
            expires_at: None,
            certificate: None,
        }
    }

    #[test]
    fn a_token_is_found_by_its_hash_wherever_it_stands() {
        let tokens = Tokens::new(vec![
            entry("ann", "a", &[Role::Viewer]),
            entry("bob", "b", &[Role::Operator]),
            entry("eve", "c", &[Role::Admin]),
        ])
        .expect("valid");
        for (token, name) in [("a", "ann"), ("b", "bob"), ("c", "eve")] {
            let Holder::Known(principal) = tokens.lookup(token, None, None) else { panic!("{token} is known") };
            assert_eq!(principal.subject.as_str(), name);
        }
        assert_eq!(tokens.lookup("d", None, None), Holder::Nobody);
        assert_eq!(tokens.lookup("", None, None), Holder::Nobody);
    }

    /// FAULTS.md 97: how long it takes tells nothing of where a match stands, or that there is one.
    #[test]
    fn every_hash_is_compared_wherever_the_match_stands() {
        let hashes = [[1; 32], [2; 32], [3; 32]];
        for (presented, expected) in [([1; 32], 0), ([2; 32], 1), ([3; 32], 2), ([4; 32], u64::MAX)] {
            let compared = std::cell::Cell::new(0);
            let found = position(hashes.iter().inspect(|_| compared.set(compared.get() + 1)), &presented);
            assert_eq!((found, compared.get()), (expected, hashes.len()));
        }
    }

    #[test]
    fn a_token_is_good_until_it_expires_and_where_the_time_is_not_known_it_is_not() {
        let end: Timestamp = "2027-01-01T00:00:00Z".parse().expect("a time");
        let tokens =
            Tokens::new(vec![TokenEntry { expires_at: Some(end), ..entry("ann", "a", &[Role::Viewer]) }]).expect("ok");
        let before = end - jiff::SignedDuration::from_nanos(1);
        assert!(matches!(tokens.lookup("a", Some(before), None), Holder::Known(_)));
        for now in [Some(end), None] {
            assert!(matches!(tokens.lookup("a", now, None), Holder::Expired(_)), "{now:?}");
        }
    }

    /// FAULTS.md 87.
    #[test]
    fn a_token_that_belongs_to_a_certificate_is_worth_nothing_without_it() {
        let (own, other) = (Digest::of(b"ann's"), Digest::of(b"eve's"));
        let entry = TokenEntry { certificate: Some(own.clone()), ..entry("ann", "a", &[Role::Operator]) };
        let tokens = Tokens::new(vec![entry]).expect("valid");
        assert!(matches!(tokens.lookup("a", None, Some(&own)), Holder::Known(_)));
        for shown in [None, Some(&other)] {
            assert!(matches!(tokens.lookup("a", None, shown), Holder::Elsewhere(_)), "{shown:?}");
        }
    }

    #[test]
    fn tokens_that_cannot_work_are_refused() {
        let bad_hash = TokenEntry { sha256: "zz".to_owned(), ..entry("ann", "a", &[Role::Viewer]) };
        assert!(matches!(Tokens::new(vec![bad_hash]), Err(InvalidTokens::Hash(_))));
        assert!(matches!(Tokens::new(vec![entry("ann", "a", &[])]), Err(InvalidTokens::NoRole(_))));
        let twice = vec![entry("ann", "a", &[Role::Viewer]), entry("bob", "a", &[Role::Admin])];
        assert!(matches!(Tokens::new(twice), Err(InvalidTokens::Shared(_, _))));
    }
}
