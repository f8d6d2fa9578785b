//! ureq over a unix socket: a [`Connector`] and its [`Transport`].

use crate::thread::queue;
use crate::thread::start;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use ureq::Error;
use ureq::unversioned::transport::Buffers;
use ureq::unversioned::transport::ConnectionDetails;
use ureq::unversioned::transport::Connector;
use ureq::unversioned::transport::LazyBuffers;
use ureq::unversioned::transport::NextTimeout;
use ureq::unversioned::transport::ShutdownHandle;
use ureq::unversioned::transport::Transport;

/// How many threads may wait until an Engine takes a connection. Beyond that, a connection fails at once.
const MOST_WAITING: usize = 8;

/// Connects to one unix socket, whatever the URL says.
#[derive(Debug)]
pub(super) struct UnixConnector {
    path: PathBuf,
    waiting: Arc<AtomicUsize>,
}

impl UnixConnector {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            waiting: Arc::default(),
        }
    }

    /// Opens a connection within a limit. An Engine that hangs takes connections until its backlog is full, and then
    /// connecting hangs too. The standard library has no deadline for that. So another thread connects, and is
    /// left behind if it takes too long.
    fn open(&self, limit: Option<Duration>) -> io::Result<UnixStream> {
        let (inlet, outlet) = queue();
        if self.waiting.fetch_add(1, Ordering::SeqCst) >= MOST_WAITING {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            return Err(io::ErrorKind::TimedOut.into());
        }
        let (path, waiting) = (self.path.clone(), Arc::clone(&self.waiting));
        let connect = move || {
            inlet.push(UnixStream::connect(path));
            waiting.fetch_sub(1, Ordering::SeqCst);
        };
        if let Err(error) = start("connect", Box::new(connect)) {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            return Err(error);
        }
        let opened = match limit {
            Some(limit) => outlet.pop_within(limit),
            None => outlet.pop(),
        };
        opened.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Connector<()> for UnixConnector {
    type Out = UnixTransport;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _chained: Option<()>,
    ) -> Result<Option<UnixTransport>, Error> {
        let limit = details.timeout.not_zero().map(|limit| *limit);
        let opened = self.open(limit);
        let stream = Arc::new(opened.map_err(|error| timed_out(error, details.timeout))?);
        let config = details.config;
        let shutdown = Arc::new(Socket(Arc::clone(&stream)));
        let weak = Arc::downgrade(&shutdown) as Weak<dyn ShutdownHandle>;
        (details.register_shutdown)(weak)?;
        Ok(Some(UnixTransport {
            stream,
            _shutdown: shutdown,
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
        }))
    }
}

/// Lets `Agent::shutdown` end blocked reads.
struct Socket(Arc<UnixStream>);

impl ShutdownHandle for Socket {
    fn shutdown(&self) {
        // An error means that the socket is closed already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// One connection to the Engine.
pub(super) struct UnixTransport {
    stream: Arc<UnixStream>,
    _shutdown: Arc<Socket>,
    buffers: LazyBuffers,
}

impl Transport for UnixTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        let limit = timeout.not_zero().map(|limit| *limit);
        self.stream.set_write_timeout(limit)?;
        let output = &self.buffers.output()[..amount];
        (&*self.stream)
            .write_all(output)
            .map_err(|error| timed_out(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        let limit = timeout.not_zero().map(|limit| *limit);
        let input = self.buffers.input_append_buf();
        let amount = read(&self.stream, input, limit).map_err(|error| timed_out(error, timeout))?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.probe().unwrap_or(false)
    }
}

impl UnixTransport {
    /// Whether an idle connection can be used again. Bytes that wait on it are rubbish, and an end means that the
    /// Engine closed it.
    fn probe(&mut self) -> io::Result<bool> {
        self.stream.set_nonblocking(true)?;
        let probed = (&*self.stream).read(&mut [0]);
        self.stream.set_nonblocking(false)?;
        Ok(matches!(probed, Err(error) if error.kind() == io::ErrorKind::WouldBlock))
    }
}

impl std::fmt::Debug for UnixTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UnixTransport")
    }
}

/// Reads, and goes on after a signal: with a timeout set, Linux does not restart an interrupted read.
fn read(stream: &UnixStream, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<usize> {
    let begun = Instant::now();
    loop {
        let left = match limit {
            Some(limit) => match limit.checked_sub(begun.elapsed()) {
                Some(left) if !left.is_zero() => Some(left),
                _ => return Err(io::ErrorKind::TimedOut.into()),
            },
            None => None,
        };
        stream.set_read_timeout(left)?;
        let mut reader = stream;
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

fn timed_out(error: io::Error, timeout: NextTimeout) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => Error::Io(error),
    }
}
