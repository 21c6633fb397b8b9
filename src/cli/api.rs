//! The daemon's HTTP interface, as a client.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{EXIT_FAILED, EXIT_HELD, EXIT_REFUSED, EXIT_USAGE, Options};
use crate::domain::causes::deepest;

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the daemon may be silent; streams have a heartbeat every 10 s.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a verb did not do what it says.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("{url} does not answer: {why}")]
    Unreachable { url: String, why: String },
    /// The daemon's own problem document.
    #[error("{}", .0.get("detail").and_then(Value::as_str).unwrap_or("the daemon refused"))]
    Problem(Value),
    #[error("the daemon's answer makes no sense: {0}")]
    Answer(String),
}

impl Failure {
    /// The problem's code, if the daemon gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => problem.get("code").and_then(Value::as_str),
            Self::Usage(_) | Self::Unreachable { .. } | Self::Answer(_) => None,
        }
    }

    /// See [`super`].
    pub fn exit_code(&self) -> u8 {
        match (self, self.code()) {
            (Self::Usage(_), _) => EXIT_USAGE,
            (_, Some("gate-refused" | "arming-refused" | "unreconciled" | "nothing-to-salvage")) => EXIT_REFUSED,
            (_, Some("application-held")) => EXIT_HELD,
            (_, Some("invalid-request" | "bad-json")) => EXIT_USAGE,
            _ => EXIT_FAILED,
        }
    }

    /// For `--json`.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Problem(problem) => problem.clone(),
            other => json!({ "code": "client", "detail": other.to_string() }),
        }
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer(Vec<u8>);

impl Answer {
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.0).map_err(|e| Failure::Answer(e.to_string()))
    }
}

/// A client of one daemon.
#[derive(Debug)]
pub struct Api {
    url: String,
    token: Option<header::HeaderValue>,
    client: reqwest::Client,
}

impl Api {
    pub fn new(options: &Options) -> Result<Self, Failure> {
        let client = options
            .credentials
            .tls(reqwest::Client::builder())?
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("failoverd/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Failure::Usage(deepest(&e)))?;
        let token = options.credentials.token()?;
        let token = token
            .map(|t| {
                let value = header::HeaderValue::from_str(&format!("Bearer {}", t.reveal()));
                value.map(|mut v| {
                    v.set_sensitive(true);
                    v
                })
            })
            .transpose()
            .map_err(|_| Failure::Usage("FAILOVERD_TOKEN is not a token".to_owned()))?;
        let url = options.url.trim_end_matches('/').to_owned();
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Failure::Usage(format!(
                "FAILOVERD_URL: expected a URL such as http://127.0.0.1:8080, got `{url}`"
            )));
        }
        Ok(Self { url, token, client })
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let request = self.request(Method::GET, path);
        self.whole(request).await?.json()
    }

    /// An answer that is text for people or files, as it is.
    pub async fn text(&self, path: &str) -> Result<String, Failure> {
        let request = self.request(Method::GET, path);
        let Answer(bytes) = self.whole(request).await?;
        String::from_utf8(bytes).map_err(|e| Failure::Answer(e.to_string()))
    }

    pub async fn post(&self, path: &str, body: &Value, idempotency_key: Option<&str>) -> Result<Answer, Failure> {
        let mut request = self.request(Method::POST, path).json(body);
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        self.whole(request).await
    }

    /// A run's event stream from after `seen`; `None` when nothing follows.
    pub async fn events(&self, run: &str, seen: Option<u64>) -> Result<Option<Response>, Failure> {
        let path = format!("/runs/{}/events", super::enc(run));
        let mut request = self.request(Method::GET, &path);
        if let Some(seen) = seen {
            request = request.header("last-event-id", seen.to_string());
        }
        let response = self.send(request).await?;
        Ok((response.status() != StatusCode::NO_CONTENT).then_some(response))
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, token.clone()),
            None => request,
        }
    }

    async fn whole(&self, request: reqwest::RequestBuilder) -> Result<Answer, Failure> {
        let response = self.send(request).await?;
        Ok(Answer(self.body(response).await?))
    }

    /// The whole body, up to [`ANSWER_BYTES_MAX`].
    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.unreachable(&e))? {
            if ANSWER_BYTES_MAX < body.len() + chunk.len() {
                return Err(Failure::Answer(format!("an answer of more than {ANSWER_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = self.body(response).await?;
        match serde_json::from_slice::<Value>(&body) {
            Ok(problem) if problem.get("code").is_some() => Err(Failure::Problem(problem)),
            _ => Err(Failure::Answer(format!("status {status}, no problem document"))),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        Failure::Unreachable { url: self.url.clone(), why: deepest(error) }
    }
}

/// The longest answer that is read (FAULTS.md 57): a hundred times the longest honest one.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// FAULTS.md 57.
    #[tokio::test]
    async fn an_answer_without_an_end_is_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a caller");
            let mut request = [0; 4096];
            let _asked = stream.read(&mut request).await;
            let _begun = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n").await;
            let noise = vec![b' '; 1 << 20];
            while stream.write_all(&noise).await.is_ok() {}
        });
        let api =
            Api::new(&Options { url, credentials: Default::default(), json: false, offline: false }).expect("a client");
        let failure = api.get::<Value>("/applications").await.expect_err("it never ends");
        assert!(matches!(&failure, Failure::Answer(why) if why.contains("more than")), "{failure}");
    }
}
