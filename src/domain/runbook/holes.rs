//! The outputs that stand in arguments: each is one that the step declares, of the type that is needed, and its step is
//! sure to have begun before.

use super::{
    Act, Runbook, Step, Template,
    lint::{Before, Declared, absent, meant},
    read::Keys,
};
use crate::domain::{
    document::Findings,
    expression::{Outputs, Type},
    hole::{Hole, Kind, holes},
};

/// The holes of `template`, those of what takes it back among them.
fn of(template: &Template) -> Vec<Hole> {
    let read = template.done_when.iter().filter_map(|(read, _)| read.as_ref());
    let before = template.restores.iter().map(|(read, _)| read);
    let own = std::iter::once(&template.call).chain(read).chain(before).flat_map(|probe| holes(&probe.arguments));
    own.chain(template.undo.iter().flat_map(|undo| of(undo))).collect()
}

pub(super) fn check(runbook: &Runbook, keys: &Keys, step: &Step, before: Before<'_>, found: &mut Findings) {
    let Act::AwsCall { template } = &step.act else { return };
    let key = format!("{}.with.arguments", keys.get(&step.id).map_or("", String::as_str));
    for hole in of(template) {
        if let Some(problem) = problem(runbook, &hole, before) {
            found.error(&key, problem, "DBSnapshotIdentifier: { output: copy.snapshot_id }");
        }
    }
}

fn problem(runbook: &Runbook, hole: &Hole, before: Before<'_>) -> Option<String> {
    let id = hole.step.as_str();
    let Some((other, rest)) = meant(runbook, id) else { return Some(absent(runbook, id)) };
    if !before(&other.id) {
        return Some(format!("takes an output of `{id}`, which this step does not need: add it to `needs`"));
    }
    match (other.act.spread() != super::Spread::No, rest.is_empty()) {
        (true, true) => {
            return Some(format!(
                "`{id}` becomes one step per store or dns name: say which, as `{id}.orders.{}`",
                hole.name
            ));
        }
        (false, false) => return Some(format!("`{}` is one step: say `{}.{}`", other.id, other.id, hole.name)),
        _ => {}
    }
    let declared = match Declared(runbook).output(id, &hole.name) {
        Ok(declared) => declared,
        Err(problem) => return Some(problem),
    };
    let is = match declared {
        Type::Text => Kind::Text,
        Type::Number => Kind::Number,
        Type::Boolean => Kind::Boolean,
        // What AWS answers has the type that it has: it is checked when it is there.
        _ => return None,
    };
    (is != hole.kind).then(|| {
        format!(
            "`{id}.{}` is a {}, and a {} is asked for: say `type: {}`",
            hole.name,
            is.as_str(),
            hole.kind.as_str(),
            is.as_str()
        )
    })
}
