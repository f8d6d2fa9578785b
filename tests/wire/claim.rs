//! The claim, against an Engine that does as it is told.

use crate::support::Folder;
use crate::support::server::Answer;
use crate::support::server::Server;
use imagewatch::claim::Attempt;
use imagewatch::claim::Claim;
use imagewatch::config::Endpoint;
use imagewatch::engine::Engine;
use imagewatch::engine::Image;
use serde_json::json;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

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
    let attempt = Claim::attempt(&engine, &Image::new(json!({"Id": "sha256:x"})));
    assert!(matches!(attempt, Ok(Attempt::Mine(_))), "{attempt:?}");
    drop(attempt);
    let last = server.lines().pop().unwrap_or_default();
    assert!(
        last.starts_with("DELETE ") && last.contains("/mine"),
        "{last}"
    );
}
