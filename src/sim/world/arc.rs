//! Routing controls of Amazon Application Recovery Controller: the data plane of a cluster.
//!
//! Invariant: an update sets all its controls or none, and no update leaves a safety rule broken unless it
//! overrides that rule by name. A cluster has five regional endpoints; it answers wherever one is up, and takes
//! updates while most of them are [INF: the endpoints agree by majority].
//!
//! Deliberately absent: the configuration API (in us-west-2, never to be used in a disaster), gating rules, and
//! the panels' own life.

use std::collections::{BTreeMap, VecDeque};

pub use super::route53::Effect;
use super::{
    ApiFault, Context, Plane, Planes, Reach, SimTime, WorldEvent,
    route53::fixture,
    timings::{self, Name},
};
use crate::domain::id::Region;

/// Mutating calls per second and endpoint [ARCDG quotas].
pub const MUTATIONS_PER_SECOND_MAX: usize = 3;
/// Controls per `UpdateRoutingControlStates` [ARCDG quotas].
pub const CONTROLS_PER_UPDATE_MAX: usize = 10;
/// Endpoints that must be up for an update: most of five.
pub const QUORUM: usize = 3;

/// `RoutingControlState` [bc].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlState {
    On,
    Off,
}

impl ControlState {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "On",
            Self::Off => "Off",
        }
    }
}

/// One routing control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingControl {
    pub arn: String,
    pub name: String,
    pub panel_arn: String,
    pub panel_name: String,
    pub cluster_arn: String,
    pub state: ControlState,
    /// When its state last changed.
    pub changed_at: Option<SimTime>,
    /// When health checks see that change; until then they see the other state.
    pub visible_at: Option<SimTime>,
}

/// A cluster: where its endpoints are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    pub arn: String,
    pub endpoints: Vec<Region>,
}

impl Cluster {
    /// A cluster with the five endpoints that every cluster has.
    pub fn new(arn: &str) -> Self {
        Self { arn: arn.to_owned(), endpoints: fixture::cluster_regions().to_vec() }
    }
}

/// How many asserted controls must be On.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleType {
    AtLeast(usize),
    And,
    Or,
}

/// A safety rule over the states that an update would leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssertionRule {
    pub arn: String,
    pub name: String,
    /// ARNs of routing controls.
    pub asserted: Vec<String>,
    pub rule_type: RuleType,
    pub inverted: bool,
    /// After a change of an asserted control, updates of them fail this long; 5,000 by default [bc].
    pub wait_period_ms: u64,
}

impl AssertionRule {
    fn holds(&self, is_on: impl Fn(&str) -> bool) -> bool {
        let on = self.asserted.iter().filter(|arn| is_on(arn)).count();
        let holds = match self.rule_type {
            RuleType::AtLeast(n) => n <= on,
            RuleType::And => on == self.asserted.len(),
            RuleType::Or => 0 < on,
        };
        holds != self.inverted
    }
}

/// An error of the cluster: some carry what they are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArcFault {
    pub fault: ApiFault,
    /// `resourceId` and `resourceType`, where the API has them.
    pub resource: Option<(String, &'static str)>,
}

impl From<ApiFault> for ArcFault {
    fn from(fault: ApiFault) -> Self {
        Self { fault, resource: None }
    }
}

/// All clusters of one account.
#[derive(Debug, Default)]
pub struct Arc {
    clusters: BTreeMap<String, Cluster>,
    controls: BTreeMap<String, RoutingControl>,
    rules: BTreeMap<String, AssertionRule>,
    mutations: BTreeMap<Region, VecDeque<SimTime>>,
    /// Every mutating call, refused ones included.
    pub effects: Vec<Effect>,
}

impl Arc {
    /// Adds a cluster. For fixtures.
    pub fn put_cluster(&mut self, cluster: Cluster) {
        self.clusters.insert(cluster.arn.clone(), cluster);
    }

    /// Adds a routing control. For fixtures.
    pub fn put_control(&mut self, control: RoutingControl) {
        self.controls.insert(control.arn.clone(), control);
    }

    /// Adds a safety rule. For fixtures.
    pub fn put_rule(&mut self, rule: AssertionRule) {
        self.rules.insert(rule.arn.clone(), rule);
    }

    /// What health checks see at `now`, a little after the API; `None` for an unknown control.
    pub fn is_on(&self, arn: &str, now: SimTime) -> Option<bool> {
        let control = self.controls.get(arn)?;
        let seen = control.visible_at.is_none_or(|at| at <= now);
        Some((control.state == ControlState::On) == seen)
    }

    /// What a control is set to, whichever endpoint answers; `None` for an unknown one. For oracles.
    pub fn is_set_on(&self, arn: &str) -> Option<bool> {
        self.controls.get(arn).map(|control| control.state == ControlState::On)
    }

    /// Never: everything here happens within a call.
    pub fn next_due(&self) -> Option<SimTime> {
        None
    }

    /// Nothing is ever due.
    pub fn run_due(&mut self, _ctx: &mut Context<'_>) {}

    /// `GetRoutingControlState`, asked at `endpoint`.
    ///
    /// # Errors
    /// `EndpointTemporarilyUnavailableException`, `ResourceNotFoundException`.
    pub fn get_state(&self, planes: &Planes, endpoint: &Region, arn: &str) -> Result<&RoutingControl, ArcFault> {
        self.check_endpoint(planes, endpoint)?;
        self.controls.get(arn).ok_or_else(|| not_found(arn))
    }

    /// `ListRoutingControls` of a panel or of all, asked at `endpoint`.
    ///
    /// # Errors
    /// `EndpointTemporarilyUnavailableException`, `ResourceNotFoundException` for an unknown panel.
    pub fn list(
        &self,
        planes: &Planes,
        endpoint: &Region,
        panel_arn: Option<&str>,
    ) -> Result<Vec<&RoutingControl>, ArcFault> {
        self.check_endpoint(planes, endpoint)?;
        let of_panel = |c: &&RoutingControl| panel_arn.is_none_or(|arn| arn == c.panel_arn);
        let controls: Vec<_> = self.controls.values().filter(of_panel).collect();
        match panel_arn {
            Some(arn) if controls.is_empty() => Err(not_found(arn)),
            _ => Ok(controls),
        }
    }

    /// `UpdateRoutingControlStates`, sent to `endpoint`: all of `entries` or none.
    ///
    /// # Errors
    /// `EndpointTemporarilyUnavailableException`, `ThrottlingException`, `ValidationException`,
    /// `ServiceLimitExceededException`, `ResourceNotFoundException`, `ConflictException`.
    pub fn update_states(
        &mut self,
        ctx: &mut Context<'_>,
        endpoint: &Region,
        operation: &'static str,
        entries: &[(String, ControlState)],
        overrides: &[String],
    ) -> Result<(), ArcFault> {
        let result = self.try_update(ctx, endpoint, entries, overrides);
        let list: Vec<String> = entries.iter().map(|(arn, state)| format!("{arn}={}", state.as_str())).collect();
        let refusal = match &result {
            Ok(()) => String::new(),
            Err(e) => format!(" ({})", e.fault.code),
        };
        self.effects.push(Effect {
            at: ctx.now,
            operation,
            detail: format!("at {endpoint}: {}{refusal}", list.join(", ")),
            accepted: result.is_ok(),
        });
        result
    }

    fn try_update(
        &mut self,
        ctx: &mut Context<'_>,
        endpoint: &Region,
        entries: &[(String, ControlState)],
        overrides: &[String],
    ) -> Result<(), ArcFault> {
        self.check_endpoint(ctx.planes, endpoint)?;
        self.admit(ctx.now, endpoint)?;
        if entries.is_empty() {
            return Err(fault(400, "ValidationException", "no routing control given").into());
        }
        if CONTROLS_PER_UPDATE_MAX < entries.len() {
            let message = format!("at most {CONTROLS_PER_UPDATE_MAX} routing controls per request");
            return Err(ArcFault { fault: fault(402, "ServiceLimitExceededException", message), resource: None });
        }
        let mut after: BTreeMap<&str, ControlState> = BTreeMap::new();
        for (arn, state) in entries {
            let control = self.controls.get(arn).ok_or_else(|| not_found(arn))?;
            self.check_quorum(ctx.planes, &control.cluster_arn)?;
            if after.insert(arn, *state).is_some() {
                let message = format!("{arn} is given more than once");
                return Err(fault(400, "ValidationException", message).into());
            }
        }
        if let Some(unknown) = overrides.iter().find(|arn| !self.rules.contains_key(*arn)) {
            return Err(not_found(unknown));
        }
        self.check_rules(ctx.now, &after, overrides)?;
        for (arn, state) in entries {
            let Some(control) = self.controls.get_mut(arn) else {
                continue;
            };
            if control.state != *state {
                control.state = *state;
                control.changed_at = Some(ctx.now);
                let delay = timings::draw(ctx.rng, Name::RoutingControlPropagation);
                control.visible_at = Some(ctx.now.plus_ms(delay));
                ctx.log.push(WorldEvent {
                    at: ctx.now,
                    kind: "arc.control",
                    text: format!("routing control {} is {}", control.name, state.as_str()),
                });
            }
        }
        Ok(())
    }

    fn check_rules(
        &self,
        now: SimTime,
        after: &BTreeMap<&str, ControlState>,
        overrides: &[String],
    ) -> Result<(), ArcFault> {
        let touched = |r: &&AssertionRule| r.asserted.iter().any(|a| after.contains_key(a.as_str()));
        let in_force = |r: &&AssertionRule| !overrides.contains(&r.arn);
        for rule in self.rules.values().filter(touched).filter(in_force) {
            let conflict = |message: String| ArcFault {
                fault: fault(409, "ConflictException", message),
                resource: Some((rule.arn.clone(), "SafetyRule")),
            };
            let is_on = |arn: &str| {
                let now = || self.controls.get(arn).map(|c| c.state);
                after.get(arn).copied().or_else(now) == Some(ControlState::On)
            };
            if !rule.holds(is_on) {
                return Err(conflict(format!("the safety rule {} would be broken", rule.name)));
            }
            let waiting = rule
                .asserted
                .iter()
                .filter_map(|arn| self.controls.get(arn)?.changed_at)
                .any(|at| now.since_ms(at) < rule.wait_period_ms);
            if waiting {
                return Err(conflict(format!("the wait period of the safety rule {} is not over", rule.name)));
            }
        }
        Ok(())
    }

    fn check_endpoint(&self, planes: &Planes, endpoint: &Region) -> Result<(), ArcFault> {
        if planes.reach(Plane::ArcCluster, endpoint) == Reach::Up {
            Ok(())
        } else {
            Err(unavailable(format!("the endpoint in {endpoint} is unavailable")))
        }
    }

    fn check_quorum(&self, planes: &Planes, cluster_arn: &str) -> Result<(), ArcFault> {
        let up = self.clusters.get(cluster_arn).map_or(0, |cluster| {
            let up = |r: &&Region| planes.reach(Plane::ArcCluster, r) == Reach::Up;
            cluster.endpoints.iter().filter(up).count()
        });
        if QUORUM <= up { Ok(()) } else { Err(unavailable(format!("only {up} endpoints of the cluster are up"))) }
    }

    fn admit(&mut self, now: SimTime, endpoint: &Region) -> Result<(), ArcFault> {
        let recent = self.mutations.entry(endpoint.clone()).or_default();
        recent.retain(|at| now.since_ms(*at) < 1_000);
        if MUTATIONS_PER_SECOND_MAX <= recent.len() {
            return Err(fault(429, "ThrottlingException", "Rate exceeded").into());
        }
        recent.push_back(now);
        Ok(())
    }
}

fn unavailable(message: String) -> ArcFault {
    fault(503, "EndpointTemporarilyUnavailableException", message).into()
}

fn not_found(arn: &str) -> ArcFault {
    let kind = match arn {
        a if a.contains("/routingcontrol/") => "RoutingControl",
        a if a.contains("/safetyrule/") => "SafetyRule",
        _ => "ControlPanel",
    };
    ArcFault {
        fault: fault(404, "ResourceNotFoundException", format!("{arn} was not found")),
        resource: Some((arn.to_owned(), kind)),
    }
}

fn fault(status: u16, code: &'static str, message: impl Into<String>) -> ApiFault {
    ApiFault { status, code, message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::world::{
        World,
        route53::fixture::{CONTROL_USE1_ARN, CONTROL_USW2_ARN, PaymentsTraffic, SAFETY_RULE_ARN, payments_traffic},
    };

    fn payments() -> World {
        let mut world = World::new(1, SimTime(1_000_000));
        payments_traffic(&mut world, &PaymentsTraffic::default());
        world
    }

    fn update(world: &mut World, entries: &[(&str, ControlState)], overrides: &[&str]) -> Result<(), &'static str> {
        let mut ctx = Context { now: world.now, rng: &mut world.rng, planes: &world.planes, log: &mut world.log };
        let own = |s: &&str| (*s).to_owned();
        let entries: Vec<_> = entries.iter().map(|(a, s)| (own(a), *s)).collect();
        let overrides: Vec<_> = overrides.iter().map(own).collect();
        let endpoint = &fixture::cluster_regions()[1];
        let operation = "UpdateRoutingControlStates";
        world.arc.update_states(&mut ctx, endpoint, operation, &entries, &overrides).map_err(|e| e.fault.code)
    }

    const SWAP: [(&str, ControlState); 2] =
        [(CONTROL_USE1_ARN, ControlState::Off), (CONTROL_USW2_ARN, ControlState::On)];
    const BACK: [(&str, ControlState); 2] =
        [(CONTROL_USE1_ARN, ControlState::On), (CONTROL_USW2_ARN, ControlState::Off)];

    #[test]
    fn the_wait_period_prevents_flapping_unless_it_is_overridden() {
        let mut world = payments();
        assert_eq!(update(&mut world, &SWAP, &[]), Ok(()));
        world.now = world.now.plus_ms(4_999);
        assert_eq!(update(&mut world, &BACK, &[]), Err("ConflictException"));
        assert_eq!(update(&mut world, &BACK, &[SAFETY_RULE_ARN]), Ok(()));
        world.now = world.now.plus_ms(5_000);
        assert_eq!(update(&mut world, &SWAP, &[]), Ok(()));
    }

    #[test]
    fn a_cluster_takes_updates_while_three_of_five_endpoints_are_up() {
        let mut world = payments();
        let lose = |world: &mut World, index: usize| {
            let region = &fixture::cluster_regions()[index];
            world.planes.set(Plane::ArcCluster, region, Reach::Hangs);
        };
        lose(&mut world, 0);
        lose(&mut world, 2);
        assert_eq!(update(&mut world, &SWAP, &[]), Ok(()));
        lose(&mut world, 3);
        world.now = world.now.plus_ms(10_000);
        let refused = update(&mut world, &BACK, &[]);
        assert_eq!(refused, Err("EndpointTemporarilyUnavailableException"));
        let here = &fixture::cluster_regions()[1];
        let state = world.arc.get_state(&world.planes, here, CONTROL_USW2_ARN);
        assert_eq!(state.map(|c| c.state), Ok(ControlState::On), "reads go on");
    }

    #[test]
    fn one_unknown_control_refuses_the_whole_update() {
        let mut world = payments();
        let mut entries = SWAP.to_vec();
        entries.push(("arn:x/routingcontrol/none", ControlState::On));
        assert_eq!(update(&mut world, &entries, &[]), Err("ResourceNotFoundException"));
        assert_eq!(world.arc.is_on(CONTROL_USE1_ARN, world.now), Some(true));
        let eleven = vec![SWAP[0]; 11];
        assert_eq!(update(&mut world, &eleven, &[]), Err("ServiceLimitExceededException"));
    }
}
