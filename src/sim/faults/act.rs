//! Troubles of the world, done and undone.
//!
//! Invariant: planes that several troubles break come back when the last of them ends. Of two troubles of the same
//! kind that set the same knob (a lag, a metric, fencing), the end of the first ends both: who mixes keeps them apart.

use super::Trouble;
use crate::{
    domain::id::Region,
    sim::world::{
        Plane, Planes, Reach, World, WorldEvent,
        aurora::{LagMetric, LagSetting, PromotionFate},
    },
};

/// Begins `trouble`, as far as the world is concerned.
pub fn apply(world: &mut World, trouble: &Trouble) {
    match trouble {
        Trouble::LoseRegion { region } => {
            world.press(region, &whole(), ("region.lost", &format!("{region} is lost")));
        }
        Trouble::PartitionRegion { region } => {
            let text = format!("{region} is cut off from the rest and goes on working inside");
            world.press(region, &[(Plane::Network, Reach::Hangs)], ("region.partitioned", &text));
        }
        Trouble::Plane { plane, region, reach } => {
            let text = format!("{plane:?} in {region}: {reach:?}");
            world.press(region, &[(*plane, *reach)], ("plane.changed", &text));
        }
        Trouble::Promotion { fate } => world.aurora.knobs.next_promotion = Some(*fate),
        Trouble::FencingTimesOut => world.aurora.knobs.fencing_times_out = true,
        Trouble::Headless { region } => world.aurora.set_headless(region, true),
        Trouble::Mismatched { region } => world.aurora.set_mismatched(region, true),
        Trouble::Undersized { region } => world.aurora.set_undersized(region, true),
        Trouble::QuotaExhausted { region } => world.aurora.set_quota_exhausted(region, true),
        Trouble::HiddenDependency { region } => {
            world.endpoints.dependent.insert(region.clone());
        }
        Trouble::ReplicasLag { region } => world.canaries.set_late(region, true),
        Trouble::Lag { region, setting } => {
            // Under the old setting until now: what had already crossed has crossed.
            world.aurora.replicate(world.now, &world.planes);
            world.aurora.set_lag_in(region, *setting);
        }
        Trouble::LagMetric { region, metric } => world.aurora.set_lag_metric_in(region, *metric),
        Trouble::Metrics { region, namespace, fault } => {
            world.cloudwatch.set_namespace_fault(region, namespace, Some(*fault));
        }
        Trouble::ResolversIgnoreTtl { seconds } => world.clients.ignore_ttl(Some(*seconds)),
        Trouble::Calls { .. } | Trouble::CredentialsExpire => (), // The port's.
        Trouble::Process(_)
        | Trouble::Replica { .. }
        | Trouble::Store(_)
        | Trouble::ClockJumps { .. }
        | Trouble::Vantage { .. } => (), // The rehearsal's.
    }
}

/// Ends `trouble`, as far as the world is concerned.
pub fn heal(world: &mut World, trouble: &Trouble) {
    match trouble {
        Trouble::LoseRegion { region } => give_back(world, region, &whole()),
        Trouble::PartitionRegion { region } => give_back(world, region, &[(Plane::Network, Reach::Hangs)]),
        Trouble::Plane { plane, region, reach } => {
            let text = format!("{plane:?} in {region}: no longer {reach:?}");
            world.lift(region, &[(*plane, *reach)], ("plane.changed", &text));
        }
        Trouble::Promotion { fate } => {
            if world.aurora.knobs.next_promotion == Some(*fate) {
                world.aurora.knobs.next_promotion = None;
            }
            if *fate == PromotionFate::Sticks {
                world.with_aurora(|aurora, ctx| aurora.release_all_stuck(ctx));
            }
        }
        Trouble::FencingTimesOut => world.aurora.knobs.fencing_times_out = false,
        Trouble::Headless { region } => world.aurora.set_headless(region, false),
        Trouble::Mismatched { region } => world.aurora.set_mismatched(region, false),
        Trouble::Undersized { region } => world.aurora.set_undersized(region, false),
        Trouble::QuotaExhausted { region } => world.aurora.set_quota_exhausted(region, false),
        Trouble::HiddenDependency { region } => {
            world.endpoints.dependent.remove(region);
        }
        Trouble::ReplicasLag { region } => world.canaries.set_late(region, false),
        Trouble::Lag { region, .. } => world.aurora.set_lag_in(region, LagSetting::default()),
        Trouble::LagMetric { region, .. } => world.aurora.set_lag_metric_in(region, LagMetric::default()),
        Trouble::Metrics { region, namespace, .. } => {
            world.cloudwatch.set_namespace_fault(region, namespace, None);
        }
        Trouble::ResolversIgnoreTtl { .. } => world.clients.ignore_ttl(None),
        Trouble::Calls { .. } | Trouble::CredentialsExpire => (), // The port's.
        Trouble::Process(_)
        | Trouble::Replica { .. }
        | Trouble::Store(_)
        | Trouble::ClockJumps { .. }
        | Trouble::Vantage { .. } => (), // The rehearsal's.
    }
}

/// What breaks where a Region is lost.
fn whole() -> [(Plane, Reach); Planes::ALL.len()] {
    Planes::ALL.map(|plane| (plane, Reach::Hangs))
}

/// The kind of event that says: an old primary came back while its role was being moved (61).
pub(super) const RETURNED: &str = "region.returned-in-midst";

fn give_back(world: &mut World, region: &Region, planes: &[(Plane, Reach)]) {
    world.lift(region, planes, ("region.restored", &format!("{region}: what cut it off has ended")));
    let returned = world.planes.reach(Plane::Database, region) == Reach::Up;
    let deposed = world
        .aurora
        .globals()
        .filter_map(|g| g.operation.as_ref())
        .any(|operation| world.aurora.cluster(&operation.from).is_some_and(|cluster| cluster.region == *region));
    if returned && deposed {
        let text = format!("{region} is back while its writer's role is being moved");
        world.log.push(WorldEvent { at: world.now, kind: RETURNED, text });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sim::{
        faults::{CallFault, ProcessFault, Replica, ReplicaFault, Sight, StoreFault, Vantage, met_in_world, of_metric},
        world::{
            SimTime,
            aurora::FailoverRequest,
            cloudwatch::{MetricFault, MetricKey, MetricQuery, Statistic},
            route53::fixture::PaymentsTraffic,
            scenario,
        },
    };

    const START: SimTime = SimTime(1_795_000_000_000);
    const USW2: &str = "arn:aws:rds:us-west-2:123456789012:cluster:payments-usw2";

    fn east() -> Region {
        "us-east-1".parse().expect("a Region")
    }

    fn west() -> Region {
        "us-west-2".parse().expect("a Region")
    }

    fn world(seed: u64) -> World {
        let mut world = scenario::payments(seed, START, &PaymentsTraffic::default());
        world.advance_to(START.plus_ms(240_000));
        world
    }

    fn run(world: &mut World, seconds: u64) {
        let to = world.now.plus_ms(seconds * 1_000);
        world.advance_to(to);
    }

    fn fail_over(world: &mut World) -> Result<(), &'static str> {
        let request = FailoverRequest {
            global: "payments".to_owned(),
            target: USW2.to_owned(),
            allow_data_loss: true,
            switchover: false,
        };
        let call = world.with_aurora(|aurora, ctx| aurora.failover_global_cluster(&west(), &request, ctx));
        call.map_err(|fault| fault.code)
    }

    /// One of each, so that a new kind is looked at here.
    fn every_trouble() -> Vec<Trouble> {
        vec![
            Trouble::LoseRegion { region: east() },
            Trouble::PartitionRegion { region: east() },
            Trouble::Plane { plane: Plane::Sns, region: west(), reach: Reach::Throttles },
            Trouble::Calls { operation: "*".to_owned(), region: None, fault: CallFault::Garbage, chance: 0.5 },
            Trouble::Promotion { fate: PromotionFate::Fails },
            Trouble::FencingTimesOut,
            Trouble::Headless { region: west() },
            Trouble::Mismatched { region: west() },
            Trouble::Undersized { region: west() },
            Trouble::HiddenDependency { region: west() },
            Trouble::QuotaExhausted { region: west() },
            Trouble::ReplicasLag { region: east() },
            Trouble::Lag { region: west(), setting: LagSetting::StandsStill },
            Trouble::LagMetric { region: west(), metric: LagMetric::Negative },
            Trouble::Metrics { region: west(), namespace: "AWS/RDS".to_owned(), fault: MetricFault::Freeze },
            Trouble::ResolversIgnoreTtl { seconds: 600 },
            Trouble::CredentialsExpire,
            Trouble::Process(ProcessFault::Pause { lasts: Duration::from_secs(9) }),
            Trouble::Store(StoreFault::Full),
            Trouble::ClockJumps { seconds: -3_600 },
            Trouble::Replica { of: Replica::Leader, does: ReplicaFault::CutFromAws },
            Trouble::Vantage { of: Vantage::Daemon, does: Sight::CutOff },
            Trouble::Vantage { of: Vantage::Observer(1), does: Sight::Silent },
            Trouble::Vantage { of: Vantage::Observer(1), does: Sight::SeesIll },
        ]
    }

    #[test]
    fn after_everything_has_gone_wrong_and_healed_a_failover_works_as_ever() {
        let mut world = world(1);
        for trouble in every_trouble() {
            apply(&mut world, &trouble);
        }
        run(&mut world, 120);
        assert!(world.clients.failing_since().is_some());
        assert_eq!(fail_over(&mut world), Err("InvalidDBClusterStateFault"), "headless");
        for trouble in every_trouble() {
            heal(&mut world, &trouble);
        }
        run(&mut world, 120);
        assert_eq!(world.clients.failing_since(), None);
        assert_eq!(world.aurora.cluster(USW2).expect("exists").instances.len(), 2);
        assert_eq!(fail_over(&mut world), Ok(()));
        run(&mut world, 240);
        assert_eq!(world.aurora.writer_of("payments").expect("a writer").arn, USW2);
        assert_eq!(met_in_world(&world).get(&39), None);
    }

    #[test]
    fn every_trouble_has_a_line_of_its_own() {
        let lines: Vec<String> = every_trouble().iter().map(Trouble::describe).collect();
        for (index, line) in lines.iter().enumerate() {
            assert!(!line.is_empty() && !line.contains('\n') && !lines[..index].contains(line), "{line:?}");
        }
    }

    #[test]
    fn a_plane_that_heals_in_a_lost_region_stays_lost() {
        let mut world = world(2);
        let database = Trouble::Plane { plane: Plane::Database, region: east(), reach: Reach::Hangs };
        let lost = Trouble::LoseRegion { region: east() };
        apply(&mut world, &database);
        apply(&mut world, &lost);
        heal(&mut world, &database);
        assert!(!world.planes.works_inside(Plane::Database, &east()));
        heal(&mut world, &lost);
        for plane in Planes::ALL {
            assert!(world.planes.works_inside(plane, &east()), "{plane:?}");
        }
    }

    #[test]
    fn a_promotion_that_sticks_comes_loose_when_it_heals() {
        let mut world = world(3);
        let sticks = Trouble::Promotion { fate: PromotionFate::Sticks };
        apply(&mut world, &sticks);
        fail_over(&mut world).expect("accepted");
        run(&mut world, 600);
        assert_eq!(met_in_world(&world).get(&36), Some(&1));
        assert_eq!(world.aurora.writer_of("payments").expect("a writer").region, east());
        heal(&mut world, &sticks);
        run(&mut world, 60);
        assert_eq!(world.aurora.writer_of("payments").expect("a writer").region, west());
    }

    #[test]
    fn a_promotion_that_never_came_is_not_met() {
        let mut world = world(4);
        let fails = Trouble::Promotion { fate: PromotionFate::Fails };
        apply(&mut world, &fails);
        heal(&mut world, &fails);
        fail_over(&mut world).expect("accepted");
        run(&mut world, 240);
        assert_eq!(world.aurora.writer_of("payments").expect("a writer").region, west());
        assert_eq!(met_in_world(&world).get(&39), None);
    }

    #[test]
    fn an_old_primary_that_comes_back_in_the_midst_is_counted() {
        let mut world = world(5);
        let lost = Trouble::LoseRegion { region: east() };
        apply(&mut world, &lost);
        run(&mut world, 30);
        fail_over(&mut world).expect("accepted");
        run(&mut world, 5);
        heal(&mut world, &lost);
        assert_eq!(met_in_world(&world).get(&61), Some(&1));
        apply(&mut world, &lost);
        run(&mut world, 600);
        heal(&mut world, &lost);
        assert_eq!(met_in_world(&world).get(&61), Some(&1), "not in the midst");
    }

    #[test]
    fn a_mismatched_secondary_is_no_target_and_then_is_one_again() {
        let mut world = world(6);
        let other = Trouble::Mismatched { region: west() };
        apply(&mut world, &other);
        assert_eq!(fail_over(&mut world), Err("InvalidDBClusterStateFault"));
        heal(&mut world, &other);
        assert_eq!(fail_over(&mut world), Ok(()));
    }

    /// The newest value of the lag metric over the last hour, and how many there are.
    fn lag(world: &World) -> (usize, Option<f64>) {
        let dimensions = [("DBClusterIdentifier", "payments-usw2")];
        let query = MetricQuery {
            id: "q".to_owned(),
            key: MetricKey::new("AWS/RDS", "AuroraGlobalDBRPOLag", dimensions),
            period_seconds: 60,
            statistic: Statistic::Maximum,
            unit: None,
            label: None,
        };
        let range = (SimTime(world.now.0 - 3_600_000), world.now);
        let found = world.cloudwatch.get_metric_data(&west(), &[query], range, true).expect("found");
        (found[0].points.len(), found[0].points.first().map(|(_, v)| *v))
    }

    #[test]
    fn the_lag_metric_lies_in_every_way_and_tells_the_truth_again() {
        for (metric, expected) in [(LagMetric::ShowsZero, Some(0.0)), (LagMetric::Negative, Some(-1.0))] {
            let mut world = world(7);
            let lies = Trouble::LagMetric { region: west(), metric };
            apply(&mut world, &lies);
            run(&mut world, 400);
            assert_eq!(lag(&world).1, expected);
            heal(&mut world, &lies);
            run(&mut world, 400);
            assert!(lag(&world).1.is_some_and(|v| 0.0 < v), "{metric:?}");
        }
        let mut world = world(7);
        apply(&mut world, &Trouble::LagMetric { region: west(), metric: LagMetric::NotANumber });
        run(&mut world, 400);
        assert!(lag(&world).1.is_some_and(f64::is_nan));
    }

    #[test]
    fn a_lag_that_shows_zero_is_met_only_where_it_hides_something() {
        let mut world = world(10);
        let met = |world: &World| of_metric(world, &west(), "AWS/RDS", "AuroraGlobalDBRPOLag", Some("payments-usw2"));
        apply(&mut world, &Trouble::LagMetric { region: west(), metric: LagMetric::ShowsZero });
        assert!(met(&world).is_empty());
        apply(&mut world, &Trouble::Lag { region: west(), setting: LagSetting::StandsStill });
        run(&mut world, 90);
        assert_eq!(met(&world), [44]);
        let other = of_metric(&world, &west(), "AWS/RDS", "CPUUtilization", Some("payments-usw2"));
        assert!(other.is_empty());
    }

    #[test]
    fn metrics_of_a_namespace_are_withheld_and_come_again() {
        let mut world = world(8);
        let withheld =
            Trouble::Metrics { region: west(), namespace: "AWS/RDS".to_owned(), fault: MetricFault::Withhold };
        apply(&mut world, &withheld);
        run(&mut world, 300);
        let before = lag(&world).0;
        run(&mut world, 600);
        assert_eq!(lag(&world).0, before, "nothing new");
        let met = |world: &World| of_metric(world, &west(), "AWS/RDS", "AuroraGlobalDBRPOLag", Some("payments-usw2"));
        assert_eq!(met(&world), [43]);
        heal(&mut world, &withheld);
        run(&mut world, 600);
        assert!(before < lag(&world).0);
        assert!(met(&world).is_empty());
    }

    #[test]
    fn clients_stay_with_an_old_address_while_their_resolvers_ignore_the_ttl() {
        let kept = |ignored: bool| {
            let mut world = world(9);
            if ignored {
                apply(&mut world, &Trouble::ResolversIgnoreTtl { seconds: 3_600 });
                run(&mut world, 120);
            }
            run(&mut world, 600);
            let overdue = met_in_world(&world).get(&49).copied().unwrap_or(0);
            if ignored {
                heal(&mut world, &Trouble::ResolversIgnoreTtl { seconds: 3_600 });
                run(&mut world, 600);
                assert_eq!(met_in_world(&world).get(&49).copied().unwrap_or(0), overdue);
            }
            overdue
        };
        assert_eq!(kept(false), 0);
        assert!(1_000 < kept(true));
    }
}
