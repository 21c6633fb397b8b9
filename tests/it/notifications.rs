//! People are told what was recorded, over every channel that takes it, and nothing waits for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use failoverd::{
    domain::{
        channel::{Channel, Channels, Via},
        id::ChannelName,
        notice::{Notice, Severity},
        outbox::{Ending, Sent},
        run::RunResult,
    },
    engine::{
        Parts,
        control::{Control, Refusal, Wish},
        outbox::{Post, SEND_WITHIN},
    },
    ports::{Messenger, Outboxes, outboxes::Page},
    sim::{port::Faults, rehearse::outboxes::MemoryOutboxes},
};

use crate::support::{Live, Played, Scene, incarnation, payments};

const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);

/// What a channel does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Takes,
    /// Never answers.
    Hangs,
    Answers500,
    Refuses,
    /// Says that it fails, for so many attempts.
    FailsFirst(u64),
    Panics,
}

/// Channels that behave as they are told, and remember what they took.
#[derive(Debug, Clone, Default)]
struct Street {
    manners: Arc<Mutex<BTreeMap<String, Manner>>>,
    attempts: Arc<AtomicU64>,
    took: Arc<Mutex<Vec<(String, Notice)>>>,
}

impl Street {
    fn behave(self, name: &str, manner: Manner) -> Self {
        self.manners.lock().expect("manners").insert(name.to_owned(), manner);
        self
    }

    /// The headlines that `channel` took, in order.
    fn took(&self, channel: &str) -> Vec<String> {
        let took = self.took.lock().expect("took");
        took.iter().filter(|(c, _)| c == channel).map(|(_, n)| n.headline.clone()).collect()
    }

    fn ids(&self, channel: &str) -> Vec<String> {
        let took = self.took.lock().expect("took");
        took.iter().filter(|(c, _)| c == channel).map(|(_, n)| n.id.to_string()).collect()
    }
}

#[async_trait::async_trait]
impl Messenger for Street {
    async fn send(&self, channel: &Channel, notice: &Notice) -> Sent {
        let manner = self.manners.lock().expect("manners").get(channel.name.as_str()).copied().unwrap_or(Manner::Takes);
        let failed = |reason: &str| Sent::Failed { reason: reason.to_owned(), retry_after_seconds: None };
        let nth = self.attempts.fetch_add(1, Ordering::SeqCst);
        match manner {
            Manner::Hangs => std::future::pending().await,
            Manner::Answers500 => failed("answered 500"),
            Manner::Refuses => Sent::Refused { reason: "answered 400".to_owned() },
            Manner::FailsFirst(count) if nth < count => failed("answered 503"),
            Manner::Panics => panic!("told to panic"),
            Manner::FailsFirst(_) | Manner::Takes => {
                self.took.lock().expect("took").push((channel.name.to_string(), notice.clone()));
                Sent::Delivered
            }
        }
    }
}

fn channel(name: &str, takes: &[Severity]) -> Channel {
    Channel {
        name: name.parse().expect("a name"),
        via: Via::Slack { url: format!("env:{}", name.to_uppercase()).parse().expect("a reference") },
        takes: takes.iter().copied().collect(),
        applications: None,
    }
}

fn post(parts: &Parts, street: &Street, outboxes: &MemoryOutboxes, channels: &[&str]) -> Post {
    let configured = channels.iter().map(|name| channel(name, &Severity::ALL)).collect();
    let channels = Channels { configured, topics: true };
    let names = parts.applications.iter().map(|app| &app.name);
    let ways: (Arc<dyn Outboxes>, Arc<dyn Messenger>) = (Arc::new(outboxes.clone()), Arc::new(street.clone()));
    let drawn = Arc::new(AtomicU64::new(1));
    let draw = Arc::new(move || u128::from(drawn.fetch_add(7_919, Ordering::Relaxed)));
    Post::new(channels, names, ways, Arc::clone(&parts.observer), draw)
}

async fn start(scene: &Scene, street: &Street, outboxes: &MemoryOutboxes, channels: &[&str]) -> Live {
    let arrange = |parts: Parts| Parts { post: Some(post(&parts, street, outboxes, channels)), ..parts };
    scene.start_as(0, scene.reopened(), Faults::default(), arrange).await
}

/// A scene whose application has no topics: only the channels that a test names.
fn scene(seed: u64) -> Scene {
    let mut scene = Scene::payments(seed, 240);
    scene.application.topics.clear();
    scene
}

/// The primary is lost; a person fails over and another approves. How long the run took, and how it ended.
async fn fail_over(live: &Live) -> (Duration, Played) {
    live.ready().await;
    live.lose("us-east-1");
    live.pass(60).await;
    let began = live.clock.boot();
    let run = live.begin(Wish::Failover).await;
    live.approve(&run).await;
    let played = live.outcome(&run, 3_600).await;
    (live.clock.boot() - began, played)
}

#[tokio::test(start_paused = true)]
async fn a_failover_is_told_from_the_first_evidence_to_its_end_on_every_channel() {
    let (scene, street, outboxes) = (scene(1), Street::default(), MemoryOutboxes::default());
    let live = start(&scene, &street, &outboxes, &["pager", "chat"]).await;
    assert_eq!(fail_over(&live).await.1, SUCCEEDED);
    live.pass(30).await;
    let told = street.took("pager");
    let at = |part: &str| told.iter().position(|h| h.contains(part)).unwrap_or_else(|| panic!("{part}: {told:#?}"));
    assert!(at("a failover is recommended") < at("a failover us-east-1 -> us-west-2 started"));
    assert!(at("started") < at("waits for 1 approval(s)"));
    assert!(at("waits for 1 approval(s)") < at("the failover succeeded"));
    let sorted = |channel: &str| street.ids(channel).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(sorted("pager"), sorted("chat"));
    assert_eq!(street.ids("pager").len(), sorted("pager").len(), "each once");
    let told = live.engine.notifications(&payments()).await.expect("told");
    assert!(told.outbox.open.is_empty() && !told.outbox.ended.is_empty());
    assert!(told.outbox.ended.iter().all(|e| e.ending == Ending::Delivered));
}

/// FAULTS.md L5: a hold is told on two channels or more, and one that is out of order keeps no other from it.
#[tokio::test(start_paused = true)]
async fn a_hold_is_told_on_two_channels_even_where_a_third_hangs_and_a_fourth_refuses() {
    let (scene, outboxes) = (scene(2), MemoryOutboxes::default());
    let street = Street::default()
        .behave("dead", Manner::Hangs)
        .behave("wrong", Manner::Refuses)
        .behave("broken", Manner::Answers500);
    let live = start(&scene, &street, &outboxes, &["broken", "chat", "dead", "pager", "wrong"]).await;
    live.ready().await;
    live.lose("us-east-1");
    live.pass(60).await;
    let run = live.begin(Wish::Failover).await;
    live.until_running(&run, "approve").await;
    live.answer(&run, "second", false).await.expect("declined");
    assert!(matches!(live.outcome(&run, 600).await, Played::Held(..)));
    live.pass(10).await;
    for channel in ["chat", "pager"] {
        let told = street.took(channel);
        assert!(told.iter().any(|h| h.contains("is held and waits for")), "{channel}: {told:#?}");
    }
    let told = live.engine.notifications(&payments()).await.expect("told").outbox;
    let held = |c: &str| {
        told.open.iter().any(|o| o.to.keys().any(|k| k.as_str() == c) && o.notice.kind.as_str() == "run_held")
    };
    assert!(held("dead") && held("broken") && !held("wrong"), "what is not delivered is shown");
    assert!(told.ended.iter().any(|e| e.channel.as_str() == "wrong" && e.ending == Ending::Refused));
}

#[test]
fn a_failover_takes_as_long_with_channels_that_hang_fail_and_panic_as_without_any() {
    let play = |channels: &'static [&'static str]| {
        incarnation(async move {
            let (scene, outboxes) = (scene(3), MemoryOutboxes::default());
            let street = Street::default()
                .behave("dead", Manner::Hangs)
                .behave("broken", Manner::Answers500)
                .behave("mad", Manner::Panics);
            let live = start(&scene, &street, &outboxes, channels).await;
            let played = fail_over(&live).await;
            (played, street.attempts.load(Ordering::SeqCst))
        })
    };
    let ((alone, ended), _) = play(&[]);
    let ((told, ended_too), attempts) = play(&["broken", "dead", "mad"]);
    assert_eq!((ended, ended_too), (SUCCEEDED, SUCCEEDED));
    assert!(6 < attempts, "they were tried: {attempts}");
    assert_eq!(alone, told, "not a millisecond longer");
}

#[tokio::test(start_paused = true)]
async fn what_a_channel_did_not_take_is_tried_again_in_order_and_then_delivered() {
    let (scene, outboxes) = (scene(4), MemoryOutboxes::default());
    let street = Street::default().behave("pager", Manner::FailsFirst(5));
    let live = start(&scene, &street, &outboxes, &["pager"]).await;
    live.ready().await;
    live.lose("us-east-1");
    live.pass(1_200).await;
    let ids = street.ids("pager");
    let seqs: Vec<u64> = ids.iter().map(|id| id.split('/').nth(1).expect("a seq").parse().expect("a number")).collect();
    assert!(!seqs.is_empty() && seqs.is_sorted(), "{ids:?}");
    let told = live.engine.notifications(&payments()).await.expect("told").outbox;
    assert!(told.open.is_empty(), "{told:?}");
    assert!(told.ended.iter().any(|e| 1 < e.attempts));
}

/// Whoever comes next tells what was not told, and tells nothing again under another id.
#[test]
fn after_a_death_nothing_is_missed_and_what_comes_twice_has_the_same_id() {
    let (scene, outboxes) = (scene(5), MemoryOutboxes::default());
    let street = Street::default().behave("pager", Manner::Answers500);
    let run = incarnation(async {
        let live = start(&scene, &street, &outboxes, &["chat", "pager"]).await;
        live.ready().await;
        live.lose("us-east-1");
        live.pass(60).await;
        let run = live.begin(Wish::Failover).await;
        live.until_running(&run, "approve").await;
        live.pass(5).await;
        run
        // Dies here: the pager has taken nothing.
    });
    assert_eq!(street.took("pager"), [] as [String; 0]);
    let before = street.ids("chat");
    let street = street.behave("pager", Manner::Takes);
    incarnation(async {
        let live = start(&scene, &street, &outboxes, &["chat", "pager"]).await;
        live.ready().await;
        live.approve(&run).await;
        assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
        live.pass(60).await;
    });
    let (chat, pager): (BTreeSet<_>, BTreeSet<_>) =
        (street.ids("chat").into_iter().collect(), street.ids("pager").into_iter().collect());
    assert_eq!(chat, pager, "both were told everything");
    assert!(before.iter().all(|id| pager.contains(id)), "what the first process told of has the same ids");
    assert!(street.took("pager").iter().any(|h| h.contains("a failover is recommended")));
}

/// The page of the one who died before he could write is made again from the journal.
#[test]
fn a_page_that_was_never_written_costs_a_repetition_and_no_notice() {
    let (scene, street) = (scene(6), Street::default());
    let kept = MemoryOutboxes::default();
    let early = incarnation(async {
        let live = start(&scene, &street, &kept, &["pager"]).await;
        live.ready().await;
        let page = kept.page(&payments()).await.expect("read").expect("the page is there from the first moment");
        live.lose("us-east-1");
        live.pass(90).await;
        page
    });
    let first = street.ids("pager");
    assert!(!first.is_empty());
    // As if no later page had been written.
    let lost = MemoryOutboxes::default();
    incarnation(async {
        lost.put(&payments(), &Page { version: 1, text: early.text.clone() }).await.expect("written");
        let live = start(&scene, &street, &lost, &["pager"]).await;
        live.pass(30).await;
    });
    let again: Vec<_> = street.ids("pager").split_off(first.len());
    assert!(first.iter().all(|id| again.contains(id)), "{first:?} again in {again:?}");
}

#[test]
fn nobody_is_told_of_starts_where_all_is_well() {
    let (scene, street, kept) = (scene(7), Street::default(), MemoryOutboxes::default());
    for _life in 0..3 {
        incarnation(async {
            let live = start(&scene, &street, &kept, &["pager"]).await;
            live.ready().await;
            live.pass(120).await;
        });
    }
    assert_eq!(street.took("pager"), [] as [String; 0], "all was well, and is");
}

#[tokio::test(start_paused = true)]
async fn after_a_day_a_notice_is_given_up_and_shown_as_such() {
    let (scene, outboxes) = (scene(8), MemoryOutboxes::default());
    let street = Street::default().behave("pager", Manner::Hangs);
    let live = start(&scene, &street, &outboxes, &["pager"]).await;
    live.ready().await;
    live.lose("us-east-1");
    live.pass(60).await;
    live.wall.set_ahead(25 * 3600);
    live.pass(120 + SEND_WITHIN.as_secs()).await;
    let told = live.engine.notifications(&payments()).await.expect("told").outbox;
    let given_up = told.ended.iter().find(|e| e.ending == Ending::GivenUp).expect("given up");
    assert!(given_up.reason.as_deref().is_some_and(|r| r.contains("within a day")), "{given_up:?}");
}

#[tokio::test(start_paused = true)]
async fn a_channel_can_be_tried_and_says_how_it_ended() {
    let (scene, outboxes) = (scene(9), MemoryOutboxes::default());
    let street = Street::default().behave("wrong", Manner::Refuses);
    let live = start(&scene, &street, &outboxes, &["pager", "wrong"]).await;
    let name = |name: &str| name.parse::<ChannelName>().expect("a name");
    let by = "alice".parse().expect("a subject");
    assert_eq!(live.engine.notify_test(&payments(), &name("pager"), &by).await, Ok(Sent::Delivered));
    assert!(street.took("pager")[0].contains("a test message"));
    let refused = live.engine.notify_test(&payments(), &name("wrong"), &by).await;
    assert_eq!(refused, Ok(Sent::Refused { reason: "answered 400".to_owned() }));
    let unknown = live.engine.notify_test(&payments(), &name("nobody"), &by).await;
    assert!(matches!(unknown, Err(Refusal::UnknownChannel { .. })), "{unknown:?}");
}
