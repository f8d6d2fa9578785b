//! The name of the host in messages.

use crate::error::one_line;
use std::sync::OnceLock;

/// The digits of a container's id that are its host name, unless its owner names it.
const SHORT_ID: usize = 12;

/// The name of the host. An owner's own name for the host is taken as it is. A container that has no such name is
/// called by its id. Then the Engine knows the name that people use.
pub struct Host {
    own: Option<String>,
    ask: Box<dyn Fn() -> Option<String> + Send + Sync>,
    answer: OnceLock<String>,
}

impl Host {
    /// The host of this program. `own` is the name that this program sees, usually [`Host::own`]. `ask` asks the Engine for its host's name.
    pub fn new(
        own: Option<String>,
        ask: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            own,
            ask: Box::new(ask),
            answer: OnceLock::new(),
        }
    }

    /// The host name that this program sees.
    #[must_use]
    pub fn own() -> Option<String> {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
        Some(name.trim().to_owned()).filter(|name| !name.is_empty())
    }

    /// The name. The Engine is asked until it has answered once.
    pub(super) fn name(&self) -> Option<String> {
        let is_given = self.own.as_deref().is_some_and(|own| !is_container_id(own));
        if is_given {
            return self.own.clone();
        }
        if let Some(answer) = self.answer.get() {
            return Some(answer.clone());
        }
        let answer = (self.ask)().map(|name| one_line(&name));
        match answer.filter(|name| !name.is_empty()) {
            Some(answer) => Some(self.answer.get_or_init(|| answer).clone()),
            None => self.own.clone(),
        }
    }
}

/// Whether a host name is the beginning of a container's id.
pub(super) fn is_container_id(name: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.len() == SHORT_ID && name.bytes().all(is_digit)
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Host")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    #[test]
    fn an_owners_name_is_taken_without_a_question() {
        let host = Host::new(Some("nas".to_owned()), || panic!("asked"));
        assert_eq!(host.name().as_deref(), Some("nas"));
        for (name, is_id) in [
            ("0123456789ab", true),
            ("0123456789aB", false),
            ("0123456789a", false),
            ("deadbeefcafe", true),
            ("raspberrypi4", false),
        ] {
            assert_eq!(is_container_id(name), is_id, "{name}");
        }
    }

    #[test]
    fn the_engine_is_asked_until_it_answers() {
        let count = AtomicUsize::new(0);
        let ask = move || match count.fetch_add(1, Ordering::SeqCst) {
            0 => None,
            1 => Some(" na\ns ".to_owned()),
            _ => panic!("asked again"),
        };
        let host = Host::new(Some("0123456789ab".to_owned()), ask);
        for name in ["0123456789ab", "na s", "na s"] {
            assert_eq!(host.name().as_deref(), Some(name));
        }
        let host = Host::new(None, || Some(String::new()));
        assert_eq!(host.name(), None);
    }
}
