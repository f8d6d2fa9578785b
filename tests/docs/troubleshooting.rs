//! What `docs/troubleshooting.md` quotes is said by the program.

use super::Document;
use super::code_spans;
use super::path_of;
use std::path::Path;

/// What is quoted, but not from us.
const NOT_OURS: [(&str, &str); 3] = [
    ("imagewatch check", "a command"),
    ("imagewatch healthcheck", "a command"),
    ("1", "a value"),
];

/// Everything the program can say: its source without tests and comments, each text on one line.
fn source(folder: &Path, all: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            source(&path, all);
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a text");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let mut goes_on = false;
        for line in code.lines().map(str::trim_start) {
            if line.starts_with("//") {
                continue;
            }
            if !goes_on {
                all.push('\n');
            }
            goes_on = line.ends_with('\\');
            all.push_str(line.trim_end_matches('\\'));
        }
    }
}

#[test]
fn every_line_that_is_quoted_can_be_said() {
    let mut all = String::new();
    source(Path::new(&path_of("src")), &mut all);
    let document = Document::of("docs/troubleshooting.md");
    let quotes: Vec<&str> = document
        .rows()
        .flat_map(|cells| code_spans(cells[0]).collect::<Vec<_>>())
        .filter(|quote| NOT_OURS.iter().all(|(other, _)| other != quote))
        .collect();
    assert!(quotes.len() > 40, "{quotes:?}");
    let missing: Vec<&&str> = quotes
        .iter()
        .filter(|quote| quote.split('…').any(|part| !all.contains(part)))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
