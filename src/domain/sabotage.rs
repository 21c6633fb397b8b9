//! Guards that a test build can switch off, one at a time: what proves that the rehearsals' oracle sees. Each must
//! then be caught by some seed (`tests/it/sabotage.rs`, `docs/sabotage.md`).
//!
//! Invariant: without the cargo feature `sabotage` nothing can be switched off: [`is_off`] is a constant, and no
//! release is built with the feature. With it, which guard is off is a cell of the thread: a rehearsal runs on one
//! thread alone and sets it first. It is the one thing in the domain that is no argument, as an argument would have
//! to pass through every signature of production for the tests' sake (docs/adr/0006).
//!
//! It deliberately holds no guard itself: each stands where it works, as one line that asks [`is_off`].

macro_rules! guards {
    ($($guard:ident, $name:literal, $stands_for:literal, $without:literal;)*) => {
        /// A guard, named by what it keeps out.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Guard {
            $(#[doc = $without] $guard,)*
        }

        impl Guard {
            /// Every guard, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$guard,)*];

            /// Its stable name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$guard => $name,)* }
            }

            /// The properties and faults of FAULTS.md that it stands for.
            pub const fn stands_for(self) -> &'static str {
                match self { $(Self::$guard => $stands_for,)* }
            }

            /// What the program does when it is off.
            pub const fn without(self) -> &'static str {
                match self { $(Self::$guard => $without,)* }
            }
        }
    };
}

guards! {
    // The journal and the step protocol.
    RottenJournal, "rotten-journal", "S16, 14", "reads a journal back without checking hashes and chain";
    OldEpoch, "old-epoch", "S2", "goes on in the epoch of the process before it";
    FailedAppend, "failed-append", "S3, 13", "takes a record for durable although the store failed";
    CallBeforeIntent, "call-before-intent", "S3", "sends a call before its intent is durable";
    OpenIntent, "open-intent", "S10, 2", "takes an intent that a dead process left open for unsent, and sends it";
    BlindRetry, "blind-retry", "S10, 3, 33", "sends a call again whose outcome is unknown, without looking";
    Hasty, "hasty", "35", "takes the first look after a call for the last word";
    RejectedIsDone, "rejected-is-done", "S10", "takes a refused call for done";
    AnswerIsDone, "answer-is-done", "S10", "takes an accepted call for done, without observing its postcondition";
    NotSentIsSent, "not-sent-is-sent", "3", "takes a call that never left for an accepted one";
    NotOurSuccess, "not-our-success", "45", "fails when its own first call is the reason for a refusal";
    ThrottledIsFinal, "throttled-is-final", "31", "gives up on a call that was throttled once";
    NoticeTwice, "notice-twice", "S10, 33", "sends a message again that may have arrived";
    HomeOfTheDead, "home-of-the-dead", "58", "asks the failing Region to promote the other one";

    // Several replicas.
    LeaseWait, "lease-wait", "5, 20", "takes the lease at once, without waiting for its end";
    AfterTheLease, "after-the-lease", "S3, 10, 19", "begins a call although its lease is over";
    SignedWhenSent, "signed-when-sent", "S4, 10", "signs a call as it is sent, and not as of its intent";
    OppositeAtOnce, "opposite-at-once", "S4, S11", "moves back at once, although the call for the way there may still arrive";

    // Looking.
    OneReading, "one-reading", "S5, 35", "believes one reading of the roles";
    OneEndpoint, "one-endpoint", "35", "reads the roles from one Region only";
    Contradiction, "contradiction", "35", "believes the first of two readings that contradict each other";
    UnknownStatus, "unknown-status", "37", "takes a status that it does not know for available";
    ControlsUnread, "controls-unread", "S10", "does not read routing controls back";
    PendingIsInSync, "pending-is-in-sync", "S10, 48", "takes a change of records for done while it is PENDING";
    AnyDnsAnswer, "any-dns-answer", "S10, 49", "takes any answer of a name server for the one that it waits for";
    DenialWaits, "denial-waits", "51", "waits for a reading that AWS refuses to give";

    // Loss and consent.
    StaleLag, "stale-lag", "S6, 43", "believes a lag sample whatever its age";
    AbsurdLag, "absurd-lag", "S6, 43", "takes a negative lag for none";
    MissingLag, "missing-lag", "S6, 43", "takes a lag that is missing for zero";
    FutureReading, "future-reading", "11, 43", "believes a reading that is dated ahead of the clock";
    LossBound, "loss-bound", "S6, 59", "promotes whatever would be lost";
    UnacceptedLoss, "unaccepted-loss", "S6", "promotes although nobody has accepted a loss";
    OnePerson, "one-person", "S6", "does not wait for the second person";
    OwnApproval, "own-approval", "S6, 73", "lets people approve what they asked for";
    ExpiredApproval, "expired-approval", "S6, 72", "accepts an approval that has expired";
    Declined, "declined", "S6", "takes a no for a yes";
    OtherDigest, "other-digest", "S12, 72", "takes an approval of another plan";
    RosyLoss, "rosy-loss", "history", "reports that nothing was lost";

    // Order and targets.
    FlipFirst, "flip-first", "S5", "moves traffic before the writer is proven, in whatever order the plan has";
    TargetIsWriter, "target-is-writer", "S9, 70", "moves to where the writer is already";
    HeadlessTarget, "headless-target", "S9, 40", "promotes a target without instances";
    OtherVersion, "other-version", "S9, 41", "promotes a target of another engine version";
    TwoRuns, "two-runs", "S1, 69", "starts a run beside an active one";
    Unreconciled, "unreconciled", "S8, 62", "goes home although nobody has reconciled what the failover left there";
    OverBudget, "over-budget", "83", "goes on with a drill whatever it costs";
    FaultLeft, "fault-left", "S10, S13", "takes the fault of a drill for mended without looking";
    NoWayBack, "no-way-back", "71", "aborts past the point of no return";
    UndoUnseen, "undo-unseen", "71, R9", "does not look at what was there before a step, and takes what it cannot restore for undone";
    UndoPastNoReturn, "undo-past-no-return", "71", "takes a run back across what only another run takes back";
    FenceTarget, "fence-target", "S9, 60", "fences the cluster that takes over";
    WriteTaken, "write-taken", "60", "takes any answer of the old writer for a refusal to write";
    UndoForgotten, "undo-forgotten", "71", "ends an aborted run without taking anything back";
    AfterTheEnd, "after-the-end", "S15", "lets events follow the end of a run";
    NoDeadline, "no-deadline", "L3, 36", "lets a step wait for ever";
    WallTime, "wall-time", "11", "measures a step's time on the wall clock";
    HoldIgnored, "hold-ignored", "39", "goes on after a failed step";
    PauseIgnored, "pause-ignored", "71", "goes on while it is paused";

    // Deciding and standing.
    SilenceVotes, "silence-votes", "S18, 52", "takes silence for illness";
    FirstReading, "first-reading", "46", "believes the first unhealthy reading";
    OneVote, "one-vote", "S18, 46", "recommends a failover on one trigger's word against the others'";
    StandingUnrenewed, "standing-unrenewed", "standing", "puts a standing effect once and not again";
    AnyAnswer, "any-answer", "46", "takes an error for health, as long as it is an answer";
}

impl std::fmt::Display for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether `guard` is switched off.
#[cfg(not(feature = "sabotage"))]
pub const fn is_off(_guard: Guard) -> bool {
    false
}

#[cfg(feature = "sabotage")]
pub use switch::{is_off, met, set};

#[cfg(feature = "sabotage")]
mod switch {
    use std::cell::Cell;

    use super::Guard;

    thread_local! {
        /// The guard that is off, and how often that was asked.
        static OFF: Cell<(Option<Guard>, u64)> = const { Cell::new((None, 0)) };
    }

    /// Switches `guard` off on this thread, and every other on.
    pub fn set(guard: Option<Guard>) {
        OFF.set((guard, 0));
    }

    /// Whether `guard` is switched off on this thread.
    pub fn is_off(guard: Guard) -> bool {
        let (off, met) = OFF.get();
        if off == Some(guard) {
            OFF.set((off, met + 1));
        }
        off == Some(guard)
    }

    /// How often the guard that is off was asked since it was switched off: 0 where nothing ever came by.
    pub fn met() -> u64 {
        OFF.get().1
    }
}
