//! What fences and probes ask of databases, against two real PostgreSQL servers with streaming replication: who takes
//! writes, a write that is tried and leaves nothing, and the sessions of others.

use std::time::{Duration, Instant};

use failoverd::{
    adapters::probes::postgres::FENCE_GRANTS,
    domain::{
        cloud::Outcome,
        database::{ServerState, Sessions, WriteAnswer},
        heartbeat::DatabaseEndpoint,
        id::Region,
    },
    ports::{Databases as _, heartbeat::LookError},
};
use tokio_postgres::{Client, NoTls};

use crate::{
    heartbeat::{PASSWORD, Pair, databases, east, west},
    support::postgres::{DATABASE, Server},
};

const WITHIN: Duration = Duration::from_secs(30);

/// A client of the application, connected.
async fn client(server: &Server) -> Client {
    let config = format!("host=127.0.0.1 port={} user=app password=app dbname={DATABASE}", server.port);
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.expect("connected");
    tokio::spawn(connection);
    client
}

async fn rows(admin: &Client) -> i64 {
    admin.query_one("SELECT count(*) FROM failoverd.heartbeat", &[]).await.expect("counted").get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_refused_by_a_server_in_recovery_and_by_no_default() {
    let pair = Pair::start().await;
    let heartbeat = pair.heartbeat(Duration::from_secs(1));
    let databases = databases(&heartbeat, PASSWORD);
    let at = |region: &Region| heartbeat.endpoint(region).expect("configured");
    let admin = pair.east.admin().await;

    let state = async |region: &Region| databases.state(&at(region)).await.expect("told");
    assert_eq!(state(&east()).await, ServerState { in_recovery: false, read_only: false });
    assert_eq!(state(&west()).await, ServerState { in_recovery: true, read_only: true });
    assert_eq!(databases.try_write(&at(&east())).await, WriteAnswer::Taken);
    let refused = databases.try_write(&at(&west())).await;
    assert!(matches!(&refused, WriteAnswer::Refused { reason } if reason.contains("25006")), "{refused:?}");

    // Any client may overrule it, and so it is no fence.
    admin.batch_execute("ALTER DATABASE orders SET default_transaction_read_only = on").await.expect("set");
    assert_eq!(state(&east()).await, ServerState { in_recovery: false, read_only: true });
    assert_eq!(databases.try_write(&at(&east())).await, WriteAnswer::Taken);
    assert_eq!(rows(&admin).await, 0, "nothing is left of what was tried");

    // What says nothing about writes is no refusal.
    let stranger = DatabaseEndpoint { user: "nobody".to_owned(), ..at(&east()) };
    assert!(matches!(databases.try_write(&stranger).await, WriteAnswer::Unknown { .. }));
    admin
        .batch_execute("SET default_transaction_read_only = off; DROP TABLE failoverd.heartbeat")
        .await
        .expect("dropped");
    let without = databases.try_write(&at(&east())).await;
    assert!(matches!(&without, WriteAnswer::Unknown { reason } if reason.contains("42P01")), "{without:?}");

    pair.east.freeze();
    let begun = Instant::now();
    assert!(matches!(databases.try_write(&at(&east())).await, WriteAnswer::Unknown { .. }));
    assert!(matches!(databases.state(&at(&east())).await, Err(LookError::NoAnswer { .. })));
    let ended = databases.end_sessions(&at(&east())).await;
    assert!(matches!(ended, Outcome::NotSent { .. } | Outcome::Unknown { .. }), "{ended:?}");
    assert!(begun.elapsed() < WITHIN, "each within the endpoint's timeout");
    pair.east.thaw();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_elses_sessions_end_and_only_with_the_grants_for_it() {
    let pair = Pair::start().await;
    let heartbeat = pair.heartbeat(Duration::from_secs(1));
    let databases = databases(&heartbeat, PASSWORD);
    let at = heartbeat.endpoint(&east()).expect("configured");
    let admin = pair.east.admin().await;
    admin.batch_execute("CREATE ROLE app LOGIN PASSWORD 'app'").await.expect("made");
    assert_eq!(
        databases.sessions(&at).await,
        Ok(Sessions::default()),
        "the superuser's and the standby's do not count"
    );
    let clients = [client(&pair.east).await, client(&pair.east).await];
    let two = Sessions { count: 2, roles: vec!["app".to_owned()] };
    assert_eq!(databases.sessions(&at).await, Ok(two.clone()));

    let denied = databases.end_sessions(&at).await;
    assert!(matches!(&denied, Outcome::Rejected { code, .. } if code == "42501"), "{denied:?}");
    assert_eq!(databases.sessions(&at).await, Ok(two));
    for _ in 0..2 {
        admin.batch_execute(FENCE_GRANTS).await.expect("the file may be run again");
    }
    assert!(matches!(databases.end_sessions(&at).await, Outcome::Accepted { .. }));
    let begun = Instant::now();
    while databases.sessions(&at).await != Ok(Sessions::default()) {
        assert!(begun.elapsed() < WITHIN, "they do not end");
    }
    for client in &clients {
        assert!(client.batch_execute("SELECT 1").await.is_err(), "its session was ended");
    }
    admin.batch_execute("SELECT 1").await.expect("a superuser's was not");
    let again = client(&pair.east).await;
    again.batch_execute("SELECT 1").await.expect("whoever is let in connects anew");
    assert_eq!(databases.sessions(&at).await.map(|s| s.count), Ok(1));
}
