//! What ends some day and takes people's or the daemon's access with it: bearer tokens, the API's certificate, the
//! credentials that AWS has given. Read anew for each round of preflight.
//!
//! Invariant: no secret is told, only names, files and instants; what cannot be read has an unknown end.

use std::{path::PathBuf, sync::Arc, time::Duration};

use aws_config::SdkConfig;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use futures_util::FutureExt as _;
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use x509_cert::{Certificate, der::Decode as _};

use super::access::SOON;
use crate::{
    config::Settings,
    domain::preflight::{End, Lifetime},
    engine::preflight::round::{Lifetimes, Setup},
    ports::Clock,
};

/// Whoever renews certificates by themselves does so weeks before their end; what is a week from it was not renewed.
const CERTIFICATE_LASTS: Duration = Duration::from_hours(7 * 24);
/// The provider is asked, not the SDK's cache: what it gives is new, and lasts an hour or more where a role gives it
/// [AWS.md: credentials]. A failover with its waits for people is to fit in.
const CREDENTIALS_LAST: Duration = Duration::from_mins(15);
/// How long the provider of credentials may take: the container's and the instance's answer in milliseconds.
const PROVIDER_TAKES: Duration = Duration::from_secs(10);
/// The largest file of certificates, as the API takes it.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What preflight needs of `settings`: the channels of people, and what ends.
pub(super) fn preflight(settings: &Settings, sdk: &SdkConfig, clock: &Arc<dyn Clock>) -> Setup {
    Setup::new(settings.notify.channels.clone(), of(settings, sdk, clock))
}

fn of(settings: &Settings, sdk: &SdkConfig, clock: &Arc<dyn Clock>) -> Lifetimes {
    let tokens: Vec<Lifetime> = settings
        .auth
        .tokens
        .iter()
        .map(|token| Lifetime {
            subject: format!("token of {}", token.name.as_str()),
            end: token.expires_at.map_or(End::Never, End::At),
            at_least: SOON,
            remedy: "give them a new token (docs/security.md), or take the old one out of auth.tokens",
        })
        .collect();
    let certificate = settings.server.tls.as_ref().map(|tls| tls.certificate.clone());
    let (provider, clock) = (sdk.credentials_provider(), Arc::clone(clock));
    Arc::new(move |_| {
        let (mut all, provider, clock) = (tokens.clone(), provider.clone(), Arc::clone(&clock));
        all.extend(certificate.as_ref().map(|file| Lifetime {
            subject: format!("certificate {}", file.display()),
            end: certificate_ends(file),
            at_least: CERTIFICATE_LASTS,
            remedy: "renew the certificate; the files are taken up without a restart",
        }));
        async move {
            all.push(Lifetime {
                subject: "the daemon's credentials".to_owned(),
                end: credentials_end(provider, &*clock).await,
                at_least: CREDENTIALS_LAST,
                remedy: "renew them where they come from: a role of the task renews them by itself",
            });
            all
        }
        .boxed()
    })
}

/// The end of the certificate that callers are shown: the first of the file.
fn certificate_ends(file: &PathBuf) -> End {
    let unknown = |why: String| End::Unknown { why: format!("{}: {why}", file.display()) };
    match std::fs::metadata(file) {
        Ok(about) if about.is_file() && about.len() <= FILE_BYTES_MAX => {}
        Ok(_) => return unknown(format!("no regular file of at most {FILE_BYTES_MAX} bytes")),
        Err(error) => return unknown(error.to_string()),
    }
    let first = CertificateDer::pem_file_iter(file).ok().and_then(|mut all| all.next()).and_then(Result::ok);
    let Some(der) = first else { return unknown("it holds no certificate".to_owned()) };
    match Certificate::from_der(&der) {
        Ok(certificate) => {
            let seconds = certificate.tbs_certificate.validity.not_after.to_unix_duration().as_secs();
            let at = i64::try_from(seconds).ok().and_then(|s| Timestamp::from_second(s).ok());
            at.map_or_else(|| unknown("its end is out of range".to_owned()), End::At)
        }
        Err(error) => unknown(error.to_string()),
    }
}

async fn credentials_end(provider: Option<SharedCredentialsProvider>, clock: &dyn Clock) -> End {
    let Some(provider) = provider else { return End::Unknown { why: "nothing gives credentials".to_owned() } };
    let given = tokio::select! {
        biased;
        given = provider.provide_credentials() => given,
        () = clock.sleep(PROVIDER_TAKES) => {
            let why = format!("what gives the credentials has not answered within {} s", PROVIDER_TAKES.as_secs());
            return End::Unknown { why };
        }
    };
    match given {
        Ok(given) => match (given.expiry(), given.session_token()) {
            (Some(end), _) => match Timestamp::try_from(end) {
                Ok(end) => End::At(end),
                Err(error) => End::Unknown { why: error.to_string() },
            },
            (None, None) => End::Never,
            (None, Some(_)) => End::Unknown { why: "they are temporary, and nothing tells when they end".to_owned() },
        },
        // The error's own text may quote where it looked, never what it found.
        Err(error) => End::Unknown { why: format!("no credentials: {error}") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_certificate_has_an_unknown_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("server.pem");
        assert!(matches!(certificate_ends(&file), End::Unknown { .. }));
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").expect("written");
        assert!(matches!(certificate_ends(&file), End::Unknown { .. }));
    }
}
