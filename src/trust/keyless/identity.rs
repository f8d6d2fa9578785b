//! Identities of GitHub Actions: a workflow at a ref, as a certificate of Fulcio names it. Pure.

/// The beginning of every identity of GitHub Actions.
const HOST: &str = "https://github.com/";
/// The folder of workflows, behind the repository.
const FOLDER: &str = "/.github/workflows/";

/// One workflow at one ref, or all whose names begin so.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity(String);

impl Identity {
    /// Reads a full name, or a beginning that ends with `/` or `@`. Another beginning would also cover strangers:
    /// `https://github.com/acme` covers `acme-evil`. The owner must be whole.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (owner, rest) = text.strip_prefix(HOST)?.split_once('/')?;
        let is_owner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        if owner.is_empty() || !owner.bytes().all(is_owner) || !is_plain || text.contains('*') {
            return None;
        }
        let is_whole = rest.split_once(FOLDER).is_some_and(|(repository, file)| {
            let (file, _) = file.split_once('@').unwrap_or_default();
            !repository.contains(['/', '@']) && !repository.is_empty() && !file.is_empty()
        });
        let is_beginning = text.ends_with('/') && (is_whole || !rest.contains('@'));
        (is_beginning || is_whole).then(|| Self(text.to_owned()))
    }

    /// Whether it covers the name in a certificate.
    pub(super) fn covers(&self, name: &str) -> bool {
        let is_beginning = self.0.ends_with(['/', '@']);
        name == self.0 || (is_beginning && name.starts_with(&self.0))
    }
}

/// The owner of the repository at such a URL.
pub(super) fn owner(url: &str) -> Option<&str> {
    let (owner, _) = url.strip_prefix(HOST)?.split_once('/')?;
    Some(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "https://github.com/acme/app/.github/workflows/publish.yml@refs/heads/main";

    #[test]
    fn a_whole_name_or_a_safe_beginning_is_read() {
        let cut = |end: &str| &WHOLE[..WHOLE.find(end).expect("a part") + end.len()];
        for good in [
            WHOLE,
            cut("acme/"),
            cut("app/"),
            cut("workflows/"),
            cut("@"),
            cut("@refs/"),
            cut("heads/"),
        ] {
            assert!(Identity::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "https://github.com",
            "https://github.com/",
            "https://github.com//",
            "https://github.com/acme",
            "https://github.com/acme/app",
            "https://github.com/acme/app@",
            "https://github.com/acme@x/",
            "https://github.com/acme/app/.github/workflows/publish.yml",
            "https://github.com/acme/app/.github/workflows/@refs/heads/main",
            "https://github.com/acme/*/",
            "https://github.com/ac me/",
            "https://github.com.evil.example/acme/",
            "http://github.com/acme/",
            "HTTPS://github.com/acme/",
            "https://gitlab.com/acme/",
            "acme/app",
            "someone@example.org",
        ] {
            assert_eq!(Identity::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_name_is_covered_from_its_beginning() {
        for (identity, name, expected) in [
            (WHOLE, WHOLE, true),
            (WHOLE, &*format!("{WHOLE}2"), false),
            (WHOLE, &WHOLE[..WHOLE.len() - 1], false),
            (WHOLE, &*WHOLE.replace("acme", "Acme"), false),
            ("https://github.com/acme/", WHOLE, true),
            (
                "https://github.com/acme/",
                &*WHOLE.replace("acme", "acme-evil"),
                false,
            ),
            ("https://github.com/acme/app/", WHOLE, true),
            (
                "https://github.com/acme/app/",
                &*WHOLE.replace("app", "apple"),
                false,
            ),
            (&WHOLE[..=WHOLE.find('@').expect("a ref")], WHOLE, true),
            (
                &WHOLE[..=WHOLE.find('@').expect("a ref")],
                &*WHOLE.replace("@", "2@"),
                false,
            ),
        ] {
            let parsed = Identity::parse(identity).expect(identity);
            assert_eq!(parsed.covers(name), expected, "{identity} {name}");
        }
        assert_eq!(owner(WHOLE), Some("acme"));
        assert_eq!(owner("https://github.com/acme"), None);
        assert_eq!(owner("https://gitlab.com/acme/app"), None);
    }
}
