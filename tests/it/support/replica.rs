//! One of several replicas: a gate between it and everything outside, which can be shut.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use failoverd::{
    domain::{
        api_call::ApiCall,
        application::{ClusterArn, ClusterEndpoint},
        capacity::{DbInstance, Quotas},
        cloud::{
            Alarm, Answer, CloudEvent, DbCluster, DbSnapshot, EventSource, GlobalCluster, MetricQuery, Mutation,
            ObserveError, Outcome, RecordSet, Series,
        },
        id::{ApplicationName, Digest, Region},
        journal::Sealed,
        lease::Lease,
        permissions::changes::{Evaluation, Simulation},
        salvage::{Page, Replication},
        signature::{AgeAnswer, Aged},
        standby_object::ObjectAt,
    },
    engine::{Parts, Sharing},
    ports::{
        Cloud, JournalStore, Leases,
        journal::{AppendError, ReadError},
        lease::{PutError, ReadFailed},
    },
    sim::rehearse::leases::MemoryLeases,
};
use tokio::sync::Notify;

/// How long a lease of these tests is.
pub(crate) const LEASE: Duration = Duration::from_secs(24);

/// How long a call takes at most.
pub(crate) const CALL: Duration = Duration::from_secs(10);

/// After how long a store that is out of reach is given up.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
struct Shut {
    /// SIGSTOP: whatever it would send or take in waits.
    frozen: bool,
    store: Option<Cut>,
    /// Only calls that change something stand still, right before they leave.
    effects_frozen: bool,
    /// AWS does not answer; the store does.
    no_aws: bool,
    /// The next so many readings are not answered, from the append on whose record holds this.
    blind_from: Option<(String, u32)>,
    blind: u32,
    /// As an emulator does.
    takes_old_signatures: bool,
}

/// How the store is out of reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing arrives.
    There,
    /// Everything arrives, and no answer comes back.
    Back,
}

/// See the module; clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<Shut>, Notify)>);

impl Gate {
    fn set(&self, change: impl FnOnce(&mut Shut)) {
        change(&mut self.0.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.1.notify_waiters();
    }

    /// SIGSTOP, or SIGKILL where nobody thaws it.
    pub(crate) fn freeze(&self) {
        self.set(|shut| shut.frozen = true);
    }

    pub(crate) fn freeze_effects(&self) {
        self.set(|shut| shut.effects_frozen = true);
    }

    pub(crate) fn thaw(&self) {
        self.set(|shut| (shut.frozen, shut.effects_frozen) = (false, false));
    }

    pub(crate) fn cut_store(&self, cut: Option<Cut>) {
        self.set(|shut| shut.store = cut);
    }

    /// As at an emulator.
    pub(crate) fn take_old_signatures(&self) {
        self.set(|shut| shut.takes_old_signatures = true);
    }

    /// Nothing of AWS answers.
    pub(crate) fn cut_aws(&self, cut: bool) {
        self.set(|shut| (shut.no_aws, shut.blind) = (cut, 0));
    }

    /// As soon as it has appended a record that holds `text`, the next `readings` of AWS are not answered.
    pub(crate) fn cut_aws_after(&self, text: &str, readings: u32) {
        self.set(|shut| shut.blind_from = Some((text.to_owned(), readings)));
    }

    /// Whether the cut that was waited for has come.
    pub(crate) fn was_cut(&self) -> bool {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).blind_from.is_none()
    }

    fn appended(&self, bytes: &[u8]) {
        self.set(|shut| {
            if let Some((_, readings)) =
                shut.blind_from.take_if(|(t, _)| String::from_utf8_lossy(bytes).contains(t.as_str()))
            {
                shut.blind = readings;
            }
        });
    }

    /// Whether AWS does not answer a reading, which counts.
    fn is_blind(&self) -> bool {
        let mut shut = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_blind = shut.no_aws || 0 < shut.blind;
        shut.blind = shut.blind.saturating_sub(1);
        is_blind
    }

    /// Waits while it is frozen.
    async fn pass(&self, is_effect: bool) {
        loop {
            let changed = self.0.1.notified();
            {
                let shut = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
                if !(shut.frozen || is_effect && shut.effects_frozen) {
                    return;
                }
            }
            changed.await;
        }
    }

    fn store(&self) -> Option<Cut> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).store
    }

    /// Something that the store is asked, through the gate.
    async fn ask<T, E>(&self, asked: impl Future<Output = Result<T, E>>, failed: impl Fn(String) -> E) -> Result<T, E> {
        self.pass(false).await;
        tokio::time::sleep(Duration::from_millis(3)).await;
        self.pass(false).await;
        if self.store() == Some(Cut::There) {
            tokio::time::sleep(STORE_TIMEOUT).await;
            return Err(failed("no answer".to_owned()));
        }
        let answer = asked.await;
        if self.store() == Some(Cut::Back) {
            tokio::time::sleep(STORE_TIMEOUT).await;
            return Err(failed("no answer".to_owned()));
        }
        self.pass(false).await;
        answer
    }

    /// `parts` behind this gate, with `leases`, as the replica `holder`.
    pub(crate) fn around(&self, parts: Parts, leases: &MemoryLeases, holder: &str) -> Parts {
        let gated = Gated { gate: self.clone(), store: parts.store, cloud: parts.cloud, leases: leases.clone() };
        Parts {
            store: Arc::new(gated.clone()),
            cloud: Arc::new(gated.clone()),
            holder: holder.to_owned(),
            sharing: Some(Sharing {
                leases: Arc::new(gated),
                duration: LEASE,
                call_within: CALL,
                url: Some(format!("http://{holder}.example.com:8080")),
                region: Some("us-east-2".to_owned()),
                offline: None,
            }),
            ..parts
        }
    }
}

/// A store, its leases and a cloud behind a gate.
#[derive(Debug, Clone)]
struct Gated {
    gate: Gate,
    store: Arc<dyn JournalStore>,
    cloud: Arc<dyn Cloud>,
    leases: MemoryLeases,
}

#[async_trait]
impl JournalStore for Gated {
    async fn append(&self, sealed: &Sealed) -> Result<(), AppendError> {
        let appended = self.gate.ask(self.store.append(sealed), |reason| AppendError::Failed { reason }).await;
        self.gate.appended(&sealed.bytes);
        appended
    }

    async fn read(
        &self,
        journal: &ApplicationName,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Digest)>, ReadError> {
        self.gate.ask(self.store.read(journal, from_seq, limit), |reason| ReadError::Failed { reason }).await
    }

    async fn journals(&self) -> Result<Vec<ApplicationName>, ReadError> {
        self.gate.ask(self.store.journals(), |reason| ReadError::Failed { reason }).await
    }
}

#[async_trait]
impl Leases for Gated {
    async fn lease(&self, application: &ApplicationName) -> Result<Option<Lease>, ReadFailed> {
        self.gate.ask(self.leases.lease(application), |reason| ReadFailed { reason }).await
    }

    async fn put(&self, application: &ApplicationName, lease: &Lease, over: Option<u64>) -> Result<(), PutError> {
        self.gate.ask(self.leases.put(application, lease, over), |reason| PutError::Failed { reason }).await
    }
}

macro_rules! reads {
    ($($name:ident ( $($arg:ident : $type:ty),* ) -> $answer:ty;)*) => {
        #[async_trait]
        impl Cloud for Gated {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$answer, ObserveError> {
                self.gate.pass(false).await;
                if self.gate.is_blind() {
                    tokio::time::sleep(CALL).await;
                    return Err(ObserveError::Unreachable { reason: "no answer".to_owned() });
                }
                let answer = self.cloud.$name($($arg),*).await;
                self.gate.pass(false).await;
                answer
            })*

            async fn aged(&self, question: &Aged) -> Result<AgeAnswer, ObserveError> {
                if self.gate.0.0.lock().unwrap_or_else(PoisonError::into_inner).takes_old_signatures {
                    return Ok(AgeAnswer::Taken);
                }
                self.cloud.aged(question).await
            }

            async fn apply(&self, mutation: &Mutation, intended_at: jiff::Timestamp) -> Outcome {
                self.gate.pass(true).await;
                if self.gate.0.0.lock().unwrap_or_else(PoisonError::into_inner).no_aws {
                    return Outcome::NotSent { reason: "never connected".to_owned() };
                }
                let outcome = self.cloud.apply(mutation, intended_at).await;
                self.gate.pass(true).await;
                outcome
            }
        }
    };
}

reads! {
    global_cluster(region: &Region, identifier: &str) -> GlobalCluster;
    db_cluster(arn: &ClusterArn) -> DbCluster;
    cluster_parameter(region: &Region, group: &str, name: &str) -> Option<String>;
    db_instances(cluster: &ClusterArn) -> Vec<DbInstance>;
    cluster_snapshots(cluster: &ClusterArn) -> Vec<DbSnapshot>;
    account_quotas(region: &Region) -> Quotas;
    metrics(region: &Region, queries: &[MetricQuery], window: Duration) -> Vec<Answer<Series>>;
    metrics_until(region: &Region, queries: &[MetricQuery], until: jiff::Timestamp, window: Duration) -> Vec<Answer<Series>>;
    objects(region: &Region, bucket: &str, after: Option<&str>) -> Page;
    replication_of(region: &Region, bucket: &str, key: &str) -> Replication;
    alarms(region: &Region, names: &[String]) -> Vec<Answer<Alarm>>;
    events(region: &Region, source: &EventSource, window: Duration) -> Vec<CloudEvent>;
    record_sets(zone: &str, name: &str, record_type: &str) -> Vec<RecordSet>;
    routing_controls(endpoints: &[ClusterEndpoint], arns: &[String]) -> Vec<bool>;
    object_is_there(object: &ObjectAt) -> bool;
    topic_is_there(region: &Region, arn: &str) -> bool;
    caller(region: &Region) -> String;
    role_arn(region: &Region, role: &str) -> String;
    simulate(region: &Region, question: &Simulation) -> Vec<Evaluation>;
    change_is_insync(change_id: &str) -> bool;
    ask(request: &ApiCall) -> serde_json::Value;
}
