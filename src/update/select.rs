//! The choice of managed containers, by name, image and label.

use super::choose_services::SERVICE;
use super::earlier::PREVIOUS;
use super::managed::blocking_label;
use crate::engine::Engine;
use crate::engine::Inspector;
use crate::engine::Service;
use crate::engine::Summary;
use crate::error::Result;
use crate::journal::Replicas;
pub use crate::labels::Consent;
use crate::labels::Enabled;
use crate::labels::FOLLOWED;
use crate::labels::Wishes;
use crate::policy::OwnRules;
use crate::reference::Reference;
use crate::reference::Target;
use crate::sort::sort;
use crate::swap::half_done;
use crate::swap::is_transient_name;
use crate::version::Level;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// The reason to leave a container alone that its owner opted out.
pub const OPTED_OUT: &str = "its owner opted out of updates by label";
/// The reason to leave a stopped container alone.
pub const STOPPED: &str =
    "it is stopped (IMAGEWATCH_INCLUDE_STOPPED=true recreates such containers too)";

/// A managed container, as the Engine lists it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The container's id.
    pub id: String,
    /// The container's name, without the Engine's slash.
    pub name: String,
    /// The image name that the container was created with.
    pub image_name: String,
    /// The id of the image that the container runs.
    pub image_id: String,
    /// The state in the Engine's word, for example `running`.
    pub state: String,
    /// The Compose project or the stack that the container belongs to.
    pub group: Option<String>,
    /// Whether the container is updated, or its owner only notified.
    pub consent: Consent,
    /// The rules that its labels hold.
    pub rules: OwnRules,
    /// Which newer version tags its owner wants to hear of.
    pub newer: Option<Level>,
    /// Whether the container is stopped, and left alone for that reason.
    pub stays_stopped: bool,
    /// Whether the list names the image by id. On Docker, that means that the tag has moved to another image.
    pub has_lost_tag: bool,
    /// The tag that the container follows, or the reason to leave the container alone.
    pub made_from: std::result::Result<Reference, String>,
    /// The Swarm service, if this is one. Then `image_id` is the digest in its spec, or empty.
    pub service: Option<Box<Service>>,
}

impl Seen {
    /// Whether the container follows a tag now.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.made_from.is_ok() && !self.stays_stopped
    }
}

/// The value of `IMAGEWATCH_SELECT`: which containers are managed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Select {
    /// Containers with the name prefix and a runtime's image.
    pub workspaces: bool,
    /// Containers with the label `imagewatch.enable=true`.
    pub labelled: bool,
    /// Every container that is not opted out.
    pub all: bool,
}

/// The owner's choice of containers.
#[derive(Debug, Clone)]
pub struct Selection {
    pub(super) select: Select,
    pub(super) prefix: String,
    pub(super) runtimes: Vec<Reference>,
    pub(super) with_stopped: bool,
    /// The consent of a container whose labels give none.
    pub(super) mode: Consent,
    /// Whether a signature can be verified.
    pub(super) has_keys: bool,
    /// The warnings about labels, by container name. Each warning is logged once, not in every round.
    warned: Arc<Mutex<HashMap<String, Vec<String>>>>,
    /// The image names that containers were created with, by container id. The list does not always show them.
    image_names: Arc<Mutex<HashMap<String, String>>>,
    /// The tasks of the managed services, as the last look showed them.
    pub(super) replicas: Arc<Mutex<Vec<Replicas>>>,
}

impl Selection {
    /// Makes a selection. A workspace is a container with this name prefix and the image of one of `runtimes`.
    #[must_use]
    pub fn new(select: Select, prefix: &str, runtimes: &[Target]) -> Self {
        Self {
            select,
            prefix: prefix.to_owned(),
            runtimes: runtimes.iter().map(|r| r.reference.clone()).collect(),
            with_stopped: false,
            mode: Consent::Update,
            has_keys: false,
            warned: Arc::default(),
            image_names: Arc::default(),
            replicas: Arc::default(),
        }
    }

    /// The same, with stopped containers updated or left alone.
    #[must_use]
    pub fn with_stopped(self, with_stopped: bool) -> Self {
        Self {
            with_stopped,
            ..self
        }
    }

    /// The same, with another consent for containers whose labels give none.
    #[must_use]
    pub fn with_mode(self, mode: Consent) -> Self {
        Self { mode, ..self }
    }

    /// Returns every managed container. One list is enough, except for containers whose image is listed by id:
    /// these are inspected.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub fn seen(&self, engine: &Engine) -> Result<Vec<Seen>> {
        self.seen_among(&engine.containers()?, engine)
    }

    /// The same from a list that the caller has already.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub fn seen_among(&self, list: &[Summary], engine: &Engine) -> Result<Vec<Seen>> {
        let mut seen = Vec::new();
        let mut inspector = Inspector::of(engine);
        let half_done = half_done(list);
        for summary in by_name(list) {
            let wishes = Wishes::of(&mut summary.labels());
            if !self.may_manage(summary, &wishes) {
                continue;
            }
            let mut name = summary.image_name().to_owned();
            let has_lost_tag = is_hidden(summary);
            let mut unknown = None;
            if !has_lost_tag {
                self.remember_image_name(summary, &name);
            } else if let Some(known) = self.known_image_name(summary) {
                name = known;
            } else {
                match inspector.find(summary.id())? {
                    Ok(Some(container)) => {
                        container.image_name().clone_into(&mut name);
                        self.remember_image_name(summary, &name);
                    }
                    Ok(None) => continue,
                    Err(error) => unknown = Some(format!("it cannot be looked at: {error}")),
                }
            }
            let made_from = match unknown {
                Some(reason) => Err(reason),
                None => made_from(&name, summary.image_id()),
            };
            let is_selected = match &made_from {
                Ok(reference) => self.selects(summary, &wishes, reference),
                // A workspace needs a runtime's image, so this container is no workspace.
                Err(_) => self.selects_any_image(&wishes),
            };
            if !is_selected {
                continue;
            }
            self.warn_of_labels(summary.name(), &wishes);
            let left_alone = wishes.unclear.clone().or_else(|| self.lacks_key(&wishes));
            seen.push(Seen {
                id: summary.id().to_owned(),
                name: summary.name().to_owned(),
                image_name: name,
                image_id: summary.image_id().to_owned(),
                state: summary.state().to_owned(),
                group: summary.group().map(str::to_owned),
                consent: wishes.consent.unwrap_or(self.mode),
                rules: OwnRules::of(&wishes),
                newer: wishes.newer,
                stays_stopped: self.stays_stopped(summary.id(), summary.is_stopped(), &half_done),
                has_lost_tag,
                made_from: left_alone.map_or(made_from, Err),
                service: None,
            });
        }
        self.forget_others(list);
        seen.extend(self.choose_services(None, engine)?);
        Ok(seen)
    }

    /// Returns the containers of a list that have these names. A named container counts as managed, unless its owner opted out.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub fn named(&self, names: &[String], list: &[Summary], engine: &Engine) -> Result<Vec<Seen>> {
        let mut seen = Vec::new();
        for summary in list {
            let name = summary.name();
            if !names.iter().any(|wanted| wanted == name) || is_transient_name(name) {
                continue;
            }
            let Some(container) = engine.find(summary.id())? else {
                continue;
            };
            let wishes = Wishes::of(&mut summary.labels());
            self.warn_of_labels(name, &wishes);
            let reason = blocking_label(&wishes).map(str::to_owned);
            let made_from = match reason.or_else(|| self.lacks_key(&wishes)) {
                Some(reason) => Err(reason),
                None => made_from(container.image_name(), summary.image_id()),
            };
            seen.push(Seen {
                id: summary.id().to_owned(),
                name: name.to_owned(),
                image_name: container.image_name().to_owned(),
                image_id: summary.image_id().to_owned(),
                state: summary.state().to_owned(),
                group: summary.group().map(str::to_owned),
                consent: Consent::Update,
                rules: OwnRules::of(&wishes),
                newer: wishes.newer,
                stays_stopped: false,
                has_lost_tag: false,
                made_from,
                service: None,
            });
        }
        if seen.len() < names.len() {
            seen.extend(self.choose_services(Some(names), engine)?);
        }
        Ok(seen)
    }

    /// Whether a stopped container is left alone. A container that a half-done swap left down is not.
    pub(super) fn stays_stopped(
        &self,
        id: &str,
        is_stopped: bool,
        half_done: &HashSet<String>,
    ) -> bool {
        !self.with_stopped && is_stopped && !half_done.contains(id)
    }

    /// Remembers the image names of all managed containers. Once a tag moves, the list shows only image ids.
    pub(super) fn remember_tags(&self, list: &[Summary]) {
        for summary in list {
            if self.may_be_managed(summary) && !is_hidden(summary) {
                self.remember_image_name(summary, summary.image_name());
            }
        }
    }

    fn remember_image_name(&self, summary: &Summary, image_name: &str) {
        let mut image_names = self.image_names();
        let known = image_names.get(summary.id());
        if known.is_none_or(|known| known != image_name) {
            image_names.insert(summary.id().to_owned(), image_name.to_owned());
        }
    }

    /// Returns the image name of a container, if an earlier list showed it.
    pub(super) fn known_image_name(&self, summary: &Summary) -> Option<String> {
        self.image_names().get(summary.id()).cloned()
    }

    fn image_names(&self) -> MutexGuard<'_, HashMap<String, String>> {
        let locked = self.image_names.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the list allows that a container is managed. This saves inspecting each of hundreds of containers.
    #[must_use]
    pub fn may_be_managed(&self, summary: &Summary) -> bool {
        self.may_manage(summary, &Wishes::of(&mut summary.labels()))
    }

    fn may_manage(&self, summary: &Summary, wishes: &Wishes) -> bool {
        let name = summary.name();
        let workspace = self.select.workspaces && name.starts_with(&self.prefix);
        !is_transient_name(name)
            && wishes.enabled != Enabled::No
            && (workspace || self.selects_any_image(wishes))
    }

    /// Whether a container is selected whatever its image. A container whose label cannot be read is selected too,
    /// so that its owner gets the warning.
    pub(super) fn selects_any_image(&self, wishes: &Wishes) -> bool {
        match wishes.enabled {
            Enabled::No => false,
            Enabled::Yes | Enabled::Unreadable => self.select.all || self.select.labelled,
            Enabled::Unsaid => self.select.all,
        }
    }

    pub(super) fn selects(
        &self,
        summary: &Summary,
        wishes: &Wishes,
        reference: &Reference,
    ) -> bool {
        let workspace = self.select.workspaces
            && summary.name().starts_with(&self.prefix)
            && self.runtimes.contains(reference);
        wishes.enabled != Enabled::No && (workspace || self.selects_any_image(wishes))
    }

    /// Warns about a container's labels, once for each warning.
    pub(super) fn warn_of_labels(&self, name: &str, wishes: &Wishes) {
        let left_alone = wishes
            .unclear
            .as_ref()
            .map(|reason| format!("left alone: {reason}"));
        let words: Vec<String> = left_alone
            .into_iter()
            .chain(wishes.idle.iter().cloned())
            .collect();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let before = warned.get(name).map_or(&[][..], Vec::as_slice);
        for line in words.iter().filter(|line| !before.contains(line)) {
            log::warn!("{name}: {line}");
        }
        if words.is_empty() {
            warned.remove(name);
        } else if before != words {
            warned.insert(name.to_owned(), words);
        }
    }

    /// Forgets containers that are not on the list.
    fn forget_others(&self, list: &[Summary]) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        warned.retain(|name, _| {
            name.starts_with(SERVICE) || list.iter().any(|one| one.name() == name)
        });
        let mut image_names = self.image_names();
        let ids: HashSet<&str> = list.iter().map(Summary::id).collect();
        image_names.retain(|id, _| ids.contains(id.as_str()));
    }
}

/// Returns the containers of a list in the order of their names.
pub(super) fn by_name(list: &[Summary]) -> impl Iterator<Item = &Summary> {
    let mut sorted: Vec<&Summary> = list.iter().collect();
    sort(&mut sorted, |one, other| one.name() < other.name());
    sorted.into_iter()
}

/// Returns the tag that a container follows.
///
/// # Errors
/// The reason why there is no such tag.
pub(super) fn made_from(name: &str, image_id: &str) -> std::result::Result<Reference, String> {
    if is_id(name, image_id) {
        return Err("made from an image id, so there is no tag to follow".to_owned());
    }
    let parsed = name.parse::<Reference>();
    let reference =
        parsed.map_err(|_| "made from an image name that is no reference".to_owned())?;
    if reference.digest().is_some() {
        return Err("pinned to a digest".to_owned());
    }
    Ok(reference)
}

/// Whether a list hides the name that a container was made from: it shows the image's id, or on Podman another name of
/// the image, such as the tag of an earlier image.
pub(super) fn is_hidden(summary: &Summary) -> bool {
    let name = summary.image_name();
    is_id(name, summary.image_id()) || name.contains(PREVIOUS) || summary.label(FOLLOWED).is_some()
}

/// Whether `name` is the image's id, or the beginning of that id.
pub(super) fn is_id(name: &str, image_id: &str) -> bool {
    let (_, hex) = image_id.split_once(':').unwrap_or(("", image_id));
    name.starts_with("sha256:") || (name.len() >= 6 && hex.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::ENABLE;
    use crate::labels::MODE;
    use crate::labels::WATCHTOWER_ENABLE;
    use crate::labels::WATCHTOWER_MONITOR_ONLY;
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

    const WORKSPACES: Select = Select {
        workspaces: true,
        labelled: false,
        all: false,
    };

    fn consent(
        select: Select,
        name: &str,
        image: &str,
        labels: &[(&str, &str)],
    ) -> Option<Consent> {
        let runtime = Target {
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
        let wishes = Wishes::of(&mut summary.labels());
        let is_selected = selection.selects(&summary, &wishes, &reference);
        let sure = is_selected.then_some(wishes.consent.unwrap_or(selection.mode));
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
            (DEFAULT, &[(ENABLE, "yes")], update),
            (DEFAULT, &[(WATCHTOWER_ENABLE, "true")], update),
            (
                DEFAULT,
                &[(WATCHTOWER_ENABLE, "true"), (ENABLE, "false")],
                None,
            ),
            (DEFAULT, &[(WATCHTOWER_ENABLE, "false"), enable], None),
            // The container is selected, and left alone because of its label.
            (DEFAULT, &[(ENABLE, "ture")], update),
            (WORKSPACES, &[(ENABLE, "ture")], None),
            (WORKSPACES, &[enable], None),
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
            (ALL, &[(WATCHTOWER_ENABLE, "0")], None),
            (ALL, &[(ENABLE, "\"false\"")], None),
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
