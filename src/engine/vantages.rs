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
}
