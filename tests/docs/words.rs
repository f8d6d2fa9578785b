//! The pages' English: short sentences, one word for one thing, no misspelt words, and a beginning that says what for.

use super::documents;
use super::path_of;
use super::prose::CODE;
use super::prose::Sentence;
use super::prose::is_word;
use super::prose::sentences;
use super::prose::units;
use crate::support::Folder;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::process::Command;

/// The words of a sentence. A code span is one word.
const LONGEST: usize = 25;
/// A sentence begins with its noun, and its noun is in it.
const NO_BEGINNINGS: [&str; 11] = [
    "It", "Its", "They", "Their", "Them", "He", "She", "What", "Whatever", "Who", "Whoever",
];
/// One word for one thing, no filler, British spelling: the words to avoid, and those to use, if any.
const AVOIDED: [(&str, &str); 50] = [
    ("actually", ""),
    ("auto-update", "update"),
    ("basically", ""),
    ("behavior", "behaviour"),
    ("blacklist", "skip, reject"),
    ("canceled", "cancelled"),
    ("catalog", "catalogue"),
    ("center", "centre"),
    ("clearly", ""),
    ("color", "colour"),
    ("colors", "colours"),
    ("container engine", "Engine"),
    ("daemon", "Engine"),
    ("easily", ""),
    ("easy", ""),
    ("e.g.", "for example"),
    ("etc", "and so on"),
    ("etc.", "and so on"),
    ("favor", "favour"),
    ("fulfill", "fulfil"),
    ("i.e.", "that is"),
    ("just", "only, exactly"),
    ("labeled", "labelled"),
    ("look-up", "check"),
    ("look-ups", "checks"),
    ("lookup", "check"),
    ("lookups", "checks"),
    ("leverage", "use"),
    ("license", "licence"),
    ("obviously", ""),
    ("of course", ""),
    ("organization", "organisation"),
    ("please", ""),
    ("quite", ""),
    ("recognize", "recognise"),
    ("redeploy", "recreate"),
    ("redeployed", "recreated"),
    ("reverted", "rolled back"),
    ("rollback", "roll-back"),
    ("rollbacks", "roll-backs"),
    ("simply", ""),
    ("swapped", "replaced"),
    ("swapping", "a swap"),
    ("trivial", ""),
    ("UI", "page"),
    ("utilize", "use"),
    ("very", ""),
    ("via", "by, through"),
    ("web interface", "page"),
    ("whitelist", "list to allow"),
];

/// Words that the dictionary of the language does not have.
fn our_words() -> String {
    std::fs::read_to_string(path_of("tests/docs/words.txt")).expect("our words")
}

impl Sentence {
    /// What is wrong with it, one line each.
    fn complaints(&self) -> Vec<String> {
        let mut found = Vec::new();
        let words: Vec<&str> = self.text.split(' ').filter(|word| is_word(word)).collect();
        if words.len() > LONGEST {
            found.push(format!("{} words, {LONGEST} at most", words.len()));
        }
        let first = words.first().map(|word| bare(word)).unwrap_or_default();
        let is_question = self.text.trim_end().ends_with('?');
        if NO_BEGINNINGS.contains(&first) && !is_question && !self.is_heading {
            found.push(format!("begins with {first:?}, and not with its noun"));
        }
        for (avoided, preferred) in AVOIDED {
            match has(&self.text, avoided) {
                true if preferred.is_empty() => found.push(format!("{avoided:?}: leave it out")),
                true => found.push(format!("{avoided:?}: say {preferred:?}")),
                false => {}
            }
        }
        let tell = |what: String| format!("{}: {what}: {}", self.place, self.text.trim_end());
        found.into_iter().map(tell).collect()
    }
}

/// The name of a file, a host, a number or an identifier.
fn is_name(word: &str) -> bool {
    bare(word).contains(|c: char| "./_:@".contains(c) || c.is_ascii_digit())
}

/// A word without the marks around it.
fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

/// Whether some words stand in a text by themselves. A short one in capitals is meant as it is written.
fn has(text: &str, words: &str) -> bool {
    let is_short = words.chars().all(char::is_uppercase);
    let text = if is_short {
        text.to_owned()
    } else {
        text.to_lowercase()
    };
    let is_part = |c: char| c.is_alphanumeric() || c == '-' || c == CODE;
    text.match_indices(words).any(|(at, _)| {
        !text[..at].ends_with(is_part) && !text[at + words.len()..].starts_with(is_part)
    })
}

#[track_caller]
fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn sentences_are_short_and_have_one_word_for_one_thing() {
    let sentences = sentences();
    assert!(sentences.len() > 3000, "{} sentences", sentences.len());
    let found: Vec<String> = sentences.iter().flat_map(Sentence::complaints).collect();
    assert_none("to mend (CONTRIBUTING.md, English)", &found);
}

/// What `aspell` does not know and we do not either.
fn misspelt(words: &str) -> Result<BTreeSet<String>, String> {
    let folder = Folder::new();
    let prose = File::open(folder.write("prose", words)).expect("the prose");
    let output = Command::new("aspell")
        .args(["list", "--lang=en_GB-ise", "--encoding=utf-8", "--ignore=2"])
        .stdin(prose)
        .output()
        .map_err(|error| format!("no aspell here ({error})"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let ours = our_words();
    let ours: BTreeSet<&str> = ours.split_whitespace().collect();
    let found = String::from_utf8_lossy(&output.stdout);
    let is_known = |word: &str| {
        let word = word.trim_end_matches("'s");
        ours.contains(word) || ours.contains(word.to_lowercase().as_str())
    };
    let found = found.split_whitespace().filter(|word| !is_known(word));
    Ok(found.map(str::to_owned).collect())
}

#[test]
fn no_word_is_misspelt() {
    let sentences = sentences();
    let words = sentences.iter().flat_map(|one| one.text.split(' '));
    let words: Vec<&str> = words.filter(|word| !is_name(word)).collect();
    let prose = words.join("\n");
    let unknown = match misspelt(&prose) {
        Ok(unknown) => unknown,
        Err(reason) => {
            let words = format!("left out: the spelling of the pages: {reason}\n");
            return drop(std::io::stderr().write_all(words.as_bytes()));
        }
    };
    let mut found = Vec::new();
    for Sentence { place, text, .. } in &sentences {
        let words = text.split(|c: char| !c.is_alphabetic() && c != '\'');
        for word in words.filter(|word| unknown.contains(*word)) {
            found.push(format!("{place}: {word:?}: {}", text.trim_end()));
        }
    }
    let is_placed = |word: &&String| {
        found
            .iter()
            .any(|line: &String| line.contains(word.as_str()))
    };
    let elsewhere = unknown.iter().filter(|word| !is_placed(word));
    found.extend(elsewhere.cloned().collect::<Vec<_>>());
    assert_none(
        "misspelt, or a word for tests/docs/words.txt (one a line, in the order of the alphabet)",
        &found,
    );
}

#[test]
fn our_words_are_in_order() {
    let words = our_words();
    let words: Vec<&str> = words.lines().collect();
    let mut sorted = words.clone();
    sorted.sort_by_key(|word| (word.to_lowercase(), *word));
    sorted.dedup();
    assert_eq!(words, sorted);
}

/// The first paragraphs of a page say what it teaches and what is needed. The index is no such page.
#[test]
fn each_page_says_what_it_is_for() {
    let mut found = Vec::new();
    for page in documents() {
        let name = page.path.strip_prefix("docs/").unwrap_or("README.md");
        if name == "README.md" || name.contains('/') || !name.ends_with(".md") {
            continue;
        }
        let units = units(&page.text);
        let lead: Vec<&str> = units
            .iter()
            .skip(1)
            .map(|(_, unit)| unit.as_str())
            .collect();
        let begins = |words: &str| lead.iter().take(2).any(|unit| unit.contains(words));
        let learns = lead
            .first()
            .is_some_and(|unit| unit.starts_with("You will learn "));
        let is_shown = page.text.contains("ou should see");
        for (is_there, words) in [
            (learns, "does not begin with \"You will learn\""),
            (
                begins("You need "),
                "does not say \"You need\" in its first lines",
            ),
            (is_shown, "has no \"You should see\""),
        ] {
            if !is_there {
                found.push(format!("{}:1: {words}", page.path));
            }
        }
    }
    assert_none("pages", &found);
}

#[test]
fn the_check_notices() {
    let text = "# A title\n\nShort. A long one that goes\non (and\non). Here `a. b` it\nends.\n\n\
                1. It is very so.\n- see [b. c](d. e) now\n\n```sh\njust code\n```\n\n| a cell. Two | `x\\|y` |\n";
    let all: Vec<Sentence> = units(text)
        .into_iter()
        .flat_map(|(line, text)| Sentence::all_of("p.md", line, &text))
        .collect();
    let seen: Vec<(&str, &str)> = all
        .iter()
        .map(|one| (&*one.place, one.text.trim()))
        .collect();
    let expected = [
        ("p.md:1", "# A title"),
        ("p.md:3", "Short."),
        ("p.md:3", "A long one that goes on (and on)."),
        ("p.md:5", "Here ¤ it ends."),
        ("p.md:8", "It is very so."),
        ("p.md:9", "see [b."),
        ("p.md:9", "c] now"),
        ("p.md:15", "a cell."),
        ("p.md:15", "Two"),
        ("p.md:15", "¤"),
    ];
    assert_eq!(seen, expected);
    let complaints = all[4].complaints();
    assert_eq!(
        complaints,
        [
            "p.md:8: begins with \"It\", and not with its noun: It is very so.",
            "p.md:8: \"very\": leave it out: It is very so."
        ]
    );
    let long = Sentence {
        text: "a ".repeat(LONGEST + 1),
        ..Sentence::at("p.md", 1, false)
    };
    assert_eq!(long.complaints().len(), 1);
    if let Ok(unknown) = misspelt("The colour of an imagewatch, and of a contaner's.") {
        assert_eq!(unknown.into_iter().collect::<Vec<_>>(), ["contaner's"]);
    }
}
