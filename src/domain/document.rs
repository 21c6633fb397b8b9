//! A document that a person wrote (YAML, TOML), as a tree that remembers where every value stands, and a reader of
//! it that notes every fault and goes on, so that all of them are reported at once.
//!
//! Invariant: a value is either returned or a fault has been noted; nothing faulty becomes a default unseen.
//! It deliberately does no file I/O, no rendering (that is `config`), and knows no key of any document.

use std::{collections::BTreeMap, fmt::Display, str::FromStr, time::Duration};

use serde::Serialize;

mod place;

pub use place::{Lines, Place};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub place: Place,
    pub value: Value,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Table(_) => "a table of keys",
        }
    }
}

/// A key of a table with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub key_place: Place,
    pub value: Node,
}

/// Whether a fault stops the program from starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Error,
    Warning,
}

/// Something wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub severity: Severity,
    /// Has a page in docs/errors.
    pub code: &'static str,
    pub file: String,
    pub line: usize,
    pub column: usize,
    /// `steps[2].timeout`; empty for the document as a whole.
    pub key: String,
    /// The id of the step that `key` is of, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    pub problem: String,
    /// A valid example of what was expected.
    pub example: Option<String>,
    #[serde(skip)]
    pub place: Place,
}

impl Fault {
    /// The key as people are told it, who know a step by its id: `steps[2].timeout (step promote)`.
    pub fn told_key(&self) -> String {
        match &self.step {
            Some(step) => format!("{} (step {step})", self.key),
            None => self.key.clone(),
        }
    }
}

/// The faults found so far, and where each key that was read stands.
#[derive(Debug)]
pub struct Findings {
    file: String,
    code: &'static str,
    faults: Vec<Fault>,
    places: BTreeMap<String, Place>,
    /// The id of the step at each key such as `steps[2]`.
    steps: BTreeMap<String, String>,
    asked: Option<Vec<Asked>>,
}

/// A key that a reader asked for, whether or not it was given: of such the schemas and the reference pages are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The key of the table: `steps[0].with`.
    pub of: String,
    pub name: &'static str,
    /// `consecutive: 3`.
    pub example: &'static str,
    pub needed: bool,
    /// Between what its value must lie, where the reader says so.
    pub bounds: Option<Bounds>,
}

/// The least and the most that a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounds {
    Count(u32, u32),
    Duration(Duration, Duration),
}

impl Findings {
    /// Nothing found yet in `file`; faults get `code` where nothing more exact is said.
    pub fn new(file: &str, code: &'static str) -> Self {
        Self {
            file: file.to_owned(),
            code,
            faults: Vec::new(),
            places: BTreeMap::new(),
            steps: BTreeMap::new(),
            asked: None,
        }
    }

    /// The same, and every key that is asked for is remembered.
    pub fn recording(file: &str, code: &'static str) -> Self {
        Self { asked: Some(Vec::new()), ..Self::new(file, code) }
    }

    /// The keys that were asked for, in order.
    pub fn asked(&self) -> &[Asked] {
        self.asked.as_deref().unwrap_or_default()
    }

    /// Says that the step at `key` is `id`, for the faults of it, those that were noted before among them.
    pub fn is_step(&mut self, key: &str, id: &str) {
        self.steps.insert(key.to_owned(), id.to_owned());
    }

    /// Notes an error at `key`, or at the nearest enclosing key that was read.
    pub fn error(&mut self, key: &str, problem: impl Into<String>, example: &str) {
        self.note(Severity::Error, self.code, self.place(key), key, problem.into(), example);
    }

    /// Notes an error with a code of its own.
    pub fn coded(&mut self, code: &'static str, key: &str, problem: impl Into<String>, example: &str) {
        self.note(Severity::Error, code, self.place(key), key, problem.into(), example);
    }

    /// Notes an error at an exact place.
    pub fn error_at(&mut self, place: Place, key: &str, problem: impl Into<String>, example: &str) {
        self.note(Severity::Error, self.code, place, key, problem.into(), example);
    }

    /// Notes something that may be meant, but that the operator should know.
    pub fn warning(&mut self, code: &'static str, key: &str, problem: impl Into<String>, example: &str) {
        self.note(Severity::Warning, code, self.place(key), key, problem.into(), example);
    }

    /// Remembers the bounds of the value at `key`, where what is asked for is remembered.
    fn bound(&mut self, key: &str, bounds: Bounds) {
        let asked = self.asked.iter_mut().flatten().rev();
        if let Some(asked) = asked.into_iter().find(|a| join(&a.of, a.name) == key) {
            asked.bounds = Some(bounds);
        }
    }

    fn note(
        &mut self,
        severity: Severity,
        code: &'static str,
        place: Place,
        key: &str,
        problem: String,
        example: &str,
    ) {
        self.faults.push(Fault {
            severity,
            code,
            file: self.file.clone(),
            line: place.line,
            column: place.column,
            key: key.to_owned(),
            step: None,
            problem,
            example: (!example.is_empty()).then(|| example.to_owned()),
            place,
        });
    }

    fn place(&self, key: &str) -> Place {
        let mut at = key;
        loop {
            if let Some(place) = self.places.get(at) {
                return *place;
            }
            match at.rfind(['.', '[']) {
                Some(i) => at = &at[..i],
                None => return self.places.get("").copied().unwrap_or_default(),
            }
        }
    }

    /// Whether anything found is an error.
    pub fn has_errors(&self) -> bool {
        self.faults.iter().any(|f| f.severity == Severity::Error)
    }

    /// Whether anything found at `key` or below it is an error.
    pub fn has_errors_at(&self, key: &str) -> bool {
        let below = |at: &str| at.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        self.faults.iter().any(|f| f.severity == Severity::Error && below(&f.key))
    }

    /// What was found, in the order of the file.
    pub fn into_faults(mut self) -> Vec<Fault> {
        for fault in &mut self.faults {
            let of = fault.key.find(']').map(|end| &fault.key[..=end]);
            fault.step = of.and_then(|key| self.steps.get(key).cloned());
        }
        self.faults.sort_by_key(|f| f.place.offset);
        self.faults
    }
}

/// A value being read, with the key that leads to it and an example of what it should be.
#[derive(Debug, Clone)]
pub struct At<'a> {
    pub node: &'a Node,
    pub key: String,
    pub example: &'static str,
}

impl<'a> At<'a> {
    /// The document as a whole.
    pub fn root(node: &'a Node, found: &mut Findings) -> Self {
        found.places.insert(String::new(), node.place);
        Self { node, key: String::new(), example: "" }
    }

    fn expected<T>(&self, what: &str, found: &mut Findings) -> Option<T> {
        let problem = format!("expected {what}, found {}", self.node.value.kind());
        found.error(&self.key, problem, self.example);
        None
    }

    /// Text that is not empty.
    pub fn text(&self, found: &mut Findings) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(s) if s.trim().is_empty() => {
                found.error(&self.key, "is empty", self.example);
                None
            }
            Value::Text(s) => Some(s),
            _ => self.expected("text", found),
        }
    }

    /// Text that `T` accepts; what `T` says against it is the fault.
    pub fn parse<T: FromStr>(&self, found: &mut Findings) -> Option<T>
    where
        T::Err: Display,
    {
        match self.text(found)?.parse() {
            Ok(v) => Some(v),
            Err(e) => {
                found.error(&self.key, format!("{e}"), self.example);
                None
            }
        }
    }

    /// A duration such as `90s` or `1h 30m`, from `least` to `most`.
    pub fn duration(&self, found: &mut Findings, least: Duration, most: Duration) -> Option<Duration> {
        found.bound(&self.key, Bounds::Duration(least, most));
        let Value::Text(text) = &self.node.value else {
            return self.expected("a duration such as \"90s\"", found);
        };
        let parsed: Result<jiff::SignedDuration, _> = text.parse();
        match parsed.ok().and_then(|d| Duration::try_from(d).ok()) {
            None => {
                found.error(&self.key, format!("`{text}` is not a duration such as \"90s\" or \"5m\""), self.example);
                None
            }
            Some(d) if d < least || d > most => {
                let range = format!("`{text}` is not between {} and {}", friendly(least), friendly(most));
                found.error(&self.key, range, self.example);
                None
            }
            Some(d) => Some(d),
        }
    }

    pub fn boolean(&self, found: &mut Findings) -> Option<bool> {
        match self.node.value {
            Value::Bool(b) => Some(b),
            _ => self.expected("true or false", found),
        }
    }

    /// A whole number from `least` to `most`.
    pub fn count(&self, found: &mut Findings, least: u32, most: u32) -> Option<u32> {
        found.bound(&self.key, Bounds::Count(least, most));
        let Value::Integer(n) = self.node.value else {
            return self.expected("a whole number", found);
        };
        match u32::try_from(n) {
            Ok(n) if (least..=most).contains(&n) => Some(n),
            _ => {
                found.error(&self.key, format!("{n} is not between {least} and {most}"), self.example);
                None
            }
        }
    }

    /// A finite number.
    pub fn number(&self, found: &mut Findings) -> Option<f64> {
        match self.node.value {
            Value::Float(n) if n.is_finite() => Some(n),
            // Exact up to 2^53, far above any value that a metric carries.
            #[expect(clippy::cast_precision_loss, reason = "metric values are small")]
            Value::Integer(n) => Some(n as f64),
            _ => self.expected("a finite number", found),
        }
    }

    /// The items of a list.
    pub fn list(&self, found: &mut Findings) -> Option<Vec<At<'a>>> {
        let Value::List(items) = &self.node.value else {
            return self.expected("a list", found);
        };
        let item = |(i, node): (usize, &'a Node)| {
            let key = format!("{}[{i}]", self.key);
            found.places.insert(key.clone(), node.place);
            At { node, key, example: self.example }
        };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// The entries of a table whose keys are names that the writer chose.
    pub fn named(&self, found: &mut Findings) -> Option<Vec<(&'a str, At<'a>)>> {
        let Value::Table(entries) = &self.node.value else {
            return self.expected("a table of keys", found);
        };
        let entry = |e: &'a Entry| {
            let key = join(&self.key, &e.key);
            found.places.insert(key.clone(), e.key_place);
            (e.key.as_str(), At { node: &e.value, key, example: self.example })
        };
        Some(entries.iter().map(entry).collect())
    }

    /// The entries of a table whose keys are fixed.
    pub fn fields(&self, found: &mut Findings) -> Option<Fields<'a>> {
        match &self.node.value {
            Value::Table(entries) => Some(Fields { key: self.key.clone(), entries, asked: Vec::new() }),
            _ => self.expected("a table of keys", found),
        }
    }
}

/// A table with fixed keys, being read: whatever was not asked for is unknown.
#[derive(Debug)]
pub struct Fields<'a> {
    pub key: String,
    entries: &'a [Entry],
    asked: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The value of `key`, where it is given.
    pub fn get(&mut self, found: &mut Findings, key: &'static str, example: &'static str) -> Option<At<'a>> {
        self.asked.push(key);
        if let Some(asked) = &mut found.asked {
            asked.push(Asked { of: self.key.clone(), name: key, example, needed: false, bounds: None });
        }
        let entry = self.entries.iter().find(|e| e.key == key)?;
        let key = join(&self.key, key);
        found.places.insert(key.clone(), entry.value.place);
        Some(At { node: &entry.value, key, example })
    }

    /// The value of `key`; its absence is a fault.
    pub fn need(&mut self, found: &mut Findings, key: &'static str, example: &'static str) -> Option<At<'a>> {
        let at = self.get(found, key, example);
        if let Some(asked) = found.asked.as_mut().and_then(|all| all.last_mut()) {
            asked.needed = true;
        }
        if at.is_none() {
            found.error(&self.key, format!("`{key}` is missing"), example);
        }
        at
    }

    /// Notes every key that nothing asked for.
    pub fn finish(self, found: &mut Findings) {
        for entry in self.entries {
            if !self.asked.contains(&entry.key.as_str()) {
                let valid = self.asked.join(", ");
                let valid = if valid.is_empty() { "none".to_owned() } else { valid };
                let meant = did_you_mean(&entry.key, self.asked.iter().copied());
                let problem = format!("unknown key `{}`; valid keys: {valid}{meant}", clip(&entry.key));
                found.error_at(entry.key_place, &join(&self.key, &entry.key), problem, "");
            }
        }
    }
}

/// A text from outside, short enough to show.
pub fn clip(s: &str) -> String {
    s.chars().take(60).collect()
}

/// `; did you mean …?` where one of `of` is near enough to `given`, else nothing.
pub fn did_you_mean<'a>(given: &str, of: impl IntoIterator<Item = &'a str>) -> String {
    nearest(given, of).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// The one of `of` that was probably meant by `given`: at most one slip in three characters away.
pub fn nearest<'a>(given: &str, of: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = clip(given);
    let slips = |word: &str| slips(&folded(&given), &folded(word));
    let ranked = of.into_iter().map(|word| (slips(word), word));
    let (slips, word) = ranked.min_by_key(|(slips, _)| *slips)?;
    (slips <= given.chars().count() / 3).then_some(word)
}

/// Case and the kind of dash are no slip.
fn folded(word: &str) -> Vec<char> {
    word.chars().map(|c| if c == '_' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// How many characters must be added, taken away, changed or swapped with their neighbour (Damerau).
fn slips(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1)
            };
            if 1 < i && 1 < j && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                rows[i][j] = rows[i][j].min(rows[i - 2][j - 2] + 1);
            }
        }
    }
    rows[a.len()][b.len()]
}

/// A duration as people write it: `1m 30s`.
pub fn friendly(d: Duration) -> String {
    jiff::SignedDuration::try_from(d).map_or_else(|_| format!("{d:?}"), |d| format!("{d:#}"))
}

fn join(key: &str, more: &str) -> String {
    if key.is_empty() { more.to_owned() } else { format!("{key}.{more}") }
}

#[cfg(test)]
mod tests {
    use super::{Lines, Place, nearest};

    #[test]
    fn a_place_is_the_same_with_and_without_an_index_of_lines() {
        let text = "a: 1\n\nbé: [x,\n  ü]\n";
        let lines = Lines::of(text);
        for start in 0..=text.len() + 2 {
            assert_eq!(lines.place(start..start + 3), Place::of(text, start..start + 3), "{start}");
        }
    }

    #[test]
    fn what_was_probably_meant_is_offered_and_nothing_else() {
        let words = ["timeout", "on_failure", "late", "stale", "at"];
        let offered = |given| nearest(given, words);
        assert_eq!(offered("timeuot"), Some("timeout"));
        assert_eq!(offered("On-Failure"), Some("on_failure"));
        assert_eq!(offered("stael"), Some("stale"));
        assert_eq!(offered("laet"), Some("late"));
        assert_eq!(offered("colour"), None);
        assert_eq!(offered("a"), None, "one slip in one letter is another word");
        assert_eq!(nearest("at", []), None);
        let long = "x".repeat(100_000);
        assert_eq!(offered(long.as_str()), None);
    }
}
