use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng as _};

use super::*;

const LAG: &str = "AuroraGlobalDBRPOLag";

struct Fixture {
    cloudwatch: CloudWatch,
    rng: ChaCha12Rng,
    planes: Planes,
    log: Vec<WorldEvent>,
    now: SimTime,
}

impl Fixture {
    fn new() -> Self {
        let mut cloudwatch = CloudWatch::default();
        cloudwatch.publication.aws = Some(DelayMs { min: 60_000, max: 180_000 });
        Self {
            cloudwatch,
            rng: ChaCha12Rng::seed_from_u64(7),
            planes: Planes::default(),
            log: Vec::new(),
            now: SimTime(1_800_000_000_000),
        }
    }

    fn with<R>(&mut self, f: impl FnOnce(&mut CloudWatch, &mut Context<'_>) -> R) -> R {
        let mut ctx = Context { now: self.now, rng: &mut self.rng, planes: &self.planes, log: &mut self.log };
        f(&mut self.cloudwatch, &mut ctx)
    }

    fn lag(&mut self, value: f64) {
        let at = self.now;
        self.with(|cw, ctx| {
            let dimensions = [("DBClusterIdentifier", "west")];
            cw.record(&west(), "AWS/RDS", LAG, &dimensions, at, value, ctx);
        });
    }

    fn advance(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        while let Some(due) = self.cloudwatch.next_due().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.with(CloudWatch::run_due);
        }
        self.now = end;
    }

    fn read(&self, region: &Region) -> Vec<(SimTime, f64)> {
        let query = MetricQuery {
            id: "m".to_owned(),
            key: key(),
            period_seconds: 60,
            statistic: Statistic::Maximum,
            unit: None,
            label: None,
        };
        let range = (SimTime(self.now.0 - 3_600_000), self.now);
        let results = self.cloudwatch.get_metric_data(region, &[query], range, true);
        results.expect("valid query").remove(0).points
    }
}

fn west() -> Region {
    "us-west-2".parse().expect("valid")
}

fn key() -> MetricKey {
    MetricKey::new("AWS/RDS", LAG, [("DBClusterIdentifier", "west")])
}

fn alarm(namespace: &str, treat_missing: TreatMissing) -> AlarmSpec {
    AlarmSpec {
        name: "lag".to_owned(),
        description: None,
        key: MetricKey::new(namespace, LAG, [("DBClusterIdentifier", "west")]),
        statistic: Statistic::Maximum,
        period_seconds: 60,
        evaluation_periods: 3,
        datapoints_to_alarm: 2,
        comparison: Comparison::Greater,
        threshold: 1_000.0,
        treat_missing,
        unit: None,
        actions: Vec::new(),
        actions_enabled: true,
    }
}

#[test]
fn a_datapoint_is_invisible_until_its_publication_delay_has_passed() {
    let mut f = Fixture::new();
    f.lag(250.0);
    f.advance(59_000);
    assert_eq!(f.read(&west()), []);
    f.advance(122_000);
    assert_eq!(f.read(&west()), [(SimTime(1_800_000_000_000), 250.0)]);
}

#[test]
fn another_region_sees_nothing() {
    let mut f = Fixture::new();
    f.lag(250.0);
    f.advance(200_000);
    assert_eq!(f.read(&"us-east-1".parse().expect("valid")), []);
}

#[test]
fn the_newest_datapoint_comes_first_and_the_end_is_exclusive() {
    let mut f = Fixture::new();
    for value in [1.0, 2.0, 3.0] {
        f.lag(value);
        f.advance(60_000);
    }
    f.advance(600_000);
    let values: Vec<f64> = f.read(&west()).iter().map(|(_, v)| *v).collect();
    assert_eq!(values, [3.0, 2.0, 1.0]);
    let range = (SimTime(1_800_000_000_000), SimTime(1_800_000_060_000));
    let buckets = f.cloudwatch.buckets(&west(), &key(), range, 60_000, None);
    assert_eq!(buckets.len(), 1);
}

#[test]
fn an_outage_leaves_a_hole_or_holds_data_back() {
    for (outage, expected) in [(Outage::Loses, 0), (Outage::Holds, 1)] {
        let mut f = Fixture::new();
        f.cloudwatch.publication.outage = outage;
        f.planes.set(Plane::CloudWatch, &west(), Reach::Unavailable);
        f.lag(1.0);
        f.advance(300_000);
        assert_eq!(f.read(&west()), []);
        f.planes.set(Plane::CloudWatch, &west(), Reach::Up);
        f.advance(60_000);
        assert_eq!(f.read(&west()).len(), expected, "{outage:?}");
    }
}

#[test]
fn a_metric_can_be_withheld_frozen_or_not_a_number() {
    let published = |fault| {
        let mut f = Fixture::new();
        f.cloudwatch.set_fault(&west(), "AWS/RDS", LAG, Some(fault));
        for value in [5.0, 900.0] {
            f.lag(value);
            f.advance(60_000);
        }
        f.advance(600_000);
        f.read(&west()).iter().map(|(_, v)| *v).collect::<Vec<_>>()
    };
    assert!(published(MetricFault::Withhold).is_empty());
    assert_eq!(published(MetricFault::Freeze), [5.0, 5.0]);
    assert!(published(MetricFault::NotANumber).iter().all(|v| v.is_nan()));
    assert_eq!(published(MetricFault::Delay(900_000)).len(), 0);
}

#[test]
fn periods_of_aws_metrics_are_whole_minutes() {
    let f = Fixture::new();
    let query = |period_seconds| MetricQuery {
        id: "m".to_owned(),
        key: key(),
        period_seconds,
        statistic: Statistic::Average,
        unit: None,
        label: None,
    };
    let range = (SimTime(0), f.now);
    for (period, ok) in [(60, true), (300, true), (30, false), (61, false), (0, false)] {
        let result = f.cloudwatch.get_metric_data(&west(), &[query(period)], range, true);
        assert_eq!(result.is_ok(), ok, "period {period}");
    }
    let many = vec![query(60); 501];
    let refused = f.cloudwatch.get_metric_data(&west(), &many, range, true);
    assert_eq!(refused.expect_err("too many").code, "ValidationError");
}

#[test]
fn an_alarm_says_insufficient_data_when_the_metric_stops_unless_it_is_dynamodb() {
    for (namespace, after) in [("AWS/RDS", AlarmState::InsufficientData), ("AWS/DynamoDB", AlarmState::Ok)] {
        let mut f = Fixture::new();
        let spec = alarm(namespace, TreatMissing::Missing);
        let now = f.now;
        f.cloudwatch.put_alarm(&west(), spec, now).expect("valid");
        for _ in 0..10 {
            let at = f.now;
            f.with(|cw, ctx| {
                let dimensions = [("DBClusterIdentifier", "west")];
                cw.record(&west(), namespace, LAG, &dimensions, at, 10.0, ctx);
            });
            f.advance(60_000);
        }
        let state = |f: &Fixture| f.cloudwatch.alarm(&west(), "lag").expect("there").state;
        assert_eq!(state(&f), AlarmState::Ok);
        f.advance(1_200_000);
        assert_eq!(state(&f), after, "{namespace}");
    }
}

#[test]
fn what_missing_data_mean_follows_the_documented_table() {
    use TreatMissing::{Breaching, Ignore, Missing, NotBreaching};
    let evaluate = |values: &[f64], treat| {
        let mut f = Fixture::new();
        f.cloudwatch.publication.aws = Some(DelayMs { min: 0, max: 0 });
        for value in values {
            f.lag(*value);
            f.advance(60_000);
        }
        let spec = AlarmSpec { datapoints_to_alarm: 3, ..alarm("AWS/RDS", treat) };
        f.cloudwatch.evaluate(&west(), &spec, AlarmState::Ok, f.now)
    };
    let (ok, high) = (10.0, 5_000.0);
    assert_eq!(evaluate(&[ok], Missing), AlarmState::Ok);
    assert_eq!(evaluate(&[], Missing), AlarmState::InsufficientData);
    assert_eq!(evaluate(&[], Breaching), AlarmState::Alarm);
    assert_eq!(evaluate(&[], NotBreaching), AlarmState::Ok);
    assert_eq!(evaluate(&[high], Missing), AlarmState::Alarm);
    assert_eq!(evaluate(&[high], Ignore), AlarmState::Ok);
    assert_eq!(evaluate(&[high, high, high], NotBreaching), AlarmState::Alarm);
}

#[test]
fn custom_metrics_are_checked_as_cloudwatch_does() {
    let mut f = Fixture::new();
    let datum = |value| Datum {
        name: "Primary".to_owned(),
        dimensions: Vec::new(),
        at: None,
        value: DatumValue::One(value),
        unit: None,
    };
    let put = |f: &mut Fixture, namespace: &str, data: &[Datum]| {
        f.with(|cw, ctx| cw.put_metric_data(&west(), namespace, data, ctx)).map_err(|e| e.code)
    };
    assert_eq!(put(&mut f, "AWS/RDS", &[datum(1.0)]), Err("InvalidParameterValue"));
    assert_eq!(put(&mut f, "Mine", &[datum(f64::NAN)]), Err("InvalidParameterValue"));
    assert_eq!(put(&mut f, "Mine", &vec![datum(1.0); 1_001]), Err("ValidationError"));
    assert_eq!(put(&mut f, "Mine", &[datum(1.0)]), Ok(()));
    f.advance(30_000);
    let listed = |f: &Fixture| {
        let found = f.cloudwatch.list_metrics(&west(), Some("Mine"), None, &[], f.now);
        found.len()
    };
    assert_eq!(listed(&f), 0, "a new metric is listed late");
    f.advance(900_000);
    assert_eq!(listed(&f), 1);
}
