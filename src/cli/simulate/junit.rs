//! The report as JUnit's XML, for CI: a suite per scenario, a case for the seeds that passed and one per failing seed.

use std::fmt::Write as _;

use super::report::{ApplicationReport, FailingSeed, Report, ScenarioReport};

/// The whole report.
pub fn xml(report: &Report) -> String {
    let mut suites = String::new();
    let (mut tests, mut failures) = (0, 0);
    for application in &report.applications {
        for scenario in &application.scenarios {
            let (text, own) = suite(application, scenario);
            suites.push_str(&text);
            tests += own.tests;
            failures += own.failures;
        }
    }
    let time = report.totals.elapsed_seconds;
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites name=\"failoverd simulate\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" time=\"{time:.3}\">\n\
         {suites}</testsuites>\n"
    )
}

struct Counts {
    tests: usize,
    failures: usize,
}

fn suite(application: &ApplicationReport, scenario: &ScenarioReport) -> (String, Counts) {
    let name = escape(&format!("{}.{}", application.application, scenario.scenario));
    let passed = scenario.runs.saturating_sub(scenario.failing_seeds);
    let mut cases = String::new();
    let mut counts = Counts { tests: 0, failures: 0 };
    if 0 < passed {
        counts.tests += 1;
        let last = scenario.first_seed.saturating_add(scenario.seeds.saturating_sub(1));
        let case = format!("{passed} of the {}s {} to {last} pass", scenario.numbered(), scenario.first_seed);
        let _ = writeln!(cases, "    <testcase classname=\"{name}\" name=\"{}\"/>", escape(&case));
    }
    for failing in &scenario.failing {
        counts.tests += 1;
        counts.failures += 1;
        cases.push_str(&case(&name, scenario.numbered(), failing));
    }
    let untold = scenario.failing_seeds.saturating_sub(scenario.failing.len() as u64);
    if 0 < untold {
        let numbered = scenario.numbered();
        counts.tests += 1;
        counts.failures += 1;
        let _ = writeln!(
            cases,
            "    <testcase classname=\"{name}\" name=\"further {numbered}s\">\n      \
             <failure message=\"{untold} further {numbered}s fail\"/>\n    </testcase>"
        );
    }
    let Counts { tests, failures } = counts;
    let text = format!(
        "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\">\n{cases}  </testsuite>\n"
    );
    (text, counts)
}

fn case(classname: &str, numbered: &str, failing: &FailingSeed) -> String {
    let mut out = format!("    <testcase classname=\"{classname}\" name=\"{numbered} {}\">\n", failing.seed);
    // Not every reader of JUnit shows more than one failure of a case.
    let (first, all) = (failing.failures.first(), &failing.failures);
    let line = |f: &super::report::Failure| match &f.property {
        Some(property) => format!("{property}: {}", f.text),
        None => format!("not as expected: {}", f.text),
    };
    let kind = if all.iter().any(|f| f.property.is_some()) { "violation" } else { "expectation" };
    let message = first.map(line).unwrap_or_default();
    let body: Vec<String> = all.iter().map(line).chain([failing.replay.clone()]).collect();
    let _ = writeln!(
        out,
        "      <failure type=\"{kind}\" message=\"{}\">{}</failure>\n    </testcase>",
        escape(&message),
        escape(&body.join("\n"))
    );
    out
}

/// Text for an attribute or an element. Characters that XML 1.0 cannot hold are replaced.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // A newline in an attribute would be read as a space.
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '\u{FFFE}' | '\u{FFFF}' => out.push('\u{FFFD}'),
            c if c.is_control() => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{super::report::tests::a_report, *};

    #[test]
    fn failing_seeds_are_cases_of_their_own() {
        insta::assert_snapshot!(xml(&a_report()));
    }

    #[test]
    fn nothing_breaks_out_of_the_xml() {
        assert_eq!(escape("a<b>&\"c\"\u{1b}[0m\n\u{0}'"), "a&lt;b&gt;&amp;&quot;c&quot;\u{FFFD}[0m&#10;\u{FFFD}&apos;");
    }
}
