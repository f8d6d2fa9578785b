//! `imagewatch check`: what runs, what the registries have, and what is behind. Never pulls.

use crate::config::Config;
use crate::engine::Image;
use crate::kit::Kit;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::reference::short;
use crate::refresh::Refresher;
use crate::refresh::Target;
use crate::select::Seen;
use crate::swap;
use serde::Serialize;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;

/// How things stand with one reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// What runs, or was pulled, is the newest.
    Current,
    /// The registry has something newer.
    Outdated,
    /// Neither a container nor an image of it is here.
    Absent,
    /// The image was built here, and no registry has it.
    Local,
    /// The registry could not tell.
    Failed,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Outdated => "outdated",
            Self::Absent => "absent",
            Self::Local => "local",
            Self::Failed => "failed",
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The reference.
    pub reference: String,
    /// The runtime it is, or the reference again.
    pub name: String,
    /// The containers made from it.
    pub containers: Vec<String>,
    /// The digests they run; of several, some are behind. Without containers, that of the image here.
    pub running_digests: Vec<String>,
    /// The digest its tag points at now.
    pub registry_digest: Option<String>,
    /// How things stand.
    pub state: State,
    /// Why the registry could not tell, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A container without a tag to follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftAlone {
    /// Its name.
    pub container: String,
    /// What it was made from.
    pub image: String,
    /// Why there is no tag to follow.
    pub reason: &'static str,
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// By reference.
    pub references: Vec<Row>,
    /// Selected, and yet not followed.
    pub left_alone: Vec<LeftAlone>,
}

/// Looks at everything that is watched.
///
/// # Errors
/// Why nothing can be said, on one line.
pub fn check(config: &Config) -> Result<Table, String> {
    let kit = Kit::of(config, Arc::default());
    let refresher = &kit.refresher;
    let say = |error: crate::error::Error| error.to_string();
    swap::recover_once(&kit.engine, refresher.acceptance, &kit.gate).map_err(say)?;
    let seen = refresher.selection.seen(&kit.engine).map_err(say)?;
    let targets = refresher.watched(&seen);
    let references: Vec<Reference> = targets.iter().map(|t| t.reference.clone()).collect();
    let mut found = HashMap::new();
    kit.registry.digests(&references, |reference, outcome| {
        found.insert(reference.clone(), outcome);
    });
    let row = |target: &Target| {
        let unknown = || Err("not looked up".to_owned());
        let outcome = found
            .remove(&target.reference)
            .map_or_else(unknown, |outcome| outcome.map_err(say));
        row(refresher, target, outcome, &seen).map_err(say)
    };
    let rows: Result<Vec<Row>, String> = targets.iter().map(row).collect();
    let left_alone = seen.iter().filter_map(|one| {
        Some(LeftAlone {
            container: one.name.clone(),
            image: one.image_name.clone(),
            reason: one.made_from.as_ref().err()?,
        })
    });
    Ok(Table {
        references: rows?,
        left_alone: left_alone.collect(),
    })
}

fn row(
    refresher: &Refresher,
    target: &Target,
    outcome: Result<Digest, String>,
    seen: &[Seen],
) -> crate::error::Result<Row> {
    let reference = &target.reference;
    let of: Vec<&Seen> = seen
        .iter()
        .filter(|one| one.made_from.as_ref() == Ok(reference))
        .collect();
    let mut digests = BTreeSet::new();
    let ids: BTreeSet<&str> = of.iter().map(|one| one.image_id.as_str()).collect();
    for id in &ids {
        // It may run on though its image was removed.
        let image = refresher.engine.find_image(id)?;
        digests.insert(image.map_or((*id).to_owned(), |image| digest_of(&image, reference)));
    }
    let here = refresher.engine.find_image(&reference.to_string())?;
    if let (true, Some(image)) = (of.is_empty(), &here) {
        digests.insert(digest_of(image, reference));
    }
    let state = match &outcome {
        Err(_) if here.as_ref().is_some_and(Image::is_local) => State::Local,
        Err(_) => State::Failed,
        Ok(_) if digests.is_empty() => State::Absent,
        Ok(digest) if refresher.is_behind(reference, digest, seen)? => State::Outdated,
        Ok(_) => State::Current,
    };
    let (registry_digest, error) = match outcome {
        Ok(digest) => (Some(digest.to_string()), None),
        Err(_) if state == State::Local => (None, None),
        Err(reason) => (None, Some(reason)),
    };
    Ok(Row {
        reference: reference.to_string(),
        name: target.name.clone(),
        containers: of.iter().map(|one| one.name.clone()).collect(),
        running_digests: digests.into_iter().collect(),
        registry_digest,
        state,
        error,
    })
}

/// What the image was pulled as, or its id.
fn digest_of(image: &Image, reference: &Reference) -> String {
    let pulled = image.digests_of(reference).next();
    pulled.unwrap_or(image.id()).to_owned()
}

impl Table {
    /// Whether anything is outdated.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.has(State::Outdated)
    }

    /// Whether a look-up failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.has(State::Failed)
    }

    fn has(&self, state: State) -> bool {
        self.references.iter().any(|row| row.state == state)
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = vec![["REFERENCE", "RUNNING", "REGISTRY", "STATE"].map(str::to_owned)];
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
            ]);
        }
        let mut text = String::new();
        let width = |column: usize| lines.iter().map(|line| line[column].len()).max();
        let widths: Vec<usize> = (0..3).map(|column| width(column).unwrap_or(0)).collect();
        for line in &lines {
            for (cell, width) in line.iter().zip(&widths) {
                text.push_str(&format!("{cell:width$}  "));
            }
            text.push_str(&format!("{}\n", line[3]));
        }
        for row in &self.references {
            if let Some(error) = &row.error {
                text.push_str(&format!("{}: {error}\n", row.name));
            }
        }
        for one in &self.left_alone {
            text.push_str(&format!(
                "{} ({}): {}\n",
                one.container, one.image, one.reason
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned_and_says_why() {
        let digest = |of: char| format!("sha256:{}", of.to_string().repeat(64));
        let row = |name: &str, state, error: Option<&str>| Row {
            reference: format!("reg.example/{name}:latest"),
            name: name.to_owned(),
            containers: vec!["c".to_owned()],
            running_digests: vec![digest('a')],
            registry_digest: error.is_none().then(|| digest('b')),
            state,
            error: error.map(str::to_owned),
        };
        let table = Table {
            references: vec![
                row("hermes", State::Outdated, None),
                row("a", State::Failed, Some("HEAD x: 500")),
            ],
            left_alone: vec![LeftAlone {
                container: "db".to_owned(),
                image: "postgres@sha256:…".to_owned(),
                reason: "pinned to a digest",
            }],
        };
        let expected = "\
REFERENCE                  RUNNING              REGISTRY             STATE
reg.example/hermes:latest  sha256:aaaaaaaaaaaa  sha256:bbbbbbbbbbbb  outdated
reg.example/a:latest       sha256:aaaaaaaaaaaa  -                    failed
a: HEAD x: 500
db (postgres@sha256:…): pinned to a digest
";
        assert_eq!(table.text(), expected);
        assert!(table.is_outdated() && table.has_failed());
    }
}
