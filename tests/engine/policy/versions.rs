//! Versions of images, newer version tags, and skipped images, with a real registry.

use super::closed;
use super::reference;
use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::engine::lab::names;
use crate::support::eventually;
use crate::support::images::ImageSpec;
use serde_json::json;

fn versioned(version: &str) -> ImageSpec {
    let labels = json!({
        "version": version, "org.opencontainers.image.version": version,
        "org.opencontainers.image.source": "https://example.org/app",
    });
    good(version).with("Labels", labels)
}

#[test]
fn a_newer_version_is_told_and_the_versions_of_an_update_are_shown() {
    let Some(lab) = Lab::new() else { return };
    let repository = Lab::repository("hermes");
    let publish = |tag: &str, version: &str| {
        let image = versioned(version);
        lab.registry.publish(&repository, tag, &image)
    };
    publish("1.3.9", "1.3.9");
    publish("1.4.2", "1.4.2");
    publish("2.0.0", "2.0.0");
    publish("1.5.0-rc1", "1.5.0-rc1");
    let image = lab.reference("hermes").replace(":latest", ":1.3.9");
    let path = format!("/images/create?fromImage={}", image.replace('/', "%2F"));
    assert_eq!(lab.docker.ask("POST", &path, b"").0, 200);
    let labels = json!({"imagewatch.enable": "true", "imagewatch.newer": "minor"});
    lab.docker
        .run(&lab.name("1"), &json!({"Image": image, "Labels": labels}));
    let vars = [
        ("IMAGEWATCH_SELECT", "labelled"),
        ("IMAGEWATCH_MODE", "notify"),
    ];
    let program = lab.watcher("none", &vars);
    program.await_line("1.4.2 exists, you run 1.3.9");
    assert_eq!(reference(&program)["newer"], "1.4.2");
    let newest = publish("1.3.9", "1.3.10");
    program.await_line("behind container=");
    let version = eventually("both versions", || {
        let version = reference(&program)["version"].clone();
        version["registry"].is_string().then_some(version)
    });
    assert_eq!(
        (&version["running"], &version["registry"]),
        (&json!("1.3.9"), &json!("1.3.10"))
    );
    assert_eq!(version["source"], "https://example.org/app", "{version}");
    let path = format!("/admin/containers/{}/update?digest={newest}", lab.name("1"));
    let (status, report) = program.ask("POST", &path);
    assert_eq!(status, 200, "{report}");
    assert_eq!(names(&report, "recreated"), [lab.name("1")], "{report}");
    let (_, status) = program.ask("GET", "/admin/status");
    let history = status["history"].as_array().expect("a list");
    let update = history.iter().find(|one| one["outcome"] == "recreated");
    let update = update.expect("the update");
    assert_eq!(
        (&update["old_version"], &update["new_version"]),
        (&json!("1.3.9"), &json!("1.3.10"))
    );
}

#[test]
fn a_skipped_image_is_not_applied_until_its_tag_moves_on() {
    let Some(lab) = Lab::new() else { return };
    let window = closed();
    lab.first_workspace("hermes");
    let program = lab.watcher("hermes", &[("IMAGEWATCH_WINDOW", &window)]);
    program.await_line("seeded");
    let second = lab.publish("hermes", &good("v2"));
    program.await_line("waits until");
    let skip = format!("/admin/images/skip?image=hermes&digest={second}");
    let (status, answer) = program.ask("POST", &skip);
    assert_eq!(status, 200, "{answer}");
    let is_skipped = || {
        reference(&program)
            .to_string()
            .contains("skipped by admin")
            .then_some(())
    };
    eventually("it is shown", is_skipped);
    let update = format!("/admin/containers/{}/update", lab.name("1"));
    assert_eq!(program.ask("POST", &update).0, 409);
    let (_, report) = program.refresh("?runtime=hermes&force=true");
    assert_eq!(report["recreated"], json!([]), "{report}");
    assert_eq!(lab.version("1"), "v1", "{}", program.log());
    let third = lab.publish("hermes", &good("v3"));
    let (status, answer) = program.ask("POST", &skip);
    assert_eq!(status, 409, "{answer}");
    let has_moved = || (reference(&program)["registry_digest"] == json!(third)).then_some(());
    eventually("the tag moved on", has_moved);
    let (_, report) = program.ask("POST", &update);
    assert_eq!(names(&report, "recreated"), [lab.name("1")], "{report}");
    assert_eq!(lab.version("1"), "v3");
}
