//! What does not run is pruned at any moment of the update of imagewatch's own container.

use crate::engine::itself::Site;
use crate::engine::itself::now;
use crate::engine::lab::Lab;
use crate::engine::swap::every_moment::moments;
use crate::engine::swap::every_moment::share;
use crate::engine::swap::kill_itself::ENV;
use crate::engine::swap::kill_itself::Next;
use crate::engine::swap::kill_itself::bad;
use crate::engine::swap::kill_itself::good;
use crate::engine::swap::kill_itself::is_back;
use crate::engine::swap::kill_itself::is_certain;
use crate::engine::swap::kill_itself::is_v2;
use crate::engine::swap::kill_itself::undisturbed;
use crate::support::docker::Docker;
use crate::support::engine_proxy::Action;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

/// Does this to the Engine before each call of an update.
fn at_each_call(
    lab: &Lab,
    next: Next,
    check: fn(&Site),
    act: impl Fn(&Docker) + Clone + Send + Sync + 'static,
) {
    let lines = undisturbed(lab, next, check);
    println!("{lines:#?}");
    let all = moments(&lines, &[Action::HoldBefore], &[]).into_iter();
    let jobs = all.enumerate().map(|(index, moment)| {
        let is_certain = is_certain(&lines, &moment.line, index);
        (moment, is_certain)
    });
    for (number, (moment, is_certain)) in share(jobs.collect()).into_iter().enumerate() {
        println!("before {moment}");
        let since = now();
        let site = Site::start(lab, number + 1, &ENV, &json!({}));
        let (docker, act) = (lab.docker.clone(), act.clone());
        let (sender, done) = channel();
        let (place, _) = moment.plan();
        let first = Action::First(Arc::new(move || act(&docker)));
        site.between.at(place, first, move |_| {
            let _ = sender.send(());
        });
        site.publish(&next(&site));
        let patience = if is_certain { 180 } else { 30 };
        let came = done.recv_timeout(Duration::from_secs(patience));
        assert!(
            came.is_ok() || !is_certain,
            "no such call: {moment} in {:#?}",
            site.between.lines()
        );
        check(&site);
        if site.runs() == "v1" {
            let starts = site.started("v2", since);
            assert!(starts <= 1, "the image was started {starts} times");
        }
    }
}

/// `docker system prune --all --volumes`.
fn prune(docker: &Docker) {
    for what in [
        "containers/prune",
        "networks/prune",
        "volumes/prune",
        "images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D",
    ] {
        docker.json("POST", &format!("/{what}"), &Value::Null);
    }
}

#[test]
fn a_prune_before_any_call_of_its_own_update_leaves_one_imagewatch() {
    let Some(lab) = Lab::alone() else { return };
    at_each_call(&lab, good, is_v2, prune);
    at_each_call(&lab, bad, is_back, prune);
}
