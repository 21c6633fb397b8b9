//! The reader in virtual time, over a CloudWatch that notes its calls.

use std::sync::Mutex;

use async_trait::async_trait;
use futures_util::future::join_all;

use super::*;
use crate::{
    domain::{
        application::{ClusterArn, ClusterEndpoint},
        capacity::{DbInstance, Quotas},
        cloud::{
            AlarmState, CloudEvent, Datapoint, DbCluster, EventSource, GlobalCluster, MissingData, Mutation, Outcome,
            RecordSet,
        },
        standby_object::ObjectAt,
    },
    sim::port::SimClock,
};

/// Answers every metric with the number of its call; refuses a call that asks for the metric `bad`.
#[derive(Debug, Default)]
struct Noting {
    /// Region, how many were asked, and the window.
    calls: Mutex<Vec<(String, usize, Duration)>>,
    throttles: bool,
}

impl Noting {
    fn note(&self, region: &Region, asked: usize, window: Duration) -> usize {
        let mut calls = self.calls.lock().expect("sound");
        calls.push((region.to_string(), asked, window));
        calls.len()
    }

    fn sizes(&self) -> Vec<usize> {
        self.calls.lock().expect("sound").iter().map(|(_, asked, _)| *asked).collect()
    }
}

fn not_here<T>() -> Result<T, ObserveError> {
    Err(ObserveError::Unreachable { reason: "not a part of this test".to_owned() })
}

#[async_trait]
impl Cloud for Noting {
    async fn aged(
        &self,
        _: &crate::domain::signature::Aged,
    ) -> Result<crate::domain::signature::AgeAnswer, ObserveError> {
        not_here()
    }
    async fn global_cluster(&self, _: &Region, _: &str) -> Result<GlobalCluster, ObserveError> {
        not_here()
    }
    async fn db_cluster(&self, _: &ClusterArn) -> Result<DbCluster, ObserveError> {
        not_here()
    }
    async fn cluster_parameter(&self, _: &Region, _: &str, _: &str) -> Result<Option<String>, ObserveError> {
        not_here()
    }
    async fn caller(&self, _: &Region) -> Result<String, ObserveError> {
        not_here()
    }
    async fn role_arn(&self, _: &Region, _: &str) -> Result<String, ObserveError> {
        not_here()
    }
    async fn simulate(
        &self,
        _: &Region,
        _: &crate::domain::permissions::changes::Simulation,
    ) -> Result<Vec<crate::domain::permissions::changes::Evaluation>, ObserveError> {
        not_here()
    }
    async fn topic_is_there(&self, _: &Region, _: &str) -> Result<bool, ObserveError> {
        not_here()
    }
    async fn db_instances(&self, _: &ClusterArn) -> Result<Vec<DbInstance>, ObserveError> {
        not_here()
    }
    async fn metrics_until(
        &self,
        _: &Region,
        _: &[MetricQuery],
        _: jiff::Timestamp,
        _: Duration,
    ) -> Result<Vec<Answer<Series>>, ObserveError> {
        not_here()
    }
    async fn objects(
        &self,
        _: &Region,
        _: &str,
        _: Option<&str>,
    ) -> Result<crate::domain::salvage::Page, ObserveError> {
        not_here()
    }
    async fn replication_of(
        &self,
        _: &Region,
        _: &str,
        _: &str,
    ) -> Result<crate::domain::salvage::Replication, ObserveError> {
        not_here()
    }
    async fn cluster_snapshots(&self, _: &ClusterArn) -> Result<Vec<crate::domain::cloud::DbSnapshot>, ObserveError> {
        Ok(Vec::new())
    }

    async fn account_quotas(&self, _: &Region) -> Result<Quotas, ObserveError> {
        not_here()
    }
    async fn metrics(
        &self,
        region: &Region,
        queries: &[MetricQuery],
        window: Duration,
    ) -> Result<Vec<Answer<Series>>, ObserveError> {
        let number = self.note(region, queries.len(), window);
        if self.throttles {
            return Err(ObserveError::Throttled);
        }
        if queries.iter().any(|q| q.metric == "bad") {
            return Err(ObserveError::Rejected { code: "ValidationError".to_owned(), message: "period".to_owned() });
        }
        let value = f64::from(u32::try_from(number).expect("few"));
        let answer = |q: &MetricQuery| match q.metric.as_str() {
            "forbidden" => Err(ObserveError::Rejected { code: "Forbidden".to_owned(), message: String::new() }),
            _ => Ok(vec![Datapoint { at: jiff::Timestamp::UNIX_EPOCH, value }]),
        };
        Ok(queries.iter().map(answer).collect())
    }
    async fn alarms(&self, region: &Region, names: &[String]) -> Result<Vec<Answer<Alarm>>, ObserveError> {
        self.note(region, names.len(), Duration::ZERO);
        let alarm = Alarm {
            state: AlarmState::Ok,
            missing_data: Some(MissingData::Missing),
            samples: None,
            state_since: None,
            state_reason: String::new(),
        };
        Ok(names.iter().map(|_| Ok(alarm.clone())).collect())
    }
    async fn events(&self, _: &Region, _: &EventSource, _: Duration) -> Result<Vec<CloudEvent>, ObserveError> {
        not_here()
    }
    async fn record_sets(&self, _: &str, _: &str, _: &str) -> Result<Vec<RecordSet>, ObserveError> {
        not_here()
    }
    async fn routing_controls(&self, _: &[ClusterEndpoint], _: &[String]) -> Result<Vec<bool>, ObserveError> {
        not_here()
    }
    async fn object_is_there(&self, _: &ObjectAt) -> Result<bool, ObserveError> {
        not_here()
    }
    async fn change_is_insync(&self, _: &str) -> Result<bool, ObserveError> {
        not_here()
    }
    async fn ask(&self, _: &crate::domain::api_call::ApiCall) -> Result<serde_json::Value, ObserveError> {
        not_here()
    }
    async fn apply(&self, _: &Mutation, _: jiff::Timestamp) -> Outcome {
        Outcome::NotSent { reason: "not a part of this test".to_owned() }
    }
}

fn east() -> Region {
    "us-east-1".parse().expect("a Region")
}

fn query(metric: &str) -> MetricQuery {
    MetricQuery {
        namespace: "App".to_owned(),
        metric: metric.to_owned(),
        dimensions: std::collections::BTreeMap::new(),
        statistic: "Sum".to_owned(),
        period: Duration::from_mins(1),
    }
}

const WINDOW: Duration = Duration::from_mins(10);

fn reader(cloud: Noting) -> (MetricReader, Arc<Noting>, Arc<dyn Clock>) {
    let cloud = Arc::new(cloud);
    let clock: Arc<dyn Clock> = Arc::new(SimClock::starting_at(jiff::Timestamp::UNIX_EPOCH));
    (MetricReader::new(cloud.clone(), Arc::clone(&clock)), cloud, clock)
}

#[tokio::test(start_paused = true)]
async fn what_is_due_together_is_one_call_and_the_same_question_is_asked_once() {
    let (reader, cloud, _) = reader(Noting::default());
    let region = east();
    let names: Vec<String> = (0..60).map(|n| format!("m{}", n % 20)).collect();
    let answers = join_all(names.iter().map(|name| reader.metric(&region, query(name), WINDOW))).await;
    assert!(answers.iter().all(|a| a.as_ref().is_ok_and(|series| series[0].value.to_bits() == 1_f64.to_bits())));
    assert_eq!(cloud.sizes(), [20]);
}

#[tokio::test(start_paused = true)]
async fn more_than_a_call_takes_is_as_many_calls_as_it_needs_and_each_region_has_its_own() {
    let (reader, cloud, _) = reader(Noting::default());
    let (east, west) = (east(), "us-west-2".parse::<Region>().expect("a Region"));
    let names: Vec<String> = (0..1_001).map(|n| format!("m{n}")).collect();
    let here = names.iter().map(|name| reader.metric(&east, query(name), WINDOW));
    let there = names[..3].iter().map(|name| reader.metric(&west, query(name), WINDOW));
    let answers = join_all(here.chain(there)).await;
    assert!(answers.iter().all(Result::is_ok));
    let mut sizes = cloud.sizes();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 3, 500, 500]);
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_cancels_nothing_for_the_others() {
    let (reader, cloud, clock) = reader(Noting::default());
    let region = east();
    let mut first = Box::pin(reader.metric(&region, query("first"), WINDOW));
    let mut second = Box::pin(reader.metric(&region, query("second"), WINDOW));
    tokio::select! {
        biased;
        _ = &mut first => panic!("too soon"),
        _ = &mut second => panic!("too soon"),
        () = clock.sleep(WAIT / 2) => {}
    }
    drop(first);
    assert!(second.await.is_ok());
    assert_eq!(cloud.sizes(), [2], "the question of the one who left was asked all the same");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_everyone_left_is_not_made_and_the_next_asker_is_answered() {
    let (reader, cloud, clock) = reader(Noting::default());
    let region = east();
    {
        let alone = reader.metric(&region, query("left"), WINDOW);
        tokio::select! {
            biased;
            _ = alone => panic!("too soon"),
            () = clock.sleep(WAIT / 2) => {}
        }
    }
    clock.sleep(WAIT * 4).await;
    assert!(cloud.sizes().is_empty());
    assert!(reader.metric(&region, query("next"), WINDOW).await.is_ok());
    assert_eq!(cloud.sizes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_bad_question_spoils_no_other() {
    let (reader, cloud, _) = reader(Noting::default());
    let region = east();
    let mut names: Vec<String> = (0..499).map(|n| format!("m{n}")).collect();
    names.push("bad".to_owned());
    let answers = join_all(names.iter().map(|name| reader.metric(&region, query(name), WINDOW))).await;
    let refused: Vec<&str> =
        names.iter().zip(&answers).filter(|(_, a)| a.is_err()).map(|(name, _)| name.as_str()).collect();
    assert_eq!(refused, ["bad"]);
    assert!(cloud.sizes().len() <= CALLS_MAX, "{} calls", cloud.sizes().len());
}

#[tokio::test(start_paused = true)]
async fn an_error_of_one_metric_is_its_asker_s_alone_and_one_of_the_call_is_everybody_s() {
    let (reader, _, _) = reader(Noting::default());
    let region = east();
    let asked = ["a", "forbidden"].map(|name| reader.metric(&region, query(name), WINDOW));
    let answers = join_all(asked).await;
    assert!(answers[0].is_ok() && answers[1].is_err(), "{answers:?}");
    let (reader, cloud, _) = self::reader(Noting { throttles: true, ..Noting::default() });
    let answers = join_all(["a", "b"].map(|name| reader.metric(&region, query(name), WINDOW))).await;
    assert_eq!(answers, [Err(ObserveError::Throttled), Err(ObserveError::Throttled)]);
    assert_eq!(cloud.sizes(), [2], "throttled: not asked again in parts");
}

#[tokio::test(start_paused = true)]
async fn who_comes_later_gets_a_call_of_their_own_never_an_old_answer() {
    let (reader, _, clock) = reader(Noting::default());
    let region = east();
    let value = async || reader.metric(&region, query("a"), WINDOW).await.expect("answered")[0].value;
    let first = value().await;
    clock.sleep(Duration::from_millis(1)).await;
    assert!(first < value().await);
}

#[tokio::test(start_paused = true)]
async fn a_call_looks_back_as_far_as_the_one_who_wants_most() {
    let (reader, cloud, _) = reader(Noting::default());
    let region = east();
    join_all([(1, "a"), (3, "b"), (2, "c")].map(|(n, name)| reader.metric(&region, query(name), WINDOW * n))).await;
    assert_eq!(cloud.calls.lock().expect("sound")[0].2, WINDOW * 3);
}

#[tokio::test(start_paused = true)]
async fn alarms_are_read_a_hundred_at_a_time() {
    let (reader, cloud, _) = reader(Noting::default());
    let region = east();
    let names: Vec<String> = (0..150).map(|n| format!("alarm-{n}")).collect();
    let answers = join_all(names.iter().map(|name| reader.alarm(&region, name))).await;
    assert!(answers.iter().all(Result::is_ok));
    let mut sizes = cloud.sizes();
    sizes.sort_unstable();
    assert_eq!(sizes, [50, 100]);
}
