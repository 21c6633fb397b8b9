//! The page's own files: one style, one script, one icon, all in the binary.

use std::sync::OnceLock;

use axum::{
    http::header,
    response::{IntoResponse, Response},
};

use crate::domain::id::Digest;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const ICON: &str = include_str!("icon.svg");

/// Names the files' content, so that a browser keeps them until there are others.
pub(super) fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| Digest::of([STYLE, SCRIPT, ICON].concat().as_bytes()).as_str()[..16].to_owned())
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    (headers, text).into_response()
}

/// The style.
#[utoipa::path(get, path = "/ui/page.css", operation_id = "page_style", tag = "page", security(()),
    responses((status = 200, description = "The style")))]
pub(super) async fn style() -> Response {
    file("text/css; charset=utf-8", STYLE)
}

/// The script.
#[utoipa::path(get, path = "/ui/page.js", operation_id = "page_script", tag = "page", security(()),
    responses((status = 200, description = "The script")))]
pub(super) async fn script() -> Response {
    file("text/javascript; charset=utf-8", SCRIPT)
}

/// The icon.
#[utoipa::path(get, path = "/ui/icon.svg", operation_id = "page_icon", tag = "page", security(()),
    responses((status = 200, description = "The icon")))]
pub(super) async fn icon() -> Response {
    file("image/svg+xml", ICON)
}
