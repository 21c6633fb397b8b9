//! The page's door: a session's cookie becomes the bearer token that it stands for, and what another site could make a
//! browser send is stopped.
//!
//! Invariants: behind it no cookie is worth anything: the same guard asks for the same permission of the same principal as
//! for the API, so there is no second way in (ADR 24). A request that changes something comes from a form of this very
//! page, by what the browser says of its origin and by a secret of the session that the form holds. A request with a bearer
//! token of its own passes as it is: no browser sends one by itself.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::session::{Sessions, is_same};
use crate::http::{auth::Access, extract, problem::Problem};

/// What a form's secret is called, in the form.
pub(super) const FIELD: &str = "form";

/// The same on its way to the replica that renders the form.
pub const FORM: HeaderName = HeaderName::from_static("failoverd-form");

/// What the door needs.
#[derive(Debug, Clone)]
pub struct Door {
    pub access: Access,
    pub sessions: Sessions,
}

/// What every form of an answer must hold. Empty where none would be taken.
#[derive(Debug, Clone)]
pub(super) struct Form(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Form {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let form = parts.headers.get(FORM).and_then(|form| form.to_str().ok()).unwrap_or_default();
        Ok(Self(form.to_owned()))
    }
}

/// What is refused because no form of this page has sent it.
pub(super) fn form_refused(why: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "form-refused", "The form is not one of this page's", why)
}

/// Whether a browser says that a request comes from this very site. `Sec-Fetch-Site` is the browser's own word; where it is
/// missing, `Origin` must name this host.
pub(super) fn same_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let is_ours = match (text(HeaderName::from_static("sec-fetch-site")), text(header::ORIGIN)) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => {
            let named = origin.split_once("://").map(|(_, authority)| authority);
            named.is_some() && named == text(header::HOST)
        }
        (None, None) => false,
    };
    if is_ours {
        Ok(())
    } else {
        Err(form_refused("it was sent from another site, or the browser does not say from where"))
    }
}

/// The value of the form's secret in a body.
fn secret(body: &[u8]) -> Option<String> {
    let mut found = form_urlencoded::parse(body).filter(|(name, _)| name == FIELD);
    match (found.next(), found.next()) {
        (Some((_, value)), None) => Some(value.into_owned()),
        _ => None,
    }
}

impl Door {
    fn now(&self) -> Duration {
        self.access.clock.as_ref().map(|clock| clock.boot()).unwrap_or_default()
    }

    /// Translates a request, or refuses it.
    async fn pass(&self, request: Request) -> Result<Request, Problem> {
        if request.headers().contains_key(header::AUTHORIZATION) {
            return Ok(request);
        }
        let (mut parts, mut body) = request.into_parts();
        parts.headers.remove(FORM);
        let form = if self.access.is_open() {
            self.sessions.open_form.clone()
        } else {
            let session = self.sessions.of(&parts.headers, self.now());
            session.map(|session| {
                if let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", session.token.0)) {
                    value.set_sensitive(true);
                    parts.headers.insert(header::AUTHORIZATION, value);
                }
                session.form
            })
        };
        // Without a session the guard refuses it for want of a token.
        if let Some(form) = form.filter(|form| !form.0.is_empty()) {
            if ![Method::GET, Method::HEAD].contains(&parts.method) {
                same_origin(&parts.headers)?;
                let bytes = extract::read(body).await?;
                if !secret(&bytes).is_some_and(|given| is_same(&given, &form.0)) {
                    return Err(form_refused("it is of another session, or an old one: open the page again"));
                }
                body = Body::from(bytes);
            }
            if let Ok(mut value) = HeaderValue::from_str(&form.0) {
                value.set_sensitive(true);
                parts.headers.insert(FORM, value);
            }
        } else if self.access.is_open() && !parts.method.is_safe() {
            return Err(form_refused("this machine gives no random numbers to make forms with"));
        }
        Ok(Request::from_parts(parts, body))
    }
}

/// In front of every route of the page that is about something.
pub(super) async fn door(State(door): State<Door>, request: Request, next: Next) -> Response {
    match door.pass(request).await {
        Ok(request) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(headers: &[(&'static str, &str)]) -> bool {
        let headers = headers.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().expect("a value")));
        same_origin(&HeaderMap::from_iter(headers)).is_ok()
    }

    #[test]
    fn only_this_very_site_is_this_site() {
        let host = ("host", "failoverd.example:8443");
        assert!(from(&[host, ("sec-fetch-site", "same-origin")]));
        assert!(from(&[host, ("origin", "https://failoverd.example:8443")]));
        for other in ["cross-site", "same-site", "none", ""] {
            assert!(!from(&[host, ("sec-fetch-site", other), ("origin", "https://failoverd.example:8443")]), "{other}");
        }
        for other in ["https://evil.example", "null", "https://failoverd.example", "failoverd.example:8443", ""] {
            assert!(!from(&[host, ("origin", other)]), "{other}");
        }
        assert!(!from(&[host]), "a browser says so of each form");
    }

    #[test]
    fn a_form_s_secret_stands_there_once() {
        assert_eq!(secret(b"a=b&form=x%2By").as_deref(), Some("x+y"));
        assert_eq!(secret(b"form=x&form=x"), None);
        assert_eq!(secret(b"{\"form\":\"x\"}"), None);
    }
}
