//! The application that is moved: its resources in the emulator, its servers, its name servers and its lag.
//!
//! The emulator has none of these as things that run: it keeps the records and metrics, and the test serves from
//! them. So what clients would see follows what the emulator was told, and from nothing else.

use std::{
    net::{Ipv4Addr, SocketAddr},
    str::FromStr as _,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
use aws_sdk_route53::types::{Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType};
use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, Record, rdata::A},
};
use jiff::{SignedDuration, Timestamp};
use tokio::{
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};

use crate::support::ministack::{EAST, Emulator, WEST};

pub(super) const NAME: &str = "api.payments.example.com";
pub(super) const EAST_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 11, 1);
pub(super) const WEST_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 12, 1);
/// How far the secondary is behind.
const LAG: SignedDuration = SignedDuration::from_millis(400);

/// How the primary Region is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Primary {
    Writes,
    /// Its servers answer 503 and nothing replicates any more.
    LostSince(Timestamp),
    /// It is back and follows the other Region.
    Follows,
}

pub(super) type Shared = Arc<Mutex<Primary>>;

/// Everything of the application that the configuration names.
pub(super) struct Payments {
    pub(super) primary: Shared,
    pub(super) zone: String,
    pub(super) topics: [String; 2],
    pub(super) clusters: [String; 2],
    pub(super) port: u16,
    pub(super) dns: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Payments {
    pub(super) async fn create(emulator: &Emulator) -> Self {
        let (east, west) = emulator.global_cluster().await;
        for (region, cluster) in [(EAST, &east), (WEST, &west)] {
            instance(emulator, region, cluster.identifier()).await;
        }
        let zone = zone(emulator).await;
        let topics = [topic(emulator, EAST).await, topic(emulator, WEST).await];
        let primary: Shared = Arc::new(Mutex::new(Primary::Writes));
        let mut tasks = JoinSet::new();
        let port = serve(&mut tasks, &primary).await;
        let dns = name_server(&mut tasks, emulator, &zone).await;
        feed_lag(&mut tasks, emulator, &primary);
        Self { primary, zone, topics, clusters: [east.to_string(), west.to_string()], port, dns, _tasks: tasks }
    }

    pub(super) fn becomes(&self, primary: Primary) {
        *self.primary.lock().expect("not poisoned") = primary;
    }
}

async fn instance(emulator: &Emulator, region: &'static str, cluster: &str) {
    aws_sdk_rds::Client::new(&emulator.config(region))
        .create_db_instance()
        .db_instance_identifier(format!("{cluster}-1"))
        .db_cluster_identifier(cluster)
        .db_instance_class("db.r6g.large")
        .engine("aurora-postgresql")
        .send()
        .await
        .expect("an instance");
}

async fn topic(emulator: &Emulator, region: &'static str) -> String {
    let sns = aws_sdk_sns::Client::new(&emulator.config(region));
    let made = sns.create_topic().name("payments-alerts").send().await;
    let made = made.expect("a topic");
    made.topic_arn().expect("an ARN").to_owned()
}

/// A zone with the name's two weighted records: all for the east.
async fn zone(emulator: &Emulator) -> String {
    let route53 = aws_sdk_route53::Client::new(&emulator.config(EAST));
    let zone =
        route53.create_hosted_zone().name("payments.example.com").caller_reference("one").send().await.expect("a zone");
    let id = zone.hosted_zone().expect("described").id().to_owned();
    let mut batch = ChangeBatch::builder();
    for (identifier, weight, address) in [("use1", 100, EAST_ADDRESS), ("usw2", 0, WEST_ADDRESS)] {
        let value = ResourceRecord::builder().value(address.to_string());
        let set = ResourceRecordSet::builder()
            .name(NAME)
            .r#type(RrType::A)
            .set_identifier(identifier)
            .weight(weight)
            .ttl(2)
            .resource_records(value.build().expect("complete"))
            .build()
            .expect("complete");
        let change = Change::builder().action(ChangeAction::Create).resource_record_set(set);
        batch = batch.changes(change.build().expect("complete"));
    }
    route53
        .change_resource_record_sets()
        .hosted_zone_id(&id)
        .change_batch(batch.build().expect("complete"))
        .send()
        .await
        .expect("records");
    id.trim_start_matches("/hostedzone/").to_owned()
}

/// What the emulator's zone says of the name now: (set identifier, weight, address), heaviest first.
pub(super) async fn records(route53: &aws_sdk_route53::Client, zone: &str) -> Vec<(String, i64, Ipv4Addr)> {
    let listed = route53.list_resource_record_sets().hosted_zone_id(zone).send().await;
    let listed = listed.expect("listed");
    let of_name = listed.resource_record_sets().iter().filter(|r| r.name().trim_end_matches('.') == NAME);
    let mut found: Vec<_> = of_name
        .map(|r| {
            let value = r.resource_records().first().expect("a value").value();
            let identifier = r.set_identifier().unwrap_or_default().to_owned();
            (identifier, r.weight().unwrap_or_default(), value.parse().expect("an address"))
        })
        .collect();
    found.sort_by_key(|(_, weight, _)| -weight);
    found
}

/// The application's servers, one address per Region, the same port.
async fn serve(tasks: &mut JoinSet<()>, primary: &Shared) -> u16 {
    let east = TcpListener::bind((EAST_ADDRESS, 0)).await.expect("a loopback address");
    let port = east.local_addr().expect("bound").port();
    let west = TcpListener::bind((WEST_ADDRESS, port)).await.expect("the same port in the west");
    for (listener, is_east) in [(east, true), (west, false)] {
        let router = Router::new().route("/healthz", get(health)).with_state((Arc::clone(primary), is_east));
        tasks.spawn(async move { axum::serve(listener, router).await.expect("serves") });
    }
    port
}

/// The instant of the last write that the Region's database holds.
async fn health(State((primary, is_east)): State<(Shared, bool)>) -> Response {
    let now = now();
    let primary = *primary.lock().expect("not poisoned");
    let last_write = match (primary, is_east) {
        (Primary::LostSince(_), true) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        (Primary::Writes, true) | (Primary::Follows, false) => now,
        (Primary::Writes, false) | (Primary::Follows, true) => now - LAG,
        (Primary::LostSince(lost), false) => lost - LAG,
    };
    axum::Json(serde_json::json!({ "last_write_at": last_write.to_string() })).into_response()
}

pub(super) fn now() -> Timestamp {
    Timestamp::now()
}

/// An authority for the name that says what the emulator's zone says.
async fn name_server(tasks: &mut JoinSet<()>, emulator: &Emulator, zone: &str) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("loopback");
    let address = socket.local_addr().expect("bound");
    let route53 = aws_sdk_route53::Client::new(&emulator.config(EAST));
    let zone = zone.to_owned();
    tasks.spawn(async move {
        let mut buffer = [0; 1_500];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.expect("a question");
            let query = Message::from_vec(&buffer[..length]).expect("DNS");
            let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
            answer.metadata.authoritative = true;
            answer.add_queries(query.queries.iter().cloned());
            let asked = query.queries.first().map(|q| q.name().to_ascii());
            let is_ours = asked.is_some_and(|n| n.trim_end_matches('.').eq_ignore_ascii_case(NAME));
            match records(&route53, &zone).await.first() {
                Some((_, weight, address)) if is_ours && *weight > 0 => {
                    let name = Name::from_str(&format!("{NAME}.")).expect("a name");
                    answer.add_answers([Record::from_rdata(name, 2, RData::A(A(*address)))]);
                }
                _ => answer.metadata.response_code = ResponseCode::NXDomain,
            }
            let bytes = answer.to_vec().expect("encodes");
            socket.send_to(&bytes, from).await.expect("answered");
        }
    });
    address
}

/// Aurora's lag metric, as Aurora would put it: by the secondary, in the secondary's Region.
fn feed_lag(tasks: &mut JoinSet<()>, emulator: &Emulator, primary: &Shared) {
    let clients = [EAST, WEST].map(|r| aws_sdk_cloudwatch::Client::new(&emulator.config(r)));
    let primary = Arc::clone(primary);
    tasks.spawn(async move {
        loop {
            let state = *primary.lock().expect("not poisoned");
            let secondary = match state {
                Primary::Writes => Some((&clients[1], "payments-west")),
                Primary::LostSince(_) => None,
                Primary::Follows => Some((&clients[0], "payments-east")),
            };
            if let Some((client, cluster)) = secondary {
                put_lag(client, cluster).await;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    });
}

async fn put_lag(client: &aws_sdk_cloudwatch::Client, cluster: &str) {
    let dimension = Dimension::builder().name("DBClusterIdentifier").value(cluster).build();
    let datum = MetricDatum::builder()
        .metric_name("AuroraGlobalDBRPOLag")
        .dimensions(dimension)
        .timestamp(SystemTime::from(now()).into())
        .unit(StandardUnit::Milliseconds)
        .value(400.0)
        .build();
    let put = client.put_metric_data().namespace("AWS/RDS").metric_data(datum).send().await;
    put.expect("the emulator takes metrics");
}
