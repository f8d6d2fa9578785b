//! Registries and names that are gone, for a long time, and come back.

use crate::support::Folder;
use crate::support::eventually;
use crate::support::program::Program;
use crate::support::pulled_image;
use crate::support::server::Answer;
use crate::support::server::Server;
use serde_json::json;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

/// Rounds of an outage: as many as in an hour, at five minutes each.
const ROUNDS: u64 = 12;

fn digest(of: char) -> String {
    format!("sha256:{}", of.to_string().repeat(64))
}

fn found(of: char) -> Answer {
    Answer::new(200, &[("Docker-Content-Digest", &digest(of))], "")
}

/// An Engine with a container of each of these images, which can pull any.
fn engine(folder: &Folder, images: &[String]) -> (Server, String) {
    let entry = |(number, image): (usize, &String)| {
        json!({"Id": format!("{number}").repeat(64), "Names": [format!("/c{number}")], "Image": image,
               "ImageID": digest('0'), "State": "running", "Labels": {"imagewatch.enable": "true"}})
    };
    let list: Vec<_> = images.iter().enumerate().map(entry).collect();
    let socket = folder.path().join("s");
    let server = Server::unix(&socket, move |seen| match seen.target.as_str() {
        "/_ping" => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
        "/v1.41/version" => Answer::json(200, &json!({"Version": "20.10.24"})),
        "/v1.41/containers/json?all=1" => Answer::json(200, &json!(list)),
        other if other.contains("/images/create?") => {
            Answer::new(200, &[], "{\"status\":\"ok\"}\n")
        }
        other if other.contains("/images/") => {
            Answer::json(200, &pulled_image(&digest('0'), other))
        }
        _ => Answer::json(404, &json!({"message": "no such container"})),
    });
    let host = format!("unix://{}", socket.display());
    (server, host)
}

fn watch(host: &str) -> Program {
    Program::start(&[
        ("DOCKER_HOST", host),
        ("IMAGE_AUTO_REFRESH", "true"),
        ("IMAGEWATCH_RUNTIMES", "none"),
        ("IMAGEWATCH_INTERVAL", "1s"),
    ])
}

fn await_rounds(program: &Program, count: u64) {
    let rounds = || {
        let (_, status) = program.ask("GET", "/admin/status");
        status["watcher"]["rounds"].as_u64().expect("a number")
    };
    let before = rounds();
    eventually("the rounds", || (rounds() >= before + count).then_some(()));
}

fn warnings(program: &Program, about: &str) -> Vec<String> {
    let log = program.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("WARN") && line.contains(about));
    lines.map(str::to_owned).collect()
}

/// What a registry in trouble does.
enum Outage {
    IsBroken,
    HangsUp,
    PutsOff,
}

/// A registry that is away for many rounds is asked again each time it may be, said once, disturbs no
/// other, and what moved meanwhile is noticed at the first answer.
fn away_and_back(outage: &Outage) {
    let state = Arc::new(Mutex::new(found('a')));
    let answer = Arc::clone(&state);
    let bad = Server::tcp(move |_| answer.lock().expect("no panic").clone());
    let good = Server::tcp(|_| found('a'));
    let folder = Folder::new();
    let images = [&bad, &bad, &bad, &good];
    let images = images.iter().enumerate();
    let images: Vec<String> = images
        .map(|(number, server)| format!("{}/acme/app{number}:latest", server.host()))
        .collect();
    let (_engine, host) = engine(&folder, &images);
    let program = watch(&host);
    program.await_lines("seeded", 4);

    let set = |answer: Answer| *state.lock().expect("no panic") = answer;
    set(match outage {
        Outage::IsBroken => Answer::new(503, &[("Retry-After", "1")], "<html>"),
        Outage::HangsUp => Answer::Close,
        Outage::PutsOff => Answer::new(429, &[("Retry-After", "1")], ""),
    });
    let (asked, others) = (bad.lines().len(), good.lines().len());
    await_rounds(&program, ROUNDS);
    assert!(bad.lines().len() > asked, "it is asked again");
    let others = good.lines().len() - others;
    assert!(others >= 10, "{others} look-ups of the other registry");
    assert_eq!(
        program.ask("GET", "/health"),
        (200, json!({"status": "ok"}))
    );
    let said = warnings(&program, &bad.host());
    // Of each reference, and of the host that it is put off.
    assert!(said.len() <= 4, "{said:#?}");
    assert!(warnings(&program, &good.host()).is_empty());

    set(found('b'));
    program.await_lines("digest moved", 3);
    let put_off = |line: &&String| line.contains(", because it");
    let lines = warnings(&program, &bad.host());
    assert!(lines.iter().filter(put_off).count() <= 1, "{lines:#?}");
}

#[test]
fn a_registry_that_is_away_for_hours_is_said_once_and_met_again() {
    std::thread::scope(|scope| {
        for outage in [Outage::IsBroken, Outage::HangsUp, Outage::PutsOff] {
            scope.spawn(move || away_and_back(&outage));
        }
    });
}

#[test]
fn a_name_that_cannot_be_found_holds_up_no_other() {
    let good = Server::tcp(|_| found('a'));
    let folder = Folder::new();
    let images = [
        "registry.invalid/acme/app:latest".to_owned(),
        format!("{}/acme/app:latest", good.host()),
    ];
    let (_engine, host) = engine(&folder, &images);
    let begun = Instant::now();
    let program = watch(&host);
    program.await_line("seeded");
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    program.await_line("registry.invalid");
    await_rounds(&program, 3);
    let said = warnings(&program, "registry.invalid");
    assert_eq!(said.len(), 1, "{said:#?}");
    assert_eq!(program.ask("GET", "/health").0, 200);
}
