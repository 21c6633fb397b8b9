//! What can fail separately: each service's control or data plane in each Region, and the network of a Region.

use std::collections::BTreeMap;

use crate::domain::id::Region;

/// A part of AWS that fails as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plane {
    /// The Region's API endpoint of Amazon RDS.
    Rds,
    /// The Route 53 API. Global, homed in us-east-1.
    Route53Control,
    /// CloudWatch of the Region.
    CloudWatch,
    /// SNS of the Region.
    Sns,
    /// The Route 53 health checkers of the Region.
    HealthCheckers,
    /// The Region's endpoint of the ARC routing-control cluster.
    ArcCluster,
    /// The application's servers in the Region.
    Application,
    /// The database's storage and instances in the Region.
    Database,
    /// Everything that crosses the Region's border: nothing gets in or out.
    Network,
}

/// How an endpoint behaves now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// Answers normally.
    #[default]
    Up,
    /// Accepts the connection and never answers.
    Hangs,
    /// Answers 503 `ServiceUnavailable`.
    Unavailable,
    /// Answers with the service's throttling error.
    Throttles,
    /// Answers that the credentials are refused (403 `AccessDenied`).
    DeniesAccess,
}

/// The state of every plane; what is not listed is up.
#[derive(Debug, Clone, Default)]
pub struct Planes {
    broken: BTreeMap<(Plane, Region), Reach>,
}

impl Planes {
    /// Sets how `plane` of `region` behaves from now on.
    pub fn set(&mut self, plane: Plane, region: &Region, reach: Reach) {
        if reach == Reach::Up {
            self.broken.remove(&(plane, region.clone()));
        } else {
            self.broken.insert((plane, region.clone()), reach);
        }
    }

    /// How `plane` of `region` behaves for a caller outside that Region: a Region whose network is gone hangs.
    pub fn reach(&self, plane: Plane, region: &Region) -> Reach {
        let of = |plane| self.broken.get(&(plane, region.clone())).copied().unwrap_or_default();
        match of(Plane::Network) {
            Reach::Up => of(plane),
            gone => gone,
        }
    }

    /// Whether `plane` of `region` works when seen from inside the Region (its network to outside aside).
    pub fn works_inside(&self, plane: Plane, region: &Region) -> bool {
        !self.broken.contains_key(&(plane, region.clone()))
    }

    /// Loses the Region whole: network, databases, applications, and every regional API in it.
    pub fn lose_region(&mut self, region: &Region) {
        for plane in Self::ALL {
            self.set(plane, region, Reach::Hangs);
        }
    }

    /// Brings everything in the Region back.
    pub fn restore_region(&mut self, region: &Region) {
        for plane in Self::ALL {
            self.set(plane, region, Reach::Up);
        }
    }

    const ALL: [Plane; 9] = [
        Plane::Rds,
        Plane::Route53Control,
        Plane::CloudWatch,
        Plane::Sns,
        Plane::HealthCheckers,
        Plane::ArcCluster,
        Plane::Application,
        Plane::Database,
        Plane::Network,
    ];
}
