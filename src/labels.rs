//! Every label that imagewatch knows: the names of its own labels and of Watchtower's, and the wishes
//! that a container's labels express.
//!
//! A label is the wish of the container's owner. If a value cannot be read, the container is left alone. Our
//! label wins over Watchtower's, and `enable=false` of either always wins.

mod value;

pub use value::minutes;
pub use value::names;
pub use value::signal;
pub use value::switch;
pub use value::time;

use crate::error::one_line;
use crate::sort::sort;
use crate::text::nearest;
use crate::time::Window;
use crate::version::Level;
use std::time::Duration;
use value::Form;
use value::Value;
use value::consent;
use value::window;

/// Whether a container is managed.
pub const ENABLE: &str = "imagewatch.enable";
/// Whether a container is updated, or its owner only gets a message.
pub const MODE: &str = "imagewatch.mode";
/// The times at which a container may be updated.
pub const WINDOW: &str = "imagewatch.window";
/// How old a digest of the tag must be before an update.
pub const MIN_AGE: &str = "imagewatch.min-age";
/// Whether the signature of a container's image is verified.
pub const VERIFY: &str = "imagewatch.verify";
/// Which newer version tags its owner gets a message about.
pub const NEWER: &str = "imagewatch.newer";
/// Whether a Swarm service is rolled back after a failed update.
pub const ROLLBACK: &str = "imagewatch.rollback";
/// A command that runs in the container before its update.
pub const PRE_UPDATE: &str = "imagewatch.pre-update";
/// How long the command of [`PRE_UPDATE`] may take.
pub const PRE_UPDATE_TIMEOUT: &str = "imagewatch.pre-update-timeout";
/// A command that runs in the successor.
pub const POST_UPDATE: &str = "imagewatch.post-update";
/// How long the command of [`POST_UPDATE`] may take.
pub const POST_UPDATE_TIMEOUT: &str = "imagewatch.post-update-timeout";

/// The project of a container that Docker Compose made.
pub const COMPOSE_PROJECT: &str = "com.docker.compose.project";

/// The stack of a Swarm service, and of a container that runs a task of it.
pub const STACK: &str = "com.docker.stack.namespace";

/// Watchtower's counterpart of [`ENABLE`].
pub const WATCHTOWER_ENABLE: &str = "com.centurylinklabs.watchtower.enable";
/// Whether the owner of a container only gets a message. See [`MODE`].
pub const WATCHTOWER_MONITOR_ONLY: &str = "com.centurylinklabs.watchtower.monitor-only";
/// Whether no image is pulled for a container.
pub const WATCHTOWER_NO_PULL: &str = "com.centurylinklabs.watchtower.no-pull";
/// The signal that stops a container.
pub const WATCHTOWER_STOP_SIGNAL: &str = "com.centurylinklabs.watchtower.stop-signal";
/// The dependencies of a container.
pub const WATCHTOWER_DEPENDS_ON: &str = "com.centurylinklabs.watchtower.depends-on";
/// Watchtower's counterpart of [`PRE_UPDATE`].
pub const WATCHTOWER_PRE_UPDATE: &str = "com.centurylinklabs.watchtower.lifecycle.pre-update";
/// Watchtower's counterpart of [`PRE_UPDATE_TIMEOUT`], in minutes.
pub const WATCHTOWER_PRE_UPDATE_TIMEOUT: &str =
    "com.centurylinklabs.watchtower.lifecycle.pre-update-timeout";
/// Watchtower's counterpart of [`POST_UPDATE`].
pub const WATCHTOWER_POST_UPDATE: &str = "com.centurylinklabs.watchtower.lifecycle.post-update";
/// Watchtower's counterpart of [`POST_UPDATE_TIMEOUT`], in minutes.
pub const WATCHTOWER_POST_UPDATE_TIMEOUT: &str =
    "com.centurylinklabs.watchtower.lifecycle.post-update-timeout";

/// The record of a swap, on its successor. Owners do not set this label, nor the next three.
pub const TRANSACTION: &str = "io.imagewatch.txn";
/// The reference that a container follows, if its successor had to be created from an image id. That is
/// so if the tag meant another image by then.
pub const FOLLOWED: &str = "io.imagewatch.image";
/// The last update of a service by imagewatch, on the service.
pub const UPDATE: &str = "io.imagewatch.update";
/// The holder of the lock, on the lock's container.
pub const LOCK: &str = "io.imagewatch.claim";
/// The update that a helper does, on the helper: see `src/swap/helper.rs`.
pub const HELPER: &str = "io.imagewatch.helper";

/// The prefix of every label that an owner may set.
const OURS: &str = "imagewatch.";
/// The prefixes of labels that imagewatch reads.
const NAMESPACES: [&str; 3] = [OURS, "io.imagewatch.", "com.centurylinklabs.watchtower."];

/// Every label that an owner may set, and the form of its value.
const KNOWN: [(&str, Form); 20] = [
    (ENABLE, Form::Switch),
    (MODE, Form::Mode),
    (WINDOW, Form::Window),
    (MIN_AGE, Form::MinAge),
    (VERIFY, Form::Switch),
    (NEWER, Form::Newer),
    (ROLLBACK, Form::Switch),
    (PRE_UPDATE, Form::Command),
    (PRE_UPDATE_TIMEOUT, Form::Time),
    (POST_UPDATE, Form::Command),
    (POST_UPDATE_TIMEOUT, Form::Time),
    (WATCHTOWER_ENABLE, Form::Switch),
    (WATCHTOWER_MONITOR_ONLY, Form::Switch),
    (WATCHTOWER_NO_PULL, Form::OnlyOff),
    (WATCHTOWER_STOP_SIGNAL, Form::Signal),
    (WATCHTOWER_DEPENDS_ON, Form::Names),
    (WATCHTOWER_PRE_UPDATE, Form::Command),
    (WATCHTOWER_PRE_UPDATE_TIMEOUT, Form::Minutes),
    (WATCHTOWER_POST_UPDATE, Form::Command),
    (WATCHTOWER_POST_UPDATE_TIMEOUT, Form::Minutes),
];

/// The names of our own labels that an owner may set.
pub fn ours() -> impl Iterator<Item = &'static str> {
    let names = KNOWN.iter().map(|(name, _)| *name);
    names.filter(|name| name.starts_with(OURS))
}

/// Whether imagewatch may read a label of this name.
#[must_use]
pub fn is_kept(name: &str) -> bool {
    NAMESPACES.iter().any(|start| name.starts_with(start))
}

/// The consent of a container's owner to updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// The container is updated.
    Update,
    /// The owner only gets a message that the container is behind.
    Notify,
}

/// The answer of a container's labels to the question whether the container is managed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enabled {
    /// No label decides.
    Unsaid,
    /// A label asks for it.
    Yes,
    /// A label forbids it, which always wins.
    No,
    /// The value of the label cannot be read.
    Unreadable,
}

/// The wishes of an owner, as the labels of a container say them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    /// Whether the container is managed.
    pub enabled: Enabled,
    /// The owner's consent; `None` if no label holds it.
    pub consent: Option<Consent>,
    /// Why the container is left alone in every case: a value cannot be read, or asks for something that
    /// cannot be done.
    pub unclear: Option<String>,
    /// When the container may be updated; `None` if no label says it.
    pub window: Option<Window>,
    /// How long its tag must have pointed at a digest; `None` if no label says it.
    pub min_age: Option<Duration>,
    /// Whether its image needs a signature; `None` if no label says it.
    pub verify: Option<bool>,
    /// How far away a newer version may be for its owner to hear of it.
    pub newer: Option<Level>,
    /// One text for each label without an effect, with the reason.
    pub idle: Vec<String>,
}

impl Wishes {
    /// Reads all labels of a container, given as names and values.
    #[must_use]
    pub fn of<'a>(labels: &mut dyn Iterator<Item = (&'a str, &'a str)>) -> Self {
        let (mut enable, mut their_enable) = (Enabled::Unsaid, Enabled::Unsaid);
        let (mut mode, mut monitor_only, mut newer) = (None, None, None);
        let (mut open, mut min_age, mut verify) = (None, None, None);
        let mut remarks = Remarks::default();
        for (name, value) in labels {
            match name {
                ENABLE => enable = enabled(value),
                WATCHTOWER_ENABLE => their_enable = enabled(value),
                MODE => mode = consent(value),
                NEWER => newer = value::newer(value),
                WATCHTOWER_MONITOR_ONLY => monitor_only = switch(value),
                WINDOW => open = window(value),
                MIN_AGE => min_age = time(value),
                VERIFY => verify = switch(value),
                _ => {}
            }
            remarks.add(name, value);
        }
        let enabled = enable.or(their_enable);
        if enabled == Enabled::No {
            // Nothing is done to the container, so no other label matters.
            remarks = Remarks::default();
        }
        Self {
            enabled,
            consent: match (mode, monitor_only) {
                (Some(consent), _) => Some(consent),
                (None, Some(true)) => Some(Consent::Notify),
                (None, _) => None,
            },
            unclear: joined(remarks.unclear),
            window: open,
            min_age,
            verify,
            newer,
            idle: remarks.idle,
        }
    }
}

/// The remarks on the labels of one container.
#[derive(Default)]
struct Remarks {
    unclear: Vec<String>,
    idle: Vec<String>,
}

impl Remarks {
    /// Adds the remark on one label, if there is one.
    fn add(&mut self, name: &str, value: &str) {
        let shown = || format!("its label {name}={}", one_line(&format!("{value:?}")));
        let Some((_, form)) = KNOWN.iter().find(|(known, _)| *known == name) else {
            if name.starts_with(OURS) {
                let near = nearest(name, ours()).unwrap_or_default();
                let remark = format!("its label {name} is unknown: did you mean {near}?");
                self.idle.push(remark);
            }
            return;
        };
        match form.read(value) {
            Value::Fine => {}
            Value::Impossible => {
                let remark = format!("{} is not supported by this version", shown());
                self.unclear.push(remark);
            }
            Value::Unreadable => {
                let expected = form.expected();
                let remark = format!("{} cannot be read (expected {expected})", shown());
                self.unclear.push(remark);
            }
        }
    }
}

/// Joins reasons into one text. Labels come in any order, so the reasons are sorted.
fn joined(mut reasons: Vec<String>) -> Option<String> {
    sort(&mut reasons, |one, other| one < other);
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn enabled(value: &str) -> Enabled {
    match switch(value) {
        Some(true) => Enabled::Yes,
        Some(false) => Enabled::No,
        None => Enabled::Unreadable,
    }
}

impl Enabled {
    /// Combines our label with Watchtower's. Ours wins, except that a `false` always wins.
    fn or(self, theirs: Self) -> Self {
        match (self, theirs) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Unsaid, theirs) => theirs,
            (ours, _) => ours,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn wishes(labels: &[(&str, &str)]) -> Wishes {
        Wishes::of(&mut labels.iter().copied())
    }

    #[test]
    fn a_switch_is_read_as_people_write_it() {
        for (value, expected) in [
            ("1", Some(true)),
            ("t", Some(true)),
            ("T", Some(true)),
            ("TRUE", Some(true)),
            ("tRuE", Some(true)),
            ("yes", Some(true)),
            ("ON", Some(true)),
            (" \"true\" ", Some(true)),
            ("' yes '", Some(true)),
            ("0", Some(false)),
            ("F", Some(false)),
            ("False", Some(false)),
            ("no", Some(false)),
            ("\"off\"", Some(false)),
            ("", None),
            ("\"\"", None),
            ("\"", None),
            ("\"true", None),
            ("'true\"", None),
            ("\"'true'\"", None),
            ("ture", None),
            ("2", None),
            ("y", None),
            ("enabled", None),
        ] {
            assert_eq!(switch(value), expected, "{value:?}");
        }
    }

    #[test]
    fn no_of_either_wins_and_else_ours() {
        use Enabled::*;
        for (ours, theirs, expected) in [
            (None, None, Unsaid),
            (Some("yes"), None, Yes),
            (None, Some("1"), Yes),
            (Some("true"), Some("false"), No),
            (Some("0"), Some("true"), No),
            (Some("maybe"), Some("no"), No),
            (Some("no"), Some("maybe"), No),
            (Some("maybe"), None, Unreadable),
            (None, Some("maybe"), Unreadable),
            (Some("maybe"), Some("true"), Unreadable),
            // The container is managed, and then left alone because of the other label.
            (Some("true"), Some("maybe"), Yes),
        ] {
            let labels = [(ENABLE, ours), (WATCHTOWER_ENABLE, theirs)];
            let labels = labels.iter().filter_map(|(name, v)| Some((*name, (*v)?)));
            let labels: Vec<_> = labels.collect();
            let found = wishes(&labels);
            assert_eq!(found.enabled, expected, "{labels:?}");
            let is_unclear = ours == Some("maybe") || theirs == Some("maybe");
            let is_unclear = is_unclear && expected != No;
            assert_eq!(found.unclear.is_some(), is_unclear, "{labels:?}");
        }
    }

    #[test]
    fn a_mode_of_ours_wins_over_monitor_only() {
        for (labels, expected) in [
            (&[][..], Consent::Update),
            (&[(MODE, " Notify ")], Consent::Notify),
            (&[(MODE, "\"NOTIFY\"")], Consent::Notify),
            (&[(WATCHTOWER_MONITOR_ONLY, "1")], Consent::Notify),
            (&[(WATCHTOWER_MONITOR_ONLY, "off")], Consent::Update),
            (
                &[(WATCHTOWER_MONITOR_ONLY, "1"), (MODE, "update")],
                Consent::Update,
            ),
        ] {
            let found = wishes(labels);
            let consent = found.consent.unwrap_or(Consent::Update);
            assert_eq!(consent, expected, "{labels:?}");
            assert_eq!(found.unclear, None, "{labels:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_of_any_label_means_left_alone() {
        for (name, bad, good) in [
            (ENABLE, &["ture", ""][..], &["on"][..]),
            (MODE, &["monitor", "", "none"], &["update"]),
            (VERIFY, &["never", ""], &["false", "true"]),
            (NEWER, &["all", "true"], &["minor", "'Major'"]),
            (ROLLBACK, &["never"], &["no"]),
            (
                PRE_UPDATE_TIMEOUT,
                &["abc", "60", "-1s", ""],
                &["0", "'90s'"],
            ),
            (POST_UPDATE_TIMEOUT, &["1 minute"], &["1h30m"]),
            (PRE_UPDATE, &[], &["", "\"", "true"]),
            (WATCHTOWER_ENABLE, &["nope"], &["0"]),
            (WATCHTOWER_MONITOR_ONLY, &["maybe", ""], &["yes"]),
            (WATCHTOWER_NO_PULL, &["true", "maybe"], &["false"]),
            (
                WATCHTOWER_STOP_SIGNAL,
                &[
                    "SIGFOO", "SIG", "0", "65", "+9", "RTMIN+16", "RTMAX-", "TERM;",
                ],
                &["", "sigterm", "\"SIGHUP\"", "9", "SIGRTMIN+3", "RTMAX-14"],
            ),
            (
                WATCHTOWER_DEPENDS_ON,
                &["a b", "a;b"],
                &["", "/a, b,", "'a'"],
            ),
            (
                WATCHTOWER_PRE_UPDATE_TIMEOUT,
                &["1m", "-1", ""],
                &["0", " 3 ", "\"5\""],
            ),
            (WATCHTOWER_POST_UPDATE_TIMEOUT, &["x"], &["1"]),
            (MIN_AGE, &["soon", "", "3"], &["0", "0s", "3d"]),
            (
                WINDOW,
                &["", "Mon-Fri", "never", "02:00-02:00"],
                &["always", "\"Always\"", "Mon-Fri 02:00-05:00"],
            ),
        ] {
            for &value in bad {
                // Each other label, except one that forbids managing the container.
                let found =
                    wishes(&[(name, value), (MODE, "update")][..1 + usize::from(name != MODE)]);
                let reason = found.unclear.unwrap_or_else(|| panic!("{name}={value:?}"));
                assert!(
                    reason.starts_with(&format!("its label {name}={value:?} ")),
                    "{reason}"
                );
            }
            for &value in good {
                assert_eq!(wishes(&[(name, value)]).unclear, None, "{name}={value:?}");
            }
        }
    }

    #[test]
    fn a_window_and_an_age_are_read() {
        let day = Duration::from_secs(86_400);
        let window = |text| Window::parse(text).expect("a window");
        for (labels, expected) in [
            (&[][..], (None, None)),
            (&[(MIN_AGE, "3d")], (None, Some(day * 3))),
            (&[(MIN_AGE, " '0' ")], (None, Some(Duration::ZERO))),
            (&[(WINDOW, "Always")], (Some(Window::default()), None)),
            (
                &[(WINDOW, "\"Sat 02:00-05:00\""), (MIN_AGE, "1d")],
                (Some(window("Sat 02:00-05:00")), Some(day)),
            ),
        ] {
            let found = wishes(labels);
            assert_eq!((found.window, found.min_age), expected, "{labels:?}");
        }
    }

    #[test]
    fn reasons_are_one_line_in_any_order_and_name_every_label() {
        let one = (MODE, "a\nb");
        let other = (ENABLE, "\u{202e}x");
        let expected = "its label imagewatch.enable=\"\\u{202e}x\" cannot be read (expected true or false); \
                        its label imagewatch.mode=\"a\\nb\" cannot be read (expected update or notify)";
        for labels in [[one, other], [other, one]] {
            assert_eq!(wishes(&labels).unclear.as_deref(), Some(expected));
        }
    }

    #[test]
    fn labels_without_effect_are_said_and_nothing_more() {
        let found = wishes(&[
            ("imagewatch.enabled", "true"),
            ("imagewatch.", ""),
            (ROLLBACK, "false"),
            ("io.imagewatch.txn", "{}"),
            ("com.centurylinklabs.watchtower", "true"),
            ("com.centurylinklabs.watchtower.scope", "x"),
            ("maintainer", "me"),
        ]);
        assert_eq!(found.unclear, None);
        assert_eq!(found.enabled, Enabled::Unsaid);
        assert_eq!(
            found.idle,
            [
                "its label imagewatch.enabled is unknown: did you mean imagewatch.enable?",
                "its label imagewatch. is unknown: did you mean imagewatch.mode?",
            ]
        );
    }

    #[test]
    fn newer_versions_are_told_up_to_a_level() {
        for (value, expected) in [
            ("patch", Some(Level::Patch)),
            (" 'Minor' ", Some(Level::Minor)),
            ("\"MAJOR\"", Some(Level::Major)),
            ("all", None),
        ] {
            assert_eq!(wishes(&[(NEWER, value)]).newer, expected, "{value}");
        }
        assert_eq!(wishes(&[]).newer, None);
    }

    #[test]
    fn names_and_signals_come_without_what_is_around_them() {
        assert_eq!(names("/a, b,,'c'"), None);
        assert_eq!(names("\"/a, b,\""), Some(vec!["a", "b"]));
        assert_eq!(names(" "), Some(vec![]));
        assert_eq!(signal(" 'SIGUSR1' "), Some("SIGUSR1"));
        let ages = Duration::from_secs(u64::MAX);
        assert_eq!(minutes("9999999999999999999"), Some(ages));
    }

    #[test]
    fn what_is_kept_holds_every_known_name() {
        let noted = [TRANSACTION, FOLLOWED, LOCK];
        assert!(KNOWN.iter().all(|(name, _)| is_kept(name)) && noted.into_iter().all(is_kept));
        assert!(!is_kept("imagewatchful") && !is_kept("maintainer"));
    }
}
