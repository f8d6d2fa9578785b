//! Containers that are stopped: left alone, unless their owner says otherwise.

use crate::engine::commands::run;
use crate::engine::lab::Lab;
use crate::engine::lab::STOPPED_TOO;
use crate::engine::lab::good;
use crate::engine::lab::names;
use serde_json::json;

#[test]
fn a_stopped_container_stays_stopped() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good("v1"));
    lab.pull("hermes");
    lab.workspace("exited", "hermes");
    lab.docker.stop(&lab.name("exited"));
    lab.docker.create(
        &lab.name("created"),
        &json!({"Image": lab.reference("hermes")}),
    );
    lab.publish("hermes", &good("v2"));
    let (_, report) = lab.program("hermes", &[STOPPED_TOO]).refresh("");
    assert_eq!(
        names(&report, "recreated"),
        [lab.name("created"), lab.name("exited")]
    );
    let warnings = names(&report, "warnings");
    assert_eq!(warnings, [lab.name("exited")], "it had been started");
    for name in ["exited", "created"] {
        assert_eq!(lab.version(name), "v2");
        assert_eq!(lab.inspect(name)["State"]["Running"], false, "{name}");
        assert_eq!(
            lab.inspect(name)["State"]["StartedAt"],
            "0001-01-01T00:00:00Z"
        );
    }
    assert_eq!(lab.names(), ["created", "exited"]);
}

#[test]
fn a_stopped_container_is_left_alone_until_it_runs() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good("v1"));
    lab.pull("hermes");
    for name in ["exited", "runs"] {
        lab.workspace(name, "hermes");
    }
    lab.docker.stop(&lab.name("exited"));
    let body = json!({"Image": lab.reference("hermes")});
    lab.docker.create(&lab.name("created"), &body);
    let before = lab.inspect("exited");
    lab.publish("hermes", &good("v2"));
    let program = lab.program("hermes", &[]);
    for recreated in [&["runs"][..], &[]] {
        let (_, report) = program.refresh("?force=false");
        let recreated: Vec<_> = recreated.iter().map(|name| lab.name(name)).collect();
        assert_eq!(names(&report, "recreated"), recreated, "{report}");
        let skipped = ["created", "exited"].map(|name| lab.name(name));
        assert_eq!(names(&report, "skipped"), skipped, "{report}");
        let reason = &report["skipped"][0]["reason"];
        assert!(
            reason
                .as_str()
                .is_some_and(|it| it.contains("IMAGEWATCH_INCLUDE_STOPPED")),
            "{report}"
        );
    }
    let exited = lab.inspect("exited");
    assert_eq!(exited["Id"], before["Id"]);
    assert_eq!(exited["State"]["Status"], "exited");
    // Nothing failed, and nothing is outdated that runs.
    let (code, table, _) = run(&lab, "hermes", &["check"]);
    assert_eq!(code, Some(0), "{table}");
    assert!(
        table.contains(&format!("{} (", lab.name("exited"))),
        "{table}"
    );
    lab.docker.start(&lab.name("exited"));
    let (_, report) = program.refresh("");
    assert_eq!(
        names(&report, "recreated"),
        [lab.name("exited")],
        "{report}"
    );
    // Named by its owner, it is recreated as it is.
    let name = lab.name("created");
    let (code, said, _) = run(&lab, "hermes", &["refresh", &name]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(lab.version("created"), "v2", "{said}");
    assert_eq!(lab.inspect("created")["State"]["Status"], "created");
}

#[test]
fn who_is_stopped_comes_last_and_never_gets_a_rejected_image() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good("v1"));
    lab.pull("hermes");
    // By name it would be the first.
    for name in ["1-stopped", "2-runs"] {
        lab.workspace(name, "hermes");
    }
    lab.docker.stop(&lab.name("1-stopped"));
    let before = lab.inspect("1-stopped")["Id"].clone();
    lab.publish("hermes", &good("v2").with("Cmd", json!(["/bin/false"])));
    let program = lab.program("hermes", &[STOPPED_TOO]);
    for report in [program.refresh(""), program.refresh("")] {
        assert_eq!(lab.inspect("1-stopped")["Id"], before, "{report:?}");
    }
    lab.publish("hermes", &good("v3"));
    let (_, report) = program.refresh("");
    assert_eq!(
        names(&report, "recreated"),
        ["2-runs", "1-stopped"].map(|name| lab.name(name)),
        "{report}"
    );
}
