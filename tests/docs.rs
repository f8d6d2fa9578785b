//! What people read, and what completes their words, says what the code does.

mod api;
mod completion;
mod dashboards;
mod engine_calls;
mod examples;
mod links;
mod manual;
mod messages;
mod prose;
mod reliability;
mod troubleshooting;
mod variables;
mod watchtower;
mod words;

pub(crate) use engine_calls::listed as listed_calls;
pub(crate) use engine_calls::proxy_pattern;

use crate::support::Folder;
use imagewatch::config::VARIABLES;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// What the program's own source says that it understands.
const MAIN: &str = include_str!("../src/main.rs");
/// The options of an owner's commands are read there.
const OWNER: &str = include_str!("../src/commands/owner.rs");

/// Every command: whatever begins a pattern of words.
fn commands() -> BTreeSet<&'static str> {
    quoted(MAIN)
        .filter(|(before, word)| before.ends_with('[') && is_word(word))
        .map(|(_, word)| word)
        .chain(["help"])
        .collect()
}

/// Every long option.
fn options() -> BTreeSet<&'static str> {
    let is_option = |word: &str| word.strip_prefix("--").is_some_and(is_word);
    let options = quoted(MAIN).chain(quoted(OWNER));
    let options = options.map(|(_, word)| word);
    options.filter(|word| is_option(word)).collect()
}

/// Every exit code.
fn exit_codes() -> BTreeSet<&'static str> {
    let codes = MAIN.lines().filter_map(|line| {
        let (_, value) = line.split_once(": u8 = ")?;
        value.strip_suffix(';')
    });
    codes.chain(["0"]).collect()
}

/// Each string literal, and what stands before it.
fn quoted(source: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut parts = source.split('"');
    std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c == '-')
}

/// Whether `word` stands in `text` by itself.
fn mentions(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part)
    })
}

#[track_caller]
fn assert_mentions<'a>(what: &str, text: &str, words: impl IntoIterator<Item = &'a str>) {
    let missing: Vec<&str> = words
        .into_iter()
        .filter(|word| !mentions(text, word))
        .collect();
    assert!(missing.is_empty(), "{what} lacks {missing:?}");
}

/// The default of a variable.
fn default_of(name: &str) -> &'static str {
    let row = VARIABLES.iter().find(|row| row.name == name);
    row.expect("a variable").default
}

/// One document: its path in the repository, and its text.
struct Document {
    path: String,
    text: String,
}

/// Something between fences.
struct Block {
    language: String,
    text: String,
    /// Its document and line, for messages.
    place: String,
}

impl Document {
    fn of(path: &str) -> Self {
        let text = std::fs::read_to_string(path_of(path)).expect("a document");
        let path = path.to_owned();
        Self { path, text }
    }

    fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut open: Option<(usize, Block)> = None;
        for (number, line) in self.text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            match (&mut open, line.trim_start().strip_prefix("```")) {
                (None, Some(language)) => {
                    let block = Block {
                        language: language.to_owned(),
                        text: String::new(),
                        place: format!("{}:{}", self.path, number + 1),
                    };
                    open = Some((indent, block));
                }
                (Some(_), Some(_)) => blocks.extend(open.take().map(|(_, block)| block)),
                (Some((margin, block)), None) => {
                    block.text.push_str(line.get(*margin..).unwrap_or_default());
                    block.text.push('\n');
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a fence is never closed", self.path);
        blocks
    }

    /// The cells of each row of its tables.
    fn rows(&self) -> impl Iterator<Item = Vec<&str>> {
        self.text
            .lines()
            .map(str::trim_start)
            .filter(|line| line.starts_with('|'))
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
    }
}

/// What is written for people: the README, what contributors read, and the folder `docs`.
fn documents() -> Vec<Document> {
    let mut paths = vec!["README.md".to_owned(), "CONTRIBUTING.md".to_owned()];
    let mut folders = vec!["docs".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(path_of(&folder)).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = entry.file_name();
            let path = format!("{folder}/{}", name.to_str().expect("UTF-8"));
            match entry.path().is_dir() {
                true => folders.push(path),
                // Pictures are documents too, but no text.
                false if path.ends_with(".md") => paths.push(path),
                false => {}
            }
        }
    }
    paths.sort();
    let documents: Vec<Document> = paths.iter().map(|path| Document::of(path)).collect();
    assert!(documents.len() > 10, "{paths:?}");
    documents
}

/// Nobody finds a page to which the index does not lead.
#[test]
fn the_index_names_every_page() {
    let index = Document::of("docs/README.md");
    let pages = documents();
    let pages = pages
        .iter()
        .filter_map(|page| page.path.strip_prefix("docs/"));
    let missing: Vec<&str> = pages
        .filter(|page| *page != "README.md" && !index.text.contains(&format!("]({page})")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// What stands between back quotes.
fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What a tool says of a file, or nothing, and that on the standard error, where there is no such tool.
fn verdict(tool: &str, arguments: &[&str]) -> Option<(bool, String)> {
    match Command::new(tool)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .env("MANWIDTH", "80")
        .output()
    {
        Err(_) => {
            let words = format!("left out: {tool} {}: no {tool} here\n", arguments.join(" "));
            drop(std::io::stderr().write_all(words.as_bytes()));
            None
        }
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            Some((output.status.success(), text))
        }
    }
}

/// A file of this repository.
fn path_of(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn the_source_tells_what_there_is_to_mention() {
    let expected = [
        "check",
        "healthcheck",
        "help",
        "hold",
        "names",
        "plan",
        "refresh",
        "release",
        "rollback",
        "serve",
        "skip",
    ];
    assert_eq!(commands().into_iter().collect::<Vec<_>>(), expected);
    assert!(options().contains("--dry-run") && options().contains("--runtime"));
    assert_eq!(
        exit_codes().into_iter().collect::<Vec<_>>(),
        ["0", "1", "10", "2"]
    );
}

#[test]
fn the_platforms_script_passes_its_flags_on() {
    let folder = Folder::new();
    let program = folder.write("imagewatch", "#!/bin/sh\nprintf '%s|' \"$@\"\n");
    let status = Command::new("chmod").args(["+x", &program]).status();
    assert!(status.expect("chmod").success());
    let path = format!("{}:/bin:/usr/bin", folder.path().display());
    let output = Command::new(path_of("scripts/refresh-workspace-images.sh"))
        .args(["--runtime", "hermes", "--no-recreate"])
        .env("PATH", path)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "refresh|--runtime|hermes|--no-recreate|");
    let lines = std::fs::read_to_string(path_of("scripts/refresh-workspace-images.sh"));
    assert_eq!(lines.expect("a script").lines().count(), 3);
}
