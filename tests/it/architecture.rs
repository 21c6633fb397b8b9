//! The house (DESIGN.md section 4) as a test: who may name whom, what the pure rooms never touch, how long a
//! file may be, and that every error code has its page. Each rule is also run on fakes, to see that it bites.
//!
//! It reads text, not types: what a macro of another crate expands to is not seen. Code under `#[cfg(test)]`
//! and files or folders named `tests` may name anything of ours.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

mod scan;

use scan::{Named, Token};

/// Room → what it may name beside itself. `*` is one folder; a room that is not listed is refused, so that a
/// new one is a decision. An edge more needs an ADR.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("lib", &[]), // Declares modules; a re-export here would launder every edge below.
    ("domain", &[]),
    ("ports", &["domain"]),
    ("engine", &["domain", "ports"]),
    ("adapters", &["adapters/*"]),
    ("adapters/*", &["domain", "ports"]), // Never each other.
    ("config", &["domain"]),
    ("http", &["domain", "engine", "ports"]),
    ("sim", &["sim/*"]),
    ("sim/world", &["domain/id"]),
    ("sim/faults", &["sim/world", "domain/id"]),
    ("sim/oracle", &["sim/world", "domain/id"]),
    ("sim/scenario", &["sim/world", "sim/faults", "domain"]),
    ("sim/rehearse", &["sim/*", "engine", "ports", "domain", "config"]), // The production engine, whole.
    ("sim/port", &["sim/world", "sim/faults", "ports", "domain"]),
    ("sim/wire", &["sim/world", "domain/id"]),
    ("app", &["**"]),
    ("cli", &["**"]),
    ("main", &["**"]),
];

/// What the pure rooms never name of other crates, as prefixes of paths; a last `*` is the rest of a crate name.
const IMPURE: &[&str] = &[
    "tokio*",
    "aws*",
    "axum*",
    "hickory*",
    "reqwest*",
    "rusqlite*",
    "winterbaume*",
    "getrandom*",
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
    "std::time::SystemTime",
    "std::time::Instant",
    "std::time::*",
];

/// Pure room → what it may not name beyond [`IMPURE`]. The world draws from a generator that it is seeded with;
/// the domain draws nothing.
const PURE: &[(&str, &[&str])] = &[("domain", &["rand*"]), ("sim/world", &["rand::rng", "rand::random"])];

/// Rooms of which the rehearsal needs that one seed is one history → what of other crates would draw, or keep a time
/// of its own. Tokio's `watch` wakes those who wait for it in an order that it draws.
const REPLAYED: &[(&str, &[&str])] = &[(
    "engine",
    &[
        "tokio::time",
        "tokio::sync::watch",
        "tokio::sync::*",
        "tokio::*",
        "std::time::Instant",
        "std::time::SystemTime",
        "std::time::*",
        "rand*",
        "getrandom*",
        "uuid*",
    ],
)];

/// Types whose order of iteration is drawn anew by every process.
const UNORDERED: &[&str] = &["HashMap", "HashSet"];

/// Lines of a file before its tests.
const LINES_MAX: usize = 500;

/// Files that may be longer, each with the reason why it still has one name.
const LONGER: &[(&str, &str)] = &[];

/// A source file: its path below `src`, and its text.
type Source = (String, String);

fn segments(path: &str) -> Vec<&str> {
    let bare = path.strip_suffix(".rs").unwrap_or(path);
    bare.strip_suffix("/mod").unwrap_or(bare).split('/').collect()
}

/// The room that a module path belongs to: two folders deep where the rooms are, otherwise the first.
fn room<S: AsRef<str>>(path: &[S]) -> String {
    match path {
        [] => "the crate root".to_owned(),
        [first, second, ..] if matches!(first.as_ref(), "adapters" | "sim") => {
            format!("{}/{}", first.as_ref(), second.as_ref())
        }
        [first, ..] => first.as_ref().to_owned(),
    }
}

fn allowed(room: &str) -> Option<&'static [&'static str]> {
    let row = |name: &str| MAY_NAME.iter().find(|(room, _)| *room == name).map(|(_, may)| *may);
    row(room).or_else(|| row(&format!("{}/*", room.split_once('/')?.0)))
}

/// Whether `pattern` covers the module path `path`.
fn covers(pattern: &str, path: &[String]) -> bool {
    let parts: Vec<&str> = pattern.split('/').collect();
    pattern == "**"
        || path.len() >= parts.len() && parts.iter().zip(path).all(|(part, segment)| *part == "*" || part == segment)
}

/// Every edge that the rules forbid, and every room that they do not know.
fn forbidden_edges((path, text): &Source) -> Vec<String> {
    let module = segments(path);
    if module.contains(&"tests") {
        return Vec::new();
    }
    let own = room(&module);
    let Some(may) = allowed(&own) else {
        return vec![format!("src/{path}: no rule says what `{own}` may name: give it a row in MAY_NAME, and an ADR")];
    };
    scan::paths(&module, text)
        .into_iter()
        .filter(|named| named.ours && !named.in_test)
        .filter(|named| room(&named.segments) != own && !may.iter().any(|pattern| covers(pattern, &named.segments)))
        .map(|named| {
            let target = named.segments.join("::");
            format!("src/{path}:{}: {own} may not name crate::{target} (it may name: {})", named.line, may.join(", "))
        })
        .collect()
}

/// Whether an outside path falls under `ban`.
fn is_banned(ban: &str, named: &Named) -> bool {
    let path = named.segments.join("::");
    match ban.strip_suffix('*') {
        Some(start) if !ban.contains("::") => named.segments.first().is_some_and(|head| head.starts_with(start)),
        _ => path == ban || path.starts_with(&format!("{ban}::")),
    }
}

/// What a pure room names of the impure world outside.
fn impurities((path, text): &Source) -> Vec<String> {
    let module = segments(path);
    let own = room(&module);
    let Some((_, more)) = PURE.iter().find(|(room, _)| *room == own) else {
        return Vec::new();
    };
    scan::paths(&module, text)
        .into_iter()
        .filter(|named| !named.ours && !named.in_test && !module.contains(&"tests"))
        .filter(|named| IMPURE.iter().chain(*more).any(|ban| is_banned(ban, named)))
        .map(|named| format!("src/{path}:{}: {own} is pure and may not name {}", named.line, named.segments.join("::")))
        .collect()
}

/// What would make two histories of one seed: a `select!` that draws its branch, an order of iteration that differs
/// from process to process, a clock or chance beside the ports.
fn chances(source: &Source) -> Vec<String> {
    let (path, text) = source;
    let module = segments(path);
    let own = room(&module);
    let Some((_, banned)) = REPLAYED.iter().find(|(room, _)| *room == own) else {
        return Vec::new();
    };
    let named = scan::paths(&module, text);
    let outside = named.iter().filter(|n| !n.ours && !n.in_test && !module.contains(&"tests"));
    let strange = outside
        .filter(|n| banned.iter().any(|ban| is_banned(ban, n)))
        .map(|n| (n.line, format!("{own} is replayed from a seed and may not name {}", n.segments.join("::"))));
    let tokens = scan::lex(&before_tests(source));
    let word = |at: usize| tokens.get(at).and_then(|(token, _)| ident(token)).unwrap_or_default();
    let sign = |at: usize, c: char| matches!(tokens.get(at), Some((Token::Sym(s), _)) if *s == c);
    let drawn = (0..tokens.len()).filter_map(|at| {
        let is_biased = word(at + 3) == "biased" && sign(at + 4, ';');
        if word(at) == "select" && sign(at + 1, '!') && !is_biased {
            Some((tokens[at].1, "a `select!` without `biased;` draws its branch".to_owned()))
        } else if UNORDERED.contains(&word(at).as_str()) {
            Some((tokens[at].1, format!("a {} has another order in every process", word(at))))
        } else {
            None
        }
    });
    strange.chain(drawn).map(|(line, why)| format!("src/{path}:{line}: {why}")).collect()
}

/// Text that a user may see and that names one of our sources: tags such as `[AUG]` belong in comments.
fn tagged_texts(source: &Source) -> Vec<String> {
    let is_tag = |inside: &str| {
        (2..=6).contains(&inside.len())
            && inside.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
            && inside.bytes().any(|b| b.is_ascii_uppercase())
    };
    let tagged = |text: &str| text.split('[').skip(1).filter_map(|rest| rest.split_once(']')).any(|(t, _)| is_tag(t));
    let texts = scan::lex(&before_tests(source)).into_iter().filter_map(|(token, line)| Some((literal(&token)?, line)));
    texts
        .filter(|(t, _)| tagged(t))
        .map(|(t, line)| format!("src/{}:{line}: a source's tag in {t:?}", source.0))
        .collect()
}

/// A file too long to have one name, or without a word on its purpose. Tests that stand in a file of their own
/// are held to neither, as if they stood below their subject.
fn shape_faults((path, text): &Source) -> Vec<String> {
    let mut faults = Vec::new();
    if segments(path).contains(&"tests") {
        return faults;
    }
    let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
    let longer = LONGER.iter().any(|(file, reason)| file == path && !reason.is_empty());
    if lines > LINES_MAX && !longer {
        faults.push(format!("src/{path}: {lines} lines before its tests; {LINES_MAX} is the most"));
    }
    if lines <= LINES_MAX && longer {
        faults.push(format!("src/{path}: {lines} lines; its exception in LONGER is idle"));
    }
    if !text.starts_with("//!") {
        faults.push(format!("src/{path}: does not open with `//!` (purpose, invariant, what it does not do)"));
    }
    faults
}

/// The groups of codes that `src/domain/code.rs` declares, from `pub const GROUP: &[&str] = &["code", …];`, and the
/// names that the initialiser of its `ALL` mentions.
fn declared_codes(text: &str) -> (BTreeMap<String, Vec<String>>, BTreeSet<String>) {
    let tokens = scan::lex(text);
    let word = |at: usize, w: &str| matches!(tokens.get(at), Some((Token::Ident(i), _)) if i == w);
    let (mut groups, mut all) = (BTreeMap::new(), BTreeSet::new());
    for at in (0..tokens.len()).filter(|at| word(*at, "pub") && word(at + 1, "const")) {
        let Some((Token::Ident(name), _)) = tokens.get(at + 2) else {
            continue;
        };
        let rest = tokens[at + 3..].iter().map(|(token, _)| token);
        if name == "ALL" {
            all = rest.take_while(|t| **t != Token::Ident("while".to_owned())).filter_map(ident).collect();
        } else {
            groups.insert(name.clone(), rest.take_while(|t| **t != Token::Sym(';')).filter_map(literal).collect());
        }
    }
    (groups, all)
}

fn ident(token: &Token) -> Option<String> {
    if let Token::Ident(name) = token { Some(name.clone()) } else { None }
}

fn literal(token: &Token) -> Option<String> {
    if let Token::Str(text) = token { Some(text.clone()) } else { None }
}

/// The lines of a file before its tests; none of a file of tests.
fn before_tests((path, text): &Source) -> String {
    if segments(path).contains(&"tests") {
        return String::new();
    }
    text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).flat_map(|line| [line, "\n"]).collect()
}

/// The codes that a file certainly emits: what it passes to `fail(…)` and names in `code: …`. AWS's own are in
/// camel case, and the simulator's are no concern of ours.
fn emitted((path, text): &Source) -> BTreeSet<String> {
    let tokens = scan::lex(text);
    let kebab = |code: &String| code.contains('-') && code.bytes().all(|b| b == b'-' || b.is_ascii_lowercase());
    let emits = |w: &&[(Token, usize)]| {
        let [(Token::Ident(name), _), (Token::Sym(sign), _), _] = w else { return false };
        name == "fail" && *sign == '(' || name == "code" && *sign == ':'
    };
    let ours = tokens.windows(3).filter(|_| segments(path)[0] != "sim").filter(emits);
    ours.filter_map(|w| literal(&w[2].0)).filter(kebab).collect()
}

/// Codes without a page, pages without a code, codes that nothing uses, codes used and not declared.
fn code_faults(code_rs: &str, others: &[Source], pages: &BTreeSet<String>) -> Vec<String> {
    let (groups, all) = declared_codes(code_rs);
    let known: BTreeSet<&String> = groups.values().flatten().collect();
    if known.is_empty() {
        return vec!["src/domain/code.rs: no `pub const GROUP: &[&str] = &[\"code\", …];` found".to_owned()];
    }
    let others: Vec<Source> = others.iter().map(|source| (source.0.clone(), before_tests(source))).collect();
    let lexed = others.iter().flat_map(|(_, text)| scan::lex(text));
    let used: BTreeSet<String> = lexed.filter_map(|(token, _)| literal(&token)).collect();
    let apart = groups.keys().filter(|group| !all.contains(*group));
    let pageless = known.iter().filter(|code| !pages.contains(**code));
    let orphans = pages.iter().filter(|page| !known.contains(page));
    let unused = known.iter().filter(|code| !used.contains(**code));
    let strange = others
        .iter()
        .flat_map(|source| emitted(source).into_iter().map(|code| (source.0.clone(), code)))
        .filter(|(_, code)| !known.contains(code));
    apart
        .map(|group| format!("src/domain/code.rs: ALL leaves {group} out"))
        .chain(pageless.map(|code| format!("code `{code}` has no page docs/errors/{code}.md")))
        .chain(
            orphans.map(|page| format!("docs/errors/{page}.md explains a code that src/domain/code.rs does not have")),
        )
        .chain(unused.map(|code| format!("code `{code}`: nothing in src emits it")))
        .chain(strange.map(|(path, code)| format!("src/{path}: code `{code}` is not in src/domain/code.rs")))
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, out: &mut Vec<Source>) {
    let entries = fs::read_dir(folder).expect("src can be read");
    for path in entries.map(|entry| entry.expect("src can be read").path()) {
        if path.is_dir() {
            collect(&path, out);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let below = path.strip_prefix(root().join("src")).expect("below src");
            let name = below.to_str().expect("our file names are UTF-8").to_owned();
            out.push((name, fs::read_to_string(&path).expect("source is UTF-8")));
        }
    }
}

fn sources() -> Vec<Source> {
    let mut out = Vec::new();
    collect(&root().join("src"), &mut out);
    out.sort();
    assert!(out.iter().any(|(path, _)| path == "domain/mod.rs"), "the scan found the source");
    out
}

#[track_caller]
fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn rooms_name_only_what_they_may() {
    none(sources().iter().flat_map(forbidden_edges).collect());
}

#[test]
fn pure_rooms_name_no_clock_no_runtime_no_sdk() {
    none(sources().iter().flat_map(impurities).collect());
}

#[test]
fn what_is_replayed_from_a_seed_draws_nothing() {
    none(sources().iter().flat_map(chances).collect());
}

#[test]
fn no_text_names_a_source_by_its_tag() {
    none(sources().iter().flat_map(tagged_texts).collect());
    let found = |text: &str| tagged_texts(&("a.rs".to_owned(), text.to_owned())).len();
    assert_eq!(found("// as in [AUG]\nfn f() { \"waits [AUG]\"; \"[R53DG] says\" }"), 2);
    assert_eq!(found("/// [`X`] [INF]\nfn f() { \"a[0] [A-Z] [{x}] [] [[servers]]\"; x[AUG] }"), 0);
}

#[test]
fn every_file_has_a_purpose_and_a_size() {
    none(sources().iter().flat_map(shape_faults).collect());
}

#[test]
fn every_exception_to_the_file_size_is_a_file() {
    let gone = LONGER.iter().filter(|(file, _)| !root().join("src").join(file).is_file());
    none(gone.map(|(file, _)| format!("src/{file} is gone; take it out of LONGER")).collect());
}

#[test]
fn every_error_code_has_a_page_and_every_page_a_code() {
    let pages: BTreeSet<String> = fs::read_dir(root().join("docs/errors"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.expect("docs/errors can be read").file_name().into_string().ok())
        .filter_map(|name| Some(name.strip_suffix(".md")?.to_owned()))
        .filter(|name| name != "README")
        .collect();
    let (code_rs, others): (Vec<Source>, Vec<Source>) =
        sources().into_iter().partition(|(path, _)| path == "domain/code.rs");
    match code_rs.first() {
        Some((_, text)) => none(code_faults(text, &others, &pages)),
        // Before the list of codes exists there is nothing to hold, except that no page runs ahead of it.
        None => assert!(pages.is_empty(), "docs/errors has pages, but src/domain/code.rs does not exist"),
    }
}

/// Runs the edge and purity rules over one fake file; `expect` lists what each fault must contain, in order.
#[track_caller]
fn check(path: &str, text: &str, expect: &[&str]) {
    let source = (path.to_owned(), text.to_owned());
    let faults = [forbidden_edges(&source), impurities(&source)].concat();
    assert_eq!(faults.len(), expect.len(), "{path}: {text}\n{faults:#?}");
    for (fault, part) in faults.iter().zip(expect) {
        assert!(fault.contains(part), "{fault:?} does not contain {part:?}");
    }
}

#[test]
fn forbidden_edges_are_found_in_every_form_of_import() {
    check("domain/plan.rs", "use crate::ports::Cloud;", &["domain may not name crate::ports::Cloud"]);
    check("ports/mod.rs", "use crate::engine;", &["crate::engine"]);
    check("engine/run.rs", "use crate::{domain::id, adapters::store::Sqlite};", &["crate::adapters::store::Sqlite"]);
    check("engine/run.rs", "use crate::{\n  domain::{id, plan},\n  http::{\n    routes,\n  },\n};", &["run.rs:4"]);
    check("engine/run.rs", "fn f() { crate::adapters::aws::rds::make() }", &["adapters::aws::rds::make"]);
    check("engine/run.rs", "fn f(x: &dyn crate::http::Y) {}", &["crate::http::Y"]);
    check("engine/run.rs", "use super::super::http::Y;", &["crate::http::Y"]);
    check("engine/run.rs", "mod inner { use super::super::super::sim::world::X; }", &["crate::sim::world::X"]);
    check("engine/run.rs", "#[serde(with = \"crate::http::x\")] struct S;", &["crate::http::x"]);
}

#[test]
fn forbidden_edges_between_neighbours_are_found() {
    check("adapters/aws/rds.rs", "use super::super::store::Sqlite;", &["crate::adapters::store::Sqlite"]);
    check("adapters/probes.rs", "use super::observers;", &["crate::adapters::observers"]);
    check("adapters/aws/mod.rs", "use super::*;", &["crate::adapters::*"]);
    check("adapters/aws/rds.rs", "use crate::sim::world::World;", &["crate::sim::world"]);
    check("http/mod.rs", "use crate::config::Config;", &["crate::config"]);
    check("config/mod.rs", "use crate::{ports, engine};", &["crate::ports", "crate::engine"]);
    check("lib.rs", "pub use crate::adapters::aws;", &["crate::adapters::aws"]);
}

#[test]
fn the_simulator_shares_nothing_with_what_it_judges() {
    check("sim/world/aurora.rs", "use crate::domain::{id::Region, journal};", &["crate::domain::journal"]);
    check("sim/world/aurora.rs", "use crate::sim::{port, world::Plane};", &["crate::sim::port"]);
    check("sim/wire/rds.rs", "use crate::adapters::aws::error;", &["crate::adapters::aws"]);
    check("sim/wire/rds.rs", "use crate::ports::cloud::Cloud;", &["crate::ports"]);
    check("sim/port.rs", "use crate::engine::execute;", &["crate::engine"]);
    check("sim/port/mod.rs", "use crate::sim::wire::serve;", &["crate::sim::wire"]);
}

#[test]
fn nothing_launders_an_edge() {
    check("domain/plan.rs", "use crate as c;", &["crate::"]);
    check("http/mod.rs", "use crate::*;", &["crate::*"]);
    check("http/mod.rs", "use crate::adapters;", &["crate::adapters"]);
    check("attic/mod.rs", "", &["no rule says what `attic` may name"]);
    check("sim/attic.rs", "", &["no rule says what `sim/attic` may name"]);
}

#[test]
fn impure_names_are_found_in_pure_rooms_only() {
    check("domain/run.rs", "use std::{collections::BTreeMap, time::{Duration, Instant}};", &["std::time::Instant"]);
    check("domain/run.rs", "fn f() { std::time::SystemTime::now(); }", &["std::time::SystemTime::now"]);
    check("domain/run.rs", "use tokio::sync::watch; use aws_sdk_rds::Client;", &["tokio::", "aws_sdk_rds"]);
    check("domain/run.rs", "use rand::Rng; use rand_chacha::ChaCha12Rng;", &["rand::Rng", "rand_chacha"]);
    check("domain/run.rs", "use std::time::*; use tokio;", &["std::time::*", "tokio"]);
    check("sim/world/mod.rs", "use rand_chacha::ChaCha12Rng; fn f() { rand::rng(); }", &["rand::rng"]);
    check("engine/run.rs", "use tokio::sync::watch; use std::time::Instant;", &[]);
}

#[test]
fn chances_are_found_in_replayed_rooms_only() {
    let found = |path: &str, text: &str| chances(&(path.to_owned(), text.to_owned()));
    for (text, part) in [
        ("fn f() {\n  tokio::select! { a = b() => {} }\n}", "run.rs:2: a `select!` without `biased;`"),
        ("use futures_util::select; fn f() { select! { a = b => {} } }", "without `biased;`"),
        ("use std::collections::HashMap;", "a HashMap"),
        ("struct S(std::collections::HashSet<u8>);", "a HashSet"),
        ("use tokio::{sync::Mutex, time::{self, Duration}};", "tokio::time"),
        ("use tokio::sync::{Mutex, watch};", "tokio::sync::watch"),
        ("fn f() { tokio::time::sleep(d); }", "tokio::time::sleep"),
        ("use std::time::Instant;", "std::time::Instant"),
        ("fn f() { rand::random() }", "rand::random"),
    ] {
        let faults = found("engine/run.rs", text);
        assert!(!faults.is_empty() && faults.iter().all(|f| f.contains(part)), "{text}: {faults:#?}");
        assert!(found("http/run.rs", text).is_empty(), "{text}");
        assert!(found("engine/run.rs", &format!("#[cfg(test)]\nmod tests {{ {text} }}")).is_empty(), "{text}");
    }
    let clean = "use std::{collections::BTreeMap, time::Duration}; // a HashMap, tokio::time\n\
                 fn f() { tokio::select! { biased; a = b() => {} } crate::engine::watch::g(); }";
    assert_eq!(found("engine/run.rs", clean), Vec::<String>::new());
}

#[test]
fn what_is_allowed_passes() {
    check("domain/plan.rs", "use crate::domain::id; use super::run::Run; use std::time::Duration;", &[]);
    check("engine/run.rs", "use crate::{domain::{self, id}, ports::*}; pub(in crate::engine) fn f() {}", &[]);
    check("adapters/store/sqlite.rs", "use super::record; use crate::ports::journal;", &[]);
    check("adapters/mod.rs", "pub mod aws; pub use crate::adapters::aws::Cloud;", &[]);
    check("sim/wire/rds.rs", "use crate::{domain::id::Region, sim::world::World};", &[]);
    check("app.rs", "use crate::{adapters::{aws, store}, cli, http, sim};", &[]);
    check(
        "domain/plan.rs",
        "// use crate::ports::X;\n/* crate::http::Y /* */ */ const S: &str = \"use tokio::x\";",
        &[],
    );
    check("domain/plan.rs", "const S: &str = r#\"crate \" tokio::x\"#; fn f<'a>(c: char) -> &'a str { '\"'; S }", &[]);
    check("engine/run.rs", "#[cfg(test)]\nmod tests { use crate::adapters::store::Memory; }", &[]);
    check("engine/run.rs", "#[cfg(test)] use crate::sim::port; use crate::http;", &["crate::http"]);
    check("engine/run.rs", "#[cfg(test)] mod tests { fn f() {} } use crate::http;", &["crate::http"]);
    check("engine/tests/crash.rs", "use crate::sim::port::Port;", &[]);
}

#[test]
fn long_and_purposeless_files_are_found() {
    let long = format!("//! Long.\n{}#[cfg(test)]\n", "\n".repeat(LINES_MAX));
    assert_eq!(shape_faults(&("a.rs".to_owned(), long)).len(), 1);
    let tested = format!("//! Well tested.\n#[cfg(test)]\n{}", "\n".repeat(LINES_MAX));
    assert_eq!(shape_faults(&("a.rs".to_owned(), tested)).len(), 0);
    assert_eq!(shape_faults(&("a.rs".to_owned(), "use std::fs;\n".to_owned())).len(), 1);
    let apart = ("a/tests.rs".to_owned(), "use super::*;\n".to_owned());
    assert_eq!(shape_faults(&apart).len(), 0);
}

#[test]
fn codes_and_pages_that_do_not_match_are_found() {
    let code_rs = "/// Why.\npub const GATES: &[&str] = &[\"gate-refused\", \"old\"];\npub const LOST: &[&str] = \
                   &[\"lost\"];\npub const ALL: &[&str] = &{ let groups = [GATES]; let mut g = 0; while g < 1 {} };";
    let engine = "fn f() { d.fail(\"made-up\", why); \"gate-refused\"; \"lost\" }\n#[cfg(test)]\nfn t() { \"old\" }";
    let users = [("engine/step.rs".to_owned(), engine.to_owned())];
    let pages = BTreeSet::from(["gate-refused", "lost", "stray"].map(str::to_owned));
    let faults = code_faults(code_rs, &users, &pages);
    assert_eq!(faults.len(), 5, "{faults:#?}");
    assert!(faults[0].contains("leaves LOST out"));
    assert!(faults[1].contains("`old` has no page"));
    assert!(faults[2].contains("stray.md"));
    assert!(faults[3].contains("`old`: nothing in src emits it"));
    assert!(faults[4].contains("`made-up` is not in"));
    assert_eq!(code_faults("", &users, &pages).len(), 1, "an empty list of codes is a fault, not a pass");
}
