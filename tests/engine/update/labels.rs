//! What owners write on labels, well and badly, with every container selected.

use crate::engine::commands::json_of;
use crate::engine::commands::run_with;
use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::support::program::Program;
use serde_json::Value;
use serde_json::json;

const WATCHTOWER: &str = "com.centurylinklabs.watchtower";

/// Containers that their owners do not want updated: a name, a label, its value.
const OPTED_OUT: [(&str, &str, &str); 4] = [
    ("no", "imagewatch.enable", "no"),
    ("quoted", "imagewatch.enable", " \"False\" "),
    ("theirs", "com.centurylinklabs.watchtower.enable", "0"),
    ("both", "com.centurylinklabs.watchtower.enable", "F"),
];

/// Labels that cannot be read, or not be complied with.
const UNCLEAR: [(&str, &str, &str); 6] = [
    ("typo", "imagewatch.enable", "flase"),
    ("mode", "imagewatch.mode", "monitor"),
    ("timeout", "imagewatch.pre-update-timeout", "abc"),
    (
        "minutes",
        "com.centurylinklabs.watchtower.lifecycle.post-update-timeout",
        "1m",
    ),
    (
        "signal",
        "com.centurylinklabs.watchtower.stop-signal",
        "SIGFOO",
    ),
    ("window", "imagewatch.window", "Sun 02:00-02:00"),
];

/// Containers with these labels, for which there is a newer image, and one that is to get it.
fn scene(lab: &Lab) {
    lab.publish("app", &good("v1"));
    lab.pull("app");
    for (name, label, value) in OPTED_OUT.iter().chain(&UNCLEAR) {
        let mut labels = json!({*label: value});
        if *name == "both" {
            labels["imagewatch.enable"] = json!("true");
        }
        run_labelled(lab, name, labels);
    }
    run_labelled(
        lab,
        "monitor",
        json!({format!("{WATCHTOWER}.monitor-only"): "1"}),
    );
    run_labelled(lab, "young", json!({"imagewatch.min-age": "300d"}));
    run_labelled(
        lab,
        "fine",
        json!({"imagewatch.enable": "'Yes'", "imagewatch.mod": "x"}),
    );
    lab.publish("app", &good("v2"));
}

fn run_labelled(lab: &Lab, name: &str, labels: Value) {
    let body = json!({"Image": lab.reference("app"), "Labels": labels});
    lab.docker.run(&lab.name(name), &body);
}

#[track_caller]
fn only_the_fine_one_is_new(lab: &Lab, program: &Program) {
    for name in lab.names() {
        let expected = if name == "fine" { "v2" } else { "v1" };
        assert_eq!(lab.version(&name), expected, "{name}: {}", program.log());
    }
}

#[test]
fn only_those_are_updated_whose_labels_say_nothing_against_it() {
    let Some(lab) = Lab::new() else { return };
    scene(&lab);
    let more = [
        ("IMAGEWATCH_SELECT", "all"),
        ("IMAGEWATCH_CATCH_UP", "true"),
    ];
    let program = lab.watcher("none", &more);
    program.await_line(&format!("recreated container={}", lab.name("fine")));
    // Further rounds, and a refresh of everything, change nothing and say nothing new.
    let (_, first) = program.ask("GET", "/admin/status");
    let round = first["watcher"]["rounds"].as_u64().expect("a number");
    crate::support::eventually("two more rounds", || {
        let (_, status) = program.ask("GET", "/admin/status");
        let rounds = status["watcher"]["rounds"].as_u64().expect("a number");
        (rounds > round + 2).then_some(())
    });
    let (_, report) = program.ask("POST", "/v1/update");
    assert_eq!(report["recreated"], json!([]), "{report}");
    only_the_fine_one_is_new(&lab, &program);

    let (_, status) = program.ask("GET", "/admin/status");
    let shown = |name: &str| {
        let mut all = status["containers"].as_array().expect("a list").iter();
        all.find(|one| one["name"] == json!(lab.name(name)))
            .cloned()
    };
    for (name, ..) in OPTED_OUT {
        assert_eq!(shown(name), None, "{status}");
        assert!(!program.has_said(&format!("{}: ", lab.name(name))));
    }
    let said = |words: &str| {
        let log = program.log();
        log.lines().filter(|line| line.contains(words)).count()
    };
    for (name, label, _) in UNCLEAR {
        let one = shown(name).unwrap_or_else(|| panic!("{name}: {status}"));
        let reason = one["left_alone"].as_str().unwrap_or_default();
        assert!(reason.starts_with(&format!("its label {label}=")), "{one}");
        let warning = format!("WARN  {}: left alone: its label {label}=", lab.name(name));
        assert_eq!(said(&warning), 1, "{warning}\n{}", program.log());
    }
    let unknown = "its label imagewatch.mod is unknown: did you mean imagewatch.mode?";
    assert_eq!(said(unknown), 1, "{}", program.log());
}

#[test]
fn commands_say_the_same() {
    let Some(lab) = Lab::new() else { return };
    scene(&lab);
    let run =
        |arguments: &[&str]| run_with(&lab, "none", &[("IMAGEWATCH_SELECT", "all")], arguments);
    let (code, text, complaint) = run(&["check", "--json"]);
    assert_eq!(code, Some(10), "{text}{complaint}");
    let table = json_of(&text);
    let left_alone = table["left_alone"].as_array().expect("a list");
    let mut names: Vec<&str> = left_alone
        .iter()
        .filter_map(|one| one["container"].as_str())
        .collect();
    names.sort_unstable();
    let mut expected = UNCLEAR.map(|(name, ..)| lab.name(name));
    expected.sort_unstable();
    assert_eq!(names, expected, "{table}");
    for (name, label, value) in UNCLEAR {
        let reason = format!("its label {label}={value:?} ");
        let (_, text, _) = run(&["plan", &lab.name(name)]);
        assert!(
            text.contains(&format!("would be left alone: {reason}")),
            "{text}"
        );
        let (code, text, _) = run(&["refresh", &lab.name(name)]);
        let skipped = format!("skipped: {}: {reason}", lab.name(name));
        assert!(
            code == Some(0) && text.contains(&skipped),
            "{code:?} {text}"
        );
        assert_eq!(lab.version(name), "v1");
    }
    // Whoever names a container knows better than its minimum age.
    let (code, text, _) = run(&["refresh", &lab.name("young")]);
    assert_eq!(
        (code, lab.version("young").as_str()),
        (Some(0), "v2"),
        "{text}"
    );
}
