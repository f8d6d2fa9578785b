//! What an Engine says when it says no.

use crate::config::Endpoint;
use crate::error::Error;
use crate::error::one_line;
use crate::http;
use crate::reference::Reference;
use crate::user;
use serde_json::Value;
use std::borrow::Cow;
use std::os::unix::fs::MetadataExt;
use ureq::Body;
use ureq::http::Response;

/// What follows a refusal of somebody who lets only some calls through.
const ALLOW: &str = " (the socket proxy or authorization plugin has to allow ";

/// The Engine's `{"message": …}`, or the words of somebody before it.
pub(super) fn refused(request: &str, answer: Response<Body>) -> Error {
    let status = answer.status().as_u16();
    let words = http::read_words(answer);
    let json: Option<Value> = serde_json::from_str(&words).ok();
    let message = json.as_ref().and_then(|json| json["message"].as_str());
    let rule = rule(request);
    let hint = if matches!(status, 401 | 403 | 405) && !is_engines_own(&rule, message) {
        format!("{ALLOW}{rule})")
    } else {
        String::new()
    };
    let text = without_tags(&words);
    let message = message.unwrap_or(&text);
    Error::Refused {
        request: request.to_owned(),
        status: meant(request, status, message),
        message: format!("{}{hint}", said(message)),
        retry_after: None,
    }
}

/// An Engine's words on one line, and what may be done about it where that is known.
pub(super) fn said(words: &str) -> String {
    let hint = if tells_of_a_full_disk(words) {
        " (the Engine's disk is full: docker system df shows with what; docker image prune gives some back, and \
         IMAGEWATCH_CLEANUP=true keeps replaced images from piling up)"
    } else {
        ""
    };
    format!("{}{hint}", one_line(words))
}

fn tells_of_a_full_disk(words: &str) -> bool {
    words.contains("no space left on device")
}

/// Whether the Engine's disk is full, as far as words tell.
#[must_use]
pub fn is_full(error: &Error) -> bool {
    matches!(error, Error::Refused { message, .. } if message.contains("disk is full"))
}

/// What a page says, because a proxy answers with one. Anything else stays as it is.
fn without_tags(words: &str) -> Cow<'_, str> {
    if !words.starts_with('<') {
        return Cow::Borrowed(words);
    }
    let texts = words.split('<').filter_map(|part| part.split_once('>'));
    Cow::Owned(texts.map(|(_, text)| text).collect::<Vec<_>>().join(" "))
}

/// Whether it is the Engine that forbids something: a pull because a registry did, a network that
/// cannot be joined, or an address there that somebody else has.
fn is_engines_own(rule: &str, message: Option<&str>) -> bool {
    let is_of_rule = match rule {
        "POST /images/create" | "POST /networks/{id}/connect" => true,
        "POST /containers/{id}/start" => message == Some("Address already in use"),
        _ => false,
    };
    is_of_rule && message.is_some_and(|words| !words.contains("authorization denied by plugin"))
}

/// The call as `docs/security.md` lists it: `POST /containers/{id}/start` for
/// `POST tcp://proxy:2375 /containers/web/start`.
fn rule(request: &str) -> String {
    let method = request.split(' ').next().unwrap_or_default();
    let path = request.rsplit(' ').next().unwrap_or_default();
    let begin = if path.starts_with("/libpod/") { 2 } else { 1 };
    let mut slashes = path.match_indices('/').map(|(at, _)| at + 1);
    let Some(id) = slashes.nth(begin) else {
        return format!("{method} {path}");
    };
    let (family, rest) = path.split_at(id);
    // The name of an image has slashes itself.
    match rest.rsplit_once('/') {
        Some((_, what)) => format!("{method} {family}{{id}}/{what}"),
        None if matches!(rest, "json" | "create") => format!("{method} {path}"),
        None => format!("{method} {family}{{id}}"),
    }
}

/// The status of Docker's that an answer means. Podman (5.8) answers 500 where another call came in
/// between, and only its words tell what happened.
fn meant(request: &str, status: u16, message: &str) -> u16 {
    const TAKEN: [&str; 3] = [
        "container already exists",
        "name is already in use",
        "UNIQUE constraint failed: ContainerConfig.Name",
    ];
    let is_post = request.starts_with("POST ");
    match status {
        500 if is_post && TAKEN.iter().any(|words| message.contains(words)) => 409,
        // To a POST it may be said of another container, which that one needs.
        500 if !is_post && message.ends_with("no such container") => 404,
        _ => status,
    }
}

/// Whether the Engine does not know for now whether there is an image: Podman (4.3) answers so of one
/// that is there, while another process changes what it keeps.
pub(super) fn is_unsure_of_image(error: &Error) -> bool {
    let Error::Refused { message, .. } = error else {
        return false;
    };
    error.status() == Some(500) && message.contains("image not known")
}

/// What to do about an Engine that cannot be reached, as far as the reason tells.
pub(super) fn hint(endpoint: &Endpoint, reason: &str) -> String {
    if reason.contains("No such file") {
        return " (is the Engine running, and its socket mounted here?)".to_owned();
    }
    if reason.contains("refused") {
        return " (is the Engine running?)".to_owned();
    }
    if !reason.contains("denied") {
        return String::new();
    }
    let socket = match endpoint {
        Endpoint::Unix(path) => std::fs::metadata(path).ok(),
        Endpoint::Tcp(_) => None,
    };
    let me = user::name();
    if me == "user 0" {
        return format!(
            " (this is {me}: does SELinux forbid it? security_opt: [\"label=disable\"])"
        );
    }
    let Some(socket) = socket else {
        // Nor may its folder be looked into.
        return format!(" (this is {me}: run as root, or in the socket's group)");
    };
    let (owner, group, mode) = (socket.uid(), socket.gid(), socket.mode() & 0o777);
    let by_group = match mode & 0o020 {
        0 => String::new(),
        _ => format!("group_add: [\"{group}\"], or "),
    };
    format!(
        " (the socket is for user {owner} and group {group}, mode {mode:o}, and this is {me}: \
         {by_group}user: \"{owner}\")"
    )
}

/// Whether a registry let the Engine know that it may not read an image, as far as words tell.
#[must_use]
pub fn is_denial(error: &Error) -> bool {
    const DENIALS: [&str; 5] = [
        "denied",
        "unauthorized",
        "authentication",
        "no basic auth",
        "http status: 403",
    ];
    let Error::Refused { message, .. } = error else {
        return false;
    };
    let lower = message.to_ascii_lowercase();
    DENIALS.iter().any(|word| lower.contains(word))
}

/// Names a refused pull by its image, and says what may be done about a denial.
pub(super) fn pull_error(error: Error, request: &str, reference: &Reference) -> Error {
    let is_denial = is_denial(&error);
    let Error::Refused {
        status, message, ..
    } = error
    else {
        return error;
    };
    let hint = if is_denial && !message.contains(ALLOW) {
        format!(
            " (are the credentials for {} set and valid?)",
            reference.registry()
        )
    } else {
        String::new()
    };
    Error::Refused {
        request: request.to_owned(),
        status,
        message: format!("{message}{hint}"),
        retry_after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_known_behind_any_number_of_words() {
        let words = format!("{}: write /x: no space left on device", "long ".repeat(100));
        let error = Error::Refused {
            request: "POST".into(),
            status: 500,
            message: said(&words),
            retry_after: None,
        };
        assert!(
            is_full(&error) && error.to_string().contains("docker system df"),
            "{error}"
        );
    }

    #[test]
    fn a_call_is_named_as_it_is_listed() {
        for (request, expected) in [
            ("GET tcp://p:1 /_ping", "GET /_ping"),
            ("GET tcp://p:1 /version", "GET /version"),
            ("GET tcp://p:1 /containers/json", "GET /containers/json"),
            (
                "GET tcp://p:1 /containers/json/json",
                "GET /containers/{id}/json",
            ),
            (
                "POST unix:///a b/s /containers/create",
                "POST /containers/create",
            ),
            ("POST tcp://p:1 /images/create", "POST /images/create"),
            (
                "GET tcp://p:1 /images/ghcr.io/a/b:1/json",
                "GET /images/{id}/json",
            ),
            ("DELETE tcp://p:1 /images/sha256:ab", "DELETE /images/{id}"),
            (
                "DELETE tcp://p:1 /containers/web",
                "DELETE /containers/{id}",
            ),
            (
                "POST tcp://p:1 /networks/n/connect",
                "POST /networks/{id}/connect",
            ),
            (
                "GET tcp://p:1 /libpod/images/a/json",
                "GET /libpod/images/{id}/json",
            ),
        ] {
            assert_eq!(rule(request), expected, "{request}");
        }
    }

    #[test]
    fn of_a_page_only_what_it_says_is_shown() {
        let page = "<html><body><h1>403 Forbidden</h1>\nNot <b>you.</b>\n</body></html>\n";
        for (words, expected) in [
            (page, "403 Forbidden Not you."),
            ("a < b > c", "a < b > c"),
            ("<", ""),
        ] {
            assert_eq!(one_line(&without_tags(words)), expected);
        }
    }

    #[test]
    fn what_the_engine_itself_forbids_is_not_the_proxys() {
        let (pull, start) = ("POST /images/create", "POST /containers/{id}/start");
        let plugin = "authorization denied by plugin opa: no";
        for (rule, message, expected) in [
            (pull, Some("denied: requested access to the resource"), true),
            (pull, Some(plugin), false),
            (pull, None, false),
            (start, Some("access denied"), false),
            (start, Some("Address already in use"), true),
        ] {
            assert_eq!(
                is_engines_own(rule, message),
                expected,
                "{rule} {message:?}"
            );
        }
    }

    #[test]
    fn podmans_words_tell_what_a_500_means() {
        let gone = "no container with ID 42 found in database: no such container";
        let taken = "container create: name \"a\" is in use: container already exists";
        for (request, status, message, expected) in [
            ("GET /containers/42/json", 500, gone, 404),
            ("DELETE /containers/42", 500, gone, 404),
            ("POST /containers/42/start", 500, gone, 500),
            ("POST /containers/create", 500, taken, 409),
            ("GET /containers/42/json", 500, "database is locked", 500),
            ("GET /containers/42/json", 403, gone, 403),
        ] {
            assert_eq!(
                meant(request, status, message),
                expected,
                "{request} {message}"
            );
        }
    }
}
