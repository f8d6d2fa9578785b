//! `POST /hooks/push`: a registry tells that something was pushed.
//!
//! The sender proves itself over the raw body. The body only names a repository: its followed references are looked up
//! soon. Digests and tags of a body are never used, so a call that is sent again costs a look-up at most.

use super::Admin;
use super::access::is_equal;
use super::query::decode;
use super::reply::Reply;
use super::reply::respond;
use crate::journal::HOOK_SENDERS;
use crate::json::at;
use crate::json::read;
use crate::json::text_at;
use crate::logging::debug;
use crate::reference::Reference;
use crate::secret::Secret;
use crate::text::hex;
use ring::hmac;
use serde::Serialize;
use serde_json::Value;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use tiny_http::Request;

/// The most images that one body can name.
const MOST: usize = 64;
/// A wrong proof is logged at most this often.
const PAUSE: Duration = Duration::from_secs(60);

/// Each kind of body, and where it names an image. The columns, of which `-` is an empty one:
///
/// 1. its sender, as in [`HOOK_SENDERS`];
/// 2. a field that only this sender has;
/// 3. the entry or the list of entries, each about one image; without it the whole body is the entry;
/// 4. what has to be so, as `field=value,value`. This, too, keeps pulls away: they are told like pushes, and every look-up
///    is one;
/// 5. the field with the tag. A push without a tag is nothing new for anybody;
/// 6. the name of the image. `{field}` stands for its text, or for its host if the text is a link.
///
/// A field of the entry wins over one of the whole body. GitHub has two events for the same push, and the name in two
/// places.
const FORMS: &str = "\
github package.package_version package action=published,updated package_version.package_url {package_version.package_url}
github package.package_version package action=published,updated package_version.container_metadata.tag.name ghcr.io/{namespace}/{name}
github registry_package registry_package action=published,updated package_version.package_url {package_version.package_url}
github registry_package registry_package action=published,updated package_version.container_metadata.tag.name ghcr.io/{namespace}/{name}
gitea package.html_url package action=created&type=container version {html_url}/{owner.login}/{name}
docker_hub push_data - - push_data.tag docker.io/{repository.repo_name}
quay updated_tags updated_tags - - {docker_url}
distribution events events action=push target.tag {request.host}/{target.repository}
acr target - action=push target.tag {request.host}/{target.repository}
ecr detail detail action-type=push&result=success image-tag {account}.dkr.ecr.{region}.amazonaws.com/{repository-name}
harbor event_data event_data.resources type=push_artifact,pushimage - {resource_url}
harbor data data.resources type=harbor.artifact.pushed - {resource_url}
generic image - - - {image}
";

/// The answer to a hook.
#[derive(Serialize)]
struct Taken {
    /// The references that will be looked up.
    checked: Vec<String>,
}

impl Admin {
    /// Answers at once. The work is done later, by the watcher.
    #[cold]
    pub(super) fn hook(&self, mut request: Request, query: &str) {
        let mut body = Vec::new();
        // The guard has read the body. A part of it would prove nothing.
        let _ = request.as_reader().read_to_end(&mut body);
        let header = |name: &'static str| {
            let mut headers = request.headers().iter();
            let found = headers.find(|header| header.field.equiv(name));
            found.map(|header| header.value.as_str())
        };
        let reply = match self.hooked(&header, query, &body) {
            Ok(taken) => Reply::new(202, &taken),
            Err((status, reason)) => Reply::error(status, &reason),
        };
        respond(request, reply);
    }

    /// Returns the answer; or the status and the reason of a refusal.
    fn hooked<'h>(
        &self,
        header: &dyn Fn(&'static str) -> Option<&'h str>,
        query: &str,
        body: &[u8],
    ) -> Result<Taken, (u16, &'static str)> {
        let secret = self.hook_secret.as_ref().ok_or((404, "not found"))?;
        if !is_proof(secret, header, query, body) {
            self.metrics.hooked(0, 2);
            let last = &self.last_wrong_proof;
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_none_or(|last| last.elapsed() >= PAUSE) {
                *last = Some(Instant::now());
                log::warn!("a push hook was refused: its signature or token is missing or wrong");
            }
            return Err((401, "the signature or the token is missing or wrong"));
        }
        let Some(followed) = self.board.followed() else {
            let reason = "the watcher is off (IMAGE_AUTO_REFRESH=true switches it on)";
            return Err((409, reason));
        };
        let body = parse(body).ok_or((400, "the body is not JSON"))?;
        let (sender, images) = images(&body);
        let mut checked = Vec::new();
        for reference in followed_of(&images, &followed) {
            debug(format_args!(
                "push hook sender={} reference={reference}",
                HOOK_SENDERS[sender]
            ));
            self.pushes.add(&reference.name(), Instant::now());
            checked.push(reference.to_string());
        }
        self.metrics.hooked(sender, usize::from(checked.is_empty()));
        Ok(Taken { checked })
    }
}

/// Whether the sender knows the secret. The first proof that is there decides.
fn is_proof<'h>(
    secret: &Secret,
    header: &dyn Fn(&'static str) -> Option<&'h str>,
    query: &str,
    body: &[u8],
) -> bool {
    let secret = secret.reveal();
    for name in &[
        "X-Hub-Signature-256",
        "X-Gitea-Signature",
        "X-Forgejo-Signature",
    ] {
        if let Some(shown) = header(name) {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
            let own = hex(hmac::sign(&key, body).as_ref());
            let shown = shown.trim().to_ascii_lowercase();
            return is_equal(shown.strip_prefix("sha256=").unwrap_or(&shown), &own);
        }
    }
    for name in &["Authorization", "X-Gitlab-Token"] {
        if let Some(shown) = header(name) {
            let (scheme, token) = shown.trim().split_once(' ').unwrap_or(("", shown));
            let is_token = scheme.is_empty() || scheme.eq_ignore_ascii_case("bearer");
            return is_token && is_equal(token.trim(), secret);
        }
    }
    let mut pairs = query.split('&');
    let token = pairs.find_map(|pair| pair.strip_prefix("token="));
    let token = token.and_then(decode).unwrap_or_default();
    is_equal(&token, secret)
}

/// Reads the JSON of a body. GitHub's default form has it in a field.
fn parse(body: &[u8]) -> Option<Value> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    match body.strip_prefix(b"payload=") {
        Some(form) => read(decode(std::str::from_utf8(form).ok()?)?.as_bytes()),
        None => read(body),
    }
}

/// The place of the sender in [`HOOK_SENDERS`], and the images of a body that tells of a push.
fn images(body: &Value) -> (usize, Vec<String>) {
    let (mut sender, mut images) = ("", Vec::new());
    for form in FORMS.lines() {
        let mut columns = form.split_whitespace();
        let [own, mark, entries, needs, tag, name] =
            [(); 6].map(|()| columns.next().unwrap_or_default());
        let is_of_another = !sender.is_empty() && sender != own;
        if is_of_another || !images.is_empty() || at(body, mark).is_null() {
            continue;
        }
        sender = own;
        let entries = match at(body, entries) {
            Value::Null => std::slice::from_ref(body),
            Value::Array(list) => list,
            entry => std::slice::from_ref(entry),
        };
        for entry in entries {
            if images.len() < MOST {
                images.extend(image_of(&[entry, body], needs, tag, name));
            }
        }
    }
    let place = HOOK_SENDERS.iter().position(|known| *known == sender);
    (place.unwrap_or(0), images)
}

/// The image of an entry, in lower case and perhaps with a tag. The first of `places` that has a field wins.
fn image_of(places: &[&Value; 2], needs: &str, tag: &str, name: &str) -> Option<String> {
    let field = |path| match text_at(places[0], path) {
        "" => text_at(places[1], path),
        text => text,
    };
    for need in needs.split('&') {
        if let Some((path, values)) = need.split_once('=') {
            let (found, mut values) = (field(path), values.split(','));
            if !values.any(|value| value.eq_ignore_ascii_case(found)) {
                return None;
            }
        }
    }
    if tag != "-" && !is_tag(field(tag)) {
        return None;
    }
    let mut image = String::new();
    for part in name.split('{') {
        let (path, rest) = part.split_once('}').unwrap_or(("", part));
        let mut value = field(path);
        if let Some((_, link)) = value.split_once("://") {
            value = link.split('/').next().unwrap_or_default();
        }
        image.push_str(value);
        image.push_str(rest);
    }
    image.make_ascii_lowercase();
    // A push without a tag may be named by its digest.
    (!image.is_empty() && !image.contains('@')).then_some(image)
}

/// Whether this is a tag that somebody may follow, or ends with one. Signatures have tags like digests.
fn is_tag(text: &str) -> bool {
    let tag = text.rsplit(':').next().unwrap_or_default();
    let is_digest = |text: &str| text.starts_with("sha256:") || text.starts_with("sha256-");
    !tag.is_empty() && !tag.contains(['/', '@']) && !is_digest(text) && !is_digest(tag)
}

/// The followed references of these images. A registry may know itself under another name, so the path alone decides
/// where no followed reference has this host.
fn followed_of<'r>(images: &[String], followed: &'r [Reference]) -> Vec<&'r Reference> {
    let mut meant = Vec::new();
    for image in images {
        let (name, tag) = image.rsplit_once(':').unwrap_or((image, ""));
        let name = if tag.contains('/') { image } else { name };
        // Docker's short names mean Docker Hub.
        let whole = name.parse::<Reference>();
        let whole = whole.map_or_else(|_| name.to_owned(), |whole| whole.name());
        let (host, path) = whole.split_once('/').unwrap_or_default();
        let is_at = |one: &Reference| one.registry().eq_ignore_ascii_case(host);
        let is_known = followed.iter().any(is_at);
        for one in followed {
            let is_meant = one.repository() == path && (is_at(one) || !is_known);
            if is_meant && !meant.contains(&one) {
                meant.push(one);
            }
        }
    }
    meant
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
            for bad in [&value[..70], "", "sha256=", "sha256=zz", "sha256=1é"] {
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
            (
                &[("Authorization", "Basic imagewatch-test-secret")],
                "",
                false,
            ),
            (&[], &*token, true),
            (&[], "a=b&token=imagewatch%2Dtest-secret", true),
            (&[], "", false),
            (&[], "token=", false),
            (&[], "token=%", false),
            (&[("Authorization", "")], &token, false),
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
            (package, "github", &["ghcr.io/acme/app:latest"][..]),
            (no_url, "github", &["ghcr.io/acme/app"]),
            (untagged, "github", &[]),
            (gitea("1"), "gitea", &["git.example:3000/acme/app"]),
            (gitea("sha256:00"), "gitea", &[]),
            (
                json!({"push_data": {"tag": "latest", "images": []}, "repository": {"repo_name": "acme/app"}}),
                "docker_hub",
                &["docker.io/acme/app"],
            ),
            (
                json!({"docker_url": "quay.io/acme/app", "updated_tags": ["latest"]}),
                "quay",
                &["quay.io/acme/app"],
            ),
            (
                json!({"docker_url": "quay.io/acme/app", "updated_tags": []}),
                "quay",
                &[],
            ),
            (
                json!({"events": [event("push", "latest"), event("pull", "latest"), event("push", ""), event("push", "sha256-00.sig")]}),
                "distribution",
                &["127.0.0.1:5000/acme/app"],
            ),
            (event("push", "latest"), "acr", &["127.0.0.1:5000/acme/app"]),
            (event("delete", "latest"), "acr", &[]),
            (
                ecr("SUCCESS"),
                "ecr",
                &["1.dkr.ecr.eu-west-1.amazonaws.com/acme/app"],
            ),
            (ecr("FAILURE"), "ecr", &[]),
            (
                harbor("PUSH_ARTIFACT", "h.example/acme/app:1"),
                "harbor",
                &["h.example/acme/app:1"],
            ),
            (
                harbor("pushImage", "h.example:8443/acme/app:1"),
                "harbor",
                &["h.example:8443/acme/app:1"],
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
                &["h.example/acme/app:1"],
            ),
            (json!({"image": "nginx"}), "generic", &["nginx"]),
            (
                json!({"image": "registry/acme/app:1"}),
                "generic",
                &["registry/acme/app:1"],
            ),
            (json!({"zen": "Keep it small."}), "unknown", &[]),
            (json!([1]), "unknown", &[]),
            (json!(null), "unknown", &[]),
        ] {
            let (found, named) = images(&body);
            assert_eq!(HOOK_SENDERS[found], sender, "{body}");
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
            ("r.lan:5000/acme/app", &[0, 1, 3]),
            ("/acme/app", &[0, 1, 3]),
            ("", &[]),
            (":", &[]),
        ] {
            let found = followed_of(&[image.to_lowercase()], &followed);
            let expected: Vec<&Reference> =
                expected.iter().map(|at: &usize| &followed[*at]).collect();
            assert_eq!(found, expected, "{image}");
        }
    }

    #[test]
    fn forms_and_marks_are_read() {
        for (body, expected) in [
            ("\u{feff}{\"a\":1}", Some(json!({"a": 1}))),
            ("payload=%7B%22a%22%3A+1%7D", Some(json!({"a": 1}))),
            ("payload=%7", None),
            ("payload=", None),
            ("x=1", None),
            ("", None),
        ] {
            assert_eq!(parse(body.as_bytes()), expected, "{body}");
        }
        assert_eq!(parse("[".repeat(100_000).as_bytes()), None);
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
            let (_, named) = images(&parse(input).unwrap_or_default());
            assert!(named.len() <= MOST);
            let text = String::from_utf8_lossy(input);
            let known = ["nginx".parse().expect("valid")];
            assert!(followed_of(&[text.to_lowercase()], &known).len() <= 1);
            let _ = is_tag(&text);
        });
    }
}
