//! Signals that are a CloudWatch metric held against thresholds, named ones and any other.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Around, At, Fields, Findings, MINUTE, MetricQuery, MissingMeans, Region, SECOND, SignalSource, Threshold, member,
    threshold,
};

/// Which metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Namespace, name and dimensions are the operator's.
    Any,
    LambdaErrors,
    LambdaThrottles,
    ApiGateway5xx,
    ApiGatewayLatency,
}

/// What is known of a kind, and what holds where nothing is said.
struct Known {
    statistic: &'static str,
    period: Duration,
    unhealthy: Option<&'static str>,
}

impl Kind {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "metric" => Self::Any,
            "lambda_errors" => Self::LambdaErrors,
            "lambda_throttles" => Self::LambdaThrottles,
            "api_gateway_5xx" => Self::ApiGateway5xx,
            "api_gateway_latency" => Self::ApiGatewayLatency,
            _ => return None,
        })
    }

    /// The thresholds are those of the published designs (DESIGN.md 9): 5 errors in 5 minutes, 1 throttle. What share of
    /// 5xx and which latency are too much, nobody can say but the operator.
    fn known(self) -> Option<Known> {
        let known = |statistic, period, unhealthy| Some(Known { statistic, period, unhealthy });
        match self {
            Self::Any => None,
            Self::LambdaErrors => known("Sum", 5 * MINUTE, Some(">= 5")),
            Self::LambdaThrottles => known("Sum", 5 * MINUTE, Some(">= 1")),
            Self::ApiGateway5xx => known("Average", MINUTE, None),
            Self::ApiGatewayLatency => known("p99", MINUTE, None),
        }
    }
}

/// What identifies the metric.
struct Identity {
    namespace: String,
    metric: String,
    dimensions: BTreeMap<String, String>,
}

pub(super) fn read(kind: Kind, f: &mut Fields<'_>, around: &Around<'_>, found: &mut Findings) -> Option<SignalSource> {
    let key = f.key.clone();
    let region = f.need(found, "region", "region = \"us-east-1\"").and_then(|at| at.parse::<Region>(found));
    let of = f.get(found, "of", "of = \"us-east-1\"");
    let identity = identity(kind, f, found);
    let known = kind.known();
    let statistic = f.get(found, "statistic", "statistic = \"Sum\"");
    let period = f.get(found, "stat_period", "stat_period = \"5m\"");
    let threshold = threshold(f, found, known.as_ref().and_then(|k| k.unhealthy));
    let missing = f.get(found, "missing", "missing = \"unknown\"");
    let statistic = match (statistic, &known) {
        (Some(at), _) => self::statistic(&at, found),
        (None, Some(known)) => Some(known.statistic.to_owned()),
        (None, None) => {
            found.error(&key, "`statistic` is missing", "statistic = \"Sum\"");
            None
        }
    };
    let usual = known.map_or(MINUTE, |k| k.period);
    let period = period.map_or(Some(usual), |at| stat_period(&at, identity.as_ref(), found));
    // The Region whose health it tells is the one where it is published, unless another is named.
    let of = match of {
        Some(at) => member(&at, around.regions, found),
        None => match &region {
            Some(region) if !around.regions.contains(region) => {
                let problem = format!("{region} is not a Region of this application: say whose health it tells");
                found.error(&key, problem, "of = \"us-east-1\"");
                None
            }
            region => region.clone(),
        },
    };
    let Identity { namespace, metric, dimensions } = identity?;
    let query = MetricQuery { namespace, metric, dimensions, statistic: statistic?, period: period? };
    let threshold = threshold?;
    let missing = match missing {
        Some(at) => self::missing(&at, &query, &threshold, found)?,
        None => MissingMeans::Unknown,
    };
    Some(SignalSource::Metric { region: region?, query, threshold, missing, of: of? })
}

fn identity(kind: Kind, f: &mut Fields<'_>, found: &mut Findings) -> Option<Identity> {
    let of = |namespace: &str, metric: &str, dimensions: BTreeMap<String, String>| Identity {
        namespace: namespace.to_owned(),
        metric: metric.to_owned(),
        dimensions,
    };
    match kind {
        Kind::Any => {
            let namespace = f.need(found, "namespace", "namespace = \"AWS/DynamoDB\"");
            let metric = f.need(found, "metric", "metric = \"ThrottledRequests\"");
            let dimensions = f.get(found, "dimensions", "dimensions = { TableName = \"sessions\" }");
            let dimensions = match dimensions {
                Some(at) => named_texts(&at, found)?,
                None => BTreeMap::new(),
            };
            Some(of(namespace?.text(found)?, metric?.text(found)?, dimensions))
        }
        Kind::LambdaErrors | Kind::LambdaThrottles => {
            let function = f.need(found, "function", "function = \"payments\"")?.text(found)?;
            let metric = if kind == Kind::LambdaErrors { "Errors" } else { "Throttles" };
            Some(of("AWS/Lambda", metric, [("FunctionName".to_owned(), function.to_owned())].into()))
        }
        Kind::ApiGateway5xx | Kind::ApiGatewayLatency => {
            let name = f.get(found, "api_name", "api_name = \"payments\"");
            let id = f.get(found, "api_id", "api_id = \"a1b2c3d4e5\"");
            let stage = f.get(found, "stage", "stage = \"prod\"");
            // REST APIs are known by name, HTTP APIs by id; their metrics of server errors differ in name [APIGW DG].
            let (dimension, at, errors) = match (name, id) {
                (Some(at), None) => ("ApiName", at, "5XXError"),
                (None, Some(at)) => ("ApiId", at, "5xx"),
                _ => {
                    let problem = "needs `api_name` (of a REST API) or `api_id` (of an HTTP API), and not both";
                    found.error(&f.key, problem, "api_name = \"payments\"");
                    return None;
                }
            };
            let metric = if kind == Kind::ApiGateway5xx { errors } else { "Latency" };
            let mut dimensions: BTreeMap<_, _> = [(dimension.to_owned(), at.text(found)?.to_owned())].into();
            if let Some(at) = stage {
                dimensions.insert("Stage".to_owned(), at.text(found)?.to_owned());
            }
            Some(of("AWS/ApiGateway", metric, dimensions))
        }
    }
}

fn named_texts(at: &At<'_>, found: &mut Findings) -> Option<BTreeMap<String, String>> {
    /// Dimensions of one metric [bc:cloudwatch].
    const DIMENSIONS_MAX: usize = 30;
    let entries = at.named(found)?;
    if DIMENSIONS_MAX < entries.len() {
        found.error(&at.key, format!("a metric has at most {DIMENSIONS_MAX} dimensions"), at.example);
        return None;
    }
    entries.into_iter().map(|(name, at)| Some((name.to_owned(), at.text(found)?.to_owned()))).collect()
}

/// A statistic that CloudWatch knows: five by name, and percentiles.
fn statistic(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    let plain = ["Sum", "Average", "Minimum", "Maximum", "SampleCount"].contains(&text);
    let percentile = text.strip_prefix('p').is_some_and(|p| {
        p.chars().all(|c| c.is_ascii_digit() || c == '.') && p.parse::<f64>().is_ok_and(|p| (0.0..=100.0).contains(&p))
    });
    if plain || percentile {
        return Some(text.to_owned());
    }
    found.error(
        &at.key,
        "expected Sum, Average, Minimum, Maximum, SampleCount or a percentile such as p99",
        at.example,
    );
    None
}

/// What GetMetricData takes: whole minutes, and of custom metrics also 10, 20 or 30 seconds and the like [bc].
fn stat_period(at: &At<'_>, identity: Option<&Identity>, found: &mut Findings) -> Option<Duration> {
    let period = at.duration(found, SECOND, 24 * 60 * MINUTE)?;
    let whole = period.subsec_nanos() == 0 && period.as_secs().is_multiple_of(60);
    let custom = identity.is_none_or(|i| !i.namespace.starts_with("AWS/"));
    if whole || custom && period.subsec_nanos() == 0 && matches!(period.as_secs(), 1 | 5 | 10 | 20 | 30) {
        return Some(period);
    }
    found.error(
        &at.key,
        "expected whole minutes (of a metric that is not AWS's also 1, 5, 10, 20 or 30 s)",
        at.example,
    );
    None
}

/// Silence means health only of a count of what is bad, which is published where something was counted. It never does of
/// a lag, a latency or a state.
fn missing(at: &At<'_>, query: &MetricQuery, threshold: &Threshold, found: &mut Findings) -> Option<MissingMeans> {
    match at.text(found)? {
        "unknown" => Some(MissingMeans::Unknown),
        "healthy" => {
            let counts = matches!(query.statistic.as_str(), "Sum" | "SampleCount");
            let more_is_worse = threshold.unhealthy().to_string().starts_with('>');
            let measures = ["Lag", "Latency", "Duration", "Status", "Pending", "Healthy", "Utilization"];
            if counts && more_is_worse && !measures.iter().any(|m| query.metric.contains(m)) {
                return Some(MissingMeans::Healthy);
            }
            let problem = "only a count of something bad (Sum or SampleCount, unhealthy when it is greater) may be \
                           taken to be healthy when nothing is published; a lag, a latency or a state never";
            found.error(&at.key, problem, "missing = \"unknown\"");
            None
        }
        _ => {
            found.error(&at.key, "expected unknown or healthy", at.example);
            None
        }
    }
}
