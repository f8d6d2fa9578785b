//! Start and stop of the real program.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::support::server::Answer;
use serde_json::json;
use std::time::Duration;

/// The promise is a second; a busy machine gets a little more.
const SOON: Duration = Duration::from_millis(1500);

#[test]
fn it_ends_within_a_second_when_idle() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good("v1"));
    for signal in ["TERM", "INT"] {
        let mut program = lab.watcher("hermes", &[]);
        program.await_line("seeded");
        program.signal(signal);
        let (status, took) = program.await_exit();
        assert_eq!(status.code(), Some(0), "{signal}");
        assert!(took < SOON, "{signal} took {took:?}");
        program.await_line("image-auto-refresh: stopping");
    }
}

#[test]
fn it_ends_within_a_second_while_pulling() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good("v1"));
    lab.rules.set_trouble(Some(Answer::silence()));
    let mut program = lab.program("hermes", &[]);
    std::thread::scope(|scope| {
        let host = program.host();
        scope.spawn(move || {
            let url = format!("http://{host}/admin/workspace-images/refresh");
            let _ = crate::support::images::agent().post(url).send_empty();
        });
        crate::support::eventually("the pull reached the registry", || {
            let asked = |line: &String| line.contains("/manifests/");
            lab.proxy.lines().iter().any(asked).then_some(())
        });
        program.signal("TERM");
        let (status, took) = program.await_exit();
        assert_eq!(status.code(), Some(0));
        assert!(took < SOON, "took {took:?}");
    });
}

#[test]
fn a_swap_in_progress_is_finished_first() {
    let Some(lab) = Lab::new() else { return };
    lab.first_workspace("hermes");
    lab.workspace("2", "hermes");
    let mut program = lab.watcher("hermes", &[("IMAGEWATCH_SETTLE", "3s")]);
    program.await_line("seeded");
    lab.publish("hermes", &good("v2"));
    program.await_line("waiting for it to be accepted");
    program.signal("TERM");
    let (status, _) = program.await_exit();
    assert_eq!(status.code(), Some(0));
    assert_eq!(lab.version("1"), "v2");
    assert_eq!(lab.version("2"), "v1", "no further swap is begun");
    assert_eq!(lab.inspect("2")["State"]["Running"], true);
    assert_eq!(lab.names(), ["1", "2"], "nothing is left over");
}

#[test]
fn status_shows_what_is_there() {
    let Some(lab) = Lab::new() else { return };
    let digest = lab.publish("hermes", &good("v1"));
    lab.pull("hermes");
    lab.workspace("1", "hermes");
    let program = lab.watcher("hermes", &[]);
    program.await_line("seeded");
    let (code, status) = program.ask("GET", "/admin/status");
    assert_eq!(code, 200);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["engine"]["reachable"], true);
    assert_eq!(status["watcher"]["interval"], "1s");
    let reference = &status["references"][0];
    assert_eq!(reference["name"], "hermes");
    assert_eq!(reference["seen_digest"], json!(digest));
    assert_eq!(reference["registry_digest"], json!(digest));
    assert_eq!(reference["state"], "current");
    let container = &status["containers"][0];
    assert_eq!(container["name"], json!(lab.name("1")));
    assert_eq!(container["image"], json!(lab.reference("hermes")));
    assert_eq!(container["state"], "running");
}
