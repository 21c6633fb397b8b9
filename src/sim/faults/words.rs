//! Troubles in words, one line each, for the timeline.

use std::time::Duration;

use super::{CallFault, ProcessFault, Sight, StoreFault, Trouble, Vantage, replicas};
use crate::sim::world::{
    Reach,
    aurora::{LagMetric, LagSetting, PromotionFate},
    cloudwatch::MetricFault,
};

impl Trouble {
    /// One line.
    pub fn describe(&self) -> String {
        match self {
            Self::LoseRegion { region } => format!("{region} is lost"),
            Self::PartitionRegion { region } => format!("{region} is cut off, and goes on inside"),
            Self::Plane { plane, region, reach } => format!("{plane:?} in {region} {}", behaves(*reach)),
            Self::Calls { operation, region, fault, chance } => {
                let place = region.as_ref().map_or_else(String::new, |r| format!(" in {r}"));
                let share = if 1.0 <= *chance { String::new() } else { format!(", {:.0} % of them", chance * 100.0) };
                format!("calls of {operation}{place} {}{share}", fault.describe())
            }
            Self::Promotion { fate: PromotionFate::Fails } => "the next promotion fails".to_owned(),
            Self::Promotion { fate: PromotionFate::Sticks } => "the next promotion sticks".to_owned(),
            Self::Promotion { fate: PromotionFate::Cancelled } => "somebody cancels the next promotion".to_owned(),
            Self::FencingTimesOut => "fencing times out".to_owned(),
            Self::Headless { region } => format!("the cluster in {region} has no instances"),
            Self::Mismatched { region } => format!("the cluster in {region} runs another engine version"),
            Self::Undersized { region } => format!("the cluster in {region} has one instance of those it should have"),
            Self::QuotaExhausted { region } => format!("every quota of the account in {region} is used up"),
            Self::HiddenDependency { region } => {
                format!("the servers in {region} need those of the other Region, and nobody knows")
            }
            Self::ReplicasLag { region } => {
                format!("what is written in {region} to many-writer stores replicates late")
            }
            Self::Lag { region, setting } => match setting {
                LagSetting::Wanders => format!("replication to {region} wanders as usual"),
                LagSetting::Fixed(ms) => format!("replication to {region} is {ms} ms behind"),
                LagSetting::StandsStill => format!("replication to {region} stands still"),
            },
            Self::LagMetric { region, metric } => {
                let shows = match metric {
                    LagMetric::Honest => "is honest",
                    LagMetric::GrowsWhenCut => "grows while the writer cannot be reached",
                    LagMetric::ShowsZero => "shows 0 whatever happens",
                    LagMetric::Missing => "has no data",
                    LagMetric::NotANumber => "is not a number",
                    LagMetric::Negative => "is negative",
                };
                format!("the lag metric of {region} {shows}")
            }
            Self::Metrics { region, namespace, fault } => {
                let how = match fault {
                    MetricFault::Withhold => "are not published".to_owned(),
                    MetricFault::Delay(ms) => format!("come {} s late", ms / 1_000),
                    MetricFault::Freeze => "are frozen at their last value".to_owned(),
                    MetricFault::NotANumber => "are not numbers".to_owned(),
                };
                format!("metrics of {namespace} in {region} {how}")
            }
            Self::ResolversIgnoreTtl { seconds } => format!("resolvers keep answers {seconds} s whatever their TTL"),
            Self::CredentialsExpire => "the credentials have expired".to_owned(),
            Self::Process(fault) => fault.describe(),
            Self::Replica { of, does } => replicas::describe(*of, does),
            Self::Store(StoreFault::Full) => "the journal's disk is full".to_owned(),
            Self::Store(StoreFault::FailsAfterCommit) => {
                "the next append fails although its record is there".to_owned()
            }
            Self::Store(StoreFault::Rots { record }) => format!("one bit of record {record} of the journal flips"),
            Self::ClockJumps { seconds } => format!("the daemon's wall clock jumps by {seconds} s"),
            Self::Vantage { of, does } => {
                let who = match of {
                    Vantage::Daemon => "the daemon".to_owned(),
                    Vantage::Observer(number) => format!("observer {number}"),
                };
                match does {
                    Sight::Silent => format!("{who} reports nothing"),
                    Sight::CutOff => format!("{who} is cut off from its control points and from the application"),
                    Sight::SeesIll => format!("{who} sees the application ill, whatever it is"),
                }
            }
        }
    }
}

fn behaves(reach: Reach) -> &'static str {
    match reach {
        Reach::Up => "answers",
        Reach::Hangs => "does not answer",
        Reach::Unavailable => "answers 503",
        Reach::Throttles => "throttles",
        Reach::DeniesAccess => "denies access",
    }
}

impl CallFault {
    /// What becomes of the call, as the end of a sentence.
    pub fn describe(&self) -> String {
        match self {
            Self::LoseBefore => "are lost on their way".to_owned(),
            Self::LoseAfter => "have their effect and lose their answer".to_owned(),
            Self::Late { by } => format!("have their effect {} s after the caller gave up", seconds(*by)),
            Self::Duplicate => "arrive twice".to_owned(),
            Self::Hang => "hang without effect".to_owned(),
            Self::Refuse => "find no connection".to_owned(),
            Self::ServerError => "are answered 500".to_owned(),
            Self::ServerErrorAfter => "have their effect and are answered 500".to_owned(),
            Self::Throttle => "are throttled".to_owned(),
            Self::Reject { code } => format!("are refused: {code}"),
            Self::Stale => "read what was before the last change".to_owned(),
            Self::UnknownStatus => "read a status that nobody knows".to_owned(),
            Self::Garbage => "are answered with garbage".to_owned(),
        }
    }
}

impl ProcessFault {
    /// One line.
    pub fn describe(&self) -> String {
        match self {
            Self::Kill { restart_after } => format!("SIGKILL; started again after {} s", seconds(*restart_after)),
            Self::KillAtAppend { append, durable, restart_after } => {
                let moment = if *durable { "after" } else { "before" };
                format!("SIGKILL {moment} append {append}; started again after {} s", seconds(*restart_after))
            }
            Self::KillAtCall { call, effect, restart_after } => {
                let moment = if *effect { "after the effect of" } else { "before" };
                format!("SIGKILL {moment} call {call}; started again after {} s", seconds(*restart_after))
            }
            Self::Stop { restart_after } => format!("SIGTERM; started again after {} s", seconds(*restart_after)),
            Self::Pause { lasts } => format!("SIGSTOP for {} s", seconds(*lasts)),
        }
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
