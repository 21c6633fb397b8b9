//! For what a call to the cloud is made, told beside the call and not in it.
//!
//! Invariant: nothing is decided by it. It is there for those who are told how calls ended ([`super::Observer::traced`]); a call
//! that is made outside, or on another task, is on nobody's behalf and goes the same way.

use crate::domain::trace::Behalf;

tokio::task_local! {
    static BEHALF: Behalf;
}

/// Does `calling`, whose calls are made for `behalf`.
pub async fn on_behalf<T>(behalf: Behalf, calling: impl Future<Output = T>) -> T {
    BEHALF.scope(behalf, calling).await
}

/// For what the call is made that is under way on this task.
pub fn behalf() -> Option<Behalf> {
    BEHALF.try_with(Clone::clone).ok()
}
