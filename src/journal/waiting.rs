//! Updates that wait for their time.

use crate::time::in_words;
use crate::time::rfc3339;
use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeMap;
use std::time::SystemTime;

/// One update that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The name of the container, or the name of the image if no container is meant.
    pub name: String,
    /// The first time at which the update may be applied, if time alone decides.
    pub until: Option<SystemTime>,
    /// The reason.
    pub reason: String,
    /// Whether the update waits only for its window, so that the image may be fetched already.
    pub is_ripe: bool,
}

impl Waiting {
    /// Says until when the update waits, and why: `waits until Sat 02:00 CET for its window`.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self.until {
            Some(until) => {
                let until = in_words(until, SystemTime::now());
                format!("waits until {until} {}", self.reason)
            }
            None => self.reason.clone(),
        }
    }

    /// The one that may be applied first.
    #[must_use]
    pub fn first(all: &[Self]) -> Option<&Self> {
        let with_time = all.iter().filter(|one| one.until.is_some());
        with_time.min_by_key(|one| one.until).or(all.first())
    }
}

impl Serialize for Waiting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        if let Some(until) = self.until {
            map.serialize_entry("until", &rfc3339(until))?;
        }
        map.serialize_entry("reason", &self.reason)?;
        map.serialize_entry("text", &self.in_words())?;
        map.end()
    }
}
