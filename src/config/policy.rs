//! Variables about when an update is applied: minimum age, window and time zone.

use super::vars::Vars;
use crate::policy::Rules;
use crate::time::Window;
use crate::time::Zone;
use std::time::Duration;

/// The help for a name that cannot be read, most often because the image has no folder of zones.
const NO_ZONE: &str = "add -v /usr/share/zoneinfo:/usr/share/zoneinfo:ro, or write the rule: CET-1CEST,M3.5.0,M10.5.0/3";

impl Vars {
    /// Reads the rules for containers whose labels hold none.
    pub(super) fn rules(&mut self) -> Rules {
        let min_age = self.duration("IMAGEWATCH_MIN_AGE", Duration::ZERO);
        if !min_age.is_zero() && self.given("IMAGEWATCH_STATE").is_none() {
            let words =
                "IMAGEWATCH_MIN_AGE without IMAGEWATCH_STATE: each start begins to count anew";
            self.warnings.push(words.to_owned());
        }
        let window = self.window();
        Rules { min_age, window }
    }

    fn window(&mut self) -> Window {
        const NAME: &str = "IMAGEWATCH_WINDOW";
        let Some(text) = self.given(NAME) else {
            return Window::default();
        };
        Window::parse(&text).unwrap_or_else(|expected| {
            self.problem(NAME, &text, expected);
            Window::default()
        })
    }

    /// Reads the time zone. Without a variable, the zone of the system counts. A window in another zone than its owner
    /// means would stop containers in the middle of the day.
    pub(super) fn zone(&mut self) -> Zone {
        const NAME: &str = "TZ";
        let Some(text) = self.given(NAME) else {
            return Zone::local().unwrap_or_else(Zone::utc);
        };
        Zone::find(&text).unwrap_or_else(|reason| {
            if self.given("IMAGEWATCH_WINDOW").is_some() {
                let words = format!("a time zone that can be read here ({reason}): {NO_ZONE}");
                self.problem(NAME, &text, words);
            } else {
                let words =
                    format!("TZ={text:?} cannot be read, so times are UTC ({reason}): {NO_ZONE}");
                self.warnings.push(words);
            }
            Zone::utc()
        })
    }
}
