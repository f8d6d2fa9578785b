//! Which containers are managed, and how much they consent to.

use crate::config::Runtime;
use crate::config::Select;
use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::Summary;
use crate::error::Result;
use crate::reference::Reference;
use crate::swap::is_transient_name;
use crate::swap::name_of_aside;
use std::collections::BTreeMap;

const ENABLE: &str = "imagewatch.enable";
const MODE: &str = "imagewatch.mode";
const WATCHTOWER_ENABLE: &str = "com.centurylinklabs.watchtower.enable";
const WATCHTOWER_MONITOR_ONLY: &str = "com.centurylinklabs.watchtower.monitor-only";

/// How much is done to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// It is kept on the newest image.
    Update,
    /// Only said when it is behind.
    Notify,
}

/// A container that is ours to look after.
#[derive(Debug, Clone)]
pub struct Managed {
    /// The container.
    pub container: Container,
    /// The parsed reference it was made from.
    pub reference: Reference,
    /// What its owner lets us do.
    pub consent: Consent,
}

/// A selected container, as far as the list tells.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// What it was made from, as its owner wrote it.
    pub image_name: String,
    /// The image it runs.
    pub image_id: String,
    /// What it is doing, in the Engine's word.
    pub state: String,
    /// What its owner lets us do.
    pub consent: Consent,
    /// The tag it follows, or why there is none.
    pub made_from: std::result::Result<Reference, &'static str>,
}

/// The owner's choice of containers.
#[derive(Debug, Clone)]
pub struct Selection {
    select: Select,
    prefix: String,
    runtimes: Vec<Reference>,
}

impl Selection {
    /// `prefix` and `runtimes` decide what a workspace is.
    #[must_use]
    pub fn new(select: Select, prefix: &str, runtimes: &[Runtime]) -> Self {
        Self {
            select,
            prefix: prefix.to_owned(),
            runtimes: runtimes.iter().map(|r| r.reference.clone()).collect(),
        }
    }

    /// Every container that is selected, at the price of one list: only one whose image is listed by
    /// its id has to be asked what it was made from.
    ///
    /// # Errors
    /// When the list, or a container on it, cannot be had.
    pub fn seen(&self, engine: &Engine) -> Result<Vec<Seen>> {
        self.seen_among(&engine.containers()?, engine)
    }

    /// The same, of a list that is at hand already.
    ///
    /// # Errors
    /// When a container on it cannot be had.
    pub fn seen_among(&self, list: &[Summary], engine: &Engine) -> Result<Vec<Seen>> {
        let mut seen = Vec::new();
        for summary in list.iter().filter(|summary| self.may_be_managed(summary)) {
            let mut name = summary.image_name().to_owned();
            if is_id(&name, summary.image_id()) {
                match engine.find(summary.id())? {
                    Some(container) => name = container.image_name().to_owned(),
                    None => continue,
                }
            }
            let made_from = made_from(&name, summary.image_id());
            let consent = match &made_from {
                Ok(reference) => self.consent(summary, reference),
                // A workspace is one by its image, so this is none.
                Err(_) => self.reaches(summary).then_some(Consent::Update),
            };
            if let Some(consent) = consent {
                seen.push(Seen {
                    name: summary.name().to_owned(),
                    image_name: name,
                    image_id: summary.image_id().to_owned(),
                    state: summary.state().to_owned(),
                    consent,
                    made_from,
                });
            }
        }
        seen.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(seen)
    }

    /// These containers, by name. That somebody named one is consent enough, unless its owner opted out.
    ///
    /// # Errors
    /// When the list, or a container on it, cannot be had.
    pub fn named(&self, names: &[String], engine: &Engine) -> Result<Vec<Seen>> {
        let mut seen = Vec::new();
        for summary in engine.containers()? {
            let name = summary.name();
            if !names.iter().any(|wanted| wanted == name) || is_transient_name(name) {
                continue;
            }
            let Some(container) = engine.find(summary.id())? else {
                continue;
            };
            let opted_out = is_enabled(&summary) == Some(false);
            let made_from = if opted_out {
                Err("its owner opted out of updates by label")
            } else {
                made_from(container.image_name(), summary.image_id())
            };
            seen.push(Seen {
                name: name.to_owned(),
                image_name: container.image_name().to_owned(),
                image_id: summary.image_id().to_owned(),
                state: summary.state().to_owned(),
                consent: Consent::Update,
                made_from,
            });
        }
        Ok(seen)
    }

    /// The same, of a list that is at hand already, as far as there is a tag to follow.
    ///
    /// # Errors
    /// When a container on it cannot be had.
    pub fn named_among(
        &self,
        list: &[Summary],
        names: &[String],
        engine: &Engine,
    ) -> Result<Vec<Managed>> {
        let mut managed = Vec::new();
        for summary in list {
            let is_wanted = names.iter().any(|wanted| wanted == summary.name());
            if !is_wanted || is_enabled(summary) == Some(false) {
                continue;
            }
            let Some(container) = engine.find(summary.id())? else {
                continue;
            };
            if let Ok(reference) = made_from(container.image_name(), container.image_id()) {
                managed.push(Managed {
                    container,
                    reference,
                    consent: Consent::Update,
                });
            }
        }
        Ok(managed)
    }

    /// Every managed container of these images, of a list that is at hand. One that vanishes while we
    /// look is none.
    ///
    /// # Errors
    /// When a container on it cannot be had.
    pub fn managed_among(
        &self,
        list: &[Summary],
        of: &[&Reference],
        engine: &Engine,
    ) -> Result<Vec<Managed>> {
        let mut managed = Vec::new();
        for summary in list.iter().filter(|summary| self.may_be_managed(summary)) {
            let listed = summary.image_name();
            // What the list says is enough to rule one out, and nothing else.
            if !is_id(listed, summary.image_id())
                && made_from(listed, summary.image_id()).is_ok_and(|listed| !of.contains(&&listed))
            {
                continue;
            }
            let Some(container) = engine.find(summary.id())? else {
                continue;
            };
            let Ok(reference) = made_from(container.image_name(), container.image_id()) else {
                continue;
            };
            if !of.contains(&&reference) {
                continue;
            }
            if let Some(consent) = self.consent(summary, &reference) {
                let before = |other: &Managed| other.container.name() < container.name();
                let place = managed.partition_point(before);
                let one = Managed {
                    container,
                    reference,
                    consent,
                };
                managed.insert(place, one);
            }
        }
        Ok(managed)
    }

    /// What the list alone can tell; it spares asking for each of hundreds of containers.
    #[must_use]
    pub fn may_be_managed(&self, summary: &Summary) -> bool {
        let name = summary.name();
        let workspace = self.select.workspaces && name.starts_with(&self.prefix);
        !is_transient_name(name)
            && is_enabled(summary) != Some(false)
            && (workspace || self.reaches(summary))
    }

    /// Whether it is selected whatever its image.
    fn reaches(&self, summary: &Summary) -> bool {
        self.select.all || (self.select.labelled && is_enabled(summary) == Some(true))
    }

    fn consent(&self, summary: &Summary, reference: &Reference) -> Option<Consent> {
        let enabled = is_enabled(summary);
        let workspace = self.select.workspaces
            && summary.name().starts_with(&self.prefix)
            && self.runtimes.contains(reference);
        if enabled == Some(false) || !(workspace || self.reaches(summary)) {
            return None;
        }
        Some(if is_notify_only(summary) {
            Consent::Notify
        } else {
            Consent::Update
        })
    }
}

/// The containers of swaps that are half done, by the names they are to have, and what they were made from.
///
/// # Errors
/// When one of them cannot be had.
pub fn in_mid_swap(list: &[Summary], engine: &Engine) -> Result<BTreeMap<String, Reference>> {
    let mut found = BTreeMap::new();
    for summary in list {
        let Some(name) = name_of_aside(summary.name()) else {
            continue;
        };
        if let Some(container) = engine.find(summary.id())?
            && let Ok(reference) = made_from(container.image_name(), container.image_id())
        {
            found.insert(name.to_owned(), reference);
        }
    }
    Ok(found)
}

/// The tag that a container follows.
///
/// # Errors
/// Why there is none.
fn made_from(name: &str, image_id: &str) -> std::result::Result<Reference, &'static str> {
    if is_id(name, image_id) {
        return Err("made from an image id, so there is no tag to follow");
    }
    let parsed = name.parse::<Reference>();
    let reference = parsed.map_err(|_| "made from something that is no reference")?;
    if reference.digest().is_some() {
        return Err("pinned to a digest");
    }
    Ok(reference)
}

/// Whether an image was named by its id, or by the beginning of it.
fn is_id(name: &str, image_id: &str) -> bool {
    let (_, hex) = image_id.split_once(':').unwrap_or(("", image_id));
    name.starts_with("sha256:") || (name.len() >= 6 && hex.starts_with(name))
}

/// Ours if it is there, else Watchtower's.
fn is_enabled(summary: &Summary) -> Option<bool> {
    let theirs = || summary.label(WATCHTOWER_ENABLE);
    let value = summary.label(ENABLE).or_else(theirs)?;
    match value.trim().to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn is_notify_only(summary: &Summary) -> bool {
    match summary.label(MODE) {
        Some(mode) => mode.trim().eq_ignore_ascii_case("notify"),
        None => summary
            .label(WATCHTOWER_MONITOR_ONLY)
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("true")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use serde_json::json;

    fn summary(name: &str, more: Value) -> Summary {
        let mut json = json!({"Id": format!("id-of-{name}"), "Names": [format!("/{name}")]});
        for (key, value) in more.as_object().expect("an object") {
            json[key] = value.clone();
        }
        serde_json::from_value(json).expect("an entry")
    }

    const ALL: Select = Select {
        workspaces: false,
        labelled: false,
        all: true,
    };
    const DEFAULT: Select = Select {
        workspaces: true,
        labelled: true,
        all: false,
    };

    fn consent(
        select: Select,
        name: &str,
        image: &str,
        labels: &[(&str, &str)],
    ) -> Option<Consent> {
        let runtime = Runtime {
            name: "hermes".into(),
            reference: "ghcr.io/acme/hermes".parse().expect("valid"),
        };
        let selection = Selection::new(select, "ws-", &[runtime]);
        let labels: serde_json::Map<String, Value> = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect();
        let summary = summary(name, json!({ "Labels": labels }));
        let reference = image.parse().expect("valid");
        let sure = selection.consent(&summary, &reference);
        assert!(
            sure.is_none() || selection.may_be_managed(&summary),
            "the quick look must not lose {name}"
        );
        sure
    }

    #[test]
    fn a_workspace_has_the_prefix_and_a_runtimes_image() {
        let hermes = "ghcr.io/acme/hermes:latest";
        for (name, image, expected) in [
            ("ws-1", hermes, Some(Consent::Update)),
            ("ws-1", "ghcr.io/acme/hermes", Some(Consent::Update)),
            ("ws-1", "ghcr.io/acme/hermes-x:latest", None),
            ("ws-1", "ghcr.io/acme/hermes:v2", None),
            ("ws-1", "quay.io/acme/hermes:latest", None),
            ("my-ws-1", hermes, None),
            ("WS-1", hermes, None),
        ] {
            assert_eq!(
                consent(DEFAULT, name, image, &[]),
                expected,
                "{name} {image}"
            );
        }
    }

    #[test]
    fn labels_decide_and_ours_win_over_watchtowers() {
        let update = Some(Consent::Update);
        let notify = Some(Consent::Notify);
        let enable = (ENABLE, "true");
        for (select, labels, expected) in [
            (DEFAULT, &[enable][..], update),
            (DEFAULT, &[(ENABLE, "yes")], None),
            (DEFAULT, &[(WATCHTOWER_ENABLE, "true")], update),
            (
                DEFAULT,
                &[(WATCHTOWER_ENABLE, "true"), (ENABLE, "false")],
                None,
            ),
            (DEFAULT, &[(WATCHTOWER_ENABLE, "false"), enable], update),
            (DEFAULT, &[enable, (MODE, "notify")], notify),
            (
                DEFAULT,
                &[enable, (WATCHTOWER_MONITOR_ONLY, "true")],
                notify,
            ),
            (
                DEFAULT,
                &[enable, (WATCHTOWER_MONITOR_ONLY, "true"), (MODE, "update")],
                update,
            ),
            (ALL, &[], update),
            (ALL, &[(ENABLE, "false")], None),
            (ALL, &[(WATCHTOWER_ENABLE, "false")], None),
        ] {
            assert_eq!(
                consent(select, "web", "nginx", labels),
                expected,
                "{labels:?}"
            );
        }
        let opted_out = consent(DEFAULT, "ws-1", "ghcr.io/acme/hermes", &[(ENABLE, "false")]);
        assert_eq!(opted_out, None);
    }

    #[test]
    fn an_id_is_no_reference_however_short() {
        let id = "sha256:abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789";
        for (name, expected) in [
            ("nginx", true),
            ("cafe42", true),
            ("ghcr.io/acme/abcdef012345", true),
            ("abcdef012345", false),
            ("abcdef", false),
            (id, false),
            (&id[7..], false),
            (
                "nginx@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                false,
            ),
        ] {
            assert_eq!(made_from(name, id).is_ok(), expected, "{name}");
        }
    }
}
