//! What an auditor is given of runs, made of the journal when it is asked for.
//!
//! Invariant: the journal is read and verified from its beginning, once for all the runs that are asked for together.

use crate::{
    domain::{
        application::Application,
        evidence::{Evidence, NoEvidence},
        id::{Digest, RunId},
    },
    engine::{control::Refusal, recover},
    ports::JournalStore,
};

/// Of each of `runs`, which are all of `application`, in their order.
///
/// # Errors
/// Where the journal cannot be read, or holds one of them not, or not as a run.
pub(super) async fn of(
    store: &dyn JournalStore,
    application: &Application,
    runs: &[RunId],
    config_digest: &Digest,
) -> Result<Vec<Evidence>, Refusal> {
    let journal = recover::sealed(store, &application.name).await;
    let journal = journal.map_err(|e| Refusal::Held(e.to_string()))?;
    let program = concat!("failoverd ", env!("CARGO_PKG_VERSION"));
    let of = |run| Evidence::of(&journal, run, application.objectives, config_digest.clone(), program);
    let made = runs.iter().map(of).collect::<Result<Vec<_>, _>>();
    made.map_err(|why| match why {
        NoEvidence::Unknown(run) => Refusal::UnknownRun(run),
        NoEvidence::Unreadable { .. } => Refusal::Held(why.to_string()),
    })
}

/// The one that was asked for; `unknown` where there is none.
///
/// # Errors
/// Why it could not be made.
pub(super) fn only(
    made: Result<Vec<Evidence>, Refusal>,
    unknown: impl FnOnce() -> Refusal,
) -> Result<Evidence, Refusal> {
    match made.map(|mut all| all.pop()) {
        Ok(Some(evidence)) => Ok(evidence),
        Ok(None) | Err(Refusal::UnknownRun(_) | Refusal::UnknownApplication(_)) => Err(unknown()),
        Err(refusal) => Err(refusal),
    }
}
