//! Who may do what to which application: roles, grants and the matrix between roles and permissions, as data.
//!
//! Invariant: deny by default. What no grant names is refused; an admin never approves, whatever else they hold; what
//! is limited to applications is never good for another one. Time is an argument. How a caller proves who they are is
//! not here (`http::auth`).

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::{
    id::{ApplicationName, RunId, Subject},
    journal::Event,
};

/// What a person or machine is trusted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Starts, aborts, pauses and resumes.
    Operator,
    /// Approves and declines.
    Approver,
    /// Starts drills, and looks.
    DrillRunner,
    /// Everything but approving: who administers must not be able to approve alone.
    Admin,
    /// Reports what it sees from the vantage that its token is named after; may do nothing else, not even look.
    Observer,
}

/// What a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    Read,
    Operate,
    Approve,
    Drill,
    /// Overrides: what only makes things stricter. Whatever else is asked for needs `Operate` too.
    Override,
    Observe,
}

/// The one place that says what a role is good for.
pub const MATRIX: [(Role, &[Permission]); 6] = [
    (Role::Viewer, &[Permission::Read]),
    (Role::Operator, &[Permission::Read, Permission::Operate, Permission::Drill, Permission::Override]),
    (Role::Approver, &[Permission::Read, Permission::Approve, Permission::Override]),
    (Role::DrillRunner, &[Permission::Read, Permission::Drill]),
    (Role::Admin, &[Permission::Read, Permission::Operate, Permission::Drill, Permission::Override]),
    (Role::Observer, &[Permission::Observe]),
];

impl Role {
    /// Every role, for tests and for messages.
    pub const ALL: [Self; 6] =
        [Self::Viewer, Self::Operator, Self::Approver, Self::DrillRunner, Self::Admin, Self::Observer];

    /// Whether this role alone grants `permission`.
    pub fn grants(self, permission: Permission) -> bool {
        MATRIX.iter().any(|(role, may)| *role == self && may.contains(&permission))
    }

    /// The role's name in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::DrillRunner => "drill-runner",
            Self::Admin => "admin",
            Self::Observer => "observer",
        }
    }

    /// The role of that name in configuration.
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// Which applications something is good for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    Every,
    /// These and no other; never empty.
    Only(BTreeSet<ApplicationName>),
}

impl Scope {
    /// Whether `application` is among them.
    pub fn covers(&self, application: &ApplicationName) -> bool {
        match self {
            Self::Every => true,
            Self::Only(names) => names.contains(application),
        }
    }
}

/// A role, for some applications.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    pub role: Role,
    pub applications: Scope,
}

impl Grant {
    /// A role for every application.
    pub fn every(role: Role) -> Self {
        Self { role, applications: Scope::Every }
    }
}

/// Who the caller is, and as what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub subject: Subject,
    pub grants: BTreeSet<Grant>,
}

/// What is answered to somebody who asks for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Answer {
    Allowed,
    /// They may know that it is there, and may not do that.
    Forbidden,
    /// They may not know that it is there: what is answered must be what is answered where nothing is.
    Hidden,
}

impl Principal {
    /// Whether any grant gives `permission` for whichever application.
    pub fn may_somewhere(&self, permission: Permission) -> bool {
        self.gives(permission, |_| true)
    }

    /// Whether any grant gives `permission` for `application`.
    pub fn may(&self, permission: Permission, application: &ApplicationName) -> bool {
        self.gives(permission, |scope| scope.covers(application))
    }

    /// What to answer to a request for `permission` that is about `application`, or about none in particular.
    pub fn asks(&self, permission: Permission, application: Option<&ApplicationName>) -> Answer {
        match application {
            _ if !self.may_somewhere(permission) => Answer::Forbidden,
            None => Answer::Allowed,
            Some(of) if self.may(permission, of) => Answer::Allowed,
            Some(of) if self.may(Permission::Read, of) => Answer::Forbidden,
            Some(_) => Answer::Hidden,
        }
    }

    fn gives(&self, permission: Permission, covered: impl Fn(&Scope) -> bool) -> bool {
        if permission == Permission::Approve && self.grants.iter().any(|grant| grant.role == Role::Admin) {
            return false;
        }
        self.grants.iter().any(|grant| grant.role.grants(permission) && covered(&grant.applications))
    }
}

/// From where a request came that somebody has made, as far as this replica can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The address of the caller: of the connection, or, where that is a proxy that the configuration names, what this
    /// proxy says. `None`: there was no connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// As in the log, in the answer's `x-request-id`, and at the replica that handed it on.
    pub request_id: String,
    pub proof: Proof,
}

/// By what a caller has shown who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// By a token of the configuration.
    Token,
    /// By a token of the configured issuer.
    Issuer,
    /// By nothing: no token is configured, and whoever is on this machine may ask.
    Loopback,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proof = match self.proof {
            Proof::Token => "by token",
            Proof::Issuer => "by the issuer's token",
            Proof::Loopback => "without a token",
        };
        let address = self.address.as_deref().unwrap_or("an unknown address");
        write!(f, "from {address}, {proof}, request {}", self.request_id)
    }
}

/// The event that says from where the people's events among `events` came; `None` where there is none.
///
/// It stands in the same record, so that neither is ever there without the other.
pub fn called_from(events: &[Event], origin: &Origin) -> Option<Event> {
    let run: Option<&RunId> = events.iter().find_map(|event| match event {
        Event::RunStarted { run, .. }
        | Event::StepRetried { run, .. }
        | Event::StepPassed { run, .. }
        | Event::ApprovalRecorded { run, .. }
        | Event::RunPaused { run, .. }
        | Event::RunResumed { run, .. }
        | Event::AbortRequested { run, .. } => Some(run),
        _ => None,
    });
    let is_override = |event: &Event| {
        matches!(
            event,
            Event::OverrideAsked { .. }
                | Event::OverrideConsented { .. }
                | Event::OverrideEnded { subject: Some(_), .. }
        )
    };
    let is_asked = run.is_some() || events.iter().any(is_override);
    is_asked.then(|| Event::CalledFrom { run: run.cloned(), origin: origin.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ApplicationName {
        text.parse().expect("valid")
    }

    fn only(role: Role, of: &[&str]) -> Grant {
        Grant { role, applications: Scope::Only(of.iter().map(|n| name(n)).collect()) }
    }

    fn principal(grants: &[Grant]) -> Principal {
        Principal { subject: "ann".parse().expect("valid"), grants: grants.iter().cloned().collect() }
    }

    #[test]
    fn every_role_has_one_row_and_its_name_is_read_back() {
        for role in Role::ALL {
            assert_eq!(MATRIX.iter().filter(|(of, _)| *of == role).count(), 1, "{}", role.as_str());
            assert_eq!(Role::named(role.as_str()), Some(role));
        }
        assert_eq!(Role::named("root"), None);
    }

    #[test]
    fn nobody_without_a_grant_may_do_anything() {
        let nobody = principal(&[]);
        for (_, permissions) in MATRIX {
            for permission in permissions {
                assert!(!nobody.may_somewhere(*permission));
                assert_eq!(nobody.asks(*permission, None), Answer::Forbidden);
                assert_eq!(nobody.asks(*permission, Some(&name("payments"))), Answer::Forbidden);
            }
        }
    }

    #[test]
    fn an_admin_never_approves_whatever_else_they_hold() {
        let both = principal(&[Grant::every(Role::Approver), only(Role::Admin, &["billing"])]);
        assert!(!both.may_somewhere(Permission::Approve));
        assert!(!both.may(Permission::Approve, &name("payments")));
        assert!(both.may(Permission::Operate, &name("billing")));
        let approver = principal(&[Grant::every(Role::Approver)]);
        assert!(approver.may(Permission::Approve, &name("payments")));
    }

    #[test]
    fn a_grant_is_good_for_its_applications_and_for_no_other() {
        let ann = principal(&[only(Role::Operator, &["payments"]), only(Role::Viewer, &["billing"])]);
        assert_eq!(ann.asks(Permission::Operate, Some(&name("payments"))), Answer::Allowed);
        assert_eq!(ann.asks(Permission::Operate, Some(&name("billing"))), Answer::Forbidden);
        assert_eq!(ann.asks(Permission::Operate, Some(&name("ledger"))), Answer::Hidden);
        assert_eq!(ann.asks(Permission::Read, Some(&name("ledger"))), Answer::Hidden);
        assert_eq!(ann.asks(Permission::Approve, Some(&name("payments"))), Answer::Forbidden);
        assert_eq!(ann.asks(Permission::Read, None), Answer::Allowed);
    }

    #[test]
    fn what_people_ask_for_says_from_where_and_what_happens_by_itself_does_not() {
        let run = RunId::new(&name("payments"), 1);
        let origin =
            Origin { address: Some("192.0.2.7".to_owned()), request_id: "r-1".to_owned(), proof: Proof::Token };
        let who: Subject = "ann".parse().expect("valid");
        let pause = Event::RunPaused { run: run.clone(), subject: who, reason: "wait".to_owned() };
        let said = called_from(&[pause], &origin).expect("said");
        assert_eq!(said.run(), Some(&run));
        let json = serde_json::to_value(&said).expect("json");
        assert_eq!(json["origin"]["address"], "192.0.2.7");
        assert_eq!(serde_json::from_value::<Event>(json).expect("reads"), said);
        let alone = Event::EpochStarted { holder: "h".to_owned() };
        assert_eq!(called_from(&[alone], &origin), None);
        assert_eq!(origin.to_string(), "from 192.0.2.7, by token, request r-1");
    }
}
