//! Durations as JSON numbers of seconds, to the millisecond: `#[serde(with = "crate::domain::seconds")]` on a
//! field whose serialised name ends in `_seconds`.
//!
//! Deliberately not human-friendly: files that people write ("90s") are parsed in `config`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

/// A hundred years: the longest duration that is not refused.
const SECONDS_MAX: f64 = 3_155_760_000.0;

/// Whole milliseconds as seconds.
pub fn to_seconds(d: Duration) -> f64 {
    (d.as_secs_f64() * 1000.0).round() / 1000.0
}

pub fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_f64(to_seconds(*d))
}

pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(d)?;
    if (0.0..=SECONDS_MAX).contains(&seconds) {
        Ok(Duration::from_secs_f64((seconds * 1000.0).round() / 1000.0))
    } else {
        Err(serde::de::Error::custom(format!("expected seconds from 0 to {SECONDS_MAX}, got {seconds}")))
    }
}

/// The same for an optional duration.
pub mod option {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    #[derive(Deserialize)]
    struct Wrapped(#[serde(with = "super")] Duration);

    pub fn serialize<S: Serializer>(d: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
        match d {
            Some(d) => super::serialize(d, s),
            None => s.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Wrapped>::deserialize(d)?.map(|w| w.0))
    }
}
