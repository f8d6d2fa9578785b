//! imagewatch updates itself: a helper does the swap, and whoever is there afterwards tells.

use crate::engine::itself::HELPER;
use crate::engine::itself::Site;
use crate::engine::lab::Lab;
use crate::support::eventually;
use serde_json::Value;
use serde_json::json;

#[test]
fn a_newer_image_of_its_own_replaces_it() {
    let Some(lab) = Lab::parted() else { return };
    let site = Site::start(&lab, 1, &[], &json!({}));
    let old = site.inspect("iw");
    site.publish(&site.version("v2"));
    site.await_end("v2", &[]);
    let told = eventually("what came of it", || {
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
    eventually("the message of the end", || {
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
    eventually("the roll-back", || {
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
    eventually("the rejection in the status", is_known);
    let once = started();
    let (_, report) = site.ask("POST", "/admin/update").expect("an answer");
    let skipped = report["skipped"][0]["reason"].as_str().unwrap_or_default();
    assert!(skipped.contains("was rejected"), "{report}");
    assert_eq!(started(), once);
    site.restart();
    eventually("the rejection in the status", is_known);
    let (_, report) = site.ask("POST", "/admin/update").expect("an answer");
    let skipped = report["skipped"][0]["reason"].as_str().unwrap_or_default();
    assert!(skipped.contains("was rejected"), "{report}");
    assert_eq!(site.history(), Vec::<Value>::new());
    // The tag moves on.
    site.publish(&site.version("v3"));
    site.await_end("v3", &[]);
}
