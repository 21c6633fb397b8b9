//! What people were told, and what they were not told yet; and a message to try a channel with.
//!
//! A channel is shown by its name and kind, never by where it leads: that may be a secret.

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    auth::Principal,
    extract::{Body, Concerns, Params},
    problem::Problem,
};
use crate::{
    domain::{
        channel::Channel,
        id::{ApplicationName, ChannelName},
        outbox::{Ended, Ending, Open, Sent, Tries},
    },
    engine::{control::Refusal, outbox::Told},
};

/// The most that one page holds.
const PAGE_MAX: usize = 200;
/// What one holds where nothing is asked for.
const PAGE: usize = 50;

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    /// Not delivered yet; it is tried again.
    Open,
    Delivered,
    /// The channel will never take it.
    Refused,
    /// Tried for a day, or too many waited.
    GivenUp,
}

impl StateName {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::GivenUp => "given up",
        }
    }

    fn of(ending: Ending) -> Self {
        match ending {
            Ending::Delivered => Self::Delivered,
            Ending::Refused => Self::Refused,
            Ending::GivenUp => Self::GivenUp,
        }
    }
}

/// The query of `GET /notifications`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct NotificationsQuery {
    /// Only of this application.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub application: Option<ApplicationName>,
    /// Only over this channel.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub channel: Option<ChannelName>,
    /// Only those that stand so.
    #[serde(default)]
    #[param(inline)]
    pub state: Option<StateName>,
    /// 1 to 200.
    #[serde(default)]
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<usize>,
    /// Go on after this, as `next_cursor` said.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Deliveries, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NotificationsView {
    pub notifications: Vec<NotificationView>,
    /// The channels of the applications that are shown.
    pub channels: Vec<ChannelView>,
    /// `null`: that was all.
    pub next_cursor: Option<String>,
}

/// One notice over one channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NotificationView {
    /// The same for every channel, and for every repetition.
    pub id: String,
    pub application: String,
    pub channel: String,
    pub state: StateName,
    /// `run_held`, `health_changed` …
    pub kind: String,
    /// `page`, `ticket` or `info`.
    pub severity: String,
    pub headline: String,
    /// When what it tells was recorded.
    #[schema(value_type = String, format = DateTime)]
    pub noticed_at: Timestamp,
    /// When it was delivered or given up; `null` while it is open.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    pub attempts: u32,
    /// Why it was not delivered, at last.
    pub reason: Option<String>,
}

/// One channel of an application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChannelView {
    pub application: String,
    pub name: String,
    /// `sns`, `slack`, `pagerduty`, `generic` or `eventbridge`.
    pub kind: String,
    /// What it is told: `page`, `ticket`, `info`.
    pub events: Vec<String>,
    /// Notices that it has not taken yet.
    pub waiting: usize,
}

impl NotificationView {
    fn open(application: &ApplicationName, open: &Open, channel: &ChannelName, tries: &Tries) -> Self {
        let notice = &open.notice;
        Self {
            id: notice.id.to_string(),
            application: application.to_string(),
            channel: channel.to_string(),
            state: StateName::Open,
            kind: notice.kind.as_str().to_owned(),
            severity: notice.severity.to_string(),
            headline: notice.headline.clone(),
            noticed_at: notice.at,
            ended_at: None,
            attempts: tries.count,
            reason: tries.last_error.clone(),
        }
    }

    fn ended(application: &ApplicationName, ended: &Ended) -> Self {
        Self {
            id: ended.id.to_string(),
            application: application.to_string(),
            channel: ended.channel.to_string(),
            state: StateName::of(ended.ending),
            kind: ended.kind.as_str().to_owned(),
            severity: ended.severity.to_string(),
            headline: ended.headline.clone(),
            noticed_at: ended.noticed_at,
            ended_at: Some(ended.ended_at),
            attempts: ended.attempts,
            reason: ended.reason.clone(),
        }
    }

    /// Its place in the list, and in a cursor.
    fn place(&self) -> String {
        format!("{}~{}~{}~{}", self.noticed_at, self.application, self.id, self.channel)
    }
}

/// What people were told of the applications that the caller may see: the newest, and all that is still open.
#[utoipa::path(
    get, path = "/notifications", operation_id = "list_notifications", tag = "notifications",
    params(NotificationsQuery),
    responses(
        (status = 200, description = "A page of them", body = NotificationsView),
        (status = 404, description = "`unknown-application`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`application-held`: the store does not tell", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(api): State<Api>,
    principal: Principal,
    Params(query): Params<NotificationsQuery>,
) -> Result<Json<NotificationsView>, Problem> {
    let applications = api.shown_to(&principal);
    if let Some(name) = query.application.as_ref().filter(|name| !applications.iter().any(|app| app.name == **name)) {
        return Err(Refusal::UnknownApplication(name.clone()).into());
    }
    let (mut all, mut channels) = (Vec::new(), Vec::new());
    for app in applications.iter().filter(|app| query.application.as_ref().is_none_or(|name| app.name == *name)) {
        let told = api.control.notifications(&app.name).await?;
        all.extend(deliveries(&app.name, &told));
        channels.extend(told.channels.values().map(|channel| channel_view(&app.name, channel, &told)));
    }
    all.retain(|one| query.channel.as_ref().is_none_or(|name| one.channel == name.as_str()));
    all.retain(|one| query.state.is_none_or(|state| one.state == state));
    all.sort_by_key(|one| std::cmp::Reverse(one.place()));
    if let Some(cursor) = &query.cursor {
        all.retain(|one| one.place() < *cursor);
    }
    let limit = query.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let next_cursor = if limit < all.len() { all.get(limit - 1).map(NotificationView::place) } else { None };
    all.truncate(limit);
    Ok(Json(NotificationsView { notifications: all, channels, next_cursor }))
}

fn deliveries(application: &ApplicationName, told: &Told) -> Vec<NotificationView> {
    let open = told.outbox.open.iter().flat_map(|open| {
        open.to.iter().map(move |(channel, tries)| NotificationView::open(application, open, channel, tries))
    });
    open.chain(told.outbox.ended.iter().map(|ended| NotificationView::ended(application, ended))).collect()
}

fn channel_view(application: &ApplicationName, channel: &Channel, told: &Told) -> ChannelView {
    ChannelView {
        application: application.to_string(),
        name: channel.name.to_string(),
        kind: channel.via.as_str().to_owned(),
        events: channel.takes.iter().rev().map(ToString::to_string).collect(),
        waiting: told.outbox.open.iter().filter(|open| open.to.contains_key(&channel.name)).count(),
    }
}

/// The body of `POST /notifications/test`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    #[schema(value_type = String, pattern = "^[a-z0-9-]{1,64}$")]
    pub application: ApplicationName,
    /// One of the application's channels.
    #[schema(value_type = String, pattern = "^[a-z0-9-]{1,64}$")]
    pub channel: ChannelName,
}

impl Concerns for TestRequest {
    fn application(&self) -> Option<&ApplicationName> {
        Some(&self.application)
    }
}

/// How a test message ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TestView {
    pub channel: String,
    pub delivered: bool,
    /// Why it was not delivered.
    pub reason: Option<String>,
}

/// Sends one message over one channel, once, and says how that ended. It is kept nowhere.
#[utoipa::path(
    post, path = "/notifications/test", operation_id = "test_notification", tag = "notifications",
    request_body = TestRequest,
    responses(
        (status = 200, description = "It was sent, whatever came of it", body = TestView),
        (status = 404, description = "`unknown-application`, `unknown-channel`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-request`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`stopping`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn test(
    State(api): State<Api>,
    principal: Principal,
    Body(body): Body<TestRequest>,
) -> Result<Json<TestView>, Problem> {
    let sent = api.control.notify_test(&body.application, &body.channel, &principal.subject).await?;
    let reason = match sent {
        Sent::Delivered => None,
        Sent::Refused { reason } | Sent::Failed { reason, .. } => Some(reason),
    };
    Ok(Json(TestView { channel: body.channel.to_string(), delivered: reason.is_none(), reason }))
}
