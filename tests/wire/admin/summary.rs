//! The status in a few numbers.

use crate::support::eventually;
use crate::support::program::Program;
use crate::support::server::Answer;
use crate::support::server::Server;
use crate::wire::journal::Fake;
use serde_json::Value;
use serde_json::json;

fn digest(of: char) -> String {
    format!("sha256:{}", of.to_string().repeat(64))
}

#[test]
fn each_container_counts_once() {
    let registry = Server::tcp(|seen| {
        let of = match seen.target.split('/').nth(3) {
            Some("behind") => 'b',
            Some("newest") => 'a',
            _ => return Answer::json(403, &json!({"errors": []})),
        };
        Answer::new(200, &[("Docker-Content-Digest", &digest(of))], "")
    });
    let host = registry.host();
    let container = |id: &str, image: &str, labels: Value| {
        let image = format!("{host}/acme/{image}:1");
        json!({"Id": id.repeat(64), "Names": [format!("/c{id}")], "Image": image,
               "ImageID": digest('a'), "State": "running", "Labels": labels})
    };
    let labels = json!({"imagewatch.enable": "true"});
    let unread = json!({"imagewatch.enable": "true", "imagewatch.mode": "perhaps"});
    let containers = json!([
        container("1", "behind", labels.clone()),
        container("2", "behind", labels.clone()),
        container("3", "newest", labels.clone()),
        container("4", "gone", labels),
        container("5", "newest", unread),
        container("6", "newest", json!({})),
    ]);
    let names = ["behind", "newest", "gone"];
    let digests = names.map(|name| format!("{host}/acme/{name}@{}", digest('a')));
    let image = json!({"Id": digest('a'), "RepoDigests": digests});
    let pull = || Answer::json(404, &json!({"message": "no such manifest"}));
    let fake = Fake::new(pull, image, containers);
    let program = Program::start(&[
        ("DOCKER_HOST", &fake.host),
        ("IMAGEWATCH_RUNTIMES", "none"),
        ("IMAGEWATCH_MODE", "notify"),
        ("IMAGE_AUTO_REFRESH", "true"),
    ]);
    let mut found = eventually("every image is looked up", || {
        let (_, found) = program.ask("GET", "/admin/summary");
        (found["failed"] == 1 && found["current"] == 1 && found["outdated"] == 2).then_some(found)
    });
    let last_check = found["last_check"].take();
    let (_, status) = program.ask("GET", "/admin/status");
    let references = status["references"].as_array().expect("a list").iter();
    assert_eq!(
        references
            .filter_map(|one| one["last_check"].as_str())
            .max(),
        last_check.as_str()
    );
    let expected = json!({"containers": 5, "current": 1, "outdated": 2, "waiting": 0, "rejected": 0,
                          "failed": 1, "down": 0, "last_check": null});
    assert_eq!(found, expected);
    assert_eq!(program.ask("POST", "/admin/summary").0, 405);
}

#[test]
fn without_an_engine_there_are_no_numbers() {
    let program = Program::start(&[("DOCKER_HOST", "unix:///no/such/socket")]);
    let (status, answer) = program.ask("GET", "/admin/summary");
    assert_eq!(status, 503, "{answer}");
    assert!(answer["error"].is_string(), "{answer}");
}
