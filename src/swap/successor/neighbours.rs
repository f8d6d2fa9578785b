//! Other containers that a container's settings name. Some of them are replaced together with it.

use super::Facts;
use serde_json::Value;
use serde_json::json;

/// A container that is replaced together with this one, and its successor.
#[derive(Debug, Clone, Copy)]
pub struct Moved<'a> {
    /// The id of the container that is replaced.
    pub old_id: &'a str,
    /// The name of the container that is replaced.
    pub old_name: &'a str,
    /// The id of the successor.
    pub new_id: &'a str,
    /// The present name of the successor. Links follow a later rename.
    pub new_name: &'a str,
}

impl Moved<'_> {
    /// Whether a text names this container: by its id, by at least the short id, or by name.
    fn is_meant_by(&self, text: &str) -> bool {
        text == self.old_name || is_id_of(text, self.old_id)
    }
}

/// Whether the text is an id, or at least its first twelve digits (the short id). Fewer digits could be
/// a name.
pub(super) fn is_id_of(text: &str, id: &str) -> bool {
    text.len() >= 12 && id.starts_with(text)
}

/// The id of the successor of the container that the text names, if that container is replaced too.
pub(super) fn successor<'a>(facts: &Facts<'a>, text: &str) -> Option<&'a str> {
    let mut moved = facts.moved.iter();
    let found = moved.find(|moved| moved.is_meant_by(text.trim_start_matches('/')));
    found.map(|moved| moved.new_id)
}

/// Rewrites links from `/provider:/consumer/alias`, as inspect shows them, to `provider:alias`, as create wants
/// them. A provider that is replaced too is linked by its successor's name. The result is `None` without links.
pub(super) fn plain_links(facts: &Facts, links: Option<&Value>) -> Option<Value> {
    let links = links?.as_array().filter(|links| !links.is_empty())?;
    let plain = links.iter().map(|link| {
        let link = link.as_str().unwrap_or_default();
        let (provider, alias) = link.split_once(':').unwrap_or((link, link));
        let provider = provider.trim_start_matches('/');
        let alias = alias.rsplit('/').next().unwrap_or(alias);
        let mut moved = facts.moved.iter();
        let moved = moved.find(|moved| moved.is_meant_by(provider));
        let provider = moved.map_or(provider, |moved| moved.new_name);
        json!(format!("{provider}:{alias}"))
    });
    Some(Value::Array(plain.collect()))
}
