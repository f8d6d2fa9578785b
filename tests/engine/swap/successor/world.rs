//! Takes containers through refreshes, and compares each with its twin.

use super::case::Case;
use super::case::PLAIN;
use super::case::RICH;
use super::case::plain;
use super::case::rich;
use crate::engine::lab::Lab;
use crate::engine::lab::STOPPED_TOO;
use crate::support::images::archive;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpListener;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

/// A file that is written into each volume.
const MARK: &str = "mark";

/// A test's Engine, its networks, and what went wrong so far.
pub(crate) struct World {
    pub(crate) lab: Lab,
    minor: u64,
    subnets: [String; 2],
    /// One that is free, for the container that wants a certain one.
    port: u16,
    wrong: Vec<String>,
}

impl World {
    pub(crate) fn new() -> Option<Self> {
        let lab = Lab::new()?;
        let (_, version) = lab.docker.json("GET", "/version", &Value::Null);
        let minor = version["ApiVersion"]
            .as_str()
            .and_then(|text| text.split_once('.'));
        let subnets = ["n1", "n2"].map(|name| create_network(&lab, name));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let world = Self {
            minor: minor
                .and_then(|(_, minor)| minor.parse().ok())
                .expect("a version"),
            subnets,
            port: listener.local_addr().expect("an address").port(),
            wrong: Vec::new(),
            lab,
        };
        for (runtime, image) in [
            (PLAIN, plain("v1")),
            (RICH, rich("v1", world.lab.is_podman)),
        ] {
            world.lab.publish(runtime, &image);
            world.lab.pull(runtime);
        }
        // What others share. It stays as it is, so that they are looked at alone.
        let base = json!({"Labels": {"imagewatch.enable": "false"}, "Volumes": {"/base": {}},
                          "HostConfig": {"Binds": ["@shared:/shared", "/srv:/host:ro"]}});
        // Podman hands volumes on, but no folders of the host.
        let gone = json!({"Labels": {"imagewatch.enable": "false"}, "Volumes": {"/base": {}}, "HostConfig": {"Binds": ["@shared:/shared"]}});
        for (name, body) in [("base", base), ("gone", gone)] {
            let id = world.create(name, &world.lab.reference(PLAIN), &body);
            world.lab.docker.start(&id);
            world.mark(&id);
        }
        Some(world)
    }

    /// The same with this test's names in it.
    fn filled(&self, json: &Value) -> Value {
        let text = json.to_string().replace('@', &self.lab.prefix);
        let text = text
            .replace("#1", &self.subnets[0])
            .replace("#2", &self.subnets[1])
            .replace("#port", &self.port.to_string());
        serde_json::from_str(&text).expect("JSON")
    }

    #[track_caller]
    pub(crate) fn create(&self, name: &str, image: &str, body: &Value) -> String {
        let mut body = self.filled(body);
        body["Image"] = json!(image);
        self.lab.docker.create(&self.lab.name(name), &body)
    }

    #[track_caller]
    fn make(&self, name: &str, case: &Case, body: &Value) -> String {
        let id = self.create(name, &self.lab.reference(case.image), body);
        for (network, endpoint) in &case.joins {
            let body = json!({"Container": id, "EndpointConfig": self.filled(endpoint)});
            let path = format!("/networks/{}/connect", self.lab.name(network));
            let (status, answer) = self.lab.docker.json("POST", &path, &body);
            assert_eq!(status, 200, "{name} joins {network}: {answer}");
        }
        id
    }

    /// Writes the container's id into each of its volumes.
    #[track_caller]
    fn mark(&self, id: &str) {
        for (target, _) in volumes(&self.lab.docker.inspect(id)) {
            let path = format!("/containers/{id}/archive?path={target}");
            let tar = archive(MARK, id.as_bytes());
            let (status, answer) = self.lab.docker.ask("PUT", &path, &tar);
            let answer = String::from_utf8_lossy(&answer);
            assert_eq!(status, 200, "{MARK} into {target}: {answer}");
        }
    }

    fn mark_in(&self, id: &str, target: &str) -> String {
        let path = format!("/containers/{id}/archive?path={target}/{MARK}");
        let (_, tar) = self.lab.docker.ask("GET", &path, b"");
        let text = tar.get(512..512 + 64).unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }

    fn prepare(&self, case: &Case) -> Value {
        let id = self.make(case.name, case, &case.body);
        let docker = &self.lab.docker;
        if case.state != "created" {
            docker.start(&id);
        }
        self.mark(&id);
        match case.state {
            "exited" => docker.stop(&id),
            "paused" => drop(docker.ask("POST", &format!("/containers/{id}/pause"), b"")),
            _ => {}
        }
        docker.inspect(&id)
    }

    /// Why a case is left out here.
    fn left_out(&self, case: &Case) -> Option<String> {
        if self.lab.is_podman && !case.not_on_podman.is_empty() {
            return Some(case.not_on_podman.to_owned());
        }
        let too_old = !self.lab.is_podman && case.since > self.minor;
        too_old.then(|| format!("the API is 1.{}, not 1.{}", self.minor, case.since))
    }

    fn check(&mut self, case: &Case, old: &Value) {
        let new = self.lab.inspect(case.name);
        if case.outcome != "recreated" {
            return self.same(case, "Id", &new["Id"], &old["Id"]);
        }
        for (command, text) in &case.prints {
            let text = text.replace('@', &self.lab.prefix);
            let text = text.replace("#1", &self.subnets[0]);
            let command = command.replace('@', &self.lab.prefix);
            let id = new["Id"].as_str().unwrap_or_default();
            let mut said = String::new();
            // The Engine's name server may be slow on a busy machine.
            for _ in 0..3 {
                if !said.contains(&text) {
                    said = self.exec(id, &command);
                }
            }
            self.same(case, &command, &json!(said.contains(&text)), &json!(true));
            if !said.contains(&text) {
                self.wrong
                    .push(format!("  it printed {said:?}, without {text:?}"));
            }
        }
        let twin = self.make(
            &format!("{}-twin", case.name),
            case,
            case.twin.as_ref().unwrap_or(&case.body),
        );
        if self.lab.is_podman && case.state == "running" {
            // Podman shows some settings only once a container was started. The two may want the
            // same port or address.
            self.lab.docker.stop(&self.lab.name(case.name));
            self.lab.docker.start(&twin);
        }
        let twin = self.lab.docker.inspect(&twin);
        self.compare(case, old, &new, &twin);
        let at = |inspect: &Value, pointer: &str| inspect.pointer(pointer).cloned();
        for (pointer, expected) in &case.shows {
            let pointer = pointer.replace('@', &self.lab.prefix);
            let seen = at(&new, &pointer).unwrap_or_default();
            let expected = self.filled(expected);
            self.same(case, &pointer, &seen, &expected);
        }
        for pointer in &case.keeps {
            let pointer = pointer.replace('@', &self.lab.prefix);
            let (seen, expected) = (at(&new, &pointer), at(old, &pointer));
            self.same(case, &pointer, &json!(seen), &json!(expected));
        }
    }

    fn same(&mut self, case: &Case, what: &str, seen: &Value, expected: &Value) {
        if seen != expected {
            let name = case.name;
            self.wrong
                .push(format!("{name}: {what} is {seen}, not {expected}"));
        }
    }

    /// The oracle.
    fn compare(&mut self, case: &Case, old: &Value, new: &Value, twin: &Value) {
        self.same(case, "Image", &new["Image"], &twin["Image"]);
        let running = json!(case.state == "running");
        self.same(case, "State", &new["State"]["Running"], &running);
        for part in ["Config", "HostConfig"] {
            let (seen, expected) = (self.normal(new, part), self.normal(twin, part));
            let keys: BTreeSet<&String> = seen.keys().chain(expected.keys()).collect();
            for key in keys {
                let is_lost = self.lab.is_podman && case.lost_on_podman.contains(&key.as_str());
                if !is_lost {
                    let of = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                    self.same(case, &format!("{part}.{key}"), &of(&seen), &of(&expected));
                }
            }
        }
        let (seen, expected) = (endpoints(new), endpoints(twin));
        self.same(case, "Networks", &seen, &expected);
        self.compare_volumes(case, old, new, twin);
    }

    /// Each volume of the old one is there with its contents, and all that the new image asks for.
    fn compare_volumes(&mut self, case: &Case, old: &Value, new: &Value, twin: &Value) {
        let (before, after, fresh) = (volumes(old), volumes(new), volumes(twin));
        for (target, name) in &before {
            let found = after.iter().find(|(other, _)| other == target);
            self.same(
                case,
                target,
                &json!(found.map(|(_, name)| name)),
                &json!(name),
            );
            let id = new["Id"].as_str().unwrap_or_default();
            let marks = [old["Id"].clone(), json!(self.mark_in(id, target))];
            if marks[1].as_str().is_none_or(|mark| mark.len() != 64) {
                self.wrong
                    .push(format!("{}: nothing in {target}", case.name));
            }
        }
        for (target, _) in &fresh {
            let found = after.iter().filter(|(other, _)| other == target);
            self.same(case, target, &json!(found.count()), &json!(1));
        }
        for (target, _) in &after {
            let wanted = [&before, &fresh]
                .iter()
                .any(|all| all.iter().any(|(one, _)| one == target));
            self.same(case, target, &json!(wanted), &json!(true));
        }
        let shown = |inspect: &Value| {
            let all = inspect["Mounts"].as_array().cloned().unwrap_or_default();
            let all = all.into_iter().filter(|mount| mount["Type"] != "volume");
            let mut all: Vec<Value> = all
                .map(|mount| {
                    json!([
                        mount["Type"],
                        mount["Source"],
                        mount["Destination"],
                        mount["RW"]
                    ])
                })
                .collect();
            all.sort_by_key(Value::to_string);
            json!(all)
        };
        self.same(case, "Mounts", &shown(new), &shown(twin));
    }

    /// `Config` or `HostConfig` without what is bound to differ: what says the same in another
    /// way, and what names this very container.
    fn normal(&self, inspect: &Value, part: &str) -> Map<String, Value> {
        let short_id = inspect["Id"]
            .as_str()
            .unwrap_or_default()
            .get(..12)
            .unwrap_or_default();
        let mode = |key: &str| inspect["HostConfig"][key].as_str().unwrap_or_default();
        let borrowed = mode("UTSMode") == "host" || mode("NetworkMode").starts_with("container:");
        let mut all = inspect[part].as_object().cloned().unwrap_or_default();
        // Volumes that came by being declared come by their name the second time.
        all.remove("Volumes");
        if borrowed || all.get("Hostname") == Some(&json!(short_id)) {
            all.remove("Hostname");
        }
        // Engines before 23 write the default down when the container starts.
        if all.get("Runtime") == Some(&json!("runc")) {
            all.remove("Runtime");
        }
        if let Some(Value::Object(labels)) = all.get_mut("Labels") {
            labels.remove("io.imagewatch.txn");
        }
        if let Some(Value::Object(annotations)) = all.get_mut("Annotations") {
            annotations.retain(|key, _| !key.starts_with("io.container"));
        }
        for key in ["Env", "Binds", "CapAdd", "CapDrop", "SecurityOpt"] {
            if let Some(Value::Array(list)) = all.get_mut(key) {
                list.retain(|entry| {
                    let text = entry.as_str().unwrap_or_default();
                    !is_anonymous(text.split(':').next().unwrap_or_default())
                        && text != format!("HOSTNAME={short_id}")
                });
                list.sort_by_key(Value::to_string);
            }
        }
        let mounts = all.get_mut("Mounts").and_then(Value::as_array_mut);
        for mount in mounts
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
        {
            if mount
                .get("Source")
                .and_then(Value::as_str)
                .is_some_and(is_anonymous)
            {
                mount.remove("Source");
            }
        }
        if let Some(Value::Array(links)) = all.get_mut("Links") {
            for link in links {
                let text = link.as_str().unwrap_or_default();
                let (provider, alias) = text.split_once(':').unwrap_or_default();
                *link = json!([provider, alias.rsplit('/').next()]);
            }
        }
        // Of these two alone, null and an empty list are not the same.
        let differs = |key: &str| ["MaskedPaths", "ReadonlyPaths"].contains(&key);
        all.retain(|key, value| differs(key) || !is_blank(value));
        all
    }

    /// What a command says inside a container.
    fn exec(&self, id: &str, command: &str) -> String {
        let command: Vec<&str> = command.split(' ').collect();
        let body = json!({"Cmd": command, "AttachStdout": true, "AttachStderr": true});
        let (_, made) = self
            .lab
            .docker
            .json("POST", &format!("/containers/{id}/exec"), &body);
        let path = format!("/exec/{}/start", made["Id"].as_str().unwrap_or_default());
        let (_, said) = self
            .lab
            .docker
            .ask("POST", &path, b"{\"Detach\":false,\"Tty\":false}");
        String::from_utf8_lossy(&said).into_owned()
    }
}

/// Destination and name of each volume, if it can be written to.
fn volumes(inspect: &Value) -> Vec<(String, String)> {
    let mounts = inspect["Mounts"].as_array().into_iter().flatten();
    let mounts = mounts.filter(|mount| mount["Type"] == "volume" && mount["RW"] == true);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    mounts
        .map(|mount| (text(&mount["Destination"]), text(&mount["Name"])))
        .collect()
}

/// What an owner can set of a container's networks.
fn endpoints(inspect: &Value) -> Value {
    let short_id = inspect["Id"]
        .as_str()
        .unwrap_or_default()
        .get(..12)
        .unwrap_or_default();
    let networks = inspect["NetworkSettings"]["Networks"].as_object();
    let shown = networks.into_iter().flatten().map(|(name, shown)| {
        let mut endpoint = Map::new();
        for key in ["IPAMConfig", "Links", "DriverOpts", "GwPriority"] {
            if !is_blank(&shown[key]) && shown[key] != 0 {
                endpoint.insert(key.to_owned(), shown[key].clone());
            }
        }
        let aliases = shown["Aliases"].as_array().into_iter().flatten();
        let mut aliases: Vec<&Value> = aliases.filter(|alias| *alias != short_id).collect();
        // Engines before 25 put the host name last, wherever the owner had it, and Podman once more.
        aliases.sort_by_key(|alias| alias.to_string());
        aliases.dedup();
        endpoint.insert("Aliases".to_owned(), json!(aliases));
        (name.clone(), Value::Object(endpoint))
    });
    Value::Object(shown.collect())
}

fn is_anonymous(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Makes a network with a range of addresses that no other has, and answers its first three numbers.
#[track_caller]
fn create_network(lab: &Lab, name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..50 {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let subnet = format!("10.{}.{}", 90 + std::process::id() % 100, number % 250);
        let body = json!({"Name": lab.name(name), "Driver": "bridge",
                          "IPAM": {"Config": [{"Subnet": format!("{subnet}.0/24")}]}});
        if lab.docker.json("POST", "/networks/create", &body).0 == 201 {
            return subnet;
        }
    }
    panic!("no free range of addresses");
}

/// Takes all cases through as many refreshes, and then looks at each.
pub(crate) fn run(generations: usize, cases: &[Case]) {
    let Some(mut world) = World::new() else {
        return;
    };
    let mut tried = Vec::new();
    for case in cases {
        match world.left_out(case) {
            None => tried.push((case, world.prepare(case))),
            Some(why) => {
                let words = format!("left out: {}: {why}\n", case.name);
                drop(std::io::stderr().write_all(words.as_bytes()));
            }
        }
    }
    world.lab.docker.remove(&world.lab.name("gone"));
    world.lab.publish(PLAIN, &plain("v2"));
    world.lab.publish(RICH, &rich("v2", world.lab.is_podman));
    let program = world
        .lab
        .program("plain,rich", &[("IMAGEWATCH_SETTLE", "300ms"), STOPPED_TOO]);
    for generation in 0..generations {
        let (_, report) = program.refresh(if generation == 0 { "" } else { "?force=true" });
        for (case, _) in &tried {
            let name = json!(world.lab.name(case.name));
            let is_on = |list: &Value| {
                let entries = list.as_array().into_iter().flatten();
                entries
                    .clone()
                    .any(|entry| *entry == name || entry["name"] == name)
            };
            let lists = report.as_object().into_iter().flatten();
            let lists: Vec<&String> = lists
                // What is lost is said besides what was done.
                .filter(|(key, list)| *key != "warnings" && is_on(list))
                .map(|(key, _)| key)
                .collect();
            let expected: Vec<&str> = [case.outcome]
                .into_iter()
                .filter(|list| !list.is_empty())
                .collect();
            if lists != expected {
                let name = case.name;
                world
                    .wrong
                    .push(format!("{name}: on {lists:?}, not {expected:?}: {report}"));
            }
        }
    }
    for (case, old) in &tried {
        world.check(case, old);
    }
    assert!(world.wrong.is_empty(), "{}", world.wrong.join("\n"));
}
