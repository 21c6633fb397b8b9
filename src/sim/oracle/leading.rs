//! L1: of several replicas, one leads again within two leases once nothing is wrong any more.
//!
//! It is told whether somebody leads, as anybody could ask over the API; who and in which epoch is the journal's.

use super::Findings;
use crate::sim::world::SimTime;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Leading {
    /// Since when nobody has led, where nobody does.
    nobody_since: Option<SimTime>,
    is_told: bool,
}

impl Leading {
    pub(super) fn look(&mut self, findings: &mut Findings, at: SimTime, somebody: bool, within_ms: u64) {
        findings.checked("L1");
        if somebody {
            (self.nobody_since, self.is_told) = (None, false);
            return;
        }
        let since = *self.nobody_since.get_or_insert(at);
        if within_ms < at.since_ms(since) && !self.is_told {
            self.is_told = true;
            let text = format!(
                "nothing is wrong any more, and since {} nobody has led: a leader is due within {} s",
                findings.clock(since),
                within_ms / 1_000
            );
            findings.violated("L1", at, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_without_a_leader_for_longer_than_two_leases_is_told_once_each_time() {
        let (mut leading, mut findings) = (Leading::default(), Findings::new());
        let mut look = |seconds: u64, somebody| {
            leading.look(&mut findings, SimTime(seconds * 1_000), somebody, 48_000);
            findings.violations.len()
        };
        assert_eq!([look(0, false), look(48, false), look(49, false), look(60, false)], [0, 0, 1, 1]);
        assert_eq!([look(61, true), look(62, false), look(110, false), look(111, false)], [1, 1, 1, 2]);
    }
}
