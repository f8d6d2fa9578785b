//! What does not run is pruned at any moment of the update of imagewatch's own container.

use crate::engine::itself::Site;
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
use crate::engine::swap::kill_itself::see_through;
use crate::engine::swap::kill_itself::undisturbed;
use crate::support::docker::Docker;
use crate::support::engine_proxy::Action;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;
use std::sync::mpsc::channel;

/// Prunes before each call that changes something.
fn prune_at_each_call(lab: &Lab, next: Next, check: fn(&Site)) {
    let lines = undisturbed(lab, next, check);
    println!("{lines:#?}");
    let all = moments(&lines, &[Action::HoldBefore], &[]).into_iter();
    let jobs = all.enumerate().map(|(index, moment)| {
        let is_certain = is_certain(&lines, &moment.line, index);
        (moment, is_certain)
    });
    for (number, (moment, is_certain)) in share(jobs.collect()).into_iter().enumerate() {
        println!("before {moment}");
        let site = Site::start(lab, number + 1, &ENV, &json!({}));
        let docker = lab.docker.clone();
        let (sender, done) = channel();
        let (place, _) = moment.plan();
        let first = Action::First(Arc::new(move || prune(&docker)));
        site.between.at(place, first, move |_| {
            let _ = sender.send(());
        });
        see_through(&site, next, check, (&moment, is_certain), &done);
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
    prune_at_each_call(&lab, good, is_v2);
    prune_at_each_call(&lab, bad, is_back);
}
