//! Each fault in `docs/faults.md` is shown by tests that exist: `docs/dev/reliability.md` names them.

use super::Document;
use super::code_spans;
use super::path_of;
use std::path::Path;

/// The file in which a test of this path stands: beside the code, or under `tests`.
fn file_of(path: &[&str]) -> String {
    match path.split_last() {
        Some((&"tests", module)) => {
            let path = path_of(&format!("src/{}", module.join("/")));
            match Path::new(&path).is_dir() {
                true => format!("{path}/mod.rs"),
                false => format!("{path}.rs"),
            }
        }
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

/// The rows of a document's tables that begin with the number of a fault, such as `E7`.
fn numbered(document: &Document, cells: usize) -> Vec<Vec<&str>> {
    let is_number = |cell: &str| {
        let (letter, digits) = cell.split_at_checked(1).unwrap_or_default();
        letter.chars().all(|c| c.is_ascii_uppercase()) && digits.parse::<u8>().is_ok()
    };
    document
        .rows()
        .filter(|row| row.len() == cells && is_number(row[0]))
        .collect()
}

#[test]
fn each_fault_is_shown_by_tests_that_exist() {
    let (faults, evidence) = (
        Document::of("docs/faults.md"),
        Document::of("docs/dev/reliability.md"),
    );
    let (faults, evidence) = (numbered(&faults, 3), numbered(&evidence, 2));
    assert!(faults.len() > 50, "{} faults", faults.len());
    let numbers =
        |rows: &[Vec<&str>]| -> Vec<String> { rows.iter().map(|row| row[0].to_owned()).collect() };
    assert_eq!(numbers(&faults), numbers(&evidence));
    for (fault, shown) in faults.iter().zip(&evidence) {
        let tests: Vec<&str> = code_spans(shown[1]).collect();
        assert!(!tests.is_empty(), "{}: no test", fault[1]);
        let missing: Vec<&&str> = tests.iter().filter(|test| !exists(test)).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", fault[1]);
    }
}
