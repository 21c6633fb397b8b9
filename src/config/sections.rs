//! The sections of the file: `server`, `store`, `aws`, `auth`, `vantage`, `runbooks`, and the list of `applications`.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use super::{
    Auth, Aws, Evidence, Notify, Offline, Server, Store, Traces, Vantage, access, application, notify, offline, store,
    traces, vantage,
};
use crate::domain::{
    application::Application,
    document::{At, Fields, Findings},
    egress::Egress,
};

/// The file, read.
pub(super) struct Read {
    pub(super) server: Server,
    pub(super) store: Store,
    pub(super) aws: Aws,
    pub(super) auth: Auth,
    pub(super) evidence: Evidence,
    pub(super) notify: Notify,
    pub(super) traces: Option<Traces>,
    pub(super) egress: Egress,
    pub(super) vantage: Vantage,
    pub(super) offline: Option<Offline>,
    pub(super) runbooks: RunbookFiles,
    /// Each with the key that its faults are noted at.
    pub(super) applications: Vec<(String, Application)>,
}

/// Which runbooks there are.
pub(super) struct RunbookFiles {
    /// As written; relative to the file.
    pub(super) directory: Option<PathBuf>,
    /// Whether those that ship in the program are there too.
    pub(super) shipped: bool,
}

/// Reads all sections. `None` where a section is so wrong that nothing can be checked against it.
pub(super) fn read(root: &At<'_>, found: &mut Findings) -> Option<Read> {
    let mut f = root.fields(found)?;
    let server = section(&mut f, "server", found, access::server);
    let store = section(&mut f, "store", found, store::read);
    let aws = section(&mut f, "aws", found, aws);
    let auth = section(&mut f, "auth", found, access::auth);
    let evidence = section(&mut f, "evidence", found, evidence);
    let notify = section(&mut f, "notify", found, notify::read);
    let traces = section(&mut f, "traces", found, traces::read);
    let network = section(&mut f, "network", found, notify::network);
    let vantage = section(&mut f, "vantage", found, vantage::read);
    let offline = section(&mut f, "offline", found, offline::read);
    let runbooks = section(&mut f, "runbooks", found, |f, found| match f.as_mut() {
        Some(f) => {
            let directory = f.get(found, "directory", "directory = \"../runbooks\"");
            let shipped = f.get(found, "shipped", "shipped = true");
            let directory = directory.and_then(|at| at.text(found)).map(PathBuf::from);
            let shipped = shipped.map_or(Some(directory.is_none()), |at| at.boolean(found))?;
            Some(RunbookFiles { directory, shipped })
        }
        None => Some(RunbookFiles { directory: None, shipped: true }),
    });
    let example = "[[applications]]\nname = \"payments\"";
    let mut applications_given = usize::MAX;
    let applications: Vec<(String, Application)> =
        match f.need(found, "applications", example).and_then(|at| at.list(found)) {
            Some(items) => {
                applications_given = items.len();
                items.iter().filter_map(|at| Some((at.key.clone(), application::read(at, found)?))).collect()
            }
            None => Vec::new(),
        };
    f.finish(found);
    let (server, auth) = (server?, auth?);
    vantage::tokens(&auth, found);
    // Where one could not be read, its name may be what is meant.
    let names: BTreeSet<_> = applications.iter().map(|(_, application)| application.name.clone()).collect();
    access::check(&server, &auth, Some(&names).filter(|names| names.len() == applications_given), found);
    if let (Some(store), Some(aws)) = (&store, &aws) {
        store::fits(store, aws, found);
    }
    if let (Some(offline), Some(store)) = (&offline, &store) {
        offline::fits(offline.as_ref(), store, found);
    }
    if let Some(vantage) = &vantage {
        vantage::itself(server.listen, vantage, found);
    }
    let aws = aws?;
    let (notify, egress) = (notify?, notify::egress(network?, &aws));
    notify::check(&notify, &egress, &applications, applications.len() == applications_given, found);
    let traces = traces?;
    if let Some(traces) = &traces {
        traces::fits(traces, &egress, found);
    }
    Some(Read {
        server,
        store: store?,
        aws,
        notify,
        traces,
        egress,
        auth,
        evidence: evidence?,
        vantage: vantage?,
        offline: offline?,
        runbooks: runbooks?,
        applications,
    })
}

/// Reads one section with `read`, which gets `None` where it is not given; finishes its keys.
fn section<'a, T>(
    f: &mut Fields<'a>,
    key: &'static str,
    found: &mut Findings,
    read: impl FnOnce(&mut Option<Fields<'a>>, &mut Findings) -> Option<T>,
) -> Option<T> {
    let mut fields = match f.get(found, key, "[server]") {
        Some(at) => Some(at.fields(found)?),
        None => None,
    };
    let value = read(&mut fields, found);
    if let Some(fields) = fields {
        fields.finish(found);
    }
    value
}

pub(super) fn get<'a>(
    f: &mut Option<Fields<'a>>,
    found: &mut Findings,
    key: &'static str,
    example: &'static str,
) -> Option<At<'a>> {
    f.as_mut().and_then(|f| f.get(found, key, example))
}

fn aws(f: &mut Option<Fields<'_>>, found: &mut Findings) -> Option<Aws> {
    let second = Duration::from_secs(1);
    let call = get(f, found, "call_timeout", "call_timeout = \"10s\"");
    let attempt = get(f, found, "attempt_timeout", "attempt_timeout = \"3s\"");
    let allow = get(f, found, "allow_custom_endpoints", "allow_custom_endpoints = [\"AWS_ENDPOINT_URL_RDS\"]");
    let production = get(f, found, "production", "production = true");
    let call_timeout = call.map_or(Some(10 * second), |at| at.duration(found, second, 120 * second));
    let attempt_timeout = attempt.map_or(Some(3 * second), |at| at.duration(found, second / 10, 60 * second));
    let production = production.map_or(Some(true), |at| at.boolean(found));
    let mut allow_custom_endpoints = Vec::new();
    for item in allow.and_then(|at| at.list(found)).unwrap_or_default() {
        let Some(name) = item.text(found) else { continue };
        let valid = name.starts_with("AWS_ENDPOINT_URL")
            && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        if valid {
            allow_custom_endpoints.push(name.to_owned());
        } else {
            found.error(&item.key, "expected the name of a variable that begins with AWS_ENDPOINT_URL", item.example);
        }
    }
    if let (Some(call), Some(attempt)) = (call_timeout, attempt_timeout)
        && attempt > call
    {
        found.error("aws.attempt_timeout", "one attempt takes longer than the whole call", "attempt_timeout = \"3s\"");
    }
    Some(Aws {
        call_timeout: call_timeout?,
        attempt_timeout: attempt_timeout?,
        allow_custom_endpoints,
        production: production?,
    })
}

fn evidence(f: &mut Option<Fields<'_>>, found: &mut Findings) -> Option<Evidence> {
    let key = get(f, found, "key", "key = \"file:/run/secrets/evidence\"");
    let keep = get(f, found, "keep", "keep = \"/var/lib/failoverd/evidence\"");
    let key = key.map(|at| at.parse(found));
    let keep = keep.map(|at| at.text(found).map(PathBuf::from));
    Some(Evidence {
        key: match key {
            Some(key) => Some(key?),
            None => None,
        },
        keep: match keep {
            Some(keep) => Some(keep?),
            None => None,
        },
    })
}
