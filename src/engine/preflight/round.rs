//! The rounds of preflight: every few minutes, and when somebody asks, every way that the application could go is looked
//! at; what was found is kept until the next round.
//!
//! Invariants: it only reads, and nothing waits for it. While a run is under way it looks at nothing, and a round that a run
//! overtakes is given up: what stood half-way is no finding. Memory only: after a restart there is no look, and no score.
//! It deliberately decides nothing: no run is refused for a score.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::{
    domain::{
        assessment::Assessment,
        channel::{Channels, Via},
        id::Region,
        preflight::{Check, Class, Kind, Lifetime, PERIOD, Preflight},
    },
    engine::{context::Context, desk::Parts, guards::Answer, newest::Newest},
    ports::Clock,
};

use super::{
    looks,
    question::{Question, answered, open},
    signals,
};

/// How soon after the start the first round begins: the roles and the assessment are read by then.
const FIRST: Duration = Duration::from_secs(45);
/// How soon it is tried again where this was no time for it.
const LATER: Duration = Duration::from_secs(30);
/// So many applications are looked at at once by one daemon: Route 53 takes five requests a second from an account.
const ROUNDS_AT_ONCE: usize = 2;
/// For how long a round may go on, waiting for its turn included. Then it is given up, and said to be.
const ROUND_MAX: Duration = Duration::from_mins(4);

/// Tells what ends some day: tokens, certificates, the daemon's own credentials.
pub type Lifetimes = Arc<dyn Fn(Timestamp) -> BoxFuture<'static, Vec<Lifetime>> + Send + Sync>;

/// What preflight needs beside an application. Cheap to clone.
#[derive(Clone)]
pub struct Setup {
    channels: Channels,
    lifetimes: Lifetimes,
    turns: Arc<Semaphore>,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("channels", &self.channels).finish_non_exhaustive()
    }
}

impl Setup {
    pub fn new(channels: Channels, lifetimes: Lifetimes) -> Self {
        Self { channels, lifetimes, turns: Arc::new(Semaphore::new(ROUNDS_AT_ONCE)) }
    }

    /// With nothing that ends.
    pub fn without_lifetimes(channels: Channels) -> Self {
        Self::new(channels, Arc::new(|_| async { Vec::new() }.boxed()))
    }
}

/// How preflight stands.
#[derive(Debug, Clone, Default)]
pub struct Now {
    /// The newest round's; `None`: there was none.
    pub found: Option<Arc<Preflight>>,
    /// So many rounds have ended since the start.
    pub rounds: u64,
    /// A round is under way, or asked for.
    pub under_way: bool,
    /// Why nothing is looked at, where something stands in the way.
    pub waits: Option<String>,
}

/// See the module: what the rounds leave for people, and how they ask for one.
#[derive(Debug)]
pub struct Board {
    now: Mutex<Now>,
    asked: Newest<u64>,
    ended: Newest<u64>,
}

impl Default for Board {
    fn default() -> Self {
        Self { now: Mutex::default(), asked: Newest::new(0), ended: Newest::new(0) }
    }
}

impl Board {
    pub fn now(&self) -> Now {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for a round now. One that is under way is the answer; there is never a second one.
    pub fn ask(&self) {
        {
            let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
            if now.under_way {
                return;
            }
            now.under_way = true;
        }
        self.asked.set(self.asked.get() + 1);
    }

    /// Asks for a round, waits for it for a moment, and says how it stands then.
    pub async fn answer(&self, clock: &dyn Clock) -> Now {
        let mut ends = self.ended.changes();
        self.ask();
        tokio::select! {
            biased;
            () = ends.changed() => {}
            () = clock.sleep(super::ANSWER_WITHIN) => {}
        }
        self.now()
    }

    /// A run is under way: of the way out that was looked at nothing is known any more, which is no score.
    fn void(&self) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.found = now.found.take().map(|found| Arc::new(Preflight { directions: Vec::new(), ..(*found).clone() }));
    }

    fn begun(&self) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).under_way = true;
    }

    fn over(&self, found: Result<Arc<Preflight>, String>) {
        {
            let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
            now.under_way = false;
            match found {
                Ok(found) => {
                    now.found = Some(found);
                    now.rounds += 1;
                    now.waits = None;
                }
                Err(why) => now.waits = Some(why),
            }
        }
        self.ended.set(self.ended.get() + 1);
    }
}

/// Looks at the application until the daemon stops, or does not lead any more.
pub async fn keep(
    context: Context,
    parts: Arc<Parts>,
    newest: Newest<Option<Arc<Assessment>>>,
    board: Arc<Board>,
    setup: Setup,
) {
    let (mut asked, mut heard) = (board.asked.changes(), 0);
    let mut records = context.scribe.changes();
    let mut due = context.clock.boot() + FIRST;
    loop {
        // Whoever asks while a round begins is answered by that one.
        let number = asked.take();
        let is_asked = number != heard;
        heard = number;
        if is_asked || due <= context.clock.boot() {
            board.begun();
            let found = match in_the_way(&context, &newest, is_asked) {
                Ok(active) => round(&context, &parts, &setup, (&active, newest.get().as_deref())).await,
                Err(why) => Err(why),
            };
            if context.stopping.is_cancelled() {
                return;
            }
            due = context.clock.boot() + if found.is_ok() { PERIOD } else { LATER };
            board.over(found.map(Arc::new));
            if context.scribe.history().active_run().is_some() {
                board.void();
            }
            if let Some(found) = board.now().found {
                parts.observer.preflighted(&found, context.clock.wall());
            }
        }
        let wait = due.saturating_sub(context.clock.boot());
        let holds = board.now().found.is_some_and(|found| !found.directions.is_empty());
        tokio::select! {
            biased;
            () = context.stopping.cancelled() => return,
            // What was found is of before it, and of another way out when it has moved the application.
            () = records.wait_for(|history| history.active_run().is_some()), if holds => due = context.clock.boot(),
            () = asked.changed() => {}
            () = context.clock.sleep(wait) => {}
        }
    }
}

/// Where the application is active, or why this is no time for a round.
fn in_the_way(context: &Context, newest: &Newest<Option<Arc<Assessment>>>, is_asked: bool) -> Result<Region, String> {
    if let Some(run) = context.scribe.history().active_run() {
        return Err(format!("{} is under way: nothing is looked at beside a run", run.id));
    }
    let assessment = newest.get().ok_or("nothing was assessed yet")?;
    // Who asks has a reason; by itself nothing is asked of what may be busy failing.
    if assessment.evidence_since.is_some() && !is_asked {
        return Err("there is evidence of trouble: it looks again when that is over, or when somebody asks".to_owned());
    }
    assessment
        .active_region
        .clone()
        .ok_or_else(|| "it is not known in which Region the application is active".to_owned())
}

/// One round, given up when a run begins.
async fn round(
    context: &Context,
    parts: &Parts,
    setup: &Setup,
    seen: (&Region, Option<&Assessment>),
) -> Result<Preflight, String> {
    let mut records = context.scribe.changes();
    tokio::select! {
        biased;
        () = context.stopping.cancelled() => Err("the daemon stops".to_owned()),
        () = records.wait_for(|history| history.active_run().is_some()) => {
            Err("a run began, and the round was given up".to_owned())
        }
        found = look(context, parts, setup, seen) => Ok(found),
        () = context.clock.sleep(ROUND_MAX) => Err(format!("a round did not end within {} s", ROUND_MAX.as_secs())),
    }
}

async fn look(
    context: &Context,
    parts: &Parts,
    setup: &Setup,
    (active, assessment): (&Region, Option<&Assessment>),
) -> Preflight {
    // A semaphore that is never closed.
    let _turn = setup.turns.acquire().await.ok();
    let mut shared = answered(&*context.clock, topics(context, setup)).await;
    let now = context.clock.wall();
    let lifetimes = (setup.lifetimes)(now).await;
    shared.extend(lifetimes.iter().map(|lifetime| lifetime.check(now)));
    let mut directions = Vec::new();
    for target in &context.application.regions {
        if target == active {
            continue;
        }
        let mut direction = looks::direction(context, parts, (active, target), &shared).await;
        direction.checks.extend(signals::checks(&context.application, assessment, target));
        directions.push(direction);
    }
    Preflight { application: context.application.name.clone(), at: context.clock.wall(), directions }
}

/// Every topic over which people are told of the application, its own and those of channels.
fn topics<'a>(context: &'a Context, setup: &Setup) -> Vec<Question<'a>> {
    let app = &context.application;
    let own = app.topics.iter().map(|topic| (topic.region.clone(), topic.arn.clone()));
    let channels = setup.channels.of(app);
    let of_channels = channels.values().filter_map(|channel| match &channel.via {
        Via::Sns { region, arn } => Some((region.clone(), arn.clone())),
        _ => None,
    });
    let all: std::collections::BTreeSet<(Region, String)> = own.chain(of_channels).collect();
    let question = |(region, arn): (Region, String)| {
        let check = open(
            Class::Degrading,
            Kind::Topic,
            arn.clone(),
            "it is there, so that people can be told",
            "make the topic again, with its subscriptions, or take it out of the configuration",
        );
        let check = Check { region: Some(region.clone()), ..check };
        let look = async move {
            vec![match context.cloud.topic_is_there(&region, &arn).await {
                Ok(true) => Answer::Holds { evidence: vec!["it is there".to_owned()] },
                Ok(false) => Answer::fails("there is no such topic"),
                Err(error) => Answer::unread("sns:GetTopicAttributes", &region, &error, "whether it is there"),
            }]
        };
        Question { checks: vec![check], look: look.boxed() }
    };
    all.into_iter().map(question).collect()
}
