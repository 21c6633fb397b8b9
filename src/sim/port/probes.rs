//! [`Probes`] over the world: the application's servers and DNS as somebody outside every Region sees them.
//!
//! Every name server of a zone answers alike, without a cache; a name that is asked of the system's resolver is too.

use std::{net::Ipv4Addr, time::Duration};

use async_trait::async_trait;

use super::{LiveWorld, Outside};
use crate::{
    ports::{
        Probes,
        probes::{DnsError, HttpAnswer, HttpQuestion, TcpAnswer},
    },
    sim::world::{World, route53::record::RrType},
};

/// How long a probe that is answered takes.
const ROUND_TRIP: Duration = Duration::from_millis(60);

/// See the module.
#[derive(Debug, Clone)]
pub struct SimProbes {
    world: LiveWorld,
    outside: Outside,
}

impl SimProbes {
    pub fn new(world: LiveWorld) -> Self {
        Self::beside(world, Outside::default())
    }

    /// Those of a machine that has control points.
    pub fn beside(world: LiveWorld, outside: Outside) -> Self {
        Self { world, outside }
    }

    /// Whether a control point answered in time; `None` where it is none.
    async fn outside(&self, point: &str, timeout: Duration) -> Option<bool> {
        let answers = self.outside.answers(point)?;
        self.world.clock().sleep(if answers { ROUND_TRIP } else { timeout }).await;
        Some(answers)
    }
}

fn unanswered(timeout: Duration) -> String {
    format!("no answer within {} s", timeout.as_secs_f64())
}

/// Host and path of `http://host[:port]/path`.
fn parts(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    (!host.is_empty()).then_some((host, path))
}

fn resolve(world: &World, host: &str) -> Option<Ipv4Addr> {
    host.parse().ok().or_else(|| {
        let answer = world.route53.answer(world.now, host, RrType::A)?;
        answer.values.first()?.parse().ok()
    })
}

#[async_trait]
impl Probes for SimProbes {
    async fn http(&self, question: &HttpQuestion) -> HttpAnswer {
        match self.outside(&question.url, question.timeout).await {
            Some(true) => return HttpAnswer::Status { status: 204, body: String::new(), address: None },
            Some(false) => return HttpAnswer::NoAnswer { reason: unanswered(question.timeout) },
            None => {}
        }
        if self.outside.hides_application() {
            self.world.clock().sleep(question.timeout).await;
            return HttpAnswer::NoAnswer { reason: unanswered(question.timeout) };
        }
        let Some((host, path)) = parts(&question.url) else {
            return HttpAnswer::NotAsked { reason: format!("{} is no URL", question.url) };
        };
        if !self.world.now(|world| world.endpoints.health_page.has(path)) {
            return HttpAnswer::NotAsked { reason: format!("the simulated servers have no {path}") };
        }
        self.world.clock().sleep(ROUND_TRIP / 2).await;
        let asked = self.world.now(|world| {
            let resolved = resolve(world, host)?;
            Some((resolved, world.application_answer(resolved)))
        });
        let Some((address, answer)) = asked else {
            return HttpAnswer::NotAsked { reason: format!("{host} does not resolve") };
        };
        match answer {
            Some(answer) => {
                self.world.clock().sleep(ROUND_TRIP / 2).await;
                HttpAnswer::Status { status: answer.status, body: answer.body, address: Some(address.to_string()) }
            }
            None => {
                self.world.clock().sleep(question.timeout.saturating_sub(ROUND_TRIP / 2)).await;
                HttpAnswer::NoAnswer { reason: unanswered(question.timeout) }
            }
        }
    }

    /// Somebody listens wherever an application's server stands whose Region is reached, whatever it would answer.
    async fn tcp(&self, address: &str, timeout: Duration) -> TcpAnswer {
        match self.outside(&format!("tcp://{address}"), timeout).await {
            Some(true) => return TcpAnswer::Connected,
            Some(false) => return TcpAnswer::NoAnswer { reason: unanswered(timeout) },
            None => {}
        }
        if self.outside.hides_application() {
            self.world.clock().sleep(timeout).await;
            return TcpAnswer::NoAnswer { reason: unanswered(timeout) };
        }
        let Some((host, _)) = address.rsplit_once(':') else {
            return TcpAnswer::NotAsked { reason: format!("{address} has no port") };
        };
        self.world.clock().sleep(ROUND_TRIP / 2).await;
        let asked = self.world.now(|world| {
            let resolved = resolve(world, host)?;
            Some(world.application_answer(resolved).is_some())
        });
        match asked {
            None => TcpAnswer::NotAsked { reason: format!("{host} does not resolve") },
            Some(true) => {
                self.world.clock().sleep(ROUND_TRIP / 2).await;
                TcpAnswer::Connected
            }
            Some(false) => {
                self.world.clock().sleep(timeout.saturating_sub(ROUND_TRIP / 2)).await;
                TcpAnswer::NoAnswer { reason: format!("no connection within {} s", timeout.as_secs_f64()) }
            }
        }
    }

    async fn dns(
        &self,
        server: &str,
        name: &str,
        record_type: &str,
        _timeout: Duration,
    ) -> Result<Vec<String>, DnsError> {
        let refused =
            |code: &str| DnsError::Refused { server: server.to_owned(), name: name.to_owned(), code: code.to_owned() };
        let rtype: RrType = record_type.parse().map_err(|_| refused("NOTIMP"))?;
        self.world.clock().sleep(ROUND_TRIP).await;
        let answer = self.world.now(|world| world.route53.answer(world.now, name, rtype));
        answer.map(|a| a.values).ok_or_else(|| refused("NXDOMAIN"))
    }
}
