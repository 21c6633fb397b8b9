//! What stands in deploy/ is held against the program: a metric that is asked for is there, an alert has its page. Whether
//! the files are well formed, their own tools say (tests/deploy/check.sh).

use std::{collections::BTreeSet, path::Path};

use failoverd::domain::permissions::{GET_ROLE, SIMULATE};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The names that begin with `failoverd_` in `text`, without what a histogram adds.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c)).filter(|w| w.starts_with("failoverd_"));
    words
        .map(|w| ["_bucket", "_count", "_sum"].iter().find_map(|s| w.strip_suffix(s)).unwrap_or(w).to_owned())
        .collect()
}

fn alerts() -> Vec<String> {
    let rules = read("deploy/prometheus/failoverd.rules.yaml");
    let names = rules.lines().filter_map(|l| l.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

#[test]
fn rules_and_dashboards_ask_for_metrics_that_are_documented() {
    let documented = metrics_in(&read("docs/metrics.md"));
    for file in ["deploy/prometheus/failoverd.rules.yaml", "deploy/grafana/failoverd.json"] {
        let asked = metrics_in(&read(file));
        assert!(asked.len() > 5, "{file} asks for {asked:?}");
        let unknown: Vec<_> = asked.difference(&documented).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn every_alert_has_a_page_and_every_page_an_alert() {
    let alerts = alerts();
    assert!(alerts.len() > 10, "{alerts:?}");
    let index = read("docs/alerts/README.md");
    for alert in &alerts {
        assert!(read(&format!("docs/alerts/{alert}.md")).starts_with(&format!("# {alert}\n")), "{alert}");
        assert!(index.contains(&format!("[{alert}]({alert}.md)")), "{alert} is not in the index");
        let page = format!("page: docs/alerts/{alert}.md");
        assert!(read("deploy/prometheus/failoverd.rules.yaml").contains(&page), "{alert} does not name its page");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/alerts");
    for page in std::fs::read_dir(folder).expect("docs/alerts") {
        let name = page.expect("an entry").file_name().into_string().expect("a name");
        let stem = name.trim_end_matches(".md");
        assert!(stem == "README" || alerts.iter().any(|a| a == stem), "{name} is of no alert");
    }
}

#[test]
fn the_role_of_a_replica_may_ask_about_itself_and_about_no_other() {
    let template = read("deploy/replica.yaml");
    let policy = template.split("\n  AskAboutItself:\n").nth(1).expect("the policy");
    let policy = policy.split("\n\n").next().expect("it ends");
    let actions = format!("Action: [{GET_ROLE}, {SIMULATE}]");
    for line in ["Roles: [!Ref TaskRole]", actions.as_str(), "Resource: !GetAtt TaskRole.Arn"] {
        assert_eq!(policy.matches(line).count(), 1, "{line}: {policy}");
    }
    for action in [GET_ROLE, SIMULATE] {
        assert_eq!(template.matches(action).count(), 1, "{action} stands elsewhere too");
    }
    assert_eq!(policy.matches("Effect:").count(), 1, "{policy}");
}
