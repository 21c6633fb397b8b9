//! A read that AWS refuses: a fact that no waiting changes, and that a person must (FAULTS.md 50, 51).
//!
//! Not this: throttling, no answer, an answer that makes no sense, a thing that is not there (yet). Those pass, and
//! are waited for.

use crate::domain::{
    cloud::ObserveError,
    id::Region,
    sabotage::{Guard, is_off},
};

/// Codes of credentials that are not, or no more, accepted, over the services that are used.
const CREDENTIALS: &[&str] = &[
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "RequestExpired",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
];

/// Codes of a permission that is missing.
const PERMISSIONS: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "AuthorizationError",
    "AuthorizationErrorException",
    "NotAuthorized",
    "OptInRequired",
    "UnauthorizedOperation",
];

/// Why AWS does not let us read what a step needs to see; `code` has a page in docs/errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    pub code: &'static str,
    pub why: String,
}

impl Denial {
    /// What `error` says, met by `operation` (which is also the name of the permission) in `region`, where it has
    /// one. `None`: asking again may help.
    pub fn of(operation: &str, region: Option<&Region>, error: &ObserveError) -> Option<Self> {
        let ObserveError::Rejected { code, message } = error else { return None };
        if is_off(Guard::DenialWaits) {
            return None;
        }
        let read = region.map_or_else(|| operation.to_owned(), |region| format!("{operation} in {region}"));
        let said = if message.is_empty() { code.clone() } else { format!("{code}: {message}") };
        Some(if CREDENTIALS.contains(&code.as_str()) {
            let why = format!(
                "the daemon's credentials have expired or are not accepted: {read} answered {said}; renew them"
            );
            Self { code: "credentials-refused", why }
        } else if PERMISSIONS.contains(&code.as_str()) {
            let why = format!("the daemon's role lacks the permission {operation}: {read} answered {said}");
            Self { code: "access-denied", why }
        } else {
            Self { code: "read-rejected", why: format!("AWS refuses {read}: {said}") }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: &str) -> Option<Denial> {
        let error = ObserveError::Rejected { code: code.to_owned(), message: "no".to_owned() };
        Denial::of("rds:DescribeDBClusters", Some(&"us-west-2".parse().expect("a Region")), &error)
    }

    #[test]
    fn each_refusal_of_a_read_has_its_own_sentence() {
        let denied = of("AccessDenied").expect("a denial");
        assert_eq!(denied.code, "access-denied");
        assert_eq!(
            denied.why,
            "the daemon's role lacks the permission rds:DescribeDBClusters: rds:DescribeDBClusters in us-west-2 \
             answered AccessDenied: no"
        );
        let expired = of("ExpiredToken").expect("a denial");
        assert_eq!(expired.code, "credentials-refused");
        assert!(expired.why.contains("have expired"), "{}", expired.why);
        let other = of("InvalidParameterValue").expect("a denial");
        assert_eq!(
            (other.code, other.why.as_str()),
            ("read-rejected", "AWS refuses rds:DescribeDBClusters in us-west-2: InvalidParameterValue: no")
        );
    }

    #[test]
    fn what_may_pass_is_no_denial() {
        for error in [
            ObserveError::Throttled,
            ObserveError::Unreachable { reason: "no answer".to_owned() },
            ObserveError::Malformed { reason: "no XML".to_owned() },
            ObserveError::NotFound { what: "it".to_owned(), code: "NoSuchChange".to_owned() },
        ] {
            assert_eq!(Denial::of("route53:GetChange", None, &error), None, "{error}");
        }
    }
}
