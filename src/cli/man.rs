//! The manual: a page of `failoverd` and one of each verb, made from what the verbs say of themselves.

use std::{io, path::Path, process::ExitCode};

use anyhow::Context as _;
use clap::CommandFactory as _;

use super::{Cli, EXIT_DONE, print};

/// Writes every page to `dir` (`failoverd.1`, `failoverd-status.1` and so on), or prints the first one.
///
/// # Errors
/// Where `dir` cannot be written.
pub fn run(dir: Option<&Path>) -> anyhow::Result<ExitCode> {
    let command = Cli::command();
    match dir {
        None => print(&page(command)?),
        Some(dir) => {
            std::fs::create_dir_all(dir)
                .and_then(|()| clap_mangen::generate_to(command, dir))
                .with_context(|| format!("write the manual to {}", dir.display()))?;
        }
    }
    Ok(ExitCode::from(EXIT_DONE))
}

fn page(command: clap::Command) -> io::Result<String> {
    let mut roff = Vec::new();
    clap_mangen::Man::new(command).render(&mut roff)?;
    Ok(String::from_utf8_lossy(&roff).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page() {
        let dir = tempfile::tempdir().expect("a directory");
        run(Some(dir.path())).expect("written");
        let command = Cli::command();
        let verbs: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        assert!(verbs.contains(&"failover") && verbs.contains(&"serve"));
        for verb in verbs {
            let page = std::fs::read_to_string(dir.path().join(format!("failoverd-{verb}.1"))).expect(verb);
            assert!(page.contains(".SH SYNOPSIS"), "{verb}");
        }
        assert!(page(command).expect("rendered").contains("failoverd\\-failover(1)"));
    }
}
