//! Who is connected: a bounded number, of which the oldest that has asked nothing yet makes room.

use std::collections::VecDeque;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::End;

const MAX_READING: usize = 16;
const MAX_WAITING: usize = 64;
/// Beyond reading and waiting there are only threads on their way out; accept waits for those.
const MAX_THREADS: usize = MAX_READING + MAX_WAITING + 16;
/// Nobody younger is evicted: in a burst of good clients the processor gets to each in time.
/// Against idle ones that keep coming it leaves 800 a second, enough for good ones to get in.
const MIN_AGE: Duration = Duration::from_millis(20);

/// Who is connected, and how far along.
#[derive(Default)]
pub(super) struct Seats {
    table: Mutex<Table>,
    /// A connection was handed in, or its thread is ending.
    changed: Condvar,
}

#[derive(Default)]
struct Table {
    /// Evictable, the next to go in front.
    reading: VecDeque<Reader>,
    waiting: usize,
    threads: usize,
    last_id: u64,
}

struct Reader {
    id: u64,
    client: Arc<TcpStream>,
    spared_until: Instant,
}

impl Seats {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there are fewer threads than allowed. It ends: all beyond the places for
    /// reading and waiting have been evicted and are about to leave.
    pub(super) fn wait_for_thread(&self) {
        let full = |table: &mut Table| table.threads >= MAX_THREADS;
        drop(self.changed.wait_while(self.lock(), full));
    }

    /// Seats a client that came just now, in place of the oldest if all seats are taken.
    pub(super) fn take(seats: &Arc<Self>, client: TcpStream, since: Instant) -> Seat {
        let mut table = seats.lock();
        while let Some(left) = table.until_eviction() {
            let waited = seats.changed.wait_timeout(table, left);
            table = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if table.reading.len() >= MAX_READING {
            table.evict_oldest();
        }
        let client = Arc::new(client);
        let id = table.enter(Arc::clone(&client), since + MIN_AGE);
        drop(table);
        let seats = Arc::clone(seats);
        Seat {
            seats,
            client,
            id,
            waiting: false,
        }
    }

    pub(super) fn evict_oldest(&self) {
        self.lock().evict_oldest();
    }
}

impl Table {
    /// Returns how long a newcomer has to wait, if at all.
    fn until_eviction(&self) -> Option<Duration> {
        let oldest = self
            .reading
            .front()
            .filter(|_| self.reading.len() >= MAX_READING)?;
        oldest.spared_until.checked_duration_since(Instant::now())
    }

    fn enter(&mut self, client: Arc<TcpStream>, spared_until: Instant) -> u64 {
        self.threads += 1;
        self.last_id += 1;
        let id = self.last_id;
        self.reading.push_back(Reader {
            id,
            client,
            spared_until,
        });
        id
    }

    /// Shuts the socket, which ends whatever its thread is doing with it.
    fn evict_oldest(&mut self) {
        if let Some(oldest) = self.reading.pop_front() {
            drop(oldest.client.shutdown(Shutdown::Both));
        }
    }

    /// Takes a connection out of the evictable ones; false if it had been evicted.
    fn remove(&mut self, id: u64) -> bool {
        let place = self.reading.iter().position(|reader| reader.id == id);
        place.and_then(|place| self.reading.remove(place)).is_some()
    }
}

/// A connection's place in the table, given up when dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    pub(super) client: Arc<TcpStream>,
    id: u64,
    waiting: bool,
}

impl Seat {
    /// From reading to waiting. Refused, the connection stays evictable.
    pub(super) fn hand_in(&mut self) -> Result<(), End> {
        let mut table = self.seats.lock();
        if table.waiting >= MAX_WAITING {
            return Err(End::Refused(503, "too many requests are waiting"));
        }
        if !table.remove(self.id) {
            return Err(End::Gone);
        }
        table.waiting += 1;
        self.waiting = true;
        self.seats.changed.notify_one();
        Ok(())
    }

    /// The answer is out: makes this the first to be evicted; false if there is no seat left.
    pub(super) fn step_aside(&mut self) -> bool {
        let mut table = self.seats.lock();
        let kept = table.remove(self.id) || self.waiting && table.reading.len() < MAX_READING;
        table.waiting -= usize::from(self.waiting);
        self.waiting = false;
        if kept {
            table.reading.push_front(Reader {
                id: self.id,
                client: Arc::clone(&self.client),
                spared_until: Instant::now(),
            });
        }
        kept
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.seats.lock();
        table.remove(self.id);
        table.waiting -= usize::from(self.waiting);
        table.threads -= 1;
        self.seats.changed.notify_one();
    }
}
