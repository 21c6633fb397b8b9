//! `--matrix`: every cell of the matrices that are asked for, each rehearsed once and counted by its number.
//!
//! Invariant: a cell's number depends on the setup, the matrix and the seed alone, so that a replay finds it again.

use std::{fmt::Write as _, iter::successors, process::ExitCode};

use clap::{Args, ValueEnum};

use super::{
    Refusal, SimulateArgs, as_configured,
    crew::{self, Task},
    finish,
    report::{ApplicationReport, Report},
    tally::{Promised, Tally, Told},
    told_trace,
};
use crate::{
    adapters::clock::SystemClock,
    cli::render::wrapped,
    config::Settings,
    domain::{id::RunbookName, plan::Purpose},
    ports::Clock as _,
    sim::rehearse::{
        Setup,
        matrix::{self, Cell, Matrix, Table, Undisturbed},
        stage,
    },
};

/// The runbook that ships for what has no store.
const STATELESS: &str = "dns-flip";
/// And its drill.
const STATELESS_DRILL: &str = "drill-dns";

/// Failovers that no application names as its own.
const BY_NAME: [&str; 2] = ["detach-and-promote", "headless-failover"];

/// Which cells.
#[derive(Debug, Clone, Args)]
pub struct MatrixArgs {
    /// Disturb each runbook's undisturbed move at every place that it has, once each, instead of scenarios
    #[arg(long, value_enum, value_name = "NAME", conflicts_with_all = ["scenarios", "scenario_files", "nightly"])]
    pub matrix: Option<Choice>,
    /// Only this cell of the matrix
    #[arg(long, value_name = "N", requires = "matrix", conflicts_with_all = ["seeds", "first_seed"])]
    pub cell: Option<u64>,
    /// One of N parts of about the same size that make the whole, for machines side by side
    #[arg(long, value_name = "K/N", requires = "matrix", conflicts_with = "cell", value_parser = part)]
    pub part: Option<(usize, usize)>,
}

/// The most parts that a matrix is divided into: as many as a large build farm has machines.
const PARTS_MAX: usize = 1_000;

fn part(text: &str) -> Result<(usize, usize), String> {
    let numbers = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
    match numbers {
        Some((k, n)) if (1..=n).contains(&k) && n <= PARTS_MAX => Ok((k, n)),
        _ => Err(format!("expected K/N, as in 1/4: the Kth of N parts, N up to {PARTS_MAX}")),
    }
}

/// What may be given to `--matrix`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    Crash,
    /// Every two crashes; a night's work, not in `all`
    Pairs,
    Step,
    Region,
    #[value(name = "us-east-1")]
    UsEast1,
    Twice,
    /// Aborts, and everything that can happen on the way back
    Undo,
    All,
}

impl Choice {
    fn matrices(self) -> Vec<Matrix> {
        match self {
            Self::Crash => vec![Matrix::Crash],
            Self::Pairs => vec![Matrix::Pairs],
            Self::Step => vec![Matrix::Step],
            Self::Region => vec![Matrix::Region],
            Self::UsEast1 => vec![Matrix::UsEast1],
            Self::Twice => vec![Matrix::Twice],
            Self::Undo => vec![Matrix::Undo],
            Self::All => Matrix::ALL.to_vec(),
        }
    }
}

/// What is rehearsed beside the shipped configuration, so that every runbook that ships is: the same application
/// without its databases, and with its failover by each runbook that is else asked for by name.
pub(super) fn beside(settings: &Settings) -> Vec<Setup> {
    stateless(settings).into_iter().chain(BY_NAME.into_iter().filter_map(|name| by_name(settings, name))).collect()
}

fn by_name(settings: &Settings, name: &str) -> Option<Setup> {
    let runbook: RunbookName = name.parse().ok()?;
    settings.runbooks.get(&runbook)?;
    let mut application = settings.applications.first()?.clone();
    application.name = format!("{}-{name}", application.name).chars().take(64).collect::<String>().parse().ok()?;
    application.runbooks = [(Purpose::Failover, runbook)].into();
    Some(Setup { application, runbooks: settings.runbooks.clone(), config_digest: settings.digest.clone() })
}

fn stateless(settings: &Settings) -> Option<Setup> {
    let runbook: RunbookName = STATELESS.parse().ok()?;
    settings.runbooks.get(&runbook)?;
    let mut application = matrix::without_stores(settings.applications.first()?, &runbook);
    application.drills.extend(STATELESS_DRILL.parse().ok().filter(|drill| settings.runbooks.contains_key(drill)));
    Some(Setup { application, runbooks: settings.runbooks.clone(), config_digest: settings.digest.clone() })
}

/// One table of one setup and one seed, with the number of its first cell.
struct Row {
    setup: usize,
    seed: u64,
    first: u64,
    table: Table,
}

impl Row {
    fn name(&self, seeds: u64) -> String {
        let Table { matrix, purpose, runbook, .. } = &self.table;
        let mut name = format!("matrix {}: {purpose} by {runbook}", matrix.name());
        if 1 < seeds {
            let _ = write!(name, ", seed {}", self.seed);
        }
        name
    }
}

/// The matrices of `choice` for every setup and seed.
pub(super) struct Matrices {
    setups: Vec<Setup>,
    rows: Vec<Row>,
    seeds: u64,
    jobs: usize,
    options: String,
    config: Option<String>,
}

impl Matrices {
    /// # Errors
    /// Where an undisturbed move does not succeed, or there is no such cell.
    pub(super) fn plan(args: &SimulateArgs, choice: Choice, setups: Vec<Setup>) -> Result<Self, Refusal> {
        let seeds = if args.seed.is_some() { 1 } else { args.seeds.unwrap_or(1) };
        let first_seed = args.seed.unwrap_or(args.first_seed);
        // A thread of its own: a rehearsal is a runtime of its own, and this may be called inside one.
        let measured = std::thread::scope(|scope| {
            scope.spawn(|| rows(&setups, &choice.matrices(), first_seed..first_seed + seeds)).join()
        });
        let rows = match measured {
            Ok(Ok(rows)) => rows,
            Ok(Err(why)) => return Err(refused(&why)),
            Err(_) => return Err(refused("an undisturbed move made the program give up")),
        };
        let (jobs, options, config) = as_configured(args);
        let mut matrices = Self { setups, rows, seeds, jobs, options, config };
        if let Some(number) = args.matrices.cell {
            matrices.only(choice, number)?;
        }
        Ok(matrices)
    }

    /// Leaves one cell.
    fn only(&mut self, choice: Choice, number: u64) -> Result<(), Refusal> {
        if choice == Choice::All || self.setups.len() != 1 || self.seeds != 1 {
            let why = "--cell is one of one matrix, one application and one seed: give --matrix NAME, and \
                       --application where there are several";
            return Err(refused(why));
        }
        let count: usize = self.rows.iter().map(|row| row.table.cells.len()).sum();
        self.rows.retain(|row| row.first <= number && number - row.first < row.table.cells.len() as u64);
        let Some(row) = self.rows.first_mut() else {
            return Err(refused(&format!("there is no cell {number}; there are {count}, counted from 0")));
        };
        let index = usize::try_from(number - row.first).unwrap_or(usize::MAX);
        row.table.cells = row.table.cells.drain(..).skip(index).take(1).collect();
        row.first = number;
        Ok(())
    }

    /// The one cell that was asked for, as a timeline.
    pub(super) fn trace(&self) -> anyhow::Result<ExitCode> {
        let (row, cell) = self.cell(0);
        let task = self.task(row, cell);
        let application = task.setup.application.name.as_str();
        told_trace(application, &task, |run| cell.judge(run))
    }

    pub(super) fn run(&self, args: &SimulateArgs, json: bool) -> anyhow::Result<ExitCode> {
        let whole: usize = self.rows.iter().map(|row| row.table.cells.len()).sum();
        let (part, parts) = args.matrices.part.unwrap_or((1, 1));
        let dealt = dealt(whole, part, parts);
        let promised: Vec<Promised> = self.setups.iter().map(|s| Promised::of(&s.application)).collect();
        let mut tallies = vec![Tally::default(); self.rows.len()];
        let began = SystemClock.boot();
        let task = |index| {
            let (row, cell) = self.cell(dealt[index]);
            self.task(row, cell)
        };
        crew::all(dealt.len(), self.jobs, task, |index, mut told| {
            let (place, within) = self.place(dealt[index]);
            let row = &self.rows[place];
            if let Told::Rehearsed(run) = &mut told {
                row.table.cells[within].judge(run);
            }
            tallies[place].add(row.first + within as u64, &told, promised[row.setup]);
        });
        let elapsed = SystemClock.boot().saturating_sub(began).as_secs_f64();
        finish(args, json, &self.report(&tallies, &promised, elapsed))
    }

    /// Which row, and which cell of it.
    fn place(&self, mut index: usize) -> (usize, usize) {
        for (place, row) in self.rows.iter().enumerate() {
            match index.checked_sub(row.table.cells.len()) {
                Some(rest) => index = rest,
                None => return (place, index),
            }
        }
        unreachable!("nobody asks for more cells than there are")
    }

    fn cell(&self, index: usize) -> (&Row, &Cell) {
        let (place, within) = self.place(index);
        (&self.rows[place], &self.rows[place].table.cells[within])
    }

    fn task<'a>(&'a self, row: &Row, cell: &Cell) -> Task<'a> {
        let mut scenario = cell.scenario.clone();
        scenario.name = row.name(self.seeds);
        Task { setup: &self.setups[row.setup], scenario, seed: row.seed }
    }

    fn report(&self, tallies: &[Tally], promised: &[Promised], elapsed_seconds: f64) -> Report {
        let mut applications = Vec::new();
        for (index, setup) in self.setups.iter().enumerate() {
            let own = self.rows.iter().zip(tallies).filter(|(row, _)| row.setup == index);
            let scenario = |(row, tally): (&Row, &Tally)| {
                let cells = (row.first, row.table.cells.len() as u64);
                let description = row.table.matrix.description();
                let mut report =
                    tally.clone().report(&row.name(self.seeds), description, &[].into(), cells, |number| {
                        self.replay(row, number)
                    });
                report.cells = true;
                report
            };
            applications.push(ApplicationReport {
                application: setup.application.name.to_string(),
                rto_seconds: promised[index].rto_seconds,
                rpo_seconds: promised[index].rpo_seconds,
                remarks: stage::remarks(&setup.application),
                scenarios: own.map(scenario).collect(),
            });
        }
        super::whole(applications, tallies, self.config.clone(), elapsed_seconds, self.jobs)
    }

    /// The command that shows one cell; what it is stands behind it, as a comment.
    fn replay(&self, row: &Row, number: u64) -> String {
        let application = match self.setups.len() {
            1 => String::new(),
            _ => format!(" --application {}", self.setups[row.setup].application.name),
        };
        let within = usize::try_from(number - row.first).unwrap_or(usize::MAX);
        let what = row.table.cells.get(within).map_or("", |cell| &cell.what);
        format!(
            "failoverd simulate{}{application} --matrix {} --cell {number} --seed {} --trace  # {what}",
            self.options,
            row.table.matrix.name(),
            row.seed
        )
    }
}

/// The cells of the `part`th of `parts`. Dealt by the sum of their numbers' digits in base `parts` (Thue and Morse's way) and
/// not in turn: cells come in a rhythm (each death once with a short outage, then with a long one), and every other cell of
/// a rhythm of two would all be of one kind.
fn dealt(whole: usize, part: usize, parts: usize) -> Vec<usize> {
    let base = parts.max(2);
    let digits = |index: usize| successors(Some(index), move |rest| Some(rest / base)).take_while(|rest| 0 < *rest);
    let hand = |index: usize| digits(index).map(|rest| rest % base).sum::<usize>() % parts;
    (0..whole).filter(|&index| hand(index) == part - 1).collect()
}

fn refused(why: &str) -> Refusal {
    Refusal(wrapped("failoverd: ", why))
}

fn rows(setups: &[Setup], matrices: &[Matrix], seeds: std::ops::Range<u64>) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for (setup, seed) in (0..setups.len()).flat_map(|setup| seeds.clone().map(move |seed| (setup, seed))) {
        let mut undisturbed = Undisturbed::default();
        for matrix in matrices {
            let mut first = 0;
            for table in matrix::tables(&setups[setup], *matrix, seed, &mut undisturbed)? {
                let count = table.cells.len() as u64;
                rows.push(Row { setup, seed, first, table });
                first += count;
            }
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_matrix_are_disjoint_and_make_the_whole() {
        for (whole, parts) in [(10, 3), (9, 3), (2, 5), (0, 2), (7, 1)] {
            let mut cells: Vec<usize> = (1..=parts).flat_map(|k| dealt(whole, k, parts)).collect();
            cells.sort_unstable();
            assert_eq!(cells, (0..whole).collect::<Vec<_>>(), "{whole} cells in {parts} parts");
        }
        for (parts, rhythm) in [(2, 2), (3, 3), (4, 2), (4, 8), (2, 3), (3, 2)] {
            for part in 1..=parts {
                let cells = dealt(1_200, part, parts);
                let of_one_kind = |kind| cells.iter().filter(|&&cell| cell % rhythm == kind).count();
                let fair = 1_200 / parts / rhythm;
                for kind in 0..rhythm {
                    let count = of_one_kind(kind);
                    assert!(fair / 2 < count && count < fair * 2, "{count} of kind {kind}/{rhythm} in {part}/{parts}");
                }
            }
        }
        assert_eq!(part("2/3"), Ok((2, 3)));
        for wrong in ["0/3", "4/3", "1/0", "1", "1/2/3", "1/1001", "-1/2"] {
            assert!(part(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_shipped_runbook_is_reached_by_some_application() {
        let settings = super::super::shipped();
        let mut reached: Vec<_> =
            settings.applications.iter().flat_map(|a| a.uses().map(|(_, name)| name.clone())).collect();
        let beside = beside(&settings);
        reached.extend(beside.iter().flat_map(|setup| setup.application.uses().map(|(_, name)| name.clone())));
        // What needs weighted records, and what one looks with each week, is rehearsed by the configuration that has them.
        let audited = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/payments-audited.toml");
        let audited = crate::config::Settings::load(&audited, &Default::default()).expect("loads");
        reached.extend(audited.applications.iter().flat_map(|a| a.uses().map(|(_, name)| name.clone())));
        // A salvage moves nothing: the scenario salvage-and-failback rehearses it.
        let moves = |purposes: &std::collections::BTreeSet<Purpose>| purposes.iter().any(|p| *p != Purpose::Salvage);
        for (name, _) in settings.runbooks.iter().filter(|(_, (runbook, _))| moves(&runbook.purposes)) {
            assert!(reached.contains(name), "{name} is rehearsed by no matrix");
        }
    }
}
