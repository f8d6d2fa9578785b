//! Five hundred services that follow five images.

use super::digest;
use super::spec;
use crate::support::Folder;
use crate::support::eventually;
use crate::support::program::Program;
use crate::support::server::Answer;
use crate::support::server::Server;
use serde_json::Value;
use serde_json::json;

const IMAGES: usize = 5;

#[test]
fn a_round_costs_one_list_and_one_question_for_each_image() {
    let registry = Server::tcp(|seen| match seen.target.as_str() {
        target if target.starts_with("/v2/acme/") && seen.method == "HEAD" => {
            let digest = digest('a').to_string();
            Answer::new(200, &[("Docker-Content-Digest", &digest)], "")
        }
        other => panic!("unexpected: {other}"),
    });
    let host = registry.host();
    let service = move |number: usize| -> Value {
        let image = format!("{host}/acme/app{}:1@{}", number % IMAGES, digest('a'));
        let labels = json!({"imagewatch.enable": "true"});
        let mut spec = spec(&image, &labels);
        spec["Name"] = json!(format!("service{number}"));
        json!({
            "ID": format!("id{number}"), "Version": {"Index": 7}, "Spec": spec,
            "ServiceStatus": {"RunningTasks": 1, "DesiredTasks": 1},
        })
    };
    let services: Value = (0..500).map(service).collect();
    let folder = Folder::new();
    let socket = folder.path().join("s");
    let engine = Server::unix(&socket, move |seen| match seen.target.as_str() {
        "/_ping" => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
        "/v1.41/version" => Answer::json(200, &json!({"Version": "28.5.2"})),
        "/v1.41/containers/json?all=1" => Answer::json(200, &json!([])),
        "/v1.41/services?status=true" => Answer::json(200, &services),
        other if other.contains("_imagewatch.preflight") || other.contains("/events?") => {
            Answer::json(404, &json!({"message": "No such thing"}))
        }
        other => panic!("unexpected: {other}"),
    })
    .with_preflight();
    let docker_host = format!("unix://{}", socket.display());
    let program = Program::start(&[
        ("DOCKER_HOST", &*docker_host),
        ("IMAGE_AUTO_REFRESH", "true"),
        ("IMAGEWATCH_INTERVAL", "1s"),
        ("IMAGEWATCH_RUNTIMES", "none"),
    ]);
    program.await_line("watching 500 containers, 5 images; none is behind");
    program.await_line("preflight: done");
    let lists = || {
        let lines = engine.lines();
        let is_list = |line: &&String| line.ends_with("/services?status=true");
        lines.iter().filter(is_list).count()
    };
    let (heads_before, lists_before) = (registry.lines().len(), lists());
    eventually("four more rounds", || {
        (registry.lines().len() >= heads_before + 4 * IMAGES).then_some(())
    });
    // A round may be under way.
    let (heads, lists) = (
        registry.lines().len() - heads_before,
        lists() - lists_before,
    );
    let rounds = heads.div_ceil(IMAGES) + 1;
    assert!(lists <= rounds, "{lists} lists in {rounds} rounds");
    let (status, found) = program.ask("GET", "/admin/status");
    assert_eq!(status, 200);
    let one = &found["containers"][0];
    assert_eq!(
        (&one["service"], &one["state"]),
        (&json!(true), &json!("1/1")),
        "{one}"
    );
    assert_eq!(one["behind"], json!(false), "{one}");
}
