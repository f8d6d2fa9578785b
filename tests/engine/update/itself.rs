//! imagewatch updates itself: a helper does the swap, and whoever is there afterwards tells.

use crate::engine::itself::HELPER;
use crate::engine::itself::Site;
use crate::engine::itself::kill;
use crate::engine::itself::now;
use crate::engine::lab::Lab;
use crate::engine::program_in_container::image;
use crate::engine::program_in_container::image_of;
use crate::support::engine_proxy::Action;
use crate::support::engine_proxy::Place;
use crate::support::images::ImageSpec;
use crate::support::patiently;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;

#[test]
fn a_newer_image_of_its_own_replaces_it() {
    let Some(lab) = Lab::parted() else { return };
    let site = Site::start(&lab, 1, &[], &json!({}));
    let old = site.inspect("iw");
    site.publish(&site.version("v2"));
    site.await_end("v2", &[]);
    let told = patiently("what came of it", || {
        let history = site.history();
        (!history.is_empty()).then_some(history)
    });
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["outcome"], "recreated", "{told:?}");
    assert_eq!(told[0]["container"], json!(site.name("iw")));
    assert_eq!(told[0]["old"], old["Image"]);
    assert_eq!(told[0]["old_version"], "v1");
    assert_eq!(told[0]["new_version"], "v2");
    assert!(
        told[0]["downtime_seconds"]
            .as_f64()
            .is_some_and(|s| s > 0.0),
        "{told:?}"
    );
    patiently("the message of the end", || {
        site.log_of("iw")
            .contains("recreated container=")
            .then_some(())
    });
}

#[test]
fn an_image_that_does_not_come_up_is_tried_once_and_told() {
    let Some(lab) = Lab::parted() else { return };
    let site = Site::start(&lab, 1, &[], &json!({}));
    let id = site.inspect("iw")["Id"].clone();
    let bad = site
        .version("v2")
        .with("Entrypoint", json!(["/imagewatch", "no-such-command"]));
    site.publish(&bad);
    patiently("the roll-back", || {
        (site.history().first()?["outcome"] == "rolled_back").then_some(())
    });
    site.await_end("v1", &[HELPER]);
    assert_eq!(site.inspect("iw")["Id"], id);
    let told = site.history();
    assert_eq!(told.len(), 1, "{told:?}");
    let reason = told[0]["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("it exited"), "{told:?}");
    // Neither the process that told it nor the next one tries it again.
    let started = || site.inspect("iw")["State"]["StartedAt"].clone();
    let is_known = || {
        let (_, status) = site.ask("GET", "/admin/status").unwrap_or_default();
        (status["references"][0]["state"] == "rejected").then_some(())
    };
    patiently("the rejection in the status", is_known);
    let once = started();
    let (_, report) = site.ask("POST", "/admin/update").expect("an answer");
    let skipped = report["skipped"][0]["reason"].as_str().unwrap_or_default();
    assert!(skipped.contains("was rejected"), "{report}");
    assert_eq!(started(), once);
    site.restart();
    patiently("the rejection in the status", is_known);
    let (_, report) = site.ask("POST", "/admin/update").expect("an answer");
    let skipped = report["skipped"][0]["reason"].as_str().unwrap_or_default();
    assert!(skipped.contains("was rejected"), "{report}");
    assert_eq!(site.history(), Vec::<Value>::new());
    // The tag moves on.
    site.publish(&site.version("v3"));
    site.await_end("v3", &[]);
}

/// Images that do not come up, each in its way.
fn bad_images(site: &Site) -> Vec<(&'static str, ImageSpec)> {
    let entrypoint = |words: &[&str]| site.version("v2").with("Entrypoint", json!(words));
    let check = json!({"Test": ["CMD", "/imagewatch", "no-such-command"],
                       "Interval": 500_000_000_u64, "Retries": 1});
    vec![
        (
            "ends at once, with success",
            entrypoint(&["/imagewatch", "--version"]),
        ),
        ("has no such file", entrypoint(&["/no-such-file"])),
        (
            "is no program",
            entrypoint(&["/rubbish"]).with_file("rubbish", 0o755, b"\x7fELF rubbish"),
        ),
        (
            "has no such user",
            site.version("v2").with("User", json!("nobody-such")),
        ),
        (
            "is unhealthy",
            site.version("v2").with("Healthcheck", check),
        ),
    ]
}

#[test]
fn each_kind_of_bad_image_is_tried_once_and_the_next_good_one_is_followed() {
    let Some(lab) = Lab::parted() else { return };
    // Podman checks no health here.
    let kinds = if lab.is_podman { 4 } else { 5 };
    let lab = &lab;
    let try_one = move |kind: usize| {
        let since = now();
        let site = Site::start(lab, kind + 1, &[], &json!({}));
        let (what, bad) = bad_images(&site).swap_remove(kind);
        let id = site.inspect("iw")["Id"].clone();
        site.publish(&bad);
        let told = patiently(&format!("the roll-back of what {what}"), || {
            site.history().into_iter().next()
        });
        assert_eq!(told["outcome"], "rolled_back", "{what}: {told}");
        site.await_end("v1", &[HELPER]);
        assert_eq!(site.inspect("iw")["Id"], id, "{what}");
        let (_, report) = site.ask("POST", "/admin/update").expect("an answer");
        let skipped = report["skipped"][0]["reason"].as_str().unwrap_or_default();
        assert!(skipped.contains("was rejected"), "{what}: {report}");
        assert_eq!(site.history().len(), 1, "{what}");
        assert!(site.started("v2", since) <= 1, "{what}");
        site.publish(&site.version("v3"));
        site.await_end("v3", &[]);
    };
    std::thread::scope(|scope| {
        for kind in 0..kinds {
            scope.spawn(move || try_one(kind));
        }
    });
}

#[test]
fn a_tag_that_moves_during_its_update_is_followed_by_the_next_one() {
    let Some(lab) = Lab::parted() else { return };
    // Without that or a state folder, a new process only says what is behind.
    let site = Site::start(&lab, 1, &["IMAGEWATCH_CATCH_UP=true"], &json!({}));
    site.publish(&site.version("v2"));
    patiently("the helper", || {
        site.names().iter().any(|name| name == HELPER).then_some(())
    });
    site.publish(&site.version("v3"));
    site.await_end("v3", &[]);
    site.publish(&site.version("v4"));
    site.await_end("v4", &[]);
    let told = patiently("what came of it", || {
        let history = site.history();
        (history.first()?["new_version"] == "v4").then_some(history)
    });
    assert!(
        told.iter().all(|one| one["outcome"] == "recreated"),
        "{told:?}"
    );
}

/// What an earlier version began is finished by this one, and the other way round. `scripts/test.sh full` builds the
/// earlier one.
#[test]
fn an_earlier_version_and_this_one_update_each_other() {
    let Some(lab) = Lab::parted() else { return };
    let Ok(earlier) = std::env::var("LAB_EARLIER_BINARY") else {
        println!(
            "left out: LAB_EARLIER_BINARY names no earlier build (scripts/test.sh full makes one)"
        );
        return;
    };
    for (number, is_killed) in [(1, false), (2, true)] {
        let site = Site::of(&lab, number, image_of(&earlier));
        lab.docker
            .run(&site.name("iw"), &site.body(&[], &json!({})));
        site.await_start();
        let update = |image, version| {
            if is_killed {
                let starts = |line: &&String| line.ends_with("/start");
                let before = site.between.lines().iter().filter(starts).count();
                let (docker, helper) = (lab.docker.clone(), site.name(HELPER));
                let kill = Action::Then(Arc::new(move || kill(&docker, &helper)));
                // The next start is the helper's, and the one after that what it started.
                let place = Place::Holding("/start ", before + 2);
                site.between.at(place, kill, |_| {});
            }
            site.publish(&site.labelled(image, version));
            site.await_end(version, &[]);
        };
        update(image(), "v2");
        update(image_of(&earlier), "v3");
        update(image(), "v4");
    }
}
