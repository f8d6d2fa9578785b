//! What clients of the worst kind do to the admin endpoint: the attackers' side. They work in a
//! process of their own, so that they need no descriptors of whoever measures.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

/// The token that opens the endpoint. Only hidden requests carry it: none of them may be served.
pub(crate) const TOKEN: &str = "t0ken-of-the-siege";
/// What guessed tokens begin with.
pub(crate) const GUESS: &str = "guess-";
/// The runtime of the hidden requests.
pub(crate) const HIDDEN: &str = "hidden";

/// Tells this process that it is an attacker: the attack's name and the address.
const ROLE: &str = "IMAGEWATCH_TEST_ATTACKER";
/// No attacker waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks of an attacker that has nothing to do.
const BEAT: Duration = Duration::from_millis(50);
/// Longer than any limit of the endpoint.
const MUCH: usize = 1 << 20;

/// One kind of attack.
pub(crate) struct Attack {
    /// What is done, in a few words.
    pub(crate) name: &'static str,
    /// How many do it at a time, each on a thread of its own.
    hands: usize,
    /// The most turns each of them takes in a second.
    pace: u32,
    /// What one of them does again and again.
    turn: fn(&mut Attacker),
    /// Whether it fills the kernel's queue of new connections, in which the standard library lets 128
    /// wait. Then a good client's first packet may be lost, whatever the program does; it is sent
    /// again after one second and, if need be, three.
    pub(crate) is_crowd: bool,
}

/// All of them.
pub(crate) const ATTACKS: &[Attack] = &[
    crowd("2,000 idle connections", 4, |one| one.hold(500, b"")),
    crowd("new connections without end", 16, |one| {
        one.held.clear();
        one.hold(1, b"");
    }),
    crowd("new connections, 1,600 kept", 16, |one| {
        one.held.truncate(99);
        one.hold(100, b"");
    }),
    attack("200 slow heads", 4, 20, |one| {
        one.trickle("GET /health HTTP/1.1\r\nHost: x\r\nA: ");
    }),
    attack("200 slow bodies", 4, 20, |one| {
        one.trickle("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 16384\r\n\r\n");
    }),
    attack("200 half-closed connections", 4, 1_000, |one| {
        one.hold(50, b"GET /health HTTP/1.1\r\n");
        if let Some(last) = one.held.front() {
            drop(last.shutdown(Shutdown::Write));
        }
    }),
    attack("heads of 1 MiB", 4, 100, |one| {
        one.pour("GET /health HTTP/1.1\r\nHost: x\r\nA: ");
    }),
    attack("bodies of 1 MiB", 4, 100, |one| {
        let length = if one.turns % 2 == 0 {
            "1048576"
        } else {
            "8000000000000000000"
        };
        one.pour(&format!(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        ));
    }),
    attack("requests hidden in others", 4, 500, Attacker::smuggle),
    attack("1,000 pipelined requests", 4, 50, |one| {
        let many = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000);
        one.hold(10, many.as_bytes());
        one.held.truncate(9);
    }),
    attack("rubbish", 4, 500, |one| {
        let rubbish = one.rubbish();
        drop(one.ask(&rubbish));
    }),
    attack("wrong tokens", 8, 500, Attacker::guess),
    attack("health questions", 8, 1_000, |one| {
        let answer = one.ask(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
        one.expect(
            answer.is_empty()
                || answer.starts_with("HTTP/1.1 200 ")
                || answer.starts_with("HTTP/1.1 503 "),
        );
    }),
    attack("pages that nobody reads", 4, 500, |one| {
        one.held.truncate(49);
        one.hold(50, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    }),
    attack("resets", 4, 500, |one| {
        // The answer has come and is not read: closing is a reset.
        one.hold(1, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
        if let Some(client) = one.held.pop_front() {
            let _ = client.peek(&mut [0]);
        }
    }),
    crowd("everything at once", 16, |one| {
        let other = &ATTACKS[one.turns % (ATTACKS.len() - 1)];
        (other.turn)(one);
    }),
];

/// A row of the table.
const fn attack(name: &'static str, hands: usize, pace: u32, turn: fn(&mut Attacker)) -> Attack {
    Attack {
        name,
        hands,
        pace,
        turn,
        is_crowd: false,
    }
}

/// One that fills the queue of new connections.
const fn crowd(name: &'static str, hands: usize, turn: fn(&mut Attacker)) -> Attack {
    Attack {
        is_crowd: true,
        ..attack(name, hands, 1_000, turn)
    }
}

impl Attack {
    /// Begins it, in a process of its own that ends with what is returned. `arguments` bring this
    /// binary to where it calls [`attack_if_told`].
    pub(crate) fn begin(&self, host: &str, arguments: &[&str]) -> Siege {
        let script =
            "ulimit -n 4096 2>/dev/null || ulimit -n \"$(ulimit -Hn)\"; exec \"$0\" \"$@\"";
        let mut child = Command::new("/bin/sh")
            .args(["-c", script])
            .arg(std::env::current_exe().expect("this binary"))
            .args(arguments)
            .env(ROLE, format!("{host} {}", self.name))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the attackers start");
        let (pen, ink) = (child.stdin.take(), child.stdout.take());
        let mut siege = Siege {
            child,
            pen,
            lines: BufReader::new(ink.expect("their words")),
        };
        siege.await_line("attacking");
        siege
    }
}

/// An attack that goes on.
pub(crate) struct Siege {
    child: Child,
    pen: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

impl Siege {
    /// Ends it: how many turns there were, and how many brought what should not be.
    pub(crate) fn end(mut self) -> (usize, usize) {
        drop(self.pen.take());
        let line = self.await_line("turns ");
        let mut numbers = line.split(' ').map(|word| word.parse().expect("a number"));
        (
            numbers.next().expect("turns"),
            numbers.next().expect("odd ones"),
        )
    }

    /// What stands behind these words.
    fn await_line(&mut self, words: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let length = self.lines.read_line(&mut line).expect("their words");
            assert!(length > 0, "the attackers ended without {words:?}");
            if let Some((_, rest)) = line.trim_end().split_once(words) {
                return rest.to_owned();
            }
        }
    }
}

impl Drop for Siege {
    fn drop(&mut self) {
        drop(self.pen.take());
        let _ = self.child.wait();
    }
}

/// Attacks, if this process was started for that, until its standard input ends; and ends then.
pub(crate) fn attack_if_told() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let (host, name) = role.split_once(' ').expect("a host and a name");
    let host: SocketAddr = host.parse().expect("an address");
    let attack = ATTACKS.iter().find(|attack| attack.name == name);
    let attack = attack.expect("an attack");
    let over = AtomicBool::new(false);
    println!("attacking");
    let (turns, odd) = thread::scope(|scope| {
        let work = || {
            let mut one = Attacker::new(host);
            while !over.load(Ordering::Relaxed) {
                (attack.turn)(&mut one);
                one.turns += 1;
                thread::sleep(Duration::from_secs(1) / attack.pace);
            }
            (one.turns, one.odd)
        };
        let hands: Vec<_> = (0..attack.hands).map(|_| scope.spawn(work)).collect();
        let _ = std::io::stdin().read(&mut [0]);
        over.store(true, Ordering::Relaxed);
        let counts = hands.into_iter().map(|hand| hand.join().expect("no panic"));
        counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    });
    println!("turns {turns} {odd}");
    std::process::exit(0);
}

/// One who attacks.
struct Attacker {
    address: SocketAddr,
    /// The newest first.
    held: VecDeque<TcpStream>,
    turns: usize,
    /// Answers that should not have been.
    odd: usize,
}

impl Attacker {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            held: VecDeque::new(),
            turns: 0,
            odd: 0,
        }
    }

    fn open(&self) -> Option<TcpStream> {
        let client = TcpStream::connect_timeout(&self.address, PATIENCE).ok()?;
        client.set_read_timeout(Some(PATIENCE)).ok()?;
        client.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(client)
    }

    /// Opens one more connection, sends this over it and keeps it, if there are not `most` yet.
    fn hold(&mut self, most: usize, bytes: &[u8]) {
        if self.held.len() >= most {
            return thread::sleep(BEAT);
        }
        if let Some(mut client) = self.open() {
            let _ = client.write_all(bytes);
            self.held.push_front(client);
        }
    }

    /// Keeps 50 requests going that begin like this, a byte at a time.
    fn trickle(&mut self, begin: &str) {
        self.held
            .retain(|mut client| client.write_all(b"a").is_ok());
        while self.held.len() < 50 {
            let Some(mut client) = self.open() else {
                return;
            };
            let _ = client.write_all(begin.as_bytes());
            self.held.push_front(client);
        }
    }

    /// Sends a request that begins like this and goes on for far too long.
    fn pour(&mut self, begin: &str) {
        let mut request = begin.as_bytes().to_vec();
        request.resize(MUCH, b'a');
        let answer = self.ask(&request);
        self.expect(answer.is_empty() || answer.starts_with("HTTP/1.1 4"));
    }

    /// Sends this and answers what comes back; nothing if the connection was closed without a word.
    fn ask(&self, request: &[u8]) -> String {
        let Some(mut client) = self.open() else {
            return String::new();
        };
        let _ = client.write_all(request);
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn expect(&mut self, holds: bool) {
        self.odd += usize::from(!holds);
    }

    /// A token that is none.
    fn guess(&mut self) {
        let answer = self.ask(
            format!(
                "POST /admin/workspace-images/refresh HTTP/1.1\r\nHost: x\r\n\
                 Authorization: Bearer {GUESS}{}\r\n\r\n",
                self.turns
            )
            .as_bytes(),
        );
        let is_401 = answer.starts_with("HTTP/1.1 401 ")
            && answer.ends_with("\r\n\r\n{\"error\":\"invalid admin auth token\"}\n");
        self.expect(answer.is_empty() || is_401);
    }

    /// A request that some parsers take for two, the second of which must not be served.
    fn smuggle(&mut self) {
        let hidden = format!(
            "POST /admin/workspace-images/refresh?runtime={HIDDEN} HTTP/1.1\r\nHost: x\r\n\
             Authorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n\r\n"
        );
        let headers =
            SHAPES[self.turns % SHAPES.len()].replace("LENGTH", &hidden.len().to_string());
        let answer =
            self.ask(format!("POST /health HTTP/1.1\r\nHost: x\r\n{headers}{hidden}").as_bytes());
        self.expect(answer.matches("HTTP/1.1 ").count() <= 1);
    }

    /// Up to 4 KiB of anything, every other time with the look of a request.
    fn rubbish(&self) -> Vec<u8> {
        let random = RandomState::new();
        let length = random.hash_one(0) % 512;
        let words = (1..=length).flat_map(|number| random.hash_one(number).to_le_bytes());
        if self.turns % 2 == 0 {
            return words.collect();
        }
        let begin = b"GET /health HTTP/1.1\r\nHost: x\r\n".iter().copied();
        begin.chain(words).chain(*b"\r\n\r\n").collect()
    }
}

/// How a request hides in another: what stands before it.
const SHAPES: &[&str] = &[
    // It is the body, and then nothing else may be made of it.
    "Content-Length: LENGTH\r\n\r\n",
    "Content-Length: LENGTH\r\nConnection: keep-alive\r\n\r\n",
    "Connection: keep-alive\r\n\r\n",
    "Content-Length: 0\r\nContent-Length: LENGTH\r\n\r\n",
    "Content-Length: LENGTH\r\nContent-Length: 0\r\n\r\n",
    "Content-Length: LENGTH, LENGTH\r\n\r\n",
    "Content-Length: +LENGTH\r\n\r\n",
    "Content-Length: 0xLENGTH\r\n\r\n",
    "Content-Length : LENGTH\r\n\r\n",
    "Content-Length\r\n: LENGTH\r\n\r\n",
    "Content-Length: LENGTH\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n",
    "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "A: b\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "A: b\n\n",
    "A: b\r\n\n",
    "A: b\r\r\n\r\n",
    "A: b\0\r\n\r\n",
    "Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "Expect: 100-continue\r\nContent-Length: LENGTH\r\n\r\n",
    "\r\n",
];
