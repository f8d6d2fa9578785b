//! The guard before tiny_http: the only code that talks to raw admin clients.
//!
//! tiny_http 0.12 must never meet a raw client:
//!
//! - `Content-Length: 8000000000000000000` without a body, 80 bytes from anyone, aborts the process.
//! - A body that is held back hangs every client.
//! - A handful of idle clients kills the accept thread for good.
//!
//! So the guard owns the port, and reads each request whole under strict limits. A copy, rebuilt from
//! checked parts, goes to a tiny_http server on a private unix socket. Paths, tokens and methods are
//! left to the handler.
//!
//! A connection takes one request. The connection is *reading* until the whole request has arrived, and
//! newer clients may evict it meanwhile. Then the connection is *waiting* for the answer, however long
//! the answer takes, and is not evicted. A half-closed client (`nc -N`) still gets its answer, so a FIN
//! does not end a connection. A closed client is noticed at the next write, and a reset within a second.

mod answer;
mod backend;
mod body;
mod connections;
mod limits;
mod request;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::logging::debug;
use crate::thread::start_small;
use tiny_http::Request;

use answer::{linger, refuse, relay};
use backend::Backend;
use connections::{Connection, Connections};
use limits::Limits;
use request::read_request;

/// The time from accept to the last byte of the request. A slow client cannot extend this time.
const READ_DEADLINE: Duration = Duration::from_secs(5);
/// The pause after a failed accept, in which evicted connections give their descriptors back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The limit for the connection to ourselves that wakes accept at a stop.
const WAKE_TIMEOUT: Duration = Duration::from_secs(1);
/// The warning about failed accepts is logged at most this often.
const WARNING_PAUSE: Duration = Duration::from_secs(60);
/// Stack of a client's thread: the buffers are on the heap, and there may be many such threads.
const CLIENT_STACK: usize = 64 * 1024;

/// The admin port, bound but not yet served.
#[derive(Debug)]
pub struct Guard {
    listener: TcpListener,
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    has_hooks: bool,
}

impl Guard {
    /// Binds the port. Clients queue up in the kernel until [`Guard::serve`].
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            address,
            stopped: Arc::default(),
            has_hooks: false,
        })
    }

    /// The same, with or without the longer bodies of push hooks.
    #[must_use]
    pub fn with_hooks(self, has_hooks: bool) -> Self {
        Self { has_hooks, ..self }
    }

    /// Returns the address in use. If port 0 was asked for, this holds the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the handle that ends [`Guard::serve`] from another thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper {
            address: self.address,
            stopped: Arc::clone(&self.stopped),
        }
    }

    /// Serves on the calling thread until stopped.
    ///
    /// The handler runs on one thread, so the handler must not block: a slow request is moved to another
    /// thread and answered there. A panic in the handler is logged, and costs only that request.
    ///
    /// A request with a body of over 1 KiB holds a tiny_http thread. To keep such a request waiting, read
    /// the body and keep `into_writer()`. Use that writer, flushed, to stream too: `respond` buffers 8 KiB.
    ///
    /// # Errors
    /// If the inner server cannot be started. An inner server that dies later is replaced.
    pub fn serve<H>(self, handler: H) -> io::Result<()>
    where
        H: Fn(Request) + Send + Sync + 'static,
    {
        let backend = Arc::new(Backend::start(Arc::new(handler))?);
        let connections = Arc::new(Connections::new(Limits::of_process()));
        let mut warning = AcceptWarning::default();
        while !self.stopped.load(Ordering::SeqCst) {
            connections.wait_for_thread();
            let admitted = self
                .listener
                .accept()
                .and_then(|(client, _)| admit(client, &connections, &backend, self.has_hooks));
            if let Err(error) = admitted {
                warning.log(&error);
                connections.evict_oldest();
                thread::sleep(ACCEPT_PAUSE);
            }
        }
        backend.current().retire();
        Ok(())
    }
}

/// Ends [`Guard::serve`], without waiting for answers that are still to come.
#[derive(Debug, Clone)]
pub struct Stopper {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl Stopper {
    /// Makes `serve` return soon.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        // This connection only wakes accept. If connecting fails, other clients are queued, and they wake
        // accept as well.
        drop(TcpStream::connect_timeout(&address, WAKE_TIMEOUT));
    }
}

/// Gives a new client an entry in the table and a thread. Without a thread, the drop of the entry closes
/// the connection.
fn admit(
    client: TcpStream,
    connections: &Arc<Connections>,
    backend: &Arc<Backend>,
    has_hooks: bool,
) -> io::Result<()> {
    let deadline = Instant::now() + READ_DEADLINE;
    let connection = Connections::add(connections, client);
    let backend = Arc::clone(backend);
    let task = Box::new(move || serve_client(connection, deadline, &backend, has_hooks));
    start_small("admin-client", CLIENT_STACK, task).inspect_err(|_| connections.shrink())
}

/// Handles one connection, from its first byte to its last.
fn serve_client(mut connection: Connection, deadline: Instant, backend: &Backend, has_hooks: bool) {
    connection.thread_runs();
    let mut received = Vec::new();
    let outcome =
        read_request(&connection.client, &mut received, deadline, has_hooks).and_then(|request| {
            connection.start_waiting(received.starts_with(b"POST "))?;
            relay(&connection.client, backend, &request)
        });
    if let Err(End::Refused(status, reason)) = outcome {
        debug(format_args!(
            "refused an admin request: {reason} status={status}"
        ));
        refuse(
            &connection.client,
            status,
            reason,
            received.starts_with(b"HEAD "),
        );
    }
    if connection.make_evictable() {
        linger(&connection.client);
    }
}

/// The reason why a connection ends before its answer was relayed.
enum End {
    /// The client has left, so nothing is sent.
    Gone,
    /// The client gets this status and reason.
    Refused(u16, &'static str),
}

fn timed_out(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Warns about failed accepts, but not 20 times a second.
#[derive(Default)]
struct AcceptWarning {
    last: Option<Instant>,
}

impl AcceptWarning {
    fn log(&mut self, error: &io::Error) {
        if self.last.is_none_or(|last| last.elapsed() > WARNING_PAUSE) {
            self.last = Some(Instant::now());
            log::warn!("cannot take another admin client: {error}");
        }
    }
}
