//! The bucket, the object and the inverted health check of the mechanism `standby_object`.

use super::{
    Faults, Stage,
    servers::Url,
    traffic::{put_check as put, uuid},
};
use crate::{
    domain::{
        application::{Mechanism, Traffic},
        id::TrafficName,
        standby_object::ObjectAt,
    },
    sim::world::route53::health_config::{CheckType, HealthCheckConfig},
};

/// The fast of Route 53's two intervals: a failover waits for three checks in a row.
const REQUEST_INTERVAL_SECONDS: u32 = 10;

/// Puts bucket and check, and the object where the standby is active; the check's id.
pub(super) fn put_check(
    stage: &mut Stage<'_>,
    name: &TrafficName,
    traffic: &Traffic,
    faults: &mut Faults<'_>,
) -> Option<String> {
    let Mechanism::StandbyObject { object, url } = &traffic.mechanism else { return None };
    let key = format!("dns.{name}.mechanism");
    if stage.application.regions.len() != 2 {
        let why = "a failover record has one PRIMARY and one SECONDARY: two Regions, no more";
        faults.add(&key, why);
    }
    let ObjectAt { region, bucket, key: object_key } = object;
    stage.world.s3.put_bucket(region, bucket);
    if stage.world.s3.bucket_region(bucket) != Some(region) {
        faults.add(format!("{key}.region"), "another dns entry has this bucket in another Region");
    }
    let address = url.clone().unwrap_or_else(|| object.public_url());
    let Some(read) = Url::parse(&address) else {
        faults.add(format!("{key}.url"), "the host must be a name or an IPv4 address");
        return None;
    };
    stage.world.s3.put_site(read.host, read.path, bucket, object_key);
    if stage.application.regions.first() != Some(&stage.active) {
        let now = stage.world.now;
        stage.world.s3.seed(bucket, object_key, now);
    }
    let id = uuid(&format!("{}/{name}", stage.application.name));
    let config = HealthCheckConfig {
        fully_qualified_domain_name: Some(read.host.to_owned()),
        port: Some(read.port),
        resource_path: Some(read.path.to_owned()),
        request_interval_seconds: REQUEST_INTERVAL_SECONDS,
        inverted: true,
        ..HealthCheckConfig::of(if read.https { CheckType::Https } else { CheckType::Http })
    };
    put(stage, &key, &id, &config, faults);
    Some(id)
}
