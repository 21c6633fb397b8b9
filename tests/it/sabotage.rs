//! Every guard that can be switched off is missed: a rehearsal that is sound with all of them on is caught by the
//! oracle with this one off (docs/sabotage.md, docs/adr/0006). Needs the feature `sabotage`; the table does not.

use failoverd::domain::sabotage::Guard;

mod cases;
#[cfg(feature = "sabotage")]
mod caught;
mod replicas;

use cases::Case;

/// The table of docs/sabotage.md.
fn table() -> String {
    let mut text =
        "| guard | without it the program … | stands for | missed in | told by |\n|---|---|---|---|---|\n".to_owned();
    for guard in Guard::ALL {
        let Case { title, told_by, .. } = Case::of(*guard);
        text += &format!("| `{guard}` | {} | {} | {title} | {told_by} |\n", guard.without(), guard.stands_for());
    }
    text
}

#[test]
fn at_least_25_guards_can_be_switched_off_each_with_a_name_of_its_own() {
    let names: std::collections::BTreeSet<_> = Guard::ALL.iter().map(|g| g.name()).collect();
    assert_eq!(names.len(), Guard::ALL.len());
    assert!(25 <= names.len());
}

#[test]
fn the_table_is_in_the_documentation() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sabotage.md");
    let text = std::fs::read_to_string(path).expect("docs/sabotage.md is there");
    assert!(text.ends_with(&table()), "the table of docs/sabotage.md should be:\n{}", table());
}

#[cfg(not(feature = "sabotage"))]
#[test]
fn without_the_feature_nothing_can_be_switched_off() {
    const OFF: bool = failoverd::domain::sabotage::is_off(Guard::StaleLag);
    const { assert!(!OFF) };
}

#[test]
fn every_case_is_over_before_its_rehearsal_is() {
    for guard in Guard::ALL {
        let Case { kind, scenario, .. } = Case::of(*guard);
        for scenario in (0..8).map(scenario) {
            let late = scenario.happenings.iter().find(|h| scenario.lasts <= h.at);
            assert!(late.is_none(), "{guard} ({kind:?}): {late:?}");
        }
    }
}
