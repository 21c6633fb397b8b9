use clap::Parser as _;

use super::*;
use crate::cli::{Cli, Command};

fn args(line: &str) -> Result<SimulateArgs, clap::error::ErrorKind> {
    let words = ["failoverd", "simulate"].into_iter().chain(line.split_whitespace());
    match Cli::try_parse_from(words) {
        Ok(Cli { command: Command::Simulate(args), .. }) => Ok(args),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.kind()),
    }
}

#[test]
fn options_that_contradict_are_refused() {
    use clap::error::ErrorKind as K;
    for (line, kind) in [
        ("--trace", K::MissingRequiredArgument),
        ("--seed 3 --seeds 4", K::ArgumentConflict),
        ("--seed 3 --nightly", K::ArgumentConflict),
        ("--seed 3 --trace --report json", K::ArgumentConflict),
        ("--seeds 0", K::ValueValidation),
        ("--jobs 0", K::ValueValidation),
        ("--report html", K::InvalidValue),
    ] {
        assert_eq!(args(line).map(|_| ()), Err(kind), "{line}");
    }
    let given = args("--scenario a --scenario b --seeds 7 --report junit").expect("valid");
    assert_eq!((given.scenarios.len(), given.seeds, given.report), (2, Some(7), Some(Form::Junit)));
}

#[test]
fn the_shipped_application_can_be_rehearsed_with_every_shipped_runbook() {
    let settings = shipped();
    assert!(settings.warnings.is_empty(), "{}", settings.warnings);
    assert_eq!(settings.runbooks.len(), crate::config::SHIPPED.len());
    let args = args("").expect("valid");
    assert_eq!(setups(&args, &settings).map_err(|Refusal(text)| text).expect("buildable").len(), 1);
}

#[test]
fn what_cannot_be_rehearsed_is_refused_with_its_reasons() {
    let mut settings = shipped();
    settings.applications[0].topics[0].arn.push_str(".fifo");
    settings.applications[0].public_url = Some("https://elsewhere.example.com/".to_owned());
    let args = args("").expect("valid");
    let Err(Refusal(text)) = setups(&args, &settings) else { panic!("accepted") };
    assert!(text.contains("topics[0].arn") && text.contains("public_url"), "{text}");
    let unknown = SimulateArgs { application: Some("x".to_owned()), ..args };
    let Err(Refusal(text)) = setups(&unknown, &settings) else { panic!("accepted") };
    assert!(text.contains("there are: payments"), "{text}");
}

#[test]
fn what_is_about_a_promotion_is_passed_over_where_nothing_is_promoted() {
    let mut settings = shipped();
    let plan = |settings: &Settings, line: &str| {
        let args = args(line).expect("valid");
        let setups = setups(&args, settings).map_err(|Refusal(text)| text).expect("buildable");
        let disasters = disasters::chosen(&args.scenarios, &[]).expect("known");
        Rehearsals::plan(&args, setups, disasters).map_err(|Refusal(text)| text)
    };
    let (line, alone) = ("--scenario headless-target --scenario region-lost", "--scenario headless-target");
    assert_eq!(plan(&settings, line).expect("both").pairs.len(), 2);
    settings.applications[0].stores.clear();
    let rehearsals = plan(&settings, line).expect("one");
    assert_eq!(rehearsals.pairs, [(0, 1)]);
    let told = rehearsals.passed_over(&rehearsals.setups[0]).expect("told");
    assert!(told.ends_with(": headless-target"), "{told}");
    let refused = plan(&settings, alone).err().expect("nothing is left");
    assert!(refused.contains("about a promotion"), "{refused}");
}

#[test]
fn an_unknown_scenario_is_told_with_the_known_ones() {
    let why = disasters::chosen(&["no-such".to_owned()], &["/nonexistent.yaml".into()]).expect_err("refused");
    assert!(why.contains("no scenario `no-such`") && why.contains("/nonexistent.yaml"), "{why}");
}

#[test]
fn a_replay_is_a_command_that_a_shell_takes() {
    assert_eq!(quoted("my.toml"), "my.toml");
    assert_eq!(quoted("my config's.toml"), "'my config'\\''s.toml'");
}
