use super::*;
use crate::cli::{Cli, Command, render::WIDTH};
use clap::Parser as _;

const DOC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/backtest.md");

fn settings() -> Settings {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/backtest/payments.toml");
    Settings::load(&config, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults}"))
}

fn tests(text: &str, loss: &str) -> Result<Vec<Backtest>, read::Faults> {
    let armed = armed_loss(loss).expect("a duration");
    replay(text.as_bytes(), &settings(), None, armed).expect("bytes in memory are read")
}

/// What a line such as `$ failoverd backtest …` prints.
fn printed(command: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cli = Cli::try_parse_from(command.trim_start_matches("$ ").split_whitespace()).expect("a command");
    let Command::Backtest(args) = cli.command else { panic!("{command} is no backtest") };
    let metrics = std::fs::read_to_string(root.join(&args.metrics)).expect("the metrics are there");
    let settings = Settings::load(&root.join(&args.config), &BTreeMap::new()).expect("sound");
    let tests = replay(metrics.as_bytes(), &settings, None, args.assume_armed_loss).expect("read");
    let tests = tests.unwrap_or_else(|faults| panic!("{}", words::faults(&args.metrics, &faults)));
    let text = text(&args.metrics, &tests);
    let wide = text.lines().find(|line| WIDTH < line.chars().count());
    assert_eq!(wide, None, "fits 80 columns");
    text
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test is asked to rewrite its golden file")]
fn the_worked_example_of_the_docs_is_what_it_prints() {
    let doc = std::fs::read_to_string(DOC).expect("the page is there");
    let mut made = String::new();
    let mut command = None;
    for line in doc.lines() {
        match (&command, line) {
            (None, line) if line.starts_with("$ failoverd backtest") => {
                made.push_str(&format!("{line}\n{}", printed(line)));
                command = Some(line);
            }
            (Some(_), "```") => {
                command = None;
                made.push_str("```\n");
            }
            (Some(_), _) => {}
            (None, line) => made.push_str(&format!("{line}\n")),
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(DOC, &made).expect("write");
        return;
    }
    assert!(made == doc, "docs/backtest.md differs: UPDATE_GOLDEN=1 rewrites it; review the diff\n{made}");
}

#[test]
fn csv_and_json_lines_say_the_same() {
    let csv = "application,at,vantage,signal,value,measured_at\n\
               payments,2026-08-24T10:00:00Z,,probe-use1,503,\n\
               \"payments\",2026-08-24T10:00:30Z,here,orders-lag,0.25,2026-08-24T09:59:00Z\n\
               payments,2026-08-24T10:01:00Z,,writer,us-west-2,\n";
    let json = r#"{"at":"2026-08-24T10:00:00Z","application":"payments","signal":"probe-use1","value":503}

{"at":"2026-08-24T10:00:30Z","application":"payments","signal":"orders-lag","vantage":"here","value":"0.25","measured_at":"2026-08-24T09:59:00Z"}
{"at":"2026-08-24T10:01:00Z","application":"payments","signal":"writer","value":"us-west-2"}"#;
    let (csv, json) = (tests(csv, "60s").expect("sound"), tests(json, "60s").expect("sound"));
    assert_eq!(csv, json);
    assert_eq!((csv.len(), csv[0].rows), (1, 3));
}

#[test]
fn every_fault_is_told_with_its_line_and_nothing_is_replayed() {
    let rows = [
        "at,application,signal,vantage,value",
        "2026-08-24T10:00:00Z,payments,probe-use1,,healthy",
        "yesterday,payments,probe-use1,,healthy",
        "2026-08-24T10:00:00Z,billing,probe-use1,,healthy",
        "2026-08-24T10:00:00Z,payments,probe,,healthy",
        "2026-08-24T10:00:00Z,payments,probe-use1,paris,healthy",
        "2026-08-24T10:00:00Z,payments,probe-use1,,fine",
        "2026-08-24T10:00:00Z,payments,orders-lag,,healthy",
        "2026-08-24T10:00:00Z,payments,orders-lag,,-3",
        "2026-08-24T10:00:00Z,payments,orders-lag,,NaN",
        "2026-08-24T10:00:00Z,payments,writer,,us-east-2",
        "2026-08-24T09:59:59Z,payments,probe-use1,,healthy",
        "2026-08-24T10:00:00Z,payments,probe-use1,healthy",
    ];
    let faults = tests(&rows.join("\n"), "60s").expect_err("faults");
    insta::assert_snapshot!(words::faults(Path::new("metrics.csv"), &faults));
    let many = format!("{}\n{}", rows[0], "x,y,z,,0\n".repeat(90));
    let faults = tests(&many, "60s").expect_err("faults");
    assert_eq!((faults.first.len(), faults.count), (read::FAULTS_MAX, 90));
    for (text, wanted) in [
        ("", "the file is empty"),
        ("at,signal\n", "expected each column once"),
        ("at,application,signal,vantage,colour\n", "`colour` is no column"),
        ("{\"at\":1}", "is no row"),
    ] {
        let faults = tests(text, "60s").expect_err("faults");
        assert!(faults.first[0].1.contains(wanted), "{:?}", faults.first);
    }
    let long = format!("{}\n{}\n", rows[0], "x".repeat(1 << 20));
    assert!(tests(&long, "60s").expect_err("faults").first[0].1.contains("longer than"));
}

#[test]
fn what_is_assumed_to_be_armed_is_a_duration_or_nothing() {
    assert_eq!(armed_loss("90s"), Ok(ArmedLoss(Some(Duration::from_secs(90)))));
    assert_eq!(armed_loss("none"), Ok(ArmedLoss(None)));
    for bad in ["60", "-5s", "25h", "much"] {
        assert!(armed_loss(bad).is_err(), "{bad}");
    }
    let outage = "at,application,signal,vantage,value\n2026-08-24T10:00:00Z,payments,probe-use1,,503\n";
    let nothing = tests(outage, "none").expect("sound");
    assert!(words::backtest(&nothing[0]).starts_with("payments: with nothing armed\n"));
}
