//! `imagewatch check` and `imagewatch refresh`, beside a server and without one.

use super::command;
use super::json_of;
use super::run;
use super::run_with;
use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::support::Folder;
use crate::support::images::ImageSpec;
use crate::support::server::Answer;
use crate::support::server::Server;
use serde_json::Value;
use serde_json::json;
use std::process::Command;
use std::process::Stdio;

#[test]
fn check_shows_what_is_behind_and_pulls_nothing() {
    let Some(lab) = Lab::new() else { return };
    let first = lab.publish("hermes", &good(&lab.name("v1")));
    lab.publish("crewai", &good(&lab.name("w1")));
    lab.pull("hermes");
    lab.pull("crewai");
    lab.workspace("1", "hermes");
    let (code, text, complaint) = run(&lab, "hermes,crewai", &["check"]);
    assert_eq!(code, Some(0), "{text}{complaint}");
    assert_eq!(text.lines().count(), 4, "{text}");
    let line = "watching 1 container, 2 images; none is behind";
    assert_eq!(text.lines().last(), Some(line), "{text}");
    let second = lab.publish("hermes", &good(&lab.name("v2")));
    let (code, text, _) = run(&lab, "hermes,crewai,gone", &["check", "--json"]);
    assert_eq!(code, Some(10), "{text}");
    let table = json_of(&text);
    let row = |name: &str| {
        let mut rows = table["references"].as_array().into_iter().flatten();
        rows.find(|row| row["name"] == name).expect("a row").clone()
    };
    let hermes = row("hermes");
    assert_eq!(hermes["state"], "outdated");
    assert_eq!(hermes["running_digests"], json!([first]));
    assert_eq!(hermes["registry_digest"], json!(second));
    assert_eq!(hermes["containers"], json!([lab.name("1")]));
    assert_eq!(row("crewai")["state"], "current");
    assert_eq!(row("gone")["state"], "failed");
    assert!(
        row("gone")["error"]
            .as_str()
            .is_some_and(|e| e.contains("404"))
    );
    let image = lab.docker.image(&lab.reference("hermes"));
    assert_eq!(
        image["Config"]["Labels"]["version"],
        lab.name("v1"),
        "nothing was pulled"
    );
    let (code, _, _) = run(&lab, "gone", &["check"]);
    assert_eq!(code, Some(1), "a look-up failed");
}

#[test]
fn refresh_does_one_refresh_and_says_how_it_went() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    let old = lab.workspace("1", "hermes");
    lab.publish("hermes", &good(&lab.name("v2")));
    // First it is only said what would be done.
    let (code, text, _) = run(&lab, "hermes", &["refresh", "--dry-run"]);
    assert_eq!(code, Some(0));
    let name = lab.name("1");
    let expected = format!(
        "would pull: {}\nwould recreate: {name}\n",
        lab.reference("hermes")
    );
    assert_eq!(text, expected);
    assert_eq!(lab.inspect("1")["Id"], json!(old));
    let (code, text, shown) = run(
        &lab,
        "hermes",
        &["refresh", "--runtime", "hermes", "--no-recreate"],
    );
    assert_eq!(
        (code, text.as_str()),
        (Some(0), "pulled: hermes\n"),
        "{shown}"
    );
    assert_eq!(lab.inspect("1")["Id"], json!(old));
    let (code, text, shown) = run(&lab, "hermes", &["refresh", "hermes", "--json"]);
    assert_eq!(code, Some(0), "{text}{shown}");
    assert_eq!(json_of(&text)["recreated"], json!([name]));
    assert!(
        shown.contains(&format!("{name}: recreated, down for ")),
        "{shown}"
    );
    assert!(!shown.contains('\x1b'), "no bars in a pipe: {shown:?}");
    assert_eq!(lab.version("1"), lab.name("v2"));
    let (code, text, _) = run(&lab, "hermes", &["refresh"]);
    assert_eq!(code, Some(0));
    assert_eq!(text, format!("pulled: hermes\nunchanged: {name}\n"));
    let (code, text, _) = run(&lab, "hermes", &["refresh", "--force"]);
    assert_eq!(code, Some(0));
    assert_eq!(text, format!("pulled: hermes\nrecreated: {name}\n"));
}

#[test]
fn one_container_or_any_reference_can_be_named() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    for name in ["1", "2"] {
        lab.workspace(name, "hermes");
    }
    lab.publish("hermes", &good(&lab.name("v2")));
    // Nobody's runtime: named by its container, and only that one is renewed.
    let first = lab.name("1");
    let (code, text, shown) = run(&lab, "none", &["refresh", &first]);
    assert_eq!(code, Some(0), "{text}{shown}");
    assert!(text.contains(&format!("recreated: {first}\n")), "{text}");
    assert_eq!(lab.version("1"), lab.name("v2"));
    assert_eq!(lab.version("2"), lab.name("v1"));
    let reference = lab.reference("hermes");
    let (code, text, _) = run(&lab, "none", &["refresh", &reference, "--no-recreate"]);
    assert_eq!((code, text), (Some(0), format!("pulled: {reference}\n")));
    // The beginning of its id names a container as well.
    let id = lab.inspect("2")["Id"].as_str().expect("an id")[..12].to_owned();
    let (code, text, shown) = run(&lab, "none", &["refresh", &id]);
    assert_eq!(code, Some(0), "{text}{shown}");
    assert!(
        text.contains(&format!("recreated: {}\n", lab.name("2"))),
        "{text}"
    );
    let (code, _, complaint) = run(&lab, "none", &["refresh", "No Such"]);
    assert_eq!(code, Some(1));
    assert!(
        complaint.contains("no runtime, no container, and no reference"),
        "{complaint}"
    );
    assert_eq!(lab.names(), ["1", "2"]);
}

#[test]
fn what_is_left_half_done_is_said_and_ends_with_1() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    lab.workspace("1", "hermes");
    lab.publish("hermes", &good(&lab.name("v2")));
    // Somebody between lets nothing be removed.
    let folder = Folder::new();
    let socket = folder.path().join("s");
    let docker = lab.seen();
    let between = Server::unix(&socket, move |seen| {
        if seen.method == "DELETE" {
            return Answer::json(403, &json!({"message": "no"}));
        }
        docker.pass(seen)
    });
    let host = format!("unix://{}", socket.display());
    let more = [("DOCKER_HOST", host.as_str())];
    let (code, text, shown) = run_with(&lab, "hermes", &more, &["refresh", "--json"]);
    assert_eq!(code, Some(1), "{text}{shown}");
    let name = lab.name("1");
    assert_eq!(json_of(&text)["recreated"], json!([name]));
    assert!(shown.contains("WARN "), "{shown}");
    let left = format!("imagewatch: left half done: {name}: ");
    assert!(shown.contains(&left) && shown.contains("403"), "{shown}");
    drop(between);
    // Who may remove it, does.
    let (code, _, shown) = run(&lab, "hermes", &["refresh"]);
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(lab.names(), ["1"]);
}

#[test]
fn a_bad_image_ends_with_1_and_the_old_container() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    let old = lab.workspace("1", "hermes");
    let bad = ImageSpec::new(&lab.name("v2")).with("Cmd", json!(["/bin/busybox", "false"]));
    lab.publish("hermes", &bad);
    let (code, text, shown) = run(&lab, "hermes,gone", &["refresh"]);
    assert_eq!(code, Some(1), "{text}{shown}");
    let name = lab.name("1");
    assert!(
        text.contains(&format!("rolled back: {name}: it exited with code 1")),
        "{text}"
    );
    assert!(text.contains("failed: gone\n"), "{text}");
    assert_eq!(lab.inspect("1")["Id"], json!(old));
    assert_eq!(lab.inspect("1")["State"]["Running"], true);
    assert_eq!(lab.names(), ["1"]);
}

#[test]
fn beside_a_server_and_interrupted_it_leaves_each_container_once() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    for name in ["1", "2", "3"] {
        lab.workspace(name, "hermes");
    }
    let server = lab.program("hermes", &[]);
    lab.publish("hermes", &good(&lab.name("v2")));
    let running = command(&lab, "hermes", &["refresh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let (status, report) = server.refresh("");
    let output = running.wait_with_output().expect("its end");
    assert_eq!(status, 200, "{report}");
    assert!(output.status.success(), "{output:?}");
    for name in ["1", "2", "3"] {
        assert_eq!(lab.version(name), lab.name("v2"));
    }
    assert_eq!(lab.names(), ["1", "2", "3"]);
    // And once more, stopped in the middle of it.
    lab.publish("hermes", &good(&lab.name("v3")));
    let mut running = command(&lab, "hermes", &["refresh"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(
        running.stderr.take().expect("its words"),
    ));
    let first = lines
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line.contains(": recreated"));
    assert!(first.is_some());
    let mut kill = Command::new("kill");
    kill.args(["-TERM", &running.id().to_string()]);
    assert!(kill.status().expect("kill").success());
    let status = running.wait().expect("its end");
    assert_eq!(status.code(), Some(1));
    assert_eq!(lab.names(), ["1", "2", "3"]);
    let newest = ["1", "2", "3"]
        .iter()
        .filter(|name| lab.version(name) == lab.name("v3"));
    assert!((1..3).contains(&newest.count()), "it ended in between");
    for name in ["1", "2", "3"] {
        assert_eq!(lab.inspect(name)["State"]["Running"], true);
    }
}

#[test]
fn what_is_left_as_it_is_has_its_reason_in_a_dry_run_too() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    let image = lab.reference("hermes");
    let create = |name: &str, more: Value| {
        let mut body = json!({"Image": image});
        body.as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("one").clone());
        lab.docker.run(&lab.name(name), &body);
    };
    create("home", json!({"Labels": {"imagewatch.enable": "false"}}));
    let (home, joined) = (lab.name("home"), lab.name("joined"));
    let mode = format!("container:{home}");
    create("joined", json!({"HostConfig": {"NetworkMode": mode}}));
    create("told", json!({"Labels": {"imagewatch.mode": "notify"}}));
    create("plain", json!({}));
    let (status, _) = lab
        .docker
        .ask("POST", &format!("/containers/{home}/stop?t=0"), b"");
    assert_eq!(status, 204);
    lab.publish("hermes", &good(&lab.name("v2")));
    let skipped = |report: &Value| {
        let list = report["skipped"].as_array().expect("a list").iter();
        let mut list: Vec<(Value, Value)> = list
            .map(|one| (one["name"].clone(), one["reason"].clone()))
            .filter(|(name, _)| *name != json!(home))
            .collect();
        list.sort_by_key(|(name, _)| name.to_string());
        list
    };
    let (code, text, _) = run(&lab, "hermes", &["refresh", "--dry-run", "--json"]);
    let rehearsal: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(rehearsal["would_recreate"], json!([lab.name("plain")]));
    // Whoever names it wants it done, and hears that it was not.
    let (code, _, shown) = run(&lab, "hermes", &["refresh", &joined]);
    assert_eq!(code, Some(1), "{shown}");
    let (_, text, _) = run(&lab, "hermes", &["refresh", "--json"]);
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["recreated"], json!([lab.name("plain")]), "{text}");
    assert_eq!(skipped(&rehearsal), skipped(&report));
    assert_eq!(skipped(&report).len(), 2, "{text}");
}
