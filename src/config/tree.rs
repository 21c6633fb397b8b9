//! TOML as a [`Node`], with the place of every value.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::domain::document::{Entry, Findings, Node, Place, Value};

/// Syntax errors that are told of one document. After the first few, one mistake is what most of them come from.
const ERRORS_MAX: usize = 20;

/// Reads a document. `None`: its faults are among the findings, all of them but for syntax errors beyond
/// [`ERRORS_MAX`], which are counted.
pub(super) fn parse(text: &str, found: &mut Findings) -> Option<Node> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors.iter().take(ERRORS_MAX) {
        let place = Place::of(text, error.span().unwrap_or(0..0));
        found.error_at(place, "", format!("is not TOML: {}", error.message()), "");
    }
    if errors.len() > ERRORS_MAX {
        let problem = format!("is not TOML in {} more places", errors.len() - ERRORS_MAX);
        found.error("", problem, "");
    }
    if !errors.is_empty() {
        return None;
    }
    let place = Place { line: 1, column: 1, offset: 0, length: 1 };
    Some(Node { place, value: entries(text, table.get_ref()) })
}

fn entries(text: &str, table: &DeTable<'_>) -> Value {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_place: Place::of(text, key.span()),
            value: node(text, value),
        })
        .collect();
    entries.sort_by_key(|e| e.key_place.offset);
    Value::Table(entries)
}

fn node(text: &str, value: &Spanned<DeValue<'_>>) -> Node {
    let mut place = Place::of(text, value.span());
    place.length =
        text.get(place.offset..place.offset + place.length).and_then(|s| s.find('\n')).unwrap_or(place.length);
    let value = match value.get_ref() {
        DeValue::String(s) => Value::Text(s.to_string()),
        DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix()).map_or(Value::Null, Value::Integer),
        DeValue::Float(n) => n.as_str().parse().map_or(Value::Null, Value::Float),
        DeValue::Boolean(b) => Value::Bool(*b),
        DeValue::Datetime(d) => Value::Text(d.to_string()),
        DeValue::Array(items) => Value::List(items.iter().map(|v| node(text, v)).collect()),
        DeValue::Table(table) => entries(text, table),
    };
    Node { place, value }
}
