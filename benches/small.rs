//! What the program weighs, beside the least that any Rust program can: one, built the same way, that
//! says one line and sleeps. Both are measured in one run, so that the machine does not matter; what
//! counts is the ratio.
//!
//! `LAB_BINARY` names the static binary (`scripts/bench.sh` builds it).

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests need the rest")]
mod support;

use serde_json::json;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;
use support::Folder;
use support::program::Program;
use support::pulled_image;
use support::server::Answer;
use support::server::Server;

/// As many as there are runtimes.
const REFERENCES: usize = 8;
const ROUNDS: usize = 20;
const STARTS: usize = 15;
/// The line by which [`Program`] knows that it is there.
const SLEEPER: &str = r#"
fn main() {
    eprintln!("listening on nothing");
    loop {
        std::thread::sleep(std::time::Duration::from_secs(3600));
    }
}
"#;

fn main() {
    let Ok(binary) = std::env::var("LAB_BINARY") else {
        println!("left out: there is no static binary (scripts/bench.sh builds it)");
        return;
    };
    let folder = Folder::new();
    let sleeper = build(&folder);
    let (ours, least) = (Weight::of(&binary, true), Weight::of(&sleeper, false));
    println!(
        "{:<34} {:>12} {:>12} {:>7}",
        "", "imagewatch", "sleeper", "ratio"
    );
    row("binary, bytes", ours.size, least.size);
    row("scratch image, bytes unpacked", ours.size, least.size);
    row("PSS, kB", ours.pss / 1024.0, least.pss / 1024.0);
    row(
        "of that not from the binary, kB",
        ours.anonymous / 1024.0,
        least.anonymous / 1024.0,
    );
    row("RSS, kB", ours.rss / 1024.0, least.rss / 1024.0);
    row("threads", ours.threads, least.threads);
    row("descriptors", ours.descriptors, least.descriptors);
    row("start until it listens, ms", ours.start, least.start);
    row("CPU a round of 8 look-ups, ms", ours.cpu, least.cpu);
}

fn row(what: &str, ours: f64, least: f64) {
    let digits = usize::from(ours.fract() > 0.0);
    let ratio = match least > 0.0 {
        true => format!("{:.1}", ours / least),
        false => "-".to_owned(),
    };
    println!("{what:<34} {ours:>12.digits$} {least:>12.digits$} {ratio:>7}");
}

/// The sleeper, with the options of `Cargo.toml` and `.cargo/config.toml`.
fn build(folder: &Folder) -> String {
    let source = folder.write("sleeper.rs", SLEEPER);
    let binary = folder.path().join("sleeper");
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let status = Command::new("rustc")
        .args([
            "--edition=2024",
            "--target",
            &target,
            "-Copt-level=z",
            "-Clto=fat",
        ])
        .args([
            "-Ccodegen-units=1",
            "-Cstrip=symbols",
            "-Clink-arg=-Wl,-z,pack-relative-relocs",
        ])
        .arg("-o")
        .args([binary.as_os_str(), source.as_ref()])
        .status();
    assert!(status.expect("rustc").success());
    binary.to_str().expect("UTF-8").to_owned()
}

/// What one of them costs, in bytes and milliseconds.
struct Weight {
    /// Of the file, which is all that the image on nothing holds.
    size: f64,
    pss: f64,
    anonymous: f64,
    rss: f64,
    threads: f64,
    descriptors: f64,
    start: f64,
    cpu: f64,
}

impl Weight {
    fn of(binary: &str, watches: bool) -> Self {
        let registry = Server::tcp(|_| {
            let digest = format!("sha256:{}", "0123".repeat(16));
            Answer::new(200, &[("Docker-Content-Digest", &digest)], "")
        });
        let folder = Folder::new();
        let socket = folder.path().join("engine.sock");
        let _engine = Server::unix(&socket, |seen| match seen.target.as_str() {
            "/_ping" => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
            "/v1.41/version" => Answer::json(200, &json!({"Version": "20.10.24"})),
            "/v1.41/containers/json?all=1" => Answer::json(200, &json!([])),
            other if other.contains("/images/") => {
                Answer::json(200, &pulled_image("sha256:x", other))
            }
            other => panic!("unexpected: {other}"),
        });
        let host = format!("unix://{}", socket.display());
        let image = format!("{}/acme/{{runtime}}:latest", registry.host());
        let vars = [
            ("DOCKER_HOST", host.as_str()),
            ("IMAGE_AUTO_REFRESH", "true"),
            ("IMAGEWATCH_INTERVAL", "1s"),
            ("IMAGEWATCH_IMAGE", &image),
            ("IMAGEWATCH_LOG", "info"),
        ];
        let start = median((0..STARTS).map(|_| started(binary, &vars)).collect());
        let program = Program::start_binary(binary, &vars);
        let rounds = |count: usize| {
            support::eventually("the rounds", || {
                (!watches || registry.lines().len() >= count * REFERENCES).then_some(())
            });
        };
        rounds(1);
        let before = program.cpu();
        rounds(1 + ROUNDS);
        let cpu = (program.cpu() - before).as_secs_f64() * 1e3 / ROUNDS as f64;
        Self {
            size: std::fs::metadata(binary).expect("the binary").len() as f64,
            pss: program.memory("Pss:") as f64,
            anonymous: program.memory("Anonymous:") as f64,
            rss: program.memory("Rss:") as f64,
            threads: program.threads() as f64,
            descriptors: program.descriptors() as f64,
            start: start.as_secs_f64() * 1e3,
            cpu,
        }
    }
}

/// How long it takes from the call until it listens.
fn started(binary: &str, vars: &[(&str, &str)]) -> Duration {
    let begun = Instant::now();
    let _program = Program::start_binary(binary, vars);
    begun.elapsed()
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort();
    values[values.len() / 2]
}
