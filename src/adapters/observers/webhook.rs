//! Webhooks: Slack, PagerDuty's Events API v2, and signed JSON to any URL.
//!
//! Invariants: a request goes where [`Outgoing`] lets it, and nowhere else (FAULTS.md 92). A secret (Slack's URL, a routing
//! key, a signing key) is in the request and nowhere else: not in an error, which names neither URL nor body, and not in a
//! log (S19).
//!
//! Not here: when to try again, and for how long.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{
    outgoing::{ClientError, Lookup, Outgoing, Ready, failed, parsed},
    secret::Secrets,
};
use crate::{
    domain::{
        channel::{Channel, Via},
        egress::Egress,
        notice::Notice,
        outbox::Sent,
        secret::SecretRef,
    },
    ports::Clock,
};

pub mod payload;

/// All webhooks of a daemon.
pub struct Webhooks {
    outgoing: Outgoing,
    secrets: Secrets,
    clock: Arc<dyn Clock>,
    /// Where this daemon is reached by people.
    server: Option<String>,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").field("outgoing", &self.outgoing).finish_non_exhaustive()
    }
}

impl Webhooks {
    /// Webhooks that may reach what `egress` says, with the secrets that `environment` has.
    ///
    /// # Errors
    /// When TLS cannot be set up on this machine.
    pub fn new<'a>(
        egress: Egress,
        lookup: Lookup,
        channels: impl Iterator<Item = &'a Channel>,
        environment: &BTreeMap<String, String>,
        clock: Arc<dyn Clock>,
        server: Option<String>,
    ) -> Result<Self, ClientError> {
        let outgoing = Outgoing::new(egress, lookup)?;
        let secrets = Secrets::new(channels.flat_map(references), environment);
        Ok(Self { outgoing, secrets, clock, server })
    }

    /// Sends `notice` over a channel that is a webhook. What is wrong with this daemon's own side (a secret that cannot be
    /// read, a name that does not resolve) may be mended, and so is tried again; a target that is not allowed is not.
    pub async fn send(&self, channel: &Channel, notice: &Notice) -> Sent {
        match self.ready(channel, notice).await {
            Ok(ready) => self.outgoing.post(ready).await,
            Err(sent) => sent,
        }
    }

    async fn ready(&self, channel: &Channel, notice: &Notice) -> Result<Ready, Sent> {
        let link = notice.link(self.server.as_deref());
        let secret = async |reference: &SecretRef| self.secrets.find(reference).await.map_err(failed);
        let (url, body, headers) = match &channel.via {
            Via::Slack { url } => (secret(url).await?, payload::slack(notice, link.as_deref()), Vec::new()),
            Via::PagerDuty { routing_key, url } => {
                let key = secret(routing_key).await?;
                (url.clone(), payload::pagerduty(notice, link.as_deref(), &key), Vec::new())
            }
            Via::Generic { url, key } => {
                let key = secret(key).await?;
                let body = payload::generic(notice, link.as_deref()).to_string();
                let headers = payload::signature(&key, self.clock.wall(), &body);
                let id = [("failoverd-id", notice.id.to_string())];
                return json(url, &body, headers.into_iter().chain(id).collect());
            }
            Via::Sns { .. } | Via::EventBridge { .. } => {
                return Err(Sent::Refused { reason: "is no webhook".to_owned() });
            }
        };
        json(&url, &body.to_string(), headers)
    }
}

/// The secrets that a channel refers to.
fn references(channel: &Channel) -> Vec<&SecretRef> {
    match &channel.via {
        Via::Slack { url } => vec![url],
        Via::PagerDuty { routing_key, .. } => vec![routing_key],
        Via::Generic { key, .. } => vec![key],
        Via::Sns { .. } | Via::EventBridge { .. } => Vec::new(),
    }
}

/// JSON that is ready to be sent to `url`.
fn json(url: &str, body: &str, headers: Vec<(&'static str, String)>) -> Result<Ready, Sent> {
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Ready { url: parsed(url)?, content_type: "application/json", body: body.as_bytes().to_vec(), headers })
}

#[cfg(test)]
mod tests;
