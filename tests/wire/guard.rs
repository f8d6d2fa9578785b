//! The guard, attacked over real sockets in the ways that kill or hang a bare tiny_http.
//!
//! What needs a process of its own, because it is measured or because it runs out of descriptors,
//! runs this test binary again with [`host`] as its only test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use imagewatch::admin::guard::{Guard, Stopper};
use tiny_http::{Request, Response};

/// No answer takes longer, not even on a busy machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough for an answer that does not have to be waited for.
const SOON: Duration = Duration::from_millis(300);
const GOOD: &str = "GET /ok HTTP/1.1\r\nHost: x\r\n\r\n";
const PARK: &str = "GET /park HTTP/1.1\r\nHost: x\r\n\r\n";
const HOST: &str = "IMAGEWATCH_TEST_GUARD_HOST";

/// A guard on a free port, stopped when dropped.
struct Served {
    address: SocketAddr,
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

fn serve(handler: impl Fn(Request) + Send + Sync + 'static) -> Served {
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
fn serve_echo() -> (Served, Arc<AtomicUsize>) {
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
fn serve_parked() -> (Served, mpsc::Receiver<Request>) {
    let (sender, receiver) = mpsc::channel();
    (
        serve(move |request| sender.send(request).unwrap()),
        receiver,
    )
}

fn open(address: SocketAddr, request: impl AsRef<[u8]>) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    // A refusal can come, and reset the connection, before all is written.
    let _ = client.write_all(request.as_ref());
    client
}

#[track_caller]
fn answer(mut client: TcpStream) -> String {
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

#[track_caller]
fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> String {
    answer(open(address, request))
}

fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    status.unwrap_or(0)
}

#[track_caller]
fn assert_refused(answer: &str, expected: u16, request: &str) {
    let request = &request[..request.len().min(80)];
    assert_eq!(status(answer), expected, "{request:?} got {answer:?}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nContent-Type: application/json\r\n"));
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
    assert!(head.ends_with("\r\nConnection: close"));
    assert!(body.starts_with(r#"{"error":""#) && body.ends_with(r#""}"#));
}

#[track_caller]
fn assert_served(address: SocketAddr) {
    assert_eq!(status(&ask(address, GOOD)), 200);
}

/// Returns once the other side has closed.
#[track_caller]
fn await_end(mut client: &TcpStream) {
    let _ = client
        .read(&mut [0; 1024])
        .map(|count| assert_eq!(count, 0));
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn with_headers(headers: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
}

#[test]
fn bad_framing_is_refused_and_never_handed_in() {
    let (served, count) = serve_echo();
    let cases = [
        (501, "TRACE / HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (501, "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (501, "get / HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (400, "G(T / HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (400, "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (400, "GET * HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (400, "GET /\u{e4} HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (400, "GET  / HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (400, "\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (
            414,
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(4096)),
        ),
        (
            431,
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(9000)),
        ),
        (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into()),
        (505, "GET / HTTP/2.0\r\nHost: x\r\n\r\n".into()),
        (505, "GET / HTTP/1.2\r\nHost: x\r\n\r\n".into()),
        (400, "GET /\r\n\r\n".into()),
        (400, "GET / HTTP/1.1\r\n\r\n".into()),
        (400, with_headers("Host: x\r\n")),
        (400, "GET / HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n".into()),
        (400, "GET / HTTP/1.1\nHost: x\n\n".into()),
        (400, "GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n".into()),
        (400, with_headers("Accept: a\r\n folded\r\n")),
        (400, with_headers("Accept : a\r\n")),
        (400, with_headers("Accept\r\n")),
        (400, with_headers("Accept: a\0b\r\n")),
        (400, with_headers("Ignored: a\u{1}b\r\n")),
        (400, with_headers("Accept: a\tb\r\n")),
        (400, with_headers("Authorization: \u{e4}\r\n")),
        (
            400,
            with_headers("Authorization: a\r\nAuthorization: b\r\n"),
        ),
        (431, with_headers(&"A: b\r\n".repeat(64))),
        (431, with_headers(&format!("A: {}\r\n", "b".repeat(8192)))),
        (411, with_headers("Transfer-Encoding: chunked\r\n")),
        (
            411,
            with_headers("Content-Length: 1\r\nTransfer-Encoding: identity\r\n"),
        ),
        (
            417,
            with_headers("Expect: 100-continue\r\nContent-Length: 1\r\n"),
        ),
        (
            400,
            with_headers("Content-Length: 1\r\nContent-Length: 1\r\n"),
        ),
        (
            400,
            with_headers("Content-Length: 0\r\nContent-Length: 1\r\n"),
        ),
        (400, with_headers("Content-Length: -1\r\n")),
        (400, with_headers("Content-Length: +1\r\n")),
        (400, with_headers("Content-Length: 1, 1\r\n")),
        (400, with_headers("Content-Length:\r\n")),
        (400, with_headers("Content-Length: 0x10\r\n")),
        (413, with_headers("Content-Length: 16385\r\n")),
        (413, with_headers("Content-Length: 8000000000000000000\r\n")),
        (
            413,
            with_headers("Content-Length: 99999999999999999999999999\r\n"),
        ),
    ];
    for (expected, request) in &cases {
        assert_refused(&ask(served.address, request), *expected, request);
    }
    assert_refused(
        &ask(served.address, b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n"),
        400,
        "\\xff",
    );
    assert_refused(
        &ask(served.address, b"\x16\x03\x01\x02\x00\x01"),
        400,
        "a TLS hello",
    );
    assert_eq!(count.load(Ordering::SeqCst), 0);
    assert_served(served.address);
}

#[test]
fn only_checked_parts_are_passed_on() {
    let (served, _) = serve_echo();
    let request = "PUT /a?b=%20 HTTP/1.1\r\nhOST: x:1\r\nAccept: a\r\nAccept: b\r\nX-Evil: 1\r\n\
                   Connection: keep-alive, Upgrade\r\nUpgrade: h2c\r\nOrigin:\r\nCookie: \u{e4}\r\n\
                   Authorization:  Bearer t \r\nContent-Type: text/plain\r\n\
                   Content-Length: 0004\r\n\r\nbodyGET /ok";
    let answer = ask(served.address, request);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nConnection: close\r\n"));
    let expected = "PUT /a?b=%20\nhOST: x:1\nAccept: a\nAccept: b\nOrigin: \n\
                    Authorization: Bearer t\nContent-Type: text/plain\nContent-Length: 4\n\
                    Connection: close\nbody";
    assert_eq!(body, expected);
}

#[test]
fn every_known_method_and_http_1_0_reach_the_handler() {
    let (served, _) = serve_echo();
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = ask(served.address, format!("{method} / HTTP/1.0\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\nConnection: close\r\n"));
        assert!(
            answer.contains(&format!("\r\n\r\n{method} /\n")),
            "{answer}"
        );
    }
}

#[test]
fn the_largest_request_fits() {
    let (served, _) = serve_echo();
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 16384\r\nAccept: \r\n\r\n";
    let accept = "a".repeat(8192 - head.len());
    let head = head.replace("Accept: ", &format!("Accept: {accept}"));
    let answer = ask(served.address, head + &"b".repeat(16384));
    assert_eq!(status(&answer), 200);
    assert!(answer.contains(&accept) && answer.contains(&"b".repeat(8000)));
}

#[test]
fn head_has_no_body_be_it_answered_or_refused() {
    let (served, _) = serve_echo();
    for (request, expected) in [
        ("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("HEAD / HTTP/1.1\r\n\r\n", 400),
    ] {
        let answer = ask(served.address, request);
        assert_eq!(status(&answer), expected);
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }
}

#[test]
fn slow_and_held_requests_end_at_the_deadline_while_others_are_served() {
    let (served, count) = serve_echo();
    let start = Instant::now();
    let held = open(
        served.address,
        with_headers("Content-Length: 100\r\n") + "part",
    );
    let silent = open(served.address, "");
    let slow = open(served.address, "GET / HT");
    let mut pen = slow.try_clone().unwrap();
    let writer = thread::spawn(move || {
        while start.elapsed() < PATIENCE && pen.write_all(b"a").is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
    });
    for _ in 0..10 {
        assert_served(served.address);
    }
    assert!(start.elapsed() < Duration::from_secs(4));
    assert_refused(&answer(held), 408, "held");
    assert_refused(&answer(slow), 408, "slow");
    assert_eq!(answer(silent), "");
    assert!(
        start.elapsed() < Duration::from_secs(9),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(count.load(Ordering::SeqCst), 10);
    writer.join().unwrap();
}

#[test]
fn a_request_cut_short_is_refused() {
    let (served, _) = serve_echo();
    for request in ["GET / HTTP/1.1\r\n", &with_headers("Content-Length: 5\r\n")] {
        let client = open(served.address, request);
        client.shutdown(Shutdown::Write).unwrap();
        assert_refused(&answer(client), 400, request);
    }
}

#[test]
fn only_the_first_of_pipelined_requests_is_served() {
    let (served, count) = serve_echo();
    let answer = ask(served.address, GOOD.repeat(100));
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn idle_connections_give_way_the_oldest_first() {
    let (served, _) = serve_echo();
    let start = Instant::now();
    let idle: Vec<_> = (0..300).map(|_| open(served.address, "")).collect();
    for _ in 0..10 {
        let start = Instant::now();
        assert_served(served.address);
        assert!(start.elapsed() < Duration::from_secs(2));
    }
    for evicted in &idle[..284] {
        await_end(evicted);
    }
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "evicted, not timed out"
    );
}

#[test]
fn an_evicted_request_is_not_carried_out() {
    let (served, requests) = serve_parked();
    let mut oldest = open(served.address, "GET / HTTP/1.1\r\n");
    let _idle: Vec<_> = (0..16).map(|_| open(served.address, "")).collect();
    await_end(&oldest);
    let _ = oldest.write_all(b"Host: x\r\n\r\n");
    let client = open(served.address, GOOD);
    assert_eq!(requests.recv_timeout(PATIENCE).unwrap().url(), "/ok");
    drop(client);
    assert!(requests.try_recv().is_err());
}

#[test]
fn waiting_connections_are_not_evicted() {
    let (served, requests) = serve_parked();
    let waiting: Vec<_> = (0..8).map(|_| open(served.address, PARK)).collect();
    let parked: Vec<_> = (0..8)
        .map(|_| requests.recv_timeout(PATIENCE).unwrap())
        .collect();
    let idle: Vec<_> = (0..40).map(|_| open(served.address, "")).collect();
    idle[..24].iter().for_each(await_end);
    for request in parked {
        request.respond(Response::from_string("here")).unwrap();
    }
    for client in waiting {
        assert!(answer(client).ends_with("\r\n\r\nhere"));
    }
}

#[test]
fn the_65th_waiting_gets_503_until_one_is_reset() {
    let (served, requests) = serve_parked();
    let mut waiting: Vec<_> = (0..64).map(|_| open(served.address, PARK)).collect();
    // Their order in the queue may be another than that of the clients.
    let mut parked: Vec<_> = (0..64)
        .map(|_| requests.recv_timeout(PATIENCE).unwrap())
        .collect();
    let answer_65 = ask(served.address, PARK);
    assert_refused(&answer_65, 503, "65th");
    assert!(answer_65.ends_with(r#"{"error":"too many requests are waiting"}"#));

    // One answer begins; closing with some of it unread resets the connection.
    let mut writer = parked.pop().unwrap().into_writer();
    writer.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
    writer.flush().unwrap();
    let mut reset = None;
    eventually("one has its status line", || {
        reset = waiting.iter().position(|client| {
            client.set_nonblocking(true).unwrap();
            let arrived = client.peek(&mut [0]).is_ok();
            client.set_nonblocking(false).unwrap();
            arrived
        });
        reset.is_some()
    });
    drop(waiting.remove(reset.unwrap()));
    let mut next = None;
    eventually("its place is free", || {
        let client = open(served.address, PARK);
        let taken = requests.recv_timeout(SOON);
        next = taken.ok().map(|request| (client, request));
        next.is_some()
    });
    let (client, request) = next.unwrap();
    waiting.push(client);
    parked.push(request);
    for request in parked {
        request.respond(Response::from_string("here")).unwrap();
    }
    for client in waiting {
        assert_eq!(status(&answer(client)), 200);
    }
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    let (served, requests) = serve_parked();
    let client = open(served.address, PARK);
    client.shutdown(Shutdown::Write).unwrap();
    let request = requests.recv_timeout(PATIENCE).unwrap();
    // Nothing to await here: it is a second in which nothing may happen.
    thread::sleep(Duration::from_millis(1500));
    request.respond(Response::from_string("here")).unwrap();
    assert!(answer(client).ends_with("\r\n\r\nhere"));
}

#[test]
fn an_answer_is_relayed_as_it_is_written() {
    let (served, requests) = serve_parked();
    let mut client = BufReader::new(open(served.address, PARK));
    let mut writer = requests.recv_timeout(PATIENCE).unwrap().into_writer();
    let mut line = String::new();
    for sent in [
        "HTTP/1.1 ",
        "200 OK\r\n",
        "\r\n",
        "{\"layer\":1}\n",
        "{\"layer\":2}\n",
    ] {
        writer.write_all(sent.as_bytes()).unwrap();
        writer.flush().unwrap();
        if sent.ends_with('\n') {
            client.read_line(&mut line).unwrap();
            assert!(line.ends_with(sent));
        }
        if line.ends_with("200 OK\r\n") {
            client.read_line(&mut line).unwrap();
        }
    }
    drop(writer);
    assert_eq!(client.read_line(&mut line).unwrap(), 0);
    let expected = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"layer\":1}\n{\"layer\":2}\n";
    assert_eq!(line, expected);
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let (served, requests) = serve_parked();
    let client = open(served.address, PARK);
    let request = requests.recv_timeout(PATIENCE).unwrap();
    let start = Instant::now();
    request
        .respond(Response::from_data(vec![b'a'; 64 << 20]))
        .unwrap();
    let taken = start.elapsed();
    assert!(
        taken > Duration::from_secs(4) && taken < Duration::from_secs(33),
        "{taken:?}"
    );
    drop(client);
}

#[test]
fn a_request_dropped_or_panicked_over_is_answered_500_and_serving_goes_on() {
    let served = serve(|request| match request.url() {
        "/ok" => request.respond(Response::from_string("ok")).unwrap(),
        "/drop" => {}
        _ => panic!("on purpose"),
    });
    for _ in 0..5 {
        for path in ["panic", "drop"] {
            let request = format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_eq!(status(&ask(served.address, request)), 500);
        }
        assert_served(served.address);
    }
}

#[test]
fn stopping_ends_serve_and_frees_the_port() {
    let (served, _) = serve_echo();
    let address = served.address;
    assert_served(address);
    let _idle = open(address, "");
    drop(served);
    assert!(TcpStream::connect(address).is_err());
}

/// The process that the tests below attack: not a test by itself.
#[test]
fn host() {
    if std::env::var_os(HOST).is_none() {
        return;
    }
    log::set_logger(&Replacements).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let parked = Arc::new(Mutex::new(Vec::new()));
    let parking = Arc::clone(&parked);
    let served = serve(move |request| match request.url() {
        "/park" => parking.lock().unwrap().push(request),
        "/replaced" => {
            let count = REPLACED.load(Ordering::SeqCst);
            drop(request.respond(Response::from_string(count.to_string())));
        }
        _ => drop(request.respond(Response::from_string("ok"))),
    });
    println!("guard at {}", served.address);
    for line in std::io::stdin().lines() {
        assert_eq!(line.unwrap(), "release");
        parked.lock().unwrap().drain(..).for_each(drop);
    }
    std::process::exit(0);
}

static REPLACED: AtomicUsize = AtomicUsize::new(0);

/// Counts the inner servers that were replaced.
struct Replacements;

impl log::Log for Replacements {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let replaced = record.args().to_string().contains("was replaced");
        REPLACED.fetch_add(usize::from(replaced), Ordering::SeqCst);
    }

    fn flush(&self) {}
}

/// A guard in a process of its own; it ends with its standard input.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(descriptors: u32) -> Self {
        let test = module_path!()
            .split_once("::")
            .map_or("host".to_owned(), |(_, path)| format!("{path}::host"));
        let script = format!("ulimit -n {descriptors} && exec \"$0\" --exact {test} --nocapture");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .arg(std::env::current_exe().unwrap())
            .env(HOST, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address =
            lines.find_map(|line| Some(line.unwrap().split_once("guard at ")?.1.parse().unwrap()));
        let address = address.expect("the host must say where it is");
        Self { child, address }
    }

    fn release(&mut self) {
        self.child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(b"release\n")
            .unwrap();
    }

    /// Threads, descriptors and resident KiB.
    #[cfg(target_os = "linux")]
    fn use_of(&self) -> (usize, usize, usize) {
        let directory = format!("/proc/{}", self.child.id());
        let status = std::fs::read_to_string(format!("{directory}/status")).unwrap();
        let number = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap();
            line.trim_end_matches("kB").trim().parse().unwrap()
        };
        let descriptors = std::fs::read_dir(format!("{directory}/fd"))
            .unwrap()
            .count();
        (number("Threads:"), descriptors, number("VmRSS:"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_that_ran_out_of_descriptors_is_replaced() {
    let mut process = Process::start(40);
    // A waiting request takes four descriptors, two of them tiny_http's. With the idle ones first
    // it is each of the four that is missing once; two of them kill the inner server.
    for idle in 0..4 {
        let idle: Vec<_> = (0..idle).map(|_| open(process.address, "")).collect();
        let waiting: Vec<_> = (0..16).map(|_| open(process.address, PARK)).collect();
        // One refusal or hang-up shows that the end was reached.
        eventually("descriptors have run out", || {
            waiting.iter().any(|client| {
                client
                    .set_read_timeout(Some(Duration::from_millis(10)))
                    .unwrap();
                client.peek(&mut [0]).is_ok()
            })
        });
        drop((idle, waiting));
        eventually("it serves again", || {
            process.release();
            let mut client = open(process.address, GOOD);
            let mut answer = String::new();
            client
                .set_read_timeout(Some(Duration::from_secs(2)))
                .unwrap();
            client.read_to_string(&mut answer).is_ok() && status(&answer) == 200
        });
        process.release();
        for _ in 0..10 {
            assert_served(process.address);
        }
    }
    let replaced = ask(process.address, GOOD.replace("/ok", "/replaced"));
    let replaced: usize = replaced.split("\r\n\r\n").nth(1).unwrap().parse().unwrap();
    // It may die again while descriptors are short, but many of the 64 clients found it dead at once.
    assert!((1..=24).contains(&replaced), "{replaced}");
}

#[cfg(target_os = "linux")]
#[test]
fn floods_leave_nothing_behind() {
    let mut process = Process::start(512);
    assert_served(process.address);
    let (threads, descriptors, memory) = process.use_of();
    let mut peak = 0;
    for _ in 0..200 {
        let address = process.address;
        drop(open(address, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
        drop(open(
            address,
            with_headers("Content-Length: 8000000000000000000\r\n"),
        ));
        drop(open(address, with_headers("Content-Length: 100\r\n")));
        drop(open(
            address,
            "GET / HTTP/1.1\r\nHost: x\r\nA: ".to_owned() + &"a".repeat(20_000),
        ));
        // An answer that has come but was not read makes closing a reset.
        let reset = open(address, GOOD);
        assert!(reset.peek(&mut [0]).is_ok());
        drop(reset);
        peak = peak.max(process.use_of().0);
    }
    let waiting: Vec<_> = (0..64).map(|_| open(process.address, PARK)).collect();
    eventually("they wait", || {
        // It may overtake one of the 64 and wait in its place; that one is refused then.
        let mut client = open(process.address, PARK);
        client.set_read_timeout(Some(SOON)).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).is_ok() && status(&answer) == 503
    });
    peak = peak.max(process.use_of().0);
    drop(waiting);
    assert!(peak <= threads + 96 + 70, "{peak} threads");
    eventually("threads and descriptors are given back", || {
        // Some may have been on their way to the handler when it was last told.
        process.release();
        let now = process.use_of();
        now.0 <= threads && now.1 <= descriptors
    });
    assert_served(process.address);
    let after = process.use_of().2;
    assert!(after < memory + 4096, "from {memory} to {after} KiB");
}
