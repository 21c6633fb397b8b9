//! The people of the demo: they hold tokens and use the HTTP API like anybody else.

use anyhow::{Context as _, bail};
use serde_json::Value;

/// Somebody with a token.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) token: String,
    url: String,
    http: reqwest::Client,
}

impl Person {
    pub(super) fn new(token: String, url: String) -> Self {
        Self { token, url, http: reqwest::Client::new() }
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.post(format!("{}{path}", self.url)).json(body);
        self.send(&format!("POST {path}"), request).await
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.http.get(format!("{}{path}", self.url));
        self.send(&format!("GET {path}"), request).await
    }

    async fn send(&self, what: &str, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let response = request.bearer_auth(&self.token).send().await.with_context(|| what.to_owned())?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            bail!("{what} answered {status}: {text}");
        }
        if text.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&text)?) }
    }
}
