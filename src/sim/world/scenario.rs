//! Builds the worlds that tests, the demo and rehearsals start from.
//!
//! It only puts parts together: how each behaves, and what breaks, is elsewhere.

use std::net::Ipv4Addr;

use super::{
    SimTime, World,
    aurora::{ClusterSpec, GlobalClusterSpec},
    canaries::Canary,
    clients::Endpoint,
    cloudwatch::MetricKey,
    route53::fixture::{PaymentsTraffic, payments_traffic},
    services::lambda::Switch,
};
use crate::domain::id::Region;

/// One Region's part of a topology.
#[derive(Debug, Clone)]
pub struct Site {
    pub region: Region,
    /// Identifier of the Aurora cluster.
    pub cluster: String,
    /// Database instances; 0 makes a headless secondary.
    pub instances: usize,
    /// Where the application's servers answer.
    pub address: Ipv4Addr,
}

/// Names and sizes of an application in two Regions.
#[derive(Debug, Clone)]
pub struct Topology {
    /// The application, and the global cluster's identifier.
    pub application: String,
    pub account: String,
    /// What clients ask DNS for.
    pub public_name: String,
    pub engine: String,
    pub engine_version: String,
    pub primary: Site,
    pub standby: Site,
    /// Clients outside both Regions.
    pub clients: usize,
}

impl Topology {
    /// The standard topology of the demo and the tests: `payments`, us-east-1 to us-west-2.
    pub fn payments() -> Self {
        let site = |region: &str, cluster: &str, address| Site {
            region: region.parse().expect("a literal Region"),
            cluster: cluster.to_owned(),
            instances: 2,
            address,
        };
        Self {
            application: "payments".to_owned(),
            account: "123456789012".to_owned(),
            public_name: "api.payments.example.com".to_owned(),
            engine: "aurora-postgresql".to_owned(),
            engine_version: "14.9".to_owned(),
            primary: site("us-east-1", "payments-use1", Ipv4Addr::new(127, 0, 11, 1)),
            standby: site("us-west-2", "payments-usw2", Ipv4Addr::new(127, 0, 12, 1)),
            clients: 4,
        }
    }

    /// ARN of the Aurora cluster of `site`.
    pub fn cluster_arn(&self, site: &Site) -> String {
        format!("arn:aws:rds:{}:{}:cluster:{}", site.region, self.account, site.cluster)
    }
}

/// The world of `topology` at `start`, everything up and in step.
///
/// It has no DNS: `traffic` of [`payments`] puts it there, or clients are pinned.
pub fn two_regions(seed: u64, start: SimTime, topology: &Topology) -> World {
    build(seed, start, topology, |_| ())
}

/// The payments application whole: databases, servers, topics, DNS with the failover of `traffic`, clients.
pub fn payments(seed: u64, start: SimTime, traffic: &PaymentsTraffic) -> World {
    build(seed, start, &Topology::payments(), |world| {
        payments_traffic(world, traffic);
    })
}

fn build(seed: u64, start: SimTime, topology: &Topology, traffic: impl FnOnce(&mut World)) -> World {
    let mut world = World::new(seed, start);
    add_database(&mut world, topology);
    add_servers(&mut world, topology);
    add_services(&mut world, topology);
    add_topics(&mut world, topology);
    add_called_services(&mut world, topology);
    // Before the clients, who ask DNS at once.
    traffic(&mut world);
    world.clients.start(topology.clients, &topology.public_name, &topology.application, start);
    world
}

fn add_database(world: &mut World, topology: &Topology) {
    let member = |site: &Site| ClusterSpec {
        id: site.cluster.clone(),
        region: site.region.clone(),
        instances: site.instances,
        instance_class: "db.r6g.large".to_owned(),
        scaling: None,
    };
    let spec = GlobalClusterSpec {
        id: topology.application.clone(),
        account: topology.account.clone(),
        engine: topology.engine.clone(),
        engine_version: topology.engine_version.clone(),
        members: vec![member(&topology.primary), member(&topology.standby)],
    };
    world.with_aurora(|aurora, ctx| aurora.add_global_cluster(spec, ctx));
}

/// One topic per Region, of the same name: a notification goes to both. [bc:sns.Publish]
fn add_topics(world: &mut World, topology: &Topology) {
    let name = format!("{}-alerts", topology.application);
    for site in [&topology.primary, &topology.standby] {
        let now = world.now;
        let created = world.sns.create_topic(&site.region, &name, now);
        created.expect("the topology's names are plain");
    }
}

/// What a runbook's own calls find (`aws.call`): a function, a service of tasks, a parameter that names the writer, a
/// nightly rule (enabled where the writer is) and a replicated secret; and a bucket in the standby.
fn add_called_services(world: &mut World, topology: &Topology) {
    let (name, primary) = (&topology.application, &topology.primary.region);
    for site in [&topology.primary, &topology.standby] {
        let (region, now, services) = (&site.region, world.now, &mut world.services);
        services.lambda.add(region, &format!("{name}-api"), &[("WRITER", primary.as_str())]);
        services.lambda.add_switch(Switch {
            region: region.clone(),
            function: format!("{name}-api"),
            variable: "FAILOVERD_FAULT".to_owned(),
            breaks: "fail".to_owned(),
        });
        services.ecs.add(region, name, "worker", 3);
        let (clients, daemons) = ("sg-08f7e6d5c4b3a2910".to_owned(), "10.9.0.0/24".to_owned());
        services.ec2.add(region, "sg-0a1b2c3d4e5f60718", 5_432, &[clients, daemons]);
        services.ssm.add(region, &format!("/{name}/writer"), primary.as_str());
        services.kms.add(region, &format!("mrk-{name}"), true);
        services.backup.add(region, name, now);
        services.events.add(region, &format!("{name}-nightly"), "rate(1 day)", region == primary);
    }
    world.s3.put_bucket(&topology.standby.region, &format!("{name}-standby"));
    // What is replicated to nobody here: only how far it is can be looked at.
    let audit = format!("{name}-audit");
    world.s3.put_bucket(&topology.primary.region, &audit);
    for (key, status) in [("logs/done", "COMPLETED"), ("logs/failed &1", "FAILED"), ("logs/waits", "PENDING")] {
        world.s3.seed_replicated(&audit, key, 100, status, world.now);
    }
    world.services.secrets.add(primary, &format!("{name}/db"), std::slice::from_ref(&topology.standby.region));
}

fn add_servers(world: &mut World, topology: &Topology) {
    for site in [&topology.primary, &topology.standby] {
        world.endpoints.add(Endpoint {
            name: format!("{}-{}", topology.application, site.region),
            region: site.region.clone(),
            address: site.address,
            db_cluster: topology.cluster_arn(site),
            follows_writer: false,
        });
    }
}

/// What the application's other parts publish: its functions in both Regions, and its table of sessions from each Region
/// to the other. They do well where the servers do; DynamoDB is silent where nothing is written.
fn add_services(world: &mut World, topology: &Topology) {
    let now = world.now;
    let (a, b) = (&topology.primary, &topology.standby);
    for (site, other) in [(a, b), (b, a)] {
        let canary = |metric, well, ill| Canary {
            metric,
            from: site.region.clone(),
            address: site.address,
            well,
            ill,
            late: None,
        };
        let function = format!("{}-api", topology.application);
        let errors = MetricKey::new("AWS/Lambda", "Errors", [("FunctionName", function.as_str())]);
        let table = format!("{}-sessions", topology.application);
        let dimensions = [("TableName", table.as_str()), ("ReceivingRegion", other.region.as_str())];
        let lag = MetricKey::new("AWS/DynamoDB", "ReplicationLatency", dimensions);
        world.canaries.add(canary(errors, Some(0.0), Some(20.0)), now);
        world.canaries.add(canary(lag, Some(800.0), None), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::world::{
        Context, Region, SimTime,
        arc::ControlState,
        aurora::FailoverRequest,
        clients::Ledger,
        route53::fixture::{CONTROL_USE1_ARN, CONTROL_USW2_ARN, FailoverBy},
    };

    const START: SimTime = SimTime(1_795_000_000_000);

    fn region(name: &str) -> Region {
        name.parse().expect("a Region")
    }

    fn run(world: &mut World, seconds: u64) {
        let to = world.now.plus_ms(seconds * 1_000);
        world.advance_to(to);
    }

    fn world_by(seed: u64, failover_by: FailoverBy) -> World {
        let traffic = PaymentsTraffic { failover_by, ..PaymentsTraffic::default() };
        payments(seed, START, &traffic)
    }

    /// Loses us-east-1 after two minutes, fails the database over after one more.
    fn lose_the_primary(world: &mut World) {
        run(world, 120);
        world.lose_region(&region("us-east-1"));
        run(world, 60);
        let request = FailoverRequest {
            global: "payments".to_owned(),
            target: "arn:aws:rds:us-west-2:123456789012:cluster:payments-usw2".to_owned(),
            allow_data_loss: true,
            switchover: false,
        };
        world
            .with_aurora(|aurora, ctx| aurora.failover_global_cluster(&region("us-west-2"), &request, ctx))
            .expect("accepted");
        run(world, 240);
    }

    fn flip_routing_controls(world: &mut World) {
        let mut ctx = Context { now: world.now, rng: &mut world.rng, planes: &world.planes, log: &mut world.log };
        let entries =
            [(CONTROL_USE1_ARN.to_owned(), ControlState::Off), (CONTROL_USW2_ARN.to_owned(), ControlState::On)];
        world
            .arc
            .update_states(&mut ctx, &region("us-west-2"), "UpdateRoutingControlStates", &entries, &[])
            .expect("accepted");
    }

    fn ledger(world: &World) -> Ledger {
        world.clients.ledger(&world.aurora)
    }

    #[test]
    fn nobody_fails_in_a_quiet_hour() {
        let mut world = world_by(1, FailoverBy::RoutingControl);
        run(&mut world, 3_600);
        let ledger = ledger(&world);
        assert_eq!((ledger.failed_seconds, ledger.writes_lost), (0.0, 0), "{ledger:?}");
        assert_eq!(ledger.reads_backwards, 0);
        assert!(ledger.writes_acknowledged > 57_000, "{ledger:?}");
    }

    #[test]
    fn clients_are_served_again_only_after_database_and_routing_controls_have_moved() {
        let mut world = world_by(2, FailoverBy::RoutingControl);
        lose_the_primary(&mut world);
        assert!(world.clients.failing_since().is_some(), "DNS has not moved: {:?}", ledger(&world));
        flip_routing_controls(&mut world);
        run(&mut world, 90);
        let ledger = ledger(&world);
        assert!(ledger.served_again_at.is_some(), "{ledger:?}");
        assert!((300.0..400.0).contains(&ledger.failed_seconds));
        assert!((1..20).contains(&ledger.writes_lost), "{ledger:?}");
    }

    #[test]
    fn health_checks_move_dns_by_themselves_and_the_database_still_has_to_follow() {
        let mut world = world_by(3, FailoverBy::Http);
        lose_the_primary(&mut world);
        let ledger = ledger(&world);
        assert!(ledger.served_again_at.is_some(), "{ledger:?}");
    }

    #[test]
    fn the_whole_world_has_the_same_history_for_the_same_seed() {
        let history = |seed| {
            let mut world = world_by(seed, FailoverBy::Http);
            lose_the_primary(&mut world);
            world.restore_region(&region("us-east-1"));
            run(&mut world, 600);
            (ledger(&world), world.log)
        };
        assert_eq!(history(4), history(4));
    }
}
