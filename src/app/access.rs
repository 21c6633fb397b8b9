//! Who may call a daemon, and over what, put together from its configuration.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;

use crate::{
    adapters::oidc::Oidc,
    config::Settings,
    http::{
        auth::{Access, TokenEntry, Tokens},
        tls::{Tls, TlsFiles},
    },
    ports::{Clock, Identities},
};

/// So long before a token expires the log says so at the start, and preflight from then on.
pub(super) const SOON: Duration = Duration::from_hours(14 * 24);

/// How callers are known.
///
/// # Errors
/// Tokens that cannot work, or an issuer that cannot be asked for want of this machine's TLS.
pub fn access(settings: &Settings, clock: &Arc<dyn Clock>) -> anyhow::Result<Access> {
    let now = clock.wall();
    for token in &settings.auth.tokens {
        let Some(end) = token.expires_at else { continue };
        let name = token.name.as_str();
        match Duration::try_from(end.duration_since(now)) {
            Ok(left) if SOON < left => {}
            Ok(_) => tracing::warn!(name, %end, "a token expires soon"),
            Err(_) => tracing::warn!(name, %end, "a token has expired"),
        }
    }
    let entries = settings.auth.tokens.iter().map(|token| TokenEntry {
        name: token.name.clone(),
        sha256: token.sha256.to_string(),
        grants: token.grants.clone(),
        expires_at: token.expires_at,
        certificate: token.certificate.clone(),
    });
    let mut access = Access::from(Tokens::new(entries.collect()).context("read the tokens")?);
    access.clock = Some(Arc::clone(clock));
    access.proxies = settings.server.proxies.clone().into();
    if let Some(issuer) = &settings.auth.issuer {
        let oidc = Oidc::new(issuer.clone(), Arc::clone(clock)).context("set up the issuer of tokens")?;
        access.issuer = Some(Arc::new(oidc) as Arc<dyn Identities>);
    }
    Ok(access)
}

/// The certificates, where the API is in TLS.
///
/// # Errors
/// Files that cannot be used.
pub fn tls(settings: &Settings) -> anyhow::Result<Option<Tls>> {
    let Some(paths) = settings.server.tls.clone() else { return Ok(None) };
    let files = TlsFiles { certificate: paths.certificate, key: paths.key, client_ca: paths.client_ca };
    Ok(Some(Tls::load(files).context("read the certificates")?))
}
