//! A seed's own disaster: a mixture of faults, and people who ask, approve and change their minds as the seed says.
//!
//! Invariant: a seed has one scenario. It expects nothing of its own: what must never happen and what must happen in
//! the end is the oracle's. Every fault has healed before the liveness phase, but for a Region lost for good.

use std::time::Duration;

use rand::{RngExt as _, seq::IndexedRandom as _};
use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng as _};

use crate::{
    domain::id::Region,
    sim::{
        faults::{Around, Happening, Replica, ReplicaFault, Sight, Trouble, Vantage, swarm},
        scenario::{Approver, Ask, People, PersonAct, Scenario, When, Wish},
    },
};

/// Its name among the scenarios.
pub const NAME: &str = "swarm";
/// What it is, in one sentence.
pub const DESCRIPTION: &str = "Each seed has a mixture of faults of its own, and people who act as the seed says.";

/// The stream of the generator: 0 is the world's, 1 the port's, 2 the mixture's.
const STREAM: u64 = 3;
/// Of what concerns arming: no other draw of a seed is another for it.
const STREAM_ARMED: u64 = 4;
/// Of what concerns several replicas.
const STREAM_REPLICAS: u64 = 6;
/// One in so many seeds has several replicas, and how many.
const REPLICATED_ONE_IN: u32 = 12;
const REPLICAS: u32 = 3;
/// One in so many seeds is armed.
const ARMED_ONE_IN: u32 = 4;
/// The observers of such a seed.
const OBSERVERS: u32 = 2;
/// How long all has been well before.
const WARM_UP: Duration = Duration::from_mins(4);
/// When every fault has healed: mixtures begin theirs within a quarter of an hour.
const HEALS_AT: Duration = Duration::from_mins(25);
/// The liveness phase: longer than an approval's expiry and a promotion's timeout in a row.
const LASTS: Duration = Duration::from_mins(25 + 65);

/// The scenario of `seed` for an application of these Regions, which lives in the first of them.
pub fn scenario(seed: u64, regions: &[Region]) -> Scenario {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    rng.set_stream(STREAM);
    let mut people = Draw { rng };
    let mut scenario = Scenario {
        name: NAME.to_owned(),
        description: DESCRIPTION.to_owned(),
        reproduces: None,
        warm_up: WARM_UP,
        active: None,
        happenings: swarm::mix(seed, regions, HEALS_AT, 1.0),
        blackout: false,
        replicas: 1,
        observers: 0,
        people: people.people(),
        heals_at: Some(HEALS_AT),
        lasts: LASTS,
        expect: Vec::new(),
    };
    arm(&mut scenario, seed);
    let mut draw = Draw::of_replicas(seed);
    if draw.rng.random_ratio(1, REPLICATED_ONE_IN) {
        draw.replicate(&mut scenario, REPLICAS);
    }
    scenario
}

/// The same with so many replicas, whatever the seed says of that; what befalls them is the seed's.
pub fn replicated(seed: u64, regions: &[Region], replicas: u32) -> Scenario {
    let mut scenario = scenario(seed, regions);
    if 1 < replicas && scenario.replicas == 1 {
        let mut draw = Draw::of_replicas(seed);
        // Whether there are several is drawn first, and known.
        draw.rng.random_ratio(1, REPLICATED_ONE_IN);
        draw.replicate(&mut scenario, replicas);
    }
    if replicas == 1 {
        scenario.happenings.retain(|h| !matches!(h.what, Trouble::Replica { .. }));
    }
    scenario.replicas = replicas;
    scenario
}

/// Arms the application of some seeds: nobody asks for a run then, and one vantage, whichever it is, may be wrong.
fn arm(scenario: &mut Scenario, seed: u64) {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    rng.set_stream(STREAM_ARMED);
    if !rng.random_ratio(1, ARMED_ONE_IN) {
        return;
    }
    let mut draw = Draw { rng };
    scenario.observers = OBSERVERS;
    scenario.people.arm = Some(draw.seconds(60..1_800));
    scenario.people.ask = None;
    scenario.people.acts.retain(|(_, act)| !matches!(act, PersonAct::AskAgain { .. }));
    let wrong = if draw.percent(60) { draw.rng.random_range(1..=3) } else { 0 };
    let of = draw.one(&[Vantage::Daemon, Vantage::Observer(1), Vantage::Observer(2)]);
    for _ in 0..wrong {
        let sights: &[Sight] = match of {
            Vantage::Daemon => &[Sight::CutOff, Sight::SeesIll],
            Vantage::Observer(_) => &[Sight::CutOff, Sight::SeesIll, Sight::Silent],
        };
        let what = Trouble::Vantage { of, does: draw.one(sights) };
        scenario.happenings.push(Happening { at: draw.seconds(0..900), lasts: Some(draw.seconds(5..400)), what });
    }
    scenario.happenings.sort_by_key(|h| h.at);
}

struct Draw {
    rng: ChaCha12Rng,
}

impl Draw {
    fn of_replicas(seed: u64) -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        rng.set_stream(STREAM_REPLICAS);
        Self { rng }
    }

    /// Several replicas, and one to five things that befall them; not before they know the application.
    fn replicate(&mut self, scenario: &mut Scenario, replicas: u32) {
        scenario.replicas = replicas;
        for _ in 0..self.rng.random_range(1..=5) {
            let of = match self.percent(75) {
                true => Replica::Leader,
                // Three, whatever there are: the same seed draws the same.
                false => Replica::Number(self.rng.random_range(1..=REPLICAS).min(replicas)),
            };
            let around = if self.percent(60) { Some(self.one(&Around::ALL).1) } else { None };
            let seconds = self.one(&[-3_600, -45, 20, 45, 3_600]);
            let does = self.one(&[
                ReplicaFault::Killed { around },
                ReplicaFault::Killed { around },
                ReplicaFault::Paused { around },
                ReplicaFault::Paused { around },
                ReplicaFault::Paused { around },
                ReplicaFault::Stopped,
                ReplicaFault::LosesRequests,
                ReplicaFault::LosesAnswers,
                ReplicaFault::CutFromAws,
                ReplicaFault::Stalls,
                ReplicaFault::ClockJumps { seconds },
            ]);
            // Within the lease, past it, and past the time for which AWS takes a signature.
            let lasts = self.one(&[2..20, 25..120, 25..120, 300..600]);
            let (at, lasts) = (self.seconds(0..880), self.seconds(lasts));
            scenario.happenings.push(Happening { at, lasts: Some(lasts), what: Trouble::Replica { of, does } });
        }
        scenario.happenings.sort_by_key(|h| h.at);
    }

    /// Whether something happens that happens to so many of 100 seeds.
    fn percent(&mut self, share: u32) -> bool {
        self.rng.random_ratio(share, 100)
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of.choose(&mut self.rng).unwrap_or_else(|| unreachable!("a list of this file")).clone()
    }

    fn seconds(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_secs(self.rng.random_range(range))
    }

    fn people(&mut self) -> People {
        let ask = if self.percent(95) { Some(self.ask()) } else { None };
        let approver = self.approver();
        let resumes_after = if self.percent(80) { Some(self.seconds(5..120)) } else { None };
        People { arm: None, ask, approver, resumes_after, acts: self.acts() }
    }

    fn ask(&mut self) -> Ask {
        let wish = match self.rng.random_range(0..100) {
            0..65 => Wish::Failover,
            65..85 => Wish::Auto,
            _ => Wish::Switchover,
        };
        let when = if self.percent(75) {
            When::Recommended { after: self.seconds(0..120) }
        } else {
            When::At(self.seconds(10..900))
        };
        let accept_data_loss = if self.percent(85) { Some(self.seconds(60..1_800)) } else { None };
        Ask { wish, when, target: None, accept_data_loss, runbook: None, repeats: self.percent(85) }
    }

    fn approver(&mut self) -> Approver {
        match self.rng.random_range(0..100) {
            0..70 => Approver::Approves { after: self.seconds(5..240) },
            70..85 => Approver::TriesOwnFirst { after: self.seconds(5..120) },
            85..92 => Approver::Declines { after: self.seconds(5..240) },
            _ => Approver::Silent,
        }
    }

    fn acts(&mut self) -> Vec<(Duration, PersonAct)> {
        let mut acts = Vec::new();
        if self.percent(15) {
            let paused = self.seconds(60..1_200);
            acts.push((paused, PersonAct::Pause));
            // Or it is forgotten: the run waits for who paused it.
            if self.percent(80) {
                acts.push((paused + self.seconds(5..300), PersonAct::Resume));
            }
        }
        if self.percent(8) {
            acts.push((self.seconds(60..1_200), PersonAct::Abort));
        }
        if self.percent(15) {
            let wish = if self.percent(70) { Wish::Failover } else { Wish::Switchover };
            acts.push((
                self.seconds(60..1_200),
                PersonAct::AskAgain { wish, target: None, accept_data_loss: None, repeats: false },
            ));
        }
        acts.sort_by_key(|(at, _)| *at);
        acts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions() -> Vec<Region> {
        ["us-east-1", "us-west-2"].map(|r| r.parse().expect("a Region")).to_vec()
    }

    #[test]
    fn a_seed_has_one_scenario_and_another_seed_another() {
        assert_eq!(scenario(5, &regions()), scenario(5, &regions()));
        assert_ne!(scenario(5, &regions()), scenario(6, &regions()));
    }

    #[test]
    fn one_in_four_seeds_is_armed_and_one_vantage_of_it_at_most_is_wrong() {
        let all: Vec<Scenario> = (0..1_000).map(|seed| scenario(seed, &regions())).collect();
        let armed: Vec<&Scenario> = all.iter().filter(|s| s.people.arm.is_some()).collect();
        assert!((200..300).contains(&armed.len()), "{}", armed.len());
        let vantages = |s: &Scenario| -> Vec<Vantage> {
            let of = |h: &Happening| if let Trouble::Vantage { of, .. } = h.what { Some(of) } else { None };
            s.happenings.iter().filter_map(of).collect()
        };
        assert!(all.iter().all(|s| (s.observers == OBSERVERS) == s.people.arm.is_some()));
        assert!(armed.iter().all(|s| s.people.ask.is_none() && vantages(s).windows(2).all(|two| two[0] == two[1])));
        assert!(armed.iter().any(|s| vantages(s).len() == 3));
        let unarmed = all.iter().filter(|s| s.people.arm.is_none());
        assert!(unarmed.flat_map(vantages).next().is_none());
    }

    #[test]
    fn some_seeds_have_several_replicas_and_what_befalls_them_heals_in_time() {
        let all: Vec<Scenario> = (0..2_000).map(|seed| scenario(seed, &regions())).collect();
        let several: Vec<&Scenario> = all.iter().filter(|s| 1 < s.replicas).collect();
        assert!((120..220).contains(&several.len()), "{}", several.len());
        let of_replicas =
            |s: &Scenario| s.happenings.iter().filter(|h| matches!(h.what, Trouble::Replica { .. })).count();
        assert!(all.iter().all(|s| (s.replicas == REPLICAS) == (0 < of_replicas(s))));
        let heals = |h: &Happening| h.heals_at().is_none_or(|at| at <= HEALS_AT);
        assert!(several.iter().flat_map(|s| &s.happenings).all(heals));
        for seed in 0..200 {
            let (own, three) = (scenario(seed, &regions()), replicated(seed, &regions(), 3));
            assert!(own.replicas == 1 || own == three, "{seed}");
            assert_eq!(three.replicas, 3);
            assert!((1..=5).contains(&of_replicas(&three)), "{seed}");
            // What befalls everything else is the same.
            let alone = replicated(seed, &regions(), 1);
            assert_eq!((alone.replicas, of_replicas(&alone)), (1, 0));
            assert_eq!(alone.happenings.len() + of_replicas(&three), three.happenings.len());
        }
    }

    #[test]
    fn people_of_every_kind_appear() {
        let all: Vec<People> = (0..200).map(|seed| scenario(seed, &regions()).people).collect();
        let count = |that: fn(&People) -> bool| all.iter().filter(|p| that(p)).count();
        assert!(0 < count(|p| p.ask.is_none()));
        assert!(100 < count(|p| matches!(p.approver, Approver::Approves { .. })));
        assert!(0 < count(|p| matches!(p.approver, Approver::Silent)));
        assert!(0 < count(|p| matches!(p.approver, Approver::Declines { .. })));
        assert!(0 < count(|p| p.acts.iter().any(|(_, act)| *act == PersonAct::Abort)));
        assert!(0 < count(|p| p.acts.iter().any(|(_, act)| matches!(act, PersonAct::AskAgain { .. }))));
        assert!(0 < count(|p| p.ask.as_ref().is_some_and(|a| a.wish == Wish::Switchover)));
    }
}
