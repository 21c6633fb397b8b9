//! What befalls one of several replicas: as data, in words, and by its numbers in FAULTS.md.
//!
//! Invariant: each of these lasts as long as its happening does, and is over with it: who is killed is started again,
//! who stands still goes on, what is cut is mended, a clock is set back. What waits for a moment that does not come in
//! that time does not come.

/// Which of several replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replica {
    /// Whoever leads as it begins; the first that lives, where nobody does.
    Leader,
    /// By number, from 1.
    Number(u32),
}

/// What befalls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaFault {
    /// SIGKILL, at once or around something (4, 5, 7).
    Killed { around: Option<Around> },
    /// SIGTERM (6, 76).
    Stopped,
    /// SIGSTOP, at once or around something, and SIGCONT (10, 19, 20).
    Paused { around: Option<Around> },
    /// What it asks of the store does not arrive (21).
    LosesRequests,
    /// What it asks of the store is done, and no answer comes back (21, 23).
    LosesAnswers,
    /// Nothing of AWS, of the application and of the control points answers it; the store does (22).
    CutFromAws,
    /// Its calls that change something stand still, and everything else of it goes on (16).
    Stalls,
    /// Its wall clock jumps by so many seconds; boot time does not (11).
    ClockJumps { seconds: i64 },
}

/// Around what a replica is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Around {
    pub what: Deed,
    /// It is done and nobody was told; else it has not left yet.
    pub after: bool,
}

/// What a replica does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// A call that changes something.
    Call,
    /// An append to the journal.
    Append,
    /// A write of the lease.
    Renewal,
}

impl Around {
    /// Every one, by the word that a scenario has for it.
    pub const ALL: [(&'static str, Self); 6] = [
        ("before-call", Self { what: Deed::Call, after: false }),
        ("after-call", Self { what: Deed::Call, after: true }),
        ("before-append", Self { what: Deed::Append, after: false }),
        ("after-append", Self { what: Deed::Append, after: true }),
        ("before-renewal", Self { what: Deed::Renewal, after: false }),
        ("after-renewal", Self { what: Deed::Renewal, after: true }),
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, around)| *around == self).map_or("", |(word, _)| word)
    }

    /// What the word means.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == word).map(|(_, around)| *around)
    }
}

impl ReplicaFault {
    /// Numbers of FAULTS.md section 1 that this exercises where it is met.
    pub fn numbers(&self) -> &'static [u8] {
        match self {
            Self::Killed { around: Some(Around { what: Deed::Renewal, .. }) } => &[5],
            Self::Killed { .. } => &[4, 7],
            Self::Stopped => &[6],
            Self::Paused { .. } => &[10],
            Self::LosesRequests => &[21],
            Self::LosesAnswers => &[21, 23],
            Self::CutFromAws => &[22],
            Self::Stalls => &[16],
            Self::ClockJumps { .. } => &[11],
        }
    }

    fn describe(&self) -> String {
        let at = |around: &Option<Around>| around.map_or(String::new(), |a| format!(" {}", a.describe()));
        match self {
            Self::Killed { around } => format!("is killed{}", at(around)),
            Self::Stopped => "is told to stop".to_owned(),
            Self::Paused { around } => format!("stands still{}", at(around)),
            Self::LosesRequests => "does not reach the store".to_owned(),
            Self::LosesAnswers => "gets no answer of the store, which does what it is asked".to_owned(),
            Self::CutFromAws => "reaches the store and nothing else".to_owned(),
            Self::Stalls => "sends no call that changes anything, and goes on otherwise".to_owned(),
            Self::ClockJumps { seconds } => format!("has its wall clock set by {seconds} s"),
        }
    }
}

impl Around {
    fn describe(self) -> String {
        let what = match self.what {
            Deed::Call => "its next call",
            Deed::Append => "its next append",
            Deed::Renewal => "its next write of the lease",
        };
        format!("{} {what}", if self.after { "right after" } else { "right before" })
    }
}

/// One line for the timeline.
pub(super) fn describe(of: Replica, does: &ReplicaFault) -> String {
    let who = match of {
        Replica::Leader => "whoever leads".to_owned(),
        Replica::Number(number) => format!("replica {number}"),
    };
    format!("{who} {}", does.describe())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_has_one_word_and_back() {
        for (word, around) in Around::ALL {
            assert_eq!((around.word(), Around::of(word)), (word, Some(around)));
        }
        assert_eq!(Around::of("before-breakfast"), None);
    }
}
