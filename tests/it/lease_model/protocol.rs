//! What may happen next: each action is one thing that a function of the engine does between two awaits, that AWS or
//! the store does, or that happens to a process. Whatever is offered may also not happen, for ever: that is a lost
//! message, a partition, and a process that stands still (SIGSTOP) between any two of its actions.

use stateright::{Model, Property};

use super::{
    state::{ATTEMPTS, CALLS, Entry, Holder, Journal, Outcome, Place, REPLICAS, Region, Replica, Role, Stage, State},
    terms::Terms,
};

/// A run that somebody asks for, of whichever replica leads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub from: Region,
    pub to: Region,
    /// It may take the place of the run before, whatever stands open of it: an escalation.
    pub escalates: bool,
}

/// What the lease is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leases {
    /// As the engine keeps it, by the functions of `domain::lease`.
    Kept,
    /// Anybody leads whenever it likes, and begins calls whenever it likes: every behaviour of `Kept` and more.
    Ignored,
}

/// The part of the protocol that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    CompareAndSet,
    WaitBeforeOpposite,
    PinnedSignature,
    /// The intent's put is not waited for.
    DurableIntent,
    ChallengersWait,
    HoldersEnd,
}

pub(super) const S1: &str = "S1: at most one run is active";
pub(super) const S2: &str = "S2: nobody writes over a record, or below the newest epoch";
pub(super) const S3: &str = "S3: no effect without its durable intent before it";
pub(super) const S4: &str = "S4: an effect's target is the last intent's";
pub(super) const S10: &str = "S10: a run's step takes effect at most once";
pub(super) const S11: &str = "S11: no opposite intent while an earlier call can land or an operation is in progress";
pub(super) const LEASE: &str = "economy: at most one replica believes in its lease";
/// In the order of their bits.
pub(super) const BROKEN: [&str; 6] = [S1, S2, S3, S4, S10, S11];

#[derive(Debug, Clone)]
pub(super) struct Protocol {
    pub requests: &'static [Request],
    /// How many ticks a signature is taken for.
    pub window: u8,
    pub leases: Leases,
    pub cut: Option<Cut>,
    pub terms: Terms,
    /// Whether a state is another one than that with the replicas exchanged: a trace is easier to read, and all of them
    /// are twice as many.
    pub tells_apart: bool,
}

/// What becomes of a put at the journal's tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    Answered,
    /// It is committed, and its writer does not know.
    AnswerLost,
    /// It is on its way still when its writer gives up.
    Late,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// Time passes for everybody: a third of a lease.
    Tick,
    /// `engine::lease::Keeper::look`.
    ReadLease(u8),
    /// `engine::lease::Keeper::take`.
    TakeLease(u8),
    /// `engine::lease::Renewal::renew`; `age`: how many ticks ago the request was begun.
    Renew {
        by: u8,
        age: u8,
    },
    /// The end of `engine::lease::Keeper::lead`: lost, in trouble, or told to stop.
    StepDown {
        by: u8,
        gives_back: bool,
    },
    /// SIGKILL, and the next life of the process.
    Crash(u8),
    /// `engine::recover::read_on`, to the end.
    ReadJournal(u8),
    /// `engine::scribe::Scribe::commit` (and `take_over`), by whoever has folded the tail.
    Put {
        by: u8,
        entry: Entry,
        fate: Fate,
    },
    LatePutLands(u8),
    /// `engine::guards::roles` in `engine::effect::open` and `retry`, after the wait for what may still land.
    Look(u8),
    /// `engine::effect::send`: the guards again.
    Guard(u8),
    /// `engine::context::Context::apply`: `Tenancy::has_room`.
    Arm(u8),
    /// What was not armed is given up: a guard refuses, there is no room, or the daemon is stopping.
    Refuse(u8),
    /// The first byte leaves.
    Send(u8),
    /// The caller waits no longer.
    TimeOut(u8),
    /// The call arrives at AWS.
    Land {
        call: u8,
        answered: bool,
    },
    MoveEnds,
    MoveFails,
}

impl Protocol {
    pub(super) fn target(&self, call: u8) -> Region {
        self.requests[usize::from(call / ATTEMPTS)].to
    }

    pub(super) fn is_cut(&self, cut: Cut) -> bool {
        self.cut == Some(cut)
    }

    /// What `by` believes the journal to be.
    pub(super) fn fold(&self, state: &State, by: u8) -> Journal {
        state.replicas[usize::from(by)].stale.unwrap_or(state.journal)
    }

    /// Whether a look finds all settled and the writer where run number `run` comes from.
    fn is_before(&self, state: &State, run: u8) -> bool {
        state.world.moving.is_none() && state.world.writer == self.requests[usize::from(run)].from
    }

    /// S11: whether nothing that leads elsewhere can land any more, by the journal and the clock.
    fn has_waited(&self, state: &State, run: u8) -> bool {
        let to = self.requests[usize::from(run)].to;
        self.is_cut(Cut::WaitBeforeOpposite)
            || (0..)
                .zip(&state.calls)
                .all(|(number, call)| !call.in_doubt || self.window < call.age || self.target(number) == to)
    }

    /// What a leader that has folded `journal` may record.
    fn entries(&self, state: &State, by: u8, entries: &mut Vec<Entry>) {
        let journal = self.fold(state, by);
        let next = self.requests.get(usize::from(journal.runs));
        match journal.stage {
            Stage::Idle if next.is_some() => entries.push(Entry::RunStarted),
            Stage::Idle => {}
            Stage::Begun | Stage::Answered(_) => {
                let is_repeatable = match journal.stage {
                    Stage::Answered(outcome) => outcome != Outcome::Accepted,
                    _ => true,
                };
                if is_repeatable && journal.intents < ATTEMPTS && state.replicas[usize::from(by)].has_looked {
                    entries.push(Entry::Intent);
                }
                // It is done, or has failed, or its time is over: no property asks which.
                entries.push(Entry::Finished);
            }
            Stage::Intended => {
                let Some(newest) = journal.newest else { return };
                let call = &state.calls[usize::from(newest)];
                match call.place {
                    Place::Told(outcome) if call.by == by => entries.push(Entry::Answered(outcome)),
                    _ if call.is_in_hand_of(by) => {}
                    _ => entries.push(Entry::Answered(Outcome::Unknown)),
                }
            }
        }
        if journal.stage != Stage::Idle && next.is_some_and(|request| request.escalates) {
            entries.push(Entry::Escalated);
        }
    }

    fn offer_replica(&self, state: &State, by: u8, actions: &mut Vec<Action>) {
        let replica = &state.replicas[usize::from(by)];
        let is_kept = self.leases == Leases::Kept;
        if replica.late.is_some() {
            actions.push(Action::LatePutLands(by));
        }
        // Where no lease is kept, a crash is a step down after which what was in hand is never sent.
        let has_something = *replica != (Replica { late: replica.late, ..Replica::NEW });
        if is_kept && (has_something || state.calls.iter().any(|c| c.is_in_hand_of(by))) {
            actions.push(Action::Crash(by));
        }
        if replica.role == Role::Follows && !is_kept {
            // It has read to the tail and nobody has appended since: else its put would change nothing.
            self.offer_put(by, Entry::EpochStarted, actions);
            return;
        }
        if replica.role == Role::Follows {
            let is_own = state.holder == Holder::Replica(by);
            let may_take = match replica.watched {
                _ if is_own || state.holder == Holder::Nobody => true,
                Some(age) => state.released || self.terms.may_take(age) || self.is_cut(Cut::ChallengersWait),
                None => false,
            };
            if may_take {
                actions.push(Action::TakeLease(by));
            }
            if replica.watched.is_none() && !is_own {
                actions.push(Action::ReadLease(by));
            }
            return;
        }
        actions.push(Action::StepDown { by, gives_back: false });
        if is_kept && state.holder == Holder::Replica(by) {
            actions.push(Action::StepDown { by, gives_back: true });
            actions.extend((0..replica.tenure).map(|age| Action::Renew { by, age }));
        }
        if !replica.at_tail {
            if replica.role == Role::Taken {
                actions.push(Action::ReadJournal(by));
            }
            return;
        }
        let mut entries = Vec::new();
        if replica.role == Role::Taken {
            entries.push(Entry::EpochStarted);
        } else {
            let journal = self.fold(state, by);
            let is_open = !matches!(journal.stage, Stage::Idle | Stage::Intended);
            if is_open && !replica.has_looked {
                let run = journal.runs - 1;
                if self.is_before(state, run) && self.has_waited(state, run) {
                    actions.push(Action::Look(by));
                }
            }
            self.entries(state, by, &mut entries);
        }
        entries.into_iter().for_each(|entry| self.offer_put(by, entry, actions));
    }

    fn offer_put(&self, by: u8, entry: Entry, actions: &mut Vec<Action>) {
        let fates = [Fate::Answered, Fate::AnswerLost, Fate::Late];
        actions.extend(fates.map(|fate| Action::Put { by, entry, fate }));
    }

    fn offer_call(&self, state: &State, number: u8, actions: &mut Vec<Action>) {
        let call = &state.calls[usize::from(number)];
        match call.place {
            Place::Unmade | Place::Told(_) | Place::Over => {}
            Place::Fresh => {
                if self.is_before(state, number / ATTEMPTS) {
                    actions.push(Action::Guard(number));
                }
                actions.push(Action::Refuse(number));
            }
            Place::Guarded => {
                let tenure = state.replicas[usize::from(call.by)].tenure;
                if self.leases == Leases::Ignored || self.is_cut(Cut::HoldersEnd) || self.terms.has_room(tenure) {
                    actions.push(Action::Arm(number));
                }
                actions.push(Action::Refuse(number));
            }
            Place::Armed => actions.push(Action::Send(number)),
            Place::Awaited => {
                actions.push(Action::TimeOut(number));
                actions.push(Action::Land { call: number, answered: true });
                actions.push(Action::Land { call: number, answered: false });
            }
            Place::Stray => actions.push(Action::Land { call: number, answered: false }),
        }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::FIRST]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // Past a fault nothing more is looked for; past an opposite intent that came too early, the harm that it does.
        if state.broken & !bit(S11) != 0 {
            return;
        }
        actions.push(Action::Tick);
        (0..REPLICAS).for_each(|by| self.offer_replica(state, by, actions));
        (0..CALLS).for_each(|number| self.offer_call(state, number, actions));
        if state.world.moving.is_some() {
            actions.extend([Action::MoveEnds, Action::MoveFails]);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut after = *before;
        let state = &mut after;
        match action {
            Action::Tick => self.tick(state),
            Action::ReadLease(by) => state.replicas[usize::from(by)].watched = Some(0),
            Action::TakeLease(by) => {
                self.write_lease(state, Holder::Replica(by), false);
                let replica = &mut state.replicas[usize::from(by)];
                (replica.role, replica.tenure) = (Role::Taken, 0);
            }
            Action::Renew { by, age } => {
                self.write_lease(state, Holder::Replica(by), false);
                state.replicas[usize::from(by)].tenure = age;
            }
            Action::StepDown { by, gives_back } => {
                self.step_down(state, by);
                if gives_back {
                    self.write_lease(state, Holder::Replica(by), true);
                }
            }
            Action::Crash(by) => {
                self.step_down(state, by);
                for call in state.calls.iter_mut().filter(|call| call.is_in_hand_of(by)) {
                    call.end();
                }
                if state.holder == Holder::Replica(by) {
                    state.holder = Holder::Dead;
                }
            }
            Action::ReadJournal(by) => state.replicas[usize::from(by)].at_tail = true,
            Action::Put { by, entry, fate } => self.put(state, by, entry, fate),
            Action::LatePutLands(by) => {
                let entry = state.replicas[usize::from(by)].late?;
                self.append(state, by, entry);
                state.replicas[usize::from(by)].at_tail = false;
            }
            Action::Look(by) => state.replicas[usize::from(by)].has_looked = true,
            action => self.go_on(state, action),
        }
        if self.leases == Leases::Ignored {
            self.widen(state);
        }
        let after = if self.tells_apart { after } else { after.min(after.exchanged()) };
        (after != *before).then_some(after)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always(S1, |_, state| is_whole(state, S1)),
            Property::always(S2, |_, state| is_whole(state, S2)),
            Property::always(S3, |_, state| is_whole(state, S3)),
            Property::always(S4, |_, state| is_whole(state, S4)),
            Property::always(S10, |_, state| is_whole(state, S10)),
            Property::always(S11, |_, state| is_whole(state, S11)),
        ];
        if self.leases == Leases::Kept {
            all.push(Property::always(LEASE, Self::is_one_tenant));
        }
        if self.cut.is_some() {
            return all;
        }
        // What must be possible, or nothing of the above would say anything.
        all.push(Property::sometimes("the last run that was asked for is done", |model: &Self, state: &State| {
            state.journal.stage == Stage::Idle && state.world.moved >> (model.requests.len() - 1) == 1
        }));
        all.push(Property::sometimes(
            "a run is done although its first call was never answered",
            |_, state: &State| {
                let first = &state.calls[0];
                state.journal.stage == Stage::Idle
                    && state.world.moved & 1 == 1
                    && first.in_doubt
                    && first.place == Place::Over
            },
        ));
        match self.leases {
            Leases::Ignored if self.requests.iter().all(|request| request.to == self.requests[0].to) => {}
            Leases::Ignored => {
                all.push(Property::sometimes(
                    "the opposite is intended after a call in doubt",
                    |model: &Self, state: &State| {
                        let newest = state.journal.newest.map(|newest| model.target(newest));
                        let is_opposite = |number| newest.is_some_and(|newest| newest != model.target(number));
                        (0..).zip(&state.calls).any(|(number, call)| call.in_doubt && is_opposite(number))
                    },
                ));
            }
            Leases::Kept => {
                all.push(Property::sometimes("another takes over with a call in a paused hand", |_, state: &State| {
                    let leads = |by: usize| state.replicas[by].role == Role::Leads && state.replicas[by].at_tail;
                    state.calls.iter().any(|c| c.place == Place::Armed && leads(1 - usize::from(c.by)))
                }));
                all.push(Property::sometimes("a late call that AWS refuses", |model: &Self, state: &State| {
                    let newest = state.journal.newest;
                    (0..).zip(&state.calls).any(|(number, call)| {
                        call.place == Place::Armed && model.window < call.signed && newest != Some(number)
                    })
                }));
            }
        }
        all
    }
}

impl Protocol {
    /// What a call, and the operation that it began, does next.
    fn go_on(&self, state: &mut State, action: Action) {
        match action {
            Action::Guard(number) => state.calls[usize::from(number)].place = Place::Guarded,
            Action::Arm(number) => state.calls[usize::from(number)].place = Place::Armed,
            Action::Refuse(number) => {
                self.tell(state, number, Outcome::NotSent);
            }
            Action::Send(number) => {
                let leads = state.replicas.map(|replica| replica.role == Role::Leads);
                let call = &mut state.calls[usize::from(number)];
                if self.is_cut(Cut::PinnedSignature) {
                    call.signed = 0;
                }
                let is_awaited = leads[usize::from(call.by)];
                call.place = Place::Awaited;
                if !is_awaited {
                    self.stray(call);
                }
            }
            Action::TimeOut(number) => self.stray(&mut state.calls[usize::from(number)]),
            Action::Land { call, answered } => self.land(state, call, answered),
            Action::MoveEnds => {
                let Some(number) = state.world.moving.take() else { return };
                state.world.writer = self.target(number);
                let bit = 1 << (number / ATTEMPTS);
                if state.world.moved & bit != 0 {
                    self.find(state, S10);
                }
                state.world.moved |= bit;
            }
            Action::MoveFails => state.world.moving = None,
            _ => unreachable!("the others are done above"),
        }
    }

    fn is_one_tenant(&self, state: &State) -> bool {
        let is_over = |replica: &Replica| self.terms.is_over(replica.tenure) && !self.is_cut(Cut::HoldersEnd);
        !state.replicas.iter().all(|replica| replica.role != Role::Follows && !is_over(replica))
    }
}

pub(super) fn bit(property: &str) -> u8 {
    1 << BROKEN.iter().position(|name| *name == property).expect("one of them")
}

fn is_whole(state: &State, property: &str) -> bool {
    state.broken & bit(property) == 0
}
