//! Copies of a table in two other Regions, strongly consistent with it: asked for once, while it is empty, and waited for.
//!
//! Invariants: a table is in exactly three Regions then, of which one may only be a witness, which decides and stores
//! nothing (AWS.md 5); a table that has records, or other copies, is left as it is; what does not come about is an error,
//! never a table in fewer Regions that is called ready.
//!
//! Deliberately not here: which Regions AWS offers together (it refuses the others itself), and taking a copy away again.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_dynamodb::{
    operation::update_table::UpdateTableError,
    types::{
        AttributeValue, CreateGlobalTableWitnessGroupMemberAction, CreateReplicationGroupMemberAction,
        GlobalTableWitnessGroupUpdate, MultiRegionConsistency, ReplicationGroupUpdate, TableDescription, TableStatus,
    },
};

use super::{
    Options,
    call::{self, Calls},
    item,
    table::{self, Look, Mark, Verified},
};
use crate::{adapters::store::OpenError, domain::id::Region};

/// How long the copies of an empty table may take; minutes are usual [INF].
const COPIED_WITHIN: Duration = Duration::from_mins(30);
const POLL: Duration = Duration::from_secs(5);

/// Statuses of a copy that never become `ACTIVE` by themselves [bc:dynamodb].
const STUCK: [&str; 5] = [
    "CREATION_FAILED",
    "DELETING",
    "INACCESSIBLE_ENCRYPTION_CREDENTIALS",
    "REGION_DISABLED",
    "REPLICATION_NOT_AUTHORIZED",
];

/// The two other Regions of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copies {
    replicas: Vec<Region>,
    witness: Option<Region>,
}

impl Copies {
    /// Of a table in `own`; `None` where neither is named.
    ///
    /// # Errors
    /// Where they are not two Regions beside `own`, one of them a copy at least.
    pub fn new(own: &Region, replicas: Vec<Region>, witness: Option<Region>) -> Result<Option<Self>, String> {
        let all: Vec<&Region> = replicas.iter().chain(&witness).collect();
        if all.is_empty() {
            return Ok(None);
        }
        let example =
            "for example: --replica us-east-2 --replica us-east-1, or --replica us-east-2 --witness us-east-1";
        if let Some(twice) = all.iter().enumerate().find(|(n, r)| all[..*n].contains(r)).map(|(_, r)| r) {
            return Err(format!("{twice} is named twice; {example}"));
        }
        if all.contains(&own) {
            return Err(format!("the table itself is in {own}: name two other Regions; {example}"));
        }
        if all.len() != 2 || replicas.is_empty() {
            return Err(format!(
                "a strongly consistent table is in exactly three Regions: beside {own} two others, at most one of them a witness; {example}"
            ));
        }
        Ok(Some(Self { replicas, witness }))
    }

    /// What each of them should be, by Region.
    fn wanted(&self) -> BTreeMap<String, &'static str> {
        let replicas = self.replicas.iter().map(|r| (r.to_string(), "copy"));
        replicas.chain(self.witness.iter().map(|r| (r.to_string(), "witness"))).collect()
    }
}

/// What the table has beside itself, by Region: what it is, and its status.
fn there(table: &TableDescription, own: &Region) -> BTreeMap<String, (&'static str, String)> {
    let status = |told: Option<&str>| told.unwrap_or("not told").to_owned();
    let replicas = table
        .replicas()
        .iter()
        .filter_map(|r| Some((r.region_name()?.to_owned(), ("copy", status(r.replica_status().map(|s| s.as_str()))))));
    let witnesses = table.global_table_witnesses().iter().filter_map(|w| {
        Some((w.region_name()?.to_owned(), ("witness", status(w.witness_status().map(|s| s.as_str())))))
    });
    replicas.chain(witnesses).filter(|(region, _)| region != own.as_str()).collect()
}

/// Asks for `copies` of the table of `options`, where it has none, and waits until all are there; `tell` hears how far
/// that is, whenever it changes.
pub(super) async fn spread(
    calls: &Calls,
    options: &Options,
    copies: &Copies,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Verified, OpenError> {
    let look = Look::new(calls, options);
    let missing = || OpenError::TableMissing { table: options.table.clone(), region: options.region.clone() };
    let described = look.describe().await?.ok_or_else(missing)?;
    look.shape(&described)?;
    let wanted = copies.wanted();
    let found = there(&described, &options.region);
    if found.is_empty() {
        is_empty(&look).await?;
        ask(&look, copies).await?;
    } else if found.iter().map(|(region, (what, _))| (region.clone(), *what)).ne(wanted.clone()) {
        return Err(
            look.foreign(format!("it has copies already, and not those that were asked for: {}", words(&found)))
        );
    }
    let end = calls.boot() + COPIED_WITHIN;
    let mut told = String::new();
    loop {
        let described = look.describe().await?.ok_or_else(missing)?;
        let found = there(&described, &options.region);
        let now = words(&found);
        if now != told {
            tell(&now);
            told.clone_from(&now);
        }
        if found.values().any(|(_, status)| STUCK.contains(&status.as_str())) {
            return Err(look.unavailable(format!("its copies do not come about: {now}")));
        }
        let is_strong = described.multi_region_consistency == Some(MultiRegionConsistency::Strong);
        let is_there = found.iter().map(|(region, (what, _))| (region.clone(), *what)).eq(wanted.clone())
            && found.values().all(|(_, status)| status == "ACTIVE");
        if is_there && is_strong && described.table_status == Some(TableStatus::Active) {
            return table::verify(calls, options, Mark::Look).await;
        }
        if end < calls.boot() {
            let minutes = COPIED_WITHIN.as_secs() / 60;
            return Err(look.unavailable(format!("its copies are not there after {minutes} min: {now}")));
        }
        calls.sleep(POLL).await;
    }
}

fn words(found: &BTreeMap<String, (&'static str, String)>) -> String {
    if found.is_empty() {
        return "no copies yet".to_owned();
    }
    let each = found.iter().map(|(region, (what, status))| format!("{what} in {region}: {status}"));
    each.collect::<Vec<_>>().join(", ")
}

/// Refused where a daemon has used the table: AWS takes an empty one only, and would say so less plainly.
async fn is_empty(look: &Look<'_>) -> Result<(), OpenError> {
    for pk in [item::TABLE, item::JOURNALS] {
        let query = || async {
            let query = look.calls.journals.query().table_name(&look.options.table).consistent_read(true).limit(1);
            let query = query
                .key_condition_expression("pk = :pk")
                .expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()));
            query.send().await.map(|out| out.items.unwrap_or_default()).map_err(|e| call::failure(&e))
        };
        let found = look.calls.within(table::LOOK_WITHIN, query).await.map_err(|e| look.unavailable(e))?;
        if !found.is_empty() {
            return Err(look.foreign(
                "a daemon has used it already, and only an empty table gets strongly consistent copies: make another one"
                    .to_owned(),
            ));
        }
    }
    Ok(())
}

async fn ask(look: &Look<'_>, copies: &Copies) -> Result<(), OpenError> {
    let mut updates = Vec::new();
    for region in &copies.replicas {
        let create = CreateReplicationGroupMemberAction::builder().region_name(region.as_str());
        let create = create.build().map_err(|e| look.unavailable(e))?;
        updates.push(ReplicationGroupUpdate::builder().create(create).build());
    }
    let mut witnesses = Vec::new();
    if let Some(region) = &copies.witness {
        let create = CreateGlobalTableWitnessGroupMemberAction::builder().region_name(region.as_str());
        let create = create.build().map_err(|e| look.unavailable(e))?;
        witnesses.push(GlobalTableWitnessGroupUpdate::builder().create(create).build());
    }
    let update = || async {
        let update = look.calls.journals.update_table().table_name(&look.options.table);
        let update = update
            .multi_region_consistency(MultiRegionConsistency::Strong)
            .set_replica_updates(Some(updates.clone()))
            .set_global_table_witness_updates((!witnesses.is_empty()).then(|| witnesses.clone()));
        match update.send().await {
            Ok(_) => Ok(()),
            // It is being changed: our own request, whose answer was lost. What comes of it is looked at.
            Err(e) if e.as_service_error().is_some_and(UpdateTableError::is_resource_in_use_exception) => Ok(()),
            Err(e) => Err(call::failure(&e)),
        }
    };
    look.calls.within(table::LOOK_WITHIN, update).await.map_err(|e| look.unavailable(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> Region {
        name.parse().expect("a Region")
    }

    fn copies(replicas: &[&str], witness: Option<&str>) -> Result<Option<Copies>, String> {
        Copies::new(&region("us-west-2"), replicas.iter().map(|r| region(r)).collect(), witness.map(region))
    }

    #[test]
    fn a_strongly_consistent_table_is_in_three_regions_or_in_one() {
        assert_eq!(copies(&[], None), Ok(None));
        assert!(copies(&["us-east-1", "us-east-2"], None).is_ok_and(|c| c.is_some()));
        assert!(copies(&["us-east-2"], Some("us-east-1")).is_ok_and(|c| c.is_some()));
        for (replicas, witness, why) in [
            (&["us-east-2"][..], None, "exactly three Regions"),
            (&[], Some("us-east-2"), "exactly three Regions"),
            (&["us-east-1", "us-east-2"], Some("eu-west-1"), "exactly three Regions"),
            (&["us-east-1", "us-east-1"], None, "us-east-1 is named twice"),
            (&["us-east-1", "us-west-2"], None, "the table itself is in us-west-2"),
            (&["us-east-1"], Some("us-west-2"), "the table itself is in us-west-2"),
        ] {
            let refused = copies(replicas, witness).expect_err(why);
            assert!(refused.contains(why) && refused.contains("--replica us-east-2"), "{refused}");
        }
    }
}
