//! Listings of a bucket, and how far the replication of one object is: what a salvage looks at.
//!
//! Invariant: a page that lacks a key, a size or a time is an error, and a status that is not known is one too: neither is
//! ever "replicated".

use std::fmt::Write as _;

use serde_json::Value;

use super::{super::lacking, Ask, AwsCloud, call};
use crate::domain::{
    cloud::ObserveError,
    id::Region,
    salvage::{Listed, PAGE_KEYS_MAX, Page, Replication},
    standby_object::ObjectAt,
};

/// `key` as it stands in a path: the parts between slashes are encoded, once.
pub(super) fn encoded(key: &str) -> String {
    percent(key, true)
}

/// What asks for a page. Keys come encoded, since XML cannot hold all that they may.
pub(super) fn query(token: &str) -> String {
    let from = if token.is_empty() { String::new() } else { format!("continuation-token={}&", percent(token, false)) };
    format!("?{from}encoding-type=url&list-type=2&max-keys={PAGE_KEYS_MAX}")
}

fn percent(text: &str, keeps_slashes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'/' if keeps_slashes => out.push('/'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            other => _ = write!(out, "%{other:02X}"),
        }
    }
    out
}

impl AwsCloud {
    /// One page of `bucket`, after the page that told `after`.
    pub(in super::super) async fn list_objects(
        &self,
        region: &Region,
        bucket: &str,
        after: Option<&str>,
    ) -> Result<Page, ObserveError> {
        let whole = ObjectAt { region: region.clone(), bucket: bucket.to_owned(), key: String::new() };
        let what = format!("bucket {bucket}");
        let reply = self.ask_s3(Ask::List(after.unwrap_or_default()), &whole, &what).await?;
        page(&what, &reply.body)
    }

    /// How far the replication of an object is.
    pub(in super::super) async fn replication_status(
        &self,
        region: &Region,
        bucket: &str,
        key: &str,
    ) -> Result<Replication, ObserveError> {
        let object = ObjectAt { region: region.clone(), bucket: bucket.to_owned(), key: key.to_owned() };
        let what = object.to_string();
        let reply = self.ask_s3(Ask::Head, &object, &what).await?;
        match reply.replication.as_deref() {
            None => Ok(Replication::NotCovered),
            Some("PENDING") => Ok(Replication::Pending),
            Some("FAILED") => Ok(Replication::Failed),
            Some("COMPLETED" | "COMPLETE") => Ok(Replication::Completed),
            Some("REPLICA") => Ok(Replication::Replica),
            Some(other) => {
                let other: String = other.chars().take(40).collect();
                Err(ObserveError::Malformed { reason: format!("{what} has the replication status `{other}`") })
            }
        }
    }
}

fn page(what: &str, body: &[u8]) -> Result<Page, ObserveError> {
    let malformed = |reason: String| ObserveError::Malformed { reason: format!("the listing of {what}: {reason}") };
    let (root, tree) = call::tree(body).map_err(|error| malformed(error.to_string()))?;
    if root != "ListBucketResult" {
        return Err(malformed(format!("<{}> is none", root.chars().take(40).collect::<String>())));
    }
    let contents = match tree.get("Contents") {
        None => &[][..],
        Some(Value::Array(many)) => many.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    let objects = contents.iter().map(|of| listed(what, of)).collect::<Result<Vec<_>, _>>()?;
    let text = |name: &str| tree.get(name).and_then(Value::as_str);
    let next = match text("IsTruncated") {
        Some("false") => None,
        Some("true") => Some(text("NextContinuationToken").ok_or_else(|| lacking(what, "NextContinuationToken"))?),
        _ => return Err(lacking(what, "IsTruncated")),
    };
    Ok(Page { objects, next: next.map(str::to_owned) })
}

fn listed(what: &str, of: &Value) -> Result<Listed, ObserveError> {
    let text = |name: &str| of.get(name).and_then(Value::as_str).ok_or_else(|| lacking(what, name));
    let query = format!("k={}", text("Key")?);
    let key = form_urlencoded::parse(query.as_bytes()).next().map(|(_, key)| key.into_owned());
    Ok(Listed {
        key: key.ok_or_else(|| lacking(what, "Key"))?,
        bytes: text("Size")?.parse().map_err(|_| lacking(what, "Size"))?,
        changed_at: text("LastModified")?.parse().map_err(|_| lacking(what, "LastModified"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_tokens_are_encoded_once_and_plain_keys_stay_as_they_are() {
        assert_eq!(encoded("payments/standby-1.x_y~"), "payments/standby-1.x_y~");
        assert_eq!(encoded("a b/ü+&?#%"), "a%20b/%C3%BC%2B%26%3F%23%25");
        assert_eq!(query("a/b="), "?continuation-token=a%2Fb%3D&encoding-type=url&list-type=2&max-keys=250");
    }

    const ONE: &str = "<Contents><Key>audit/a+b%0A</Key><Size>7</Size><LastModified>2026-11-21T06:00:00.000Z</LastModified>\
                       </Contents>";

    #[test]
    fn a_page_is_whole_or_it_is_none() {
        let of = |inner: &str| page("b", format!("<ListBucketResult>{inner}</ListBucketResult>").as_bytes());
        let last = of(&format!("<IsTruncated>false</IsTruncated>{ONE}")).expect("a page");
        assert_eq!((last.objects[0].key.as_str(), last.objects[0].bytes, last.next), ("audit/a b\n", 7, None));
        let more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>";
        let first = of(&format!("{more}{ONE}{ONE}")).expect("a page");
        assert_eq!((first.objects.len(), first.next.as_deref()), (2, Some("t")));
        assert_eq!(of("<IsTruncated>false</IsTruncated>").expect("empty").objects, []);
        for broken in [
            ONE.to_owned(),
            "<IsTruncated>true</IsTruncated>".to_owned(),
            format!("<IsTruncated>false</IsTruncated>{}", ONE.replace("<Size>7</Size>", "")),
            format!("<IsTruncated>false</IsTruncated>{}", ONE.replace("2026", "when")),
        ] {
            assert!(of(&broken).is_err(), "{broken}");
        }
        assert!(page("b", b"<html></html>").is_err());
        assert!(page("b", b"").is_err());
    }
}
