//! The object of the mechanism `standby_object` (Standby Takes Over Primary): an inverted HTTP health check on the PRIMARY
//! record reads it from S3 in the standby's Region. Absent (4xx), the primary counts as healthy; there (2xx), traffic
//! goes to the standby.
//!
//! Invariant: what is put is the same for the same plan, to the byte, so that what was approved is what is sent.
//! It deliberately says nothing of who may read the object: a health check that is refused (403) takes it for absent,
//! which keeps traffic where it is and shows at the zone's own servers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    id::{ApplicationName, Region},
    plan::Purpose,
};

/// The longest key of an object, in bytes [S3 UG].
pub const KEY_BYTES_MAX: usize = 1_024;

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectAt {
    pub region: Region,
    pub bucket: String,
    pub key: String,
}

impl ObjectAt {
    /// The address under which anybody who may read it does: what the health check is told where nothing else is
    /// configured.
    pub fn public_url(&self) -> String {
        format!("{}{}", self.endpoint(), self.path_below_endpoint())
    }

    /// S3's own endpoint for the bucket. A name with a dot in it is below no certificate of S3's, and stands in the path.
    pub fn endpoint(&self) -> String {
        let suffix = if self.region.as_str().starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        if self.is_in_path() {
            format!("https://s3.{}.{suffix}", self.region)
        } else {
            format!("https://{}.s3.{}.{suffix}", self.bucket, self.region)
        }
    }

    fn path_below_endpoint(&self) -> String {
        if self.is_in_path() { format!("/{}/{}", self.bucket, self.key) } else { format!("/{}", self.key) }
    }

    /// Whether the bucket's name belongs in the path and not in front of the host.
    pub fn is_in_path(&self) -> bool {
        self.bucket.contains('.')
    }
}

impl fmt::Display for ObjectAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{} in {}", self.bucket, self.key, self.region)
    }
}

/// Whether `name` can be a bucket: 3 to 63 of a-z, 0-9, `-` and `.`, a letter or digit at both ends, no two dots in a row
/// [S3 UG].
pub fn is_bucket(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.bytes().all(|b| plain(b) || b == b'-' || b == b'.')
        && name.bytes().next().is_some_and(plain)
        && name.bytes().last().is_some_and(plain)
        && !name.contains("..")
}

/// Whether `key` is one that needs no encoding anywhere: parts of letters, digits, `-`, `_` and `.`, between slashes. S3
/// takes more; a health check, a proxy and a signature would each have to agree about it.
pub fn is_key(key: &str) -> bool {
    let part = |p: &str| {
        !matches!(p, "" | "." | "..") && p.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    key.len() <= KEY_BYTES_MAX && key.split('/').all(part)
}

/// What is put when traffic is to go to `target`. Nothing reads it but people: its being there is the signal.
pub fn note(application: &ApplicationName, purpose: Purpose, target: &Region) -> String {
    format!(
        "failoverd: {application} {purpose} to {target}. While this object is here, traffic goes to the standby; without it, to the primary.\n"
    )
}

/// What is put where an undo restores an object that was there before: what it held is not known.
pub const RESTORED: &str = "failoverd: put back, because it was here before. While this object is here, traffic goes to the standby; without it, to the primary.\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn at(bucket: &str) -> ObjectAt {
        let region = "us-west-2".parse().expect("a Region");
        ObjectAt { region, bucket: bucket.to_owned(), key: "payments/standby".to_owned() }
    }

    #[test]
    fn a_bucket_with_a_dot_stands_in_the_path_where_the_certificate_of_s3_holds() {
        assert_eq!(
            at("payments-standby").public_url(),
            "https://payments-standby.s3.us-west-2.amazonaws.com/payments/standby"
        );
        assert_eq!(at("a.b").public_url(), "https://s3.us-west-2.amazonaws.com/a.b/payments/standby");
    }

    #[test]
    fn names_that_s3_or_a_signature_would_trip_over_are_none() {
        for good in ["abc", "payments-standby", "a.b-c", "0aa"] {
            assert!(is_bucket(good), "{good}");
        }
        for bad in ["ab", "Abc", "-abc", "abc-", "a..b", "a/b", "a_b", &"a".repeat(64)] {
            assert!(!is_bucket(bad), "{bad}");
        }
        for good in ["standby", "payments/standby", "a_b-c.txt", &"k".repeat(1_024)] {
            assert!(is_key(good), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "a/../b", "a b", "a+b", "ä", "a%2Fb", &"k".repeat(1_025)] {
            assert!(!is_key(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_put_names_the_application_and_is_the_same_each_time() {
        let (app, to) = ("payments".parse().expect("a name"), at("abc").region);
        let one = note(&app, Purpose::Failover, &to);
        assert_eq!(one, note(&app, Purpose::Failover, &to));
        assert!(one.contains("payments failover to us-west-2"), "{one}");
    }
}
