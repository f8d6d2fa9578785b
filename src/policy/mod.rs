//! The decision between "a tag moved" and "the update is applied": apply, wait, or leave.
//!
//! Pure: everything comes in as [`Facts`], the time too. The watcher, the updates, the commands and the page all ask
//! [`decide`], so they cannot disagree.

use crate::labels::Consent;
use crate::labels::Wishes;
use crate::time::Window;
use crate::time::Zone;
use crate::time::in_words;
use crate::time::print_duration;
use std::fmt;
use std::time::Duration;
use std::time::SystemTime;

/// How long to wait for a window that does not open as far as can be seen. There is no such window.
const LONG: Duration = Duration::from_secs(16 * 86_400);

/// The origin of the wish to update a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A round, a push hook, or a refresh of everything.
    ForAll,
    /// A refresh of everything with `force`.
    ForAllByForce,
    /// The owner named the container or its image.
    ByName,
    /// The same with `force`.
    ByNameByForce,
}

impl Asked {
    fn is_by_name(self) -> bool {
        matches!(self, Self::ByName | Self::ByNameByForce)
    }

    fn is_by_force(self) -> bool {
        matches!(self, Self::ForAllByForce | Self::ByNameByForce)
    }
}

/// The rules of the configuration, for containers whose labels say nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// How long a tag must have pointed at a digest.
    pub min_age: Duration,
    /// When updates may be applied.
    pub window: Window,
}

/// The rules that the labels of one container hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnRules {
    /// How long its tag must have pointed at a digest, if a label says it.
    pub min_age: Option<Duration>,
    /// When the container may be updated, if a label says it.
    pub window: Option<Window>,
    /// Whether its image needs a signature, if a label says it.
    pub verify: Option<bool>,
}

impl OwnRules {
    /// The rules among the wishes of a container's labels.
    #[must_use]
    pub fn of(wishes: &Wishes) -> Self {
        Self {
            min_age: wishes.min_age,
            window: wishes.window.clone(),
            verify: wishes.verify,
        }
    }
}

/// A container that stays where it is, whatever comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The end of the hold, if it has one.
    pub until: Option<SystemTime>,
    /// The person or the call that asked for the hold.
    pub by: String,
}

/// Everything that decides on the update of one container to one digest.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The time of the decision.
    pub now: SystemTime,
    /// The time zone of the window.
    pub zone: &'a Zone,
    /// The origin of the wish.
    pub asked: Asked,
    /// Since when the tag has pointed at the digest, as seen here. `None` means that nobody has seen it yet.
    pub since: Option<SystemTime>,
    /// How long the tag must have pointed at the digest.
    pub min_age: Duration,
    /// When the container may be updated.
    pub window: &'a Window,
    /// The owner's consent.
    pub consent: Consent,
    /// The hold on the container, if there is one.
    pub hold: Option<&'a Hold>,
    /// The one who asked never to apply this digest, if somebody did.
    pub skipped_by: Option<&'a str>,
    /// Why the image of this digest is rejected, if it is.
    pub rejected: Option<&'a str>,
}

impl<'a> Facts<'a> {
    /// The facts for a container with rules of its own. Nothing else holds the update back.
    #[must_use]
    pub fn new(now: SystemTime, zone: &'a Zone, rules: &'a Rules, own: &'a OwnRules) -> Self {
        Self {
            now,
            zone,
            asked: Asked::ForAll,
            since: None,
            min_age: own.min_age.unwrap_or(rules.min_age),
            window: own.window.as_ref().unwrap_or(&rules.window),
            consent: Consent::Update,
            hold: None,
            skipped_by: None,
            rejected: None,
        }
    }
}

/// The answer to the question whether a container is updated now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The container is updated now.
    Apply,
    /// The container is updated later.
    Wait {
        /// The first time at which the container may be updated.
        until: SystemTime,
        /// The reason.
        why: Why,
    },
    /// The container is not updated as long as the facts stay the same.
    Leave {
        /// The reason.
        why: Why,
    },
}

/// Why a container is not updated now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The container is held.
    Held(Hold),
    /// Somebody asked never to apply this digest.
    Skipped {
        /// The one who asked.
        by: String,
    },
    /// The owner only gets a message.
    NotifyOnly,
    /// The image did not come up.
    Rejected(String),
    /// The tag has not pointed at the digest for long enough.
    Young {
        /// How long it must have.
        min_age: Duration,
        /// Whether the window is closed at that time.
        then_closed: bool,
    },
    /// The window is closed.
    Closed,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(hold) => {
                write!(f, "it is held by {}", hold.by)?;
                let until = hold
                    .until
                    .map(|until| in_words(until, SystemTime::UNIX_EPOCH));
                until.map_or(Ok(()), |until| write!(f, " until {until}"))
            }
            Self::Skipped { by } => write!(f, "this image is skipped by {by}"),
            Self::NotifyOnly => f.write_str("its mode is notify"),
            Self::Rejected(reason) => write!(f, "this image was rejected: {reason}"),
            Self::Young {
                min_age,
                then_closed,
            } => {
                let window = if *then_closed {
                    ", and then for its window"
                } else {
                    ""
                };
                write!(
                    f,
                    "for its minimum age of {}{window}",
                    print_duration(*min_age)
                )
            }
            Self::Closed => f.write_str("for its window"),
        }
    }
}

/// Decides on the update of one container to one digest.
#[must_use]
pub fn decide(facts: &Facts) -> Decision {
    let leave = |why: Why| Decision::Leave { why };
    let is_over = |hold: &&Hold| hold.until.is_some_and(|until| until <= facts.now);
    if let Some(hold) = facts.hold.filter(|hold| !is_over(hold)) {
        return leave(Why::Held(hold.clone()));
    }
    if let Some(by) = facts.skipped_by {
        return leave(Why::Skipped { by: by.to_owned() });
    }
    if facts.consent == Consent::Notify && !facts.asked.is_by_name() {
        return leave(Why::NotifyOnly);
    }
    if let Some(reason) = facts.rejected.filter(|_| !facts.asked.is_by_force()) {
        return leave(Why::Rejected(reason.to_owned()));
    }
    match facts.asked {
        Asked::ForAll => by_the_clock(facts),
        Asked::ForAllByForce | Asked::ByName | Asked::ByNameByForce => Decision::Apply,
    }
}

/// Decides by minimum age and window.
fn by_the_clock(facts: &Facts) -> Decision {
    // A time to come was written by a clock that was wrong.
    let since = facts.since.unwrap_or(facts.now).min(facts.now);
    let old_enough = since.checked_add(facts.min_age).unwrap_or(facts.now);
    let earliest = old_enough.max(facts.now);
    let opens = facts.window.opens_at(earliest, facts.zone);
    let until = opens.unwrap_or(earliest + LONG);
    if until <= facts.now {
        return Decision::Apply;
    }
    let why = if old_enough > facts.now {
        Why::Young {
            min_age: facts.min_age,
            then_closed: until > old_enough,
        }
    } else {
        Why::Closed
    };
    Decision::Wait { until, why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::parse_rfc3339;
    use crate::time::rfc3339;

    const DAY: Duration = Duration::from_secs(86_400);

    fn time(text: &str) -> SystemTime {
        parse_rfc3339(text).expect("a time")
    }

    fn window(text: &str) -> &'static Window {
        Box::leak(Box::new(Window::parse(text).expect("a window")))
    }

    /// The decision on a Sunday at noon, in short words.
    fn decided(change: &dyn Fn(&mut Facts<'static>)) -> String {
        let zone: &'static Zone = Box::leak(Box::new(Zone::utc()));
        let now = time("2026-11-29T12:00:00Z");
        let mut facts = Facts {
            now,
            zone,
            asked: Asked::ForAll,
            since: Some(now - DAY),
            min_age: Duration::ZERO,
            window: window("always"),
            consent: Consent::Update,
            hold: None,
            skipped_by: None,
            rejected: None,
        };
        change(&mut facts);
        match decide(&facts) {
            Decision::Apply => "apply".to_owned(),
            Decision::Wait { until, why } => format!("{} {why}", &rfc3339(until)[8..16]),
            Decision::Leave { why } => why.to_string(),
        }
    }

    #[test]
    fn each_fact_has_its_weight() {
        let night = window("Mon-Fri 02:00-05:00");
        let noon = window("Sun 11:00-13:00");
        let night_and_noon = window("02:00-05:00, 11:00-13:00");
        let hold = |until: Option<&str>| -> &'static Hold {
            Box::leak(Box::new(Hold {
                until: until.map(time),
                by: "admin".to_owned(),
            }))
        };
        let (held, over) = (hold(None), hold(Some("2026-11-29T12:00:00Z")));
        let for_a_day = hold(Some("2026-11-30T12:00:00Z"));
        type Case<'c> = (&'c str, Box<dyn Fn(&mut Facts<'static>) + 'c>);
        let cases: Vec<Case> = vec![
            ("apply", Box::new(|_| {})),
            // Hold and skip bind everybody.
            ("it is held by admin", Box::new(|f| f.hold = Some(held))),
            (
                "it is held by admin until 2026-11-30 12:00 UTC",
                Box::new(|f| (f.hold, f.asked) = (Some(for_a_day), Asked::ByNameByForce)),
            ),
            ("apply", Box::new(|f| f.hold = Some(over))),
            (
                "this image is skipped by admin",
                Box::new(|f| (f.skipped_by, f.asked) = (Some("admin"), Asked::ByNameByForce)),
            ),
            // Consent: a container that is named is updated.
            (
                "its mode is notify",
                Box::new(|f| f.consent = Consent::Notify),
            ),
            (
                "its mode is notify",
                Box::new(|f| (f.consent, f.asked) = (Consent::Notify, Asked::ForAllByForce)),
            ),
            (
                "apply",
                Box::new(|f| (f.consent, f.asked) = (Consent::Notify, Asked::ByName)),
            ),
            // Rejected: only force tries again.
            (
                "this image was rejected: it exited",
                Box::new(|f| f.rejected = Some("it exited")),
            ),
            (
                "this image was rejected: it exited",
                Box::new(|f| (f.rejected, f.asked) = (Some("it exited"), Asked::ByName)),
            ),
            (
                "apply",
                Box::new(|f| (f.rejected, f.asked) = (Some("it exited"), Asked::ForAllByForce)),
            ),
            // Age: from the first sight of the digest here.
            ("apply", Box::new(|f| f.min_age = DAY)),
            (
                "01T12:00 for its minimum age of 3d",
                Box::new(|f| f.min_age = DAY * 3),
            ),
            (
                "02T12:00 for its minimum age of 3d",
                Box::new(|f| (f.min_age, f.since) = (DAY * 3, None)),
            ),
            (
                "02T12:00 for its minimum age of 3d",
                Box::new(|f| (f.min_age, f.since) = (DAY * 3, Some(f.now + DAY * 100))),
            ),
            (
                "apply",
                Box::new(|f| (f.min_age, f.asked) = (DAY * 3, Asked::ForAllByForce)),
            ),
            (
                "apply",
                Box::new(|f| (f.min_age, f.asked) = (DAY * 3, Asked::ByName)),
            ),
            // Window: open, closed, or ignored.
            ("30T02:00 for its window", Box::new(|f| f.window = night)),
            ("apply", Box::new(|f| f.window = noon)),
            (
                "apply",
                Box::new(|f| (f.window, f.asked) = (night, Asked::ByName)),
            ),
            (
                "apply",
                Box::new(|f| (f.window, f.asked) = (night, Asked::ForAllByForce)),
            ),
            // Both: the later of the two, in the next open hour.
            (
                "02T02:00 for its minimum age of 3d, and then for its window",
                Box::new(|f| (f.window, f.min_age) = (night, DAY * 3)),
            ),
            (
                "01T12:00 for its minimum age of 3d",
                Box::new(|f| (f.window, f.min_age) = (night_and_noon, DAY * 3)),
            ),
            (
                "30T02:00 for its window",
                Box::new(|f| (f.window, f.min_age) = (night, DAY)),
            ),
            (
                "06T11:00 for its minimum age of 2d, and then for its window",
                Box::new(|f| (f.window, f.min_age) = (noon, DAY * 2)),
            ),
        ];
        for (number, (expected, change)) in cases.iter().enumerate() {
            assert_eq!(decided(&**change), *expected, "case {number}");
        }
    }

    #[test]
    fn a_label_wins_over_the_variable() {
        let (zone, now) = (Zone::utc(), time("2026-11-29T12:00:00Z"));
        let rules = Rules {
            min_age: DAY,
            window: Window::parse("Sat 02:00-05:00").expect("a window"),
        };
        let own = OwnRules {
            min_age: Some(Duration::ZERO),
            window: Some(Window::default()),
            verify: None,
        };
        let facts = Facts::new(now, &zone, &rules, &own);
        assert_eq!(decide(&facts), Decision::Apply);
        let none = OwnRules::default();
        let facts = Facts::new(now, &zone, &rules, &none);
        let until = time("2026-12-05T02:00:00Z");
        let why = Why::Young {
            min_age: DAY,
            then_closed: true,
        };
        assert_eq!(decide(&facts), Decision::Wait { until, why });
    }
}
