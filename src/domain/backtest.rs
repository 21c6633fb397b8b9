//! What the policy would have said and done about samples of the past: the same windows and the same judge as live, one
//! judgement for each second in which something could have changed.
//!
//! Invariants: pure and in order; what was not recorded is missing, never healthy, and time without a fresh trigger is
//! told as a gap, not as peace. What is assumed is said: an arming with consent in the order of preference, the mode
//! `automatic`, a daemon that reaches its control points, writers in the preferred Region unless a row moves them.
//!
//! It deliberately plays no failover: after it would have acted, the recorded samples go on as they were. So a second
//! act is one that another arming would have been needed for, and whether the cool-down would have held it is told.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    application::Application,
    assessment::{Assessment, Health, Verdict},
    history::{History, IllegalEvent},
    id::{ApplicationName, OverrideId, Region, SignalName, StoreName, VantageName},
    journal::Event,
    judge::{self, Known, Memory, Reach},
    overrides::{Override, OverrideKind},
    plan::Plan,
    policy::Mode,
    rules::{Finding, Rule},
    seconds,
    signal::{Reading, Sample, SignalState, SignalWindow},
    vantage::Observer,
};

/// How many episodes of an application are kept; what follows them is counted.
pub const EPISODES_MAX: usize = 1_000;
/// How many gaps are kept; what follows them is counted.
pub const GAPS_MAX: usize = 1_000;
/// In a trouble that lasts longer than this, judgements are a period apart, no longer a second.
const CLOSE_LOOK: SignedDuration = SignedDuration::from_hours(1);
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// One recorded sample, or a move of the writers.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// When it was known. Never before the row before it.
    pub at: Timestamp,
    pub what: What,
}

/// What a row says.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    Reading {
        signal: SignalName,
        /// `None`: as this daemon would have read it.
        vantage: Option<VantageName>,
        /// When it was true.
        measured_at: Timestamp,
        reading: Reading,
    },
    /// Every store's writer is in this Region from now on.
    Writer(Region),
}

/// What the policy would have said and done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backtest {
    pub application: ApplicationName,
    /// What was assumed to be armed: from, to, and the largest loss. `None`: nothing was.
    pub armed: Option<Armed>,
    pub rows: u64,
    /// Of the first and of the last row.
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    /// In the order of their beginning.
    pub episodes: Vec<Episode>,
    /// How many there were, those included that are not kept.
    pub recommendations: u64,
    pub acts: u64,
    /// How often the arming would have ended by itself, as it does where the lag is unknown while all else is well. The
    /// replay goes on as if somebody had armed again at once.
    pub disarms: u64,
    #[serde(with = "seconds", rename = "recommended_seconds")]
    pub recommended: Duration,
    /// When too little was known to say how the application is.
    pub gaps: Vec<Gap>,
    pub gap_count: u64,
    #[serde(with = "seconds", rename = "unknown_seconds")]
    pub unknown: Duration,
    /// For how long each rule stood in the way while a failover was recommended.
    pub unmet: Vec<Unmet>,
    pub judgements: u64,
}

/// An arming that was assumed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Armed {
    pub from: Region,
    pub to: Region,
    #[serde(with = "seconds", rename = "largest_loss_seconds")]
    pub largest_loss: Duration,
}

/// One time in which a failover would have been recommended without a break.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    pub from: Timestamp,
    /// `None`: it still was at the last row.
    pub to: Option<Timestamp>,
    /// When the trouble was first seen.
    pub evidence_since: Option<Timestamp>,
    pub target: Option<Region>,
    /// At its beginning.
    pub reasons: Vec<String>,
    /// Each time that it would have acted; of those that come after the first, the arming would have been used up.
    pub acts: Vec<Act>,
    /// For how long each rule stood in the way, the longest first.
    pub unmet: Vec<Unmet>,
}

/// One time in which every rule for acting alone held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Act {
    pub from: Timestamp,
    pub to: Option<Timestamp>,
    /// The cool-down after the act before it would have held it.
    pub in_cool_down: bool,
    pub rules: Vec<Finding>,
}

/// How long a rule stood in the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unmet {
    pub rule: Rule,
    #[serde(with = "seconds", rename = "unmet_seconds")]
    pub unmet: Duration,
    /// What it found last.
    pub says: String,
}

/// A time in which nobody could have said how the application is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    pub from: Timestamp,
    pub to: Option<Timestamp>,
    pub why: String,
}

/// See the module. One per application.
#[derive(Debug)]
pub struct Replay {
    application: Application,
    plan: Option<Plan>,
    windows: BTreeMap<SignalName, SignalWindow>,
    elsewhere: BTreeMap<VantageName, Observer>,
    writers: BTreeMap<StoreName, Region>,
    history: History,
    memory: Memory,
    here: VantageName,
    period: SignedDuration,
    /// The last judgement: when, and what of it lasts until the next.
    last: Option<Standing>,
    /// A row since the last judgement that could change it, and one that could not.
    changed_at: Option<Timestamp>,
    heard: bool,
    last_act: Option<Timestamp>,
    unmet: BTreeMap<Rule, (Duration, String)>,
    report: Backtest,
}

/// What the last judgement amounts to.
#[derive(Debug)]
struct Standing {
    at: Timestamp,
    health: Health,
    recommends: bool,
    acts: bool,
    disarms: bool,
    trouble_since: Option<Timestamp>,
    unmet: Vec<(Rule, String)>,
}

impl Replay {
    /// A replay of what follows `from` for `application`, as if armed for `largest_loss` from its preferred Region to
    /// the next one; `None` arms nothing. `plan` is what that failover would do, where a runbook for it compiles.
    ///
    /// # Errors
    /// Never for a Region and a loss of the configuration: the arming is recorded like any other.
    pub fn new(
        mut application: Application,
        plan: Option<Plan>,
        largest_loss: Option<Duration>,
        from: Timestamp,
    ) -> Result<Self, IllegalEvent> {
        if largest_loss.is_some() {
            application.policy.mode = Mode::Automatic;
        }
        let windows = application.signals.iter().map(|s| (s.name.clone(), SignalWindow::new(s.consecutive)));
        let preferred = application.regions.first();
        let writers = application.stores.keys().filter_map(|s| Some((s.clone(), preferred?.clone())));
        let periods = application.signals.iter().map(|s| s.period);
        let period = periods.min().and_then(|p| SignedDuration::try_from(p).ok()).unwrap_or(SECOND).max(SECOND);
        let armed = match (largest_loss, &application.regions[..]) {
            (Some(largest_loss), [from, to, ..]) => Some(Armed { from: from.clone(), to: to.clone(), largest_loss }),
            _ => None,
        };
        let mut history = History::new(application.name.clone());
        if let Some(armed) = &armed {
            arm(&mut history, armed, from)?;
        }
        let report = Backtest {
            application: application.name.clone(),
            armed,
            rows: 0,
            from: None,
            to: None,
            episodes: Vec::new(),
            recommendations: 0,
            acts: 0,
            disarms: 0,
            recommended: Duration::ZERO,
            gaps: Vec::new(),
            gap_count: 0,
            unknown: Duration::ZERO,
            unmet: Vec::new(),
            judgements: 0,
        };
        Ok(Self {
            windows: windows.collect(),
            elsewhere: BTreeMap::new(),
            writers: writers.collect(),
            history,
            memory: Memory::default(),
            here: here(),
            period,
            last: None,
            changed_at: None,
            heard: false,
            last_act: None,
            unmet: BTreeMap::new(),
            report,
            plan,
            application,
        })
    }

    /// Takes the next row in.
    pub fn take(&mut self, row: Row) {
        self.advance(row.at);
        self.report.rows += 1;
        self.report.from.get_or_insert(row.at);
        self.report.to = Some(row.at);
        self.heard = true;
        let changes = match row.what {
            What::Writer(region) => {
                let moves = self.writers.values().any(|w| *w != region);
                self.writers.values_mut().for_each(|w| w.clone_from(&region));
                moves
            }
            What::Reading { signal, vantage, measured_at, reading } => {
                let Some(declared) = self.application.signals.iter().find(|s| s.name == signal) else { return };
                let (freshness, consecutive) = (declared.freshness, declared.consecutive);
                let window = match vantage {
                    None => self.windows.entry(signal),
                    Some(vantage) => self.elsewhere.entry(vantage).or_default().windows.entry(signal),
                };
                let window = window.or_insert_with(|| SignalWindow::new(consecutive));
                let before = window.state(row.at, freshness);
                let changes = !is_more_of_the_same(&before, &reading, self.application.objectives.rpo);
                window.push(Sample { measured_at, taken_at: row.at, reading });
                changes
            }
        };
        if changes {
            self.changed_at.get_or_insert(row.at);
        }
    }

    /// What it all amounts to, after the last row.
    pub fn end(mut self) -> Backtest {
        if let Some(last) = self.report.to {
            self.advance(ceil(last) + SECOND);
        }
        let mut report = self.report;
        report.unmet = ordered(std::mem::take(&mut self.unmet));
        report
    }

    /// Judges at every second before `until` in which something could have changed.
    fn advance(&mut self, until: Timestamp) {
        while let Some(due) = self.due().filter(|due| *due < until) {
            self.judge(due);
        }
    }

    /// The next second that must be judged.
    fn due(&self) -> Option<Timestamp> {
        let Some(last) = &self.last else {
            return self.changed_at.map(ceil);
        };
        let next = ceil(last.at + SECOND);
        let changed = self.changed_at.map(|at| ceil(at).max(next));
        let periodic = self.heard.then(|| ceil(last.at + self.period));
        let lasting = last.trouble_since.map(|since| {
            let step = if last.at.duration_since(since) < CLOSE_LOOK { SECOND } else { self.period };
            ceil(last.at + step)
        });
        let stale = self.next_stale(last.at).map(|at| ceil(at).max(next));
        [changed, periodic, lasting, stale].into_iter().flatten().min()
    }

    /// When the next reading that is fresh at `now` will no longer be.
    fn next_stale(&self, now: Timestamp) -> Option<Timestamp> {
        let all = self.elsewhere.values().map(|o| &o.windows).chain([&self.windows]);
        let last = all.flatten().filter_map(|(name, window)| {
            let signal = self.application.signals.iter().find(|s| s.name == *name)?;
            let freshness = SignedDuration::try_from(signal.freshness).ok()?;
            window.last()?.measured_at.checked_add(freshness + SignedDuration::from_millis(1)).ok()
        });
        last.filter(|at| now < *at).min()
    }

    fn judge(&mut self, at: Timestamp) {
        self.lasted(at);
        let boot = Duration::try_from(at.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default();
        let known = Known {
            application: &self.application,
            windows: &self.windows,
            writers: &self.writers,
            history: &self.history,
            vantage: &self.here,
            elsewhere: &self.elsewhere,
            reach: Reach::Sure { says: "assumed: this daemon reached its control points".to_owned() },
            plan: self.plan.as_ref(),
            silent: &BTreeMap::new(),
            behind: &BTreeMap::new(),
        };
        let assessment = judge::assess(&known, &mut self.memory, at, boot);
        self.report.judgements += 1;
        (self.changed_at, self.heard) = (None, false);
        self.note(&assessment);
    }

    /// What stood since the last judgement has stood until `at`.
    fn lasted(&mut self, at: Timestamp) {
        let Some(last) = &self.last else { return };
        let lasted = Duration::try_from(at.duration_since(last.at)).unwrap_or_default();
        if last.health == Health::Unknown {
            self.report.unknown += lasted;
        }
        if !last.recommends {
            return;
        }
        self.report.recommended += lasted;
        let kept = self.report.episodes.last_mut().filter(|e| e.to.is_none());
        let unmet = kept.map(|e| &mut e.unmet);
        for (rule, says) in &last.unmet {
            let slot = self.unmet.entry(*rule).or_default();
            *slot = (slot.0 + lasted, says.clone());
        }
        if let Some(unmet) = unmet {
            for (rule, says) in &last.unmet {
                match unmet.iter_mut().find(|u| u.rule == *rule) {
                    Some(u) => (u.unmet, u.says) = (u.unmet + lasted, says.clone()),
                    None => unmet.push(Unmet { rule: *rule, unmet: lasted, says: says.clone() }),
                }
            }
        }
    }

    /// Takes a judgement in: what begins with it, and what ends.
    fn note(&mut self, a: &Assessment) {
        let recommends = matches!(a.verdict, Verdict::Recommend | Verdict::Start);
        let acts = a.verdict == Verdict::Start;
        let before = self.last.as_ref();
        let (did_recommend, did_act) = before.map_or((false, false), |s| (s.recommends, s.acts));
        let was_unknown = before.is_some_and(|s| s.health == Health::Unknown);
        let disarms = a.disarm.is_some();
        self.report.disarms += u64::from(disarms && !before.is_some_and(|s| s.disarms));
        self.note_gap(a, was_unknown);
        if recommends && !did_recommend {
            self.report.recommendations += 1;
            if self.report.episodes.len() < EPISODES_MAX {
                self.report.episodes.push(Episode {
                    from: a.at,
                    to: None,
                    evidence_since: a.evidence_since,
                    target: a.recommended_target.clone(),
                    reasons: a.reasons.clone(),
                    acts: Vec::new(),
                    unmet: Vec::new(),
                });
            }
        }
        let cool_down = SignedDuration::try_from(self.application.policy.cool_down).unwrap_or(SignedDuration::MAX);
        let in_cool_down = self.last_act.is_some_and(|last| a.at.duration_since(last) < cool_down);
        if acts && !did_act {
            self.report.acts += 1;
            self.last_act = Some(a.at);
        }
        let is_kept = self.report.recommendations <= EPISODES_MAX as u64;
        if let Some(episode) = self.report.episodes.last_mut().filter(|e| is_kept && e.to.is_none()) {
            if acts && !did_act && episode.acts.len() < EPISODES_MAX {
                episode.acts.push(Act { from: a.at, to: None, in_cool_down, rules: a.rules.clone() });
            }
            if let Some(act) = episode.acts.last_mut().filter(|act| !acts && act.to.is_none()) {
                act.to = Some(a.at);
            }
            if !recommends {
                episode.to = Some(a.at);
                episode.unmet.sort_by(|a, b| (b.unmet, a.rule).cmp(&(a.unmet, b.rule)));
            }
        }
        let unmet = judge::unmet(&a.rules).filter(|_| recommends).map(|(rule, says)| (rule, says.to_owned()));
        self.last = Some(Standing {
            at: a.at,
            health: a.health,
            recommends,
            acts,
            disarms,
            trouble_since: a.evidence_since,
            unmet: unmet.collect(),
        });
    }

    fn note_gap(&mut self, a: &Assessment, was_unknown: bool) {
        let is_unknown = a.health == Health::Unknown;
        if is_unknown && !was_unknown {
            self.report.gap_count += 1;
            if self.report.gaps.len() < GAPS_MAX {
                let why = a.reasons.first().cloned().unwrap_or_default();
                self.report.gaps.push(Gap { from: a.at, to: None, why });
            }
        }
        if let Some(gap) = self.report.gaps.last_mut().filter(|gap| !is_unknown && gap.to.is_none()) {
            gap.to = Some(a.at);
        }
    }
}

/// Whether a reading leaves a calm judgement as it is: the signal was freshly well, and says so again.
fn is_more_of_the_same(before: &SignalState, reading: &Reading, rpo: Duration) -> bool {
    let SignalState::Fresh { sample } = before else { return false };
    match (&sample.reading, reading) {
        (Reading::Healthy { .. }, Reading::Healthy { .. }) => true,
        (Reading::Lag { lag: before }, Reading::Lag { lag }) => *before <= rpo && *lag <= rpo,
        _ => false,
    }
}

fn ordered(unmet: BTreeMap<Rule, (Duration, String)>) -> Vec<Unmet> {
    let mut all: Vec<Unmet> = unmet.into_iter().map(|(rule, (unmet, says))| Unmet { rule, unmet, says }).collect();
    all.sort_by(|a, b| (b.unmet, a.rule).cmp(&(a.unmet, b.rule)));
    all
}

/// The daemon's judgements are a second apart.
fn ceil(at: Timestamp) -> Timestamp {
    let second = at.as_second() + i64::from(0 < at.subsec_nanosecond());
    Timestamp::from_second(second).unwrap_or(at)
}

fn here() -> VantageName {
    "here".parse().unwrap_or_else(|e| unreachable!("a literal: {e}"))
}

/// Records an arming with its consent, long enough for any replay.
fn arm(history: &mut History, armed: &Armed, at: Timestamp) -> Result<(), IllegalEvent> {
    const TEN_YEARS: SignedDuration = SignedDuration::from_hours(10 * 366 * 24);
    let subject = |name: &str| name.parse().unwrap_or_else(|e| unreachable!("a literal: {e}"));
    let id = OverrideId::new(&history.application, 0);
    let (from, to, largest_loss) = (armed.from.clone(), armed.to.clone(), armed.largest_loss);
    let asked = Override {
        id: id.clone(),
        kind: OverrideKind::Arm { from, to, largest_loss },
        by: subject("assumed"),
        reason: "assumed by the backtest".to_owned(),
        asked_at: at,
        expires_at: at.checked_add(TEN_YEARS).unwrap_or(Timestamp::MAX),
        bound_to: None,
        consent: None,
        ended: None,
    };
    history.apply_event(at, &Event::OverrideAsked { asked: Box::new(asked) })?;
    let reason = "assumed by the backtest".to_owned();
    history.apply_event(at, &Event::OverrideConsented { id, subject: subject("assumed-too"), reason })
}

#[cfg(test)]
mod tests;
