//! Every command that a document shows is run, against a running program, an Engine that has one
//! container and a registry that has its image.

use super::Block;
use super::api;
use super::documents;
use crate::support::Folder;
use crate::support::program::Program;
use crate::support::server::Answer;
use crate::support::server::Server;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// Commands that are not run, and why. In their place is a program that says its name and ends well.
const LEFT_OUT: [(&str, &str); 9] = [
    ("cosign", "needs a release"),
    (
        "docker",
        "needs an Engine; scripts/release/dockerfile-test.sh builds both images and runs them",
    ),
    ("gh", "needs a release"),
    ("git", "would change the tree"),
    ("scripts/bench.sh", "needs engines, and minutes"),
    ("scripts/release/cross.sh", "needs compilers, and minutes"),
    ("scripts/demo.sh", "needs engines, and minutes"),
    ("scripts/release/reproduce.sh", "needs minutes"),
    ("scripts/test.sh", "would run this very test"),
];
/// Languages of blocks that hold no commands.
const NO_COMMANDS: [&str; 4] = ["json", "text", "yaml", "http"];
const ID: &str = "5f70bf18a0860016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef1c";
const TOKEN: &str = "t0ken";
const READ_TOKEN: &str = "read-only";

/// The runtime whose image is only here for one look after each pull.
const PULLED: &str = "autogen";

/// The digest that every tag points at.
fn digest() -> String {
    format!("sha256:{}", "a".repeat(64))
}

/// An image as its Engine shows it, whatever it is called.
fn image(name: &str) -> Value {
    let repository = name
        .rsplit_once(':')
        .map_or(name, |(repository, _)| repository);
    json!({"Id": format!("sha256:{}", "b".repeat(64)), "RepoTags": [name],
           "RepoDigests": [format!("{repository}@{}", digest())], "Os": "linux", "Architecture": "amd64",
           "Config": {"Cmd": ["serve"]}, "RootFS": {"Layers": []}})
}

/// What a request's path is about, below `/v1.41`.
fn answer(target: &str, reference: &str, is_pulled: &AtomicBool) -> Answer {
    let image_id = image(reference)["Id"].clone();
    let not_there = || Answer::json(404, &json!({"message": "no such thing"}));
    let path = target.split('?').next().unwrap_or_default();
    match path.trim_start_matches("/v1.41") {
        "/_ping" => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
        "/version" => Answer::json(200, &json!({"Version": "20.10.24", "Arch": "amd64"})),
        "/containers/json" => Answer::json(
            200,
            &json!([{"Id": ID, "Names": ["/ws-1"], "Image": reference, "ImageID": image_id,
                     "State": "running", "Labels": {}}]),
        ),
        "/images/create" => {
            is_pulled.fetch_or(target.contains(PULLED), Ordering::Relaxed);
            let line = json!({"status": "Downloading", "id": "5f70bf18a086",
                              "progressDetail": {"current": 1, "total": 2}});
            Answer::new(200, &[], format!("{line}\n"))
        }
        "/containers/create" => Answer::json(500, &json!({"message": "not here"})),
        other => match other
            .strip_prefix("/containers/")
            .and_then(|p| p.strip_suffix("/json"))
        {
            Some("ws-1" | ID) => Answer::json(
                200,
                &json!({"Id": ID, "Name": "/ws-1", "Image": image_id,
                        "State": {"Status": "running", "StartedAt": "2026-03-01T09:00:00Z"},
                        "Config": {"Image": reference, "Cmd": ["serve"], "Labels": {}},
                        "HostConfig": {"NetworkMode": "none"},
                        "NetworkSettings": {"Networks": {}}, "Mounts": []}),
            ),
            Some(_) => not_there(),
            None => match other
                .strip_prefix("/images/")
                .and_then(|p| p.strip_suffix("/json"))
            {
                Some(name)
                    if name.contains(PULLED) && !is_pulled.swap(false, Ordering::Relaxed) =>
                {
                    not_there()
                }
                Some(name) => Answer::json(200, &image(name)),
                None => not_there(),
            },
        },
    }
}

/// Everything the commands of the documents meet.
struct World {
    program: Program,
    socket: String,
    template: String,
    folder: Folder,
    _engine: Server,
    _registry: Server,
}

impl World {
    fn new() -> Self {
        let registry =
            Server::tcp(|_| Answer::new(200, &[("Docker-Content-Digest", &digest())], ""));
        let template = format!("{}/workspace-template-{{runtime}}:latest", registry.host());
        let reference = template.replace("{runtime}", "claude-code");
        let folder = Folder::new();
        let socket = folder.path().join("engine.sock");
        let is_pulled = AtomicBool::new(false);
        let engine = Server::unix(&socket, move |seen| {
            answer(&seen.target, &reference, &is_pulled)
        });
        let socket = socket.to_str().expect("UTF-8").to_owned();
        let program = Program::start(&[
            ("DOCKER_HOST", &format!("unix://{socket}")),
            ("IMAGEWATCH_IMAGE", &template),
            ("IMAGE_AUTO_REFRESH", "true"),
            ("ADMIN_TOKEN", TOKEN),
            ("IMAGEWATCH_READ_TOKEN", READ_TOKEN),
            ("IMAGEWATCH_STATE", folder.path().to_str().expect("UTF-8")),
        ]);
        let world = Self {
            program,
            socket,
            template,
            folder,
            _engine: engine,
            _registry: registry,
        };
        for (name, _) in LEFT_OUT {
            world.program_called(name, &format!("#!/bin/sh\necho left out: {name}\n"));
        }
        let real = format!(
            "#!/bin/sh\nexec {} \"$@\"\n",
            env!("CARGO_BIN_EXE_imagewatch")
        );
        world.program_called("imagewatch", &real);
        world
    }

    fn program_called(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, text).expect("a program");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("to be run");
    }

    /// Runs commands as a shell would, but for the addresses.
    fn run(&self, commands: &str) -> Output {
        let host = self.program.host();
        let here = format!("http://{host}");
        let commands = commands
            .replace("http://127.0.0.1:8080", &here)
            .replace("https://imagewatch.example.org", &here)
            .replace("/var/run/docker.sock", &self.socket);
        let folder: &Path = self.folder.path();
        Command::new("bash")
            .args(["-euo", "pipefail", "-c", &commands])
            .current_dir(folder)
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", folder.display()))
            .env("HOME", folder)
            .env("ADMIN_TOKEN", TOKEN)
            .env("IMAGEWATCH_READ_TOKEN", READ_TOKEN)
            .env("DOCKER_HOST", format!("unix://{}", self.socket))
            .env("IMAGEWATCH_IMAGE", &self.template)
            .env("IMAGEWATCH_LISTEN", host)
            .output()
            .expect("bash")
    }

    /// What they print; they have to end well.
    #[track_caller]
    fn printed(&self, place: &str, commands: &str) -> String {
        let output = self.run(commands);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (code, printed) = (output.status.code(), text(output.stdout));
        let complaint = text(output.stderr);
        assert_eq!(
            code,
            Some(0),
            "{place}:\n{commands}\nprinted: {printed}\ncomplained: {complaint}"
        );
        printed
    }
}

fn blocks() -> Vec<Block> {
    documents().iter().flat_map(|one| one.blocks()).collect()
}

/// The scripts of a GitHub workflow's steps.
fn steps_of(workflow: &Block) -> Vec<String> {
    let mut scripts: Vec<String> = Vec::new();
    let mut margin = None;
    for line in workflow.text.lines() {
        let indent = line.len() - line.trim_start().len();
        match margin {
            Some(least) if indent > least || line.is_empty() => {
                if let Some(script) = scripts.last_mut() {
                    script.push_str(line.trim_start());
                    script.push('\n');
                }
            }
            _ => {
                margin = (line.trim() == "run: |").then_some(indent);
                scripts.extend(margin.map(|_| String::new()));
            }
        }
    }
    scripts
}

/// Each command of a console, and the lines it is said to print.
fn dialogue(console: &Block) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for line in console.text.lines() {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (Some(command), _) => found.push((command.to_owned(), Vec::new())),
            (None, Some((_, printed))) => printed.push(line.to_owned()),
            (None, None) => panic!("{}: begins without a command", console.place),
        }
    }
    found
}

/// What kinds of lines there are: the keys of each, and of a step its name.
fn kinds<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let kind = |line: &str| {
        let json: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        let keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
        format!("{} {keys:?}", json["step"])
    };
    lines.map(kind).collect()
}

#[test]
fn every_command_works_and_answers_as_shown() {
    if Command::new("curl").arg("-V").output().is_err() {
        let words = b"left out: the commands of the documents, because there is no curl here\n";
        return drop(std::io::stderr().write_all(words));
    }
    let world = World::new();
    let mut count = 0;
    for block in blocks() {
        match &*block.language {
            "sh" => {
                world.printed(&block.place, &block.text);
                count += 1;
            }
            "console" => {
                for (command, shown) in dialogue(&block) {
                    let printed = world.printed(&block.place, &command);
                    let shown = kinds(shown.iter().map(String::as_str));
                    assert_eq!(kinds(printed.lines()), shown, "{}: {printed}", block.place);
                    count += 1;
                }
            }
            language => assert!(
                NO_COMMANDS.contains(&language),
                "{}: {language:?} is a language nobody runs",
                block.place
            ),
        }
        for script in steps_of(&block) {
            world.printed(&block.place, &script);
            count += 1;
        }
    }
    assert!(count > 15, "{count} examples");
    let (status, answer) = world.program.ask("GET", "/admin/status");
    assert_eq!(status, 200);
    let mut keys = BTreeSet::new();
    api::paths(&answer, "", &mut keys);
    let undocumented: Vec<_> = keys.difference(&api::status_keys()).cloned().collect();
    assert!(undocumented.is_empty(), "{undocumented:?}");
    assert!(keys.contains(".refreshes[].report.pulled") && keys.contains(".containers[].image"));
}

#[test]
fn a_command_that_fails_is_noticed() {
    let world = World::new();
    for commands in [
        "imagewatch dance",
        "curl -fsS http://127.0.0.1:8080/nothing",
        "curl -fsS http://127.0.0.1:8080/admin/status",
        "no-such-program",
    ] {
        assert!(!world.run(commands).status.success(), "{commands}");
    }
}

#[test]
fn json_and_yaml_can_be_read() {
    const READ: &str = "import sys, yaml; yaml.safe_load(sys.argv[1])";
    let has_yaml = Command::new("python3").args(["-c", "import yaml"]).output();
    let has_yaml = has_yaml.is_ok_and(|output| output.status.success());
    if !has_yaml {
        let words = b"left out: the YAML of the documents, because there is no PyYAML here\n";
        drop(std::io::stderr().write_all(words));
    }
    for block in blocks() {
        if block.language == "json" {
            let read: Result<Value, _> = serde_json::from_str(&block.text);
            assert!(read.is_ok(), "{}: {read:?}", block.place);
        }
        // Two files side by side, which tests/engine/private_registry.rs takes apart.
        let is_pair = block.text.starts_with("# before ");
        if block.language == "yaml" && has_yaml && !is_pair {
            let output = Command::new("python3")
                .args(["-c", READ, &block.text])
                .output();
            let output = output.expect("python3");
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {words}", block.place);
        }
    }
}
