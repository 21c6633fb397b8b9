//! The shared store as the configuration has it, and what is done to its table by hand: made, looked at, taken over.

use std::sync::Arc;

use anyhow::Context as _;
use aws_config::SdkConfig;

use super::{all_named, offline::place::Place, options};
use crate::{
    adapters::{
        aws,
        store::{
            DynamoStore, OpenError, SqliteOutboxes, SqliteStore,
            dynamodb::{Adopted, Copies, Created, Draw, Options, Verified},
        },
    },
    config::{Settings, Store},
    engine::Sharing,
    ports::{Clock, JournalStore, Leases, Outboxes},
};

/// What the store of `settings` is opened with; `None` where it is a file.
pub fn shared(settings: &Settings) -> Option<Options> {
    match &settings.store {
        Store::Sqlite { .. } => None,
        Store::DynamoDb { table, region, replica_regions, lease, url: _, allow_unverified } => Some(Options {
            table: table.clone(),
            region: region.clone(),
            replica_regions: replica_regions.clone(),
            primary_regions: settings.applications.iter().filter_map(|app| app.regions.first().cloned()).collect(),
            lease: *lease,
            production: settings.aws.production,
            allow_unverified: allow_unverified.clone(),
        }),
    }
}

/// The journals, what was told of them, and how replicas take turns, where they do.
type Opened = (Arc<dyn JournalStore>, Arc<dyn Outboxes>, Option<Sharing>);

/// The store of `settings`, and how replicas take turns, where they share it.
///
/// # Errors
/// Where it cannot be opened, or is none to keep a journal in.
pub(super) async fn open(settings: &Settings, sdk: &SdkConfig, clock: &Arc<dyn Clock>) -> anyhow::Result<Opened> {
    match &settings.store {
        Store::Sqlite { path } => {
            let store = SqliteStore::open(path).with_context(|| format!("open the journal {}", path.display()))?;
            let outboxes = SqliteOutboxes::beside(store.path());
            Ok((Arc::new(store), Arc::new(outboxes), None))
        }
        Store::DynamoDb { table, region, lease, url, .. } => {
            let options = shared(settings).context("the store is shared")?;
            let opened = DynamoStore::open(sdk, Arc::clone(clock), draw(), &options).await;
            let store = Arc::new(opened.with_context(|| format!("open the table {table} in {region}"))?);
            let sharing = Sharing {
                leases: Arc::clone(&store) as Arc<dyn Leases>,
                duration: *lease,
                call_within: settings.aws.call_timeout,
                url: url.clone(),
                region: Some(region.to_string()),
                offline: settings.offline.as_ref().map(|offline| Place::of(offline).looked_at_by_leaders()),
            };
            Ok((Arc::clone(&store) as Arc<dyn JournalStore>, store, Some(sharing)))
        }
    }
}

/// Random bits for the store's nonces and pauses.
pub fn draw() -> Draw {
    Arc::new(|| uuid::Uuid::now_v7().as_u128())
}

/// Credentials and endpoints as `serve` has them.
///
/// # Errors
/// Where a custom endpoint is set that the configuration does not allow.
pub async fn sdk(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<SdkConfig, aws::EndpointsRefused> {
    let allowed = !settings.aws.production
        || all_named(&aws::custom_endpoints_in_environment(), &settings.aws.allow_custom_endpoints);
    let options = aws::Options { allow_custom_endpoints: allowed, ..options(&settings.aws) };
    aws::load_sdk_config(Arc::clone(clock), &options).await
}

/// What is done to a table by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// With copies in two other Regions, where they are named.
    Create(Option<Copies>),
    Check,
    Adopt,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "did", rename_all = "snake_case")]
pub enum Done {
    Created(Created),
    Checked(Verified),
    Adopted(Adopted),
}

/// Does `deed` to the table of `options`; `tell` hears how far what takes minutes is.
///
/// # Errors
/// As [`DynamoStore::create`], [`DynamoStore::spread`], [`DynamoStore::verify`] and [`DynamoStore::adopt`].
pub async fn act(
    sdk: &SdkConfig,
    clock: Arc<dyn Clock>,
    options: &Options,
    deed: Deed,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Done, OpenError> {
    Ok(match deed {
        Deed::Create(copies) => {
            let mut created = DynamoStore::create(sdk, Arc::clone(&clock), draw(), options).await?;
            if let Some(copies) = copies {
                created.verified = DynamoStore::spread(sdk, clock, draw(), options, &copies, tell).await?;
            }
            Done::Created(created)
        }
        Deed::Check => Done::Checked(DynamoStore::verify(sdk, clock, draw(), options).await?),
        Deed::Adopt => Done::Adopted(DynamoStore::adopt(sdk, clock, draw(), options).await?),
    })
}
