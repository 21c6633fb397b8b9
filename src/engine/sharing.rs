//! How replicas take turns at the applications that they share.
//!
//! Only what is configured: the turns themselves are [`super::lease`].

use std::{sync::Arc, time::Duration};

use crate::{engine::settle::Offline, ports::Leases};

/// How replicas take turns.
#[derive(Debug, Clone)]
pub struct Sharing {
    pub leases: Arc<dyn Leases>,
    /// How long a lease is had without being renewed.
    pub duration: Duration,
    /// How long a call to AWS takes at most; fits in a lease ([`crate::domain::lease::Tenure::room`]).
    pub call_within: Duration,
    /// Where this replica's API is reached by the others and by people.
    pub url: Option<String>,
    /// Where this replica runs.
    pub region: Option<String>,
    /// Where a failover may be run offline: then who leads looks first. `None`: nobody can.
    pub offline: Option<Offline>,
}
