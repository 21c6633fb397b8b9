//! What a shared store costs: every request that the store's own SDK client sends is counted at the wire, in virtual time,
//! with the capacity that it takes by the sizes of its items. The table of docs/store.md is what was counted here.
//!
//! By `UPDATE_GOLDEN=1` the figures are written; without it those that are written must be right within a quarter: a
//! record more or less is no news, and ten times as many are.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
    },
    orchestrator::{HttpRequest, HttpResponse},
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::{base64, body::SdkBody};
use failoverd::{
    adapters::{aws, store::DynamoStore},
    domain::{
        id::{ApplicationName, Digest},
        journal::Sealed,
        run::RunResult,
    },
    engine::{
        Sharing,
        control::{Control as _, Wish},
    },
    ports::{
        Clock, JournalStore,
        journal::{AppendError, ReadError},
    },
    sim::port::Faults,
};
use serde_json::{Value, json};

use crate::support::{
    Live, Played, Scene, dynamodb, incarnation, payments,
    replica::{CALL, LEASE},
};

const HOUR: u64 = 3_600;
/// So much of an hour is played.
const SHARE: u64 = 6;
const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);

/// What requests of one kind have taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Taken {
    requests: u64,
    read_units: u64,
    write_units: u64,
}

impl std::ops::Sub for Taken {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            requests: self.requests - other.requests,
            read_units: self.read_units - other.read_units,
            write_units: self.write_units - other.write_units,
        }
    }
}

impl Taken {
    fn times(self, n: u64) -> Self {
        Self { requests: self.requests * n, read_units: self.read_units * n, write_units: self.write_units * n }
    }
}

/// By operation and kind of item: `PutItem J`.
type Meter = BTreeMap<String, Taken>;

type Items = BTreeMap<(String, String), Value>;

/// One replica's wire to the table, which all of them share.
#[derive(Debug, Clone)]
struct Wire {
    items: Arc<Mutex<Items>>,
    meter: Arc<Mutex<Meter>>,
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]["S"].as_str().unwrap_or_default()
}

fn key(of: &Value) -> (String, String) {
    (text(of, "pk").to_owned(), text(of, "sk").to_owned())
}

/// An item's size as DynamoDB counts it: names and values; of a number a byte for two digits, and one.
fn size(item: &Value) -> u64 {
    let attributes = item.as_object().expect("an item");
    let of_value = |value: &Value| match value.as_object().and_then(|v| v.iter().next()) {
        Some((kind, Value::String(text))) if kind == "B" => base64::decode(text).expect("base64").len(),
        Some((kind, Value::String(text))) if kind == "N" => text.len().div_ceil(2) + 1,
        Some((_, Value::String(text))) => text.len(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|(name, value)| (name.len() + of_value(value)) as u64).sum()
}

impl Wire {
    fn answer(&self, operation: &str, asked: &Value) -> (u16, Value) {
        let mut items = self.items.lock().expect("nobody panics");
        let (pk, read, write, answer) = match operation {
            "PutItem" => {
                let item = &asked["Item"];
                let found = items.get(&key(item)).cloned();
                let holds = match asked["ConditionExpression"].as_str() {
                    None => true,
                    Some("attribute_not_exists(pk)") => found.is_none(),
                    Some("#version = :over") => {
                        found.as_ref().is_some_and(|f| f["version"] == asked["ExpressionAttributeValues"][":over"])
                    }
                    Some(other) => panic!("{other}"),
                };
                let units = size(item).div_ceil(1_024);
                let answer = if holds {
                    items.insert(key(item), item.clone());
                    (200, json!({}))
                } else {
                    let code = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
                    (400, json!({ "__type": code, "message": "The conditional request failed", "Item": found }))
                };
                (key(item).0, 0, units, answer)
            }
            "GetItem" => {
                assert_eq!(asked["ConsistentRead"], true);
                let found = items.get(&key(&asked["Key"]));
                let units = found.map_or(1, |item| size(item).div_ceil(4_096));
                (key(&asked["Key"]).0, units, 0, (200, found.map_or(json!({}), |item| json!({ "Item": item }))))
            }
            "Query" => {
                assert_eq!(asked["ConsistentRead"], true);
                let values = &asked["ExpressionAttributeValues"];
                let (pk, from) = (text(values, ":pk").to_owned(), text(values, ":sk").to_owned());
                let limit = usize::try_from(asked["Limit"].as_u64().unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
                let found: Vec<&Value> = items
                    .range((pk.clone(), from)..)
                    .take_while(|(k, _)| k.0 == pk)
                    .map(|(_, i)| i)
                    .take(limit)
                    .collect();
                let units = found.iter().map(|item| size(item)).sum::<u64>().div_ceil(4_096).max(1);
                (pk, units, 0, (200, json!({ "Items": found, "Count": found.len() })))
            }
            "DescribeTable" => (String::new(), 0, 0, (200, json!({ "Table": table() }))),
            "DescribeTimeToLive" => {
                (String::new(), 0, 0, (200, json!({ "TimeToLiveDescription": { "TimeToLiveStatus": "DISABLED" } })))
            }
            "DescribeContinuousBackups" => (String::new(), 0, 0, (200, json!({}))),
            other => panic!("{other}"),
        };
        let kind = pk.split('#').next().unwrap_or_default();
        let mut meter = self.meter.lock().expect("nobody panics");
        let taken = meter.entry(format!("{operation} {kind}")).or_default();
        *taken = Taken {
            requests: taken.requests + 1,
            read_units: taken.read_units + read,
            write_units: taken.write_units + write,
        };
        answer
    }

    fn meter(&self) -> Meter {
        self.meter.lock().expect("nobody panics").clone()
    }
}

/// What was taken since `before`, by those whose name `counts`.
fn since(before: &Meter, now: &Meter, counts: impl Fn(&str) -> bool) -> Taken {
    let mut all = Taken::default();
    for (name, taken) in now.iter().filter(|(name, _)| counts(name)) {
        let more = *taken - before.get(name).copied().unwrap_or_default();
        all = Taken {
            requests: all.requests + more.requests,
            read_units: all.read_units + more.read_units,
            write_units: all.write_units + more.write_units,
        };
    }
    all
}

fn table() -> Value {
    json!({
        "TableName": "journals", "TableId": "11111111-0000-4000-8000-000000000000", "TableStatus": "ACTIVE",
        "AttributeDefinitions": [
            { "AttributeName": "pk", "AttributeType": "S" }, { "AttributeName": "sk", "AttributeType": "S" },
        ],
        "KeySchema": [
            { "AttributeName": "pk", "KeyType": "HASH" }, { "AttributeName": "sk", "KeyType": "RANGE" },
        ],
        "DeletionProtectionEnabled": true,
    })
}

impl HttpClient for Wire {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let operation = request.headers().get("x-amz-target").and_then(|t| t.rsplit('.').next()).unwrap_or_default();
        let asked: Value = serde_json::from_slice(request.body().bytes().expect("in memory")).expect("JSON");
        let (status, body) = self.answer(operation, &asked);
        let status = status.try_into().expect("a status");
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(body.to_string()))))
    }
}

/// The table, and beside it what the oracle of these tests looks at.
#[derive(Debug)]
struct Both {
    table: Arc<DynamoStore>,
    seen: Arc<dyn JournalStore>,
}

#[async_trait]
impl JournalStore for Both {
    async fn append(&self, sealed: &Sealed) -> Result<(), AppendError> {
        self.table.append(sealed).await?;
        self.seen.append(sealed).await
    }

    async fn read(
        &self,
        journal: &ApplicationName,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Digest)>, ReadError> {
        self.table.read(journal, from_seq, limit).await
    }

    async fn journals(&self) -> Result<Vec<ApplicationName>, ReadError> {
        self.table.journals().await
    }
}

struct Replica {
    live: Live,
    wire: Wire,
}

async fn replica(scene: &Scene, items: &Arc<Mutex<Items>>, holder: &str) -> Replica {
    let wire = Wire { items: Arc::clone(items), meter: Arc::default() };
    // Time stands still while it is opened, whichever clock says so.
    let clock: Arc<dyn Clock> = Arc::new(failoverd::sim::port::SimClock::starting_at(jiff::Timestamp::UNIX_EPOCH));
    let mut sdk =
        aws::simulated_sdk_config("http://127.0.0.1:1", Arc::clone(&clock), &aws::Options::default()).into_builder();
    sdk.set_region(aws_config::Region::new("us-west-2"));
    sdk.set_http_client(Some(SharedHttpClient::new(wire.clone())));
    let options = dynamodb::options("journals", LEASE);
    let store = DynamoStore::open(&sdk.build(), clock, dynamodb::draw(), &options).await.expect("opened");
    let store = Arc::new(store);
    let arrange = |parts: failoverd::engine::Parts| failoverd::engine::Parts {
        store: Arc::new(Both { table: Arc::clone(&store), seen: parts.store }),
        holder: holder.to_owned(),
        sharing: Some(Sharing {
            offline: None,
            leases: store,
            duration: LEASE,
            call_within: CALL,
            url: Some(format!("https://failoverd.{holder}.example.com")),
            region: Some("us-west-2".to_owned()),
        }),
        ..parts
    };
    let live = scene.start_as(0, scene.reopened(), Faults::default(), arrange).await;
    Replica { live, wire }
}

fn leads(replica: &Replica) -> bool {
    replica.live.engine.leader(&payments()).is_some_and(|leader| leader.here)
}

/// What was counted with `replicas` of them: the leader's hour, a follower's hour, and the records of a planned move.
fn counted(replicas: usize) -> (Taken, Option<Taken>, Taken, Option<Taken>) {
    incarnation(async {
        let (scene, items) = (Scene::payments(21, 240), Arc::default());
        let leader = replica(&scene, &items, "a").await;
        leader.live.until("it leads", 5, |_| leads(&leader)).await;
        leader.live.ready().await;
        let mut followers = Vec::new();
        for n in 1..replicas {
            followers.push(replica(&scene, &items, &format!("b{n}")).await);
        }
        leader.live.pass(120).await;
        let all = |_: &str| true;
        let meters = || (leader.wire.meter(), followers.first().map(|f| f.wire.meter()));
        let before = meters();
        leader.live.pass(HOUR / SHARE).await;
        let after = meters();
        let idle = since(&before.0, &after.0, all).times(SHARE);
        let following = before.1.as_ref().zip(after.1.as_ref()).map(|(b, a)| since(b, a, all).times(SHARE));
        let run = leader.live.begin(Wish::Switchover).await;
        assert_eq!(leader.live.outcome(&run, HOUR).await, SUCCEEDED);
        leader.live.pass(LEASE.as_secs()).await;
        let done = meters();
        let is_journal = |name: &str| name.ends_with(" J");
        let moved = since(&after.0, &done.0, is_journal);
        let followed = after.1.as_ref().zip(done.1.as_ref()).map(|(b, a)| since(b, a, is_journal));
        assert!(leads(&leader) && !followers.iter().any(leads), "nobody has taken over");
        (idle, following, moved, followed)
    })
}

fn row(what: &str, taken: Taken) -> String {
    format!("| {what} | {} | {} | {} |\n", taken.requests, taken.write_units, taken.read_units)
}

const BEGIN: &str = "<!-- counted by tests/it/store_cost.rs: UPDATE_GOLDEN=1 -->\n";
const END: &str = "<!-- end -->";

fn figures(text: &str) -> Vec<f64> {
    let cells = text.lines().filter(|line| line.starts_with('|')).flat_map(|line| line.split('|').skip(2));
    cells.filter_map(|cell| cell.trim().parse().ok()).collect()
}

#[test]
fn what_a_shared_store_costs_is_what_its_page_says() {
    let (alone, _, moved_alone, _) = counted(1);
    let (leading, following, moved, followed) = counted(3);
    assert_eq!(alone, leading, "followers cost the leader nothing");
    assert_eq!(moved_alone, moved);
    let (following, followed) = (following.expect("of three"), followed.expect("of three"));
    let hour = HOUR as f64 / (LEASE / 5).as_secs_f64();
    assert!((f64::from(u32::try_from(leading.requests).expect("few")) - hour).abs() < 20.0, "{leading:?}");
    let mut text = "| for one application | requests | write units | read units |\n|---|--:|--:|--:|\n".to_owned();
    text.push_str(&row("an hour of the one that acts, idle", leading));
    text.push_str(&row("an hour of each that follows, idle", following));
    text.push_str(&row("an idle hour of one replica alone", alone));
    let sum = |a: Taken, b: Taken| Taken {
        requests: a.requests + 2 * b.requests,
        read_units: a.read_units + 2 * b.read_units,
        write_units: a.write_units + 2 * b.write_units,
    };
    text.push_str(&row("an idle hour of three replicas", sum(leading, following)));
    text.push_str(&row("a switchover, in addition: its records, at the one that acts", moved));
    text.push_str(&row("the same, read by each that follows", followed));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/store.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    let (head, rest) = page.split_once(BEGIN).expect("where the figures begin");
    let (written, tail) = rest.split_once(END).expect("where they end");
    if std::env::var("UPDATE_GOLDEN").is_ok() {
        std::fs::write(&path, format!("{head}{BEGIN}{text}{END}{tail}")).expect("written");
        return;
    }
    let (written, counted) = (figures(written), figures(&text));
    assert_eq!(written.len(), counted.len(), "UPDATE_GOLDEN=1 writes:\n{text}");
    for (of_page, of_now) in written.iter().zip(&counted) {
        let is_near = (of_page - of_now).abs() <= (of_now / 4.0).max(4.0);
        assert!(is_near, "the page says {of_page}, and {of_now} was counted; UPDATE_GOLDEN=1 writes:\n{text}");
    }
}

#[test]
fn the_size_of_an_item_is_that_of_its_names_and_values() {
    let item = json!({ "pk": { "S": "J#a" }, "version": { "N": "123" }, "bytes": { "B": "AAAA" } });
    assert_eq!(size(&item), 2 + 3 + 7 + 3 + 5 + 3);
}
