//! The shutdown: a stop waits for the swap in progress, and no other swap begins.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// The state of the shutdown. Every change of a container needs a `Pass` of it.
#[derive(Debug, Default)]
pub struct Shutdown {
    stopping: AtomicBool,
    busy: Mutex<()>,
}

/// The permission to change a container. A stop waits until the pass is dropped.
#[derive(Debug)]
pub struct Pass<'a>(#[allow(dead_code, reason = "held, not read")] MutexGuard<'a, ()>);

impl Shutdown {
    /// Gives a pass, unless the program is stopping.
    #[must_use]
    pub fn enter(&self) -> Option<Pass<'_>> {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        (!self.is_closed()).then_some(Pass(busy))
    }

    /// Whether the program is stopping.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Gives no more passes, and waits until the last one is dropped.
    pub fn close(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        drop(self.busy.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn closing_waits_for_who_is_inside_and_lets_nobody_in() {
        let shutdown = Shutdown::default();
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            let pass = shutdown.enter().expect("open");
            scope.spawn(|| {
                shutdown.close();
                sender.send("closed").expect("received");
            });
            while !shutdown.is_closed() {
                std::thread::yield_now();
            }
            assert!(
                receiver.try_recv().is_err(),
                "closed while somebody was inside"
            );
            drop(pass);
            assert_eq!(receiver.recv(), Ok("closed"));
        });
        assert!(shutdown.enter().is_none());
    }
}
