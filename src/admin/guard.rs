//! The guard before tiny_http: the only thing that talks to raw admin clients.
//!
//! tiny_http 0.12 must never meet one. `Content-Length: 8000000000000000000` without a body, 80
//! bytes from anyone, aborts the process; a held body hangs every client; a handful of idle ones
//! kills its accept thread for good. So the guard owns the port, reads each request whole under
//! strict limits, and hands a copy, rebuilt from checked parts, to a tiny_http server on a private
//! unix socket. It holds no opinion on paths, tokens or methods: those are the handler's.
//!
//! A connection takes one request. It is *reading* until that is there, may be evicted by newer
//! ones meanwhile, then *waits* for the answer, for as long as that takes, and can no longer be
//! evicted. A half-closed client (`nc -N`) still gets its answer, so a FIN does not count as gone:
//! one that was closed is noticed when it is written to, one that was reset within a second.

mod answer;
mod inner;
mod request;
mod room;
mod seats;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::debug::debug;
use tiny_http::Request;

use answer::{linger, refuse, relay};
use inner::Inner;
use request::read_request;
use room::Room;
use seats::{Seat, Seats};

/// From accept to the last byte of the request; a slow client cannot stretch it.
const READ_DEADLINE: Duration = Duration::from_secs(5);
/// After a failed accept, to let evicted connections give their descriptors back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// For the connection that wakes accept to be stopped; it goes to ourselves.
const WAKE_TIMEOUT: Duration = Duration::from_secs(1);
/// The same complaint is logged at most this often.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);
/// The buffers are on the heap, and there may be many of these threads.
const CLIENT_STACK: usize = 64 * 1024;

/// The admin port, bound but not yet served.
#[derive(Debug)]
pub struct Guard {
    listener: TcpListener,
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl Guard {
    /// Binds the port; clients queue up in the kernel until [`Guard::serve`].
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            address,
            stopped: Arc::default(),
        })
    }

    /// Returns the address in use, with the real port where 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns what ends [`Guard::serve`] from another thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper {
            address: self.address,
            stopped: Arc::clone(&self.stopped),
        }
    }

    /// Serves on the calling thread until stopped.
    ///
    /// The handler runs on one thread, so it must not block: a slow answer is given later, from
    /// wherever the request was moved to. A panic in it is logged and costs only that request. To
    /// wait with a body of over 1 KiB, read it and keep `into_writer()`: the request itself holds
    /// a tiny_http thread. Use the writer, flushed, to stream too: `respond` buffers 8 KiB.
    ///
    /// # Errors
    /// When the inner server cannot be made at the start; later it is made again.
    pub fn serve<H>(self, handler: H) -> io::Result<()>
    where
        H: Fn(Request) + Send + Sync + 'static,
    {
        let inner = Arc::new(Inner::start(Arc::new(handler))?);
        let seats = Arc::new(Seats::new(Room::here()));
        let mut complaint = Complaint::default();
        while !self.stopped.load(Ordering::SeqCst) {
            seats.wait_for_thread();
            let admitted = self
                .listener
                .accept()
                .and_then(|(client, _)| admit(client, &seats, &inner));
            if let Err(error) = admitted {
                complaint.warn(&error);
                seats.evict_oldest();
                thread::sleep(ACCEPT_PAUSE);
            }
        }
        inner.current().retire();
        Ok(())
    }
}

/// Ends [`Guard::serve`]; answers that are being waited for are not waited for.
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
        // Only to wake accept. Should it fail, other clients are at the door and wake it.
        drop(TcpStream::connect_timeout(&address, WAKE_TIMEOUT));
    }
}

/// Gives a new client a seat and a thread. Without a thread it is closed, by the seat's drop.
fn admit(client: TcpStream, seats: &Arc<Seats>, inner: &Arc<Inner>) -> io::Result<()> {
    let deadline = Instant::now() + READ_DEADLINE;
    let seat = Seats::take(seats, client);
    let inner = Arc::clone(inner);
    let name = "admin-client".to_owned();
    let thread = thread::Builder::new().name(name).stack_size(CLIENT_STACK);
    thread
        .spawn(move || attend(seat, deadline, &inner))
        .map(drop)
        .inspect_err(|_| seats.shrink())
}

/// One connection from its first byte to its last.
fn attend(mut seat: Seat, deadline: Instant, inner: &Inner) {
    seat.begin();
    let mut received = Vec::new();
    let outcome = read_request(&seat.client, &mut received, deadline).and_then(|request| {
        seat.hand_in(received.starts_with(b"POST "))?;
        relay(&seat.client, inner, &request)
    });
    if let Err(End::Refused(status, reason)) = outcome {
        debug(format_args!(
            "refused an admin request: {reason} status={status}"
        ));
        refuse(&seat.client, status, reason, received.starts_with(b"HEAD "));
    }
    if seat.step_aside() {
        linger(&seat.client);
    }
}

/// Why a connection ends before its answer was relayed.
enum End {
    /// Nobody is there to tell.
    Gone,
    /// The client is told this status and reason.
    Refused(u16, &'static str),
}

fn timed_out(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Says what keeps clients from being admitted, but not 20 times a second.
#[derive(Default)]
struct Complaint {
    last: Option<Instant>,
}

impl Complaint {
    fn warn(&mut self, error: &io::Error) {
        if self
            .last
            .is_none_or(|last| last.elapsed() > COMPLAINT_PAUSE)
        {
            self.last = Some(Instant::now());
            log::warn!("cannot take another admin client: {error}");
        }
    }
}
