//! Traffic by an object in S3 of the standby: S4 of what arrives there, what S10 asks of it, and where it sends traffic.

use serde_json::Value;

use super::{Bench, Known, intent::Intent, runs::Runs, text};
use crate::{
    domain::id::Region,
    sim::world::{SimTime, World, s3::Effect},
};

fn is_put(mutation: &Value) -> Option<bool> {
    match text(mutation, "call") {
        "put_object" => Some(true),
        "delete_object" => Some(false),
        _ => None,
    }
}

fn object(mutation: &Value) -> (&str, &str) {
    (text(&mutation["object"], "bucket"), text(&mutation["object"], "key"))
}

/// S4: what arrived is what was intended last of this object.
pub(super) fn arrived(bench: &mut Bench<'_>, runs: &Runs, effect: &Effect) {
    bench.findings.checked("S4");
    let of_it = |i: &&Intent| {
        i.at <= effect.at && is_put(&i.mutation).is_some() && object(&i.mutation) == (&effect.bucket, &effect.key)
    };
    let last = runs.intents.iter().rev().find(of_it);
    if last.and_then(|last| is_put(&last.mutation)) == Some(effect.is_there) {
        return;
    }
    let text = format!(
        "at {} s3://{}/{} was {}, which is not what was intended last: an old call overtook the decision",
        bench.findings.clock(effect.at),
        effect.bucket,
        effect.key,
        if effect.is_there { "put" } else { "deleted" }
    );
    bench.findings.violated("S4", effect.at, text);
}

/// S10: the object was as the call wants it at some time between the two, or is so now.
pub(super) fn is_so(world: &World, call: &Value, (from, to): (SimTime, SimTime)) -> bool {
    let Some(wanted) = is_put(call) else { return false };
    let (bucket, key) = object(call);
    world.s3.object(bucket, key).is_some() == wanted
        || world.s3.effects.iter().rev().any(|e| {
            (e.bucket.as_str(), e.key.as_str(), e.is_there) == (bucket, key, wanted) && from <= e.at && e.at <= to
        })
}

/// S10 of a way back that needed no call: the object is as the journal says it was. True of calls about something else.
pub(super) fn is_as_before(world: &World, intent: &Intent) -> bool {
    let Some(before) = intent.prior["is_there"].as_bool() else { return true };
    let (bucket, key) = object(&intent.mutation);
    world.s3.object(bucket, key).is_some() == before
}

/// Where it sends traffic: to the standby while the object is there, home without it. Of two Regions.
pub(super) fn sent_to(known: &Known, is_there: bool) -> Vec<Region> {
    match &known.regions[..] {
        [preferred, standby] => vec![if is_there { standby.clone() } else { preferred.clone() }],
        _ => Vec::new(),
    }
}
