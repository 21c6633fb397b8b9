use super::*;
use crate::domain::{
    access::{Grant, Scope},
    capacity::{Capacity, Size},
    document::Severity,
};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn nothing() -> BTreeMap<String, String> {
    BTreeMap::new()
}

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// Loads `text` from a file of its own, with the runbooks that ship.
fn load(text: &str, env: &BTreeMap<String, String>) -> Result<Settings, Faults> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("failoverd.toml");
    std::fs::write(&path, text).expect("written");
    Settings::load(&path, env)
}

fn default_text() -> String {
    std::fs::read_to_string(root("config/default.toml")).expect("config/default.toml")
}

/// One fault a line, without the file.
fn lines(faults: &Faults) -> String {
    let line = |f: &crate::domain::document::Fault| {
        let mark = if f.severity == Severity::Warning { "warning " } else { "" };
        format!("{}:{} {mark}{} {}: {}\n", f.line, f.column, f.code, f.key, f.problem)
    };
    faults.faults.iter().map(line).collect()
}

#[test]
fn the_shipped_configs_load_without_a_warning_and_their_runbooks_compile() {
    let mut paths = vec![root("config/default.toml")];
    paths.extend(std::fs::read_dir(root("config/examples")).expect("examples").map(|e| e.expect("an entry").path()));
    paths.retain(|path| path.is_file());
    for path in paths {
        let settings = Settings::load(&path, &nothing()).unwrap_or_else(|f| panic!("{}:\n{f}", path.display()));
        assert!(settings.warnings.is_empty(), "{}:\n{}", path.display(), settings.warnings);
        for app in &settings.applications {
            let plans = cross::plans(app, &settings.runbooks, &settings.digest);
            let moves = plans.iter().filter(|(purpose, ..)| *purpose != crate::domain::plan::Purpose::Drill).count();
            assert_eq!(moves, 5, "failover and switchover both ways, failback home");
            assert_eq!(plans.len() - moves, 2 * app.drills.len(), "each drill from either Region");
            assert!(plans.iter().all(|(.., p)| p.is_ok()), "{plans:?}");
        }
    }
}

#[test]
fn the_directory_and_the_program_ship_the_same_runbooks() {
    let example = Settings::load(&root("config/examples/payments-fast.toml"), &nothing()).expect("loads");
    assert_eq!(example.runbooks, shipped());
    assert_eq!(example.runbooks.len(), 14);
}

/// Wrong wherever it can be.
const FAULTY: &str = "\
[server]
listen = \"0.0.0.0:8080\"
port = 80

[store]
kind = \"dynamodb\"

[aws]
call_timeout = \"10\"
production = \"yes\"

[auth]
tokens = [{ name = \"Alice\", sha256 = \"12\", roles = [\"admin\", \"approver\"] }, { name = \"bob\", sha256 = \"12\", roles = [\"root\"] }]

[[applications]]
name = \"payments\"
regions = [\"us-east-1\", \"us-west-2\"]
objectives = { rto = \"2m\", rpo = \"-1s\" }
runbooks = { failover = \"nonesuch\" }

[applications.stores.sessions]
kind = \"dynamodb\"
table = \"a table\"

[applications.stores.audit]
kind = \"s3\"
buckets = { us-east-1 = \"audit-use1\" }
rules = [{ from = \"us-east-1\", to = \"us-west-2\" }, { from = \"us-east-1\", to = \"us-west-2\", rule_id = \"r\" }]

[applications.stores.orders]
kind = \"documentdb\"
global_cluster = \"payments\"
clusters = { us-east-1 = \"arn:aws:rds:us-west-2:123456789012:cluster:x\", eu-west-1 = \"y\" }

[applications.dns.api]
record_name = \"api..example.com\"
record_type = \"TXT\"
hosted_zone_id = \"/hostedzone/Z1\"
servers = [\"ns1\"]
answers = { us-east-1 = \"a b\" }
ttl = \"60s\"
mechanism = { kind = \"standby_object\", region = \"us-east-1\", bucket = \"No_Bucket\", key = \"/a b\", url = \"ftp://x\" }

[applications.signals.x]
kind = \"http_probe\"
role = \"boss\"
of = \"eu-west-1\"
url = \"ftp://x\"

[applications.signals.errors]
kind = \"lambda_errors\"
role = \"trigger\"
region = \"us-east-1\"
function = \"payments\"
unhealthy = \"many\"

[applications.signals.lag]
kind = \"metric\"
role = \"trigger\"
region = \"us-east-1\"
namespace = \"AWS/RDS\"
metric = \"AuroraGlobalDBRPOLag\"
statistic = \"Sum\"
stat_period = \"90s\"
unhealthy = \"> 5\"
healthy = \"< 7\"
missing = \"healthy\"

[applications.signals.depth]
kind = \"metric\"
role = \"trigger\"
region = \"us-east-1\"
namespace = \"AWS/RDS\"
metric = \"AuroraGlobalDBRPOLag\"
statistic = \"Maximum\"
unhealthy = \"> 5\"
missing = \"healthy\"

[applications.signals.db]
kind = \"tcp_probe\"
role = \"trigger\"
of = \"us-east-1\"
address = \"db\"

[applications.signals.table]
kind = \"s3_lag\"
role = \"gate\"
store = \"elsewhere\"
";

#[test]
fn every_fault_is_reported_at_once() {
    let faults = load(FAULTY, &nothing()).expect_err("all of it is wrong");
    insta::assert_snapshot!(lines(&faults));
}

#[test]
fn what_does_not_fit_together_is_found() {
    let text = default_text()
        .replace("failover = \"region-failover\"", "failover = \"dns-flip\"")
        .replace("switchover = \"region-switchover\"", "switchover = \"region-failover\"")
        .replace("failback = \"failback\"", "failback = \"fallback\"")
        .replace("role = \"trigger\"", "role = \"informational\"");
    let faults = load(&text, &nothing()).expect_err("does not fit");
    insta::assert_snapshot!(lines(&faults));
}

#[test]
fn a_fault_of_an_application_is_shown_without_what_follows_from_it() {
    for (right, wrong, key) in [
        ("kind = \"aurora\"", "kind = \"aurora2\"", "applications[0].stores.orders.kind"),
        ("record_type = \"A\"", "record_type = \"TXT\"", "applications[0].dns.api.record_type"),
        ("ttl = \"60s\"", "ttl = \"60\"", "applications[0].dns.api.ttl"),
        ("rpo = \"5m\"", "rpo = \"5\"", "applications[0].objectives.rpo"),
    ] {
        let text = default_text();
        assert!(text.contains(right), "{right}");
        let faults = load(&text.replacen(right, wrong, 1), &nothing()).expect_err("faulty");
        let keys: Vec<&str> = faults.faults.iter().map(|f| f.key.as_str()).collect();
        assert_eq!(keys, [key], "{}", lines(&faults));
    }
}

#[test]
fn a_runbook_with_a_fault_is_not_said_to_be_missing_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, books) = (dir.path().join("failoverd.toml"), dir.path().join("runbooks"));
    let text = default_text().replace("# directory = \"../runbooks\"", "directory = \"runbooks\"");
    std::fs::write(&path, text).expect("written");
    let faults = Settings::load(&path, &nothing()).expect_err("no directory");
    assert_eq!(faults.faults.len(), 1, "{}", lines(&faults));
    std::fs::create_dir(&books).expect("made");
    for (name, text) in SHIPPED {
        std::fs::write(dir.path().join(name), text.replace("purpose: failback", "purpose: failforth"))
            .expect("written");
    }
    let faults = Settings::load(&path, &nothing()).expect_err("faulty");
    let of_its_own = |file: &str| file.ends_with("failback.yaml") || file.ends_with("failback-gradual.yaml");
    assert!(faults.faults.iter().all(|f| of_its_own(&f.file)), "{faults}");
}

#[test]
fn records_as_the_only_way_out_of_us_east_1_are_warned_of() {
    let text = default_text();
    let (before, rest) = text.split_once("[applications.dns.api.mechanism]").expect("a mechanism");
    let (_, after) = rest.split_once("[applications.signals").expect("signals");
    let text = format!("{before}[applications.dns.api.mechanism]\nkind = \"records\"\n[applications.signals{after}");
    let settings = load(&text, &nothing()).expect("a warning only");
    assert!(
        lines(&settings.warnings).contains("warning config-static-stability applications[0].dns.api.mechanism"),
        "{}",
        settings.warnings
    );
}

#[test]
fn the_environment_sets_scalars_and_is_a_part_of_the_digest() {
    let text = default_text();
    let plain = load(&text, &nothing()).expect("loads");
    let env = variables(&[
        ("FAILOVERD__STORE__PATH", "/var/x.sqlite"),
        ("FAILOVERD__AWS__PRODUCTION", "false"),
        ("FAILOVERD_URL", "x"),
    ]);
    let changed = load(&text, &env).expect("loads");
    assert_eq!(changed.store, Store::Sqlite { path: PathBuf::from("/var/x.sqlite") });
    assert!(plain.aws.production && !changed.aws.production);
    assert_ne!(plain.digest, changed.digest);
    let bad = variables(&[("FAILOVERD__AUTH__TOKENS", "x"), ("FAILOVERD__AWS__CALL_TIMEOUT", "soon")]);
    insta::assert_snapshot!(lines(&load(&text, &bad).expect_err("refused")));
}

#[test]
fn nobody_listens_outside_without_tokens() {
    let env = variables(&[("FAILOVERD__SERVER__LISTEN", "0.0.0.0:8080")]);
    let faults = load(&default_text(), &env).expect_err("refused");
    assert_eq!(faults.faults[0].code, "auth-required");
    let token = format!("tokens = [{{ name = \"alice\", sha256 = \"{}\", roles = [\"operator\"] }}]", Digest::zero());
    let text = default_text().replacen("tokens = []", &token, 1);
    let faults = load(&text, &env).expect_err("in the clear");
    assert_eq!(faults.faults[0].code, "tls-required");
    let in_front = text.replacen("tls_in_front = false", "tls_in_front = true", 1);
    let faults = load(&in_front, &env).expect_err("whose connections are they?");
    assert!(lines(&faults).contains("server.proxies"), "{}", lines(&faults));
    let settings = load(&in_front.replacen("proxies = []", "proxies = [\"10.0.0.0/16\"]", 1), &env).expect("loads");
    assert_eq!(settings.auth.tokens[0].grants, BTreeSet::from([Grant::every(Role::Operator)]));
    let tls = "tls = { certificate = \"a\", key = \"b\" }";
    assert!(load(&text.replacen("tls_in_front = false", tls, 1), &env).expect("loads").server.tls.is_some());
}

#[test]
fn what_a_token_may_is_read_and_what_cannot_be_meant_is_told_with_its_place() {
    let with = |token: &str| {
        let token = format!("tokens = [{{ name = \"ann\", sha256 = \"{}\", {token} }}]", Digest::zero());
        load(&default_text().replacen("tokens = []", &token, 1), &nothing())
    };
    let name = |text: &str| text.parse().expect("valid");
    let only = |role| Grant { role, applications: Scope::Only([name("example")].into()) };
    let scoped = "roles = [\"operator\"], applications = [\"example\"], expires_at = \"2027-06-30T00:00:00Z\"";
    let scoped = with(scoped).expect("loads").auth.tokens.remove(0);
    assert_eq!(scoped.grants, BTreeSet::from([only(Role::Operator)]));
    assert!(scoped.expires_at.is_some());
    let mixed = "roles = [\"viewer\"], grants = [{ roles = [\"admin\"], applications = [\"example\"] }]";
    let mixed = with(mixed).expect("loads").auth.tokens.remove(0);
    assert_eq!(mixed.grants, BTreeSet::from([only(Role::Admin), Grant::every(Role::Viewer)]));
    for (token, place, part) in [
        ("roles = [\"viewer\"], applications = []", "applications", "every application is meant"),
        ("roles = [\"viewer\"], applications = [\"nonesuch\"]", "applications", "no application `nonesuch`"),
        ("applications = [\"example\"]", "roles", "is missing"),
        ("grants = []", "roles", "is empty"),
        ("roles = [\"viewer\"], expires_at = \"soon\"", "expires_at", "expected a time"),
        ("roles = [\"viewer\"], certificate = \"12\"", "certificate", "64 hexadecimal digits"),
        ("roles = [\"observer\"], applications = [\"example\"]", "applications", "whose policy names it"),
        ("grants = [{ roles = [\"admin\"] }, { roles = [\"approver\"] }]", "roles", "cannot approve"),
    ] {
        let text = lines(&with(token).expect_err(token));
        assert!(text.contains(place) && text.contains(part), "{token}: {text}");
    }
    let bound = format!("roles = [\"viewer\"], certificate = \"{}\"", Digest::zero());
    assert!(lines(&with(&bound).expect_err("nobody shows one")).contains("client_ca"));
}

#[test]
fn an_issuer_is_read_whole_or_told_what_is_wrong_with_it() {
    let good = "issuer = { url = \"https://login.example.com\", audience = \"failoverd\", algorithm = \"RS256\", \
                subject_claim = \"email\", roles_claim = \"groups\", roles = [{ value = \"sre\", roles = [\"operator\"] }] }";
    let with = |issuer: &str| load(&default_text().replacen("tokens = []", issuer, 1), &nothing());
    let read = with(good).expect("loads").auth.issuer.expect("one");
    assert_eq!((read.url.as_str(), read.subject_claim.as_str()), ("https://login.example.com", "email"));
    assert_eq!(read.grants["sre"], BTreeSet::from([Grant::every(Role::Operator)]));
    for (from, to, part) in [
        ("https://login", "http://login", "https:// URL"),
        ("https://login.example.com", "https://a@b", "https:// URL"),
        ("RS256", "HS256", "RS256 or ES256"),
        ("RS256", "none", "RS256 or ES256"),
        ("audience = \"failoverd\"", "audience = \" \"", "is empty"),
        ("audience = \"failoverd\", ", "", "`audience` is missing"),
        ("[\"operator\"]", "[\"observer\"]", "a machine with a token of its own"),
        ("[{ value = \"sre\", roles = [\"operator\"] }]", "[]", "nobody would be let in"),
        ("[\"operator\"]", "[\"operator\"], applications = [\"nonesuch\"]", "no application `nonesuch`"),
    ] {
        let text = lines(&with(&good.replacen(from, to, 1)).expect_err(to));
        assert!(text.contains(part), "{to}: {text}");
    }
}

#[test]
fn what_is_not_toml_is_shown_where_it_stands() {
    let faults = load("[server]\nlisten = \n[store\n", &nothing()).expect_err("not TOML");
    assert!(faults.faults.iter().any(|f| f.line == 2), "{faults}");
    let faults = Settings::load(Path::new("/nonexistent.toml"), &nothing()).expect_err("no file");
    assert_eq!(faults.faults[0].code, "config-unreadable");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("big.toml");
    std::fs::write(&path, "#".repeat(usize::try_from(BYTES_MAX).expect("fits") + 1)).expect("written");
    assert!(Settings::load(&path, &nothing()).expect_err("too big").to_string().contains("the limit is"));
}

#[test]
fn of_very_many_faults_the_first_are_told_and_drawn_and_the_rest_counted() {
    // One slip on a long line is thousands of syntax errors.
    let faults = load(&format!("li{}sten = 1\n", "arn:aws:rds:".repeat(1_000)), &nothing()).expect_err("not TOML");
    assert_eq!(faults.faults.len(), 21, "{faults}");
    assert!(faults.faults.iter().any(|f| f.problem.ends_with("more places")), "{faults}");
    let unknown: String = (0..150).map(|n| format!("key-{n} = 1\n")).collect();
    let faults = load(&unknown, &nothing()).expect_err("unknown keys");
    assert!(faults.faults.len() >= 150);
    let more = format!("and {} more, not shown here", faults.faults.len() - 100);
    assert!(faults.to_string().contains(&more), "{faults}");
}

#[test]
fn faults_are_drawn_within_eighty_columns_and_as_json() {
    let faults = load("[server]\nlisten = 80\n[[applications]]\nname = \"x\"\n", &nothing()).expect_err("faulty");
    let text = faults.to_string();
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    assert!(text.contains("listen = 80") && text.contains("for example"), "{text}");
    let json = faults.to_json();
    assert_eq!(json["faults"][0]["line"], 2);
    assert_eq!(json["faults"][0]["key"], "server.listen");
}

/// Whoever writes the secret itself sees where, and nobody else sees what: not on a terminal, not in the log of a pipeline.
#[test]
fn a_secret_in_place_of_its_reference_is_shown_nowhere() {
    let channel = |keys: &str| format!("[[notify.channels]]\nname = \"oncall\"\n{keys}\n");
    for (text, shown) in [
        (channel("kind = \"pagerduty\"\nrouting_key = \"hunter2\""), "routing_key = \"*******\""),
        (channel("kind = \"slack\"\nurl = \"https://hooks.example/T0/hunter2\""), "https://hooks.example/**********"),
        (
            channel("kind = \"generic\"\nurl = \"https://ann:hunter2@10.0.0.1/x\"\nkey = \"env:K\""),
            "https://***********@10.0.0.1/",
        ),
        ("[traces]\nendpoint = \"https://c\"\nheaders = { a-b = \"hunter2\" }\n".to_owned(), "headers = {****"),
        ("[traces]\nendpoint = \"https://c?k=hunter2\"\n".to_owned(), "https://c?*********"),
        ("[evidence]\nkey = \"hunter2\n".to_owned(), "key = \"*******"),
        ("[auth]\ntokens = [\"hunter2\"]\n".to_owned(), "tokens = [*********]"),
        ("[[auth.tokens]]\nname = \"ann\"\nsha256 = \"hunter2\"\n".to_owned(), "expected 64 hexadecimal digits"),
        ("[auth]\ntoken = hunter2\n".to_owned(), "token = *******"),
    ] {
        let faults = load(&text, &nothing()).expect_err(&text);
        let drawn = faults.to_string();
        assert!(!drawn.contains("hunter2") && drawn.contains(shown), "{drawn}");
        assert!(!faults.to_json().to_string().contains("hunter2"), "{:#}", faults.to_json());
    }
}

#[test]
fn every_code_of_a_fault_is_a_known_code() {
    let files = [
        "mod.rs",
        "application.rs",
        "cross.rs",
        "deciding.rs",
        "environment.rs",
        "sections.rs",
        "signals.rs",
        "signals/metric.rs",
        "stores.rs",
        "traffic.rs",
        "runbooks.rs",
        "vantage.rs",
    ];
    for file in files {
        let text = std::fs::read_to_string(root("src/config").join(file)).expect("a source");
        for code in text.split('"').filter(|s| s.starts_with("config-") || s.starts_with("runbook-")) {
            assert!(crate::domain::code::ALL.contains(&code), "{file}: {code}");
        }
    }
}

/// The shipped configuration with this in `[vantage]` instead of what it says.
fn with_vantage(section: &str) -> String {
    let text = default_text();
    let (before, rest) = text.split_once("[vantage]\n").expect("a section");
    let (_, after) = rest.split_once("\n[runbooks]").expect("the next section");
    format!("{before}[vantage]\n{section}\n\n[runbooks]{after}")
}

#[test]
fn a_vantage_has_a_name_and_control_points_of_which_more_than_half_must_answer() {
    let plain = load(&default_text(), &nothing()).expect("loads");
    assert_eq!(plain.vantage.name.as_str(), "here");
    assert!(plain.vantage.control_points.points.is_empty());
    let text = with_vantage("control_points = [\"https://a.example/\", \"tcp://192.0.2.1:443\", \"http://b.example\"]");
    let env = variables(&[("FAILOVERD__VANTAGE__NAME", "us-west-2")]);
    let settings = load(&text, &env).expect("loads");
    assert_eq!(settings.vantage.name.as_str(), "us-west-2");
    let points = settings.vantage.control_points;
    assert_eq!((points.points.len(), points.needed), (3, 2));
    assert_eq!(points.points[1].to_string(), "tcp://192.0.2.1:443");
}

#[test]
fn what_is_wrong_with_a_vantage_or_an_observer_s_token_is_told_with_its_place() {
    let points = "control_points = [\"https://a.example/\", \"tcp://192.0.2.1:443\"]";
    let token_there = "report_token = \"env:OBSERVER\"";
    let reporting = |token: &str, to: &str| format!("name = \"a\"\n{points}\nreport_to = [\"{to}\"]\n{token}");
    let good = load(&with_vantage(&reporting(token_there, "https://x/")), &nothing()).expect("loads");
    let to = good.vantage.report_to.expect("given");
    assert_eq!((to.daemons[0].to_string().as_str(), to.token.to_string().as_str()), ("https://x/", "env:OBSERVER"));
    for (section, key, part) in [
        ("name = \"US\"", "vantage.name", "vantage name"),
        ("name = \"route53\"", "vantage.name", "AWS's own"),
        ("control_points = [\"ftp://a\"]", "vantage.control_points[0]", "expected https://host/path"),
        ("control_points = [\"https://a/\", \"https://a/\"]", "vantage.control_points", "twice"),
        ("control_points_needed = 1", "vantage.control_points_needed", "no control points"),
        (&format!("{points}\ncontrol_points_needed = 3"), "vantage.control_points_needed", "between 1 and 2"),
        ("period = \"2s\"\ntimeout = \"3s\"", "vantage.timeout", "longer than the period"),
        ("report = 1", "vantage.report", "unknown key"),
        (&reporting("", "https://x/"), "vantage.report_to", "`report_token` is missing"),
        (&reporting("report_token = \"hunter2\"", "https://x/"), "vantage.report_token", "expected a reference"),
        (&reporting(token_there, "http://x/"), "vantage.report_to[0]", "in the clear"),
        (&reporting(token_there, "http://127.0.0.1:8080"), "vantage.report_to", "is this daemon itself"),
        (&reporting(token_there, "https://x/\", \"https://x/"), "vantage.report_to", "twice"),
        (&reporting(token_there, "https://x/").replace("name", "#"), "vantage.report_to", "`name` is missing"),
        (&reporting(token_there, "https://x/").replace(points, ""), "vantage.report_to", "without control points"),
        (token_there, "vantage.report_token", "no daemon to report to"),
    ] {
        let faults = load(&with_vantage(section), &nothing()).expect_err(section);
        let found: Vec<(&str, &str)> = faults.faults.iter().map(|f| (f.key.as_str(), f.problem.as_str())).collect();
        assert!(matches!(found[..], [(k, p)] if k == key && p.contains(part)), "{section}: {found:?}");
        assert!(faults.faults[0].line > 0, "{section}");
    }
    let token = |name: &str, roles: &str| {
        let token = format!("tokens = [{{ name = \"{name}\", sha256 = \"{}\", roles = {roles} }}]", Digest::zero());
        load(&default_text().replacen("tokens = []", &token, 1), &nothing())
    };
    assert!(token("eu-west-1", "[\"observer\"]").is_ok());
    for (name, roles, key) in [
        ("a@b", "[\"observer\"]", "auth.tokens[0].name"),
        ("cloudwatch-eu-west-1", "[\"observer\"]", "auth.tokens[0].name"),
        ("eu-west-1", "[\"observer\", \"viewer\"]", "auth.tokens[0].roles"),
    ] {
        let faults = token(name, roles).expect_err(name);
        assert_eq!(faults.faults.iter().map(|f| f.key.as_str()).collect::<Vec<_>>(), [key], "{name} {roles}");
    }
}

const DECIDING: &str = "
[applications.deciding]
mode = \"automatic\"
dwell = \"90s\"
cool_down = \"2h\"
quorum = 3
observers = [\"frankfurt\", \"dublin\"]
rpo_window = \"30m\"
rpo_allowance = 0.05
blackouts = [
    { reason = \"weekend\", from = \"fri 18:00\", to = \"mon 06:00\", zone = \"Europe/Berlin\" },
    { reason = \"black Friday\", from = \"2026-11-27T00:00:00Z\", to = \"2026-11-28T00:00:00Z\" },
]
";

#[test]
fn a_policy_is_read_and_without_one_a_person_decides() {
    use crate::domain::policy::{Mode, Policy};
    let shipped = load(&default_text(), &nothing()).expect("loads");
    assert_eq!(shipped.applications[0].policy, Policy::default());
    let text = default_text();
    let (before, _) = text.split_once("[applications.deciding]").expect("documented");
    let settings = load(&format!("{before}{DECIDING}"), &nothing()).expect("loads");
    let warnings = settings.warnings.to_string();
    assert!(!warnings.contains("config-deciding"), "{warnings}");
    let policy = &settings.applications[0].policy;
    assert_eq!((policy.mode, policy.quorum, policy.dwell), (Mode::Automatic, 3, Duration::from_secs(90)));
    assert_eq!((policy.cool_down, policy.rpo_window), (Duration::from_hours(2), Duration::from_mins(30)));
    let on = |at: &str| policy.blackouts.iter().filter(|b| b.is_on(at.parse().expect("an instant"))).count();
    assert_eq!(on("2026-11-27T17:30:00Z"), 2, "Friday 18:30 in Berlin, and black Friday");
    assert_eq!((on("2026-11-27T16:30:00Z"), on("2026-11-26T12:00:00Z")), (1, 0));
}

#[test]
fn every_fault_of_a_policy_is_reported_at_once() {
    let text = default_text();
    let (before, _) = text.split_once("[applications.deciding]").expect("documented");
    let faulty = "
[applications.deciding]
mode = \"auto\"
dwell = \"0s\"
cool_down = \"1\"
quorum = 1
observers = [\"Frankfurt\", \"dublin\", \"dublin\"]
rpo_window = \"1s\"
rpo_allowance = 2
armed = true
blackouts = [
    { from = \"fri 25:00\", to = \"mon 06:00\", zone = \"Europe/Bern\" },
    { reason = \"x\", from = \"fri 18:00\", to = \"mon 06:00\" },
    { reason = \"x\", from = \"fri 18:00\", to = \"fri 18:00\", zone = \"UTC\" },
    { reason = \"x\", from = \"2026-11-28T00:00:00Z\", to = \"2026-11-27T00:00:00Z\" },
]
";
    let faults = load(&format!("{before}{faulty}"), &nothing()).expect_err("all of it is wrong");
    assert!(faults.faults.iter().all(|f| f.example.is_some() || f.key.ends_with("armed")), "{}", lines(&faults));
    insta::assert_snapshot!(lines(&faults));
}

#[test]
fn a_policy_that_will_not_do_what_it_seems_to_is_warned_of() {
    let text = default_text();
    let (before, _) = text.split_once("[applications.deciding]").expect("documented");
    let token = |name: &str, role: &str, digit: char| {
        let hash: String = std::iter::repeat_n(digit, 64).collect();
        format!("{{ name = \"{name}\", sha256 = \"{hash}\", roles = [\"{role}\"] }}")
    };
    let tokens = format!("tokens = [{}, {}]", token("frankfurt", "observer", '1'), token("alice", "operator", '2'));
    let warned = |deciding: &str| {
        let before = before.replacen("tokens = []", &tokens, 1);
        let settings = load(&format!("{before}\n[applications.deciding]\n{deciding}"), &nothing()).expect("loads");
        let lines = lines(&settings.warnings);
        lines.lines().filter(|line| line.contains("config-deciding")).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(warned("mode = \"automatic\"\nobservers = [\"frankfurt\"]"), "");
    assert!(warned("mode = \"automatic\"").contains("are seen from 1: nothing will ever start alone"));
    assert!(!warned("").contains("deciding"), "who only recommends needs no quorum");
    let dwell = "mode = \"shadow\"\ndwell = \"44s\"\nobservers = [\"frankfurt\"]";
    assert!(warned(dwell).contains("deciding.dwell: after 44 s"), "{}", warned(dwell));
    assert!(warned("observers = [\"dublin\"]").contains("nobody is called `dublin`"));
    assert!(warned("observers = [\"alice\"]").contains("`alice` has a token without the role observer"));
    assert!(warned("observers = [\"in-us-west-2\"]").contains("seems to stand in us-west-2"));
    let four = "mode = \"automatic\"\nobservers = [\"frankfurt\", \"a\", \"b\"]";
    assert!(warned(four).contains("2 of 4 vantages are not more than half: 3 are asked for"), "{}", warned(four));
}

#[test]
fn control_points_that_tell_nothing_are_warned_of() {
    let text = default_text();
    let (before, _) = text.split_once("[applications.deciding]").expect("documented");
    let points = "[\"https://a.example/x\", \"tcp://a.example:443\", \"https://x.us-east-1.amazonaws.com/\"]";
    let text = format!("{before}[applications.deciding]\nmode = \"automatic\"\n");
    let text = text.replacen("control_points = []", &format!("control_points = {points}"), 1);
    let warned = lines(&load(&text, &nothing()).expect("loads").warnings);
    assert!(warned.contains("tcp://a.example:443 and https://a.example/x are one host"), "{warned}");
    assert!(warned.contains("seems to be in us-east-1"), "{warned}");
}

#[test]
fn nobody_is_called_automation_or_like_a_schedule() {
    for name in ["automation", "schedule:quarterly"] {
        let token =
            format!("tokens = [{{ name = \"{name}\", sha256 = \"{}\", roles = [\"operator\"] }}]", Digest::zero());
        let faults = load(&default_text().replacen("tokens = []", &token, 1), &nothing()).expect_err("refused");
        assert!(lines(&faults).contains("auth.tokens[0].name"), "{}", lines(&faults));
    }
}

#[test]
fn a_capacity_is_a_count_and_a_size() {
    let with = |capacity: &str| {
        let lag = "lag_metric = \"AuroraGlobalDBRPOLag\"";
        load(&default_text().replacen(lag, &format!("{lag}\ncapacity = {capacity}"), 1), &nothing())
    };
    let declared = |capacity: &str| {
        let settings = with(capacity).unwrap_or_else(|faults| panic!("{}", lines(&faults)));
        settings.applications[0].stores.values().next().and_then(|s| s.capacity.clone())
    };
    let class = "db.r6g.xlarge".to_owned();
    let provisioned = Capacity { instances: 2, size: Size::Provisioned { class } };
    assert_eq!(declared("{ instances = 2, class = \"db.r6g.xlarge\" }"), Some(provisioned));
    let serverless = Capacity { instances: 1, size: Size::Serverless { min_acu: 0.5, max_acu: None } };
    assert_eq!(declared("{ instances = 1, min_capacity_acu = 0.5 }"), Some(serverless));
    for (faulty, says) in [
        ("{ instances = 0, class = \"db.r6g.large\" }", "is not between 1 and 16"),
        ("{ class = \"db.r6g.large\" }", "`instances` is missing"),
        ("{ instances = 2 }", "exactly one of"),
        ("{ instances = 2, class = \"db.r6g.large\", min_capacity_acu = 1 }", "exactly one of"),
        ("{ instances = 2, class = \"r6g.large\" }", "no instance class"),
        ("{ instances = 2, class = \"db.serverless\" }", "give `min_capacity_acu`"),
        ("{ instances = 2, min_capacity_acu = 0.7 }", "steps of 0.5"),
    ] {
        let faults = with(faulty).map(|_| ()).expect_err(faulty);
        assert!(lines(&faults).contains(says), "{faulty}: {}", lines(&faults));
    }
}

#[test]
fn where_resources_stand_in_code_is_read_and_each_fault_of_it_is_told() {
    let arn = "arn:aws:rds:us-west-2:123456789012:cluster:example-usw2";
    let with = |iac: &str| load(&format!("{}\n[applications.iac]\n{iac}\n", default_text()), &nothing());
    let settings = with(&format!(
        "terraform = {{ \"{arn}\" = \"module.db.aws_rds_cluster.west\" }}\ncloudformation = {{ \"{arn}\" = \"db/West\" }}"
    ));
    let settings = settings.unwrap_or_else(|faults| panic!("{}", lines(&faults)));
    let iac = &settings.applications[0].iac;
    assert_eq!(iac.terraform[arn].resource_type(), "aws_rds_cluster");
    assert_eq!(iac.cloudformation[arn].to_string(), "db/West");
    assert!(load(&default_text(), &nothing()).is_ok_and(|settings| settings.applications[0].iac.is_empty()));
    for (bad, told) in [
        ("terraform = { a = \"west\" }", "iac.terraform.a"),
        ("terraform = { a = \"aws_x.w\", b = \"aws_x.w\" }", "aws_x.w is the place of `a` already"),
        ("terraform = { \" \" = \"aws_x.w\" }", "expected an ARN"),
        ("terraform = 1", "expected a table"),
        ("cloudformation = { a = \"stack\" }", "stack name, /, logical id"),
        ("pulumi = {}", "pulumi"),
    ] {
        let faults = lines(&with(bad).expect_err(bad));
        assert!(faults.contains(told), "{bad}: {faults}");
    }
}

#[test]
fn a_runbook_that_is_not_there_is_told_with_what_was_meant() {
    let text = default_text().replacen("\"region-failover\"", "\"region-failovr\"", 1);
    let faults = load(&text, &nothing()).expect_err("there is none");
    assert!(lines(&faults).contains("did you mean `region-failover`?"), "{}", lines(&faults));
}

#[test]
fn a_runbook_named_as_one_that_ships_is_told_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_, text) = crate::config::runbooks::SHIPPED.iter().find(|(f, _)| f.ends_with("dns-flip.yaml")).expect("ships");
    std::fs::write(dir.path().join("dns-flip.yaml"), format!("{text}\n# ours\n")).expect("written");
    let mut faults = Faults::default();
    crate::config::runbooks::load(
        Some(dir.path()),
        true,
        &mut faults,
        &mut crate::domain::document::Findings::new("", ""),
    );
    let told = lines(&faults);
    assert!(told.contains("stands in another file too; this one ships in the program"), "{told}");
}
