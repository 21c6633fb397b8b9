//! Records of hosted zones: Route 53's control plane.
//!
//! Alias targets and the routing policies that we do not change (latency, geolocation, multivalue, CIDR) are not
//! read: such a record set shows without them, and AWS refuses it when it is sent back so.

use aws_config::retry::RetryConfig;
use aws_sdk_route53::{
    self as sdk,
    types::{Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, ResourceRecordSetFailover, RrType},
};
use aws_types::request_id::RequestId as _;

use super::{AwsCloud, Call, PAGES_MAX, error::Failure, too_many_pages};
use crate::domain::{
    cloud::{ObserveError, Outcome, RecordSet},
    id::Region,
};

impl AwsCloud {
    pub(super) async fn list_record_sets(
        &self,
        hosted_zone_id: &str,
        name: &str,
        record_type: &str,
    ) -> Result<Vec<RecordSet>, ObserveError> {
        let region = &self.options.route53_region;
        let call = route53("ListResourceRecordSets", region);
        let what = format!("hosted zone `{}`", bare(hosted_zone_id));
        let read = async {
            let mut found = Vec::new();
            let mut identifier = None;
            for _ in 0..PAGES_MAX {
                let departure = self.departure();
                let result = self
                    .clients
                    .route53(region)
                    .list_resource_record_sets()
                    .hosted_zone_id(bare(hosted_zone_id))
                    .start_record_name(name)
                    .start_record_type(RrType::from(record_type))
                    .set_start_record_identifier(identifier)
                    .customize()
                    .interceptor(departure.clone())
                    .send()
                    .await;
                let page = self.ended(call, &departure, result).map_err(|f| f.into_observe_error(&what))?;
                // The listing begins at the name and type, and goes on to others after them.
                let wanted = |n: &str, t: &str| same_name(n, name) && t == record_type;
                for set in page.resource_record_sets() {
                    if wanted(set.name(), set.r#type().as_str()) {
                        found.push(record_set(name, set)?);
                    }
                }
                let continues = page.is_truncated()
                    && page.next_record_name().zip(page.next_record_type()).is_some_and(|(n, t)| wanted(n, t.as_str()));
                identifier = page.next_record_identifier().map(str::to_owned);
                if !continues || identifier.is_none() {
                    return Ok(found);
                }
            }
            Err(too_many_pages(&what))
        };
        self.within(call, read).await
    }

    pub(super) async fn get_change(&self, change_id: &str) -> Result<bool, ObserveError> {
        let region = &self.options.route53_region;
        let call = route53("GetChange", region);
        let what = format!("change `{}`", bare(change_id));
        let read = async {
            let departure = self.departure();
            let result = self
                .clients
                .route53(region)
                .get_change()
                .id(bare(change_id))
                .customize()
                .interceptor(departure.clone())
                .send()
                .await;
            let output = self.ended(call, &departure, result).map_err(|f| f.into_observe_error(&what))?;
            // A status that we do not know is still on its way (FAULTS.md 37).
            Ok(output.change_info().is_some_and(|change| change.status().as_str() == "INSYNC"))
        };
        self.within(call, read).await
    }

    pub(super) async fn upsert_records(&self, hosted_zone_id: &str, records: &[RecordSet], comment: &str) -> Outcome {
        let batch = match batch(records, comment) {
            Ok(batch) => batch,
            Err(reason) => return Failure::NotSent { reason }.into_outcome(),
        };
        let region = &self.options.route53_region;
        let departure = self.departure();
        let result = self
            .clients
            .route53(region)
            .change_resource_record_sets()
            .hosted_zone_id(bare(hosted_zone_id))
            .change_batch(batch)
            .customize()
            .interceptor(departure.clone())
            .config_override(sdk::Config::builder().retry_config(RetryConfig::disabled()))
            .send()
            .await;
        let call = route53("ChangeResourceRecordSets", region);
        match self.ended(call, &departure, result) {
            Ok(output) => Outcome::Accepted {
                request_id: output.request_id().map(str::to_owned),
                handle: output.change_info().map(|c| bare(c.id()).to_owned()),
            },
            Err(failure) => failure.into_outcome(),
        }
    }
}

fn route53<'a>(operation: &'static str, region: &'a Region) -> Call<'a> {
    Call { service: "route53", operation, region }
}

/// `/hostedzone/Z1` and `/change/C1` without what is before the id.
fn bare(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

/// Whether two names are one: case, the final dot and the octal form of `*` make no difference.
fn same_name(a: &str, b: &str) -> bool {
    fn plain(name: &str) -> String {
        let name = name.strip_suffix('.').unwrap_or(name);
        name.replace("\\052", "*").to_ascii_lowercase()
    }
    plain(a) == plain(b)
}

/// `name` as it was asked for, so that what is read and what is wanted compare.
fn record_set(name: &str, sdk: &ResourceRecordSet) -> Result<RecordSet, ObserveError> {
    let out_of_range = |field: &str, value: i64| ObserveError::Malformed {
        reason: format!("record set `{name}` has a {field} of {value}"),
    };
    let ttl_seconds = sdk.ttl().map(|ttl| u32::try_from(ttl).map_err(|_| out_of_range("TTL", ttl))).transpose()?;
    let weight = sdk.weight().map(|w| u8::try_from(w).map_err(|_| out_of_range("weight", w))).transpose()?;
    Ok(RecordSet {
        name: name.to_owned(),
        record_type: sdk.r#type().as_str().to_owned(),
        ttl_seconds,
        values: sdk.resource_records().iter().map(|r| r.value().to_owned()).collect(),
        set_identifier: sdk.set_identifier().map(str::to_owned),
        failover: sdk.failover().map(|f| f.as_str().to_owned()),
        weight,
        health_check_id: sdk.health_check_id().map(str::to_owned),
    })
}

fn batch(records: &[RecordSet], comment: &str) -> Result<ChangeBatch, String> {
    let mut batch = ChangeBatch::builder().comment(comment);
    for record in records {
        batch = batch.changes(change(record).map_err(|e| format!("`{}`: {e}", record.name))?);
    }
    batch.build().map_err(|e| e.to_string())
}

fn change(record: &RecordSet) -> Result<Change, aws_smithy_types::error::operation::BuildError> {
    let mut set = ResourceRecordSet::builder()
        .name(&record.name)
        .r#type(RrType::from(record.record_type.as_str()))
        .set_ttl(record.ttl_seconds.map(i64::from))
        .set_set_identifier(record.set_identifier.clone())
        .set_failover(record.failover.as_deref().map(ResourceRecordSetFailover::from))
        .set_weight(record.weight.map(i64::from))
        .set_health_check_id(record.health_check_id.clone());
    for value in &record.values {
        set = set.resource_records(ResourceRecord::builder().value(value).build()?);
    }
    Change::builder().action(ChangeAction::Upsert).resource_record_set(set.build()?).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_dns_does() {
        assert!(same_name("App.Example.com.", "app.example.com"));
        assert!(same_name("\\052.example.com.", "*.example.com"));
        assert!(!same_name("app.example.com", "b.app.example.com"));
    }

    #[test]
    fn ids_lose_their_prefixes() {
        assert_eq!(bare("/hostedzone/Z1"), "Z1");
        assert_eq!(bare("/change/C2"), "C2");
        assert_eq!(bare("C2"), "C2");
    }
}
