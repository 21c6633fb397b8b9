//! Whether the table answers at all: what an offline failover asks before it believes that the table is lost.
//!
//! Invariant: any definite word of the table, a refusal too, is an answer. Only silence, and what passes (a 5xx, a
//! timeout, a connection that breaks), over several attempts, is none.

use std::{sync::Arc, time::Duration};

use aws_config::SdkConfig;

use super::{
    DynamoStore, Options,
    call::{self, Calls, Draw, Failure},
    item,
};
use crate::{domain::id::ApplicationName, ports::Clock};

/// For how long it is asked again and again.
const WITHIN: Duration = Duration::from_secs(8);

/// What became of the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answers {
    /// It answers; the lease of the application that was asked for: its version, and whether somebody holds it.
    Lease { version: Option<u64>, held: bool },
    /// It answers, and says no.
    Refuses(String),
    /// It does not answer.
    Silent(String),
}

impl DynamoStore {
    /// Asks the table of `options` for the lease of `application`, strongly consistent.
    pub async fn answers(
        sdk: &SdkConfig,
        clock: Arc<dyn Clock>,
        draw: Draw,
        options: &Options,
        application: &ApplicationName,
    ) -> Answers {
        let calls = Calls::new(sdk, &options.region, clock, draw, options.request_timeout());
        let get = || async {
            let get = calls.leases.get_item().table_name(&options.table).consistent_read(true);
            let got = get.set_key(Some(item::lease_key(application))).send().await;
            got.map(|out| out.item).map_err(|e| call::failure(&e))
        };
        match calls.within(WITHIN, get).await {
            Ok(None) => Answers::Lease { version: None, held: false },
            Ok(Some(found)) => match item::lease_of(&found) {
                Ok(lease) => Answers::Lease { version: Some(lease.version), held: !lease.released },
                Err(reason) => Answers::Refuses(reason),
            },
            Err(failure @ (Failure::Refused { .. } | Failure::Condition)) => Answers::Refuses(failure.to_string()),
            // Throttled, it is there.
            Err(Failure::Passing { reason }) if reason.starts_with("HTTP 4") => Answers::Refuses(reason),
            Err(Failure::Passing { reason }) => Answers::Silent(reason),
        }
    }
}
