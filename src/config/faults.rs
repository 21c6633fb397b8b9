//! Faults of configuration and runbooks, as people and as programs read them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use serde::Serialize;

use super::mask::masked;
use crate::domain::document::{Fault, Severity};

/// How wide a report is.
const COLUMNS: usize = 80;

/// How many faults are drawn in their texts: each reads its text anew, and nobody reads more.
const DRAWN_MAX: usize = 100;

/// Everything found, with the texts that it was found in.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Faults {
    pub faults: Vec<Fault>,
    #[serde(skip)]
    texts: BTreeMap<String, String>,
}

impl Faults {
    /// Adds what was found in `file`, whose content is `text`; no secret of it is kept.
    pub fn add(&mut self, file: &str, text: &str, faults: Vec<Fault>) {
        if !faults.is_empty() {
            self.texts.insert(file.to_owned(), masked(text));
            self.faults.extend(faults);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    pub fn count(&self, severity: Severity) -> usize {
        self.faults.iter().filter(|f| f.severity == severity).count()
    }

    /// The files with an error, each by its name without folder and ending: which is a runbook's own.
    pub(super) fn faulty_stems(&self) -> BTreeSet<String> {
        let files = self.faults.iter().filter(|f| f.severity == Severity::Error).map(|f| Path::new(&f.file));
        files.filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect()
    }

    /// The faults as JSON: `{"faults": [{severity, code, file, line, column, key, problem, example}]}`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "faults": self.faults })
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
            .with_width(COLUMNS)
            .with_context_lines(1)
            .without_cause_chain();
        for fault in self.faults.iter().take(DRAWN_MAX) {
            let text = self.texts.get(&fault.file).filter(|_| fault.line > 0);
            let shown = Shown { fault, source: text.map(|t| NamedSource::new(&fault.file, t.clone())) };
            handler.render_report(f, &shown)?;
        }
        match self.faults.len().saturating_sub(DRAWN_MAX) {
            0 => Ok(()),
            more => writeln!(f, "and {more} more, not shown here"),
        }
    }
}

impl std::error::Error for Faults {}

/// A fault as miette draws it.
#[derive(Debug)]
struct Shown<'a> {
    fault: &'a Fault,
    source: Option<NamedSource<String>>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.source.is_some(), self.fault.key.as_str()) {
            (true, "") => f.write_str(&self.fault.problem),
            (true, _) => write!(f, "{}: {}", self.fault.told_key(), self.fault.problem),
            (false, "") => write!(f, "{}: {}", self.fault.file, self.fault.problem),
            (false, _) => write!(f, "{}: {}: {}", self.fault.file, self.fault.told_key(), self.fault.problem),
        }
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.fault.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.fault.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let example = self.fault.example.as_ref()?;
        Some(Box::new(format!("for example: {example}")))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|s| s as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.source.as_ref()?;
        let place = self.fault.place;
        let label = LabeledSpan::new(None, place.offset, place.length.max(1));
        Some(Box::new(std::iter::once(label)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::runbook::Runbook;

    #[test]
    fn a_fault_of_a_step_names_the_step() {
        let text = "runbook: r\npurpose: failover\ndescription: d\nsteps:\n  - { id: a, action: wait, with: { duration: 1m } }\n\
                    \x20 - { id: probe-target, action: wait, timeout: 9, with: { duration: 1m } }\n  - { action: wait }\n";
        let mut faults = Faults::default();
        faults.add("r.yaml", text, Runbook::parse("r.yaml", text).expect_err("faulty"));
        let drawn = faults.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(drawn.contains("steps[1].timeout (step probe-target): expected a duration"), "{drawn}");
        assert!(drawn.contains("steps[2]: `id` is missing"), "{drawn}");
        let json = faults.to_json();
        let of = |key: &str| json["faults"].as_array().into_iter().flatten().find(|f| f["key"] == key).expect("told");
        assert_eq!(of("steps[1].timeout")["step"], "probe-target");
        assert_eq!(of("steps[2]").get("step"), None);
    }
}
