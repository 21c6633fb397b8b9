//! What has happened, and what the account may have, over the Query protocol.

use winterbaume_core::MockResponse;
use winterbaume_rds::{model, wire};

use super::{Params, fault, malformed, page};
use crate::{
    domain::id::Region,
    sim::world::{
        ApiFault, SimTime, World,
        aurora::{AccountQuota, Event},
        rfc3339,
    },
};

/// The account's quotas, those of them that the world counts.
pub(super) fn describe_account(world: &World, region: &Region) -> MockResponse {
    let quota = |q: AccountQuota| model::AccountQuota {
        account_quota_name: Some(q.name.to_owned()),
        used: Some(q.used),
        max: Some(q.max),
    };
    let items = world.aurora.account_quotas(region, world.now).into_iter().map(quota).collect();
    wire::serialize_describe_account_attributes_response(&model::AccountAttributesMessage {
        account_quotas: Some(model::AccountQuotaList { items }),
    })
}

/// How long events are kept: 14 days [AUG].
const EVENTS_KEPT_MS: u64 = 14 * 24 * 60 * 60 * 1_000;

pub(super) fn describe_events(world: &World, region: &Region, params: &Params) -> Result<MockResponse, ApiFault> {
    let request = wire::deserialize_describe_events_request(params).map_err(malformed)?;
    if request.source_identifier.is_some() && request.source_type.is_none() {
        let message = "Cannot specify source identifier without source type.".to_owned();
        return Err(fault("InvalidParameterCombination", message));
    }
    let (from, to) = event_window(&request, world.now)?;
    let categories = request.event_categories.as_ref().map(|list| &list.items);
    let matches = |event: &&Event| {
        (from..=to).contains(&event.at)
            && request.source_type.as_deref().is_none_or(|kind| kind == event.source_type.as_str())
            && request.source_identifier.as_deref().is_none_or(|id| id == event.source_id)
            && categories.is_none_or(|list| list.iter().any(|c| c == event.category))
    };
    let found: Vec<&Event> = world.aurora.events(region).filter(matches).collect();
    let (found, marker) = page(found, request.marker.as_deref(), request.max_records)?;
    let items = found.into_iter().map(|event| model::Event {
        date: Some(rfc3339(event.at)),
        event_categories: Some(model::EventCategoriesList { items: vec![event.category.to_owned()] }),
        message: Some(event.message.clone()),
        source_arn: Some(event.source_arn.clone()),
        source_identifier: Some(event.source_id.clone()),
        source_type: Some(event.source_type.as_str().to_owned()),
    });
    Ok(wire::serialize_describe_events_response(&model::EventsMessage {
        events: Some(model::EventList { items: items.collect() }),
        marker,
    }))
}

/// The interval asked for: StartTime and EndTime, or the last Duration minutes (60 where nothing is said).
fn event_window(request: &model::DescribeEventsMessage, now: SimTime) -> Result<(SimTime, SimTime), ApiFault> {
    let instant = |text: &str| {
        text.parse::<jiff::Timestamp>()
            .ok()
            .and_then(|at| u64::try_from(at.as_millisecond()).ok())
            .map(SimTime)
            .ok_or_else(|| malformed(format!("Invalid time {text}.")))
    };
    let start = request.start_time.as_deref().map(instant).transpose()?;
    let end = request.end_time.as_deref().map(instant).transpose()?;
    let end = end.unwrap_or(now);
    let minutes = match request.duration.unwrap_or(60) {
        minutes @ 0.. => u64::from(minutes.unsigned_abs()),
        other => return Err(malformed(format!("Invalid value {other} for Duration."))),
    };
    let start = start.unwrap_or(SimTime(end.0.saturating_sub(minutes * 60_000)));
    let oldest = SimTime(now.0.saturating_sub(EVENTS_KEPT_MS));
    Ok((start.max(oldest), end))
}
