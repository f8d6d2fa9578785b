//! What the tasks of a service say about its update. Swarm's own word is not enough: it says `completed` of an update
//! whose tasks have all died.

use super::digest_of;
use crate::engine::Service;
use crate::error::one_line;
use serde_json::Value;

/// The tasks of a service at one look, as far as they concern an update to one digest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tasks {
    /// Whether all tasks that should run do, with the new digest.
    pub(super) are_well: bool,
    /// How many tasks of the new digest failed since the update began.
    pub(super) failed: usize,
    /// The words of the newest task that failed, or else of one that waits.
    pub(super) words: Option<String>,
}

impl Tasks {
    pub(super) fn of(service: &Service, tasks: &[Value], to: &str) -> Self {
        let since = seconds(service.started());
        let (mut live, mut up) = (0, 0);
        let mut failed: Vec<&Value> = Vec::new();
        let mut waits = None;
        let mut nodes = Vec::new();
        for task in tasks {
            let is_new = digest_of_task(task) == Some(to);
            let is_up = is_new && task["Status"]["State"] == "running";
            // A task that is `ready` starts once Swarm's pause after a failure is over.
            if matches!(task["DesiredState"].as_str(), Some("running" | "ready")) {
                live += 1;
                if is_up {
                    up += 1;
                    nodes.push(&task["NodeID"]);
                } else if is_new {
                    waits = Some(task);
                }
            }
            let is_since = || task["CreatedAt"].as_str().map_or("", seconds) >= since;
            if is_new && has_failed(task) && is_since() {
                failed.push(task);
            }
        }
        // A service with a task on each node has no number of tasks. None of its nodes may be left without one.
        let is_replaced =
            |task: &&Value| service.replicas() > 0 || nodes.contains(&&task["NodeID"]);
        Self {
            are_well: up == live && up >= service.replicas() && failed.iter().all(is_replaced),
            failed: failed.len(),
            words: newest(&failed).or(waits).map(words),
        }
    }
}

/// The digest of the newest task that ended by itself with another image than the service has.
pub fn digest_that_failed<'t>(service: &Service, tasks: &'t [Value]) -> Option<&'t str> {
    let now = super::digest_of(service.image());
    let is_other = |task: &&Value| digest_of_task(task) != now && has_failed(task);
    let failed: Vec<&Value> = tasks.iter().filter(is_other).collect();
    newest(&failed).and_then(digest_of_task)
}

fn digest_of_task(task: &Value) -> Option<&str> {
    task["Spec"]["ContainerSpec"]["Image"]
        .as_str()
        .and_then(digest_of)
}

fn newest<'t>(tasks: &[&'t Value]) -> Option<&'t Value> {
    let tasks = tasks.iter().copied();
    tasks.reduce(|one, other| if time(other) > time(one) { other } else { one })
}

/// Whether the task ended by itself. A task that Swarm ends is `shutdown`.
fn has_failed(task: &Value) -> bool {
    let state = task["Status"]["State"].as_str();
    matches!(state, Some("failed" | "rejected" | "complete"))
}

/// The time without the fraction of a second, whose length varies.
fn seconds(time: &str) -> &str {
    time.get(..19).unwrap_or(time)
}

fn time(task: &Value) -> &str {
    task["Status"]["Timestamp"].as_str().unwrap_or_default()
}

fn words(task: &Value) -> String {
    let status = &task["Status"];
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(one_line);
    let said = text(&status["Err"]).or_else(|| text(&status["Message"]));
    let state = status["State"].as_str().unwrap_or("unknown");
    format!("a task is {state}: {}", said.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NEW: &str = "sha256:new";

    fn service(replicas: u64) -> Service {
        Service::new(json!({
            "Spec": {"Mode": {"Replicated": {"Replicas": replicas}}},
            "UpdateStatus": {"StartedAt": "2026-01-02T03:04:05.123456789Z"},
        }))
    }

    fn task(image: &str, wanted: &str, state: &str, err: &str) -> Value {
        json!({
            "CreatedAt": "2026-01-02T03:04:05.1Z",
            "DesiredState": wanted,
            "Spec": {"ContainerSpec": {"Image": format!("a:1@sha256:{image}")}},
            "Status": {"State": state, "Err": err, "Timestamp": "2026-01-02T03:04:06Z"},
        })
    }

    #[test]
    fn tasks_are_well_once_all_that_should_run_do_with_the_new_digest() {
        let up = || task("new", "running", "running", "");
        let old = || task("old", "running", "running", "");
        let dead = || task("new", "shutdown", "failed", "task: non-zero exit (7)");
        for (replicas, tasks, are_well, failed) in [
            (
                2,
                vec![up(), up(), task("old", "shutdown", "shutdown", "")],
                true,
                0,
            ),
            (2, vec![up(), old()], false, 0),
            (2, vec![up()], false, 0),
            (0, vec![], true, 0),
            (1, vec![task("new", "running", "starting", "")], false, 0),
            (1, vec![dead(), up()], true, 1),
            (
                1,
                vec![
                    dead(),
                    task("new", "running", "pending", "no suitable node"),
                ],
                false,
                1,
            ),
            // A failure of the old digest, and one from before the update.
            (
                1,
                vec![task("old", "shutdown", "failed", ""), up()],
                true,
                0,
            ),
            (
                1,
                vec![
                    {
                        let mut task = dead();
                        task["CreatedAt"] = json!("2026-01-02T03:04:04.9Z");
                        task
                    },
                    up(),
                ],
                true,
                0,
            ),
        ] {
            let found = Tasks::of(&service(replicas), &tasks, NEW);
            assert_eq!(
                (found.are_well, found.failed),
                (are_well, failed),
                "{tasks:?}"
            );
        }
    }

    #[test]
    fn the_words_of_a_failure_come_before_those_of_a_wait() {
        let dead = task("new", "shutdown", "failed", "task: non-zero exit (7)");
        let waits = task("new", "running", "pending", "no suitable node");
        let words = |tasks: &[Value]| Tasks::of(&service(1), tasks, NEW).words;
        let failed = Some("a task is failed: task: non-zero exit (7)".to_owned());
        assert_eq!(words(&[waits.clone(), dead]), failed);
        let pending = Some("a task is pending: no suitable node".to_owned());
        assert_eq!(words(&[waits]), pending);
        assert_eq!(words(&[]), None);
    }

    #[test]
    fn a_service_on_each_node_is_not_well_while_a_node_has_lost_its_task() {
        let global = Service::new(json!({"Spec": {"Mode": {"Global": {}}}}));
        let on = |node: &str, mut task: Value| {
            task["NodeID"] = json!(node);
            task
        };
        let dead = || task("new", "shutdown", "failed", "");
        let up = || task("new", "running", "running", "");
        for (tasks, are_well) in [
            (vec![on("a", up()), on("b", up())], true),
            (vec![on("a", dead()), on("a", up())], true),
            // Nothing runs, and nothing is to start.
            (vec![on("a", dead())], false),
            (vec![on("a", dead()), on("b", up())], false),
            // The next start waits for Swarm's pause after a failure.
            (
                vec![on("a", dead()), on("a", task("new", "ready", "ready", ""))],
                false,
            ),
            (vec![], true),
        ] {
            assert_eq!(
                Tasks::of(&global, &tasks, NEW).are_well,
                are_well,
                "{tasks:?}"
            );
        }
    }

    #[test]
    fn the_newest_digest_that_failed_is_the_one_that_swarm_rolled_back() {
        let at = |time: &str, mut task: Value| {
            task["Status"]["Timestamp"] = json!(time);
            task
        };
        let mut service = json!({"Spec": {"TaskTemplate": {"ContainerSpec": {}}}});
        service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] = json!("a:1@sha256:old");
        let service = Service::new(service);
        let tasks = [
            at(
                "2026-01-02T03:04:09Z",
                task("old", "shutdown", "failed", ""),
            ),
            at(
                "2026-01-02T03:04:08Z",
                task("new", "shutdown", "failed", ""),
            ),
            at(
                "2026-01-02T03:04:07Z",
                task("older", "shutdown", "failed", ""),
            ),
            at(
                "2026-01-02T03:04:10Z",
                task("oldest", "shutdown", "shutdown", ""),
            ),
        ];
        assert_eq!(digest_that_failed(&service, &tasks), Some(NEW));
    }
}
