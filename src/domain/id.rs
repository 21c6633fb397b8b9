//! Names and identifiers, parsed once at the edge into types that cannot be wrong.
//!
//! Every name that a person or a file supplies has the form `^[a-z0-9-]{1,64}$` (FAULTS.md 91): it is
//! looked up, never used as a path. Names are shared text: a clone copies nothing. Nothing here generates randomness: a [`RunId`] takes its bits as an argument.

use std::{fmt, marker::PhantomData, str::FromStr, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

/// The longest name accepted anywhere; keeps labels, keys and file names bounded.
pub const NAME_CHARS_MAX: usize = 64;

/// A text that is not a valid name of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a valid {kind}: expected {expected}")]
pub struct InvalidName {
    pub kind: &'static str,
    pub given: String,
    pub expected: &'static str,
}

fn is_plain(s: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&s.len())
        && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// What the subject of a schedule begins with.
const OF_SCHEDULE: &str = "schedule:";

/// Shorter than other names: it stands in a [`Subject`].
fn is_schedule(s: &str) -> bool {
    is_plain(s) && s.len() <= 48
}

impl Subject {
    /// In whose name a schedule begins its drills. No caller of the API is called so: who reads names of callers refuses
    /// those for which [`Subject::schedule`] is something.
    pub fn of_schedule(schedule: &ScheduleName) -> Self {
        let name = format!("{OF_SCHEDULE}{schedule}");
        name.parse().unwrap_or_else(|e| unreachable!("the name of a schedule is short and plain: {e}"))
    }

    /// The schedule that it is; `None`: a person or a machine.
    pub fn schedule(&self) -> Option<ScheduleName> {
        self.as_str().strip_prefix(OF_SCHEDULE).and_then(|name| name.parse().ok())
    }
}

/// Reads a name from whatever string the format has at hand.
struct Parsed<T>(PhantomData<T>);

impl<T: FromStr<Err = InvalidName>> Visitor<'_> for Parsed<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, s: &str) -> Result<T, E> {
        s.parse().map_err(E::custom)
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $ty:ident, $kind:literal, $expected:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $ty(Arc<str>);

        impl $ty {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $ty {
            type Err = InvalidName;
            fn from_str(s: &str) -> Result<Self, InvalidName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(s) {
                    Ok(Self(s.into()))
                } else {
                    let given = s.chars().take(80).collect();
                    Err(InvalidName { kind: $kind, given, expected: $expected })
                }
            }
        }

        impl TryFrom<String> for $ty {
            type Error = InvalidName;
            fn try_from(s: String) -> Result<Self, InvalidName> {
                s.parse()
            }
        }

        impl From<$ty> for String {
            fn from(v: $ty) -> String {
                v.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        // By hand, so that reading and writing a journal copies no name twice.
        impl Serialize for $ty {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $ty {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Parsed(PhantomData))
            }
        }
    };
}

name!(/** What is protected: its Regions, stores, endpoints, objectives, runbooks. */ ApplicationName, "application name", "1 to 64 of a-z, 0-9 and -", is_plain);
name!(/** One body of replicated data of an application. */ StoreName, "store name", "1 to 64 of a-z, 0-9 and -", is_plain);
name!(/** Something that can be observed about an application. */ SignalName, "signal name", "1 to 64 of a-z, 0-9 and -", is_plain);
name!(/** From where something is observed: this daemon, or an observer elsewhere. */ VantageName, "vantage name", "1 to 64 of a-z, 0-9 and -", is_plain);
name!(/** One way to people: a topic, a webhook. */ ChannelName, "channel name", "1 to 64 of a-z, 0-9 and -", is_plain);
name!(/** One way of moving an application's traffic (an entry of its `dns` list). */ TrafficName, "dns name", "1 to 64 of a-z, 0-9 and -", is_plain);
name!(/** One life of one daemon, as the rows of its heartbeat name it: never the same for two processes. */ BeaterId, "beater id", "1 to 64 of a-z, 0-9 and -", is_plain);
name!(/** A runbook, by the name in its file. */ RunbookName, "runbook name", "1 to 64 of a-z, 0-9 and -", is_plain);
name!(/** A step of a runbook; a step that the plan expands over several stores is `step.store`. */ StepId, "step id", "1 to 64 of a-z, 0-9, - and .", |s| {
    (1..=NAME_CHARS_MAX).contains(&s.len()) && s.split('.').all(is_plain)
});
name!(/** A named person or machine that calls the API; approvals count distinct subjects. `schedule:NAME` is a schedule of drills, which calls nothing: see [`Subject::schedule`]. */ Subject, "subject", "1 to 64 of a-z, 0-9, - . _ and @", |s| {
    let named = |s: &str| s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._@".contains(&b));
    (1..=NAME_CHARS_MAX).contains(&s.len()) && s.strip_prefix(OF_SCHEDULE).map_or_else(|| named(s), is_schedule)
});
name!(/** When an application is drilled, by a name in its configuration. */ ScheduleName, "schedule name", "1 to 48 of a-z, 0-9 and -", is_schedule);
name!(/** An AWS Region such as `us-east-1`; the form is checked, not a list that would age. */ Region, "Region", "a Region such as us-east-1", |s| {
    let parts: Vec<&str> = s.split('-').collect();
    s.len() <= 32
        && parts.len() >= 3
        && parts.iter().all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
        && parts.last().is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()))
});
name!(/** A SHA-256 in lower-case hexadecimal, of something that must not change unseen. */ Digest, "digest", "64 hexadecimal digits", |s| {
    s.len() == 64 && s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
});
name!(/** One execution of a runbook. Carries its application: `payments-0190…` (32 hex digits at the end). */ RunId, "run id", "an application name, -, and 32 hexadecimal digits", |s| {
    // Of 33 bytes, and not of characters: what is no ASCII may end in the middle of one.
    let parts = s.len().checked_sub(33).and_then(|at| s.split_at_checked(at));
    parts.is_some_and(|(application, bits)| {
        let digits = bits.strip_prefix('-').unwrap_or_default();
        s.len() <= NAME_CHARS_MAX + 33
            && is_plain(application)
            && digits.len() == 32
            && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
});

name!(/** What one machine did while the table of the journals was lost. */ BranchId, "branch id", "32 hexadecimal digits", |s| {
    s.len() == 32 && s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
});

name!(/** The public key by which a person approves where the identity provider is gone. */ ApproverKey, "approver's key", "ed25519: and 64 hexadecimal digits", |s| {
    s.strip_prefix("ed25519:").is_some_and(|hex| hex.parse::<Digest>().is_ok())
});

name!(/** One override. Carries its application, as a run id does. */ OverrideId, "override id", "an application name, -, and 32 hexadecimal digits", |s| s.parse::<RunId>().is_ok());

impl OverrideId {
    /// Builds the id of an override for `application` from 128 bits that the caller drew.
    pub fn new(application: &ApplicationName, bits: u128) -> Self {
        Self(RunId::new(application, bits).0)
    }

    /// The application that this override is about.
    pub fn application(&self) -> ApplicationName {
        ApplicationName(self.0[..self.0.len() - 33].into())
    }
}

impl BranchId {
    /// Of 128 bits that the caller drew.
    pub fn new(bits: u128) -> Self {
        Self(format!("{bits:032x}").into())
    }
}

impl RunId {
    /// Builds the id of a run of `application` from 128 bits that the caller drew.
    pub fn new(application: &ApplicationName, bits: u128) -> Self {
        Self(format!("{application}-{bits:032x}").into())
    }

    /// The application that this run moves.
    pub fn application(&self) -> ApplicationName {
        ApplicationName(self.0[..self.0.len() - 33].into())
    }
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(hex::encode(sha2::Sha256::digest(bytes)).into())
    }

    /// The digest of a value's canonical JSON. Every digested type has a fixed field order and no map but
    /// `BTreeMap`, so equal values have equal bytes.
    ///
    /// # Panics
    /// Never for our own types: they hold no map with keys that JSON cannot express.
    pub fn of_json<T: Serialize>(value: &T) -> Self {
        Self::of(&serde_json::to_vec(value).unwrap_or_else(|e| unreachable!("our types serialise: {e}")))
    }

    /// The digest before the first record of a journal.
    pub fn zero() -> Self {
        Self("0".repeat(64).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_carries_its_application() {
        let app: ApplicationName = "payments-eu".parse().expect("valid");
        let id = RunId::new(&app, 0xfeed);
        assert_eq!(id.application(), app);
        assert_eq!(id.as_str().parse::<RunId>().expect("round trip"), id);
    }

    #[test]
    fn an_id_of_any_characters_is_refused_and_not_cut_in_two() {
        for bad in ["é", "\u{1f980}", "a\u{300}"].iter().flat_map(|c| (1..80).map(|n| c.repeat(n))) {
            assert!(bad.parse::<RunId>().is_err() && bad.parse::<OverrideId>().is_err(), "{bad:?}");
            assert!(format!("payments-{bad}").parse::<RunId>().is_err(), "{bad:?}");
        }
        let id = format!("payments-{}", "0f".repeat(16));
        assert!(id.parse::<RunId>().is_ok() && id.to_uppercase().parse::<RunId>().is_err());
        assert!(id.replace('f', "F").parse::<RunId>().is_err());
    }

    #[test]
    fn names_that_could_be_paths_are_refused() {
        for bad in ["", "..", "a/b", "A", "a b", &"a".repeat(65)] {
            assert!(bad.parse::<RunbookName>().is_err(), "{bad:?} must be refused");
        }
        assert!("us-east".parse::<Region>().is_err());
        assert!("us-east-1".parse::<Region>().is_ok());
    }
}
