//! `dns.weights`: the exact calls of a ramp, by the mechanism of the dns entry.
//!
//! - `records` with set identifiers: weighted records without health checks, as `dns.flip` leaves them.
//! - `routing_controls` with `weighted`: weighted records, each with the health check of its Region's control
//!   (docs/adr/0013). First the weights are set to what the controls say already, and all controls to On; then the
//!   weights are moved; last the source's control is Off again. So a flip by the controls alone always works.
//!
//! Invariant: while traffic is shared, both Regions take writes; so every store with one writer must be written from all
//! Regions, which only the application's owner can know.

use std::collections::BTreeMap;

use super::{
    super::{
        action::Action,
        application::{Mechanism, Traffic, WeightedRecord},
        cloud::{Mutation, RecordSet},
        id::{Region, SignalName, TrafficName},
        ramp::{CallRole, Ramp, RampCall, RampGuard, Split},
        runbook::Act,
        signal::{Signal, SignalRole},
    },
    Compiler, Scope,
    flip::{answer, ttl_seconds},
    listed,
};

/// A Region's record: its set identifier, and its health check where it has one.
type Named = BTreeMap<Region, (String, Option<String>)>;

impl Compiler<'_> {
    pub(super) fn ramp(&self, act: &Act, named: Option<&TrafficName>, scope: &Scope) -> Result<Action, String> {
        let Act::DnsWeights { ramp, hold_for, signals, unknown_for, step_back, .. } = act else {
            return Err("is not a ramp".to_owned());
        };
        let (name, traffic) = self.entry(named, scope)?;
        self.writes_are_shared()?;
        let signals = self.guard_signals(signals.as_deref(), *hold_for)?;
        let guard = RampGuard { signals, unknown_for: *unknown_for, step_back: *step_back };
        Ok(Action::DnsWeights(Box::new(Ramp {
            traffic: name.clone(),
            from: self.source.clone(),
            to: self.target.clone(),
            record_name: traffic.record_name.clone(),
            record_type: traffic.record_type.clone(),
            servers: traffic.servers.clone(),
            source_answer: answer(traffic, name, self.source)?,
            target_answer: answer(traffic, name, self.target)?,
            calls: self.ramp_calls(traffic, name, ramp)?,
            hold_for: *hold_for,
            guard,
            requires_writer: self.writer_proofs()?,
        })))
    }

    /// While traffic is shared, clients write through the servers of both Regions.
    fn writes_are_shared(&self) -> Result<(), String> {
        let alone = self.application.stores.iter().find(|(_, db)| !db.written_from_all_regions);
        alone.map_or(Ok(()), |(store, _)| {
            Err(format!(
                "while traffic is shared, the servers of {} must write to the writer in {}: where they do (by Aurora's \
                 global writer endpoint, or write forwarding), say `written_from_all_regions = true` of store `{store}`; \
                 else use dns.flip",
                self.source, self.target
            ))
        })
    }

    fn guard_signals(
        &self,
        named: Option<&[SignalName]>,
        hold_for: std::time::Duration,
    ) -> Result<Vec<SignalName>, String> {
        let all = &self.application.signals;
        let tells = |s: &&Signal| s.role == SignalRole::Trigger && s.source.of() == Some(self.target);
        let signals: Vec<&Signal> = match named {
            None => all.iter().filter(tells).collect(),
            Some(names) => names
                .iter()
                .map(|name| {
                    all.iter().find(|s| s.name == *name).ok_or_else(|| {
                        let known: Vec<&str> = all.iter().map(|s| s.name.as_str()).collect();
                        format!("`{}` has no signal `{name}`; signals: {}", self.application.name, listed(&known))
                    })
                })
                .collect::<Result<_, String>>()?,
        };
        if signals.is_empty() {
            return Err(format!(
                "no signal with the role trigger tells of {}: name the signals under `guard`",
                self.target
            ));
        }
        if let Some(lag) = signals.iter().find(|s| s.source.of().is_none()) {
            return Err(format!(
                "signal `{}` is a lag, which does not say how requests are served: guard with a probe, an alarm or a \
                 metric",
                lag.name
            ));
        }
        if let Some(slow) = signals.iter().find(|s| hold_for < s.period * s.consecutive) {
            return Err(format!(
                "`hold_for` is shorter than signal `{}` needs to be believed ({} readings, {} s apart): a step would be \
                 over before its errors show",
                slow.name,
                slow.consecutive,
                slow.period.as_secs()
            ));
        }
        Ok(signals.into_iter().map(|s| s.name.clone()).collect())
    }

    fn ramp_calls(&self, traffic: &Traffic, name: &TrafficName, ramp: &[u8]) -> Result<Vec<RampCall>, String> {
        let (named, controls) = match &traffic.mechanism {
            Mechanism::Records { set_identifiers } if !set_identifiers.is_empty() => {
                let named: Named = set_identifiers.iter().map(|(r, id)| (r.clone(), (id.clone(), None))).collect();
                (named, None)
            }
            Mechanism::RoutingControls { endpoints, controls, weighted } if !weighted.is_empty() => {
                let record = |w: &WeightedRecord| (w.set_identifier.clone(), Some(w.health_check_id.clone()));
                let named: Named = weighted.iter().map(|(r, w)| (r.clone(), record(w))).collect();
                (named, Some((self.source_last(endpoints), controls)))
            }
            Mechanism::Records { .. }
            | Mechanism::RoutingControls { .. }
            | Mechanism::HealthSignal { .. }
            | Mechanism::StandbyObject { .. } => {
                return Err(format!(
                    "dns `{name}` has no weighted records: it needs `set_identifiers` (mechanism records) or `weighted` \
                     (mechanism routing_controls)"
                ));
            }
        };
        let weights = |percent: u8, role: CallRole| -> Result<RampCall, String> {
            let mutation = Mutation::UpsertRecords {
                hosted_zone_id: traffic.hosted_zone_id.clone(),
                records: self.split(traffic, name, &named, percent)?,
                comment: format!(
                    "failoverd: {} {} to {}, {percent} percent",
                    self.application.name, self.purpose, self.target
                ),
            };
            Ok(RampCall { percent, role, mutation })
        };
        let states = |percent: u8, role: CallRole, is_on: &dyn Fn(&Region) -> bool| {
            controls.as_ref().map(|(endpoints, controls)| {
                let states = controls.iter().map(|(region, arn)| (arn.clone(), is_on(region))).collect();
                let mutation = Mutation::RoutingControls { endpoints: endpoints.clone(), states };
                RampCall { percent, role, mutation }
            })
        };
        let mut calls = Vec::new();
        if controls.is_some() {
            calls.push(weights(0, CallRole::Prepare)?);
            let shared = |region: &Region| region == self.source || region == self.target;
            calls.extend(states(0, CallRole::Prepare, &shared));
        }
        for percent in ramp {
            calls.push(weights(*percent, CallRole::Step)?);
        }
        calls.extend(states(100, CallRole::Finish, &|region| region == self.target));
        let before = std::iter::once(&0).chain(ramp);
        for percent in before.take(ramp.len()) {
            calls.push(weights(*percent, CallRole::Back)?);
        }
        Ok(calls)
    }

    fn split(
        &self,
        traffic: &Traffic,
        name: &TrafficName,
        named: &Named,
        percent: u8,
    ) -> Result<Vec<RecordSet>, String> {
        let split = Split::between(self.source, self.target, percent, named.keys());
        if let Some(region) = [self.source, self.target].into_iter().find(|r| !named.contains_key(*r)) {
            return Err(format!("dns `{name}` has no weighted record for {region}"));
        }
        let ttl = ttl_seconds(traffic, name)?;
        named
            .iter()
            .map(|(region, (set_identifier, health_check_id))| {
                Ok(RecordSet {
                    name: traffic.record_name.clone(),
                    record_type: traffic.record_type.clone(),
                    ttl_seconds: Some(ttl),
                    values: vec![answer(traffic, name, region)?],
                    set_identifier: Some(set_identifier.clone()),
                    failover: None,
                    weight: Some(split.weight(region)),
                    health_check_id: health_check_id.clone(),
                })
            })
            .collect()
    }
}
