//! What the static binary may weigh. `LAB_BINARY` is its path; without it these tests say that
//! they were left out (`scripts/test.sh` builds it and runs them).

use crate::support::Folder;
use crate::support::crowd::Crowd;
use crate::support::program::Program;
use crate::support::pulled_image;
use crate::support::server::Answer;
use crate::support::server::Server;
use crate::support::tls::Authority;
use serde_json::json;
use std::io::Write;
use std::sync::Once;
use std::time::Duration;
use std::time::Instant;

/// Bytes on disk, stripped: the project's budget. A plain build holds paths of the machine, which may be longer
/// elsewhere.
const SIZE: u64 = 3_300_000;
/// Bytes of memory of its own, and its share of what others use too, after 20 rounds.
const PSS: u64 = 3_200_000;
/// Bytes of memory at the peak of a refresh over [`CROWD`] containers, all of it counted.
const REFRESH: u64 = 6_000_000;
const CROWD: usize = 400;
/// Threads at rest: main, `refresh`, `health`, `status`, `listener`, `watcher`; and six of the inner
/// admin server, of which tiny_http always has five.
const THREADS: usize = 12;
/// From its start until it listens, the quickest of some: on a quiet machine it is a few milliseconds.
const START: Duration = Duration::from_millis(100);
/// The whole catalogue, which is watched by name only.
const RUNTIMES: &str = "claude-code,langgraph,crewai,autogen,deepagents,hermes,gemini-cli,openclaw";
/// Rounds before the memory is looked at.
const ROUNDS: usize = 20;

fn binary() -> Option<String> {
    let path = std::env::var("LAB_BINARY").ok();
    if path.is_none() {
        static SAID: Once = Once::new();
        let words = b"left out: the budgets of the static binary (scripts/test.sh checks them)\n";
        SAID.call_once(|| drop(std::io::stderr().write_all(words)));
    }
    path
}

#[test]
fn the_binary_is_static_and_small() {
    let Some(path) = binary() else { return };
    let bytes = std::fs::read(&path).expect("the binary");
    let size = bytes.len() as u64;
    say(&format!("size: {size} bytes of {SIZE}"));
    assert!(size <= SIZE, "{size} bytes are more than {SIZE}");
    assert!(!wants_interpreter(&bytes), "it is not static");
}

#[test]
fn twenty_rounds_of_eight_images_over_tls_stay_small() {
    let Some(path) = binary() else { return };
    let authority = Authority::new();
    let registry = Server::tls(&authority.issue(&["127.0.0.1"]), |seen| {
        if seen.target.starts_with("/token") {
            return Answer::json(200, &json!({"token": "good"}));
        }
        if seen.header("authorization").is_none() {
            let realm = format!("https://{}/token", seen.header("host").expect("a host"));
            let value = format!("Bearer realm=\"{realm}\",service=\"ghcr.io\"");
            return Answer::new(401, &[("WWW-Authenticate", &value)], "");
        }
        let digest = format!("sha256:{}", "0123".repeat(16));
        Answer::new(200, &[("Docker-Content-Digest", &digest)], "")
    });
    let folder = Folder::new();
    let socket = folder.path().join("engine.sock");
    let _engine = Server::unix(&socket, |seen| match seen.target.as_str() {
        "/_ping" => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
        "/v1.41/version" => Answer::json(200, &json!({"Version": "20.10.24"})),
        "/v1.41/containers/json?all=1" => Answer::json(200, &json!([])),
        other if other.contains("/images/") => Answer::json(200, &pulled_image("sha256:x", other)),
        other => panic!("unexpected: {other}"),
    });
    let host = format!("unix://{}", socket.display());
    let image = format!("{}/acme/{{runtime}}:latest", registry.host());
    let ca = folder.write("ca.pem", authority.pem());
    let program = Program::start_binary(
        &path,
        &[
            ("DOCKER_HOST", host.as_str()),
            ("IMAGE_AUTO_REFRESH", "true"),
            ("IMAGEWATCH_INTERVAL", "1s"),
            ("IMAGEWATCH_IMAGE", &image),
            ("IMAGEWATCH_RUNTIMES", RUNTIMES),
            ("SSL_CERT_FILE", &ca),
        ],
    );
    program.await_lines("openclaw: unchanged", ROUNDS);
    let cpu = program.cpu().as_secs_f64() * 1e3 / f64::from(u32::try_from(ROUNDS).expect("a few"));
    say(&format!(
        "processor: {cpu:.1} ms a round, the start included"
    ));
    let pss = program.memory("Pss:");
    for f in [
        "Rss:",
        "Anonymous:",
        "Private_Clean:",
        "Private_Dirty:",
        "Pss_File:",
        "Pss_Anon:",
    ] {
        say(&format!("{f} {}", program.memory(f)));
    }
    say(&format!(
        "memory after {ROUNDS} rounds: PSS {pss} bytes of {PSS}, {} threads",
        program.threads()
    ));
    assert!(pss <= PSS, "{pss} bytes are more than {PSS}");
    assert_eq!(program.threads(), THREADS);
    let lines = registry.lines();
    let heads = lines
        .iter()
        .filter(|line| line.starts_with("HEAD "))
        .count();
    assert!(heads <= 8 * (ROUNDS + 3), "{heads}");
    // On each repository one refused question and one token, and then heads alone. The TLS port
    // was first taken for a plain one.
    assert_eq!(
        lines.iter().filter(|line| line.contains("/token")).count(),
        8
    );
    assert!(
        registry.connections() <= 3,
        "{} connections",
        registry.connections()
    );
}

#[test]
fn a_refresh_over_hundreds_of_containers_stays_small() {
    let Some(path) = binary() else { return };
    let crowd = Crowd::new(CROWD, |number| number % 20);
    let program = Program::start_binary(
        &path,
        &[
            ("DOCKER_HOST", crowd.socket()),
            ("IMAGEWATCH_RUNTIMES", "none"),
            ("IMAGEWATCH_SELECT", "all"),
        ],
    );
    let (status, report) = program.ask("POST", "/v1/update");
    assert_eq!(status, 200, "{report}");
    let unchanged = report["unchanged"].as_array().map_or(0, Vec::len);
    assert_eq!(unchanged, CROWD, "{report}");
    let (peak, each) = (program.peak(), crowd.size_of_inspection());
    say(&format!(
        "peak of a refresh over {CROWD} containers of {each} bytes: {peak} bytes of {REFRESH}"
    ));
    assert!(peak <= REFRESH, "{peak} bytes are more than {REFRESH}");
}

#[test]
fn it_listens_at_once() {
    let Some(path) = binary() else { return };
    let start = || {
        let begun = Instant::now();
        let _program = Program::start_binary(&path, &[("DOCKER_HOST", "unix:///no/such/socket")]);
        begun.elapsed()
    };
    let quickest = (0..10).map(|_| start()).min().expect("some");
    say(&format!("start: {quickest:?} of {START:?}"));
    assert!(quickest <= START, "{quickest:?} is more than {START:?}");
}

/// Whether the file names a dynamic loader: a program header of type `PT_INTERP` (ELF-64).
fn wants_interpreter(elf: &[u8]) -> bool {
    let number = |at: usize, size: usize| {
        let bytes = elf[at..at + size].iter().rev();
        bytes.fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte))
    };
    assert_eq!(&elf[..5], b"\x7fELF\x02", "a 64-bit ELF file");
    let (offset, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|index| number(offset + index * size, 4) == 3)
}

/// Into the log of the run, also when all is well.
fn say(words: &str) {
    let _ = writeln!(std::io::stderr(), "{words}");
}
