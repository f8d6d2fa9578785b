//! Of many containers only outlines are kept, and all the same each update is like that of a single one.

use crate::support::crowd::Crowd;
use crate::support::program::Program;
use serde_json::Value;

fn start(crowd: &Crowd, more: &[(&str, &str)]) -> Program {
    let mut vars = vec![
        ("DOCKER_HOST", crowd.socket()),
        ("IMAGEWATCH_RUNTIMES", "none"),
        ("IMAGEWATCH_SELECT", "all"),
        ("IMAGEWATCH_SETTLE", "0s"),
    ];
    vars.extend_from_slice(more);
    Program::start(&vars)
}

fn count(report: &Value, list: &str) -> usize {
    report[list].as_array().map_or(0, Vec::len)
}

#[test]
fn those_that_moved_are_updated_with_all_their_settings() {
    let crowd = Crowd::new(40, |number| number % 20);
    let program = start(&crowd, &[]);
    crowd.publish([3, 4]);
    let (status, report) = program.ask("POST", "/v1/update");
    assert_eq!(status, 200, "{report}");
    assert_eq!(count(&report, "recreated"), 4, "{report}");
    assert_eq!(count(&report, "unchanged"), 36, "{report}");
    let created = crowd.created();
    assert_eq!(created.len(), 4, "one successor for each");
    for body in created {
        let binds = body["HostConfig"]["Binds"].as_array().map_or(0, Vec::len);
        assert_eq!(binds, 2, "{body}");
        // The image sets the other twelve.
        assert_eq!(body["Env"].as_array().map_or(0, Vec::len), 28, "{body}");
        assert!(body["Labels"]["traefik.enable"] == "true", "{body}");
    }
}

#[test]
fn all_are_recreated_if_somebody_insists() {
    let crowd = Crowd::new(12, |number| number % 2);
    let image = format!("{}/acme/app{{runtime}}:latest", crowd.registry());
    let runtimes = [
        ("IMAGEWATCH_RUNTIMES", "0,1"),
        ("IMAGEWATCH_IMAGE", image.as_str()),
    ];
    let program = start(&crowd, &runtimes);
    let (status, report) = program.refresh("?force=true");
    assert_eq!(status, 200, "{report}");
    assert_eq!(count(&report, "recreated"), 12, "{report}");
    assert_eq!(crowd.created().len(), 12);
}

#[test]
fn those_that_moved_are_removed_where_the_platform_provisions_them() {
    let crowd = Crowd::new(20, |number| number % 10);
    let program = start(&crowd, &[("IMAGEWATCH_RECREATE", "remove")]);
    crowd.publish([7]);
    let (status, report) = program.ask("POST", "/v1/update");
    assert_eq!(status, 200, "{report}");
    assert_eq!(count(&report, "recreated"), 2, "{report}");
    assert_eq!(crowd.asked().removed, 2);
    assert_eq!(crowd.created().len(), 0);
}

/// One list before the pulls and one after, one inspection of each container, and one of each image; the status of the
/// images and containers afterwards takes one list more.
#[test]
fn a_refresh_without_news_asks_once_about_each() {
    let crowd = Crowd::new(60, |number| number % 30);
    let program = start(&crowd, &[]);
    program.await_line("preflight: done");
    let before = crowd.asked().calls;
    let (status, report) = program.ask("POST", "/v1/update");
    assert_eq!(status, 200, "{report}");
    assert_eq!(count(&report, "unchanged"), 60, "{report}");
    let asked = crowd.asked();
    let calls = asked.calls - before;
    // The worker looks for half-done swaps meanwhile.
    assert!(calls <= 60 + 30 + 8, "{calls}");
    assert!(asked.lists.len() <= 6, "{}", asked.lists.len());
    assert_eq!(asked.heads, 30);
    assert!(asked.connections <= asked.heads);
}
