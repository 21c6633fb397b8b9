//! What stands outside of every Region and answers one machine: its control points.
//!
//! Invariant: they are up as long as nobody says otherwise, whatever becomes of the world; cutting them off is a fault of
//! the way from that one machine, not of theirs, as is an application that cannot be reached from there.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// See the module. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Outside(Arc<Mutex<Points>>);

#[derive(Debug, Default)]
struct Points {
    all: BTreeSet<String>,
    cut: BTreeSet<String>,
    hides_application: bool,
}

impl Outside {
    /// Control points as they are configured: `https://…`, `http://…` or `tcp://host:port`.
    pub fn new(points: impl IntoIterator<Item = String>) -> Self {
        let points = Points { all: points.into_iter().collect(), cut: BTreeSet::new(), hides_application: false };
        Self(Arc::new(Mutex::new(points)))
    }

    fn with<R>(&self, act: impl FnOnce(&mut Points) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The machine reaches none of them.
    pub fn cut_off(&self) {
        self.with(|points| points.cut.clone_from(&points.all));
    }

    /// The machine does not reach this one.
    pub fn cut(&self, point: &str) {
        self.with(|points| points.cut.insert(point.to_owned()));
    }

    /// The machine reaches all of them.
    pub fn mend(&self) {
        self.with(|points| points.cut.clear());
    }

    /// Whether the machine reaches the application, its servers and its databases, nowhere.
    pub fn hide_application(&self, hides: bool) {
        self.with(|points| points.hides_application = hides);
    }

    pub(super) fn hides_application(&self) -> bool {
        self.with(|points| points.hides_application)
    }

    /// Whether it answers; `None` where it is no control point.
    pub(super) fn answers(&self, point: &str) -> Option<bool> {
        self.with(|points| points.all.contains(point).then(|| !points.cut.contains(point)))
    }
}
