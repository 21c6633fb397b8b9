//! What the model remembers: the shared table, two replicas, the calls that were ever intended, and AWS.
//!
//! The journal is kept as its fold. What a replica may do depends on the records only through their fold and on whether
//! it has read to the tail (`at_tail`), so that two journals of one fold behave alike, and neither epochs nor versions
//! have to be counted: the number of takeovers, crashes and lost messages has no bound here.

/// Two replicas; more would only add takeovers, of which there is no bound already.
pub(super) const REPLICAS: u8 = 2;
/// How often one run may intend its call. The engine's bound is higher; a third repeat is as the second.
pub(super) const ATTEMPTS: u8 = 2;
/// Of all runs.
pub(super) const CALLS: u8 = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Region {
    A,
    B,
    C,
}

/// What a call came to, as its process knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Outcome {
    Accepted,
    Rejected,
    NotSent,
    Unknown,
}

/// The fold of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Journal {
    /// Runs started so far; the newest is the one that may be active.
    pub runs: u8,
    pub stage: Stage,
    /// Intents of the newest run.
    pub intents: u8,
    /// The call that was intended last, in any run.
    pub newest: Option<u8>,
}

/// Where the newest run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Stage {
    /// None is active.
    Idle,
    Begun,
    Intended,
    Answered(Outcome),
}

/// One record's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Entry {
    EpochStarted,
    RunStarted,
    /// The active run is superseded and the next started, in one record.
    Escalated,
    Intent,
    Answered(Outcome),
    Finished,
}

/// The lease item. Its version is not counted: whoever has seen the newest one knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Holder {
    Nobody,
    Replica(u8),
    /// A life of a process that is over.
    Dead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Role {
    Follows,
    /// It has put the lease, and no epoch yet.
    Taken,
    Leads,
}

/// What is lost with a process, and its put on its way, which is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Replica {
    pub role: Role,
    /// Whether it has folded the journal to its end: a put elsewhere is refused.
    pub at_tail: bool,
    /// Its last look at AWS: settled, the writer is where the run comes from, and nothing else can land any more.
    pub has_looked: bool,
    /// Ticks since the newest version of the lease was seen; `None`: it has not seen that version.
    pub watched: Option<u8>,
    /// Ticks since its own lease was last renewed.
    pub tenure: u8,
    /// A put for the journal's tail that nobody waits for any more, and that may land.
    pub late: Option<Entry>,
    /// What it has folded, where that is not the journal: only without compare-and-set does anybody act on that.
    pub stale: Option<Journal>,
}

/// Where a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Place {
    /// Not intended yet.
    Unmade,
    /// Its intent is durable, and its process is about to look once more.
    Fresh,
    /// The guards have held.
    Guarded,
    /// There was room in the lease: only the first byte is to leave.
    Armed,
    /// On its way, and its process waits for the answer.
    Awaited,
    /// On its way, and nobody waits for it.
    Stray,
    /// Its process knows what became of it, and has not recorded it.
    Told(Outcome),
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Call {
    pub place: Place,
    /// The replica in whose hand it is, or whose it was while that matters.
    pub by: u8,
    /// Ticks since its intent.
    pub age: u8,
    /// Ticks since the time that it is signed as of.
    pub signed: u8,
    /// The journal has no answer to it that says what happened.
    pub in_doubt: bool,
    pub durable: bool,
}

impl Call {
    pub(super) const UNMADE: Self =
        Self { place: Place::Unmade, by: 0, age: 0, signed: 0, in_doubt: false, durable: false };

    /// Whether it may still have an effect, by where it is alone.
    pub(super) fn is_alive(&self) -> bool {
        match self.place {
            Place::Fresh | Place::Guarded | Place::Armed | Place::Awaited | Place::Stray => true,
            Place::Unmade | Place::Told(_) | Place::Over => false,
        }
    }

    pub(super) fn is_in_hand_of(&self, replica: u8) -> bool {
        let in_hand = match self.place {
            Place::Fresh | Place::Guarded | Place::Armed | Place::Awaited | Place::Told(_) => true,
            Place::Unmade | Place::Stray | Place::Over => false,
        };
        in_hand && self.by == replica
    }

    /// Nothing more comes of it; what nobody asks for any more is forgotten, so that like states are one.
    pub(super) fn end(&mut self) {
        (self.place, self.by, self.signed) = (Place::Over, 0, 0);
        if !self.in_doubt {
            (self.age, self.durable) = (0, false);
        }
    }
}

/// AWS: who writes, and the call whose operation is in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct World {
    pub writer: Region,
    pub moving: Option<u8>,
    /// One bit for each run whose call has moved the writer.
    pub moved: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct State {
    pub journal: Journal,
    pub holder: Holder,
    pub released: bool,
    pub replicas: [Replica; REPLICAS as usize],
    pub calls: [Call; CALLS as usize],
    pub world: World,
    /// One bit for each property that a transition has broken.
    pub broken: u8,
}

impl State {
    pub(super) const FIRST: Self = Self {
        journal: Journal { runs: 0, stage: Stage::Idle, intents: 0, newest: None },
        holder: Holder::Nobody,
        released: false,
        replicas: [Replica::NEW; REPLICAS as usize],
        calls: [Call::UNMADE; CALLS as usize],
        world: World { writer: Region::A, moving: None, moved: 0 },
        broken: 0,
    };

    /// The same with the replicas' names exchanged.
    pub(super) fn exchanged(&self) -> Self {
        let mut other = *self;
        other.replicas.swap(0, 1);
        if let Holder::Replica(holder) = self.holder {
            other.holder = Holder::Replica(1 - holder);
        }
        for call in other.calls.iter_mut().filter(|call| !matches!(call.place, Place::Unmade | Place::Over)) {
            call.by = 1 - call.by;
        }
        other
    }
}

impl Replica {
    pub(super) const NEW: Self = Self {
        role: Role::Follows,
        at_tail: false,
        has_looked: false,
        watched: None,
        tenure: 0,
        late: None,
        stale: None,
    };
}
