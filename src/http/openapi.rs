//! The description of the contract, generated from the handlers. `docs/openapi.json` is its golden copy.

use std::sync::OnceLock;

use utoipa::{
    OpenApi as _,
    openapi::{
        Content, OpenApi, Ref, RefOr, Response,
        path::{Operation, Parameter, ParameterIn},
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use super::{
    auth::{Access, Tokens},
    problem::Problem,
    routes_with_openapi,
    view::RecordView,
};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "failoverd",
        description = "Moves an application from a failing AWS Region to a healthy one. Errors are \
            application/problem+json whose `code` has a page at docs/errors/<code>.md; times are RFC 3339 in UTC; \
            durations are numbers of seconds in fields that end in `_seconds`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Problem, RecordView)),
    tags(
        (name = "runs", description = "What was asked for, what is being done, what was done"),
        (name = "notifications", description = "What people were told, and what they were not told yet"),
        (name = "drills", description = "Rehearsals on the real thing: there and back, planned and lossless"),
        (name = "runbooks", description = "The scripts, and what is to be known about each before the worst day"),
        (name = "applications", description = "What is protected, and how it is"),
        (name = "observers", description = "Those who look from elsewhere: what they are to probe, and what they saw"),
        (name = "overrides", description = "Arming, the kill switch, acknowledgements, waived rules"),
        (name = "system", description = "The service itself; no token needed"),
    ),
)]
struct Base;

/// What does not come from handlers: the head and the security scheme.
pub fn base() -> OpenApi {
    let mut api = Base::openapi();
    let mut bearer = Http::new(HttpAuthScheme::Bearer);
    bearer.description = Some(
        "A token of the configuration, or one of the issuer that it names. Roles and applications go with it: what it \
         is not good for is answered 403, what it may not look at 404."
            .to_owned(),
    );
    let bearer = SecurityScheme::Http(bearer);
    if let Some(components) = &mut api.components {
        components.add_security_scheme("token", bearer);
    }
    api.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    api
}

/// The whole description.
pub fn document() -> OpenApi {
    let (_, mut api) = routes_with_openapi(&Access::from(Tokens::open()), None);
    for item in api.paths.paths.values_mut() {
        for (operation, has_body) in [(&mut item.get, false), (&mut item.post, true)] {
            if let Some(operation) = operation {
                common_errors(operation, has_body);
            }
        }
    }
    api
}

/// What any guarded operation may answer, said once here.
fn common_errors(operation: &mut Operation, has_body: bool) {
    if operation.security.is_some() {
        return;
    }
    let is_query = |p: &RefOr<Parameter>| match p {
        RefOr::T(p) => matches!(p.parameter_in, ParameterIn::Query | ParameterIn::Header),
        RefOr::Ref(_) => true,
    };
    let has_query = operation.parameters.as_ref().is_some_and(|all| all.iter().any(is_query));
    let mut add = |status: &str, description: &str| {
        let mut content = Content::default();
        content.schema = Some(Ref::from_schema_name("Problem").into());
        let mut response = Response::new(description);
        response.content.insert("application/problem+json".to_owned(), content.into());
        operation.responses.responses.entry(status.to_owned()).or_insert_with(|| response.into());
    };
    add("401", "`unauthenticated`");
    add("403", "`forbidden`");
    add("429", "`rate-limited`: with `Retry-After`");
    add("500", "`internal`");
    if has_query && !has_body {
        add("400", "`invalid-request`");
    }
    if has_body {
        add("400", "`bad-json`, `invalid-request`");
        add("408", "`invalid-request`");
        add("411", "`invalid-request`: a body without Content-Length");
        add("413", "`body-too-large`");
        add("415", "`invalid-request`");
    }
}

/// The description as the text of `docs/openapi.json`.
pub fn json() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let mut text = document().to_pretty_json().unwrap_or_else(|e| unreachable!("the description serialises: {e}"));
        text.push('\n');
        text
    })
}
