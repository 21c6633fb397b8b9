//! What every answer of the page has: its headers, and problems as pages.
//!
//! Invariants: nothing of another site is asked for, framed by one or told to one; no script and no style but the files of
//! this program. Text from outside cannot leave its place: it is escaped by `maud`, and what would turn the direction of
//! writing round is taken out here, for every page at once.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use maud::{Markup, html};

use super::{layout::bare, sign_in};
use crate::http::{Api, auth::PAGE, problem::Problem};

/// What a browser may load: this program's own files. No inline script, no inline style, no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    // Not `no-referrer`: a browser would then send forms without their origin.
    (header::REFERRER_POLICY, "same-origin"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// A page.
#[derive(Debug)]
pub(super) struct Html(String);

impl Html {
    pub(super) fn of(markup: Markup) -> Self {
        Self(markup.into_string().chars().map(plain).collect())
    }
}

/// Nothing that would turn the writing round or hide a part of it.
fn plain(c: char) -> char {
    let turns = ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c);
    if turns || c.is_control() && c != '\n' { '\u{fffd}' } else { c }
}

impl IntoResponse for Html {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], self.0).into_response()
    }
}

/// Around every route of the page.
pub(super) async fn frame(State(api): State<Api>, request: Request, next: Next) -> Response {
    let asked = Asked::of(&request);
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = asked.told(&api, &problem, &response);
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// What of a request a problem's page needs.
struct Asked {
    path: String,
    is_get: bool,
    /// A link of another site led here: the browser keeps the session's cookie back, this once.
    is_from_elsewhere: bool,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let said = |name: &'static str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let path = request.uri().path_and_query().map_or(PAGE, |path| path.as_str());
        Self {
            path: path.chars().take(1_000).collect(),
            is_get: request.method() == Method::GET,
            is_from_elsewhere: said("sec-fetch-site") == Some("cross-site")
                && said("sec-fetch-mode") == Some("navigate"),
        }
    }

    /// `problem` as a page. `Retry-After` and the like stay.
    fn told(&self, api: &Api, problem: &Problem, before: &Response) -> Response {
        let page = match problem.status() {
            StatusCode::UNAUTHORIZED if self.is_get && self.is_from_elsewhere => self.once_more(),
            StatusCode::UNAUTHORIZED => {
                let next = if self.is_get { self.path.as_str() } else { self.back() };
                bare("Sign in", &sign_in::ask(next, api.access.issuer.is_some(), false))
            }
            _ => bare(&problem.title, &self.page(problem)),
        };
        let mut response = (problem.status(), Html::of(page)).into_response();
        let kept = [header::RETRY_AFTER, header::WWW_AUTHENTICATE, header::ALLOW, header::CONNECTION];
        for name in kept {
            if let Some(value) = before.headers().get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }

    /// The cookie comes with a request that this very page makes: so it makes the same one.
    fn once_more(&self) -> Markup {
        html! {
            (maud::DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta http-equiv="refresh" content={ "0; url=" (self.path) };
                    title { "failoverd" }
                }
                body { main { p { a href=(self.path) { "Go on" } } } }
            }
        }
    }

    /// The page that the form of a refused request stands on.
    fn back(&self) -> &str {
        let path = self.path.split('?').next().unwrap_or(PAGE);
        let run = path.strip_suffix("/act").unwrap_or(path);
        if run.starts_with(PAGE) { run } else { PAGE }
    }

    fn page(&self, problem: &Problem) -> Markup {
        html! {
            h1 { (problem.title) }
            div.problem role="alert" {
                p { (problem.detail) }
                @if let Some(gate) = &problem.gate { p { "Gate: " strong { (gate) } } }
                @if let Some(how) = &problem.satisfied_by { p { "What would satisfy it: " (how) } }
                @if let Some(digest) = &problem.current_digest { p { "The plan's digest is now " code { (digest) } "." } }
            }
            p.dim { "Code " code { (problem.code) } ": docs/errors/" (problem.code) ".md says what to check and what to do." }
            ul.links {
                @if let Some(run) = &problem.run { li { a href={ (PAGE) "/runs/" (run) } { "The run " (run) } } }
                @if !self.is_get { li { a href=(self.back()) { "Back to what the form stood on" } } }
                li { a href=(PAGE) { "All applications" } }
            }
        }
    }
}

/// Whether a header says that HTML is taken: a browser's, not a script's.
pub(in crate::http) fn takes_html(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepts.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with("text/html"))
}
