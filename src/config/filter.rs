//! `IMAGEWATCH_LOG`: a level, or a filter as `env_logger` documents it.
//!
//! `env_logger` takes an unknown word for the name of a module, and shows the log of that module alone. So a misspelt
//! level would silence the log, and a failed start would give no reason.

/// The accepted words for levels, and `env_logger`'s names for them.
const LEVELS: [(&str, &str); 7] = [
    ("error", "error"),
    ("warn", "warn"),
    ("warning", "warn"),
    ("info", "info"),
    ("debug", "debug"),
    ("trace", "trace"),
    ("off", "off"),
];
/// The crates that log.
const CRATES: [&str; 4] = ["imagewatch", "ureq", "rustls", "tiny_http"];
/// The description of usable values.
pub(super) const EXPECTED: &str =
    "error, warn, info or debug, or an env_logger filter such as imagewatch=debug";

/// Translates a filter into `env_logger`'s words. Returns `None` if the text is no filter.
pub(super) fn parse(text: &str) -> Option<String> {
    let (directives, pattern) = match text.split_once('/') {
        Some((_, pattern)) if pattern.contains('/') => return None,
        Some((directives, pattern)) => (directives, format!("/{pattern}")),
        None => (text, String::new()),
    };
    let mut parsed = Vec::new();
    for directive in directives.split(',').map(str::trim) {
        match directive.split_once('=') {
            _ if directive.is_empty() => {}
            None => match level(directive) {
                Some(level) => parsed.push(level.to_owned()),
                None if is_module(directive) => parsed.push(directive.to_owned()),
                None => return None,
            },
            Some((module, word)) => {
                let (module, word) = (module.trim(), word.trim());
                let level = if word.is_empty() {
                    Some("trace")
                } else {
                    level(word)
                };
                let level = level.filter(|_| is_module(module))?;
                parsed.push(format!("{module}={level}"));
            }
        }
    }
    let is_given = !parsed.is_empty() || !pattern.is_empty();
    is_given.then(|| parsed.join(",") + &pattern)
}

fn level(word: &str) -> Option<&'static str> {
    let mut levels = LEVELS.iter();
    let found = levels.find(|(name, _)| name.eq_ignore_ascii_case(word));
    found.map(|(_, level)| *level)
}

fn is_module(path: &str) -> bool {
    CRATES.contains(&path.split("::").next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_means_something_or_is_refused() {
        for (text, expected) in [
            ("info", Some("info")),
            ("WARNING", Some("warn")),
            (" Debug ", Some("debug")),
            ("trace", Some("trace")),
            ("off", Some("off")),
            ("imagewatch=warning", Some("imagewatch=warn")),
            ("imagewatch::swap", Some("imagewatch::swap")),
            (
                "warn, imagewatch::swap = Debug,",
                Some("warn,imagewatch::swap=debug"),
            ),
            ("info/ recreated", Some("info/ recreated")),
            ("/recreated", Some("/recreated")),
            ("verbose", None),
            ("warnin", None),
            ("1", None),
            ("true", None),
            (",", None),
            ("imagewatch=loud", None),
            ("imagewatch=", Some("imagewatch=trace")),
            ("imagewach=debug", None),
            ("=debug", None),
            ("info,verbose", None),
            ("info/a/b", None),
            ("\"info\"", None),
        ] {
            assert_eq!(parse(text).as_deref(), expected, "{text:?}");
        }
    }
}
