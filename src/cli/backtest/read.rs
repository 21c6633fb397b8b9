//! Recorded metrics as rows: CSV or JSON lines, read as a stream.
//!
//! Invariant: what cannot be read is a fault with its line, never skipped: the first [`FAULTS_MAX`] are kept and the
//! rest counted. Memory does not grow with the file.

use std::{collections::BTreeMap, io::BufRead, time::Duration};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::domain::{
    application::Application,
    backtest::{Row, What},
    id::{ApplicationName, Region, SignalName, VantageName},
    seconds::to_seconds,
    signal::{Reading, Signal, SignalSource},
};

/// How many faults are told; nobody reads more.
pub(super) const FAULTS_MAX: usize = 20;
/// The longest line.
const LINE_BYTES_MAX: usize = 4_096;
/// A year of 50 signals every 30 s.
const ROWS_MAX: u64 = 60_000_000;
/// The signal name that moves the writers.
const WRITER: &str = "writer";

const CSV_EXAMPLE: &str = "at,application,signal,vantage,value";

/// What is wrong with a file.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Each with its line, from 1.
    pub(super) first: Vec<(u64, String)>,
    pub(super) count: u64,
}

impl Faults {
    fn add(&mut self, line: u64, problem: String) {
        self.count += 1;
        if self.first.len() < FAULTS_MAX {
            self.first.push((line, problem));
        }
    }
}

/// What the file may name.
#[derive(Debug)]
pub(super) struct Names<'a> {
    applications: BTreeMap<&'a str, &'a Application>,
    /// Rows of others are passed over.
    only: Option<&'a ApplicationName>,
    here: VantageName,
}

/// One line's fields, as text.
#[derive(Debug, Default)]
struct Fields<'a> {
    at: &'a str,
    application: &'a str,
    signal: &'a str,
    vantage: &'a str,
    value: &'a str,
    /// Empty: the same as `at`.
    measured_at: &'a str,
}

/// The same as JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at: String,
    application: String,
    signal: String,
    #[serde(default)]
    vantage: Option<String>,
    value: Value,
    #[serde(default)]
    measured_at: Option<String>,
}

impl<'a> Names<'a> {
    pub(super) fn new(applications: &'a [Application], only: Option<&'a ApplicationName>) -> Self {
        let here = "here".parse().unwrap_or_else(|e| unreachable!("a literal: {e}"));
        Self { applications: applications.iter().map(|a| (a.name.as_str(), a)).collect(), only, here }
    }
}

/// Reads every row and hands it to `take`, in order, until the first fault; after that only faults are looked for.
///
/// # Errors
/// When the file cannot be read, or is no text.
pub(super) fn read(
    mut from: impl BufRead,
    names: &Names<'_>,
    mut take: impl FnMut(&ApplicationName, Row),
) -> std::io::Result<Faults> {
    let (mut faults, mut line, mut number) = (Faults::default(), Vec::new(), 0_u64);
    let (mut form, mut last, mut rows) = (None, None::<(Timestamp, u64)>, 0_u64);
    loop {
        line.clear();
        number += 1;
        match read_line(&mut from, &mut line)? {
            Length::End => break,
            Length::TooLong => {
                faults.add(number, format!("is longer than {LINE_BYTES_MAX} bytes"));
                continue;
            }
            Length::Whole => {}
        }
        let Ok(text) = std::str::from_utf8(&line) else {
            faults.add(number, "is not UTF-8".to_owned());
            continue;
        };
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        let form = match &form {
            Some(form) => form,
            None if text.starts_with('{') => form.insert(Form::Json),
            None => match header(text) {
                Ok(columns) => {
                    form = Some(Form::Csv(columns));
                    continue;
                }
                Err(problem) => {
                    // Without the columns every line would be a fault of its own.
                    faults.add(number, problem);
                    return Ok(faults);
                }
            },
        };
        rows += 1;
        if ROWS_MAX < rows {
            faults.add(number, format!("is over the limit of {ROWS_MAX} rows: replay a part of it"));
            return Ok(faults);
        }
        match form.row(text, names) {
            Ok(None) => {}
            Ok(Some((application, row))) => match last {
                Some((before, at_line)) if row.at < before => {
                    faults.add(number, format!("{} is before line {at_line}: sort the file by time", row.at));
                }
                _ => {
                    last = Some((row.at, number));
                    if faults.count == 0 {
                        take(application, row);
                    }
                }
            },
            Err(problem) => faults.add(number, problem),
        }
    }
    if form.is_none() && faults.count == 0 {
        faults.add(1, format!("the file is empty: expected a first line such as {CSV_EXAMPLE}, or JSON lines"));
    }
    Ok(faults)
}

enum Length {
    Whole,
    TooLong,
    End,
}

/// One line of at most [`LINE_BYTES_MAX`]; what a longer one has beyond that is passed over.
fn read_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<Length> {
    let mut any = false;
    let mut long = false;
    loop {
        let buffer = from.fill_buf()?;
        if buffer.is_empty() {
            return Ok(if long {
                Length::TooLong
            } else if any {
                Length::Whole
            } else {
                Length::End
            });
        }
        any = true;
        let end = buffer.iter().position(|b| *b == b'\n');
        let piece = &buffer[..end.unwrap_or(buffer.len())];
        long |= LINE_BYTES_MAX < line.len() + piece.len();
        if !long {
            line.extend_from_slice(piece);
        }
        let used = end.map_or(buffer.len(), |end| end + 1);
        from.consume(used);
        if end.is_some() {
            return Ok(if long { Length::TooLong } else { Length::Whole });
        }
    }
}

/// How the file is written.
enum Form {
    /// What each column is.
    Csv(Vec<Column>),
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    At,
    Application,
    Signal,
    Vantage,
    Value,
    MeasuredAt,
}

/// The columns that the first line names, in any order.
fn header(text: &str) -> Result<Vec<Column>, String> {
    let column = |name: &str| match unquoted(name) {
        "at" => Ok(Column::At),
        "application" => Ok(Column::Application),
        "signal" => Ok(Column::Signal),
        "vantage" => Ok(Column::Vantage),
        "value" => Ok(Column::Value),
        "measured_at" => Ok(Column::MeasuredAt),
        other => Err(format!("`{}` is no column: expected {CSV_EXAMPLE} (and measured_at, if you like)", clip(other))),
    };
    let columns = text.trim_start_matches('\u{feff}').split(',').map(column).collect::<Result<Vec<_>, _>>()?;
    let wanted = [Column::At, Column::Application, Column::Signal, Column::Vantage, Column::Value];
    let has = |c: &Column| columns.iter().filter(|d| *d == c).count();
    if !wanted.iter().all(|c| has(c) == 1) || 1 < has(&Column::MeasuredAt) {
        return Err(format!("expected each column once: {CSV_EXAMPLE}"));
    }
    Ok(columns)
}

fn unquoted(field: &str) -> &str {
    let field = field.trim();
    field.strip_prefix('"').and_then(|f| f.strip_suffix('"')).unwrap_or(field)
}

fn clip(text: &str) -> String {
    text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Form {
    /// The row of one line; `None` where it is of an application that was not asked for.
    fn row<'a>(&self, text: &str, names: &Names<'a>) -> Result<Option<(&'a ApplicationName, Row)>, String> {
        match self {
            Self::Csv(columns) => {
                let mut fields = Fields::default();
                let mut count = 0;
                for (i, field) in text.split(',').enumerate() {
                    count += 1;
                    let Some(column) = columns.get(i) else { continue };
                    let slot = match column {
                        Column::At => &mut fields.at,
                        Column::Application => &mut fields.application,
                        Column::Signal => &mut fields.signal,
                        Column::Vantage => &mut fields.vantage,
                        Column::Value => &mut fields.value,
                        Column::MeasuredAt => &mut fields.measured_at,
                    };
                    *slot = unquoted(field);
                }
                if count != columns.len() {
                    return Err(format!("has {count} fields, the first line has {}", columns.len()));
                }
                row(&fields, names)
            }
            Self::Json => {
                let line: Line = serde_json::from_str(text).map_err(|e| format!("is no row: {e}"))?;
                let value = match &line.value {
                    Value::String(text) => text.clone(),
                    Value::Number(number) => number.to_string(),
                    other => return Err(format!("value: expected a string or a number, got {other}")),
                };
                let fields = Fields {
                    at: &line.at,
                    application: &line.application,
                    signal: &line.signal,
                    vantage: line.vantage.as_deref().unwrap_or_default(),
                    value: &value,
                    measured_at: line.measured_at.as_deref().unwrap_or_default(),
                };
                row(&fields, names)
            }
        }
    }
}

fn row<'a>(fields: &Fields<'_>, names: &Names<'a>) -> Result<Option<(&'a ApplicationName, Row)>, String> {
    let Some(application) = names.applications.get(fields.application) else {
        return Err(format!("application: `{}` is not in the configuration", clip(fields.application)));
    };
    if names.only.is_some_and(|only| *only != application.name) {
        return Ok(None);
    }
    let at = time("at", fields.at)?;
    if fields.signal == WRITER && !application.signals.iter().any(|s| s.name.as_str() == WRITER) {
        let region = application.regions.iter().find(|r| r.as_str() == fields.value);
        let known = || application.regions.iter().map(Region::as_str).collect::<Vec<_>>().join(", ");
        let region = region.ok_or_else(|| format!("value: expected a Region of the application: {}", known()))?;
        return Ok(Some((&application.name, Row { at, what: What::Writer(region.clone()) })));
    }
    let signal = application.signals.iter().find(|s| s.name.as_str() == fields.signal);
    let signal =
        signal.ok_or_else(|| format!("signal: {} has no signal `{}`", application.name, clip(fields.signal)))?;
    let measured_at = if fields.measured_at.is_empty() { at } else { time("measured_at", fields.measured_at)? };
    let what = What::Reading {
        signal: SignalName::clone(&signal.name),
        vantage: vantage(fields.vantage, application, names)?,
        measured_at,
        reading: reading(signal, fields.value)?,
    };
    Ok(Some((&application.name, Row { at, what })))
}

fn time(column: &str, text: &str) -> Result<Timestamp, String> {
    let example = "expected a time such as 2026-08-24T10:00:00Z";
    text.parse().map_err(|_| format!("{column}: {example}, got `{}`", clip(text)))
}

/// `None`: this daemon's own.
fn vantage(text: &str, application: &Application, names: &Names<'_>) -> Result<Option<VantageName>, String> {
    if text.is_empty() || text == names.here.as_str() {
        return Ok(None);
    }
    let known = &application.policy.observers;
    known.iter().find(|v| v.as_str() == text).cloned().map(Some).ok_or_else(|| {
        let known: Vec<&str> = known.iter().map(VantageName::as_str).collect();
        let known = if known.is_empty() { "it has none".to_owned() } else { known.join(", ") };
        format!("vantage: `{}` is no observer of {} ({known})", clip(text), application.name)
    })
}

/// What a value means for a signal of its kind.
fn reading(signal: &Signal, value: &str) -> Result<Reading, String> {
    let recorded = || "recorded".to_owned();
    let is_lag = signal.source.store().is_some();
    match value {
        "missing" => return Ok(Reading::Missing { why: "recorded as missing".to_owned() }),
        "healthy" if !is_lag => return Ok(Reading::Healthy { detail: recorded() }),
        "unhealthy" if !is_lag => return Ok(Reading::Unhealthy { detail: recorded() }),
        _ => {}
    }
    let number = value.parse::<f64>().ok().filter(|n| n.is_finite());
    if is_lag {
        let lag = number.and_then(|n| Duration::try_from_secs_f64(n).ok());
        let lag = lag.ok_or_else(|| {
            format!(
                "value: expected `missing` or seconds of lag, as {} tells a lag, got `{}`",
                signal.name,
                clip(value)
            )
        })?;
        return Ok(Reading::Lag { lag: Duration::from_secs_f64(to_seconds(lag)) });
    }
    let said = |is_well: bool, detail: String| {
        if is_well { Reading::Healthy { detail } } else { Reading::Unhealthy { detail } }
    };
    match (&signal.source, number) {
        // HealthCheckStatus: 1 is healthy; an average below says that some checkers saw otherwise [R53DG].
        (SignalSource::HealthCheck { .. }, Some(status)) => {
            Ok(said(1.0 <= status, format!("HealthCheckStatus {value}")))
        }
        (SignalSource::HttpProbe { .. }, Some(status)) if (100.0..600.0).contains(&status) => {
            Ok(said((200.0..300.0).contains(&status), format!("status {value}")))
        }
        (SignalSource::Alarm { .. }, None) => match value {
            "OK" => Ok(said(true, "alarm OK".to_owned())),
            "ALARM" => Ok(said(false, "alarm in ALARM".to_owned())),
            "INSUFFICIENT_DATA" => Ok(Reading::Missing { why: "the alarm had insufficient data".to_owned() }),
            _ => Err(unusable(signal, value)),
        },
        _ => Err(unusable(signal, value)),
    }
}

fn unusable(signal: &Signal, value: &str) -> String {
    let more = match &signal.source {
        SignalSource::HealthCheck { .. } => ", or HealthCheckStatus as a number",
        SignalSource::HttpProbe { .. } => ", or an HTTP status",
        SignalSource::Alarm { .. } => ", or OK, ALARM or INSUFFICIENT_DATA",
        _ => "",
    };
    format!("value: {} expects healthy, unhealthy or missing{more}, got `{}`", signal.name, clip(value))
}
