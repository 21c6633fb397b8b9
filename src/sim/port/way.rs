//! The way of a call to AWS and back: what is lost on it, what its plane answers, and what only seems to be lost.
//!
//! Invariant: a mutation leaves at most once, and what arrives of it (nothing, once, twice, much later) is decided here
//! and told to the log. What the service itself would answer is answered only where its plane answers at all. Nothing
//! here knows what a call means: that is [`Effect`]'s and the reads' own.

use std::time::Duration;

use super::{
    LiveWorld,
    effect::Effect,
    fault::{Fate, Faults, Moment},
    view::{self, Shown},
};
use crate::{
    domain::{
        cloud::{ObserveError, Outcome},
        id::Region,
    },
    sim::{
        faults::{self, CallFault},
        world::{ApiFault, Plane, Reach, SimTime, World, route53},
    },
};

/// How long a call is on its way, each way. [INF] a cross-Region round trip.
const ONE_WAY: Duration = Duration::from_millis(40);
/// How long a caller waits for an answer. The adapter's default.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long after its time stamp a signed request is taken, and how far ahead of AWS's time the stamp may be: five
/// minutes [AWS General Reference, Signature Version 4; from memory].
const SIGNATURE_MS: u64 = 300_000;
/// The same for S3: fifteen minutes [S3 API, Authenticating Requests; from memory].
const SIGNATURE_S3_MS: u64 = 900_000;
/// How long after the first the second of a call that is sent twice arrives. [INF] a retry's first backoff.
const DUPLICATE_MS: u64 = 1_000;

/// What a call needs of AWS in order to be answered.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub operation: &'static str,
    pub plane: Plane,
    pub region: Region,
}

/// Why the service did not look at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Barred {
    Plane(Reach),
    /// The caller's clock is off so far that its signature is not valid.
    Skew,
    /// The caller may not do it.
    Denied,
}

impl Route {
    /// What a read's answer is kept under.
    pub(super) fn asked(&self, key: &str) -> (&'static str, Region, String) {
        (self.operation, self.region.clone(), key.to_owned())
    }

    fn check(&self, world: &World, skew_ms: u64) -> Result<(), Barred> {
        match world.planes.reach(self.plane, &self.region) {
            Reach::Up if self.signature_ms() < skew_ms => Err(Barred::Skew),
            Reach::Up if self.is_denied(world) => Err(Barred::Denied),
            Reach::Up => Ok(()),
            reach => Err(Barred::Plane(reach)),
        }
    }

    fn is_denied(&self, world: &World) -> bool {
        let (service, operation) = self.operation.split_once(':').unwrap_or((self.operation, ""));
        world.services.iam.refuses(service, operation)
    }

    fn signature_ms(&self) -> u64 {
        if self.plane == Plane::S3 { SIGNATURE_S3_MS } else { SIGNATURE_MS }
    }

    /// The numbers of FAULTS.md that a call meets where it is barred.
    fn met(&self, world: &World, barred: Barred) -> Vec<u8> {
        match barred {
            Barred::Skew => vec![11],
            Barred::Denied => vec![51],
            Barred::Plane(reach) => self.met_plane(world, reach),
        }
    }

    /// The numbers of FAULTS.md that a call meets whose plane behaves like `reach`.
    pub(super) fn met_plane(&self, world: &World, reach: Reach) -> Vec<u8> {
        let mut numbers = faults::of_plane(self.plane, reach).to_vec();
        let home_is_lost = || world.planes.reach(Plane::Network, &self.region) == Reach::Hangs;
        if self.region == route53::home() && home_is_lost() {
            numbers.push(58);
        }
        numbers
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub world: LiveWorld,
    pub faults: Faults,
}

fn no_answer(timeout: Duration) -> String {
    format!("no answer within {} s", timeout.as_secs())
}

/// A refusal that was asked for.
fn refusal(code: &'static str) -> ApiFault {
    let status = if matches!(code, "AccessDenied" | "ExpiredToken" | "SignatureDoesNotMatch") { 403 } else { 400 };
    ApiFault { status, code, message: "as the simulation was told".to_owned() }
}

fn server_error() -> ApiFault {
    ApiFault { status: 500, code: "InternalFailure", message: "as the simulation was told".to_owned() }
}

/// What a plane that is broken answers, where it answers.
fn barred_answer(barred: Barred) -> ApiFault {
    match barred {
        Barred::Skew => ApiFault {
            status: 403,
            code: "SignatureDoesNotMatch",
            message: "Signature expired or not yet current: the clock is off".to_owned(),
        },
        Barred::Plane(Reach::Throttles) => refusal("Throttling"),
        Barred::Denied | Barred::Plane(Reach::DeniesAccess) => {
            ApiFault { status: 403, code: "AccessDenied", message: "not authorized to perform this action".to_owned() }
        }
        Barred::Plane(Reach::Up | Reach::Hangs | Reach::Unavailable) => {
            ApiFault { status: 503, code: "ServiceUnavailable", message: "503".to_owned() }
        }
    }
}

/// The refusal that a fault means for a call that reaches its service, without effect.
fn refused_by(fault: &CallFault) -> Option<ApiFault> {
    match fault {
        CallFault::ServerError => Some(server_error()),
        CallFault::Throttle => Some(refusal("Throttling")),
        CallFault::Reject { code } => Some(refusal(code)),
        _ => None,
    }
}

pub(super) fn outcome(result: Result<Option<String>, ApiFault>) -> Outcome {
    match result {
        Ok(handle) => Outcome::Accepted { request_id: None, handle },
        Err(ApiFault { status, code, message }) if 500 <= status => {
            Outcome::Unknown { reason: format!("{status} {code}: {message}") }
        }
        Err(ApiFault { code, message, .. }) => Outcome::Rejected { code: code.to_owned(), message, request_id: None },
    }
}

fn unknown(reason: &str) -> Outcome {
    Outcome::Unknown { reason: reason.to_owned() }
}

fn unreachable<T>(reason: &str) -> Result<T, ObserveError> {
    Err(ObserveError::Unreachable { reason: reason.to_owned() })
}

/// Why the caller, by whose clock it is `ours`, is to believe no age.
pub(super) fn skewed(ours: SimTime, theirs: SimTime) -> Option<String> {
    /// FAULTS.md 11.
    const LIMIT_MS: u64 = 30_000;
    let apart = ours.0.abs_diff(theirs.0);
    (LIMIT_MS < apart).then(|| format!("the clock here and that of AWS are {} s apart", apart / 1_000))
}

const CUT: &str = "the connection was cut";

impl Way {
    pub(super) async fn sleep(&self, duration: Duration) {
        self.world.clock().sleep(duration).await;
    }

    /// Reads something, if its plane answers. With a `key`, a stale read may answer what was last read under it.
    pub(super) async fn read<T: Shown>(
        &self,
        route: Route,
        key: Option<&str>,
        read: impl FnOnce(&mut World) -> Result<T, ObserveError> + Send,
    ) -> Result<T, ObserveError> {
        let fault = match self.faults.fate_of_read(&route, key, T::HAS_STATUS) {
            Some(Fate::StandsStill(_)) => self.faults.freeze().await,
            Some(Fate::Meets(fault)) => Some(fault),
            None => None,
        };
        if let Some(lost) = self.lost_on_the_way(fault.as_ref()).await {
            return unreachable(&lost);
        }
        self.sleep(ONE_WAY).await;
        let skew_ms = self.world.skew_ms();
        let refused = fault.as_ref().and_then(|f| match f {
            CallFault::ServerErrorAfter => Some(server_error()),
            other => refused_by(other),
        });
        let answer = self.world.now(|world| match route.check(world, skew_ms) {
            Err(barred) => {
                self.faults.meet(&route.met(world, barred));
                Err(barred)
            }
            Ok(()) => Ok(match refused {
                Some(refused) => Err(view::read_error("it", refused)),
                None => read(world),
            }),
        });
        let answer = match answer {
            Err(Barred::Plane(Reach::Hangs)) => {
                self.sleep(CALL_TIMEOUT - ONE_WAY).await;
                return unreachable(&no_answer(CALL_TIMEOUT));
            }
            Err(barred) => Err(view::read_error("it", barred_answer(barred))),
            Ok(answer) => {
                self.faults.meet(fault.as_ref().map_or(&[], CallFault::numbers));
                self.twist(&route, key, fault.as_ref(), answer)
            }
        };
        self.sleep(ONE_WAY).await;
        answer
    }

    /// What a read shows in place of what there is to be read.
    fn twist<T: Shown>(
        &self,
        route: &Route,
        key: Option<&str>,
        fault: Option<&CallFault>,
        answer: Result<T, ObserveError>,
    ) -> Result<T, ObserveError> {
        match (fault, key) {
            (Some(CallFault::Garbage), _) => {
                Err(ObserveError::Malformed { reason: "the answer ends in the middle".to_owned() })
            }
            (Some(CallFault::Stale), Some(key)) => self.faults.older(route, key).map_or(answer, Ok),
            (Some(CallFault::UnknownStatus), _) => answer.map(T::with_unknown_status),
            (_, key) => {
                if let (Some(key), Ok(answer)) = (key, &answer) {
                    self.faults.show(route, key, answer);
                }
                answer
            }
        }
    }

    /// Why a read has no answer, once it is known, if it is lost on its way there or back.
    async fn lost_on_the_way(&self, fault: Option<&CallFault>) -> Option<String> {
        let fault = fault?;
        let reason = match fault {
            CallFault::Hang => {
                self.sleep(CALL_TIMEOUT).await;
                no_answer(CALL_TIMEOUT)
            }
            CallFault::LoseBefore | CallFault::LoseAfter => {
                self.sleep(ONE_WAY * 2).await;
                CUT.to_owned()
            }
            CallFault::Refuse => "connection refused".to_owned(),
            _ => return None,
        };
        // A read has no effect that an answer could be lost after: to it both are the same.
        self.faults.meet(if *fault == CallFault::LoseAfter {
            CallFault::LoseBefore.numbers()
        } else {
            fault.numbers()
        });
        Some(reason)
    }

    /// Sends one mutation to one place, if its plane answers.
    pub(super) async fn send(&self, route: Route, timeout: Duration, effect: Effect) -> Outcome {
        let fate = self.faults.fate_of_mutation(&route);
        if fate == Some(Fate::StandsStill(Moment::Before)) {
            self.faults.freeze().await
        }
        let fault = match &fate {
            Some(Fate::Meets(fault)) => Some(fault),
            _ => None,
        };
        if let Some(outcome) = self.never_arrives(&route, timeout, fault, &effect).await {
            return outcome;
        }
        self.sleep(ONE_WAY).await;
        let refused = fault.and_then(refused_by);
        let (stamped, is_right) = (effect.stamped.0, self.world.skew_ms() < route.signature_ms());
        let answer = self.world.now(|world| match route.check(world, world.now.0.abs_diff(stamped)) {
            Err(barred) => {
                // With a clock that is right it is old: its sender stood still.
                let met = if barred == Barred::Skew && is_right { vec![10] } else { route.met(world, barred) };
                self.faults.meet(&met);
                self.faults.arrived(effect.place, false);
                Err(barred)
            }
            Ok(()) => {
                self.faults.meet(fault.map_or(&[], CallFault::numbers));
                if fault == Some(&CallFault::Duplicate) {
                    self.again(world, &route, &effect);
                }
                Ok(match refused {
                    Some(refused) => {
                        self.faults.arrived(effect.place, false);
                        Err(refused)
                    }
                    None => arrive(&self.faults, world, &effect),
                })
            }
        });
        if fate == Some(Fate::StandsStill(Moment::After)) {
            self.faults.freeze().await
        }
        if answer == Err(Barred::Plane(Reach::Hangs)) {
            self.sleep(timeout.saturating_sub(ONE_WAY)).await;
            return unknown(&no_answer(timeout));
        }
        self.sleep(ONE_WAY).await;
        match (answer, fault) {
            (Err(Barred::Skew), _) => Outcome::NotSent { reason: "its signature is too old".to_owned() },
            (Err(barred), _) => outcome(Err(barred_answer(barred))),
            (Ok(_), Some(CallFault::LoseAfter)) => unknown(CUT),
            (Ok(_), Some(CallFault::ServerErrorAfter)) => outcome(Err(server_error())),
            (Ok(_), Some(CallFault::Garbage)) => unknown("the answer ends in the middle"),
            (Ok(result), _) => outcome(result),
        }
    }

    /// How a mutation ends for its caller that does not arrive while the caller waits.
    async fn never_arrives(
        &self,
        route: &Route,
        timeout: Duration,
        fault: Option<&CallFault>,
        effect: &Effect,
    ) -> Option<Outcome> {
        let fault = fault?;
        let lasts = match fault {
            CallFault::Hang | CallFault::Late { .. } => timeout,
            CallFault::LoseBefore => ONE_WAY * 2,
            CallFault::Refuse => Duration::ZERO,
            _ => return None,
        };
        self.faults.meet(fault.numbers());
        match fault {
            CallFault::Late { by } => self.world.now(|world| {
                let by = u64::try_from((timeout + *by).as_millis()).unwrap_or(u64::MAX);
                let due = world.now.plus_ms(by);
                self.much_later(world, due, route, effect);
            }),
            _ => self.faults.arrived(effect.place, false),
        }
        self.sleep(lasts).await;
        Some(match fault {
            CallFault::Refuse => Outcome::NotSent { reason: "connection refused".to_owned() },
            CallFault::LoseBefore => unknown(CUT),
            _ => unknown(&no_answer(timeout)),
        })
    }

    /// Lets the call arrive at `due`, whether or not its sender still lives.
    fn much_later(&self, world: &mut World, due: SimTime, route: &Route, effect: &Effect) {
        let (faults, route, effect) = (self.faults.clone(), route.clone(), effect.clone());
        world.later(due, move |world| {
            match route.check(world, world.now.0.abs_diff(effect.stamped.0)) {
                Ok(()) => {
                    let _nobody_waits = arrive(&faults, world, &effect);
                }
                Err(barred) => {
                    if barred == Barred::Skew {
                        faults.meet(&[10]); // The signature has expired: a call that comes too late does nothing.
                    }
                    faults.arrived(effect.place, false);
                }
            }
        });
    }

    /// Lets the call arrive once more; nobody sees the answer, and the log is about the first.
    fn again(&self, world: &mut World, route: &Route, effect: &Effect) {
        let (faults, route, effect) = (self.faults.clone(), route.clone(), effect.clone());
        world.later(world.now.plus_ms(DUPLICATE_MS), move |world| {
            if route.check(world, 0).is_ok() && effect.happen(world).is_ok() {
                faults.outdate(&effect.mutation.operation());
            }
        });
    }
}

/// The call has come to its service.
fn arrive(faults: &Faults, world: &mut World, effect: &Effect) -> Result<Option<String>, ApiFault> {
    let result = effect.happen(world);
    faults.arrived(effect.place, result.is_ok());
    if result.is_ok() {
        faults.outdate(&effect.mutation.operation());
    }
    result
}
