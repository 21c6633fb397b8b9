//! A seed's own disaster: a mixture of faults, and people who ask, approve and change their minds as the seed says.
//!
//! Invariant: a seed has one scenario. It expects nothing of its own: what must never happen and what must happen in
//! the end is the oracle's. Every fault has healed before the liveness phase, but for a Region lost for good.

use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng as _};

use crate::{
    domain::id::Region,
    sim::{
        faults::swarm,
        scenario::{Approver, Ask, People, PersonAct, Scenario, When, Wish},
    },
};

/// Its name among the scenarios.
pub const NAME: &str = "swarm";
/// What it is, in one sentence.
pub const DESCRIPTION: &str = "Each seed has a mixture of faults of its own, and people who act as the seed says.";

/// The stream of the generator: 0 is the world's, 1 the port's, 2 the mixture's.
const STREAM: u64 = 3;
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
    Scenario {
        name: NAME.to_owned(),
        description: DESCRIPTION.to_owned(),
        reproduces: None,
        warm_up: WARM_UP,
        active: None,
        happenings: swarm::mix(seed, regions, HEALS_AT, 1.0),
        observers: 0,
        people: people.people(),
        heals_at: Some(HEALS_AT),
        lasts: LASTS,
        expect: Vec::new(),
    }
}

struct Draw {
    rng: ChaCha12Rng,
}

impl Draw {
    /// Whether something happens that happens to so many of 100 seeds.
    fn percent(&mut self, share: u32) -> bool {
        self.rng.random_ratio(share, 100)
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
        Ask { wish, when, target: None, accept_data_loss, repeats: self.percent(85) }
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
            acts.push((self.seconds(60..1_200), PersonAct::AskAgain(wish)));
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
    fn people_of_every_kind_appear() {
        let all: Vec<People> = (0..200).map(|seed| scenario(seed, &regions()).people).collect();
        let count = |that: fn(&People) -> bool| all.iter().filter(|p| that(p)).count();
        assert!(0 < count(|p| p.ask.is_none()));
        assert!(100 < count(|p| matches!(p.approver, Approver::Approves { .. })));
        assert!(0 < count(|p| matches!(p.approver, Approver::Silent)));
        assert!(0 < count(|p| matches!(p.approver, Approver::Declines { .. })));
        assert!(0 < count(|p| p.acts.iter().any(|(_, act)| *act == PersonAct::Abort)));
        assert!(0 < count(|p| p.acts.iter().any(|(_, act)| matches!(act, PersonAct::AskAgain(_)))));
        assert!(0 < count(|p| p.ask.as_ref().is_some_and(|a| a.wish == Wish::Switchover)));
    }
}
