//! The prose of the pages: their sentences, without code, each with its place.

use super::Document;
use super::documents;

/// One sentence of prose, without what stands between back quotes and without targets of links.
pub(super) struct Sentence {
    /// The file and the line on which it begins.
    pub(super) place: String,
    pub(super) text: String,
    pub(super) is_heading: bool,
}

/// In place of a code span.
pub(super) const CODE: char = '¤';

impl Sentence {
    /// The sentences of some lines that belong together.
    pub(super) fn all_of(path: &str, line: usize, text: &str) -> Vec<Self> {
        let text = without_code(text);
        let is_heading = text.starts_with('#');
        let mut found = Vec::new();
        let mut at = line;
        let mut sentence = Self::at(path, at, is_heading);
        for piece in text.split_inclusive(char::is_whitespace) {
            let word = piece.trim_end();
            if sentence.text.is_empty() && !word.is_empty() {
                sentence.place = format!("{path}:{at}");
            }
            if !word.is_empty() {
                sentence.text.push_str(word);
                sentence.text.push(' ');
            }
            at += piece.matches('\n').count();
            let end = word.trim_end_matches(|c| "\"”)*_".contains(c));
            if end.ends_with(['.', '!', '?']) {
                let next = Self::at(path, at, is_heading);
                found.push(std::mem::replace(&mut sentence, next));
            }
        }
        found.push(sentence);
        found.retain(|one| !one.text.is_empty());
        found
    }

    pub(super) fn at(path: &str, line: usize, is_heading: bool) -> Self {
        Self {
            place: format!("{path}:{line}"),
            text: String::new(),
            is_heading,
        }
    }
}

pub(super) fn is_word(text: &str) -> bool {
    text.contains(|c: char| c.is_alphanumeric() || c == CODE)
}

/// Code spans become one sign, and targets of links go. Line breaks stay, for the numbers of lines.
fn without_code(text: &str) -> String {
    let mut plain = String::new();
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 0 {
            plain.push_str(part);
            continue;
        }
        plain.push(CODE);
        plain.extend(part.matches('\n'));
    }
    let mut kept = String::new();
    let mut rest = plain.as_str();
    while let Some((before, after)) = rest.split_once("](") {
        kept.push_str(before);
        kept.push(']');
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    kept.push_str(rest);
    kept
}

/// The number and the dot, or the dash, of a list's item.
fn item(line: &str) -> Option<&str> {
    let after_number = line.trim_start_matches(|c: char| c.is_ascii_digit());
    match after_number.len() < line.len() {
        true => after_number.strip_prefix(". "),
        false => line
            .strip_prefix("- ")
            .or_else(|| line.strip_prefix("* "))
            .or_else(|| line.strip_prefix("> ")),
    }
}

/// Lines that belong together, with the number of the first: a paragraph, an item, a heading, a cell of a table.
pub(super) fn units(text: &str) -> Vec<(usize, String)> {
    let mut units: Vec<(usize, String)> = Vec::new();
    let mut is_code = false;
    let mut goes_on = false;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let line = line.trim();
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        if is_code || is_fence || line.is_empty() {
            goes_on = false;
        } else if line.starts_with('|') {
            let cells = line.replace("\\|", "/");
            let cells = cells.trim_matches('|').split('|');
            units.extend(cells.map(|cell| (number, cell.trim().to_owned())));
            goes_on = false;
        } else {
            let (begins, line) = match item(line) {
                Some(line) => (true, line),
                None => (line.starts_with('#'), line),
            };
            match units.last_mut() {
                Some((_, unit)) if goes_on && !begins => {
                    unit.push('\n');
                    unit.push_str(line);
                }
                _ => units.push((number, line.to_owned())),
            }
            goes_on = !line.starts_with('#');
        }
    }
    units
}

/// The prose of the man page as a page like the others: no names of macros, no variables and commands.
fn manual() -> Document {
    const BREAKS: [&str; 9] = ["It", "Pp", "Sh", "Bl", "El", "Dd", "Dt", "Os", "Nd"];
    const CODES: [&str; 9] = ["Nm", "Cm", "Fl", "Ar", "Ev", "Li", "Pa", "Ql", "Xr"];
    let path = "contrib/imagewatch.1";
    let mut text = String::new();
    for line in Document::of(path).text.replace("\\:", "").lines() {
        let Some(macro_line) = line.strip_prefix('.') else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        let name = macro_line.split(' ').next().unwrap_or_default();
        if BREAKS.contains(&name) {
            text.push('\n');
            continue;
        }
        // The sign stands for what is set in another type; marks at the end belong to the sentence.
        let end = macro_line.rsplit(' ').next().unwrap_or_default();
        let end = if is_word(end) { "" } else { end };
        let sign = if CODES.contains(&name) { "`_`" } else { "" };
        text.push_str(&format!("{sign}{end}\n"));
    }
    let path = path.to_owned();
    Document { path, text }
}

/// Everything that is checked, page by page.
fn pages() -> Vec<Document> {
    let mut pages = documents();
    pages.retain(|page| page.path.ends_with(".md"));
    pages.push(Document::of("CHANGELOG.md"));
    pages.push(manual());
    pages
}

pub(super) fn sentences() -> Vec<Sentence> {
    let of_page = |page: &Document| {
        let units = units(&page.text);
        for (line, unit) in &units {
            let is_even = unit.matches('`').count() % 2 == 0;
            assert!(
                is_even,
                "{}:{line}: a code span is never closed: {unit}",
                page.path
            );
        }
        let units = units.into_iter();
        let sentences = units.flat_map(|(line, text)| Sentence::all_of(&page.path, line, &text));
        sentences.collect::<Vec<_>>()
    };
    pages().iter().flat_map(of_page).collect()
}
