//! The control API of the simulated AWS, under `/_sim/` on the same listener: what is going on, and what to break.
//!
//! JSON in and out. It is for people, the demo and tests; nothing that stands for AWS's clients may use it.

use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, http::request::Parts};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use winterbaume_core::MockResponse;

use super::{
    faults::{Fault, Point, Release, Target},
    http::Server,
};
use crate::{
    domain::id::Region,
    sim::world::{
        Plane, Reach, SimTime, World,
        aurora::{LagSetting, PromotionFate},
        cloudwatch::MetricFault,
        rfc3339,
        services::iam::Denial,
    },
};

/// The longest that `GET /_sim/barriers` waits.
const POLL_MAX: Duration = Duration::from_secs(60);

type Answer = Result<Value, (u16, String)>;

/// Answers one call of the control API.
pub(super) async fn handle(server: &Server, parts: &Parts, body: &Bytes) -> MockResponse {
    let path = parts.uri.path().trim_start_matches("/_sim/");
    let query = parts.uri.query().unwrap_or_default();
    let answer = match (&parts.method, path) {
        (&Method::GET, "state") => Ok(server.world.with(|world| state(world, server))),
        (&Method::GET, "requests") => Ok(json!({ "requests": server.requests.all() })),
        (&Method::GET, "log") => Ok(server.world.with(|world| log(world))),
        (&Method::GET, "barriers") => {
            let ms = parameter(query, "wait_ms").unwrap_or(0);
            let wait = Duration::from_millis(ms).min(POLL_MAX);
            Ok(json!({ "barriers": server.barriers.wait_reached(wait).await }))
        }
        (&Method::POST, path) => match act(server, path, body) {
            Some(answer) => answer,
            None => Err((404, format!("there is no POST /_sim/{path}"))),
        },
        (method, path) => Err((404, format!("there is no {method} /_sim/{path}"))),
    };
    let (status, value) = match answer {
        Ok(value) => (200, value),
        Err((status, error)) => (status, json!({ "error": error })),
    };
    let mut response = MockResponse::json(status, value.to_string());
    if let Ok(kind) = "application/json".parse() {
        response.headers.insert("content-type", kind);
    }
    response
}

fn act(server: &Server, path: &str, body: &[u8]) -> Option<Answer> {
    Some(match path {
        "faults" => read(body).map(|f: FaultBody| {
            server.faults.arm(f.target, f.fault, f.times);
            json!({ "armed": server.faults.left() })
        }),
        "faults/clear" => {
            server.faults.clear();
            Ok(json!({ "armed": 0 }))
        }
        "lose-region" => on_region(server, body, World::lose_region),
        "restore-region" => on_region(server, body, World::restore_region),
        "partition-region" => on_region(server, body, World::partition_region),
        "permission" => read(body).and_then(|p: PermissionBody| set_permission(server, &p)),
        "plane" => read(body).and_then(|p: PlaneBody| set_plane(server, &p)),
        "aurora" => read(body).and_then(|k: AuroraBody| set_aurora(server, &k)),
        "metric" => read(body).and_then(|m: MetricBody| set_metric(server, &m)),
        "datapoint" => read(body).and_then(|d: DatapointBody| put_datapoint(server, &d)),
        "advance" => read(body).and_then(|a: AdvanceBody| advance(server, a.ms)),
        "barriers" => read(body).map(|b: BarrierBody| {
            let id = server.barriers.set(b.target, b.point);
            json!({ "id": id })
        }),
        "barriers/release" => read(body).map(|b: ReleaseBody| match b.id {
            Some(id) => {
                let how = if b.drop { Release::Drop } else { Release::GoOn };
                json!({ "released": server.barriers.release(id, how) })
            }
            None => {
                server.barriers.release_all();
                json!({ "released": true })
            }
        }),
        _ => return None,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultBody {
    #[serde(default)]
    target: Target,
    fault: Fault,
    #[serde(default = "once")]
    times: u32,
}

fn once() -> u32 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegionBody {
    region: Region,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaneBody {
    plane: String,
    region: Region,
    reach: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PermissionBody {
    /// As in a policy: `rds:FailoverGlobalCluster`.
    action: String,
    /// `implicit` or `explicit`; absent permits it again.
    #[serde(default)]
    denial: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuroraBody {
    /// ARN of the secondary whose lag is set, with one of the next two.
    #[serde(default)]
    cluster: Option<String>,
    #[serde(default)]
    lag_ms: Option<u64>,
    /// Nothing is replicated any more.
    #[serde(default)]
    lag_stands_still: bool,
    /// The lag wanders again.
    #[serde(default)]
    lag_wanders: bool,
    /// What befalls the next promotion: `fails`, `sticks` or `cancelled`.
    #[serde(default)]
    next_promotion: Option<String>,
    #[serde(default)]
    fencing_times_out: Option<bool>,
    /// The global cluster whose stuck promotion is released.
    #[serde(default)]
    release_stuck: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MetricBody {
    region: Region,
    namespace: String,
    metric: String,
    /// `withhold`, `delay`, `freeze`, `nan`; absent mends it.
    #[serde(default)]
    fault: Option<String>,
    #[serde(default)]
    delay_ms: u64,
}

/// A datapoint of any namespace, AWS's own too: what publishes it in truth (Lambda, DynamoDB, S3 …) is not simulated.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DatapointBody {
    region: Region,
    namespace: String,
    metric: String,
    #[serde(default)]
    dimensions: std::collections::BTreeMap<String, String>,
    value: f64,
    /// Milliseconds since the epoch; now, where absent. It is published after CloudWatch's usual delay.
    #[serde(default)]
    at_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdvanceBody {
    ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BarrierBody {
    #[serde(default)]
    target: Target,
    point: Point,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseBody {
    /// All, where absent.
    #[serde(default)]
    id: Option<u64>,
    /// The call that stands there is lost instead of going on.
    #[serde(default)]
    drop: bool,
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, (u16, String)> {
    serde_json::from_slice(body).map_err(|e| (400, e.to_string()))
}

fn parameter(query: &str, name: &str) -> Option<u64> {
    let (_, value) = form_urlencoded::parse(query.as_bytes()).find(|(k, _)| k == name)?;
    value.parse().ok()
}

fn on_region(server: &Server, body: &[u8], act: fn(&mut World, &Region)) -> Answer {
    let RegionBody { region } = read(body)?;
    server.world.with(|world| act(world, &region));
    Ok(json!({ "region": region }))
}

const PLANES: [(&str, Plane); 19] = [
    ("rds", Plane::Rds),
    ("route53-control", Plane::Route53Control),
    ("cloudwatch", Plane::CloudWatch),
    ("sns", Plane::Sns),
    ("s3", Plane::S3),
    ("lambda", Plane::Lambda),
    ("ec2", Plane::Ec2),
    ("ecs", Plane::Ecs),
    ("ssm", Plane::Ssm),
    ("eventbridge", Plane::EventBridge),
    ("secretsmanager", Plane::SecretsManager),
    ("kms", Plane::Kms),
    ("backup", Plane::Backup),
    ("sts", Plane::Sts),
    ("health-checkers", Plane::HealthCheckers),
    ("arc-cluster", Plane::ArcCluster),
    ("application", Plane::Application),
    ("database", Plane::Database),
    ("network", Plane::Network),
];

const REACHES: [(&str, Reach); 5] = [
    ("up", Reach::Up),
    ("hangs", Reach::Hangs),
    ("unavailable", Reach::Unavailable),
    ("throttles", Reach::Throttles),
    ("denies-access", Reach::DeniesAccess),
];

fn named<T: Copy>(names: &[(&str, T)], name: &str) -> Result<T, (u16, String)> {
    let found = names.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
    found.ok_or_else(|| {
        let known: Vec<_> = names.iter().map(|(n, _)| *n).collect();
        (400, format!("`{name}` is none of {}", known.join(", ")))
    })
}

const DENIALS: [(&str, Denial); 2] = [("implicit", Denial::Implicit), ("explicit", Denial::Explicit)];

fn set_permission(server: &Server, body: &PermissionBody) -> Answer {
    let denial = body.denial.as_deref().map(|name| named(&DENIALS, name)).transpose()?;
    server.world.with(|world| match denial {
        Some(denial) => world.services.iam.deny(&body.action, denial),
        None => world.services.iam.permit(&body.action),
    });
    Ok(json!({ "action": body.action, "denial": body.denial }))
}

fn set_plane(server: &Server, body: &PlaneBody) -> Answer {
    let plane = named(&PLANES, &body.plane)?;
    let reach = named(&REACHES, &body.reach)?;
    server.world.with(|world| world.set_plane(plane, &body.region, reach));
    Ok(json!({ "plane": body.plane, "region": body.region, "reach": body.reach }))
}

fn set_aurora(server: &Server, body: &AuroraBody) -> Answer {
    let fates =
        [("fails", PromotionFate::Fails), ("sticks", PromotionFate::Sticks), ("cancelled", PromotionFate::Cancelled)];
    let fate = body.next_promotion.as_deref().map(|name| named(&fates, name)).transpose()?;
    let lag = match (body.lag_ms, body.lag_stands_still, body.lag_wanders) {
        (Some(ms), false, false) => Some(LagSetting::Fixed(ms)),
        (None, true, false) => Some(LagSetting::StandsStill),
        (None, false, true) => Some(LagSetting::Wanders),
        (None, false, false) => None,
        _ => {
            return Err((400, "give one of lag_ms, lag_stands_still and lag_wanders".to_owned()));
        }
    };
    server.world.with(|world| {
        match (&body.cluster, lag) {
            (Some(arn), Some(lag)) if !world.aurora.set_lag(arn, lag) => {
                return Err((404, format!("there is no cluster {arn}")));
            }
            (Some(_), Some(_)) | (None, None) => {}
            _ => return Err((400, "a lag needs a cluster, and a cluster a lag".to_owned())),
        }
        if fate.is_some() {
            world.aurora.knobs.next_promotion = fate;
        }
        if let Some(times_out) = body.fencing_times_out {
            world.aurora.knobs.fencing_times_out = times_out;
        }
        if let Some(global) = &body.release_stuck
            && !world.with_aurora(|aurora, ctx| aurora.release_stuck(global, ctx))
        {
            return Err((409, format!("nothing is stuck in {global}")));
        }
        Ok(json!({}))
    })
}

fn set_metric(server: &Server, body: &MetricBody) -> Answer {
    let faults = [
        ("withhold", MetricFault::Withhold),
        ("delay", MetricFault::Delay(body.delay_ms)),
        ("freeze", MetricFault::Freeze),
        ("nan", MetricFault::NotANumber),
    ];
    let fault = body.fault.as_deref().map(|name| named(&faults, name)).transpose()?;
    server.world.with(|world| {
        let cloudwatch = &mut world.cloudwatch;
        cloudwatch.set_fault(&body.region, &body.namespace, &body.metric, fault);
    });
    Ok(json!({}))
}

fn put_datapoint(server: &Server, body: &DatapointBody) -> Answer {
    if body.namespace.is_empty() || body.metric.is_empty() || !body.value.is_finite() {
        return Err((400, "a datapoint needs a namespace, a metric and a number".to_owned()));
    }
    let dimensions: Vec<(&str, &str)> = body.dimensions.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    server.world.with(|world| {
        let at = body.at_ms.map_or(world.now, SimTime);
        world.with_cloudwatch(|cloudwatch, ctx| {
            cloudwatch.record(&body.region, &body.namespace, &body.metric, &dimensions, at, body.value, ctx);
        });
    });
    Ok(json!({}))
}

fn advance(server: &Server, ms: u64) -> Answer {
    let Some(clock) = &server.manual else {
        return Err((409, "the clock of this world moves by itself".to_owned()));
    };
    let now = clock.advance_ms(ms);
    server.world.with(|_| ());
    Ok(json!({ "now": rfc3339(now) }))
}

fn log(world: &World) -> Value {
    let events =
        world.log.iter().map(|e| json!({ "at": rfc3339(e.at), "at_ms": e.at.0, "kind": e.kind, "text": e.text }));
    json!({ "log": events.collect::<Vec<_>>() })
}

/// Everything that an onlooker wants to know: roles, planes, what clients got, and effects per service.
fn state(world: &World, server: &Server) -> Value {
    let effects = server.requests.effects().into_iter().map(|((service, operation, region), n)| {
        json!({ "service": service, "operation": operation, "region": region, "count": n })
    });
    json!({
        "now": rfc3339(world.now),
        "now_ms": world.now.0,
        "global_clusters": global_clusters(world),
        "planes": planes(world),
        "endpoints": endpoints(world),
        "ledger": ledger(world),
        "effects": effects.collect::<Vec<_>>(),
        "aurora_effects": world.aurora.effects.iter().map(|e| json!({
            "at_ms": e.at.0,
            "operation": e.operation,
            "region": e.caller_region,
            "target": e.target,
            "accepted": e.accepted,
        })).collect::<Vec<_>>(),
        "route53_effects": world.route53.effects.iter().map(|e| json!({
            "at_ms": e.at.0,
            "operation": e.operation,
            "detail": e.detail,
            "accepted": e.accepted,
        })).collect::<Vec<_>>(),
        "messages": world.sns.delivered.iter().map(|m| json!({
            "at_ms": m.at.0,
            "topic_arn": m.topic_arn,
            "subject": m.subject,
            "body": m.body,
        })).collect::<Vec<_>>(),
    })
}

/// Every Region that has a cluster or a server.
fn regions(world: &World) -> Vec<Region> {
    let servers = world.endpoints.iter().map(|e| e.region.clone());
    let clusters = global_cluster_list(world);
    let members = clusters.iter().flat_map(|g| &g.members);
    let homes = members.filter_map(|arn| Some(world.aurora.cluster(arn)?.region.clone()));
    let all: std::collections::BTreeSet<Region> = servers.chain(homes).collect();
    all.into_iter().collect()
}

fn global_cluster_list(world: &World) -> Vec<&crate::sim::world::aurora::GlobalCluster> {
    let mut found: std::collections::BTreeMap<&str, _> = std::collections::BTreeMap::new();
    for endpoint in world.endpoints.iter() {
        let cluster = world.aurora.cluster(&endpoint.db_cluster);
        let global = cluster.and_then(|c| world.aurora.global_cluster(c.global.as_deref()?));
        if let Some(global) = global {
            found.insert(&global.id, global);
        }
    }
    found.into_values().collect()
}

fn global_clusters(world: &World) -> Value {
    let clusters = global_cluster_list(world).into_iter().map(|global| {
        let writer = world.aurora.writer_of(&global.id);
        let members = global.members.iter().filter_map(|arn| world.aurora.cluster(arn));
        let members = members.map(|c| {
            json!({
                "arn": c.arn,
                "region": c.region,
                "status": c.status,
                "membership": format!("{:?}", c.membership),
                "takes_writes": c.takes_writes(&world.planes),
                "commits": c.commits().len(),
            })
        });
        json!({
            "id": global.id,
            "status": global.status.as_str(),
            "writer": writer.map(|w| w.arn.clone()),
            "writer_region": writer.map(|w| w.region.clone()),
            "operation": global.operation.as_ref().map(|o| o.state()),
            "members": members.collect::<Vec<_>>(),
        })
    });
    Value::Array(clusters.collect())
}

fn planes(world: &World) -> Value {
    let mut broken = Vec::new();
    for region in regions(world) {
        for (name, plane) in PLANES {
            let reach = world.planes.reach(plane, &region);
            let reach = REACHES.iter().find(|(_, r)| *r == reach && reach != Reach::Up);
            if let Some((word, _)) = reach {
                broken.push(json!({ "plane": name, "region": region, "reach": word }));
            }
        }
    }
    Value::Array(broken)
}

fn endpoints(world: &World) -> Value {
    let endpoints = world.endpoints.iter().map(|e| {
        let status = world.endpoints.endpoint_status(e.address, &world.planes);
        json!({
            "name": e.name,
            "region": e.region,
            "address": e.address,
            "status": format!("{status:?}"),
        })
    });
    Value::Array(endpoints.collect())
}

fn ledger(world: &World) -> Value {
    let ledger = world.clients.ledger(&world.aurora);
    let at = |at: Option<SimTime>| at.map(|at| at.0);
    json!({
        "writes_acknowledged": ledger.writes_acknowledged,
        "writes_lost": ledger.writes_lost,
        "loss_window_seconds": ledger.loss_window_seconds,
        "failed_seconds": ledger.failed_seconds,
        "first_failure_at_ms": at(ledger.first_failure_at),
        "last_failure_at_ms": at(ledger.last_failure_at),
        "served_again_at_ms": at(ledger.served_again_at),
        "reads_backwards": ledger.reads_backwards,
    })
}
