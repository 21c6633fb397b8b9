//! The section `[store]`: where the journals are kept, and, where several replicas share them, how.
//!
//! Each kind has keys of its own; a key of the other kind is a fault, since whoever wrote it believes in it.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use super::{Aws, Store};
use crate::domain::{
    application::Application,
    document::{At, Fields, Findings, clip},
    id::Region,
    lease::{DURATION_MAX, DURATION_MIN, Tenure},
};

/// The lease where none is given: [`Tenure::room`] of it (11.2 s) holds a call of the default `aws.call_timeout`.
pub const LEASE: Duration = Duration::from_secs(24);

/// What may stay unverified in production, where it is named in `allow_unverified`.
pub const UNVERIFIED: [&str; 2] = ["ttl", "identity"];

/// Replicas run in so many Regions at most; three is what a strongly consistent table has.
const REPLICA_REGIONS_MAX: usize = 8;

const REPLICAS: &str = "replica_regions = [\"us-west-2\", \"us-east-2\"]";
const URL: &str = "url = \"https://failoverd.us-west-2.example.com\"";

/// The keys that each kind has beside `kind`.
const SQLITE: [&str; 1] = ["path"];
const DYNAMODB: [&str; 6] = ["table", "region", "replica_regions", "lease", "url", "allow_unverified"];

/// Reads the section; one SQLite file where it is not there.
pub(super) fn read(f: &mut Option<Fields<'_>>, found: &mut Findings) -> Option<Store> {
    let Some(f) = f else {
        return Some(Store::Sqlite { path: PathBuf::from("failoverd.sqlite") });
    };
    let kind = match f.get(found, "kind", "kind = \"sqlite\"") {
        Some(at) => match at.text(found)? {
            kind @ ("sqlite" | "dynamodb") => kind,
            _ => {
                found.error(&at.key, "expected sqlite or dynamodb", at.example);
                return None;
            }
        },
        None => "sqlite",
    };
    let given = Given::of(f, found);
    let foreign: Vec<&At<'_>> = given.all().filter(|(k, _)| !keys(kind).contains(k)).map(|(_, at)| at).collect();
    for at in &foreign {
        let problem = format!("is not a key of the store \"{kind}\"; its keys: {}", keys(kind).join(", "));
        found.error(&at.key, problem, "");
    }
    let store = if kind == "sqlite" { sqlite(&given, found) } else { dynamodb(&given, found) };
    if foreign.is_empty() { store } else { None }
}

fn keys(kind: &str) -> &'static [&'static str] {
    if kind == "sqlite" { &SQLITE } else { &DYNAMODB }
}

/// What stands in the section beside `kind`.
struct Given<'a> {
    path: Option<At<'a>>,
    table: Option<At<'a>>,
    region: Option<At<'a>>,
    replica_regions: Option<At<'a>>,
    lease: Option<At<'a>>,
    url: Option<At<'a>>,
    allow_unverified: Option<At<'a>>,
}

impl<'a> Given<'a> {
    fn of(f: &mut Fields<'a>, found: &mut Findings) -> Self {
        Self {
            path: f.get(found, "path", "path = \"failoverd.sqlite\""),
            table: f.get(found, "table", "table = \"failoverd\""),
            region: f.get(found, "region", "region = \"us-west-2\""),
            replica_regions: f.get(found, "replica_regions", REPLICAS),
            lease: f.get(found, "lease", "lease = \"24s\""),
            url: f.get(found, "url", URL),
            allow_unverified: f.get(found, "allow_unverified", "allow_unverified = [\"ttl\"]"),
        }
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, &At<'a>)> {
        let all = [
            ("path", &self.path),
            ("table", &self.table),
            ("region", &self.region),
            ("replica_regions", &self.replica_regions),
            ("lease", &self.lease),
            ("url", &self.url),
            ("allow_unverified", &self.allow_unverified),
        ];
        all.into_iter().filter_map(|(key, at)| Some((key, at.as_ref()?)))
    }
}

fn sqlite(given: &Given<'_>, found: &mut Findings) -> Option<Store> {
    let path = match &given.path {
        Some(at) => PathBuf::from(at.text(found)?),
        None => PathBuf::from("failoverd.sqlite"),
    };
    Some(Store::Sqlite { path })
}

fn dynamodb(given: &Given<'_>, found: &mut Findings) -> Option<Store> {
    let table = given.table.as_ref().map_or_else(|| Some("failoverd".to_owned()), |at| table(at, found));
    let region: Option<Region> = match &given.region {
        Some(at) => at.parse(found),
        None => {
            let problem = "`region` is missing: the Region through which this replica reaches the table";
            found.error("store", problem, "region = \"us-west-2\"");
            None
        }
    };
    let replica_regions = match &given.replica_regions {
        Some(at) => regions(at, found),
        None => region.clone().map(|region| BTreeSet::from([region])),
    };
    let lease = given.lease.as_ref().map_or(Some(LEASE), |at| at.duration(found, DURATION_MIN, DURATION_MAX));
    let url = given.url.as_ref().map_or(Some(None), |at| url(at, found).map(Some));
    let allow_unverified =
        given.allow_unverified.as_ref().map_or_else(|| Some(BTreeSet::new()), |at| unverified(at, found));
    Some(Store::DynamoDb {
        table: table?,
        region: region?,
        replica_regions: replica_regions?,
        lease: lease?,
        url: url?,
        allow_unverified: allow_unverified?,
    })
}

/// A table's name: 3 to 255 of `a-zA-Z0-9_.-` [DynamoDB's naming rules].
fn table(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let name = at.text(found)?;
    let valid = (3..=255).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if !valid {
        found.error(&at.key, "expected the name of a table: 3 to 255 letters, digits, `_`, `.`, `-`", at.example);
        return None;
    }
    Some(name.to_owned())
}

fn regions(at: &At<'_>, found: &mut Findings) -> Option<BTreeSet<Region>> {
    let items = at.list(found)?;
    if items.is_empty() || REPLICA_REGIONS_MAX < items.len() {
        found.error(&at.key, format!("are {}; expected 1 to {REPLICA_REGIONS_MAX}", items.len()), at.example);
        return None;
    }
    items.iter().map(|item| item.parse(found)).collect::<Vec<_>>().into_iter().collect()
}

/// Where people and other replicas reach the API of this one: an origin, without a path.
fn url(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let valid = rest.is_some_and(|rest| {
        let origin = rest.strip_suffix('/').unwrap_or(rest);
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
        !origin.is_empty() && origin.len() <= 255 && origin.bytes().all(allowed)
    });
    if !valid {
        let problem = format!("`{}` is not where an API is: expected https://HOST or http://HOST:PORT", clip(text));
        found.error(&at.key, problem, at.example);
        return None;
    }
    Some(text.trim_end_matches('/').to_owned())
}

fn unverified(at: &At<'_>, found: &mut Findings) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let items = at.list(found)?;
    for item in &items {
        match item.text(found) {
            Some(name) if UNVERIFIED.contains(&name) => {
                names.insert(name.to_owned());
            }
            Some(_) => found.error(&item.key, format!("expected one of {}", UNVERIFIED.join(", ")), at.example),
            None => {}
        }
    }
    (names.len() == items.len()).then_some(names)
}

/// Notes where a call of `aws` could outlast the lease under which it was begun.
pub(super) fn fits(store: &Store, aws: &Aws, found: &mut Findings) {
    let Store::DynamoDb { lease, .. } = store else { return };
    let room = Tenure::room(*lease);
    if room < aws.call_timeout {
        let problem = format!(
            "a lease of {} s leaves a call {:.1} s, and `aws.call_timeout` is {:.1} s: a call could end after the lease under \
             which it was begun; have a longer lease or a shorter `aws.call_timeout`",
            lease.as_secs_f64(),
            room.as_secs_f64(),
            aws.call_timeout.as_secs_f64(),
        );
        found.error("store.lease", problem, "lease = \"24s\" # with call_timeout = \"10s\"");
    }
}

/// Notes where every replica is in the Region whose loss it is to survive (FAULTS.md 28).
pub(super) fn survives(app: &Application, store: &Store, found: &mut Findings) {
    let Store::DynamoDb { replica_regions, .. } = store else { return };
    let Some(primary) = app.regions.first() else { return };
    if replica_regions.iter().all(|region| region == primary) {
        let problem = format!(
            "every replica is in {primary}, the preferred Region of `{}`: they would be lost with it",
            app.name
        );
        found.coded("store-in-primary", "store.replica_regions", problem, REPLICAS);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use super::*;
    use crate::config::{Faults, Settings};

    /// The default configuration over a table, with `keys` in `[store]`.
    fn load(keys: &str, env: &[(&str, &str)]) -> Result<Settings, Faults> {
        let text = include_str!("../../config/default.toml");
        let (before, rest) = text.split_once("kind = \"sqlite\"\n").expect("a kind");
        let (_, after) = rest.split_once("\n[aws]").expect("the next section");
        let text = format!("{before}kind = \"dynamodb\"\n{keys}\n[aws]{after}");
        let env: BTreeMap<_, _> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Settings::parse("f.toml", &text, Path::new(""), &env)
    }

    #[track_caller]
    fn refused(keys: &str, told: &str) {
        let faults = load(keys, &[]).expect_err(keys);
        let problems: Vec<&str> = faults.faults.iter().map(|f| f.problem.as_str()).collect();
        assert!(problems.iter().any(|p| p.contains(told)), "{keys}: {problems:#?}");
    }

    #[test]
    fn a_table_needs_a_region_and_has_defaults_for_the_rest() {
        let settings = load("region = \"us-west-2\"", &[]).unwrap_or_else(|faults| panic!("{faults}"));
        let region: Region = "us-west-2".parse().expect("valid");
        let expected = Store::DynamoDb {
            table: "failoverd".to_owned(),
            region: region.clone(),
            replica_regions: BTreeSet::from([region]),
            lease: LEASE,
            url: None,
            allow_unverified: BTreeSet::new(),
        };
        assert_eq!(settings.store, expected);
        assert!(settings.warnings.is_empty(), "{}", settings.warnings);
    }

    #[test]
    fn the_environment_gives_each_replica_its_own_region_and_url() {
        let env = [
            ("FAILOVERD__STORE__REGION", "eu-west-1"),
            ("FAILOVERD__STORE__URL", "https://failoverd.eu-west-1.example.com/"),
            ("FAILOVERD__STORE__TABLE", "journals"),
            ("FAILOVERD__STORE__LEASE", "30s"),
        ];
        let settings = load("replica_regions = [\"us-west-2\", \"eu-west-1\"]", &env);
        let Ok(Store::DynamoDb { table, region, lease, url, .. }) = settings.map(|s| s.store) else { panic!("loads") };
        assert_eq!((table.as_str(), region.as_str(), lease.as_secs()), ("journals", "eu-west-1", 30));
        assert_eq!(url.as_deref(), Some("https://failoverd.eu-west-1.example.com"), "without a slash at the end");
    }

    #[test]
    fn what_is_wrong_with_a_table_is_told() {
        let region = "region = \"us-west-2\"\n";
        refused("", "`region` is missing");
        refused(&format!("{region}path = \"x.sqlite\""), "is not a key of the store \"dynamodb\"");
        refused(&format!("{region}table = \"a table\""), "3 to 255 letters");
        refused(&format!("{region}url = \"failoverd:8080\""), "is not where an API is");
        refused(&format!("{region}url = \"https://x.example.com/path\""), "is not where an API is");
        refused(&format!("{region}lease = \"2s\""), "is not between");
        refused(&format!("{region}replica_regions = []"), "are 0; expected 1 to 8");
        refused(&format!("{region}allow_unverified = [\"consistency\"]"), "expected one of ttl, identity");
        refused(&format!("{region}tabel = \"x\""), "did you mean `table`?");
    }

    #[test]
    fn a_key_of_the_table_beside_a_file_is_refused() {
        let text = include_str!("../../config/default.toml");
        let text = text.replace("path = \"failoverd.sqlite\"\n", "path = \"x.sqlite\"\nlease = \"24s\"\n");
        let faults = Settings::parse("f.toml", &text, Path::new(""), &BTreeMap::new()).expect_err("refused");
        let told = "is not a key of the store \"sqlite\"; its keys: path";
        assert!(faults.faults.iter().any(|f| f.problem == told && f.key == "store.lease"), "{faults}");
    }

    #[test]
    fn a_lease_in_which_no_call_has_room_is_refused_and_both_are_named() {
        let lease = |text: &str| format!("region = \"us-west-2\"\nlease = \"{text}\"");
        refused(&lease("15s"), "a lease of 15 s leaves a call 7.0 s, and `aws.call_timeout` is 10.0 s");
        let shorter = load(&lease("15s"), &[("FAILOVERD__AWS__CALL_TIMEOUT", "7s")]);
        assert!(shorter.is_ok(), "a call of 7 s has room");
        assert!(load(&lease("22s"), &[]).is_ok());
    }

    /// FAULTS.md 28.
    #[test]
    fn replicas_in_the_preferred_region_alone_are_refused() {
        refused("region = \"us-east-1\"", "every replica is in us-east-1, the preferred Region of `example`");
        assert!(load("region = \"us-east-1\"\nreplica_regions = [\"us-east-1\", \"us-west-2\"]", &[]).is_ok());
    }
}
