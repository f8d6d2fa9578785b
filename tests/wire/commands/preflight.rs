//! The preflight of a start: what is not permitted is named, once each, and nothing is done to find
//! it out.

use crate::support::Folder;
use crate::support::eventually;
use crate::support::program::Program;
use crate::support::server::Answer;
use crate::support::server::Seen;
use crate::support::server::Server;
use imagewatch::commands::CALLS;
use imagewatch::commands::Need;
use serde_json::Value;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

/// What no container, network or image can be called.
const NOBODY: &str = "_imagewatch.preflight";
/// A user without rights.
const UNPRIVILEGED: u32 = 65534;

/// What an Engine is, and who wants what of it.
#[derive(Clone, Copy)]
struct World {
    api: &'static str,
    name: &'static str,
    labels: fn() -> Value,
    is_manager: bool,
}

/// Everything that can be needed is.
const ALL: World = World {
    api: "1.41",
    name: "Podman Engine",
    labels: || {
        json!({"imagewatch.enable": "true", "imagewatch.post-update": "true",
               "com.centurylinklabs.watchtower.stop-signal": "SIGINT",
               "com.docker.compose.depends_on": "db:service_healthy:false,cache:service_started:true"})
    },
    is_manager: false,
};
/// The same on Docker, where other calls show some of it.
const DOCKER: World = World {
    name: "Engine",
    ..ALL
};
/// As little as possible.
const PLAIN: World = World {
    api: "1.51",
    name: "Engine",
    labels: || json!({"com.docker.compose.depends_on": "db:service_healthy:false"}),
    is_manager: false,
};
/// A manager of a swarm.
const MANAGER: World = World {
    is_manager: true,
    ..DOCKER
};

fn needs(wanted: Need, rule: &str) -> bool {
    let mut calls = CALLS.iter();
    calls.any(|(other, need, _)| *other == rule && *need == wanted)
}

/// `POST /containers/{id}/start` of a request for that.
fn rule(seen: &Seen) -> String {
    let path = seen.target.split('?').next().unwrap_or_default();
    let path = match path.strip_prefix("/v1.") {
        Some(rest) => rest.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => path,
    };
    format!("{} {}", seen.method, path.replace(NOBODY, "{id}"))
}

/// An Engine behind somebody who says this to what he does not let through.
fn engine(socket: &Path, world: World, denied: &'static str, refusal: Answer) -> Server {
    let server = Server::unix(socket, move |seen| match &*rule(seen) {
        rule if rule == denied => refusal.clone(),
        "GET /_ping" => Answer::new(200, &[("Api-Version", world.api)], "OK"),
        "GET /version" => Answer::json(
            200,
            &json!({"Components": [{"Name": world.name}], "Version": "1"}),
        ),
        "GET /containers/json" => Answer::json(
            200,
            &json!([{"Id": "a".repeat(64), "Names": ["/web"], "Image": "acme/web",
                     "Labels": (world.labels)()}]),
        ),
        "GET /services" if world.is_manager => Answer::json(200, &json!([])),
        _ => Answer::json(
            404,
            &json!({"message": format!("No such container: {NOBODY}")}),
        ),
    });
    server.with_preflight()
}

fn forbidden() -> Answer {
    Answer::new(403, &[], "Forbidden\n")
}

fn start(socket: &Path, more: &[(&str, &str)]) -> Program {
    let host = format!("unix://{}", socket.display());
    // The built-in runtimes would be one more question.
    let mut vars = vec![("DOCKER_HOST", &*host), ("IMAGEWATCH_RUNTIMES", "hermes")];
    vars.extend(more);
    Program::start(&vars)
}

/// The warnings so far.
fn warnings(program: &Program) -> Vec<String> {
    let log = program.log();
    let lines = log.lines().filter(|line| line.contains("WARN"));
    lines.map(str::to_owned).collect()
}

#[test]
fn each_call_that_is_not_let_through_is_named_once_and_no_other() {
    let folder = Folder::new();
    let socket = folder.path().join("s");
    let needed = CALLS.iter().filter(|(_, need, _)| *need != Need::Doubt);
    for (rule, _, what) in needed {
        for (status, words) in [(403, "Forbidden\n"), (405, "{\"message\":\"not here\"}")] {
            let world = match rule {
                rule if needs(Need::Swarm, rule) => MANAGER,
                rule if needs(Need::Docker, rule) => DOCKER,
                _ => ALL,
            };
            let _server = engine(&socket, world, rule, Answer::new(status, &[], words));
            let program = start(&socket, &[("IMAGEWATCH_CLEANUP", "true")]);
            program.await_line("preflight: done, permissions missing: 1");
            let warnings = warnings(&program);
            let [warning] = &*warnings else {
                panic!("{rule}: {warnings:#?}");
            };
            let method = rule.split(' ').next().expect("a method");
            for part in [
                &*format!("preflight: no permission to {what}: {method} unix://"),
                &format!(": {status} "),
                &format!("allow {rule})"),
            ] {
                assert!(warning.contains(part), "{rule}: {warning}");
            }
        }
    }
}

#[test]
fn where_all_is_let_through_nothing_is_said_and_nothing_is_done() {
    let rest = |api: &str, calls: &[&str]| -> Vec<String> {
        let with = |call: &&str| {
            let (method, path) = call.split_once(' ').expect("a call");
            let path = path.replace("{id}", NOBODY);
            match path.as_str() {
                "/_ping" => format!("{method} {path}"),
                "/containers/json" => format!("{method} /v{api}{path}?all=1"),
                "/services" => format!("{method} /v{api}{path}?status=true"),
                "/events" => format!("{method} /v{api}{path}?since=1&until=1"),
                "/containers/create" | "/images/create" => {
                    format!("{method} /v{api}{path}?fromImage={NOBODY}&name={NOBODY}")
                }
                _ => format!("{method} /v{api}{path}"),
            }
        };
        calls.iter().map(with).collect()
    };
    let needed = CALLS
        .iter()
        .filter(|(_, need, _)| ![Need::Doubt, Need::Swarm].contains(need));
    let all: Vec<&str> = needed.map(|(rule, _, _)| *rule).collect();
    // The first list looks for what is half done, and the next call for a swarm.
    let first = ["GET /_ping", "GET /containers/json", "GET /services"];
    let mut most = first.to_vec();
    most.extend(all[1..].iter().filter(|rule| !needs(Need::Docker, rule)));
    let mut least = first.to_vec();
    least.extend(&all[1..19]);
    let mut removing = least.clone();
    let swapping = [
        "/logs", "/events", "/changes", "/archive", "/start", "/stop", "/rename", "/update",
    ];
    removing.retain(|rule| swapping.iter().all(|end| !rule.ends_with(end)));
    for (world, variable, expected) in [
        (ALL, ("IMAGEWATCH_CLEANUP", "true"), most),
        (PLAIN, ("IMAGEWATCH_CLEANUP", "false"), least),
        (PLAIN, ("IMAGEWATCH_RECREATE", "remove"), removing),
    ] {
        let folder = Folder::new();
        let socket = folder.path().join("s");
        let server = engine(&socket, world, "", forbidden());
        let program = start(&socket, &[variable]);
        program.await_line("preflight: done, may do all it needs");
        assert_eq!(warnings(&program), [""; 0]);
        assert_eq!(server.lines(), rest(world.api, &expected));
        for seen in server.seen() {
            let is_creation = seen.target.contains("/create?");
            let body = json!({"Image": NOBODY}).to_string();
            let expected = if is_creation { body.as_bytes() } else { b"" };
            assert_eq!(seen.body, expected, "{}", seen.line());
        }
    }
}

#[test]
fn an_engine_that_comes_later_is_asked_then() {
    let folder = Folder::new();
    let socket = folder.path().join("s");
    let program = start(&socket, &[]);
    program.await_line("is the Engine running, and its socket mounted here?");
    assert!(!program.has_said("preflight: no permission"));
    let denied = "POST /containers/{id}/rename";
    // A proxy may be there before it.
    let refusal = Answer::new(503, &[], "no server is available");
    let proxy = engine(&socket, PLAIN, "GET /_ping", refusal);
    program.await_line("preflight: not done yet: GET unix://");
    drop(proxy);
    let _server = engine(&socket, PLAIN, denied, forbidden());
    program.await_line("preflight: no permission to rename a container: ");
    program.await_line("preflight: done, permissions missing: 1");
    let named = |line: &&String| line.contains("preflight:");
    assert_eq!(warnings(&program).iter().filter(named).count(), 1);
}

#[test]
fn an_engine_that_breaks_off_is_not_asked_for_ever() {
    let folder = Folder::new();
    let socket = folder.path().join("s");
    let broken = "GET /containers/{id}/logs";
    let server = engine(&socket, PLAIN, broken, Answer::Close);
    let program = start(&socket, &[]);
    program.await_lines("preflight: not done yet: ", 3);
    let count = |what: &str| {
        let lines = server.lines();
        lines.iter().filter(|line| line.contains(what)).count()
    };
    let refresh = || program.refresh("?runtime=hermes").0;
    assert_eq!(refresh(), 200, "it works all the same");
    // The next moment begins with a list, and is over when there is another report.
    let lists = count("/containers/json");
    eventually("the next moment", || {
        (count("/containers/json") > lists).then_some(())
    });
    refresh();
    // Each is asked for twice, because the connection may have been stale.
    assert_eq!(count("/logs"), 6);
}

#[test]
fn a_list_that_is_refused_is_no_health() {
    let folder = Folder::new();
    let socket = folder.path().join("s");
    let server = engine(&socket, PLAIN, "GET /containers/json", forbidden());
    let program = start(&socket, &[]);
    program.await_line("preflight: no permission to list containers: ");
    let (status, answer) = program.ask("GET", "/health");
    let reason = answer["error"].as_str().unwrap_or_default();
    assert_eq!(status, 503, "{answer}");
    assert!(
        reason.contains("403 Forbidden (the socket proxy or authorization plugin has to allow GET /containers/json)"),
        "{reason}"
    );
    drop(server);
    let _server = engine(&socket, PLAIN, "", forbidden());
    eventually("healthy again", || {
        (program.ask("GET", "/health").0 == 200).then_some(())
    });
}

#[test]
fn a_command_that_is_refused_says_what_to_allow() {
    let folder = Folder::new();
    let socket = folder.path().join("s");
    let host = format!("unix://{}", socket.display());
    for (command, denied) in [
        (&["check"][..], "GET /containers/json"),
        (&["plan", NOBODY], "GET /containers/{id}/json"),
        (&["refresh", NOBODY], "GET /containers/{id}/json"),
    ] {
        let _server = engine(&socket, PLAIN, denied, forbidden());
        let output = Command::new(crate::support::program::binary())
            .args(command)
            .env_clear()
            .env("DOCKER_HOST", &host)
            .env("IMAGEWATCH_RUNTIMES", "none")
            .output()
            .expect("the program runs");
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(&format!("has to allow {denied})")), "{said}");
        assert!(!said.contains("preflight:"), "{said}");
    }
}

/// Where the program is run as a user without rights, if we may become one.
fn unprivileged(folder: &Folder) -> Option<String> {
    // What stands elsewhere that user may not reach.
    let binary = folder.path().join("imagewatch");
    std::fs::copy(env!("CARGO_BIN_EXE_imagewatch"), &binary).expect("a copy");
    let script = folder.write(
        "run",
        format!(
            "#!/bin/sh\nexec /usr/bin/setpriv --reuid={UNPRIVILEGED} --regid={UNPRIVILEGED} --clear-groups {}\n",
            binary.display()
        ),
    );
    let mode = |path: &str, mode| {
        let path = folder.path().join(path);
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("its mode");
    };
    mode("", 0o755);
    mode("run", 0o755);
    let can = Command::new("/usr/bin/setpriv")
        .args(["--clear-groups", "true"])
        .stderr(Stdio::null())
        .status();
    if !can.is_ok_and(|status| status.success()) {
        println!("left out: only root can become somebody else");
        return None;
    }
    Some(script)
}

#[test]
fn files_and_a_socket_that_are_not_for_us_are_named_once_with_what_to_do() {
    let folder = Folder::new();
    let socket = folder.path().join("s");
    let _server = engine(&socket, PLAIN, "", forbidden());
    let login = folder.write("config.json", "{}");
    for (path, mode) in [(&*socket, 0o660), (Path::new(&login), 0o600)] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("its mode");
    }
    let state = folder.path().join("state");
    std::fs::create_dir(&state).expect("a folder");
    let host = format!("unix://{}", socket.display());
    let vars = [
        ("DOCKER_HOST", &*host),
        ("DOCKER_CONFIG", folder.path().to_str().expect("UTF-8")),
        ("IMAGEWATCH_STATE", state.to_str().expect("UTF-8")),
    ];
    let Some(script) = unprivileged(&folder) else {
        return;
    };
    let program = Program::start_binary(&script, &vars);
    let expected = [
        format!(
            "IMAGEWATCH_STATE={}: not writable: Permission denied (os error 13), as user 65534; ",
            state.display()
        ),
        format!("{login}: cannot be read (Permission denied (os error 13), as user 65534) "),
        "(the socket is for user 0 and group 0, mode 660, and this is user 65534: \
         group_add: [\"0\"], or user: \"0\")"
            .to_owned(),
    ];
    for words in &expected {
        program.await_line(words);
    }
    // A second look comes to the same.
    program.await_lines("preflight: not done yet: ", 2);
    assert_eq!(
        warnings(&program).len(),
        expected.len(),
        "{}",
        program.log()
    );
    let (status, answer) = program.ask("GET", "/health");
    assert_eq!(status, 503);
    assert!(
        answer["error"]
            .as_str()
            .is_some_and(|words| words.contains("group_add")),
        "{answer}"
    );
    drop(program);
    // A secret that was given, and cannot be read, is no start at all.
    let output = Command::new(&script)
        .env_clear()
        .envs([("ADMIN_TOKEN_FILE", &*login), ("DOCKER_HOST", &host)])
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let words = "expected a readable file (Permission denied (os error 13), as user 65534)";
    assert!(said.contains(words), "{said}");
}
