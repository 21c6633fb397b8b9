//! `failoverd patch`: what infrastructure code must learn of a move.
//!
//! Invariant: as text at most 80 columns, except for what is to be copied (ARNs); `terraform` and `cloudformation` print
//! what goes into files, and nothing else.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{
    Options,
    api::{Api, Failure},
    enc, print, print_line,
    render::{plain, wrapped},
};
use crate::http::patch::{ChangeView, PatchView, SaidView, SideView};

/// As what it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// For people
    Text,
    /// Override files
    Terraform,
    /// JSON Patches (RFC 6902) of templates, with notes
    Cloudformation,
    /// All of it
    Json,
}

/// Of what.
#[derive(Debug, Args)]
pub struct PatchArgs {
    /// One run
    #[arg(required_unless_present = "application", conflicts_with = "application")]
    pub run: Option<String>,
    /// All runs of an application together: what one of them has put back is not in it
    #[arg(long, alias = "app", value_name = "APP")]
    pub application: Option<String>,
    /// With --application: from this run on
    #[arg(long, value_name = "RUN", requires = "application")]
    pub since: Option<String>,
    #[arg(long, value_enum, default_value = "text")]
    pub format: FormatArg,
}

/// Asks for the patch and prints it.
pub(super) async fn perform(options: &Options, api: &Api, args: &PatchArgs) -> Result<(), Failure> {
    let path = match (&args.run, &args.application) {
        (Some(run), _) => format!("/runs/{}/patch", enc(run)),
        (None, application) => {
            let since = args.since.as_deref().map_or_else(String::new, |run| format!("?since={}", enc(run)));
            format!("/applications/{}/patch{since}", enc(application.as_deref().unwrap_or_default()))
        }
    };
    let view: PatchView = api.get(&path).await?;
    match (args.format, options.json) {
        (FormatArg::Json, _) | (FormatArg::Text, true) => print_line(&pretty(&json!(view))),
        (FormatArg::Text, false) => print(&text(&view)),
        (FormatArg::Terraform, _) => print(&terraform(&view)),
        (FormatArg::Cloudformation, _) => print_line(&cloudformation(&view)),
    }
    Ok(())
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|e| unreachable!("JSON serialises: {e}"))
}

/// The override files, one after the other; the head of each says where it goes.
pub fn terraform(view: &PatchView) -> String {
    if view.terraform.is_empty() {
        return format!("# Nothing that failoverd has changed of {} stands.\n", plain(&view.application));
    }
    view.terraform.iter().map(|file| file.text.as_str()).collect()
}

/// The stacks, as JSON.
pub fn cloudformation(view: &PatchView) -> String {
    pretty(&json!({ "under_way": view.under_way, "note": view.note, "stacks": view.cloudformation }))
}

/// For people.
pub fn text(view: &PatchView) -> String {
    let of = match view.runs.as_slice() {
        [] => "no run".to_owned(),
        [one] => one.clone(),
        [first, .., last] => format!("{} runs, {first} to {last}", view.runs.len()),
    };
    let mut out = wrapped(&format!("{}: ", plain(&view.application)), &of);
    let nothing = "nothing stands that an apply of infrastructure code would undo";
    out.push_str(&wrapped("  ", view.note.as_deref().unwrap_or(nothing)));
    for (n, change) in (1..).zip(&view.changes) {
        out.push('\n');
        out.push_str(&one(n, change));
    }
    if !view.changes.is_empty() {
        let of = match view.runs.as_slice() {
            [one] => plain(one),
            _ => format!("--application {}", plain(&view.application)),
        };
        out.push_str(&format!("\n  failoverd patch {of} \\\n    --format terraform    # or cloudformation, json\n"));
    }
    out
}

fn one(n: usize, change: &ChangeView) -> String {
    let mut out = wrapped(&format!("{n:>3}  "), &change.resource);
    let indent = "     ";
    out.push_str(&wrapped(&format!("{indent}was   "), &said(&change.before)));
    out.push_str(&wrapped(&format!("{indent}is    "), &said(&change.after)));
    let by = format!("{} of step {} ({})", change.operation, change.step, change.certainty);
    out.push_str(&wrapped(&format!("{indent}by    "), &by));
    out.push_str(&wrapped(&format!("{indent}tf    "), &side(&change.terraform)));
    out.push_str(&wrapped(&format!("{indent}cfn   "), &side(&change.cloudformation)));
    out
}

fn said(said: &SaidView) -> String {
    let basis = said.basis.as_deref().map_or_else(String::new, |basis| format!(" ({basis})"));
    match (said.is.as_str(), &said.value) {
        ("known", Value::Null) => format!("none{basis}"),
        ("known", Value::String(text)) => format!("{text}{basis}"),
        ("known", value) => format!("{value}{basis}"),
        ("hidden", _) => "a secret, not told".to_owned(),
        _ => format!("unknown{basis}"),
    }
}

fn side(side: &SideView) -> String {
    let what = match side.remedy.as_str() {
        "write" if side.write.is_null() => "remove it".to_owned(),
        "write" => format!("write {}", side.write),
        "ignore" => format!("ignore_changes = [{}]", side.ignore.join(", ")),
        "leave" => "leave the code as it is".to_owned(),
        "nothing" => return side.otherwise.clone(),
        _ => return format!("{}: {}", side.attribute, side.otherwise),
    };
    let kind = side.kind.as_deref().unwrap_or("unknown");
    let place = side.address.as_deref().map_or_else(String::new, |address| format!(" at {address}"));
    format!("{kind} {}{place}: {what}; {}", side.attribute, side.otherwise)
}
