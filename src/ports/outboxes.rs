//! Where it is kept what people were told of each application.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::domain::id::ApplicationName;

/// What is kept of one application: a text and how often it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// 1, 2, 3 …
    pub version: u64,
    pub text: String,
}

/// Why a page was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// It does not have the version that was expected: this is what is there instead. Nothing was written.
    #[error("another replica has written what was told of `{application}`")]
    Lost { application: ApplicationName, found: Option<Box<Page>> },
    /// Whether it was written is unknown. The same write may be tried again, and then says so of itself.
    #[error("what was told could not be written down: {reason}")]
    Failed { reason: String },
}

/// Why a page could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("what was told could not be read: {reason}")]
pub struct ReadFailed {
    pub reason: String,
}

/// Crash semantics: a write is wholly there or wholly not, and durable before `Ok` is answered. The same write again, after
/// a lost answer, is answered `Ok`: a page is the same where version and text are. What is lost here is told twice, and
/// is never missed: it is made of the journal, which is the authority.
#[async_trait]
pub trait Outboxes: Send + Sync + Debug {
    /// The page of `application`, not older than any write that was answered before.
    async fn page(&self, application: &ApplicationName) -> Result<Option<Page>, ReadFailed>;

    /// Writes `page` where the stored one has the version before it (none, for version 1).
    async fn put(&self, application: &ApplicationName, page: &Page) -> Result<(), PutError>;
}
