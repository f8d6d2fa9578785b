//! A room imports only from the floors below its own: one number per room.

use std::collections::HashMap;
use std::path::Path;

/// The floor of each room, and of each file that stands beside the rooms.
const FLOORS: &[(&str, u8)] = &[
    ("error", 1),
    ("labels", 1),
    ("logging", 1),
    ("process", 1),
    ("provenance", 1),
    ("reference", 1),
    ("secret", 1),
    ("json", 1),
    ("pem", 1),
    ("sort", 1),
    ("text", 1),
    ("thread", 1),
    ("time", 1),
    ("version", 1),
    ("credentials", 2),
    ("http", 2),
    ("journal", 2),
    ("policy", 2),
    ("trust", 2),
    ("engine", 3),
    ("notify", 3),
    ("registry", 3),
    ("service", 4),
    ("swap", 4),
    ("update", 5),
    ("admin", 6),
    ("config", 6),
    ("watch", 6),
    ("commands", 7),
    ("main", 8),
];

/// Words: the files of the first floor, which may name each other.
const WORDS: u8 = 1;

#[test]
fn a_room_imports_only_from_floors_below() {
    let floors: HashMap<&str, u8> = FLOORS.iter().copied().collect();
    let mut wrong = Vec::new();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    visit(Path::new(source), &mut |path, text| {
        let relative = path.strip_prefix(source).expect("below src");
        let relative = relative.to_str().expect("UTF-8");
        let room = relative.split(['/', '.']).next().expect("a name");
        if room == "lib" {
            return;
        }
        let Some(own) = floors.get(room) else {
            return wrong.push(format!("{room} has no floor"));
        };
        for (at, _) in text.match_indices("crate::") {
            let is_end = |c: char| !c.is_ascii_lowercase() && c != '_';
            let name = text[at + 7..].split(is_end).next().unwrap_or_default();
            let may = match floors.get(name) {
                _ if name == room || name == "fuzz" => true,
                Some(floor) => floor < own || (*floor == WORDS && *own == WORDS),
                None => false,
            };
            if !may {
                wrong.push(format!("{relative} imports {name}"));
            }
        }
    });
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The most lines of a function, and of a file without its tests.
const LONGEST_FUNCTION: usize = 60;
const LONGEST_FILE: usize = 400;

#[test]
fn no_function_and_no_file_has_two_jobs() {
    let mut wrong = Vec::new();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    visit(Path::new(source), &mut |path, text| {
        if path.extension().is_none_or(|kind| kind != "rs") {
            return;
        }
        if path.ends_with("tests.rs") {
            return;
        }
        let shown = path.strip_prefix(source).expect("below src").display();
        let code = text.split("#[cfg(test)]\nmod tests").next();
        let lines: Vec<&str> = code.unwrap_or_default().lines().collect();
        if lines.len() > LONGEST_FILE {
            wrong.push(format!("{shown}: {} lines", lines.len()));
        }
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| is_head(line)) {
            let indent = &line[..line.len() - line.trim_start().len()];
            let end = format!("{indent}}}");
            let length = lines[at..].iter().position(|line| *line == end);
            if let Some(length) = length.filter(|length| *length >= LONGEST_FUNCTION) {
                wrong.push(format!("{shown}: {} ({} lines)", line.trim(), length + 1));
            }
        }
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether a function begins here that has a body below.
fn is_head(line: &str) -> bool {
    let words = line.split_whitespace();
    let mut words = words.skip_while(|word| word.starts_with("pub") || *word == "const");
    words.next() == Some("fn") && !line.ends_with(';') && !line.ends_with('}')
}

#[test]
fn only_the_rooms_are_public_modules() {
    let mut wrong = Vec::new();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    visit(Path::new(source), &mut |path, text| {
        let is_lib = path.ends_with("lib.rs");
        let public = text.lines().filter(|line| line.starts_with("pub mod "));
        wrong.extend(
            public
                .filter(|_| !is_lib)
                .map(|line| format!("{}: {line}", path.display())),
        );
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_config_reads_the_environment_and_only_the_top_ends_the_process() {
    let mut wrong = Vec::new();
    visit(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
        &mut |path, text| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let is_config = path
                .parent()
                .is_some_and(|folder| folder.ends_with("config"));
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            if code.contains("env::var") && !is_config {
                wrong.push(format!("{name} reads the environment"));
            }
            if code.contains("process::exit") && name != "serve.rs" {
                wrong.push(format!("{name} ends the process"));
            }
        },
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Where the clock on the wall is read, and why. Somebody may set it: whatever waits, or ends, goes by
/// `Instant`.
const WALL_CLOCK: [(&str, &str); 10] = [
    ("admin", "shown"),
    ("engine", "compared with the events of the Engine"),
    ("journal", "shown"),
    ("logging", "shown"),
    (
        "notify",
        "shown, and what a receiver says it will be ready at",
    ),
    (
        "registry",
        "shown, and what a registry says it will be ready at",
    ),
    ("service", "shown on the label of an update"),
    (
        "swap",
        "compared with what another host wrote, and with when the Engine made a successor",
    ),
    ("update", "shown, and a beginning of ids"),
    ("watch", "shown"),
];

#[test]
fn the_wall_clock_is_read_only_to_be_shown_or_where_a_peer_speaks_of_it() {
    let mut wrong = Vec::new();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    visit(Path::new(source), &mut |path, text| {
        let relative = path.strip_prefix(source).expect("below src");
        let relative = relative.to_str().expect("UTF-8");
        let module = relative.split(['/', '.']).next().expect("a name");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let may = WALL_CLOCK.iter().any(|(name, _)| *name == module);
        if code.contains("SystemTime::now") && !may {
            wrong.push(relative.to_owned());
        }
    });
    assert!(wrong.is_empty(), "{wrong:?} read the wall clock");
}

/// A test that asks for a variable that nobody sets is left out, and nobody is the wiser.
#[test]
fn what_the_engine_tests_ask_for_is_set_by_a_script() {
    let script = std::fs::read_to_string("scripts/test.sh").expect("the script");
    let mut asked = 0;
    let mut look = |path: &Path, text: &str| {
        for (at, _) in text.match_indices("\"LAB_") {
            let is_other = |c: char| !c.is_ascii_uppercase() && c != '_';
            let name = text[at + 1..].split(is_other).next().unwrap_or_default();
            asked += 1;
            assert!(script.contains(name), "{}: {name}", path.display());
        }
    };
    visit(Path::new("tests/engine"), &mut look);
    visit(Path::new("tests/support"), &mut look);
    assert!(asked > 5, "{asked}");
}

fn visit(folder: &Path, look: &mut dyn FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            visit(&path, look);
        } else {
            look(&path, &std::fs::read_to_string(&path).expect("a text"));
        }
    }
}
