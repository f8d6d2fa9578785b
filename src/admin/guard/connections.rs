//! The table of connections. Their number is bounded: the oldest connection without a whole request is
//! evicted for a new one.

use std::collections::VecDeque;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::End;
use super::limits::Limits;

/// How long a whole request waits for a free place. Most answers take a few milliseconds.
const WAITING_PATIENCE: Duration = Duration::from_millis(200);

/// All connections, and how far each one is.
pub(super) struct Connections {
    table: Mutex<Table>,
    /// Signals that a connection has changed its state, or that its thread is ending.
    changed: Condvar,
}

struct Table {
    limits: Limits,
    /// The connections that may be evicted. The first one is evicted next.
    reading: VecDeque<Reader>,
    waiting: usize,
    threads: usize,
    last_id: u64,
}

struct Reader {
    id: u64,
    client: Arc<TcpStream>,
    /// `None` until the connection's thread first runs, which may take a while on a busy machine.
    protected_until: Option<Instant>,
    /// Whether the whole request has arrived. Such a connection is not evicted; soon it waits for its
    /// answer, or is refused.
    is_whole: bool,
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        let table = Table {
            limits,
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

    /// Waits until there are fewer threads than allowed. This wait ends: threads beyond the places for
    /// reading and waiting belong to evicted connections, and are about to end.
    pub(super) fn wait_for_thread(&self) {
        let full = |table: &mut Table| table.threads >= table.limits.threads();
        drop(self.changed.wait_while(self.lock(), full));
    }

    /// Adds a new client. If all places are taken, evicts the oldest connection first.
    pub(super) fn add(connections: &Arc<Self>, client: TcpStream) -> Connection {
        let mut table = connections.lock();
        while table.reading.len() >= table.limits.reading {
            let Some(left) = table.until_eviction() else {
                table.evict_oldest();
                continue;
            };
            let waited = connections.changed.wait_timeout(table, left);
            table = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let client = Arc::new(client);
        let id = table.insert(Arc::clone(&client));
        drop(table);
        let connections = Arc::clone(connections);
        Connection {
            connections,
            client,
            id,
            waiting: false,
        }
    }

    pub(super) fn evict_oldest(&self) {
        self.lock().evict_oldest();
    }

    /// Lowers the limit of reading connections, after no thread could be started for another client.
    pub(super) fn shrink(&self) {
        let mut table = self.lock();
        let taken = table.reading.len();
        table.limits = table.limits.with_reading(taken - taken / 4);
        for _ in table.limits.reading..taken {
            table.evict_oldest();
        }
    }
}

impl Table {
    /// Returns how long to wait until a connection may be evicted; `None` if one may be evicted now.
    fn until_eviction(&self) -> Option<Duration> {
        let oldest = self
            .oldest()
            .and_then(|at| self.reading[at].protected_until);
        match oldest {
            None => Some(self.limits.min_age()),
            Some(until) => until.checked_duration_since(Instant::now()),
        }
    }

    /// Returns the position of the connection that is evicted next.
    fn oldest(&self) -> Option<usize> {
        self.reading.iter().position(|reader| !reader.is_whole)
    }

    fn insert(&mut self, client: Arc<TcpStream>) -> u64 {
        self.threads += 1;
        self.last_id += 1;
        let id = self.last_id;
        self.reading.push_back(Reader {
            id,
            client,
            protected_until: None,
            is_whole: false,
        });
        id
    }

    /// Shuts the socket down, which ends every read and write of its thread.
    fn evict_oldest(&mut self) {
        let oldest = self.oldest().and_then(|at| self.reading.remove(at));
        if let Some(oldest) = oldest {
            drop(oldest.client.shutdown(Shutdown::Both));
        }
    }

    fn find(&mut self, id: u64) -> Option<&mut Reader> {
        self.reading.iter_mut().find(|reader| reader.id == id)
    }

    /// Removes a connection from the evictable ones. False if the connection had been evicted.
    fn remove(&mut self, id: u64) -> bool {
        let place = self.reading.iter().position(|reader| reader.id == id);
        place.and_then(|place| self.reading.remove(place)).is_some()
    }
}

/// One connection's entry in the table. Dropping the entry removes it.
pub(super) struct Connection {
    connections: Arc<Connections>,
    pub(super) client: Arc<TcpStream>,
    id: u64,
    waiting: bool,
}

impl Connection {
    /// Tells the table that the connection's thread runs. From now on the client has a moment to send
    /// its request.
    pub(super) fn thread_runs(&self) {
        let mut table = self.connections.lock();
        let protected_until = Instant::now() + table.limits.min_age();
        if let Some(reader) = table.find(self.id) {
            reader.protected_until = Some(protected_until);
        }
        self.connections.changed.notify_all();
    }

    /// Moves the connection from reading to waiting. A slow request gets fewer places.
    pub(super) fn start_waiting(&mut self, is_slow: bool) -> Result<(), End> {
        let full = |table: &mut Table| {
            let most = if is_slow {
                table.limits.slow()
            } else {
                table.limits.waiting
            };
            table.waiting >= most
        };
        let mut table = self.connections.lock();
        if let Some(reader) = table.find(self.id) {
            reader.is_whole = true;
        }
        let changed = &self.connections.changed;
        let waited = changed.wait_timeout_while(table, WAITING_PATIENCE, full);
        let (mut table, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(End::Refused(503, "too many requests are waiting"));
        }
        if !table.remove(self.id) {
            return Err(End::Gone);
        }
        table.waiting += 1;
        self.waiting = true;
        self.connections.changed.notify_all();
        Ok(())
    }

    /// Makes an answered connection the next to be evicted. False if no place is left.
    pub(super) fn make_evictable(&mut self) -> bool {
        let mut table = self.connections.lock();
        let kept =
            table.remove(self.id) || self.waiting && table.reading.len() < table.limits.reading;
        table.waiting -= usize::from(self.waiting);
        self.waiting = false;
        self.connections.changed.notify_all();
        if kept {
            table.reading.push_front(Reader {
                id: self.id,
                client: Arc::clone(&self.client),
                protected_until: Some(Instant::now()),
                is_whole: false,
            });
        }
        kept
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut table = self.connections.lock();
        table.remove(self.id);
        table.waiting -= usize::from(self.waiting);
        table.threads -= 1;
        self.connections.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn where_a_thread_is_missing_the_oldest_go_and_there_are_fewer_places() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(Connections::new(Limits::within(1024)));
        let client =
            |_| Connections::add(&connections, TcpStream::connect(address).expect("a client"));
        let taken: Vec<Connection> = (0..8).map(client).collect();
        taken[0].thread_runs();
        connections.shrink();
        let table = connections.lock();
        let left: Vec<u64> = table.reading.iter().map(|reader| reader.id).collect();
        let expected: Vec<u64> = taken[2..].iter().map(|connection| connection.id).collect();
        assert_eq!((left, table.limits.reading), (expected, 6));
        drop(table);
    }
}
