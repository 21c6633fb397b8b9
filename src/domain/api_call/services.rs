//! The services whose protocol is known, so that a runbook need not say it, and the paths of common REST operations.
//!
//! Every row is held against botocore's own models by tests/it/aws_call.rs. A service that is not here can be called
//! all the same, with its protocol written out. The name is IAM's prefix, the endpoint's first label and the name that
//! the signature is for: services for which these differ are not here.

use super::{JsonVersion, Lists, Method};

/// A service of AWS.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    pub name: &'static str,
    /// As the SDKs name it in `AWS_ENDPOINT_URL_…` and in profiles.
    pub sdk_id: &'static str,
    pub protocol: Protocol,
}

/// The protocol of a service.
#[derive(Debug, Clone, Copy)]
pub enum Protocol {
    Json { target: &'static str, version: JsonVersion },
    RestJson,
    Query { version: &'static str, lists: Lists },
}

/// A REST-JSON operation whose method and path are known.
#[derive(Debug, Clone, Copy)]
pub struct RestOperation {
    pub service: &'static str,
    pub operation: &'static str,
    pub method: Method,
    pub path: &'static str,
}

const fn json(name: &'static str, sdk_id: &'static str, target: &'static str, version: JsonVersion) -> Service {
    Service { name, sdk_id, protocol: Protocol::Json { target, version } }
}

const fn rest(name: &'static str, sdk_id: &'static str) -> Service {
    Service { name, sdk_id, protocol: Protocol::RestJson }
}

const fn query(name: &'static str, sdk_id: &'static str, version: &'static str, lists: Lists) -> Service {
    Service { name, sdk_id, protocol: Protocol::Query { version, lists } }
}

/// Known services, by name. [bc]
pub const SERVICES: &[Service] = &[
    json("application-autoscaling", "Application Auto Scaling", "AnyScaleFrontendService", JsonVersion::V1_1),
    query("autoscaling", "Auto Scaling", "2011-01-01", Lists::Member),
    rest("backup", "Backup"),
    json("dynamodb", "DynamoDB", "DynamoDB_20120810", JsonVersion::V1_0),
    query("ec2", "EC2", "2016-11-15", Lists::Flat),
    json("ecs", "ECS", "AmazonEC2ContainerServiceV20141113", JsonVersion::V1_1),
    rest("eks", "EKS"),
    query("elasticache", "ElastiCache", "2015-02-02", Lists::Flat),
    json("events", "EventBridge", "AWSEvents", JsonVersion::V1_1),
    json("kms", "KMS", "TrentService", JsonVersion::V1_1),
    rest("lambda", "Lambda"),
    json("logs", "CloudWatch Logs", "Logs_20140328", JsonVersion::V1_1),
    query("rds", "RDS", "2014-10-31", Lists::Flat),
    rest("scheduler", "Scheduler"),
    json("secretsmanager", "Secrets Manager", "secretsmanager", JsonVersion::V1_1),
    json("ssm", "SSM", "AmazonSSM", JsonVersion::V1_1),
    json("states", "SFN", "AWSStepFunctions", JsonVersion::V1_0),
    query("sts", "STS", "2011-06-15", Lists::Member),
];

const fn of(service: &'static str, operation: &'static str, method: Method, path: &'static str) -> RestOperation {
    RestOperation { service, operation, method, path }
}

/// Known REST-JSON operations. [bc]
pub const REST_OPERATIONS: &[RestOperation] = &[
    of("backup", "DescribeCopyJob", Method::Get, "/copy-jobs/{CopyJobId}"),
    of("backup", "ListRecoveryPointsByBackupVault", Method::Get, "/backup-vaults/{BackupVaultName}/recovery-points/"),
    of("backup", "StartCopyJob", Method::Put, "/copy-jobs"),
    of("lambda", "DeleteFunctionConcurrency", Method::Delete, "/2017-10-31/functions/{FunctionName}/concurrency"),
    of("lambda", "GetEventSourceMapping", Method::Get, "/2015-03-31/event-source-mappings/{UUID}"),
    of("lambda", "GetFunctionConcurrency", Method::Get, "/2019-09-30/functions/{FunctionName}/concurrency"),
    of("lambda", "GetFunctionConfiguration", Method::Get, "/2015-03-31/functions/{FunctionName}/configuration"),
    of("lambda", "PutFunctionConcurrency", Method::Put, "/2017-10-31/functions/{FunctionName}/concurrency"),
    of("lambda", "UpdateEventSourceMapping", Method::Put, "/2015-03-31/event-source-mappings/{UUID}"),
    of("lambda", "UpdateFunctionConfiguration", Method::Put, "/2015-03-31/functions/{FunctionName}/configuration"),
];

/// The service of that name.
pub fn service(name: &str) -> Option<&'static Service> {
    SERVICES.iter().find(|service| service.name == name)
}

/// The REST-JSON operation of that name.
pub fn rest_operation(service: &str, operation: &str) -> Option<&'static RestOperation> {
    REST_OPERATIONS.iter().find(|known| known.service == service && known.operation == operation)
}
