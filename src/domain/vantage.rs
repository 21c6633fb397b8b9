//! From where something is seen, whether those who see agree, and whether who sees is not the one that is cut off.
//!
//! Invariants: silence is never a vote. A vantage whose last word was that all is well stands against acting alone,
//! also after it has fallen silent, as does one that was never heard: so fewer samples and fewer vantages never argue
//! for acting. A Region is no witness of its own loss: what is read inside it neither counts nor stands against.
//! A control point that was not asked lately is neither reached nor lost.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    id::{SignalName, VantageName},
    judge::Reach,
    runbook::is_web_address,
    secret::SecretRef,
    signal::SignalWindow,
};

/// What was heard from an observer elsewhere.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observer {
    pub windows: BTreeMap<SignalName, SignalWindow>,
    /// Why it does not vote: it cannot reach its own control points.
    pub abstains: Option<String>,
}

/// Where one vantage stands on the active Region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stand {
    /// Some trigger is freshly and believably ill, and the last word of every other is not that all is well.
    Ill,
    /// Some trigger's last word is that all is well, or it was never heard.
    Against,
    /// It has nothing fresh and believed to say.
    Silent,
    /// It cannot reach its own control points: perhaps it is the one that is cut off.
    Abstains,
}

/// What one vantage says, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Witness {
    pub vantage: VantageName,
    pub stand: Stand,
    pub says: String,
}

/// Something that can be asked whether it answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeTarget {
    /// By an HTTP GET.
    Http { url: String },
    /// By a TCP connection to `host:port`.
    Tcp { address: String },
}

/// A text that names nothing that can be probed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected https://host/path, http://host/path or tcp://host:port, with no user in it")]
pub struct InvalidTarget;

impl FromStr for ProbeTarget {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let Some(address) = text.strip_prefix("tcp://") else {
            return if is_web_address(text) { Ok(Self::Http { url: text.to_owned() }) } else { Err(InvalidTarget) };
        };
        let (host, port) = address.rsplit_once(':').ok_or(InvalidTarget)?;
        let is_plain = |c: char| c.is_ascii_graphic() && !"/@?#".contains(c);
        let is_host = !host.is_empty() && host.len() <= 255 && host.chars().all(is_plain);
        let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
        if is_host && is_port { Ok(Self::Tcp { address: address.to_owned() }) } else { Err(InvalidTarget) }
    }
}

impl ProbeTarget {
    /// The host that is asked, without its port.
    pub fn host(&self) -> &str {
        let authority = match self {
            Self::Http { url } => url.split_once("://").map_or(url.as_str(), |(_, rest)| rest),
            Self::Tcp { address } => address,
        };
        let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
        match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => host,
            _ => authority,
        }
    }
}

impl fmt::Display for ProbeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { url } => f.write_str(url),
            Self::Tcp { address } => write!(f, "tcp://{address}"),
        }
    }
}

/// Where a daemon answers. Tokens go there: in the clear over loopback only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DaemonUrl {
    text: String,
    /// Of a loopback address, where there is one.
    local_port: Option<u16>,
}

/// A text that names no daemon that a token may be sent to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDaemonUrl {
    #[error("expected a URL such as https://failoverd.example.com")]
    NoUrl,
    #[error("expected no user in the URL: the token is in a file or a variable")]
    User,
    #[error("expected https: the token would go to {host} in the clear")]
    Clear { host: String },
}

impl DaemonUrl {
    /// The port, where the daemon is on this very machine.
    pub fn local_port(&self) -> Option<u16> {
        self.local_port
    }
}

impl FromStr for DaemonUrl {
    type Err = InvalidDaemonUrl;

    fn from_str(text: &str) -> Result<Self, InvalidDaemonUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidDaemonUrl::NoUrl)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(InvalidDaemonUrl::User);
        }
        let (host, port) = match authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((host, port)) => (host, Some(port.parse::<u16>().map_err(|_| InvalidDaemonUrl::NoUrl)?)),
            None => (authority, None),
        };
        if !matches!(scheme, "https" | "http") || !is_web_address(text) || host.is_empty() || port == Some(0) {
            return Err(InvalidDaemonUrl::NoUrl);
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if scheme == "http" && !is_loopback {
            return Err(InvalidDaemonUrl::Clear { host: host.to_owned() });
        }
        let known = port.unwrap_or(if scheme == "https" { 443 } else { 80 });
        Ok(Self { text: text.to_owned(), local_port: is_loopback.then_some(known) })
    }
}

impl fmt::Display for DaemonUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The most daemons that one observer reports to: each is told every second.
pub const DAEMONS_MAX: usize = 8;

/// To whom a daemon reports what it sees, as an observer of theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportTo {
    pub daemons: Vec<DaemonUrl>,
    /// The bearer token of an observer of this vantage's name, there.
    pub token: SecretRef,
}

/// The most control points of one vantage: each is asked every period.
pub const CONTROL_POINTS_MAX: usize = 20;

/// What one vantage asks to find out whether it is the one that is cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPoints {
    /// In different places, none of which depends on the Regions of the applications.
    pub points: Vec<ProbeTarget>,
    /// So many must answer.
    pub needed: usize,
    /// How often each is asked.
    pub period: Duration,
    /// How long each may take.
    pub timeout: Duration,
}

impl ControlPoints {
    pub const PERIOD: Duration = Duration::from_secs(5);
    pub const TIMEOUT: Duration = Duration::from_secs(2);

    /// None: whether this vantage is cut off stays unknown.
    pub fn none() -> Self {
        Self::of(Vec::new())
    }

    /// More than half of `points` must answer.
    pub fn of(points: Vec<ProbeTarget>) -> Self {
        let needed = Self::more_than_half(points.len());
        Self { points, needed, period: Self::PERIOD, timeout: Self::TIMEOUT }
    }

    pub fn more_than_half(points: usize) -> usize {
        points / 2 + 1
    }
}

/// What each control point answered last.
#[derive(Debug, Clone)]
pub struct Reachability {
    points: ControlPoints,
    answers: Vec<Option<Answer>>,
}

#[derive(Debug, Clone)]
struct Answer {
    /// In boot time.
    asked_at: Duration,
    /// Why it was not reached.
    reached: Result<(), String>,
}

impl Reachability {
    pub fn new(points: ControlPoints) -> Self {
        let answers = vec![None; points.points.len()];
        Self { points, answers }
    }

    /// Notes how a question to the control point `index`, put at `asked_at` in boot time, ended.
    pub fn note(&mut self, index: usize, asked_at: Duration, reached: Result<(), String>) {
        if let Some(answer) = self.answers.get_mut(index) {
            *answer = Some(Answer { asked_at, reached });
        }
    }

    /// For how long a reading counts: three periods.
    fn fresh_for(&self) -> Duration {
        3 * self.points.period
    }

    /// Whether this vantage is cut off, as far as is known at `boot`; and until when that holds if nothing more is
    /// heard.
    pub fn judge(&self, boot: Duration) -> (Reach, Duration) {
        let (all, needed) = (self.points.points.len(), self.points.needed);
        if all == 0 {
            let why = "no control points are configured, so it is not known whether this vantage is cut off".to_owned();
            return (Reach::Unknown { why }, Duration::MAX);
        }
        let is_fresh = |a: &&Answer| boot.saturating_sub(a.asked_at) <= self.fresh_for();
        let fresh = || self.answers.iter().flatten().filter(is_fresh);
        let reached = fresh().filter(|a| a.reached.is_ok()).count();
        let unknown = all - fresh().count();
        let until = fresh().map(|a| a.asked_at + self.fresh_for()).min().unwrap_or(Duration::MAX);
        let counts = format!("{reached} of {all} control points answer ({needed} are needed)");
        if needed <= reached {
            return (Reach::Sure { says: counts }, until);
        }
        let failures = self.points.points.iter().zip(&self.answers).filter_map(|(point, answer)| {
            let why = answer.as_ref().filter(is_fresh)?.reached.as_ref().err()?;
            Some(format!("{point}: {why}"))
        });
        let failures: Vec<String> = failures.collect();
        let reach = if reached + unknown < needed {
            Reach::CutOff { why: format!("{counts}: {}", failures.join("; ")) }
        } else {
            let since = self.fresh_for().as_secs_f64();
            Reach::Unknown { why: format!("{counts}; of {unknown} nothing was heard for {since} s") }
        };
        (reach, until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Reachability {
        let point = |n: u8| ProbeTarget::Http { url: format!("https://c{n}.example.com/") };
        Reachability::new(ControlPoints::of((1..=3).map(point).collect()))
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn more_than_half_of_the_control_points_must_answer_lately() {
        let mut asked = three();
        assert!(matches!(asked.judge(at(0)).0, Reach::Unknown { .. }), "nothing was asked yet");
        asked.note(0, at(0), Ok(()));
        assert!(matches!(asked.judge(at(1)).0, Reach::Unknown { .. }), "one may be too few, of two nothing is known");
        asked.note(1, at(1), Err("refused".to_owned()));
        assert!(matches!(asked.judge(at(1)).0, Reach::Unknown { .. }));
        asked.note(2, at(2), Ok(()));
        let (reach, until) = asked.judge(at(2));
        assert_eq!(reach, Reach::Sure { says: "2 of 3 control points answer (2 are needed)".to_owned() });
        assert_eq!(until, at(15), "the oldest reading counts for three periods");
        assert!(matches!(asked.judge(at(15)).0, Reach::Sure { .. }));
        assert!(matches!(asked.judge(at(16)).0, Reach::Unknown { .. }), "what was heard first is too old");
        asked.note(0, at(16), Err("no answer".to_owned()));
        asked.note(1, at(16), Err("refused".to_owned()));
        let Reach::CutOff { why } = asked.judge(at(16)).0 else { panic!("two of three are lost") };
        assert!(why.contains("1 of 3") && why.contains("https://c2.example.com/: refused"), "{why}");
    }

    #[test]
    fn without_control_points_nothing_is_known() {
        let none = Reachability::new(ControlPoints::none());
        assert!(matches!(none.judge(at(100)).0, Reach::Unknown { .. }));
    }

    #[test]
    fn tokens_go_in_the_clear_over_loopback_only() {
        for (good, port) in [
            ("https://failoverd.example.com", None),
            ("https://failoverd.example.com:8443/x", None),
            ("http://127.0.0.1:8080", Some(8080)),
            ("http://[::1]:90", Some(90)),
            ("http://[::1]", Some(80)),
            ("http://localhost", Some(80)),
        ] {
            let url: DaemonUrl = good.parse().expect(good);
            assert_eq!((url.to_string().as_str(), url.local_port()), (good, port));
        }
        for bad in [
            "http://10.0.0.1",
            "http://failoverd.example.com",
            "http://127.0.0.1.evil",
            "http://127.0.0.1:0",
            "http://127.0.0.1:x",
            "ftp://x",
            "x",
            "https://u:p@x",
        ] {
            assert!(bad.parse::<DaemonUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_can_be_probed_is_read_and_written_alike() {
        for text in ["https://a.example.com/x", "http://127.0.0.1:8080/", "tcp://db.example.com:5432", "tcp://[::1]:80"]
        {
            assert_eq!(text.parse::<ProbeTarget>().expect(text).to_string(), text);
        }
        let hosts = ["https://a.example.com/x", "http://a.example.com:8080", "tcp://a.example.com:5432"];
        assert!(hosts.iter().all(|t| t.parse::<ProbeTarget>().expect(t).host() == "a.example.com"));
        for text in
            ["", "a", "ftp://a", "tcp://a", "tcp://a:0", "tcp://:80", "tcp://u@a:80", "tcp://a/b:80", "https://"]
        {
            assert_eq!(text.parse::<ProbeTarget>(), Err(InvalidTarget), "{text}");
        }
    }
}
