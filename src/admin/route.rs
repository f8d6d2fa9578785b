//! The action that a request asks for, or the answer that refuses it. Pure.

use super::access::Rights;
use super::access::Tokens;
use super::access::authorise;
use super::owner::Wish;
use super::query::container;
use super::query::refresh;
use super::query::skip;
use super::query::update;
use super::reply::Reply;
use crate::reference::Target;
use crate::update::Order;

/// Path of every job; the job's id follows.
pub(super) const JOBS: &str = "/admin/jobs/";
/// Path of every container; its name and a verb follow.
const CONTAINERS: &str = "/admin/containers/";
/// Path of push hooks.
pub(super) const HOOK: &str = "/hooks/push";
/// The type of a stream with one JSON document per line.
pub(super) const NDJSON: &str = "application/x-ndjson";

/// The parts of a request that decide its action.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) authorization: Option<&'a str>,
    pub(super) origin: Option<&'a str>,
    pub(super) host: Option<&'a str>,
    pub(super) accept: Option<&'a str>,
}

/// The work that a valid request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Page,
    Health,
    Status,
    Summary,
    Check,
    Metrics,
    Job(String),
    /// A registry tells of a push. The query may hold a token.
    Hook(String),
    Refresh(Order, Answering),
    Decide(Wish),
}

/// How a refresh is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answering {
    /// With the report, when the refresh is over.
    Report,
    /// At once, with the job's id.
    Job,
    /// Step by step, with the report as the last line.
    Stream,
}

/// Decides on the action. An `Err` is the complete answer of a refused request.
#[cold]
pub(super) fn action(
    asked: &Asked,
    tokens: &Tokens,
    catalogue: &[Target],
) -> Result<Action, Reply> {
    let (path, query) = asked.target.split_once('?').unwrap_or((asked.target, ""));
    if path == "/health" {
        return read(asked, Action::Health);
    }
    // The page holds no data, so it needs no token.
    if path == "/" {
        return read(asked, Action::Page);
    }
    // It has a proof of its own.
    if path == HOOK {
        only(asked.method, "POST")?;
        return Ok(Action::Hook(query.to_owned()));
    }
    let rights = authorise(asked, tokens)?;
    let action = behind_token(asked, path, query, catalogue)?;
    let is_read = matches!(action, Action::Status | Action::Summary | Action::Metrics);
    match rights {
        Rights::Read if !is_read => Err(Reply::error(
            403,
            &"IMAGEWATCH_READ_TOKEN may read /admin/status, /admin/summary and /metrics, and nothing else",
        )),
        _ => Ok(action),
    }
}

/// The action of a caller who has shown a token.
fn behind_token(
    asked: &Asked,
    path: &str,
    query: &str,
    catalogue: &[Target],
) -> Result<Action, Reply> {
    match path {
        "/admin/workspace-images/refresh" => {
            only(asked.method, "POST")?;
            let (order, wait) = refresh(query, catalogue)?;
            Ok(Action::Refresh(order, answering(asked, wait)))
        }
        "/v1/update" | "/admin/update" => {
            only(asked.method, "POST")?;
            let (order, wait) = update(query)?;
            Ok(Action::Refresh(order, answering(asked, wait)))
        }
        "/admin/status" => read(asked, Action::Status),
        "/admin/check" => {
            only(asked.method, "POST")?;
            match query {
                "" => Ok(Action::Check),
                _ => Err(Reply::error(400, &"a check has no parameters")),
            }
        }
        "/admin/summary" => read(asked, Action::Summary),
        "/metrics" => read(asked, Action::Metrics),
        "/admin/images/skip" => {
            only(asked.method, "POST, DELETE")?;
            Ok(Action::Decide(skip(query, asked.method)?))
        }
        _ if path.starts_with(CONTAINERS) => {
            let rest = &path[CONTAINERS.len()..];
            let wish = container(rest, query, asked.method, &|wait| answering(asked, wait))?;
            Ok(Action::Decide(wish))
        }
        _ if path.starts_with(JOBS) => read(asked, Action::Job(path[JOBS.len()..].to_owned())),
        _ => Err(Reply::error(404, &"not found")),
    }
}

/// An action that only reads.
fn read(asked: &Asked, action: Action) -> Result<Action, Reply> {
    only(asked.method, "GET, HEAD")?;
    Ok(action)
}

fn answering(asked: &Asked, wait: bool) -> Answering {
    let accept = asked.accept.unwrap_or_default();
    let mut kinds = accept.split(',').map(|kind| kind.split(';').next());
    if !wait {
        Answering::Job
    } else if kinds.any(|kind| kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(NDJSON))) {
        Answering::Stream
    } else {
        Answering::Report
    }
}

pub(super) fn only(method: &str, allowed: &'static str) -> Result<(), Reply> {
    if allowed.split(", ").any(|word| word == method) {
        return Ok(());
    }
    Err(Reply {
        allow: Some(allowed),
        ..Reply::error(405, &"method not allowed")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::update::Extent;
    use crate::update::Images;
    use serde_json::Value;
    use serde_json::json;

    fn tokens() -> Tokens {
        Tokens {
            admin: Some(Secret::new("s3cret")),
            read: Some(Secret::new("r3ad")),
        }
    }

    fn body(reply: &Reply) -> Value {
        serde_json::from_str(&reply.body).expect("JSON")
    }

    fn catalogue() -> Vec<Target> {
        let target = |name: &str| Target {
            name: name.to_owned(),
            reference: format!("reg.example/{name}").parse().expect("valid"),
        };
        vec![target("hermes"), target("claude-code")]
    }

    fn ask(method: &str, target: &str) -> Result<Action, Reply> {
        let asked = Asked {
            method,
            target,
            authorization: None,
            origin: None,
            host: Some("127.0.0.1:8080"),
            accept: None,
        };
        action(&asked, &Tokens::default(), &catalogue())
    }

    fn post(query: &str) -> Result<Order, Reply> {
        match ask("POST", &format!("/admin/workspace-images/refresh{query}"))? {
            Action::Refresh(order, _) => Ok(order),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_refresh_is_read_from_its_query() {
        for (query, names, extent) in [
            ("", &["hermes", "claude-code"][..], Extent::Recreate),
            ("?", &["hermes", "claude-code"], Extent::Recreate),
            ("?runtime=claude-code", &["claude-code"], Extent::Recreate),
            ("?runtime=claude%2dcode", &["claude-code"], Extent::Recreate),
            ("?runtime=", &["hermes", "claude-code"], Extent::Recreate),
            ("?recreate=false", &["hermes", "claude-code"], Extent::Pull),
            ("?recreate=TRUE", &["hermes", "claude-code"], Extent::Pull),
            ("?recreate", &["hermes", "claude-code"], Extent::Pull),
            (
                "?recreate=true&force=true",
                &["hermes", "claude-code"],
                Extent::Force,
            ),
            ("?force=1", &["hermes", "claude-code"], Extent::Recreate),
            (
                "?force=true&recreate=no",
                &["hermes", "claude-code"],
                Extent::Pull,
            ),
        ] {
            let order = post(query).expect(query);
            let (Images::These(targets) | Images::Named(targets)) = order.images else {
                panic!("{query}: {:?}", order.images);
            };
            let seen: Vec<&str> = targets.iter().map(|t| t.name.as_str()).collect();
            assert_eq!((seen.as_slice(), order.extent), (names, extent), "{query}");
        }
    }

    #[test]
    fn bad_queries_change_nothing() {
        for (query, error) in [
            ("?runtime=x", "unknown runtime: x"),
            ("?runtme=hermes", "unknown parameter: runtme"),
            ("?runtime=hermes&runtime=x", "given more than once: runtime"),
            ("?runtime=%zz", "the query is not percent-encoded UTF-8"),
            ("?runtime=%ff", "the query is not percent-encoded UTF-8"),
        ] {
            let reply = post(query).expect_err(query);
            assert_eq!(reply.status, 400, "{query}");
            assert_eq!(body(&reply)["error"], error, "{query}");
        }
        let unknown = post("?runtime=x").expect_err("unknown");
        assert_eq!(
            body(&unknown)["known_runtimes"],
            json!(["hermes", "claude-code"])
        );
    }

    #[test]
    fn each_path_has_its_methods() {
        for (method, target, status, allow) in [
            ("GET", "/admin/workspace-images/refresh", 405, Some("POST")),
            ("POST", "/admin/status", 405, Some("GET, HEAD")),
            ("DELETE", "/health", 405, Some("GET, HEAD")),
            ("POST", "/metrics", 405, Some("GET, HEAD")),
            ("POST", "/", 405, Some("GET, HEAD")),
            ("GET", "/nothing", 404, None),
            ("POST", "/admin/workspace-images/refresh/", 404, None),
        ] {
            let reply = ask(method, target).expect_err(target);
            assert_eq!(
                (reply.status, reply.allow),
                (status, allow),
                "{method} {target}"
            );
        }
        assert_eq!(ask("GET", "/health"), Ok(Action::Health));
        assert_eq!(ask("HEAD", "/admin/status"), Ok(Action::Status));
        assert_eq!(ask("GET", "/metrics"), Ok(Action::Metrics));
    }

    #[test]
    fn with_a_token_everything_but_health_and_the_page_wants_it() {
        let ask = |target: &str, authorization: Option<&str>| {
            let asked = Asked {
                method: "GET",
                target,
                authorization,
                origin: Some("https://elsewhere.example"),
                host: Some("imagewatch:8080"),
                accept: None,
            };
            action(&asked, &tokens(), &catalogue()).map_err(|reply| {
                (
                    reply.status,
                    body(&reply)["error"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned(),
                )
            })
        };
        let required = Err((401, "admin auth required".to_owned()));
        let invalid = Err((401, "invalid admin auth token".to_owned()));
        assert_eq!(ask("/health", None), Ok(Action::Health));
        assert_eq!(ask("/", None), Ok(Action::Page));
        assert_eq!(
            ask("/admin/status", Some("Bearer s3cret")),
            Ok(Action::Status)
        );
        assert_eq!(
            ask("/admin/status", Some("bearer  s3cret ")),
            Ok(Action::Status)
        );
        assert_eq!(ask("/admin/status", None), required);
        assert_eq!(ask("/metrics", None), required);
        assert_eq!(ask("/admin/status", Some("Basic s3cret")), required);
        assert_eq!(ask("/admin/status", Some("Bearer ")), required);
        assert_eq!(ask("/admin/status", Some("Bearer S3cret")), invalid);
        assert_eq!(ask("/admin/status", Some("Bearer s3cre")), invalid);
        assert_eq!(ask("/nothing", None), required);
    }

    #[test]
    fn the_token_for_reading_reads_and_does_nothing_else() {
        let ask = |method, target| {
            let asked = Asked {
                method,
                target,
                authorization: Some("Bearer r3ad"),
                origin: None,
                host: Some("imagewatch:8080"),
                accept: None,
            };
            let refused = |reply: Reply| reply.status;
            action(&asked, &tokens(), &catalogue()).map_err(refused)
        };
        for (method, target, action) in [
            ("GET", "/admin/status", Action::Status),
            ("HEAD", "/admin/status", Action::Status),
            ("GET", "/admin/summary", Action::Summary),
            ("GET", "/metrics", Action::Metrics),
            ("GET", "/health", Action::Health),
            ("GET", "/", Action::Page),
        ] {
            assert_eq!(ask(method, target), Ok(action), "{method} {target}");
        }
        for (method, target) in [
            ("POST", "/admin/workspace-images/refresh"),
            ("POST", "/admin/update"),
            ("POST", "/v1/update?image=nginx"),
            ("POST", "/admin/check"),
            ("GET", "/admin/jobs/1"),
            ("POST", "/admin/containers/web/update"),
            ("POST", "/admin/containers/web/rollback"),
            ("POST", "/admin/containers/web/hold"),
            ("DELETE", "/admin/containers/web/hold"),
            (
                "POST",
                "/admin/images/skip?image=nginx&digest=sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            ),
        ] {
            assert_eq!(ask(method, target), Err(403), "{method} {target}");
        }
    }

    #[test]
    fn without_a_token_no_page_from_elsewhere_gets_through() {
        for (host, origin, fine) in [
            ("127.0.0.1:8080", None, true),
            ("localhost:8080", None, true),
            ("[::1]:8080", None, true),
            ("127.0.0.1:8080", Some("http://127.0.0.1:8080"), true),
            ("127.0.0.1:8080", Some("https://evil.example"), false),
            ("127.0.0.1:8080", Some("null"), false),
            ("evil.example:8080", None, false),
        ] {
            let asked = Asked {
                method: "POST",
                target: "/admin/workspace-images/refresh",
                authorization: None,
                origin,
                host: Some(host),
                accept: None,
            };
            let allowed = action(&asked, &Tokens::default(), &catalogue()).is_ok();
            assert_eq!(allowed, fine, "{host} {origin:?}");
        }
    }

    /// A corpus text holds a line for each part of a request: the request line, then `Authorization`,
    /// `Origin`, `Host` and `Accept`. An empty line means that the header is absent.
    #[test]
    fn nobody_gets_in_without_the_token_whatever_is_asked() {
        const WORDS: &[&str] = &[
            "GET ",
            "HEAD ",
            "POST ",
            "/",
            "/health",
            "/admin/status",
            "/metrics",
            "/v1/update",
            "/admin/jobs/",
            "/admin/workspace-images/refresh",
            "?",
            "&",
            "=",
            "+",
            "%",
            "%00",
            "%2f",
            "%ff",
            "%zz",
            "runtime=hermes",
            "recreate=",
            "force=true",
            "wait=false",
            "image=a,b:1",
            "Bearer ",
            "bearer",
            "Basic ",
            "s3cret",
            "S3CRET",
            "null",
            "https://evil.example",
            "localhost",
            "127.0.0.1",
            "[::1]",
            "[",
            ":8080",
            "application/x-ndjson",
            ",",
            ";",
            " ",
            "\t",
            "\n",
            "é",
            "\u{a0}",
        ];
        crate::fuzz::fuzz("route", WORDS, |input| {
            let text = String::from_utf8_lossy(input);
            let mut lines = text.split('\n');
            let (method, target) = lines
                .next()
                .and_then(|line| line.split_once(' '))
                .unwrap_or_default();
            let mut header = || lines.next().filter(|value| !value.is_empty());
            let asked = Asked {
                method,
                target,
                authorization: header(),
                origin: header(),
                host: header(),
                accept: header(),
            };
            let words = asked.authorization.unwrap_or_default().split_whitespace();
            let words: Vec<&str> = words.collect();
            let shown =
                matches!(words[..], [scheme, "s3cret"] if scheme.eq_ignore_ascii_case("bearer"));
            check(action(&asked, &tokens(), &catalogue()), shown);
            let host = asked.host.unwrap_or_default().to_ascii_lowercase();
            let origin = asked.origin.map(str::to_ascii_lowercase);
            let is_elsewhere = origin.is_some_and(|origin| !origin.ends_with(&host));
            let is_far = host.starts_with("evil") || is_elsewhere;
            check(action(&asked, &Tokens::default(), &catalogue()), !is_far);
        });
    }

    /// Asserts that a refusal is JSON with an error status, and that only an allowed caller gets an action.
    fn check(outcome: Result<Action, Reply>, may: bool) {
        match outcome {
            Err(reply) => {
                assert!((400..=405).contains(&reply.status));
                assert!(body(&reply)["error"].is_string());
            }
            Ok(Action::Health | Action::Page) => {}
            Ok(Action::Refresh(order, _)) => {
                assert!(may);
                if let Images::These(targets) | Images::Named(targets) = order.images {
                    assert!(targets.iter().all(|target| catalogue().contains(target)));
                }
            }
            Ok(_) => assert!(may),
        }
    }
}
