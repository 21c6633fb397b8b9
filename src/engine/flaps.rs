//! Which changes of the decision are recorded: all that matter, and of those that follow fast upon another, some.
//!
//! Invariant: a change from or to `recommend` or `start`, or of what a shadow would start, is always recorded. One observer
//! that flaps moves the verdict between "nothing" and "notify" each second, with every rule and signal in each record:
//! that is what this bounds.

use std::time::Duration;

use crate::domain::assessment::{Assessment, Verdict};

/// So long after a recorded change no other is recorded, unless it matters. A record has about 3 kB: 8 MB a day at most.
const DWELL: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Flaps {
    /// What was judged last, recorded or not.
    last: Option<Said>,
    /// In boot time.
    recorded_at: Option<Duration>,
    suppressed: u32,
}

/// What of a judgement makes a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Said {
    verdict: Verdict,
    would_start: bool,
}

impl Flaps {
    /// Whether this judgement is recorded now; `is_news` is whether the journal has another decision.
    pub(super) fn is_told(&mut self, assessment: &Assessment, is_news: bool, boot: Duration) -> bool {
        self.is_due(assessment.verdict, assessment.would_start, is_news, boot)
    }

    fn is_due(&mut self, verdict: Verdict, would_start: bool, is_news: bool, boot: Duration) -> bool {
        let said = Said { verdict, would_start };
        let before = self.last.replace(said);
        let matters = |s: Said| s.would_start || matches!(s.verdict, Verdict::Recommend | Verdict::Start);
        let rests = self.recorded_at.is_none_or(|at| DWELL <= boot.saturating_sub(at));
        if is_news && (rests || matters(said) || before.is_some_and(matters)) {
            return true;
        }
        if before.is_some_and(|before| before != said) {
            self.suppressed = self.suppressed.saturating_add(1);
        }
        false
    }

    /// It is recorded; how many changes before it were not.
    pub(super) fn told(&mut self, boot: Duration) -> u32 {
        self.recorded_at = Some(boot);
        std::mem::take(&mut self.suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is recorded of one judgement a second, each with the count of what was not.
    fn recorded(judged: &[Verdict]) -> Vec<(usize, Verdict, u32)> {
        let (mut flaps, mut journal, mut all) = (Flaps::default(), None, Vec::new());
        for (second, verdict) in judged.iter().enumerate() {
            let boot = Duration::from_secs(second as u64);
            if flaps.is_due(*verdict, false, journal != Some(*verdict), boot) {
                journal = Some(*verdict);
                all.push((second, *verdict, flaps.told(boot)));
            }
        }
        all
    }

    #[test]
    fn what_flaps_each_second_is_recorded_each_half_minute_with_the_count_of_the_rest() {
        let flapping: Vec<Verdict> = [Verdict::Notify, Verdict::Nothing].into_iter().cycle().take(3_600).collect();
        let all = recorded(&flapping);
        assert_eq!(all[..2], [(0, Verdict::Notify, 0), (31, Verdict::Nothing, 30)]);
        assert!(all.len() <= 3_600 / 30, "{}", all.len());
        let changes: u32 = all.iter().map(|(.., suppressed)| suppressed + 1).sum();
        assert!(3_600 - 31 <= changes, "none is forgotten: {changes}");
    }

    #[test]
    fn what_matters_is_always_recorded_at_once() {
        use Verdict::{Nothing, Notify, Recommend, Start};
        let all = recorded(&[Nothing, Notify, Recommend, Notify, Recommend, Start, Recommend, Nothing, Notify]);
        let seconds: Vec<usize> = all.iter().map(|(second, ..)| *second).collect();
        assert_eq!(seconds, [0, 2, 3, 4, 5, 6, 7]);
        assert_eq!(all[1].2, 1, "the notify before it was not recorded");
    }
}
