//! The budget of a drill, with its signals resolved: each tells of the source or of the target, and of no lag.

use std::collections::BTreeMap;

use super::{Compiler, listed};
use crate::domain::{
    action::Action,
    drill::{Budget, Terms, way_there},
    id::{Region, SignalName},
    plan::Plan,
    signal::SignalRole,
};

impl Compiler<'_> {
    /// What `terms` come to for `plan`.
    pub(super) fn budget(&self, terms: &Terms, plan: &Plan) -> Result<Budget, String> {
        let there = way_there(plan);
        let mut moves = plan.steps.iter().filter(|s| there.contains(&s.id));
        let is_served = moves.any(|s| matches!(s.action, Action::DnsFlip { .. } | Action::DnsWeights(_)));
        let signals = match &terms.signals {
            Some(named) => named.iter().map(|name| self.told_of(name)).collect::<Result<_, _>>()?,
            None if is_served => self.triggers_of_target(),
            None => BTreeMap::new(),
        };
        Ok(Budget { within: terms.within, signals, unknown_for: terms.unknown_for })
    }

    fn triggers_of_target(&self) -> BTreeMap<SignalName, Region> {
        let triggers = self.application.signals.iter().filter(|s| s.role == SignalRole::Trigger);
        let of_target = triggers.filter(|s| s.source.of() == Some(self.target));
        of_target.map(|s| (s.name.clone(), self.target.clone())).collect()
    }

    fn told_of(&self, name: &SignalName) -> Result<(SignalName, Region), String> {
        let all = &self.application.signals;
        let signal = all.iter().find(|s| s.name == *name).ok_or_else(|| {
            let known: Vec<&str> = all.iter().map(|s| s.name.as_str()).collect();
            format!("budget: `{}` has no signal `{name}`; signals: {}", self.application.name, listed(&known))
        })?;
        match signal.source.of() {
            Some(of) if of == self.source || of == self.target => Ok((name.clone(), of.clone())),
            Some(of) => Err(format!("budget: signal `{name}` tells of {of}, where the drill does not lead")),
            None => Err(format!(
                "budget: signal `{name}` is a lag, which does not say how requests are served: name a probe, an alarm or \
                 a metric"
            )),
        }
    }
}
