//! Which disasters are rehearsed: those that ship, those of files, and the swarm, which is another for each seed.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::quoted;
use crate::{
    adapters::probes::files,
    config::Faults,
    domain::{application::Application, document::Fault},
    sim::{
        faults::{StoreFault, Trouble},
        rehearse::{false_alarms, swarm},
        scenario::{Scenario, Written},
    },
};

/// The largest scenario file that is read.
const BYTES_MAX: u64 = 256 * 1024;

/// One disaster.
#[derive(Debug, Clone)]
pub(super) enum Disaster {
    Shipped(Written),
    /// With the path as it was given.
    OfFile(Written, PathBuf),
    Swarm,
    FalseAlarms,
}

impl Disaster {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Shipped(written) | Self::OfFile(written, _) => &written.name,
            Self::Swarm => swarm::NAME,
            Self::FalseAlarms => false_alarms::NAME,
        }
    }

    pub(super) fn description(&self) -> &str {
        match self {
            Self::Shipped(written) | Self::OfFile(written, _) => &written.description,
            Self::Swarm => swarm::DESCRIPTION,
            Self::FalseAlarms => false_alarms::DESCRIPTION,
        }
    }

    /// Numbers of the faults that it is about.
    pub(super) fn covers(&self) -> BTreeSet<u8> {
        match self {
            Self::Shipped(written) | Self::OfFile(written, _) => written.covers.clone(),
            // Another for each seed.
            Self::Swarm | Self::FalseAlarms => BTreeSet::new(),
        }
    }

    /// Whether it means something to `application`.
    pub(super) fn fits(&self, application: &Application) -> bool {
        match self {
            Self::Shipped(written) | Self::OfFile(written, _) => {
                let uses = |name: &String| application.runbooks.values().any(|used| used.as_str() == name);
                let drilled = written.drills.iter().all(|drill| application.drills.contains(drill))
                    && !(written.needs_drill && application.drills.is_empty());
                drilled
                    && !(written.needs_promotion && application.stores.is_empty())
                    && written.needs_runbook.as_ref().is_none_or(uses)
            }
            Self::Swarm | Self::FalseAlarms => true,
        }
    }

    /// How it is asked for.
    pub(super) fn option(&self) -> String {
        match self {
            Self::Shipped(_) | Self::Swarm | Self::FalseAlarms => format!("--scenario {}", self.name()),
            Self::OfFile(_, path) => format!("--scenario-file {}", quoted(&path.display().to_string())),
        }
    }

    /// The scenario for `application`, with so many replicas where that is said.
    ///
    /// # Errors
    /// What does not fit, as text with its place in the file.
    pub(super) fn scenario(
        &self,
        application: &Application,
        seed: u64,
        replicas: Option<u32>,
    ) -> Result<Scenario, String> {
        let mut scenario = match self {
            Self::Shipped(written) | Self::OfFile(written, _) => {
                let (file, text) = written.source();
                written.resolve(&application.regions).map_err(|faults| told(file, text, faults))?
            }
            Self::Swarm => match replicas {
                Some(replicas) => swarm::replicated(seed, &application.regions, replicas),
                None => swarm::scenario(seed, &application.regions),
            },
            Self::FalseAlarms => false_alarms::scenario(seed, &application.regions),
        };
        if let Some(replicas) = replicas {
            self.replicate(&mut scenario, replicas)?;
        }
        Ok(scenario)
    }

    /// # Errors
    /// Where what happens in it does not befall so many.
    fn replicate(&self, scenario: &mut Scenario, replicas: u32) -> Result<(), String> {
        let happens = |what: fn(&Trouble) -> bool| scenario.happenings.iter().any(|h| what(&h.what));
        let why = if replicas == 1 && happens(|t| matches!(t, Trouble::Replica { .. })) {
            Some("is about several replicas")
        } else if 1 < replicas && happens(|t| matches!(t, Trouble::Store(StoreFault::Rots { .. }))) {
            Some("is about the disk of a daemon that is alone")
        } else {
            None
        };
        scenario.replicas = replicas;
        why.map_or(Ok(()), |why| {
            let text = format!("scenario `{}` {why}: it cannot have --replicas {replicas}", self.name());
            Err(crate::cli::render::wrapped("failoverd: ", &text))
        })
    }
}

/// The disasters that are meant by `names` and `files`; all that ship where neither is given.
///
/// # Errors
/// Every name that is unknown and every file that cannot be read, as text.
pub(super) fn chosen(names: &[String], files: &[PathBuf]) -> Result<Vec<Disaster>, String> {
    let mut problems = String::new();
    let shipped = shipped();
    let mut disasters = Vec::new();
    if names.is_empty() && files.is_empty() {
        return Ok(shipped);
    }
    for name in names {
        match shipped.iter().find(|d| d.name() == name) {
            Some(disaster) => disasters.push(disaster.clone()),
            None => {
                let known: Vec<&str> = shipped.iter().map(Disaster::name).collect();
                let why = format!("there is no scenario `{name}`; there are: {}", known.join(", "));
                problems.push_str(&crate::cli::render::wrapped("failoverd: ", &why));
            }
        }
    }
    for path in files {
        match of_file(path) {
            Ok(written) => disasters.push(Disaster::OfFile(written, path.clone())),
            Err(why) => problems.push_str(&why),
        }
    }
    if problems.is_empty() { Ok(disasters) } else { Err(problems) }
}

/// # Panics
/// Never in a released program: a test reads them.
fn shipped() -> Vec<Disaster> {
    let written = |(file, text)| {
        let written = Scenario::parse(file, text).unwrap_or_else(|faults| unreachable!("{}", told(file, text, faults)));
        Disaster::Shipped(written)
    };
    Scenario::embedded().into_iter().map(written).chain([Disaster::Swarm, Disaster::FalseAlarms]).collect()
}

fn of_file(path: &Path) -> Result<Written, String> {
    let file = path.display().to_string();
    let text = read(path).map_err(|why| format!("failoverd: {file}: {why}\n"))?;
    Scenario::parse(&file, &text).map_err(|faults| told(&file, &text, faults))
}

fn read(path: &Path) -> Result<String, String> {
    String::from_utf8(files::read(path, BYTES_MAX)?).map_err(|e| format!("is not UTF-8: {e}"))
}

fn told(file: &str, text: &str, found: Vec<Fault>) -> String {
    let mut faults = Faults::default();
    faults.add(file, text, found);
    faults.to_string()
}
