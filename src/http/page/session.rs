//! Sessions of the page: which cookie stands for which token.
//!
//! Invariants: a session is worth what its token is worth at each request, and nothing more: the token is looked up again
//! each time (ADR 24). Bounded in number and in time. Kept in memory alone: a restart, and another replica, ask anew. No
//! cookie is kept as it is, but as its SHA-256; no `Debug` shows a token.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::domain::id::Subject;

/// How long a session lasts at most: a shift.
pub(super) const LASTS: Duration = Duration::from_hours(12);

/// The most sessions at once: a hundred people with ten browsers each.
const SESSIONS_MAX: usize = 1_024;

/// The most of one person, so that nobody takes the places of the others.
const PER_SUBJECT_MAX: usize = 16;

/// The cookie's name over TLS: a browser takes one of that name for this host alone, and over TLS alone.
const SECURE_NAME: &str = "__Host-failoverd";

/// Its name without TLS, on this machine.
const PLAIN_NAME: &str = "failoverd";

/// Random bits, as hexadecimal digits; `None`: this machine gives none.
pub(super) fn drawn() -> Option<String> {
    let mut bits = [0; 32];
    aws_lc_rs::rand::fill(&mut bits).ok()?;
    Some(hex::encode(bits))
}

fn hashed(id: &str) -> [u8; 32] {
    Sha256::digest(id.as_bytes()).into()
}

/// Whether two texts are the same, in the same time for every pair of one length.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// A bearer token, which nothing shows.
#[derive(Clone)]
pub(super) struct Token(pub(super) String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(not shown)")
    }
}

/// What a cookie stands for.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) token: Token,
    /// What each of its forms holds, and no other site can know.
    pub(super) form: Token,
    subject: Subject,
    /// In boot time.
    ends: Duration,
    used: Duration,
}

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions {
    all: Arc<Mutex<BTreeMap<[u8; 32], Session>>>,
    /// What forms hold where everyone is let in without a session; `None`: no random bits, so no form is taken.
    pub(super) open_form: Option<Token>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { all: Arc::default(), open_form: drawn().map(Token) }
    }
}

impl Sessions {
    /// Begins a session of `subject` with `token`, for `lasts` at most; its id, for the cookie. `None`: this machine gives
    /// no random bits.
    pub(super) fn begin(&self, subject: Subject, token: String, lasts: Duration, now: Duration) -> Option<String> {
        let (id, form) = (drawn()?, drawn()?);
        let ends = now + lasts.min(LASTS);
        let session = Session { token: Token(token), form: Token(form), subject, ends, used: now };
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, other| now < other.ends);
        let oldest = |all: &BTreeMap<[u8; 32], Session>, of: Option<&Subject>| {
            let theirs = all.iter().filter(|(_, s)| of.is_none_or(|of| s.subject == *of));
            theirs.min_by_key(|(_, s)| s.used).map(|(id, _)| *id)
        };
        while PER_SUBJECT_MAX <= all.values().filter(|s| s.subject == session.subject).count() {
            let Some(id) = oldest(&all, Some(&session.subject)) else { break };
            all.remove(&id);
        }
        while SESSIONS_MAX <= all.len() {
            let Some(id) = oldest(&all, None) else { break };
            all.remove(&id);
        }
        all.insert(hashed(&id), session);
        Some(id)
    }

    /// The session of which `headers` have the cookie.
    pub(super) fn of(&self, headers: &HeaderMap, now: Duration) -> Option<Session> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        cookies(headers).find_map(|id| {
            all.get_mut(&hashed(id)).filter(|s| now < s.ends).map(|s| {
                s.used = now;
                s.clone()
            })
        })
    }

    /// Ends it.
    pub(super) fn end(&self, headers: &HeaderMap) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        for id in cookies(headers) {
            all.remove(&hashed(id));
        }
    }
}

/// The ids that the page's cookies have: of several, any may be the one.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| [SECURE_NAME, PLAIN_NAME].contains(name)).map(|(_, id)| id)
}

/// The cookie of a session; an empty `id` takes it away.
pub(super) fn cookie(id: &str, lasts: Duration, is_plain: bool) -> String {
    let (name, secure) = if is_plain { (PLAIN_NAME, "") } else { (SECURE_NAME, "; Secure") };
    let seconds = lasts.min(LASTS).as_secs();
    format!("{name}={id}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn who(name: &str) -> Subject {
        name.parse().expect("valid")
    }

    fn with(id: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, format!("theme=dark; failoverd={id}; x=y").parse().expect("a value"))])
    }

    #[test]
    fn a_session_ends_with_its_token_with_its_shift_and_when_it_is_told_to() {
        let sessions = Sessions::default();
        let short = sessions.begin(who("ann"), "t".into(), SECOND * 60, SECOND).expect("random");
        let long = sessions.begin(who("ann"), "t".into(), LASTS * 9, SECOND).expect("random");
        assert!(sessions.of(&with(&short), SECOND * 60).is_some());
        assert!(sessions.of(&with(&short), SECOND * 61).is_none(), "its token has expired");
        assert!(sessions.of(&with(&long), LASTS).is_some());
        assert!(sessions.of(&with(&long), LASTS + SECOND).is_none(), "its shift is over");
        let told = sessions.begin(who("ann"), "t".into(), LASTS, SECOND).expect("random");
        sessions.end(&with(&told));
        assert!(sessions.of(&with(&told), SECOND).is_none());
        assert!(sessions.of(&with(""), SECOND).is_none() && sessions.of(&HeaderMap::new(), SECOND).is_none());
    }

    #[test]
    fn sessions_are_bounded_and_nobody_takes_the_places_of_others() {
        let sessions = Sessions::default();
        let bob = sessions.begin(who("bob"), "b".into(), LASTS, SECOND).expect("random");
        let mine: Vec<String> = (0..u32::try_from(2 * PER_SUBJECT_MAX).expect("few"))
            .map(|n| sessions.begin(who("ann"), "a".into(), LASTS, SECOND * (2 + n)).expect("random"))
            .collect();
        let now = SECOND * 1_000;
        assert_eq!(mine.iter().filter(|id| sessions.of(&with(id), now).is_some()).count(), PER_SUBJECT_MAX);
        assert!(sessions.of(&with(mine.last().expect("one")), now).is_some(), "the oldest are the ones that go");
        assert!(sessions.of(&with(&bob), now).is_some());
        for n in 0..SESSIONS_MAX {
            let _ = sessions.begin(who(&format!("p{n}")), "p".into(), LASTS, now + SECOND);
        }
        assert_eq!(sessions.all.lock().expect("lock").len(), SESSIONS_MAX);
    }

    #[test]
    fn no_debug_shows_a_token_or_a_cookie() {
        let sessions = Sessions::default();
        let id = sessions.begin(who("ann"), "very-secret".into(), LASTS, SECOND).expect("random");
        let shown = format!("{sessions:?}");
        assert!(shown.contains("ann") && !shown.contains("very-secret") && !shown.contains(&id), "{shown}");
    }

    #[test]
    fn a_cookie_is_for_this_host_alone_and_no_script_reads_it() {
        let over_tls = cookie("abc", SECOND * 90, false);
        assert_eq!(over_tls, "__Host-failoverd=abc; Path=/; Max-Age=90; HttpOnly; SameSite=Strict; Secure");
        let plain = cookie("", Duration::ZERO, true);
        assert_eq!(plain, "failoverd=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict");
    }
}
