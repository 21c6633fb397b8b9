//! The HTTP contract: routes, who may use them, and how the service listens.
//!
//! A handler converts, calls the engine ([`Control`]) and converts back; policy is the engine's. Routes stand in
//! groups by permission, so that a route without one cannot be written by accident. The web page ([`page`]) stands on the
//! same handlers' functions and behind the same guard.

#![allow(clippy::result_large_err, reason = "a problem is made at most once per request")]

pub mod access;
pub mod applications;
pub mod auth;
pub mod branch;
pub mod condition;
pub mod crowd;
pub mod deadline;
pub mod decision;
pub mod deferred;
pub mod drill_fault;
pub mod drills;
pub mod dto;
pub mod events;
pub mod evidence;
pub mod extract;
pub mod limits;
pub mod notifications;
pub mod observations;
pub mod openapi;
pub mod overrides;
pub mod page;
pub mod patch;
pub mod peer;
pub mod plan;
pub mod preflight;
pub mod problem;
pub mod replica;
pub mod runbooks;
pub mod runs;
pub mod salvage;
pub mod schedules;
pub mod server;
pub mod step;
pub mod steps;
pub mod system;
pub mod tls;
pub mod tokens;
pub mod view;

use std::{fmt, sync::Arc};

use axum::{
    Router,
    http::{Method, StatusCode, Uri, header},
    middleware,
    response::IntoResponse,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::{catch_panic::CatchPanicLayer, sensitive_headers::SetSensitiveRequestHeadersLayer};
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{
    auth::{Access, Guard, Permission, Principal, guard},
    problem::Problem,
};
use crate::{
    domain::{application::Application, evidence::Signature, id::RunId},
    engine::control::Control,
};

/// How many event streams may be open at once; the rest of the connections stay for those who act.
pub const STREAMS_MAX: usize = 256;

/// Signs a statement.
pub type Signer = Arc<dyn Fn(&str) -> Signature + Send + Sync>;

/// Says whether the evidence of a run is kept.
pub type Kept = Arc<dyn Fn(&RunId) -> bool + Send + Sync>;

/// What handlers stand on.
#[derive(Clone)]
pub struct Api {
    pub control: Arc<dyn Control>,
    pub access: Access,
    /// Renders `/metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Signs what auditors are given, where there is a key.
    pub signer: Option<Signer>,
    /// Whether the evidence of a run is kept where it is to be; `None`: it is to be kept nowhere.
    pub kept: Option<Kept>,
    /// Hands requests on where replicas share applications.
    pub forwarder: Option<replica::Forwarder>,
    /// `None`: in the clear.
    pub tls: Option<tls::Tls>,
    /// Ends event streams when the service stops.
    pub stopping: CancellationToken,
    /// Who is signed in to the page.
    pub sessions: page::Sessions,
    connections_max: usize,
    streams: Arc<Semaphore>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("access", &self.access).finish_non_exhaustive()
    }
}

impl Api {
    pub fn new(
        control: Arc<dyn Control>,
        access: impl Into<Access>,
        metrics: Arc<dyn Fn() -> String + Send + Sync>,
        stopping: CancellationToken,
    ) -> Self {
        let (access, streams) = (access.into(), Arc::new(Semaphore::new(STREAMS_MAX)));
        Self {
            control,
            access,
            metrics,
            signer: None,
            kept: None,
            forwarder: None,
            tls: None,
            stopping,
            sessions: page::Sessions::default(),
            connections_max: server::CONNECTIONS_MAX,
            streams,
        }
    }

    /// Takes at most `most` connections at once, and [`server::CONNECTIONS_MAX`]; event streams have half of them at most.
    pub fn take_connections(&mut self, most: usize) {
        self.connections_max = most.min(server::CONNECTIONS_MAX);
        self.streams = Arc::new(Semaphore::new(STREAMS_MAX.min(self.connections_max / 2)));
    }

    /// The applications that somebody may look at. To them there are no others.
    fn shown_to(&self, principal: &Principal) -> Vec<Arc<Application>> {
        let mut all = self.control.applications();
        all.retain(|application| principal.may(Permission::Read, &application.name));
        all
    }
}

fn public() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(system::root))
        .routes(routes!(system::healthz))
        .routes(routes!(system::readyz))
        .routes(routes!(system::metrics))
        .routes(routes!(system::openapi_json))
}

fn read() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(runs::list))
        .routes(routes!(runs::one))
        .routes(routes!(patch::of_run))
        .routes(routes!(patch::of_application))
        .routes(routes!(events::stream))
        .routes(routes!(applications::list))
        .routes(routes!(applications::one))
        .routes(routes!(applications::decision))
        .routes(routes!(preflight::newest))
        .routes(routes!(runbooks::list))
        .routes(routes!(drills::list))
        .routes(routes!(overrides::list))
        .routes(routes!(notifications::list))
        .routes(routes!(evidence::evidence))
        .routes(routes!(evidence::list::list))
}

fn operate() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(runs::failover))
        .routes(routes!(runs::failback))
        .routes(routes!(salvage::salvage))
        .routes(routes!(runs::abort))
        .routes(routes!(runs::pause))
        .routes(routes!(runs::resume))
        .routes(routes!(steps::retry))
        .routes(routes!(steps::skip))
        .routes(routes!(notifications::test))
}

fn approve() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(runs::approvals)).routes(routes!(overrides::consent))
}

fn drill() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(drills::drill)).routes(routes!(preflight::look))
}

fn override_rules() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(overrides::ask)).routes(routes!(overrides::end))
}

fn observe() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(observations::assignments)).routes(routes!(observations::report))
}

/// The routes of every group, guarded, with their description.
fn routes_with_openapi(access: &Access, forwarder: Option<&replica::Forwarder>) -> (Router<Api>, OpenApi) {
    let guarded = |routes: OpenApiRouter<Api>, permission| {
        let state = Guard { access: access.clone(), permission };
        // Whoever may not ask is not handed on either.
        routes
            .route_layer(middleware::from_fn_with_state(forwarder.cloned(), replica::forward))
            .route_layer(middleware::from_fn_with_state(state, guard))
    };
    OpenApiRouter::with_openapi(openapi::base())
        .merge(public())
        .merge(guarded(read(), Permission::Read))
        .merge(guarded(operate(), Permission::Operate))
        .merge(guarded(approve(), Permission::Approve))
        .merge(guarded(drill(), Permission::Drill))
        .merge(guarded(override_rules(), Permission::Override))
        .merge(guarded(observe(), Permission::Observe))
        .split_for_parts()
}

/// The service.
pub fn router(api: Api) -> Router {
    let (routes, _) = routes_with_openapi(&api.access, api.forwarder.as_ref());
    let (pages, _) = page::routes(&api).split_for_parts();
    routes
        .merge(pages)
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(CatchPanicLayer::custom(|_| panicked().into_response()))
        .layer(middleware::from_fn(access::log))
        .layer(SetSensitiveRequestHeadersLayer::new([header::AUTHORIZATION]))
        .with_state(api)
}

async fn no_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        "not-found",
        "There is nothing here",
        format!("`{path}` is no path of this service; see /openapi.json"),
    )
}

async fn no_method(method: Method) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "Not with that method",
        format!("{method} is not what this path takes; see /openapi.json"),
    )
}

fn panicked() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "A fault of failoverd",
        "the request met a fault of failoverd itself; the log has it under the request id",
    )
}
