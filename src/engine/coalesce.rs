//! Questions that come within a moment of each other and go to the same Region, asked in one call.
//!
//! Invariant: everyone who asked gets the answer to their own question, or the error; the same question is asked once
//! and answered to all who asked it. Whoever goes away cancels nothing for the others: the call belongs to all that
//! wait for it, and is given up only when nobody does. One seed is one history: no task is spawned, and those who wait
//! go on in the order in which they asked.
//!
//! Deliberately not here: what is asked and of whom, and any memory of answers. An answer is given to those who waited
//! for it, never again.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};

use crate::{
    domain::{
        cloud::{Answer, ObserveError},
        id::Region,
    },
    ports::Clock,
};

/// One call: the questions, and the longest of the windows that their askers want to look back.
pub type Call<Q, A> =
    Arc<dyn Fn(Region, Vec<Q>, Duration) -> BoxFuture<'static, Vec<Answer<A>>> + Send + Sync + 'static>;

type Answers<Q, A> = Arc<BTreeMap<Q, Answer<A>>>;

/// See the module.
pub struct Coalescer<Q: Ord, A> {
    clock: Arc<dyn Clock>,
    call: Call<Q, A>,
    /// How long the first asker waits for others.
    wait: Duration,
    /// Questions of one call.
    size_max: usize,
    open: Mutex<BTreeMap<Region, Vec<Open<Q, A>>>>,
}

/// A call that others may still join.
struct Open<Q: Ord, A> {
    batch: Arc<Mutex<Batch<Q>>>,
    answers: Shared<BoxFuture<'static, Answers<Q, A>>>,
}

struct Batch<Q> {
    /// `None` once it is being asked.
    questions: Option<std::collections::BTreeSet<Q>>,
    window: Duration,
}

impl<Q: Ord, A> fmt::Debug for Coalescer<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalescer").field("wait", &self.wait).field("size_max", &self.size_max).finish_non_exhaustive()
    }
}

impl<Q, A> Coalescer<Q, A>
where
    Q: Ord + Clone + Send + Sync + 'static,
    A: Clone + Send + Sync + 'static,
{
    pub fn new(clock: Arc<dyn Clock>, wait: Duration, size_max: usize, call: Call<Q, A>) -> Self {
        Self { clock, call, wait, size_max, open: Mutex::default() }
    }

    /// The answer to `question`, asked together with whatever else is asked of `region` now.
    ///
    /// # Errors
    /// Why it was not answered: the whole call's failure, or its own.
    pub async fn ask(&self, region: &Region, question: Q, window: Duration) -> Answer<A> {
        let answers = self.join(region, &question, window).await;
        answers.get(&question).cloned().unwrap_or_else(|| {
            Err(ObserveError::Malformed { reason: "fewer answers came than questions were asked".to_owned() })
        })
    }

    fn join(&self, region: &Region, question: &Q, window: Duration) -> Shared<BoxFuture<'static, Answers<Q, A>>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.entry(region.clone()).or_default();
        open.retain(|o| lock(&o.batch).questions.is_some());
        let fits = |o: &&Open<Q, A>| {
            lock(&o.batch).questions.as_ref().is_some_and(|q| q.contains(question) || q.len() < self.size_max)
        };
        // One that asks it already comes before one that has room.
        let asks = |o: &&Open<Q, A>| lock(&o.batch).questions.as_ref().is_some_and(|q| q.contains(question));
        if let Some(found) = open.iter().find(asks).or_else(|| open.iter().find(fits)) {
            let mut batch = lock(&found.batch);
            batch.window = batch.window.max(window);
            // Closed in between by another thread: then a new one is opened below.
            if let Some(questions) = &mut batch.questions {
                questions.insert(question.clone());
                return found.answers.clone();
            }
        }
        let batch = Arc::new(Mutex::new(Batch { questions: Some([question.clone()].into()), window }));
        let answers = self.answers(region.clone(), Arc::clone(&batch)).boxed().shared();
        open.push(Open { batch, answers: answers.clone() });
        answers
    }

    fn answers(
        &self,
        region: Region,
        batch: Arc<Mutex<Batch<Q>>>,
    ) -> impl Future<Output = Answers<Q, A>> + Send + 'static {
        let (clock, call, wait) = (Arc::clone(&self.clock), Arc::clone(&self.call), self.wait);
        async move {
            clock.sleep(wait).await;
            let (questions, window) = {
                let mut batch = lock(&batch);
                (batch.questions.take().unwrap_or_default(), batch.window)
            };
            let questions: Vec<Q> = questions.into_iter().collect();
            let answers = call(region, questions.clone(), window).await;
            Arc::new(questions.into_iter().zip(answers).collect())
        }
    }
}

fn lock<Q>(batch: &Mutex<Batch<Q>>) -> std::sync::MutexGuard<'_, Batch<Q>> {
    batch.lock().unwrap_or_else(PoisonError::into_inner)
}
