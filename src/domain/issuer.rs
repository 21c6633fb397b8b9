//! Whom an issuer of tokens (OpenID Connect) vouches for, and what its word is good for here.
//!
//! Invariant: claims grant nothing but what the configuration maps them to, and never the role observer, which is a
//! machine's. It deliberately verifies no signature (`adapters::oidc`): it is told claims that are proven.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    access::{Grant, Principal},
    id::Subject,
    policy::AUTOMATION,
};

/// How a token must be signed. What a token says of itself is not asked (FAULTS.md 99).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Es256,
}

impl Algorithm {
    pub const ALL: [Self; 2] = [Self::Rs256, Self::Es256];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

/// The issuer whose word is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// As in `iss`, to the letter; `URL/.well-known/openid-configuration` says where its keys are.
    pub url: String,
    /// One of a token's `aud`.
    pub audience: String,
    pub algorithm: Algorithm,
    /// The claim that names somebody, and nobody else, ever.
    pub subject_claim: String,
    /// The claim whose value, or list of values, says what somebody is.
    pub roles_claim: String,
    /// Value of that claim → what it is good for here.
    pub grants: BTreeMap<String, BTreeSet<Grant>>,
}

impl Issuer {
    /// Who it is of whom `claims` speak.
    ///
    /// # Errors
    /// In words: there is no name, or one that is nobody's to have; none of their values is good for anything.
    pub fn principal(&self, claims: &Map<String, Value>) -> Result<Principal, String> {
        let claim = &self.subject_claim;
        let name = claims.get(claim).and_then(Value::as_str).ok_or_else(|| format!("it has no claim `{claim}`"))?;
        if claim == "email" && claims.get("email_verified") == Some(&Value::Bool(false)) {
            return Err("its `email` is not verified".to_owned());
        }
        // Two spellings of one name are one person: the other way round, one could approve their own.
        let name = name.to_ascii_lowercase();
        let subject: Subject = name.parse().map_err(|e| format!("its claim `{claim}` names nobody: {e}"))?;
        if subject.as_str() == AUTOMATION || subject.as_str() == "local" || subject.schedule().is_some() {
            return Err(format!("`{subject}` is nobody's name"));
        }
        let held: Vec<&str> = match claims.get(&self.roles_claim) {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let grants: BTreeSet<Grant> =
            held.iter().filter_map(|value| self.grants.get(*value)).flatten().cloned().collect();
        if grants.is_empty() {
            return Err(format!("nothing in the claim `{}` of {subject} is good for anything here", self.roles_claim));
        }
        Ok(Principal { subject, grants })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::access::{Permission, Role};

    fn issuer(subject_claim: &str) -> Issuer {
        Issuer {
            url: "https://login.example.com".to_owned(),
            audience: "failoverd".to_owned(),
            algorithm: Algorithm::Rs256,
            subject_claim: subject_claim.to_owned(),
            roles_claim: "groups".to_owned(),
            grants: BTreeMap::from([
                ("sre".to_owned(), BTreeSet::from([Grant::every(Role::Operator)])),
                ("leads".to_owned(), BTreeSet::from([Grant::every(Role::Approver)])),
            ]),
        }
    }

    fn of(subject_claim: &str, claims: Value) -> Result<Principal, String> {
        issuer(subject_claim).principal(claims.as_object().expect("claims"))
    }

    #[test]
    fn claims_grant_what_the_configuration_maps_them_to() {
        let ann = of("email", json!({"email": "Ann@Example.com", "groups": ["sre", "admins", 7]})).expect("known");
        assert_eq!(ann.subject.as_str(), "ann@example.com");
        assert!(ann.may_somewhere(Permission::Operate) && !ann.may_somewhere(Permission::Approve));
        let bob = of("sub", json!({"sub": "bob", "groups": "leads"})).expect("one value, no list");
        assert!(bob.may_somewhere(Permission::Approve));
    }

    #[test]
    fn whoever_has_no_name_or_no_grant_is_nobody() {
        for (claims, part) in [
            (json!({"groups": ["sre"]}), "no claim `email`"),
            (json!({"email": 7, "groups": ["sre"]}), "no claim `email`"),
            (json!({"email": "a b", "groups": ["sre"]}), "names nobody"),
            (json!({"email": "automation", "groups": ["sre"]}), "nobody's name"),
            (json!({"email": "local", "groups": ["sre"]}), "nobody's name"),
            (json!({"email": "schedule:quarterly", "groups": ["sre"]}), "nobody's name"),
            (json!({"email": "ann@x", "email_verified": false, "groups": ["sre"]}), "not verified"),
            (json!({"email": "ann@x", "groups": ["SRE"]}), "good for anything"),
            (json!({"email": "ann@x"}), "good for anything"),
        ] {
            let why = of("email", claims.clone()).expect_err("nobody");
            assert!(why.contains(part), "{claims}: {why}");
        }
    }
}
