//! [`DynamoStore`]: journals and leases in one DynamoDB table that several replicas share.
//!
//! Invariants: the put of a record, on the condition that none is there, is its one commit; no other item decides
//! anything, and no item is ever deleted or, but for leases, changed. Every read that is relied on is strongly
//! consistent. Only single items are written, each with a condition or the same whoever writes it, so that the table may
//! be one that is strongly consistent over several Regions, which has neither transactions nor expiry (AWS.md 5).
//!
//! A record's predecessor is known or looked at: committed records never change, so what was once seen stands. An
//! answer that is lost is asked for again by the same put, which finds itself there by its nonce; two replicas may seal
//! the same bytes, and only one of them wrote them.
//!
//! Not here: who may write (that is the lease's and the journal's protocol), following, caches of records, backups.

mod answers;
mod call;
mod global;
mod item;
mod outboxes;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    error::SdkError,
    operation::put_item::PutItemError,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use tokio::sync::Semaphore;

pub use self::{
    answers::Answers,
    call::Draw,
    global::Copies,
    table::{Adopted, Created, Verified},
};
use self::{
    call::{Calls, Failure},
    item::Item,
};
use super::OpenError;
use crate::{
    domain::{
        id::{ApplicationName, Digest, Region},
        journal::{RECORD_BYTES_MAX, Sealed},
        lease::Lease,
    },
    ports::{
        Clock, JournalStore, Leases,
        journal::{AppendError, ReadError},
        lease::{PutError, ReadFailed},
    },
};

/// A request's share of the lease: what is renewed five times in a lease is asked within less than half of that.
const REQUESTS_PER_LEASE: u32 = 12;
/// Bounds of a request's time. A strongly consistent write over Regions takes some hundred milliseconds.
const REQUEST_TIMEOUT_MIN: Duration = Duration::from_millis(250);
const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(2);
/// How long one page of a journal is tried for.
const PAGE_WITHIN: Duration = Duration::from_secs(10);
/// Items that one page may have; DynamoDB ends a page at 1 MB besides.
const PAGE_ITEMS_MAX: usize = 1_000;
/// Journals that are read at once, so that a start with hundreds of them does not throttle itself.
const READS_MAX: usize = 8;

/// Which table, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub table: String,
    /// The Region whose endpoint is called.
    pub region: Region,
    /// Where replicas run.
    pub replica_regions: BTreeSet<Region>,
    /// The Regions that applications prefer: a table in one of them alone is refused.
    pub primary_regions: BTreeSet<Region>,
    /// How long leases last: requests and appends must end well within it.
    pub lease: Duration,
    /// Whether what cannot be verified is refused, unless it is named below.
    pub production: bool,
    pub allow_unverified: BTreeSet<String>,
}

impl Options {
    /// No request takes longer: a twelfth of the lease, from 250 ms to 2 s.
    pub fn request_timeout(&self) -> Duration {
        (self.lease / REQUESTS_PER_LEASE).clamp(REQUEST_TIMEOUT_MIN, REQUEST_TIMEOUT_MAX)
    }

    /// No append takes longer: a third of the lease. Whoever cannot append for so long loses it soon.
    pub fn append_within(&self) -> Duration {
        (self.lease / 3).max(self.request_timeout())
    }
}

/// The shared store. Clones of an [`Arc`] of it are one; several in one process know nothing of each other.
#[derive(Debug)]
pub struct DynamoStore {
    calls: Calls,
    table: String,
    append_within: Duration,
    /// The newest record of each journal that this process has written or seen: never more than there are applications.
    known: Mutex<BTreeMap<ApplicationName, (u64, Digest)>>,
    reads: Semaphore,
    warnings: Vec<String>,
}

impl DynamoStore {
    /// Opens the table of `options`, which must be there and be what a journal needs. `draw` gives random bits.
    ///
    /// # Errors
    /// Everything that would make "appended" mean less than appended everywhere and for good; see [`OpenError`].
    pub async fn open(
        sdk: &SdkConfig,
        clock: Arc<dyn Clock>,
        draw: Draw,
        options: &Options,
    ) -> Result<Self, OpenError> {
        let calls = Calls::new(sdk, &options.region, clock, draw, options.request_timeout());
        let verified = table::verify(&calls, options, table::Mark::Write).await?;
        for warning in &verified.warnings {
            tracing::warn!(table = options.table, warning, "the store");
        }
        Ok(Self {
            calls,
            table: options.table.clone(),
            append_within: options.append_within(),
            known: Mutex::default(),
            reads: Semaphore::new(READS_MAX),
            warnings: verified.warnings,
        })
    }

    /// Looks at the table as [`DynamoStore::open`] does, and writes nothing.
    ///
    /// # Errors
    /// As [`DynamoStore::open`].
    pub async fn verify(
        sdk: &SdkConfig,
        clock: Arc<dyn Clock>,
        draw: Draw,
        options: &Options,
    ) -> Result<Verified, OpenError> {
        let calls = Calls::new(sdk, &options.region, clock, draw, options.request_timeout());
        table::verify(&calls, options, table::Mark::Look).await
    }

    /// Makes the table where it is not there, and waits until it can be used.
    ///
    /// # Errors
    /// Where it cannot be made, or is there and is none of ours.
    pub async fn create(
        sdk: &SdkConfig,
        clock: Arc<dyn Clock>,
        draw: Draw,
        options: &Options,
    ) -> Result<Created, OpenError> {
        let calls = Calls::new(sdk, &options.region, clock, draw, options.request_timeout());
        table::create(&calls, options).await
    }

    /// Makes the empty table of `options` one that is strongly consistent over three Regions, and waits until it is; `tell`
    /// hears how far that is.
    ///
    /// # Errors
    /// Where it has records or other copies, or where the copies do not come about.
    pub async fn spread(
        sdk: &SdkConfig,
        clock: Arc<dyn Clock>,
        draw: Draw,
        options: &Options,
        copies: &Copies,
        tell: &(dyn Fn(&str) + Sync),
    ) -> Result<Verified, OpenError> {
        let calls = Calls::new(sdk, &options.region, clock, draw, options.request_timeout());
        global::spread(&calls, options, copies, tell).await
    }

    /// Takes over a table that was restored or copied: marks it as the one in which its journals are written from now
    /// on. No replica may run meanwhile, over this table or the one that it was restored from.
    ///
    /// # Errors
    /// As [`DynamoStore::open`], but for a mark of another table.
    pub async fn adopt(
        sdk: &SdkConfig,
        clock: Arc<dyn Clock>,
        draw: Draw,
        options: &Options,
    ) -> Result<Adopted, OpenError> {
        let calls = Calls::new(sdk, &options.region, clock, draw, options.request_timeout());
        table::adopt(&calls, options).await
    }

    /// What an operator should know of the table.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Requests sent since the start: what is paid for.
    pub fn requests(&self) -> u64 {
        self.calls.sent()
    }

    fn known(&self, journal: &ApplicationName) -> Option<(u64, Digest)> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(journal).cloned()
    }

    fn learn(&self, journal: &ApplicationName, seq: u64, hash: &Digest) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(journal).is_none_or(|(newest, _)| *newest < seq) {
            known.insert(journal.clone(), (seq, hash.clone()));
        }
    }

    /// One strongly consistent read of one item, tried for as long as `within`.
    async fn item(&self, key: Item, within: Duration) -> Result<Option<Item>, Failure> {
        let get = || async {
            let get = self.calls.journals.get_item().table_name(&self.table).set_key(Some(key.clone()));
            get.consistent_read(true).send().await.map(|out| out.item).map_err(|e| call::failure(&e))
        };
        self.calls.within(within, get).await
    }

    /// Whether the journal ends so that `sealed` can follow; only what is not known is asked.
    async fn follows(&self, sealed: &Sealed, within: Duration) -> Result<bool, Failure> {
        let record = &sealed.record;
        let Some(before) = record.seq.checked_sub(1) else {
            return Ok(record.prev_hash == Digest::zero());
        };
        match self.known(&record.journal) {
            Some((seq, hash)) if seq == before => return Ok(hash == record.prev_hash),
            // There is a record with this number already.
            Some((seq, _)) if before < seq => return Ok(false),
            _ => {}
        }
        let Some(item) = self.item(item::record_key(&record.journal, before), within).await? else {
            return Ok(false);
        };
        let refused = |reason| Failure::Refused { code: "corrupted".to_owned(), reason };
        Ok(item::hash_of(&item, before).map_err(refused)? == record.prev_hash)
    }

    /// The same put until its answer is known, and what that is: `true` where the record is there and is ours.
    async fn commit(&self, sealed: &Sealed, within: Duration) -> Result<bool, Failure> {
        let nonce = format!("{:032x}", self.calls.draw());
        let put = || async {
            let put = self
                .calls
                .journals
                .put_item()
                .table_name(&self.table)
                .set_item(Some(item::record(sealed, &nonce)))
                .condition_expression("attribute_not_exists(pk)")
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            match put.send().await {
                Ok(_) => Ok(true),
                Err(error) => match (call::failure(&error), found(error)) {
                    (Failure::Condition, Some(there)) => Ok(is_ours(&there, sealed, &nonce)),
                    // What is there was not told: it is looked at.
                    (Failure::Condition, None) => {
                        let get = self.calls.journals.get_item().table_name(&self.table).consistent_read(true);
                        let key = item::record_key(&sealed.record.journal, sealed.record.seq);
                        let got = get.set_key(Some(key)).send().await.map_err(|e| call::failure(&e))?;
                        Ok(got.item.is_some_and(|there| is_ours(&there, sealed, &nonce)))
                    }
                    (failure, _) => Err(failure),
                },
            }
        };
        self.calls.within(within, put).await
    }

    /// Notes the journal's name before its first record, so that none with a record is without its name.
    async fn announce(&self, journal: &ApplicationName, within: Duration) -> Result<(), Failure> {
        let put = || async {
            let put = self.calls.journals.put_item().table_name(&self.table).set_item(Some(item::name(journal)));
            put.send().await.map(|_| ()).map_err(|e| call::failure(&e))
        };
        self.calls.within(within, put).await
    }

    async fn try_append(&self, sealed: &Sealed) -> Result<bool, Failure> {
        let end = self.calls.boot() + self.append_within;
        let left = || end.saturating_sub(self.calls.boot());
        if !self.follows(sealed, left()).await? {
            return Ok(false);
        }
        if sealed.record.seq == 0 {
            self.announce(&sealed.record.journal, left()).await?;
        }
        self.commit(sealed, left()).await
    }

    /// A partition's items from `from` on, at most `limit`, page by page; whether that is the end of it.
    async fn pages(&self, pk: &str, from: &str, limit: usize) -> Result<(Vec<Item>, bool), Failure> {
        let (mut items, mut start) = (Vec::new(), None::<Item>);
        while items.len() < limit {
            let most = i32::try_from((limit - items.len()).min(PAGE_ITEMS_MAX)).unwrap_or(i32::MAX);
            let query = || async {
                let query = self.calls.journals.query().table_name(&self.table).consistent_read(true).limit(most);
                query
                    .key_condition_expression("pk = :pk AND sk >= :sk")
                    .expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()))
                    .expression_attribute_values(":sk", AttributeValue::S(from.to_owned()))
                    .set_exclusive_start_key(start.clone())
                    .send()
                    .await
                    .map_err(|e| call::failure(&e))
            };
            let page = self.calls.within(PAGE_WITHIN, query).await?;
            let found = page.items.unwrap_or_default();
            let is_empty = found.is_empty();
            items.extend(found);
            start = page.last_evaluated_key.filter(|key| !key.is_empty());
            match start {
                None => return Ok((items, true)),
                // It would be asked for ever.
                Some(_) if is_empty => {
                    let reason = "a page without items says that there are more".to_owned();
                    return Err(Failure::Passing { reason });
                }
                Some(_) => {}
            }
        }
        Ok((items, false))
    }

    /// Holds what was read against what this process has seen before: records never change and never go (FAULTS.md 26).
    fn still_there(
        journal: &ApplicationName,
        seen: Option<&(u64, Digest)>,
        from: u64,
        records: &[(Vec<u8>, Digest)],
        is_end: bool,
    ) -> Result<(), ReadError> {
        let Some((seq, hash)) = seen else { return Ok(()) };
        let gone = |what: &str| {
            let reason = format!(
                "journal `{journal}`: record {seq} {what}, and it was here before: the table was deleted, restored from a \
                 backup or changed"
            );
            Err(ReadError::Corrupted { reason })
        };
        let Some(at) = seq.checked_sub(from).and_then(|at| usize::try_from(at).ok()) else { return Ok(()) };
        match records.get(at) {
            Some((_, there)) if there != hash => gone("is another one now"),
            None if is_end => gone("is gone"),
            _ => Ok(()),
        }
    }
}

/// The item that a put found in its way, where it was told.
fn found(error: SdkError<PutItemError>) -> Option<Item> {
    match error.into_service_error() {
        PutItemError::ConditionalCheckFailedException(e) => e.item,
        _ => None,
    }
}

/// Whether what is there was written by this very put.
fn is_ours(there: &Item, sealed: &Sealed, nonce: &str) -> bool {
    item::text_of(there, "nonce").is_ok_and(|n| n == nonce)
        && item::text_of(there, "hash").is_ok_and(|h| h == sealed.hash.as_str())
}

fn unread(failure: Failure) -> ReadError {
    match failure {
        Failure::Refused { code, reason } if code == "ResourceNotFoundException" => {
            ReadError::Failed { reason: format!("the table is not there: {reason}") }
        }
        other => ReadError::Failed { reason: other.to_string() },
    }
}

#[async_trait]
impl JournalStore for DynamoStore {
    async fn append(&self, sealed: &Sealed) -> Result<(), AppendError> {
        let record = &sealed.record;
        // Refused before anything is written (FAULTS.md 15): no reader could verify or carry such a record.
        if sealed.bytes.len() > RECORD_BYTES_MAX || Digest::of(&sealed.bytes) != sealed.hash {
            return Err(AppendError::Failed { reason: "the record is too large or does not have its hash".to_owned() });
        }
        match self.try_append(sealed).await {
            Ok(true) => {
                self.learn(&record.journal, record.seq, &sealed.hash);
                Ok(())
            }
            Ok(false) => Err(AppendError::Conflict { journal: record.journal.clone(), seq: record.seq }),
            Err(failure) => Err(AppendError::Failed { reason: failure.to_string() }),
        }
    }

    async fn read(
        &self,
        journal: &ApplicationName,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Digest)>, ReadError> {
        let Ok(_turn) = self.reads.acquire().await else {
            return Err(ReadError::Failed { reason: "the store is closed".to_owned() });
        };
        // Before the table is asked: what is appended meanwhile need not be in its answer.
        let seen = self.known(journal);
        let (items, is_end) =
            self.pages(&item::journal_pk(journal), &item::record_sk(from_seq), limit).await.map_err(unread)?;
        let corrupted = |why| ReadError::Corrupted { reason: format!("journal `{journal}`: {why}") };
        let mut records = Vec::with_capacity(items.len());
        for (item, seq) in items.iter().zip(from_seq..=u64::MAX) {
            records.push(item::record_of(item, seq).map_err(corrupted)?);
        }
        Self::still_there(journal, seen.as_ref(), from_seq, &records, is_end)?;
        if let Some((bytes, hash)) = records.last()
            && Digest::of(bytes) == *hash
        {
            self.learn(journal, from_seq + (records.len() as u64 - 1), hash);
        }
        Ok(records)
    }

    async fn journals(&self) -> Result<Vec<ApplicationName>, ReadError> {
        let (items, _) = self.pages(item::JOURNALS, "!", usize::MAX).await.map_err(unread)?;
        let mut journals = Vec::with_capacity(items.len());
        for item in &items {
            let name =
                item::text_of(item, "sk").and_then(|sk| sk.parse::<ApplicationName>().map_err(|e| e.to_string()));
            let name = name.map_err(|e| ReadError::Corrupted { reason: format!("a journal's name: {e}") })?;
            // The name is there before the first record, which may never have come.
            let begun = self.known(&name).is_some()
                || self.item(item::record_key(&name, 0), PAGE_WITHIN).await.map_err(unread)?.is_some();
            if begun {
                journals.push(name);
            }
        }
        Ok(journals)
    }
}

#[async_trait]
impl Leases for DynamoStore {
    async fn lease(&self, application: &ApplicationName) -> Result<Option<Lease>, ReadFailed> {
        let get = self.calls.leases.get_item().table_name(&self.table).consistent_read(true);
        let got = get.set_key(Some(item::lease_key(application))).send().await;
        let got = got.map_err(|e| ReadFailed { reason: call::failure(&e).to_string() })?;
        got.item.map(|item| item::lease_of(&item)).transpose().map_err(|reason| ReadFailed { reason })
    }

    async fn put(&self, application: &ApplicationName, lease: &Lease, over: Option<u64>) -> Result<(), PutError> {
        let put = self
            .calls
            .leases
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item::lease(application, lease)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let put = match over {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(version) => put
                .condition_expression("#version = :over")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":over", AttributeValue::N(version.to_string())),
        };
        let Err(error) = put.send().await else { return Ok(()) };
        let failed = |reason| PutError::Failed { reason };
        let there = match (call::failure(&error), found(error)) {
            (Failure::Condition, Some(item)) => Some(item::lease_of(&item).map_err(failed)?),
            // What is there was not told, or nothing is: it is looked at.
            (Failure::Condition, None) => self.lease(application).await.map_err(|e| failed(e.reason))?,
            (failure, _) => return Err(failed(failure.to_string())),
        };
        match there {
            Some(there) if is_same(&there, lease) => Ok(()),
            there => Err(PutError::Lost { application: application.clone(), found: there.map(Box::new) }),
        }
    }
}

/// Whether `there` is what the same write left, whose answer was lost. Nobody else has that holder, and no holder
/// writes a version twice.
fn is_same(there: &Lease, lease: &Lease) -> bool {
    there.holder == lease.holder && there.version == lease.version && there.released == lease.released
}
