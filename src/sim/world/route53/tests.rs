//! Route 53 as a whole: what clients of its API and of its DNS see over time.

use std::{cell::Cell, net::Ipv4Addr};

use super::{
    change::{Action, ChangeBatch, ChangeStatus, RecordChange},
    fixture::*,
    health::{AlarmIdentifier, EndpointStatus, MetricStream, StreamState, region},
    health_config::{CheckType, HealthCheckConfig, HealthCheckUpdate, InsufficientData},
    listing::StartRecord,
    record::{DnsName, RecordSet, Routing, RrType},
    resolver::Resolver,
    *,
};
use crate::sim::world::{World, arc::ControlState};

struct Stream(Cell<StreamState>);

impl MetricStream for Stream {
    fn latest(&self, _: &Region, _: &AlarmIdentifier, _: SimTime) -> StreamState {
        self.0.get()
    }
}

/// The world's Route 53 with everything around it in a test's hand.
struct Sim {
    world: World,
    primary: EndpointStatus,
    stream: Stream,
    metrics: Vec<HealthMetric>,
}

impl Sim {
    fn new(failover_by: FailoverBy) -> Self {
        let mut world = World::new(7, SimTime(1_000_000));
        let choice = PaymentsTraffic { failover_by, ..PaymentsTraffic::default() };
        payments_traffic(&mut world, &choice);
        Self {
            world,
            primary: EndpointStatus::Healthy,
            stream: Stream(Cell::new(StreamState::Ok)),
            metrics: Vec::new(),
        }
    }

    fn advance(&mut self, seconds: u64) {
        let end = self.world.now.plus_ms(seconds * 1_000);
        while let Some(due) = self.world.route53.next_due().filter(|due| *due <= end) {
            self.world.now = due.max(self.world.now);
            let mut ctx = Context {
                now: self.world.now,
                rng: &mut self.world.rng,
                planes: &self.world.planes,
                log: &mut self.world.log,
            };
            let status = |address| {
                if address == PRIMARY_ADDRESS { self.primary } else { EndpointStatus::Healthy }
            };
            let (route53, arc) = (&mut self.world.route53, &self.world.arc);
            let metrics = route53.run_due(&mut ctx, &status, &self.stream, arc);
            self.metrics.extend(metrics);
        }
        self.world.now = end;
    }

    fn change(&mut self, changes: Vec<(Action, RecordSet)>) -> Result<change::ChangeInfo, ApiFault> {
        let batch = ChangeBatch {
            comment: None,
            changes: changes.into_iter().map(|(action, record_set)| RecordChange { action, record_set }).collect(),
        };
        self.call(|r, ctx| r.change_record_sets(ctx, ZONE_ID, &batch))
    }

    fn call<R>(&mut self, f: impl FnOnce(&mut Route53, &mut Context<'_>) -> R) -> R {
        let mut ctx = Context {
            now: self.world.now,
            rng: &mut self.world.rng,
            planes: &self.world.planes,
            log: &mut self.world.log,
        };
        f(&mut self.world.route53, &mut ctx)
    }

    fn address(&self) -> String {
        let answer = self.world.route53.answer(self.world.now, RECORD_NAME, RrType::A);
        answer.expect("there is a record").values[0].clone()
    }

    fn control(&mut self, entries: &[(&str, ControlState)]) -> Result<(), &'static str> {
        let entries: Vec<_> = entries.iter().map(|(arn, s)| ((*arn).to_owned(), *s)).collect();
        let mut ctx = Context {
            now: self.world.now,
            rng: &mut self.world.rng,
            planes: &self.world.planes,
            log: &mut self.world.log,
        };
        self.world
            .arc
            .update_states(&mut ctx, &region("us-west-2"), "UpdateRoutingControlStates", &entries, &[])
            .map_err(|e| e.fault.code)
    }
}

fn name(s: &str) -> DnsName {
    s.parse().expect("a name")
}

fn record(n: &str, value: &str) -> RecordSet {
    RecordSet::simple(name(n), RrType::A, 60, vec![value.to_owned()])
}

fn weighted(id: &str, weight: u8, value: &str, check: Option<&str>) -> RecordSet {
    RecordSet {
        routing: Routing::Weighted { set_identifier: id.to_owned(), weight },
        health_check_id: check.map(str::to_owned),
        ..record("w.payments.example.com", value)
    }
}

const PRIMARY: &str = "127.0.11.1";
const SECONDARY: &str = "127.0.12.1";

#[test]
fn a_pending_change_is_listed_but_not_served() {
    let mut sim = Sim::new(FailoverBy::Records);
    let new = record("new.payments.example.com", "127.0.0.9");
    let info = sim.change(vec![(Action::Create, new.clone())]).expect("accepted");
    assert_eq!(info.status, ChangeStatus::Pending);
    let now = sim.world.now;
    let listed = sim.world.route53.list_record_sets(now, ZONE_ID, &StartRecord::default(), None);
    assert!(listed.expect("listed").items.contains(&new));
    let asked = |sim: &Sim| sim.world.route53.answer(sim.world.now, new.name.as_str(), RrType::A);
    assert_eq!(asked(&sim), None);
    sim.advance(61);
    assert_eq!(asked(&sim).map(|a| a.values), Some(vec!["127.0.0.9".to_owned()]));
    let now = sim.world.now;
    let status = sim.world.route53.get_change(now, &info.id).map(|i| i.status);
    assert_eq!(status, Ok(ChangeStatus::InSync));
}

#[test]
fn a_refused_batch_changes_nothing_and_names_every_reason() {
    let mut sim = Sim::new(FailoverBy::Records);
    let good = record("good.payments.example.com", "127.0.0.9");
    let absent = record("absent.payments.example.com", "127.0.0.9");
    let outside = record("www.example.org", "127.0.0.9");
    let batch = vec![
        (Action::Create, good.clone()),
        (Action::Create, good.clone()),
        (Action::Delete, absent),
        (Action::Upsert, outside),
    ];
    let fault = sim.change(batch).expect_err("refused");
    assert_eq!(fault.code, "InvalidChangeBatch");
    assert_eq!(
        fault.message,
        "[Tried to create resource record set [name='good.payments.example.com.', type='A'] but it already exists, \
         Tried to delete resource record set [name='absent.payments.example.com.', type='A'] but it was not found, \
         RRSet with DNS name www.example.org. is not permitted in zone payments.example.com.]"
    );
    assert!(!sim.world.route53.zones()[ZONE_ID].live.contains_key(&good.key()));
    assert!(!sim.world.route53.effects[0].accepted);
}

#[test]
fn delete_must_match_every_field_and_protections_hold() {
    let mut sim = Sim::new(FailoverBy::Records);
    let there = sim.world.route53.zones()[ZONE_ID]
        .live
        .values()
        .find(|s| s.rtype == RrType::A)
        .cloned()
        .expect("the fixture has one");
    let other_ttl = RecordSet { ttl_seconds: 61, ..there.clone() };
    let fault = sim.change(vec![(Action::Delete, other_ttl)]).expect_err("refused");
    assert!(fault.message.contains("do not match the current values"), "{}", fault.message);
    sim.world.route53.protect(ZONE_ID, there.name.clone(), RrType::A).expect("protected");
    let fault = sim.change(vec![(Action::Delete, there.clone())]).expect_err("refused");
    assert!(fault.message.contains("protected"), "{}", fault.message);
    let now = sim.world.now;
    let protection = [(there.name.clone(), RrType::A)];
    sim.world.route53.delete_protections(now, ZONE_ID, &protection).expect("deleted");
    sim.change(vec![(Action::Delete, there)]).expect("accepted");
}

#[test]
fn upsert_counts_twice_against_the_limits() {
    let mut sim = Sim::new(FailoverBy::Records);
    let many = |n: usize| RecordSet {
        values: (0..n).map(|i| format!("10.0.{}.{}", i / 250, i % 250)).collect(),
        ..record("many.payments.example.com", "")
    };
    let fault = sim.change(vec![(Action::Upsert, many(501))]).expect_err("refused");
    assert!(fault.message.contains("Number of records limit"), "{}", fault.message);
    sim.change(vec![(Action::Create, many(501))]).expect("accepted");
}

#[test]
fn overlapping_changes_and_a_sixth_request_are_refused() {
    let mut sim = Sim::new(FailoverBy::Records);
    sim.change(vec![(Action::Upsert, record("a.payments.example.com", "127.0.0.1"))]).expect("accepted");
    let second = sim.change(vec![(Action::Upsert, record("b.payments.example.com", "127.0.0.1"))]);
    assert_eq!(second.expect_err("refused").code, "PriorRequestNotComplete");
    let now = sim.world.now;
    for _ in 0..3 {
        sim.world.route53.get_zone(now, ZONE_ID).expect("within the rate");
    }
    let sixth = sim.world.route53.get_zone(now, ZONE_ID).map(|z| z.id);
    assert_eq!(sixth.expect_err("throttled").code, "Throttling");
    assert!(sim.world.route53.get_zone(now.plus_ms(1_000), ZONE_ID).is_ok());
}

#[test]
fn an_unhealthy_primary_moves_traffic_and_an_unhealthy_secondary_does_not() {
    let mut sim = Sim::new(FailoverBy::Http);
    sim.advance(60);
    assert_eq!(sim.address(), PRIMARY);
    sim.primary = EndpointStatus::NoAnswer;
    sim.advance(59);
    assert_eq!(sim.address(), PRIMARY, "the threshold is three at 30 s");
    sim.advance(90);
    assert_eq!(sim.address(), SECONDARY);
    sim.primary = EndpointStatus::Healthy;
    sim.advance(150);
    assert_eq!(sim.address(), PRIMARY);
}

#[test]
fn checkers_of_lost_regions_do_not_vote_and_none_left_changes_nothing() {
    let mut sim = Sim::new(FailoverBy::Http);
    sim.advance(60);
    for name in health::CHECKER_REGIONS {
        sim.world.planes.set(Plane::HealthCheckers, &region(name), Reach::Hangs);
    }
    sim.primary = EndpointStatus::Unhealthy;
    sim.advance(600);
    assert_eq!(sim.address(), PRIMARY, "nobody looks");
    sim.world.planes.set(Plane::HealthCheckers, &region("sa-east-1"), Reach::Up);
    sim.advance(180);
    assert_eq!(sim.address(), SECONDARY, "one vote is all there is");
}

#[test]
fn routing_controls_move_traffic_without_the_control_plane() {
    let mut sim = Sim::new(FailoverBy::RoutingControl);
    sim.advance(60);
    assert_eq!(sim.address(), PRIMARY);
    sim.world.planes.lose_region(&region("us-east-1"));
    let off = sim.control(&[(CONTROL_USE1_ARN, ControlState::Off)]);
    assert_eq!(off, Err("ConflictException"), "one must stay on");
    let swap = [(CONTROL_USE1_ARN, ControlState::Off), (CONTROL_USW2_ARN, ControlState::On)];
    sim.control(&swap).expect("accepted");
    assert_eq!(sim.address(), PRIMARY, "DNS follows a little later");
    sim.advance(35);
    assert_eq!(sim.address(), SECONDARY);
    let accepted: Vec<bool> = sim.world.arc.effects.iter().map(|e| e.accepted).collect();
    assert_eq!(accepted, [false, true]);
}

#[test]
fn a_metric_check_reads_the_stream_and_chooses_what_silence_means() {
    let alarm = AlarmIdentifier { region: region("us-west-2"), name: "payments-failover".to_owned() };
    let mut sim =
        Sim::new(FailoverBy::CloudWatchMetric { alarm, insufficient_data: InsufficientData::LastKnownStatus });
    sim.stream.0.set(StreamState::Alarm);
    sim.advance(40);
    assert_eq!(sim.address(), SECONDARY);
    sim.stream.0.set(StreamState::Insufficient);
    sim.advance(60);
    assert_eq!(sim.address(), SECONDARY, "the last known status");
    sim.stream.0.set(StreamState::Ok);
    sim.advance(40);
    assert_eq!(sim.address(), PRIMARY);
    sim.world.planes.set(Plane::CloudWatch, &region("us-west-2"), Reach::Hangs);
    sim.stream.0.set(StreamState::Alarm);
    sim.advance(60);
    assert_eq!(sim.address(), PRIMARY, "what cannot be read is silence");
}

#[test]
fn disabled_is_healthy_and_inverted_turns_round() {
    let mut sim = Sim::new(FailoverBy::Http);
    let invert = HealthCheckUpdate { version: Some(1), inverted: Some(true), ..HealthCheckUpdate::default() };
    let updated = sim.call(|r, ctx| r.update_health_check(ctx, CHECK_HTTP_USE1, &invert));
    assert_eq!(updated.expect("updated").version, 2);
    let again = sim.call(|r, ctx| r.update_health_check(ctx, CHECK_HTTP_USE1, &invert));
    assert_eq!(again.expect_err("locked").code, "HealthCheckVersionMismatch");
    sim.advance(30);
    assert_eq!(sim.address(), SECONDARY);
    let disable = HealthCheckUpdate { disabled: Some(true), ..HealthCheckUpdate::default() };
    sim.call(|r, ctx| r.update_health_check(ctx, CHECK_HTTP_USE1, &disable)).expect("updated");
    sim.advance(30);
    assert_eq!(sim.address(), PRIMARY);
}

#[test]
fn calculated_checks_count_their_children() {
    let mut sim = Sim::new(FailoverBy::Records);
    let calculated = |threshold| HealthCheckConfig {
        children: vec![CHECK_HTTP_USE1.to_owned(), CHECK_HTTP_USW2.to_owned()],
        health_threshold: Some(threshold),
        ..HealthCheckConfig::of(CheckType::Calculated)
    };
    for threshold in 0..4 {
        let reference = format!("calculated-{threshold}");
        let config = calculated(threshold);
        sim.call(|r, ctx| r.put_health_check(ctx, Some(&reference), &reference, &config)).expect("created");
    }
    sim.primary = EndpointStatus::Unhealthy;
    sim.advance(180);
    let healthy = |id: &str| sim.world.route53.is_healthy(id).expect("known");
    assert_eq!([0, 1, 2, 3].map(|n| healthy(&format!("calculated-{n}"))), [true, true, false, false]);
    assert!(
        sim.metrics
            .iter()
            .any(|m| m.metric == "HealthCheckStatus" && m.health_check_id == "calculated-2" && m.value == 0.0)
    );
}

#[test]
fn weight_zero_is_used_only_when_the_others_are_unhealthy() {
    let mut sim = Sim::new(FailoverBy::Http);
    let group = vec![
        (Action::Create, weighted("one", 10, "127.0.0.1", Some(CHECK_HTTP_USE1))),
        (Action::Create, weighted("zero", 0, "127.0.0.2", None)),
    ];
    sim.change(group).expect("accepted");
    sim.advance(61);
    let all = |sim: &Sim| -> std::collections::BTreeSet<String> {
        (0..200)
            .filter_map(|ms| {
                let at = sim.world.now.plus_ms(ms);
                let answer = sim.world.route53.answer(at, "w.payments.example.com", RrType::A)?;
                answer.values.first().cloned()
            })
            .collect()
    };
    assert_eq!(all(&sim), ["127.0.0.1".to_owned()].into());
    sim.primary = EndpointStatus::Unhealthy;
    sim.advance(180);
    assert_eq!(all(&sim), ["127.0.0.2".to_owned()].into());
    sim.change(vec![(Action::Upsert, weighted("zero", 10, "127.0.0.2", None))]).expect("accepted");
    sim.primary = EndpointStatus::Healthy;
    sim.advance(180);
    assert_eq!(all(&sim).len(), 2, "equal weights share");
}

#[test]
fn a_weight_of_five_in_a_hundred_is_one_answer_in_twenty() {
    let mut sim = Sim::new(FailoverBy::Records);
    let group = vec![
        (Action::Create, weighted("home", 5, "127.0.0.1", None)),
        (Action::Create, weighted("away", 95, "127.0.0.2", None)),
    ];
    sim.change(group).expect("accepted");
    sim.advance(61);
    // Resolvers ask once a TTL, each at its own moment.
    let answers = (0..20_000_u64).filter_map(|n| {
        sim.world.route53.answer(sim.world.now.plus_ms(n * 3_007), "w.payments.example.com", RrType::A)
    });
    let home = answers.filter(|answer| answer.values == ["127.0.0.1"]).count();
    assert!((900..1_100).contains(&home), "{home} of 20,000");
}

#[test]
fn a_resolver_keeps_an_answer_for_its_ttl_or_as_long_as_it_likes() {
    let mut sim = Sim::new(FailoverBy::RoutingControl);
    sim.advance(30);
    let mut good = Resolver::new(None);
    let mut stubborn = Resolver::new(Some(3_600));
    let primary = Some(PRIMARY_ADDRESS);
    let now = sim.world.now;
    assert_eq!(good.lookup(&sim.world.route53, now, RECORD_NAME), primary);
    assert_eq!(stubborn.lookup(&sim.world.route53, now, RECORD_NAME), primary);
    let swap = [(CONTROL_USE1_ARN, ControlState::Off), (CONTROL_USW2_ARN, ControlState::On)];
    sim.control(&swap).expect("accepted");
    sim.advance(59);
    let now = sim.world.now;
    assert_eq!(good.lookup(&sim.world.route53, now, RECORD_NAME), primary);
    let later = now.plus_ms(1_000);
    let secondary: Option<Ipv4Addr> = SECONDARY.parse().ok();
    assert_eq!(good.lookup(&sim.world.route53, later, RECORD_NAME), secondary);
    assert_eq!(stubborn.lookup(&sim.world.route53, later, RECORD_NAME), primary);
}
