//! Version tags: their parts, their order, and the newest one in a list of tags. No I/O.
//!
//! Only tags of one shape are compared: the same prefix, as many numbers, and the same suffix but for its numbers. So
//! `1.4.0-alpine` may follow `1.3.9-alpine`, and `1.4.0` may not.

use std::cmp::Ordering;

/// How far away a newer version may be for its owner to hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// From the third number on: `1.3.10` after `1.3.9`.
    Patch,
    /// From the second number on: `1.4.0` after `1.3.9`.
    Minor,
    /// Any newer version: `2.0.0` after `1.3.9`.
    Major,
}

/// The most numbers of a version. More look like an address or a date.
const MOST_NUMBERS: usize = 6;
/// The most digits of the first number. A longer one is a date, a build or a commit.
const LONGEST_FIRST: usize = 6;
/// The most digits of any other number, so that each one fits into 64 bits.
const LONGEST: usize = 18;
/// A part of so many hexadecimal digits, with a letter among them, is a commit.
const COMMIT: usize = 7;
/// The largest first number of a version that counts.
const COUNTED: u64 = 99;
/// A larger first number may be a year.
const YEAR: u64 = 1900;
/// The separators in a suffix.
const SEPARATORS: [char; 3] = ['-', '_', '.'];
/// A part that begins so names an architecture, and its numbers are no versions.
const ARCHITECTURES: [&str; 7] = ["amd", "arm", "i386", "ppc", "riscv", "s390", "x86"];
/// A word before a number that counts builds or tries of one version: `-ls42`, `-rc.1`.
const COUNTERS: [&str; 14] = [
    "a", "alpha", "b", "beta", "build", "cu", "dev", "ls", "p", "pre", "r", "rc", "rev", "u",
];

/// Looks for the newest version in a list of tags. Keeps one tag at a time.
#[derive(Debug)]
pub struct Newest<'r> {
    running: Version<'r>,
    level: Level,
    /// Whether a `v` before the numbers makes no difference.
    may_have_v: bool,
    found: Option<String>,
}

impl<'r> Newest<'r> {
    /// Begins a search for tags that are newer than the tag `running`. Returns nothing if that tag is no version.
    #[must_use]
    pub fn after_tag(running: &'r str, level: Level) -> Option<Self> {
        Some(Self {
            running: Version::of(running)?,
            level,
            may_have_v: false,
            found: None,
        })
    }

    /// The same for a version that an image tells. Its tag may be written with or without a `v`.
    #[must_use]
    pub fn after_label(running: &'r str, level: Level) -> Option<Self> {
        let found = Self::after_tag(running.trim_start_matches(['v', 'V']), level)?;
        Some(Self {
            may_have_v: true,
            ..found
        })
    }

    /// Compares one more tag of the list.
    pub fn offer(&mut self, tag: &str) {
        let Some(mut version) = Version::of(tag) else {
            return;
        };
        if self.may_have_v && matches!(version.prefix, "v" | "V") {
            version.prefix = "";
        }
        let level = self.running.level_of(version);
        if level.is_none_or(|level| level > self.level) {
            return;
        }
        let found = self.found.as_deref().and_then(Version::of);
        if found.is_none_or(|found| self.order(version, found) == Ordering::Greater) {
            self.found = Some(tag.to_owned());
        }
    }

    /// The newest tag.
    #[must_use]
    pub fn found(self) -> Option<String> {
        self.found
    }

    /// Orders two tags by their numbers. Of equal numbers, the tag that is more like the running one is greater.
    fn order(&self, one: Version, other: Version) -> Ordering {
        let variant = variant(self.running.suffix);
        let is_same = |version: Version| self::variant(version.suffix) == variant;
        let widths = |version: Version| {
            let pairs = version
                .numbers
                .split('.')
                .zip(self.running.numbers.split('.'));
            pairs
                .filter(|(one, running)| one.len() == running.len())
                .count()
        };
        compare(one.numbers, other.numbers)
            .then_with(|| is_same(one).cmp(&is_same(other)))
            .then_with(|| compare(one.suffix, other.suffix))
            .then_with(|| widths(one).cmp(&widths(other)))
            .then_with(|| other.numbers.len().cmp(&one.numbers.len()))
    }
}

/// The parts of a tag that is a version.
#[derive(Debug, Clone, Copy)]
struct Version<'t> {
    /// The text before the first number, mostly empty or `v`.
    prefix: &'t str,
    /// The numbers, with dots between them.
    numbers: &'t str,
    /// The rest, for example `-alpine3.19` or `-ls42`.
    suffix: &'t str,
}

impl<'t> Version<'t> {
    /// Reads a tag; `None` if the tag is no version.
    fn of(tag: &'t str) -> Option<Self> {
        let (prefix, rest) = tag.split_at(tag.find(|c: char| c.is_ascii_digit())?);
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let numbers = rest[..end.unwrap_or(rest.len())].trim_end_matches('.');
        let suffix = &rest[numbers.len()..];
        let is_short = |number: &str| number.len() <= LONGEST;
        let first = numbers.split('.').next().unwrap_or_default();
        let is_version = first.len() <= LONGEST_FIRST
            && numbers.split('.').count() <= MOST_NUMBERS
            && numbers.split('.').all(|number| !number.is_empty())
            && digits(tag).all(is_short)
            && prefix != "sha"
            && !tag.split(SEPARATORS).any(is_commit)
            && !is_date(numbers, suffix);
        is_version.then_some(Self {
            prefix,
            numbers,
            suffix,
        })
    }

    /// How far away a newer version is; `None` if `other` is not newer, or of another shape.
    fn level_of(self, other: Version) -> Option<Level> {
        let has_same_shape = self.prefix == other.prefix
            && self.numbers.split('.').count() == other.numbers.split('.').count()
            && is_alike(self.suffix, other.suffix);
        if !has_same_shape {
            return None;
        }
        let pairs = numbers(self.numbers).zip(numbers(other.numbers));
        match pairs.enumerate().find(|(_, (old, new))| old != new) {
            Some((_, (old, new))) if new < old => None,
            // A year after a number that counts is another scheme.
            Some((0, (old, new))) if old <= COUNTED && new > YEAR => None,
            Some((0, _)) => Some(Level::Major),
            Some((1, _)) => Some(Level::Minor),
            Some(_) => Some(Level::Patch),
            None => {
                let is_newer = compare(other.suffix, self.suffix) == Ordering::Greater;
                (is_newer && variant(self.suffix) == variant(other.suffix)).then_some(Level::Patch)
            }
        }
    }
}

/// The digits of each number in a text.
fn digits(text: &str) -> impl Iterator<Item = &str> {
    let runs = text.split(|c: char| !c.is_ascii_digit());
    runs.filter(|run| !run.is_empty())
}

/// The numbers in a text.
fn numbers(text: &str) -> impl Iterator<Item = u64> {
    digits(text).map(|digits| digits.parse().unwrap_or(u64::MAX))
}

fn compare(one: &str, other: &str) -> Ordering {
    numbers(one).cmp(numbers(other))
}

fn is_commit(part: &str) -> bool {
    part.len() >= COMMIT
        && part.bytes().all(|byte| byte.is_ascii_hexdigit())
        && part.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Whether a tag is a date such as `2026-08-01`.
fn is_date(first: &str, suffix: &str) -> bool {
    !first.contains('.')
        && numbers(first).next().is_some_and(|year| year > YEAR)
        && masked(suffix).take(4).eq("-#-#".chars())
}

/// A text with one `#` for each number.
fn masked(text: &str) -> impl Iterator<Item = char> {
    let mut last = ' ';
    let masked = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '#' } else { c });
    masked.filter(move |&c| std::mem::replace(&mut last, c) != '#' || c != '#')
}

/// Whether two suffixes differ only in numbers, and not in an architecture.
fn is_alike(one: &str, other: &str) -> bool {
    let is_architecture = |part: &str| ARCHITECTURES.iter().any(|name| part.starts_with(name));
    let mut pairs = one.split(SEPARATORS).zip(other.split(SEPARATORS));
    masked(one).eq(masked(other)) && pairs.all(|(one, other)| one == other || !is_architecture(one))
}

/// A suffix without the numbers that count. The other numbers belong to the variant: `-php8.1`, `-ls`.
fn variant(suffix: &str) -> String {
    let mut variant = String::new();
    let mut is_counted = true;
    for part in suffix.split(SEPARATORS) {
        let word = part.trim_end_matches(|c: char| c.is_ascii_digit());
        let mut counters = COUNTERS.iter();
        is_counted = match word {
            "" => is_counted,
            word => counters.any(|counter| word.eq_ignore_ascii_case(counter)),
        };
        variant.push_str(if is_counted { word } else { part });
        variant.push('-');
    }
    variant
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest<'a>(
        running: &str,
        level: Level,
        tags: impl IntoIterator<Item = &'a str>,
    ) -> Option<String> {
        let mut newest = Newest::after_tag(running, level)?;
        tags.into_iter().for_each(|tag| newest.offer(tag));
        newest.found()
    }

    #[test]
    fn a_newer_tag_of_the_same_shape_is_found_with_its_level() {
        use Level::*;
        for (running, tag, expected) in [
            ("1.3.9", "1.4.0", Some(Minor)),
            ("1.3.9", "1.3.10", Some(Patch)),
            ("1.3.9", "2.0.0", Some(Major)),
            ("1.3.9", "1.3.9", None),
            ("1.3.9", "1.3.8", None),
            ("1.3.9", "0.9.9", None),
            ("3.9", "3.10", Some(Minor)),
            ("16", "17", Some(Major)),
            ("1.2.3.4", "1.2.3.5", Some(Patch)),
            // Another shape.
            ("v1.3.9", "1.4.0", None),
            ("1.3.9", "v1.4.0", None),
            ("v1.3.9", "v1.4.0", Some(Minor)),
            ("release-1.3", "release-1.4", Some(Minor)),
            ("16.2", "16.2.1", None),
            ("16.2.1", "17", None),
            ("1.3.9-alpine", "1.4.0-alpine", Some(Minor)),
            ("1.3.9-alpine", "1.4.0", None),
            ("1.3.9", "1.4.0-alpine", None),
            ("1.3.9-alpine3.19", "1.4.0-alpine3.20", Some(Minor)),
            ("1.3.9-alpine3.19", "1.4.0-alpine3.20-perl", None),
            // A number in the suffix that counts.
            ("10.11.2-ls5", "10.11.2-ls6", Some(Patch)),
            ("10.11.2-ls6", "10.11.2-ls5", None),
            ("10.11.2-ls9", "10.11.3-ls1", Some(Patch)),
            ("10.11.3-ls1", "10.11.2-ls9", None),
            ("17.0.9_9-jdk", "17.0.10_7-jdk", Some(Patch)),
            ("17.0.9_9-jdk", "17.0.9_10-jdk", Some(Patch)),
            ("1.4.0-20260801", "1.4.0-20260901", Some(Patch)),
            ("16.2.0-debian-12-r5", "16.2.0-debian-12-r6", Some(Patch)),
            ("8u382", "8u392", Some(Patch)),
            (
                "2022-CU14-ubuntu-22.04",
                "2022-CU15-ubuntu-22.04",
                Some(Patch),
            ),
            // A number in the suffix that names a variant, or an architecture.
            ("6.4-php8.1", "6.4-php8.3", None),
            ("16.2.0-debian-12-r5", "16.2.0-debian-13-r5", None),
            ("3.9-eclipse-temurin-17", "3.9-eclipse-temurin-21", None),
            ("6.4-php8.1", "6.5-php8.3", Some(Minor)),
            ("1.3.9-arm32v6", "1.4.0-arm32v7", None),
            ("1.3.9-arm32v6", "1.4.0-arm32v6", Some(Minor)),
            // Dates, and a change of the scheme.
            ("2026.08.01", "2026.11.02", Some(Minor)),
            ("2026.08.01", "2026.08.02", Some(Patch)),
            ("2025.12.01", "2026.01.02", Some(Major)),
            ("2026.8", "2026.010", Some(Minor)),
            ("1.9.0", "2025.1.0", None),
            ("99.0", "1901.0", None),
            ("100.0", "1901.0", Some(Major)),
            ("2025.1.0", "3.0.0", None),
            ("2022-latest", "2025-latest", Some(Major)),
            // Leading zeros are not a difference.
            ("1.010", "1.10", None),
            ("1.010", "1.11", Some(Minor)),
            // A version before its time.
            ("1.3.9", "1.4.0-rc1", None),
            ("1.3.9", "1.4.0-beta", None),
            ("1.3.9", "1.4.0a1", None),
            ("1.4.0-rc1", "1.4.0-rc2", Some(Patch)),
            ("1.4.0-rc.1", "1.4.0-rc.2", Some(Patch)),
            ("3.12.0a1", "3.12.0a2", Some(Patch)),
        ] {
            let [running_version, version] = [running, tag].map(|tag| Version::of(tag).expect(tag));
            let found = running_version.level_of(version);
            assert_eq!(found, expected, "{running} → {tag}");
            for level in [Patch, Minor, Major] {
                let found = newest(running, level, [tag]);
                let expected = expected.filter(|expected| *expected <= level);
                assert_eq!(found.as_deref(), expected.map(|_| tag), "{running} → {tag}");
            }
        }
    }

    #[test]
    fn other_tags_are_no_versions() {
        let hash = format!("sha256-{}.sig", "0123456789abcdef".repeat(4));
        for tag in [
            "latest",
            "stable",
            "",
            "v",
            "20260801",
            "20260801.1",
            "20260801T1200",
            "2026-08-01",
            "2026-08-01T12-00-00Z",
            "RELEASE.2026-08-01T12-00-00Z",
            "nightly-20260801",
            "a1b2c3d",
            "1b2c3d4",
            "1234567",
            "sha-1b2c3d4",
            "sha-1234567",
            "main-1b2c3d4",
            "1.4.0-1b2c3d4",
            "sha256-12.sig",
            &hash,
            "1..2",
            "1.2.3.4.5.6.7",
            "1.99999999999999999999",
            "1.2-99999999999999999999",
        ] {
            assert!(Version::of(tag).is_none(), "{tag}");
            assert!(newest(tag, Level::Major, ["9.9.9"]).is_none(), "{tag}");
            assert_eq!(newest("1.3.9", Level::Major, [tag]), None, "{tag}");
        }
    }

    #[test]
    fn the_newest_of_many_is_told_in_any_order() {
        use Level::*;
        for (running, level, tags, expected) in [
            (
                "1.3.9",
                Minor,
                &[
                    "latest",
                    "1.3.9",
                    "1.4.2",
                    "1.4.10",
                    "1.4",
                    "2.0.0",
                    "1.5.0-rc1",
                ][..],
                Some("1.4.10"),
            ),
            (
                "1.3.9",
                Major,
                &["1.4.2", "2.0.0", "2025.1.0"],
                Some("2.0.0"),
            ),
            ("1.3.9", Patch, &["1.4.2", "1.3.8"], None),
            // The spelling of the running tag.
            (
                "2026.08.01",
                Major,
                &["2026.11.2", "2026.11.02"],
                Some("2026.11.02"),
            ),
            (
                "2026.8.1",
                Major,
                &["2026.11.2", "2026.11.02"],
                Some("2026.11.2"),
            ),
            ("1.3.9", Major, &["1.4.010", "1.4.10"], Some("1.4.10")),
            // The same variant, unless another one has a newer version.
            (
                "6.4-php8.1",
                Major,
                &["6.5-php8.1", "6.5-php8.3"],
                Some("6.5-php8.1"),
            ),
            (
                "6.4-php8.1",
                Major,
                &["6.5-php8.1", "6.6-php8.3"],
                Some("6.6-php8.3"),
            ),
            (
                "10.11.2-ls5",
                Major,
                &["10.11.2-ls6", "10.11.2-ls10", "10.11.2-ls9"],
                Some("10.11.2-ls10"),
            ),
        ] {
            let forwards = newest(running, level, tags.iter().copied());
            let backwards = newest(running, level, tags.iter().rev().copied());
            assert_eq!(forwards.as_deref(), expected, "{running}");
            assert_eq!(backwards.as_deref(), expected, "{running}");
        }
    }

    #[test]
    fn a_version_that_an_image_tells_may_have_another_v_than_its_tag() {
        for (running, tag, is_newer) in [
            ("1.3.9", "v1.4.0", true),
            ("v1.3.9", "1.4.0", true),
            ("1.3.9", "1.4.0", true),
            ("1.3.9", "v1.3.9", false),
            ("1.3.9", "release-1.4.0", false),
        ] {
            let mut newest = Newest::after_label(running, Level::Major).expect(running);
            newest.offer(tag);
            assert_eq!(newest.found().is_some(), is_newer, "{running} → {tag}");
        }
        assert!(Newest::after_label("main", Level::Major).is_none());
    }

    #[test]
    fn no_tag_panics_and_none_is_newer_than_itself() {
        const WORDS: &[&str] = &[
            "v",
            "1",
            "0",
            "9",
            "10",
            "2026",
            ".",
            "-",
            "_",
            "rc",
            "ls",
            "alpine",
            "arm64",
            "é",
            "#",
            "99999999999999999999",
        ];
        crate::fuzz::fuzz("version", WORDS, |input| {
            let text = String::from_utf8_lossy(input);
            let (one, other) = text.split_at(text.find(' ').unwrap_or(0));
            assert_eq!(newest(one, Level::Major, [one]), None, "{one}");
            let both = newest(one, Level::Major, [other]).zip(newest(other, Level::Major, [one]));
            assert_eq!(both, None, "{one} {other}");
        });
    }
}
