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
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.token).json(body);
        let response = request.send().await.with_context(|| format!("POST {path}"))?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            bail!("POST {path} answered {status}: {text}");
        }
        if text.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&text)?) }
    }
}
