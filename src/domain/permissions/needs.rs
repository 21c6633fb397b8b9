//! What each thing that failoverd looks at or does takes, in IAM's own words.
//!
//! Sources: the Service Authorization Reference's names of actions and resource types; for Aurora the sample policy of ARC
//! Region switch [docs: r53recovery/latest/dg/security_iam_region_switch_aurora], which asks for reads on `*` too.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Owner, Permission, Power};
use crate::domain::{
    action::{Action, EffectClass},
    api_call::{ApiCall, AwsCall},
    application::{Application, ClusterArn, Mechanism, Traffic},
    channel::Via,
    cloud::Mutation,
    fault,
    fence::{Fence, Part, Rung},
    id::Region,
    salvage::Salvage,
    signal::SignalSource,
    signature::Aged,
    standby_object::ObjectAt,
};

/// Reads that IAM ties to no resource, or that are asked for many at a time.
const ANY: &str = "*";

/// What was found so far.
pub(super) struct Needs {
    owner: Owner,
    all: BTreeSet<Permission>,
}

impl Needs {
    pub(super) fn of(app: &Application) -> Self {
        Self { owner: Owner::of(app), all: BTreeSet::new() }
    }

    pub(super) fn into_set(self) -> BTreeSet<Permission> {
        self.all
    }

    fn add(&mut self, power: Power, action: &str, resource: &str) {
        self.all.insert(Permission::new(power, action, resource));
    }

    fn read(&mut self, actions: &[&str]) {
        for action in actions {
            self.add(Power::Observer, action, ANY);
        }
    }

    /// What assessing `app` takes, whether or not it is ever moved.
    pub(super) fn watch(&mut self, app: &Application) {
        if !app.stores.is_empty() {
            self.read(&["rds:DescribeGlobalClusters", "rds:DescribeDBClusters"]);
            // What the standby can carry is told before it is needed.
            self.read(&["rds:DescribeDBInstances", "rds:DescribeAccountAttributes", "cloudwatch:GetMetricData"]);
            // Preflight: a parameter that would stop commits after a failover.
            self.read(&["rds:DescribeDBClusterParameters"]);
        }
        if !app.replicas.is_empty() {
            self.read(&["cloudwatch:GetMetricData"]);
        }
        for signal in &app.signals {
            match &signal.source {
                SignalSource::Alarm { .. } => self.read(&["cloudwatch:DescribeAlarms"]),
                SignalSource::RdsEvents { .. } => self.read(&["rds:DescribeEvents"]),
                SignalSource::AuroraLag { .. }
                | SignalSource::ReplicaLag { .. }
                | SignalSource::ReplicaBacklog { .. }
                | SignalSource::Metric { .. }
                | SignalSource::HealthCheck { .. } => self.read(&["cloudwatch:GetMetricData"]),
                SignalSource::Heartbeat { .. } | SignalSource::HttpProbe { .. } | SignalSource::TcpProbe { .. } => {}
            }
        }
        for traffic in app.traffic.values() {
            self.watch_traffic(traffic);
            // Preflight: whether the records are those that the mechanism turns.
            let zone = self.zone(&traffic.hosted_zone_id);
            self.add(Power::Observer, "route53:ListResourceRecordSets", &zone);
        }
        for topic in &app.topics {
            self.topic(&topic.arn);
        }
        for question in Aged::questions(app) {
            self.aged(&question);
        }
    }

    /// Telling people over one channel; webhooks need nothing of AWS.
    pub(super) fn tell(&mut self, via: &Via) {
        match via {
            Via::Sns { arn, .. } => self.topic(arn),
            Via::EventBridge { bus, .. } => self.add(Power::Observer, "events:PutEvents", bus),
            Via::Slack { .. } | Via::PagerDuty { .. } | Via::Generic { .. } => {}
        }
    }

    /// Published to, and looked for by preflight.
    fn topic(&mut self, arn: &str) {
        self.add(Power::Observer, "sns:Publish", arn);
        self.add(Power::Observer, "sns:GetTopicAttributes", arn);
    }

    /// Whether AWS looks at a signature's age is asked at the start, by questions that change nothing. They are refused before
    /// anybody looks at what is permitted; where they are not, an answer is to be had.
    fn aged(&mut self, question: &Aged) {
        match question {
            Aged::Rds { .. } => self.read(&["rds:DescribeGlobalClusters"]),
            Aged::Route53 { hosted_zone_id, .. } => {
                let zone = self.zone(hosted_zone_id);
                self.add(Power::Observer, "route53:ListResourceRecordSets", &zone);
            }
            Aged::RoutingControls { arn, .. } => {
                self.add(Power::Observer, "route53-recovery-cluster:GetRoutingControlState", arn);
            }
            Aged::CloudWatch { .. } => self.read(&["cloudwatch:DescribeAlarms"]),
            Aged::Sns { .. } => self.read(&["sns:ListTopics"]),
            Aged::S3 { bucket, .. } => {
                let bucket = self.owner.global("s3", bucket);
                self.add(Power::Observer, "s3:ListBucket", &bucket);
            }
            Aged::Written(request) => self.add(Power::Observer, &request.operation, ANY),
        }
    }

    fn watch_traffic(&mut self, traffic: &Traffic) {
        match &traffic.mechanism {
            Mechanism::RoutingControls { controls, weighted, .. } => {
                for control in controls.values() {
                    self.add(Power::Observer, "route53-recovery-cluster:GetRoutingControlState", control);
                }
                if !weighted.is_empty() {
                    self.records(&traffic.hosted_zone_id);
                }
            }
            Mechanism::HealthSignal { .. } => self.read(&["cloudwatch:GetMetricData"]),
            Mechanism::StandbyObject { object, .. } => self.look_at(object),
            Mechanism::Records { .. } => self.records(&traffic.hosted_zone_id),
        }
    }

    /// A flip by an object puts it, or takes it away, and its undo does the other.
    fn there_and_back(&mut self, traffic: &Traffic) {
        if let Mechanism::StandbyObject { object, .. } = &traffic.mechanism {
            let (_, key) = self.object(object);
            for action in ["s3:PutObject", "s3:DeleteObject"] {
                self.add(Power::Switch, action, &key);
            }
        }
    }

    fn zone(&self, id: &str) -> String {
        self.owner.global("route53", &format!("hostedzone/{id}"))
    }

    fn records(&mut self, zone: &str) {
        let zone = self.zone(zone);
        self.add(Power::Observer, "route53:ListResourceRecordSets", &zone);
        let changes = self.owner.global("route53", "change/*");
        self.add(Power::Observer, "route53:GetChange", &changes);
    }

    /// A HEAD asks for `s3:GetObject`; without `s3:ListBucket` what is absent answers 403, which is not absence.
    fn look_at(&mut self, object: &ObjectAt) {
        let (bucket, key) = self.object(object);
        self.add(Power::Observer, "s3:GetObject", &key);
        self.add(Power::Observer, "s3:ListBucket", &bucket);
    }

    fn object(&self, object: &ObjectAt) -> (String, String) {
        let bucket = self.owner.global("s3", &object.bucket);
        let key = format!("{bucket}/{}", object.key);
        (bucket, key)
    }

    /// What one step of a plan takes: what it looks at, its calls, and the calls that take them back.
    pub(super) fn step(&mut self, app: &Application, action: &Action) {
        let power = Self::power_of(action);
        self.looks(app, action);
        for mutation in action.mutations() {
            self.mutation(power, &mutation);
        }
    }

    pub(super) fn power_of(action: &Action) -> Power {
        if action.effect() == EffectClass::Irreversible { Power::DataLoss } else { Power::Switch }
    }

    fn looks(&mut self, app: &Application, action: &Action) {
        match action {
            Action::AuroraSwitchover { .. }
            | Action::AuroraFailover { .. }
            | Action::AuroraDetach { .. }
            | Action::AuroraWait { .. }
            | Action::AuroraVerifyWriter { .. }
            | Action::GateTarget { .. } => self.read(&["rds:DescribeGlobalClusters", "rds:DescribeDBClusters"]),
            Action::AuroraPreserveSnapshot { cluster, .. } => self.rescue(cluster),
            Action::AuroraAddInstance { .. } | Action::GateCapacity { .. } => {
                self.read(&["rds:DescribeDBClusters", "rds:DescribeDBInstances"]);
            }
            Action::GateQuota { .. } => self.read(&["rds:DescribeAccountAttributes"]),
            Action::GateRpo { .. } | Action::GateReplication { .. } => self.read(&["cloudwatch:GetMetricData"]),
            Action::DnsFlip { traffic, requires_writer, .. } => {
                if let Some(traffic) = app.traffic.get(traffic) {
                    self.watch_traffic(traffic);
                    self.there_and_back(traffic);
                }
                if !requires_writer.is_empty() {
                    self.read(&["rds:DescribeGlobalClusters", "rds:DescribeDBClusters"]);
                }
            }
            Action::DnsWeights(ramp) => {
                if !ramp.requires_writer.is_empty() {
                    self.read(&["rds:DescribeGlobalClusters", "rds:DescribeDBClusters"]);
                }
            }
            Action::Fence { fence } => self.fence(fence),
            Action::LambdaFault(fault) => self.request(Power::Observer, &fault::describe(&fault.at)),
            Action::Salvage { look } => self.salvage(look),
            Action::AwsCall { call } => self.call(call),
            // They look at nothing of AWS, or at what is watched anyway.
            Action::DnsVerify { .. }
            | Action::ProbeHttp { .. }
            | Action::ProbeTcp { .. }
            | Action::ProbePostgres { .. }
            | Action::ProbeSignal(_)
            | Action::Notify { .. }
            | Action::Approve { .. }
            | Action::Wait { .. }
            | Action::Assert { .. } => {}
        }
    }

    /// What one call takes.
    pub(super) fn mutation(&mut self, power: Power, mutation: &Mutation) {
        match mutation {
            Mutation::AuroraSwitchover { global_cluster, .. } => self.members(power, mutation, global_cluster),
            Mutation::AuroraFailover { global_cluster, .. } => self.members(power, mutation, global_cluster),
            Mutation::AuroraDetach { global_cluster, .. } => self.members(power, mutation, global_cluster),
            Mutation::CreateInstance { region, cluster, .. } => {
                self.add(power, "rds:CreateDBInstance", cluster.as_str());
                // IAM asks for every resource that the call touches.
                for kind in ["db:*", "pg:*", "subgrp:*", "og:*", "secgrp:*"] {
                    let arn = self.owner.arn("rds", region.as_str(), kind);
                    self.add(power, "rds:CreateDBInstance", &arn);
                }
            }
            Mutation::RoutingControls { states, .. } => {
                for control in states.keys() {
                    self.add(power, "route53-recovery-cluster:UpdateRoutingControlStates", control);
                }
            }
            Mutation::PutMetric { region, .. } => self.anywhere_in(power, "cloudwatch:PutMetricData", region),
            Mutation::PutObject { object, .. } => {
                let (_, key) = self.object(object);
                self.add(power, "s3:PutObject", &key);
            }
            Mutation::DeleteObject { object } => {
                let (_, key) = self.object(object);
                self.add(power, "s3:DeleteObject", &key);
            }
            Mutation::UpsertRecords { hosted_zone_id, .. } => {
                let zone = self.zone(hosted_zone_id);
                self.add(power, "route53:ChangeResourceRecordSets", &zone);
                self.records(hosted_zone_id);
            }
            // Telling people changes nothing that is protected.
            Mutation::Publish { topic_arn, .. } => self.add(Power::Observer, "sns:Publish", topic_arn),
            // No call to AWS.
            Mutation::EndSessions { .. } => {}
            Mutation::CopySnapshot { region, .. } => self.copy(power, region),
            Mutation::LambdaVariable { at, .. } => {
                let function = self.function(&at.region, &at.function);
                self.add(power, "lambda:UpdateFunctionConfiguration", &function);
            }
            Mutation::AwsCall { request, .. } => self.request(power, request),
        }
    }

    /// IAM wants the global cluster and each member that the call concerns. The members of other Regions are added by
    /// the plans of the other direction.
    fn members(&mut self, power: Power, mutation: &Mutation, global_cluster: &str) {
        let operation = mutation.operation();
        let global = self.owner.arn("rds", "", &format!("global-cluster:{global_cluster}"));
        self.add(power, &operation, &global);
        if let Mutation::AuroraSwitchover { target, .. }
        | Mutation::AuroraFailover { target, .. }
        | Mutation::AuroraDetach { target, .. } = mutation
        {
            self.add(power, &operation, target.as_str());
        }
    }

    /// IAM can tie `action` to no resource: to the Region, then.
    fn anywhere_in(&mut self, power: Power, action: &str, region: &Region) {
        let mut permission = Permission::new(power, action, ANY);
        permission.region = Some(region.clone());
        self.all.insert(permission);
    }

    fn rescue(&mut self, cluster: &ClusterArn) {
        self.read(&["rds:DescribeDBClusters", "rds:DescribeDBClusterSnapshots"]);
        self.copy(Power::Switch, cluster.region());
    }

    /// The copy carries the tags of its source, which IAM wants to be permitted by name.
    fn copy(&mut self, power: Power, region: &Region) {
        let snapshots = self.owner.arn("rds", region.as_str(), "cluster-snapshot:*");
        for action in ["rds:CopyDBClusterSnapshot", "rds:AddTagsToResource", "rds:ListTagsForResource"] {
            self.add(power, action, &snapshots);
        }
    }

    fn fence(&mut self, fence: &Fence) {
        self.read(&["rds:DescribeGlobalClusters", "rds:DescribeDBClusters"]);
        match &fence.rung {
            Rung::Event { .. } => self.read(&["rds:DescribeEvents", "rds:DescribeDBInstances"]),
            Rung::WriteMustFail { .. } | Rung::Connections | Rung::Restore { .. } => {}
            Rung::SecurityGroup { region, group, .. } => {
                self.read(&["ec2:DescribeSecurityGroupRules"]);
                let group = self.owner.arn("ec2", region.as_str(), &format!("security-group/{group}"));
                let back = "ec2:AuthorizeSecurityGroupIngress";
                self.add(Power::Switch, back, &group);
                // It names the rules that it makes.
                let rules = self.owner.arn("ec2", region.as_str(), "security-group-rule/*");
                self.add(Power::Switch, back, &rules);
            }
            Rung::Application { region, parts } => {
                for part in parts {
                    let (resource, look) = self.part(region, part);
                    self.add(Power::Observer, look, &resource);
                    if let Part::Lambda { .. } = part {
                        self.add(Power::Switch, "lambda:DeleteFunctionConcurrency", &resource);
                    }
                }
            }
        }
    }

    fn part(&self, region: &Region, part: &Part) -> (String, &'static str) {
        match part {
            Part::Ecs { cluster, service } => (self.service(region, cluster, service), "ecs:DescribeServices"),
            Part::Lambda { function } => (self.function(region, function), "lambda:GetFunctionConcurrency"),
        }
    }

    fn salvage(&mut self, look: &Salvage) {
        match look {
            Salvage::Snapshot { cluster, .. } => self.rescue(cluster),
            Salvage::Conflicts { .. } => self.read(&["cloudwatch:GetMetricData"]),
            Salvage::Objects { bucket, .. } => {
                let bucket = self.owner.global("s3", bucket);
                self.add(Power::Observer, "s3:ListBucket", &bucket);
                self.add(Power::Observer, "s3:GetObject", &format!("{bucket}/*"));
            }
        }
    }

    /// What a written-out call takes beside the call itself: its look, and what takes it back.
    fn call(&mut self, call: &AwsCall) {
        if let Some(read) = call.done_when.as_ref().and_then(|done| done.read.as_ref()) {
            self.request(Power::Observer, read);
        }
        if call.is_read() {
            self.request(Power::Observer, &call.request);
        }
        if let Some(undo) = &call.undo {
            self.request(Power::Switch, &undo.request);
            self.call(undo);
        }
    }

    /// The operation on its resource, where its arguments name one that IAM knows; else in its Region. A role that is
    /// assumed for it must be permitted to be assumed, and one that is handed over to be passed.
    fn request(&mut self, power: Power, request: &ApiCall) {
        let resource = self.resource(request);
        let region = (resource == ANY).then(|| request.region.clone());
        let role = request.role_arn.clone();
        if let Some(role) = &role {
            self.add(power, "sts:AssumeRole", role);
        }
        let mut roles = BTreeSet::new();
        roles_in(&request.arguments, &mut roles);
        for passed in roles {
            let passes = Permission::new(power, "iam:PassRole", &passed);
            self.all.insert(Permission { role: role.clone(), ..passes });
        }
        let permission = Permission::new(power, &request.operation, &resource);
        self.all.insert(Permission { role, region, ..permission });
    }

    /// Only of services whose ARNs are made of what the call names.
    fn resource(&self, request: &ApiCall) -> String {
        let text = |name: &str| request.arguments.get(name).and_then(Value::as_str);
        // Of another account, whose number only the role's ARN tells.
        let owner = request.role_arn.as_deref().and_then(owner_of).unwrap_or_else(|| self.owner.clone());
        let region = request.region.as_str();
        let made = match (request.service(), request.name()) {
            ("lambda", _) => {
                text("FunctionName").map(|f| arn_or(f, || owner.arn("lambda", region, &format!("function:{f}"))))
            }
            ("ssm", "PutParameter" | "GetParameter" | "DeleteParameter") => text("Name")
                .map(|n| arn_or(n, || owner.arn("ssm", region, &format!("parameter/{}", n.trim_start_matches('/'))))),
            ("ecs", "UpdateService") => text("service").map(|s| {
                let cluster = text("cluster").unwrap_or("default");
                arn_or(s, || owner.arn("ecs", region, &format!("service/{cluster}/{s}")))
            }),
            ("ecs", "DescribeServices") => {
                let services = request.arguments.get("services").and_then(Value::as_array);
                match services.map(Vec::as_slice) {
                    Some([Value::String(s)]) => {
                        let cluster = text("cluster").unwrap_or("default");
                        Some(arn_or(s, || owner.arn("ecs", region, &format!("service/{cluster}/{s}"))))
                    }
                    _ => None,
                }
            }
            ("ec2", "RevokeSecurityGroupIngress") => {
                text("GroupId").map(|g| owner.arn("ec2", region, &format!("security-group/{g}")))
            }
            ("events", "EnableRule" | "DisableRule" | "DescribeRule") => text("Name").map(|n| {
                let bus = text("EventBusName").filter(|bus| *bus != "default");
                let rule = bus.map_or_else(|| format!("rule/{n}"), |bus| format!("rule/{bus}/{n}"));
                owner.arn("events", region, &rule)
            }),
            ("states", "StartExecution") => text("stateMachineArn").map(str::to_owned),
            _ => None,
        };
        // A placeholder that the run fills in is not known before.
        made.filter(|arn| !arn.contains('{')).unwrap_or_else(|| ANY.to_owned())
    }

    fn function(&self, region: &Region, function: &str) -> String {
        arn_or(function, || self.owner.arn("lambda", region.as_str(), &format!("function:{function}")))
    }

    fn service(&self, region: &Region, cluster: &str, service: &str) -> String {
        arn_or(service, || self.owner.arn("ecs", region.as_str(), &format!("service/{cluster}/{service}")))
    }
}

fn arn_or(name: &str, arn: impl FnOnce() -> String) -> String {
    if name.starts_with("arn:") { name.to_owned() } else { arn() }
}

fn owner_of(role: &str) -> Option<Owner> {
    match role.split(':').collect::<Vec<_>>()[..] {
        ["arn", partition, "iam", _, account, _] => {
            Some(Owner { partition: partition.to_owned(), account: account.to_owned() })
        }
        _ => None,
    }
}

/// Every role's ARN that stands anywhere in `value`. Arguments are bounded in depth where they are read.
fn roles_in(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if text.starts_with("arn:") && text.contains(":iam::") && text.contains(":role/") => {
            found.insert(text.clone());
        }
        Value::Array(values) => values.iter().for_each(|v| roles_in(v, found)),
        Value::Object(fields) => fields.values().for_each(|v| roles_in(v, found)),
        _ => {}
    }
}
