//! Which tables are opened, which are refused, and how one is made and taken over (FAULTS.md 26 to 28).

use std::time::Duration;

use failoverd::adapters::store::{
    DynamoStore, OpenError,
    dynamodb::{Copies, Options},
};
use serde_json::{Value, json};

use crate::support::dynamodb::{self, Fault, PATIENT, Wire, clock, draw, region, sdk};

/// A table that is all that it should be, with a copy in each of `regions` beside its own.
fn table(regions: &[&str]) -> Value {
    let mut table = json!({
        "TableName": "journals",
        "TableId": "11111111-0000-4000-8000-000000000000",
        "TableStatus": "ACTIVE",
        "AttributeDefinitions": [
            { "AttributeName": "pk", "AttributeType": "S" },
            { "AttributeName": "sk", "AttributeType": "S" },
        ],
        "KeySchema": [
            { "AttributeName": "pk", "KeyType": "HASH" },
            { "AttributeName": "sk", "KeyType": "RANGE" },
        ],
        "DeletionProtectionEnabled": true,
    });
    if !regions.is_empty() {
        let replicas: Vec<Value> =
            regions.iter().map(|r| json!({ "RegionName": r, "ReplicaStatus": "ACTIVE" })).collect();
        table["Replicas"] = replicas.into();
        table["GlobalTableVersion"] = "2019.11.21".into();
        table["MultiRegionConsistency"] = "STRONG".into();
    }
    table
}

fn wire(table: &Value) -> Wire {
    let wire = Wire::new();
    wire.can("DescribeTable", 200, &json!({ "Table": table }));
    wire.can("DescribeTimeToLive", 200, &json!({ "TimeToLiveDescription": { "TimeToLiveStatus": "DISABLED" } }));
    wire.can(
        "DescribeContinuousBackups",
        200,
        &json!({ "ContinuousBackupsDescription": {
        "ContinuousBackupsStatus": "ENABLED",
        "PointInTimeRecoveryDescription": { "PointInTimeRecoveryStatus": "ENABLED" },
    } }),
    );
    wire.can("Query", 200, &json!({ "Items": [], "Count": 0 }));
    wire.can("PutItem", 200, &json!({}));
    wire
}

fn production() -> Options {
    Options { production: true, ..dynamodb::options("journals", Duration::from_secs(24)) }
}

async fn open(wire: &Wire, options: &Options) -> Result<DynamoStore, OpenError> {
    dynamodb::open(&sdk("http://127.0.0.1:1", Some(wire)), options).await
}

#[track_caller]
fn refused<T: std::fmt::Debug>(opened: Result<T, OpenError>, code: &str, told: &str) {
    let error = opened.expect_err(code);
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(told), "{error}");
}

fn mark(region: &str, id: &str, layout: u32) -> Value {
    json!({
        "pk": { "S": "table" }, "sk": { "S": region },
        "table_id": { "S": id }, "layout": { "N": layout.to_string() },
    })
}

#[tokio::test]
async fn a_sound_table_is_opened_without_a_warning() {
    for regions in [&[][..], &["us-east-2", "us-east-1"]] {
        let wire = wire(&table(regions));
        let store = open(&wire, &production()).await.expect("opened");
        assert_eq!(store.warnings(), [] as [String; 0]);
        assert_eq!(wire.asked("PutItem"), 1, "it is marked as the one in which its journals are written");
    }
}

#[tokio::test]
async fn a_table_that_is_not_there_is_refused_with_the_command_that_makes_it() {
    let wire = wire(&table(&[]));
    wire.can("DescribeTable", 400, &json!({ "__type": "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException" }));
    refused(open(&wire, &production()).await, "store-table-missing", "failoverd store create --config F");
}

/// FAULTS.md 27.
#[tokio::test]
async fn a_global_table_without_strong_consistency_is_refused() {
    for found in [json!("EVENTUAL"), Value::Null] {
        let mut eventual = table(&["us-east-2"]);
        eventual["MultiRegionConsistency"] = found;
        refused(open(&wire(&eventual), &production()).await, "store-not-strong", "us-east-2, us-west-2");
    }
}

/// FAULTS.md 28, 24.
#[tokio::test]
async fn a_table_in_the_preferred_region_alone_is_refused() {
    let options = Options { region: region("us-east-1"), ..production() };
    refused(open(&wire(&table(&[])), &options).await, "store-in-primary", "us-east-1 alone");
    assert!(open(&wire(&table(&["us-west-2", "us-east-2"])), &options).await.is_ok(), "it has copies elsewhere");
}

#[tokio::test]
async fn a_table_of_another_shape_is_refused() {
    let mut numbers = table(&[]);
    numbers["AttributeDefinitions"][1]["AttributeType"] = "N".into();
    let mut names = table(&[]);
    names["KeySchema"][1]["AttributeName"] = "seq".into();
    let mut hash_only = table(&[]);
    hash_only["KeySchema"].as_array_mut().expect("a list").pop();
    for other in [numbers, names, hash_only] {
        refused(open(&wire(&other), &production()).await, "store-foreign", "`pk` (text) and `sk` (text)");
    }
    let mut creating = table(&[]);
    creating["TableStatus"] = "CREATING".into();
    refused(open(&wire(&creating), &production()).await, "store-unavailable", "CREATING");
}

#[tokio::test]
async fn a_table_that_expires_items_is_refused() {
    for status in ["ENABLED", "ENABLING", "DISABLING"] {
        let wire = wire(&table(&[]));
        let told = json!({ "TimeToLiveDescription": { "TimeToLiveStatus": status, "AttributeName": "t" } });
        wire.can("DescribeTimeToLive", 200, &told);
        refused(open(&wire, &production()).await, "store-expires", status);
    }
}

#[tokio::test]
async fn what_cannot_be_verified_is_refused_in_production_unless_it_is_allowed_by_name() {
    let mut nameless = table(&[]);
    nameless.as_object_mut().expect("a table").remove("TableId");
    let wire = wire(&nameless);
    let denied = json!({ "__type": "com.amazon.coral.service#AccessDeniedException", "message": "no" });
    wire.can("DescribeTimeToLive", 400, &denied);
    let opened = open(&wire, &production()).await;
    refused(opened, "store-unverified", "dynamodb:DescribeTimeToLive: AccessDeniedException");
    let half = Options { allow_unverified: ["ttl".to_owned()].into(), ..production() };
    refused(open(&wire, &half).await, "store-unverified", "`identity`");
    let both = Options { allow_unverified: ["ttl".to_owned(), "identity".to_owned()].into(), ..production() };
    for options in [both, Options { production: false, ..production() }] {
        let store = open(&wire, &options).await.expect("opened");
        assert_eq!(store.warnings().len(), 2, "{:?}", store.warnings());
        assert!(store.warnings().iter().all(|w| w.starts_with("unverified: ")));
    }
}

#[tokio::test]
async fn what_could_lose_a_table_is_warned_of() {
    let mut bare = table(&[]);
    bare["DeletionProtectionEnabled"] = false.into();
    let wire = wire(&bare);
    wire.can(
        "DescribeContinuousBackups",
        200,
        &json!({ "ContinuousBackupsDescription": {
        "ContinuousBackupsStatus": "ENABLED",
        "PointInTimeRecoveryDescription": { "PointInTimeRecoveryStatus": "DISABLED" },
    } }),
    );
    let store = open(&wire, &production()).await.expect("opened");
    assert_eq!(
        store.warnings(),
        ["deletion protection is off: one call could delete every journal", "point-in-time recovery is off"]
    );
}

/// FAULTS.md 26.
#[tokio::test]
async fn a_table_that_was_restored_is_refused() {
    let own = "11111111-0000-4000-8000-000000000000";
    let wire = wire(&table(&["us-east-2", "us-east-1"]));
    let marked = |marks: &[Value]| wire.can("Query", 200, &json!({ "Items": marks, "Count": marks.len() }));
    marked(&[mark("us-west-2", own, 1), mark("us-east-2", "another", 1)]);
    assert!(open(&wire, &production()).await.is_ok(), "each Region has a table of its own");
    marked(&[mark("us-west-2", "22222222", 1)]);
    refused(open(&wire, &production()).await, "store-restored", "22222222");
    marked(&[mark("eu-west-1", own, 1)]);
    refused(open(&wire, &production()).await, "store-restored", "a copy in eu-west-1");
    marked(&[mark("us-west-2", own, 2)]);
    refused(open(&wire, &production()).await, "store-newer-schema", "layout 2");
    marked(&[json!({ "pk": { "S": "table" }, "sk": { "S": "us-west-2" } })]);
    refused(open(&wire, &production()).await, "store-corrupted", "layout");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_made_once_and_taken_over_by_hand() {
    let emulator = dynamodb::ministack().await;
    let config = sdk(&emulator.url, None);
    let options = dynamodb::options("journals", PATIENT);
    let missing = dynamodb::open(&config, &options).await;
    refused(missing, "store-table-missing", "us-west-2");
    let made = DynamoStore::create(&config, clock(), draw(), &options).await.expect("made");
    assert!(made.made && made.verified.warnings.is_empty(), "{made:?}");
    assert_eq!(made.verified.deletion_protection, Some(true));
    assert_eq!(made.verified.point_in_time_recovery, Some(true));
    let again = DynamoStore::create(&config, clock(), draw(), &options).await.expect("there");
    assert!(!again.made);
    assert_eq!(again.verified, made.verified);
    // Nothing was written yet: the table could still be made a global one, which must be empty.
    let client = aws_sdk_dynamodb::Client::new(&config);
    let scan = || client.scan().table_name("journals").send();
    assert_eq!(scan().await.expect("scanned").count, 0);
    dynamodb::open(&config, &options).await.expect("opened");
    assert_eq!(scan().await.expect("scanned").count, 1, "its mark");
    // As a backup that was restored would have it.
    let text = |s: &str| aws_sdk_dynamodb::types::AttributeValue::S(s.to_owned());
    let number = aws_sdk_dynamodb::types::AttributeValue::N("1".to_owned());
    for of in ["us-west-2", "us-east-1"] {
        let put = client.put_item().table_name("journals").item("pk", text("table")).item("sk", text(of));
        put.item("table_id", text("another")).item("layout", number.clone()).send().await.expect("put");
    }
    refused(dynamodb::open(&config, &options).await, "store-restored", "a copy in us-east-1");
    let adopted = DynamoStore::adopt(&config, clock(), draw(), &options).await.expect("taken over");
    assert_eq!(adopted.was.as_deref(), Some("another"));
    dynamodb::open(&config, &options).await.expect("opened");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_makes_a_table_and_looks_at_it() {
    let emulator = dynamodb::ministack().await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("failoverd.toml");
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/default.toml")).expect("readable");
    let text = text.replace("path = \"failoverd.sqlite\"\n", "region = \"us-west-2\"\n");
    let text =
        text.replace("kind = \"sqlite\"", "kind = \"dynamodb\"").replace("production = true", "production = false");
    std::fs::write(&config, text).expect("written");
    let store = async |verb: &str| {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_failoverd"))
            .args(["store", verb, "--json", "--config"])
            .arg(&config)
            .env("AWS_ENDPOINT_URL_DYNAMODB", &emulator.url)
            .envs([
                ("AWS_ACCESS_KEY_ID", "123456789012"),
                ("AWS_SECRET_ACCESS_KEY", "test"),
                ("AWS_REGION", "us-west-2"),
            ])
            .output()
            .await
            .expect("the binary runs");
        let told: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code(), told)
    };
    let (code, told) = store("check").await;
    assert_eq!((code, &told["code"]), (Some(1), &json!("store-table-missing")), "{told}");
    let (code, told) = store("create").await;
    assert_eq!((code, &told["did"], &told["made"]), (Some(0), &json!("created"), &json!(true)), "{told}");
    let (code, told) = store("create").await;
    assert_eq!((code, &told["made"]), (Some(0), &json!(false)), "{told}");
    let (code, told) = store("check").await;
    assert_eq!((code, &told["table_regions"]), (Some(0), &json!(["us-west-2"])), "{told}");
}

/// As `DescribeTable` tells of a table with copies at these Regions, and a witness perhaps.
fn spreading(copies: &[(&str, &str)], witness: Option<(&str, &str)>, consistency: &str) -> String {
    let mut table = table(&[]);
    let replica = |(region, status): &(&str, &str)| json!({ "RegionName": region, "ReplicaStatus": status });
    table["Replicas"] = copies.iter().map(replica).collect::<Vec<_>>().into();
    table["GlobalTableVersion"] = "2019.11.21".into();
    table["MultiRegionConsistency"] = consistency.into();
    if let Some((region, status)) = witness {
        table["GlobalTableWitnesses"] = json!([{ "RegionName": region, "WitnessStatus": status }]);
    }
    json!({ "Table": table }).to_string()
}

fn copies(replicas: &[&str], witness: Option<&str>) -> Copies {
    let replicas = replicas.iter().map(|r| region(r)).collect();
    Copies::new(&region("us-west-2"), replicas, witness.map(region)).expect("three").expect("named")
}

/// What came of it, what was told, and the request that asked for it.
async fn spread(wire: &Wire, copies: &Copies) -> (Result<Vec<String>, OpenError>, Vec<String>, Option<Value>) {
    let told = std::sync::Mutex::new(Vec::new());
    let tell = |how_far: &str| told.lock().expect("nobody panics").push(how_far.to_owned());
    let config = sdk("http://127.0.0.1:1", Some(wire));
    let spread = DynamoStore::spread(&config, clock(), draw(), &production(), copies, &tell).await;
    let regions = spread.map(|verified| verified.table_regions.into_iter().collect());
    (regions, told.into_inner().expect("nobody panics"), wire.sent("UpdateTable"))
}

/// No emulator has strongly consistent tables: the requests and answers are as the SDK's own model of them has them.
#[tokio::test]
async fn an_empty_table_gets_strongly_consistent_copies_and_is_waited_for() {
    for (named, witness) in [(&["us-east-1", "us-east-2"][..], None), (&["us-east-2"], Some("us-east-1"))] {
        let wire = wire(&table(&[]));
        let at = |status: &'static str| {
            let copies: Vec<_> = named.iter().map(|r| (*r, status)).collect();
            spreading(&copies, witness.map(|w| (w, status)), "STRONG")
        };
        let answers = [json!({ "Table": table(&[]) }).to_string(), at("CREATING"), at("ACTIVE"), at("ACTIVE")];
        wire.meet("DescribeTable", answers.map(Fault::Answered));
        wire.can("UpdateTable", 200, &json!({}));
        let (regions, told, sent) = spread(&wire, &copies(named, witness)).await;
        let mut expected: Vec<&str> = named.to_vec();
        expected.push("us-west-2");
        assert_eq!(regions.expect("spread"), expected);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("CREATING") && told[1].contains("in us-east-2: ACTIVE"), "{told:?}");
        let sent = sent.expect("asked for");
        let create = |region: &&str| json!({ "Create": { "RegionName": region } });
        assert_eq!(sent["MultiRegionConsistency"], "STRONG");
        assert_eq!(sent["ReplicaUpdates"], named.iter().map(create).collect::<Value>());
        let witnesses = witness.map_or(Value::Null, |w| json!([create(&w)]));
        assert_eq!(sent["GlobalTableWitnessUpdates"], witnesses);
        assert_eq!(wire.asked("PutItem"), 0, "it stays empty");
    }
}

#[tokio::test]
async fn copies_are_refused_where_there_are_records_or_other_copies_and_are_not_waited_for_where_they_fail() {
    let three = copies(&["us-east-1", "us-east-2"], None);
    let used = wire(&table(&[]));
    used.can("Query", 200, &json!({ "Items": [mark("us-west-2", "an id", 1)], "Count": 1 }));
    let (regions, _, sent) = spread(&used, &three).await;
    refused(regions, "store-foreign", "only an empty table");
    assert_eq!(sent, None);
    let other = wire(&table(&["eu-west-1", "us-east-2"]));
    let (regions, _, sent) = spread(&other, &three).await;
    refused(regions, "store-foreign", "copy in eu-west-1: ACTIVE");
    assert_eq!(sent, None);
    // Asked for before: only waited for.
    let failing = wire(&table(&[]));
    let answer = spreading(&[("us-east-1", "ACTIVE"), ("us-east-2", "CREATION_FAILED")], None, "STRONG");
    failing.meet("DescribeTable", [Fault::Answered(answer.clone()), Fault::Answered(answer)]);
    let (regions, _, sent) = spread(&failing, &three).await;
    refused(regions, "store-unavailable", "copy in us-east-2: CREATION_FAILED");
    assert_eq!(sent, None);
}
