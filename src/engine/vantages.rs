//! What is seen from where: this daemon's own vantage and reach, and what observers elsewhere have reported.
//!
//! Invariant: what was not heard is absent, never healthy; a vantage that abstains has no vote. It decides nothing: the
//! quorum is judged in `domain::vantage` and `domain::judge`.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use crate::domain::{
    id::{ApplicationName, VantageName},
    judge::Reach,
    signal::{Sample, Signal, SignalWindow},
    vantage::Observer,
};

/// See the module. One for all applications of a daemon.
#[derive(Debug)]
pub struct Vantages {
    own: VantageName,
    reach: Mutex<Reach>,
    heard: Mutex<BTreeMap<ApplicationName, BTreeMap<VantageName, Observer>>>,
}

impl Vantages {
    /// Of a daemon that looks from `own` and has not yet asked whether it is cut off.
    pub fn new(own: VantageName) -> Self {
        let why = "it was not asked yet whether this daemon is cut off".to_owned();
        Self { own, reach: Mutex::new(Reach::Unknown { why }), heard: Mutex::default() }
    }

    /// Of a daemon that nobody has given a name.
    pub fn here() -> Self {
        Self::new("here".parse().unwrap_or_else(|e| unreachable!("a literal: {e}")))
    }

    pub fn own(&self) -> &VantageName {
        &self.own
    }

    pub fn reach(&self) -> Reach {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_reach(&self, reach: Reach) {
        *self.reach.lock().unwrap_or_else(PoisonError::into_inner) = reach;
    }

    /// What was heard of `application`, by vantage.
    pub fn elsewhere(&self, application: &ApplicationName) -> BTreeMap<VantageName, Observer> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(application).cloned().unwrap_or_default()
    }

    /// Takes in what `vantage` has reported of one signal of `application`. Whoever reports again does not abstain any
    /// more.
    pub fn hear(&self, application: &ApplicationName, vantage: &VantageName, signal: &Signal, sample: Sample) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let observer = heard.entry(application.clone()).or_default().entry(vantage.clone()).or_default();
        observer.abstains = None;
        let window =
            observer.windows.entry(signal.name.clone()).or_insert_with(|| SignalWindow::new(signal.consecutive));
        window.push(sample);
    }

    /// `vantage` says that it cannot tell, and why.
    pub fn abstain(&self, application: &ApplicationName, vantage: &VantageName, why: String) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.entry(application.clone()).or_default().entry(vantage.clone()).or_default().abstains = Some(why);
    }
}
