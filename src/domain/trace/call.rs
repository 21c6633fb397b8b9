//! Calls to the cloud as spans: OpenTelemetry's conventions for the AWS SDK, and those for databases.

use jiff::Timestamp;

use super::{Attributes, Behalf, CloudCall, Kind, Span, SpanId, Status, TraceId, Way};
use crate::domain::{
    cloud::{Mutation, Outcome},
    id::{Region, RunId, StepId},
    stability::call_regions,
};

/// A mutation that is intended and not answered.
#[derive(Debug)]
pub(super) struct OpenCall {
    pub(super) mutation: Mutation,
    pub(super) attempt: u32,
    pub(super) call: u32,
    /// `None`: another process intended it, and when is not in the state that it left.
    pub(super) began: Option<Timestamp>,
    /// The last one that was made for it.
    pub(super) seen: Option<CloudCall>,
}

impl OpenCall {
    pub(super) fn id(&self, (run, step, way): (&RunId, &StepId, Way)) -> SpanId {
        let numbers = format!("{}/{}", self.attempt, self.call);
        SpanId::of(&["call", run.as_str(), step.as_str(), way.as_str(), &numbers])
    }

    /// Whether `call` is this one, and not one that it needed.
    pub(super) fn is_by(&self, call: &CloudCall) -> bool {
        self.mutation.operation().split_once(':') == Some((&*call.service, &*call.operation))
    }

    pub(super) fn ended(self, of: (&RunId, &StepId, Way), parent: SpanId, at: Timestamp, outcome: &Outcome) -> Span {
        let (run, step, way) = of;
        let (word, code, request_id) = match outcome {
            Outcome::Accepted { request_id, .. } => ("accepted", None, request_id.as_deref()),
            Outcome::Rejected { code, request_id, .. } => ("rejected", Some(code.as_str()), request_id.as_deref()),
            Outcome::NotSent { .. } => ("not_sent", Some("not_sent"), None),
            Outcome::Unknown { .. } => ("unknown", Some("unknown"), None),
        };
        let operation = self.mutation.operation();
        let (service, method) = operation.split_once(':').unwrap_or(("", &operation));
        let regions = call_regions(&self.mutation);
        let region = self.seen.as_ref().map(|seen| &seen.region).or(match &regions[..] {
            [only] => Some(only),
            _ => None,
        });
        let mut attributes = of_call(run, step, way, (service, method), region);
        attributes.push(("failoverd.call.attempt", self.attempt.into()));
        attributes.push(("failoverd.call.number", self.call.into()));
        let seen_id = self.seen.as_ref().and_then(|seen| seen.request_id.as_deref());
        attributes.extend(request_id.or(seen_id).map(|id| ("aws.request_id", id.into())));
        attributes.extend(self.seen.iter().flat_map(of_answer));
        attributes.push(("failoverd.outcome", word.into()));
        attributes.extend(code.map(|code| ("error.type", code.into())));
        attributes.extend(self.began.is_none().then(|| ("failoverd.began_unknown", true.into())));
        Span {
            trace: TraceId::of(run),
            id: self.id(of),
            parent: Some(parent),
            name: format!("{service}.{method}"),
            kind: Kind::Client,
            began: self.began.unwrap_or(at),
            ended: at,
            status: if code.is_some() { Status::Error } else { Status::Ok },
            attributes,
            moments: Vec::new(),
            moments_dropped: 0,
        }
    }
}

/// A call that only read, or that was one of several.
pub(super) fn read(behalf: &Behalf, parent: SpanId, call: &CloudCall, number: u64) -> Span {
    let Behalf { run, step, way, .. } = behalf;
    let mut attributes = of_call(run, step, *way, (&call.service, &call.operation), Some(&call.region));
    attributes.extend(call.request_id.as_deref().map(|id| ("aws.request_id", id.into())));
    attributes.extend(of_answer(call));
    attributes.push(("failoverd.outcome", call.outcome.into()));
    let failed = call.outcome != "ok";
    attributes.extend(failed.then(|| ("error.type", call.outcome.into())));
    let (began, ended) = (call.began.as_nanosecond().to_string(), call.ended.as_nanosecond().to_string());
    let (number, region) = (number.to_string(), call.region.as_str());
    let parts = ["read", run.as_str(), step.as_str(), &call.service, &call.operation, region, &began, &ended, &number];
    Span {
        trace: TraceId::of(run),
        id: SpanId::of(&parts),
        parent: Some(parent),
        name: format!("{}.{}", call.service, call.operation),
        kind: Kind::Client,
        began: call.began,
        ended: call.ended,
        status: if failed { Status::Error } else { Status::Ok },
        attributes,
        moments: Vec::new(),
        moments_dropped: 0,
    }
}

/// What any call is: OpenTelemetry's conventions for the AWS SDK, and those for databases where it is none to AWS.
fn of_call(
    run: &RunId,
    step: &StepId,
    way: Way,
    (service, method): (&str, &str),
    region: Option<&Region>,
) -> Attributes {
    let mut attributes: Attributes = vec![
        ("failoverd.run.id", run.as_str().into()),
        ("failoverd.step.id", step.as_str().into()),
        ("failoverd.step.way", way.as_str().into()),
    ];
    if service == "postgres" {
        attributes.push(("db.system.name", "postgresql".into()));
        attributes.push(("db.operation.name", method.into()));
    } else {
        attributes.push(("rpc.system", "aws-api".into()));
        attributes.push(("rpc.service", service.into()));
        attributes.push(("rpc.method", method.into()));
    }
    attributes.extend(region.map(|region| ("cloud.region", region.as_str().into())));
    attributes
}

/// What only whoever made a call knows of it.
fn of_answer(call: &CloudCall) -> Attributes {
    let status = call.http_status.map(|status| ("http.response.status_code", u32::from(status).into()));
    let resent = ("http.request.resend_count", call.attempts.saturating_sub(1).into());
    status.into_iter().chain((1 < call.attempts).then_some(resent)).collect()
}
