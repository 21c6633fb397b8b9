//! The clocks: the machine's, a faster one for demonstrations, and tokio's virtual one for tests.
//!
//! Invariant: `sleep(d)` never completes before `boot` has advanced by `d`, on any of them. Not done here: time
//! zones, calendars, deadlines.

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

use crate::ports::Clock;

/// The longest single wait on tokio's timer, whose clock stands still while the machine is suspended: after a
/// resume, a sleeper wakes at most this late (FAULTS.md 12).
const SLICE: Duration = Duration::from_secs(1);

/// `CLOCK_BOOTTIME`: monotonic, and it counts suspended time.
fn machine_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or_default(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// Wall time of the machine; may jump.
#[expect(clippy::disallowed_methods, reason = "the clock adapter is where wall time is read")]
fn machine_wall() -> Timestamp {
    Timestamp::now()
}

/// `start + elapsed`, held at the end of time instead of failing.
fn wall_after(start: Timestamp, elapsed: Duration) -> Timestamp {
    SignedDuration::try_from(elapsed).ok().and_then(|elapsed| start.checked_add(elapsed).ok()).unwrap_or(Timestamp::MAX)
}

/// One wait on tokio's timer.
#[expect(clippy::disallowed_methods, reason = "the clock adapter is where sleeping is done")]
async fn wait(real: Duration) {
    tokio::time::sleep(real).await;
}

/// The machine's clock: what `serve` runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn boot(&self) -> Duration {
        machine_boot()
    }

    fn wall(&self) -> Timestamp {
        machine_wall()
    }

    async fn sleep(&self, duration: Duration) {
        sleep_by(machine_boot, duration).await;
    }
}

/// Until `boot` has advanced by `duration`, on a timer that may stand still meanwhile.
async fn sleep_by(boot: impl Fn() -> Duration, duration: Duration) {
    let deadline = boot().saturating_add(duration);
    loop {
        let left = deadline.saturating_sub(boot());
        if left.is_zero() {
            return;
        }
        wait(left.min(SLICE)).await;
    }
}

/// A rate that no clock can run at.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("a clock cannot run at rate {rate}: expected {RATE_MIN} to {RATE_MAX}")]
pub struct InvalidRate {
    pub rate: f64,
}

/// The slowest rate of a [`ScaledClock`].
pub const RATE_MIN: f64 = 0.001;
/// The fastest rate of a [`ScaledClock`]: beyond it, tokio's timer of 1 ms would be coarser than a minute.
pub const RATE_MAX: f64 = 60_000.0;

/// The machine's time, running `rate` times as fast from the moment this was made. What the demo runs on.
///
/// Resolution: tokio's timer ticks every 1 ms of real time, which is `rate` ms here.
#[derive(Debug, Clone)]
pub struct ScaledClock {
    rate: f64,
    anchor: Duration,
    start: Timestamp,
}

impl ScaledClock {
    /// A clock whose boot time starts at zero and whose wall starts at `start`, or at the machine's wall time.
    ///
    /// # Errors
    /// When `rate` is not a number from [`RATE_MIN`] to [`RATE_MAX`].
    pub fn new(rate: f64, start: Option<Timestamp>) -> Result<Self, InvalidRate> {
        if !(RATE_MIN..=RATE_MAX).contains(&rate) {
            return Err(InvalidRate { rate });
        }
        Ok(Self { rate, anchor: machine_boot(), start: start.unwrap_or_else(machine_wall) })
    }

    /// How many of its seconds pass in one real second.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// How long `duration` of this clock takes in real time; what cannot be told in a `Duration` is its maximum.
    fn real(&self, duration: Duration) -> Duration {
        Duration::try_from_secs_f64(duration.as_secs_f64() / self.rate).unwrap_or(Duration::MAX)
    }
}

#[async_trait]
impl Clock for ScaledClock {
    fn boot(&self) -> Duration {
        let real = machine_boot().saturating_sub(self.anchor);
        Duration::try_from_secs_f64(real.as_secs_f64() * self.rate).unwrap_or(Duration::MAX)
    }

    fn wall(&self) -> Timestamp {
        wall_after(self.start, self.boot())
    }

    async fn sleep(&self, duration: Duration) {
        let deadline = self.boot().saturating_add(duration);
        loop {
            let left = deadline.saturating_sub(self.boot());
            if left.is_zero() {
                return;
            }
            // At least 1 µs: what is left may round to nothing, and the loop would never let go of the thread.
            wait(self.real(left).clamp(Duration::from_micros(1), SLICE)).await;
        }
    }
}

/// Tokio's clock: virtual under `#[tokio::test(start_paused = true)]`, where all sleeping tasks let it jump ahead.
#[derive(Debug, Clone)]
pub struct TokioClock {
    anchor: tokio::time::Instant,
    start: Timestamp,
}

impl TokioClock {
    /// A clock whose boot time starts at zero now, and whose wall starts at `start`.
    #[expect(clippy::disallowed_methods, reason = "the clock adapter is where tokio's clock is read")]
    pub fn new(start: Timestamp) -> Self {
        Self { anchor: tokio::time::Instant::now(), start }
    }
}

#[async_trait]
impl Clock for TokioClock {
    fn boot(&self) -> Duration {
        self.anchor.elapsed()
    }

    fn wall(&self) -> Timestamp {
        wall_after(self.start, self.boot())
    }

    async fn sleep(&self, duration: Duration) {
        let deadline = self.boot().saturating_add(duration);
        loop {
            let left = deadline.saturating_sub(self.boot());
            if left.is_zero() {
                return;
            }
            wait(left).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Timestamp {
        "2026-03-01T00:00:00Z".parse().expect("valid")
    }

    #[tokio::test(start_paused = true)]
    async fn virtual_days_pass_at_once_and_move_boot_and_wall_alike() {
        let clock = TokioClock::new(start());
        clock.sleep(Duration::from_secs(86_400)).await;
        assert_eq!(clock.boot(), Duration::from_secs(86_400));
        assert_eq!(clock.wall().to_string(), "2026-03-02T00:00:00Z");
    }

    #[tokio::test]
    async fn a_scaled_sleep_advances_boot_by_what_was_asked_in_a_fraction_of_real_time() {
        let clock = ScaledClock::new(1_000.0, Some(start())).expect("valid rate");
        let (real, before) = (machine_boot(), clock.boot());
        clock.sleep(Duration::from_secs(20)).await;
        assert!(clock.boot() - before >= Duration::from_secs(20));
        assert!(clock.wall() >= wall_after(start(), Duration::from_secs(20)));
        let took = machine_boot() - real;
        assert!(took >= Duration::from_millis(20), "{took:?}");
        assert!(took < Duration::from_secs(10), "{took:?}");
    }

    #[tokio::test]
    async fn the_system_clock_sleeps_until_boot_has_advanced() {
        let before = SystemClock.boot();
        SystemClock.sleep(Duration::from_millis(15)).await;
        assert!(SystemClock.boot() - before >= Duration::from_millis(15));
        assert!(SystemClock.wall() > start());
    }

    /// FAULTS.md 12: tokio's timer does not know of the hour for which the machine was suspended.
    #[tokio::test(start_paused = true)]
    async fn a_sleep_over_a_suspension_ends_within_a_second_of_the_resume() {
        let suspended = std::cell::Cell::new(Duration::ZERO);
        let timer = TokioClock::new(start());
        let boot = || timer.boot() + suspended.get();
        tokio::join!(sleep_by(boot, Duration::from_secs(1_800)), async {
            timer.sleep(Duration::from_millis(10_300)).await;
            suspended.set(Duration::from_secs(3_600));
        });
        let ran = timer.boot();
        assert!((Duration::from_millis(10_300)..=Duration::from_millis(11_300)).contains(&ran), "{ran:?}");
    }

    #[test]
    fn time_of_the_machine_counts_from_its_boot_suspensions_included() {
        let (before, uptime) = (machine_boot(), std::fs::read_to_string("/proc/uptime").expect("Linux tells"));
        let seconds: f64 = uptime.split(' ').next().expect("two numbers").parse().expect("seconds");
        let after = machine_boot();
        let told = before.as_secs_f64() - 1.0..=after.as_secs_f64() + 1.0;
        assert!(told.contains(&seconds), "/proc/uptime has {seconds}, CLOCK_BOOTTIME {before:?} to {after:?}");
    }

    #[test]
    fn rates_that_stop_or_reverse_time_are_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!(ScaledClock::new(rate, None).is_err(), "{rate}");
        }
    }

    #[test]
    fn the_end_of_time_is_held_not_passed() {
        assert_eq!(wall_after(start(), Duration::MAX), Timestamp::MAX);
        assert_eq!(wall_after(Timestamp::MAX, Duration::from_secs(1)), Timestamp::MAX);
    }
}
