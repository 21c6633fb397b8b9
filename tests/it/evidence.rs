//! Evidence is kept where the configuration says, listed, and what stands in the way of it stands in nobody else's: the
//! real binary.

use std::{path::Path, time::Duration};

use serde_json::Value;

use crate::support::{
    daemon::verb,
    people::{Move, People},
    stage::{Setting, Stage, comes_true},
};

/// How long a daemon may take to try again after a failure or two.
const AGAIN: Duration = Duration::from_secs(90);

async fn list(url: &str, more: &[&str]) -> Value {
    let args: Vec<&str> = ["--json", "evidence", "list"].into_iter().chain(more.iter().copied()).collect();
    let (is_ok, text) = verb(url, &args).await;
    assert!(is_ok, "{text}");
    serde_json::from_str(&text).expect("json")
}

async fn metric(url: &str, name: &str) -> u64 {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let text = client.get(format!("{url}/metrics")).send().await.expect("an answer").text().await.expect("a text");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_kept_over_failures_and_deaths_and_can_be_proved_where_it_is() {
    let stage = Stage::build(Setting::seeded(29)).await;
    let (directory, config) = (stage.directory().to_owned(), stage.config());
    let (dir, key_file) = (directory.join("evidence"), directory.join("key"));
    let (is_made, key) = verb("http://127.0.0.1:1", &["evidence", "key", &key_file.display().to_string()]).await;
    assert!(is_made, "{key}");
    let key = key.trim().to_owned();
    let text = read(&config).expect("the config");
    let section = format!("[evidence]\nkey = \"file:{}\"\nkeep = \"{}\"\n", key_file.display(), dir.display());
    std::fs::write(&config, format!("{section}\n{text}")).expect("written");
    // Where the directory should be, something else is.
    std::fs::write(&dir, "somebody's").expect("written");

    let mut daemon = stage.start(None).await.listening().unwrap_or_else(|e| panic!("{e}\n{}", stage.logs()));
    let url = daemon.url.clone();
    assert_eq!(list(&url, &[]).await["evidence"], serde_json::json!([]));
    let mut people = People::who_want(Move::Switchover);
    people.play(&mut daemon).await.unwrap_or_else(|e| panic!("{e}\n{}", stage.logs()));
    let run = people.run.clone().expect("a run");
    let deadline = std::time::Instant::now() + AGAIN;
    while metric(&url, "failoverd_evidence_keep_failures_total").await == 0 {
        assert!(std::time::Instant::now() < deadline, "{}", stage.logs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(metric(&url, "failoverd_evidence_unkept").await, 1);
    let view = list(&url, &[]).await;
    assert_eq!((&view["evidence"][0]["run"], &view["evidence"][0]["kept"]), (&run.as_str().into(), &false.into()));

    std::fs::remove_file(&dir).expect("mended");
    let (lines, page) = (dir.join(format!("{run}.jsonl")), dir.join(format!("{run}.html")));
    assert!(comes_true(AGAIN, || page.exists()).await, "{}", stage.logs());
    let kept = read(&lines).expect("written first");
    let logged = daemon.logged();
    assert_eq!(logged.matches("evidence is not kept where it should be").count(), 1, "said once");

    let proved = verb(&url, &["--json", "evidence", "verify", &lines.display().to_string(), "--key", &key]).await;
    assert!(proved.0, "{}", proved.1);
    let proved: Value = serde_json::from_str(&proved.1).expect("json");
    let deadline = std::time::Instant::now() + AGAIN;
    let view = loop {
        let view =
            list(&url, &["--app", "payments", "--purpose", "switchover", "--since", "2026-01-01T00:00:00Z"]).await;
        if view["evidence"][0]["kept"] == true {
            break view;
        }
        assert!(std::time::Instant::now() < deadline, "{view}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let one = &view["evidence"][0];
    assert_eq!(one["sha256"], proved["proven"]["sha256"], "the list names what is kept");
    assert_eq!(one["signed_by"], key.as_str());
    assert_eq!((&one["result"], &one["rto_objective_seconds"]), (&"succeeded".into(), &300.0.into()));
    assert_eq!(one["rto_met"], proved["proven"]["summary"]["rto_met"]);
    assert_eq!(list(&url, &["--purpose", "drill"]).await["evidence"], serde_json::json!([]));
    assert_eq!(list(&url, &["--since", "2100-01-01T00:00:00Z"]).await["evidence"], serde_json::json!([]));
    let said = verb(&url, &["evidence", "list"]).await.1;
    assert!(said.contains(&run) && said.contains(&key) && said.contains("kept"), "{said}");
    daemon.kill().await;

    // As if it had died between the two, and within the second: the page is made of the file that is there.
    std::fs::remove_file(&page).expect("it was there");
    let part = dir.join(format!(".{run}.html.1.part"));
    std::fs::write(&part, "<!doc").expect("written");
    let daemon = stage.start(None).await.listening().unwrap_or_else(|e| panic!("{e}\n{}", stage.logs()));
    assert!(comes_true(AGAIN, || page.exists() && !part.exists()).await, "{}", stage.logs());
    assert_eq!(read(&lines).expect("there"), kept, "not a byte is changed");
    assert!(read(&page).expect("there").contains(&key), "the page says who signed");
    daemon.kill().await;
}
