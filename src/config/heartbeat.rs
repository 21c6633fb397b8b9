//! The heartbeat of a store: `[applications.stores.NAME.heartbeat]`.

use std::time::Duration;

use super::application::{complete, per_region};
use crate::domain::{
    document::{At, Findings},
    heartbeat::{Address, Heartbeat, Tls},
    id::Region,
    secret::SecretRef,
};

const PERIOD_MIN: Duration = Duration::from_millis(100);
const PERIOD_MAX: Duration = Duration::from_mins(1);
const TIMEOUT_MIN: Duration = Duration::from_millis(100);
const TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// Beside every fault of an endpoint or of the table as a whole.
pub(super) const EXAMPLE: &str = "endpoints = { us-east-1 = \"orders.cluster-abc.us-east-1.rds.amazonaws.com:5432\", \
                                  us-west-2 = \"orders.cluster-def.us-west-2.rds.amazonaws.com:5432\" }";

const READERS: &str = "reader_endpoints = { us-west-2 = \"orders.cluster-ro-def.us-west-2.rds.amazonaws.com:5432\" }";

pub(super) fn read(at: &At<'_>, regions: &[Region], found: &mut Findings) -> Option<Heartbeat> {
    let mut f = at.fields(found)?;
    let user = f.need(found, "user", "user = \"failoverd_heartbeat\"");
    let password = f.need(found, "password", "password = \"env:HEARTBEAT_PASSWORD\"");
    let database = f.need(found, "database", "database = \"orders\"");
    let endpoints = f.need(found, "endpoints", EXAMPLE);
    let readers = f.get(found, "reader_endpoints", READERS);
    let tls = f.get(found, "tls", "tls = \"verify-full\"");
    let ca_file = f.get(found, "ca_file", "ca_file = \"/etc/ssl/rds-global-bundle.pem\"");
    let period = f.get(found, "period", "period = \"1s\"");
    let timeout = f.get(found, "timeout", "timeout = \"2s\"");
    f.finish(found);
    let user = user.and_then(|at| at.text(found).map(str::to_owned));
    let password = password.and_then(|at| at.parse::<SecretRef>(found));
    let database = database.and_then(|at| at.text(found).map(str::to_owned));
    let endpoints = endpoints.map(|at| {
        let endpoints = per_region(&at, regions, found, |at, _, found| at.parse::<Address>(found));
        if !found.has_errors_at(&at.key) {
            complete(&at.key, "database", &endpoints, regions, found, EXAMPLE);
        }
        (at.key, endpoints)
    });
    let readers = readers.map(|at| per_region(&at, regions, found, |at, _, found| at.parse::<Address>(found)));
    let readers = readers.unwrap_or_default();
    let ca_file = match ca_file {
        Some(at) => Some((at.key.clone(), at.text(found)?.to_owned())),
        None => None,
    };
    let tls = match tls {
        Some(at) => (at.key.clone(), at.text(found)?),
        None => (String::new(), "verify-full"),
    };
    let period = period.map_or(Some(Duration::from_secs(1)), |at| at.duration(found, PERIOD_MIN, PERIOD_MAX));
    let timeout = timeout.map_or(Some(Duration::from_secs(2)), |at| at.duration(found, TIMEOUT_MIN, TIMEOUT_MAX));
    let (endpoints_key, endpoints) = endpoints?;
    if !found.has_errors_at(&endpoints_key) {
        distinct(&endpoints_key, &endpoints, found);
    }
    let tls = protection(&tls, ca_file, endpoints.values().chain(readers.values()), found);
    Some(Heartbeat {
        user: user?,
        password: password?,
        database: database?,
        endpoints,
        reader_endpoints: readers,
        tls: tls?,
        period: period?,
        timeout: timeout?,
    })
}

/// Two Regions at one address would be one database: a beat would arrive where it was written, and nothing would lag.
fn distinct(key: &str, endpoints: &std::collections::BTreeMap<Region, Address>, found: &mut Findings) {
    let mut seen: Vec<(&Region, &Address)> = Vec::new();
    for (region, address) in endpoints {
        if let Some((other, _)) = seen.iter().find(|(_, a)| *a == address) {
            let problem =
                format!("{other} and {region} have the same database, {address}: each needs its own cluster's");
            found.error(&format!("{key}.{region}"), problem, EXAMPLE);
        }
        seen.push((region, address));
    }
}

/// There is no way between checking who answers and no TLS: encryption without a check hands the password to anybody.
fn protection<'a>(
    (key, tls): &(String, &str),
    ca_file: Option<(String, String)>,
    mut addresses: impl Iterator<Item = &'a Address>,
    found: &mut Findings,
) -> Option<Tls> {
    const FULL: &str = "tls = \"verify-full\"";
    match *tls {
        "verify-full" => Some(Tls::VerifyFull { ca_file: ca_file.map(|(_, path)| path) }),
        "disable" => {
            if let Some((key, _)) = ca_file {
                found.error(&key, "without TLS there is nothing to check with it", FULL);
                return None;
            }
            if let Some(address) = addresses.find(|a| !a.is_loopback()) {
                let problem = format!("{address} is not a loopback address: the password would go there unprotected");
                found.error(key, problem, FULL);
                return None;
            }
            Some(Tls::Disable)
        }
        "require" | "verify-ca" | "prefer" | "allow" => {
            let problem = format!("`{tls}` does not check who answers; a private authority is named with ca_file");
            found.error(key, problem, "tls = \"verify-full\" and ca_file = \"/etc/ssl/rds-global-bundle.pem\"");
            None
        }
        _ => {
            found.error(key, "expected verify-full, or disable for loopback addresses", FULL);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree;

    const GOOD: &str = "\
user = \"failoverd_heartbeat\"
password = \"env:HEARTBEAT_PASSWORD\"
database = \"orders\"
endpoints = { us-east-1 = \"east.example.com:5432\", us-west-2 = \"west.example.com:5432\" }
";

    fn check(text: &str) -> (Option<Heartbeat>, Vec<String>) {
        let mut found = Findings::new("f.toml", "config-invalid");
        let node = tree::parse(text, &mut found).expect("TOML");
        let at = At::root(&node, &mut found);
        let regions = ["us-east-1", "us-west-2"].map(|r| r.parse().expect("valid"));
        let heartbeat = read(&at, &regions, &mut found);
        let line = |f: crate::domain::document::Fault| format!("{} {}: {}", f.line, f.key, f.problem);
        (heartbeat, found.into_faults().into_iter().map(line).collect())
    }

    #[test]
    fn what_is_left_out_is_a_second_two_seconds_and_full_verification() {
        let (heartbeat, faults) = check(GOOD);
        let heartbeat = heartbeat.unwrap_or_else(|| panic!("{faults:?}"));
        assert_eq!(heartbeat.period, Duration::from_secs(1));
        assert_eq!(heartbeat.timeout, Duration::from_secs(2));
        assert_eq!(heartbeat.tls, Tls::VerifyFull { ca_file: None });
        let west = heartbeat.endpoint(&"us-west-2".parse().expect("valid")).expect("configured");
        assert_eq!(west.address.to_string(), "west.example.com:5432");
        assert_eq!(heartbeat.endpoint(&"eu-west-1".parse().expect("valid")), None);
    }

    #[test]
    fn a_secondary_is_looked_at_by_its_reader_endpoint_where_it_has_one() {
        let (heartbeat, faults) =
            check(&format!("{GOOD}reader_endpoints = {{ us-west-2 = \"reader.example.com:5432\" }}"));
        let heartbeat = heartbeat.unwrap_or_else(|| panic!("{faults:?}"));
        let host = |at: Option<crate::domain::heartbeat::DatabaseEndpoint>| at.expect("configured").address.host;
        let [east, west] = ["us-east-1", "us-west-2"].map(|r| r.parse().expect("valid"));
        assert_eq!(host(heartbeat.reader_endpoint(&west)), "reader.example.com");
        assert_eq!(host(heartbeat.endpoint(&west)), "west.example.com");
        assert_eq!(host(heartbeat.reader_endpoint(&east)), "east.example.com");
    }

    #[test]
    fn every_fault_is_reported_at_once_and_a_password_is_not_repeated() {
        let text = "\
user = \"\"
password = \"hunter2\"
endpoints = { us-east-1 = \"east\", eu-west-1 = \"x:1\" }
tls = \"require\"
period = \"1ms\"
timeout = \"1h\"
port = 5432
";
        let (heartbeat, faults) = check(text);
        assert_eq!(heartbeat, None);
        let all = faults.join("\n");
        for part in [
            "1 user: is empty",
            "2 password: expected a reference such as env:NAME",
            "`database` is missing",
            "`east` is not an address such as db.example.com:5432",
            "`eu-west-1` is not a Region of this application",
            "4 tls: `require` does not check who answers",
            "5 period: `1ms` is not between 100ms and 1m",
            "6 timeout: `1h` is not between",
            "7 port: unknown key `port`",
        ] {
            assert!(all.contains(part), "{part} is not in:\n{all}");
        }
        assert_eq!(faults.len(), 9, "{all}");
        assert!(!all.contains("hunter2"), "{all}");
    }

    #[test]
    fn the_default_file_shows_every_key_as_it_may_be_written() {
        let text = include_str!("../../config/default.toml");
        let shown = text.split("# [applications.stores.orders.heartbeat]\n").nth(1).expect("it is shown");
        let is_key = |line: &&str| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        let lines = shown.lines().map_while(|line| line.strip_prefix("# ")).filter(is_key);
        let lines: Vec<&str> = lines.collect();
        assert_eq!(lines.len(), 9, "{lines:#?}");
        let (heartbeat, faults) = check(&lines.join("\n"));
        assert!(heartbeat.is_some(), "{faults:?}");
        let whole = text.replace("# [applications.stores.orders.heartbeat]", "[applications.stores.orders.heartbeat]");
        let whole = lines.iter().fold(whole, |text, line| text.replace(&format!("# {line}\n"), &format!("{line}\n")));
        let none = std::collections::BTreeMap::new();
        let settings = crate::config::Settings::parse("default.toml", &whole, std::path::Path::new(""), &none);
        let settings = settings.unwrap_or_else(|faults| panic!("{faults}"));
        assert!(settings.applications[0].stores.values().all(|s| s.heartbeat.is_some()));
    }

    #[test]
    fn tls_is_left_out_on_loopback_only() {
        let loopback = GOOD.replace("east.example.com", "127.0.0.1").replace("west.example.com", "[::1]");
        assert_eq!(check(&format!("{loopback}tls = \"disable\"")).0.expect("valid").tls, Tls::Disable);
        for (text, part) in [
            (format!("{GOOD}tls = \"disable\""), "east.example.com:5432 is not a loopback address"),
            (format!("{loopback}tls = \"disable\"\nca_file = \"x\""), "without TLS there is nothing to check"),
            (format!("{GOOD}tls = \"on\""), "expected verify-full"),
            (GOOD.replace("west.example.com", "east.example.com"), "have the same database"),
            (GOOD.replace(", us-west-2 = \"west.example.com:5432\"", ""), "no database for us-west-2"),
        ] {
            let (_, faults) = check(&text);
            assert!(faults.len() == 1 && faults[0].contains(part), "{faults:?}");
        }
    }
}
