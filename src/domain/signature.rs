//! For how long AWS takes a call that is held up on its way: as long as its signature is valid, where that was seen.
//!
//! A call is signed as of its intent, so one that a process or the network holds back for longer is refused by AWS
//! itself. Whether that is so where we are is asked once, by a question that changes nothing and is signed too long ago.
//!
//! Invariant: only a refusal for its age verifies a family; an answer says that nobody looks at ages there (an emulator),
//! silence says nothing, and both are waited out as long ([`UNVERIFIED_WITHIN`]).

use std::time::Duration;

use super::{
    api_call::{ApiCall, Lists, Wire},
    application::{Application, ClusterEndpoint, Mechanism},
    cloud::Mutation,
    id::Region,
};

/// How long a signature is taken for: 5 minutes (Signature Version 4) [AWS General Reference; from memory].
const TAKEN_FOR: Duration = Duration::from_mins(5);

/// The same for S3 [S3 API, Authenticating Requests; from memory].
const TAKEN_FOR_S3: Duration = Duration::from_mins(15);

/// What looking at guards takes between an intent and its call, and clocks that run apart.
const MARGIN: Duration = Duration::from_secs(30);

/// How much older than that the question is: more than a clock may be off.
const AGED_BY: Duration = Duration::from_mins(1);

/// How long a call without an answer may still arrive where signatures are not known to end it. Linux sends a segment
/// again for 924.6 s by default (`tcp_retries2` of 15) before it gives a connection up, and the whole attempt budget of a
/// call is under a minute; the rest, up to half an hour, is declared: for no longer does a machine of ours stand still.
pub const UNVERIFIED_WITHIN: Duration = Duration::from_mins(30);

/// Services that take a signature for the same time and look at it in the same way: one for each endpoint that a move
/// changes something at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    Rds,
    Route53,
    RoutingControls,
    CloudWatch,
    Sns,
    S3,
    /// What a runbook writes out, and Lambda: STS is asked in their place.
    Written,
}

impl Family {
    pub const ALL: [Self; 7] =
        [Self::Rds, Self::Route53, Self::RoutingControls, Self::CloudWatch, Self::Sns, Self::S3, Self::Written];

    /// Its word in status and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rds => "rds",
            Self::Route53 => "route53",
            Self::RoutingControls => "route53-recovery-cluster",
            Self::CloudWatch => "cloudwatch",
            Self::Sns => "sns",
            Self::S3 => "s3",
            Self::Written => "written-out",
        }
    }

    /// Who looks at the signature of `call`; `None` where it has none.
    pub fn of(call: &Mutation) -> Option<Self> {
        Some(match call {
            Mutation::AuroraSwitchover { .. }
            | Mutation::AuroraFailover { .. }
            | Mutation::AuroraDetach { .. }
            | Mutation::CreateInstance { .. }
            | Mutation::CopySnapshot { .. } => Self::Rds,
            Mutation::RoutingControls { .. } => Self::RoutingControls,
            Mutation::PutMetric { .. } => Self::CloudWatch,
            Mutation::PutObject { .. } | Mutation::DeleteObject { .. } => Self::S3,
            Mutation::UpsertRecords { .. } => Self::Route53,
            Mutation::Publish { .. } => Self::Sns,
            Mutation::LambdaVariable { .. } | Mutation::AwsCall { .. } => Self::Written,
            // To a database.
            Mutation::EndSessions { .. } => return None,
        })
    }

    fn taken_for(self) -> Duration {
        if self == Self::S3 { TAKEN_FOR_S3 } else { TAKEN_FOR }
    }

    /// How long after its intent a call may arrive and be taken, where AWS looks at its age.
    pub fn verified_within(self) -> Duration {
        self.taken_for() + MARGIN
    }

    /// How long ago a question is signed that is to be refused.
    pub fn aged(self) -> Duration {
        self.taken_for() + AGED_BY
    }
}

/// A question that changes nothing, to be signed too long ago.
#[derive(Debug, Clone, PartialEq)]
pub enum Aged {
    /// `rds:DescribeGlobalClusters`.
    Rds { region: Region, global_cluster: String },
    /// `route53:ListResourceRecordSets`.
    Route53 { hosted_zone_id: String, name: String, record_type: String },
    /// `route53-recovery-cluster:GetRoutingControlState`.
    RoutingControls { endpoints: Vec<ClusterEndpoint>, arn: String },
    /// `cloudwatch:DescribeAlarms`.
    CloudWatch { region: Region },
    /// `sns:ListTopics`.
    Sns { region: Region },
    /// `s3:ListObjectsV2`, whose refusal has a body.
    S3 { region: Region, bucket: String },
    /// `sts:GetCallerIdentity`.
    Written(ApiCall),
}

impl Aged {
    pub fn family(&self) -> Family {
        match self {
            Self::Rds { .. } => Family::Rds,
            Self::Route53 { .. } => Family::Route53,
            Self::RoutingControls { .. } => Family::RoutingControls,
            Self::CloudWatch { .. } => Family::CloudWatch,
            Self::Sns { .. } => Family::Sns,
            Self::S3 { .. } => Family::S3,
            Self::Written(_) => Family::Written,
        }
    }

    /// What may be asked of the families that `application` changes something at, the Regions away from home first: at
    /// home it may be the worst day.
    pub fn questions(application: &Application) -> Vec<Self> {
        let regions: Vec<&Region> = application.regions.iter().rev().collect();
        let mut asked = Vec::new();
        for store in application.stores.values() {
            let of = |region: &&Region| Self::Rds {
                region: (*region).clone(),
                global_cluster: store.global_cluster.clone(),
            };
            asked.extend(regions.iter().map(of));
        }
        for traffic in application.traffic.values() {
            asked.push(Self::Route53 {
                hosted_zone_id: traffic.hosted_zone_id.clone(),
                name: traffic.record_name.clone(),
                record_type: traffic.record_type.clone(),
            });
            match &traffic.mechanism {
                Mechanism::RoutingControls { endpoints, controls, .. } => {
                    let arn = controls.values().next().cloned();
                    asked.extend(arn.map(|arn| Self::RoutingControls { endpoints: endpoints.clone(), arn }));
                }
                Mechanism::HealthSignal { region, .. } => asked.push(Self::CloudWatch { region: region.clone() }),
                Mechanism::StandbyObject { object, .. } => {
                    asked.push(Self::S3 { region: object.region.clone(), bucket: object.bucket.clone() });
                }
                Mechanism::Records { .. } => {}
            }
        }
        asked.extend(application.topics.iter().map(|topic| Self::Sns { region: topic.region.clone() }));
        asked.extend(regions.into_iter().map(|region| Self::Written(who_am_i(region.clone()))));
        asked
    }
}

fn who_am_i(region: Region) -> ApiCall {
    ApiCall {
        operation: "sts:GetCallerIdentity".to_owned(),
        region,
        wire: Wire::Query { version: "2011-06-15".to_owned(), lists: Lists::Member },
        arguments: serde_json::json!({}),
        role_arn: None,
        handle: None,
    }
}

/// What AWS made of a question that was signed too long ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgeAnswer {
    /// It refused it for its age, by this code.
    Refused { code: String },
    /// It looked at the question itself, whatever it said of it.
    Taken,
}

/// What is known of a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// Old signatures are refused, by this code.
    Verified { code: String },
    /// They are taken.
    Unverified,
    /// Nobody has answered yet, and why.
    Unknown { why: String },
}

impl Check {
    pub fn is_verified(&self) -> bool {
        matches!(self, Self::Verified { .. })
    }

    pub fn word(&self) -> &'static str {
        match self {
            Self::Verified { .. } => "verified",
            Self::Unverified => "unverified",
            Self::Unknown { .. } => "unknown",
        }
    }
}
