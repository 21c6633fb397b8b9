//! S3 (REST-XML), path style, as its clients speak it: PutObject, GetObject, HeadObject, DeleteObject, HeadBucket and
//! ListObjectsV2 (of a whole bucket, without prefix and delimiter).
//!
//! What a call means is the world's. A body that is not the one that was signed is refused, as S3 does; every other
//! operation, and a body in signed chunks, is refused by name.

use axum::http::{HeaderMap, HeaderValue};
use hyper::Method;
use sha2::Digest as _;
use winterbaume_core::MockResponse;

use super::{call::Call, encode};
use crate::sim::world::{ApiFault, World, rfc3339, s3::Object};

/// Stands on an answer of S3 until the server puts the request's id there.
pub(super) const REQUEST_ID_HEADER: &str = "x-amz-request-id";

/// The operation that a request means. A query asks for something else than the object (`?acl`, `?uploads`).
pub(super) fn operation(method: &Method, path: &str, query: &str) -> &'static str {
    let is_plain = form_urlencoded::parse(query.as_bytes()).all(|(name, _)| name == "x-id");
    let lists = form_urlencoded::parse(query.as_bytes()).any(|(name, value)| name == "list-type" && value == "2");
    match (method.as_str(), addressed(path)) {
        ("GET", Some((_, None))) if lists => "ListObjectsV2",
        _ if !is_plain => "Unknown",
        ("PUT", Some((_, Some(_)))) => "PutObject",
        ("GET", Some((_, Some(_)))) => "GetObject",
        ("HEAD", Some((_, Some(_)))) => "HeadObject",
        ("DELETE", Some((_, Some(_)))) => "DeleteObject",
        ("HEAD", Some((_, None))) => "HeadBucket",
        _ => "Unknown",
    }
}

/// Bucket and key.
fn addressed(path: &str) -> Option<(String, Option<String>)> {
    let path = path.strip_prefix('/')?;
    let (bucket, key) = path.split_once('/').map_or((path, ""), |(bucket, key)| (bucket, key));
    let decoded = winterbaume_core::percent_decode;
    (!bucket.is_empty()).then(|| (decoded(bucket), (!key.is_empty()).then(|| decoded(key))))
}

/// Answers one call.
pub(super) fn handle(world: &mut World, call: &Call) -> MockResponse {
    let (bucket, key) = addressed(&call.path).unwrap_or_default();
    let key = key.unwrap_or_default();
    let region = &call.region;
    let answer = match call.operation.as_str() {
        "PutObject" => whole_body(call).and_then(|()| {
            world.with_s3(|s3, ctx| s3.put(region, &bucket, &key, &call.body, ctx))?;
            Ok(answer(200, world.s3.object(&bucket, &key), false))
        }),
        "GetObject" => world.s3.get(region, &bucket, &key).map(|object| answer(200, Some(object), true)),
        "HeadObject" => {
            world.s3.get(region, &bucket, &key).map(|object| described(answer(200, Some(object), false), object))
        }
        "DeleteObject" => {
            world.with_s3(|s3, ctx| s3.delete(region, &bucket, &key, ctx)).map(|()| answer(204, None, false))
        }
        "HeadBucket" => world.s3.head_bucket(region, &bucket).map(|()| {
            let mut answer = answer(200, None, false);
            insert(&mut answer.headers, "x-amz-bucket-region", region.as_str());
            answer
        }),
        "ListObjectsV2" => listed(world, call, &bucket),
        other => Err(super::not_simulated("s3", other)),
    };
    answer.unwrap_or_else(|fault| {
        let mut refusal = call.fault(&fault);
        // To a HEAD, S3 says a status and nothing else.
        if call.method == Method::HEAD {
            refusal.body = bytes::Bytes::new();
        }
        if let Some(at) = world.s3.bucket_region(&bucket).filter(|_| fault.code == "PermanentRedirect") {
            insert(&mut refusal.headers, "x-amz-bucket-region", at.as_str());
        }
        refusal
    })
}

/// A page of a bucket. The token of the next is the last key, in hexadecimal digits.
fn listed(world: &World, call: &Call, bucket: &str) -> Result<MockResponse, ApiFault> {
    const KEYS: [&str; 5] = ["list-type", "continuation-token", "encoding-type", "max-keys", "x-id"];
    let asked: Vec<(String, String)> = form_urlencoded::parse(call.query.as_bytes()).into_owned().collect();
    if let Some((name, _)) = asked.iter().find(|(name, _)| !KEYS.contains(&name.as_str())) {
        return Err(super::not_simulated("s3", &format!("ListObjectsV2 with {name}")));
    }
    let of = |name: &str| asked.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str());
    let bad = |name: &str| invalid("InvalidArgument", name);
    let most = of("max-keys").map_or(Ok(1_000), |n| n.parse::<usize>().map_err(|_| bad("max-keys")))?.min(1_000);
    let after = match of("continuation-token") {
        Some(token) => {
            let key = hex::decode(token).ok().and_then(|key| String::from_utf8(key).ok());
            Some(key.ok_or_else(|| bad("The continuation token provided is incorrect"))?)
        }
        None => None,
    };
    let encodes = of("encoding-type") == Some("url");
    let (page, has_more) = world.s3.list(&call.region, bucket, after.as_deref(), most)?;
    let shown = |key: &str| match encodes {
        true => form_urlencoded::byte_serialize(key.as_bytes()).collect::<String>().replace("%2F", "/"),
        false => quick_xml::escape::escape(key).into_owned(),
    };
    let contents = page.iter().map(|(key, object)| {
        format!(
            "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>&quot;-&quot;</ETag><Size>{}</Size>\
             <StorageClass>STANDARD</StorageClass></Contents>",
            shown(key),
            rfc3339(object.put_at),
            object.body.len()
        )
    });
    let contents: String = contents.collect();
    let next = page.last().filter(|_| has_more).map(|(key, _)| hex::encode(key));
    let next = next.map_or_else(String::new, |n| format!("<NextContinuationToken>{n}</NextContinuationToken>"));
    let encoding = if encodes { "<EncodingType>url</EncodingType>" } else { "" };
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Name>{bucket}</Name><Prefix></Prefix><KeyCount>{}</KeyCount><MaxKeys>{most}</MaxKeys>{encoding}\
         <IsTruncated>{has_more}</IsTruncated>{next}{contents}</ListBucketResult>",
        page.len()
    );
    let mut answer = MockResponse::xml(200, body);
    insert(&mut answer.headers, REQUEST_ID_HEADER, "-");
    Ok(answer)
}

fn invalid(code: &'static str, message: &str) -> ApiFault {
    ApiFault { status: 400, code, message: message.to_owned() }
}

/// Whether the body is the one that was signed, and the one that its checksum is of.
fn whole_body(call: &Call) -> Result<(), ApiFault> {
    let header = |name: &str| call.headers.get(name).and_then(|v| v.to_str().ok());
    let hash = sha2::Sha256::digest(&call.body);
    match header("x-amz-content-sha256") {
        None => {
            return Err(invalid("InvalidRequest", "Missing required header for this request: x-amz-content-sha256"));
        }
        Some(streamed) if streamed.starts_with("STREAMING-") => {
            return Err(ApiFault {
                status: 501,
                ..invalid("NotImplemented", "a body in signed chunks is not simulated")
            });
        }
        Some("UNSIGNED-PAYLOAD") => {}
        Some(signed) if signed == hex::encode(hash) => {}
        Some(_) => {
            let message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
            return Err(invalid("XAmzContentSHA256Mismatch", message));
        }
    }
    let checksum = aws_smithy_types::base64::encode(hash);
    if header("x-amz-checksum-sha256").is_some_and(|given| given != checksum) {
        return Err(invalid("BadDigest", "The SHA256 you specified did not match the calculated checksum."));
    }
    Ok(())
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn answer(status: u16, object: Option<&Object>, with_body: bool) -> MockResponse {
    let body = object.filter(|_| with_body).map_or_else(Vec::new, |object| object.body.clone());
    let mut answer = MockResponse::xml(status, body);
    answer.headers.remove("content-type");
    insert(&mut answer.headers, REQUEST_ID_HEADER, "-");
    if let Some(object) = object {
        // S3's own is a hash too, of another kind; nobody may rely on which.
        let hash = hex::encode(sha2::Sha256::digest(&object.body));
        insert(&mut answer.headers, "etag", &format!("\"{}\"", &hash[..32]));
        if with_body {
            insert(&mut answer.headers, "last-modified", &encode::http_date(object.put_at));
            insert(&mut answer.headers, "content-type", "text/plain; charset=utf-8");
        }
    }
    answer
}

/// What HEAD tells of the body that it does not send.
fn described(mut answer: MockResponse, object: &Object) -> MockResponse {
    insert(&mut answer.headers, "content-length", &object.body.len().to_string());
    insert(&mut answer.headers, "last-modified", &encode::http_date(object.put_at));
    if let Some(status) = object.replication {
        insert(&mut answer.headers, "x-amz-replication-status", status);
    }
    answer
}
