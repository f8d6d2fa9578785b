//! A check by hand.

use crate::support::program::Program;
use crate::support::program::run;
use crate::support::server::Answer;
use crate::support::server::Server;
use crate::wire::journal::Fake;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;

fn digest(of: char) -> String {
    format!("sha256:{}", of.to_string().repeat(64))
}

/// How many look-ups have come, and whether they are answered.
#[derive(Default)]
struct Gate(Mutex<(usize, bool)>, Condvar);

impl Gate {
    fn pass(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 += 1;
        self.1.notify_all();
        drop(self.1.wait_while(state, |(_, is_open)| !*is_open));
    }

    fn await_somebody(&self) {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.1.wait_while(state, |(come, _)| *come == 0));
    }

    fn open(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.1.notify_all();
    }
}

#[test]
fn a_check_answers_as_the_command_prints_and_changes_nothing() {
    let gate = Arc::new(Gate::default());
    let for_registry = Arc::clone(&gate);
    let registry = Server::tcp(move |_| {
        for_registry.pass();
        Answer::new(200, &[("Docker-Content-Digest", &digest('b'))], "")
    });
    let image = format!("{}/acme/app:1", registry.host());
    let labels = json!({"imagewatch.enable": "true"});
    let web = json!({"Id": "1".repeat(64), "Names": ["/web"], "Image": image, "ImageID": digest('a'),
                     "State": "running", "Labels": labels});
    let digests = [image.replace(":1", &format!("@{}", digest('a')))];
    let old = json!({"Id": digest('a'), "RepoDigests": digests});
    let fake = Fake::new(|| Answer::Close, old, json!([web]));
    let vars = [
        ("DOCKER_HOST", fake.host.as_str()),
        ("IMAGEWATCH_RUNTIMES", "none"),
    ];
    let program = Program::start(&vars);

    let answer = std::thread::scope(|scope| {
        let first = scope.spawn(|| program.ask_text("POST", "/admin/check"));
        gate.await_somebody();
        let (status, second) = program.ask("POST", "/admin/check");
        let health = program.ask("GET", "/admin/status").0;
        gate.open();
        assert_eq!(
            (status, second, health),
            (429, json!({"error": "a check runs already"}), 200)
        );
        first.join().expect("no panic")
    });
    let (status, kind, body) = answer;
    assert_eq!((status, &*kind), (200, "application/json"), "{body}");
    let found: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(found["references"][0]["state"], "outdated", "{body}");
    assert_eq!(found["references"][0]["behind"], json!(["web"]), "{body}");
    let (_, printed, _) = run(&["check", "--json"], &vars);
    assert_eq!(body, printed);
    let lines = fake.server.lines();
    let is_change = |line: &&String| !line.starts_with("GET ") && !line.contains("_imagewatch.");
    assert_eq!(lines.iter().find(is_change), None);

    let (status, answer) = program.ask("POST", "/admin/check?image=web");
    let error = json!({"error": "a check has no parameters"});
    assert_eq!((status, answer), (400, error));
    assert_eq!(program.ask("GET", "/admin/check").0, 405);
}
