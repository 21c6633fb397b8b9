//! The application's own servers, one address per Region and one port for all: what probes and browsers see.
//!
//! A lost Region accepts connections and never answers, which is how a frozen server looks from outside.
//! Deliberately ignores `Host`: clients reach a Region by the address that DNS gives.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::SharedWorld;

/// How long a request that is never answered is held.
const HANG_MAX: Duration = Duration::from_secs(600);
/// How often a common free port is looked for.
const PORT_ATTEMPTS: u32 = 20;

/// Listeners at every endpoint's address, not served yet.
pub(super) struct Bound {
    listeners: Vec<(Ipv4Addr, TcpListener)>,
    port: u16,
}

/// The server cannot be reached: the connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the Region does not answer")]
struct NoAnswer;

/// Binds `port` at the address of every endpoint of the world; 0 finds one that is free at all of them.
///
/// # Errors
/// Where an address cannot be bound (outside 127.0.0.0/8 on most machines).
pub(super) async fn bind(world: &SharedWorld, port: u16) -> io::Result<Bound> {
    let addresses: Vec<Ipv4Addr> = world.with(|w| w.endpoints.iter().map(|e| e.address).collect());
    let attempts = if port == 0 { PORT_ATTEMPTS } else { 1 };
    let mut last = None;
    for _ in 0..attempts {
        match bind_all(&addresses, port).await {
            Ok(bound) => return Ok(bound),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::from(io::ErrorKind::AddrInUse)))
}

async fn bind_all(addresses: &[Ipv4Addr], mut port: u16) -> io::Result<Bound> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        let at = SocketAddr::from((*address, port));
        let listener = TcpListener::bind(at)
            .await
            .map_err(|e| io::Error::new(e.kind(), format!("{at} (endpoint of the application): {e}")))?;
        port = listener.local_addr()?.port();
        listeners.push((*address, listener));
    }
    Ok(Bound { listeners, port })
}

impl Bound {
    /// The port that all endpoints have; 0 where there are none.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Serves all endpoints until `shutdown`.
    pub(super) async fn serve(self, world: SharedWorld, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        for (address, listener) in self.listeners {
            tasks.spawn(accept(address, listener, world.clone(), shutdown.clone(), tasks.clone()));
        }
        shutdown.cancelled().await;
        tasks.close();
        tasks.wait().await;
    }
}

async fn accept(
    address: Ipv4Addr,
    listener: TcpListener,
    world: SharedWorld,
    shutdown: CancellationToken,
    tasks: TaskTracker,
) {
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                let served = connection(address, stream, world.clone());
                let shutdown = shutdown.clone();
                tasks.spawn(async move {
                    shutdown.run_until_cancelled(served).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "an endpoint could not accept a connection");
                super::wall_sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(address: Ipv4Addr, stream: TcpStream, world: SharedWorld) {
    let service = service_fn(move |request: Request<Incoming>| {
        let world = world.clone();
        async move { answer(address, &request, &world).await }
    });
    let served = hyper::server::conn::http1::Builder::new()
        // A client that asks again opens a new connection, as after a DNS change it must.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection to an endpoint ended");
    }
}

async fn answer(
    address: Ipv4Addr,
    request: &Request<Incoming>,
    world: &SharedWorld,
) -> Result<Response<Full<Bytes>>, NoAnswer> {
    let Some(said) = world.with(|w| w.application_answer(address)) else {
        super::wall_sleep(HANG_MAX).await;
        return Err(NoAnswer);
    };
    let known = request.uri().path() == "/healthz";
    let readable = matches!(*request.method(), Method::GET | Method::HEAD);
    let (status, body) = match (known, readable) {
        (true, true) => (said.status, said.body),
        (true, false) => (405, r#"{"error":"only GET"}"#.to_owned()),
        (false, _) => (404, r#"{"error":"the simulated application has only /healthz"}"#.to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    if let Ok(kind) = "application/json".parse() {
        response.headers_mut().insert("content-type", kind);
    }
    Ok(response)
}
