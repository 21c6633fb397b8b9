//! How people are told, put together: topics and buses over the cloud port, webhooks over HTTP.

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;

use crate::{
    adapters::observers::{
        outgoing::system_lookup,
        webhook::{Webhooks, payload},
    },
    config::Settings,
    domain::{
        api_call::{ApiCall, JsonVersion, Wire},
        channel::{Channel, Via},
        cloud::{Mutation, Outcome},
        id::Region,
        notice::{Notice, line},
        outbox::Sent,
    },
    engine::outbox::Post,
    ports::{Clock, Cloud, Messenger, Observer, Outboxes},
};

/// The longest subject that SNS takes [AWS.md: Publish].
const SUBJECT_CHARS_MAX: usize = 100;

/// The source of events on EventBridge.
pub const SOURCE: &str = "failoverd";

/// Every kind of channel.
#[derive(Debug)]
struct Channels {
    cloud: Arc<dyn Cloud>,
    webhooks: Webhooks,
    clock: Arc<dyn Clock>,
    server: Option<String>,
}

/// How people are told of what `settings` describe; not at all without `outboxes`.
///
/// # Errors
/// When TLS cannot be set up on this machine.
pub(super) fn open(
    settings: &Settings,
    outboxes: Option<Arc<dyn Outboxes>>,
    cloud: &Arc<dyn Cloud>,
    clock: &Arc<dyn Clock>,
    observer: &Arc<dyn Observer>,
) -> anyhow::Result<Option<Post>> {
    let Some(outboxes) = outboxes else { return Ok(None) };
    let (notify, server, clock) = (&settings.notify, settings.public_url(), Arc::clone(clock));
    let (configured, egress) = (notify.channels.configured.iter(), settings.egress.clone());
    let environment = super::environment();
    let webhooks = Webhooks::new(egress, system_lookup(), configured, &environment, Arc::clone(&clock), server.clone());
    let webhooks = webhooks.context("set up webhooks")?;
    let messenger = Arc::new(Channels { cloud: Arc::clone(cloud), webhooks, clock, server });
    let names = settings.applications.iter().map(|app| &app.name);
    let draw = Arc::new(|| uuid::Uuid::now_v7().as_u128());
    Ok(Some(Post::new(notify.channels.clone(), names, (outboxes, messenger), Arc::clone(observer), draw)))
}

/// The message to a topic.
pub fn publish(region: &Region, arn: &str, notice: &Notice, server: Option<&str>) -> Mutation {
    // SNS takes subjects of ASCII only, which must begin with a letter or a number.
    let subject: String = notice.headline.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
    Mutation::Publish {
        region: region.clone(),
        topic_arn: arn.to_owned(),
        subject: line(&subject, SUBJECT_CHARS_MAX).replace('…', "."),
        message: notice.text(server),
    }
}

/// The event on a bus. `handle` is there where the bus took it.
pub fn put_events(region: &Region, bus: &str, notice: &Notice, server: Option<&str>) -> Mutation {
    let detail = payload::generic(notice, notice.link(server).as_deref());
    let request = ApiCall {
        operation: "events:PutEvents".to_owned(),
        region: region.clone(),
        wire: Wire::Json { target: "AWSEvents".to_owned(), version: JsonVersion::V1_1 },
        arguments: serde_json::json!({ "Entries": [{
            "Source": SOURCE,
            "DetailType": notice.kind.as_str(),
            "Detail": detail.to_string(),
            "EventBusName": bus,
        }] }),
        role_arn: None,
        handle: Some("/Entries/0/EventId".to_owned()),
    };
    Mutation::AwsCall { request: Box::new(request), idempotent: true }
}

/// What an answer of AWS is to a sender. What was refused for what the message or the configuration is, is not tried again;
/// what a person can mend meanwhile (permissions, a throttle) is.
fn sent(outcome: Outcome, needs_handle: bool) -> Sent {
    /// What no repetition mends.
    const LAST_WORDS: [&str; 4] =
        ["InvalidParameter", "InvalidParameterValue", "ValidationException", "ValidationError"];
    let failed = |reason: String| Sent::Failed { reason, retry_after_seconds: None };
    match outcome {
        Outcome::Accepted { handle: None, .. } if needs_handle => failed("the bus did not take the event".to_owned()),
        Outcome::Accepted { .. } => Sent::Delivered,
        Outcome::Rejected { code, message, .. } if LAST_WORDS.contains(&code.as_str()) => {
            Sent::Refused { reason: format!("{code}: {message}") }
        }
        Outcome::Rejected { code, message, .. } => failed(format!("{code}: {message}")),
        Outcome::NotSent { reason } | Outcome::Unknown { reason } => failed(reason),
    }
}

#[async_trait]
impl Messenger for Channels {
    async fn send(&self, channel: &Channel, notice: &Notice) -> Sent {
        let (server, now) = (self.server.as_deref(), self.clock.wall());
        match &channel.via {
            Via::Sns { region, arn } => sent(self.cloud.apply(&publish(region, arn, notice, server), now).await, false),
            Via::EventBridge { region, bus } => {
                sent(self.cloud.apply(&put_events(region, bus, notice, server), now).await, true)
            }
            Via::Slack { .. } | Via::PagerDuty { .. } | Via::Generic { .. } => {
                self.webhooks.send(channel, notice).await
            }
        }
    }
}

#[cfg(test)]
mod tests;
