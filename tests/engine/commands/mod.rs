//! The commands, from the command line to the exit code.

mod check_and_refresh;
mod plan;
mod serve;

use super::lab::Lab;
use serde_json::Value;
use std::process::Command;
use std::process::Output;

/// The command, with what a test's program gets.
fn command(lab: &Lab, runtimes: &str, arguments: &[&str]) -> Command {
    let image = format!("{}/acme/{{runtime}}:latest", lab.proxy.host());
    let mut command = Command::new(crate::support::program::binary());
    command
        .args(arguments)
        .env_clear()
        .env("DOCKER_HOST", lab.docker_host())
        .env("IMAGEWATCH_IMAGE", image)
        .env("IMAGEWATCH_RUNTIMES", runtimes)
        .env("IMAGEWATCH_PREFIX", &lab.prefix)
        .env("IMAGEWATCH_SELECT", "workspaces")
        .env("IMAGEWATCH_SETTLE", "1s");
    command
}

/// Runs a command to its end: its exit code, its output, and its complaints.
pub(crate) fn run(lab: &Lab, runtimes: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    run_with(lab, runtimes, &[], arguments)
}

/// The same with more variables.
pub(crate) fn run_with(
    lab: &Lab,
    runtimes: &str,
    more: &[(&str, &str)],
    arguments: &[&str],
) -> (Option<i32>, String, String) {
    let mut command = command(lab, runtimes, arguments);
    let output: Output = command
        .envs(more.iter().copied())
        .output()
        .expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

pub(crate) fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
