//! The power goes at any moment of the update of imagewatch's own container.

use crate::engine::itself::HELPER;
use crate::engine::itself::Site;
use crate::engine::lab::Lab;
use crate::engine::lab::do_to_engine;
use crate::engine::swap::every_moment::moments;
use crate::engine::swap::every_moment::share;
use crate::engine::swap::kill_itself::ENV;
use crate::engine::swap::kill_itself::Next;
use crate::engine::swap::kill_itself::bad;
use crate::engine::swap::kill_itself::good;
use crate::engine::swap::kill_itself::is_back;
use crate::engine::swap::kill_itself::is_certain;
use crate::engine::swap::kill_itself::see_through;
use crate::engine::swap::kill_itself::told;
use crate::engine::swap::kill_itself::undisturbed;
use crate::support::engine_proxy::Action;
use serde_json::json;
use std::sync::mpsc::channel;

/// Cuts the power before and after each call that changes something.
fn cut_at_each_call(lab: &Lab, next: Next, check: fn(&Site)) {
    let lines = undisturbed(lab, next, check);
    println!("{lines:#?}");
    let all = moments(&lines, &[Action::CloseBefore], &[Action::CloseAfter]).into_iter();
    let jobs = all.enumerate().map(|(index, moment)| {
        let is_certain = is_certain(&lines, &moment.line, index / 2);
        (moment, is_certain)
    });
    for (number, (moment, is_certain)) in share(jobs.collect()).into_iter().enumerate() {
        println!("power cut: {moment}");
        let site = Site::start(lab, number + 1, &ENV, &json!({}));
        let (sender, done) = channel();
        let (place, action) = moment.plan();
        site.between.at(place, action, move |_| {
            do_to_engine("cut");
            let _ = sender.send(());
        });
        see_through(&site, next, check, (&moment, is_certain), &done);
    }
}

/// A successor that was there only in part when the power went may look like one that crashed.
fn is_v2_or_back(site: &Site) {
    let last = told(site);
    if last == "rolled_back" {
        return site.await_end("v1", &[HELPER]);
    }
    assert_eq!(last, "recreated");
    site.await_end("v2", &[]);
}

#[test]
fn a_power_cut_at_any_moment_of_its_own_update_leaves_one_imagewatch() {
    let Some(lab) = Lab::in_charge() else { return };
    cut_at_each_call(&lab, good, is_v2_or_back);
    cut_at_each_call(&lab, bad, is_back);
}
