//! What a quiet round costs with more and more containers: requests to the registry, calls to the
//! Engine, processor time, duration, memory. Everything is to grow with the containers and not
//! faster; registry and Engine are fakes, so that nothing else is measured.

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests need the rest")]
mod support;

use serde_json::Value;
use serde_json::json;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use support::Folder;
use support::program::Program;
use support::server::Answer;
use support::server::Server;

/// Images are shared from here on.
const REFERENCES: usize = 200;

/// How many rounds are measured. The kernel counts time in steps of 10 ms, so that short rounds need many.
fn rounds_of(containers: usize) -> usize {
    if containers <= 8 { 40 } else { 3 }
}

fn main() {
    println!("a quiet round, mean of several; everything on one registry host");
    println!(
        "{:>10} {:>10} {:>6} {:>12} {:>12} {:>8} {:>9} {:>9}",
        "containers",
        "references",
        "HEADs",
        "Engine calls",
        "connections",
        "CPU ms",
        "round ms",
        "PSS kB"
    );
    for containers in [1, 8, 50, 200, 500] {
        measure(containers);
    }
}

/// The Engine's list of so many containers.
fn list(containers: usize, registry: &str) -> Value {
    let entry = |number: usize| {
        let image = format!("{registry}/acme/app{}:latest", number % REFERENCES);
        json!({"Id": format!("{number:064x}"), "Names": [format!("/c{number}")], "Image": image,
               "ImageID": format!("sha256:{:064x}", number % REFERENCES), "State": "running",
               "Status": "Up 3 days", "Command": "serve --port 80", "Created": 1_700_000_000,
               "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8000, "Type": "tcp"}],
               "Labels": {"com.docker.compose.project": "bench", "com.docker.compose.service": "app"},
               "HostConfig": {"NetworkMode": "bench_default"}, "Mounts": [],
               "NetworkSettings": {"Networks": {"bench_default": {"IPAddress": "10.0.0.2"}}}})
    };
    (0..containers).map(entry).collect()
}

/// The digest of them all.
fn digest() -> String {
    format!("sha256:{}", "a".repeat(64))
}

/// What the Engine says of the image that such a call is about.
fn image(target: &str) -> Option<Value> {
    let name = target
        .strip_prefix("/v1.41/images/")?
        .strip_suffix("/json")?;
    let (repository, _) = name.rsplit_once(':')?;
    let (_, number) = repository.rsplit_once("/app")?;
    let number: usize = number.parse().ok()?;
    Some(
        json!({"Id": format!("sha256:{number:064x}"), "RepoTags": [name],
                "RepoDigests": [format!("{repository}@{}", digest())]}),
    )
}

fn measure(containers: usize) {
    let last = Arc::new(Mutex::new(Instant::now()));
    let heads = Arc::new(AtomicUsize::new(0));
    let (for_registry, counted) = (Arc::clone(&last), Arc::clone(&heads));
    let registry = Server::tcp(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        *for_registry.lock().expect("no panic") = Instant::now();
        Answer::new(200, &[("Docker-Content-Digest", &digest())], "")
    });
    let folder = Folder::new();
    let socket = folder.path().join("engine.sock");
    let answer = list(containers, &registry.host());
    // When each round began, and how many look-ups there were before it.
    let begun: Arc<Mutex<Vec<(Instant, usize)>>> = Arc::default();
    let durations: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let (starts, ends) = (Arc::clone(&begun), Arc::clone(&durations));
    let counted_here = Arc::clone(&heads);
    let engine = Server::unix(&socket, move |seen| match seen.target.as_str() {
        "/_ping" => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
        "/v1.41/version" => Answer::json(200, &json!({"Version": "20.10.24"})),
        "/v1.41/containers/json?all=1" => {
            // A round begins with the list; the one before ended with its last look-up.
            let mut starts = starts.lock().expect("no panic");
            if let Some((start, _)) = starts.last() {
                let end = *last.lock().expect("no panic");
                ends.lock()
                    .expect("no panic")
                    .push(end.saturating_duration_since(*start));
            }
            starts.push((Instant::now(), counted_here.load(Ordering::SeqCst)));
            Answer::json(200, &answer)
        }
        // At first sight only: whether what is here is behind.
        target => match image(target) {
            Some(image) => Answer::json(200, &image),
            None => panic!("unexpected: {target}"),
        },
    });
    let host = format!("unix://{}", socket.display());
    let binary = std::env::var("LAB_BINARY");
    let binary = binary
        .as_deref()
        .unwrap_or(env!("CARGO_BIN_EXE_imagewatch"));
    let started = Instant::now();
    let program = Program::start_binary(
        binary,
        &[
            ("DOCKER_HOST", &host),
            ("IMAGE_AUTO_REFRESH", "true"),
            ("IMAGEWATCH_RUNTIMES", "none"),
            ("IMAGEWATCH_SELECT", "all"),
            ("IMAGEWATCH_INTERVAL", "1s"),
            ("IMAGEWATCH_LOG", "info"),
        ],
    );
    let rounds = |count: usize| {
        support::eventually("the rounds", || {
            (begun.lock().expect("no panic").len() >= count).then_some(())
        });
    };
    // The first seeds, and the worker looks for half-done swaps in its time.
    rounds(3);
    support::eventually("its last list for half-done swaps", || {
        (started.elapsed() > Duration::from_secs(6)).then_some(())
    });
    let so_far = begun.lock().expect("no panic").len();
    rounds(so_far + 1);
    let now = || {
        let rounds = begun.lock().expect("no panic");
        let (_, heads) = rounds.last().expect("a round");
        (program.cpu(), *heads, engine.lines().len(), rounds.len())
    };
    let before = now();
    let count = rounds_of(containers);
    rounds(before.3 + count);
    let after = now();
    let per_round = |before: usize, after: usize| (after - before) as f64 / count as f64;
    let durations = durations.lock().expect("no panic");
    let recent = &durations[durations.len() - count..];
    let mean = recent.iter().sum::<Duration>() / u32::try_from(count).expect("a few");
    println!(
        "{containers:>10} {:>10} {:>6} {:>12} {:>12} {:>8.2} {:>9.1} {:>9}",
        containers.min(REFERENCES),
        per_round(before.1, after.1),
        per_round(before.2, after.2),
        registry.connections(),
        (after.0 - before.0).as_secs_f64() * 1e3 / count as f64,
        mean.as_secs_f64() * 1e3,
        program.memory("Pss:") / 1024
    );
}
