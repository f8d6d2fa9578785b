//! With as little as possible: an image with nothing but the program, a user without rights in the
//! socket's group, a root that cannot be written, no capabilities, no new privileges.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::engine::program_in_container::Contained;
use crate::engine::program_in_container::IMAGE;
use crate::engine::program_in_container::image;
use crate::support::eventually;
use crate::support::server::Answer;
use serde_json::Value;
use serde_json::json;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::path::Path;
use std::path::PathBuf;

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

fn contained<'l>(lab: &'l Lab, name: &str, groups: &[u32], env: &[&str]) -> Contained<'l> {
    let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
    let prefix = format!("IMAGEWATCH_PREFIX={}", lab.name("1"));
    let mut all = vec![&*prefix, "IMAGEWATCH_STATE=/state"];
    all.extend(env);
    let host = json!({
        "Binds": [format!("{}:/state", lab.name("state"))],
        "NetworkMode": "host", "GroupAdd": groups, "ReadonlyRootfs": true,
        "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"],
    });
    Contained::run(
        lab,
        name,
        &all,
        &json!({"User": format!("{USER}:{USER}"), "HostConfig": host}),
    )
}

/// A field of proc(5)'s `status`.
pub(crate) fn field(status: &str, name: &str) -> Vec<String> {
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
    lab.publish(IMAGE, &image());
    lab.pull(IMAGE);
    lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    lab.workspace("1", "hermes");
    let state = volume(&lab);

    // Not even that: it says what is missing, and goes on.
    let outside = contained(&lab, "outside", &[], &["IMAGE_AUTO_REFRESH=true"]);
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
    let inside = contained(&lab, "inside", &[GROUP], &[]);
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

#[test]
fn itself_is_updated_with_the_same_rights_and_fails_no_refresh() {
    let Some(lab) = Lab::alone() else { return };
    let _socket = Socket::for_group();
    let digest = lab.publish(IMAGE, &image());
    lab.pull(IMAGE);
    lab.publish("hermes", &good(&lab.name("v1")));
    volume(&lab);
    let more = ["IMAGEWATCH_SELECT=all", "IMAGE_AUTO_REFRESH=true"];
    let inside = contained(&lab, "inside", &[GROUP], &more);
    let all = || inside.ask("POST", "/v1/update");
    assert_eq!(all()["unchanged"], json!([inside.name]));
    let state = || {
        let status = inside.ask("GET", "/admin/status");
        let references = status["references"].as_array().expect("a list").clone();
        let mut references = references.iter();
        let own = references.find(|one| one["name"] == json!(lab.reference(IMAGE)));
        let state = own.unwrap_or_else(|| panic!("{status}"))["state"].clone();
        (state, status["refreshes"][0]["outcome"].clone())
    };
    let is_left_alone = |report: &Value| {
        assert_eq!(report["failed"], json!([]), "{report}");
        let skipped = &report["skipped"][0];
        assert_eq!(skipped["name"], json!(inside.name), "{report}");
        let reason = skipped["reason"].as_str().expect("a reason");
        assert!(reason.contains("imagewatch itself"), "{report}");
    };
    // The tag moves. A refresh leaves its update to a helper, and that is no failure.
    let before = lab.inspect("inside");
    lab.publish(IMAGE, &image().with("Labels", json!({"next": "yes"})));
    is_left_alone(&all());
    assert_eq!(state(), (json!("waiting"), json!("done")));
    eventually("the newer imagewatch alone", || {
        let is_next = lab.inspect("inside")["Config"]["Labels"]["next"] == "yes";
        let helper = lab.docker.inspect("imagewatch.helper");
        (is_next && helper["Id"].is_null()).then_some(())
    });
    let after = lab.inspect("inside");
    assert_ne!(after["Id"], before["Id"], "{digest}");
    assert_eq!(after["Config"]["User"], before["Config"]["User"]);
    for rights in [
        "CapDrop",
        "SecurityOpt",
        "ReadonlyRootfs",
        "GroupAdd",
        "RestartPolicy",
    ] {
        let of = |one: &Value| one["HostConfig"][rights].clone();
        assert_eq!(of(&after), of(&before), "{rights}");
    }
    // Nor is it a failure that its image cannot be had any more.
    lab.publish(IMAGE, &image().with("Labels", json!({"next": "no"})));
    lab.rules.set_trouble(Some(Answer::new(404, &[], "")));
    is_left_alone(&all());
    assert_eq!(state().1, json!("done"));
    lab.rules.set_trouble(None);
    assert_eq!(lab.inspect("inside")["Id"], after["Id"]);
}
