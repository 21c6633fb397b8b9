//! The operations of `aws.call` whose resource and attributes are known to both tools. What is not here, an operation or
//! an argument, is in the patch all the same, as something that a person must look at.
//!
//! Before such a call nothing is read, so that its value before is unknown; what the runbook's own `undo` would set is
//! told beside it, and is not what was there.

use serde_json::{Value, json};

use super::{Change, Remedy, Resource, Said, Side, effects::Call};
use crate::domain::{action::Action, api_call::ApiCall};

/// An operation that changes one resource.
struct Known {
    operation: &'static str,
    terraform: &'static str,
    cloudformation: &'static str,
    /// The arguments that name the resource, those that lead to it first.
    named_by: &'static [&'static str],
    attributes: &'static [Attribute],
    /// What it sets without an argument.
    fixed: &'static [Fixed],
    /// Arguments that leave nothing behind.
    passing: &'static [&'static str],
}

/// An argument that sets an attribute.
struct Attribute {
    argument: &'static str,
    terraform: &'static str,
    cloudformation: &'static str,
    form: Form,
}

/// How a value is written.
#[derive(Clone, Copy)]
enum Form {
    /// As it was sent.
    Same,
    /// CloudFormation has it as text.
    TextInStacks,
    /// Terraform has the table below this key, in a block.
    Inside(&'static str),
    /// It is a secret: never told, and never written into code.
    Secret,
}

struct Fixed {
    terraform: (&'static str, Fixture),
    cloudformation: (&'static str, Fixture),
}

#[derive(Clone, Copy)]
enum Fixture {
    Text(&'static str),
    Number(i64),
    /// The attribute is taken away.
    Absent,
}

impl Fixture {
    fn value(self) -> Value {
        match self {
            Self::Text(text) => text.into(),
            Self::Number(number) => number.into(),
            Self::Absent => Value::Null,
        }
    }
}

const fn same(argument: &'static str, terraform: &'static str, cloudformation: &'static str) -> Attribute {
    Attribute { argument, terraform, cloudformation, form: Form::Same }
}

const fn formed(
    argument: &'static str,
    terraform: &'static str,
    cloudformation: &'static str,
    form: Form,
) -> Attribute {
    Attribute { argument, terraform, cloudformation, form }
}

const fn state(state: &'static str) -> Fixed {
    Fixed { terraform: ("state", Fixture::Text(state)), cloudformation: ("State", Fixture::Text(state)) }
}

const fn of(
    operation: &'static str,
    (terraform, cloudformation): (&'static str, &'static str),
    named_by: &'static [&'static str],
    attributes: &'static [Attribute],
) -> Known {
    Known { operation, terraform, cloudformation, named_by, attributes, fixed: &[], passing: &[] }
}

const ECS: (&str, &str) = ("aws_ecs_service", "AWS::ECS::Service");
const LAMBDA: (&str, &str) = ("aws_lambda_function", "AWS::Lambda::Function");
const RULE: (&str, &str) = ("aws_cloudwatch_event_rule", "AWS::Events::Rule");
const SECRET: (&str, &str) = ("aws_secretsmanager_secret_version", "AWS::SecretsManager::Secret");
const GROUP: (&str, &str) = ("aws_autoscaling_group", "AWS::AutoScaling::AutoScalingGroup");
const TARGET: (&str, &str) = ("aws_appautoscaling_target", "AWS::ApplicationAutoScaling::ScalableTarget");

/// Names of operations and arguments: botocore's models; of attributes: the schemas of the two tools.
const KNOWN: &[Known] = &[
    Known {
        passing: &["forceNewDeployment"],
        ..of(
            "ecs:UpdateService",
            ECS,
            &["cluster", "service"],
            &[
                same("desiredCount", "desired_count", "DesiredCount"),
                same("taskDefinition", "task_definition", "TaskDefinition"),
            ],
        )
    },
    of(
        "lambda:PutFunctionConcurrency",
        LAMBDA,
        &["FunctionName"],
        &[same("ReservedConcurrentExecutions", "reserved_concurrent_executions", "ReservedConcurrentExecutions")],
    ),
    Known {
        fixed: &[Fixed {
            // The provider's word for "no limit of its own".
            terraform: ("reserved_concurrent_executions", Fixture::Number(-1)),
            cloudformation: ("ReservedConcurrentExecutions", Fixture::Absent),
        }],
        ..of("lambda:DeleteFunctionConcurrency", LAMBDA, &["FunctionName"], &[])
    },
    Known {
        passing: &["RevisionId"],
        ..of(
            "lambda:UpdateFunctionConfiguration",
            LAMBDA,
            &["FunctionName"],
            &[
                formed("Environment", "environment.variables", "Environment", Form::Inside("Variables")),
                same("MemorySize", "memory_size", "MemorySize"),
                same("Timeout", "timeout", "Timeout"),
            ],
        )
    },
    of(
        "lambda:UpdateEventSourceMapping",
        ("aws_lambda_event_source_mapping", "AWS::Lambda::EventSourceMapping"),
        &["UUID"],
        &[same("Enabled", "enabled", "Enabled"), same("BatchSize", "batch_size", "BatchSize")],
    ),
    Known {
        passing: &["Overwrite"],
        ..of(
            "ssm:PutParameter",
            ("aws_ssm_parameter", "AWS::SSM::Parameter"),
            &["Name"],
            &[same("Value", "value", "Value"), same("Type", "type", "Type")],
        )
    },
    Known { fixed: &[state("ENABLED")], ..of("events:EnableRule", RULE, &["EventBusName", "Name"], &[]) },
    Known { fixed: &[state("DISABLED")], ..of("events:DisableRule", RULE, &["EventBusName", "Name"], &[]) },
    of(
        "events:PutRule",
        RULE,
        &["EventBusName", "Name"],
        &[
            same("State", "state", "State"),
            same("ScheduleExpression", "schedule_expression", "ScheduleExpression"),
            same("Description", "description", "Description"),
        ],
    ),
    Known {
        passing: &["ClientRequestToken"],
        ..of(
            "secretsmanager:PutSecretValue",
            SECRET,
            &["SecretId"],
            &[
                formed("SecretString", "secret_string", "SecretString", Form::Secret),
                formed("SecretBinary", "secret_binary", "SecretBinary", Form::Secret),
            ],
        )
    },
    Known {
        passing: &["ClientRequestToken"],
        ..of(
            "secretsmanager:UpdateSecret",
            SECRET,
            &["SecretId"],
            &[formed("SecretString", "secret_string", "SecretString", Form::Secret)],
        )
    },
    Known {
        passing: &["HonorCooldown"],
        ..of(
            "autoscaling:SetDesiredCapacity",
            GROUP,
            &["AutoScalingGroupName"],
            &[formed("DesiredCapacity", "desired_capacity", "DesiredCapacity", Form::TextInStacks)],
        )
    },
    of(
        "autoscaling:UpdateAutoScalingGroup",
        GROUP,
        &["AutoScalingGroupName"],
        &[
            formed("DesiredCapacity", "desired_capacity", "DesiredCapacity", Form::TextInStacks),
            formed("MinSize", "min_size", "MinSize", Form::TextInStacks),
            formed("MaxSize", "max_size", "MaxSize", Form::TextInStacks),
        ],
    ),
    of(
        "application-autoscaling:RegisterScalableTarget",
        TARGET,
        &["ServiceNamespace", "ResourceId", "ScalableDimension"],
        &[same("MinCapacity", "min_capacity", "MinCapacity"), same("MaxCapacity", "max_capacity", "MaxCapacity")],
    ),
];

/// What the call `request` has changed.
pub(super) fn changes(call: &Call<'_>, request: &ApiCall) -> Vec<Change> {
    let Some(known) = KNOWN.iter().find(|known| known.operation == request.operation) else {
        return vec![unlisted(call, request.region.as_str())];
    };
    let resource = resource(known, request);
    let fixed = known.fixed.iter().map(|fixed| {
        let (terraform, cloudformation) = (fixed.terraform, fixed.cloudformation);
        let after = call.wrote(terraform.1.value());
        let before = before(call, None);
        let sides = [(terraform.0, terraform.1.value()), (cloudformation.0, cloudformation.1.value())];
        written(call, known, &resource, (before, after), sides)
    });
    let arguments = request.arguments.as_object();
    let set = arguments.into_iter().flatten().filter_map(|(name, value)| {
        let is_silent = known.named_by.contains(&name.as_str()) || known.passing.contains(&name.as_str());
        if is_silent {
            return None;
        }
        Some(match known.attributes.iter().find(|attribute| attribute.argument == name) {
            Some(attribute) => set(call, known, &resource, attribute, value),
            None => unknown(call, &resource, Some(known), name),
        })
    });
    fixed.chain(set).collect()
}

/// A call of which no more is known here than its name. Which resource it has changed cannot be told from arguments that
/// are not known, so that each step has its own.
pub(super) fn unlisted(call: &Call<'_>, region: &str) -> Change {
    let (operation, step) = (call.mutation.operation(), &call.step.id);
    let service = operation.split(':').next().unwrap_or_default();
    let resource = Resource::new(format!("{service}:{region}:step {step}"), &format!("{service}_{step}"));
    unknown(call, &resource, None, &format!("everything that {operation} changes"))
}

/// The resource that the arguments name: its ARN where one of them is one.
fn resource(known: &Known, request: &ApiCall) -> Resource {
    let names = known.named_by.iter().filter_map(|name| request.arguments.get(name)?.as_str());
    let names: Vec<&str> = names.collect();
    let joined = names.join("/");
    let label = format!("{}_{joined}", request.region);
    match names.last() {
        Some(arn) if arn.starts_with("arn:") => Resource::new(*arn, &label),
        _ => Resource::new(format!("{}:{}:{joined}", request.service(), request.region), &label),
    }
}

/// The runbook's own way back is a declaration, no reading.
fn before(call: &Call<'_>, argument: Option<&str>) -> Said {
    let undo = match &call.step.action {
        Action::AwsCall { call } => call.undo.as_ref(),
        _ => None,
    };
    let back = undo.and_then(|undo| Some((undo, undo.request.arguments.get(argument?)?)));
    let why = match (back, undo) {
        (Some((undo, value)), _) => {
            format!("not read before the call; the runbook's undo ({}) would set {value}", undo.request.operation)
        }
        (None, Some(undo)) => format!("not read before the call; the runbook's undo is {}", undo.request.operation),
        (None, None) => "not read before the call; the runbook declares no undo".to_owned(),
    };
    Said::Unknown { why }
}

fn set(call: &Call<'_>, known: &Known, resource: &Resource, attribute: &'static Attribute, value: &Value) -> Change {
    if matches!(attribute.form, Form::Secret) {
        let side = |kind, attribute: &str, remedy, otherwise: &str| Side {
            kind: Some(kind),
            attribute: attribute.to_owned(),
            remedy,
            otherwise: otherwise.to_owned(),
        };
        let otherwise = "where the code sets the secret, the next apply writes a version with the code's value";
        return call.change(
            resource,
            (Said::Hidden, Said::Hidden),
            side(
                known.terraform,
                attribute.terraform,
                Remedy::Ignore(std::slice::from_ref(&attribute.terraform)),
                otherwise,
            ),
            side(
                known.cloudformation,
                attribute.cloudformation,
                Remedy::Look,
                "a secret is not told here: where the template sets it, an update of the resource writes that value",
            ),
        );
    }
    let in_terraform = match attribute.form {
        Form::Inside(key) => value.get(key).cloned().unwrap_or(Value::Null),
        Form::Same | Form::TextInStacks | Form::Secret => value.clone(),
    };
    let in_stacks = match (attribute.form, value) {
        (Form::TextInStacks, Value::Number(number)) => json!(number.to_string()),
        _ => value.clone(),
    };
    let before = before(call, Some(attribute.argument));
    let sides = [(attribute.terraform, in_terraform), (attribute.cloudformation, in_stacks)];
    written(call, known, resource, (before, call.wrote(value.clone())), sides)
}

fn written(
    call: &Call<'_>,
    known: &Known,
    resource: &Resource,
    said: (Said, Said),
    [terraform, cloudformation]: [(&str, Value); 2],
) -> Change {
    let side = |kind, (attribute, value): (&str, Value), otherwise: &str| Side {
        kind: Some(kind),
        attribute: attribute.to_owned(),
        remedy: Remedy::Write(value),
        otherwise: otherwise.to_owned(),
    };
    call.change(
        resource,
        said,
        side(known.terraform, terraform, "where the code sets it, the next apply puts the code's value back"),
        side(
            known.cloudformation,
            cloudformation,
            "where the template sets it, the next update of this resource, or a rollback, puts the template's value back",
        ),
    )
}

fn unknown(call: &Call<'_>, resource: &Resource, known: Option<&Known>, what: &str) -> Change {
    let side = |kind| Side {
        kind,
        attribute: what.to_owned(),
        remedy: Remedy::Look,
        otherwise: "unknown to failoverd: look yourself whether your code describes it".to_owned(),
    };
    let before = Said::Unknown { why: "not read before the call".to_owned() };
    let after = Said::Unknown { why: format!("see the arguments of {} in the plan", call.mutation.operation()) };
    call.change(
        resource,
        (before, after),
        side(known.map(|known| known.terraform)),
        side(known.map(|known| known.cloudformation)),
    )
}
