//! The application that a run is planned or begun for: `APP`, or `--app APP`. Both, since nobody remembers at three in the
//! morning which verb wants which.

use clap::Args;

/// One of the two is given.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Named {
    /// The application
    #[arg(value_name = "APP")]
    application: Option<String>,
    /// The same
    #[arg(long = "app", value_name = "APP")]
    app: Option<String>,
}

impl Named {
    /// Its name; empty is never given.
    pub fn name(&self) -> &str {
        self.application.as_deref().or(self.app.as_deref()).unwrap_or_default()
    }
}
