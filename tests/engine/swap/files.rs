//! Files that an owner put into a container's layer: kept, like everything that is the owner's.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::support::images::archive_of;
use serde_json::json;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// A file as Compose puts it in: where, what, its mode and its owner.
type File = (&'static str, &'static str, u32, u32);

const FILES: [File; 4] = [
    ("cfg", "at the root", 0o444, 0),
    ("etc/deep/er/c.conf", "in folders of its own", 0o640, 7),
    ("etc/app.conf", "over the image's", 0o600, 0),
    ("run/secrets/token", "s3cret", 0o400, 1000),
];

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

fn put(lab: &Lab, name: &str, (path, text, mode, owner): File, time: u64) {
    let tar = archive_of(path, text.as_bytes(), mode, owner, time);
    let to = format!("/containers/{}/archive?path=/", lab.name(name));
    let (status, answer) = lab.docker.ask("PUT", &to, &tar);
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
}

/// Mode, owner, group and contents of a file, as the Engine hands them out.
fn get(lab: &Lab, name: &str, path: &str) -> Option<[String; 4]> {
    let from = format!("/containers/{}/archive?path=/{path}", lab.name(name));
    let (status, tar) = lab.docker.ask("GET", &from, b"");
    let field = |range: std::ops::Range<usize>| {
        String::from_utf8_lossy(&tar[range])
            .trim_matches('\0')
            .to_owned()
    };
    let size = || usize::from_str_radix(&field(124..135), 8).expect("a size");
    (status == 200).then(|| {
        [
            field(100..108),
            field(108..116),
            field(116..124),
            field(512..512 + size()),
        ]
    })
}

fn image(mark: &str) -> crate::support::images::ImageSpec {
    let mut image = good(mark);
    image
        .files
        .push(("etc/app.conf".to_owned(), 0o644, b"the image's".to_vec()));
    image
}

fn create(lab: &Lab, name: &str, command: Option<&str>) {
    let mut body = json!({"Image": lab.reference("hermes"),
                          "Labels": {"com.docker.compose.project": lab.prefix}});
    if let Some(command) = command {
        let wait = "trap 'exit 0' TERM; while sleep 1 & wait $!; do :; done";
        body["Cmd"] = json!(["/bin/busybox", "sh", "-c", format!("{command}; {wait}")]);
    }
    lab.docker.create(&lab.name(name), &body);
}

#[test]
fn what_an_owner_put_in_before_the_first_start_is_kept() {
    let Some(lab) = Lab::shared() else { return };
    lab.publish("hermes", &image("v1"));
    lab.pull("hermes");
    create(&lab, "compose", Some("echo x > /etc/own; echo x > /own"));
    create(&lab, "restarted", Some("echo x > /own"));
    for name in ["compose", "restarted"] {
        FILES
            .into_iter()
            .for_each(|file| put(&lab, name, file, now()));
    }
    // What `docker cp` puts in is as old as it is at home.
    create(&lab, "cp", None);
    put(&lab, "cp", ("opt/old", "long ago", 0o644, 0), 1_000_000_000);
    create(&lab, "later", None);
    let names = ["compose", "restarted", "cp", "later"];
    names
        .iter()
        .for_each(|name| lab.docker.start(&lab.name(name)));
    put(
        &lab,
        "later",
        ("late", "like a program's", 0o644, 0),
        1_000_000_000,
    );
    let restart = format!("/containers/{}/restart?t=5", lab.name("restarted"));
    assert_eq!(lab.docker.ask("POST", &restart, b"").0, 204);
    let seen = |name| FILES.map(|(path, ..)| get(&lab, name, path));
    let before = seen("compose");
    assert!(before.iter().all(Option::is_some), "{before:?}");

    let program = lab.program("hermes", &[]);
    // The second one finds them in a successor.
    for mark in ["v2", "v3"] {
        lab.publish("hermes", &image(mark));
        let (_, report) = program.refresh("");
        assert_eq!(
            report["recreated"].as_array().map(Vec::len),
            Some(4),
            "{report}"
        );
        for name in ["compose", "restarted"] {
            assert_eq!(lab.version(name), mark);
            assert_eq!(seen(name), before, "{name} {mark}");
        }
        let old = get(&lab, "cp", "opt/old").expect("the file");
        assert_eq!(old[3], "long ago");
        assert_eq!(get(&lab, "later", "late"), None, "the documented limit");
    }
    let log = program.log();
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn files_that_cannot_be_kept_are_a_reason_and_a_programs_own_are_none() {
    let Some(lab) = Lab::shared() else { return };
    lab.publish("hermes", &image("v1"));
    lab.pull("hermes");
    create(&lab, "many", None);
    for number in 0..300 {
        let name: &'static str = format!("put/{number}").leak();
        put(&lab, "many", (name, "", 0o644, 0), now());
    }
    let busy =
        "i=0; while [ $i -lt 1500 ]; do echo $i > /tmp/$i; i=$((i+1)); done; echo done > /tmp/done";
    create(&lab, "busy", Some(busy));
    put(&lab, "busy", ("cfg", "kept", 0o644, 0), now());
    for name in ["many", "busy"] {
        lab.docker.start(&lab.name(name));
    }
    crate::support::eventually("its files", || get(&lab, "busy", "tmp/done"));
    let program = lab.program("hermes", &[]);
    lab.publish("hermes", &image("v2"));
    let (_, report) = program.refresh("");
    assert_eq!(report["recreated"], json!([lab.name("busy")]), "{report}");
    assert_eq!(
        get(&lab, "busy", "cfg").map(|file| file[3].clone()),
        Some("kept".to_owned())
    );
    let skipped = &report["skipped"][0];
    assert_eq!(skipped["name"], json!(lab.name("many")), "{report}");
    let reason = skipped["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("more files"), "{report}");
    assert_eq!(lab.version("many"), "v1");
}
