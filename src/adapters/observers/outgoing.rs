//! Requests to where a text of the configuration says: webhooks, a collector of traces.
//!
//! Invariants: a connection goes to an address that was checked ([`Egress`]), and to no other: the name is looked up once per
//! request, and the client is given what was checked (FAULTS.md 92). No redirect is followed, no proxy of the environment is
//! used, and nothing of an answer's body is read. No error names the URL, a header or the body (S19).
//!
//! Not here: what is sent, when to try again, and for how long.

use std::{fmt, io, net::IpAddr, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use reqwest::{
    Client, StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{HeaderMap, HeaderValue, RETRY_AFTER},
    redirect::Policy,
};

use crate::domain::{
    causes::chain,
    egress::{Egress, Form, Unfit},
    outbox::Sent,
};

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

/// The HTTP client could not be made: TLS has no roots, for example.
#[derive(Debug, thiserror::Error)]
#[error("make the HTTP client")]
pub struct ClientError(#[source] reqwest::Error);

tokio::task_local! {
    /// The addresses of the request that the current task sends, checked.
    static ADDRESSES: Vec<SocketAddr>;
}

/// Hands the client what was checked; a lookup outside a request fails.
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

/// See the module.
pub struct Outgoing {
    client: Client,
    egress: Egress,
    lookup: Lookup,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("egress", &self.egress).finish_non_exhaustive()
    }
}

/// A request that is ready, but for its address.
pub(super) struct Ready {
    pub(super) url: Url,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
    pub(super) headers: Vec<(String, String)>,
}

impl Outgoing {
    /// Requests that may reach what `egress` says.
    ///
    /// # Errors
    /// When TLS cannot be set up on this machine.
    pub fn new(egress: Egress, lookup: Lookup) -> Result<Self, ClientError> {
        let client = Client::builder()
            .user_agent(concat!("failoverd/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .no_proxy()
            // A kept connection would go on to an address that was checked for another request.
            .pool_max_idle_per_host(0)
            .timeout(REQUEST_WITHIN)
            .dns_resolver(Arc::new(Checked))
            .build()
            .map_err(ClientError)?;
        Ok(Self { client, egress, lookup })
    }

    /// Sends `ready` once. What is wrong on this daemon's own side (a name that does not resolve) may be mended, and so is
    /// tried again; a target that is not allowed is not.
    pub(super) async fn post(&self, ready: Ready) -> Sent {
        let addresses = match self.addresses(&ready.url).await {
            Ok(addresses) => addresses,
            Err(sent) => return sent,
        };
        let mut request = self.client.post(ready.url).header("content-type", ready.content_type).body(ready.body);
        for (name, value) in ready.headers {
            let Ok(mut value) = HeaderValue::try_from(value) else {
                return failed(format!("the value of the header {name} is none"));
            };
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        match ADDRESSES.scope(addresses, request.send()).await {
            Ok(response) => judge(response.status(), response.headers()),
            Err(error) => failed(chain(&error.without_url())),
        }
    }

    /// Where to connect, each address checked; the port is 0, which stands for the URL's.
    pub(super) async fn addresses(&self, url: &Url) -> Result<Vec<SocketAddr>, Sent> {
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

/// A URL that may be asked, as far as its form tells; what is said against it does not repeat it.
pub(super) fn parsed(text: &str) -> Result<Url, Sent> {
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

pub(super) fn failed(reason: String) -> Sent {
    Sent::Failed { reason, retry_after_seconds: None }
}

/// What a status says: 2xx took it; what passes (408, 425, 429, 5xx) is tried again; a redirect and any other refusal is
/// the channel's last word.
pub(super) fn judge(status: StatusCode, headers: &HeaderMap) -> Sent {
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
