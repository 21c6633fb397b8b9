//! YAML as a [`Node`]: the plain part of the language only.
//!
//! Refused, each by name and place: more than one document, anchors and aliases, tags, keys that are not text,
//! duplicate keys, nesting deeper than [`DEPTH_MAX`], and files over [`BYTES_MAX`]. `yes` and `on` are text.

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span};

use super::document::{Entry, Findings, Lines, Node, Place, Value, clip};

/// The largest document accepted.
pub const BYTES_MAX: usize = 64 * 1024;
/// The deepest nesting accepted; a runbook needs four, a scenario five.
pub const DEPTH_MAX: usize = 16;

/// Reads one document. `None`: what stopped the reading is among the findings.
pub fn parse(text: &str, found: &mut Findings) -> Option<Node> {
    if text.len() > BYTES_MAX {
        let problem = format!("is {} bytes long; the limit is {BYTES_MAX}", text.len());
        found.error("", problem, "split it into several files");
        return None;
    }
    let mut tree = Tree::default();
    let lines = Lines::of(text);
    for event in Parser::new_from_str(text) {
        match event {
            Err(e) => {
                let at = e.marker();
                let offset = at.byte_offset().unwrap_or(0);
                let mut place = Place::of(text, offset..offset + 1);
                place.line = at.line().max(1);
                found.error_at(place, "", format!("is not YAML: {}", e.info()), "");
                return None;
            }
            Ok((event, span)) => {
                if let Err(problem) = tree.take(event, place_of(text, &lines, span), found) {
                    found.error_at(place_of(text, &lines, span), "", problem, "");
                    return None;
                }
            }
        }
    }
    if tree.root.is_none() {
        found.error("", "is empty", "");
    }
    tree.root
}

fn place_of(text: &str, lines: &Lines<'_>, span: Span) -> Place {
    let start = span.start.byte_offset().unwrap_or(0);
    let end = span.end.byte_offset().unwrap_or(start).max(start);
    // A block's span covers all of it: its first line is enough to show.
    let line = text.get(start..end).and_then(|s| s.find('\n')).unwrap_or(end - start);
    lines.place(start..start + line.max(1))
}

#[derive(Default)]
struct Tree {
    root: Option<Node>,
    open: Vec<Open>,
    documents: usize,
}

enum Open {
    List { place: Place, items: Vec<Node> },
    Table { place: Place, entries: Vec<Entry>, key: Option<(String, Place)> },
}

impl Tree {
    fn take(&mut self, event: Event<'_>, place: Place, found: &mut Findings) -> Result<(), String> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err("a second document: one file holds one".to_owned());
                }
                Ok(())
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => Err("aliases (`*name`) are not allowed".to_owned()),
            Event::Anchor(..) => Err(no_anchor()),
            Event::Scalar(text, style, anchor, tag) => {
                plain(anchor, tag.is_some())?;
                let value = match style {
                    ScalarStyle::Plain => scalar(&text),
                    _ => Value::Text(text.into_owned()),
                };
                self.put(Node { place, value }, found)
            }
            Event::SequenceStart(_, anchor, tag) => {
                plain(anchor, tag.is_some())?;
                self.open(Open::List { place, items: Vec::new() })
            }
            Event::MappingStart(_, anchor, tag) => {
                plain(anchor, tag.is_some())?;
                self.open(Open::Table { place, entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { place, items }) => self.put(Node { place, value: Value::List(items) }, found),
                Some(Open::Table { place, entries, .. }) => {
                    self.put(Node { place, value: Value::Table(entries) }, found)
                }
                None => Err("is not YAML: an end without a beginning".to_owned()),
            },
            _ => Ok(()),
        }
    }

    fn open(&mut self, open: Open) -> Result<(), String> {
        if self.open.len() >= DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}"));
        }
        if matches!(self.open.last(), Some(Open::Table { key: None, .. })) {
            return Err("a key must be text".to_owned());
        }
        self.open.push(open);
        Ok(())
    }

    fn put(&mut self, node: Node, found: &mut Findings) -> Result<(), String> {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Table { entries, key, .. }) => match key.take() {
                Some((key, key_place)) => {
                    if entries.iter().any(|e| e.key == key) {
                        found.error_at(key_place, &key, format!("`{}` is given twice", clip(&key)), "");
                    } else {
                        entries.push(Entry { key, key_place, value: node });
                    }
                }
                None => match node.value {
                    Value::Text(text) => *key = Some((text, node.place)),
                    _ => return Err("a key must be text".to_owned()),
                },
            },
        }
        Ok(())
    }
}

fn no_anchor() -> String {
    "anchors (`&name`) are not allowed".to_owned()
}

fn plain(anchor: usize, tagged: bool) -> Result<(), String> {
    match (anchor, tagged) {
        (0, false) => Ok(()),
        (_, true) => Err("tags (`!name`) are not allowed".to_owned()),
        _ => Err(no_anchor()),
    }
}

/// YAML 1.2's core schema, without its octal and hexadecimal numbers.
fn scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => match (text.parse(), text.parse()) {
            (Ok(n), _) => Value::Integer(n),
            (_, Ok(n)) => Value::Float(n),
            _ => Value::Text(text.to_owned()),
        },
        _ => Value::Text(text.to_owned()),
    }
}
