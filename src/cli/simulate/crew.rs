//! Threads that rehearse, each rehearsal on one thread from start to end.
//!
//! Invariant: which thread rehearses what, and in which order they finish, is seen nowhere in the outcome.

use std::{
    cell::RefCell,
    io::{IsTerminal as _, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use super::tally::Told;
use crate::{
    adapters::clock::SystemClock,
    ports::Clock as _,
    sim::{
        rehearse::{Setup, run},
        scenario::Scenario,
    },
};

/// How often the progress line is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(200);

/// How often a line says so where nobody watches.
const LOGGED_EVERY: Duration = Duration::from_secs(20);

/// One rehearsal to do.
#[derive(Debug, Clone)]
pub(super) struct Task<'a> {
    pub(super) setup: &'a Setup,
    pub(super) scenario: Scenario,
    pub(super) seed: u64,
}

thread_local! {
    /// What the last panic of this thread said, and where.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of rehearsals are told with their seeds, not as they happen: one may have thousands of a kind.
pub(super) fn keep_panics() {
    std::panic::set_hook(Box::new(|info| PANIC.set(Some(info.to_string()))));
}

/// Rehearses one.
pub(super) fn rehearse(task: &Task<'_>, trace: bool) -> Told {
    let rehearsed = catch_unwind(AssertUnwindSafe(|| run::rehearse(task.setup, &task.scenario, task.seed, trace)));
    match rehearsed {
        Ok(rehearsed) => Told::Rehearsed(Box::new(rehearsed)),
        Err(_) => Told::Panicked { why: PANIC.take().unwrap_or_else(|| "it is not known why".to_owned()) },
    }
}

/// Rehearses `count` tasks on `jobs` threads; `take` gets what came of each, in whatever order.
pub(super) fn all<'a>(
    count: usize,
    jobs: usize,
    task: impl Fn(usize) -> Task<'a> + Sync,
    mut take: impl FnMut(usize, Told),
) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        // Bounded, so that threads wait for the tally and not memory for them.
        let (done, told) = mpsc::sync_channel(2 * jobs);
        for _ in 0..jobs.min(count) {
            let (done, next, task) = (done.clone(), &next, &task);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if count <= index || done.send((index, rehearse(&task(index), false))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(done);
        let mut progress = Progress::new(count);
        for (index, outcome) in told {
            progress.step(&outcome);
            take(index, outcome);
        }
        progress.clear();
    });
}

/// The line on standard error that says how far it is; only for people.
struct Progress {
    shown: bool,
    count: usize,
    done: usize,
    failing: usize,
    drawn_at: Option<Duration>,
}

impl Progress {
    fn new(count: usize) -> Self {
        Self { shown: std::io::stderr().is_terminal(), count, done: 0, failing: 0, drawn_at: None }
    }

    fn step(&mut self, told: &Told) {
        self.done += 1;
        self.failing += match told {
            Told::Rehearsed(run) => usize::from(!run.violations.is_empty() || !run.unmet.is_empty()),
            Told::Panicked { .. } => 1,
        };
        let now = SystemClock.boot();
        // In a log one line now and then: long work that says nothing looks like work that hangs.
        if !self.shown && LOGGED_EVERY <= now.saturating_sub(*self.drawn_at.get_or_insert(now)) {
            self.drawn_at = Some(now);
            let line = format!("{} of {} disasters, {} failing\n", self.done, self.count, self.failing);
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
        if self.shown && self.drawn_at.is_none_or(|at| DRAWN_EVERY <= now.saturating_sub(at)) {
            self.drawn_at = Some(now);
            // Nothing can be done about a standard error that is gone.
            let line = format!("\r{} of {} disasters, {} failing", self.done, self.count, self.failing);
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    fn clear(&self) {
        if self.shown && self.drawn_at.is_some() {
            let _ = write!(std::io::stderr(), "\r{:60}\r", "");
        }
    }
}
