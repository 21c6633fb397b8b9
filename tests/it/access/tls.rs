//! The API in TLS, over real connections. The certificates are made by tls/make.sh.

use std::{path::PathBuf, sync::Arc, time::Duration};

use failoverd::{
    adapters::clock::SystemClock,
    domain::id::Digest,
    http::{
        auth::{Access, Role, TokenEntry, Tokens},
        server,
        tls::{Tls, TlsFiles},
    },
};
use reqwest::{Certificate, Client, Identity};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tempfile::TempDir;
use tokio::{io::AsyncReadExt as _, net::TcpListener};

use super::access;
use crate::http_api::{Fake, api, entry};

fn file(name: &str) -> Vec<u8> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/access/tls")).join(name);
    std::fs::read(path).expect("a file")
}

/// Certificate, key and, where callers need one, their authority, in a directory of the test's own.
fn files(server: &str, client_ca: Option<&str>) -> (TempDir, TlsFiles) {
    let dir = tempfile::tempdir().expect("a directory");
    let put = |name: &str, bytes: Vec<u8>| {
        std::fs::write(dir.path().join(name), bytes).expect("written");
        dir.path().join(name)
    };
    let files = TlsFiles {
        certificate: put("certificate", file(&format!("{server}.pem"))),
        key: put("key", file(&format!("{server}.key"))),
        client_ca: client_ca.map(|name| put("client_ca", file(name))),
    };
    (dir, files)
}

/// Serves in TLS; the port.
async fn serve(files: &TlsFiles, access: Access) -> (u16, Tls) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mut api = api(&Fake::new(), access);
    let tls = Tls::load(files.clone()).expect("usable");
    api.tls = Some(tls.clone());
    tokio::spawn(server::serve(listener, api));
    (port, tls)
}

/// A client that believes our authority, and shows the certificate of `who`.
fn client(who: Option<&str>) -> Client {
    let builder = Client::builder().no_proxy().timeout(Duration::from_secs(10)).pool_max_idle_per_host(0);
    let builder = builder.tls_certs_only(Certificate::from_pem_bundle(&file("ours.pem")).expect("certificates"));
    match who {
        Some(who) => {
            let pem = [file(&format!("{who}.key")), file(&format!("{who}.pem"))].concat();
            builder.identity(Identity::from_pem(&pem).expect("an identity"))
        }
        None => builder,
    }
    .build()
    .expect("a client")
}

async fn status(client: &Client, port: u16, token: &str) -> Result<u16, String> {
    let asked = client.get(format!("https://localhost:{port}/runs")).bearer_auth(token).send().await;
    asked.map(|answer| answer.status().as_u16()).map_err(|error| format!("{error:?}"))
}

fn of(certificate: &str) -> Digest {
    let der = CertificateDer::from_pem_slice(&file(certificate)).expect("a certificate");
    Digest::of(&der)
}

#[tokio::test]
async fn the_api_speaks_tls_and_nothing_in_the_clear() {
    let (_dir, files) = files("server", None);
    let (port, _) = serve(&files, access(vec![entry("ann", "t", &[Role::Viewer])])).await;
    assert_eq!(status(&client(None), port, "t").await, Ok(200));
    let clear = client(None).get(format!("http://localhost:{port}/runs")).bearer_auth("t").send().await;
    assert!(clear.is_err(), "{clear:?}");
    let strangers = Client::builder().no_proxy().build().expect("a client");
    assert!(status(&strangers, port, "t").await.is_err(), "our authority is not the world's");
}

#[tokio::test]
async fn where_callers_need_a_certificate_nobody_is_heard_without_ours() {
    let (_dir, files) = files("server", Some("ours.pem"));
    let (port, _) = serve(&files, access(vec![entry("ann", "t", &[Role::Viewer])])).await;
    assert_eq!(status(&client(Some("ann")), port, "t").await, Ok(200));
    assert_eq!(status(&client(Some("ann")), port, "wrong").await, Ok(401), "a certificate is no token");
    for who in [None, Some("stranger")] {
        assert!(status(&client(who), port, "t").await.is_err(), "{who:?}");
    }
}

/// FAULTS.md 87: a token that was read somewhere is replayed.
#[tokio::test]
async fn a_stolen_token_is_worth_nothing_without_the_certificate_it_belongs_to() {
    let (_dir, files) = files("server", Some("ours.pem"));
    let bound = TokenEntry { certificate: Some(of("ann.pem")), ..entry("ann", "t", &[Role::Operator]) };
    let mut access = Access::from(Tokens::new(vec![bound]).expect("valid"));
    access.clock = Some(Arc::new(SystemClock));
    let (port, _) = serve(&files, access).await;
    assert_eq!(status(&client(Some("ann")), port, "t").await, Ok(200));
    assert_eq!(status(&client(Some("bob")), port, "t").await, Ok(401));
}

#[tokio::test]
async fn certificates_that_are_replaced_are_taken_up_and_broken_ones_are_not() {
    let (_dir, files) = files("server", None);
    let tls = Tls::load(files.clone()).expect("usable");
    assert_eq!(tls.reload(), Ok(false));
    let before = tls.config();
    std::fs::write(&files.certificate, file("server-renewed.pem")).expect("written");
    let error = tls.reload().expect_err("the key is the old one's");
    assert_eq!(error.file, files.certificate.display().to_string());
    assert!(Arc::ptr_eq(&before, &tls.config()), "the last good one goes on");
    std::fs::write(&files.key, file("server-renewed.key")).expect("written");
    assert_eq!(tls.reload(), Ok(true));
    assert!(!Arc::ptr_eq(&before, &tls.config()));
    for (path, bytes) in [(&files.key, b"no key".to_vec()), (&files.certificate, Vec::new())] {
        let good = std::fs::read(path).expect("read");
        std::fs::write(path, bytes).expect("written");
        let error = tls.reload().expect_err("broken").to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        std::fs::write(path, good).expect("written");
    }
    std::fs::remove_file(&files.key).expect("gone");
    assert!(tls.reload().is_err());
    let nowhere = TlsFiles { certificate: "/dev/zero".into(), ..files };
    assert!(Tls::load(nowhere).is_err(), "a device has no end");
}

/// FAULTS.md 89: a handshake that does not come takes no connection for long.
#[tokio::test]
async fn a_handshake_that_does_not_come_is_cut() {
    let (_dir, files) = files("server", None);
    let (port, _) = serve(&files, access(vec![entry("ann", "t", &[Role::Viewer])])).await;
    let mut silent = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
    let mut rest = Vec::new();
    let limit = server::HEADER_READ_TIMEOUT + Duration::from_secs(5);
    tokio::time::timeout(limit, silent.read_to_end(&mut rest)).await.expect("cut in time").expect("read");
    assert!(rest.is_empty());
    assert_eq!(status(&client(None), port, "t").await, Ok(200));
}
