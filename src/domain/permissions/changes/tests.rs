use super::*;

const ROLE: &str = "arn:aws:iam::123456789012:role/ops/failoverd";

fn change(action: &str, resource: &str, region: Option<&str>) -> Change {
    let region = region.map(|r| r.parse().expect("a Region"));
    Change { action: action.to_owned(), resource: resource.to_owned(), region }
}

fn said(action: &str, resource: Option<&str>, decision: Decision) -> Evaluation {
    let resource = resource.map(str::to_owned);
    Evaluation { action: action.to_owned(), resource, decision, missing: Vec::new(), limit: None }
}

#[test]
fn a_session_has_lost_its_roles_path_and_a_root_is_asked_nothing() {
    let session = |role: &str| Caller::Session { role: role.to_owned() };
    let of = |rest: &str| Caller::of(&format!("arn:{rest}"));
    assert_eq!(of("aws:sts::123456789012:assumed-role/failoverd/i-0"), session("failoverd"));
    assert_eq!(of("aws-cn:sts::123456789012:assumed-role/x/y"), session("x"));
    for arn in [ROLE, "arn:aws:iam::123456789012:user/ops/alice"] {
        assert_eq!(Caller::of(arn), Caller::Principal(arn.to_owned()));
    }
    for rest in [
        "aws:iam::123456789012:root",
        "aws:sts::123456789012:federated-user/bob",
        "aws:sts::123456789012:assumed-role/x",
        "aws:iam::12345:role/x",
        "aws:iam::123456789012:group/x",
        "",
    ] {
        assert!(matches!(of(rest), Caller::Other(_)), "{rest}");
    }
}

#[test]
fn actions_on_the_same_resources_are_one_question_and_no_pair_is_asked_twice_or_left_out() {
    let global = "arn:aws:rds::*:global-cluster:orders";
    let member = "arn:aws:rds:us-west-2:123456789012:cluster:orders";
    let west = Some("us-west-2");
    let changes = [
        change("rds:FailoverGlobalCluster", global, west),
        change("rds:FailoverGlobalCluster", member, west),
        change("rds:SwitchoverGlobalCluster", global, west),
        change("rds:SwitchoverGlobalCluster", member, west),
        change("cloudwatch:PutMetricData", "*", west),
        change("s3:DeleteObject", "arn:aws:s3:::b/k", None),
    ];
    let asked = questions(ROLE, &changes);
    assert_eq!(asked.len(), 3, "{asked:#?}");
    for change in &changes {
        assert_eq!(asked.iter().filter(|question| question.asks(change)).count(), 1, "{change:?}");
    }
    let pairs: usize = asked.iter().map(|q| q.actions.len() * q.resources.len()).sum();
    assert_eq!(pairs, changes.len());
    let of_rds = asked.iter().find(|q| q.asks(&changes[0])).expect("it is asked");
    assert!(of_rds.resources.contains(&"arn:aws:rds::123456789012:global-cluster:orders".to_owned()), "{of_rds:?}");
    assert_eq!(of_rds.region, changes[0].region);
}

#[test]
fn a_question_is_one_page_however_much_there_is_to_ask() {
    let many: Vec<Change> = (0..250)
        .flat_map(|n| {
            let resource = format!("arn:aws:lambda:us-west-2:123456789012:function:f{n}");
            ["lambda:A", "lambda:B"].map(|action| change(action, &resource, None))
        })
        .collect();
    let asked = questions(ROLE, &many);
    assert!(asked.iter().all(|q| q.actions.len() * q.resources.len() <= PAIRS_MAX));
    let once = |c: &Change| asked.iter().filter(|q| q.asks(c)).count() == 1;
    assert!(many.iter().all(once), "{}", asked.len());
}

#[test]
fn only_allowed_is_permitted_and_what_a_question_cannot_tell_is_neither() {
    let (arn, action) = ("arn:aws:s3:::b/k", "s3:PutObject");
    let verdict = |change: &Change, answers: &[Evaluation]| {
        let question = questions(ROLE, [change]).remove(0);
        match question.verdict(change, answers) {
            Verdict::Allowed => "allowed",
            Verdict::Denied { .. } => "denied",
            Verdict::Unclear { .. } => "unclear",
        }
    };
    let one = change(action, arn, None);
    let of = |decision| verdict(&one, &[said(action, Some(arn), decision)]);
    assert_eq!(of(Decision::Allowed), "allowed");
    assert_eq!((of(Decision::ExplicitDeny), of(Decision::ImplicitDeny)), ("denied", "denied"));
    assert_eq!(of(Decision::Other("perhaps".to_owned())), "unclear");
    for decision in [Decision::ExplicitDeny, Decision::ImplicitDeny] {
        let without = Evaluation { missing: vec!["aws:SourceIp".to_owned()], ..said(action, Some(arn), decision) };
        assert_eq!(verdict(&one, &[without]), "unclear");
    }
    // Nothing was said of it, or of another one.
    assert_eq!(verdict(&one, &[]), "unclear");
    assert_eq!(verdict(&one, &[said(action, Some("arn:aws:s3:::b/other"), Decision::Allowed)]), "unclear");
    assert_eq!(verdict(&one, &[said("s3:GetObject", Some(arn), Decision::Allowed)]), "unclear");
    // The decision above several resources is for each of them; the one that allows the least counts.
    assert_eq!(verdict(&one, &[said(action, None, Decision::Allowed)]), "allowed");
    let both = [said(action, None, Decision::Allowed), said(action, Some(arn), Decision::ExplicitDeny)];
    assert_eq!(verdict(&one, &both), "denied");
}

#[test]
fn a_pattern_that_is_not_allowed_whole_may_still_be_allowed_as_far_as_it_is_needed() {
    let of = |action: &str, resource: &str, decision| {
        let change = change(action, resource, None);
        let question = questions(ROLE, [&change]).remove(0);
        question.verdict(&change, &[said(action, Some(resource), decision)])
    };
    let snapshots = "arn:aws:rds:us-west-2:123456789012:cluster-snapshot:*";
    let copy = "rds:CopyDBClusterSnapshot";
    assert!(matches!(of(copy, snapshots, Decision::ImplicitDeny), Verdict::Unclear { .. }));
    assert!(matches!(of(copy, snapshots, Decision::ExplicitDeny), Verdict::Denied { .. }));
    // Of an action that has no resource, `*` is all that there is.
    assert!(matches!(of("cloudwatch:PutMetricData", "*", Decision::ImplicitDeny), Verdict::Denied { .. }));
    assert!(matches!(of("autoscaling:ResumeProcesses", "*", Decision::ImplicitDeny), Verdict::Unclear { .. }));
}

#[test]
fn a_denial_names_a_boundary_and_one_of_the_organization_is_no_fact() {
    let arn = "arn:aws:s3:::b/k";
    let one = change("s3:PutObject", arn, None);
    let by = |limit| {
        let answer = Evaluation { limit: Some(limit), ..said("s3:PutObject", Some(arn), Decision::ImplicitDeny) };
        questions(ROLE, [&one]).remove(0).verdict(&one, &[answer])
    };
    let Verdict::Denied { how } = by(Limit::Boundary) else { panic!("{:?}", by(Limit::Boundary)) };
    assert!(how.contains("implicitDeny") && how.ends_with("by the permissions boundary"), "{how}");
    assert!(matches!(by(Limit::Organization), Verdict::Unclear { .. }));
}
