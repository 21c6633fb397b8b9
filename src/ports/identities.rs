//! Who holds a token that somebody else has issued.
//!
//! Crash semantics: nothing is kept but the issuer's keys, which are asked for again after a start.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::access::Principal;

/// Somebody whom the issuer vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub principal: Principal,
    /// When the token was issued, by the issuer's clock.
    pub issued_at: Timestamp,
    /// From when on it is nobody's.
    pub expires_at: Timestamp,
    /// The token's own id (`jti`), if it has one.
    pub id: Option<String>,
}

/// Why a token is nobody's. The caller is told none of it (FAULTS.md 85); the log is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotIdentified {
    /// It is not good, and will not be.
    #[error("the token is refused: {0}")]
    Refused(String),
    /// Its issuer's keys are not at hand, so nothing is known about it. Never taken for good.
    #[error("the issuer cannot be asked: {0}")]
    Unknown(String),
}

/// An issuer of tokens, such as an OpenID Connect provider.
#[async_trait]
pub trait Identities: Send + Sync + std::fmt::Debug {
    /// Who holds `token` at `now`. Answers within seconds, from keys at hand wherever they are.
    async fn identify(&self, token: &str, now: Timestamp) -> Result<Identity, NotIdentified>;
}
