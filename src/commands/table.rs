//! The table of `imagewatch check`, for a script, a pipe, and a person.

use crate::journal::Replicas;
use crate::journal::Standing;
use crate::journal::Versions;
use crate::journal::Waiting;
use crate::reference::short;
use crate::update::Newer;
use serde::Serialize;
use serde::Serializer;

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The reference in its full form.
    pub reference: String,
    /// The name of the runtime, or the reference again.
    pub name: String,
    /// The names of the containers made from the reference.
    pub containers: Vec<String>,
    /// The digests that the containers run. Without containers, the digest of the local image.
    pub running_digests: Vec<String>,
    /// The digest that the tag points at now.
    pub registry_digest: Option<String>,
    /// The names of the containers that run another image than the registry has.
    pub behind: Vec<String>,
    /// The updates that wait for their time, each with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Waiting>,
    /// The state of the reference.
    pub state: Standing,
    /// The facts that the images tell about themselves.
    #[serde(rename = "version", skip_serializing_if = "Versions::is_empty")]
    pub versions: Versions,
    /// A newer version under another tag, and the version in use.
    #[serde(serialize_with = "newest", skip_serializing_if = "Option::is_none")]
    pub newer: Option<Newer>,
    /// The error of the registry, or why the image is not pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A managed container that is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftAlone {
    /// The container's name.
    pub container: String,
    /// The image name that the container was created with.
    pub image: String,
    /// The reason: the container has no tag to follow, is stopped, or has a label that says so.
    pub reason: String,
}

/// The answer of the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// One row for each watched reference.
    pub references: Vec<Row>,
    /// The managed containers that are left alone.
    pub left_alone: Vec<LeftAlone>,
    /// The tasks of managed Swarm services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Replicas>,
    /// The number of watched containers and images, and the names of those behind.
    pub summary: String,
}

impl Table {
    /// Whether anything is outdated, also if its update waits.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        let mut rows = self.references.iter();
        rows.any(|row| row.state.is_behind() && row.state != Standing::Rejected)
    }

    /// Whether a look-up failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.has(Standing::Failed)
    }

    fn has(&self, state: Standing) -> bool {
        self.references.iter().any(|row| row.state == state)
    }

    /// Formats the table for a pipe: one line for each reference, in the order of the names.
    #[must_use]
    pub fn text(&self) -> String {
        let rows: Vec<&Row> = self.references.iter().collect();
        let (heading, lines) = self.columns(&rows);
        let mut text = heading + &lines.concat();
        for row in &self.references {
            text.extend(row.remarks().iter().map(|one| format!("{one}\n")));
        }
        text + &self.ending()
    }

    /// Formats the table for a person at a terminal: grouped, problems first, each remark below its reference.
    #[must_use]
    #[cold]
    pub fn for_people(&self, has_colours: bool) -> String {
        let paint = |colour: &str, text: &str| match has_colours {
            true => format!("\x1b[{colour}m{text}\x1b[0m"),
            false => text.to_owned(),
        };
        let rows: Vec<&Row> = self.references.iter().collect();
        let (heading, lines) = self.columns(&rows);
        let mut text = paint("2", heading.trim_end()) + "\n";
        for (name, colour) in GROUPS {
            let of = rows
                .iter()
                .zip(&lines)
                .filter(|(row, _)| row.group() == name);
            for (number, (row, line)) in of.enumerate() {
                if number == 0 {
                    text.push_str(&format!("\n{}\n", paint("1", name)));
                }
                let state = format!("  {}", row.state.name());
                text.push_str(&line.replacen(&state, &paint(colour, &state), 1));
                for remark in row.remarks() {
                    text.push_str(&format!("  {}\n", paint(colour, &remark)));
                }
            }
        }
        text + "\n" + &self.ending()
    }

    /// The heading, and one line for each row.
    fn columns(&self, rows: &[&Row]) -> (String, Vec<String>) {
        let has_version = rows.iter().any(|row| !row.versions.is_empty());
        let last = if has_version { "VERSION" } else { "" };
        let mut cells =
            vec![["REFERENCE", "RUNNING", "REGISTRY", "STATE", last].map(str::to_owned)];
        cells.extend(rows.iter().map(|row| row.cells()));
        let width = |column: usize| cells.iter().map(|line| line[column].len()).max();
        let widths: Vec<usize> = (0..4).map(|column| width(column).unwrap_or(0)).collect();
        let line = |cells: &[String; 5]| {
            let mut text = String::new();
            for (cell, width) in cells.iter().zip(&widths) {
                text.push_str(&format!("{cell:width$}  "));
            }
            text.push_str(&cells[4]);
            format!("{}\n", text.trim_end())
        };
        let mut lines = cells.iter().map(line);
        (lines.next().unwrap_or_default(), lines.collect())
    }

    /// The containers that are left alone, the tasks of services, and the summary.
    fn ending(&self) -> String {
        let mut text = String::new();
        for one in &self.left_alone {
            text.push_str(&format!(
                "{} ({}): {}\n",
                one.container, one.image, one.reason
            ));
        }
        for one in &self.services {
            let Replicas {
                service,
                running,
                wanted,
            } = one;
            text.push_str(&format!("{service}: {running}/{wanted} tasks run\n"));
        }
        text + &format!("{}\n", self.summary)
    }
}

/// The groups of a table for people, in their order, and the colour of each (ECMA-48, SGR).
const GROUPS: [(&str, &str); 5] = [
    (PROBLEMS, "31"),
    ("outdated", "33"),
    ("waiting", "36"),
    ("up to date", "32"),
    ("not followed now", "0"),
];
const PROBLEMS: &str = "problems";

impl Row {
    fn group(&self) -> &'static str {
        match self.state {
            _ if self.error.is_some() => PROBLEMS,
            Standing::Failed | Standing::Rejected | Standing::Unsigned | Standing::BadlySigned => {
                PROBLEMS
            }
            Standing::Outdated | Standing::Refreshing => GROUPS[1].0,
            Standing::Waiting => GROUPS[2].0,
            Standing::Current => GROUPS[3].0,
            Standing::Local | Standing::Absent | Standing::Unknown => GROUPS[4].0,
        }
    }

    fn cells(&self) -> [String; 5] {
        let running: Vec<&str> = self.running_digests.iter().map(|d| short(d)).collect();
        let registry = self.registry_digest.as_deref().map_or("-", short);
        let running = if running.is_empty() {
            "-".to_owned()
        } else {
            running.join(",")
        };
        [
            self.reference.clone(),
            running,
            registry.to_owned(),
            self.state.name().to_owned(),
            self.versions.text().unwrap_or_default(),
        ]
    }

    /// The error, the updates that wait, and the newer version, each on a line.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        let name = &self.name;
        if let Some(error) = &self.error {
            remarks.push(format!("{name}: {error}"));
        }
        for one in &self.waiting {
            remarks.push(format!("{}: {}", one.name, one.in_words()));
        }
        if let Some(Newer { running, newest }) = &self.newer {
            remarks.push(format!("{name}: {newest} exists, you run {running}"));
        }
        remarks
    }
}

/// Writes the tag of the newer version, as the API does.
fn newest<S: Serializer>(newer: &Option<Newer>, serializer: S) -> Result<S::Ok, S::Error> {
    newer
        .as_ref()
        .map(|newer| &newer.newest)
        .serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provenance::Provenance;
    use serde_json::json;

    #[test]
    fn the_table_is_aligned_and_says_why() {
        let digest = |of: char| format!("sha256:{}", of.to_string().repeat(64));
        let row = |name: &str, state, error: Option<&str>| Row {
            reference: format!("reg.example/{name}:latest"),
            name: name.to_owned(),
            containers: vec!["c".to_owned()],
            running_digests: vec![digest('a')],
            registry_digest: error.is_none().then(|| digest('b')),
            behind: Vec::new(),
            waiting: Vec::new(),
            state,
            versions: Versions::default(),
            newer: None,
            error: error.map(str::to_owned),
        };
        let table = Table {
            references: vec![
                row("hermes", Standing::Outdated, None),
                row("a", Standing::Failed, Some("HEAD x: 500")),
            ],
            left_alone: vec![LeftAlone {
                container: "db".to_owned(),
                image: "postgres@sha256:…".to_owned(),
                reason: "pinned to a digest".to_owned(),
            }],
            services: vec![Replicas {
                service: "web".to_owned(),
                running: 2,
                wanted: 3,
            }],
            summary: "watching 2 containers, 2 images; 1 is behind: c".to_owned(),
        };
        let expected = "\
REFERENCE                  RUNNING              REGISTRY             STATE
reg.example/hermes:latest  sha256:aaaaaaaaaaaa  sha256:bbbbbbbbbbbb  outdated
reg.example/a:latest       sha256:aaaaaaaaaaaa  -                    failed
a: HEAD x: 500
db (postgres@sha256:…): pinned to a digest
web: 2/3 tasks run
watching 2 containers, 2 images; 1 is behind: c
";
        assert_eq!(table.text(), expected);
        let expected = "\
REFERENCE                  RUNNING              REGISTRY             STATE

problems
reg.example/a:latest       sha256:aaaaaaaaaaaa  -                    failed
  a: HEAD x: 500

outdated
reg.example/hermes:latest  sha256:aaaaaaaaaaaa  sha256:bbbbbbbbbbbb  outdated

db (postgres@sha256:…): pinned to a digest
web: 2/3 tasks run
watching 2 containers, 2 images; 1 is behind: c
";
        assert_eq!(table.for_people(false), expected);
        let coloured = table.for_people(true);
        assert!(coloured.contains("\x1b[1mproblems\x1b[0m\n"), "{coloured}");
        assert!(coloured.contains("\x1b[31m  failed\x1b[0m\n"), "{coloured}");
        let version = |version: &str| Provenance {
            version: Some(version.to_owned()),
            ..Provenance::default()
        };
        let mut with_versions = table.clone();
        let row = &mut with_versions.references[0];
        row.versions.running = version("1.3.9");
        row.versions.registry = version("1.4.0");
        row.newer = Some(Newer {
            running: "1.3.9".to_owned(),
            newest: "2.0.0".to_owned(),
        });
        let expected = "\
REFERENCE                  RUNNING              REGISTRY             STATE     VERSION
reg.example/hermes:latest  sha256:aaaaaaaaaaaa  sha256:bbbbbbbbbbbb  outdated  1.3.9 → 1.4.0
reg.example/a:latest       sha256:aaaaaaaaaaaa  -                    failed
hermes: 2.0.0 exists, you run 1.3.9
a: HEAD x: 500
db (postgres@sha256:…): pinned to a digest
web: 2/3 tasks run
watching 2 containers, 2 images; 1 is behind: c
";
        assert_eq!(with_versions.text(), expected);
        let json = serde_json::to_value(&with_versions.references[0]).expect("JSON");
        assert_eq!(
            json["version"],
            json!({"running": "1.3.9", "registry": "1.4.0"})
        );
        assert_eq!(json["newer"], "2.0.0");
        assert!(table.is_outdated() && table.has_failed());
    }
}
