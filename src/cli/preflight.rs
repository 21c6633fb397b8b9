//! `failoverd preflight`: whether applications could be moved now, and what to mend first. Over HTTP, as any other client
//! would.
//!
//! Exit codes: 0 where every application that was asked about has a way out that was seen lately and of which nothing that
//! could block it is open; else 3.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{
    EXIT_DONE, EXIT_REFUSED, Options,
    api::{Api, Failure},
    enc,
    render::{cut, plain, seconds, time, wrapped},
    show,
};
use crate::{
    domain::preflight::State,
    http::{
        condition::ApplicationsView,
        preflight::{CheckView, DirectionView, PreflightView},
    },
};

/// How often a round that was asked for is looked after.
const POLL: Duration = Duration::from_millis(500);
/// For how long it is waited for: longer than a round may take.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Which applications, and how fresh.
#[derive(Debug, Args)]
pub struct PreflightArgs {
    /// The application; all that you may look at if absent
    pub application: Option<String>,
    /// Look now, and wait for what is found
    #[arg(long)]
    pub now: bool,
    /// Also what is met
    #[arg(long)]
    pub all: bool,
}

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct Found {
    preflights: Vec<PreflightView>,
}

/// Shows what was found, of one application or of all.
pub(super) async fn perform(options: &Options, api: &Api, args: &PreflightArgs) -> Result<u8, Failure> {
    let names = match &args.application {
        Some(name) => vec![name.clone()],
        None => {
            let all: ApplicationsView = api.get("/applications").await?;
            all.applications.into_iter().map(|app| app.name).collect()
        }
    };
    let mut found = Found { preflights: Vec::new() };
    for name in names {
        found.preflights.push(if args.now { looked(api, &name).await? } else { api.get(&path(&name)).await? });
    }
    show(options, &found, |found| found.preflights.iter().map(|view| text(view, args.all)).collect());
    let goes = found.preflights.iter().all(PreflightView::has_way_out);
    Ok(if goes { EXIT_DONE } else { EXIT_REFUSED })
}

fn path(name: &str) -> String {
    format!("/applications/{}/preflight", enc(name))
}

/// Asks for a round, and waits for its end.
async fn looked(api: &Api, name: &str) -> Result<PreflightView, Failure> {
    let mut view: PreflightView = api.post(&path(name), &json!({}), None).await?.json()?;
    let polls = WAIT_MAX.as_millis() / POLL.as_millis();
    for _ in 0..polls {
        if !view.under_way {
            break;
        }
        #[expect(clippy::disallowed_methods, reason = "a client on its own, with no engine and no clock port")]
        tokio::time::sleep(POLL).await;
        view = api.get(&path(name)).await?;
    }
    Ok(view)
}

/// One application, at 80 columns: what lowers it first.
fn text(view: &PreflightView, all: bool) -> String {
    let score = match (view.score, view.stale) {
        (Some(score), _) => format!("{score} of 100"),
        (None, true) => "no score: the last look is too old".to_owned(),
        (None, false) => "no score: nobody has looked".to_owned(),
    };
    let age = match (view.looked_at, view.age_seconds) {
        (Some(at), Some(age)) => format!(" (looked at {}, {} ago)", time(at), seconds(age)),
        _ => String::new(),
    };
    let mut out = format!("{}\n", cut(&format!("{}: preflight {score}{age}", view.application)));
    if let Some(why) = &view.waits {
        out.push_str(&wrapped("  waits: ", why));
    }
    if view.under_way {
        out.push_str("  a round is under way\n");
    }
    for direction in &view.directions {
        out.push_str(&way(direction, all));
    }
    out
}

fn way(d: &DirectionView, all: bool) -> String {
    let score = d.score.map_or_else(|| "no score".to_owned(), |score| score.to_string());
    let blocked = if d.blocked { ", BLOCKED" } else { "" };
    let mut out = format!("{}\n", cut(&format!("  {} -> {}: {score}{blocked}", d.source, d.target)));
    for check in d.checks.iter().filter(|check| all || check.state != State::Met) {
        out.push_str(&one(check));
    }
    let met = d.checks.iter().filter(|check| check.state == State::Met).count();
    out.push_str(&format!("    {met} of {} checks are met\n", d.checks.len()));
    out
}

fn one(check: &CheckView) -> String {
    let mark = match check.state {
        State::Met => "ok",
        State::NotMet => "NOT MET",
        State::Unknown => "unknown",
    };
    let taken = if check.points == 0 { String::new() } else { format!("-{}", check.points) };
    let head = format!("    {taken:>4} {mark:<9}");
    let mut out = wrapped(&head, &format!("{} ({})", plain(&check.line()), check.class.as_str()));
    if check.state != State::Met {
        out.push_str(&wrapped("                  expected: ", &check.expected));
        out.push_str(&wrapped("                  do: ", &check.remedy));
    }
    out
}
