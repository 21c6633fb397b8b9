//! One connection to one database: made, protected, set up, and dropped when it is in doubt.
//!
//! Invariant: a session that is handed out has been set up (`statement::session`). Dropping it closes its socket at
//! once: nothing of a question that was given up can be taken for the answer to the next one.

use std::{io, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    super::{chain, files::Files},
    secret::{PATIENCE, Secret, Secrets},
    statement,
};
use crate::{
    domain::heartbeat::{DatabaseEndpoint, Tls},
    ports::Clock,
};

/// As the server shows it in `pg_stat_activity`.
pub const APPLICATION_NAME: &str = "failoverd-heartbeat";

/// The longest file of certificate authorities: Amazon's for RDS has about 200 kB.
const CA_BYTES_MAX: u64 = 4 << 20;

/// How often an idle connection is probed, so that one that a firewall has forgotten is found out.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// A connection in use.
pub(super) struct Session {
    client: Client,
    connection: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Session {
    /// Connects, logs in and sets up. Nothing is written, whatever happens.
    pub(super) async fn open(at: &DatabaseEndpoint, secrets: &Secrets, clock: &dyn Clock) -> Result<Self, String> {
        // The connection needs time too.
        let patience = at.timeout / 2;
        let password = secrets.find(&at.password, clock, patience).await?;
        let config = config(at, &password);
        let session = match &at.tls {
            Tls::Disable if !at.address.is_loopback() => {
                return Err(format!("{} is not a loopback address: it is not reached without TLS", at.address));
            }
            Tls::Disable => {
                let (client, connection) = config.connect(NoTls).await.map_err(|e| explain(&e))?;
                Self { client, connection: tokio::spawn(async move { _ = connection.await }) }
            }
            Tls::VerifyFull { ca_file } => {
                let tls = MakeRustlsConnect::new(tls(ca_file.as_deref(), secrets.files(), clock, patience).await?);
                let (client, connection) = config.connect(tls).await.map_err(|e| explain(&e))?;
                Self { client, connection: tokio::spawn(async move { _ = connection.await }) }
            }
        };
        session.ask(&statement::session(at.timeout)).await.map_err(|e| explain(&e))?;
        Ok(session)
    }

    /// Whether it is known to be broken.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Sends `text` and waits for its end, commit included.
    pub(super) async fn ask(&self, text: &str) -> Result<Vec<SimpleQueryMessage>, tokio_postgres::Error> {
        self.client.simple_query(text).await
    }
}

fn config(at: &DatabaseEndpoint, password: &Secret) -> Config {
    let mut config = Config::new();
    config
        .host(&at.address.host)
        .port(at.address.port)
        .dbname(&at.database)
        .user(&at.user)
        .password(password.bytes())
        .application_name(APPLICATION_NAME)
        .ssl_mode(if at.tls == Tls::Disable { SslMode::Disable } else { SslMode::Require })
        .connect_timeout(at.timeout)
        .tcp_user_timeout(at.timeout)
        .keepalives_idle(KEEPALIVE);
    config
}

/// Trusts what `ca_file` holds, or, without one, what the system trusts; read anew for each connection, so that a
/// renewed authority needs no restart.
async fn tls(
    ca_file: Option<&str>,
    files: &Files,
    clock: &dyn Clock,
    patience: Duration,
) -> Result<ClientConfig, String> {
    let pem = match ca_file {
        Some(path) => {
            let read = files.read(clock, patience.min(PATIENCE), path, CA_BYTES_MAX).await;
            Some((path.to_owned(), read.map_err(|why| format!("ca_file {path}: {why}"))?))
        }
        None => None,
    };
    // Certificates are parsed: some milliseconds that no other task should wait for.
    let roots = tokio::task::spawn_blocking(move || match pem {
        Some((path, pem)) => from_pem(&path, &pem),
        None => from_system(),
    });
    let roots = roots.await.map_err(|e| format!("reading the certificate authorities: {e}"))??;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config.map_err(|e| format!("TLS: {e}"))?.with_root_certificates(roots).with_no_client_auth())
}

fn from_pem(path: &str, pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let fault = |e: &dyn std::fmt::Display| format!("ca_file {path}: {e}");
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|e| fault(&e))?).map_err(|e| fault(&e))?;
    }
    if roots.is_empty() { Err(format!("ca_file {path}: holds no certificate")) } else { Ok(roots) }
}

fn from_system() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // A system may carry one that is not valid; the others count.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() { Err("the system trusts no certificate authority; set ca_file".to_owned()) } else { Ok(roots) }
}

/// What went wrong, on one line: the server's own words and code where it said something. Never a statement or a
/// password: neither is in the error.
pub(super) fn explain(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{} (SQLSTATE {})", said.message(), said.code().code()),
        None => match io_kind(error) {
            Some(io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
            _ => chain(error),
        },
    }
}

fn io_kind(error: &tokio_postgres::Error) -> Option<io::ErrorKind> {
    let mut next = std::error::Error::source(error);
    while let Some(e) = next {
        if let Some(e) = e.downcast_ref::<io::Error>() {
            return Some(e.kind());
        }
        next = e.source();
    }
    None
}
