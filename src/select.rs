//! Which containers are managed, and how much they consent to.

use crate::config::Runtime;
use crate::config::Select;
use crate::debug::debug;
use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::Summary;
use crate::error::Result;
use crate::reference::Reference;
use crate::swap::is_transient_name;

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

    /// Whether containers may be managed whose image is no runtime's.
    #[must_use]
    pub fn reaches_beyond_catalogue(&self) -> bool {
        self.select.labelled || self.select.all
    }

    /// Every managed container. One that vanishes while we look is none.
    ///
    /// # Errors
    /// When the list, or a container on it, cannot be had.
    pub fn managed(&self, engine: &Engine) -> Result<Vec<Managed>> {
        self.managed_among(&engine.containers()?, engine)
    }

    /// The same, of a list that is at hand already.
    ///
    /// # Errors
    /// When a container on it cannot be had.
    pub fn managed_among(&self, list: &[Summary], engine: &Engine) -> Result<Vec<Managed>> {
        let mut managed = Vec::new();
        for summary in list.iter().filter(|summary| self.may_be_managed(summary)) {
            let Some(container) = engine.find(summary.id())? else {
                continue;
            };
            let Ok(reference) = container.image_name().parse::<Reference>() else {
                debug(format_args!(
                    "{}: made from an image id, left alone",
                    container.name()
                ));
                continue;
            };
            if reference.digest().is_some() {
                debug(format_args!(
                    "{}: pinned to a digest, left alone",
                    container.name()
                ));
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
    fn may_be_managed(&self, summary: &Summary) -> bool {
        let name = summary.name();
        let workspace = self.select.workspaces && name.starts_with(&self.prefix);
        let labelled = self.select.labelled && is_enabled(summary) == Some(true);
        !is_transient_name(name)
            && is_enabled(summary) != Some(false)
            && (workspace || labelled || self.select.all)
    }

    fn consent(&self, summary: &Summary, reference: &Reference) -> Option<Consent> {
        let enabled = is_enabled(summary);
        let workspace = self.select.workspaces
            && summary.name().starts_with(&self.prefix)
            && self.runtimes.contains(reference);
        let selected =
            workspace || self.select.all || (self.select.labelled && enabled == Some(true));
        if enabled == Some(false) || !selected {
            return None;
        }
        Some(if is_notify_only(summary) {
            Consent::Notify
        } else {
            Consent::Update
        })
    }
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
        Summary::new(json)
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
}
