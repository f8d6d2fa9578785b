//! Thousands of containers, with a fake Engine and a fake registry: quiet rounds of 1 to 2,000 references, a hundred
//! updates among 2,000 containers, and the memory of a refresh.
//!
//! `LAB_BINARY` is the static binary (`scripts/bench.sh` builds it). Arguments choose parts: `rounds`, `updates`,
//! `memory`.

#[path = "../../tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests need the rest")]
mod support;

mod memory;
mod rounds;
mod updates;

use support::crowd::Crowd;
use support::program::Program;

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let chosen: Vec<&str> = chosen.iter().map(String::as_str).collect();
    let chosen = chosen.into_iter().filter(|word| !word.starts_with("--"));
    let chosen: Vec<&str> = chosen.collect();
    let all: [(&str, fn()); 3] = [
        ("rounds", rounds::measure),
        ("updates", updates::measure),
        ("memory", memory::measure),
    ];
    for (name, measure) in all {
        if chosen.is_empty() || chosen.contains(&name) {
            println!("\n{name}");
            measure();
        }
    }
}

/// The program on such a crowd, with these variables more.
fn start(crowd: &Crowd, more: &[(&str, &str)]) -> Program {
    let binary = std::env::var("LAB_BINARY");
    let binary = binary.as_deref();
    let binary = binary.unwrap_or(env!("CARGO_BIN_EXE_imagewatch"));
    let mut vars = vec![
        ("DOCKER_HOST", crowd.socket()),
        ("IMAGEWATCH_RUNTIMES", "none"),
        ("IMAGEWATCH_SELECT", "all"),
        ("IMAGEWATCH_LOG", "info"),
    ];
    vars.extend_from_slice(more);
    Program::start_binary(binary, &vars)
}

/// Bytes as megabytes.
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
