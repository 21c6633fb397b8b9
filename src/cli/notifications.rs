//! `failoverd notifications` and `failoverd notify test`: what people were told, and trying a channel.

use std::fmt::Write as _;

use clap::Subcommand;
use serde_json::json;

use super::{
    EXIT_DONE, EXIT_FAILED, Options,
    api::{Api, Failure},
    enc, show,
};
use crate::http::notifications::{NotificationsView, StateName, TestView};

/// Verbs about what people are told.
#[derive(Debug, Subcommand)]
pub enum NotifyCommand {
    /// List what people were told, newest first, and what they were not told yet
    Notifications {
        #[arg(long)]
        application: Option<String>,
        #[arg(long)]
        channel: Option<String>,
        /// open, delivered, refused, given_up
        #[arg(long)]
        state: Option<String>,
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// Go on after this
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Try a way to people
    Notify {
        #[command(subcommand)]
        command: TryCommand,
    },
}

/// What is tried.
#[derive(Debug, Subcommand)]
pub enum TryCommand {
    /// Send a test message over a channel of an application
    Test {
        channel: String,
        #[arg(long = "app", value_name = "APP")]
        application: String,
    },
}

/// Does what the verb says.
pub(super) async fn perform(options: &Options, api: &Api, command: NotifyCommand) -> Result<u8, Failure> {
    match command {
        NotifyCommand::Notifications { application, channel, state, limit, cursor } => {
            let mut query = format!("limit={limit}");
            for (key, value) in
                [("application", application), ("channel", channel), ("state", state), ("cursor", cursor)]
            {
                if let Some(value) = value {
                    let _ = write!(query, "&{key}={}", enc(&value));
                }
            }
            let view: NotificationsView = api.get(&format!("/notifications?{query}")).await?;
            show(options, &view, text);
            Ok(EXIT_DONE)
        }
        NotifyCommand::Notify { command: TryCommand::Test { channel, application } } => {
            let body = json!({ "application": application, "channel": channel });
            let view: TestView = api.post("/notifications/test", &body, None).await?.json()?;
            let code = if view.delivered { EXIT_DONE } else { EXIT_FAILED };
            show(options, &view, |view| match &view.reason {
                None => format!("{}: delivered\n", view.channel),
                Some(reason) => format!("{}: not delivered: {reason}\n", view.channel),
            });
            Ok(code)
        }
    }
}

fn text(view: &NotificationsView) -> String {
    let mut out = String::new();
    for channel in &view.channels {
        let events = channel.events.join(", ");
        let waiting =
            if channel.waiting == 0 { String::new() } else { format!(", {} not delivered yet", channel.waiting) };
        let _ = writeln!(out, "{} {} ({}): {events}{waiting}", channel.application, channel.name, channel.kind);
    }
    if view.channels.is_empty() {
        out.push_str("nobody is told of anything: docs/notifications.md\n");
    }
    for one in &view.notifications {
        let _ = writeln!(out, "{:.0} {} [{}] {}", one.noticed_at, one.state.as_str(), one.severity, one.headline);
        let why = one.reason.as_ref().map_or(String::new(), |why| format!(": {why}"));
        let tries = if one.attempts < 2 && one.state != StateName::Open {
            String::new()
        } else {
            format!(", {} attempt(s)", one.attempts)
        };
        let _ = writeln!(out, "  {} over {} ({}){tries}{why}", one.kind, one.channel, one.id);
    }
    if let Some(cursor) = &view.next_cursor {
        let _ = writeln!(out, "more: --cursor '{cursor}'");
    }
    out
}
