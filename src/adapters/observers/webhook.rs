//! Webhooks: Slack, PagerDuty's Events API v2, and signed JSON to any URL.
//!
//! Invariants: a connection goes to an address that was checked ([`Egress`]), and to no other: the name is looked up once per
//! message, and the client is given what was checked (FAULTS.md 92). No redirect is followed, no proxy of the environment is
//! used, and nothing of an answer's body is read. A secret (Slack's URL, a routing key, a signing key) is in the request and
//! nowhere else: not in an error, which names neither URL nor body, and not in a log (S19).
//!
//! Not here: when to try again, and for how long.

use std::{collections::BTreeMap, fmt, io, net::IpAddr, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use reqwest::{
    Client, StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{HeaderMap, RETRY_AFTER},
    redirect::Policy,
};

use crate::{
    domain::{
        channel::{Channel, Via},
        egress::{Egress, Form, Unfit},
        notice::Notice,
        outbox::Sent,
        secret::SecretRef,
    },
    ports::Clock,
};

pub mod payload;
mod secret;

pub use secret::Secrets;

/// The longest that one request takes; who calls has a limit of its own above it.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);

/// Looks a name up.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The system's resolver.
pub fn system_lookup() -> Lookup {
    Arc::new(|host| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// All webhooks of a daemon.
pub struct Webhooks {
    client: Client,
    egress: Egress,
    lookup: Lookup,
    secrets: Secrets,
    clock: Arc<dyn Clock>,
    /// Where this daemon is reached by people.
    server: Option<String>,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").field("egress", &self.egress).finish_non_exhaustive()
    }
}

/// The HTTP client could not be made: TLS has no roots, for example.
#[derive(Debug, thiserror::Error)]
#[error("make the HTTP client of webhooks")]
pub struct ClientError(#[source] reqwest::Error);

tokio::task_local! {
    /// The addresses of the message that the current task sends, checked.
    static ADDRESSES: Vec<SocketAddr>;
}

/// Hands the client what was checked; a lookup outside a message fails.
#[derive(Debug)]
struct Checked;

impl Resolve for Checked {
    fn resolve(&self, _name: Name) -> Resolving {
        let found = ADDRESSES.try_with(Clone::clone);
        Box::pin(async move {
            let addresses: Addrs = Box::new(found.map_err(|e| Box::new(e) as Box<_>)?.into_iter());
            Ok(addresses)
        })
    }
}

/// A request that is ready, but for its address.
struct Ready {
    url: Url,
    body: String,
    headers: Vec<(&'static str, String)>,
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
        let client = Client::builder()
            .user_agent(concat!("failoverd/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .no_proxy()
            // A kept connection would go on to an address that was checked for another message.
            .pool_max_idle_per_host(0)
            .timeout(REQUEST_WITHIN)
            .dns_resolver(Arc::new(Checked))
            .build()
            .map_err(ClientError)?;
        let secrets = Secrets::new(channels.flat_map(references), environment);
        Ok(Self { client, egress, lookup, secrets, clock, server })
    }

    /// Sends `notice` over a channel that is a webhook. What is wrong with this daemon's own side (a secret that cannot be
    /// read, a name that does not resolve) may be mended, and so is tried again; a target that is not allowed is not.
    pub async fn send(&self, channel: &Channel, notice: &Notice) -> Sent {
        let ready = match self.ready(channel, notice).await {
            Ok(ready) => ready,
            Err(sent) => return sent,
        };
        let addresses = match self.addresses(&ready.url).await {
            Ok(addresses) => addresses,
            Err(sent) => return sent,
        };
        let mut request = self.client.post(ready.url).header("content-type", "application/json").body(ready.body);
        for (name, value) in ready.headers {
            request = request.header(name, value);
        }
        match ADDRESSES.scope(addresses, request.send()).await {
            Ok(response) => judge(response.status(), response.headers()),
            Err(error) => failed(chain(&error.without_url())),
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
                return Ok(Ready { url: parsed(url)?, body, headers: headers.into_iter().chain(id).collect() });
            }
            Via::Sns { .. } | Via::EventBridge { .. } => {
                return Err(Sent::Refused { reason: "is no webhook".to_owned() });
            }
        };
        Ok(Ready { url: parsed(&url)?, body: body.to_string(), headers })
    }

    /// Where to connect, each address checked; the port is 0, which stands for the URL's.
    async fn addresses(&self, url: &Url) -> Result<Vec<SocketAddr>, Sent> {
        let refused = |reason: String| Sent::Refused { reason };
        let host = url.host_str().ok_or_else(|| refused(Unfit::NoUrl.to_string()))?;
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let found = match literal {
            Ok(address) => vec![address],
            Err(_) => {
                (self.lookup)(host.to_owned()).await.map_err(|e| failed(format!("its name does not resolve: {e}")))?
            }
        };
        if found.is_empty() {
            return Err(failed("its name has no address".to_owned()));
        }
        self.egress.check_all(found.iter().copied()).map_err(|e| refused(e.to_string()))?;
        if url.scheme() != "https" && !found.iter().all(|address| self.egress.may_be_clear(*address)) {
            return Err(refused(Unfit::InTheClear.to_string()));
        }
        Ok(found.into_iter().map(|address| (address, 0).into()).collect())
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

/// A URL that may be asked, as far as its form tells; what is said against it does not repeat it.
fn parsed(text: &str) -> Result<Url, Sent> {
    let refused = |unfit: Unfit| Sent::Refused { reason: unfit.to_string() };
    let url = Url::parse(text).map_err(|_| refused(Unfit::NoUrl))?;
    let https = match url.scheme() {
        "https" => true,
        "http" => false,
        _ => return Err(refused(Unfit::NoUrl)),
    };
    let has_user = !url.username().is_empty() || url.password().is_some();
    let port = url.port_or_known_default().unwrap_or_default();
    Form { https, has_user, port }.check().map_err(refused)?;
    Ok(url)
}

fn failed(reason: String) -> Sent {
    Sent::Failed { reason, retry_after_seconds: None }
}

/// What a status says: 2xx took it; what passes (408, 425, 429, 5xx) is tried again; a redirect and any other refusal is
/// the channel's last word.
fn judge(status: StatusCode, headers: &HeaderMap) -> Sent {
    let reason = format!("answered {}", status.as_u16());
    match status.as_u16() {
        200..300 => Sent::Delivered,
        300..400 => Sent::Refused { reason: format!("{reason}, a redirect, which is not followed") },
        408 | 425 | 429 | 500.. => {
            let after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            Sent::Failed { reason, retry_after_seconds: after }
        }
        _ => Sent::Refused { reason },
    }
}

/// An error with all that caused it, on one line.
fn chain(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut next = e.source();
    while let Some(e) = next {
        let part = e.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        next = e.source();
    }
    text
}

#[cfg(test)]
mod tests;
