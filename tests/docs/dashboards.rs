//! The recipes for dashboards ask for what there is, with a token that only reads.

use crate::support::Folder;
use crate::support::program::Program;
use crate::support::server::Answer;
use crate::support::server::Server;
use serde_json::json;

const PAGE: &str = include_str!("../../docs/dashboards.md");
const READ: (&str, &str) = ("IMAGEWATCH_READ_TOKEN", "read-only");

/// The recipes in YAML.
fn recipes() -> impl Iterator<Item = &'static str> {
    PAGE.split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or(rest))
}

/// What stands between each `before` and the next `after`.
fn between<'t>(text: &'t str, before: &'t str, after: &'t [char]) -> Vec<&'t str> {
    let parts = text.split(before).skip(1);
    parts.filter_map(|part| part.split(after).next()).collect()
}

/// The keys of the answer that a recipe shows.
fn keys(recipe: &str) -> Vec<&str> {
    let ends = &['"', '\n', ' ', '}'];
    let mut keys = between(recipe, "- field: ", ends);
    keys.extend(between(recipe, ".JSON.Int \"", ends));
    keys.extend(between(recipe, "value_json.", ends));
    keys
}

#[test]
fn each_recipe_shows_numbers_that_the_answer_has() {
    let folder = Folder::new();
    let socket = folder.path().join("s");
    let _engine = Server::unix(&socket, |seen| match &*seen.target {
        _ if seen.is_preflight() => Answer::json(404, &json!({"message": "no such thing"})),
        "/_ping" => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
        target if target.ends_with("/version") => {
            Answer::json(200, &json!({"Version": "20.10.24", "Arch": "amd64"}))
        }
        target if target.ends_with("/containers/json?all=1") => Answer::json(200, &json!([])),
        other => panic!("unexpected: {other}"),
    })
    .with_preflight();
    let host = format!("unix://{}", socket.display());
    let mut program = Program::start(&[
        ("DOCKER_HOST", &host),
        ("IMAGEWATCH_RUNTIMES", "none"),
        ("ADMIN_TOKEN", "change-me"),
        READ,
    ]);
    program.show_token(READ.1);
    let mut shown = 0;
    for recipe in recipes() {
        let keys = keys(recipe);
        if keys.is_empty() {
            continue;
        }
        assert!(recipe.contains("/admin/summary"), "{recipe}");
        let bearer = format!("Bearer {}", READ.1);
        assert!(recipe.contains(&bearer), "{recipe}");
        let (status, answer) = program.ask("GET", "/admin/summary");
        assert_eq!(status, 200);
        for key in &keys {
            assert!(answer.get(key).is_some(), "{key} in {recipe}");
        }
        shown += keys.len();
    }
    assert!(shown >= 10, "{shown}");
    let (status, refused) = program.ask("POST", "/admin/update");
    let words = refused["error"].as_str().unwrap_or_default();
    assert_eq!(status, 403);
    assert!(words.starts_with(READ.0), "{words}");
    program.show_token("change-me");
    assert_eq!(program.ask("POST", "/admin/update").0, 200);
}
