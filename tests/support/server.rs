//! An HTTP server that answers each request as a closure says: well, badly, or not at all; over
//! TCP, TLS or a unix socket.

use super::eventually;
use super::tls::Identity;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often a blocked thread looks whether the test is over.
const BEAT: Duration = Duration::from_millis(50);

/// One request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Whether it is about what cannot exist, as the calls of a preflight are, or about the services of a swarm.
    pub(crate) fn is_preflight(&self) -> bool {
        self.target.contains("_imagewatch.preflight")
            || self.is_list_of_services()
            || self.target.ends_with("/events?since=1&until=1")
    }

    /// Whether it looks for the services of a swarm.
    pub(crate) fn is_list_of_services(&self) -> bool {
        self.target.ends_with("/services?status=true")
    }

    /// `METHOD target`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

/// What the server does about a request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A proper answer.
    Reply(u16, Vec<(String, String)>, Vec<u8>),
    /// These bytes, then the end.
    Raw(Vec<u8>),
    /// These bytes, then nothing until the test is over.
    RawThenSilence(Vec<u8>),
    /// The first bytes, then the others again and again until nobody reads them, with a pause before
    /// each.
    Endless(Vec<u8>, Vec<u8>, Duration),
    /// The connection is closed.
    Close,
}

impl Answer {
    pub(crate) fn new(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self::Reply(status, headers.iter().map(own).collect(), body.into())
    }

    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::new(
            status,
            &[("Content-Type", "application/json")],
            body.to_string(),
        )
    }

    pub(crate) fn silence() -> Self {
        Self::RawThenSilence(Vec::new())
    }
}

type Handler = dyn Fn(&Seen) -> Answer + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    /// Whether the handler gets the calls of a preflight too.
    gets_preflight: AtomicBool,
    seen: Mutex<Vec<Seen>>,
    /// Those that made the handler panic.
    unexpected: Mutex<Vec<String>>,
    connections: AtomicUsize,
    /// How many of them there are still.
    open: AtomicUsize,
    over: AtomicBool,
}

/// A running server. It ends with the test, and fails it if a request made its handler panic.
pub(crate) struct Server {
    shared: Arc<Shared>,
    address: Option<SocketAddr>,
    path: Option<PathBuf>,
}

impl Server {
    /// Plain HTTP on a free loopback port.
    pub(crate) fn tcp(handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::on_tcp(handler, serve)
    }

    /// The same over TLS.
    pub(crate) fn tls(
        identity: &Identity,
        handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::with_tls(identity.server_config(), handler)
    }

    /// The same with any configuration of a TLS server.
    pub(crate) fn with_tls(
        config: Arc<rustls::ServerConfig>,
        handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::on_tcp(handler, move |stream, shared| {
            let connection = rustls::ServerConnection::new(Arc::clone(&config));
            let tls = rustls::StreamOwned::new(connection.expect("a TLS server"), stream);
            serve(tls, shared);
        })
    }

    /// Plain HTTP on a unix socket.
    pub(crate) fn unix(
        path: &Path,
        handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).expect("a socket for the test");
        let shared = Shared::new(handler);
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if for_thread.over.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, shared) = (stream.expect("a connection"), Arc::clone(&for_thread));
                stream.set_read_timeout(Some(BEAT)).expect("a timeout");
                shared.connections.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self {
            shared,
            address: None,
            path: Some(path.to_owned()),
        }
    }

    /// From now on the handler gets the calls of a preflight too, which are about what no other test
    /// is about. Otherwise nothing is found, and nothing noted.
    pub(crate) fn with_preflight(self) -> Self {
        self.shared.gets_preflight.store(true, Ordering::SeqCst);
        self
    }

    fn on_tcp(
        handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
        talk: impl Fn(TcpStream, &Arc<Shared>) + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the test");
        let address = listener.local_addr().expect("an address");
        let shared = Shared::new(handler);
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if for_thread.over.load(Ordering::SeqCst) {
                    return;
                }
                let (shared, talk) = (Arc::clone(&for_thread), talk.clone());
                let Ok(stream) = stream else { continue };
                stream.set_read_timeout(Some(BEAT)).expect("a timeout");
                shared.connections.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || talk(stream, &shared));
            }
        });
        Self {
            shared,
            address: Some(address),
            path: None,
        }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn host(&self) -> String {
        self.address.expect("a TCP server").to_string()
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.expect("a TCP server").port()
    }

    /// Every request so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("no panic").clone()
    }

    /// `METHOD target` of every request so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }

    /// Ends it, and waits until no connection is left that could answer.
    pub(crate) fn end(self) {
        self.shared.over.store(true, Ordering::SeqCst);
        eventually("its connections are closed", || {
            (self.shared.open.load(Ordering::SeqCst) == 0).then_some(())
        });
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes the listener.
        if let Some(address) = self.address {
            let _ = TcpStream::connect(address);
        }
        if let Some(path) = &self.path {
            let _ = UnixStream::connect(path);
        }
        let unexpected = std::mem::take(&mut *self.shared.unexpected.lock().expect("no panic"));
        assert!(
            unexpected.is_empty() || std::thread::panicking(),
            "unexpected requests: {unexpected:?}"
        );
    }
}

impl Shared {
    fn new(handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            handler: Box::new(handler),
            gets_preflight: AtomicBool::new(false),
            seen: Mutex::default(),
            unexpected: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        })
    }
}

/// One connection.
fn serve(stream: impl Read + Write, shared: &Arc<Shared>) {
    shared.open.fetch_add(1, Ordering::SeqCst);
    talk(stream, shared);
    shared.open.fetch_sub(1, Ordering::SeqCst);
}

/// Request after request.
fn talk(mut stream: impl Read + Write, shared: &Arc<Shared>) {
    let mut rest = Vec::new();
    while let Some(seen) = request(&mut stream, &mut rest, shared) {
        let answer = if seen.is_preflight() && !shared.gets_preflight.load(Ordering::SeqCst) {
            Answer::json(404, &serde_json::json!({"message": "No such container"}))
        } else {
            shared.seen.lock().expect("no panic").push(seen.clone());
            let answer = catch_unwind(AssertUnwindSafe(|| (shared.handler)(&seen)));
            let Ok(answer) = answer else {
                let mut unexpected = shared.unexpected.lock().expect("no panic");
                unexpected.push(seen.line());
                return;
            };
            answer
        };
        match answer {
            Answer::Reply(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} Status\r\n");
                let mut has_length = false;
                for (name, value) in headers {
                    has_length |= name.eq_ignore_ascii_case("content-length");
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                if !has_length && status != 304 && status != 204 {
                    head.push_str(&format!("Content-Length: {}\r\n", body.len()));
                }
                head.push_str("\r\n");
                let mut bytes = head.into_bytes();
                if seen.method != "HEAD" {
                    bytes.extend(body);
                }
                if stream
                    .write_all(&bytes)
                    .and_then(|()| stream.flush())
                    .is_err()
                {
                    return;
                }
                if seen.header("connection") == Some("close") {
                    return;
                }
            }
            Answer::Raw(bytes) => {
                let _ = stream.write_all(&bytes).and_then(|()| stream.flush());
                return;
            }
            Answer::RawThenSilence(bytes) => {
                let _ = stream.write_all(&bytes).and_then(|()| stream.flush());
                while !shared.over.load(Ordering::SeqCst) {
                    std::thread::sleep(BEAT);
                }
                return;
            }
            Answer::Endless(first, again, pause) => {
                let mut sent = stream.write_all(&first);
                while sent.is_ok() && !shared.over.load(Ordering::SeqCst) {
                    std::thread::sleep(pause);
                    sent = stream.write_all(&again).and_then(|()| stream.flush());
                }
                return;
            }
            Answer::Close => return,
        }
    }
}

/// Reads one request; `None` at the end of the connection or of the test.
fn request(stream: &mut (impl Read + Write), rest: &mut Vec<u8>, shared: &Shared) -> Option<Seen> {
    let end = loop {
        if let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        more(stream, rest, shared)?;
        // An Engine tries TLS first, even on loopback. It takes this answer, which is also Go's, as
        // the sign to go on in plain HTTP.
        if rest[0] == 0x16 {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
            return None;
        }
    };
    let head = String::from_utf8_lossy(&rest[..end]).into_owned();
    rest.drain(..end);
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let length = |(name, value): &(String, String)| {
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.parse::<usize>().ok()).flatten()
    };
    let length = headers.iter().find_map(length).unwrap_or(0);
    while rest.len() < length {
        more(stream, rest, shared)?;
    }
    let body = rest.drain(..length).collect();
    Some(Seen {
        method,
        target,
        headers,
        body,
    })
}

fn more(stream: &mut impl Read, into: &mut Vec<u8>, shared: &Shared) -> Option<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        if shared.over.load(Ordering::SeqCst) {
            return None;
        }
        match stream.read(&mut buffer) {
            Ok(0) => return None,
            Ok(read) => {
                into.extend_from_slice(&buffer[..read]);
                return Some(());
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::TimedOut
                        | io::ErrorKind::Interrupted
                ) => {}
            Err(_) => return None,
        }
    }
}
