//! `POST /hooks/push`: a registry tells that something was pushed.
//!
//! The sender proves itself over the raw body. The body only names a repository: its followed references are looked up
//! soon. Digests and tags of a body are never used, so a call that is sent again costs a look-up at most.

use super::Admin;
use super::query::decode;
use super::reply::Reply;
use super::reply::respond;
use super::route::is_equal;
use crate::journal::HOOK_SENDERS;
use crate::json::parse as parse_json;
use crate::logging::debug;
use crate::reference::Reference;
use crate::secret::Secret;
use crate::text::at;
use crate::text::list_at;
use crate::text::text_at;
use ring::hmac;
use serde_json::Value;
use serde_json::json;
use std::io::Read;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use tiny_http::Request;

/// The longest body, as the guard lets it through.
const LONGEST: u64 = 256 * 1024;
/// The most images that one body can name.
const MOST: usize = 64;
/// A wrong proof is logged at most this often.
const PAUSE: Duration = Duration::from_secs(60);
/// The prefix of an `X-Hub-Signature-256`.
const SHA256: &str = "sha256=";

/// An image that a body names: its registry and its repository.
type Named = (String, String);

impl Admin {
    /// Answers at once. The work is done later, by the watcher.
    #[cold]
    pub(super) fn hook(&self, mut request: Request, query: &str) {
        let Some(secret) = &self.hook_secret else {
            return respond(request, Reply::error(404, &"not found"));
        };
        let mut body = Vec::new();
        let whole = request.as_reader().take(LONGEST).read_to_end(&mut body);
        let header = |name: &'static str| {
            let mut headers = request.headers().iter();
            let found = headers.find(|header| header.field.equiv(name));
            found.map(|header| header.value.as_str())
        };
        let is_form = header("Content-Type")
            .is_some_and(|kind| kind.to_ascii_lowercase().contains("x-www-form-urlencoded"));
        let reply = if whole.is_err() {
            Reply::error(400, &"the request is not complete")
        } else if !is_proof(secret, &header, query, &body) {
            self.wrong_proof()
        } else {
            self.pushed(is_form, &body)
        };
        respond(request, reply);
    }

    fn wrong_proof(&self) -> Reply {
        self.metrics.hooked(0, 2);
        let last = &self.last_wrong_proof;
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= PAUSE) {
            *last = Some(Instant::now());
            log::warn!("a push hook was refused: its signature or token is missing or wrong");
        }
        Reply::error(401, &"the signature or the token is missing or wrong")
    }

    fn pushed(&self, is_form: bool, body: &[u8]) -> Reply {
        let snapshot = self.board.snapshot();
        if !snapshot.watcher.enabled {
            return Reply::error(
                409,
                &"the watcher is off (IMAGE_AUTO_REFRESH=true switches it on)",
            );
        }
        let Some(body) = parse(is_form, body) else {
            return Reply::error(400, &"the body is not JSON");
        };
        let (sender, named) = images(&body);
        let followed = snapshot.references.iter();
        let followed = followed.filter_map(|entry| entry.reference.parse().ok());
        let followed: Vec<Reference> = followed.collect();
        let checked = followed_of(&named, &followed);
        let now = Instant::now();
        for reference in &checked {
            self.pushes.add(&reference.name(), now);
        }
        self.metrics.hooked(sender, usize::from(checked.is_empty()));
        let checked: Vec<String> = checked.iter().map(ToString::to_string).collect();
        debug(format_args!(
            "push hook sender={} checked={}",
            HOOK_SENDERS[sender],
            checked.join(",")
        ));
        Reply::new(202, &json!({ "checked": checked }))
    }
}

/// Whether the sender knows the secret. The first proof that is there decides.
fn is_proof<'h>(
    secret: &Secret,
    header: &dyn Fn(&'static str) -> Option<&'h str>,
    query: &str,
    body: &[u8],
) -> bool {
    let signed = |hex: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes());
        from_hex(hex).is_some_and(|tag| hmac::verify(&key, body, &tag).is_ok())
    };
    let is_secret = |text: &str| is_equal(text, secret.reveal());
    if let Some(value) = header("X-Hub-Signature-256") {
        return value.trim().strip_prefix(SHA256).is_some_and(signed);
    }
    for name in ["X-Gitea-Signature", "X-Forgejo-Signature"] {
        if let Some(value) = header(name) {
            return signed(value.trim());
        }
    }
    if let Some(value) = header("Authorization") {
        let value = value.trim();
        let bearer = value
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        return is_secret(value) || bearer.is_some_and(|(_, token)| is_secret(token.trim()));
    }
    if let Some(value) = header("X-Gitlab-Token") {
        return is_secret(value);
    }
    let mut pairs = query.split('&');
    let token = pairs.find_map(|pair| pair.strip_prefix("token="));
    token
        .and_then(decode)
        .is_some_and(|token| is_secret(&token))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| u8::try_from(digit(pair[0])? * 16 + digit(*pair.get(1)?)?).ok();
    text.as_bytes().chunks(2).map(pair).collect()
}

/// Reads the JSON of a body. GitHub's default form has it in a field.
fn parse(is_form: bool, body: &[u8]) -> Option<Value> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if !is_form {
        return serde_json::from_slice(body).ok();
    }
    let mut pairs = std::str::from_utf8(body).ok()?.split('&');
    let payload = pairs.find_map(|pair| pair.strip_prefix("payload="))?;
    parse_json(&decode(payload)?).ok()
}

/// The place of the sender in [`HOOK_SENDERS`], and the images of a body that tells of a push.
fn images(body: &Value) -> (usize, Vec<Named>) {
    let is_there = |path: &str| !at(body, path).is_null();
    let one = |image: String| vec![image];
    let (sender, named) = if is_there("events") {
        let events = list_at(body, "events").iter();
        (5, events.map(of_event).collect())
    } else if is_there("target") {
        (6, one(of_event(body)))
    } else if is_there("detail") {
        (7, one(of_amazon(body)))
    } else if is_there("package.html_url") && !is_there("package.package_version") {
        (2, one(of_gitea(body)))
    } else if is_there("package") {
        (1, one(of_github(body, at(body, "package"))))
    } else if is_there("registry_package") {
        (1, one(of_github(body, at(body, "registry_package"))))
    } else if is_there("push_data") {
        let is_push = is_tag(text_at(body, "push_data.tag"));
        (
            3,
            one(if_so(
                is_push,
                ["docker.io", text_at(body, "repository.repo_name"), ""],
            )),
        )
    } else if is_there("updated_tags") {
        let is_push = !list_at(body, "updated_tags").is_empty();
        (
            4,
            one(if_so(is_push, [text_at(body, "docker_url"), "", ""])),
        )
    } else if is_there("event_data") {
        (8, of_harbor(body, "event_data.resources"))
    } else if is_there("data") {
        (8, of_harbor(body, "data.resources"))
    } else if is_there("image") {
        (9, one(text_at(body, "image").to_owned()))
    } else {
        (0, Vec::new())
    };
    let named = named.iter().take(MOST).filter_map(|image| named_by(image));
    (sender, named.collect())
}

/// Joins the parts of a name that are there, or returns nothing if it is not so.
fn if_so(is_so: bool, parts: [&str; 3]) -> String {
    let mut name = String::new();
    for part in parts.into_iter().filter(|part| is_so && !part.is_empty()) {
        if !name.is_empty() {
            name.push('/');
        }
        name.push_str(part);
    }
    name
}

fn of_amazon(body: &Value) -> String {
    let is_push = text_at(body, "detail.action-type") == "PUSH"
        && text_at(body, "detail.result") == "SUCCESS"
        && is_tag(text_at(body, "detail.image-tag"));
    let (account, region) = (text_at(body, "account"), text_at(body, "region"));
    let host = [account, ".dkr.ecr.", region, ".amazonaws.com"].concat();
    if_so(
        is_push,
        [&host, text_at(body, "detail.repository-name"), ""],
    )
}

fn of_gitea(body: &Value) -> String {
    let text = |path| text_at(body, path);
    let is_push = text("action") == "created"
        && text("package.type") == "container"
        && is_tag(text("package.version"));
    let url = text("package.html_url");
    let host = url.split_once("://").map_or("", |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    if_so(
        is_push,
        [host, text("package.owner.login"), text("package.name")],
    )
}

/// GitHub sends one event for each manifest, and only one of them has a tag. Both of its events have these fields.
fn of_github(body: &Value, package: &Value) -> String {
    let text = |path| text_at(package, path);
    let is_one_of =
        |value: &str, words: [&str; 2]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
    let is_image = |path| is_one_of(text(path), ["container", "docker"]);
    let is_push = is_one_of(text_at(body, "action"), ["published", "updated"])
        && (is_image("package_type") || is_image("ecosystem"));
    let url = text("package_version.package_url");
    if url.rsplit_once(':').is_some_and(|(_, tag)| is_tag(tag)) {
        return if_so(is_push, [url, "", ""]);
    }
    let is_push = is_push && is_tag(text("package_version.container_metadata.tag.name"));
    if_so(is_push, ["ghcr.io", text("namespace"), text("name")])
}

fn of_harbor(body: &Value, path: &str) -> Vec<String> {
    let kinds = ["PUSH_ARTIFACT", "pushImage", "harbor.artifact.pushed"];
    let is_push = kinds.contains(&text_at(body, "type"));
    let resources = list_at(body, path).iter();
    let image = |one| if_so(is_push, [text_at(one, "resource_url"), "", ""]);
    resources.map(image).collect()
}

/// The image of an event of distribution, or of Azure: only of a push with a tag. Pulls are told too, and every look-up
/// is one.
fn of_event(event: &Value) -> String {
    let is_push = text_at(event, "action") == "push" && is_tag(text_at(event, "target.tag"));
    let host = text_at(event, "request.host");
    if_so(is_push, [host, text_at(event, "target.repository"), ""])
}

/// Whether this is a tag that somebody may follow. Signatures have tags like digests.
fn is_tag(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(['/', '@'])
        && !text.starts_with("sha256:")
        && !text.starts_with("sha256-")
}

/// Reads `host/repository`, with a tag or without, in any case. A push without a tag is named by its digest, and is nothing new.
fn named_by(image: &str) -> Option<Named> {
    let image = &*image.to_ascii_lowercase();
    if image.is_empty() || image.contains('@') {
        return None;
    }
    let (host, rest) = image.split_once('/').unwrap_or(("", image));
    let name = rest.split(':').next().unwrap_or_default();
    // Docker's short names mean Docker Hub.
    if let Ok(reference) = image.parse::<Reference>()
        && (reference.registry() == host || reference.registry() == "docker.io")
    {
        let name = reference.repository().to_owned();
        return Some((reference.registry().to_owned(), name));
    }
    Some((host.to_owned(), name.to_owned()))
}

/// The followed references of these images. A registry may know itself under another name, so the path alone decides
/// where no followed reference has this host.
fn followed_of<'r>(named: &[Named], followed: &'r [Reference]) -> Vec<&'r Reference> {
    let is_known = |host: &str| {
        followed
            .iter()
            .any(|one| one.registry().eq_ignore_ascii_case(host))
    };
    let is_meant = |one: &&Reference| {
        named.iter().any(|(host, name)| {
            one.repository() == name
                && (one.registry().eq_ignore_ascii_case(host) || !is_known(host))
                || !is_known(host) && one.repository() == format!("{host}/{name}")
        })
    };
    followed.iter().filter(is_meant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "imagewatch-test-secret";
    const PACKAGE: &str = r#"{"action":"published","package":{"name":"app","namespace":"Acme","ecosystem":"CONTAINER","package_type":"CONTAINER","owner":{"login":"Acme"},"package_version":{"package_url":"ghcr.io/acme/app:latest","container_metadata":{"tag":{"name":"latest","digest":"sha256:51a5ef117189bf686b374576df7e5a0122f0358d3de67d40c587b99c97458a6e"}}}}}"#;
    const UNTAGGED: &str = r#"{"action":"published","registry_package":{"name":"app","namespace":"Acme","package_type":"CONTAINER","package_version":{"package_url":"ghcr.io/acme/app:","container_metadata":{"tag":{"name":"","digest":""}}}}}"#;

    fn proves(headers: &[(&str, &str)], query: &str, body: &str) -> bool {
        let header = |name: &'static str| {
            let found = headers.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| *value)
        };
        is_proof(&Secret::new(SECRET), &header, query, body.as_bytes())
    }

    #[test]
    fn a_signature_is_over_the_raw_body() {
        for (body, hex) in [
            (
                PACKAGE,
                "1cfee2f2c4f96b455198879fc2b5170ff740abb4f05f75618df4432881eb0dcd",
            ),
            (
                UNTAGGED,
                "0b48d485dfb5884eed5879391d78a07b554c8d92a5e68059f9e7c5879ba9e52e",
            ),
            (
                r#"{"zen":"Keep it small.","hook_id":1}"#,
                "56cb7c7e7756b9f7ef9c17aca8133212786e465c9d17bd0377a4da5929ab4e0b",
            ),
            (
                r#"{"image":"ghcr.io/acme/app:latest"}"#,
                "9d6f70d9971b6b04822d0d466fffcf1ca80bdcd35577915e6449fa7ddec7ccdd",
            ),
            (
                "payload=%7B%22action%22%3A%22published%22%7D",
                "5dbf06fb4c87fc668c9cc9606c9d06e4071dd703f1a99a25ecf5f9c4de4cc14c",
            ),
            (
                "",
                "9c5bbc16c921d5281aa99f025b9969cf0a749714af9dd4237d585b35a13408e7",
            ),
        ] {
            let value = format!("sha256={hex}");
            assert!(
                proves(&[("X-Hub-Signature-256", &value)], "", body),
                "{body}"
            );
            assert!(proves(&[("X-Gitea-Signature", hex)], "", body), "{body}");
            let other = format!("{body} ");
            assert!(!proves(&[("X-Hub-Signature-256", &value)], "", &other));
            for bad in [&value[..70], "", "sha256=", "sha256=zz", hex, "sha256=1é"] {
                assert!(!proves(&[("X-Hub-Signature-256", bad)], "", body), "{bad}");
            }
        }
    }

    #[test]
    fn the_first_proof_that_is_there_decides() {
        let token = format!("token={SECRET}");
        let bearer = format!("bearer {SECRET}");
        for (headers, query, expected) in [
            (&[("Authorization", &*bearer)][..], "", true),
            (&[("Authorization", SECRET)], "", true),
            (&[("X-Gitlab-Token", SECRET)], "", true),
            (&[], &*token, true),
            (&[], "a=b&token=imagewatch%2Dtest-secret", true),
            (&[], "", false),
            (&[], "token=", false),
            (&[("Authorization", "Bearer x")], &token, false),
            (&[("X-Hub-Signature-256", "sha256=00")], &token, false),
            (&[("X-Hub-Signature", SECRET)], "", false),
        ] {
            assert_eq!(
                proves(headers, query, "{}"),
                expected,
                "{headers:?} {query}"
            );
        }
    }

    #[test]
    fn each_sender_names_its_image() {
        let event = |action: &str, tag: &str| json!({"action": action, "target": {"repository": "acme/app", "tag": tag}, "request": {"host": "127.0.0.1:5000"}});
        let gitea = |version: &str| {
            json!({"action": "created", "package": {"type": "container", "name": "app", "version": version,
                "owner": {"login": "Acme"}, "html_url": "https://git.example:3000/Acme/-/packages/container/app/1"}})
        };
        let harbor = |kind: &str, url: &str| json!({"type": kind, "event_data": {"resources": [{"resource_url": url}]}});
        let ecr = |result: &str| {
            json!({"detail-type": "ECR Image Action", "account": "1", "region": "eu-west-1", "detail":
                {"action-type": "PUSH", "result": result, "image-tag": "v1", "repository-name": "acme/app"}})
        };
        let package: Value = serde_json::from_str(PACKAGE).expect("JSON");
        let untagged: Value = serde_json::from_str(UNTAGGED).expect("JSON");
        let mut no_url = package.clone();
        no_url["package"]["package_version"]["package_url"] = json!("ghcr.io/acme/app:");
        for (body, sender, expected) in [
            (package, "github", &["ghcr.io acme/app"][..]),
            (no_url, "github", &["ghcr.io acme/app"]),
            (untagged, "github", &[]),
            (gitea("1"), "gitea", &["git.example:3000 acme/app"]),
            (gitea("sha256:00"), "gitea", &[]),
            (
                json!({"push_data": {"tag": "latest", "images": []}, "repository": {"repo_name": "acme/app"}}),
                "docker_hub",
                &["docker.io acme/app"],
            ),
            (
                json!({"docker_url": "quay.io/acme/app", "updated_tags": ["latest"]}),
                "quay",
                &["quay.io acme/app"],
            ),
            (
                json!({"docker_url": "quay.io/acme/app", "updated_tags": []}),
                "quay",
                &[],
            ),
            (
                json!({"events": [event("push", "latest"), event("pull", "latest"), event("push", ""), event("push", "sha256-00.sig")]}),
                "distribution",
                &["127.0.0.1:5000 acme/app"],
            ),
            (event("push", "latest"), "acr", &["127.0.0.1:5000 acme/app"]),
            (event("delete", "latest"), "acr", &[]),
            (
                ecr("SUCCESS"),
                "ecr",
                &["1.dkr.ecr.eu-west-1.amazonaws.com acme/app"],
            ),
            (ecr("FAILURE"), "ecr", &[]),
            (
                harbor("PUSH_ARTIFACT", "h.example/acme/app:1"),
                "harbor",
                &["h.example acme/app"],
            ),
            (
                harbor("pushImage", "h.example:8443/acme/app:1"),
                "harbor",
                &["h.example:8443 acme/app"],
            ),
            (
                harbor("PUSH_ARTIFACT", "h.example/acme/app@sha256:00"),
                "harbor",
                &[],
            ),
            (
                harbor("PULL_ARTIFACT", "h.example/acme/app:1"),
                "harbor",
                &[],
            ),
            (
                json!({"specversion": "1.0", "type": "harbor.artifact.pushed", "data": {"resources": [{"resource_url": "h.example/acme/app:1"}]}}),
                "harbor",
                &["h.example acme/app"],
            ),
            (
                json!({"image": "nginx"}),
                "generic",
                &["docker.io library/nginx"],
            ),
            (
                json!({"image": "registry/acme/app:1"}),
                "generic",
                &["docker.io registry/acme/app"],
            ),
            (json!({"zen": "Keep it small."}), "unknown", &[]),
            (json!([1]), "unknown", &[]),
            (json!(null), "unknown", &[]),
        ] {
            let (found, named) = images(&body);
            assert_eq!(HOOK_SENDERS[found], sender, "{body}");
            let named: Vec<String> = named
                .iter()
                .map(|(host, name)| format!("{host} {name}"))
                .collect();
            assert_eq!(named, expected, "{body}");
        }
    }

    #[test]
    fn only_followed_references_are_looked_up() {
        let followed = [
            "ghcr.io/acme/app:latest",
            "ghcr.io/acme/app:1",
            "nginx",
            "r.lan/acme/app:2",
        ];
        let followed: Vec<Reference> = followed
            .iter()
            .map(|name| name.parse().expect("valid"))
            .collect();
        for (image, expected) in [
            ("ghcr.io/acme/app:3", &[0, 1][..]),
            ("GHCR.IO/acme/app", &[0, 1]),
            ("docker.io/library/nginx", &[2]),
            ("nginx", &[2]),
            ("127.0.0.1:5000/acme/app:x", &[0, 1, 3]),
            ("registry/acme/app", &[]),
            ("ghcr.io/other/app", &[]),
            ("ghcr.io/acme/app@sha256:00", &[]),
            ("", &[]),
        ] {
            let named: Vec<Named> = named_by(image).into_iter().collect();
            let found = followed_of(&named, &followed);
            let expected: Vec<&Reference> =
                expected.iter().map(|at: &usize| &followed[*at]).collect();
            assert_eq!(found, expected, "{image}");
        }
    }

    #[test]
    fn forms_and_marks_are_read() {
        for (is_form, body, expected) in [
            (false, "\u{feff}{\"a\":1}", Some(json!({"a": 1}))),
            (
                true,
                "x=1&payload=%7B%22a%22%3A+1%7D",
                Some(json!({"a": 1})),
            ),
            (true, "payload=%7", None),
            (true, "{}", None),
            (false, "payload=%7B%7D", None),
            (false, "", None),
        ] {
            assert_eq!(parse(is_form, body.as_bytes()), expected, "{body}");
        }
        assert_eq!(parse(false, "[".repeat(100_000).as_bytes()), None);
    }

    #[test]
    fn no_body_panics() {
        const WORDS: &[&str] = &[
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"",
            "\"events\":",
            "\"action\":\"push\"",
            "\"target\":",
            "\"tag\":",
            "\"request\":",
            "\"package\":",
            "\"package_version\":",
            "\"image\":",
            "\"html_url\":",
            "null",
            "payload=",
            "%7B",
            "sha256-",
            "@",
            "/",
            "é",
        ];
        crate::fuzz::fuzz("hook", WORDS, |input| {
            for is_form in [false, true] {
                let (_, named) = images(&parse(is_form, input).unwrap_or_default());
                assert!(named.len() <= MOST);
            }
            let text = String::from_utf8_lossy(input);
            let _ = named_by(&text);
            let _ = from_hex(&text);
        });
    }
}
