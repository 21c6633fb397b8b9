//! The newest value of something, and a wake-up for whoever waits for the next one.
//!
//! Invariant: those who wait are woken in the order in which they began to wait, so that one seed is one history.
//! That is why it is not tokio's `watch`, which wakes them in an order that it draws. A slow reader sees the newest
//! value only: what must not be missed stands in the journal.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// See the module. Cheap to clone; every clone is the same cell.
#[derive(Debug)]
pub struct Newest<T>(Arc<Cell<T>>);

#[derive(Debug)]
struct Cell<T> {
    /// The value, and how many came before it.
    value: Mutex<(u64, T)>,
    moved: Notify,
}

impl<T> Clone for Newest<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Newest<T> {
    pub fn new(value: T) -> Self {
        Self(Arc::new(Cell { value: Mutex::new((0, value)), moved: Notify::new() }))
    }

    pub fn get(&self) -> T {
        self.numbered().1
    }

    pub fn set(&self, value: T) {
        {
            let mut slot = self.0.value.lock().unwrap_or_else(PoisonError::into_inner);
            *slot = (slot.0 + 1, value);
        }
        self.0.moved.notify_waiters();
    }

    /// What follows the value that stands now.
    pub fn changes(&self) -> Changes<T> {
        Changes { seen: self.numbered().0, of: self.clone() }
    }

    fn numbered(&self) -> (u64, T) {
        self.0.value.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One reader's place in the sequence of values.
#[derive(Debug)]
pub struct Changes<T> {
    of: Newest<T>,
    seen: u64,
}

impl<T: Clone> Changes<T> {
    /// The newest value, which counts as seen from now on.
    pub fn take(&mut self) -> T {
        let (number, value) = self.of.numbered();
        self.seen = number;
        value
    }

    /// Completes when there is a value that was not seen, which counts as seen then. May be dropped and asked again.
    pub async fn changed(&mut self) {
        loop {
            // Made before the look: whatever is set after it wakes this.
            let moved = self.of.0.moved.notified();
            let (number, _) = self.of.numbered();
            if number != self.seen {
                self.seen = number;
                return;
            }
            moved.await;
        }
    }

    /// Completes when `holds` of the newest value; at once where it does already.
    pub async fn wait_for(&mut self, holds: impl Fn(&T) -> bool) {
        while !holds(&self.take()) {
            self.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_value_set_between_two_looks_is_not_missed() {
        let newest = Newest::new(0);
        let mut changes = newest.changes();
        newest.set(1);
        newest.set(2);
        changes.changed().await;
        assert_eq!(changes.take(), 2);
        let again = futures_util::FutureExt::now_or_never(changes.changed());
        assert!(again.is_none(), "seen once is seen");
    }

    #[tokio::test]
    async fn those_who_wait_are_woken_in_the_order_in_which_they_began() {
        for _ in 0..20 {
            let (newest, woken) = (Newest::new(0), Arc::new(Mutex::new(Vec::new())));
            let waiters: Vec<_> = (0..16)
                .map(|n| {
                    let (mut changes, woken) = (newest.changes(), Arc::clone(&woken));
                    tokio::spawn(async move {
                        changes.changed().await;
                        woken.lock().expect("nobody panics").push(n);
                    })
                })
                .collect();
            tokio::task::yield_now().await;
            newest.set(1);
            for waiter in waiters {
                waiter.await.expect("woken");
            }
            assert_eq!(*woken.lock().expect("nobody panics"), (0..16).collect::<Vec<_>>());
        }
    }
}
