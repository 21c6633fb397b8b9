//! Telling people over one channel.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::domain::{channel::Channel, notice::Notice, outbox::Sent};

/// Crash semantics: a message whose answer is lost may have arrived, and is sent again with the same id. Who is called
/// may take as long as it likes: who calls does not wait for longer than it wants to.
#[async_trait]
pub trait Messenger: Send + Sync + Debug {
    /// Sends `notice` once. Nothing that is returned holds a secret of the channel.
    async fn send(&self, channel: &Channel, notice: &Notice) -> Sent;
}
