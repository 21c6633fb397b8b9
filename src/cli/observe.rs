//! `failoverd observe`: the options of an observer elsewhere.

use std::path::PathBuf;

use clap::Args;

use crate::domain::{
    id::VantageName,
    network::Network,
    vantage::{DaemonUrl, ProbeTarget},
};

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
    /// Private networks whose addresses may be probed, such as 10.0.0.0/8
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    pub allow_private: Vec<Network>,
    /// Addresses of this machine itself may be probed: for trying things out
    #[arg(long)]
    pub allow_loopback: bool,
}
