//! Everything the owner set survives, everything else comes from the new image.
//!
//! The oracle: a container is made from v1, the program puts it onto v2, and then a twin is made
//! from v2 with the same body under another name. What inspect shows of both has to be the same,
//! but for what is bound to differ. Besides that, each case says what it wants to see.

use super::lab::Lab;
use crate::support::images::ImageSpec;
use crate::support::images::archive;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpListener;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

/// An image that gives nothing but its command, and one that gives all there is.
const PLAIN: &str = "plain";
const RICH: &str = "rich";
/// Runs until it is told to stop, whatever the signal.
const WAIT: &str = "trap 'exit 0' TERM INT QUIT USR1; while :; do sleep 1 & wait; done";
/// A file that is written into each volume.
const MARK: &str = "mark";

fn plain(version: &str) -> ImageSpec {
    ImageSpec::new(version).with("Cmd", json!(["/bin/busybox", "sh", "-c", WAIT]))
}

/// Each default of v2 is another one than v1's.
fn rich(version: &str, podman: bool) -> ImageSpec {
    let number: u64 = if version == "v1" { 1 } else { 2 };
    let script = format!("/{version}.sh");
    let mut image = ImageSpec::new(version)
        .with("Entrypoint", json!(["/bin/busybox", "sh", script]))
        .with("Cmd", json!([version]))
        .with("User", json!(format!("100{number}:100{number}")))
        .with("WorkingDir", json!(format!("/work/{version}")))
        .with(
            "StopSignal",
            json!(["SIGINT", "SIGQUIT"][number as usize - 1]),
        )
        .with(
            "Env",
            json!([
                "PATH=/bin",
                format!("VERSION={version}"),
                "KEEP=same",
                format!("{version}=1")
            ]),
        )
        .with(
            "Labels",
            json!({"version": version, version: "x", "img.mine": version}),
        )
        .with(
            "ExposedPorts",
            json!({format!("800{number}/tcp"): {}, "80/tcp": {}}),
        )
        .with(
            "Volumes",
            json!({"/data": {}, format!("/only-{version}"): {}}),
        );
    if !podman {
        // Outside of systemd, Podman never runs a health check.
        let check = json!({"Test": ["CMD", "/bin/true", version], "Interval": 1_000_000_000_u64,
                           "Timeout": number * 5_000_000_000, "Retries": number});
        image = image.with("Healthcheck", check);
    }
    let script = (format!("{version}.sh"), 0o755, WAIT.as_bytes().to_vec());
    image.files.push(script);
    image
}

/// One container, and what is to become of it. In texts, `@` is the test's prefix and `#1`, `#2`
/// are the first three numbers of its networks' addresses.
struct Case {
    name: &'static str,
    image: &'static str,
    body: Value,
    /// Networks it joins after its creation.
    joins: Vec<(&'static str, Value)>,
    /// What its twin is made from, where it cannot be the same.
    twin: Option<Value>,
    /// The first API version that knows what the case is about.
    since: u64,
    /// Why it is left out on Podman.
    not_on_podman: &'static str,
    /// Fields of `Config` and `HostConfig` that Podman is known not to give back as they were.
    lost_on_podman: &'static [&'static str],
    /// What it does before the refresh.
    state: &'static str,
    /// The list of the report it is on, or nothing.
    outcome: &'static str,
    /// What inspect shows afterwards.
    shows: Vec<(&'static str, Value)>,
    /// What inspect shows before and afterwards.
    keeps: Vec<&'static str>,
    /// What a command prints in it afterwards.
    prints: Vec<(&'static str, &'static str)>,
}

fn case(name: &'static str, image: &'static str, body: Value) -> Case {
    Case {
        name,
        image,
        body,
        joins: Vec::new(),
        twin: None,
        since: 41,
        not_on_podman: "",
        lost_on_podman: &[],
        state: "running",
        outcome: "recreated",
        shows: Vec::new(),
        keeps: Vec::new(),
        prints: Vec::new(),
    }
}

impl Case {
    fn joins(mut self, network: &'static str, endpoint: Value) -> Self {
        self.joins.push((network, endpoint));
        self
    }

    fn twin(mut self, body: Value) -> Self {
        self.twin = Some(body);
        self
    }

    fn since(mut self, minor: u64) -> Self {
        self.since = minor;
        self
    }

    fn not_on_podman(mut self, why: &'static str) -> Self {
        self.not_on_podman = why;
        self
    }

    fn lost_on_podman(mut self, fields: &'static [&'static str]) -> Self {
        self.lost_on_podman = fields;
        self
    }

    fn state(mut self, state: &'static str) -> Self {
        self.state = state;
        self
    }

    fn outcome(mut self, list: &'static str) -> Self {
        self.outcome = list;
        self
    }

    fn shows(mut self, pointer: &'static str, value: Value) -> Self {
        self.shows.push((pointer, value));
        self
    }

    fn keeps(mut self, pointer: &'static str) -> Self {
        self.keeps.push(pointer);
        self
    }

    fn prints(mut self, command: &'static str, text: &'static str) -> Self {
        self.prints.push((command, text));
        self
    }
}

/// A test's Engine, its networks, and what went wrong so far.
struct World {
    lab: Lab,
    minor: u64,
    subnets: [String; 2],
    /// One that is free, for the container that wants a certain one.
    port: u16,
    wrong: Vec<String>,
}

impl World {
    fn new() -> Option<Self> {
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
    fn create(&self, name: &str, image: &str, body: &Value) -> String {
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
        let borrowed = ["NetworkMode", "UTSMode"].iter().any(|key| {
            let mode = inspect["HostConfig"][key].as_str().unwrap_or_default();
            mode == "host" || mode.starts_with("container:")
        });
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
fn run(generations: usize, cases: &[Case]) {
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
        .program("plain,rich", &[("IMAGEWATCH_SETTLE", "300ms")]);
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
                .filter(|(_, list)| is_on(list))
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

const NO_LINKS: &str = "it knows no links";

#[test]
fn configuration() {
    let health = json!({"Test": ["CMD-SHELL", "true"], "Interval": 1_500_000_000_u64});
    run(
        1,
        &[
            case("1", PLAIN, json!({})),
            case("2", RICH, json!({})).shows("/Config/Labels/img.mine", json!("v2")),
            case(
                "3",
                PLAIN,
                json!({"Hostname": "myhost", "Domainname": "example.org"}),
            )
            .shows("/Config/Hostname", json!("myhost")),
            case(
                "4",
                RICH,
                json!({"Env": ["A=1", "VERSION=user", "KEEP=same", "v1"]}),
            ),
            case("5", RICH, json!({"Cmd": ["own"]})).shows("/Config/Cmd", json!(["own"])),
            case(
                "6",
                RICH,
                json!({"Entrypoint": ["/bin/sleep"], "Cmd": ["99"], "StopTimeout": 1}),
            ),
            case(
                "6b",
                RICH,
                json!({"Entrypoint": ["/bin/busybox", "sh", "/v1.sh"], "Cmd": null}),
            )
            .state("created")
            .shows(
                "/Config/Entrypoint",
                json!(["/bin/busybox", "sh", "/v1.sh"]),
            ),
            case(
                "6c",
                RICH,
                json!({"Entrypoint": ["/bin/sleep"], "Cmd": ["v1"]}),
            )
            .state("created"),
            case(
                "7",
                RICH,
                json!({"Entrypoint": [""], "Cmd": ["/bin/sleep", "99"], "StopTimeout": 1}),
            ),
            case(
                "8",
                RICH,
                json!({"User": "1000:1000", "WorkingDir": "/tmp"}),
            ),
            case(
                "9",
                RICH,
                json!({"Labels": {"x": "y", "img.mine": "mine", "v1": "z"}}),
            ),
            case("10", RICH, json!({"Healthcheck": health}))
                .not_on_podman("outside of systemd, it never runs a health check"),
            case("11", RICH, json!({"Healthcheck": {"Test": ["NONE"]}})),
            case(
                "12",
                RICH,
                json!({"StopSignal": "SIGUSR1", "StopTimeout": 3}),
            ),
            case(
                "12b",
                PLAIN,
                json!({"Tty": true, "OpenStdin": true, "StdinOnce": true}),
            ),
            case("38", PLAIN, json!({"HostConfig": {"AutoRemove": true}})).outcome("skipped"),
            case("39", PLAIN, json!({"Env": ["A=1"]}))
                .state("exited")
                .lost_on_podman(&["Ulimits"]),
            case("40", RICH, json!({"Env": ["A=1"]})).state("created"),
        ],
    );
}

#[test]
fn ports_and_volumes() {
    let fixed = json!({"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "#port"}]});
    let mounts = json!([
        {"Type": "volume", "Source": "@m", "Target": "/mv", "VolumeOptions": {"NoCopy": true}},
        {"Type": "bind", "Source": "/srv", "Target": "/mb", "ReadOnly": true},
        {"Type": "tmpfs", "Target": "/mt", "TmpfsOptions": {"SizeBytes": 1_048_576}},
        {"Type": "volume", "Target": "/ma/"},
    ]);
    let anonymous = json!([{"Type": "volume", "Target": "/data"}]);
    let ephemeral =
        json!({"80/tcp": [{"HostPort": ""}], "81/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]});
    let host = |json: Value| json!({"HostConfig": json});
    run(
        1,
        &[
            case("13", RICH, host(json!({"PortBindings": fixed}))),
            case("14", RICH, host(json!({"PortBindings": ephemeral})))
                .lost_on_podman(&["PortBindings"]),
            case("15", RICH, host(json!({"PublishAllPorts": true})))
                .lost_on_podman(&["PortBindings", "ExposedPorts"]),
            case("17", RICH, json!({"ExposedPorts": {"9999/tcp": {}}})),
            case(
                "19",
                RICH,
                host(json!({"Binds": ["@1:/data", "@2:/v2:ro"]})),
            ),
            case("20", RICH, host(json!({"Binds": ["@3:/data:nocopy"]}))),
            case("21", RICH, host(json!({"Binds": ["/srv:/b:ro,z"]}))),
            case(
                "22",
                RICH,
                json!({"HostConfig": {"Mounts": mounts}, "Volumes": {"/x": {}}}),
            ),
            case("23", RICH, host(json!({"Mounts": anonymous}))),
            case("24-gone", PLAIN, host(json!({"VolumesFrom": ["@gone"]})))
                .twin(host(json!({"Binds": ["@shared:/shared"]}))),
        ],
    );
}

/// What an Engine adds of its own must not pile up from one generation to the next.
#[test]
fn three_generations() {
    let host = |json: Value| json!({"HostConfig": json});
    run(
        3,
        &[
            case("18", RICH, json!({"Volumes": {"/anon": {}}})),
            case("24", PLAIN, host(json!({"VolumesFrom": ["@base"]})))
                .keeps("/HostConfig/VolumesFrom"),
            case(
                "25",
                PLAIN,
                host(json!({"Tmpfs": {"/t": "size=64k,mode=1777"}})),
            )
            .prints("/bin/cat /proc/mounts", "/t tmpfs"),
            case(
                "26-piled",
                PLAIN,
                json!({"HostConfig": {"NetworkMode": "@n1"},
                "NetworkingConfig": {"EndpointsConfig": {"@n1": {"Aliases": ["a", "b"]}}}}),
            ),
            case(
                "22-piled",
                RICH,
                host(json!({"Mounts": [{"Type": "volume", "Target": "/data"}]})),
            ),
        ],
    );
}

/// On its own, and short: if the Engine is ended in the middle, a frozen process is in the way.
#[test]
fn a_paused_container_is_skipped() {
    run(
        1,
        &[case("41", PLAIN, json!({}))
            .state("paused")
            .outcome("skipped")],
    );
}

#[test]
fn networks() {
    let on = |mode: &str, endpoint: Value| {
        json!({"HostConfig": {"NetworkMode": mode},
               "NetworkingConfig": {"EndpointsConfig": {mode: endpoint}}})
    };
    let host = |json: Value| json!({"HostConfig": json});
    let ip = |ip: &str| json!({"IPAMConfig": {"IPv4Address": ip}});
    let mac = "02:aa:bb:cc:dd:01";
    let mut with_mac = on("@n1", json!({}));
    with_mac["MacAddress"] = json!(mac);
    let second = json!({"Aliases": ["m2"], "IPAMConfig": {"IPv4Address": "#2.60"}});
    let both = json!({"HostConfig": {"NetworkMode": "@n1"}, "NetworkingConfig": {"EndpointsConfig": {
        "@n1": {"MacAddress": "02:aa:bb:cc:dd:02"},
        "@n2": {"MacAddress": "02:aa:bb:cc:dd:03", "GwPriority": 5, "IPAMConfig": {"IPv4Address": "#2.61"},
                "DriverOpts": {"com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1"}}}}});
    const UNSEEN_IP: &str = "it does not show an address that was asked for";
    run(
        1,
        &[
            case("26", PLAIN, on("@n1", json!({"Aliases": ["a", "b"]})))
                .prints("/bin/busybox nslookup a", "#1.")
                .prints("/bin/busybox nslookup b", "#1.")
                .prints("/bin/busybox nslookup @26", "#1."),
            case("26-host-name", PLAIN, {
                let mut body = on("@n1", json!({"Aliases": ["box", "c"]}));
                body["Hostname"] = json!("box");
                body
            })
            .prints("/bin/busybox nslookup box", "#1."),
            case("27", PLAIN, on("@n1", ip("#1.50")))
                .not_on_podman(UNSEEN_IP)
                .shows("/NetworkSettings/Networks/@n1/IPAddress", json!("#1.50")),
            case("27b", PLAIN, host(json!({"NetworkMode": "@n1"}))),
            case("28", PLAIN, with_mac).prints("/bin/cat /sys/class/net/eth0/address", mac),
            case("29", PLAIN, on("@n1", json!({})))
                .joins("n2", second)
                .not_on_podman(UNSEEN_IP)
                .shows("/NetworkSettings/Networks/@n2/IPAddress", json!("#2.60")),
            case("29b", PLAIN, on("@n1", json!({"Aliases": ["a1"]})))
                .joins("n2", json!({"Aliases": ["a2"]})),
            case("29c", PLAIN, json!({})).joins("n2", json!({"Aliases": ["d"]})),
            case("30", PLAIN, both.clone())
                .since(48)
                .not_on_podman(UNSEEN_IP)
                .shows(
                    "/NetworkSettings/Networks/@n1/MacAddress",
                    json!("02:aa:bb:cc:dd:02"),
                )
                .shows(
                    "/NetworkSettings/Networks/@n2/MacAddress",
                    json!("02:aa:bb:cc:dd:03"),
                )
                .shows("/NetworkSettings/Networks/@n2/GwPriority", json!(5)),
            case("31", PLAIN, host(json!({"NetworkMode": "host"}))),
            case("32", PLAIN, host(json!({"NetworkMode": "none"}))),
            case(
                "33",
                PLAIN,
                host(json!({"UTSMode": "host", "PidMode": "host", "IpcMode": "host"})),
            ),
            case("34", RICH, host(json!({"NetworkMode": "container:@base"}))),
            case(
                "34b",
                PLAIN,
                host(json!({"PidMode": "container:@base", "IpcMode": "shareable"})),
            ),
            case("36", PLAIN, host(json!({"Links": ["@base:lb"]})))
                .not_on_podman(NO_LINKS)
                .prints("/bin/cat /etc/hosts", "lb"),
            case(
                "36-network",
                PLAIN,
                on("@n1", json!({"Links": ["@26:other"]})),
            )
            .not_on_podman(NO_LINKS)
            .prints("/bin/busybox nslookup other", "#1."),
        ],
    );
}

#[test]
fn resources() {
    let host = |json: Value| json!({"HostConfig": json});
    run(
        1,
        &[
            case("42", PLAIN, host(json!({"Memory": 67_108_864, "MemorySwap": 134_217_728,
                "NanoCpus": 500_000_000, "PidsLimit": 50, "CpusetCpus": "0", "OomScoreAdj": 100,
                "CpuShares": 512, "BlkioWeight": 0}))),
            case("42b", PLAIN, host(json!({"PidsLimit": 0}))),
            case("43", PLAIN, host(json!({"CpuPeriod": 50_000, "CpuQuota": 25_000}))),
            case("44", PLAIN, json!({"Tty": true, "OpenStdin": true, "HostConfig": {
                "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}],
                "ShmSize": 33_554_432, "ReadonlyRootfs": true, "CapDrop": ["ALL"], "CapAdd": ["NET_ADMIN"],
                "SecurityOpt": ["no-new-privileges"], "GroupAdd": ["5"],
                "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "rwm"}],
                "CgroupnsMode": "private", "Dns": ["192.0.2.1"], "DnsSearch": ["example.org"],
                "ExtraHosts": ["peer:192.0.2.2"], "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
                "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}}}))
                .prints("/bin/cat /etc/hosts", "192.0.2.2")
                .prints("/bin/busybox df /dev/shm", "32768"),
            case("44-sysctl", PLAIN, host(json!({"Sysctls": {"net.ipv4.ip_forward": "0"}})))
                .not_on_podman("it does not show sysctls")
                .prints("/bin/cat /proc/sys/net/ipv4/ip_forward", "0"),
            case("44-init", PLAIN, host(json!({"Init": true}))).state("created")
                .not_on_podman("it has no init here"),
            case("45", PLAIN, host(json!({"MaskedPaths": [], "ReadonlyPaths": []})))
                .keeps("/HostConfig/MaskedPaths")
                .keeps("/HostConfig/ReadonlyPaths"),
            case("45b", PLAIN, json!({})).keeps("/HostConfig/MaskedPaths"),
            case("45c", PLAIN, host(json!({"Privileged": true, "SecurityOpt": ["seccomp=unconfined"]}))).state("created"),
            case("46", PLAIN, host(json!({"DeviceRequests": [{"Driver": "", "Count": -1,
                "DeviceIDs": null, "Capabilities": [["gpu"]], "Options": {}}]})))
                .state("created")
                .not_on_podman("it does not show them"),
            case("47", PLAIN, host(json!({"Annotations": {"a": "b"}}))).since(43),
            case("48", PLAIN, host(json!({"MemorySwappiness": 0, "Memory": 67_108_864})))
                .lost_on_podman(&["MemorySwappiness"]),
        ],
    );
}

#[test]
fn an_image_named_by_digest_or_by_id_is_not_followed() {
    let Some(world) = World::new() else { return };
    let by_tag = world.lab.docker.image(&world.lab.reference(PLAIN));
    let names = [("digest", &by_tag["RepoDigests"][0]), ("id", &by_tag["Id"])];
    // Podman shows the tag even where a digest or an id was asked for: nobody can tell there.
    let names = names.into_iter().filter(|_| !world.lab.is_podman);
    let ids: Vec<(&str, Value)> = names
        .map(|(name, image)| {
            let id = world.create(name, image.as_str().unwrap_or_default(), &json!({}));
            world.lab.docker.start(&id);
            (name, json!(id))
        })
        .collect();
    // The tag moves on here alone, nothing is pulled: that counts as well.
    let tagged = world.create("tagged", &world.lab.reference(PLAIN), &json!({}));
    world.lab.docker.start(&tagged);
    world.lab.publish(PLAIN, &plain("v2"));
    world.lab.pull(PLAIN);
    let program = world
        .lab
        .program("plain", &[("IMAGEWATCH_SETTLE", "300ms")]);
    let (_, report) = program.refresh("");
    assert_eq!(
        report["recreated"],
        json!([world.lab.name("tagged")]),
        "{report}"
    );
    for (name, id) in ids {
        assert_eq!(world.lab.inspect(name)["Id"], id, "{name}");
    }
}
