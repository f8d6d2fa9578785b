//! How long a container is down in a swap, beside a bare stop and start of the same container.
//!
//! `scripts/bench.sh` runs it against a private Engine. Both are measured in turns in one run, so
//! that a busy machine slows both; what counts is the ratio, which is to be at most 1.1.

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests need the rest")]
mod support;

use serde_json::json;
use std::time::Duration;
use std::time::Instant;
use support::docker::Docker;
use support::images::ImageSpec;
use support::images::Registry;
use support::program::Program;

const ROUNDS: usize = 15;

fn main() {
    let Ok(socket) = std::env::var("LAB_ENGINE") else {
        println!("left out: there is no Engine (scripts/bench.sh brings one)");
        return;
    };
    let docker = Docker::new(&socket);
    let registry = Registry::start();
    let prefix = format!("bench{}-", support::unique());
    let reference = format!("{}/bench/web:latest", registry.host());
    let name = format!("{prefix}web");
    registry.publish("bench/web", "latest", &ImageSpec::new("v0"));
    let path = format!(
        "/images/create?fromImage={}&tag=latest",
        reference.trim_end_matches(":latest").replace('/', "%2F")
    );
    docker.ask("POST", &path, b"");
    docker.run(&name, &json!({"Image": reference, "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1"}]}}}));
    let host = format!("unix://{socket}");
    let image = format!("{}/bench/{{runtime}}:latest", registry.host());
    let program = Program::start(&[
        ("DOCKER_HOST", &host),
        ("IMAGEWATCH_IMAGE", &image),
        ("IMAGEWATCH_RUNTIMES", "web"),
        ("IMAGEWATCH_PREFIX", &prefix),
        ("IMAGEWATCH_SETTLE", "1s"),
    ]);
    let (mut swaps, mut bare) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        registry.publish("bench/web", "latest", &ImageSpec::new(&format!("v{round}")));
        let (_, report) = program.refresh("");
        assert_eq!(report["recreated"], json!([name]), "{report}");
        let line = program
            .await_lines("recreated container=", round)
            .pop()
            .expect("a line");
        swaps.push(downtime(&line));
        let begun = Instant::now();
        docker.ask("POST", &format!("/containers/{name}/stop"), b"");
        docker.ask("POST", &format!("/containers/{name}/start"), b"");
        bare.push(begun.elapsed());
    }
    docker.clean(&prefix, registry.host());
    let (swap, bare) = (median(&mut swaps), median(&mut bare));
    println!("downtime, median of {ROUNDS}, of a container that stops at once");
    println!("  swap                {:>7.1} ms", swap.as_secs_f64() * 1e3);
    println!("  bare stop + start   {:>7.1} ms", bare.as_secs_f64() * 1e3);
    println!(
        "  ratio               {:>7.2}",
        swap.as_secs_f64() / bare.as_secs_f64()
    );
}

/// The log line's `downtime=340.9ms` or `downtime=1.2s`.
fn downtime(line: &str) -> Duration {
    let (_, text) = line.rsplit_once("downtime=").expect("a downtime");
    let number = |text: &str| text.trim().parse::<f64>().expect("a number");
    let seconds = match text.trim().strip_suffix("ms") {
        Some(millis) => number(millis) / 1e3,
        None => number(text.trim().trim_end_matches('s')),
    };
    Duration::from_secs_f64(seconds)
}

fn median(values: &mut [Duration]) -> Duration {
    values.sort();
    values[values.len() / 2]
}
