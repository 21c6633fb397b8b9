//! What people are told: one message per fact that concerns them, as every channel carries it.
//!
//! Invariants: a notice is made from recorded facts and a time that is given, so the same record makes the same notice
//! with the same id, whoever makes it and however often; every text in it is bounded and on one line. What a channel
//! makes of it (Slack's blocks, PagerDuty's event) is the adapter's. Which facts are told is in [`telling`].

use std::{borrow::Cow, fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::{ApplicationName, RunId};

pub mod telling;

/// The longest line that is shown first: what a phone shows of a message.
pub const HEADLINE_CHARS_MAX: usize = 160;
/// The longest value of a fact, and the longest advice.
pub const TEXT_CHARS_MAX: usize = 300;
/// The most facts of one notice.
pub const FACTS_MAX: usize = 12;

/// How much a notice wants of whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look in working hours.
    Ticket,
    /// Somebody must look now.
    Page,
}

impl Severity {
    pub const ALL: [Self; 3] = [Self::Info, Self::Ticket, Self::Page];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Ticket => "ticket",
            Self::Page => "page",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected \"page\", \"ticket\" or \"info\"")]
pub struct InvalidSeverity;

impl FromStr for Severity {
    type Err = InvalidSeverity;

    fn from_str(text: &str) -> Result<Self, InvalidSeverity> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or(InvalidSeverity)
    }
}

/// What a notice is about. The words are persisted and a promise to those who filter by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    FailoverRecommended,
    FailoverStarting,
    HealthChanged,
    RunStarted,
    RunHeld,
    ApprovalAsked,
    RunPaused,
    RunResumed,
    RunFinished,
    RunFailed,
    RunAborted,
    /// A schedule says that a drill will begin.
    DrillAnnounced,
    /// A drill of a schedule was due and could not begin; it is tried again.
    DrillNotBegun,
    /// It is tried no more.
    DrillMissed,
    DrillStarted,
    DrillOverBudget,
    DrillEnded,
    OverrideAsked,
    OverrideInForce,
    OverrideEnded,
    OverrideExpiring,
    KillSwitchForgotten,
    WorkOpen,
    WorkGivenUp,
    ApplicationHeld,
    LeaderChanged,
    Test,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FailoverRecommended => "failover_recommended",
            Self::FailoverStarting => "failover_starting",
            Self::HealthChanged => "health_changed",
            Self::RunStarted => "run_started",
            Self::RunHeld => "run_held",
            Self::ApprovalAsked => "approval_asked",
            Self::RunPaused => "run_paused",
            Self::RunResumed => "run_resumed",
            Self::RunFinished => "run_finished",
            Self::RunFailed => "run_failed",
            Self::RunAborted => "run_aborted",
            Self::DrillAnnounced => "drill_announced",
            Self::DrillNotBegun => "drill_not_begun",
            Self::DrillMissed => "drill_missed",
            Self::DrillStarted => "drill_started",
            Self::DrillOverBudget => "drill_over_budget",
            Self::DrillEnded => "drill_ended",
            Self::OverrideAsked => "override_asked",
            Self::OverrideInForce => "override_in_force",
            Self::OverrideEnded => "override_ended",
            Self::OverrideExpiring => "override_expiring",
            Self::KillSwitchForgotten => "kill_switch_forgotten",
            Self::WorkOpen => "work_open",
            Self::WorkGivenUp => "work_given_up",
            Self::ApplicationHeld => "application_held",
            Self::LeaderChanged => "leader_changed",
            Self::Test => "test",
        }
    }
}

/// Which notice: the application, the record, the event in it and, where one event makes several, which of them. Whoever
/// gets the same id twice was told once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NoticeId(String);

impl NoticeId {
    /// Of an event of a record.
    pub fn of_event(application: &ApplicationName, seq: u64, event: usize) -> Self {
        Self(format!("{application}/{seq}/{event}"))
    }

    /// Of what no event says: `what` it is about, and a word for what is said of it.
    pub fn of_time(application: &ApplicationName, what: &str, word: &str) -> Self {
        Self(format!("{application}/{what}/{word}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NoticeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a notice does to an open incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Opens it, or adds to it.
    Trigger,
    /// Somebody is at work on it.
    Acknowledge,
    /// It is over.
    Resolve,
}

impl Act {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trigger => "trigger",
            Self::Acknowledge => "acknowledge",
            Self::Resolve => "resolve",
        }
    }
}

/// What belongs together: a run, or how an application is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Stable: PagerDuty's `dedup_key`.
    pub key: String,
    pub act: Act,
}

/// A fact with its unit in its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    pub name: String,
    pub value: String,
}

/// One message to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub id: NoticeId,
    pub application: ApplicationName,
    /// When the fact was recorded.
    pub at: Timestamp,
    pub severity: Severity,
    pub kind: Kind,
    /// One line that a tired person understands on a phone.
    pub headline: String,
    pub facts: Vec<Fact>,
    /// What to do next; empty where there is nothing.
    pub next: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// Below the server's URL.
    pub path: String,
    pub incident: Incident,
}

impl Notice {
    /// One without facts, about the application as a whole.
    pub fn new(id: NoticeId, application: &ApplicationName, at: Timestamp, kind: Kind, severity: Severity) -> Self {
        Self {
            id,
            application: application.clone(),
            at,
            severity,
            kind,
            headline: String::new(),
            facts: Vec::new(),
            next: String::new(),
            run: None,
            path: format!("/applications/{application}"),
            incident: Incident { key: format!("{application}/health"), act: Act::Trigger },
        }
    }

    /// What `failoverd notify test` sends.
    pub fn test(application: &ApplicationName, by: &str, nonce: u128, at: Timestamp) -> Self {
        let id = NoticeId::of_time(application, "test", &format!("{nonce:032x}"));
        let mut notice = Self::new(id, application, at, Kind::Test, Severity::Info);
        notice.incident = Incident { key: notice.id.to_string(), act: Act::Resolve };
        notice
            .says(format!("{application}: a test message of failoverd, nothing has happened"))
            .fact("asked for by", by)
            .then("Nothing: that it arrived is all that it says.")
    }

    #[must_use]
    pub fn says(mut self, headline: impl AsRef<str>) -> Self {
        self.headline = line(headline.as_ref(), HEADLINE_CHARS_MAX);
        self
    }

    #[must_use]
    pub fn fact(mut self, name: &str, value: impl AsRef<str>) -> Self {
        if self.facts.len() < FACTS_MAX {
            self.facts.push(Fact { name: name.to_owned(), value: line(value.as_ref(), TEXT_CHARS_MAX) });
        }
        self
    }

    #[must_use]
    pub fn then(mut self, next: impl AsRef<str>) -> Self {
        self.next = line(next.as_ref(), TEXT_CHARS_MAX);
        self
    }

    #[must_use]
    pub fn about(mut self, run: &RunId, act: Act) -> Self {
        self.path = format!("/runs/{run}");
        self.incident = Incident { key: format!("{}/{run}", self.application), act };
        self.run = Some(run.clone());
        self
    }

    #[must_use]
    pub fn acting(mut self, act: Act) -> Self {
        self.incident.act = act;
        self
    }

    /// Where more is to be seen, where the server's own URL is known.
    pub fn link(&self, server: Option<&str>) -> Option<String> {
        server.map(|url| format!("{}{}", url.trim_end_matches('/'), self.path))
    }

    /// The whole message as plain text, the link and the id last.
    pub fn text(&self, server: Option<&str>) -> String {
        let mut text = format!("{}\n\n", self.headline);
        for fact in &self.facts {
            text.push_str(&format!("{}: {}\n", fact.name, fact.value));
        }
        if !self.next.is_empty() {
            text.push_str(&format!("\nNext: {}\n", self.next));
        }
        let link = self.link(server).unwrap_or_else(|| self.path.clone());
        text.push_str(&format!(
            "\n{link}\n{} at {:.0} ({}, {})\n",
            self.kind.as_str(),
            self.at,
            self.severity,
            self.id
        ));
        text
    }
}

/// `text` on one line, without control characters, of at most `chars_max` characters.
pub fn line(text: &str, chars_max: usize) -> String {
    let clean: Cow<'_, str> = match text.chars().any(char::is_control) {
        true => text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().into(),
        false => text.into(),
    };
    match clean.chars().count() <= chars_max {
        true => clean.into_owned(),
        false => clean.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_bounded_and_on_one_line() {
        let app = "payments".parse().expect("a name");
        let id = NoticeId::of_event(&app, 7, 0);
        let long = "x".repeat(10_000);
        let mut notice = Notice::new(id, &app, Timestamp::UNIX_EPOCH, Kind::Test, Severity::Info)
            .says(format!("a\nb\u{7}{long}"))
            .then(&long);
        for n in 0..100 {
            notice = notice.fact(&format!("fact {n}"), &long);
        }
        assert!(notice.headline.starts_with("a b x") && notice.headline.chars().count() == HEADLINE_CHARS_MAX);
        assert!(notice.facts.len() == FACTS_MAX && notice.text(None).len() < 6_000);
        assert_eq!(notice.id.as_str(), "payments/7/0");
        assert_eq!(
            notice.link(Some("https://f.example.com/")).as_deref(),
            Some("https://f.example.com/applications/payments")
        );
    }
}
