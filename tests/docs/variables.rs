//! Variables and labels.

use super::Document;
use super::code_spans;
use super::documents;
use imagewatch::config::VARIABLES;
use imagewatch::labels;
use std::collections::BTreeSet;

/// Beginnings of names that are ours to explain.
const OURS: [&str; 6] = [
    "ADMIN_",
    "GHCR_",
    "IMAGEWATCH_",
    "IMAGE_",
    "MOLECULE_",
    "REGISTRY_",
];

/// Name, default and whether it is a secret, as a table says it.
fn row(cells: &[&str]) -> Option<(String, String, bool)> {
    let name = code_spans(cells.first()?).next()?;
    let is_long = name.len() > 3 || name == "TZ";
    let is_variable = is_long && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let default = cells.get(1)?.trim_matches('`').replace('–', "");
    is_variable.then(|| (name.to_owned(), default, cells[0].ends_with('*')))
}

#[test]
fn the_table_is_the_programs() {
    let document = Document::of("docs/configuration.md");
    let mut said: Vec<_> = document.rows().filter_map(|cells| row(&cells)).collect();
    let mut known: Vec<_> = VARIABLES
        .iter()
        .map(|row| (row.name.to_owned(), row.default.to_owned(), row.secret))
        .collect();
    said.sort();
    known.sort();
    assert_eq!(said, known);
}

#[test]
fn the_page_of_workspaces_says_the_same_defaults() {
    let page = Document::of("docs/workspaces.md");
    let mut count = 0;
    for (name, default, _) in page.rows().filter_map(|cells| row(&cells)) {
        let known = VARIABLES.iter().find(|row| row.name == name);
        assert_eq!(known.map(|row| row.default), Some(&*default), "{name}");
        count += 1;
    }
    assert_eq!(count, 3);
}

#[test]
fn no_document_names_a_variable_that_does_not_exist() {
    let mut known: BTreeSet<String> = VARIABLES.iter().map(|row| row.name.to_owned()).collect();
    let secrets = VARIABLES.iter().filter(|row| row.secret);
    known.extend(secrets.map(|row| format!("{}_FILE", row.name)));
    let mut unknown = Vec::new();
    for document in documents() {
        let words = document
            .text
            .split(|c: char| !c.is_ascii_uppercase() && c != '_');
        for word in words.filter(|word| OURS.iter().any(|start| word.starts_with(start))) {
            // `IMAGEWATCH_…` means all of them.
            if !word.ends_with('_') && !known.contains(word) {
                unknown.push(format!("{}: {word}", document.path));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

#[test]
fn the_labels_are_the_programs() {
    let document = Document::of("docs/configuration.md");
    let said: BTreeSet<&str> = document
        .rows()
        .filter_map(|cells| code_spans(cells[0]).next())
        .filter(|name| name.starts_with("imagewatch."))
        .collect();
    assert_eq!(said, labels::ours().collect());
    assert_eq!(said.len(), 11);
}
