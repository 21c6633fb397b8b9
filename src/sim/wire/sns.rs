//! SNS over the Query protocol: topics and publishing; everything else is refused by name.

use std::collections::{BTreeMap, HashMap};

use winterbaume_core::MockResponse;
use winterbaume_sns::wire as generated;

use super::encode::{Protocol, Tree, answer, error};
use crate::{
    domain::id::Region,
    sim::world::{ApiFault, World, sns::Publication},
};

type Params = HashMap<String, String>;

/// Answers one call in `region`.
pub(super) fn handle(world: &mut World, region: &Region, operation: &str, params: &Params) -> MockResponse {
    let result = match operation {
        "Publish" => publish(world, region, params),
        "PublishBatch" => publish_batch(world, region, params),
        "CreateTopic" => create_topic(world, region, params),
        "ListTopics" => list_topics(world, region, params),
        "GetTopicAttributes" => topic_attributes(world, region, params),
        _ => Err(super::not_simulated("sns", operation)),
    };
    match result {
        Ok(tree) => answer(Protocol::Query, "sns", operation, Some(&tree)),
        Err(fault) => error(Protocol::Query, "sns", &fault),
    }
}

fn malformed(message: String) -> ApiFault {
    ApiFault { status: 400, code: "InvalidParameter", message }
}

fn publish(world: &mut World, region: &Region, params: &Params) -> Result<Tree, ApiFault> {
    let input = generated::deserialize_publish_request(params).map_err(malformed)?;
    let arn = input.topic_arn.or(input.target_arn).ok_or_else(|| {
        malformed("Invalid parameter: TopicArn or TargetArn Reason: no value for required parameter".to_owned())
    })?;
    let publication = Publication {
        subject: input.subject,
        body: input.message,
        structure: input.message_structure,
        attributes: attributes(params, "MessageAttributes"),
    };
    let id = world.with_sns(|sns, ctx| sns.publish(region, &arn, publication, ctx))?;
    Ok(Tree::Map(vec![("MessageId", Tree::Text(id))]))
}

fn publish_batch(world: &mut World, region: &Region, params: &Params) -> Result<Tree, ApiFault> {
    let input = generated::deserialize_publish_batch_request(params).map_err(malformed)?;
    let entries = input.publish_batch_request_entries.items.into_iter();
    let entries = (1..).zip(entries).map(|(i, entry)| {
        let prefix = format!("PublishBatchRequestEntries.member.{i}.MessageAttributes");
        let publication = Publication {
            subject: entry.subject,
            body: entry.message,
            structure: entry.message_structure,
            attributes: attributes(params, &prefix),
        };
        (entry.id, publication)
    });
    let entries: Vec<_> = entries.collect();
    let results = world.with_sns(|sns, ctx| sns.publish_batch(region, &input.topic_arn, entries, ctx))?;
    let mut successful = Vec::new();
    let mut failed = Vec::new();
    for (id, result) in results {
        match result {
            Ok(message) => successful.push(Tree::Map(vec![("Id", Tree::Text(id)), ("MessageId", Tree::Text(message))])),
            Err(fault) => failed.push(Tree::Map(vec![
                ("Id", Tree::Text(id)),
                ("Code", Tree::text(fault.code)),
                ("Message", Tree::Text(fault.message)),
                ("SenderFault", Tree::Bool(true)),
            ])),
        }
    }
    Ok(Tree::Map(vec![("Successful", Tree::List(successful)), ("Failed", Tree::List(failed))]))
}

fn create_topic(world: &mut World, region: &Region, params: &Params) -> Result<Tree, ApiFault> {
    let input = generated::deserialize_create_topic_request(params).map_err(malformed)?;
    let arn = world.sns.create_topic(region, &input.name, world.now)?;
    Ok(Tree::Map(vec![("TopicArn", Tree::Text(arn))]))
}

fn list_topics(world: &World, region: &Region, params: &Params) -> Result<Tree, ApiFault> {
    let input = generated::deserialize_list_topics_request(params).map_err(malformed)?;
    let (topics, next) = world.sns.list_topics(region, input.next_token.as_deref());
    let topics = topics.into_iter();
    let topics = topics.map(|t| Tree::Map(vec![("TopicArn", Tree::text(t.arn.clone()))]));
    let mut members = vec![("Topics", Tree::List(topics.collect()))];
    members.extend(next.map(|token| ("NextToken", Tree::Text(token))));
    Ok(Tree::Map(members))
}

fn topic_attributes(world: &World, region: &Region, params: &Params) -> Result<Tree, ApiFault> {
    let input = generated::deserialize_get_topic_attributes_request(params).map_err(malformed)?;
    let topic = world.sns.topic(region, &input.topic_arn)?;
    let entries = [
        ("TopicArn", topic.arn.as_str()),
        ("Owner", crate::sim::world::sns::ACCOUNT),
        ("SubscriptionsConfirmed", "0"),
        ("SubscriptionsPending", "0"),
        ("SubscriptionsDeleted", "0"),
    ];
    let entries = entries.map(|(k, v)| (k.to_owned(), Tree::text(v)));
    Ok(Tree::Map(vec![("Attributes", Tree::Entries(entries.into()))]))
}

/// Message attributes, which the generated deserialiser leaves out.
fn attributes(params: &Params, prefix: &str) -> BTreeMap<String, (String, String)> {
    let mut attributes = BTreeMap::new();
    for i in 1.. {
        let get = |member: &str| params.get(&format!("{prefix}.entry.{i}.{member}"));
        let Some(name) = get("Name") else {
            break;
        };
        let kind = get("Value.DataType").cloned().unwrap_or_default();
        let value = get("Value.StringValue").or_else(|| get("Value.BinaryValue"));
        attributes.insert(name.clone(), (kind, value.cloned().unwrap_or_default()));
    }
    attributes
}
