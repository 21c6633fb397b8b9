//! The table itself: whether it is one that journals may be kept in, and how it is made.
//!
//! Invariant: what could make two replicas both believe that they have appended, or a record go, is refused (FAULTS.md 26
//! to 28); what cannot be looked at is unverified, which in production is refused too, unless it is allowed by name.
//! Nothing of a table that is there is changed here.

use std::{collections::BTreeSet, time::Duration};

use aws_sdk_dynamodb::{
    operation::{create_table::CreateTableError, describe_table::DescribeTableError},
    types::{
        AttributeDefinition, AttributeValue, BillingMode, ContinuousBackupsStatus, KeySchemaElement, KeyType,
        MultiRegionConsistency, PointInTimeRecoveryStatus, ScalarAttributeType, TableDescription, TableStatus,
        TimeToLiveStatus,
    },
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::{
    Options,
    call::{self, Calls, Failure},
    item,
};
use crate::adapters::store::OpenError;

/// How long one question about the table is tried for.
pub(super) const LOOK_WITHIN: Duration = Duration::from_secs(10);
/// How long a new table may take; seconds are usual.
const CREATED_WITHIN: Duration = Duration::from_secs(180);
const CREATED_POLL: Duration = Duration::from_secs(1);

/// A table that may be used, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    pub table: String,
    pub region: String,
    /// The Regions that have a copy; the table's own alone, where it is not a global one.
    pub table_regions: BTreeSet<String>,
    pub deletion_protection: Option<bool>,
    pub point_in_time_recovery: Option<bool>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// What [`create`] did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Created {
    /// Whether it was made now; else it was there.
    pub made: bool,
    #[serde(rename = "as_seen")]
    pub verified: Verified,
}

/// What [`adopt`] did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Adopted {
    /// The id that this Region's mark had before, if there was one.
    pub was: Option<String>,
    #[serde(rename = "as_seen")]
    pub verified: Verified,
}

/// Whether the table is marked as the one in which these journals are written, where it is not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Write,
    Look,
    /// It was just made, and may still get copies: that it is in one Region alone is no fault yet.
    Made,
}

pub(super) struct Look<'a> {
    pub(super) calls: &'a Calls,
    pub(super) options: &'a Options,
    warnings: Vec<String>,
    /// Name of the key in `allow_unverified`, and why.
    unverified: Vec<(&'static str, String)>,
}

/// Looks at the whole table.
pub(super) async fn verify(calls: &Calls, options: &Options, mark: Mark) -> Result<Verified, OpenError> {
    let mut look = Look::new(calls, options);
    let Some(described) = look.describe().await? else {
        return Err(OpenError::TableMissing { table: options.table.clone(), region: options.region.clone() });
    };
    look.shape(&described)?;
    let table_regions = look.consistency(&described, mark)?;
    look.expiry().await?;
    let deletion_protection = described.deletion_protection_enabled;
    if deletion_protection != Some(true) {
        look.warnings.push("deletion protection is off: one call could delete every journal".to_owned());
    }
    let point_in_time_recovery = look.backups().await;
    look.identity(&described, &table_regions, mark).await?;
    look.settle()?;
    Ok(Verified {
        table: options.table.clone(),
        region: options.region.to_string(),
        table_regions,
        deletion_protection,
        point_in_time_recovery,
        warnings: look.warnings,
    })
}

impl<'a> Look<'a> {
    pub(super) fn new(calls: &'a Calls, options: &'a Options) -> Self {
        Self { calls, options, warnings: Vec::new(), unverified: Vec::new() }
    }

    pub(super) fn unavailable(&self, reason: impl ToString) -> OpenError {
        let (table, region) = (self.options.table.clone(), self.options.region.clone());
        OpenError::TableUnavailable { table, region, reason: reason.to_string() }
    }

    pub(super) fn foreign(&self, reason: String) -> OpenError {
        OpenError::TableForeign { table: self.options.table.clone(), region: self.options.region.clone(), reason }
    }

    pub(super) async fn describe(&self) -> Result<Option<TableDescription>, OpenError> {
        let describe = || async {
            match self.calls.journals.describe_table().table_name(&self.options.table).send().await {
                Ok(out) => Ok(out.table),
                Err(e) if e.as_service_error().is_some_and(DescribeTableError::is_resource_not_found_exception) => {
                    Ok(None)
                }
                Err(e) => Err(call::failure(&e)),
            }
        };
        self.calls.within(LOOK_WITHIN, describe).await.map_err(|e| self.unavailable(e))
    }

    /// Whether it is ready, and has the keys of [`item`].
    pub(super) fn shape(&self, table: &TableDescription) -> Result<(), OpenError> {
        match &table.table_status {
            Some(TableStatus::Active | TableStatus::Updating) => {}
            status => {
                let status = status.as_ref().map_or("not told", |s| s.as_str());
                return Err(self.unavailable(format!("its status is {status}, not ACTIVE")));
            }
        }
        let keys: BTreeSet<(&str, &str)> =
            table.key_schema().iter().map(|k| (k.attribute_name(), k.key_type().as_str())).collect();
        let of_type = |name: &str| {
            let all = table.attribute_definitions().iter();
            all.filter(|a| a.attribute_name() == name).all(|a| *a.attribute_type() == ScalarAttributeType::S)
        };
        if keys != BTreeSet::from([("pk", "HASH"), ("sk", "RANGE")]) || !of_type("pk") || !of_type("sk") {
            return Err(self.foreign("its keys are not `pk` (text) and `sk` (text)".to_owned()));
        }
        if !table.local_secondary_indexes().is_empty() {
            return Err(self.foreign("it has local secondary indexes, which no store of failoverd has".to_owned()));
        }
        Ok(())
    }

    /// The Regions that have a copy. Refused where a condition would be judged by one of several copies.
    fn consistency(&mut self, table: &TableDescription, mark: Mark) -> Result<BTreeSet<String>, OpenError> {
        let own = self.options.region.to_string();
        let mut regions: BTreeSet<String> =
            table.replicas().iter().filter_map(|r| r.region_name().map(str::to_owned)).collect();
        let is_global = !table.replicas().is_empty() || table.global_table_version().is_some_and(|v| !v.is_empty());
        regions.insert(own);
        let strong = table.multi_region_consistency == Some(MultiRegionConsistency::Strong);
        if (is_global || 1 < regions.len()) && !strong {
            let found = table.multi_region_consistency.as_ref().map_or("not told", |c| c.as_str()).to_owned();
            let regions = regions.into_iter().collect();
            return Err(OpenError::TableNotStrong { table: self.options.table.clone(), regions, found });
        }
        if regions.len() == 1 && self.options.primary_regions.contains(&self.options.region) {
            let (table, region) = (self.options.table.clone(), self.options.region.clone());
            let refused = OpenError::TableInPrimary { table, region };
            if mark != Mark::Made {
                return Err(refused);
            }
            self.warnings.push(format!("no daemon starts over it as it is: {refused}"));
        }
        Ok(regions)
    }

    /// Refused where items go by themselves.
    async fn expiry(&mut self) -> Result<(), OpenError> {
        let describe = || async {
            let asked = self.calls.journals.describe_time_to_live().table_name(&self.options.table).send().await;
            asked.map(|out| out.time_to_live_description).map_err(|e| call::failure(&e))
        };
        let status = match self.calls.within(LOOK_WITHIN, describe).await {
            Ok(description) => description.and_then(|d| d.time_to_live_status),
            Err(Failure::Passing { reason }) => return Err(self.unavailable(reason)),
            Err(refused) => {
                self.unverified.push(("ttl", format!("whether items expire (dynamodb:DescribeTimeToLive: {refused})")));
                return Ok(());
            }
        };
        match status {
            Some(TimeToLiveStatus::Disabled) => {}
            None => self.unverified.push(("ttl", "whether items expire (not told)".to_owned())),
            Some(status) => {
                let (table, region) = (self.options.table.clone(), self.options.region.clone());
                return Err(OpenError::TableExpires { table, region, status: status.as_str().to_owned() });
            }
        }
        Ok(())
    }

    /// Whether it can be restored to a point in time; only advised.
    async fn backups(&mut self) -> Option<bool> {
        let asked = self.calls.journals.describe_continuous_backups().table_name(&self.options.table).send().await;
        let told = asked.ok().and_then(|out| out.continuous_backups_description);
        let recovery = told.as_ref().and_then(|d| d.point_in_time_recovery_description.as_ref());
        let on = match (told.as_ref().map(|d| &d.continuous_backups_status), recovery) {
            (Some(ContinuousBackupsStatus::Disabled), _) => Some(false),
            (_, recovery) => recovery
                .and_then(|r| r.point_in_time_recovery_status.as_ref())
                .map(|status| *status == PointInTimeRecoveryStatus::Enabled),
        };
        match on {
            Some(true) => {}
            Some(false) => self.warnings.push("point-in-time recovery is off".to_owned()),
            None => self.warnings.push("whether point-in-time recovery is on cannot be told".to_owned()),
        }
        on
    }

    /// Whether it is the table in which its journals were written, by the id that AWS gave it: a table that was restored
    /// from a backup has another (FAULTS.md 26).
    async fn identity(
        &mut self,
        described: &TableDescription,
        table_regions: &BTreeSet<String>,
        mark: Mark,
    ) -> Result<(), OpenError> {
        let Some(id) = described.table_id() else {
            self.unverified.push(("identity", "whether it was restored from a backup (no TableId is told)".to_owned()));
            return Ok(());
        };
        let region = self.options.region.as_str();
        if self.marked(id, table_regions).await? || mark != Mark::Write {
            return Ok(());
        }
        let put = || async {
            let put = self.calls.journals.put_item().table_name(&self.options.table);
            let put = put.set_item(Some(item::identity(region, id))).condition_expression("attribute_not_exists(pk)");
            put.send().await.map(|_| ()).map_err(|e| call::failure(&e))
        };
        match self.calls.within(LOOK_WITHIN, put).await {
            Ok(()) => Ok(()),
            // Another replica, or our own write whose answer was lost.
            Err(Failure::Condition) => self.marked(id, table_regions).await.map(|_| ()),
            Err(failure) => Err(self.unavailable(failure)),
        }
    }

    /// Whether this Region's mark is there; refused where a mark says that it is another table.
    async fn marked(&self, id: &str, table_regions: &BTreeSet<String>) -> Result<bool, OpenError> {
        let marks = self.marks().await?;
        let (table, region) = (self.options.table.clone(), self.options.region.clone());
        let corrupted = |reason| OpenError::TableCorrupted { table: table.clone(), region: region.clone(), reason };
        let restored = |reason| OpenError::TableRestored { table: table.clone(), region: region.clone(), reason };
        let mut is_marked = false;
        for mark in &marks {
            let of = item::text_of(mark, "sk").map_err(corrupted)?;
            let (marked, layout) = item::identity_of(mark).map_err(corrupted)?;
            if item::LAYOUT < layout {
                return Err(OpenError::TableNewer { table, region, found: layout });
            }
            if of == self.options.region.as_str() {
                if marked != id {
                    return Err(restored(format!("its id is {id}, and that of the one that was marked is {marked}")));
                }
                is_marked = true;
            } else if !table_regions.contains(of) && marked != item::VOID {
                return Err(restored(format!("it is marked as one that has a copy in {of}, and it has none there")));
            }
        }
        Ok(is_marked)
    }

    async fn marks(&self) -> Result<Vec<item::Item>, OpenError> {
        let query = || async {
            let query = self.calls.journals.query().table_name(&self.options.table).consistent_read(true);
            let query = query
                .key_condition_expression("pk = :pk")
                .expression_attribute_values(":pk", AttributeValue::S(item::TABLE.to_owned()));
            query.send().await.map(|out| out.items.unwrap_or_default()).map_err(|e| call::failure(&e))
        };
        self.calls.within(LOOK_WITHIN, query).await.map_err(|e| self.unavailable(e))
    }

    /// What could not be verified: a warning, or in production refused where it is not allowed by name.
    fn settle(&mut self) -> Result<(), OpenError> {
        let allowed = |name: &str| !self.options.production || self.options.allow_unverified.contains(name);
        let refused: Vec<String> =
            self.unverified.iter().filter(|(n, _)| !allowed(n)).map(|(n, why)| format!("{why} (`{n}`)")).collect();
        if !refused.is_empty() {
            let (table, region) = (self.options.table.clone(), self.options.region.clone());
            return Err(OpenError::TableUnverified { table, region, what: refused });
        }
        self.warnings.extend(self.unverified.drain(..).map(|(_, why)| format!("unverified: {why}")));
        Ok(())
    }
}

/// Makes the table where it is not there, waits until it is ready, and looks at it. It is paid by the request,
/// protected against deletion, encrypted with DynamoDB's own key, and can be restored to a point in time.
pub(super) async fn create(calls: &Calls, options: &Options) -> Result<Created, OpenError> {
    let look = Look::new(calls, options);
    let made = look.describe().await?.is_none() && make(&look).await?;
    let end = calls.boot() + CREATED_WITHIN;
    loop {
        match look.describe().await?.and_then(|t| t.table_status) {
            Some(TableStatus::Active) => break,
            status if end < calls.boot() => {
                let status = status.as_ref().map_or("not there", |s| s.as_str()).to_owned();
                return Err(look.unavailable(format!("it is {status} after {} s", CREATED_WITHIN.as_secs())));
            }
            _ => calls.sleep(CREATED_POLL).await,
        }
    }
    if made {
        recoverable(&look).await;
    }
    // Without a mark: a table that is to be made a global one must be empty.
    Ok(Created { made, verified: verify(calls, options, Mark::Made).await? })
}

/// Whether it was made here; `false` where another was faster.
async fn make(look: &Look<'_>) -> Result<bool, OpenError> {
    let built = |e: aws_sdk_dynamodb::error::BuildError| look.unavailable(e);
    let (mut attributes, mut keys) = (Vec::new(), Vec::new());
    for (name, kind) in [("pk", KeyType::Hash), ("sk", KeyType::Range)] {
        let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
        attributes.push(attribute.build().map_err(built)?);
        keys.push(KeySchemaElement::builder().attribute_name(name).key_type(kind).build().map_err(built)?);
    }
    let create = || async {
        let create = look.calls.journals.create_table().table_name(&look.options.table);
        let create = create
            .set_attribute_definitions(Some(attributes.clone()))
            .set_key_schema(Some(keys.clone()))
            .billing_mode(BillingMode::PayPerRequest)
            .deletion_protection_enabled(true);
        match create.send().await {
            Ok(_) => Ok(true),
            // Another was faster, or it was our own request, whose answer was lost.
            Err(e) if e.as_service_error().is_some_and(CreateTableError::is_resource_in_use_exception) => Ok(false),
            Err(e) => Err(call::failure(&e)),
        }
    };
    look.calls.within(LOOK_WITHIN, create).await.map_err(|e| look.unavailable(e))
}

/// Turns point-in-time recovery on. Where that is refused, [`verify`] says so as a warning.
async fn recoverable(look: &Look<'_>) {
    use aws_sdk_dynamodb::types::PointInTimeRecoverySpecification as Specification;
    let Ok(on) = Specification::builder().point_in_time_recovery_enabled(true).build() else { return };
    let update = || async {
        let update = look.calls.journals.update_continuous_backups().table_name(&look.options.table);
        let asked = update.point_in_time_recovery_specification(on.clone()).send().await;
        asked.map(|_| ()).map_err(|e| match e.as_service_error().and_then(|e| e.code()) {
            // For some seconds after a table was made.
            Some("ContinuousBackupsUnavailableException") => {
                Failure::Passing { reason: "backups are being set up".to_owned() }
            }
            _ => call::failure(&e),
        })
    };
    if let Err(reason) = look.calls.within(LOOK_WITHIN, update).await {
        tracing::warn!(%reason, "point-in-time recovery could not be turned on");
    }
}

/// Overwrites what the marks of another table say: of this Region with the table's id, of Regions that have no copy with
/// [`item::VOID`], since no item is ever deleted.
pub(super) async fn adopt(calls: &Calls, options: &Options) -> Result<Adopted, OpenError> {
    let mut look = Look::new(calls, options);
    let Some(described) = look.describe().await? else {
        return Err(OpenError::TableMissing { table: options.table.clone(), region: options.region.clone() });
    };
    look.shape(&described)?;
    let regions = look.consistency(&described, Mark::Look)?;
    let Some(id) = described.table_id() else {
        return Err(look.unavailable("no TableId is told by which it could be marked"));
    };
    let mut was = None;
    for mark in look.marks().await? {
        let of = item::text_of(&mark, "sk").map_err(|e| look.unavailable(e))?;
        if of == options.region.as_str() {
            was = Some(item::text_of(&mark, "table_id").map_err(|e| look.unavailable(e))?.to_owned());
        } else if !regions.contains(of) {
            overwrite(&look, of, item::VOID).await?;
        }
    }
    overwrite(&look, options.region.as_str(), id).await?;
    Ok(Adopted { was, verified: verify(calls, options, Mark::Look).await? })
}

async fn overwrite(look: &Look<'_>, region: &str, id: &str) -> Result<(), OpenError> {
    let put = || async {
        let put = look.calls.journals.put_item().table_name(&look.options.table);
        put.set_item(Some(item::identity(region, id))).send().await.map(|_| ()).map_err(|e| call::failure(&e))
    };
    look.calls.within(LOOK_WITHIN, put).await.map_err(|e| look.unavailable(e))
}
