//! Stands between the daemon and the emulator: forwards every call, and remembers what it was and how it ended.
//!
//! It can lose one answer after the call took effect, which no emulator does by itself.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// Longer than the daemon waits for one attempt.
const LOST_FOR: Duration = Duration::from_secs(8);
const BODY_BYTES_MAX: usize = 4 << 20;

/// One call that the emulator answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) operation: String,
    /// The Region that it was signed for.
    pub(super) region: String,
    pub(super) status: u16,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    client: reqwest::Client,
    calls: Mutex<Vec<Call>>,
    /// The operation whose next answer is withheld.
    lose: Mutex<Option<&'static str>>,
}

pub(super) struct Gateway {
    pub(super) url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Gateway {
    pub(super) async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let shared =
            Arc::new(Shared { upstream: upstream.to_owned(), client, calls: Mutex::default(), lose: Mutex::default() });
        let router = Router::new().fallback(forward).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("the gateway serves");
        });
        Self { url, shared, task }
    }

    /// Withholds the next answer to `operation`.
    pub(super) fn lose_answer_of(&self, operation: &'static str) {
        *self.shared.lose.lock().expect("not poisoned") = Some(operation);
    }

    /// How many calls of `operation` the emulator accepted.
    pub(super) fn accepted(&self, operation: &str) -> Vec<Call> {
        let calls = self.shared.calls.lock().expect("not poisoned");
        let mut found = calls.clone();
        found.retain(|c| c.operation == operation && c.status < 300);
        found
    }

    /// What was refused or failed.
    pub(super) fn errors(&self) -> Vec<Call> {
        let calls = self.shared.calls.lock().expect("not poisoned");
        calls.iter().filter(|c| c.status >= 300).cloned().collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.expect("a body");
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let operation = operation(&parts.method, path, &body);
    let region = region(&parts.headers);
    let mut headers = parts.headers.clone();
    headers.remove(header::HOST);
    headers.remove(header::CONTENT_LENGTH);
    let sent = shared
        .client
        .request(parts.method, format!("{}{path}", shared.upstream))
        .headers(headers)
        .body(body)
        .send()
        .await;
    let Ok(answer) = sent else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let status = answer.status();
    let mut headers = answer.headers().clone();
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::CONNECTION);
    let bytes = answer.bytes().await.expect("the emulator's body");
    shared.calls.lock().expect("not poisoned").push(Call {
        operation: operation.clone(),
        region,
        status: status.as_u16(),
    });
    let is_lost = shared.lose.lock().expect("not poisoned").take_if(|lost| *lost == operation).is_some();
    if is_lost {
        tokio::time::sleep(LOST_FOR).await;
    }
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The operation's name as each protocol has it: Query in the body, RPC in the path; for REST the method and path.
fn operation(method: &axum::http::Method, path: &str, body: &[u8]) -> String {
    if let Some((_, name)) = path.split_once("/operation/") {
        return name.to_owned();
    }
    let action = form_urlencoded::parse(body).find(|(key, _)| key == "Action");
    action.map_or_else(|| format!("{method} {path}"), |(_, value)| value.into_owned())
}

/// From `Credential=KEY/DATE/REGION/SERVICE/aws4_request`.
fn region(headers: &HeaderMap) -> String {
    let signed = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let region = signed.and_then(|v| v.split_once("Credential=")?.1.split('/').nth(2));
    region.unwrap_or_default().to_owned()
}
