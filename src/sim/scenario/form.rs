//! The grammar of a scenario file as data, and the one reader of it.
//!
//! Invariant: whatever a form does not name is refused with the names that it has; what the reader accepts, the schema
//! and the table of keys in docs/scenarios.md say, because all three are made of the same forms. It deliberately knows
//! no key of a scenario (that is [`super::keys`]) and makes no scenario (that is [`super::read`]).

use std::{collections::BTreeMap, time::Duration};

use crate::domain::{
    code,
    document::{At, Fields, Findings, Value, did_you_mean, friendly},
    id::{NAME_CHARS_MAX, Region},
};

/// A table with fixed keys.
#[derive(Debug)]
pub(super) struct Form {
    /// What it describes, with its article: `a happening`.
    pub(super) what: &'static str,
    pub(super) keys: &'static [Key],
    /// Of these exactly one must be given; none where the form has no such choice.
    pub(super) one_of: &'static [Key],
}

/// A key of a form.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) needed: bool,
    pub(super) example: &'static str,
    pub(super) says: &'static str,
}

/// A key that must be there.
pub(super) const fn need(name: &'static str, shape: Shape, example: &'static str, says: &'static str) -> Key {
    Key { name, shape, needed: true, example, says }
}

/// A key that may be left out.
pub(super) const fn may(name: &'static str, shape: Shape, example: &'static str, says: &'static str) -> Key {
    Key { name, shape, needed: false, example, says }
}

/// One of several words, and the keys that come with it.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) word: &'static str,
    pub(super) says: &'static str,
    pub(super) more: &'static [Key],
}

/// A word without keys of its own.
pub(super) const fn word(word: &'static str, says: &'static str) -> Word {
    Word { word, says, more: &[] }
}

/// What a value may be.
#[derive(Debug)]
pub(super) enum Shape {
    /// `^[a-z0-9-]{1,64}$`, as every name that a file supplies (FAULTS.md 91).
    Name,
    Text,
    /// An incident of FAULTS.md section 3, `R1` to `R18`.
    Incident,
    /// A code of docs/errors.
    Code,
    Duration {
        least: Duration,
        most: Duration,
    },
    /// A duration, or `rto`: the application's own objective.
    Within {
        most: Duration,
    },
    /// A time forward or back, in whole seconds.
    Jump {
        most: Duration,
    },
    Region(Whose),
    /// `daemon`, or the number of an observer.
    Vantage,
    /// `leader`, or the number of a replica.
    Replica,
    Words(&'static [Word]),
    /// `any`, a service such as `rds:`, or an operation of this list.
    Operation(&'static [&'static str]),
    Count {
        least: u32,
        most: u32,
    },
    /// More than 0, at most 1.
    Chance,
    Bool,
    /// `true`, for what has no detail.
    True,
    Table(&'static Form),
    List {
        of: &'static Shape,
        most: usize,
    },
}

/// Which Regions may be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The application's only.
    Application,
    /// Any, because a plane may live where the application does not.
    Any,
}

/// The words for the application's first and second Region.
pub(super) const ROLES: [&str; 2] = ["primary", "standby"];

/// The vantage that is no observer.
pub(super) const DAEMON: &str = "daemon";

/// The replica that leads, whichever it is.
pub(super) const LEADER: &str = "leader";

/// The most replicas of a rehearsal: two more than anybody needs.
pub(super) const REPLICAS_MAX: u32 = 5;

/// The most observers of a rehearsal: as many as a configuration may name.
pub(super) const OBSERVERS_MAX: u32 = 16;

/// A value that was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Got {
    Text(String),
    Word(&'static str),
    Duration(Duration),
    Seconds(i64),
    /// The application's own objective.
    Objective,
    /// `None` while it is not known which application is meant.
    Region(Option<Region>),
    Count(u32),
    Number(f64),
    Bool(bool),
    Table(Table),
    List(Vec<Got>),
}

/// The values of a form by key. Each way of asking answers `None` where the key was not given.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Table(BTreeMap<&'static str, Got>);

impl Table {
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        if let Got::Text(v) = self.0.get(key)? { Some(v) } else { None }
    }

    pub(super) fn word(&self, key: &str) -> Option<&'static str> {
        if let Got::Word(v) = self.0.get(key)? { Some(v) } else { None }
    }

    pub(super) fn duration(&self, key: &str) -> Option<Duration> {
        if let Got::Duration(v) = self.0.get(key)? { Some(*v) } else { None }
    }

    pub(super) fn seconds(&self, key: &str) -> Option<i64> {
        if let Got::Seconds(v) = self.0.get(key)? { Some(*v) } else { None }
    }

    pub(super) fn region(&self, key: &str) -> Option<Region> {
        if let Got::Region(v) = self.0.get(key)? { v.clone() } else { None }
    }

    pub(super) fn count(&self, key: &str) -> Option<u32> {
        if let Got::Count(v) = self.0.get(key)? { Some(*v) } else { None }
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        if let Got::Number(v) = self.0.get(key)? { Some(*v) } else { None }
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        if let Got::Bool(v) = self.0.get(key)? { Some(*v) } else { None }
    }

    pub(super) fn table(&self, key: &str) -> Option<&Table> {
        if let Got::Table(v) = self.0.get(key)? { Some(v) } else { None }
    }

    /// The tables of a list; none where the key was not given.
    pub(super) fn tables(&self, key: &str) -> impl Iterator<Item = &Table> {
        let items = if let Some(Got::List(items)) = self.0.get(key) { items.as_slice() } else { &[] };
        items.iter().filter_map(|item| if let Got::Table(t) = item { Some(t) } else { None })
    }

    /// The counts of a list; none where the key was not given.
    pub(super) fn counts(&self, key: &str) -> impl Iterator<Item = u32> {
        let items = if let Some(Got::List(items)) = self.0.get(key) { items.as_slice() } else { &[] };
        items.iter().filter_map(|item| if let Got::Count(n) = item { Some(*n) } else { None })
    }
}

/// A reading: where faults go, and the Regions that `primary` and `standby` mean, where an application is known.
pub(super) struct Reading<'a> {
    pub(super) found: &'a mut Findings,
    pub(super) regions: Option<&'a [Region]>,
}

impl Reading<'_> {
    /// The values of `form` at `at`; `None` where any of them is faulty, which has then been noted.
    pub(super) fn form(&mut self, form: &Form, at: &At<'_>) -> Option<Table> {
        let mut f = at.fields(self.found)?;
        let (mut table, mut whole) = (Table::default(), true);
        for key in form.keys {
            let given = if key.needed {
                f.need(self.found, key.name, key.example)
            } else {
                f.get(self.found, key.name, key.example)
            };
            match given {
                Some(at) => whole &= self.take(key, &at, &mut f, &mut table),
                None => whole &= !key.needed,
            }
        }
        whole &= self.choice(form, at, &mut f, &mut table);
        f.finish(self.found);
        whole.then_some(table)
    }

    /// The one key of `form.one_of` that is given.
    fn choice(&mut self, form: &Form, at: &At<'_>, f: &mut Fields<'_>, table: &mut Table) -> bool {
        let mut given = Vec::new();
        for key in form.one_of {
            given.extend(f.get(self.found, key.name, key.example).map(|at| (key, at)));
        }
        let mut whole = true;
        match given.first() {
            None => {
                if let Some(example) = form.one_of.first() {
                    let names: Vec<&str> = form.one_of.iter().map(|k| k.name).collect();
                    let problem = format!("{} needs one of {}", form.what, names.join(", "));
                    self.found.error(&at.key, problem, example.example);
                    whole = false;
                }
            }
            Some((first, _)) => {
                for (key, at) in given.iter().skip(1) {
                    let problem = format!("`{}` beside `{}`: {} has one of them", key.name, first.name, form.what);
                    self.found.error(&at.key, problem, "");
                    whole = false;
                }
            }
        }
        for (key, at) in &given {
            whole &= self.take(key, at, f, table);
        }
        whole
    }

    /// Reads the value of `key`, and the keys that come with its word.
    fn take(&mut self, key: &Key, at: &At<'_>, f: &mut Fields<'_>, table: &mut Table) -> bool {
        let got = self.value(&key.shape, at);
        let mut whole = got.is_some();
        if let Shape::Words(words) = key.shape {
            for word in words {
                match &got {
                    Some(Got::Word(w)) if *w == word.word => {
                        for more in word.more {
                            let given = if more.needed {
                                f.need(self.found, more.name, more.example)
                            } else {
                                f.get(self.found, more.name, more.example)
                            };
                            match given {
                                Some(at) => whole &= self.take(more, &at, f, table),
                                None => whole &= !more.needed,
                            }
                        }
                    }
                    Some(_) => {}
                    // No second fault for the keys of a word that is misspelt.
                    None => {
                        for more in word.more {
                            f.get(self.found, more.name, more.example);
                        }
                    }
                }
            }
        }
        if let Some(got) = got {
            table.0.insert(key.name, got);
        }
        whole
    }

    fn value(&mut self, shape: &Shape, at: &At<'_>) -> Option<Got> {
        let found = &mut *self.found;
        match shape {
            Shape::Name => name(at, found),
            Shape::Text => at.text(found).map(|t| Got::Text(t.trim().to_owned())),
            Shape::Incident => incident(at, found),
            Shape::Code => error_code(at, found),
            Shape::Duration { least, most } => at.duration(found, *least, *most).map(Got::Duration),
            Shape::Within { .. } if matches!(&at.node.value, Value::Text(t) if t == "rto") => Some(Got::Objective),
            Shape::Within { most } => at.duration(found, Duration::ZERO, *most).map(Got::Duration),
            Shape::Jump { most } => jump(at, *most, found),
            Shape::Region(whose) => self.region(*whose, at),
            Shape::Vantage => one_of(at, DAEMON, "an observer", OBSERVERS_MAX, found),
            Shape::Replica => one_of(at, LEADER, "a replica", REPLICAS_MAX, found),
            Shape::Words(words) => one_word(words, at, found),
            Shape::Operation(known) => operation(known, at, found),
            Shape::Count { least, most } => at.count(found, *least, *most).map(Got::Count),
            Shape::Chance => chance(at, found),
            Shape::Bool => at.boolean(found).map(Got::Bool),
            Shape::True => match at.boolean(found)? {
                true => Some(Got::Bool(true)),
                false => refuse(at, "only `true` means something here; leave the key out otherwise", found),
            },
            Shape::Table(form) => self.form(form, at).map(Got::Table),
            Shape::List { of, most } => self.list(of, *most, at),
        }
    }

    fn list(&mut self, of: &Shape, most: usize, at: &At<'_>) -> Option<Got> {
        let items = at.list(self.found)?;
        if items.len() > most {
            return refuse(at, format!("{} entries; {most} are possible", items.len()), self.found);
        }
        let values: Vec<Option<Got>> = items.iter().map(|item| self.value(of, item)).collect();
        values.into_iter().collect::<Option<Vec<Got>>>().map(Got::List)
    }

    fn region(&mut self, whose: Whose, at: &At<'_>) -> Option<Got> {
        let text = at.text(self.found)?;
        if let Some(role) = ROLES.iter().position(|role| *role == text) {
            let Some(regions) = self.regions else { return Some(Got::Region(None)) };
            if let Some(region) = regions.get(role) {
                return Some(Got::Region(Some(region.clone())));
            }
            let problem = format!("the application has no {text} Region: it has {}", list_of(regions));
            self.found.coded("scenario-unknown-region", &at.key, problem, at.example);
            return None;
        }
        let Ok(region) = text.parse::<Region>() else {
            let meant = did_you_mean(text, ROLES);
            let clipped = crate::domain::document::clip(text);
            let problem =
                format!("`{clipped}` is no Region: expected primary, standby, or a name such as us-east-1{meant}");
            return refuse(at, problem, self.found);
        };
        if let (Whose::Application, Some(regions)) = (whose, self.regions)
            && !regions.contains(&region)
        {
            let problem = format!("the application has no Region {region}: it has {}", list_of(regions));
            self.found.coded("scenario-unknown-region", &at.key, problem, at.example);
            return None;
        }
        Some(Got::Region(Some(region)))
    }
}

fn list_of(regions: &[Region]) -> String {
    let names: Vec<&str> = regions.iter().map(Region::as_str).collect();
    names.join(", ")
}

fn refuse(at: &At<'_>, problem: impl Into<String>, found: &mut Findings) -> Option<Got> {
    found.error(&at.key, problem, at.example);
    None
}

fn name(at: &At<'_>, found: &mut Findings) -> Option<Got> {
    let text = at.text(found)?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.len() <= NAME_CHARS_MAX && text.bytes().all(plain) {
        return Some(Got::Text(text.to_owned()));
    }
    let clipped = crate::domain::document::clip(text);
    refuse(at, format!("`{clipped}` is not a name: expected 1 to {NAME_CHARS_MAX} of a-z, 0-9 and -"), found)
}

fn incident(at: &At<'_>, found: &mut Findings) -> Option<Got> {
    let text = at.text(found)?;
    let number = text.strip_prefix('R').and_then(|n| n.parse::<u8>().ok());
    match number.filter(|n| (1..=18).contains(n) && format!("R{n}") == text) {
        Some(_) => Some(Got::Text(text.to_owned())),
        None => refuse(at, "expected an incident of docs/incidents.md, R1 to R18", found),
    }
}

fn error_code(at: &At<'_>, found: &mut Findings) -> Option<Got> {
    let text = at.text(found)?;
    if code::ALL.contains(&text) {
        return Some(Got::Text(text.to_owned()));
    }
    let meant = did_you_mean(text, code::ALL.iter().copied());
    let clipped = crate::domain::document::clip(text);
    refuse(at, format!("`{clipped}` is no code of docs/errors{meant}"), found)
}

fn jump(at: &At<'_>, most: Duration, found: &mut Findings) -> Option<Got> {
    let Value::Text(text) = &at.node.value else {
        return refuse(at, "expected a time forward or back such as \"1h\" or \"-90s\"", found);
    };
    let seconds = text.parse::<jiff::SignedDuration>().ok().map(|d| d.as_secs());
    match seconds {
        None | Some(0) => {
            let clipped = crate::domain::document::clip(text);
            refuse(at, format!("`{clipped}` is not a time forward or back such as \"1h\" or \"-90s\""), found)
        }
        Some(s) if s.unsigned_abs() > most.as_secs() => {
            refuse(at, format!("`{text}` is not between -{0} and {0}", friendly(most)), found)
        }
        Some(s) => Some(Got::Seconds(s)),
    }
}

/// A word, or the number of one of several.
fn one_of(at: &At<'_>, word: &str, what: &str, most: u32, found: &mut Findings) -> Option<Got> {
    match &at.node.value {
        Value::Text(text) if text == word => Some(Got::Text(text.clone())),
        Value::Integer(_) => at.count(found, 1, most).map(Got::Count),
        _ => refuse(at, format!("expected {word}, or the number of {what}"), found),
    }
}

fn one_word(words: &'static [Word], at: &At<'_>, found: &mut Findings) -> Option<Got> {
    let text = at.text(found)?;
    if let Some(word) = words.iter().find(|w| w.word == text) {
        return Some(Got::Word(word.word));
    }
    let all: Vec<&str> = words.iter().map(|w| w.word).collect();
    let meant = did_you_mean(text, all.iter().copied());
    let clipped = crate::domain::document::clip(text);
    refuse(at, format!("`{clipped}` is none of {}{meant}", all.join(", ")), found)
}

/// A name that no call has would be a fault that never happens, and nobody would notice.
fn operation(known: &[&str], at: &At<'_>, found: &mut Findings) -> Option<Got> {
    let text = at.text(found)?;
    if text == "any" {
        return Some(Got::Text("*".to_owned()));
    }
    if known.iter().any(|k| *k == text || text.ends_with(':') && k.starts_with(text)) {
        return Some(Got::Text(text.to_owned()));
    }
    let meant = did_you_mean(text, known.iter().copied());
    let clipped = crate::domain::document::clip(text);
    refuse(at, format!("no call is named `{clipped}`: expected any, or one of {}{meant}", known.join(", ")), found)
}

fn chance(at: &At<'_>, found: &mut Findings) -> Option<Got> {
    match at.number(found)? {
        n if n > 0.0 && n <= 1.0 => Some(Got::Number(n)),
        n => refuse(at, format!("{n} is no chance: expected more than 0 and at most 1"), found),
    }
}
