//! From where the request came that is being answered: known to the API, recorded by the scribe.
//!
//! It goes with the task and not through every signature between the two: nothing in the engine may decide by it, and
//! what the engine does by itself has none. A task that a request begins takes it along ([`carried`]).
//!
//! It deliberately does not say who asks: that is an argument, and is decided upon.

use crate::{
    domain::{
        access::{Origin, called_from},
        journal::Event,
    },
    engine::control::Refusal,
};

tokio::task_local! {
    static ORIGIN: Origin;
}

/// Answers a request that came from `origin`.
pub async fn within<F: Future>(origin: Origin, answering: F) -> F::Output {
    ORIGIN.scope(origin, answering).await
}

/// `work` with the origin of the task that this is called in, wherever it is done.
fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let origin = ORIGIN.try_with(Clone::clone).ok();
    async move {
        match origin {
            Some(origin) => within(origin, work).await,
            None => work.await,
        }
    }
}

/// What is to be recorded beside `events`.
pub(super) fn of(events: &[Event]) -> Option<Event> {
    ORIGIN.try_with(|origin| called_from(events, origin)).ok().flatten()
}

/// Does `work` to its end, whether or not the caller waits for it.
pub(super) async fn joined<T: Send + 'static>(
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::spawn(carried(work)).await.unwrap_or(Err(Refusal::Stopping))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::Proof;

    #[tokio::test]
    async fn an_origin_goes_with_the_work_that_its_request_begins_and_no_further() {
        let origin = Origin { address: None, request_id: "r-7".to_owned(), proof: Proof::Token };
        let known = || ORIGIN.try_with(|origin| origin.request_id.clone()).ok();
        let inside = within(origin, async {
            let carried = tokio::spawn(carried(async move { known() })).await.expect("joins");
            let left = tokio::spawn(async move { known() }).await.expect("joins");
            (carried, left)
        });
        assert_eq!(inside.await, (Some("r-7".to_owned()), None));
        assert_eq!(known(), None);
    }
}
