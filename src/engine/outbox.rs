//! Telling people what was recorded, over every channel that takes it.
//!
//! Invariants: nobody waits for this task, and it waits for no channel: each attempt is a task of its own with an end, at
//! most one per application and channel, and at most [`AT_ONCE_MAX`] per channel. What it makes, it makes of durable
//! records, so a message never tells what was not recorded. What was delivered is written down after it was
//! delivered: a death in between tells it again, with the same id. It appends nothing to the journal and asks for no
//! lease: where its pages cannot be read or written, people are told all the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    task::{Id, JoinSet},
};

use crate::{
    domain::{
        application::Application,
        channel::{Channel, Channels},
        id::{ApplicationName, ChannelName, Subject},
        journal::Record,
        notice::{Notice, NoticeId},
        outbox::{Ending, Outbox, SCHEMA_VERSION, Sent, pause_seconds},
    },
    engine::{context::Context, control::Refusal, newest::Newest},
    ports::{
        Clock, JournalStore, Messenger, Observer, Outboxes,
        outboxes::{Page, PutError},
    },
};

/// The longest that an attempt takes.
pub const SEND_WITHIN: Duration = Duration::from_secs(15);
/// How many messages of all applications are on their way to one channel at once.
pub const AT_ONCE_MAX: usize = 4;
/// How many records are read at once.
const RECORDS_MAX: usize = 200;
/// After a failed look at the store.
const AGAIN: Duration = Duration::from_secs(5);
/// The longest that nothing is looked at: what time alone makes is told so late at most.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The longest pause that a channel may ask for.
const RETRY_AFTER_MAX: u64 = 15 * 60;

/// How people are told; shared by all applications.
#[derive(Clone)]
pub struct Post {
    pub channels: Channels,
    pub outboxes: Arc<dyn Outboxes>,
    pub messenger: Arc<dyn Messenger>,
    pub observer: Arc<dyn Observer>,
    /// Random bits, for pauses.
    pub draw: Arc<dyn Fn() -> u128 + Send + Sync>,
    turns: Arc<BTreeMap<ChannelName, Arc<Semaphore>>>,
    shown: Arc<BTreeMap<ApplicationName, Newest<Option<Arc<Outbox>>>>>,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").field("channels", &self.channels).finish_non_exhaustive()
    }
}

impl Post {
    pub fn new<'a>(
        channels: Channels,
        applications: impl Iterator<Item = &'a ApplicationName>,
        (outboxes, messenger): (Arc<dyn Outboxes>, Arc<dyn Messenger>),
        observer: Arc<dyn Observer>,
        draw: Arc<dyn Fn() -> u128 + Send + Sync>,
    ) -> Self {
        let turn = |c: &Channel| (c.name.clone(), Arc::new(Semaphore::new(AT_ONCE_MAX)));
        let turns = Arc::new(channels.configured.iter().map(turn).collect());
        let shown = Arc::new(applications.map(|name| (name.clone(), Newest::new(None))).collect());
        Self { channels, outboxes, messenger, observer, draw, turns, shown }
    }

    /// What is told of `application`: as it is known here where it is told here, else as its page says.
    ///
    /// # Errors
    /// Where the page cannot be read.
    async fn told(&self, application: &Application) -> Result<Told, Refusal> {
        let channels = self.channels.of(application);
        if let Some(outbox) = self.shown.get(&application.name).and_then(Newest::get) {
            return Ok(Told { channels, outbox });
        }
        let held = |why: String| Refusal::Held(why);
        let page = self.outboxes.page(&application.name).await.map_err(|e| held(e.to_string()))?;
        let outbox = page.map_or(Ok(Outbox::default()), |page| parse(&page)).map_err(held)?;
        Ok(Told { channels, outbox: Arc::new(outbox) })
    }

    /// Sends a message that says that it is a test, once.
    ///
    /// # Errors
    /// Where the application has no such channel.
    async fn test(
        &self,
        application: &Application,
        name: &ChannelName,
        by: &Subject,
        clock: &dyn Clock,
    ) -> Result<Sent, Refusal> {
        let channels = self.channels.of(application);
        let unknown = || Refusal::UnknownChannel { application: application.name.clone(), channel: name.clone() };
        let channel = channels.get(name).ok_or_else(unknown)?;
        let notice = Notice::test(&application.name, by.as_str(), (self.draw)(), clock.wall());
        tracing::info!(application = %application.name, channel = %name, %by, "a test message is sent");
        Ok(self.send(clock, channel, &notice).await)
    }

    /// One message, whose answer is waited for so long and no longer.
    async fn send(&self, clock: &dyn Clock, channel: &Channel, notice: &Notice) -> Sent {
        let turn = self.turns.get(&channel.name).cloned();
        let sending = async {
            let _turn = match &turn {
                Some(turn) => turn.acquire().await.ok(),
                None => None,
            };
            self.messenger.send(channel, notice).await
        };
        tokio::select! {
            biased;
            sent = sending => sent,
            () = clock.sleep(SEND_WITHIN) => {
                let reason = format!("no answer within {} s", SEND_WITHIN.as_secs());
                Sent::Failed { reason, retry_after_seconds: None }
            }
        }
    }
}

fn parse(page: &Page) -> Result<Outbox, String> {
    let outbox: Outbox = serde_json::from_str(&page.text).map_err(|e| format!("the page of what was told: {e}"))?;
    match outbox.schema <= SCHEMA_VERSION {
        true => Ok(outbox),
        false => Err(format!("the page of what was told has schema {}, newer than {SCHEMA_VERSION}", outbox.schema)),
    }
}

/// What people are told of one application.
#[derive(Debug, Clone, Default)]
pub struct Told {
    pub channels: BTreeMap<ChannelName, Channel>,
    pub outbox: Arc<Outbox>,
}

/// What people are told of `application`; nothing where they are not told.
pub(super) async fn told(post: Option<&Post>, application: &Application) -> Result<Told, Refusal> {
    match post {
        Some(post) => post.told(application).await,
        None => Ok(Told::default()),
    }
}

/// A test message for `by` over one channel of `application`.
pub(super) async fn test(
    post: Option<&Post>,
    application: &Application,
    channel: &ChannelName,
    by: &Subject,
    clock: &dyn Clock,
) -> Result<Sent, Refusal> {
    match post {
        Some(post) => post.test(application, channel, by, clock).await,
        None => Err(Refusal::UnknownChannel { application: application.name.clone(), channel: channel.clone() }),
    }
}

/// One application's, while this replica leads it.
struct Teller {
    context: Context,
    post: Post,
    store: Arc<dyn JournalStore>,
    channels: BTreeMap<ChannelName, Channel>,
    outbox: Outbox,
    /// Of the page as it was read or written last.
    version: u64,
    /// What the page does not say yet.
    is_ahead: bool,
    /// Until when a channel is left alone, per notice, in boot time.
    resting: BTreeMap<(NoticeId, ChannelName), Duration>,
    sending: JoinSet<Sent>,
    on_the_way: BTreeMap<Id, (NoticeId, ChannelName)>,
}

/// [`tell`], apart: unlike any other task, that nobody is told must not end what a failover runs in.
pub async fn tell_apart(context: Context, post: Post, store: Arc<dyn JournalStore>) {
    if let Err(panicked) = tokio::spawn(tell(context, post, store)).await {
        tracing::error!(%panicked, "people are told nothing more until the next start");
    }
}

/// Tells of the application of `context` until it is told to stop.
pub async fn tell(context: Context, post: Post, store: Arc<dyn JournalStore>) {
    let channels = post.channels.of(&context.application);
    let (outbox, version) = (Outbox::default(), 0);
    let mut teller = Teller {
        context,
        post,
        store,
        channels,
        outbox,
        version,
        is_ahead: false,
        resting: BTreeMap::new(),
        sending: JoinSet::new(),
        on_the_way: BTreeMap::new(),
    };
    let stopping = teller.context.stopping.clone();
    tokio::select! {
        biased;
        () = stopping.cancelled() => {}
        () = teller.work() => {}
    }
    // Whoever leads next shows it.
    teller.show(None);
}

impl Teller {
    async fn work(&mut self) {
        self.begin().await;
        let mut changes = self.context.scribe.changes();
        loop {
            let history = changes.take();
            let has_read = self.read_to(history.tail.next_seq).await;
            let now = self.context.clock.wall();
            let app = &self.context.application.name;
            self.is_ahead |= self.outbox.remind(app, history.overrides.in_force(now), &self.channels, now);
            let given_up = self.outbox.expire(&self.channels, now);
            self.count_given_up(given_up);
            self.send_what_is_due();
            let has_written = self.write().await;
            self.show(Some(Arc::new(self.outbox.clone())));
            let wait = if has_read && has_written { self.until_next() } else { AGAIN.min(self.until_next()) };
            tokio::select! {
                biased;
                Some(ended) = self.sending.join_next_with_id(), if !self.sending.is_empty() => self.ended(ended),
                () = changes.changed(), if has_read => {}
                () = self.context.clock.sleep(wait) => {}
            }
        }
    }

    /// Goes on from the page. Where there is none, what was recorded so far is history: the page begins here, and is
    /// written before anything is told, so that nothing that follows is taken for history by the next.
    async fn begin(&mut self) {
        loop {
            match self.post.outboxes.page(&self.context.application.name).await.map_err(|e| e.to_string()) {
                Ok(Some(page)) => match parse(&page) {
                    Ok(outbox) => {
                        (self.outbox, self.version) = (outbox, page.version);
                        return;
                    }
                    // Another release's, or damaged. It is overwritten: what is told comes of the journal.
                    Err(reason) => {
                        self.warn(&reason);
                        self.version = page.version;
                        break;
                    }
                },
                Ok(None) => break,
                Err(reason) => {
                    self.warn(&reason);
                    self.context.clock.sleep(AGAIN).await;
                }
            }
        }
        let until = self.context.scribe.history().tail.next_seq;
        while self.outbox.next_seq < until {
            let records = self.records().await;
            let Ok(records) = records else {
                self.context.clock.sleep(AGAIN).await;
                continue;
            };
            records.iter().filter(|record| record.seq < until).for_each(|record| self.outbox.pass(record));
            if records.is_empty() {
                break;
            }
        }
        self.is_ahead = true;
        while !self.write().await {
            self.context.clock.sleep(AGAIN).await;
        }
    }

    /// Records that were not told of, at most [`RECORDS_MAX`].
    async fn records(&self) -> Result<Vec<Record>, ()> {
        let application = &self.context.application.name;
        let read = self.store.read(application, self.outbox.next_seq, RECORDS_MAX).await;
        let read = read.map_err(|error| self.warn(&error.to_string()))?;
        let parsed = read.iter().map(|(bytes, _)| serde_json::from_slice::<Record>(bytes));
        parsed.collect::<Result<_, _>>().map_err(|error| self.warn(&error.to_string()))
    }

    /// Takes in what was recorded before `next_seq`; whether all of it was.
    async fn read_to(&mut self, next_seq: u64) -> bool {
        while self.outbox.next_seq < next_seq {
            let Ok(records) = self.records().await else { return false };
            if records.is_empty() {
                return false;
            }
            let (now, before) = (self.context.clock.wall(), self.outbox.waiting());
            for record in &records {
                self.outbox.absorb(record, &self.channels, now);
            }
            self.is_ahead |= self.outbox.waiting() != before;
        }
        true
    }

    fn send_what_is_due(&mut self) {
        let boot = self.context.clock.boot();
        let busy: BTreeSet<_> = self.on_the_way.values().map(|(_, channel)| channel.clone()).collect();
        let mut begun = BTreeSet::new();
        for (notice, name, _) in self.outbox.due() {
            let rests = self.resting.get(&(notice.id.clone(), name.clone())).is_some_and(|until| boot < *until);
            if rests || busy.contains(name) || !begun.insert(name.clone()) {
                continue;
            }
            let Some(channel) = self.channels.get(name) else { continue };
            let (post, clock, channel, notice) =
                (self.post.clone(), Arc::clone(&self.context.clock), channel.clone(), notice.clone());
            let key = (notice.id.clone(), name.clone());
            let task = self.sending.spawn(async move { post.send(&*clock, &channel, &notice).await });
            self.on_the_way.insert(task.id(), key);
        }
    }

    /// Takes in how an attempt ended; one that panicked has failed, and ends nothing else.
    fn ended(&mut self, ended: Result<(Id, Sent), tokio::task::JoinError>) {
        let (task, sent) = ended.unwrap_or_else(|panicked| {
            let reason = "a fault of failoverd itself; its log has it".to_owned();
            (panicked.id(), Sent::Failed { reason, retry_after_seconds: None })
        });
        let Some((id, channel)) = self.on_the_way.remove(&task) else { return };
        let (application, now) = (&self.context.application.name, self.context.clock.wall());
        self.outbox.sent(&id, &channel, &sent, now);
        let outcome = match &sent {
            Sent::Delivered => Ending::Delivered.as_str(),
            Sent::Refused { reason } => {
                tracing::error!(%application, %id, %channel, reason, "a channel refuses a notice: it is not sent again");
                Ending::Refused.as_str()
            }
            Sent::Failed { reason, .. } => {
                tracing::warn!(%application, %id, %channel, reason, "a notice was not delivered; it is tried again");
                "failed"
            }
        };
        self.post.observer.notified(&channel, outcome);
        let key = (id, channel);
        match sent {
            Sent::Failed { retry_after_seconds, .. } => self.rest(key, retry_after_seconds),
            Sent::Delivered | Sent::Refused { .. } => {
                self.resting.remove(&key);
                self.is_ahead = true;
            }
        }
    }

    fn rest(&mut self, key: (NoticeId, ChannelName), retry_after_seconds: Option<u64>) {
        let due = self.outbox.due();
        let attempts = due.iter().find(|(n, c, _)| n.id == key.0 && **c == key.1).map_or(1, |(_, _, count)| *count);
        let own = pause_seconds(attempts, (self.post.draw)());
        let seconds = retry_after_seconds.map_or(own, |asked| asked.min(RETRY_AFTER_MAX).max(own));
        self.resting.insert(key, self.context.clock.boot() + Duration::from_secs(seconds));
        let open: BTreeSet<_> = self.outbox.open.iter().map(|open| open.notice.id.clone()).collect();
        self.resting.retain(|(id, _), _| open.contains(id));
    }

    /// Until something is to be done that nobody wakes this for.
    fn until_next(&self) -> Duration {
        let boot = self.context.clock.boot();
        let rests = self.resting.values().map(|until| until.saturating_sub(boot));
        rests.filter(|left| !left.is_zero()).min().map_or(LOOK_EVERY, |left| left.min(LOOK_EVERY))
    }

    /// Writes the page, where it says less than is known; whether it says all.
    async fn write(&mut self) -> bool {
        if !self.is_ahead {
            return true;
        }
        let text = serde_json::to_string(&self.outbox).unwrap_or_else(|e| unreachable!("outboxes serialise: {e}"));
        let page = Page { version: self.version + 1, text };
        match self.post.outboxes.put(&self.context.application.name, &page).await {
            Ok(()) => {
                (self.version, self.is_ahead) = (page.version, false);
                true
            }
            // The leader before this one, late: its page is no worse than ours, and what is told twice has one id.
            Err(PutError::Lost { found, .. }) => {
                self.warn("another replica has written what was told: it is written over");
                self.version = found.map_or(0, |found| found.version);
                false
            }
            Err(PutError::Failed { reason }) => {
                self.warn(&reason);
                false
            }
        }
    }

    fn show(&self, outbox: Option<Arc<Outbox>>) {
        let mut waiting: BTreeMap<ChannelName, (usize, jiff::Timestamp)> = BTreeMap::new();
        for open in outbox.iter().flat_map(|outbox| &outbox.open) {
            for channel in open.to.keys() {
                let (count, oldest) = waiting.entry(channel.clone()).or_insert((0, open.notice.at));
                (*count, *oldest) = (*count + 1, (*oldest).min(open.notice.at));
            }
        }
        self.post.observer.untold(&self.context.application.name, &waiting, self.context.clock.wall());
        if let Some(slot) = self.post.shown.get(&self.context.application.name) {
            slot.set(outbox);
        }
    }

    fn count_given_up(&mut self, count: usize) {
        self.is_ahead |= 0 < count;
        for ended in self.outbox.ended.iter().rev().take(count) {
            let (application, id, channel) = (&self.context.application.name, &ended.id, &ended.channel);
            tracing::error!(%application, %id, %channel, reason = ended.reason, "a notice was not delivered, and is given up");
            self.post.observer.notified(channel, ended.ending.as_str());
        }
    }

    fn warn(&self, reason: &str) {
        tracing::warn!(application = %self.context.application.name, reason, "what people are told cannot be kept track of now; it is tried again");
    }
}
