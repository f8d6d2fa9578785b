//! Other containers that this one's settings name, some of which are replaced together with it.

use super::Facts;
use serde_json::Value;
use serde_json::json;

/// A container that is replaced together with this one, and its successor.
#[derive(Debug, Clone, Copy)]
pub struct Moved<'a> {
    /// The id of the one that is replaced.
    pub old_id: &'a str,
    /// Its name.
    pub old_name: &'a str,
    /// The id of its successor.
    pub new_id: &'a str,
    /// The name its successor has at the moment; links follow it when it is renamed.
    pub new_name: &'a str,
}

impl Moved<'_> {
    /// Whether somebody means this container: by its id, by at least the short id, or by name.
    fn is_meant_by(&self, text: &str) -> bool {
        text == self.old_name || is_id_of(text, self.old_id)
    }
}

/// Whether the text is an id, or at least its first twelve digits, which the Engine calls the
/// short id. Fewer could be a name.
pub(super) fn is_id_of(text: &str, id: &str) -> bool {
    text.len() >= 12 && id.starts_with(text)
}

/// The id of the successor of the container that is meant, if it gets one.
pub(super) fn successor<'a>(facts: &Facts<'a>, text: &str) -> Option<&'a str> {
    let mut moved = facts.moved.iter();
    let found = moved.find(|moved| moved.is_meant_by(text.trim_start_matches('/')));
    found.map(|moved| moved.new_id)
}

/// `/provider:/consumer/alias`, as inspect shows links, → `provider:alias`, as create wants them.
/// A provider that is replaced too is linked by its successor's name. `None` if there are none.
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
