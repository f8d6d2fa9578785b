//! The facts that an image tells about itself in its OCI labels: version, source and revision. No I/O.
//!
//! The labels are foreign text, which goes into logs, messages and a web page. So only harmless characters are taken.

/// The label with the version.
const VERSION: &str = "org.opencontainers.image.version";
/// The label with the URL of the source.
const SOURCE: &str = "org.opencontainers.image.source";
/// The label with the revision of the source.
const REVISION: &str = "org.opencontainers.image.revision";
/// The label with the name of a distribution's own image.
const NAME: &str = "org.opencontainers.image.ref.name";

/// The longest version and the longest revision, in bytes. A revision is mostly a SHA-1 in hexadecimal.
const LONGEST: usize = 64;
/// The longest URL, in bytes.
const LONGEST_URL: usize = 200;

/// The facts that an image tells about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The version, e.g. `1.4.0`.
    pub version: Option<String>,
    /// The URL of the source, with `http://` or `https://`.
    pub source: Option<String>,
    /// The revision of the source, mostly a commit.
    pub revision: Option<String>,
}

impl Provenance {
    /// Reads the labels of an image. A value that is too long, or has an unusual character, counts as missing.
    #[must_use]
    pub fn of<'l>(label: &dyn Fn(&str) -> Option<&'l str>) -> Self {
        let text = |name: &str| label(name).map(str::trim);
        let word = |name| text(name).filter(|word| is_word(word)).map(str::to_owned);
        let source = text(SOURCE).filter(|url| is_link(url)).map(str::to_owned);
        // An image that is built on Ubuntu inherits the version of Ubuntu, unless the image has a version of its own.
        let is_inherited = text(NAME) == Some("ubuntu") && source.is_none();
        Self {
            version: word(VERSION).filter(|_| !is_inherited),
            source,
            revision: word(REVISION),
        }
    }

    /// The names of the labels that are read.
    #[must_use]
    pub const fn labels() -> [&'static str; 4] {
        [VERSION, SOURCE, REVISION, NAME]
    }
}

fn is_word(text: &str) -> bool {
    has_only(text, LONGEST, "._+-~:")
}

fn is_link(text: &str) -> bool {
    let rest = text.strip_prefix("https://");
    let rest = rest.or_else(|| text.strip_prefix("http://"));
    // A text before an @ can look like a host.
    rest.is_some_and(|rest| has_only(rest, LONGEST_URL, "._+-~:/?#&,;=%"))
}

fn has_only(text: &str, longest: usize, marks: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(is_first)
        && text.len() <= longest
        && text.chars().all(|c| is_first(c) || marks.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_texts_are_taken() {
        let long = "1".repeat(LONGEST + 1);
        for (text, is_taken) in [
            ("1.4.0", true),
            (" v1.4.0-rc.1+build~2 ", true),
            ("1:1.4.0", true),
            ("", false),
            ("-", false),
            ("1.4.0\n2", false),
            ("1.4.0\u{202e}", false),
            ("\u{1b}[31m1", false),
            ("<b>1</b>", false),
            ("*1*", false),
            ("1 2", false),
            (&long, false),
        ] {
            let found = Provenance::of(&|name| (name == VERSION).then_some(text));
            let expected = is_taken.then(|| text.trim().to_owned());
            assert_eq!(found.version, expected, "{text:?}");
        }
    }

    #[test]
    fn only_links_of_the_web_are_taken() {
        let long = format!("https://a.example/{}", "x".repeat(LONGEST_URL));
        for (text, is_taken) in [
            ("https://github.com/acme/api", true),
            ("http://git.lan:3000/acme/api.git", true),
            ("https://a.example/?a=b&c=%20#d", true),
            ("javascript:alert(1)", false),
            ("data:text/html,x", false),
            ("git@github.com:acme/api.git", false),
            ("HTTPS://a.example", false),
            ("https://", false),
            ("https:///a", false),
            ("https://github.com@evil.example/", false),
            ("https://a.example/\"onclick=\"x", false),
            ("https://a.example/<b>", false),
            ("https://a.example/a b", false),
            ("https://a.example/\r\nX: y", false),
            ("https://a.example/)](b", false),
            ("https://ä.example/", false),
            (&long, false),
        ] {
            let found = Provenance::of(&|name| (name == SOURCE).then_some(text));
            assert_eq!(found.source.is_some(), is_taken, "{text:?}");
        }
    }

    #[test]
    fn the_version_of_a_distribution_is_not_the_version_of_what_is_built_on_it() {
        let of = |labels: &'static [(&str, &str)]| {
            Provenance::of(&|name| {
                labels
                    .iter()
                    .find(|(one, _)| *one == name)
                    .map(|(_, text)| *text)
            })
        };
        let inherited = of(&[(NAME, "ubuntu"), (VERSION, "24.04")]);
        assert_eq!(inherited, Provenance::default());
        let own = of(&[
            (NAME, "ubuntu"),
            (VERSION, "1.4.0"),
            (SOURCE, "https://a.example/b"),
            (REVISION, "1b2c3d4"),
        ]);
        assert_eq!(own.version.as_deref(), Some("1.4.0"));
        assert_eq!(own.revision.as_deref(), Some("1b2c3d4"));
    }
}
