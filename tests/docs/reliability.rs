//! Each fault in `docs/reliability.md` is shown by tests that exist.

use super::Document;
use super::code_spans;
use super::path_of;

/// The file in which a test of this path stands: beside the code, or under `tests`.
fn file_of(path: &[&str]) -> String {
    match path.split_last() {
        Some((&"tests", module)) => path_of(&format!("src/{}.rs", module.join("/"))),
        _ => path_of(&format!("tests/{}.rs", path.join("/"))),
    }
}

fn exists(test: &str) -> bool {
    let path: Vec<&str> = test.split("::").collect();
    let Some((name, module)) = path.split_last() else {
        return false;
    };
    let text = std::fs::read_to_string(file_of(module)).unwrap_or_default();
    let mut lines = text.lines().map(str::trim_start);
    let head = format!("fn {name}(");
    let mut before = "";
    lines.any(|line| {
        let is_it = before == "#[test]" && line.starts_with(&head);
        before = line;
        is_it
    })
}

#[test]
fn each_fault_is_shown_by_tests_that_exist() {
    let document = Document::of("docs/reliability.md");
    let faults: Vec<Vec<&str>> = document
        .rows()
        .filter(|cells| cells.len() == 3 && cells[0] != "fault" && !cells[0].starts_with("---"))
        .collect();
    assert!(faults.len() > 25, "{} faults", faults.len());
    for cells in faults {
        let tests: Vec<&str> = code_spans(cells[2]).collect();
        assert!(!tests.is_empty(), "{}: no test", cells[0]);
        let missing: Vec<&&str> = tests.iter().filter(|test| !exists(test)).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", cells[0]);
    }
}
