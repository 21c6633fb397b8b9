//! Preflight: whether an application could be moved now, as checks that each were seen to be met, not met or neither,
//! and one score made of them.
//!
//! Invariants: what was not seen is unknown and never counts as met; every point that is missing from 100 is named by the
//! check that took it; where nobody has looked there is no score, which is neither 0 nor 100.
//! It deliberately does not know what was ever proved: that is [`super::proof`], and the two are told apart.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::{ApplicationName, Region};

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What the watch reads of the Region there.
    Signal,
    /// A failover there can be compiled, and nothing in it needs what may be gone.
    Plan,
    /// The runbook is the one that a run has succeeded by.
    Runbook,
    /// The cluster there can be promoted, as `gate.target` asks.
    Target,
    /// Both clusters have the same engine version.
    Version,
    /// The cluster there carries what the application needs.
    Capacity,
    /// The account may still add what is needed.
    Quota,
    /// No parameter of the cluster stops commits once it is alone.
    Parameter,
    /// The clusters cannot be deleted by mistake.
    Protection,
    /// The records of a public name are as they are configured.
    Record,
    /// How long caches keep the old answer.
    Ttl,
    /// What turns the traffic stands as it should, and can be seen.
    Traffic,
    /// A topic over which people are told.
    Topic,
    /// How long something by which somebody is known still lasts.
    Credential,
    /// What AWS permits.
    Permission,
}

impl Kind {
    pub const ALL: [Self; 15] = [
        Self::Signal,
        Self::Plan,
        Self::Runbook,
        Self::Target,
        Self::Version,
        Self::Capacity,
        Self::Quota,
        Self::Parameter,
        Self::Protection,
        Self::Record,
        Self::Ttl,
        Self::Traffic,
        Self::Topic,
        Self::Credential,
        Self::Permission,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Plan => "plan",
            Self::Runbook => "runbook",
            Self::Target => "target",
            Self::Version => "version",
            Self::Capacity => "capacity",
            Self::Quota => "quota",
            Self::Parameter => "parameter",
            Self::Protection => "protection",
            Self::Record => "record",
            Self::Ttl => "ttl",
            Self::Traffic => "traffic",
            Self::Topic => "topic",
            Self::Credential => "credential",
            Self::Permission => "permission",
        }
    }
}

/// What it costs where a check is not met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A failover could not run, or would be held.
    Blocking,
    /// It would be slower, or a larger risk.
    Degrading,
    /// It would run as well; somebody should know.
    Advisory,
}

impl Class {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocking => "blocking",
            Self::Degrading => "degrading",
            Self::Advisory => "advisory",
        }
    }
}

/// What was seen of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Met,
    NotMet,
    /// It was not seen, or what was seen tells neither.
    Unknown,
}

impl State {
    pub const ALL: [Self; 3] = [Self::Met, Self::NotMet, Self::Unknown];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "not_met",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub kind: Kind,
    /// The store, the record, the topic …
    pub subject: String,
    /// Where it is; `None`: in no one Region.
    pub region: Option<Region>,
    pub class: Class,
    pub state: State,
    pub seen: String,
    pub expected: String,
    /// What to do where it is not met.
    pub remedy: String,
}

impl Check {
    /// The points that it takes where it comes first.
    fn points(&self, is_first: bool) -> u8 {
        match (self.class, self.state) {
            (_, State::Met) | (Class::Advisory, State::Unknown) => 0,
            (Class::Blocking, State::NotMet) if is_first => FIRST_BLOCKING,
            (Class::Blocking, State::NotMet) => BLOCKING,
            (Class::Blocking, State::Unknown) => BLOCKING_UNKNOWN,
            (Class::Degrading, State::NotMet) => DEGRADING,
            (Class::Degrading, State::Unknown) => DEGRADING_UNKNOWN,
            (Class::Advisory, State::NotMet) => ADVISORY,
        }
    }

    /// The worst first: what is not met before what is not known, within each class.
    fn rank(&self) -> (Class, State) {
        (self.class, self.state)
    }
}

/// What is left of 100 where all is met.
pub const WHOLE: u8 = 100;
/// So much the first blocking check takes that is not met: then the score is [`BLOCKED_MAX`] at most.
pub const FIRST_BLOCKING: u8 = 60;
/// So much each further one takes.
pub const BLOCKING: u8 = 20;
/// A blocking check of which nothing is known.
pub const BLOCKING_UNKNOWN: u8 = 30;
pub const DEGRADING: u8 = 10;
pub const DEGRADING_UNKNOWN: u8 = 5;
/// Of an advisory check that is not known nothing is taken: it says what nobody has looked at.
pub const ADVISORY: u8 = 2;
/// The most that a direction has in which a blocking check is not met.
pub const BLOCKED_MAX: u8 = WHOLE - FIRST_BLOCKING;

/// How ready a direction is, and what takes the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// From 0 to 100.
    pub points: u8,
    /// What takes points, the worst first; the sum of what they take is what is missing from 100.
    pub lowered: Vec<Lowered>,
}

/// What one check takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lowered {
    /// Its place among the checks.
    pub check: usize,
    /// 0: nothing was left to take.
    pub points: u8,
}

/// The score of `checks`; `None` where there are none: nobody has looked.
#[must_use]
pub fn score(checks: &[Check]) -> Option<Score> {
    if checks.is_empty() {
        return None;
    }
    let mut open: Vec<(usize, &Check)> = checks.iter().enumerate().filter(|(_, c)| c.points(true) != 0).collect();
    open.sort_by_key(|(place, check)| (check.rank(), *place));
    let (mut left, mut lowered) = (WHOLE, Vec::new());
    for (n, (check, of)) in open.into_iter().enumerate() {
        let points = of.points(n == 0).min(left);
        left -= points;
        lowered.push(Lowered { check, points });
    }
    Some(Score { points: left, lowered })
}

/// One way that the application could go, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direction {
    pub source: Region,
    pub target: Region,
    pub checks: Vec<Check>,
}

impl Direction {
    #[must_use]
    pub fn score(&self) -> Option<Score> {
        score(&self.checks)
    }

    /// Whether something is known that a failover there would not survive.
    pub fn is_blocked(&self) -> bool {
        self.checks.iter().any(|c| c.class == Class::Blocking && c.state == State::NotMet)
    }

    pub fn count(&self, state: State) -> usize {
        self.checks.iter().filter(|c| c.state == state).count()
    }
}

/// How often an application is looked at.
pub const PERIOD: Duration = Duration::from_mins(5);
/// So many periods a look counts; after that it is stale, and there is no score.
pub const PERIODS_MAX: u32 = 3;

/// Everything that one round has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preflight {
    pub application: ApplicationName,
    /// When the round ended.
    pub at: Timestamp,
    /// By each standby; none where it is not known where the application is active.
    pub directions: Vec<Direction>,
}

impl Preflight {
    /// How old it is at `now`. A clock that was set back makes nothing younger than new.
    pub fn age(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.at)).unwrap_or_default()
    }

    /// Whether it is too old to be believed.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        PERIOD * PERIODS_MAX < self.age(now)
    }

    /// The score of the application: of its best direction, since one way out is enough. `None`: it is stale, or nothing
    /// was looked at.
    #[must_use]
    pub fn score(&self, now: Timestamp) -> Option<u8> {
        if self.is_stale(now) {
            return None;
        }
        self.directions.iter().filter_map(Direction::score).map(|score| score.points).max()
    }
}

/// Something by which somebody is known, with its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifetime {
    /// The token `alice`, the certificate of the API, the daemon's own credentials.
    pub subject: String,
    pub end: End,
    /// It must last at least so long from now on.
    pub at_least: Duration,
    /// What to do before it ends.
    pub remedy: &'static str,
}

/// When something ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Never,
    At(Timestamp),
    Unknown { why: String },
}

impl Lifetime {
    /// The check of it, as of `now`.
    pub fn check(&self, now: Timestamp) -> Check {
        let left = |end: &Timestamp| Duration::try_from(end.duration_since(now)).ok();
        let (state, seen) = match &self.end {
            End::Never => (State::Met, "does not end".to_owned()),
            End::Unknown { why } => (State::Unknown, why.clone()),
            End::At(end) => match left(end) {
                Some(left) if self.at_least <= left => (State::Met, format!("ends at {end:.0}")),
                Some(_) => (State::NotMet, format!("ends soon, at {end:.0}")),
                None => (State::NotMet, format!("ended at {end:.0}")),
            },
        };
        Check {
            kind: Kind::Credential,
            subject: self.subject.clone(),
            region: None,
            class: Class::Degrading,
            state,
            seen,
            expected: format!("lasts {} h from now", self.at_least.as_secs().div_ceil(3_600)),
            remedy: self.remedy.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(class: Class, state: State) -> Check {
        Check {
            kind: Kind::Target,
            subject: "main".to_owned(),
            region: None,
            class,
            state,
            seen: String::new(),
            expected: String::new(),
            remedy: String::new(),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("in range")
    }

    #[test]
    fn every_point_that_is_missing_is_named_and_a_blocking_check_caps() {
        use Class::{Advisory as A, Blocking as B, Degrading as D};
        use State::{Met, NotMet as No, Unknown as U};
        let cases: &[(&[(Class, State)], u8)] = &[
            (&[(B, Met), (D, Met), (A, Met)], 100),
            (&[(A, U)], 100),
            (&[(A, No)], 98),
            (&[(D, U)], 95),
            (&[(D, No)], 90),
            (&[(B, U)], 70),
            (&[(B, No)], 40),
            (&[(B, No), (B, No)], 20),
            (&[(B, U), (B, No)], 10),
            (&[(B, Met), (D, No), (D, U), (A, No)], 83),
            (&[(D, No), (B, No)], 30),
            (&[(B, No), (B, No), (B, No), (B, No)], 0),
            (&[(B, U), (B, U), (B, U), (B, U)], 0),
        ];
        for (given, expected) in cases {
            let checks: Vec<Check> = given.iter().map(|(class, state)| check(*class, *state)).collect();
            let score = score(&checks).expect("somebody has looked");
            let taken: u8 = score.lowered.iter().map(|l| l.points).sum();
            assert_eq!((score.points, taken), (*expected, 100 - expected), "{given:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_never_as_good_as_what_is_met_nor_worse_than_what_is_not() {
        for class in [Class::Blocking, Class::Degrading] {
            let of = |state| score(&[check(class, state)]).expect("a score").points;
            assert!(of(State::NotMet) < of(State::Unknown) && of(State::Unknown) < of(State::Met), "{class:?}");
        }
    }

    #[test]
    fn the_worst_is_named_first_whatever_the_order_of_looking() {
        let checks = [
            check(Class::Degrading, State::NotMet),
            check(Class::Blocking, State::Unknown),
            check(Class::Blocking, State::NotMet),
        ];
        let order: Vec<usize> = score(&checks).expect("a score").lowered.iter().map(|l| l.check).collect();
        assert_eq!(order, [2, 1, 0]);
    }

    #[test]
    fn no_look_is_no_score_and_an_old_one_is_none_either() {
        assert_eq!(score(&[]), None);
        let direction = Direction {
            source: "us-east-1".parse().expect("a Region"),
            target: "us-west-2".parse().expect("a Region"),
            checks: vec![check(Class::Blocking, State::Met)],
        };
        let found =
            Preflight { application: "payments".parse().expect("a name"), at: at(1_000), directions: vec![direction] };
        assert_eq!(found.score(at(1_900)), Some(100));
        assert_eq!(found.score(at(1_901)), None);
        assert_eq!(Preflight { directions: Vec::new(), ..found }.score(at(1_000)), None);
    }

    #[test]
    fn one_way_out_is_enough_and_the_best_one_counts() {
        let direction = |state| Direction {
            source: "us-east-1".parse().expect("a Region"),
            target: "us-west-2".parse().expect("a Region"),
            checks: vec![check(Class::Blocking, state)],
        };
        let found = Preflight {
            application: "payments".parse().expect("a name"),
            at: at(0),
            directions: vec![direction(State::NotMet), direction(State::Met)],
        };
        assert_eq!(found.score(at(0)), Some(100));
    }

    #[test]
    fn what_ends_soon_or_has_ended_is_not_met_and_an_end_that_nobody_tells_is_unknown() {
        let of = |end| {
            let lifetime =
                Lifetime { subject: "token alice".to_owned(), end, at_least: Duration::from_hours(1), remedy: "x" };
            lifetime.check(at(10_000)).state
        };
        assert_eq!(of(End::Never), State::Met);
        assert_eq!(of(End::At(at(13_600))), State::Met);
        assert_eq!(of(End::At(at(13_599))), State::NotMet);
        assert_eq!(of(End::At(at(9_999))), State::NotMet);
        assert_eq!(of(End::Unknown { why: "no word".to_owned() }), State::Unknown);
    }
}
