//! The web page: what on-call and approvers see and do in a browser.
//!
//! Each page is rendered here, whole, from the same views that the API answers with, and each form ends in the same request
//! to the engine. Invariants: no way in but the API's ([`door`]), no script needed to read or to act, nothing from another
//! site, and nothing shown that the caller may not look at. It deliberately holds no state but its sessions, and its
//! addresses are no promise, except those that people send each other: an application's, a run's and its approval's.

mod acts;
mod application;
mod approval;
mod assets;
mod door;
mod evidence;
mod form;
mod frame;
mod layout;
mod moves;
mod overview;
mod plan;
mod plot;
mod preflight;
mod run;
mod runs;
mod session;
mod sign_in;
mod words;

use axum::middleware;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) use self::frame::takes_html;
pub use self::{
    door::{Door, FORM},
    session::Sessions,
};
use super::{
    Api,
    auth::{Guard, Permission, guard},
    replica,
};

fn read() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(overview::overview))
        .routes(routes!(application::application))
        .routes(routes!(runs::runs))
        .routes(routes!(run::run))
        .routes(routes!(run::events))
        .routes(routes!(run::evidence))
        .routes(routes!(approval::approval))
        .routes(routes!(evidence::evidence))
}

fn operate() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(moves::show)).routes(routes!(moves::start_move)).routes(routes!(acts::act))
}

fn drill() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(moves::show_drill)).routes(routes!(moves::start_drill))
}

fn approve() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(approval::decide))
}

fn public() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(sign_in::page))
        .routes(routes!(sign_in::sign_in))
        .routes(routes!(assets::style))
        .routes(routes!(assets::script))
        .routes(routes!(assets::icon))
}

/// Every route of the page, each behind the door and its guard.
pub(super) fn routes(api: &Api) -> OpenApiRouter<Api> {
    let forwarder = api.forwarder.clone();
    let guarded = |routes: OpenApiRouter<Api>, permission| {
        let state = Guard { access: api.access.clone(), permission };
        routes
            .route_layer(middleware::from_fn_with_state(forwarder.clone(), replica::forward))
            .route_layer(middleware::from_fn_with_state(state, guard))
    };
    let through = Door { access: api.access.clone(), sessions: api.sessions.clone() };
    OpenApiRouter::new()
        .merge(guarded(read(), Permission::Read))
        .merge(guarded(operate(), Permission::Operate))
        .merge(guarded(drill(), Permission::Drill))
        .merge(guarded(approve(), Permission::Approve))
        .merge(OpenApiRouter::new().routes(routes!(sign_in::sign_out)))
        .route_layer(middleware::from_fn_with_state(through, door::door))
        .merge(public())
        .route_layer(middleware::from_fn_with_state(api.clone(), frame::frame))
}

/// The page's routes, described. They are not part of the contract's description, since pages are for people.
pub fn described(api: &Api) -> utoipa::openapi::OpenApi {
    routes(api).split_for_parts().1
}
