//! What the list of containers says of each: only what we ask it for, because boxes with hundreds of
//! containers are small as well.

use serde::Deserialize;
use serde::Deserializer;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::Visitor;
use std::fmt;

/// Beginnings of the labels that are kept.
const NAMESPACES: [&str; 4] = [
    "com.docker.compose.depends_on",
    "imagewatch.",
    "io.imagewatch.",
    "com.centurylinklabs.watchtower.",
];

/// One entry of `GET /containers/json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Summary {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    image: Option<String>,
    #[serde(default, rename = "ImageID")]
    image_id: Option<String>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    created: Option<i64>,
    #[serde(default)]
    labels: Labels,
}

impl Summary {
    /// The 64-digit id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The container's own name: of several the one without a second slash, which links have.
    #[must_use]
    pub fn name(&self) -> &str {
        let names = self.names.iter().flatten();
        let names = names.map(|name| name.trim_start_matches('/'));
        let mut own = names.clone().filter(|name| !name.contains('/'));
        own.next()
            .or_else(|| names.clone().next())
            .unwrap_or(&self.id)
    }

    /// The id of the image it runs.
    #[must_use]
    pub fn image_id(&self) -> &str {
        self.image_id.as_deref().unwrap_or_default()
    }

    /// What it is doing, in the Engine's word.
    #[must_use]
    pub fn state(&self) -> &str {
        self.state.as_deref().unwrap_or_default()
    }

    /// When it was created, in seconds since 1970.
    #[must_use]
    pub fn created(&self) -> i64 {
        self.created.unwrap_or_default()
    }

    /// The reference it was made from; an id instead if that means another image by now, or if its
    /// owner gave one.
    #[must_use]
    pub fn image_name(&self) -> &str {
        self.image.as_deref().unwrap_or_default()
    }

    /// The value of a label of ours or of Watchtower's, or of Compose's `depends_on`.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        debug_assert!(is_kept(name), "{name} is not kept");
        let mut labels = self.labels.0.iter();
        labels
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

fn is_kept(name: &str) -> bool {
    NAMESPACES.iter().any(|start| name.starts_with(start))
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

            /// `null`: there are none.
            fn visit_unit<E>(self) -> Result<Labels, E> {
                Ok(Labels::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut labels = Labels::default();
                while let Some(name) = map.next_key::<String>()? {
                    if is_kept(&name) {
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
