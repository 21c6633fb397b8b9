//! What RDS tells of instances and quotas: whole, or not at all.

use super::*;

fn instance(id: &str, cluster: &str, class: &str) -> String {
    format!(
        "<DBInstance><DBInstanceIdentifier>{id}</DBInstanceIdentifier><DBClusterIdentifier>{cluster}\
         </DBClusterIdentifier>{class}<DBInstanceStatus>creating</DBInstanceStatus></DBInstance>"
    )
}

fn instances(of: &str, marker: &str) -> Answer {
    let result = format!("<DBInstances>{of}</DBInstances>{marker}");
    xml(
        200,
        &format!(
            "<DescribeDBInstancesResponse><DescribeDBInstancesResult>{result}</DescribeDBInstancesResult>\
             </DescribeDBInstancesResponse>"
        ),
    )
}

#[tokio::test]
async fn the_instances_of_the_cluster_are_listed_over_pages_and_no_other_s() {
    let class = "<DBInstanceClass>db.r6g.large</DBInstanceClass>";
    let first = instance("w-1", "payments-west", class) + &instance("other", "ledger-west", class);
    let server = Server::start(vec![
        instances(&first, "<Marker>more</Marker>"),
        instances(&instance("w-2", "payments-west", class), ""),
        instances(&instance("w-3", "payments-west", ""), ""),
    ])
    .await;
    let (cloud, _) = cloud(&server.url);
    let found = cloud.db_instances(&target()).await.expect("listed");
    let told: Vec<_> = found.iter().map(|i| (i.identifier.as_str(), i.class.as_str(), i.status.as_str())).collect();
    assert_eq!(told, [("w-1", "db.r6g.large", "creating"), ("w-2", "db.r6g.large", "creating")]);
    let error = cloud.db_instances(&target()).await.expect_err("it has no class");
    assert!(matches!(error, ObserveError::Malformed { .. }), "{error:?}");
}

#[tokio::test]
async fn a_quota_without_its_maximum_is_no_quota() {
    let quotas = |of: &str| {
        let result = format!("<AccountQuotas>{of}</AccountQuotas>");
        xml(
            200,
            &format!(
                "<DescribeAccountAttributesResponse><DescribeAccountAttributesResult>{result}\
                 </DescribeAccountAttributesResult></DescribeAccountAttributesResponse>"
            ),
        )
    };
    let whole =
        "<AccountQuota><AccountQuotaName>DBInstances</AccountQuotaName><Used>39</Used><Max>40</Max></AccountQuota>";
    let part = "<AccountQuota><AccountQuotaName>DBClusters</AccountQuotaName><Used>1</Used></AccountQuota>";
    let server = Server::start(vec![quotas(whole), quotas(&format!("{whole}{part}"))]).await;
    let (cloud, calls) = cloud(&server.url);
    let here = region("us-west-2");
    let told = cloud.account_quotas(&here).await.expect("told");
    assert_eq!(told.get("DBInstances").map(|q| (q.used, q.max)), Some((39, 40)));
    let error = cloud.account_quotas(&here).await.expect_err("a part is missing");
    assert!(matches!(error, ObserveError::Malformed { .. }), "{error:?}");
    assert!(calls.lines().iter().all(|line| line.contains("DescribeAccountAttributes")), "{:?}", calls.lines());
}
