//! The JSON Schema against the reader, and the documents against both.

use super::{writing::every_variant, *};
use crate::{
    domain::draft7::{as_json, refused},
    sim::world::services,
};

#[test]
fn the_schema_accepts_what_the_reader_accepts() {
    let schema = schema();
    for (file, text) in Scenario::embedded() {
        assert_eq!(refused(&schema, &as_json(text), file), [] as [&str; 0]);
    }
    for scenario in every_variant() {
        let text = scenario.to_yaml();
        assert_eq!(refused(&schema, &as_json(&text), &text), [] as [&str; 0]);
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let schema = schema();
    for text in [
        with("colour: red\n"),
        "scenario: s\ndescription: d\nwarm_up: 4m\n".to_owned(),
        with("happenings: [{ at: 1m }]\n"),
        with("happenings: [{ at: 1m, promotion: fails, disk_full: true }]\n"),
        with("happenings: [{ at: 1m, promotion: stops }]\n"),
        with("happenings: [{ at: 1m, disk_full: false }]\n"),
        call("{ operation: any, fault: late }"),
        call("{ operation: any, fault: hang, by: 3s }"),
        call("{ operation: any, fault: hang, chance: 0 }"),
        call("{ operation: nothing, fault: hang }"),
        with("people: { ask: { wish: auto, when: recommended } }\n"),
        with("people: { ask: { wish: auto, at: 1m, after: 1m } }\n"),
        with("expect: [{ run: { ends: succeeded, code: gate-rpo } }]\n"),
        with("expect: [{ served: { within: 3 } }]\n"),
    ] {
        assert!(!refused(&schema, &as_json(&text), "").is_empty(), "{text}");
        assert_ne!(faults(&text), "", "{text}");
    }
}

/// Holds `docs/{file}` against what is generated; between the marks where there are some.
#[track_caller]
fn golden(file: &str, generated: &str, marks: Option<(&str, &str)>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(file);
    let whole = fs::read_to_string(&path).unwrap_or_default();
    let (before, old, after) = match marks {
        None => ("", whole.as_str(), ""),
        Some((begin, end)) => {
            let from = whole.find(begin).expect("the first mark") + begin.len();
            let to = whole.find(end).expect("the last mark");
            (&whole[..from], &whole[from..to], &whole[to..])
        }
    };
    #[expect(clippy::disallowed_methods, reason = "the switch of every golden test")]
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    if update {
        fs::write(&path, format!("{before}{generated}{after}")).expect("docs can be written");
        return;
    }
    assert!(old == generated, "docs/{file} differs: UPDATE_GOLDEN=1 rewrites it; review the diff");
}

#[test]
fn the_schema_is_the_golden_one() {
    let text = serde_json::to_string_pretty(&schema()).expect("JSON");
    golden("schema/scenario.schema.json", &format!("{text}\n"), None);
}

/// The rows of a form, and below them the tables of the words that have keys or need explaining.
fn rows(key: &Key, from: &str, choice: bool, out: &mut String) {
    let name = if from.is_empty() { key.name.to_owned() } else { format!("{from}.{}", key.name) };
    let must = match (key.needed, choice) {
        (true, _) => "yes",
        (_, true) => "one",
        _ => "",
    };
    let words = if let Shape::Words(words) = key.shape {
        let each: Vec<String> = words.iter().map(|w| format!("`{}` {}", w.word, w.says)).collect();
        format!(": {}", each.join(" · "))
    } else {
        String::new()
    };
    out.push_str(&format!("| `{name}` | {must} | {}{words} | `{}` |\n", key.says, key.example));
    match &key.shape {
        Shape::Table(form) => all_rows(form, &name, out),
        Shape::List { of: Shape::Table(form), .. } => all_rows(form, &format!("{name}[]"), out),
        Shape::Words(words) => {
            let mut told = BTreeSet::new();
            for more in words.iter().flat_map(|w| w.more).filter(|k| told.insert(k.name)) {
                let with: Vec<&str> =
                    words.iter().filter(|w| w.more.iter().any(|k| k.name == more.name)).map(|w| w.word).collect();
                let must = if more.needed { "with" } else { "may, with" };
                let parent = if from.is_empty() { more.name.to_owned() } else { format!("{from}.{}", more.name) };
                out.push_str(&format!(
                    "| `{parent}` | {must} `{}` | {} | `{}` |\n",
                    with.join("`, `"),
                    more.says,
                    more.example
                ));
            }
        }
        _ => {}
    }
}

fn all_rows(form: &Form, from: &str, out: &mut String) {
    form.keys.iter().for_each(|k| rows(k, from, false, out));
    form.one_of.iter().for_each(|k| rows(k, from, true, out));
}

#[test]
fn the_table_of_keys_in_the_guide_is_that_of_the_reader() {
    let mut table = String::from("\n| key | needed | what | for example |\n|---|---|---|---|\n");
    all_rows(&keys::SCENARIO, "", &mut table);
    golden("scenarios.md", &table, Some(("<!-- keys -->\n", "<!-- end of keys -->")));
}

#[test]
fn the_example_of_the_guide_is_a_scenario() {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scenarios.md")).expect("the guide");
    let examples: Vec<&str> = guide.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        assert_eq!(faults(example), "", "{example}");
    }
}

/// Every scenario that the page on incidents names ships, and every one that reproduces an incident is in its row.
#[test]
fn the_page_on_incidents_names_what_ships() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/incidents.md")).expect("the page");
    let row = |incident: &str| {
        page.lines().find(|l| l.starts_with(&format!("| {incident} "))).unwrap_or_else(|| panic!("no row {incident}"))
    };
    let mut names = BTreeSet::new();
    for (file, text) in Scenario::embedded() {
        let written = Scenario::parse(file, text).expect("ships");
        if let Some(incident) = &written.reproduces {
            let command = format!("--scenario {} ", written.name);
            assert!(row(incident).contains(&command), "{incident} does not show {}", written.name);
        }
        names.insert(written.name);
    }
    (1..=18).for_each(|n| assert!(row(&format!("R{n}")).len() > 20));
    for named in page.split("--scenario ").skip(1) {
        let name = named.split_whitespace().next().unwrap_or_default();
        assert!(name == "NAME" || names.contains(name), "{name} does not ship");
    }
}

/// A call that no file could name would be one that no disaster of a user's own reaches.
#[test]
fn every_call_of_the_program_can_be_named() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = BTreeSet::new();
    for file in ["src/domain/cloud.rs", "src/sim/port/cloud.rs"] {
        let text = fs::read_to_string(root.join(file)).expect("source");
        let literals = text.split('"').skip(1).step_by(2);
        let calls = literals.filter(|l| {
            let Some((service, call)) = l.split_once(':') else { return false };
            !service.is_empty()
                && service.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && call.starts_with(|c: char| c.is_ascii_uppercase())
                && call.bytes().all(|b| b.is_ascii_alphanumeric())
        });
        seen.extend(calls.map(str::to_owned));
    }
    // Those that a runbook writes out stand in no source; of them, all that are simulated can be named.
    seen.extend(services::OPERATIONS.iter().map(|o| (*o).to_owned()));
    assert_eq!(seen, words::OPERATIONS.iter().map(|o| (*o).to_owned()).collect());
}
