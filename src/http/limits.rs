//! How often anybody may ask: one bucket for each subject and kind of request, one for each address that fails to say
//! who it is.
//!
//! Invariant: bounded whatever comes; a good token is never refused for what others do from the same address. It
//! keeps nothing over a restart, and counts for one replica alone.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How many requests at once, and how many a second in the long run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub burst: f64,
    pub per_second: f64,
}

/// Requests that only look. A page that asks for twenty applications each second is far below.
pub const LOOKS: Rate = Rate { burst: 1_000.0, per_second: 200.0 };

/// Requests that change something: each is a durable record. Twice what a client that tries again every 100 ms sends.
pub const CHANGES: Rate = Rate { burst: 200.0, per_second: 20.0 };

/// Requests of one address that are not known by their token, before it is told to wait.
pub const FAILURES: Rate = Rate { burst: 50.0, per_second: 5.0 };

/// The most buckets of one kind. One that is full again needs none.
const BUCKETS_MAX: usize = 4_096;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct Limits {
    rate: Rate,
    buckets: Mutex<BTreeMap<String, Bucket>>,
}

impl Limits {
    pub fn new(rate: Rate) -> Self {
        Self { rate, buckets: Mutex::default() }
    }

    /// Takes one request of `who` at `now` (boot time), or says how long to wait for the next.
    pub fn take(&self, who: &str, now: Duration) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if BUCKETS_MAX <= buckets.len() && !buckets.contains_key(who) {
            self.make_room(&mut buckets, now);
        }
        let bucket = buckets.entry(who.to_owned()).or_insert(Bucket { left: self.rate.burst, at: now });
        let left = self.left(bucket, now);
        *bucket = Bucket { left, at: now };
        if left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - left) / self.rate.per_second));
        }
        bucket.left = left - 1.0;
        Ok(())
    }

    fn left(&self, bucket: &Bucket, now: Duration) -> f64 {
        let gained = now.saturating_sub(bucket.at).as_secs_f64() * self.rate.per_second;
        (bucket.left + gained).min(self.rate.burst)
    }

    /// Forgets those that are full again; where too few are, the half that was used least lately. Half, and not one: a
    /// flood of strangers must not have every one of them looked for.
    fn make_room(&self, buckets: &mut BTreeMap<String, Bucket>, now: Duration) {
        buckets.retain(|_, bucket| self.left(bucket, now) < self.rate.burst);
        if BUCKETS_MAX / 2 < buckets.len() {
            let mut used: Vec<(Duration, String)> = buckets.iter().map(|(who, b)| (b.at, who.clone())).collect();
            used.sort_unstable();
            for (_, who) in used.iter().take(BUCKETS_MAX / 2) {
                buckets.remove(who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_is_taken_then_so_many_a_second_and_each_has_a_bucket_of_their_own() {
        let limits = Limits::new(Rate { burst: 3.0, per_second: 2.0 });
        for _ in 0..3 {
            assert_eq!(limits.take("ann", SECOND), Ok(()));
        }
        assert_eq!(limits.take("ann", SECOND), Err(SECOND / 2));
        assert_eq!(limits.take("bob", SECOND), Ok(()), "ann's haste is not bob's");
        assert_eq!(limits.take("ann", SECOND * 3 / 2), Ok(()));
        assert!(limits.take("ann", SECOND * 3 / 2).is_err());
        assert!(limits.take("ann", Duration::ZERO).is_err(), "a clock that goes back gives nothing");
    }

    #[test]
    fn a_flood_of_names_does_not_grow_what_is_remembered() {
        let limits = Limits::new(FAILURES);
        for n in 0..3 * BUCKETS_MAX {
            let _ = limits.take(&n.to_string(), SECOND);
        }
        let kept = limits.buckets.lock().expect("lock").len();
        assert!((BUCKETS_MAX / 2..=BUCKETS_MAX).contains(&kept), "{kept}");
        assert!(limits.take("one more", SECOND).is_ok());
    }
}
