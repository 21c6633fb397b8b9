//! `[evidence] keep`: the evidence of each run that is over, written to a directory of this machine.
//!
//! ```text
//! DIR/RUN.jsonl     what `failoverd evidence verify` proves
//! DIR/RUN.html      the same for people; written second, from the first as it stands there
//! ```
//!
//! Invariants: nothing waits for it and nothing hangs on it: what is lost here is made again from the journal. A file is
//! there whole or not at all, and no file is ever written over, whoever wrote it. Each replica keeps for itself, whoever
//! leads. Deliberately not here: deleting what is old.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus::{IntCounter, IntGauge};
use tokio_util::sync::CancellationToken;

use super::keys;
use crate::{
    domain::{
        evidence::{Evidence, FILE_BYTES_MAX, Signature},
        id::{ApplicationName, Digest, RunId},
    },
    engine::control::Control,
    http::{self, Signer},
    ports::Clock,
};

/// Between two looks for runs that are over.
const PERIOD: Duration = Duration::from_secs(5);
/// The longest pause after a failure; the first is [`PERIOD`], and each is twice the one before.
const PAUSE_MAX: Duration = Duration::from_mins(5);
/// So many are made of one reading of a journal: each is some megabytes at the most.
const AT_ONCE_MAX: usize = 8;

/// So many reasons are told until all is kept again: one that names its file is another for each run.
const TOLD_MAX: usize = 32;

/// How a file that is being written ends.
const PART: &str = ".part";

/// Which runs are kept here; shared with those who list them.
#[derive(Debug, Clone, Default)]
pub struct KeptRuns(Arc<Mutex<BTreeSet<RunId>>>);

impl KeptRuns {
    pub fn has(&self, run: &RunId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(run)
    }

    fn note(&self, run: &RunId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(run.clone());
    }
}

/// A run that was not kept, and why.
type Failed = (RunId, String);

/// The reasons for which something was not kept that were told since all was kept last.
#[derive(Debug, Default)]
struct Told {
    reasons: BTreeSet<String>,
}

impl Told {
    /// Those of `failed` whose reason was not told yet, each reason once, and no more than [`TOLD_MAX`] in all.
    fn fresh(&mut self, failed: Vec<Failed>) -> Vec<Failed> {
        let is_fresh = |(_, why): &Failed| self.reasons.len() < TOLD_MAX && self.reasons.insert(why.clone());
        failed.into_iter().filter(is_fresh).collect()
    }

    /// All is kept: whatever fails next is told again. Whether anything had failed.
    fn all_is_well(&mut self) -> bool {
        !std::mem::take(&mut self.reasons).is_empty()
    }
}

/// What keeps.
pub struct Keeper {
    pub control: Arc<dyn Control>,
    pub dir: PathBuf,
    pub signer: Option<Signer>,
    pub clock: Arc<dyn Clock>,
    pub kept: KeptRuns,
    /// Attempts to keep that failed.
    pub failures: IntCounter,
    /// Runs that are over and are not kept here.
    pub unkept: IntGauge,
}

impl Keeper {
    /// [`Keeper::keep`], apart: that evidence is not kept must not end what a failover runs in.
    pub async fn keep_apart(self, stopping: CancellationToken) {
        if let Err(panicked) = tokio::spawn(self.keep(stopping)).await {
            tracing::error!(%panicked, "evidence is kept no more until the next start");
        }
    }

    /// Until the daemon stops.
    pub async fn keep(self, stopping: CancellationToken) {
        let (mut pause, mut told, mut is_swept) = (PERIOD, Told::default(), false);
        loop {
            if !is_swept {
                is_swept = self.blocking(|dir| sweep(&dir)).await.is_ok();
            }
            match self.look().await {
                Ok(()) => {
                    if told.all_is_well() {
                        tracing::info!("evidence is kept again");
                    }
                    pause = PERIOD;
                }
                Err(failed) => {
                    let directory = self.dir.display();
                    // Each once, and counted each time: it is tried again for as long as it takes.
                    for (run, why) in told.fresh(failed) {
                        tracing::error!(%directory, %run, why, "evidence is not kept where it should be");
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                () = self.clock.sleep(pause) => {}
            }
        }
    }

    /// Keeps what is over and not kept; what one run does not let happen keeps no other from it.
    ///
    /// # Errors
    /// Everything that failed.
    async fn look(&self) -> Result<(), Vec<Failed>> {
        let mut all = Vec::new();
        let (mut unkept, names) = (0, self.control.applications());
        for application in names.iter().map(|app| &app.name) {
            let missing = self.missing(application);
            unkept += missing.len();
            for runs in missing.chunks(AT_ONCE_MAX) {
                let failed = self.keep_these(application, runs).await;
                unkept = unkept.saturating_sub(runs.len() - failed.len());
                self.failures.inc_by(failed.len() as u64);
                all.extend(failed);
            }
        }
        self.unkept.set(i64::try_from(unkept).unwrap_or(i64::MAX));
        if all.is_empty() { Ok(()) } else { Err(all) }
    }

    /// The runs of `application` that are over and not known to be kept, oldest first.
    fn missing(&self, application: &ApplicationName) -> Vec<RunId> {
        let Some(history) = self.control.history(application) else { return Vec::new() };
        let over = history.runs.values().filter(|run| run.is_finished() && !self.kept.has(&run.id));
        let mut runs: Vec<_> = over.map(|run| (run.started_at, run.id.clone())).collect();
        runs.sort();
        runs.into_iter().map(|(_, id)| id).collect()
    }

    /// Why those of `runs` were not kept that were not.
    async fn keep_these(&self, application: &ApplicationName, runs: &[RunId]) -> Vec<Failed> {
        let (mut missing, mut failed) = (Vec::new(), Vec::new());
        for run in runs {
            let id = run.clone();
            match self.blocking(move |dir| mend(&dir, &id)).await {
                Ok(true) => self.kept.note(run),
                Ok(false) => missing.push(run.clone()),
                Err(why) => failed.push((run.clone(), why)),
            }
        }
        if missing.is_empty() {
            return failed;
        }
        let all = match self.control.evidences(application, &missing).await {
            Ok(all) => all,
            Err(refusal) => {
                failed.extend(missing.iter().map(|run| (run.clone(), refusal.to_string())));
                return failed;
            }
        };
        for (run, evidence) in missing.iter().zip(all) {
            let signed = self.signer.as_ref().map(|sign| sign(&evidence.statement()));
            match self.blocking(move |dir| write(&dir, &evidence, signed.as_ref())).await {
                Ok(()) => self.kept.note(run),
                Err(why) => failed.push((run.clone(), why)),
            }
        }
        failed
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(PathBuf) -> io::Result<T> + Send + 'static,
    ) -> Result<T, String> {
        let dir = self.dir.clone();
        let done = tokio::task::spawn_blocking(move || work(dir)).await;
        done.map_err(|_| "the writing task ended".to_owned())?.map_err(|e| e.to_string())
    }
}

fn lines_of(run: &RunId) -> String {
    format!("{run}.jsonl")
}

fn page_of(run: &RunId) -> String {
    format!("{run}.html")
}

/// Takes away what a life before was writing when it ended.
fn sweep(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        // Nothing but what has the form of our own names.
        let run = text.strip_prefix('.').filter(|rest| rest.ends_with(PART)).and_then(|rest| rest.split('.').next());
        if run.is_some_and(|run| run.parse::<RunId>().is_ok()) {
            fs::remove_file(dir.join(&name))?;
        }
    }
    Ok(())
}

/// Whether both files of `run` are there, or are now: a life that ended between the two left the first alone.
fn mend(dir: &Path, run: &RunId) -> io::Result<bool> {
    let (lines, page) = (dir.join(lines_of(run)), dir.join(page_of(run)));
    if !lines.try_exists()? {
        return Ok(false);
    }
    let other = |why: &str| io::Error::other(format!("{} is there, and {why}", lines_of(run)));
    let text = read(&lines)?;
    if page.try_exists()? {
        // The page names its file, so that one cannot stand for another.
        let is_its_page = read(&page)?.contains(Digest::of(text.as_bytes()).as_str());
        return match is_its_page {
            true => Ok(true),
            false => Err(io::Error::other(format!("{} is there, and is not of {}", page_of(run), lines_of(run)))),
        };
    }
    let read = Evidence::read(&text, |signed, statement| keys::holds(&signed.key, &signed.signature, statement));
    let (evidence, signed) = read.map_err(|_| other("is not whole: `failoverd evidence verify` says why"))?;
    if evidence.header.run != *run {
        return Err(other("is of another run"));
    }
    put(dir, &page_of(run), &http::evidence::html(&evidence, signed.as_ref()))?;
    Ok(true)
}

/// Without following a link, and without waiting for whoever writes into a FIFO.
const PLAIN: i32 = (rustix::fs::OFlags::NOFOLLOW.bits() | rustix::fs::OFlags::NONBLOCK.bits()).cast_signed();

/// What stands in a file of the directory, whoever has put it there: nothing but a plain file is read, without waiting
/// for a writer (a FIFO) and not beyond what evidence can be (a device has no end).
fn read(file: &Path) -> io::Result<String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let other = |why: &str| io::Error::other(format!("{name} is there, and {why}"));
    if !fs::symlink_metadata(file)?.is_file() {
        return Err(other("is no plain file"));
    }
    let open = fs::OpenOptions::new().read(true).custom_flags(PLAIN).open(file)?;
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(&open, FILE_BYTES_MAX + 1), &mut text)?;
    if FILE_BYTES_MAX < text.len() as u64 {
        return Err(other("is too long for evidence"));
    }
    Ok(text)
}

fn write(dir: &Path, evidence: &Evidence, signed: Option<&Signature>) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
    let run = &evidence.header.run;
    put(dir, &lines_of(run), &evidence.sealed(signed.cloned()))?;
    put(dir, &page_of(run), &http::evidence::html(evidence, signed))
}

/// Writes `text` to `name`, durably, where nothing stands there.
fn put(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    put_through(dir, name, text, new_file)
}

fn put_through(dir: &Path, name: &str, text: &str, open: fn(&Path) -> io::Result<fs::File>) -> io::Result<()> {
    let part = dir.join(format!(".{name}.{}{PART}", std::process::id()));
    let written = open(&part).and_then(|mut file| {
        io::Write::write_all(&mut file, text.as_bytes())?;
        file.sync_all()
    });
    // Unlike a rename, a link is refused where the name is taken.
    let linked = written.and_then(|()| fs::hard_link(&part, dir.join(name)));
    // What is left of it is swept at the next start.
    let _ = fs::remove_file(&part);
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match read(&dir.join(name))? == text {
            true => Ok(()),
            false => Err(io::Error::other(format!("something else stands in {name}, which is not written over"))),
        },
        Err(error) => Err(error),
        Ok(()) => fs::File::open(dir)?.sync_all(),
    }
}

/// Follows no link: what is written to is new.
fn new_file(part: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(part)
}

#[cfg(test)]
mod tests;
