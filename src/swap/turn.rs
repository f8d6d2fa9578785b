//! The turns of swaps that go on at the same time on one Engine.
//!
//! A swap has three stretches: successors are created, containers are exchanged, and successors are awaited. One swap at
//! a time creates and one at a time exchanges, so that the downtime stays that of a bare stop and start. Any number
//! may wait.

use std::cell::Cell;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// A stretch in which only one swap at a time may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stretch {
    Create,
    Exchange,
}

/// Which stretches are taken.
#[derive(Debug, Default)]
pub struct Turns {
    taken: Mutex<Vec<Stretch>>,
    changed: Condvar,
}

impl Turns {
    fn taken(&self) -> MutexGuard<'_, Vec<Stretch>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, stretch: Stretch) {
        let is_taken = |taken: &mut Vec<Stretch>| taken.contains(&stretch);
        let free = self.changed.wait_while(self.taken(), is_taken);
        free.unwrap_or_else(PoisonError::into_inner).push(stretch);
    }

    fn give_back(&self, stretch: Stretch) {
        self.taken().retain(|taken| *taken != stretch);
        self.changed.notify_all();
    }
}

/// The place of one swap among others. It is given back when dropped.
#[derive(Debug)]
pub struct Turn<'t> {
    turns: Option<&'t Turns>,
    held: Cell<Option<Stretch>>,
}

impl<'t> Turn<'t> {
    /// Waits until no other swap creates successors.
    #[must_use]
    pub fn to_create(turns: &'t Turns) -> Self {
        turns.take(Stretch::Create);
        Self {
            turns: Some(turns),
            held: Cell::new(Some(Stretch::Create)),
        }
    }

    /// The place of a swap that has the Engine to itself.
    #[must_use]
    pub fn alone() -> Self {
        Self {
            turns: None,
            held: Cell::new(None),
        }
    }

    /// Waits until no other swap exchanges containers. Then another one may create.
    pub(super) fn to_exchange(&self) {
        if let Some(turns) = self.turns
            && self.held.get() != Some(Stretch::Exchange)
        {
            turns.take(Stretch::Exchange);
            self.pause();
            self.held.set(Some(Stretch::Exchange));
        }
    }

    /// Lets others go on, while this swap only waits.
    pub(super) fn pause(&self) {
        if let Some((turns, held)) = self.turns.zip(self.held.take()) {
            turns.give_back(held);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.pause();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_swap_creates_while_another_exchanges_and_others_wait() {
        let turns = Turns::default();
        let first = Turn::to_create(&turns);
        assert_eq!(*turns.taken(), [Stretch::Create]);
        first.to_exchange();
        first.to_exchange();
        assert_eq!(*turns.taken(), [Stretch::Exchange]);
        let second = Turn::to_create(&turns);
        assert_eq!(*turns.taken(), [Stretch::Exchange, Stretch::Create]);
        first.pause();
        assert_eq!(*turns.taken(), [Stretch::Create]);
        second.to_exchange();
        assert_eq!(*turns.taken(), [Stretch::Exchange]);
        drop(second);
        first.to_exchange();
        assert_eq!(*turns.taken(), [Stretch::Exchange]);
        drop(first);
        assert_eq!(*turns.taken(), []);
    }

    #[test]
    fn whoever_waits_goes_on_when_the_other_is_done() {
        let turns = Turns::default();
        let first = Turn::to_create(&turns);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| Turn::to_create(&turns).to_exchange());
            first.to_exchange();
            drop(first);
            second.join().expect("no panic");
        });
        assert_eq!(*turns.taken(), []);
    }
}
