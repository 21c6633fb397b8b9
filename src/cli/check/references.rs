//! The secrets that a configuration refers to and that are not to be had on this machine.
//!
//! Invariant: no secret is read, only whether there is one; and what is missing here is no fault of the file: `check` runs
//! before a merge too, where the daemon's secrets have no business. So it is told, and changes no exit code.

use std::{collections::BTreeMap, fs};

use serde::Serialize;

use crate::{
    config::Settings,
    domain::{channel::Via, secret::SecretRef},
};

/// A reference that leads nowhere on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Absent {
    /// `traces.headers.authorization`.
    pub key: String,
    pub reference: SecretRef,
    pub problem: String,
}

/// Every reference of `settings` that leads nowhere, with the environment `env`.
pub(super) fn absent(settings: &Settings, env: &BTreeMap<String, String>) -> Vec<Absent> {
    let told = |(key, reference): (String, &SecretRef)| {
        let problem = problem(reference, env)?;
        Some(Absent { key, reference: reference.clone(), problem })
    };
    all(settings).into_iter().filter_map(told).collect()
}

fn all(settings: &Settings) -> Vec<(String, &SecretRef)> {
    let mut all = Vec::new();
    let headers = settings.traces.iter().flat_map(|traces| &traces.headers);
    all.extend(headers.map(|(name, reference)| (format!("traces.headers.{name}"), reference)));
    for (n, channel) in settings.notify.channels.configured.iter().enumerate() {
        let found = match &channel.via {
            Via::Slack { url } => Some(("url", url)),
            Via::PagerDuty { routing_key, .. } => Some(("routing_key", routing_key)),
            Via::Generic { key, .. } => Some(("key", key)),
            Via::Sns { .. } | Via::EventBridge { .. } => None,
        };
        all.extend(found.map(|(key, reference)| (format!("notify.channels[{n}].{key}"), reference)));
    }
    all.extend(settings.evidence.key.iter().map(|reference| ("evidence.key".to_owned(), reference)));
    for (n, app) in settings.applications.iter().enumerate() {
        let beaten = app.stores.iter().filter_map(|(store, db)| Some((store, db.heartbeat.as_ref()?)));
        all.extend(
            beaten
                .map(|(store, beat)| (format!("applications[{n}].stores.{store}.heartbeat.password"), &beat.password)),
        );
    }
    all
}

/// Why nothing is to be had by `reference`.
fn problem(reference: &SecretRef, env: &BTreeMap<String, String>) -> Option<String> {
    match reference {
        SecretRef::Env(name) => match env.get(name).map(|value| value.trim().is_empty()) {
            None => Some("is not set in the environment".to_owned()),
            Some(true) => Some("is empty in the environment".to_owned()),
            Some(false) => None,
        },
        SecretRef::File(path) => match fs::metadata(path) {
            Err(error) => Some(format!("cannot be read: {error}")),
            Ok(found) if !found.is_file() => Some("is no regular file".to_owned()),
            Ok(found) if found.len() == 0 => Some("is empty".to_owned()),
            Ok(_) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_leads_nowhere_on_this_machine_is_named_by_its_key_and_nothing_of_a_secret_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let there = folder.path().join("there");
        fs::write(&there, "hunter2").expect("written");
        let text = format!(
            "[traces]\nendpoint = \"https://collector.example.com\"\n[traces.headers]\na-absent = \"env:ABSENT\"\n\
             b-empty = \"env:EMPTY\"\nc-there = \"env:THERE\"\nd-file = \"file:{}\"\ne-gone = \"file:{}\"\nf-folder = \
             \"file:{}\"\n[evidence]\nkey = \"env:SIGN\"\n[[notify.channels]]\nname = \"oncall\"\nkind = \
             \"pagerduty\"\nrouting_key = \"env:PAGER\"\n",
            there.display(),
            folder.path().join("gone").display(),
            folder.path().display(),
        );
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/payments-fast.toml");
        let whole = format!("{text}{}", fs::read_to_string(&example).expect("read"));
        let folder_of = example.parent().expect("a folder");
        let settings = Settings::parse("f.toml", &whole, folder_of, &BTreeMap::new()).unwrap_or_else(|f| panic!("{f}"));
        let env = [("EMPTY", " "), ("THERE", "hunter2")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let absent = absent(&settings, &env);
        let told: Vec<String> =
            absent.iter().map(|a| format!("{} {}", a.key, a.problem.split(':').next().unwrap_or_default())).collect();
        assert_eq!(
            told,
            [
                "traces.headers.a-absent is not set in the environment",
                "traces.headers.b-empty is empty in the environment",
                "traces.headers.e-gone cannot be read",
                "traces.headers.f-folder is no regular file",
                "notify.channels[0].routing_key is not set in the environment",
                "evidence.key is not set in the environment",
            ]
        );
        assert!(!serde_json::to_string(&absent).expect("JSON").contains("hunter2"));
    }
}
