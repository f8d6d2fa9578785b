//! A queue between threads: one mutex, one condition variable.
//!
//! The standard library's channels would work too. But they are three kinds of channel behind one type, and
//! cost 8 KB of code for each type of message. This queue costs a few hundred bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

struct Shared<T> {
    state: Mutex<State<T>>,
    grown: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    /// The number of ends that can still put items in.
    inlets: usize,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end where items go in. Any thread may have a clone.
pub struct Inlet<T>(Arc<Shared<T>>);

/// The end where items come out.
pub struct Outlet<T>(Arc<Shared<T>>);

/// Makes an empty queue, and returns its two ends.
#[must_use]
pub fn queue<T>() -> (Inlet<T>, Outlet<T>) {
    let state = State {
        items: VecDeque::new(),
        inlets: 1,
    };
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        grown: Condvar::new(),
    });
    (Inlet(Arc::clone(&shared)), Outlet(shared))
}

impl<T> Inlet<T> {
    /// Puts an item in, however many items are in already.
    pub fn push(&self, item: T) {
        self.0.lock().items.push_back(item);
        self.0.grown.notify_one();
    }

    /// Puts an item in, unless `limit` items are in already.
    ///
    /// # Errors
    /// Gives the item back.
    pub fn push_within(&self, limit: usize, item: T) -> Result<(), T> {
        let mut state = self.0.lock();
        if state.items.len() >= limit {
            return Err(item);
        }
        state.items.push_back(item);
        drop(state);
        self.0.grown.notify_one();
        Ok(())
    }

    /// Puts an item in. If `limit` items are in already, takes the oldest out and returns it.
    pub fn push_out(&self, limit: usize, item: T) -> Option<T> {
        let mut state = self.0.lock();
        let oldest = if state.items.len() >= limit {
            state.items.pop_front()
        } else {
            None
        };
        state.items.push_back(item);
        drop(state);
        self.0.grown.notify_one();
        oldest
    }
}

impl<T> Clone for Inlet<T> {
    fn clone(&self) -> Self {
        self.0.lock().inlets += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Inlet<T> {
    fn drop(&mut self) {
        self.0.lock().inlets -= 1;
        self.0.grown.notify_all();
    }
}

impl<T> Outlet<T> {
    /// Waits for the next item and takes it out. `None` once the queue is empty and every [`Inlet`] is gone.
    #[must_use]
    pub fn pop(&self) -> Option<T> {
        let mut state = self.0.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                return Some(item);
            }
            if state.inlets == 0 {
                return None;
            }
            let waited = self.0.grown.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Like [`Outlet::pop`], but waits no longer than `limit`.
    #[must_use]
    pub fn pop_within(&self, limit: Duration) -> Option<T> {
        let empty = |state: &mut State<T>| state.items.is_empty() && state.inlets > 0;
        let waited = self.0.grown.wait_timeout_while(self.0.lock(), limit, empty);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.items.pop_front()
    }

    /// Whether the queue is empty and every [`Inlet`] is gone, so that no item can come any more.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        let state = self.0.lock();
        state.items.is_empty() && state.inlets == 0
    }

    /// Takes out all items that are in now.
    #[must_use]
    pub fn drain(&self) -> VecDeque<T> {
        std::mem::take(&mut self.0.lock().items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_come_out_in_order_from_any_thread() {
        let (inlet, outlet) = queue();
        std::thread::scope(|scope| {
            let other = inlet.clone();
            scope.spawn(move || (0..100).for_each(|number| other.push(number)));
            drop(inlet);
            for expected in 0..100 {
                assert_eq!(outlet.pop(), Some(expected));
            }
            assert_eq!(outlet.pop(), None, "nobody is left");
        });
    }

    #[test]
    fn limits_of_size_and_time_hold() {
        let (inlet, outlet) = queue();
        assert_eq!(inlet.push_within(1, 'a'), Ok(()));
        assert_eq!(inlet.push_within(1, 'b'), Err('b'));
        inlet.push('c');
        assert_eq!(inlet.push_out(2, 'd'), Some('a'));
        assert_eq!(inlet.push_out(3, 'e'), None);
        assert_eq!(outlet.drain(), ['c', 'd', 'e']);
        assert_eq!(outlet.pop_within(Duration::from_millis(1)), None);
    }
}
