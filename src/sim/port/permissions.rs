//! Who calls, and what its policies allow, as the cloud port asks it.
//!
//! Invariant: what a call would be refused for is what the simulation tells: the world's denials, and refusals of access
//! that last and meet every call ([`Faults::denies`]). It draws nothing.

use super::{
    cloud::{SimCloud, at},
    view,
};
use crate::{
    domain::{
        cloud::ObserveError,
        id::Region,
        permissions::changes::{Decision, Evaluation, Simulation},
    },
    sim::world::{Plane, World, route53},
};

impl SimCloud {
    pub(super) async fn who_calls(&self, region: &Region) -> Result<String, ObserveError> {
        let route = at("sts:GetCallerIdentity", Plane::Sts, region);
        self.way.read(route, None, |world| Ok(world.services.iam.caller())).await
    }

    pub(super) async fn role(&self, name: &str) -> Result<String, ObserveError> {
        let route = at("iam:GetRole", Plane::Sts, &route53::home());
        self.way
            .read(route, None, |world| {
                let path = world.services.iam.role_path(name).map_err(|fault| view::read_error(name, fault))?;
                Ok(format!("arn:aws:iam::{}:role{path}{name}", crate::sim::world::sns::ACCOUNT))
            })
            .await
    }

    pub(super) async fn simulated(&self, question: &Simulation) -> Result<Vec<Evaluation>, ObserveError> {
        let route = at("iam:SimulatePrincipalPolicy", Plane::Sts, &route53::home());
        self.way.read(route, None, |world| self.evaluated(world, question)).await
    }

    fn evaluated(&self, world: &World, question: &Simulation) -> Result<Vec<Evaluation>, ObserveError> {
        let mut found = Vec::new();
        for action in &question.actions {
            let said = world.simulate_policy(&question.principal, action, question.region.as_ref());
            let said = said.map_err(|fault| view::read_error(&question.principal, fault))?;
            let is_cut = self.way.faults.denies(action, question.region.as_ref());
            let decision = match said.decision {
                "allowed" if is_cut => Decision::ImplicitDeny,
                "allowed" => Decision::Allowed,
                "explicitDeny" => Decision::ExplicitDeny,
                _ => Decision::ImplicitDeny,
            };
            found.extend(question.resources.iter().map(|resource| Evaluation {
                action: action.clone(),
                resource: Some(resource.clone()),
                decision: decision.clone(),
                missing: said.missing.iter().map(|key| (*key).to_owned()).collect(),
                limit: None,
            }));
        }
        Ok(found)
    }
}
