//! `failoverd simulate`: rehearses an operator's configuration and runbooks against thousands of disasters, and tells
//! what broke. It asks AWS nothing: everything happens in simulated Regions, in virtual time.

mod attainment;
pub mod coverage;
mod crew;
mod disasters;
pub mod junit;
mod matrices;
pub mod report;
mod tally;
pub mod trace;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{ArgGroup, Args, ValueEnum};

use self::{
    crew::Task,
    disasters::Disaster,
    matrices::Matrices,
    report::{ApplicationReport, Coverage, Report, Totals},
    tally::{Promised, Tally, Told},
};
use super::{EXIT_DONE, EXIT_FAILED, EXIT_USAGE, check, print};
use crate::{
    adapters::clock::SystemClock,
    config::Settings,
    domain::application::Application,
    ports::Clock as _,
    sim::{
        rehearse::{Rehearsed, Setup, stage, swarm},
        scenario::{Expectation, Scenario},
        world::SimTime,
    },
};

/// The application that is rehearsed where no configuration is given: the demo's, and every runbook that ships.
const PAYMENTS: &str = include_str!("simulate/payments.toml");
/// Seeds per scenario where none are asked for.
const SEEDS: u64 = 50;
/// The same in a night.
const SEEDS_NIGHTLY: u64 = 5_000;
/// Seeds per scenario at most: a week's work.
const SEEDS_MAX: u64 = 10_000_000;
/// Threads at most.
const JOBS_MAX: usize = 256;

/// Options of `failoverd simulate`.
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("one").args(["seed", "cell"]).multiple(true)))]
pub struct SimulateArgs {
    /// The configuration to rehearse; without it, the payments application that ships
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Only this application of the configuration
    #[arg(long, value_name = "NAME")]
    pub application: Option<String>,
    /// A scenario that ships, or `swarm`; without any, all of them
    #[arg(long = "scenario", value_name = "NAME")]
    pub scenarios: Vec<String>,
    /// A scenario of your own
    #[arg(long = "scenario-file", value_name = "FILE")]
    pub scenario_files: Vec<PathBuf>,
    /// So many seeds of each scenario [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=SEEDS_MAX))]
    pub seeds: Option<u64>,
    /// So many seeds of the swarm, where other scenarios have fewer [default: as --seeds]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=SEEDS_MAX), conflicts_with_all = ["seed", "nightly"])]
    pub swarm_seeds: Option<u64>,
    /// Only this seed
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "first_seed", "nightly"])]
    pub seed: Option<u64>,
    /// Count seeds from here
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..u64::MAX - SEEDS_MAX))]
    pub first_seed: u64,
    /// Rehearse with so many replicas, whatever the scenarios say
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=5), conflicts_with = "matrix")]
    pub replicas: Option<u32>,
    #[command(flatten)]
    pub matrices: matrices::MatrixArgs,
    /// Show one disaster as a timeline; needs one scenario and --seed, or one --matrix and --cell
    #[arg(long, requires = "one", conflicts_with_all = ["report", "out", "coverage"])]
    pub trace: bool,
    /// The report's form
    #[arg(long, value_enum, value_name = "FORM")]
    pub report: Option<Form>,
    /// Write the report here; the text then goes to the terminal as well
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write which faults were met and which properties checked, as Markdown
    #[arg(long, value_name = "FILE")]
    pub coverage: Option<PathBuf>,
    /// Fail where a fault or a property that rehearsals answer for was never met; for CI
    #[arg(long, conflicts_with_all = ["trace", "seed"])]
    pub complete: bool,
    /// Threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = jobs)]
    pub jobs: Option<usize>,
    /// A night's work: 5,000 seeds of each scenario
    #[arg(long, conflicts_with = "seeds")]
    pub nightly: bool,
}

/// What a report may look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    Text,
    Json,
    Junit,
    /// A page section per application: what was attained, and what the time went on.
    Markdown,
}

fn jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=JOBS_MAX).contains(&n) => Ok(n),
        _ => Err(format!("expected a number from 1 to {JOBS_MAX}")),
    }
}

/// Why nothing was rehearsed: text for people, already whole.
struct Refusal(String);

/// Rehearses, prints, and says by its exit code whether anything failed: 0 nothing, 1 a violation, an unmet
/// expectation or a missed objective, 2 something that cannot be rehearsed.
///
/// # Errors
/// Where a file cannot be written.
pub fn run(args: &SimulateArgs, json: bool, env: &BTreeMap<String, String>) -> anyhow::Result<ExitCode> {
    let prepared = settings(args, env).and_then(|settings| {
        let setups = setups(args, &settings)?;
        crew::keep_panics();
        if let Some(choice) = args.matrices.matrix {
            return Ok(Work::Matrices(Matrices::plan(args, choice, setups)?));
        }
        let disasters = disasters::chosen(&args.scenarios, &args.scenario_files).map_err(Refusal)?;
        Ok(Work::Rehearsals(Rehearsals::plan(args, setups, disasters)?))
    });
    let work = match prepared {
        Ok(work) => work,
        Err(Refusal(text)) => {
            // Nothing can be done about a standard error that is gone.
            let _ = std::io::stderr().write_all(text.as_bytes());
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    match work {
        Work::Rehearsals(rehearsals) if args.trace => rehearsals.trace(),
        Work::Rehearsals(rehearsals) => rehearsals.run(args, json),
        Work::Matrices(matrices) if args.trace => matrices.trace(),
        Work::Matrices(matrices) => matrices.run(args, json),
    }
}

/// What was asked for.
enum Work {
    Rehearsals(Rehearsals),
    Matrices(Matrices),
}

/// The settings of `--config`, or those that ship.
fn settings(args: &SimulateArgs, env: &BTreeMap<String, String>) -> Result<Settings, Refusal> {
    match &args.config {
        // `check` says what is wrong, in its own words.
        Some(path) => Settings::load(path, env).map_err(|_| Refusal(check::check(path, env).to_string())),
        None => Ok(shipped()),
    }
}

/// # Panics
/// Never in a released program: a test reads it.
fn shipped() -> Settings {
    Settings::parse("payments.toml", PAYMENTS, Path::new(""), &BTreeMap::new())
        .unwrap_or_else(|faults| unreachable!("the shipped configuration is valid: {faults}"))
}

/// One setup per application; all that cannot be simulated, at once.
fn setups(args: &SimulateArgs, settings: &Settings) -> Result<Vec<Setup>, Refusal> {
    let wanted = |a: &&Application| args.application.as_ref().is_none_or(|name| a.name.as_str() == name);
    // A configuration of one's own is rehearsed as it is.
    let beside =
        if args.matrices.matrix.is_some() && args.config.is_none() { matrices::beside(settings) } else { Vec::new() };
    let all = || settings.applications.iter().chain(beside.iter().map(|setup| &setup.application));
    let applications: Vec<&Application> = all().filter(wanted).collect();
    if applications.is_empty() {
        let known: Vec<&str> = all().map(|a| a.name.as_str()).collect();
        let why = format!("no such application; there are: {}", known.join(", "));
        return Err(Refusal(super::render::wrapped("failoverd: ", &why)));
    }
    let mut text = String::new();
    for application in &applications {
        if let Err(faults) = stage::world(application, 0, SimTime(1_795_000_000_000)) {
            for fault in faults {
                text.push_str(&super::render::wrapped("cannot be rehearsed: ", &fault.to_string()));
            }
        }
    }
    if !text.is_empty() {
        return Err(Refusal(text));
    }
    let setup = |application: &Application| Setup {
        application: application.clone(),
        runbooks: settings.runbooks.clone(),
        config_digest: settings.digest.clone(),
    };
    Ok(applications.into_iter().map(setup).collect())
}

/// Everything that is to be rehearsed: each setup with each disaster that fits it, and each seed.
struct Rehearsals {
    setups: Vec<Setup>,
    disasters: Vec<Disaster>,
    /// Setup and disaster, in order.
    pairs: Vec<(usize, usize)>,
    /// Whether each disaster's scenario promises the application's objectives.
    promises: Vec<bool>,
    first_seed: u64,
    seeds: u64,
    /// Of the swarm.
    swarm_seeds: u64,
    replicas: Option<u32>,
    jobs: usize,
    /// The part of a replay command that is the same for all.
    options: String,
    config: Option<String>,
}

impl Rehearsals {
    fn plan(args: &SimulateArgs, setups: Vec<Setup>, disasters: Vec<Disaster>) -> Result<Self, Refusal> {
        let grid = (0..setups.len()).flat_map(|setup| (0..disasters.len()).map(move |disaster| (setup, disaster)));
        let pairs: Vec<(usize, usize)> =
            grid.filter(|(setup, disaster)| disasters[*disaster].fits(&setups[*setup].application)).collect();
        let rehearsals = pairs.len();
        if rehearsals == 0 {
            let why =
                "these scenarios are about a promotion, and the application has no Aurora store: nothing to rehearse";
            return Err(Refusal(super::render::wrapped("failoverd: ", why)));
        }
        if args.trace && rehearsals != 1 {
            let why = format!(
                "--trace shows one disaster, and these are {rehearsals}: give one --scenario or --scenario-file, and \
                 --application where the configuration has several"
            );
            return Err(Refusal(super::render::wrapped("failoverd: ", &why)));
        }
        // Whether a scenario fits an application's Regions does not depend on the seed.
        let mut text = String::new();
        let mut promises = vec![false; disasters.len()];
        for (setup, disaster) in &pairs {
            match disasters[*disaster].scenario(&setups[*setup].application, 0, args.replicas) {
                Ok(scenario) => promises[*disaster] = scenario.expect.contains(&Expectation::Served { within: None }),
                Err(why) => text.push_str(&why),
            }
        }
        if !text.is_empty() {
            return Err(Refusal(text));
        }
        let seeds = args.seeds.unwrap_or(if args.nightly { SEEDS_NIGHTLY } else { SEEDS });
        let (jobs, options, config) = as_configured(args);
        Ok(Self {
            setups,
            disasters,
            pairs,
            promises,
            first_seed: args.seed.unwrap_or(args.first_seed),
            seeds: if args.seed.is_some() { 1 } else { seeds },
            swarm_seeds: if args.seed.is_some() { 1 } else { args.swarm_seeds.unwrap_or(seeds) },
            replicas: args.replicas,
            jobs,
            options,
            config,
        })
    }

    fn scenario(&self, setup: usize, disaster: usize, seed: u64) -> Scenario {
        let (setup, disaster) = (&self.setups[setup], &self.disasters[disaster]);
        disaster
            .scenario(&setup.application, seed, self.replicas)
            .unwrap_or_else(|why| unreachable!("it was tried: {why}"))
    }

    /// The one disaster that was asked for, as a timeline.
    fn trace(&self) -> anyhow::Result<ExitCode> {
        let (seed, (setup, disaster)) = (self.first_seed, self.pairs[0]);
        let task = Task { setup: &self.setups[setup], scenario: self.scenario(setup, disaster, seed), seed };
        told_trace(self.setups[setup].application.name.as_str(), &task, |_| ())
    }

    fn run(&self, args: &SimulateArgs, json: bool) -> anyhow::Result<ExitCode> {
        finish(args, json, &self.rehearse()?)
    }

    /// All of them, and what came of it.
    fn rehearse(&self) -> anyhow::Result<Report> {
        let pairs = self.pairs.len();
        // Seeds are the outer loop, so that the slowest scenario does not come last, on one thread; of the swarm, or of
        // all else, there may be more than of the others.
        let common = self.seeds.min(self.swarm_seeds);
        let longer: Vec<usize> = (0..pairs).filter(|pair| common < self.seeds_of(*pair)).collect();
        let count = usize::try_from(common)?
            .checked_mul(pairs)
            .zip(usize::try_from(self.seeds.max(self.swarm_seeds) - common)?.checked_mul(longer.len()))
            .and_then(|(all, more)| all.checked_add(more))
            .context("too many rehearsals")?;
        let shared = usize::try_from(common)? * pairs;
        let place = |index: usize| match index.checked_sub(shared) {
            None => (index % pairs, self.first_seed + (index / pairs) as u64),
            Some(more) => (longer[more % longer.len()], self.first_seed + common + (more / longer.len()) as u64),
        };
        let task = |index: usize| {
            let (pair, seed) = place(index);
            let (setup, disaster) = self.pairs[pair];
            Task { setup: &self.setups[setup], scenario: self.scenario(setup, disaster, seed), seed }
        };
        let promised: Vec<Promised> = self.setups.iter().map(|s| Promised::of(&s.application)).collect();
        let mut tallies = vec![Tally::default(); pairs];
        let began = SystemClock.boot();
        crew::all(count, self.jobs, task, |index, told| {
            let (pair, seed) = place(index);
            let (setup, disaster) = self.pairs[pair];
            let in_scenario = self.promises[disaster];
            tallies[pair].add(seed, &told, Promised { in_scenario, ..promised[setup] });
        });
        let elapsed = SystemClock.boot().saturating_sub(began).as_secs_f64();
        Ok(self.report(&tallies, &promised, elapsed))
    }

    fn seeds_of(&self, pair: usize) -> u64 {
        self.seeds_for(&self.disasters[self.pairs[pair].1])
    }

    fn seeds_for(&self, disaster: &Disaster) -> u64 {
        if disaster.name() == swarm::NAME { self.swarm_seeds } else { self.seeds }
    }

    fn report(&self, tallies: &[Tally], promised: &[Promised], elapsed_seconds: f64) -> Report {
        let application = |(index, setup): (usize, &Setup)| {
            let own = self.pairs.iter().zip(tallies).filter(|((setup, _), _)| *setup == index);
            let scenario = |((_, disaster), tally): (&(usize, usize), &Tally)| {
                let disaster = &self.disasters[*disaster];
                let seeds = (self.first_seed, self.seeds_for(disaster));
                let replay = |seed| self.replay(&setup.application, disaster, seed);
                tally.clone().report(disaster.name(), disaster.description(), &disaster.covers(), seeds, replay)
            };
            ApplicationReport {
                application: setup.application.name.to_string(),
                rto_seconds: promised[index].rto_seconds,
                rpo_seconds: promised[index].rpo_seconds,
                remarks: stage::remarks(&setup.application).into_iter().chain(self.passed_over(setup)).collect(),
                scenarios: own.map(scenario).collect(),
            }
        };
        let applications = self.setups.iter().enumerate().map(application).collect();
        whole(applications, tallies, self.config.clone(), elapsed_seconds, self.jobs)
    }

    /// What means nothing to the application, in a sentence.
    fn passed_over(&self, setup: &Setup) -> Option<String> {
        let others = self.disasters.iter().filter(|d| !d.fits(&setup.application));
        let names: Vec<&str> = others.map(Disaster::name).collect();
        (!names.is_empty()).then(|| {
            format!(
                "passed over, since they are about a promotion or a runbook that this application does not have: {}",
                names.join(", ")
            )
        })
    }

    /// The command that shows one seed.
    fn replay(&self, application: &Application, disaster: &Disaster, seed: u64) -> String {
        let application = match self.setups.len() {
            1 => String::new(),
            _ => format!(" --application {}", application.name),
        };
        format!("failoverd simulate{}{application} {} --seed {seed} --trace", self.options, disaster.option())
    }
}

/// Threads, the part of a replay command that is the same for all, and the configuration's file.
fn as_configured(args: &SimulateArgs) -> (usize, String, Option<String>) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut options = String::new();
    if let Some(config) = &args.config {
        let _ = write!(options, " --config {}", quoted(&config.display().to_string()));
    }
    if let Some(replicas) = args.replicas {
        let _ = write!(options, " --replicas {replicas}");
    }
    let config = args.config.as_ref().map(|path| path.display().to_string());
    (args.jobs.unwrap_or(cores).min(JOBS_MAX), options, config)
}

/// One disaster as a timeline; `judge` adds what the scenario itself does not expect.
fn told_trace(application: &str, task: &Task<'_>, judge: impl FnOnce(&mut Rehearsed)) -> anyhow::Result<ExitCode> {
    // A thread of its own: a rehearsal is a runtime of its own, and this may be called inside one.
    let told = std::thread::scope(|scope| scope.spawn(|| crew::rehearse(task, true)).join());
    match told {
        Ok(Told::Rehearsed(mut run)) => {
            judge(&mut run);
            print(&trace::text(application, &run));
            let failed = !run.violations.is_empty() || !run.unmet.is_empty();
            Ok(ExitCode::from(if failed { EXIT_FAILED } else { EXIT_DONE }))
        }
        Ok(Told::Panicked { why }) => anyhow::bail!("the program gave up: {why}"),
        Err(_) => anyhow::bail!("the rehearsal's thread is gone"),
    }
}

/// Shows the report as it was asked for.
fn finish(args: &SimulateArgs, json: bool, report: &Report) -> anyhow::Result<ExitCode> {
    if let Some(path) = &args.coverage {
        write(path, &coverage::page(report))?;
    }
    let form = args.report.unwrap_or(if json { Form::Json } else { Form::Text });
    let shown = match form {
        Form::Text => report::text(report),
        Form::Json => serde_json::to_string_pretty(report)? + "\n",
        Form::Junit => junit::xml(report),
        Form::Markdown => attainment::section(report),
    };
    match &args.out {
        Some(path) => {
            write(path, &shown)?;
            print(&report::text(report));
        }
        None => print(&shown),
    }
    let missing = if args.complete { coverage::missing(report) } else { Vec::new() };
    if !missing.is_empty() {
        print(&format!("NOT COMPLETE: {}\n", missing.join("; ")));
    }
    Ok(ExitCode::from(if report.passed && missing.is_empty() { EXIT_DONE } else { EXIT_FAILED }))
}

/// The report of everything, with what `tallies` amount to.
fn whole(
    applications: Vec<ApplicationReport>,
    tallies: &[Tally],
    config: Option<String>,
    elapsed_seconds: f64,
    jobs: usize,
) -> Report {
    let mut coverage = Coverage::default();
    for tally in tallies {
        tally.covered(&mut coverage);
    }
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
    let (rehearsals, failing_seeds) = (sum(Tally::runs), sum(Tally::failing_seeds));
    #[expect(clippy::cast_precision_loss, reason = "figures to be read")]
    let (simulated_seconds, all) = (sum(|t| t.world_ms) as f64 / 1_000.0, rehearsals as f64);
    // A clock that did not move cannot be divided by.
    let per_second = |n: f64| if 0.0 < elapsed_seconds { n / elapsed_seconds } else { 0.0 };
    Report {
        schema_version: report::SCHEMA_VERSION,
        passed: failing_seeds == 0,
        config,
        applications,
        coverage,
        totals: Totals {
            rehearsals,
            violations: sum(Tally::violations),
            failing_seeds,
            events: sum(|t| t.events),
            simulated_seconds,
            elapsed_seconds,
            simulated_seconds_per_second: per_second(simulated_seconds),
            disasters_per_minute: 60.0 * per_second(all),
            jobs,
        },
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests;
