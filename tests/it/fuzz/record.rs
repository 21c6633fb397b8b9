//! Where the seeds come from that nobody writes by hand: a journal of a whole failover by the real binary, and raw
//! answers of the simulated AWS to the real SDKs. Written to tests/fuzz/ when `FAILOVERD_FUZZ_RECORD` is set; else
//! this does nothing.

use std::{fs, sync::Arc};

use failoverd::{
    adapters::{
        aws::{Options, simulated_sdk_config},
        clock::SystemClock,
    },
    domain::cloud::Outcome,
    ports::Cloud as _,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{Shared, aws, repository};
use crate::support::{
    people::{Move, People, Played},
    stage::{Setting, Stage},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_the_seeds() {
    if std::env::var("FAILOVERD_FUZZ_RECORD").is_err() {
        return;
    }
    let stage = Stage::build(Setting::seeded(30_000)).await;
    let mut people = People::who_want(Move::Failover);
    let mut daemon = stage.start(None).await.listening().expect("it starts");
    assert!(matches!(people.play(&mut daemon).await, Ok(Played::Rested(_))), "{}", stage.logs());
    daemon.kill().await;
    for record in stage.records().await.expect("verified") {
        let name = format!("tests/fuzz/journal/{:03}.json", record.seq);
        fs::write(repository(&name), serde_json::to_vec(&record).expect("records serialise")).expect("written");
    }
    let stage = Stage::build(Setting::seeded(30_001)).await;
    alarm(&stage.world.aws_url).await;
    let mut change = None;
    // A change is asked about after it was made; a failover needs a world without the switchover.
    let (last, first): (Vec<_>, Vec<_>) =
        aws::Ask::ALL.into_iter().partition(|c| matches!(c, aws::Ask::Change | aws::Ask::Failover));
    for call in first {
        let told = recorded(&stage, call, None).await;
        println!("{call:?}: {told:?}");
        if let (aws::Ask::UpsertRecords, aws::Told::Ended(Outcome::Accepted { handle, .. })) = (call, told) {
            change = handle;
        }
    }
    let other = Stage::build(Setting::seeded(30_002)).await;
    for call in last {
        let told = recorded(if call == aws::Ask::Change { &stage } else { &other }, call, change.as_deref()).await;
        println!("{call:?}: {told:?}");
    }
}

/// The alarm that is asked about.
async fn alarm(url: &str) {
    let clock: Arc<dyn failoverd::ports::Clock> = Arc::new(SystemClock);
    let client = aws_sdk_cloudwatch::Client::new(&simulated_sdk_config(url, clock, &Options::default()));
    let alarm = client.put_metric_alarm().alarm_name("errors").namespace("App").metric_name("Errors");
    let alarm = alarm.statistic("Sum".into()).period(60).evaluation_periods(1).threshold(1.0);
    alarm.comparison_operator("GreaterThanThreshold".into()).send().await.expect("an alarm");
}

/// Asks the world of `stage`, and keeps what it answered.
async fn recorded(stage: &Stage, call: aws::Ask, change: Option<&str>) -> aws::Told {
    let upstream = stage.world.aws_addr;
    let heard: Shared<Vec<u8>> = Arc::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let kept = Arc::clone(&heard);
    let relay = tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            *kept.lock().expect("lock") = relay(client, TcpStream::connect(upstream).await.expect("AWS")).await;
        }
    });
    let cloud = aws::cloud(&url);
    let told = match change {
        Some(id) if call == aws::Ask::Change => {
            aws::Told::Read(cloud.change_is_insync(id).await.map(|c| c.to_string()).map_err(|e| e.to_string()))
        }
        _ => aws::ask(&cloud, call, &url).await,
    };
    let name = format!("tests/fuzz/aws/{}.http", call.name());
    fs::write(repository(&name), &*heard.lock().expect("lock")).expect("written");
    relay.abort();
    told
}

/// Passes one request on and its answer back; the answer.
async fn relay(mut client: TcpStream, mut upstream: TcpStream) -> Vec<u8> {
    let request = aws::read_request(&mut client).await.expect("a request");
    // Head and body as they are, but that this is the last request: the answer then ends with the connection.
    let at = request.windows(2).position(|w| w == b"\r\n").expect("a request line") + 2;
    let once = [&request[..at], b"connection: close\r\n", &request[at..]].concat();
    upstream.write_all(&once).await.expect("sent");
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await.expect("an answer");
    client.write_all(&answer).await.expect("passed on");
    client.shutdown().await.expect("ended");
    answer
}
