//! One entry of the list of containers, with only the fields that are used: even small machines may have hundreds
//! of containers.

use super::container::State;
use crate::labels;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::Visitor;
use std::fmt;

/// A label that is kept besides those of `labels`.
const DEPENDS_ON: &str = "com.docker.compose.depends_on";
/// Labels that name the group of a container: its Compose project, or its stack. They are kept too.
const GROUPS: [&str; 2] = [labels::COMPOSE_PROJECT, labels::STACK];

/// One entry of `GET /containers/json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Summary {
    id: String,
    /// Without the Engine's slash, the own name first.
    #[serde(default, deserialize_with = "own_first")]
    names: Vec<String>,
    #[serde(default)]
    image: Option<String>,
    #[serde(default, rename = "ImageID")]
    image_id: Option<String>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    created: Option<i64>,
    #[serde(default)]
    host_config: Option<HostConfig>,
    #[serde(default)]
    network_settings: Option<NetworkSettings>,
    #[serde(default)]
    labels: Labels,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    #[serde(default)]
    network_mode: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    #[serde(default)]
    networks: Option<Networks>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Endpoint {
    #[serde(default)]
    aliases: Option<Vec<String>>,
}

/// Reads the names of a container. Its own name is asked for again and again when a list is sorted.
fn own_first<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let mut names = Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default();
    for name in &mut names {
        let slashes = name.len() - name.trim_start_matches('/').len();
        name.drain(..slashes);
    }
    if let Some(own) = names.iter().position(|name| !name.contains('/')) {
        names.swap(0, own);
    }
    Ok(names)
}

/// The networks by name, in the order of the list.
#[derive(Debug, Clone)]
struct Networks(Vec<(String, Endpoint)>);

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Networks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("networks")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Networks, A::Error> {
                let mut networks = Vec::new();
                while let Some(one) = map.next_entry()? {
                    networks.push(one);
                }
                Ok(Networks(networks))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

impl Summary {
    /// The 64-digit id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The container's own name: the one without a second slash. Names with a second slash are links.
    #[must_use]
    pub fn name(&self) -> &str {
        self.names.first().unwrap_or(&self.id)
    }

    /// The id of the container's image.
    #[must_use]
    pub fn image_id(&self) -> &str {
        self.image_id.as_deref().unwrap_or_default()
    }

    /// The container's state, in the Engine's word.
    #[must_use]
    pub fn state(&self) -> &str {
        self.state.as_deref().unwrap_or_default()
    }

    /// Whether the list shows the container as neither running nor restarting.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        !self.state().is_empty() && State::of(self.state()).is_stopped()
    }

    /// Whether the container is being removed, or broken beyond use.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        State::of(self.state()) == State::Gone
    }

    /// The network mode that the owner chose, for example `container:…`. Podman does not list it.
    #[must_use]
    pub fn network_mode(&self) -> Option<&str> {
        let mode = self.host_config.as_ref()?.network_mode.as_deref()?;
        (!mode.is_empty()).then_some(mode)
    }

    /// The networks of the container, as listed.
    pub fn networks(&self) -> impl Iterator<Item = &str> {
        self.endpoints().map(|(name, _)| name.as_str())
    }

    /// The container's aliases in its networks. For a container in another one's network, Podman lists the other
    /// one's aliases.
    pub fn aliases(&self) -> impl Iterator<Item = &str> {
        let aliases = self.endpoints().filter_map(|(_, one)| one.aliases.as_ref());
        aliases.flatten().map(String::as_str)
    }

    fn endpoints(&self) -> impl Iterator<Item = &(String, Endpoint)> {
        let settings = self.network_settings.as_ref();
        let networks = settings.and_then(|settings| settings.networks.as_ref());
        networks.into_iter().flat_map(|networks| &networks.0)
    }

    /// The names of the containers that are linked to this one. A link is listed as `/consumer/alias`.
    pub fn consumers(&self) -> impl Iterator<Item = &str> {
        let links = self.names.iter();
        links.filter_map(|name| name.split_once('/').map(|(one, _)| one))
    }

    /// The time of creation, in seconds since 1970.
    #[must_use]
    pub fn created(&self) -> i64 {
        self.created.unwrap_or_default()
    }

    /// The reference that the container was created from. It is an id if the reference names another image by now,
    /// or if the owner gave an id.
    #[must_use]
    pub fn image_name(&self) -> &str {
        self.image.as_deref().unwrap_or_default()
    }

    /// Names and values of the labels that are kept.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let labels = self.labels.0.iter();
        labels.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The name of the Compose project or the stack that the container belongs to.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        GROUPS.iter().find_map(|name| self.label(name))
    }

    /// The value of a label that is kept: one of ours or of Watchtower's, or of Compose.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        debug_assert!(is_kept(name), "{name} is not kept");
        let mut labels = self.labels();
        labels.find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

fn is_kept(name: &str) -> bool {
    name == DEPENDS_ON || GROUPS.contains(&name) || labels::is_kept(name)
}

/// The name of a label, if the label is kept. Compose gives a container ten others.
struct KeptName(Option<String>);

impl<'de> Deserialize<'de> for KeptName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = KeptName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E>(self, name: &str) -> Result<KeptName, E> {
                Ok(KeptName(is_kept(name).then(|| name.to_owned())))
            }
        }

        deserializer.deserialize_str(Reader)
    }
}

/// The labels that are kept.
#[derive(Debug, Clone, Default)]
struct Labels(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keeper;

        impl<'de> Visitor<'de> for Keeper {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }

            /// `null` means no labels.
            fn visit_unit<E>(self) -> Result<Labels, E> {
                Ok(Labels::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut labels = Labels::default();
                while let Some(KeptName(name)) = map.next_key()? {
                    if let Some(name) = name {
                        labels.0.push((name, map.next_value()?));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(labels)
            }
        }

        deserializer.deserialize_any(Keeper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use serde_json::json;

    fn summary(json: Value) -> Summary {
        serde_json::from_value(json).expect("an entry")
    }

    #[test]
    fn a_links_name_is_not_the_containers_own() {
        let one = summary(json!({"Id": "abc", "Names": ["/web/db", "/db"], "Labels": null}));
        assert_eq!(one.name(), "db");
    }

    #[test]
    fn what_an_engine_left_out_is_empty() {
        let null =
            json!({"Id": "abc", "Names": null, "Image": null, "ImageID": null, "State": null});
        for json in [json!({"Id": "abc"}), null] {
            let one = summary(json);
            assert_eq!((one.name(), one.image_id(), one.state()), ("abc", "", ""));
        }
        assert!(serde_json::from_value::<Summary>(json!({"Names": ["/a"]})).is_err());
    }

    #[test]
    fn a_project_or_a_stack_is_the_group() {
        for (label, group) in [
            ("com.docker.compose.project", Some("shop")),
            ("com.docker.stack.namespace", Some("shop")),
            ("com.example.project", None),
        ] {
            let one = summary(json!({"Id": "abc", "Labels": {label: "shop"}}));
            assert_eq!(one.group(), group, "{label}");
        }
    }

    #[test]
    fn only_labels_that_mean_something_to_us_are_kept() {
        let labels = json!({"imagewatch.enable": "true", "io.imagewatch.txn": "{}", "a": "b",
            "com.centurylinklabs.watchtower.enable": "false", "imagewatchful": "x"});
        let one = summary(json!({"Id": "abc", "Labels": labels}));
        assert_eq!(one.label("imagewatch.enable"), Some("true"));
        assert_eq!(one.label("io.imagewatch.txn"), Some("{}"));
        assert_eq!(one.label("imagewatch.mode"), None);
        assert_eq!(one.labels.0.len(), 3);
    }
}
