//! Drills that are due: announced, begun, tried again while something stands in the way, and told when they were missed.
//!
//! Invariants: whoever does not lead begins nothing, since this runs beside the executor. What begins is a request as a
//! person's would be, in the schedule's own name and with the occurrence as its key: the fold of the journal takes one run
//! for each (FAULTS.md 84), whatever the clock does, however many replicas there are and however often one dies. A drill
//! that is not begun is told with the reason, once for each reason.
//!
//! It holds no timer: it looks every few seconds, so that a clock that is set back or ahead is seen.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    domain::{
        assessment::{Assessment, Health},
        history::History,
        id::{Digest, RunId, ScheduleName},
        journal::Event,
        schedule::{Due, Note, Opening, Schedule, calm::Lately},
    },
    engine::{
        context::Context,
        control::{Refusal, StartRun, Started, Wish},
        desk::Parts,
        requests::{self, Asked},
        seat::NewestAssessment,
    },
};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(15);
/// How long after something stood in the way it is tried again.
const RETRY: Duration = Duration::from_secs(60);
/// How many reasons for which one occurrence was not begun are written down: each is a record.
const REASONS_MAX: usize = 20;

/// Why a drill is not begun now: a code and a sentence.
type Against = (String, String);

/// What is remembered of an occurrence that did not begin.
#[derive(Debug)]
struct Tried {
    occurrence: Timestamp,
    /// In boot time.
    at: Duration,
    told: usize,
}

struct Scheduler {
    context: Context,
    parts: Arc<Parts>,
    newest: NewestAssessment,
    lately: Lately,
    tried: BTreeMap<ScheduleName, Tried>,
}

/// Follows the schedules of one application until its context is told to stop.
pub(super) async fn keep(context: Context, parts: Arc<Parts>, newest: NewestAssessment) {
    let (lately, tried) = (Lately::default(), BTreeMap::new());
    let mut scheduler = Scheduler { context, parts, newest, lately, tried };
    loop {
        if scheduler.context.stopping.is_cancelled() {
            return;
        }
        scheduler.look().await;
        tokio::select! {
            biased;
            () = scheduler.context.stopping.cancelled() => return,
            () = scheduler.context.clock.sleep(LOOK) => {}
        }
    }
}

impl Scheduler {
    async fn look(&mut self) {
        let assessment = self.newest.get();
        let health = assessment.as_ref().map_or(Health::Unknown, |a| a.health);
        self.lately.look(health, self.context.clock.boot());
        self.follow().await;
        let app = Arc::clone(&self.context.application);
        let (history, now) = (self.context.scribe.history(), self.context.clock.wall());
        let mut begin = Vec::new();
        for schedule in &app.schedules {
            let Some(followed) = history.schedules.get(&schedule.name) else { continue };
            match schedule.due(followed, now) {
                Due::Nothing { .. } => {}
                Due::Announce { occurrence } => {
                    let local = schedule.zone.local(occurrence);
                    tracing::info!(application = %app.name, schedule = %schedule.name, drill = %schedule.drill, %occurrence, %local, "a drill is announced");
                    self.note(schedule, Note::Announced { occurrence }).await;
                }
                Due::Begin { occurrence, opening } => begin.push((occurrence, schedule, opening)),
                Due::Missed { occurrence } => self.missed(schedule, &history, occurrence).await,
            }
        }
        // Of two at the same time the one whose name comes first begins, and the other tries until its window closes.
        begin.sort_by_key(|(occurrence, schedule, _)| (*occurrence, &schedule.name));
        for (occurrence, schedule, opening) in begin {
            self.begin(schedule, assessment.as_ref(), occurrence, opening).await;
        }
        self.parts.observer.drilled(&app, &self.context.scribe.history(), now);
    }

    /// Writes down which schedules there are: those that are new, or were changed, count from now.
    async fn follow(&self) {
        let app = &self.context.application;
        let noted = self.context.scribe.commit(|history, _| {
            let is_known = |s: &&Schedule| history.schedules.get(&s.name).is_some_and(|known| known.terms == s.terms());
            let new = app.schedules.iter().filter(|s| !is_known(s));
            let new = new.map(|s| (s.name.clone(), Note::Followed { terms: s.terms() }));
            let is_gone = |name: &ScheduleName| !app.schedules.iter().any(|s| s.name == *name);
            let gone = history.schedules.followed().filter(|(name, _)| is_gone(name));
            let gone = gone.map(|(name, _)| (name.clone(), Note::Dropped));
            let events = new.chain(gone).map(|(schedule, note)| Event::ScheduleNoted { schedule, note });
            Ok::<_, ()>((events.collect(), ()))
        });
        if let Err(error) = noted.await {
            tracing::error!(application = %app.name, %error, "the schedules were not written down");
        }
    }

    async fn note(&self, schedule: &Schedule, note: Note) {
        let (application, schedule) = (&self.context.application.name, schedule.name.clone());
        let event = Event::ScheduleNoted { schedule: schedule.clone(), note };
        if let Err(error) = self.context.scribe.commit(|_, _| Ok::<_, ()>((vec![event], ()))).await {
            tracing::error!(%application, %schedule, %error, "what became of the schedule was not written down");
        }
    }

    async fn missed(&self, schedule: &Schedule, history: &History, occurrence: Timestamp) {
        let tried = history.schedules.get(&schedule.name).and_then(|f| f.not_begun.as_ref());
        let reason = tried.filter(|tried| tried.occurrence == occurrence).map_or_else(
            || "nobody was there to begin it while its window was open".to_owned(),
            |tried| tried.reason.clone(),
        );
        tracing::warn!(application = %self.context.application.name, schedule = %schedule.name, %occurrence, reason, "a drill was missed");
        self.note(schedule, Note::Missed { occurrence, reason }).await;
    }

    async fn begin(
        &mut self,
        schedule: &Schedule,
        assessment: Option<&Arc<Assessment>>,
        occurrence: Timestamp,
        opening: Opening,
    ) {
        let boot = self.context.clock.boot();
        let tried = self.tried.get(&schedule.name).filter(|tried| tried.occurrence == occurrence);
        if tried.is_some_and(|tried| boot < tried.at + RETRY) {
            return;
        }
        let told = tried.map_or(0, |tried| tried.told);
        self.tried.insert(schedule.name.clone(), Tried { occurrence, at: boot, told });
        let against = match self.stands_against(schedule, assessment.map(Arc::as_ref)) {
            Some(against) => against,
            None => {
                match requests::start(&self.context, self.asked(assessment), self.request(schedule, occurrence)).await {
                    Ok(Started::Run { id, .. } | Started::Again { id }) => {
                        self.tried.remove(&schedule.name);
                        return tracing::info!(run = %id, schedule = %schedule.name, %occurrence, "a scheduled drill begins");
                    }
                    // It was not asked for.
                    Ok(Started::Planned { .. }) => return,
                    Err(Refusal::Stopping) => return,
                    Err(Refusal::Gate { gate, why, .. }) => (gate.to_owned(), why),
                    Err(other) => (other.code().to_owned(), other.to_string()),
                }
            }
        };
        self.tell(schedule, occurrence, opening, against).await;
    }

    /// Tells why a drill is not begun, where that was not told.
    async fn tell(&mut self, schedule: &Schedule, occurrence: Timestamp, opening: Opening, (code, reason): Against) {
        let history = self.context.scribe.history();
        let before = history.schedules.get(&schedule.name).and_then(|f| f.not_begun.as_ref());
        if before.is_some_and(|before| before.occurrence == occurrence && before.code == code) {
            return;
        }
        match self.tried.get_mut(&schedule.name) {
            Some(tried) if tried.told < REASONS_MAX => tried.told += 1,
            Some(_) | None => return,
        }
        tracing::warn!(application = %self.context.application.name, schedule = %schedule.name, %occurrence, until = %opening.to, code, reason, "a scheduled drill is not begun, and is tried again");
        self.note(schedule, Note::NotBegun { occurrence, code, reason }).await;
    }

    /// What of this moment is against a drill that nobody watches over; a person's own may begin all the same.
    fn stands_against(&self, schedule: &Schedule, assessment: Option<&Assessment>) -> Option<Against> {
        let (app, now) = (&self.context.application, self.context.clock.wall());
        let against = |code: &str, why: String| Some((code.to_owned(), why));
        if let Some(blackout) = schedule.blackouts.iter().find(|b| b.is_on(now)) {
            return against("blackout", format!("a blackout of the schedule is on: {}", blackout.reason));
        }
        let Some(assessment) = assessment else {
            return against("healthy", format!("{} is not assessed yet", app.name));
        };
        // A lag that is too long makes it degraded, and has a name of its own.
        if !matches!(assessment.health, Health::Healthy | Health::Degraded) {
            return against("healthy", unwell(assessment));
        }
        if assessment.active_region.as_ref() != app.regions.first() {
            let at = assessment.active_region.as_ref().map_or("an unknown Region", |region| region.as_str());
            return against("away", format!("{} is served from {at}: it is not at home", app.name));
        }
        for (store, exposure) in &assessment.exposure {
            match exposure.measured_lag.filter(|_| exposure.fresh) {
                None => return against("rpo", format!("the lag of {store} is not known")),
                Some(lag) if app.objectives.rpo < lag => {
                    let (lag, rpo) = (lag.as_secs_f64(), app.objectives.rpo.as_secs_f64());
                    return against("rpo", format!("{store} is {lag} s behind, and the objective is {rpo} s"));
                }
                Some(_) => {}
            }
        }
        if assessment.health != Health::Healthy {
            return against("healthy", unwell(assessment));
        }
        let restless = schedule.calm.and_then(|calm| self.lately.stands_against(&calm, self.context.clock.boot()));
        restless.and_then(|why| against("error-budget", why))
    }

    fn asked(&self, assessment: Option<&Arc<Assessment>>) -> Asked {
        let (application, parts) = (&self.context.application.name, Arc::clone(&self.parts));
        Asked { assessment: assessment.cloned(), id: RunId::new(application, (parts.draw_id)()), parts }
    }

    fn request(&self, schedule: &Schedule, occurrence: Timestamp) -> StartRun {
        let local = schedule.zone.local(occurrence);
        let on_call = schedule.on_call.as_ref().map_or(String::new(), |who| format!(", looked after by {who}"));
        StartRun {
            application: self.context.application.name.clone(),
            wish: Wish::Drill { runbook: schedule.drill.clone() },
            target: schedule.target.clone(),
            reason: format!("schedule {}: due {local} {}{on_call}", schedule.name, schedule.zone.as_str()),
            accept_data_loss: None,
            runbook: None,
            subject: schedule.subject(),
            idempotency_key: Some(occurrence.to_string()),
            body_digest: Digest::of_json(&("schedule", &schedule.name, occurrence)),
            dry_run: false,
        }
    }
}

fn unwell(assessment: &Assessment) -> String {
    let why = assessment.reasons.first().map_or("", String::as_str);
    format!("{} is not healthy: {why}", assessment.application)
}
