use super::*;
use crate::domain::{
    cloud::{ObserveError, RecordSet},
    id::Region,
};

fn region(name: &str) -> Region {
    name.parse().expect("a Region")
}

fn record() -> Mutation {
    Mutation::UpsertRecords { hosted_zone_id: "Z".to_owned(), records: Vec::<RecordSet>::new(), comment: String::new() }
}

fn object() -> Mutation {
    let object = crate::domain::standby_object::ObjectAt {
        region: region("us-west-2"),
        bucket: "b".to_owned(),
        key: "k".to_owned(),
    };
    Mutation::DeleteObject { object }
}

fn with(family: Family, check: Check) -> Signatures {
    let signatures = Signatures::of(&[]);
    signatures.checks.lock().expect("nobody panics").insert(family, check);
    signatures
}

#[test]
fn only_a_refusal_makes_the_wait_as_short_as_a_signature_lives() {
    let code = "SignatureDoesNotMatch".to_owned();
    let unknown = Check::Unknown { why: "no answer".to_owned() };
    for (check, within) in [
        (Check::Verified { code: code.clone() }, Duration::from_secs(330)),
        (Check::Unverified, UNVERIFIED_WITHIN),
        (unknown, UNVERIFIED_WITHIN),
    ] {
        let signatures = with(Family::Route53, check.clone());
        assert_eq!(signatures.call_lands_within(&record()), Some(within), "{check:?}");
        assert_eq!(signatures.call_lands_within(&object()), Some(UNVERIFIED_WITHIN), "another family says nothing");
    }
    let s3 = with(Family::S3, Check::Verified { code });
    assert_eq!(s3.call_lands_within(&object()), Some(Duration::from_secs(930)), "S3 takes them for longer");
}

#[test]
fn the_wait_without_signatures_is_longer_than_any_with_them() {
    for family in Family::ALL {
        assert!(family.verified_within() < UNVERIFIED_WITHIN, "{family:?}");
        assert!(family.verified_within() + Duration::from_secs(30) <= family.aged(), "a clock that is off by 30 s");
    }
}

#[test]
fn silence_is_no_refusal_and_the_first_answer_decides() {
    let answers = |of: Vec<Result<AgeAnswer, ObserveError>>| {
        let mut silent = Vec::new();
        first(of.into_iter(), &mut silent).unwrap_or_else(|| Check::Unknown { why: silent.join("; ") })
    };
    let lost = || Err(ObserveError::Unreachable { reason: "timeout".to_owned() });
    let refused = || Ok(AgeAnswer::Refused { code: "RequestExpired".to_owned() });
    assert!(matches!(answers(vec![lost(), lost()]), Check::Unknown { .. }));
    assert_eq!(answers(vec![lost(), refused()]), Check::Verified { code: "RequestExpired".to_owned() });
    assert_eq!(answers(vec![Ok(AgeAnswer::Taken), refused()]), Check::Unverified);
}
