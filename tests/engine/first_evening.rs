//! What somebody does on the first evening: a container with a label, a refresh by curl, a bad image, a
//! look at everything that tells of it.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::support::Folder;
use crate::support::eventually;
use crate::support::images::ImageSpec;
use crate::support::server::Answer;
use crate::support::server::Server;
use serde_json::Value;
use serde_json::json;

/// The value of a sample, by its name and labels.
pub(crate) fn sample(page: &str, name: &str) -> f64 {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {page}"))
        .parse()
        .expect("a number")
}

#[test]
fn the_first_evening() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("web", &good(&lab.name("v1")));
    lab.pull("web");
    let labels = json!({"imagewatch.enable": "true"});
    let body = json!({"Image": lab.reference("web"), "Labels": labels});
    lab.docker.run(&lab.name("web"), &body);
    let ntfy = Server::tcp(|seen| {
        assert_eq!(seen.line(), "POST /");
        Answer::json(200, &json!({"id": "1"}))
    });
    let told = |count: usize| {
        eventually("the messages", || {
            (ntfy.lines().len() >= count).then_some(())
        });
        let seen = ntfy.seen();
        assert_eq!(seen.len(), count, "{:?}", ntfy.lines());
        let message: Value = serde_json::from_slice(&seen[count - 1].body).expect("JSON");
        assert_eq!(message["topic"], "boxes");
        ["title", "message"].map(|key| message[key].as_str().expect("a text").to_owned())
    };
    let url = format!("ntfy://{}/boxes?scheme=http", ntfy.host());
    let state = Folder::new();
    let vars = [
        ("IMAGEWATCH_SELECT", "labelled"),
        ("IMAGEWATCH_NOTIFY", url.as_str()),
        ("IMAGEWATCH_STATE", state.path().to_str().expect("text")),
        ("ADMIN_TOKEN", "t0ken"),
    ];
    let mut program = lab.watcher("none", &vars);
    program.await_line("seeded");

    lab.publish("web", &good(&lab.name("v2")));
    program.await_line("INFO  recreated container=");
    assert_eq!(lab.version("web"), lab.name("v2"));
    let name = lab.name("web");
    let [title, _] = told(1);
    assert!(title.starts_with(&format!("{name} updated on ")), "{title}");

    lab.publish(
        "web",
        &ImageSpec::new(&lab.name("v3")).with("Cmd", json!(["/bin/busybox", "false"])),
    );
    program.await_line("is rejected until the tag moves on");
    let [title, message] = told(2);
    assert!(
        title.starts_with(&format!("{name} rolled back on ")),
        "{title}"
    );
    assert!(message.contains("it exited with code 1"), "{message}");

    // Nothing more is said of it, however often it is looked at, and asked for.
    let (_, report) = program.ask("POST", "/v1/update");
    assert!(
        report["skipped"][0]["reason"]
            .as_str()
            .is_some_and(|r| r.contains("rejected"))
    );
    program.await_lines("unchanged", 3);
    told(2);

    // Everything that counts agrees.
    let all = |status: &Value, page: &str| {
        let history = status["history"].as_array().expect("a list");
        let of = |outcome: &str| {
            history
                .iter()
                .filter(|one| one["outcome"] == outcome)
                .count()
        };
        assert_eq!(
            (of("recreated"), of("rolled_back"), history.len()),
            (1, 1, 2),
            "{history:?}"
        );
        assert_eq!(status["rejected"].as_array().map(Vec::len), Some(1));
        assert_eq!(status["references"][0]["state"], "rejected");
        assert_eq!(sample(page, "imagewatch_rejected_digests"), 1.0);
        assert_eq!(
            sample(page, "imagewatch_references{state=\"rejected\"}"),
            1.0
        );
    };
    let (_, status) = program.ask("GET", "/admin/status");
    let (_, _, page) = program.ask_text("GET", "/metrics");
    all(&status, &page);
    for (outcome, count) in [("recreated", 1.0), ("rolled_back", 1.0), ("failed", 0.0)] {
        let name = format!("imagewatch_swaps_total{{outcome=\"{outcome}\"}}");
        assert_eq!(sample(&page, &name), count);
    }
    assert_eq!(sample(&page, "imagewatch_downtime_seconds_count"), 1.0);

    // A restart forgets none of it, and does not try the bad image again.
    let before = lab.inspect("web")["Id"].clone();
    program.signal("TERM");
    program.await_exit();
    let mut vars = vars.to_vec();
    vars.push(("IMAGEWATCH_CATCH_UP", "true"));
    let program = lab.watcher("none", &vars);
    program.await_lines("unchanged", 2);
    let (_, status) = program.ask("GET", "/admin/status");
    let (_, _, page) = program.ask_text("GET", "/metrics");
    all(&status, &page);
    assert_eq!(lab.inspect("web")["Id"], before);
    told(2);
    assert_eq!(lab.names(), ["web"]);
    for secret in ["t0ken", "boxes"] {
        assert!(!program.log().contains(secret), "{}", program.log());
    }
}
