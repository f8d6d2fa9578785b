//! `/metrics`: right to Prometheus, at one with `/admin/status`, and as the documents say.

use crate::support::eventually;
use crate::support::program::Program;
use crate::support::server::Answer;
use crate::support::server::Server;
use crate::wire::journal::history::Fake;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::UNIX_EPOCH;

/// What is there after one round of four images, of which one is fine, one was never pushed, one
/// meets a registry that has had enough and one is not asked for any more; and after a refresh
/// whose pull failed.
struct Scene {
    program: Program,
    registry: Server,
    _engine: Fake,
}

impl Scene {
    fn new() -> Self {
        let registry = Server::tcp(|seen| {
            let digest = format!("sha256:{}", "a".repeat(64));
            match seen.target.as_str() {
                "/v2/acme/hermes/manifests/latest" => {
                    Answer::new(200, &[("Docker-Content-Digest", &digest)], "")
                }
                "/v2/acme/crewai/manifests/latest" => Answer::new(404, &[], ""),
                _ => Answer::new(429, &[("Retry-After", "3600")], ""),
            }
        });
        let engine = Fake::without_pulls();
        let image = format!("{}/acme/{{runtime}}", registry.host());
        let program = Program::start(&[
            ("DOCKER_HOST", &engine.host),
            ("ADMIN_TOKEN", "t0ken"),
            ("IMAGE_AUTO_REFRESH", "true"),
            ("IMAGEWATCH_INTERVAL", "1h"),
            ("IMAGEWATCH_RUNTIMES", "hermes,crewai,openclaw,autogen"),
            ("IMAGEWATCH_IMAGE", &image),
        ]);
        eventually("the end of the round", || {
            let (_, status) = program.ask("GET", "/admin/status");
            (!status["watcher"]["next_round"].is_null()).then_some(())
        });
        program.refresh("?runtime=hermes");
        Self {
            program,
            registry,
            _engine: engine,
        }
    }

    fn metrics(&self) -> String {
        let (status, kind, page) = self.program.ask_text("GET", "/metrics");
        assert_eq!(
            (status, &*kind),
            (200, "text/plain; version=0.0.4; charset=utf-8")
        );
        page
    }
}

/// The samples of a page: everything before the value, and the value.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let mut samples = BTreeMap::new();
    for line in lines {
        let (name, value) = line.rsplit_once(' ').expect("a value");
        let value = value.parse().expect("a number");
        let double = samples.insert(name.to_owned(), value);
        assert_eq!(double, None, "{name} is there twice");
    }
    samples
}

fn count(list: &Value, field: &str, value: &str) -> f64 {
    let entries = list.as_array().expect("a list").iter();
    let count = entries.filter(|entry| entry[field] == value).count();
    f64::from(u32::try_from(count).expect("a small number"))
}

#[test]
fn the_numbers_are_those_of_the_status() {
    let scene = Scene::new();
    let (_, status) = scene.program.ask("GET", "/admin/status");
    let samples = samples(&scene.metrics());
    let value = |name: &str| samples.get(&format!("imagewatch_{name}")).copied();

    let version = status["version"].as_str().expect("a version");
    assert_eq!(
        value(&format!("build_info{{version={version:?}}}")),
        Some(1.0)
    );
    assert_eq!(value("rounds_total"), status["watcher"]["rounds"].as_f64());
    assert_eq!(value("rounds_total"), Some(1.0));
    let begun = value("watcher_last_round_timestamp_seconds").expect("a time");
    let begun = UNIX_EPOCH + Duration::from_secs_f64(begun);
    assert_eq!(
        status["watcher"]["last_round"],
        imagewatch::time::rfc3339(begun)
    );
    assert_eq!(value("watcher_interval_seconds"), Some(3600.0));

    let references = &status["references"];
    for state in [
        "current",
        "local",
        "outdated",
        "refreshing",
        "rejected",
        "unknown",
        "waiting",
    ] {
        let expected = count(references, "state", state);
        assert_eq!(
            value(&format!("references{{state={state:?}}}")),
            Some(expected),
            "{state}"
        );
    }
    for entry in references.as_array().expect("a list") {
        let (name, reference) = (&entry["name"], &entry["reference"]);
        let series = format!("reference_outdated{{name={name},reference={reference}}}");
        let expected = f64::from(u8::from(entry["state"] == "outdated"));
        assert_eq!(value(&series), Some(expected), "{series}");
    }
    assert_eq!(count(references, "state", "outdated"), 1.0, "{status}");
    for outcome in ["done", "rejected", "failed"] {
        let expected = count(&status["refreshes"], "outcome", outcome);
        assert_eq!(
            value(&format!("refreshes_total{{outcome={outcome:?}}}")),
            Some(expected)
        );
    }
    assert_eq!(value("refreshes_total{outcome=\"failed\"}"), Some(1.0));
    assert_eq!(status["history"][0]["outcome"], "pull_failed");

    let host = scene.registry.host();
    assert_eq!(status["put_off"][0]["host"], json!(host));
    assert_eq!(
        value(&format!("registry_put_off{{host={host:?}}}")),
        Some(1.0)
    );
    assert_eq!(value("rejected_digests"), Some(0.0));
    assert_eq!(status["rejected"], json!([]));
    for (outcome, expected) in [
        ("ok", 1.0),
        ("refused", 2.0),
        ("put_off", 1.0),
        ("unreachable", 0.0),
        ("malformed", 0.0),
    ] {
        let series = format!("lookups_total{{host={host:?},outcome={outcome:?}}}");
        assert_eq!(value(&series), Some(expected), "{series}");
    }
    assert_eq!(value("downtime_seconds_count"), Some(0.0));
}

#[test]
fn it_wants_the_token_and_no_other_method() {
    let scene = Scene::new();
    let url = format!("http://{}/metrics", scene.program.host());
    let answer = crate::support::images::agent().get(&url).call();
    assert_eq!(answer.expect("an answer").status().as_u16(), 401);
    assert_eq!(scene.program.ask("POST", "/metrics").0, 405);
    let (status, _, body) = scene.program.ask_text("HEAD", "/metrics");
    assert_eq!((status, &*body), (200, ""));
    assert!(!scene.metrics().contains("t0ken"));
}

/// Runs promtool with this on its standard input, or says that the check was left out.
fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut process) = command.spawn() else {
        let words = format!(
            "left out: promtool {} (it is not here)\n",
            arguments.join(" ")
        );
        return drop(std::io::stderr().write_all(words.as_bytes()));
    };
    let mut stdin = process.stdin.take().expect("its input");
    stdin.write_all(input.as_bytes()).expect("taken");
    drop(stdin);
    let output = process.wait_with_output().expect("its output");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    promtool(&["check", "metrics"], &Scene::new().metrics());
    let contrib = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib");
    promtool(&["check", "rules", &format!("{contrib}/alerts.yml")], "");
    promtool(
        &["test", "rules", &format!("{contrib}/alerts-test.yml")],
        "",
    );
}

/// Names of metrics in a text, without what a histogram adds to its own.
fn names(text: &str) -> BTreeSet<&str> {
    let is_end = |c: char| !c.is_ascii_lowercase() && c != '_';
    let at = text.match_indices("imagewatch_").map(|(at, _)| at);
    at.map(|at| text[at..].split(is_end).next().unwrap_or_default())
        .map(|name| {
            let bare = ["_bucket", "_sum", "_count"];
            let bare = bare.iter().find_map(|suffix| name.strip_suffix(suffix));
            bare.unwrap_or(name)
        })
        .collect()
}

#[test]
fn the_documents_name_every_metric_and_no_other() {
    let page = Scene::new().metrics();
    let given = names(&page);
    assert_eq!(names(include_str!("../../../docs/metrics.md")), given);
    for used in [
        include_str!("../../../contrib/alerts.yml"),
        include_str!("../../../contrib/grafana.json"),
    ] {
        let unknown: Vec<_> = names(used).difference(&given).copied().collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
    let dashboard: Value =
        serde_json::from_str(include_str!("../../../contrib/grafana.json")).expect("JSON");
    assert_eq!(dashboard["title"], "imagewatch");
}
