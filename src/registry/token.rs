//! The token endpoint's answer (distribution spec, "Token Authentication") and how long it lasts.

use crate::credentials::Login;
use crate::credentials::Secret;
use crate::http;
use serde_json::Value;
use std::time::Duration;
use std::time::Instant;

/// Registries must accept a token for at least this long, whatever they say.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
/// Nor is one trusted for longer than this.
const LONGEST_LIFE: Duration = Duration::from_secs(86_400);
/// Longer than any server takes a header; real ones are below 4 KiB.
const LONGEST_TOKEN: usize = 16 * 1024;
/// A token is given up this much before its time, so that it does not expire on the way.
const SAFETY: Duration = Duration::from_secs(5);

/// A bearer token for one repository.
#[derive(Debug, Clone)]
pub(super) struct Token {
    /// The value of the `Authorization` header.
    pub(super) header: Secret,
    /// Whom it was given to.
    pub(super) owner: Option<Login>,
    /// When it is no longer used; `None` if the registry did not say (GHCR, Quay, Gitea): then it
    /// is used until it is refused.
    expires: Option<Instant>,
}

impl Token {
    /// Reads the answer's body; an error says what was expected without quoting what was sent.
    pub(super) fn parse(body: &[u8], now: Instant) -> Result<Self, &'static str> {
        let answer: Value =
            serde_json::from_slice(body).map_err(|_| "not the JSON of a token answer")?;
        let token = [&answer["access_token"], &answer["token"]];
        let token = token.iter().filter_map(|token| token.as_str());
        let token = token
            .into_iter()
            .find(|token| !token.is_empty())
            .ok_or("neither token nor access_token in the answer")?;
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a token with characters no header may hold");
        }
        if token.len() > LONGEST_TOKEN {
            return Err("a token longer than a header may be");
        }
        let life = answer["expires_in"].as_i64().map(|secs| {
            Duration::from_secs(secs.unsigned_abs() * u64::from(secs > 0))
                .clamp(SHORTEST_LIFE, LONGEST_LIFE)
        });
        Ok(Self {
            header: Secret::new(format!("Bearer {token}")),
            owner: None,
            expires: life.map(|life| now + life - SAFETY),
        })
    }

    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// Asks to exchange a refresh token (distribution spec, "OAuth2 Token Authentication").
pub(super) fn refresh_form(token: &Secret, service: Option<&str>, scope: &str) -> Secret {
    let encode = |text: &str| http::percent_encode(text, "");
    Secret::new(format!(
        "grant_type=refresh_token&client_id=imagewatch&service={}&scope={}&refresh_token={}",
        encode(service.unwrap_or_default()),
        encode(scope),
        encode(token.reveal())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_field_and_any_life_are_understood() {
        let now = Instant::now();
        for (body, header, life) in [
            (r#"{"token":"a"}"#, "Bearer a", None),
            (r#"{"access_token":"b","token":"a"}"#, "Bearer b", None),
            (r#"{"access_token":"","token":"a"}"#, "Bearer a", None),
            (r#"{"token":"a","expires_in":300}"#, "Bearer a", Some(295)),
            (r#"{"token":"a","expires_in":1}"#, "Bearer a", Some(55)),
            (r#"{"token":"a","expires_in":-7}"#, "Bearer a", Some(55)),
        ] {
            let token = Token::parse(body.as_bytes(), now).expect(body);
            assert_eq!(token.header.reveal(), header);
            let life = life.map(Duration::from_secs);
            assert_eq!(token.expires, life.map(|life| now + life), "{body}");
        }
    }

    #[test]
    fn a_token_is_not_longer_than_a_header_may_be() {
        for (length, is_taken) in [(LONGEST_TOKEN, true), (LONGEST_TOKEN + 1, false)] {
            let body = format!(r#"{{"token":"{}"}}"#, "t".repeat(length));
            let token = Token::parse(body.as_bytes(), Instant::now());
            assert_eq!(token.is_ok(), is_taken, "{length}");
        }
    }

    #[test]
    fn an_answer_without_a_token_is_an_error_that_quotes_nothing() {
        for body in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"token":"a\nb"}"#,
            r#"{"token":7}"#,
        ] {
            assert!(
                Token::parse(body.as_bytes(), Instant::now()).is_err(),
                "{body}"
            );
        }
    }

    #[test]
    fn no_answer_panics_or_makes_an_unusable_header() {
        const WORDS: &[&str] = &[
            "{",
            "}",
            "[",
            ":",
            ",",
            "\"",
            "\\n",
            "\\u0000",
            "null",
            "\"token\":",
            "\"access_token\":",
            "\"expires_in\":",
            "9223372036854775808",
            "-1",
            "1e999",
            "é",
        ];
        crate::fuzz::fuzz("token", WORDS, |input| {
            let now = Instant::now();
            if let Ok(token) = Token::parse(input, now) {
                assert!(ureq::http::HeaderValue::from_str(token.header.reveal()).is_ok());
                assert!(token.is_fresh(now));
                let longest = now + LONGEST_LIFE;
                assert!(token.expires.is_none_or(|expires| expires <= longest));
            }
        });
    }
}
