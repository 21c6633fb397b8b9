//! Leases in memory: those of one rehearsal, shared by its replicas.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;

use crate::{
    domain::{id::ApplicationName, lease::Lease},
    ports::{
        Leases,
        lease::{PutError, ReadFailed},
    },
};

/// See the module; clones share what is stored.
#[derive(Debug, Clone, Default)]
pub struct MemoryLeases(Arc<Mutex<BTreeMap<ApplicationName, Lease>>>);

impl MemoryLeases {
    /// The lease as it is stored.
    pub fn newest(&self, application: &ApplicationName) -> Option<Lease> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(application).cloned()
    }
}

#[async_trait]
impl Leases for MemoryLeases {
    async fn lease(&self, application: &ApplicationName) -> Result<Option<Lease>, ReadFailed> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(application).cloned())
    }

    async fn put(&self, application: &ApplicationName, lease: &Lease, over: Option<u64>) -> Result<(), PutError> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.get(application);
        let is_again = found.is_some_and(|f| f.version == lease.version && f.holder == lease.holder);
        if found.map(|f| f.version) != over && !is_again {
            return Err(PutError::Lost { application: application.clone(), found: found.cloned().map(Box::new) });
        }
        all.insert(application.clone(), lease.clone());
        Ok(())
    }
}
