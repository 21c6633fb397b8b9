//! What the contract lists and this version does not do: refused with 501 and the issue that brings it.
//!
//! Permissions hold here already, so that building one changes no access.

use super::problem::Problem;

macro_rules! unbuilt {
    ($(#[$doc:meta])* $name:ident, $method:ident, $path:literal, $what:literal, $issue:literal $(, $param:literal)*) => {
        $(#[$doc])*
        #[utoipa::path(
            $method, path = $path, tag = "not built",
            params($(($param = String, Path)),*),
            responses((status = 501, description = "`not-built`", body = Problem, content_type = "application/problem+json"))
        )]
        pub async fn $name() -> Problem {
            Problem::not_built($what, $issue)
        }
    };
}

unbuilt!(/** Comes with issue 7. */ evidence, get, "/runs/{id}/evidence", "a run's evidence", 7, "id");
