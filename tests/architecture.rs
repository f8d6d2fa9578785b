//! Who may import whom: a file may name only the modules that stand below its own.

use std::collections::HashMap;
use std::path::Path;

/// What everybody may import; `fuzz` is there for tests only.
const EVERYWHERE: [&str; 3] = ["debug", "fuzz", "user"];

/// Each module and what it may import. `main`, `serve` and `lib` may import everything.
const RULES: &[(&str, &[&str])] = &[
    ("debug", &[]),
    ("user", &[]),
    ("time", &[]),
    ("error", &["time"]),
    ("gate", &[]),
    ("pem", &[]),
    ("stop", &[]),
    ("queue", &[]),
    ("clerk", &["queue"]),
    ("report", &[]),
    ("progress", &[]),
    ("reference", &["error"]),
    ("credentials", &["reference"]),
    ("receiver", &["credentials", "http"]),
    (
        "config",
        &["credentials", "pem", "receiver", "reference", "time"],
    ),
    ("logging", &["config", "time"]),
    ("http", &["error"]),
    ("wire", &["config", "credentials", "error", "http"]),
    (
        "registry",
        &[
            "config",
            "credentials",
            "error",
            "http",
            "queue",
            "reference",
            "time",
            "wire",
        ],
    ),
    (
        "engine",
        &[
            "config",
            "credentials",
            "error",
            "http",
            "queue",
            "reference",
        ],
    ),
    (
        "notify",
        &[
            "config",
            "credentials",
            "error",
            "http",
            "progress",
            "queue",
            "receiver",
            "reference",
            "time",
            "wire",
        ],
    ),
    ("claim", &["engine", "error"]),
    ("relations", &["engine"]),
    ("rejections", &["reference", "time"]),
    ("hooks", &["engine", "error", "time"]),
    ("cleanup", &["engine", "error"]),
    ("replacement", &["engine"]),
    ("difference", &["engine", "replacement"]),
    (
        "swap",
        &[
            "claim",
            "config",
            "engine",
            "error",
            "gate",
            "progress",
            "replacement",
        ],
    ),
    (
        "select",
        &["config", "engine", "error", "reference", "swap"],
    ),
    (
        "refresh",
        &[
            "claim",
            "cleanup",
            "config",
            "credentials",
            "engine",
            "error",
            "gate",
            "hooks",
            "progress",
            "reference",
            "rejections",
            "relations",
            "report",
            "select",
            "swap",
        ],
    ),
    (
        "plan",
        &[
            "config",
            "difference",
            "engine",
            "error",
            "gate",
            "reference",
            "relations",
            "swap",
        ],
    ),
    ("history", &["progress", "rejections", "time"]),
    ("status", &["reference", "refresh", "report", "time"]),
    (
        "jobs",
        &["progress", "queue", "refresh", "report", "status", "time"],
    ),
    ("metrics", &["error", "progress", "registry", "status"]),
    (
        "watch",
        &["error", "reference", "refresh", "status", "time"],
    ),
    (
        "admin",
        &[
            "clerk",
            "credentials",
            "engine",
            "error",
            "history",
            "jobs",
            "progress",
            "metrics",
            "queue",
            "reference",
            "refresh",
            "registry",
            "report",
            "select",
            "status",
        ],
    ),
    ("healthcheck", &["error", "http"]),
    ("bars", &["progress"]),
    (
        "kit",
        &[
            "config",
            "credentials",
            "engine",
            "gate",
            "refresh",
            "registry",
            "rejections",
            "select",
            "swap",
        ],
    ),
    (
        "check",
        &[
            "config",
            "engine",
            "error",
            "kit",
            "reference",
            "refresh",
            "select",
            "swap",
        ],
    ),
    (
        "preflight",
        &["config", "engine", "error", "hooks", "refresh", "relations"],
    ),
    (
        "once",
        &[
            "bars", "config", "error", "history", "kit", "queue", "refresh", "report", "select",
            "stop", "swap",
        ],
    ),
];

#[test]
fn imports_point_down() {
    let rules: HashMap<&str, &[&str]> = RULES.iter().copied().collect();
    let mut wrong = Vec::new();
    visit(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
        &mut |path, text| {
            let relative = path.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
            let relative = relative.expect("below src").to_str().expect("UTF-8");
            let module = relative.split(['/', '.']).next().expect("a name");
            if matches!(module, "main" | "serve" | "lib") {
                return;
            }
            let Some(allowed) = rules.get(module) else {
                return wrong.push(format!("{module} has no row in the table of imports"));
            };
            for (_, rest) in text
                .match_indices("crate::")
                .map(|(at, _)| text.split_at(at + 7))
            {
                let name = rest
                    .split(|c: char| !c.is_ascii_lowercase())
                    .next()
                    .unwrap_or_default();
                if name != module && !EVERYWHERE.contains(&name) && !allowed.contains(&name) {
                    wrong.push(format!("{relative} imports {name}"));
                }
            }
        },
    );
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
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            if code.contains("env::var") && name != "config.rs" {
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
    ("logging", "shown"),
    ("status", "shown"),
    ("watch", "shown"),
    ("jobs", "shown, and a beginning of ids"),
    ("history", "shown"),
    ("rejections", "shown"),
    ("claim", "compared with what another host wrote"),
    ("swap", "compared with when the Engine made a successor"),
    (
        "notify",
        "shown, and what a receiver says it will be ready at",
    ),
    (
        "registry",
        "shown, and what a registry says it will be ready at",
    ),
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
