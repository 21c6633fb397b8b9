//! The binary: hands its arguments to the command line and exits with what that answers.

use std::{collections::BTreeMap, io::Write as _, process::ExitCode};

use clap::Parser as _;
use failoverd::{
    adapters::store::OpenError,
    app,
    cli::{self, Cli, Command, check, demo, sim::SimCommand},
    config::Settings,
};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::anyhow!(error).context("start the runtime")),
    };
    let code = runtime.block_on(dispatch(cli));
    // Tasks that hang in a lost Region must not hold the exit up.
    runtime.shutdown_background();
    code
}

async fn dispatch(cli: Cli) -> ExitCode {
    let json = cli.options.json;
    if cli.options.offline && !matches!(cli.command, Command::Client(_)) {
        explain("--offline is for `failover` alone");
        return ExitCode::from(cli::EXIT_USAGE);
    }
    let result = match cli.command {
        Command::Serve { config } => {
            let _queue = app::logs::begin(filter("info"));
            match Settings::load(&config, &environment()) {
                Ok(settings) => app::serve(settings).await,
                Err(faults) => {
                    explain(&faults.to_string());
                    return ExitCode::from(cli::EXIT_USAGE);
                }
            }
        }
        Command::Demo(args) => {
            to_standard_error("off");
            demo::run(demo::DemoArgs { json, ..args }).await
        }
        Command::Check(args) => {
            let report = check::check(&args.config, &environment());
            cli::print(&if json { serde_json::json!(report).to_string() + "\n" } else { report.to_string() });
            return ExitCode::from(report.exit_code(args.strict));
        }
        Command::Permissions(args) => cli::permissions::run(&args, json, &environment()),
        Command::Simulate(args) => {
            to_standard_error("off");
            cli::simulate::run(&args, json, &environment())
        }
        Command::Observe(args) => {
            let _queue = app::logs::begin(filter("info"));
            app::observe::observe(args).await
        }
        Command::Backtest(args) => cli::backtest::run(&args, json, &environment()),
        Command::Store { command } => {
            to_standard_error("warn");
            cli::store::run(command, json, &environment()).await
        }
        Command::Offline { command } => {
            to_standard_error("warn");
            cli::offline::run(command, json, &environment()).await
        }
        Command::Token { command } => cli::token::run(&command, json),
        Command::Evidence { command } => cli::evidence::run(command, &cli.options).await,
        Command::Sim { command: SimCommand::Serve { args } } => {
            to_standard_error("warn");
            cli::sim::serve(args).await
        }
        Command::Man { dir } => cli::man::run(dir.as_deref()),
        Command::Client(command) if cli.options.offline => {
            to_standard_error("warn");
            cli::offline::failover(&cli.options, command, &environment()).await
        }
        Command::Client(command) => return cli::client(&cli.options, command).await,
    };
    result.unwrap_or_else(|error| failed(&error))
}

fn filter(default: &str) -> EnvFilter {
    EnvFilter::try_from_env("FAILOVERD_LOG").unwrap_or_else(|_| EnvFilter::new(default))
}

/// The log of a verb that somebody waits for. The daemon's is [`app::logs`].
fn to_standard_error(default: &str) {
    tracing_subscriber::fmt().with_env_filter(filter(default)).with_writer(std::io::stderr).init();
}

#[expect(clippy::disallowed_methods, reason = "the edge where the environment is read, once")]
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect()
}

fn failed(error: &anyhow::Error) -> ExitCode {
    explain(&format!("failoverd: {error:#}"));
    if let Some(code) = error.chain().find_map(|e| e.downcast_ref::<OpenError>()).map(OpenError::code) {
        explain(&format!("code: {code} (docs/errors/{code}.md)"));
    }
    ExitCode::from(cli::EXIT_FAILED)
}

fn explain(text: &str) {
    // Nothing can be done about a standard error that is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
}
