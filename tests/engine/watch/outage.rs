//! The Engine freezes, is restarted in mid-pull, or is full; names cannot be looked up; the clock is
//! set. What is late then is done later, and nothing is lost.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::engine::swap::workspace::Next;
use crate::engine::swap::workspace::Workspace;
use crate::support::Folder;
use crate::support::engine_proxy::Action;
use crate::support::engine_proxy::Place;
use crate::support::eventually;
use crate::support::images::ImageSpec;
use crate::support::program::Program;
use crate::support::server::Answer;
use crate::support::server::Server;
use crate::support::tidy;
use imagewatch::time::rfc3339;
use serde_json::Value;
use serde_json::json;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

/// An image with a layer of its own.
fn with_layer(mark: &str) -> ImageSpec {
    let mut image = good(mark);
    let mark = crate::support::unique();
    image
        .files
        .push((format!("etc/{mark}"), 0o644, mark.into()));
    image
}

/// Something done to the Engine until it is dropped.
struct Disturbed<'l> {
    lab: &'l Lab,
    end: &'static str,
}

impl<'l> Disturbed<'l> {
    fn new(lab: &'l Lab, begin: &str, end: &'static str) -> Self {
        lab.do_to_engine(begin);
        Self { lab, end }
    }
}

impl Drop for Disturbed<'_> {
    fn drop(&mut self) {
        tidy(|| self.lab.do_to_engine(self.end));
    }
}

#[test]
fn a_frozen_engine_is_told_of_and_met_again_when_it_thaws() {
    let Some(lab) = Lab::in_charge() else { return };
    lab.first_workspace("hermes");
    let program = lab.watcher("hermes", &[]);
    program.await_line("seeded");
    assert_eq!(program.ask("GET", "/health").0, 200);
    let frozen = Disturbed::new(&lab, "freeze", "thaw");
    lab.publish("hermes", &good("v2"));
    let begun = Instant::now();
    let answer = eventually("it is told", || {
        let (status, answer) = program.ask("GET", "/health");
        (status == 503).then_some(answer)
    });
    let reason = answer["error"].as_str().unwrap_or_default();
    assert!(reason.contains("no answer in time"), "{answer}");
    assert!(
        begun.elapsed() < Duration::from_secs(12),
        "{:?}",
        begun.elapsed()
    );
    drop(frozen);
    eventually("healthy again", || {
        (program.ask("GET", "/health").0 == 200).then_some(())
    });
    program.await_line("recreated container=");
    assert_eq!(lab.version("1"), "v2");
    assert_eq!(lab.names(), ["1"]);
}

#[test]
fn an_engine_that_is_restarted_in_mid_pull_pulls_again() {
    let Some(lab) = Lab::in_charge() else { return };
    let old = lab.first_workspace("hermes");
    let program = lab.watcher("hermes", &[]);
    program.await_line("seeded");
    let layers = || {
        let is_layer = |line: &&String| line.starts_with("GET ") && line.contains("/blobs/");
        lab.proxy.lines().iter().filter(is_layer).count()
    };
    let before = layers();
    lab.rules.hold_blobs();
    lab.publish("hermes", &with_layer("v2"));
    eventually("a layer is asked for", || (layers() > before).then_some(()));
    lab.do_to_engine("restart");
    assert_eq!(lab.inspect("1")["Id"], json!(old));
    lab.rules.let_blobs_go();
    lab.docker.start(&lab.name("1"));
    program.await_line("hermes could not be pulled: ");
    program.await_line("recreated container=");
    assert_eq!(lab.version("1"), "v2");
    assert_eq!(lab.names(), ["1"]);
}

#[test]
fn a_full_engine_keeps_what_runs_and_says_what_to_do() {
    let Some(lab) = Lab::in_charge() else { return };
    let old = lab.first_workspace("hermes");
    let program = lab.watcher("hermes", &[]);
    program.await_line("seeded");
    let full = Disturbed::new(&lab, "fill", "empty");
    lab.publish("hermes", &with_layer("v2"));
    let failed = program
        .await_lines("hermes could not be pulled: ", 3)
        .remove(2);
    let is_told = failed.contains("no space left on device") && failed.contains("docker system df");
    assert!(is_told, "{failed}");
    let inspect = lab.inspect("1");
    assert_eq!(
        (&inspect["Id"], &inspect["State"]["Running"]),
        (&json!(old), &json!(true))
    );
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(status["rejected"], json!([]));
    assert_eq!(
        status["history"].as_array().map(Vec::len),
        Some(1),
        "{status}"
    );
    assert_eq!(status["history"][0]["outcome"], "pull_failed");
    assert_eq!(program.ask("GET", "/health").0, 200);
    drop(full);
    program.await_line("recreated container=");
    assert_eq!(lab.version("1"), "v2");
    assert_eq!(lab.names(), ["1"]);
}

#[test]
fn a_swap_that_finds_the_engine_full_is_tried_again() {
    let Some(lab) = Lab::parted() else { return };
    for (call, list) in [
        ("/containers/create?name=w.iw-new", "skipped"),
        ("/start", "rolled_back"),
    ] {
        let mut workspace = Workspace::new(&lab, true);
        let old = workspace.mark();
        let new = workspace.publish(Next::Good);
        let mut run = workspace.run(Some((Place::Holding(call, 1), Action::DiskIsFull)));
        let (_, report) = run.await_report();
        let reason = report[list][0]["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("docker system df"), "{call}: {report}");
        assert_eq!(workspace.settle(Duration::from_secs(5)), old, "{call}");
        run.ask();
        let (_, report) = run.await_report();
        assert_eq!(
            report["recreated"],
            json!([workspace.name()]),
            "{call}: {report}"
        );
        assert_eq!(workspace.settle(Duration::from_secs(5)), new, "{call}");
    }
}

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn found() -> Answer {
    Answer::new(200, &[("Docker-Content-Digest", DIGEST)], "")
}

/// An Engine that only lists containers of these images, and the program that watches them.
fn watch(
    folder: &Folder,
    binary: &str,
    images: &[String],
    more: &[(&str, &str)],
) -> (Server, Program) {
    let entry = |(number, image): (usize, &String)| {
        json!({"Id": number.to_string(), "Names": [format!("/c{number}")], "Image": image,
               "ImageID": DIGEST, "State": "running", "Labels": {"imagewatch.enable": "true"}})
    };
    let list: Vec<Value> = images.iter().enumerate().map(entry).collect();
    let socket = folder.path().join("s");
    let engine = Server::unix(&socket, move |seen| match seen.target.as_str() {
        "/_ping" => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
        "/v1.41/version" => Answer::json(200, &json!({"Version": "20.10.24"})),
        "/v1.41/containers/json?all=1" => Answer::json(200, &json!(list)),
        other if other.contains("/images/create?") => {
            Answer::json(404, &json!({"message": "no such manifest"}))
        }
        _ => Answer::json(200, &json!({"Id": DIGEST})),
    });
    let host = format!("unix://{}", socket.display());
    let mut vars = vec![
        ("DOCKER_HOST", host.as_str()),
        ("IMAGE_AUTO_REFRESH", "true"),
        ("IMAGEWATCH_RUNTIMES", "none"),
        ("IMAGEWATCH_INTERVAL", "1s"),
    ];
    vars.extend(more);
    (engine, Program::start_binary(binary, &vars))
}

/// The program with a mount that only it sees.
fn after_mount(folder: &Folder, mount: &str) -> String {
    let script = format!(
        "#!/bin/sh\nexec unshare --mount sh -c 'mount {mount} && exec {}'\n",
        env!("CARGO_BIN_EXE_imagewatch")
    );
    let script = folder.write("imagewatch", script);
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&script, executable).expect("a script");
    script
}

#[test]
fn a_state_folder_that_cannot_be_written_is_said_once_and_ends_nothing() {
    if !Lab::is_in_charge() {
        return;
    }
    let has_moved = Arc::new(AtomicBool::new(false));
    let moved = Arc::clone(&has_moved);
    let registry = Server::tcp(move |_| {
        let other = format!("sha256:{}", "9".repeat(64));
        match moved.load(Ordering::SeqCst) {
            true => Answer::new(200, &[("Docker-Content-Digest", &other)], ""),
            false => found(),
        }
    });
    let image = |name: &str| format!("{}/acme/{name}:latest", registry.host());
    for (option, reason) in [
        ("nr_inodes=1", "No space left on device"),
        ("ro", "Read-only file system"),
    ] {
        let (folder, place) = (Folder::new(), Folder::new());
        let state = place.path().to_str().expect("UTF-8");
        let script = after_mount(&folder, &format!("-t tmpfs -o {option} tmpfs {state}"));
        let more = [("IMAGEWATCH_STATE", state), ("IMAGEWATCH_INTERVAL", "1h")];
        has_moved.store(false, Ordering::SeqCst);
        let (_engine, program) = watch(&folder, &script, &[image("a"), image("b")], &more);
        // What it has seen at a registry is that registry's.
        program.await_line("watching ");
        // An image that is here would not be pulled.
        has_moved.store(true, Ordering::SeqCst);
        let (_, report) = program.ask("POST", "/v1/update");
        assert_eq!(
            report["failed"],
            json!([image("a"), image("b")]),
            "{report}"
        );
        let log = program.log();
        let said: Vec<&str> = log
            .lines()
            .filter(|line| line.contains(" WARN ") && line.contains("IMAGEWATCH_STATE="))
            .collect();
        assert!(said.len() == 1 && said[0].contains(reason), "{said:?}");
        let (_, status) = program.ask("GET", "/admin/status");
        assert_eq!(
            status["history"].as_array().map(Vec::len),
            Some(2),
            "{status}"
        );
        assert_eq!(program.ask("GET", "/health").0, 200);
    }
}

/// A server of names on the port where those are asked for. While it is silent it takes questions and
/// answers none, else every name is this machine's.
fn name_server(is_silent: Arc<AtomicBool>) {
    let socket = UdpSocket::bind("127.0.0.1:53").expect("the port of a name server");
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, asker)) = socket.recv_from(&mut question) {
            if !is_silent.load(Ordering::SeqCst) {
                let _ = socket.send_to(&answer(&question[..length]), asker);
            }
        }
    });
}

/// To a question for an IPv4 address 127.0.0.1, to any other nothing (RFC 1035, section 4.1).
fn answer(question: &[u8]) -> Vec<u8> {
    let name = question[12..]
        .iter()
        .position(|byte| *byte == 0)
        .expect("an end");
    let end = 12 + name + 5;
    let is_v4 = question[end - 4..end - 2] == [0, 1];
    let mut answer = question[..end].to_vec();
    answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_v4), 0, 0, 0, 0]);
    if is_v4 {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    answer
}

#[test]
fn names_that_cannot_be_looked_up_hold_up_no_other_registry_and_are_found_again() {
    if !Lab::is_in_charge() {
        return;
    }
    let is_silent = Arc::new(AtomicBool::new(true));
    name_server(Arc::clone(&is_silent));
    let folder = Folder::new();
    let names = folder.write("resolv.conf", "nameserver 127.0.0.1\n");
    let script = after_mount(&folder, &format!("--bind {names} /etc/resolv.conf"));
    let (good, other) = (Server::tcp(|_| found()), Server::tcp(|_| found()));
    let named = format!("registry.example:{}", other.port());
    let images = [
        format!("{named}/acme/app:latest"),
        format!("{}/acme/app:latest", good.host()),
    ];
    let begun = Instant::now();
    let insecure = [("IMAGEWATCH_INSECURE_REGISTRIES", named.as_str())];
    let (_engine, program) = watch(&folder, &script, &images, &insecure);
    program.await_line(&format!("{}/acme/app:latest: seeded", good.host()));
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    let line = program.await_line("registry.example");
    let is_told = line.contains("no answer in time") || line.contains("is DNS working?");
    assert!(is_told, "{line}");
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(program.ask("GET", "/health").0, 200);
    is_silent.store(false, Ordering::SeqCst);
    program.await_line(&format!("{named}/acme/app:latest: seeded"));
}

/// What libfaketime shares with a process's children, and leaves behind if that is killed.
struct Shared(u32);

impl Drop for Shared {
    fn drop(&mut self) {
        for name in ["faketime_shm", "sem.faketime_sem"] {
            let _ = std::fs::remove_file(format!("/dev/shm/{name}_{}", self.0));
        }
    }
}

#[test]
fn rounds_and_waits_do_not_care_what_the_clock_is_set_to() {
    if !Lab::is_in_charge() {
        return;
    }
    let library = std::fs::read_dir("/usr/lib")
        .expect("a folder")
        .find_map(|entry| {
            let path = entry.ok()?.path().join("faketime/libfaketimeMT.so.1");
            path.exists()
                .then(|| path.to_str().expect("UTF-8").to_owned())
        });
    let library = library.expect("libfaketime (scripts/lab/lab.sh installs it)");
    let folder = Folder::new();
    let clock = folder.write("clock", "+0\n");
    let is_busy = Arc::new(AtomicBool::new(false));
    let for_handler = Arc::clone(&is_busy);
    let registry = Server::tcp(move |_| match for_handler.load(Ordering::SeqCst) {
        true => Answer::new(429, &[("Retry-After", "2")], ""),
        false => found(),
    });
    let images = [format!("{}/acme/app:latest", registry.host())];
    let vars = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", &clock),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    let binary = env!("CARGO_BIN_EXE_imagewatch");
    let (_engine, program) = watch(&folder, binary, &images, &vars);
    let _shared = Shared(program.pid());
    program.await_line("seeded");
    let unchanged = || program.log().matches("latest: unchanged").count();
    let hours = |count: u64| Duration::from_secs(count * 3600);
    for (jump, is_there) in [
        (
            "+9h",
            SystemTime::now() + hours(8)..SystemTime::now() + hours(10),
        ),
        (
            "-9h",
            SystemTime::now() - hours(10)..SystemTime::now() - hours(8),
        ),
        (
            "+3650d",
            SystemTime::now() + hours(87_000)..SystemTime::now() + hours(88_000),
        ),
    ] {
        is_busy.store(true, Ordering::SeqCst);
        eventually("put off", || {
            let (_, status) = program.ask("GET", "/admin/status");
            (status["put_off"] != json!([])).then_some(())
        });
        folder.write("clock", format!("{jump}\n"));
        is_busy.store(false, Ordering::SeqCst);
        let (begun, before) = (Instant::now(), unchanged());
        program.await_lines("latest: unchanged", before + 3);
        assert!(
            begun.elapsed() < Duration::from_secs(15),
            "{jump}: {:?}",
            begun.elapsed()
        );
        assert_eq!(
            program.ask("GET", "/health"),
            (200, json!({"status": "ok"})),
            "{jump}"
        );
        let (_, status) = program.ask("GET", "/admin/status");
        let shown = status["watcher"]["last_round"]
            .as_str()
            .expect("a time")
            .to_owned();
        let expected = rfc3339(is_there.start)..rfc3339(is_there.end);
        assert!(
            expected.contains(&shown),
            "{jump}: the clock was not set: {shown}"
        );
    }
}
