//! What a mutation does to the world when it arrives: apart from its sender, who may be dead by then.

use std::collections::BTreeMap;

use crate::{
    domain::{
        cloud::{Mutation, RecordSet},
        fault::FunctionVariable,
        id::Region,
    },
    sim::{
        port::view,
        world::{
            ApiFault, Context, SimTime, World,
            arc::ControlState,
            aurora::{FailoverRequest, NewInstance},
            cloudwatch::{Datum, DatumValue},
            route53::change::{Action, ChangeBatch, RecordChange},
            services::VariableChange,
            sns::Publication,
        },
    },
};

/// A mutation on its way.
#[derive(Debug, Clone)]
pub(super) struct Effect {
    pub mutation: Mutation,
    /// The endpoint that it is sent to.
    pub endpoint: Region,
    /// What its sender's clock showed as its intent was made durable: the time that its signature tells.
    pub stamped: SimTime,
    /// Its place in the log.
    pub place: usize,
    /// Of the function that it changes, as its sender has read it.
    pub revision: Option<u64>,
}

impl Effect {
    /// Lets it happen; what AWS answers.
    pub(super) fn happen(&self, world: &mut World) -> Result<Option<String>, ApiFault> {
        match &self.mutation {
            Mutation::AuroraSwitchover { region, global_cluster, target } => {
                let call = world.with_aurora(|aurora, ctx| {
                    aurora.switchover_global_cluster(region, global_cluster, target.as_str(), ctx)
                });
                call.map(|()| None)
            }
            Mutation::AuroraFailover { region, global_cluster, target } => {
                let request = FailoverRequest {
                    global: global_cluster.clone(),
                    target: target.to_string(),
                    allow_data_loss: true,
                    switchover: false,
                };
                let call = world.with_aurora(|aurora, ctx| aurora.failover_global_cluster(region, &request, ctx));
                call.map(|()| None)
            }
            Mutation::AuroraDetach { region, global_cluster, target } => {
                let call = world.with_aurora(|aurora, ctx| {
                    aurora.remove_from_global_cluster(region, global_cluster, target.as_str(), ctx)
                });
                call.map(|()| None)
            }
            Mutation::CreateInstance { region, cluster, identifier, class, engine } => {
                let wanted = NewInstance {
                    cluster: cluster.identifier().to_owned(),
                    id: identifier.clone(),
                    class: class.clone(),
                    engine: engine.clone(),
                };
                world.with_aurora(|aurora, ctx| aurora.create_instance(region, wanted, ctx)).map(|_| None)
            }
            Mutation::RoutingControls { states, .. } => self.turn(world, states),
            Mutation::PutMetric { region, namespace, metric, dimensions, value } => {
                let datum = Datum {
                    name: metric.clone(),
                    dimensions: dimensions.clone().into_iter().collect(),
                    at: Some(self.stamped),
                    value: DatumValue::One(*value),
                    unit: None,
                };
                let put = world.with_cloudwatch(|cw, ctx| cw.put_metric_data(region, namespace, &[datum], ctx));
                put.map(|()| None)
            }
            Mutation::PutObject { object, body } => {
                let (at, bucket, key) = (&object.region, &object.bucket, &object.key);
                world.with_s3(|s3, ctx| s3.put(at, bucket, key, body.as_bytes(), ctx)).map(|()| None)
            }
            Mutation::DeleteObject { object } => {
                let (at, bucket, key) = (&object.region, &object.bucket, &object.key);
                world.with_s3(|s3, ctx| s3.delete(at, bucket, key, ctx)).map(|()| None)
            }
            Mutation::UpsertRecords { hosted_zone_id, records, comment } => {
                upsert(world, hosted_zone_id, records, comment)
            }
            Mutation::Publish { region, topic_arn, subject, message } => {
                let publication =
                    Publication { subject: Some(subject.clone()), body: message.clone(), ..Publication::default() };
                world.with_sns(|sns, ctx| sns.publish(region, topic_arn, publication, ctx)).map(Some)
            }
            // Over the databases' port, never here.
            Mutation::EndSessions { .. } => Ok(None),
            Mutation::CopySnapshot { region, source, target } => {
                world.with_aurora(|aurora, ctx| aurora.copy_snapshot(region, source, target, ctx).map(|_| None))
            }
            Mutation::LambdaVariable { at, from, to } => self.change(world, at, from.as_deref(), to.as_deref()),
            // Roles of other accounts are not simulated: everything is in one.
            Mutation::AwsCall { request, .. } => {
                let answer = world.call_service(&request.operation, &request.region, &request.arguments)?;
                Ok(request.handle_in(&answer))
            }
        }
    }

    fn change(
        &self,
        world: &mut World,
        at: &FunctionVariable,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<Option<String>, ApiFault> {
        let (region, function, variable) = (&at.region, at.function.as_str(), at.variable.as_str());
        let change = VariableChange { region, function, variable, from, to, revision: self.revision };
        world.change_variable(change).map(|()| None)
    }

    fn turn(&self, world: &mut World, states: &BTreeMap<String, bool>) -> Result<Option<String>, ApiFault> {
        let on = |on: &bool| if *on { ControlState::On } else { ControlState::Off };
        let entries: Vec<_> = states.iter().map(|(arn, state)| (arn.clone(), on(state))).collect();
        let mut ctx = Context { now: world.now, rng: &mut world.rng, planes: &world.planes, log: &mut world.log };
        let operation = "UpdateRoutingControlStates";
        let updated = world.arc.update_states(&mut ctx, &self.endpoint, operation, &entries, &[]);
        updated.map(|()| None).map_err(|e| e.fault)
    }
}

fn upsert(world: &mut World, zone: &str, records: &[RecordSet], comment: &str) -> Result<Option<String>, ApiFault> {
    let invalid = |message: String| ApiFault { status: 400, code: "InvalidInput", message };
    let change = |record: &RecordSet| {
        let record_set = view::world_record(record).map_err(invalid)?;
        Ok(RecordChange { action: Action::Upsert, record_set })
    };
    let changes = records.iter().map(change).collect::<Result<_, ApiFault>>()?;
    let batch = ChangeBatch { comment: Some(comment.to_owned()), changes };
    let mut ctx = Context { now: world.now, rng: &mut world.rng, planes: &world.planes, log: &mut world.log };
    world.route53.change_record_sets(&mut ctx, zone, &batch).map(|info| Some(info.id))
}
