//! A fake Engine and a fake registry with any number of containers, which can be swapped: everything about a crowd of
//! containers but the time that real ones take.

use super::Folder;
use super::server::Answer;
use super::server::Seen;
use super::server::Server;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Instant;

/// The path of every call to the Engine begins with this.
const API: &str = "/v1.41";
/// The list of containers.
const LIST: &str = "/containers/json?all=1";
/// A time that every container was created at, or a little later.
const CREATED: u64 = 1_700_000_000;

/// One container.
struct One {
    id: String,
    name: String,
    /// The number of its reference, and the version of the image.
    image: (usize, usize),
    /// The name that it was created from; an id in a container that a swap made.
    image_name: String,
    is_running: bool,
    was_started: bool,
    labels: Value,
    policy: Value,
    created: u64,
    /// Its entry in the list, until it changes.
    entry: Option<String>,
}

/// The Engine's containers and images, and the versions that the registry has.
#[derive(Default)]
struct World {
    host: String,
    containers: BTreeMap<String, One>,
    by_name: HashMap<String, String>,
    created: usize,
    /// The version of each reference, in the registry and here.
    published: Vec<usize>,
    pulled: Vec<usize>,
    /// The newest version that is here, under its tag or only by digest.
    newest_here: Vec<usize>,
    /// What the registry has beside images, by path.
    files: HashMap<String, String>,
    heads: usize,
    searches: usize,
    lists: Vec<Instant>,
    calls: usize,
    removed: usize,
    /// The bodies that successors were created from.
    bodies: Vec<Value>,
}

/// The fakes, and the world behind them.
pub(crate) struct Crowd {
    world: Arc<Mutex<World>>,
    registry: Server,
    _engine: Server,
    socket: String,
    _folder: Folder,
}

/// What was asked so far.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) heads: usize,
    /// Questions for signatures.
    pub(crate) searches: usize,
    pub(crate) connections: usize,
    /// Calls to the Engine.
    pub(crate) calls: usize,
    /// When each list of containers was asked for.
    pub(crate) lists: Vec<Instant>,
    /// Containers that were removed, the lock not counted.
    pub(crate) removed: usize,
}

impl Crowd {
    /// So many containers. `reference_of` gives each one's reference by number. Every second container was swapped
    /// before, so that it has the record of a swap.
    pub(crate) fn new(containers: usize, reference_of: impl Fn(usize) -> usize) -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let for_registry = Arc::clone(&world);
        let registry = Server::tcp(move |seen| lock(&for_registry).head(&seen.target));
        let mut first = lock(&world);
        first.host = registry.host();
        for number in 0..containers {
            first.add_owned(number, reference_of(number));
        }
        drop(first);
        let folder = Folder::new();
        let socket = folder.path().join("engine.sock");
        let for_engine = Arc::clone(&world);
        let engine = Server::unix(&socket, move |seen| {
            // The answer is written without the lock.
            let answer = lock(&for_engine).answer(seen);
            Answer::new(answer.0, &[("Api-Version", "1.41")], answer.1)
        });
        Self {
            world,
            registry,
            _engine: engine,
            socket: format!("unix://{}", socket.display()),
            _folder: folder,
        }
    }

    /// `127.0.0.1:port` of the registry.
    pub(crate) fn registry(&self) -> String {
        self.registry.host()
    }

    /// The bodies that successors were created from so far.
    pub(crate) fn created(&self) -> Vec<Value> {
        lock(&self.world).bodies.clone()
    }

    /// The value for `DOCKER_HOST`.
    pub(crate) fn socket(&self) -> &str {
        &self.socket
    }

    /// Gives a container a label.
    pub(crate) fn label(&self, number: usize, name: &str, value: &str) {
        let mut world = lock(&self.world);
        let owned = format!("stack{}-app-{number}", number / 10);
        let id = world.by_name[&owned].clone();
        let one = world.containers.get_mut(&id).expect("a container");
        one.labels[name] = json!(value);
        one.entry = None;
    }

    /// Moves the tags of these references to a newer image.
    pub(crate) fn publish(&self, references: impl IntoIterator<Item = usize>) {
        let mut world = lock(&self.world);
        for number in references {
            world.published[number] += 1;
        }
    }

    /// Gives the repository of a reference a file, for example `blobs/sha256:…`.
    #[cfg(feature = "keyless")]
    pub(crate) fn put(&self, reference: usize, path: &str, contents: impl Into<String>) {
        let path = format!("/v2/acme/app{reference}/{path}");
        lock(&self.world).files.insert(path, contents.into());
    }

    /// The digest behind the tag of a reference, in the registry.
    #[cfg(feature = "keyless")]
    pub(crate) fn published(&self, reference: usize) -> String {
        digest((reference, lock(&self.world).published[reference]))
    }

    pub(crate) fn asked(&self) -> Asked {
        let world = lock(&self.world);
        Asked {
            heads: world.heads,
            searches: world.searches,
            connections: self.registry.connections(),
            calls: world.calls,
            lists: world.lists.clone(),
            removed: world.removed,
        }
    }

    /// The number of bytes of one container's inspection.
    pub(crate) fn size_of_inspection(&self) -> usize {
        let world = lock(&self.world);
        let one = world.containers.values().next();
        one.map_or(0, |one| world.inspection(one).to_string().len())
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A text of 64 digits that nothing else has.
fn hex(kind: u8, number: usize, version: usize) -> String {
    format!("{kind:02x}{version:030x}{number:032x}")
}

/// The id of a container. Already its beginning is unique, as that of a real one.
fn container_id(number: usize) -> String {
    let mixed = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{mixed:016x}{number:048x}")
}

fn image_id((number, version): (usize, usize)) -> String {
    format!("sha256:{}", hex(0xa1, number, version))
}

fn digest((number, version): (usize, usize)) -> String {
    format!("sha256:{}", hex(0xd1, number, version))
}

/// The name in the path of a call about an image.
fn name_of_image(path: &str) -> &str {
    let name = path.strip_prefix("/images/").unwrap_or(path);
    let name = name.strip_suffix("/json").unwrap_or(name);
    name.strip_suffix("/tag").unwrap_or(name)
}

/// The reference and the version in an id, or in a digest, that follows `mark`.
fn image_of(name: &str, mark: &str) -> Option<(usize, usize)> {
    let (_, hex) = name.split_once(mark)?;
    let version = usize::from_str_radix(hex.get(2..32)?, 16).ok()?;
    Some((usize::from_str_radix(hex.get(32..64)?, 16).ok()?, version))
}

/// The number in the name of a repository, `…/acme/appN`.
fn number_in(name: &str) -> Option<usize> {
    let (_, rest) = name.rsplit_once("acme/app")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit());
    rest[..digits.unwrap_or(rest.len())].parse().ok()
}

impl World {
    fn head(&mut self, target: &str) -> Answer {
        if let Some(contents) = self.files.get(target) {
            return Answer::new(200, &[], contents.clone());
        }
        // Nobody signed anything else.
        if target.contains("/referrers/") || target.contains("/manifests/sha256-") {
            self.searches += 1;
            return Answer::new(404, &[], "404 page not found");
        }
        let number = number_in(target).expect("a repository of the crowd");
        self.heads += 1;
        let digest = digest((number, self.published[number]));
        Answer::new(200, &[("Docker-Content-Digest", &digest)], "")
    }

    fn repository(&self, number: usize) -> String {
        format!("{}/acme/app{number}", self.host)
    }

    fn add_owned(&mut self, number: usize, reference: usize) {
        if self.published.len() <= reference {
            self.published.resize(reference + 1, 1);
            self.pulled.resize(reference + 1, 1);
            self.newest_here.resize(reference + 1, 1);
        }
        let name = format!("stack{}-app-{number}", number / 10);
        let mut labels = labels_of(number);
        let policy = json!({"Name": "unless-stopped", "MaximumRetryCount": 0});
        if number % 2 == 1 {
            let record = json!({"v": 1, "name": name, "old": hex(0xee, number, 0),
                "was": "running", "restart": policy});
            labels["io.imagewatch.txn"] = json!(record.to_string());
        }
        let image_name = format!("{}:latest", self.repository(reference));
        self.add(One {
            id: String::new(),
            name,
            image: (reference, 1),
            image_name,
            is_running: true,
            was_started: true,
            labels,
            policy,
            created: 0,
            entry: None,
        });
    }

    fn add(&mut self, one: One) -> String {
        self.created += 1;
        let id = container_id(self.created);
        self.by_name.insert(one.name.clone(), id.clone());
        let created = CREATED + self.created as u64;
        let one = One {
            id: id.clone(),
            created,
            ..one
        };
        self.containers.insert(id.clone(), one);
        id
    }

    /// Status and body of a call.
    fn answer(&mut self, seen: &Seen) -> (u16, Vec<u8>) {
        self.calls += 1;
        let json = |value: &Value| (200, value.to_string().into_bytes());
        let Some(path) = seen.target.strip_prefix(API) else {
            return (200, b"OK".to_vec());
        };
        match path {
            "/version" => {
                json(&json!({"Version": "20.10.24", "ApiVersion": "1.41", "Arch": "amd64"}))
            }
            LIST => {
                self.lists.push(Instant::now());
                (200, self.list())
            }
            "/images/json" => json(&json!([])),
            _ if path.starts_with("/images/create?") => {
                let number = number_in(&path.replace("%2F", "/")).expect("an image of the crowd");
                self.newest_here[number] = self.published[number];
                // A pull by digest leaves the tag where it is.
                if !path.contains("&tag=sha256") {
                    self.tag((number, self.published[number]));
                }
                json(&json!({"status": "Status: Downloaded newer image"}))
            }
            _ if path.contains("/tag?") => {
                let name = name_of_image(path.split('?').next().expect("a path"));
                let image = self.find(name).expect("an image");
                self.tag(image);
                (201, Vec::new())
            }
            _ if path.starts_with("/images/") => match self.find(name_of_image(path)) {
                Some(image) => json(&self.image_json(image)),
                None => (404, b"{\"message\":\"No such image\"}".to_vec()),
            },
            _ => self.container_call(seen, path),
        }
    }

    /// Gives the tag of a reference to one of its images.
    fn tag(&mut self, (number, version): (usize, usize)) {
        self.pulled[number] = version;
        let users = self.containers.values_mut();
        for one in users.filter(|one| one.image.0 == number) {
            one.entry = None;
        }
    }

    /// An image that is here, by reference, digest or id.
    fn find(&self, name: &str) -> Option<(usize, usize)> {
        let pinned = image_of(name, "@sha256:").or_else(|| image_of(name, "sha256:"));
        let (number, version) = match (pinned, number_in(name)) {
            (Some(pinned), _) => pinned,
            (None, number) => (number?, *self.pulled.get(number?)?),
        };
        (version <= *self.newest_here.get(number)?).then_some((number, version))
    }

    fn image_json(&self, image: (usize, usize)) -> Value {
        let (number, version) = image;
        let repository = self.repository(number);
        let is_tagged = self.pulled[number] == version;
        let tags = is_tagged.then(|| format!("{repository}:latest"));
        let layers: Vec<String> = (0..12)
            .map(|n| format!("sha256:{}", hex(n, number, version)))
            .collect();
        json!({
            "Id": image_id(image), "RepoTags": tags.as_slice(),
            "RepoDigests": [format!("{repository}@{}", digest(image))],
            "Parent": "", "Comment": "buildkit.dockerfile.v0", "Created": "2026-01-01T00:00:00Z",
            "DockerVersion": "", "Author": "", "Architecture": "amd64", "Os": "linux",
            "Size": 123_456_789, "VirtualSize": 123_456_789,
            "Config": {"Hostname": "", "User": "", "Env": environment(12), "Cmd": ["serve"],
                "Entrypoint": ["/entrypoint.sh"], "WorkingDir": "/app", "ExposedPorts": {"8080/tcp": {}},
                "Labels": {"org.opencontainers.image.version": format!("{version}"),
                    "org.opencontainers.image.source": "https://example.org/acme/app",
                    "org.opencontainers.image.licenses": "MIT"}},
            "GraphDriver": {"Name": "overlay2", "Data": overlay(number)},
            "RootFS": {"Type": "layers", "Layers": layers},
            "Metadata": {"LastTagTime": "2026-01-01T00:00:00Z"}
        })
    }

    fn container_call(&mut self, seen: &Seen, path: &str) -> (u16, Vec<u8>) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let path = path
            .strip_prefix("/containers/")
            .expect("a call about a container");
        if path == "create" {
            return self.create(query, &seen.body);
        }
        let (name, call) = path.split_once('/').unwrap_or((path, ""));
        let id = match self.by_name.get(name) {
            Some(id) => id.clone(),
            None if self.containers.contains_key(name) => name.to_owned(),
            None => return (404, b"{\"message\":\"No such container\"}".to_vec()),
        };
        if seen.method == "DELETE" {
            let one = self.containers.remove(&id).expect("it is there");
            self.by_name.remove(&one.name);
            self.removed += usize::from(one.was_started);
            return (204, Vec::new());
        }
        if call == "json" {
            let one = &self.containers[&id];
            return (200, self.inspection(one).to_string().into_bytes());
        }
        let one = self.containers.get_mut(&id).expect("it is there");
        one.entry = None;
        match call {
            "changes" => return (200, b"null".to_vec()),
            "start" => (one.is_running, one.was_started) = (true, true),
            "stop" => one.is_running = false,
            "update" => {
                let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
                one.policy = body["RestartPolicy"].clone();
                return (200, b"{\"Warnings\":null}".to_vec());
            }
            "rename" => {
                let name = query.strip_prefix("name=").expect("a name");
                let before = std::mem::replace(&mut one.name, name.to_owned());
                self.by_name.remove(&before);
                self.by_name.insert(name.to_owned(), id);
            }
            other => panic!("unexpected: {other}"),
        }
        (204, Vec::new())
    }

    fn create(&mut self, query: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let name = query.strip_prefix("name=").expect("a name");
        let name = name.split('&').next().expect("a name");
        if self.by_name.contains_key(name) {
            return (
                409,
                b"{\"message\":\"Conflict. The container name is in use\"}".to_vec(),
            );
        }
        let body: Value = serde_json::from_slice(body).expect("JSON");
        let image_name = body["Image"].as_str().expect("an image").to_owned();
        let image = self.find(&image_name).expect("an image");
        if name.contains(".iw-new-") {
            self.bodies.push(body.clone());
        }
        let id = self.add(One {
            id: String::new(),
            name: name.to_owned(),
            image,
            image_name,
            is_running: false,
            was_started: false,
            labels: body["Labels"].clone(),
            policy: body["HostConfig"]["RestartPolicy"].clone(),
            created: 0,
            entry: None,
        });
        (
            201,
            json!({"Id": id, "Warnings": []}).to_string().into_bytes(),
        )
    }

    /// The name of its image as the Engine lists it: an id, once the tag has moved.
    fn listed_image(&self, one: &One) -> String {
        let (number, version) = one.image;
        if self.pulled[number] == version {
            one.image_name.clone()
        } else {
            image_id(one.image)
        }
    }

    /// The list, in any order, as Podman's. Most entries are the same as in the last one.
    fn list(&mut self) -> Vec<u8> {
        let missing = self.containers.values().filter(|one| one.entry.is_none());
        let made = missing.map(|one| (one.id.clone(), self.entry(one).to_string()));
        for (id, entry) in made.collect::<Vec<_>>() {
            self.containers.get_mut(&id).expect("it is there").entry = Some(entry);
        }
        let entries = self.containers.values();
        let entries: Vec<&str> = entries.filter_map(|one| one.entry.as_deref()).collect();
        format!("[{}]", entries.join(",")).into_bytes()
    }

    fn entry(&self, one: &One) -> Value {
        json!({"Id": one.id, "Names": [format!("/{}", one.name)], "Image": self.listed_image(one),
            "ImageID": image_id(one.image), "Command": "/entrypoint.sh serve",
            "Created": one.created, "State": state(one), "Status": "Up 3 days",
            "Ports": [{"IP": "0.0.0.0", "PrivatePort": 8080, "PublicPort": 8080, "Type": "tcp"}],
            "Labels": one.labels, "HostConfig": {"NetworkMode": "stack_default"},
            "NetworkSettings": {"Networks": {"stack_default": endpoint(&one.id)}},
            "Mounts": mounts()})
    }

    /// About 10 kB, as an Engine shows a container that Compose made.
    fn inspection(&self, one: &One) -> Value {
        let id = &one.id;
        json!({
            "Id": id, "Created": "2026-01-01T00:00:00.123456789Z", "Path": "/entrypoint.sh",
            "Args": ["serve"], "Image": image_id(one.image), "Name": format!("/{}", one.name),
            "State": long_state(one), "ResolvConfPath": file_of(id, "resolv.conf"),
            "HostnamePath": file_of(id, "hostname"), "HostsPath": file_of(id, "hosts"),
            "LogPath": file_of(id, "json.log"), "RestartCount": 0, "Driver": "overlay2",
            "Platform": "linux", "MountLabel": "", "ProcessLabel": "",
            "AppArmorProfile": "docker-default", "ExecIDs": null,
            "HostConfig": host_config(&one.policy), "Mounts": mounts(),
            "GraphDriver": {"Name": "overlay2", "Data": overlay(one.image.0)},
            "Config": config(one), "NetworkSettings": network_settings(id)
        })
    }
}

fn long_state(one: &One) -> Value {
    let never = "0001-01-01T00:00:00Z";
    let started = if one.was_started {
        "2026-01-01T00:00:01.5Z"
    } else {
        never
    };
    json!({"Status": state(one), "Running": one.is_running, "Paused": false, "Restarting": false,
        "OOMKilled": false, "Dead": false, "Pid": if one.is_running { 4711 } else { 0 },
        "ExitCode": 0, "Error": "", "StartedAt": started, "FinishedAt": never})
}

fn config(one: &One) -> Value {
    json!({"Hostname": &one.id[..12], "Domainname": "", "User": "", "AttachStdin": false,
        "AttachStdout": true, "AttachStderr": true, "ExposedPorts": {"8080/tcp": {}},
        "Tty": false, "OpenStdin": false, "StdinOnce": false, "Env": environment(40),
        "Cmd": ["serve"], "Image": one.image_name, "Volumes": {"/data": {}},
        "WorkingDir": "/app", "Entrypoint": ["/entrypoint.sh"], "OnBuild": null,
        "Labels": one.labels, "StopTimeout": 30})
}

fn network_settings(id: &str) -> Value {
    json!({"Bridge": "", "SandboxID": id, "HairpinMode": false,
        "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0,
        "Ports": {"8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]},
        "SandboxKey": format!("/var/run/docker/netns/{}", &id[..12]),
        "SecondaryIPAddresses": null, "SecondaryIPv6Addresses": null, "EndpointID": "",
        "Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "IPAddress": "",
        "IPPrefixLen": 0, "IPv6Gateway": "", "MacAddress": "",
        "Networks": {"stack_default": endpoint(id)}})
}

fn state(one: &One) -> &'static str {
    match (one.is_running, one.was_started) {
        (true, _) => "running",
        (false, true) => "exited",
        (false, false) => "created",
    }
}

fn file_of(id: &str, name: &str) -> String {
    format!("/var/lib/docker/containers/{id}/{name}")
}

/// The labels that Compose gives, and some of a reverse proxy.
fn labels_of(number: usize) -> Value {
    let stack = number / 10;
    json!({
        "com.docker.compose.project": format!("stack{stack}"),
        "com.docker.compose.service": format!("app{}", number % 10),
        "com.docker.compose.depends_on": "",
        "com.docker.compose.container-number": "1",
        "com.docker.compose.oneoff": "False",
        "com.docker.compose.version": "2.32.1",
        "com.docker.compose.config-hash": hex(0xe1, number, 0),
        "com.docker.compose.image": format!("sha256:{}", hex(0xa1, number, 1)),
        "com.docker.compose.project.config_files": format!("/srv/stacks/stack{stack}/compose.yaml"),
        "com.docker.compose.project.working_dir": format!("/srv/stacks/stack{stack}"),
        "traefik.enable": "true",
        "traefik.http.routers.app.rule": format!("Host(`app{number}.example.org`)"),
        "traefik.http.services.app.loadbalancer.server.port": "8080",
    })
}

fn environment(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| {
            format!("APP_SETTING_NUMBER_{number}=https://service-{number}.example.org/path")
        })
        .collect()
}

fn mounts() -> Value {
    json!([
        {"Type": "volume", "Name": "stack_data", "Source": "/var/lib/docker/volumes/stack_data/_data",
         "Destination": "/data", "Driver": "local", "Mode": "rw", "RW": true, "Propagation": ""},
        {"Type": "bind", "Source": "/srv/stacks/stack/config.yaml", "Destination": "/app/config.yaml",
         "Mode": "ro", "RW": false, "Propagation": "rprivate"}
    ])
}

fn overlay(number: usize) -> Value {
    let root = "/var/lib/docker/overlay2";
    let layers: Vec<String> = (0..12)
        .map(|layer| format!("{root}/{}/diff", hex(layer, number, 7)))
        .collect();
    let own = hex(0xf1, number, 7);
    json!({"LowerDir": layers.join(":"), "MergedDir": format!("{root}/{own}/merged"),
        "UpperDir": format!("{root}/{own}/diff"), "WorkDir": format!("{root}/{own}/work")})
}

fn endpoint(id: &str) -> Value {
    json!({"IPAMConfig": null, "Links": null, "Aliases": ["app", &id[..12]], "NetworkID": id,
        "EndpointID": id, "Gateway": "172.18.0.1", "IPAddress": "172.18.0.2", "IPPrefixLen": 16,
        "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
        "MacAddress": "02:42:ac:12:00:02", "DriverOpts": null})
}

fn host_config(policy: &Value) -> Value {
    let mut all = json!({
        "Binds": ["stack_data:/data:rw", "/srv/stacks/stack/config.yaml:/app/config.yaml:ro"],
        "ContainerIDFile": "", "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m"}},
        "NetworkMode": "stack_default",
        "PortBindings": {"8080/tcp": [{"HostIp": "", "HostPort": "8080"}]},
        "RestartPolicy": policy, "AutoRemove": false, "VolumeDriver": "", "VolumesFrom": null,
        "CapAdd": null, "CapDrop": ["ALL"], "CgroupnsMode": "private", "Dns": [], "DnsOptions": [],
        "DnsSearch": [], "ExtraHosts": [], "GroupAdd": null, "IpcMode": "private", "Cgroup": "",
        "Links": null, "OomScoreAdj": 0, "PidMode": "", "Privileged": false,
        "PublishAllPorts": false, "ReadonlyRootfs": false, "SecurityOpt": null, "UTSMode": "",
        "UsernsMode": "", "ShmSize": 67_108_864, "Runtime": "runc", "ConsoleSize": [0, 0]
    });
    let resources = json!({
        "Isolation": "", "CpuShares": 0, "Memory": 536_870_912, "NanoCpus": 0, "CgroupParent": "",
        "BlkioWeight": 0, "BlkioWeightDevice": null, "BlkioDeviceReadBps": null,
        "BlkioDeviceWriteBps": null, "BlkioDeviceReadIOps": null, "BlkioDeviceWriteIOps": null,
        "CpuPeriod": 0, "CpuQuota": 0, "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0,
        "CpusetCpus": "", "CpusetMems": "", "Devices": null, "DeviceCgroupRules": null,
        "DeviceRequests": null, "KernelMemory": 0, "KernelMemoryTCP": 0, "MemoryReservation": 0,
        "MemorySwap": 1_073_741_824, "MemorySwappiness": null, "OomKillDisable": false,
        "PidsLimit": null, "Ulimits": null, "CpuCount": 0, "CpuPercent": 0, "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "MaskedPaths": ["/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys"],
        "ReadonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
    });
    if let (Value::Object(all), Value::Object(resources)) = (&mut all, resources) {
        all.extend(resources);
    }
    all
}
