//! A swarm of three managers (`scripts/test.sh swarm`), of which any may go away.

mod overlay;

use super::Swarm;
use super::dying;
use super::writes;
use crate::engine::commands::json_of;
use crate::engine::commands::run_with;
use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::support::docker::Docker;
use crate::support::engine_proxy::EngineProxy;
use crate::support::patiently;
use crate::support::tidy;
use serde_json::Value;
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::sync::Once;
use std::time::Duration;
use std::time::Instant;

/// Three managers, at 10.98.0.1 to 10.98.0.3.
struct Three {
    swarm: Swarm,
    nodes: Vec<Docker>,
}

impl Three {
    fn new() -> Option<Self> {
        let Ok(sockets) = std::env::var("LAB_SWARM") else {
            println!("left out: there are no three nodes (scripts/test.sh swarm)");
            return None;
        };
        let lab = Lab::alone()?;
        let nodes: Vec<Docker> = sockets.split_whitespace().map(Docker::new).collect();
        static JOINED: Once = Once::new();
        JOINED.call_once(|| join(&nodes));
        let three = Self {
            swarm: Swarm::of(lab, true),
            nodes,
        };
        three.await_all();
        Some(three)
    }

    /// Waits until every node is a manager that the others reach.
    fn await_all(&self) {
        patiently("three managers", || {
            let all = self.managers(&self.nodes[0]);
            let is_well = |one: &&Value| {
                one["Status"]["State"] == "ready"
                    && one["ManagerStatus"]["Reachability"] == "reachable"
            };
            let well = all.iter().filter(is_well).count();
            (well == 3 && self.nodes.iter().all(|node| self.managers(node).len() == 3))
                .then_some(())
        });
    }

    fn managers(&self, node: &Docker) -> Vec<Value> {
        let (_, found) = node.json("GET", "/nodes", &Value::Null);
        found.as_array().cloned().unwrap_or_default()
    }

    /// The number of the leader, from 0.
    fn leader(&self) -> usize {
        let all = self.managers(&self.nodes[0]);
        let leader = all
            .iter()
            .find(|one| one["ManagerStatus"]["Leader"] == true)
            .expect("a leader");
        let address = leader["ManagerStatus"]["Addr"]
            .as_str()
            .expect("an address");
        (0..3)
            .find(|number| address.starts_with(&format!("10.98.0.{}:", number + 1)))
            .expect("one of ours")
    }

    /// A node that does not lead, and from now on the one that is asked what there is.
    fn follower(&mut self) -> usize {
        let leader = self.leader();
        let follower = (leader + 1) % 3;
        self.swarm.api = self.nodes[follower].clone();
        follower
    }

    fn proxy(&self, node: usize) -> EngineProxy {
        EngineProxy::with_services(&self.nodes[node])
    }

    /// A service with a task on each node.
    fn create(&self, name: &str) {
        self.swarm.create(name, "v1", &|spec| {
            spec["Mode"] = json!({"Replicated": {"Replicas": 3}});
            spec["TaskTemplate"]["Placement"] = json!({"MaxReplicas": 1});
            spec["UpdateConfig"]["Parallelism"] = json!(1);
        });
    }
}

impl Drop for Three {
    fn drop(&mut self) {
        tidy(|| {
            for number in 0..3 {
                do_to_node("join", number);
                do_to_node("start", number);
            }
            self.await_all();
        });
    }
}

/// Has `scripts/lab/swarm.sh` do this to a node, counted from 0.
#[track_caller]
fn do_to_node(what: &str, node: usize) {
    let sockets = std::env::var("LAB_SWARM").expect("three nodes");
    let first = sockets.split_whitespace().next().expect("a node");
    // …/n1/docker-28.5/docker.sock
    let lab = Path::new(first).ancestors().nth(3).expect("its folder");
    let status = Command::new("scripts/lab/swarm.sh")
        .args([what, &(node + 1).to_string()])
        .env("IMAGEWATCH_LAB", lab)
        .stdout(Stdio::null())
        .status();
    assert!(status.expect("the script").success(), "{what} {node}");
}

fn join(nodes: &[Docker]) {
    let address = |number: usize| format!("10.98.0.{}", number + 1);
    let own = |number: usize| format!("{}:2377", address(number));
    let body = json!({"ListenAddr": own(0), "AdvertiseAddr": address(0)});
    let (status, answer) = nodes[0].json("POST", "/swarm/init", &body);
    assert_eq!(status, 200, "{answer}");
    let (_, found) = nodes[0].json("GET", "/swarm", &Value::Null);
    for number in [1, 2] {
        let body = json!({
            "ListenAddr": own(number), "AdvertiseAddr": address(number),
            "RemoteAddrs": [own(0)], "JoinToken": found["JoinTokens"]["Manager"],
        });
        let (status, answer) = nodes[number].json("POST", "/swarm/join", &body);
        assert_eq!(status, 200, "{answer}");
    }
}

#[test]
fn an_update_ends_well_although_the_leader_dies_in_the_middle_of_it() {
    let Some(mut three) = Three::new() else {
        return;
    };
    three.create("web");
    let (leader, follower) = (three.leader(), three.follower());
    let between = three.proxy(follower);
    let swarm = &three.swarm;
    let program = swarm.watcher_on(&between, &[]);
    let second = swarm.lab.publish("web", &good("v2"));
    program.await_line("Swarm rolls it out");
    do_to_node("kill", leader);
    // With a task on each of three nodes, the last one can only come back together with its node.
    patiently("two nodes are updated", || {
        (swarm.running("web", &second) >= 2).then_some(())
    });
    assert!(!program.has_said("rolled back"), "{}", program.log());
    do_to_node("start", leader);
    program.await_line(&format!("updated service={}", swarm.lab.name("web")));
    assert_eq!(swarm.running("web", &second), 3);
    assert_eq!(writes(&between).len(), 1, "{:?}", writes(&between));
}

#[test]
fn an_update_waits_for_a_node_that_is_lost_and_is_not_rolled_back() {
    let Some(mut three) = Three::new() else {
        return;
    };
    three.create("web");
    let (leader, follower) = (three.leader(), three.follower());
    let lost = 3 - leader - follower;
    let between = three.proxy(follower);
    let swarm = &three.swarm;
    let program = swarm.watcher_on(&between, &[]);
    do_to_node("part", lost);
    let second = swarm.lab.publish("web", &good("v2"));
    program.await_line("Swarm rolls it out");
    patiently("a task waits for its node", || {
        let tasks = swarm.tasks("web");
        let waits = |task: &Value| {
            let words = task["Status"]["Err"].as_str().unwrap_or_default();
            words.contains("node not available") || words.contains("no suitable node")
        };
        (swarm.running("web", &second) >= 2 || tasks.iter().any(waits)).then_some(())
    });
    do_to_node("join", lost);
    let name = swarm.lab.name("web");
    program.await_line(&format!("updated service={name}"));
    assert_eq!(swarm.running("web", &second), 3);
    assert_eq!(writes(&between).len(), 1, "{}", program.log());
}

#[test]
fn two_imagewatch_on_two_managers_write_once_and_roll_back_once() {
    let Some(mut three) = Three::new() else {
        return;
    };
    three.create("web");
    three.follower();
    let betweens = [three.proxy(0), three.proxy(1)];
    let swarm = &three.swarm;
    let programs = [0, 1].map(|number| swarm.watcher_on(&betweens[number], &[]));
    let name = swarm.lab.name("web");
    let second = swarm.lab.publish("web", &good("v2"));
    for program in &programs {
        program.await_line(&format!("updated service={name}"));
    }
    let version = || swarm.service("web")["Spec"]["TaskTemplate"].clone();
    assert_eq!(swarm.running("web", &second), 3);
    let before = version();
    swarm.lab.publish("web", &dying("bad"));
    for program in &programs {
        program.await_line(&format!("rolled back container={name}"));
    }
    // A second roll-back would have led to the bad image again.
    patiently("it is back", || {
        let state = swarm.service("web")["UpdateStatus"]["State"].clone();
        (state == "rollback_completed").then_some(())
    });
    assert_eq!(version(), before);
    let rounds = swarm.lab.proxy.lines().len();
    patiently("some more rounds", || {
        (swarm.lab.proxy.lines().len() > rounds + 8).then_some(())
    });
    assert_eq!(version(), before);
    patiently("its tasks run", || {
        (swarm.running("web", &second) == 3).then_some(())
    });
}

#[test]
fn without_a_quorum_nothing_is_changed_and_then_everything_goes_on() {
    let Some(mut three) = Three::new() else {
        return;
    };
    three.create("web");
    let follower = three.follower();
    let between = three.proxy(follower);
    let swarm = &three.swarm;
    let program = swarm.watcher_on(&between, &[]);
    let others: Vec<usize> = (0..3).filter(|number| *number != follower).collect();
    for other in &others {
        do_to_node("kill", *other);
    }
    let second = swarm.lab.publish("web", &good("v2"));
    program.await_line("does not have a leader");
    assert!(!program.has_said("rolled back"), "{}", program.log());
    for other in &others {
        do_to_node("start", *other);
    }
    program.await_line(&format!("updated service={}", swarm.lab.name("web")));
    assert_eq!(swarm.running("web", &second), 3);
}

#[test]
fn a_worker_is_silent_and_a_node_that_is_promoted_sees_services_after_a_start() {
    let Some(mut three) = Three::new() else {
        return;
    };
    three.create("web");
    let (leader, follower) = (three.leader(), three.follower());
    let worker = 3 - leader - follower;
    let role = |role: &str| {
        let address = format!("10.98.0.{}", worker + 1);
        let all = three.managers(&three.nodes[follower]);
        let mut nodes = all.iter();
        let node = nodes
            .find(|one| one["Status"]["Addr"] == json!(address))
            .expect("the node");
        let mut spec = node["Spec"].clone();
        spec["Role"] = json!(role);
        let (id, version) = (
            node["ID"].as_str().expect("an id"),
            &node["Version"]["Index"],
        );
        let path = format!("/nodes/{id}/update?version={version}");
        let (status, answer) = three.nodes[follower].json("POST", &path, &spec);
        assert_eq!(status, 200, "{answer}");
    };
    role("worker");
    let status = || three.nodes[worker].json("GET", "/services", &Value::Null).0;
    patiently("a worker", || (status() == 503).then_some(()));
    let between = three.proxy(worker);
    let (host, swarm) = (between.host(), &three.swarm);
    let vars = [("DOCKER_HOST", &*host), ("IMAGEWATCH_SELECT", "all")];
    let (code, text, complaint) = run_with(&swarm.lab, "none", &vars, &["check", "--json"]);
    assert_eq!(code, Some(0), "{text}{complaint}");
    assert_eq!(complaint, "");
    assert!(json_of(&text).get("services").is_none(), "{text}");
    let mut program = swarm.watcher_on(&between, &[]);
    swarm.lab.publish("web", &good("v2"));
    let begun = Instant::now();
    patiently("some rounds", || {
        (begun.elapsed() > Duration::from_secs(5)).then_some(())
    });
    let log = program.log();
    assert!(!log.contains("WARN") && !log.contains("manager"), "{log}");
    program.kill();
    role("manager");
    patiently("a manager", || (status() == 200).then_some(()));
    let vars = [("IMAGEWATCH_CATCH_UP", "true")];
    let program = swarm.watcher_on(&between, &vars);
    program.await_line(&format!("updated service={}", swarm.lab.name("web")));
}
