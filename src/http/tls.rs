//! TLS in front of the API: a certificate chain and its key from files, and where it is asked for, a certificate of every
//! caller.
//!
//! Invariant: TLS 1.2 or later, by the one crypto provider of this program (aws-lc-rs). Files that are replaced are taken
//! up without a restart; what cannot be used is told and not taken: the last good ones go on. It offers no HTTP/2.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

/// How often the files are looked at again. A certificate is replaced days before it ends.
pub const RELOAD_EVERY: Duration = Duration::from_secs(30);

/// The largest file: a chain of certificates is a few kilobytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Where certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the service's own certificate, then those that lead to an authority.
    pub certificate: PathBuf,
    /// PEM: its key.
    pub key: PathBuf,
    /// PEM: by whom the certificate of every caller must be signed; `None`: callers need none.
    pub client_ca: Option<PathBuf>,
}

/// Why there is no TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("TLS: {file}: {why}")]
pub struct TlsError {
    pub file: String,
    pub why: String,
}

/// What the files held when they were read.
#[derive(PartialEq, Eq)]
struct Read {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    current: Arc<RwLock<(Arc<Read>, Arc<ServerConfig>)>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that is none, cannot be read or does not hold what it should; a key of another certificate.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let read = read(&files)?;
        let config = configure(&files, &read)?;
        Ok(Self { files, current: Arc::new(RwLock::new((Arc::new(read), Arc::new(config)))) })
    }

    /// What the next connection is met with.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// Takes the files up again where they have changed; whether it has.
    ///
    /// # Errors
    /// As [`Tls::load`]: what was there before goes on.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let read = read(&self.files)?;
        if *self.current.read().unwrap_or_else(PoisonError::into_inner).0 == read {
            return Ok(false);
        }
        let config = configure(&self.files, &read)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (Arc::new(read), Arc::new(config));
        Ok(true)
    }
}

fn read(files: &TlsFiles) -> Result<Read, TlsError> {
    Ok(Read {
        certificate: bytes(&files.certificate)?,
        key: bytes(&files.key)?,
        client_ca: files.client_ca.as_ref().map(bytes).transpose()?,
    })
}

/// A regular file: a FIFO or a device would never end.
fn bytes(path: &PathBuf) -> Result<Vec<u8>, TlsError> {
    let refused = |why: String| TlsError { file: path.display().to_string(), why };
    let about = std::fs::metadata(path).map_err(|e| refused(e.to_string()))?;
    if !about.is_file() || FILE_BYTES_MAX < about.len() {
        return Err(refused(format!("expected a regular file of at most {FILE_BYTES_MAX} bytes")));
    }
    std::fs::read(path).map_err(|e| refused(e.to_string()))
}

fn configure(files: &TlsFiles, read: &Read) -> Result<ServerConfig, TlsError> {
    let refused = |file: &PathBuf, why: String| TlsError { file: file.display().to_string(), why };
    let chain = certificates(&read.certificate).map_err(|why| refused(&files.certificate, why))?;
    // Not even an error may show a byte of the key.
    let key = PrivateKeyDer::from_pem_slice(&read.key)
        .map_err(|_| refused(&files.key, "expected one private key in PEM".to_owned()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| refused(&files.certificate, e.to_string()))?;
    let builder = match (&files.client_ca, &read.client_ca) {
        (Some(path), Some(pem)) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(pem).map_err(|why| refused(path, why))? {
                roots.add(authority).map_err(|e| refused(path, e.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|e| refused(path, e.to_string()))?)
        }
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|e| refused(&files.certificate, e.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err("expected certificates in PEM; there is none".to_owned()),
        Err(e) => Err(format!("expected certificates in PEM: {e}")),
    }
}
