//! The verbs about overrides: arming, consent, the kill switch, acknowledgements, waivers.
//!
//! They speak HTTP as every client verb does. What is for "all applications" is done one by one, and each is printed:
//! a daemon has no override of its own.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::{
    EXIT_DONE, Options,
    api::{Api, Failure},
    enc, print_line,
    render::{self, plain, wrapped},
    show,
};
use crate::http::{
    condition::ApplicationsView,
    overrides::{KindName, OverrideView, OverridesView},
};

/// The longest that anything but a waiver stands (`domain::overrides`): a kill switch stands so long where nobody says,
/// since its end is what lets the automation act again.
const STANDING: &str = "90d";

/// See the module.
#[derive(Debug, Subcommand)]
pub enum OverrideCommand {
    /// Let a failover start by itself, once, in one direction; a second person must consent
    Arm {
        application: String,
        /// Where the writers are
        #[arg(long, value_name = "REGION")]
        from: String,
        /// Where to
        #[arg(long, value_name = "REGION")]
        to: String,
        /// The most that may be lost, such as 30s
        #[arg(long, value_name = "TIME", value_parser = duration)]
        largest_loss: Duration,
        /// When it is over, such as 24h; at most 90d
        #[arg(long, value_name = "TIME", value_parser = duration)]
        expires: Duration,
        #[command(flatten)]
        why: Why,
    },
    /// Take back whatever is armed for an application
    Disarm {
        application: String,
        #[command(flatten)]
        why: Why,
    },
    /// Consent to an arming that somebody else has asked for
    Consent {
        /// The override
        id: String,
        /// Say no
        #[arg(long)]
        decline: bool,
        #[command(flatten)]
        why: Why,
    },
    /// With the switch on, nothing starts alone; off lets what is armed act again
    KillSwitch(KillSwitchArgs),
    /// Say that you have looked at what a run did
    Acknowledge {
        run: String,
        /// Its lost writes were dealt with: the Region that it left may be moved to again
        #[arg(long)]
        reconciled: bool,
        #[command(flatten)]
        why: Why,
    },
    /// Set aside a rule that binds the automation: dwell, cool_down, acknowledged, blackout
    Waive {
        rule: String,
        /// The application
        #[arg(long)]
        app: String,
        /// When it is over; at most 30m
        #[arg(long, value_name = "TIME", value_parser = duration)]
        expires: Duration,
        #[command(flatten)]
        why: Why,
    },
    /// List overrides
    Overrides {
        /// Only those of this application
        application: Option<String>,
    },
}

/// What every verb that changes something takes.
#[derive(Debug, Args)]
pub struct Why {
    /// Why, for those who read it later
    #[arg(long)]
    reason: String,
    /// The same key and request give the same override
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

/// `kill-switch payments on`: the switch is on, so nothing starts alone.
#[derive(Debug, Args)]
pub struct KillSwitchArgs {
    /// APP on|off, or on|off with --all
    #[arg(num_args = 1..=2, required = true, value_name = "APP|on|off")]
    words: Vec<String>,
    /// Every application of the daemon, one by one
    #[arg(long)]
    all: bool,
    /// When a switch that is on is over
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = STANDING)]
    expires: Duration,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// `30s`, `24h`, `90d`.
fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("`{text}` is not a time such as 30s, 20m, 24h or 7d");
    if let Some(days) = text.strip_suffix('d').and_then(|n| n.trim().parse::<u32>().ok()) {
        return Ok(Duration::from_hours(24 * u64::from(days)));
    }
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| invalid())?;
    Duration::try_from(parsed).map_err(|_| invalid())
}

/// Does what the verb says.
pub(super) async fn perform(options: &Options, api: &Api, command: OverrideCommand) -> Result<u8, Failure> {
    match command {
        OverrideCommand::Arm { application, from, to, largest_loss, expires, why } => {
            let body = json!({
                "application": application, "kind": "arm", "from": from, "to": to,
                "largest_loss_seconds": whole(largest_loss, "--largest-loss")?,
                "reason": why.reason, "expires_in_seconds": expires.as_secs(),
            });
            ask(options, api, &body, &why).await?;
        }
        OverrideCommand::Disarm { application, why } => {
            let armed = standing(api, &application, KindName::Arm).await?;
            end_all(options, api, armed, &why, &format!("nothing is armed for {application}")).await?;
        }
        OverrideCommand::Consent { id, decline, why } => {
            let decision = if decline { "decline" } else { "approve" };
            let body = json!({ "decision": decision, "reason": why.reason });
            let path = format!("/overrides/{}/consent", enc(&id));
            let view: OverrideView = api.post(&path, &body, None).await?.json()?;
            show(options, &view, one);
        }
        OverrideCommand::KillSwitch(args) => return kill_switch(options, api, args).await,
        OverrideCommand::Acknowledge { run, reconciled, why } => {
            // A run's id is its application's name, a dash and 32 digits.
            let application = run.len().checked_sub(33).and_then(|end| run.get(..end)).unwrap_or_default();
            let body = json!({
                "application": application, "kind": "acknowledge", "run": run, "reconciled": reconciled,
                "reason": why.reason,
            });
            ask(options, api, &body, &why).await?;
        }
        OverrideCommand::Waive { rule, app, expires, why } => {
            let body = json!({
                "application": app, "kind": "waive", "rule": rule, "reason": why.reason,
                "expires_in_seconds": expires.as_secs(),
            });
            ask(options, api, &body, &why).await?;
        }
        OverrideCommand::Overrides { application } => {
            let query = application.map_or(String::new(), |name| format!("?application={}", enc(&name)));
            let view: OverridesView = api.get(&format!("/overrides{query}")).await?;
            show(options, &view, |v| list(&v.overrides));
        }
    }
    Ok(EXIT_DONE)
}

/// Each application in turn; one that fails does not keep the others on. The exit code is that of the first failure.
async fn kill_switch(options: &Options, api: &Api, args: KillSwitchArgs) -> Result<u8, Failure> {
    let usage = || Failure::Usage("expected `kill-switch APP on|off` or `kill-switch --all on|off`".to_owned());
    let (application, switch) = match (args.words.as_slice(), args.all) {
        ([switch], true) => (None, switch),
        ([application, switch], false) => (Some(application.clone()), switch),
        _ => return Err(usage()),
    };
    let switch = Switch::from_str(switch, true).map_err(|_| usage())?;
    let applications = match application {
        Some(application) => vec![application],
        None => {
            let all: ApplicationsView = api.get("/applications").await?;
            all.applications.into_iter().map(|a| a.name).collect()
        }
    };
    let mut first = None;
    for application in applications {
        if let Err(failure) = switch_one(options, api, &application, switch, &args).await {
            if !args.all {
                return Err(failure);
            }
            first = first.or(Some(failure.exit_code()));
            if options.json {
                print_line(&json!({ "application": application, "problem": failure.to_json() }).to_string());
            } else {
                super::print(&format!("{application}: not switched\n{}", render::failure(&failure)));
            }
        }
    }
    Ok(first.unwrap_or(EXIT_DONE))
}

async fn switch_one(
    options: &Options,
    api: &Api,
    application: &str,
    switch: Switch,
    args: &KillSwitchArgs,
) -> Result<(), Failure> {
    match switch {
        Switch::On => {
            let body = json!({
                "application": application, "kind": "kill_switch", "reason": args.why.reason,
                "expires_in_seconds": args.expires.as_secs(),
            });
            ask(options, api, &body, &args.why).await
        }
        Switch::Off => {
            let on = standing(api, application, KindName::KillSwitch).await?;
            end_all(options, api, on, &args.why, &format!("the kill switch of {application} is off")).await
        }
    }
}

fn whole(loss: Duration, option: &str) -> Result<u64, Failure> {
    if loss.subsec_nanos() == 0 {
        return Ok(loss.as_secs());
    }
    Err(Failure::Usage(format!("{option}: expected whole seconds")))
}

async fn ask(options: &Options, api: &Api, body: &serde_json::Value, why: &Why) -> Result<(), Failure> {
    let view: OverrideView = api.post("/overrides", body, why.idempotency_key.as_deref()).await?.json()?;
    show(options, &view, one);
    Ok(())
}

/// The overrides of one kind that are not over.
async fn standing(api: &Api, application: &str, kind: KindName) -> Result<Vec<OverrideView>, Failure> {
    let view: OverridesView = api.get(&format!("/overrides?application={}", enc(application))).await?;
    let is_open =
        |o: &OverrideView| o.kind == kind && matches!(word(&o.standing).as_str(), "awaits_consent" | "in_force");
    Ok(view.overrides.into_iter().filter(is_open).collect())
}

async fn end_all(options: &Options, api: &Api, all: Vec<OverrideView>, why: &Why, none: &str) -> Result<(), Failure> {
    let mut ended = Vec::new();
    for open in &all {
        let path = format!("/overrides/{}/end", enc(&open.id));
        ended.push(api.post(&path, &json!({ "reason": why.reason }), None).await?.json::<OverrideView>()?);
    }
    if ended.is_empty() && !options.json {
        print_line(&plain(none));
        return Ok(());
    }
    show(options, &OverridesView { overrides: ended }, |v| list(&v.overrides));
    Ok(())
}

fn word<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn list(all: &[OverrideView]) -> String {
    if all.is_empty() {
        return "no overrides\n".to_owned();
    }
    all.iter().map(one).collect()
}

/// One override at 80 columns.
fn one(o: &OverrideView) -> String {
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let what = match o.kind {
        KindName::Arm => format!(
            "armed {} → {}, at most {} lost",
            known(&o.from),
            known(&o.to),
            o.largest_loss_seconds.map_or("unknown".to_owned(), render::seconds)
        ),
        KindName::KillSwitch => "kill switch: nothing starts alone".to_owned(),
        KindName::Acknowledge if o.reconciled == Some(true) => "acknowledged and reconciled".to_owned(),
        KindName::Acknowledge => "acknowledged".to_owned(),
        KindName::Waive => format!("rule {} waived", o.rule.map_or("unknown", |r| r.as_str())),
    };
    let mut out = format!("{}\n", plain(&o.id));
    out.push_str(&wrapped("  ", &format!("{}: {what}", word(&o.standing).replace('_', " "))));
    if let Some(run) = &o.run {
        out.push_str(&format!("  run       {}\n", plain(run)));
    }
    out.push_str(&wrapped("  asked by  ", &format!("{} at {:.0}: {}", o.requested_by, o.asked_at, o.reason)));
    if let (Some(by), Some(at)) = (&o.consented_by, o.consented_at) {
        out.push_str(&wrapped("  consent   ", &format!("{by} at {at:.0}")));
    }
    match (&o.ended_because, o.ended_at) {
        (Some(why), Some(at)) => {
            let ended = o.ended.as_ref().map(word).unwrap_or_default().replace('_', " ");
            out.push_str(&wrapped("  ended     ", &format!("{ended} at {at:.0}: {why}")));
        }
        _ => out.push_str(&wrapped("  until     ", &format!("{:.0}", o.expires_at))),
    }
    if let (Some(says), Some(at)) = (&o.preflight, o.preflight_at) {
        out.push_str(&wrapped("  preflight ", &format!("at {at:.0}: {says}")));
    }
    if o.kind == KindName::Acknowledge && o.reconciled != Some(true) {
        let hint = "the rule `acknowledged` holds again; the rule `not_demoted` does not: nothing moves alone to the \
                    Region that the run left before its lost writes are dealt with and somebody says so (--reconciled)";
        out.push_str(&wrapped("  clears    ", hint));
    }
    if word(&o.standing) == "awaits_consent" {
        out.push_str(&format!("  a second person:\n    failoverd consent {} \\\n      --reason …\n", plain(&o.id)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_write_them() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("24h"), Ok(Duration::from_hours(24)));
        assert_eq!(duration(STANDING), Ok(Duration::from_hours(90 * 24)));
        assert!(duration("-3s").is_err() && duration("3").is_err() && duration("soon").is_err());
    }
}
