//! `[notify]`: the channels over which people are told; `[network]`: what may be connected to beyond public addresses.
//!
//! Invariant: no secret stands in the file: a Slack URL, a routing key and a signing key are references, and a text that is
//! none of those is not repeated in a fault.

use std::{collections::BTreeSet, net::IpAddr};

use super::{Aws, sections::get};
use crate::domain::{
    application::Application,
    channel::{self, CHANNELS_MAX, Channel, Channels, PAGING_MIN, Via},
    document::{At, Fields, Findings},
    egress::{Egress, Form},
    id::{ApplicationName, ChannelName, Region},
    network::Network,
    notice::Severity,
    secret::SecretRef,
};

const CHANNELS: &str =
    "[[notify.channels]]\nname = \"oncall\"\nkind = \"pagerduty\"\nrouting_key = \"env:PAGERDUTY_KEY\"";
const URL: &str = "url = \"https://failoverd.example.com\"";
const ALLOW: &str = "allow_private = [\"10.0.0.0/8\"]";
const SLACK: &str = "url = \"file:/run/secrets/slack-url\" # a reference: the URL is the secret";
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";

/// The most networks that can be named.
const NETWORKS_MAX: usize = 32;

/// How people are told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notify {
    /// Where people reach this daemon's pages, for the links of messages.
    pub url: Option<String>,
    pub channels: Channels,
}

/// Reads `[network]`; `aws` says whether the configuration is for production.
pub(super) fn network(f: &mut Option<Fields<'_>>, found: &mut Findings) -> Option<Vec<Network>> {
    let Some(at) = get(f, found, "allow_private", ALLOW) else { return Some(Vec::new()) };
    let items = at.list(found)?;
    if NETWORKS_MAX < items.len() {
        found.error(&at.key, format!("{} networks, at most {NETWORKS_MAX} can be named", items.len()), ALLOW);
    }
    let networks: Vec<_> = items.iter().filter_map(|at| at.parse::<Network>(found)).collect();
    (networks.len() == items.len()).then_some(networks)
}

/// What may be connected to.
pub(super) fn egress(allow: Vec<Network>, aws: &Aws) -> Egress {
    Egress { loopback: !aws.production, allow }
}

/// Reads `[notify]`.
pub(super) fn read(f: &mut Option<Fields<'_>>, found: &mut Findings) -> Option<Notify> {
    let url = get(f, found, "url", URL);
    let topics = get(f, found, "topics", "topics = false").map_or(Some(true), |at| at.boolean(found));
    let channels = get(f, found, "channels", CHANNELS);
    let url = match url {
        Some(at) => Some(own_url(&at, found)?),
        None => None,
    };
    let topics = topics?;
    let Some(channels) = channels else {
        return Some(Notify { url, channels: Channels { topics, ..Channels::default() } });
    };
    let items = channels.list(found)?;
    if CHANNELS_MAX < items.len() {
        found.error(&channels.key, format!("{} channels, at most {CHANNELS_MAX} can be named", items.len()), CHANNELS);
    }
    let mut names = BTreeSet::new();
    let mut read = Vec::new();
    for at in &items {
        let Some(channel) = one(at, found) else { continue };
        if !names.insert(channel.name.clone()) {
            found.error(&format!("{}.name", at.key), format!("`{}` stands here twice", channel.name), CHANNELS);
        }
        read.push(channel);
    }
    (read.len() == items.len()).then_some(Notify { url, channels: Channels { configured: read, topics } })
}

fn own_url(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    let is_url = Form::read(text).is_ok() && !text.contains(['?', '#', ' ']);
    if !is_url {
        found.error(&at.key, "expected a URL such as https://failoverd.example.com", at.example);
        return None;
    }
    Some(text.trim_end_matches('/').to_owned())
}

fn one(at: &At<'_>, found: &mut Findings) -> Option<Channel> {
    let mut f = at.fields(found)?;
    let name = f.need(found, "name", "name = \"oncall\"").and_then(|at| at.parse::<ChannelName>(found));
    if let Some(name) = &name
        && name.as_str().starts_with("topic-")
    {
        let problem = "names that begin with `topic-` are those of applications' own topics";
        found.error(&format!("{}.name", at.key), problem, "name = \"oncall\"");
    }
    let kind = f.need(found, "kind", "kind = \"slack\"");
    let takes = f.get(found, "events", "events = [\"page\", \"ticket\"]");
    let applications = f.get(found, "applications", "applications = [\"payments\"]");
    let via = kind.and_then(|kind| via(&kind, &mut f, found));
    let takes = match takes {
        Some(at) => severities(&at, found),
        None => Some([Severity::Page, Severity::Ticket].into()),
    };
    let applications = match applications {
        Some(at) => Some(Some(names(&at, found)?)),
        None => Some(None),
    };
    f.finish(found);
    Some(Channel { name: name?, via: via?, takes: takes?, applications: applications? })
}

fn via(kind: &At<'_>, f: &mut Fields<'_>, found: &mut Findings) -> Option<Via> {
    match kind.text(found)? {
        "sns" => {
            let arn = f.need(found, "arn", "arn = \"arn:aws:sns:us-west-2:123456789012:oncall\"")?;
            let (text, region) = topic(&arn, found)?;
            Some(Via::Sns { region, arn: text })
        }
        "slack" => Some(Via::Slack { url: f.need(found, "url", SLACK)?.parse(found)? }),
        "pagerduty" => {
            let key = f.need(found, "routing_key", "routing_key = \"env:PAGERDUTY_KEY\"");
            let url = f.get(found, "url", "url = \"https://events.eu.pagerduty.com/v2/enqueue\"");
            let url = url.map_or(Some(PAGERDUTY.to_owned()), |at| target(&at, found));
            Some(Via::PagerDuty { routing_key: key?.parse::<SecretRef>(found)?, url: url? })
        }
        "generic" => {
            let url = f.need(found, "url", "url = \"https://hooks.example.com/failoverd\"");
            let key = f.need(found, "key", "key = \"file:/run/secrets/hook-key\"");
            let (url, key) = (url.and_then(|at| target(&at, found)), key.and_then(|at| at.parse::<SecretRef>(found)));
            Some(Via::Generic { url: url?, key: key? })
        }
        "eventbridge" => {
            let bus = f.need(found, "bus", "bus = \"arn:aws:events:us-west-2:123456789012:event-bus/default\"")?;
            let text = bus.text(found)?;
            let region = match text.split(':').collect::<Vec<_>>()[..] {
                ["arn", partition, "events", region, account, bus]
                    if partition.starts_with("aws") && !account.is_empty() && bus.starts_with("event-bus/") =>
                {
                    region.parse::<Region>().ok()
                }
                _ => None,
            };
            if region.is_none() {
                found.error(&bus.key, "is not the ARN of an event bus", bus.example);
            }
            Some(Via::EventBridge { region: region?, bus: text.to_owned() })
        }
        other => {
            let problem = format!("`{other}` is none of sns, slack, pagerduty, generic, eventbridge");
            found.error(&kind.key, problem, kind.example);
            None
        }
    }
}

/// A topic's ARN and its Region. A FIFO topic orders by group, which a notice has none of.
pub(super) fn topic(at: &At<'_>, found: &mut Findings) -> Option<(String, Region)> {
    let text = at.text(found)?;
    let region = match text.split(':').collect::<Vec<_>>()[..] {
        ["arn", partition, "sns", region, account, name]
            if partition.starts_with("aws") && !account.is_empty() && !name.is_empty() =>
        {
            region.parse::<Region>().ok()
        }
        _ => None,
    };
    if region.is_none() {
        found.error(&at.key, "is not the ARN of an SNS topic", at.example);
    }
    Some((text.to_owned(), region?))
}

/// The URL of a webhook; what its name leads to is looked at when it is connected to.
pub(super) fn target(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    match Form::read(text).and_then(|(form, _)| form.check()) {
        Ok(()) => Some(text.to_owned()),
        Err(unfit) => {
            found.error(&at.key, unfit.to_string(), at.example);
            None
        }
    }
}

fn severities(at: &At<'_>, found: &mut Findings) -> Option<BTreeSet<Severity>> {
    let items = at.list(found)?;
    if items.is_empty() {
        found.error(&at.key, "a channel that is told nothing", at.example);
    }
    let read: Vec<_> = items.iter().filter_map(|at| at.parse::<Severity>(found)).collect();
    (read.len() == items.len() && !read.is_empty()).then(|| read.into_iter().collect())
}

fn names(at: &At<'_>, found: &mut Findings) -> Option<BTreeSet<ApplicationName>> {
    let items = at.list(found)?;
    let read: Vec<_> = items.iter().filter_map(|at| at.parse::<ApplicationName>(found)).collect();
    (read.len() == items.len()).then(|| read.into_iter().collect())
}

/// What must hold between channels, applications and networks.
pub(super) fn check(
    notify: &Notify,
    egress: &Egress,
    applications: &[(String, Application)],
    is_whole: bool,
    found: &mut Findings,
) {
    for (number, channel) in notify.channels.configured.iter().enumerate() {
        let key = format!("notify.channels[{number}]");
        for name in channel.applications.iter().flatten() {
            if is_whole && !applications.iter().any(|(_, app)| app.name == *name) {
                found.error(&format!("{key}.applications"), format!("there is no application `{name}`"), "");
            }
        }
        if let Via::Generic { url, .. } | Via::PagerDuty { url, .. } = &channel.via {
            literal(&format!("{key}.url"), url, egress, found);
        }
    }
    for (key, app) in applications {
        let all = notify.channels.of(app);
        let pagers = channel::independent_pagers(all.values());
        // Without any topic and channel there is a warning of its own.
        if pagers < PAGING_MIN && !(app.topics.is_empty() && notify.channels.configured.is_empty()) {
            let problem = format!(
                "{pagers} channel(s) page for `{}` that do not go out of order together, and a hold should be told on \
                 {PAGING_MIN} or more",
                app.name
            );
            found.warning("config-one-channel", key, problem, CHANNELS);
        }
    }
}

/// A URL with an address in place of a name is judged at once.
pub(super) fn literal(key: &str, url: &str, egress: &Egress, found: &mut Findings) {
    let Ok((form, host)) = Form::read(url) else { return };
    let Ok(address) = host.parse::<IpAddr>() else { return };
    if let Err(refused) = egress.check(address) {
        found.error(key, refused.to_string(), ALLOW);
    } else if !form.https && !egress.may_be_clear(address) {
        found.error(key, crate::domain::egress::Unfit::InTheClear.to_string(), ALLOW);
    }
}

#[cfg(test)]
mod tests;
