//! What is seen from where: this daemon's own vantage and reach, and what observers elsewhere have reported.
//!
//! Invariant: what was not heard is absent, never healthy; a vantage that abstains has no vote; a reach that nobody has
//! renewed in time is unknown. It decides nothing: the quorum is judged in `domain::vantage` and `domain::judge`.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::domain::{
    application::Application,
    id::{ApplicationName, VantageName},
    judge::Reach,
    report::{Hearing, OutOfOrder, Refused, Report},
    vantage::{ControlPoints, Observer},
};

/// See the module. One for all applications of a daemon.
#[derive(Debug)]
pub struct Vantages {
    own: VantageName,
    control_points: ControlPoints,
    /// And until when it holds, in boot time.
    reach: Mutex<(Reach, Duration)>,
    heard: Mutex<BTreeMap<ApplicationName, BTreeMap<VantageName, Hearing>>>,
}

/// Why nothing of a report is heard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotHeard {
    #[error("the policy of `{application}` does not name the observer `{vantage}`")]
    NoObserver { application: ApplicationName, vantage: VantageName },
    #[error(transparent)]
    OutOfOrder(#[from] OutOfOrder),
}

impl Vantages {
    /// Of a daemon that looks from `own`, has no control points, and does not know whether it is cut off.
    pub fn new(own: VantageName) -> Self {
        Self::asking(own, ControlPoints::none())
    }

    /// Of a daemon that looks from `own` and asks `control_points` whether it is cut off ([`super::reach`] does).
    pub fn asking(own: VantageName, control_points: ControlPoints) -> Self {
        let why = match control_points.points.len() {
            0 => "no control points are configured, so it is not known whether this daemon is cut off".to_owned(),
            n => format!("{n} control points were not asked yet whether this daemon is cut off"),
        };
        let reach = Mutex::new((Reach::Unknown { why }, Duration::MAX));
        Self { own, control_points, reach, heard: Mutex::default() }
    }

    /// Of a daemon that nobody has given a name.
    pub fn here() -> Self {
        Self::new("here".parse().unwrap_or_else(|e| unreachable!("a literal: {e}")))
    }

    pub fn own(&self) -> &VantageName {
        &self.own
    }

    pub fn control_points(&self) -> &ControlPoints {
        &self.control_points
    }

    /// What was found last, however long ago. What is decided by it asks [`Vantages::reach_at`].
    pub fn reach(&self) -> Reach {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// What was found last, while it holds; unknown afterwards.
    pub fn reach_at(&self, boot: Duration) -> Reach {
        let (reach, until) = self.reach.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if boot <= until {
            return reach;
        }
        let ago = boot.saturating_sub(until).as_secs();
        Reach::Unknown { why: format!("what the control points answered is too old since {ago} s") }
    }

    /// Sets a reach that holds until the next one.
    pub fn set_reach(&self, reach: Reach) {
        self.set_reach_until(reach, Duration::MAX);
    }

    /// Sets a reach that holds until `until`, in boot time.
    pub fn set_reach_until(&self, reach: Reach, until: Duration) {
        *self.reach.lock().unwrap_or_else(PoisonError::into_inner) = (reach, until);
    }

    /// Takes in what the observer at `vantage` reports of `application`; what it reports of other applications is not
    /// looked at. Samples that are not taken are answered, each with the reason.
    ///
    /// # Errors
    /// Where the application's policy does not name the vantage, or the report is out of order: nothing is taken.
    pub fn hear(
        &self,
        application: &Application,
        vantage: &VantageName,
        report: &Report,
        now: Timestamp,
    ) -> Result<Vec<Refused>, NotHeard> {
        if !application.policy.observers.contains(vantage) || *vantage == self.own {
            let (application, vantage) = (application.name.clone(), vantage.clone());
            return Err(NotHeard::NoObserver { application, vantage });
        }
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let of_application = heard.entry(application.name.clone()).or_default();
        let hearing = of_application.entry(vantage.clone()).or_default();
        let before = hearing.observer().abstains.is_some();
        let refused = hearing.hear(application, report, now)?;
        match &hearing.observer().abstains {
            Some(why) if !before => {
                tracing::warn!(application = %application.name, %vantage, why, "an observer abstains");
            }
            None if before => tracing::info!(application = %application.name, %vantage, "an observer votes again"),
            Some(_) | None => {}
        }
        Ok(refused)
    }

    /// What was heard of `application`, by vantage.
    pub fn elsewhere(&self, application: &ApplicationName) -> BTreeMap<VantageName, Observer> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let of_application = heard.get(application).into_iter().flatten();
        of_application.map(|(vantage, hearing)| (vantage.clone(), hearing.observer().clone())).collect()
    }
}
