//! Minimum age and window, with a real registry and over restarts.

mod versions;

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::support::Folder;
use crate::support::eventually;
use crate::support::program::Program;
use serde_json::Value;
use serde_json::json;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// A window on another day than today, whatever the time zone.
fn closed() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    // 1970 began on a Thursday.
    let day = (now.as_secs() / 86_400 + 3 + 3) % 7;
    let name = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][day as usize];
    format!("{name} 02:00-05:00")
}

fn reference(program: &Program) -> Value {
    program.ask("GET", "/admin/status").1["references"][0].clone()
}

/// Several rounds pass.
fn rounds(program: &Program) {
    let rounds = || program.ask("GET", "/admin/status").1["watcher"]["rounds"].as_u64();
    let begun = rounds();
    eventually("three rounds", || {
        (rounds() > begun.map(|n| n + 3)).then_some(())
    });
}

fn tagged(lab: &Lab) -> Value {
    lab.docker.image(&lab.reference("hermes"))["Id"].clone()
}

#[test]
fn an_update_waits_for_its_age_over_restarts_and_nothing_is_pulled_meanwhile() {
    let Some(lab) = Lab::new() else { return };
    let folder = Folder::new();
    let state = folder.path().to_str().expect("UTF-8").to_owned();
    let vars = [
        ("IMAGEWATCH_STATE", state.as_str()),
        ("IMAGEWATCH_MIN_AGE", "25s"),
    ];
    lab.first_workspace("hermes");
    let mut program = lab.watcher("hermes", &vars);
    program.await_line("seeded");
    lab.publish("hermes", &good("v2"));
    program.await_line("waits until");
    let is_waiting = || Some(reference(&program)).filter(|one| one["state"] == "waiting");
    let one = eventually("it is shown", is_waiting);
    let until = one["waiting"][0]["until"].clone();
    assert!(until.is_string(), "{one}");
    program.kill();
    let program = lab.watcher("hermes", &vars);
    eventually("it waits still", || {
        (reference(&program)["state"] == "waiting").then_some(())
    });
    // Neither a restart nor a look moves the time.
    program.ask("POST", "/admin/check");
    assert_eq!(reference(&program)["waiting"][0]["until"], until);
    assert_eq!(lab.version("1"), "v1");
    assert!(!program.has_said("pulled image="), "{}", program.log());
    program.await_line("INFO  recreated container=");
    assert_eq!(lab.version("1"), "v2");
    eventually("the end", || {
        (reference(&program)["state"] == "current").then_some(())
    });
}

#[test]
fn outside_of_its_window_a_tag_that_moved_is_told_and_fetched_without_a_tag() {
    let Some(lab) = Lab::new() else { return };
    let window = closed();
    let vars = [
        ("IMAGEWATCH_WINDOW", window.as_str()),
        ("IMAGEWATCH_WINDOW_PULL", "true"),
        ("TZ", "UTC0"),
    ];
    lab.first_workspace("hermes");
    let old = tagged(&lab);
    let program = lab.watcher("hermes", &vars);
    program.await_line("seeded");
    let newest = lab.publish("hermes", &good("v2"));
    program.await_line("waits until");
    program.await_line("pulled image=");
    rounds(&program);
    assert_eq!(
        program.log().matches("pulled image=").count(),
        1,
        "{}",
        program.log()
    );
    assert_eq!((lab.version("1"), tagged(&lab)), ("v1".to_owned(), old));
    let is_waiting = || (reference(&program)["state"] == "waiting").then_some(());
    eventually("it is shown", is_waiting);
    let name = lab.reference("hermes").replace(":latest", "");
    assert!(lab.docker.image(&format!("{name}@{newest}"))["Id"].is_string());
    // A refresh of everything obeys, and one by name does not.
    let (_, report) = program.ask("POST", "/admin/update");
    assert_eq!(report["recreated"], json!([]), "{report}");
    let (_, report) = program.refresh("?runtime=hermes");
    assert_eq!(report["recreated"], json!([lab.name("1")]), "{report}");
    assert_eq!(lab.version("1"), "v2");
}

#[test]
fn a_label_is_stronger_than_the_rule_of_the_box_and_one_that_cannot_be_read_is_the_safe_side() {
    let Some(lab) = Lab::new() else { return };
    let window = closed();
    lab.publish("hermes", &good("v1"));
    lab.pull("hermes");
    for (name, label, value) in [
        ("1", "imagewatch.window", "always"),
        ("2", "imagewatch.enable", "true"),
        ("3", "imagewatch.window", "Mon 2-5"),
    ] {
        let body = json!({"Image": lab.reference("hermes"), "Labels": {label: value}});
        lab.docker.run(&lab.name(name), &body);
    }
    let program = lab.watcher("hermes", &[("IMAGEWATCH_WINDOW", &window)]);
    program.await_line("seeded");
    lab.publish("hermes", &good("v2"));
    program.await_line("INFO  recreated container=");
    rounds(&program);
    let versions = ["1", "2", "3"].map(|name| lab.version(name));
    assert_eq!(versions, ["v2", "v1", "v1"], "{}", program.log());
}
