//! With as little as possible: an image with nothing but the program, a user without rights in the
//! socket's group, a root that cannot be written, no capabilities, no new privileges.

use super::lab::Lab;
use super::lab::good;
use crate::support::Folder;
use crate::support::eventually;
use crate::support::images::ImageSpec;
use crate::support::images::agent;
use serde_json::Value;
use serde_json::json;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// Nobody's number on Debian, and in no image.
const USER: u32 = 65534;
/// A group that nobody has.
const GROUP: u32 = 47110;

/// The Engine's socket as on a real box: of root and a group of its own, which may use it. It is as it
/// was when dropped.
struct Socket {
    path: PathBuf,
    group: u32,
    mode: u32,
}

impl Socket {
    fn for_group() -> Self {
        let path = PathBuf::from(std::env::var_os("LAB_ENGINE").expect("an Engine"));
        let found = std::fs::metadata(&path).expect("its socket");
        let socket = Self {
            group: found.gid(),
            mode: found.mode(),
            path,
        };
        socket.give_to(GROUP, 0o660);
        socket
    }

    fn give_to(&self, group: u32, mode: u32) {
        chown(&self.path, None, Some(group)).expect("its group");
        std::fs::set_permissions(&self.path, PermissionsExt::from_mode(mode)).expect("its mode");
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.give_to(self.group, self.mode);
    }
}

/// An image with the program and what that cannot do without: nothing if it is static, else the loader
/// and libraries of this machine.
fn image() -> ImageSpec {
    let folder = Folder::new();
    let built = std::env::var("LAB_BINARY");
    let built = built.unwrap_or_else(|_| env!("CARGO_BIN_EXE_imagewatch").to_owned());
    let stripped = folder.path().join("imagewatch");
    let status = Command::new("strip")
        .arg("-o")
        .args([&stripped, Path::new(&built)])
        .status();
    assert!(status.expect("strip").success());
    let ldd = Command::new("ldd").arg(&built).output().expect("ldd");
    let libraries = String::from_utf8(ldd.stdout).expect("UTF-8");
    let libraries = libraries
        .split_whitespace()
        .filter(|word| word.starts_with('/') && *word != built);
    let file = |path: &Path, to: &str| {
        let contents = std::fs::read(path).unwrap_or_else(|error| panic!("{to}: {error}"));
        (to.trim_start_matches('/').to_owned(), 0o755, contents)
    };
    let mut files = vec![file(&stripped, "imagewatch")];
    files.extend(libraries.map(|library| file(Path::new(library), library)));
    ImageSpec::bare("least", files).with("Entrypoint", json!(["/imagewatch"]))
}

/// The program in a container.
struct Contained<'l> {
    lab: &'l Lab,
    name: String,
}

impl<'l> Contained<'l> {
    fn run(lab: &'l Lab, name: &str, groups: &[u32], more: &[&str]) -> Self {
        let name = lab.name(name);
        let socket = std::env::var("LAB_ENGINE").expect("an Engine");
        let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
        let mut env = vec![
            format!(
                "IMAGEWATCH_IMAGE={}/acme/{{runtime}}:latest",
                lab.proxy.host()
            ),
            format!("IMAGEWATCH_PREFIX={}", lab.name("1")),
            "IMAGEWATCH_RUNTIMES=hermes".to_owned(),
            "IMAGEWATCH_SETTLE=1s".to_owned(),
            "IMAGEWATCH_LISTEN=127.0.0.1:0".to_owned(),
            "IMAGEWATCH_LOG=debug".to_owned(),
            "IMAGEWATCH_STATE=/state".to_owned(),
        ];
        env.extend(more.iter().map(|pair| (*pair).to_owned()));
        let body = json!({
            "Image": lab.reference("least"), "User": format!("{USER}:{USER}"), "Env": env,
            // Without one the log comes in frames.
            "Tty": true,
            "HostConfig": {
                "Binds": [format!("{socket}:/var/run/docker.sock"),
                          format!("{}:/state", lab.name("state"))],
                "NetworkMode": "host", "GroupAdd": groups, "ReadonlyRootfs": true,
                "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"],
            },
        });
        lab.docker.run(&name, &body);
        Self { lab, name }
    }

    fn log(&self) -> String {
        let path = format!("/containers/{}/logs?stdout=1&stderr=1", self.name);
        let (_, log) = self.lab.docker.ask("GET", &path, b"");
        String::from_utf8_lossy(&log).replace('\r', "")
    }

    /// The last line that holds `text`, as soon as there is one.
    #[track_caller]
    fn await_line(&self, text: &str) -> String {
        let found = eventually(&format!("{text:?} in the log"), || {
            let log = self.log();
            let ended = self.lab.docker.inspect(&self.name)["State"]["Status"] == "exited";
            assert!(!ended, "it ended:\n{log}");
            let line = log.lines().rfind(|line| line.contains(text));
            line.map(str::to_owned)
        });
        println!("{found}");
        found
    }

    /// Asks the admin endpoint.
    fn ask(&self, method: &str, target: &str) -> Value {
        let line = self.await_line("listening on http://");
        let (_, host) = line.rsplit_once("http://").expect("an address");
        let url = format!("http://{host}{target}");
        let mut answer = match method {
            "POST" => agent().post(url).send_empty(),
            _ => agent().get(url).call(),
        }
        .expect("the program answers");
        let body = answer.body_mut().read_to_string().expect("a body");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    fn refresh(&self) -> Value {
        self.ask("POST", "/admin/workspace-images/refresh")
    }

    /// Its folder in the host's `/proc`: the Engine counts processes in a namespace of its own.
    fn process(&self) -> PathBuf {
        let inside = self.lab.docker.inspect(&self.name)["State"]["Pid"].to_string();
        let is_it = |folder: &PathBuf| {
            let status = std::fs::read_to_string(folder.join("status")).unwrap_or_default();
            let numbers = field(&status, "NSpid");
            numbers.ends_with(&[inside.clone(), "1".to_owned()])
        };
        let all = std::fs::read_dir("/proc").expect("processes");
        let mut all = all.flatten().map(|entry| entry.path());
        all.find(is_it).expect("its process")
    }
}

/// A field of proc(5)'s `status`.
fn field(status: &str, name: &str) -> Vec<String> {
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| *key == name);
    let words = found.map_or("", |(_, value)| value).split_whitespace();
    words.map(str::to_owned).collect()
}

/// What the kernel says of it.
fn assert_powerless(process: &Path) {
    let status = std::fs::read_to_string(process.join("status")).expect("its status");
    let user = USER.to_string();
    for name in ["Uid", "Gid"] {
        assert_eq!(field(&status, name), [&*user; 4], "{status}");
    }
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(
            field(&status, name),
            ["0000000000000000"],
            "{name}: {status}"
        );
    }
    assert_eq!(field(&status, "NoNewPrivs"), ["1"], "{status}");
    let groups = field(&status, "Groups");
    assert!(groups.contains(&GROUP.to_string()), "{status}");
    assert!(!groups.contains(&"0".to_owned()), "{status}");
    let mounts = std::fs::read_to_string(process.join("mountinfo")).expect("its mounts");
    let root = mounts
        .lines()
        .find(|line| line.split(' ').nth(4) == Some("/"));
    let options = root
        .and_then(|line| line.split(' ').nth(5))
        .unwrap_or_default();
    assert!(options.split(',').any(|option| option == "ro"), "{mounts}");
}

/// A volume of this test, and where it is on the host.
fn volume(lab: &Lab) -> PathBuf {
    let (status, answer) = lab.docker.json(
        "POST",
        "/volumes/create",
        &json!({"Name": lab.name("state")}),
    );
    assert_eq!(status, 201, "{answer}");
    PathBuf::from(answer["Mountpoint"].as_str().expect("a folder"))
}

#[test]
fn it_needs_a_user_in_the_sockets_group_and_nothing_else() {
    let Some(lab) = Lab::alone() else { return };
    let _socket = Socket::for_group();
    lab.publish("least", &image());
    lab.pull("least");
    lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    lab.workspace("1", "hermes");
    let state = volume(&lab);

    // Not even that: it says what is missing, and goes on.
    let outside = Contained::run(&lab, "outside", &[], &["IMAGE_AUTO_REFRESH=true"]);
    if !lab.is_podman {
        // Podman gives a new volume to whoever uses it first.
        let line = outside.await_line("IMAGEWATCH_STATE=/state: not writable: ");
        assert!(line.contains(&format!(", as user {USER};")), "{line}");
    }
    let line = outside.await_line("group_add");
    assert!(
        line.contains(&format!(
            "(the socket is for user 0 and group {GROUP}, mode 660, and this is user {USER}: \
             group_add: [\"{GROUP}\"], or user: \"0\")"
        )),
        "{line}"
    );
    assert!(outside.ask("GET", "/health")["error"].is_string());
    lab.docker.remove(&outside.name);

    chown(&state, Some(USER), Some(USER)).expect("its folder");
    let inside = Contained::run(&lab, "inside", &[GROUP], &[]);
    inside.await_line("preflight: done, may do all it needs");
    assert!(!inside.log().contains("WARN"), "{}", inside.log());
    assert_powerless(&inside.process());
    assert_eq!(inside.ask("GET", "/health"), json!({"status": "ok"}));

    lab.publish("hermes", &good(&lab.name("v2")));
    let report = inside.refresh();
    assert_eq!(report["recreated"], json!([lab.name("1")]), "{report}");
    assert_eq!(lab.version("1"), lab.name("v2"));
    let bad = good(&lab.name("v3")).with("Cmd", json!(["/bin/false"]));
    lab.publish("hermes", &bad);
    let report = inside.refresh();
    assert_eq!(
        report["rolled_back"][0]["name"],
        json!(lab.name("1")),
        "{report}"
    );
    assert_eq!(lab.version("1"), lab.name("v2"));
    assert_eq!(lab.inspect("1")["State"]["Running"], true);

    // What came of it survives.
    let kept = std::fs::metadata(state.join("imagewatch.json")).expect("its file");
    assert_eq!((kept.uid(), kept.mode() & 0o777), (USER, 0o600));
    lab.docker.stop(&inside.name);
    lab.docker.start(&inside.name);
    let outcomes = eventually("the history after the restart", || {
        let log = inside.log();
        if log.matches("listening on ").count() < 2 {
            return None;
        }
        Some(inside.ask("GET", "/admin/status")["history"].clone())
    });
    let outcomes: Vec<&str> = outcomes
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["outcome"].as_str())
        .collect();
    assert_eq!(outcomes, ["rolled_back", "recreated"]);
    assert_eq!(lab.names(), ["1", "inside"]);
}
