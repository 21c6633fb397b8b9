//! Taking one step back: the protocol of [`super::effect`] with the inverse calls, and what must be so before it.
//!
//! Invariants: nothing is called before no earlier call of the step can still arrive (FAULTS.md S11); what was there
//! before is looked for first, so that a second undo does nothing; what a person has changed since is not overwritten
//! (77); traffic goes back only to a Region whose writer is proven (S5).

use crate::{
    domain::{
        action::Action,
        cloud::Mutation,
        plan::PlannedStep,
        run::RunState,
        undo::{Restoration, destinations},
    },
    engine::{
        aurora::{self, Proof},
        context::Context,
        denial::Denial,
        detached::{self, Writer},
        effect, faults, fences,
        guards::Answer,
        observe::{Seen, traffic},
        postcondition, restore,
        step::{Driver, Stop, Way},
    },
};

/// Drives the undo of a step to its end.
pub async fn drive(driver: &Driver) -> Result<(), Stop> {
    let run = driver.run_state()?;
    match run.inverse_of(&driver.step) {
        Ok(action) => {
            let step = PlannedStep { action, ..driver.step.clone() };
            let back = Driver { context: driver.context.clone(), run: driver.run.clone(), step, way: Way::Back };
            effect::drive(&back).await
        }
        Err(_) if !driver.may_act(&run) => Err(Stop::Yield),
        Err(why) => driver.fail("undo-impossible", why).await,
    }
}

/// What stands before the first call back.
pub(super) enum Stands {
    /// What was there before: nothing is to be done.
    Restored {
        evidence: Vec<String>,
    },
    /// What the step has made.
    Ours,
    /// Neither: somebody else has changed it since.
    Drift {
        what: String,
    },
    Unknown {
        why: String,
    },
    Denied(Denial),
}

/// Waits until nothing of the step can still arrive, and looks. True where the undo is over by that.
pub(super) async fn is_settled(driver: &Driver, run: &RunState) -> Result<bool, Stop> {
    let context = &driver.context;
    while let Some(doubt) = run.doubt_of(&driver.step.id) {
        let age = context.ages.of(&driver.run, &driver.step.id, doubt, context.clock.boot());
        if context.signatures.lands_within(&driver.step.action) <= age {
            break;
        }
        effect::pause_unsent(driver, "a call of the step was never answered, and may still arrive").await?;
    }
    let deadline = context.clock.boot() + driver.step.timeout;
    loop {
        match stands(driver, run).await {
            Stands::Restored { evidence } => {
                driver.finish(evidence, Default::default()).await?;
                return Ok(true);
            }
            Stands::Ours => return Ok(false),
            Stands::Drift { what } => {
                driver.fail("undo-drift", format!("somebody else has changed it since: {what}")).await?;
                return Ok(true);
            }
            Stands::Denied(denial) => {
                driver.fail(denial.code, denial.why).await?;
                return Ok(true);
            }
            Stands::Unknown { why } if deadline <= context.clock.boot() => {
                driver.fail("step-timeout", format!("cannot be told in time: {why}")).await?;
                return Ok(true);
            }
            Stands::Unknown { why } => effect::pause_unsent(driver, &why).await?,
        }
    }
}

async fn stands(driver: &Driver, run: &RunState) -> Stands {
    let context = &driver.context;
    if let Action::AwsCall { call } = &driver.step.action
        && let Some(restores) = &call.restores
    {
        return restore::stands(driver, run, call, restores).await;
    }
    // What was there before is the runbook's word, not a reading.
    if let Action::AwsCall { call } = &driver.step.action {
        return match postcondition::observe(driver, call, None).await {
            Seen::Done { evidence, .. } => Stands::Restored { evidence },
            Seen::Before { .. } => Stands::Ours,
            Seen::Moving { what: why } | Seen::Unknown { why } if call.done_when.is_some() => Stands::Unknown { why },
            // There is nothing to look at.
            Seen::Moving { .. } | Seen::Unknown { .. } => Stands::Ours,
            Seen::Denied(denial) => Stands::Denied(denial),
        };
    }
    if let Action::LambdaFault(fault) = &driver.step.action {
        return match faults::standing(context, fault).await {
            faults::Standing::As { evidence } => Stands::Restored { evidence: vec![evidence] },
            faults::Standing::From => Stands::Ours,
            faults::Standing::Neither { what } => Stands::Drift { what },
            faults::Standing::Changing { what: why } | faults::Standing::Unknown { why } => Stands::Unknown { why },
            faults::Standing::Denied(denial) => Stands::Denied(denial),
        };
    }
    let Some(planned) = run.plan.step(&driver.step.id) else {
        return Stands::Unknown { why: "the plan has no such step".to_owned() };
    };
    let calls = match run.restorations(planned) {
        Ok(calls) => calls,
        // Nothing to compare with is no sign that all is as before.
        Err(why) => return Stands::Unknown { why },
    };
    let (mut is_restored, mut evidence) = (true, Vec::new());
    for Restoration { made, back } in &calls {
        match traffic(driver, back, None).await {
            Seen::Done { evidence: seen, .. } => evidence.extend(seen),
            // What a metric said cannot be read back: it is put again, which harms nothing.
            Seen::Before { .. } if matches!(back, Mutation::PutMetric { .. }) => is_restored = false,
            Seen::Before { .. } => match any_in_effect(driver, made).await {
                None => is_restored = false,
                Some(other) => return other,
            },
            Seen::Moving { what: why } | Seen::Unknown { why } => return Stands::Unknown { why },
            Seen::Denied(denial) => return Stands::Denied(denial),
        }
    }
    if !is_restored {
        return Stands::Ours;
    }
    evidence.push("is as it was before: nothing was sent".to_owned());
    Stands::Restored { evidence }
}

/// `None` where one of the step's own calls is what stands; else what is to be made of it.
async fn any_in_effect(driver: &Driver, made: &[Mutation]) -> Option<Stands> {
    let mut otherwise = String::new();
    // The newest is the likeliest.
    for call in made.iter().rev() {
        match traffic(driver, call, None).await {
            Seen::Done { .. } => return None,
            Seen::Before { what } => otherwise = what,
            Seen::Moving { what: why } | Seen::Unknown { why } => return Some(Stands::Unknown { why }),
            Seen::Denied(denial) => return Some(Stands::Denied(denial)),
        }
    }
    Some(Stands::Drift { what: otherwise })
}

/// S5 of the way back: where a store has one writer, traffic goes to no other Region than the proven one's.
pub(super) async fn may_go_back(context: &Context, action: &Action) -> Answer {
    // S5 is not asked of what a runbook writes out; the calls that are known to move traffic are refused there.
    if matches!(action, Action::AwsCall { .. }) {
        return Answer::Holds { evidence: Vec::new() };
    }
    // Whatever stands, a fault is better out.
    if matches!(action, Action::LambdaFault(_)) {
        return Answer::Holds { evidence: Vec::new() };
    }
    if let Action::Fence { fence } = action {
        return fences::may_go_back(context, fence).await;
    }
    let Action::DnsFlip { traffic, calls, requires_writer, .. } = action else {
        return Answer::Fails { why: format!("{} is not taken back by a step", action.kind()) };
    };
    let mut all = Vec::new();
    for proof in requires_writer {
        let entry = context.application.traffic.get(traffic);
        let regions = &context.application.regions;
        // Weights below routing controls send nothing anywhere that the controls do not.
        let is_control = |call: &&Mutation| matches!(call, Mutation::RoutingControls { .. });
        let telling = calls.iter().filter(|call| is_control(call) || !calls.iter().any(|c| is_control(&c)));
        let told = telling.map(|call| destinations(entry?, regions, call)).collect::<Option<Vec<_>>>();
        let Some(told) = told else {
            return Answer::Fails {
                why: "its configuration does not say to which Region traffic would go back".to_owned(),
            };
        };
        if let Some(alone) = detached::of_store(context, &proof.store) {
            let home = alone.cluster.region();
            match detached::writer(context, &proof.global_cluster, &alone.cluster, &proof.observe_in).await {
                Writer::Proven { evidence } if told.iter().flatten().all(|region| region == home) => {
                    all.push(evidence);
                    continue;
                }
                Writer::Proven { evidence } => {
                    let why = format!("traffic would go back, and the writer stays: {evidence}");
                    return Answer::Fails { why };
                }
                // The global cluster was rebuilt, and has another writer.
                Writer::Not { .. } => {}
                Writer::Unknown { why } => return Answer::Unknown { why },
                Writer::Denied(denial) => return Answer::Denied(denial),
            }
        }
        match aurora::prove(&*context.cloud, &*context.clock, &proof.global_cluster, &proof.observe_in).await {
            Proof::Agreed { view, evidence } => {
                let writer = view.writer().filter(|_| view.is_settled()).map(|w| w.arn.region());
                if writer.is_none_or(|at| told.iter().flatten().any(|region| region != at)) {
                    let seen = aurora::describe(&view);
                    return Answer::Fails {
                        why: format!("traffic would go back to where no writer is proven: {seen}"),
                    };
                }
                all.push(evidence);
            }
            Proof::Contradicted { why } | Proof::Unknown { why } => return Answer::Unknown { why },
            Proof::Denied(denial) => return Answer::Denied(denial),
        }
    }
    Answer::Holds { evidence: all }
}
