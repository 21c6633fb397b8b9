//! RDS events: what RDS says has happened to a cluster, in the cluster's own Region.
//!
//! The API gives no event id (AWS.md 1.5), so what an event is stands in its categories and its text, both kept as AWS
//! wrote them. An event without a time is left out: it could be of any age.

use std::time::Duration;

use aws_sdk_rds::types::{Event, SourceType};
use jiff::SignedDuration;

use super::{
    AwsCloud, Call, PAGES_MAX,
    time::{from_sdk, to_sdk},
    too_many_pages,
};
use crate::domain::{
    cloud::{CloudEvent, EventSource, ObserveError},
    id::Region,
};

impl AwsCloud {
    pub(super) async fn describe_events(
        &self,
        region: &Region,
        source: &EventSource,
        window: Duration,
    ) -> Result<Vec<CloudEvent>, ObserveError> {
        let call = Call { service: "rds", operation: "DescribeEvents", region };
        let (kind, identifier) = match source {
            EventSource::DbCluster { identifier } => (SourceType::DbCluster, identifier),
            EventSource::DbInstance { identifier } => (SourceType::DbInstance, identifier),
        };
        let now = self.clock.wall();
        let start = SignedDuration::try_from(window).ok().and_then(|w| now.checked_sub(w).ok()).unwrap_or(now);
        let read = async {
            let mut events = Vec::new();
            let mut marker = None;
            for _ in 0..PAGES_MAX {
                let departure = self.departure();
                let result = self
                    .clients
                    .rds(region)
                    .describe_events()
                    .source_type(kind.clone())
                    .source_identifier(identifier)
                    .start_time(to_sdk(start))
                    .end_time(to_sdk(now))
                    .set_marker(marker)
                    .customize()
                    .interceptor(departure.clone())
                    .send()
                    .await;
                let page = self.ended(call, &departure, result).map_err(|f| f.into_observe_error("RDS events"))?;
                // By a clock that is off an event would have a wrong age (FAULTS.md 11).
                if let Some(reason) = self.skew.refusal(region) {
                    return Err(ObserveError::ClockSkew { reason });
                }
                events.extend(page.events().iter().filter_map(event));
                marker = page.marker().filter(|m| !m.is_empty()).map(str::to_owned);
                if marker.is_none() {
                    events.sort_by_key(|e| e.at);
                    return Ok(events);
                }
            }
            Err(too_many_pages("RDS events"))
        };
        self.within(call, read).await
    }
}

fn event(sdk: &Event) -> Option<CloudEvent> {
    Some(CloudEvent {
        at: sdk.date().and_then(from_sdk)?,
        categories: sdk.event_categories().to_vec(),
        message: sdk.message().unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::DateTime;

    use super::*;

    #[test]
    fn an_event_keeps_its_words_and_one_without_a_time_is_none() {
        let told = Event::builder().message("Global failover failed").event_categories("global failover");
        assert_eq!(event(&told.clone().build()), None);
        let dated = event(&told.date(DateTime::from_secs(60)).build()).expect("dated");
        assert_eq!((dated.at.as_second(), dated.categories), (60, vec!["global failover".to_owned()]));
    }
}
