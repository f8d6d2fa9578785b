//! The events of the simulation, in the order of their times. Only the events of the current second are sorted.

use super::time::SECOND;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A time, and the instance that acts then.
type Event = (u64, usize);

pub struct Queue {
    /// The events up to the end of the current second.
    due: BinaryHeap<Reverse<Event>>,
    second: usize,
    /// The events of each later second.
    later: Vec<Vec<Event>>,
}

impl Queue {
    /// Makes a queue for events until `end`.
    pub fn new(end: u64) -> Self {
        Self {
            due: BinaryHeap::new(),
            second: 0,
            later: vec![Vec::new(); second(end) + 1],
        }
    }

    /// Puts an event into the queue, unless it is after the end.
    pub fn push(&mut self, at: u64, who: usize) {
        if second(at) <= self.second {
            self.due.push(Reverse((at, who)));
        } else if let Some(events) = self.later.get_mut(second(at)) {
            events.push((at, who));
        }
    }

    /// Takes the next event before `end` out.
    pub fn pop(&mut self, end: u64) -> Option<Event> {
        loop {
            if let Some(Reverse((at, _))) = self.due.peek() {
                let is_early = *at < end;
                return is_early
                    .then(|| self.due.pop())
                    .flatten()
                    .map(|event| event.0);
            }
            if self.second >= second(end) {
                return None;
            }
            self.second += 1;
            let events = std::mem::take(&mut self.later[self.second]);
            self.due.extend(events.into_iter().map(Reverse));
        }
    }

    /// Forgets all events.
    pub fn clear(&mut self) {
        self.due.clear();
        self.later.iter_mut().for_each(Vec::clear);
    }
}

fn second(at: u64) -> usize {
    usize::try_from(at / SECOND).expect("a few days")
}
