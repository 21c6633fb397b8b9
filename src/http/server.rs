//! How the service listens: bounded in connections, of each address too, in the time that a handshake and a request's head
//! may take, and in its size.
//!
//! A client that sends its head too slowly, or keeps an idle connection, is cut after [`HEADER_READ_TIMEOUT`]. When
//! all connections are taken, new ones wait in the kernel's backlog; one more of an address that has
//! [`super::crowd::PER_ADDRESS_MAX`] is closed at once. HTTP/1.1, in TLS where the configuration has certificates
//! ([`super::tls`]).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::Request};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use super::{
    Api,
    auth::Open,
    crowd::{Crowd, PER_ADDRESS_MAX, Place},
    peer::{Certificate, Peer},
    router,
    tls::{RELOAD_EVERY, Tls},
};
use crate::domain::id::Digest;

/// How long the head of a request may take, and how long a connection may stay idle between requests.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may leave an answer unread.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The most connections at once, where the process may open files enough ([`Api::take_connections`]); event streams take at most [`super::STREAMS_MAX`] of them.
pub const CONNECTIONS_MAX: usize = 512;

/// The largest request head, and the size of a connection's read buffer, in bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long requests may go on after the service was told to stop.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait when the system gives no connection (no file descriptors left), before asking again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the service does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Open(#[from] Open),
    #[error("read the address listened on")]
    Address(#[source] std::io::Error),
}

/// Serves `api` on `listener` until `api.stopping`, then lets requests end within [`DRAIN_TIMEOUT`].
///
/// # Errors
/// When everyone would be let in and the address is not a loopback one.
pub async fn serve(listener: TcpListener, api: Api) -> Result<(), ServeError> {
    let address: SocketAddr = listener.local_addr().map_err(ServeError::Address)?;
    api.access.permits(address)?;
    let stopping = api.stopping.clone();
    let connections = Arc::new(Semaphore::new(api.connections_max));
    let (crowd, tls) = (Crowd::new(PER_ADDRESS_MAX, Arc::clone(&api.access.proxies)), api.tls.clone());
    let router = router(api);
    let tracker = TaskTracker::new();
    if let Some(tls) = tls.clone() {
        tracker.spawn(reload(tls, stopping.clone()));
    }
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        let Some((stream, from, permit)) = accepted else {
            continue;
        };
        let Some(place) = crowd.enter(from.ip()) else {
            tracing::debug!(%from, "has as many connections as one address may have");
            continue;
        };
        let met = Met { from, place, tls: tls.clone() };
        let (router, stopping) = (router.clone(), stopping.clone());
        tracker.spawn(async move {
            connection(stream, met, router, stopping).await;
            drop(permit);
        });
    }
    drop(listener);
    tracker.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, tracker.wait()).await.is_err() {
        tracing::warn!(connections = tracker.len(), "stopped before all requests ended");
    }
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, from)) => Some((stream, from, permit)),
        Err(error) => {
            tracing::warn!(%error, "no connection could be accepted");
            #[expect(clippy::disallowed_methods, reason = "the listener is outside of what a simulated clock drives")]
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Whom a connection is with, and how.
struct Met {
    from: SocketAddr,
    /// Given back with the connection.
    place: Place,
    tls: Option<Tls>,
}

async fn connection(stream: TcpStream, met: Met, router: Router, stopping: CancellationToken) {
    // A client that asks and does not read would hold its connection for ever.
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_STALL_TIMEOUT));
    let stream = Box::pin(stream);
    let Met { from, place, tls } = met;
    match tls {
        None => requests(stream, from, None, router, stopping).await,
        Some(tls) => {
            let handshake = TlsAcceptor::from(tls.config()).accept(stream);
            match tokio::time::timeout(HEADER_READ_TIMEOUT, handshake).await {
                Ok(Ok(stream)) => {
                    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                    let shown = shown.map(|certificate| Certificate(Digest::of(certificate)));
                    requests(stream, from, shown, router, stopping).await;
                }
                Ok(Err(error)) => tracing::debug!(%from, %error, "no TLS came about"),
                Err(_) => tracing::debug!(%from, "no TLS came about in time"),
            }
        }
    }
    drop(place);
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    from: SocketAddr,
    shown: Option<Certificate>,
    router: Router,
    stopping: CancellationToken,
) {
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(from.ip()));
        shown.clone().and_then(|shown| request.extensions_mut().insert(shown));
        request
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stopping.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Takes replaced certificates up.
async fn reload(tls: Tls, stopping: CancellationToken) {
    loop {
        #[expect(
            clippy::disallowed_methods,
            reason = "files are replaced in real time, whatever the clock of the engine"
        )]
        let pause = tokio::time::sleep(RELOAD_EVERY);
        tokio::select! {
            () = stopping.cancelled() => return,
            () = pause => {}
        }
        let looking = tls.clone();
        match tokio::task::spawn_blocking(move || looking.reload()).await {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => tracing::info!("the certificates were replaced"),
            Ok(Err(error)) => tracing::error!(%error, "the new certificates cannot be used; the last good ones go on"),
            Err(error) => tracing::error!(%error, "the certificates could not be looked at"),
        }
    }
}
