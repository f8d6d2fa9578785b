//! Tokens: the answer of a token endpoint (distribution spec, "Token Authentication"), and its lifetime.

use crate::credentials::Login;
use crate::http;
use crate::secret::Secret;
use serde_json::Value;
use std::time::Duration;
use std::time::Instant;
use ureq::http::Uri;

/// The shortest lifetime. The spec asks registries for at least 60 seconds, whatever `expires_in` says.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
/// The longest time that a token is trusted.
const LONGEST_LIFE: Duration = Duration::from_secs(86_400);
/// The longest token, in bytes. No server accepts a longer header, and real tokens are below 4 KiB.
const LONGEST_TOKEN: usize = 16 * 1024;
/// A token is dropped so long before its end, so that it does not expire on the way.
const MARGIN: Duration = Duration::from_secs(5);

/// A bearer token.
#[derive(Debug, Clone)]
pub(super) struct Token {
    /// The value of the `Authorization` header.
    pub(super) header: Secret,
    /// The login that got the token.
    pub(super) owner: Option<Login>,
    /// When it was received.
    pub(super) since: Instant,
    /// The end of its use. If the registry names none (GHCR, Quay, Gitea), the token is used until it is
    /// refused.
    expires: Option<Instant>,
}

impl Token {
    /// Reads the body of the answer. An error says what was expected, and quotes nothing of the body.
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
            since: now,
            expires: life.map(|life| now + life - MARGIN),
        })
    }

    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// Like [`Token::is_fresh`], but false if the registry names no end.
    pub(super) fn is_sure_to_last(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| now < expires)
    }
}

/// The scopes of a token: those of the registry's challenge, and the pull of the repository. The two differ
/// behind a proxy that rewrites names.
///
/// The registry's scopes come first, because some token endpoints use only the first scope. Ours is left out
/// if they cover it, because other endpoints refuse two scopes.
pub(super) fn scopes(of_challenge: &[String], repository: &str) -> Vec<String> {
    let covers = |scope: &String| {
        let rest = scope.strip_prefix("repository:");
        let actions = rest.and_then(|rest| rest.strip_prefix(repository)?.strip_prefix(':'));
        actions.is_some_and(|actions| actions.split(',').any(|one| one == "pull" || one == "*"))
    };
    let mut all = of_challenge.to_vec();
    if !of_challenge.iter().any(covers) {
        all.push(format!("repository:{repository}:pull"));
    }
    all
}

/// The URL of a request for a token (distribution spec, "Requesting a Token").
pub(super) fn url(realm: &Uri, service: Option<&str>, scopes: &[String]) -> String {
    let mut url = realm.to_string();
    let mut separator = if realm.query().is_some() { '&' } else { '?' };
    let scopes = scopes.iter().map(|scope| ("scope", scope.as_str()));
    let service = service.map(|service| ("service", service));
    for (key, value) in service.into_iter().chain(scopes) {
        url.push(separator);
        url.push_str(&format!("{key}={}", http::percent_encode(value, ":/")));
        separator = '&';
    }
    url
}

/// The form that exchanges a refresh token (distribution spec, "OAuth2 Token Authentication").
pub(super) fn refresh_form(token: &Secret, service: Option<&str>, scopes: &[String]) -> Secret {
    let encode = |text: &str| http::percent_encode(text, "");
    Secret::new(format!(
        "grant_type=refresh_token&client_id=imagewatch&service={}&scope={}&refresh_token={}",
        encode(service.unwrap_or_default()),
        encode(&scopes.join(" ")),
        encode(token.reveal())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_asked_for_what_the_registry_named_and_one_repository() {
        for (of_challenge, expected) in [
            (&[][..], &["repository:acme/api:pull"][..]),
            (&["repository:acme/api:pull"], &["repository:acme/api:pull"]),
            (
                &["repository:acme/api:push,pull"],
                &["repository:acme/api:push,pull"],
            ),
            (&["repository:acme/api:*"], &["repository:acme/api:*"]),
            (
                &["repository:up/acme/api:pull", "registry:catalog:*"],
                &[
                    "repository:up/acme/api:pull",
                    "registry:catalog:*",
                    "repository:acme/api:pull",
                ],
            ),
            (
                &["repository:acme/api:push"],
                &["repository:acme/api:push", "repository:acme/api:pull"],
            ),
            (
                &["repository:acme/api2:pull"],
                &["repository:acme/api2:pull", "repository:acme/api:pull"],
            ),
        ] {
            let of_challenge: Vec<String> = of_challenge.iter().map(ToString::to_string).collect();
            assert_eq!(scopes(&of_challenge, "acme/api"), expected);
        }
    }

    #[test]
    fn the_url_names_service_and_scopes() {
        let scopes =
            |all: &[&str]| -> Vec<String> { all.iter().map(ToString::to_string).collect() };
        let realm: Uri = "https://auth.example/token?a=b".parse().expect("URL");
        assert_eq!(
            url(
                &realm,
                Some("my registry"),
                &scopes(&["repository:acme/api:pull"])
            ),
            "https://auth.example/token?a=b&service=my%20registry&scope=repository:acme/api:pull"
        );
        let realm: Uri = "https://auth.example/token".parse().expect("URL");
        assert_eq!(
            url(&realm, None, &scopes(&["repository:a/b:pull,push", "x&y"])),
            "https://auth.example/token?scope=repository:a/b:pull%2Cpush&scope=x%26y"
        );
        let form = refresh_form(&Secret::new("r"), None, &scopes(&["a", "b"]));
        assert_eq!(
            form.reveal(),
            "grant_type=refresh_token&client_id=imagewatch&service=&scope=a%20b&refresh_token=r"
        );
    }

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
