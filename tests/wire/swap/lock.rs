//! The claim, against an Engine that does as it is told.

use crate::support::Folder;
use crate::support::server::Answer;
use crate::support::server::Server;
use imagewatch::engine::Endpoint;
use imagewatch::engine::Engine;
use imagewatch::engine::Image;
use imagewatch::swap::Attempt;
use imagewatch::swap::Lock;
use serde_json::json;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

#[test]
fn two_who_take_over_from_a_dead_holder_do_not_trip_over_each_other() {
    let folder = Folder::new();
    let socket = folder.path().join("engine.sock");
    let creations = AtomicUsize::new(0);
    let message = |status, words| Answer::json(status, &json!({"message": words}));
    let server = Server::unix(&socket, move |seen| {
        let (_, path) = seen.target[1..].split_once('/').unwrap_or_default();
        match (seen.method.as_str(), path) {
            ("GET", "") => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
            ("POST", _) => match creations.fetch_add(1, Ordering::SeqCst) {
                0 => message(409, "Conflict. The container name is already in use"),
                _ => Answer::json(201, &json!({"Id": "mine"})),
            },
            ("GET", "containers/imagewatch.claim/json") => {
                let holder = json!({"boot": "another", "host": "h", "pid": 1, "at": 0});
                let labels = json!({"io.imagewatch.claim": holder.to_string()});
                Answer::json(200, &json!({"Id": "dead", "Config": {"Labels": labels}}))
            }
            // The other one was a little faster.
            ("DELETE", "containers/dead?force=1&v=1") => {
                message(409, "removal of container dead is already in progress")
            }
            ("DELETE", "containers/mine?force=1&v=1") => Answer::new(204, &[], ""),
            other => panic!("{other:?}"),
        }
    });
    let engine = Engine::new(&Endpoint::Unix(socket));
    let attempt = Lock::attempt(&engine, &[Image::new(json!({"Id": "sha256:x"}))]);
    assert!(matches!(attempt, Ok(Attempt::Mine(_))), "{attempt:?}");
    drop(attempt);
    let last = server.lines().pop().unwrap_or_default();
    assert!(
        last.starts_with("DELETE ") && last.contains("/mine"),
        "{last}"
    );
}

/// What a claim names as its holder's container may be another's, or go on without the process.
#[test]
fn a_claim_ends_after_an_hour_whatever_runs_on_in_its_container() {
    const HOUR: u64 = 3600;
    for (age, started, is_held) in [
        (HOUR / 2, "then", true),
        (HOUR / 2, "later", false),
        (2 * HOUR, "then", false),
    ] {
        let folder = Folder::new();
        let socket = folder.path().join("engine.sock");
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let at = now.expect("after 1970").as_secs() - age;
        let is_taken = AtomicBool::new(true);
        let message = |status, words| Answer::json(status, &json!({"message": words}));
        let _server = Server::unix(&socket, move |seen| {
            let (_, path) = seen.target[1..].split_once('/').unwrap_or_default();
            match (seen.method.as_str(), path) {
                ("GET", "") => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
                ("POST", _) if is_taken.load(Ordering::SeqCst) => message(409, "Conflict"),
                ("POST", _) => Answer::json(201, &json!({"Id": "mine"})),
                ("GET", "containers/imagewatch.claim/json") => {
                    let holder = json!({"boot": "b", "host": "h", "pid": 1, "at": at,
                                        "in": "box", "since": "then"});
                    let labels = json!({"io.imagewatch.claim": holder.to_string()});
                    Answer::json(200, &json!({"Id": "theirs", "Config": {"Labels": labels}}))
                }
                ("GET", "containers/box/json") => {
                    let state = json!({"Status": "running", "StartedAt": started});
                    Answer::json(200, &json!({"Id": "box", "State": state}))
                }
                ("DELETE", "containers/theirs?force=1&v=1") => {
                    is_taken.store(false, Ordering::SeqCst);
                    Answer::new(204, &[], "")
                }
                ("DELETE", "containers/mine?force=1&v=1") => Answer::new(204, &[], ""),
                other => panic!("{other:?}"),
            }
        });
        let engine = Engine::new(&Endpoint::Unix(socket));
        let attempt = Lock::attempt(&engine, &[Image::new(json!({"Id": "sha256:x"}))]);
        let found = matches!(attempt, Ok(Attempt::Held(_)));
        assert_eq!(found, is_held, "{age} s, {started}: {attempt:?}");
    }
}

/// Of a holder on another host nothing can be learned but how long it has had the lock, by clocks
/// that may be wrong or set.
#[test]
fn a_claim_of_another_host_ends_after_an_hour_whichever_way_a_clock_was_set() {
    const HOUR: i64 = 3600;
    for (age, is_held) in [
        (0, true),
        (HOUR / 2, true),
        (2 * HOUR, false),
        (-HOUR / 2, true),
        (-365 * 24 * HOUR, false),
    ] {
        let folder = Folder::new();
        let socket = folder.path().join("engine.sock");
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = i64::try_from(now.expect("after 1970").as_secs()).expect("a date");
        let is_taken = AtomicBool::new(true);
        let message = |status, words| Answer::json(status, &json!({"message": words}));
        let _server = Server::unix(&socket, move |seen| {
            let (_, path) = seen.target[1..].split_once('/').unwrap_or_default();
            match (seen.method.as_str(), path) {
                ("GET", "") => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
                ("POST", _) if is_taken.load(Ordering::SeqCst) => message(409, "Conflict"),
                ("POST", _) => Answer::json(201, &json!({"Id": "mine"})),
                ("GET", "containers/imagewatch.claim/json") => {
                    let holder = json!({"boot": "b", "host": "another", "pid": 1, "at": now - age});
                    let labels = json!({"io.imagewatch.claim": holder.to_string()});
                    Answer::json(200, &json!({"Id": "theirs", "Config": {"Labels": labels}}))
                }
                ("DELETE", "containers/theirs?force=1&v=1") => {
                    is_taken.store(false, Ordering::SeqCst);
                    Answer::new(204, &[], "")
                }
                ("DELETE", "containers/mine?force=1&v=1") => Answer::new(204, &[], ""),
                other => panic!("{other:?}"),
            }
        });
        let engine = Engine::new(&Endpoint::Unix(socket));
        let attempt = Lock::attempt(&engine, &[Image::new(json!({"Id": "sha256:x"}))]);
        let found = matches!(attempt, Ok(Attempt::Held(_)));
        assert_eq!(found, is_held, "{age} s: {attempt:?}");
    }
}
