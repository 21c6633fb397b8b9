//! Where people are told: the channels of a configuration, and which notices each takes.
//!
//! Invariant: a secret of a channel is a reference ([`SecretRef`]), so that a channel may stand in a log, a metric and an
//! answer. How a notice is sent is the adapter's.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    application::{Application, Topic},
    id::{ApplicationName, ChannelName, Region},
    notice::{Act, Notice, Severity},
    secret::SecretRef,
};

/// The most channels of a configuration, the topics of applications apart.
pub const CHANNELS_MAX: usize = 32;

/// How many channels must page, so that one of them may be out of order (FAULTS.md L5).
pub const PAGING_MIN: usize = 2;

/// One way to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Channel {
    pub name: ChannelName,
    pub via: Via,
    pub takes: BTreeSet<Severity>,
    /// `None`: all.
    pub applications: Option<BTreeSet<ApplicationName>>,
}

/// How a channel is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Via {
    /// An SNS topic, published to from its own Region.
    Sns { region: Region, arn: String },
    /// Slack's incoming webhook, whose whole URL is a secret.
    Slack { url: SecretRef },
    /// PagerDuty's Events API v2.
    PagerDuty { routing_key: SecretRef, url: String },
    /// JSON to a URL, signed with a key.
    Generic { url: String, key: SecretRef },
    /// A bus of Amazon EventBridge, in its own Region.
    EventBridge { region: Region, bus: String },
}

impl Via {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Sns { .. } => "sns",
            Self::Slack { .. } => "slack",
            Self::PagerDuty { .. } => "pagerduty",
            Self::Generic { .. } => "generic",
            Self::EventBridge { .. } => "eventbridge",
        }
    }

    /// What goes out of order together: a service, in a Region where it has one.
    fn depends_on(&self) -> (&'static str, &str) {
        match self {
            Self::Sns { region, .. } => ("sns", region.as_str()),
            Self::EventBridge { region, .. } => ("eventbridge", region.as_str()),
            Self::Slack { .. } => ("slack", ""),
            Self::PagerDuty { .. } => ("pagerduty", ""),
            Self::Generic { url, .. } => ("generic", url),
        }
    }
}

impl Channel {
    /// An application's own topic: it is told what wants somebody now.
    pub fn of_topic(topic: &Topic, application: &ApplicationName, number: usize) -> Self {
        // Two topics of one application have two names; what is no name cannot be made of these parts.
        let name = format!("topic-{number}-{}", topic.region);
        let name = name.parse().unwrap_or_else(|e| unreachable!("a Region is a name: {e}"));
        Self {
            name,
            via: Via::Sns { region: topic.region.clone(), arn: topic.arn.clone() },
            takes: [Severity::Page].into(),
            applications: Some([application.clone()].into()),
        }
    }

    /// Whether it is told `notice`. Who was told that something is wrong is told that it is over, too.
    pub fn takes(&self, notice: &Notice) -> bool {
        let is_of_its_own = self.applications.as_ref().is_none_or(|all| all.contains(&notice.application));
        let follows = notice.incident.act != Act::Trigger && self.takes.contains(&Severity::Page);
        is_of_its_own && (self.takes.contains(&notice.severity) || follows)
    }
}

/// All channels of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channels {
    pub configured: Vec<Channel>,
    /// Whether the topics of applications are told pages by themselves, beside what runbooks publish to them.
    pub topics: bool,
}

impl Default for Channels {
    fn default() -> Self {
        Self { configured: Vec::new(), topics: true }
    }
}

impl Channels {
    /// The channels of `application`: its topics, and those that are for it.
    pub fn of(&self, application: &Application) -> BTreeMap<ChannelName, Channel> {
        let own = application.topics.iter().filter(|_| self.topics).enumerate();
        let own = own.map(|(number, topic)| Channel::of_topic(topic, &application.name, number));
        let is_for_it = |c: &&Channel| c.applications.as_ref().is_none_or(|all| all.contains(&application.name));
        let configured = self.configured.iter().filter(is_for_it).cloned();
        // A topic that is a channel by its own name too is told once.
        let mut topics = BTreeSet::new();
        let mut all = BTreeMap::new();
        for channel in configured.chain(own) {
            let is_new = match &channel.via {
                Via::Sns { arn, .. } => topics.insert(arn.clone()),
                _ => true,
            };
            if is_new {
                all.insert(channel.name.clone(), channel);
            }
        }
        all
    }
}

/// How many of `channels` page and do not go out of order together.
pub fn independent_pagers<'a>(channels: impl Iterator<Item = &'a Channel>) -> usize {
    let pagers = channels.filter(|channel| channel.takes.contains(&Severity::Page));
    pagers.map(|channel| channel.via.depends_on()).collect::<BTreeSet<_>>().len()
}
