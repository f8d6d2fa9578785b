//! What a document points at is there.

use super::Document;
use super::code_spans;
use super::documents;
use super::path_of;
use std::path::Path;

/// As GitHub names a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().replace(' ', "-")
}

fn has_anchor(text: &str, wanted: &str) -> bool {
    text.lines()
        .filter_map(|line| {
            line.trim_start_matches('#')
                .strip_prefix(' ')
                .filter(|_| line.starts_with('#'))
        })
        .any(|heading| anchor(heading) == wanted)
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for Document { path, text } in documents() {
        let targets = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            let (file, wanted) = target.split_once('#').unwrap_or((target, ""));
            let folder = Path::new(&path).parent().expect("a folder").to_owned();
            let file = match file {
                "" => path_of(&path),
                file => path_of(folder.join(file).to_str().expect("UTF-8")),
            };
            let is_there = Path::new(&file).exists();
            let is_right = wanted.is_empty()
                || std::fs::read_to_string(&file).is_ok_and(|text| has_anchor(&text, wanted));
            if !is_there || !is_right {
                broken.push(format!("{path}: {target}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// A path of the repository between back quotes: a room, a test, a script.
fn named_path(span: &str) -> Option<&str> {
    let path = span.split(' ').next()?;
    let folders = [
        "src/", "tests/", "scripts/", "benches/", "contrib/", "docs/",
    ];
    let is_plain = path
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    (is_plain && folders.iter().any(|folder| path.starts_with(folder))).then_some(path)
}

#[test]
fn every_path_that_is_named_exists() {
    let mut missing = Vec::new();
    let mut count = 0;
    for document in documents() {
        for line in document.text.lines() {
            for path in code_spans(line).filter_map(named_path) {
                count += 1;
                if !Path::new(&path_of(path)).exists() {
                    missing.push(format!("{}: {path}", document.path));
                }
            }
        }
    }
    assert!(count > 50, "{count} paths");
    assert!(missing.is_empty(), "{missing:#?}");
}
