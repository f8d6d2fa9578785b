//! The list of a repository's tags (OCI distribution spec, "Listing Tags").

use super::Registry;
use super::api_host;
use super::redirect;
use crate::error::Error;
use crate::error::Result;
use crate::http;
use crate::logging::debug;
use crate::reference::Reference;
use serde::de::IgnoredAny;
use std::time::Duration;
use std::time::Instant;
use ureq::http::Method;

/// The tags that are asked for at a time. Registries may send more or fewer.
const A_PAGE: usize = 1000;
/// The most pages and the most tags that are read. Renovate stops there too.
const MOST_PAGES: usize = 20;
const MOST_TAGS: usize = 10_000;
/// The largest page. A tag takes between 9 and 50 bytes.
const PAGE_LIMIT: u64 = 1024 * 1024;
/// No further page is asked for after this time.
const LONGEST: Duration = Duration::from_secs(30);

impl Registry {
    /// Passes each tag of the repository of `reference` to `sink`. No tag is kept. A list that is too long ends early.
    ///
    /// # Errors
    /// See [`Registry::digest`]. `sink` may have got some tags by then.
    #[cold]
    pub fn tags(&self, reference: &Reference, sink: &mut dyn FnMut(&str)) -> Result<()> {
        let host = api_host(reference.registry());
        let begun = Instant::now();
        let mut path = format!("/v2/{}/tags/list?n={A_PAGE}", reference.repository());
        let mut left = MOST_TAGS;
        for page in 0..MOST_PAGES {
            if page > 0 {
                std::thread::sleep(self.pace);
            }
            let page = self.get(reference, &path, PAGE_LIMIT)?;
            let is_list = read(&page.body, &mut |tag| {
                if left > 0 {
                    left -= 1;
                    sink(tag);
                }
            });
            let next = match next(&page.links, host) {
                _ if !is_list => Err("not a list of tags"),
                Ok(None) => return Ok(()),
                Ok(Some(next)) if next == path => Err("its next page is the same page"),
                next => next.map(Option::unwrap_or_default),
            };
            path = next.map_err(|reason| Error::malformed(page.request, reason))?;
            if left == 0 || begun.elapsed() > LONGEST {
                break;
            }
        }
        debug(format_args!(
            "{}: it has more tags than are read",
            reference.name()
        ));
        Ok(())
    }
}

/// The path of the next page, which a header `Link` names (RFC 8288). Only the same host is asked again, because it
/// gets the token.
pub(super) fn next(
    headers: &[String],
    host: &str,
) -> std::result::Result<Option<String>, &'static str> {
    let Some(target) = headers.iter().find_map(|header| next_of(header)) else {
        return Ok(None);
    };
    if target.starts_with('/') && !target.starts_with("//") {
        return Ok(Some(target.to_owned()));
    }
    match http::parse_uri(&Method::GET, target) {
        Ok(uri) if http::authority(&uri).eq_ignore_ascii_case(host) => {
            Ok(Some(redirect::path_and_query(&uri)))
        }
        _ => Err("its next page is not on the same host: refused"),
    }
}

/// The target in a header `Link` that is the next page.
fn next_of(header: &str) -> Option<&str> {
    for link in header.split('<').skip(1) {
        let (target, parameters) = link.split_once('>')?;
        for parameter in parameters.split(';') {
            let (name, value) = parameter.trim().split_once('=').unwrap_or_default();
            let value = value.trim_end_matches([',', ' ']).trim_matches('"');
            if name.eq_ignore_ascii_case("rel") && value.eq_ignore_ascii_case("next") {
                return Some(target.trim());
            }
        }
    }
    None
}

/// Passes each tag of a page to `sink`; false if the page is not a list of tags. Read by hand, because the values of
/// a million bytes of JSON would take twenty times as much memory.
fn read(page: &[u8], sink: &mut dyn FnMut(&str)) -> bool {
    let is_json = serde_json::from_slice::<IgnoredAny>(page).is_ok();
    let (Ok(text), true) = (std::str::from_utf8(page), is_json) else {
        return false;
    };
    if !text.trim_ascii_start().starts_with('{') {
        return false;
    }
    let (mut at, mut depth, mut is_tags) = (0, 0, false);
    let (bytes, mut key) = (page, "");
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => {
                let start = at;
                while bytes.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                let text = text.get(start..at).unwrap_or_default();
                at += 1;
                match depth {
                    1 => key = text,
                    2 if is_tags => sink(text),
                    _ => {}
                }
            }
            b'[' | b'{' => {
                depth += 1;
                if depth == 2 {
                    is_tags = *byte == b'[' && key == "tags";
                }
            }
            b']' | b'}' => depth -= 1,
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn tags(page: &[u8]) -> Option<Vec<String>> {
        let mut tags = Vec::new();
        read(page, &mut |tag| tags.push(tag.to_owned())).then_some(tags)
    }

    #[test]
    fn the_next_page_is_on_the_same_host() {
        let refused = Err("its next page is not on the same host: refused");
        for (link, expected) in [
            (
                "</v2/a/tags/list?last=b&n=1>; rel=\"next\"",
                Ok(Some("/v2/a/tags/list?last=b&n=1")),
            ),
            (
                "<https://reg.example/v2/x?n=1>; rel=next",
                Ok(Some("/v2/x?n=1")),
            ),
            (
                "<https://REG.example/v2/x>; REL=\"Next\"",
                Ok(Some("/v2/x")),
            ),
            (
                "</v2/0>; rel=\"prev\", </v2/2,3>; title=\"x\"; rel=\"next\"",
                Ok(Some("/v2/2,3")),
            ),
            (
                "</v2/0>; rel=\"next\", </v2/1>; rel=\"last\"",
                Ok(Some("/v2/0")),
            ),
            ("</v2/0>; rel=\"prev\"", Ok(None)),
            ("</v2/0>", Ok(None)),
            ("", Ok(None)),
            ("<", Ok(None)),
            ("<https://reg.example.evil/v2/x>; rel=\"next\"", refused),
            ("<https://reg.example@evil/v2/x>; rel=\"next\"", refused),
            ("<https://reg.example:5000/v2/x>; rel=\"next\"", refused),
            ("<//evil/v2/x>; rel=\"next\"", refused),
            ("<v2/x>; rel=\"next\"", refused),
            ("<>; rel=\"next\"", refused),
        ] {
            let expected = expected.map(|path| path.map(str::to_owned));
            let links = [link.to_owned()];
            assert_eq!(next(&links, "reg.example"), expected, "{link}");
        }
        assert_eq!(next(&[], "reg.example"), Ok(None));
    }

    #[test]
    fn only_the_tags_of_a_page_are_read() {
        for (page, expected) in [
            (
                r#"{"name":"a/b","tags":["1","v2"]}"#,
                Some(&["1", "v2"][..]),
            ),
            (
                r#" { "tags" : [ "1" ] , "name" : "tags", "x": ["2"] }"#,
                Some(&["1"]),
            ),
            (
                r#"{"name":"tags","x":["1"],"tags":[["2"],{"tags":["3"]},"4"]}"#,
                Some(&["4"]),
            ),
            (r#"{"name":"\"tags\":[\"1\"]","tags":[]}"#, Some(&[])),
            (r#"{"tags":null,"x":["1"]}"#, Some(&[])),
            (r#"{"name":"a"}"#, Some(&[])),
            (r#"["tags",["1"]]"#, None),
            (r#"{"tags":["1""#, None),
            ("<html>", None),
            ("", None),
        ] {
            let expected: Option<Vec<String>> =
                expected.map(|tags| tags.iter().map(ToString::to_string).collect());
            assert_eq!(tags(page.as_bytes()), expected, "{page}");
        }
    }

    #[test]
    fn a_page_is_read_as_any_parser_would() {
        const WORDS: &[&str] = &[
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"",
            "\\\"",
            "\"tags\":",
            "\"name\":",
            "\"1.0\"",
            "null",
            "é",
            " ",
        ];
        crate::fuzz::fuzz("tags", WORDS, |input| {
            let found = tags(input);
            let Ok(value) = serde_json::from_slice::<Value>(input) else {
                return;
            };
            let value = Some(value).filter(Value::is_object);
            // A tag has no escapes, and no registry names a key twice.
            let names = input.windows(6).filter(|text| text == b"\"tags\"").count();
            if input.contains(&b'\\') || names > 1 {
                return;
            }
            let list = |value: &Value| {
                let list = value["tags"].as_array().cloned().unwrap_or_default();
                let tags = list.iter().filter_map(Value::as_str);
                tags.map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(found, value.as_ref().map(list));
        });
    }
}
