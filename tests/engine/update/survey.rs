//! What is said of an image: the same by everybody, and what was just seen.

use crate::engine::commands::json_of;
use crate::engine::commands::run_with;
use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::support::eventually;
use crate::support::images::ImageSpec;
use crate::support::program::Program;
use crate::support::server::Answer;
use crate::support::server::Server;
use serde_json::Value;
use serde_json::json;

/// No round but the first comes in a test.
const ONE_ROUND: (&str, &str) = ("IMAGEWATCH_INTERVAL", "1h");

fn bad(lab: &Lab) -> ImageSpec {
    good(&lab.name("bad")).with("Cmd", json!(["/bin/false"]))
}

/// How the only image stands: its state, the digest that its registry has, and who is behind.
fn standing(program: &Program) -> (Value, Value, Vec<Value>) {
    let (_, status) = program.ask("GET", "/admin/status");
    let entry = &status["references"][0];
    let containers = status["containers"].as_array().expect("a list");
    let behind = containers.iter().filter(|one| one["behind"] == true);
    let names = behind.map(|one| one["name"].clone()).collect();
    (
        entry["state"].clone(),
        entry["registry_digest"].clone(),
        names,
    )
}

fn is_outdated(program: &Program) -> bool {
    let (_, _, metrics) = program.ask_text("GET", "/metrics");
    let mut lines = metrics.lines();
    let line = lines.find(|line| line.starts_with("imagewatch_reference_outdated{"));
    line.expect("one").ends_with(" 1")
}

/// What `check` and the dry run say: the exit code and the state; what would be recreated.
fn commands(lab: &Lab) -> (Option<i32>, Value, Value) {
    let (code, table, _) = run_with(lab, "hermes", &[], &["check", "--json"]);
    let (_, rehearsal, _) = run_with(lab, "hermes", &[], &["refresh", "--dry-run", "--json"]);
    let state = json_of(&table)["references"][0]["state"].clone();
    (code, state, json_of(&rehearsal)["would_recreate"].clone())
}

#[test]
fn after_a_refresh_everybody_shows_the_digest_that_it_saw() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    lab.workspace("1", "hermes");
    let name = json!(lab.name("1"));
    let program = lab.watcher("hermes", &[ONE_ROUND]);
    program.await_line("watching 1 container, 1 image; none is behind");

    let v2 = lab.publish("hermes", &good(&lab.name("v2")));
    let (_, report) = program.refresh("");
    assert_eq!(report["recreated"], json!([name]), "{report}");
    assert_eq!(standing(&program), (json!("current"), json!(v2), vec![]));
    assert!(!is_outdated(&program));
    let current = (Some(0), json!("current"), json!([]));
    assert_eq!(commands(&lab), current);

    // The bad one is what the registry has.
    let rejected = lab.publish("hermes", &bad(&lab));
    let (_, report) = program.refresh("");
    assert_eq!(report["rolled_back"][0]["name"], name, "{report}");
    let expected = (json!("rejected"), json!(rejected), vec![name.clone()]);
    assert_eq!(standing(&program), expected);
    assert!(is_outdated(&program));

    // What was only pulled does not run yet.
    let v3 = lab.publish("hermes", &good(&lab.name("v3")));
    let (_, report) = program.refresh("?recreate=false");
    assert_eq!(report["pulled"], json!(["hermes"]), "{report}");
    let expected = (json!("outdated"), json!(v3), vec![name.clone()]);
    assert_eq!(standing(&program), expected);
    assert!(is_outdated(&program));
    assert_eq!(commands(&lab), (Some(10), json!("outdated"), json!([name])));
    program.refresh("");
    assert_eq!(standing(&program), (json!("current"), json!(v3), vec![]));

    // A pull that fails does not change what runs.
    lab.rules.set_trouble(Some(Answer::new(500, &[], "oops")));
    let (_, report) = program.refresh("");
    assert_eq!(report["failed"], json!(["hermes"]), "{report}");
    assert_eq!(standing(&program).0, json!("current"));
}

#[test]
fn what_was_refreshed_by_hand_is_not_refreshed_again_by_the_next_round() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    lab.workspace("1", "hermes");
    let program = lab.watcher("hermes", &[("IMAGEWATCH_INTERVAL", "3s")]);
    program.await_line("hermes: unchanged");
    let v2 = lab.publish("hermes", &good(&lab.name("v2")));
    program.refresh("");
    // A round may have come first.
    let moved = || program.log().matches("digest moved").count();
    let (before, rounds) = (moved(), program.log().matches("hermes: unchanged").count());
    program.await_lines("hermes: unchanged", rounds + 2);
    assert_eq!(moved(), before, "{}", program.log());
    assert_eq!(standing(&program), (json!("current"), json!(v2), vec![]));
}

#[test]
fn without_a_watcher_a_refresh_shows_what_it_saw_too() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("other", &good(&lab.name("v1")));
    lab.pull("other");
    let labels = json!({"imagewatch.enable": "true"});
    let body = json!({"Image": lab.reference("other"), "Labels": labels});
    lab.docker.run(&lab.name("web"), &body);
    let v2 = lab.publish("other", &good(&lab.name("v2")));
    let program = lab.program("none", &[("IMAGEWATCH_SELECT", "labelled")]);
    let image = format!("/v1/update?image={}", lab.reference("other"));
    let (_, report) = program.ask("POST", &image);
    assert_eq!(report["recreated"], json!([lab.name("web")]), "{report}");
    assert_eq!(standing(&program), (json!("current"), json!(v2), vec![]));
}

#[test]
fn an_index_that_moved_for_others_is_judged_the_same_by_everybody() {
    let Some(lab) = Lab::new() else { return };
    let publish = |other: &str| {
        let mut other = good(&lab.name(other));
        other.arch = "riscv64";
        let pair = [good(&lab.name("v1")), other];
        lab.registry.publish_index("acme/hermes", "latest", &pair)
    };
    publish("other-1");
    lab.pull("hermes");
    let id = lab.workspace("1", "hermes");
    let name = json!(lab.name("1"));
    let moved = publish("other-2");
    // What it holds is not known before it is pulled.
    assert_eq!(commands(&lab), (Some(10), json!("outdated"), json!([name])));
    let program = lab.watcher("hermes", &[ONE_ROUND]);
    let line = program.await_line("watching 1 container, 1 image; ");
    assert!(
        line.ends_with(&format!("1 is behind: {}", lab.name("1"))),
        "{line}"
    );
    let expected = (json!("outdated"), json!(moved), vec![name.clone()]);
    assert_eq!(standing(&program), expected);

    let (_, report) = program.refresh("");
    assert_eq!(report["unchanged"], json!([name]), "{report}");
    assert_eq!(standing(&program), (json!("current"), json!(moved), vec![]));
    assert!(!is_outdated(&program));
    assert_eq!(commands(&lab), (Some(0), json!("current"), json!([])));
    drop(program);
    let program = lab.watcher("hermes", &[ONE_ROUND]);
    program.await_line("watching 1 container, 1 image; none is behind");
    assert_eq!(standing(&program), (json!("current"), json!(moved), vec![]));
    assert_eq!(lab.inspect("1")["Id"], json!(id));
}

#[test]
fn what_is_behind_at_the_first_look_is_said_and_told_to_whom_only_wants_to_know() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    let left = lab.workspace("1", "hermes");
    let labels = json!({"imagewatch.mode": "notify"});
    let body = json!({"Image": lab.reference("hermes"), "Labels": labels});
    let told = lab.docker.run(&lab.name("2"), &body);
    let v2 = lab.publish("hermes", &good(&lab.name("v2")));
    let receiver = Server::tcp(|_| Answer::new(200, &[], ""));
    let url = format!("http://{}/hook", receiver.host());
    let program = lab.watcher("hermes", &[("IMAGEWATCH_NOTIFY", &url)]);
    let line = program.await_line("watching 2 containers, 1 image; ");
    let expected = format!("2 are behind: {}, {}", lab.name("1"), lab.name("2"));
    assert!(line.contains("INFO") && line.ends_with(&expected), "{line}");
    let message = eventually("a message", || receiver.seen().into_iter().next());
    let message: Value = serde_json::from_slice(&message.body).expect("JSON");
    assert_eq!(message["event"], "behind");
    assert_eq!(message["container"], json!(lab.name("2")));
    assert_eq!(message["new"], json!(v2));
    program.await_lines("hermes: unchanged", 3);
    assert_eq!(receiver.seen().len(), 1, "it is told once");
    assert_eq!(program.log().matches("watching 2 containers").count(), 1);
    let names = vec![json!(lab.name("1")), json!(lab.name("2"))];
    assert_eq!(standing(&program), (json!("outdated"), json!(v2), names));
    assert!(!program.has_said("pulled image="), "{}", program.log());
    assert_eq!(lab.inspect("1")["Id"], json!(left));
    assert_eq!(lab.inspect("2")["Id"], json!(told));
    let (_, text, _) = run_with(&lab, "hermes", &[], &["check"]);
    assert_eq!(text.lines().last(), line.split("INFO  ").nth(1), "{text}");
}

#[test]
fn what_starts_with_an_older_image_than_its_tag_means_here_is_renewed() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    let left = lab.workspace("1", "hermes");
    let body = json!({"Image": lab.reference("hermes")});
    let id = lab.docker.create(&lab.name("2"), &body);
    lab.publish("hermes", &good(&lab.name("v2")));
    lab.pull("hermes");
    let program = lab.watcher("hermes", &[]);
    program.await_lines("hermes: unchanged", 2);
    assert_eq!(
        lab.inspect("1")["Id"],
        json!(left),
        "a seed changes nothing"
    );
    assert_eq!(lab.inspect("2")["Id"], json!(id));
    lab.docker.start(&id);
    program.await_line(&format!("recreated container={}", lab.name("2")));
    assert_eq!(lab.version("2"), lab.name("v2"));
    assert_eq!(lab.inspect("2")["State"]["Running"], json!(true));
    let before = program.log().matches("hermes: unchanged").count();
    program.await_lines("hermes: unchanged", before + 2);
    assert_eq!(program.log().matches("recreated container=").count(), 1);
    assert_eq!(lab.inspect("1")["Id"], json!(left), "it did not start");
}

#[test]
fn a_tag_that_flaps_costs_a_few_updates_and_is_followed_where_it_stays() {
    let Some(lab) = Lab::new() else { return };
    let image = |number: usize| good(&lab.name(&format!("v{}", 1 + number % 2)));
    lab.publish("hermes", &image(0));
    lab.pull("hermes");
    lab.workspace("1", "hermes");
    let program = lab.watcher("hermes", &[]);
    program.await_line("hermes: seeded");
    lab.publish("hermes", &image(1));
    program.await_line("recreated container=");
    // Back to what ran here: not at once, and later the second time.
    for (number, when) in [
        (2, "in the next round if it stays"),
        (3, "in 2 rounds if it stays"),
    ] {
        lab.publish("hermes", &image(number));
        program.await_line(&when.replace("if it", "if the tag"));
        program.await_lines("recreated container=", number);
        assert_eq!(lab.version("1"), image(number).mark, "{}", program.log());
    }
    let saw = |what: &str, before: usize| program.await_lines(what, before + 1).len();
    let count = |what: &str| program.log().matches(what).count();
    // Two copies of a registry take turns.
    for _ in 0..3 {
        let back = count("hermes: the tag went back");
        lab.publish("hermes", &image(0));
        saw("hermes: the tag went back", back);
        let (_, status) = program.ask("GET", "/admin/status");
        let entry = &status["references"][0];
        assert_eq!(entry["state"], "outdated", "{entry}");
        let error = entry["last_error"].as_str().expect("a reason");
        assert!(error.starts_with("the tag went back to sha256:"), "{error}");
        let same = count("hermes: unchanged");
        lab.publish("hermes", &image(1));
        saw("hermes: unchanged", same);
        eventually("it is current again", || {
            (standing(&program).0 == json!("current")).then_some(())
        });
    }
    assert_eq!(count("recreated container="), 3, "{}", program.log());
    // Whoever asks for it need not wait.
    lab.publish("hermes", &image(0));
    let (_, report) = program.refresh("");
    assert_eq!(report["recreated"], json!([lab.name("1")]), "{report}");
    // It stays.
    lab.publish("hermes", &image(1));
    program.await_lines("recreated container=", 5);
    assert_eq!(lab.version("1"), image(1).mark);
}
