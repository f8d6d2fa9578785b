//! The tiny_http server behind the guard, on a unix socket that only the guard knows of.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::mem::ManuallyDrop;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::debug::debug;
use crate::queue::queue;
use tiny_http::{Request, Server};

/// How long a read for the answer lasts before the caller looks after its client.
const TICK: Duration = Duration::from_secs(1);
/// A request fits the socket's buffer, so only a server that is stuck can make a write wait.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a replaced server is still asked for requests it had read before it died.
const LAST_REQUESTS: Duration = Duration::from_secs(5);
const ADMIN_STACK: usize = 256 * 1024;

pub(super) type Handler = Arc<dyn Fn(Request) + Send + Sync>;

/// The way to tiny_http, through a server that is replaced when it has died.
pub(super) struct Inner {
    handler: Handler,
    backend: Mutex<Arc<Backend>>,
}

impl Inner {
    pub(super) fn start(handler: Handler) -> io::Result<Self> {
        let backend = Mutex::new(Backend::start(Arc::clone(&handler))?);
        Ok(Self { handler, backend })
    }

    pub(super) fn current(&self) -> Arc<Backend> {
        Arc::clone(&self.backend.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Hands in a request; the answer is to be read from what is returned.
    pub(super) fn send(&self, request: &[u8]) -> io::Result<UnixStream> {
        let backend = self.current();
        let mut stream = match UnixStream::connect_addr(&backend.address) {
            // Its accept thread is gone. Any other error comes of want of descriptors or memory
            // and says nothing about the server: making another then would pile them up.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                UnixStream::connect_addr(&self.replace(&backend)?.address)
            }
            other => other,
        }?;
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        stream.write_all(request)?;
        Ok(stream)
    }

    /// Replaces a dead server, once, however many connections found it dead.
    fn replace(&self, dead: &Arc<Backend>) -> io::Result<Arc<Backend>> {
        let mut backend = self.backend.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&backend, dead) {
            *backend = Backend::start(Arc::clone(&self.handler))?;
            dead.retire();
            log::warn!("the inner admin server had died and was replaced");
        }
        Ok(Arc::clone(&backend))
    }
}

/// One tiny_http server and the thread that takes its requests.
pub(super) struct Backend {
    address: UnixAddr,
    /// Never dropped: its `Drop` panics on an abstract address. What leaks is an empty queue.
    server: ManuallyDrop<Server>,
    retired: AtomicBool,
}

impl Backend {
    fn start(handler: Handler) -> io::Result<Arc<Self>> {
        let address = private_address()?;
        let listener = UnixListener::bind_addr(&address)?;
        let (inlet, outlet) = queue();
        // The server is made on its thread because it panics when threads run out; the listener
        // is lost with it then, so that the next connection finds this one dead and tries again.
        let thread = thread::Builder::new()
            .name("admin".to_owned())
            .stack_size(ADMIN_STACK);
        thread.spawn(move || {
            let Ok(server) = Server::from_listener(listener, None) else {
                return;
            };
            let server = ManuallyDrop::new(server);
            let backend = Arc::new(Self {
                address,
                server,
                retired: AtomicBool::new(false),
            });
            inlet.push(Arc::clone(&backend));
            backend.run(&handler);
        })?;
        outlet
            .pop()
            .ok_or_else(|| io::Error::other("cannot make the inner admin server"))
    }

    /// Takes requests until retired. An error means that accepting has ended, not that all that
    /// was accepted has come through: those who wait for it would wait for ever.
    fn run(&self, handler: &Handler) {
        while !self.retired.load(Ordering::SeqCst) {
            match self.server.recv() {
                Ok(request) => handle(handler, request),
                Err(error) => debug(format_args!("the inner admin server reports: {error}")),
            }
        }
        while let Ok(Some(request)) = self.server.recv_timeout(LAST_REQUESTS) {
            handle(handler, request);
        }
    }

    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
        self.server.unblock();
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(path) = self.address.as_pathname() {
            drop(std::fs::remove_file(path));
        }
    }
}

/// When the handler panics, its request is dropped, which tiny_http answers with 500.
fn handle(handler: &Handler, request: Request) {
    if catch_unwind(AssertUnwindSafe(|| handler(request))).is_err() {
        log::error!("the admin handler panicked, see above; serving goes on (please report this)");
    }
}

/// A name nobody can have taken. Abstract, because the container may have no writable file.
#[cfg(target_os = "linux")]
fn private_address() -> io::Result<UnixAddr> {
    use std::os::linux::net::SocketAddrExt;
    UnixAddr::from_abstract_name(private_name())
}

/// Where there are no abstract names, a file in the directory for such things.
#[cfg(not(target_os = "linux"))]
fn private_address() -> io::Result<UnixAddr> {
    UnixAddr::from_pathname(std::env::temp_dir().join(private_name()))
}

/// Std's hash keys are its only random numbers, and good ones.
fn private_name() -> String {
    let random = || RandomState::new().hash_one(());
    format!("imagewatch-{:016x}{:016x}", random(), random())
}
