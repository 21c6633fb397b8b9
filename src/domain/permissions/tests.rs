use super::*;

fn on(action: &str, resource: &str, region: Option<&str>) -> Permission {
    let region = region.map(|r| r.parse().expect("a Region"));
    Permission { region, ..Permission::new(Power::Switch, action, resource) }
}

#[test]
fn actions_on_the_same_resources_are_one_statement() {
    let all = [on("s3:PutObject", "arn:aws:s3:::b/k", None), on("s3:DeleteObject", "arn:aws:s3:::b/k", None)];
    let expected = json!([{
        "Effect": "Allow", "Action": ["s3:DeleteObject", "s3:PutObject"], "Resource": ["arn:aws:s3:::b/k"],
    }]);
    assert_eq!(policy(&all)["Statement"], expected);
}

#[test]
fn what_is_tied_to_a_region_is_permitted_nowhere_else() {
    let all = [
        on("cloudwatch:PutMetricData", "*", Some("us-west-2")),
        on("cloudwatch:PutMetricData", "*", Some("us-east-2")),
    ];
    let statements = policy(&all)["Statement"].clone();
    assert_eq!(statements.as_array().map(Vec::len), Some(1));
    let regions = &statements[0]["Condition"]["StringEquals"]["aws:RequestedRegion"];
    assert_eq!(*regions, json!(["us-east-2", "us-west-2"]));
}

#[test]
fn nothing_is_a_policy_without_statements() {
    assert_eq!(policy(&[])["Statement"], json!([]));
}
