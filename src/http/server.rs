//! How the service listens: bounded in connections, in the time that a request's head may take, and in its size.
//!
//! A client that sends its head too slowly, or keeps an idle connection, is cut after [`HEADER_READ_TIMEOUT`]. When
//! all connections are taken, new ones wait in the kernel's backlog. HTTP/1.1 without TLS: a proxy or load
//! balancer terminates TLS.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Api, auth::InvalidTokens, router};

/// How long the head of a request may take, and how long a connection may stay idle between requests.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may leave an answer unread.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The most connections at once; event streams take at most [`super::STREAMS_MAX`] of them.
pub const CONNECTIONS_MAX: usize = 256;

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
    Tokens(#[from] InvalidTokens),
    #[error("read the address listened on")]
    Address(#[source] std::io::Error),
}

/// Serves `api` on `listener` until `api.stopping`, then lets requests end within [`DRAIN_TIMEOUT`].
///
/// # Errors
/// When no token is configured and the address is not a loopback one.
pub async fn serve(listener: TcpListener, api: Api) -> Result<(), ServeError> {
    let address: SocketAddr = listener.local_addr().map_err(ServeError::Address)?;
    api.tokens.permits(address)?;
    let stopping = api.stopping.clone();
    let router = router(api);
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let tracker = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        let Some((stream, permit)) = accepted else {
            continue;
        };
        let (router, stopping) = (router.clone(), stopping.clone());
        tracker.spawn(async move {
            connection(stream, router, stopping).await;
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
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(%error, "no connection could be accepted");
            #[expect(clippy::disallowed_methods, reason = "the listener is outside of what a simulated clock drives")]
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection(stream: TcpStream, router: Router, stopping: CancellationToken) {
    // A client that asks and does not read would hold its connection for ever.
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_STALL_TIMEOUT));
    let stream = Box::pin(stream);
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
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
