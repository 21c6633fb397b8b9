//! `PutMetricData`: what custom metrics may be, and what becomes of them.

use super::{CloudWatch, MetricKey, Point, draw, invalid, validation};
use crate::{
    domain::id::Region,
    sim::world::{ApiFault, Context, SimTime},
};

/// Metrics per `PutMetricData`. [bc:cloudwatch.PutMetricData]
const PUT_METRICS_MAX: usize = 1_000;
/// How far in the past or future a datapoint's time may lie: two weeks and two hours. [bc:cloudwatch.MetricDatum]
const PAST_MS_MAX: u64 = 14 * 24 * 3_600_000;
const FUTURE_MS_MAX: u64 = 2 * 3_600_000;

/// One element of a `PutMetricData` call.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum {
    pub name: String,
    pub dimensions: Vec<(String, String)>,
    /// Now, where absent.
    pub at: Option<SimTime>,
    pub value: DatumValue,
    pub unit: Option<String>,
}

/// What a datum carries.
#[derive(Debug, Clone, PartialEq)]
pub enum DatumValue {
    One(f64),
    /// Values with how often each occurred.
    Many(Vec<(f64, f64)>),
    Set {
        sum: f64,
        minimum: f64,
        maximum: f64,
        samples: f64,
    },
}

impl CloudWatch {
    /// `PutMetricData`: custom metrics, visible after a short delay.
    ///
    /// # Errors
    /// As CloudWatch: too many metrics, reserved namespace, values that are not numbers, times out of range.
    pub fn put_metric_data(
        &mut self,
        region: &Region,
        namespace: &str,
        data: &[Datum],
        ctx: &mut Context<'_>,
    ) -> Result<(), ApiFault> {
        check_put(namespace, data, ctx.now)?;
        for datum in data {
            let delay = draw(self.publication.put, ctx);
            let key = MetricKey::new(namespace, &datum.name, datum.dimensions.iter().map(|(n, v)| (n, v)));
            let at = datum.at.unwrap_or(ctx.now);
            for point in datum.value.points(at) {
                self.accept(region, key.clone(), datum.unit.clone(), point, delay, ctx);
            }
        }
        Ok(())
    }
}

impl DatumValue {
    fn points(&self, at: SimTime) -> Vec<Point> {
        match self {
            Self::One(value) => vec![Point::of(at, *value)],
            Self::Many(values) => values
                .iter()
                .map(|(value, count)| Point { sum: value * count, samples: *count, ..Point::of(at, *value) })
                .collect(),
            Self::Set { sum, minimum, maximum, samples } => {
                vec![Point { at, sum: *sum, minimum: *minimum, maximum: *maximum, samples: *samples }]
            }
        }
    }

    fn is_finite(&self) -> bool {
        match self {
            Self::One(value) => value.is_finite(),
            Self::Many(values) => values.iter().all(|(v, c)| v.is_finite() && c.is_finite()),
            Self::Set { sum, minimum, maximum, samples } => {
                [sum, minimum, maximum, samples].into_iter().all(|v| v.is_finite())
            }
        }
    }
}

fn check_put(namespace: &str, data: &[Datum], now: SimTime) -> Result<(), ApiFault> {
    if namespace.is_empty() || namespace.starts_with("AWS/") {
        return Err(invalid("The value AWS/ for parameter Namespace is invalid."));
    }
    if data.is_empty() {
        return Err(ApiFault {
            status: 400,
            code: "MissingParameter",
            message: "The parameter MetricData is required.".to_owned(),
        });
    }
    if data.len() > PUT_METRICS_MAX {
        return Err(validation(format!(
            "The collection MetricData must not have a size greater than {PUT_METRICS_MAX}."
        )));
    }
    for datum in data {
        if !datum.value.is_finite() {
            return Err(invalid("The value for parameter MetricData is not a number."));
        }
        let at = datum.at.unwrap_or(now);
        if now.since_ms(at) > PAST_MS_MAX || at.since_ms(now) > FUTURE_MS_MAX {
            return Err(invalid(
                "The parameter MetricData.member.1.Timestamp must specify a time within the past two weeks and the next two hours.",
            ));
        }
    }
    Ok(())
}
