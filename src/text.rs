//! Texts: suggestions for a misspelt name, and bytes as digits.

use crate::sort::sort;
use std::cmp::Reverse;

/// The most names that are suggested.
const MOST: usize = 3;

/// Bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    text
}

/// Returns the known name that takes the fewest edits. Among equals, the longest common beginning wins.
#[cold]
pub(crate) fn nearest<'a>(
    meant: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known.into_iter().min_by_key(|name| rank(meant, name))
}

/// Returns `: did you mean …?` with the nearest names; empty if no name is known.
#[cold]
pub(crate) fn did_you_mean<'a>(meant: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.into_iter().collect();
    let mut ranked: Vec<_> = known
        .drain(..)
        .map(|name| (rank(meant, name), name))
        .collect();
    sort(&mut ranked, |one, other| one < other);
    known.extend(ranked.into_iter().map(|(_, name)| name));
    known.dedup();
    let edits = |name: &str| rank(meant, name).0;
    let fewest = known.first().map_or(0, |name| edits(name));
    known.retain(|name| edits(name) <= fewest + 1);
    known.truncate(MOST);
    match known.split_last() {
        None => String::new(),
        Some((last, [])) => format!(": did you mean {last}?"),
        Some((last, others)) => format!(": did you mean {} or {last}?", others.join(", ")),
    }
}

fn rank(meant: &str, name: &str) -> (usize, Reverse<usize>) {
    let meant = meant.to_ascii_lowercase();
    let lower = name.to_ascii_lowercase();
    let fewest = short_forms(&lower).map(|form| edits(&meant, form)).min();
    (fewest.unwrap_or(0), Reverse(alike(&meant, &lower)))
}

/// The forms in which people write a name: an image also without its registry, or without its tag.
fn short_forms(name: &str) -> impl Iterator<Item = &str> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let untagged =
        |name: &'_ str| name.len() - last.rsplit_once(':').map_or(0, |(_, tag)| tag.len() + 1);
    let forms = [name, last, &name[..untagged(name)], &last[..untagged(last)]];
    forms.into_iter()
}

/// The length of the common beginning, in bytes.
fn alike(a: &str, b: &str) -> usize {
    let pairs = a.bytes().zip(b.bytes());
    pairs.take_while(|(x, y)| x == y).count()
}

/// The Levenshtein distance of two texts.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_leads_to_the_name_that_was_meant() {
        let known = ["imagewatch.enable", "imagewatch.mode", "web", "db"];
        for (meant, expected) in [
            ("imagewatch.enabled", "imagewatch.enable"),
            ("imagewatch.mod", "imagewatch.mode"),
            ("wbe", "web"),
            ("", "db"),
        ] {
            assert_eq!(nearest(meant, known), Some(expected), "{meant}");
        }
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn an_image_may_be_meant_without_its_registry_and_tag() {
        let known = [
            "db",
            "docker.io/library/nginx:latest",
            "ghcr.io/acme/api:1",
            "web",
            "web",
        ];
        for (meant, expected) in [
            ("ngnix", ": did you mean docker.io/library/nginx:latest?"),
            ("apj:1", ": did you mean ghcr.io/acme/api:1?"),
            ("WBE", ": did you mean web, db or ghcr.io/acme/api:1?"),
        ] {
            assert_eq!(did_you_mean(meant, known), expected);
        }
        assert_eq!(did_you_mean("x", ["a"]), ": did you mean a?");
        assert_eq!(did_you_mean("x", []), "");
    }
}
