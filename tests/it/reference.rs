//! The pages about runbooks: every example is read as it stands, and docs/actions.md is what the catalogue declares.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use failoverd::{
    config::Settings,
    domain::{
        action::EffectClass,
        application::{Application, Mechanism},
        catalogue::{ENTRIES, Entry, Place, Repeat, Undo},
        compile::compile,
        document::{Bounds, friendly},
        forecast::{Estimate, declared},
        id::Digest,
        plan::Purpose,
        runbook::{Library, Runbook, arguments, default_timeout},
        standby_object::ObjectAt,
    },
};

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The YAML examples of a page, with the line on which each begins.
fn examples(page: &str) -> Vec<(usize, String)> {
    let (mut all, mut open): (Vec<(usize, String)>, bool) = (Vec::new(), false);
    for (n, line) in page.lines().enumerate() {
        match (open, line) {
            (false, "```yaml") => {
                all.push((n + 2, String::new()));
                open = true;
            }
            (true, "```") => open = false,
            (true, line) => {
                let (_, text) = all.last_mut().expect("one is open");
                text.push_str(line);
                text.push('\n');
            }
            (false, _) => {}
        }
    }
    all
}

#[test]
fn every_example_of_the_page_about_runbooks_is_valid_as_it_stands() {
    let page = fs::read_to_string(repository("docs/runbooks.md")).expect("the page");
    let mut library = Library::default();
    let texts: Vec<(usize, String)> = examples(&page)
        .into_iter()
        .map(|(line, text)| {
            let is_whole = text.contains("\nsteps:");
            let indented = || text.lines().map(|l| format!("  {l}\n")).collect::<String>();
            let whole = if is_whole {
                text.clone()
            } else {
                format!("runbook: part\npurpose: failover\ndescription: Some steps.\nsteps:\n{}", indented())
            };
            (line, whole)
        })
        .collect();
    for (file, text) in failoverd::config::runbooks::SHIPPED {
        library.add(file, text);
    }
    for (_, text) in &texts {
        library.add("docs/runbooks.md", text);
    }
    assert!(7 <= texts.len(), "{}", texts.len());
    for (line, text) in &texts {
        if let Err(faults) = Runbook::parse_with("docs/runbooks.md", text, &library) {
            panic!("the example at docs/runbooks.md:{line}: {faults:#?}");
        }
    }
    let all: String = texts.into_iter().map(|(_, text)| text).collect();
    for construct in [
        "parameters:",
        "{ parameter:",
        "action: call",
        "towards: source",
        "when:",
        "retry:",
        "on_failure:",
        "timeout:",
        "needs:",
        "outputs.",
        "action: approve",
        "action: wait",
        "action: notify",
        "action: assert",
    ] {
        assert!(all.contains(construct), "`{construct}` has no example");
    }
}

fn application() -> Application {
    let path = repository("config/examples/payments-fast.toml");
    let settings = Settings::load(&path, &BTreeMap::new()).unwrap_or_else(|f| panic!("{f}"));
    settings.applications.into_iter().next().expect("one")
}

/// How long the catalogue's own example takes, as a forecast without any run declares it; `None` where the example is not
/// about the reference application.
fn typical(entry: &Entry, app: &Application) -> Option<Estimate> {
    let mut app = app.clone();
    let mechanism = match entry.name {
        "dns.records" => Some(Mechanism::Records { set_identifiers: BTreeMap::new() }),
        "dns.standby_object" => {
            let (bucket, key) = ("standby".to_owned(), "k".to_owned());
            let object = ObjectAt { region: app.regions[1].clone(), bucket, key };
            Some(Mechanism::StandbyObject { object, url: None })
        }
        "dns.health_signal" => Some(Mechanism::HealthSignal {
            region: app.regions[1].clone(),
            namespace: "N".to_owned(),
            metric: "M".to_owned(),
            dimensions: BTreeMap::new(),
            active_value: 1.0,
            diverted_value: 0.0,
        }),
        _ => None,
    };
    for traffic in app.traffic.values_mut() {
        if let Some(mechanism) = &mechanism {
            traffic.mechanism = mechanism.clone();
        }
    }
    let with = if entry.example.is_empty() { "{}" } else { entry.example };
    let proof = "  - { id: proof, action: aurora.verify_writer }\n";
    let text = format!(
        "runbook: one\npurpose: failover\ndescription: d\nsteps:\n{proof}  - {{ id: it, action: {}, needs: [proof], with: {with} }}\n",
        entry.name
    );
    let (runbook, _) = Runbook::parse("one.yaml", &text).ok()?;
    let none = Digest::zero();
    let (from, to) = (&app.regions[0], &app.regions[1]);
    let plan = compile(&app, &runbook, Purpose::Failover, from, to, None, &none, &none).ok()?;
    plan.steps.iter().find(|s| s.id.as_str().starts_with("it")).map(declared)
}

fn page() -> String {
    let app = application();
    let mut out = String::from(
        "# Actions\n\nEvery action that a runbook may name, as the program declares it. This page is made from that (`src/domain/catalogue.rs`) and from what the reader asks for; `UPDATE_GOLDEN=1 cargo nextest run --test it -E 'test(reference)'` writes it. How a runbook is written: [runbooks.md](runbooks.md).\n\nThe typical duration is what a forecast takes for granted before this application's own runs say better; an action's time also depends on its arguments.\n",
    );
    for entry in ENTRIES {
        one(entry, &app, &mut out);
    }
    out
}

fn one(entry: &Entry, app: &Application, out: &mut String) {
    let _ = writeln!(out, "\n## {}\n\n{}\n\n| | |\n|---|---|", entry.name, entry.what);
    let mut row = |what: &str, says: &str| {
        let _ = writeln!(out, "| {what} | {says} |");
    };
    row(
        "effect",
        match entry.effect {
            EffectClass::Read => "none on what is protected",
            EffectClass::Reversible => "reversible",
            EffectClass::Compensable => "compensable: taken back by another call, not restored",
            EffectClass::Irreversible => "**irreversible**: the point of no return",
        },
    );
    let needs: Vec<String> = entry
        .needs
        .iter()
        .map(|n| format!("the {} plane of {} in {}", n.plane.as_str(), n.service, place(n.place)))
        .collect();
    row("needs", &if needs.is_empty() { "nothing that every use of it needs".to_owned() } else { needs.join("; ") });
    row(
        "sent again",
        match entry.repeat {
            Repeat::Looks => "it only looks or waits: as often as needed",
            Repeat::Idempotent => "idempotent: twice is as good as once",
            Repeat::AtMostOnce => "at most once per intent; a lost answer is settled by looking",
        },
    );
    row("known to be done by", entry.probe.unwrap_or("nothing: a runbook that uses it says `on_unknown: hold`"));
    row(
        "taken back by",
        &match entry.undo {
            Undo::Nothing => "there is nothing to take back".to_owned(),
            Undo::Inverse(how) => how.to_owned(),
            Undo::Stays(why) => format!("nothing: it is left as it is; {why}"),
            Undo::AnotherRun(run) => format!("no step; {run}, which is a run of its own"),
        },
    );
    let took = typical(entry, app).map(|e| format!("{}, 1 in 20 over {}", friendly(e.p50), friendly(e.p95)));
    row("typically takes", &took.unwrap_or_else(|| "what its arguments say".to_owned()));
    let says = default_timeout(entry).map(|d| match entry.name {
        // Longer than what is waited for, looked at or kept.
        "wait" | "approve" | "probe.http" | "dns.weights" => format!("{}, with the arguments below", friendly(d)),
        _ => friendly(d),
    });
    row("timeout, where none is said", &says.unwrap_or_else(|| "each of its steps has its own".to_owned()));
    let outputs: Vec<String> =
        entry.outputs.iter().map(|o| format!("`{}` ({}): {}", o.name, o.kind.as_str(), o.what)).collect();
    row("leaves behind", &if outputs.is_empty() { "nothing".to_owned() } else { outputs.join("<br>") });
    let arguments = arguments(entry);
    if !arguments.is_empty() {
        let _ = writeln!(out, "\n| argument | must be given | such as | between |\n|---|---|---|---|");
    }
    for a in arguments {
        let between = match a.bounds {
            None => String::new(),
            Some(Bounds::Count(least, most)) => format!("{least} and {most}"),
            Some(Bounds::Duration(least, most)) => format!("{} and {}", friendly(least), friendly(most)),
        };
        let needed = if a.needed { "yes" } else { "" };
        let _ = writeln!(out, "| `{}` | {needed} | `{}` | {between} |", a.name, a.example);
    }
    let with = if entry.example.is_empty() { String::new() } else { format!("\n  with: {}", entry.example) };
    let _ = writeln!(out, "\n```yaml\n- id: it\n  action: {}{with}\n```", entry.name);
}

fn place(place: Place) -> &'static str {
    match place {
        Place::Source => "the Region that is left",
        Place::Target => "the Region that is moved to",
        Place::UsEast1 => "us-east-1",
        Place::AnyOfSeveral => "any one of several Regions",
        Place::Named => "the Region that the arguments or the configuration name",
    }
}

#[test]
fn the_page_about_actions_is_what_the_catalogue_declares() {
    let (path, page) = (repository("docs/actions.md"), page());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &page).expect("written");
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == page, "docs/actions.md differs: UPDATE_GOLDEN=1 rewrites it; review the diff");
}
