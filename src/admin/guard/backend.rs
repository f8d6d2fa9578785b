//! The tiny_http server behind the guard, on a unix socket that only the guard knows.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::mem::ManuallyDrop;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::logging::debug;
use crate::thread::queue;
use crate::thread::start_small;
use tiny_http::{Request, Server};

/// How long one read of the answer may last. After each read, the caller checks its client.
const TICK: Duration = Duration::from_secs(1);
/// A request fits into the socket's buffer, so a write only waits for a server that is stuck.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a dead server is still asked for requests that it had read before.
const LAST_REQUESTS: Duration = Duration::from_secs(5);
const ADMIN_STACK: usize = 256 * 1024;

pub(super) type Handler = Arc<dyn Fn(Request) + Send + Sync>;

/// The way to tiny_http. A server that has died is replaced.
pub(super) struct Backend {
    handler: Handler,
    current: Mutex<Arc<InnerServer>>,
}

impl Backend {
    pub(super) fn start(handler: Handler) -> io::Result<Self> {
        let current = Mutex::new(InnerServer::start(Arc::clone(&handler))?);
        Ok(Self { handler, current })
    }

    pub(super) fn current(&self) -> Arc<InnerServer> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends a request, and returns the stream on which the answer comes.
    pub(super) fn send(&self, request: &[u8]) -> io::Result<UnixStream> {
        let server = self.current();
        let mut stream = match UnixStream::connect_addr(&server.address) {
            // The server's accept thread has ended. Any other error comes from a lack of descriptors or
            // memory, and another server would only need more of them.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                UnixStream::connect_addr(&self.replace(&server)?.address)
            }
            other => other,
        }?;
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        stream.write_all(request)?;
        Ok(stream)
    }

    /// Replaces a dead server once, even if many connections found it dead.
    fn replace(&self, dead: &Arc<InnerServer>) -> io::Result<Arc<InnerServer>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&current, dead) {
            *current = InnerServer::start(Arc::clone(&self.handler))?;
            dead.retire();
            log::warn!("the inner admin server died and was replaced");
        }
        Ok(Arc::clone(&current))
    }
}

/// One tiny_http server and the thread that takes its requests.
pub(super) struct InnerServer {
    address: UnixAddr,
    /// Never dropped, because its `Drop` panics on an abstract address. Only an empty queue leaks.
    server: ManuallyDrop<Server>,
    retired: AtomicBool,
}

impl InnerServer {
    fn start(handler: Handler) -> io::Result<Arc<Self>> {
        let address = private_address()?;
        let listener = UnixListener::bind_addr(&address)?;
        let (inlet, outlet) = queue();
        // tiny_http panics if no more threads can be started, so the server is made on its own thread. A
        // panic also closes the listener. Then the next connection finds the server dead, and replaces it.
        let task = Box::new(move || {
            let Ok(server) = Server::from_listener(listener, None) else {
                return;
            };
            let server = ManuallyDrop::new(server);
            let inner = Arc::new(Self {
                address,
                server,
                retired: AtomicBool::new(false),
            });
            inlet.push(Arc::clone(&inner));
            inner.run(&handler);
        });
        start_small("admin", ADMIN_STACK, task)?;
        outlet
            .pop()
            .ok_or_else(|| io::Error::other("cannot start the inner admin server"))
    }

    /// Takes requests until retired. An error only means that accepting has ended. Requests that were
    /// accepted before still arrive, and their clients must not wait for ever.
    fn run(&self, handler: &Handler) {
        while !self.retired.load(Ordering::SeqCst) {
            match self.server.recv() {
                Ok(request) => handle(handler, request),
                Err(error) => debug(format_args!(
                    "the inner admin server cannot accept: {error}"
                )),
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

impl Drop for InnerServer {
    fn drop(&mut self) {
        if let Some(path) = self.address.as_pathname() {
            drop(std::fs::remove_file(path));
        }
    }
}

/// Runs the handler. If the handler panics, the request is dropped, and tiny_http answers 500.
fn handle(handler: &Handler, request: Request) {
    if catch_unwind(AssertUnwindSafe(|| handler(request))).is_err() {
        log::error!("the admin handler panicked, see above; serving goes on (please report this)");
    }
}

/// A name that nobody can have taken. The name is abstract, because a container may have no writable folder.
#[cfg(target_os = "linux")]
fn private_address() -> io::Result<UnixAddr> {
    use std::os::linux::net::SocketAddrExt;
    UnixAddr::from_abstract_name(private_name())
}

/// Other systems have no abstract names, so the socket is a file in the temporary folder.
#[cfg(not(target_os = "linux"))]
fn private_address() -> io::Result<UnixAddr> {
    UnixAddr::from_pathname(std::env::temp_dir().join(private_name()))
}

/// The keys of std's hash maps are its only random numbers, and they are good ones.
fn private_name() -> String {
    let random = || RandomState::new().hash_one(());
    format!("imagewatch-{:016x}{:016x}", random(), random())
}
