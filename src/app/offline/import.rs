//! A branch into the journal that it grew from, and a person's word on where the application lives now.
//!
//! Invariants: every byte of a branch is verified, and the record that it grew from is in the journal, with its hash; what it
//! did is told by one event, and no record of it is ever the journal's. Both verbs append as a leader does, at the journal's
//! tail and in an epoch of their own: a replica that leads meanwhile loses its place, and reads what was said.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;

use super::{BRANCH_REFUSED, Means, Refused, place::Place, ready, run};
use crate::{
    adapters::store::{DynamoStore, SqliteStore},
    app::store::draw,
    domain::{
        application::Application,
        branch::{self, Imported, Reconciled},
        history::History,
        id::{ApplicationName, BranchId, Digest, Region, Subject},
        journal::Event,
        lease::Lease,
    },
    engine::{
        recover,
        scribe::CommitError,
        whereabouts::{self, Whereabouts},
    },
    ports::{JournalStore, Leases},
};

/// Between the two looks at the world that a word must agree with.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

/// How often the end of a lease is tried, against its holder's renewals.
const DISMISSALS_MAX: u32 = 5;

/// A word of a person on where the application lives.
#[derive(Debug, Clone)]
pub struct Word {
    pub application: String,
    /// `None`: there is no branch; it was moved by hand.
    pub branch: Option<BranchId>,
    pub primary: Region,
    pub by: Subject,
    pub reason: String,
    /// What became of the writes that were left.
    pub writes: Option<String>,
}

fn refused(reason: impl Into<String>) -> anyhow::Error {
    Refused::one(BRANCH_REFUSED, reason).into()
}

fn application<'a>(means: &'a Means, name: &str) -> anyhow::Result<&'a Application> {
    let found = means.settings.applications.iter().find(|app| app.name.as_str() == name);
    found.ok_or_else(|| refused(format!("there is no application `{name}` in the configuration")))
}

/// The shared journal.
async fn journal(means: &Means, name: &ApplicationName) -> anyhow::Result<(Arc<DynamoStore>, History)> {
    let options = means.patient().ok_or_else(|| refused("the journal is in a file: it has no branches"))?;
    let opened = DynamoStore::open(&means.table_sdk, Arc::clone(&means.clock), draw(), &options).await;
    let store = Arc::new(opened.context("open the table")?);
    let history = recover::recover(&*store, name).await.context("read the journal")?;
    Ok((store, history))
}

/// Imports the branch in `file`, once; what the journal says of it.
///
/// # Errors
/// [`Refused`] where it is no branch of this journal, is not whole, or was imported before.
pub async fn import(means: &Means, file: &Path, by: &Subject) -> anyhow::Result<Imported> {
    if !file.is_file() {
        return Err(refused(format!("{} is no file", file.display())));
    }
    let branch = SqliteStore::open(file).map_err(|e| refused(format!("{}: {e}", file.display())))?;
    let journals = branch.journals().await.map_err(|e| refused(format!("{}: {e}", file.display())))?;
    let [name] = &journals[..] else {
        return Err(refused(format!("{} holds {} journals; a branch is one", file.display(), journals.len())));
    };
    let app = application(means, name.as_str())?;
    let theirs = recover::recover(&branch, name).await.map_err(|e| refused(format!("{}: {e}", file.display())))?;
    let began = theirs.branches.own().ok_or_else(|| refused(format!("{} is no branch", file.display())))?;
    let parent = &began.parent;
    let own_parent = hash_before(&branch, name, parent.records).await?;
    drop(branch);
    if own_parent != parent.hash {
        return Err(refused(format!("{} says of itself that it grew from another record than it did", file.display())));
    }
    let (store, ours) = journal(means, name).await?;
    if ours.branches.get(&began.id).is_some() {
        return Err(refused(format!("the branch {} was imported before", began.id)));
    }
    let came_after = ours.tail.next_seq.checked_sub(parent.records).ok_or_else(|| {
        refused(format!(
            "it grew from record {} of the journal, which has {} records: it is another one, or was restored from a backup",
            parent.records, ours.tail.next_seq
        ))
    })?;
    if hash_before(&*store, name, parent.records).await? != parent.hash {
        let why = format!(
            "record {} of the journal is not the one that the branch grew from",
            parent.records.saturating_sub(1)
        );
        return Err(refused(why));
    }
    let file_name =
        file.file_name().map_or_else(|| file.display().to_string(), |name| name.to_string_lossy().into_owned());
    let imported = branch::imported(app, &theirs, by, &file_name, came_after).map_err(refused)?;
    let scribe = run::take_over(means, Arc::clone(&store) as Arc<dyn JournalStore>, ours, by).await?;
    let event = Event::BranchImported { branch: Box::new(imported.clone()) };
    let committed = scribe.commit::<(), std::convert::Infallible>(|_, _| Ok((vec![event], ())));
    committed.await.map_err(not_recorded)?;
    dismiss(&*store, name).await;
    if let Some(offline) = &means.settings.offline {
        let place = Place::of(offline);
        place.make()?;
        let sealed = place.seal(file)?;
        means.tell(format!("the branch is kept, read-only, in {}", sealed.display()));
    }
    Ok(imported)
}

/// The hash of the last of the first `records` of the journal.
async fn hash_before(store: &dyn JournalStore, name: &ApplicationName, records: u64) -> anyhow::Result<Digest> {
    let Some(last) = records.checked_sub(1) else { return Ok(Digest::zero()) };
    let there = store.read(name, last, 1).await.context("read the journal")?;
    Ok(there.into_iter().next().map_or_else(Digest::zero, |(_, hash)| hash))
}

/// Ends the lease of whoever leads, so that it reads the journal at once, though it has nothing to record. It saves time
/// only: what was appended keeps it from recording anything more.
pub async fn dismiss(leases: &dyn Leases, name: &ApplicationName) {
    for _ in 0..DISMISSALS_MAX {
        let Ok(Some(lease)) = leases.lease(name).await else { return };
        if lease.released {
            return;
        }
        let over = Some(lease.version);
        let ended = Lease { version: lease.version + 1, holder: "offline".to_owned(), released: true, ..lease };
        if leases.put(name, &ended, over).await.is_ok() {
            return;
        }
    }
}

fn not_recorded<E: std::fmt::Debug>(error: CommitError<E>) -> anyhow::Error
where
    CommitError<E>: std::fmt::Display,
{
    refused(format!("the journal does not take it: {error}; look again"))
}

/// Records where the application lives now, if the world says so too, twice.
///
/// # Errors
/// [`Refused`] where there is nothing to reconcile, what was left is not dealt with, or the world says otherwise.
pub async fn reconcile(means: &Means, word: &Word) -> anyhow::Result<Reconciled> {
    let app = application(means, &word.application)?;
    let (store, history) = journal(means, &app.name).await?;
    let mut reasons = Vec::new();
    if !app.regions.contains(&word.primary) {
        reasons.push(format!("{} lives in none of its Regions: {}", app.name, word.primary));
    }
    if word.reason.trim().is_empty() {
        reasons.push("it has no reason: --reason WHY".to_owned());
    }
    fits(&history, word, &mut reasons);
    let evidence = agreed(means, app, &history, word, &mut reasons).await?;
    if !reasons.is_empty() {
        return Err(Refused { code: BRANCH_REFUSED, reasons }.into());
    }
    let reconciled = Reconciled {
        branch: word.branch.clone(),
        primary: word.primary.clone(),
        by: word.by.clone(),
        reason: word.reason.clone(),
        writes: word.writes.clone(),
        evidence,
    };
    let scribe = run::take_over(means, Arc::clone(&store) as Arc<dyn JournalStore>, history, &word.by).await?;
    let event = Event::BranchReconciled { word: Box::new(reconciled.clone()) };
    let committed = scribe.commit::<(), std::convert::Infallible>(|history, _| {
        let mut events = run::superseded(history, "superseded: where the application lives was said by a person");
        events.push(event);
        Ok((events, ()))
    });
    committed.await.map_err(not_recorded)?;
    dismiss(&*store, &app.name).await;
    Ok(reconciled)
}

/// Whether the journal asks for such a word.
fn fits(history: &History, word: &Word, reasons: &mut Vec<String>) {
    let open: Vec<&Imported> = history.branches.open().collect();
    let Some(id) = &word.branch else {
        if let Some(first) = open.first() {
            reasons.push(format!("the branch {} waits to be reconciled: --branch {}", first.began.id, first.began.id));
        }
        return;
    };
    match history.branches.get(id) {
        None => reasons.push(format!("no branch {id} was imported: failoverd offline import FILE")),
        Some((_, Some(said))) => {
            reasons.push(format!("{} has reconciled {id} already: it lives in {}", said.by, said.primary))
        }
        Some((imported, None)) => {
            let left: Vec<String> =
                imported.left_writes().map(|run| format!("{} in {}", run.run, run.source)).collect();
            let is_told = word.writes.as_ref().is_some_and(|said| !said.trim().is_empty());
            if !left.is_empty() && !is_told {
                reasons.push(format!(
                    "writes may have been left ({}): say what became of them: --writes \"what was done with them\"",
                    left.join(", ")
                ));
            }
        }
    }
}

/// Two looks at the world that agree with `word`.
async fn agreed(
    means: &Means,
    app: &Application,
    history: &History,
    word: &Word,
    reasons: &mut Vec<String>,
) -> anyhow::Result<Vec<String>> {
    let cloud = ready::cloud(means)?;
    // What a branch detached stands alone.
    let mut seen = history.clone();
    if let Some((imported, _)) = word.branch.as_ref().and_then(|id| history.branches.get(id)) {
        seen.detached.extend(imported.detached.clone());
    }
    let mut evidence = Vec::new();
    for look in 0..2 {
        if look == 1 {
            means.clock.sleep(BETWEEN_LOOKS).await;
        }
        match whereabouts::look(&cloud, &*means.clock, app, &seen).await {
            Whereabouts::In { region, evidence: said } if region == word.primary => evidence.extend(said),
            Whereabouts::In { region, evidence: said } => {
                reasons.push(format!("the world says {region}, not {} ({})", word.primary, said.join("; ")));
                break;
            }
            Whereabouts::Unknown { why } => {
                reasons.push(format!("where it lives cannot be told: {why}"));
                break;
            }
            Whereabouts::Nothing => {
                evidence.push(format!("{} has no databases: nothing in the world says where it lives", app.name));
                break;
            }
        }
    }
    Ok(evidence)
}
