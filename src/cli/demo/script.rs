//! What happens in each scenario, and what must be true at its end.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::json;

use super::{DemoArgs, Scenario, workspace::Stage};
use crate::{
    cli::why,
    domain::{
        assessment::{Health, Verdict},
        id::{ApplicationName, Region, RunId, StepId},
        run::{Phase, RunState, StepState},
    },
    engine::control::Control as _,
    http::decision::DecisionView,
    sim::world::{
        SimTime, World,
        aurora::PromotionFate,
        clients::Ledger,
        planes::{Plane, Reach},
        route53::record::RrType,
    },
};

/// How a scenario ended.
pub(super) struct Outcome {
    /// The runs, in order; empty where nothing had to move.
    pub(super) runs: Vec<RunState>,
    pub(super) ledger: Ledger,
    /// What the scenario must show, and whether it did.
    pub(super) checks: Vec<(String, bool)>,
}

const APPLICATION: &str = "payments";
/// How long the demo's people take to read and decide.
const PEOPLE: Duration = Duration::from_secs(8);
/// How often progress is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Plays `scenario` to its end.
pub(super) async fn play(stage: &Stage, args: &DemoArgs, patience: Duration) -> anyhow::Result<Outcome> {
    let deadline = stage.clock.boot() + patience;
    let player = Player { stage, application: APPLICATION.parse()?, deadline, by_hand: args.by_hand };
    player
        .until("the application is healthy and its lag is fresh", |p| {
            p.assessment().is_some_and(|a| a.health == Health::Healthy && a.exposure.values().all(|e| e.fresh))
        })
        .await?;
    stage.say("steady: served from us-east-1, replication lag fresh, every trigger healthy");
    stage.clock.sleep(Duration::from_secs(10)).await;
    match args.scenario {
        Scenario::RegionLost => player.region_lost().await,
        Scenario::Switchover => player.switchover().await,
        Scenario::Failback => player.failback().await,
        Scenario::FalseAlarm => player.false_alarm().await,
        Scenario::PromotionFails => player.promotion_fails().await,
    }
}

struct Player<'a> {
    stage: &'a Stage,
    application: ApplicationName,
    deadline: Duration,
    /// People act, not the demo's.
    by_hand: bool,
}

impl Player<'_> {
    async fn region_lost(&self) -> anyhow::Result<Outcome> {
        self.lose_primary()?;
        self.until_recommended().await?;
        let run = if self.by_hand {
            self.asked_by_hand().await?
        } else {
            let run = self.ask_for_failover().await?;
            self.approve(&run).await?;
            run
        };
        let run = self.follow(&run).await?;
        self.settle_clients().await?;
        let within = self.within(&run);
        self.outcome(
            vec![run.clone()],
            vec![("served again within the RTO".to_owned(), within), self.loss_agrees(&run)],
        )
    }

    async fn switchover(&self) -> anyhow::Result<Outcome> {
        let run = self.move_planned("/failover", json!({ "mode": "switchover" })).await?;
        self.settle_clients().await?;
        let within = self.within(&run);
        let ledger = self.ledger()?;
        let checks = vec![
            ("moved within the RTO".to_owned(), within),
            ("no write was lost".to_owned(), ledger.writes_lost == 0),
        ];
        self.outcome(vec![run], checks)
    }

    async fn failback(&self) -> anyhow::Result<Outcome> {
        let away = self.move_planned("/failover", json!({ "mode": "switchover" })).await?;
        self.settle_clients().await?;
        self.until("the application is healthy in us-west-2", |p| {
            p.assessment().is_some_and(|a| a.health == Health::Healthy)
        })
        .await?;
        let back = self.move_planned("/failback", json!({})).await?;
        self.settle_clients().await?;
        let ledger = self.ledger()?;
        let home: Region = "us-east-1".parse()?;
        let home_again = self.assessment().is_some_and(|a| a.active_region.as_ref() == Some(&home));
        let checks = vec![
            ("both moves within the RTO".to_owned(), self.within(&away) && self.within(&back)),
            ("no write was lost".to_owned(), ledger.writes_lost == 0),
            ("the writer is in us-east-1 again".to_owned(), home_again),
        ];
        self.outcome(vec![away, back], checks)
    }

    async fn false_alarm(&self) -> anyhow::Result<Outcome> {
        let region: Region = "us-east-1".parse()?;
        self.stage.say("us-east-1: the application's servers answer 503 for 6 s");
        self.stage.world.world.with(|w: &mut World| w.set_plane(Plane::Application, &region, Reach::Unavailable));
        self.stage.clock.sleep(Duration::from_secs(6)).await;
        self.stage.world.world.with(|w: &mut World| w.set_plane(Plane::Application, &region, Reach::Up));
        let mut recommended = false;
        let mut noticed = false;
        for _ in 0..120 {
            if let Some(a) = self.assessment() {
                recommended |= a.verdict == Verdict::Recommend;
                noticed |= a.health != Health::Healthy;
            }
            self.stage.clock.sleep(LOOK).await;
        }
        self.stage.say(if noticed { "it was noticed, and not believed" } else { "it was over before it was seen" });
        let quiet = self.history()?.runs.is_empty();
        let checks =
            vec![("no failover was recommended".to_owned(), !recommended), ("nothing was started".to_owned(), quiet)];
        self.outcome(Vec::new(), checks)
    }

    async fn promotion_fails(&self) -> anyhow::Result<Outcome> {
        self.stage.world.world.with(|w: &mut World| w.aurora.knobs.next_promotion = Some(PromotionFate::Fails));
        self.lose_primary()?;
        self.until_recommended().await?;
        let before = self.dns_answer();
        let id = self.ask_for_failover().await?;
        self.approve(&id).await?;
        self.until("the run is held", |p| p.run(&id).is_some_and(|r| matches!(r.phase, Phase::Held { .. }))).await?;
        let untouched = self.dns_answer() == before && self.dns_effects() == 0;
        self.stage.say("held: the promotion failed; DNS was not touched. alice resumes after a look");
        self.stage.clock.sleep(PEOPLE).await;
        self.stage
            .alice
            .post(
                &format!("/runs/{id}/resume"),
                &json!({ "reason": "the secondary is healthy, try again", "digest": self.digest(&id)? }),
            )
            .await?;
        let run = self.follow(&id).await?;
        self.settle_clients().await?;
        let checks = vec![
            ("DNS stayed while nothing was promoted".to_owned(), untouched),
            ("served again after a person resumed".to_owned(), crate::domain::recovery::succeeded(&run)),
            self.loss_agrees(&run),
        ];
        self.outcome(vec![run], checks)
    }

    fn lose_primary(&self) -> anyhow::Result<()> {
        let region: Region = "us-east-1".parse()?;
        self.stage.world.world.with(|w: &mut World| w.lose_region(&region));
        self.stage.say("us-east-1 IS LOST: network, database, servers and every API in it");
        Ok(())
    }

    async fn until_recommended(&self) -> anyhow::Result<()> {
        self.until("a failover is recommended", |p| p.assessment().is_some_and(|a| a.verdict == Verdict::Recommend))
            .await?;
        if let Some(a) = self.assessment() {
            self.stage.say(&format!("failover RECOMMENDED: {}", a.reasons.first().map_or("", String::as_str)));
        }
        let path = format!("/applications/{APPLICATION}/decision");
        let decision: DecisionView = serde_json::from_value(self.stage.alice.get(&path).await?)?;
        self.stage.show(&format!("$ failoverd why {APPLICATION}\n{}", why::brief(&decision)));
        Ok(())
    }

    async fn ask_for_failover(&self) -> anyhow::Result<RunId> {
        self.stage.clock.sleep(PEOPLE).await;
        let body = json!({
            "application": APPLICATION, "mode": "failover", "reason": "us-east-1 is gone",
            "accept_data_loss_seconds": 600,
        });
        self.stage.say("alice (operator): POST /failover, accepts the loss of at most 600 s");
        self.started(self.stage.alice.post("/failover", &body).await?)
    }

    /// The run that somebody has asked for.
    async fn asked_by_hand(&self) -> anyhow::Result<RunId> {
        self.stage.say("waiting for somebody to fail over");
        self.until("somebody fails over", |p| p.history().is_ok_and(|h| h.active_run().is_some())).await?;
        let history = self.history()?;
        Ok(history.active_run().context("the run is over already")?.id.clone())
    }

    fn started(&self, answer: serde_json::Value) -> anyhow::Result<RunId> {
        let id: RunId = answer["run"].as_str().context("the answer names no run")?.parse()?;
        self.stage.say(&format!("run {id}"));
        Ok(id)
    }

    async fn approve(&self, run: &RunId) -> anyhow::Result<()> {
        let waiting = |r: &RunState| -> Option<StepId> {
            let step = r.plan.steps.iter().find(|s| s.action.kind() == "approve")?;
            matches!(r.steps[&step.id], StepState::Running { .. }).then(|| step.id.clone())
        };
        self.until("the run waits for an approval", |p| p.run(run).as_ref().and_then(waiting).is_some()).await?;
        let step = self.run(run).as_ref().and_then(waiting).context("no approval is waited for")?;
        self.stage.clock.sleep(PEOPLE).await;
        let digest = self.digest(run)?;
        self.stage.say(&format!("bob (approver): approves the plan {}", &digest[..12]));
        let body = json!({ "step": step, "decision": "approve", "digest": digest, "reason": "read the plan, agreed" });
        self.stage.bob.post(&format!("/runs/{run}/approvals"), &body).await?;
        Ok(())
    }

    async fn move_planned(&self, path: &str, mut body: serde_json::Value) -> anyhow::Result<RunState> {
        body["application"] = json!(APPLICATION);
        body["reason"] = json!("planned");
        self.stage.say(&format!("alice (operator): POST {path}"));
        let id = self.started(self.stage.alice.post(path, &body).await?)?;
        self.follow(&id).await
    }

    /// Prints each step as it ends, until the run is finished.
    async fn follow(&self, id: &RunId) -> anyhow::Result<RunState> {
        let mut told = std::collections::BTreeSet::new();
        loop {
            let run = self.run(id).context("the run is gone")?;
            for step in &run.plan.steps {
                let line = match &run.steps[&step.id] {
                    StepState::Done { evidence, .. } => {
                        format!("done     {}: {}", step.id, evidence.last().map_or("", String::as_str))
                    }
                    StepState::Failed { reason, .. } => format!("FAILED   {}: {reason}", step.id),
                    StepState::Skipped { reason, .. } => format!("skipped  {}: {reason}", step.id),
                    StepState::Pending => continue,
                    StepState::Running { .. }
                    | StepState::Sending { .. }
                    | StepState::Answered { .. }
                    | StepState::Holding { .. } => {
                        format!("begins   {}: {}", step.id, step.title)
                    }
                };
                let key = (step.id.clone(), line.split_whitespace().next().unwrap_or_default().to_owned());
                if told.insert(key) {
                    self.stage.say(&line);
                }
            }
            match &run.phase {
                Phase::Finished { result, .. } => {
                    self.stage.say(&format!("run {result:?}").to_lowercase());
                    return Ok(run);
                }
                Phase::Held { reason, .. } if !self.by_hand => bail!("the run is held: {reason}"),
                Phase::Held { .. }
                | Phase::Running
                | Phase::Paused { .. }
                | Phase::Aborting { .. }
                | Phase::Undoing { .. } => {}
            }
            ensure!(self.stage.clock.boot() < self.deadline, "the run did not end in time");
            self.stage.clock.sleep(LOOK).await;
        }
    }

    /// Clients with a warm cache come last.
    async fn settle_clients(&self) -> anyhow::Result<()> {
        self.until("every client is served", |p| {
            p.ledger().is_ok_and(|l| l.first_failure_at.is_none() || l.served_again_at.is_some())
        })
        .await
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        while !holds(self) {
            if self.deadline <= self.stage.clock.boot() {
                let known = self.assessment().map_or_else(|| "nothing is known".to_owned(), |a| a.reasons.join("; "));
                bail!("waited in vain until {what}: {known}");
            }
            self.stage.clock.sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }

    fn assessment(&self) -> Option<std::sync::Arc<crate::domain::assessment::Assessment>> {
        self.stage.daemon.engine.assessment(&self.application)
    }

    fn history(&self) -> anyhow::Result<std::sync::Arc<crate::domain::history::History>> {
        self.stage.daemon.engine.history(&self.application).context("the application is held")
    }

    fn run(&self, id: &RunId) -> Option<RunState> {
        self.history().ok()?.runs.get(id).map(|r| RunState::clone(r))
    }

    fn digest(&self, id: &RunId) -> anyhow::Result<String> {
        Ok(self.run(id).context("no such run")?.plan_digest.to_string())
    }

    fn ledger(&self) -> anyhow::Result<Ledger> {
        Ok(self.stage.world.world.with(|w: &mut World| w.clients.ledger(&w.aurora)))
    }

    /// What the authoritative servers answer for the public name.
    fn dns_answer(&self) -> Option<Vec<String>> {
        self.stage.world.world.with(|w: &mut World| {
            let now: SimTime = w.now;
            w.route53.answer(now, "api.payments.example.com", RrType::A).map(|a| a.values)
        })
    }

    /// Changes of traffic that AWS took.
    fn dns_effects(&self) -> usize {
        self.stage.world.world.with(|w: &mut World| {
            w.arc.effects.iter().filter(|e| e.accepted).count()
                + w.route53.effects.iter().filter(|e| e.accepted).count()
        })
    }

    fn within(&self, run: &RunState) -> bool {
        let clock = crate::domain::recovery::rto_clock(run);
        crate::domain::recovery::succeeded(run)
            && clock.total.is_some_and(|t| {
                self.stage
                    .daemon
                    .engine
                    .applications()
                    .iter()
                    .any(|a| a.name == self.application && t <= a.objectives.rto)
            })
    }

    /// The daemon's interval must contain what the clients counted themselves.
    fn loss_agrees(&self, run: &RunState) -> (String, bool) {
        let counted = self.ledger().map_or(f64::NAN, |l| l.loss_window_seconds);
        let agrees = run.loss.as_ref().is_some_and(|l| match (l.at_least, l.at_most) {
            (Some(least), Some(most)) => {
                least.as_secs_f64() <= counted + 0.001 && counted <= most.as_secs_f64() + 0.001
            }
            _ => false,
        });
        (format!("the reported loss agrees with the clients' own count ({counted:.2} s)"), agrees)
    }

    fn outcome(&self, runs: Vec<RunState>, checks: Vec<(String, bool)>) -> anyhow::Result<Outcome> {
        Ok(Outcome { runs, ledger: self.ledger()?, checks })
    }
}
