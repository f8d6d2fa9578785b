//! The owner's rules and the trust in images: for services the same as for containers.

use super::digest;
use super::spec;
use super::tasks;
use crate::support::Folder;
use crate::support::eventually;
use crate::support::images::sha256;
use crate::support::program::Program;
use crate::support::program::run;
use crate::support::server::Answer;
use crate::support::server::Seen;
use crate::support::server::Server;
use crate::support::signer::Signer;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;
use std::time::SystemTime;

/// One service on a manager, and the repository of its image.
struct World {
    service: Value,
    /// The digest that the tag points at, by its digit.
    newest: char,
    /// What the repository has besides, by the end of the path.
    files: Vec<(String, String)>,
    /// Whether the tasks of a new image run.
    is_good: bool,
    /// Whether Swarm calls an update ended.
    is_over: bool,
    /// The list of services that fails, counted from 1, and the lists so far.
    failing: Option<usize>,
    lists: usize,
}

struct Cluster {
    world: Arc<Mutex<World>>,
    engine: Server,
    reference: String,
    docker_host: String,
    _registry: Server,
    _folder: Folder,
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().expect("no panic")
}

impl World {
    fn registry(&self, seen: &Seen) -> Answer {
        let path = seen.target.as_str();
        if path == "/v2/acme/web/manifests/1" {
            let digest = digest(self.newest).to_string();
            return Answer::new(200, &[("Docker-Content-Digest", &digest)], "");
        }
        let mut files = self.files.iter();
        match files.find(|(end, _)| path.ends_with(end.as_str())) {
            Some((_, text)) => Answer::new(200, &[], text.as_str()),
            None => Answer::new(404, &[], "404 page not found"),
        }
    }

    fn engine(&mut self, seen: &Seen) -> Answer {
        let path = seen.target.split('?').next().unwrap_or_default();
        if seen.target.contains("_imagewatch.preflight") {
            return Answer::json(404, &json!({"message": "No such thing"}));
        }
        match path.strip_prefix("/v1.41").unwrap_or(path) {
            "/_ping" => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
            "/version" => Answer::json(200, &json!({"Version": "28.5.2", "Arch": "amd64"})),
            "/containers/json" => Answer::json(200, &json!([])),
            "/services" => {
                self.lists += 1;
                if self.failing == Some(self.lists) {
                    let words =
                        "rpc error: code = Unknown desc = The swarm does not have a leader.";
                    return Answer::json(500, &json!({"message": words}));
                }
                Answer::json(200, &json!([self.service]))
            }
            "/services/id1" | "/services/web" => Answer::json(200, &self.service),
            "/tasks" => Answer::json(200, &tasks(&self.service, self.is_good)),
            "/services/id1/update" => self.update(seen),
            other if other.starts_with("/images/") || other.starts_with("/containers/web/") => {
                Answer::json(404, &json!({"message": "No such thing"}))
            }
            "/events" => Answer::json(404, &json!({"message": "No such thing"})),
            other => panic!("unexpected: {other}"),
        }
    }

    fn update(&mut self, seen: &Seen) -> Answer {
        let is_back = seen.target.ends_with("rollback=previous");
        let previous = self.service["Spec"].take();
        self.service["Spec"] = if is_back {
            self.service["PreviousSpec"].take()
        } else {
            serde_json::from_slice(&seen.body).expect("JSON")
        };
        self.service["PreviousSpec"] = previous;
        let word = match (is_back, self.is_good) {
            (true, _) => "rollback_completed",
            (false, true) => "completed",
            (false, false) => "paused",
        };
        let word = if self.is_over { word } else { "updating" };
        self.service["UpdateStatus"] = json!({"State": word, "StartedAt": "2026-01-02T03:04:05Z"});
        Answer::json(200, &json!({"Warnings": null}))
    }
}

impl Cluster {
    /// A service with these labels, whose tag has moved from `a` to `b`.
    fn new(labels: &Value) -> Self {
        let world = Arc::new(Mutex::new(World {
            service: Value::Null,
            newest: 'b',
            files: Vec::new(),
            is_good: true,
            is_over: true,
            failing: None,
            lists: 0,
        }));
        let known = Arc::clone(&world);
        let registry = Server::tcp(move |seen| lock(&known).registry(seen));
        let reference = format!("{}/acme/web:1", registry.host());
        lock(&world).service = json!({
            "ID": "id1", "Version": {"Index": 7},
            "Spec": spec(&format!("{reference}@{}", digest('a')), labels),
            "ServiceStatus": {"RunningTasks": 1, "DesiredTasks": 1},
        });
        let folder = Folder::new();
        let socket = folder.path().join("s");
        let known = Arc::clone(&world);
        let engine = Server::unix(&socket, move |seen| lock(&known).engine(seen)).with_preflight();
        Self {
            world,
            engine,
            reference,
            docker_host: format!("unix://{}", socket.display()),
            _registry: registry,
            _folder: folder,
        }
    }

    fn vars<'v>(&'v self, more: &[(&'v str, &'v str)]) -> Vec<(&'v str, &'v str)> {
        let mut vars = vec![
            ("DOCKER_HOST", self.docker_host.as_str()),
            ("IMAGEWATCH_RUNTIMES", "none"),
            ("IMAGEWATCH_SELECT", "all"),
            ("IMAGEWATCH_SETTLE", "100ms"),
            ("IMAGEWATCH_INTERVAL", "1s"),
        ];
        vars.extend_from_slice(more);
        vars
    }

    /// Its writes, without the calls of a preflight.
    fn writes(&self) -> usize {
        let lines = self.engine.lines();
        let is_write = |line: &&String| line.starts_with("POST /v1.41/services/id1/update");
        lines.iter().filter(is_write).count()
    }

    /// Publishes a signature of image `b`, in cosign's classic layout.
    fn sign(&self, signer: &Signer) {
        let digest = digest('b').to_string();
        let payload = json!({"critical": {"identity": {"docker-reference": "acme/web"},
            "image": {"docker-manifest-digest": digest}, "type": "cosign container image signature"},
            "optional": null});
        let payload = payload.to_string();
        let signature = signer.signature(payload.as_bytes());
        let blob = sha256(payload.as_bytes());
        let kind = "application/vnd.dev.cosign.simplesigning.v1+json";
        let manifest = json!({"schemaVersion": 2, "layers": [{
            "mediaType": kind, "digest": blob, "size": payload.len(),
            "annotations": {"dev.cosignproject.cosign/signature": signature},
        }]});
        let tag = digest.replacen(':', "-", 1);
        let mut world = lock(&self.world);
        world.files.clear();
        let files = &mut world.files;
        files.push((format!("/manifests/{tag}.sig"), manifest.to_string()));
        files.push((format!("/blobs/{blob}"), payload));
    }
}

fn reason(report: &Value) -> String {
    assert_eq!(report["recreated"], json!([]), "{report}");
    report["skipped"].to_string()
}

#[test]
fn nothing_is_written_for_an_image_without_a_good_signature() {
    let (ours, stranger) = (Signer::new(), Signer::new());
    let key = ours.pem();
    let cluster = Cluster::new(&json!({}));
    let vars = cluster.vars(&[("IMAGEWATCH_VERIFY", &key)]);
    let state = || {
        let (_, text, complaint) = run(&["check", "--json"], &vars);
        let table: Value = serde_json::from_str(&text).expect(&complaint);
        table["references"][0]["state"].clone()
    };
    let program = Program::start(&vars);
    for (signer, expected) in [(None, "unsigned"), (Some(&stranger), "badly_signed")] {
        if let Some(signer) = signer {
            cluster.sign(signer);
        }
        assert_eq!(state(), expected);
        for arguments in [
            &["refresh", "--force", "--json", "web"][..],
            &["refresh", "--dry-run", "--json"],
        ] {
            let (code, text, complaint) = run(arguments, &vars);
            assert_eq!(code, Some(1), "{text}{complaint}");
            let report: Value = serde_json::from_str(&text).expect(&complaint);
            let is_empty = |list: &str| report[list].as_array().is_none_or(Vec::is_empty);
            assert!(
                is_empty("recreated") && is_empty("would_recreate"),
                "{report}"
            );
        }
        let (_, report) = program.ask("POST", "/admin/containers/web/update");
        assert_eq!(report["recreated"], json!([]), "{report}");
        let (_, report) = program.ask("POST", "/v1/update");
        assert_eq!(report["failed"], json!([cluster.reference]), "{report}");
        let (_, status) = program.ask("GET", "/admin/status");
        assert!(
            status["references"].to_string().contains(expected),
            "{status}"
        );
        assert_eq!(cluster.writes(), 0);
    }
    cluster.sign(&ours);
    assert_eq!(state(), "outdated");
    let (_, report) = program.ask("POST", "/v1/update");
    assert_eq!(report["recreated"], json!(["web"]), "{report}");
    assert_eq!(cluster.writes(), 1);
}

#[test]
fn a_watcher_writes_as_soon_as_the_signature_is_there() {
    let signer = Signer::new();
    let key = signer.pem();
    let cluster = Cluster::new(&json!({}));
    lock(&cluster.world).newest = 'a';
    let more = [("IMAGEWATCH_VERIFY", &*key), ("IMAGE_AUTO_REFRESH", "true")];
    let program = Program::start(&cluster.vars(&more));
    program.await_line("none is behind");
    lock(&cluster.world).newest = 'b';
    program.await_line("not pulled yet");
    assert_eq!(cluster.writes(), 0);
    cluster.sign(&signer);
    program.await_line("updated service=web");
    assert_eq!(cluster.writes(), 1);
}

#[test]
fn a_label_frees_a_service_from_signatures_or_asks_for_one_in_vain() {
    let key = Signer::new().pem();
    let cluster = Cluster::new(&json!({"imagewatch.verify": "false"}));
    let program = Program::start(&cluster.vars(&[("IMAGEWATCH_VERIFY", &key)]));
    let (_, report) = program.ask("POST", "/v1/update");
    assert_eq!(report["recreated"], json!(["web"]), "{report}");
    let cluster = Cluster::new(&json!({"imagewatch.verify": "true"}));
    let program = Program::start(&cluster.vars(&[]));
    let (_, report) = program.ask("POST", "/v1/update");
    assert_eq!(report["recreated"], json!([]), "{report}");
    let (status, answer) = program.ask("POST", "/admin/containers/web/update");
    assert_eq!(status, 409, "{answer}");
    assert_eq!(cluster.writes(), 0);
    let (_, status) = program.ask("GET", "/admin/status");
    let one = status["containers"][0].to_string();
    assert!(one.contains("needs IMAGEWATCH_VERIFY"), "{status}");
}

/// A window that is closed now and for an hour.
fn closed() -> &'static str {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = now.expect("after 1970").as_secs();
    match seconds / 3600 % 24 {
        0..12 => "20:00-21:00",
        _ => "05:00-06:00",
    }
}

#[test]
fn a_service_waits_for_its_time_unless_its_owner_names_it() {
    let day = json!({"imagewatch.min-age": "1d"});
    let window = json!({"imagewatch.window": closed()});
    let notify = json!({"imagewatch.mode": "notify"});
    for (labels, vars, words) in [
        (&day, &[][..], "1d"),
        (&json!({}), &[("IMAGEWATCH_MIN_AGE", "1d")], "1d"),
        (&window, &[], "window"),
        (&json!({}), &[("IMAGEWATCH_WINDOW", closed())], "window"),
        (&notify, &[], "notify"),
    ] {
        let cluster = Cluster::new(labels);
        let program = Program::start(&cluster.vars(vars));
        let (_, report) = program.ask("POST", "/v1/update");
        let reason = reason(&report);
        assert!(reason.contains(words), "{labels} {vars:?}: {report}");
        assert_eq!(cluster.writes(), 0, "{labels} {vars:?}");
        // Its own label wins over the configuration.
        let (_, report) = program.ask("POST", "/admin/containers/web/update");
        assert_eq!(
            report["recreated"],
            json!(["web"]),
            "{labels} {vars:?}: {report}"
        );
        assert_eq!(cluster.writes(), 1, "{labels} {vars:?}");
    }
    let free = json!({"imagewatch.min-age": "0s", "imagewatch.window": "always"});
    let cluster = Cluster::new(&free);
    let vars = [
        ("IMAGEWATCH_MIN_AGE", "1d"),
        ("IMAGEWATCH_WINDOW", closed()),
    ];
    let program = Program::start(&cluster.vars(&vars));
    let (_, report) = program.ask("POST", "/v1/update");
    assert_eq!(report["recreated"], json!(["web"]), "{report}");
}

#[test]
fn a_service_that_is_held_or_whose_image_is_skipped_stays_until_its_owner_lets_go() {
    for (decide, undo) in [
        ("/admin/containers/web/hold".to_owned(), None),
        (String::new(), Some(())),
    ] {
        let cluster = Cluster::new(&json!({}));
        let program = Program::start(&cluster.vars(&[]));
        let path = match undo {
            None => decide,
            Some(()) => {
                let (reference, digest) = (&cluster.reference, digest('b'));
                format!("/admin/images/skip?image={reference}&digest={digest}")
            }
        };
        // The program knows the image only after a look.
        program.ask("POST", "/admin/check");
        let (status, answer) = program.ask("POST", &path);
        assert_eq!(status, 200, "{path}: {answer}");
        let (_, report) = program.ask("POST", "/v1/update");
        reason(&report);
        assert_eq!(cluster.writes(), 0, "{path}");
        let (status, answer) = program.ask("DELETE", &path);
        assert_eq!(status, 200, "{path}: {answer}");
        let (_, report) = program.ask("POST", "/v1/update");
        assert_eq!(report["recreated"], json!(["web"]), "{path}: {report}");
    }
}

#[test]
fn a_rejected_image_is_written_again_only_by_force() {
    let cluster = Cluster::new(&json!({}));
    lock(&cluster.world).is_good = false;
    let program = Program::start(&cluster.vars(&[]));
    let (_, report) = program.ask("POST", "/v1/update");
    assert_eq!(report["rolled_back"][0]["name"], "web", "{report}");
    assert_eq!(cluster.writes(), 2);
    let (_, report) = program.ask("POST", "/v1/update");
    assert!(reason(&report).contains("rejected"), "{report}");
    assert_eq!(cluster.writes(), 2);
    let (_, status) = program.ask("GET", "/admin/status");
    assert!(
        status["references"].to_string().contains("rejected"),
        "{status}"
    );
    drop(program);
    // Without a state, only Swarm remembers the roll-back.
    let program = Program::start(&cluster.vars(&[]));
    let (_, report) = program.ask("POST", "/v1/update");
    assert!(reason(&report).contains("rejected"), "{report}");
    assert_eq!(cluster.writes(), 2);
    lock(&cluster.world).is_good = true;
    drop(program);
    let vars = cluster.vars(&[]);
    let (_, text, complaint) = run(&["refresh", "--force", "--json", "web"], &vars);
    let report: Value = serde_json::from_str(&text).expect(&complaint);
    assert_eq!(report["recreated"], json!(["web"]), "{report}");
    assert_eq!(cluster.writes(), 3);
}

#[test]
fn a_list_of_services_that_fails_makes_no_image_one_of_containers() {
    let cluster = Cluster::new(&json!({}));
    let program = Program::start(&cluster.vars(&[]));
    for later in 1..=4 {
        let mut world = lock(&cluster.world);
        world.failing = Some(world.lists + later);
        drop(world);
        program.ask("POST", "/v1/update");
    }
    let lines = cluster.engine.lines();
    let is_pull = |line: &String| line.contains("/images/create?") && !line.contains("_imagewatch");
    assert!(!lines.iter().any(is_pull), "{lines:?}");
}

#[test]
fn an_update_that_a_stop_interrupted_is_told_by_the_next_process() {
    let cluster = Cluster::new(&json!({}));
    lock(&cluster.world).newest = 'a';
    lock(&cluster.world).is_over = false;
    let state = Folder::new();
    let path = state.path().to_str().expect("UTF-8");
    let receiver = Server::tcp(|_| Answer::new(200, &[], ""));
    let url = format!("http://{}/", receiver.host());
    let more = [
        ("IMAGEWATCH_STATE", path),
        ("IMAGE_AUTO_REFRESH", "true"),
        ("IMAGEWATCH_NOTIFY", &url),
    ];
    let mut program = Program::start(&cluster.vars(&more));
    program.await_line("none is behind");
    lock(&cluster.world).newest = 'b';
    program.await_line("Swarm rolls it out");
    program.signal("TERM");
    let (_, took) = program.await_exit();
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(receiver.lines().len(), 0, "nothing has come of it yet");
    lock(&cluster.world).service["UpdateStatus"]["State"] = json!("completed");
    let program = Program::start(&cluster.vars(&more));
    program.await_line("updated service=web");
    eventually("the message", || {
        (receiver.lines().len() == 1).then_some(())
    });
    drop(program);
    // And a third one has nothing to tell.
    let program = Program::start(&cluster.vars(&more));
    program.await_line("none is behind");
    program.await_line("preflight: done");
    assert!(!program.has_said("updated service"), "{}", program.log());
    assert_eq!(cluster.writes(), 1);
}
