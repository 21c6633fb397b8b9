//! What an action changes, in the tables of the store, in a replica, on the network and at AWS.

use super::{
    protocol::{Cut, Fate, Leases, Protocol, S1, S2, S3, S4, S11, bit},
    state::{ATTEMPTS, Call, Entry, Holder, Journal, Outcome, Place, REPLICAS, Replica, Role, Stage, State},
};

impl Protocol {
    /// The lease item is written: nobody else has seen its newest version.
    pub(super) fn write_lease(&self, state: &mut State, holder: Holder, released: bool) {
        if self.leases == Leases::Ignored {
            return;
        }
        (state.holder, state.released) = (holder, released);
        state.replicas.iter_mut().for_each(|replica| replica.watched = None);
    }

    /// A replica leads no more: what had not begun is given up, what was armed or sent goes on by itself.
    pub(super) fn step_down(&self, state: &mut State, by: u8) {
        let is_kept = self.leases == Leases::Kept;
        let replica = &mut state.replicas[usize::from(by)];
        *replica = Replica { late: replica.late, ..Replica::NEW };
        for call in state.calls.iter_mut().filter(|call| call.is_in_hand_of(by)) {
            match call.place {
                Place::Fresh | Place::Guarded if is_kept => call.end(),
                Place::Fresh | Place::Guarded => call.place = Place::Armed,
                Place::Told(_) => call.end(),
                Place::Awaited => self.stray(call),
                Place::Armed | Place::Unmade | Place::Stray | Place::Over => {}
            }
        }
    }

    /// Nobody waits for it any more; what AWS would refuse is over.
    pub(super) fn stray(&self, call: &mut Call) {
        (call.place, call.by) = (Place::Stray, 0);
        if self.window < call.signed {
            call.end();
        }
    }

    /// A record becomes durable at the journal's tail, or, without compare-and-set, wherever its writer believes that
    /// to be.
    pub(super) fn append(&self, state: &mut State, by: u8, entry: Entry) {
        let before = state.journal;
        if let Some(stale) = state.replicas[usize::from(by)].stale {
            self.find(state, S2);
            if matches!(entry, Entry::RunStarted) && before.stage != Stage::Idle {
                self.find(state, S1);
            }
            state.journal = stale;
        }
        for (other, replica) in (0..).zip(&mut state.replicas) {
            replica.late = None;
            if other != by && self.is_cut(Cut::CompareAndSet) && replica.role != Role::Follows && replica.at_tail {
                replica.stale = replica.stale.or(Some(before));
            } else if other != by {
                (replica.at_tail, replica.has_looked) = (false, false);
            } else {
                (replica.has_looked, replica.stale) = (false, None);
            }
        }
        match entry {
            Entry::EpochStarted => {}
            Entry::RunStarted => {
                if state.journal.stage != Stage::Idle {
                    self.find(state, S1);
                }
                self.begin_run(state);
            }
            Entry::Escalated => self.begin_run(state),
            Entry::Intent => {
                let number = self.next_call(&state.journal);
                self.check_nothing_at_work(state, number);
                (state.journal.stage, state.journal.newest) = (Stage::Intended, Some(number));
                state.journal.intents += 1;
                let call = &mut state.calls[usize::from(number)];
                (call.in_doubt, call.durable) = (true, true);
                if call.place == Place::Unmade {
                    call.place = Place::Over;
                }
            }
            Entry::Answered(outcome) => {
                state.journal.stage = Stage::Answered(outcome);
                if let Some(newest) = state.journal.newest {
                    let call = &mut state.calls[usize::from(newest)];
                    call.in_doubt = outcome == Outcome::Unknown;
                    if matches!(call.place, Place::Told(_) | Place::Over) {
                        call.end();
                    }
                }
            }
            Entry::Finished => state.journal.stage = Stage::Idle,
        }
        if state.journal.stage == Stage::Idle {
            state.journal.intents = 0;
        }
    }

    fn begin_run(&self, state: &mut State) {
        // What its process knows of a call of the run before is not recorded any more.
        for call in state.calls.iter_mut().filter(|call| matches!(call.place, Place::Told(_))) {
            call.end();
        }
        state.journal.runs += 1;
        (state.journal.stage, state.journal.intents) = (Stage::Begun, 0);
    }

    fn next_call(&self, journal: &Journal) -> u8 {
        (journal.runs - 1) * ATTEMPTS + journal.intents
    }

    fn check_nothing_at_work(&self, state: &mut State, number: u8) {
        let is_opposite = |other: u8| self.target(other) != self.target(number);
        let can_land = (0..)
            .zip(&state.calls)
            .any(|(other, call)| call.is_alive() && call.signed <= self.window && is_opposite(other));
        if can_land || state.world.moving.is_some_and(is_opposite) {
            self.find(state, S11);
        }
    }

    pub(super) fn find(&self, state: &mut State, property: &'static str) {
        state.broken |= bit(property);
    }

    pub(super) fn put(&self, state: &mut State, by: u8, entry: Entry, fate: Fate) {
        let makes = (entry == Entry::Intent).then(|| self.next_call(&self.fold(state, by)));
        match fate {
            Fate::Answered => {
                self.append(state, by, entry);
                let replica = &mut state.replicas[usize::from(by)];
                (replica.role, replica.at_tail) = (Role::Leads, true);
            }
            Fate::AnswerLost => {
                self.append(state, by, entry);
                self.step_down(state, by);
            }
            Fate::Late => {
                self.step_down(state, by);
                state.replicas[usize::from(by)].late = Some(entry);
            }
        }
        let is_sent = fate == Fate::Answered || (fate == Fate::Late && self.is_cut(Cut::DurableIntent));
        if let Some(number) = makes.filter(|_| is_sent) {
            let call = &mut state.calls[usize::from(number)];
            (call.place, call.by) = (Place::Fresh, by);
        }
    }

    /// The call arrives: AWS refuses an old signature, a second operation, and a target that is the writer already.
    pub(super) fn land(&self, state: &mut State, number: u8, answered: bool) {
        let call = state.calls[usize::from(number)];
        let outcome = if self.window < call.signed {
            Outcome::NotSent
        } else if state.world.moving.is_some() || state.world.writer == self.target(number) {
            Outcome::Rejected
        } else {
            state.world.moving = Some(number);
            if !call.durable {
                self.find(state, S3);
            }
            if state.journal.newest.is_none_or(|newest| self.target(newest) != self.target(number)) {
                self.find(state, S4);
            }
            Outcome::Accepted
        };
        match answered {
            true => self.tell(state, number, outcome),
            false => state.calls[usize::from(number)].end(),
        }
    }

    /// Its process learns what became of a call; of a superseded run it is not recorded.
    pub(super) fn tell(&self, state: &mut State, number: u8, outcome: Outcome) {
        let by = state.calls[usize::from(number)].by;
        let journal = self.fold(state, by);
        let call = &mut state.calls[usize::from(number)];
        if journal.newest == Some(number) && journal.stage == Stage::Intended {
            (call.place, call.signed) = (Place::Told(outcome), 0);
        } else {
            call.end();
        }
    }

    /// Where no lease is kept: a leader that is behind the tail records nothing any more, so it follows; and what is in
    /// the hand of one that follows may be sent at any time, just as what is on its way may land.
    pub(super) fn widen(&self, state: &mut State) {
        for by in 0..REPLICAS {
            let replica = &state.replicas[usize::from(by)];
            if replica.role == Role::Leads && !replica.at_tail {
                self.step_down(state, by);
            }
        }
        let replicas = state.replicas;
        let has_lost = |call: &Call| replicas[usize::from(call.by)].role == Role::Follows;
        for call in &mut state.calls {
            match call.place {
                Place::Fresh | Place::Guarded | Place::Armed if has_lost(call) => {
                    match self.is_cut(Cut::PinnedSignature) {
                        true => (call.place, call.by) = (Place::Armed, 0),
                        false => self.stray(call),
                    }
                }
                // Before the first byte, and behind it.
                Place::Guarded | Place::Armed if !self.is_cut(Cut::PinnedSignature) => call.place = Place::Awaited,
                _ => {}
            }
        }
    }

    pub(super) fn tick(&self, state: &mut State) {
        let is_kept = self.leases == Leases::Kept;
        for replica in state.replicas.iter_mut().filter(|_| is_kept) {
            if let Some(age) = &mut replica.watched {
                *age = self.terms.older(*age);
            }
            if replica.role != Role::Follows {
                replica.tenure = self.terms.older(replica.tenure);
            }
        }
        for call in &mut state.calls {
            if call.in_doubt {
                call.age = (call.age + 1).min(self.window + 1);
            }
            if call.is_alive() {
                call.signed = (call.signed + 1).min(self.window + 1);
                if call.place == Place::Stray {
                    self.stray(call);
                }
            }
        }
    }
}
