//! `failoverd observe`: the options of an observer elsewhere.

use std::{fmt, path::PathBuf, str::FromStr};

use clap::Args;

use crate::domain::{id::VantageName, vantage::ProbeTarget};

/// Options of `failoverd observe`.
#[derive(Debug, Clone, Args)]
pub struct ObserveArgs {
    /// The vantage: the name of its token, and the one that policies know
    #[arg(long)]
    pub name: VantageName,
    /// The daemons that it reports to
    #[arg(long, value_name = "URL", required = true, value_delimiter = ',')]
    pub report_to: Vec<DaemonUrl>,
    /// A file with the bearer token
    #[arg(long, value_name = "FILE")]
    pub token_file: PathBuf,
    /// What tells whether it is cut off itself: https://, http:// or
    /// tcp://host:port; three or more, in places that do not depend on each
    /// other
    #[arg(long = "control-point", value_name = "URL", required = true, value_delimiter = ',')]
    pub control_points: Vec<ProbeTarget>,
    /// So many must answer; more than half, if not given
    #[arg(long, value_name = "N")]
    pub control_points_needed: Option<usize>,
    /// How often each is asked
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub control_period_seconds: u64,
}

/// Where a daemon answers. Tokens go there: in the clear over loopback only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonUrl(String);

impl FromStr for DaemonUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = reqwest::Url::parse(text).map_err(|e| format!("expected a URL such as https://failoverd: {e}"))?;
        let host = url.host_str().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if !url.username().is_empty() || url.password().is_some() {
            return Err("expected no user in the URL: the token is in --token-file".to_owned());
        }
        match url.scheme() {
            "https" => Ok(Self(text.to_owned())),
            "http" if is_loopback => Ok(Self(text.to_owned())),
            "http" => Err(format!("expected https: the token would go to {host} in the clear")),
            _ => Err("expected a URL such as https://failoverd.example.com".to_owned()),
        }
    }
}

impl fmt::Display for DaemonUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_in_the_clear_over_loopback_only() {
        for good in ["https://failoverd.example.com", "http://127.0.0.1:8080", "http://[::1]:80", "http://localhost"] {
            assert!(good.parse::<DaemonUrl>().is_ok(), "{good}");
        }
        for bad in [
            "http://10.0.0.1",
            "http://failoverd.example.com",
            "http://127.0.0.1.evil",
            "ftp://x",
            "x",
            "https://u:p@x",
        ] {
            assert!(bad.parse::<DaemonUrl>().is_err(), "{bad}");
        }
    }
}
