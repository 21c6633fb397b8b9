//! Whether a failover may be run offline: what this machine knows, and every reason against it at once.
//!
//! Invariant: the table is asked, not believed to be lost; a copy that a daemon holds open is a replica that runs. What
//! the copy does not know is said, never assumed to be nothing.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    Means, REFUSED, Refused, TABLE_ANSWERS, Wanted, keys,
    keys::Signed,
    place::{Copied, Place},
};
use crate::{
    adapters::{
        aws::AwsCloud,
        observers::prometheus::Metrics,
        store::{OpenError, SqliteStore, dynamodb::Answers},
    },
    app::options,
    config::{Offline, Store},
    domain::{
        action::Action,
        application::Application,
        compile,
        history::History,
        id::{BranchId, Region, RunbookName, Subject},
        plan::{Plan, Purpose},
    },
    engine::{
        recover,
        whereabouts::{self, Whereabouts},
    },
};

/// A copy that was read on less than this long ago knows what there was to know shortly before the table was lost.
pub const COPY_FRESH: Duration = Duration::from_mins(15);

/// The longest text that a person may declare.
const DECLARED_CHARS_MAX: usize = 500;

/// What a failover offline begins with.
#[derive(Debug)]
pub struct Ready {
    pub app: Application,
    pub operator: Subject,
    pub table_lost: String,
    pub replicas_stopped: String,
    pub stale_copy: Option<String>,
    pub place: Place,
    pub offline: Offline,
    pub branch: BranchId,
    /// What the machine knows of the application.
    pub history: History,
    pub known: Known,
    /// The copy it stands on, closed to everybody else; `None`: there is none, or the branch has begun.
    pub copy: Option<SqliteStore>,
    /// What would be done, where it can be told already.
    pub plan: Result<Plan, String>,
    pub signed: Vec<Signed>,
}

/// What there is to go on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// A branch that has begun here before goes on.
    Branch,
    Copy {
        read_at: Timestamp,
        age: Duration,
    },
    /// Nobody can say how old it is.
    Undated,
    Nothing,
}

impl Known {
    /// In words, with what it means.
    pub fn told(&self, records: u64) -> String {
        match self {
            Self::Branch => "a branch that was begun here goes on".to_owned(),
            Self::Copy { read_at, age } => format!(
                "a copy of {records} records, whole at {read_at}, {} min ago; what came after that is not known here",
                age.as_secs() / 60
            ),
            Self::Undated => format!(
                "a copy of {records} records of which nobody can say how old it is: runs, effects and reconciliations after \
                 its last record are not known here"
            ),
            Self::Nothing => {
                "no copy: what was done before, what is under way, what a failover left and what has to be \
                              renewed are not known here"
                    .to_owned()
            }
        }
    }

    fn is_fresh(&self) -> bool {
        match self {
            Self::Branch => true,
            Self::Copy { age, .. } => *age <= COPY_FRESH,
            Self::Undated | Self::Nothing => false,
        }
    }

    fn of(copied: Option<&Copied>, records: u64, now: Timestamp) -> Self {
        match copied {
            _ if records == 0 => Self::Nothing,
            Some(copied) if copied.records <= records => {
                // What was read in the future was read by another clock.
                match Duration::try_from(now.duration_since(copied.read_at)) {
                    Ok(age) => Self::Copy { read_at: copied.read_at, age },
                    Err(_) => Self::Undated,
                }
            }
            Some(_) | None => Self::Undated,
        }
    }
}

/// A cloud as the daemon has it.
pub fn cloud(means: &Means) -> anyhow::Result<AwsCloud> {
    let applications: Vec<_> = means.settings.applications.iter().cloned().map(Arc::new).collect();
    let observer = Arc::new(Metrics::new(&applications)?);
    Ok(AwsCloud::new(means.sdk.clone(), Arc::clone(&means.clock), observer, options(&means.settings.aws)))
}

/// Looks at everything, and says every reason against it.
///
/// # Errors
/// [`Refused`], with all of them; anything else is a failure of this machine.
pub async fn ready(means: &Means, wanted: &Wanted) -> anyhow::Result<Ready> {
    let settings = &means.settings;
    let mut reasons = Vec::new();
    let app = settings.applications.iter().find(|app| app.name.as_str() == wanted.application).cloned();
    if app.is_none() {
        let known: Vec<&str> = settings.applications.iter().map(|app| app.name.as_str()).collect();
        reasons.push(format!("unknown-application: there is no `{}`, only {}", wanted.application, known.join(", ")));
    }
    if matches!(settings.store, Store::Sqlite { .. }) {
        reasons
            .push("no-table: the journal is in a file, so no table can be lost: start the daemon over it".to_owned());
    }
    if settings.offline.is_none() {
        reasons.push(
            "not-configured: the configuration has no [offline]: dir = \"/var/lib/failoverd/offline\"".to_owned(),
        );
    }
    let declared = declared(wanted, &mut reasons);
    let signed = signed(wanted, settings.offline.as_ref(), &mut reasons);
    let (Some(app), Some(offline)) = (app, settings.offline.clone()) else {
        return Err(Refused { code: REFUSED, reasons }.into());
    };
    let answers = answers(means, &app).await;
    reasons.extend(answers.clone());
    let place = Place::of(&offline);
    place.make()?;
    let found = open(&place, &app, means.clock.wall(), &mut reasons).await;
    let (branch, copy, history, known) = found?;
    if !known.is_fresh() && !said(wanted.stale_copy.as_ref()) {
        let told = known.told(history.tail.next_seq);
        reasons.push(format!("stale-copy: this machine has {told}; to go on all the same: --accept-stale-copy WHY"));
    }
    let plan = planned(means, &app, wanted, &history).await?;
    if let Ok(plan) = &plan {
        approvable(plan, &offline, wanted.operator.as_ref(), &mut reasons);
    }
    if let (false, Some(declared)) = (!reasons.is_empty(), declared) {
        let (operator, table_lost, replicas_stopped) = declared;
        let stale_copy = wanted.stale_copy.clone().filter(|_| !known.is_fresh());
        let branch = match branch {
            Some(id) => id,
            None => place.next(&app.name, BranchId::new(keys::draw()?))?,
        };
        return Ok(Ready {
            app,
            operator,
            table_lost,
            replicas_stopped,
            stale_copy,
            place,
            offline,
            branch,
            history,
            known,
            copy,
            plan,
            signed,
        });
    }
    let code = if answers.is_some() { TABLE_ANSWERS } else { REFUSED };
    Err(Refused { code, reasons }.into())
}

/// Why the table is not lost; `None`: it is silent.
async fn answers(means: &Means, app: &Application) -> Option<String> {
    let says = match means.table(&app.name).await {
        Answers::Silent(_) => return None,
        Answers::Lease { held: true, .. } => "it answers, and somebody holds the lease".to_owned(),
        Answers::Lease { held: false, .. } => "it answers".to_owned(),
        Answers::Refuses(why) => format!("it answers: {why}"),
    };
    Some(format!("table-answers: the table is not lost: {says}; use the daemons, or mend what keeps them from it"))
}

fn said(text: Option<&String>) -> bool {
    text.is_some_and(|text| !text.trim().is_empty() && text.chars().count() <= DECLARED_CHARS_MAX)
}

/// What a person must have said, each in words of their own.
fn declared(wanted: &Wanted, reasons: &mut Vec<String>) -> Option<(Subject, String, String)> {
    let mut need = |given: &Option<String>, what: &str| {
        if !said(given.as_ref()) {
            reasons.push(what.to_owned());
        }
        given.clone().unwrap_or_default()
    };
    let table_lost = need(
        &wanted.table_lost,
        "table-lost: nobody has declared that the table is lost: --table-lost \"how you know\"",
    );
    let replicas_stopped = need(
        &wanted.replicas_stopped,
        "replicas-stopped: nobody has attested that every other replica is stopped and stays so: --replicas-stopped \"who, how\"",
    );
    if wanted.operator.is_none() {
        reasons.push("operator: it is not said who does this: --operator NAME".to_owned());
    }
    if wanted.accept_data_loss.is_none() {
        reasons.push("data-loss: nobody has accepted a loss: --accept-data-loss-seconds N".to_owned());
    }
    if !wanted.dry_run && wanted.consent.as_deref() != Some(wanted.application.as_str()) {
        let name = &wanted.application;
        reasons.push(format!("consent: type the application's name to consent: --consent {name}"));
    }
    Some((wanted.operator.clone()?, table_lost, replicas_stopped))
}

/// The signatures that were given; each must be of somebody whose key is registered.
fn signed(wanted: &Wanted, offline: Option<&Offline>, reasons: &mut Vec<String>) -> Vec<Signed> {
    let mut all = Vec::new();
    for text in &wanted.approvals {
        match text.parse::<Signed>() {
            Ok(signed) if offline.is_some_and(|offline| !offline.approvers.contains_key(&signed.by)) => {
                reasons.push(format!("approval: no key of `{}` is registered in [offline] approvers", signed.by));
            }
            Ok(signed) if wanted.operator.as_ref() == Some(&signed.by) => {
                reasons.push(format!("approval: {} does this, and cannot approve it", signed.by));
            }
            Ok(signed) => all.push(signed),
            Err(why) => reasons.push(format!("approval: {why}")),
        }
    }
    all
}

/// What this machine has of the journal.
async fn open(
    place: &Place,
    app: &Application,
    now: Timestamp,
    reasons: &mut Vec<String>,
) -> anyhow::Result<(Option<BranchId>, Option<SqliteStore>, History, Known)> {
    let name = &app.name;
    if let Some((id, path)) = place.open_branch(name)? {
        match SqliteStore::open(&path) {
            Ok(store) => {
                let history = recover::recover(&store, name).await?;
                if history.branches.own().is_some() {
                    return Ok((Some(id), None, history, Known::Branch));
                }
                // It was begun, and never said so: the copying is done again.
            }
            Err(OpenError::Locked { holder, .. }) => {
                reasons.push(format!("under-way: the branch {id} is being run by {holder}"));
                return Ok((Some(id), None, History::new(name.clone()), Known::Branch));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let path = place.journals();
    if !path.exists() {
        return Ok((None, None, History::new(name.clone()), Known::Nothing));
    }
    match SqliteStore::open(&path) {
        Ok(copy) => {
            let history = recover::recover(&copy, name).await?;
            let known = Known::of(place.copied().get(name), history.tail.next_seq, now);
            Ok((None, Some(copy), history, known))
        }
        Err(OpenError::Locked { holder, .. }) => {
            reasons.push(format!("replica-runs: a daemon of this machine keeps the copy open: {holder}; stop it"));
            Ok((None, None, History::new(name.clone()), Known::Undated))
        }
        Err(error) => {
            reasons.push(format!("copy-unusable: {error}; put {} aside to go on without a copy", path.display()));
            Ok((None, None, History::new(name.clone()), Known::Nothing))
        }
    }
}

/// What would be done; `Err` says why it cannot be told before the engine has looked.
async fn planned(
    means: &Means,
    app: &Application,
    wanted: &Wanted,
    history: &History,
) -> anyhow::Result<Result<Plan, String>> {
    let cloud = cloud(means)?;
    let source = match whereabouts::look(&cloud, &*means.clock, app, history).await {
        Whereabouts::In { region, .. } => region,
        Whereabouts::Nothing => history.branches.primary().unwrap_or(&app.regions[0]).clone(),
        Whereabouts::Unknown { why } => return Ok(Err(format!("where the application lives cannot be told: {why}"))),
    };
    let others: Vec<&Region> = app.regions.iter().filter(|region| **region != source).collect();
    let target = match (&wanted.target, &others[..]) {
        (Some(target), _) => target.clone(),
        (None, [only]) => (*only).clone(),
        (None, _) => return Ok(Err("several Regions could take over: --target REGION".to_owned())),
    };
    let name: Option<&RunbookName> = wanted.runbook.as_ref().or_else(|| app.runbooks.get(&Purpose::Failover));
    let Some((runbook, digest)) = name.and_then(|name| means.settings.runbooks.get(name)) else {
        return Ok(Err("the application has no such runbook for a failover".to_owned()));
    };
    let (loss, config) = (wanted.accept_data_loss, &means.settings.digest);
    let plan = compile::compile(app, runbook, Purpose::Failover, &source, &target, loss, config, digest);
    Ok(plan.map_err(|faults| faults.join("; ")))
}

/// Whether the plan's approvals can be given by the keys that are registered.
fn approvable(plan: &Plan, offline: &Offline, operator: Option<&Subject>, reasons: &mut Vec<String>) {
    let others = offline.approvers.keys().filter(|name| operator != Some(name)).count();
    for step in &plan.steps {
        if let Action::Approve { count, .. } = &step.action
            && others < *count as usize
        {
            reasons.push(format!(
                "no-approvers: `{}` waits for {count} approval(s), and [offline] approvers has the keys of {others} other \
                 people; without the identity provider nobody else can approve",
                step.id
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::Digest;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn copied(records: u64, read_at: i64) -> Copied {
        Copied { records, hash: Digest::of(b"tail"), read_at: at(read_at), config_digest: Digest::of(b"config") }
    }

    #[test]
    fn how_old_a_copy_is_is_told_and_unknown_is_not_young() {
        let young = Known::of(Some(&copied(7, 1_000)), 7, at(1_120));
        assert!(young.is_fresh(), "{young:?}");
        assert!(young.told(7).contains("2 min ago"), "{}", young.told(7));
        let old = Known::of(Some(&copied(7, 1_000)), 7, at(1_000 + 16 * 60));
        assert!(!old.is_fresh(), "{old:?}");
        // Nobody has said, or what was said is of more than there is, or of the future.
        let more = Known::of(Some(&copied(9, 1_000)), 7, at(1_120));
        for known in [Known::of(None, 7, at(1_120)), more, Known::of(Some(&copied(7, 2_000)), 7, at(1_120))] {
            assert_eq!(known, Known::Undated);
            assert!(!known.is_fresh());
        }
        let nothing = Known::of(Some(&copied(0, 1_000)), 0, at(1_010));
        assert!(!nothing.is_fresh() && nothing.told(0).starts_with("no copy"), "{nothing:?}");
    }
}
