//! SNS of each Region: topics, and what was published to them.
//!
//! Invariant: a message is in [`Sns::delivered`] exactly when `Publish` answered (or would have answered) success,
//! so that an oracle can hold what the daemon says it told people against what was told.
//!
//! Deliberately not modelled: subscriptions and their delivery, FIFO topics (refused), encryption.

use std::collections::BTreeMap;

use super::{ApiFault, Context, SimTime, World};
use crate::domain::id::Region;

/// The account that owns everything in the simulated AWS.
pub const ACCOUNT: &str = "123456789012";
/// Size of a message with its attributes, in bytes. [bc:sns.Publish]
const MESSAGE_BYTES_MAX: usize = 262_144;
/// A subject is shorter than this, in characters. [bc:sns.Publish]
const SUBJECT_CHARS_LIMIT: usize = 100;
/// Entries of a batch. [bc:sns.PublishBatch]
const BATCH_ENTRIES_MAX: usize = 10;
/// Topics per page of `ListTopics`. [bc:sns.ListTopics]
const TOPICS_PER_PAGE: usize = 100;
/// Messages kept for the oracle; a run publishes tens.
const DELIVERED_MAX: usize = 100_000;

/// A message that SNS accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub at: SimTime,
    pub region: Region,
    pub topic_arn: String,
    pub message_id: String,
    pub subject: Option<String>,
    pub body: String,
    /// Name to (data type, value).
    pub attributes: BTreeMap<String, (String, String)>,
}

/// What a `Publish` or one entry of a batch carries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Publication {
    pub subject: Option<String>,
    pub body: String,
    /// `MessageStructure`; `json` asks for a JSON object with a `default`.
    pub structure: Option<String>,
    pub attributes: BTreeMap<String, (String, String)>,
}

impl Publication {
    fn bytes(&self) -> usize {
        let attributes = self.attributes.iter();
        self.body.len() + attributes.map(|(name, (kind, value))| name.len() + kind.len() + value.len()).sum::<usize>()
    }
}

/// An entry's id, and the id of its message or why it was refused.
pub type BatchEntryResult = (String, Result<String, ApiFault>);

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    pub arn: String,
    pub created_at: SimTime,
}

/// SNS of every Region.
#[derive(Debug, Default)]
pub struct Sns {
    topics: BTreeMap<Region, BTreeMap<String, Topic>>,
    /// Everything accepted so far, oldest first.
    pub delivered: Vec<Message>,
    sequence: u64,
}

impl Sns {
    /// `CreateTopic`: the ARN of the topic, which may exist already.
    ///
    /// # Errors
    /// `InvalidParameter` for a name that SNS refuses, and for FIFO topics, which are not simulated.
    pub fn create_topic(&mut self, region: &Region, name: &str, now: SimTime) -> Result<String, ApiFault> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || 256 < name.len() || !name.bytes().all(plain) {
            return Err(invalid("Invalid parameter: Topic Name"));
        }
        let arn = format!("arn:aws:sns:{region}:{ACCOUNT}:{name}");
        let topics = self.topics.entry(region.clone()).or_default();
        topics.entry(arn.clone()).or_insert_with(|| Topic { arn: arn.clone(), created_at: now });
        Ok(arn)
    }

    /// Adds the topic of that ARN, of whatever account. For fixtures.
    ///
    /// # Errors
    /// `InvalidParameter` for an ARN that [`Sns::topic`] would never find.
    pub fn put_topic(&mut self, region: &Region, arn: &str, now: SimTime) -> Result<(), ApiFault> {
        let topics = self.topics.entry(region.clone()).or_default();
        topics.entry(arn.to_owned()).or_insert_with(|| Topic { arn: arn.to_owned(), created_at: now });
        self.topic(region, arn).map(|_| ())
    }

    /// The topic of that ARN, as SNS of `region` sees it.
    ///
    /// # Errors
    /// `InvalidParameter` for an ARN that is malformed or of another Region, `NotFound` for one that does not exist.
    pub fn topic(&self, region: &Region, arn: &str) -> Result<&Topic, ApiFault> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        if parts.len() != 6 || parts[..3] != ["arn", "aws", "sns"] || parts[3] != region.as_str() {
            return Err(invalid("Invalid parameter: TopicArn"));
        }
        let topics = self.topics.get(region);
        topics.and_then(|t| t.get(arn)).ok_or_else(|| ApiFault {
            status: 404,
            code: "NotFound",
            message: "Topic does not exist".to_owned(),
        })
    }

    /// `Publish`: the id of the message.
    ///
    /// # Errors
    /// As [`Sns::topic`], and `InvalidParameter` for a message beyond the limits.
    pub fn publish(
        &mut self,
        region: &Region,
        topic_arn: &str,
        publication: Publication,
        ctx: &mut Context<'_>,
    ) -> Result<String, ApiFault> {
        self.topic(region, topic_arn)?;
        check(&publication)?;
        if MESSAGE_BYTES_MAX < publication.bytes() {
            return Err(invalid("Invalid parameter: Message too long"));
        }
        Ok(self.deliver(region, topic_arn, publication, ctx))
    }

    /// `PublishBatch`: for each entry its id and either the id of its message or why it was refused.
    ///
    /// # Errors
    /// Where the batch as a whole is refused: empty, too many, ids not distinct, too long in sum.
    pub fn publish_batch(
        &mut self,
        region: &Region,
        topic_arn: &str,
        entries: Vec<(String, Publication)>,
        ctx: &mut Context<'_>,
    ) -> Result<Vec<BatchEntryResult>, ApiFault> {
        self.topic(region, topic_arn)?;
        let refuse = |code, message: &str| Err(ApiFault { status: 400, code, message: message.to_owned() });
        if entries.is_empty() {
            return refuse(
                "AWS.SimpleQueueService.EmptyBatchRequest",
                "The batch request doesn't contain any entries.",
            );
        }
        if BATCH_ENTRIES_MAX < entries.len() {
            return refuse("TooManyEntriesInBatchRequest", "The batch request contains more entries than permissible.");
        }
        let ids: std::collections::BTreeSet<&str> = entries.iter().map(|(id, _)| id.as_str()).collect();
        if ids.len() < entries.len() {
            return refuse("BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id.");
        }
        if MESSAGE_BYTES_MAX < entries.iter().map(|(_, p)| p.bytes()).sum() {
            return refuse(
                "BatchRequestTooLong",
                "The length of all the batch messages put together is more than the limit.",
            );
        }
        let results = entries.into_iter().map(|(id, publication)| {
            let result = check(&publication).map(|()| self.deliver(region, topic_arn, publication, ctx));
            (id, result)
        });
        Ok(results.collect())
    }

    /// One page of `ListTopics`, beginning at `token`; and the token of the next.
    pub fn list_topics(&self, region: &Region, token: Option<&str>) -> (Vec<&Topic>, Option<String>) {
        let from = token.and_then(|t| t.parse().ok()).unwrap_or(0);
        let topics = self.topics.get(region);
        let mut page: Vec<&Topic> =
            topics.into_iter().flat_map(BTreeMap::values).skip(from).take(TOPICS_PER_PAGE + 1).collect();
        let more = TOPICS_PER_PAGE < page.len();
        page.truncate(TOPICS_PER_PAGE);
        (page, more.then(|| (from + TOPICS_PER_PAGE).to_string()))
    }

    /// SNS does nothing by itself.
    pub fn next_due(&self) -> Option<SimTime> {
        None
    }

    /// SNS does nothing by itself.
    pub fn run_due(&mut self, _ctx: &mut Context<'_>) {}

    fn deliver(&mut self, region: &Region, topic_arn: &str, publication: Publication, ctx: &mut Context<'_>) -> String {
        self.sequence += 1;
        // In the form of a UUID, but from a counter: equal histories must be equal byte for byte.
        let message_id = format!("51a50000-0000-4000-8000-{:012x}", self.sequence);
        let subject = publication.subject.as_deref().unwrap_or("(no subject)");
        ctx.log.push(super::WorldEvent { at: ctx.now, kind: "sns.published", text: format!("{topic_arn}: {subject}") });
        if DELIVERED_MAX <= self.delivered.len() {
            self.delivered.remove(0);
        }
        self.delivered.push(Message {
            at: ctx.now,
            region: region.clone(),
            topic_arn: topic_arn.to_owned(),
            message_id: message_id.clone(),
            subject: publication.subject,
            body: publication.body,
            attributes: publication.attributes,
        });
        message_id
    }
}

impl World {
    /// Calls SNS as it is now, as an API request does.
    pub fn with_sns<R>(&mut self, call: impl FnOnce(&mut Sns, &mut Context<'_>) -> R) -> R {
        let mut ctx = Context { now: self.now, rng: &mut self.rng, planes: &self.planes, log: &mut self.log };
        call(&mut self.sns, &mut ctx)
    }
}

fn check(publication: &Publication) -> Result<(), ApiFault> {
    if publication.body.is_empty() {
        return Err(invalid("Invalid parameter: Empty message"));
    }
    if let Some(subject) = &publication.subject {
        // SNS itself asks for ASCII that begins with a letter, digit or mark, and has no line break. [bc:sns.Publish]
        let printable = subject.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
        if subject.is_empty()
            || SUBJECT_CHARS_LIMIT < subject.chars().count() + 1
            || !printable
            || subject.starts_with(' ')
        {
            return Err(invalid("Invalid parameter: Subject"));
        }
    }
    if publication.structure.as_deref() == Some("json") {
        let parsed: Option<serde_json::Value> = serde_json::from_str(&publication.body).ok();
        if !parsed.is_some_and(|v| v.get("default").is_some_and(serde_json::Value::is_string)) {
            return Err(invalid("Invalid parameter: Message Structure - No default entry in JSON message body"));
        }
    }
    Ok(())
}

fn invalid(message: &str) -> ApiFault {
    ApiFault { status: 400, code: "InvalidParameter", message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng as _};

    use super::*;
    use crate::sim::world::Planes;

    fn region(name: &str) -> Region {
        name.parse().expect("valid")
    }

    fn publish(sns: &mut Sns, in_region: &str, arn: &str, p: Publication) -> Result<String, &'static str> {
        let mut ctx = Context {
            now: SimTime(1),
            rng: &mut ChaCha12Rng::seed_from_u64(1),
            planes: &Planes::default(),
            log: &mut Vec::new(),
        };
        sns.publish(&region(in_region), arn, p, &mut ctx).map_err(|e| e.code)
    }

    fn says(body: &str) -> Publication {
        Publication { body: body.to_owned(), ..Publication::default() }
    }

    #[test]
    fn a_topic_is_known_only_in_its_own_region() {
        let mut sns = Sns::default();
        let arn = sns.create_topic(&region("us-west-2"), "ops", SimTime(0)).expect("valid");
        assert!(publish(&mut sns, "us-west-2", &arn, says("hello")).is_ok());
        let elsewhere = publish(&mut sns, "us-east-1", &arn, says("hello"));
        assert_eq!(elsewhere, Err("InvalidParameter"));
        let unknown = publish(&mut sns, "us-west-2", &format!("{arn}2"), says("hello"));
        assert_eq!(unknown, Err("NotFound"));
        assert_eq!(sns.delivered.len(), 1);
    }

    #[test]
    fn messages_beyond_the_limits_are_refused() {
        let mut sns = Sns::default();
        let arn = sns.create_topic(&region("us-west-2"), "ops", SimTime(0)).expect("valid");
        let subject = |s: &str| Publication { subject: Some(s.to_owned()), ..says("x") };
        let long = "x".repeat(99);
        assert!(publish(&mut sns, "us-west-2", &arn, subject(&long)).is_ok());
        for bad in
            [subject(&"x".repeat(100)), subject("two\nlines"), says(""), says(&"x".repeat(MESSAGE_BYTES_MAX + 1))]
        {
            let refused = publish(&mut sns, "us-west-2", &arn, bad);
            assert_eq!(refused, Err("InvalidParameter"));
        }
        assert!(publish(&mut sns, "us-west-2", &arn, says(&"x".repeat(MESSAGE_BYTES_MAX))).is_ok());
    }
}
