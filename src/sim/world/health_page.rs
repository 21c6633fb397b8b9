//! The page that tells how the application's servers are: under which paths it answers, and where in its JSON it
//! shows the last write. Each operator's application calls these as it likes.
//!
//! Invariant: what is not known is shown as null, at every place where it is asked for.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// How the health page is called; the same on all servers of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthPage {
    /// Paths that answer, each with its query.
    pub paths: BTreeSet<String>,
    /// JSON pointers at which the body shows the instant of the last write.
    pub last_write_pointers: BTreeSet<String>,
}

impl Default for HealthPage {
    /// `/healthz`, with `/last_write_at` in it.
    fn default() -> Self {
        Self { paths: ["/healthz".to_owned()].into(), last_write_pointers: ["/last_write_at".to_owned()].into() }
    }
}

impl HealthPage {
    /// Whether the servers have this path; any other is not found.
    pub fn has(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// Shows `last_write_at` in `body` wherever it is looked for.
    pub(super) fn show(&self, body: &mut Value, last_write_at: &Value) {
        for pointer in &self.last_write_pointers {
            put(body, pointer, last_write_at);
        }
    }
}

/// Sets the member that a JSON pointer leads to; what is in its way gives way.
fn put(body: &mut Value, pointer: &str, value: &Value) {
    let mut at = body;
    for token in pointer.split('/').skip(1) {
        let key = token.replace("~1", "/").replace("~0", "~");
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Value::Object(map) = at else { return };
        at = map.entry(key).or_insert(Value::Null);
    }
    *at = value.clone();
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_last_write_stands_where_each_pointer_leads() {
        let pointers = ["/last_write_at", "/db/orders/last", "/a~1b/0"].map(str::to_owned);
        let page = HealthPage { last_write_pointers: pointers.into(), ..HealthPage::default() };
        let mut body = json!({ "region": "us-east-1", "db": 7 });
        page.show(&mut body, &json!("now"));
        for pointer in &page.last_write_pointers {
            assert_eq!(body.pointer(pointer), Some(&json!("now")), "{pointer}: {body}");
        }
        assert_eq!(body["region"], "us-east-1");
    }
}
