//! No secret of a channel is in anything that the daemon writes or says (S19): the real binary, with channels that fail.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::support::{
    daemon::verb,
    people::{Move, People},
    stage::{Setting, Stage, comes_true},
};

const CANARY: &str = "canary5ec7e7canary";

/// Where a webhook leads: it answers 500 and repeats what it was sent, as a bad one may.
async fn echo() -> (u16, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let asked = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let mut bytes = vec![0; 16_384];
                let Ok(read) = stream.read(&mut bytes).await else { return };
                let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
                let head = format!("HTTP/1.1 500 {CANARY}\r\nx-echo: {CANARY}\r\nconnection: close\r\n");
                let answer = format!("{head}content-length: {}\r\n\r\n{text}", text.len());
                kept.lock().expect("kept").push_str(&text);
                // Whoever does not read the answer is gone.
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    (port, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_channel_is_in_any_output() {
    let stage = Stage::build(Setting::seeded(19)).await;
    let (port, asked) = echo().await;
    let (directory, config) = (stage.directory().to_owned(), stage.config());
    let hook = format!("http://127.0.0.1:{port}");
    std::fs::write(directory.join("slack"), format!("{hook}/services/{CANARY}\n")).expect("written");
    std::fs::write(directory.join("key"), CANARY).expect("written");
    let at = directory.display();
    let text = std::fs::read_to_string(&config).expect("the config").replace("[notify]\ntopics = false\n", "");
    let channels = format!(
        "[notify]\ntopics = false\n\
         [[notify.channels]]\nname = \"chat\"\nkind = \"slack\"\nurl = \"file:{at}/slack\"\n\
         [[notify.channels]]\nname = \"pager\"\nkind = \"pagerduty\"\nrouting_key = \"file:{at}/key\"\nurl = \"{hook}/enqueue\"\n\
         [[notify.channels]]\nname = \"desk\"\nkind = \"generic\"\nurl = \"{hook}/hook\"\nkey = \"file:{at}/key\"\n"
    );
    std::fs::write(&config, format!("{text}\n{channels}")).expect("written");

    let mut daemon = stage.start(None).await.listening().unwrap_or_else(|e| panic!("{e}\n{}", stage.logs()));
    let url = daemon.url.clone();
    let mut people = People::who_want(Move::Failover);
    people.play(&mut daemon).await.unwrap_or_else(|e| panic!("{e}\n{}", stage.logs()));
    let run = people.run.clone().expect("a run");

    let mut outputs = Vec::new();
    for args in [
        &["notify", "test", "chat", "--app", "payments"][..],
        &["notify", "test", "pager", "--app", "payments", "--json"],
        &["notify", "test", "desk", "--app", "payments"],
        &["notifications"],
        &["notifications", "--json", "--limit", "200"],
        &["status", "--json"],
        &["watch", &run],
        &["evidence", "get", &run],
        &["evidence", "get", &run, "--html"],
        &["check", "--config", &config.display().to_string()],
        &["check", "--json", "--config", &config.display().to_string()],
        &["permissions", "--config", &config.display().to_string()],
    ] {
        outputs.push((args.join(" "), verb(&url, args).await.1));
    }
    let said = |what: &str| outputs.iter().find(|(args, _)| args.starts_with(what)).expect("said").1.clone();
    assert!(said("notify test chat").contains("not delivered: answered 500"), "{}", said("notify test chat"));
    assert!(said("notifications").contains("chat (slack)"), "{}", said("notifications"));
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let paths =
        ["/metrics", "/readyz", "/applications", "/runs", "/notifications", "/overrides", "/drills", "/runbooks"];
    for path in paths.map(str::to_owned).into_iter().chain([format!("/runs/{run}")]) {
        let got = client.get(format!("{url}{path}")).bearer_auth("alice-kill-token").send().await.expect("an answer");
        outputs.push((path, format!("{:?}\n{}", got.headers().clone(), got.text().await.expect("a text"))));
    }
    // Real notices were tried too, each channel has met its secret, and what was tried is kept on the disk.
    let kept = directory.join("journal.sqlite.outbox");
    assert!(comes_true(Duration::from_secs(30), || kept.exists()).await, "{}", stage.logs());
    assert!(asked.lock().expect("kept").matches(CANARY).count() > 3, "the secrets were used");
    outputs.push(("log".to_owned(), daemon.logged()));
    daemon.kill().await;
    for file in std::fs::read_dir(&directory).expect("a directory").filter_map(Result::ok) {
        let name = file.file_name().to_string_lossy().into_owned();
        if name.starts_with("journal") {
            outputs.push((name, String::from_utf8_lossy(&std::fs::read(file.path()).expect("read")).into_owned()));
        }
    }
    assert!(
        outputs.iter().any(|(name, _)| name == "journal.sqlite.outbox"),
        "what was told is kept beside the journal"
    );
    for (what, output) in &outputs {
        assert!(!output.is_empty() || what.ends_with("-shm") || what.ends_with("-wal"), "{what} said nothing");
        if let Some(at) = output.find(CANARY) {
            let around: String = output.chars().skip(at.saturating_sub(200)).take(400).collect();
            panic!("{what}: …{around}…");
        }
    }
}
