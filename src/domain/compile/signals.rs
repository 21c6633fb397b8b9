//! `probe.signal`: the application's own signals, by name or by the Region that they tell of.

use super::{
    super::{
        action::Action,
        id::{Region, SignalName},
        runbook::{Act, SignalsOf},
        signal::{Signal, SignalRole},
        signal_probe::SignalProbe,
    },
    Compiler, listed,
};

impl Compiler<'_> {
    pub(super) fn probe_signal(&self, act: &Act) -> Result<Action, String> {
        let Act::ProbeSignal { signals, is, hold_for, health, verdict } = act else {
            return Err("is not a probe of signals".to_owned());
        };
        let any = matches!(signals, SignalsOf::Any(_));
        let signals = match signals {
            SignalsOf::Nobody => Vec::new(),
            SignalsOf::All(names) | SignalsOf::Any(names) => {
                names.iter().map(|name| self.known_signal(name)).collect::<Result<_, _>>()?
            }
            SignalsOf::Source => self.triggers_of(self.source)?,
            SignalsOf::Target => self.triggers_of(self.target)?,
        };
        let (is, hold_for, health, verdict) = (*is, *hold_for, health.clone(), *verdict);
        Ok(Action::ProbeSignal(Box::new(SignalProbe { signals, any, is, hold_for, health, verdict })))
    }

    fn known_signal(&self, name: &SignalName) -> Result<SignalName, String> {
        let all = &self.application.signals;
        all.iter().find(|s| s.name == *name).map(|s| s.name.clone()).ok_or_else(|| {
            let known: Vec<&str> = all.iter().map(|s| s.name.as_str()).collect();
            format!("`{}` has no signal `{name}`; signals: {}", self.application.name, listed(&known))
        })
    }

    fn triggers_of(&self, region: &Region) -> Result<Vec<SignalName>, String> {
        let tells = |s: &&Signal| s.role == SignalRole::Trigger && s.source.of() == Some(region);
        let names: Vec<SignalName> = self.application.signals.iter().filter(tells).map(|s| s.name.clone()).collect();
        if names.is_empty() {
            return Err(format!("no signal with the role trigger tells of {region}: name the signals under `all_of`"));
        }
        Ok(names)
    }
}
