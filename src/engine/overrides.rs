//! Overrides as people ask for them, consent to them and end them; and those that end by themselves.
//!
//! Invariants: each is judged on the newest state under the commit's lock, with the person who said it in the record;
//! arming is refused while anything that it would need is unknown, when it is asked for and again when the second
//! person consents. Whatever makes things stricter (a kill switch, an end of an arming) is refused for no such reason.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::task::{JoinError, JoinHandle};

use crate::{
    domain::{
        application::Application,
        assessment::Assessment,
        history::History,
        id::{Digest, OverrideId, Region, Subject},
        journal::Event,
        overrides::{Ending, Override, OverrideKind, STANDING_COUNT_MAX},
        plan::Purpose,
        policy::Mode,
        sabotage::{Guard, is_off},
        seconds::to_seconds,
    },
    engine::{
        context::Context,
        control::{AskOverride, Refusal},
        desk::Parts,
        guards::Answer,
        preflight::{self, Look, Preflights},
        scribe::CommitError,
    },
};

/// What a request about an override is judged with.
pub struct Bench {
    pub context: Context,
    pub parts: Arc<Parts>,
    pub assessment: Option<Arc<Assessment>>,
    pub preflights: Arc<Preflights>,
}

/// What an arming is bound to: the configuration, and the runbook that it would start.
pub(super) fn binding(app: &Application, parts: &Parts) -> Digest {
    let runbook = app.runbooks.get(&Purpose::Failover).and_then(|name| parts.runbooks.get(name));
    Digest::of_json(&(&parts.config_digest, runbook.map(|(_, digest)| digest)))
}

impl Bench {
    /// Records what was asked for, or says why not.
    pub async fn ask(&self, asked: AskOverride) -> Result<OverrideId, Refusal> {
        let id = self.id(&asked);
        if let Some(again) = repeated(&self.context.scribe.history(), self.context.clock.wall(), &id, &asked)? {
            return Ok(again);
        }
        self.lasts(&asked)?;
        let mut looked = None;
        if let OverrideKind::Arm { from, to, largest_loss } = &asked.kind {
            self.direction(from, to)?;
            let look = self.look(from, to, *largest_loss).await;
            if let Looked::Found(answer) = &look {
                found(answer)?;
            }
            looked = Some(look);
        }
        let bound_to = asked.kind.needs_consent().then(|| binding(&self.context.application, &self.parts));
        let committed = self.context.scribe.commit(|history, at| {
            if let Some(again) = repeated(history, at, &id, &asked)? {
                return Ok((Vec::new(), again));
            }
            let mut events = replaced_by_asking(history, at, &asked.kind, &id);
            stand(history, at, &asked.kind, events.len())?;
            names_a_run(history, &asked.kind)?;
            let what = Override {
                id: id.clone(),
                kind: asked.kind.clone(),
                by: asked.subject.clone(),
                reason: asked.reason.clone(),
                asked_at: at,
                expires_at: after(at, asked.expires_in),
                bound_to,
                consent: None,
                ended: None,
            };
            events.push(Event::OverrideAsked { asked: Box::new(what) });
            Ok((events, id.clone()))
        });
        let id = committed.await.map_err(refused)?;
        match looked {
            Some(Looked::Found(answer)) => self.tell(&id, &answer),
            Some(Looked::GoesOn(look)) => self.decide_later(id.clone(), look),
            None => {}
        }
        Ok(id)
    }

    /// What the look finds decides afterwards: a fact against it ends what was asked for, which is not in force yet.
    fn decide_later(&self, id: OverrideId, look: JoinHandle<Answer>) {
        self.preflights.note(&id, self.context.clock.wall(), "checking: the target is being looked at".to_owned());
        let (context, preflights) = (self.context.clone(), Arc::clone(&self.preflights));
        tokio::spawn(async move {
            let answer = ended(look).await;
            preflights.note(&id, context.clock.wall(), says(&answer));
            if let Answer::Fails { why } = answer
                && !context.stopping.is_cancelled()
            {
                end_by_itself(&context, &id, Ending::PreflightFailed, why).await;
            }
        });
    }

    /// Records the word of a second person.
    pub async fn consent(&self, id: &OverrideId, agrees: bool, subject: &Subject, reason: &str) -> Result<(), Refusal> {
        let history = self.context.scribe.history();
        let asked = consentable(&history, id, agrees, subject, self.context.clock.wall())?;
        if let (OverrideKind::Arm { from, to, largest_loss }, true) = (&asked.kind, agrees) {
            if asked.bound_to.as_ref() != Some(&binding(&self.context.application, &self.parts)) {
                return Err(arming(
                    "the configuration or the runbook has changed since it was asked for",
                    "asking anew",
                ));
            }
            self.direction(from, to)?;
            let answer = self.look_for_consent(id, from, to, *largest_loss).await?;
            self.tell(id, &answer);
            found(&answer)?;
        }
        let committed = self.context.scribe.commit(|history, at| {
            consentable(history, id, agrees, subject, at)?;
            let (id, subject, reason) = (id.clone(), subject.clone(), reason.to_owned());
            if !agrees {
                let ended = Event::OverrideEnded { id, ending: Ending::Declined, subject: Some(subject), why: reason };
                return Ok((vec![ended], ()));
            }
            let mut events = replaced_by_consent(history, at, &id);
            events.push(Event::OverrideConsented { id, subject, reason });
            Ok((events, ()))
        });
        committed.await.map_err(refused)
    }

    /// Records that a person takes it back.
    pub async fn end(&self, id: &OverrideId, subject: &Subject, reason: &str) -> Result<(), Refusal> {
        let committed = self.context.scribe.commit(|history, at| {
            let open = open(history, id, at)?;
            tracing::info!(id = %open.id, by = %subject, "an override is taken back");
            let (id, subject, why) = (id.clone(), Some(subject.clone()), reason.to_owned());
            Ok((vec![Event::OverrideEnded { id, ending: Ending::Withdrawn, subject, why }], ()))
        });
        committed.await.map_err(refused)
    }

    /// The id of what is asked for. With a key its random part is the key's digest, so that the same key finds it again
    /// without a place of its own in the journal.
    fn id(&self, asked: &AskOverride) -> OverrideId {
        let Some(key) = &asked.idempotency_key else {
            return OverrideId::new(&asked.application, (self.parts.draw_id)());
        };
        let digest = Digest::of_json(&("overrides", &asked.subject, key));
        let random = u128::from_str_radix(&digest.as_str()[..20], 16).unwrap_or_else(|e| unreachable!("hex: {e}"));
        let ms = u128::try_from(self.context.clock.wall().as_millisecond()).unwrap_or_default();
        OverrideId::new(&asked.application, (ms << KEY_BITS) | random)
    }

    fn lasts(&self, asked: &AskOverride) -> Result<(), Refusal> {
        if let OverrideKind::Waive { rule } = &asked.kind
            && !rule.is_waivable()
        {
            return Err(Refusal::NotWaivable { rule: *rule });
        }
        let longest = asked.kind.lasts_at_most();
        if longest < asked.expires_in || asked.expires_in.is_zero() {
            return Err(Refusal::OverrideTooLong { kind: asked.kind.as_str(), asked: asked.expires_in, longest });
        }
        Ok(())
    }

    /// Whether this direction may be armed now, as far as is known without a look at AWS: what is unknown refuses.
    fn direction(&self, from: &Region, to: &Region) -> Result<(), Refusal> {
        let app = &self.context.application;
        for region in [from, to] {
            if !app.regions.contains(region) || from == to {
                let regions = app.regions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let why = format!("{} moves between {regions}", app.name);
                return Err(Refusal::BadTarget { target: region.to_string(), why });
            }
        }
        if app.policy.mode == Mode::Recommend {
            return Err(arming("the mode is recommend: a person decides", "mode = \"automatic\" (or \"shadow\")"));
        }
        let active = self.assessment.as_ref().and_then(|a| a.active_region.as_ref());
        if active != Some(from) {
            let why = format!("the active Region is {}, not {from}", active.map_or("unknown", Region::as_str));
            return Err(arming(&why, "a direction that begins where the writers are"));
        }
        let unknown = self.assessment.iter().flat_map(|a| &a.exposure).find(|(_, e)| !e.fresh);
        if let Some((store, e)) = unknown {
            let why = format!("the lag of store {store} is unknown: {}", e.basis);
            return Err(arming(&why, "a fresh lag sample of every store"));
        }
        Ok(())
    }

    /// Looks whether it could run, for as long as a person waits.
    async fn look(&self, from: &Region, to: &Region, loss: Duration) -> Looked {
        let (context, parts, from, to) = (self.context.clone(), Arc::clone(&self.parts), from.clone(), to.clone());
        let mut look = tokio::spawn(async move { preflight::look(&context, &parts, &from, &to, loss).await });
        tokio::select! {
            biased;
            answer = &mut look => Looked::Found(answer.unwrap_or_else(|e| panicked(&e))),
            () = self.context.clock.sleep(preflight::ANSWER_WITHIN) => Looked::GoesOn(look),
        }
    }

    /// The same where the consent hangs on it: what is not found in time refuses for now, and counts when it is asked
    /// again soon.
    async fn look_for_consent(
        &self,
        id: &OverrideId,
        from: &Region,
        to: &Region,
        loss: Duration,
    ) -> Result<Answer, Refusal> {
        let checking = || arming("checking: the target is still being looked at", "consenting again in a few seconds");
        match self.preflights.take_look(id, self.context.clock.boot()) {
            Some(Look::UnderWay) => return Err(checking()),
            Some(Look::Ended(_, answer)) => return Ok(answer),
            None => {}
        }
        match self.look(from, to, loss).await {
            Looked::Found(answer) => Ok(answer),
            Looked::GoesOn(look) => {
                self.preflights.put_look(id, Look::UnderWay);
                let (id, clock, preflights) =
                    (id.clone(), Arc::clone(&self.context.clock), Arc::clone(&self.preflights));
                tokio::spawn(async move {
                    let answer = ended(look).await;
                    preflights.put_look(&id, Look::Ended(clock.boot(), answer));
                });
                Err(checking())
            }
        }
    }

    fn tell(&self, id: &OverrideId, answer: &Answer) {
        self.preflights.note(id, self.context.clock.wall(), says(answer));
    }
}

/// What a look has found within a person's patience.
enum Looked {
    Found(Answer),
    GoesOn(JoinHandle<Answer>),
}

async fn ended(look: JoinHandle<Answer>) -> Answer {
    look.await.unwrap_or_else(|e| panicked(&e))
}

/// What cannot be told is never taken for a yes.
fn panicked(error: &JoinError) -> Answer {
    Answer::Unknown { why: format!("the look ended: {error}") }
}

fn says(answer: &Answer) -> String {
    match answer {
        Answer::Holds { evidence } => format!("it could run: {}", evidence.join("; ")),
        Answer::Fails { why } => why.clone(),
        Answer::Unknown { why } => format!("it cannot be told whether it could run: {why}"),
        Answer::Denied(denial) => format!("it cannot be told whether it could run: {}", denial.why),
    }
}

/// Whether what was found lets it be armed: what is unknown refuses.
fn found(answer: &Answer) -> Result<(), Refusal> {
    match answer {
        Answer::Holds { .. } => Ok(()),
        Answer::Fails { why } => Err(arming(&format!("the preflight fails: {why}"), "what it names, put right")),
        Answer::Unknown { why } => Err(arming(&format!("the preflight cannot tell: {why}"), "asking again")),
        Answer::Denied(denial) => {
            Err(arming(&format!("the preflight cannot tell: {}", denial.why), "the permission that it names"))
        }
    }
}

/// How many bits of an id are its key's.
const KEY_BITS: u32 = 80;

fn arming(why: &str, satisfied_by: &str) -> Refusal {
    Refusal::Arming { why: why.to_owned(), satisfied_by: satisfied_by.to_owned() }
}

fn after(at: Timestamp, lasts: Duration) -> Timestamp {
    let lasts = SignedDuration::try_from(lasts).unwrap_or(SignedDuration::MAX);
    at.checked_add(lasts).unwrap_or(Timestamp::MAX)
}

fn refused(error: CommitError<Refusal>) -> Refusal {
    match error {
        CommitError::Illegal(illegal) => Refusal::OverrideOver(illegal.to_string()),
        other => other.into(),
    }
}

/// What the same person asked for before with the same key: the ids have the same random part.
fn repeated(
    history: &History,
    now: Timestamp,
    id: &OverrideId,
    asked: &AskOverride,
) -> Result<Option<OverrideId>, Refusal> {
    if asked.idempotency_key.is_none() {
        return Ok(None);
    }
    let digits = (KEY_BITS / 4) as usize;
    let random = |id: &OverrideId| id.as_str()[id.as_str().len() - digits..].to_owned();
    let Some(before) = history.overrides.all().find(|o| random(&o.id) == random(id) && o.by == asked.subject) else {
        return Ok(None);
    };
    let is_same = before.kind == asked.kind
        && before.reason == asked.reason
        && before.expires_at == after(before.asked_at, asked.expires_in);
    match is_same {
        false => Err(Refusal::KeyReused),
        true if before.is_open(now) => Ok(Some(before.id.clone())),
        // To answer with it would say that it stands.
        true => {
            let id = &before.id;
            Err(Refusal::OverrideOver(format!("this key asked for {id} before, which is over; take another key")))
        }
    }
}

/// Whether one more of its kind may stand: no kind is refused for what stands of another.
fn stand(history: &History, at: Timestamp, kind: &OverrideKind, ended: usize) -> Result<(), Refusal> {
    let counts = |o: &&Override| o.is_open(at) && o.kind.as_str() == kind.as_str();
    let standing = history.overrides.all().filter(counts).count().saturating_sub(ended);
    if standing < STANDING_COUNT_MAX {
        Ok(())
    } else {
        Err(Refusal::TooManyOverrides { kind: kind.as_str(), standing })
    }
}

/// An acknowledgement is of a run of this application that is over.
fn names_a_run(history: &History, kind: &OverrideKind) -> Result<(), Refusal> {
    let OverrideKind::Acknowledge { run, .. } = kind else { return Ok(()) };
    match history.runs.get(run) {
        None => Err(Refusal::UnknownRun(run.clone())),
        Some(state) if !state.is_finished() => {
            Err(Refusal::WrongPhase("it is not over: what it did cannot be acknowledged yet".to_owned()))
        }
        Some(_) => Ok(()),
    }
}

/// An arming that nobody has consented to yet goes when another is asked for.
fn replaced_by_asking(history: &History, at: Timestamp, kind: &OverrideKind, by: &OverrideId) -> Vec<Event> {
    if !kind.needs_consent() {
        return Vec::new();
    }
    replaced(history, at, by, |o| o.consent.is_none())
}

/// What is armed goes when another arming comes into force: there is one at most.
fn replaced_by_consent(history: &History, at: Timestamp, by: &OverrideId) -> Vec<Event> {
    replaced(history, at, by, |_| true)
}

fn replaced(history: &History, at: Timestamp, by: &OverrideId, goes: impl Fn(&Override) -> bool) -> Vec<Event> {
    let others = history.overrides.all().filter(|o| o.kind.needs_consent() && o.is_open(at) && o.id != *by && goes(o));
    let end = |o: &Override| Event::OverrideEnded {
        id: o.id.clone(),
        ending: Ending::Replaced,
        subject: None,
        why: format!("{by} took its place"),
    };
    others.map(end).collect()
}

fn open<'a>(history: &'a History, id: &OverrideId, at: Timestamp) -> Result<&'a Override, Refusal> {
    let found = history.overrides.get(id).ok_or_else(|| Refusal::UnknownOverride(id.clone()))?;
    if found.is_open(at) {
        return Ok(found);
    }
    Err(Refusal::OverrideOver(match &found.ended {
        Some((_, ended_at, why)) => format!("it ended at {ended_at:.0}: {why}"),
        None => format!("it expired at {:.0}", found.expires_at),
    }))
}

/// The override, where it waits for a second person, which `subject` is. Who asked may not decline either: they
/// withdraw.
fn consentable<'a>(
    history: &'a History,
    id: &OverrideId,
    agrees: bool,
    subject: &Subject,
    at: Timestamp,
) -> Result<&'a Override, Refusal> {
    let found = open(history, id, at)?;
    if !found.kind.needs_consent() {
        return Err(Refusal::OverrideOver(format!("a {} needs nobody's consent: it is in force", found.kind.as_str())));
    }
    if let Some((by, _)) = found.consent.as_ref().filter(|_| agrees) {
        return Err(Refusal::OverrideOver(format!("it has the consent of {by}: it is in force")));
    }
    if found.by == *subject && !is_off(Guard::OwnApproval) {
        return Err(Refusal::SelfConsent(subject.clone()));
    }
    Ok(found)
}

/// Ends an override for a reason of the program's own, if it is not over yet. The journal and the log tell it.
pub(super) async fn end_by_itself(context: &Context, id: &OverrideId, ending: Ending, why: String) {
    let ended = context.scribe.commit(|history, at| {
        let _still_open = open(history, id, at).map_err(|_| ())?;
        let event = Event::OverrideEnded { id: id.clone(), ending, subject: None, why: why.clone() };
        Ok::<_, ()>((vec![event], ()))
    });
    match ended.await {
        Ok(()) => {
            tracing::warn!(application = %context.application.name, %id, ?ending, why, "an override ended by itself");
        }
        Err(CommitError::Refused(())) => {}
        Err(error) => tracing::error!(application = %context.application.name, %id, %error, "the end was not recorded"),
    }
}

/// What a limit is, for people.
pub(super) fn lasting(longest: Duration) -> String {
    let seconds = to_seconds(longest);
    if longest < Duration::from_hours(1) {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.0} days", seconds / 86_400.0)
    }
}
