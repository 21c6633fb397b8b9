//! Overrides: asked for, consented to, ended, listed.
//!
//! An operator asks, an approver consents, and whoever may do either may switch the automation off or take something
//! back at once: that only makes things stricter. Who it was stands in the journal.

use std::time::Duration;

use axum::{Json, extract::State, http::StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    auth::{Permission, Principal, lacking},
    dto::Decision,
    extract::{Body, Concerns, IdempotencyKey, OverridePath, Params, invalid_field, reason},
    problem::Problem,
};
use crate::{
    domain::{
        id::{ApplicationName, OverrideId, Region, RunId},
        overrides::{Ending, OverrideKind, Standing},
        rules::Rule,
        seconds::to_seconds,
    },
    engine::control::{AskOverride, OverrideNow, Refusal},
};

/// How long an acknowledgement is listed where nobody says: it is given for good.
const ACKNOWLEDGED: Duration = Duration::from_hours(24);

/// The largest loss that may be armed, as for a failover that is asked for: a day.
const LARGEST_LOSS_SECONDS_MAX: u32 = super::dto::ACCEPT_DATA_LOSS_SECONDS_MAX;

/// What is overridden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KindName {
    /// A failover may start by itself in this direction, once. In force with a second person's consent.
    Arm,
    /// Nothing is started alone.
    KillSwitch,
    /// Somebody has looked at what a run did.
    Acknowledge,
    /// A rule that binds the automation does not, for at most 30 minutes.
    Waive,
}

/// The body of `POST /overrides`. Which members belong to it depends on `kind`; the others are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OverrideRequest {
    #[schema(value_type = String, pattern = "^[a-z0-9-]{1,64}$")]
    pub application: ApplicationName,
    pub kind: KindName,
    /// `arm`: from which Region.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub from: Option<Region>,
    /// `arm`: to which Region.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub to: Option<Region>,
    /// `arm`: at most so many seconds of acknowledged writes may be lost.
    #[serde(default)]
    #[schema(maximum = 86400)]
    pub largest_loss_seconds: Option<u32>,
    /// `acknowledge`: the run.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub run: Option<RunId>,
    /// `acknowledge`: its lost writes were dealt with, and the Region that it left may be moved to again.
    #[serde(default)]
    pub reconciled: Option<bool>,
    /// `waive`: `dwell`, `cool_down`, `acknowledged` or `blackout`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub rule: Option<Rule>,
    /// Why, for those who read it later. No control characters.
    #[schema(min_length = 1, max_length = 1024)]
    pub reason: String,
    /// At most 90 days, for `waive` 30 minutes. May be left out of `acknowledge`, which is given for good.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub expires_in_seconds: Option<u64>,
}

impl Concerns for OverrideRequest {
    fn application(&self) -> Option<&ApplicationName> {
        Some(&self.application)
    }
}

impl OverrideRequest {
    fn into_ask(self, principal: &Principal, key: Option<String>) -> Result<AskOverride, Problem> {
        self.belongs()?;
        let missing = |path: &str| invalid_field(path, "is missing");
        let kind = match self.kind {
            KindName::KillSwitch => OverrideKind::KillSwitch,
            KindName::Waive => OverrideKind::Waive { rule: self.rule.ok_or_else(|| missing("rule"))? },
            KindName::Acknowledge => OverrideKind::Acknowledge {
                run: self.run.ok_or_else(|| missing("run"))?,
                reconciled: self.reconciled.unwrap_or(false),
            },
            KindName::Arm => {
                let loss = self.largest_loss_seconds.ok_or_else(|| missing("largest_loss_seconds"))?;
                if LARGEST_LOSS_SECONDS_MAX < loss {
                    let problem = format!("expected 0 to {LARGEST_LOSS_SECONDS_MAX}");
                    return Err(invalid_field("largest_loss_seconds", problem));
                }
                OverrideKind::Arm {
                    from: self.from.ok_or_else(|| missing("from"))?,
                    to: self.to.ok_or_else(|| missing("to"))?,
                    largest_loss: Duration::from_secs(loss.into()),
                }
            }
        };
        let expires_in = match (self.expires_in_seconds, self.kind) {
            (Some(seconds), _) => Duration::from_secs(seconds),
            (None, KindName::Acknowledge) => ACKNOWLEDGED,
            (None, KindName::Arm | KindName::KillSwitch | KindName::Waive) => {
                return Err(missing("expires_in_seconds"));
            }
        };
        Ok(AskOverride {
            application: self.application,
            kind,
            reason: reason(&self.reason)?,
            expires_in,
            subject: principal.subject.clone(),
            idempotency_key: key,
        })
    }

    /// A member that another kind has is a misunderstanding, not to be passed over.
    fn belongs(&self) -> Result<(), Problem> {
        let given = [
            ("from", self.from.is_some(), KindName::Arm),
            ("to", self.to.is_some(), KindName::Arm),
            ("largest_loss_seconds", self.largest_loss_seconds.is_some(), KindName::Arm),
            ("run", self.run.is_some(), KindName::Acknowledge),
            ("reconciled", self.reconciled.is_some(), KindName::Acknowledge),
            ("rule", self.rule.is_some(), KindName::Waive),
        ];
        match given.into_iter().find(|(_, is_given, kind)| *is_given && *kind != self.kind) {
            Some((path, ..)) => Err(invalid_field(path, "does not belong to an override of this kind")),
            None => Ok(()),
        }
    }
}

/// The body of `POST /overrides/{id}/consent`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsentRequest {
    pub decision: Decision,
    #[schema(min_length = 1, max_length = 1024)]
    pub reason: String,
}

/// The body of `POST /overrides/{id}/end`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndRequest {
    #[schema(min_length = 1, max_length = 1024)]
    pub reason: String,
}

impl Concerns for ConsentRequest {
    fn application(&self) -> Option<&ApplicationName> {
        None
    }
}

impl Concerns for EndRequest {
    fn application(&self) -> Option<&ApplicationName> {
        None
    }
}

/// The query of `GET /overrides`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OverridesQuery {
    /// Only those of this application.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub application: Option<ApplicationName>,
}

/// The overrides that stand, and the newest of those that are over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OverridesView {
    pub overrides: Vec<OverrideView>,
}

/// One override as it stands now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OverrideView {
    pub id: String,
    pub application: String,
    pub kind: KindName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_loss_seconds: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconciled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub rule: Option<Rule>,
    /// `awaits_consent`, `in_force`, `expired` or `ended`.
    #[schema(value_type = String, example = "in_force")]
    pub standing: Standing,
    pub requested_by: String,
    pub reason: String,
    #[schema(value_type = String, format = DateTime)]
    pub asked_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    pub consented_by: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub consented_at: Option<Timestamp>,
    /// How it ended before its time: `withdrawn`, `declined`, `used`, `config_changed`, `preflight_failed`,
    /// `lag_unknown`, `direction_changed` or `replaced`.
    #[schema(value_type = Option<String>, example = "used")]
    pub ended: Option<Ending>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    pub ended_because: Option<String>,
    /// Of what is armed: whether it could run, as of the last look.
    pub preflight: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub preflight_at: Option<Timestamp>,
}

impl OverrideView {
    pub fn new(now: OverrideNow) -> Self {
        let OverrideNow { what, standing, preflight } = now;
        let (preflight_at, preflight) = preflight.unzip();
        let (consented_by, consented_at) = what.consent.unzip();
        let (ended, ended_at, ended_because) = match what.ended {
            Some((ending, at, why)) => (Some(ending), Some(at), Some(why)),
            None => (None, None, None),
        };
        let mut view = Self {
            application: what.id.application().to_string(),
            id: what.id.to_string(),
            kind: KindName::KillSwitch,
            from: None,
            to: None,
            largest_loss_seconds: None,
            run: None,
            reconciled: None,
            rule: None,
            standing,
            requested_by: what.by.to_string(),
            reason: what.reason,
            asked_at: what.asked_at,
            expires_at: what.expires_at,
            consented_by: consented_by.map(|by| by.to_string()),
            consented_at,
            ended,
            ended_at,
            ended_because,
            preflight,
            preflight_at,
        };
        match what.kind {
            OverrideKind::KillSwitch => {}
            OverrideKind::Arm { from, to, largest_loss } => {
                view.kind = KindName::Arm;
                view.from = Some(from.to_string());
                view.to = Some(to.to_string());
                view.largest_loss_seconds = Some(to_seconds(largest_loss));
            }
            OverrideKind::Acknowledge { run, reconciled } => {
                view.kind = KindName::Acknowledge;
                view.run = Some(run.to_string());
                view.reconciled = Some(reconciled);
            }
            OverrideKind::Waive { rule } => {
                view.kind = KindName::Waive;
                view.rule = Some(rule);
            }
        }
        view
    }
}

/// Asks for an override.
///
/// A kill switch is in force at once, as are an acknowledgement and a waiver; arming is, when a second person consents.
#[utoipa::path(
    post, path = "/overrides", operation_id = "ask_override", tag = "overrides",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters: the same key and body give the same override")),
    request_body = OverrideRequest,
    responses(
        (status = 201, description = "It stands, or did with the same key and body", body = OverrideView),
        (status = 404, description = "`unknown-application`, `unknown-run`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`arming-refused` (with `satisfied_by`), `too-many-overrides`, `wrong-phase` (the run to acknowledge is not over), `application-held`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-request`, `bad-target`, `override-too-long` (with `longest_seconds`), `override-not-waivable`, `idempotency-key-reused`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`stopping`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn ask(
    State(api): State<Api>,
    principal: Principal,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<OverrideRequest>,
) -> Result<(StatusCode, Json<OverrideView>), Problem> {
    tracing::Span::current().record("application", body.application.as_str());
    if body.kind != KindName::KillSwitch && !principal.may(Permission::Operate, &body.application) {
        return Err(lacking(Permission::Operate));
    }
    let id = api.control.override_ask(body.into_ask(&principal, key)?).await?;
    Ok((StatusCode::CREATED, Json(view(&api, &id)?)))
}

/// The word of a second person on what waits for it.
#[utoipa::path(
    post, path = "/overrides/{id}/consent", operation_id = "consent_override", tag = "overrides",
    params(("id" = String, Path, description = "The override")),
    request_body = ConsentRequest,
    responses(
        (status = 200, description = "Recorded; the override as it is now", body = OverrideView),
        (status = 403, description = "`self-consent`, `forbidden`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-override`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`override-over`, `arming-refused`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-request`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn consent(
    State(api): State<Api>,
    principal: Principal,
    OverridePath(id): OverridePath,
    Body(body): Body<ConsentRequest>,
) -> Result<Json<OverrideView>, Problem> {
    let agrees = body.decision == Decision::Approve;
    api.control.override_consent(&id, agrees, &principal.subject, &reason(&body.reason)?).await?;
    Ok(Json(view(&api, &id)?))
}

/// Takes an override back.
#[utoipa::path(
    post, path = "/overrides/{id}/end", operation_id = "end_override", tag = "overrides",
    params(("id" = String, Path, description = "The override")),
    request_body = EndRequest,
    responses(
        (status = 200, description = "Recorded; the override as it is now", body = OverrideView),
        (status = 404, description = "`unknown-override`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`override-over`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-request`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn end(
    State(api): State<Api>,
    principal: Principal,
    OverridePath(id): OverridePath,
    Body(body): Body<EndRequest>,
) -> Result<Json<OverrideView>, Problem> {
    // Taking the kill switch off is what makes things less strict.
    // Where the application cannot be asked, the end itself is refused below, with the reason.
    let all = api.control.overrides(&id.application()).unwrap_or_default();
    let is_kill_switch = all.iter().any(|o| o.what.id == id && o.what.kind == OverrideKind::KillSwitch);
    if is_kill_switch && !principal.may(Permission::Operate, &id.application()) {
        return Err(lacking(Permission::Operate));
    }
    api.control.override_end(&id, &principal.subject, &reason(&body.reason)?).await?;
    Ok(Json(view(&api, &id)?))
}

/// The overrides of all applications, in the order of asking.
#[utoipa::path(
    get, path = "/overrides", operation_id = "list_overrides", tag = "overrides",
    params(OverridesQuery),
    responses(
        (status = 200, description = "Those that stand, and the newest of those that are over", body = OverridesView),
        (status = 404, description = "`unknown-application`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(api): State<Api>,
    principal: Principal,
    Params(query): Params<OverridesQuery>,
) -> Result<Json<OverridesView>, Problem> {
    let mut overrides = Vec::new();
    match query.application {
        Some(name) if !principal.may(Permission::Read, &name) => return Err(Refusal::UnknownApplication(name).into()),
        Some(name) => overrides.extend(api.control.overrides(&name)?),
        None => {
            for application in api.shown_to(&principal) {
                // One whose journal cannot be read has none to show, and says so elsewhere.
                overrides.extend(api.control.overrides(&application.name).unwrap_or_default());
            }
        }
    }
    Ok(Json(OverridesView { overrides: overrides.into_iter().map(OverrideView::new).collect() }))
}

fn view(api: &Api, id: &OverrideId) -> Result<OverrideView, Problem> {
    let all = api.control.overrides(&id.application())?;
    let found = all.into_iter().find(|o| o.what.id == *id);
    Ok(OverrideView::new(found.ok_or_else(|| Refusal::UnknownOverride(id.clone()))?))
}
