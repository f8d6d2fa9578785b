//! The way out: lets a stop wait for the swap in progress, and keeps another from beginning.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// Whoever changes a container goes through here.
#[derive(Debug, Default)]
pub struct Gate {
    stopping: AtomicBool,
    inside: Mutex<()>,
}

/// Proof that the gate was open; a stop waits until it is dropped.
#[derive(Debug)]
pub struct Pass<'a>(#[allow(dead_code, reason = "held, not read")] MutexGuard<'a, ()>);

impl Gate {
    /// Enters, unless the program is stopping.
    #[must_use]
    pub fn enter(&self) -> Option<Pass<'_>> {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        (!self.is_closed()).then_some(Pass(inside))
    }

    /// Whether the program is stopping.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Lets nobody in any more, and waits for whoever is inside.
    pub fn close(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        drop(self.inside.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn closing_waits_for_who_is_inside_and_lets_nobody_in() {
        let gate = Gate::default();
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            let pass = gate.enter().expect("open");
            scope.spawn(|| {
                gate.close();
                sender.send("closed").expect("received");
            });
            while !gate.is_closed() {
                std::thread::yield_now();
            }
            assert!(
                receiver.try_recv().is_err(),
                "closed while somebody was inside"
            );
            drop(pass);
            assert_eq!(receiver.recv(), Ok("closed"));
        });
        assert!(gate.enter().is_none());
    }
}
