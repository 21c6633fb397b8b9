//! How a lease is put, and kept by its holder until it is lost or given back.
//!
//! Invariant: a write whose answer was lost is repeated as it was, and counts from its first request.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::REPEAT;
use crate::{
    domain::{
        id::ApplicationName,
        lease::{Lease, Tenure},
    },
    engine::{
        seat::{Seat, Standing},
        sharing::Sharing,
        tenancy::Tenancy,
    },
    ports::{Clock, lease::PutError},
};

/// Puts `lease` until it is answered, for as long as it would be of use. Where an answer was lost the same write is
/// repeated, and counts from its first request.
pub(super) async fn put(
    sharing: &Sharing,
    clock: &dyn Clock,
    application: &ApplicationName,
    lease: &Lease,
    over: Option<u64>,
) -> Result<Tenure, PutError> {
    let tenure = Tenure::begun(clock.boot(), lease.duration());
    loop {
        match sharing.leases.put(application, lease, over).await {
            Ok(()) => return Ok(tenure),
            Err(PutError::Failed { .. }) if !tenure.is_over(clock.boot() + REPEAT) => clock.sleep(REPEAT).await,
            Err(error) => return Err(error),
        }
    }
}

/// Keeps a lease.
pub(super) struct Renewal {
    pub(super) sharing: Sharing,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) seat: Arc<Seat>,
    pub(super) tenancy: Tenancy,
}

/// The lease as it was written last, and why it is not renewed any more.
pub(super) struct Ended {
    pub(super) lease: Lease,
    pub(super) why: String,
}

impl Renewal {
    /// Until the lease is lost, or it is `enough`.
    pub(super) async fn renew(self, mut lease: Lease, mut tenure: Tenure, enough: CancellationToken) -> Ended {
        let application = self.seat.application.name.clone();
        loop {
            let wait = tenure.renew_at().saturating_sub(self.clock.boot());
            tokio::select! {
                biased;
                () = enough.cancelled() => return Ended { lease, why: "it was given back".to_owned() },
                () = self.clock.sleep(wait) => {}
            }
            let (records, epoch) = self.tail(&lease);
            let next = Lease { version: lease.version + 1, records, epoch, ..lease.clone() };
            let over = Some(lease.version);
            let putting = put(&self.sharing, &*self.clock, &application, &next, over);
            let ends_in = tenure.ends_at().saturating_sub(self.clock.boot());
            let put = tokio::select! {
                biased;
                put = putting => put,
                () = self.clock.sleep(ends_in) => Err(PutError::Failed { reason: "no answer before its end".to_owned() }),
            };
            match put {
                Ok(renewed) => {
                    (lease, tenure) = (next, renewed);
                    self.tenancy.renewed(tenure);
                }
                Err(error) => return Ended { lease, why: error.to_string() },
            }
        }
    }

    /// How long the journal is, and its epoch, once it was taken over; as `before` said, once it is led no more.
    fn tail(&self, before: &Lease) -> (u64, Option<u64>) {
        match self.seat.standing() {
            Standing::Leading(working) => {
                let tail = working.context.scribe.history().tail.clone();
                (tail.next_seq, Some(tail.epoch))
            }
            Standing::Held(_) | Standing::Following(_) => (before.records, before.epoch),
        }
    }
}
