//! `docs/api.md`: steps and keys.

use super::Document;
use super::code_spans;
use imagewatch::journal::Event;
use imagewatch::journal::Outcome;
use imagewatch::journal::Step;
use serde_json::Value;
use std::collections::BTreeSet;

/// One of each.
fn steps() -> Vec<Step> {
    let text = String::new;
    let mut all = vec![
        Step::Pulling { image: text() },
        Step::Layer {
            image: text(),
            layer: text(),
            status: text(),
            current: 0,
            total: 0,
        },
        Step::Pulled {
            image: text(),
            seconds: 0.0,
        },
        Step::Swap {
            container: text(),
            phase: "stop",
        },
    ];
    let outcomes = Outcome::ALL.into_iter().map(|(outcome, _)| outcome);
    // What is left alone has the row of what is skipped. No refresh tells of a newer version or a decision.
    let is_told = |one: &Outcome| {
        use Outcome::{Decided, LeftAlone, Newer};
        !matches!(one, LeftAlone | Newer | Decided)
    };
    let outcomes = outcomes.filter(is_told);
    all.extend(outcomes.map(|outcome| Step::Outcome(event(outcome))));
    for step in &all {
        match step {
            // Never sent.
            Step::Alive => panic!("not a line"),
            // The match has no `_`, so that a new one is not forgotten here.
            Step::Pulling { .. }
            | Step::Layer { .. }
            | Step::Pulled { .. }
            | Step::Swap { .. }
            | Step::Outcome(_) => {}
        }
    }
    all
}

/// With what the program tells of it.
fn event(outcome: Outcome) -> Event {
    let event = Event::of(outcome, "", "");
    match outcome {
        Outcome::Recreated => event.from_to("", ""),
        Outcome::RolledBack | Outcome::Restored => event.from_to("", "").because(""),
        Outcome::PullFailed => Event::pull_failed("", ""),
        Outcome::Skipped | Outcome::LeftAlone => event.to("").because(""),
        Outcome::Behind => event.to(""),
        Outcome::Unsigned | Outcome::BadlySigned => {
            Event::unverified("", "", outcome == Outcome::BadlySigned, "")
        }
        Outcome::Down | Outcome::Decided => event.because(""),
        Outcome::Back | Outcome::Newer => event,
    }
}

/// Keys in the order they are written. (`serde_json` would sort them.)
fn keys(json: &str) -> Vec<&str> {
    let parts = json.trim_matches(['{', '}']).split(',');
    parts
        .map(|pair| pair.split('"').nth(1).expect("a key"))
        .collect()
}

#[test]
fn each_step_has_its_row_with_its_keys() {
    let document = Document::of("docs/api.md");
    let (_, section) = document.text.split_once("\n| `step` |").expect("a table");
    let table = section.split("\n\n").next().expect("its end");
    let mut said: Vec<Vec<&str>> = table
        .lines()
        .skip(2)
        .map(|line| {
            let cells: Vec<&str> = line.split('|').collect();
            code_spans(cells[1]).chain(code_spans(cells[2])).collect()
        })
        .collect();
    let lines: Vec<String> = steps()
        .iter()
        .map(|step| serde_json::to_string(step).expect("JSON"))
        .collect();
    let mut known: Vec<Vec<&str>> = lines
        .iter()
        .map(|line| {
            let name = line.split('"').nth(3).expect("its name");
            let keys = keys(line).into_iter().filter(|key| *key != "step");
            [name].into_iter().chain(keys).collect()
        })
        .collect();
    said.sort();
    known.sort();
    assert_eq!(said, known);
}

/// Every key, with those it is in: `references[].name`.
pub(super) fn paths(json: &Value, at: &str, found: &mut BTreeSet<String>) {
    match json {
        Value::Object(map) => {
            for (key, value) in map {
                let path = format!("{at}.{key}");
                paths(value, &path, found);
                found.insert(path);
            }
        }
        Value::Array(list) => {
            for value in list {
                paths(value, &format!("{at}[]"), found);
            }
        }
        _ => {}
    }
}

/// The keys of the status as the document shows it.
pub(super) fn status_keys() -> BTreeSet<String> {
    let document = Document::of("docs/api.md");
    let blocks = document.blocks();
    let status = blocks
        .iter()
        .find(|b| b.language == "json" && b.text.contains("\"watcher\""));
    let status: Value = serde_json::from_str(&status.expect("it").text).expect("JSON");
    let mut found = BTreeSet::new();
    paths(&status, "", &mut found);
    found
}

#[test]
fn every_key_of_the_status_is_one_of_the_programs() {
    let source = [
        include_str!("../../src/admin/mod.rs"),
        include_str!("../../src/admin/status.rs"),
        include_str!("../../src/journal/status.rs"),
        include_str!("../../src/journal/watched.rs"),
        include_str!("../../src/journal/waiting.rs"),
        include_str!("../../src/journal/standing.rs"),
        include_str!("../../src/journal/versions.rs"),
        include_str!("../../src/journal/history.rs"),
        include_str!("../../src/journal/rejections.rs"),
        include_str!("../../src/journal/decisions.rs"),
        include_str!("../../src/journal/put_off.rs"),
        include_str!("../../src/journal/report.rs"),
        include_str!("../../src/journal/refreshed.rs"),
        include_str!("../../src/journal/under_way.rs"),
    ]
    .concat();
    for path in status_keys() {
        let key = path.rsplit('.').next().expect("a key");
        let is_there =
            source.contains(&format!("pub {key}:")) || source.contains(&format!("\"{key}\""));
        assert!(is_there, "{path}");
    }
}
