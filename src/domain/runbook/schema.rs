//! The JSON Schema of runbooks, for editors: runbooks/schema.json is its golden copy. And the arguments of an action, for
//! the reference page.
//!
//! Invariant: both are what the reader asks for when it reads the catalogue's own examples, so that they name no key
//! that it does not read, and miss none. Draft 7, which every editor knows. It deliberately says less than the reader:
//! bounds, expressions and what concerns several keys or steps are for `failoverd check`.

use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::{Act, STEPS_MAX, Step, budget, parameters, read};
use crate::domain::{
    catalogue::{ENTRIES, Entry},
    document::{Asked, At, Bounds, Entry as Pair, Findings, Node, Value},
    yaml,
};

/// A duration as the reader takes it [jiff's friendly format, and ISO 8601]: `90s`, `1h 30m`, `8 minutes`, `PT5M`.
/// Nobody writes days, which it refuses, or less than milliseconds.
const DURATION: &str = "^\\+?([0-9]+([.,][0-9]+)? *(hours|hour|hrs|hr|h|minutes|minute|mins|min|m|seconds|second|secs|sec|s\
                        |milliseconds|millisecond|millis|milli|msecs|msec|ms)(,? *|$))+$|^\\+?[Pp][Tt][0-9.,HhMmSs]+$\
                        |^\\+?[0-9]+:[0-9]{2}:[0-9]{2}([.,][0-9]+)?$";
const NAME: &str = "^[a-z0-9-]{1,64}$";

/// Words that stand for themselves, by key: what an editor offers.
const WORDS: &[(&str, &[&str])] = &[
    ("on_failure", &["hold", "undo", "continue"]),
    ("endpoint", &["target", "source"]),
    ("towards", &["target", "source"]),
    ("effect", &["read", "reversible", "compensable", "irreversible"]),
    ("repeat", &["idempotent", "at_most_once"]),
    ("on_unknown", &["observe", "hold"]),
    ("unknown", &["hold", "pass"]),
    ("of", &["source", "target"]),
    ("is", &["ill", "well", "unknown"]),
    ("verdict", &["nothing", "notify", "recommend"]),
];
/// Keys whose value is a name.
const NAMES: &[&str] = &["id", "runbook", "store", "via"];

/// One argument of an action: a key of its `with`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    pub name: &'static str,
    /// `consecutive: 3`.
    pub example: &'static str,
    pub needed: bool,
    /// Between what it must lie.
    pub bounds: Option<Bounds>,
}

/// The arguments of an action, in the order in which they are read.
pub fn arguments(entry: &Entry) -> Vec<Argument> {
    let asked = read_example(entry);
    let own = asked.into_iter().filter(|a| a.of == "steps[0].with");
    own.map(|a| Argument { name: a.name, example: a.example, needed: a.needed, bounds: a.bounds }).collect()
}

/// How long a step may take that says nothing of it, with the arguments of the entry's example; `None`: it has no time
/// of its own.
pub fn default_timeout(entry: &Entry) -> Option<Duration> {
    let (_, step) = read_step(entry, &[]);
    step.filter(|step| !matches!(step.act, Act::Call { .. })).map(|step| step.timeout)
}

/// What the reader asks for when it reads the entry's example. The bounds of what the example leaves out are those that
/// it asks for when that is given too.
fn read_example(entry: &Entry) -> Vec<Asked> {
    let (mut asked, _) = read_step(entry, &[]);
    let (whole, _) = read_step(entry, &asked);
    for key in &mut asked {
        let same = whole.iter().find(|a| (&a.of, a.name) == (&key.of, key.name));
        key.bounds = key.bounds.or(same.and_then(|a| a.bounds));
    }
    asked
}

/// One step with the entry's example, and with the example of each of `also` that it does not give.
fn read_step(entry: &Entry, also: &[Asked]) -> (Vec<Asked>, Option<Step>) {
    let with = if entry.example.is_empty() { "{}" } else { entry.example };
    let text = format!(
        "runbook: one\npurpose: failover\ndescription: One step.\nsteps:\n  - {{ id: it, action: {}, with: {with} }}\n",
        entry.name
    );
    let mut found = Findings::recording("example", "runbook-invalid");
    let Some(mut node) = yaml::parse(&text, &mut found) else { return (Vec::new(), None) };
    if let Some(with) = with_of_step(&mut node) {
        for asked in also.iter().filter(|a| a.of == "steps[0].with") {
            if let Some(value) = example_of(asked.name, asked.example)
                && with.iter().all(|e| e.key != asked.name)
            {
                with.push(Pair { key: asked.name.to_owned(), key_place: value.place, value });
            }
        }
    }
    let root = At::root(&node, &mut found);
    let read = read::runbook(&root, &mut found);
    let step = read.and_then(|(runbook, _)| runbook.steps.into_iter().next());
    (found.asked().to_vec(), step)
}

/// The `with` of the only step of a document.
fn with_of_step(root: &mut Node) -> Option<&mut Vec<Pair>> {
    let Value::List(steps) = entry_of(root, "steps")? else { return None };
    match entry_of(steps.first_mut()?, "with")? {
        Value::Table(entries) => Some(entries),
        _ => None,
    }
}

fn entry_of<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Value> {
    let Value::Table(entries) = &mut node.value else { return None };
    entries.iter_mut().find(|e| e.key == key).map(|e| &mut e.value.value)
}

/// The value of `consecutive: 3`.
fn example_of(name: &str, example: &str) -> Option<Node> {
    let shown = example.strip_prefix(name).and_then(|rest| rest.strip_prefix(": "))?;
    let node = yaml::parse(&format!("it: {shown}"), &mut Findings::new("", ""))?;
    first(&node).cloned()
}

/// The schema.
pub fn schema() -> Json {
    let waits = ENTRIES.iter().find(|e| e.name == "wait");
    let asked = waits.map(read_example).unwrap_or_default();
    let mut top = table(asked.iter().filter(|a| a.of.is_empty()));
    let mut step = table(asked.iter().filter(|a| a.of == "steps[0]"));
    let actions: Vec<Json> = ENTRIES.iter().map(|e| json!({ "const": e.name, "description": e.what })).collect();
    set(&mut step, "action", json!({ "oneOf": actions }));
    set(&mut step, "needs", json!({ "type": "array", "items": { "type": "string" } }));
    set(&mut step, "with", json!({ "type": "object" }));
    set(&mut step, "retry", retry());
    // What `parameters::fill` fills in beside `with`.
    if let Some(timeout) = asked.iter().find(|a| a.of == "steps[0]" && a.name == "timeout") {
        set(&mut step, "timeout", or_parameter(value_of(timeout)));
    }
    step.insert("allOf".to_owned(), ENTRIES.iter().map(with_of).collect());
    set(&mut top, "steps", json!({ "type": "array", "items": step, "minItems": 1, "maxItems": STEPS_MAX }));
    set(&mut top, "purpose", purposes());
    set(&mut top, "parameters", declared());
    set(&mut top, "budget", budget::schema(DURATION));
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    schema.insert("title".to_owned(), json!("A runbook of failoverd"));
    schema.extend(top);
    Json::Object(schema)
}

/// A table with the keys that were asked for, and no others.
fn table<'a>(asked: impl Iterator<Item = &'a Asked>) -> Map<String, Json> {
    let (mut properties, mut needed) = (Map::new(), Vec::new());
    for key in asked {
        properties.insert(key.name.to_owned(), value_of(key));
        if key.needed {
            needed.push(key.name);
        }
    }
    let mut table = Map::new();
    table.insert("type".to_owned(), json!("object"));
    table.insert("properties".to_owned(), Json::Object(properties));
    table.insert("additionalProperties".to_owned(), json!(false));
    if !needed.is_empty() {
        table.insert("required".to_owned(), json!(needed));
    }
    table
}

fn set(table: &mut Map<String, Json>, key: &str, value: Json) {
    if let Some(Json::Object(properties)) = table.get_mut("properties") {
        properties.insert(key.to_owned(), value);
    }
}

/// What the value of a key may be, by its example.
fn value_of(key: &Asked) -> Json {
    let (name, example) = (key.name, key.example);
    let value = example_of(name, example);
    let shape = match value.as_ref() {
        _ if matches!(key.bounds, Some(Bounds::Count(..))) => {
            let Some(Bounds::Count(least, most)) = key.bounds else { return Json::Bool(true) };
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        // The call that takes a call back, or the same with what was there before.
        _ if name == "undo" => json!({ "anyOf": [{ "const": "restore" }, { "type": "object" }] }),
        _ if NAMES.contains(&name) => json!({ "type": "string", "pattern": NAME }),
        Some(Node { value: Value::Bool(_), .. }) => json!({ "type": "boolean" }),
        Some(Node { value: Value::Integer(_) | Value::Float(_), .. }) => json!({ "type": "number" }),
        Some(Node { value: Value::List(_), .. }) => json!({ "type": "array" }),
        Some(Node { value: Value::Table(_), .. }) => json!({ "type": "object" }),
        Some(node) if parameters::Kind::Duration.check(node).is_ok() => {
            json!({ "type": "string", "pattern": DURATION })
        }
        Some(_) | None => json!({ "type": "string" }),
    };
    let shape = match WORDS.iter().find(|(key, _)| *key == name) {
        Some((_, words)) => json!({ "enum": words }),
        None => shape,
    };
    let mut shape = shape;
    shape["description"] = json!(format!("such as `{example}`"));
    shape
}

fn first(node: &Node) -> Option<&Node> {
    match &node.value {
        Value::Table(entries) => entries.first().map(|e| &e.value),
        _ => None,
    }
}

/// With this action, `with` has these keys.
fn with_of(entry: &Entry) -> Json {
    let asked = read_example(entry);
    let mut with = table(asked.iter().filter(|a| a.of == "steps[0].with"));
    let is_needed = with.contains_key("required");
    // A whole value may come from a parameter.
    if let Some(Json::Object(properties)) = with.get_mut("properties") {
        for value in properties.values_mut() {
            *value = or_parameter(value.take());
        }
    }
    if entry.name == "aws.call" {
        with.extend(declared_of_a_change());
    }
    let mut then = json!({ "properties": { "with": with } });
    match entry.name {
        "call" => {
            for own in ["timeout", "retry", "on_failure"] {
                then["properties"][own] = json!(false);
            }
        }
        "notify" => then["properties"]["on_failure"] = json!({ "const": "continue" }),
        _ => {}
    }
    if is_needed {
        then["required"] = json!(["with"]);
    }
    json!({ "if": { "properties": { "action": { "const": entry.name } }, "required": ["action"] }, "then": then })
}

/// What an `aws.call` that changes something declares: whether it may be repeated, and how a lost answer is settled.
fn declared_of_a_change() -> Map<String, Json> {
    let is = |word: &str| json!({ "anyOf": [{ "const": word }, { "type": "object" }] });
    let mut rule = Map::new();
    rule.insert("if".to_owned(), json!({ "properties": { "effect": is("read") } }));
    let settled = json!([
        { "required": ["done_when"] },
        { "properties": { "on_unknown": is("hold") }, "required": ["on_unknown"] },
    ]);
    rule.insert("then".to_owned(), json!({}));
    rule.insert("else".to_owned(), json!({ "required": ["repeat"], "anyOf": settled }));
    rule
}

fn or_parameter(value: Json) -> Json {
    let reference = json!({
        "type": "object",
        "properties": { "parameter": { "type": "string" } },
        "additionalProperties": false,
        "required": ["parameter"],
    });
    json!({ "anyOf": [value, reference] })
}

fn purposes() -> Json {
    let one = json!({ "enum": ["failover", "switchover", "failback", "drill", "salvage"] });
    json!({ "anyOf": [one, { "type": "array", "items": one }], "description": "such as `purpose: failover`" })
}

fn retry() -> Json {
    json!({
        "type": "object",
        "properties": {
            "attempts": { "type": "integer", "minimum": 1, "maximum": 10 },
            "backoff": { "type": "string", "pattern": DURATION },
        },
        "additionalProperties": false,
        "required": ["attempts"],
        "description": "such as `retry: { attempts: 3, backoff: 10s }`",
    })
}

/// The parameters that a called runbook declares.
fn declared() -> Json {
    let kinds: Vec<&str> = parameters::Kind::ALL.into_iter().map(parameters::Kind::as_str).collect();
    json!({
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "properties": { "type": { "enum": kinds }, "default": {} },
            "additionalProperties": false,
            "required": ["type", "default"],
        },
        "description": "typed, each with a default; used as `{ parameter: NAME }` in `with` and `timeout`",
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{
        super::{Library, Runbook},
        *,
    };
    use crate::domain::draft7::{as_json, refused};

    /// Reads `text`, with what a call needs.
    fn reads(text: &str) -> bool {
        let mut library = Library::default();
        library.add("p.yaml", "runbook: prove-target\npurpose: failover\ndescription: d\nparameters: { consecutive: { type: number, default: 3 } }\nsteps:\n  - { id: p, action: probe.http, with: { endpoint: target, consecutive: { parameter: consecutive } } }\n");
        Runbook::parse_with("t.yaml", text, &library).is_ok()
    }

    fn one(step: &str) -> String {
        format!("runbook: r\npurpose: failover\ndescription: d\nsteps:\n  - {{ id: s, {step} }}\n")
    }

    #[test]
    fn the_schema_accepts_every_shipped_runbook_and_every_example_of_the_catalogue() {
        let (schema, root) = (schema(), Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks"));
        let mut seen = 0;
        for file in std::fs::read_dir(root).expect("runbooks").filter_map(Result::ok) {
            let path = file.path();
            if path.extension().is_some_and(|e| e == "yaml") {
                let text = std::fs::read_to_string(&path).expect("readable");
                assert_eq!(refused(&schema, &as_json(&text), &path.display().to_string()), [] as [&str; 0]);
                assert!(text.starts_with("# yaml-language-server: $schema=schema.json\n"), "{}", path.display());
                seen += 1;
            }
        }
        assert!(4 <= seen, "{seen}");
        for entry in ENTRIES {
            let with = if entry.example.is_empty() { "{}" } else { entry.example };
            // A call has none of its own.
            let timeout = if entry.name == "call" { "" } else { "timeout: 1h, " };
            let text = one(&format!("{timeout}action: {}, with: {with}", entry.name));
            assert_eq!(refused(&schema, &as_json(&text), entry.name), [] as [&str; 0]);
        }
    }

    #[test]
    fn what_the_schema_refuses_the_reader_refuses_too() {
        let schema = schema();
        for text in [
            "runbook: r\npurpose: failover\nsteps: []\n".to_owned(),
            "runbook: r\npurpose: sideways\ndescription: d\nsteps: []\n".to_owned(),
            one("action: aurora.fallover"),
            one("action: wait"),
            one("action: wait, with: { duration: 90 }"),
            one("action: wait, with: { duration: 1m, longer: true }"),
            one("action: wait, colour: red, with: { duration: 1m }"),
            one("action: wait, on_failure: shrug, with: { duration: 1m }"),
            one("action: probe.http, with: { endpoint: elsewhere }"),
            one("action: probe.http, with: { endpoint: target, consecutive: many }"),
            one("action: call, with: { arguments: {} }"),
            "runbook: r\npurpose: failover\ndescription: d\nsteps: []\n".to_owned(),
            one("action: approve, with: { count: 0 }"),
            one("action: approve, with: { count: 1.5 }"),
            one("action: probe.http, with: { endpoint: target, expect_status: 20 }"),
            one("action: gate.capacity, with: { at_least_percent: 101 }"),
            one("action: gate.capacity, with: { unknown: shrug }"),
            one("action: wait, timeout: 8 elephants, with: { duration: 1m }"),
            one("action: wait, timeout: 1d, with: { duration: 1m }"),
            one("action: call, timeout: 1m, with: { runbook: prove-target }"),
            one("action: notify, on_failure: hold, with: { message: m }"),
            one(&aws_call(
                "effect: reversible",
                "done_when: { operation: GetParameter, arguments: { Name: x }, that: \"true\" }",
            )),
            one(&aws_call("effect: reversible, repeat: idempotent", "")),
            one(&aws_call("effect: reversible, repeat: often, on_unknown: hold", "")),
        ] {
            assert!(!refused(&schema, &as_json(&text), "").is_empty(), "{text}");
            assert!(!reads(&text), "{text}");
        }
    }

    fn aws_call(declared: &str, more: &str) -> String {
        let more = if more.is_empty() { String::new() } else { format!(", {more}") };
        format!(
            "action: aws.call, with: {{ service: ssm, region: \"{{target}}\", operation: PutParameter, arguments: {{ \
             Name: x, Value: y }}, {declared}{more} }}"
        )
    }

    #[test]
    fn what_the_reader_accepts_the_schema_accepts_too() {
        let schema = schema();
        let times = ["90s", "1h 30m", "1h30m", "8 minutes", "5 min", "1 hour, 30 minutes", "1.5h", "PT5M", "00:05:00"];
        let times = times.map(|time| one(&format!("action: wait, timeout: \"{time}\", with: {{ duration: 1m }}")));
        let patience = "runbook: r\npurpose: failover\ndescription: d\nparameters: { patience: { type: duration, default: \
                        10m } }\nsteps:\n  - { id: s, action: wait, timeout: { parameter: patience }, with: { duration: 1m \
                        } }\n";
        let others = [
            patience.to_owned(),
            one("action: call, with: { runbook: prove-target, arguments: { consecutive: 5 } }"),
            one("action: notify, on_failure: continue, with: { message: m }"),
            one("action: approve, with: { count: 5, expires_after: 1 hour }"),
            one(&aws_call("effect: reversible, repeat: at_most_once", "on_unknown: hold")),
        ];
        for text in times.iter().chain(&others) {
            assert_eq!(refused(&schema, &as_json(text), ""), [] as [&str; 0], "{text}");
            assert!(reads(text), "{text}");
        }
    }

    #[test]
    fn the_schema_is_the_golden_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks/schema.json");
        let mut text = serde_json::to_string_pretty(&schema()).expect("JSON");
        text.push('\n');
        #[expect(clippy::disallowed_methods, reason = "the switch of every golden test")]
        let update = std::env::var_os("UPDATE_GOLDEN").is_some();
        if update {
            std::fs::write(&path, &text).expect("written");
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(golden == text, "runbooks/schema.json differs: UPDATE_GOLDEN=1 rewrites it; review the diff");
    }

    #[test]
    fn the_arguments_are_those_that_the_reader_names() {
        for entry in ENTRIES {
            let named: Vec<&str> = arguments(entry).iter().map(|a| a.name).collect();
            let example = if entry.example.is_empty() { "{}" } else { entry.example };
            let with = example.replacen('{', "{ nonsense: 1, ", 1).replace(", }", " }");
            let text = one(&format!("action: {}, with: {with}", entry.name));
            let faults = Runbook::parse("t.yaml", &text).expect_err("an unknown key");
            let told = faults.iter().find(|f| f.problem.contains("unknown key `nonsense`"));
            let told = told.map(|f| f.problem.as_str()).unwrap_or_default();
            let valid = if named.is_empty() { "none".to_owned() } else { named.join(", ") };
            assert!(told.contains(&format!("valid keys: {valid}")), "{}: {told}", entry.name);
        }
    }
}
