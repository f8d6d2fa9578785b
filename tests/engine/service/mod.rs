//! Swarm services: a swarm of one node on the Engine, which a test has to itself. `three` is about three nodes.

mod login;
mod stack;
mod three;

use crate::engine::commands::json_of;
use crate::engine::commands::run_with;
use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::support::Folder;
use crate::support::docker::Docker;
use crate::support::engine_proxy::Action;
use crate::support::engine_proxy::EngineProxy;
use crate::support::engine_proxy::Place;
use crate::support::eventually;
use crate::support::images::ImageSpec;
use crate::support::program::Program;
use crate::support::tidy;
use serde_json::Value;
use serde_json::json;

/// The label of an update.
const MARKER: &str = "io.imagewatch.update";

/// An Engine that is the only manager of a swarm, or one of three.
struct Swarm {
    lab: Lab,
    between: EngineProxy,
    /// The manager that is asked what there is.
    api: Docker,
    /// Whether the swarm is there for other tests too.
    stays: bool,
}

impl Swarm {
    fn new() -> Option<Self> {
        let lab = Lab::alone()?;
        if lab.leaves_out("knows no swarm") {
            return None;
        }
        let body = json!({"ListenAddr": "127.0.0.1:2377", "AdvertiseAddr": "127.0.0.1"});
        let (status, answer) = lab.docker.json("POST", "/swarm/init", &body);
        assert_eq!(status, 200, "{answer}");
        Some(Self::of(lab, false))
    }

    fn of(lab: Lab, stays: bool) -> Self {
        Self {
            between: EngineProxy::with_services(&lab.docker),
            api: lab.docker.clone(),
            lab,
            stays,
        }
    }

    /// Creates a service of an image that is published, with its digest as the Docker CLI writes it.
    fn create(&self, name: &str, image: &str, more: &dyn Fn(&mut Value)) {
        self.create_of(name, &good(image), more);
    }

    fn create_of(&self, name: &str, image: &ImageSpec, more: &dyn Fn(&mut Value)) {
        let digest = self.lab.publish(name, image);
        let image = format!("{}@{digest}", self.lab.reference(name));
        let mut spec = json!({
            "Name": self.lab.name(name),
            "Labels": {"imagewatch.enable": "true", "com.docker.stack.image": "kept"},
            "TaskTemplate": {
                "ContainerSpec": {"Image": image, "Env": ["A=b"], "StopGracePeriod": 1_000_000_000},
                "RestartPolicy": {"Condition": "any", "Delay": 1_000_000_000},
            },
            "Mode": {"Replicated": {"Replicas": 2}},
            "UpdateConfig": {"Parallelism": 0, "Monitor": 1_000_000_000, "FailureAction": "pause"},
        });
        more(&mut spec);
        let (status, answer) = self.api.json("POST", "/services/create", &spec);
        assert_eq!(status, 201, "{answer}");
        let wanted = spec["Mode"]["Replicated"]["Replicas"].as_u64().unwrap_or(0);
        eventually("its tasks run", || {
            (self.running(name, &digest) as u64 >= wanted).then_some(())
        });
    }

    fn service(&self, name: &str) -> Value {
        let path = format!("/services/{}", self.lab.name(name));
        self.api.json("GET", &path, &Value::Null).1
    }

    fn image(&self, name: &str) -> String {
        let service = self.service(name);
        let image = &service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"];
        image.as_str().expect("an image").to_owned()
    }

    /// How many tasks run with a digest.
    fn running(&self, name: &str, digest: &str) -> usize {
        let is_up = |task: &&Value| task["Status"]["State"] == "running";
        let tasks = self.tasks(name);
        let is_it = |task: &&Value| {
            let image = task["Spec"]["ContainerSpec"]["Image"].as_str();
            is_up(task) && image.is_some_and(|image| image.ends_with(digest))
        };
        tasks.iter().filter(is_it).count()
    }

    fn tasks(&self, name: &str) -> Vec<Value> {
        let filter = format!(
            "%7B%22service%22%3A%7B%22{}%22%3Atrue%7D%7D",
            self.lab.name(name)
        );
        let path = format!("/tasks?filters={filter}");
        let (_, tasks) = self.api.json("GET", &path, &Value::Null);
        tasks.as_array().expect("tasks").clone()
    }

    fn watcher(&self, more: &[(&str, &str)]) -> Program {
        self.watcher_on(&self.between, more)
    }

    fn watcher_on(&self, between: &EngineProxy, more: &[(&str, &str)]) -> Program {
        let host = between.host();
        let mut vars = vec![
            ("DOCKER_HOST", host.as_str()),
            ("IMAGEWATCH_SELECT", "labelled"),
        ];
        vars.extend(more);
        let program = self.lab.watcher("none", &vars);
        program.await_line("watching ");
        program
    }

    /// The writes to services so far.
    fn writes(&self) -> Vec<String> {
        writes(&self.between)
    }

    fn rolls_back(&self) -> usize {
        let writes = self.writes();
        writes
            .iter()
            .filter(|line| line.contains("rollback=previous"))
            .count()
    }
}

fn writes(between: &EngineProxy) -> Vec<String> {
    let mut lines = between.lines();
    lines.retain(|line| line.starts_with("POST /services/") && line.contains("/update"));
    lines
}

impl Drop for Swarm {
    fn drop(&mut self) {
        tidy(|| {
            let (_, services) = self.api.json("GET", "/services", &Value::Null);
            for service in services.as_array().into_iter().flatten() {
                let path = format!("/services/{}", service["ID"].as_str().unwrap_or_default());
                self.api.json("DELETE", &path, &Value::Null);
            }
            if !self.stays {
                self.api
                    .json("POST", "/swarm/leave?force=true", &Value::Null);
            }
            eventually("its tasks are gone", || {
                self.lab
                    .docker
                    .names(&self.lab.prefix)
                    .is_empty()
                    .then_some(())
            });
        });
    }
}

/// An image whose container ends at once.
fn dying(mark: &str) -> ImageSpec {
    good(mark).with("Cmd", json!(["/bin/busybox", "false"]))
}

#[test]
fn a_service_is_updated_by_one_write_that_changes_its_image_and_a_label() {
    let Some(swarm) = Swarm::new() else { return };
    let lab = &swarm.lab;
    swarm.create("web", "v1", &|_| ());
    swarm.create("none", "v1", &|spec| {
        spec["Mode"] = json!({"Replicated": {"Replicas": 0}})
    });
    // An update would run it again.
    swarm.create("job", "v1", &|spec| {
        spec["Mode"] = json!({"ReplicatedJob": {"MaxConcurrent": 1, "TotalCompletions": 1}});
        spec["TaskTemplate"]["RestartPolicy"] = json!({"Condition": "none"});
        spec["UpdateConfig"] = Value::Null;
    });
    let (before, job) = (swarm.service("web"), swarm.service("job"));
    let program = swarm.watcher(&[]);
    lab.publish("job", &good("v2"));
    let second = lab.publish("web", &good("v2"));
    let zero = lab.publish("none", &good("v2"));
    program.await_line(&format!("updated service={}", lab.name("web")));
    program.await_line(&format!("updated service={}", lab.name("none")));
    assert_eq!(swarm.running("web", &second), 2);
    assert_eq!(
        swarm.image("web"),
        format!("{}@{second}", lab.reference("web"))
    );
    assert!(swarm.image("none").ends_with(&zero));
    // All but the image and the label is as it was.
    let mut after = swarm.service("web");
    let marker = after["Spec"]["Labels"][MARKER].take();
    assert!(
        marker
            .as_str()
            .is_some_and(|marker| marker.contains(&second)),
        "{marker}"
    );
    after["Spec"]["Labels"]
        .as_object_mut()
        .expect("labels")
        .remove(MARKER);
    after["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] =
        before["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"].clone();
    assert_eq!(after["Spec"], before["Spec"]);
    assert_eq!(swarm.writes().len(), 2);
    let job_now = swarm.service("job");
    for field in ["Spec", "JobStatus"] {
        assert_eq!(job_now[field], job[field]);
    }
    let host = swarm.between.host();
    let vars = [("DOCKER_HOST", &*host), ("IMAGEWATCH_SELECT", "labelled")];
    let (code, text, complaint) = run_with(lab, "none", &vars, &["check", "--json"]);
    assert_eq!(code, Some(0), "{text}{complaint}");
    let rows = json_of(&text);
    assert_eq!(
        rows["references"][1]["running_digests"],
        json!([second]),
        "{rows}"
    );
    let third = lab.publish("web", &good("v3"));
    let name = lab.name("web");
    let (code, text, complaint) = run_with(lab, "none", &vars, &["plan", &name]);
    assert_eq!(code, Some(0), "{text}{complaint}");
    assert!(text.contains(&second) && text.contains(&third), "{text}");
}

#[test]
fn a_service_whose_tasks_end_is_rolled_back_once_and_its_image_not_tried_again() {
    let Some(swarm) = Swarm::new() else { return };
    let lab = &swarm.lab;
    let state = Folder::new();
    let state = state.path().display().to_string();
    swarm.create("pause", "v1", &|_| ());
    // Swarm calls this one completed.
    swarm.create("go-on", "v1", &|spec| {
        spec["UpdateConfig"]["FailureAction"] = json!("continue")
    });
    swarm.create("itself", "v1", &|spec| {
        spec["UpdateConfig"]["FailureAction"] = json!("rollback")
    });
    let before: Vec<String> = ["pause", "go-on", "itself"]
        .map(|name| swarm.image(name))
        .into();
    let mut program = swarm.watcher(&[("IMAGEWATCH_STATE", &state)]);
    for name in ["pause", "go-on", "itself"] {
        lab.publish(name, &dying("bad"));
        program.await_line(&format!("rolled back container={}", lab.name(name)));
    }
    assert_eq!(swarm.rolls_back(), 2);
    assert_eq!(swarm.writes().len(), 5);
    let after: Vec<String> = ["pause", "go-on", "itself"]
        .map(|name| swarm.image(name))
        .into();
    assert_eq!(after, before);
    program.kill();
    let program = swarm.watcher(&[("IMAGEWATCH_CATCH_UP", "true")]);
    let rounds = lab.proxy.lines().len();
    eventually("two more rounds", || {
        (lab.proxy.lines().len() > rounds + 6).then_some(())
    });
    assert_eq!(swarm.writes().len(), 5, "{}", program.log());
}

#[test]
fn an_update_whose_process_was_killed_is_judged_and_told_of_by_the_next_one() {
    let Some(swarm) = Swarm::new() else { return };
    let lab = &swarm.lab;
    swarm.create("web", "v1", &|spec| {
        spec["UpdateConfig"]["Monitor"] = json!(3_000_000_000_u64)
    });
    let mut program = swarm.watcher(&[]);
    let second = lab.publish("web", &good("v2"));
    program.await_line("Swarm rolls it out");
    program.kill();
    let mut program = swarm.watcher(&[]);
    program.await_line(&format!("updated service={}", lab.name("web")));
    assert_eq!(swarm.running("web", &second), 2);
    program.kill();
    // A bad one, killed before the roll-back was asked for.
    let mut program = swarm.watcher(&[]);
    lab.publish("web", &dying("bad"));
    program.await_line("Swarm rolls it out");
    program.kill();
    eventually("Swarm pauses it", || {
        (swarm.service("web")["UpdateStatus"]["State"] == "paused").then_some(())
    });
    let program = swarm.watcher(&[]);
    program.await_line(&format!("rolled back container={}", lab.name("web")));
    assert_eq!(swarm.rolls_back(), 1);
    assert!(swarm.image("web").ends_with(&second));
}

#[test]
fn a_service_goes_back_by_hand_once_and_does_not_come_forward_again() {
    let Some(swarm) = Swarm::new() else { return };
    let lab = &swarm.lab;
    swarm.create("web", "v1", &|_| ());
    let first = swarm.image("web");
    let program = swarm.watcher(&[]);
    lab.publish("web", &good("v2"));
    let name = lab.name("web");
    program.await_line(&format!("updated service={name}"));
    let path = format!("/admin/containers/{name}/rollback");
    let (status, report) = program.ask("POST", &path);
    assert_eq!(
        (status, &report["recreated"]),
        (200, &json!([name])),
        "{report}"
    );
    assert_eq!(swarm.image("web"), first);
    assert_eq!(swarm.rolls_back(), 1);
    let (status, report) = program.ask("POST", &path);
    assert_eq!(status, 409, "{report}");
    let heads = lab.proxy.lines().len();
    eventually("three more rounds", || {
        (lab.proxy.lines().len() > heads + 3).then_some(())
    });
    assert_eq!(swarm.image("web"), first);
    assert_eq!(swarm.writes().len(), 2, "{}", program.log());
}

#[test]
fn an_update_that_never_ends_holds_up_no_other_and_is_not_rolled_back() {
    let Some(swarm) = Swarm::new() else { return };
    let lab = &swarm.lab;
    // With one node there is never room for a second task beside the first.
    swarm.create("stuck", "v1", &|spec| {
        spec["Mode"] = json!({"Replicated": {"Replicas": 1}});
        spec["UpdateConfig"]["Order"] = json!("start-first");
        spec["TaskTemplate"]["Placement"] = json!({"MaxReplicas": 1});
    });
    swarm.create("web", "v1", &|_| ());
    let stuck = lab.publish("stuck", &good("v2"));
    lab.publish("web", &good("v2"));
    let program = swarm.watcher(&[("IMAGEWATCH_CATCH_UP", "true")]);
    program.await_line(&format!("updated service={}", lab.name("web")));
    eventually("it is written", || {
        swarm.image("stuck").ends_with(&stuck).then_some(())
    });
    assert_eq!(swarm.running("stuck", &stuck), 0);
    assert_eq!(swarm.rolls_back(), 0, "{}", program.log());
}

/// Whichever call the process is killed at, the next process ends what it began, and writes nothing twice.
#[test]
fn a_process_killed_at_any_of_its_calls_leaves_nothing_to_repair() {
    let Some(swarm) = Swarm::new() else { return };
    let lab = &swarm.lab;
    swarm.create("web", "v1", &|spec| {
        spec["Mode"] = json!({"Replicated": {"Replicas": 1}})
    });
    let state = Folder::new();
    let state = state.path().display().to_string();
    let vars = [
        ("IMAGEWATCH_STATE", &*state),
        ("IMAGEWATCH_CATCH_UP", "true"),
    ];
    let calls = ["GET /services/", "POST /services/", "GET /tasks"];
    for (number, call) in calls.into_iter().enumerate() {
        for action in [Action::HoldBefore, Action::HoldAfter] {
            let mark = format!("v{number}{action:?}");
            let mut program = swarm.watcher(&vars);
            // What the one before has left is judged, so that the calls to come are those of the next update.
            program.await_line("web:latest: unchanged");
            let (inlet, outlet) = std::sync::mpsc::channel();
            let before = swarm.between.lines();
            let seen = before.iter().filter(|line| line.contains(call)).count();
            let place = Place::Holding(call, seen + 1);
            swarm
                .between
                .at(place, action, move |line| drop(inlet.send(line)));
            let digest = lab.publish("web", &good(&mark));
            let limit = std::time::Duration::from_secs(60);
            let line = outlet.recv_timeout(limit).expect("the call comes");
            program.kill();
            let program = swarm.watcher(&vars);
            eventually(&format!("{line} {mark}"), || {
                (swarm.running("web", &digest) == 1).then_some(())
            });
            let image = swarm.image("web");
            assert!(image.ends_with(&digest), "{image}");
            program.await_line(&format!("updated service={}", lab.name("web")));
        }
    }
    assert_eq!(swarm.rolls_back(), 0);
}
