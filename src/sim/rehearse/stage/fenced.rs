//! What the fences of the runbooks close: security groups before the databases, services of the application. A
//! configuration does not name them, the runbooks do.
//!
//! Every Region has each of them, so that a runbook can be rehearsed in both directions; the clients' servers come in by
//! the first of `from`.

use crate::{
    domain::{
        application::Application,
        fence::{Part, Peer},
        id::{Digest, RunbookName},
        runbook::{Act, FenceRung, Runbook},
    },
    sim::world::World,
};

/// Tasks of a service.
const TASKS: u64 = 3;

/// Puts them into `world`.
pub(in crate::sim::rehearse) fn furnish<'a>(
    world: &mut World,
    application: &Application,
    runbooks: impl IntoIterator<Item = (&'a RunbookName, &'a (Runbook, Digest))>,
) {
    let acts = runbooks.into_iter().flat_map(|(_, (runbook, _))| runbook.steps.iter().map(|step| &step.act));
    for act in acts {
        let Act::Fence { store, rung, .. } = act else { continue };
        for region in &application.regions {
            match rung {
                FenceRung::SecurityGroup { group, port, from, keep } => {
                    let named = store.as_ref().and_then(|name| application.stores.get(name));
                    let db = named.or_else(|| application.stores.values().next());
                    let peers: Vec<String> = from.iter().chain(keep).map(Peer::to_string).collect();
                    world.services.ec2.add(region, group, *port, &peers);
                    if let Some(arn) = db.and_then(|db| db.clusters.get(region)) {
                        let servers: Vec<String> = from.iter().take(1).map(Peer::to_string).collect();
                        world.services.ec2.guard(region, group, arn.as_str(), *port, &servers);
                    }
                }
                FenceRung::Application { parts } => {
                    for part in parts {
                        match part {
                            Part::Ecs { cluster, service } => world.services.ecs.add(region, cluster, service, TASKS),
                            Part::Lambda { function } => world.services.lambda.add(region, function, &[]),
                        }
                    }
                }
                FenceRung::Event { .. } | FenceRung::WriteMustFail { .. } | FenceRung::Connections => {}
            }
        }
    }
}
