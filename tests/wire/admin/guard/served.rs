//! A guard in this process, and clients of it.

use imagewatch::admin::Guard;
use imagewatch::admin::Stopper;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;
use tiny_http::Request;
use tiny_http::Response;

/// No answer takes longer, not even on a busy machine; a test that waits this long has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough for an answer that does not have to be waited for.
pub(super) const SOON: Duration = Duration::from_millis(300);
/// Clients that are read at a time.
pub(super) const SEATS: usize = 128;
/// How many may wait for an answer, and how many of these for a slow one.
pub(super) const WAITING: usize = 128;
pub(super) const SLOW: usize = 112;
pub(super) const GOOD: &str = "GET /ok HTTP/1.1\r\nHost: x\r\n\r\n";
pub(super) const PARK: &str = "GET /park HTTP/1.1\r\nHost: x\r\n\r\n";

/// A guard on a free port, stopped when dropped.
pub(super) struct Served {
    pub(super) address: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stopper.stop();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

pub(super) fn serve(handler: impl Fn(Request) + Send + Sync + 'static) -> Served {
    let guard = Guard::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (address, stopper) = (guard.local_addr(), guard.stopper());
    let thread = Some(thread::spawn(move || guard.serve(handler).unwrap()));
    Served {
        address,
        stopper,
        thread,
    }
}

/// Answers everything, with what the handler gets to see, and counts.
pub(super) fn serve_echo() -> (Served, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let served = serve(move |mut request| {
        counter.fetch_add(1, Ordering::SeqCst);
        let mut seen = format!("{} {}\n", request.method(), request.url());
        for header in request.headers() {
            seen.push_str(&format!("{header}\n"));
        }
        request.as_reader().read_to_string(&mut seen).unwrap();
        request.respond(Response::from_string(seen)).unwrap();
    });
    (served, count)
}

/// Hands each request to the test, to be answered when it likes.
pub(super) fn serve_parked() -> (Served, mpsc::Receiver<Request>) {
    let (sender, receiver) = mpsc::channel();
    (
        serve(move |request| sender.send(request).unwrap()),
        receiver,
    )
}

pub(super) fn open(address: SocketAddr, request: impl AsRef<[u8]>) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    // A refusal can come, and reset the connection, before all is written.
    let _ = client.write_all(request.as_ref());
    client
}

#[track_caller]
pub(super) fn answer(mut client: TcpStream) -> String {
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

#[track_caller]
pub(super) fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> String {
    answer(open(address, request))
}

pub(super) fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    status.unwrap_or(0)
}

#[track_caller]
pub(super) fn assert_refused(answer: &str, expected: u16, request: &str) {
    let request = &request[..request.len().min(80)];
    assert_eq!(status(answer), expected, "{request:?} got {answer:?}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nContent-Type: application/json\r\n"));
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
    assert!(head.ends_with("\r\nConnection: close"));
    assert!(body.starts_with(r#"{"error":""#) && body.ends_with(r#""}"#));
}

#[track_caller]
pub(super) fn assert_served(address: SocketAddr) {
    assert_eq!(status(&ask(address, GOOD)), 200);
}

/// Returns once the other side has closed.
#[track_caller]
pub(super) fn await_end(mut client: &TcpStream) {
    let _ = client
        .read(&mut [0; 1024])
        .map(|count| assert_eq!(count, 0));
}

#[track_caller]
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

pub(super) fn with_headers(headers: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
}
