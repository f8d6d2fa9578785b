//! The turns of swaps that go on at the same time on one Engine.
//!
//! A swap has three stretches: successors are created, containers are exchanged, and successors are awaited. One swap at
//! a time creates and one at a time exchanges, and nobody begins to exchange while others create: so the downtime stays
//! that of a bare stop and start. Any number may wait.

use std::cell::Cell;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

/// How long a swap whose successors are created waits for others to create theirs. One that takes longer holds up
/// nobody.
const AHEAD: Duration = Duration::from_secs(10);

/// A stretch in which only one swap at a time may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stretch {
    Create,
    Exchange,
}

/// Which stretches are taken.
#[derive(Debug, Default)]
struct Taken {
    stretches: Vec<Stretch>,
    /// The number of swaps that create, or wait to.
    creators: usize,
}

/// The stretches that are taken on one Engine.
#[derive(Debug, Default)]
pub struct Turns {
    taken: Mutex<Taken>,
    changed: Condvar,
}

impl Turns {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a stretch is free, and takes it.
    fn take<'t>(&'t self, stretch: Stretch, taken: MutexGuard<'t, Taken>) {
        let is_taken = |taken: &mut Taken| taken.stretches.contains(&stretch);
        let free = self.changed.wait_while(taken, is_taken);
        let mut free = free.unwrap_or_else(PoisonError::into_inner);
        free.stretches.push(stretch);
    }

    fn give_back(&self, stretch: Stretch) {
        let mut taken = self.taken();
        taken.stretches.retain(|other| *other != stretch);
        taken.creators -= usize::from(stretch == Stretch::Create);
        self.changed.notify_all();
    }

    /// Waits until no swap creates, but not for long.
    fn wait_for_creators(&self, patience: Duration) -> MutexGuard<'_, Taken> {
        let others_create = |taken: &mut Taken| taken.creators > 0;
        let waited = self
            .changed
            .wait_timeout_while(self.taken(), patience, others_create);
        waited.unwrap_or_else(PoisonError::into_inner).0
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
        let mut taken = turns.taken();
        taken.creators += 1;
        turns.take(Stretch::Create, taken);
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

    /// Waits until no other swap exchanges containers. Who has just created waits for other creators before; who goes
    /// on with an exchange does not, because a container may be down.
    pub(super) fn to_exchange(&self) {
        self.to_exchange_within(AHEAD);
    }

    fn to_exchange_within(&self, patience: Duration) {
        let Some(turns) = self.turns else {
            return;
        };
        let taken = match self.held.get() {
            Some(Stretch::Exchange) => return,
            Some(Stretch::Create) => {
                self.pause();
                turns.wait_for_creators(patience)
            }
            None => turns.taken(),
        };
        turns.take(Stretch::Exchange, taken);
        self.held.set(Some(Stretch::Exchange));
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
    use std::time::Instant;

    #[test]
    fn whoever_goes_on_with_an_exchange_waits_for_no_creator() {
        let turns = Turns::default();
        let stretches = || turns.taken().stretches.clone();
        let first = Turn::to_create(&turns);
        assert_eq!(stretches(), [Stretch::Create]);
        first.to_exchange();
        first.to_exchange();
        assert_eq!(stretches(), [Stretch::Exchange]);
        let second = Turn::to_create(&turns);
        assert_eq!(stretches(), [Stretch::Exchange, Stretch::Create]);
        first.pause();
        assert_eq!(stretches(), [Stretch::Create]);
        first.to_exchange();
        assert_eq!(stretches(), [Stretch::Create, Stretch::Exchange]);
        drop(first);
        second.to_exchange();
        assert_eq!(stretches(), [Stretch::Exchange]);
        drop(second);
        assert_eq!((stretches(), turns.taken().creators), (vec![], 0));
    }

    #[test]
    fn no_exchange_begins_before_all_have_created() {
        let turns = Turns::default();
        let order = Mutex::new(Vec::new());
        let note = |what| order.lock().expect("no panic").push(what);
        let first = Turn::to_create(&turns);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let turn = Turn::to_create(&turns);
                    note("created");
                    turn.to_exchange();
                    note("exchanged");
                });
            }
            while turns.taken().creators < 4 {
                std::thread::yield_now();
            }
            note("created");
            first.to_exchange();
            note("exchanged");
            drop(first);
        });
        let order = order.into_inner().expect("no panic");
        assert_eq!(order, [["created"; 4], ["exchanged"; 4]].concat());
    }

    #[test]
    fn a_creator_that_takes_long_holds_up_nobody() {
        let turns = Turns::default();
        let first = Turn::to_create(&turns);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                let _slow = Turn::to_create(&turns);
                while !turns.taken().stretches.contains(&Stretch::Exchange) {
                    std::thread::yield_now();
                }
            });
            while turns.taken().creators < 2 {
                std::thread::yield_now();
            }
            let begun = Instant::now();
            first.to_exchange_within(Duration::from_millis(50));
            assert!(begun.elapsed() >= Duration::from_millis(50));
            second.join().expect("no panic");
        });
        drop(first);
        assert!(turns.taken().stretches.is_empty());
    }
}
