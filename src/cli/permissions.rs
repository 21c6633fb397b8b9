//! `failoverd permissions --config F`: the IAM policies that the configured applications and their runbooks take, one for
//! each power. Exact, since they are made from the compiled plans. It asks AWS nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::Write as _,
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{EXIT_DONE, EXIT_USAGE, print};
use crate::{
    config::{Settings, Store, cross},
    domain::{
        compile::{compile, directions},
        id::{ApplicationName, RunbookName},
        permissions::{Permission, Power, asked_by_preflight, changes::Caller, partition_of, permissions, policy},
    },
};

/// The longest managed policy that IAM takes, white space not counted [IAM quotas].
const POLICY_CHARS_MAX: usize = 6_144;

/// Which policies.
#[derive(Debug, Args)]
pub struct PermissionsArgs {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Only this power, as one bare policy document
    #[arg(long, value_enum)]
    pub power: Option<PowerArg>,
    /// Only what this application takes
    #[arg(long, value_name = "NAME")]
    pub application: Option<ApplicationName>,
    /// What this runbook takes too, which no application names: as `failover --runbook` may; may be given several times
    #[arg(long, value_name = "NAME")]
    pub runbook: Vec<RunbookName>,
    /// The daemon's own role or user, so that preflight may ask about it alone
    #[arg(long, value_name = "ARN", value_parser = principal)]
    pub principal: Option<String>,
    /// A CloudFormation template with a managed policy for each power
    #[arg(long, conflicts_with = "power")]
    pub cloudformation: bool,
}

/// The ARN of a role or a user, path included: what a policy can be about.
fn principal(arn: &str) -> Result<String, String> {
    match Caller::of(arn) {
        Caller::Principal(arn) => Ok(arn),
        Caller::Session { .. } | Caller::Other(_) => {
            Err("neither a role's ARN nor a user's, such as arn:aws:iam::123456789012:role/failoverd".to_owned())
        }
    }
}

/// A power, as it is asked for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum PowerArg {
    Observer,
    Switch,
    DataLoss,
}

impl From<PowerArg> for Power {
    fn from(arg: PowerArg) -> Self {
        match arg {
            PowerArg::Observer => Self::Observer,
            PowerArg::Switch => Self::Switch,
            PowerArg::DataLoss => Self::DataLoss,
        }
    }
}

/// Prints them.
///
/// # Errors
/// None; a configuration that is refused is explained on standard error.
pub fn run(args: &PermissionsArgs, json: bool, env: &BTreeMap<String, String>) -> anyhow::Result<ExitCode> {
    let usage = |text: &str| {
        // Nothing can be done about a standard error that is gone.
        let _ = writeln!(std::io::stderr(), "{text}");
        Ok(ExitCode::from(EXIT_USAGE))
    };
    let settings = match Settings::load(&args.config, env) {
        Ok(settings) => settings,
        Err(faults) => return usage(&faults.to_string()),
    };
    let known: Vec<&str> = settings.applications.iter().map(|a| a.name.as_str()).collect();
    if let Some(name) = args.application.as_ref().filter(|name| !known.contains(&name.as_str())) {
        return usage(&format!("there is no application `{name}`; applications: {}", known.join(", ")));
    }
    let known: Vec<&str> = settings.runbooks.keys().map(RunbookName::as_str).collect();
    if let Some(name) = args.runbook.iter().find(|name| !known.contains(&name.as_str())) {
        return usage(&format!("there is no runbook `{name}`; runbooks: {}", known.join(", ")));
    }
    let mut all = collect(&settings, args.application.as_ref(), &args.runbook);
    // The template of the replica binds them to the role that it makes, which is not known here.
    if args.principal.is_some() || !args.cloudformation {
        all.extend(asking(&settings, args.application.as_ref(), args.principal.as_deref()));
    }
    print(&match args.power {
        Some(power) => pretty(&policy(own(&all, power.into()))),
        None if args.cloudformation => pretty(&template(&all)),
        None if json => pretty(&document(&all)),
        None => text(&all),
    });
    for (power, size) in sizes(&all).into_iter().filter(|(_, size)| POLICY_CHARS_MAX < *size) {
        let problem = format!("the policy {} has {size} characters; IAM takes {POLICY_CHARS_MAX}", power.as_str());
        let _ = writeln!(std::io::stderr(), "{problem}: print one for each application (--application)");
    }
    Ok(ExitCode::from(EXIT_DONE))
}

/// Of every application asked for, with the runbooks that it names, the salvage that every failover may need, and the
/// `further` ones; and of the store.
fn collect(settings: &Settings, only: Option<&ApplicationName>, further: &[RunbookName]) -> BTreeSet<Permission> {
    let mut all = BTreeSet::new();
    for app in settings.applications.iter().filter(|app| only.is_none_or(|name| *name == app.name)) {
        let named = cross::plans(app, &settings.runbooks, &settings.digest).into_iter();
        let mut plans: Vec<_> = named.filter_map(|(_, _, plan)| plan.ok()).collect();
        let salvage = app.salvage_runbook();
        for (runbook, digest) in further.iter().chain([&salvage]).filter_map(|name| settings.runbooks.get(name)) {
            for purpose in &runbook.purposes {
                for (source, target) in directions(app, *purpose) {
                    let plan = compile(app, runbook, *purpose, source, target, None, &settings.digest, digest);
                    // One that does not fit the application is none of its.
                    plans.extend(plan.ok());
                }
            }
        }
        all.extend(permissions(app, &plans, &settings.notify.channels));
    }
    if let Store::DynamoDb { table, region, replica_regions, .. } = &settings.store {
        let regions: BTreeSet<_> = replica_regions.iter().chain([region]).collect();
        for region in regions {
            let partition = partition_of(Some(region));
            let arn = format!("arn:{partition}:dynamodb:{region}:*:table/{table}");
            let actions =
                ["GetItem", "PutItem", "Query", "DescribeTable", "DescribeTimeToLive", "DescribeContinuousBackups"];
            all.extend(actions.map(|a| Permission::new(Power::Observer, &format!("dynamodb:{a}"), &arn)));
        }
    }
    all
}

/// What preflight takes to ask whether all of it is permitted.
fn asking(settings: &Settings, only: Option<&ApplicationName>, principal: Option<&str>) -> BTreeSet<Permission> {
    let asked = settings.applications.iter().filter(|app| only.is_none_or(|name| *name == app.name));
    asked.flat_map(|app| asked_by_preflight(app, principal)).collect()
}

/// What failoverd's own role needs of a power; what an assumed role needs is another policy.
fn own(all: &BTreeSet<Permission>, power: Power) -> impl Iterator<Item = &Permission> {
    all.iter().filter(move |p| p.power == power && p.role.is_none())
}

/// What each role that is assumed must be permitted, in whatever power.
fn assumed(all: &BTreeSet<Permission>) -> BTreeMap<&str, Value> {
    let roles: BTreeSet<&str> = all.iter().filter_map(|p| p.role.as_deref()).collect();
    roles.into_iter().map(|role| (role, policy(all.iter().filter(|p| p.role.as_deref() == Some(role))))).collect()
}

fn document(all: &BTreeSet<Permission>) -> Value {
    let powers: BTreeMap<&str, Value> = Power::ALL.into_iter().map(|p| (p.as_str(), policy(own(all, p)))).collect();
    json!({ "policies": powers, "assumed_roles": assumed(all) })
}

fn template(all: &BTreeSet<Permission>) -> Value {
    let mut resources = serde_json::Map::new();
    let mut outputs = serde_json::Map::new();
    for power in Power::ALL.into_iter().filter(|power| own(all, *power).next().is_some()) {
        let (id, what) = match power {
            Power::Observer => ("ObserverPolicy", "failoverd looks, tells people and keeps its journal"),
            Power::Switch => ("SwitchPolicy", "failoverd moves what can be moved back"),
            Power::DataLoss => ("DataLossPolicy", "failoverd promotes by force, and may lose writes"),
        };
        let properties = json!({ "Description": what, "PolicyDocument": policy(own(all, power)) });
        resources.insert(id.to_owned(), json!({ "Type": "AWS::IAM::ManagedPolicy", "Properties": properties }));
        outputs.insert(id.to_owned(), json!({ "Description": what, "Value": { "Ref": id } }));
    }
    json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "What failoverd may do. Made by `failoverd permissions --cloudformation`.",
        "Resources": resources,
        "Outputs": outputs,
    })
}

fn sizes(all: &BTreeSet<Permission>) -> Vec<(Power, usize)> {
    Power::ALL.into_iter().map(|power| (power, policy(own(all, power)).to_string().len())).collect()
}

fn text(all: &BTreeSet<Permission>) -> String {
    let mut out = String::new();
    for power in Power::ALL {
        let what = match power {
            Power::Observer => "looks, tells people, keeps the journal",
            Power::Switch => "moves what can be moved back",
            Power::DataLoss => "promotes by force, and may lose writes",
        };
        let _ = writeln!(out, "{}: {what}", power.as_str());
        draw(&mut out, &policy(own(all, power)));
    }
    for (role, policy) in assumed(all) {
        let _ = writeln!(out, "{role}, which is assumed:");
        draw(&mut out, &policy);
    }
    out.push_str("As policies: --power NAME, --json, or --cloudformation.\n");
    out
}

fn draw(out: &mut String, policy: &Value) {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let statements = policy["Statement"].as_array().map(Vec::as_slice).unwrap_or_default();
    if statements.is_empty() {
        out.push_str("  nothing\n");
    }
    for statement in statements {
        for action in texts(&statement["Action"]) {
            let _ = writeln!(out, "  {action}");
        }
        let regions = texts(&statement["Condition"]["StringEquals"]["aws:RequestedRegion"]);
        let regions = if regions.is_empty() { String::new() } else { format!(" in {}", regions.join(", ")) };
        for resource in texts(&statement["Resource"]) {
            let _ = writeln!(out, "    on {resource}{regions}");
        }
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::permissions::changes::changes;

    fn settings(name: &str) -> Settings {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples").join(name);
        Settings::load(&path, &BTreeMap::new()).expect("an example that is sound")
    }

    #[test]
    fn the_policies_of_an_example_are_as_they_were_read() {
        let settings = settings("payments-regulated.toml");
        let mut all = collect(&settings, None, &[]);
        all.extend(asking(&settings, None, None));
        insta::assert_snapshot!(text(&all));
    }

    #[test]
    fn who_is_named_is_the_only_one_that_preflight_may_ask_about() {
        let settings = settings("payments-regulated.toml");
        let of = |principal| -> Vec<(String, String)> {
            asking(&settings, None, principal).into_iter().map(|p| (p.action, p.resource)).collect()
        };
        let role = "arn:aws:iam::123456789012:role/ops/failoverd";
        let both = |on: &str| ["iam:GetRole", "iam:SimulatePrincipalPolicy"].map(|a| (a.to_owned(), on.to_owned()));
        assert_eq!(of(Some(role)), both(role));
        let user = "arn:aws:iam::123456789012:user/failoverd";
        assert_eq!(of(Some(user)), both(user)[1..]);
        let any = of(None);
        assert!(any.iter().all(|(_, on)| on.starts_with("arn:aws:iam::") && on.ends_with(":role/*")), "{any:?}");
        for arn in ["arn:aws:sts::123456789012:assumed-role/x/y", "failoverd", "arn:aws:iam::123456789012:root"] {
            assert!(principal(arn).is_err(), "{arn}");
        }
        assert_eq!(principal(role), Ok(role.to_owned()));
    }

    /// What preflight asks about is what is printed, to the letter: who grants what is printed is told of no lack.
    #[test]
    fn every_change_that_preflight_asks_about_is_printed() {
        for name in ["payments-regulated.toml", "payments-audited.toml", "migration-hub.toml", "storefront.toml"] {
            let settings = settings(name);
            let all = collect(&settings, None, &[]);
            let printed: BTreeSet<(&str, &str)> = [Power::Switch, Power::DataLoss]
                .into_iter()
                .flat_map(|power| own(&all, power))
                .map(|p| (p.action.as_str(), p.resource.as_str()))
                .collect();
            let app = &settings.applications[0];
            for (_, _, plan) in cross::plans(app, &settings.runbooks, &settings.digest) {
                let plan = plan.expect("an example compiles");
                let asked = changes(app, &plan);
                for (change, taken) in &asked {
                    let pair = (change.action.as_str(), change.resource.as_str());
                    assert!(printed.contains(&pair), "{name}: {change:?}");
                    assert!(!taken.by.is_empty() && taken.power.is_some(), "{name}: {taken:?}");
                }
                // And nothing that the plan's steps change is left out.
                let only = permissions(app, std::slice::from_ref(&plan), &settings.notify.channels);
                let only = only.iter().filter(|p| p.power != Power::Observer && p.role.is_none());
                let asked: BTreeSet<_> = asked.keys().map(|c| (c.action.as_str(), c.resource.as_str())).collect();
                let missing: Vec<_> = only.filter(|p| !asked.contains(&(&p.action, &p.resource))).collect();
                assert!(missing.is_empty(), "{name}: {missing:?}");
            }
        }
    }

    #[test]
    fn a_runbook_that_no_application_names_is_permitted_where_it_is_asked_for() {
        let settings = settings("payments-regulated.toml");
        let detach: RunbookName = "detach-and-promote".parse().expect("a name");
        let holds = |further: &[RunbookName]| {
            let all = collect(&settings, None, further);
            own(&all, Power::DataLoss).any(|p| p.action == "rds:RemoveFromGlobalCluster")
        };
        assert!(!holds(&[]) && holds(&[detach]));
        let all = collect(&settings, None, &[]);
        assert!(own(&all, Power::Observer).any(|p| p.action == "s3:ListBucket"), "for what a salvage looks at");
    }

    #[test]
    fn only_the_power_to_lose_data_holds_a_forced_promotion() {
        for name in ["payments-regulated.toml", "payments-fast.toml", "migration-hub.toml"] {
            let all = collect(&settings(name), None, &[]);
            let holds = |power, action: &str| own(&all, power).any(|p| p.action == action);
            assert!(holds(Power::DataLoss, "rds:FailoverGlobalCluster"), "{name}");
            assert!(!holds(Power::Switch, "rds:FailoverGlobalCluster"), "{name}");
            let changes = |p: &&Permission| !["Describe", "Get", "List"].iter().any(|v| p.action.contains(v));
            let changing: Vec<_> = own(&all, Power::Observer).filter(changes).map(|p| &p.action).collect();
            let harmless = ["sns:Publish", "sts:AssumeRole"];
            assert!(
                changing.iter().all(|a| harmless.contains(&a.as_str())),
                "an observer changes nothing: {changing:?}"
            );
        }
    }

    #[test]
    fn a_change_is_tied_to_its_resource_or_to_its_region() {
        for name in ["payments-regulated.toml", "payments-audited.toml", "migration-hub.toml", "storefront.toml"] {
            for p in collect(&settings(name), None, &[]).iter().filter(|p| p.power != Power::Observer) {
                assert!(p.resource != "*" || p.region.is_some(), "{name}: {p:?}");
            }
        }
    }

    #[test]
    fn the_template_names_each_power_once() {
        let template = template(&collect(&settings("payments-regulated.toml"), None, &[]));
        let names: Vec<&String> = template["Resources"].as_object().expect("resources").keys().collect();
        assert_eq!(names, ["ObserverPolicy", "SwitchPolicy", "DataLossPolicy"]);
    }
}
