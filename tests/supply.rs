//! What the program is made of: each package is known, allowed by `deny.toml` and explained in
//! `docs/dev/dependencies.md` or `docs/dev/keyless.md`, and a release's list of components says the same. All of it
//! offline, but for packages that were never downloaded: advisories are for `cargo deny check`.

use serde_json::Value;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::Command;
use std::process::Output;

const LOCK: &str = include_str!("../Cargo.lock");
const DENY: &str = include_str!("../deny.toml");
const DOCUMENT: &str = concat!(
    include_str!("../docs/dev/dependencies.md"),
    "\n### \n",
    include_str!("../docs/dev/keyless.md")
);
const NONE: &str = "";
const KEYLESS: &str = "keyless";
/// The tables of the documents, and which features and edges lead to what is in them and in those before.
const TABLES: [(&str, &str, &str); 5] = [
    ("In the binary", NONE, "normal,no-proc-macro"),
    ("Needed to build it", NONE, "normal,build"),
    ("Needed to test it", NONE, "normal,build,dev"),
    ("In the keyless binary", KEYLESS, "normal,no-proc-macro"),
    (
        "Needed to build the keyless binary",
        KEYLESS,
        "normal,build",
    ),
];
const NEVER_COMPILED: &str = "Locked, and never compiled";

fn run_cargo(arguments: &[&str]) -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).arg("--locked");
    let cargo = cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.output().expect("cargo")
}

/// What Cargo says, of what is already here. The packages of a feature may have to be fetched first.
#[track_caller]
fn cargo(arguments: &[&str]) -> String {
    let arguments = &[arguments, &["--offline"]].concat()[..];
    let mut output = run_cargo(arguments);
    if !output.status.success() && arguments.contains(&KEYLESS) {
        run_cargo(&["fetch", "--target", "x86_64-unknown-linux-musl"]);
        output = run_cargo(arguments);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {complaint}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What a package is called here: its name and version.
fn package(name: &str, version: &str) -> String {
    format!("{name} {version}")
}

/// A list of `deny.toml`: what each line of it names.
#[track_caller]
fn listed(key: &str) -> BTreeSet<&'static str> {
    let (_, rest) = DENY.split_once(&format!("\n{key} = [\n")).expect(key);
    let (lines, _) = rest.split_once("\n]").expect("an end");
    let items = lines.lines().filter_map(|line| line.split('"').nth(1));
    items.collect()
}

/// Every package in `Cargo.lock` but ours, and where it comes from.
fn locked() -> BTreeMap<String, &'static str> {
    let value = |section: &'static str, key: &str| {
        let line = section.lines().find_map(|line| line.strip_prefix(key));
        line.map_or("", |line| line.trim_start_matches(" = ").trim_matches('"'))
    };
    let sections = LOCK.split("[[package]]").skip(1);
    sections
        .filter(|section| value(section, "name") != "imagewatch")
        .map(|section| {
            let package = package(value(section, "name"), value(section, "version"));
            (package, value(section, "source"))
        })
        .collect()
}

/// The packages that edges lead to, for any target of a release.
fn reached(features: &str, edges: &str) -> BTreeSet<String> {
    let mut arguments = vec!["tree", "--prefix", "none", "--format", "{p}", "-e", edges];
    arguments.extend(["--features", features]);
    for target in listed("targets") {
        arguments.extend(["--target", target]);
    }
    let tree = cargo(&arguments);
    let packages = tree.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        (name != "imagewatch").then(|| package(name, version))
    });
    packages.collect()
}

/// The packages for the targets of a release, ours too, as Cargo describes them.
fn described() -> Vec<Value> {
    let mut arguments = vec!["metadata", "--format-version", "1", "--features", KEYLESS];
    for target in listed("targets") {
        arguments.extend(["--filter-platform", target]);
    }
    let said: Value = serde_json::from_str(&cargo(&arguments)).expect("JSON");
    said["packages"].as_array().expect("packages").clone()
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// What of a package runs on the machine it is built on.
fn runs(package: &Value) -> &'static str {
    let targets = package["targets"].as_array().expect("targets");
    let has = |kind: &str| targets.iter().any(|target| target["kind"][0] == kind);
    match (has("custom-build"), has("proc-macro")) {
        (true, _) => "build script",
        (_, true) => "procedural macro",
        _ => "",
    }
}

/// The rows below a heading of the document, by package: licence, what runs, reason.
#[track_caller]
fn rows(heading: &str) -> BTreeMap<String, [&'static str; 3]> {
    let (_, rest) = DOCUMENT
        .split_once(&format!("\n### {heading}\n"))
        .expect(heading);
    let section = rest.split("\n### ").next().unwrap_or_default();
    let lines = section.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &'static str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, version, licence, runs, reason] = cells[..] else {
            panic!("five cells: {line}")
        };
        let package = package(name.trim_matches('`'), version);
        (package, [licence, runs, reason])
    };
    lines.map(row).collect()
}

/// Whether the licences allowed are enough for an expression of SPDX, or one with the old slash.
fn is_allowed(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    expression.split(" AND ").all(|part| {
        let part = part.trim_matches(['(', ')']).replace('/', " OR ");
        part.split(" OR ").any(|licence| allowed.contains(licence))
    })
}

#[track_caller]
fn assert_same(what: &str, expected: &BTreeSet<String>, actual: &BTreeSet<String>) {
    let missing: Vec<_> = expected.difference(actual).collect();
    let too_many: Vec<_> = actual.difference(expected).collect();
    assert!(
        missing.is_empty() && too_many.is_empty(),
        "{what} lacks {missing:?}, and should not have {too_many:?}"
    );
}

#[test]
fn each_locked_package_has_its_row() {
    let mut rest: BTreeSet<String> = locked().into_keys().collect();
    for (heading, features, edges) in TABLES {
        let mut expected = reached(features, edges);
        expected.retain(|package| rest.remove(package));
        assert_same(heading, &expected, &rows(heading).into_keys().collect());
    }
    assert_same(
        NEVER_COMPILED,
        &rest,
        &rows(NEVER_COMPILED).into_keys().collect(),
    );
}

#[test]
fn the_default_build_has_nothing_of_the_keyless_one() {
    let default = reached(NONE, "normal,build,dev");
    for (heading, features, _) in TABLES {
        let rows = rows(heading).into_keys();
        let both: Vec<String> = rows.filter(|one| default.contains(one)).collect();
        assert!(features == NONE || both.is_empty(), "{heading}: {both:?}");
    }
    assert!(!default.iter().any(|one| one.starts_with("sigstore")));
    assert!(
        reached(KEYLESS, "normal")
            .iter()
            .any(|one| one.starts_with("sigstore-verify "))
    );
}

#[test]
fn each_row_says_what_the_package_says_and_why_it_is_there() {
    let described: BTreeMap<String, Value> = described()
        .into_iter()
        .map(|one| (package(word(&one, "name"), word(&one, "version")), one))
        .collect();
    let headings = TABLES.iter().map(|(heading, ..)| *heading);
    for (name, [licence, what_runs, reason]) in headings.chain([NEVER_COMPILED]).flat_map(rows) {
        assert!(!reason.is_empty(), "{name}: no reason");
        // Packages for other systems need not be on this machine.
        if let Some(package) = described.get(&name) {
            assert_eq!(licence, word(package, "license"), "{name}");
            assert_eq!(what_runs, runs(package), "{name}");
        }
    }
}

#[test]
fn each_direct_dependency_has_a_reason_and_a_version() {
    let (reasons, _) = DOCUMENT.split_once("\n## The whole tree").expect("a tree");
    let packages = described();
    let ours = packages.iter().find(|one| one["name"] == "imagewatch");
    let ours = ours.expect("imagewatch")["dependencies"].as_array();
    for dependency in ours.expect("dependencies") {
        let name = word(dependency, "name");
        let quoted = format!("`{name}`");
        let row = |line: &str| line.starts_with("| `") && line.contains(&quoted);
        let explained = match word(dependency, "kind") {
            "dev" => reasons.contains(&format!("For tests only: {quoted}")),
            _ => reasons.lines().any(row),
        };
        assert!(
            explained,
            "{name} has no reason in docs/dev/dependencies.md"
        );
        assert_ne!(word(dependency, "req"), "*", "{name}: any version at all");
    }
}

#[test]
fn each_licence_is_allowed() {
    let allowed = listed("allow");
    for package in described() {
        let (name, licence) = (word(&package, "name"), word(&package, "license"));
        assert!(is_allowed(licence, &allowed), "{name}: {licence:?}");
    }
    assert!(!is_allowed("GPL-3.0", &allowed));
    assert!(!is_allowed("MIT AND GPL-3.0", &allowed));
    assert!(is_allowed("(MIT OR GPL-3.0) AND ISC", &allowed));
    assert!(is_allowed("GPL-3.0/MIT", &allowed));
}

#[test]
fn nothing_is_banned_or_there_twice_or_from_elsewhere() {
    let (banned, twice) = (listed("deny"), listed("skip"));
    let mut sources = BTreeSet::new();
    for (package, source) in locked() {
        let (name, _) = package.split_once(' ').expect("a version");
        assert!(!banned.contains(name), "{name} is banned by deny.toml");
        assert!(
            source.starts_with("registry+"),
            "{package} is from {source:?}"
        );
        sources.insert(source);
    }
    assert_eq!(sources.len(), 1, "{sources:?}");
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in reached(KEYLESS, "normal,build,dev") {
        let (name, version) = package.split_once(' ').expect("a version");
        let versions = seen.entry(name.to_owned()).or_default();
        versions.push(format!("{name}@{version}"));
    }
    for (name, mut versions) in seen {
        versions.retain(|version| !twice.contains(version.as_str()));
        assert!(
            versions.len() <= 1,
            "{name}: {versions:?} are there together"
        );
    }
}

#[test]
fn only_known_packages_run_something_while_building() {
    let compiled = reached(KEYLESS, "normal,build,dev");
    let macros = rows(TABLES[4].0);
    let mut scripts = BTreeSet::new();
    for one in described() {
        let name = word(&one, "name");
        match runs(&one) {
            _ if !compiled.contains(&package(name, word(&one, "version"))) => {}
            "build script" => drop(scripts.insert(name.to_owned())),
            "" => {}
            what => {
                let package = package(name, word(&one, "version"));
                let is_known = name == "serde_derive" || macros.contains_key(&package);
                assert!(is_known, "{name} is a {what}");
            }
        }
    }
    let known = listed("allow-build-scripts");
    let known = known.into_iter().map(str::to_owned).collect();
    assert_same("the list of build scripts", &scripts, &known);
}

#[test]
fn the_list_of_components_is_what_is_compiled() {
    if Command::new("python3").arg("-V").output().is_err() {
        let words = b"left out: scripts/release/sbom.sh, because there is no python3 here\n";
        return drop(std::io::stderr().write_all(words));
    }
    for (features, first) in [(NONE, 0), (KEYLESS, 3)] {
        let text = printed("sbom.sh", features);
        assert!(text == printed("sbom.sh", features), "not the same twice");
        let bom: Value = serde_json::from_slice(&text).expect("JSON");
        let of_table = |places: &[usize]| {
            let rows = places.iter().flat_map(|place| rows(TABLES[*place].0));
            rows.map(|(name, _)| name).collect::<BTreeSet<String>>()
        };
        let (binary, build) = (of_table(&[0, first]), of_table(&[1, first + 1]));
        assert_components(&bom, &binary, &build);
    }
}

/// What a script of the release prints about a build with these features.
fn printed(script: &str, features: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/release");
    let output = Command::new(format!("{folder}/{script}"))
        .env("CARGO_NET_OFFLINE", "true")
        .env("FEATURES", features)
        .output()
        .expect("it runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    output.stdout
}

#[track_caller]
fn assert_components(bom: &Value, binary: &BTreeSet<String>, build: &BTreeSet<String>) {
    assert_eq!(word(bom, "bomFormat"), "CycloneDX");
    assert_eq!(word(bom, "specVersion"), "1.5");
    assert!(word(bom, "serialNumber").starts_with("urn:uuid:"));
    let subject = &bom["metadata"]["component"];
    assert_eq!(word(subject, "version"), env!("CARGO_PKG_VERSION"));

    let components = bom["components"].as_array().expect("components");
    let of_scope = |scope: &str| {
        let chosen = components.iter().filter(|one| one["scope"] == scope);
        let name = |one| package(word(one, "name"), word(one, "version"));
        chosen.map(name).collect::<BTreeSet<String>>()
    };
    // For the default target; the others need the same packages.
    assert_same("what is in the binary", binary, &of_scope("required"));
    assert_same("what builds it", build, &of_scope("excluded"));

    let references: BTreeSet<&str> = components.iter().map(|one| word(one, "bom-ref")).collect();
    assert_eq!(references.len(), components.len(), "named twice");
    for one in components {
        let (name, version) = (word(one, "name"), word(one, "version"));
        assert_eq!(
            word(one, "purl"),
            format!("pkg:cargo/{name}@{version}"),
            "{name}"
        );
        let sum = word(&one["hashes"][0], "content");
        let section = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        let (_, rest) = LOCK.split_once(&section).expect(name);
        let section = rest.split("[[package]]").next().unwrap_or_default();
        assert!(section.contains(&format!("checksum = \"{sum}\"")), "{name}");
    }
    let dependencies = bom["dependencies"].as_array().expect("dependencies");
    assert_eq!(dependencies.len(), components.len() + 1);
    for needed in dependencies
        .iter()
        .flat_map(|one| one["dependsOn"].as_array().expect("a list"))
    {
        let needed = needed.as_str().expect("a reference");
        assert!(references.contains(needed), "{needed} is nowhere");
    }
}

#[test]
fn each_package_in_the_binary_brings_its_licence() {
    if Command::new("python3").arg("-V").output().is_err() {
        return;
    }
    for (features, first) in [(NONE, 0), (KEYLESS, 3)] {
        let text = String::from_utf8(printed("licences.sh", features)).expect("UTF-8");
        for place in [0, first] {
            for (name, [licence, ..]) in rows(TABLES[place].0) {
                let heading = format!("\n== {name} ({licence})\n");
                assert!(text.contains(&heading), "{name}");
            }
        }
    }
}

#[test]
fn workflows_pin_what_they_run() {
    const LATER: &str = "# pin by digest before the first release";
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/.github/workflows");
    let mut actions = 0;
    for entry in std::fs::read_dir(folder).expect("workflows") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a workflow");
        assert!(text.contains("\npermissions: {}\n"), "{}", path.display());
        for line in text.lines() {
            let place = format!("{}: {line}", path.display());
            let line = line.trim().trim_start_matches("- ");
            if let Some(action) = line.strip_prefix("uses: ") {
                let is_ours = action.starts_with("./");
                assert!(is_ours || is_pinned(action), "{place}");
                actions += usize::from(!is_ours);
            }
            let image = ["container: ", "image: ", "builder="];
            if image.iter().any(|key| line.starts_with(key)) {
                let is_pinned = line.contains("@sha256:") || line.ends_with(LATER);
                assert!(is_pinned, "{place}");
            }
        }
    }
    assert!(actions > 5, "{actions} actions");
    assert!(!is_pinned("actions/checkout@v5"));
}

/// Whether an action is named by its commit, and says its version to people.
fn is_pinned(action: &str) -> bool {
    action.split_once('@').is_some_and(|(_, version)| {
        version.split_once(" # v").is_some_and(|(commit, _)| {
            commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    })
}
