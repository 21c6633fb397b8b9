//! Signing in with a token, and out.
//!
//! Invariant: a token comes in the body of a form of this very page, stands in no address and in no page, and is answered
//! with a cookie that no script reads. What is not a good token is refused in one way, whatever is wrong with it.

use std::time::Duration;

use axum::{
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    door::same_origin,
    form::fields,
    frame::Html,
    layout::{Shell, bare},
    session::{LASTS, cookie},
};
use crate::http::{Api, auth::PAGE, auth::is_loopback_name, problem::Problem};

/// The longest token that is tried: those of issuers have some kilobytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Where to go after it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Next {
    next: Option<String>,
}

/// What the form of [`page`] sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    token: String,
    #[serde(default)]
    next: String,
}

/// A place of this page, or its first one: never another site.
fn place(next: &str) -> &str {
    let is_plain = next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let below = next.strip_prefix(PAGE).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    if is_plain && below && !next.contains("//") { next } else { PAGE }
}

/// The form.
pub(super) fn ask(next: &str, has_issuer: bool, was_refused: bool) -> Markup {
    html! {
        h1 { "Sign in" }
        @if was_refused {
            p.problem role="alert" { "That is no token that is good here. It may be mistyped, expired, or of another daemon." }
        }
        form.sheet method="post" action="/ui/sign-in" {
            input type="hidden" name="next" value=(place(next));
            label for="token" { "Token" }
            input #token type="password" name="token" required autocomplete="current-password" spellcheck="false" aria-describedby="token-help";
            p #token-help .dim {
                "A token of failoverd's configuration" @if has_issuer { ", or an ID token of your identity provider" }
                ". It is kept in this daemon's memory for 12 hours at most, never longer than it is good."
                @if has_issuer {
                    " To change something, an ID token must have been issued in the last 5 minutes: sign in again with a new one."
                }
            }
            div.acts { button.primary type="submit" { "Sign in" } }
        }
    }
}

/// The form, for whoever goes there.
#[utoipa::path(get, path = "/ui/sign-in", operation_id = "page_sign_in", tag = "page", security(()),
    responses((status = 200, description = "The form")))]
pub(super) async fn page(State(api): State<Api>, Query(next): Query<Next>) -> Response {
    if api.access.is_open() {
        return Redirect::to(PAGE).into_response();
    }
    let next = next.next.unwrap_or_default();
    Html::of(bare("Sign in", &ask(&next, api.access.issuer.is_some(), false))).into_response()
}

/// Takes a token, and begins a session.
#[utoipa::path(post, path = "/ui/sign-in", operation_id = "page_sign_in_with", tag = "page", security(()),
    responses((status = 303, description = "Signed in")))]
pub(super) async fn sign_in(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    same_origin(request.headers())?;
    let (mut parts, body) = request.into_parts();
    let asked: SignIn = fields(Request::from_parts(parts.clone(), body)).await?;
    if api.access.is_open() {
        return Ok(Redirect::to(PAGE).into_response());
    }
    let token = asked.token.trim();
    let value = (token.len() <= TOKEN_BYTES_MAX).then(|| HeaderValue::from_str(&format!("Bearer {token}")).ok());
    let is_plain = is_plain(&api, &parts.headers);
    parts.headers.remove(header::AUTHORIZATION);
    if let Some(mut value) = value.flatten() {
        value.set_sensitive(true);
        parts.headers.insert(header::AUTHORIZATION, value);
    }
    let (principal, left) = match api.access.vouch(parts).await {
        Ok(known) => known,
        Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => {
            let form = ask(&asked.next, api.access.issuer.is_some(), true);
            return Ok((StatusCode::UNAUTHORIZED, Html::of(bare("Sign in", &form))).into_response());
        }
        Err(problem) => return Err(problem),
    };
    let lasts = left.unwrap_or(LASTS).min(LASTS);
    let now = api.access.clock.as_ref().map(|clock| clock.boot()).unwrap_or_default();
    let subject = principal.subject;
    let id = api.sessions.begin(subject.clone(), token.to_owned(), lasts, now).ok_or_else(no_randomness)?;
    tracing::info!(subject = subject.as_str(), "signed in to the page");
    Ok(([(header::SET_COOKIE, cookie(&id, lasts, is_plain))], Redirect::to(place(&asked.next))).into_response())
}

/// Ends the session.
#[utoipa::path(post, path = "/ui/sign-out", operation_id = "page_sign_out", tag = "page", security(()),
    responses((status = 303, description = "Signed out")))]
pub(super) async fn sign_out(State(api): State<Api>, headers: HeaderMap) -> Response {
    api.sessions.end(&headers);
    let gone = cookie("", Duration::ZERO, is_plain(&api, &headers));
    ([(header::SET_COOKIE, gone)], Redirect::to("/ui/sign-in")).into_response()
}

/// Whether the browser talks to this machine without TLS, where a `Secure` cookie would not come back.
fn is_plain(api: &Api, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    api.tls.is_none() && is_loopback_name(host)
}

fn no_randomness() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "A fault of failoverd",
        "this machine gives no random numbers to make a session of",
    )
}

/// Who is signed in, for the head of a page.
pub(super) fn out(shell: &Shell<'_>) -> Markup {
    html! {
        @if shell.is_open {
            span.dim { "no sign-in: this machine only" }
        } @else {
            form.out method="post" action="/ui/sign-out" {
                (shell.secret())
                span.who { (shell.subject) }
                button type="submit" { "Sign out" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_signing_in_nobody_is_sent_to_another_site() {
        for good in ["/ui", "/ui/runs/x-1/approval", "/ui/runs?application=payments", "/ui?page=2"] {
            assert_eq!(place(good), good);
        }
        for bad in
            ["", "/", "https://evil.example", "//evil.example", "/ui//evil.example", "/uix", "/ui/\\evil", "/ui/\n"]
        {
            assert_eq!(place(bad), PAGE, "{bad}");
        }
    }
}
