//! Metric alarms: when they are evaluated, and what missing data means to them.

use super::{CloudWatch, MetricKey, Statistic, event, ingests, invalid};
use crate::{
    domain::id::Region,
    sim::world::{
        ApiFault, Context, SimTime,
        route53::health::{AlarmIdentifier, MetricStream, StreamState},
    },
};

/// How many periods an alarm looks back beyond its evaluation periods. CloudWatch says only that it retrieves
/// more than it needs [CWUG:alarms and missing data]; the number is ours.
const LOOK_BACK_PERIODS: u64 = 2;
/// A standard alarm is evaluated every minute.
const EVALUATION_MS: u64 = 60_000;

/// The state of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmState {
    Ok,
    Alarm,
    InsufficientData,
}

impl AlarmState {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Alarm => "ALARM",
            Self::InsufficientData => "INSUFFICIENT_DATA",
        }
    }

    /// Parses the name on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Ok, Self::Alarm, Self::InsufficientData].into_iter().find(|s| s.as_str() == text)
    }
}

/// How a value is held against the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    GreaterOrEqual,
    Greater,
    Less,
    LessOrEqual,
}

impl Comparison {
    const NAMES: [(Self, &'static str); 4] = [
        (Self::GreaterOrEqual, "GreaterThanOrEqualToThreshold"),
        (Self::Greater, "GreaterThanThreshold"),
        (Self::Less, "LessThanThreshold"),
        (Self::LessOrEqual, "LessThanOrEqualToThreshold"),
    ];

    /// Parses the name on the wire; the anomaly-detection operators are not simulated.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, n)| *n == text).map(|(c, _)| *c)
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(c, _)| *c == self).map_or("", |(_, n)| n)
    }

    /// A value that is not a number breaches nothing.
    fn breaches(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::GreaterOrEqual => threshold <= value,
            Self::Greater => threshold < value,
            Self::Less => value < threshold,
            Self::LessOrEqual => value <= threshold,
        }
    }
}

/// What a period without data means to an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TreatMissing {
    #[default]
    Missing,
    Ignore,
    Breaching,
    NotBreaching,
}

impl TreatMissing {
    const NAMES: [(Self, &'static str); 4] = [
        (Self::Missing, "missing"),
        (Self::Ignore, "ignore"),
        (Self::Breaching, "breaching"),
        (Self::NotBreaching, "notBreaching"),
    ];

    /// Parses the name on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, n)| *n == text).map(|(t, _)| *t)
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(t, _)| *t == self).map_or("", |(_, n)| n)
    }
}

/// What `PutMetricAlarm` sets.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmSpec {
    pub name: String,
    pub description: Option<String>,
    pub key: MetricKey,
    pub statistic: Statistic,
    pub period_seconds: u64,
    pub evaluation_periods: u64,
    /// At most `evaluation_periods`.
    pub datapoints_to_alarm: u64,
    pub comparison: Comparison,
    pub threshold: f64,
    /// Alarms on `AWS/DynamoDB` ignore missing data whatever is set. [bc:cloudwatch.PutMetricAlarm]
    pub treat_missing: TreatMissing,
    pub unit: Option<String>,
    pub actions: Vec<String>,
    pub actions_enabled: bool,
}

impl AlarmSpec {
    fn missing_means(&self) -> TreatMissing {
        if self.key.namespace == "AWS/DynamoDB" { TreatMissing::Ignore } else { self.treat_missing }
    }
}

/// An alarm and its state.
#[derive(Debug, Clone, PartialEq)]
pub struct Alarm {
    pub spec: AlarmSpec,
    pub state: AlarmState,
    pub reason: String,
    pub updated_at: SimTime,
    pub state_updated_at: SimTime,
    due: SimTime,
}

impl Alarm {
    pub(super) fn due(&self) -> SimTime {
        self.due
    }
}

impl CloudWatch {
    /// `PutMetricAlarm`: creates an alarm, or replaces its settings and keeps its state.
    ///
    /// # Errors
    /// `ValidationError` where the evaluation makes no sense.
    pub fn put_alarm(&mut self, region: &Region, spec: AlarmSpec, now: SimTime) -> Result<(), ApiFault> {
        if spec.name.is_empty() || 255 < spec.name.len() {
            return Err(invalid("The value for parameter AlarmName is invalid."));
        }
        if !(10..=604_800).contains(&spec.period_seconds)
            || !(1..=86_400).contains(&spec.evaluation_periods)
            || !(1..=spec.evaluation_periods).contains(&spec.datapoints_to_alarm)
        {
            return Err(super::validation(
                "Period, EvaluationPeriods and DatapointsToAlarm must be positive, and DatapointsToAlarm at most EvaluationPeriods.".to_owned(),
            ));
        }
        let key = (region.clone(), spec.name.clone());
        match self.alarms.get_mut(&key) {
            Some(alarm) => {
                alarm.spec = spec;
                alarm.updated_at = now;
            }
            None => {
                let alarm = Alarm {
                    spec,
                    state: AlarmState::InsufficientData,
                    reason: "Unchecked: Initial alarm creation".to_owned(),
                    updated_at: now,
                    state_updated_at: now,
                    due: now.plus_ms(EVALUATION_MS),
                };
                self.alarms.insert(key, alarm);
            }
        }
        Ok(())
    }

    /// The alarm of that name in `region`.
    pub fn alarm(&self, region: &Region, name: &str) -> Option<&Alarm> {
        self.alarms.get(&(region.clone(), name.to_owned()))
    }

    /// The alarms of `region`, by name.
    pub fn alarms(&self, region: &Region) -> impl Iterator<Item = &Alarm> {
        self.alarms.iter().filter(move |((r, _), _)| r == region).map(|(_, alarm)| alarm)
    }

    /// Deletes an alarm; whether there was one.
    pub fn delete_alarm(&mut self, region: &Region, name: &str) -> bool {
        self.alarms.remove(&(region.clone(), name.to_owned())).is_some()
    }

    /// `SetAlarmState`: until the next evaluation, and without effect on a Route 53 health check.
    ///
    /// # Errors
    /// `ResourceNotFound` for an unknown alarm.
    pub fn set_alarm_state(
        &mut self,
        region: &Region,
        name: &str,
        (state, reason): (AlarmState, &str),
        now: SimTime,
    ) -> Result<(), ApiFault> {
        let key = (region.clone(), name.to_owned());
        let alarm = self.alarms.get_mut(&key).ok_or_else(|| ApiFault {
            status: 404,
            code: "ResourceNotFound",
            message: format!("The alarm {name} does not exist."),
        })?;
        alarm.state = state;
        alarm.reason = reason.to_owned();
        alarm.state_updated_at = now;
        Ok(())
    }

    /// What the metric data of `spec` say at `now`, were an alarm that is in state `current` evaluated.
    pub fn evaluate(&self, region: &Region, spec: &AlarmSpec, current: AlarmState, now: SimTime) -> AlarmState {
        let period_ms = spec.period_seconds * 1_000;
        // Whole periods only: the one in progress would be judged by a part of its data.
        let end = SimTime(now.0 - now.0 % period_ms);
        let back = (spec.evaluation_periods + LOOK_BACK_PERIODS) * period_ms;
        let start = SimTime(end.0.saturating_sub(back));
        let unit = spec.unit.as_deref();
        let buckets = self.buckets(region, &spec.key, (start, end), period_ms, unit);
        let wanted = spec.evaluation_periods;
        let mut breaching = 0;
        let mut real = 0;
        for bucket in buckets.iter().rev() {
            if real == wanted {
                break;
            }
            real += 1;
            let value = bucket.value(spec.statistic);
            breaching += u64::from(spec.comparison.breaches(value, spec.threshold));
        }
        let missing = wanted - real;
        let needed = spec.datapoints_to_alarm;
        if needed <= breaching {
            return AlarmState::Alarm;
        }
        if breaching + missing < needed {
            return AlarmState::Ok;
        }
        match spec.missing_means() {
            TreatMissing::Breaching => AlarmState::Alarm,
            TreatMissing::NotBreaching => AlarmState::Ok,
            TreatMissing::Ignore => current,
            TreatMissing::Missing if real == 0 => AlarmState::InsufficientData,
            // "Premature alarm": data that are there all breach, and the gap could hide the rest. [CWUG]
            TreatMissing::Missing if breaching == real => AlarmState::Alarm,
            TreatMissing::Missing => AlarmState::Ok,
        }
    }

    pub(super) fn evaluate_due(&mut self, ctx: &mut Context<'_>) {
        let due: Vec<_> =
            self.alarms.iter().filter(|(_, alarm)| alarm.due <= ctx.now).map(|(key, _)| key.clone()).collect();
        for key in due {
            let Some(alarm) = self.alarms.get(&key) else {
                continue;
            };
            let next = if ingests(ctx.planes, &key.0) {
                self.evaluate(&key.0, &alarm.spec, alarm.state, ctx.now)
            } else {
                alarm.state
            };
            let Some(alarm) = self.alarms.get_mut(&key) else {
                continue;
            };
            alarm.due = ctx.now.plus_ms(EVALUATION_MS);
            if next != alarm.state {
                alarm.reason = format!("Threshold Crossed or data missing: now {}", next.as_str());
                alarm.state = next;
                alarm.state_updated_at = ctx.now;
                let text = format!("{} {}: {}", key.0, key.1, next.as_str());
                ctx.log.push(event(ctx.now, "cloudwatch.alarm", text));
            }
        }
    }
}

impl MetricStream for CloudWatch {
    /// The alarm's data judged afresh: `SetAlarmState` does not count here. Data that are missing and ignored
    /// leave the alarm's own state.
    fn latest(&self, region: &Region, alarm: &AlarmIdentifier, now: SimTime) -> StreamState {
        let Some(alarm) = self.alarm(region, &alarm.name) else {
            return StreamState::Insufficient;
        };
        match self.evaluate(region, &alarm.spec, alarm.state, now) {
            AlarmState::Ok => StreamState::Ok,
            AlarmState::Alarm => StreamState::Alarm,
            AlarmState::InsufficientData => StreamState::Insufficient,
        }
    }
}
