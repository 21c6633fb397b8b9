//! What people were told, in memory: that of one test, shared by its replicas.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;

use crate::{
    domain::id::ApplicationName,
    ports::{
        Outboxes,
        outboxes::{Page, PutError, ReadFailed},
    },
};

/// See the module; clones share what is stored.
#[derive(Debug, Clone, Default)]
pub struct MemoryOutboxes(Arc<Mutex<BTreeMap<ApplicationName, Page>>>);

#[async_trait]
impl Outboxes for MemoryOutboxes {
    async fn page(&self, application: &ApplicationName) -> Result<Option<Page>, ReadFailed> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(application).cloned())
    }

    async fn put(&self, application: &ApplicationName, page: &Page) -> Result<(), PutError> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.get(application).cloned();
        if found.as_ref() == Some(page) {
            return Ok(());
        }
        if found.as_ref().map_or(0, |found| found.version) + 1 != page.version {
            return Err(PutError::Lost { application: application.clone(), found: found.map(Box::new) });
        }
        all.insert(application.clone(), page.clone());
        Ok(())
    }
}
