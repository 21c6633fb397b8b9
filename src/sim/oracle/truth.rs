//! What was true in the world, and when: who wrote, whether an operation was at work, which servers answered, which
//! clusters were fit to be promoted, and what each promotion left behind.
//!
//! Taken from the world's log, whose times are exact however seldom it is looked at, and from the world as it is.

use std::collections::{BTreeMap, BTreeSet};

use super::{Known, region_of};
use crate::{
    domain::id::Region,
    sim::world::{
        SimTime, World, WorldEvent,
        aurora::{Cluster, Commit},
        clients::EndpointStatus,
    },
};

/// A time during which a global cluster stood as it did.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Era {
    from: SimTime,
    /// ARN.
    writer: Option<String>,
    is_busy: bool,
}

/// An operation at work.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Operation {
    from: String,
    to: String,
    is_lossy: bool,
    /// AWS said that the old writer was fenced (event 0390), or drained it.
    is_fenced: bool,
}

/// The writer's role moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Promotion {
    pub at: SimTime,
    /// ARNs.
    pub from: String,
    pub to: String,
    pub is_lossy: bool,
    /// The old writer certainly takes no writes any more.
    pub is_fenced: bool,
    /// The last commit of the old writer that the new one holds.
    pub survived: Option<Commit>,
    /// Commits of the old writer that the new one does not hold.
    pub lost: Vec<Commit>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Truth {
    has_begun: bool,
    log_seen: usize,
    /// By identifier of the global cluster.
    eras: BTreeMap<String, Vec<Era>>,
    operations: BTreeMap<String, Operation>,
    pub promotions: Vec<Promotion>,
    /// When each cluster (by ARN) could last have been promoted: instances, and the writer's version.
    fit_at: BTreeMap<String, SimTime>,
    /// When each cluster (by ARN) last had instances, whatever its version.
    staffed_at: BTreeMap<String, SimTime>,
    /// Clusters on their way out of a global cluster, by ARN, with its identifier and its writer.
    leaving: BTreeMap<String, (String, Option<String>)>,
    /// By identifier of the global cluster: the cluster that left it and stands alone, whom the store's clients follow.
    alone: BTreeMap<String, String>,
    /// Since when servers answer, or do not.
    answers: BTreeMap<Region, Vec<(SimTime, bool)>>,
    /// Whose servers failed by themselves, or with those of others, when it was looked last.
    faulty: BTreeSet<Region>,
    dependent: BTreeSet<Region>,
    /// Something in a Region failed at some time.
    pub has_trouble: bool,
}

impl Truth {
    pub(super) fn is_news(&self, world: &World) -> bool {
        self.log_seen != world.log.len() || !self.has_begun
    }

    /// Takes in what has happened since the last look.
    pub(super) fn look(&mut self, world: &World, known: &Known) {
        let is_first = !self.has_begun;
        self.has_begun = true;
        let news = &world.log[self.log_seen.min(world.log.len())..];
        self.log_seen = world.log.len();
        let mut planes_changed = is_first.then_some(world.now);
        // What was before the first look is in the world as it is.
        for event in news.iter().filter(|_| !is_first) {
            if event.kind.starts_with("region.") || event.kind.starts_with("plane.") {
                self.has_trouble = true;
                planes_changed = Some(event.at);
            }
            self.take(event, world, known);
        }
        for id in &known.global_clusters {
            self.sample(id, world);
        }
        // A fault of their own changes what servers answer as well, and is no trouble of a plane.
        if (&self.faulty, &self.dependent) != (&world.endpoints.faulty, &world.endpoints.dependent) {
            (self.faulty, self.dependent) = (world.endpoints.faulty.clone(), world.endpoints.dependent.clone());
            planes_changed = planes_changed.or(Some(world.now));
        }
        if let Some(at) = planes_changed {
            self.sample_answers(at, world, known);
        }
    }

    fn take(&mut self, event: &WorldEvent, world: &World, known: &Known) {
        if event.kind == "aurora.event" && event.text.starts_with("RDS-EVENT-0390 ") {
            let of_region = |o: &&mut Operation| event.text.contains(&format!(" in {}: ", region_of(&o.from)));
            self.operations.values_mut().filter(of_region).for_each(|o| o.is_fenced = true);
            return;
        }
        if event.kind.starts_with("aurora.") && self.take_detachment(event, world, known) {
            return;
        }
        let Some((id, what)) = event.text.split_once(": ") else { return };
        if !known.global_clusters.iter().any(|known| known == id) {
            return;
        }
        let last = self.eras.get(id).and_then(|eras| eras.last()).cloned();
        let writer = last.and_then(|era| era.writer);
        match event.kind {
            "aurora.accepted" => {
                let to = what.split_once(" to ").map_or("", |(_, to)| to.trim_end_matches(" accepted"));
                let is_lossy = what.starts_with("failing-over");
                let from = writer.clone().unwrap_or_default();
                let operation = Operation { from, to: to.to_owned(), is_lossy, is_fenced: !is_lossy };
                self.operations.insert(id.to_owned(), operation);
                self.turn(id, event.at, writer, true);
            }
            "aurora.promoted" => {
                let to = what.trim_start_matches("the writer is ").to_owned();
                if let Some(operation) = self.operations.remove(id) {
                    self.promotions.push(promotion(event.at, operation, world));
                }
                self.turn(id, event.at, Some(to), false);
            }
            "aurora.failed" => {
                self.operations.remove(id);
                self.turn(id, event.at, writer, false);
            }
            _ => {}
        }
    }

    /// A secondary that leaves its global cluster is busy until it takes writes; then the store's writer is there, whatever
    /// is left of the global cluster says, and the old one is not fenced.
    fn take_detachment(&mut self, event: &WorldEvent, world: &World, known: &Known) -> bool {
        match event.kind {
            "aurora.detached" => {
                let Some((arn, id)) = event.text.split_once(" left ") else { return true };
                if known.global_clusters.iter().any(|known| known == id) {
                    let writer = self.eras.get(id).and_then(|eras| eras.last()).and_then(|era| era.writer.clone());
                    self.turn(id, event.at, writer.clone(), true);
                    self.leaving.insert(arn.to_owned(), (id.to_owned(), writer));
                }
                true
            }
            "aurora.standalone" => {
                let arn = event.text.split(' ').next().unwrap_or_default();
                let Some((id, from)) = self.leaving.remove(arn) else { return true };
                let (from, to) = (from.unwrap_or_default(), arn.to_owned());
                let operation = Operation { from, to, is_lossy: true, is_fenced: false };
                self.promotions.push(promotion(event.at, operation, world));
                self.turn(&id, event.at, Some(arn.to_owned()), false);
                self.alone.insert(id, arn.to_owned());
                true
            }
            _ => false,
        }
    }

    fn turn(&mut self, id: &str, from: SimTime, writer: Option<String>, is_busy: bool) {
        let eras = self.eras.entry(id.to_owned()).or_default();
        if eras.last().is_none_or(|era| era.writer != writer || era.is_busy != is_busy) {
            eras.push(Era { from, writer, is_busy });
        }
    }

    /// The world as it is has the last word.
    fn sample(&mut self, id: &str, world: &World) {
        let Some(global) = world.aurora.global_cluster(id) else {
            self.turn(id, world.now, None, false);
            return;
        };
        let writer = world.aurora.writer_of(id);
        let (alone, leaves) = (self.alone.get(id).cloned(), self.leaving.values().any(|(of, _)| of == id));
        let told = alone.or_else(|| writer.map(|w| w.arn.clone()));
        self.turn(id, world.now, told, global.operation.is_some() || leaves);
        if let Some(at_work) = global.operation.as_ref().filter(|_| !self.operations.contains_key(id)) {
            let is_lossy = at_work.allows_data_loss();
            let (from, to) = (at_work.from.clone(), at_work.to.clone());
            self.operations.insert(id.to_owned(), Operation { from, to, is_lossy, is_fenced: !is_lossy });
        }
        let members = global.members.iter().filter_map(|arn| world.aurora.cluster(arn));
        for member in members.filter(|member| !member.instances.is_empty()) {
            note(&mut self.staffed_at, &member.arn, world.now);
            if is_fit(member, writer) {
                note(&mut self.fit_at, &member.arn, world.now);
            }
        }
    }

    fn sample_answers(&mut self, at: SimTime, world: &World, known: &Known) {
        for (region, address) in &known.addresses {
            let answers = world.endpoints.endpoint_status(*address, &world.planes) == EndpointStatus::Healthy;
            let times = self.answers.entry(region.clone()).or_default();
            if times.last().is_none_or(|(_, before)| *before != answers) {
                times.push((at, answers));
            }
        }
    }

    /// Whether at some instant from `from` to `to` the writer of `global` was as `wanted`, told with whether an
    /// operation was at work.
    pub(super) fn ever(
        &self,
        global: &str,
        (from, to): (SimTime, SimTime),
        wanted: impl Fn(Option<&str>, bool) -> bool,
    ) -> bool {
        let eras = self.eras.get(global).map_or(&[][..], Vec::as_slice);
        let ends = eras.iter().skip(1).map(|era| Some(era.from)).chain([None]);
        eras.iter()
            .zip(ends)
            .filter(|(era, end)| era.from <= to && end.is_none_or(|end| from < end))
            .any(|(era, _)| wanted(era.writer.as_deref(), era.is_busy))
    }

    /// ARN of the present writer of `global`, where it has been that since `since` at least.
    pub(super) fn writer_all_along(&self, global: &str, since: SimTime) -> Option<&str> {
        let last = self.eras.get(global)?.last()?;
        let arn = last.writer.as_deref()?;
        self.writer_since(global, last.from, arn).filter(|from| *from <= since).map(|_| arn)
    }

    /// ARN of the writer of `global` at `at`.
    pub(super) fn writer_at(&self, global: &str, at: SimTime) -> Option<&str> {
        let eras = self.eras.get(global)?;
        eras.iter().rev().find(|era| era.from <= at)?.writer.as_deref()
    }

    /// Since when `writer` has been the writer of `global` that it was at `at`.
    pub(super) fn writer_since(&self, global: &str, at: SimTime, writer: &str) -> Option<SimTime> {
        let eras = self.eras.get(global)?;
        let before = eras.iter().rev().filter(|era| era.from <= at);
        before.take_while(|era| era.writer.as_deref() == Some(writer)).last().map(|era| era.from)
    }

    /// When `arn` could last have been promoted.
    pub(super) fn fit_at(&self, arn: &str) -> Option<SimTime> {
        self.fit_at.get(arn).copied()
    }

    /// When `arn` last had instances.
    pub(super) fn staffed_at(&self, arn: &str) -> Option<SimTime> {
        self.staffed_at.get(arn).copied()
    }

    /// The cluster that has left `global` and that its store's clients follow.
    pub(super) fn alone(&self, global: &str) -> Option<&str> {
        self.alone.get(global).map(String::as_str)
    }

    /// Whether the servers of `region` answered at some instant from `from` to `to`; `None` where it has none.
    pub(super) fn answered(&self, region: &Region, (from, to): (SimTime, SimTime)) -> Option<bool> {
        let times = self.answers.get(region)?;
        let ends = times.iter().skip(1).map(|(at, _)| Some(*at)).chain([None]);
        let overlaps = |start: SimTime, end: Option<SimTime>| start <= to && end.is_none_or(|end| from < end);
        Some(times.iter().zip(ends).any(|((start, answers), end)| *answers && overlaps(*start, end)))
    }

    /// The times in which the servers of `region` answered, the last without an end where they still do; `None` where it
    /// has none.
    pub(super) fn answers_of(&self, region: &Region) -> Option<Vec<(SimTime, Option<SimTime>)>> {
        let times = self.answers.get(region)?;
        let ends = times.iter().skip(1).map(|(at, _)| Some(*at)).chain([None]);
        Some(times.iter().zip(ends).filter(|((_, answers), _)| *answers).map(|((from, _), to)| (*from, to)).collect())
    }

    /// Every commit that a promotion which may lose writes has left behind.
    pub(super) fn left_behind(&self) -> BTreeSet<u64> {
        self.promotions.iter().filter(|p| p.is_lossy).flat_map(|p| p.lost.iter().map(|c| c.id)).collect()
    }
}

/// Without a copy of the ARN but the first time: every look asks.
fn note(times: &mut BTreeMap<String, SimTime>, arn: &str, now: SimTime) {
    match times.get_mut(arn) {
        Some(at) => *at = now,
        None => drop(times.insert(arn.to_owned(), now)),
    }
}

/// The rules of AWS.md 1.2: an instance to promote, and the writer's major and minor version.
fn is_fit(cluster: &Cluster, writer: Option<&Cluster>) -> bool {
    fn minor(version: &str) -> impl Iterator<Item = &str> {
        version.split('.').take(2)
    }
    let same = |writer: &Cluster| minor(&writer.engine_version).eq(minor(&cluster.engine_version));
    !cluster.instances.is_empty() && writer.is_none_or(same)
}

/// The logs of the two ends are equal up to some commit and have nothing in common after it.
fn promotion(at: SimTime, operation: Operation, world: &World) -> Promotion {
    let commits = |arn: &str| world.aurora.cluster(arn).map_or(&[][..], Cluster::commits);
    let (old, new) = (commits(&operation.from), commits(&operation.to));
    let (mut common, mut end) = (0, old.len().min(new.len()));
    while common < end {
        let middle = usize::midpoint(common, end);
        if old[middle].id == new[middle].id {
            common = middle + 1;
        } else {
            end = middle;
        }
    }
    Promotion {
        at,
        survived: old[..common].iter().rev().find(|c| !c.is_beat).copied(),
        lost: old[common..].iter().filter(|c| !c.is_beat && c.acknowledged_at <= at).copied().collect(),
        from: operation.from,
        to: operation.to,
        is_lossy: operation.is_lossy,
        is_fenced: operation.is_fenced,
    }
}
