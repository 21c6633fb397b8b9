//! `salvage.objects`: the objects of the old Region's bucket that are not replicated.
//!
//! Invariant: every list is bounded, and one that was cut says so; what S3 does not answer is asked again, never counted as
//! replicated. Current versions only: deletions and older versions are not looked at.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::json;

use crate::{
    domain::{
        cloud::ObserveError,
        id::Region,
        run::RunState,
        salvage::{HEADS_MAX, KEYS_TOLD_MAX, LISTED_PAGES_MAX, Listed, PAGE_KEYS_MAX, Replication},
    },
    engine::{context::Context, look::Look},
};

/// The longest key that is told whole.
const KEY_CHARS_MAX: usize = 200;

#[derive(Debug, Default)]
struct Found {
    listed: usize,
    older: usize,
    looked_at: usize,
    pending: usize,
    failed: usize,
    not_covered: usize,
    bytes: u64,
    keys: Vec<String>,
    cut: bool,
}

impl Found {
    fn take(&mut self, object: &Listed, replication: Replication) {
        match replication {
            Replication::Pending => self.pending += 1,
            Replication::Failed => self.failed += 1,
            Replication::NotCovered => {
                self.not_covered += 1;
                return;
            }
            Replication::Completed | Replication::Replica => return,
        }
        self.bytes = self.bytes.saturating_add(object.bytes);
        if self.keys.len() < KEYS_TOLD_MAX {
            // One line each, whatever the key holds.
            let key = object.key.chars().map(|c| if c.is_control() { '?' } else { c });
            self.keys.push(key.take(KEY_CHARS_MAX).collect());
        }
    }

    fn told(self, bucket: &str, since: Timestamp, now: Timestamp) -> Look {
        let mut evidence = vec![format!(
            "{bucket} at {now:.0}: {} pending and {} failed, {} bytes, of {} objects changed since {since:.0} that S3 was \
             asked about; {} listed, {} older and not asked about, {} under no rule",
            self.pending, self.failed, self.bytes, self.looked_at, self.listed, self.older, self.not_covered
        )];
        if self.cut {
            evidence.push(format!(
                "CUT: there are more than {} listed keys or {HEADS_MAX} objects to ask about; S3 Inventory tells of all",
                LISTED_PAGES_MAX * PAGE_KEYS_MAX
            ));
        }
        let outputs = BTreeMap::from(
            [
                ("pending", json!(self.pending)),
                ("failed", json!(self.failed)),
                ("bytes", json!(self.bytes)),
                ("looked_at", json!(self.looked_at)),
                ("listed", json!(self.listed)),
                ("cut", json!(self.cut)),
                ("keys", json!(self.keys.join("\n"))),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        Look::Satisfied { evidence, outputs }
    }
}

pub(super) async fn look(
    context: &Context,
    failover: &RunState,
    (region, bucket): (&Region, &str),
    before: Duration,
) -> Look {
    let evidence_at = failover.evidence_since.unwrap_or(failover.started_at);
    let since = evidence_at.checked_sub(before).unwrap_or(evidence_at);
    let mut found = Found::default();
    let mut next: Option<String> = None;
    for _ in 0..LISTED_PAGES_MAX {
        if context.stopping.is_cancelled() {
            return super::not_yet("the daemon is stopping".to_owned());
        }
        let page = match context.cloud.objects(region, bucket, next.as_deref()).await {
            Ok(page) => page,
            Err(error) => return super::unread("s3:ListBucket", region, &error),
        };
        for object in &page.objects {
            found.listed += 1;
            if object.changed_at < since {
                found.older += 1;
                continue;
            }
            if HEADS_MAX <= found.looked_at {
                found.cut = true;
                continue;
            }
            found.looked_at += 1;
            match context.cloud.replication_of(region, bucket, &object.key).await {
                Ok(replication) => found.take(object, replication),
                // Deleted since it was listed.
                Err(ObserveError::NotFound { .. }) => {}
                Err(error) => return super::unread("s3:GetObject", region, &error),
            }
        }
        next = page.next;
        if next.is_none() || found.cut {
            break;
        }
    }
    found.cut |= next.is_some();
    found.told(bucket, since, context.clock.wall())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_replicated_is_counted_and_the_first_keys_are_named_on_one_line_each() {
        let mut found = Found::default();
        for n in 0..30 {
            let object = Listed { key: format!("audit/{n}\nx"), bytes: 10, changed_at: Timestamp::UNIX_EPOCH };
            let of = [Replication::Pending, Replication::Failed, Replication::Completed, Replication::NotCovered];
            of.into_iter().for_each(|replication| found.take(&object, replication));
        }
        assert_eq!((found.pending, found.failed, found.bytes, found.not_covered), (30, 30, 600, 30));
        assert_eq!((found.keys.len(), found.keys[0].as_str()), (KEYS_TOLD_MAX, "audit/0?x"));
        found.cut = true;
        let Look::Satisfied { evidence, outputs } = found.told("b", Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH)
        else {
            panic!("it is told")
        };
        assert!(evidence[1].starts_with("CUT"), "{evidence:?}");
        assert_eq!(outputs["keys"].as_str().expect("text").lines().count(), KEYS_TOLD_MAX);
    }
}
