//! `imagewatch check`: compares the containers with the registries, and shows which are behind. Never pulls.

use super::wiring::Wiring;
use crate::config::Config;
use crate::engine::Image;
use crate::error::Error;
use crate::journal::History;
use crate::journal::Replicas;
use crate::journal::Standing;
use crate::journal::Survey;
use crate::journal::Versions;
use crate::journal::Waiting;
use crate::reference::DOCKER_HUB;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::reference::Target;
use crate::reference::short;
use crate::sort::sort;
use crate::swap;
use crate::update::LocalImages;
use crate::update::Newer;
use crate::update::Refresher;
use crate::update::STOPPED;
use crate::update::Seen;
use crate::update::summary;
use crate::update::wishes;
use serde::Serialize;
use serde::Serializer;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

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

/// Looks up every watched reference.
///
/// # Errors
/// Why there is no answer, on one line.
#[cold]
pub fn check(config: &Config) -> Result<Table, String> {
    let history = Arc::new(History::open(config.state.as_deref())?);
    let wiring = Wiring::of(config, &history);
    let refresher = &wiring.refresher;
    swap::recover_once(&wiring.engine, refresher.acceptance, &wiring.shutdown)
        .map_err(|error| error.to_string())?;
    look(refresher)
}

/// Looks up every watched reference, for a server too.
#[cold]
pub(super) fn look(refresher: &Refresher) -> Result<Table, String> {
    let seen = refresher.selection.seen(&refresher.engine).map_err(say)?;
    let targets = refresher.watched(&seen);
    let references: Vec<Reference> = targets.iter().map(|t| t.reference.clone()).collect();
    let mut found = HashMap::new();
    refresher
        .registry
        .digests(&references, |reference, outcome| {
            found.insert(reference.clone(), outcome);
        });
    let images = LocalImages::list(&refresher.engine);
    let mut newer = refresher.newer_now(&wishes(&seen));
    let row = |target: &Target| {
        let unknown = || Err("not looked up".to_owned());
        let outcome = found
            .remove(&target.reference)
            .map_or_else(unknown, |outcome| outcome.map_err(say));
        let row = row(refresher, target, outcome, &seen, &images).map_err(say)?;
        let mut found = newer.iter();
        let place = found.position(|(reference, _)| *reference == target.reference);
        Ok(Row {
            newer: place.map(|place| newer.swap_remove(place).1),
            ..row
        })
    };
    let references: Vec<Row> = targets.iter().map(row).collect::<Result<_, String>>()?;
    let left_alone = seen.iter().filter_map(|one| {
        let stopped = one.stays_stopped.then(|| STOPPED.to_owned());
        Some(LeftAlone {
            container: one.name.clone(),
            image: one.image_name.clone(),
            reason: one.made_from.as_ref().err().cloned().or(stopped)?,
        })
    });
    Ok(Table {
        summary: summarise(&seen, &references),
        left_alone: left_alone.collect(),
        services: refresher.selection.replicas(),
        references,
    })
}

/// Makes the summary of the table.
fn summarise(seen: &[Seen], rows: &[Row]) -> String {
    let (mut behind, mut unknown) = (Vec::new(), Vec::new());
    for row in rows {
        match row.state {
            Standing::Failed => unknown.push(row.name.clone()),
            standing if standing.is_behind() && row.behind.is_empty() => {
                behind.push(row.name.clone())
            }
            _ => behind.extend(row.behind.iter().cloned()),
        }
    }
    let containers = seen.iter().filter(|one| one.is_watched()).count();
    summary(containers, rows.len(), &behind, &unknown)
}

#[cold]
fn row(
    refresher: &Refresher,
    target: &Target,
    outcome: Result<Digest, String>,
    seen: &[Seen],
    images: &LocalImages,
) -> crate::error::Result<Row> {
    let reference = &target.reference;
    let is_of_it = |one: &&Seen| one.made_from.as_ref() == Ok(reference);
    let of: Vec<&Seen> = seen.iter().filter(is_of_it).collect();
    let here = images.named(reference, &refresher.engine)?;
    let running_digests = running(refresher, reference, &of, images, here.as_ref())?;
    let (mut behind, mut waiting, mut versions) = (Vec::new(), Vec::new(), Versions::default());
    let mut refused = None;
    let state = match &outcome {
        Err(_) if refresher.is_local(reference).unwrap_or(false) => Standing::Local,
        Err(_) => Standing::Failed,
        Ok(digest) => {
            let survey = refresher.survey_of(reference, digest, seen, here)?;
            waiting = refresher.waiting(target, digest, seen, &survey);
            versions = with_version(refresher, reference, digest, &survey);
            let vet = || refresher.vet(reference, digest, seen).err();
            refused = survey.is_due_from_registry().then(vet).flatten();
            behind.extend(survey.behind.iter().map(|one| one.name.clone()));
            match &refused {
                Some(error) => Standing::not_pulled(error),
                None if survey.waits(&waiting) => Standing::Waiting,
                None => survey.standing,
            }
        }
    };
    let (registry_digest, error) = match outcome {
        Ok(digest) => (Some(digest.to_string()), refused.map(say)),
        Err(_) if state == Standing::Local => (None, None),
        Err(reason) => (None, Some(reason)),
    };
    Ok(Row {
        reference: reference.to_string(),
        name: target.name.clone(),
        containers: of.iter().map(|one| one.name.clone()).collect(),
        running_digests,
        registry_digest,
        behind,
        waiting,
        state,
        versions,
        newer: None,
        error,
    })
}

/// The digests that the containers run. Without containers, the digest of the local image.
fn running(
    refresher: &Refresher,
    reference: &Reference,
    of: &[&Seen],
    images: &LocalImages,
    here: Option<&Image>,
) -> crate::error::Result<Vec<String>> {
    let mut digests = HashSet::new();
    let ids = of.iter().map(|one| one.image_id.as_str());
    // A container can go on running after its image was removed.
    for id in ids.collect::<HashSet<_>>() {
        let image = images.with_id(id, &refresher.engine)?;
        digests.insert(image.map_or(id.to_owned(), |image| digest_of(&image, reference)));
    }
    if let (true, Some(image)) = (of.is_empty(), here) {
        digests.insert(digest_of(image, reference));
    }
    Ok(in_order(digests))
}

fn say(error: Error) -> String {
    error.to_string()
}

fn in_order(texts: HashSet<String>) -> Vec<String> {
    let mut texts: Vec<String> = texts.into_iter().collect();
    sort(&mut texts, |one, other| one < other);
    texts
}

/// Returns the versions, and asks for that of the registry's image if it is not known. Docker Hub is not asked, because
/// it counts that as a pull, and a check must cost no pull.
fn with_version(
    refresher: &Refresher,
    reference: &Reference,
    digest: &Digest,
    survey: &Survey,
) -> Versions {
    let mut versions = survey.versions.clone();
    let is_unknown = survey.standing.is_behind() && versions.digest.is_none();
    if is_unknown && reference.registry() != DOCKER_HUB {
        versions.registry = refresher.release(reference, digest).unwrap_or_default();
    }
    versions
}

/// Writes the tag of the newer version, as the API does.
fn newest<S: Serializer>(newer: &Option<Newer>, serializer: S) -> Result<S::Ok, S::Error> {
    newer
        .as_ref()
        .map(|newer| &newer.newest)
        .serialize(serializer)
}

/// Returns a digest that the image was pulled as, or else its id.
fn digest_of(image: &Image, reference: &Reference) -> String {
    let pulled = image.digests_of(reference).next();
    pulled.unwrap_or(image.id()).to_owned()
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

    /// Formats the table for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let has_version = self.references.iter().any(|row| !row.versions.is_empty());
        let last = if has_version { "VERSION" } else { "" };
        let mut lines =
            vec![["REFERENCE", "RUNNING", "REGISTRY", "STATE", last].map(str::to_owned)];
        for row in &self.references {
            let running: Vec<&str> = row.running_digests.iter().map(|d| short(d)).collect();
            let registry = row.registry_digest.as_deref().map_or("-", short);
            let running = if running.is_empty() {
                "-".to_owned()
            } else {
                running.join(",")
            };
            lines.push([
                row.reference.clone(),
                running,
                registry.to_owned(),
                row.state.name().to_owned(),
                row.versions.text().unwrap_or_default(),
            ]);
        }
        let mut text = String::new();
        let width = |column: usize| lines.iter().map(|line| line[column].len()).max();
        let widths: Vec<usize> = (0..4).map(|column| width(column).unwrap_or(0)).collect();
        for line in &lines {
            let start = text.len();
            for (cell, width) in line.iter().zip(&widths) {
                text.push_str(&format!("{cell:width$}  "));
            }
            text.push_str(&line[4]);
            text.truncate(start + text[start..].trim_end().len());
            text.push('\n');
        }
        self.add_notes(&mut text);
        text.push_str(&format!("{}\n", self.summary));
        text
    }

    /// Adds a line for each thing that is no column.
    fn add_notes(&self, text: &mut String) {
        for row in &self.references {
            if let Some(error) = &row.error {
                text.push_str(&format!("{}: {error}\n", row.name));
            }
            for one in &row.waiting {
                text.push_str(&format!("{}: {}\n", one.name, one.in_words()));
            }
            if let Some(Newer { running, newest }) = &row.newer {
                text.push_str(&format!(
                    "{}: {newest} exists, you run {running}\n",
                    row.name
                ));
            }
        }
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
    }
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
            services: vec![Replicas {
                service: "web".to_owned(),
                running: 2,
                wanted: 3,
            }],
            left_alone: vec![LeftAlone {
                container: "db".to_owned(),
                image: "postgres@sha256:…".to_owned(),
                reason: "pinned to a digest".to_owned(),
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
