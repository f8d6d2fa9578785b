//! Who is connected: a bounded number, of which the oldest that has asked nothing yet makes room.

use std::collections::VecDeque;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::End;
use super::room::Room;

/// Most answers take a few milliseconds, so a place among the waiting is soon free.
const HAND_IN_PATIENCE: Duration = Duration::from_millis(200);

/// Who is connected, and how far along.
pub(super) struct Seats {
    table: Mutex<Table>,
    /// A connection was begun, handed in or answered, or its thread is ending.
    changed: Condvar,
}

struct Table {
    room: Room,
    /// Evictable, the next to go in front.
    reading: VecDeque<Reader>,
    waiting: usize,
    threads: usize,
    last_id: u64,
}

struct Reader {
    id: u64,
    client: Arc<TcpStream>,
    /// None until its thread has run for the first time, which may take a while on a busy machine.
    spared_until: Option<Instant>,
    /// All of the request is there: it is not evicted, and soon waits for its answer or is refused.
    is_whole: bool,
}

impl Seats {
    pub(super) fn new(room: Room) -> Self {
        let table = Table {
            room,
            reading: VecDeque::new(),
            waiting: 0,
            threads: 0,
            last_id: 0,
        };
        Self {
            table: Mutex::new(table),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there are fewer threads than allowed. It ends: all beyond the places for
    /// reading and waiting have been evicted and are about to leave.
    pub(super) fn wait_for_thread(&self) {
        let full = |table: &mut Table| table.threads >= table.room.threads();
        drop(self.changed.wait_while(self.lock(), full));
    }

    /// Seats a client that came just now, in place of the oldest if all seats are taken.
    pub(super) fn take(seats: &Arc<Self>, client: TcpStream) -> Seat {
        let mut table = seats.lock();
        while table.reading.len() >= table.room.reading {
            let Some(left) = table.until_eviction() else {
                table.evict_oldest();
                continue;
            };
            let waited = seats.changed.wait_timeout(table, left);
            table = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let client = Arc::new(client);
        let id = table.enter(Arc::clone(&client));
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

    /// There was no thread for one more client: from now on there are fewer seats.
    pub(super) fn shrink(&self) {
        let mut table = self.lock();
        let taken = table.reading.len();
        table.room = table.room.with_reading(taken - taken / 4);
        for _ in table.room.reading..taken {
            table.evict_oldest();
        }
    }
}

impl Table {
    /// Returns how long a newcomer has to wait until somebody may be evicted, if at all.
    fn until_eviction(&self) -> Option<Duration> {
        let oldest = self.oldest().and_then(|at| self.reading[at].spared_until);
        match oldest {
            None => Some(self.room.min_age()),
            Some(until) => until.checked_duration_since(Instant::now()),
        }
    }

    /// Who is the next to go.
    fn oldest(&self) -> Option<usize> {
        self.reading.iter().position(|reader| !reader.is_whole)
    }

    fn enter(&mut self, client: Arc<TcpStream>) -> u64 {
        self.threads += 1;
        self.last_id += 1;
        let id = self.last_id;
        self.reading.push_back(Reader {
            id,
            client,
            spared_until: None,
            is_whole: false,
        });
        id
    }

    /// Shuts the socket, which ends whatever its thread is doing with it.
    fn evict_oldest(&mut self) {
        let oldest = self.oldest().and_then(|at| self.reading.remove(at));
        if let Some(oldest) = oldest {
            drop(oldest.client.shutdown(Shutdown::Both));
        }
    }

    fn find(&mut self, id: u64) -> Option<&mut Reader> {
        self.reading.iter_mut().find(|reader| reader.id == id)
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
    /// Its thread runs: from now on the client has a moment to say something.
    pub(super) fn begin(&self) {
        let mut table = self.seats.lock();
        let spared_until = Instant::now() + table.room.min_age();
        if let Some(reader) = table.find(self.id) {
            reader.spared_until = Some(spared_until);
        }
        self.seats.changed.notify_all();
    }

    /// From reading to waiting, for long or not.
    pub(super) fn hand_in(&mut self, is_slow: bool) -> Result<(), End> {
        let full = |table: &mut Table| {
            let most = if is_slow {
                table.room.slow()
            } else {
                table.room.waiting
            };
            table.waiting >= most
        };
        let mut table = self.seats.lock();
        if let Some(reader) = table.find(self.id) {
            reader.is_whole = true;
        }
        let changed = &self.seats.changed;
        let waited = changed.wait_timeout_while(table, HAND_IN_PATIENCE, full);
        let (mut table, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(End::Refused(503, "too many requests are waiting"));
        }
        if !table.remove(self.id) {
            return Err(End::Gone);
        }
        table.waiting += 1;
        self.waiting = true;
        self.seats.changed.notify_all();
        Ok(())
    }

    /// The answer is out: makes this the first to be evicted; false if there is no seat left.
    pub(super) fn step_aside(&mut self) -> bool {
        let mut table = self.seats.lock();
        let kept =
            table.remove(self.id) || self.waiting && table.reading.len() < table.room.reading;
        table.waiting -= usize::from(self.waiting);
        self.waiting = false;
        self.seats.changed.notify_all();
        if kept {
            table.reading.push_front(Reader {
                id: self.id,
                client: Arc::clone(&self.client),
                spared_until: Some(Instant::now()),
                is_whole: false,
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
        self.seats.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn where_a_thread_is_missing_the_oldest_go_and_there_are_fewer_seats() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let seats = Arc::new(Seats::new(Room::within(1024)));
        let client = |_| Seats::take(&seats, TcpStream::connect(address).expect("a client"));
        let taken: Vec<Seat> = (0..8).map(client).collect();
        taken[0].begin();
        seats.shrink();
        let table = seats.lock();
        let left: Vec<u64> = table.reading.iter().map(|reader| reader.id).collect();
        let expected: Vec<u64> = taken[2..].iter().map(|seat| seat.id).collect();
        assert_eq!((left, table.room.reading), (expected, 6));
        drop(table);
    }
}
