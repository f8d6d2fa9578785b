//! Who may import whom: a file may name only the modules that stand below its own.

use std::collections::HashMap;
use std::path::Path;

/// What everybody may import; `fuzz` is there for tests only.
const EVERYWHERE: [&str; 2] = ["debug", "fuzz"];

/// Each module and what it may import. `main`, `serve` and `lib` may import everything.
const RULES: &[(&str, &[&str])] = &[
    ("debug", &[]),
    ("time", &[]),
    ("error", &["time"]),
    ("gate", &[]),
    ("queue", &[]),
    ("clerk", &["queue"]),
    ("report", &[]),
    ("progress", &[]),
    ("reference", &["error"]),
    ("credentials", &["reference"]),
    ("receiver", &["credentials", "http"]),
    ("config", &["credentials", "receiver", "reference", "time"]),
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
        &["config", "credentials", "error", "http", "reference"],
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
        "once",
        &[
            "bars", "config", "error", "history", "kit", "queue", "refresh", "report", "select",
            "swap",
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
