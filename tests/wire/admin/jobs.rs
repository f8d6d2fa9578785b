//! Refreshes that are not waited for, and those that are followed line by line.

use crate::support::Folder;
use crate::support::eventually;
use crate::support::program::Program;
use crate::support::pulled_image;
use crate::support::server::Answer;
use crate::support::server::Server;
use serde_json::Value;
use serde_json::json;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;

const REFRESH: &str = "/admin/workspace-images/refresh";

/// An Engine whose pulls wait until they may go on.
struct Fake {
    _server: Server,
    host: String,
    _folder: Folder,
    may_pull: Arc<(Mutex<bool>, Condvar)>,
}

impl Fake {
    fn new(pull: &'static str) -> Self {
        let folder = Folder::new();
        let socket = folder.path().join("engine.sock");
        let may_pull = Arc::new((Mutex::new(false), Condvar::new()));
        let gate = Arc::clone(&may_pull);
        let server = Server::unix(&socket, move |seen| match seen.target.as_str() {
            "/_ping" => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
            "/v1.41/version" => Answer::json(200, &json!({"Version": "20.10.24"})),
            "/v1.41/containers/json?all=1" => Answer::json(200, &json!([])),
            other if other.contains("/images/create?") => {
                let lock = gate.0.lock().expect("no panic");
                drop(gate.1.wait_while(lock, |open| !*open));
                Answer::new(200, &[], pull)
            }
            other if other.contains("/images/") => {
                Answer::json(200, &pulled_image("sha256:x", other))
            }
            other => panic!("unexpected: {other}"),
        });
        Self {
            _server: server,
            host: format!("unix://{}", socket.display()),
            _folder: folder,
            may_pull,
        }
    }

    fn open(&self) {
        *self.may_pull.0.lock().expect("no panic") = true;
        self.may_pull.1.notify_all();
    }

    fn program(&self) -> Program {
        Program::start(&[
            ("DOCKER_HOST", &self.host),
            ("IMAGEWATCH_RUNTIMES", "hermes"),
        ])
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.open();
    }
}

/// Asks for a refresh step by step; the answer's head, and its body as it comes.
fn follow(program: &Program, version: &str) -> (Vec<String>, BufReader<TcpStream>) {
    let host = program.host();
    let mut stream = TcpStream::connect(&host).expect("a connection");
    write!(
        stream,
        "POST {REFRESH} HTTP/{version}\r\nHost: {host}\r\nContent-Length: 0\r\n\
         Accept: text/html, application/x-ndjson;q=0.9\r\n\r\n"
    )
    .expect("sent");
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        if line.trim_end().is_empty() {
            return (head, reader);
        }
        head.push(line.trim_end().to_owned());
    }
}

/// One chunk as text; empty at the end.
fn chunk(reader: &mut BufReader<TcpStream>) -> String {
    let mut size = String::new();
    reader.read_line(&mut size).expect("a size");
    let size = usize::from_str_radix(size.trim(), 16).expect("hex");
    let mut bytes = vec![0; size + 2];
    reader.read_exact(&mut bytes).expect("a chunk");
    bytes.truncate(size);
    String::from_utf8(bytes).expect("text")
}

#[test]
fn a_job_is_answered_at_once_and_found_until_it_is_done() {
    let fake = Fake::new("{\"status\":\"ok\"}\n");
    let program = fake.program();
    let (status, answer) = program.refresh("?wait=false");
    assert_eq!(status, 202, "{answer}");
    let job = answer["job"].as_str().expect("an id").to_owned();
    assert_eq!(answer, json!({ "job": job }));
    let path = format!("/admin/jobs/{job}");
    let running = json!({"job": job, "state": "running", "report": null});
    eventually("it runs", || {
        (program.ask("GET", &path).1 == running).then_some(())
    });
    // Another one waits for it.
    let (_, second) = program.refresh("?wait=false&recreate=false");
    let second = format!("/admin/jobs/{}", second["job"].as_str().expect("an id"));
    assert_eq!(program.ask("GET", &second).1["state"], "queued");
    fake.open();
    let done = eventually("both are done", || {
        let last = program.ask("GET", &second).1;
        (last["state"] == "done").then(|| program.ask("GET", &path).1)
    });
    assert_eq!(done["state"], "done");
    assert_eq!(done["report"]["pulled"], json!(["hermes"]), "{done}");
    assert_eq!(done["report"]["rolled_back"], json!([]));
    assert_eq!(program.ask("GET", "/admin/jobs/nothing").0, 404);
    assert_eq!(program.ask("POST", &path).0, 405);
    // Watchtower's way of asking may be left waiting as well.
    assert_eq!(program.ask("POST", "/v1/update?wait=false").0, 202);
}

#[test]
fn a_job_says_where_it_is_to_be_found() {
    let fake = Fake::new("");
    fake.open();
    let program = fake.program();
    let url = format!("http://{}{REFRESH}?wait=false", program.host());
    let answer = crate::support::images::agent()
        .post(url)
        .send_empty()
        .expect("an answer");
    let location = answer.headers()["location"]
        .to_str()
        .expect("text")
        .to_owned();
    assert_eq!(program.ask("GET", &location).0, 200, "{location}");
}

#[test]
fn a_refresh_is_followed_line_by_line_with_the_report_last() {
    let fake = Fake::new(concat!(
        "{\"status\":\"Downloading\",\"id\":\"a\",\"progressDetail\":{\"current\":1,\"total\":2}}\n",
        "{\"status\":\"Downloading\",\"id\":\"a\",\"progressDetail\":{\"current\":1,\"total\":2}}\n",
        "{\"status\":\"Pull complete\",\"id\":\"a\",\"progressDetail\":{}}\n",
    ));
    let program = fake.program();
    let (head, mut body) = follow(&program, "1.1");
    assert_eq!(head[0], "HTTP/1.1 200 OK");
    for line in [
        "Content-Type: application/x-ndjson",
        "Cache-Control: no-store",
    ] {
        assert!(head.iter().any(|found| found == line), "{head:?}");
    }
    // This line is here while the pull still waits.
    let first: Value = serde_json::from_str(&chunk(&mut body)).expect("JSON");
    assert_eq!(first["step"], "pulling", "{first}");
    fake.open();
    let mut lines = Vec::new();
    loop {
        let line = chunk(&mut body);
        if line.is_empty() {
            break;
        }
        lines.push(serde_json::from_str::<Value>(&line).expect("JSON"));
    }
    let steps: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["step"].as_str())
        .collect();
    assert_eq!(steps, ["layer", "layer", "pulled"], "{lines:#?}");
    assert_eq!(lines[0]["total"], 2);
    let report = lines.last().expect("a report");
    assert_eq!(report["pulled"], json!(["hermes"]));
    assert_eq!(report["unchanged"], json!([]));
}

#[test]
fn an_old_client_follows_until_the_connection_ends() {
    let fake = Fake::new("");
    fake.open();
    let program = fake.program();
    let (head, mut body) = follow(&program, "1.0");
    assert!(!head.join("\n").contains("chunked"), "{head:?}");
    let mut text = String::new();
    body.read_to_string(&mut text).expect("text");
    let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["pulled"], json!(["hermes"]), "{text}");
}

#[test]
fn a_client_that_goes_away_stops_nothing() {
    let fake = Fake::new("{\"status\":\"ok\"}\n");
    let program = fake.program();
    let (_, mut body) = follow(&program, "1.1");
    assert!(chunk(&mut body).contains("pulling"));
    drop(body);
    fake.open();
    program.await_line("pulled image=");
    let (status, report) = program.refresh("");
    assert_eq!((status, &report["pulled"]), (200, &json!(["hermes"])));
}

/// Asks for a refresh; its status, and its head and what there is of its body.
fn ask(program: &Program, query: &str, accept: &str) -> (String, String) {
    let host = program.host();
    let mut stream = TcpStream::connect(&host).expect("a connection");
    let request = format!(
        "POST {REFRESH}{query} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\
         Accept: {accept}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let status = text.split(' ').nth(1).unwrap_or_default().to_owned();
    (status, text)
}

#[test]
fn a_thousand_jobs_wait_and_no_more() {
    let fake = Fake::new("{\"status\":\"ok\"}\n");
    let program = fake.program();
    let (_, first) = program.refresh("?wait=false");
    let first = format!("/admin/jobs/{}", first["job"].as_str().expect("an id"));
    eventually("the first runs", || {
        (program.ask("GET", &first).1["state"] == "running").then_some(())
    });
    let before = program.memory("Pss:");
    // Somebody who waits, and somebody who follows, count as well.
    let waiting = follow(&program, "1.1");
    for number in 1..1_000 {
        let (status, _, body) = program.ask_text("POST", &format!("{REFRESH}?wait=false"));
        assert_eq!(status, 202, "{number}: {body}");
    }
    for (query, accept) in [
        ("?wait=false", "*/*"),
        ("", "*/*"),
        ("", "application/x-ndjson"),
    ] {
        let (status, answer) = ask(&program, query, accept);
        assert_eq!(status, "429", "{answer}");
        let head = answer.to_ascii_lowercase();
        assert!(head.contains("\r\nretry-after: 30\r\n"), "{answer}");
        assert!(
            answer.contains("{\"error\":\"1000 jobs are waiting already\"}"),
            "{answer}"
        );
    }
    let grown = program.memory("Pss:").saturating_sub(before);
    assert!(grown < 4 * 1024 * 1024, "{grown} bytes for 1,000 jobs");
    assert_eq!(program.ask("GET", "/health").0, 200);
    fake.open();
    drop(waiting);
    // All of them become one run, and then there is room again.
    eventually("room", || {
        (program.refresh("?wait=false").0 == 202).then_some(())
    });
    let (_, status) = program.ask("GET", "/admin/status");
    let runs = status["refreshes"].as_array().expect("a list").len();
    assert!((1..=3).contains(&runs), "{status}");
}
