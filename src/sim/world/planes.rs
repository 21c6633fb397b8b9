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
    /// S3 of the Region.
    S3,
    /// Lambda's API of the Region.
    Lambda,
    /// The API of EC2 of the Region, which security groups belong to.
    Ec2,
    /// The API of ECS of the Region.
    Ecs,
    /// The API of Systems Manager of the Region.
    Ssm,
    /// EventBridge of the Region.
    EventBridge,
    /// Secrets Manager of the Region.
    SecretsManager,
    /// The Key Management Service of the Region.
    Kms,
    /// AWS Backup of the Region.
    Backup,
    /// The Security Token Service of the Region; that of us-east-1 is also IAM's, which is one for all Regions. (A plane of
    /// its own would change what every seed draws.)
    Sts,
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

impl Reach {
    /// Which of two troubles of one plane shows: the one that lets the least through.
    fn severity(self) -> u8 {
        match self {
            Self::Up => 0,
            Self::Throttles => 1,
            Self::DeniesAccess => 2,
            Self::Unavailable => 3,
            Self::Hangs => 4,
        }
    }
}

/// The state of every plane; what is not listed is up.
#[derive(Debug, Clone, Default)]
pub struct Planes {
    broken: BTreeMap<(Plane, Region), Reach>,
    /// Troubles that overlap, each of which ends by itself. Never an empty list.
    pressed: BTreeMap<(Plane, Region), Vec<Reach>>,
}

impl Planes {
    /// Sets how `plane` of `region` behaves from now on, whatever broke it before.
    pub fn set(&mut self, plane: Plane, region: &Region, reach: Reach) {
        self.pressed.remove(&(plane, region.clone()));
        if reach == Reach::Up {
            self.broken.remove(&(plane, region.clone()));
        } else {
            self.broken.insert((plane, region.clone()), reach);
        }
    }

    /// Breaks `plane` of `region` until [`Self::lift`] with the same `reach`. The worst of several shows.
    pub fn press(&mut self, plane: Plane, region: &Region, reach: Reach) {
        if reach != Reach::Up {
            self.pressed.entry((plane, region.clone())).or_default().push(reach);
        }
    }

    /// Ends one [`Self::press`]; nothing where it was overruled by [`Self::set`] meanwhile.
    pub fn lift(&mut self, plane: Plane, region: &Region, reach: Reach) {
        let key = (plane, region.clone());
        let Some(pressed) = self.pressed.get_mut(&key) else {
            return;
        };
        if let Some(index) = pressed.iter().position(|p| *p == reach) {
            pressed.remove(index);
        }
        if pressed.is_empty() {
            self.pressed.remove(&key);
        }
    }

    fn of(&self, plane: Plane, region: &Region) -> Reach {
        if self.broken.is_empty() && self.pressed.is_empty() {
            return Reach::Up;
        }
        let key = (plane, region.clone());
        let pressed = self.pressed.get(&key).into_iter().flatten();
        pressed.chain(self.broken.get(&key)).copied().max_by_key(|reach| reach.severity()).unwrap_or_default()
    }

    /// The Regions in which something is broken.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.broken.keys().chain(self.pressed.keys()).map(|(_, region)| region)
    }

    /// How `plane` of `region` behaves for a caller outside that Region: a Region whose network is gone hangs.
    pub fn reach(&self, plane: Plane, region: &Region) -> Reach {
        match self.of(Plane::Network, region) {
            Reach::Up => self.of(plane, region),
            gone => gone,
        }
    }

    /// Whether `plane` of `region` works when seen from inside the Region (its network to outside aside).
    pub fn works_inside(&self, plane: Plane, region: &Region) -> bool {
        self.of(plane, region) == Reach::Up
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

    /// Every plane of a Region.
    pub const ALL: [Plane; 19] = [
        Plane::Rds,
        Plane::Route53Control,
        Plane::CloudWatch,
        Plane::Sns,
        Plane::S3,
        Plane::Lambda,
        Plane::Ec2,
        Plane::Ecs,
        Plane::Ssm,
        Plane::EventBridge,
        Plane::SecretsManager,
        Plane::Kms,
        Plane::Backup,
        Plane::Sts,
        Plane::HealthCheckers,
        Plane::ArcCluster,
        Plane::Application,
        Plane::Database,
        Plane::Network,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn east() -> Region {
        "us-east-1".parse().expect("a Region")
    }

    #[test]
    fn of_troubles_that_overlap_the_worst_shows_and_each_ends_by_itself() {
        let mut planes = Planes::default();
        planes.press(Plane::Rds, &east(), Reach::Throttles);
        planes.press(Plane::Rds, &east(), Reach::Hangs);
        planes.press(Plane::Rds, &east(), Reach::Unavailable);
        assert_eq!(planes.reach(Plane::Rds, &east()), Reach::Hangs);
        planes.lift(Plane::Rds, &east(), Reach::Hangs);
        assert_eq!(planes.reach(Plane::Rds, &east()), Reach::Unavailable);
        planes.lift(Plane::Rds, &east(), Reach::Unavailable);
        planes.lift(Plane::Rds, &east(), Reach::Unavailable);
        assert_eq!(planes.reach(Plane::Rds, &east()), Reach::Throttles);
        planes.lift(Plane::Rds, &east(), Reach::Throttles);
        assert!(planes.works_inside(Plane::Rds, &east()));
    }

    #[test]
    fn what_is_set_overrules_what_was_pressed() {
        let mut planes = Planes::default();
        planes.press(Plane::Network, &east(), Reach::Hangs);
        planes.restore_region(&east());
        assert_eq!(planes.reach(Plane::Sns, &east()), Reach::Up);
        planes.lift(Plane::Network, &east(), Reach::Hangs);
        assert_eq!(planes.reach(Plane::Sns, &east()), Reach::Up);
    }
}
