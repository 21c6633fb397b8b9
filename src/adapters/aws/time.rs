//! The SDK's time, taken from our clock: signatures and credentials by its wall time, timeouts and retries by its
//! boot time.
//!
//! So the SDK's timeouts run in the same time as the engine's deadlines: world time in the demo, virtual in tests.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use aws_smithy_async::{
    rt::sleep::{AsyncSleep, Sleep},
    time::TimeSource,
};
use aws_smithy_types::DateTime;
use jiff::Timestamp;

use crate::ports::Clock;

/// A [`Clock`] as the SDK wants it.
#[derive(Debug, Clone)]
pub struct SdkClock(pub Arc<dyn Clock>);

tokio::task_local! {
    static SIGNED_AS_OF: Timestamp;
}

/// Lets `call` be signed as of `at`, whenever it is polled: a process that stood still before it was sent sends an old
/// signature.
pub(super) async fn signed_as_of<T>(at: Timestamp, call: impl Future<Output = T>) -> T {
    SIGNED_AS_OF.scope(at, call).await
}

impl TimeSource for SdkClock {
    fn now(&self) -> SystemTime {
        SystemTime::from(SIGNED_AS_OF.try_with(|at| *at).unwrap_or_else(|_| self.0.wall()))
    }
}

impl AsyncSleep for SdkClock {
    fn sleep(&self, duration: Duration) -> Sleep {
        let clock = Arc::clone(&self.0);
        Sleep::new(Shareable(Mutex::new(Box::pin(async move {
            clock.sleep(duration).await;
        }))))
    }
}

/// The SDK asks for a `Sync` future and our port promises `Send` only. The mutex is never contended: polling has
/// the future to itself.
struct Shareable(Mutex<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Future for Shareable {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll(cx)
    }
}

/// To the millisecond, which is finer than any of these services tells.
pub(super) fn to_sdk(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.as_millisecond())
}

/// `None` for an instant that no calendar has.
pub(super) fn from_sdk(at: &DateTime) -> Option<Timestamp> {
    Timestamp::from_millisecond(at.to_millis().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_survive_the_sdk() {
        let at: Timestamp = "2026-11-21T06:00:00.123Z".parse().expect("valid");
        assert_eq!(from_sdk(&to_sdk(at)), Some(at));
        let before: Timestamp = "1969-12-31T23:59:59.5Z".parse().expect("valid");
        assert_eq!(from_sdk(&to_sdk(before)), Some(before));
        assert_eq!(from_sdk(&DateTime::from_secs(i64::MAX)), None);
    }
}
