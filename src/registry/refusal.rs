//! Refusals: a registry's answer with another status than 200, turned into an error.

use crate::error::Error;
use crate::error::one_line;
use crate::http;
use crate::json;
use crate::secret::Secret;
use crate::secret::without;
use std::time::Duration;
use std::time::SystemTime;
use ureq::Body;
use ureq::http::Response;

/// Turns a refusal into an error with the registry's words and a hint. Of `secrets`, which were sent to the
/// registry, nothing is repeated.
#[cold]
pub fn refused(
    request: &str,
    answer: Response<Body>,
    has_login: bool,
    secrets: &[Secret],
) -> Error {
    let status = answer.status();
    let now = SystemTime::now();
    let header = http::retry_after(answer.headers(), now);
    let words = words(&http::read_words(answer), secrets);
    let retry_after = header.or_else(|| in_words(&words, now));
    let words = if words.is_empty() {
        status
            .canonical_reason()
            .unwrap_or("no reason given")
            .to_owned()
    } else {
        words
    };
    let hint = match (status.as_u16(), has_login) {
        (401 | 403, false) => " (set credentials for this registry)",
        (401 | 403, true) => " (the credentials for this registry were refused: are they expired?)",
        (404, _) => " (does the tag exist? a private repository may answer so as well)",
        (407, _) => " (the proxy wants a login: http://USER:PASSWORD@HOST:PORT in HTTP_PROXY)",
        (429, _) => " (too many requests: left alone for a while)",
        _ => "",
    };
    Error::refused(
        request,
        status.as_u16(),
        format!("{words}{hint}"),
        retry_after,
    )
}

/// Reads a pause from the words. GHCR writes `retry-after: 880.092µs, allowed: 44000/minute`.
fn in_words(words: &str, now: SystemTime) -> Option<Duration> {
    let lower = words.to_lowercase();
    let (_, rest) = lower.split_once("retry-after:")?;
    http::parse_retry_after(rest.split(',').next().unwrap_or(rest), now)
}

/// The registry's own words: the error list of the distribution spec, Docker Hub's `message`, the `details`
/// of its token endpoint, or plain text. A page of HTML is only named.
fn words(body: &str, secrets: &[Secret]) -> String {
    let line = |text: &str| one_line(&without(secrets, text));
    let Ok(json) = json::parse(body) else {
        let text = line(body);
        return if text.starts_with('<') {
            "an HTML page".to_owned()
        } else {
            text
        };
    };
    let first = &json["errors"][0];
    let parts = [
        &first["code"],
        &first["message"],
        &json["message"],
        &json["details"],
    ];
    let parts: Vec<&str> = parts.iter().filter_map(|part| part.as_str()).collect();
    line(&parts.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_may_hide_in_the_words() {
        let now = SystemTime::UNIX_EPOCH;
        for (words, expected) in [
            ("retry-after: 880.092µs, allowed: 44000/minute", Some(1)),
            (
                "TOOMANYREQUESTS: Retry-After: 7.2s, allowed: 2000/minute",
                Some(7),
            ),
            ("retry-after: never", None),
            ("slow down", None),
        ] {
            let found = in_words(words, now).map(|wait| wait.as_secs());
            assert_eq!(found, expected, "{words}");
        }
    }

    #[test]
    fn a_registrys_words_are_found_in_every_dialect() {
        for (body, expected) in [
            (
                r#"{"errors":[{"code":"DENIED","message":"requested access is denied"}]}"#,
                "DENIED: requested access is denied",
            ),
            (r#"{"message":"slow down"}"#, "slow down"),
            (
                r#"{"details":"incorrect username or password"}"#,
                "incorrect username or password",
            ),
            ("Too Many\r\nRequests", "Too Many Requests"),
            ("<html><body>502</body></html>", "an HTML page"),
            ("{}", ""),
            ("", ""),
            ("7", ""),
        ] {
            assert_eq!(words(body, &[]), expected, "{body}");
        }
    }

    #[test]
    fn what_was_sent_is_not_repeated() {
        let secrets = [Secret::new("hunter2"), Secret::new("")];
        let long = "x".repeat(296);
        for body in [
            "you said hunter2".to_owned(),
            r#"{"errors":[{"code":"DENIED","message":"not for hunter2!"}]}"#.to_owned(),
            // Cut in the middle of it.
            format!("{long}hunter2"),
        ] {
            let words = words(&body, &secrets);
            assert!(
                !words.contains("hunter2") && !words.contains("hunt"),
                "{words}"
            );
        }
    }

    #[test]
    fn no_refusal_panics_or_takes_more_than_a_line() {
        const WORDS: &[&str] = &[
            "{",
            "}",
            "[",
            ":",
            "\"",
            "\\n",
            "\\u001b",
            "\n",
            "\u{85}",
            "errors",
            "message",
            "Retry-After:",
            "1h",
            "99999999999999999999h",
            ".",
            "9.9.9s",
            "µs",
            "İ",
            "Sun, 06 Nov 9999 08:49:37 GMT",
            "<",
        ];
        crate::fuzz::fuzz("refusal", WORDS, |input| {
            let words = words(&String::from_utf8_lossy(input), &[]);
            assert!(
                words.len() < 400 && !words.contains(char::is_control),
                "{words}"
            );
            let wait = in_words(&words, SystemTime::now());
            assert!(wait.is_none_or(|wait| wait <= Duration::from_secs(3600)));
        });
    }
}
