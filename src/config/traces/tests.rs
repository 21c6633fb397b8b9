use std::path::Path;

use crate::config::{Faults, Settings};

/// The default configuration with `more` before it.
fn read(more: &str) -> Result<Settings, Faults> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default.toml"));
    Settings::parse("f.toml", &format!("{more}\n{}", text.expect("it is there")), Path::new(""), &Default::default())
}

#[test]
fn traces_are_off_unless_an_endpoint_is_named() {
    assert_eq!(read("").expect("valid").traces, None);
    for (endpoint, url) in [
        ("https://collector.example.com:4318", "https://collector.example.com:4318/v1/traces"),
        ("https://collector.example.com/otlp/", "https://collector.example.com/otlp/v1/traces"),
        ("https://collector.example.com/v1/traces", "https://collector.example.com/v1/traces"),
    ] {
        let traces = read(&format!("[traces]\nendpoint = \"{endpoint}\"")).unwrap_or_else(|f| panic!("{f}")).traces;
        let traces = traces.expect("named");
        assert_eq!((traces.url.as_str(), traces.headers.len()), (url, 0));
    }
    let more = "[traces]\nendpoint = \"https://c.example.com\"\nheaders = { X-Token = \"env:T\", b = \"file:/b\" }";
    let headers = read(more).expect("valid").traces.expect("named").headers;
    assert_eq!(headers.keys().collect::<Vec<_>>(), ["b", "x-token"]);
    // The environment alone turns them on.
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default.toml")).expect("it");
    let set = [("FAILOVERD__TRACES__ENDPOINT".to_owned(), "https://c.example.com".to_owned())].into();
    let settings = Settings::parse("f.toml", &text, Path::new(""), &set).unwrap_or_else(|f| panic!("{f}"));
    assert_eq!(settings.traces.expect("named").url, "https://c.example.com/v1/traces");
}

#[test]
fn every_fault_is_told_at_once_and_no_secret_is_repeated() {
    // What the drawing shows of the operator's own file stands in that file; the JSON is ours.
    let told = |more: &str| {
        let faults = read(more).expect_err("faults").to_json();
        let each = |fault: &serde_json::Value| {
            format!("{}: {}\n", fault["key"].as_str().expect("text"), fault["problem"].as_str().expect("text"))
        };
        assert!(!faults.to_string().contains("canary"), "{faults}");
        faults["faults"].as_array().expect("a list").iter().map(each).collect::<String>()
    };
    let all = told(
        "[traces]\nendpoint = \"ftp://collector\"\nsample = 0.5\n\
         headers = { host = \"env:A\", \"a b\" = \"env:B\", authorization = \"Bearer canary\", X = \"env:C\", x = \"env:D\" }",
    );
    for part in [
        "traces.endpoint: expected an https URL with a host",
        "traces.sample: unknown key",
        "`host` is no header that can be set",
        "`a b` is no header that can be set",
        "traces.headers.authorization: expected a reference",
        "in capitals and not",
    ] {
        assert!(all.contains(part), "{part}: {all}");
    }
    assert!(told("[traces]\n").contains("`endpoint` is missing"));
    assert!(told("[traces]\nendpoint = \"https://c.example.com/?key=1\"").contains("a query is not taken"));
    for (endpoint, why) in [
        ("https://169.254.170.2:4318", "never connected to"),
        ("https://10.0.0.1:4318", "allow_private"),
        ("http://93.184.216.34:4318", "http is taken only"),
        ("https://user@c.example.com", "a user or password"),
    ] {
        let told = told(&format!("[traces]\nendpoint = \"{endpoint}\""));
        assert!(told.contains(why), "{endpoint}: {told}");
    }
}
