//! Bearer tokens: made here, shown once, kept by the daemon as a hash alone. And how the client verbs come by theirs.
//!
//! Invariant: no `Debug` shows one.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use rustls::crypto::aws_lc_rs;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{EXIT_DONE, api::Failure};
use crate::{
    adapters::{clock::SystemClock, probes::files},
    domain::{
        access::Role,
        id::{ApplicationName, Subject},
    },
    ports::Clock as _,
};

/// What every token begins with, so that a scanner that looks for leaked secrets knows it.
const PREFIX: &str = "failoverd_";

/// Bits of a token that nobody can guess.
const BITS: usize = 256;

/// The longest file that a token is read from, and the longest one of certificates.
const TOKEN_BYTES_MAX: u64 = 16 * 1024;
const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// So long a token is good where nobody says.
const GOOD_FOR: &str = "90d";

/// What is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself, for where it is needed.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// How the client shows who it is, and whom it takes for the daemon.
#[derive(Debug, Clone, Default, Args)]
pub struct Credentials {
    /// The bearer token; best from FAILOVERD_TOKEN or a file, since arguments are visible to others
    #[arg(long, global = true, env = "FAILOVERD_TOKEN", hide = true, hide_env_values = true)]
    pub token: Option<Secret>,
    /// A file that holds the bearer token
    #[arg(long, global = true, value_name = "FILE", env = "FAILOVERD_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Whose signature makes a daemon believed (PEM), beside those that this system trusts
    #[arg(long, global = true, value_name = "FILE", env = "FAILOVERD_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// The certificate to show to the daemon, and its key (PEM, both in one file)
    #[arg(long, global = true, value_name = "FILE", env = "FAILOVERD_CERTIFICATE_FILE", hide = true)]
    pub certificate_file: Option<PathBuf>,
}

impl Credentials {
    /// With this token alone.
    pub fn bearer(token: Option<String>) -> Self {
        Self { token: token.map(Secret), ..Self::default() }
    }

    /// The token, wherever it is; an empty one is none.
    ///
    /// # Errors
    /// A file that cannot be read; a token in two places.
    pub fn token(&self) -> Result<Option<Secret>, Failure> {
        let given = self.token.clone().filter(|token| !token.0.is_empty());
        let Some(path) = &self.token_file else { return Ok(given) };
        if given.is_some() {
            let why = "a token is given and a file of one (FAILOVERD_TOKEN and FAILOVERD_TOKEN_FILE): say one";
            return Err(Failure::Usage(why.to_owned()));
        }
        let text = String::from_utf8(read(path, TOKEN_BYTES_MAX)?).unwrap_or_default();
        match text.trim() {
            "" => Err(Failure::Usage(format!("{} holds no token", path.display()))),
            token => Ok(Some(Secret(token.to_owned()))),
        }
    }

    /// A client's TLS, as these say.
    ///
    /// # Errors
    /// A file that cannot be read or holds something else.
    pub fn tls(&self, mut client: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder, Failure> {
        let wrong = |path: &Path| Failure::Usage(format!("{}: expected certificates in PEM", path.display()));
        if let Some(path) = &self.ca_file {
            let read = reqwest::Certificate::from_pem_bundle(&read(path, PEM_BYTES_MAX)?);
            client = client.tls_certs_merge(read.map_err(|_| wrong(path))?);
        }
        if let Some(path) = &self.certificate_file {
            let read = reqwest::Identity::from_pem(&read(path, PEM_BYTES_MAX)?);
            client = client.identity(read.map_err(|_| wrong(path))?);
        }
        Ok(client)
    }
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    files::read(path, most).map_err(|why| Failure::Usage(format!("{}: {why}", path.display())))
}

/// Verbs of tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token: it is shown once, with the lines for the configuration, which hold its hash
    New(NewArgs),
}

/// What a new token is for.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Who will call with it; the two-person rule goes by this name
    #[arg(long)]
    pub name: Subject,
    /// viewer, operator, approver, drill-runner, admin or observer; may be given several times
    #[arg(long = "role", required = true, value_parser = role)]
    pub roles: Vec<Role>,
    /// Only for this application; may be given several times
    #[arg(long = "application")]
    pub applications: Vec<ApplicationName>,
    /// After so long it is nobody's: 90d, 12h; `never` is possible
    #[arg(long, value_name = "DURATION", default_value = GOOD_FOR)]
    pub expires_in: String,
}

fn role(text: &str) -> Result<Role, String> {
    let known: Vec<&str> = Role::ALL.into_iter().map(Role::as_str).collect();
    Role::named(text).ok_or_else(|| format!("expected one of {}", known.join(", ")))
}

/// Makes a token and prints it.
///
/// # Errors
/// A time that is none; roles that nobody may have together; a machine without randomness.
pub fn run(command: &TokenCommand, json: bool) -> anyhow::Result<ExitCode> {
    let TokenCommand::New(args) = command;
    let token = Secret(format!("{PREFIX}{}", drawn()?));
    let entry = entry(args, &token, SystemClock.wall())?;
    if json {
        super::print_line(&json!({ "token": token.reveal(), "configuration": entry }).to_string());
    } else {
        let text = format!(
            "{}\n\nIt is not kept anywhere: give it to {} over a way that nobody reads, and see that FAILOVERD_TOKEN or a \
             file holds it.\nFor the configuration, in [auth] tokens = [ … ], on every replica:\n\n    {entry},\n",
            token.reveal(),
            args.name
        );
        super::print(&text);
    }
    Ok(ExitCode::from(EXIT_DONE))
}

/// Bits that nobody can guess, in hexadecimal.
fn drawn() -> anyhow::Result<String> {
    let mut bytes = [0u8; BITS / 8];
    let random = aws_lc_rs::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| anyhow::anyhow!("this machine gives no random numbers"))?;
    Ok(hex::encode(bytes))
}

/// The line for the configuration.
fn entry(args: &NewArgs, token: &Secret, now: Timestamp) -> anyhow::Result<String> {
    if args.roles.contains(&Role::Admin) && args.roles.contains(&Role::Approver) {
        anyhow::bail!("an admin cannot approve: make two tokens for two people");
    }
    if args.roles.contains(&Role::Observer) && (args.roles.len() > 1 || !args.applications.is_empty()) {
        anyhow::bail!("an observer may do nothing else, and reports on every application whose policy names it");
    }
    let expires = match args.expires_in.as_str() {
        "never" => String::new(),
        text => {
            let span: jiff::SignedDuration = text
                .parse()
                .or_else(|_| days(text))
                .context("expires-in: expected a duration such as 90d, or never")?;
            let end = Duration::try_from(span).ok().filter(|d| !d.is_zero()).and_then(|d| now.checked_add(d).ok());
            let end = end.context("expires-in: expected a duration that ends in the future")?;
            format!(", expires_at = \"{}\"", Timestamp::from_second(end.as_second())?)
        }
    };
    let quoted = |all: Vec<&str>| all.iter().map(|one| format!("\"{one}\"")).collect::<Vec<_>>().join(", ");
    let applications = match args.applications.as_slice() {
        [] => String::new(),
        some => format!(", applications = [{}]", quoted(some.iter().map(ApplicationName::as_str).collect())),
    };
    Ok(format!(
        "{{ name = \"{}\", sha256 = \"{}\", roles = [{}]{applications}{expires} }}",
        args.name,
        hex::encode(Sha256::digest(token.reveal())),
        quoted(args.roles.iter().map(|role| role.as_str()).collect()),
    ))
}

/// Days of 24 hours, which a duration by itself does not know.
fn days(text: &str) -> Result<jiff::SignedDuration, jiff::Error> {
    let whole = text.strip_suffix('d').and_then(|n| n.parse::<i64>().ok()).filter(|n| (1..=36_500).contains(n));
    whole.map_or_else(|| text.parse(), |n| Ok(jiff::SignedDuration::from_hours(24 * n)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Settings;

    fn args(roles: &[Role], applications: &[&str], expires_in: &str) -> NewArgs {
        NewArgs {
            name: "ann@example.com".parse().expect("valid"),
            roles: roles.to_vec(),
            applications: applications.iter().map(|a| a.parse().expect("valid")).collect(),
            expires_in: expires_in.to_owned(),
        }
    }

    fn now() -> Timestamp {
        "2027-01-01T00:00:00.5Z".parse().expect("a time")
    }

    #[test]
    fn what_is_printed_for_the_configuration_is_read_and_finds_the_token() {
        let token = Secret(format!("{PREFIX}{}", drawn().expect("random")));
        let line = entry(&args(&[Role::Operator, Role::Approver], &["example"], "90d"), &token, now()).expect("a line");
        assert!(!line.contains(token.reveal()));
        let text = include_str!("../../config/default.toml").replacen("tokens = []", &format!("tokens = [{line}]"), 1);
        let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config"));
        let settings = Settings::parse("x.toml", &text, directory, &BTreeMap::new()).expect("reads");
        let read = &settings.auth.tokens[0];
        assert_eq!(read.sha256.as_str(), hex::encode(Sha256::digest(token.reveal())));
        assert_eq!(read.expires_at.map(|t| t.to_string()).as_deref(), Some("2027-04-01T00:00:00Z"));
        assert!(read.has(Role::Operator) && read.has(Role::Approver));
        let never = entry(&args(&[Role::Viewer], &[], "never"), &token, now()).expect("a line");
        assert!(!never.contains("expires_at") && !never.contains("applications"));
    }

    #[test]
    fn two_tokens_are_never_the_same_and_have_256_bits() {
        let (one, two) = (drawn().expect("random"), drawn().expect("random"));
        assert_ne!(one, two);
        assert_eq!((one.len(), hex::decode(&one).map(|b| b.len())), (64, Ok(32)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let token = Secret("t".to_owned());
        for bad in [
            args(&[Role::Admin, Role::Approver], &[], "90d"),
            args(&[Role::Observer, Role::Viewer], &[], "90d"),
            args(&[Role::Observer], &["payments"], "90d"),
            args(&[Role::Viewer], &[], "soon"),
            args(&[Role::Viewer], &[], "0d"),
            args(&[Role::Viewer], &[], "-1h"),
        ] {
            assert!(entry(&bad, &token, now()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_token_is_shown_by_no_debug_and_taken_from_one_place() {
        let credentials = Credentials::bearer(Some("s3cret-canary".to_owned()));
        assert!(!format!("{credentials:?}").contains("canary"));
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "from-a-file\n").expect("written");
        let from_file = Credentials { token_file: Some(file.path().to_owned()), ..Credentials::default() };
        assert_eq!(from_file.token().expect("read").expect("one").reveal(), "from-a-file");
        let both = Credentials { token_file: from_file.token_file, ..credentials };
        assert!(both.token().is_err());
        let gone = Credentials { token_file: Some("/nonexistent".into()), ..Credentials::default() };
        assert!(gone.token().is_err());
    }
}
