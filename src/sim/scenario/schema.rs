//! The JSON Schema of scenario files, for editors: docs/schema/scenario.schema.json is its golden copy.
//!
//! Made of the forms that the reader reads by, so that it cannot say anything else. Draft 7, which every editor knows.
//! It deliberately does not say what takes several keys to see (times that contradict each other), and of durations
//! only the form in which people write them.

use serde_json::{Map, Value, json};

use super::{
    form::{DAEMON, Form, Key, LEADER, OBSERVERS_MAX, REPLICAS_MAX, ROLES, Shape, Whose, Word},
    keys,
};

/// The schema.
pub fn schema() -> Value {
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    schema.insert("title".to_owned(), json!("A disaster that failoverd rehearses"));
    if let Value::Object(document) = form(&keys::SCENARIO) {
        schema.extend(document);
    }
    Value::Object(schema)
}

fn form(form: &Form) -> Value {
    let (mut properties, mut rules) = (Map::new(), Vec::new());
    for key in form.keys.iter().chain(form.one_of) {
        add(key, &mut properties, &mut rules);
    }
    let needed: Vec<&str> = form.keys.iter().filter(|k| k.needed).map(|k| k.name).collect();
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), Value::Object(properties));
    schema.insert("additionalProperties".to_owned(), json!(false));
    if !needed.is_empty() {
        schema.insert("required".to_owned(), json!(needed));
    }
    if !form.one_of.is_empty() {
        let each: Vec<Value> = form.one_of.iter().map(|k| json!({ "required": [k.name] })).collect();
        schema.insert("oneOf".to_owned(), json!(each));
    }
    if !rules.is_empty() {
        schema.insert("allOf".to_owned(), Value::Array(rules));
    }
    Value::Object(schema)
}

/// Adds `key` and the keys that come with its words; each of those is possible with its word only.
fn add(key: &Key, properties: &mut Map<String, Value>, rules: &mut Vec<Value>) {
    let mut value = shape(&key.shape);
    if let Value::Object(value) = &mut value {
        value.insert("description".to_owned(), json!(key.says));
    }
    properties.insert(key.name.to_owned(), value);
    let Shape::Words(words) = key.shape else { return };
    for more in words.iter().flat_map(|w| w.more) {
        let with: Vec<&str> = words.iter().filter(|w| has(w, more)).map(|w| w.word).collect();
        let is_one_of_them = json!({ "properties": { key.name: { "enum": with } }, "required": [key.name] });
        let then = if more.needed { json!({ "required": [more.name] }) } else { json!({}) };
        let otherwise = json!({ "properties": { more.name: false } });
        rules.push(json!({ "if": is_one_of_them, "then": then, "else": otherwise }));
        add(more, properties, rules);
    }
}

fn has(word: &Word, key: &Key) -> bool {
    word.more.iter().any(|k| k.name == key.name)
}

/// A duration as people write it: `90s`, `1h 30m`.
const DURATION: &str = "^[0-9]+(\\.[0-9]+)?( ?(ms|s|m|h)( ?[0-9]+(\\.[0-9]+)?)?)+$";
const JUMP: &str = "^-?[0-9]+(\\.[0-9]+)?( ?(s|m|h)( ?[0-9]+)?)+$";
const REGION: &str = "^[a-z0-9]+(-[a-z0-9]+)+-[0-9]+$";

fn shape(shape: &Shape) -> Value {
    match shape {
        Shape::Name => json!({ "type": "string", "pattern": "^[a-z0-9-]{1,64}$" }),
        Shape::Text => json!({ "type": "string", "minLength": 1 }),
        Shape::Incident => json!({ "type": "string", "pattern": "^R([1-9]|1[0-8])$" }),
        // Not the list: a code more would change the schema, and the reader knows them.
        Shape::Code => json!({ "type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$" }),
        Shape::Duration { .. } => json!({ "type": "string", "pattern": DURATION }),
        Shape::Within { .. } => json!({ "anyOf": [{ "const": "rto" }, { "type": "string", "pattern": DURATION }] }),
        Shape::Jump { .. } => json!({ "type": "string", "pattern": JUMP }),
        Shape::Region(Whose::Application | Whose::Any) => {
            json!({ "anyOf": [{ "enum": ROLES }, { "type": "string", "pattern": REGION }] })
        }
        Shape::Replica => one_of(LEADER, REPLICAS_MAX),
        Shape::Vantage => one_of(DAEMON, OBSERVERS_MAX),
        // Each word with what it says: editors show it beside the word.
        Shape::Words(words) => {
            let each: Vec<Value> = words.iter().map(|w| json!({ "const": w.word, "description": w.says })).collect();
            json!({ "oneOf": each })
        }
        Shape::Operation(known) => json!({ "enum": operations(known) }),
        Shape::Count { least, most } => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Shape::Chance => json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1 }),
        Shape::Bool => json!({ "type": "boolean" }),
        Shape::True => json!({ "const": true }),
        Shape::Table(form) => self::form(form),
        Shape::List { of, most } => json!({ "type": "array", "items": self::shape(of), "maxItems": most }),
    }
}

/// A word, or the number of one of several.
fn one_of(word: &str, most: u32) -> Value {
    json!({ "anyOf": [{ "const": word }, { "type": "integer", "minimum": 1, "maximum": most }] })
}

/// `any`, the services, the operations.
fn operations(known: &[&'static str]) -> Vec<&'static str> {
    let mut all = vec!["any"];
    for operation in known {
        let service = operation.find(':').map_or(*operation, |i| &operation[..=i]);
        if !all.contains(&service) {
            all.push(service);
        }
    }
    all.extend(known);
    all
}
