//! What preflight asks of RDS and SNS: one parameter of a group, and whether a topic is there.

use super::*;

fn parameters(of: &[(&str, Option<&str>)], marker: &str) -> Answer {
    let one = |(name, value): &(&str, Option<&str>)| {
        let value = value.map_or_else(String::new, |v| format!("<ParameterValue>{v}</ParameterValue>"));
        format!("<Parameter><ParameterName>{name}</ParameterName>{value}</Parameter>")
    };
    let listed: String = of.iter().map(one).collect();
    xml(
        200,
        &format!(
            "<DescribeDBClusterParametersResponse><DescribeDBClusterParametersResult><Parameters>{listed}</Parameters>\
             {marker}</DescribeDBClusterParametersResult></DescribeDBClusterParametersResponse>"
        ),
    )
}

#[tokio::test]
async fn a_parameter_is_looked_for_over_pages_and_what_is_not_set_has_no_value() {
    let more = "<Marker>more</Marker>";
    let server = Server::start(vec![
        parameters(&[("max_connections", Some("100"))], more),
        parameters(&[("rds.global_db_rpo", Some("20"))], more),
        parameters(&[("rds.global_db_rpo", None)], ""),
        parameters(&[("max_connections", Some("100"))], ""),
        parameters(&[("max_connections", Some("100"))], more),
    ])
    .await;
    let (cloud, _) = cloud(&server.url);
    let here = region("us-west-2");
    for expected in [Some("20".to_owned()), None, None] {
        assert_eq!(cloud.cluster_parameter(&here, "group", "rds.global_db_rpo").await, Ok(expected));
    }
    let endless = cloud.cluster_parameter(&here, "group", "rds.global_db_rpo").await;
    assert!(matches!(endless, Err(ObserveError::Malformed { .. })), "a listing without an end: {endless:?}");
}

#[tokio::test]
async fn a_topic_is_absent_only_where_sns_says_so() {
    let there = "<GetTopicAttributesResponse><GetTopicAttributesResult><Attributes/></GetTopicAttributesResult>\
                 </GetTopicAttributesResponse>";
    let server = Server::start(vec![xml(200, there), fault(404, "NotFound"), fault(403, "AuthorizationError")]).await;
    let (cloud, _) = cloud(&server.url);
    let (here, arn) = (region("us-west-2"), "arn:aws:sns:us-west-2:123456789012:alerts");
    assert_eq!(cloud.topic_is_there(&here, arn).await, Ok(true));
    assert_eq!(cloud.topic_is_there(&here, arn).await, Ok(false));
    let denied = cloud.topic_is_there(&here, arn).await;
    assert!(matches!(&denied, Err(ObserveError::Rejected { code, .. }) if code == "AuthorizationError"), "{denied:?}");
}
