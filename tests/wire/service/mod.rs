//! A Swarm service, against a manager that does as it is told.

mod many;
mod rules;

use crate::support::Folder;
use crate::support::server::Answer;
use crate::support::server::Server;
use imagewatch::engine::Endpoint;
use imagewatch::engine::Engine;
use imagewatch::engine::Service;
use imagewatch::reference::Digest;
use imagewatch::secret::Secret;
use imagewatch::service::Outcome;
use imagewatch::service::Rollout;
use imagewatch::service::Update;
use imagewatch::service::digest_before;
use imagewatch::thread::Shutdown;
use serde_json::Value;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

/// What the manager does with a write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Write {
    /// The tasks of the new spec run.
    Works,
    /// They end, and Swarm pauses.
    Pauses,
    /// Another writer was faster.
    IsLate,
    /// The answer is lost.
    IsUnanswered,
    /// The owner deploys the same image anew, and its tasks end.
    IsOverwritten,
}

struct Manager {
    server: Server,
    socket: PathBuf,
    _folder: Folder,
}

fn digest(of: char) -> Digest {
    let text = format!("sha256:{}", of.to_string().repeat(64));
    text.parse().expect("valid")
}

fn spec(image: &str, labels: &Value) -> Value {
    json!({
        "Name": "web",
        "Labels": labels,
        "TaskTemplate": {"ContainerSpec": {"Image": image, "Env": ["A=b"]}},
        "Mode": {"Replicated": {"Replicas": 1}},
    })
}

fn tasks(service: &Value, is_good: bool) -> Value {
    let image = &service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"];
    let (wanted, state) = if is_good {
        ("running", "running")
    } else {
        ("shutdown", "failed")
    };
    json!([{
        "CreatedAt": "2026-01-02T03:04:06Z",
        "DesiredState": wanted,
        "Spec": {"ContainerSpec": {"Image": image}},
        "Status": {"State": state, "Err": "task: non-zero exit (7)"},
    }])
}

impl Manager {
    fn new(labels: &Value, write: Write) -> Self {
        let folder = Folder::new();
        let socket = folder.path().join("s");
        let old = format!("a.test/web:1@{}", digest('a'));
        let service = json!({"ID": "id1", "Version": {"Index": 7}, "Spec": spec(&old, labels)});
        let state = Arc::new(Mutex::new((service, true)));
        let server = Server::unix(&socket, move |seen| {
            let mut state = state.lock().expect("no panic");
            let (service, is_good) = &mut *state;
            let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
            match path {
                "/_ping" => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
                "/v1.41/services/id1" => Answer::json(200, service),
                "/v1.41/tasks" => Answer::json(200, &tasks(service, *is_good)),
                "/v1.41/services/id1/update" => {
                    let version = service["Version"]["Index"].as_u64().expect("a number");
                    assert!(query.starts_with(&format!("version={version}")), "{query}");
                    let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
                    if write == Write::IsLate {
                        service["Version"]["Index"] = json!(version + 1);
                        let words = "rpc error: code = Unknown desc = update out of sequence";
                        return Answer::json(500, &json!({"message": words}));
                    }
                    let previous = service["Spec"].take();
                    let is_back = query.ends_with("rollback=previous");
                    service["Version"]["Index"] = json!(version + 10);
                    service["Spec"] = if is_back {
                        service["PreviousSpec"].take()
                    } else {
                        body
                    };
                    service["PreviousSpec"] = previous;
                    *is_good = is_back || write != Write::Pauses;
                    if write == Write::IsOverwritten {
                        service["Spec"]["Labels"] = json!({});
                        *is_good = false;
                    }
                    let word = match (is_back, *is_good) {
                        (true, _) => "rollback_completed",
                        (false, true) => "completed",
                        (false, false) => "paused",
                    };
                    service["UpdateStatus"] =
                        json!({"State": word, "StartedAt": "2026-01-02T03:04:05Z"});
                    match write {
                        Write::IsUnanswered => Answer::Close,
                        _ => Answer::json(200, &json!({"Warnings": null})),
                    }
                }
                other => panic!("unexpected: {other}"),
            }
        });
        Self {
            server,
            socket,
            _folder: folder,
        }
    }

    fn update(&self) -> Outcome {
        self.update_with(None)
    }

    fn update_with(&self, auth: Option<Secret>) -> Outcome {
        let engine = Engine::new(&Endpoint::Unix(self.socket.clone()));
        let rollout = Rollout {
            engine: &engine,
            shutdown: &Shutdown::default(),
            settle: Duration::from_millis(300),
        };
        let mut update = Update::new("id1", &digest('b'), auth);
        loop {
            if let Some(outcome) = rollout.step(&mut update) {
                return outcome;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn writes(&self) -> Vec<String> {
        let mut lines = self.server.lines();
        lines.retain(|line| line.starts_with("POST "));
        lines
    }
}

const FIRST: &str = "POST /v1.41/services/id1/update?version=7";
const BACK: &str = "POST /v1.41/services/id1/update?version=17&rollback=previous";

#[test]
fn a_service_is_written_once_and_what_came_of_it_is_seen_in_its_tasks() {
    for write in [Write::Works, Write::IsUnanswered] {
        let manager = Manager::new(&json!({"a": "b"}), write);
        assert_eq!(manager.update(), Outcome::Updated(None));
        assert_eq!(manager.writes(), [FIRST]);
        let sent = manager
            .server
            .seen()
            .into_iter()
            .find(|seen| seen.method == "POST");
        let sent: Value = serde_json::from_slice(&sent.expect("a write").body).expect("JSON");
        let image = format!("a.test/web:1@{}", digest('b'));
        let mut expected = spec(&image, &json!({"a": "b"}));
        expected["Labels"]["io.imagewatch.update"] = sent["Labels"]["io.imagewatch.update"].clone();
        assert_eq!(sent, expected);
        // Once more there is nothing to write.
        assert_eq!(manager.update(), Outcome::Updated(None));
        assert_eq!(manager.writes(), [FIRST]);
    }
}

#[test]
fn a_failed_update_is_rolled_back_once_unless_its_owner_wants_the_pause() {
    let manager = Manager::new(&json!({}), Write::Pauses);
    let words = "a task is failed: task: non-zero exit (7)";
    assert_eq!(manager.update(), Outcome::RolledBack(words.to_owned()));
    assert_eq!(manager.writes(), [FIRST, BACK]);
    let manager = Manager::new(&json!({"imagewatch.rollback": "false"}), Write::Pauses);
    let left = format!("{words} (left so: imagewatch.rollback=false)");
    assert_eq!(manager.update(), Outcome::Left(left));
    assert_eq!(manager.writes(), [FIRST]);
}

#[test]
fn whoever_was_slower_changes_nothing() {
    let manager = Manager::new(&json!({}), Write::IsLate);
    let Outcome::Later(reason) = manager.update() else {
        panic!("it was late");
    };
    assert!(reason.contains("out of sequence"), "{reason}");
    assert_eq!(manager.writes(), [FIRST]);
}

#[test]
fn an_image_that_its_owner_deploys_anew_is_not_judged_as_ours() {
    let manager = Manager::new(&json!({}), Write::IsOverwritten);
    let words = "its owner changed it in the meantime".to_owned();
    assert_eq!(manager.update(), Outcome::Alone(words));
    assert_eq!(manager.writes(), [FIRST]);
}

#[test]
fn an_engine_that_is_no_manager_is_asked_once_and_one_that_was_each_time() {
    for (answers, expected, calls) in [
        (&[503, 200][..], &[Some(0), Some(0)][..], 1),
        (&[200, 503, 200], &[Some(1), Some(0), Some(1)], 3),
        // A manager that has lost its leader is away.
        (&[200, 500, 200], &[Some(1), None, Some(1)], 3),
        (&[500, 200], &[None, Some(1)], 2),
    ] {
        let folder = Folder::new();
        let socket = folder.path().join("s");
        let left = Mutex::new(answers.to_vec());
        let server = Server::unix(&socket, move |seen| match seen.target.as_str() {
            "/_ping" => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
            _ => match left.lock().expect("no panic").remove(0) {
                200 => Answer::json(200, &json!([{"ID": "id1"}])),
                status => Answer::json(status, &json!({"message": "no"})),
            },
        })
        .with_preflight();
        let engine = Engine::new(&Endpoint::Unix(socket));
        let found: Vec<Option<usize>> = expected
            .iter()
            .map(|_| engine.services().ok().map(|services| services.len()))
            .collect();
        assert_eq!(found, expected, "{answers:?}");
        let lines = server.lines();
        let is_list = |line: &&String| line.contains("/services");
        assert_eq!(lines.iter().filter(is_list).count(), calls, "{answers:?}");
    }
}

#[test]
fn a_login_goes_along_with_the_image_and_with_nothing_else() {
    for (auth, expected) in [(None, None), (Some("bG9naW4"), Some("bG9naW4"))] {
        let manager = Manager::new(&json!({}), Write::Pauses);
        manager.update_with(auth.map(|text| Secret::new(text.to_owned())));
        let seen = manager.server.seen();
        let writes: Vec<_> = seen.iter().filter(|seen| seen.method == "POST").collect();
        let sent: Vec<_> = writes
            .iter()
            .map(|seen| seen.header("x-registry-auth"))
            .collect();
        // With the roll-back Swarm brings the earlier login back by itself.
        assert_eq!(sent, [expected, None]);
    }
}

#[test]
fn a_service_goes_back_by_hand_only_if_swarm_leads_back() {
    let service = |state: &str, previous: &Value| {
        Service::new(json!({
            "Spec": spec(&format!("a:1@{}", digest('b')), &json!({})),
            "PreviousSpec": previous,
            "UpdateStatus": {"State": state},
        }))
    };
    let before = spec(&format!("a:1@{}", digest('a')), &json!({}));
    let same = spec(&format!("a:1@{}", digest('b')), &json!({}));
    let found = digest_before(&service("completed", &before));
    assert_eq!(found, Ok(digest('a').to_string()));
    for (state, previous) in [
        // Swarm would roll forward again.
        ("rollback_completed", &before),
        ("updating", &before),
        ("completed", &same),
        ("completed", &Value::Null),
    ] {
        assert!(digest_before(&service(state, previous)).is_err(), "{state}");
    }
}
