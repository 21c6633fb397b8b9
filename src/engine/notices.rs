//! Telling people what nobody did: that an arming was used, or is over by itself.
//!
//! Invariants: the messages are in the journal before they leave, and what is in the journal is never sent again, not
//! after a restart either: at most once for each arming, and perhaps not at all (a death in between; a topic that
//! nobody answers for). A task of its own, and no one waits for it: a topic that hangs delays nothing. What a person
//! has ended is not told: that person knows.

use jiff::Timestamp;
use tokio::task::JoinSet;

use crate::{
    domain::{
        cloud::{Mutation, Outcome},
        journal::Event,
        overrides::{Over, OverrideKind},
    },
    engine::{context::Context, scribe::CommitError},
};

/// The longest subject that SNS takes [AWS.md: Publish].
const SUBJECT_CHARS_MAX: usize = 100;

/// Tells of what is over until the daemon stops.
pub async fn tell(context: Context) {
    let mut changes = context.scribe.changes();
    loop {
        let (history, now) = (changes.take(), context.clock.wall());
        if let Some(over) = history.overrides.untold(now).next()
            && !context.stopping.is_cancelled()
            && let Some(calls) = calls(&context, &over)
        {
            send(&context, &over, calls, now).await;
        }
        // What is armed is over in time too, and no record says so.
        let wait = history.overrides.armed(now).map(|armed| armed.expires_at.duration_since(now));
        let wait = wait.map(|left| left.unsigned_abs().max(std::time::Duration::from_secs(1)));
        tokio::select! {
            biased;
            () = context.stopping.cancelled() => return,
            () = changes.changed() => {}
            () = context.clock.sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
    }
}

/// One message for each topic; `None` where there is nobody to tell.
fn calls(context: &Context, over: &Over<'_>) -> Option<Vec<Mutation>> {
    let app = &context.application;
    let OverrideKind::Arm { from, to, .. } = &over.what.kind else { return None };
    let subject: String =
        format!("{}: no longer armed ({})", app.name, over.word).chars().take(SUBJECT_CHARS_MAX).collect();
    let consent = over.what.consent.as_ref().map_or("nobody", |(subject, _)| subject.as_str());
    let message = format!(
        "{}: the failover {from} -> {to} that {} armed, with the consent of {consent}, is armed no more since {:.0}: {}.\n\
         Nothing starts by itself until two people arm it anew. ({})",
        app.name, over.what.by, over.at, over.why, over.what.id
    );
    let publish = |topic: &crate::domain::application::Topic| Mutation::Publish {
        region: topic.region.clone(),
        topic_arn: topic.arn.clone(),
        subject: subject.clone(),
        message: message.clone(),
    };
    (!app.topics.is_empty()).then(|| app.topics.iter().map(publish).collect())
}

/// Writes down what is about to be sent, sends it, all topics at once, and writes down how each ended.
async fn send(context: &Context, over: &Over<'_>, calls: Vec<Mutation>, now: Timestamp) {
    let (application, id) = (&context.application.name, &over.what.id);
    let intended = context.scribe.commit(|history, _| match history.overrides.untold(now).any(|o| o.what.id == *id) {
        true => Ok((vec![Event::NoticeIntended { about: id.clone(), calls: calls.clone() }], ())),
        false => Err(()),
    });
    match intended.await {
        Ok(()) => {}
        Err(CommitError::Refused(())) => return,
        Err(error) => return tracing::error!(%application, %id, %error, "that it is over is not told"),
    }
    let mut sending = JoinSet::new();
    for (number, call) in (0..).zip(calls) {
        let context = context.clone();
        sending.spawn(async move { (number, context.apply(&call, now).await) });
    }
    while let Some(sent) = sending.join_next().await {
        // A panic of an adapter ends the process, as in any other task (FAULTS.md 9).
        let (call, outcome) = sent.unwrap_or_else(|e| std::panic::resume_unwind(Box::new(e.to_string())));
        if !matches!(outcome, Outcome::Accepted { .. }) {
            tracing::warn!(%application, %id, call, ?outcome, "a topic was not told that it is armed no more");
        }
        let answered = Event::NoticeAnswered { about: id.clone(), call, outcome };
        if let Err(error) = context.scribe.commit(|_, _| Ok::<_, ()>((vec![answered], ()))).await {
            tracing::error!(%application, %id, %error, "how telling it ended was not recorded");
        }
    }
}
