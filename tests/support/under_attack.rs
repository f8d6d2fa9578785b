//! The program under attack: watching an image, before an Engine and a registry that are fakes, and
//! asked by good clients how it is.

use super::Folder;
use super::attack::HIDDEN;
use super::attack::TOKEN;
use super::eventually;
use super::program::Program;
use super::pulled_image;
use super::server::Answer;
use super::server::Server;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// Descriptors that any attack would take, if it were let.
pub(crate) const FEW: u32 = 100;
/// A good client that has no answer by now has been left alone.
const PATIENCE: Duration = Duration::from_secs(2);
/// A round that begins this long after the one before it is late: a second, and what a good client
/// may have to wait too.
const LATE: Duration = Duration::from_secs(3);
/// Connections that the Engine's client may keep for later, whoever was there.
const KEPT: usize = 3;
/// Threads that tiny_http may keep for later, with the one that accepts and the one that handles: all of
/// them have the name of the last. Of those that wait for work it keeps four at most (`MIN_THREADS`), and
/// fewer if several have been idle at the same time: how many there are at one time says nothing of another.
const SERVING: usize = 6;
const SERVING_NAME: &str = "admin";
/// How long threads and descriptors may take to be given back.
const GIVE_BACK: Duration = Duration::from_secs(60);
/// Between two questions of a good client.
const PAUSE: Duration = Duration::from_millis(100);

/// The program and its surroundings.
pub(crate) struct UnderAttack {
    pub(crate) program: Program,
    engine: Server,
    /// When each round began.
    rounds: Arc<Mutex<Vec<Instant>>>,
    _registry: Server,
    _folder: Folder,
}

/// What there was to see in some time.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// How long `/health` took, the quickest first.
    pub(crate) health: Vec<Duration>,
    /// How long a refresh took, the quickest first.
    pub(crate) refresh: Vec<Duration>,
    /// Good clients that had no answer in time.
    pub(crate) left_alone: usize,
    /// What good clients got that they should not have.
    pub(crate) failures: Vec<String>,
    pub(crate) rounds: usize,
    pub(crate) late: usize,
    /// The most memory there was, in bytes, and what else it took then and then.
    pub(crate) pss: u64,
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
}

/// What the program holds at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// How many of each name there are.
    threads: BTreeMap<String, usize>,
    descriptors: usize,
}

impl Held {
    fn by(program: &Program) -> Self {
        let mut threads = BTreeMap::new();
        for name in program.thread_names() {
            *threads.entry(name).or_default() += 1;
        }
        Self {
            threads,
            descriptors: program.descriptors(),
        }
    }

    /// Whether it is no more than at rest, of any kind.
    fn is_within(&self, at_rest: &Self) -> bool {
        let may_be = |name: &str| match name {
            SERVING_NAME => SERVING,
            _ => at_rest.threads.get(name).copied().unwrap_or_default(),
        };
        let mut threads = self.threads.iter();
        threads.all(|(name, count)| *count <= may_be(name))
            && self.descriptors <= at_rest.descriptors + KEPT
    }
}

/// Attacks compete for the processors, so there is one at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl UnderAttack {
    /// Starts it; it may have so many descriptors open, or as many as everybody.
    pub(crate) fn start(binary: &str, descriptors: Option<u32>) -> Self {
        let rounds = Arc::<Mutex<Vec<Instant>>>::default();
        let seen = Arc::clone(&rounds);
        let registry = Server::tcp(move |_| {
            seen.lock().expect("no panic").push(Instant::now());
            let digest = format!("sha256:{}", "a".repeat(64));
            Answer::new(200, &[("Docker-Content-Digest", &digest)], "")
        });
        let folder = Folder::new();
        let socket = folder.path().join("engine.sock");
        let engine = Server::unix(&socket, |seen| match seen.target.as_str() {
            "/_ping" => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
            "/v1.41/version" => Answer::json(200, &json!({"Version": "20.10.24"})),
            "/v1.41/containers/json?all=1" => Answer::json(200, &json!([])),
            other if other.contains("/images/create?") => {
                Answer::new(200, &[], "{\"status\":\"ok\"}\n")
            }
            other if other.contains("/images/") => {
                Answer::json(200, &pulled_image("sha256:x", other))
            }
            other => panic!("unexpected: {other}"),
        });
        let host = format!("unix://{}", socket.display());
        let image = format!("{}/acme/{{runtime}}:latest", registry.host());
        let runtimes = format!("hermes,{HIDDEN}");
        let vars = [
            ("DOCKER_HOST", host.as_str()),
            ("IMAGE_AUTO_REFRESH", "true"),
            ("IMAGEWATCH_INTERVAL", "1s"),
            ("IMAGEWATCH_IMAGE", &image),
            ("IMAGEWATCH_RUNTIMES", &runtimes),
            ("IMAGEWATCH_LOG", "info"),
            ("ADMIN_TOKEN", TOKEN),
            // The C library of tests keeps memory for each of many threads; that of releases does not.
            ("MALLOC_ARENA_MAX", "1"),
        ];
        let program = match descriptors {
            None => Program::start_binary(binary, &vars),
            Some(most) => Program::start_limited(binary, most, &vars),
        };
        Self {
            program,
            engine,
            rounds,
            _registry: registry,
            _folder: folder,
        }
    }

    /// Has good clients at work for this long.
    pub(crate) fn observe(&self, time: Duration) -> Observed {
        let host: SocketAddr = self.program.host().parse().expect("an address");
        let until = Instant::now() + time;
        let seen = self.beginnings().len();
        let mut observed = Observed::default();
        let health = thread::spawn(move || repeat(until, || health(host)));
        let refresh = thread::spawn(move || repeat(until, || refresh(host)));
        while Instant::now() < until {
            observed.pss = observed.pss.max(self.program.memory("Pss:"));
            observed.threads = observed.threads.max(self.program.threads());
            observed.descriptors = observed.descriptors.max(self.program.descriptors());
            thread::sleep(PAUSE);
        }
        for (what, times, client) in [
            ("health", &mut observed.health, health),
            ("refresh", &mut observed.refresh, refresh),
        ] {
            let (all, left_alone, failures) = client.join().expect("no panic");
            observed.left_alone += left_alone;
            *times = all;
            times.sort();
            observed.failures.extend(
                failures
                    .into_iter()
                    .map(|failure| format!("{what}: {failure}")),
            );
        }
        // From the last one before to the end, which is the beginning of none.
        let mut beginnings = self.beginnings().split_off(seen.saturating_sub(1));
        observed.rounds = beginnings.len() - 1;
        beginnings.push(Instant::now());
        let gaps = beginnings.windows(2).map(|two| two[1] - two[0]);
        observed.late = gaps.filter(|gap| *gap > LATE).count();
        observed
    }

    /// When each round began: with the look-up of its first reference.
    fn beginnings(&self) -> Vec<Instant> {
        self.rounds
            .lock()
            .expect("no panic")
            .iter()
            .step_by(2)
            .copied()
            .collect()
    }

    /// Its threads and descriptors when good clients have been there and are gone.
    pub(crate) fn at_rest(&self) -> Held {
        self.observe(Duration::from_secs(1));
        // tiny_http keeps threads that it does not need for five seconds.
        let mut seen = Held::by(&self.program);
        let mut since = Instant::now();
        eventually("nothing changes any more", || {
            let now = Held::by(&self.program);
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            (since.elapsed() > Duration::from_secs(6)).then(|| seen.clone())
        })
    }

    /// How long it takes until it needs no more threads and descriptors than this again.
    pub(crate) fn recovered(&self, at_rest: &Held) -> Duration {
        let begun = Instant::now();
        loop {
            let now = Held::by(&self.program);
            if now.is_within(at_rest) {
                return begun.elapsed();
            }
            assert!(
                begun.elapsed() < GIVE_BACK,
                "not given back: {now:?}, but before {at_rest:?}"
            );
            thread::sleep(PAUSE);
        }
    }

    /// Whether a request that was hidden in another one has been carried out.
    pub(crate) fn was_deceived(&self) -> bool {
        let pull = |line: &String| line.contains("/images/create?") && line.contains(HIDDEN);
        self.engine.lines().iter().any(pull)
    }
}

/// Asks again and again: how long the good answers took, how many came too late or never, and what
/// was no good answer.
fn repeat(
    until: Instant,
    ask: impl Fn() -> Result<(), String>,
) -> (Vec<Duration>, usize, Vec<String>) {
    let (mut times, mut left_alone, mut failures) = (Vec::new(), 0, Vec::new());
    while Instant::now() < until {
        let begun = Instant::now();
        let outcome = ask();
        let taken = begun.elapsed();
        match outcome {
            _ if taken > PATIENCE => left_alone += 1,
            Ok(()) => times.push(taken),
            Err(why) => failures.push(format!("{why} after {taken:?}")),
        }
        thread::sleep(PAUSE);
    }
    (times, left_alone, failures)
}

fn health(host: SocketAddr) -> Result<(), String> {
    expect(ask(host, "GET /health")?, &json!({"status": "ok"}))
}

fn refresh(host: SocketAddr) -> Result<(), String> {
    let answer = ask(host, "POST /admin/workspace-images/refresh?runtime=hermes")?;
    let report = json!({"pulled": ["hermes"], "failed": [], "recreated": [], "unchanged": [],
                        "rolled_back": [], "skipped": []});
    expect(answer, &report)
}

fn expect(answer: String, expected: &Value) -> Result<(), String> {
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    match serde_json::from_str::<Value>(body) {
        Ok(seen) if seen == *expected && answer.starts_with("HTTP/1.1 200 ") => Ok(()),
        _ => Err(format!("{answer:?}")),
    }
}

/// One request over a connection of its own, like curl's.
fn ask(host: SocketAddr, line: &str) -> Result<String, String> {
    let ask = || {
        let mut client = TcpStream::connect_timeout(&host, PATIENCE)?;
        client.set_read_timeout(Some(PATIENCE))?;
        write!(
            client,
            "{line} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n\r\n"
        )?;
        let mut answer = String::new();
        client.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().map_err(|error: std::io::Error| error.to_string())
}

#[test]
fn one_thread_or_descriptor_too_many_of_any_kind_is_noticed() {
    let held = |admin, watcher, leaked, descriptors| {
        let threads = [("admin", admin), ("watcher", watcher), ("leaked", leaked)];
        let threads = threads.map(|(name, count)| (name.to_owned(), count));
        let threads = threads.into_iter().filter(|(_, count)| *count > 0);
        Held {
            threads: threads.collect(),
            descriptors,
        }
    };
    // tiny_http had given back its threads, all but the one that accepts.
    let at_rest = held(2, 1, 0, 12);
    for (now, expected) in [
        (held(2, 1, 0, 12), true),
        (held(2, 0, 0, 12), true),
        (held(SERVING, 1, 0, 12 + KEPT), true),
        (held(SERVING + 1, 1, 0, 12), false),
        (held(2, 2, 0, 12), false),
        (held(2, 1, 1, 12), false),
        (held(2, 1, 0, 12 + KEPT + 1), false),
    ] {
        assert_eq!(now.is_within(&at_rest), expected, "{now:?}");
    }
}
