//! What a health check is told to check, as the API takes it, and what the API refuses.

use std::{collections::BTreeSet, net::Ipv4Addr, str::FromStr};

use super::{
    Route53,
    change::{fault, invalid_input},
    health::{AlarmIdentifier, CHECKER_REGIONS, HealthCheck, no_such_health_check},
    listing::{Page, page_size},
};
use crate::{
    domain::id::Region,
    sim::world::{ApiFault, Context, SimTime},
};

/// Health checks per page [bc].
pub const CHECKS_PER_PAGE_MAX: usize = 100;
/// Children of one CALCULATED check [R53DG:Quotas].
pub const CHILDREN_MAX: usize = 255;

macro_rules! api_enum {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($variant),* }

        impl $name {
            /// The name in the API.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl FromStr for $name {
            type Err = ();
            fn from_str(s: &str) -> Result<Self, ()> {
                match s { $($text => Ok(Self::$variant),)* _ => Err(()) }
            }
        }
    };
}
api_enum!(
    /// `HealthCheckType` [bc].
    CheckType {
        Http = "HTTP",
        Https = "HTTPS",
        HttpStrMatch = "HTTP_STR_MATCH",
        HttpsStrMatch = "HTTPS_STR_MATCH",
        Tcp = "TCP",
        Calculated = "CALCULATED",
        CloudwatchMetric = "CLOUDWATCH_METRIC",
        RecoveryControl = "RECOVERY_CONTROL",
    }
);
api_enum!(
    /// `InsufficientDataHealthStatus` [bc].
    InsufficientData { Healthy = "Healthy", Unhealthy = "Unhealthy", LastKnownStatus = "LastKnownStatus" }
);
api_enum!(
    /// `ResettableElementName` [bc].
    Resettable {
        FullyQualifiedDomainName = "FullyQualifiedDomainName",
        Regions = "Regions",
        ResourcePath = "ResourcePath",
        ChildHealthChecks = "ChildHealthChecks",
    }
);

impl CheckType {
    /// Whether checkers call an endpoint.
    pub fn has_endpoint(self) -> bool {
        !matches!(self, Self::Calculated | Self::CloudwatchMetric | Self::RecoveryControl)
    }
}

/// `HealthCheckConfig`: flat, as in the API; [`Route53::create_health_check`] checks what each type needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheckConfig {
    pub check_type: CheckType,
    pub ip_address: Option<Ipv4Addr>,
    pub port: Option<u16>,
    pub resource_path: Option<String>,
    pub fully_qualified_domain_name: Option<String>,
    pub search_string: Option<String>,
    /// 10 or 30.
    pub request_interval_seconds: u32,
    /// 1 to 10.
    pub failure_threshold: u32,
    pub measure_latency: bool,
    pub inverted: bool,
    /// A disabled check is always healthy [bc].
    pub disabled: bool,
    pub health_threshold: Option<u32>,
    pub children: Vec<String>,
    pub enable_sni: Option<bool>,
    /// Empty means all eight.
    pub regions: Vec<Region>,
    pub alarm: Option<AlarmIdentifier>,
    pub insufficient_data: Option<InsufficientData>,
    pub routing_control_arn: Option<String>,
}

impl HealthCheckConfig {
    /// A check of this type with the API's defaults and nothing to check yet.
    pub fn of(check_type: CheckType) -> Self {
        Self {
            check_type,
            ip_address: None,
            port: None,
            resource_path: None,
            fully_qualified_domain_name: None,
            search_string: None,
            request_interval_seconds: 30,
            failure_threshold: 3,
            measure_latency: false,
            inverted: false,
            disabled: false,
            health_threshold: None,
            children: Vec::new(),
            enable_sni: None,
            regions: Vec::new(),
            alarm: None,
            insufficient_data: None,
            routing_control_arn: None,
        }
    }

    fn check(&self) -> Result<(), ApiFault> {
        let needs = |ok: bool, message: &str| {
            if ok { Ok(()) } else { Err(invalid_input(format!("Invalid parameter : {message}"))) }
        };
        needs(matches!(self.request_interval_seconds, 10 | 30), "RequestInterval must be 10 or 30")?;
        needs((1..=10).contains(&self.failure_threshold), "FailureThreshold must be from 1 to 10")?;
        let str_match = matches!(self.check_type, CheckType::HttpStrMatch | CheckType::HttpsStrMatch);
        needs(
            str_match == self.search_string.is_some(),
            "SearchString goes with the STR_MATCH types, and only with them",
        )?;
        match self.check_type {
            CheckType::Calculated => {
                needs(self.children.len() <= CHILDREN_MAX, "too many ChildHealthChecks")?;
                needs(self.health_threshold.is_some_and(|n| n <= 256), "HealthThreshold must be from 0 to 256")
            }
            CheckType::CloudwatchMetric => needs(
                self.alarm.is_some() && self.insufficient_data.is_some(),
                "CLOUDWATCH_METRIC needs AlarmIdentifier and InsufficientDataHealthStatus",
            ),
            CheckType::RecoveryControl => {
                needs(self.routing_control_arn.is_some(), "RECOVERY_CONTROL needs RoutingControlArn")
            }
            _ => {
                needs(
                    self.ip_address.is_some() || self.fully_qualified_domain_name.is_some(),
                    "an endpoint needs IPAddress or FullyQualifiedDomainName",
                )?;
                needs(self.check_type != CheckType::Tcp || self.port.is_some(), "TCP needs Port")?;
                needs(self.regions.is_empty() || 3 <= self.regions.len(), "Regions must be at least 3")?;
                needs(
                    self.regions.iter().all(|r| CHECKER_REGIONS.contains(&r.as_str())),
                    "Regions must be Regions with health checkers",
                )
            }
        }
    }
}

/// `UpdateHealthCheck`: `None` leaves as it is. Type and interval cannot change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HealthCheckUpdate {
    /// Refused with `HealthCheckVersionMismatch` unless it is the check's version.
    pub version: Option<u64>,
    pub ip_address: Option<Ipv4Addr>,
    pub port: Option<u16>,
    pub resource_path: Option<String>,
    pub fully_qualified_domain_name: Option<String>,
    pub search_string: Option<String>,
    pub failure_threshold: Option<u32>,
    pub inverted: Option<bool>,
    pub disabled: Option<bool>,
    pub health_threshold: Option<u32>,
    pub children: Option<Vec<String>>,
    pub enable_sni: Option<bool>,
    pub regions: Option<Vec<Region>>,
    pub alarm: Option<AlarmIdentifier>,
    pub insufficient_data: Option<InsufficientData>,
    pub reset: Vec<Resettable>,
}

impl HealthCheckUpdate {
    fn apply(&self, old: &HealthCheckConfig) -> HealthCheckConfig {
        let mut new = old.clone();
        for reset in &self.reset {
            match reset {
                Resettable::FullyQualifiedDomainName => new.fully_qualified_domain_name = None,
                Resettable::Regions => new.regions.clear(),
                Resettable::ResourcePath => new.resource_path = None,
                Resettable::ChildHealthChecks => new.children.clear(),
            }
        }
        fn set<T: Clone>(slot: &mut T, value: &Option<T>) {
            if let Some(value) = value {
                *slot = value.clone();
            }
        }
        fn set_some<T: Clone>(slot: &mut Option<T>, value: &Option<T>) {
            if value.is_some() {
                slot.clone_from(value);
            }
        }
        set_some(&mut new.ip_address, &self.ip_address);
        set_some(&mut new.port, &self.port);
        set_some(&mut new.resource_path, &self.resource_path);
        set_some(&mut new.fully_qualified_domain_name, &self.fully_qualified_domain_name);
        set_some(&mut new.search_string, &self.search_string);
        set(&mut new.failure_threshold, &self.failure_threshold);
        set(&mut new.inverted, &self.inverted);
        set(&mut new.disabled, &self.disabled);
        set_some(&mut new.health_threshold, &self.health_threshold);
        set(&mut new.children, &self.children);
        set_some(&mut new.enable_sni, &self.enable_sni);
        set(&mut new.regions, &self.regions);
        set_some(&mut new.alarm, &self.alarm);
        set_some(&mut new.insufficient_data, &self.insufficient_data);
        new
    }
}

impl Route53 {
    /// `CreateHealthCheck`. The same caller reference with the same settings gives the check that is there.
    ///
    /// # Errors
    /// `Throttling`, `InvalidInput`, `HealthCheckAlreadyExists`.
    pub fn create_health_check(
        &mut self,
        ctx: &mut Context<'_>,
        caller_reference: &str,
        config: &HealthCheckConfig,
    ) -> Result<HealthCheck, ApiFault> {
        let result = self.admit(ctx.now).and_then(|()| self.put_health_check(ctx, None, caller_reference, config));
        let detail = format!("{caller_reference}: {}", config.check_type.as_str());
        self.count_effect(ctx.now, "CreateHealthCheck", detail, &result);
        result
    }

    /// Creates a check without counting a request; with `id`, under that id. For fixtures.
    ///
    /// # Errors
    /// `InvalidInput`, `HealthCheckAlreadyExists`.
    pub fn put_health_check(
        &mut self,
        ctx: &mut Context<'_>,
        id: Option<&str>,
        caller_reference: &str,
        config: &HealthCheckConfig,
    ) -> Result<HealthCheck, ApiFault> {
        if !(1..=64).contains(&caller_reference.chars().count()) {
            return Err(invalid_input("CallerReference must have 1 to 64 characters"));
        }
        config.check()?;
        self.check_children(None, &config.children)?;
        let same = |c: &&HealthCheck| c.caller_reference == caller_reference;
        if let Some(there) = self.checks.values().find(same) {
            return if there.config == *config {
                Ok(there.clone())
            } else {
                Err(fault(
                    409,
                    "HealthCheckAlreadyExists",
                    "A health check with this caller reference and other settings already exists.",
                ))
            };
        }
        let id = id.map_or_else(|| super::health::draw_uuid(ctx.rng), str::to_owned);
        let check = HealthCheck::new(&id, caller_reference, config.clone(), ctx);
        self.checks.insert(id, check.clone());
        self.metrics_due.get_or_insert(ctx.now.plus_ms(super::health::METRICS_EVERY_MS));
        self.review_due = Some(ctx.now);
        Ok(check)
    }

    /// `UpdateHealthCheck`.
    ///
    /// # Errors
    /// `Throttling`, `NoSuchHealthCheck`, `HealthCheckVersionMismatch`, `InvalidInput`.
    pub fn update_health_check(
        &mut self,
        ctx: &mut Context<'_>,
        id: &str,
        update: &HealthCheckUpdate,
    ) -> Result<HealthCheck, ApiFault> {
        let result = self.try_update(ctx, id, update);
        let detail = format!("{id}: {update:?}");
        self.count_effect(ctx.now, "UpdateHealthCheck", detail, &result);
        result
    }

    fn try_update(
        &mut self,
        ctx: &mut Context<'_>,
        id: &str,
        update: &HealthCheckUpdate,
    ) -> Result<HealthCheck, ApiFault> {
        self.admit(ctx.now)?;
        let check = self.checks.get(id).ok_or_else(|| no_such_health_check(id))?;
        if update.version.is_some_and(|v| v != check.version) {
            return Err(fault(
                409,
                "HealthCheckVersionMismatch",
                format!("The health check is at version {}.", check.version),
            ));
        }
        let config = update.apply(&check.config);
        config.check()?;
        self.check_children(Some(id), &config.children)?;
        let check = self.checks.get_mut(id).ok_or_else(|| no_such_health_check(id))?;
        check.reconfigure(config, ctx);
        let check = check.clone();
        self.review_due = Some(ctx.now);
        Ok(check)
    }

    /// `GetHealthCheck`.
    ///
    /// # Errors
    /// `Throttling`, `NoSuchHealthCheck`.
    pub fn get_health_check(&mut self, now: SimTime, id: &str) -> Result<HealthCheck, ApiFault> {
        self.admit(now)?;
        let check = self.checks.get(id);
        check.cloned().ok_or_else(|| no_such_health_check(id))
    }

    /// `ListHealthChecks`; `marker` is the first id of the page.
    ///
    /// # Errors
    /// `Throttling`.
    pub fn list_health_checks(
        &mut self,
        now: SimTime,
        marker: Option<&str>,
        max_items: Option<usize>,
    ) -> Result<Page<HealthCheck, String>, ApiFault> {
        self.admit(now)?;
        let from = marker.unwrap_or_default();
        let checks = self.checks.values().filter(|c| from <= c.id.as_str());
        let size = page_size(max_items, CHECKS_PER_PAGE_MAX);
        Ok(Page::take(checks.cloned(), size, |c| c.id.clone()))
    }

    /// Children must exist, and no check may watch itself through them.
    fn check_children(&self, id: Option<&str>, children: &[String]) -> Result<(), ApiFault> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&str> = children.iter().map(String::as_str).collect();
        while let Some(child) = open.pop() {
            if Some(child) == id {
                return Err(invalid_input(format!("Invalid parameter : health check {child} would watch itself")));
            }
            let check = self.checks.get(child).ok_or_else(|| {
                invalid_input(format!("Invalid parameter : child health check {child} does not exist"))
            })?;
            if seen.insert(child) {
                open.extend(check.config.children.iter().map(String::as_str));
            }
        }
        Ok(())
    }
}
