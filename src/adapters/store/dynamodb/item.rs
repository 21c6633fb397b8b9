//! The items of the table, and what is read from them.
//!
//! | item | `pk` | `sk` | else |
//! |---|---|---|---|
//! | record | `J#APPLICATION` | its number, 20 digits | `bytes`, `hash`, `nonce` |
//! | lease | `L#APPLICATION` | `lease` | `version`, `lease` (JSON) |
//! | what was told | `O#APPLICATION` | `outbox` | `version`, `text` (JSON) |
//! | name of a journal | `journals` | the application | |
//! | identity of the table | `table` | a Region | `table_id`, `layout` |
//!
//! Invariant: an item that is not as it is written here is a fault, never skipped. The layout is persisted: what is
//! added is ignored by older programs, and anything else is another `layout`.

use std::collections::HashMap;

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};

use crate::domain::{
    id::{ApplicationName, Digest},
    journal::Sealed,
    lease::Lease,
};
use crate::ports::outboxes::Page;

/// The layout that this program reads and writes.
pub(super) const LAYOUT: u32 = 1;

/// The partitions that are not an application's.
pub(super) const JOURNALS: &str = "journals";
pub(super) const TABLE: &str = "table";

/// In place of a table's id: a mark that counts no more.
pub(super) const VOID: &str = "-";

/// The sort key of a lease: it is alone in its partition, so that its traffic is no journal's.
const LEASE: &str = "lease";

/// The sort key of what people were told, as of a lease.
const OUTBOX: &str = "outbox";

/// `u64::MAX` has so many digits, so that the order of the text is that of the numbers.
const SEQ_DIGITS: usize = 20;

/// As the SDK has items; nothing is ever done in its order.
pub(super) type Item = HashMap<String, AttributeValue>;

pub(super) fn journal_pk(journal: &ApplicationName) -> String {
    format!("J#{journal}")
}

pub(super) fn record_sk(seq: u64) -> String {
    format!("{seq:0width$}", width = SEQ_DIGITS)
}

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(super) fn key(pk: impl Into<String>, sk: impl Into<String>) -> Item {
    [("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))].into()
}

pub(super) fn record_key(journal: &ApplicationName, seq: u64) -> Item {
    key(journal_pk(journal), record_sk(seq))
}

pub(super) fn lease_key(application: &ApplicationName) -> Item {
    key(format!("L#{application}"), LEASE)
}

/// A record, with a mark by which this very put is told from any other of the same bytes.
pub(super) fn record(sealed: &Sealed, nonce: &str) -> Item {
    let mut item = record_key(&sealed.record.journal, sealed.record.seq);
    item.insert("bytes".to_owned(), AttributeValue::B(Blob::new(sealed.bytes.clone())));
    item.insert("hash".to_owned(), text(sealed.hash.as_str()));
    item.insert("nonce".to_owned(), text(nonce));
    item
}

pub(super) fn name(journal: &ApplicationName) -> Item {
    key(JOURNALS, journal.as_str())
}

pub(super) fn lease(application: &ApplicationName, lease: &Lease) -> Item {
    let mut item = lease_key(application);
    let json = serde_json::to_string(lease).unwrap_or_else(|e| unreachable!("leases serialise: {e}"));
    item.insert("version".to_owned(), AttributeValue::N(lease.version.to_string()));
    item.insert("lease".to_owned(), text(json));
    item
}

pub(super) fn outbox_key(application: &ApplicationName) -> Item {
    key(format!("O#{application}"), OUTBOX)
}

pub(super) fn outbox(application: &ApplicationName, page: &Page) -> Item {
    let mut item = outbox_key(application);
    item.insert("version".to_owned(), AttributeValue::N(page.version.to_string()));
    item.insert("text".to_owned(), text(&page.text));
    item
}

pub(super) fn outbox_of(item: &Item) -> Result<Page, Fault> {
    let version = match item.get("version") {
        Some(AttributeValue::N(version)) => version.parse().map_err(|e| format!("`version` of an outbox: {e}"))?,
        _ => return Err("an outbox has no `version`".to_owned()),
    };
    Ok(Page { version, text: text_of(item, "text")?.to_owned() })
}

pub(super) fn identity(region: &str, table_id: &str) -> Item {
    let mut item = key(TABLE, region);
    item.insert("table_id".to_owned(), text(table_id));
    item.insert("layout".to_owned(), AttributeValue::N(LAYOUT.to_string()));
    item
}

/// What of an item is not as it should be.
pub(super) type Fault = String;

pub(super) fn text_of<'a>(item: &'a Item, name: &str) -> Result<&'a str, Fault> {
    match item.get(name) {
        Some(AttributeValue::S(text)) => Ok(text),
        Some(_) => Err(format!("`{name}` of an item is not text")),
        None => Err(format!("an item has no `{name}`")),
    }
}

/// The bytes and hash of the record `seq`, if `item` is that.
pub(super) fn record_of(item: &Item, seq: u64) -> Result<(Vec<u8>, Digest), Fault> {
    let sk = text_of(item, "sk")?;
    if sk != record_sk(seq) {
        return Err(match sk.parse::<u64>() {
            Ok(found) if sk == record_sk(found) => format!("record {found} stands where {seq} should"),
            _ => format!("an item with the key `{}` stands among the records", crate::domain::document::clip(sk)),
        });
    }
    let bytes = match item.get("bytes") {
        Some(AttributeValue::B(bytes)) => bytes.as_ref().to_vec(),
        _ => return Err(format!("record {seq} has no `bytes`")),
    };
    Ok((bytes, hash_of(item, seq)?))
}

pub(super) fn hash_of(item: &Item, seq: u64) -> Result<Digest, Fault> {
    text_of(item, "hash")
        .and_then(|hash| hash.parse().map_err(|e| format!("{e}")))
        .map_err(|e| format!("record {seq}: {e}"))
}

pub(super) fn lease_of(item: &Item) -> Result<Lease, Fault> {
    let lease: Lease = serde_json::from_str(text_of(item, "lease")?).map_err(|e| format!("the lease: {e}"))?;
    match item.get("version") {
        Some(AttributeValue::N(version)) if version.parse() == Ok(lease.version) => Ok(lease),
        _ => Err("the lease has another version than its item".to_owned()),
    }
}

/// What `identity` has written: the table's id, and the layout.
pub(super) fn identity_of(item: &Item) -> Result<(&str, u32), Fault> {
    let layout = match item.get("layout") {
        Some(AttributeValue::N(layout)) => layout.parse().map_err(|e| format!("`layout` of the table: {e}"))?,
        _ => return Err("the table's identity has no `layout`".to_owned()),
    };
    Ok((text_of(item, "table_id")?, layout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_records_are_in_the_order_of_their_numbers() {
        let seqs = [0, 1, 9, 10, 99, 100, u64::MAX - 1, u64::MAX];
        assert!(seqs.windows(2).all(|pair| record_sk(pair[0]) < record_sk(pair[1])));
        assert!(seqs.iter().all(|seq| record_sk(*seq).len() == SEQ_DIGITS));
    }

    #[test]
    fn a_lease_whose_version_is_not_its_items_is_no_lease() {
        let application: ApplicationName = "payments".parse().expect("valid");
        let held = Lease {
            version: 7,
            holder: "a".to_owned(),
            url: None,
            region: None,
            epoch: Some(3),
            records: 9,
            since: jiff::Timestamp::UNIX_EPOCH,
            duration_ms: 15_000,
            released: false,
        };
        let mut item = lease(&application, &held);
        assert_eq!(lease_of(&item), Ok(held));
        item.insert("version".to_owned(), AttributeValue::N("8".to_owned()));
        assert!(lease_of(&item).is_err());
    }
}
