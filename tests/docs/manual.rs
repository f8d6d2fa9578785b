//! The man page.

use super::assert_mentions;
use super::commands;
use super::exit_codes;
use super::options;
use super::path_of;
use super::verdict;
use imagewatch::config::VARIABLES;

/// Without the places where a line may be broken.
fn page() -> String {
    include_str!("../../contrib/imagewatch.1").replace("\\:", "")
}

fn section(name: &str) -> String {
    let page = page();
    let heading = format!(".Sh {name}\n");
    let (_, rest) = page.split_once(&heading).expect("a section");
    rest.split("\n.Sh ").next().expect("its text").to_owned()
}

#[test]
fn it_has_every_command_option_and_exit_code() {
    for place in ["SYNOPSIS", "COMMANDS"] {
        assert_mentions(place, &section(place), commands());
    }
    // `--force` is written `Fl Fl force`.
    let options: Vec<String> = options()
        .iter()
        .map(|option| option.replace("--", "Fl Fl "))
        .collect();
    let all = page();
    assert_mentions("the man page", &all, options.iter().map(String::as_str));
    let items: Vec<String> = exit_codes()
        .iter()
        .map(|code| format!(".It {code}"))
        .collect();
    let status = section("EXIT STATUS");
    assert_mentions("EXIT STATUS", &status, items.iter().map(String::as_str));
    assert_eq!(status.matches("\n.It ").count(), items.len());
}

#[test]
fn it_has_every_variable_with_its_default() {
    let section = section("ENVIRONMENT");
    for row in VARIABLES {
        let star = if row.secret { " *" } else { "" };
        let item = format!("Ev {}{star}", row.name);
        assert_mentions("ENVIRONMENT", &section, [item.as_str()]);
        let (_, rest) = section.split_once(&item).expect("just seen");
        let entry = rest.split("\n.It ").next().expect("its text");
        assert!(entry.contains(row.default), "{}: another default", row.name);
    }
    let count = section.lines().filter(|line| line.starts_with(".It "));
    let names: usize = count.map(|line| line.matches("Ev ").count()).sum();
    assert_eq!(names, VARIABLES.len(), "one that does not exist");
}

#[test]
fn it_is_well_formed() {
    let path = path_of("contrib/imagewatch.1");
    let man = ["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", &path];
    if let Some((good, text)) = verdict("man", &man) {
        let complaints: Vec<&str> = text.lines().filter(|l| l.contains("warning")).collect();
        assert!(good && complaints.is_empty(), "{complaints:#?}");
    }
    if let Some((good, text)) = verdict("mandoc", &["-T", "lint", "-W", "warning", &path]) {
        assert!(good && text.is_empty(), "{text}");
    }
}
