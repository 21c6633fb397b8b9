//! The Route 53 API (2013-04-01, REST-XML) over the world.
//!
//! Converts, calls, converts; every decision is the world's. The caller has asked `Route53::reach` before. What
//! the world does not model is answered 501 `NotImplemented`, never as if it had worked.
//!
//! winterbaume's types are right in names and order; what it leaves out is added here: the XML declaration, the
//! namespace, the `/hostedzone/` and `/change/` prefixes, the `Location` of what was created.

mod convert;

use std::collections::HashMap;

use axum::http::{HeaderMap, HeaderValue, header};
use winterbaume_core::{MockRequest, MockResponse};
use winterbaume_route53::wire as api;

use crate::sim::world::{
    ApiFault, Context, World,
    route53::{
        Lookup, NAMESPACE,
        listing::{RECORD_SETS_PER_PAGE_MAX, StartRecord, ZONES_PER_PAGE_MAX},
        record::{DnsName, RrType},
        zone::NAME_SERVERS,
    },
};

/// Answers one request. `path` is absolute and percent-encoded; `query` is without `?`.
pub fn handle(world: &mut World, method: &str, path: &str, query: &str, body: &[u8]) -> MockResponse {
    let call = Call {
        query: winterbaume_core::parse_query_string(query),
        request: MockRequest {
            method: method.to_owned(),
            uri: path.to_owned(),
            headers: HeaderMap::new(),
            body: bytes::Bytes::copy_from_slice(body),
        },
    };
    // botocore ends some paths with a slash, the Rust SDK does not.
    let segments: Vec<String> =
        path.split('/').filter(|s| !s.is_empty()).map(winterbaume_core::percent_decode).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let Some(("2013-04-01", rest)) = segments.split_first().map(|(v, rest)| (*v, rest)) else {
        return error(&not_implemented("only API version 2013-04-01 is simulated"));
    };
    let result = match (method, rest) {
        ("POST", ["hostedzone", zone, "rrset"]) => change_record_sets(world, &call, zone),
        ("GET", ["hostedzone", zone, "rrset"]) => list_record_sets(world, &call, zone),
        ("GET", ["hostedzone"]) => list_zones(world, &call),
        ("GET", ["hostedzone", zone]) => get_zone(world, zone),
        ("GET", ["hostedzonesbyname"]) => list_zones_by_name(world, &call),
        ("GET", ["change", id]) => get_change(world, id),
        ("GET", ["change", "change", id]) => get_change(world, id),
        ("POST", ["healthcheck"]) => create_health_check(world, &call),
        ("GET", ["healthcheck"]) => list_health_checks(world, &call),
        ("GET", ["healthcheck", id]) => get_health_check(world, id),
        ("POST", ["healthcheck", id]) => update_health_check(world, &call, id),
        ("GET", ["healthcheck", id, "status"]) => health_check_status(world, id),
        ("GET", ["testdnsanswer"]) => test_dns_answer(world, &call),
        (method, rest) => Err(not_implemented(format!("{method} {} is not simulated", rest.join("/")))),
    };
    result.map_or_else(|fault| error(&fault), finish)
}

struct Call {
    query: HashMap<String, String>,
    request: MockRequest,
}

type Outcome = Result<MockResponse, ApiFault>;

fn change_record_sets(world: &mut World, call: &Call, zone: &str) -> Outcome {
    let labels = [("HostedZoneId", zone)];
    let input =
        api::deserialize_change_resource_record_sets_request(&call.request, &labels, &call.query).map_err(malformed)?;
    let batch = convert::change_batch(input.change_batch)?;
    let (route53, mut ctx) = parts(world);
    let info = route53.change_record_sets(&mut ctx, zone, &batch)?;
    let output = api::ChangeResourceRecordSetsResponse { change_info: Some(convert::change_info(info)) };
    Ok(api::serialize_change_resource_record_sets_response(&output))
}

fn get_change(world: &mut World, id: &str) -> Outcome {
    let info = world.route53.get_change(world.now, id)?;
    let change_info = Some(convert::change_info(info));
    Ok(api::serialize_get_change_response(&api::GetChangeResponse { change_info }))
}

fn list_record_sets(world: &mut World, call: &Call, zone: &str) -> Outcome {
    let labels = [("HostedZoneId", zone)];
    let input = api::deserialize_list_resource_record_sets_request(&call.request, &labels, &call.query)
        .map_err(convert::invalid)?;
    let start = StartRecord {
        name: input.start_record_name.as_deref().map(convert::dns_name).transpose()?,
        rtype: input.start_record_type.as_deref().map(convert::rr_type).transpose()?,
        set_identifier: input.start_record_identifier,
    };
    let max_items = convert::max_items(input.max_items, RECORD_SETS_PER_PAGE_MAX)?;
    let page = world.route53.list_record_sets(world.now, zone, &start, max_items)?;
    let next = page.next.as_ref();
    let output = api::ListResourceRecordSetsResponse {
        is_truncated: Some(next.is_some()),
        max_items: Some(convert::int(page.max_items)),
        next_record_name: next.map(|k| k.name.to_string()),
        next_record_type: next.map(|k| k.rtype.as_str().to_owned()),
        next_record_identifier: next.and_then(|k| k.set_identifier.clone()),
        resource_record_sets: Some(api::ResourceRecordSets {
            items: page.items.into_iter().map(convert::record_set_out).collect(),
        }),
    };
    Ok(api::serialize_list_resource_record_sets_response(&output))
}

fn list_zones(world: &mut World, call: &Call) -> Outcome {
    let input =
        api::deserialize_list_hosted_zones_request(&call.request, &[], &call.query).map_err(convert::invalid)?;
    if input.delegation_set_id.is_some() || input.hosted_zone_type.is_some() {
        return Err(not_implemented("filters of ListHostedZones are not simulated"));
    }
    let max_items = convert::max_items(input.max_items, ZONES_PER_PAGE_MAX)?;
    let marker = input.marker.as_deref();
    let page = world.route53.list_zones(world.now, marker, max_items)?;
    let output = api::ListHostedZonesResponse {
        hosted_zones: Some(api::HostedZones { items: page.items.into_iter().map(convert::zone).collect() }),
        is_truncated: Some(page.next.is_some()),
        // botocore's model requires the marker in the answer.
        marker: Some(input.marker.unwrap_or_default()),
        max_items: Some(convert::int(page.max_items)),
        next_marker: page.next,
    };
    Ok(api::serialize_list_hosted_zones_response(&output))
}

fn list_zones_by_name(world: &mut World, call: &Call) -> Outcome {
    let input = api::deserialize_list_hosted_zones_by_name_request(&call.request, &[], &call.query)
        .map_err(convert::invalid)?;
    let name = input.d_n_s_name.as_deref().map(convert::dns_name).transpose()?;
    let start = name.as_ref().map(|name| (name, input.hosted_zone_id.as_deref()));
    let max_items = convert::max_items(input.max_items, ZONES_PER_PAGE_MAX)?;
    let page = world.route53.list_zones_by_name(world.now, start, max_items)?;
    let (next_name, next_id) = page.next.map(|(n, id)| (n.to_string(), id)).unzip();
    let output = api::ListHostedZonesByNameResponse {
        d_n_s_name: input.d_n_s_name,
        hosted_zone_id: input.hosted_zone_id,
        hosted_zones: Some(api::HostedZones { items: page.items.into_iter().map(convert::zone).collect() }),
        is_truncated: Some(next_id.is_some()),
        max_items: Some(convert::int(page.max_items)),
        next_d_n_s_name: next_name,
        next_hosted_zone_id: next_id,
    };
    Ok(api::serialize_list_hosted_zones_by_name_response(&output))
}

fn get_zone(world: &mut World, id: &str) -> Outcome {
    let zone = world.route53.get_zone(world.now, id)?;
    let delegation_set = (!zone.private).then(|| api::DelegationSet {
        name_servers: Some(api::DelegationSetNameServers { items: NAME_SERVERS.map(str::to_owned).to_vec() }),
        ..Default::default()
    });
    let output = api::GetHostedZoneResponse { delegation_set, hosted_zone: Some(convert::zone(zone)), v_p_cs: None };
    Ok(api::serialize_get_hosted_zone_response(&output))
}

fn create_health_check(world: &mut World, call: &Call) -> Outcome {
    let input = api::deserialize_create_health_check_request(&call.request, &[], &call.query).map_err(malformed)?;
    let config = convert::health_check_config(input.health_check_config)?;
    let (route53, mut ctx) = parts(world);
    let check = route53.create_health_check(&mut ctx, &input.caller_reference, &config)?;
    let location = format!("https://route53.amazonaws.com/2013-04-01/healthcheck/{}", check.id);
    let output = api::CreateHealthCheckResponse { health_check: Some(convert::health_check(check)) };
    let mut response = api::serialize_create_health_check_response(&output);
    if let Ok(value) = HeaderValue::from_str(&location) {
        response.headers.insert(header::LOCATION, value);
    }
    Ok(response)
}

fn update_health_check(world: &mut World, call: &Call, id: &str) -> Outcome {
    let labels = [("HealthCheckId", id)];
    let input = api::deserialize_update_health_check_request(&call.request, &labels, &call.query).map_err(malformed)?;
    let update = convert::health_check_update(input)?;
    let (route53, mut ctx) = parts(world);
    let check = route53.update_health_check(&mut ctx, id, &update)?;
    let output = api::UpdateHealthCheckResponse { health_check: Some(convert::health_check(check)) };
    Ok(api::serialize_update_health_check_response(&output))
}

fn get_health_check(world: &mut World, id: &str) -> Outcome {
    let check = world.route53.get_health_check(world.now, id)?;
    let output = api::GetHealthCheckResponse { health_check: Some(convert::health_check(check)) };
    Ok(api::serialize_get_health_check_response(&output))
}

fn list_health_checks(world: &mut World, call: &Call) -> Outcome {
    let input =
        api::deserialize_list_health_checks_request(&call.request, &[], &call.query).map_err(convert::invalid)?;
    let max_items = convert::max_items(input.max_items, ZONES_PER_PAGE_MAX)?;
    let marker = input.marker.as_deref();
    let page = world.route53.list_health_checks(world.now, marker, max_items)?;
    let output = api::ListHealthChecksResponse {
        health_checks: Some(api::HealthChecks { items: page.items.into_iter().map(convert::health_check).collect() }),
        is_truncated: Some(page.next.is_some()),
        // botocore's model requires the marker in the answer.
        marker: Some(input.marker.unwrap_or_default()),
        max_items: Some(convert::int(page.max_items)),
        next_marker: page.next,
    };
    Ok(api::serialize_list_health_checks_response(&output))
}

fn health_check_status(world: &mut World, id: &str) -> Outcome {
    let seen = world.route53.get_health_check_status(world.now, id)?;
    let output = api::GetHealthCheckStatusResponse {
        health_check_observations: Some(api::HealthCheckObservations {
            items: seen.into_iter().map(convert::observation).collect(),
        }),
    };
    Ok(api::serialize_get_health_check_status_response(&output))
}

fn test_dns_answer(world: &mut World, call: &Call) -> Outcome {
    let input =
        api::deserialize_test_d_n_s_answer_request(&call.request, &[], &call.query).map_err(convert::invalid)?;
    let name: DnsName = convert::dns_name(&input.record_name)?;
    let rtype: RrType = convert::rr_type(&input.record_type)?;
    let lookup = world.route53.test_dns_answer(world.now, &input.hosted_zone_id, &name, rtype)?;
    let (code, items) = match lookup {
        Lookup::Refused => ("REFUSED", Vec::new()),
        Lookup::NoSuchName { .. } => ("NXDOMAIN", Vec::new()),
        Lookup::NoData { .. } => ("NOERROR", Vec::new()),
        Lookup::Found(found) => ("NOERROR", found.into_iter().next_back().map_or_else(Vec::new, |(_, _, a)| a.values)),
    };
    let output = api::TestDNSAnswerResponse {
        nameserver: Some(NAME_SERVERS[0].to_owned()),
        protocol: Some("UDP".to_owned()),
        record_data: Some(api::RecordData { items }),
        record_name: Some(name.to_string()),
        record_type: Some(rtype.as_str().to_owned()),
        response_code: Some(code.to_owned()),
    };
    Ok(api::serialize_test_d_n_s_answer_response(&output))
}

/// Splits the world into Route 53 and what its operations need of the rest.
fn parts(world: &mut World) -> (&mut crate::sim::world::route53::Route53, Context<'_>) {
    let ctx = Context { now: world.now, rng: &mut world.rng, planes: &world.planes, log: &mut world.log };
    (&mut world.route53, ctx)
}

fn malformed(message: String) -> ApiFault {
    ApiFault { status: 400, code: "MalformedInput", message }
}

fn not_implemented(message: impl Into<String>) -> ApiFault {
    convert::not_implemented(message)
}

/// Adds what the serialisers leave out: the declaration and the namespace of the root element.
fn finish(mut response: MockResponse) -> MockResponse {
    let body = String::from_utf8_lossy(&response.body);
    let end = body.find(['>', '/']).unwrap_or(0);
    let (root, rest) = body.split_at(end);
    let xml = format!("<?xml version=\"1.0\"?>\n{root} xmlns=\"{NAMESPACE}\"{rest}");
    response.body = xml.into();
    response
}

/// An error as Route 53 writes it today, `InvalidChangeBatch` too [aws-sdk-kotlin#1435]; the older form with
/// `<InvalidChangeBatch>` as its root is one that the Rust SDK cannot read.
pub fn error(fault: &ApiFault) -> MockResponse {
    let kind = if fault.status < 500 { "Sender" } else { "Receiver" };
    let message = winterbaume_core::xml_escape(&fault.message);
    let body = format!(
        "<?xml version=\"1.0\"?>\n<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>{kind}</Type>\
         <Code>{}</Code><Message>{message}</Message></Error>\
         <RequestId>00000000-0000-4000-8000-000000000000</RequestId></ErrorResponse>",
        fault.code
    );
    MockResponse::xml(fault.status, body)
}

#[cfg(test)]
mod tests;
