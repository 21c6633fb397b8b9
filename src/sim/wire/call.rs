//! A call as it arrived: which service, Region and operation it means, and how its refusals look.
//!
//! Service and Region come from the signature's credential scope, the operation from wherever the protocol has it.

use bytes::Bytes;
use hyper::{HeaderMap, Method, http::request::Parts};
use winterbaume_core::MockResponse;

use super::{
    encode::{self, Protocol},
    s3, services,
};
use crate::{
    domain::id::Region,
    sim::world::{ApiFault, Plane, services as world_services},
};

/// Home of the Route 53 control plane, and of IAM's. [WP]
const GLOBAL_HOME: &str = "us-east-1";

/// A request, read whole, and what its signature and its form say about it.
pub(super) struct Call {
    pub(super) service: String,
    pub(super) operation: String,
    pub(super) region: Region,
    pub(super) protocol: Protocol,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Call {
    pub(super) fn target(&self) -> (&str, &str, &str) {
        (&self.service, &self.operation, self.region.as_str())
    }

    /// Everything that is not a read changes something.
    pub(super) fn mutates(&self) -> bool {
        !["Describe", "Get", "Head", "List", "Simulate", "Test"].iter().any(|read| self.operation.starts_with(read))
    }

    /// The plane that answers it, and where that plane lives.
    pub(super) fn plane(&self) -> (Plane, Region) {
        // As Route 53 below.
        if self.service == "iam" {
            return (Plane::Sts, GLOBAL_HOME.parse().unwrap_or_else(|_| self.region.clone()));
        }
        if let Some(plane) = world_services::plane(&self.service) {
            return (plane, self.region.clone());
        }
        let plane = match self.service.as_str() {
            "rds" => Plane::Rds,
            "sns" => Plane::Sns,
            "s3" => Plane::S3,
            "monitoring" => Plane::CloudWatch,
            "route53-recovery-cluster" => Plane::ArcCluster,
            // With a custom endpoint the SDKs sign with the client's Region; the plane has one home all the same.
            _ => {
                let home = GLOBAL_HOME.parse();
                return (Plane::Route53Control, home.unwrap_or_else(|_| self.region.clone()));
            }
        };
        (plane, self.region.clone())
    }

    /// A refusal as its protocol says it.
    pub(super) fn fault(&self, fault: &ApiFault) -> MockResponse {
        encode::error(self.protocol, &self.service, fault)
    }
}

/// Reads service, Region and operation out of a request.
pub(super) fn parse(parts: &Parts, body: Bytes) -> Result<Call, (Protocol, ApiFault)> {
    let path = parts.uri.path();
    let header = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok());
    let target = header("x-amz-target").and_then(|t| t.rsplit('.').next());
    let rpc = path.split_once("/service/GraniteServiceVersion20100801/operation/").map(|(_, operation)| operation);
    let protocol = match (rpc, target) {
        (Some(_), _) => Protocol::Cbor,
        (None, Some(_)) => Protocol::Json,
        (None, None) if path.contains("/2013-04-01/") => Protocol::RestXml,
        (None, None) => Protocol::Query,
    };
    let refuse = |status, code, message: String| {
        let fault = ApiFault { status, code, message };
        Err((protocol, fault))
    };
    let scope = header("authorization")
        .and_then(|a| a.split_once("Credential="))
        .map(|(_, rest)| rest.split([',', ' ']).next().unwrap_or_default())
        .map(|scope| scope.split('/').collect::<Vec<_>>());
    // AccessKey / date / Region / service / aws4_request; an access key holds no slash.
    let Some([_, _, region, service, "aws4_request"]) = scope.as_deref() else {
        return refuse(
            403,
            "MissingAuthenticationToken",
            "the request has no SigV4 Authorization header: sign it (any key will do)".to_owned(),
        );
    };
    // An endpoint of an ARC cluster may be told apart by a prefix: /endpoints/us-west-2.
    let (region, path) = match path.strip_prefix("/endpoints/").map(|rest| rest.split_once('/').unwrap_or((rest, ""))) {
        Some((region, rest)) => (region, format!("/{rest}")),
        None => (*region, path.to_owned()),
    };
    // REST-JSON has nothing but the path; who is meant stands in the signature.
    let protocol = match *service {
        "s3" => Protocol::RestXml,
        service if services::is_rest_json(service) => Protocol::Json,
        _ => protocol,
    };
    let Ok(region) = region.parse::<Region>() else {
        return refuse(400, "InvalidSignatureException", format!("{region} is not a Region"));
    };
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let operation = match protocol {
        _ if services::is_rest_json(service) => {
            services::rest_operation(&parts.method, &path).map_or("Unknown", |(operation, ..)| operation).to_owned()
        }
        _ if *service == "s3" => s3::operation(&parts.method, &path, &query).to_owned(),
        Protocol::Cbor | Protocol::Json => rpc.or(target).unwrap_or_default().to_owned(),
        Protocol::RestXml => route53_operation(&parts.method, &path).to_owned(),
        Protocol::Query => action(&body),
    };
    if operation.is_empty() {
        return refuse(400, "MissingAction", "the request names no operation".to_owned());
    }
    Ok(Call {
        service: (*service).to_owned(),
        operation,
        region,
        protocol,
        method: parts.method.clone(),
        path,
        query,
        headers: parts.headers.clone(),
        body,
    })
}

/// The `Action` of a Query request.
fn action(body: &[u8]) -> String {
    let found = form_urlencoded::parse(body).find(|(name, _)| name == "Action");
    found.map(|(_, v)| v.into_owned()).unwrap_or_default()
}

/// The operation that a Route 53 path means; `Unknown` where it is none of those that are told apart.
fn route53_operation(method: &Method, path: &str) -> &'static str {
    let rest = path.split_once("/2013-04-01/").map_or("", |(_, rest)| rest);
    let parts: Vec<&str> = rest.split('/').filter(|p| !p.is_empty()).collect();
    let get = *method == Method::GET;
    match (method.as_str(), parts.as_slice()) {
        ("POST", ["hostedzone", _, "rrset"]) => "ChangeResourceRecordSets",
        ("GET", ["hostedzone", _, "rrset"]) => "ListResourceRecordSets",
        ("GET", ["hostedzone", _]) => "GetHostedZone",
        ("GET", ["hostedzone"]) => "ListHostedZones",
        ("POST", ["hostedzone"]) => "CreateHostedZone",
        ("GET", ["hostedzonesbyname"]) => "ListHostedZonesByName",
        ("GET", ["change", _]) => "GetChange",
        ("GET", ["healthcheck"]) => "ListHealthChecks",
        ("POST", ["healthcheck"]) => "CreateHealthCheck",
        ("GET", ["healthcheck", _]) => "GetHealthCheck",
        ("POST", ["healthcheck", _]) => "UpdateHealthCheck",
        ("DELETE", ["healthcheck", _]) => "DeleteHealthCheck",
        ("GET", ["healthcheck", _, "status"]) => "GetHealthCheckStatus",
        ("GET", ["healthcheck", _, "lastfailurereason"]) => "GetHealthCheckLastFailureReason",
        ("GET", ["healthcheckcount"]) => "GetHealthCheckCount",
        ("GET", ["testdnsanswer"]) => "TestDNSAnswer",
        _ if get => "GetUnknown",
        _ => "Unknown",
    }
}

pub(super) fn throttled(service: &str) -> ApiFault {
    let (status, code) = match service {
        "ec2" => (503, "RequestLimitExceeded"),
        "sns" => (429, "Throttled"),
        "s3" => (503, "SlowDown"),
        "route53-recovery-cluster" => (429, "ThrottlingException"),
        "lambda" => (429, "TooManyRequestsException"),
        "ecs" | "ssm" | "events" | "secretsmanager" | "kms" | "backup" => (400, "ThrottlingException"),
        _ => (400, "Throttling"),
    };
    ApiFault { status, code, message: "Rate exceeded".to_owned() }
}

pub(super) fn unavailable(service: &str) -> ApiFault {
    let code = match service {
        "route53-recovery-cluster" => "EndpointTemporarilyUnavailableException",
        _ => "ServiceUnavailable",
    };
    ApiFault { status: 503, code, message: "Service is unavailable".to_owned() }
}

pub(super) fn denied(service: &str, operation: &str) -> ApiFault {
    // The awsJson services refuse with 400. [bc]
    let status =
        if matches!(service, "ecs" | "ssm" | "events" | "secretsmanager" | "kms" | "backup") { 400 } else { 403 };
    let code = match service {
        "ec2" => "UnauthorizedOperation",
        "sns" => "AuthorizationError",
        "route53-recovery-cluster" | "lambda" | "ecs" | "ssm" | "events" | "secretsmanager" | "kms" | "backup" => {
            "AccessDeniedException"
        }
        _ => "AccessDenied",
    };
    ApiFault { status, code, message: format!("User is not authorized to perform: {service}:{operation}") }
}

pub(super) fn with_status(status: u16) -> ApiFault {
    let code = match status {
        400 => "ValidationError",
        403 => "AccessDenied",
        404 => "NotFound",
        429 => "Throttling",
        503 => "ServiceUnavailable",
        _ => "InternalFailure",
    };
    ApiFault { status, code, message: "an injected fault".to_owned() }
}
