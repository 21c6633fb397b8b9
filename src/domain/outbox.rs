//! What is to be told of one application and what has been: notices that were made of the journal and that channels have
//! not taken yet, and the newest of those that have ended.
//!
//! Invariants: it is made from the journal, from `next_seq` on, so whoever loses it or comes after another loses no notice:
//! he makes the same ones again, with the same ids (at least once). It is bounded whatever happens. Within a channel
//! what belongs to one incident goes in its order: nothing is resolved before it is triggered.
//! It deliberately holds no time of the boot clock and no backoff: whoever takes it over tries at once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    channel::Channel,
    id::{ApplicationName, ChannelName},
    journal::Record,
    notice::{Kind, Notice, NoticeId, Severity, line, telling::Telling},
    overrides::Override,
};

/// The newest form of the stored text that this program reads and writes.
pub const SCHEMA_VERSION: u32 = 1;
/// After this a notice is not tried any more: what it says is history, and stands in the journal.
pub const TRIED_FOR: SignedDuration = SignedDuration::from_hours(24);
/// How many notices may wait. Each is at most 5 KB, so that all fit in one item of DynamoDB.
pub const OPEN_MAX: usize = 48;
/// How many deliveries that have ended are kept to be shown.
pub const ENDED_KEPT_MAX: usize = 50;
/// The longest reason that is kept.
const REASON_CHARS_MAX: usize = 200;

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outbox {
    pub schema: u32,
    /// The first record that was not told of.
    pub next_seq: u64,
    pub telling: Telling,
    pub open: Vec<Open>,
    /// The newest last.
    pub ended: Vec<Ended>,
}

/// A notice that some channels have not taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Open {
    pub notice: Notice,
    pub to: BTreeMap<ChannelName, Tries>,
}

/// What was tried.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tries {
    pub count: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Delivered,
    /// The channel will never take it.
    Refused,
    /// It was tried for long enough, or too many waited.
    GivenUp,
}

impl Ending {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::GivenUp => "given_up",
        }
    }
}

/// A delivery that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    pub id: NoticeId,
    pub channel: ChannelName,
    pub kind: Kind,
    pub severity: Severity,
    pub headline: String,
    /// When what it tells was recorded.
    pub noticed_at: Timestamp,
    pub ended_at: Timestamp,
    pub ending: Ending,
    pub attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One attempt to deliver, as it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    Delivered,
    /// No repetition will help: the channel does not take this message, or this daemon.
    Refused {
        reason: String,
    },
    /// It may have arrived, or not. `retry_after_seconds` where the channel says so.
    Failed {
        reason: String,
        retry_after_seconds: Option<u64>,
    },
}

impl Default for Outbox {
    fn default() -> Self {
        let (open, ended) = (Vec::new(), Vec::new());
        Self { schema: SCHEMA_VERSION, next_seq: 0, telling: Telling::default(), open, ended }
    }
}

impl Outbox {
    /// Takes `record` in, which has the number `next_seq`; each notice goes to the channels that take it. What is older
    /// than it would be tried for is told to nobody.
    pub fn absorb(&mut self, record: &Record, channels: &BTreeMap<ChannelName, Channel>, now: Timestamp) {
        let made = self.telling.tell(record);
        self.next_seq = record.seq + 1;
        made.into_iter().for_each(|notice| self.open(notice, channels, now));
    }

    /// The same of a record whose time is over: it only counts as told.
    pub fn pass(&mut self, record: &Record) {
        self.telling.pass(record);
        self.next_seq = record.seq + 1;
    }

    /// Opens what time alone makes of the overrides in force. Whether there was any.
    pub fn remind<'a>(
        &mut self,
        application: &ApplicationName,
        in_force: impl Iterator<Item = &'a Override>,
        channels: &BTreeMap<ChannelName, Channel>,
        now: Timestamp,
    ) -> bool {
        let made = self.telling.remind(application, in_force, now);
        let any = !made.is_empty();
        made.into_iter().for_each(|notice| self.open(notice, channels, now));
        any
    }

    fn open(&mut self, notice: Notice, channels: &BTreeMap<ChannelName, Channel>, now: Timestamp) {
        let taking = channels.values().filter(|channel| channel.takes(&notice));
        let to: BTreeMap<_, _> = taking.map(|channel| (channel.name.clone(), Tries::default())).collect();
        if to.is_empty() || self.open.iter().any(|open| open.notice.id == notice.id) {
            return;
        }
        self.open.push(Open { notice, to });
        if OPEN_MAX < self.open.len() {
            // The oldest of the least severe: a flood of small news never takes the place of a page.
            let least = self.open.iter().map(|open| open.notice.severity).min();
            if let Some(at) = self.open.iter().position(|open| Some(open.notice.severity) == least) {
                let open = self.open.remove(at);
                self.end_all(open, now, "too many notices wait");
            }
        }
    }

    /// Ends what was tried for long enough, and what goes to channels that are not there any more. How many.
    pub fn expire(&mut self, channels: &BTreeMap<ChannelName, Channel>, now: Timestamp) -> usize {
        let before = self.waiting();
        let (old, still): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.open).into_iter().partition(|open| TRIED_FOR < now.duration_since(open.notice.at));
        self.open = still;
        old.into_iter().for_each(|open| self.end_all(open, now, "nobody took it within a day"));
        let all = self.open.iter().flat_map(|open| open.to.keys().map(|c| (open.notice.id.clone(), c.clone())));
        let gone: Vec<_> = all.filter(|(_, channel)| !channels.contains_key(channel)).collect();
        for (id, channel) in gone {
            self.end(&id, &channel, Ending::GivenUp, now, Some("the channel is not configured any more".to_owned()));
        }
        before - self.waiting()
    }

    /// How many deliveries are open.
    pub fn waiting(&self) -> usize {
        self.open.iter().map(|open| open.to.len()).sum()
    }

    /// What may be sent now, in order: of each incident and channel the oldest.
    pub fn due(&self) -> Vec<(&Notice, &ChannelName, u32)> {
        let mut before = BTreeSet::new();
        let mut due = Vec::new();
        for open in &self.open {
            for (channel, tries) in &open.to {
                if before.insert((channel, &open.notice.incident.key)) {
                    due.push((&open.notice, channel, tries.count));
                }
            }
        }
        due
    }

    /// Takes in how an attempt ended.
    pub fn sent(&mut self, id: &NoticeId, channel: &ChannelName, sent: &Sent, now: Timestamp) {
        let Some(tries) = self.open.iter_mut().find(|o| o.notice.id == *id).and_then(|o| o.to.get_mut(channel)) else {
            return;
        };
        tries.count = tries.count.saturating_add(1);
        match sent {
            Sent::Delivered => self.end(id, channel, Ending::Delivered, now, None),
            Sent::Refused { reason } => {
                self.end(id, channel, Ending::Refused, now, Some(line(reason, REASON_CHARS_MAX)))
            }
            Sent::Failed { reason, .. } => tries.last_error = Some(line(reason, REASON_CHARS_MAX)),
        }
    }

    fn end_all(&mut self, open: Open, now: Timestamp, why: &str) {
        let Open { notice, to } = open;
        for (channel, tries) in to {
            let last = tries.last_error.clone();
            let reason = last.map_or(why.to_owned(), |last| format!("{why}; at last: {last}"));
            self.note(ended(&notice, &channel, &tries, Ending::GivenUp, now, Some(reason)));
        }
    }

    fn end(&mut self, id: &NoticeId, channel: &ChannelName, ending: Ending, now: Timestamp, reason: Option<String>) {
        let Some(at) = self.open.iter().position(|open| open.notice.id == *id) else { return };
        let Some(tries) = self.open[at].to.remove(channel) else { return };
        let ended = ended(&self.open[at].notice, channel, &tries, ending, now, reason);
        self.note(ended);
        if self.open[at].to.is_empty() {
            self.open.remove(at);
        }
    }

    fn note(&mut self, ended: Ended) {
        self.ended.push(ended);
        if ENDED_KEPT_MAX < self.ended.len() {
            // What was not delivered is kept longer: it is what somebody looks for.
            let delivered = self.ended.iter().position(|ended| ended.ending == Ending::Delivered);
            self.ended.remove(delivered.unwrap_or(0));
        }
    }
}

fn ended(
    notice: &Notice,
    channel: &ChannelName,
    tries: &Tries,
    ending: Ending,
    now: Timestamp,
    reason: Option<String>,
) -> Ended {
    Ended {
        id: notice.id.clone(),
        channel: channel.clone(),
        kind: notice.kind,
        severity: notice.severity,
        headline: notice.headline.clone(),
        noticed_at: notice.at,
        ended_at: now,
        ending,
        attempts: tries.count,
        reason,
    }
}

/// How long after `attempts` failures the next is tried: from 5 s to 15 min, doubled each time, of which between half and
/// all is waited, as `bits` say.
pub fn pause_seconds(attempts: u32, bits: u128) -> u64 {
    const FIRST_SECONDS: u64 = 5;
    const LAST_SECONDS: u64 = 15 * 60;
    let whole = FIRST_SECONDS.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(LAST_SECONDS);
    let half = whole / 2;
    let spread = u64::try_from(bits % u128::from(whole - half + 1)).unwrap_or_default();
    half + spread
}

#[cfg(test)]
mod tests;
